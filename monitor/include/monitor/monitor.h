/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitors: HMP for people and QMP for programs, two faces of one command table. Main loop.
 * A command's handler runs in a coroutine, one at a time a monitor.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/shape.h"
#include "chardev/chardev.h"
#include "vm/vm.h"

typedef struct Monitor Monitor;
typedef enum { MONITOR_HMP, MONITOR_QMP, MONITOR_QMP_PRETTY } MonitorMode;

/* What a monitor needs from above it: given once, before the first monitor. */
typedef struct {
    json_t *(*query_command_line_options)(const char *option); /* new reference */
} MonitorHost;
void monitor_init(Vm *vm, const MonitorHost *host);
/* A monitor on a character device (which must not have another user, unless it is a mux). */
bool monitor_add(Chardev *chr, MonitorMode mode, GError **err);
void monitor_cleanup(void);

/* One command: written once, with typed arguments, for both faces. */
typedef struct MonitorCommand {
    const char *name;      /* QMP's: "system_reset", "query-status"; NULL: HMP only */
    const char *hmp;       /* HMP's: "info status", "x"; NULL: QMP only */
    const char *hmp_alias; /* "c" for cont, "q" for quit; may be NULL */
    const Property *args;  /* names and types (offsets unused); order is HMP's positional order */
    const char *hmp_args;  /* as help shows them: "id", "[-v] [device]" */
    const char *help;      /* one line */
    /* QMP: the arguments where they are a union, or open; 'args' is NULL then. */
    const PropertyShape *args_shape;
    const Property *result;      /* what 'run' gives; NULL: an empty object */
    const char *const *features; /* as the schema lists them; NULL: none */
    /* New reference, NULL with *err for failure; json_object() (empty) where there is no answer. */
    json_t *(*run)(Monitor *mon, Vm *vm, json_t *args, GError **err);
    /* HMP: prints the result of run; NULL: nothing is printed. */
    void (*print)(Monitor *mon, json_t *result);
    unsigned flags;
} MonitorCommand;
enum {
    MONITOR_COMMAND_OOB = 1 << 0, /* QMP: may overtake */
    MONITOR_COMMAND_RAW_HMP =
        1 << 1, /* args are one string "text": parsed by the command (x, print) */
    MONITOR_COMMAND_BARE_ERROR = 1 << 2, /* HMP: why it failed stands without "Error: " */
};
const MonitorCommand *
monitor_commands(void); /* the table: monitor/commands.c; ends with both names NULL */

void monitor_printf(Monitor *mon, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void monitor_puts(Monitor *mon, const char *text);
/* human-monitor-command and tests: runs an HMP line and gives what it printed (caller frees). */
char *coroutine_fn monitor_run_hmp(Vm *vm, const char *line);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitors: HMP for people and QMP for programs, two faces of one command table. Main thread.
 * Each monitor runs one command at a time, in a coroutine; those sent by exec-oob overtake it.
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

/* Functions of the program above that commands call. */
typedef struct {
    json_t *(*query_command_line_options)(const char *option); /* new reference */
} MonitorHost;
/* Once, before the first monitor_add(). */
void monitor_init(Vm *vm, const MonitorHost *host);
/* A monitor on a character device, which has no other user unless it is a mux. False with *err. */
bool monitor_add(Chardev *chr, MonitorMode mode, GError **err);
/* Ends all monitors. Each may take two seconds for a running command and for unread output. */
void monitor_cleanup(void);

/* One command, for QMP, for HMP or for both. */
typedef struct MonitorCommand {
    const char *name;      /* QMP's: "system_reset", "query-status"; NULL: HMP only */
    const char *hmp;       /* HMP's: "info status", "x"; NULL: QMP only */
    const char *hmp_alias; /* "c" for cont, "q" for quit; may be NULL */
    const Property *args;  /* names and types (offsets unused); order is HMP's positional order */
    const char *hmp_args;  /* as help shows them: "id", "[-v] [device]" */
    const char *help;      /* one line */
    /* QMP: instead of 'args' where the arguments are a union or take members not listed. */
    const PropertyShape *args_shape;
    const Property *result;      /* what 'run' gives; NULL: an empty object */
    const char *const *features; /* as the schema lists them; NULL: none */
    /* A new reference: the result, or an empty object where there is none. NULL with *err. */
    json_t *(*run)(Monitor *mon, Vm *vm, json_t *args, GError **err);
    /* HMP: prints the result of run; NULL: nothing is printed. */
    void (*print)(Monitor *mon, json_t *result);
    unsigned flags;
} MonitorCommand;
enum {
    MONITOR_COMMAND_OOB = 1 << 0, /* QMP: may be sent by exec-oob */
    MONITOR_COMMAND_RAW_HMP =
        1 << 1, /* args are one string "text": parsed by the command (x, print) */
    MONITOR_COMMAND_BARE_ERROR = 1 << 2, /* HMP: people see its errors without "Error: " */
};
const MonitorCommand *
monitor_commands(void); /* the table: monitor/commands.c; ends with both names NULL */

void monitor_printf(Monitor *mon, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void monitor_puts(Monitor *mon, const char *text);

#endif

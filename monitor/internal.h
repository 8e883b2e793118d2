/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the monitor's files share. */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "base/coroutine.h"
#include "monitor/monitor.h"

struct Monitor {
    MonitorMode mode;
    CharFrontend fe;
    bool detached; /* no character device: output is gathered (human-monitor-command) */
    GString *out;  /* not yet written, from out_sent on */
    size_t out_sent;
    bool busy;    /* a command is under way */
    bool closing; /* monitor_free() waits for the session's end */
    unsigned cpu; /* HMP 'cpu N' */
    bool misread; /* HMP: the command cannot make sense of its arguments; 'help' is pointed at */
    /* HMP: one coroutine reads and runs lines for as long as the monitor lives. */
    GByteArray *in;    /* typed, not yet read */
    Coroutine *reader; /* the session, while it waits for a key */
    bool session;      /* it runs */
    bool fresh;        /* somebody came: banner */
    bool restart;      /* the line being typed is dropped, the prompt shown again */
    bool redraw;       /* the line being typed is to be shown again */
    bool hushed;       /* another one has the focus of the mux: output is kept back */
    bool quitting;     /* no prompt after 'quit' */
    GPtrArray *history;
    /* QMP. */
    bool negotiated, oob;
    struct JsonStream *stream;
    GQueue requests; /* of json_t *, waiting for their turn */
    GHashTable *fds; /* getfd: name -> fd */
};

extern Vm *monitor_vm;
const MonitorHost *monitor_host(void);
void monitor_flush(Monitor *mon);
/* So much waits for the reader that nothing more should be made to read. */
bool monitor_out_full(const Monitor *mon);
void monitor_foreach(void (*fn)(Monitor *mon, void *data), void *data);
Monitor *monitor_new_detached(void);
void monitor_free(Monitor *mon);

/* HMP. */
#define HMP_PROMPT    "(qemu) "
#define HMP_INPUT_MAX 1024 /* typed ahead */
void hmp_event(Monitor *mon, CharEvent event);
void hmp_input(Monitor *mon, const uint8_t *buf, size_t len);
#define HMP_KEY_REDRAW 0x100 /* no key: the line is no longer on the screen */
/* The next key (a byte); -1 where the line is to be given up. */
int coroutine_fn hmp_getc(Monitor *mon);
void coroutine_fn hmp_run_line(Monitor *mon, const char *line);
/* What a failure begins with; 'bare': people are told without it, as by QEMU. */
const char *hmp_error_prefix(Monitor *mon, bool bare);
/* 'name' ("savevm", "info migrate") is a command of QEMU's that is not there yet: true and *err. */
bool hmp_name_refused(const char *name, GError **err);
const MonitorCommand *monitor_find_hmp(const char *line, const char **rest);

/* QMP. */
void qmp_opened(Monitor *mon);
void qmp_closed(Monitor *mon);
/* Requests that wait for their turn get it, where there is room for the answers. */
void qmp_go_on(Monitor *mon);
void qmp_input(Monitor *mon, const uint8_t *buf, size_t len);
void qmp_send(Monitor *mon, json_t *message); /* takes the reference */
const MonitorCommand *monitor_find_qmp(const char *name);

/* check.c: types and presence against the command's tables, in QEMU's words. */
bool monitor_check_args(const MonitorCommand *cmd, json_t *args, GError **err);
/* Builds with sanitizers end where a result is not what the table of commands says. */
void monitor_check_result(const MonitorCommand *cmd, json_t *result);

#endif

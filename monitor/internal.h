/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the monitor's files share. */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "base/coroutine.h"
#include "base/event_loop.h"
#include "block/job.h"
#include "monitor/monitor.h"

struct Monitor {
    MonitorMode mode;
    CharFrontend fe;
    bool detached; /* no character device: 'out' keeps all output (human-monitor-command) */
    GString *out;  /* output; from out_sent on it is not written yet */
    size_t out_sent;
    bool busy;    /* a command is under way */
    bool closing; /* monitor_free() waits for the session's end */
    unsigned cpu; /* HMP 'cpu N' */
    bool misread; /* HMP: the arguments are wrong, so the error points to 'help' */
    /* HMP: one coroutine reads and runs lines for as long as the monitor lives. */
    GByteArray *in;    /* typed, not yet read */
    Coroutine *reader; /* the session, while it waits for a key */
    bool session;      /* run_session() runs */
    bool fresh;        /* a client has connected: the banner comes first */
    bool restart;      /* drop the line being typed and prompt again */
    bool redraw;       /* show the line being typed again */
    bool hushed;       /* another frontend has the focus of the mux: output is kept back */
    bool quitting;     /* no prompt after 'quit' */
    GPtrArray *history;
    Job *job;            /* a command waits for it: Ctrl-C cancels it; or NULL */
    Timer *progress;     /* then: when more of it is told */
    bool progress_shown; /* on the row in which the cursor is */
    /* QMP. */
    bool negotiated, oob;
    struct JsonStream *stream;
    GQueue requests; /* of json_t *, waiting for their turn */
    GHashTable *fds; /* getfd: name -> fd */
};

/* What a trace point calls the monitor: by its character device. NULL: it has none. */
static inline const char *monitor_label(const Monitor *mon)
{
    return mon->fe.chr ? mon->fe.chr->label : NULL;
}

extern Vm *monitor_vm;
const MonitorHost *monitor_host(void);
void monitor_flush(Monitor *mon);
/* Whether the client leaves so much output unread that no further command may begin. */
bool monitor_out_full(const Monitor *mon);
void monitor_foreach(void (*fn)(Monitor *mon, void *data), void *data);
Monitor *monitor_new_detached(void);
void monitor_free(Monitor *mon);

/* HMP. */
#define HMP_PROMPT    "(qemu) "
#define HMP_INPUT_MAX 1024 /* bytes that wait while a command runs */
void hmp_event(Monitor *mon, CharEvent event);
void hmp_input(Monitor *mon, const uint8_t *buf, size_t len);
#define HMP_KEY_REDRAW 0x100 /* no key: something else was written over the line on the screen */
/* Waits for a key, a byte or HMP_KEY_REDRAW; -1: the line being typed is dropped. */
int coroutine_fn hmp_getc(Monitor *mon);
/*
 * For commands: waits for a job's end. Tells its progress where that takes long, and cancels it at
 * Ctrl-C. False, and *err: how it failed.
 */
bool coroutine_fn hmp_wait_job(Monitor *mon, Job *job, GError **err);
/* Before something is printed meanwhile. */
void hmp_end_progress(Monitor *mon);
void coroutine_fn hmp_run_line(Monitor *mon, const char *line);
/* "Error: ", which begins errors; 'bare': "" on monitors for people, as QEMU has it. */
const char *hmp_error_prefix(Monitor *mon, bool bare);
/* True and *err where 'name' ("migrate", "info migrate") is a command that only QEMU has. */
bool hmp_name_refused(const char *name, GError **err);
const MonitorCommand *monitor_find_hmp(const char *line, const char **rest);
/* Whether the argument is a drive, so that Tab offers those. */
bool hmp_names_drive(const Property *p);
/* Whether the argument is a file of the host's. */
bool hmp_names_file(const Property *p);
/* The argument, no flag, that comes behind these words; NULL: there is none. */
const Property *hmp_argument_after(const MonitorCommand *cmd, const char *words);

/* QMP. */
void qmp_opened(Monitor *mon);
void qmp_closed(Monitor *mon);
/* Runs queued requests, unless one runs already or monitor_out_full(). */
void qmp_go_on(Monitor *mon);
void qmp_input(Monitor *mon, const uint8_t *buf, size_t len);
void qmp_send(Monitor *mon, json_t *message); /* takes the reference */
const MonitorCommand *monitor_find_qmp(const char *name);

/* check.c: types and presence against the command's tables, in QEMU's words. */
bool monitor_check_args(const MonitorCommand *cmd, json_t *args, GError **err);
/* With sanitizers: ends the program where a result is not as the command's entry describes it. */
void monitor_check_result(const MonitorCommand *cmd, json_t *result);

#endif

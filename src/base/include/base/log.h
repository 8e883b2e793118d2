/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages and the log. Messages go to stderr, prefixed with the name that the program was called
 * by, as QEMU's: "vmm: warning: ...". Log items go to stderr too, or to -D FILE. Any thread, under
 * any lock (the log's own is a leaf).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Log items that '-d ITEM,...' and the monitor's 'log' command switch on. */
#define LOG_ITEMS(X)                                                                               \
    X(GUEST_ERRORS, "guest_errors", "guest misbehaviour: bad register accesses, broken rings")     \
    X(UNIMP, "unimp", "accesses to hardware that is not there")                                    \
    X(KVM, "kvm", "exits of KVM that are not plain input and output")                              \
    X(RESET, "cpu_reset", "resets of the machine and its CPUs")                                    \
    X(BLOCK, "block", "block layer: nodes opened and closed, failed requests")                     \
    X(NET, "net", "network backends coming and going")

typedef enum {
#define X(id, name, help) LOG_##id,
    LOG_ITEMS(X)
#undef X
        LOG_ITEM_COUNT
} LogItem;

/* The prefix of messages, the basename of argv[0]; borrowed for the life of the program. */
void log_set_program_name(const char *name);
const char *log_program_name(void);
/* Whether the program was called by one of QEMU's names (qemu-system-x86_64, kvm). */
bool log_program_is_qemu(void);

/* "NAME: TEXT" / "NAME: warning: TEXT" / "NAME: info: TEXT"; a newline is added. */
void log_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* How many errors log_error() has printed: a tool that printed one has not succeeded. */
unsigned log_error_count(void);
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* The arguments are evaluated only where the item is on. */
#define log_item(item, ...)                                                                        \
    do {                                                                                           \
        if (G_UNLIKELY(log_item_enabled(item))) {                                                  \
            log_item_write(item, __VA_ARGS__);                                                     \
        }                                                                                          \
    } while (0)
/* The guest did something that hardware would ignore. Each call site is rate-limited. */
#define log_guest_error(...)                                                                       \
    do {                                                                                           \
        static LogSite site_;                                                                      \
        if (log_item_enabled(LOG_GUEST_ERRORS) && log_site_allows(&site_)) {                       \
            log_item_write(LOG_GUEST_ERRORS, __VA_ARGS__);                                         \
        }                                                                                          \
    } while (0)

typedef struct {
    gint64 window_start; /* monotonic us; atomic */
    int count;           /* lines in this window; atomic */
} LogSite;

bool log_item_enabled(LogItem item);
void log_item_write(LogItem item, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* At most 10 lines a second from one site; the next line after that tells how many were dropped. */
bool log_site_allows(LogSite *site);

/*
 * 'items' is a comma-separated list of names, "all" or "none", and of trace points to be switched
 * on, "trace:PATTERN" (base/trace.h). Warnings of patterns that match nothing, and the points that
 * "trace:help" lists, are lines that 'said' gets; NULL: they are messages. Main thread.
 */
bool log_set_items(const char *items, GString *said, GError **err);
#define LOG_TRACE_PREFIX "trace:"
/* -D FILE: log items go there, from now on; NULL: to stderr again. */
bool log_set_file(const char *path, GError **err);
/* The descriptor of -D FILE, borrowed; or -1. */
int log_file_fd(void);
/*
 * From now on items never wait for the reader of a pipe, a terminal or a socket: what finds no room
 * there is dropped, and once there is room again a line tells how many were. A VM whose log nobody
 * reads goes on. Without this call items wait, so that tools lose none. Messages wait in any case.
 */
void log_never_wait(void);
/* To be called by whoever has made descriptor 2 another file. */
void log_stderr_changed(void);
/* Writes a whole line, newline included, to where items go. */
void log_write_line(const char *line, size_t len);
/* -msg timestamp=on */
void log_set_timestamps(bool on);
bool log_timestamps(void);
/* -msg guest-name=on: messages name the guest (copied). To be called before other threads log. */
void log_set_guest_name(const char *name);
/* NULL-terminated name, help, name, help, ... */
const char *const *log_item_names(void);

#endif

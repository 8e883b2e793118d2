/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log: what the program says beside its answers. Messages go to stderr, prefixed
 * with the name the program was called by, like QEMU's: "vmm: warning: ..."; log items go there
 * too, or to -D FILE. Any thread; a leaf
 * lock inside, so it may be called under any other lock.
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

/* How messages are prefixed: basename of argv[0]. 'name' must outlive the program. */
void log_set_program_name(const char *name);
const char *log_program_name(void);
/* Called by one of QEMU's names (qemu-system-x86_64, kvm): speaks of itself as QEMU would. */
bool log_program_is_qemu(void);

/* "NAME: TEXT" / "NAME: warning: TEXT" / "NAME: info: TEXT"; a newline is added. */
void log_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* How many of these there were: a tool that printed one has not succeeded. Any thread. */
unsigned log_error_count(void);
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Written only where the item is on. */
#define log_item(item, ...)                                                                        \
    do {                                                                                           \
        if (G_UNLIKELY(log_item_enabled(item))) {                                                  \
            log_item_write(item, __VA_ARGS__);                                                     \
        }                                                                                          \
    } while (0)
/* The guest did something that hardware would ignore: counted, and rate-limited per call site. */
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
/* At most 10 lines a second from one site; what was dropped is said when the window closes. */
bool log_site_allows(LogSite *site);

/* 'items' is a comma-separated list of names, "all" or "none". */
bool log_set_items(const char *items, GError **err);
/* NULL goes back to stderr. */
bool log_set_file(const char *path, GError **err);
/* -msg timestamp=on */
/* -msg guest-name=on: messages name the guest (copied). Before other threads log. */
void log_set_guest_name(const char *name);
/* Of -D FILE, borrowed; or -1. */
int log_file_fd(void);
void log_set_timestamps(bool on);
/* NULL-terminated name, help, name, help, ... */
const char *const *log_item_names(void);

#endif

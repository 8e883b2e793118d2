/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A main loop, and a frontend that records its input and events. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <stdbool.h>
#include "../base/unit.h"
#include "chardev/chardev.h"

typedef struct {
    CharFrontend fe;
    GString *in;
    GString *events; /* a letter for each event: O C B i o R, in the order of CharEvent */
    size_t room;
    int writable;
} Front;

extern EventLoop *loop;
extern char *dir; /* a fresh temporary directory */

void fixture_setup(void);
void fixture_teardown(void);
char *tmp_path(const char *name);
void front_connect(Front *f, Chardev *chr);
void front_write(Front *f, const char *text);
Chardev *add_short(const char *id, const char *text);
/* -chardev text; NULL and *err, or the device. */
Chardev *add_text(const char *text, GError **err);
/* Turns until cond is true; fails after 10 s. */
#define run_until(cond)                                                                            \
    do {                                                                                           \
        gint64 end_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;                                \
        while (!(cond)) {                                                                          \
            event_loop_iterate(loop, 20000000);                                                    \
            ck_assert_msg(g_get_monotonic_time() < end_, "waited too long for %s", #cond);         \
        }                                                                                          \
    } while (0)
void run_for_ms(int ms);
int connect_unix(const char *path);
/* Reads until 'len' bytes have come, running the loop. Caller frees. */
char *read_bytes(int fd, size_t len);
int run_suite(const char *name, const TTest *const *tests);

#endif

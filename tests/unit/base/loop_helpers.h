/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of event loops. */
#ifndef LOOP_HELPERS_H
#define LOOP_HELPERS_H

#include "base/event_loop.h"
#include "base/util.h"
#include "unit.h"

static inline EventLoop *new_loop(void)
{
    GError *err = NULL;
    EventLoop *loop = event_loop_new("test", &err);

    ck_no_error(err);
    return loop;
}

/* Turns the loop until 'done' is true; fails after some time. */
static inline void run_until(EventLoop *loop, const bool *done)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 10 * NS_PER_SEC;

    while (!*done) {
        event_loop_iterate(loop, 100 * NS_PER_MS);
        ck_assert(clock_ns(CLOCK_REALTIME_NS) < end);
    }
}

/* A thread that runs a loop. */

static inline void *loop_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

static inline GThread *start(EventLoop *loop)
{
    return g_thread_new("loop", loop_thread, loop);
}

static inline void stop(EventLoop *loop, GThread *thread)
{
    event_loop_quit(loop);
    g_thread_join(thread);
    event_loop_free(loop);
}

#endif

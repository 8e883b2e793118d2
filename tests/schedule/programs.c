/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small programs over base/ alone, for faults that a machine would meet once in a million seeds:
 * schedule-explorer --program NAME.
 */
#include "programs.h"

#include <pthread.h>
#include <string.h>
#include "baton.h"
#include "base/coroutine.h"
#include "base/event_loop.h"

static EventLoop *loops[2];

static void *loop_thread(void *data)
{
    event_loop_run(loops[1]);
    return NULL;
}

static void quit(void *data)
{
    event_loop_quit(data);
}

/* A coroutine waits in a queue, then for something of its own, with a bare yield. */

static struct {
    CoMutex lock;
    CoQueue queue;
    bool ready; /* under the lock */
    bool told;  /* atomic */
    Coroutine *waiter;
} co;

static void coroutine_fn co_waits(void *data)
{
    co.waiter = coroutine_self();
    co_mutex_lock(&co.lock);
    while (!co.ready) {
        co_queue_wait(&co.queue, &co.lock);
    }
    co_mutex_unlock(&co.lock);
    coroutine_yield();
    if (!__atomic_load_n(&co.told, __ATOMIC_SEQ_CST)) {
        baton_fail("a yield was ended by a wake-up that was meant for an earlier wait");
    }
    event_loop_call(loops[0], quit, loops[0]);
}

static void co_start_waiter(void *data)
{
    coroutine_start(co_waits, NULL);
}

static void coroutine_fn co_wakes(void *data)
{
    co_mutex_lock(&co.lock);
    co.ready = true;
    co_queue_wake_one(&co.queue);
    co_mutex_unlock(&co.lock);
    coroutine_sleep(CLOCK_REALTIME_NS, 1000000);
    __atomic_store_n(&co.told, true, __ATOMIC_SEQ_CST);
    coroutine_wake(co.waiter);
}

static void program_co_queue(void)
{
    co_mutex_init(&co.lock);
    co_queue_init(&co.queue);
    event_loop_call(loops[1], co_start_waiter, NULL);
    coroutine_start(co_wakes, NULL);
    event_loop_run(loops[0]);
}

/* A bottom half that another thread schedules, once, is cancelled. */

static struct {
    BottomHalf bh;
    bool cancelled;
} bh;

static void bh_ran(void *data)
{
    if (bh.cancelled) {
        baton_fail("a bottom half ran after it had been scheduled and then cancelled");
    }
}

static void *bh_scheduler(void *data)
{
    bh_schedule(&bh.bh);
    return NULL;
}

static void program_bh_cancel(void)
{
    pthread_t thread;

    bh_init(&bh.bh, loops[0], bh_ran, NULL);
    pthread_create(&thread, NULL, bh_scheduler, NULL);
    while (!__atomic_load_n(&bh.bh.scheduled, __ATOMIC_SEQ_CST)) {
        g_thread_yield();
    }
    bh_cancel(&bh.bh);
    bh.cancelled = true;
    pthread_join(thread, NULL);
    event_loop_iterate(loops[0], 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} programs[] = {
    {"co-queue", program_co_queue},
    {"bh-cancel", program_bh_cancel},
};

bool program_run(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(programs); i++) {
        pthread_t thread;

        if (strcmp(programs[i].name, name)) {
            continue;
        }
        loops[0] = event_loop_new("main", NULL);
        loops[1] = event_loop_new("other", NULL);
        event_loop_bind(loops[0]);
        pthread_create(&thread, NULL, loop_thread, NULL);
        programs[i].run();
        event_loop_quit(loops[1]);
        pthread_join(thread, NULL);
        event_loop_free(loops[1]);
        event_loop_free(loops[0]);
        return true;
    }
    return false;
}

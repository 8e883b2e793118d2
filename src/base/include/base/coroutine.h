/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stackful coroutines, for code that waits for I/O in a straight line. A coroutine stays on the
 * event loop (thread) it was started on. Switches carry ASan and TSan fiber annotations; stacks
 * have a guard page and are pooled per thread.
 */
#ifndef BASE_COROUTINE_H
#define BASE_COROUTINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/event_loop.h"

typedef struct Coroutine Coroutine;
typedef void (*CoroutineFn)(void *data);

/* Marks functions that may yield: call them only inside a coroutine. */
#define coroutine_fn

/* Starts fn(data) now on the caller's stack turn; returns at its first yield or its end. */
void coroutine_start(CoroutineFn fn, void *data);
/* The running coroutine, or NULL outside of one. */
Coroutine *coroutine_self(void);
static inline bool in_coroutine(void)
{
    return coroutine_self() != NULL;
}
/*
 * Gives control back to whoever entered; returns when woken. A wake-up is a hint: what yields waits
 * for a condition, in a loop, and looks again at everything else that it believed before.
 *
 *     g_mutex_lock(&guard);
 *     while (!condition) {
 *         g_mutex_unlock(&guard);
 *         coroutine_yield();
 *         g_mutex_lock(&guard);
 *     }
 *     coroutine_wait_over();
 *     g_mutex_unlock(&guard);
 *
 * Whoever makes the condition true wakes under the same guard, so that no wake-up comes after the
 * wait that it was meant for. Where waiter and waker share a loop they need no guard.
 */
void coroutine_fn coroutine_yield(void);
/*
 * The end of a wait: a wake-up that came after the condition was seen to hold is dropped, under the
 * guard. Sanitizer builds assert that a coroutine ends with no wake-up left over, and that none is
 * woken after its end.
 */
void coroutine_fn coroutine_wait_over(void);
/*
 * Lets a yielded coroutine go on, from a fresh callback on its own loop. Any thread. A wake that
 * comes before the yield is remembered (one of them), so the race is harmless.
 */
void coroutine_wake(Coroutine *co);
EventLoop *coroutine_loop(Coroutine *co);

/* Sleeps on the given clock. */
void coroutine_fn coroutine_sleep(ClockType clock, int64_t ns);

/*
 * A mutex among coroutines of any loops, in the order in which they come; but who comes while a
 * waiter wakes up may be before it, once. Embed and zero-initialise by co_mutex_init().
 */
typedef struct CoWaiter CoWaiter;
typedef struct {
    GMutex guard;
    bool locked;
    CoWaiter *head, *tail;
    Coroutine *holder;
} CoMutex;
void co_mutex_init(CoMutex *m);
void co_mutex_destroy(CoMutex *m);
void coroutine_fn co_mutex_lock(CoMutex *m);
/* Does not wait: false where somebody holds it. */
bool coroutine_fn co_mutex_try_lock(CoMutex *m);
void coroutine_fn co_mutex_unlock(CoMutex *m);

/* A queue of waiting coroutines, used under a CoMutex like a condition variable. */
typedef struct {
    GMutex guard;
    CoWaiter *head, *tail;
} CoQueue;
void co_queue_init(CoQueue *q);
void co_queue_destroy(CoQueue *q);
/* m may be NULL; else it is released while waiting and held again on return. */
void coroutine_fn co_queue_wait(CoQueue *q, CoMutex *m);
/* Any thread. True where somebody was waiting. */
bool co_queue_wake_one(CoQueue *q);
void co_queue_wake_all(CoQueue *q);

/*
 * Runs fn(data) on a worker of the shared thread pool (created at first use; at most 64 threads;
 * idle ones leave) and yields until it is done; gives what fn returned.
 */
int coroutine_fn co_pool_run(int (*fn)(void *data), void *data);
/* The same without a coroutine: done(data, result) runs on the calling thread's loop. */
void pool_run(int (*fn)(void *data), void *data, void (*done)(void *data, int result));
/*
 * Before event_loop_free(): runs the loop, of the calling thread, until all of its jobs have ended,
 * for at most 'ns'. A job that still blocks (in a look-up of a host's name) is abandoned then.
 */
void pool_settle(EventLoop *loop, int64_t ns);

#endif

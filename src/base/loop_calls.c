/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bottom halves and deferred calls of an event loop: any thread pushes them on 'incoming', and the
 * loop's turn runs them, oldest first.
 */
#include "base/sched.h"
#include "base/util.h"
#include "loop_private.h"

enum { CALL_ROUNDS = 8 /* in one turn: each runs the calls that the last one scheduled */ };

typedef struct {
    BottomHalf bh;
    EventFn fn;
    void *data;
} Call;

void bh_init(BottomHalf *bh, EventLoop *loop, EventFn fn, void *data)
{
    *bh = (BottomHalf){.loop = loop, .fn = fn, .data = data};
}

void bh_schedule(BottomHalf *bh)
{
    EventLoop *loop = bh->loop;
    bool elsewhere = loop_current != loop;

    if (__atomic_exchange_n(&bh->scheduled, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    sched_point("bh_schedule: set, and not pushed");
    /* Once bh is pushed it may run, and free the loop: 'callers' holds up event_loop_free(). */
    if (elsewhere) {
        __atomic_fetch_add(&loop->callers, 1, __ATOMIC_RELAXED);
    }
    BottomHalf *head = __atomic_load_n(&loop->incoming, __ATOMIC_RELAXED);
    do {
        bh->next = head;
    } while (!__atomic_compare_exchange_n(&loop->incoming, &head, bh, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    if (elsewhere) {
        loop_wake(loop);
        __atomic_fetch_sub(&loop->callers, 1, __ATOMIC_RELEASE);
    }
}

/* Moves the calls of 'incoming' to the end of 'ready', oldest first. */
static void calls_take_incoming(EventLoop *loop)
{
    BottomHalf *newest = __atomic_exchange_n(&loop->incoming, NULL, __ATOMIC_ACQUIRE);
    BottomHalf *oldest = NULL, **tail = newest ? &newest->next : NULL;

    while (newest) {
        BottomHalf *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest) {
        *loop->ready_tail = oldest;
        loop->ready_tail = tail;
    }
}

void bh_cancel(BottomHalf *bh)
{
    EventLoop *loop = bh->loop;

    loop_assert_home(loop);
    while (__atomic_load_n(&bh->scheduled, __ATOMIC_ACQUIRE)) {
        calls_take_incoming(loop);
        for (BottomHalf **link = &loop->ready; *link; link = &(*link)->next) {
            if (*link == bh) {
                *link = bh->next;
                if (loop->ready_tail == &bh->next) {
                    loop->ready_tail = link;
                }
                __atomic_store_n(&bh->scheduled, 0, __ATOMIC_RELEASE);
                return;
            }
        }
        /* Another thread is between setting 'scheduled' and pushing: a few instructions. */
        g_thread_yield();
    }
}

bool calls_run(EventLoop *loop)
{
    bool ran = false;

    for (int round = 0; round < CALL_ROUNDS; round++) {
        calls_take_incoming(loop);
        if (!loop->ready) {
            break;
        }
        /* Calls that these schedule wait for the next round, and rounds are limited: a call that
         * reschedules itself must not keep the loop from the rest. */
        BottomHalf *bh;
        while ((bh = loop->ready)) {
            loop->ready = bh->next;
            if (!loop->ready) {
                loop->ready_tail = &loop->ready;
            }
            __atomic_exchange_n(&bh->scheduled, 0, __ATOMIC_ACQ_REL);
            bh->fn(bh->data);
            ran = true;
        }
    }
    return ran;
}

static void call_run(void *data)
{
    Call *call = data;
    EventFn fn = call->fn;
    void *fn_data = call->data;

    g_free(call);
    fn(fn_data);
}

void event_loop_call(EventLoop *loop, EventFn fn, void *data)
{
    Call *call = g_new(Call, 1);

    bh_init(&call->bh, loop, call_run, call);
    call->fn = fn;
    call->data = data;
    bh_schedule(&call->bh);
}

typedef struct {
    BottomHalf bh;
    EventFn fn;
    void *data;
    GMutex lock;
    GCond cond;
    bool done;
} WaitingCall;

static void waiting_call_run(void *data)
{
    WaitingCall *call = data;

    call->fn(call->data);
    g_mutex_lock(&call->lock);
    call->done = true;
    g_cond_signal(&call->cond);
    g_mutex_unlock(&call->lock);
}

void event_loop_call_wait(EventLoop *loop, EventFn fn, void *data)
{
    if (loop_current == loop) {
        fn(data);
        return;
    }
    /* A loop's thread must not wait for another loop: the two may wait for each other. */
    g_assert(!loop_current || !__atomic_load_n(&loop_current->running, __ATOMIC_RELAXED));
    WaitingCall call = {.fn = fn, .data = data};
    g_mutex_init(&call.lock);
    g_cond_init(&call.cond);
    bh_init(&call.bh, loop, waiting_call_run, &call);
    bh_schedule(&call.bh);
    g_mutex_lock(&call.lock);
    while (!call.done) {
        g_cond_wait(&call.cond, &call.lock);
    }
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.cond);
}

static void calls_free_list(BottomHalf *bh)
{
    while (bh) {
        BottomHalf *next = bh->next;
        __atomic_store_n(&bh->scheduled, 0, __ATOMIC_RELAXED);
        if (bh->fn == call_run) {
            g_free(container_of(bh, Call, bh));
        }
        bh = next;
    }
}

void calls_free(EventLoop *loop)
{
    calls_free_list(__atomic_exchange_n(&loop->incoming, NULL, __ATOMIC_ACQUIRE));
    calls_free_list(loop->ready);
}

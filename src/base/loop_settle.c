/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for loops that have nothing left to do. */
#include "base/coroutine.h"
#include "loop_private.h"

/* The calling loop's turns: a completion, the notification that it asks for, and one to spare. */
enum { OWN_TURNS = 3 };

typedef struct {
    Coroutine *co;
    GMutex lock;
    unsigned busy; /* loops that have not been seen idle, under 'lock' */
} Settle;

/* On the loop that is waited for. Under the lock: whoever waits then leaves with the struct. */
static void settle_idle(void *data)
{
    Settle *settle = data;

    g_mutex_lock(&settle->lock);
    settle->busy--;
    coroutine_wake(settle->co);
    g_mutex_unlock(&settle->lock);
}

static void settle_ask(void *data)
{
    EventLoop *loop = event_loop_current();
    LoopIdler *idler = g_new(LoopIdler, 1);

    *idler = (LoopIdler){.fn = settle_idle, .data = data, .next = loop->idlers};
    loop->idlers = idler;
}

void loop_run_idlers(EventLoop *loop)
{
    LoopIdler *list = g_steal_pointer(&loop->idlers), *next;

    for (; list; list = next) {
        next = list->next;
        list->fn(list->data);
        g_free(list);
    }
}

static void settle_ask_others(EventLoop *loop, void *data)
{
    Settle *settle = data;

    /* A loop that nobody runs has no work of anybody's. */
    if (loop != event_loop_current() && __atomic_load_n(&loop->running, __ATOMIC_ACQUIRE)) {
        settle->busy++;
        event_loop_call(loop, settle_ask, settle);
    }
}

static void settle_own_turn(void *data)
{
    coroutine_wake(data);
}

void coroutine_fn event_loops_settle(void)
{
    EventLoop *own = event_loop_current();
    Settle settle = {.co = coroutine_self()};
    uint64_t until = event_loop_turns(own) + OWN_TURNS;

    g_mutex_init(&settle.lock);
    g_mutex_lock(&settle.lock);
    loops_foreach(settle_ask_others, &settle);
    while (settle.busy) {
        g_mutex_unlock(&settle.lock);
        coroutine_yield();
        g_mutex_lock(&settle.lock);
    }
    coroutine_wait_over();
    g_mutex_unlock(&settle.lock);
    g_mutex_clear(&settle.lock);
    while (event_loop_turns(own) < until) {
        event_loop_call(own, settle_own_turn, settle.co);
        coroutine_yield();
    }
}

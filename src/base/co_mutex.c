/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What coroutines wait on. A waiter lives on its coroutine's stack, so it is woken under the guard:
 * once it has the guard and finds itself granted, nobody looks at it any more.
 *
 * A mutex that is unlocked is free while the first waiter's wake-up is under way. To wake a loop
 * takes many times as long as most locked sections: a mutex that were handed over would be held by
 * a coroutine that does not run yet, and the loop that runs would soon stand in line itself. A
 * waiter that was overtaken once is given the mutex by the next unlock.
 */
#include "base/coroutine.h"

#include "base/sched.h"

struct CoWaiter {
    Coroutine *co;
    /* All under the guard of what it waits on. */
    bool granted;
    bool woken;     /* of a mutex: to look whether it is free */
    bool overtaken; /* of a mutex: it was woken, and found the mutex locked */
    CoWaiter *next;
};

static void co_mutex_push(CoWaiter **head, CoWaiter **tail, CoWaiter *w)
{
    if (*head) {
        (*tail)->next = w;
    } else {
        *head = w;
    }
    *tail = w;
}

/* Takes the first waiter off its list and wakes it; NULL where there is none. Under the guard. */
static Coroutine *grant_first(CoWaiter **head)
{
    CoWaiter *w = *head;

    if (!w) {
        return NULL;
    }
    *head = w->next;
    w->granted = true;
    coroutine_wake(w->co);
    return w->co;
}

/* Called and left with the guard held. */
static void coroutine_fn wait_granted(CoWaiter *w, GMutex *guard)
{
    while (!w->granted) {
        g_mutex_unlock(guard);
        coroutine_yield();
        g_mutex_lock(guard);
    }
    coroutine_wait_over();
}

void co_mutex_init(CoMutex *m)
{
    *m = (CoMutex){0};
    g_mutex_init(&m->guard);
}

void co_mutex_destroy(CoMutex *m)
{
    g_assert(!m->locked && !m->head);
    g_mutex_clear(&m->guard);
}

/* Under the guard. */
static void co_mutex_take(CoMutex *m, Coroutine *co)
{
    m->locked = true;
    m->holder = co;
}

static void co_mutex_remove(CoMutex *m, CoWaiter *w)
{
    CoWaiter **at = &m->head, *before = NULL;

    while (*at != w) {
        before = *at;
        at = &before->next;
    }
    *at = w->next;
    m->tail = m->tail == w ? before : m->tail;
}

/* Called and left with the guard held. */
static void coroutine_fn co_mutex_wait(CoMutex *m, Coroutine *self)
{
    CoWaiter w = {.co = self};

    co_mutex_push(&m->head, &m->tail, &w);
    while (!w.granted && m->locked) {
        w.overtaken = w.overtaken || w.woken;
        w.woken = false;
        g_mutex_unlock(&m->guard);
        coroutine_yield();
        g_mutex_lock(&m->guard);
    }
    if (!w.granted) {
        co_mutex_remove(m, &w);
        co_mutex_take(m, self);
    }
    coroutine_wait_over();
    g_assert(m->holder == self);
}

void coroutine_fn co_mutex_lock(CoMutex *m)
{
    Coroutine *self = coroutine_self();

    g_assert(self);
    g_mutex_lock(&m->guard);
    if (m->locked) {
        g_assert(m->holder != self);
        co_mutex_wait(m, self);
    } else {
        co_mutex_take(m, self);
    }
    g_mutex_unlock(&m->guard);
}

bool coroutine_fn co_mutex_try_lock(CoMutex *m)
{
    Coroutine *self = coroutine_self();
    bool free;

    g_assert(self);
    g_mutex_lock(&m->guard);
    free = !m->locked;
    if (free) {
        co_mutex_take(m, self);
    }
    g_mutex_unlock(&m->guard);
    return free;
}

void coroutine_fn co_mutex_unlock(CoMutex *m)
{
    g_mutex_lock(&m->guard);
    g_assert(m->locked && m->holder == coroutine_self());
    if (m->head && m->head->overtaken) {
        m->holder = grant_first(&m->head);
    } else {
        m->locked = false;
        m->holder = NULL;
        if (m->head && !m->head->woken) {
            m->head->woken = true;
            coroutine_wake(m->head->co);
        }
    }
    g_mutex_unlock(&m->guard);
}

void co_queue_init(CoQueue *q)
{
    *q = (CoQueue){0};
    g_mutex_init(&q->guard);
}

void co_queue_destroy(CoQueue *q)
{
    g_assert(!q->head);
    g_mutex_clear(&q->guard);
}

void coroutine_fn co_queue_wait(CoQueue *q, CoMutex *m)
{
    CoWaiter w = {.co = coroutine_self()};

    g_assert(w.co);
    g_mutex_lock(&q->guard);
    co_mutex_push(&q->head, &q->tail, &w);
    if (m) {
        /* In line before the mutex is free, so that no wake can fall in between. */
        g_mutex_unlock(&q->guard);
        co_mutex_unlock(m);
        sched_point("co_queue_wait: in line, and the mutex is free");
        g_mutex_lock(&q->guard);
    }
    wait_granted(&w, &q->guard);
    g_mutex_unlock(&q->guard);
    if (m) {
        co_mutex_lock(m);
    }
}

bool co_queue_wake_one(CoQueue *q)
{
    g_mutex_lock(&q->guard);
    bool any = grant_first(&q->head) != NULL;
    g_mutex_unlock(&q->guard);
    return any;
}

void co_queue_wake_all(CoQueue *q)
{
    g_mutex_lock(&q->guard);
    while (grant_first(&q->head)) {
    }
    g_mutex_unlock(&q->guard);
}

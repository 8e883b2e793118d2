/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * WaitList: coroutines that wait until a condition on atomic variables holds. Code that makes the
 * condition true calls wait_list_wake_all() afterwards; each woken coroutine evaluates the
 * condition again. Any thread may wait or wake. A coroutine continues on its own loop.
 */
#ifndef BASE_WAIT_LIST_H
#define BASE_WAIT_LIST_H

#include "base/coroutine.h"

typedef struct WaitEntry {
    Coroutine *co;
    struct WaitEntry *next;
    bool woken; /* under WaitList.lock; unset: the coroutine was woken by something else */
} WaitEntry;

typedef struct {
    GMutex lock;
    WaitEntry *head;
} WaitList;

static inline void wait_list_init(WaitList *w)
{
    g_mutex_init(&w->lock);
    w->head = NULL;
}

static inline void wait_list_destroy(WaitList *w)
{
    g_assert(!w->head);
    g_mutex_clear(&w->lock);
}

/* Sleeps until the next wake-up of the list. Called with w->lock held; drops it while asleep. */
static inline void coroutine_fn wait_list_sleep_locked(WaitList *w)
{
    WaitEntry entry = {.co = coroutine_self(), .next = w->head};

    w->head = &entry;
    do {
        g_mutex_unlock(&w->lock);
        coroutine_yield();
        g_mutex_lock(&w->lock);
    } while (!entry.woken);
    coroutine_wait_over();
}

static inline void wait_list_wake_locked(WaitList *w)
{
    WaitEntry *e = w->head;

    w->head = NULL;
    while (e) {
        WaitEntry *next = e->next;
        Coroutine *co = e->co;

        /* 'e' is on the coroutine's stack: it may be gone once w->lock is dropped. */
        e->woken = true;
        coroutine_wake(co);
        e = next;
    }
}

static inline void wait_list_wake_all(WaitList *w)
{
    g_mutex_lock(&w->lock);
    wait_list_wake_locked(w);
    g_mutex_unlock(&w->lock);
}

/* Waits until 'cond', an expression on atomic variables, is true. Evaluates it under w->lock. */
#define wait_list_until(w, cond)                                                                   \
    do {                                                                                           \
        g_mutex_lock(&(w)->lock);                                                                  \
        while (!(cond)) {                                                                          \
            wait_list_sleep_locked(w);                                                             \
        }                                                                                          \
        g_mutex_unlock(&(w)->lock);                                                                \
    } while (0)

#endif

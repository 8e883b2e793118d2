/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each registered thread has a word, 'seen': 0 while the thread is offline, else the epoch at which
 * it came online. An object that was retired in epoch E may be freed once no word is between 1 and
 * E. A reader that goes offline schedules the freeing only where an object waits for that reader.
 */
#include "base/reclaim.h"

#include <glib.h>

typedef struct ReclaimThread {
    uint64_t seen; /* atomic; 0: offline */
    bool registered;
    struct ReclaimThread *next;
} ReclaimThread;

typedef struct Retired {
    EventFn fn;
    void *data;
    uint64_t epoch; /* the last in which a reader may have found the object */
    struct Retired *next;
} Retired;

static __thread ReclaimThread self;

/* One domain for the process: any thread may be reading any pointer. */
static uint64_t epoch = 1; /* atomic */
static uint64_t waiting;   /* atomic: the epoch of the oldest retired object, or 0 */

static struct {
    GMutex lock; /* a leaf; guards all members below */
    ReclaimThread *threads;
    Retired *oldest, **tail;
    EventLoop *loop;
    BottomHalf bh;
} domain = {.tail = &domain.oldest};

static void thread_gone(void *data)
{
    reclaim_thread_unregister();
}

static GPrivate thread_exit = G_PRIVATE_INIT(thread_gone);

static void run_bh(void *data)
{
    reclaim_poll();
}

/* Lock held. */
static void schedule_locked(void)
{
    if (domain.loop) {
        bh_schedule(&domain.bh);
    }
}

void reclaim_thread_register(void)
{
    if (self.registered) {
        return;
    }
    self.registered = true;
    g_private_set(&thread_exit, &self);
    g_mutex_lock(&domain.lock);
    self.next = domain.threads;
    domain.threads = &self;
    g_mutex_unlock(&domain.lock);
    reclaim_online();
}

void reclaim_thread_unregister(void)
{
    if (!self.registered) {
        return;
    }
    reclaim_offline();
    g_mutex_lock(&domain.lock);
    ReclaimThread **link = &domain.threads;
    while (*link != &self) {
        link = &(*link)->next;
    }
    *link = self.next;
    g_mutex_unlock(&domain.lock);
    self.registered = false;
    g_private_set(&thread_exit, NULL);
}

void reclaim_online(void)
{
    if (self.registered) {
        /* An exchange, not a store: later reads must not be moved before it. */
        __atomic_exchange_n(&self.seen, __atomic_load_n(&epoch, __ATOMIC_SEQ_CST),
                            __ATOMIC_SEQ_CST);
    }
}

void reclaim_offline(void)
{
    if (!self.registered) {
        return;
    }
    uint64_t seen = __atomic_exchange_n(&self.seen, 0, __ATOMIC_SEQ_CST);
    uint64_t wanted = __atomic_load_n(&waiting, __ATOMIC_SEQ_CST);
    if (G_UNLIKELY(wanted && seen && seen <= wanted)) {
        g_mutex_lock(&domain.lock);
        schedule_locked();
        g_mutex_unlock(&domain.lock);
    }
}

void reclaim_retire(EventFn fn, void *data)
{
    Retired *r = g_new(Retired, 1);

    *r = (Retired){.fn = fn, .data = data};
    g_mutex_lock(&domain.lock);
    /* A thread that comes online in a later epoch does not find the object any more. */
    r->epoch = __atomic_fetch_add(&epoch, 1, __ATOMIC_SEQ_CST);
    *domain.tail = r;
    domain.tail = &r->next;
    schedule_locked();
    g_mutex_unlock(&domain.lock);
}

void reclaim_set_loop(EventLoop *loop)
{
    g_mutex_lock(&domain.lock);
    if (domain.loop) {
        bh_cancel(&domain.bh);
    }
    domain.loop = loop;
    if (loop) {
        bh_init(&domain.bh, loop, run_bh, NULL);
        if (domain.oldest) {
            schedule_locked();
        }
    }
    g_mutex_unlock(&domain.lock);
}

/* The oldest epoch in which another thread may still be reading. Lock held. */
static uint64_t oldest_reader(void)
{
    uint64_t oldest = G_MAXUINT64;

    for (ReclaimThread *t = domain.threads; t; t = t->next) {
        uint64_t seen = t == &self ? 0 : __atomic_load_n(&t->seen, __ATOMIC_SEQ_CST);
        if (seen && seen < oldest) {
            oldest = seen;
        }
    }
    return oldest;
}

void reclaim_poll(void)
{
    Retired *free_now, **end = &free_now;

    g_mutex_lock(&domain.lock);
    /* Set before oldest_reader(): a thread that goes offline after that schedules a new look. */
    __atomic_store_n(&waiting, domain.oldest ? domain.oldest->epoch : 0, __ATOMIC_SEQ_CST);
    uint64_t limit = oldest_reader();
    free_now = domain.oldest;
    while (*end && (*end)->epoch < limit) {
        end = &(*end)->next;
    }
    domain.oldest = *end;
    *end = NULL;
    if (!domain.oldest) {
        domain.tail = &domain.oldest;
        __atomic_store_n(&waiting, 0, __ATOMIC_SEQ_CST);
    } else if (free_now) {
        schedule_locked(); /* the next run sets 'waiting' to the epoch of the next object */
    }
    g_mutex_unlock(&domain.lock);
    while (free_now) {
        Retired *r = free_now;
        free_now = r->next;
        r->fn(r->data);
        g_free(r);
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Deferred reclamation: no object is freed under a reader, and every one is freed in the end. */
#include <string.h>
#include "base/reclaim.h"
#include "base/util.h"
#include "unit.h"

static void count_up(void *data)
{
    ++*(int *)data;
}

START_TEST(alone)
{
    int freed = 0;

    reclaim_thread_register();
    reclaim_thread_register();
    reclaim_retire(count_up, &freed);
    reclaim_retire(count_up, &freed);
    ck_assert_int_eq(freed, 0);
    reclaim_poll();
    ck_assert_int_eq(freed, 2);
    reclaim_poll();
    ck_assert_int_eq(freed, 2);
    reclaim_thread_unregister();
    reclaim_thread_unregister();
    reclaim_online();
    reclaim_offline();
}
END_TEST

/*
 * A second thread, which obeys orders. They go through a lock of ours: GAsyncQueue's is GLib's own,
 * which ThreadSanitizer does not see.
 */

typedef enum { NONE, GO_OFFLINE, GO_ONLINE, LEAVE } Order;

typedef struct {
    GThread *thread;
    GMutex lock;
    GCond changed;
    Order order; /* NONE: obeyed */
} Reader;

static void *reader_main(void *data)
{
    Reader *r = data;

    reclaim_thread_register();
    g_mutex_lock(&r->lock);
    while (r->order != LEAVE) {
        if (r->order == GO_OFFLINE) {
            reclaim_offline();
        } else {
            reclaim_online();
        }
        r->order = NONE;
        g_cond_broadcast(&r->changed);
        while (r->order == NONE) {
            g_cond_wait(&r->changed, &r->lock);
        }
    }
    g_mutex_unlock(&r->lock);
    return NULL; /* the end of the thread unregisters it */
}

static void reader_order(Reader *r, Order order)
{
    g_mutex_lock(&r->lock);
    r->order = order;
    g_cond_broadcast(&r->changed);
    while (order != LEAVE && r->order != NONE) {
        g_cond_wait(&r->changed, &r->lock);
    }
    g_mutex_unlock(&r->lock);
    if (order == LEAVE) {
        g_thread_join(r->thread);
        g_cond_clear(&r->changed);
        g_mutex_clear(&r->lock);
    }
}

static void reader_start(Reader *r)
{
    g_mutex_init(&r->lock);
    g_cond_init(&r->changed);
    r->order = NONE;
    r->thread = g_thread_new("reader", reader_main, r);
    reader_order(r, GO_ONLINE);
}

START_TEST(readers_hold)
{
    int first = 0, second = 0;
    Reader a, b;

    reader_start(&a);
    reader_start(&b);
    reclaim_retire(count_up, &first);
    reclaim_poll();
    ck_assert_int_eq(first, 0);
    reader_order(&a, GO_OFFLINE);
    reclaim_poll();
    ck_assert_int_eq(first, 0);
    reader_order(&a, GO_ONLINE); /* too late to find 'first' */
    reclaim_retire(count_up, &second);
    reader_order(&b, GO_OFFLINE);
    reclaim_poll();
    ck_assert(first == 1 && second == 0);
    reader_order(&a, LEAVE);
    reclaim_poll();
    ck_assert_int_eq(second, 1);
    reader_order(&b, LEAVE);
}
END_TEST

/* A reader that goes offline wakes the loop, which does not poll for it. */
START_TEST(on_the_loop)
{
    EventLoop *loop = event_loop_new("main", NULL);
    int freed = 0;
    Reader r;

    event_loop_bind(loop);
    reclaim_set_loop(loop);
    reader_start(&r);
    reclaim_retire(count_up, &freed);
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_int_eq(freed, 0);
    ck_assert(!event_loop_iterate(loop, 0));
    reader_order(&r, GO_OFFLINE);
    event_loop_iterate(loop, NS_PER_SEC);
    ck_assert_int_eq(freed, 1);
    ck_assert(!event_loop_iterate(loop, 0));
    /* No object waits: going on- and offline does not wake the loop. */
    reader_order(&r, GO_ONLINE);
    reader_order(&r, GO_OFFLINE);
    ck_assert(!event_loop_iterate(loop, 0));
    reader_order(&r, LEAVE);
    reclaim_set_loop(NULL);
    event_loop_free(loop);
}
END_TEST

/* Readers follow a pointer that a writer replaces; a freed object is poisoned. */

enum { READERS = 4, SWAPS = 5000, ALIVE = 0x600d };

typedef struct {
    int state;
} Object;

static Object *published;
static int stop, freed_objects;

static void free_object(void *data)
{
    Object *object = data;

    object->state = 0xdead;
    g_free(object);
    freed_objects++;
}

static void *follow(void *data)
{
    unsigned n = 0;

    reclaim_thread_register();
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        Object *object = __atomic_load_n(&published, __ATOMIC_ACQUIRE);
        for (int i = 0; i < 10; i++) {
            ck_assert_int_eq(object->state, ALIVE);
        }
        reclaim_offline();
        if (n++ % 64 == 0) {
            g_usleep(10);
        }
        reclaim_online();
    }
    reclaim_thread_unregister();
    return NULL;
}

static Object *new_object(void)
{
    Object *object = g_new(Object, 1);

    object->state = ALIVE;
    return object;
}

START_TEST(storm)
{
    EventLoop *loop = event_loop_new("main", NULL);
    GThread *threads[READERS];

    event_loop_bind(loop);
    reclaim_set_loop(loop);
    published = new_object();
    for (int i = 0; i < READERS; i++) {
        threads[i] = g_thread_new("reader", follow, NULL);
    }
    for (int i = 0; i < SWAPS; i++) {
        Object *old = __atomic_exchange_n(&published, new_object(), __ATOMIC_ACQ_REL);
        reclaim_retire(free_object, old);
        event_loop_iterate(loop, 0);
    }
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 10 * NS_PER_SEC;
    while (freed_objects < SWAPS) {
        event_loop_iterate(loop, NS_PER_SEC);
        ck_assert(clock_ns(CLOCK_REALTIME_NS) < end);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < READERS; i++) {
        g_thread_join(threads[i]);
    }
    g_free(published);
    reclaim_set_loop(NULL);
    event_loop_free(loop);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {alone, readers_hold, on_the_loop, storm, NULL};

    return unit_run("reclaim", tests);
}

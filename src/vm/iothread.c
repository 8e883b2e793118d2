/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object iothread. */
#include "vm/iothread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include "base/error.h"
#include "base/reclaim.h"
#include "base/util.h"

typedef struct {
    Object obj;
    EventLoop *loop;
    pthread_t thread;
    int tid; /* written before 'ready' is set, under 'lock' */
    bool ready;
    GMutex lock;
    GCond cond;
    int64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch, thread_pool_min, thread_pool_max;
} Iothread;

#define FIXED_INT(n, f, d, h)                                                                      \
    {                                                                                              \
        .name = (n), .type = PROP_INT64, .offset = offsetof(Iothread, f), .defval = (d),           \
        .help = (h), .flags = PROP_FLAG_FIXED                                                      \
    }
static const Property props[] = {
    {.name = "poll-max-ns",
     .type = PROP_INT64,
     .offset = offsetof(Iothread, poll_max_ns),
     .defval = "32768",
     .min = 0,
     .max = INT64_MAX,
     .help = "how long to look for work before sleeping; 0: sleep at once",
     .flags = PROP_FLAG_RUNTIME},
    FIXED_INT("poll-grow", poll_grow, "0", "factor by which looking grows; 0: the built-in one"),
    FIXED_INT("poll-shrink", poll_shrink, "0", "divisor by which it shrinks; 0: to nothing"),
    FIXED_INT("aio-max-batch", aio_max_batch, "0", "requests a system call; 0: the engine's"),
    FIXED_INT("thread-pool-min", thread_pool_min, "0", "threads kept for blocking work"),
    FIXED_INT("thread-pool-max", thread_pool_max, "64", "threads at most for blocking work"),
    PROP_END,
};

static void *iothread_run(void *data)
{
    Iothread *t = data;

    event_loop_bind(t->loop);
    reclaim_thread_register();
    event_loop_set_poll(t->loop, t->poll_max_ns);
    g_mutex_lock(&t->lock);
    t->tid = gettid();
    t->ready = true;
    g_cond_signal(&t->cond);
    g_mutex_unlock(&t->lock);
    event_loop_run(t->loop);
    /* Runs calls that came with or before the quit: devices that stop their queues. */
    for (int i = 0; i < 8 && event_loop_iterate(t->loop, 0); i++) {
    }
    reclaim_thread_unregister();
    return NULL;
}

static bool iothread_complete(Object *obj, GError **err)
{
    Iothread *t = container_of(obj, Iothread, obj);
    sigset_t all, old;
    char name[16];
    int ret;

    g_mutex_init(&t->lock);
    g_cond_init(&t->cond);
    t->loop = event_loop_new(obj->id, err);
    if (!t->loop) {
        g_mutex_clear(&t->lock);
        g_cond_clear(&t->cond);
        return false;
    }
    /* Signals are delivered to the main thread. */
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* of the thread itself: a page that cannot be read */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&t->thread, NULL, iothread_run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ret) {
        g_clear_pointer(&t->loop, event_loop_free);
        g_mutex_clear(&t->lock);
        g_cond_clear(&t->cond);
        return error_set_errno(err, ret, "cannot create the thread of iothread '%s'", obj->id);
    }
    g_snprintf(name, sizeof name, "IO %s", obj->id);
    pthread_setname_np(t->thread, name);
    g_mutex_lock(&t->lock);
    while (!t->ready) {
        g_cond_wait(&t->cond, &t->lock);
    }
    g_mutex_unlock(&t->lock);
    return true;
}

static void iothread_finalize(Object *obj)
{
    Iothread *t = container_of(obj, Iothread, obj);

    event_loop_quit(t->loop);
    pthread_join(t->thread, NULL);
    event_loop_free(t->loop);
    g_mutex_clear(&t->lock);
    g_cond_clear(&t->cond);
}

typedef struct {
    Iothread *thread;
    int64_t max_ns;
} NewPoll;

static void iothread_set_poll(void *data)
{
    NewPoll *poll = data;

    event_loop_set_poll(poll->thread->loop, poll->max_ns);
    g_free(poll);
}

static void iothread_property_changed(Object *obj, const char *name)
{
    Iothread *t = container_of(obj, Iothread, obj);
    NewPoll *poll = g_new(NewPoll, 1);

    *poll = (NewPoll){.thread = t, .max_ns = t->poll_max_ns};
    event_loop_call(t->loop, iothread_set_poll, poll);
}

const ObjectClass iothread_class = {
    .name = "iothread",
    .help = "a thread that runs disks' queues",
    .size = sizeof(Iothread),
    .parent = "event-loop-base",
    .props = props,
    .complete = iothread_complete,
    .finalize = iothread_finalize,
    .property_changed = iothread_property_changed,
};

EventLoop *iothread_loop(Object *obj)
{
    return container_of(obj, Iothread, obj)->loop;
}

int iothread_tid(Object *obj)
{
    return container_of(obj, Iothread, obj)->tid;
}

int64_t iothread_poll_max_ns(Object *obj)
{
    return container_of(obj, Iothread, obj)->poll_max_ns;
}

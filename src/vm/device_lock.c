/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device locks, deferred work, and timers and bottom halves that take the lock. */
#include "device_internal.h"

#include "base/coroutine.h"
#include "base/reclaim.h"

struct DeviceLock {
    GMutex mutex;
    int refs;       /* atomic */
    unsigned depth; /* of nested device_lock() calls; the holder's */
    /* Deferred work. */
    GMutex defer_mutex; /* a leaf; for defer_done */
    GCond defer_done;
    CoQueue defer_waiters;
    int deferred;      /* atomic */
    Device *defer_dev; /* NULL: the device died before the work began, so the work is dropped */
    DeviceFn defer_fn;
    /* Main loop only. */
    bool defer_running;
    GSList *released; /* devices that died while deferred work ran, freed after it */
};

/* The one device lock that this thread holds. */
static __thread DeviceLock *held;

DeviceLock *device_lock_new(void)
{
    DeviceLock *lock = g_new0(DeviceLock, 1);

    g_mutex_init(&lock->mutex);
    g_mutex_init(&lock->defer_mutex);
    g_cond_init(&lock->defer_done);
    co_queue_init(&lock->defer_waiters);
    lock->refs = 1;
    return lock;
}

DeviceLock *device_lock_ref(DeviceLock *lock)
{
    __atomic_fetch_add(&lock->refs, 1, __ATOMIC_RELAXED);
    return lock;
}

void device_lock_unref(DeviceLock *lock)
{
    if (__atomic_sub_fetch(&lock->refs, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    g_mutex_clear(&lock->mutex);
    g_mutex_clear(&lock->defer_mutex);
    g_cond_clear(&lock->defer_done);
    co_queue_destroy(&lock->defer_waiters);
    g_free(lock);
}

void device_lock(Device *dev)
{
    DeviceLock *lock = dev->lock;

    if (held) {
        /* A thread that held two device locks could deadlock with one that takes them reversed. */
        g_assert(held == lock);
        lock->depth++;
        return;
    }
    g_mutex_lock(&lock->mutex);
    held = lock;
    lock->depth = 1;
}

void device_unlock(Device *dev)
{
    DeviceLock *lock = dev->lock;

    g_assert(held == lock && lock->depth);
    if (--lock->depth == 0) {
        held = NULL;
        g_mutex_unlock(&lock->mutex);
    }
}

bool device_lock_held(const Device *dev)
{
    return held == dev->lock;
}

void device_share_lock(Device *dev, Device *with)
{
    g_assert(!dev->realized && dev->lock != held);
    device_lock_unref(dev->lock);
    dev->lock = device_lock_ref(with->lock);
}

/* Deferred work. */

static void end_deferred(DeviceLock *lock)
{
    g_mutex_lock(&lock->defer_mutex);
    __atomic_store_n(&lock->deferred, 0, __ATOMIC_RELEASE);
    g_cond_broadcast(&lock->defer_done);
    g_mutex_unlock(&lock->defer_mutex);
    co_queue_wake_all(&lock->defer_waiters);
}

static void coroutine_fn run_deferred(void *data)
{
    DeviceLock *lock = data;
    GSList *released;

    if (lock->defer_dev) {
        lock->defer_running = true;
        lock->defer_fn(lock->defer_dev);
        lock->defer_running = false;
    }
    released = g_steal_pointer(&lock->released);
    end_deferred(lock);
    g_slist_free_full(released, device_retire);
    device_lock_unref(lock);
}

void device_defer_forget(Device *dev)
{
    DeviceLock *lock = dev->lock;

    g_assert(device_lock_held(dev));
    if (lock->defer_dev == dev && !lock->defer_running) {
        lock->defer_dev = NULL;
    }
}

void device_defer_release(Device *dev)
{
    DeviceLock *lock = dev->lock;

    if (lock->defer_running) {
        lock->released = g_slist_append(lock->released, dev);
    } else {
        device_retire(dev);
    }
}

static void start_deferred(void *data)
{
    coroutine_start(run_deferred, data);
}

void device_defer(Device *dev, DeviceFn fn)
{
    DeviceLock *lock = dev->lock;

    g_assert(device_lock_held(dev) && !device_deferred(dev));
    lock->defer_dev = dev;
    lock->defer_fn = fn;
    __atomic_store_n(&lock->deferred, 1, __ATOMIC_RELEASE);
    device_lock_ref(lock);
    event_loop_call(dev->vm->loop, start_deferred, lock);
}

void coroutine_fn device_defer_claim(Device *dev)
{
    DeviceLock *lock = device_lock_ref(dev->lock);

    device_lock(dev);
    while (device_deferred(dev)) {
        device_unlock(dev);
        device_lock_defer_wait(lock);
        device_lock(dev);
    }
    lock->defer_dev = NULL;
    __atomic_store_n(&lock->deferred, 1, __ATOMIC_RELEASE);
    device_unlock(dev);
}

void device_defer_unclaim(Device *dev)
{
    DeviceLock *lock = dev->lock;

    end_deferred(lock);
    device_lock_unref(lock);
}

bool device_deferred(Device *dev)
{
    return __atomic_load_n(&dev->lock->deferred, __ATOMIC_ACQUIRE);
}

void device_lock_defer_wait(DeviceLock *lock)
{
    g_assert(held != lock);
    if (in_coroutine()) {
        while (__atomic_load_n(&lock->deferred, __ATOMIC_ACQUIRE)) {
            co_queue_wait(&lock->defer_waiters, NULL);
        }
        return;
    }
    if (!__atomic_load_n(&lock->deferred, __ATOMIC_ACQUIRE)) {
        return;
    }
    /* A thread with a loop must not sleep here: the deferred work may need that loop. */
    g_assert(!event_loop_current());
    reclaim_offline();
    g_mutex_lock(&lock->defer_mutex);
    while (__atomic_load_n(&lock->deferred, __ATOMIC_ACQUIRE)) {
        g_cond_wait(&lock->defer_done, &lock->defer_mutex);
    }
    g_mutex_unlock(&lock->defer_mutex);
    reclaim_online();
}

void device_defer_wait(Device *dev)
{
    DeviceLock *lock = device_lock_ref(dev->lock);

    device_lock_defer_wait(lock);
    device_lock_unref(lock);
}

/* Timers and bottom halves. */

typedef struct {
    Device *dev;
    DeviceFn fn;
} DeviceWork;

struct DeviceTimer {
    DeviceWork work;
    Timer *timer;
};
struct DeviceBh {
    DeviceWork work;
    BottomHalf bh;
};

static void run_work(DeviceWork *work)
{
    Device *dev = work->dev;

    device_lock(dev);
    if (__atomic_load_n(&dev->live, __ATOMIC_RELAXED)) {
        work->fn(dev);
    }
    device_unlock(dev);
}

static void device_lock_timer_fired(void *data)
{
    run_work(&((DeviceTimer *)data)->work);
}

static void device_lock_bh_fired(void *data)
{
    run_work(&((DeviceBh *)data)->work);
}

/* A timer or bottom half that unrealize must end. */
typedef struct {
    void *thing;
    void (*end)(void *thing);
} LoopThing;

static void end_timer(void *thing)
{
    DeviceTimer *t = thing;

    timer_free(t->timer);
    g_free(t);
}

static void end_bh(void *thing)
{
    DeviceBh *bh = thing;

    bh_cancel(&bh->bh);
    g_free(bh);
}

static void device_lock_remember(Device *dev, void *thing, void (*end)(void *thing))
{
    LoopThing *lt = g_new(LoopThing, 1);

    *lt = (LoopThing){.thing = thing, .end = end};
    if (!dev->loop_things) {
        dev->loop_things = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(dev->loop_things, lt);
}

static void end_thing(Device *dev, void *thing)
{
    for (unsigned i = 0; dev->loop_things && i < dev->loop_things->len; i++) {
        LoopThing *lt = dev->loop_things->pdata[i];

        if (lt->thing == thing) {
            lt->end(thing);
            g_ptr_array_remove_index_fast(dev->loop_things, i);
            return;
        }
    }
    g_assert_not_reached();
}

void device_free_loop_things(Device *dev)
{
    while (dev->loop_things && dev->loop_things->len) {
        end_thing(dev, ((LoopThing *)dev->loop_things->pdata[dev->loop_things->len - 1])->thing);
    }
    g_clear_pointer(&dev->loop_things, g_ptr_array_unref);
}

DeviceTimer *device_timer_new(Device *dev, ClockType clock, DeviceFn fn)
{
    DeviceTimer *t = g_new0(DeviceTimer, 1);

    t->work = (DeviceWork){.dev = dev, .fn = fn};
    t->timer = timer_new(dev->loop, clock, device_lock_timer_fired, t);
    device_lock_remember(dev, t, end_timer);
    return t;
}

void device_timer_arm(DeviceTimer *t, int64_t deadline_ns)
{
    timer_arm(t->timer, deadline_ns);
}

void device_timer_cancel(DeviceTimer *t)
{
    timer_cancel(t->timer);
}

bool device_timer_armed(const DeviceTimer *t)
{
    return timer_armed(t->timer);
}

void device_timer_free(DeviceTimer *t)
{
    if (t) {
        end_thing(t->work.dev, t);
    }
}

DeviceBh *device_bh_new(Device *dev, DeviceFn fn)
{
    DeviceBh *bh = g_new0(DeviceBh, 1);

    bh->work = (DeviceWork){.dev = dev, .fn = fn};
    bh_init(&bh->bh, dev->loop, device_lock_bh_fired, bh);
    device_lock_remember(dev, bh, end_bh);
    return bh;
}

void device_bh_schedule(DeviceBh *bh)
{
    bh_schedule(&bh->bh);
}

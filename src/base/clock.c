/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clocks: the host's monotonic and wall clocks, and the virtual clock, which all loops share.
 */
#include "loop_private.h"

#include <time.h>
#include "base/util.h"

/*
 * The virtual clock in one word, so that any thread reads it without a lock. Bit 0 set: the clock
 * stands, and the other bits (signed) are its time. Bit 0 clear: they are its offset from the
 * host's monotonic clock. A reader that races with a freeze may get a time slightly after that of
 * the freeze; vCPUs, which would notice, are stopped first. The clock stands at 0 until the VM
 * runs.
 */
static int64_t virtual_state = 1;
static int virtual_manual; /* atomic: only virtual_clock_set() moves it */
static int virtual_paused; /* atomic; manual mode only: timers do not fire */

/* Limit of timers that fire at one time of the manual clock: one that re-arms for now must end. */
enum { FIRES_PER_INSTANT = 10000 };

static int64_t host_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static int64_t load_state(void)
{
    return __atomic_load_n(&virtual_state, __ATOMIC_SEQ_CST);
}

static void store_state(int64_t value, bool stands)
{
    __atomic_store_n(&virtual_state, (int64_t)((uint64_t)value << 1 | stands), __ATOMIC_SEQ_CST);
}

int64_t clock_ns(ClockType clock)
{
    if (clock == CLOCK_HOST_NS) {
        return host_ns(CLOCK_REALTIME);
    }
    if (clock == CLOCK_REALTIME_NS) {
        return host_ns(CLOCK_MONOTONIC);
    }
    int64_t state = load_state();
    return (state >> 1) + (state & 1 ? 0 : host_ns(CLOCK_MONOTONIC));
}

static void wake_one(EventLoop *loop, void *data)
{
    loop_wake(loop);
}

/* Makes every loop compute its poll timeout again. */
static void wake_all(void)
{
    loops_foreach(wake_one, NULL);
}

bool virtual_clock_is_manual(void)
{
    return __atomic_load_n(&virtual_manual, __ATOMIC_RELAXED);
}

bool virtual_clock_moves(void)
{
    return !(load_state() & 1);
}

bool virtual_clock_fires(void)
{
    return virtual_clock_moves() ||
           (virtual_clock_is_manual() && !__atomic_load_n(&virtual_paused, __ATOMIC_RELAXED));
}

bool virtual_clock_frozen(void)
{
    return !virtual_clock_fires();
}

void virtual_clock_freeze(void)
{
    if (virtual_clock_is_manual()) {
        __atomic_store_n(&virtual_paused, 1, __ATOMIC_RELAXED);
    } else if (virtual_clock_moves()) {
        store_state(clock_ns(CLOCK_VIRTUAL_NS), true);
    }
}

void virtual_clock_thaw(void)
{
    if (virtual_clock_is_manual()) {
        __atomic_store_n(&virtual_paused, 0, __ATOMIC_RELAXED);
    } else if (!virtual_clock_moves()) {
        store_state(clock_ns(CLOCK_VIRTUAL_NS) - host_ns(CLOCK_MONOTONIC), false);
    }
    wake_all();
}

void virtual_clock_make_manual(void)
{
    virtual_clock_freeze();
    __atomic_store_n(&virtual_manual, 1, __ATOMIC_RELAXED);
}

/*
 * Moves the manual clock to 'ns', with a stop at each deadline: a callback sees the time that it
 * asked for, and a timer that it arms fires in this same step if it is due by 'ns'.
 */
static void step_to(EventLoop *loop, int64_t ns)
{
    int64_t deadline;
    int fires = 0;

    while (timers_next_virtual(loop, &deadline) && deadline <= ns) {
        if (deadline > clock_ns(CLOCK_VIRTUAL_NS)) {
            store_state(deadline, true);
            fires = 0;
        }
        if (fires++ == FIRES_PER_INSTANT || !virtual_clock_fires() ||
            !timers_fire_virtual(loop, clock_ns(CLOCK_VIRTUAL_NS))) {
            break;
        }
    }
}

void virtual_clock_set(int64_t ns)
{
    EventLoop *loop = event_loop_current();

    if (virtual_clock_moves()) {
        store_state(ns - host_ns(CLOCK_MONOTONIC), false);
    } else {
        if (loop && virtual_clock_fires()) {
            step_to(loop, ns);
        }
        store_state(ns, true);
    }
    wake_all();
}

static void min_deadline(EventLoop *loop, void *data)
{
    int64_t *earliest = data, deadline;

    if (timers_next_virtual(loop, &deadline) && (*earliest < 0 || deadline < *earliest)) {
        *earliest = deadline;
    }
}

int64_t virtual_clock_next_deadline(void)
{
    int64_t earliest = -1;

    loops_foreach(min_deadline, &earliest);
    return earliest;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: file descriptors, timers, deferred calls, and an io_uring where the kernel has
 * one. The main thread runs one, every I/O thread another. A handler belongs to its home loop and
 * runs on that loop's thread only.
 *
 * Threads: unless a function says 'any thread', it is called on the loop's own thread, or before
 * the loop runs. A loop never blocks but in its poll.
 */
#ifndef BASE_EVENT_LOOP_H
#define BASE_EVENT_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct EventLoop EventLoop;
typedef struct FdHandler FdHandler;
typedef struct Timer Timer;
struct io_uring;

typedef void (*EventFn)(void *data);

/*
 * The creator owns the loop and frees it after its thread has left event_loop_run(). Freeing drops
 * the remaining handlers and calls. Timers still belong to their owners, and no longer fire.
 */
EventLoop *event_loop_new(const char *name, GError **err);
void event_loop_free(EventLoop *loop);
const char *event_loop_name(EventLoop *loop);
/* The loop whose thread is calling, or NULL on a thread that runs none (a vCPU, a pool worker). */
EventLoop *event_loop_current(void);
/* Makes the calling thread the loop's thread, until the loop is freed. One loop for each thread. */
void event_loop_bind(EventLoop *loop);
bool event_loop_in_thread(EventLoop *loop);

/* Runs until event_loop_quit() (any thread). */
void event_loop_run(EventLoop *loop);
void event_loop_quit(EventLoop *loop);
/*
 * One turn: poll (waiting at most timeout_ns, -1 for ever, 0 not at all), then run what is due.
 * True where a handler, call or timer ran. Must not be called from a handler.
 */
bool event_loop_iterate(EventLoop *loop, int64_t timeout_ns);

/* File descriptors. poll(2)-like, level-triggered; either callback may be NULL. */
struct FdHandler {
    EventFn read, write; /* readable or hung up; writable */
    void *data;
    int fd;
    /* Private to the loop. */
    EventLoop *loop;
    unsigned events;
    bool dead;
};
/*
 * The loop owns the handler; data is borrowed. At first each callback that is not NULL is wanted.
 * Never fails (asserts a valid fd). A regular file is always ready. A descriptor has at most one
 * handler, which is removed before the descriptor is closed.
 */
FdHandler *event_loop_add_fd(EventLoop *loop, int fd, EventFn read, EventFn write, void *data);
/* Which callbacks are wanted now. With both false, not even a hang-up wakes the loop. */
void fd_handler_set(FdHandler *h, bool want_read, bool want_write);
/* After this returns neither callback runs again. h is freed by the loop. NULL is ignored. */
void fd_handler_remove(FdHandler *h);

/*
 * Clocks, in ns. REALTIME is monotonic host time; VIRTUAL stops while the VM is paused and is
 * what guests see (under qtest it moves only when told to); HOST is the wall clock.
 */
typedef enum { CLOCK_REALTIME_NS, CLOCK_VIRTUAL_NS, CLOCK_HOST_NS, CLOCK_COUNT } ClockType;

/* Any thread. */
int64_t clock_ns(ClockType clock);
/*
 * The virtual clock: freeze/thaw by run state, set/step by qtest. Main loop thread only. It starts
 * frozen, at 0. While it is frozen its timers do not fire, due or not.
 */
void virtual_clock_freeze(void);
void virtual_clock_thaw(void);
bool virtual_clock_frozen(void);
/*
 * Sets the clock, whether frozen or not (state load, qtest). A manual clock that is not frozen
 * stops at each deadline of the calling thread's loop on the way, and fires the timers that are due
 * then.
 */
void virtual_clock_set(int64_t ns);
/*
 * qtest: from now on only virtual_clock_set() moves the clock, and freeze and thaw only decide
 * whether timers fire. Timers may fire until the first freeze. Call once, at start.
 */
void virtual_clock_make_manual(void);
bool virtual_clock_is_manual(void);
/* Earliest deadline of any armed VIRTUAL timer on any loop, or -1. */
int64_t virtual_clock_next_deadline(void);

/*
 * One-shot timers. Any thread arms and cancels; the callback runs on the home loop. When another
 * thread cancels, the callback may still be about to run: the data is therefore freed on the home
 * loop. A device's timers are made by device_timer_new(), which takes the device's lock.
 */
Timer *timer_new(EventLoop *loop, ClockType clock, EventFn fn, void *data);
void timer_arm(Timer *t, int64_t deadline_ns); /* re-arms where armed */
void timer_cancel(Timer *t);
bool timer_armed(const Timer *t);
int64_t timer_deadline(const Timer *t); /* -1 where not armed */
void timer_free(Timer *t); /* on the home loop's thread, or when that has left; NULL is ignored */

/* Deferred calls: fn(data) soon, on the loop's thread, in order, from a fresh stack. Any thread. */
void event_loop_call(EventLoop *loop, EventFn fn, void *data);
/*
 * The same, and waits. Only for threads that may block (a vCPU without a device lock, pool
 * workers, the main thread before the loops run); asserts that no loop thread calls it on another
 * loop. On the loop's own thread fn is called directly.
 */
void event_loop_call_wait(EventLoop *loop, EventFn fn, void *data);

/*
 * A bottom half is a deferred call that is embedded in its owner. Scheduled twice before it runs,
 * it runs once. Any thread schedules; initialise and cancel on the loop.
 */
typedef struct BottomHalf {
    EventLoop *loop;
    EventFn fn;
    void *data;
    struct BottomHalf *next;
    int scheduled; /* atomic */
} BottomHalf;
void bh_init(BottomHalf *bh, EventLoop *loop, EventFn fn, void *data);
void bh_schedule(BottomHalf *bh);
/* fn does not run until bh_schedule() is called again. */
void bh_cancel(BottomHalf *bh);

/*
 * Adaptive polling: before it sleeps, the loop busy-waits for up to max_ns (QEMU's poll-max-ns of
 * an iothread; 0: never) and calls 'poll' again and again, which returns true when it found work.
 *
 * 'quiet' (may be NULL) is called with true when the loop begins to busy-wait: whoever brings work
 * need not notify the loop until it is called with false, which happens before the loop sleeps.
 * The loop then calls 'poll' once more, for work that came in between. While sources are quiet,
 * every turn polls them.
 */
void event_loop_set_poll(EventLoop *loop, int64_t max_ns);
typedef struct PollHandler PollHandler;
PollHandler *event_loop_add_poll(EventLoop *loop, bool (*poll)(void *data),
                                 void (*quiet)(void *data, bool on), void *data);
void poll_handler_remove(PollHandler *p);

/*
 * io_uring. The first event_loop_has_uring() makes the ring; false and *err where the kernel has
 * none. The user data of an SQE is a UringOp, whose done() is called with the CQE's result on the
 * loop's thread. SQEs that are queued during a turn are submitted together, when the next begins.
 */
typedef struct UringOp {
    void (*done)(struct UringOp *op, int res);
} UringOp;
struct io_uring_sqe;
bool event_loop_has_uring(EventLoop *loop, GError **err);
/* An SQE whose user data is op. Never NULL; only after event_loop_has_uring() returned true. */
struct io_uring_sqe *event_loop_get_sqe(EventLoop *loop, UringOp *op);
/*
 * fn(data) is called at the start of each turn, before the loop polls: engines that batch (libaio)
 * submit there.
 */
void event_loop_add_flush(EventLoop *loop, EventFn fn, void *data);
void event_loop_remove_flush(EventLoop *loop, EventFn fn, void *data);
/*
 * What a module keeps for a loop, one of each 'free_fn'. event_loop_free() calls free_fn(data)
 * after it has removed the loop's handlers.
 */
void event_loop_attach(EventLoop *loop, EventFn free_fn, void *data);
void *event_loop_attached(EventLoop *loop, EventFn free_fn); /* NULL: none */

/*
 * Yields until every other loop of the process has had a turn that found nothing to do, and the
 * calling one has had a few turns. For those who have muted all sources of work before: what was
 * under way then is over. In a coroutine of the main loop.
 */
void event_loops_settle(void);

/* How many turns the loop has taken. Any thread. Tests of idleness compare it. */
uint64_t event_loop_turns(EventLoop *loop);

#endif

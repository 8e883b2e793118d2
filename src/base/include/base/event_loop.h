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
 * Life. The creator owns the loop and frees it after its thread has left event_loop_run(). Handlers
 * and calls that are left then are dropped; timers stay their owners', and no longer fire.
 */
EventLoop *event_loop_new(const char *name, GError **err);
void event_loop_free(EventLoop *loop);
const char *event_loop_name(EventLoop *loop);
/* The loop whose thread is calling, or NULL on a thread that runs none (a vCPU, a pool worker). */
EventLoop *event_loop_current(void);
/* Makes the calling thread the loop's: event_loop_current() gives it, asserts are held to it. */
void event_loop_bind(EventLoop *loop);
bool event_loop_in_thread(EventLoop *loop);

/* Runs until event_loop_quit() (any thread). */
void event_loop_run(EventLoop *loop);
void event_loop_quit(EventLoop *loop);
/*
 * One turn: poll (waiting at most timeout_ns, -1 for ever, 0 not at all), then run what is due.
 * True where anything ran. Not to be nested inside a handler: what waits there is a coroutine.
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
 * The handler is the loop's until removed; data is borrowed. At first every callback that is there
 * is wanted. Never fails (asserts a valid fd); a regular file is always ready. A descriptor has one
 * handler, which is removed before the descriptor is closed.
 */
FdHandler *event_loop_add_fd(EventLoop *loop, int fd, EventFn read, EventFn write, void *data);
/* Which of the two are wanted now; both false is 'muted' (and costs no wake-ups). */
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
 * Sets what the (frozen) clock says: state load. The manual clock, unless frozen, goes there by way
 * of each deadline of the calling thread's loop and fires what is due with the clock standing at
 * that time.
 */
void virtual_clock_set(int64_t ns);
/*
 * qtest: the clock moves only by virtual_clock_set(). Freeze and thaw then decide no more than
 * whether timers fire; they may from here on. Call once, at start.
 */
void virtual_clock_make_manual(void);
bool virtual_clock_is_manual(void);
/* Earliest deadline of any armed VIRTUAL timer on any loop, or -1. */
int64_t virtual_clock_next_deadline(void);

/*
 * Timers, one-shot. Arming and cancelling are for any thread; the callback runs on the home loop.
 * A cancelled timer's callback may be just about to run on another thread: who frees the data
 * does so on the home loop. 'device work' is wrapped in the device's lock by device_timer_new().
 */
Timer *timer_new(EventLoop *loop, ClockType clock, EventFn fn, void *data);
void timer_arm(Timer *t, int64_t deadline_ns); /* re-arms where armed */
void timer_cancel(Timer *t);
bool timer_armed(const Timer *t);
int64_t timer_deadline(const Timer *t); /* -1 where not armed */
void timer_free(Timer *t); /* on the home loop, or when it has stopped; NULL is ignored */

/* Deferred calls: fn(data) soon, on the loop's thread, in order, from a fresh stack. Any thread. */
void event_loop_call(EventLoop *loop, EventFn fn, void *data);
/*
 * The same, and waits. Only for threads that may block (a vCPU without a device lock, pool
 * workers, the main thread before the loops run); asserts that no loop thread calls it on another
 * loop. On the loop's own thread fn is called directly.
 */
void event_loop_call_wait(EventLoop *loop, EventFn fn, void *data);

/*
 * Bottom halves: an embeddable deferred call without allocation, which collapses: scheduled twice
 * before it runs, it runs once. Schedule from any thread; initialise and cancel on the loop.
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
/* It will not run again unless scheduled again. */
void bh_cancel(BottomHalf *bh);

/*
 * Adaptive polling before sleeping, as QEMU's iothread poll-max-ns: 'poll' is called in the busy
 * part and returns true when it found work. max_ns 0 switches it off.
 *
 * 'quiet' (may be NULL) is told true when the loop begins to look for itself, so that who brings
 * work need not announce it, and false before the loop sleeps; then 'poll' is called once more, for
 * what came in between. While a source is quiet, it is polled in every turn.
 */
void event_loop_set_poll(EventLoop *loop, int64_t max_ns);
typedef struct PollHandler PollHandler;
PollHandler *event_loop_add_poll(EventLoop *loop, bool (*poll)(void *data),
                                 void (*quiet)(void *data, bool on), void *data);
void poll_handler_remove(PollHandler *p);

/*
 * io_uring. Created at the first call; NULL (and *err set) where the kernel has none. Completions
 * are delivered to the callback stored by uring_prep's caller: user_data must point to a UringOp.
 * SQEs queued during a turn are submitted once, at its end.
 */
typedef struct UringOp {
    void (*done)(struct UringOp *op, int res);
} UringOp;
struct io_uring_sqe;
bool event_loop_has_uring(EventLoop *loop, GError **err);
/* An SQE with its user data set to op; never NULL after event_loop_has_uring() said true. */
struct io_uring_sqe *event_loop_get_sqe(EventLoop *loop, UringOp *op);
/*
 * Called once at the end of each turn before the poll, where set: engines that batch (libaio)
 * submit there.
 */
void event_loop_add_flush(EventLoop *loop, EventFn fn, void *data);
void event_loop_remove_flush(EventLoop *loop, EventFn fn, void *data);

/* System calls and turns made, for the monitor and tests of idleness. */
uint64_t event_loop_turns(EventLoop *loop);

#endif

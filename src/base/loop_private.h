/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by the parts of the event loop only: event_loop.c (life and turns), loop_*.c, timers.c,
 * clock.c and uring.c.
 */
#ifndef BASE_LOOP_PRIVATE_H
#define BASE_LOOP_PRIVATE_H

#include "base/event_loop.h"

typedef struct {
    Timer **heap; /* the earliest deadline first; equal ones in the order of arming */
    unsigned count, room;
} TimerQueue;

typedef struct {
    GMutex lock; /* a leaf; guards all members below, and Timer */
    TimerQueue queues[CLOCK_COUNT];
    uint64_t sequence;
} Timers;

typedef struct Uring Uring;
typedef struct FdEntry FdEntry;

typedef struct {
    EventFn fn;
    void *data;
} LoopHook;

/* One that waits for a turn that finds nothing to do; freed when it is called. */
typedef struct LoopIdler {
    EventFn fn;
    void *data;
    struct LoopIdler *next;
} LoopIdler;

struct EventLoop {
    char *name;
    int epoll_fd;
    int wake_fd; /* eventfd, watched edge-triggered, so that it need not be read */
    /*
     * 1 from before the loop last looks for work until poll returns. A thread that brings work
     * meanwhile sets it to 0; the one that found 1 writes wake_fd. Atomic, sequentially consistent.
     */
    int sleeping;
    int quit;    /* atomic */
    int callers; /* atomic: threads inside bh_schedule() or event_loop_quit() of this loop */
    int running; /* atomic: a thread is inside event_loop_run() or event_loop_iterate() */
    bool in_turn;
    uint64_t turns; /* atomic */

    BottomHalf *incoming;            /* atomic stack, newest first; any thread pushes */
    BottomHalf *ready, **ready_tail; /* taken from 'incoming', oldest first */

    FdEntry *fds;          /* all but the dead */
    FdEntry *changed;      /* 'events' differ from those that epoll watches */
    FdEntry *dead;         /* removed; freed at the end of the turn */
    GPtrArray *unpollable; /* FdEntry: regular files, always ready; or NULL */

    Timers timers;
    int host_jump_fd; /* a timerfd that reports steps of the wall clock, or -1 */

    int64_t poll_max_ns, poll_ns;
    PollHandler *polls;
    unsigned poll_walks;      /* walks of 'polls' that are under way: none frees a handler */
    bool quiet;               /* whether poll sources do without notifications */
    GArray *flushes;          /* LoopHook: event_loop_add_flush() */
    guint next_flush;         /* index into 'flushes' of the walk that is under way */
    struct LoopIdler *idlers; /* those who wait for a turn that finds nothing to do */
    unsigned jobs;            /* of its, with the pool or told of and not yet run; home thread */
    GArray *attached;         /* LoopHook: event_loop_attach() */

    Uring *uring;
    unsigned polls_skipped;

    EventLoop *next; /* in the list of all loops */
};

/* The calling thread's; or NULL. */
extern __thread EventLoop *loop_current;

/* Makes a loop that is in poll, or about to be, look for work again. Any thread. */
void loop_wake(EventLoop *loop);
/* Asserts that the caller is the loop's thread, or that no thread runs the loop. */
void loop_assert_home(const EventLoop *loop);
/* Calls fn for every loop of the process, under the lock of their list. */
void loops_foreach(void (*fn)(EventLoop *loop, void *data), void *data);

/* loop_fd.c. epoll_ctl() with a tag: an FdEntry, or NULL for what has no handler. False and errno.
 */
bool loop_epoll_set(EventLoop *loop, int op, int fd, uint32_t events, void *tag);
/* Puts the io_uring's descriptor into the loop's epoll; false and errno. */
bool loop_watch_ring(EventLoop *loop, int fd);
/* Tells epoll what has changed since the last turn. */
void fds_apply_changes(EventLoop *loop);
/* Calls the handlers for the events of epoll; true where it has called one. */
bool fd_entry_dispatch(FdEntry *entry, uint32_t events);
/* Descriptors that epoll refuses: whether one has events that its handler wants, and the calls. */
bool fds_always_ready(EventLoop *loop);
bool fds_dispatch_always_ready(EventLoop *loop);
/* The end of a turn: no event points to a removed entry any more. */
void fds_free_dead(EventLoop *loop);
void fds_free(EventLoop *loop);

/* loop_calls.c. */
static inline bool calls_pending(EventLoop *loop)
{
    return loop->ready || __atomic_load_n(&loop->incoming, __ATOMIC_SEQ_CST);
}
bool calls_run(EventLoop *loop);
void calls_free(EventLoop *loop);

/* pool.c. No job of the loop's is told of any more, and none is begun. Data of such jobs are never
 * freed: one that runs uses them. */
void pool_abandon(EventLoop *loop);

/* loop_poll.c. Asks all poll sources; true where one has found work. */
bool polls_look(EventLoop *loop);
/* Looks for work of any kind for at most 'ns'; true where it has found some. */
bool polls_busy_wait(EventLoop *loop, int64_t ns);
/* Tells all poll sources whether they may do without notifications; off when the loop sleeps. */
void polls_set_quiet(EventLoop *loop, bool on);
/* Sets the next busy-wait: longer where that would have met the event, none after a long sleep. */
void polls_adapt(EventLoop *loop, int64_t slept);
void polls_free(EventLoop *loop);

/* loop_hooks.c. */
void hooks_run_flushes(EventLoop *loop);
void hooks_free(EventLoop *loop);

void timers_init(EventLoop *loop);
void timers_destroy(EventLoop *loop);
/* How long the loop may sleep: 'limit' (ns, -1 for ever), or until the first timer is due. */
int64_t timers_timeout(EventLoop *loop, int64_t limit);
bool timers_run(EventLoop *loop);
/* The first deadline of the loop's VIRTUAL timers; false where none is armed. */
bool timers_next_virtual(EventLoop *loop, int64_t *deadline);
/* Fires the first VIRTUAL timer; false where it is not due at 'ns'. */
bool timers_fire_virtual(EventLoop *loop, int64_t ns);

/* Whether VIRTUAL timers may fire, and whether the clock moves by itself. */
bool virtual_clock_fires(void);
bool virtual_clock_moves(void);

/* After a turn that found nothing to do: those who waited for one are called. */
void loop_run_idlers(EventLoop *loop);

/* Submits queued SQEs; true where the loop must not sleep: uring_reap() has work, or SQEs remain.
 */
bool uring_submit(EventLoop *loop);
bool uring_ready(EventLoop *loop);
bool uring_reap(EventLoop *loop);
void uring_free(EventLoop *loop);

#endif

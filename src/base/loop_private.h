/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the event loop share: event_loop.c (turns, file descriptors, calls), timers.c,
 * clock.c and uring.c. Nobody else includes it.
 */
#ifndef BASE_LOOP_PRIVATE_H
#define BASE_LOOP_PRIVATE_H

#include "base/event_loop.h"

typedef struct {
    Timer **heap; /* the earliest deadline first; equal ones in the order of arming */
    unsigned count, room;
} TimerQueue;

typedef struct {
    GMutex lock; /* a leaf; everything below */
    TimerQueue queues[CLOCK_COUNT];
    uint64_t sequence;
} Timers;

typedef struct Uring Uring;
typedef struct FdEntry FdEntry;

typedef struct {
    EventFn fn;
    void *data;
} FlushHook;

struct EventLoop {
    char *name;
    int epoll_fd;
    int wake_fd; /* eventfd, watched edge-triggered, so that nobody need read it */
    /*
     * 1 from before the last look for work until poll returns: whoever brings work meanwhile and
     * turns it to 0 writes wake_fd. Atomic, sequentially consistent.
     */
    int sleeping;
    int quit;    /* atomic */
    int callers; /* atomic: threads that are inside bh_schedule() for this loop */
    int running; /* atomic: a thread is inside event_loop_run() or a turn */
    bool in_turn;
    uint64_t turns; /* atomic */

    BottomHalf *incoming;            /* atomic stack, newest first; any thread pushes */
    BottomHalf *ready, **ready_tail; /* taken from it, oldest first */

    FdEntry *fds;          /* all that live */
    FdEntry *changed;      /* whose wishes epoll has not been told yet */
    FdEntry *dead;         /* to be freed at the end of the turn */
    GPtrArray *unpollable; /* FdEntry: regular files, always ready; NULL where there is none */

    Timers timers;
    int host_jump_fd; /* a timerfd that reports steps of the wall clock, or -1 */

    int64_t poll_max_ns, poll_ns;
    PollHandler *polls;
    bool quiet;      /* the polled have been told that they are */
    GArray *flushes; /* FlushHook */

    Uring *uring;
    unsigned polls_skipped;

    EventLoop *next; /* in the list of all loops */
};

/* Any thread: makes a loop that is in poll, or about to be, look for work again. */
void loop_wake(EventLoop *loop);
void loop_assert_home(const EventLoop *loop);
/* Calls fn for every loop of the process, under the lock of their list. */
void loops_foreach(void (*fn)(EventLoop *loop, void *data), void *data);
/* Puts a descriptor of our own into the loop's epoll; 'tag' is what epoll gives back. */
bool loop_watch_ring(EventLoop *loop, int fd);

void timers_init(EventLoop *loop);
void timers_destroy(EventLoop *loop);
/* 'limit' (ns, -1 for ever), or less where a timer is due before. */
int64_t timers_timeout(EventLoop *loop, int64_t limit);
bool timers_run(EventLoop *loop);
/* Fires one VIRTUAL timer that is due at 'ns', after giving its deadline to *deadline. */
bool timers_next_virtual(EventLoop *loop, int64_t *deadline);
bool timers_fire_virtual(EventLoop *loop, int64_t ns);

/* Whether VIRTUAL timers may fire, and whether the clock moves by itself. */
bool virtual_clock_fires(void);
bool virtual_clock_moves(void);

/* Submits what is queued; true where completions are there to be reaped. */
bool uring_submit(EventLoop *loop);
bool uring_ready(EventLoop *loop);
bool uring_reap(EventLoop *loop);
void uring_free(EventLoop *loop);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An event loop's life and its turns.
 *
 * One turn: flush hooks and the io_uring submit what was queued since the last turn; busy-wait
 * where adaptive polling is on; epoll; then completions, descriptors, deferred calls and timers, in
 * that order.
 */
#include "loop_private.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/error.h"
#include "base/reclaim.h"
#include "base/util.h"

enum {
    EVENTS_PER_TURN = 64,
    SKIPPED_POLLS = 8, /* turns that handle completions only, before epoll is called again */
};

__thread EventLoop *loop_current;

/* All loops: the virtual clock wakes each when it changes. */
static GMutex loops_lock;
static EventLoop *all_loops;

void loops_foreach(void (*fn)(EventLoop *loop, void *data), void *data)
{
    g_mutex_lock(&loops_lock);
    for (EventLoop *loop = all_loops; loop; loop = loop->next) {
        fn(loop, data);
    }
    g_mutex_unlock(&loops_lock);
}

/* Life. */

EventLoop *event_loop_new(const char *name, GError **err)
{
    auto_fd epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    auto_fd wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (epoll_fd < 0 || wake_fd < 0) {
        error_set_errno(err, errno, "cannot create the event loop '%s'", name);
        return NULL;
    }
    EventLoop *loop = g_new0(EventLoop, 1);
    loop->name = g_strdup(name);
    loop->epoll_fd = epoll_fd;
    loop->wake_fd = wake_fd;
    loop->ready_tail = &loop->ready;
    loop->host_jump_fd = -1;
    timers_init(loop);
    if (!loop_epoll_set(loop, EPOLL_CTL_ADD, wake_fd, EPOLLIN | EPOLLET, NULL)) {
        error_set_errno(err, errno, "cannot create the event loop '%s'", name);
        timers_destroy(loop);
        g_free(loop->name);
        g_free(loop);
        return NULL;
    }
    epoll_fd = wake_fd = -1;
    g_mutex_lock(&loops_lock);
    loop->next = all_loops;
    all_loops = loop;
    g_mutex_unlock(&loops_lock);
    return loop;
}

void event_loop_free(EventLoop *loop)
{
    if (!loop) {
        return;
    }
    g_assert(!__atomic_load_n(&loop->running, __ATOMIC_ACQUIRE));
    pool_abandon(loop);
    while (__atomic_load_n(&loop->callers, __ATOMIC_ACQUIRE)) {
        g_thread_yield(); /* a caller is inside loop_wake(), for one write(2) */
    }
    g_mutex_lock(&loops_lock);
    EventLoop **link = &all_loops;
    while (*link != loop) {
        link = &(*link)->next;
    }
    *link = loop->next;
    g_mutex_unlock(&loops_lock);
    if (loop_current == loop) {
        loop_current = NULL;
    }
    uring_free(loop);
    fd_close(&loop->host_jump_fd);
    calls_free(loop);
    fds_free(loop);
    polls_free(loop);
    timers_destroy(loop);
    if (loop->idlers) {
        loop_run_idlers(loop);
    }
    hooks_free(loop);
    fd_close(&loop->wake_fd);
    fd_close(&loop->epoll_fd);
    g_free(loop->name);
    g_free(loop);
}

const char *event_loop_name(EventLoop *loop)
{
    return loop->name;
}

EventLoop *event_loop_current(void)
{
    return loop_current;
}

bool event_loop_in_thread(EventLoop *loop)
{
    return loop_current == loop;
}

void event_loop_bind(EventLoop *loop)
{
    if (loop_current == loop) {
        return;
    }
    g_assert(!loop_current);
    loop_current = loop;
    reclaim_thread_register();
    /* Guests' timers: Linux may by default be 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

void loop_assert_home(const EventLoop *loop)
{
    g_assert(loop_current == loop || !__atomic_load_n(&loop->running, __ATOMIC_RELAXED));
}

uint64_t event_loop_turns(EventLoop *loop)
{
    return __atomic_load_n(&loop->turns, __ATOMIC_RELAXED);
}

void loop_wake(EventLoop *loop)
{
    static const uint64_t one = 1;

    if (__atomic_load_n(&loop->sleeping, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&loop->sleeping, 0, __ATOMIC_SEQ_CST)) {
        /* write() fails only where the counter is full: then the loop wakes up anyway. */
        ssize_t n = write(loop->wake_fd, &one, sizeof one);
        (void)n;
    }
}

/* Turns. */

static int wait_for_events(EventLoop *loop, struct epoll_event *events, int64_t timeout)
{
    static int no_pwait2; /* atomic: Linux before 5.11 */
    int n = -1;

    if (!__atomic_load_n(&no_pwait2, __ATOMIC_RELAXED)) {
        struct timespec ts = {.tv_sec = timeout / NS_PER_SEC, .tv_nsec = timeout % NS_PER_SEC};
        n = epoll_pwait2(loop->epoll_fd, events, EVENTS_PER_TURN, timeout < 0 ? NULL : &ts, NULL);
        if (n >= 0 || errno != ENOSYS) {
            return MAX(n, 0);
        }
        __atomic_store_n(&no_pwait2, 1, __ATOMIC_RELAXED);
    }
    int ms = timeout < 0 ? -1 : MIN(DIV_ROUND_UP(timeout, NS_PER_MS), G_MAXINT);
    n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, ms);
    return MAX(n, 0);
}

/* Sleeps until there is something to do; returns the number of events. */
static int poll_events(EventLoop *loop, struct epoll_event *events, int64_t timeout)
{
    bool adaptive = loop->poll_max_ns > 0 && loop->polls;
    int64_t slept_from = 0;

    timeout = timers_timeout(loop, timeout);
    if (adaptive && timeout != 0 && !calls_pending(loop)) {
        if (loop->poll_ns > 0 &&
            polls_busy_wait(loop, timeout < 0 ? loop->poll_ns : MIN(loop->poll_ns, timeout))) {
            timeout = 0;
            adaptive = false;
        } else {
            slept_from = clock_ns(CLOCK_REALTIME_NS);
        }
    }
    if (timeout != 0 && loop->quiet) {
        polls_set_quiet(loop, false);
        if (polls_look(loop)) {
            timeout = 0;
            slept_from = 0;
        }
    }
    if (timeout != 0) {
        /* Work that came before 'sleeping' is set is seen here; later work wakes this loop. */
        __atomic_store_n(&loop->sleeping, 1, __ATOMIC_SEQ_CST);
        timeout = calls_pending(loop) || __atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST)
                      ? 0
                      : timers_timeout(loop, timeout);
    }
    reclaim_offline();
    int n = wait_for_events(loop, events, timeout);
    reclaim_online();
    __atomic_store_n(&loop->sleeping, 0, __ATOMIC_RELAXED);
    if (adaptive && slept_from) {
        polls_adapt(loop, clock_ns(CLOCK_REALTIME_NS) - slept_from);
    }
    return n;
}

/* Whether this turn can do without epoll, because there are completions to handle. */
static bool skip_poll(EventLoop *loop, bool completions)
{
    if (!completions || loop->polls_skipped >= SKIPPED_POLLS) {
        loop->polls_skipped = 0;
        return false;
    }
    loop->polls_skipped++;
    return true;
}

bool event_loop_iterate(EventLoop *loop, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int was_running = __atomic_load_n(&loop->running, __ATOMIC_RELAXED);
    bool ran = false;
    int n = 0;

    event_loop_bind(loop);
    g_assert(!loop->in_turn);
    loop->in_turn = true;
    __atomic_store_n(&loop->running, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->turns, loop->turns + 1, __ATOMIC_RELAXED);

    hooks_run_flushes(loop);
    bool completions = uring_submit(loop);
    fds_apply_changes(loop);
    if (!skip_poll(loop, completions)) {
        bool busy = completions || loop->idlers || fds_always_ready(loop) || calls_pending(loop);
        n = poll_events(loop, events, busy ? 0 : timeout_ns);
    }
    ran |= uring_reap(loop);
    ran |= loop->quiet && polls_look(loop);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) { /* NULL: wake_fd or the io_uring, which need no handler */
            ran |= fd_entry_dispatch(events[i].data.ptr, events[i].events);
        }
    }
    ran |= fds_dispatch_always_ready(loop);
    ran |= calls_run(loop);
    ran |= timers_run(loop);
    if (!ran && loop->idlers) {
        loop_run_idlers(loop);
    }
    fds_free_dead(loop);

    loop->in_turn = false;
    __atomic_store_n(&loop->running, was_running, __ATOMIC_RELEASE);
    return ran;
}

void event_loop_run(EventLoop *loop)
{
    event_loop_bind(loop);
    __atomic_store_n(&loop->running, 1, __ATOMIC_RELAXED);
    while (!__atomic_load_n(&loop->quit, __ATOMIC_ACQUIRE)) {
        event_loop_iterate(loop, -1);
    }
    __atomic_store_n(&loop->quit, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->running, 0, __ATOMIC_RELEASE);
}

void event_loop_quit(EventLoop *loop)
{
    __atomic_fetch_add(&loop->callers, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->quit, 1, __ATOMIC_SEQ_CST);
    loop_wake(loop);
    __atomic_fetch_sub(&loop->callers, 1, __ATOMIC_RELEASE);
}

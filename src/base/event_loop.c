/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns of the loop, file descriptors and deferred calls.
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
#include "base/sched.h"
#include "base/util.h"

enum {
    EVENTS_PER_TURN = 64,
    CALL_ROUNDS = 8,     /* in one turn: each runs the calls that the last one scheduled */
    SKIPPED_POLLS = 8,   /* turns that handle completions only, before epoll is called again */
    POLL_NS_START = 4000 /* first busy-wait of adaptive polling */
};

struct FdEntry {
    FdHandler handler;
    unsigned armed; /* the events that epoll watches; 0: the descriptor is not in epoll */
    bool changed, unpollable;
    FdEntry *next_changed, *next_dead;
    FdEntry *prev, *next;
};

struct PollHandler {
    EventLoop *loop;
    bool (*poll)(void *data);
    void (*quiet)(void *data, bool on);
    void *data;
    PollHandler *next;
    bool is_quiet; /* the argument of the last quiet() */
    bool dead;     /* removed during a walk of 'polls', which frees it at its end */
};

typedef struct {
    BottomHalf bh;
    EventFn fn;
    void *data;
} Call;

static __thread EventLoop *current_loop;

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

static bool epoll_set(EventLoop *loop, int op, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};

    return epoll_ctl(loop->epoll_fd, op, fd, &event) == 0;
}

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
    if (!epoll_set(loop, EPOLL_CTL_ADD, wake_fd, EPOLLIN | EPOLLET, NULL)) {
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

static void call_run(void *data);

static void free_calls(BottomHalf *bh)
{
    while (bh) {
        BottomHalf *next = bh->next;
        __atomic_store_n(&bh->scheduled, 0, __ATOMIC_RELAXED);
        if (bh->fn == call_run) {
            g_free(container_of(bh, Call, bh));
        }
        bh = next;
    }
}

static void free_dead(EventLoop *loop)
{
    while (loop->dead) {
        FdEntry *entry = loop->dead;
        loop->dead = entry->next_dead;
        g_free(entry);
    }
}

static void free_attached(EventLoop *loop)
{
    for (guint i = 0; loop->attached && i < loop->attached->len; i++) {
        LoopHook *hook = &g_array_index(loop->attached, LoopHook, i);
        hook->fn(hook->data);
    }
    g_clear_pointer(&loop->attached, g_array_unref);
}

void event_loop_free(EventLoop *loop)
{
    if (!loop) {
        return;
    }
    g_assert(!__atomic_load_n(&loop->running, __ATOMIC_ACQUIRE));
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
    if (current_loop == loop) {
        current_loop = NULL;
    }
    uring_free(loop);
    fd_close(&loop->host_jump_fd);
    free_calls(__atomic_exchange_n(&loop->incoming, NULL, __ATOMIC_ACQUIRE));
    free_calls(loop->ready);
    while (loop->fds) {
        fd_handler_remove(&loop->fds->handler);
    }
    free_dead(loop);
    while (loop->polls) {
        poll_handler_remove(loop->polls);
    }
    timers_destroy(loop);
    if (loop->unpollable) {
        g_ptr_array_free(loop->unpollable, TRUE);
    }
    if (loop->flushes) {
        g_array_free(loop->flushes, TRUE);
    }
    if (loop->idlers) {
        loop_run_idlers(loop);
    }
    free_attached(loop);
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
    return current_loop;
}

bool event_loop_in_thread(EventLoop *loop)
{
    return current_loop == loop;
}

void event_loop_bind(EventLoop *loop)
{
    if (current_loop == loop) {
        return;
    }
    g_assert(!current_loop);
    current_loop = loop;
    reclaim_thread_register();
    /* Guests' timers: Linux may by default be 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

void loop_assert_home(const EventLoop *loop)
{
    g_assert(current_loop == loop || !__atomic_load_n(&loop->running, __ATOMIC_RELAXED));
}

uint64_t event_loop_turns(EventLoop *loop)
{
    return __atomic_load_n(&loop->turns, __ATOMIC_RELAXED);
}

/* File descriptors. Changes are passed to epoll once a turn, just before epoll_wait(). */

static FdEntry *loop_entry_of(FdHandler *h)
{
    return container_of(h, FdEntry, handler);
}

static void entry_changed(FdEntry *entry)
{
    EventLoop *loop = entry->handler.loop;

    if (!entry->changed && !entry->unpollable && entry->armed != entry->handler.events) {
        entry->changed = true;
        entry->next_changed = loop->changed;
        loop->changed = entry;
    }
}

FdHandler *event_loop_add_fd(EventLoop *loop, int fd, EventFn read, EventFn write, void *data)
{
    loop_assert_home(loop);
    g_assert(fd >= 0);
    FdEntry *entry = g_new0(FdEntry, 1);
    entry->handler = (FdHandler){
        .read = read,
        .write = write,
        .data = data,
        .fd = fd,
        .loop = loop,
        .events = (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0),
    };
    entry->next = loop->fds;
    if (entry->next) {
        entry->next->prev = entry;
    }
    loop->fds = entry;
    entry_changed(entry);
    return &entry->handler;
}

void fd_handler_set(FdHandler *h, bool want_read, bool want_write)
{
    loop_assert_home(h->loop);
    g_assert(!h->dead);
    h->events = (want_read && h->read ? EPOLLIN : 0) | (want_write && h->write ? EPOLLOUT : 0);
    entry_changed(loop_entry_of(h));
}

static void unlink_changed(EventLoop *loop, FdEntry *entry)
{
    FdEntry **link = &loop->changed;

    while (*link != entry) {
        link = &(*link)->next_changed;
    }
    *link = entry->next_changed;
}

void fd_handler_remove(FdHandler *h)
{
    if (!h) {
        return;
    }
    EventLoop *loop = h->loop;
    FdEntry *entry = loop_entry_of(h);

    loop_assert_home(loop);
    g_assert(!h->dead);
    h->dead = true;
    if (entry->changed) {
        unlink_changed(loop, entry);
    }
    /* At once: the caller may close the descriptor when this returns. */
    if (entry->armed) {
        epoll_set(loop, EPOLL_CTL_DEL, h->fd, 0, NULL);
    }
    if (entry->unpollable) {
        g_ptr_array_remove(loop->unpollable, entry);
    }
    if (entry->prev) {
        entry->prev->next = entry->next;
    } else {
        loop->fds = entry->next;
    }
    if (entry->next) {
        entry->next->prev = entry->prev;
    }
    /* Freed at the end of the turn: events of this turn may still point to it. */
    entry->next_dead = loop->dead;
    loop->dead = entry;
}

/* A muted descriptor is removed from epoll, which would go on to report hang-ups. */
static void tell_epoll(EventLoop *loop, FdEntry *entry)
{
    unsigned wanted = entry->handler.events;
    int op = !wanted ? EPOLL_CTL_DEL : entry->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (wanted == entry->armed) {
        return;
    }
    if (epoll_set(loop, op, entry->handler.fd, wanted, entry)) {
        entry->armed = wanted;
        return;
    }
    if (op == EPOLL_CTL_ADD && errno == EPERM) {
        /* epoll refuses regular files and /dev/null. poll(2) says that they are always ready. */
        if (!loop->unpollable) {
            loop->unpollable = g_ptr_array_new();
        }
        entry->unpollable = true;
        g_ptr_array_add(loop->unpollable, entry);
        return;
    }
    g_error("event loop '%s': cannot watch file descriptor %d: %s", loop->name, entry->handler.fd,
            g_strerror(errno));
}

static void apply_changes(EventLoop *loop)
{
    while (loop->changed) {
        FdEntry *entry = loop->changed;
        loop->changed = entry->next_changed;
        entry->changed = false;
        tell_epoll(loop, entry);
    }
}

bool loop_watch_ring(EventLoop *loop, int fd)
{
    return epoll_set(loop, EPOLL_CTL_ADD, fd, EPOLLIN, NULL);
}

static bool dispatch_fd(FdEntry *entry, uint32_t events)
{
    FdHandler *h = &entry->handler;
    bool ran = false;

    if (!h->dead && (h->events & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        h->read(h->data);
        ran = true;
    }
    if (!h->dead && (h->events & EPOLLOUT) && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        h->write(h->data);
        ran = true;
    }
    return ran;
}

static bool unpollable_wanted(EventLoop *loop)
{
    for (guint i = 0; loop->unpollable && i < loop->unpollable->len; i++) {
        FdEntry *entry = g_ptr_array_index(loop->unpollable, i);
        if (entry->handler.events) {
            return true;
        }
    }
    return false;
}

static bool dispatch_unpollable(EventLoop *loop)
{
    bool ran = false;

    if (!unpollable_wanted(loop)) {
        return false;
    }
    /* Callbacks may change the array; entries live until the end of the turn. */
    g_autoptr(GPtrArray) now = g_ptr_array_copy(loop->unpollable, NULL, NULL);
    for (guint i = 0; i < now->len; i++) {
        ran |= dispatch_fd(g_ptr_array_index(now, i), EPOLLIN | EPOLLOUT);
    }
    return ran;
}

/* Deferred calls. */

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

void bh_init(BottomHalf *bh, EventLoop *loop, EventFn fn, void *data)
{
    *bh = (BottomHalf){.loop = loop, .fn = fn, .data = data};
}

void bh_schedule(BottomHalf *bh)
{
    EventLoop *loop = bh->loop;
    bool elsewhere = current_loop != loop;

    if (__atomic_exchange_n(&bh->scheduled, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    sched_point("bh_schedule: set, and not pushed");
    /* Once bh is pushed it may run, and free the loop: 'callers' holds up event_loop_free(). */
    if (elsewhere) {
        __atomic_fetch_add(&loop->callers, 1, __ATOMIC_RELAXED);
    }
    BottomHalf *head = __atomic_load_n(&loop->incoming, __ATOMIC_RELAXED);
    do {
        bh->next = head;
    } while (!__atomic_compare_exchange_n(&loop->incoming, &head, bh, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    if (elsewhere) {
        loop_wake(loop);
        __atomic_fetch_sub(&loop->callers, 1, __ATOMIC_RELEASE);
    }
}

/* Moves the calls of 'incoming' to the end of 'ready', oldest first. */
static void take_incoming(EventLoop *loop)
{
    BottomHalf *newest = __atomic_exchange_n(&loop->incoming, NULL, __ATOMIC_ACQUIRE);
    BottomHalf *oldest = NULL, **tail = newest ? &newest->next : NULL;

    while (newest) {
        BottomHalf *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest) {
        *loop->ready_tail = oldest;
        loop->ready_tail = tail;
    }
}

void bh_cancel(BottomHalf *bh)
{
    EventLoop *loop = bh->loop;

    loop_assert_home(loop);
    while (__atomic_load_n(&bh->scheduled, __ATOMIC_ACQUIRE)) {
        take_incoming(loop);
        for (BottomHalf **link = &loop->ready; *link; link = &(*link)->next) {
            if (*link == bh) {
                *link = bh->next;
                if (loop->ready_tail == &bh->next) {
                    loop->ready_tail = link;
                }
                __atomic_store_n(&bh->scheduled, 0, __ATOMIC_RELEASE);
                return;
            }
        }
        /* Another thread is between setting 'scheduled' and pushing: a few instructions. */
        g_thread_yield();
    }
}

static bool run_ready(EventLoop *loop)
{
    bool ran = false;

    for (int round = 0; round < CALL_ROUNDS; round++) {
        take_incoming(loop);
        if (!loop->ready) {
            break;
        }
        /* Calls that these schedule wait for the next round, and rounds are limited: a call that
         * reschedules itself must not keep the loop from the rest. */
        BottomHalf *bh;
        while ((bh = loop->ready)) {
            loop->ready = bh->next;
            if (!loop->ready) {
                loop->ready_tail = &loop->ready;
            }
            __atomic_exchange_n(&bh->scheduled, 0, __ATOMIC_ACQ_REL);
            bh->fn(bh->data);
            ran = true;
        }
    }
    return ran;
}

static void call_run(void *data)
{
    Call *call = data;
    EventFn fn = call->fn;
    void *fn_data = call->data;

    g_free(call);
    fn(fn_data);
}

void event_loop_call(EventLoop *loop, EventFn fn, void *data)
{
    Call *call = g_new(Call, 1);

    bh_init(&call->bh, loop, call_run, call);
    call->fn = fn;
    call->data = data;
    bh_schedule(&call->bh);
}

typedef struct {
    BottomHalf bh;
    EventFn fn;
    void *data;
    GMutex lock;
    GCond cond;
    bool done;
} WaitingCall;

static void waiting_call_run(void *data)
{
    WaitingCall *call = data;

    call->fn(call->data);
    g_mutex_lock(&call->lock);
    call->done = true;
    g_cond_signal(&call->cond);
    g_mutex_unlock(&call->lock);
}

void event_loop_call_wait(EventLoop *loop, EventFn fn, void *data)
{
    if (current_loop == loop) {
        fn(data);
        return;
    }
    /* A loop's thread must not wait for another loop: the two may wait for each other. */
    g_assert(!current_loop || !__atomic_load_n(&current_loop->running, __ATOMIC_RELAXED));
    WaitingCall call = {.fn = fn, .data = data};
    g_mutex_init(&call.lock);
    g_cond_init(&call.cond);
    bh_init(&call.bh, loop, waiting_call_run, &call);
    bh_schedule(&call.bh);
    g_mutex_lock(&call.lock);
    while (!call.done) {
        g_cond_wait(&call.cond, &call.lock);
    }
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.cond);
}

/* Flush hooks. */

void event_loop_add_flush(EventLoop *loop, EventFn fn, void *data)
{
    loop_assert_home(loop);
    if (!loop->flushes) {
        loop->flushes = g_array_new(false, false, sizeof(LoopHook));
    }
    g_array_append_val(loop->flushes, ((LoopHook){fn, data}));
}

void event_loop_remove_flush(EventLoop *loop, EventFn fn, void *data)
{
    loop_assert_home(loop);
    for (guint i = 0; loop->flushes && i < loop->flushes->len; i++) {
        LoopHook *hook = &g_array_index(loop->flushes, LoopHook, i);
        if (hook->fn == fn && hook->data == data) {
            g_array_remove_index(loop->flushes, i);
            loop->next_flush -= i < loop->next_flush;
            return;
        }
    }
}

static void run_flushes(EventLoop *loop)
{
    loop->next_flush = 0;
    while (loop->flushes && loop->next_flush < loop->flushes->len) {
        LoopHook hook = g_array_index(loop->flushes, LoopHook, loop->next_flush++);
        hook.fn(hook.data);
    }
}

/* What modules keep for the loop. */

void event_loop_attach(EventLoop *loop, EventFn free_fn, void *data)
{
    loop_assert_home(loop);
    if (!loop->attached) {
        loop->attached = g_array_new(false, false, sizeof(LoopHook));
    }
    g_array_append_val(loop->attached, ((LoopHook){free_fn, data}));
}

void *event_loop_attached(EventLoop *loop, EventFn free_fn)
{
    loop_assert_home(loop);
    for (guint i = 0; loop->attached && i < loop->attached->len; i++) {
        LoopHook *hook = &g_array_index(loop->attached, LoopHook, i);
        if (hook->fn == free_fn) {
            return hook->data;
        }
    }
    return NULL;
}

/* Adaptive polling. */

void event_loop_set_poll(EventLoop *loop, int64_t max_ns)
{
    loop_assert_home(loop);
    loop->poll_max_ns = max_ns;
    loop->poll_ns = 0;
}

/* Calls quiet() where 'on' is not what the handler was told last. */
static void poll_handler_tell(PollHandler *p, bool on)
{
    if (!p->dead && p->quiet && p->is_quiet != on) {
        p->is_quiet = on;
        p->quiet(p->data, on);
    }
}

PollHandler *event_loop_add_poll(EventLoop *loop, bool (*poll)(void *data),
                                 void (*quiet)(void *data, bool on), void *data)
{
    loop_assert_home(loop);
    PollHandler *handler = g_new(PollHandler, 1);
    *handler = (PollHandler){
        .loop = loop, .poll = poll, .quiet = quiet, .data = data, .next = loop->polls};
    loop->polls = handler;
    poll_handler_tell(handler, loop->quiet);
    return handler;
}

/* Callbacks may remove any handler: a walk of 'polls' passes over the dead, and frees them last. */
static void free_dead_polls(EventLoop *loop)
{
    if (loop->poll_walks) {
        return;
    }
    for (PollHandler **link = &loop->polls; *link;) {
        PollHandler *p = *link;
        if (p->dead) {
            *link = p->next;
            g_free(p);
        } else {
            link = &p->next;
        }
    }
}

void poll_handler_remove(PollHandler *p)
{
    if (!p) {
        return;
    }
    EventLoop *loop = p->loop;

    loop_assert_home(loop);
    g_assert(!p->dead);
    p->dead = true;
    if (p->is_quiet) {
        loop->poll_walks++; /* quiet() may remove others */
        p->quiet(p->data, false);
        loop->poll_walks--;
    }
    free_dead_polls(loop);
}

static bool poll_once(EventLoop *loop)
{
    bool found = false;

    loop->poll_walks++;
    for (PollHandler *p = loop->polls; p; p = p->next) {
        if (!p->dead) {
            found |= p->poll(p->data);
        }
    }
    loop->poll_walks--;
    free_dead_polls(loop);
    return found;
}

/* Tells all poll sources whether they may do without notifications; off when the loop sleeps. */
static void set_quiet(EventLoop *loop, bool on)
{
    if (loop->quiet == on) {
        return;
    }
    loop->quiet = on;
    loop->poll_walks++;
    for (PollHandler *p = loop->polls; p; p = p->next) {
        poll_handler_tell(p, on);
    }
    loop->poll_walks--;
    free_dead_polls(loop);
}

static bool has_calls(EventLoop *loop)
{
    return loop->ready || __atomic_load_n(&loop->incoming, __ATOMIC_SEQ_CST);
}

/* Looks for work for at most 'ns'; true where it has found some. */
static bool busy_poll(EventLoop *loop, int64_t ns)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + ns;

    set_quiet(loop, true);
    do {
        if (poll_once(loop) || has_calls(loop) || uring_ready(loop)) {
            return true;
        }
    } while (clock_ns(CLOCK_REALTIME_NS) < end);
    return false;
}

/* Sets the next busy-wait: longer where that would have met the event, none after a long sleep. */
static void adapt_polling(EventLoop *loop, int64_t slept)
{
    if (slept > loop->poll_max_ns) {
        loop->poll_ns = 0;
    } else if (slept > loop->poll_ns) {
        loop->poll_ns = loop->poll_ns ? loop->poll_ns * 2 : POLL_NS_START;
        loop->poll_ns = MIN(loop->poll_ns, loop->poll_max_ns);
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
    if (adaptive && timeout != 0 && !has_calls(loop)) {
        if (loop->poll_ns > 0 &&
            busy_poll(loop, timeout < 0 ? loop->poll_ns : MIN(loop->poll_ns, timeout))) {
            timeout = 0;
            adaptive = false;
        } else {
            slept_from = clock_ns(CLOCK_REALTIME_NS);
        }
    }
    if (timeout != 0 && loop->quiet) {
        set_quiet(loop, false);
        if (poll_once(loop)) {
            timeout = 0;
            slept_from = 0;
        }
    }
    if (timeout != 0) {
        /* Work that came before 'sleeping' is set is seen here; later work wakes this loop. */
        __atomic_store_n(&loop->sleeping, 1, __ATOMIC_SEQ_CST);
        timeout = has_calls(loop) || __atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST)
                      ? 0
                      : timers_timeout(loop, timeout);
    }
    reclaim_offline();
    int n = wait_for_events(loop, events, timeout);
    reclaim_online();
    __atomic_store_n(&loop->sleeping, 0, __ATOMIC_RELAXED);
    if (adaptive && slept_from) {
        adapt_polling(loop, clock_ns(CLOCK_REALTIME_NS) - slept_from);
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

    run_flushes(loop);
    bool completions = uring_submit(loop);
    apply_changes(loop);
    if (!skip_poll(loop, completions)) {
        bool busy = completions || loop->idlers || unpollable_wanted(loop) || has_calls(loop);
        n = poll_events(loop, events, busy ? 0 : timeout_ns);
    }
    ran |= uring_reap(loop);
    ran |= loop->quiet && poll_once(loop);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) { /* NULL: wake_fd or the io_uring, which need no handler */
            ran |= dispatch_fd(events[i].data.ptr, events[i].events);
        }
    }
    ran |= dispatch_unpollable(loop);
    ran |= run_ready(loop);
    ran |= timers_run(loop);
    if (!ran && loop->idlers) {
        loop_run_idlers(loop);
    }
    free_dead(loop);

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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers: each loop has a binary heap for each clock, under a leaf lock of the loop. */
#include "loop_private.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/util.h"

enum {
    NOT_ARMED = -1,
    /* Limit of timers that fire in one turn: one that re-arms for now must not starve the loop. */
    FIRES_PER_TURN = 1000
};

struct Timer {
    EventLoop *loop;
    EventFn fn;
    void *data;
    ClockType clock;
    int index; /* in the heap, or NOT_ARMED */
    int64_t deadline;
    uint64_t sequence; /* of arming: breaks ties */
};

static bool timers_earlier(const Timer *a, const Timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->sequence < b->sequence;
}

static void timers_place(TimerQueue *q, unsigned i, Timer *t)
{
    q->heap[i] = t;
    t->index = i;
}

static void sift_up(TimerQueue *q, unsigned i)
{
    Timer *t = q->heap[i];

    while (i > 0 && timers_earlier(t, q->heap[(i - 1) / 2])) {
        timers_place(q, i, q->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    timers_place(q, i, t);
}

static void sift_down(TimerQueue *q, unsigned i)
{
    Timer *t = q->heap[i];

    for (;;) {
        unsigned child = 2 * i + 1;
        if (child >= q->count) {
            break;
        }
        if (child + 1 < q->count && timers_earlier(q->heap[child + 1], q->heap[child])) {
            child++;
        }
        if (!timers_earlier(q->heap[child], t)) {
            break;
        }
        timers_place(q, i, q->heap[child]);
        i = child;
    }
    timers_place(q, i, t);
}

static void queue_add(TimerQueue *q, Timer *t)
{
    if (q->count == q->room) {
        q->room = q->room ? q->room * 2 : 8;
        q->heap = g_renew(Timer *, q->heap, q->room);
    }
    timers_place(q, q->count, t);
    sift_up(q, q->count++);
}

static void queue_remove(TimerQueue *q, Timer *t)
{
    unsigned i = t->index;
    Timer *last = q->heap[--q->count];

    t->index = NOT_ARMED;
    if (last != t) {
        timers_place(q, i, last);
        sift_up(q, i);
        sift_down(q, last->index);
    }
}

static TimerQueue *timers_queue_of(const Timer *t)
{
    return &t->loop->timers.queues[t->clock];
}

void timers_init(EventLoop *loop)
{
    g_mutex_init(&loop->timers.lock);
}

void timers_destroy(EventLoop *loop)
{
    for (int clock = 0; clock < CLOCK_COUNT; clock++) {
        TimerQueue *q = &loop->timers.queues[clock];
        for (unsigned i = 0; i < q->count; i++) {
            q->heap[i]->index = NOT_ARMED;
        }
        g_free(q->heap);
        *q = (TimerQueue){0};
    }
    g_mutex_clear(&loop->timers.lock);
}

/* The wall clock was set, so the time left until each HOST deadline has changed. */
static void host_clock_jumped(void *data)
{
    EventLoop *loop = data;
    uint64_t expirations;

    /* read() fails with ECANCELED, which clears the event. The next turn's timeout is right. */
    ssize_t n = read(loop->host_jump_fd, &expirations, sizeof expirations);
    (void)n;
}

static void watch_host_clock(EventLoop *loop)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec never = {.it_value.tv_sec = G_MAXINT32};

    if (fd < 0) {
        return; /* then a step of the wall clock is noticed when the loop next wakes up */
    }
    never.it_value.tv_sec *= 2;
    timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
    loop->host_jump_fd = fd;
    event_loop_add_fd(loop, fd, host_clock_jumped, NULL, loop);
}

Timer *timer_new(EventLoop *loop, ClockType clock, EventFn fn, void *data)
{
    Timer *t = g_new(Timer, 1);

    *t = (Timer){.loop = loop, .clock = clock, .fn = fn, .data = data, .index = NOT_ARMED};
    if (clock == CLOCK_HOST_NS && loop->host_jump_fd < 0) {
        loop_assert_home(loop);
        watch_host_clock(loop);
    }
    return t;
}

void timer_arm(Timer *t, int64_t deadline_ns)
{
    Timers *timers = &t->loop->timers;
    TimerQueue *q = timers_queue_of(t);

    g_mutex_lock(&timers->lock);
    if (t->index != NOT_ARMED) {
        queue_remove(q, t);
    }
    t->deadline = MAX(deadline_ns, 0);
    t->sequence = timers->sequence++;
    queue_add(q, t);
    bool first = q->heap[0] == t;
    g_mutex_unlock(&timers->lock);
    if (first) {
        loop_wake(t->loop);
    }
}

void timer_cancel(Timer *t)
{
    Timers *timers = &t->loop->timers;

    g_mutex_lock(&timers->lock);
    if (t->index != NOT_ARMED) {
        queue_remove(timers_queue_of(t), t);
    }
    g_mutex_unlock(&timers->lock);
}

int64_t timer_deadline(const Timer *t)
{
    Timers *timers = &t->loop->timers;

    g_mutex_lock(&timers->lock);
    int64_t deadline = t->index != NOT_ARMED ? t->deadline : -1;
    g_mutex_unlock(&timers->lock);
    return deadline;
}

bool timer_armed(const Timer *t)
{
    return timer_deadline(t) >= 0;
}

void timer_free(Timer *t)
{
    if (!t) {
        return;
    }
    loop_assert_home(t->loop);
    timer_cancel(t);
    g_free(t);
}

static bool first_deadline(EventLoop *loop, ClockType clock, int64_t *deadline)
{
    TimerQueue *q = &loop->timers.queues[clock];

    g_mutex_lock(&loop->timers.lock);
    bool any = q->count > 0;
    if (any) {
        *deadline = q->heap[0]->deadline;
    }
    g_mutex_unlock(&loop->timers.lock);
    return any;
}

int64_t timers_timeout(EventLoop *loop, int64_t limit)
{
    for (int clock = 0; clock < CLOCK_COUNT; clock++) {
        int64_t deadline;
        if (!first_deadline(loop, clock, &deadline) ||
            (clock == CLOCK_VIRTUAL_NS && !virtual_clock_fires())) {
            continue;
        }
        int64_t left = deadline - clock_ns(clock);
        if (left <= 0) {
            return 0;
        }
        if (clock == CLOCK_VIRTUAL_NS && !virtual_clock_moves()) {
            continue;
        }
        if (limit < 0 || left < limit) {
            limit = left;
        }
    }
    return limit;
}

/* Takes the first timer off the queue, where it is due at 'now', and runs it. */
static bool fire_first(EventLoop *loop, ClockType clock, int64_t now)
{
    TimerQueue *q = &loop->timers.queues[clock];

    g_mutex_lock(&loop->timers.lock);
    Timer *t = q->count > 0 ? q->heap[0] : NULL;
    if (!t || t->deadline > now) {
        g_mutex_unlock(&loop->timers.lock);
        return false;
    }
    queue_remove(q, t);
    g_mutex_unlock(&loop->timers.lock);
    t->fn(t->data); /* may free t */
    return true;
}

bool timers_run(EventLoop *loop)
{
    bool ran = false;

    for (int clock = 0; clock < CLOCK_COUNT; clock++) {
        int64_t deadline;
        if (!first_deadline(loop, clock, &deadline)) {
            continue;
        }
        int64_t now = clock_ns(clock);
        /* A callback may freeze the virtual clock: checked before each. */
        for (int i = 0; i < FIRES_PER_TURN; i++) {
            if ((clock == CLOCK_VIRTUAL_NS && !virtual_clock_fires()) ||
                !fire_first(loop, clock, now)) {
                break;
            }
            ran = true;
        }
    }
    return ran;
}

bool timers_next_virtual(EventLoop *loop, int64_t *deadline)
{
    return first_deadline(loop, CLOCK_VIRTUAL_NS, deadline);
}

bool timers_fire_virtual(EventLoop *loop, int64_t ns)
{
    return fire_first(loop, CLOCK_VIRTUAL_NS, ns);
}

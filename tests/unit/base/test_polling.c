/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event loop: adaptive polling and io_uring. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "loop_helpers.h"

/* Adaptive polling. */

typedef struct {
    Timer *timer;
    bool done;
} Tick;

static void on_tick(void *data)
{
    ((Tick *)data)->done = true;
}

static bool polled(void *data)
{
    int *left = data;

    return *left > 0 && --*left == 0;
}

static bool quiet_now;

static void note_quiet(void *data, bool on)
{
    (void)data;
    ck_assert(quiet_now != on);
    quiet_now = on;
}

START_TEST(adaptive_polling)
{
    EventLoop *loop = new_loop();
    Tick t = {0};
    int left = 0;

    t.timer = timer_new(loop, CLOCK_REALTIME_NS, on_tick, &t);
    PollHandler *p = event_loop_add_poll(loop, polled, note_quiet, &left);
    event_loop_set_poll(loop, 50 * NS_PER_MS);
    /* Short sleeps make the loop busy-wait... */
    for (int i = 0; i < 20; i++) {
        t.done = false;
        timer_arm(t.timer, clock_ns(CLOCK_REALTIME_NS) + 500 * NS_PER_US);
        run_until(loop, &t.done);
    }
    /* ... and then it finds work that comes soon without epoll. */
    left = 100;
    timer_arm(t.timer, clock_ns(CLOCK_REALTIME_NS) + 500 * NS_PER_US);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(left, 0);
    /* Sources are quiet while the loop finds work by polling, not when it sleeps. */
    ck_assert(quiet_now);
    left = 1;
    event_loop_iterate(loop, 0);
    ck_assert_int_eq(left, 0);
    while (!t.done) {
        event_loop_iterate(loop, -1);
    }
    /* A busy host may not let the thread run until the time is over: then it has not slept. */
    while (quiet_now) {
        event_loop_iterate(loop, 200 * NS_PER_MS);
    }
    poll_handler_remove(p);
    poll_handler_remove(NULL);
    event_loop_iterate(loop, 0);
    timer_free(t.timer);
    event_loop_free(loop);
}
END_TEST

/* Three sources; the first whose callback runs with 'armed' set removes all. */
enum { REMOVED_POLLS = 3 };

typedef struct {
    PollHandler *handlers[REMOVED_POLLS];
    bool in_poll, in_quiet; /* which callback removes */
    int calls_after;        /* callbacks after the removal */
    bool removed, is_quiet[REMOVED_POLLS];
} RemovedPolls;

typedef struct {
    RemovedPolls *all;
    int index;
} RemovedPoll;

static void remove_polls(RemovedPolls *all)
{
    all->removed = true;
    for (int i = 0; i < REMOVED_POLLS; i++) {
        poll_handler_remove(all->handlers[i]);
    }
}

static bool poll_that_removes(void *data)
{
    RemovedPolls *all = ((RemovedPoll *)data)->all;

    all->calls_after += all->removed;
    if (all->in_poll && !all->removed) {
        remove_polls(all);
    }
    return true;
}

static void quiet_that_removes(void *data, bool on)
{
    RemovedPoll *self = data;
    RemovedPolls *all = self->all;

    ck_assert(all->is_quiet[self->index] != on);
    all->is_quiet[self->index] = on;
    all->calls_after += all->removed && on;
    if (all->in_quiet && !all->removed) {
        remove_polls(all);
    }
}

/* Polling callbacks may remove themselves and their neighbours. */
static void check_removed_polls(bool in_quiet)
{
    EventLoop *loop = new_loop();
    RemovedPolls all = {.in_poll = !in_quiet, .in_quiet = in_quiet};
    RemovedPoll sources[REMOVED_POLLS];
    Tick t = {0};

    for (int i = 0; i < REMOVED_POLLS; i++) {
        sources[i] = (RemovedPoll){&all, i};
        all.handlers[i] =
            event_loop_add_poll(loop, poll_that_removes, quiet_that_removes, &sources[i]);
    }
    event_loop_set_poll(loop, NS_PER_SEC);
    t.timer = timer_new(loop, CLOCK_REALTIME_NS, on_tick, &t);
    while (!all.removed) {
        timer_arm(t.timer, clock_ns(CLOCK_REALTIME_NS) + 500 * NS_PER_US);
        t.done = false;
        run_until(loop, &t.done);
    }
    ck_assert_int_eq(all.calls_after, 0);
    for (int i = 0; i < REMOVED_POLLS; i++) {
        ck_assert(!all.is_quiet[i]);
    }
    timer_free(t.timer);
    event_loop_free(loop);
}

START_TEST(poll_removed_in_callback)
{
    check_removed_polls(false);
    check_removed_polls(true);
}
END_TEST

/* io_uring. */

#ifdef HAVE_LIBURING
#include <liburing.h>

typedef struct {
    UringOp op;
    EventLoop *loop;
    int res, fd;
    char c;
    bool done, again;
} Read;

static void queue_read(Read *r);

static void read_done(UringOp *op, int res)
{
    Read *r = container_of(op, Read, op);

    r->res = res;
    if (r->again) {
        r->again = false;
        queue_read(r);
    } else {
        r->done = true;
    }
}

static void queue_read(Read *r)
{
    struct io_uring_sqe *sqe = event_loop_get_sqe(r->loop, &r->op);

    r->op.done = read_done;
    io_uring_prep_read(sqe, r->fd, &r->c, 1, 0);
    io_uring_sqe_set_data(sqe, &r->op);
}

static bool have_uring(EventLoop *loop)
{
    GError *err = NULL;

    if (event_loop_has_uring(loop, &err)) {
        return true;
    }
    printf("# SKIP %s\n", err->message);
    g_clear_error(&err);
    return false;
}

START_TEST(uring_reads)
{
    EventLoop *loop = new_loop();
    Read reads[1000];
    int zero = open("/dev/zero", O_RDONLY);

    if (have_uring(loop)) {
        for (int i = 0; i < 1000; i++) {
            reads[i] = (Read){.loop = loop, .fd = zero, .c = 1, .again = i % 2};
            queue_read(&reads[i]);
        }
        for (int i = 0; i < 1000; i++) {
            run_until(loop, &reads[i].done);
            ck_assert(reads[i].res == 1 && reads[i].c == 0);
        }
        ck_assert(!event_loop_iterate(loop, 0));
    }
    close(zero);
    event_loop_free(loop);
}
END_TEST

static void *write_later(void *data)
{
    g_usleep(10000);
    ck_assert_int_eq(write(*(int *)data, "x", 1), 1);
    return NULL;
}

/* A completion wakes a loop that sleeps in poll. */
START_TEST(uring_wakes)
{
    EventLoop *loop = new_loop();
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    if (have_uring(loop)) {
        for (int i = 0; i < 5; i++) {
            Read r = {.loop = loop, .fd = fds[0]};
            queue_read(&r);
            GThread *writer = g_thread_new("writer", write_later, &fds[1]);
            int turns = 0;
            while (!r.done) {
                event_loop_iterate(loop, -1);
                turns++;
            }
            ck_assert(r.res == 1 && r.c == 'x');
            ck_assert_int_le(turns, 3);
            g_thread_join(writer);
        }
    }
    event_loop_free(loop);
}
END_TEST
#endif

int main(void)
{
    const TTest *const tests[] = {
        adaptive_polling,
        poll_removed_in_callback,
#ifdef HAVE_LIBURING
        uring_reads,
        uring_wakes,
#endif
        NULL,
    };

    return unit_run("polling", tests);
}

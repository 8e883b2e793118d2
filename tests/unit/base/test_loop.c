/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event loop: descriptors, timers, clocks, deferred calls, adaptive polling and io_uring. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/event_loop.h"
#include "base/util.h"
#include "unit.h"

static EventLoop *new_loop(void)
{
    GError *err = NULL;
    EventLoop *loop = event_loop_new("test", &err);

    ck_no_error(err);
    return loop;
}

/* Turns the loop until 'done' is true; fails after some time. */
static void run_until(EventLoop *loop, const bool *done)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 10 * NS_PER_SEC;

    while (!*done) {
        event_loop_iterate(loop, 100 * NS_PER_MS);
        ck_assert(clock_ns(CLOCK_REALTIME_NS) < end);
    }
}

/* A thread that runs a loop. */

static void *loop_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

static GThread *start(EventLoop *loop)
{
    return g_thread_new("loop", loop_thread, loop);
}

static void stop(EventLoop *loop, GThread *thread)
{
    event_loop_quit(loop);
    g_thread_join(thread);
    event_loop_free(loop);
}

/* Descriptors. */

typedef struct {
    EventLoop *loop;
    FdHandler *h, *other;
    int fd, reads, writes;
    bool drain;
} Watch;

static void on_read(void *data)
{
    Watch *w = data;
    char c;

    w->reads++;
    if (w->drain) {
        ck_assert_int_ge(read(w->fd, &c, 1), 0);
    }
}

static void on_write(void *data)
{
    ((Watch *)data)->writes++;
}

START_TEST(fd_readable)
{
    EventLoop *loop = new_loop();
    Watch w = {.drain = true};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], on_read, NULL, &w);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(write(fds[1], "abc", 3), 3);
    ck_assert(event_loop_iterate(loop, -1));
    ck_assert_int_eq(w.reads, 1);
    /* Level-triggered. */
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 2);
    fd_handler_set(w.h, false, false);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_set(w.h, true, true);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 3);
    /* A hang-up calls read(), but not when muted. */
    close(fds[1]);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 4);
    fd_handler_set(w.h, false, false);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_remove(w.h);
    close(fds[0]);
    fd_handler_remove(NULL);
    ck_assert(!event_loop_iterate(loop, 0));
    event_loop_free(loop);
}
END_TEST

START_TEST(fd_writable)
{
    EventLoop *loop = new_loop();
    Watch w = {0};
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], on_read, on_write, &w);
    event_loop_iterate(loop, -1);
    ck_assert(w.writes == 1 && w.reads == 0);
    fd_handler_set(w.h, true, false);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(write(fds[1], "a", 1), 1);
    fd_handler_set(w.h, true, true);
    event_loop_iterate(loop, -1);
    ck_assert(w.writes == 2 && w.reads == 1);
    event_loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(fd_regular_file)
{
    EventLoop *loop = new_loop();
    Watch w = {.fd = open("/dev/null", O_RDWR)}, v = {.fd = open("/dev/null", O_RDWR)};

    w.h = event_loop_add_fd(loop, w.fd, on_read, NULL, &w);
    v.h = event_loop_add_fd(loop, v.fd, NULL, on_write, &v);
    event_loop_iterate(loop, -1);
    event_loop_iterate(loop, -1);
    ck_assert(w.reads >= 1 && v.writes >= 1);
    int reads = w.reads;
    fd_handler_set(w.h, false, false);
    fd_handler_remove(v.h);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_set(w.h, true, false);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, reads + 1);
    event_loop_free(loop);
    close(w.fd);
    close(v.fd);
}
END_TEST

/* Whichever of two ready handlers runs first removes both. */
static void remove_both(void *data)
{
    Watch *w = data;

    w->reads++;
    fd_handler_remove(w->h);
    fd_handler_remove(w->other);
    close(w->fd);
}

START_TEST(fd_removed_in_callback)
{
    EventLoop *loop = new_loop();
    Watch w = {0};
    int a[2], b[2];

    ck_assert(pipe(a) == 0 && pipe(b) == 0);
    w.fd = a[0];
    w.h = event_loop_add_fd(loop, a[0], remove_both, NULL, &w);
    w.other = event_loop_add_fd(loop, b[0], remove_both, NULL, &w);
    ck_assert(write(a[1], "a", 1) == 1 && write(b[1], "b", 1) == 1);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 1);
    ck_assert(!event_loop_iterate(loop, 0));
    event_loop_free(loop);
}
END_TEST

static void add_another(void *data)
{
    Watch *w = data;
    char c;

    w->reads++;
    ck_assert_int_eq(read(w->fd, &c, 1), 1);
    /* A handler that is removed before epoll was told of it. */
    fd_handler_remove(event_loop_add_fd(w->loop, w->fd, on_read, NULL, w));
    fd_handler_set(w->h, false, false);
    fd_handler_set(w->h, true, false);
}

START_TEST(fd_changed_in_callback)
{
    EventLoop *loop = new_loop();
    Watch w = {.loop = loop};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], add_another, NULL, &w);
    ck_assert_int_eq(write(fds[1], "ab", 2), 2);
    event_loop_iterate(loop, -1);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 2);
    event_loop_free(loop);
}
END_TEST

/* Timers. */

typedef struct {
    Timer *timer;
    GString *log;
    char name;
    int fires;
    int64_t at, again;
    bool done;
} Tick;

static void on_tick(void *data)
{
    Tick *t = data;

    t->fires++;
    t->at = clock_ns(CLOCK_VIRTUAL_NS);
    t->done = true;
    if (t->log) {
        g_string_append_c(t->log, t->name);
    }
    if (t->again) {
        timer_arm(t->timer, t->at + t->again);
    }
}

START_TEST(timers_in_order)
{
    EventLoop *loop = new_loop();
    g_autoptr(GString) log = g_string_new(NULL);
    static const int order[] = {5, 2, 8, 0, 9, 1, 7, 3, 6, 4};
    Tick ticks[10];
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    for (int i = 0; i < 10; i++) {
        ticks[i] = (Tick){.log = log, .name = 'a' + i};
        ticks[i].timer = timer_new(loop, CLOCK_REALTIME_NS, on_tick, &ticks[i]);
    }
    for (int i = 0; i < 10; i++) {
        timer_arm(ticks[order[i]].timer, now + order[i] * NS_PER_MS);
    }
    timer_cancel(ticks[4].timer);
    timer_arm(ticks[2].timer, now + 20 * NS_PER_MS);
    ck_assert(timer_armed(ticks[2].timer) && !timer_armed(ticks[4].timer));
    ck_assert_int_eq(timer_deadline(ticks[2].timer), now + 20 * NS_PER_MS);
    ck_assert_int_eq(timer_deadline(ticks[4].timer), -1);
    run_until(loop, &ticks[2].done);
    ck_assert_str_eq(log->str, "abdfghijc");
    ck_assert_int_ge(clock_ns(CLOCK_REALTIME_NS), now + 20 * NS_PER_MS);
    for (int i = 0; i < 10; i++) {
        ck_assert(!timer_armed(ticks[i].timer));
        timer_free(ticks[i].timer);
    }
    event_loop_free(loop);
}
END_TEST

/* Many random operations, against a plain array. */
START_TEST(timers_random)
{
    enum { N = 100 };
    EventLoop *loop = new_loop();
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Tick ticks[N] = {0};
    int64_t deadline[N];

    event_loop_bind(loop);
    virtual_clock_make_manual();
    for (int i = 0; i < N; i++) {
        ticks[i].timer = timer_new(loop, CLOCK_VIRTUAL_NS, on_tick, &ticks[i]);
        deadline[i] = -1;
    }
    for (int round = 0; round < 2000; round++) {
        int i = g_rand_int_range(rand, 0, N);
        int64_t now = clock_ns(CLOCK_VIRTUAL_NS);
        if (g_rand_int_range(rand, 0, 3)) {
            deadline[i] = now + g_rand_int_range(rand, 1, 1000);
            timer_arm(ticks[i].timer, deadline[i]);
        } else {
            deadline[i] = -1;
            timer_cancel(ticks[i].timer);
        }
        int64_t earliest = -1;
        for (int j = 0; j < N; j++) {
            if (deadline[j] >= 0 && (earliest < 0 || deadline[j] < earliest)) {
                earliest = deadline[j];
            }
        }
        ck_assert_int_eq(virtual_clock_next_deadline(), earliest);
        if (round % 7 == 0) {
            virtual_clock_set(now + 50);
            for (int j = 0; j < N; j++) {
                bool due = deadline[j] >= 0 && deadline[j] <= now + 50;
                ck_assert_int_eq(ticks[j].fires, due);
                ck_assert(!due || ticks[j].at == deadline[j]);
                deadline[j] = due ? -1 : deadline[j];
                ticks[j].fires = 0;
            }
        }
    }
    for (int i = 0; i < N; i++) {
        timer_free(ticks[i].timer);
    }
    event_loop_free(loop);
}
END_TEST

static void free_own_timer(void *data)
{
    Tick *t = data;

    timer_free(t->timer);
    t->done = true;
}

START_TEST(timer_frees_itself)
{
    EventLoop *loop = new_loop();
    Tick t = {0};

    t.timer = timer_new(loop, CLOCK_HOST_NS, free_own_timer, &t);
    timer_arm(t.timer, 0);
    run_until(loop, &t.done);
    timer_free(NULL);
    event_loop_free(loop);
}
END_TEST

static void arm_now(void *data)
{
    Tick *t = data;

    t->fires++;
    timer_arm(t->timer, 0);
}

/* A timer that is always due leaves room for the rest of the loop. */
START_TEST(timer_does_not_starve)
{
    EventLoop *loop = new_loop();
    Tick greedy = {0}, modest = {0};

    greedy.timer = timer_new(loop, CLOCK_REALTIME_NS, arm_now, &greedy);
    modest.timer = timer_new(loop, CLOCK_HOST_NS, on_tick, &modest);
    timer_arm(greedy.timer, 0);
    timer_arm(modest.timer, clock_ns(CLOCK_HOST_NS));
    run_until(loop, &modest.done);
    timer_free(greedy.timer);
    timer_free(modest.timer);
    event_loop_free(loop);
}
END_TEST

START_TEST(timer_armed_elsewhere)
{
    EventLoop *loop = new_loop();
    GThread *thread = start(loop);
    Tick t = {0};

    t.timer = timer_new(loop, CLOCK_REALTIME_NS, on_tick, &t);
    for (int i = 1; i <= 50; i++) {
        timer_arm(t.timer, clock_ns(CLOCK_REALTIME_NS) + 100 * NS_PER_SEC);
        timer_arm(t.timer, clock_ns(CLOCK_REALTIME_NS) + (i % 3) * 100 * NS_PER_US);
        while (timer_armed(t.timer)) {
            g_usleep(50);
        }
    }
    event_loop_quit(loop);
    g_thread_join(thread);
    ck_assert_int_eq(t.fires, 50);
    timer_free(t.timer);
    event_loop_free(loop);
}
END_TEST

/* Clocks. */

START_TEST(virtual_clock)
{
    EventLoop *loop = new_loop();
    Tick t = {0};

    ck_assert(virtual_clock_frozen() && !virtual_clock_is_manual());
    ck_assert_int_eq(clock_ns(CLOCK_VIRTUAL_NS), 0);
    ck_assert_int_eq(virtual_clock_next_deadline(), -1);
    t.timer = timer_new(loop, CLOCK_VIRTUAL_NS, on_tick, &t);
    timer_arm(t.timer, 2 * NS_PER_MS);
    ck_assert_int_eq(virtual_clock_next_deadline(), 2 * NS_PER_MS);
    event_loop_iterate(loop, 5 * NS_PER_MS);
    ck_assert_int_eq(t.fires, 0);
    virtual_clock_thaw();
    ck_assert(!virtual_clock_frozen());
    run_until(loop, &t.done);
    ck_assert_int_ge(t.at, 2 * NS_PER_MS);
    virtual_clock_freeze();
    int64_t at = clock_ns(CLOCK_VIRTUAL_NS);
    g_usleep(2000);
    ck_assert_int_eq(clock_ns(CLOCK_VIRTUAL_NS), at);
    /* State load. Due timers wait for the thaw. */
    timer_arm(t.timer, 6 * NS_PER_SEC);
    virtual_clock_set(7 * NS_PER_SEC);
    ck_assert_int_eq(clock_ns(CLOCK_VIRTUAL_NS), 7 * NS_PER_SEC);
    event_loop_iterate(loop, 0);
    ck_assert_int_eq(t.fires, 1);
    virtual_clock_thaw();
    event_loop_iterate(loop, 0);
    ck_assert_int_eq(t.fires, 2);
    ck_assert_int_ge(clock_ns(CLOCK_VIRTUAL_NS), 7 * NS_PER_SEC);
    timer_free(t.timer);
    event_loop_free(loop);
}
END_TEST

START_TEST(manual_clock)
{
    EventLoop *loop = new_loop();
    g_autoptr(GString) log = g_string_new(NULL);
    Tick a = {.log = log, .name = 'a', .again = 100}, b = {.log = log, .name = 'b'};

    event_loop_bind(loop);
    virtual_clock_make_manual();
    ck_assert(virtual_clock_is_manual());
    a.timer = timer_new(loop, CLOCK_VIRTUAL_NS, on_tick, &a);
    b.timer = timer_new(loop, CLOCK_VIRTUAL_NS, on_tick, &b);
    timer_arm(a.timer, 100);
    timer_arm(b.timer, 250);
    virtual_clock_set(99);
    ck_assert_str_eq(log->str, "");
    virtual_clock_set(420);
    ck_assert_str_eq(log->str, "aabaa");
    ck_assert(a.at == 400 && b.at == 250 && clock_ns(CLOCK_VIRTUAL_NS) == 420);
    ck_assert_int_eq(virtual_clock_next_deadline(), 500);
    /* A timer that is due fires in the next turn; host time does not make one due. */
    timer_arm(b.timer, 420);
    event_loop_iterate(loop, NS_PER_MS);
    ck_assert(b.fires == 2 && b.at == 420);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    /* Paused, the clock can be set, and nothing fires. */
    virtual_clock_freeze();
    virtual_clock_set(10000);
    ck_assert(a.fires == 4 && clock_ns(CLOCK_VIRTUAL_NS) == 10000);
    a.again = 0;
    virtual_clock_thaw();
    event_loop_iterate(loop, 0);
    ck_assert(a.fires == 5 && a.at == 10000);
    timer_free(a.timer);
    timer_free(b.timer);
    event_loop_free(loop);
}
END_TEST

static void arm_at_clock(void *data)
{
    Tick *t = data;

    t->fires++;
    timer_arm(t->timer, clock_ns(CLOCK_VIRTUAL_NS));
}

/* A timer that re-arms itself for the same time must not hang the step. */
START_TEST(manual_clock_endless)
{
    EventLoop *loop = new_loop();
    Tick t = {0};

    event_loop_bind(loop);
    virtual_clock_make_manual();
    t.timer = timer_new(loop, CLOCK_VIRTUAL_NS, arm_at_clock, &t);
    timer_arm(t.timer, 5);
    virtual_clock_set(10);
    ck_assert(t.fires > 1 && clock_ns(CLOCK_VIRTUAL_NS) == 10);
    event_loop_iterate(loop, 0);
    timer_free(t.timer);
    event_loop_free(loop);
}
END_TEST

/* Deferred calls. */

typedef struct {
    BottomHalf bh;
    GString *log;
    int runs, again;
} Half;

static void on_half(void *data)
{
    Half *h = data;

    h->runs++;
    if (h->again-- > 0) {
        bh_schedule(&h->bh);
    }
}

START_TEST(bottom_halves)
{
    EventLoop *loop = new_loop();
    Half a = {0}, b = {0}, c = {0};

    bh_init(&a.bh, loop, on_half, &a);
    bh_init(&b.bh, loop, on_half, &b);
    bh_init(&c.bh, loop, on_half, &c);
    bh_schedule(&a.bh);
    bh_schedule(&a.bh);
    bh_schedule(&b.bh);
    bh_schedule(&c.bh);
    bh_cancel(&c.bh);
    ck_assert(event_loop_iterate(loop, -1));
    ck_assert(a.runs == 1 && b.runs == 1 && c.runs == 0);
    ck_assert(!event_loop_iterate(loop, 0));
    bh_cancel(&c.bh);
    bh_schedule(&c.bh);
    a.again = 100;
    bh_schedule(&a.bh);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(c.runs, 1);
    for (int i = 0; i < 100; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert_int_eq(a.runs, 102);
    /* Cancels the last call of the queue; more can still be added. */
    bh_schedule(&a.bh);
    bh_schedule(&b.bh);
    bh_cancel(&b.bh);
    bh_schedule(&c.bh);
    event_loop_iterate(loop, -1);
    ck_assert(a.runs == 103 && b.runs == 1 && c.runs == 2);
    event_loop_free(loop);
}
END_TEST

typedef struct {
    EventLoop *loop;
    int *next, number;
} Numbered;

static void check_number(void *data)
{
    Numbered *n = data;

    ck_assert_int_eq((*n->next)++, n->number);
}

START_TEST(calls_in_order)
{
    EventLoop *loop = new_loop();
    Numbered numbers[100];
    int next = 0;

    for (int i = 0; i < 100; i++) {
        numbers[i] = (Numbered){.next = &next, .number = i};
        event_loop_call(loop, check_number, &numbers[i]);
    }
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(next, 100);
    /* Calls that have not run are freed with the loop. */
    event_loop_call(loop, check_number, &numbers[0]);
    event_loop_free(loop);
    ck_assert_int_eq(next, 100);
}
END_TEST

static void count_up(void *data)
{
    ++*(int *)data;
}

enum { CALLERS = 4, CALLS = 20000 };

typedef struct {
    EventLoop *loop;
    int *count;
    BottomHalf *bh;
} Caller;

static void *call_a_lot(void *data)
{
    Caller *c = data;

    for (int i = 0; i < CALLS; i++) {
        event_loop_call(c->loop, count_up, c->count);
        bh_schedule(c->bh);
        if (i % 1000 == 0) {
            event_loop_call_wait(c->loop, count_up, c->count);
            g_usleep(100);
        }
    }
    return NULL;
}

/* No wake-up is lost, whatever the loop is doing when the call comes. */
START_TEST(calls_from_threads)
{
    EventLoop *loop = new_loop();
    GThread *home = start(loop), *threads[CALLERS];
    int count = 0;
    Half half = {0};
    Caller caller = {loop, &count, &half.bh};

    bh_init(&half.bh, loop, on_half, &half);
    for (int i = 0; i < CALLERS; i++) {
        threads[i] = g_thread_new("caller", call_a_lot, &caller);
    }
    for (int i = 0; i < CALLERS; i++) {
        g_thread_join(threads[i]);
    }
    event_loop_call_wait(loop, count_up, &count);
    ck_assert_int_eq(count, CALLERS * (CALLS + CALLS / 1000) + 1);
    ck_assert_int_ge(half.runs, 1);
    stop(loop, home);
}
END_TEST

static void call_inside(void *data)
{
    Caller *c = data;

    ck_assert(event_loop_in_thread(c->loop));
    event_loop_call_wait(c->loop, count_up, c->count); /* directly */
    ck_assert_int_eq(*c->count, 1);
    event_loop_quit(c->loop);
}

START_TEST(call_wait_at_home)
{
    EventLoop *loop = new_loop();
    int count = 0;
    Caller caller = {.loop = loop, .count = &count};

    ck_assert_str_eq(event_loop_name(loop), "test");
    ck_assert_ptr_null(event_loop_current());
    event_loop_call(loop, call_inside, &caller);
    event_loop_run(loop);
    ck_assert_ptr_eq(event_loop_current(), loop);
    ck_assert_int_eq(count, 1);
    event_loop_free(loop);
    ck_assert_ptr_null(event_loop_current());
}
END_TEST

START_TEST(quit_before_run)
{
    EventLoop *loop = new_loop();

    event_loop_quit(loop);
    event_loop_run(loop);
    event_loop_free(loop);
}
END_TEST

/* With nothing to do a loop takes no turns. */
START_TEST(idle)
{
    EventLoop *loop = new_loop();
    GThread *thread = start(loop);

    g_usleep(20000);
    uint64_t turns = event_loop_turns(loop);
    g_usleep(100000);
    ck_assert_uint_eq(event_loop_turns(loop), turns);
    stop(loop, thread);
}
END_TEST

/* Flush hooks and adaptive polling. */

static void flushed(void *data)
{
    ++*(int *)data;
}

START_TEST(flush_hooks)
{
    EventLoop *loop = new_loop();
    int a = 0, b = 0;

    event_loop_add_flush(loop, flushed, &a);
    event_loop_add_flush(loop, flushed, &b);
    event_loop_iterate(loop, 0);
    event_loop_remove_flush(loop, flushed, &a);
    event_loop_iterate(loop, 0);
    ck_assert(a == 1 && b == 2);
    event_loop_free(loop);
}
END_TEST

static void flush_once(void *data)
{
    int *count = data;

    ++*count;
    event_loop_remove_flush(event_loop_current(), flush_once, data);
}

START_TEST(flush_removed_in_callback)
{
    EventLoop *loop = new_loop();
    int once = 0, always = 0;

    event_loop_add_flush(loop, flush_once, &once);
    event_loop_add_flush(loop, flushed, &always);
    event_loop_iterate(loop, 0);
    ck_assert(once == 1 && always == 1);
    event_loop_iterate(loop, 0);
    ck_assert(once == 1 && always == 2);
    event_loop_free(loop);
}
END_TEST

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
    event_loop_iterate(loop, 200 * NS_PER_MS);
    ck_assert(!quiet_now);
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
        fd_readable,
        fd_writable,
        fd_regular_file,
        fd_removed_in_callback,
        fd_changed_in_callback,
        timers_in_order,
        timers_random,
        timer_frees_itself,
        timer_does_not_starve,
        timer_armed_elsewhere,
        virtual_clock,
        manual_clock,
        manual_clock_endless,
        bottom_halves,
        calls_in_order,
        calls_from_threads,
        call_wait_at_home,
        quit_before_run,
        idle,
        flush_hooks,
        flush_removed_in_callback,
        adaptive_polling,
        poll_removed_in_callback,
#ifdef HAVE_LIBURING
        uring_reads,
        uring_wakes,
#endif
        NULL,
    };

    return unit_run("loop", tests);
}

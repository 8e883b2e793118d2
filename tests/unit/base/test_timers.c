/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event loop: timers and clocks. */
#include "loop_helpers.h"

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

int main(void)
{
    const TTest *const tests[] = {
        timers_in_order,       timers_random,         timer_frees_itself,
        timer_does_not_starve, timer_armed_elsewhere, virtual_clock,
        manual_clock,          manual_clock_endless,  NULL,
    };

    unit_fork_always();
    return unit_run("timers", tests);
}

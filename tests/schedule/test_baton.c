/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The baton on small programs: faults that were put there are found within some seeds, a program
 * without one passes them all, and equal seeds make equal runs.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/base/unit.h"

#include "baton.h"
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "base/util.h"

enum {
    SEEDS = 100,
    TSAN_STATUS = 66, /* ThreadSanitizer's own: it sees some faults before they strike */
};

typedef struct {
    int status; /* of the process: 0, or BATON_... */
    uint64_t hash;
} Outcome;

/* One run, in a process of its own. */
static Outcome run(void (*fn)(void), uint64_t seed)
{
    Outcome out = {0};
    int pipes[2], status;
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        close(2);
        baton_start(seed, 100000);
        fn();
        out.hash = baton_hash();
        _exit(write(pipes[1], &out.hash, sizeof out.hash) != sizeof out.hash);
    }
    close(pipes[1]);
    if (read(pipes[0], &out.hash, sizeof out.hash) < 0) {
        out.hash = 0;
    }
    close(pipes[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "seed %lu: signal %d", (unsigned long)seed, WTERMSIG(status));
    out.status = WEXITSTATUS(status);
    return out;
}

/* Fails unless some seed, but not every, ends that way, and it does so again. */
static void found(void (*fn)(void), int status)
{
    unsigned hits = 0, passes = 0, seen = 0;

    /* A sanitizer's report is slow to print: some are enough. */
    for (unsigned seed = 0; seed < SEEDS && seen < 4; seed++) {
        Outcome out = run(fn, seed);

        if (out.status == status) {
            hits++;
            ck_assert_int_eq(run(fn, seed).status, status);
        } else if (out.status != TSAN_STATUS) {
            ck_assert_int_eq(out.status, 0);
            passes++;
        } else {
            seen++;
        }
    }
    ck_assert_uint_gt(hits + seen, 0);
    ck_assert_uint_gt(passes + seen, 0);
}

static void clean(void (*fn)(void))
{
    uint64_t first = 0;
    bool differ = false;

    for (unsigned seed = 0; seed < SEEDS; seed++) {
        Outcome out = run(fn, seed);

        ck_assert_msg(out.status == 0, "seed %u: status %d", seed, out.status);
        first = seed ? first : out.hash;
        differ |= out.hash != first;
        if (seed % 8 == 0) {
            ck_assert_uint_eq(run(fn, seed).hash, out.hash);
        }
    }
    ck_assert(differ);
}

/* Two threads. */

static GMutex lock, other;
static GCond cond;
static bool flag;
static unsigned counter;

static pthread_t start(void *(*fn)(void *))
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, fn, NULL), 0);
    return thread;
}

static void *count_locked(void *data)
{
    for (unsigned i = 0; i < 5; i++) {
        g_mutex_lock(&lock);
        unsigned before = counter;
        sched_point("count");
        counter = before + 1;
        g_mutex_unlock(&lock);
    }
    return NULL;
}

static void two_count(void)
{
    pthread_t a = start(count_locked), z = start(count_locked);

    pthread_join(a, NULL);
    pthread_join(z, NULL);
    if (counter != 10) {
        baton_fail("counted to %u", counter);
    }
}

START_TEST(a_lock_is_a_lock)
{
    clean(two_count);
}
END_TEST

static void *count_loosely(void *data)
{
    for (unsigned i = 0; i < 5; i++) {
        unsigned before = counter;
        sched_point("count");
        counter = before + 1;
    }
    return NULL;
}

static void two_count_loosely(void)
{
    pthread_t a = start(count_loosely), z = start(count_loosely);

    pthread_join(a, NULL);
    pthread_join(z, NULL);
    if (counter != 10) {
        baton_fail("counted to %u", counter);
    }
}

START_TEST(lost_update)
{
    found(two_count_loosely, BATON_ORACLE);
}
END_TEST

/* Looks before it has the lock: the signal may fall in between. */
static void *waits_carelessly(void *data)
{
    if (!__atomic_load_n(&flag, __ATOMIC_SEQ_CST)) {
        g_mutex_lock(&lock);
        g_cond_wait(&cond, &lock);
        g_mutex_unlock(&lock);
    }
    return NULL;
}

static void *waits_well(void *data)
{
    g_mutex_lock(&lock);
    while (!__atomic_load_n(&flag, __ATOMIC_SEQ_CST)) {
        g_cond_wait(&cond, &lock);
    }
    g_mutex_unlock(&lock);
    return NULL;
}

static void wake(void)
{
    g_mutex_lock(&lock);
    __atomic_store_n(&flag, true, __ATOMIC_SEQ_CST);
    g_cond_signal(&cond);
    g_mutex_unlock(&lock);
}

static void careless(void)
{
    pthread_t waiter = start(waits_carelessly);

    wake();
    pthread_join(waiter, NULL);
}

static void careful(void)
{
    pthread_t waiter = start(waits_well);

    wake();
    pthread_join(waiter, NULL);
}

START_TEST(lost_wakeup)
{
    found(careless, BATON_DEADLOCK);
    clean(careful);
}
END_TEST

static void *takes_both(void *data)
{
    g_mutex_lock(&other);
    g_mutex_lock(&lock);
    g_mutex_unlock(&lock);
    g_mutex_unlock(&other);
    return NULL;
}

static void abba(void)
{
    pthread_t thread = start(takes_both);

    g_mutex_lock(&lock);
    g_mutex_lock(&other);
    g_mutex_unlock(&other);
    g_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}

START_TEST(deadlock)
{
    found(abba, BATON_DEADLOCK);
}
END_TEST

static void *spins(void *data)
{
    while (!__atomic_load_n(&flag, __ATOMIC_SEQ_CST)) {
        g_thread_yield();
    }
    return NULL;
}

static void spin_for_ever(void)
{
    pthread_join(start(spins), NULL);
}

static void spin_until_told(void)
{
    pthread_t thread = start(spins);

    wake();
    pthread_join(thread, NULL);
}

START_TEST(livelock)
{
    ck_assert_int_eq(run(spin_for_ever, 1).status, BATON_LIVELOCK);
    clean(spin_until_told);
}
END_TEST

/* Loops: calls from one thread to the other, timers on the virtual clock, coroutines. */

static EventLoop *loops[2];

static void *loop_thread(void *data)
{
    event_loop_run(loops[1]);
    return NULL;
}

static void quit(void *data)
{
    event_loop_quit(data);
}

static void coroutine_fn sleeper(void *data)
{
    for (unsigned i = 0; i < 3; i++) {
        coroutine_sleep(CLOCK_REALTIME_NS, 10 * NS_PER_SEC);
    }
    event_loop_call(loops[0], quit, loops[0]);
}

static void start_sleeper(void *data)
{
    coroutine_start(sleeper, NULL);
}

static void two_loops(void)
{
    int64_t begun = clock_ns(CLOCK_REALTIME_NS), took;

    loops[0] = event_loop_new("a", NULL);
    loops[1] = event_loop_new("b", NULL);
    pthread_t thread = start(loop_thread);

    event_loop_call(loops[1], start_sleeper, NULL);
    event_loop_run(loops[0]);
    event_loop_quit(loops[1]);
    pthread_join(thread, NULL);
    event_loop_free(loops[1]);
    event_loop_free(loops[0]);
    took = clock_ns(CLOCK_REALTIME_NS) - begun;
    if (took < 30 * NS_PER_SEC || took > 31 * NS_PER_SEC) {
        baton_fail("30 s took %ld ms", (long)(took / NS_PER_MS));
    }
}

START_TEST(loops_and_clocks)
{
    clean(two_loops);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_lock_is_a_lock, lost_update,      lost_wakeup, deadlock,
                                  livelock,         loops_and_clocks, NULL};

    return unit_run("schedule_baton", tests);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines, their mutex and queue, and the thread pool. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/coroutine.h"
#include "base/util.h"
#include "unit.h"

static EventLoop *loop;
static GString *trace;

static void setup(void)
{
    loop = event_loop_new("test", NULL);
    ck_assert_ptr_nonnull(loop);
    event_loop_bind(loop);
    trace = g_string_new(NULL);
}

static void teardown(void)
{
    event_loop_free(loop);
    g_string_free(trace, TRUE);
}

static void run_until(const int *counter, int want)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 30 * NS_PER_SEC;

    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) != want) {
        event_loop_iterate(loop, 100 * NS_PER_MS);
        ck_assert(clock_ns(CLOCK_REALTIME_NS) < end);
    }
}

static Coroutine *slot;

static void coroutine_fn two_yields(void *data)
{
    slot = coroutine_self();
    ck_assert(in_coroutine() && coroutine_loop(slot) == loop);
    g_string_append_c(trace, 'a');
    coroutine_yield();
    g_string_append_c(trace, 'b');
    coroutine_yield();
    g_string_append_c(trace, 'c');
    ++*(int *)data;
}

START_TEST(yields)
{
    int done = 0;

    setup();
    ck_assert(!in_coroutine());
    coroutine_start(two_yields, &done);
    ck_assert(!in_coroutine());
    ck_assert_str_eq(trace->str, "a");
    ck_assert(!event_loop_iterate(loop, 0));
    coroutine_wake(slot);
    coroutine_wake(slot);
    ck_assert_str_eq(trace->str, "a"); /* from a fresh callback, not from here */
    event_loop_iterate(loop, -1);
    ck_assert_str_eq(trace->str, "ab");
    ck_assert(!event_loop_iterate(loop, 0));
    coroutine_wake(slot);
    run_until(&done, 1);
    ck_assert_str_eq(trace->str, "abc");
    teardown();
}
END_TEST

static void coroutine_fn wake_first(void *data)
{
    coroutine_wake(coroutine_self());
    coroutine_wake(coroutine_self());
    coroutine_yield();
    ++*(int *)data;
    slot = coroutine_self();
    coroutine_yield(); /* one wake was remembered, not two */
    ++*(int *)data;
}

START_TEST(wake_before_yield)
{
    int steps = 0;

    setup();
    coroutine_start(wake_first, &steps);
    ck_assert_int_eq(steps, 0);
    run_until(&steps, 1);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(steps, 1);
    coroutine_wake(slot);
    run_until(&steps, 2);
    teardown();
}
END_TEST

static void coroutine_fn drop_wake(void *data)
{
    coroutine_wake(coroutine_self());
    coroutine_wait_over(); /* the condition was seen to hold before the wake-up was needed */
    slot = coroutine_self();
    coroutine_yield();
    ++*(int *)data;
}

/* A wake-up that was meant for an earlier wait does not end the next one. */
START_TEST(wake_of_an_earlier_wait)
{
    int steps = 0;

    setup();
    coroutine_start(drop_wake, &steps);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(steps, 0);
    coroutine_wake(slot);
    run_until(&steps, 1);
    teardown();
}
END_TEST

static void coroutine_fn nested(void *data)
{
    int depth = *(int *)data - 1;

    g_string_append_printf(trace, "<%d", depth);
    if (depth > 0) {
        coroutine_start(nested, &depth);
    }
    coroutine_wake(coroutine_self());
    coroutine_yield();
    g_string_append_printf(trace, "%d>", depth);
}

START_TEST(nesting)
{
    int depth = 4;

    setup();
    coroutine_start(nested, &depth);
    ck_assert_str_eq(trace->str, "<3<2<1<0");
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_str_eq(trace->str, "<3<2<1<00>1>2>3>");
    teardown();
}
END_TEST

/* More than the pool of stacks holds, with deep frames, twice. */
static int many_done;

static unsigned coroutine_fn recurse(unsigned n)
{
    volatile char frame[512];
    bool whole = true;

    for (unsigned i = 0; i < sizeof frame; i++) {
        frame[i] = (char)n;
    }
    if (n == 0) {
        coroutine_yield();
        return 0;
    }
    unsigned below = recurse(n - 1);
    for (unsigned i = 0; i < sizeof frame; i++) {
        whole = whole && frame[i] == (char)n;
    }
    ck_assert(whole);
    return below + 1;
}

static void coroutine_fn deep(void *data)
{
    ((Coroutine **)data)[0] = coroutine_self();
    ck_assert_uint_eq(recurse(40), 40);
    many_done++;
}

START_TEST(many)
{
    enum { N = 300 };
    Coroutine *all[N];

    setup();
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < N; i++) {
            coroutine_start(deep, &all[i]);
        }
        for (int i = 0; i < N; i++) {
            coroutine_wake(all[(i * 7) % N]);
        }
        run_until(&many_done, round * N);
    }
    teardown();
}
END_TEST

static void coroutine_fn sleeper(void *data)
{
    int64_t start = clock_ns(CLOCK_REALTIME_NS);

    coroutine_sleep(CLOCK_REALTIME_NS, 3 * NS_PER_MS);
    ck_assert_int_ge(clock_ns(CLOCK_REALTIME_NS) - start, 3 * NS_PER_MS);
    ++*(int *)data;
}

START_TEST(sleeping)
{
    int done = 0;

    setup();
    coroutine_start(sleeper, &done);
    coroutine_start(sleeper, &done);
    run_until(&done, 2);
    teardown();
}
END_TEST

/* Mutex and queue. */

static CoMutex mutex;
static CoQueue queue;

static void coroutine_fn lock_and_say(void *data)
{
    co_mutex_lock(&mutex);
    g_string_append(trace, data);
    coroutine_wake(coroutine_self());
    coroutine_yield();
    g_string_append(trace, data);
    co_mutex_unlock(&mutex);
}

START_TEST(mutex_is_fair)
{
    setup();
    co_mutex_init(&mutex);
    coroutine_start(lock_and_say, (char *)"a");
    coroutine_start(lock_and_say, (char *)"b");
    coroutine_start(lock_and_say, (char *)"c");
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_str_eq(trace->str, "aabbcc");
    co_mutex_destroy(&mutex);
    teardown();
}
END_TEST

static void coroutine_fn try_lock(void *data)
{
    bool *locked = data;

    *locked = co_mutex_try_lock(&mutex);
    if (*locked) {
        co_mutex_unlock(&mutex);
    }
}

/* Who does not wait gets a mutex that is free, and no other. */
START_TEST(mutex_is_tried)
{
    bool locked = false;

    setup();
    co_mutex_init(&mutex);
    coroutine_start(try_lock, &locked);
    ck_assert(locked);
    coroutine_start(lock_and_say, (char *)"a");
    coroutine_start(try_lock, &locked);
    ck_assert(!locked);
    while (event_loop_iterate(loop, 0)) {
    }
    coroutine_start(try_lock, &locked);
    ck_assert(locked);
    ck_assert_str_eq(trace->str, "aa");
    co_mutex_destroy(&mutex);
    teardown();
}
END_TEST

static void coroutine_fn lock_once(void *data)
{
    co_mutex_lock(&mutex);
    g_string_append(trace, data);
    co_mutex_unlock(&mutex);
}

/* Has the mutex three times, and lets others run while it has it the second time. */
static void coroutine_fn lock_again(void *data)
{
    co_mutex_lock(&mutex);
    coroutine_start(lock_once, (char *)"b");
    coroutine_start(lock_once, (char *)"c");
    g_string_append(trace, "a");
    co_mutex_unlock(&mutex);

    co_mutex_lock(&mutex);
    g_string_append(trace, "A");
    coroutine_wake(coroutine_self());
    coroutine_yield();
    co_mutex_unlock(&mutex);

    co_mutex_lock(&mutex);
    g_string_append(trace, "!");
    co_mutex_unlock(&mutex);
}

/* A waiter's wake-up costs nobody who runs the mutex; a waiter is overtaken once and not again. */
START_TEST(mutex_is_free_until_the_waiter_runs)
{
    setup();
    co_mutex_init(&mutex);
    coroutine_start(lock_again, NULL);
    ck_assert_str_eq(trace->str, "aA");
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_str_eq(trace->str, "aAbc!");
    co_mutex_destroy(&mutex);
    teardown();
}
END_TEST

static int tokens, eaten;

static void coroutine_fn eat(void *data)
{
    co_mutex_lock(&mutex);
    while (tokens == 0) {
        co_queue_wait(&queue, &mutex);
    }
    tokens--;
    eaten++;
    co_mutex_unlock(&mutex);
}

static void coroutine_fn feed(void *data)
{
    co_mutex_lock(&mutex);
    tokens += GPOINTER_TO_INT(data);
    if (GPOINTER_TO_INT(data) == 1) {
        ck_assert(co_queue_wake_one(&queue));
    } else {
        co_queue_wake_all(&queue);
    }
    co_mutex_unlock(&mutex);
}

static void coroutine_fn wait_bare(void *data)
{
    co_queue_wait(&queue, NULL);
    ++*(int *)data;
}

START_TEST(queues)
{
    int bare = 0;

    setup();
    co_mutex_init(&mutex);
    co_queue_init(&queue);
    ck_assert(!co_queue_wake_one(&queue));
    for (int i = 0; i < 4; i++) {
        coroutine_start(eat, NULL);
    }
    coroutine_start(feed, GINT_TO_POINTER(1));
    run_until(&eaten, 1);
    coroutine_start(feed, GINT_TO_POINTER(3));
    run_until(&eaten, 4);
    coroutine_start(wait_bare, &bare);
    event_loop_iterate(loop, 0);
    ck_assert(co_queue_wake_one(&queue));
    run_until(&bare, 1);
    co_queue_destroy(&queue);
    co_mutex_destroy(&mutex);
    teardown();
}
END_TEST

/* Coroutines of several loops fight for one mutex; what it guards is no atomic. */

enum { LOOPS = 3, FIGHTERS = 20, FIGHTS = 200 };

typedef struct {
    EventLoop *loop;
    GThread *thread;
} Arena;

static int guarded, over;

static void coroutine_fn fight(void *data)
{
    for (int i = 0; i < FIGHTS; i++) {
        co_mutex_lock(&mutex);
        int seen = guarded;
        if (i % 16 == 0) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_US);
        }
        ck_assert_ptr_eq(event_loop_current(), coroutine_loop(coroutine_self()));
        guarded = seen + 1;
        if (i % 8 == 0) {
            co_queue_wake_one(&queue);
        }
        if (i % 50 == 7) {
            co_queue_wait(&queue, &mutex);
        }
        co_mutex_unlock(&mutex);
    }
    __atomic_add_fetch(&over, 1, __ATOMIC_SEQ_CST);
}

static void start_fighters(void *data)
{
    for (int i = 0; i < FIGHTERS; i++) {
        coroutine_start(fight, NULL);
    }
}

static void *arena_thread(void *data)
{
    event_loop_run(((Arena *)data)->loop);
    return NULL;
}

START_TEST(mutex_across_loops)
{
    Arena arenas[LOOPS];

    setup();
    co_mutex_init(&mutex);
    co_queue_init(&queue);
    for (int i = 0; i < LOOPS; i++) {
        arenas[i].loop = event_loop_new("arena", NULL);
        arenas[i].thread = g_thread_new("arena", arena_thread, &arenas[i]);
        event_loop_call(arenas[i].loop, start_fighters, NULL);
    }
    while (__atomic_load_n(&over, __ATOMIC_SEQ_CST) < LOOPS * FIGHTERS) {
        co_queue_wake_all(&queue);
        g_usleep(1000);
    }
    for (int i = 0; i < LOOPS; i++) {
        event_loop_quit(arenas[i].loop);
        g_thread_join(arenas[i].thread);
        event_loop_free(arenas[i].loop);
    }
    ck_assert_int_eq(guarded, LOOPS * FIGHTERS * FIGHTS);
    co_queue_destroy(&queue);
    co_mutex_destroy(&mutex);
    teardown();
}
END_TEST

/* Pool. */

static int slow_square(void *data)
{
    int n = GPOINTER_TO_INT(data);

    ck_assert_ptr_null(event_loop_current());
    g_usleep(n % 5 * 1000);
    return n * n;
}

static int pool_done, pool_sum;

static void on_done(void *data, int result)
{
    ck_assert(event_loop_in_thread(loop));
    ck_assert_int_eq(result, GPOINTER_TO_INT(data) * GPOINTER_TO_INT(data));
    pool_sum += result;
    pool_done++;
}

static void coroutine_fn square_in_pool(void *data)
{
    pool_sum += co_pool_run(slow_square, data);
    pool_done++;
}

START_TEST(pool)
{
    setup();
    for (int i = 1; i <= 200; i++) {
        pool_run(slow_square, GINT_TO_POINTER(i), on_done);
        coroutine_start(square_in_pool, GINT_TO_POINTER(i));
    }
    run_until(&pool_done, 400);
    ck_assert_int_eq(pool_sum, 2 * 2686700);
    teardown();
}
END_TEST

static int set_flag(void *data)
{
    __atomic_store_n((int *)data, 1, __ATOMIC_RELEASE);
    return 0;
}

START_TEST(pool_without_done)
{
    int flag = 0;

    setup();
    pool_run(set_flag, &flag, NULL);
    run_until(&flag, 1);
    event_loop_iterate(loop, NS_PER_SEC);
    teardown();
}
END_TEST

/* Work that blocks until it is let go. */
typedef struct {
    int begun, may_end, ended, told; /* atomic */
} Held;

static int held(void *data)
{
    Held *h = data;

    __atomic_store_n(&h->begun, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&h->may_end, __ATOMIC_ACQUIRE)) {
        g_usleep(1000);
    }
    __atomic_store_n(&h->ended, 1, __ATOMIC_RELEASE);
    return 0;
}

static void held_told(void *data, int result)
{
    Held *h = data;

    __atomic_store_n(&h->told, 1, __ATOMIC_RELEASE);
}

static void wait_for_flag(const int *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        g_usleep(1000);
    }
}

START_TEST(pool_outlives_loop)
{
    static Held running, queued[64];
    static Held after;

    setup();
    pool_run(held, &running, held_told);
    for (guint i = 0; i < G_N_ELEMENTS(queued); i++) {
        pool_run(held, &queued[i], held_told); /* one more than there may be threads */
    }
    wait_for_flag(&running.begun);
    pool_settle(loop, NS_PER_MS); /* does not wait for ever */
    ck_assert(!__atomic_load_n(&running.ended, __ATOMIC_ACQUIRE));
    event_loop_free(loop);
    __atomic_store_n(&running.may_end, 1, __ATOMIC_RELEASE);
    for (guint i = 0; i < G_N_ELEMENTS(queued); i++) {
        __atomic_store_n(&queued[i].may_end, 1, __ATOMIC_RELEASE);
    }
    wait_for_flag(&running.ended);

    /* The pool goes on for others; what it has not begun for the old loop is not begun any more. */
    loop = event_loop_new("second", NULL);
    event_loop_bind(loop);
    after.may_end = 1;
    pool_run(held, &after, held_told);
    pool_settle(loop, 30 * NS_PER_SEC);
    ck_assert(after.told);
    ck_assert(!running.told && !queued[G_N_ELEMENTS(queued) - 1].begun);
    teardown();
}
END_TEST

#if defined(__x86_64__) && !defined(COROUTINE_UCONTEXT)

enum { SHADOW_STACKS_ON, SHADOW_STACKS_NONE = 77 };

/* In a process of its own: no function that was called before the enabling may return after it. */
static G_GNUC_NORETURN void shadow_stack_child(void)
{
    enum { ARCH_SHSTK_ENABLE = 0x5001, ARCH_SHSTK_SHSTK = 1 };
    int done = 0;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "0"((long)SYS_arch_prctl), "D"((long)ARCH_SHSTK_ENABLE),
                       "S"((long)ARCH_SHSTK_SHSTK)
                     : "rcx", "r11", "memory");
    if (ret) {
        _exit(SHADOW_STACKS_NONE);
    }
    for (int i = 0; i < 3; i++) {
        coroutine_start(two_yields, &done);
        coroutine_wake(slot);
        event_loop_iterate(loop, -1);
        coroutine_wake(slot);
        event_loop_iterate(loop, -1);
    }
    _exit(done == 3 ? SHADOW_STACKS_ON : 1);
}

START_TEST(shadow_stacks)
{
    pid_t pid;
    int status;

    setup();
    pid = fork();
    if (pid == 0) {
        shadow_stack_child();
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == SHADOW_STACKS_NONE) {
        printf("# shadow_stacks: this processor or kernel has none\n");
    } else {
        ck_assert_int_eq(WEXITSTATUS(status), SHADOW_STACKS_ON);
    }
    teardown();
}
END_TEST

#define SHADOW_STACK_TESTS shadow_stacks,
#else
#define SHADOW_STACK_TESTS
#endif

int main(void)
{
    const TTest *const tests[] = {
        yields,
        wake_before_yield,
        wake_of_an_earlier_wait,
        nesting,
        many,
        sleeping,
        mutex_is_fair,
        mutex_is_tried,
        mutex_is_free_until_the_waiter_runs,
        queues,
        mutex_across_loops,
        pool,
        pool_without_done,
        pool_outlives_loop,
        SHADOW_STACK_TESTS NULL,
    };

    return unit_run("coroutine", tests);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Not instrumented by any sanitizer: ThreadSanitizer must not take the baton for an order that the
 * program makes. Locks are taken for real, by GLib's functions, once the model says that they are
 * free, so the sanitizer sees them. All state here is the baton holder's.
 */
#include "baton.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#define VMM_SCHEDULE
#include "base/sched.h"
/* Here the real ones are meant. */
#undef g_mutex_lock
#undef g_mutex_unlock
#undef g_rec_mutex_lock
#undef g_rec_mutex_unlock
#undef g_cond_wait
#undef g_cond_wait_until
#undef g_cond_signal
#undef g_cond_broadcast
#undef pthread_create
#undef pthread_join
#undef pthread_kill
#undef pthread_setname_np
#undef g_thread_try_new
#undef g_thread_yield
#undef g_usleep
#undef g_get_monotonic_time
#undef clock_gettime
#undef epoll_wait
#undef epoll_pwait2
#undef __atomic_load_n
#undef __atomic_store_n

#define NS_PER_SECOND 1000000000ll

enum {
    THREADS_MAX = 64,
    LOCKS_MAX = 256,
    STALL_MAX = 400,       /* decisions that a thread is held up for at a named point */
    LOOK_NS = 200,         /* what a look at the clock takes */
    SPURIOUS_ONE_IN = 256, /* wakes of a condition's waiter for nothing */
};

typedef enum { READY, WAITING, OVER } ThreadState;

typedef struct Thread {
    unsigned id;
    ThreadState state;
    int go; /* futex: 1: the baton is its */
    pthread_t handle;
    char name[16];
    const char *place;  /* of its last hook */
    const char *what;   /* it waits for */
    const void *object; /* the lock, condition or thread that it waits for */
    int epoll_fd;       /* it waits for, or -1 */
    int64_t deadline;   /* ns, or -1 */
    bool timed_out;
    unsigned weight;
    uint64_t stalled_until; /* a decision */
    void *(*fn)(void *);
    GThreadFunc gfn;
    void *data;
} Thread;

static struct {
    bool on;
    Rand rand;
    unsigned plain_in, atomic_in, stall_in; /* one in so many hooks hands the baton on */
    uint64_t hooks, limit, decisions, hash;
    int64_t now, jumped;
    int trace_fd;
    bool trace_decisions;
    Thread threads[THREADS_MAX];
    unsigned count;
    struct {
        const void *lock;
        Thread *holder;
        unsigned depth;
    } locks[LOCKS_MAX];
    unsigned lock_count;
} b = {.trace_fd = -1};

static __thread Thread *me;

/* Numbers. */

void rand_seed(Rand *r, uint64_t seed)
{
    r->state = (seed + 1) * 0x9e3779b97f4a7c15ull;
    r->state ^= r->state >> 29;
    r->state |= r->state == 0;
    rand_next(r);
}

uint64_t rand_next(Rand *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1dull;
}

static void hash_in(uint64_t v)
{
    b.hash = (b.hash ^ v) * 0x100000001b3ull;
}

bool baton_active(void)
{
    return b.on;
}

void baton_trace(int fd, bool decisions)
{
    b.trace_fd = fd;
    b.trace_decisions = decisions;
}

void baton_note(const char *fmt, ...)
{
    va_list ap;

    if (b.trace_fd < 0) {
        return;
    }
    dprintf(b.trace_fd, "%lu %s: ", (unsigned long)b.decisions, me ? me->name : "");
    va_start(ap, fmt);
    vdprintf(b.trace_fd, fmt, ap);
    va_end(ap);
    dprintf(b.trace_fd, "\n");
}

uint64_t baton_hash(void)
{
    return b.hash;
}

uint64_t baton_decisions(void)
{
    return b.decisions;
}

int64_t baton_now(void)
{
    return b.now;
}

/* Failures. */

static Thread *lock_holder(const void *lock)
{
    for (unsigned i = 0; i < b.lock_count; i++) {
        if (b.locks[i].lock == lock) {
            return b.locks[i].holder;
        }
    }
    return NULL;
}

static void print_locks_of(const Thread *t)
{
    for (unsigned i = 0; i < b.lock_count; i++) {
        if (b.locks[i].holder == t) {
            dprintf(2, "         holds %p\n", b.locks[i].lock);
        }
    }
}

void baton_print_threads(void)
{
    static const char *const states[] = {"ready", "waits", "over"};

    dprintf(2, "%lu decisions, %lu hooks, clock at %ld us (%ld us of it jumped)\n",
            (unsigned long)b.decisions, (unsigned long)b.hooks, (long)(b.now / 1000),
            (long)(b.jumped / 1000));
    for (unsigned i = 0; i < b.count; i++) {
        const Thread *t = &b.threads[i];
        const Thread *holder = t->state == WAITING ? lock_holder(t->object) : NULL;

        dprintf(2, "  %s%2u %-15s %s", t == me ? "*" : " ", t->id, t->name, states[t->state]);
        if (t->state == WAITING) {
            dprintf(2, " for %s %p", t->what, t->object);
        }
        if (holder) {
            dprintf(2, " held by %u %s", holder->id, holder->name);
        }
        if (t->state == WAITING && t->deadline >= 0) {
            dprintf(2, " until %ld us", (long)(t->deadline / 1000));
        }
        dprintf(2, "%s %s\n", t->state == OVER ? ", last" : " at", t->place);
        print_locks_of(t);
    }
}

static void fail_with(int status, const char *what)
{
    dprintf(2, "FAILED: %s\n", what);
    baton_print_threads();
    _exit(status);
}

void baton_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    dprintf(2, "FAILED: ");
    vdprintf(2, fmt, ap);
    va_end(ap);
    dprintf(2, "\n");
    baton_print_threads();
    _exit(BATON_ORACLE);
}

/* The baton. */

static void futex(int *word, int op, int value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void wait_for_baton(Thread *self)
{
    while (!__atomic_load_n(&self->go, __ATOMIC_SEQ_CST)) {
        futex(&self->go, FUTEX_WAIT, 0);
    }
    __atomic_store_n(&self->go, 0, __ATOMIC_SEQ_CST);
}

static void give_baton(Thread *to)
{
    __atomic_store_n(&to->go, 1, __ATOMIC_SEQ_CST);
    futex(&to->go, FUTEX_WAKE, 1);
}

/* Loops that sleep are ready when the kernel says so: eventfds are written by threads of ours. */
static void look_at_descriptors(bool ready[])
{
    struct pollfd fds[THREADS_MAX];
    unsigned of[THREADS_MAX], n = 0;
    struct timespec none = {0};

    for (unsigned i = 0; i < b.count; i++) {
        const Thread *t = &b.threads[i];

        if (t->state == WAITING && t->epoll_fd >= 0) {
            fds[n] = (struct pollfd){.fd = t->epoll_fd, .events = POLLIN};
            of[n++] = i;
        }
    }
    /* The system call itself: a sanitizer's poll() would order threads. */
    if (n && syscall(SYS_ppoll, fds, n, &none, NULL, 0) > 0) {
        for (unsigned i = 0; i < n; i++) {
            ready[of[i]] = fds[i].revents != 0;
        }
    }
}

/* Whoever could run now, into 'list'; *next: the first deadline of those who could not. */
static unsigned who_can_run(Thread *list[], bool stalled, int64_t *next)
{
    bool ready[THREADS_MAX] = {false};
    unsigned n = 0;

    look_at_descriptors(ready);
    *next = -1;
    for (unsigned i = 0; i < b.count; i++) {
        Thread *t = &b.threads[i];
        bool can = t->state == READY || ready[i] ||
                   (t->state == WAITING && t->deadline >= 0 && t->deadline <= b.now);

        if (can && (stalled || t->stalled_until <= b.decisions)) {
            list[n++] = t;
        } else if (!can && t->state == WAITING && t->deadline >= 0 &&
                   (*next < 0 || t->deadline < *next)) {
            *next = t->deadline;
        }
    }
    return n;
}

static Thread *choose(void)
{
    Thread *list[THREADS_MAX];
    int64_t next;
    unsigned n, total = 0, at;

    while (!(n = who_can_run(list, false, &next)) && !(n = who_can_run(list, true, &next))) {
        if (next < 0) {
            fail_with(BATON_DEADLOCK, "deadlock: every thread waits, and nothing can wake one");
        }
        b.jumped += next - b.now;
        b.now = next;
    }
    for (unsigned i = 0; i < n; i++) {
        total += list[i]->weight;
    }
    at = rand_below(&b.rand, total);
    for (unsigned i = 0;; i++) {
        if (at < list[i]->weight) {
            return list[i];
        }
        at -= list[i]->weight;
    }
}

static void note_decision(const Thread *t)
{
    b.decisions++;
    hash_in(t->id);
    for (const char *p = me->place; *p; p++) {
        hash_in((unsigned char)*p);
    }
    if (b.trace_decisions) {
        dprintf(b.trace_fd, "%lu %ld %s at %s -> %s at %s\n", (unsigned long)b.decisions,
                (long)b.now, me->name, me->place, t->name, t->place);
    }
}

/* Somebody goes on, perhaps the caller. */
static void hand_on(void)
{
    Thread *self = me, *next = choose();

    note_decision(next);
    if (next->state == WAITING) {
        next->timed_out = next->deadline >= 0 && next->deadline <= b.now;
        next->state = READY;
    }
    if (next != self) {
        give_baton(next);
        if (self->state != OVER) {
            wait_for_baton(self);
        }
    }
}

static void enter_hook(const char *place)
{
    me->place = place;
    if (++b.hooks > b.limit) {
        fail_with(BATON_LIVELOCK, "livelock: no end after so many steps");
    }
}

void sched_hook(SchedKind kind, const char *place)
{
    unsigned in;

    if (!me) {
        return;
    }
    enter_hook(place);
    if (kind == SCHED_NAMED && rand_one_in(&b.rand, b.stall_in)) {
        me->stalled_until = b.decisions + 1 + rand_below(&b.rand, STALL_MAX);
    } else {
        in = kind == SCHED_ATOMIC ? b.atomic_in : b.plain_in;
        if (in > 1 && !rand_one_in(&b.rand, in)) {
            return;
        }
    }
    hand_on();
}

/* The caller waits for 'object'; true where it was woken, false where its time is over. */
static bool wait_for(const char *what, const void *object, int64_t deadline)
{
    me->state = WAITING;
    me->what = what;
    me->object = object;
    me->deadline = deadline;
    me->timed_out = false;
    hand_on();
    me->object = NULL;
    me->deadline = -1;
    return !me->timed_out;
}

static void wake_all_of(const void *object)
{
    for (unsigned i = 0; i < b.count; i++) {
        if (b.threads[i].state == WAITING && b.threads[i].object == object) {
            b.threads[i].state = READY;
        }
    }
}

/* Locks. */

static void note_locked(const void *lock)
{
    for (unsigned i = 0; i < b.lock_count; i++) {
        if (b.locks[i].lock == lock) {
            b.locks[i].depth++;
            return;
        }
    }
    g_assert(b.lock_count < LOCKS_MAX);
    b.locks[b.lock_count].lock = lock;
    b.locks[b.lock_count].holder = me;
    b.locks[b.lock_count++].depth = 1;
}

static void note_unlocked(const void *lock)
{
    for (unsigned i = 0; i < b.lock_count; i++) {
        if (b.locks[i].lock == lock) {
            if (--b.locks[i].depth == 0) {
                b.locks[i] = b.locks[--b.lock_count];
                wake_all_of(lock);
            }
            return;
        }
    }
}

static void wait_for_lock(const void *lock, bool recursive)
{
    Thread *holder;

    while ((holder = lock_holder(lock)) && !(recursive && holder == me)) {
        wait_for("lock", lock, -1);
    }
}

void sched_mutex_lock(GMutex *mutex, const char *place)
{
    if (me) {
        sched_hook(SCHED_PLAIN, place);
        wait_for_lock(mutex, false);
        note_locked(mutex);
    }
    g_mutex_lock(mutex);
}

void sched_mutex_unlock(GMutex *mutex, const char *place)
{
    g_mutex_unlock(mutex);
    if (me) {
        note_unlocked(mutex);
        sched_hook(SCHED_PLAIN, place);
    }
}

void sched_rec_mutex_lock(GRecMutex *mutex, const char *place)
{
    if (me) {
        sched_hook(SCHED_PLAIN, place);
        wait_for_lock(mutex, true);
        note_locked(mutex);
    }
    g_rec_mutex_lock(mutex);
}

void sched_rec_mutex_unlock(GRecMutex *mutex, const char *place)
{
    g_rec_mutex_unlock(mutex);
    if (me) {
        note_unlocked(mutex);
        sched_hook(SCHED_PLAIN, place);
    }
}

/* Conditions. */

static bool cond_wait(GCond *cond, GMutex *mutex, int64_t deadline, const char *place)
{
    bool woken = true;

    me->place = place;
    g_mutex_unlock(mutex);
    note_unlocked(mutex);
    if (rand_one_in(&b.rand, SPURIOUS_ONE_IN)) {
        hand_on();
    } else {
        woken = wait_for("condition", cond, deadline);
    }
    wait_for_lock(mutex, false);
    note_locked(mutex);
    g_mutex_lock(mutex);
    return woken;
}

void sched_cond_wait(GCond *cond, GMutex *mutex, const char *place)
{
    if (me) {
        cond_wait(cond, mutex, -1, place);
    } else {
        g_cond_wait(cond, mutex);
    }
}

gboolean sched_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end, const char *place)
{
    return me ? cond_wait(cond, mutex, end * 1000, place) : g_cond_wait_until(cond, mutex, end);
}

void sched_cond_wake(GCond *cond, bool all, const char *place)
{
    Thread *list[THREADS_MAX];
    unsigned n = 0;

    if (!me) {
        (all ? g_cond_broadcast : g_cond_signal)(cond);
        return;
    }
    for (unsigned i = 0; i < b.count && !all; i++) {
        if (b.threads[i].state == WAITING && b.threads[i].object == cond) {
            list[n++] = &b.threads[i];
        }
    }
    if (all) {
        wake_all_of(cond);
    } else if (n) {
        list[rand_below(&b.rand, n)]->state = READY;
    }
    sched_hook(SCHED_PLAIN, place);
}

/* Threads. */

static Thread *thread_new(const char *name)
{
    Thread *t = &b.threads[b.count];

    g_assert(b.count < THREADS_MAX);
    *t = (Thread){.id = b.count++, .place = "its start", .epoll_fd = -1, .deadline = -1};
    g_snprintf(t->name, sizeof t->name, "%s", name);
    t->weight = 1 + rand_below(&b.rand, 4) * rand_below(&b.rand, 4);
    return t;
}

/* Threads of the program mask all signals: what kills one would end it without a word. */
static void unmask_crashes(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP};
    sigset_t set;

    sigemptyset(&set);
    for (unsigned i = 0; i < G_N_ELEMENTS(crashes); i++) {
        sigaddset(&set, crashes[i]);
    }
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *thread_main(void *data)
{
    Thread *t = data;
    void *result;

    unmask_crashes();
    me = t;
    wait_for_baton(t);
    result = t->fn ? t->fn(t->data) : t->gfn(t->data);
    t->state = OVER;
    wake_all_of(t);
    hand_on();
    me = NULL;
    return result;
}

int sched_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                        void *data, const char *place)
{
    Thread *t;
    char name[16];
    int ret;

    if (!me) {
        return pthread_create(thread, attr, fn, data);
    }
    g_snprintf(name, sizeof name, "thread %u", b.count);
    t = thread_new(name);
    t->fn = fn;
    t->data = data;
    ret = pthread_create(&t->handle, attr, thread_main, t);
    g_assert(ret == 0);
    *thread = t->handle;
    sched_hook(SCHED_PLAIN, place);
    return 0;
}

GThread *sched_gthread_try_new(const char *name, GThreadFunc fn, gpointer data, GError **err)
{
    Thread *t;

    if (!me) {
        return g_thread_try_new(name, fn, data, err);
    }
    t = thread_new(name);
    t->gfn = fn;
    t->data = data;
    return g_thread_try_new(name, thread_main, t, err);
}

int sched_thread_join(pthread_t thread, void **result, const char *place)
{
    for (unsigned i = 0; me && i < b.count; i++) {
        Thread *t = &b.threads[i];

        if (t->fn && pthread_equal(t->handle, thread)) {
            me->place = place;
            while (t->state != OVER) {
                wait_for("the end of a thread", t, -1);
            }
        }
    }
    return pthread_join(thread, result);
}

int sched_thread_name(pthread_t thread, const char *name)
{
    for (unsigned i = 0; me && i < b.count; i++) {
        if (pthread_equal(b.threads[i].handle, thread)) {
            g_snprintf(b.threads[i].name, sizeof b.threads[i].name, "%s", name);
        }
    }
    return pthread_setname_np(thread, name);
}

/* A signal only interrupts a system call, and under the baton nobody sleeps in one. */
int sched_thread_kill(pthread_t thread, int sig, const char *place)
{
    if (!me) {
        return pthread_kill(thread, sig);
    }
    sched_hook(SCHED_PLAIN, place);
    return 0;
}

void sched_yield_thread(const char *place)
{
    if (!me) {
        g_thread_yield();
        return;
    }
    /* Who yields waits for others: behind them for a while. */
    enter_hook(place);
    me->stalled_until = b.decisions + 2 + rand_below(&b.rand, 8);
    hand_on();
}

void sched_usleep(gulong us, const char *place)
{
    if (!me) {
        g_usleep(us);
        return;
    }
    me->place = place;
    wait_for("its sleep's end", NULL, b.now + (int64_t)us * 1000);
}

int sched_epoll_wait(int fd, struct epoll_event *events, int max, int64_t timeout_ns,
                     const char *place)
{
    int64_t deadline = timeout_ns < 0 ? -1 : b.now + timeout_ns;
    int n;

    if (!me) {
        return epoll_wait(fd, events, max,
                          timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    }
    sched_hook(SCHED_PLAIN, place);
    while ((n = epoll_wait(fd, events, max, 0)) == 0 && (deadline < 0 || deadline > b.now)) {
        me->place = place;
        me->epoll_fd = fd;
        wait_for("descriptors", NULL, deadline);
        me->epoll_fd = -1;
    }
    return n;
}

/* Clocks. */

int sched_clock_gettime(clockid_t id, struct timespec *ts)
{
    int64_t ns;

    if (!me) {
        return clock_gettime(id, ts);
    }
    b.now += LOOK_NS;
    /* The wall clock: the third of February 2022, at noon. */
    ns = b.now + (id == CLOCK_REALTIME ? 1643889600 * NS_PER_SECOND : 0);
    ts->tv_sec = ns / NS_PER_SECOND;
    ts->tv_nsec = ns % NS_PER_SECOND;
    return 0;
}

gint64 sched_monotonic_time(void)
{
    if (!me) {
        return g_get_monotonic_time();
    }
    b.now += LOOK_NS;
    return b.now / 1000;
}

void baton_start(uint64_t seed, uint64_t limit)
{
    static const unsigned often[] = {1, 2, 4, 8, 16, 64};

    g_assert(!b.on);
    b.on = true;
    b.limit = limit;
    b.now = NS_PER_SECOND;
    b.hash = 0xcbf29ce484222325ull;
    rand_seed(&b.rand, seed);
    b.plain_in = often[rand_below(&b.rand, G_N_ELEMENTS(often))];
    b.atomic_in = 4 * b.plain_in * often[rand_below(&b.rand, 4)];
    b.stall_in = often[1 + rand_below(&b.rand, 4)];
    me = thread_new("main");
    me->handle = pthread_self();
}

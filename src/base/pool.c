/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread pool, for work that blocks. Threads are made on demand and end when idle. */
#include "base/coroutine.h"

#include <signal.h>
#include "base/util.h"
#include "loop_private.h"

enum { THREADS_MAX = 64, IDLE_SECONDS = 10 };

typedef struct Job {
    int (*fn)(void *data);
    void *data;
    int result;
    void (*done)(void *data, int result);
    BottomHalf bh;             /* its loop is NULL once that is freed: nobody is told of the end */
    struct Job *next;          /* in the queue */
    struct Job *older, *newer; /* in the list of all that have not ended */
} Job;

/* One for the process, to limit its threads. */
static struct {
    GMutex lock;
    GCond work;
    Job *head, **tail;
    Job *newest; /* of all jobs that have not ended; those without a loop stay, with their data */
    unsigned threads, idle, queued;
} the_pool = {.tail = &the_pool.head};

/* The next job, or NULL after IDLE_SECONDS without one. Lock held. */
static Job *next_job(void)
{
    gint64 until = g_get_monotonic_time() + IDLE_SECONDS * G_USEC_PER_SEC;

    while (!the_pool.head) {
        the_pool.idle++;
        bool in_time = g_cond_wait_until(&the_pool.work, &the_pool.lock, until);
        the_pool.idle--;
        if (!in_time && !the_pool.head) {
            return NULL;
        }
    }
    Job *job = the_pool.head;
    the_pool.head = job->next;
    if (!the_pool.head) {
        the_pool.tail = &the_pool.head;
    }
    the_pool.queued--;
    return job;
}

/* Lock held. */
static void job_enlist(Job *job)
{
    job->newer = NULL;
    job->older = the_pool.newest;
    if (job->older) {
        job->older->newer = job;
    }
    the_pool.newest = job;
}

/* Lock held. */
static void job_delist(Job *job)
{
    *(job->newer ? &job->newer->older : &the_pool.newest) = job->older;
    if (job->older) {
        job->older->newer = job->newer;
    }
}

/* Tells the job's loop of its end. Lock held; gives it up meanwhile. */
static void job_ended(Job *job)
{
    EventLoop *loop = job->bh.loop;

    if (!loop) {
        return;
    }
    job_delist(job);
    /* event_loop_free() waits for callers, and pool_abandon() knows this job no more. */
    __atomic_fetch_add(&loop->callers, 1, __ATOMIC_RELAXED);
    g_mutex_unlock(&the_pool.lock);
    bh_schedule(&job->bh);
    __atomic_fetch_sub(&loop->callers, 1, __ATOMIC_RELEASE);
    g_mutex_lock(&the_pool.lock);
}

static void *pool_worker(void *data)
{
    Job *job;

    g_mutex_lock(&the_pool.lock);
    while ((job = next_job())) {
        if (job->bh.loop) {
            g_mutex_unlock(&the_pool.lock);
            job->result = job->fn(job->data);
            g_mutex_lock(&the_pool.lock);
        }
        job_ended(job);
    }
    the_pool.threads--;
    g_mutex_unlock(&the_pool.lock);
    return NULL;
}

/* Blocks all signals in the new thread: the main thread handles them. Lock held. */
static void pool_spawn(void)
{
    sigset_t all, old;

    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* of the thread itself: a page that cannot be read */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    g_autoptr(GError) err = NULL;
    GThread *thread = g_thread_try_new("pool", pool_worker, NULL, &err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (thread) {
        the_pool.threads++;
        g_thread_unref(thread);
    } else if (the_pool.threads == 0) {
        g_error("cannot start a thread: %s", err->message);
    }
}

static void pool_submit(Job *job)
{
    g_mutex_lock(&the_pool.lock);
    job->next = NULL;
    *the_pool.tail = job;
    the_pool.tail = &job->next;
    job_enlist(job);
    job->bh.loop->jobs++;
    the_pool.queued++;
    bool rouse = the_pool.idle > 0;
    if (the_pool.queued > the_pool.idle && the_pool.threads < THREADS_MAX) {
        pool_spawn();
    }
    g_mutex_unlock(&the_pool.lock);
    if (rouse) {
        g_cond_signal(&the_pool.work);
    }
}

static void job_done(void *data)
{
    Job *job = data;
    void (*done)(void *data, int result) = job->done;
    void *done_data = job->data;
    int result = job->result;

    job->bh.loop->jobs--;
    g_free(job);
    if (done) {
        done(done_data, result);
    }
}

void pool_run(int (*fn)(void *data), void *data, void (*done)(void *data, int result))
{
    EventLoop *loop = event_loop_current();
    Job *job = g_new(Job, 1);

    g_assert(loop);
    *job = (Job){.fn = fn, .data = data, .done = done};
    bh_init(&job->bh, loop, job_done, job);
    pool_submit(job);
}

typedef struct {
    Job job;
    Coroutine *co;
    bool done;
} CoJob;

static void co_job_done(void *data)
{
    CoJob *co_job = data;

    co_job->job.bh.loop->jobs--;
    co_job->done = true;
    coroutine_wake(co_job->co);
}

int coroutine_fn co_pool_run(int (*fn)(void *data), void *data)
{
    CoJob co_job = {.job = {.fn = fn, .data = data}, .co = coroutine_self()};

    g_assert(co_job.co);
    bh_init(&co_job.job.bh, coroutine_loop(co_job.co), co_job_done, &co_job);
    pool_submit(&co_job.job);
    while (!co_job.done) {
        coroutine_yield();
    }
    return co_job.job.result;
}

void pool_settle(EventLoop *loop, int64_t ns)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + ns;

    loop_assert_home(loop);
    while (loop->jobs && clock_ns(CLOCK_REALTIME_NS) < end) {
        event_loop_iterate(loop, NS_PER_MS);
    }
}

void pool_abandon(EventLoop *loop)
{
    g_mutex_lock(&the_pool.lock);
    for (Job *job = the_pool.newest; job; job = job->older) {
        if (job->bh.loop == loop) {
            job->bh.loop = NULL;
        }
    }
    g_mutex_unlock(&the_pool.lock);
}

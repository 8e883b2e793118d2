/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What run() calls: pauses, sleeps, speed, errors; and the coroutine that run() is called in. */
#include <errno.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/util.h"
#include "jobs.h"

/* A debt of less is not slept for, but added to the next. */
enum { SLEEP_LEAST_NS = 1000000, TURN_NS = 1000000 };

/* Run() waits, and sends nothing. A drain may have waited for that. */
static void job_idle(Job *job)
{
    job->busy = false;
    block_drain_wake();
}

void job_wake(Job *job)
{
    wait_list_wake_all(&job->wake);
}

void job_kick(Job *job)
{
    __atomic_store_n(&job->kicked, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&job->wake);
}

static void timer_fired(void *data)
{
    job_kick(data);
}

bool coroutine_fn job_pause_point(Job *job)
{
    while (job->pauses) {
        JobStatus status = job->status;

        job_set_status(job, status == JOB_READY ? JOB_STANDBY : JOB_PAUSED);
        job_idle(job);
        wait_list_until(&job->wake, !job->pauses);
        job->busy = true;
        job_set_status(job, status);
    }
    return !job->cancel_forced;
}

static bool sleep_over(Job *job)
{
    return __atomic_exchange_n(&job->kicked, 0, __ATOMIC_SEQ_CST) || job->user_paused ||
           job->cancel_forced;
}

bool coroutine_fn job_sleep(Job *job, int64_t ns)
{
    if (ns >= 0) {
        timer_arm(job->timer, clock_ns(CLOCK_REALTIME_NS) + ns);
    }
    job_idle(job);
    wait_list_until(&job->wake, sleep_over(job));
    job->busy = true;
    timer_cancel(job->timer);
    job->turned_ns = clock_ns(CLOCK_REALTIME_NS);
    return job_pause_point(job);
}

/* ns until the speed allows more. */
static int64_t job_owes(const Job *job, int64_t now)
{
    return job->speed ? job->due_ns - now : 0;
}

bool coroutine_fn job_throttle(Job *job, uint64_t bytes)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    if (job->speed) {
        /* At most a year: the sum must not overflow. */
        double ns = MIN(bytes * 1e9 / job->speed, 365.0 * 86400 * 1e9);
        job->due_ns = MAX(job->due_ns, now) + (int64_t)ns;
    }
    if (now - job->turned_ns > TURN_NS && job_owes(job, now) < SLEEP_LEAST_NS) {
        job_sleep(job, 0);
    }
    while (!job->cancel_forced &&
           job_owes(job, now = clock_ns(CLOCK_REALTIME_NS)) >= SLEEP_LEAST_NS) {
        job_sleep(job, job_owes(job, now));
    }
    return job_pause_point(job);
}

bool job_fail(GError **err, int error)
{
    return error_set(err, "%s", g_strerror(error < 0 ? -error : error));
}

BlockErrorAction job_error(Job *job, BlockOnError policy, bool is_read, int error)
{
    BlockErrorAction action = BLOCK_ERROR_ACTION_REPORT;

    if (policy == BLOCK_ON_ERROR_ENOSPC || policy == BLOCK_ON_ERROR_AUTO) {
        policy = error == ENOSPC ? BLOCK_ON_ERROR_STOP : BLOCK_ON_ERROR_REPORT;
    }
    if (policy == BLOCK_ON_ERROR_STOP) {
        action = BLOCK_ERROR_ACTION_STOP;
    } else if (policy == BLOCK_ON_ERROR_IGNORE) {
        action = BLOCK_ERROR_ACTION_IGNORE;
    }
    job_event_error(job, is_read, action);
    if (action == BLOCK_ERROR_ACTION_STOP) {
        /* A job that is to end is not stopped. */
        if (!job->user_paused && !job->cancel_forced) {
            job->user_paused = true;
            job->pauses++;
        }
        job->io_status = job->io_status ? job->io_status : error;
    }
    return action;
}

void job_idle_begin(Job *job)
{
    job_idle(job);
}

void coroutine_fn job_idle_end(Job *job)
{
    job->busy = true;
    job_pause_point(job);
}

/* Others' drained sections: pauses that are not the user's. */
static unsigned job_drains(const Job *job)
{
    return job->pauses - job->user_paused;
}

bool coroutine_fn job_section_begin(Job *job, BlockNode *top, BlockDrain **section, GError **err)
{
    bool ok;

    /* Whoever holds the lock may be waiting for this job to be idle. */
    job_idle(job);
    ok = block_changes_lock(err);
    if (ok) {
        /* Of those that did not take the lock. */
        wait_list_until(&job->wake, !job_drains(job));
        *section = block_drain_begin(top);
    }
    job->busy = true;
    if (ok && job->cancel_forced) {
        job_section_end(job, *section);
        ok = error_set(err, "%s", g_strerror(ECANCELED));
    }
    return ok;
}

void coroutine_fn job_section_end(Job *job, BlockDrain *section)
{
    block_drain_end(section);
    block_changes_unlock();
}

static void coroutine_fn job_entry(void *data)
{
    Job *job = data;
    g_autoptr(GError) err = NULL;
    bool ok;

    job->busy = true;
    job->turned_ns = clock_ns(CLOCK_REALTIME_NS);
    ok = job_pause_point(job) && job->class->run(job, &err);
    if (!ok) {
        job_fail_with(job, err ? err->message : g_strerror(job->cancel_forced ? ECANCELED : EIO));
    }
    job_idle(job);
    job_run_ended(job);
    job_unref(job);
}

static void job_enter(void *data)
{
    coroutine_start(job_entry, data);
}

void job_begin(Job *job)
{
    job->timer = timer_new(event_loop_current(), CLOCK_REALTIME_NS, timer_fired, job);
    job_ref(job);
    event_loop_call(event_loop_current(), job_enter, job);
}

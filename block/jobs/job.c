/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of jobs, their states, and what users do with them. */
#include "base/error.h"
#include "base/event_loop.h"
#include "base/trace.h"
#include "base/util.h"
#include "jobs.h"

#include <errno.h>

const char *const job_status_names[] = {"undefined", "created",   "running", "paused",
                                        "ready",     "standby",   "waiting", "pending",
                                        "aborting",  "concluded", "null",    NULL};
const char *const job_type_names[] = {"commit",          "stream", "mirror",        "backup",
                                      "create",          "amend",  "snapshot-load", "snapshot-save",
                                      "snapshot-delete", NULL};
static const char *const verb_names[] = {"cancel",   "pause",    "resume", "set-speed",
                                         "complete", "finalize", "dismiss"};

GPtrArray *job_table;
static bool closed;   /* job_cancel_all_wait() */
static WaitList gone; /* until the table is empty */

/* Bits of JobStatus: in which states a verb is accepted. */
enum {
    ALIVE =
        BIT(JOB_CREATED) | BIT(JOB_RUNNING) | BIT(JOB_PAUSED) | BIT(JOB_READY) | BIT(JOB_STANDBY)
};
static const unsigned verb_states[] = {
    [JOB_VERB_CANCEL] = ALIVE | BIT(JOB_WAITING) | BIT(JOB_PENDING),
    [JOB_VERB_PAUSE] = ALIVE,
    [JOB_VERB_RESUME] = ALIVE,
    [JOB_VERB_SET_SPEED] = ALIVE,
    [JOB_VERB_COMPLETE] = BIT(JOB_READY) | BIT(JOB_STANDBY),
    [JOB_VERB_FINALIZE] = BIT(JOB_PENDING),
    [JOB_VERB_DISMISS] = BIT(JOB_CONCLUDED),
};
/* Which states may follow. */
static const unsigned next_states[] = {
    [JOB_UNDEFINED] = BIT(JOB_CREATED),
    [JOB_CREATED] = BIT(JOB_RUNNING) | BIT(JOB_ABORTING) | BIT(JOB_NULL),
    [JOB_RUNNING] = BIT(JOB_PAUSED) | BIT(JOB_READY) | BIT(JOB_WAITING) | BIT(JOB_ABORTING),
    [JOB_PAUSED] = BIT(JOB_RUNNING),
    [JOB_READY] = BIT(JOB_STANDBY) | BIT(JOB_WAITING) | BIT(JOB_ABORTING),
    [JOB_STANDBY] = BIT(JOB_READY),
    [JOB_WAITING] = BIT(JOB_PENDING) | BIT(JOB_ABORTING),
    [JOB_PENDING] = BIT(JOB_ABORTING) | BIT(JOB_CONCLUDED),
    [JOB_ABORTING] = BIT(JOB_CONCLUDED),
    [JOB_CONCLUDED] = BIT(JOB_NULL),
    [JOB_NULL] = 0,
};

void job_set_status(Job *job, JobStatus status)
{
    g_assert(next_states[job->status] & BIT(status));
    trace(job_state_transition, job->id, job->error, job_status_names[job->status],
          job_status_names[status]);
    job->status = status;
    job_event_status(job);
}

bool job_apply_verb(Job *job, JobVerb verb, GError **err)
{
    if (verb_states[verb] & BIT(job->status)) {
        return true;
    }
    return error_set(err, "Job '%s' in state '%s' cannot accept command verb '%s'", job->id,
                     job_status_names[job->status], verb_names[verb]);
}

bool job_is_over(const Job *job)
{
    return job->status >= JOB_WAITING;
}

static bool id_well_formed(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    while (g_ascii_isalnum(*id) || (*id && strchr("-._", *id))) {
        id++;
    }
    return !*id;
}

static Job *find(const char *id)
{
    for (unsigned i = 0; job_table && i < job_table->len; i++) {
        Job *job = job_table->pdata[i];
        if (job->id && g_str_equal(job->id, id)) {
            return job;
        }
    }
    return NULL;
}

static bool job_id_ok(const char *id, GError **err)
{
    if (!id) {
        return error_set(err, "An explicit job ID is required");
    }
    if (!id_well_formed(id)) {
        return error_set(err, "Invalid job ID '%s'", id);
    }
    return find(id) ? error_set(err, "Job ID '%s' already in use", id) : true;
}

Job *job_new(const JobClass *class, const JobOptions *opts, GError **err)
{
    const char *id = opts->id;
    Job *job;

    if (closed) {
        error_set(err, "the virtual machine is being shut down");
        return NULL;
    }
    if (!id && opts->device) {
        id = block_backend_name(opts->device);
    } else if (!id && class->block_job) {
        id = "";
    }
    if (!opts->internal && !job_id_ok(id, err)) {
        return NULL;
    }
    job = g_malloc0(class->size);
    job->class = class;
    job->id = opts->internal ? NULL : g_strdup(id);
    job->refs = 1;
    job->opts = *opts;
    job->opts.id = NULL;
    job->opts.device = NULL;
    job->opts.txn = NULL;
    job->speed = opts->speed;
    job->edges = g_ptr_array_new();
    job->frozen = g_ptr_array_new();
    wait_list_init(&job->wake);
    wait_list_init(&job->ended);
    if (!job_table) {
        job_table = g_ptr_array_new();
    }
    g_ptr_array_add(job_table, job);
    job_txn_add(opts->txn, job);
    job_set_status(job, JOB_CREATED);
    return job;
}

void job_start(Job *job)
{
    g_assert(!job->started && job->status == JOB_CREATED);
    job->started = true;
    job_set_status(job, JOB_RUNNING);
    job_begin(job);
}

void job_ref(Job *job)
{
    job->refs++;
}

void job_unref(Job *job)
{
    if (--job->refs) {
        return;
    }
    g_assert(job->status == JOB_NULL && !job->edges->len && !job->frozen->len);
    if (job->class->free) {
        job->class->free(job);
    }
    timer_free(job->timer);
    wait_list_destroy(&job->wake);
    wait_list_destroy(&job->ended);
    g_ptr_array_unref(job->edges);
    g_ptr_array_unref(job->frozen);
    g_free(job->error);
    g_free(job->id);
    g_free(job);
}

void job_forget(Job *job)
{
    job_set_status(job, JOB_NULL);
    g_ptr_array_remove(job_table, job);
    if (!job_table->len) {
        g_clear_pointer(&job_table, g_ptr_array_unref);
    }
    wait_list_wake_all(&gone);
    job_unref(job);
}

void job_discard(Job *job)
{
    g_assert(!job->started);
    job_thaw_chain(job);
    job_remove_nodes(job);
    job_txn_remove(job);
    job_forget(job);
}

void job_fail_with(Job *job, const char *why)
{
    if (!job->failed) {
        job->failed = true;
        job->error = g_strdup(why);
    }
}

bool job_is_cancelled(Job *job)
{
    return job->cancel_forced;
}

bool job_cancel_requested(Job *job)
{
    return job->cancel_requested;
}

void job_progress(Job *job, uint64_t done, uint64_t total)
{
    job->done = done;
    job->total = total;
}

void job_ready(Job *job)
{
    job_set_status(job, JOB_READY);
    job_event_ready(job);
}

/* Users. */

Job *job_find(const char *id, GError **err)
{
    Job *job = find(id);

    if (!job) {
        error_set(err, "Job not found");
    }
    return job;
}

Job *block_job_find(const char *id, GError **err)
{
    Job *job = find(id);

    if (!job || !job->class->block_job) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_ACTIVE, "Block job '%s' not found", id);
        return NULL;
    }
    return job;
}

void job_foreach(void (*fn)(Job *job, void *data), void *data)
{
    for (unsigned i = 0; job_table && i < job_table->len; i++) {
        fn(job_table->pdata[i], data);
    }
}

bool job_pause(Job *job, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_PAUSE, err)) {
        return false;
    }
    if (job->user_paused) {
        return error_set(err, "Job is already paused");
    }
    job->user_paused = true;
    job->pauses++;
    job_wake(job);
    return true;
}

bool job_is_paused_by_user(Job *job)
{
    return job->user_paused;
}

static void user_resume(Job *job)
{
    g_assert(job->pauses);
    job->user_paused = false;
    job->pauses--;
    job->io_status = 0;
    job_wake(job);
}

bool job_resume(Job *job, GError **err)
{
    if (!job->user_paused) {
        return error_set(err, "Can't resume a job that was not paused");
    }
    if (!job_apply_verb(job, JOB_VERB_RESUME, err)) {
        return false;
    }
    user_resume(job);
    return true;
}

bool job_set_speed(Job *job, uint64_t speed, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_SET_SPEED, err)) {
        return false;
    }
    if (speed > INT64_MAX) {
        return error_set(err, "Parameter 'speed' expects a non-negative value");
    }
    job->speed = speed;
    job->due_ns = 0;
    if (job->class->speed_changed) {
        job->class->speed_changed(job);
    }
    job_kick(job);
    return true;
}

bool job_complete(Job *job, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_COMPLETE, err)) {
        return false;
    }
    if (job->cancel_requested || !job->class->complete) {
        return error_set(err, "The active block job '%s' cannot be completed", job->id);
    }
    return job->class->complete(job, err);
}

/* What is asked for, whatever the state. */
static void job_ask_to_stop(Job *job, bool force)
{
    bool soft =
        job->class->cancelled && (job->run_over ? !force : job->class->cancelled(job, force));

    if (job->user_paused) {
        user_resume(job);
    }
    /* Who is done already does not mind being asked to stop early. */
    if (!soft || !job->run_over) {
        job->cancel_requested = true;
        job->cancel_forced |= !soft;
    }
    job_wake(job);
    job_kick(job);
}

bool job_cancel(Job *job, bool force, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_CANCEL, err)) {
        return false;
    }
    if (job->txn->finalizing) {
        return error_set(err, "Job '%s' is being finalized: it is too late to cancel it", job->id);
    }
    job_ask_to_stop(job, force);
    if (job->run_over && job_is_cancelled(job)) {
        job_txn_start_abort(job);
    }
    return true;
}

bool job_dismiss(Job *job, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_DISMISS, err)) {
        return false;
    }
    job_forget(job);
    return true;
}

/* Of what may be ended now. What is not started yet is ended when it is, or discarded. */
static void job_end_one(Job *job)
{
    if (job->status == JOB_CONCLUDED) {
        job_forget(job);
    } else {
        job_cancel(job, true, NULL);
    }
}

void coroutine_fn job_cancel_all_wait(void)
{
    g_autoptr(GPtrArray) all = NULL;

    closed = true;
    all = job_table ? g_ptr_array_copy(job_table, NULL, NULL) : g_ptr_array_new();
    for (unsigned i = 0; i < all->len; i++) {
        job_ref(all->pdata[i]);
    }
    for (unsigned i = 0; i < all->len; i++) {
        Job *job = all->pdata[i];
        if (job->status != JOB_NULL) {
            /* Nobody will ask for its end. */
            job->opts.auto_dismiss = true;
            job_end_one(job);
        }
    }
    for (unsigned i = 0; i < all->len; i++) {
        job_unref(all->pdata[i]);
    }
    wait_list_until(&gone, !job_table);
}

static int coroutine_fn job_wait_ended(void *data)
{
    Job *job = data;

    wait_list_until(&job->ended, job->status >= JOB_CONCLUDED);
    return 0;
}

bool job_run_wait(Job *job, GError **err)
{
    bool ok;

    job_ref(job);
    block_run(job_wait_ended, job);
    ok = !job->failed;
    if (!ok) {
        error_set(err, "%s", job->error);
    }
    job_unref(job);
    return ok;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How jobs end. All jobs of a transaction wait for each other: when the last has done its work they
 * prepare, and where nothing fails they commit; or one fails, and the others are cancelled.
 *
 * One coroutine ends a transaction: that of the job that was last, of the job that has failed
 * first, or of the user who finalizes or cancels.
 */
#include <errno.h>
#include "base/error.h"
#include "jobs.h"

JobTxn *job_txn_new(void)
{
    JobTxn *txn = g_new0(JobTxn, 1);

    txn->refs = 1;
    txn->jobs = g_ptr_array_new();
    wait_list_init(&txn->wake);
    return txn;
}

void job_txn_unref(JobTxn *txn)
{
    if (txn && --txn->refs == 0) {
        g_assert(!txn->jobs->len);
        g_ptr_array_unref(txn->jobs);
        wait_list_destroy(&txn->wake);
        g_free(txn);
    }
}

void job_txn_add(JobTxn *txn, Job *job)
{
    if (txn) {
        txn->refs++;
    } else {
        txn = job_txn_new();
    }
    job->txn = txn;
    g_ptr_array_add(txn->jobs, job);
}

void job_txn_remove(Job *job)
{
    g_ptr_array_remove(job->txn->jobs, job);
    wait_list_wake_all(&job->txn->wake);
    job_txn_unref(g_steal_pointer(&job->txn));
}

/* The end of one job: commit or abort, clean, and what is told of it. */
static void coroutine_fn job_end(Job *job)
{
    const JobClass *class = job->class;

    if (job->cancel_forced) {
        job_fail_with(job, g_strerror(ECANCELED));
    }
    if (job->failed && job->status != JOB_ABORTING) {
        job_set_status(job, JOB_ABORTING);
    }
    if (job->failed && class->abort) {
        class->abort(job);
    } else if (!job->failed && class->commit) {
        class->commit(job);
    }
    if (class->clean) {
        class->clean(job);
    }
    job_thaw_chain(job);
    job_remove_nodes(job);
    job_event_end(job);
    job_txn_remove(job);
    job_set_status(job, JOB_CONCLUDED);
    wait_list_wake_all(&job->ended);
    if (job->opts.auto_dismiss) {
        job_forget(job);
    }
}

static void coroutine_fn txn_end(JobTxn *txn)
{
    while (txn->jobs->len) {
        job_end(txn->jobs->pdata[0]);
    }
}

static bool txn_run_over(JobTxn *txn)
{
    for (unsigned i = 0; i < txn->jobs->len; i++) {
        Job *job = txn->jobs->pdata[i];
        if (!job->run_over) {
            return false;
        }
    }
    return true;
}

/* Cancels the other jobs, waits for them, and ends all. A second caller has nothing to do. */
static void coroutine_fn txn_abort(JobTxn *txn)
{
    if (txn->aborting) {
        return;
    }
    txn->aborting = true;
    txn->refs++;
    for (unsigned i = 0; i < txn->jobs->len; i++) {
        Job *other = txn->jobs->pdata[i];
        if (!other->run_over) {
            job_cancel(other, true, NULL);
        } else if (!other->failed) {
            other->cancel_requested = other->cancel_forced = true;
        }
    }
    wait_list_until(&txn->wake, txn_run_over(txn));
    txn_end(txn);
    job_txn_unref(txn);
}

static void coroutine_fn abort_entry(void *data)
{
    Job *job = data;

    if (job->txn) {
        txn_abort(job->txn);
    }
    job_unref(job);
}

void job_txn_start_abort(Job *job)
{
    job_ref(job);
    coroutine_start(abort_entry, job);
}

static void coroutine_fn txn_finalize(JobTxn *txn)
{
    bool ok = true;

    txn->refs++;
    txn->finalizing = true;
    for (unsigned i = 0; ok && i < txn->jobs->len; i++) {
        Job *job = txn->jobs->pdata[i];
        g_autoptr(GError) err = NULL;

        if (!job->failed && job->class->prepare && !job->class->prepare(job, &err)) {
            job_fail_with(job, err ? err->message : g_strerror(EIO));
            ok = false;
        }
    }
    txn->finalizing = ok;
    if (ok) {
        txn_end(txn);
    } else {
        txn_abort(txn);
    }
    job_txn_unref(txn);
}

/* All have done their work. */
static void coroutine_fn txn_pending(JobTxn *txn)
{
    bool by_hand = false;

    for (unsigned i = 0; i < txn->jobs->len; i++) {
        Job *job = txn->jobs->pdata[i];

        job_set_status(job, JOB_PENDING);
        if (!job->opts.auto_finalize) {
            job_event_pending(job);
            by_hand = true;
        }
    }
    if (!by_hand) {
        txn_finalize(txn);
    }
}

void coroutine_fn job_run_ended(Job *job)
{
    JobTxn *txn = job->txn;

    job->run_over = true;
    if (job->cancel_forced) {
        job_fail_with(job, g_strerror(ECANCELED));
    }
    if (job->failed) {
        job_set_status(job, JOB_ABORTING);
        wait_list_wake_all(&txn->wake);
        txn_abort(txn);
        return;
    }
    job_set_status(job, JOB_WAITING);
    wait_list_wake_all(&txn->wake);
    if (!txn->aborting && txn_run_over(txn)) {
        txn_pending(txn);
    }
}

bool coroutine_fn job_finalize(Job *job, GError **err)
{
    if (!job_apply_verb(job, JOB_VERB_FINALIZE, err)) {
        return false;
    }
    if (job->txn->finalizing || job->txn->aborting) {
        return error_set(err, "Job '%s' is being finalized already", job->id);
    }
    txn_finalize(job->txn);
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of jobs. Private to block/jobs/. */
#ifndef BLOCK_JOBS_JOBS_H
#define BLOCK_JOBS_JOBS_H

#include "../core.h"
#include "block/job.h"

typedef enum {
    JOB_VERB_CANCEL,
    JOB_VERB_PAUSE,
    JOB_VERB_RESUME,
    JOB_VERB_SET_SPEED,
    JOB_VERB_COMPLETE,
    JOB_VERB_FINALIZE,
    JOB_VERB_DISMISS
} JobVerb;

/* Jobs that end together: all well, or all of them not. A job alone has one of its own. */
struct JobTxn {
    unsigned refs;
    GPtrArray *jobs; /* in the order of job_new() */
    bool aborting;   /* a coroutine ends all of them */
    bool finalizing; /* prepare() has begun: nothing can be cancelled any more */
    WaitList wake;   /* of the coroutine that aborts: run_over */
};

/* job.c */
void job_set_status(Job *job, JobStatus status);
bool job_apply_verb(Job *job, JobVerb verb, GError **err);
bool job_is_over(const Job *job); /* from WAITING on */
void job_fail_with(Job *job, const char *why);
void job_forget(Job *job);   /* NULL status, out of the table */
extern GPtrArray *job_table; /* oldest first; NULL: there is none */

/* job_txn.c */
void job_txn_add(JobTxn *txn, Job *job);
void job_txn_remove(Job *job);
/* The job's run() is over, well or not. */
void coroutine_fn job_run_ended(Job *job);
/* In a coroutine of its own: ends all jobs of the transaction, none of them well. */
void job_txn_start_abort(Job *job);

/* job_run.c */
void job_wake(Job *job);
void job_begin(Job *job);

/* job_events.c */
void job_event_status(Job *job);
void job_event_end(Job *job);
void job_event_pending(Job *job);
void job_event_ready(Job *job);
void job_event_error(Job *job, bool is_read, BlockErrorAction action);

#endif

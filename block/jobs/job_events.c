/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is told of jobs: queries and events. */
#include <errno.h>
#include "jobs.h"

static JobEventFn handler;
static void *handler_data;

void job_set_event_handler(JobEventFn fn, void *user)
{
    handler = fn;
    handler_data = user;
}

/* Takes the reference to 'data'. */
static void job_event(const Job *job, const char *event, json_t *data)
{
    if (handler && !job->opts.internal) {
        handler(event, data, handler_data);
    }
    json_decref(data);
}

void job_event_status(Job *job)
{
    job_event(job, "JOB_STATUS_CHANGE",
              json_pack("{s:s?,s:s}", "id", job->id, "status", job_status_names[job->status]));
}

static json_t *block_job_data(const Job *job)
{
    return json_pack("{s:s,s:s?,s:I,s:I,s:I}", "type", job_type_names[job->class->type], "device",
                     job->id, "len", (json_int_t)job->total, "offset", (json_int_t)job->done,
                     "speed", (json_int_t)job->speed);
}

void job_event_end(Job *job)
{
    json_t *data;

    if (!job->class->block_job || !job->started) {
        return;
    }
    data = block_job_data(job);
    if (job->cancel_forced) {
        job_event(job, "BLOCK_JOB_CANCELLED", data);
        return;
    }
    if (job->failed) {
        json_object_set_new(data, "error", json_string(job->error));
    }
    job_event(job, "BLOCK_JOB_COMPLETED", data);
}

void job_event_pending(Job *job)
{
    if (job->class->block_job) {
        job_event(job, "BLOCK_JOB_PENDING",
                  json_pack("{s:s,s:s?}", "type", job_type_names[job->class->type], "id", job->id));
    }
}

void job_event_ready(Job *job)
{
    if (job->class->block_job) {
        job_event(job, "BLOCK_JOB_READY", block_job_data(job));
    }
}

void job_event_error(Job *job, bool is_read, BlockErrorAction action)
{
    static const char *const names[] = {[BLOCK_ERROR_ACTION_REPORT] = "report",
                                        [BLOCK_ERROR_ACTION_IGNORE] = "ignore",
                                        [BLOCK_ERROR_ACTION_STOP] = "stop"};

    job_event(job, "BLOCK_JOB_ERROR",
              json_pack("{s:s?,s:s,s:s}", "device", job->id, "operation",
                        is_read ? "read" : "write", "action", names[action]));
}

/* Queries: the newest job comes first, as with QEMU. */

static json_t *query(json_t *(*one)(Job *job))
{
    json_t *list = json_array();

    for (unsigned i = job_table ? job_table->len : 0; i-- > 0;) {
        Job *job = job_table->pdata[i];
        json_t *info = job->opts.internal ? NULL : one(job);

        if (info && job->error) {
            json_object_set_new(info, "error", json_string(job->error));
        }
        if (info) {
            json_array_append_new(list, info);
        }
    }
    return list;
}

static json_t *query_one(Job *job)
{
    return json_pack("{s:s,s:s,s:s,s:I,s:I}", "id", job->id, "type",
                     job_type_names[job->class->type], "status", job_status_names[job->status],
                     "current-progress", (json_int_t)job->done, "total-progress",
                     (json_int_t)job->total);
}

static const char *io_status_name(int error)
{
    return !error ? "ok" : error == ENOSPC ? "nospace" : "failed";
}

static json_t *block_query_one(Job *job)
{
    json_t *info;

    if (!job->class->block_job) {
        return NULL;
    }
    info = block_job_data(job);
    json_object_set_new(info, "busy", json_boolean(job->busy));
    json_object_set_new(info, "paused", json_boolean(job->pauses));
    json_object_set_new(info, "io-status", json_string(io_status_name(job->io_status)));
    json_object_set_new(info, "ready",
                        json_boolean(job->status == JOB_READY || job->status == JOB_STANDBY));
    json_object_set_new(info, "status", json_string(job_status_names[job->status]));
    json_object_set_new(info, "auto-finalize", json_boolean(job->opts.auto_finalize));
    json_object_set_new(info, "auto-dismiss", json_boolean(job->opts.auto_dismiss));
    return info;
}

json_t *job_query(void)
{
    return query(query_one);
}

json_t *block_job_query(void)
{
    return query(block_query_one);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs: what users see of them, and how they steer them. */
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/job.h"
#include "commands.h"

static json_t *done(bool ok)
{
    return ok ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_query_jobs)
{
    return job_query();
}

MONITOR_HANDLER(cmd_query_block_jobs)
{
    return block_job_query();
}

MONITOR_PRINTER(print_block_jobs)
{
    json_t *job;
    size_t i;

    if (!json_array_size(result)) {
        monitor_printf(mon, "No active jobs\n");
    }
    json_array_foreach(result, i, job)
    {
        const char *type = json_str(job, "type");

        if (g_str_equal(type, "stream")) {
            monitor_printf(mon, "Streaming device %s: ", json_str(job, "device"));
        } else {
            monitor_printf(mon, "Type %s, device %s: ", type, json_str(job, "device"));
        }
        monitor_printf(mon,
                       "Completed %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
                       " bytes, speed limit %" JSON_INTEGER_FORMAT " bytes/s\n",
                       json_integer_value(json_object_get(job, "offset")),
                       json_integer_value(json_object_get(job, "len")),
                       json_integer_value(json_object_get(job, "speed")));
    }
}

/* 'job-*' */

#define JOB_HANDLER(name, call)                                                                    \
    MONITOR_HANDLER(cmd_##name)                                                                    \
    {                                                                                              \
        Job *job = job_find(json_str(args, "id"), err);                                            \
        return done(job && call);                                                                  \
    }
JOB_HANDLER(job_pause, job_pause(job, err))
JOB_HANDLER(job_resume, job_resume(job, err))
JOB_HANDLER(job_cancel, job_cancel(job, true, err))
JOB_HANDLER(job_complete, job_complete(job, err))
JOB_HANDLER(job_finalize, job_finalize(job, err))
JOB_HANDLER(job_dismiss, job_dismiss(job, err))

/* 'block-job-*': by "device", or by "id". */

static Job *find_block_job(json_t *args, GError **err)
{
    const char *device = json_str(args, "device");

    return block_job_find(device ? device : json_str(args, "id"), err);
}

#define BLOCK_JOB_HANDLER(name, call)                                                              \
    MONITOR_HANDLER(cmd_##name)                                                                    \
    {                                                                                              \
        Job *job = find_block_job(args, err);                                                      \
        return done(job && call);                                                                  \
    }
BLOCK_JOB_HANDLER(block_job_pause, job_pause(job, err))
BLOCK_JOB_HANDLER(block_job_resume, job_resume(job, err))
BLOCK_JOB_HANDLER(block_job_complete, job_complete(job, err))
BLOCK_JOB_HANDLER(block_job_finalize, job_finalize(job, err))
BLOCK_JOB_HANDLER(block_job_dismiss, job_dismiss(job, err))

MONITOR_HANDLER(cmd_block_job_cancel)
{
    Job *job = find_block_job(args, err);
    /* HMP's flag is -f. */
    bool force =
        json_is_true(json_object_get(args, "force")) || json_is_true(json_object_get(args, "f"));

    if (job && job_is_paused_by_user(job) && !force) {
        error_set(err, "The block job for device '%s' is currently paused", job->id);
        return NULL;
    }
    return done(job && job_cancel(job, force, err));
}

MONITOR_HANDLER(cmd_block_job_set_speed)
{
    Job *job = find_block_job(args, err);

    /* A negative one is too great for job_set_speed(). */
    return done(job && job_set_speed(job, json_integer_value(json_object_get(args, "speed")), err));
}

const Property job_args[] = {MEMBER("id", PROP_STRING, .help = "the job"), PROP_END};
const Property block_job_args[] = {MEMBER("device", PROP_STRING, .help = "the job"), PROP_END};
const Property block_job_id_args[] = {MEMBER("id", PROP_STRING, .help = "the job"), PROP_END};
const Property block_job_cancel_args[] = {
    MEMBER("device", PROP_STRING, .help = "the job"),
    MAYBE("force", PROP_BOOL, .help = "even if it is paused, or nearly done"), PROP_END};
const Property block_job_hmp_args[] = {MONITOR_DRIVE("device", "the job"), PROP_END};
const Property block_job_cancel_hmp_args[] = {
    MAYBE("f", PROP_BOOL, .help = "even if it is paused, or nearly done"),
    MONITOR_DRIVE("device", "the job"), PROP_END};
const Property block_job_speed_args[] = {
    MEMBER("device", PROP_STRING, .help = "the job"),
    MEMBER("speed", PROP_INT64, .help = "bytes a second; 0: no limit"), PROP_END};
const Property block_job_speed_hmp_args[] = {
    MONITOR_DRIVE("device", "the job"),
    MEMBER("speed", PROP_SIZE_MIB, .help = "a second; 0: no limit"), PROP_END};

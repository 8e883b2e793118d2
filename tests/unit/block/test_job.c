/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs: states, verbs, pauses, drains, speed, errors, transactions; with a job that counts. */
#include <errno.h>
#include "block/job.h"
#include "graph_fixture.h"

/* Counts up to 'steps', at a byte a step; then what 'fate' says. */
typedef struct {
    Job job;
    unsigned steps, step;
    enum { NOT_IDLE, IDLE, IDLE_ENDS } idle; /* before the first step, until the test ends that */
    bool hold;                               /* sleeps before each step until it is kicked */
    bool ready;                              /* becomes ready, and waits for 'complete' */
    bool completed;
    bool run_fails, prepare_fails, prepare_waits;
    BlockOnError policy;
    int fails_with; /* the next step, and each after 'resume', until it is 0 */
} Toy;

/* What happened, in order. */
static GString *story;

static void told(const char *event, json_t *data, void *user)
{
    const char *id = json_str(data, "id"), *status = json_str(data, "status");

    if (status) {
        g_string_append_printf(story, "%s:%s ", id, status);
    } else {
        g_string_append_printf(story, "%s ", event);
    }
}

/* Compares what was told since the last call. */
#define ck_story(expected)                                                                         \
    do {                                                                                           \
        ck_assert_str_eq(story->str, expected);                                                    \
        g_string_truncate(story, 0);                                                               \
    } while (0)

static bool coroutine_fn toy_step(Toy *t)
{
    while (t->fails_with) {
        if (job_error(&t->job, t->policy, true, t->fails_with) == BLOCK_ERROR_ACTION_REPORT) {
            return false;
        }
        if (!job_pause_point(&t->job)) {
            return false;
        }
    }
    t->step++;
    job_progress(&t->job, t->step, t->steps);
    return job_throttle(&t->job, 1);
}

static bool coroutine_fn toy_run(Job *job, GError **err)
{
    Toy *t = (Toy *)job;

    if (t->idle) {
        job_idle_begin(job);
        while (t->idle == IDLE) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
        }
        t->idle = NOT_IDLE;
        job_idle_end(job);
    }
    while (t->step < t->steps) {
        if (t->hold && !job_sleep(job, -1)) {
            return false;
        }
        if (!toy_step(t)) {
            return t->fails_with ? job_fail(err, t->fails_with) : false;
        }
    }
    if (t->ready) {
        job_ready(job);
        while (!t->completed && !job_cancel_requested(job)) {
            job_sleep(job, -1);
        }
        return !job_is_cancelled(job);
    }
    return t->run_fails ? error_set(err, "it did not go well") : true;
}

static bool toy_complete(Job *job, GError **err)
{
    ((Toy *)job)->completed = true;
    job_kick(job);
    return true;
}

static bool coroutine_fn toy_prepare(Job *job, GError **err)
{
    Toy *t = (Toy *)job;

    g_string_append_printf(story, "prepare-%s ", job->id);
    if (t->prepare_waits) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    return t->prepare_fails ? error_set(err, "it cannot be prepared") : true;
}

static void coroutine_fn toy_commit(Job *job)
{
    g_string_append_printf(story, "commit-%s ", job->id);
}

static void coroutine_fn toy_abort(Job *job)
{
    g_string_append_printf(story, "abort-%s ", job->id);
}

static void coroutine_fn toy_clean(Job *job)
{
    g_string_append_printf(story, "clean-%s ", job->id);
}

static bool toy_cancelled(Job *job, bool force)
{
    return job->status == JOB_READY && !force;
}

static const JobClass toy = {
    .type = JOB_TYPE_BACKUP,
    .size = sizeof(Toy),
    .block_job = true,
    .run = toy_run,
    .complete = toy_complete,
    .prepare = toy_prepare,
    .commit = toy_commit,
    .abort = toy_abort,
    .clean = toy_clean,
    .cancelled = toy_cancelled,
};

static Toy *toy_new(const char *id, JobTxn *txn)
{
    JobOptions o = {.id = (char *)id, .auto_finalize = true, .auto_dismiss = true, .txn = txn};
    GError *err = NULL;
    Toy *t = (Toy *)job_new(&toy, &o, &err);

    ck_no_error(err);
    t->steps = 3;
    return t;
}

static bool toy_ends(Job *job)
{
    return job_run_wait(job, NULL);
}

/* Turns the loop until the job has this status. It stays in the table. */
static void until(const char *id, JobStatus status)
{
    for (Job *job; (job = job_find(id, NULL)) && job->status != status;) {
        event_loop_iterate(main_loop, 100 * NS_PER_MS);
    }
    ck_assert(status == JOB_NULL ? !job_find(id, NULL) : job_find(id, NULL) != NULL);
}

static void job_setup(void)
{
    fixture_setup();
    story = g_string_new(NULL);
    job_set_event_handler(told, NULL);
}

static void job_teardown(void)
{
    g_string_free(story, TRUE);
    fixture_teardown();
}

START_TEST(ends_well)
{
    Toy *t = toy_new("a", NULL);

    job_start(&t->job);
    ck_assert(toy_ends(&t->job));
    ck_story("a:created a:running a:waiting a:pending prepare-a commit-a clean-a "
             "BLOCK_JOB_COMPLETED a:concluded a:null ");
    ck_assert_ptr_null(job_find("a", NULL));
}
END_TEST

START_TEST(fails)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;

    t->run_fails = true;
    job_start(&t->job);
    ck_assert(!job_run_wait(&t->job, &err));
    ck_error(err, "it did not go well");
    ck_story("a:created a:running a:aborting abort-a clean-a BLOCK_JOB_COMPLETED a:concluded "
             "a:null ");
    t = toy_new("b", NULL);
    t->prepare_fails = true;
    job_start(&t->job);
    ck_assert(!job_run_wait(&t->job, &err));
    ck_error(err, "it cannot be prepared");
    ck_story("b:created b:running b:waiting b:pending prepare-b b:aborting abort-b clean-b "
             "BLOCK_JOB_COMPLETED b:concluded b:null ");
}
END_TEST

START_TEST(discarded)
{
    Toy *t = toy_new("a", NULL);

    job_discard(&t->job);
    ck_story("a:created a:null ");
}
END_TEST

START_TEST(names)
{
    JobOptions o = {.id = (char *)"1x"};
    GError *err = NULL;
    Toy *t;

    ck_assert_ptr_null(job_new(&toy, &o, &err));
    ck_error(err, "Invalid job ID '1x'");
    o.id = NULL;
    ck_assert_ptr_null(job_new(&toy, &o, &err));
    ck_error(err, "Invalid job ID ''");
    t = toy_new("a", NULL);
    o.id = (char *)"a";
    ck_assert_ptr_null(job_new(&toy, &o, &err));
    ck_error(err, "Job ID 'a' already in use");
    job_discard(&t->job);
    ck_assert_ptr_null(job_find("a", &err));
    ck_error(err, "Job not found");
    ck_assert_ptr_null(block_job_find("a", &err));
    ck_assert_int_eq(err->code, VMM_ERROR_DEVICE_NOT_ACTIVE);
    ck_error(err, "Block job 'a' not found");
}
END_TEST

START_TEST(verbs)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;

    t->hold = true;
    job_start(&t->job);
    ck_assert(!job_complete(&t->job, &err));
    ck_error(err, "Job 'a' in state 'running' cannot accept command verb 'complete'");
    ck_assert(!job_finalize(&t->job, &err));
    ck_error(err, "Job 'a' in state 'running' cannot accept command verb 'finalize'");
    ck_assert(!job_dismiss(&t->job, &err));
    ck_error(err, "cannot accept command verb 'dismiss'");
    ck_assert(!job_resume(&t->job, &err));
    ck_error(err, "Can't resume a job that was not paused");
    ck_assert(!job_set_speed(&t->job, -1, &err));
    ck_error(err, "Parameter 'speed' expects a non-negative value");
    ck_assert(job_pause(&t->job, NULL));
    ck_assert(!job_pause(&t->job, &err));
    ck_error(err, "Job is already paused");
    until("a", JOB_PAUSED);
    ck_assert(job_resume(&t->job, NULL));
    until("a", JOB_RUNNING);
    ck_story("a:created a:running a:paused a:running ");
    ck_assert(job_cancel(&t->job, false, NULL));
    until("a", JOB_NULL);
    ck_story("a:aborting abort-a clean-a BLOCK_JOB_CANCELLED a:concluded a:null ");
}
END_TEST

/* By hand: finalize and dismiss; what is seen meanwhile. */
START_TEST(by_hand)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;
    json_t *list;

    t->job.opts.auto_finalize = t->job.opts.auto_dismiss = false;
    job_start(&t->job);
    until("a", JOB_PENDING);
    ck_assert(!job_pause(&t->job, &err));
    ck_error(err, "Job 'a' in state 'pending' cannot accept command verb 'pause'");
    ck_story("a:created a:running a:waiting a:pending BLOCK_JOB_PENDING ");
    list = block_job_query();
    ck_assert_str_eq(json_str(json_array_get(list, 0), "status"), "pending");
    ck_assert(json_is_false(json_object_get(json_array_get(list, 0), "auto-finalize")));
    json_decref(list);
    ck_assert(job_finalize(&t->job, NULL));
    ck_story("prepare-a commit-a clean-a BLOCK_JOB_COMPLETED a:concluded ");
    ck_assert(!job_cancel(&t->job, true, &err));
    ck_error(err, "Job 'a' in state 'concluded' cannot accept command verb 'cancel'");
    ck_assert(job_dismiss(&t->job, NULL));
    ck_story("a:null ");
}
END_TEST

START_TEST(cancelled_while_pending)
{
    Toy *t = toy_new("a", NULL);

    t->job.opts.auto_finalize = t->job.opts.auto_dismiss = false;
    job_start(&t->job);
    until("a", JOB_PENDING);
    ck_assert(job_cancel(&t->job, true, NULL));
    ck_assert_str_eq(t->job.error, "Operation canceled");
    ck_assert(job_dismiss(&t->job, NULL));
    ck_story("a:created a:running a:waiting a:pending BLOCK_JOB_PENDING a:aborting abort-a "
             "clean-a BLOCK_JOB_CANCELLED a:concluded a:null ");
}
END_TEST

/* What is being made final cannot be cancelled any more. */
START_TEST(too_late_to_cancel)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;

    t->prepare_waits = true;
    job_start(&t->job);
    until("a", JOB_PENDING);
    ck_assert(!job_cancel(&t->job, true, &err));
    ck_error(err, "Job 'a' is being finalized: it is too late to cancel it");
    ck_assert(toy_ends(&t->job));
}
END_TEST

START_TEST(ready)
{
    Toy *t = toy_new("a", NULL);

    t->ready = true;
    job_start(&t->job);
    until("a", JOB_READY);
    ck_assert(job_pause(&t->job, NULL));
    until("a", JOB_STANDBY);
    /* A pause does not keep the job from being completed: it ends when it is resumed. */
    ck_assert(job_complete(&t->job, NULL));
    ck_assert(job_resume(&t->job, NULL));
    ck_assert(toy_ends(&t->job));
    ck_story("a:created a:running a:ready BLOCK_JOB_READY a:standby a:ready a:waiting a:pending "
             "prepare-a commit-a clean-a BLOCK_JOB_COMPLETED a:concluded a:null ");
    for (int force = 0; force < 2; force++) {
        t = toy_new("a", NULL);
        t->ready = true;
        job_start(&t->job);
        until("a", JOB_READY);
        ck_assert(job_cancel(&t->job, force, NULL));
        ck_assert_int_eq(toy_ends(&t->job), !force);
        ck_assert_int_eq(!strstr(story->str, "BLOCK_JOB_CANCELLED"), !force);
        g_string_truncate(story, 0);
    }
}
END_TEST

/* The speed is kept, a greater one is not waited for, and a job that waits can be cancelled. */
START_TEST(speed)
{
    Toy *t = toy_new("a", NULL);
    int64_t start = clock_ns(CLOCK_REALTIME_NS);

    t->steps = 20;
    t->job.speed = 1000;
    job_start(&t->job);
    ck_assert(toy_ends(&t->job));
    /* The last step's debt may be left. */
    ck_assert_int_ge(clock_ns(CLOCK_REALTIME_NS) - start, 18 * NS_PER_MS);
    t = toy_new("a", NULL);
    t->job.speed = 1;
    t->steps = 1000;
    job_start(&t->job);
    turn(20);
    ck_assert_uint_eq(t->step, 1);
    ck_assert(job_set_speed(&t->job, 0, NULL));
    ck_assert(toy_ends(&t->job));
    t = toy_new("a", NULL);
    t->job.speed = 1;
    job_start(&t->job);
    turn(20);
    ck_assert(job_cancel(&t->job, false, NULL));
    ck_assert(!toy_ends(&t->job));
}
END_TEST

START_TEST(errors)
{
    static const struct {
        BlockOnError policy;
        int error;
        bool stops;
    } table[] = {
        {BLOCK_ON_ERROR_REPORT, EIO, false}, {BLOCK_ON_ERROR_STOP, EIO, true},
        {BLOCK_ON_ERROR_ENOSPC, EIO, false}, {BLOCK_ON_ERROR_ENOSPC, ENOSPC, true},
        {BLOCK_ON_ERROR_AUTO, ENOSPC, true}, {BLOCK_ON_ERROR_AUTO, EIO, false},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        Toy *t = toy_new("a", NULL);
        GError *err = NULL;
        json_t *list;

        g_string_truncate(story, 0);
        t->policy = table[i].policy;
        t->fails_with = table[i].error;
        job_start(&t->job);
        if (!table[i].stops) {
            ck_assert(!job_run_wait(&t->job, &err));
            ck_error(err, g_strerror(table[i].error));
            ck_story("a:running BLOCK_JOB_ERROR a:aborting abort-a clean-a BLOCK_JOB_COMPLETED "
                     "a:concluded a:null ");
            continue;
        }
        until("a", JOB_PAUSED);
        list = block_job_query();
        ck_assert_str_eq(json_str(json_array_get(list, 0), "io-status"),
                         table[i].error == ENOSPC ? "nospace" : "failed");
        json_decref(list);
        t->fails_with = 0;
        ck_assert(job_resume(&t->job, NULL));
        ck_assert_int_eq(t->job.io_status, 0);
        ck_assert(toy_ends(&t->job));
    }
}
END_TEST

START_TEST(txn_ends_well)
{
    JobTxn *txn = job_txn_new();
    Toy *a = toy_new("a", txn), *b = toy_new("b", txn);

    job_txn_unref(txn);
    a->hold = true;
    job_start(&a->job);
    job_start(&b->job);
    until("b", JOB_WAITING);
    ck_story("a:created b:created a:running b:running b:waiting ");
    a->hold = false;
    job_kick(&a->job);
    job_ref(&b->job);
    ck_assert(toy_ends(&a->job));
    ck_assert(toy_ends(&b->job));
    job_unref(&b->job);
    ck_story("a:waiting a:pending b:pending prepare-a prepare-b commit-a clean-a "
             "BLOCK_JOB_COMPLETED a:concluded a:null commit-b clean-b BLOCK_JOB_COMPLETED "
             "b:concluded b:null ");
}
END_TEST

/* How: 0: run() fails, 1: prepare() of the second, 2: the second is cancelled while it waits. */
static void txn_fails_by(int how)
{
    JobTxn *txn = job_txn_new();
    Toy *a = toy_new("a", txn), *b = toy_new("b", txn);

    job_txn_unref(txn);
    a->hold = how != 1;
    b->run_fails = how == 0;
    b->prepare_fails = how == 1;
    job_start(&a->job);
    job_start(&b->job);
    if (how == 2) {
        until("b", JOB_WAITING);
        ck_assert(job_cancel(&b->job, true, NULL));
    }
    job_ref(&b->job);
    ck_assert(!toy_ends(&a->job));
    ck_assert(!toy_ends(&b->job));
    job_unref(&b->job);
    ck_assert_ptr_null(strstr(story->str, "commit-"));
    ck_assert_ptr_nonnull(strstr(story->str, "abort-a"));
    ck_assert_ptr_nonnull(strstr(story->str, "abort-b"));
    ck_assert_int_eq(strstr(story->str, "prepare-a prepare-b ") != NULL, how == 1);
    g_string_truncate(story, 0);
}

START_TEST(txn_fails)
{
    for (int how = 0; how < 3; how++) {
        txn_fails_by(how);
    }
}
END_TEST

/* Jobs and the graph. */

static const BlockPerms reads = {BLOCK_PERM_CONSISTENT_READ, BLOCK_PERM_ALL};

static void coroutine_fn drain_once(void *data)
{
    Toy *t = data;
    BlockDrain *d = block_drain_begin(block_node_find("n"));
    unsigned step = t->step;

    for (unsigned i = 0; i < 3; i++) {
        job_kick(&t->job);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
        ck_assert_uint_eq(t->step, step);
    }
    block_drain_end(d);
}

/* A drained section waits for the job's pause point, and the job waits for its end. */
START_TEST(drained)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;

    graph_add("{'driver':'null-co','node-name':'n','size':65536}");
    ck_assert_ptr_nonnull(job_add_node(&t->job, "main node", block_node_find("n"), reads, &err));
    ck_assert_ptr_eq(job_of_node(block_node_find("n")), &t->job);
    ck_assert(!job_node_is_free(block_node_find("n"), &err));
    ck_error(err, "Node 'n' is busy: block device is in use by block job: backup");
    t->steps = 1000000;
    job_start(&t->job);
    turn(3);
    graph_run(drain_once, t);
    ck_assert(job_pause(&t->job, NULL));
    until("a", JOB_PAUSED);
    /* A drain and the user's pause are counted apart. */
    graph_run(drain_once, t);
    turn(3);
    ck_assert_int_eq(t->job.status, JOB_PAUSED);
    ck_assert(job_resume(&t->job, NULL));
    turn(3);
    ck_assert_uint_gt(t->step, 0);
    job_cancel(&t->job, false, NULL);
    until("a", JOB_NULL);
    ck_assert(job_node_is_free(block_node_find("n"), NULL));
    ck_assert(block_node_del_monitor_owned("n", NULL));
}
END_TEST

/* Nobody waits for a job that is idle; it goes on when the section that began meanwhile is over. */
static void coroutine_fn drain_idle(void *data)
{
    Toy *t = data;
    BlockDrain *d = block_drain_begin(block_node_find("n"));

    ck_assert_int_eq(t->idle, IDLE);
    t->idle = IDLE_ENDS;
    while (t->idle) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(t->step, 0);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    block_drain_end(d);
}

START_TEST(drained_while_idle)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;

    graph_add("{'driver':'null-co','node-name':'n','size':65536}");
    ck_assert(job_add_node(&t->job, "main node", block_node_find("n"), reads, &err));
    t->idle = IDLE;
    job_ref(&t->job);
    job_start(&t->job);
    turn(3);
    graph_run(drain_idle, t);
    ck_assert(toy_ends(&t->job));
    job_unref(&t->job);
    ck_assert_ptr_nonnull(strstr(story->str, "a:running a:paused a:running a:waiting"));
    ck_assert(block_node_del_monitor_owned("n", NULL));
}
END_TEST

/* A job that is cancelled in a drained section does not go on before its end. */
static void coroutine_fn cancel_in_drain(void *data)
{
    Toy *t = data;
    BlockDrain *d = block_drain_begin(block_node_find("n"));

    job_cancel(&t->job, true, NULL);
    coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    ck_assert_int_lt(t->job.status, JOB_WAITING);
    block_drain_end(d);
}

START_TEST(cancelled_while_drained)
{
    Toy *t = toy_new("a", NULL);

    graph_add("{'driver':'null-co','node-name':'n','size':65536}");
    ck_assert(job_add_node(&t->job, "main node", block_node_find("n"), reads, NULL));
    t->steps = 1000000;
    job_start(&t->job);
    turn(3);
    graph_run(cancel_in_drain, t);
    until("a", JOB_NULL);
}
END_TEST

START_TEST(conflict)
{
    Toy *t = toy_new("a", NULL);
    GError *err = NULL;
    BlockBackend *blk;

    graph_add("{'driver':'null-co','node-name':'n','size':65536}");
    blk = graph_disk("n", "/machine/peripheral/d", &err);
    ck_no_error(err);
    ck_assert_ptr_null(job_add_node(&t->job, "target", block_node_find("n"),
                                    (BlockPerms){BLOCK_PERM_WRITE, BLOCK_PERM_ALL}, &err));
    ck_error(err, "required by backup job 'a' (uses node 'n' as 'target' child)");
    job_discard(&t->job);
    block_backend_detach(blk, true);
}
END_TEST

START_TEST(frozen)
{
    Toy *t = toy_new("a", NULL);
    Chain c = chain_make();
    GError *err = NULL;

    ck_assert(job_add_node(&t->job, "main node", c.top, reads, &err));
    ck_assert(job_freeze_chain(&t->job, c.top, c.base, &err));
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':null}]",
                    "backup job 'a' relies on it");
    job_thaw_chain(&t->job);
    job_discard(&t->job);
    chain_free(&c);
}
END_TEST

static void coroutine_fn end_all(void *data)
{
    job_cancel_all_wait();
    ck_assert_ptr_null(job_find("a", NULL));
    ck_assert_ptr_null(job_find("b", NULL));
}

/* The end of the program: what runs, what is paused, what waits for its user. */
START_TEST(all_end)
{
    Toy *a = toy_new("a", NULL), *b = toy_new("b", NULL), *c = toy_new("c", NULL);
    JobOptions o = {.id = (char *)"d"};
    GError *err = NULL;

    a->hold = true;
    b->job.opts.auto_finalize = b->job.opts.auto_dismiss = false;
    c->job.opts.auto_dismiss = false;
    job_start(&a->job);
    job_start(&b->job);
    job_start(&c->job);
    ck_assert(job_pause(&a->job, NULL));
    until("b", JOB_PENDING);
    until("c", JOB_CONCLUDED);
    graph_run(end_all, NULL);
    ck_assert_ptr_null(job_new(&toy, &o, &err));
    ck_error(err, "being shut down");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {ends_well,
                                  fails,
                                  discarded,
                                  names,
                                  verbs,
                                  by_hand,
                                  cancelled_while_pending,
                                  too_late_to_cancel,
                                  ready,
                                  speed,
                                  errors,
                                  txn_ends_well,
                                  txn_fails,
                                  drained,
                                  drained_while_idle,
                                  cancelled_while_drained,
                                  conflict,
                                  frozen,
                                  all_end,
                                  NULL};

    return fixture_run_with("job", tests, job_setup, job_teardown);
}

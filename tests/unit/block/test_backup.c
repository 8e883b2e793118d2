/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backup jobs, while other threads write to the disk: what is in the target is what was on the disk
 * when the job began.
 */
#include <errno.h>
#include <inttypes.h>
#include "../../../block/core.h"
#include "block/dirty_bitmap.h"
#include "block/job.h"
#include "block/transaction.h"
#include "flaky.h"
#include "graph_fixture.h"
#include "writers.h"

/* The disk ends within a cluster. */
enum { THREADS = 2, STREAMS = 61, ROUNDS = 6 };

typedef struct {
    BlockBackend *disk;
    BlockNode *source;
    Writers *writers;
    uint8_t *was; /* the disk's content when the job began */
    size_t length;
    const char *args; /* of the backup: more members, each with a comma in front */
    const char *type;
    char *error; /* of the job; NULL: it ended well */
} Run;

static Run run_new(const char *format)
{
    Run r = {.length = writers_disk(THREADS, STREAMS), .type = "blockdev-backup", .args = ""};
    g_autofree char *size = g_strdup_printf("size=%zu", r.length);

    flaky_install();
    if (g_str_equal(format, "raw")) {
        make_raw("a", r.length);
    } else {
        make_qcow2("a", size);
    }
    r.disk = new_drive(NULL, "file=%s,format=%s,if=none,id=a,node-name=na,discard=unmap",
                       tmp_path("a"), format);
    r.source = block_backend_node(r.disk);
    r.writers = writers_start(r.disk, THREADS, STREAMS);
    return r;
}

static void run_end(Run *r)
{
    g_autofree uint8_t *disk = g_malloc(r->length);
    g_autofree unsigned *end = NULL;

    writers_stop(r->writers);
    end = writers_done(r->writers);
    ck_assert_ptr_eq(block_backend_node(r->disk), r->source); /* no filter is left */
    ck_assert_int_eq(do_io(r->disk, BLOCK_OP_READ, 0, disk, r->length), 0);
    writers_check(r->writers, disk, end, end);
    writers_free(r->writers);
    g_free(r->was);
    g_free(r->error);
}

static BlockNode *target_new(Run *r, const char *name, const char *options)
{
    g_autofree char *all = g_strdup_printf("size=%zu%s", r->length, options);

    make_qcow2(name, all);
    return graph_add("{'driver':'qcow2','node-name':'%s','discard':'unmap','file':"
                     "{'driver':'file','filename':'%s'}}",
                     name, tmp_path(name));
}

/* A target whose writes fail as the test says. */
static BlockNode *target_flaky(Run *r, const char *name)
{
    make_raw(name, r->length);
    return graph_add("{'driver':'flaky','node-name':'%s','file':{'driver':'file',"
                     "'filename':'%s'}}",
                     name, tmp_path(name));
}

/* The job, and the content of the disk at its beginning. */
static void coroutine_fn backup_start(Run *r)
{
    g_autofree char *text =
        g_strdup_printf("{'device':'a','job-id':'j','auto-dismiss':false%s}", r->args);
    json_auto_t *args = parse_tree("%s", text);
    BlockDrain *drain = block_drain_begin(r->source);
    GError *err = NULL;

    g_free(r->was);
    r->was = g_malloc(r->length);
    g_assert_cmpint(block_pread(r->source, 0, r->was, r->length), ==, 0);
    block_action_run(r->type, args, &err);
    g_assert_no_error(err);
    block_drain_end(drain);
}

static void coroutine_fn backup_wait(Run *r, JobStatus status)
{
    Job *job = job_find("j", NULL);

    while (job->status != status && job->status != JOB_CONCLUDED) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    g_assert_cmpint(job->status, ==, status);
    if (status == JOB_CONCLUDED) {
        g_free(r->error);
        r->error = g_strdup(job->error);
        g_assert(job_dismiss(job, NULL));
    }
}

static void coroutine_fn check_content(Run *r, const char *node)
{
    BlockNode *n = block_node_find(node);
    g_autofree uint8_t *buf = g_malloc(r->length);

    g_assert_cmpint(block_pread(n, 0, buf, r->length), ==, 0);
    for (size_t i = 0; i < r->length; i += WRITERS_PIECE) {
        if (memcmp(buf + i, r->was + i, WRITERS_PIECE)) {
            g_error("the backup differs at %zu", i);
        }
    }
}

static int coroutine_fn check_image(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};

    if (n->driver->check) {
        g_assert_cmpint(n->driver->check(n, &res, 0), ==, 0);
        g_assert_cmpuint(res.corruptions + res.leaks + res.check_errors, ==, 0);
    }
    return 0;
}

static void coroutine_fn backup_once(void *data)
{
    Run *r = data;

    writers_wait(r->writers, 3);
    backup_start(r);
    writers_wait(r->writers, 3);
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
    check_content(r, "t");
}

static void check_backup(const char *format, const char *target, const char *args)
{
    Run r = run_new(format);
    BlockNode *t = target_new(&r, "t", target);

    r.args = args;
    graph_run(backup_once, &r);
    run_end(&r);
    ck_assert_int_eq(block_run(check_image, t), 0);
}

START_TEST(full_raw)
{
    check_backup("raw", "", ",'target':'t','sync':'full'");
}
END_TEST

START_TEST(full_qcow2)
{
    check_backup("qcow2", ",cluster_size=128k",
                 ",'target':'t','sync':'full','filter-node-name':'f',"
                 "'x-perf':{'max-workers':2,'max-chunk':131072}");
}
END_TEST

START_TEST(compressed)
{
    check_backup("qcow2", "", ",'target':'t','sync':'full','compress':true");
}
END_TEST

/* Slow, so that the guest copies most of it. */
START_TEST(slow)
{
    check_backup("qcow2", "", ",'target':'t','sync':'full','speed':4000000");
}
END_TEST

static void coroutine_fn backup_top(void *data)
{
    Run *r = data;
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("{'device':'a','snapshot-file':'%s'}", tmp_path("o"));
    json_auto_t *args = parse_tree("%s", text);

    writers_wait(r->writers, 3);
    g_assert(block_action_run("blockdev-snapshot-sync", args, &err));
    r->source = block_backend_node(r->disk);
    writers_wait(r->writers, 1);
    backup_start(r);
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
}

/* Of the overlay alone: the image made for it names the same backing file. */
START_TEST(top)
{
    Run r = run_new("qcow2");
    g_autofree char *args =
        g_strdup_printf(",'target':'%s','sync':'top','format':'qcow2'", tmp_path("t"));

    r.type = "drive-backup";
    r.args = args;
    graph_run(backup_top, &r);
    graph_add("{'driver':'qcow2','node-name':'t','file':{'driver':'file','filename':'%s'},"
              "'backing':{'driver':'qcow2','file':{'driver':'file','filename':'%s'}},"
              "'read-only':true}",
              tmp_path("t"), tmp_path("a"));
    ck_assert_ptr_nonnull(block_node_find("t")->backing_name);
    run_end(&r);
}
END_TEST

static void coroutine_fn backup_none(void *data)
{
    Run *r = data;
    GError *err = NULL;

    writers_wait(r->writers, 3);
    backup_start(r);
    for (unsigned round = 0; round < 40; round++) {
        check_content(r, "t");
    }
    writers_wait(r->writers, 5);
    check_content(r, "t");
    g_assert(job_cancel(job_find("j", NULL), false, &err));
    backup_wait(r, JOB_CONCLUDED);
    g_assert_nonnull(r->error);
}

/* Only what the guest overwrites; the rest shows through the target's backing file, the disk. */
START_TEST(none)
{
    Run r = run_new("qcow2");
    g_autofree char *size = g_strdup_printf("size=%zu", r.length);

    make_qcow2("t", size);
    graph_add("{'driver':'qcow2','node-name':'t','file':{'driver':'file','filename':'%s'},"
              "'backing':'na'}",
              tmp_path("t"));
    r.args = ",'target':'t','sync':'none'";
    graph_run(backup_none, &r);
    run_end(&r);
}
END_TEST

/* --- bitmaps --- */

static void coroutine_fn bitmap_add(Run *r)
{
    json_auto_t *args = parse_tree("{'node':'a','name':'b'}");

    g_assert(block_action_run("block-dirty-bitmap-add", args, NULL));
}

static uint64_t bitmap_count(Run *r)
{
    BlockDirtyBitmap *b = block_dirty_bitmap_find(r->source, "b");

    g_assert(b && !block_dirty_bitmap_busy(b));
    return block_dirty_bitmap_count(b);
}

static void coroutine_fn one_of_chain(Run *r, const char *args, bool fails)
{
    unsigned first = r->length / (4 * MiB);

    r->args = args;
    if (fails) {
        /* Somewhere in the middle; the guest's writes fail as well. */
        __atomic_store_n(&flaky.times, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&flaky.fail_write_in, 4 + first, __ATOMIC_SEQ_CST);
    }
    backup_start(r);
    backup_wait(r, JOB_CONCLUDED);
    __atomic_store_n(&flaky.fail_write_in, 0, __ATOMIC_SEQ_CST);
    g_assert(fails || !r->error);
    if (!r->error) {
        check_content(r, "t");
    } else {
        g_assert_cmpuint(bitmap_count(r), >, 0);
    }
    writers_wait(r->writers, 2);
}

static void coroutine_fn chain(Run *r, const char *mode)
{
    g_autofree char *full =
        g_strdup_printf(",'target':'t','sync':'full','bitmap':'b','bitmap-mode':'%s'", mode);
    g_autofree char *more =
        g_strdup_printf(",'target':'t','sync':'bitmap','bitmap':'b','bitmap-mode':'%s'", mode);

    bitmap_add(r);
    writers_wait(r->writers, 2);
    one_of_chain(r, full, false);
    for (unsigned round = 0; round < ROUNDS; round++) {
        one_of_chain(r, more, round % 2 == 0);
    }
}

static void coroutine_fn chain_on_success(void *data)
{
    chain(data, "on-success");
}

static void coroutine_fn chain_always(void *data)
{
    chain(data, "always");
}

static void check_chain(void (*fn)(void *data))
{
    Run r = run_new("qcow2");
    BlockNode *t = target_flaky(&r, "t");

    writers_may_fail(r.writers);
    graph_run(fn, &r);
    run_end(&r);
    ck_assert_int_eq(block_run(check_image, t), 0);
}

/* One target, backup after backup, some of which fail: at the end of each that does not, it is the
 * disk. */
START_TEST(incremental_on_success)
{
    check_chain(chain_on_success);
}
END_TEST

START_TEST(incremental_always)
{
    check_chain(chain_always);
}
END_TEST

static void coroutine_fn never(void *data)
{
    Run *r = data;
    uint64_t before;

    bitmap_add(r);
    writers_wait(r->writers, 3);
    before = bitmap_count(r);
    r->args = ",'target':'t','sync':'bitmap','bitmap':'b','bitmap-mode':'never'";
    backup_start(r);
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
    check_content(r, "t"); /* every piece was written to */
    g_assert_cmpuint(bitmap_count(r), >=, before);
}

START_TEST(bitmap_never)
{
    Run r = run_new("qcow2");

    target_new(&r, "t", "");
    graph_run(never, &r);
    run_end(&r);
}
END_TEST

/* --- errors, cancels --- */

static void coroutine_fn stopped(void *data)
{
    Run *r = data;

    flaky.error = ENOSPC;
    flaky.fail_write_in = 1;
    backup_start(r);
    backup_wait(r, JOB_PAUSED);
    __atomic_store_n(&flaky.fail_write_in, 0, __ATOMIC_SEQ_CST);
    writers_wait(r->writers, 1);
    g_assert(job_resume(job_find("j", NULL), NULL));
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
    check_content(r, "t");
}

/* No space, until there is some. */
START_TEST(target_enospc_stop)
{
    Run r = run_new("qcow2");

    target_flaky(&r, "t");
    writers_may_fail(r.writers);
    r.args = ",'target':'t','sync':'full','on-target-error':'enospc'";
    graph_run(stopped, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn reported(void *data)
{
    Run *r = data;

    flaky.error = ENOSPC;
    flaky.fail_write_in = 1;
    backup_start(r);
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, g_strerror(ENOSPC));
    __atomic_store_n(&flaky.fail_write_in, 0, __ATOMIC_SEQ_CST);
}

START_TEST(target_error_report)
{
    Run r = run_new("qcow2");

    target_flaky(&r, "t");
    writers_may_fail(r.writers);
    r.args = ",'target':'t','sync':'full'";
    graph_run(reported, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn ignored(void *data)
{
    Run *r = data;

    flaky.times = 3;
    flaky.fail_write_in = 1;
    backup_start(r);
    backup_wait(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
    check_content(r, "t");
}

/* Each write to the target fails once or more, and is tried again. */
START_TEST(target_error_ignore)
{
    Run r = run_new("qcow2");

    target_flaky(&r, "t");
    writers_may_fail(r.writers);
    r.args = ",'target':'t','sync':'full','on-target-error':'ignore'";
    graph_run(ignored, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn cancelled(void *data)
{
    Run *r = data;

    bitmap_add(r);
    /* So slow that no job is at its end before it is cancelled, however busy the host. */
    r->args = ",'target':'t','sync':'bitmap','bitmap':'b','bitmap-mode':'on-success',"
              "'speed':100000";
    for (unsigned round = 0; round < ROUNDS; round++) {
        GError *err = NULL;
        uint64_t before;

        writers_wait(r->writers, 2);
        before = bitmap_count(r);
        backup_start(r);
        for (unsigned i = 0; i < round * 3; i++) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
        }
        if (round % 2) {
            g_assert(job_pause(job_find("j", NULL), NULL));
        }
        job_cancel(job_find("j", NULL), true, &err);
        g_assert_no_error(err);
        backup_wait(r, JOB_CONCLUDED);
        g_assert_nonnull(r->error);
        g_assert_cmpuint(bitmap_count(r), >=, before);
    }
}

START_TEST(cancel)
{
    Run r = run_new("qcow2");

    target_new(&r, "t", "");
    graph_run(cancelled, &r);
    run_end(&r);
}
END_TEST

/* --- transactions --- */

static bool coroutine_fn transact(const char *mode, GError **err, const char *text)
{
    json_auto_t *actions = parse_tree("%s", text);
    json_auto_t *properties = json_pack("{s:s}", "completion-mode", mode);

    return block_transaction(actions, properties, err);
}

static void coroutine_fn job_gone(const char *id)
{
    while (job_find(id, NULL)) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
}

static void coroutine_fn undone(void *data)
{
    Run *r = data;
    GError *err = NULL;
    uint64_t before;

    bitmap_add(r);
    writers_wait(r->writers, 1);
    before = bitmap_count(r);
    g_assert(!transact("individual", &err,
                       "[{'type':'block-dirty-bitmap-clear','data':{'node':'a','name':'b'}},"
                       "{'type':'block-dirty-bitmap-add','data':{'node':'a','name':'c'}},"
                       "{'type':'block-dirty-bitmap-disable','data':{'node':'a','name':'b'}},"
                       "{'type':'block-dirty-bitmap-merge','data':{'node':'a','target':'c',"
                       "'bitmaps':['b']}},"
                       "{'type':'block-dirty-bitmap-enable','data':{'node':'a','name':'b'}},"
                       "{'type':'blockdev-backup','data':{'device':'a','job-id':'j','target':'t',"
                       "'sync':'full','bitmap':'b','bitmap-mode':'always'}},"
                       "{'type':'abort','data':{}}]"));
    ck_error(err, "Transaction aborted using Abort action");
    g_assert(!job_find("j", NULL));
    g_assert(!block_dirty_bitmap_find(r->source, "c"));
    g_assert(block_dirty_bitmap_enabled(block_dirty_bitmap_find(r->source, "b")));
    g_assert_cmpuint(bitmap_count(r), >=, before);
    g_assert(block_backend_node(r->disk) == r->source);
    /* All of it at one moment. */
    g_assert(transact("individual", &err,
                      "[{'type':'block-dirty-bitmap-add','data':{'node':'a','name':'c',"
                      "'disabled':true}},"
                      "{'type':'block-dirty-bitmap-merge','data':{'node':'a','target':'c',"
                      "'bitmaps':['b']}},"
                      "{'type':'block-dirty-bitmap-remove','data':{'node':'a','name':'b'}},"
                      "{'type':'blockdev-backup','data':{'device':'a','job-id':'j','target':'t',"
                      "'sync':'bitmap','bitmap':'c','bitmap-mode':'never'}}]"));
    g_assert(!block_dirty_bitmap_find(r->source, "b"));
    job_gone("j");
}

START_TEST(undo)
{
    Run r = run_new("qcow2");

    target_new(&r, "t", "");
    graph_run(undone, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn grouped(void *data)
{
    Run *r = data;
    GError *err = NULL;
    uint64_t dirty;

    bitmap_add(r);
    writers_wait(r->writers, 1);
    dirty = bitmap_count(r);
    g_assert_cmpuint(dirty, >, 0);
    /* The second job fails, so the first does not end well: its bitmap keeps what it had. */
    flaky.fail_write_in = 1;
    g_assert(transact("grouped", &err,
                      "[{'type':'blockdev-backup','data':{'device':'a','job-id':'j1',"
                      "'target':'t','sync':'bitmap','bitmap':'b','bitmap-mode':'on-success'}},"
                      "{'type':'blockdev-backup','data':{'device':'nb','job-id':'j2',"
                      "'target':'u','sync':'full'}}]"));
    job_gone("j1");
    job_gone("j2");
    g_assert_cmpuint(bitmap_count(r), >=, dirty);
    flaky.fail_write_in = 0;
    g_assert(!transact("grouped", &err,
                       "[{'type':'block-dirty-bitmap-clear','data':{'node':'a','name':'b'}}]"));
    ck_error(err, "does not support Transaction property completion-mode = grouped");
}

START_TEST(together)
{
    Run r = run_new("qcow2");

    target_new(&r, "t", "");
    target_flaky(&r, "u");
    make_raw("b", r.length);
    graph_add("{'driver':'raw','node-name':'nb','file':{'driver':'file','filename':'%s'}}",
              tmp_path("b"));
    {
        BlockBackend *b = graph_disk("nb", "/machine/peripheral/b", NULL);
        char data[4096] = {1};

        ck_assert_int_eq(do_io(b, BLOCK_OP_WRITE, 0, data, sizeof data), 0);
        graph_run(grouped, &r);
        block_backend_detach(b, true);
    }
    run_end(&r);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {full_raw,
                                  full_qcow2,
                                  compressed,
                                  slow,
                                  top,
                                  none,
                                  incremental_on_success,
                                  incremental_always,
                                  bitmap_never,
                                  target_enospc_stop,
                                  target_error_report,
                                  target_error_ignore,
                                  cancel,
                                  undo,
                                  together,
                                  NULL};

    return fixture_run("backup", tests);
}

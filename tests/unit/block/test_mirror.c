/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mirrors of a disk to which queues on other threads write all the time. */
#include <errno.h>
#include "../../../block/core.h"
#include "block/dirty_bitmap.h"
#include "block/image.h"
#include "block/mirror_job.h"
#include "flaky.h"
#include "graph_fixture.h"
#include "writers.h"

enum { THREADS = 2, STREAMS = 6, ROUNDS = 4, LARGE = 4 << 20 };

typedef struct {
    BlockBackend *blk;
    BlockNode *source, *target; /* references */
    Writers *w;
    BlockMirror what;
    JobOptions opts;
    unsigned parents; /* of the source, before */
    unsigned *from, *to;
} Run;

/* How the last job has ended, and what came before. */
static GString *story;

static void told(const char *event, json_t *data, void *user)
{
    const char *error = json_str(data, "error");

    if (!g_str_equal(event, "JOB_STATUS_CHANGE")) {
        g_string_append_printf(story, "%s%s%s ", event + strlen("BLOCK_JOB_"), error ? ":" : "",
                               error ? error : "");
    }
}

#define must_tell(expected)                                                                        \
    do {                                                                                           \
        g_assert_cmpstr(story->str, ==, expected);                                                 \
        g_string_truncate(story, 0);                                                               \
    } while (0)

static size_t disk_length(void)
{
    return writers_disk(THREADS, STREAMS) + UNIT;
}

static void make_image(const char *name, const char *format)
{
    g_autofree char *size = g_strdup_printf("size=%zu", disk_length());

    if (g_str_equal(format, "raw")) {
        make_raw(name, disk_length());
    } else {
        make_qcow2(name, size);
    }
}

static BlockNode *add_image(const char *name, const char *format)
{
    make_image(name, format);
    return block_node_ref(graph_add("{'driver':'%s','node-name':'%s','discard':'unmap',"
                                    "'file':{'driver':'file','filename':'%s','discard':'unmap'}}",
                                    format, name, tmp_path(name)));
}

/* A disk under load, and a target with a flaky node above it. */
static Run run_new(const char *format, const char *target_format)
{
    GError *err = NULL;
    Run r = {0};

    story = g_string_new(NULL);
    job_set_event_handler(told, NULL);
    flaky_install();
    r.source = add_image("source", format);
    block_node_unref(add_image("image", target_format));
    r.target = block_node_ref(graph_add("{'driver':'flaky','node-name':'target','file':'image'}"));
    r.blk = graph_disk("source", "/machine/peripheral/a", &err);
    ck_no_error(err);
    fill(r.blk, writers_disk(THREADS, STREAMS), PATTERN);
    r.parents = r.source->core->parents->len;
    r.w = writers_start(r.blk, THREADS, STREAMS);
    r.what = (BlockMirror){.source = r.source,
                           .target = r.target,
                           .sync = BLOCK_MIRROR_FULL,
                           .granularity = 4096,
                           .unmap = true};
    r.opts = (JobOptions){.id = "j", .auto_finalize = true, .auto_dismiss = true};
    return r;
}

static uint8_t *coroutine_fn read_all(BlockNode *n)
{
    uint8_t *buf = g_malloc(block_length(n));

    g_assert_cmpint(block_pread(n, 0, buf, block_length(n)), ==, 0);
    return buf;
}

static void coroutine_fn must_start(Run *r)
{
    GError *err = NULL;
    bool ok = block_mirror_start(&r->opts, &r->what, &err);

    g_assert_no_error(err);
    g_assert(ok);
}

static Job *job(void)
{
    return job_find("j", NULL);
}

static void coroutine_fn wait_status(JobStatus status)
{
    while (job() && job()->status != status) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    g_assert(job());
}

static void coroutine_fn wait_end(void)
{
    while (job()) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
}

/* The source is as it was before the job. */
static void coroutine_fn must_be_clean(Run *r)
{
    g_assert(!r->source->core->bitmaps);
    g_assert_cmpuint(r->source->core->ranges.tracked, ==, 0);
    g_assert_cmpuint(r->source->write_intercepts, ==, 0);
    g_assert(!job_of_node(r->source) && !job_of_node(r->target));
}

static void coroutine_fn must_stay(Run *r)
{
    must_be_clean(r);
    g_assert(block_backend_node(r->blk) == r->source);
    g_assert_cmpuint(r->source->core->parents->len, ==, r->parents);
    g_assert_cmpuint(r->target->core->parents->len, ==, 0);
}

static void coroutine_fn must_have_moved(Run *r)
{
    must_be_clean(r);
    g_assert(block_backend_node(r->blk) == r->target);
    g_assert_cmpuint(r->source->core->parents->len, ==, 0);
    g_assert_cmpuint(r->target->core->parents->len, ==, 1);
}

static void coroutine_fn end_job(Run *r, bool complete)
{
    wait_status(JOB_READY);
    writers_wait(r->w, 20);
    r->from = writers_done(r->w);
    g_assert(complete ? job_complete(job(), NULL) : job_cancel(job(), false, NULL));
    wait_end();
    r->to = writers_sent(r->w);
    must_tell("READY COMPLETED ");
}

static void coroutine_fn check_moment(Run *r, BlockNode *n)
{
    g_autofree uint8_t *disk = read_all(n);

    writers_check(r->w, disk, r->from, r->to);
    g_assert_cmpuint(disk[writers_disk(THREADS, STREAMS) + 511], ==, PATTERN);
    g_clear_pointer(&r->from, g_free);
    g_clear_pointer(&r->to, g_free);
}

static void run_end(Run *r)
{
    g_autofree uint8_t *disk = g_malloc(disk_length());
    g_autofree unsigned *end = NULL;

    writers_stop(r->w);
    end = writers_done(r->w);
    ck_assert_int_eq(do_io(r->blk, BLOCK_OP_READ, 0, disk, disk_length()), 0);
    writers_check(r->w, disk, end, end);
    writers_free(r->w);
    block_backend_detach(r->blk, true);
    block_node_unref(r->source);
    block_node_unref(r->target);
    g_free(r->from);
    g_free(r->to);
    job_set_event_handler(NULL, NULL);
}

static void coroutine_fn pivot(void *data)
{
    Run *r = data;

    must_start(r);
    g_assert_cmpint(r->source->core->bitmaps != NULL, ==, 1);
    g_assert_cmpuint(r->source->core->ranges.tracked, ==, r->what.active);
    end_job(r, true);
    must_have_moved(r);
    check_moment(r, r->source); /* nothing was written there later */
    writers_wait(r->w, 10);
}

/* A sector behind what the writers write. */
typedef struct {
    BlockRequest req;
    struct iovec iov;
    uint8_t buf[512];
    bool done;
} Tail;

static void tail_done(BlockRequest *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    ((Tail *)req)->done = true;
}

static uint64_t tail_offset(void)
{
    return writers_disk(THREADS, STREAMS) + 4096;
}

static void tail_write(Run *r, Tail *t, int byte)
{
    memset(t->buf, byte, sizeof t->buf);
    t->done = false;
    t->iov = (struct iovec){t->buf, sizeof t->buf};
    t->req = (BlockRequest){.op = BLOCK_OP_WRITE,
                            .offset = tail_offset(),
                            .bytes = sizeof t->buf,
                            .iov = &t->iov,
                            .niov = 1,
                            .done = tail_done};
    block_backend_submit(r->blk, &t->req);
}

static void coroutine_fn tail_wait(const Tail *t)
{
    while (!t->done) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
}

static int coroutine_fn tail_read(BlockNode *n)
{
    uint8_t buf[512];

    g_assert_cmpint(block_pread(n, tail_offset(), buf, sizeof buf), ==, 0);
    return buf[511];
}

/*
 * The job has read, and is about to write; the guest writes the same. An active one waits for the
 * job; of a lazy one the source has it at once, and the target later.
 */
static void coroutine_fn meet_in_one_range(Run *r, int byte)
{
    Tail t;

    tail_write(r, &t, 0x80 | byte); /* data to copy */
    tail_wait(&t);
    flaky.hold_at = tail_offset();
    flaky.hold = 1;
    must_start(r);
    while (!__atomic_load_n(&flaky.held, __ATOMIC_SEQ_CST)) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    coroutine_sleep(CLOCK_REALTIME_NS, 3 * NS_PER_MS);
    tail_write(r, &t, byte);
    coroutine_sleep(CLOCK_REALTIME_NS, 3 * NS_PER_MS);
    if (!r->what.active) {
        tail_wait(&t);
    }
    g_assert_cmpint(tail_read(r->source) == byte, ==, !r->what.active);
    __atomic_store_n(&flaky.hold, 0, __ATOMIC_SEQ_CST);
    tail_wait(&t);
}

/* A copy, and the disk stays; several times. */
static void coroutine_fn copies(void *data)
{
    Run *r = data;

    for (unsigned i = 0; i < ROUNDS; i++) {
        meet_in_one_range(r, i + 1);
        end_job(r, false);
        must_stay(r);
        check_moment(r, r->target);
        g_assert_cmpint(tail_read(r->target), ==, i + 1);
    }
}

#define UNDER_LOAD(name, from_format, to_format, is_active, story_of)                              \
    START_TEST(name)                                                                               \
    {                                                                                              \
        Run r = run_new(from_format, to_format);                                                   \
                                                                                                   \
        r.what.active = is_active;                                                                 \
        graph_run(story_of, &r);                                                                   \
        run_end(&r);                                                                               \
    }                                                                                              \
    END_TEST

UNDER_LOAD(lazy_pivot, "raw", "raw", false, pivot)
UNDER_LOAD(active_pivot, "raw", "qcow2", true, pivot)
UNDER_LOAD(lazy_pivot_qcow2, "qcow2", "qcow2", false, pivot)
UNDER_LOAD(lazy_copies, "qcow2", "raw", false, copies)
UNDER_LOAD(active_copies, "qcow2", "qcow2", true, copies)

/* Sections of either end come and go while the job works. */
static void coroutine_fn drains(void *data)
{
    Run *r = data;

    must_start(r);
    for (unsigned i = 0; i < 30; i++) {
        BlockNode *n = i % 3 == 0 ? r->target : i % 3 == 1 ? r->source : r->source->file;
        BlockDrain *drain = block_drain_begin(n);
        g_autofree unsigned *done = writers_done(r->w), *sent = NULL;

        g_assert_cmpuint(r->target->in_flight, ==, 0);
        if (n != r->target || r->what.active) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 2);
            sent = writers_done(r->w);
            g_assert(memcmp(done, sent, THREADS * STREAMS * sizeof *done) == 0);
        }
        block_drain_end(drain);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 2);
    }
    end_job(r, true);
    must_have_moved(r);
    check_moment(r, r->source);
}

UNDER_LOAD(drains_lazy, "qcow2", "qcow2", false, drains)
UNDER_LOAD(drains_active, "raw", "raw", true, drains)

/* Flushes of all disks get through sections: to the node whose edge moves as well. */
typedef struct {
    bool stop, ended;
} Flusher;

static void coroutine_fn flush_on(void *data)
{
    Flusher *f = data;

    while (!f->stop) {
        g_assert_cmpint(block_flush_all(), ==, 0);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    f->ended = true;
}

/* Between disk and source lies a node. */
static Run run_with_parent(void)
{
    Run r = run_new("raw", "raw");
    GError *err = NULL;

    writers_stop(r.w);
    writers_free(r.w);
    block_backend_detach(r.blk, true);
    graph_add("{'driver':'flaky','node-name':'over','file':'source'}");
    r.blk = graph_disk("over", "/machine/peripheral/a", &err);
    ck_no_error(err);
    r.parents = r.source->core->parents->len;
    r.w = writers_start(r.blk, THREADS, STREAMS);
    return r;
}

static void coroutine_fn flushed(void *data)
{
    Run *r = data;
    Flusher f = {0};

    flaky.flush_ns = NS_PER_MS;
    coroutine_start(flush_on, &f);
    for (unsigned i = 0; i < 8; i++) { /* to and fro */
        BlockNode *from = r->what.source;

        must_start(r);
        end_job(r, true);
        g_clear_pointer(&r->from, g_free);
        g_clear_pointer(&r->to, g_free);
        must_be_clean(r);
        g_assert(block_node_find("over")->file == r->what.target);
        r->what.source = r->what.target;
        r->what.target = from;
    }
    f.stop = true;
    while (!f.ended) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
}

START_TEST(flushed_meanwhile)
{
    Run r = run_with_parent();

    graph_run(flushed, &r);
    run_end(&r);
}
END_TEST

/* Each of the first writes to the target fails, one job after the other. */
static void coroutine_fn target_errors(void *data)
{
    Run *r = data;

    for (unsigned nth = 1; nth <= 12; nth++) {
        flaky = (Flaky){.fail_write_in = nth, .times = 1, .error = nth % 2 ? EIO : ENOSPC};
        r->what.on_target_error = BLOCK_ON_ERROR_REPORT;
        must_start(r);
        wait_end();
        g_assert(g_str_has_suffix(story->str, nth % 2
                                                  ? "ERROR COMPLETED:Input/output error "
                                                  : "ERROR COMPLETED:No space left on device "));
        g_string_truncate(story, 0);
        must_stay(r);
    }
    /* ENOSPC stops the job, and it goes on when there is room. */
    flaky = (Flaky){.fail_write_in = 3, .times = 1, .error = ENOSPC};
    r->what.on_target_error = BLOCK_ON_ERROR_ENOSPC;
    must_start(r);
    while (!job_is_paused_by_user(job())) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    writers_wait(r->w, 10); /* the guest does not notice */
    g_assert(job_resume(job(), NULL));
    wait_status(JOB_READY);
    g_assert(strstr(story->str, "ERROR ") && strstr(story->str, "READY "));
    /* What is ignored is tried again. */
    g_assert(job_cancel(job(), true, NULL));
    wait_end();
    g_assert(g_str_has_suffix(story->str, " CANCELLED "));
    g_string_truncate(story, 0);
    flaky = (Flaky){.fail_write_in = 2, .times = 1, .error = EIO};
    r->what.on_target_error = BLOCK_ON_ERROR_IGNORE;
    must_start(r);
    while (!strstr(story->str, "ERROR ") || !strstr(story->str, "READY ")) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    g_string_assign(story, "READY ");
    end_job(r, true);
    must_have_moved(r);
    check_moment(r, r->source);
}

UNDER_LOAD(target_errors_lazy, "raw", "raw", false, target_errors)
UNDER_LOAD(target_errors_active, "qcow2", "raw", true, target_errors)

/* The last section's copy fails: the disk stays. */
static void coroutine_fn last_copy_fails(void *data)
{
    Run *r = data;
    unsigned ends = 0;

    r->opts.auto_finalize = false;
    must_start(r);
    wait_status(JOB_READY);
    g_assert(job_complete(job(), NULL));
    wait_status(JOB_PENDING);
    writers_wait(r->w, 10);
    flaky.times = -1;
    flaky.error = EIO;
    __atomic_store_n(&flaky.fail_write_in, 1, __ATOMIC_SEQ_CST);
    writers_wait(r->w, 10);
    job_finalize(job(), NULL);
    wait_end();
    flaky = (Flaky){0};
    ends = g_str_has_suffix(story->str, "COMPLETED:Input/output error ");
    g_assert_cmpuint(ends, ==, 1);
    g_string_truncate(story, 0);
    must_stay(r);
    writers_wait(r->w, 5);
}

UNDER_LOAD(last_copy_error, "raw", "raw", false, last_copy_fails)
UNDER_LOAD(last_copy_error_active, "raw", "raw", true, last_copy_fails)

/* Cancelled in each state; paused and resumed. */
static void coroutine_fn cancels(void *data)
{
    Run *r = data;

    for (unsigned i = 0; i < 2; i++) {
        bool force = i;

        /* Before it is ready: slow, and in the middle of requests. */
        r->opts.speed = 4096;
        must_start(r);
        writers_wait(r->w, 3);
        g_assert(job_cancel(job(), force, NULL));
        wait_end();
        must_tell("CANCELLED ");
        must_stay(r);
        r->opts.speed = 0;

        must_start(r);
        wait_status(JOB_READY);
        g_assert(job_pause(job(), NULL));
        wait_status(JOB_STANDBY);
        writers_wait(r->w, 5);
        g_assert(job_resume(job(), NULL));
        wait_status(JOB_READY);
        g_assert(job_pause(job(), NULL));
        wait_status(JOB_STANDBY);
        g_assert(job_cancel(job(), true, NULL));
        wait_end();
        must_tell("READY CANCELLED ");
        must_stay(r);
    }
    /* With writes to the target that hang. */
    flaky = (Flaky){.hold = 1};
    must_start(r);
    while (!__atomic_load_n(&flaky.held, __ATOMIC_SEQ_CST)) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    g_assert(job_cancel(job(), true, NULL));
    coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    __atomic_store_n(&flaky.hold, 0, __ATOMIC_SEQ_CST);
    wait_end();
    must_tell("CANCELLED ");
    must_stay(r);
}

UNDER_LOAD(cancels_lazy, "raw", "raw", false, cancels)
UNDER_LOAD(cancels_active, "qcow2", "raw", true, cancels)

/* What a job has is refused to others. */
static void coroutine_fn refusals(void *data)
{
    Run *r = data;
    BlockMirror twice = r->what, self = r->what;
    JobOptions other = r->opts;
    GError *err = NULL;

    other.id = "k";
    self.target = self.source;
    g_assert(!block_mirror_start(&r->opts, &self, &err));
    g_assert_cmpstr(err->message, ==, "Can't mirror node into itself");
    g_clear_error(&err);
    must_start(r);
    g_assert(!block_mirror_start(&other, &twice, &err));
    g_assert_cmpstr(err->message, ==,
                    "Node 'source' is busy: block device is in use by block job: mirror");
    g_clear_error(&err);
    g_assert(block_resize(r->source, 2 * disk_length(), &err) < 0);
    g_clear_error(&err);
    g_assert(block_resize(r->target, 2 * disk_length(), &err) < 0);
    g_clear_error(&err);
    g_assert(!block_node_del_monitor_owned("target", &err));
    g_clear_error(&err);
    wait_status(JOB_READY);
    /* The program ends. */
    job_cancel_all_wait();
    must_tell("READY CANCELLED ");
    must_stay(r);
}

UNDER_LOAD(refused_to_others, "raw", "raw", false, refusals)

/* Chains: base <- source. What the disk does not hold itself is a sector of the base's. */

static void make_base(void)
{
    g_autofree char *sector = g_malloc(512);
    FILE *f;

    make_raw("base", disk_length() - UNIT / 2); /* a commit makes it longer */
    memset(sector, PATTERN, 512);
    f = fopen(tmp_path("base"), "r+");
    ck_assert(fseek(f, writers_disk(THREADS, STREAMS), SEEK_SET) == 0);
    ck_assert_uint_eq(fwrite(sector, 512, 1, f), 1);
    fclose(f);
}

static void make_overlay(const char *name, const char *below, const char *format)
{
    g_autofree char *options =
        g_strdup_printf("size=%zu,backing_file=%s,backing_fmt=%s", disk_length(), below,
                        format); /* from the overlay's folder */

    make_qcow2(name, options);
}

static Run run_chain(bool middle)
{
    GError *err = NULL;
    Run r = {0};

    story = g_string_new(NULL);
    job_set_event_handler(told, NULL);
    make_base();
    graph_add("{'driver':'raw','node-name':'base','read-only':true,'file':{'driver':'file',"
              "'filename':'%s'}}",
              tmp_path("base"));
    if (middle) {
        make_overlay("middle", "base", "raw");
        graph_add("{'driver':'qcow2','node-name':'middle','read-only':true,'backing':'base',"
                  "'file':{'driver':'file','filename':'%s'}}",
                  tmp_path("middle"));
    }
    make_overlay("source", middle ? "middle" : "base", middle ? "qcow2" : "raw");
    r.source = block_node_ref(graph_add("{'driver':'qcow2','node-name':'source','backing':'%s',"
                                        "'file':{'driver':'file','filename':'%s'}}",
                                        middle ? "middle" : "base", tmp_path("source")));
    r.blk = graph_disk("source", "/machine/peripheral/a", &err);
    ck_no_error(err);
    r.parents = r.source->core->parents->len;
    r.w = writers_start(r.blk, THREADS, STREAMS);
    r.what = (BlockMirror){.source = r.source, .sync = BLOCK_MIRROR_TOP, .unmap = true};
    r.opts = (JobOptions){.id = "j", .auto_finalize = true, .auto_dismiss = true};
    return r;
}

static void coroutine_fn chain_pivot(Run *r, const BlockMirrorTarget *t, const char *backing)
{
    GError *err = NULL;
    bool ok;

    writers_wait(r->w, 5);
    ok = block_drive_mirror_start(&r->opts, &r->what, t, &err);
    g_assert_no_error(err);
    g_assert(ok);
    r->target = block_node_ref(block_node_find("target"));
    end_job(r, true);
    must_have_moved(r);
    g_assert(!r->target->backing == !backing);
    g_assert(!backing || g_str_has_suffix(r->target->backing->filename, backing));
    check_moment(r, r->source);
    writers_wait(r->w, 10);
}

static void coroutine_fn top_pivot(void *data)
{
    BlockMirrorTarget t = {.filename = tmp_path("new"), .node_name = "target"};
    Run *r = data;

    chain_pivot(r, &t, "base");
    g_assert(r->target->backing == block_node_find("base"));
}

static void coroutine_fn existing_pivot(void *data)
{
    BlockMirrorTarget t = {
        .filename = tmp_path("new"), .node_name = "target", .existing = true, .format = "qcow2"};

    make_overlay("new", "base", "raw");
    chain_pivot(data, &t, "base");
}

static void coroutine_fn full_pivot(void *data)
{
    BlockMirrorTarget t = {.filename = tmp_path("new"), .node_name = "target", .format = "raw"};
    Run *r = data;

    r->what.sync = BLOCK_MIRROR_FULL;
    chain_pivot(r, &t, NULL);
}

/* The target's backing file is the source itself, in which nothing changes any more. */
static void coroutine_fn none_pivot(void *data)
{
    BlockMirrorTarget t = {.filename = tmp_path("new"), .node_name = "target"};
    Run *r = data;
    GError *err = NULL;
    bool ok;

    r->what.sync = BLOCK_MIRROR_NONE;
    writers_wait(r->w, 5);
    ok = block_drive_mirror_start(&r->opts, &r->what, &t, &err);
    g_assert_no_error(err);
    g_assert(ok);
    r->target = block_node_ref(block_node_find("target"));
    end_job(r, true);
    must_be_clean(r);
    g_assert(block_backend_node(r->blk) == r->target && r->target->backing == r->source);
    check_moment(r, r->source);
    writers_wait(r->w, 10);
}

static void coroutine_fn commit_pivot(void *data)
{
    Run *r = data;
    BlockNode *base = block_node_find("base");
    BlockCommitActive what = {.top = r->source, .base = base};
    GError *err = NULL;
    bool ok;

    writers_wait(r->w, 5);
    r->target = block_node_ref(base);
    ok = block_commit_active_start(&r->opts, &what, &err);
    g_assert_no_error(err);
    g_assert(ok);
    /* Once more, without the pivot first. */
    end_job(r, false);
    must_be_clean(r);
    g_assert(block_backend_node(r->blk) == r->source);
    g_assert(base->read_only);
    check_moment(r, base);
    g_assert(block_commit_active_start(&r->opts, &what, &err));
    end_job(r, true);
    must_be_clean(r);
    g_assert(block_backend_node(r->blk) == base && !base->read_only);
    check_moment(r, r->source);
    writers_wait(r->w, 10);
}

#define CHAIN(name, is_active, middle, story_of)                                                   \
    START_TEST(name)                                                                               \
    {                                                                                              \
        Run r = run_chain(middle);                                                                 \
                                                                                                   \
        r.what.active = is_active;                                                                 \
        graph_run(story_of, &r);                                                                   \
        run_end(&r);                                                                               \
    }                                                                                              \
    END_TEST

CHAIN(top_lazy, false, false, top_pivot)
CHAIN(top_active, true, false, top_pivot)
CHAIN(existing_lazy, false, false, existing_pivot)
CHAIN(existing_active, true, false, existing_pivot)
CHAIN(full_of_chain, false, true, full_pivot)
CHAIN(none_lazy, false, false, none_pivot)
CHAIN(none_active, true, false, none_pivot)
CHAIN(commit_active, false, true, commit_pivot)

/* Nothing comes between the filter, which locks ranges of the disk, and the disk. */
static void coroutine_fn insert_below(void *data)
{
    Run *r = data;
    GError *err = NULL;
    BlockNode *between;

    must_start(r);
    wait_status(JOB_READY);
    between = block_node_ref(graph_add("{'driver':'raw','node-name':'between','file':'source'}"));
    g_assert(!block_insert_above(between, r->source, &err));
    ck_error(err, "mirror job 'j' relies on it");
    writers_wait(r->w, 5);
    block_node_unref(between);
    g_assert(block_node_del_monitor_owned("between", &err));
    end_job(r, true);
    must_have_moved(r);
}

START_TEST(nothing_between)
{
    Run r = run_new("qcow2", "raw");

    r.what.active = true;
    graph_run(insert_below, &r);
    run_end(&r);
}
END_TEST

/*
 * What a guest makes zero at once may be as large as the disk: no buffer is, on the way to a target
 * that is written to in whole clusters. And it is zero in the target, whose backing file has data
 * there, and is open only when the disk moves.
 */
static void coroutine_fn zero_all(void *data)
{
    BlockMirrorTarget t = {
        .filename = tmp_path("new"), .node_name = "target", .existing = true, .format = "qcow2"};
    BlockRequest req = {.op = BLOCK_OP_WRITE_ZEROES, .offset = 512, .bytes = LARGE - 1536};
    g_autofree uint8_t *source = NULL, *target = NULL;
    Run *r = data;
    GError *err = NULL;

    g_assert(block_drive_mirror_start(&r->opts, &r->what, &t, &err));
    r->target = block_node_ref(block_node_find("target"));
    wait_status(JOB_READY);
    flaky.longest_read = 0;
    g_assert_cmpint(block_backend_co_io(r->blk, &req), ==, 0);
    g_assert_cmpuint(flaky.longest_read, <=, 1 << 20);
    g_assert(job_complete(job(), &err));
    wait_end();
    g_assert(block_backend_node(r->blk) == r->target);
    source = read_all(r->source);
    target = read_all(r->target);
    g_assert(!memcmp(source, target, LARGE) && source[0] == PATTERN && source[LARGE - 1]);
}

static void zero_large(bool active)
{
    Run r = {.opts = {.id = "j", .auto_finalize = true, .auto_dismiss = true}};
    g_autofree char *content = g_strnfill(LARGE, 'b');
    GError *err = NULL;

    flaky_install();
    ck_assert(g_file_set_contents(tmp_path("base"), content, LARGE, NULL));
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *options =
            g_strdup_printf("size=%d,backing_file=base,backing_fmt=raw", LARGE);

        make_qcow2(i ? "new" : "source", options);
    }
    graph_add("{'driver':'raw','node-name':'base','file':{'driver':'file','filename':'%s'}}",
              tmp_path("base"));
    graph_add("{'driver':'qcow2','node-name':'source','backing':'base',"
              "'file':{'driver':'file','filename':'%s'}}",
              tmp_path("source"));
    r.source = block_node_ref(graph_add("{'driver':'flaky','node-name':'disk','file':'source'}"));
    r.blk = graph_disk("disk", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(r.blk, 0, PATTERN), 0);
    ck_assert_int_eq(fill(r.blk, LARGE - 512, PATTERN), 0);
    r.what = (BlockMirror){.source = r.source, .sync = BLOCK_MIRROR_TOP, .active = active};
    graph_run(zero_all, &r);
    block_backend_detach(r.blk, true);
    block_node_unref(r.source);
    block_node_unref(r.target);
}

START_TEST(large_active)
{
    zero_large(true);
}
END_TEST

START_TEST(large_lazy)
{
    zero_large(false);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        lazy_pivot,
        active_pivot,
        lazy_pivot_qcow2,
        lazy_copies,
        active_copies,
        drains_lazy,
        drains_active,
        flushed_meanwhile,
        target_errors_lazy,
        target_errors_active,
        last_copy_error,
        last_copy_error_active,
        cancels_lazy,
        cancels_active,
        refused_to_others,
        top_lazy,
        top_active,
        existing_lazy,
        existing_active,
        full_of_chain,
        none_lazy,
        none_active,
        commit_active,
        large_active,
        large_lazy,
        nothing_between,
        NULL,
    };

    unit_fork_always();
    return fixture_run("mirror", tests);
}

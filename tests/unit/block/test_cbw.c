/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-before-write and snapshot-access: what the snapshot shows is what was on the disk when the
 * filter came, whatever other threads write meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include "../../../block/core.h"
#include "block/dirty_bitmap.h"
#include "block/graph.h"
#include "flaky.h"
#include "graph_fixture.h"
#include "writers.h"

enum { THREADS = 2, STREAMS = 40, READS = 300 };

typedef struct {
    BlockBackend *disk;
    BlockNode *source, *filter, *access, *target;
    Writers *writers;
    uint8_t *was; /* the disk's content when the filter came */
    size_t length;
    GRand *rand;
    GError *err;
    bool ok;
} Run;

/* Puts the filter above the disk, and keeps what was on it then. */
static void coroutine_fn filter_insert(void *data)
{
    Run *r = data;
    BlockDrain *drain = block_drain_begin(r->source);

    r->was = g_malloc(r->length);
    g_assert_cmpint(block_pread(r->source, 0, r->was, r->length), ==, 0);
    g_assert(block_insert_above(r->filter, r->source, &r->err));
    block_drain_end(drain);
}

static void coroutine_fn filter_remove(void *data)
{
    Run *r = data;

    g_assert(block_remove_filter(r->filter, r->source, &r->err));
}

static void coroutine_fn check_range(Run *r, BlockNode *n, uint64_t off, uint64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    g_assert_cmpint(block_pread(n, off, buf, bytes), ==, 0);
    if (memcmp(buf, r->was + off, bytes)) {
        g_error("the snapshot differs at %" PRIu64 ", +%" PRIu64, off, bytes);
    }
}

static void coroutine_fn check_at_random(Run *r, BlockNode *n, unsigned reads)
{
    for (unsigned i = 0; i < reads; i++) {
        uint64_t off = g_rand_int_range(r->rand, 0, r->length / 512) * 512ull;
        uint64_t bytes = g_rand_int_range(r->rand, 1, 300) * 512ull;

        check_range(r, n, off, MIN(bytes, r->length - off));
    }
    check_range(r, n, 0, r->length);
}

static void coroutine_fn check_access(void *data)
{
    Run *r = data;

    writers_wait(r->writers, 1);
    check_at_random(r, r->access, READS);
}

static void coroutine_fn check_target(void *data)
{
    Run *r = data;

    writers_wait(r->writers, 1);
    check_at_random(r, r->target, READS);
}

static void coroutine_fn write_a_while(void *data)
{
    writers_wait(((Run *)data)->writers, 20);
}

static Run run_new(const char *format, const char *source_options)
{
    Run r = {.length = writers_disk(THREADS, STREAMS), .rand = g_rand_new_with_seed(7)};
    g_autofree char *size = g_strdup_printf("size=%zu%s", r.length, source_options);

    if (g_str_equal(format, "raw")) {
        make_raw("a", r.length);
    } else {
        make_qcow2("a", size);
    }
    r.source = graph_add("{'driver':'%s','node-name':'a','discard':'unmap','file':{'driver':'file',"
                         "'filename':'%s'}}",
                         format, tmp_path("a"));
    r.disk = graph_disk("a", "/machine/peripheral/a", &r.err);
    ck_no_error(r.err);
    r.writers = writers_start(r.disk, THREADS, STREAMS);
    return r;
}

/* 'target': options of the target node, after its name. */
static void run_filter(Run *r, const char *target, const char *options)
{
    r->target = graph_add("{'node-name':'t',%s}", target);
    r->filter = graph_add(
        "{'driver':'copy-before-write','node-name':'f','file':'a','target':'t'%s}", options);
    graph_run(filter_insert, r);
    r->access = graph_add("{'driver':'snapshot-access','node-name':'s','discard':'unmap',"
                          "'file':'f'}");
    ck_assert_ptr_eq(block_backend_node(r->disk), r->filter);
}

static char *target_qcow2(Run *r, const char *options, const char *more)
{
    g_autofree char *all = g_strdup_printf("size=%zu%s", r->length, options);

    make_qcow2("t", all);
    return g_strdup_printf("'driver':'qcow2','discard':'unmap','file':{'driver':'file',"
                           "'filename':'%s'}%s",
                           tmp_path("t"), more);
}

/* The disk itself has all that was written. */
static void run_end(Run *r)
{
    g_autofree uint8_t *disk = g_malloc(r->length);
    g_autofree unsigned *end = NULL;

    writers_stop(r->writers);
    end = writers_done(r->writers);
    ck_assert_int_eq(do_io(r->disk, BLOCK_OP_READ, 0, disk, r->length), 0);
    writers_check(r->writers, disk, end, end);
    writers_free(r->writers);
    block_backend_detach(r->disk, true);
    g_rand_free(r->rand);
    g_free(r->was);
}

static void snapshot_under_load(const char *format, const char *source_options,
                                const char *target_options)
{
    Run r = run_new(format, source_options);
    g_autofree char *target = target_qcow2(&r, target_options, "");

    graph_run(write_a_while, &r);
    run_filter(&r, target, "");
    graph_run(check_access, &r);
    graph_run(filter_remove, &r);
    ck_assert_ptr_eq(block_backend_node(r.disk), r.source);
    graph_run(write_a_while, &r);
    run_end(&r);
}

START_TEST(snapshot_raw)
{
    snapshot_under_load("raw", "", "");
}
END_TEST

START_TEST(snapshot_qcow2)
{
    snapshot_under_load("qcow2", ",cluster_size=4k", ",cluster_size=128k");
}
END_TEST

/* The way of old: the target's backing file is the disk, and the target is what is read. */
START_TEST(fleecing)
{
    Run r = run_new("qcow2", "");
    g_autofree char *target = target_qcow2(&r, "", ",'backing':'a'");

    graph_run(write_a_while, &r);
    run_filter(&r, target, "");
    graph_run(check_target, &r);
    graph_run(check_access, &r);
    graph_run(filter_remove, &r);
    run_end(&r);
}
END_TEST

/* A target on a filter whose requests fail. */
static void flaky_run(Run *r, const char *options, int fail_in)
{
    g_autofree char *target = NULL;

    flaky_install();
    flaky.fail_write_in = fail_in;
    make_raw("t", r->length);
    target =
        g_strdup_printf("'driver':'flaky','file':{'driver':'file','filename':'%s'}", tmp_path("t"));
    run_filter(r, target, options);
}

static void coroutine_fn read_broken(void *data)
{
    Run *r = data;
    char buf[512];

    writers_wait(r->writers, 10);
    r->ok = block_pread(r->access, 0, buf, sizeof buf) == -EACCES;
}

START_TEST(breaks_snapshot)
{
    Run r = run_new("raw", "");

    flaky_run(&r, ",'on-cbw-error':'break-snapshot'", 1);
    graph_run(read_broken, &r);
    ck_assert(r.ok);
    graph_run(filter_remove, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn check_after_errors(void *data)
{
    Run *r = data;

    while (__atomic_load_n(&flaky.writes, __ATOMIC_SEQ_CST) < 40) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    __atomic_store_n(&flaky.fail_write_in, 0, __ATOMIC_SEQ_CST);
    check_at_random(r, r->access, 50);
    writers_wait(r->writers, 5);
    check_at_random(r, r->access, 50);
}

/* The guest's writes fail, and the snapshot stays whole. */
START_TEST(breaks_guest)
{
    Run r = run_new("raw", "");

    writers_may_fail(r.writers);
    flaky_run(&r, "", 3);
    graph_run(check_after_errors, &r);
    graph_run(filter_remove, &r);
    run_end(&r);
}
END_TEST

/* Without writers: requests one by one. */
static Run quiet_run(const char *options)
{
    Run r = run_new("raw", "");

    writers_stop(r.writers);
    flaky_run(&r, options, 0);
    return r;
}

typedef struct {
    Run *r;
    unsigned ended;
    int ret;
} OneWrite;

static void coroutine_fn one_write(void *data)
{
    OneWrite *w = data;
    char buf[512] = {1};
    struct iovec iov = {buf, sizeof buf};
    BlockRequest req = {.op = BLOCK_OP_WRITE, .bytes = sizeof buf, .iov = &iov, .niov = 1};

    w->ret = block_backend_co_io(w->r->disk, &req);
    w->ended++;
}

/* A target that hangs: the write fails after a second, the snapshot is good when the target is. */
START_TEST(times_out)
{
    Run r = quiet_run(",'cbw-timeout':1");
    OneWrite w = {.r = &r};

    flaky.hold = 1;
    coroutine_start(one_write, &w);
    while (!w.ended) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_int_eq(w.ret, -ETIMEDOUT);
    __atomic_store_n(&flaky.hold, 0, __ATOMIC_SEQ_CST);
    coroutine_start(one_write, &w);
    while (w.ended < 2) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_int_eq(w.ret, 0);
    graph_run(filter_remove, &r);
    writers_free(r.writers);
    block_backend_detach(r.disk, true);
    g_rand_free(r.rand);
    g_free(r.was);
}
END_TEST

typedef struct {
    BlockNode *node;
    int ret, byte;
    bool ended;
} OneRead;

static void coroutine_fn one_read(void *data)
{
    OneRead *o = data;
    uint8_t buf[512];

    o->ret = block_pread(o->node, 0, buf, sizeof buf);
    o->byte = buf[0];
    o->ended = true;
}

/*
 * Somebody reads the snapshot from the disk, and the guest wants to write there. 'below': by the
 * target, whose backing file is the disk.
 */
static void write_meets_reader(bool below)
{
    Run r = {.length = MiB};
    OneWrite w = {.r = &r};
    OneRead o = {0};

    flaky_install();
    make_raw("a", r.length);
    r.source = graph_add("{'driver':'flaky','node-name':'a','file':{'driver':'file',"
                         "'filename':'%s'}}",
                         tmp_path("a"));
    r.disk = graph_disk("a", "/machine/peripheral/a", &r.err);
    ck_no_error(r.err);
    {
        g_autofree char *target = target_qcow2(&r, "", below ? ",'backing':'a'" : "");
        run_filter(&r, target, "");
    }
    o.node = below ? r.target : r.access;
    flaky.hold_reads = 1;
    coroutine_start(one_read, &o);
    while (!flaky.reads_held) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    flaky.hold_reads = 0;
    coroutine_start(one_write, &w);
    for (unsigned i = 0; i < 40; i++) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_uint_eq(w.ended, 0);
    flaky.let_go = 1;
    while (!w.ended || !o.ended) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_int_eq(w.ret, 0);
    ck_assert_int_eq(o.ret, 0);
    ck_assert_int_eq(o.byte, 0);
    ck_assert_int_eq(peek(r.disk, 0), 0);
    o.ended = false;
    coroutine_start(one_read, &o);
    turn_until(&o.ended);
    ck_assert_int_eq(o.byte, 0);
    block_backend_detach(r.disk, true);
    g_free(r.was);
}

START_TEST(write_waits_for_access)
{
    write_meets_reader(false);
}
END_TEST

START_TEST(write_waits_for_target)
{
    write_meets_reader(true);
}
END_TEST

static void coroutine_fn discard_first(void *data)
{
    Run *r = data;
    char buf[512];
    uint64_t n;

    /* A part of a cluster stays. */
    g_assert_cmpint(block_pdiscard(r->access, 0, 64 * KiB), ==, 0);
    g_assert_cmpint(block_pdiscard(r->access, 128 * KiB, 4 * KiB), ==, 0);
    g_assert_cmpint(block_pread(r->access, 64 * KiB - 512, buf, 512), ==, -EACCES);
    g_assert_cmpint(block_status(r->access, 0, 4 * KiB, &n, NULL, NULL), ==, -EACCES);
    g_assert_cmpint(block_pread(r->access, 64 * KiB, buf, 512), ==, 0);
    g_assert_cmpint(block_pread(r->access, 128 * KiB, buf, 512), ==, 0);
    g_assert_cmpint(block_pwrite(r->access, 0, buf, 512, 0), ==, -ENOTSUP);
    g_assert_cmpint(block_pwrite_zeroes(r->access, 0, 512, 0), ==, -ENOTSUP);
}

/* What the snapshot's user has discarded is not copied any more. */
START_TEST(discarded)
{
    Run r = quiet_run("");
    OneWrite w = {.r = &r};
    GError *err = NULL;

    graph_run(discard_first, &r);
    flaky.writes = 0;
    coroutine_start(one_write, &w);
    while (!w.ended) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_int_eq(w.ret, 0);
    ck_assert_int_eq(flaky.writes, 0);
    /* The node below is no filter of this kind. */
    json_auto_t *tree = parse_tree("{'driver':'snapshot-access','node-name':'x','file':'t'}");
    ck_assert(!block_node_add_monitor_owned(tree, &err));
    ck_error(err, "'file' of a snapshot-access node has to be a copy-before-write filter");
    writers_free(r.writers);
    block_backend_detach(r.disk, true);
    g_rand_free(r.rand);
    g_free(r.was);
}
END_TEST

static void coroutine_fn resize_refused(void *data)
{
    Run *r = data;
    GError *err = NULL;

    g_assert_cmpint(block_resize(r->source, r->length * 2, &err), <, 0);
    g_clear_error(&err);
    g_assert_cmpint(block_resize(r->target, r->length * 2, &err), <, 0);
    ck_error(err, "Permission conflict");
}

/* Nobody else writes to the disk below the filter, nor gives it or the target another length. */
START_TEST(alone)
{
    Run r = quiet_run("");
    GError *err = NULL;

    ck_assert_ptr_null(graph_disk("a", "/machine/peripheral/x", &err));
    ck_error(err, "Permission conflict on node 'a'");
    graph_run(resize_refused, &r);
    make_raw("short", r.length / 2);
    graph_add("{'driver':'raw','node-name':'short','file':{'driver':'file','filename':'%s'}}",
              tmp_path("short"));
    json_auto_t *tree = parse_tree("{'driver':'copy-before-write','node-name':'g','file':'a',"
                                   "'target':'short'}");
    ck_assert(!block_node_add_monitor_owned(tree, &err));
    ck_error(err, "Source and target image have different sizes");
    writers_free(r.writers);
    block_backend_detach(r.disk, true);
    g_rand_free(r.rand);
    g_free(r.was);
}
END_TEST

static void coroutine_fn bitmap_first_cluster(void *data)
{
    Run *r = data;
    BlockDirtyBitmap *b = block_dirty_bitmap_new(r->source, "b", 0, &r->err);

    block_dirty_bitmap_set(b, 0, 4 * KiB);
}

static void coroutine_fn shows_first_cluster(void *data)
{
    Run *r = data;
    char buf[512];

    g_assert_cmpint(block_pread(r->access, 64 * KiB - 512, buf, 512), ==, 0);
    g_assert_cmpint(block_pread(r->access, 64 * KiB, buf, 512), ==, -EACCES);
}

/* Only what is dirty in the bitmap is copied and shown. */
START_TEST(by_bitmap)
{
    Run r = run_new("raw", "");
    GError *err = NULL;
    char data[512] = {1};

    writers_stop(r.writers);
    graph_run(bitmap_first_cluster, &r);
    flaky_run(&r, ",'bitmap':{'node':'a','name':'b'}", 0);
    flaky.writes = 0;
    ck_assert_int_eq(do_io(r.disk, BLOCK_OP_WRITE, 64 * KiB, data, sizeof data), 0);
    ck_assert_int_eq(flaky.writes, 0);
    ck_assert_int_eq(do_io(r.disk, BLOCK_OP_WRITE, 8 * KiB, data, sizeof data), 0);
    ck_assert_int_eq(flaky.writes, 1);
    graph_run(shows_first_cluster, &r);
    json_auto_t *tree = parse_tree("{'driver':'copy-before-write','node-name':'g','file':'a',"
                                   "'target':'t','bitmap':{'node':'a','name':'x'}}");
    ck_assert(!block_node_add_monitor_owned(tree, &err));
    ck_error(err, "Dirty bitmap 'x' not found");
    writers_free(r.writers);
    block_backend_detach(r.disk, true);
    g_rand_free(r.rand);
    g_free(r.was);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {snapshot_raw,
                                  snapshot_qcow2,
                                  fleecing,
                                  breaks_snapshot,
                                  breaks_guest,
                                  write_waits_for_access,
                                  write_waits_for_target,
                                  times_out,
                                  discarded,
                                  by_bitmap,
                                  alone,
                                  NULL};

    return fixture_run("cbw", tests);
}

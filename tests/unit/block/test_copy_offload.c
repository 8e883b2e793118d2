/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs whose data the kernel copies, or does not: a file system that copies, refuses, and fails as
 * the test says, while other threads write to the disk.
 */
#include <errno.h>
#include "../../../block/core.h"
#include "block/copy_offload.h"
#include "block/dirty_bitmap.h"
#include "block/mirror_job.h"
#include "block/transaction.h"
#include "cloner.h"
#include "graph_fixture.h"
#include "writers.h"

/* The disk ends in the middle of a unit of the file system. */
enum { THREADS = 2, STREAMS = 24, TAIL = 512, REFUSALS = 16, BEGINNING = 256 * 1024 };

typedef struct {
    BlockBackend *blk;
    BlockNode *source, *target; /* references */
    Writers *w;
    BlockMirror what;
    JobOptions opts;
    const char *args; /* of a backup: more members, each with a comma in front */
    unsigned *from, *to;
    char *error; /* of the job that was waited for */
} Run;

static bool still; /* nobody writes, and all of the disk has data */

static size_t disk_length(void)
{
    return writers_disk(THREADS, STREAMS) + UNIT + TAIL;
}

static BlockNode *add_image(const char *name, const char *format, const char *more)
{
    g_autofree char *size = g_strdup_printf("size=%zu,cluster_size=16k", disk_length());

    if (g_str_equal(format, "raw")) {
        make_raw(name, disk_length());
    } else {
        make_qcow2(name, size);
    }
    return block_node_ref(graph_add("{'driver':'%s','node-name':'%s'%s,"
                                    "'file':{'driver':'cloner','filename':'%s'}}",
                                    format, name, more, tmp_path(name)));
}

static Run run_new(const char *format, const char *target_format, const char *target_options)
{
    g_autofree uint8_t *data = g_malloc0(disk_length());
    size_t from = still ? 0 : disk_length() - TAIL;
    GError *err = NULL;
    Run r = {.args = ""};

    cloner_install();
    r.source = add_image("source", format, "");
    r.target = add_image("target", target_format, target_options);
    r.blk = graph_disk("source", "/machine/peripheral/a", &err);
    ck_no_error(err);
    memset(data + from, PATTERN, disk_length() - from);
    ck_assert_int_eq(do_io(r.blk, BLOCK_OP_WRITE, from, data + from, disk_length() - from), 0);
    if (from) {
        /* The beginning is no hole: whether the guest has written somewhere depends on time. */
        ck_assert_int_eq(do_io(r.blk, BLOCK_OP_WRITE, 0, data, BEGINNING), 0);
    }
    r.w = still ? NULL : writers_start(r.blk, THREADS, STREAMS);
    r.what = (BlockMirror){
        .source = r.source, .target = r.target, .sync = BLOCK_MIRROR_FULL, .granularity = 16384};
    r.opts = (JobOptions){.id = "j", .auto_finalize = true, .auto_dismiss = false};
    return r;
}

static void run_end(Run *r)
{
    g_autofree uint8_t *disk = g_malloc(disk_length());
    g_autofree unsigned *end = NULL;

    if (r->w) {
        writers_stop(r->w);
        end = writers_done(r->w);
        ck_assert_int_eq(do_io(r->blk, BLOCK_OP_READ, 0, disk, disk_length()), 0);
        writers_check(r->w, disk, end, end);
        ck_assert_uint_eq(disk[disk_length() - 1], PATTERN);
        writers_free(r->w);
    }
    block_backend_detach(r->blk, true);
    block_node_unref(r->source);
    block_node_unref(r->target);
    g_free(r->from);
    g_free(r->to);
    g_free(r->error);
}

static int asked(void)
{
    return __atomic_load_n(&cloner.asked, __ATOMIC_SEQ_CST);
}

static int done(void)
{
    return __atomic_load_n(&cloner.done, __ATOMIC_SEQ_CST);
}

static Job *job(void)
{
    return job_find("j", NULL);
}

/* Until it is in this state, or concluded: then it is dismissed. */
static void coroutine_fn wait_job(Run *r, JobStatus status)
{
    while (job()->status != status && job()->status != JOB_CONCLUDED) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    if (job()->status == JOB_CONCLUDED) {
        g_free(r->error);
        r->error = g_strdup(job()->error);
        g_assert(job_dismiss(job(), NULL));
    }
}

static void coroutine_fn check_moment(Run *r, BlockNode *n)
{
    g_autofree uint8_t *disk = g_malloc(disk_length());

    g_assert_cmpint(block_pread(n, 0, disk, disk_length()), ==, 0);
    writers_check(r->w, disk, r->from, r->to);
    g_assert_cmpuint(disk[disk_length() - 1], ==, PATTERN);
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

/* --- mirrors --- */

static void coroutine_fn mirror_start(Run *r)
{
    GError *err = NULL;
    bool ok = block_mirror_start(&r->opts, &r->what, &err);

    g_assert_no_error(err);
    g_assert(ok);
}

/* The disk stays, and the target has what was on the disk at one moment. */
static void coroutine_fn mirror_once(void *data)
{
    Run *r = data;

    writers_wait(r->w, 3);
    mirror_start(r);
    wait_job(r, JOB_READY);
    g_assert_cmpstr(r->error, ==, NULL);
    g_assert_cmpuint(job()->done, >=, disk_length());
    writers_wait(r->w, 10);
    r->from = writers_done(r->w);
    g_assert(job_cancel(job(), false, NULL));
    wait_job(r, JOB_CONCLUDED);
    r->to = writers_sent(r->w);
    g_assert_cmpstr(r->error, ==, NULL);
    check_moment(r, r->target);
    check_image(r->target);
}

#define MIRROR(name, format, target_format, is_active, every)                                      \
    START_TEST(name)                                                                               \
    {                                                                                              \
        Run r = run_new(format, target_format, "");                                                \
                                                                                                   \
        r.what.active = is_active;                                                                 \
        cloner.refuse_every = every;                                                               \
        graph_run(mirror_once, &r);                                                                \
        /* The guest's writes may leave nothing to an active mirror. */                            \
        ck_assert_int_ge(done(), is_active ? 0 : 1);                                               \
        ck_assert_uint_eq(cloner.flags &BLOCK_COPY_SHARE, asked() ? BLOCK_COPY_SHARE : 0);         \
        ck_assert(!(cloner.flags & BLOCK_COPY_HOLDS_RANGE));                                       \
        run_end(&r);                                                                               \
    }                                                                                              \
    END_TEST

MIRROR(mirror_raw, "raw", "raw", false, 0)
MIRROR(mirror_active, "raw", "qcow2", true, 0)
MIRROR(mirror_qcow2, "qcow2", "qcow2", false, 0)
MIRROR(mirror_to_raw, "qcow2", "raw", true, 0)
MIRROR(mirror_refused, "raw", "raw", false, 3)
MIRROR(mirror_refused_active, "qcow2", "qcow2", true, 3)

/* What the kernel says at first it says of all: it is not asked again. */
START_TEST(never_here)
{
    Run r = run_new("raw", "raw", "");

    cloner.refuse_every = 1;
    graph_run(mirror_once, &r);
    ck_assert_int_ge(asked(), 1);
    ck_assert_int_le(asked(), 16); /* those that were under way */
    run_end(&r);
}
END_TEST

/* An error that reading and writing has not is no error. */
START_TEST(error_of_the_copy)
{
    Run r = run_new("raw", "qcow2", "");

    cloner.refuse_every = 2;
    cloner.refuse_by = EIO;
    graph_run(mirror_once, &r);
    ck_assert_int_gt(done(), 0);
    run_end(&r);
}
END_TEST

static void coroutine_fn mirror_fails(void *data)
{
    Run *r = data;

    mirror_start(r);
    wait_job(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, g_strerror(ENOSPC));
}

/* One that it has as well is told. */
START_TEST(error_of_the_target)
{
    Run r = run_new("raw", "raw", "");

    cloner.refuse_every = 1;
    cloner.refuse_by = ENOSPC;
    /* The guest's writes fail as well. */
    writers_may_fail(r.w);
    cloner.fail_write = ENOSPC;
    graph_run(mirror_fails, &r);
    cloner.fail_write = 0;
    run_end(&r);
}
END_TEST

static void coroutine_fn mirror_waits(void *data)
{
    Run *r = data;

    r->opts.speed = 1;
    mirror_start(r);
    while (!done()) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    coroutine_sleep(CLOCK_REALTIME_NS, 20 * NS_PER_MS);
    g_assert_cmpint(asked(), ==, 1);
    g_assert_cmpint(job()->status, ==, JOB_RUNNING);
    g_assert(job_cancel(job(), true, NULL));
    wait_job(r, JOB_CONCLUDED);
}

START_TEST(mirror_speed)
{
    Run r;

    still = true;
    r = run_new("raw", "raw", "");
    graph_run(mirror_waits, &r);
    run_end(&r);
    still = false;
}
END_TEST

static void coroutine_fn bitmap_of_target(void *data)
{
    Run *r = data;
    json_auto_t *args = parse_tree("{'node':'target','name':'b','granularity':16384}");

    g_assert(block_action_run("block-dirty-bitmap-add", args, NULL));
    mirror_once(r);
    g_assert_cmpuint(block_dirty_bitmap_count(block_dirty_bitmap_find(r->target, "b")), >=,
                     disk_length());
}

START_TEST(target_is_dirty)
{
    Run r = run_new("raw", "raw", "");

    graph_run(bitmap_of_target, &r);
    ck_assert_int_gt(done(), 0);
    run_end(&r);
}
END_TEST

/* Of what is shared zeroes take no space: that is no reason to read all. */
START_TEST(detect_zeroes)
{
    Run r = run_new("raw", "raw", ",'detect-zeroes':'on'");

    graph_run(mirror_once, &r);
    ck_assert_int_gt(done(), 0);
    run_end(&r);
}
END_TEST

/* --- what lies between --- */

typedef struct {
    BlockNode *src, *dst;
    uint64_t off, bytes, by_hand;
    BlockOffloadMode mode, after;
} Piece;

static int coroutine_fn count_by_hand(void *data, uint64_t off, uint64_t bytes)
{
    Piece *p = data;
    g_autofree void *buf = g_malloc(bytes);

    p->by_hand += bytes;
    g_assert_cmpint(block_pread(p->src, p->off + off, buf, bytes), ==, 0);
    g_assert_cmpint(block_pwrite(p->dst, p->off + off, buf, bytes, 0), ==, 0);
    return 0;
}

static int coroutine_fn offload_piece(BlockOffload *o, Piece *p)
{
    BlockOffloadRange r = {.src = p->src,
                           .dst = p->dst,
                           .src_off = p->off,
                           .dst_off = p->off,
                           .bytes = p->bytes,
                           .by_hand = count_by_hand,
                           .data = p};

    return block_offload_copy(o, &r);
}

static int coroutine_fn copy_piece(void *data)
{
    Piece *p = data;
    BlockOffload o;
    int ret;

    block_offload_init(&o, p->mode, p->dst);
    ret = offload_piece(&o, p);
    p->after = block_offload_mode(&o);
    return ret;
}

/* Copies from a node above the file 'data', whose content is what the other file then has. */
static uint64_t by_hand(BlockNode *src, BlockNode *dst, uint64_t off, uint64_t bytes)
{
    Piece p = {src, dst, off, bytes, .mode = BLOCK_OFFLOAD_TRY};
    g_autofree char *want = NULL, *is = NULL;
    gsize length;

    ck_assert_int_eq(block_run(copy_piece, &p), 0);
    ck_assert_int_eq(p.after, p.by_hand < bytes ? BLOCK_OFFLOAD_SHARE : BLOCK_OFFLOAD_TRY);
    ck_assert(g_file_get_contents(tmp_path("data"), &want, &length, NULL));
    ck_assert(g_file_get_contents(tmp_path("copy"), &is, &length, NULL));
    ck_assert(memcmp(want + off, is + off, bytes) == 0);
    return p.by_hand;
}

static void make_data(const char *name)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autofree uint8_t *data = g_malloc(MiB);

    for (unsigned i = 0; i < MiB; i++) {
        data[i] = g_rand_int(rand);
    }
    ck_assert(g_file_set_contents(tmp_path(name), (char *)data, MiB, NULL));
}

static BlockNode *add_file(const char *name)
{
    return graph_add("{'driver':'raw','node-name':'%s','file':{'driver':'cloner','filename':'%s'}}",
                     name, tmp_path(name));
}

START_TEST(between)
{
    BlockNode *src, *dst;

    cloner_install();
    make_data("data");
    make_raw("copy", MiB);
    src = add_file("data");
    dst = add_file("copy");
    ck_assert_uint_eq(by_hand(src, dst, 0, MiB), 0);
    /* Whole units, and the rest by hand. */
    ck_assert_uint_eq(by_hand(src, dst, 512, 3 * 4096), 4096);
    ck_assert_uint_eq(by_hand(src, dst, 512, 1024), 1024);
    ck_assert_uint_eq(by_hand(src, dst, 8192, 4096 + 512), 512);
    /* Filters that do something with what is read. */
    graph_add("{'driver':'blkdebug','node-name':'debug','image':'data'}");
    graph_add("{'driver':'raw','node-name':'over','file':'debug'}");
    ck_assert_uint_eq(by_hand(block_node_find("debug"), dst, 0, 65536), 65536);
    ck_assert_uint_eq(by_hand(block_node_find("over"), dst, 0, 65536), 65536);
    /* One that passes it as it is: the file is written to, through a filter or not. */
    graph_add("{'driver':'copy-on-read','node-name':'cor','file':'data'}");
    ck_assert_uint_eq(by_hand(block_node_find("cor"), dst, 0, 65536), 0);
    graph_add("{'driver':'blkdebug','node-name':'debug2','image':'copy'}");
    ck_assert_uint_eq(by_hand(src, block_node_find("debug2"), 0, 65536), 65536);
}
END_TEST

static int coroutine_fn refuse_pieces(void *data)
{
    Piece *p = data;
    BlockOffload o;

    block_offload_init(&o, BLOCK_OFFLOAD_TRY, p->dst);
    for (int i = 0; i < 2 * REFUSALS; i++) {
        /* One that is copied: it is counted anew. */
        cloner.refuse_every = i != 5;
        g_assert_cmpint(offload_piece(&o, p), ==, 0);
        p->after = block_offload_mode(&o);
        g_assert_cmpint(p->after, ==,
                        i < 5              ? BLOCK_OFFLOAD_TRY
                        : i < 5 + REFUSALS ? BLOCK_OFFLOAD_SHARE
                                           : BLOCK_OFFLOAD_OFF);
    }
    return 0;
}

/* What a node says is about one piece, and it is asked of the next; but not for ever. */
START_TEST(not_this_piece)
{
    Piece p = {.bytes = 4096};

    cloner_install();
    cloner.refuse_by = ENOTSUP;
    make_data("data");
    make_raw("copy", MiB);
    p.src = add_file("data");
    p.dst = add_file("copy");
    ck_assert_int_eq(block_run(refuse_pieces, &p), 0);
    ck_assert_int_eq(asked(), 5 + 1 + REFUSALS);
    ck_assert_uint_eq(p.by_hand, (2 * REFUSALS - 1) * 4096);
}
END_TEST

/* What comes from a backing file is copied up by the filter, when it is read. */
START_TEST(copied_on_read)
{
    BlockNode *top, *dst;
    BlockNode *cor;

    cloner_install();
    make_data("data");
    make_raw("copy", MiB);
    make_qcow2("top", "size=1M");
    add_file("data");
    dst = add_file("copy");
    top = graph_add("{'driver':'qcow2','node-name':'top','backing':'data',"
                    "'file':{'driver':'cloner','filename':'%s'}}",
                    tmp_path("top"));
    ck_assert_uint_eq(by_hand(top, dst, 0, 65536), 0); /* from the backing file */
    cor = graph_add("{'driver':'copy-on-read','node-name':'cor','file':'top'}");
    ck_assert_uint_eq(by_hand(cor, dst, 0, 65536), 65536);
    ck_assert_uint_eq(by_hand(cor, dst, 0, 65536), 0); /* from the image */
}
END_TEST

/* --- backups --- */

static void coroutine_fn backup_once(void *data)
{
    Run *r = data;
    g_autofree char *text =
        g_strdup_printf("{'device':'source','target':'target','sync':'full','job-id':'j',"
                        "'auto-dismiss':false%s}",
                        r->args);
    json_auto_t *args = parse_tree("%s", text);
    BlockDrain *drain;
    GError *err = NULL;

    writers_wait(r->w, 3);
    drain = block_drain_begin(r->source);
    r->from = writers_done(r->w);
    block_action_run("blockdev-backup", args, &err);
    r->to = writers_sent(r->w);
    block_drain_end(drain);
    g_assert_no_error(err);
    writers_wait(r->w, 2);
    wait_job(r, JOB_CONCLUDED);
    g_assert_cmpstr(r->error, ==, NULL);
    check_moment(r, r->target);
    check_image(r->target);
}

static void check_backup(const char *format, const char *target_format, const char *args, int every)
{
    Run r = run_new(format, target_format, "");

    r.args = args;
    cloner.refuse_every = every;
    graph_run(backup_once, &r);
    run_end(&r);
}

START_TEST(backup_default)
{
    check_backup("raw", "raw", "", 0);
    ck_assert_int_gt(done(), 0);
    ck_assert_uint_eq(cloner.flags, BLOCK_COPY_SHARE | BLOCK_COPY_KEEP_SPACE);
}
END_TEST

START_TEST(backup_refused)
{
    check_backup("qcow2", "qcow2", "", 3);
    ck_assert_int_gt(done(), 0);
}
END_TEST

START_TEST(backup_on)
{
    /* Asked for, it is tried again and again, and not only where blocks are shared. */
    check_backup("qcow2", "raw",
                 ",'x-perf':{'use-copy-range':true,'max-workers':1,'max-chunk':65536}", 1);
    ck_assert_int_ge(asked(), 8);
    ck_assert_uint_eq(cloner.flags, 0);
}
END_TEST

START_TEST(backup_off)
{
    check_backup("raw", "raw", ",'x-perf':{'use-copy-range':false}", 0);
    ck_assert_int_eq(asked(), 0);
}
END_TEST

START_TEST(backup_compressed)
{
    check_backup("raw", "qcow2", ",'compress':true,'x-perf':{'use-copy-range':true}", 0);
    ck_assert_int_eq(asked(), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {mirror_raw,          mirror_active,     mirror_qcow2,
                                  mirror_to_raw,       mirror_refused,    mirror_refused_active,
                                  never_here,          not_this_piece,    error_of_the_copy,
                                  error_of_the_target, mirror_speed,      target_is_dirty,
                                  detect_zeroes,       between,           copied_on_read,
                                  backup_default,      backup_refused,    backup_on,
                                  backup_off,          backup_compressed, NULL};

    return fixture_run("block-copy-offload", tests);
}

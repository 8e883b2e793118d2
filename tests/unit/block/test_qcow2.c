/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a qcow2 image is after operations that failed. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "block/node.h"
#include "fixture.h"
#include "writers.h"

static const BlockDriver *real_file;
static uint64_t fail_from, fail_to; /* lengths of writes that fail: from <= length < to */
static int fail_errno;
static unsigned fail_skip; /* so many of them succeed first */

static int coroutine_fn failing_pwritev(BlockNode *n, uint64_t off, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    if (bytes >= fail_from && bytes < fail_to && !fail_skip--) {
        fail_skip = 0;
        return -fail_errno;
    }
    return real_file->pwritev(n, off, bytes, iov, niov, flags);
}

/* Until file_mend(), writes of these lengths to the node's file fail. */
static void file_break(BlockNode *n, uint64_t from, uint64_t to, int why)
{
    static BlockDriver failing;

    real_file = n->file->driver;
    failing = *real_file;
    failing.pwritev = failing_pwritev;
    n->file->driver = &failing;
    fail_from = from;
    fail_to = to;
    fail_errno = why;
    fail_skip = 0;
}

static void file_mend(BlockNode *n)
{
    n->file->driver = real_file;
}

static int coroutine_fn check_fn(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int ret = block_flush(n);

    ret = ret < 0 ? ret : n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    return ret < 0 ? ret : (int)(res.leaks + res.corruptions);
}

typedef struct {
    BlockNode *n;
    uint64_t size;
    GError *err;
} Truncate;

static int coroutine_fn truncate_fn(void *data)
{
    Truncate *t = data;

    return block_truncate(t->n, t->size, &t->err);
}

/* The larger L1 table cannot be written: its clusters are free again. The message says why. */
START_TEST(grow_leaks_nothing)
{
    Truncate t = {.size = 1 * GiB};

    make_qcow2("a.qcow2", "size=1M,cluster_size=4k");
    t.n = block_node_ref(block_backend_node(
        new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"))));
    file_break(t.n, 4096, UINT64_MAX, ENOTSUP);
    ck_assert_int_eq(block_run(truncate_fn, &t), -ENOTSUP);
    file_mend(t.n);
    ck_error(t.err, "Failed to resize the image: Operation not supported");
    ck_assert_int_eq(block_run(check_fn, t.n), 0);
    ck_assert_int_eq(block_run(truncate_fn, &t), 0);
    ck_assert_int_eq(block_run(check_fn, t.n), 0);
    block_node_unref(t.n);
}
END_TEST

/*
 * A disk of 1 MiB over a backing file of 2 MiB, which cannot grow because the write number 'at' and
 * those after it fail, has its old length, and nothing leaks. False: it has grown.
 */
static bool grow_with_failure(unsigned at)
{
    json_auto_t *tree = NULL;
    Truncate t = {.size = 1 * GiB};
    bool failed;

    make_qcow2("a.qcow2", "size=1M,cluster_size=4k,backing_file=base.raw,backing_fmt=raw");
    tree = parse_tree("{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
                      tmp_path("a.qcow2"));
    t.n = block_node_open(tree, NULL);
    ck_assert_ptr_nonnull(t.n);
    file_break(t.n, 0, UINT64_MAX, ENOSPC);
    fail_skip = at;
    failed = block_run(truncate_fn, &t) < 0;
    file_mend(t.n);
    ck_assert_int_eq(block_exact_length(t.n), failed ? MiB : GiB);
    ck_assert_int_eq(block_run(check_fn, t.n), 0);
    g_clear_error(&t.err);
    block_node_unref(t.n);
    return failed;
}

START_TEST(grow_over_backing_leaks_nothing)
{
    unsigned at = 0;

    make_raw("base.raw", 2 * MiB);
    while (grow_with_failure(at)) {
        at++;
    }
    ck_assert_uint_gt(at, 3);
}
END_TEST

START_TEST(version_2_cannot_grow)
{
    Truncate t = {.size = 4 * MiB};

    make_raw("base.raw", 2 * MiB);
    make_qcow2("a.qcow2", "size=1M,compat=0.10,backing_file=base.raw,backing_fmt=raw");
    t.n = block_node_ref(block_backend_node(
        new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"))));
    ck_assert_int_eq(block_run(truncate_fn, &t), -ENOTSUP);
    ck_error(t.err, "A version 2 image cannot grow over a longer backing file");
    ck_assert_int_eq(block_exact_length(t.n), MiB);
    block_node_unref(t.n);
}
END_TEST

enum { CLUSTER = 4096 };

/* Compresses to some 200 bytes. */
static int coroutine_fn write_compressed(BlockNode *n, unsigned cluster)
{
    uint8_t buf[CLUSTER] = {0};
    uint32_t x = cluster + 1;

    for (unsigned i = 0; i < 200; i++) {
        x = x * 1664525 + 1013904223;
        buf[i] = x >> 24;
    }
    return n->driver->pwrite_compressed(n, (uint64_t)cluster * CLUSTER, buf, sizeof buf);
}

static int coroutine_fn compressed_fn(void *data)
{
    BlockNode *n = data;

    /* The first failure is in a new cluster, the second behind data of another one. */
    for (unsigned i = 0; i < 2; i++) {
        file_break(n, 100, CLUSTER, ENOSPC);
        g_assert_cmpint(write_compressed(n, 2 * i), ==, -ENOSPC);
        file_mend(n);
        g_assert_cmpint(check_fn(n), ==, 0);
        g_assert_cmpint(write_compressed(n, 2 * i + 1), ==, 0);
    }
    return check_fn(n);
}

/* What could not be written takes no room. */
START_TEST(compressed_write_fails)
{
    BlockNode *n;

    make_qcow2("a.qcow2", "size=1M,cluster_size=4k");
    n = block_backend_node(
        new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2")));
    ck_assert_int_eq(block_run(compressed_fn, n), 0);
}
END_TEST

static bool hold;     /* writes to the file wait */
static unsigned held; /* how many do */

static int coroutine_fn holding_pwritev(BlockNode *n, uint64_t off, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    held++;
    while (hold) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    held--;
    return real_file->pwritev(n, off, bytes, iov, niov, flags);
}

typedef struct {
    BlockRequest req;
    struct iovec iov;
    char buf[4096];
    bool done;
} OneWrite;

static void one_write_done(BlockRequest *req, int ret)
{
    ck_assert_int_eq(ret, 0);
    ((OneWrite *)req)->done = true;
}

/* Data of new clusters is written side by side; what wants the same cluster waits, and has it. */
START_TEST(new_clusters_side_by_side)
{
    static const uint64_t places[] = {64 * KiB, 128 * KiB, 72 * KiB};
    g_autofree OneWrite *writes = g_new0(OneWrite, ARRAY_SIZE(places));
    BlockDriver holding;
    BlockBackend *blk;
    BlockNode *n;
    char buf[4096] = "";

    make_qcow2("a.qcow2", "size=1M");
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"));
    n = block_backend_node(blk);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, buf, sizeof buf), 0); /* makes the L2 table */
    real_file = n->file->driver;
    holding = *real_file;
    holding.pwritev = holding_pwritev;
    n->file->driver = &holding;
    hold = true;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        OneWrite *w = &writes[i];

        memset(w->buf, 'a' + i, sizeof w->buf);
        w->iov = (struct iovec){w->buf, sizeof w->buf};
        w->req = (BlockRequest){.op = BLOCK_OP_WRITE,
                                .offset = places[i],
                                .bytes = sizeof w->buf,
                                .iov = &w->iov,
                                .niov = 1,
                                .done = one_write_done};
        block_backend_submit(blk, &w->req);
    }
    for (unsigned turns = 0; turns < 10; turns++) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_uint_eq(held, 2);
    hold = false;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        turn_until(&writes[i].done);
    }
    n->file->driver = real_file;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, places[i], buf, sizeof buf), 0);
        ck_assert_mem_eq(buf, writes[i].buf, sizeof buf);
    }
    ck_assert_int_eq(block_run(check_fn, n), 0);
}
END_TEST

static int coroutine_fn wait_for_writers(void *data)
{
    writers_wait(data, 10);
    return 0;
}

/* Flushes while others write; then compares the disk with what they wrote, and checks. */
static void write_from_queues(const char *options)
{
    enum { THREADS = 4, STREAMS = 4 };
    size_t length = writers_disk(THREADS, STREAMS);
    g_autofree char *all = g_strdup_printf("size=%zu,%s", length, options);
    g_autofree uint8_t *disk = g_malloc(length);
    g_autofree unsigned *end = NULL;
    BlockBackend *blk;
    Writers *w;

    make_raw("base.raw", length);
    make_qcow2("a.qcow2", all);
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,cache=unsafe,discard=unmap",
                    tmp_path("a.qcow2"));
    w = writers_start(blk, THREADS, STREAMS);
    for (unsigned i = 0; i < 30; i++) {
        block_run(wait_for_writers, w);
        ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    }
    writers_stop(w);
    end = writers_done(w);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, disk, length), 0);
    writers_check(w, disk, end, end);
    writers_free(w);
    ck_assert_int_eq(block_run(check_fn, block_backend_node(blk)), 0);
}

/* Clusters come and go. */
START_TEST(queues_allocate_side_by_side)
{
    write_from_queues("cluster_size=4k");
}
END_TEST

/* Several queues want the same new cluster, and what surrounds their data is copied. */
START_TEST(queues_share_new_clusters)
{
    write_from_queues("cluster_size=64k,backing_file=base.raw,backing_fmt=raw");
}
END_TEST

START_TEST(queues_share_subclusters)
{
    write_from_queues("cluster_size=128k,extended_l2=on");
}
END_TEST

static off_t host_length(const char *name)
{
    struct stat st;

    ck_assert_int_eq(stat(tmp_path(name), &st), 0);
    return st.st_size;
}

/*
 * Direct writes that make a file longer come one after the other: the file is longer ahead of them,
 * which nobody sees, and as long as it should be when all is written.
 */
START_TEST(direct_writes_have_room)
{
    g_autofree char *buf = g_malloc(64 * KiB), *want = g_malloc(64 * KiB);
    BlockBackend *blk;
    BlockNode *n;
    int64_t length;
    int fd;

    make_qcow2("a.qcow2", "size=1G");
    fd = open(tmp_path("a.qcow2"), O_RDWR);
    ck_assert_int_ge(fd, 0);
    if (fallocate(fd, 0, 0, 4096) < 0) {
        close(fd);
        return; /* this file system has no such call */
    }
    close(fd);
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,cache=none", tmp_path("a.qcow2"));
    n = block_backend_node(blk);
    for (unsigned i = 0; i < 300; i++) { /* more than one step */
        memset(buf, i, 64 * KiB);
        ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, (uint64_t)i * MiB, buf, 4096 * (i % 16 + 1)),
                         0);
        length = block_exact_length(n->file);
        ck_assert_int_ge(host_length("a.qcow2"), ROUND_UP(length, 16 * MiB));
    }
    /* A new length of the disk: a new L1 table, in clusters of the same file. */
    ck_assert_int_eq(block_run(truncate_fn, &(Truncate){.n = n, .size = 5 * GiB}), 0);
    ck_assert_int_eq(block_run(check_fn, n), 0);
    length = block_exact_length(n->file);
    ck_assert_int_lt(length, host_length("a.qcow2"));
    block_backend_free_all();
    block_node_close_all();
    ck_assert_int_eq(host_length("a.qcow2"), length);
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"));
    for (unsigned i = 0; i < 300; i++) {
        ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, (uint64_t)i * MiB, buf, 64 * KiB), 0);
        memset(want, 0, 64 * KiB);
        memset(want, i, 4096 * (i % 16 + 1));
        ck_assert_mem_eq(buf, want, 64 * KiB);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {grow_leaks_nothing,           grow_over_backing_leaks_nothing,
                                  version_2_cannot_grow,        compressed_write_fails,
                                  queues_allocate_side_by_side, queues_share_new_clusters,
                                  queues_share_subclusters,     new_clusters_side_by_side,
                                  direct_writes_have_room,      NULL};

    return fixture_run("qcow2", tests);
}

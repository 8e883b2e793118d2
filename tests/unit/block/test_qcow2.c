/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a qcow2 image is after operations that failed. */
#include <errno.h>
#include "block/node.h"
#include "fixture.h"

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

int main(void)
{
    const TTest *const tests[] = {grow_leaks_nothing, grow_over_backing_leaks_nothing,
                                  version_2_cannot_grow, compressed_write_fails, NULL};

    return fixture_run("qcow2", tests);
}

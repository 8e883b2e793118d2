/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file node says about data and holes: kept, but never longer than it is true. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>
#include "block/node.h"
#include "../../../block/core.h"
#include "fixture.h"

enum { UNIT = 65536, UNITS = 64 };

typedef struct {
    BlockNode *n;
    bool data[UNITS]; /* has been written since it was last zeroed */
    GRand *rand;
} StatusTest;

static BlockNode *status_open(const char *name, const char *more)
{
    GError *err = NULL;
    json_auto_t *tree =
        parse_tree("{'driver':'file','filename':'%s','discard':'unmap'%s}", tmp_path(name), more);
    BlockNode *n = block_node_open(tree, &err);

    ck_no_error(err);
    return n;
}

/* A hole may be said to be data, never data a hole. */
static void coroutine_fn status_check(StatusTest *t)
{
    for (int i = 0; i < UNITS; i++) {
        uint64_t at = g_rand_int_range(t->rand, 0, UNITS), pnum;
        int status = block_status(t->n, at * UNIT, (UNITS - at) * UNIT, &pnum, NULL, NULL);

        ck_assert_int_ge(status, 0);
        ck_assert_uint_gt(pnum, 0);
        for (uint64_t u = at; (status & BLOCK_STATUS_ZERO) && u * UNIT < at * UNIT + pnum; u++) {
            ck_assert_msg(!t->data[u], "unit %" PRIu64 " is data", u);
        }
    }
}

static int coroutine_fn status_change(void *data)
{
    static uint8_t buf[UNIT] = {1};
    StatusTest *t = data;

    for (int round = 0; round < 500; round++) {
        unsigned at = g_rand_int_range(t->rand, 0, UNITS);
        unsigned n = g_rand_int_range(t->rand, 1, UNITS - at + 1), kind = round % 4;
        int ret = 0;

        if (kind < 2) {
            n = 1;
            ret = block_pwrite(t->n, at * UNIT, buf, UNIT, 0);
        } else if (kind == 2) {
            ret = block_pwrite_zeroes(t->n, at * UNIT, n * UNIT, BLOCK_REQ_MAY_UNMAP);
        } else if (round % 8 == 7) {
            n = UNITS - at;
            ret = block_truncate(t->n, at * UNIT, NULL);
            ret = ret < 0 ? ret : block_truncate(t->n, UNITS * UNIT, NULL);
        } else {
            ret = block_pdiscard(t->n, at * UNIT, n * UNIT);
        }
        ck_assert_int_eq(ret, 0);
        for (unsigned u = at; u < at + n; u++) {
            t->data[u] = kind < 2;
        }
        status_check(t);
    }
    return 0;
}

START_TEST(status_follows_changes)
{
    StatusTest t = {.rand = g_rand_new_with_seed(7)};

    make_raw("f", UNITS * UNIT);
    t.n = status_open("f", "");
    block_run(status_change, &t);
    block_node_unref(t.n);
    g_rand_free(t.rand);
}
END_TEST

static int coroutine_fn status_first_unit(void *data)
{
    uint64_t pnum;

    return block_status(data, 0, UNIT, &pnum, NULL, NULL);
}

/* Another process need not ask where this one holds no lock. */
START_TEST(status_of_what_others_write)
{
    static uint8_t buf[UNIT] = {1};
    BlockNode *n;
    int fd;

    make_raw("f", UNITS * UNIT);
    n = status_open("f", ",'read-only':true,'force-share':true");
    ck_assert(block_run(status_first_unit, n) & BLOCK_STATUS_ZERO);
    fd = open(n->filename, O_RDWR);
    ck_assert_int_eq(pwrite(fd, buf, sizeof buf, 0), sizeof buf);
    close(fd);
    ck_assert(block_run(status_first_unit, n) & BLOCK_STATUS_DATA);
    block_node_unref(n);
}
END_TEST

static int coroutine_fn status_write_first(void *data)
{
    static uint8_t buf[UNIT] = {1};

    return block_pwrite(data, 0, buf, sizeof buf, 0);
}

/* A discard that is not told of: data is then said to be data still, which costs time alone. */
START_TEST(status_is_kept)
{
    BlockNode *n;
    int fd;

    make_raw("f", UNITS * UNIT);
    n = status_open("f", "");
    ck_assert_int_eq(block_run(status_write_first, n), 0);
    ck_assert(block_run(status_first_unit, n) & BLOCK_STATUS_DATA);
    fd = open(n->filename, O_RDWR);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(ftruncate(fd, UNITS * UNIT), 0);
    close(fd);
    ck_assert(block_run(status_first_unit, n) & BLOCK_STATUS_DATA);
    block_node_unref(n);
}
END_TEST

static int coroutine_fn status_fails(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                     uint64_t *map, BlockNode **file)
{
    return -EIO;
}

START_TEST(status_error_through_raw)
{
    GError *err = NULL;
    json_auto_t *tree = NULL;
    const BlockDriver *real;
    BlockDriver failing;
    BlockNode *n;

    make_raw("f", UNITS * UNIT);
    tree = parse_tree("{'driver':'raw','file':{'driver':'file','filename':'%s'}}", tmp_path("f"));
    n = block_node_open(tree, &err);
    ck_no_error(err);
    real = n->file->driver;
    failing = *real;
    failing.block_status = status_fails;
    n->file->driver = &failing;
    ck_assert_int_eq(block_run(status_first_unit, n), -EIO);
    n->file->driver = real;
    block_node_unref(n);
}
END_TEST

typedef struct {
    BlockNode *n;
    uint64_t pnum;
    int status;
    bool done;
} HeldStatus;

static uint64_t asked_end;

static int coroutine_fn status_notes_end(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                         uint64_t *map, BlockNode **file)
{
    asked_end = off + bytes;
    return BLOCK_STATUS_DATA;
}

static void coroutine_fn status_of_all(void *data)
{
    HeldStatus *h = data;

    h->status = block_status(h->n, 0, UNITS * UNIT, &h->pnum, NULL, NULL);
    h->done = true;
}

static int coroutine_fn status_shrink(void *data)
{
    BlockNode *n = data;

    return n->driver->truncate(n, UNIT, NULL);
}

/* A status that waited (for a write that must be alone) is of the node as it is afterwards. */
START_TEST(status_waits)
{
    HeldStatus h = {0};
    const BlockDriver *real;
    BlockDriver noting;

    make_raw("f", UNITS * UNIT);
    h.n = status_open("f", "");
    real = h.n->driver;
    noting = *real;
    noting.block_status = status_notes_end;
    h.n->driver = &noting;
    __atomic_add_fetch(&h.n->quiesce, 1, __ATOMIC_SEQ_CST);
    coroutine_start(status_of_all, &h);
    ck_assert(!h.done);
    block_run(status_shrink, h.n);
    __atomic_sub_fetch(&h.n->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&h.n->core->held);
    turn_until(&h.done);
    ck_assert_int_eq(h.status, BLOCK_STATUS_DATA);
    ck_assert_uint_eq(asked_end, UNIT);
    ck_assert_uint_eq(h.pnum, UNIT);
    h.n->driver = real;
    block_node_unref(h.n);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        status_follows_changes, status_of_what_others_write,
        status_is_kept,         status_error_through_raw,
        status_waits,           NULL,
    };

    return fixture_run("block-status", tests);
}

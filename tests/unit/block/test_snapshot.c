/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots of a disk in use: made and deleted while other threads write to it. */
#include <errno.h>
#include "block/snapshot.h"
#include "fixture.h"

enum { THREADS = 2, DEPTH = 6, PIECE = 4096, PIECES = 4, ROUNDS = 12, KEPT = 4 };
#define DISK ((size_t)THREADS * DEPTH * PIECES * PIECE)

/* One request after the other, to pieces of its own, each with another number in it. */
typedef struct {
    BlockRequest req;
    struct Writer *w;
    unsigned first, number;
    struct iovec iov;
    uint8_t buf[PIECE] __attribute__((aligned(4096)));
} Item;

typedef struct Writer {
    BlockBackend *blk;
    EventLoop *loop;
    GThread *thread;
    Item items[DEPTH];
    unsigned index;
    int live;
    int *stop, *ended; /* atomic */
} Writer;

static void item_next(Item *it);

static void item_done(BlockRequest *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    item_next((Item *)((char *)req - offsetof(Item, req)));
}

static void item_next(Item *it)
{
    Writer *w = it->w;

    if (__atomic_load_n(w->stop, __ATOMIC_SEQ_CST)) {
        if (--w->live == 0) {
            __atomic_add_fetch(w->ended, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    it->number++;
    for (size_t i = 0; i < PIECE; i += sizeof it->number) {
        memcpy(it->buf + i, &it->number, sizeof it->number);
    }
    it->iov = (struct iovec){.iov_base = it->buf, .iov_len = PIECE};
    it->req = (BlockRequest){
        .op = BLOCK_OP_WRITE,
        .offset = (uint64_t)(it->first + it->number % PIECES) * PIECE,
        .bytes = PIECE,
        .iov = &it->iov,
        .niov = 1,
        .done = item_done,
    };
    block_backend_submit(w->blk, &it->req);
}

static void writer_start(void *data)
{
    Writer *w = data;

    w->live = DEPTH;
    for (unsigned i = 0; i < DEPTH; i++) {
        w->items[i].w = w;
        w->items[i].first = (w->index * DEPTH + i) * PIECES;
        item_next(&w->items[i]);
    }
}

static void *writer_thread(void *data)
{
    event_loop_run(((Writer *)data)->loop);
    return NULL;
}

typedef struct {
    BlockBackend *blk;
    uint8_t *content[ROUNDS]; /* of the disk when the snapshot was made */
    bool deleted[ROUNDS];
    unsigned resized;
    bool done;
} Run;

static void coroutine_fn make_one(Run *r, unsigned round)
{
    BlockNode *n = block_backend_node(r->blk);
    g_autofree char *name = g_strdup_printf("s%u", round);
    BlockSnapshot sn = block_snapshot_now(name);
    BlockSnapshotSection section;
    GError *err = NULL;

    g_assert(block_snapshot_begin(&section, n, &err));
    r->content[round] = g_malloc(DISK);
    g_assert_cmpint(block_pread(n, 0, r->content[round], DISK), ==, 0);
    block_snapshot_create(n, &sn, &err);
    g_assert_no_error(err);
    if (round >= KEPT) {
        g_autofree char *old = g_strdup_printf("s%u", round - KEPT);

        block_snapshot_delete(n, NULL, old, &err);
        g_assert_no_error(err);
        r->deleted[round - KEPT] = true;
    }
    block_snapshot_end(&section);
}

static void coroutine_fn make_all(void *data)
{
    Run *r = data;

    for (unsigned round = 0; round < ROUNDS; round++) {
        make_one(r, round);
        coroutine_sleep(CLOCK_REALTIME_NS, 3 * NS_PER_MS);
    }
    r->done = true;
}

static int coroutine_fn compare_all(void *data)
{
    Run *r = data;
    BlockNode *n = block_backend_node(r->blk);
    g_autofree uint8_t *buf = g_malloc(DISK);
    BlockCheckResult res = {0};
    GError *err = NULL;

    for (unsigned round = 0; round < ROUNDS; round++) {
        g_autofree char *name = g_strdup_printf("s%u", round);

        if (!r->deleted[round]) {
            block_snapshot_apply(n, name, &err);
            g_assert_no_error(err);
            g_assert_cmpint(block_pread(n, 0, buf, DISK), ==, 0);
            g_assert(memcmp(buf, r->content[round], DISK) == 0);
        }
        g_free(r->content[round]);
    }
    g_assert_cmpint(n->driver->check(n, &res, 0), ==, 0);
    g_assert_cmpuint(res.corruptions + res.leaks + res.check_errors, ==, 0);
    return 0;
}

START_TEST(under_load)
{
    Writer *writers = g_aligned_alloc0(THREADS, sizeof(Writer), 4096);
    g_autofree char *create = g_strdup_printf("size=%zu,cluster_size=8k", DISK);
    int stop = 0, ended = 0;
    Run r = {0};

    make_qcow2("a.qcow2", create);
    r.blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"));
    for (unsigned i = 0; i < THREADS; i++) {
        Writer *w = &writers[i];

        w->blk = r.blk;
        w->index = i;
        w->stop = &stop;
        w->ended = &ended;
        w->loop = event_loop_new("writer", NULL);
        w->thread = g_thread_new("writer", writer_thread, w);
        event_loop_call(w->loop, writer_start, w);
    }
    coroutine_start(make_all, &r);
    turn_until(&r.done);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) < THREADS) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        event_loop_quit(writers[i].loop);
        g_thread_join(writers[i].thread);
        event_loop_free(writers[i].loop);
    }
    ck_assert_int_eq(block_run(compare_all, &r), 0);
    g_aligned_free(writers);
}
END_TEST

static void told_length(void *data)
{
    ((Run *)data)->resized++;
}

/* A snapshot of a disk that is longer afterwards. */
static int coroutine_fn make_short(void *data)
{
    Run *r = data;
    BlockNode *n = block_backend_node(r->blk);
    BlockSnapshot sn = block_snapshot_now("short");
    BlockSnapshotSection section;

    g_assert(block_snapshot_begin(&section, n, NULL));
    g_assert(block_snapshot_create(n, &sn, NULL));
    block_snapshot_end(&section);
    g_assert_cmpint(block_resize(n, 2 * MiB, NULL), ==, 0);
    g_assert_cmpint(block_backend_length(r->blk), ==, 2 * MiB);
    return 0;
}

static int coroutine_fn drop_drive(void *data)
{
    return block_backend_delete(data);
}

static int coroutine_fn apply_short(void *data)
{
    Run *r = data;
    BlockNode *n = block_backend_node(r->blk);
    BlockSnapshotSection section;

    r->resized = 0;
    g_assert(block_snapshot_begin(&section, n, NULL));
    g_assert(block_snapshot_apply(n, "short", NULL));
    block_snapshot_end(&section);
    return 0;
}

/* The device hears of the length that an applied snapshot has. */
START_TEST(other_length)
{
    static const BlockDeviceOps ops = {.resized = told_length};
    Run r = {0};

    make_qcow2("a.qcow2", "size=1M");
    new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"));
    r.blk = block_backend_attach("d", "/machine/disk", 0, &ops, &r, NULL);
    ck_assert_ptr_nonnull(r.blk);
    ck_assert_int_eq(block_run(make_short, &r), 0);
    ck_assert_int_eq(block_run(apply_short, &r), 0);
    ck_assert_int_eq(block_backend_length(r.blk), MiB);
    ck_assert_uint_eq(r.resized, 1);
    block_backend_detach(r.blk, false);
}
END_TEST

static int coroutine_fn read_only_changes(void *data)
{
    BlockNode *n = data;
    BlockSnapshot sn = block_snapshot_now("s");
    GError *err = NULL;

    g_assert(!block_snapshot_create(n, &sn, &err));
    g_assert_nonnull(strstr(err->message, "read-only"));
    g_clear_error(&err);
    g_assert(!block_snapshot_apply(n, "s", NULL));
    g_assert(!block_snapshot_delete(n, NULL, "s", NULL));
    g_assert_cmpint(block_vmstate_pwritev(n, 0, 0, NULL, 0), ==, -EPERM);
    return 0;
}

START_TEST(read_only)
{
    make_qcow2("a.qcow2", "size=1M");
    BlockBackend *blk =
        new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,read-only=on", tmp_path("a.qcow2"));

    ck_assert_int_eq(block_run(read_only_changes, block_backend_node(blk)), 0);
}
END_TEST

static int coroutine_fn load_changes(void *data)
{
    BlockNode *n = data;
    GError *err = NULL;

    g_assert(!block_snapshot_load(n, "9", NULL, NULL));
    g_assert(block_snapshot_load(n, NULL, "short", &err));
    g_assert_cmpint(block_length(n), ==, MiB);
    /* Writes by the snapshot's tables would destroy it. */
    g_assert(!block_set_read_only(n, false, &err));
    g_assert_nonnull(strstr(err->message, "A snapshot of"));
    g_clear_error(&err);
    return 0;
}

/* A node that shows a snapshot stays read-only. */
START_TEST(loaded)
{
    Run r = {0};
    BlockNode *n;

    make_qcow2("a.qcow2", "size=1M");
    r.blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d", tmp_path("a.qcow2"));
    ck_assert_int_eq(block_run(make_short, &r), 0);
    g_assert(block_run(drop_drive, r.blk) == 0);
    json_auto_t *tree = parse_tree("{\"driver\":\"qcow2\",\"read-only\":true,\"file\":{\"driver\":"
                                   "\"file\",\"filename\":\"%s\"}}",
                                   tmp_path("a.qcow2"));
    n = block_node_open(tree, NULL);
    ck_assert_ptr_nonnull(n);
    ck_assert_int_eq(block_length(n), 2 * MiB);
    ck_assert_int_eq(block_run(load_changes, n), 0);
    block_node_unref(n);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {under_load, other_length, read_only, loaded, NULL};

    return fixture_run("snapshot", tests);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that come while a flush of a qcow2 image waits for the host: they go on, and what is on
 * disk is right at each moment. A copy of the file is what a cut of power would leave.
 */
#include <errno.h>
#include "block/node.h"
#include "fixture.h"

enum { CLUSTER = 64 * KiB, SLICE_SPAN = 32 * MiB };

static const BlockDriver *real_file;
static BlockDriver holding;
static int held;     /* flushes that have come to the file, and wait */
static int let_go;   /* how many of them may go on */
static int flushes;  /* how many have come */
static bool failing; /* a flush fails when it goes on */

static int coroutine_fn holding_flush(BlockNode *n)
{
    int number = ++flushes;
    bool fails;

    held++;
    while (let_go < number) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    held--;
    fails = failing;
    return fails ? -EIO : real_file->flush(n);
}

static BlockBackend *blk;
static BlockNode *image;

static void hold_flushes(void)
{
    real_file = image->file->driver;
    holding = *real_file;
    holding.flush = holding_flush;
    image->file->driver = &holding;
    held = flushes = let_go = 0;
    failing = false;
}

static void open_disk(const char *options)
{
    make_qcow2("a.qcow2", "size=2G");
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,discard=unmap%s", tmp_path("a.qcow2"),
                    options);
    image = block_backend_node(blk);
}

static void put(uint64_t at, char what)
{
    g_autofree char *buf = g_malloc(CLUSTER);

    memset(buf, what, CLUSTER);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, at, buf, CLUSTER), 0);
}

static void discard(uint64_t at)
{
    ck_assert_int_eq(do_io(blk, BLOCK_OP_DISCARD, at, NULL, CLUSTER), 0);
}

static int flush_now(void)
{
    return do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0);
}

typedef struct {
    BlockRequest req;
    int ret;
    bool done;
} Flush;

static void flush_done(BlockRequest *req, int ret)
{
    Flush *f = (Flush *)req;

    f->ret = ret;
    f->done = true;
}

static void flush_begin(Flush *f)
{
    *f = (Flush){.req = {.op = BLOCK_OP_FLUSH, .done = flush_done}};
    block_backend_submit(blk, &f->req);
}

static void wait_for_flush(int number)
{
    while (flushes < number) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
}

/* The file as it is now. */
static void copy_image(const char *to)
{
    g_autofree char *from = g_strdup(tmp_path("a.qcow2"));
    g_autofree char *bytes = NULL;
    gsize length;

    ck_assert(g_file_get_contents(from, &bytes, &length, NULL));
    ck_assert(g_file_set_contents(tmp_path(to), bytes, length, NULL));
}

typedef struct {
    BlockNode *n;
    uint64_t at;
    char *buf; /* CLUSTER bytes; NULL: a check is enough */
    BlockCheckResult res;
} Look;

static int coroutine_fn look_fn(void *data)
{
    Look *l = data;
    int ret = l->n->driver->check(l->n, &l->res, BLOCK_CHECK_QUIET);

    return ret == 0 && l->buf ? block_pread(l->n, l->at, l->buf, CLUSTER) : ret;
}

/* What the copy has at a place: one character; 0: zeroes. And it may leak, but is consistent. */
static char copy_has(const char *copy, uint64_t at)
{
    g_autofree char *buf = g_malloc(CLUSTER);
    json_auto_t *tree = parse_tree("{\"driver\":\"qcow2\",\"read-only\":true,\"file\":"
                                   "{\"driver\":\"file\",\"filename\":\"%s\"}}",
                                   tmp_path(copy));
    GError *err = NULL;
    Look l = {.n = block_image_open(tree, 0, &err), .at = at, .buf = buf};

    ck_no_error(err);
    ck_assert_int_eq(block_run(look_fn, &l), 0);
    ck_assert_uint_eq(l.res.corruptions, 0);
    for (unsigned i = 1; i < CLUSTER; i++) {
        ck_assert_int_eq(buf[i], buf[0]);
    }
    block_node_unref(l.n);
    return buf[0];
}

static void ck_clean(void)
{
    Look l = {.n = image};

    ck_assert_int_eq(flush_now(), 0); /* frees wait for this one */
    ck_assert_int_eq(block_run(look_fn, &l), 0);
    ck_assert_uint_eq(l.res.corruptions + l.res.leaks, 0);
}

/*
 * The refcount of a cluster that was given away during the barrier is not on disk when the flush
 * writes entries; one that has come free is in use there.
 */
START_TEST(writers_go_on_during_the_barrier)
{
    Flush f;

    open_disk("");
    put(0, 'a');
    put(CLUSTER, 'b');
    ck_assert_int_eq(flush_now(), 0);
    hold_flushes();
    put(2 * CLUSTER, 'c');
    flush_begin(&f);
    wait_for_flush(1);
    put(3 * CLUSTER, 'd');
    put(SLICE_SPAN, 'e');
    put(1 * GiB, 'f'); /* needs an L2 table */
    discard(CLUSTER);
    ck_assert(!f.done);
    let_go = 1;
    wait_for_flush(2); /* entries are written */
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", 0), 'a');
    ck_assert_int_eq(copy_has("cut.qcow2", CLUSTER), 'b');
    ck_assert_int_eq(copy_has("cut.qcow2", 2 * CLUSTER), 'c');
    ck_assert_int_eq(copy_has("cut.qcow2", 3 * CLUSTER), 0);
    ck_assert_int_eq(copy_has("cut.qcow2", SLICE_SPAN), 0);
    let_go = INT_MAX;
    turn_until(&f.done);
    ck_assert_int_eq(f.ret, 0);
    ck_assert_int_eq(flush_now(), 0);
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", CLUSTER), 0);
    ck_assert_int_eq(copy_has("cut.qcow2", 3 * CLUSTER), 'd');
    ck_assert_int_eq(copy_has("cut.qcow2", SLICE_SPAN), 'e');
    ck_assert_int_eq(copy_has("cut.qcow2", 1 * GiB), 'f');
    ck_clean();
    image->file->driver = real_file;
}
END_TEST

/* The flush fails, and the next one does all that this one has not done. */
START_TEST(barrier_fails)
{
    Flush f;

    open_disk("");
    put(0, 'a');
    put(CLUSTER, 'b');
    ck_assert_int_eq(flush_now(), 0);
    hold_flushes();
    put(2 * CLUSTER, 'c');
    put(1 * GiB, 'd');
    discard(0);
    flush_begin(&f);
    wait_for_flush(1);
    discard(CLUSTER);
    failing = true;
    let_go = 1;
    turn_until(&f.done);
    ck_assert_int_eq(f.ret, -EIO);
    ck_assert_int_eq(flushes, 1); /* nothing was written that could be made stable */
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", 0), 'a');
    ck_assert_int_eq(copy_has("cut.qcow2", 2 * CLUSTER), 0);
    failing = false;
    flush_begin(&f);
    wait_for_flush(2); /* it has a barrier, too */
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", 2 * CLUSTER), 0);
    put(3 * CLUSTER, 'e');
    let_go = INT_MAX;
    turn_until(&f.done);
    ck_assert_int_eq(f.ret, 0);
    ck_assert_int_eq(flush_now(), 0);
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", 0), 0);
    ck_assert_int_eq(copy_has("cut.qcow2", CLUSTER), 0);
    ck_assert_int_eq(copy_has("cut.qcow2", 2 * CLUSTER), 'c');
    ck_assert_int_eq(copy_has("cut.qcow2", 3 * CLUSTER), 'e');
    ck_assert_int_eq(copy_has("cut.qcow2", 1 * GiB), 'd');
    ck_clean();
    image->file->driver = real_file;
}
END_TEST

typedef struct {
    BlockRequest req;
    struct iovec iov;
    char *buf;
    bool done;
} Put;

static void put_done(BlockRequest *req, int ret)
{
    ck_assert_int_eq(ret, 0);
    ((Put *)req)->done = true;
}

/*
 * The cache is full, so that writers write entries back while the flush waits: newer ones than
 * those of the flush, and not before a barrier of their own. They stay.
 */
START_TEST(entries_are_written_meanwhile)
{
    enum { SLICES = 24 };
    g_autofree Put *puts = g_new0(Put, SLICES);
    Flush f;

    open_disk(",l2-cache-size=4k");
    for (unsigned i = 0; i < 4; i++) {
        put((uint64_t)i * SLICE_SPAN, 'a');
    }
    ck_assert_int_eq(flush_now(), 0);
    hold_flushes();
    for (unsigned i = 0; i < 4; i++) {
        put((uint64_t)i * SLICE_SPAN + CLUSTER, 'b');
    }
    flush_begin(&f);
    wait_for_flush(1);
    for (unsigned i = 0; i < 4; i++) {
        put((uint64_t)i * SLICE_SPAN + 2 * CLUSTER, 'c');
        discard((uint64_t)i * SLICE_SPAN);
    }
    for (unsigned i = 0; i < SLICES; i++) {
        puts[i].buf = g_malloc(CLUSTER);
        memset(puts[i].buf, 'd', CLUSTER);
        puts[i].iov = (struct iovec){puts[i].buf, CLUSTER};
        puts[i].req = (BlockRequest){.op = BLOCK_OP_WRITE,
                                     .offset = (8ull + i) * SLICE_SPAN,
                                     .bytes = CLUSTER,
                                     .iov = &puts[i].iov,
                                     .niov = 1,
                                     .done = put_done};
        block_backend_submit(blk, &puts[i].req);
    }
    for (unsigned turns = 0; turns < 20; turns++) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    copy_image("cut.qcow2");
    ck_assert_int_eq(copy_has("cut.qcow2", 0), 'a');
    ck_assert_int_eq(copy_has("cut.qcow2", 2 * CLUSTER), 0);
    ck_assert(!puts[SLICES - 1].done);
    let_go = INT_MAX;
    turn_until(&f.done);
    ck_assert_int_eq(f.ret, 0);
    for (unsigned i = 0; i < SLICES; i++) {
        turn_until(&puts[i].done);
        g_free(puts[i].buf);
    }
    ck_assert_int_eq(flush_now(), 0);
    copy_image("cut.qcow2");
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(copy_has("cut.qcow2", (uint64_t)i * SLICE_SPAN), 0);
        ck_assert_int_eq(copy_has("cut.qcow2", (uint64_t)i * SLICE_SPAN + CLUSTER), 'b');
        ck_assert_int_eq(copy_has("cut.qcow2", (uint64_t)i * SLICE_SPAN + 2 * CLUSTER), 'c');
    }
    ck_assert_int_eq(copy_has("cut.qcow2", (7ull + SLICES) * SLICE_SPAN), 'd');
    ck_clean();
    image->file->driver = real_file;
}
END_TEST

/*
 * Linux tells of a lost write once. A flush that comes while another waits for the host is not done
 * before that one's result is known; and not at all, where that one was about all of it.
 */
START_TEST(one_flush_of_a_file_at_a_time)
{
    Flush f[3];

    open_disk("");
    put(0, 'a');
    ck_assert_int_eq(flush_now(), 0);
    hold_flushes();
    put(0, 'b'); /* in place: there is nothing to write but the data */
    flush_begin(&f[0]);
    wait_for_flush(1);
    put(0, 'c');
    flush_begin(&f[1]);
    flush_begin(&f[2]);
    for (unsigned turns = 0; turns < 10; turns++) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    ck_assert_int_eq(held, 1);
    failing = true;
    let_go = 1;
    turn_until(&f[0].done);
    ck_assert_int_eq(f[0].ret, -EIO);
    failing = false;
    let_go = INT_MAX;
    turn_until(&f[1].done);
    turn_until(&f[2].done);
    ck_assert_int_eq(f[1].ret, 0);
    ck_assert_int_eq(f[2].ret, 0);
    ck_assert_int_eq(flushes, 2);
    image->file->driver = real_file;
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {writers_go_on_during_the_barrier, barrier_fails,
                                  entries_are_written_meanwhile, one_flush_of_a_file_at_a_time,
                                  NULL};

    return fixture_run("qcow2-flush", tests);
}

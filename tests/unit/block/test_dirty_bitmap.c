/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps: the bits, among threads too, and what writes to a node do to them. */
#include "../../../block/dirty_bits.h"
#include <inttypes.h>
#include "block/dirty_bitmap.h"
#include "graph_fixture.h"

typedef struct {
    BlockNode *node;
    const char *name;
    uint64_t granularity;
    BlockDirtyBitmap *b;
    GError *err;
} New;

static void coroutine_fn op_new(void *data)
{
    New *o = data;

    o->b = block_dirty_bitmap_new(o->node, o->name, o->granularity, &o->err);
}

static BlockDirtyBitmap *bitmap(BlockNode *n, const char *name, uint64_t granularity)
{
    New o = {.node = n, .name = name, .granularity = granularity};

    graph_run(op_new, &o);
    ck_no_error(o.err);
    ck_assert_ptr_nonnull(o.b);
    return o.b;
}

static void coroutine_fn op_free(void *data)
{
    block_dirty_bitmap_free(data);
}

/* The dirty runs, as "first+bytes" in units of 64 KiB. */
static char *runs(BlockDirtyBitmap *b)
{
    GString *text = g_string_new(NULL);
    uint64_t off = 0, bytes;

    while (block_dirty_bitmap_next_dirty(b, &off, &bytes, UINT64_MAX, false)) {
        g_string_append_printf(text, "%s%g+%g", text->len ? " " : "", (double)off / UNIT,
                               (double)bytes / UNIT);
        off += bytes;
    }
    return g_string_free(text, FALSE);
}

#define ck_runs(b, want)                                                                           \
    do {                                                                                           \
        g_autofree char *got = runs(b);                                                            \
        ck_assert_str_eq(got, want);                                                               \
    } while (0)

/* Held against an array of bytes. */
enum { MODEL = 100000 };

static void model_check(DirtyBits *b, const uint8_t *model, GRand *r)
{
    uint64_t at = g_rand_int_range(r, 0, MODEL), end = g_rand_int_range(r, at, MODEL) + 1;
    uint64_t first = at, last = 0, max = g_rand_int_range(r, 1, 300), want = at, want_last;
    uint64_t clear = dirty_bits_next_clear(b, at, end);
    bool found = dirty_bits_next(b, &first, &last, end, max, false);

    while (want < end && !model[want]) {
        want++;
    }
    for (want_last = want; want_last < end && want_last - want < max && model[want_last];) {
        want_last++;
    }
    ck_assert_int_eq(found, want < end);
    if (found) {
        ck_assert_uint_eq(first, want);
        ck_assert_uint_eq(last, want_last);
    }
    while (at < end && model[at]) {
        at++;
    }
    ck_assert_uint_eq(clear, at);
}

START_TEST(bits_as_a_model)
{
    g_autofree uint8_t *model = g_malloc0(MODEL);
    GRand *r = g_rand_new_with_seed(7);
    DirtyBits *b = dirty_bits_new();

    for (unsigned i = 0; i < 600; i++) {
        uint64_t first = g_rand_int_range(r, 0, MODEL), last, count = 0;
        uint64_t end = first + g_rand_int_range(r, 0, i % 7 ? 200 : 30000);

        end = MIN(end, MODEL);
        switch (g_rand_int_range(r, 0, 4)) {
        case 0:
        case 1:
            dirty_bits_set(b, first, end);
            memset(model + first, 1, end - first);
            break;
        case 2:
            dirty_bits_reset(b, first, end);
            memset(model + first, 0, end - first);
            break;
        default:
            if (dirty_bits_next(b, &first, &last, MODEL, 100, true)) {
                ck_assert(model[first] && model[last - 1]);
                memset(model + first, 0, last - first);
            }
        }
        for (unsigned j = 0; j < MODEL; j++) {
            count += model[j];
        }
        ck_assert_uint_eq(dirty_bits_count(b), count);
        model_check(b, model, r);
    }
    dirty_bits_free(b);
    g_rand_free(r);
}
END_TEST

/* A 1 TiB disk in units of 64 KiB with few dirty ones: little memory, found at once. */
START_TEST(sparse)
{
    BlockNode *n =
        graph_add("{'driver':'null-co','node-name':'n','size':%" PRIu64 "}", (uint64_t)1 << 40);
    BlockDirtyBitmap *b = bitmap(n, "b", 0);
    uint64_t off = 0, bytes;
    unsigned found = 0;

    block_dirty_bitmap_set(b, (1ULL << 40) - 1, 1);
    /* So often that a walk over all words would not come to its end. */
    for (unsigned i = 0; i < 200000; i++) {
        off = 0;
        found += block_dirty_bitmap_next_dirty(b, &off, &bytes, UINT64_MAX, false);
    }
    ck_assert_uint_eq(found, 200000);
    ck_assert_uint_eq(off, (1ULL << 40) - UNIT);
    ck_assert_uint_eq(bytes, UNIT);
    off = 0;
    ck_assert(block_dirty_bitmap_next_zero(b, &off, &bytes));
    ck_assert_uint_eq(off, 0);
    ck_assert_uint_eq(bytes, (1ULL << 40) - UNIT);
    block_dirty_bitmap_set(b, 0, (uint64_t)1 << 40);
    ck_assert_uint_eq(block_dirty_bitmap_count(b), (uint64_t)1 << 40);
    ck_assert(!block_dirty_bitmap_next_zero(b, &off, &bytes));
}
END_TEST

/*
 * Threads write units, which raises the unit's version, and then set its bit. Another takes bits
 * and then looks at the versions. No write may be lost.
 */
enum { UNITS = 70000, WRITERS = 3 };
static unsigned versions[UNITS], seen[UNITS];
static bool writers_done;

typedef struct {
    DirtyBits *bits;
    unsigned seed;
} Writer;

static void *writer_thread(void *data)
{
    Writer *w = data;
    GRand *r = g_rand_new_with_seed(w->seed);

    for (unsigned i = 0; i < 60000; i++) {
        unsigned first = g_rand_int_range(r, 0, i % 2 ? UNITS : 130), last;

        last = MIN(first + g_rand_int_range(r, 1, 4), UNITS);
        for (unsigned j = first; j < last; j++) {
            __atomic_add_fetch(&versions[j], 1, __ATOMIC_RELAXED);
        }
        dirty_bits_set(w->bits, first, last);
    }
    g_rand_free(r);
    return NULL;
}

static bool take_all(DirtyBits *b)
{
    uint64_t first = 0, last;
    bool any = false;

    while (dirty_bits_next(b, &first, &last, UNITS, 50, true)) {
        for (; first < last; first++) {
            seen[first] = __atomic_load_n(&versions[first], __ATOMIC_RELAXED);
        }
        any = true;
    }
    return any;
}

static void *taker_thread(void *data)
{
    while (!__atomic_load_n(&writers_done, __ATOMIC_SEQ_CST)) {
        take_all(data);
    }
    return NULL;
}

START_TEST(threads_lose_nothing)
{
    DirtyBits *b = dirty_bits_new();
    GThread *threads[WRITERS], *taker;
    Writer writers[WRITERS];

    taker = g_thread_new("taker", taker_thread, b);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (Writer){b, i};
        threads[i] = g_thread_new("writer", writer_thread, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        g_thread_join(threads[i]);
    }
    __atomic_store_n(&writers_done, true, __ATOMIC_SEQ_CST);
    g_thread_join(taker);
    take_all(b);
    ck_assert(!take_all(b));
    ck_assert_uint_eq(dirty_bits_count(b), 0);
    ck_assert(memcmp(seen, versions, sizeof seen) == 0);
    dirty_bits_free(b);
}
END_TEST

static void io(BlockBackend *blk, BlockOp op, uint64_t offset, size_t bytes)
{
    g_autofree char *buf = g_malloc0(bytes);

    memset(buf, PATTERN, bytes);
    ck_assert_int_eq(do_io(blk, op, offset, buf, bytes), 0);
}

/* The raw image of a disk on which the short way is open, and hot. */
START_TEST(writes_are_recorded)
{
    BlockNode *n, *file;
    BlockBackend *blk;
    BlockDirtyBitmap *b, *below;
    GError *err = NULL;

    make_raw("d", 64 * UNIT);
    n = graph_add("{'driver':'raw','node-name':'r','discard':'unmap','file':{'driver':'file',"
                  "'node-name':'f','discard':'unmap','filename':'%s'}}",
                  tmp_path("d"));
    file = block_node_find("f");
    blk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    io(blk, BLOCK_OP_WRITE, 0, UNIT);
    b = bitmap(n, "b", 0);
    below = bitmap(file, "b", UNIT);
    ck_assert_uint_eq(block_dirty_bitmap_granularity(b), UNIT);
    ck_runs(b, "");
    io(blk, BLOCK_OP_READ, 0, 64 * UNIT);
    ck_runs(b, "");
    io(blk, BLOCK_OP_WRITE, 3 * UNIT - 512, 1024);
    io(blk, BLOCK_OP_WRITE_ZEROES, 10 * UNIT, 2 * UNIT);
    io(blk, BLOCK_OP_DISCARD, 20 * UNIT, UNIT);
    io(blk, BLOCK_OP_WRITE, 64 * UNIT - 512, 512);
    ck_runs(b, "2+2 10+2 20+1 63+1");
    ck_runs(below, "2+2 10+2 20+1 63+1");
    block_dirty_bitmap_enable(b, false);
    io(blk, BLOCK_OP_WRITE, 40 * UNIT, UNIT);
    ck_runs(b, "2+2 10+2 20+1 63+1");
    block_dirty_bitmap_enable(b, true);
    graph_run(op_free, below);
    ck_assert_ptr_null(block_dirty_bitmap_find(file, "b"));
    io(blk, BLOCK_OP_WRITE, 42 * UNIT, UNIT);
    ck_runs(b, "2+2 10+2 20+1 42+1 63+1");
    ck_assert_uint_eq(n->write_intercepts, 1);
    graph_run(op_free, b);
    ck_assert_uint_eq(n->write_intercepts, 0);
    ck_assert_uint_eq(file->write_intercepts, 0);
    block_backend_detach(blk, true);
}
END_TEST

typedef struct {
    BlockNode *node;
    uint64_t size;
    int ret;
} Resize;

static void coroutine_fn op_resize(void *data)
{
    Resize *r = data;

    r->ret = block_resize(r->node, r->size, NULL);
}

static void resize(BlockNode *n, uint64_t size)
{
    Resize r = {n, size, 0};

    graph_run(op_resize, &r);
    ck_assert_int_eq(r.ret, 0);
}

static void coroutine_fn op_compressed(void *data)
{
    g_autofree char *buf = g_malloc0(UNIT);

    ck_assert_int_eq(block_pwrite_compressed(data, 5 * UNIT, buf, UNIT), 0);
}

START_TEST(format_resize_compressed)
{
    BlockNode *n, *file;
    BlockBackend *blk;
    BlockDirtyBitmap *b, *half, *below;
    GError *err = NULL;
    uint64_t host;

    make_qcow2("q", "size=1M");
    n = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','node-name':'f',"
                  "'filename':'%s'}}",
                  tmp_path("q"));
    file = block_node_find("f");
    b = bitmap(n, "b", 0);
    half = bitmap(n, NULL, UNIT / 2);
    below = bitmap(file, "file", 512);
    host = block_dirty_bitmap_size(below);
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    io(blk, BLOCK_OP_WRITE, 100, 1000);
    io(blk, BLOCK_OP_WRITE, 100, 1000);
    graph_run(op_compressed, n);
    ck_runs(b, "0+1 5+1");
    ck_runs(half, "0+0.5 5+1");
    /* The file has become longer, and all that is new in it is dirty. */
    ck_assert_uint_gt(block_dirty_bitmap_size(below), host);
    host = ROUND_UP(host, 512);
    ck_assert(block_dirty_bitmap_next_dirty(below, &host, &(uint64_t){0}, 512, false));
    resize(n, 2 * MiB - 512);
    ck_runs(b, "0+1 5+1 16+15.9922");
    resize(n, MiB + UNIT / 2);
    ck_runs(b, "0+1 5+1 16+0.5");
    ck_assert_uint_eq(block_dirty_bitmap_count(b), 3 * UNIT);
    resize(n, 2 * MiB);
    ck_runs(b, "0+1 5+1 16+16");
    resize(n, 5 * UNIT);
    ck_runs(b, "0+1");
    block_dirty_bitmap_clear(b);
    ck_runs(b, "");
    ck_runs(half, "0+0.5");
    block_backend_detach(blk, true);
}
END_TEST

START_TEST(merge_and_successors)
{
    BlockNode *n, *other;
    BlockDirtyBitmap *fine, *coarse, *far;
    DirtyBits *copy;
    GError *err = NULL;

    make_raw("d", MiB + 512);
    make_raw("e", MiB);
    n = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("d"));
    other = graph_add("{'driver':'raw','node-name':'e','file':{'driver':'file','filename':'%s'}}",
                      tmp_path("e"));
    fine = bitmap(n, "fine", 512);
    coarse = bitmap(n, "coarse", 2 * UNIT);
    far = bitmap(other, "far", UNIT);
    ck_assert(!block_dirty_bitmap_merge(fine, far, &err));
    ck_error(err, "Bitmaps are of different sizes (destination size is 1049088, source size is "
                  "1048576) and can't be merged");
    block_dirty_bitmap_set(fine, 3 * UNIT, 1);
    block_dirty_bitmap_set(coarse, MiB, 512);
    ck_assert(block_dirty_bitmap_merge(coarse, fine, &err));
    ck_runs(coarse, "2+2 16+0.0078125");
    ck_assert(block_dirty_bitmap_merge(fine, coarse, &err));
    ck_runs(fine, "2+2 16+0.0078125");
    /* The last granule reaches past the end, and the finer bitmap has no bits there. */
    ck_assert_uint_eq(block_dirty_bitmap_count(fine), 2 * UNIT + 512);
    copy = block_dirty_bitmap_copy(fine);
    block_dirty_bitmap_clear(fine);
    block_dirty_bitmap_restore(fine, copy);
    ck_runs(fine, "2+2 16+0.0078125");

    ck_assert(block_dirty_bitmap_successor_new(coarse, &err));
    ck_assert(!block_dirty_bitmap_successor_new(coarse, &err));
    ck_error(err, "Bitmap 'coarse' is currently in use by another operation and cannot be used");
    block_dirty_bitmaps_wrote(n, 8 * UNIT, 512);
    ck_runs(coarse, "2+2 16+0.0078125");
    block_dirty_bitmap_reclaim(coarse);
    ck_runs(coarse, "2+2 8+2 16+0.0078125");
    ck_assert(block_dirty_bitmap_successor_new(coarse, &err));
    block_dirty_bitmaps_wrote(n, 0, 512);
    block_dirty_bitmap_abdicate(coarse);
    ck_runs(coarse, "0+2");
    ck_assert(!block_dirty_bitmap_busy(coarse));
}
END_TEST

START_TEST(as_bytes)
{
    BlockDirtyBitmap *b, *to;
    BlockNode *n;
    uint8_t buf[4] = {0};
    g_autofree char *sum = NULL;

    make_raw("d", MiB);
    n = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("d"));
    b = bitmap(n, "b", UNIT);
    to = bitmap(n, "to", UNIT);
    block_dirty_bitmap_set(b, UNIT, 1);
    block_dirty_bitmap_set(b, 4 * UNIT, 2 * UNIT);
    block_dirty_bitmap_set(b, 7 * UNIT, 1);
    /* What QEMU 7.2 says of these bits. */
    sum = block_dirty_bitmap_sha256(b);
    ck_assert_str_eq(sum, "1bf5801bbd7ed272fd7e5b4b3f2652682f145369c80a1cd627222cdc4b876dc0");
    block_dirty_bitmap_set(b, 15 * UNIT, 1);
    block_dirty_bitmap_export(b, 0, buf, 2);
    ck_assert_uint_eq(buf[0], 0xb2);
    ck_assert_uint_eq(buf[1], 0x80);
    block_dirty_bitmap_export(b, 8, buf, 2);
    ck_assert_uint_eq(buf[0], 0x80);
    ck_assert_uint_eq(buf[1], 0);
    memset(buf, 0xff, sizeof buf);
    block_dirty_bitmap_import(to, 8, buf, 4);
    ck_runs(to, "8+8"); /* nothing behind the end */
    buf[0] = 0x81;
    block_dirty_bitmap_import(to, 0, buf, 1);
    ck_runs(to, "0+1 7+9");
}
END_TEST

START_TEST(names)
{
    New o;
    BlockNode *n, *huge;
    BlockDirtyBitmap *b;

    make_raw("d", MiB);
    n = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("d"));
    huge = graph_add("{'driver':'null-co','node-name':'n','size':%" PRIu64 "}", (uint64_t)1 << 60);
    b = bitmap(n, "one", 0);
    bitmap(n, NULL, 0);
    bitmap(n, NULL, 0);
    o = (New){.node = n, .name = "one"};
    graph_run(op_new, &o);
    ck_assert_ptr_null(o.b);
    ck_error(o.err, "Bitmap already exists: one");
    o = (New){.node = huge, .name = "b", .granularity = 512};
    graph_run(op_new, &o);
    ck_assert_ptr_null(o.b);
    ck_error(o.err, "choose a larger granularity");
    ck_assert_ptr_eq(block_dirty_bitmap_find(n, "one"), b);
    ck_assert_ptr_null(block_dirty_bitmap_find(n, "two"));
    block_dirty_bitmap_set_read_only(b, true);
    ck_assert(!block_dirty_bitmap_check(b, BITMAP_CHECK_ALL, &o.err));
    ck_error(o.err, "Bitmap 'one' is readonly and cannot be modified");
    ck_assert(block_dirty_bitmap_check(b, BITMAP_CHECK_BUSY, &o.err));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {bits_as_a_model,
                                  sparse,
                                  threads_lose_nothing,
                                  writes_are_recorded,
                                  format_resize_compressed,
                                  merge_and_successors,
                                  as_bytes,
                                  names,
                                  NULL};

    return fixture_run("dirty_bitmap", tests);
}

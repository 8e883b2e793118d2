/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent bitmaps, and a power cut after any event while they are made, used, stored, taken away
 * and resized. Whatever the image says afterwards: where it has a bitmap that is not marked as
 * inconsistent, each granule whose content has changed since the bitmap began has its bit.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "block/image.h"

enum { LENGTH = 256 * 1024, GRANULE = 4096 };

static const char *const options[] = {
    "cluster_size=64k",
    "cluster_size=512",
    "cluster_size=4k,lazy_refcounts=on",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=4k,refcount_bits=1",
    /* The extension lies behind another one, and moves when that becomes longer. */
    "cluster_size=4k,backing_file=b,backing_fmt=raw",
};

static const char *now_testing;
static unsigned part; /* one in so many cuts is tried */

static void cut_fail(const char *what, unsigned event) G_GNUC_NORETURN;
static void cut_fail(const char *what, unsigned event)
{
    printf("Bail out! %s, cut before event %u: %s\n", now_testing, event, what);
    exit(1);
}

typedef struct {
    BlockNode *n;
    GRand *rand;
    uint8_t *buf;
    const char *name;
    enum { WRITES, ADD, REMOVE } what;
} Step;

static int coroutine_fn step_fn(void *data)
{
    Step *st = data;
    BlockDirtyBitmap *b;
    uint8_t buf[3 * GRANULE];

    switch (st->what) {
    case ADD:
        b = block_dirty_bitmap_new(st->n, st->name, GRANULE, NULL);
        g_assert(b);
        block_dirty_bitmap_set_persistent(b, true);
        return 0;
    case REMOVE:
        b = block_dirty_bitmap_find(st->n, st->name);
        g_assert(b);
        g_assert(block_dirty_bitmap_remove(b, NULL));
        return 0;
    case WRITES:
        break;
    }
    for (int i = 0; i < 4; i++) {
        uint64_t len = g_rand_int_range(st->rand, 1, sizeof buf / 512) * 512;
        uint64_t at = g_rand_int_range(st->rand, 0, (LENGTH - len) / 512) * 512;

        memset(buf, g_rand_int_range(st->rand, 1, 256), len);
        g_assert(block_pwrite(st->n, at, buf, len, 0) == 0);
        if (i == 1) {
            g_assert(block_flush(st->n) == 0);
        }
    }
    return 0;
}

static void session(GRand *rand, int what, const char *name)
{
    g_autoptr(GError) err = NULL;
    Step st = {.rand = rand, .name = name, .what = what};

    st.n = imgtest_open("qcow2", "disk", "{\"backing\":null}", &err);
    g_assert_no_error(err);
    block_run(step_fn, &st);
    block_node_unref(st.n);
}

static int coroutine_fn look_fn(void *data)
{
    Step *st = data;
    BlockCheckResult res = {0};
    int ret = block_pread(st->n, 0, st->buf, LENGTH);

    ret = ret < 0 ? ret : st->n->driver->check(st->n, &res, BLOCK_CHECK_QUIET);
    return ret < 0 ? ret : (int)(res.corruptions + res.check_errors);
}

/* Whether the bitmap has a bit for each granule that differs from 'before'. 0: it is of no use. */
static bool look(const char *disk, const char *how, const uint8_t *before, unsigned event)
{
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *buf = g_malloc(LENGTH);
    BlockNode *n = imgtest_open("qcow2", disk, how, &err);
    Step st = {.n = n, .buf = buf};
    BlockDirtyBitmap *b;
    bool found;

    if (!n) {
        cut_fail(err->message, event);
    }
    /* A read-only image whose dirty bit is set is repaired when it is opened for writing. */
    if (block_run(look_fn, &st) && !n->read_only) {
        cut_fail("the image is inconsistent", event);
    }
    b = block_dirty_bitmap_find(n, "m");
    found = b && !block_dirty_bitmap_inconsistent(b);
    for (uint64_t at = 0; found && at < LENGTH; at += GRANULE) {
        uint64_t off = at, bytes;

        if (memcmp(before + at, buf + at, GRANULE) &&
            (!block_dirty_bitmap_next_dirty(b, &off, &bytes, GRANULE, false) || off != at)) {
            cut_fail("a granule has changed, and its bit is not set", event);
        }
    }
    block_node_unref(n);
    return found;
}

static unsigned cuts(const MemDisk *disk, const uint8_t *before, GRand *rand)
{
    unsigned found = 0;

    for (unsigned event = 2; event <= disk->log->len; event += part) {
        for (int variant = 0; variant < 3; variant++) {
            GByteArray *image = memdisk_after_cut(disk->log, event, rand);
            MemDisk *after = memdisk_new("after");

            memdisk_set(after, image->data, image->len);
            g_byte_array_unref(image);
            found += look("after", "{\"read-only\":true,\"backing\":null}", before, event);
            look("after", "{\"backing\":null}", before, event);
            look("after", "{\"backing\":null}", before, event);
            memdisk_free(after);
        }
    }
    return found;
}

static void log_begin(MemDisk *m)
{
    MemEvent whole = {.kind = MEM_WRITE, .bytes = m->length};
    MemEvent flush = {.kind = MEM_FLUSH, .bytes = 1};

    memdisk_clear_log(m);
    whole.data = g_memdup2(m->data, m->length);
    g_array_append_val(m->log, whole);
    g_array_append_val(m->log, flush);
    m->logging = true;
}

static void test_options(unsigned i)
{
    g_autofree char *text = g_strdup_printf("size=%u,%s", LENGTH, options[i]);
    g_autofree uint8_t *before = g_malloc(LENGTH);
    GRand *rand = g_rand_new_with_seed(i + 1);
    MemDisk *disk = imgtest_create("disk", "qcow2", text);
    Step st = {.buf = before};
    unsigned events, found;

    now_testing = options[i];
    session(rand, WRITES, NULL);
    st.n = imgtest_open("qcow2", "disk", "{\"backing\":null}", NULL);
    g_assert(block_run(look_fn, &st) == 0);
    block_node_unref(st.n);
    log_begin(disk);
    session(rand, ADD, "m");
    session(rand, WRITES, NULL);
    session(rand, ADD, "n");
    session(rand, WRITES, NULL);
    session(rand, REMOVE, "n");
    session(rand, WRITES, NULL);
    disk->logging = false;
    found = cuts(disk, before, rand);
    events = disk->log->len;
    g_assert(found > events / 10 / part);
    memdisk_free(disk);
    g_rand_free(rand);
    printf("ok %u - %s: %u events\n", i + 1, options[i], events);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    part = argc > 1 ? MAX(atoi(argv[1]), 1) : 1;
    imgtest_init();
    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(options));
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        test_options(i);
    }
    memdisk_free_all();
    return 0;
}

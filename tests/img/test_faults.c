/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An error at each write and flush of an image's file, one by one, while the disk is written to,
 * zeroed, discarded, flushed and resized. After one error all goes on: what failed has its old or
 * its new content, and the image is consistent. After errors without end the image is what a cut
 * of power may leave.
 *
 *     img-faults [SEED [PART]]
 *
 * PART: only one in so many writes fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "world.h"
#include "base/iov.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

enum { OPERATIONS = 14, REFTABLE_CLUSTERS = 56 /* in the header */ };

typedef struct {
    Shape shape;
    unsigned filled; /* bytes of data to begin with */
} Case;

typedef struct {
    World *w;
    const Case *c;
    bool notes;          /* 'contents' is wanted */
    GPtrArray *contents; /* of GByteArray: the disk at the last good flush, and after each step */
} Run;

static const Case cases[] = {
    {{"cluster_size=4k"}},
    {{"cluster_size=512"}},
    {{"cluster_size=16k,extended_l2=on"}},
    {{"cluster_size=4k,compat=0.10"}},
    {{"cluster_size=4k,lazy_refcounts=on"}},
    {{"cluster_size=4k", .backing = true}},
    /* The refcount table becomes too small on the way. */
    {{"cluster_size=512,refcount_bits=64", .size = 3 * MiB}, 1900 * KiB},
    {{"", .size = 3 * MiB, .format = "vdi"}},
    {{"", .format = "vmdk"}},
    {{"zeroed_grain=on", .format = "vmdk", .backing = true}},
};

typedef struct {
    const char *name;
    bool for_good, written;
} Fault;
static const Fault faults[] = {
    {"one error"},
    {"one error, and the write is done", .written = true},
    {"errors from there on", .for_good = true},
    {"errors from there on, and the writes are done", .for_good = true, .written = true},
};

static void faults_note(Run *r)
{
    if (r->notes) {
        g_ptr_array_add(r->contents, bytes_copy(r->w->model->disk));
    }
}

static void coroutine_fn faults_flush(Run *r)
{
    int ret = block_flush(r->w->n);

    if (ret == 0) {
        g_ptr_array_set_size(r->contents, 0);
    } else if (!r->w->may_fail) {
        world_fail("flush: %s", g_strerror(-ret));
    }
}

static int coroutine_fn faults_begin(void *data)
{
    Run *r = data;
    World *w = r->w;

    if (r->c->filled) {
        world_fill(w->rand, w->model->disk->data, r->c->filled);
        g_assert(block_pwrite(w->n, 0, w->model->disk->data, r->c->filled, 0) == 0);
    }
    for (int i = 0; i < 4; i++) {
        world_write(w);
    }
    faults_flush(r);
    faults_note(r);
    g_assert(w->shape->format || ldbe32(w->file->data + REFTABLE_CLUSTERS) == 1);
    return 0;
}

static int coroutine_fn faults_work(void *data)
{
    Run *r = data;
    World *w = r->w;

    if (r->c->filled && w->may_fail) {
        world_write_at(w, r->c->filled, 160 * KiB);
        faults_flush(r);
        faults_note(r);
    }
    for (unsigned i = 0; i < OPERATIONS; i++) {
        unsigned dice = g_rand_int_range(w->rand, 0, 10);

        if (dice < 7) {
            world_write(w);
        } else if (dice < (w->shape->format ? 10 : w->shape->backing ? 8 : 9)) {
            faults_flush(r);
        } else {
            world_resize(w);
        }
        faults_note(r);
    }
    return 0;
}

static bool faults_acceptable(const Run *r, unsigned at, const uint8_t *sector)
{
    for (unsigned i = 0; i < r->contents->len; i++) {
        const GByteArray *c = r->contents->pdata[i];

        /* Where the disk has been shorter there may be zeroes. */
        if (at < c->len ? !memcmp(c->data + at, sector, SECTOR) : buffer_is_zero(sector, SECTOR)) {
            return true;
        }
    }
    return false;
}

/* Each sector has what it had at the last good flush, or since. */
static int coroutine_fn faults_compare(void *data)
{
    Run *r = data;
    unsigned len = block_length(r->w->n);
    g_autofree uint8_t *now = g_malloc(len);

    g_assert(block_pread(r->w->n, 0, now, len) == 0);
    for (unsigned at = 0; at < len; at += SECTOR) {
        if (!faults_acceptable(r, at, now + at)) {
            return at / SECTOR + 1;
        }
    }
    return 0;
}

/* After one error: the disk takes writes again, and has all of them when it is opened anew. */
static void faults_go_on(Run *r, const char *when)
{
    World *w = r->w;
    g_autofree char *why = NULL;

    w->may_fail = false;
    block_run(faults_work, r);
    world_check(w->n, 0, true, when);
    world_reopen(w);
    why = world_differs(w->n, w->model, false);
    if (why) {
        world_fail("%s: %s", when, why);
    }
}

static void faults_look(Run *r, const char *when)
{
    int sector;

    sector = block_run(faults_compare, r);
    if (sector) {
        world_fail("%s: sector %d has content that it never had", when, sector - 1);
    }
}

/* False: the work has fewer writes and flushes. */
static bool faults_try(const Case *c, const Fault *f, unsigned seed, unsigned nth)
{
    World *w = world_new(&c->shape, seed);
    Run r = {.w = w, .c = c, .notes = f->for_good};
    g_autofree char *when =
        g_strdup_printf("%s %s, %s, the %u.", world_format(w), c->shape.options, f->name, nth);
    bool failed;

    r.contents = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
    block_run(faults_begin, &r);
    w->may_fail = true;
    w->file->fail_in = nth;
    w->file->fail_for_good = f->for_good;
    w->file->fail_written = f->written;
    block_run(faults_work, &r);
    failed = w->file->failed;
    if (!failed && c->filled && ldbe32(w->file->data + REFTABLE_CLUSTERS) < 2) {
        world_fail("the refcount table has not grown");
    }
    w->file->fail_in = failed && f->for_good ? 1 : 0;
    if (f->for_good) {
        block_node_unref(w->n);
        w->file->fail_in = 0;
        w->n = world_open(w, "disk");
        faults_look(&r, when);
    } else if (failed) {
        faults_go_on(&r, when);
    }
    world_check(w->n, 0, true, when);
    g_ptr_array_unref(r.contents);
    world_free(w);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    unsigned part = argc > 2 ? MAX(atoi(argv[2]), 1) : 1;
    EventLoop *loop = imgtest_init();

    /* What a check says about leaks and repairs is not of interest here. */
    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(cases));
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned tried = 0;

        for (unsigned f = 0; f < ARRAY_SIZE(faults); f++) {
            for (unsigned nth = 1; faults_try(&cases[i], &faults[f], seed + i, nth); nth += part) {
                tried++;
            }
        }
        printf("# %u failures\nok %u - %s %s\n", tried, i + 1,
               cases[i].shape.format ? cases[i].shape.format : "qcow2", cases[i].shape.options);
        fflush(stdout);
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commit and rebase, interrupted. Writes fail at random, or the power is cut after any event, in
 * which case each disk has all that was flushed and any part of the rest. Whenever that happens the
 * chain of images has to read as before.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/image.h"

enum { LENGTH = 300 * 1024 + BLOCK_SECTOR_SIZE, BASE_LENGTH = 200 * 1024 };

static void chain_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void chain_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

/* The chain over the disks of these names. */
static BlockNode *chain_open(const char *top, const char *base_format, const char *base)
{
    g_autofree char *extra =
        g_strdup_printf("{\"discard\":\"unmap\",\"backing\":{\"driver\":\"%s\","
                        "\"file\":{\"driver\":\"memdisk\",\"name\":\"%s\"}}}",
                        base_format, base);
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open("qcow2", top, extra, &err);

    if (!n) {
        chain_fail("could not open '%s': %s", top, err->message);
    }
    return n;
}

typedef struct {
    BlockNode *n;
    uint8_t *buf;
    GRand *rand;
    unsigned writes;
    uint64_t length;
} Io;

static int coroutine_fn chain_scribble_fn(void *data)
{
    Io *io = data;
    int ret = 0;

    for (unsigned i = 0; i < io->writes && ret == 0; i++) {
        uint64_t len = g_rand_int_range(io->rand, 1, 80) * BLOCK_SECTOR_SIZE;
        uint64_t at = g_rand_int_range(io->rand, 0, (io->length - len) / BLOCK_SECTOR_SIZE) *
                      BLOCK_SECTOR_SIZE;

        if (g_rand_int_range(io->rand, 0, 4) == 0) {
            ret = block_pwrite_zeroes(io->n, at, len, BLOCK_REQ_MAY_UNMAP);
            continue;
        }
        memset(io->buf, g_rand_int_range(io->rand, 1, 256), len);
        ret = block_pwrite(io->n, at, io->buf, len, 0);
    }
    return ret < 0 ? ret : block_flush(io->n);
}

static void chain_scribble(BlockNode *n, GRand *rand, unsigned writes)
{
    g_autofree uint8_t *buf = g_malloc(LENGTH);
    Io io = {.n = n, .buf = buf, .rand = rand, .writes = writes, .length = block_length(n)};

    g_assert(block_run(chain_scribble_fn, &io) == 0);
}

static int coroutine_fn chain_read_fn(void *data)
{
    Io *io = data;
    BlockCheckResult res = {0};
    int ret = block_pread(io->n, 0, io->buf, LENGTH);

    ret = ret < 0 ? ret : io->n->driver->check(io->n, &res, BLOCK_CHECK_QUIET);
    return ret < 0 ? ret : (int)(res.corruptions + res.check_errors);
}

/* What the disk reads as; the caller frees it. */
static uint8_t *chain_read(BlockNode *n)
{
    uint8_t *buf = g_malloc(LENGTH);
    Io io = {.n = n, .buf = buf};
    int ret = block_run(chain_read_fn, &io);

    if (ret) {
        chain_fail("reading '%s': %d", n->filename, ret);
    }
    return buf;
}

typedef struct {
    const char *top_options, *base_format, *base_options;
} Shape;

static const Shape shapes[] = {
    {"cluster_size=4k", "raw", NULL},
    {"cluster_size=64k", "qcow2", "cluster_size=4k"},
    {"cluster_size=512", "qcow2", "cluster_size=512"},
    {"cluster_size=16k,extended_l2=on", "raw", NULL},
    {"cluster_size=4k,lazy_refcounts=on", "qcow2", "cluster_size=4k,lazy_refcounts=on"},
    {"cluster_size=4k,compat=0.10", "qcow2", "cluster_size=64k,compat=0.10"},
};

typedef struct {
    const Shape *shape;
    MemDisk *top, *base;
    GRand *rand;
    uint8_t *content;
} Chain;

static MemDisk *chain_disk(const char *name, const char *format, const char *options,
                           unsigned length)
{
    g_autofree char *text =
        g_strdup_printf("size=%u%s%s", length, options ? "," : "", options ? options : "");

    return imgtest_create(name, format, text);
}

/* Makes the chain, "top" over "base", and fills both. */
static Chain *chain_new(const Shape *shape, unsigned seed)
{
    g_autoptr(GError) err = NULL;
    Chain *c = g_new0(Chain, 1);
    BlockNode *n;

    c->shape = shape;
    c->rand = g_rand_new_with_seed(seed);
    c->base = chain_disk("base", shape->base_format, shape->base_options, BASE_LENGTH);
    c->top = chain_disk("top", "qcow2", shape->top_options, LENGTH);
    n = imgtest_open(shape->base_format, "base", NULL, &err);
    g_assert_no_error(err);
    chain_scribble(n, c->rand, 12);
    block_node_unref(n);
    n = chain_open("top", shape->base_format, "base");
    chain_scribble(n, c->rand, 8);
    c->content = chain_read(n);
    block_node_unref(n);
    return c;
}

static void chain_free(Chain *c)
{
    memdisk_free(c->top);
    memdisk_free(c->base);
    g_rand_free(c->rand);
    g_free(c->content);
    g_free(c);
}

static void chain_expect(const Chain *c, const char *top, const char *base, const char *when,
                         unsigned number)
{
    BlockNode *n = chain_open(top, c->shape->base_format, base);
    g_autofree uint8_t *now = chain_read(n);

    for (unsigned i = 0; i < LENGTH; i++) {
        if (now[i] != c->content[i]) {
            chain_fail("%s, %s %u: byte %u is %#x, was %#x", c->shape->top_options, when, number, i,
                       now[i], c->content[i]);
        }
    }
    block_node_unref(n);
}

/* --- commit --- */

typedef struct {
    BlockCommit commit;
    GError *err;
} CommitRun;

static int coroutine_fn chain_commit_fn(void *data)
{
    CommitRun *r = data;

    return block_commit(&r->commit, &r->err) ? 0 : -EIO;
}

static bool chain_commit(const Chain *c)
{
    BlockNode *n = chain_open("top", c->shape->base_format, "base");
    CommitRun r = {.commit = {.top = n, .base = n->backing}};
    int ret = block_run(chain_commit_fn, &r);

    g_assert((ret < 0) == (r.err != NULL));
    g_clear_error(&r.err);
    block_node_unref(n);
    return ret == 0;
}

/* --- rebase --- */

/* Of the tests that rebase: the new backing file. */
static MemDisk *chain_new_base(const Chain *c)
{
    g_autoptr(GError) err = NULL;
    MemDisk *m = chain_disk("new", c->shape->base_format, c->shape->base_options, BASE_LENGTH / 2);
    BlockNode *n = imgtest_open(c->shape->base_format, "new", NULL, &err);

    g_assert_no_error(err);
    chain_scribble(n, c->rand, 6);
    block_node_unref(n);
    return m;
}

typedef struct {
    BlockRebase rebase;
    const char *name;
    GError *err;
} RebaseRun;

static int coroutine_fn chain_rebase_fn(void *data)
{
    RebaseRun *r = data;

    return block_rebase_copy(&r->rebase, &r->err)
               ? block_set_backing_name(r->rebase.top, r->name, "raw")
               : -EIO;
}

static int coroutine_fn chain_rename_fn(void *data)
{
    RebaseRun *r = data;

    return block_set_backing_name(r->rebase.top, r->name, "raw");
}

static bool chain_rebase(const Chain *c, const char *name)
{
    BlockNode *n = chain_open("top", c->shape->base_format, "base");
    RebaseRun r = {.rebase = {.top = n}, .name = name};
    int ret;

    r.rebase.backing = imgtest_open(c->shape->base_format, "new", NULL, &r.err);
    g_assert_no_error(r.err);
    ret = block_run(chain_rebase_fn, &r);
    g_clear_error(&r.err);
    block_node_unref(r.rebase.backing);
    block_node_unref(n);
    return ret == 0;
}

/* The name of the backing file in the image on this disk; the caller frees it. */
static char *chain_backing_name(const char *disk)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open("qcow2", disk, "{\"read-only\":true,\"backing\":null}", &err);
    char *name;

    if (!n) {
        chain_fail("could not open '%s': %s", disk, err->message);
    }
    name = g_strdup(n->backing_name ? n->backing_name : "");
    block_node_unref(n);
    return name;
}

/* --- interruptions --- */

/* How many events of the log came before this one. */
static unsigned chain_events_before(const GArray *log, unsigned serial)
{
    unsigned n = 0;

    while (n < log->len && g_array_index(log, MemEvent, n).serial < serial) {
        n++;
    }
    return n;
}

/* Starts the log with the disk as it is, stable. */
static void chain_log_begin(MemDisk *m)
{
    MemEvent whole = {.kind = MEM_WRITE, .bytes = m->length};
    MemEvent flush = {.kind = MEM_FLUSH, .bytes = 1};

    memdisk_clear_log(m);
    whole.data = g_memdup2(m->data, m->length);
    g_array_append_val(m->log, whole);
    g_array_append_val(m->log, flush);
    m->logging = true;
}

static void chain_after_cut(const MemDisk *m, const char *name, unsigned serial, GRand *rand)
{
    GByteArray *image =
        memdisk_after_cut(m->log, MAX(chain_events_before(m->log, serial), 2), rand);
    MemDisk *after = memdisk_new(name);

    memdisk_set(after, image->data, image->len);
    g_byte_array_unref(image);
}

static unsigned chain_last_serial(const MemDisk *m)
{
    return g_array_index(m->log, MemEvent, m->log->len - 1).serial;
}

/* Cuts the power before each event of both disks, and looks. */
static unsigned chain_cuts(const Chain *c)
{
    unsigned first =
        MIN(g_array_index(c->top->log, MemEvent, MIN(2, c->top->log->len - 1)).serial,
            g_array_index(c->base->log, MemEvent, MIN(2, c->base->log->len - 1)).serial);
    unsigned last = MAX(chain_last_serial(c->top), chain_last_serial(c->base)) + 1;

    for (unsigned serial = first; serial <= last; serial++) {
        for (int variant = 0; variant < 3; variant++) {
            chain_after_cut(c->top, "top-after", serial, c->rand);
            chain_after_cut(c->base, "base-after", serial, c->rand);
            chain_expect(c, "top-after", "base-after", "cut before event", serial - first);
            memdisk_free(memdisk_find("top-after"));
            memdisk_free(memdisk_find("base-after"));
        }
    }
    return last - first;
}

/* Discards in the log: neighbours that are freed together are given back together. */
static unsigned chain_discards(const MemDisk *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->log->len; i++) {
        const MemEvent *e = &g_array_index(m->log, MemEvent, i);
        n += e->kind == MEM_WRITE && !e->data;
    }
    return n;
}

static void test_commit_cut(const Shape *shape, unsigned seed)
{
    Chain *c = chain_new(shape, seed);
    unsigned events;

    chain_log_begin(c->top);
    chain_log_begin(c->base);
    if (!chain_commit(c)) {
        chain_fail("%s: commit failed", shape->top_options);
    }
    c->top->logging = c->base->logging = false;
    if (chain_discards(c->top) > 20) {
        chain_fail("%s: %u discards", shape->top_options, chain_discards(c->top));
    }
    events = chain_cuts(c);
    if (events < 5) {
        chain_fail("%s: only %u events", shape->top_options, events);
    }
    chain_free(c);
}

static void test_commit_fails(const Shape *shape, unsigned seed)
{
    unsigned failed = 0;

    for (unsigned try = 0; try < 20; try++) {
        Chain *c = chain_new(shape, seed + try);

        c->top->fail_percent = try % 2 ? 20 : 0;
        c->base->fail_percent = try % 2 ? 0 : 20;
        failed += !chain_commit(c);
        c->top->fail_percent = c->base->fail_percent = 0;
        chain_expect(c, "top", "base", "try", try);
        chain_free(c);
    }
    if (!failed) {
        chain_fail("%s: no commit has failed", shape->top_options);
    }
}

/* The header names one of two files: over that one the disk reads as before. */
static void chain_expect_rebased(const Chain *c, const char *top, const char *old, const char *new,
                                 const char *when, unsigned number)
{
    g_autofree char *name = chain_backing_name(top);

    if (!g_str_equal(name, old) && !g_str_equal(name, new)) {
        chain_fail("%s, %s %u: named '%s'", c->shape->top_options, when, number, name);
    }
    chain_expect(c, top, g_str_equal(name, new) ? "new" : "base", when, number);
}

/* Writes the first name into the header. */
static void chain_first_name(const char *name)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open("qcow2", "top", "{\"backing\":null}", &err);
    RebaseRun r = {.rebase = {.top = n}, .name = name};

    g_assert_no_error(err);
    g_assert(block_run(chain_rename_fn, &r) == 0);
    block_node_unref(n);
}

static void test_rebase_cut(const Shape *shape, unsigned seed)
{
    static const char *const names[][2] = {{"base", "new"}, {"base", "another/of/which/it/is"}};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        Chain *c = chain_new(shape, seed);
        MemDisk *new = chain_new_base(c);
        unsigned events;

        chain_first_name(names[i][0]);
        chain_log_begin(c->top);
        if (!chain_rebase(c, names[i][1])) {
            chain_fail("%s: rebase failed", shape->top_options);
        }
        c->top->logging = false;
        events = g_array_index(c->top->log, MemEvent, c->top->log->len - 1).serial;
        for (unsigned serial = 0; serial <= events + 1; serial++) {
            if (serial < g_array_index(c->top->log, MemEvent, 2).serial) {
                serial = g_array_index(c->top->log, MemEvent, 2).serial;
            }
            for (int variant = 0; variant < 6; variant++) {
                chain_after_cut(c->top, "top-after", serial, c->rand);
                chain_expect_rebased(c, "top-after", names[i][0], names[i][1], "cut before event",
                                     serial);
                memdisk_free(memdisk_find("top-after"));
            }
        }
        memdisk_free(new);
        chain_free(c);
    }
}

static void test_rebase_fails(const Shape *shape, unsigned seed)
{
    unsigned failed = 0;

    for (unsigned try = 0; try < 20; try++) {
        Chain *c = chain_new(shape, seed + try);
        MemDisk *new = chain_new_base(c);

        chain_first_name("base");
        c->top->fail_percent = 15;
        failed += !chain_rebase(c, "new");
        c->top->fail_percent = 0;
        chain_expect_rebased(c, "top", "base", "new", "try", try);
        memdisk_free(new);
        chain_free(c);
    }
    if (!failed) {
        chain_fail("%s: no rebase has failed", shape->top_options);
    }
}

typedef struct {
    const char *name;
    void (*fn)(const Shape *shape, unsigned seed);
} Test;

static const Test tests[] = {
    {"commit, power cut", test_commit_cut},
    {"commit, failing writes", test_commit_fails},
    {"rebase, power cut", test_rebase_cut},
    {"rebase, failing writes", test_rebase_fails},
};

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1, number = 0;
    unsigned count =
        argc > 2 ? MIN(strtoul(argv[2], NULL, 0), ARRAY_SIZE(shapes)) : ARRAY_SIZE(shapes);
    EventLoop *loop = imgtest_init();

    /* Errors of nodes that close are expected. */
    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(tests) * count);
    for (unsigned t = 0; t < ARRAY_SIZE(tests); t++) {
        for (unsigned i = 0; i < count; i++) {
            tests[t].fn(&shapes[i], seed + i);
            printf("ok %u - %s: %s over %s\n", ++number, tests[t].name, shapes[i].top_options,
                   shapes[i].base_format);
            fflush(stdout);
        }
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

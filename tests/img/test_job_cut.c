/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stream, commit and HMP's commit, interrupted: the power is cut after any event, in which case
 * each disk has all that was flushed and any part of the rest. A guest writes meanwhile, sector
 * after sector, and flushes after each. Whenever the cut comes, the chain that the images name
 * reads as before, with all sectors that were flushed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../block/core.h"
#include "memdisk.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/chain_jobs.h"
#include "block/image.h"

enum { LENGTH = 192 * 1024, DISKS = 3, GUEST_WRITES = 24, NEW = 0xee, MB = 1024 * 1024 };

static const char *const names[DISKS] = {"base", "mid", "top"};
static const char *const after_names[DISKS] = {"base-after", "mid-after", "top-after"};

static void cut_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void cut_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

typedef struct {
    const char *name, *base_format, *base_options, *options;
    bool commit, whole; /* whole: a stream without a base */
    bool live;          /* HMP's commit: 'top' goes into 'mid', and is emptied */
} Shape;

static const Shape shapes[] = {
    {"stream of all", "raw", "", ",cluster_size=4k", .whole = true},
    {"stream of all, subclusters", "raw", "", ",cluster_size=16k,extended_l2=on", .whole = true},
    {"stream above a base", "qcow2", ",cluster_size=4k", ",cluster_size=4k"},
    {"stream above a base, lazy", "raw", "", ",cluster_size=8k,lazy_refcounts=on"},
    {"commit into raw", "raw", "", ",cluster_size=4k", .commit = true},
    {"commit into qcow2", "qcow2", ",cluster_size=512", ",cluster_size=16k", .commit = true},
    {"commit of HMP", "raw", "", ",cluster_size=4k", .live = true},
    {"commit of HMP, subclusters", "qcow2", ",cluster_size=4k", ",cluster_size=16k,extended_l2=on",
     .live = true},
    {"commit of HMP, small clusters", "raw", "", ",cluster_size=512", .live = true},
};

typedef struct {
    const Shape *shape;
    MemDisk *disks[DISKS];
    GRand *rand;
    uint8_t *content;
    /* The guest's: where each write goes, and the number of the last event before it is stable. */
    unsigned sectors[GUEST_WRITES], stable[GUEST_WRITES], begun[GUEST_WRITES];
    unsigned written;
    BlockNode *top;
    BlockBackend *blk; /* live: through which the guest writes; its requests wait in a section */
    bool ended;
} Cut;

static unsigned last_serial(const Cut *c)
{
    unsigned last = 0;

    for (unsigned i = 0; i < DISKS; i++) {
        const GArray *log = c->disks[i]->log;
        last = MAX(last, log->len ? g_array_index(log, MemEvent, log->len - 1).serial : 0);
    }
    return last;
}

/* The chain of the images on these disks, from 'level' down; what the images name is below them. */
static json_t *chain_tree(const Cut *c, const char *const *disks, unsigned level, bool skip_mid)
{
    const char *format = level ? "qcow2" : c->shape->base_format;
    json_t *tree = json_pack("{s:s,s:s,s:{s:s,s:s}}", "driver", format, "discard", "unmap", "file",
                             "driver", "memdisk", "name", disks[level]);

    if (level) {
        json_object_set_new(tree, "backing", chain_tree(c, disks, skip_mid ? 0 : level - 1, false));
    }
    return tree;
}

/* 'held': this program uses the node; else a disk will. */
static BlockNode *chain_open_as(json_t *tree, bool held)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = held ? block_image_open(tree, 0, &err) : block_node_open_unheld(tree, 0, &err);

    json_decref(tree);
    if (!n) {
        cut_fail("could not open the chain: %s", err->message);
    }
    return n;
}

static BlockNode *chain_open(json_t *tree)
{
    return chain_open_as(tree, true);
}

typedef struct {
    BlockNode *n;
    uint8_t *buf;
    GRand *rand;
} Io;

static int coroutine_fn scribble_fn(void *data)
{
    Io *io = data;
    int ret = 0;

    for (unsigned i = 0; i < 14 && ret == 0; i++) {
        uint64_t len = g_rand_int_range(io->rand, 1, 40) * BLOCK_SECTOR_SIZE;
        uint64_t at =
            g_rand_int_range(io->rand, 0, (LENGTH - len) / BLOCK_SECTOR_SIZE) * BLOCK_SECTOR_SIZE;

        if (i % 5 == 4) {
            ret = block_pwrite_zeroes(io->n, at, len, 0);
            continue;
        }
        memset(io->buf, g_rand_int_range(io->rand, 1, 200), len);
        ret = block_pwrite(io->n, at, io->buf, len, 0);
    }
    return ret < 0 ? ret : block_flush(io->n);
}

static int coroutine_fn read_fn(void *data)
{
    Io *io = data;
    BlockCheckResult res = {0};
    int ret = block_pread(io->n, 0, io->buf, LENGTH);

    for (BlockNode *n = io->n; ret == 0 && n; n = n->backing) {
        ret = n->driver->check ? n->driver->check(n, &res, BLOCK_CHECK_QUIET) : 0;
        ret = ret < 0 ? ret : (int)(res.corruptions + res.check_errors);
    }
    return ret;
}

static uint8_t *chain_read(BlockNode *n, const char *when)
{
    Io io = {.n = n, .buf = g_malloc(LENGTH)};
    int ret = block_run(read_fn, &io);

    if (ret) {
        cut_fail("%s: reading the chain: %d", when, ret);
    }
    return io.buf;
}

static Cut *cut_new(const Shape *shape, unsigned seed)
{
    Cut *c = g_new0(Cut, 1);
    g_autofree uint8_t *buf = g_malloc(LENGTH);

    c->shape = shape;
    c->rand = g_rand_new_with_seed(seed);
    for (unsigned i = 0; i < DISKS; i++) {
        g_autofree char *options =
            g_strdup_printf("size=%d%s%s%s", LENGTH, i ? shape->options : shape->base_options,
                            i ? ",backing_file=" : "", i ? names[i - 1] : "");
        g_autofree char *full =
            i ? g_strdup_printf("%s,backing_fmt=%s", options, i == 1 ? shape->base_format : "qcow2")
              : g_strdup(options);
        Io io = {.buf = buf, .rand = c->rand};

        c->disks[i] = imgtest_create(names[i], i ? "qcow2" : shape->base_format, full);
        io.n = chain_open(chain_tree(c, names, i, false));
        if (block_run(scribble_fn, &io) < 0) {
            cut_fail("could not fill '%s'", names[i]);
        }
        block_node_unref(io.n);
    }
    return c;
}

static void cut_free(Cut *c)
{
    for (unsigned i = 0; i < DISKS; i++) {
        memdisk_free(c->disks[i]);
    }
    g_rand_free(c->rand);
    g_free(c->content);
    g_free(c);
}

/* Starts the log with the disk as it is, stable. */
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

/* The job, and the guest beside it. */

static int coroutine_fn start_fn(void *data)
{
    Cut *c = data;
    JobOptions o = {.id = (char *)"j", .auto_finalize = true, .auto_dismiss = true};
    GError *err = NULL;
    bool ok;

    if (c->shape->commit) {
        BlockCommitJob what = {
            .disk = c->top, .top = c->top->backing, .base = c->top->backing->backing};
        ok = block_commit_job_start(&o, &what, &err);
    } else {
        BlockStream what = {.top = c->top};
        what.base = c->shape->whole ? NULL : c->top->backing->backing;
        ok = block_stream_start(&o, &what, &err);
    }
    if (!ok) {
        cut_fail("%s: %s", c->shape->name, err->message);
    }
    return 0;
}

static int coroutine_fn guest_write(Cut *c, uint64_t at, uint8_t *buf)
{
    struct iovec iov = {.iov_base = buf, .iov_len = BLOCK_SECTOR_SIZE};
    BlockRequest write = {
        .op = BLOCK_OP_WRITE, .offset = at, .bytes = BLOCK_SECTOR_SIZE, .iov = &iov, .niov = 1};
    BlockRequest flush = {.op = BLOCK_OP_FLUSH};
    int ret;

    if (c->blk) {
        ret = block_backend_co_io(c->blk, &write);
        return ret < 0 ? ret : block_backend_co_io(c->blk, &flush);
    }
    ret = block_pwrite(c->top, at, buf, BLOCK_SECTOR_SIZE, 0);
    return ret < 0 ? ret : block_flush(c->top);
}

static void coroutine_fn guest_entry(void *data)
{
    Cut *c = data;
    uint8_t buf[BLOCK_SECTOR_SIZE];

    memset(buf, NEW, sizeof buf);
    for (unsigned i = 0; i < GUEST_WRITES; i++) {
        c->sectors[i] = g_rand_int_range(c->rand, 0, LENGTH / BLOCK_SECTOR_SIZE);
        c->begun[i] = last_serial(c);
        c->written = i + 1;
        if (guest_write(c, (uint64_t)c->sectors[i] * BLOCK_SECTOR_SIZE, buf) < 0) {
            cut_fail("%s: the guest's write fails", c->shape->name);
        }
        c->stable[i] = last_serial(c);
        coroutine_sleep(CLOCK_REALTIME_NS, 1000);
    }
    c->ended = true;
}

static int coroutine_fn guest_ended(void *data)
{
    Cut *c = data;

    while (!c->ended) {
        coroutine_sleep(CLOCK_REALTIME_NS, 1000);
    }
    return 0;
}

/* Some of the guest's writes come before, and some wait for the end of it. */
static int coroutine_fn commit_live_fn(void *data)
{
    Cut *c = data;
    GError *err = NULL;

    while (c->written < GUEST_WRITES / 4) {
        coroutine_sleep(CLOCK_REALTIME_NS, 1000);
    }
    if (!block_commit_drive("all", &err)) {
        cut_fail("%s: %s", c->shape->name, err->message);
    }
    if (c->ended) {
        cut_fail("%s: the guest had ended before", c->shape->name);
    }
    return 0;
}

static void run_live(Cut *c)
{
    GError *err = NULL;

    c->blk =
        block_backend_attach(c->top->opts.node_name, "/machine/peripheral/a", 0, NULL, NULL, &err);
    if (!c->blk) {
        cut_fail("%s: %s", c->shape->name, err->message);
    }
    coroutine_start(guest_entry, c);
    block_run(commit_live_fn, c);
    block_run(guest_ended, c);
    block_backend_detach(c->blk, true);
    c->blk = NULL;
}

static void run_job(Cut *c)
{
    GError *err = NULL;

    if (c->shape->live) {
        run_live(c);
        return;
    }
    block_run(start_fn, c);
    coroutine_start(guest_entry, c);
    if (!job_run_wait(job_find("j", NULL), &err)) {
        cut_fail("%s: %s", c->shape->name, err->message);
    }
    block_run(guest_ended, c);
}

/* After the cut. */

static void after_cut(Cut *c, unsigned disk, unsigned serial)
{
    MemDisk *m = c->disks[disk], *after = memdisk_new(after_names[disk]);
    unsigned events = 2;
    GByteArray *image;

    while (events < m->log->len && g_array_index(m->log, MemEvent, events).serial < serial) {
        events++;
    }
    image = memdisk_after_cut(m->log, events, c->rand);
    memdisk_set(after, image->data, image->len);
    g_byte_array_unref(image);
}

/* The name of the backing file in the image on the last disk; the caller frees it. */
static char *backing_name(void)
{
    json_t *tree = json_pack("{s:s,s:n,s:b,s:{s:s,s:s}}", "driver", "qcow2", "backing", "read-only",
                             1, "file", "driver", "memdisk", "name", after_names[2]);
    BlockNode *n = chain_open(tree);
    char *name = g_strdup(n->backing_name ? n->backing_name : "");

    block_node_unref(n);
    return name;
}

static bool sector_is(const uint8_t *disk, unsigned sector, const uint8_t *want)
{
    return !memcmp(disk + sector * BLOCK_SECTOR_SIZE, want, BLOCK_SECTOR_SIZE);
}

static void expect(Cut *c, const uint8_t *now, unsigned serial, unsigned number, const char *named)
{
    uint8_t new[BLOCK_SECTOR_SIZE];

    memset(new, NEW, sizeof new);
    for (unsigned s = 0; s < LENGTH / BLOCK_SECTOR_SIZE; s++) {
        bool old_fits = true, new_fits = false;

        for (unsigned i = 0; i < c->written; i++) {
            if (c->sectors[i] == s) {
                new_fits |= c->begun[i] < serial;
                old_fits &= !(c->stable[i] < serial);
            }
        }
        if (!(old_fits && sector_is(now, s, c->content + s * BLOCK_SECTOR_SIZE)) &&
            !(new_fits && sector_is(now, s, new))) {
            cut_fail("%s, cut before event %u, over '%s': sector %u is wrong (%#x)", c->shape->name,
                     number, named, s, now[s * BLOCK_SECTOR_SIZE]);
        }
    }
}

/* Whether the image on the last disk has nothing but what the guest wrote meanwhile. */
static bool is_emptied(void)
{
    json_t *tree = json_pack("{s:s,s:n,s:b,s:{s:s,s:s}}", "driver", "qcow2", "backing", "read-only",
                             1, "file", "driver", "memdisk", "name", after_names[2]);
    BlockNode *n = chain_open(tree);
    g_autofree uint8_t *own = chain_read(n, "the image alone");
    bool is_empty = true;

    for (unsigned i = 0; i < LENGTH; i++) {
        is_empty = is_empty && (own[i] == 0 || own[i] == NEW);
    }
    block_node_unref(n);
    return is_empty;
}

/* One cut. Gives whether the job had done its last step: the image names its new backing file. */
static bool look(Cut *c, unsigned serial, unsigned number)
{
    g_autofree char *named = NULL, *when = g_strdup_printf("cut before event %u", number);
    g_autofree uint8_t *now = NULL;
    json_t *tree;
    BlockNode *n;
    bool done;

    for (unsigned i = 0; i < DISKS; i++) {
        after_cut(c, i, serial);
    }
    named = backing_name();
    tree = chain_tree(c, after_names, 2, g_str_equal(named, "base"));
    if (!*named) {
        json_object_set_new(tree, "backing", json_null());
    } else if (!g_str_equal(named, "mid") && !g_str_equal(named, "base")) {
        cut_fail("%s: named '%s'", when, named);
    }
    n = chain_open(tree);
    now = chain_read(n, when);
    expect(c, now, serial, number, named);
    block_node_unref(n);
    done = c->shape->live ? g_str_equal(named, "mid") && is_emptied() : !g_str_equal(named, "mid");
    for (unsigned i = 0; i < DISKS; i++) {
        memdisk_free(memdisk_find(after_names[i]));
    }
    return done;
}

static void test_cut(const Shape *shape, unsigned seed)
{
    Cut *c = cut_new(shape, seed);
    unsigned first = UINT_MAX, last, moved = 0, cuts = 0;

    c->top = chain_open_as(chain_tree(c, names, 2, false), !shape->live);
    c->content = chain_read(c->top, shape->name);
    for (unsigned i = 0; i < DISKS; i++) {
        log_begin(c->disks[i]);
    }
    run_job(c);
    for (unsigned i = 0; i < DISKS; i++) {
        const GArray *log = c->disks[i]->log;

        c->disks[i]->logging = false;
        first = log->len > 2 ? MIN(first, g_array_index(log, MemEvent, 2).serial) : first;
    }
    last = last_serial(c);
    block_node_unref(c->top);
    for (unsigned serial = first; serial <= last + 1; serial++) {
        for (unsigned variant = 0; variant < 3; variant++, cuts++) {
            moved += look(c, serial, serial - first);
        }
    }
    if (!moved || moved == cuts || cuts < 30) {
        cut_fail("%s: %u cuts, %u of them behind the last step", shape->name, cuts, moved);
    }
    cut_free(c);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    EventLoop *loop = imgtest_init();

    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(shapes));
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        test_cut(&shapes[i], seed + i);
        printf("ok %u - %s\n", i + 1, shapes[i].name);
        fflush(stdout);
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

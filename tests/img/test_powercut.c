/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A power cut at every moment. A workload runs on a memory disk that logs writes and flushes. Then,
 * for each point of that log, an image is put together as a real disk may have it: all writes
 * before the last flush, and of the later ones any part, torn at sectors. The image has to open, a
 * check may find leaks but no corruption, and all data has to be there that a flush of the guest
 * covered.
 *
 *     img-powercut [SEED [OPERATIONS]]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "memdisk.h"
#include "base/iov.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

enum { PARALLEL = 6, SECTOR = 512, SECTORS = 1536, MOST_SECTORS = 6144, VARIANTS = 3 };

typedef struct {
    const char *options, *open;
    const char *format; /* NULL: qcow2 */
    unsigned sectors;   /* 0: SECTORS */
} CutShape;

static const CutShape shapes[] = {
    {"cluster_size=4k", NULL},
    {"cluster_size=512", NULL},
    {"cluster_size=64k", NULL},
    {"cluster_size=4k,lazy_refcounts=on", NULL},
    {"cluster_size=16k,extended_l2=on", NULL},
    {"cluster_size=4k,compat=0.10", NULL},
    {"cluster_size=512,refcount_bits=64", "{\"l2-cache-size\":\"4k\"}"},
    {"cluster_size=4k,backing", NULL},
    {"", NULL, "vdi", 3 * 2048},
    {"", NULL, "vmdk"},
    {"zeroed_grain=on,backing", NULL, "vmdk"},
};

/* A write to one sector. 'version' is in the data, and different for each write request. */
typedef struct {
    uint32_t version;
    bool zero;       /* write-zeroes, or a discard */
    bool maybe_zero; /* a discard: zeroes or the old data */
    unsigned start;  /* length of the disk's log when it was submitted */
} Write;

typedef struct {
    GArray *writes;  /* of Write, in the order of submission */
    GArray *settled; /* of Stable, one a flush of the guest */
} SectorLog;

typedef struct {
    unsigned log_pos; /* length of the disk's log when the flush was done */
    unsigned index;   /* writes[] up to this one (1 is the first) are stable from then on */
} Stable;

typedef struct {
    BlockNode *n;
    MemDisk *disk;
    SectorLog sectors[MOST_SECTORS];
    unsigned completed[MOST_SECTORS]; /* how many of writes[] are complete */
    bool busy[MOST_SECTORS];
    unsigned count; /* of sectors */
    const char *format;
    uint32_t next_version;
    GRand *rand;
    int running;
} Run;

static void powercut_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void powercut_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

static void fill_sector(uint8_t *buf, uint32_t sector, uint32_t version)
{
    for (unsigned i = 0; i < SECTOR; i += 8) {
        memcpy(buf + i, &sector, 4);
        memcpy(buf + i + 4, &version, 4);
    }
}

static void begin_write(Run *r, uint32_t first, uint32_t count, Write w)
{
    w.start = r->disk->log->len;
    for (uint32_t s = first; s < first + count; s++) {
        r->busy[s] = true;
        g_array_append_val(r->sectors[s].writes, w);
    }
}

static void end_write(Run *r, uint32_t first, uint32_t count)
{
    for (uint32_t s = first; s < first + count; s++) {
        r->busy[s] = false;
        r->completed[s] = r->sectors[s].writes->len;
    }
}

static void coroutine_fn guest_flush(Run *r)
{
    g_autofree unsigned *done = g_memdup2(r->completed, sizeof r->completed);
    int ret = block_flush(r->n);

    if (ret < 0) {
        powercut_fail("flush: %s", g_strerror(-ret));
    }
    for (uint32_t s = 0; s < r->count; s++) {
        Stable st = {.log_pos = r->disk->log->len, .index = done[s]};
        g_array_append_val(r->sectors[s].settled, st);
    }
}

static void coroutine_fn powercut_request(void *data)
{
    Run *r = data;
    uint32_t count = g_rand_int_range(r->rand, 1, 64);
    uint32_t first = g_rand_int_range(r->rand, 0, r->count - count + 1);
    int what = g_rand_int_range(r->rand, 0, 100), ret = 0;

    r->running++;
    for (uint32_t s = first; s < first + count; s++) {
        if (r->busy[s]) {
            goto out;
        }
    }
    if (what < 65) {
        uint32_t version = ++r->next_version;
        g_autofree uint8_t *buf = g_malloc(count * SECTOR);

        for (uint32_t i = 0; i < count; i++) {
            fill_sector(buf + i * SECTOR, first + i, version);
        }
        begin_write(r, first, count, (Write){.version = version});
        ret = block_pwrite(r->n, (uint64_t)first * SECTOR, buf, count * SECTOR, 0);
        end_write(r, first, count);
    } else if (what < 75) {
        begin_write(r, first, count, (Write){.zero = true});
        ret = block_pwrite_zeroes(r->n, (uint64_t)first * SECTOR, (uint64_t)count * SECTOR,
                                  BLOCK_REQ_MAY_UNMAP);
        end_write(r, first, count);
    } else if (what < 85) {
        begin_write(r, first, count, (Write){.zero = true, .maybe_zero = true});
        ret = block_pdiscard(r->n, (uint64_t)first * SECTOR, (uint64_t)count * SECTOR);
        end_write(r, first, count);
    } else if (what < 92) {
        guest_flush(r);
    }
    if (ret < 0) {
        powercut_fail("request: %s", g_strerror(-ret));
    }
out:
    r->running--;
}

/* --- after the cut --- */

static bool acceptable(const SectorLog *log, unsigned from, unsigned cut, uint32_t sector,
                       const uint8_t *have, const uint8_t *before)
{
    uint8_t want[SECTOR];

    /* The last stable write is writes[from - 1]. That one or any later may be in the sector. */
    for (unsigned i = from ? from - 1 : 0; i < log->writes->len; i++) {
        const Write *w = &g_array_index(log->writes, Write, i);

        if (i >= from && w->start > cut) {
            break;
        }
        if (w->zero && buffer_is_zero(have, SECTOR)) {
            return true;
        }
        if (!w->zero) {
            fill_sector(want, sector, w->version);
            if (!memcmp(want, have, SECTOR)) {
                return true;
            }
        }
        if (i == (from ? from - 1 : 0) && w->maybe_zero) {
            /* After a discard the sector may have any old data. */
            return true;
        }
    }
    return from == 0 && !memcmp(have, before, SECTOR);
}

typedef struct {
    BlockNode *n;
    uint8_t *buf;
    unsigned bytes;
    BlockCheckResult res;
    int ret;
} Look;

static int coroutine_fn look_fn(void *data)
{
    Look *l = data;

    l->ret = block_pread(l->n, 0, l->buf, l->bytes);
    if (l->ret < 0) {
        return l->ret;
    }
    return l->n->driver->check(l->n, &l->res, 0);
}

static void powercut_verify(Run *r, unsigned cut, const uint8_t *before, const uint8_t *buf)
{
    for (uint32_t s = 0; s < r->count; s++) {
        const SectorLog *log = &r->sectors[s];
        unsigned from = 0;

        for (unsigned i = 0; i < log->settled->len; i++) {
            const Stable *st = &g_array_index(log->settled, Stable, i);
            if (st->log_pos <= cut) {
                from = MAX(from, st->index);
            }
        }
        if (!acceptable(log, from, cut, s, buf + s * SECTOR, before + s * SECTOR)) {
            uint32_t have[2];
            memcpy(have, buf + s * SECTOR, 8);
            powercut_fail("cut at %u: sector %u has (%u, version %u); write %u must be there", cut,
                          s, have[0], have[1], from);
        }
    }
}

static void try_cut(Run *r, const char *open, unsigned cut, GRand *rand, const uint8_t *before,
                    bool read_only)
{
    GByteArray *image = memdisk_after_cut(r->disk->log, cut, rand);
    MemDisk *m = memdisk_new("after");
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *buf = g_malloc(r->count * SECTOR);
    Look l = {.buf = buf, .bytes = r->count * SECTOR};
    int ret;

    memdisk_set(m, image->data, image->len);
    l.n = imgtest_open(r->format, "after", read_only ? "{\"read-only\":true}" : open, &err);
    if (!l.n) {
        powercut_fail("cut at %u: %s", cut, err->message);
    }
    ret = block_run(look_fn, &l);
    if (ret < 0 || l.res.check_errors || (l.res.corruptions && !read_only)) {
        FILE *f = fopen("/tmp/powercut-failed.qcow2", "wb");
        if (f) {
            fwrite(image->data, 1, image->len, f);
            fclose(f);
        }
        powercut_fail("cut at %u: ret %d, %" PRIu64 " corruptions (%s)", cut, ret,
                      l.res.corruptions, "image kept in /tmp/powercut-failed.qcow2");
    }
    powercut_verify(r, cut, before, buf);
    block_node_unref(l.n);
    memdisk_free(m);
    g_byte_array_unref(image);
}

static int coroutine_fn read_before(void *data)
{
    Look *l = data;

    return block_pread(l->n, 0, l->buf, l->bytes);
}

static int coroutine_fn fill_backing(void *data)
{
    BlockNode *n = data;
    g_autofree uint8_t *buf = g_malloc(SECTORS * SECTOR);

    for (uint32_t s = 0; s < SECTORS; s++) {
        fill_sector(buf + s * SECTOR, s, 0xbacc0000);
    }
    return block_pwrite(n, 0, buf, SECTORS * SECTOR, 0);
}

static char *open_text(const char *more, bool backing)
{
    json_auto_t *o = more ? json_loads(more, 0, NULL) : json_object();
    char *raw, *text;

    json_object_set_new(o, "discard", json_string("unmap"));
    if (backing) {
        json_object_set_new(o, "backing",
                            json_pack("{s:s,s:{s:s,s:s}}", "driver", "qcow2", "file", "driver",
                                      "memdisk", "name", "back"));
    }
    raw = json_dumps(o, 0);
    text = g_strdup(raw);
    free(raw);
    return text;
}

static MemDisk *powercut_backing(void)
{
    MemDisk *back = imgtest_create("back", "qcow2", "size=768k");
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open("qcow2", "back", NULL, &err);

    g_assert_no_error(err);
    g_assert(block_run(fill_backing, n) == 0);
    block_node_unref(n);
    return back;
}

/* Makes the image. The log starts with it, as one write that is flushed. */
static Run *powercut_new(const CutShape *shape, const char *create, unsigned seed)
{
    Run *r = g_new0(Run, 1);
    MemEvent first = {.kind = MEM_WRITE}, flush = {.kind = MEM_FLUSH, .bytes = 1};

    r->format = shape->format ? shape->format : "qcow2";
    r->count = shape->sectors ? shape->sectors : SECTORS;
    r->disk = imgtest_create("disk", r->format, create);
    r->rand = g_rand_new_with_seed(seed);
    for (uint32_t s = 0; s < r->count; s++) {
        r->sectors[s].writes = g_array_new(FALSE, FALSE, sizeof(Write));
        r->sectors[s].settled = g_array_new(FALSE, FALSE, sizeof(Stable));
    }
    first.bytes = r->disk->length;
    first.data = g_memdup2(r->disk->data, r->disk->length);
    g_array_append_val(r->disk->log, first);
    g_array_append_val(r->disk->log, flush);
    return r;
}

static void powercut_free(Run *r)
{
    for (uint32_t s = 0; s < r->count; s++) {
        g_array_unref(r->sectors[s].writes);
        g_array_unref(r->sectors[s].settled);
    }
    memdisk_free(r->disk);
    g_rand_free(r->rand);
    g_free(r);
}

/* Runs the workload. 'before' gets the disk's first content. */
static void powercut_workload(EventLoop *loop, Run *r, const char *open, int operations,
                              uint8_t *before)
{
    g_autoptr(GError) err = NULL;
    Look l = {.buf = before, .bytes = r->count * SECTOR};

    r->disk->logging = true;
    r->n = l.n = imgtest_open(r->format, "disk", open, &err);
    g_assert_no_error(err);
    g_assert(block_run(read_before, &l) == 0);
    r->disk->yield_percent = 30;
    r->disk->flush_turns = 12; /* requests come and end while a flush goes on */
    for (int i = 0; i < operations; i++) {
        coroutine_start(powercut_request, r);
        while (r->running >= PARALLEL) {
            event_loop_iterate(loop, -1);
        }
    }
    while (r->running) {
        event_loop_iterate(loop, -1);
    }
    block_node_unref(r->n);
    r->disk->logging = false;
    r->disk->yield_percent = 0;
}

/* Cuts the power after each event; of a log of more than 400 events, after a random part of them.
 */
static unsigned powercut_cuts(Run *r, const char *open, unsigned seed, const uint8_t *before,
                              bool lazy)
{
    GRand *cuts = g_rand_new_with_seed(seed);
    unsigned tried = 0, step = MAX(r->disk->log->len / 400, 1);

    for (unsigned cut = 2; cut <= r->disk->log->len; cut += g_rand_int_range(cuts, 1, step + 1)) {
        for (int variant = 0; variant < VARIANTS; variant++) {
            try_cut(r, open, cut, cuts, before, lazy && variant == 0);
            tried++;
        }
    }
    g_rand_free(cuts);
    return tried;
}

static void powercut_run_shape(EventLoop *loop, const CutShape *shape, unsigned seed,
                               int operations)
{
    const char *options = shape->options;
    bool backing = strstr(options, ",backing");
    g_autofree char *clean =
        backing ? g_strndup(options, strcspn(options, ",")) : g_strdup(options);
    g_autofree char *open = open_text(shape->open, backing);
    unsigned bytes = (shape->sectors ? shape->sectors : SECTORS) * SECTOR;
    g_autofree uint8_t *before = g_malloc0(bytes);
    MemDisk *back = backing ? powercut_backing() : NULL;
    g_autofree char *create = g_strdup_printf("size=%u%s%s", bytes, *clean ? "," : "", clean);
    Run *r = powercut_new(shape, create, seed);
    unsigned tried;

    powercut_workload(loop, r, open, operations, before);
    tried = powercut_cuts(r, open, seed, before, strstr(options, "lazy"));
    printf("# %s %s: %u events, %u cuts tried\n", r->format, options, r->disk->log->len, tried);
    powercut_free(r);
    memdisk_free(back);
}

/* --- a disk that grows over a longer backing file --- */

enum { GROW_FROM = 201 }; /* sectors: within a cluster */

static int coroutine_fn grow_fn(void *data)
{
    g_autoptr(GError) err = NULL;

    return block_truncate(data, SECTORS * SECTOR, &err);
}

static int coroutine_fn grow_look_fn(void *data)
{
    Look *l = data;
    int ret = block_pread(l->n, 0, l->buf, block_length(l->n));

    return ret < 0 ? ret : l->n->driver->check(l->n, &l->res, 0);
}

/* The disk has its old length, or the new one and zeroes in the new part. Returns the length. */
static unsigned grow_try_cut(Run *r, const char *open, unsigned cut, GRand *rand)
{
    GByteArray *image = memdisk_after_cut(r->disk->log, cut, rand);
    MemDisk *m = memdisk_new("after");
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *buf = g_malloc0(SECTORS * SECTOR);
    Look l = {.buf = buf};
    unsigned sectors;
    int ret;

    memdisk_set(m, image->data, image->len);
    l.n = imgtest_open("qcow2", "after", open, &err);
    g_assert_no_error(err);
    sectors = block_length(l.n) / SECTOR;
    ret = block_run(grow_look_fn, &l);
    if (ret < 0 || l.res.check_errors || l.res.corruptions ||
        (sectors != GROW_FROM && sectors != SECTORS)) {
        powercut_fail("grow, cut at %u: ret %d, %" PRIu64 " corruptions, %u sectors", cut, ret,
                      l.res.corruptions, sectors);
    }
    for (unsigned s = 0; s < sectors; s++) {
        uint8_t want[SECTOR] = {0};

        if (s < GROW_FROM) {
            fill_sector(want, s, 0xbacc0000);
        }
        if (memcmp(want, buf + s * SECTOR, SECTOR)) {
            powercut_fail("grow, cut at %u: sector %u of %u has other data", cut, s, sectors);
        }
    }
    block_node_unref(l.n);
    memdisk_free(m);
    g_byte_array_unref(image);
    return sectors;
}

static void powercut_run_grow(const char *options, unsigned seed)
{
    g_autofree char *create = g_strdup_printf("size=%d,%s", GROW_FROM * SECTOR, options);
    g_autofree char *open = open_text(NULL, true);
    g_autoptr(GError) err = NULL;
    MemDisk *back = powercut_backing();
    Run *r = powercut_new(&(CutShape){0}, create, seed);
    bool grown = false;

    r->disk->logging = true;
    r->n = imgtest_open("qcow2", "disk", open, &err);
    g_assert_no_error(err);
    g_assert(block_run(grow_fn, r->n) == 0);
    block_node_unref(r->n);
    r->disk->logging = false;
    for (unsigned cut = 2; cut <= r->disk->log->len; cut++) {
        for (int variant = 0; variant < 20; variant++) {
            grown = grow_try_cut(r, open, cut, r->rand) == SECTORS;
        }
    }
    if (!grown) {
        powercut_fail("grow, %s: not grown in the end", options);
    }
    powercut_free(r);
    memdisk_free(back);
}

/* --- a disk that shrinks, and grows again after the cut --- */

static int coroutine_fn shrink_fn(void *data)
{
    g_autoptr(GError) err = NULL;

    return block_truncate(data, GROW_FROM * SECTOR, &err);
}

/* What was cut off does not come back. */
static unsigned shrink_try_cut(Run *r, unsigned cut)
{
    GByteArray *image = memdisk_after_cut(r->disk->log, cut, r->rand);
    MemDisk *m = memdisk_new("after");
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *buf = g_malloc0(SECTORS * SECTOR);
    Look l = {.buf = buf};
    unsigned sectors;

    memdisk_set(m, image->data, image->len);
    l.n = imgtest_open("qcow2", "after", NULL, &err);
    g_assert_no_error(err);
    sectors = block_length(l.n) / SECTOR;
    if ((sectors != GROW_FROM && sectors != SECTORS) ||
        (sectors == GROW_FROM && block_run(grow_fn, l.n) < 0) || block_run(grow_look_fn, &l) < 0 ||
        l.res.check_errors || l.res.corruptions) {
        powercut_fail("shrink, cut at %u: %" PRIu64 " corruptions, %u sectors", cut,
                      l.res.corruptions, sectors);
    }
    for (unsigned s = 0; s < SECTORS; s++) {
        uint8_t want[SECTOR] = {0};
        bool same;

        fill_sector(want, s, 0xbacc0000);
        same = !memcmp(want, buf + s * SECTOR, SECTOR);
        if (s < GROW_FROM
                ? !same
                : !buffer_is_zero(buf + s * SECTOR, SECTOR) && (sectors == GROW_FROM || !same)) {
            powercut_fail("shrink, cut at %u: sector %u has other data", cut, s);
        }
    }
    block_node_unref(l.n);
    memdisk_free(m);
    g_byte_array_unref(image);
    return sectors;
}

static void powercut_run_shrink(const char *options, unsigned seed)
{
    g_autofree char *create = g_strdup_printf("size=%d,%s", SECTORS * SECTOR, options);
    g_autoptr(GError) err = NULL;
    Run *r = powercut_new(&(CutShape){0}, create, seed);
    bool shrunk = false;

    r->disk->logging = true;
    r->n = imgtest_open("qcow2", "disk", NULL, &err);
    g_assert_no_error(err);
    g_assert(block_run(fill_backing, r->n) == 0);
    block_node_unref(r->n);
    unsigned filled = r->disk->log->len;
    r->n = imgtest_open("qcow2", "disk", NULL, &err);
    g_assert_no_error(err);
    g_assert(block_run(shrink_fn, r->n) == 0);
    block_node_unref(r->n);
    r->disk->logging = false;
    for (unsigned cut = filled; cut <= r->disk->log->len; cut++) {
        for (int variant = 0; variant < 20; variant++) {
            shrunk = shrink_try_cut(r, cut) == GROW_FROM;
        }
    }
    if (!shrunk) {
        powercut_fail("shrink, %s: not shrunk in the end", options);
    }
    powercut_free(r);
}

static const char *const grow_shapes[] = {
    "cluster_size=4k",
    "cluster_size=512",
    "cluster_size=64k",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=4k,lazy_refcounts=on",
};

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    int operations = argc > 2 ? atoi(argv[2]) : 250;
    EventLoop *loop = imgtest_init();

    /* What a check says about leaks and repairs is not of interest here. */
    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(shapes) + ARRAY_SIZE(grow_shapes));
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        powercut_run_shape(loop, &shapes[i], seed + i, operations);
        printf("ok %u - %s %s\n", i + 1, shapes[i].format ? shapes[i].format : "qcow2",
               shapes[i].options);
        fflush(stdout);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(grow_shapes); i++) {
        powercut_run_grow(grow_shapes[i], seed + i);
        powercut_run_shrink(grow_shapes[i], seed + i);
        printf("ok %zu - grows over its backing file; shrinks: %s\n", ARRAY_SIZE(shapes) + i + 1,
               grow_shapes[i]);
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

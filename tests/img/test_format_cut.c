/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats beside qcow2 that are written to: random requests, many at a time, against a model in
 * memory; an error at each write of the file, one by one; a power cut at every moment. What a flush
 * covered is there afterwards; of what came later, each sector has old or new data. Where qemu-img
 * is installed, it reads the same from the image that is left.
 *
 *     img-format-cut [SEED [PART]]
 *
 * PART: only one in so many moments is tried.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "../../block/drivers/vhdx/vhdx.h"
#include "../../block/drivers/vpc.h"
#include "base/iov.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

enum { SECTOR = 512, PARALLEL = 8, MAX_SECTORS = 16384 };

typedef struct {
    const char *format, *create; /* options of a new image */
    void (*prepare)(MemDisk *m); /* NULL, or changes the new image */
    void (*verify)(MemDisk *m);  /* NULL, or looks at an image that was closed */
    unsigned step;               /* of the positions of requests, in sectors */
    unsigned requests, images;   /* of a cut of power: between two opens; how often all that */
    unsigned cuts;               /* of an image: how many moments are tried at most */
} Case;

/* A write to one sector. 'version' is in the data; 0: zeroes. */
typedef struct {
    uint32_t version;
    bool maybe;     /* a discard, or a request that has failed: this or what was there */
    unsigned start; /* length of the disk's log when it was submitted */
} Write;

typedef struct {
    unsigned log_pos; /* length of the disk's log when a flush was done */
    unsigned index;   /* the first so many writes are stable from then on */
} Stable;

typedef struct {
    GArray *writes, *settled;
    unsigned completed;
    bool busy;
} Sector;

typedef struct {
    const Case *c;
    BlockNode *n;
    MemDisk *disk;
    Sector *sectors;
    unsigned count;
    uint32_t next_version;
    GRand *rand;
    int running;
    bool may_fail;
    unsigned failures;
} Run;

static void cut_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void cut_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    abort();
}

/* --- images --- */

/* QEMU makes VHD images with blocks of 2 MiB. Here they have 4 KiB: there are more, and faster. */
static void vpc_small_blocks(MemDisk *m)
{
    enum { BLOCK = 4096, TABLE = VHD_FOOTER_SIZE + VHD_HEADER_SIZE };
    uint64_t size = ldbe64(m->data + VHD_CURRENT_SIZE);
    uint32_t entries = DIV_ROUND_UP(size, BLOCK);
    size_t table = ROUND_UP(entries * 4, VHD_SECTOR), len = TABLE + table + VHD_FOOTER_SIZE;
    g_autofree uint8_t *image = g_malloc0(len);
    uint8_t *header = image + VHD_FOOTER_SIZE;

    memcpy(image, m->data, TABLE);
    stbe32(header + VHD_DYN_MAX_ENTRIES, entries);
    stbe32(header + VHD_DYN_BLOCK_SIZE, BLOCK);
    stbe32(header + VHD_DYN_CHECKSUM, vpc_checksum(header, VHD_HEADER_SIZE, VHD_DYN_CHECKSUM));
    memset(image + TABLE, 0xff, table);
    memcpy(image + TABLE + table, image, VHD_FOOTER_SIZE);
    memdisk_set(m, image, len);
}

/* Blocks that others have made: in reverse order, their bitmaps empty. */
static void vpc_foreign_blocks(MemDisk *m)
{
    enum { BLOCK = 4096, TABLE = VHD_FOOTER_SIZE + VHD_HEADER_SIZE, WITH_BITMAP = BLOCK + 512 };
    uint32_t entries, first;
    size_t old;

    vpc_small_blocks(m);
    entries = ldbe32(m->data + VHD_FOOTER_SIZE + VHD_DYN_MAX_ENTRIES);
    old = m->length;
    first = (old - VHD_FOOTER_SIZE) / VHD_SECTOR;
    g_autofree uint8_t *image = g_malloc0(old + entries / 2 * WITH_BITMAP);
    memcpy(image, m->data, old - VHD_FOOTER_SIZE);
    for (uint32_t i = 0; i < entries / 2; i++) {
        stbe32(image + TABLE + 4 * i, first + (entries / 2 - 1 - i) * (WITH_BITMAP / VHD_SECTOR));
    }
    memcpy(image + old - VHD_FOOTER_SIZE + entries / 2 * WITH_BITMAP, image, VHD_FOOTER_SIZE);
    memdisk_set(m, image, old + entries / 2 * WITH_BITMAP);
}

/* The file ends with the footer; sectors with data have their bits in the bitmaps. */
static void vpc_verify(MemDisk *m)
{
    const uint8_t *header = m->data + VHD_FOOTER_SIZE, *end = m->data + m->length;
    uint32_t entries = ldbe32(header + VHD_DYN_MAX_ENTRIES);
    uint32_t sectors = ldbe32(header + VHD_DYN_BLOCK_SIZE) / VHD_SECTOR;
    uint32_t bitmap_size = ROUND_UP(DIV_ROUND_UP(sectors, 8), VHD_SECTOR);

    if (memcmp(end - VHD_FOOTER_SIZE, m->data, VHD_FOOTER_SIZE)) {
        cut_fail("the file does not end with the footer");
    }
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t at = ldbe32(m->data + VHD_FOOTER_SIZE + VHD_HEADER_SIZE + 4 * i);
        const uint8_t *bitmap = m->data + at * (size_t)VHD_SECTOR;

        for (uint32_t s = 0; at != VHD_UNUSED && s < sectors; s++) {
            if (!(bitmap[s / 8] & 0x80 >> s % 8) &&
                !buffer_is_zero(bitmap + bitmap_size + s * VHD_SECTOR, VHD_SECTOR)) {
                cut_fail("block %u: sector %u has data, and is not in the bitmap", i, s);
            }
        }
    }
}

/* Logical sectors of 4 KiB, which qemu-img cannot read. */
static void vhdx_large_sectors(MemDisk *m)
{
    uint64_t metadata =
        ldle64(m->data + VHDX_REGIONS_1 + REG_ENTRIES + REG_ENTRY_SIZE + REG_ENTRY_OFFSET);
    const uint8_t *e = m->data + metadata + META_ENTRIES + 3 * META_ENTRY_SIZE;

    g_assert(!memcmp(e, vhdx_guid_logical, VHDX_GUID));
    stle32(m->data + metadata + ldle32(e + META_ENTRY_OFFSET), 4096);
}

/* The log is empty, and the file has all blocks. */
static void vhdx_verify(MemDisk *m)
{
    static const uint8_t none[VHDX_GUID];
    const uint8_t *one = m->data + VHDX_HEADER_1, *two = m->data + VHDX_HEADER_2;
    bool second = ldle64(two + HDR_SEQUENCE) > ldle64(one + HDR_SEQUENCE);

    if (memcmp((second ? two : one) + HDR_LOG_GUID, none, VHDX_GUID)) {
        cut_fail("the closed image has a log");
    }
    if (m->length % VHDX_ALIGN) {
        cut_fail("the file is %zu bytes long", m->length);
    }
}

static const Case cases[] = {
    {"vpc", "size=870400,subformat=fixed", NULL, NULL, 1, 60, 1, 60},
    {"vpc", "size=870400", vpc_small_blocks, vpc_verify, 1, 120, 1, 400},
    {"vpc", "size=870400,force_size=on", vpc_foreign_blocks, vpc_verify, 1, 120, 1, 400},
    {"vpc", "size=5M,force_size=on", NULL, vpc_verify, 16, 10, 3, 30},
    {"vhdx", "size=6M,block_size=1M", NULL, vhdx_verify, 16, 14, 8, 90},
    {"vhdx", "size=3M,block_size=1M,block_state_zero=off", vhdx_large_sectors, vhdx_verify, 8, 12,
     3, 30},
    {"vhdx", "size=1M,block_size=1M,subformat=fixed", NULL, vhdx_verify, 1, 20, 1, 30},
};

/* --- requests --- */

static void cut_fill(uint8_t *buf, uint32_t sector, uint32_t version)
{
    for (unsigned i = 0; i < SECTOR; i += 8) {
        memcpy(buf + i, version ? &sector : &version, 4);
        memcpy(buf + i + 4, &version, 4);
    }
}

static void begin_write(Run *r, unsigned first, unsigned count, Write w)
{
    w.start = r->disk->log->len;
    for (unsigned s = first; s < first + count; s++) {
        r->sectors[s].busy = true;
        g_array_append_val(r->sectors[s].writes, w);
    }
}

static void end_write(Run *r, unsigned first, unsigned count, int ret)
{
    if (ret < 0 && !r->may_fail) {
        cut_fail("a request has failed: %s", g_strerror(-ret));
    }
    r->failures += ret < 0;
    for (unsigned s = first; s < first + count; s++) {
        Sector *at = &r->sectors[s];
        Write *w = &g_array_index(at->writes, Write, at->writes->len - 1);

        w->maybe = w->maybe || ret < 0;
        at->busy = false;
        at->completed = at->writes->len;
    }
}

static void coroutine_fn guest_flush(Run *r)
{
    g_autofree unsigned *done = g_new(unsigned, r->count);
    int ret;

    for (unsigned s = 0; s < r->count; s++) {
        done[s] = r->sectors[s].completed;
    }
    ret = block_flush(r->n);
    if (ret < 0 && !r->may_fail) {
        cut_fail("flush: %s", g_strerror(-ret));
    }
    r->failures += ret < 0;
    for (unsigned s = 0; s < r->count && ret == 0; s++) {
        Stable st = {.log_pos = r->disk->log->len, .index = done[s]};
        g_array_append_val(r->sectors[s].settled, st);
    }
}

/*
 * Whether the sector may hold this: the last of the first 'from' writes or any later one that began
 * before the log had 'cut' events. Where that last one is uncertain, also one before it.
 */
static bool acceptable(Sector *at, unsigned from, unsigned cut, uint32_t sector,
                       const uint8_t *have)
{
    uint8_t want[SECTOR];
    unsigned i = from;

    while (i > 0 && g_array_index(at->writes, Write, --i).maybe) {
    }
    if (i == 0 && (from == 0 || g_array_index(at->writes, Write, 0).maybe) &&
        buffer_is_zero(have, SECTOR)) {
        return true; /* as it was in the new image */
    }
    for (; i < at->writes->len; i++) {
        const Write *w = &g_array_index(at->writes, Write, i);

        if (i >= from && w->start > cut) {
            break;
        }
        cut_fill(want, sector, w->version);
        if (!memcmp(want, have, SECTOR)) {
            return true;
        }
    }
    return false;
}

static void check_now(Run *r, unsigned first, unsigned count, const uint8_t *buf, const char *when)
{
    for (unsigned s = first; s < first + count; s++) {
        Sector *at = &r->sectors[s];

        if (!acceptable(at, at->writes->len, UINT_MAX, s, buf + (s - first) * SECTOR)) {
            uint32_t have[2];

            memcpy(have, buf + (s - first) * SECTOR, 8);
            cut_fail("%s: sector %u has (%u, version %u)", when, s, have[0], have[1]);
        }
    }
}

static void coroutine_fn check_read(Run *r, unsigned first, unsigned count)
{
    g_autofree uint8_t *buf = g_malloc(count * SECTOR);

    for (unsigned s = first; s < first + count; s++) {
        r->sectors[s].busy = true;
    }
    if (block_pread(r->n, first * (uint64_t)SECTOR, buf, count * SECTOR) < 0) {
        cut_fail("a read has failed");
    }
    check_now(r, first, count, buf, "read");
    for (unsigned s = first; s < first + count; s++) {
        r->sectors[s].busy = false;
    }
}

static void coroutine_fn one_request(Run *r, unsigned first, unsigned count, int what)
{
    uint64_t at = first * (uint64_t)SECTOR, len = count * (uint64_t)SECTOR;

    if (what < 50) {
        uint32_t version = ++r->next_version;
        g_autofree uint8_t *buf = g_malloc(len);

        for (unsigned i = 0; i < count; i++) {
            cut_fill(buf + i * SECTOR, first + i, version);
        }
        begin_write(r, first, count, (Write){.version = version});
        end_write(r, first, count, block_pwrite(r->n, at, buf, len, 0));
    } else if (what < 60) {
        begin_write(r, first, count, (Write){0});
        end_write(r, first, count,
                  block_pwrite_zeroes(r->n, at, len, what & 1 ? BLOCK_REQ_MAY_UNMAP : 0));
    } else if (what < 70) {
        begin_write(r, first, count, (Write){.maybe = true});
        end_write(r, first, count, block_pdiscard(r->n, at, len));
    } else if (what < 90) {
        check_read(r, first, count);
    } else {
        guest_flush(r);
    }
}

static void coroutine_fn cut_request(void *data)
{
    Run *r = data;
    unsigned most = MIN(r->count / r->c->step, 60);
    unsigned count = g_rand_int_range(r->rand, 1, most) * r->c->step;
    unsigned first = g_rand_int_range(r->rand, 0, (r->count - count) / r->c->step + 1) * r->c->step;
    int what = g_rand_int_range(r->rand, 0, r->disk->logging ? 115 : 100);

    for (unsigned s = first; s < first + count && what < 90; s++) {
        if (r->sectors[s].busy) {
            return;
        }
    }
    r->running++;
    one_request(r, first, count, what);
    r->running--;
}

/* --- a run --- */

static void cut_open(Run *r, const char *name)
{
    g_autoptr(GError) err = NULL;

    r->n = imgtest_open(r->c->format, name, "{\"discard\":\"unmap\"}", &err);
    if (!r->n) {
        cut_fail("%s", err->message);
    }
    r->count = block_length(r->n) / SECTOR;
    g_assert(r->count <= MAX_SECTORS);
}

/* A new image. The log starts with it, as one write that is flushed. */
static Run *cut_new(const Case *c, unsigned seed)
{
    Run *r = g_new0(Run, 1);
    MemEvent first = {.kind = MEM_WRITE}, flush = {.kind = MEM_FLUSH, .bytes = 1};

    r->c = c;
    r->rand = g_rand_new_with_seed(seed);
    r->disk = imgtest_create("disk", c->format, c->create);
    if (c->prepare) {
        c->prepare(r->disk);
    }
    g_rand_set_seed(r->disk->rand, seed);
    first.bytes = r->disk->length;
    first.data = g_memdup2(r->disk->data, r->disk->length);
    g_array_append_val(r->disk->log, first);
    g_array_append_val(r->disk->log, flush);
    r->sectors = g_new0(Sector, MAX_SECTORS);
    for (unsigned s = 0; s < MAX_SECTORS; s++) {
        r->sectors[s].writes = g_array_new(FALSE, FALSE, sizeof(Write));
        r->sectors[s].settled = g_array_new(FALSE, FALSE, sizeof(Stable));
    }
    return r;
}

static void cut_free(Run *r)
{
    for (unsigned s = 0; s < MAX_SECTORS; s++) {
        g_array_unref(r->sectors[s].writes);
        g_array_unref(r->sectors[s].settled);
    }
    g_free(r->sectors);
    memdisk_free(r->disk);
    g_rand_free(r->rand);
    g_free(r);
}

typedef struct {
    BlockNode *n;
    uint8_t *buf;
    size_t len;
    bool check;
} Look;

static int coroutine_fn look_fn(void *data)
{
    Look *l = data;
    BlockCheckResult res = {0};
    int ret = block_pread(l->n, 0, l->buf, l->len);

    if (ret == 0 && l->n->driver->check) {
        ret = l->n->driver->check(l->n, &res, BLOCK_CHECK_QUIET);
        ret = ret == 0 && (res.corruptions || res.check_errors) ? -EILSEQ : ret;
    }
    return ret;
}

static void look(Run *r, uint8_t *buf, const char *when)
{
    Look l = {.n = r->n, .buf = buf, .len = r->count * SECTOR};
    int ret = block_run(look_fn, &l);

    if (ret < 0) {
        cut_fail("%s: reading or checking it all: %s", when, g_strerror(-ret));
    }
}

/* What qemu-img reads from the image. */
static void ask_qemu(Run *r)
{
    g_autofree char *tool = g_find_program_in_path("qemu-img");
    g_autofree char *dir = NULL, *path = NULL, *raw = NULL, *command = NULL, *out = NULL;
    gsize len;
    int status;

    if (!tool || r->c->prepare == vhdx_large_sectors) {
        return;
    }
    dir = g_dir_make_tmp("imgtest-XXXXXX", NULL);
    path = g_strconcat(dir, "/i.img", NULL);
    raw = g_strconcat(dir, "/o.img", NULL);
    g_assert(g_file_set_contents(path, (char *)r->disk->data, r->disk->length, NULL));
    command = g_strdup_printf("%s convert -f %s -O raw %s %s", tool, r->c->format, path, raw);
    const char *argv[] = {"sh", "-c", command, NULL};
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                      &status, NULL) ||
        status) {
        cut_fail("%s: status %d", command, status);
    }
    g_assert(g_file_get_contents(raw, &out, &len, NULL));
    g_assert(len == r->count * SECTOR);
    check_now(r, 0, r->count, (uint8_t *)out, "qemu-img");
    remove(path);
    remove(raw);
    remove(dir);
}

static void send_requests(EventLoop *loop, Run *r, int operations, int parallel)
{
    for (; operations > 0; operations--) {
        coroutine_start(cut_request, r);
        while (r->running >= parallel) {
            event_loop_iterate(loop, -1);
        }
    }
    while (r->running) {
        event_loop_iterate(loop, -1);
    }
}

/* Opens the image, sends requests, closes it, and compares it. */
static void cut_round(EventLoop *loop, Run *r, int operations)
{
    g_autofree uint8_t *buf = g_malloc(MAX_SECTORS * SECTOR);

    cut_open(r, "disk");
    r->disk->yield_percent = 30;
    send_requests(loop, r, operations, PARALLEL);
    r->disk->yield_percent = 0;
    r->disk->fail_in = 0;
    look(r, buf, "before it is closed");
    check_now(r, 0, r->count, buf, "before it is closed");
    block_node_unref(r->n);
    if (r->c->verify) {
        r->c->verify(r->disk);
    }
    cut_open(r, "disk");
    look(r, buf, "opened again");
    check_now(r, 0, r->count, buf, "opened again");
    block_node_unref(r->n);
}

static void run_model(EventLoop *loop, const Case *c, unsigned seed)
{
    Run *r = cut_new(c, seed);

    for (int round = 0; round < 3; round++) {
        cut_round(loop, r, 400);
    }
    ask_qemu(r);
    cut_free(r);
}

/* The n-th write or flush fails; all goes on. */
static void run_faults(EventLoop *loop, const Case *c, unsigned seed)
{
    unsigned tried = 0;

    for (unsigned n = 1; n < 70; n += 1 + n / 16) {
        Run *r = cut_new(c, seed + n);

        r->may_fail = true;
        r->disk->fail_in = n;
        r->disk->fail_written = n & 1;
        cut_round(loop, r, 40);
        tried += r->disk->failed;
        cut_free(r);
    }
    if (tried < 10) {
        cut_fail("only %u writes have failed", tried);
    }
}

typedef struct {
    Run *r;
    BlockNode *n;
    const uint8_t *want;
} GoOn;

/* What a cut has left behind does not show where the image is written to afterwards. */
static int coroutine_fn go_on_fn(void *data)
{
    GoOn *g = data;
    unsigned count = g->r->count;
    g_autofree uint8_t *want = g_memdup2(g->want, count * SECTOR);
    g_autofree uint8_t *have = g_malloc(count * SECTOR);

    for (unsigned i = 0; i < 12; i++) {
        unsigned s = g_rand_int_range(g->r->rand, 0, count);

        memset(want + s * SECTOR, 0x5a, SECTOR);
        if (block_pwrite(g->n, s * (uint64_t)SECTOR, want + s * SECTOR, SECTOR, 0) < 0) {
            cut_fail("a write after the cut has failed");
        }
    }
    if (block_pread(g->n, 0, have, count * SECTOR) < 0 || memcmp(have, want, count * SECTOR)) {
        cut_fail("a write after the cut has changed other sectors");
    }
    return 0;
}

static void try_cut(Run *r, unsigned cut)
{
    GByteArray *image = memdisk_after_cut(r->disk->log, cut, r->rand);
    g_autofree uint8_t *buf = g_malloc(r->count * SECTOR);
    g_autofree char *when = g_strdup_printf("cut at %u", cut);
    MemDisk *m = memdisk_new("after");
    Run after = {.c = r->c};

    memdisk_set(m, image->data, image->len);
    cut_open(&after, "after");
    look(&after, buf, when);
    for (unsigned s = 0; s < r->count; s++) {
        Sector *at = &r->sectors[s];
        unsigned from = 0;

        for (unsigned i = 0; i < at->settled->len; i++) {
            const Stable *st = &g_array_index(at->settled, Stable, i);

            from = st->log_pos <= cut ? MAX(from, st->index) : from;
        }
        if (!acceptable(at, from, cut, s, buf + s * SECTOR)) {
            uint32_t have[2];

            memcpy(have, buf + s * SECTOR, 8);
            cut_fail("cut at %u: sector %u has (%u, version %u); write %u must be there", cut, s,
                     have[0], have[1], from);
        }
    }
    block_run(go_on_fn, &(GoOn){r, after.n, buf});
    block_node_unref(after.n);
    memdisk_free(m);
    g_byte_array_unref(image);
}

static void run_cuts(EventLoop *loop, const Case *c, unsigned seed, unsigned part)
{
    Run *r = cut_new(c, seed);
    unsigned len;

    r->disk->logging = true;
    for (int round = 0; round < 2; round++) {
        cut_open(r, "disk");
        r->disk->yield_percent = 30;
        send_requests(loop, r, c->requests, c->requests < 50 ? 2 : PARALLEL);
        r->disk->yield_percent = 0;
        block_node_unref(r->n);
    }
    r->disk->logging = false;
    len = r->disk->log->len;
    for (unsigned i = 0, tries = MAX(MIN(c->cuts, len - 2) / part, 1); i <= tries; i++) {
        try_cut(r, 2 + (uint64_t)(len - 2) * i / tries);
    }
    cut_free(r);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    unsigned part = argc > 2 ? MAX(atoi(argv[2]), 1) : 1;
    EventLoop *loop = imgtest_init();

    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(cases));
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const Case *c = &cases[i];

        run_model(loop, c, seed + i);
        run_faults(loop, c, seed + i);
        for (unsigned k = 0; k < c->images; k++) {
            run_cuts(loop, c, seed + i + 100 * k, part);
        }
        printf("ok %u - %s: %s\n", i + 1, c->format, c->create);
        fflush(stdout);
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

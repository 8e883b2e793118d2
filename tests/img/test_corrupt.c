/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A qcow2 image with one bad entry: every kind of bad offset, under every request that would
 * follow, free or overwrite the entry. The request has to fail with EIO. Afterwards the image is
 * marked corrupt and takes no more writes, its tables and header are unchanged, and all other data
 * can be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

enum { BAD = 3, GOOD = 40 }; /* guest clusters: of the bad entry, and one that is right */
#define COPIED     BIT64(63)
#define COMPRESSED BIT64(62)
#define ZERO       1ull

/* NEW_TABLE: the disk has been written to since the snapshot, which has the old L2 table alone. */
typedef enum { NO_SNAPSHOT, SHARED_TABLE, NEW_TABLE } Snapshot;

typedef struct {
    const char *options;
    Snapshot snapshot;
} Shape;

static const Shape shapes[] = {
    {"size=4M,cluster_size=4k", NO_SNAPSHOT},
    {"size=4M,cluster_size=4k", SHARED_TABLE},
    {"size=4M,cluster_size=4k", NEW_TABLE},
    {"size=16M,cluster_size=16k,extended_l2=on", NO_SNAPSHOT},
    {"size=16M,cluster_size=16k,extended_l2=on", NEW_TABLE},
    {"size=4M,cluster_size=4k,compat=0.10", NO_SNAPSHOT},
    {"size=4M,cluster_size=4k,lazy_refcounts=on", SHARED_TABLE},
    {"size=4M,cluster_size=4k,lazy_refcounts=on", NEW_TABLE},
};
static const char *const snapshot_words[] = {"", " with a snapshot",
                                             " with a snapshot and its own L2 table"};

/* Offsets in an image. */
typedef struct {
    MemDisk *disk;
    bool v2, extl2;
    uint64_t cluster, size;
    uint64_t l1, l2, reftable, refblock;
    uint64_t snapshot_l1; /* 0: none */
    uint64_t snapshot_l2; /* that only the snapshot uses; 0: none */
    uint64_t own;         /* data cluster of guest cluster BAD, before the entry is made bad */
} Layout;

enum { READ_FAILS = 1, WRITE_UNSEEN = 2, NEEDS_SNAPSHOT = 4, NEEDS_TABLE = 8 };

typedef struct {
    const char *name;
    size_t at; /* the member of Layout that is the bad entry's offset; 0: offset 0 */
    int64_t plus;
    uint64_t bits;
    unsigned flags;
} Kind;

#define AT(member) offsetof(Layout, member)
static const Kind kinds[] = {
    {"unaligned", AT(own), 512, COPIED, READ_FAILS},
    {"unaligned, shared", AT(own), 512, 0, READ_FAILS},
    {"unaligned, in the header", 0, 512, COPIED, READ_FAILS},
    {"unaligned, in the header, shared", 0, 1024, 0, READ_FAILS},
    {"unaligned zero cluster", AT(own), 512, COPIED | ZERO, READ_FAILS},
    {"unaligned zero cluster in the header", 0, 512, COPIED | ZERO, READ_FAILS},
    {"L1 table", AT(l1), 0, COPIED},
    {"L1 table, shared", AT(l1), 0, 0},
    {"L1 table, zero cluster", AT(l1), 0, COPIED | ZERO},
    {"L2 table, shared", AT(l2), 0, 0},
    {"L2 table of a snapshot", AT(snapshot_l2), 0, COPIED, NEEDS_TABLE},
    {"L2 table of a snapshot, shared", AT(snapshot_l2), 0, 0, NEEDS_TABLE},
    {"L2 table of a snapshot, zero cluster", AT(snapshot_l2), 0, COPIED | ZERO, NEEDS_TABLE},
    {"compressed, in the L2 table of a snapshot", AT(snapshot_l2), 16, COMPRESSED, NEEDS_TABLE},
    {"refcount table", AT(reftable), 0, COPIED},
    {"refcount table, shared", AT(reftable), 0, 0},
    {"refcount block", AT(refblock), 0, COPIED},
    {"refcount block, shared", AT(refblock), 0, 0},
    {"L1 table of a snapshot", AT(snapshot_l1), 0, COPIED, NEEDS_SNAPSHOT},
    {"L1 table of a snapshot, shared", AT(snapshot_l1), 0, 0, NEEDS_SNAPSHOT},
    {"compressed, in the header", 0, 16, COMPRESSED},
    {"compressed, in the L1 table", AT(l1), 16, COMPRESSED},
    {"compressed, behind the end", AT(size), 1 << 20, COMPRESSED},
    {"counted as free", AT(size), 1 << 20, 0},
    {"counted as free, own", AT(size), 1 << 20, COPIED, WRITE_UNSEEN},
    {"no such place", 0, 1ll << 50, 0},
};

typedef enum {
    OP_READ,
    OP_WRITE,
    OP_WRITE_ALL,
    OP_COMPRESSED,
    OP_ZERO,
    OP_UNMAP,
    OP_DISCARD,
    OP_SHRINK,
    OP_STATUS,
    OP_COUNT
} Op;
static const char *const op_names[] = {"read",  "write",   "write all", "write compressed", "zero",
                                       "unmap", "discard", "shrink",    "block status"};

static uint64_t be64(const MemDisk *d, uint64_t at)
{
    return ldbe64(d->data + at);
}

static int coroutine_fn corrupt_fill(void *data)
{
    BlockNode *n = data;
    uint64_t bytes = MIN(block_length(n), 2 * (int64_t)MiB);
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, 0x5a, bytes);
    return block_pwrite(n, 0, buf, bytes, 0);
}

static int coroutine_fn write_first(void *data)
{
    uint8_t buf[512] = {1};

    return block_pwrite(data, 0, buf, sizeof buf, 0);
}

static void count(Layout *l, uint64_t host, unsigned references)
{
    stbe16(l->disk->data + l->refblock + host / l->cluster * 2, references);
}

/* Adds a snapshot, as QEMU does: it shares the L2 table and all data with the disk. */
static void add_snapshot(Layout *l)
{
    uint64_t at = ROUND_UP(l->disk->length, l->cluster);
    g_autofree uint8_t *bigger = g_malloc0(at + 2 * l->cluster);
    uint8_t *p = bigger + at;

    memcpy(bigger, l->disk->data, l->disk->length);
    l->snapshot_l1 = at + l->cluster;
    stbe64(p, l->snapshot_l1);
    stbe32(p + 8, ldbe32(bigger + 36));
    stbe16(p + 12, 1); /* id */
    stbe16(p + 14, 1); /* name */
    stbe32(p + 36, 16);
    stbe64(p + 48, l->size);
    memcpy(p + 56, "1s", 2);
    stbe32(bigger + 60, 1);
    stbe64(bigger + 64, at);
    for (uint64_t i = 0; i < ldbe32(bigger + 36); i++) {
        uint64_t table = ldbe64(bigger + l->l1 + 8 * i) & ~COPIED;

        stbe64(bigger + l->l1 + 8 * i, table);
        for (uint64_t k = 0; table && k < l->cluster; k += 8) {
            stbe64(bigger + table + k, ldbe64(bigger + table + k) & ~COPIED);
        }
    }
    memcpy(p + l->cluster, bigger + l->l1, ldbe32(bigger + 36) * 8);
    memdisk_set(l->disk, bigger, at + 2 * l->cluster);
    for (uint64_t i = 0; i < ldbe32(bigger + 36); i++) {
        uint64_t table = ldbe64(bigger + l->l1 + 8 * i);

        for (uint64_t k = 0; table && k < l->cluster; k += 8) {
            if (ldbe64(bigger + table + k)) {
                count(l, ldbe64(bigger + table + k), 2);
            }
        }
        if (table) {
            count(l, table, 2);
        }
    }
    count(l, at, 1);
    count(l, at + l->cluster, 1);
}

static void layout(Layout *l)
{
    MemDisk *d = l->disk;

    l->v2 = ldbe32(d->data + 4) == 2;
    l->extl2 = !l->v2 && (be64(d, 72) & 16);
    l->cluster = BIT64(ldbe32(d->data + 20));
    l->size = be64(d, 24);
    l->l1 = be64(d, 40);
    l->l2 = be64(d, l->l1) & ~COPIED;
    l->reftable = be64(d, 48);
    l->refblock = be64(d, l->reftable);
    l->own = be64(d, l->l2 + BAD * (l->extl2 ? 16 : 8)) & ~COPIED;
}

static BlockNode *open_disk(unsigned how)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open_as("qcow2", "disk", "{\"discard\":\"unmap\"}", how, &err);

    if (!n) {
        g_error("%s", err->message);
    }
    return n;
}

static int coroutine_fn corrupt_check_fn(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int ret = n->driver->check(n, &res, 0);

    return ret < 0 ? ret : (int)(res.corruptions + res.leaks + res.check_errors);
}

static void make_image(const Shape *shape, Layout *l)
{
    BlockNode *n;

    *l = (Layout){.disk = imgtest_create("disk", "qcow2", shape->options)};
    n = open_disk(0);
    g_assert(block_run(corrupt_fill, n) == 0);
    block_node_unref(n);
    layout(l);
    if (shape->snapshot) {
        add_snapshot(l);
    }
    if (shape->snapshot == NEW_TABLE) {
        l->snapshot_l2 = l->l2;
        n = open_disk(0);
        g_assert(block_run(write_first, n) == 0);
        block_node_unref(n);
        layout(l);
        g_assert(l->l2 != l->snapshot_l2);
    }
    n = open_disk(0);
    g_assert(block_run(corrupt_check_fn, n) == 0); /* no fault so far */
    block_node_unref(n);
}

static void spoil(const Layout *l, const Kind *k)
{
    uint64_t value = k->plus | k->bits;
    uint8_t *entry = l->disk->data + l->l2 + BAD * (l->extl2 ? 16 : 8);

    if (k->at) {
        value = (*(const uint64_t *)((const char *)l + k->at) + k->plus) | k->bits;
    }
    if (l->extl2) {
        stbe64(entry + 8, k->bits & COMPRESSED ? 0
                          : k->bits & ZERO     ? 0xffffffffull << 32
                                               : 0xffffffff);
        value &= ~ZERO;
    }
    stbe64(entry, value);
}

typedef struct {
    BlockNode *n;
    const Layout *l;
    Op op;
} Request;

static int coroutine_fn request_fn(void *data)
{
    Request *r = data;
    uint64_t cluster = r->l->cluster, at = BAD * cluster, pnum, map;
    g_autofree uint8_t *buf = g_malloc0(cluster);
    g_autoptr(GError) err = NULL;
    BlockNode *file;

    memset(buf, 0x33, cluster);
    switch (r->op) {
    case OP_READ:
        return block_pread(r->n, at, buf, 512);
    case OP_WRITE:
        return block_pwrite(r->n, at + 512, buf, 512, 0);
    case OP_WRITE_ALL:
        return block_pwrite(r->n, at, buf, cluster, 0);
    case OP_COMPRESSED:
        return r->n->driver->pwrite_compressed(r->n, at, buf, cluster);
    case OP_ZERO:
        return block_pwrite_zeroes(r->n, at - cluster, 3 * cluster, 0);
    case OP_UNMAP:
        return block_pwrite_zeroes(r->n, at - cluster, 3 * cluster, BLOCK_REQ_MAY_UNMAP);
    case OP_DISCARD:
        return block_pdiscard(r->n, at - cluster, 3 * cluster);
    case OP_SHRINK:
        return block_truncate(r->n, at - cluster, &err);
    case OP_STATUS:
        return block_status(r->n, at, cluster, &pnum, &map, &file);
    default:
        return 0;
    }
}

static int coroutine_fn read_good(void *data)
{
    Request *r = data;
    uint8_t buf[512];
    int ret = block_pread(r->n, GOOD * r->l->cluster, buf, sizeof buf);

    return ret < 0 ? ret : buf[0] == 0x5a && buf[511] == 0x5a ? 0 : -ENOMSG;
}

static int coroutine_fn write_good(void *data)
{
    Request *r = data;
    uint8_t buf[512] = {1};

    return block_pwrite(r->n, (GOOD + 1) * r->l->cluster, buf, sizeof buf, 0);
}

static int coroutine_fn discard_good(void *data)
{
    Request *r = data;

    return block_pdiscard(r->n, (GOOD + 1) * r->l->cluster, 4 * r->l->cluster);
}

static int coroutine_fn grow(void *data)
{
    Request *r = data;
    g_autoptr(GError) err = NULL;

    return block_truncate(r->n, r->l->size + GiB, &err);
}

static int coroutine_fn flush_fn(void *data)
{
    return block_flush(data);
}

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("# %s, '%s': not %s\n", op_names[op], k->name, #cond);                          \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool try_one(const Layout *l, const uint8_t *image, size_t length, const Kind *k, Op op)
{
    Request r = {.l = l, .op = op};
    MemDisk *d = l->disk;
    int ret;

    memdisk_set(d, image, length);
    spoil(l, k);
    r.n = open_disk(0);
    ret = block_run(request_fn, &r);
    EXPECT(ret == -EIO);
    EXPECT(block_run(read_good, &r) == 0);
    EXPECT(block_run(write_good, &r) == -EIO);
    EXPECT(block_run(discard_good, &r) == -EIO);
    EXPECT(block_run(grow, &r) == -EIO);
    for (int i = 0; i < 4; i++) {
        block_run(flush_fn, r.n); /* carries out all frees that wait */
    }
    block_node_unref(r.n);
    if (!l->v2) {
        EXPECT(be64(d, 72) & 2); /* the corrupt bit; bit 0 is dirty, with lazy refcounts */
        stbe64(d->data + 72, be64(d, 72) & ~3ull);
    }
    EXPECT(memcmp(d->data, image, l->cluster) == 0);
    EXPECT(memcmp(d->data + l->l1, image + l->l1, ldbe32(image + 36) * 8) == 0);
    EXPECT(memcmp(d->data + l->reftable, image + l->reftable, l->cluster) == 0);
    EXPECT(memcmp(d->data + l->refblock, image + l->refblock, 8) == 0);
    EXPECT(!l->snapshot_l1 ||
           memcmp(d->data + l->snapshot_l1, image + l->snapshot_l1, l->cluster) == 0);
    EXPECT(!l->snapshot_l2 ||
           memcmp(d->data + l->snapshot_l2, image + l->snapshot_l2, l->cluster) == 0);
    return true;
}

/* A bad entry of the L1 table, under which nothing can be read, or of the refcount table. */
typedef struct {
    const char *name;
    bool l1;
    int64_t plus; /* is added to the entry */
    uint64_t ops; /* bits of the Ops that use the entry */
} TableKind;

static const TableKind table_kinds[] = {
    {"L1 entry, unaligned", true, 512, BIT64(OP_COUNT) - 1},
    {"L1 entry, behind the end", true, 1ll << 40, BIT64(OP_COUNT) - 1},
    {"refcount table entry, unaligned", false, 512,
     BIT64(OP_COMPRESSED) | BIT64(OP_UNMAP) | BIT64(OP_DISCARD) | BIT64(OP_SHRINK)},
    {"refcount table entry, behind the end", false, 1ll << 40,
     BIT64(OP_COMPRESSED) | BIT64(OP_UNMAP) | BIT64(OP_DISCARD) | BIT64(OP_SHRINK)},
};

static bool try_table(const Layout *l, const uint8_t *image, size_t length, const TableKind *k,
                      Op op)
{
    Request r = {.l = l, .op = op};
    MemDisk *d = l->disk;
    uint64_t at = k->l1 ? l->l1 : l->reftable;
    g_autoptr(GError) err = NULL;

    memdisk_set(d, image, length);
    stbe64(d->data + at, be64(d, at) + k->plus);
    r.n = imgtest_open("qcow2", "disk", "{\"discard\":\"unmap\"}", &err);
    if (!r.n) {
        EXPECT(strstr(err->message, "Image is corrupt")); /* the table now overlaps the next */
        return true;
    }
    EXPECT(block_run(request_fn, &r) == -EIO);
    EXPECT(k->l1 || block_run(read_good, &r) == 0);
    EXPECT(block_run(write_good, &r) == -EIO);
    block_run(flush_fn, r.n);
    block_node_unref(r.n);
    EXPECT(be64(d, 72) & 2);
    stbe64(d->data + 72, be64(d, 72) & ~3ull);
    EXPECT(memcmp(d->data, image, l->cluster) == 0);
    EXPECT(d->length == length && memcmp(d->data + l->l2, image + l->l2, l->cluster) == 0);
    return true;
}

static bool run_tables(const Shape *shape)
{
    Layout l;
    g_autofree uint8_t *image = NULL;
    size_t length;
    bool ok = true;

    make_image(shape, &l);
    length = l.disk->length;
    image = g_memdup2(l.disk->data, length);
    for (unsigned k = 0; k < ARRAY_SIZE(table_kinds); k++) {
        for (Op op = 0; op < OP_COUNT; op++) {
            if (table_kinds[k].ops & BIT64(op)) {
                ok &= try_table(&l, image, length, &table_kinds[k], op);
            }
        }
    }
    memdisk_free(l.disk);
    return ok;
}

static bool applies(const Layout *l, const Kind *k, Op op)
{
    if ((k->flags & NEEDS_SNAPSHOT && !l->snapshot_l1) ||
        (k->flags & NEEDS_TABLE && !l->snapshot_l2)) {
        return false;
    }
    if (op == OP_READ || op == OP_STATUS) {
        return k->flags & READ_FAILS;
    }
    /* Without a zero flag (version 2) zeroes are written as data. */
    return !(k->flags & WRITE_UNSEEN) ||
           (op != OP_WRITE && op != OP_WRITE_ALL && (!l->v2 || (op != OP_ZERO && op != OP_UNMAP)));
}

static bool corrupt_run_shape(const Shape *shape)
{
    Layout l;
    g_autofree uint8_t *image = NULL;
    size_t length;
    bool ok = true;

    make_image(shape, &l);
    length = l.disk->length;
    image = g_memdup2(l.disk->data, length);
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (Op op = 0; op < OP_COUNT; op++) {
            if (applies(&l, &kinds[k], op)) {
                ok &= try_one(&l, image, length, &kinds[k], op);
            }
        }
    }
    memdisk_free(l.disk);
    return ok;
}

/* --- L1 entries and tables of a snapshot --- */

/* The disk's L1 entry names the L2 table of a snapshot, with refcount 1. */
static bool lying_l1_entry(uint64_t bits)
{
    static const Kind kind = {"L1 entry", 0, 0, 0, 0}, *k = &kind;
    g_autofree uint8_t *image = NULL;
    Layout l;
    bool ok = true;

    make_image(&shapes[2], &l);
    stbe64(l.disk->data + l.l1, l.snapshot_l2 | bits);
    size_t length = l.disk->length;
    image = g_memdup2(l.disk->data, length);
    for (Op op = OP_WRITE; op < OP_STATUS; op++) {
        Request r = {.l = &l, .op = op};

        memdisk_set(l.disk, image, length);
        r.n = open_disk(0);
        EXPECT(block_run(request_fn, &r) == -EIO);
        for (int i = 0; i < 4; i++) {
            block_run(flush_fn, r.n);
        }
        block_node_unref(r.n);
        EXPECT(be64(l.disk, 72) & 2);
        EXPECT(memcmp(l.disk->data + l.snapshot_l2, image + l.snapshot_l2, l.cluster) == 0);
        EXPECT(memcmp(l.disk->data + l.refblock, image + l.refblock, l.cluster) == 0);
    }
    memdisk_free(l.disk);
    return ok;
}

/* An image of which a snapshot's L2 table is a table of another kind, too, is not written. */
static bool snapshot_table_in_a_place(void)
{
    static const size_t places[] = {AT(l1), AT(reftable), AT(refblock)};
    Layout l;
    bool ok = true;

    make_image(&shapes[2], &l);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        g_autoptr(GError) err = NULL;
        BlockNode *n;

        stbe64(l.disk->data + l.snapshot_l1, *(uint64_t *)((char *)&l + places[i]));
        n = imgtest_open("qcow2", "disk", NULL, &err);
        ok &= !n && strstr(err->message, "two of its tables are in one place");
        if (n) {
            block_node_unref(n);
        }
    }
    memdisk_free(l.disk);
    return ok;
}

/* A snapshot's L1 entry that is bad itself guards what it may mean, and keeps nobody from writing.
 */
static bool bad_snapshot_l1_entry(int64_t plus, bool guards)
{
    const Kind kind = {"bad L1 entry of a snapshot", AT(snapshot_l2), 0, COPIED, 0}, *k = &kind;
    Request r = {.op = OP_WRITE};
    Op op = OP_WRITE;
    Layout l;

    make_image(&shapes[2], &l);
    stbe64(l.disk->data + l.snapshot_l1, be64(l.disk, l.snapshot_l1) + plus);
    r.l = &l;
    r.n = open_disk(0);
    EXPECT(block_run(write_good, &r) == 0);
    EXPECT(block_run(discard_good, &r) == 0);
    block_node_unref(r.n);
    spoil(&l, k);
    r.n = open_disk(0);
    EXPECT(block_run(request_fn, &r) == (guards ? -EIO : 0));
    block_node_unref(r.n);
    memdisk_free(l.disk);
    return true;
}

/* --- repair --- */

static int coroutine_fn repair_fn(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int ret = n->driver->check(n, &res,
                               BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS | BLOCK_CHECK_QUIET);

    return ret < 0 ? ret : (int)res.leaks_fixed;
}

/* A repair must not free clusters that a bad entry may have meant. */
static bool repair_keeps_data(void)
{
    Layout l;
    BlockNode *n;
    bool kept;

    make_image(&shapes[0], &l);
    spoil(&l, &kinds[0]);
    n = open_disk(BLOCK_IMAGE_CHECK);
    block_run(repair_fn, n);
    block_node_unref(n);
    kept = ldbe16(l.disk->data + l.refblock + l.own / l.cluster * 2) != 0;
    memdisk_free(l.disk);
    return kept;
}

/* --- compressed clusters that share a host cluster --- */

static int coroutine_fn reuse_fn(void *data)
{
    BlockNode *n = data;
    uint8_t buf[4096] = {0}, seen[4096];
    int ret = n->driver->pwrite_compressed(n, 0, buf, sizeof buf);

    /* Frees the host cluster; the plain writes below reuse it. */
    ret = ret < 0 ? ret : block_pdiscard(n, 0, sizeof buf);
    for (int i = 0; i < 4 && ret == 0; i++) {
        ret = block_flush(n);
    }
    memset(buf, 0x77, sizeof buf);
    for (uint64_t at = 1; at < 64 && ret == 0; at++) {
        ret = block_pwrite(n, at * sizeof buf, buf, sizeof buf, 0);
    }
    memset(seen, 0, sizeof seen);
    ret = ret < 0 ? ret : n->driver->pwrite_compressed(n, 0, seen, sizeof seen);
    for (uint64_t at = 1; at < 64 && ret == 0; at++) {
        ret = block_pread(n, at * sizeof buf, seen, sizeof seen);
        if (ret == 0 && memcmp(seen, buf, sizeof buf)) {
            ret = -ENOMSG;
        }
    }
    return ret;
}

static bool freed_compressed_space_is_left_alone(void)
{
    MemDisk *d = imgtest_create("disk", "qcow2", "size=4M,cluster_size=4k");
    BlockNode *n = open_disk(0);
    int ret = block_run(reuse_fn, n);

    block_node_unref(n);
    memdisk_free(d);
    return ret == 0;
}

int main(void)
{
    EventLoop *loop = imgtest_init();
    unsigned t = 0;

    log_set_file("/dev/null", NULL);
    printf("1..%zu\n", ARRAY_SIZE(shapes) + 7);
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        bool ok = corrupt_run_shape(&shapes[i]);

        printf("%sok %u - bad entries: %s%s\n", ok ? "" : "not ", ++t, shapes[i].options,
               snapshot_words[shapes[i].snapshot]);
    }
    printf("%sok %u - bad entries of tables\n", run_tables(&shapes[0]) ? "" : "not ", ++t);
    printf("%sok %u - an L1 entry names a snapshot's table, with the copied flag\n",
           lying_l1_entry(COPIED) ? "" : "not ", ++t);
    printf("%sok %u - an L1 entry names a snapshot's table that has one reference\n",
           lying_l1_entry(0) ? "" : "not ", ++t);
    printf("%sok %u - a snapshot's L2 table in the place of another table\n",
           snapshot_table_in_a_place() ? "" : "not ", ++t);
    printf("%sok %u - bad L1 entries of a snapshot\n",
           bad_snapshot_l1_entry(512, true) && bad_snapshot_l1_entry(1ll << 40, false) ? ""
                                                                                       : "not ",
           ++t);
    printf("%sok %u - a repair keeps what an unaligned entry lies in\n",
           repair_keeps_data() ? "" : "not ", ++t);
    printf("%sok %u - freed compressed space is left alone\n",
           freed_compressed_space_is_left_alone() ? "" : "not ", ++t);
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}

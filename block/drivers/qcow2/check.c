/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The consistency check. Counts the references to every cluster and compares them with the
 * refcounts. Repairs refcounts, and the COPIED flags that follow from them. Where refcount blocks
 * cannot be read, or share a cluster with something else, writes all refcounts anew (rebuild.c).
 */
#include <errno.h>
#include <stdio.h>
#include "qcow2.h"

typedef struct {
    BlockNode *n;
    Qcow2State *s;
    BlockCheckResult *res;
    unsigned fix;
    uint32_t *counts; /* references found, to each cluster of the file */
    uint64_t clusters;
    bool outside;       /* there is a reference to a cluster outside of the file */
    bool uncounted;     /* a table could not be read: 'counts' may lack its references */
    uint32_t weight;    /* of a reference: how often one L1 table names the L2 table it is in */
    uint64_t next_data; /* where the next data cluster is, if it is not fragmented; 0: any */
} Check;

static void qcow2_check_complain(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void qcow2_check_complain(Check *c, const char *fmt, ...)
{
    va_list ap;

    if (!(c->fix & BLOCK_CHECK_QUIET)) {
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
    c->res->corruptions++;
}

static void qcow2_check_tell(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void qcow2_check_tell(Check *c, const char *fmt, ...)
{
    va_list ap;

    if (!(c->fix & BLOCK_CHECK_QUIET)) {
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
}

static void qcow2_check_count(Check *c, uint64_t host, uint64_t bytes, const char *what)
{
    uint64_t first, last;

    if (!bytes) {
        return;
    }
    first = host >> c->s->cluster_bits;
    if (host > INT64_MAX - bytes ||
        (last = (host + bytes - 1) >> c->s->cluster_bits) >= c->clusters) {
        qcow2_check_complain(c, "ERROR: %s at %#" PRIx64 " is outside of the image file\n", what,
                             host);
        c->outside = true;
        return;
    }
    for (uint64_t i = first; i <= last; i++) {
        c->counts[i] += MIN(c->weight, UINT32_MAX - c->counts[i]);
    }
}

/* Clusters of the file, the last one perhaps in part. */
static uint64_t file_clusters(Check *c)
{
    return DIV_ROUND_UP(MAX(block_length(c->n->file), 0), c->s->cluster_size);
}

static void count_compressed(Check *c, uint64_t entry, bool active)
{
    uint64_t host, bytes;

    qcow2_compressed_range(c->s, entry, &host, &bytes);
    if (entry & ENTRY_COPIED) {
        qcow2_check_complain(c,
                             "ERROR: coffset=%#" PRIx64 ": copied flag must never be set for "
                             "compressed clusters\n",
                             host);
    }
    if (qcow2_has_data_file(c->s)) {
        qcow2_check_complain(c,
                             "ERROR compressed cluster %#" PRIx64 " with data file, "
                             "entry=%#" PRIx64 "\n",
                             host, entry);
    }
    qcow2_check_count(c, host, bytes, "compressed cluster");
    if (active) {
        c->res->allocated_clusters++;
        c->res->compressed_clusters++;
        c->res->fragmented_clusters++;
    }
}

/* Reports faults of an entry that is not compressed, but for its COPIED flag (check_copied()). */
static void complain_of_entry(Check *c, uint64_t entry, uint64_t bitmap)
{
    Qcow2State *s = c->s;
    uint64_t host = entry & ENTRY_OFFSET_MASK;
    uint32_t data = bitmap, zero = bitmap >> 32;

    if (entry & L2_STD_RESERVED_MASK) {
        qcow2_check_complain(c, "ERROR found l2 entry with reserved bits set: %" PRIx64 "\n",
                             entry);
    }
    if (data & zero) {
        qcow2_check_complain(c,
                             "ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster "
                             "allocation bitmap\n",
                             host);
    } else if (data && !host && !qcow2_has_data_file(s)) {
        qcow2_check_complain(c, "ERROR: Unallocated cluster has non-zero subcluster allocation "
                                "map\n");
    }
    if (!IS_ALIGNED(host, s->cluster_size)) {
        bool has_data = s->extl2 ? data != 0 : !(entry & L2_ZERO);

        qcow2_check_complain(c,
                             "ERROR offset=%" PRIx64 ": %s cluster is not properly aligned; L2 "
                             "entry corrupted.\n",
                             host, has_data ? "Data" : "Preallocated");
    }
}

static void count_entry(Check *c, uint64_t entry, uint64_t bitmap, bool active)
{
    Qcow2State *s = c->s;
    uint64_t host = entry & ENTRY_OFFSET_MASK;

    if (entry & L2_COMPRESSED) {
        count_compressed(c, entry, active);
        return;
    }
    complain_of_entry(c, entry, bitmap);
    /* The first cluster of a data file may be the guest's. */
    if (!host && !(qcow2_has_data_file(s) && (entry & ENTRY_COPIED))) {
        return;
    }
    if (active) {
        c->res->allocated_clusters++;
        if (c->next_data && host != c->next_data) {
            c->res->fragmented_clusters++;
        }
        c->next_data = host + s->cluster_size;
    }
    if (qcow2_has_data_file(s)) {
        return;
    }
    /* Of an unaligned offset both clusters count, so that a repair frees neither as a leak. */
    qcow2_check_count(c, host, s->cluster_size, "data cluster");
}

static int coroutine_fn count_l2(Check *c, uint64_t table, bool active)
{
    Qcow2State *s = c->s;
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size);
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    ret = block_pread(c->n->file, table, buf, s->cluster_size);
    if (ret < 0) {
        qcow2_check_tell(c, "ERROR: I/O error in check_refcounts_l2\n");
        c->res->check_errors++;
        return ret;
    }
    c->next_data = 0;
    for (uint64_t i = 0; i < BIT64(s->l2_bits); i++) {
        const uint8_t *e = buf + i * s->l2_entry_size;
        count_entry(c, ldbe64(e), s->extl2 ? ldbe64(e + 8) : 0, active);
    }
    return 0;
}

static int coroutine_fn count_l1(Check *c, const uint64_t *l1, uint64_t entries, bool active)
{
    /* How often the L1 table names each L2 table: it is walked once, its references weighted. */
    g_autoptr(GHashTable) times = g_hash_table_new(hash_u64, g_int64_equal);
    g_autofree uint64_t *tables = g_try_new(uint64_t, MAX(entries, 1));

    if (!tables) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < entries; i++) {
        gsize before;

        if (l1[i] & L1_RESERVED_MASK) {
            qcow2_check_complain(c, "ERROR found L1 entry with reserved bits set: %" PRIx64 "\n",
                                 l1[i]);
        }
        tables[i] = l1[i] & ENTRY_OFFSET_MASK;
        before = GPOINTER_TO_SIZE(g_hash_table_lookup(times, &tables[i]));
        g_hash_table_replace(times, &tables[i], GSIZE_TO_POINTER(before + 1));
    }
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t table = tables[i];
        gsize named = GPOINTER_TO_SIZE(g_hash_table_lookup(times, &table));
        int ret;

        if (!table) {
            continue;
        }
        if (!IS_ALIGNED(table, c->s->cluster_size)) {
            qcow2_check_complain(c,
                                 "ERROR l2_offset=%" PRIx64
                                 ": Table is not cluster aligned; L1 entry "
                                 "corrupted\n",
                                 table);
            c->uncounted = true;
            continue;
        }
        qcow2_check_count(c, table, c->s->cluster_size, "L2 table");
        if ((table >> c->s->cluster_bits) >= c->clusters) {
            c->uncounted = true;
            continue;
        }
        if (!named) {
            continue; /* this L2 table has been walked */
        }
        g_hash_table_remove(times, &table);
        c->weight = MIN(named, UINT32_MAX);
        ret = count_l2(c, table, active);
        c->weight = 1;
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* Version 3: extra data has the size of the VM state and that of the disk, at least. */
enum { SNAPSHOT_EXTRA_MIN = 16 };

static int coroutine_fn count_snapshots(Check *c)
{
    Qcow2State *s = c->s;
    uint64_t at = s->snapshots.offset;

    for (uint32_t i = 0; i < s->snapshots.count; i++) {
        uint8_t h[40];
        g_autofree uint64_t *l1 = NULL;
        uint64_t offset;
        uint32_t entries;
        int ret = block_pread(c->n->file, at, h, sizeof h);

        if (ret < 0) {
            return ret;
        }
        offset = ldbe64(h);
        entries = ldbe32(h + 8);
        at += ROUND_UP(40 + (uint64_t)ldbe32(h + 36) + ldbe16(h + 12) + ldbe16(h + 14), 8);
        if (s->version >= 3 && ldbe32(h + 36) < SNAPSHOT_EXTRA_MIN) {
            qcow2_check_complain(c, "ERROR snapshot table entry %u is incomplete\n", i);
        }
        if (!IS_ALIGNED(offset, s->cluster_size) || entries > MAX_L1_BYTES / 8 ||
            offset > INT64_MAX - MAX_L1_BYTES ||
            offset + entries * 8ull > c->clusters * s->cluster_size) {
            qcow2_check_complain(
                c, "ERROR snapshot %u l1_offset=%#" PRIx64 ": L1 table is not in the image\n",
                i + 1, offset);
            c->uncounted = true;
            continue;
        }
        qcow2_check_count(c, offset, entries * 8ull, "snapshot L1 table");
        l1 = g_try_new(uint64_t, MAX(entries, 1));
        ret = l1 ? block_pread(c->n->file, offset, l1, entries * 8ull) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        for (uint32_t k = 0; k < entries; k++) {
            l1[k] = ldbe64(&l1[k]);
        }
        ret = count_l1(c, l1, entries, false);
        if (ret < 0) {
            return ret;
        }
    }
    qcow2_check_count(c, s->snapshots.offset, s->snapshots.bytes, "snapshot table");
    return 0;
}

/* 'Bitmaps extension': counts the directory, the bitmap tables, and the clusters they name. */
static int coroutine_fn count_bitmaps(Check *c)
{
    Qcow2State *s = c->s;
    uint64_t at = s->bitmap_dir.offset, end = at + s->bitmap_dir.bytes;
    g_autoptr(GError) err = NULL;
    int ret;

    if (s->version < 3 || !(s->autoclear & AUTOCLEAR_BITMAPS)) {
        return 0;
    }
    if (!qcow2_bitmaps_valid(c->n, &err)) {
        qcow2_check_complain(c, "ERROR %s\n", err->message);
    }
    if (!s->bitmap_dir.count) {
        return 0;
    }
    if (s->bitmap_dir.bytes > MAX_BITMAP_DIR_BYTES || at > c->clusters * s->cluster_size ||
        end > c->clusters * s->cluster_size) {
        qcow2_check_complain(c, "ERROR the bitmap directory is not in the image\n");
        c->uncounted = true;
        return 0;
    }
    qcow2_check_count(c, at, s->bitmap_dir.bytes, "bitmap directory");
    for (uint32_t i = 0; i < s->bitmap_dir.count && at + 24 <= end; i++) {
        uint8_t h[24];
        g_autofree uint8_t *table = NULL;
        uint64_t offset, bytes;

        ret = block_pread(c->n->file, at, h, sizeof h);
        if (ret < 0) {
            return ret;
        }
        offset = ldbe64(h);
        bytes = ldbe32(h + 8) * 8ull;
        at += ROUND_UP(24 + (uint64_t)ldbe16(h + 18) + ldbe32(h + 20), 8);
        if (bytes > MAX_L1_BYTES || offset > INT64_MAX - MAX_L1_BYTES ||
            offset + bytes > c->clusters * s->cluster_size) {
            qcow2_check_complain(c, "ERROR bitmap %u: its table is not in the image\n", i + 1);
            c->uncounted = true;
            continue;
        }
        qcow2_check_count(c, offset, bytes, "bitmap table");
        table = g_try_malloc(MAX(bytes, 1));
        ret = table ? block_pread(c->n->file, offset, table, bytes) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        for (uint64_t k = 0; k < bytes; k += 8) {
            uint64_t host = ldbe64(table + k) & ENTRY_OFFSET_MASK;
            if (host) {
                qcow2_check_count(c, host, s->cluster_size, "bitmap data");
            }
        }
    }
    return 0;
}

/* Offset of the refcount block that entry i names; 0: none, or it is unaligned or outside. */
static uint64_t refcount_block(const Check *c, uint64_t i)
{
    uint64_t block = c->s->reftable[i] & REFTABLE_OFFSET_MASK;

    return IS_ALIGNED(block, c->s->cluster_size) && (block >> c->s->cluster_bits) < c->clusters
               ? block
               : 0;
}

/*
 * Reports an entry with reserved bits, and a block that is unaligned, outside, or shares its
 * cluster. False: it is one of these.
 */
static bool check_refcount_block(Check *c, uint64_t i)
{
    Qcow2State *s = c->s;
    uint64_t entry = s->reftable[i] & REFTABLE_OFFSET_MASK, block = refcount_block(c, i);
    uint32_t count = block ? c->counts[block >> s->cluster_bits] : 0;

    if (s->reftable[i] & ~REFTABLE_OFFSET_MASK) {
        qcow2_check_complain(c, "ERROR refcount table entry %" PRIu64 " has reserved bits set\n",
                             i);
        return false;
    }
    if (!entry || count == 1) {
        return true;
    }
    if (count) {
        qcow2_check_complain(c, "ERROR refcount block %" PRIu64 " refcount=%u\n", i, count);
    } else if (IS_ALIGNED(entry, s->cluster_size)) {
        qcow2_check_complain(c, "ERROR refcount block %" PRIu64 " is outside image\n", i);
    } else {
        qcow2_check_complain(c,
                             "ERROR refcount block %" PRIu64
                             " is not cluster aligned; refcount table entry "
                             "corrupted\n",
                             i);
    }
    return false;
}

/*
 * Counts the refcount table and blocks, after all else, so that their own clusters are to have one
 * reference. bad[i]: the block of entry i cannot be trusted. False: there is a fault.
 */
static bool count_refcount_structures(Check *c, bool *bad)
{
    Qcow2State *s = c->s;
    bool good = true;

    if (s->reftable_lost) {
        qcow2_check_complain(c, "ERROR refcount table is not in the image\n");
        good = false;
    }
    for (uint64_t i = 0; i < s->reftable_size * 8; i += s->cluster_size) {
        if (((s->reftable_offset + i) >> s->cluster_bits) < c->clusters) {
            qcow2_check_count(c, s->reftable_offset + i, s->cluster_size, "refcount table");
        }
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        if (refcount_block(c, i)) {
            qcow2_check_count(c, refcount_block(c, i), s->cluster_size, "refcount block");
        }
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        bad[i] = !check_refcount_block(c, i);
        good &= !bad[i];
    }
    for (uint64_t i = 0; i < s->reftable_size * 8; i += s->cluster_size) {
        uint64_t at = (s->reftable_offset + i) >> s->cluster_bits;

        if (at >= c->clusters) {
            qcow2_check_complain(c, "ERROR refcount table is partly outside of the image file\n");
            return false;
        }
        if (c->counts[at] != 1) {
            qcow2_check_complain(c, "ERROR refcount table refcount=%u\n", c->counts[at]);
            good = false;
        }
    }
    return good;
}

/* Takes the references to the refcount table and blocks back: both are about to be replaced. */
static void uncount_refcount_structures(Check *c)
{
    Qcow2State *s = c->s;

    for (uint64_t i = 0; i < s->reftable_size * 8; i += s->cluster_size) {
        uint64_t at = (s->reftable_offset + i) >> s->cluster_bits;

        if (at < c->clusters) {
            c->counts[at]--;
        }
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        if (refcount_block(c, i)) {
            c->counts[refcount_block(c, i) >> s->cluster_bits]--;
        }
    }
}

/* Makes a refcount block for 'cluster', in an unused cluster that the block itself counts. */
static int coroutine_fn add_missing_block(Check *c, uint64_t cluster)
{
    Qcow2State *s = c->s;
    uint64_t first = cluster & ~(BIT64(s->refblock_bits) - 1);

    for (uint64_t i = first; i < first + BIT64(s->refblock_bits); i++) {
        if (i >= c->clusters || !c->counts[i]) {
            int ret = qcow2_make_countable(c->n, i);
            if (ret == 0 && i < c->clusters) {
                c->counts[i]++;
            }
            return ret;
        }
    }
    return -ENOSPC;
}

static void coroutine_fn repair_refcount(Check *c, uint64_t i, uint64_t have, uint64_t want,
                                         bool leak)
{
    bool less = want < have;
    uint64_t amount = less ? have - want : want - have;
    int ret = qcow2_adjust_refcount(c->n, i, amount, less);

    if (ret == -EAGAIN) {
        ret = add_missing_block(c, i);
        if (ret == 0 && c->counts[i] == want) {
            ret = qcow2_adjust_refcount(c->n, i, amount, less);
        }
    }
    if (ret < 0) {
        qcow2_check_tell(c, "ERROR: Could not update the refcount of cluster %" PRIu64 ": %s\n", i,
                         g_strerror(-ret));
        c->res->check_errors++;
        leak ? c->res->leaks++ : c->res->corruptions++;
        return;
    }
    leak ? c->res->leaks_fixed++ : c->res->corruptions_fixed++;
}

static void coroutine_fn qcow2_check_compare(Check *c)
{
    for (uint64_t i = 0; i < c->clusters; i++) {
        uint64_t have, want = c->counts[i];
        int ret = qcow2_get_refcount(c->n, i, &have);
        bool leak = have > want, repair;

        if (ret < 0) {
            qcow2_check_tell(c, "Can't get refcount for cluster %" PRIu64 ": %s\n", i,
                             g_strerror(-ret));
            c->res->check_errors++;
            continue;
        }
        if (have || want) {
            c->res->image_end_offset = (i + 1) << c->s->cluster_bits;
        }
        if (have == want) {
            continue;
        }
        repair = c->fix & (leak ? BLOCK_CHECK_FIX_LEAKS : BLOCK_CHECK_FIX_ERRORS);
        repair &= !leak || !c->uncounted; /* a table that was not read may use the cluster */
        qcow2_check_tell(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64 "\n",
                         repair ? "Repairing"
                         : leak ? "Leaked"
                                : "ERROR",
                         i, have, want);
        if (repair) {
            repair_refcount(c, i, have, want, leak);
        } else if (leak) {
            c->res->leaks++;
        } else {
            c->res->corruptions++;
        }
    }
}

/* Rebuilds all refcounts. 'corruptions' of them were reported, and count as fixed. */
static int coroutine_fn qcow2_check_rebuild(Check *c, uint64_t corruptions)
{
    int ret;

    if (c->outside || c->uncounted) {
        /* The new table and blocks might take clusters that references not counted point to. */
        qcow2_check_tell(c, "ERROR: the refcounts are not rebuilt while %s\n",
                         c->outside ? "clusters outside of the image file are referred to"
                                    : "a table that cannot be read may refer to more");
        return -EUCLEAN;
    }
    qcow2_check_tell(c, "Rebuilding refcount structure\n");
    uncount_refcount_structures(c);
    ret = qcow2_rebuild_refcounts(c->n, c->counts, c->clusters, &c->res->image_end_offset);
    if (ret < 0) {
        qcow2_check_tell(c, "ERROR: Could not rebuild the refcount structure: %s\n",
                         g_strerror(-ret));
        return ret;
    }
    c->res->corruptions -= corruptions;
    c->res->corruptions_fixed += corruptions;
    return 0;
}

/* Checks the refcount table and blocks, then each refcount. */
static int coroutine_fn check_refcounts(Check *c)
{
    Qcow2State *s = c->s;
    g_autofree bool *bad = g_try_new0(bool, MAX(s->reftable_size, 1));
    uint64_t before = c->res->corruptions;
    bool good;

    if (!bad) {
        return -ENOMEM;
    }
    good = count_refcount_structures(c, bad);
    if (!good && (c->fix & BLOCK_CHECK_FIX_ERRORS)) {
        return qcow2_check_rebuild(c, c->res->corruptions - before);
    }
    for (uint64_t i = 0; c->n->checking && i < s->reftable_size; i++) {
        if (bad[i]) {
            s->reftable[i] = 0; /* its refcounts are not compared */
        }
    }
    qcow2_check_compare(c);
    return 0;
}

/* Reports a wrong COPIED flag. True: the caller has to set it right. */
static bool flag_wrong(Check *c, const char *what, uint64_t entry, uint64_t refcount)
{
    bool repair = c->fix & BLOCK_CHECK_FIX_ERRORS;

    if (((entry & ENTRY_COPIED) != 0) == (refcount == 1)) {
        return false;
    }
    qcow2_check_tell(c, "%s OFLAG_COPIED %s=%" PRIx64 " refcount=%" PRIu64 "\n",
                     repair ? "Repairing" : "ERROR", what, entry, refcount);
    repair ? c->res->corruptions_fixed++ : c->res->corruptions++;
    return repair;
}

static void coroutine_fn check_copied_entry(Check *c, Qcow2Slice *slice, unsigned i)
{
    Qcow2State *s = c->s;
    uint64_t entry = qcow2_l2_entry(s, slice, i), host = entry & ENTRY_OFFSET_MASK, refcount = 0;

    if ((!host && !(entry & ENTRY_COPIED)) || (entry & L2_COMPRESSED) ||
        !IS_ALIGNED(host, s->cluster_size) || qcow2_has_data_file(s)) {
        return;
    }
    if (host && qcow2_get_refcount(c->n, host >> s->cluster_bits, &refcount) < 0) {
        return;
    }
    if (flag_wrong(c, "data cluster: l2_entry", entry, refcount)) {
        entry = (entry & ~ENTRY_COPIED) | (refcount == 1 ? ENTRY_COPIED : 0);
        qcow2_l2_set(s, slice, i, entry, qcow2_l2_bitmap(s, slice, i));
    }
}

/* Checks the flags in one L2 table. 'base' is the table's first guest offset. */
static int coroutine_fn check_copied_entries(Check *c, uint64_t base)
{
    Qcow2State *s = c->s;

    for (uint64_t k = 0; k < BIT64(s->l2_bits); k += s->slice_entries) {
        Qcow2Slice *slice;
        int ret = qcow2_slice_for_read(c->n, base + (k << s->cluster_bits), &slice);

        if (ret < 0) {
            return ret;
        }
        for (unsigned i = 0; i < s->slice_entries; i++) {
            check_copied_entry(c, slice, i);
        }
        qcow2_cache_put(slice);
    }
    return 0;
}

/* COPIED means that the refcount is 1. Set wrongly, a write in place changes a snapshot. */
static int coroutine_fn check_copied(Check *c)
{
    Qcow2State *s = c->s;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(hash_u64, g_int64_equal, g_free, NULL);
    uint64_t refcount;
    int ret;

    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t table = s->l1[i] & ENTRY_OFFSET_MASK;
        uint64_t base = (uint64_t)i << (s->cluster_bits + s->l2_bits);
        g_autofree char *what = NULL;

        if (!table || !IS_ALIGNED(table, s->cluster_size) ||
            (table >> s->cluster_bits) >= c->clusters) {
            continue;
        }
        ret = qcow2_get_refcount(c->n, table >> s->cluster_bits, &refcount);
        if (ret < 0) {
            continue;
        }
        what = g_strdup_printf("L2 cluster: l1_index=%u l1_entry", i);
        if (flag_wrong(c, what, s->l1[i], refcount)) {
            qcow2_l1_set(s, i, table | (refcount == 1 ? ENTRY_COPIED : 0));
        }
        if (!g_hash_table_add(seen, g_memdup2(&table, sizeof table))) {
            continue; /* the entries of this L2 table have been checked */
        }
        ret = check_copied_entries(c, base);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* Writes repairs back. Clears the dirty and the corrupt bit of an image without faults. */
static int coroutine_fn write_repairs(Check *c)
{
    Qcow2State *s = c->s;
    uint64_t marks = s->incompat & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
    /* Bitmaps stay valid: their clusters were counted, and no guest data was written. */
    int ret = qcow2_clear_autoclear(c->n, AUTOCLEAR_BITMAPS | AUTOCLEAR_DATA_FILE_RAW);

    ret = ret < 0 ? ret : qcow2_writeback(c->n, true);
    ret = ret < 0 ? ret : block_flush(c->n->file);
    if (ret < 0 || c->res->corruptions || c->res->check_errors || !marks) {
        return ret;
    }
    s->incompat &= ~marks;
    ret = qcow2_write_incompat(c->n, s->incompat);
    return ret < 0 ? ret : block_flush(c->n->file);
}

static int coroutine_fn check_locked(Check *c)
{
    Qcow2State *s = c->s;
    int ret;

    c->res->total_clusters = DIV_ROUND_UP(s->size, s->cluster_size);
    qcow2_check_count(c, 0, s->cluster_size, "header");
    qcow2_check_count(c, s->l1_offset, s->l1_size * 8ull, "active L1 table");
    qcow2_check_count(c, s->crypto.offset, s->crypto.bytes, "encryption header");
    ret = count_l1(c, s->l1, s->l1_size, true);
    ret = ret < 0 ? ret : count_snapshots(c);
    ret = ret < 0 ? ret : count_bitmaps(c);
    if (ret < 0) {
        return ret;
    }
    if (s->snapshots_lost) {
        /* Clusters that only a snapshot uses would be freed as leaks. */
        qcow2_check_complain(c, "ERROR snapshot table: %s; nothing was repaired\n",
                             s->snapshots_lost);
        return 0;
    }
    ret = check_refcounts(c);
    ret = ret < 0 ? ret : check_copied(c);
    if (ret == 0 && (c->fix & ~BLOCK_CHECK_QUIET) && !c->n->read_only) {
        ret = write_repairs(c);
    }
    return ret;
}

int coroutine_fn qcow2_check(BlockNode *node, BlockCheckResult *res, unsigned fix)
{
    Qcow2State *s = block_node_state(node);
    Check c = {.n = node, .s = s, .res = res, .fix = fix, .weight = 1};
    int ret;

    if (!node->read_only && !(fix & ~BLOCK_CHECK_QUIET)) {
        ret = qcow2_flush(node);
        if (ret < 0) {
            return ret;
        }
    }
    co_mutex_lock(&s->lock);
    c.clusters = file_clusters(&c);
    c.counts = g_try_new0(uint32_t, MAX(c.clusters, 1));
    ret = c.counts ? check_locked(&c) : -ENOMEM;
    co_mutex_unlock(&s->lock);
    g_free(c.counts);
    return ret;
}

bool coroutine_fn qcow2_change_refcount_order(BlockNode *node, unsigned order, GError **err)
{
    Qcow2State *s = block_node_state(node);
    BlockCheckResult res = {0};
    Check c = {.n = node, .s = s, .res = &res, .fix = BLOCK_CHECK_QUIET, .weight = 1};
    unsigned old = s->refcount_order;
    uint64_t most = order == 6 ? UINT64_MAX : BIT64(1u << order) - 1;
    int ret = qcow2_settle(node);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write back '%s'", node->filename);
    }
    co_mutex_lock(&s->lock);
    c.clusters = file_clusters(&c);
    c.counts = g_try_new0(uint32_t, MAX(c.clusters, 1));
    ret = c.counts ? check_locked(&c) : -ENOMEM;
    if (ret == 0 && (res.corruptions || res.check_errors || c.outside || c.uncounted)) {
        ret = -EUCLEAN;
        error_set(err, "The image is inconsistent: repair it with 'check -r all' first");
    }
    for (uint64_t i = 0; i < c.clusters && ret == 0; i++) {
        if (c.counts[i] > most) {
            ret = -EINVAL;
            error_set(err,
                      "Cannot decrease refcount entry width to %u bits: Cluster at offset %#" PRIx64
                      " has a refcount of %u",
                      1u << order, i << s->cluster_bits, c.counts[i]);
        }
    }
    if (ret == 0) {
        uncount_refcount_structures(&c);
        s->refcount_order = order;
        s->refblock_bits = s->cluster_bits + 3 - order;
        ret = qcow2_rebuild_refcounts(node, c.counts, c.clusters, &res.image_end_offset);
        if (ret < 0) {
            s->refcount_order = old;
            s->refblock_bits = s->cluster_bits + 3 - old;
        }
    }
    co_mutex_unlock(&s->lock);
    g_free(c.counts);
    if (ret < 0 && !(err && *err)) {
        error_set_errno(err, -ret, "Could not change the width of the refcounts");
    }
    return ret == 0;
}

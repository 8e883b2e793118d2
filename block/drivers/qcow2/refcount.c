/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Host cluster management': refcounts, allocation, and frees, which wait until they are safe. */
#include <errno.h>
#include "qcow2.h"
#include "base/trace.h"

uint64_t qcow2_refcount_read(const uint8_t *block, unsigned order, uint64_t i)
{
    unsigned bits = 1u << order;

    switch (order) {
    case 3:
        return block[i];
    case 4:
        return ldbe16(block + 2 * i);
    case 5:
        return ldbe32(block + 4 * i);
    case 6:
        return ldbe64(block + 8 * i);
    default:
        /* Less than a byte each: the first is in the least significant bits. */
        return (block[i * bits / 8] >> (i * bits % 8)) & (BIT(bits) - 1);
    }
}

void qcow2_refcount_write(uint8_t *block, unsigned order, uint64_t i, uint64_t value)
{
    unsigned bits = 1u << order;

    switch (order) {
    case 3:
        block[i] = value;
        break;
    case 4:
        stbe16(block + 2 * i, value);
        break;
    case 5:
        stbe32(block + 4 * i, value);
        break;
    case 6:
        stbe64(block + 8 * i, value);
        break;
    default: {
        uint8_t mask = (BIT(bits) - 1) << (i * bits % 8);
        uint8_t *b = &block[i * bits / 8];
        *b = (*b & ~mask) | ((value << (i * bits % 8)) & mask);
        break;
    }
    }
}

uint64_t qcow2_refcount_max(const Qcow2State *s)
{
    return s->refcount_order == 6 ? UINT64_MAX : BIT64(1u << s->refcount_order) - 1;
}

static bool qcow2_refcount_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return blen && a < b + blen && b < a + alen;
}

/* The tables of 'guards' (QCOW2_GUARD_...). The encryption header has no guard of its own in QEMU.
 */
static const char *overlapped_table(const Qcow2State *s, unsigned guards, uint64_t host,
                                    uint64_t bytes)
{
    if (guards & QCOW2_GUARD_HEADER && qcow2_refcount_overlap(host, bytes, 0, s->cluster_size)) {
        return "qcow2 header";
    }
    if (guards & QCOW2_GUARD_ACTIVE_L1 &&
        qcow2_refcount_overlap(host, bytes, s->l1_offset,
                               ROUND_UP(s->l1_size * 8ull, s->cluster_size))) {
        return "active L1 table";
    }
    if (guards & QCOW2_GUARD_REFCOUNT_TABLE &&
        qcow2_refcount_overlap(host, bytes, s->reftable_offset, s->reftable_size * 8)) {
        return "refcount table";
    }
    if (guards & QCOW2_GUARD_SNAPSHOT_TABLE &&
        qcow2_refcount_overlap(host, bytes, s->snapshots.offset,
                               ROUND_UP(s->snapshots.bytes, s->cluster_size))) {
        return "snapshot table";
    }
    if (qcow2_overlaps_crypto(s, host, bytes)) {
        return "encryption header";
    }
    return guards & QCOW2_GUARD_INACTIVE_L1 && qcow2_overlaps_snapshot_l1(s, host, bytes)
               ? "L1 table of a snapshot"
               : NULL;
}

static bool overlaps_guarded_l2(const Qcow2State *s, unsigned guards, uint64_t host, uint64_t bytes)
{
    return guards & QCOW2_GUARD_INACTIVE_L2 && qcow2_overlaps_snapshot_l2(s, host, bytes);
}

const char *qcow2_overlaps_tables(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    return overlapped_table(s, s->guards, host, bytes);
}

const char *qcow2_overlaps_fixed(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    const char *what = qcow2_overlaps_tables(s, host, bytes);

    return what                                             ? what
           : overlaps_guarded_l2(s, s->guards, host, bytes) ? "L2 table of a snapshot"
                                                            : NULL;
}

bool qcow2_table_overlaps_fixed(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    return overlapped_table(s, QCOW2_GUARD_ALL, host, bytes) ||
           overlaps_guarded_l2(s, QCOW2_GUARD_ALL, host, bytes);
}

const char *qcow2_overlaps_metadata(Qcow2State *s, uint64_t host, uint64_t bytes)
{
    const char *what = qcow2_overlaps_fixed(s, host, bytes);
    uint64_t first = host >> s->cluster_bits, last = (host + bytes - 1) >> s->cluster_bits;

    if (what) {
        return what;
    }
    g_mutex_lock(&s->map_lock);
    for (uint64_t c = first; c <= last && !what; c++) {
        unsigned kinds = GPOINTER_TO_UINT(g_hash_table_lookup(s->metadata, &c)) & s->guards;

        what = kinds & QCOW2_GUARD_ACTIVE_L2        ? "active L2 table"
               : kinds & QCOW2_GUARD_REFCOUNT_BLOCK ? "refcount block"
               : kinds                              ? "bitmap directory"
                                                    : NULL;
    }
    g_mutex_unlock(&s->map_lock);
    return what;
}

bool qcow2_metadata_add(Qcow2State *s, uint64_t host, unsigned kind)
{
    uint64_t *key = g_new(uint64_t, 1);
    unsigned before;

    *key = host >> s->cluster_bits;
    g_mutex_lock(&s->map_lock);
    before = GPOINTER_TO_UINT(g_hash_table_lookup(s->metadata, key));
    g_hash_table_insert(s->metadata, key, GUINT_TO_POINTER(before | kind));
    g_mutex_unlock(&s->map_lock);
    return !before;
}

void qcow2_metadata_remove(Qcow2State *s, uint64_t host, unsigned kind)
{
    uint64_t *key = g_new(uint64_t, 1);
    unsigned left;

    *key = host >> s->cluster_bits;
    g_mutex_lock(&s->map_lock);
    left = GPOINTER_TO_UINT(g_hash_table_lookup(s->metadata, key)) & ~kind;
    if (left) {
        g_hash_table_insert(s->metadata, key, GUINT_TO_POINTER(left));
    } else {
        g_hash_table_remove(s->metadata, key);
        g_free(key);
    }
    g_mutex_unlock(&s->map_lock);
}

/* How many refcounts one slice has. */
static uint64_t slice_refcounts(const Qcow2State *s)
{
    return (s->ref_cache.slice_size * 8) >> s->refcount_order;
}

/* Gets the slice with a cluster's refcount, and the index there. 0 with NULL: it has no block. */
static int coroutine_fn refcount_slice(BlockNode *n, uint64_t cluster, Qcow2Slice **out,
                                       uint64_t *index)
{
    Qcow2State *s = block_node_state(n);
    uint64_t ti = cluster >> s->refblock_bits, in_block, block;

    *out = NULL;
    *index = 0;
    if (ti >= s->reftable_size || !(block = s->reftable[ti] & REFTABLE_OFFSET_MASK)) {
        return 0;
    }
    if (!IS_ALIGNED(block, s->cluster_size)) {
        return qcow2_corruption(
            n, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", block, ti);
    }
    if (!qcow2_table_in_file(n, block)) {
        return qcow2_corruption(n,
                                "Refblock offset %#" PRIx64
                                " is behind the end of the image file (reftable index: %#" PRIx64
                                ")",
                                block, ti);
    }
    in_block = cluster & (BIT64(s->refblock_bits) - 1);
    *index = in_block % slice_refcounts(s);
    return qcow2_cache_get(n, &s->ref_cache,
                           block + in_block / slice_refcounts(s) * s->ref_cache.slice_size, out);
}

int coroutine_fn qcow2_get_refcount(BlockNode *n, uint64_t cluster, uint64_t *refcount)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Slice *slice;
    uint64_t i;
    int ret = refcount_slice(n, cluster, &slice, &i);

    *refcount = 0;
    if (slice) {
        *refcount = qcow2_refcount_read(slice->data, s->refcount_order, i);
        qcow2_cache_put(slice);
    }
    return ret;
}

int coroutine_fn qcow2_adjust_refcount(BlockNode *n, uint64_t cluster, uint64_t amount, bool less)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Slice *slice;
    uint64_t i, value;
    int ret = refcount_slice(n, cluster, &slice, &i);

    if (ret < 0) {
        return ret;
    }
    if (!slice) {
        return !less
                   ? -EAGAIN
                   : qcow2_corruption(n, "free of cluster %#" PRIx64 " that has no refcount block",
                                      cluster << s->cluster_bits);
    }
    value = qcow2_refcount_read(slice->data, s->refcount_order, i);
    if (less && value < amount) {
        qcow2_cache_put(slice);
        return qcow2_corruption(n, "refcount of cluster %#" PRIx64 " would go below 0",
                                cluster << s->cluster_bits);
    }
    if (!less && (amount > qcow2_refcount_max(s) || value > qcow2_refcount_max(s) - amount)) {
        qcow2_cache_put(slice);
        return -EINVAL;
    }
    value = less ? value - amount : value + amount;
    if (value == 0) {
        const char *what = qcow2_overlaps_fixed(s, cluster << s->cluster_bits, s->cluster_size);

        /* These tables are in use while the image is open: no free of them is right. */
        if (what) {
            qcow2_cache_put(slice);
            return qcow2_corruption(n, "Preventing the %s at %#" PRIx64 " from being freed", what,
                                    cluster << s->cluster_bits);
        }
    }
    qcow2_refcount_write(slice->data, s->refcount_order, i, value);
    qcow2_cache_mark_dirty(&s->ref_cache, slice);
    qcow2_cache_put(slice);
    if (value == 0) {
        s->free_hint = MIN(s->free_hint, cluster);
        if (cluster == s->compressed_next >> s->cluster_bits) {
            s->compressed_next = 0; /* the cluster is free: nothing may be appended there */
        }
    }
    return 0;
}

static int coroutine_fn add_one(BlockNode *n, uint64_t cluster, int delta)
{
    return qcow2_adjust_refcount(n, cluster, ABS(delta), delta < 0);
}

int coroutine_fn qcow2_add_refcount(BlockNode *n, uint64_t cluster, uint64_t count, int delta)
{
    for (uint64_t i = 0; i < count; i++) {
        int ret = add_one(n, cluster + i, delta);
        if (ret < 0) {
            while (i--) {
                add_one(n, cluster + i, -delta);
            }
            return ret;
        }
    }
    return 0;
}

/* Writes a new refcount block with 'used_count' refcounts of 1. No table points to it yet. */
static int coroutine_fn write_new_block(BlockNode *n, uint64_t block_cluster, uint64_t used_first,
                                        uint64_t used_count)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = g_try_malloc0(s->cluster_size);
    uint64_t base = (used_first >> s->refblock_bits) << s->refblock_bits;

    if (!buf) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < used_count; i++) {
        qcow2_refcount_write(buf, s->refcount_order, used_first - base + i, 1);
    }
    qcow2_cache_forget(&s->ref_cache, block_cluster << s->cluster_bits, s->cluster_size);
    block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC_WRITE);
    return block_pwrite(n->file, block_cluster << s->cluster_bits, buf, s->cluster_size, 0);
}

/* Puts a refcount block at 'cluster'. Its only refcount so far is its own. */
static int coroutine_fn add_refcount_block(BlockNode *n, uint64_t cluster)
{
    Qcow2State *s = block_node_state(n);
    uint64_t ti = cluster >> s->refblock_bits, host = cluster << s->cluster_bits;
    uint8_t be[8];
    int ret;

    block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC);
    ret = write_new_block(n, cluster, cluster, 1);

    if (ret == 0) {
        ret = block_flush(n->file);
    }
    if (ret == 0) {
        stbe64(be, host);
        block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC_HOOKUP);
        ret = block_pwrite(n->file, s->reftable_offset + ti * 8, be, sizeof be, 0);
    }
    if (ret < 0) {
        return ret;
    }
    s->reftable[ti] = host;
    qcow2_metadata_add(s, host, QCOW2_GUARD_REFCOUNT_BLOCK);
    return 0;
}

/* A larger refcount table, and the blocks that count both: contiguous clusters, blocks first. */
typedef struct {
    uint64_t start;    /* first cluster; no cluster from here on has a refcount */
    uint64_t room;     /* free clusters behind the table that the new blocks count, too */
    uint64_t blocks;   /* new refcount blocks */
    uint64_t first_ti; /* table index of the first of them */
    uint64_t table_clusters, entries;
    uint64_t *table; /* host byte order */
} NewReftable;

static void new_reftable_plan(const Qcow2State *s, NewReftable *t)
{
    t->first_ti = t->start >> s->refblock_bits;
    t->blocks = 1;
    for (;;) {
        uint64_t needed, used;

        t->entries = MAX(t->first_ti + t->blocks + 1, s->reftable_size + s->reftable_size / 2);
        t->table_clusters = DIV_ROUND_UP(t->entries, s->cluster_size / 8);
        used = t->blocks + t->table_clusters;
        needed = ((t->start + used + t->room - 1) >> s->refblock_bits) - t->first_ti + 1;
        if (needed <= t->blocks) {
            break;
        }
        t->blocks = needed;
    }
    t->entries = t->table_clusters * (s->cluster_size / 8);
}

/* Writes the blocks and the table, and flushes. Nothing points to them yet. */
static int coroutine_fn new_reftable_write(BlockNode *n, NewReftable *t)
{
    Qcow2State *s = block_node_state(n);
    const uint64_t per_block = BIT64(s->refblock_bits);
    uint64_t end = t->start + t->blocks + t->table_clusters;
    g_autofree uint8_t *be = g_try_malloc0(t->entries * 8);
    int ret;

    if (!be) {
        return -ENOMEM;
    }
    block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC_WRITE_BLOCKS);
    for (uint64_t b = 0; b < t->blocks; b++) {
        uint64_t from = MAX(t->start, (t->first_ti + b) * per_block);
        uint64_t to = MIN(end, (t->first_ti + b + 1) * per_block);

        t->table[t->first_ti + b] = (t->start + b) << s->cluster_bits;
        ret = write_new_block(n, t->start + b, from, to > from ? to - from : 0);
        if (ret < 0) {
            return ret;
        }
    }
    for (uint64_t i = 0; i < t->entries; i++) {
        stbe64(be + 8 * i, t->table[i]);
    }
    block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC_WRITE_TABLE);
    ret = block_pwrite(n->file, (t->start + t->blocks) << s->cluster_bits, be, t->entries * 8, 0);
    return ret < 0 ? ret : block_flush(n->file);
}

static int coroutine_fn new_reftable_point_header(BlockNode *n, const NewReftable *t)
{
    Qcow2State *s = block_node_state(n);
    uint8_t header[12];
    int ret;

    stbe64(header, (t->start + t->blocks) << s->cluster_bits);
    stbe32(header + 8, t->table_clusters);
    block_debug_event(n->file, BLOCK_DEBUG_REFBLOCK_ALLOC_SWITCH_TABLE);
    ret = block_pwrite(n->file, HDR_REFCOUNT_TABLE_OFFSET, header, sizeof header, 0);
    /* Stable before the old table is freed: the header must not point to a reused cluster. */
    return ret < 0 ? ret : block_flush(n->file);
}

/* -EIO where clusters without a refcount block are known metadata: taking them would destroy it. */
static int coroutine_fn in_use_uncounted(BlockNode *n, uint64_t cluster, uint64_t count)
{
    Qcow2State *s = block_node_state(n);
    uint64_t host = cluster << s->cluster_bits;
    const char *what = qcow2_overlaps_metadata(s, host, count << s->cluster_bits);

    return what ? qcow2_corruption(n, "%s at %#" PRIx64 " has no refcount block", what, host) : 0;
}

static int coroutine_fn grow_reftable(BlockNode *n, uint64_t start, uint64_t room)
{
    Qcow2State *s = block_node_state(n);
    uint64_t old_offset = s->reftable_offset, old_entries = s->reftable_size;
    NewReftable t = {.start = start, .room = room};
    int ret;

    new_reftable_plan(s, &t);
    if (t.entries * 8 > MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    ret = in_use_uncounted(n, start, t.blocks + t.table_clusters + room);
    if (ret < 0) {
        return ret;
    }
    t.table = sparse_try_new(t.entries * 8);
    if (!t.table) {
        return -ENOMEM;
    }
    if (old_entries) {
        memcpy(t.table, s->reftable, old_entries * 8);
    }
    block_debug_event(n->file, BLOCK_DEBUG_REFTABLE_GROW);
    ret = new_reftable_write(n, &t);
    ret = ret < 0 ? ret : new_reftable_point_header(n, &t);
    if (ret < 0) {
        sparse_free(t.table, t.entries * 8);
        return ret;
    }
    qcow2_set_reftable(s, t.table, t.entries);
    s->reftable_offset = (start + t.blocks) << s->cluster_bits;
    for (uint64_t b = 0; b < t.blocks; b++) {
        qcow2_metadata_add(s, (start + b) << s->cluster_bits, QCOW2_GUARD_REFCOUNT_BLOCK);
    }
    if (old_entries) {
        qcow2_free_now(n, old_offset, old_entries / (s->cluster_size / 8));
    }
    return 0;
}

int coroutine_fn qcow2_make_countable(BlockNode *n, uint64_t cluster)
{
    Qcow2State *s = block_node_state(n);
    int ret = in_use_uncounted(n, cluster, 1);

    if (ret < 0) {
        return ret;
    }
    if ((cluster >> s->refblock_bits) < s->reftable_size) {
        return add_refcount_block(n, cluster);
    }
    return grow_reftable(n, cluster, 0);
}

/* True where offsets in L1 and L2 entries (56 bits) do not reach the cluster. */
static bool beyond_offsets(const Qcow2State *s, uint64_t cluster)
{
    return cluster >= (BIT64(56) >> s->cluster_bits) - 1;
}

/* Flushes for a guest that discards and never does: without, nothing would ever be free. */
static int coroutine_fn flush_many_frees(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    GArray *now;
    int ret;

    if (s->frees_pending->len + s->frees_stable->len <= 1024) {
        return 0;
    }
    ret = qcow2_writeback(n, false);
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret < 0) {
        return ret;
    }
    now = s->frees_pending;
    s->frees_pending = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    qcow2_frees_became_stable(s, now);
    qcow2_frees_apply(n);
    return 0;
}

/*
 * Makes a run of free clusters that is longer than one refcount block counts: behind all blocks,
 * with the blocks that it needs ahead of it. Block by block each would lie in the run of the last.
 */
static int coroutine_fn make_long_run(BlockNode *n, uint64_t want, uint64_t *first)
{
    Qcow2State *s = block_node_state(n);
    uint64_t blocks = s->reftable_size, start;
    int ret;

    while (blocks && !s->reftable[blocks - 1]) {
        blocks--;
    }
    start = blocks << s->refblock_bits;
    if (want > MAX_L1_BYTES >> s->cluster_bits || beyond_offsets(s, start + 2 * want)) {
        return -EFBIG;
    }
    ret = grow_reftable(n, start, want);
    *first = (s->reftable_offset >> s->cluster_bits) + s->reftable_size / (s->cluster_size / 8);
    return ret;
}

/* Finds the first run of clusters with refcount 0: 'want' of them, or fewer without 'exact'. */
static int coroutine_fn find_free_run(BlockNode *n, uint64_t want, bool exact, uint64_t *first,
                                      uint64_t *length)
{
    Qcow2State *s = block_node_state(n);
    uint64_t start = MAX(s->free_hint, 1), run = 0;
    bool first_free_seen = false;

    for (uint64_t c = start; run < want; c++) {
        Qcow2Slice *slice;
        uint64_t i, value = 1;
        int ret;

        if (beyond_offsets(s, c)) {
            return -EFBIG;
        }
        ret = refcount_slice(n, c, &slice, &i);
        if (ret == 0 && slice) {
            value = qcow2_refcount_read(slice->data, s->refcount_order, i);
            qcow2_cache_put(slice);
        } else if (ret == 0 && (!run || exact)) {
            /* The new block is put at 'c': the run ends here, as at a cluster in use. */
            ret = qcow2_make_countable(n, c);
        }
        if (ret < 0) {
            return ret;
        }
        if (value == 0) {
            if (!first_free_seen) {
                s->free_hint = c;
                first_free_seen = true;
            }
            run++;
            continue;
        }
        if (run && !exact) {
            break;
        }
        start = c + 1;
        run = 0;
    }
    *first = start;
    *length = run;
    return 0;
}

int coroutine_fn qcow2_alloc_clusters(BlockNode *n, uint64_t *count, bool exact, uint64_t *host)
{
    Qcow2State *s = block_node_state(n);
    uint64_t start, run;
    int ret;

    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    block_debug_event(n->file, BLOCK_DEBUG_CLUSTER_ALLOC);
    ret = qcow2_mark_dirty(n);
    ret = ret < 0 ? ret : flush_many_frees(n);
    if (exact && *count >= BIT64(s->refblock_bits)) {
        run = *count;
        ret = ret < 0 ? ret : make_long_run(n, run, &start);
    } else {
        ret = ret < 0 ? ret : find_free_run(n, *count, exact, &start, &run);
    }
    ret = ret < 0 ? ret : qcow2_add_refcount(n, start, run, 1);
    if (ret < 0) {
        return ret;
    }
    *host = start << s->cluster_bits;
    trace(qcow2_alloc_clusters, n->opts.node_name, *host, run);
    if (qcow2_overlaps_metadata(s, *host, run << s->cluster_bits)) {
        return qcow2_corruption(n, "Preventing invalid allocation of cluster at offset %#" PRIx64,
                                *host);
    }
    *count = run;
    if (s->free_hint == start) {
        s->free_hint = start + run;
    }
    if (!s->lazy) {
        s->barrier_needed = true;
    }
    return 0;
}

/* Gives the space of these clusters back to the host, but of those that a snapshot still uses. */
static void coroutine_fn discard_freed(BlockNode *n, uint64_t first, uint64_t end)
{
    Qcow2State *s = block_node_state(n);
    uint64_t run = 0;

    for (uint64_t c = first; c <= end; c++) {
        uint64_t refcount;

        if (c < end && qcow2_get_refcount(n, c, &refcount) == 0 && refcount == 0) {
            run++;
            continue;
        }
        if (run) {
            block_pdiscard(n->file, (c - run) << s->cluster_bits, run << s->cluster_bits);
        }
        run = 0;
    }
}

void coroutine_fn qcow2_free_now(BlockNode *n, uint64_t host, uint64_t count)
{
    Qcow2State *s = block_node_state(n);

    trace(qcow2_free_clusters, n->opts.node_name, host, count);
    if (qcow2_add_refcount(n, host >> s->cluster_bits, count, -1) == 0 &&
        qcow2_passes_discard(n, QCOW2_DISCARD_OTHER)) {
        discard_freed(n, host >> s->cluster_bits, (host >> s->cluster_bits) + count);
    }
}

int coroutine_fn qcow2_free_later(BlockNode *n, uint64_t host, uint64_t count, Qcow2Discard why)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Free f = {.cluster = host >> s->cluster_bits, .count = count, .why = why};
    const char *what;

    block_debug_event(n->file, BLOCK_DEBUG_CLUSTER_FREE);
    if (!IS_ALIGNED(host, s->cluster_size)) {
        return qcow2_corruption(n, "Cannot free unaligned cluster %#" PRIx64, host);
    }
    what = qcow2_overlaps_metadata(s, host, count << s->cluster_bits);
    if (what) {
        return qcow2_corruption(n, "Preventing the %s at %#" PRIx64 " from being freed", what,
                                host);
    }
    if (s->frees_pending->len) {
        Qcow2Free *last = &g_array_index(s->frees_pending, Qcow2Free, s->frees_pending->len - 1);
        if (last->why == why && !last->table && last->cluster + last->count == f.cluster) {
            last->count += count;
            return 0;
        }
    }
    g_array_append_val(s->frees_pending, f);
    return 0;
}

int coroutine_fn qcow2_free_table_later(BlockNode *n, uint64_t host)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Free f = {
        .cluster = host >> s->cluster_bits, .count = 1, .why = QCOW2_DISCARD_OTHER, .table = true};

    if (!qcow2_overlaps_snapshot_l2(s, host, s->cluster_size)) {
        return qcow2_free_later(n, host, 1, QCOW2_DISCARD_OTHER);
    }
    g_array_append_val(s->frees_pending, f);
    return 0;
}

/* The clusters of the image file that an L2 entry uses. *count 0: none. */
static void entry_clusters(const Qcow2State *s, uint64_t entry, uint64_t *host, uint64_t *count)
{
    *count = 0;
    if (entry & L2_COMPRESSED) {
        uint64_t bytes, first;

        qcow2_compressed_range(s, entry, host, &bytes);
        first = *host >> s->cluster_bits;
        *count = ((*host + bytes - 1) >> s->cluster_bits) - first + 1;
        *host = first << s->cluster_bits;
    } else if ((entry & ENTRY_OFFSET_MASK) && !qcow2_has_data_file(s)) {
        *host = entry & ENTRY_OFFSET_MASK;
        *count = 1;
    }
}

int coroutine_fn qcow2_free_entry_later(BlockNode *n, uint64_t entry, Qcow2Discard why)
{
    uint64_t host, count;

    entry_clusters(block_node_state(n), entry, &host, &count);
    return count ? qcow2_free_later(n, host, count, why) : 0;
}

int coroutine_fn qcow2_check_entry(BlockNode *n, uint64_t guest, uint64_t entry, uint64_t bitmap)
{
    Qcow2State *s = block_node_state(n);
    uint64_t host, count, refcount;
    const char *what;

    for (unsigned sc = 0; sc < s->subclusters; sc++) {
        if (qcow2_subcluster_type(s, entry, bitmap, sc) == QCOW2_INVALID) {
            return qcow2_entry_corruption(n, guest, entry);
        }
    }
    entry_clusters(s, entry, &host, &count);
    if (!count) {
        return 0;
    }
    what = qcow2_overlaps_metadata(s, host, count << s->cluster_bits);
    if (what) {
        return qcow2_corruption(
            n, "Cluster at %#" PRIx64 " (guest offset: %#" PRIx64 ") is also the %s", host, guest,
            what);
    }
    for (uint64_t c = host >> s->cluster_bits; count; c++, count--) {
        int ret = qcow2_get_refcount(n, c, &refcount);

        if (ret < 0) {
            return ret;
        }
        if (!refcount) {
            return qcow2_corruption(n,
                                    "Cluster at %#" PRIx64 " (guest offset: %#" PRIx64
                                    ") is in use and counted as free",
                                    c << s->cluster_bits, guest);
        }
    }
    return 0;
}

void qcow2_frees_became_stable(Qcow2State *s, GArray *frees)
{
    if (frees->len) {
        g_array_append_vals(s->frees_stable, frees->data, frees->len);
    }
    g_array_unref(frees);
}

static void coroutine_fn free_batch(BlockNode *n, GArray *batch)
{
    Qcow2State *s = block_node_state(n);

    for (unsigned i = 0; i < batch->len; i++) {
        Qcow2Free *f = &g_array_index(batch, Qcow2Free, i);
        const char *what = NULL;

        if (!f->table) {
            what = qcow2_overlaps_metadata(s, f->cluster << s->cluster_bits,
                                           f->count << s->cluster_bits);
        }
        if (what) {
            /* Freed twice: the cluster has become a table meanwhile. */
            qcow2_corruption(n, "Preventing the %s at %#" PRIx64 " from being freed", what,
                             f->cluster << s->cluster_bits);
            continue;
        }
        trace(qcow2_free_clusters, n->opts.node_name, f->cluster << s->cluster_bits, f->count);
        if (qcow2_add_refcount(n, f->cluster, f->count, -1) < 0) {
            continue; /* the clusters leak; qcow2_adjust_refcount() has reported why */
        }
        if (qcow2_passes_discard(n, f->why)) {
            discard_freed(n, f->cluster, f->cluster + f->count);
        }
    }
}

/*
 * Requests of two epochs can be in flight: the current one, and the one before. The stable frees
 * become the waiting batch when the epoch changes, which takes the guard of the epoch before to be
 * 0. The batch is carried out when the guard of the epoch that has just ended is 0: no request is
 * left that looked entries up before they were removed.
 */
void coroutine_fn qcow2_frees_apply(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);

    for (int pass = 0; pass < 2; pass++) {
        if (s->frees_waiting->len) {
            g_autoptr(GArray) batch = NULL;

            if (__atomic_load_n(&s->guard[s->frees_epoch], __ATOMIC_SEQ_CST)) {
                return;
            }
            batch = s->frees_waiting;
            s->frees_waiting = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
            free_batch(n, batch);
        }
        if (!s->frees_stable->len) {
            return;
        }
        g_mutex_lock(&s->map_lock);
        if (__atomic_load_n(&s->guard[!s->epoch], __ATOMIC_SEQ_CST) == 0) {
            GArray *empty = s->frees_waiting;

            s->frees_epoch = s->epoch;
            s->epoch = !s->epoch;
            s->frees_waiting = s->frees_stable;
            s->frees_stable = empty;
        }
        g_mutex_unlock(&s->map_lock);
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From guest offsets to host offsets: 'Cluster mapping' and 'Extended L2 Entries'. */
#include <errno.h>
#include "qcow2.h"

unsigned qcow2_slice_index(const Qcow2State *s, uint64_t guest)
{
    return (guest >> s->cluster_bits) & (s->slice_entries - 1);
}

uint64_t qcow2_l2_entry(const Qcow2State *s, const Qcow2Slice *slice, unsigned i)
{
    return ldbe64(slice->data + (size_t)i * s->l2_entry_size);
}

uint64_t qcow2_l2_bitmap(const Qcow2State *s, const Qcow2Slice *slice, unsigned i)
{
    return s->extl2 ? ldbe64(slice->data + (size_t)i * s->l2_entry_size + 8) : 0;
}

void qcow2_l2_set(Qcow2State *s, Qcow2Slice *slice, unsigned i, uint64_t entry, uint64_t bitmap)
{
    qcow2_cache_will_change(&s->l2_cache, slice);
    g_mutex_lock(&s->map_lock);
    stbe64(slice->data + (size_t)i * s->l2_entry_size, entry);
    if (s->extl2) {
        stbe64(slice->data + (size_t)i * s->l2_entry_size + 8, bitmap);
    }
    g_mutex_unlock(&s->map_lock);
    qcow2_cache_mark_dirty(&s->l2_cache, slice);
}

static bool has_host_cluster(const Qcow2State *s, uint64_t entry)
{
    /* In an external data file offset 0 is a valid cluster, and COPIED says that it is there. */
    return (entry & ENTRY_OFFSET_MASK) || (qcow2_has_data_file(s) && (entry & ENTRY_COPIED));
}

static bool entry_valid(const Qcow2State *s, uint64_t entry)
{
    uint64_t offset = entry & ENTRY_OFFSET_MASK;

    if (!IS_ALIGNED(offset, s->cluster_size)) {
        return false;
    }
    return offset || !(entry & ENTRY_COPIED) || qcow2_has_data_file(s);
}

Qcow2Type qcow2_subcluster_type(const Qcow2State *s, uint64_t entry, uint64_t bitmap, unsigned sc)
{
    if (entry & L2_COMPRESSED) {
        return qcow2_has_data_file(s) ? QCOW2_INVALID : QCOW2_COMPRESSED;
    }
    if (!entry_valid(s, entry)) {
        return QCOW2_INVALID;
    }
    if (!s->extl2) {
        if (s->version >= 3 && (entry & L2_ZERO)) {
            return QCOW2_ZERO;
        }
        return has_host_cluster(s, entry) ? QCOW2_DATA : QCOW2_UNALLOCATED;
    }
    bool alloc = bitmap & BIT64(sc), zero = bitmap & BIT64(32 + sc);
    if (alloc && (zero || !has_host_cluster(s, entry))) {
        return QCOW2_INVALID;
    }
    return zero ? QCOW2_ZERO : alloc ? QCOW2_DATA : QCOW2_UNALLOCATED;
}

bool qcow2_reads_as_zero(BlockNode *n, Qcow2Type type)
{
    return type == QCOW2_ZERO || (type == QCOW2_UNALLOCATED && !n->backing);
}

void qcow2_map_run(const Qcow2State *s, const Qcow2Slice *slice, uint64_t guest, uint64_t bytes,
                   Qcow2Map *map)
{
    unsigned i = qcow2_slice_index(s, guest);
    uint64_t in_cluster = guest & (s->cluster_size - 1);
    unsigned sc = in_cluster / s->subcluster_size;
    uint64_t next_host;
    bool has_host; /* an entry without data may have a host cluster as well */

    map->entry = qcow2_l2_entry(s, slice, i);
    map->bitmap = qcow2_l2_bitmap(s, slice, i);
    map->type = qcow2_subcluster_type(s, map->entry, map->bitmap, sc);
    map->host = (map->entry & ENTRY_OFFSET_MASK) + in_cluster;
    map->bytes = s->subcluster_size - (in_cluster & (s->subcluster_size - 1));
    has_host = map->entry & ENTRY_OFFSET_MASK;
    next_host = ROUND_DOWN(map->host, s->subcluster_size) + s->subcluster_size;
    if (map->type == QCOW2_COMPRESSED) {
        map->bytes = MIN(bytes, s->cluster_size - in_cluster);
        return;
    }
    while (map->bytes < bytes) {
        uint64_t entry, bitmap;

        if (++sc == s->subclusters) {
            sc = 0;
            if (++i == s->slice_entries) {
                break;
            }
        }
        entry = qcow2_l2_entry(s, slice, i);
        bitmap = qcow2_l2_bitmap(s, slice, i);
        if (qcow2_subcluster_type(s, entry, bitmap, sc) != map->type) {
            break;
        }
        if (map->type != QCOW2_DATA && !(entry & ENTRY_OFFSET_MASK) != !has_host) {
            break;
        }
        if (map->type == QCOW2_DATA || has_host) {
            /* Callers look at the first entry's COPIED only: all of the run must have the same. */
            if ((entry & ENTRY_OFFSET_MASK) + sc * s->subcluster_size != next_host ||
                (map->type == QCOW2_DATA && ((entry ^ map->entry) & ENTRY_COPIED))) {
                break;
            }
            next_host += s->subcluster_size;
        }
        map->bytes += s->subcluster_size;
    }
    map->bytes = MIN(map->bytes, bytes);
}

static uint64_t l1_index(const Qcow2State *s, uint64_t guest)
{
    return guest >> (s->cluster_bits + s->l2_bits);
}

static uint64_t slice_offset(const Qcow2State *s, uint64_t table, uint64_t guest)
{
    uint64_t index = (guest >> s->cluster_bits) & (BIT64(s->l2_bits) - 1);

    return table + ROUND_DOWN(index, s->slice_entries) * s->l2_entry_size;
}

/* Bytes from 'guest' to the end of its slice's range. */
static uint64_t slice_rest(const Qcow2State *s, uint64_t guest)
{
    uint64_t span = s->slice_entries * s->cluster_size;

    return span - guest % span;
}

static void map_absent(const Qcow2State *s, uint64_t guest, uint64_t bytes, Qcow2Map *map)
{
    *map = (Qcow2Map){.type = QCOW2_UNALLOCATED, .bytes = MIN(bytes, slice_rest(s, guest))};
}

static int *guard_raise(Qcow2State *s)
{
    int *guard = &s->guard[s->epoch];

    __atomic_add_fetch(guard, 1, __ATOMIC_SEQ_CST);
    return guard;
}

bool qcow2_map_peek(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map, int **guard)
{
    Qcow2State *s = block_node_state(n);
    uint64_t index = l1_index(s, guest), table;
    bool found = true;

    g_mutex_lock(&s->map_lock);
    table = index < s->l1_size ? s->l1[index] & ENTRY_OFFSET_MASK : 0;
    if (!table) {
        map_absent(s, guest, bytes, map);
    } else {
        Qcow2Slice *slice = IS_ALIGNED(table, s->cluster_size)
                                ? qcow2_cache_peek(&s->l2_cache, slice_offset(s, table, guest))
                                : NULL;
        found = slice != NULL;
        if (found) {
            qcow2_map_run(s, slice, guest, bytes, map);
        }
    }
    if (found) {
        *guard = guard_raise(s);
    }
    g_mutex_unlock(&s->map_lock);
    return found;
}

int coroutine_fn qcow2_slice_for_read(BlockNode *n, uint64_t guest, Qcow2Slice **out)
{
    Qcow2State *s = block_node_state(n);
    uint64_t index = l1_index(s, guest), table;

    *out = NULL;
    table = index < s->l1_size ? s->l1[index] & ENTRY_OFFSET_MASK : 0;
    if (!table) {
        return 0;
    }
    if (!IS_ALIGNED(table, s->cluster_size)) {
        return qcow2_corruption(
            n, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")", table, index);
    }
    if (!qcow2_table_in_file(n, table)) {
        return qcow2_corruption(n,
                                "L2 table offset %#" PRIx64
                                " is behind the end of the image file (L1 index: %#" PRIx64 ")",
                                table, index);
    }
    return qcow2_cache_get(n, &s->l2_cache, slice_offset(s, table, guest), out);
}

int coroutine_fn qcow2_map_load(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map,
                                int **guard)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Slice *slice;
    int ret;

    if (qcow2_map_peek(n, guest, bytes, map, guard)) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    ret = qcow2_slice_for_read(n, guest, &slice);
    if (ret == 0) {
        if (slice) {
            qcow2_map_run(s, slice, guest, bytes, map);
            qcow2_cache_put(slice);
        } else {
            map_absent(s, guest, bytes, map);
        }
        g_mutex_lock(&s->map_lock);
        *guard = guard_raise(s);
        g_mutex_unlock(&s->map_lock);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

void qcow2_l1_set(Qcow2State *s, uint64_t index, uint64_t entry)
{
    g_mutex_lock(&s->map_lock);
    s->l1[index] = entry;
    g_mutex_unlock(&s->map_lock);
    qcow2_l1_dirty(s, index, index + 1);
    /* The L2 table has to be stable before the L1 entry points to it. */
    s->barrier_needed = true;
}

/* An L2 table that a snapshot names, and the disk as well, has two references. */
static int coroutine_fn check_shared_table(BlockNode *n, uint64_t index)
{
    Qcow2State *s = block_node_state(n);
    uint64_t table = s->l1[index] & ENTRY_OFFSET_MASK, refcount = 0;
    int ret;

    if (!qcow2_overlaps_snapshot_l2(s, table, s->cluster_size)) {
        return 0;
    }
    ret = qcow2_get_refcount(n, table >> s->cluster_bits, &refcount);
    if (ret < 0 || refcount > 1) {
        return ret;
    }
    return qcow2_corruption(n,
                            "L2 table at %#" PRIx64 " (L1 index: %#" PRIx64 ") is also a "
                            "snapshot's, and has refcount %" PRIu64,
                            table, index, refcount);
}

/* Makes an L2 table for an L1 entry: empty, or a copy of the one that a snapshot shares. */
static int coroutine_fn new_l2_table(BlockNode *n, uint64_t index)
{
    Qcow2State *s = block_node_state(n);
    uint64_t old = s->l1[index] & ENTRY_OFFSET_MASK, count = 1, host;
    g_autofree uint8_t *buf = g_try_malloc0(s->cluster_size);
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    if (old) {
        ret = check_shared_table(n, index);
        /* The copy is read from the file: dirty slices of the old table have to be there. */
        ret = ret < 0 ? ret : qcow2_writeback(n, false);
        if (ret == 0) {
            block_debug_event(n->file, BLOCK_DEBUG_L2_ALLOC_COW_READ);
            ret = block_pread(n->file, old, buf, s->cluster_size);
        }
        if (ret < 0) {
            return ret;
        }
    }
    ret = qcow2_alloc_clusters(n, &count, true, &host);
    if (ret < 0) {
        return ret;
    }
    qcow2_cache_forget(&s->l2_cache, host, s->cluster_size);
    block_debug_event(n->file, BLOCK_DEBUG_L2_ALLOC_WRITE);
    ret = block_pwrite(n->file, host, buf, s->cluster_size, 0);
    if (ret < 0) {
        qcow2_free_now(n, host, 1);
        return ret;
    }
    qcow2_l1_set(s, index, host | ENTRY_COPIED);
    qcow2_metadata_add(s, host, QCOW2_GUARD_ACTIVE_L2);
    if (old) {
        qcow2_metadata_remove(s, old, QCOW2_GUARD_ACTIVE_L2);
        return qcow2_free_table_later(n, old);
    }
    return 0;
}

int coroutine_fn qcow2_slice_for_write(BlockNode *n, uint64_t guest, Qcow2Slice **out)
{
    Qcow2State *s = block_node_state(n);
    uint64_t index = l1_index(s, guest);
    uint64_t table;
    int ret;

    *out = NULL;
    if (index >= s->l1_size) {
        return -EIO;
    }
    table = s->l1[index] & ENTRY_OFFSET_MASK;
    if (!IS_ALIGNED(table, s->cluster_size)) {
        return qcow2_corruption(
            n, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")", table, index);
    }
    if (table && !qcow2_table_in_file(n, table)) {
        return qcow2_slice_for_read(n, guest, out); /* reports the corruption */
    }
    if (table && (s->l1[index] & ENTRY_COPIED) &&
        qcow2_overlaps_snapshot_l2(s, table, s->cluster_size)) {
        return qcow2_corruption(n,
                                "L2 table at %#" PRIx64 " (L1 index: %#" PRIx64 ") is also a "
                                "snapshot's, and has the copied flag",
                                table, index);
    }
    if (!table || !(s->l1[index] & ENTRY_COPIED)) {
        ret = new_l2_table(n, index);
        if (ret < 0) {
            return ret;
        }
    }
    return qcow2_slice_for_read(n, guest, out);
}

bool qcow2_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                      BlockMapping *map)
{
    Qcow2State *s = block_node_state(node);
    Qcow2Map m;
    int *guard;

    /* What lies in the file is not what the guest sees, where the image is encrypted. */
    if (s->crypt_method || node->no_io || !qcow2_map_peek(node, offset, bytes, &m, &guard)) {
        return false;
    }
    if (m.type != QCOW2_DATA || m.bytes < bytes ||
        (write && (!(m.entry & ENTRY_COPIED) || __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) ||
                   (s->data == node->file && qcow2_overlaps_metadata(s, m.host, bytes))))) {
        qcow2_guard_drop(guard);
        return false;
    }
    map->file = s->data;
    map->offset = m.host;
    map->bytes = m.bytes;
    map->guard = guard;
    return true;
}

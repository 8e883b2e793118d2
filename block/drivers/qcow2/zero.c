/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Write-zeroes, discard, and changes of the disk's length. */
#include <errno.h>
#include "qcow2.h"

typedef enum {
    MAKE_ZERO,      /* reads as zeroes; the host cluster is freed */
    MAKE_ZERO_KEEP, /* reads as zeroes; the entry keeps its host cluster */
    MAKE_DISCARDED, /* as MAKE_ZERO */
    MAKE_GONE,      /* unallocated: past the new end of a disk, or left to the backing file */
    MAKE_CUT        /* past the new end, over a backing file: what was allocated hides its data */
} Change;

static bool has_own_cluster(const Qcow2State *s, uint64_t entry)
{
    return !(entry & L2_COMPRESSED) && (entry & ENTRY_COPIED) && (entry & ENTRY_OFFSET_MASK);
}

/* Computes the new entry. False: the entry stays as it is. */
static bool changed_entry(BlockNode *n, Change change, uint64_t *entry, uint64_t *bitmap)
{
    Qcow2State *s = block_node_state(n);
    uint64_t old = *entry, old_bitmap = *bitmap;
    bool allocated = (old & L2_COMPRESSED) || (old & ENTRY_OFFSET_MASK);

    if (change == MAKE_GONE) {
        *entry = *bitmap = 0;
        return old || old_bitmap;
    }
    if (!allocated &&
        (change == MAKE_CUT || (!block_node_may_show_backing(n) && old_bitmap == 0))) {
        return false;
    }
    if (change == MAKE_ZERO_KEEP && has_own_cluster(s, old)) {
        *entry = s->extl2 ? old : old | L2_ZERO;
    } else {
        /* Version 2 has no zero flag; qcow2_pdiscard() leaves images with a backing file alone. */
        *entry = s->extl2 || s->version < 3 ? 0 : L2_ZERO;
    }
    *bitmap = s->extl2 ? 0xffffffffull << 32 : 0;
    return *entry != old || *bitmap != old_bitmap;
}

/* Checks all entries of the range, before the first of them is changed. */
static int coroutine_fn check_entries(BlockNode *n, Qcow2Slice *slice, uint64_t guest,
                                      uint64_t bytes)
{
    Qcow2State *s = block_node_state(n);
    int ret = 0;

    for (uint64_t at = guest; at < guest + bytes && ret == 0; at += s->cluster_size) {
        unsigned i = qcow2_slice_index(s, at);

        ret = qcow2_check_entry(n, at, qcow2_l2_entry(s, slice, i), qcow2_l2_bitmap(s, slice, i));
    }
    return ret;
}

/* Changes whole clusters, up to the end of one slice. *done: bytes of the range so far. */
static int coroutine_fn change_slice(BlockNode *n, uint64_t guest, uint64_t bytes, Change change,
                                     Qcow2Discard why, uint64_t *done)
{
    Qcow2State *s = block_node_state(n);
    uint64_t span = s->slice_entries * s->cluster_size;
    Qcow2Slice *slice;
    int ret;

    bytes = MIN(bytes, span - guest % span);
    *done = bytes;
    do {
        ret = qcow2_slice_for_read(n, guest, &slice);
        if (ret < 0) {
            return ret;
        }
        if (!slice &&
            (!block_node_may_show_backing(n) || change == MAKE_GONE || change == MAKE_CUT)) {
            return 0; /* no table: the range reads as zeroes, or is gone, already */
        }
        if (slice) {
            qcow2_cache_put(slice);
        }
    } while (qcow2_wait_pending(s, guest >> s->cluster_bits, bytes >> s->cluster_bits));

    ret = qcow2_slice_for_write(n, guest, &slice);
    if (ret < 0) {
        return ret;
    }
    ret = check_entries(n, slice, guest, bytes);
    for (uint64_t at = guest; at < guest + bytes && ret == 0; at += s->cluster_size) {
        unsigned i = qcow2_slice_index(s, at);
        uint64_t entry = qcow2_l2_entry(s, slice, i), bitmap = qcow2_l2_bitmap(s, slice, i);
        uint64_t old = entry;

        if (!changed_entry(n, change, &entry, &bitmap)) {
            continue;
        }
        qcow2_l2_set(s, slice, i, entry, bitmap);
        if ((old ^ entry) & ENTRY_OFFSET_MASK || (old & L2_COMPRESSED)) {
            ret = qcow2_free_entry_later(n, old, why);
        }
    }
    qcow2_cache_put(slice);
    return ret;
}

static int coroutine_fn change_clusters(BlockNode *n, uint64_t guest, uint64_t bytes, Change change,
                                        Qcow2Discard why)
{
    Qcow2State *s = block_node_state(n);
    int ret = qcow2_before_write(n);

    while (bytes && ret == 0) {
        uint64_t done = 0;

        co_mutex_lock(&s->lock);
        ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) ? -EIO : qcow2_mark_dirty(n);
        if (ret == 0) {
            ret = change_slice(n, guest, bytes, change, why, &done);
        }
        co_mutex_unlock(&s->lock);
        guest += done;
        bytes -= done;
    }
    return ret;
}

/* Zeroes part of a cluster: writes zeroes, unless it reads as zeroes already. */
static int coroutine_fn zero_part(BlockNode *n, uint64_t guest, uint64_t bytes)
{
    block_auto_buffer uint8_t *buf = NULL;
    struct iovec iov = {.iov_len = bytes};
    bool zero = true;

    for (uint64_t at = guest; at < guest + bytes && zero;) {
        Qcow2Map map;
        int *guard;
        int ret = qcow2_map_load(n, at, guest + bytes - at, &map, &guard);

        if (ret < 0) {
            return ret;
        }
        qcow2_guard_drop(guard);
        zero = map.type == QCOW2_ZERO ||
               (map.type == QCOW2_UNALLOCATED && !block_node_may_show_backing(n));
        at += map.bytes;
    }
    if (zero) {
        return 0;
    }
    buf = block_buffer_new(n, bytes);
    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, bytes);
    iov.iov_base = buf;
    return qcow2_pwritev(n, guest, bytes, &iov, 1, 0);
}

/*
 * Before the entries say that the clusters read as zeroes: what they have in a data file is not
 * needed, and may be given back to the host.
 */
static int coroutine_fn discard_in_data_file(BlockNode *n, uint64_t guest, uint64_t bytes)
{
    Qcow2State *s = block_node_state(n);
    int64_t length;

    if (!qcow2_has_data_file(s) || !qcow2_passes_discard(n, QCOW2_DISCARD_REQUEST)) {
        return 0;
    }
    length = block_length(s->data);
    if (length < 0 || guest >= (uint64_t)length) {
        return MIN(length, 0);
    }
    return block_pdiscard(s->data, guest, MIN(bytes, length - guest));
}

/*
 * A raw data file shows the disk by itself, so the zeroes are there. No entry changes: whatever a
 * cut of power leaves of them, image and file show the same. What lies behind the end of the file
 * is left out, *bytes says how much was not.
 */
static int coroutine_fn zero_in_raw_data(BlockNode *n, uint64_t guest, uint64_t *bytes,
                                         unsigned flags)
{
    Qcow2State *s = block_node_state(n);
    int64_t length = block_length(s->data);
    int ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) ? -EIO : qcow2_before_write(n);

    ret = length < 0 ? length : ret;
    if (ret == 0) {
        *bytes = guest < (uint64_t)length ? MIN(*bytes, length - guest) : 0;
        ret = *bytes ? block_pwrite_zeroes(s->data, guest, *bytes, flags) : 0;
    }
    return ret;
}

int coroutine_fn qcow2_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     unsigned flags)
{
    Qcow2State *s = block_node_state(node);
    uint64_t end = offset + bytes;
    uint64_t first = ROUND_UP(offset, s->cluster_size), last = ROUND_DOWN(end, s->cluster_size);
    int ret;

    if (s->data_raw) {
        uint64_t done = bytes;

        if (block_node_may_show_backing(node)) {
            return -ENOTSUP; /* without an entry the backing file shows: zeroes are written */
        }
        ret = zero_in_raw_data(node, offset, &done, flags);
        return ret == 0 && done < bytes ? -ENOTSUP : ret;
    }
    if (s->version < 3) {
        return -ENOTSUP;
    }
    if (s->crypt_method && !IS_ALIGNED(offset | bytes, BLOCK_SECTOR_SIZE)) {
        return -ENOTSUP; /* a write of a part of a sector excludes others from that sector */
    }
    if (end >= qcow2_size(s)) {
        last = ROUND_UP(end, s->cluster_size); /* the last cluster's rest is not part of the disk */
    }
    if (first >= last) {
        return zero_part(node, offset, bytes);
    }
    ret = offset < first ? zero_part(node, offset, first - offset) : 0;
    if (ret == 0 && flags & BLOCK_REQ_MAY_UNMAP) {
        ret = discard_in_data_file(node, first, last - first);
    }
    if (ret == 0) {
        ret = change_clusters(
            node, first, last - first, flags & BLOCK_REQ_MAY_UNMAP ? MAKE_ZERO : MAKE_ZERO_KEEP,
            flags & BLOCK_REQ_MAY_UNMAP ? QCOW2_DISCARD_REQUEST : QCOW2_DISCARD_NEVER);
    }
    return ret == 0 && last < end ? zero_part(node, last, end - last) : ret;
}

int coroutine_fn qcow2_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    Qcow2State *s = block_node_state(node);
    uint64_t end = offset + bytes;
    uint64_t first = ROUND_UP(offset, s->cluster_size), last = ROUND_DOWN(end, s->cluster_size);
    int ret;

    if (end >= qcow2_size(s)) {
        last = ROUND_UP(end, s->cluster_size);
    }
    /* Version 2 has no zero flag: the backing file's data would show. */
    if ((s->version < 3 && block_node_may_show_backing(node)) || first >= last) {
        return 0;
    }
    if (s->data_raw) {
        bytes = last - first; /* as QEMU: a guest's discard of a part of a cluster does nothing */
        return qcow2_passes_discard(node, QCOW2_DISCARD_REQUEST)
                   ? zero_in_raw_data(node, first, &bytes, BLOCK_REQ_MAY_UNMAP)
                   : 0;
    }
    ret = discard_in_data_file(node, first, last - first);
    return ret < 0
               ? ret
               : change_clusters(node, first, last - first, MAKE_DISCARDED, QCOW2_DISCARD_REQUEST);
}

int coroutine_fn qcow2_make_gone(BlockNode *n, uint64_t guest, uint64_t bytes)
{
    return change_clusters(n, guest, bytes, MAKE_GONE, QCOW2_DISCARD_OTHER);
}

int coroutine_fn qcow2_drop_data(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);
    int ret;

    if (s->data_raw) {
        return -ENOTSUP; /* the data file shows the disk by itself */
    }
    block_debug_event(node->file, BLOCK_DEBUG_EMPTY_IMAGE_PREPARE);
    ret = change_clusters(node, 0, ROUND_UP(qcow2_size(s), s->cluster_size), MAKE_GONE,
                          QCOW2_DISCARD_SNAPSHOT);
    /* The second flush is that of the refcounts, which go down after the first. */
    ret = ret < 0 ? ret : qcow2_flush(node);
    return ret < 0 ? ret : qcow2_flush(node);
}

/* --- the length of the disk --- */

uint64_t qcow2_l1_entries(const Qcow2State *s, uint64_t size)
{
    return DIV_ROUND_UP(size, BIT64(s->cluster_bits + s->l2_bits));
}

static int coroutine_fn point_header_to_l1(BlockNode *n, uint64_t entries, uint64_t host,
                                           bool *kept)
{
    uint8_t header[12];

    stbe32(header, entries);
    stbe64(header + 4, host);
    return qcow2_switch_header(n, HDR_L1_SIZE, header, sizeof header, kept);
}

int coroutine_fn qcow2_grow_l1(BlockNode *n, uint64_t entries)
{
    Qcow2State *s = block_node_state(n);
    uint64_t clusters = DIV_ROUND_UP(entries * 8, s->cluster_size), host;
    uint64_t old_offset = s->l1_offset, old_size = s->l1_size;
    g_autofree uint8_t *be = NULL;
    g_autofree uint64_t *bigger = NULL;
    uint64_t *old;
    bool kept = true;
    int ret;

    if (entries * 8 > MAX_L1_BYTES) {
        return -EFBIG;
    }
    be = g_try_malloc0(clusters * s->cluster_size);
    bigger = g_try_new0(uint64_t, clusters * s->cluster_size / 8);
    if (!be || !bigger) {
        return -ENOMEM;
    }
    ret = qcow2_writeback(n, false);
    block_debug_event(n->file, BLOCK_DEBUG_L1_GROW_ALLOC_TABLE);
    ret = ret < 0 ? ret : qcow2_alloc_clusters(n, &clusters, true, &host);
    if (ret < 0) {
        return ret;
    }
    memcpy(bigger, s->l1, old_size * 8);
    for (uint64_t i = 0; i < old_size; i++) {
        stbe64(be + 8 * i, bigger[i]);
    }
    block_debug_event(n->file, BLOCK_DEBUG_L1_GROW_WRITE_TABLE);
    ret = block_pwrite(n->file, host, be, clusters * s->cluster_size, 0);
    /* Refcounts and the table are stable before the header points to it. */
    ret = ret < 0 ? ret : qcow2_cache_write_dirty(n, &s->ref_cache);
    ret = ret < 0 ? ret : block_flush(n->file);
    block_debug_event(n->file, BLOCK_DEBUG_L1_GROW_ACTIVATE_TABLE);
    ret = ret < 0 ? ret : point_header_to_l1(n, entries, host, &kept);
    if (ret < 0) {
        if (kept) { /* else the header may point to the new table: its clusters stay in use */
            qcow2_free_now(n, host, clusters);
        }
        return ret;
    }
    g_mutex_lock(&s->map_lock);
    old = s->l1;
    s->l1 = g_steal_pointer(&bigger);
    s->l1_size = entries;
    s->l1_offset = host;
    g_mutex_unlock(&s->map_lock);
    g_free(old);
    return old_size ? qcow2_free_later(n, old_offset, DIV_ROUND_UP(old_size * 8, s->cluster_size),
                                       QCOW2_DISCARD_OTHER)
                    : 0;
}

/* Makes the L1 table long enough for a disk of this size. */
static int coroutine_fn qcow2_zero_make_room(BlockNode *n, uint64_t size)
{
    Qcow2State *s = block_node_state(n);
    uint64_t entries = qcow2_l1_entries(s, size);
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        ret = -EIO;
    } else if (entries > s->l1_size) {
        ret = qcow2_grow_l1(n, entries);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int coroutine_fn qcow2_zero_set_size(BlockNode *n, uint64_t size)
{
    Qcow2State *s = block_node_state(n);
    uint8_t be[8];
    bool kept;
    int ret;

    co_mutex_lock(&s->lock);
    ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) ? -EIO : 0;
    if (ret == 0) {
        stbe64(be, size);
        ret = qcow2_switch_header(n, HDR_SIZE, be, sizeof be, &kept);
    }
    if (ret == 0) {
        __atomic_store_n(&s->size, size, __ATOMIC_SEQ_CST);
        qcow2_caches_grow(s);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/*
 * Zeroes [old, end), which lies behind the end of the disk so far, and makes that stable. After a
 * failure the clusters behind the end are freed again.
 */
static int coroutine_fn zero_behind_end(BlockNode *node, uint64_t old, uint64_t end)
{
    Qcow2State *s = block_node_state(node);
    uint64_t from = ROUND_UP(old, s->cluster_size), to = ROUND_UP(end, s->cluster_size);
    int ret = qcow2_pwrite_zeroes(node, old, end - old, 0);

    ret = ret < 0 ? ret : qcow2_flush(node);
    if (ret < 0 && to > from) {
        change_clusters(node, from, to - from, MAKE_GONE, QCOW2_DISCARD_OTHER);
    }
    return ret;
}

/* Whether the slice of 'guest' has entries from there on. No table, no entries. */
static int coroutine_fn has_entries(BlockNode *n, uint64_t guest, bool *any)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Slice *slice;
    int ret;

    *any = false;
    co_mutex_lock(&s->lock);
    ret = qcow2_slice_for_read(n, guest, &slice);
    for (unsigned i = qcow2_slice_index(s, guest); slice && i < s->slice_entries; i++) {
        *any |= qcow2_l2_entry(s, slice, i) || qcow2_l2_bitmap(s, slice, i);
    }
    if (slice) {
        qcow2_cache_put(slice);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* Zeroes what the last cluster of the disk has behind the end. Subclusters are mapped apart. */
static int coroutine_fn drop_in_last_cluster(BlockNode *n, uint64_t end)
{
    Qcow2State *s = block_node_state(n);
    uint64_t to = ROUND_UP(end, s->cluster_size);
    int ret = 0;

    for (uint64_t at = end; at < to && ret == 0;) {
        Qcow2Map map;
        int *guard;

        ret = qcow2_map_load(n, at, to - at, &map, &guard);
        if (ret < 0) {
            return ret;
        }
        qcow2_guard_drop(guard);
        if (map.type == QCOW2_DATA || map.type == QCOW2_COMPRESSED) {
            ret = zero_part(n, at, map.bytes);
        }
        at += map.bytes;
    }
    return ret;
}

/*
 * What lies behind the end of the disk goes, and that is stable: VM state of a snapshot that was
 * applied, and what a cut of power has left of a disk that shrank.
 */
static int coroutine_fn drop_behind_end(BlockNode *n, uint64_t end)
{
    Qcow2State *s = block_node_state(n);
    unsigned table_bits = s->cluster_bits + s->l2_bits;
    uint64_t span = s->slice_entries * s->cluster_size, next;
    uint64_t all = (uint64_t)s->l1_size << table_bits;
    int ret = drop_in_last_cluster(n, end);

    for (uint64_t at = ROUND_UP(end, s->cluster_size); at < all && ret == 0; at = next) {
        bool any = false;

        next = ROUND_DOWN(at, span) + span;
        if (!s->l1[at >> table_bits]) {
            next = ((at >> table_bits) + 1) << table_bits;
            continue;
        }
        ret = has_entries(n, at, &any);
        if (ret == 0 && any) {
            ret = change_clusters(n, at, next - at, MAKE_GONE, QCOW2_DISCARD_SNAPSHOT);
        }
    }
    return ret < 0 ? ret : qcow2_flush(n);
}

/*
 * A raw data file is as long as the disk: who reads it without the image sees the same. A block
 * device, and a file that could not be cut when the disk shrank, is longer, with old data behind
 * the end of the disk; the image shows zeroes there.
 */
static int coroutine_fn resize_raw_data(BlockNode *node, uint64_t old, uint64_t size, GError **err)
{
    Qcow2State *s = block_node_state(node);
    int64_t length = s->data_raw ? block_length(s->data) : 0;
    uint64_t end = MIN((uint64_t)MAX(length, 0), size);
    int ret = length < 0 ? length : 0;

    if (ret == 0 && end > old) {
        ret = block_pwrite_zeroes(s->data, old, end - old, BLOCK_REQ_MAY_UNMAP);
        ret = ret < 0 ? ret : block_flush(s->data);
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "Failed to clear the data file behind the end of the disk");
    } else if (s->data_raw) {
        ret = block_truncate(s->data, size, err);
        if (ret < 0) {
            block_error_prefix(err, "Failed to resize the data file");
        }
    }
    return ret;
}

/*
 * The new part of the disk reads as zeroes. Where the backing file is longer than the disk was, its
 * data would show there: the header gets the new length after that part was zeroed.
 */
static int coroutine_fn grow_disk(BlockNode *node, uint64_t old, uint64_t size, GError **err)
{
    int64_t backing = node->backing ? block_length(node->backing) : 0;
    Qcow2State *s = block_node_state(node);
    int ret;

    if (backing > (int64_t)old && s->version < 3) {
        error_set(err, "A version 2 image cannot grow over a longer backing file");
        return -ENOTSUP;
    }
    ret = backing < 0 ? backing : drop_behind_end(node, old);
    ret = ret < 0 ? ret : qcow2_zero_make_room(node, size);
    if (ret == 0 && backing > (int64_t)old) {
        ret = zero_behind_end(node, old, MIN((uint64_t)backing, size));
    }
    ret = ret < 0 ? ret : resize_raw_data(node, old, size, err);
    ret = ret < 0 ? ret : qcow2_zero_set_size(node, size);
    if (ret < 0 && !(err && *err)) {
        error_set_errno(err, -ret, "Failed to resize the image");
    }
    return ret;
}

static int coroutine_fn shrink_disk(BlockNode *node, uint64_t old, uint64_t size, GError **err)
{
    Qcow2State *s = block_node_state(node);
    uint64_t from = ROUND_UP(size, s->cluster_size), to = ROUND_UP(old, s->cluster_size);
    /* Until the header is written the disk has its old length, and may keep it. */
    Change change = block_node_may_show_backing(node) && s->version >= 3 ? MAKE_CUT : MAKE_GONE;
    /* Data past the new end in the last cluster would show if the disk grew again. */
    int ret = from > size ? zero_part(node, size, MIN(from, old) - size) : 0;

    if (ret == 0 && to > from) {
        ret = change_clusters(node, from, to - from, change, QCOW2_DISCARD_ALWAYS);
    }
    ret = ret < 0 ? ret : qcow2_zero_set_size(node, size);
    ret = ret < 0 ? ret : resize_raw_data(node, old, size, err);
    if (ret < 0 && !(err && *err)) {
        error_set_errno(err, -ret, "Failed to resize the image");
    }
    return ret;
}

int coroutine_fn qcow2_truncate(BlockNode *node, uint64_t size, GError **err)
{
    Qcow2State *s = block_node_state(node);
    uint64_t old = qcow2_size(s);

    if (!IS_ALIGNED(size, 512)) {
        error_set(err, "The new size must be a multiple of 512");
        return -EINVAL;
    }
    if (s->snapshots.count && s->version < 3) {
        error_set(err, "Can't resize a version 2 image which has snapshots");
        return -ENOTSUP;
    }
    if (!qcow2_bitmaps_may_resize(node, err)) {
        return -ENOTSUP;
    }
    return size < old ? shrink_disk(node, old, size, err) : grow_disk(node, old, size, err);
}

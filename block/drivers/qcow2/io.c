/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads and writes guest data; preallocation; block status. */
#include <errno.h>
#include "base/iov.h"
#include "qcow2.h"

/* --- reading --- */

static int coroutine_fn read_compressed_part(BlockNode *n, const Qcow2Map *map, uint64_t guest,
                                             uint64_t bytes, const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    block_auto_buffer uint8_t *buf = block_buffer_new(s->data, s->cluster_size);
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    ret = qcow2_read_compressed(n, map->entry, buf);
    if (ret < 0) {
        return ret;
    }
    iov_from_buf(iov, niov, 0, buf + (guest & (s->cluster_size - 1)), bytes);
    return 0;
}

int coroutine_fn qcow2_read_mapped(BlockNode *n, const Qcow2Map *map, uint64_t guest,
                                   const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);

    switch (map->type) {
    case QCOW2_UNALLOCATED:
        if (n->backing && guest < qcow2_size(s)) { /* the VM state has no backing */
            block_debug_event(n->file, BLOCK_DEBUG_READ_BACKING_AIO);
            return block_preadv_backing(n->backing, guest, map->bytes, iov, niov);
        }
        iov_memset(iov, niov, 0, 0, map->bytes);
        return 0;
    case QCOW2_ZERO:
        iov_memset(iov, niov, 0, 0, map->bytes);
        return 0;
    case QCOW2_DATA:
        block_debug_event(n->file, BLOCK_DEBUG_READ_AIO);
        return qcow2_read_data(n, map->host, guest, map->bytes, iov, niov);
    case QCOW2_COMPRESSED:
        return read_compressed_part(n, map, guest, map->bytes, iov, niov);
    case QCOW2_INVALID:
        break;
    }
    return qcow2_entry_corruption(n, guest, map->entry);
}

int coroutine_fn qcow2_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                              const struct iovec *iov, unsigned niov)
{
    g_autofree struct iovec *part = NULL;
    uint64_t done = 0;

    while (done < bytes) {
        const struct iovec *piece = iov;
        unsigned pieces = niov;
        Qcow2Map map;
        int *guard;
        int ret = qcow2_map_load(node, offset + done, bytes - done, &map, &guard);

        if (ret < 0) {
            return ret;
        }
        if (map.bytes < bytes) {
            part = part ? part : g_new(struct iovec, niov);
            pieces = iov_slice(part, niov, iov, niov, done, map.bytes);
            piece = part;
        }
        ret = qcow2_read_mapped(node, &map, offset + done, piece, pieces);
        qcow2_guard_drop(guard);
        if (ret < 0) {
            return ret;
        }
        done += map.bytes;
    }
    return 0;
}

static int coroutine_fn read_buf(BlockNode *n, uint64_t guest, void *buf, uint64_t bytes)
{
    Qcow2State *s = block_node_state(n);
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    uint64_t size = ROUND_UP(qcow2_size(s), BLOCK_SECTOR_SIZE);

    /* Past the end of the disk, in the last cluster, there are zeroes, whatever the backing has. */
    if (guest + bytes > size && guest < ROUND_UP(size, s->cluster_size)) {
        iov.iov_len = guest < size ? size - guest : 0;
        memset((char *)buf + iov.iov_len, 0, bytes - iov.iov_len);
    }
    return qcow2_preadv(n, guest, iov.iov_len, &iov, 1);
}

/* --- writing --- */

/*
 * A write that changes L2 entries: to new host clusters, or to an entry's own host cluster, which
 * is not (wholly) data yet.
 */
typedef struct {
    uint64_t guest, bytes; /* the guest's write */
    uint64_t host;         /* of the first cluster */
    uint64_t clusters;
    uint64_t cow_from, cow_to; /* guest range to write, with what surrounds the guest's data */
    bool fresh;                /* new host clusters: freed again on failure */
    bool zero_outside; /* the surroundings are zeroes, and read as such from the host file */
} Alloc;

static bool in_place(const Qcow2Map *map)
{
    return map->type == QCOW2_DATA && (map->entry & ENTRY_COPIED);
}

/* Whether the entry has a host cluster that no other entry shares. */
static bool own_cluster(const Qcow2State *s, uint64_t entry)
{
    return !(entry & L2_COMPRESSED) && (entry & ENTRY_COPIED) &&
           ((entry & ENTRY_OFFSET_MASK) || qcow2_has_data_file(s));
}

/* A bit for each subcluster that [from, to) touches; offsets in the cluster. */
static uint64_t subcluster_mask(const Qcow2State *s, uint64_t from, uint64_t to)
{
    unsigned a = from / s->subcluster_size, b = DIV_ROUND_UP(to, s->subcluster_size);

    return (b - a == 32 ? 0xffffffffull : (BIT64(b - a) - 1)) << a;
}

/*
 * Whether subclusters that are not written may stay as they are. Not so where the entry gets a new
 * host cluster and has data: all of that is copied.
 */
static bool keeps_subclusters(uint64_t entry, uint64_t bitmap)
{
    return !(entry & L2_COMPRESSED) && ((entry & ENTRY_COPIED) || !(bitmap & 0xffffffffull));
}

static bool is_data(const Qcow2State *s, uint64_t entry, uint64_t bitmap, uint64_t guest)
{
    unsigned sc = (guest & (s->cluster_size - 1)) / s->subcluster_size;

    return qcow2_subcluster_type(s, entry, bitmap, sc) == QCOW2_DATA;
}

static void choose_cow(const Qcow2State *s, Alloc *a, uint64_t first_entry, uint64_t first_bitmap,
                       uint64_t last_entry, uint64_t last_bitmap)
{
    uint64_t start = ROUND_DOWN(a->guest, s->cluster_size);
    uint64_t end = start + a->clusters * s->cluster_size;

    a->cow_from = start;
    a->cow_to = end;
    if (s->extl2) {
        uint64_t to = a->guest + a->bytes;

        if (keeps_subclusters(first_entry, first_bitmap)) {
            a->cow_from = ROUND_DOWN(a->guest, s->subcluster_size);
        }
        if (keeps_subclusters(last_entry, last_bitmap)) {
            a->cow_to = ROUND_UP(to, s->subcluster_size);
        }
        /*
         * A subcluster that is data in this host cluster is not copied onto itself: another request
         * may be writing to it in place.
         */
        if (!a->fresh && is_data(s, first_entry, first_bitmap, a->guest)) {
            a->cow_from = a->guest;
        }
        if (!a->fresh && is_data(s, last_entry, last_bitmap, to - 1)) {
            a->cow_to = to;
        }
    }
}

/*
 * Under lock. Plans a write of as much of [guest, +bytes) as one run of host clusters takes, and
 * allocates these. The range lies in one slice.
 */
static int coroutine_fn plan_alloc(BlockNode *n, Qcow2Slice *slice, uint64_t guest, uint64_t bytes,
                                   Alloc *a)
{
    Qcow2State *s = block_node_state(n);
    unsigned i = qcow2_slice_index(s, guest);
    uint64_t in_first = guest & (s->cluster_size - 1);
    uint64_t want = DIV_ROUND_UP(in_first + bytes, s->cluster_size), count = 0;
    uint64_t entry = qcow2_l2_entry(s, slice, i), last;
    bool zero = true;
    int ret;

    *a = (Alloc){.guest = guest};
    if (own_cluster(s, entry)) {
        ret = qcow2_check_entry(n, guest, entry, qcow2_l2_bitmap(s, slice, i));
        if (ret < 0) {
            return ret;
        }
        a->host = entry & ENTRY_OFFSET_MASK;
        count = 1;
        zero = false;
    } else {
        while (count < want && !own_cluster(s, qcow2_l2_entry(s, slice, i + count))) {
            uint64_t e = qcow2_l2_entry(s, slice, i + count);
            uint64_t b = qcow2_l2_bitmap(s, slice, i + count);

            ret = qcow2_check_entry(n, guest - in_first + count * s->cluster_size, e, b);
            if (ret < 0) {
                return ret;
            }
            for (unsigned sc = 0; sc < s->subclusters; sc++) {
                zero = zero && qcow2_reads_as_zero(n, qcow2_subcluster_type(s, e, b, sc));
            }
            count++;
        }
        if (qcow2_has_data_file(s)) {
            /* 'External data file': guest and host offsets are the same. */
            a->host = guest - in_first;
        } else {
            int64_t eof = block_exact_length(n->file);

            ret = qcow2_alloc_clusters(n, &count, false, &a->host);
            if (ret < 0) {
                return ret;
            }
            a->fresh = true;
            a->zero_outside = zero && s->zero_past_eof && a->host >= eof && !s->crypt_method;
        }
    }
    a->clusters = count;
    a->bytes = MIN(bytes, count * s->cluster_size - in_first);
    last = i + count - 1;
    choose_cow(s, a, entry, qcow2_l2_bitmap(s, slice, i), qcow2_l2_entry(s, slice, last),
               qcow2_l2_bitmap(s, slice, last));
    return 0;
}

/* Writes the guest's data and its surroundings (copy on write) in one request. */
static int coroutine_fn write_with_cow(BlockNode *n, const Alloc *a, const struct iovec *iov,
                                       unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    uint64_t start = ROUND_DOWN(a->guest, s->cluster_size);
    uint64_t head = a->guest - a->cow_from, tail = a->cow_to - (a->guest + a->bytes);
    block_auto_buffer uint8_t *head_buf = NULL, *tail_buf = NULL;
    g_autofree struct iovec *all = NULL;
    unsigned count = 0;
    int ret;

    if (a->zero_outside || (!head && !tail)) {
        block_debug_event(n->file, BLOCK_DEBUG_WRITE_AIO);
        return qcow2_write_data(n, a->host + (a->guest - start), a->guest, a->bytes, iov, niov);
    }
    all = g_new(struct iovec, niov + 2);
    block_debug_event(n->file, BLOCK_DEBUG_COW_READ);
    if (head) {
        head_buf = block_buffer_new(s->data, head);
        ret = head_buf ? read_buf(n, a->cow_from, head_buf, head) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        all[count++] = (struct iovec){.iov_base = head_buf, .iov_len = head};
    }
    memcpy(all + count, iov, niov * sizeof *iov);
    count += niov;
    if (tail) {
        tail_buf = block_buffer_new(s->data, tail);
        ret = tail_buf ? read_buf(n, a->guest + a->bytes, tail_buf, tail) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        all[count++] = (struct iovec){.iov_base = tail_buf, .iov_len = tail};
    }
    block_debug_event(n->file, BLOCK_DEBUG_WRITE_AIO);
    return qcow2_write_data(n, a->host + (a->cow_from - start), a->cow_from,
                            a->cow_to - a->cow_from, all, count);
}

/* Under lock, after the data was written: sets the entries and frees the old clusters. */
static int coroutine_fn link_alloc(BlockNode *n, const Alloc *a)
{
    Qcow2State *s = block_node_state(n);
    uint64_t start = ROUND_DOWN(a->guest, s->cluster_size);
    Qcow2Slice *slice;
    int ret = qcow2_slice_for_write(n, start, &slice);

    if (ret < 0) {
        return ret;
    }
    for (uint64_t c = 0; c < a->clusters; c++) {
        unsigned i = qcow2_slice_index(s, start) + c;
        uint64_t old = qcow2_l2_entry(s, slice, i), bitmap = qcow2_l2_bitmap(s, slice, i);
        uint64_t host = a->host + c * s->cluster_size, from = start + c * s->cluster_size;

        if (s->extl2) {
            uint64_t mask = subcluster_mask(s, MAX(a->cow_from, from) - from,
                                            MIN(a->cow_to, from + s->cluster_size) - from);
            bitmap = old & L2_COMPRESSED ? 0 : bitmap;
            bitmap = (bitmap & ~(mask << 32)) | mask;
        }
        qcow2_l2_set(s, slice, i, host | ENTRY_COPIED, bitmap);
        if (a->fresh) {
            /* On failure the image is marked corrupt and the space leaks; the write succeeds. */
            qcow2_free_entry_later(n, old, QCOW2_DISCARD_NEVER);
        }
    }
    if (!a->zero_outside) {
        /* Copied data may be stable in the old place: it has to be in the new one, too. */
        s->barrier_needed = true;
    }
    qcow2_cache_put(slice);
    return 0;
}

/* Called with the lock held; drops it while the data is written. */
static int coroutine_fn write_allocating(BlockNode *n, const Alloc *a, const struct iovec *iov,
                                         unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    BlockPending pending;
    int ret;

    block_pending_begin(&s->pending, &pending, a->guest >> s->cluster_bits, a->clusters);
    co_mutex_unlock(&s->lock);
    if (a->fresh && block_make_room(s->data, a->host + a->clusters * s->cluster_size)) {
        __atomic_store_n(&s->room_made, true, __ATOMIC_RELAXED);
    }
    ret = write_with_cow(n, a, iov, niov);
    co_mutex_lock(&s->lock);
    if (ret == 0) {
        ret = link_alloc(n, a);
    }
    if (ret < 0 && a->fresh) {
        qcow2_free_now(n, a->host, a->clusters);
    }
    block_pending_end(&s->pending, &pending);
    return ret;
}

static bool may_write_in_place(BlockNode *n, const Qcow2Map *map)
{
    Qcow2State *s = block_node_state(n);

    return s->data != n->file || !qcow2_overlaps_metadata(s, map->host, map->bytes);
}

static int coroutine_fn write_in_place(BlockNode *n, const Qcow2Map *map, uint64_t guest,
                                       const struct iovec *iov, unsigned niov, uint64_t skip)
{
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    unsigned nparts = iov_slice(part, niov, iov, niov, skip, map->bytes);

    if (!may_write_in_place(n, map)) {
        return qcow2_corruption(n, "Preventing invalid write on metadata at offset %#" PRIx64,
                                map->host);
    }
    block_debug_event(n->file, BLOCK_DEBUG_WRITE_AIO);
    return qcow2_write_data(n, map->host, guest, map->bytes, part, nparts);
}

/* Writes what cached entries alone did not allow. The data starts 'skip' bytes into iov. */
static int coroutine_fn write_locked(BlockNode *n, uint64_t guest, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, uint64_t skip,
                                     uint64_t *done)
{
    Qcow2State *s = block_node_state(n);
    uint64_t span = s->slice_entries * s->cluster_size;
    g_autofree struct iovec *part = NULL;
    Qcow2Slice *slice;
    Qcow2Map map;
    Alloc alloc;
    unsigned nparts;
    int ret;

    bytes = MIN(bytes, span - guest % span);
    co_mutex_lock(&s->lock);
    do {
        ret = qcow2_slice_for_write(n, guest, &slice);
        if (ret < 0) {
            goto out;
        }
        qcow2_map_run(s, slice, guest, bytes, &map);
        if (in_place(&map)) {
            g_mutex_lock(&s->map_lock);
            int *guard = &s->guard[s->epoch];
            __atomic_add_fetch(guard, 1, __ATOMIC_SEQ_CST);
            g_mutex_unlock(&s->map_lock);
            qcow2_cache_put(slice);
            co_mutex_unlock(&s->lock);
            *done = map.bytes;
            ret = write_in_place(n, &map, guest, iov, niov, skip);
            qcow2_guard_drop(guard);
            return ret;
        }
        uint64_t first = guest >> s->cluster_bits;
        uint64_t last = (guest + bytes - 1) >> s->cluster_bits;
        if (!block_pending_at(&s->pending, first, last - first + 1)) {
            break; /* the slice stays pinned: an allocation may load others */
        }
        qcow2_cache_put(slice);
        qcow2_wait_pending(s, first, last - first + 1);
    } while (true);

    ret = plan_alloc(n, slice, guest, bytes, &alloc);
    qcow2_cache_put(slice);
    if (ret < 0) {
        goto out;
    }
    *done = alloc.bytes;
    part = g_new(struct iovec, niov);
    nparts = iov_slice(part, niov, iov, niov, skip, alloc.bytes);
    ret = write_allocating(n, &alloc, part, nparts);
out:
    co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_fn qcow2_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov, unsigned flags)
{
    Qcow2State *s = block_node_state(node);
    uint64_t done = 0, step = 0;
    int ret = qcow2_before_write(node);

    if (ret < 0) {
        return ret;
    }
    while (done < bytes) {
        Qcow2Map map;
        int *guard;

        if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
            return -EIO;
        }
        if (qcow2_map_peek(node, offset + done, bytes - done, &map, &guard)) {
            if (in_place(&map)) {
                ret = write_in_place(node, &map, offset + done, iov, niov, done);
                qcow2_guard_drop(guard);
                if (ret < 0) {
                    return ret;
                }
                done += map.bytes;
                continue;
            }
            qcow2_guard_drop(guard);
        }
        ret = write_locked(node, offset + done, bytes - done, iov, niov, done, &step);
        if (ret < 0) {
            return ret;
        }
        done += step;
    }
    return 0;
}

int coroutine_fn qcow2_pcopy(BlockNode *n, uint64_t offset, const BlockHostRange *from,
                             unsigned flags)
{
    Qcow2State *s = block_node_state(n);
    uint64_t span = s->slice_entries * s->cluster_size, done = 0;
    int ret = 0;

    if (s->crypt_method || !IS_ALIGNED(offset | from->bytes, s->cluster_size)) {
        return -ENOTSUP;
    }
    ret = qcow2_before_write(n);
    co_mutex_lock(&s->lock);
    while (ret == 0 && done < from->bytes) {
        uint64_t guest = offset + done, bytes = MIN(from->bytes - done, span - guest % span);
        BlockHostRange part = {.file = from->file, .offset = from->offset + done};
        BlockPending pending;
        Qcow2Slice *slice;
        Alloc a;

        if (qcow2_wait_pending(s, guest >> s->cluster_bits, bytes >> s->cluster_bits)) {
            continue;
        }
        ret = qcow2_slice_for_write(n, guest, &slice);
        if (ret < 0) {
            break;
        }
        slice->pins++; /* an allocation may load other slices */
        /* Clusters that the disk has are written in place, by the ordinary way. */
        ret = own_cluster(s, qcow2_l2_entry(s, slice, qcow2_slice_index(s, guest)))
                  ? -ENOTSUP
                  : plan_alloc(n, slice, guest, bytes, &a);
        slice->pins--;
        qcow2_cache_put(slice);
        if (ret < 0) {
            break;
        }
        part.bytes = a.bytes;
        block_pending_begin(&s->pending, &pending, guest >> s->cluster_bits, a.clusters);
        co_mutex_unlock(&s->lock);
        /* These are clusters that the disk has not had yet. */
        ret = block_pcopy(s->data, a.host, &part, flags & ~BLOCK_COPY_KEEP_SPACE);
        co_mutex_lock(&s->lock);
        ret = ret < 0 ? ret : link_alloc(n, &a);
        if (ret < 0 && a.fresh) {
            qcow2_free_now(n, a.host, a.clusters);
        }
        block_pending_end(&s->pending, &pending);
        done += a.bytes;
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* The same for an encrypted image, where zeroes are what is decrypted to them. */
static int coroutine_fn clear_encrypted(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes)
{
    enum { CHUNK = 64 * 1024 };
    g_autofree uint8_t *zeroes = g_malloc0(CHUNK);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        struct iovec iov = {zeroes, MIN(bytes - done, CHUNK)};

        len = iov.iov_len;
        ret = qcow2_write_data(n, host + done, guest + done, len, &iov, 1);
    }
    return ret;
}

/* Under lock: host clusters that no entry names yet have to read as zeroes. */
static int coroutine_fn clear_host(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes,
                                   BlockPreallocation mode)
{
    Qcow2State *s = block_node_state(n);

    if (s->adopts_data) {
        return 0;
    }
    if (s->crypt_method) {
        return clear_encrypted(n, host, guest, bytes);
    }
    if (mode == BLOCK_PREALLOC_FULL) {
        return block_fill_zeroes(s->data, host, bytes);
    }
    while (bytes) {
        uint64_t len = bytes;
        int ret = mode == BLOCK_PREALLOC_METADATA
                      ? block_status(s->data, host, bytes, &len, NULL, NULL)
                      : 0;

        if (ret >= 0 && !(ret & BLOCK_STATUS_ZERO)) {
            block_debug_event(n->file, BLOCK_DEBUG_CLUSTER_ALLOC_SPACE);
            ret = block_pwrite_zeroes(s->data, host, len, 0);
        }
        if (ret < 0) {
            return ret;
        }
        host += len;
        bytes -= len;
    }
    return 0;
}

/* Under lock: of [guest, +bytes), in one slice, as much as one run of host clusters takes. */
static int coroutine_fn preallocate_run(BlockNode *n, uint64_t guest, uint64_t bytes,
                                        BlockPreallocation mode, Alloc *a)
{
    Qcow2State *s = block_node_state(n);
    Qcow2Slice *slice;
    int ret = qcow2_slice_for_write(n, guest, &slice);

    if (ret < 0) {
        return ret;
    }
    slice->pins++; /* an allocation may load other slices */
    ret = plan_alloc(n, slice, guest, bytes, a);
    slice->pins--;
    qcow2_cache_put(slice);
    if (ret < 0 || (!a->fresh && !qcow2_has_data_file(s))) {
        return ret; /* the cluster has its place, and zeroes or data */
    }
    a->cow_from = guest;
    a->cow_to = guest + a->clusters * s->cluster_size;
    ret = clear_host(n, a->host, guest, a->clusters * s->cluster_size, mode);
    a->zero_outside = false; /* the zeroes have to be stable before the entries are */
    ret = ret < 0 ? ret : link_alloc(n, a);
    if (ret < 0 && a->fresh) {
        qcow2_free_now(n, a->host, a->clusters);
    }
    return ret;
}

int coroutine_fn qcow2_preallocate(BlockNode *n, uint64_t offset, uint64_t bytes,
                                   BlockPreallocation mode)
{
    Qcow2State *s = block_node_state(n);
    uint64_t span = s->slice_entries * s->cluster_size, host_end = 0;
    uint64_t guest = ROUND_UP(offset, s->cluster_size), end = offset + bytes;
    int ret = 0;

    co_mutex_lock(&s->lock);
    while (guest < end && ret == 0) {
        Alloc a;

        ret = preallocate_run(n, guest, MIN(end - guest, span - guest % span), mode, &a);
        if (ret == 0) {
            host_end = MAX(host_end, a.host + a.clusters * s->cluster_size);
            guest += a.clusters * s->cluster_size;
        }
    }
    if (ret == 0 && host_end > block_length(s->data)) {
        /* The clusters were not written, but have to lie inside the file. */
        ret = block_truncate(s->data, s->data_raw ? MIN(host_end, s->size) : host_end, NULL);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* --- status --- */

/* Under lock. */
static bool has_refcount_block(const Qcow2State *s, uint64_t index)
{
    return index < s->reftable_size && s->reftable[index] & REFTABLE_OFFSET_MASK;
}

static uint64_t coroutine_fn count_refcount_blocks(Qcow2State *s, uint64_t *entries)
{
    uint64_t count = 0;

    co_mutex_lock(&s->lock);
    *entries = MIN(*entries, s->reftable_size);
    for (uint64_t i = 0; i < *entries; i++) {
        count += has_refcount_block(s, i);
    }
    co_mutex_unlock(&s->lock);
    return count;
}

/* Adds to *used the clusters in use that one refcount block counts, until those are 'limit'. */
static int coroutine_fn count_in_use(BlockNode *n, uint64_t index, uint64_t end, uint64_t *used,
                                     uint64_t limit)
{
    Qcow2State *s = block_node_state(n);
    uint64_t at = index << s->refblock_bits;
    int ret = 0;

    end = MIN(end, at + BIT64(s->refblock_bits));
    co_mutex_lock(&s->lock);
    end = has_refcount_block(s, index) ? end : at;
    for (; at < end && *used < limit && ret == 0; at++) {
        uint64_t refcount;

        ret = qcow2_get_refcount(n, at, &refcount);
        *used += ret == 0 && refcount;
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/*
 * Whether at least 'limit' of the first 'end' clusters are in use. The blocks are in use
 * themselves, so that at most 'limit' of them are read, however long the table and the file are.
 */
static bool coroutine_fn are_in_use(BlockNode *n, uint64_t end, uint64_t limit)
{
    Qcow2State *s = block_node_state(n);
    uint64_t entries = DIV_ROUND_UP(end, BIT64(s->refblock_bits)), used = 0;
    int ret = 0;

    if (s->tables_overlap) {
        return false; /* one block may be in the table any number of times */
    }
    if (count_refcount_blocks(s, &entries) >= limit) {
        return true;
    }
    for (uint64_t i = 0; ret == 0 && i < entries && used < limit; i++) {
        ret = count_in_use(n, i, end, &used, limit);
    }
    return ret == 0 && used >= limit;
}

/*
 * Looked at once: where more clusters are in use, by a ninth and by two, than the file has space
 * for, clusters lie in holes, and it pays to ask the file about each.
 */
static bool coroutine_fn data_has_holes(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int known = __atomic_load_n(&s->has_holes, __ATOMIC_RELAXED);
    int64_t length, allocated;
    uint64_t end, limit;

    if (known != QCOW2_HOLES_UNKNOWN) {
        return known == QCOW2_HOLES_YES;
    }
    length = block_length(n->file);
    allocated = block_allocated_size(n->file);
    end = DIV_ROUND_UP(MAX(length, 0), s->cluster_size);
    limit = allocated < 0 ? UINT64_MAX : allocated / s->cluster_size;
    limit = allocated < 0 ? limit : MAX(limit * 10 / 9, limit + 2);
    known = end >= limit && are_in_use(n, end, limit) ? QCOW2_HOLES_YES : QCOW2_HOLES_NO;
    __atomic_store_n(&s->has_holes, known, __ATOMIC_RELAXED);
    return known == QCOW2_HOLES_YES;
}

int coroutine_fn qcow2_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map_out, BlockNode **file)
{
    Qcow2State *s = block_node_state(node);
    Qcow2Map map;
    int *guard;
    int ret = qcow2_map_load(node, offset, bytes, &map, &guard);

    if (ret < 0) {
        return ret;
    }
    qcow2_guard_drop(guard);
    *pnum = map.bytes;
    switch (map.type) {
    case QCOW2_UNALLOCATED:
        ret = node->backing ? 0 : BLOCK_STATUS_ZERO;
        if (map.entry & ENTRY_OFFSET_MASK && !s->crypt_method) {
            *map_out = map.host;
            *file = s->data;
            ret |= BLOCK_STATUS_OFFSET_VALID;
        }
        return ret;
    case QCOW2_ZERO:
        if (map.entry & ENTRY_OFFSET_MASK && !s->crypt_method) {
            *map_out = map.host;
            *file = s->data;
            return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
        }
        return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    case QCOW2_DATA:
        if (s->crypt_method) {
            return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED; /* the file has other bytes */
        }
        *map_out = map.host;
        *file = s->data;
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID |
               (data_has_holes(node) ? BLOCK_STATUS_RECURSE : 0);
    case QCOW2_COMPRESSED:
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_COMPRESSED;
    case QCOW2_INVALID:
        break;
    }
    return qcow2_entry_corruption(node, offset, map.entry);
}

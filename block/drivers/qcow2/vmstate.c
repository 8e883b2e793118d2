/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM state lies behind the disk: at the first L1 entry that no byte of the disk needs. It is
 * written as guest data is.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/iov.h"
#include "qcow2.h"

uint64_t qcow2_vmstate_start(const Qcow2State *s)
{
    return qcow2_l1_entries(s, qcow2_size(s)) << (s->cluster_bits + s->l2_bits);
}

/* The guest offset of 'pos', or -errno. */
static int64_t vmstate_offset(const Qcow2State *s, uint64_t pos, uint64_t bytes)
{
    uint64_t start = qcow2_vmstate_start(s);

    return pos > INT64_MAX - start || bytes > INT64_MAX - start - pos ? -EFBIG
                                                                      : (int64_t)(start + pos);
}

/* Makes the L1 table long enough: by a half at once, as the length of the state is not known. */
static int coroutine_fn vmstate_make_room(BlockNode *n, uint64_t end)
{
    Qcow2State *s = block_node_state(n);
    uint64_t entries = qcow2_l1_entries(s, end);
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        ret = -EIO;
    } else if (entries > s->l1_size) {
        entries = MAX(entries, MIN(s->l1_size + s->l1_size / 2, MAX_L1_BYTES / 8));
        ret = qcow2_grow_l1(n, entries);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* The sectors that a part of the VM state lies in: encrypted ones are read and written whole. */
typedef struct {
    uint64_t from, bytes;
    uint8_t *buf; /* free() */
} Sectors;

static int coroutine_fn sectors_read(BlockNode *n, uint64_t at, uint64_t bytes, Sectors *out)
{
    struct iovec iov;

    out->from = ROUND_DOWN(at, CIPHER_SECTOR);
    out->bytes = ROUND_UP(at + bytes, CIPHER_SECTOR) - out->from;
    out->buf = block_buffer_new(n, out->bytes);
    iov = (struct iovec){out->buf, out->bytes};
    return out->buf ? qcow2_preadv(n, out->from, out->bytes, &iov, 1) : -ENOMEM;
}

static bool is_whole_sectors(const Qcow2State *s, uint64_t at, uint64_t bytes)
{
    return !s->crypt_method || IS_ALIGNED(at | bytes, CIPHER_SECTOR);
}

static int coroutine_fn write_state(BlockNode *n, uint64_t at, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    Sectors whole = {0};
    int ret;

    if (is_whole_sectors(block_node_state(n), at, bytes)) {
        return qcow2_pwritev(n, at, bytes, iov, niov, 0);
    }
    ret = sectors_read(n, at, bytes, &whole);
    if (ret == 0) {
        struct iovec all = {whole.buf, whole.bytes};

        iov_to_buf(iov, niov, 0, whole.buf + (at - whole.from), bytes);
        ret = qcow2_pwritev(n, whole.from, whole.bytes, &all, 1, 0);
    }
    free(whole.buf);
    return ret;
}

static int coroutine_fn read_state(BlockNode *n, uint64_t at, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    Sectors whole = {0};
    int ret;

    if (is_whole_sectors(block_node_state(n), at, bytes)) {
        return qcow2_preadv(n, at, bytes, iov, niov);
    }
    ret = sectors_read(n, at, bytes, &whole);
    if (ret == 0) {
        iov_from_buf(iov, niov, 0, whole.buf + (at - whole.from), bytes);
    }
    free(whole.buf);
    return ret;
}

int coroutine_fn qcow2_vmstate_pwritev(BlockNode *n, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    int64_t at = vmstate_offset(s, pos, bytes);
    int ret;

    if (qcow2_has_data_file(s)) {
        return -ENOTSUP;
    }
    ret = at < 0 ? (int)at : vmstate_make_room(n, at + bytes);
    if (ret < 0 || !bytes) {
        return ret;
    }
    block_debug_event(n->file, BLOCK_DEBUG_VMSTATE_SAVE);
    return write_state(n, at, bytes, iov, niov);
}

int coroutine_fn qcow2_vmstate_preadv(BlockNode *n, uint64_t pos, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    int64_t at = vmstate_offset(s, pos, bytes);

    block_debug_event(n->file, BLOCK_DEBUG_VMSTATE_LOAD);
    return at < 0 ? (int)at : read_state(n, at, bytes, iov, niov);
}

int coroutine_fn qcow2_vmstate_drop(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    uint64_t start = qcow2_vmstate_start(s);
    uint64_t end = (uint64_t)s->l1_size << (s->cluster_bits + s->l2_bits);

    return end > start ? qcow2_make_gone(n, start, end - start) : 0;
}

/* L1 entries that are read at once: a sector of them. */
enum { L1_PIECE = 64 };

/*
 * A snapshot's tables are read from the file, where they are complete and stay as they are while
 * the snapshot is there. The cache is for tables of the disk.
 */
typedef struct {
    const Qcow2Snapshot *sn;
    uint64_t start; /* guest offset of the VM state, as the disk was */
    uint64_t at;    /* guest offset of what 'slice' maps, or of what has no table */
    uint64_t bytes; /* of that; 0: nothing is loaded */
    Qcow2Slice slice;
    bool absent; /* there is no table for these clusters */
    uint64_t l1[L1_PIECE], l1_first;
    unsigned l1_count; /* entries in 'l1', of which the first is entry 'l1_first' */
    uint64_t claimed;  /* bytes of the file in the slices and data that were met */
} SnapshotMap;

/* *table: where the L2 table is; 0: there is none. */
static int coroutine_fn snapshot_l1_entry(BlockNode *n, SnapshotMap *m, uint64_t index,
                                          uint64_t *table)
{
    *table = 0;
    if (index >= m->sn->l1_size) {
        return 0;
    }
    if (index - m->l1_first >= m->l1_count) {
        uint64_t first = ROUND_DOWN(index, L1_PIECE);
        unsigned count = MIN(L1_PIECE, m->sn->l1_size - first);
        int ret = block_pread(n->file, m->sn->l1_offset + first * 8, m->l1, count * 8);

        m->l1_first = first;
        m->l1_count = ret < 0 ? 0 : count;
        if (ret < 0) {
            return ret;
        }
    }
    *table = ldbe64(&m->l1[index - m->l1_first]) & ENTRY_OFFSET_MASK;
    return 0;
}

static int coroutine_fn snapshot_map_load(BlockNode *n, SnapshotMap *m, uint64_t guest)
{
    Qcow2State *s = block_node_state(n);
    unsigned table_bits = s->cluster_bits + s->l2_bits;
    uint64_t slice_bytes = (uint64_t)s->slice_entries * s->l2_entry_size, table;
    uint64_t in_table = (guest >> s->cluster_bits) & (BIT64(s->l2_bits) - 1);
    int ret = snapshot_l1_entry(n, m, guest >> table_bits, &table);

    m->bytes = 0;
    if (ret == 0 && table && !qcow2_table_ok(s, table, s->cluster_size)) {
        return -EIO;
    }
    if (ret == 0 && table) {
        ret =
            block_pread(n->file, table + ROUND_DOWN(in_table, s->slice_entries) * s->l2_entry_size,
                        m->slice.data, slice_bytes);
        m->claimed += slice_bytes;
    }
    if (ret == 0) {
        m->absent = !table;
        m->bytes = table ? s->slice_entries * s->cluster_size : BIT64(table_bits);
        m->at = ROUND_DOWN(guest, m->bytes);
    }
    return ret;
}

/* Of what is read, the part that 'map' says where it is. */
static int coroutine_fn snapshot_read_part(BlockNode *n, const Qcow2Map *map, uint64_t guest,
                                           const struct iovec *iov, unsigned niov, uint64_t done)
{
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    unsigned parts = iov_slice(part, niov, iov, niov, done, map->bytes);

    return map->type == QCOW2_INVALID ? -EIO : qcow2_read_mapped(n, map, guest, part, parts);
}

/* What the VM state has from guest offset 'at' on, at most 'bytes'. */
static int coroutine_fn snapshot_map_run(BlockNode *n, SnapshotMap *m, uint64_t at, uint64_t bytes,
                                         Qcow2Map *map)
{
    Qcow2State *s = block_node_state(n);

    *map = (Qcow2Map){.type = QCOW2_ZERO};
    if (at - m->at >= m->bytes) {
        int ret = snapshot_map_load(n, m, at);
        if (ret < 0) {
            return ret;
        }
    }
    bytes = MIN(bytes, m->at + m->bytes - at);
    if (m->absent) {
        map->bytes = bytes;
    } else {
        qcow2_map_run(s, &m->slice, at, bytes, map);
        map->bytes = MIN(map->bytes, bytes);
    }
    /* The VM state has no backing file. */
    map->type = map->type == QCOW2_UNALLOCATED ? QCOW2_ZERO : map->type;
    return 0;
}

static int coroutine_fn snapshot_map_read(BlockNode *n, SnapshotMap *m, uint64_t guest,
                                          uint64_t bytes, const struct iovec *iov, unsigned niov)
{
    for (uint64_t done = 0; done < bytes;) {
        uint64_t at = guest + done;
        Qcow2Map map;
        int ret = snapshot_map_run(n, m, at, bytes - done, &map);

        if (ret == 0) {
            ret = snapshot_read_part(n, &map, at, iov, niov, done);
        }
        if (ret < 0) {
            return ret;
        }
        done += map.bytes;
    }
    return 0;
}

/* Encrypted sectors are read whole. */
static int coroutine_fn snapshot_read(BlockNode *n, SnapshotMap *m, uint64_t at, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    uint64_t from = ROUND_DOWN(at, CIPHER_SECTOR);
    struct iovec whole = {.iov_len = ROUND_UP(at + bytes, CIPHER_SECTOR) - from};
    int ret;

    if (is_whole_sectors(block_node_state(n), at, bytes)) {
        return snapshot_map_read(n, m, at, bytes, iov, niov);
    }
    whole.iov_base = block_buffer_new(n, whole.iov_len);
    ret = whole.iov_base ? snapshot_map_read(n, m, from, whole.iov_len, &whole, 1) : -ENOMEM;
    if (ret == 0) {
        iov_from_buf(iov, niov, 0, (char *)whole.iov_base + (at - from), bytes);
    }
    free(whole.iov_base);
    return ret;
}

/* Looks the snapshot up, and whether it may have these bytes. The caller frees m->slice.data. */
static int coroutine_fn snapshot_map_begin(BlockNode *n, SnapshotMap *m, const char *id,
                                           uint64_t pos, uint64_t bytes)
{
    Qcow2State *s = block_node_state(n);
    int index = qcow2_find_snapshot(s, id, NULL);
    uint64_t size;

    *m = (SnapshotMap){0};
    if (index < 0) {
        return -ENOENT;
    }
    m->sn = &g_array_index(s->snapshots.list, Qcow2Snapshot, index);
    if (m->sn->l1_size > MAX_L1_BYTES / 8 ||
        !qcow2_table_ok(s, m->sn->l1_offset, m->sn->l1_size * 8ull)) {
        return -EIO;
    }
    size = m->sn->disk_size == UINT64_MAX ? qcow2_size(s) : m->sn->disk_size;
    m->start = qcow2_l1_entries(s, size) << (s->cluster_bits + s->l2_bits);
    if (pos > INT64_MAX - m->start || bytes > INT64_MAX - m->start - pos) {
        return -EFBIG;
    }
    m->slice.data = g_try_malloc(s->slice_entries * s->l2_entry_size);
    return m->slice.data ? 0 : -ENOMEM;
}

int coroutine_fn qcow2_vmstate_preadv_snapshot(BlockNode *n, const char *id, uint64_t pos,
                                               uint64_t bytes, const struct iovec *iov,
                                               unsigned niov)
{
    SnapshotMap m;
    int ret = snapshot_map_begin(n, &m, id, pos, bytes);

    if (ret == 0) {
        block_debug_event(n->file, BLOCK_DEBUG_VMSTATE_LOAD);
        ret = snapshot_read(n, &m, m.start + pos, bytes, iov, niov);
    }
    g_free(m.slice.data);
    return ret;
}

static void add_extent(GArray *extents, uint64_t pos, const Qcow2Map *map)
{
    BlockVmstateExtent next = {pos, map->bytes, map->host}, *last;

    last = extents->len ? &g_array_index(extents, BlockVmstateExtent, extents->len - 1) : NULL;
    if (last && last->pos + last->bytes == pos && last->offset + last->bytes == map->host) {
        last->bytes += map->bytes;
    } else {
        g_array_append_val(extents, next);
    }
}

/*
 * The file has each table and each cluster of a VM state once: where those met take more than there
 * is, the image is not one that this program or QEMU has made, and the walk of it might not end.
 */
static int snapshot_map_claims(BlockNode *n, SnapshotMap *m, const Qcow2Map *map)
{
    Qcow2State *s = block_node_state(n);
    int64_t length = block_length(n->file);

    m->claimed += map->type == QCOW2_DATA ? map->bytes : 0;
    return length < 0                                                 ? (int)length
           : m->claimed > ROUND_UP((uint64_t)length, s->cluster_size) ? -EIO
                                                                      : 0;
}

int coroutine_fn qcow2_vmstate_extents(BlockNode *n, const char *id, uint64_t pos, uint64_t bytes,
                                       GArray *extents)
{
    Qcow2State *s = block_node_state(n);
    SnapshotMap m;
    int ret;

    if (s->crypt_method || s->data != n->file) {
        return -ENOTSUP;
    }
    ret = snapshot_map_begin(n, &m, id, pos, bytes);
    if (ret == 0) {
        uint64_t end = (uint64_t)m.sn->l1_size << (s->cluster_bits + s->l2_bits);
        uint64_t from = m.start + pos;

        bytes = MIN(bytes, end > from ? end - from : 0);
    }
    for (uint64_t done = 0; ret == 0 && done < bytes;) {
        Qcow2Map map;

        ret = snapshot_map_run(n, &m, m.start + pos + done, bytes - done, &map);
        ret = ret < 0 ? ret : snapshot_map_claims(n, &m, &map);
        if (ret == 0 && map.type == QCOW2_DATA) {
            add_extent(extents, pos + done, &map);
        }
        done += ret == 0 ? map.bytes : 0;
    }
    g_free(m.slice.data);
    return ret;
}

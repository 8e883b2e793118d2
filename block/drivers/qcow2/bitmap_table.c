/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Bitmap table' and 'Bitmap data': a bitmap's bits in the image. */
#include <errno.h>
#include "qcow2.h"

enum { TABLE_ENTRY_ONES = 1 }; /* an entry without an offset: all bits are set */

uint64_t qcow2_bitmap_bytes(const Qcow2State *s, unsigned granularity_bits)
{
    return DIV_ROUND_UP(DIV_ROUND_UP(qcow2_size(s), BIT64(granularity_bits)), 8);
}

int coroutine_fn qcow2_bitmap_read_table(BlockNode *n, const Qcow2Bitmap *b, uint64_t **table)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint64_t *t = NULL;
    uint64_t bytes = b->table_size * 8ull;
    int ret;

    if (bytes > MAX_BITMAP_TABLE_BYTES || !qcow2_table_ok(s, b->table_offset, bytes) ||
        !qcow2_table_in_file(n, b->table_offset + MAX(bytes, 1) - 1)) {
        return -EINVAL;
    }
    t = g_try_malloc(MAX(bytes, 1));
    ret = t ? block_pread(n->file, b->table_offset, t, bytes) : -ENOMEM;
    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < b->table_size; i++) {
        t[i] = GUINT64_FROM_BE(t[i]);
        uint64_t offset = t[i] & ENTRY_OFFSET_MASK, rest = t[i] & ~ENTRY_OFFSET_MASK;

        if (offset ? rest || !IS_ALIGNED(offset, s->cluster_size) || !qcow2_table_in_file(n, offset)
                   : rest & ~(uint64_t)TABLE_ENTRY_ONES) {
            return -EINVAL;
        }
    }
    *table = g_steal_pointer(&t);
    return 0;
}

bool qcow2_bitmap_table_fits(const Qcow2State *s, const Qcow2Bitmap *b)
{
    return b->table_size ==
           DIV_ROUND_UP(qcow2_bitmap_bytes(s, b->granularity_bits), s->cluster_size);
}

int coroutine_fn qcow2_bitmap_read(BlockNode *n, const Qcow2Bitmap *b, BlockDirtyBitmap *into)
{
    Qcow2State *s = block_node_state(n);
    uint64_t bytes = qcow2_bitmap_bytes(s, b->granularity_bits);
    g_autofree uint64_t *table = NULL;
    g_autofree uint8_t *buf = g_malloc(s->cluster_size);
    int ret;

    if (!qcow2_bitmap_table_fits(s, b)) {
        return -EINVAL;
    }
    ret = qcow2_bitmap_read_table(n, b, &table);
    for (uint32_t i = 0; i < b->table_size && ret == 0; i++) {
        uint64_t offset = table[i] & ENTRY_OFFSET_MASK, at = (uint64_t)i << s->cluster_bits;

        if (offset) {
            ret = block_pread(n->file, offset, buf, s->cluster_size);
        } else if (table[i]) {
            memset(buf, 0xff, s->cluster_size);
        } else {
            continue;
        }
        if (ret == 0) {
            block_dirty_bitmap_import(into, at * 8, buf, MIN(s->cluster_size, bytes - at));
        }
    }
    return ret;
}

void coroutine_fn qcow2_bitmap_free_clusters(BlockNode *n, const Qcow2Bitmap *b)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint64_t *table = NULL;
    uint64_t bytes = b->table_size * 8ull;

    /* Where the table cannot be read its clusters leak: a check finds them. */
    if (!b->table_size || qcow2_bitmap_read_table(n, b, &table) < 0) {
        return;
    }
    for (uint32_t i = 0; i < b->table_size; i++) {
        if (table[i] & ENTRY_OFFSET_MASK) {
            qcow2_free_now(n, table[i] & ENTRY_OFFSET_MASK, 1);
        }
    }
    qcow2_free_now(n, b->table_offset, DIV_ROUND_UP(bytes, s->cluster_size));
}

/* Writes the clusters that have a bit set, and fills the table, in the image's byte order. */
static int coroutine_fn write_bits(BlockNode *n, BlockDirtyBitmap *from, uint64_t bytes,
                                   uint64_t *table)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = g_malloc(s->cluster_size);
    uint64_t shift = __builtin_ctzll(block_dirty_bitmap_granularity(from));
    int ret = 0;

    for (uint64_t off = 0, run; ret == 0;) {
        uint64_t index, len, host, one = 1;

        if (!block_dirty_bitmap_next_dirty(from, &off, &run, UINT64_MAX, false)) {
            break;
        }
        index = (off >> shift) / 8 / s->cluster_size;
        len = MIN(s->cluster_size, bytes - index * s->cluster_size);
        memset(buf, 0, s->cluster_size);
        block_dirty_bitmap_export(from, index * s->cluster_size * 8, buf, len);
        ret = qcow2_alloc_clusters(n, &one, true, &host);
        if (ret < 0) {
            break;
        }
        table[index] = GUINT64_TO_BE(host);
        ret = block_pwrite(n->file, host, buf, s->cluster_size, 0);
        off = ((index + 1) * s->cluster_size * 8) << shift;
    }
    return ret;
}

int coroutine_fn qcow2_bitmap_write(BlockNode *n, BlockDirtyBitmap *from, Qcow2Bitmap *b)
{
    Qcow2State *s = block_node_state(n);
    uint64_t bytes = qcow2_bitmap_bytes(s, b->granularity_bits), host = 0;
    uint64_t entries = DIV_ROUND_UP(bytes, s->cluster_size);
    uint64_t clusters = DIV_ROUND_UP(entries * 8, s->cluster_size);
    g_autofree uint64_t *table = NULL;
    int ret;

    b->table_offset = b->table_size = 0;
    if (entries * 8 > MAX_BITMAP_TABLE_BYTES) {
        return -EFBIG;
    }
    if (!entries) {
        return 0;
    }
    table = g_try_malloc0(entries * 8);
    if (!table) {
        return -ENOMEM;
    }
    ret = write_bits(n, from, bytes, table);
    ret = ret < 0 ? ret : qcow2_alloc_clusters(n, &clusters, true, &host);
    if (ret == 0) {
        ret = block_pwrite(n->file, host, table, entries * 8, 0);
        if (ret < 0) {
            qcow2_free_now(n, host, clusters);
        }
    }
    for (uint64_t i = 0; i < entries && ret < 0; i++) {
        if (table[i]) {
            qcow2_free_now(n, GUINT64_FROM_BE(table[i]), 1);
        }
    }
    if (ret == 0) {
        b->table_offset = host;
        b->table_size = entries;
    }
    return ret;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a new refcount table and blocks, for an image whose own cannot be trusted. They go behind
 * the end of the file: without refcounts no cluster in the file is known to be free. The clusters
 * of the old ones are free afterwards.
 */
#include <errno.h>
#include "qcow2.h"

typedef struct {
    BlockNode *n;
    Qcow2State *s;
    const uint32_t *counts;
    uint64_t clusters;     /* entries of counts: clusters of the file */
    uint64_t start, used;  /* the new blocks, then the table: first cluster, clusters */
    uint64_t blocks, size; /* new blocks; clusters of the table */
} Rebuild;

/* References to a cluster, with those to the new blocks and table. */
static uint64_t qcow2_rebuild_references(const Rebuild *r, uint64_t cluster)
{
    return cluster < r->clusters ? r->counts[cluster] : cluster < r->start + r->used;
}

static bool block_needed(const Rebuild *r, uint64_t block)
{
    uint64_t first = block << r->s->refblock_bits, end = first + BIT64(r->s->refblock_bits);

    for (uint64_t i = first; i < end && i < r->start + r->used; i++) {
        if (qcow2_rebuild_references(r, i)) {
            return true;
        }
    }
    return false;
}

/* Entries of the new table. */
static uint64_t table_entries(const Rebuild *r)
{
    return DIV_ROUND_UP(r->start + r->used, BIT64(r->s->refblock_bits));
}

/* The blocks count themselves and the table as well: repeats until they are enough for that. */
static int qcow2_rebuild_plan(Rebuild *r)
{
    Qcow2State *s = r->s;
    uint64_t before;

    for (uint64_t i = 0; i < r->clusters; i++) {
        if (r->counts[i] > qcow2_refcount_max(s)) {
            return -ERANGE;
        }
    }
    r->start = MAX(r->clusters, 1);
    do {
        before = r->used;
        r->size = DIV_ROUND_UP(table_entries(r) * 8, s->cluster_size);
        r->blocks = 0;
        for (uint64_t b = 0; b < table_entries(r); b++) {
            r->blocks += block_needed(r, b);
        }
        r->used = r->blocks + r->size;
        if (r->size * s->cluster_size > MAX_REFTABLE_BYTES ||
            r->start + r->used >= BIT64(56) >> s->cluster_bits) {
            return -EFBIG;
        }
    } while (r->used != before);
    return 0;
}

static int coroutine_fn rebuild_write_block(Rebuild *r, uint64_t block, uint64_t host)
{
    Qcow2State *s = r->s;
    g_autofree uint8_t *buf = g_try_malloc0(s->cluster_size);
    uint64_t first = block << s->refblock_bits;

    if (!buf) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < BIT64(s->refblock_bits); i++) {
        qcow2_refcount_write(buf, s->refcount_order, i, qcow2_rebuild_references(r, first + i));
    }
    return block_pwrite(r->n->file, host, buf, s->cluster_size, 0);
}

/* Writes the blocks, then the table that points to them, then the header that points to it. */
static int coroutine_fn write_all(Rebuild *r, uint64_t *table)
{
    Qcow2State *s = r->s;
    uint64_t host = r->start << s->cluster_bits, bytes = r->size * s->cluster_size;
    g_autofree uint8_t *be = g_try_malloc0(bytes);
    uint8_t header[HDR_REFCOUNT_ORDER + 4 - HDR_REFCOUNT_TABLE_OFFSET];
    size_t len = s->version < 3 ? 12 : sizeof header;
    bool kept;
    int ret = be ? 0 : -ENOMEM;

    for (uint64_t b = 0; b < table_entries(r) && ret == 0; b++) {
        if (block_needed(r, b)) {
            ret = rebuild_write_block(r, b, host);
            table[b] = host;
            stbe64(be + b * 8, host);
            host += s->cluster_size;
        }
    }
    ret = ret < 0 ? ret : block_pwrite(r->n->file, host, be, bytes, 0);
    ret = ret < 0 ? ret : block_flush(r->n->file);
    ret = ret < 0 ? ret : block_pread(r->n->file, HDR_REFCOUNT_TABLE_OFFSET, header, len);
    if (ret < 0) {
        return ret;
    }
    stbe64(header, host);
    stbe32(header + 8, r->size);
    if (s->version >= 3) {
        /* In one write with the table's place: the blocks may have another width than before. */
        stbe32(&header[HDR_REFCOUNT_ORDER - HDR_REFCOUNT_TABLE_OFFSET], s->refcount_order);
    }
    return qcow2_switch_header(r->n, HDR_REFCOUNT_TABLE_OFFSET, header, len, &kept);
}

int coroutine_fn qcow2_rebuild_refcounts(BlockNode *n, const uint32_t *counts, uint64_t clusters,
                                         uint64_t *end)
{
    Qcow2State *s = block_node_state(n);
    Rebuild r = {.n = n, .s = s, .counts = counts, .clusters = clusters};
    uint64_t *table;
    int ret = qcow2_rebuild_plan(&r);

    if (ret < 0) {
        return ret;
    }
    table = sparse_try_new(r.size * s->cluster_size);
    ret = table ? write_all(&r, table) : -ENOMEM;
    if (ret < 0) {
        sparse_free(table, r.size * s->cluster_size);
        return ret;
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        qcow2_cache_forget(&s->ref_cache, s->reftable[i] & REFTABLE_OFFSET_MASK, s->cluster_size);
    }
    qcow2_set_reftable(s, table, r.size * (s->cluster_size / 8));
    s->reftable_offset = (r.start + r.blocks) << s->cluster_bits;
    s->reftable_lost = false;
    s->free_hint = 1;
    qcow2_note_tables(s);
    *end = (r.start + r.used) << s->cluster_bits;
    return 0;
}

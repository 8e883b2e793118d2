/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trees: an L1 table, its L2 tables, and the clusters that these name. Where a tree gets another
 * user, or loses one, each reference in it counts, and the COPIED flags follow from the refcounts.
 */
#include <errno.h>
#include "qcow2.h"

bool qcow2_recount_begin(Qcow2Recount *r, BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);
    int64_t length = block_length(n->file);

    *r = (Qcow2Recount){.n = n};
    if (length < 0) {
        return error_set_errno(err, -length, "Could not get image size");
    }
    r->clusters = DIV_ROUND_UP(length, s->cluster_size);
    r->change = g_try_new0(int32_t, MAX(r->clusters, 1));
    return r->change || error_set_errno(err, ENOMEM, "Could not count the image's clusters");
}

void qcow2_recount_end(Qcow2Recount *r)
{
    g_clear_pointer(&r->change, g_free);
}

/* False: the clusters are not in the file, or are named too often. */
static bool recount_add(Qcow2Recount *r, uint64_t host, uint64_t bytes, int by)
{
    Qcow2State *s = block_node_state(r->n);
    uint64_t first = host >> s->cluster_bits, last = (host + bytes - 1) >> s->cluster_bits;

    if (host > INT64_MAX - bytes || last >= r->clusters) {
        return false;
    }
    for (uint64_t c = first; c <= last; c++) {
        if (by > 0 ? r->change[c] == INT32_MAX : r->change[c] == -INT32_MAX) {
            return false;
        }
        r->change[c] += by;
    }
    return true;
}

static bool recount_entry(Qcow2Recount *r, uint64_t entry, int by)
{
    Qcow2State *s = block_node_state(r->n);
    uint64_t host = entry & ENTRY_OFFSET_MASK, bytes = s->cluster_size;

    if (entry & L2_COMPRESSED) {
        qcow2_compressed_range(s, entry, &host, &bytes);
        return recount_add(r, host, bytes, by);
    }
    r->copied |= by > 0 && (entry & ENTRY_COPIED);
    return !host || (IS_ALIGNED(host, s->cluster_size) && recount_add(r, host, bytes, by));
}

static bool recount_damaged(GError **err, const char *whose, const char *what, uint64_t entry)
{
    return error_set(err,
                     "The tables of %s are damaged (%s entry %#" PRIx64 "); check the image first",
                     whose, what, entry);
}

bool qcow2_recount_free(Qcow2Recount *r, uint64_t host, uint64_t bytes, const char *what,
                        GError **err)
{
    return !bytes || recount_add(r, host, bytes, -1) ||
           error_set(err, "The %s is not in the image; check the image first", what);
}

static bool coroutine_fn recount_table(Qcow2Recount *r, uint64_t table, uint8_t *buf, int by,
                                       const char *whose, GError **err)
{
    Qcow2State *s = block_node_state(r->n);
    int ret = block_pread(r->n->file, table, buf, s->cluster_size);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the L2 table at %#" PRIx64, table);
    }
    for (uint64_t i = 0; i < BIT64(s->l2_bits); i++) {
        uint64_t entry = ldbe64(buf + i * s->l2_entry_size);

        if (!recount_entry(r, entry, by)) {
            return recount_damaged(err, whose, "L2", entry);
        }
    }
    return true;
}

bool coroutine_fn qcow2_recount_tree(Qcow2Recount *r, const uint64_t *l1, uint64_t entries, int by,
                                     const char *whose, GError **err)
{
    Qcow2State *s = block_node_state(r->n);
    /* No L1 table names an L2 table twice: the walk ends, whatever is in the file. */
    g_autoptr(GHashTable) seen = g_hash_table_new_full(hash_u64, g_int64_equal, g_free, NULL);
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size);

    if (!buf) {
        return error_set_errno(err, ENOMEM, "Could not count the image's clusters");
    }
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t table = l1[i] & ENTRY_OFFSET_MASK;

        if (!table) {
            continue;
        }
        if (!IS_ALIGNED(table, s->cluster_size) ||
            !g_hash_table_add(seen, g_memdup2(&table, sizeof table)) ||
            !recount_add(r, table, s->cluster_size, by)) {
            return recount_damaged(err, whose, "L1", l1[i]);
        }
        if (!recount_table(r, table, buf, by, whose, err)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_recount_check(Qcow2Recount *r, GError **err)
{
    Qcow2State *s = block_node_state(r->n);
    uint64_t max = qcow2_refcount_max(s);

    for (uint64_t c = 0; c < r->clusters; c++) {
        int64_t change = r->change[c];
        uint64_t refcount;
        int ret = change ? qcow2_get_refcount(r->n, c, &refcount) : 0;

        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read the refcount of cluster %" PRIu64, c);
        }
        if (!change) {
            continue;
        }
        if (refcount < (change > 0 ? 1 : (uint64_t)-change)) {
            return error_set(err,
                             "Cluster %" PRIu64 " is used more often than its refcount, %" PRIu64
                             ", says; check the image first",
                             c, refcount);
        }
        if (change > 0 && (uint64_t)change > max - refcount) {
            return error_set(err,
                             "Cluster %" PRIu64 " would get the refcount %" PRIu64
                             ", and the image's refcounts have %u bit%s: delete snapshots, or "
                             "convert the image to one with more refcount_bits",
                             c, refcount + change, 1u << s->refcount_order,
                             s->refcount_order ? "s" : "");
        }
    }
    return true;
}

int coroutine_fn qcow2_recount_raise(Qcow2Recount *r)
{
    for (; r->raised < r->clusters; r->raised++) {
        int32_t change = r->change[r->raised];
        int ret = change > 0 ? qcow2_adjust_refcount(r->n, r->raised, change, false) : 0;

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn qcow2_recount_undo(Qcow2Recount *r)
{
    int result = 0;

    while (r->raised) {
        int32_t change = r->change[--r->raised];
        int ret = change > 0 ? qcow2_adjust_refcount(r->n, r->raised, change, true) : 0;

        result = result < 0 ? result : ret;
    }
    return result;
}

/* Lowers one refcount. 1: the cluster is free now. */
static int coroutine_fn recount_lower_one(Qcow2Recount *r, uint64_t cluster, uint64_t by)
{
    Qcow2State *s = block_node_state(r->n);
    uint64_t host = cluster << s->cluster_bits, refcount;
    int ret = qcow2_get_refcount(r->n, cluster, &refcount);
    const char *what;

    if (ret < 0) {
        return ret;
    }
    what = refcount == by ? qcow2_overlaps_metadata(s, host, s->cluster_size) : NULL;
    if (what) {
        return qcow2_corruption(r->n, "Preventing the %s at %#" PRIx64 " from being freed", what,
                                host);
    }
    ret = qcow2_adjust_refcount(r->n, cluster, by, true);
    return ret < 0 ? ret : refcount == by;
}

static void coroutine_fn recount_discard(BlockNode *n, uint64_t first, uint64_t end)
{
    Qcow2State *s = block_node_state(n);

    if (end > first && qcow2_passes_discard(n, QCOW2_DISCARD_SNAPSHOT)) {
        block_pdiscard(n->file, first << s->cluster_bits, (end - first) << s->cluster_bits);
    }
}

int coroutine_fn qcow2_recount_lower(Qcow2Recount *r)
{
    uint64_t freed = 0; /* start of the run of clusters that are free now, and end at c */
    int result = 0;

    for (uint64_t c = 0; c < r->clusters; c++) {
        int ret = r->change[c] < 0 ? recount_lower_one(r, c, -(int64_t)r->change[c]) : 0;

        result = ret < 0 && result == 0 ? ret : result;
        if (ret != 1) {
            recount_discard(r->n, freed, c);
            freed = c + 1;
        }
    }
    recount_discard(r->n, freed, r->clusters);
    return result;
}

/* Writes an L2 table of which flags have changed, in the place of the old one. */
static int coroutine_fn flags_write(BlockNode *n, uint64_t table, const uint8_t *buf)
{
    Qcow2State *s = block_node_state(n);
    const char *what = qcow2_overlaps_tables(s, table, s->cluster_size);

    if (what) {
        return qcow2_corruption(n, "a table at %#" PRIx64 " would overwrite the %s", table, what);
    }
    qcow2_cache_forget(&s->l2_cache, table, s->cluster_size);
    return block_pwrite(n->file, table, buf, s->cluster_size, 0);
}

/* The flags of one L2 table: by the refcounts, or (clear) none. */
static int coroutine_fn flags_of_table(BlockNode *n, uint64_t table, uint8_t *buf, bool clear)
{
    Qcow2State *s = block_node_state(n);
    bool changed = false;
    int ret = block_pread(n->file, table, buf, s->cluster_size);

    for (uint64_t i = 0; i < BIT64(s->l2_bits) && ret == 0; i++) {
        uint8_t *at = buf + i * s->l2_entry_size;
        uint64_t entry = ldbe64(at), host = entry & ENTRY_OFFSET_MASK, refcount = 0;
        uint64_t want;

        if ((entry & L2_COMPRESSED) || !host || !IS_ALIGNED(host, s->cluster_size)) {
            continue;
        }
        ret = clear ? 0 : qcow2_get_refcount(n, host >> s->cluster_bits, &refcount);
        want = (entry & ~ENTRY_COPIED) | (refcount == 1 ? ENTRY_COPIED : 0);
        if (ret == 0 && want != entry) {
            stbe64(at, want);
            changed = true;
        }
    }
    return ret < 0 || !changed ? ret : flags_write(n, table, buf);
}

int coroutine_fn qcow2_set_copied_flags(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size);
    int ret = buf ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < s->l1_size && ret == 0; i++) {
        uint64_t table = s->l1[i] & ENTRY_OFFSET_MASK, refcount, want;

        if (!table || !IS_ALIGNED(table, s->cluster_size)) {
            continue;
        }
        ret = qcow2_get_refcount(n, table >> s->cluster_bits, &refcount);
        want = table | (refcount == 1 ? ENTRY_COPIED : 0);
        if (ret == 0 && s->l1[i] != want) {
            qcow2_l1_set(s, i, want);
        }
        /* What a shared L2 table names is shared as well, and has no flags. */
        if (ret == 0 && !qcow2_overlaps_snapshot_l2(s, table, s->cluster_size)) {
            ret = flags_of_table(n, table, buf, false);
        }
    }
    return ret;
}

int coroutine_fn qcow2_clear_copied_flags(BlockNode *n, const uint64_t *l1, uint64_t entries)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size);
    int ret = buf ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < entries && ret == 0; i++) {
        if (l1[i] & ENTRY_OFFSET_MASK) {
            ret = flags_of_table(n, l1[i] & ENTRY_OFFSET_MASK, buf, true);
        }
    }
    return ret;
}

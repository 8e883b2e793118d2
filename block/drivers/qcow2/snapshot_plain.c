/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots without zero flags, which version 2 has not. Each snapshot of which the tables have
 * such flags gets new ones; what several snapshots share stays shared. All of them change at once,
 * by the snapshot table, as in snapshot_change.c.
 */
#include <errno.h>
#include "snapshot_change.h"

/* An L2 table with zero flags, and its copy without. */
typedef struct {
    uint64_t table, copy; /* offsets; the same: there are no flags */
    uint32_t index;       /* of the L1 entry: encrypted zeroes belong to a place on the disk */
} PlainTable;

typedef struct {
    Qcow2SnapshotChange c;
    GHashTable *tables;  /* of PlainTable, by 'table' */
    GArray *counted;     /* of uint64_t: those of c.made that trees name; each has refcount 1 */
    GByteArray *entries; /* the snapshot table; what has changed names its new L1 table */
    uint64_t *zeroes;    /* a cluster of them, and two for L2 tables */
    bool changed;
} Plain;

static int coroutine_fn plain_alloc(Plain *p, uint64_t *host)
{
    uint64_t one = 1;
    int ret = qcow2_alloc_clusters(p->c.n, &one, true, host);

    if (ret == 0) {
        g_array_append_val(p->c.made, *host);
        g_array_append_val(p->counted, *host);
    }
    return ret;
}

/* The entry of a cluster that had the flag. With nothing below none is needed. */
static int coroutine_fn plain_entry(Plain *p, uint64_t guest, uint64_t *entry)
{
    BlockNode *n = p->c.n;
    struct iovec iov = {p->zeroes, p->c.s->cluster_size};
    int ret;

    *entry = 0;
    if (!block_node_may_show_backing(n)) {
        return 0;
    }
    ret = plain_alloc(p, entry);
    if (ret < 0) {
        return ret;
    }
    return p->c.s->crypt_method ? qcow2_write_data(n, *entry, guest, iov.iov_len, &iov, 1)
                                : block_pwrite_zeroes(n->file, *entry, iov.iov_len, 0);
}

/* Makes t->copy of t->table. */
static int coroutine_fn plain_copy(Plain *p, PlainTable *t)
{
    Qcow2State *s = p->c.s;
    uint64_t entries = BIT64(s->l2_bits),
             guest = (uint64_t)t->index << (s->cluster_bits + s->l2_bits);
    uint64_t *from = p->zeroes + entries, *to = from + entries;
    bool any = false;
    int ret = block_pread(p->c.n->file, t->table, from, s->cluster_size);

    t->copy = t->table;
    for (uint64_t i = 0; i < entries && ret == 0; i++) {
        uint64_t entry = ldbe64(from + i);

        if (!(entry & L2_COMPRESSED) && (entry & L2_ZERO)) {
            any = true;
            ret = plain_entry(p, guest + (i << s->cluster_bits), &entry);
        }
        stbe64(to + i, entry & L2_COMPRESSED ? entry : entry & ~ENTRY_COPIED);
    }
    if (ret < 0 || !any) {
        return ret;
    }
    ret = plain_alloc(p, &t->copy);
    return ret < 0 ? ret : block_pwrite(p->c.n->file, t->copy, to, s->cluster_size, 0);
}

static int coroutine_fn plain_table(Plain *p, uint64_t table, uint32_t index, uint64_t *copy)
{
    PlainTable *t = g_hash_table_lookup(p->tables, &table);
    int ret = 0;

    if (!t || t->index != index) {
        t = g_new0(PlainTable, 1);
        t->table = table;
        t->index = index;
        ret = plain_copy(p, t);
        g_hash_table_replace(p->tables, &t->table, t);
    }
    *copy = t->copy;
    return ret;
}

/* Gives a snapshot an L1 table that names the copies. */
static bool coroutine_fn plain_snapshot(Plain *p, const Qcow2Snapshot *sn, GError **err)
{
    Qcow2SnapshotChange *c = &p->c;
    bool changed = false;
    int ret = 0;

    g_clear_pointer(&c->l1, g_free);
    /* A tree that names a table twice is refused before anything is made of it. */
    if (!qcow2_change_read_l1(c, sn, err) ||
        !qcow2_change_count(c, c->l1, c->l1_size, -1, sn->id, err)) {
        return false;
    }
    for (uint32_t i = 0; i < c->l1_size && ret == 0; i++) {
        uint64_t table = c->l1[i] & ENTRY_OFFSET_MASK, copy;

        if (table) {
            ret = plain_table(p, table, i, &copy);
            changed |= ret == 0 && copy != table;
            c->l1[i] = ret == 0 && copy != table ? copy : c->l1[i];
        }
    }
    if (ret == 0 && changed) {
        ret = qcow2_change_write_l1(c);
        for (uint64_t i = 0; i < c->l1_clusters; i++) {
            uint64_t host = c->l1_host + (i << c->s->cluster_bits);

            g_array_append_val(c->made, host);
        }
        c->l1_clusters = 0;
        stbe64(p->entries->data + sn->at, c->l1_host);
        p->changed = true;
    }
    return ret == 0 ||
           error_set_errno(err, -ret, "Could not expand the zero clusters of snapshot '%s'",
                           sn->id);
}

static bool coroutine_fn plain_snapshots(Plain *p, GError **err)
{
    const GArray *list = p->c.s->snapshots.list;
    int ret;

    p->entries = qcow2_change_read_table(&p->c, err);
    if (!p->entries) {
        return false;
    }
    ret = qcow2_mark_repair(p->c.n);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write the image's metadata");
    }
    for (unsigned i = 0; i < list->len; i++) {
        if (!plain_snapshot(p, &g_array_index(list, Qcow2Snapshot, i), err)) {
            return false;
        }
    }
    return true;
}

/* A snapshot's tree is used once more, or once less. */
static bool coroutine_fn plain_count_tree(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn, int by,
                                          GError **err)
{
    g_clear_pointer(&c->l1, g_free);
    return qcow2_change_read_l1(c, sn, err) &&
           qcow2_change_count(c, c->l1, c->l1_size, by, sn->id, err);
}

/* What the new trees mean for each refcount; the file has its new length. */
static bool coroutine_fn plain_count(Plain *p, GError **err)
{
    Qcow2SnapshotChange *c = &p->c;
    const GArray *list = c->s->snapshots.list;
    bool ok;

    qcow2_recount_end(&c->recount);
    ok = qcow2_recount_begin(&c->recount, c->n, err);
    for (unsigned i = 0; i < list->len && ok; i++) {
        const Qcow2Snapshot *old = &g_array_index(list, Qcow2Snapshot, i);
        const Qcow2Snapshot *new = &g_array_index(c->next.list, Qcow2Snapshot, i);

        if (old->l1_offset != new->l1_offset) {
            ok = plain_count_tree(c, old, -1, err) && plain_count_tree(c, new, 1, err) &&
                 qcow2_recount_free(&c->recount, old->l1_offset, old->l1_size * 8ull, "L1 table",
                                    err);
        }
    }
    for (unsigned i = 0; i < p->counted->len && ok; i++) {
        ok = qcow2_recount_free(&c->recount, g_array_index(p->counted, uint64_t, i),
                                c->s->cluster_size, "new table", err);
    }
    return ok && qcow2_change_free_table(c, err) && qcow2_recount_check(&c->recount, err);
}

static bool coroutine_fn plain_raise(Plain *p, GError **err)
{
    int ret = qcow2_recount_raise(&p->c.recount);

    return ret == 0 || error_set_errno(err, -ret, "Could not write the image's metadata");
}

static bool coroutine_fn plain_locked(Plain *p, GError **err)
{
    Qcow2SnapshotChange *c = &p->c;
    int ret;

    if (!plain_snapshots(p, err)) {
        qcow2_change_undo(c, 0, 0);
        return false;
    }
    if (!p->changed) {
        return true;
    }
    qcow2_change_parse_table(c, p->entries, c->s->snapshots.count);
    if (!plain_count(p, err) || !qcow2_read_snapshot_l2(c->n, &c->next, err) ||
        !plain_raise(p, err)) {
        qcow2_change_undo(c, 0, 0);
        return false;
    }
    if (!qcow2_change_switch_table(c, p->entries, err)) {
        return false;
    }
    qcow2_change_take_table(c);
    ret = qcow2_recount_lower(&c->recount);
    ret = ret < 0 ? ret : qcow2_set_copied_flags(c->n);
    qcow2_change_unfinished(c, ret);
    return true;
}

bool coroutine_fn qcow2_snapshots_expand_zeroes(BlockNode *n, GError **err)
{
    Plain p = {0};
    bool ok;

    if (!((Qcow2State *)block_node_state(n))->snapshots.count) {
        return true;
    }
    if (!qcow2_change_begin(&p.c, n, err)) {
        return false;
    }
    p.c.made = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    p.counted = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    p.tables = g_hash_table_new_full(hash_u64, g_int64_equal, NULL, g_free);
    p.zeroes = g_try_malloc0(3 * p.c.s->cluster_size);
    ok = p.zeroes ? plain_locked(&p, err)
                  : error_set_errno(err, ENOMEM, "Could not expand the snapshots' zero clusters");
    g_free(p.zeroes);
    g_hash_table_unref(p.tables);
    g_array_unref(p.counted);
    g_clear_pointer(&p.entries, g_byte_array_unref);
    qcow2_change_end(&p.c);
    return ok;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'Snapshots': the snapshot table in memory, and where the snapshots' L1 and L2 tables are. What
 * makes and removes snapshots is in snapshot_change.c.
 */
#include <errno.h>
#include "qcow2.h"

static void snapshot_clear(void *data)
{
    Qcow2Snapshot *sn = data;

    g_free(sn->id);
    g_free(sn->name);
}

void qcow2_snapshots_init(Qcow2Snapshots *t)
{
    *t = (Qcow2Snapshots){.list = g_array_new(FALSE, FALSE, sizeof(Qcow2Snapshot)),
                          .info = json_array(),
                          .l1 = g_array_new(FALSE, FALSE, sizeof(Qcow2Range)),
                          .l2 = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    g_array_set_clear_func(t->list, snapshot_clear);
}

void qcow2_snapshots_clear(Qcow2Snapshots *t)
{
    g_array_unref(t->list);
    json_decref(t->info);
    g_array_unref(t->l1);
    g_array_unref(t->l2);
    *t = (Qcow2Snapshots){0};
}

int qcow2_find_snapshot(const Qcow2State *s, const char *id, const char *name)
{
    for (unsigned i = 0; i < s->snapshots.list->len; i++) {
        const Qcow2Snapshot *sn = &g_array_index(s->snapshots.list, Qcow2Snapshot, i);

        if ((!id || g_str_equal(sn->id, id)) && (!name || g_str_equal(sn->name, name))) {
            return i;
        }
    }
    return -1;
}

/* An entry has 40 fixed bytes, extra data, the id and the name. */
static uint64_t entry_bytes(const uint8_t *h)
{
    return 40 + (uint64_t)ldbe32(h + 36) + ldbe16(h + 12) + ldbe16(h + 14);
}

/* An entry as QMP shows it. */
static json_t *snapshot_info(const uint8_t *h, const Qcow2Snapshot *sn)
{
    uint32_t extra = ldbe32(h + 36);
    uint64_t clock = ldbe64(h + 24), state_size = ldbe32(h + 32);
    g_autofree char *id = g_utf8_make_valid(sn->id, -1), *name = g_utf8_make_valid(sn->name, -1);
    json_t *info;

    if (extra >= 8 && ldbe64(h + 40)) {
        state_size = ldbe64(h + 40);
    }
    info = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "id", json_string_nocheck(id), "name",
                     json_string_nocheck(name), "vm-state-size", (json_int_t)state_size, "date-sec",
                     (json_int_t)ldbe32(h + 16), "date-nsec", (json_int_t)ldbe32(h + 20),
                     "vm-clock-sec", (json_int_t)(clock / 1000000000), "vm-clock-nsec",
                     (json_int_t)(clock % 1000000000));
    if (extra >= 24 && ldbe64(h + 56) != UINT64_MAX) {
        json_object_set_new(info, "icount", json_integer(ldbe64(h + 56)));
    }
    return info;
}

/* Notes where the snapshot's L1 table is: qcow2_overlaps_snapshot_l1(). */
static void note_snapshot_l1(const Qcow2State *s, Qcow2Snapshots *t, const Qcow2Snapshot *sn)
{
    Qcow2Range r = {.from = sn->l1_offset};
    uint64_t bytes = sn->l1_size * 8ull;

    if (bytes && r.from <= INT64_MAX - bytes) {
        r.to = r.from + bytes;
        r.from = ROUND_DOWN(r.from, s->cluster_size);
        g_array_append_val(t->l1, r);
    }
}

static int by_start(const void *a, const void *b)
{
    const Qcow2Range *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* Sorts the ranges and merges those that touch, for the binary search. */
static void sort_snapshot_l1(Qcow2Snapshots *t)
{
    Qcow2Range *r = (Qcow2Range *)t->l1->data;
    unsigned kept = 0;

    g_array_sort(t->l1, by_start);
    for (unsigned i = 0; i < t->l1->len; i++) {
        if (kept && r[i].from <= r[kept - 1].to) { /* one piece, for readers too */
            r[kept - 1].to = MAX(r[kept - 1].to, r[i].to);
        } else {
            r[kept++] = r[i];
        }
    }
    g_array_set_size(t->l1, kept);
}

bool qcow2_overlaps_snapshot_l1(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    const Qcow2Range *r = (const Qcow2Range *)s->snapshots.l1->data;
    unsigned low = 0, high = s->snapshots.l1->len;
    uint64_t from = ROUND_DOWN(host, s->cluster_size); /* clusters are freed whole */

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (r[mid].to <= from) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < s->snapshots.l1->len && r[low].from < host + bytes;
}

static int by_cluster(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Sorts the clusters, and keeps one of each. */
static void sort_snapshot_l2(GArray *clusters)
{
    uint64_t *c = (uint64_t *)clusters->data;
    unsigned kept = 0;

    g_array_sort(clusters, by_cluster);
    for (unsigned i = 0; i < clusters->len; i++) {
        if (!kept || c[i] != c[kept - 1]) {
            c[kept++] = c[i];
        }
    }
    g_array_set_size(clusters, kept);
}

bool qcow2_overlaps_snapshot_l2(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    const uint64_t *c = (const uint64_t *)s->snapshots.l2->data;
    uint64_t first = host >> s->cluster_bits, last = (host + bytes - 1) >> s->cluster_bits;
    unsigned low = 0, high = s->snapshots.l2->len;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (c[mid] < first) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < s->snapshots.l2->len && c[low] <= last;
}

/*
 * Adds the L2 tables that a piece of an L1 table names. Of an unaligned table both clusters count.
 * One behind the end of the file was never written: there is nothing to guard.
 */
static bool add_snapshot_l2(const Qcow2State *s, Qcow2Snapshots *t, const uint8_t *l1,
                            uint64_t entries, uint64_t length, GError **err)
{
    enum { PIECE = 1 << 16 };

    for (uint64_t i = 0; i < entries; i++) {
        uint64_t table = ldbe64(l1 + 8 * i) & ENTRY_OFFSET_MASK;
        uint64_t cluster = table >> s->cluster_bits;

        if (!table || table >= length) {
            continue;
        }
        g_array_append_val(t->l2, cluster);
        if (!IS_ALIGNED(table, s->cluster_size)) {
            cluster++;
            g_array_append_val(t->l2, cluster);
        }
        if (t->l2->len > t->l2_sorted * 2 + PIECE) {
            sort_snapshot_l2(t->l2);
            t->l2_sorted = t->l2->len;
            if (t->l2->len > MAX_SNAPSHOT_L2_TABLES) {
                return error_set(err, "Snapshots have more than %u L2 tables",
                                 MAX_SNAPSHOT_L2_TABLES);
            }
        }
    }
    return true;
}

bool coroutine_fn qcow2_read_snapshot_l2(BlockNode *n, Qcow2Snapshots *t, GError **err)
{
    enum { PIECE = 1 << 18 };
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = t->l1->len ? g_malloc(PIECE) : NULL;
    uint64_t length = MAX(block_length(n->file), 0), sum = 0;

    for (unsigned i = 0; i < t->l1->len; i++) {
        const Qcow2Range *r = &g_array_index(t->l1, Qcow2Range, i);
        uint64_t to = MIN(r->to, length);

        for (uint64_t at = r->from; at < to;) {
            uint64_t bytes = MIN(to - at, PIECE);
            int ret = block_pread(n->file, at, buf, bytes);

            if (ret < 0) {
                return error_set_errno(err, -ret, "Could not read a snapshot's L1 table");
            }
            sum += bytes;
            if (sum > MAX_SNAPSHOT_L1_BYTES) {
                return error_set(err, "Snapshots have L1 tables of more than %llu bytes",
                                 MAX_SNAPSHOT_L1_BYTES);
            }
            if (!add_snapshot_l2(s, t, buf, bytes / 8, length, err)) {
                return false;
            }
            at += bytes;
        }
    }
    sort_snapshot_l2(t->l2);
    return true;
}

void qcow2_snapshots_add_l1(const Qcow2State *s, Qcow2Snapshots *t, const uint64_t *l1,
                            uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t cluster = (l1[i] & ENTRY_OFFSET_MASK) >> s->cluster_bits;

        if (cluster) {
            g_array_append_val(t->l2, cluster);
        }
    }
    sort_snapshot_l2(t->l2);
}

void qcow2_parse_snapshots(const Qcow2State *s, Qcow2Snapshots *t, const uint8_t *table)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        const uint8_t *h = table + at;
        uint32_t extra = ldbe32(h + 36), id_len = ldbe16(h + 12), name_len = ldbe16(h + 14);
        Qcow2Snapshot sn = {
            .at = at,
            .bytes = entry_bytes(h),
            .l1_offset = ldbe64(h),
            .l1_size = ldbe32(h + 8),
            .disk_size = extra >= 16 ? ldbe64(h + 48) : UINT64_MAX,
            .id = g_strndup((const char *)h + 40 + extra, id_len),
            .name = g_strndup((const char *)h + 40 + extra + id_len, name_len),
        };

        g_array_append_val(t->list, sn);
        json_array_append_new(t->info, snapshot_info(h, &sn));
        note_snapshot_l1(s, t, &sn);
        at += ROUND_UP(sn.bytes, 8);
    }
    t->bytes = at;
    sort_snapshot_l1(t);
}

/* Walks the table: its length follows from its entries. */
static bool coroutine_fn measure_snapshots(Qcow2Opening *o, uint64_t *total, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t at = s->snapshots.offset;

    if (s->snapshots.count > MAX_SNAPSHOTS) {
        return error_set(err, "Too many snapshots");
    }
    if (!qcow2_table_ok(s, s->snapshots.offset, s->snapshots.count ? 1 : 0)) {
        return error_set(err, "Snapshot table offset invalid");
    }
    for (uint32_t i = 0; i < s->snapshots.count; i++) {
        uint8_t h[40];
        uint64_t bytes;
        int ret = block_pread(o->node->file, at, h, sizeof h);

        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to read snapshot table");
        }
        bytes = entry_bytes(h);
        if (at + bytes - s->snapshots.offset > MAX_SNAPSHOT_BYTES || at + bytes > o->file_length) {
            return error_set(err, "Snapshot table is too large or truncated (entry %u)", i);
        }
        at += ROUND_UP(bytes, 8);
    }
    *total = at - s->snapshots.offset;
    return true;
}

static bool coroutine_fn load_snapshots(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    g_autofree uint8_t *table = NULL;
    uint64_t bytes = 0;
    int ret;

    if (!measure_snapshots(o, &bytes, err)) {
        return false;
    }
    table = g_try_malloc(MAX(bytes, 1));
    ret = table ? block_pread(o->node->file, s->snapshots.offset, table, bytes) : -ENOMEM;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    qcow2_parse_snapshots(s, &s->snapshots, table);
    return true;
}

bool coroutine_fn qcow2_read_snapshots(Qcow2Opening *o, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (load_snapshots(o, &why)) {
        return true;
    }
    if (o->node->checking) {
        o->s->snapshots_lost = g_strdup(why->message);
        o->s->snapshots.count = 0;
        return true;
    }
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'Snapshots': reads the snapshot table, and where the snapshots' L1 and L2 tables are. Snapshots
 * are listed and preserved, not made or loaded.
 */
#include <errno.h>
#include "qcow2.h"

static char *text_of(const uint8_t *bytes, size_t len)
{
    g_autofree char *raw = g_strndup((const char *)bytes, len);

    return g_utf8_make_valid(raw, -1);
}

/* Adds an entry (40 fixed bytes at h) to s->snapshot_list. */
static int coroutine_fn note_snapshot(Qcow2Opening *o, uint64_t at, const uint8_t *h)
{
    uint32_t extra = ldbe32(h + 36), id_len = ldbe16(h + 12), name_len = ldbe16(h + 14);
    uint64_t clock = ldbe64(h + 24), state_size = ldbe32(h + 32);
    g_autofree uint8_t *rest = g_malloc0(24 + id_len + name_len);
    g_autofree char *id = NULL, *name = NULL;
    json_t *entry;
    int ret = block_pread(o->node->file, at + 40, rest, MIN(extra, 24));

    ret = ret < 0 ? ret : block_pread(o->node->file, at + 40 + extra, rest + 24, id_len + name_len);
    if (ret < 0) {
        return ret;
    }
    id = text_of(rest + 24, id_len);
    name = text_of(rest + 24 + id_len, name_len);
    if (extra >= 8 && ldbe64(rest)) {
        state_size = ldbe64(rest);
    }
    entry = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "id", json_string_nocheck(id), "name",
                      json_string_nocheck(name), "vm-state-size", (json_int_t)state_size,
                      "date-sec", (json_int_t)ldbe32(h + 16), "date-nsec",
                      (json_int_t)ldbe32(h + 20), "vm-clock-sec", (json_int_t)(clock / 1000000000),
                      "vm-clock-nsec", (json_int_t)(clock % 1000000000));
    if (extra >= 24 && ldbe64(rest + 16) != UINT64_MAX) {
        json_object_set_new(entry, "icount", json_integer(ldbe64(rest + 16)));
    }
    json_array_append_new(o->s->snapshot_list, entry);
    return 0;
}

/* Notes where the snapshot's L1 table is: qcow2_overlaps_snapshot_l1(). */
static void note_snapshot_l1(Qcow2State *s, const uint8_t *h)
{
    Qcow2Range r = {.from = ldbe64(h)};
    uint64_t bytes = ldbe32(h + 8) * 8ull;

    if (bytes && r.from <= INT64_MAX - bytes) {
        r.to = r.from + bytes;
        r.from = ROUND_DOWN(r.from, s->cluster_size);
        g_array_append_val(s->snapshot_l1, r);
    }
}

static int by_start(const void *a, const void *b)
{
    const Qcow2Range *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* Sorts the ranges and merges those that touch, for the binary search. */
static void sort_snapshot_l1(Qcow2State *s)
{
    Qcow2Range *r = (Qcow2Range *)s->snapshot_l1->data;
    unsigned kept = 0;

    g_array_sort(s->snapshot_l1, by_start);
    for (unsigned i = 0; i < s->snapshot_l1->len; i++) {
        if (kept && r[i].from <= r[kept - 1].to) { /* one piece, for readers too */
            r[kept - 1].to = MAX(r[kept - 1].to, r[i].to);
        } else {
            r[kept++] = r[i];
        }
    }
    g_array_set_size(s->snapshot_l1, kept);
}

bool qcow2_overlaps_snapshot_l1(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    const Qcow2Range *r = (const Qcow2Range *)s->snapshot_l1->data;
    unsigned low = 0, high = s->snapshot_l1->len;
    uint64_t from = ROUND_DOWN(host, s->cluster_size); /* clusters are freed whole */

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (r[mid].to <= from) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < s->snapshot_l1->len && r[low].from < host + bytes;
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
    const uint64_t *c = (const uint64_t *)s->snapshot_l2->data;
    uint64_t first = host >> s->cluster_bits, last = (host + bytes - 1) >> s->cluster_bits;
    unsigned low = 0, high = s->snapshot_l2->len;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (c[mid] < first) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < s->snapshot_l2->len && c[low] <= last;
}

/*
 * Adds the L2 tables that a piece of an L1 table names. Of an unaligned table both clusters count.
 * One behind the end of the file was never written: there is nothing to guard.
 */
static bool add_snapshot_l2(Qcow2State *s, const uint8_t *l1, uint64_t entries, uint64_t length,
                            GError **err)
{
    enum { PIECE = 1 << 16 };

    for (uint64_t i = 0; i < entries; i++) {
        uint64_t table = ldbe64(l1 + 8 * i) & ENTRY_OFFSET_MASK;
        uint64_t cluster = table >> s->cluster_bits;

        if (!table || table >= length) {
            continue;
        }
        g_array_append_val(s->snapshot_l2, cluster);
        if (!IS_ALIGNED(table, s->cluster_size)) {
            cluster++;
            g_array_append_val(s->snapshot_l2, cluster);
        }
        if (s->snapshot_l2->len > s->snapshot_l2_sorted * 2 + PIECE) {
            sort_snapshot_l2(s->snapshot_l2);
            s->snapshot_l2_sorted = s->snapshot_l2->len;
            if (s->snapshot_l2->len > MAX_SNAPSHOT_L2_TABLES) {
                return error_set(err, "Snapshots have more than %u L2 tables",
                                 MAX_SNAPSHOT_L2_TABLES);
            }
        }
    }
    return true;
}

bool coroutine_fn qcow2_read_snapshot_l2(BlockNode *n, GError **err)
{
    enum { PIECE = 1 << 18 };
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *buf = s->snapshot_l1->len ? g_malloc(PIECE) : NULL;
    uint64_t length = MAX(block_length(n->file), 0), sum = 0;

    for (unsigned i = 0; i < s->snapshot_l1->len; i++) {
        const Qcow2Range *r = &g_array_index(s->snapshot_l1, Qcow2Range, i);
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
            if (!add_snapshot_l2(s, buf, bytes / 8, length, err)) {
                return false;
            }
            at += bytes;
        }
    }
    sort_snapshot_l2(s->snapshot_l2);
    return true;
}

/* Walks the table: its length follows from its entries. */
static bool coroutine_fn measure_snapshots(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t at = s->snapshots_offset;

    if (s->nb_snapshots > MAX_SNAPSHOTS) {
        return error_set(err, "Too many snapshots");
    }
    if (!qcow2_table_ok(s, s->snapshots_offset, s->nb_snapshots ? 1 : 0)) {
        return error_set(err, "Snapshot table offset invalid");
    }
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        uint8_t h[40];
        uint64_t bytes;
        int ret = block_pread(o->node->file, at, h, sizeof h);

        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to read snapshot table");
        }
        bytes = 40 + (uint64_t)ldbe32(h + 36) + ldbe16(h + 12) + ldbe16(h + 14);
        if (at + bytes - s->snapshots_offset > MAX_SNAPSHOT_BYTES || at + bytes > o->file_length) {
            return error_set(err, "Snapshot table is too large or truncated (entry %u)", i);
        }
        note_snapshot_l1(s, h);
        ret = note_snapshot(o, at, h);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to read snapshot table");
        }
        at += ROUND_UP(bytes, 8);
    }
    s->snapshots_bytes = at - s->snapshots_offset;
    sort_snapshot_l1(s);
    return true;
}

bool coroutine_fn qcow2_read_snapshots(Qcow2Opening *o, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (measure_snapshots(o, &why)) {
        return true;
    }
    if (o->node->checking) {
        o->s->snapshots_lost = g_strdup(why->message);
        o->s->nb_snapshots = 0;
        return true;
    }
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

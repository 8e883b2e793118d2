/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Snapshots': reads the snapshot table. Snapshots are listed and preserved, not made or loaded. */
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
        r.to = ROUND_UP(r.from + bytes, s->cluster_size); /* clusters are freed whole */
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
        if (kept && r[i].from <= r[kept - 1].to) {
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

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (r[mid].to <= host) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < s->snapshot_l1->len && r[low].from < host + bytes;
}

/* Walks the table: its length follows from its entries. */
static bool coroutine_fn measure_snapshots(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t at = s->snapshots_offset;

    if (s->nb_snapshots > MAX_SNAPSHOTS) {
        return error_set(err, "Too many snapshots");
    }
    if (s->nb_snapshots && !qcow2_table_ok(s, s->snapshots_offset, 1)) {
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info snapshots': the snapshots inside the images of the disks. */
#include "block/backend.h"
#include "block/image.h"
#include "block/snapshot.h"

typedef struct {
    const char *name;
    json_t *list; /* NULL: the format has no snapshots */
} Disk;

static void disk_clear(void *data)
{
    json_decref(((Disk *)data)->list);
}

static void add_disk(BlockNode *image, const char *name, void *data)
{
    Disk d = {name, block_snapshot_list(image)};

    g_array_append_val((GArray *)data, d);
}

static bool query_disk_has(const Disk *d, const char *name)
{
    json_t *snapshot;
    size_t i;

    json_array_foreach(d->list, i, snapshot)
    {
        if (g_str_equal(json_string_value(json_object_get(snapshot, "name")), name)) {
            return true;
        }
    }
    return false;
}

static bool query_all_have(const GArray *disks, const char *name)
{
    for (unsigned i = 0; i < disks->len; i++) {
        if (!query_disk_has(&g_array_index(disks, Disk, i), name)) {
            return false;
        }
    }
    return true;
}

/* The snapshots of a disk that all disks have, under the id "--", or those that not all have. */
static json_t *query_select_snapshots(const GArray *disks, const Disk *d, bool everywhere)
{
    json_t *out = json_array(), *snapshot;
    size_t i;

    json_array_foreach(d->list, i, snapshot)
    {
        const char *name = json_string_value(json_object_get(snapshot, "name"));

        if (query_all_have(disks, name) == everywhere) {
            json_t *copy = json_copy(snapshot);

            if (everywhere) {
                json_object_set_new(copy, "id", json_string("--"));
            }
            json_array_append_new(out, copy);
        }
    }
    return out;
}

static void query_put_partial(GString *out, const GArray *disks, const Disk *d)
{
    json_auto_t *some = query_select_snapshots(disks, d, false);

    if (json_array_size(some)) {
        g_autofree char *table = block_snapshot_list_text(some);

        g_string_append_printf(out, "\nList of partial (non-loadable) snapshots on '%s':\n%s",
                               d->name, table);
    }
}

char *block_snapshots_text(void)
{
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE, sizeof(Disk));
    GString *out = g_string_new("List of snapshots present on all disks:\n");
    const Disk *first = NULL;
    bool any = false;

    g_array_set_clear_func(disks, disk_clear);
    block_snapshot_foreach_disk(add_disk, disks);
    for (unsigned i = disks->len; i-- > 0;) {
        const Disk *d = &g_array_index(disks, Disk, i);

        first = d->list ? d : first;
        any |= json_array_size(d->list) > 0;
    }
    if (!any) {
        g_string_assign(out, first ? "There is no snapshot available.\n"
                                   : "no block device can store vmstate for snapshot\n");
        return g_string_free(out, FALSE);
    }
    json_auto_t *all = query_select_snapshots(disks, first, true);
    g_autofree char *table = json_array_size(all) ? block_snapshot_list_text(all) : NULL;
    g_string_append(out, table ? table : "None\n");
    for (unsigned i = 0; i < disks->len; i++) {
        query_put_partial(out, disks, &g_array_index(disks, Disk, i));
    }
    return g_string_free(out, FALSE);
}

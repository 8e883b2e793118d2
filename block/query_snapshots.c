/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'info snapshots': the snapshots inside the images of the disks that can be written to. Nodes of
 * blockdev-add that lie below no other node are disks, too.
 */
#include "block/backend.h"
#include "block/image.h"
#include "core.h"

typedef struct {
    const BlockNode *node;
    const char *name;
    const json_t *list; /* NULL: the format has no snapshots */
} Disk;

/* Several may use one image, which is one disk. */
static void query_add_image(GArray *disks, BlockNode *n, const char *name)
{
    BlockDriverInfo info = {0};
    Disk d = {.node = n, .name = name && *name ? name : n->opts.node_name};

    if (n->read_only) {
        return;
    }
    for (unsigned i = 0; i < disks->len; i++) {
        if (g_array_index(disks, Disk, i).node == n) {
            return;
        }
    }
    if (n->driver->info && n->driver->info(n, &info)) {
        json_decref(info.format_specific);
        d.list = info.snapshot_list;
    }
    g_array_append_val(disks, d);
}

static void query_add_disk(BlockBackend *blk, void *data)
{
    if (blk->root) {
        query_add_image(data, block_node_image(blk->root), blk->name);
    }
}

static void query_add_node(BlockNode *n, void *data)
{
    if (n->monitor_owned && !block_node_has_node_above(n)) {
        query_add_image(data, block_node_image(n), NULL);
    }
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

    block_backend_foreach(query_add_disk, disks);
    block_node_foreach(query_add_node, disks);
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

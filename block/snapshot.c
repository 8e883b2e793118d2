/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots of a node, and the VM state in it: the driver's work, and what all share. */
#include <errno.h>
#include <string.h>
#include "base/error.h"
#include "base/json.h"
#include "block/backend.h"
#include "block/export.h"
#include "block/job.h"
#include "block/snapshot.h"
#include "core.h"

/* QEMU keeps names in so many bytes, and cuts longer ones. */
enum { SNAPSHOT_NAME_MAX = 255 };

BlockSnapshot block_snapshot_now(const char *name)
{
    gint64 now = g_get_real_time();

    return (BlockSnapshot){.name = name,
                           .date_sec = now / G_USEC_PER_SEC,
                           .date_nsec = now % G_USEC_PER_SEC * 1000,
                           .icount = UINT64_MAX};
}

bool block_snapshot_possible(BlockNode *n, GError **err)
{
    if (!n->driver->snapshot_create) {
        return error_set(err, "Block format '%s' does not support internal snapshots",
                         n->driver->name);
    }
    if (n->read_only || n->inactive) {
        return error_set(err, n->inactive ? "Image is inactive" : "Image is read-only");
    }
    return true;
}

typedef struct {
    void (*fn)(BlockNode *image, const char *name, void *data);
    void *data;
    GHashTable *seen;
} DiskWalk;

static void walk_image(DiskWalk *w, BlockNode *top, const char *name)
{
    BlockNode *n = block_node_image(top);

    if (n && !n->read_only && g_hash_table_add(w->seen, n)) {
        w->fn(n, name && *name ? name : n->opts.node_name, w->data);
    }
}

static void walk_drive(BlockBackend *blk, void *data)
{
    walk_image(data, blk->root, blk->name);
}

static void walk_node(BlockNode *n, void *data)
{
    if (n->monitor_owned && !block_node_has_node_above(n)) {
        walk_image(data, n, NULL);
    }
}

void block_snapshot_foreach_disk(void (*fn)(BlockNode *image, const char *name, void *data),
                                 void *data)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    DiskWalk w = {fn, data, seen};

    block_backend_foreach(walk_drive, &w);
    block_node_foreach(walk_node, &w);
}

json_t *block_snapshot_list(BlockNode *n)
{
    BlockDriverInfo info = {0};
    json_t *list;

    if (!n->driver->info || !n->driver->info(n, &info)) {
        return NULL;
    }
    list = json_incref((json_t *)info.snapshot_list);
    json_decref(info.format_specific);
    return list;
}

json_t *block_snapshot_find(BlockNode *n, const char *id, const char *name)
{
    json_auto_t *list = block_snapshot_list(n);
    json_t *snapshot;
    size_t i;

    json_array_foreach(list, i, snapshot)
    {
        if ((!id || g_str_equal(json_str(snapshot, "id"), id)) &&
            (!name || g_str_equal(json_str(snapshot, "name"), name))) {
            return json_incref(snapshot);
        }
    }
    return NULL;
}

static char *snapshot_describe(BlockEdge *e)
{
    return g_strdup("a change of snapshots");
}

static const BlockParentClass snapshot_class = {.describe = snapshot_describe, .stays = true};

bool coroutine_fn block_snapshot_begin_empty(BlockSnapshotSection *section, GError **err)
{
    if (!block_changes_lock(err)) {
        return false;
    }
    *section = (BlockSnapshotSection){
        .nodes = g_ptr_array_new(), .drains = g_ptr_array_new(), .users = g_ptr_array_new()};
    return true;
}

bool coroutine_fn block_snapshot_add(BlockSnapshotSection *section, BlockNode *n, GError **err)
{
    BlockEdge *user;

    g_ptr_array_add(section->nodes, block_node_ref(n));
    g_ptr_array_add(section->drains, block_drain_begin(n));
    if (!job_node_is_free_for(n, section->own, err)) {
        return false;
    }
    /* The disk's content stays what it is, but the image's file is written to. */
    user = block_edge_attach(
        &snapshot_class, NULL, n, "root",
        (BlockPerms){BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED, BLOCK_PERM_ALL}, NULL,
        err);
    if (user) {
        g_ptr_array_add(section->users, user);
    }
    return user;
}

bool coroutine_fn block_snapshot_begin(BlockSnapshotSection *section, BlockNode *n, GError **err)
{
    bool ok;

    block_node_ref(n);
    ok = block_snapshot_begin_empty(section, err);
    if (ok && !block_snapshot_add(section, n, err)) {
        block_snapshot_end(section);
        ok = false;
    }
    block_node_unref(n);
    return ok;
}

void coroutine_fn block_snapshot_end(BlockSnapshotSection *section)
{
    for (unsigned i = 0; i < section->users->len; i++) {
        block_edge_detach(section->users->pdata[i]);
    }
    for (unsigned i = section->drains->len; i-- > 0;) {
        block_drain_end(section->drains->pdata[i]);
    }
    block_changes_unlock();
    for (unsigned i = 0; i < section->nodes->len; i++) {
        block_node_unref(section->nodes->pdata[i]);
    }
    g_ptr_array_unref(section->users);
    g_ptr_array_unref(section->drains);
    g_ptr_array_unref(section->nodes);
}

typedef struct {
    BlockNode *node;
    const BlockExport *found;
} ExportSearch;

static void find_export(BlockExport *exp, void *data)
{
    ExportSearch *s = data;

    if (block_node_image(exp->node) == s->node) {
        s->found = exp;
    }
}

bool block_snapshot_alone(BlockNode *n, const Job *own, bool apply, GError **err)
{
    ExportSearch s = {.node = n};

    if (!job_node_is_free_for(n, own, err)) {
        return false;
    }
    block_export_foreach(find_export, &s);
    if (s.found) {
        return error_set(err, "Node '%s' is busy: it is exported as '%s'", n->opts.node_name,
                         s.found->id);
    }
    return !apply || !n->core->bitmaps ||
           error_set(err,
                     "Node '%s' has dirty bitmaps, which another state of the disk would belie",
                     n->opts.node_name);
}

uint64_t block_snapshot_clusters(BlockNode *n)
{
    BlockDriverInfo info = {0};
    int64_t length = n->file ? block_length(n->file) : 0;

    if (length <= 0 || !n->driver->info || !n->driver->info(n, &info)) {
        return 0;
    }
    json_decref(info.format_specific);
    return info.cluster_size ? length / info.cluster_size : 0;
}

bool coroutine_fn block_snapshot_create(BlockNode *n, const BlockSnapshot *sn, GError **err)
{
    bool ok;

    if (!block_snapshot_possible(n, err)) {
        return false;
    }
    if (strlen(sn->name) > SNAPSHOT_NAME_MAX) {
        return error_set(err, "A snapshot's name has at most %d bytes", SNAPSHOT_NAME_MAX);
    }
    block_node_bar(n);
    ok = n->driver->snapshot_create(n, sn, err);
    block_node_unbar(n);
    return ok;
}

bool coroutine_fn block_snapshot_apply(BlockNode *n, const char *id_or_name, GError **err)
{
    int64_t before;
    bool ok;

    if (!block_snapshot_possible(n, err)) {
        return false;
    }
    if (n->core->bitmaps) {
        return error_set(err, "Device has active dirty bitmaps");
    }
    block_node_bar(n);
    before = block_length(n);
    ok = n->driver->snapshot_apply(n, id_or_name, err);
    block_node_unbar(n);
    if (block_length(n) != before) {
        block_node_resized(n);
    }
    return ok;
}

bool coroutine_fn block_snapshot_delete(BlockNode *n, const char *id, const char *name,
                                        GError **err)
{
    bool ok;

    if (!block_snapshot_possible(n, err)) {
        return false;
    }
    if (!block_snapshot_unused(n, id, name, err)) {
        return false;
    }
    block_node_bar(n);
    ok = n->driver->snapshot_delete(n, id, name, err);
    block_node_unbar(n);
    return ok;
}

bool coroutine_fn block_snapshot_load(BlockNode *n, const char *id, const char *name, GError **err)
{
    bool ok;

    if (!n->driver->snapshot_load) {
        return error_set(err,
                         "Block format '%s' used by device '' does not support temporarily loading "
                         "internal snapshots",
                         n->driver->name);
    }
    if (!n->read_only) {
        return error_set(err, "Device is not readonly");
    }
    block_node_bar(n);
    ok = n->driver->snapshot_load(n, id, name, err);
    block_node_unbar(n);
    block_node_resized(n);
    return ok;
}

int coroutine_fn block_vmstate_pwritev(BlockNode *n, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    int ret;

    if (!n->driver->vmstate_pwritev) {
        return -ENOTSUP;
    }
    block_node_enter(n);
    ret =
        n->read_only || n->inactive ? -EPERM : n->driver->vmstate_pwritev(n, pos, bytes, iov, niov);
    block_node_leave(n);
    return ret;
}

int coroutine_fn block_vmstate_preadv(BlockNode *n, uint64_t pos, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    int ret;

    if (!n->driver->vmstate_preadv) {
        return -ENOTSUP;
    }
    block_node_enter(n);
    ret = n->inactive ? -EPERM : n->driver->vmstate_preadv(n, pos, bytes, iov, niov);
    block_node_leave(n);
    return ret;
}

int coroutine_fn block_vmstate_preadv_snapshot(BlockNode *n, const char *id, uint64_t pos,
                                               uint64_t bytes, const struct iovec *iov,
                                               unsigned niov)
{
    int ret;

    if (!n->driver->vmstate_preadv_snapshot) {
        return -ENOTSUP;
    }
    block_node_enter(n);
    ret = n->inactive ? -EPERM : n->driver->vmstate_preadv_snapshot(n, id, pos, bytes, iov, niov);
    block_node_leave(n);
    return ret;
}

int coroutine_fn block_vmstate_drop(BlockNode *n)
{
    int ret;

    if (!n->driver->vmstate_drop) {
        return -ENOTSUP;
    }
    block_node_enter(n);
    ret = n->read_only || n->inactive ? -EPERM : n->driver->vmstate_drop(n);
    block_node_leave(n);
    return ret;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of live disks: external ones, which put an overlay above a node, and internal ones. The
 * words of errors are QEMU's.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "block/snapshot.h"
#include "action.h"
#include "core.h"

typedef struct {
    BlockAction base;
    BlockNode *old, *overlay; /* with a reference to each */
    char *made;               /* the path of an image file that was not there before */
    bool changed;
} SnapshotAction;

const Property block_snapshot_sync_args[] = {
    MAYBE("device", PROP_STRING, .help = "a drive"),
    MAYBE("node-name", PROP_STRING, .help = "or a node"),
    MEMBER("snapshot-file", PROP_STRING, .help = "the overlay's image"),
    MAYBE("snapshot-node-name", PROP_STRING, .help = "the overlay's name"),
    MAYBE("format", PROP_STRING, .help = "of the overlay"),
    MAYBE("mode", PROP_ENUM, .names = block_image_mode_names,
          .help = "whether the image is there already"),
    PROP_END};
static const PropertyShape sync_shape = {.name = "BlockdevSnapshotSync",
                                         .members = block_snapshot_sync_args};
const Property block_snapshot_args[] = {
    MEMBER("node", PROP_STRING, .help = "a node, or a drive"),
    MEMBER("overlay", PROP_STRING, .help = "the node that comes above it"), PROP_END};
static const PropertyShape snapshot_shape = {.name = "BlockdevSnapshot",
                                             .members = block_snapshot_args};
const Property block_snapshot_internal_args[] = {
    MEMBER("device", PROP_STRING, .help = "a drive, or a node"),
    MEMBER("name", PROP_STRING, .help = "of the snapshot, which no other has"), PROP_END};
static const PropertyShape internal_shape = {.name = "BlockdevSnapshotInternal",
                                             .members = block_snapshot_internal_args};

/* Who has the node as a backing file relies on its place in that chain. */
static bool snapshot_possible(BlockNode *n, GError **err)
{
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        if (e->role & BLOCK_ROLE_BACKING) {
            return error_set(err, "Node '%s' is busy: node is used as backing hd of '%s'",
                             n->opts.node_name, e->parent_node->opts.node_name);
        }
    }
    return job_node_is_free(n, err);
}

/* The disk as it is goes into the image: it will not be written to any more. */
static bool coroutine_fn snapshot_find_old(SnapshotAction *s, const char *device,
                                           const char *node_name, GError **err)
{
    BlockNode *n = block_action_node(&s->base, device, node_name, err);

    if (!n) {
        return false;
    }
    s->old = block_node_ref(n);
    if (!snapshot_possible(n, err)) {
        return false;
    }
    return block_flush(n) < 0 ? error_set(err, "An IO error has occurred") : true;
}

/* In change(): who uses the overlay may have come during a wait. */
static bool overlay_usable(BlockNode *n, GError **err)
{
    if (n->core->perms.needs & BLOCK_PERM_CONSISTENT_READ) {
        return error_set(err, "The overlay is already in use");
    }
    if (n->backing) {
        return error_set(err, "The overlay already has a backing image");
    }
    if (!block_driver_has_option(n->driver->name, "backing")) {
        return error_set(err, "The overlay does not support backing images");
    }
    return true;
}

static bool overlay_open(SnapshotAction *s, const char *file, const char *format,
                         const char *node_name, GError **err)
{
    json_auto_t *extra = json_object();

    if (block_driver_has_option(format, "backing")) {
        json_object_set_new(extra, "backing", json_null());
    }
    if (node_name) {
        json_object_set_new(extra, "node-name", json_string(node_name));
    }
    json_object_set_new(extra, "read-only", json_boolean(s->old->read_only));
    json_object_set_new(
        extra, "discard",
        json_string(s->old->opts.discard == BLOCK_DISCARD_UNMAP ? "unmap" : "ignore"));
    s->overlay = block_action_open_image(file, format, s->old, extra, err);
    return s->overlay;
}

static bool coroutine_fn sync_prepare(BlockAction *a, GError **err)
{
    SnapshotAction *s = (SnapshotAction *)a;
    const char *device = json_str(a->args, "device"), *node = json_str(a->args, "node-name");
    const char *file = json_str(a->args, "snapshot-file"), *mode = json_str(a->args, "mode");
    const char *format = json_str(a->args, "format");
    const char *name = json_str(a->args, "snapshot-node-name");

    if (!snapshot_find_old(s, device, node, err)) {
        return false;
    }
    if (node && !name) {
        return error_set(err, "New overlay node-name missing");
    }
    if (name && (block_backend_find(name) || block_node_name_taken(name))) {
        return error_set(err, "New overlay node-name already in use");
    }
    format = format ? format : "qcow2";
    if (g_strcmp0(mode, "existing") != 0 &&
        !block_action_create_image(file, format, s->old, s->old, &s->made, err)) {
        return false;
    }
    if (!overlay_open(s, file, format, name, err) || !overlay_usable(s->overlay, err)) {
        return false;
    }
    block_action_puts_above(a, s->old, s->overlay);
    return true;
}

static bool coroutine_fn snapshot_prepare(BlockAction *a, GError **err)
{
    SnapshotAction *s = (SnapshotAction *)a;
    const char *node = json_str(a->args, "node"), *overlay = json_str(a->args, "overlay");
    BlockNode *n;

    if (!snapshot_find_old(s, node, node, err)) {
        return false;
    }
    n = block_action_node(a, overlay, overlay, err);
    if (!n) {
        return false;
    }
    s->overlay = block_node_ref(n);
    if (n == s->old) {
        return error_set(err, "Making '%s' a backing child of '%s' would create a cycle",
                         n->opts.node_name, n->opts.node_name);
    }
    if (!overlay_usable(n, err)) {
        return false;
    }
    block_action_puts_above(a, s->old, n);
    return true;
}

static bool snapshot_change(BlockAction *a, BlockChange *c, GError **err)
{
    SnapshotAction *s = (SnapshotAction *)a;

    if (!snapshot_possible(s->old, err) || !overlay_usable(s->overlay, err)) {
        return false;
    }
    block_change_attach_node(c, s->overlay, s->old, "backing", BLOCK_ROLE_BACKING,
                             &s->overlay->backing);
    block_change_replace(c, s->old, s->overlay);
    return true;
}

static void coroutine_fn snapshot_commit(BlockAction *a)
{
    ((SnapshotAction *)a)->changed = true;
}

static void coroutine_fn snapshot_abort(BlockAction *a)
{
    SnapshotAction *s = (SnapshotAction *)a;

    if (s->made) {
        unlink(s->made);
    }
}

static void coroutine_fn snapshot_clean(BlockAction *a)
{
    SnapshotAction *s = (SnapshotAction *)a;

    /* So that others may read the image. Where another user writes to it, it stays as it is. */
    if (s->changed && !s->old->read_only) {
        block_set_read_only(s->old, true, NULL);
    }
    g_free(s->made);
    block_node_unref(s->overlay);
    block_node_unref(s->old);
}

const BlockActionClass block_action_snapshot_sync = {
    .name = "blockdev-snapshot-sync",
    .args = &sync_shape,
    .size = sizeof(SnapshotAction),
    .prepare = sync_prepare,
    .change = snapshot_change,
    .commit = snapshot_commit,
    .abort = snapshot_abort,
    .clean = snapshot_clean,
};

const BlockActionClass block_action_snapshot = {
    .name = "blockdev-snapshot",
    .args = &snapshot_shape,
    .size = sizeof(SnapshotAction),
    .prepare = snapshot_prepare,
    .change = snapshot_change,
    .commit = snapshot_commit,
    .clean = snapshot_clean,
};

/* Internal snapshots. */

typedef struct {
    BlockAction base;
    BlockNode *node; /* drained until the end, which keeps it */
    BlockEdge *user;
    bool made;
} InternalAction;

static char *internal_describe(BlockEdge *e)
{
    return g_strdup("a change of snapshots");
}

static const BlockParentClass internal_class = {.describe = internal_describe, .stays = true};

static bool coroutine_fn internal_create(BlockNode *n, const char *device, const char *name,
                                         GError **err)
{
    json_auto_t *same = block_snapshot_find(n, NULL, name);
    BlockSnapshot sn = block_snapshot_now(name);

    if (same) {
        return error_set(err, "Snapshot with name '%s' already exists on device '%s'", name,
                         device);
    }
    sn.vm_clock_ns = clock_ns(CLOCK_VIRTUAL_NS);
    if (!block_snapshot_create(n, &sn, err)) {
        block_error_prefix(err, "Failed to create snapshot '%s' on device '%s'", name, device);
        return false;
    }
    return true;
}

static bool coroutine_fn internal_prepare(BlockAction *a, GError **err)
{
    InternalAction *s = (InternalAction *)a;
    const char *device = json_str(a->args, "device"), *name = json_str(a->args, "name");
    BlockNode *n = block_node_image(block_action_node(a, device, device, err));

    if (!n) {
        return false;
    }
    if (!job_node_is_free(n, err)) {
        return false;
    }
    if (!n->driver->snapshot_create) {
        return error_set(
            err, "Block format '%s' used by device '%s' does not support internal snapshots",
            n->driver->name, device);
    }
    if (n->read_only) {
        return error_set(err, "Device '%s' is read only", device);
    }
    if (!*name) {
        return error_set(err, "Name is empty");
    }
    s->node = n;
    /* The disk's content stays what it is, but the image's file is written to. */
    s->user = block_edge_attach(
        &internal_class, NULL, n, "root",
        (BlockPerms){BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED, BLOCK_PERM_ALL}, NULL,
        err);
    s->made = s->user && internal_create(n, device, name, err);
    return s->made;
}

static void coroutine_fn internal_commit(BlockAction *a)
{
    block_edge_detach(((InternalAction *)a)->user);
}

static void coroutine_fn internal_abort(BlockAction *a)
{
    InternalAction *s = (InternalAction *)a;
    const char *name = json_str(a->args, "name");
    g_autoptr(GError) err = NULL;

    if (s->made && !block_snapshot_delete(s->node, NULL, name, &err)) {
        log_error("Failed to delete snapshot '%s' on device '%s' of a transaction that has failed: "
                  "%s",
                  name, json_str(a->args, "device"), err->message);
    }
    block_edge_detach(s->user);
}

const BlockActionClass block_action_snapshot_internal = {
    .name = "blockdev-snapshot-internal-sync",
    .args = &internal_shape,
    .size = sizeof(InternalAction),
    .prepare = internal_prepare,
    .commit = internal_commit,
    .abort = internal_abort,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of a running machine: new sizes, drives that come and go. */
#include "base/error.h"
#include "base/event_loop.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/job.h"
#include "block/snapshot.h"
#include "block/transaction.h"
#include "commands.h"

/* Arguments. */

const Property blockdev_change_args[] = {
    MEMBER("parent", PROP_STRING, .help = "the node, or its device"),
    MAYBE("child", PROP_STRING, .help = "the child to remove"),
    MAYBE("node", PROP_STRING, .help = "the node to add"), PROP_END};
const Property block_resize_args[] = {
    {.name = "device", .type = PROP_STRING, .help = "a drive"},
    {.name = "node-name", .type = PROP_STRING, .help = "or a node"},
    {.name = "size", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED},
    PROP_END};
const Property block_resize_hmp_args[] = {MONITOR_DRIVE("device", "a drive"),
                                          MEMBER("size", PROP_SIZE_MIB, .help = "its new length"),
                                          PROP_END};
const Property snapshot_hmp_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "the image is there already"},
    MONITOR_DRIVE("device", "a drive"),
    {.name = "snapshot-file", .type = PROP_STRING, .help = "the overlay's image"},
    {.name = "format", .type = PROP_STRING, .help = "of the overlay"},
    PROP_END};
const Property backup_hmp_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "the image is there already"},
    {.name = "f", .type = PROP_BOOL, .help = "the whole disk"},
    {.name = "c", .type = PROP_BOOL, .help = "compressed"},
    MONITOR_DRIVE("device", "a drive"),
    MEMBER("target", PROP_STRING, .help = "the image"),
    {.name = "format", .type = PROP_STRING, .help = "of the image"},
    PROP_END};
const Property transaction_args[] = {
    MEMBER_LIST("actions", PROP_TREE, .shape = &block_action_shape, .help = "what is done"),
    MAYBE("properties", PROP_TREE, .shape = &block_transaction_properties_shape,
          .help = "how jobs of it end"),
    PROP_END};
const Property change_backing_file_args[] = {
    MEMBER("device", PROP_STRING, .help = "a drive, or a node"),
    MEMBER("image-node-name", PROP_STRING, .help = "the image of its chain that is written to"),
    MEMBER("backing-file", PROP_STRING, .help = "the name"), PROP_END};
const Property snapshot_delete_internal_args[] = {
    MEMBER("device", PROP_STRING, .help = "a drive, or a node"),
    {.name = "id", .type = PROP_STRING, .help = "of the snapshot"},
    {.name = "name", .type = PROP_STRING, .help = "or its name, or both"},
    PROP_END};
const Property snapshot_internal_hmp_args[] = {
    MONITOR_DRIVE("device", "a drive, or a node"),
    MEMBER("name", PROP_STRING, .help = "of the snapshot"), PROP_END};
const Property snapshot_delete_hmp_args[] = {
    MONITOR_DRIVE("device", "a drive, or a node"),
    MEMBER("name", PROP_STRING, .help = "of the snapshot"),
    {.name = "id", .type = PROP_STRING, .help = "of the snapshot as well"},
    PROP_END};
const Property drive_add_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "a node without a drive"},
    MEMBER("slot", PROP_STRING, .help = "not looked at"),
    MEMBER("opts", PROP_STRING, .help = "as of -drive"),
    PROP_END};
const Property drive_del_args[] = {MONITOR_DRIVE("id", "a drive, or a node"), PROP_END};

static json_t *block_cmd_done(bool ok)
{
    return ok ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_block_resize)
{
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    const char *device = json_str(args, "device"), *name = json_str(args, "node-name");
    BlockNode *n = block_lookup_node(device, name, err);

    if (!n) {
        return NULL;
    }
    if (size < 0) {
        error_set(err, "Parameter 'size' expects a >0 size");
        return NULL;
    }
    if (!job_node_is_free(n, NULL)) {
        error_set(err, "Device '%s' is in use", device ? device : name);
        return NULL;
    }
    return block_cmd_done(block_resize(n, size, err) == 0);
}

/* Only QEMU's quorum has children that come and go, so each node of ours refuses. */
MONITOR_HANDLER(cmd_blockdev_change)
{
    const char *parent = json_str(args, "parent"), *child = json_str(args, "child");
    const char *node = json_str(args, "node");
    BlockNode *n = block_lookup_node(parent, parent, err);

    if (!n) {
        return NULL;
    }
    if (!child == !node) {
        error_set(err, child ? "The parameters child and node are in conflict"
                             : "Either child or node must be specified");
    } else if (child && !block_node_has_child(n, child)) {
        error_set(err, "Node '%s' does not have child '%s'", parent, child);
    } else if (node && !block_node_find(node)) {
        error_set(err, "Node '%s' not found", node);
    } else {
        error_set(err, "The node %s does not support %s a child", parent,
                  child ? "removing" : "adding");
    }
    return NULL;
}

static bool snapshot_supported(BlockNode *n, const char *device, GError **err)
{
    if (!n->driver->snapshot_create) {
        return error_set(
            err, "Block format '%s' used by device '%s' does not support internal snapshots",
            n->driver->name, device);
    }
    return n->read_only ? error_set(err, "Device '%s' is read only", device) : true;
}

MONITOR_HANDLER(cmd_snapshot_internal)
{
    return block_cmd_done(block_action_run("blockdev-snapshot-internal-sync", args, err));
}

MONITOR_HANDLER(cmd_snapshot_sync)
{
    return block_cmd_done(block_action_run("blockdev-snapshot-sync", args, err));
}

MONITOR_HANDLER(cmd_snapshot)
{
    return block_cmd_done(block_action_run("blockdev-snapshot", args, err));
}

MONITOR_HANDLER(cmd_snapshot_hmp)
{
    json_auto_t *all = json_deep_copy(args);
    bool reuse = json_is_true(json_object_get(args, "n"));

    if (!json_object_get(args, "snapshot-file")) {
        error_set(err, "Parameter 'snapshot-file' is missing");
        return NULL;
    }
    json_object_del(all, "n");
    json_object_set_new(all, "mode", json_string(reuse ? "existing" : "absolute-paths"));
    return block_cmd_done(block_action_run("blockdev-snapshot-sync", all, err));
}

MONITOR_HANDLER(cmd_drive_backup)
{
    return block_cmd_done(block_action_run("drive-backup", args, err));
}

MONITOR_HANDLER(cmd_blockdev_backup)
{
    return block_cmd_done(block_action_run("blockdev-backup", args, err));
}

MONITOR_HANDLER(cmd_drive_backup_hmp)
{
    json_auto_t *all = json_deep_copy(args);
    bool reuse = json_is_true(json_object_get(args, "n"));
    bool full = json_is_true(json_object_get(args, "f"));
    bool compress = json_is_true(json_object_get(args, "c"));

    json_object_del(all, "n");
    json_object_del(all, "f");
    json_object_del(all, "c");
    json_object_set_new(all, "mode", json_string(reuse ? "existing" : "absolute-paths"));
    json_object_set_new(all, "sync", json_string(full ? "full" : "top"));
    json_object_set_new(all, "compress", json_boolean(compress));
    return block_cmd_done(block_action_run("drive-backup", all, err));
}

MONITOR_HANDLER(cmd_transaction)
{
    return block_cmd_done(block_transaction(json_object_get(args, "actions"),
                                            json_object_get(args, "properties"), err));
}

MONITOR_HANDLER(cmd_change_backing_file)
{
    return block_cmd_done(block_change_backing_file(json_str(args, "device"),
                                                    json_str(args, "image-node-name"),
                                                    json_str(args, "backing-file"), err));
}

/* In the section. The snapshot as it was; NULL: it was not deleted. */
static json_t *coroutine_fn snapshot_delete_found(BlockNode *n, const char *device, const char *id,
                                                  const char *name, GError **err)
{
    json_auto_t *found = block_snapshot_find(n, id, name);

    if (!found) {
        error_set(err, "Snapshot with id '%s' and name '%s' does not exist on device '%s'",
                  id ? id : "null", name ? name : "null", device);
        return NULL;
    }
    return block_snapshot_delete(n, id, name, err) ? json_deep_copy(found) : NULL;
}

MONITOR_HANDLER(cmd_snapshot_delete_internal)
{
    const char *device = json_str(args, "device");
    const char *id = json_str(args, "id"), *name = json_str(args, "name");
    BlockNode *n = block_node_image(block_lookup_node(device, device, err));
    BlockSnapshotSection section;
    json_t *deleted = NULL;

    if (!n || !snapshot_supported(n, device, err)) {
        return NULL;
    }
    if (!id && !name) {
        error_set(err, "Name or id must be provided");
        return NULL;
    }
    block_node_ref(n);
    if (block_snapshot_let_go(n, id, name, err) && block_snapshot_begin(&section, n, err)) {
        deleted = snapshot_delete_found(n, device, id, name, err);
        block_snapshot_end(&section);
    }
    block_node_unref(n);
    return deleted;
}

/* HMP's first argument, a PCI slot, is without effect: only drives with if=none can be added. */
MONITOR_HANDLER(cmd_drive_add)
{
    json_auto_t *tree = keyval_parse(json_str(args, "opts"), NULL, NULL, false, err);
    json_auto_t *node = json_object();
    const char *interface, *key;
    json_t *value;

    if (!tree) {
        return NULL;
    }
    if (json_is_true(json_object_get(args, "n"))) {
        json_object_foreach(tree, key, value)
        {
            if (!keyval_put(node, key, value, err)) {
                return NULL;
            }
        }
        return keyval_make_lists(node, err) && block_node_add_monitor_owned(node, err)
                   ? json_string("")
                   : NULL;
    }
    interface = json_str(tree, "if");
    if (g_strcmp0(interface, "none")) {
        error_set(err,
                  "Can't hot-add a drive with if=%s: only if=none comes later, for device_add to "
                  "use",
                  interface ? interface : "ide");
        return NULL;
    }
    return block_backend_new_drive(tree, err) ? json_string("OK\n") : NULL;
}

/*
 * Until nobody needs the drive's image but its device. That waits, and then another command may
 * have begun a job, changed the medium, or deleted the drive. False and *err: the drive has to
 * stay.
 */
static bool coroutine_fn drive_let_go(const char *id, GError **err)
{
    BlockBackend *blk;
    BlockNode *n;

    while ((blk = block_backend_find(id)) && (n = block_backend_node(blk))) {
        if (!job_node_is_free(n, err)) {
            return false;
        }
        if (block_node_has_let_go(n)) {
            break;
        }
        if (!block_node_let_go(n, err)) {
            return false;
        }
    }
    return true;
}

MONITOR_HANDLER(cmd_drive_del)
{
    const char *id = json_str(args, "id");
    BlockNode *n = block_node_find(id);
    BlockBackend *blk;

    if (n) {
        return block_cmd_done(job_node_is_free(n, err) && block_node_del_monitor_owned(id, err));
    }
    if (!block_backend_find(id)) {
        error_set(err, "Device '%s' not found", id);
        return NULL;
    }
    if (!drive_let_go(id, err)) {
        return NULL;
    }
    blk = block_backend_find(id); /* NULL: another command has deleted it meanwhile */
    if (blk) {
        block_backend_delete(blk);
    }
    return json_object();
}

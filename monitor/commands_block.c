/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of a running machine: new sizes, drives that come and go. */
#include "base/error.h"
#include "base/event_loop.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/snapshot.h"
#include "commands.h"

static json_t *block_cmd_done(bool ok)
{
    return ok ? json_object() : NULL;
}

/* Finds a node by the id of its drive, else by its own name. */
static BlockNode *find_node(const char *device, const char *node_name, GError **err)
{
    BlockBackend *blk = device ? block_backend_find(device) : NULL;
    BlockNode *n = NULL;

    if (blk) {
        n = block_backend_node(blk);
        if (!n) {
            error_set(err, "Device '%s' has no medium", device);
        }
        return n;
    }
    n = node_name ? block_node_find(node_name) : NULL;
    if (!n) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                  node_name ? node_name : "");
    }
    return n;
}

MONITOR_HANDLER(cmd_block_resize)
{
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    BlockNode *n = find_node(json_str(args, "device"), json_str(args, "node-name"), err);

    if (!n) {
        return NULL;
    }
    if (size < 0) {
        error_set(err, "Parameter 'size' expects a >0 size");
        return NULL;
    }
    return block_cmd_done(block_resize(n, size, err) == 0);
}

MONITOR_HANDLER(cmd_block_resize_hmp)
{
    BlockNode *n;
    uint64_t size;

    if (!parse_size(json_str(args, "size"), MiB, &size)) {
        mon->misread = true;
        error_set(err, "invalid size");
        return NULL;
    }
    n = find_node(json_str(args, "device"), NULL, err);
    return block_cmd_done(n && block_resize(n, size, err) == 0);
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

/* In the section: another monitor may have made a snapshot of this name meanwhile. */
static bool coroutine_fn snapshot_create_new(BlockNode *n, const char *device, const char *name,
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

MONITOR_HANDLER(cmd_snapshot_internal)
{
    const char *device = json_str(args, "device"), *name = json_str(args, "name");
    BlockNode *n = find_node(device, device, err);
    BlockSnapshotSection section;
    bool ok;

    if (!n || !snapshot_supported(n, device, err)) {
        return NULL;
    }
    if (!*name) {
        error_set(err, "Name is empty");
        return NULL;
    }
    if (!block_snapshot_begin(&section, n, err)) {
        return NULL;
    }
    ok = snapshot_create_new(n, device, name, err);
    block_snapshot_end(&section);
    return block_cmd_done(ok);
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
    BlockNode *n = find_node(device, device, err);
    BlockSnapshotSection section;
    json_t *deleted;

    if (!n || !snapshot_supported(n, device, err)) {
        return NULL;
    }
    if (!id && !name) {
        error_set(err, "Name or id must be provided");
        return NULL;
    }
    if (!block_snapshot_begin(&section, n, err)) {
        return NULL;
    }
    deleted = snapshot_delete_found(n, device, id, name, err);
    block_snapshot_end(&section);
    return deleted;
}

/* Nothing here works on a disk in the background. */
MONITOR_HANDLER(cmd_query_jobs)
{
    return json_array();
}

MONITOR_PRINTER(print_block_jobs)
{
    monitor_printf(mon, "No active jobs\n");
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
        return block_node_add_monitor_owned(node, err) ? json_string("") : NULL;
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

MONITOR_HANDLER(cmd_drive_del)
{
    const char *id = json_str(args, "id");
    BlockBackend *blk;

    if (block_node_find(id)) {
        return block_cmd_done(block_node_del_monitor_owned(id, err));
    }
    blk = block_backend_find(id);
    if (!blk) {
        error_set(err, "Device '%s' not found", id);
        return NULL;
    }
    block_backend_delete(blk);
    return json_object();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Actions on disks: external and internal snapshots, and what else QMP's 'transaction' has. Several
 * are done together: all of them at one moment of the guest's, or none.
 *
 * Main loop, in a coroutine. The nodes concerned are drained from the time an action looks at them
 * until all is done or undone, so no disk changes between the first action and the last.
 */
#ifndef BLOCK_TRANSACTION_H
#define BLOCK_TRANSACTION_H

#include "block/node.h"

/* QMP's arguments of 'transaction'. */
extern const PropertyShape block_action_shape, block_transaction_properties_shape;

/* 'properties' may be NULL. The arguments match their shapes. */
bool coroutine_fn block_transaction(json_t *actions, json_t *properties, GError **err);
/* One action, by its name in QMP. */
bool coroutine_fn block_action_run(const char *type, json_t *args, GError **err);
/* The members of that action's arguments. NULL: there is no such action. */
const Property *block_action_args(const char *type);

/* Arguments of actions that are commands as well. */
extern const Property block_snapshot_sync_args[], block_snapshot_args[],
    block_snapshot_internal_args[], block_bitmap_args[], block_bitmap_add_args[],
    block_bitmap_merge_args[], block_drive_backup_args[], block_blockdev_backup_args[];

/*
 * Finds a node by the id of its drive, or by its own name; either may be NULL. A drive without a
 * medium is an error.
 */
BlockNode *block_lookup_node(const char *device, const char *node_name, GError **err);
/* The same by one name that is either; the node is no child of another node. */
BlockNode *block_lookup_root(const char *name, GError **err);
/* 'change-backing-file': the image 'image_node' of the disk's chain gets another name written. */
bool coroutine_fn block_change_backing_file(const char *device, const char *image_node,
                                            const char *name, GError **err);

#endif

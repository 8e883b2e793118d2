/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The actions of transactions (block/transaction.h), for the files that have them. */
#ifndef BLOCK_ACTION_H
#define BLOCK_ACTION_H

#include "block/graph.h"
#include "block/job.h"
#include "block/transaction.h"

typedef struct BlockTransaction BlockTransaction;
typedef struct BlockAction BlockAction;

/*
 * The order, for all actions together: each one's prepare(), in turn; each one's change(); the
 * graph changes as a whole; each one's commit(). Where one fails, abort() of those that were begun,
 * the last first, that which has failed among them. Sections end, and clean() comes either way.
 */
typedef struct {
    const char *name;
    const PropertyShape *args;
    size_t size; /* of the struct that begins with a BlockAction, zeroed */
    bool is_job; /* it starts a job: completion-mode=grouped is for these */
    /* Checks, opens, makes. What it leaves behind, abort() takes away. */
    bool coroutine_fn (*prepare)(BlockAction *a, GError **err);
    /*
     * Adds the action's steps to the change. Does not wait: all checks of the graph that were made
     * before a wait are made here again.
     */
    bool (*change)(BlockAction *a, BlockChange *c, GError **err);
    void coroutine_fn (*commit)(BlockAction *a); /* cannot fail */
    void coroutine_fn (*abort)(BlockAction *a);
    void coroutine_fn (*clean)(BlockAction *a); /* nothing is drained or locked any more */
} BlockActionClass;

struct BlockAction {
    const BlockActionClass *class;
    BlockTransaction *txn;
    json_t *args;
};

/*
 * Finds a node, and drains it until the transaction's end, which keeps the node as well. An overlay
 * that an action before this one puts on the node is found instead.
 */
BlockNode *coroutine_fn block_action_node(BlockAction *a, const char *device, const char *node_name,
                                          GError **err);
/* Drains a node until the transaction's end. */
void coroutine_fn block_action_drain(BlockAction *a, BlockNode *n);
/* For jobs of the action: where they are to end together, else NULL. The transaction's reference.
 */
JobTxn *block_action_jobs(BlockAction *a);
/* Tells the actions that follow: in the place of 'below' will be 'above'. */
void block_action_puts_above(BlockAction *a, BlockNode *below, BlockNode *above);
/* For prepare(), and in the call above: change() will give the node's parents another child. */
void block_action_moves_parents(BlockAction *a, BlockNode *n);

/* action_image.c */
extern const char *const block_image_mode_names[]; /* QAPI's NewImageMode */
bool block_driver_has_option(const char *driver, const char *name);
/*
 * A new image as long as 'like', which names the backing file (NULL: none). *made: the path (the
 * caller frees it) of a file that was not there before.
 */
bool block_action_create_image(const char *file, const char *format, BlockNode *like,
                               BlockNode *backing, char **made, GError **err);
/* Opens an image with the cache mode and the engine of 'like'. 'extra': options of the node. */
BlockNode *block_action_open_image(const char *file, const char *format, BlockNode *like,
                                   json_t *extra, GError **err);

extern const BlockActionClass block_action_snapshot_sync, block_action_snapshot,
    block_action_snapshot_internal, block_action_bitmap_add, block_action_bitmap_remove,
    block_action_bitmap_clear, block_action_bitmap_enable, block_action_bitmap_disable,
    block_action_bitmap_merge, block_action_blockdev_backup, block_action_drive_backup;

#endif

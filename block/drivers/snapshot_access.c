/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Driver snapshot-access: the disk below a copy-before-write filter as it was when the filter came,
 * to read. A discard says that a part is needed no more.
 */
#include <errno.h>
#include "base/error.h"
#include "block/graph.h"
#include "../core.h"
#include "copy_before_write.h"

typedef struct {
    json_t *file_config;
} AccessState;

static const Property access_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(AccessState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "a copy-before-write filter"},
    PROP_END,
};

static void access_child_changed(BlockNode *node)
{
    node->request_alignment = node->file->request_alignment;
    node->memory_alignment = node->file->memory_alignment;
}

static bool access_open(BlockNode *node, GError **err)
{
    AccessState *s = block_node_state(node);

    if (!block_open_child(node, "file", BLOCK_ROLE_DATA, s->file_config, &node->file, err)) {
        return false;
    }
    if (node->file->driver != &block_driver_copy_before_write) {
        return error_set(err,
                         "'file' of a snapshot-access node has to be a copy-before-write filter, "
                         "and '%s' is not",
                         node->file->opts.node_name);
    }
    access_child_changed(node);
    return true;
}

/* The filter has the permissions. */
static BlockPerms access_child_perms(BlockNode *node, const BlockEdge *edge, BlockPerms users)
{
    return (BlockPerms){0, BLOCK_PERM_ALL};
}

static int coroutine_fn access_preadv(BlockNode *node, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    return cbw_snapshot_preadv(node->file, off, bytes, iov, niov);
}

static int coroutine_fn access_pwritev(BlockNode *node, uint64_t off, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov, unsigned flags)
{
    return -ENOTSUP;
}

static int coroutine_fn access_pdiscard(BlockNode *node, uint64_t off, uint64_t bytes)
{
    return cbw_snapshot_discard(node->file, off, bytes);
}

static int coroutine_fn access_flush(BlockNode *node)
{
    return 0; /* it is not written to */
}

static int coroutine_fn access_block_status(BlockNode *node, uint64_t off, uint64_t bytes,
                                            uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    return cbw_snapshot_status(node->file, off, bytes, pnum);
}

const BlockDriver block_driver_snapshot_access = {
    .name = "snapshot-access",
    .help = "the disk below a copy-before-write filter as it was, to read",
    .size = sizeof(AccessState),
    .props = access_props,
    .open = access_open,
    .child_changed = access_child_changed,
    .child_perms = access_child_perms,
    .preadv = access_preadv,
    .pwritev = access_pwritev,
    .pdiscard = access_pdiscard,
    .flush = access_flush,
    .block_status = access_block_status,
};

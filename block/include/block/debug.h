/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events of the block layer at which the filter 'blkdebug' makes requests fail or wait: for tests
 * of what becomes of an image then. Names and meanings are those of QEMU 7.2's BlkdebugEvent
 * (qapi/block-core.json). An event is told to one node, which in a format's code is the file.
 */
#ifndef BLOCK_DEBUG_H
#define BLOCK_DEBUG_H

#include "block/node.h"

/* What no code of this program reaches is among them: rules may name it. */
#define BLOCK_DEBUG_EVENTS(X)                                                                      \
    X(L1_UPDATE, "l1_update")                                                                      \
    X(L1_GROW_ALLOC_TABLE, "l1_grow_alloc_table")                                                  \
    X(L1_GROW_WRITE_TABLE, "l1_grow_write_table")                                                  \
    X(L1_GROW_ACTIVATE_TABLE, "l1_grow_activate_table")                                            \
    X(L2_LOAD, "l2_load")                                                                          \
    X(L2_UPDATE, "l2_update")                                                                      \
    X(L2_UPDATE_COMPRESSED, "l2_update_compressed")                                                \
    X(L2_ALLOC_COW_READ, "l2_alloc_cow_read")                                                      \
    X(L2_ALLOC_WRITE, "l2_alloc_write")                                                            \
    X(READ_AIO, "read_aio")                                                                        \
    X(READ_BACKING_AIO, "read_backing_aio")                                                        \
    X(READ_COMPRESSED, "read_compressed")                                                          \
    X(WRITE_AIO, "write_aio")                                                                      \
    X(WRITE_COMPRESSED, "write_compressed")                                                        \
    X(VMSTATE_LOAD, "vmstate_load")                                                                \
    X(VMSTATE_SAVE, "vmstate_save")                                                                \
    X(COW_READ, "cow_read")                                                                        \
    X(COW_WRITE, "cow_write")                                                                      \
    X(REFTABLE_LOAD, "reftable_load")                                                              \
    X(REFTABLE_GROW, "reftable_grow")                                                              \
    X(REFTABLE_UPDATE, "reftable_update")                                                          \
    X(REFBLOCK_LOAD, "refblock_load")                                                              \
    X(REFBLOCK_UPDATE, "refblock_update")                                                          \
    X(REFBLOCK_UPDATE_PART, "refblock_update_part")                                                \
    X(REFBLOCK_ALLOC, "refblock_alloc")                                                            \
    X(REFBLOCK_ALLOC_HOOKUP, "refblock_alloc_hookup")                                              \
    X(REFBLOCK_ALLOC_WRITE, "refblock_alloc_write")                                                \
    X(REFBLOCK_ALLOC_WRITE_BLOCKS, "refblock_alloc_write_blocks")                                  \
    X(REFBLOCK_ALLOC_WRITE_TABLE, "refblock_alloc_write_table")                                    \
    X(REFBLOCK_ALLOC_SWITCH_TABLE, "refblock_alloc_switch_table")                                  \
    X(CLUSTER_ALLOC, "cluster_alloc")                                                              \
    X(CLUSTER_ALLOC_BYTES, "cluster_alloc_bytes")                                                  \
    X(CLUSTER_FREE, "cluster_free")                                                                \
    X(FLUSH_TO_OS, "flush_to_os")                                                                  \
    X(FLUSH_TO_DISK, "flush_to_disk")                                                              \
    X(PWRITEV_RMW_HEAD, "pwritev_rmw_head")                                                        \
    X(PWRITEV_RMW_AFTER_HEAD, "pwritev_rmw_after_head")                                            \
    X(PWRITEV_RMW_TAIL, "pwritev_rmw_tail")                                                        \
    X(PWRITEV_RMW_AFTER_TAIL, "pwritev_rmw_after_tail")                                            \
    X(PWRITEV, "pwritev")                                                                          \
    X(PWRITEV_ZERO, "pwritev_zero")                                                                \
    X(PWRITEV_DONE, "pwritev_done")                                                                \
    X(EMPTY_IMAGE_PREPARE, "empty_image_prepare")                                                  \
    X(L1_SHRINK_WRITE_TABLE, "l1_shrink_write_table")                                              \
    X(L1_SHRINK_FREE_L2_CLUSTERS, "l1_shrink_free_l2_clusters")                                    \
    X(COR_WRITE, "cor_write")                                                                      \
    X(CLUSTER_ALLOC_SPACE, "cluster_alloc_space")                                                  \
    X(NONE, "none")

typedef enum BlockDebugEvent {
#define BLOCK_DEBUG_ENUM(id, text) BLOCK_DEBUG_##id,
    BLOCK_DEBUG_EVENTS(BLOCK_DEBUG_ENUM)
#undef BLOCK_DEBUG_ENUM
        BLOCK_DEBUG_EVENT_COUNT
} BlockDebugEvent;

/* Any loop. Costs a test where the node is no blkdebug. May wait: until the request is resumed. */
static inline void coroutine_fn block_debug_event(BlockNode *n, BlockDebugEvent event)
{
    if (G_UNLIKELY(n->driver->debug_event)) {
        n->driver->debug_event(n, event);
    }
}

/*
 * Breakpoints, at the first blkdebug at or below 'n': the next request that comes to 'event' waits,
 * and is known as 'tag'. 0, -ENOENT (no such event or tag), -ENOTSUP (no blkdebug). Main loop.
 */
int block_debug_break(BlockNode *n, const char *event, const char *tag);
int block_debug_remove_break(BlockNode *n, const char *tag);
int block_debug_resume(BlockNode *n, const char *tag);
/* Returns once a request waits that has the tag. */
int coroutine_fn block_debug_wait(BlockNode *n, const char *tag);

#endif

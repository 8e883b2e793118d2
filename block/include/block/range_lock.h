/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Range locks of a node: where a guest's write and a job (or a copy-on-read) meet in the same
 * bytes, one waits for the other. Each node has a table of its own.
 *
 * While tracking is on, every write to the node (data, zeroes, discard, compressed) is in the table
 * for as long as it runs, as SHARED: writes do not wait for each other. block_range_lock() is
 * EXCLUSIVE: it waits for all that overlap it and came before, and what comes later and overlaps it
 * waits for it. So nobody starves, and a write that waits is not in flight in the node yet: a drain
 * waits for it by its parent's count, block_node_bar() does not. Reads are not in the table.
 *
 * A coroutine holds one lock of a node at a time, and of two nodes it locks the upper one first;
 * nobody waits in a circle then. Whoever holds one ends it before it waits for a drained section.
 */
#ifndef BLOCK_RANGE_LOCK_H
#define BLOCK_RANGE_LOCK_H

#include "block/node.h"

/*
 * Main thread, inside a drained section of the node: from then on all writes are in the table, and
 * none takes the short way of map_cached(). Reads still do. Nests. No lock is held at the end.
 */
void block_range_track_begin(BlockNode *n);
void block_range_track_end(BlockNode *n);

/* Private; lives on the stack of the coroutine that has it. */
typedef struct BlockRangeLock {
    struct BlockRangeLock *prev, *next;
    uint64_t off, end;
    bool exclusive, listed, granted;
    Coroutine *waiter;
} BlockRangeLock;

/*
 * Any loop, while tracking is on. The range is widened to the node's request alignment. Writes of
 * the coroutine within its range pass BLOCK_REQ_HOLDS_RANGE: they do not enter the table. It holds
 * the range until block_range_unlock(), which any loop may call.
 */
void coroutine_fn block_range_lock(BlockNode *n, BlockRangeLock *l, uint64_t off, uint64_t bytes);
/* False: something overlaps, or waits for the range; nothing was done. */
bool block_range_trylock(BlockNode *n, BlockRangeLock *l, uint64_t off, uint64_t bytes);
void block_range_unlock(BlockNode *n, BlockRangeLock *l);

#endif

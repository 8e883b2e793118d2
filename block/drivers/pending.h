/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes of a format that give clusters (or blocks) a place: the format's lock is dropped while
 * their data is written, and other changes of these clusters wait. All under that lock.
 */
#ifndef BLOCK_DRIVERS_PENDING_H
#define BLOCK_DRIVERS_PENDING_H

#include "base/coroutine.h"
#include <stdint.h>

/* One such write; on its coroutine's stack. */
typedef struct {
    unsigned index; /* in BlockPendings.list */
} BlockPending;

/* What it is about: all of them side by side, as each new write looks at all. */
typedef struct {
    uint64_t first, end;
    BlockPending *one;
} BlockPendingRange;

typedef struct {
    BlockPendingRange *list;
    unsigned count, room;
    CoQueue ended; /* waiters for the end of a BlockPending, which they outlive */
} BlockPendings;

void block_pendings_init(BlockPendings *p);
void block_pendings_destroy(BlockPendings *p);
void block_pending_begin(BlockPendings *p, BlockPending *one, uint64_t first, uint64_t count);
void block_pending_end(BlockPendings *p, BlockPending *one);
/* Whether one of these clusters is pending. */
bool block_pending_at(const BlockPendings *p, uint64_t first, uint64_t count);
/*
 * False: none of these clusters is pending. True: one was, the lock was dropped meanwhile, and the
 * caller has to look everything up again.
 */
bool coroutine_fn block_pending_wait(BlockPendings *p, CoMutex *lock, uint64_t first,
                                     uint64_t count);

#endif

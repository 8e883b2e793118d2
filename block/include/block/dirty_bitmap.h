/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps: which parts of a node were written since. A bitmap belongs to a node, ends with it
 * at the latest, and has a granularity (a power of two, at least 512). Bits are atomic words:
 * whoever writes to the node sets them, from any loop, without a lock; a job takes them away.
 *
 * Memory: 4 KiB for each 32768 granules of which one was ever dirty, so at most one bit a granule;
 * and 8 bytes for each 32768 granules up to the last dirty one.
 *
 * Main thread, but for what says otherwise.
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include "block/node.h"

typedef struct BlockDirtyBitmap BlockDirtyBitmap;
typedef struct DirtyBits DirtyBits;

/* QAPI's BlockDirtyBitmapOrStr: a name, or {"node": ..., "name": ...}. */
extern const PropertyShape bitmap_or_name_shape;
extern const PropertyShape block_dirty_bitmap_shape; /* the latter */

/*
 * Records from then on. Begins inside a drained section of its own, in which the node's writes lose
 * the short way of map_cached(). name NULL: a job's own, which no command finds. granularity 0: the
 * cluster size from 4 KiB to 64 KiB, or 64 KiB where there are no clusters.
 */
BlockDirtyBitmap *coroutine_fn block_dirty_bitmap_new(BlockNode *n, const char *name,
                                                      uint64_t granularity, GError **err);
/*
 * The same for a driver that has found a stored one: in open(), or while no request gets into the
 * node. It does not wait.
 */
BlockDirtyBitmap *block_dirty_bitmap_add_stored(BlockNode *n, const char *name,
                                                uint64_t granularity, GError **err);
/* Drains as well. Nobody finds the bitmap any more meanwhile. */
void coroutine_fn block_dirty_bitmap_free(BlockDirtyBitmap *b);
/* For a driver: takes a stored one away, while no request gets into the node. It does not wait. */
void block_dirty_bitmap_drop_stored(BlockDirtyBitmap *b);
/* block_dirty_bitmap_free(), after the driver has forgotten a persistent one. */
bool coroutine_fn block_dirty_bitmap_remove(BlockDirtyBitmap *b, GError **err);
BlockDirtyBitmap *block_dirty_bitmap_find(BlockNode *n, const char *name); /* or NULL */
/* The newest comes first. b NULL: the first. */
BlockDirtyBitmap *block_dirty_bitmap_next(BlockNode *n, BlockDirtyBitmap *b);

/* Bits, from any thread. 'reset' clears granules that lie in the range as a whole. */
void block_dirty_bitmap_set(BlockDirtyBitmap *b, uint64_t off, uint64_t bytes);
void block_dirty_bitmap_reset(BlockDirtyBitmap *b, uint64_t off, uint64_t bytes);
/*
 * Finds the next run of dirty granules at or after the granule of *off: true, and its *off and
 * *bytes. At most 'max' bytes, but one granule; up to the node's end. 'take' clears what it
 * returns, atomically: a write that comes later sets it again.
 */
bool block_dirty_bitmap_next_dirty(BlockDirtyBitmap *b, uint64_t *off, uint64_t *bytes,
                                   uint64_t max, bool take);
/* The next run of granules that are not dirty. */
bool block_dirty_bitmap_next_zero(BlockDirtyBitmap *b, uint64_t *off, uint64_t *bytes);
/* Dirty granules in bytes; the last counts as a whole. Never too little (dirty_bits.h). */
uint64_t block_dirty_bitmap_count(BlockDirtyBitmap *b);
uint64_t block_dirty_bitmap_size(const BlockDirtyBitmap *b); /* the node's length */
uint64_t block_dirty_bitmap_granularity(const BlockDirtyBitmap *b);
const char *block_dirty_bitmap_name(const BlockDirtyBitmap *b); /* or NULL */
BlockNode *block_dirty_bitmap_node(const BlockDirtyBitmap *b);
/* False, and an error: the nodes have different lengths. Granularities may differ. */
bool block_dirty_bitmap_can_merge(const BlockDirtyBitmap *into, const BlockDirtyBitmap *from,
                                  GError **err);
bool block_dirty_bitmap_merge(BlockDirtyBitmap *into, BlockDirtyBitmap *from, GError **err);
void block_dirty_bitmap_clear(BlockDirtyBitmap *b);

/*
 * What the bits were, for a transaction that is undone: 'restore' takes the copy, and is called
 * inside a drained section of the node. 'copy_free' where it is not needed.
 */
DirtyBits *block_dirty_bitmap_copy(BlockDirtyBitmap *b);
void block_dirty_bitmap_restore(BlockDirtyBitmap *b, DirtyBits *copy);
void block_dirty_bitmap_copy_free(DirtyBits *copy);

/* Enabled: records. Writes in flight are recorded or not: who must know is in a drained section. */
bool block_dirty_bitmap_enabled(const BlockDirtyBitmap *b);
void block_dirty_bitmap_enable(BlockDirtyBitmap *b, bool on);
/* Persistent: the driver stores it (BlockDriver.can_store_bitmap). */
bool block_dirty_bitmap_persistent(const BlockDirtyBitmap *b);
void block_dirty_bitmap_set_persistent(BlockDirtyBitmap *b, bool on);
bool coroutine_fn block_dirty_bitmap_can_store(BlockNode *n, const char *name, uint64_t granularity,
                                               GError **err);
/* Was in use when a process died: what it says is wrong, and it can only be removed. */
bool block_dirty_bitmap_inconsistent(const BlockDirtyBitmap *b);
void block_dirty_bitmap_set_inconsistent(BlockDirtyBitmap *b);
/* The image that stores it is read-only. */
void block_dirty_bitmap_set_read_only(BlockDirtyBitmap *b, bool on);
/* A job or an export has it. */
bool block_dirty_bitmap_busy(const BlockDirtyBitmap *b);
void block_dirty_bitmap_set_busy(BlockDirtyBitmap *b, bool on);
/* What a command on it needs, with QEMU's words: not busy, not read-only, not inconsistent. */
enum {
    BITMAP_CHECK_BUSY = 1,
    BITMAP_CHECK_READ_ONLY = 2,
    BITMAP_CHECK_INCONSISTENT = 4,
    BITMAP_CHECK_ALL = 7
};
bool block_dirty_bitmap_check(const BlockDirtyBitmap *b, unsigned what, GError **err);

/*
 * A successor: writes go to it while a backup reads the bitmap, which is busy. 'reclaim': the
 * backup has failed, and both are merged; 'abdicate': it has ended well, and the successor's bits
 * are the bitmap's. All three inside a drained section of the node.
 */
bool block_dirty_bitmap_successor_new(BlockDirtyBitmap *b, GError **err);
void block_dirty_bitmap_reclaim(BlockDirtyBitmap *b);
void block_dirty_bitmap_abdicate(BlockDirtyBitmap *b);

/*
 * Serialisation in the order of qcow2's bitmap tables: bit i is granule i, bytes in little endian.
 * first_bit is a multiple of 8. 'import' sets those bits, and drops any behind the node's end.
 */
void block_dirty_bitmap_export(BlockDirtyBitmap *b, uint64_t first_bit, void *buf, size_t len);
void block_dirty_bitmap_import(BlockDirtyBitmap *b, uint64_t first_bit, const void *buf,
                               size_t len);
/* As x-debug-block-dirty-bitmap-sha256 says it; the caller frees it. */
char *block_dirty_bitmap_sha256(BlockDirtyBitmap *b);

#endif

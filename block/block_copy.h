/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies the clusters of one node into another, each of them once: what is still to be copied, and
 * what is being copied now. A filter that copies before a guest writes and a job that copies all
 * the time share one BlockCopy; whoever comes second to a cluster waits for the first.
 *
 * Any loop may call what is not said to be otherwise. The owner keeps both nodes, and counts as a
 * request in flight (in a node above both) for as long as it copies, so that drains wait for it.
 */
#ifndef BLOCK_BLOCK_COPY_H
#define BLOCK_BLOCK_COPY_H

#include "block/copy_offload.h"

typedef struct BlockCopy BlockCopy;

enum { BLOCK_COPY_CHUNK = 1024 * 1024 };

typedef struct {
    BlockNode *const *source, *const *target; /* where the owner has the nodes */
    uint64_t length;                          /* bytes, of both */
    uint64_t cluster_size;                    /* a power of two */
    /*
     * The source is in the target's backing chain: who reads the target meanwhile may be reading a
     * cluster of the source. Those requests are waited for before a copy counts as done.
     */
    bool target_shows_source;
} BlockCopyOptions;

/* In clusters of what size this image is to be written: no part of one of its own. */
uint64_t block_copy_cluster_size(BlockNode *target);
/* Nothing is to be copied yet. */
BlockCopy *block_copy_new(const BlockCopyOptions *o);
void block_copy_free(BlockCopy *c); /* while nothing is being copied */
/* Main loop, while nothing is being copied. Clusters are written compressed where that is possible.
 */
void block_copy_set_compress(BlockCopy *c, bool on);
/* The same. Whether the kernel copies; at first it does not. Never what is written compressed. */
void block_copy_set_offload(BlockCopy *c, BlockOffloadMode mode);
uint64_t block_copy_cluster(const BlockCopy *c);

/* Clusters of which a part is in the range are to be copied, or are not any more. */
void block_copy_want(BlockCopy *c, uint64_t off, uint64_t bytes);
/* Only clusters that lie in the range as a whole. */
void block_copy_unwant(BlockCopy *c, uint64_t off, uint64_t bytes);
/*
 * The next run of clusters that begin at *off or behind it, are to be copied, and that nobody
 * copies now; at most *bytes, the last of them no further than the disk. False: there is none.
 */
bool block_copy_next(BlockCopy *c, uint64_t *off, uint64_t *bytes);
/* Bytes that are to be copied, or are being copied. */
uint64_t block_copy_left(BlockCopy *c);

/*
 * Returns when no cluster that the range touches is to be copied or is being copied. 0 or -errno:
 * then clusters may be left. *is_read (may be NULL): the source has failed, not the target.
 */
int coroutine_fn block_copy_clusters(BlockCopy *c, uint64_t off, uint64_t bytes, bool *is_read);
/* Bytes of the source that are copied so far, by whomever. */
uint64_t block_copy_done(BlockCopy *c);

#endif

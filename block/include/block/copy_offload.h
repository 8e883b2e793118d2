/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying by the kernel instead of by hand, which is to read and to write. Who copies much from one
 * node to another (a conversion, a job) keeps a BlockOffload, which remembers whether the kernel
 * does it. Whatever the kernel does not copy, for whatever reason, is copied by hand, and that
 * tells what is wrong: so nothing fails that would not fail without all this.
 */
#ifndef BLOCK_COPY_OFFLOAD_H
#define BLOCK_COPY_OFFLOAD_H

#include "block/node.h"

typedef enum {
    BLOCK_OFFLOAD_OFF,   /* all is copied by hand */
    BLOCK_OFFLOAD_TRY,   /* where the file system shares blocks; it was not asked yet */
    BLOCK_OFFLOAD_SHARE, /* it does */
    BLOCK_OFFLOAD_COPY,  /* by copy_file_range(2) wherever that works */
} BlockOffloadMode;

/* Zeroed: off. */
typedef struct {
    BlockOffloadMode mode; /* atomic. Off once it is known that nothing is shared */
    unsigned refused;      /* atomic: pieces in a row that were not shared */
    unsigned patience;     /* so many, and it is off */
    uint64_t unit;         /* pieces are whole units of the target */
} BlockOffload;

typedef struct {
    BlockNode *src, *dst;
    uint64_t src_off, dst_off, bytes; /* the source holds data there */
    unsigned flags;                   /* BLOCK_COPY_HOLDS_RANGE */
    /* Copies a part of the range, which is 'off' behind its start. 0 or -errno. */
    int coroutine_fn (*by_hand)(void *data, uint64_t off, uint64_t bytes);
    void *data;
} BlockOffloadRange;

void block_offload_init(BlockOffload *o, BlockOffloadMode mode, BlockNode *target);
BlockOffloadMode block_offload_mode(const BlockOffload *o);
/*
 * Any loop. 0, or what by_hand() has returned. The owner is busy meanwhile, or counts as a request
 * in flight, above both nodes: no section begins in which the graph or a file changes.
 */
int coroutine_fn block_offload_copy(BlockOffload *o, const BlockOffloadRange *r);

#endif

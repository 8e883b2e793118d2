/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing chains as a whole, offline: for tools that have opened the images and share them with
 * nobody. Main thread, in a coroutine.
 */
#ifndef BLOCK_CHAIN_H
#define BLOCK_CHAIN_H

#include "block/node.h"

/* Told how much of an operation is done, 0 to 100. */
typedef void (*BlockProgress)(double percent, void *data);

typedef struct {
    BlockNode *top;  /* open for writing, with its chain */
    BlockNode *base; /* of that chain; read-only */
    bool keep;       /* the top image keeps its data */
    uint64_t rate;   /* most bytes a second; 0: no limit */
    BlockProgress progress;
    void *progress_data;
} BlockCommit;
/*
 * Writes all that the images above 'base' hold into 'base', which grows to the top image's length.
 * Only once that is stable the top image is emptied: whenever this ends, the chain reads as before.
 * The lock on the base's file is held from the time it was opened, so that nobody else has changed
 * it. Afterwards the chain is cut above 'base': the caller closes the nodes.
 */
bool coroutine_fn block_commit(const BlockCommit *c, GError **err);

typedef struct {
    BlockNode *top;     /* open for writing, with its chain */
    BlockNode *backing; /* the new backing file, open with its chain; NULL: none */
    BlockProgress progress;
    void *progress_data;
} BlockRebase;
/*
 * Copies into the top image what it shows of its old backing file and would not show of the new
 * one, and makes that stable. The image still names the old one.
 */
bool coroutine_fn block_rebase_copy(const BlockRebase *r, GError **err);
/* Sleeps until 'bytes' since 'start_ns' are what 'rate' bytes a second allow. 0: no limit. */
void coroutine_fn block_rate_wait(uint64_t rate, uint64_t bytes, int64_t start_ns);
/* BlockDriver.set_backing_name, or -ENOTSUP. The open node keeps the backing file that it has. */
int coroutine_fn block_set_backing_name(BlockNode *n, const char *name, const char *format);

#endif

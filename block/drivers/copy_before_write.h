/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter copy-before-write: before the disk is written to, what is there goes to a target. So the
 * filter knows, and can show, what was on the disk when the filter came.
 */
#ifndef BLOCK_COPY_BEFORE_WRITE_H
#define BLOCK_COPY_BEFORE_WRITE_H

#include "../block_copy.h"
#include "drivers.h"

/* What is to be copied before it is written to, for the job that the filter belongs to. */
BlockCopy *cbw_copy(BlockNode *filter);

/* These clusters are not to be copied, and the snapshot does not show them. Whole ones. */
void cbw_forget(BlockNode *filter, uint64_t off, uint64_t bytes);

/* The snapshot shows no more than what is to be copied. Before anybody writes. */
void cbw_show_wanted(BlockNode *filter);

/*
 * The disk as it was. Any loop. -EACCES: that is not known any more, or was never asked for;
 * another node: -ENOTSUP.
 */
int coroutine_fn cbw_snapshot_preadv(BlockNode *filter, uint64_t off, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov);
int coroutine_fn cbw_snapshot_status(BlockNode *filter, uint64_t off, uint64_t bytes,
                                     uint64_t *pnum);
/* The snapshot's user needs these clusters no more: they are not copied, and the target is freed.
 */
int coroutine_fn cbw_snapshot_discard(BlockNode *filter, uint64_t off, uint64_t bytes);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the jobs that walk a backing chain share. Private to block/jobs/. */
#ifndef BLOCK_JOBS_CHAIN_JOB_H
#define BLOCK_JOBS_CHAIN_JOB_H

#include "block/chain_jobs.h"
#include "block/copy_offload.h"
#include "jobs.h"

enum { CHAIN_JOB_CHUNK = 512 * 1024 };

/* What the user finds above a disk while the job runs (QEMU's names). */
extern const BlockDriver job_filter_stream, job_filter_commit;
/* Opens such a node over 'node'. 'name' NULL: made up, and queries about disks do not show it. */
BlockNode *job_filter_open(const BlockDriver *drv, BlockNode *node, const char *name, GError **err);

/*
 * What the images from 'n' down to 'last' have at 'off': 0 (nothing: what lies below 'last' shows),
 * BLOCK_STATUS_DATA or BLOCK_STATUS_ZERO; or -errno. Shortens *len to what is the same. *node (may
 * be NULL) has the data.
 */
int coroutine_fn chain_job_status(BlockNode *n, BlockNode *last, uint64_t off, uint64_t *len,
                                  BlockNode **node);

/* Where a piece is copied from and to. */
typedef struct {
    BlockNode *from, *to;
    void *buf;      /* CHAIN_JOB_CHUNK */
    unsigned flags; /* of writes */
} ChainCopy;
/*
 * By the kernel, or by reading and writing: then zeroes as such. *is_read tells which of the two
 * has failed.
 */
int coroutine_fn chain_job_copy(BlockOffload *o, const ChainCopy *c, uint64_t off, uint64_t len,
                                bool *is_read);
/* In a drained section, under the lock of changes: moves the parents of 'from' to 'to'. */
bool coroutine_fn chain_job_replace(BlockNode *from, BlockNode *to, GError **err);
/*
 * How the image names 'base' as its backing file: as given, or by the base's own name. The caller
 * frees it. NULL: the base has none.
 */
char *chain_job_base_name(BlockNode *image, BlockNode *base, const char *given, const char **format,
                          GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node through which a job makes an image. Private to block/jobs/. */
#ifndef BLOCK_JOBS_CREATE_GATE_H
#define BLOCK_JOBS_CREATE_GATE_H

#include "jobs.h"

/*
 * A node above 'file' for the job alone, which needs to write and to resize there. The node's
 * requests wait while the file is drained, and fail with -ECANCELED once the job is cancelled.
 */
BlockNode *coroutine_fn create_gate_open(Job *job, BlockNode *file, GError **err);
void coroutine_fn create_gate_close(BlockNode *gate);

#endif

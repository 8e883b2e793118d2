/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latency histograms of a backend: of BLOCK_OP_READ, BLOCK_OP_WRITE and BLOCK_OP_FLUSH. Main
 * thread. */
#ifndef BLOCK_HISTOGRAM_H
#define BLOCK_HISTOGRAM_H

#include "block/backend.h"

/*
 * Counts from 0, by these boundaries (a list of nanoseconds). False, and nothing was done: they do
 * not ascend, or one is 0.
 */
bool block_backend_set_histogram(BlockBackend *blk, BlockOp op, json_t *boundaries);
void block_backend_clear_histograms(BlockBackend *blk);
/* {"boundaries": [...], "bins": [...]}, as in 'query-blockstats'; NULL: it does not count. */
json_t *block_backend_histogram(BlockBackend *blk, BlockOp op);

#endif

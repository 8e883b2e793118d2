/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Write thresholds: the first write to a node that ends beyond an offset is told, once. */
#ifndef BLOCK_WRITE_THRESHOLD_H
#define BLOCK_WRITE_THRESHOLD_H

#include "block/node.h"

/* Main thread; drains. 0: none. */
void coroutine_fn block_set_write_threshold(BlockNode *n, uint64_t threshold);
uint64_t block_write_threshold(const BlockNode *n); /* 0: none, or it was told already */
/* Who hears of it, on the writer's loop (the event BLOCK_WRITE_THRESHOLD). */
typedef void (*BlockThresholdFn)(const char *node_name, uint64_t exceeded, uint64_t threshold,
                                 void *user);
void block_set_threshold_handler(BlockThresholdFn fn, void *user);

#endif

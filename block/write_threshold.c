/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Write thresholds of nodes (block-set-write-threshold), and who hears of a write beyond one. */
#include "block/write_threshold.h"
#include "core.h"

static struct {
    BlockThresholdFn fn;
    void *user;
} handler;

void block_set_threshold_handler(BlockThresholdFn fn, void *user)
{
    handler.fn = fn;
    handler.user = user;
}

/* 0: none. While there is one, writes do not take the short way of map_cached(). */
static void threshold_set(BlockNode *n, uint64_t threshold)
{
    if (threshold) {
        __atomic_add_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
    }
    if (__atomic_exchange_n(&n->core->write_threshold, threshold, __ATOMIC_SEQ_CST)) {
        __atomic_sub_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
    }
}

void coroutine_fn block_set_write_threshold(BlockNode *n, uint64_t threshold)
{
    BlockDrain *drain = block_drain_begin(n);

    threshold_set(n, threshold);
    block_drain_end(drain);
}

uint64_t block_write_threshold(const BlockNode *n)
{
    return __atomic_load_n(&n->core->write_threshold, __ATOMIC_SEQ_CST);
}

void block_threshold_exceeded(BlockNode *n, uint64_t end)
{
    uint64_t threshold = block_write_threshold(n);

    /* Of several writers one tells of it. */
    if (threshold && end > threshold &&
        __atomic_compare_exchange_n(&n->core->write_threshold, &threshold, 0, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        __atomic_sub_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
        if (handler.fn) {
            handler.fn(n->opts.node_name, end - threshold, threshold, handler.user);
        }
    }
}

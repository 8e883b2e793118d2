/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pending.h"

void block_pendings_init(BlockPendings *p)
{
    p->list = NULL;
    p->count = p->room = 0;
    co_queue_init(&p->ended);
}

void block_pendings_destroy(BlockPendings *p)
{
    g_assert(!p->count);
    g_clear_pointer(&p->list, g_free);
    p->room = 0;
    co_queue_destroy(&p->ended);
}

void block_pending_begin(BlockPendings *p, BlockPending *one, uint64_t first, uint64_t count)
{
    if (p->count == p->room) {
        p->room = MAX(2 * p->room, 16);
        p->list = g_renew(BlockPendingRange, p->list, p->room);
    }
    one->index = p->count++;
    p->list[one->index] = (BlockPendingRange){.first = first, .end = first + count, .one = one};
}

void block_pending_end(BlockPendings *p, BlockPending *one)
{
    const BlockPendingRange *last = &p->list[--p->count];

    last->one->index = one->index;
    p->list[one->index] = *last;
    co_queue_wake_all(&p->ended);
}

bool block_pending_at(const BlockPendings *p, uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (first < p->list[i].end && p->list[i].first < first + count) {
            return true;
        }
    }
    return false;
}

bool coroutine_fn block_pending_wait(BlockPendings *p, CoMutex *lock, uint64_t first,
                                     uint64_t count)
{
    if (!block_pending_at(p, first, count)) {
        return false;
    }
    co_queue_wait(&p->ended, lock);
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of a node's ranges is a list in the order of arrival. A lock is granted once no earlier
 * one overlaps it, unless both are shared. Lists are as long as the queues of the node's users, so
 * walking them is cheaper than a tree.
 */
#include "block/range_lock.h"
#include "base/util.h"
#include "core.h"

void block_range_table_init(BlockRangeTable *t)
{
    g_mutex_init(&t->guard);
}

void block_range_table_destroy(BlockRangeTable *t)
{
    g_assert(!t->first && !t->last);
    g_mutex_clear(&t->guard);
}

void block_range_track_begin(BlockNode *n)
{
    __atomic_add_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&n->core->ranges.tracked, 1, __ATOMIC_SEQ_CST);
}

void block_range_track_end(BlockNode *n)
{
    g_assert(!n->core->ranges.first);
    __atomic_sub_fetch(&n->core->ranges.tracked, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
}

static bool conflict(const BlockRangeLock *a, const BlockRangeLock *b)
{
    return (a->exclusive || b->exclusive) && a->off < b->end && b->off < a->end;
}

/* 'l' is in the list, or will be at its end. */
static bool has_to_wait(const BlockRangeTable *t, const BlockRangeLock *l)
{
    for (const BlockRangeLock *e = t->first; e && e != l; e = e->next) {
        if (conflict(e, l)) {
            return true;
        }
    }
    return false;
}

static void table_append(BlockRangeTable *t, BlockRangeLock *l)
{
    l->listed = true;
    l->prev = t->last;
    *(t->last ? &t->last->next : &t->first) = l;
    t->last = l;
}

static void table_remove(BlockRangeTable *t, BlockRangeLock *l)
{
    *(l->prev ? &l->prev->next : &t->first) = l->next;
    *(l->next ? &l->next->prev : &t->last) = l->prev;
}

static BlockRangeLock range_of(BlockNode *n, uint64_t off, uint64_t bytes, bool exclusive)
{
    const uint64_t align = n->request_alignment;

    return (BlockRangeLock){
        .exclusive = exclusive,
        .off = ROUND_DOWN(off, align),
        /* A range that no node can have ends somewhere; the request will be refused. */
        .end = bytes > INT64_MAX - MIN(off, INT64_MAX) ? INT64_MAX : ROUND_UP(off + bytes, align),
    };
}

static void coroutine_fn enter_and_wait(BlockRangeTable *t, BlockRangeLock *l)
{
    g_mutex_lock(&t->guard);
    l->granted = !has_to_wait(t, l);
    table_append(t, l);
    if (!l->granted) {
        l->waiter = coroutine_self();
        while (!l->granted) {
            g_mutex_unlock(&t->guard);
            coroutine_yield();
            g_mutex_lock(&t->guard);
        }
        coroutine_wait_over();
    }
    g_mutex_unlock(&t->guard);
}

void coroutine_fn block_range_lock(BlockNode *n, BlockRangeLock *l, uint64_t off, uint64_t bytes)
{
    g_assert(__atomic_load_n(&n->core->ranges.tracked, __ATOMIC_SEQ_CST));
    *l = range_of(n, off, bytes, true);
    enter_and_wait(&n->core->ranges, l);
}

bool block_range_trylock(BlockNode *n, BlockRangeLock *l, uint64_t off, uint64_t bytes)
{
    BlockRangeTable *t = &n->core->ranges;

    g_assert(__atomic_load_n(&n->core->ranges.tracked, __ATOMIC_SEQ_CST));
    *l = range_of(n, off, bytes, true);
    g_mutex_lock(&t->guard);
    l->granted = !has_to_wait(t, l);
    if (l->granted) {
        table_append(t, l);
    }
    g_mutex_unlock(&t->guard);
    return l->listed;
}

void block_range_unlock(BlockNode *n, BlockRangeLock *l)
{
    BlockRangeTable *t = &n->core->ranges;

    g_mutex_lock(&t->guard);
    g_assert(l->listed && l->granted);
    l->listed = false;
    table_remove(t, l);
    for (BlockRangeLock *e = l->next; e; e = e->next) {
        if (!e->granted && conflict(l, e) && !has_to_wait(t, e)) {
            /* 'e' is on the waiter's stack: it may be gone once the guard is dropped. */
            e->granted = true;
            coroutine_wake(e->waiter);
        }
    }
    g_mutex_unlock(&t->guard);
}

void coroutine_fn block_range_track_write(BlockNode *n, BlockRangeLock *l, uint64_t off,
                                          uint64_t bytes)
{
    *l = range_of(n, off, bytes, false);
    enter_and_wait(&n->core->ranges, l);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes metadata back, in an order that survives a cut of power at any moment (see qcow2.h). */
#include <errno.h>
#include "qcow2.h"

void qcow2_l1_dirty(Qcow2State *s, uint32_t first, uint32_t end)
{
    if (s->l1_dirty_end == s->l1_dirty_first) {
        s->l1_dirty_first = first;
        s->l1_dirty_end = end;
    } else {
        s->l1_dirty_first = MIN(s->l1_dirty_first, first);
        s->l1_dirty_end = MAX(s->l1_dirty_end, end);
    }
}

/* The dirty entries. */
static int l1_copy(const Qcow2State *s, Qcow2L1Part *part)
{
    /* Whole sectors: disks do not tear them, so no entry is torn. */
    part->first = ROUND_DOWN(s->l1_dirty_first, 64);
    part->end = MIN(ROUND_UP(s->l1_dirty_end, 64), s->l1_size);
    part->bytes = NULL;
    if (s->l1_dirty_first == s->l1_dirty_end) {
        return 0;
    }
    part->bytes = g_try_malloc((size_t)(part->end - part->first) * 8);
    if (!part->bytes) {
        return -ENOMEM;
    }
    for (uint32_t i = part->first; i < part->end; i++) {
        stbe64(part->bytes + (size_t)(i - part->first) * 8, s->l1[i]);
    }
    return 0;
}

static int coroutine_fn l1_write(BlockNode *n, const Qcow2L1Part *part)
{
    Qcow2State *s = block_node_state(n);

    if (!part->bytes) {
        return 0;
    }
    block_debug_event(n->file, BLOCK_DEBUG_L1_UPDATE);
    return block_pwrite(n->file, s->l1_offset + part->first * 8ull, part->bytes,
                        (size_t)(part->end - part->first) * 8, 0);
}

/* Writes the dirty L1 entries, and those of the batch as they are now. */
static int coroutine_fn l1_write_dirty(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    Qcow2L1Part part;
    int ret;

    if (s->l1_batch.bytes) {
        qcow2_l1_dirty(s, s->l1_batch.first, s->l1_batch.end);
    }
    ret = l1_copy(s, &part);
    ret = ret < 0 ? ret : l1_write(n, &part);
    g_free(part.bytes);
    if (ret == 0) {
        s->l1_dirty_first = s->l1_dirty_end = 0;
        g_clear_pointer(&s->l1_batch.bytes, g_free);
    }
    return ret;
}

static bool entries_dirty(const Qcow2State *s)
{
    return s->l2_cache.dirty || s->l1_dirty_first != s->l1_dirty_end || s->l1_batch.bytes;
}

static int coroutine_fn flush_files(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int ret = s->data != n->file ? block_flush(s->data) : 0;

    return ret < 0 ? ret : block_flush(n->file);
}

static int coroutine_fn write_refcounts(BlockNode *n, bool lazy_ones)
{
    Qcow2State *s = block_node_state(n);

    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    return s->dirty_marked && !lazy_ones ? 0 : qcow2_cache_write_dirty(n, &s->ref_cache);
}

int coroutine_fn qcow2_writeback(BlockNode *n, bool with_lazy_refcounts)
{
    Qcow2State *s = block_node_state(n);
    int ret = write_refcounts(n, with_lazy_refcounts);

    if (ret < 0 || !entries_dirty(s)) {
        return ret;
    }
    if (s->barrier_needed || s->barrier_running) {
        ret = flush_files(n);
        if (ret < 0) {
            return ret;
        }
        s->barrier_needed = false;
    }
    ret = qcow2_cache_write_dirty(n, &s->l2_cache);
    return ret < 0 ? ret : l1_write_dirty(n);
}

/* Under lock, which is free during the barrier. */
static int coroutine_fn write_batch(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int ret = l1_copy(s, &s->l1_batch);

    if (ret < 0) {
        return ret;
    }
    s->l1_dirty_first = s->l1_dirty_end = 0;
    qcow2_cache_batch(&s->l2_cache);

    /* What the barrier is for from now on is set again by whoever needs another. */
    s->barrier_needed = false;
    s->barrier_running = true;
    co_mutex_unlock(&s->lock);
    ret = flush_files(n);
    co_mutex_lock(&s->lock);
    s->barrier_running = false;

    if (ret == 0 && __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        ret = -EIO;
    }
    ret = ret < 0 ? ret : qcow2_cache_write_batch(n, &s->l2_cache);
    if (ret == 0) {
        ret = l1_write(n, &s->l1_batch);
    }
    if (ret < 0) {
        s->barrier_needed = true;
        qcow2_cache_unbatch(&s->l2_cache);
        if (s->l1_batch.bytes) {
            qcow2_l1_dirty(s, s->l1_batch.first, s->l1_batch.end);
        }
    }
    g_clear_pointer(&s->l1_batch.bytes, g_free);
    return ret;
}

/* Under lock: what qcow2_writeback() does, for all that is dirty now. Requests go on meanwhile. */
static int coroutine_fn flush_metadata(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int ret;

    if (!s->barrier_needed) {
        return qcow2_writeback(n, false);
    }
    ret = write_refcounts(n, false);
    return ret < 0 || !entries_dirty(s) ? ret : write_batch(n);
}

int coroutine_fn qcow2_flush(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    GArray *frees;
    int ret;

    co_mutex_lock(&s->flush_lock);
    co_mutex_lock(&s->lock);
    /* Entries that are removed from here on may not be in what this flush makes stable. */
    frees = s->frees_pending;
    s->frees_pending = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    ret = flush_metadata(n);
    co_mutex_unlock(&s->lock);
    co_mutex_unlock(&s->flush_lock);
    if (ret == 0) {
        block_debug_event(n->file, BLOCK_DEBUG_FLUSH_TO_DISK);
        ret = flush_files(n);
    }

    if (!frees->len && !s->frees_stable->len && !s->frees_waiting->len) {
        g_array_unref(frees);
        return ret;
    }
    co_mutex_lock(&s->lock);
    if (ret == 0) {
        qcow2_frees_became_stable(s, frees);
        qcow2_frees_apply(n);
    } else {
        /* The removal of the entries is not stable: the next flush tries again. */
        if (frees->len) {
            g_array_append_vals(s->frees_pending, frees->data, frees->len);
        }
        g_array_unref(frees);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/*
 * 'Lazy refcounts': while the dirty bit is set, refcounts on disk may be out of date. A program
 * that opens such an image for writing counts them anew (prepare_for_writing()).
 */
int coroutine_fn qcow2_mark_dirty(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);

    return s->lazy ? qcow2_mark_repair(n) : 0;
}

int coroutine_fn qcow2_mark_repair(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int ret;

    if (s->version < 3 || s->dirty_marked) {
        return 0;
    }
    ret = qcow2_write_incompat(n, s->incompat | INCOMPAT_DIRTY);
    if (ret == 0) {
        ret = block_flush(n->file);
    }
    if (ret == 0) {
        s->dirty_marked = true;
    }
    return ret;
}

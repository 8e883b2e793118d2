/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes metadata back, in an order that survives a cut of power at any moment (see qcow2.h). */
#include <errno.h>
#include "qcow2.h"

static int coroutine_fn qcow2_flush_write_l1(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    /* Whole sectors: disks do not tear them, so no entry is torn. */
    uint32_t first = ROUND_DOWN(s->l1_dirty_first, 64);
    uint32_t end = MIN(ROUND_UP(s->l1_dirty_end, 64), s->l1_size);
    g_autofree uint8_t *buf = NULL;
    int ret;

    if (s->l1_dirty_first == s->l1_dirty_end) {
        return 0;
    }
    buf = g_try_malloc((size_t)(end - first) * 8);
    if (!buf) {
        return -ENOMEM;
    }
    for (uint32_t i = first; i < end; i++) {
        stbe64(buf + (size_t)(i - first) * 8, s->l1[i]);
    }
    ret = block_pwrite(n->file, s->l1_offset + first * 8ull, buf, (size_t)(end - first) * 8, 0);
    if (ret == 0) {
        s->l1_dirty_first = s->l1_dirty_end = 0;
    }
    return ret;
}

int coroutine_fn qcow2_writeback(BlockNode *n, bool with_lazy_refcounts)
{
    Qcow2State *s = block_node_state(n);
    int ret;

    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    if (!s->dirty_marked || with_lazy_refcounts) {
        ret = qcow2_cache_write_dirty(n, &s->ref_cache);
        if (ret < 0) {
            return ret;
        }
    }
    if (!s->l2_cache.dirty && s->l1_dirty_first == s->l1_dirty_end) {
        return 0;
    }
    if (s->barrier_needed) {
        ret = s->data != n->file ? block_flush(s->data) : 0;
        ret = ret < 0 ? ret : block_flush(n->file);
        if (ret < 0) {
            return ret;
        }
        s->barrier_needed = false;
    }
    ret = qcow2_cache_write_dirty(n, &s->l2_cache);
    return ret < 0 ? ret : qcow2_flush_write_l1(n);
}

int coroutine_fn qcow2_flush(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    GArray *frees = NULL;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_writeback(n, false);
    if (ret == 0) {
        frees = s->frees_pending;
        s->frees_pending = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    }
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return ret;
    }
    ret = s->data != n->file ? block_flush(s->data) : 0;
    ret = ret < 0 ? ret : block_flush(n->file);

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

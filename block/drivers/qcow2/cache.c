/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of slices of L2 tables and refcount blocks. A clock hand chooses which to replace. */
#include <errno.h>
#include <stdlib.h>
#include "qcow2.h"

bool qcow2_cache_init(Qcow2Cache *c, size_t slice_size, uint64_t bytes, GMutex *index_lock)
{
    c->slice_size = slice_size;
    c->max = MAX(bytes / slice_size, 8);
    c->index = g_hash_table_new(g_int64_hash, g_int64_equal);
    c->index_lock = index_lock;
    return true;
}

void qcow2_cache_destroy(Qcow2Cache *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        free(c->slices[i]->data);
        g_free(c->slices[i]);
    }
    g_free(c->slices);
    if (c->index) {
        g_hash_table_unref(c->index);
    }
    memset(c, 0, sizeof *c);
}

Qcow2Slice *qcow2_cache_peek(Qcow2Cache *c, uint64_t offset)
{
    Qcow2Slice *slice = g_hash_table_lookup(c->index, &offset);

    if (slice && !__atomic_load_n(&slice->used, __ATOMIC_RELAXED)) {
        __atomic_store_n(&slice->used, true, __ATOMIC_RELAXED);
    }
    return slice;
}

static Qcow2Slice *slice_new(BlockNode *n, Qcow2Cache *c)
{
    Qcow2Slice *slice = g_new0(Qcow2Slice, 1);
    void *data = block_buffer_new(n, MAX(c->slice_size, 4096));

    if (!data) {
        g_free(slice);
        return NULL;
    }
    slice->data = data;
    /* Doubles at powers of two: a small disk has a small array. */
    if ((c->count & (c->count - 1)) == 0) {
        c->slices = g_renew(Qcow2Slice *, c->slices, MAX(c->count * 2, 1));
    }
    c->slices[c->count++] = slice;
    return slice;
}

static void qcow2_cache_unindex(Qcow2Cache *c, Qcow2Slice *slice)
{
    if (slice->valid) {
        g_mutex_lock(c->index_lock);
        g_hash_table_remove(c->index, &slice->offset);
        slice->valid = false;
        g_mutex_unlock(c->index_lock);
    }
}

static void set_clean(Qcow2Cache *c, Qcow2Slice *slice)
{
    if (slice->dirty) {
        slice->dirty = false;
        c->dirty--;
    }
}

/* A slice to load into: a new one while there is room, else one that was not used lately. */
static int coroutine_fn qcow2_cache_victim(BlockNode *n, Qcow2Cache *c, Qcow2Slice **out)
{
    Qcow2Slice *slice;

    if (c->count < c->max) {
        *out = slice_new(n, c);
        return *out ? 0 : -ENOMEM;
    }
    for (unsigned tries = 0; tries < 3 * c->count; tries++) {
        slice = c->slices[c->hand];
        c->hand = (c->hand + 1) % c->count;
        if (slice->pins) {
            continue;
        }
        if (slice->valid && __atomic_load_n(&slice->used, __ATOMIC_RELAXED)) {
            __atomic_store_n(&slice->used, false, __ATOMIC_RELAXED);
            continue;
        }
        if (slice->dirty) {
            /* Writes all dirty slices, in the right order: the next victims are clean then. */
            int ret = qcow2_writeback(n, true);
            if (ret < 0) {
                return ret;
            }
        }
        qcow2_cache_unindex(c, slice);
        *out = slice;
        return 0;
    }
    /* Every slice is pinned or in use: goes past the limit rather than fail. */
    *out = slice_new(n, c);
    return *out ? 0 : -ENOMEM;
}

int coroutine_fn qcow2_cache_get(BlockNode *n, Qcow2Cache *c, uint64_t offset, Qcow2Slice **out)
{
    Qcow2Slice *slice = qcow2_cache_peek(c, offset);
    int ret;

    if (slice) {
        slice->pins++;
        *out = slice;
        return 0;
    }
    ret = qcow2_cache_victim(n, c, &slice);
    if (ret < 0) {
        return ret;
    }
    slice->pins++;
    ret = block_pread(n->file, offset, slice->data, c->slice_size);
    if (ret < 0) {
        slice->pins--;
        return ret;
    }
    g_mutex_lock(c->index_lock);
    slice->offset = offset;
    slice->valid = true;
    slice->used = true;
    g_hash_table_insert(c->index, &slice->offset, slice);
    g_mutex_unlock(c->index_lock);
    *out = slice;
    return 0;
}

void qcow2_cache_put(Qcow2Slice *slice)
{
    g_assert(slice->pins);
    slice->pins--;
}

void qcow2_cache_mark_dirty(Qcow2Cache *c, Qcow2Slice *slice)
{
    if (!slice->dirty) {
        slice->dirty = true;
        c->dirty++;
    }
}

static int by_offset(const void *a, const void *b)
{
    const Qcow2Slice *x = *(Qcow2Slice *const *)a, *y = *(Qcow2Slice *const *)b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int coroutine_fn qcow2_cache_write_dirty(BlockNode *n, Qcow2Cache *c)
{
    g_autofree Qcow2Slice **list = NULL;
    unsigned count = 0;
    int ret;

    if (!c->dirty) {
        return 0;
    }
    list = g_new(Qcow2Slice *, c->dirty);
    for (unsigned i = 0; i < c->count; i++) {
        if (c->slices[i]->dirty) {
            list[count++] = c->slices[i];
        }
    }
    qsort(list, count, sizeof *list, by_offset);
    for (unsigned i = 0; i < count; i++) {
        const char *what =
            qcow2_overlaps_fixed(block_node_state(n), list[i]->offset, c->slice_size);
        if (what) {
            return qcow2_corruption(n, "a table at %#" PRIx64 " would overwrite the %s",
                                    list[i]->offset, what);
        }
        ret = block_pwrite(n->file, list[i]->offset, list[i]->data, c->slice_size, 0);
        if (ret < 0) {
            return ret;
        }
        set_clean(c, list[i]);
    }
    return 0;
}

void qcow2_cache_forget(Qcow2Cache *c, uint64_t offset, uint64_t bytes)
{
    for (uint64_t o = offset; o < offset + bytes; o += c->slice_size) {
        Qcow2Slice *slice = g_hash_table_lookup(c->index, &o);
        if (slice) {
            set_clean(c, slice);
            qcow2_cache_unindex(c, slice);
        }
    }
}

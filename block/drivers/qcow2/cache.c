/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of slices of L2 tables and refcount blocks. A clock hand chooses which to replace. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "qcow2.h"
#include "base/trace.h"

enum {
    RUN_MAX = 64,  /* slices in one write */
    SLAB_MAX = 64, /* slices in one allocation */
};

bool qcow2_cache_init(Qcow2Cache *c, size_t slice_size, uint64_t bytes, GMutex *index_lock)
{
    c->slice_size = slice_size;
    c->max = CLAMP(bytes / slice_size, 8, UINT_MAX);
    c->index = g_hash_table_new(g_int64_hash, g_int64_equal);
    c->index_lock = index_lock;
    c->slabs = g_ptr_array_new_with_free_func(free);
    c->spare = g_ptr_array_new();
    return true;
}

void qcow2_cache_destroy(Qcow2Cache *c)
{
    qcow2_cache_unbatch(c);
    for (unsigned i = 0; i < c->count; i++) {
        g_free(c->slices[i]);
    }
    g_free(c->slices);
    g_clear_pointer(&c->slabs, g_ptr_array_unref);
    g_clear_pointer(&c->spare, g_ptr_array_unref);
    if (c->index) {
        g_hash_table_unref(c->index);
    }
    memset(c, 0, sizeof *c);
}

Qcow2Slice *qcow2_cache_peek(Qcow2Cache *c, uint64_t offset)
{
    Qcow2Slice *slice = g_hash_table_lookup(c->index, &offset);

    if (slice && __atomic_load_n(&slice->used, __ATOMIC_RELAXED) != QCOW2_USED_ALL) {
        __atomic_store_n(&slice->used, QCOW2_USED_ALL, __ATOMIC_RELAXED);
    }
    return slice;
}

/* Memory for one slice more; NULL: there is none. A page a slice would cost malloc() two. */
static uint8_t *slab_take(BlockNode *n, Qcow2Cache *c)
{
    if (c->slab_left == 0) {
        unsigned count = c->count < c->max ? MIN(c->max - c->count, SLAB_MAX) : 1;
        uint8_t *slab = block_buffer_new(n, count * c->slice_size);

        if (!slab) {
            return NULL;
        }
        g_ptr_array_add(c->slabs, slab);
        c->slab = slab;
        c->slab_left = count;
    }
    c->slab_left--;
    return c->slab + c->slab_left * c->slice_size;
}

static Qcow2Slice *slice_new(BlockNode *n, Qcow2Cache *c)
{
    uint8_t *data = slab_take(n, c);
    Qcow2Slice *slice;

    if (!data) {
        return NULL;
    }
    slice = g_new0(Qcow2Slice, 1);
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

static void leave_batch(Qcow2Slice *slice)
{
    slice->batched = false;
    g_clear_pointer(&slice->before, g_free);
}

static void set_clean(Qcow2Cache *c, Qcow2Slice *slice)
{
    leave_batch(slice);
    if (slice->dirty) {
        slice->dirty = false;
        c->dirty--;
    }
}

/* A slice to load into: a new one while there is room, else one that was not used lately. */
static int coroutine_fn qcow2_cache_victim(BlockNode *n, Qcow2Cache *c, Qcow2Slice **out)
{
    Qcow2Slice *slice;
    bool stuck = false;

    if (c->spare->len) {
        slice = g_ptr_array_steal_index_fast(c->spare, c->spare->len - 1);
        slice->spare = false;
        *out = slice;
        return 0;
    }
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
        if (slice->valid && __atomic_load_n(&slice->used, __ATOMIC_RELAXED) & QCOW2_USED_HAND) {
            __atomic_and_fetch(&slice->used, ~QCOW2_USED_HAND, __ATOMIC_RELAXED);
            continue;
        }
        if (slice->dirty) {
            /*
             * Writes all dirty slices, in the right order: the next victims are clean then. Where
             * that fails (no room), another slice goes: a read of the guest's has no part in it.
             */
            stuck = stuck || qcow2_writeback(n, true) < 0;
            if (stuck && slice->dirty) {
                continue;
            }
        }
        qcow2_cache_unindex(c, slice);
        *out = slice;
        return 0;
    }
    /* Every slice is pinned, in use or unwritten: goes past the limit rather than fail. */
    *out = slice_new(n, c);
    return *out ? 0 : -ENOMEM;
}

static bool is_l2_cache(BlockNode *n, const Qcow2Cache *c)
{
    return c == &((Qcow2State *)block_node_state(n))->l2_cache;
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
    trace(qcow2_cache_read, n->opts.node_name, offset, is_l2_cache(n, c));
    block_debug_event(n->file, is_l2_cache(n, c) ? BLOCK_DEBUG_L2_LOAD : BLOCK_DEBUG_REFBLOCK_LOAD);
    ret = block_pread(n->file, offset, slice->data, c->slice_size);
    if (ret < 0) {
        slice->pins--;
        return ret;
    }
    g_mutex_lock(c->index_lock);
    slice->offset = offset;
    slice->valid = true;
    slice->used = QCOW2_USED_ALL;
    g_hash_table_insert(c->index, &slice->offset, slice);
    g_mutex_unlock(c->index_lock);
    qcow2_caches_loaded(block_node_state(n));
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

/* Writes slices that lie side by side in the image, in one request; as they are in the batch. */
static int coroutine_fn write_run(BlockNode *n, Qcow2Cache *c, Qcow2Slice **run, unsigned count,
                                  bool batch)
{
    struct iovec iov[RUN_MAX];
    int ret;

    for (unsigned i = 0; i < count; i++) {
        const char *what = qcow2_overlaps_fixed(block_node_state(n), run[i]->offset, c->slice_size);

        if (what) {
            return qcow2_corruption(n, "a table at %#" PRIx64 " would overwrite the %s",
                                    run[i]->offset, what);
        }
        iov[i].iov_base = batch && run[i]->before ? run[i]->before : run[i]->data;
        iov[i].iov_len = c->slice_size;
    }
    block_debug_event(n->file,
                      is_l2_cache(n, c) ? BLOCK_DEBUG_L2_UPDATE : BLOCK_DEBUG_REFBLOCK_UPDATE_PART);
    ret = block_pwritev(n->file, run[0]->offset, count * c->slice_size, iov, count, 0);
    for (unsigned i = 0; i < count && ret == 0; i++) {
        if (batch && run[i]->before) {
            leave_batch(run[i]);
        } else {
            set_clean(c, run[i]);
        }
    }
    return ret;
}

static int coroutine_fn write_slices(BlockNode *n, Qcow2Cache *c, bool batch)
{
    g_autofree Qcow2Slice **list = NULL;
    unsigned count = 0, run;
    int ret = 0;

    if (!c->dirty) {
        return 0;
    }
    list = g_new(Qcow2Slice *, c->dirty);
    for (unsigned i = 0; i < c->count; i++) {
        if (batch ? c->slices[i]->batched : c->slices[i]->dirty) {
            list[count++] = c->slices[i];
        }
    }
    qsort(list, count, sizeof *list, by_offset);
    for (unsigned i = 0; i < count && ret == 0; i += run) {
        run = 1;
        while (i + run < count && run < RUN_MAX &&
               list[i + run]->offset == list[i]->offset + run * c->slice_size) {
            run++;
        }
        ret = write_run(n, c, list + i, run, batch);
    }
    return ret;
}

int coroutine_fn qcow2_cache_write_dirty(BlockNode *n, Qcow2Cache *c)
{
    return write_slices(n, c, false);
}

void qcow2_cache_batch(Qcow2Cache *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        g_assert(!c->slices[i]->batched);
        c->slices[i]->batched = c->slices[i]->dirty;
    }
}

void qcow2_cache_will_change(Qcow2Cache *c, Qcow2Slice *slice)
{
    if (slice->batched && !slice->before) {
        slice->before = g_memdup2(slice->data, c->slice_size);
    }
}

int coroutine_fn qcow2_cache_write_batch(BlockNode *n, Qcow2Cache *c)
{
    return write_slices(n, c, true);
}

void qcow2_cache_unbatch(Qcow2Cache *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        leave_batch(c->slices[i]);
    }
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

/* Whether a slice, which nobody uses under the lock, goes. What is used next time stays. */
static bool slice_is_idle(Qcow2Cache *c, Qcow2Slice *slice)
{
    if (slice->spare || slice->pins || slice->dirty) {
        return false;
    }
    if (slice->valid &&
        __atomic_fetch_and(&slice->used, ~QCOW2_USED_TICK, __ATOMIC_RELAXED) & QCOW2_USED_TICK) {
        return false;
    }
    qcow2_cache_unindex(c, slice);
    return true;
}

/* Gives the whole pages of a piece of a slab back. They read as zeroes, and are taken anew. */
static void release_pages(uint8_t *start, uint8_t *end)
{
    uintptr_t page = sysconf(_SC_PAGESIZE);
    uintptr_t first = ROUND_UP((uintptr_t)start, page), last = ROUND_DOWN((uintptr_t)end, page);

    if (first < last) {
        /* Without success, as for locked memory, the pages stay where they are. */
        (void)madvise((void *)first, last - first, MADV_DONTNEED);
    }
}

bool qcow2_cache_drop_idle(Qcow2Cache *c)
{
    uint8_t *start = NULL, *end = NULL; /* a run of spare slices, which lie side by side */

    for (unsigned i = 0; i < c->count; i++) {
        Qcow2Slice *slice = c->slices[i];

        if (slice_is_idle(c, slice)) {
            slice->spare = true;
            g_ptr_array_add(c->spare, slice);
        }
        /* slab_take() goes from a slab's end to its start. */
        if (!slice->spare || slice->data + c->slice_size != start) {
            release_pages(start, end);
            start = end = slice->data + c->slice_size;
        }
        start = slice->spare ? slice->data : start;
    }
    release_pages(start, end);
    return c->count > c->spare->len;
}

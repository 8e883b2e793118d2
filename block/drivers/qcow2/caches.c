/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two caches of an open image: their sizes, and the timer of 'cache-clean-interval'.
 *
 * The timer belongs to the main loop, where images are opened and closed, and is armed while there
 * is something to drop: an image that rests wakes nobody. What the timer starts does not yield, so
 * nothing has to wait for it when the image is closed or becomes inactive.
 */
#include "qcow2.h"

enum {
    SLICE_BYTES = 4096,
    MIN_REFCOUNT_CLUSTERS = 4, /* what 'cache-size' leaves to refcounts at least, as in QEMU */
};

#define RETRY_NS NS_PER_SEC /* the image was busy */

static size_t l2_slice_size(const Qcow2State *s)
{
    return s->options.has_l2_entry_size ? s->options.l2_entry_size
                                        : MIN(SLICE_BYTES, s->cluster_size);
}

/* The bytes that all L2 tables of the disk have. */
static uint64_t all_l2_tables(const Qcow2State *s)
{
    return ROUND_UP(DIV_ROUND_UP(s->size, s->cluster_size) * s->l2_entry_size, l2_slice_size(s));
}

/* 'cache-size' is the sum; what is given of the two parts is theirs. */
static void cache_sizes(const Qcow2State *s, uint64_t *l2, uint64_t *refcounts)
{
    const Qcow2Options *o = &s->options;
    uint64_t tables = all_l2_tables(s), least = MIN_REFCOUNT_CLUSTERS * s->cluster_size;

    *l2 = o->l2_cache_size;
    *refcounts = o->refcount_cache_size;
    if (!o->has_cache_size) {
        return;
    }
    if (o->has_l2_cache_size) {
        *refcounts = o->cache_size - *l2;
    } else if (o->has_refcount_cache_size) {
        *l2 = o->cache_size - *refcounts;
    } else {
        *l2 = o->cache_size >= tables + least ? tables : o->cache_size - MIN(o->cache_size, least);
        *refcounts = o->cache_size - *l2;
    }
}

/* No L2 cache is larger than the tables, and a few slices that are new in their place. */
static uint64_t l2_limit(const Qcow2State *s, uint64_t bytes)
{
    return MIN(bytes, all_l2_tables(s) + 8 * l2_slice_size(s));
}

static void coroutine_fn caches_clean(void *data)
{
    Qcow2State *s = data;
    int64_t wait = RETRY_NS;
    bool left = true;

    if (co_mutex_try_lock(&s->lock)) {
        bool l2_left = qcow2_cache_drop_idle(&s->l2_cache);

        left = qcow2_cache_drop_idle(&s->ref_cache) || l2_left;
        wait = s->options.clean_interval * NS_PER_SEC;
        co_mutex_unlock(&s->lock);
    }
    if (left) {
        timer_arm(s->clean_timer, clock_ns(CLOCK_REALTIME_NS) + wait);
    }
}

static void caches_clean_due(void *data)
{
    coroutine_start(caches_clean, data);
}

void qcow2_caches_loaded(Qcow2State *s)
{
    if (s->clean_timer && !timer_armed(s->clean_timer)) {
        timer_arm(s->clean_timer,
                  clock_ns(CLOCK_REALTIME_NS) + s->options.clean_interval * NS_PER_SEC);
    }
}

bool qcow2_same_caches(const Qcow2Options *a, const Qcow2Options *b)
{
    return a->has_cache_size == b->has_cache_size && a->cache_size == b->cache_size &&
           a->has_l2_cache_size == b->has_l2_cache_size && a->l2_cache_size == b->l2_cache_size &&
           a->has_refcount_cache_size == b->has_refcount_cache_size &&
           a->refcount_cache_size == b->refcount_cache_size &&
           a->has_l2_entry_size == b->has_l2_entry_size && a->l2_entry_size == b->l2_entry_size &&
           a->clean_interval == b->clean_interval;
}

void qcow2_caches_open(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    uint64_t l2, refcounts;

    s->slice_entries = l2_slice_size(s) / s->l2_entry_size;
    cache_sizes(s, &l2, &refcounts);
    qcow2_cache_init(&s->l2_cache, l2_slice_size(s), l2_limit(s, l2), &s->map_lock);
    qcow2_cache_init(&s->ref_cache, MIN(SLICE_BYTES, s->cluster_size), refcounts, &s->map_lock);
    if (s->options.clean_interval) {
        s->clean_timer = timer_new(event_loop_current(), CLOCK_REALTIME_NS, caches_clean_due, s);
    }
}

void qcow2_caches_close(Qcow2State *s)
{
    g_clear_pointer(&s->clean_timer, timer_free);
    qcow2_cache_destroy(&s->l2_cache);
    qcow2_cache_destroy(&s->ref_cache);
}

void qcow2_caches_grow(Qcow2State *s)
{
    uint64_t l2, refcounts;

    cache_sizes(s, &l2, &refcounts);
    s->l2_cache.max = MAX(s->l2_cache.max, l2_limit(s, l2) / s->l2_cache.slice_size);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bits in leaves, leaves in a table. A leaf stays where it is until the end, so that words are
 * changed without a lock. The table grows by a copy, under the lock; readers may still look at an
 * old one, which is kept: all old tables together are smaller than the last.
 *
 * A leaf's count is raised before its bits are set, and lowered after they were cleared: where it
 * is 0, no bit is set whose setter has returned.
 */
#include "dirty_bits.h"
#include <glib.h>
#include "base/util.h"

enum { LEAF_WORDS = 512, LEAF_BITS = LEAF_WORDS * 64 };

typedef struct {
    uint64_t count;             /* atomic */
    uint64_t words[LEAF_WORDS]; /* atomic */
} Leaf;

typedef struct Table {
    struct Table *old;
    uint64_t n;
    Leaf *leaves[]; /* atomic; NULL: no bit was ever set there */
} Table;

struct DirtyBits {
    GMutex lock;  /* new leaves, new tables; a leaf lock */
    Table *table; /* atomic */
};

static Table *table_new(uint64_t n)
{
    Table *t = g_malloc0(sizeof *t + n * sizeof t->leaves[0]);

    t->n = n;
    return t;
}

DirtyBits *dirty_bits_new(void)
{
    DirtyBits *b = g_new0(DirtyBits, 1);

    g_mutex_init(&b->lock);
    b->table = table_new(16);
    return b;
}

void dirty_bits_free(DirtyBits *b)
{
    if (!b) {
        return;
    }
    for (uint64_t i = 0; i < b->table->n; i++) {
        g_free(b->table->leaves[i]);
    }
    while (b->table) {
        Table *t = b->table;

        b->table = t->old;
        g_free(t);
    }
    g_mutex_clear(&b->lock);
    g_free(b);
}

static inline Table *table_of(DirtyBits *b)
{
    return __atomic_load_n(&b->table, __ATOMIC_ACQUIRE);
}

static inline Leaf *leaf_at(Table *t, uint64_t i)
{
    return i < t->n ? __atomic_load_n(&t->leaves[i], __ATOMIC_ACQUIRE) : NULL;
}

static Leaf *leaf_make(DirtyBits *b, uint64_t i)
{
    Table *t;
    Leaf *leaf;

    g_mutex_lock(&b->lock);
    t = b->table;
    if (i >= t->n) {
        Table *more = table_new(MAX(i + 1, t->n * 2));

        for (uint64_t j = 0; j < t->n; j++) {
            more->leaves[j] = t->leaves[j];
        }
        more->old = t;
        t = more;
        __atomic_store_n(&b->table, t, __ATOMIC_RELEASE);
    }
    leaf = t->leaves[i];
    if (!leaf) {
        leaf = g_new0(Leaf, 1);
        __atomic_store_n(&t->leaves[i], leaf, __ATOMIC_RELEASE);
    }
    g_mutex_unlock(&b->lock);
    return leaf;
}

/* The bits of a word that lie in [first, end), which meets the word. */
static inline uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t from = MAX(first, word * 64) - word * 64, to = MIN(end, word * 64 + 64) - word * 64;

    return (UINT64_MAX << from) & (UINT64_MAX >> (64 - to));
}

static void leaf_set(Leaf *leaf, unsigned w, uint64_t mask)
{
    uint64_t *word = &leaf->words[w], old;

    /* A change of the word even where all is set: whoever takes the bits next sees the write. */
    if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) == mask &&
        (__atomic_fetch_or(word, 0, __ATOMIC_SEQ_CST) & mask) == mask) {
        return;
    }
    __atomic_add_fetch(&leaf->count, __builtin_popcountll(mask), __ATOMIC_SEQ_CST);
    old = __atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST);
    if (old & mask) {
        __atomic_sub_fetch(&leaf->count, __builtin_popcountll(old & mask), __ATOMIC_SEQ_CST);
    }
}

static void leaf_reset(Leaf *leaf, unsigned w, uint64_t mask)
{
    uint64_t old = __atomic_fetch_and(&leaf->words[w], ~mask, __ATOMIC_SEQ_CST) & mask;

    if (old) {
        __atomic_sub_fetch(&leaf->count, __builtin_popcountll(old), __ATOMIC_SEQ_CST);
    }
}

void dirty_bits_set(DirtyBits *b, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t word = first / 64;
        Leaf *leaf = leaf_at(table_of(b), first / LEAF_BITS);

        leaf = leaf ? leaf : leaf_make(b, first / LEAF_BITS);
        leaf_set(leaf, word % LEAF_WORDS, word_mask(word, first, end));
        first = (word + 1) * 64;
    }
}

/* The number of the first bit behind the leaf that holds 'bit'. */
static inline uint64_t leaf_end(uint64_t bit)
{
    return (bit / LEAF_BITS + 1) * LEAF_BITS;
}

void dirty_bits_reset(DirtyBits *b, uint64_t first, uint64_t end)
{
    Table *t = table_of(b);

    end = MIN(end, t->n * LEAF_BITS);
    while (first < end) {
        uint64_t word = first / 64;
        Leaf *leaf = leaf_at(t, first / LEAF_BITS);

        if (!leaf || !__atomic_load_n(&leaf->count, __ATOMIC_SEQ_CST)) {
            first = leaf_end(first);
            continue;
        }
        leaf_reset(leaf, word % LEAF_WORDS, word_mask(word, first, end));
        first = (word + 1) * 64;
    }
}

/* The first set bit in [first, end), or 'end'. */
static uint64_t next_set(Table *t, uint64_t first, uint64_t end)
{
    uint64_t stop = MIN(end, t->n * LEAF_BITS);

    while (first < stop) {
        uint64_t word = first / 64, value;
        Leaf *leaf = leaf_at(t, first / LEAF_BITS);

        if (!leaf || !__atomic_load_n(&leaf->count, __ATOMIC_SEQ_CST)) {
            first = leaf_end(first);
            continue;
        }
        value = __atomic_load_n(&leaf->words[word % LEAF_WORDS], __ATOMIC_SEQ_CST) &
                word_mask(word, first, stop);
        if (value) {
            return word * 64 + __builtin_ctzll(value);
        }
        first = (word + 1) * 64;
    }
    return end;
}

/* Takes the set bits of one word from 'first' on, without a gap, up to 'end'. Returns their end. */
static uint64_t take_in_word(Table *t, uint64_t first, uint64_t end)
{
    Leaf *leaf = leaf_at(t, first / LEAF_BITS);
    uint64_t word = first / 64, old, mask, all = word_mask(word, first, end);
    uint64_t *at;

    if (!leaf) {
        return first;
    }
    at = &leaf->words[word % LEAF_WORDS];
    old = __atomic_load_n(at, __ATOMIC_SEQ_CST);
    do {
        uint64_t clear = ~old & all;

        mask = clear ? all & ((clear & -clear) - 1) : all;
        if (!mask) {
            return first;
        }
    } while (!__atomic_compare_exchange_n(at, &old, old & ~mask, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    __atomic_sub_fetch(&leaf->count, __builtin_popcountll(mask), __ATOMIC_SEQ_CST);
    return first + __builtin_popcountll(mask);
}

static uint64_t take_run(Table *t, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t stop = MIN(end, (first / 64 + 1) * 64), got = take_in_word(t, first, stop);

        if (got < stop) {
            return got;
        }
        first = stop;
    }
    return first;
}

bool dirty_bits_next(DirtyBits *b, uint64_t *first, uint64_t *last, uint64_t end, uint64_t max,
                     bool take)
{
    for (;;) {
        Table *t = table_of(b);
        uint64_t at = next_set(t, *first, end), stop = end - at > max ? at + max : end;

        if (at >= end) {
            return false;
        }
        *last = take ? take_run(t, at, stop) : dirty_bits_next_clear(b, at, stop);
        if (*last > at) {
            *first = at;
            return true;
        }
        *first = at; /* another has taken the bit meanwhile */
    }
}

uint64_t dirty_bits_next_clear(DirtyBits *b, uint64_t first, uint64_t end)
{
    Table *t = table_of(b);

    while (first < end) {
        uint64_t word = first / 64, value;
        Leaf *leaf = leaf_at(t, first / LEAF_BITS);

        if (!leaf) {
            return first;
        }
        value = ~__atomic_load_n(&leaf->words[word % LEAF_WORDS], __ATOMIC_SEQ_CST) &
                word_mask(word, first, end);
        if (value) {
            return word * 64 + __builtin_ctzll(value);
        }
        first = (word + 1) * 64;
    }
    return end;
}

uint64_t dirty_bits_count(DirtyBits *b)
{
    Table *t = table_of(b);
    uint64_t sum = 0;

    for (uint64_t i = 0; i < t->n; i++) {
        Leaf *leaf = leaf_at(t, i);

        sum += leaf ? __atomic_load_n(&leaf->count, __ATOMIC_SEQ_CST) : 0;
    }
    return sum;
}

uint64_t dirty_bits_word(DirtyBits *b, uint64_t index)
{
    Leaf *leaf = leaf_at(table_of(b), index / LEAF_WORDS);

    return leaf ? __atomic_load_n(&leaf->words[index % LEAF_WORDS], __ATOMIC_SEQ_CST) : 0;
}

void dirty_bits_put_word(DirtyBits *b, uint64_t index, uint64_t value)
{
    Leaf *leaf = leaf_at(table_of(b), index / LEAF_WORDS);

    if (value && !leaf) {
        leaf = leaf_make(b, index / LEAF_WORDS);
    }
    if (leaf) {
        leaf_reset(leaf, index % LEAF_WORDS, ~value);
        if (value) {
            leaf_set(leaf, index % LEAF_WORDS, value);
        }
    }
}

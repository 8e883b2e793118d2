/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bit for each cluster of a disk. The caller has a lock. */
#ifndef BLOCK_CLUSTER_BITS_H
#define BLOCK_CLUSTER_BITS_H

#include <glib.h>
#include "base/util.h"

typedef struct {
    uint64_t *words;
    uint64_t n, set; /* bits; how many are set */
} ClusterBits;

static inline void cluster_bits_init(ClusterBits *b, uint64_t n)
{
    *b = (ClusterBits){.words = g_new0(uint64_t, DIV_ROUND_UP(n, 64)), .n = n};
}

static inline void cluster_bits_clear(ClusterBits *b)
{
    g_clear_pointer(&b->words, g_free);
}

static inline bool cluster_bits_get(const ClusterBits *b, uint64_t i)
{
    return b->words[i / 64] >> i % 64 & 1;
}

/* The first bit from 'i' on that has the value; or 'end'. */
static inline uint64_t cluster_bits_find(const ClusterBits *b, uint64_t i, uint64_t end, bool value)
{
    while (i < end) {
        uint64_t word = (value ? b->words[i / 64] : ~b->words[i / 64]) >> i % 64;

        if (word) {
            return MIN(i + __builtin_ctzll(word), end);
        }
        i = ROUND_DOWN(i, 64) + 64;
    }
    return end;
}

static inline void cluster_bits_put(ClusterBits *b, uint64_t i, uint64_t end, bool value)
{
    for (; i < end; i++) {
        if (cluster_bits_get(b, i) != value) {
            b->words[i / 64] ^= BIT64(i % 64);
            b->set += value ? 1 : -1;
        }
    }
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Latency histograms of a backend (block-latency-histogram-set). */
#include "block/histogram.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "core.h"

/* Boundaries do not change; bins count, by any thread. */
struct BlockHistogram {
    unsigned count; /* of boundaries; there is one bin more */
    uint64_t *boundaries, *bins;
};

static void histogram_free(void *data)
{
    struct BlockHistogram *h = data;

    if (h) {
        g_free(h->boundaries);
        g_free(h->bins);
        g_free(h);
    }
}

/* A thread may be counting in the old one. */
static void histogram_replace(BlockBackend *blk, BlockOp op, struct BlockHistogram *h)
{
    struct BlockHistogram *old = __atomic_exchange_n(&blk->histograms[op], h, __ATOMIC_ACQ_REL);

    if (old) {
        reclaim_retire(histogram_free, old);
    }
}

bool block_backend_set_histogram(BlockBackend *blk, BlockOp op, json_t *boundaries)
{
    struct BlockHistogram *h = g_new0(struct BlockHistogram, 1);
    uint64_t before = 0;
    json_t *value;
    size_t i;

    h->boundaries = g_new0(uint64_t, MAX(json_array_size(boundaries), 1));
    h->bins = g_new0(uint64_t, json_array_size(boundaries) + 1);
    json_array_foreach(boundaries, i, value)
    {
        uint64_t at = json_integer_value(value);

        if (at <= before) {
            histogram_free(h);
            return false;
        }
        h->boundaries[h->count++] = before = at;
    }
    histogram_replace(blk, op, h);
    return true;
}

void block_backend_clear_histograms(BlockBackend *blk)
{
    for (unsigned op = 0; op < BLOCK_HISTOGRAMS; op++) {
        histogram_replace(blk, op, NULL);
    }
}

void block_histogram_count(BlockBackend *blk, BlockOp op, uint64_t ns)
{
    struct BlockHistogram *h = __atomic_load_n(&blk->histograms[op], __ATOMIC_ACQUIRE);
    unsigned low = 0, high;

    if (!h) {
        return;
    }
    /* The first boundary that lies above. */
    for (high = h->count; low < high;) {
        unsigned middle = low + (high - low) / 2;

        if (h->boundaries[middle] > ns) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    __atomic_add_fetch(&h->bins[low], 1, __ATOMIC_RELAXED);
}

json_t *block_backend_histogram(BlockBackend *blk, BlockOp op)
{
    const struct BlockHistogram *h = __atomic_load_n(&blk->histograms[op], __ATOMIC_ACQUIRE);
    json_t *boundaries, *bins;

    if (!h) {
        return NULL;
    }
    boundaries = json_array();
    bins = json_array();
    for (unsigned i = 0; i <= h->count; i++) {
        if (i < h->count) {
            json_array_append_new(boundaries, json_integer(h->boundaries[i]));
        }
        json_array_append_new(bins, json_integer(__atomic_load_n(&h->bins[i], __ATOMIC_RELAXED)));
    }
    return json_pack("{s:o,s:o}", "boundaries", boundaries, "bins", bins);
}

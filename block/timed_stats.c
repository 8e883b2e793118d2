/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An average over the last interval would take a record of each request in it. Two windows of that
 * length, half of it apart, do with less: what is told is that of the older one, which has seen
 * between a half and the whole of the interval.
 */
#include "timed_stats.h"
#include "base/event_loop.h"
#include "base/util.h"

typedef struct {
    int64_t ends; /* CLOCK_REALTIME_NS */
    uint64_t min, max, sum, count;
} TimedWindow;

static const struct {
    BlockOp op;
    const char *name;
} timed_ops[] = {{BLOCK_OP_READ, "rd"}, {BLOCK_OP_WRITE, "wr"}, {BLOCK_OP_FLUSH, "flush"}};

struct BlockTimedStats {
    GMutex lock; /* leaf */
    int64_t length_ns;
    TimedWindow windows[ARRAY_SIZE(timed_ops)][2];
};

BlockTimedStats *block_timed_stats_new(uint32_t seconds)
{
    BlockTimedStats *s = g_new0(BlockTimedStats, 1);
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    g_mutex_init(&s->lock);
    s->length_ns = seconds * NS_PER_SEC;
    for (unsigned i = 0; i < ARRAY_SIZE(timed_ops); i++) {
        s->windows[i][0].ends = now + s->length_ns / 2;
        s->windows[i][1].ends = now + s->length_ns;
    }
    return s;
}

void block_timed_stats_free(void *stats)
{
    BlockTimedStats *s = stats;

    g_mutex_clear(&s->lock);
    g_free(s);
}

/* Empties the windows that have ended, and returns the older one. */
static TimedWindow *timed_older(BlockTimedStats *s, unsigned i, int64_t now)
{
    TimedWindow *w = s->windows[i];

    for (unsigned k = 0; k < 2; k++) {
        if (now >= w[k].ends) {
            int64_t over = (now - w[k].ends) / s->length_ns + 1;

            w[k] = (TimedWindow){.ends = w[k].ends + over * s->length_ns};
        }
    }
    return w[0].ends <= w[1].ends ? &w[0] : &w[1];
}

static void timed_add(TimedWindow *w, uint64_t latency)
{
    w->min = w->count ? MIN(w->min, latency) : latency;
    w->max = MAX(w->max, latency);
    w->sum += latency;
    w->count++;
}

void block_timed_stats_count(BlockTimedStats *s, BlockOp op, int64_t latency_ns)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    g_mutex_lock(&s->lock);
    for (unsigned i = 0; i < ARRAY_SIZE(timed_ops); i++) {
        if (timed_ops[i].op == op) {
            timed_older(s, i, now);
            timed_add(&s->windows[i][0], latency_ns);
            timed_add(&s->windows[i][1], latency_ns);
        }
    }
    g_mutex_unlock(&s->lock);
}

static void timed_put(json_t *o, const char *format, const char *op, json_t *value)
{
    g_autofree char *key = g_strdup_printf(format, op);

    json_object_set_new(o, key, value);
}

json_t *block_timed_stats_json(BlockTimedStats *s)
{
    json_t *o = json_pack("{s:I}", "interval_length", (json_int_t)(s->length_ns / 1000000000));
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    g_mutex_lock(&s->lock);
    for (unsigned i = 0; i < ARRAY_SIZE(timed_ops); i++) {
        const TimedWindow *w = timed_older(s, i, now);
        const char *op = timed_ops[i].name;
        int64_t elapsed = s->length_ns - (w->ends - now);

        timed_put(o, "min_%s_latency_ns", op, json_integer(w->min));
        timed_put(o, "max_%s_latency_ns", op, json_integer(w->max));
        timed_put(o, "avg_%s_latency_ns", op, json_integer(w->count ? w->sum / w->count : 0));
        if (timed_ops[i].op != BLOCK_OP_FLUSH) {
            timed_put(o, "avg_%s_queue_depth", op,
                      json_real(elapsed > 0 ? (double)w->sum / (double)elapsed : 0));
        }
    }
    g_mutex_unlock(&s->lock);
    return o;
}

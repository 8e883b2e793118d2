/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a backend's requests were like in the last so many seconds: least, greatest and average
 * latency, and how many were in flight ('-drive stats-intervals'). Private to block/.
 */
#ifndef BLOCK_TIMED_STATS_H
#define BLOCK_TIMED_STATS_H

#include <jansson.h>
#include "block/backend.h"

typedef struct BlockTimedStats BlockTimedStats;

/* Main thread. */
BlockTimedStats *block_timed_stats_new(uint32_t seconds);
void block_timed_stats_free(void *stats);
/* Any thread: a read, write or flush took so long. Other operations are not counted. */
void block_timed_stats_count(BlockTimedStats *s, BlockOp op, int64_t latency_ns);
/* An entry of query-blockstats' 'timed_stats'. New reference. */
json_t *block_timed_stats_json(BlockTimedStats *s);

#endif

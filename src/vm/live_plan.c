/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When a live save stops the guest. */
#include "live_plan.h"

#include "base/util.h"

enum {
    STOP_NS = 50 * NS_PER_MS, /* that the last pass may take */
    PASSES_MAX = 30,
    STUCK_MAX = 3,
    TELLS = MiB, /* shorter passes say nothing of the speed */
    /* Of the stop, as measured on one machine: devices, a flush of each table, a cluster's count.
     */
    DEVICES_NS = 10 * NS_PER_MS,
    FLUSHES = 3,
    CLUSTER_NS = 240,
};

void live_plan_passed(LivePlan *p, uint64_t bytes, int64_t write_ns, int64_t flush_ns)
{
    if (!p->passes || bytes >= TELLS) {
        p->ns_per_byte = (double)(write_ns + flush_ns) / MAX(bytes, TELLS);
    }
    p->least_ns = p->passes ? MIN(p->least_ns, flush_ns) : flush_ns;
    p->passes++;
}

static int64_t live_plan_rest_ns(const LivePlan *p)
{
    return p->left * p->ns_per_byte + p->least_ns;
}

int64_t live_plan_stop_ns(const LivePlan *p)
{
    return live_plan_rest_ns(p) + DEVICES_NS + FLUSHES * p->least_ns + p->clusters * CLUSTER_NS;
}

bool live_plan_stops(LivePlan *p, uint64_t left)
{
    bool less = p->passes < 2 || left < p->left - p->left / 4;

    p->left = left;
    p->stuck = less ? 0 : p->stuck + 1;
    return !left || live_plan_rest_ns(p) <= STOP_NS || p->stuck >= STUCK_MAX ||
           p->passes >= PASSES_MAX;
}

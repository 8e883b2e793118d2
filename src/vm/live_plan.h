/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When a live save stops the guest: once what is left takes about as long as a user does not
 * notice, or passes do not make it less. A pure calculation, of what passes took.
 */
#ifndef VM_LIVE_PLAN_H
#define VM_LIVE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

/* Begins as zeroes. Private, but for the last. */
typedef struct {
    unsigned passes, stuck; /* that left no less than the one before, in a row */
    uint64_t left;          /* bytes */
    double ns_per_byte;     /* of the last pass that was long enough to tell */
    int64_t least_ns;       /* what a pass takes at least, that is to say its flush */
    /* Set by the user: clusters that the disks' snapshots have to count. */
    uint64_t clusters;
} LivePlan;

/* A pass wrote so many bytes, or looked at them, in so long; then it flushed. */
void live_plan_passed(LivePlan *p, uint64_t bytes, int64_t write_ns, int64_t flush_ns);
/* After a pass so many bytes are left. True: the guest is to stop now. */
bool live_plan_stops(LivePlan *p, uint64_t left);
/* About how long the guest will stand still: for what is left, the devices, and the disks. */
int64_t live_plan_stop_ns(const LivePlan *p);

#endif

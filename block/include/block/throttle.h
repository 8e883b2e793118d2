/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O limits: groups of leaky buckets (QEMU's docs/throttle.txt). A group has limits in bytes and
 * in operations a second, for reads, for writes, and for both together; its members share them, in
 * turns. A member is a drive (-drive throttling.*, block_set_io_throttle) or a node of the filter
 * 'throttle'.
 *
 * A bucket leaks at its limit. A request goes when the bucket has room, and fills it: 'max' for
 * 'length' seconds, or a tenth of a second's worth of the limit where there is no 'max', go at
 * once. Time is the real clock's, and under qtest the virtual one's.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include <glib.h>
#include <jansson.h>
#include "base/coroutine.h"
#include "base/object.h"
#include "block/backend.h"

typedef enum {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE_KINDS
} ThrottleKind;

typedef struct {
    uint64_t avg;    /* a second; 0: no limit */
    uint64_t max;    /* a second, in a burst; 0: none */
    uint64_t length; /* of a burst, in seconds */
} ThrottleLimit;

typedef struct {
    ThrottleLimit limits[THROTTLE_KINDS];
    uint64_t iops_size; /* bytes that count as one operation; 0: each request is one */
} ThrottleConfig;

/* No limits. */
void throttle_config_init(ThrottleConfig *c);
bool throttle_config_check(const ThrottleConfig *c, GError **err);
bool throttle_config_limits(const ThrottleConfig *c); /* whether there is any limit */
/*
 * The field that 'name' ("bps-read-max", "iops-size") stands for, as in QEMU's ThrottleLimits;
 * NULL: none.
 */
uint64_t *throttle_config_field(ThrottleConfig *c, const char *name);
/* All names, NULL-terminated, in QEMU's order. */
extern const char *const throttle_names[];

/* Groups: main thread. */
typedef struct ThrottleGroup ThrottleGroup;
ThrottleGroup *throttle_group_find(const char *name); /* or NULL */
/* The group of that name, a new one without limits where there is none. With a reference. */
ThrottleGroup *throttle_group_get(const char *name);
ThrottleGroup *throttle_group_ref(ThrottleGroup *g);
void throttle_group_unref(ThrottleGroup *g);
const char *throttle_group_name(const ThrottleGroup *g);
void throttle_group_config(ThrottleGroup *g, ThrottleConfig *c);
/* 'c' has passed throttle_config_check(). All buckets are empty then. */
void throttle_group_set_config(ThrottleGroup *g, const ThrottleConfig *c);
extern const ObjectClass throttle_group_class;          /* -object throttle-group */
extern const ObjectClass *const block_object_classes[]; /* for object_add_classes() */

/* Counts whoever has the group, beside the caller, in *users until the call with NULL. */
void throttle_group_count_users(ThrottleGroup *g, unsigned *users);
/* The object of this name, where there is one, shows the group's limits. */
void throttle_group_show(ThrottleGroup *g);

/*
 * A drive's limits. Without any limit in 'c' they end. 'group' NULL: the group that it has, or one
 * that is called as the drive. Others that share the group get the limits as well.
 */
bool coroutine_fn block_backend_set_limits(BlockBackend *blk, const char *group,
                                           const ThrottleConfig *c, GError **err);
/* The name of the drive's group, and its limits; NULL: no limits. */
const char *block_backend_limits(BlockBackend *blk, ThrottleConfig *c);

/*
 * Members. Main thread, but for throttle_wait(). The last reference is given up when no request
 * waits.
 */
typedef struct ThrottleMember ThrottleMember;
ThrottleMember *throttle_member_new(ThrottleGroup *g);
ThrottleMember *throttle_member_ref(ThrottleMember *m);
void throttle_member_unref(ThrottleMember *m);
ThrottleGroup *throttle_member_group(ThrottleMember *m);
/* No request waits. */
void throttle_member_move(ThrottleMember *m, ThrottleGroup *g);
/* While it is lifted (a drain), requests do not wait, those that did go at once. Nests. */
void throttle_member_lift(ThrottleMember *m);
void throttle_member_unlift(ThrottleMember *m);
/* Any loop: waits for the request's turn, and counts it. */
void coroutine_fn throttle_wait(ThrottleMember *m, bool write, uint64_t bytes);

#endif

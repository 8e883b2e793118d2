/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of a drive (-drive throttling.*, block_set_io_throttle): the backend is a member. */
#include "base/error.h"
#include "base/util.h"
#include "block/throttle.h"
#include "core.h"
#include "drivers/throttle_node.h"

static void coroutine_fn limits_end(BlockBackend *blk)
{
    ThrottleMember *m;

    block_backend_drain_begin(blk);
    m = __atomic_exchange_n(&blk->throttle, NULL, __ATOMIC_SEQ_CST);
    block_backend_drain_end(blk);
    throttle_member_unref(m);
}

/* Requests that wait in the old group go first. */
static void coroutine_fn limits_move(BlockBackend *blk, ThrottleGroup *g)
{
    block_backend_drain_begin(blk);
    if (blk->throttle) { /* else another command has ended the limits meanwhile */
        throttle_member_move(blk->throttle, g);
    }
    block_backend_drain_end(blk);
}

bool coroutine_fn block_backend_set_limits(BlockBackend *blk, const char *group,
                                           const ThrottleConfig *c, GError **err)
{
    ThrottleGroup *g;

    if (!throttle_config_check(c, err)) {
        return false;
    }
    if (!throttle_config_limits(c)) {
        if (blk->throttle) {
            block_backend_ref(blk);
            limits_end(blk);
            block_backend_unref(blk);
        }
        return true;
    }
    if (!blk->throttle) {
        g = throttle_group_get(group ? group : *blk->name ? blk->name : blk->device);
        __atomic_store_n(&blk->throttle, throttle_member_new(g), __ATOMIC_SEQ_CST);
    } else if (group && throttle_member_group(blk->throttle) != throttle_group_find(group)) {
        g = throttle_group_get(group);
        block_backend_ref(blk);
        limits_move(blk, g);
        block_backend_unref(blk);
    } else {
        g = throttle_group_ref(throttle_member_group(blk->throttle));
    }
    throttle_group_set_config(g, c);
    throttle_group_show(g);
    throttle_group_unref(g);
    return true;
}

const char *block_backend_limits(BlockBackend *blk, ThrottleConfig *c)
{
    ThrottleGroup *g = blk->throttle ? throttle_member_group(blk->throttle) : NULL;

    if (!g) {
        return NULL;
    }
    throttle_group_config(g, c);
    return throttle_group_name(g);
}

void block_backend_limits_lift(BlockBackend *blk)
{
    blk->lifted = throttle_lift_below(blk->root);
    if (blk->throttle) {
        blk->lifted = blk->lifted ? blk->lifted : g_ptr_array_new();
        g_ptr_array_add(blk->lifted, throttle_member_ref(blk->throttle));
        throttle_member_lift(blk->throttle);
    }
}

void block_backend_limits_unlift(BlockBackend *blk)
{
    throttle_unlift(g_steal_pointer(&blk->lifted));
}

bool block_backend_is_throttled(BlockBackend *blk, const BlockRequest *req)
{
    return __atomic_load_n(&blk->throttle, __ATOMIC_SEQ_CST) &&
           (req->op == BLOCK_OP_READ || req->op == BLOCK_OP_WRITE ||
            req->op == BLOCK_OP_WRITE_ZEROES);
}

void coroutine_fn block_backend_throttle(BlockBackend *blk, const BlockRequest *req)
{
    throttle_wait(__atomic_load_n(&blk->throttle, __ATOMIC_SEQ_CST), req->op != BLOCK_OP_READ,
                  req->bytes);
}

void block_backend_limits_free(BlockBackend *blk)
{
    block_backend_limits_unlift(blk);
    throttle_member_unref(g_steal_pointer(&blk->throttle));
}

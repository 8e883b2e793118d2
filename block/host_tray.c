/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A medium that lies in a drive of the host's (driver host_cdrom). The host's door and tray follow
 * the guest's, and the guest is told of a disc that comes or goes in the host's drive. The host is
 * asked when the guest asks, so that a quiet guest costs nothing.
 */
#include "base/coroutine.h"
#include "block/media.h"
#include "core.h"

enum { POLL_NS = 500000000 };

static BlockNode *host_tray_bottom(BlockNode *n)
{
    while (n && n->file) {
        n = n->file;
    }
    return n;
}

bool block_node_has_medium(BlockNode *n)
{
    const BlockNode *bottom = host_tray_bottom(n);

    return !bottom->driver->has_medium || bottom->driver->has_medium((BlockNode *)bottom);
}

/* The caller is counted as a request, so the medium stays in the backend. */
static void coroutine_fn host_tray_follow_once(BlockBackend *blk)
{
    BlockNode *node = host_tray_bottom(blk->root);
    int move = __atomic_exchange_n(&blk->host_tray_move, BLOCK_TRAY_STAYS, __ATOMIC_SEQ_CST);

    if (node && node->driver->follow_tray &&
        node->driver->follow_tray(node, move, block_backend_medium_locked(blk))) {
        block_node_resized(node);
        block_media_tell(blk);
    }
}

static void coroutine_fn host_tray_follow(void *data)
{
    BlockBackend *blk = data;

    while (__atomic_exchange_n(&blk->host_tray_wanted, false, __ATOMIC_SEQ_CST)) {
        block_backend_enter(blk);
        host_tray_follow_once(blk);
        block_backend_leave(blk);
    }
    blk->host_tray_follows = false;
    block_backend_unref(blk);
}

static void host_tray_bh(void *data)
{
    BlockBackend *blk = data;

    if (!blk->host_tray_follows) {
        blk->host_tray_follows = true;
        block_backend_ref(blk);
        coroutine_start(host_tray_follow, blk);
    }
}

void block_host_tray_root_changed(BlockBackend *blk)
{
    const BlockNode *node = host_tray_bottom(blk->root);
    bool has = node && node->driver->follow_tray;

    if (has && !blk->host_tray_bh.loop) {
        bh_init(&blk->host_tray_bh, event_loop_current(), host_tray_bh, blk);
    }
    __atomic_store_n(&blk->has_host_tray, has, __ATOMIC_SEQ_CST);
}

void block_host_tray_end(BlockBackend *blk)
{
    if (blk->host_tray_bh.loop) {
        bh_cancel(&blk->host_tray_bh);
    }
}

void block_host_tray_follow(BlockBackend *blk, BlockTrayMove move)
{
    if (__atomic_load_n(&blk->has_host_tray, __ATOMIC_SEQ_CST)) {
        if (move != BLOCK_TRAY_STAYS) {
            __atomic_store_n(&blk->host_tray_move, move, __ATOMIC_SEQ_CST);
        }
        __atomic_store_n(&blk->host_tray_wanted, true, __ATOMIC_SEQ_CST);
        bh_schedule(&blk->host_tray_bh);
    }
}

void block_backend_poll_medium(BlockBackend *blk)
{
    int64_t now, then;

    if (G_LIKELY(!__atomic_load_n(&blk->has_host_tray, __ATOMIC_SEQ_CST))) {
        return;
    }
    now = clock_ns(CLOCK_REALTIME_NS);
    then = __atomic_load_n(&blk->host_tray_polled_ns, __ATOMIC_SEQ_CST);
    if (now - then >= POLL_NS &&
        __atomic_compare_exchange_n(&blk->host_tray_polled_ns, &then, now, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST)) {
        block_host_tray_follow(blk, BLOCK_TRAY_STAYS);
    }
}

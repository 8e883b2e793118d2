/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drains of one backend, of a node's backends, of all backends; and block_resize(), which needs
 * one. Devices come and go while a coroutine waits here. So lists of backends are copies that hold
 * references, and a backend that is made or attached during a drain starts drained.
 */
#include <errno.h>
#include "base/error.h"
#include "core.h"

/* block_drain_all_begin() without their end yet. Main thread only. */
static unsigned all_drains;

unsigned block_drained_all(void)
{
    return all_drains;
}

static void backend_hold(BlockBackend *blk)
{
    __atomic_add_fetch(&blk->quiesce, 1, __ATOMIC_SEQ_CST);
}

static void coroutine_fn backend_wait(BlockBackend *blk)
{
    wait_list_until(&blk->drained, __atomic_load_n(&blk->in_flight, __ATOMIC_SEQ_CST) == 0);
}

void coroutine_fn block_backend_drain_begin(BlockBackend *blk)
{
    backend_hold(blk);
    backend_wait(blk);
}

void block_backend_drain_end(BlockBackend *blk)
{
    BlockRequest *held, *in_order = NULL;

    g_mutex_lock(&blk->held_lock);
    if (__atomic_sub_fetch(&blk->quiesce, 1, __ATOMIC_SEQ_CST)) {
        g_mutex_unlock(&blk->held_lock);
        return;
    }
    held = g_steal_pointer(&blk->held);
    g_mutex_unlock(&blk->held_lock);
    wait_list_wake_all(&blk->released);
    while (held) {
        BlockRequest *next = held->next;
        held->next = in_order;
        in_order = held;
        held = next;
    }
    while (in_order) {
        /* Another thread may run and free the request once it is scheduled. */
        BlockRequest *next = in_order->next;
        bh_schedule(&in_order->bh);
        in_order = next;
    }
}

/* Stops all of them before it waits: a drain takes as long as the slowest request, not the sum. */
static void coroutine_fn drain_list(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        backend_hold(list->pdata[i]);
    }
    for (unsigned i = 0; i < list->len; i++) {
        backend_wait(list->pdata[i]);
    }
}

static void undrain_list(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        block_backend_drain_end(list->pdata[i]);
    }
}

void coroutine_fn block_drain_all_begin(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);

    all_drains++;
    drain_list(list);
}

void block_drain_all_end(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);

    g_assert(all_drains);
    all_drains--;
    undrain_list(list);
}

/* Drains the backends that have the node as their root. */
static void coroutine_fn node_users_drain_begin(BlockNode *n)
{
    g_autoptr(GPtrArray) list = block_backend_list(n);

    n->core->drains++;
    drain_list(list);
}

static void node_users_drain_end(BlockNode *n)
{
    g_autoptr(GPtrArray) list = block_backend_list(n);

    g_assert(n->core->drains);
    n->core->drains--;
    undrain_list(list);
}

int coroutine_fn block_flush_all(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    int result = 0;

    for (unsigned i = 0; i < list->len; i++) {
        BlockBackend *blk = list->pdata[i];
        BlockNode *root = blk->root;
        int ret = 0;

        if (root) {
            block_node_ref(root);
            ret = block_flush(root);
            block_node_unref(root);
        }
        if (ret < 0 && result == 0) {
            result = ret;
        }
    }
    return result;
}

typedef struct {
    BlockNode *node, *parent;
    const char *role;
} ParentSearch;

static void match_parent(BlockNode *parent, void *data)
{
    ParentSearch *search = data;

    if (parent->file == search->node || parent->backing == search->node) {
        search->parent = parent;
        search->role = parent->file == search->node ? "file" : "backing";
    }
}

/* Refused under another node: formats and overlays rely on the length of their children. */
static bool node_may_resize(BlockNode *n, GError **err)
{
    ParentSearch search = {.node = n};

    block_node_foreach(match_parent, &search);
    if (search.parent) {
        return error_set(err,
                         "Conflicts with use by %s as '%s', which does not allow 'resize' on %s",
                         search.parent->opts.node_name, search.role, n->opts.node_name);
    }
    return true;
}

int coroutine_fn block_resize(BlockNode *n, uint64_t size, GError **err)
{
    int ret = -EBUSY;

    block_node_ref(n);
    co_mutex_lock(&n->core->resizing);
    node_users_drain_begin(n);
    block_quiesce_begin(n);
    if (node_may_resize(n, err)) { /* after the waits: an overlay may have been opened meanwhile */
        ret = block_truncate_quiesced(n, size, err);
    }
    block_quiesce_end(n);
    node_users_drain_end(n);
    co_mutex_unlock(&n->core->resizing);
    block_node_unref(n);
    return ret;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inactive nodes: another process may have the images, and hand them back. */
#include <errno.h>
#include "base/error.h"
#include "base/log.h"
#include "core.h"

static void unref_node(void *data)
{
    block_node_unref(data);
}

/*
 * The nodes that are inactive, or those that are not; parents before children; with references.
 * NULL, and an error, while a node is being opened or closed: it is between the two states.
 */
static GPtrArray *settled_nodes(bool inactive, GError **err)
{
    GPtrArray *all = block_nodes();
    GPtrArray *list;

    for (unsigned i = 0; i < all->len; i++) {
        BlockNode *n = all->pdata[i];
        if (!n->core->listed) {
            error_set(err, "Node '%s' is being opened or closed: try again",
                      n->opts.node_name ? n->opts.node_name : "");
            return NULL;
        }
    }
    list = block_nodes_in_order(all);
    for (unsigned i = list->len; i-- > 0;) {
        BlockNode *n = list->pdata[i];

        if (n->inactive != inactive) {
            g_ptr_array_remove_index(list, i);
        } else {
            block_node_ref(n); /* the callers wait */
        }
    }
    g_ptr_array_set_free_func(list, unref_node);
    return list;
}

/* What the parents need of their children changes with the nodes. */
static BlockChange *inactive_change(GPtrArray *list, bool inactive)
{
    BlockChange *c = block_change_new();
    GPtrArray *all = block_nodes();

    for (unsigned i = 0; i < list->len; i++) {
        BlockNode *n = list->pdata[i];

        n->inactive = inactive;
        /* map_cached() must not answer for a driver that has forgotten its metadata. */
        __atomic_add_fetch(&n->intercepts, inactive ? 1 : -1, __ATOMIC_SEQ_CST);
        block_change_touch(c, n);
    }
    /* Of all nodes: a filter may have come between an inactive node and its disk. */
    for (unsigned i = 0; i < all->len; i++) {
        BlockNode *n = all->pdata[i];

        for (unsigned j = 0; j < n->core->parents->len; j++) {
            BlockEdge *e = n->core->parents->pdata[j];
            if (!e->parent_node && e->class->perms) {
                block_change_perms(c, e, e->class->perms(e, n->inactive));
            }
        }
    }
    return c;
}

static void coroutine_fn give_up(GPtrArray *list)
{
    if (!block_change_commit(inactive_change(list, true), NULL)) {
        g_assert_not_reached(); /* giving up permissions is no conflict */
    }
}

static void coroutine_fn give_up_one(BlockNode *n)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();

    g_ptr_array_add(list, n);
    give_up(list);
}

static bool may_migrate(BlockNode *n, GError **err)
{
    return !n->driver || !n->driver->may_migrate || n->driver->may_migrate(n, err);
}

bool block_may_migrate(GError **err)
{
    GPtrArray *all = block_nodes();

    for (unsigned i = 0; i < all->len; i++) {
        BlockNode *n = all->pdata[i];

        if (n->core->listed && !may_migrate(n, err)) {
            return false;
        }
    }
    return true;
}

/* Drivers that cannot; parents of 'n' that write and cannot stop: a tool, or what is no disk. */
static bool inactive_refused(BlockNode *n, GError **err)
{
    const unsigned writes = BLOCK_PERM_WRITE | BLOCK_PERM_WRITE_UNCHANGED | BLOCK_PERM_RESIZE;
    bool used = n->core->opener.needs & writes;

    if (!may_migrate(n, err)) {
        return true;
    }
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        used |= !e->parent_node && !e->class->perms && e->perms.needs & writes;
    }
    return used ? !error_set(err, "Node '%s' is in use, and cannot be made inactive",
                             n->opts.node_name)
                : false;
}

static bool coroutine_fn node_activate(BlockNode *n, GError **err)
{
    if (n->driver->activate && !n->driver->activate(n, err)) {
        block_error_prefix(err, "Could not activate '%s'", n->opts.node_name);
        return false;
    }
    return true;
}

/* No request gets into the node afterwards (block_node_bar()): there is no metadata for it. */
static int coroutine_fn node_inactivate(BlockNode *n)
{
    int ret = 0;

    if (!n->driver->inactivate) {
        ret = block_flush(n);
    }
    block_node_bar(n);
    return n->driver->inactivate ? n->driver->inactivate(n) : ret;
}

static void nodes_unbar(GPtrArray *nodes)
{
    for (unsigned i = nodes->len; i-- > 0;) {
        block_node_unbar(nodes->pdata[i]);
    }
}

/*
 * Parents first: what they write back goes through their children. Where a node fails, those before
 * it read anew what they have forgotten; the locks were held all the time. One that cannot be read
 * stays inactive alone.
 */
static int coroutine_fn inactivate_nodes(GPtrArray *nodes, GError **err)
{
    unsigned done = 0;
    int ret = 0;

    while (done < nodes->len && ret == 0) {
        ret = node_inactivate(nodes->pdata[done++]);
    }
    if (ret == 0) {
        give_up(nodes);
        nodes_unbar(nodes);
        return 0;
    }
    error_set_errno(err, -ret, "Could not write back '%s'",
                    ((BlockNode *)nodes->pdata[--done])->opts.node_name);
    block_node_unbar(nodes->pdata[done]);
    while (done-- > 0) {
        BlockNode *n = nodes->pdata[done];
        g_autoptr(GError) why = NULL;

        if (!node_activate(n, &why)) {
            log_error("%s: the node stays inactive", why->message);
            give_up_one(n);
        }
        block_node_unbar(n);
    }
    return ret;
}

static bool coroutine_fn all_let_go(GError **err)
{
    GPtrArray *nodes = settled_nodes(false, err);
    bool ok = nodes;

    for (unsigned i = 0; ok && i < nodes->len; i++) {
        ok = block_node_let_go(nodes->pdata[i], err);
    }
    g_clear_pointer(&nodes, g_ptr_array_unref);
    return ok;
}

/* Whether a node has a parent that can do without it, and does not know yet that it has to. */
static bool any_is_held(const GPtrArray *nodes)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        if (((BlockNode *)nodes->pdata[i])->core->leaving) {
            return true;
        }
    }
    return false;
}

static bool coroutine_fn inactivate_settled(GPtrArray *nodes, GError **err)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        if (inactive_refused(nodes->pdata[i], err)) {
            return false;
        }
    }
    return inactivate_nodes(nodes, err) == 0;
}

bool coroutine_fn block_inactivate_all(GError **err)
{
    bool ok = false, held = true;

    /*
     * Who lets go waits for much, so it is asked without the lock and outside of a section. While
     * these are waited for others may come. Who comes later finds a node that is inactive.
     */
    while (held) {
        GPtrArray *nodes;

        if (!all_let_go(err) || !block_changes_lock(err)) {
            return false;
        }
        block_drain_all_begin();
        nodes = settled_nodes(false, err);
        held = nodes && any_is_held(nodes);
        ok = nodes && !held && inactivate_settled(nodes, err);
        block_drain_all_end();
        g_clear_pointer(&nodes, g_ptr_array_unref);
        block_changes_unlock();
    }
    return ok;
}

/*
 * From below, as a format reads its metadata from its file. A node takes no requests until it has
 * its metadata. Where one cannot be read, all forget.
 */
static bool coroutine_fn activate_nodes(GPtrArray *nodes, GError **err)
{
    bool ok;

    for (unsigned i = 0; i < nodes->len; i++) {
        block_node_bar(nodes->pdata[i]);
    }
    ok = block_change_commit(inactive_change(nodes, false), err);
    for (unsigned i = nodes->len; ok && i-- > 0;) {
        ok = node_activate(nodes->pdata[i], err);
        if (ok) {
            block_node_unbar(nodes->pdata[i]);
            continue;
        }
        for (unsigned j = 0; j < nodes->len; j++) {
            if (j > i) {
                node_inactivate(nodes->pdata[j]); /* what is not forgotten is read over */
            }
        }
    }
    if (!ok) {
        give_up(nodes);
        nodes_unbar(nodes);
    }
    return ok;
}

bool coroutine_fn block_activate_all(GError **err)
{
    GPtrArray *nodes;
    bool ok;

    if (!block_changes_lock(err)) {
        return false;
    }
    block_drain_all_begin();
    nodes = settled_nodes(true, err);
    ok = nodes && activate_nodes(nodes, err);
    for (unsigned i = 0; ok && i < nodes->len; i++) {
        block_node_resized(nodes->pdata[i]); /* the other process may have changed the length */
    }
    block_drain_all_end();
    g_clear_pointer(&nodes, g_ptr_array_unref);
    block_changes_unlock();
    return ok;
}

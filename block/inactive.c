/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inactive nodes: another process may have the images, and hand them back. */
#include <errno.h>
#include "base/error.h"
#include "core.h"

static void unref_node(void *data)
{
    block_node_unref(data);
}

/*
 * The nodes that are inactive, or those that are not; parents before children; with
 * references. NULL, and an error,
 * while a node is being opened or closed: it is between the two states.
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
static BlockChange *inactive_change(GPtrArray *nodes, bool inactive)
{
    BlockChange *c = block_change_new();

    for (unsigned i = 0; i < nodes->len; i++) {
        BlockNode *n = nodes->pdata[i];

        n->inactive = inactive;
        /* map_cached() must not answer for a driver that has forgotten its metadata. */
        __atomic_add_fetch(&n->intercepts, inactive ? 1 : -1, __ATOMIC_SEQ_CST);
        block_change_touch(c, n);
        for (unsigned j = 0; j < n->core->parents->len; j++) {
            BlockEdge *e = n->core->parents->pdata[j];
            if (!e->parent_node && e->class->perms) {
                block_change_perms(c, e, e->class->perms(e, inactive));
            }
        }
    }
    return c;
}

static void coroutine_fn give_up(GPtrArray *nodes)
{
    if (!block_change_commit(inactive_change(nodes, true), NULL)) {
        g_assert_not_reached(); /* giving up permissions is no conflict */
    }
}

/* Parents of 'n' that write and cannot stop: a tool, or another use that is not a disk. */
static bool inactive_refused(BlockNode *n, GError **err)
{
    const unsigned writes = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    bool used = n->core->opener.needs & writes;

    for (unsigned i = 0; i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        used |= !e->parent_node && !e->class->perms && e->perms.needs & writes;
    }
    return used ? !error_set(err, "Node '%s' is in use, and cannot be made inactive",
                             n->opts.node_name)
                : false;
}

/* From below, as a format reads its metadata from its file. */
static bool coroutine_fn read_anew(GPtrArray *nodes, GError **err)
{
    bool ok = true;

    for (unsigned i = nodes->len; i-- > 0;) {
        BlockNode *n = nodes->pdata[i];
        if (ok && n->driver->activate && !n->driver->activate(n, err)) {
            block_error_prefix(err, "Could not activate '%s'", n->opts.node_name);
            ok = false;
        }
    }
    return ok;
}

bool coroutine_fn block_inactivate_all(GError **err)
{
    g_autoptr(GPtrArray) nodes = NULL;
    unsigned done = 0;
    int ret = 0;

    block_drain_all_begin();
    nodes = settled_nodes(false, err);
    for (unsigned i = 0; !nodes || i < nodes->len; i++) {
        if (!nodes || inactive_refused(nodes->pdata[i], err)) {
            block_drain_all_end();
            return false;
        }
    }
    /* Parents first: what they write back goes through their children. */
    for (; done < nodes->len && ret == 0; done++) {
        BlockNode *n = nodes->pdata[done];

        ret = n->driver->inactivate ? n->driver->inactivate(n) : block_flush(n);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not write back '%s'", n->opts.node_name);
        }
    }
    if (ret == 0) {
        give_up(nodes);
    } else {
        /* The locks were held all the time: what was forgotten can be read again. */
        read_anew(nodes, NULL);
    }
    block_drain_all_end();
    return ret == 0;
}

bool coroutine_fn block_activate_all(GError **err)
{
    g_autoptr(GPtrArray) nodes = NULL;
    bool ok;

    block_drain_all_begin();
    nodes = settled_nodes(true, err);
    if (!nodes) {
        block_drain_all_end();
        return false;
    }
    ok = block_change_commit(inactive_change(nodes, false), err);
    if (!ok) {
        give_up(nodes);
    } else if (!read_anew(nodes, err)) {
        for (unsigned i = 0; i < nodes->len; i++) {
            BlockNode *n = nodes->pdata[i];
            if (n->driver->inactivate) {
                n->driver->inactivate(n);
            }
        }
        give_up(nodes);
        ok = false;
    }
    for (unsigned i = 0; ok && i < nodes->len; i++) {
        block_node_resized(nodes->pdata[i]); /* the other process may have changed the length */
    }
    block_drain_all_end();
    return ok;
}

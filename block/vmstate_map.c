/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who maps a snapshot's VM state instead of reading it. */
#include <errno.h>
#include "base/error.h"
#include "base/json.h"
#include "block/snapshot.h"
#include "core.h"

int coroutine_fn block_vmstate_extents(BlockNode *n, const char *id, uint64_t pos, uint64_t bytes,
                                       GArray *extents)
{
    int ret;

    if (!n->driver->vmstate_extents) {
        return -ENOTSUP;
    }
    block_node_enter(n);
    ret = n->inactive ? -EPERM : n->driver->vmstate_extents(n, id, pos, bytes, extents);
    block_node_leave(n);
    return ret;
}

int block_vmstate_open(BlockNode *n, GError **err)
{
    BlockNode *file = n->file;

    if (!n->driver->vmstate_extents || !file || n->inactive) {
        error_set(err, "its format keeps no memory that could be mapped");
    } else if (!file->driver->open_to_map) {
        error_set(err, "it lies on '%s', which is no local file", file->driver->name);
    } else if (__atomic_load_n(&file->intercepts, __ATOMIC_SEQ_CST)) {
        error_set(err, "something watches all reads of its file");
    } else {
        return file->driver->open_to_map(file, err);
    }
    return -1;
}

BlockEdge *coroutine_fn block_vmstate_hold(BlockNode *n, const BlockParentClass *class,
                                           void *parent, GError **err)
{
    BlockEdge *user;

    g_assert(class->let_go && class->left_alone && class->needs_snapshot && class->stays);
    user = block_edge_attach(class, parent, n, "root",
                             (BlockPerms){BLOCK_PERM_CONSISTENT_READ, BLOCK_PERM_ALL}, NULL, err);
    if (user && !block_edge_freeze(block_node_edge(n, "file"), user, err)) {
        block_edge_detach(g_steal_pointer(&user));
    }
    return user;
}

void coroutine_fn block_vmstate_release(BlockEdge *user)
{
    if (user) {
        block_edge_thaw(block_node_edge(user->child, "file"));
        block_edge_detach(user);
    }
}

/* A user that needs one of the snapshots that match; NULL: nobody. */
static BlockEdge *snapshot_user(BlockNode *n, const char *id, const char *name)
{
    json_auto_t *found = n->core->leaving ? block_snapshot_find(n, id, name) : NULL;

    for (unsigned i = 0; found && i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];

        if (e->class && e->class->needs_snapshot &&
            e->class->needs_snapshot(e, json_str(found, "id"))) {
            return e;
        }
    }
    return NULL;
}

bool block_snapshot_unused(BlockNode *n, const char *id, const char *name, GError **err)
{
    BlockEdge *user = snapshot_user(n, id, name);
    g_autofree char *who = user ? block_edge_describe(user) : NULL;

    return !user || error_set(err, "%s still reads it: try again", who);
}

bool coroutine_fn block_snapshot_let_go(BlockNode *n, const char *id, const char *name,
                                        GError **err)
{
    BlockEdge *user;
    bool ok = true;

    block_node_ref(n);
    while (ok && (user = snapshot_user(n, id, name))) {
        ok = user->class->let_go(user, err);
    }
    block_node_unref(n);
    return ok;
}

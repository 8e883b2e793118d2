/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes as the monitors' commands name them; the name of a live image's backing file. */
#include "base/error.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/job.h"
#include "block/transaction.h"
#include "core.h"

BlockNode *block_lookup_node(const char *device, const char *node_name, GError **err)
{
    BlockBackend *blk = device ? block_backend_find(device) : NULL;
    BlockNode *n = NULL;

    if (blk) {
        n = block_backend_node(blk);
        if (!n) {
            error_set(err, "Device '%s' has no medium", device);
        }
        return n;
    }
    n = node_name ? block_node_find(node_name) : NULL;
    if (!n) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                  node_name ? node_name : "");
    }
    return n;
}

BlockNode *block_lookup_root(const char *name, GError **err)
{
    BlockNode *n = block_lookup_node(name, name, err);

    for (unsigned i = 0; n && i < n->core->parents->len; i++) {
        if (((BlockEdge *)n->core->parents->pdata[i])->parent_node) {
            error_set(err, "Need a root block node");
            return NULL;
        }
    }
    if (n && !block_node_has_medium(n)) {
        error_set(err, "Device has no medium");
        return NULL;
    }
    return n;
}

/* The format by which an image names this backing file. */
static const char *backing_format_of(BlockNode *n)
{
    n = block_node_image(n);
    return n->driver->is_protocol ? "raw" : n->driver->name;
}

static char *name_change_describe(BlockEdge *e)
{
    return g_strdup("a change of a backing file's name");
}

static const BlockParentClass name_change_class = {.describe = name_change_describe, .stays = true};

/* In the section. The disk's content stays what it is, but the image's file is written to. */
static bool coroutine_fn name_change_drained(BlockNode *n, const char *name, GError **err)
{
    const BlockPerms perms = {BLOCK_PERM_WRITE_UNCHANGED, BLOCK_PERM_ALL};
    BlockEdge *user;
    int ret;

    if (!n->backing) {
        return error_set(err,
                         "not allowing backing file change on an image without a backing file");
    }
    user = block_edge_attach(&name_change_class, NULL, n, "root", perms, NULL, err);
    if (!user) {
        return false;
    }
    ret = block_set_backing_name(n, name, backing_format_of(n->backing));
    block_edge_detach(user);
    return ret < 0 ? error_set_errno(err, -ret, "Could not change backing file to '%s'", name)
                   : true;
}

static bool coroutine_fn name_change(BlockNode *n, const char *name, GError **err)
{
    BlockDrain *drain;
    bool ok;

    if (!block_changes_lock(err)) {
        return false;
    }
    drain = block_drain_begin(n);
    ok = name_change_drained(n, name, err);
    block_drain_end(drain);
    block_changes_unlock();
    return ok;
}

bool coroutine_fn block_change_backing_file(const char *device, const char *image_node,
                                            const char *name, GError **err)
{
    BlockNode *root = block_lookup_root(device, err);
    BlockNode *n = root ? block_lookup_node(NULL, image_node, err) : NULL;
    bool read_only, ok;

    if (!n) {
        return false;
    }
    if (!n->backing) {
        return error_set(err,
                         "not allowing backing file change on an image without a backing file");
    }
    if (!block_chain_contains(root, n)) {
        return error_set(err, "'%s' and image file are not in the same chain", device);
    }
    if (!job_node_is_free(root, err)) {
        return false;
    }
    block_node_ref(n);
    read_only = n->read_only;
    ok = (!read_only || block_set_read_only(n, false, err)) && name_change(n, name, err);
    /* What remains writable is no error: it is written to by nobody. */
    if (read_only && !n->read_only) {
        block_set_read_only(n, true, NULL);
    }
    block_node_unref(n);
    return ok;
}

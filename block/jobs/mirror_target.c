/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'drive-mirror': the target is an image that is made, or opened, for the job. */
#include <glib/gstdio.h>
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/image.h"
#include "mirror.h"

/* The options that a target has of the source, beside its name. */
static void target_inherit(json_t *tree, const BlockNode *source, const char *node_name)
{
    const BlockNodeOptions *o = &source->opts;

    if (node_name) {
        json_object_set_new(tree, "node-name", json_string(node_name));
    }
    json_object_set_new(
        tree, "cache",
        json_pack("{s:b,s:b}", "direct", o->cache.direct, "no-flush", o->cache.no_flush));
    json_object_set_new(tree, "discard",
                        json_string(o->discard == BLOCK_DISCARD_UNMAP ? "unmap" : "ignore"));
    json_object_set_new(tree, "read-only", json_false());
}

static BlockNode *coroutine_fn target_open(const BlockMirrorTarget *t, const BlockNode *source,
                                           GError **err)
{
    json_auto_t *tree = block_image_config(t->filename, t->format, err);

    if (!tree) {
        return NULL;
    }
    target_inherit(tree, source, t->node_name);
    return block_node_open_unheld(tree, BLOCK_IMAGE_ALONE, err);
}

/* What the new image names as its backing file: what the source shows and is not copied. */
static BlockNode *target_backing(const BlockMirror *what)
{
    return what->sync == BLOCK_MIRROR_NONE  ? block_node_image(what->source)
           : what->sync == BLOCK_MIRROR_TOP ? block_node_next_image(what->source)
                                            : NULL;
}

static json_t *create_options(const BlockMirror *what, const char *filename, GError **err)
{
    BlockNode *backing = target_backing(what);
    int64_t length = block_length(what->source);
    const char *format = NULL;
    g_autofree char *name = NULL;
    json_t *options;

    if (length < 0) {
        error_set_errno(err, -length, "bdrv_getlength failed");
        return NULL;
    }
    if (backing) {
        name = block_backing_name_for(backing, filename, &format, err);
        if (!name) {
            return NULL;
        }
    }
    options = json_pack("{s:I}", "size", (json_int_t)length);
    if (name) {
        json_object_set_new(options, "backing_file", json_string_nocheck(name));
        json_object_set_new(options, "backing_fmt", json_string(format));
    }
    return options;
}

/*
 * *file (the caller's reference) has the lock of the new file, from before it is empty: nobody else
 * writes to it until the job does.
 */
static BlockNode *coroutine_fn target_create(const BlockMirrorTarget *t, BlockMirror *what,
                                             BlockNode **file, GError **err)
{
    const BlockNode *source = block_node_image(what->source);
    const char *format = t->format                     ? t->format
                         : source->driver->is_protocol ? "raw"
                                                       : source->driver->name;
    json_auto_t *options = create_options(what, t->filename, err), *tree = NULL;
    bool zero = false;
    BlockNode *n;

    if (!options || !block_image_create_open(t->filename, format, options, &source->opts.cache,
                                             file, &zero, err)) {
        return NULL;
    }
    tree = json_pack("{s:s,s:s}", "driver", format, "file", (*file)->opts.node_name);
    target_inherit(tree, source, t->node_name);
    n = block_node_open_unheld(tree, BLOCK_IMAGE_ALONE, err);
    what->target_is_zero = n && zero;
    return n;
}

/* The job's edges are the new file's users from now on. */
static void release_file(BlockNode *file)
{
    if (file) {
        file->core->guard = (BlockPerms){0, BLOCK_PERM_ALL};
        if (!block_node_hold(file, file->core->guard, NULL)) {
            g_assert_not_reached(); /* giving up permissions is no conflict */
        }
        block_node_unref(file);
    }
}

bool coroutine_fn block_drive_mirror_start(const JobOptions *opts, const BlockMirror *mirror,
                                           const BlockMirrorTarget *t, GError **err)
{
    BlockMirror what = *mirror;
    bool there = g_file_test(t->filename, G_FILE_TEST_EXISTS), ok;
    BlockNode *file = NULL;

    if (!job_node_is_free(what.source, err)) {
        return false;
    }
    if (what.replaces && !t->node_name) {
        return error_set(err,
                         "a node-name must be provided when replacing a named node of the graph");
    }
    if (what.sync == BLOCK_MIRROR_TOP && !block_node_next_image(what.source)) {
        what.sync = BLOCK_MIRROR_FULL;
    }
    block_node_ref(what.source);
    what.backing = t->existing ? BLOCK_MIRROR_BACKING_OPEN : BLOCK_MIRROR_BACKING_SOURCE;
    what.target =
        t->existing ? target_open(t, what.source, err) : target_create(t, &what, &file, err);
    if (what.sync == BLOCK_MIRROR_FULL && !t->existing) {
        what.backing = BLOCK_MIRROR_BACKING_LEAVE;
    }
    ok = what.target && block_mirror_start(opts, &what, err);
    release_file(file);
    block_node_unref(what.target);
    block_node_unref(what.source);
    if (!ok && !t->existing && !there) {
        g_unlink(t->filename);
    }
    return ok;
}

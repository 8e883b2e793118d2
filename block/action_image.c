/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that actions make and open: overlays, and targets of jobs. */
#include <errno.h>
#include <sys/stat.h>
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/image.h"
#include "action.h"
#include "core.h"

const char *const block_image_mode_names[] = {"existing", "absolute-paths", NULL};

bool block_driver_has_option(const char *driver, const char *name)
{
    const BlockDriver *drv = driver ? block_driver_find(driver) : NULL;

    return drv && drv->props && property_find(drv->props, name);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/*
 * What an overlay's image calls the node: the file's name and the format. A relative name is good
 * where it means the same file from the overlay's folder.
 */
char *block_backing_name_for(BlockNode *n, const char *overlay_file, const char **format,
                             GError **err)
{
    g_autofree char *there = NULL;
    const BlockNode *file;
    json_t *options;

    n = block_node_image(n);
    file = n->file ? n->file : n;
    options = n->core->options;
    if (!file->driver->is_protocol || !n->filename || !*n->filename ||
        json_object_get(options, "offset") || json_object_get(options, "size")) {
        error_set(err,
                  "Node '%s' is no image by itself that a file name stands for: make the overlay's "
                  "image, and use the mode 'existing'",
                  n->opts.node_name);
        return NULL;
    }
    *format = n->file ? n->driver->name : "raw";
    there = block_resolve_backing(overlay_file, n->filename);
    if (g_path_is_absolute(n->filename) || !g_file_test(n->filename, G_FILE_TEST_EXISTS) ||
        same_file(there, n->filename)) {
        return g_strdup(n->filename);
    }
    return g_canonicalize_filename(n->filename, NULL);
}

static json_t *create_options(const char *file, const BlockDriver *drv, int64_t length,
                              BlockNode *backing, GError **err)
{
    g_autofree char *name = NULL;
    const char *format = NULL;

    if (!backing) {
        return json_pack("{s:I}", "size", (json_int_t)length);
    }
    if (!property_find(drv->create_props, "backing_file")) {
        error_set(err, "Backing file not supported for file format '%s'", drv->name);
        return NULL;
    }
    name = block_backing_name_for(backing, file, &format, err);
    if (!name) {
        return NULL;
    }
    if (g_str_equal(name, file) || same_file(name, file)) {
        error_set(err,
                  "Error: Trying to create an image with the same filename as the backing file");
        return NULL;
    }
    return json_pack("{s:I,s:o,s:s}", "size", (json_int_t)length, "backing_file",
                     json_string_nocheck(name), "backing_fmt", format);
}

bool block_action_create_image(const char *file, const char *format, BlockNode *like,
                               BlockNode *backing, char **made, GError **err)
{
    const BlockDriver *drv = block_driver_find(format);
    int64_t length = block_length(like);
    bool there = g_file_test(file, G_FILE_TEST_EXISTS);
    json_auto_t *options = NULL;

    if (!drv) {
        return error_set(err, "Unknown file format '%s'", format);
    }
    if (!drv->create) {
        return error_set(err, "Format driver '%s' does not support image creation", format);
    }
    if (length < 0) {
        return error_set_errno(err, -length, "bdrv_getlength failed");
    }
    options = create_options(file, drv, length, backing, err);
    if (!options || !block_image_create(file, format, options, err)) {
        return false;
    }
    *made = there ? NULL : g_strdup(file);
    return true;
}

/* The host's engine, as the other image has it. */
static void inherit_aio(BlockNode *like, json_t *file)
{
    const BlockNode *from;
    const Property *aio;

    like = block_node_image(like);
    from = like->file ? like->file : like;
    aio = from->driver->props ? property_find(from->driver->props, "aio") : NULL;
    if (aio && block_driver_has_option(json_str(file, "driver"), "aio") &&
        !json_object_get(file, "aio")) {
        json_object_set_new(file, "aio", property_get(aio, from->state));
    }
}

BlockNode *block_action_open_image(const char *file, const char *format, BlockNode *like,
                                   json_t *extra, GError **err)
{
    const BlockNodeOptions *o = &like->opts;
    json_auto_t *tree = NULL;

    if (format && !block_driver_find(format)) {
        error_set(err, "Unknown driver '%s'", format);
        return NULL;
    }
    tree = block_image_config(file, format, err);
    if (!tree) {
        return NULL;
    }
    if (json_is_object(json_object_get(tree, "file"))) {
        inherit_aio(like, json_object_get(tree, "file"));
    }
    json_object_set_new(tree, "auto-read-only", json_boolean(o->auto_read_only));
    json_object_set_new(
        tree, "cache",
        json_pack("{s:b,s:b}", "direct", o->cache.direct, "no-flush", o->cache.no_flush));
    json_object_update(tree, extra);
    return block_node_open_unheld(tree, 0, err);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as files: making new ones, and temporary overlays. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"
#include "block/image.h"
#include "core.h"

typedef struct {
    const BlockDriver *driver;
    BlockNode *file;
    void *options;
    GError **err;
    bool ok;
} CreateState;

static int coroutine_fn create_fn(void *data)
{
    CreateState *c = data;

    c->ok = c->driver->create(c->file, c->options, c->err);
    return 0;
}

static BlockNode *open_target(const char *filename, GError **err)
{
    json_auto_t *whole = block_filename_to_config(filename, err);
    json_t *file = whole ? json_object_get(whole, "file") : NULL;

    if (!whole) {
        return NULL;
    }
    if (!file) {
        error_set(err, "cannot make an image in '%s'", filename);
        return NULL;
    }
    if (g_str_equal(json_string_value(json_object_get(file, "driver")), "file")) {
        int fd = host_open(json_string_value(json_object_get(file, "filename")), O_RDWR | O_CREAT,
                           0644, NULL);
        if (fd < 0) {
            error_set_errno(err, errno, "Could not create '%s'", filename);
            return NULL;
        }
        close(fd);
    }
    json_object_set_new(file, "discard", json_string("unmap"));
    return block_node_open(file, err);
}

bool block_image_create(const char *filename, const char *format, json_t *options, GError **err)
{
    const BlockDriver *drv = block_driver_find(format);
    g_autofree char *what = NULL;
    CreateState c = {.driver = drv, .err = err};

    if (!drv) {
        return error_set(err, "Unknown file format '%s'", format);
    }
    if (!drv->create) {
        return error_set(err, "Format driver '%s' does not support image creation", format);
    }
    what = g_strdup_printf("format '%s'", format);
    c.options = g_malloc0(drv->create_size);
    properties_init(drv->create_props, c.options);
    if (properties_apply(drv->create_props, c.options, options, NULL, what, err)) {
        c.file = open_target(filename, err);
        if (c.file) {
            block_run(create_fn, &c);
            block_node_unref(c.file);
        }
    }
    properties_clear(drv->create_props, c.options);
    g_free(c.options);
    return c.ok;
}

BlockNode *block_open_temporary_overlay(BlockNode *backing, GError **err)
{
    const char *dir = g_getenv("TMPDIR");
    g_autofree char *path = g_strdup_printf("%s/vl.XXXXXX", dir && *dir ? dir : "/var/tmp");
    json_auto_t *options = NULL, *config = NULL;
    BlockNode *n = NULL;
    int64_t length = block_length(backing);
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0) {
        error_set_errno(err, errno, "Could not make a temporary file in '%s' for snapshot=on",
                        dir && *dir ? dir : "/var/tmp");
        return NULL;
    }
    options = json_pack("{s:I}", "size", (json_int_t)ROUND_UP(length, 512));
    if (block_image_create(path, "qcow2", options, err)) {
        /* Nobody will want it after a crash, so nothing of it has to be stable. */
        config = json_pack("{s:s,s:s,s:{s:b,s:b},s:{s:s,s:o}}", "driver", "qcow2", "backing",
                           backing->opts.node_name, "cache", "direct", 0, "no-flush", 1, "file",
                           "driver", "file", "filename", json_string_nocheck(path));
        json_object_set_new(config, "discard", json_string("unmap"));
        n = block_node_open(config, err);
    }
    unlink(path);
    close(fd);
    return n;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images, and temporary overlays. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "base/util.h"
#include "block/image.h"
#include "core.h"

typedef struct {
    const BlockDriver *driver;
    BlockNode *file;
    void *options;
    uint64_t length;
    bool zero;
    GError **err;
    bool ok;
} CreateState;

bool coroutine_fn block_image_make_empty(BlockNode *file, uint64_t length, bool *zero, GError **err)
{
    *zero = false;
    return (file->driver->make_empty ? file->driver->make_empty(file, length, zero, err)
                                     : block_truncate(file, 0, err)) == 0;
}

static int coroutine_fn create_fn(void *data)
{
    CreateState *c = data;

    c->ok = block_image_make_empty(c->file, c->length, &c->zero, c->err) &&
            c->driver->create(c->file, c->options, &c->zero, c->err);
    return 0;
}

static void (*image_made)(const char *path);

void block_image_on_made(void (*fn)(const char *path))
{
    image_made = fn;
}

/* Makes the file unless it exists. *made: it did not exist. */
static bool image_make_file(const char *path, bool *made, GError **err)
{
    g_autoptr(GError) local = NULL;
    int fd = host_open(path, O_RDWR | O_CREAT | O_EXCL, 0644, &local);

    *made = fd >= 0;
    if (*made && image_made) {
        image_made(path);
    }
    if (fd < 0 && local->code == EEXIST) {
        g_clear_error(&local);
        fd = host_open(path, O_RDWR | O_CREAT, 0644, &local);
    }
    if (fd < 0) {
        return local->code == VMM_ERROR_GENERIC
                   ? error_set(err, "%s", local->message)
                   : error_set_errno(err, local->code, "Could not create '%s'", path);
    }
    close(fd);
    return true;
}

bool block_image_target_possible(const char *filename, GError **err)
{
    json_auto_t *whole = block_filename_to_config(filename, err);
    const char *path = whole ? json_str(json_object_get(whole, "file"), "filename") : NULL;
    g_autofree char *folder = path ? g_path_get_dirname(path) : NULL;

    if (!path) {
        return whole != NULL;
    }
    if (access(path, W_OK) == 0 || (errno == ENOENT && access(folder, W_OK | X_OK) == 0)) {
        return true;
    }
    return error_set_errno(err, errno, "Could not create '%s'", path);
}

BlockNode *block_image_open_target(const char *filename, const BlockCache *cache, char **made_path,
                                   GError **err)
{
    json_auto_t *whole = block_filename_to_config(filename, err);
    json_t *file = whole ? json_object_get(whole, "file") : NULL;
    const char *path = json_is_object(file) ? json_str(file, "filename") : NULL;
    bool made = false;
    BlockNode *n;

    *made_path = NULL;
    if (!whole) {
        return NULL;
    }
    if (!json_is_object(file)) {
        error_set(err, "cannot make an image in '%s'", filename);
        return NULL;
    }
    if (path && g_strcmp0(json_str(file, "driver"), "file") == 0 &&
        !image_make_file(path, &made, err)) {
        return NULL;
    }
    json_object_set_new(file, "discard", json_string("unmap"));
    if (path && !cache->direct) {
        /* Writes copy into the page cache: on worker threads these copies use all CPUs. */
        json_object_set_new(file, "aio", json_string("threads"));
    }
    json_object_set_new(
        file, "cache",
        json_pack("{s:b,s:b}", "direct", cache->direct, "no-flush", cache->no_flush));
    n = block_image_open(file, BLOCK_IMAGE_RESIZES, err);
    if (made && n) {
        *made_path = g_strdup(path);
    } else if (made) {
        unlink(path);
    }
    return n;
}

BlockNode *coroutine_fn block_image_make_file(const char *path, bool *zero, bool *made,
                                              GError **err)
{
    static const BlockCache cache = {.writeback = true};
    g_autofree char *name = g_strconcat("file:", path, NULL), *made_path = NULL;
    BlockNode *n = block_image_open_target(name, &cache, &made_path, err);

    *made = made_path != NULL;
    *zero = false;
    if (n && !n->driver->make_empty) {
        error_set(err, "'%s' cannot be a part of a new image", path);
    }
    if (n && (!n->driver->make_empty || n->driver->make_empty(n, 0, zero, err) < 0)) {
        if (made_path) {
            unlink(made_path);
        }
        block_node_unref(g_steal_pointer(&n));
    }
    return n;
}

/* Checks the options first: the file's content is kept where they are wrong. */
static bool image_create(CreateState *c, const char *filename, const BlockCache *cache)
{
    g_autofree char *made_path = NULL;

    if (c->driver->create_check && !c->driver->create_check(c->options, &c->length, c->err)) {
        return false;
    }
    c->file = block_image_open_target(filename, cache, &made_path, c->err);
    if (!c->file) {
        return false;
    }
    block_run(create_fn, c);
    if (!c->ok) {
        if (made_path) {
            unlink(made_path);
        }
        block_node_unref(g_steal_pointer(&c->file));
    }
    return c->ok;
}

static void *image_create_options(const BlockDriver *drv, json_t *options, GError **err)
{
    g_autofree char *what = g_strdup_printf("format '%s'", drv->name);
    void *o = g_malloc0(drv->create_size);

    properties_init(drv->create_props, o);
    if (!properties_apply(drv->create_props, o, options, NULL, what, err)) {
        properties_clear(drv->create_props, o);
        g_free(o);
        return NULL;
    }
    return o;
}

static const BlockDriver *image_create_driver(const char *format, GError **err)
{
    const BlockDriver *drv = block_driver_find(format);

    if (!drv) {
        if (!qemu_name_refused(QEMU_BLOCK, format, err)) {
            error_set(err, "Unknown file format '%s'", format);
        }
        return NULL;
    }
    if (!drv->create) {
        error_set(err, "Format driver '%s' does not support image creation", format);
        return NULL;
    }
    return drv;
}

bool block_image_create_check(const char *format, json_t *options, GError **err)
{
    const BlockDriver *drv = image_create_driver(format, err);
    void *o = drv ? image_create_options(drv, options, err) : NULL;
    uint64_t length;
    bool ok = o && (!drv->create_check || drv->create_check(o, &length, err));

    if (o) {
        properties_clear(drv->create_props, o);
        g_free(o);
    }
    return ok;
}

bool block_image_measure(const char *format, json_t *options, BlockMeasure *m, GError **err)
{
    const BlockDriver *drv = block_driver_find(format);
    void *o = NULL;
    bool ok;

    if (!drv) {
        return qemu_name_refused(QEMU_BLOCK, format, err)
                   ? false
                   : error_set(err, "Unknown file format '%s'", format);
    }
    if (!drv->measure) {
        return error_set(err, "Block driver '%s' does not support size measurement", format);
    }
    o = image_create_options(drv, options, err);
    ok = o && drv->measure(o, m, err);
    if (o) {
        properties_clear(drv->create_props, o);
        g_free(o);
    }
    return ok;
}

bool block_image_create_open(const char *filename, const char *format, json_t *options,
                             const BlockCache *cache, BlockNode **file, bool *zero, GError **err)
{
    CreateState c = {.driver = image_create_driver(format, err), .err = err};

    c.options = c.driver ? image_create_options(c.driver, options, err) : NULL;
    if (!c.options) {
        return false;
    }
    image_create(&c, filename, cache);
    properties_clear(c.driver->create_props, c.options);
    g_free(c.options);
    *file = c.file;
    *zero = c.zero;
    return c.ok;
}

typedef struct {
    BlockNode *node;
    void *options;
    bool force;
    GError **err;
    bool ok;
} AmendState;

static int coroutine_fn amend_fn(void *data)
{
    AmendState *a = data;

    a->ok = a->node->driver->amend(a->node, a->options, a->force, a->err);
    return 0;
}

bool block_image_amend(BlockNode *n, json_t *options, bool force, GError **err)
{
    AmendState a = {.node = n, .force = force, .err = err};
    const BlockDriver *drv = n->driver;
    g_autofree char *what = g_strdup_printf("format '%s'", drv->name);

    if (!drv->amend) {
        return error_set(err, "Format driver '%s' does not support option amendment", drv->name);
    }
    a.options = g_malloc0(drv->amend_size);
    properties_init(drv->amend_props, a.options);
    if (properties_apply(drv->amend_props, a.options, options, NULL, what, err)) {
        block_run(amend_fn, &a);
    }
    properties_clear(drv->amend_props, a.options);
    g_free(a.options);
    return a.ok;
}

static int coroutine_fn image_flush(void *data)
{
    return block_flush(data);
}

bool block_image_create(const char *filename, const char *format, json_t *options, GError **err)
{
    static const BlockCache cache = {.writeback = true};
    BlockNode *file = NULL;
    bool zero;
    int ret;

    if (!block_image_create_open(filename, format, options, &cache, &file, &zero, err)) {
        return false;
    }
    ret = block_run(image_flush, file);
    block_node_unref(file);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the new image") : true;
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
        /* The overlay is useless after a crash, so flushes are ignored. */
        config = json_pack("{s:s,s:s,s:{s:b,s:b},s:{s:s,s:o}}", "driver", "qcow2", "backing",
                           backing->opts.node_name, "cache", "direct", 0, "no-flush", 1, "file",
                           "driver", "file", "filename", json_string_nocheck(path));
        json_object_set_new(config, "discard", json_string("unmap"));
        n = block_node_open_unheld(config, 0, err);
    }
    unlink(path);
    close(fd);
    return n;
}

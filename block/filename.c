/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From file names to trees of options: paths, "PROTOCOL:...", "json:{...}". */
#include <sys/stat.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "base/util.h"
#include "block/image.h"
#include "core.h"
#include "drivers/drivers.h"
#include "open.h"

/* The colon of 'protocol:rest', which stands before any slash; NULL: a path. */
static const char *protocol_end(const char *filename)
{
    const char *p = filename + strcspn(filename, ":/");

    return *p == ':' && p != filename ? p : NULL;
}

char *block_resolve_backing(const char *image, const char *backing)
{
    g_autofree char *dir = NULL;

    if (g_path_is_absolute(backing) || protocol_end(backing) || !image || protocol_end(image)) {
        return g_strdup(backing);
    }
    if (!strchr(image, '/')) {
        return g_strdup(backing);
    }
    dir = g_path_get_dirname(image);
    return g_str_equal(dir, "/") ? g_strconcat("/", backing, NULL)
                                 : g_strconcat(dir, "/", backing, NULL);
}

const char *block_node_file_name(const BlockNode *n, bool *is_path)
{
    while (n->file && (n->driver->is_filter || n->driver->ends_with_file)) {
        n = n->file;
    }
    *is_path = n->driver->parse_filename == block_host_filename_config;
    return n->driver->is_protocol && n->filename && *n->filename ? n->filename : NULL;
}

char *block_node_image_name(const BlockNode *n)
{
    bool is_path;
    const char *name = block_node_file_name(n, &is_path);

    return g_strconcat(is_path && name && protocol_end(name) ? "file:" : "", name, NULL);
}

/* As in QEMU: a path does not tell. */
const char *block_host_driver_for(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        return "file";
    }
    return host_cdrom_is_one(path) ? "host_cdrom" : "host_device";
}

/* File names are bytes: they need not be UTF-8. */
static json_t *host_config(const char *driver, const char *path)
{
    json_t *file = json_object();

    json_object_set_new(file, "driver", json_string(driver));
    json_object_set_new(file, "filename", json_string_nocheck(path));
    return file;
}

json_t *block_host_filename_config(const char *filename, GError **err)
{
    const char *path = strchr(filename, ':') + 1;
    g_autofree char *protocol = g_strndup(filename, path - 1 - filename);

    if (g_str_has_prefix(path, "///")) {
        path += 2;
    }
    return host_config(g_str_equal(protocol, "file") ? block_host_driver_for(path) : protocol,
                       path);
}

json_t *block_protocol_config(const char *filename, GError **err)
{
    json_auto_t *tree = block_filename_to_config(filename, err);
    json_t *file = tree ? json_object_get(tree, "file") : NULL;

    return file ? json_incref(file) : tree ? json_incref(tree) : NULL;
}

static json_t *json_config(const char *text, GError **err)
{
    json_auto_t *tree = json_parse(text, err);

    if (tree && !json_is_object(tree)) {
        error_set(err, "json: file names hold an object, not this: %s", text);
        return NULL;
    }
    if (!tree) {
        block_error_prefix(err, "Could not parse the JSON options");
        return NULL;
    }
    return keyval_nest(tree, err);
}

static bool has_protocol(const BlockDriver *driver, const char *protocol)
{
    g_auto(GStrv) words = g_strsplit(driver->protocols ? driver->protocols : "", " ", -1);

    return g_strv_contains((const char *const *)words, protocol);
}

/* Each name in a name takes some stack; JSON has a limit of its own. */
static bool length_ok(const char *filename, GError **err)
{
    enum { LENGTH_MAX = 16 * KiB };

    return strnlen(filename, LENGTH_MAX + 1) <= LENGTH_MAX || g_str_has_prefix(filename, "json:") ||
           error_set(err, "The file name is longer than %d bytes", LENGTH_MAX);
}

json_t *block_filename_to_config(const char *filename, GError **err)
{
    const char *colon = protocol_end(filename);
    g_autofree char *protocol = colon ? g_strndup(filename, colon - filename) : NULL;

    if (!length_ok(filename, err)) {
        return NULL;
    }
    if (!colon) {
        return json_pack("{s:o}", "file", host_config(block_host_driver_for(filename), filename));
    }
    if (g_str_equal(protocol, "json")) {
        return json_config(colon + 1, err);
    }
    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        if (has_protocol(*d, protocol)) {
            json_t *file = (*d)->parse_filename(filename, err);
            return file ? json_pack("{s:o}", "file", file) : NULL;
        }
    }
    if (!qemu_name_refused(QEMU_BLOCK, protocol, err)) {
        error_set(err, "Unknown protocol '%s'", protocol);
    }
    return NULL;
}

json_t *block_image_config(const char *filename, const char *driver, GError **err)
{
    const BlockDriver *drv = driver ? block_driver_find(driver) : NULL;
    json_t *tree = block_filename_to_config(filename, err), *file;

    if (!tree || !driver) {
        return tree;
    }
    file = json_object_get(tree, "file");
    if (drv && drv->is_protocol && json_is_object(file)) {
        json_incref(file);
        json_decref(tree);
        tree = file;
    }
    json_object_set_new(tree, "driver", json_string(driver));
    return tree;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How images are opened, and what lies where in them. */
#include <errno.h>
#include "img.h"

/* The image's file: what the name says, and the engine. */
static json_t *open_file_config(const char *name, const ImgOpen *how, GError **err)
{
    json_t *tree, *file;

    if (how->file) {
        return json_pack("{s:s}", "file", how->file->opts.node_name);
    }
    tree = !name             ? json_object()
           : how->image_opts ? keyval_parse(name, NULL, NULL, true, err)
                             : block_filename_to_config(name, err);
    file = tree ? json_object_get(tree, "file") : NULL;
    if (tree && how->aio) {
        json_object_set_new(json_is_object(file) ? file : tree, "aio", json_string(how->aio));
    }
    if (how->image_opts || !name) {
        return tree;
    }
    /* Buffered io_uring requests are copied on this CPU, those of worker threads on all CPUs. */
    if (how->bulk && !g_str_has_prefix(name, "json:") && json_is_object(file) &&
        json_object_get(file, "filename")) {
        json_object_set_new(file, "aio", json_string("threads"));
    }
    return tree;
}

/* The options of a new image that name its secrets are options of the open one, too. */
static bool open_add_secrets(json_t *tree, json_t *created, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(created, key, value)
    {
        if (g_str_has_suffix(key, "key-secret") && !keyval_put(tree, key, value, err)) {
            return false;
        }
    }
    return true;
}

json_t *img_open_tree(const char *name, const ImgOpen *how, GError **err)
{
    BlockCache cache = {.writeback = true};
    ImgOpen with = *how;
    json_t *tree;

    if (how->cache) {
        block_cache_parse(how->cache, &cache, NULL);
    }
    with.bulk = how->bulk && !cache.direct;
    tree = open_file_config(name, &with, err);
    if (!tree) {
        return NULL;
    }
    if (how->format) {
        json_object_set_new(tree, "driver", json_string(how->format));
    }
    if (!json_object_get(tree, "read-only")) { /* else --image-opts says otherwise */
        json_object_set_new(tree, "read-only", json_boolean(!how->writable));
    }
    if (how->force_share) {
        json_object_set_new(tree, "force-share", json_true());
    }
    if (how->unmap) {
        json_object_set_new(tree, "discard", json_string("unmap"));
    }
    json_object_set_new(tree, "cache",
                        json_pack("{s:b,s:b}", "direct", cache.direct, "no-flush", cache.no_flush));
    if (!open_add_secrets(tree, how->created, err)) {
        json_decref(g_steal_pointer(&tree));
    }
    return tree;
}

BlockNode *img_open_config(const char *name, const ImgOpen *how, GError **err)
{
    json_auto_t *tree = img_open_tree(name, how, err);
    unsigned flags = (how->no_backing ? BLOCK_IMAGE_ALONE : 0) |
                     (how->check ? BLOCK_IMAGE_CHECK : 0) | (how->shared ? BLOCK_IMAGE_SHARED : 0) |
                     (how->no_io ? BLOCK_IMAGE_NO_IO : 0);

    return tree ? block_image_open(tree, flags, err) : NULL;
}

BlockNode *img_open(const char *name, const ImgOpen *how)
{
    g_autoptr(GError) err = NULL;
    BlockCache cache;
    BlockNode *n;

    if (how->image_opts && how->format) {
        log_error("--image-opts and --format are mutually exclusive");
        return NULL;
    }
    if (how->cache && !block_cache_parse(how->cache, &cache, NULL)) {
        log_error("Invalid %scache option: %s", how->cache_of ? how->cache_of : "", how->cache);
        return NULL;
    }
    n = img_open_config(name, how, &err);
    if (!n) {
        log_error("Could not open '%s': %s", name, err->message);
    } else if (how->snapshot && !img_load_snapshot(n, how->snapshot)) {
        block_node_unref(g_steal_pointer(&n));
    }
    return n;
}

int coroutine_fn img_status(BlockNode *n, uint64_t at, uint64_t bytes, uint64_t *len,
                            ImgPlace *place)
{
    return block_status_chain(n, NULL, at, bytes, len, &place->offset, &place->file, &place->depth);
}

int coroutine_fn img_extents_at(ImgExtents *e, uint64_t at, uint64_t *len)
{
    if (at < e->start || at >= e->end) {
        uint64_t n;
        int status = block_status_chain(e->node, NULL, at, *len, &n, NULL, NULL, NULL);

        if (status < 0) {
            return status;
        }
        e->status = status;
        e->start = at;
        /* Data reaches to the end of its sector: a file's short last sector is padded with zeroes.
         */
        e->end = status & BLOCK_STATUS_ZERO ? at + n : ROUND_UP(at + n, 512);
    }
    *len = MIN(*len, e->end - at);
    return 0;
}

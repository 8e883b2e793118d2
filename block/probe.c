/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which driver opens a node: the one that is named, else what the first and last bytes say. */
#include <stdio.h>
#include "base/error.h"
#include "base/json.h"
#include "base/qemu_names.h"
#include "base/util.h"
#include "core.h"
#include "drivers/drivers.h"
#include "open.h"

enum { PROBE_BYTES = 2048, PROBE_TAIL = 512 };

const BlockDriver *block_driver_find(const char *name)
{
    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        if (g_str_equal((*d)->name, name)) {
            return *d;
        }
    }
    return NULL;
}

static const BlockDriver *driver_find(const char *name, GError **err)
{
    const BlockDriver *drv = block_driver_find(name);
    g_autoptr(GPtrArray) names = NULL;
    const char *near;

    if (drv) {
        return drv;
    }
    if (qemu_name_refused(QEMU_BLOCK, name, err)) {
        return NULL;
    }
    names = g_ptr_array_new();
    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        g_ptr_array_add(names, (char *)(*d)->name);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    error_set(err, "Unknown driver '%s'%s%s%s", name, near ? "; did you mean '" : "",
              near ? near : "", near ? "'?" : "");
    return NULL;
}

const BlockDriver *block_probe(const uint8_t *buf, size_t len)
{
    const BlockDriver *best = NULL;
    int best_score = 0;

    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        int score = (*d)->probe ? (*d)->probe(buf, len) : 0;
        if (score > best_score) {
            best_score = score;
            best = *d;
        }
    }
    return best ? best : block_driver_find("raw");
}

const BlockDriver *block_probe_tail(const uint8_t *tail, size_t len)
{
    return dmg_probe_tail(tail, len) ? block_driver_find("dmg") : NULL;
}

typedef struct {
    BlockNode *node;
    uint8_t head[PROBE_BYTES], tail[PROBE_TAIL];
    size_t len, tail_len;
} ProbeRead;

static int coroutine_fn probe_read(void *data)
{
    ProbeRead *p = data;
    int64_t length = block_exact_length(p->node);
    int ret;

    if (length < 0) {
        return length;
    }
    p->len = MIN(length, PROBE_BYTES);
    p->tail_len = MIN(length, PROBE_TAIL);
    ret = p->len ? block_pread(p->node, 0, p->head, p->len) : 0;
    return ret < 0 || !p->tail_len
               ? ret
               : block_pread(p->node, length - p->tail_len, p->tail, p->tail_len);
}

/* Opens the 'file' of a tree to probe it: read-only, without locks, without the user's name. */
static BlockNode *probe_open(json_t *file, GError **err)
{
    json_auto_t *tree = NULL;

    if (json_is_string(file)) {
        BlockNode *n = block_node_find(json_string_value(file));

        if (!n) {
            error_set(err, "Cannot find device='' nor node-name='%s'", json_string_value(file));
            return NULL;
        }
        return block_node_ref(n);
    }
    tree = json_deep_copy(file);
    json_object_set_new(tree, "read-only", json_true());
    json_object_set_new(tree, "force-share", json_true());
    json_object_del(tree, "node-name");
    json_object_del(tree, "cache");
    json_object_del(tree, "aio");
    return block_node_open_unheld(tree, 0, err);
}

/* Probes the format of the 'file' of a tree. NULL: it cannot be read, or is not supported. */
static const BlockDriver *probe_file(json_t *file, GError **err)
{
    ProbeRead p = {.node = probe_open(file, err)};
    const BlockDriver *drv = NULL;
    const char *title;
    int ret;

    if (!p.node) {
        return NULL;
    }
    ret = block_run(probe_read, &p);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read image for determining its format");
    } else if ((title = block_probe_foreign(p.head, p.len, p.tail, p.tail_len))) {
        error_set(err,
                  "'%s' is a %s image, which is not supported yet; name format=raw to treat it as "
                  "bytes",
                  p.node->filename, title);
    } else {
        const BlockDriver *by_tail = block_probe_tail(p.tail, p.tail_len);

        drv = block_probe(p.head, p.len);
        drv = by_tail && g_str_equal(drv->name, "raw") ? by_tail : drv;
    }
    block_node_unref(p.node);
    return drv;
}

const BlockDriver *block_choose_driver(BlockNode *n, const BlockDriver *drv, json_t *config,
                                       GError **err)
{
    json_t *file = json_object_get(config, "file");

    if (drv) {
        n->opts.driver = g_strdup(drv->name);
        return drv;
    }
    if (n->opts.driver) {
        return driver_find(n->opts.driver, err);
    }
    if (json_object_get(config, "filename")) {
        return driver_find(block_host_driver_for(json_str(config, "filename")), err);
    }
    if (!file) {
        error_set(err, "Must specify either driver or file");
        return NULL;
    }
    drv = probe_file(file, err);
    if (!drv) {
        return NULL;
    }
    n->probed = true;
    n->opts.driver = g_strdup(drv->name);
    if (g_str_equal(drv->name, "raw") && !n->read_only) {
        const char *name = json_is_object(file) ? json_str(file, "filename") : NULL;
        fprintf(stderr,
                "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
                "         Automatically detecting the format is dangerous for raw images, write "
                "operations on block 0 will be restricted.\n"
                "         Specify the 'raw' format explicitly to remove the restrictions.\n",
                name ? name : "");
    }
    return drv;
}

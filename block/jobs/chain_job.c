/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the jobs that walk a backing chain share: status, copying, names, and their filter. */
#include "chain_job.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/json.h"
#include "base/util.h"
#include "block/image.h"

int coroutine_fn chain_job_status(BlockNode *n, BlockNode *last, uint64_t off, uint64_t *len,
                                  BlockNode **node)
{
    for (;; n = block_node_below(n)) {
        int64_t length = block_length(n);
        int status;

        if (length < 0) {
            return length;
        }
        if (off >= (uint64_t)length) {
            return BLOCK_STATUS_ZERO; /* past its end the image above shows zeroes */
        }
        *len = MIN(*len, length - off);
        status = block_status(n, off, *len, len, NULL, NULL);
        if (status < 0) {
            return status;
        }
        if (status & BLOCK_STATUS_ALLOCATED) {
            if (node) {
                *node = n;
            }
            return status & BLOCK_STATUS_ZERO ? BLOCK_STATUS_ZERO : BLOCK_STATUS_DATA;
        }
        if (n == last) {
            return 0;
        }
    }
}

typedef struct {
    const ChainCopy *c;
    uint64_t off;
    bool *is_read;
} ByHand;

static int coroutine_fn copy_by_hand(void *data, uint64_t off, uint64_t bytes)
{
    const ByHand *h = data;
    const ChainCopy *c = h->c;
    struct iovec iov = {.iov_base = c->buf, .iov_len = bytes};
    int ret = block_pread(c->from, h->off + off, c->buf, bytes);

    *h->is_read = true;
    if (ret < 0) {
        return ret;
    }
    *h->is_read = false;
    return iov_is_zero(&iov, 1) ? block_pwrite_zeroes(c->to, h->off + off, bytes, c->flags)
                                : block_pwrite(c->to, h->off + off, c->buf, bytes, c->flags);
}

int coroutine_fn chain_job_copy(BlockOffload *o, const ChainCopy *c, uint64_t off, uint64_t len,
                                bool *is_read)
{
    ByHand h = {c, off, is_read};
    BlockOffloadRange range = {
        .src = c->from,
        .dst = c->to,
        .src_off = off,
        .dst_off = off,
        .bytes = len,
        .flags = c->flags & BLOCK_REQ_HOLDS_RANGE ? BLOCK_COPY_HOLDS_RANGE : 0,
        .by_hand = copy_by_hand,
        .data = &h,
    };

    *is_read = false;
    return block_offload_copy(o, &range);
}

/*
 * The name of a file as an image calls it, which looks for a relative name in its own folder, where
 * this program's is another one. The caller frees it.
 */
static char *name_for_image(BlockNode *image, const char *name)
{
    const char *own = image->file ? image->file->filename : NULL;
    g_autofree char *resolved = block_resolve_backing(own, name);
    g_autofree char *folder = NULL, *own_folder = NULL;

    if (g_str_equal(resolved, name)) {
        return g_strdup(name);
    }
    folder = g_path_get_dirname(name);
    own_folder = g_path_get_dirname(own);
    return g_str_equal(folder, own_folder) ? g_path_get_basename(name)
                                           : g_canonicalize_filename(name, NULL);
}

char *chain_job_base_name(BlockNode *image, BlockNode *base, const char *given, const char **format,
                          GError **err)
{
    base = block_node_image(base);
    *format = base->driver->is_protocol ? "raw" : base->driver->name;
    if (given) {
        return g_strdup(given);
    }
    if (!base->filename || !*base->filename) {
        error_set(err,
                  "Node '%s' has no file name that an image could have as its backing file: give "
                  "one by 'backing-file'",
                  base->opts.node_name);
        return NULL;
    }
    return name_for_image(image, base->filename);
}

static bool same_file(const char *a, const char *b)
{
    g_autofree char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);

    return real_a && real_b && g_str_equal(real_a, real_b);
}

BlockNode *block_chain_find_file(BlockNode *n, const char *name)
{
    for (BlockNode *image = block_node_image(n), *next;; image = next) {
        g_autofree char *path = NULL;

        next = block_node_next_image(image);
        if (!next) {
            return NULL;
        }
        path = block_resolve_backing(image->filename, name);
        if (!g_strcmp0(image->backing_name, name) || !g_strcmp0(next->filename, name) ||
            (next->filename && same_file(path, next->filename))) {
            return next;
        }
    }
}

bool coroutine_fn chain_job_replace(BlockNode *from, BlockNode *to, GError **err)
{
    GPtrArray *barred = block_bar_parents(from);
    BlockChange *c = block_change_new();
    bool ok;

    block_change_replace(c, from, to);
    ok = block_change_commit(c, err);
    block_unbar_parents(barred);
    return ok;
}

/* The filter: all requests pass. */

typedef struct {
    json_t *file;
} JobFilter;

static const Property filter_props[] = {
    PROP("file", PROP_TREE, JobFilter, file, NULL, "the node below"), PROP_END};

static void filter_child_changed(BlockNode *n)
{
    n->request_alignment = n->file->request_alignment;
    n->memory_alignment = n->file->memory_alignment;
}

static bool filter_open(BlockNode *n, GError **err)
{
    JobFilter *f = block_node_state(n);

    if (!block_open_child(n, "file", BLOCK_ROLE_FILTERED, f->file, &n->file, err)) {
        return false;
    }
    filter_child_changed(n);
    n->filename = g_strdup(n->file->filename);
    return true;
}

static int coroutine_fn filter_preadv(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    return block_preadv(n->file, off, bytes, iov, niov);
}

static int coroutine_fn filter_pwritev(BlockNode *n, uint64_t off, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov, unsigned flags)
{
    return block_pwritev(n->file, off, bytes, iov, niov, flags);
}

static int coroutine_fn filter_pwrite_zeroes(BlockNode *n, uint64_t off, uint64_t bytes,
                                             unsigned flags)
{
    return block_pwrite_zeroes(n->file, off, bytes, flags);
}

static int coroutine_fn filter_pdiscard(BlockNode *n, uint64_t off, uint64_t bytes)
{
    return block_pdiscard(n->file, off, bytes);
}

static int coroutine_fn filter_block_status(BlockNode *n, uint64_t off, uint64_t bytes,
                                            uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    return block_status_here(n->file, off, bytes, pnum, map, file);
}

static bool filter_map_cached(BlockNode *n, uint64_t off, uint64_t bytes, bool write,
                              BlockMapping *map)
{
    map->file = n->file;
    map->offset = off;
    map->bytes = bytes;
    return true;
}

/* Whoever reads the image through the filter leaves it to the job, which writes to what is below.
 */
static BlockPerms commit_child_perms(BlockNode *n, const BlockEdge *edge, BlockPerms users)
{
    return (BlockPerms){0, BLOCK_PERM_ALL};
}

#define FILTER                                                                                     \
    .size = sizeof(JobFilter), .props = filter_props, .is_filter = true, .open = filter_open,      \
    .child_changed = filter_child_changed, .preadv = filter_preadv,                                \
    .block_status = filter_block_status, .map_cached = filter_map_cached

const BlockDriver job_filter_stream = {
    .name = "copy-on-read",
    FILTER,
    .pwritev = filter_pwritev,
    .pwrite_zeroes = filter_pwrite_zeroes,
    .pdiscard = filter_pdiscard,
};
const BlockDriver job_filter_commit = {
    .name = "commit_top", FILTER, .child_perms = commit_child_perms};

BlockNode *job_filter_open(const BlockDriver *drv, BlockNode *node, const char *name, GError **err)
{
    json_auto_t *tree = json_pack("{s:s}", "file", node->opts.node_name);

    if (name) {
        json_object_set_new(tree, "node-name", json_string(name));
    }
    if (node->read_only) {
        json_object_set_new(tree, "read-only", json_true());
    }
    return block_filter_open(drv, tree, err);
}

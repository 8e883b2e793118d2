/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'copy-on-read': block/copy_on_read.h. All writes to the filter are in its table of ranges.
 * Clusters are copied under an exclusive lock, so a write of the guest's comes before, and its
 * cluster is in the image then, or after.
 */
#include "block/copy_on_read.h"
#include <errno.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "block/debug.h"
#include "block/image.h"
#include "drivers.h"
#include "filter.h"

/* Bytes that are copied at a time, where a cluster is not larger. */
enum { COPY_MAX = 1024 * 1024 };

typedef struct {
    json_t *file_config;
    char *bottom_name;
    BlockNode *bottom; /* the last image to copy from; NULL: all */
    bool frozen;       /* the edges down to 'bottom' are, by this node */
    uint32_t cluster;
} CopyOnRead;

static const Property copy_on_read_props[] = {
    FILTER_PROP_FILE(CopyOnRead, file_config),
    PROP("bottom", PROP_STRING, CopyOnRead, bottom_name, NULL,
         "name of the last node of the backing chain to copy from (default: the end)"),
    PROP_END,
};

static BlockEdge *edge_down(BlockNode *n)
{
    return block_node_edge(n, n->backing ? "backing" : "file");
}

static void copy_on_read_child_changed(BlockNode *node)
{
    CopyOnRead *s = block_node_state(node);
    BlockDriverInfo info = {0};

    if (filter_info(node, &info)) {
        json_decref(info.format_specific);
    }
    s->cluster = MAX(info.cluster_size, BLOCK_SECTOR_SIZE);
}

static bool copy_on_read_open(BlockNode *node, GError **err)
{
    CopyOnRead *s = block_node_state(node);
    BlockNode *bottom = s->bottom_name ? block_node_find(s->bottom_name) : NULL;

    if (!filter_open(node, s->file_config, err)) {
        return false;
    }
    /* It may have come with the child. */
    bottom = s->bottom_name ? block_node_find(s->bottom_name) : NULL;
    if (s->bottom_name && !bottom) {
        return error_set(err, "Bottom node '%s' not found", s->bottom_name);
    }
    if (bottom && bottom->driver->is_filter) {
        return error_set(err, "Bottom node '%s' is a filter", s->bottom_name);
    }
    s->bottom = bottom;
    copy_on_read_child_changed(node);
    block_range_track_begin(node); /* nobody has the node yet */
    return true;
}

/* The user gave 'bottom': that chain stays as it is while the filter is there. */
static bool coroutine_fn copy_on_read_opened(BlockNode *node, GError **err)
{
    CopyOnRead *s = block_node_state(node);
    BlockEdge *own = block_node_edge(node, "file");
    BlockNode *n;

    for (n = node; s->bottom && n && n != s->bottom; n = block_node_below(n)) {
    }
    if (!n) {
        return error_set(err, "Bottom node '%s' is not in the backing chain of node '%s'",
                         s->bottom_name, node->file->opts.node_name);
    }
    for (n = node; s->bottom && n != s->bottom; n = block_node_below(n)) {
        if (!block_edge_freeze(edge_down(n), own, err)) {
            for (BlockNode *thaw = node; thaw != n; thaw = block_node_below(thaw)) {
                block_edge_thaw(edge_down(thaw));
            }
            return false;
        }
    }
    s->frozen = s->bottom != NULL;
    return true;
}

static void copy_on_read_close(BlockNode *node)
{
    CopyOnRead *s = block_node_state(node);

    for (BlockNode *n = node; s->frozen && n != s->bottom; n = block_node_below(n)) {
        block_edge_thaw(edge_down(n));
    }
}

static BlockPerms copy_on_read_child_perms(BlockNode *node, const BlockEdge *edge, BlockPerms users)
{
    return (BlockPerms){users.needs | BLOCK_PERM_WRITE_UNCHANGED,
                        users.shares | BLOCK_PERM_WRITE_UNCHANGED};
}

/*
 * 1: the first *len bytes are in a backing file that is copied from, and not in the image; *zero:
 * they are zeroes there. 0: they are not. Or -errno.
 */
static int coroutine_fn copy_wanted(BlockNode *node, uint64_t off, uint64_t bytes, uint64_t *len,
                                    bool *zero)
{
    CopyOnRead *s = block_node_state(node);
    BlockNode *image = block_node_image(node->file);
    BlockNode *base = s->bottom ? block_node_below(s->bottom) : NULL;
    unsigned depth;
    int ret = block_status_chain(image, base, off, bytes, len, NULL, NULL, &depth);

    if (ret < 0) {
        return ret;
    }
    *zero = ret & BLOCK_STATUS_ZERO;
    return depth && ret & BLOCK_STATUS_ALLOCATED;
}

static int coroutine_fn copy_piece(BlockNode *node, uint64_t off, uint64_t len, bool zero)
{
    block_auto_buffer void *buf = NULL;
    int ret;

    block_debug_event(node->file, BLOCK_DEBUG_COR_WRITE);
    if (zero) {
        return block_pwrite_zeroes(node->file, off, len, 0);
    }
    buf = block_buffer_new(node, len);
    if (!buf) {
        return -ENOMEM;
    }
    ret = block_pread(node->file, off, buf, len);
    if (ret == 0) {
        ret = buffer_is_zero(buf, len) ? block_pwrite_zeroes(node->file, off, len, 0)
                                       : block_pwrite(node->file, off, buf, len, 0);
    }
    return ret;
}

/* Whole clusters, whose range is locked. */
static int coroutine_fn copy_locked(BlockNode *node, uint64_t off, uint64_t end)
{
    int ret = 0;

    while (ret >= 0 && off < end) {
        uint64_t len;
        bool zero;

        /* Anew: before the lock a write of the guest's may have brought a cluster. */
        ret = copy_wanted(node, off, end - off, &len, &zero);
        if (ret > 0) {
            ret = copy_piece(node, off, len, zero);
        }
        off += len;
    }
    return MIN(ret, 0);
}

int coroutine_fn block_copy_up(BlockNode *node, uint64_t off, uint64_t bytes)
{
    CopyOnRead *s = block_node_state(node);
    const uint64_t end = off + bytes, unit = MAX(s->cluster, COPY_MAX);
    int64_t length = block_length(node);
    int ret = length < 0 ? length : 0;

    while (ret >= 0 && off < end) {
        uint64_t len;
        bool zero;

        ret = copy_wanted(node, off, end - off, &len, &zero);
        if (ret > 0) {
            BlockRangeLock range;
            uint64_t first = ROUND_DOWN(off, s->cluster);
            uint64_t last = ROUND_UP(MIN(off + len, first + unit), s->cluster);

            last = MIN(last, (uint64_t)length);
            block_range_lock(node, &range, first, last - first);
            ret = copy_locked(node, first, last);
            block_range_unlock(node, &range);
            len = MAX(last, off + 1) - off;
        }
        off += len;
    }
    return MIN(ret, 0);
}

static int coroutine_fn copy_on_read_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                            const struct iovec *iov, unsigned niov)
{
    int ret = block_copy_up(node, offset, bytes);

    return ret < 0 ? ret : block_preadv(node->file, offset, bytes, iov, niov);
}

/*
 * An image maps only what it has itself, which is not to be copied. (A write comes here in vain:
 * the ranges of this node are tracked.)
 */
const BlockDriver block_driver_copy_on_read = {
    .name = "copy-on-read",
    .help = "copies what is read from a backing file into the image",
    .size = sizeof(CopyOnRead),
    .props = copy_on_read_props,
    FILTER_COMMON,
    .open = copy_on_read_open,
    .opened = copy_on_read_opened,
    .close = copy_on_read_close,
    .child_changed = copy_on_read_child_changed,
    .child_perms = copy_on_read_child_perms,
    .preadv = copy_on_read_preadv,
    .pwritev = filter_pwritev,
    .pwrite_zeroes = filter_pwrite_zeroes,
    .pwrite_compressed = filter_pwrite_compressed,
    .pdiscard = filter_pdiscard,
    .map_cached = filter_map_cached,
};

BlockNode *block_copy_on_read_above(BlockNode *image, GError **err)
{
    bool unmap = image->opts.discard == BLOCK_DISCARD_UNMAP;
    json_auto_t *tree = json_pack("{s:s,s:s,s:{s:b,s:b}}", "file", image->opts.node_name, "discard",
                                  unmap ? "unmap" : "ignore", "cache", "direct",
                                  image->opts.cache.direct, "no-flush", image->opts.cache.no_flush);

    return block_filter_open(&block_driver_copy_on_read, tree, err);
}

bool block_copy_on_read_of_drive(const BlockNode *n)
{
    return n->driver == &block_driver_copy_on_read && n->core->implicit;
}

void block_copy_on_read_set_bottom(BlockNode *filter, BlockNode *bottom)
{
    ((CopyOnRead *)block_node_state(filter))->bottom = bottom;
}

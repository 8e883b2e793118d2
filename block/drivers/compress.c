/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'compress': what is written is compressed, a whole cluster at a time. The core reads and
 * writes back the rest of a cluster (request_alignment). A cluster is written once, as in
 * block_pwrite_compressed().
 */
#include <errno.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "drivers.h"
#include "filter.h"

/* Bytes that are gathered at a time, where a cluster is not larger. */
enum { GATHER_MAX = 1024 * 1024 };

typedef struct {
    json_t *file_config;
} Compress;

static const Property compress_props[] = {
    FILTER_PROP_FILE(Compress, file_config),
    PROP_END,
};

static void compress_child_changed(BlockNode *node)
{
    BlockDriverInfo info = {0};

    if (filter_info(node, &info)) {
        json_decref(info.format_specific);
    }
    node->request_alignment = MAX(info.cluster_size, node->file->request_alignment);
}

static bool compress_open(BlockNode *node, GError **err)
{
    Compress *s = block_node_state(node);
    const BlockDriver *below;

    if (!filter_open(node, s->file_config, err)) {
        return false;
    }
    below = block_node_image(node->file)->driver;
    if (!below->pwrite_compressed) {
        return error_set(err, "Compression is not supported for underlying format: %s",
                         below->name);
    }
    compress_child_changed(node);
    return true;
}

static int coroutine_fn compress_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    const uint64_t unit = MAX(node->request_alignment, GATHER_MAX);
    block_auto_buffer void *buf = block_buffer_new(node, MIN(bytes, unit));
    int64_t length = block_length(node);
    int ret = length < 0 ? length : 0;

    if (!buf) {
        return -ENOMEM;
    }
    /* The last cluster may reach past the end of the disk. */
    bytes = MIN(bytes, MAX(length, (int64_t)offset) - offset);
    for (uint64_t done = 0, len; ret == 0 && done < bytes; done += len) {
        len = MIN(bytes - done, unit);
        iov_to_buf(iov, niov, done, buf, len);
        ret = block_pwrite_compressed(node->file, offset + done, buf, len);
    }
    return ret;
}

const BlockDriver block_driver_compress = {
    .name = "compress",
    .help = "compresses what is written",
    .size = sizeof(Compress),
    .props = compress_props,
    FILTER_COMMON,
    .open = compress_open,
    .child_changed = compress_child_changed,
    .preadv = filter_preadv,
    .pwritev = compress_pwritev,
    .pwrite_zeroes = filter_pwrite_zeroes,
    .pwrite_compressed = filter_pwrite_compressed,
    .pdiscard = filter_pdiscard,
};

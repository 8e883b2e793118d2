/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filters have in common: drivers/filter.h. */
#include "filter.h"
#include <errno.h>

bool filter_open(BlockNode *node, json_t *file_config, GError **err)
{
    return block_open_child(node, "file", BLOCK_ROLE_FILTERED, file_config, &node->file, err);
}

int coroutine_fn filter_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov)
{
    return block_preadv(node->file, offset, bytes, iov, niov);
}

int coroutine_fn filter_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                const struct iovec *iov, unsigned niov, unsigned flags)
{
    return block_pwritev(node->file, offset, bytes, iov, niov, flags);
}

int coroutine_fn filter_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                      unsigned flags)
{
    return block_pwrite_zeroes(node->file, offset, bytes, flags);
}

int coroutine_fn filter_pwrite_compressed(BlockNode *node, uint64_t offset, const void *buf,
                                          size_t bytes)
{
    return block_pwrite_compressed(node->file, offset, buf, bytes);
}

int coroutine_fn filter_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    return block_pdiscard(node->file, offset, bytes);
}

int coroutine_fn filter_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    return block_status_here(node->file, offset, bytes, pnum, map, file);
}

int coroutine_fn filter_truncate(BlockNode *node, uint64_t size, GError **err)
{
    return block_truncate(node->file, size, err);
}

bool filter_info(BlockNode *node, BlockDriverInfo *info)
{
    return node->file->driver->info && node->file->driver->info(node->file, info);
}

bool filter_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                       BlockMapping *map)
{
    map->file = node->file;
    map->offset = offset;
    map->bytes = bytes;
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filters have in common: a child 'file', to which they pass on what is not theirs. */
#ifndef BLOCK_FILTER_H
#define BLOCK_FILTER_H

#include "../core.h"

/* A filter's property table begins with this; its state has the field. */
#define FILTER_PROP_FILE(state, field)                                                             \
    {                                                                                              \
        .name = "file", .type = PROP_TREE, .offset = offsetof(state, field),                       \
        .flags = PROP_FLAG_REQUIRED, .shape = &block_ref_shape, .help = "the node below"           \
    }

bool filter_open(BlockNode *node, json_t *file_config, GError **err);
int coroutine_fn filter_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov);
int coroutine_fn filter_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                const struct iovec *iov, unsigned niov, unsigned flags);
int coroutine_fn filter_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                      unsigned flags);
int coroutine_fn filter_pwrite_compressed(BlockNode *node, uint64_t offset, const void *buf,
                                          size_t bytes);
int coroutine_fn filter_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes);
int coroutine_fn filter_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     uint64_t *pnum, uint64_t *map, BlockNode **file);
int coroutine_fn filter_truncate(BlockNode *node, uint64_t size, GError **err);
bool filter_info(BlockNode *node, BlockDriverInfo *info);
/* Everything is where the child has it. */
bool filter_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                       BlockMapping *map);

/* What all filters have in their tables. */
#define FILTER_COMMON                                                                              \
    .is_filter = true, .block_status = filter_block_status, .truncate = filter_truncate,           \
    .info = filter_info

#endif

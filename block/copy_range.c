/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies inside the host: block_copy_range(). */
#include <errno.h>
#include "block/chain.h"
#include "block/image.h"
#include "core.h"

int coroutine_fn block_pcopy(BlockNode *n, uint64_t off, const BlockHostRange *from, unsigned flags)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, from->bytes, 0);
    ret = block_write_allowed(n, off, from->bytes);
    if (ret == 0 && from->bytes) {
        block_threshold_check(n, off + from->bytes);
        ret = n->driver->pcopy ? n->driver->pcopy(n, off, from, flags) : -ENOTSUP;
        block_node_wrote_up_to(n, off + from->bytes);
        block_node_dirtied(n, off, from->bytes);
    }
    block_write_end(n, &range);
    return ret;
}

int coroutine_fn block_copy_range(BlockNode *src, uint64_t src_off, BlockNode *dst,
                                  uint64_t dst_off, uint64_t bytes, unsigned flags)
{
    while (bytes) {
        BlockHostRange from = {0};
        uint64_t map;
        int ret =
            block_status_chain(src, NULL, src_off, bytes, &from.bytes, &map, &from.file, NULL);

        if (ret < 0) {
            return ret;
        }
        if (!(ret & BLOCK_STATUS_DATA) || !(ret & BLOCK_STATUS_OFFSET_VALID) || !from.file ||
            !from.file->driver->pcopy_source) {
            return -ENOTSUP;
        }
        from.offset = map;
        ret = block_pcopy(dst, dst_off, &from, flags);
        if (ret < 0) {
            return ret;
        }
        src_off += from.bytes;
        dst_off += from.bytes;
        bytes -= from.bytes;
    }
    return 0;
}

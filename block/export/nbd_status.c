/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metadata contexts: what clients can ask about ranges of an export. */
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "block/image.h"
#include "nbd.h"
#include "nbd_proto.h"

/* Extents of one reply are looked for in at most so many steps. */
enum { MAX_STEPS = 4096 };

char *nbd_context_name(const NbdExport *exp, unsigned context)
{
    if (context == NBD_CONTEXT_ALLOCATION) {
        return g_strdup("base:allocation");
    }
    if (context == NBD_CONTEXT_DEPTH && exp->allocation_depth) {
        return g_strdup("qemu:allocation-depth");
    }
    if (context >= NBD_CONTEXT_BITMAPS && context - NBD_CONTEXT_BITMAPS < exp->bitmaps->len) {
        return g_strconcat(
            "qemu:dirty-bitmap:",
            block_dirty_bitmap_name(exp->bitmaps->pdata[context - NBD_CONTEXT_BITMAPS]), NULL);
    }
    return NULL;
}

/* Whether the bitmap says that 'off' was written to, and how far that holds. */
static int bitmap_flags(BlockDirtyBitmap *b, uint64_t off, uint64_t bytes, uint64_t *len)
{
    uint64_t at = off, run = 0;

    /* The run begins at its granule, which may lie before 'off'. */
    if (!block_dirty_bitmap_next_dirty(b, &at, &run, bytes + block_dirty_bitmap_granularity(b),
                                       false) ||
        at >= off + bytes) {
        *len = bytes;
        return 0;
    }
    if (at > off) {
        *len = at - off;
        return 0;
    }
    *len = MIN(at + run - off, bytes);
    return NBD_STATE_DIRTY;
}

static int coroutine_fn context_flags(NbdExport *exp, unsigned context, uint64_t off,
                                      uint64_t bytes, uint64_t *len)
{
    BlockNode *n = exp->base.node;
    unsigned depth;
    int status;

    if (context >= NBD_CONTEXT_BITMAPS) {
        return bitmap_flags(exp->bitmaps->pdata[context - NBD_CONTEXT_BITMAPS], off, bytes, len);
    }
    if (context == NBD_CONTEXT_DEPTH) {
        status = block_status_chain(n, NULL, off, bytes, len, NULL, NULL, &depth);
        return status < 0 ? status : status & BLOCK_STATUS_ALLOCATED ? (int)depth + 1 : 0;
    }
    status = block_status_chain(n, NULL, off, bytes, len, NULL, NULL, NULL);
    if (status < 0) {
        return status;
    }
    return (status & BLOCK_STATUS_DATA ? 0 : NBD_STATE_HOLE) |
           (status & BLOCK_STATUS_ZERO ? NBD_STATE_ZERO : 0);
}

int coroutine_fn nbd_context_extents(NbdExport *exp, unsigned context, uint64_t off, uint64_t bytes,
                                     uint32_t (*extents)[2], unsigned max)
{
    unsigned count = 0;
    uint64_t length = 0;
    uint32_t flags = 0;

    for (unsigned steps = 0; bytes && steps < MAX_STEPS; steps++) {
        uint64_t len = 0;
        int ret = context_flags(exp, context, off, bytes, &len);

        if (ret < 0) {
            return ret;
        }
        len = MIN(len, bytes);
        if (!len) {
            break;
        }
        if (!count || flags != (uint32_t)ret) {
            if (count == max) {
                break;
            }
            count++;
            length = 0;
            flags = ret;
        }
        length += len;
        extents[count - 1][0] = htobe32(length);
        extents[count - 1][1] = htobe32(flags);
        off += len;
        bytes -= len;
    }
    return count;
}

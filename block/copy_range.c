/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies inside the host: block_offload_copy(). */
#include <errno.h>
#include "base/util.h"
#include "block/chain.h"
#include "block/copy_offload.h"
#include "block/graph.h"
#include "block/image.h"
#include "core.h"

/* A job goes through images of which parts cannot be shared: compressed, or of odd lengths. */
enum { UNIT_LEAST = 4096, PATIENCE = 16 };

int coroutine_fn block_pcopy(BlockNode *n, uint64_t off, const BlockHostRange *from, unsigned flags)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, from->bytes,
                      flags & BLOCK_COPY_HOLDS_RANGE ? BLOCK_REQ_HOLDS_RANGE : 0);
    ret = block_write_allowed(n, off, from->bytes);
    if (ret == 0 && from->bytes) {
        block_threshold_check(n, off + from->bytes);
        /* Whatever 'detect-zeroes' says: zeroes that are shared take no space. */
        ret = n->driver->pcopy ? n->driver->pcopy(n, off, from, flags & ~BLOCK_COPY_HOLDS_RANGE)
                               : -ENOTSUP;
        block_node_wrote_up_to(n, off + from->bytes);
        block_node_dirtied(n, off, from->bytes);
    }
    block_write_end(n, &range);
    return ret;
}

static bool is_child(const BlockNode *n, const BlockNode *child)
{
    for (unsigned i = 0; i < n->core->children->len; i++) {
        if (((BlockEdge *)n->core->children->pdata[i])->child == child) {
            return true;
        }
    }
    return false;
}

/*
 * Whether a read of what 'n' has itself is a read of 'file' and nothing else. A filter that has no
 * map_cached() does something with each request: it counts, waits, copies, fails.
 */
static bool reads_pass(BlockNode *n, const BlockNode *file)
{
    for (; n && n != file; n = n->file) {
        if (n->driver->is_filter && !n->driver->map_cached) {
            return false;
        }
        if (is_child(n, file)) {
            return true;
        }
    }
    return n;
}

/* Where a file has the data that 'n' shows from 'off' on. -ENOTSUP: it is to be asked of 'n'. */
static int coroutine_fn find_in_file(BlockNode *n, uint64_t off, uint64_t bytes,
                                     BlockHostRange *from)
{
    bool filtered = false;
    int ret;

    for (;;) {
        ret = block_status_here(n, off, bytes, &from->bytes, &from->offset, &from->file);
        if (ret < 0 || ret & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO)) {
            break;
        }
        if (n->driver->is_filter) {
            filtered = true;
        } else if (filtered || !n->backing) {
            /* A filter above may copy up what comes from a backing file. */
            return -ENOTSUP;
        }
        if (n->driver->is_filter && !n->driver->map_cached) {
            return -ENOTSUP;
        }
        bytes = from->bytes;
        n = block_node_below(n);
        if (!n || block_length(n) < 0 || off >= (uint64_t)block_length(n)) {
            return -ENOTSUP;
        }
    }
    if (ret < 0) {
        return ret;
    }
    return ret & BLOCK_STATUS_DATA && ret & BLOCK_STATUS_OFFSET_VALID && from->file &&
                   from->file->driver->pcopy_source && reads_pass(n, from->file)
               ? 0
               : -ENOTSUP;
}

/* Who remembers. */

void block_offload_init(BlockOffload *o, BlockOffloadMode mode, BlockNode *target)
{
    BlockDriverInfo info = {0};
    bool known = target->driver->info && target->driver->info(target, &info);

    json_decref(info.format_specific);
    *o = (BlockOffload){
        .mode = mode, .patience = PATIENCE, .unit = MAX(UNIT_LEAST, known ? info.cluster_size : 0)};
}

BlockOffloadMode block_offload_mode(const BlockOffload *o)
{
    return __atomic_load_n(&o->mode, __ATOMIC_RELAXED);
}

/* What has become of a piece. */
static void offload_learn(BlockOffload *o, BlockOffloadMode mode, int ret, uint64_t done)
{
    bool off = false;

    if (mode == BLOCK_OFFLOAD_COPY) {
        return;
    }
    if (done) {
        __atomic_store_n(&o->refused, 0, __ATOMIC_RELAXED);
        __atomic_compare_exchange_n(&o->mode, &(BlockOffloadMode){BLOCK_OFFLOAD_TRY},
                                    BLOCK_OFFLOAD_SHARE, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    } else {
        /* What the kernel says at first, it says of all. */
        off = __atomic_add_fetch(&o->refused, 1, __ATOMIC_RELAXED) >= o->patience ||
              (mode == BLOCK_OFFLOAD_TRY && ret != -ENOTSUP);
    }
    if (off) {
        __atomic_store_n(&o->mode, BLOCK_OFFLOAD_OFF, __ATOMIC_RELAXED);
    }
}

/* The next extent of the source, at most 'bytes': whole units of it. *done: how much it was. */
static int coroutine_fn copy_extent(BlockOffload *o, const BlockOffloadRange *r, uint64_t off,
                                    uint64_t bytes, unsigned flags, uint64_t *done)
{
    BlockHostRange from;
    int ret = find_in_file(r->src, r->src_off + off, bytes, &from);

    *done = 0;
    if (ret < 0) {
        return ret;
    }
    from.bytes = ROUND_DOWN(from.bytes, o->unit);
    if (!from.bytes) {
        return -ENOTSUP;
    }
    /*
     * Not a request in the source: who waits for the target must not hold up those who wait for the
     * source, and may be what the target waits for. The owner keeps both nodes as they are.
     */
    ret = from.file->inactive ? -EPERM : block_pcopy(r->dst, r->dst_off + off, &from, flags);
    *done = ret < 0 ? 0 : from.bytes;
    return ret;
}

/* Copies from 'off' on as far as the kernel does; returns where it ends, at the end of a unit. */
static uint64_t coroutine_fn offload_middle(BlockOffload *o, const BlockOffloadRange *r,
                                            uint64_t off)
{
    BlockOffloadMode mode = block_offload_mode(o);
    uint64_t bytes = ROUND_DOWN(r->bytes - off, o->unit), done = 0, len;
    unsigned how = mode == BLOCK_OFFLOAD_COPY ? 0 : BLOCK_COPY_SHARE | BLOCK_COPY_KEEP_SPACE;
    int ret = 0;

    if (mode == BLOCK_OFFLOAD_OFF || !bytes) {
        return off;
    }
    for (; ret == 0 && done < bytes; done += len) {
        ret = copy_extent(o, r, off + done, bytes - done, r->flags | how, &len);
    }
    offload_learn(o, mode, ret, done);
    return off + done;
}

int coroutine_fn block_offload_copy(BlockOffload *o, const BlockOffloadRange *r)
{
    uint64_t head, end;
    int ret = 0;

    if (block_offload_mode(o) == BLOCK_OFFLOAD_OFF) {
        return r->by_hand(r->data, 0, r->bytes);
    }
    head = MIN(ROUND_UP(r->dst_off, o->unit) - r->dst_off, r->bytes);
    if (head) {
        ret = r->by_hand(r->data, 0, head);
    }
    if (ret < 0) {
        return ret;
    }
    end = offload_middle(o, r, head);
    return end < r->bytes ? r->by_hand(r->data, end, r->bytes - end) : 0;
}

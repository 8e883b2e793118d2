/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The short way: a read or write whose place in the host file follows from cached metadata goes
 * straight to the engine. The EngineOp is built inside the BlockRequest, so nothing is allocated;
 * no coroutine is started; the nodes on the way only count the request in.
 */
#include "base/trace.h"
#include "base/util.h"
#include "core.h"
#include "engine.h"

enum { MAX_DEPTH = 4 };

typedef struct {
    EngineOp op;
    int *guard;                  /* of the one mapping that has a guard, or NULL */
    BlockNode *nodes[MAX_DEPTH]; /* that have counted the request in */
    unsigned depth;
} FastOp;

G_STATIC_ASSERT(sizeof(FastOp) <= sizeof(((BlockRequest *)0)->engine));

static BlockRequest *request_of(FastOp *fast)
{
    return (BlockRequest *)((char *)fast - offsetof(BlockRequest, engine));
}

static void leave_nodes(FastOp *fast)
{
    if (fast->guard) {
        __atomic_sub_fetch(fast->guard, 1, __ATOMIC_SEQ_CST);
    }
    while (fast->depth) {
        block_node_leave(fast->nodes[--fast->depth]);
    }
}

static void fast_done(EngineOp *op, int ret)
{
    FastOp *fast = container_of(op, FastOp, op);

    leave_nodes(fast);
    block_request_complete(request_of(fast), ret);
}

/* Whether one operation of an engine is all that the request may need. */
static bool fast_possible(BlockBackend *blk, const BlockRequest *req)
{
    if (!req->bytes || req->niov > ENGINE_MAX_IOV || req->bytes > ENGINE_MAX_BYTES) {
        return false;
    }
    if (req->op == BLOCK_OP_WRITE) {
        return !(req->flags & BLOCK_REQ_FUA) && block_backend_write_cache(blk);
    }
    return req->op == BLOCK_OP_READ;
}

/* 'n' has the engine. False: the request is not aligned as the node wants it. */
static bool fast_start(FastOp *fast, BlockNode *n, BlockRequest *req, uint64_t offset)
{
    if (((offset | req->bytes) & (n->request_alignment - 1)) ||
        !block_iov_aligned(n, req->iov, req->niov)) {
        return false;
    }
    fast->op.kind = req->op == BLOCK_OP_WRITE ? ENGINE_WRITE : ENGINE_READ;
    fast->op.offset = offset;
    fast->op.bytes = req->bytes;
    fast->op.iov = req->iov;
    fast->op.niov = req->niov;
    fast->op.done = fast_done;
    trace(blk_fast, block_backend_label(req->blk), n->opts.node_name, offset);
    n->driver->engine_submit(n, &fast->op);
    return true;
}

bool block_fastpath_submit(BlockBackend *blk, BlockRequest *req)
{
    FastOp *fast = (FastOp *)req->engine;
    bool write = req->op == BLOCK_OP_WRITE;
    BlockNode *n = blk->root;
    uint64_t offset = req->offset;

    if (!fast_possible(blk, req)) {
        return false;
    }
    fast->depth = 0;
    fast->guard = NULL;
    for (;;) {
        BlockMapping map = {0};

        if (write && n->opts.detect_zeroes != BLOCK_DETECT_ZEROES_OFF) {
            break;
        }
        fast->nodes[fast->depth++] = n;
        if (!block_node_try_enter(n) ||
            G_UNLIKELY(__atomic_load_n(&n->intercepts, __ATOMIC_RELAXED))) {
            break;
        }
        if (write) {
            if (G_UNLIKELY(__atomic_load_n(&n->write_intercepts, __ATOMIC_RELAXED))) {
                break;
            }
            block_node_wrote_up_to(n, offset + req->bytes);
        }
        if (n->driver->engine_submit) {
            if (!fast_start(fast, n, req, offset)) {
                break;
            }
            return true;
        }
        if (fast->depth == MAX_DEPTH || !n->driver->map_cached ||
            !n->driver->map_cached(n, offset, req->bytes, write, &map)) {
            break;
        }
        if (map.guard) {
            if (fast->guard) {
                __atomic_sub_fetch(map.guard, 1, __ATOMIC_SEQ_CST);
                break;
            }
            fast->guard = map.guard;
        }
        if (map.bytes < req->bytes) {
            break;
        }
        offset = map.offset;
        n = map.file;
    }
    leave_nodes(fast);
    return false;
}

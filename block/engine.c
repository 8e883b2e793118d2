/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by all engines: blocking transfers, and completion of short ones. */
#include <errno.h>
#include <unistd.h>
#include "base/iov.h"
#include "base/util.h"
#include "engine.h"

static _Thread_local unsigned sync_depth;

void engine_sync_begin(void)
{
    sync_depth++;
}

void engine_sync_end(void)
{
    g_assert(sync_depth);
    sync_depth--;
}

bool engine_sync_active(void)
{
    return sync_depth > 0;
}

/* One system call for the bytes behind the first 'moved'. Bytes moved by it, or -errno. */
static ssize_t transfer_some(EngineOp *op, uint64_t moved)
{
    struct iovec part[64];
    unsigned n = 0;
    size_t skip = moved;

    for (unsigned i = 0; i < op->niov && n < ARRAY_SIZE(part); i++) {
        if (skip >= op->iov[i].iov_len) {
            skip -= op->iov[i].iov_len;
            continue;
        }
        part[n].iov_base = (char *)op->iov[i].iov_base + skip;
        part[n].iov_len = op->iov[i].iov_len - skip;
        skip = 0;
        n++;
    }
    for (;;) {
        ssize_t ret = op->kind == ENGINE_READ ? preadv(op->fd, part, n, op->offset + moved)
                                              : pwritev(op->fd, part, n, op->offset + moved);
        if (ret >= 0 || errno != EINTR) {
            return ret < 0 ? -errno : ret;
        }
    }
}

/* Moves all bytes behind the first 'moved'. Reads past the end of the file give zeroes. */
static int transfer_rest(EngineOp *op, uint64_t moved)
{
    while (moved < op->bytes) {
        /* A direct read that ends off the alignment has met the end of the file. */
        bool eof = op->kind == ENGINE_READ && op->align > 1 && !IS_ALIGNED(moved, op->align);
        ssize_t ret = eof ? 0 : transfer_some(op, moved);

        if (ret < 0) {
            return ret;
        }
        if (ret == 0) {
            if (op->kind == ENGINE_WRITE) {
                return -ENOSPC;
            }
            iov_memset(op->iov, op->niov, moved, 0, op->bytes - moved);
            return 0;
        }
        moved += ret;
    }
    return 0;
}

int engine_run_sync(EngineOp *op)
{
    if (op->kind == ENGINE_FLUSH) {
        return fdatasync(op->fd) < 0 ? -errno : 0;
    }
    return transfer_rest(op, 0);
}

static int rest_worker(void *data)
{
    EngineOp *op = data;

    return transfer_rest(op, op->ret);
}

static void rest_done(void *data, int ret)
{
    EngineOp *op = data;

    op->retire(op, ret);
}

void engine_complete(EngineOp *op, ssize_t res)
{
    if (op->kind == ENGINE_FLUSH || res == (ssize_t)op->bytes) {
        op->retire(op, res < 0 ? res : 0);
        return;
    }
    if (res < 0 && res != -EINTR && res != -EAGAIN) {
        op->retire(op, res);
        return;
    }
    if (res == 0 && op->kind == ENGINE_READ) {
        iov_memset(op->iov, op->niov, 0, 0, op->bytes);
        op->retire(op, 0);
        return;
    }
    op->ret = res < 0 ? 0 : res;
    pool_run(rest_worker, op, rest_done);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=io_uring: entries go into the loop's own ring. The loop enters the ring once a turn;
 * completions arrive with its poll. No request has a system call of its own.
 */
#include "base/error.h"
#include "base/util.h"
#include "engine.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

static bool engine_uring_usable(EventLoop *loop, GError **err)
{
    /* A thread runs one loop. After a failure requests do not try again to make a ring. */
    static _Thread_local bool refused;

    if (refused && !err) {
        return false;
    }
    refused = !event_loop_has_uring(loop, err);
    return !refused;
}

static void engine_uring_done(UringOp *uring, int res)
{
    engine_complete(container_of(uring, EngineOp, uring), res);
}

static void engine_uring_submit(EventLoop *loop, EngineOp *op)
{
    struct io_uring_sqe *sqe;

    op->uring.done = engine_uring_done;
    sqe = event_loop_get_sqe(loop, &op->uring);
    /* Older versions of liburing clear user_data in these functions: it is set after them. */
    switch (op->kind) {
    case ENGINE_READ:
        if (op->niov == 1) {
            io_uring_prep_read(sqe, op->fd, op->iov->iov_base, op->iov->iov_len, op->offset);
        } else {
            io_uring_prep_readv(sqe, op->fd, op->iov, op->niov, op->offset);
        }
        break;
    case ENGINE_WRITE:
        if (op->niov == 1) {
            io_uring_prep_write(sqe, op->fd, op->iov->iov_base, op->iov->iov_len, op->offset);
        } else {
            io_uring_prep_writev(sqe, op->fd, op->iov, op->niov, op->offset);
        }
        break;
    case ENGINE_FLUSH:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, &op->uring);
}

#else

static bool engine_uring_usable(EventLoop *loop, GError **err)
{
    return error_set(err, "aio=io_uring was requested, but is not supported in this build.");
}

static void engine_uring_submit(EventLoop *loop, EngineOp *op)
{
    g_assert_not_reached();
}
#endif

const Engine engine_uring = {
    .name = "io_uring",
    .usable = engine_uring_usable,
    .submit = engine_uring_submit,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=io_uring: entries go into the loop's own ring, which is entered once a turn; completions
 * come with the loop's poll. No system call belongs to one request alone.
 */
#include "base/error.h"
#include "base/util.h"
#include "engine.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

static bool uring_usable(EventLoop *loop, GError **err)
{
    /* A thread runs one loop; where that cannot have a ring it is not tried for each request. */
    static _Thread_local bool refused;

    if (refused && !err) {
        return false;
    }
    refused = !event_loop_has_uring(loop, err);
    return !refused;
}

static void uring_done(UringOp *uring, int res)
{
    engine_complete(container_of(uring, EngineOp, uring), res);
}

static void uring_submit(EventLoop *loop, EngineOp *op)
{
    struct io_uring_sqe *sqe;

    op->uring.done = uring_done;
    sqe = event_loop_get_sqe(loop, &op->uring);
    /* The preparers below overwrite the whole entry but for user data in this liburing. */
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

static bool uring_usable(EventLoop *loop, GError **err)
{
    return error_set(err, "aio=io_uring was requested, but is not supported in this build.");
}

static void uring_submit(EventLoop *loop, EngineOp *op)
{
    g_assert_not_reached();
}
#endif

const Engine engine_uring = {
    .name = "io_uring",
    .usable = uring_usable,
    .submit = uring_submit,
};

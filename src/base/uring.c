/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loop's io_uring: made when first needed; the loop's epoll watches its descriptor. */
#include "loop_private.h"

#include "base/error.h"
#include "base/util.h"

#ifdef HAVE_LIBURING

#include <errno.h>
#include <liburing.h>

enum { SQ_ENTRIES = 256, CQ_ENTRIES = 4096 };

typedef struct {
    UringOp *op;
    int res;
} Completion;

struct Uring {
    struct io_uring ring;
    Completion *done; /* taken from the ring, not yet delivered */
    unsigned done_count, done_room;
};

static int ring_init(struct io_uring *ring)
{
    /* Completions need not interrupt the thread: the loop looks every turn (Linux 5.19). */
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN,
                                     .cq_entries = CQ_ENTRIES};
    int r = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);

    if (r == -EINVAL) {
        params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = CQ_ENTRIES};
        r = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
    }
    return r;
}

bool event_loop_has_uring(EventLoop *loop, GError **err)
{
    loop_assert_home(loop);
    if (loop->uring) {
        return true;
    }
    Uring *uring = g_new0(Uring, 1);
    int r = ring_init(&uring->ring);
    if (r < 0) {
        g_free(uring);
        return error_set_errno(err, -r, "io_uring cannot be used on this host");
    }
    if (!loop_watch_ring(loop, uring->ring.ring_fd)) {
        int errnum = errno;
        io_uring_queue_exit(&uring->ring);
        g_free(uring);
        return error_set_errno(err, errnum, "cannot watch the io_uring");
    }
    loop->uring = uring;
    return true;
}

/* Moves the completion ring's entries to uring->done; uring_reap() calls their callbacks. */
static void take_completions(Uring *uring)
{
    struct io_uring_cqe *cqes[64];
    unsigned n;

    while ((n = io_uring_peek_batch_cqe(&uring->ring, cqes, ARRAY_SIZE(cqes))) > 0) {
        if (uring->done_count + n > uring->done_room) {
            uring->done_room = MAX(2 * uring->done_room, uring->done_count + n);
            uring->done = g_renew(Completion, uring->done, uring->done_room);
        }
        for (unsigned i = 0; i < n; i++) {
            uring->done[uring->done_count++] =
                (Completion){io_uring_cqe_get_data(cqes[i]), cqes[i]->res};
        }
        io_uring_cq_advance(&uring->ring, n);
    }
}

struct io_uring_sqe *event_loop_get_sqe(EventLoop *loop, UringOp *op)
{
    Uring *uring = loop->uring;
    struct io_uring_sqe *sqe;

    loop_assert_home(loop);
    while (!(sqe = io_uring_get_sqe(&uring->ring))) {
        /* EBUSY: the kernel accepts no SQE until there is room in the completion ring. */
        if (io_uring_submit(&uring->ring) < 0) {
            take_completions(uring);
            g_thread_yield();
        }
    }
    io_uring_sqe_set_data(sqe, op);
    return sqe;
}

bool uring_ready(EventLoop *loop)
{
    Uring *uring = loop->uring;

    return uring && (uring->done_count > 0 || io_uring_cq_ready(&uring->ring) > 0);
}

bool uring_submit(EventLoop *loop)
{
    Uring *uring = loop->uring;

    if (!uring) {
        return false;
    }
    if (io_uring_sq_ready(&uring->ring)) {
        /* SQEs that the kernel does not accept now (EAGAIN, EBUSY) stay in the ring. */
        io_uring_submit(&uring->ring);
    }
    /* SQEs that remain are submitted in the next turn, so the loop must not sleep. */
    return uring_ready(loop) || io_uring_sq_ready(&uring->ring) > 0;
}

bool uring_reap(EventLoop *loop)
{
    Uring *uring = loop->uring;

    if (!uring) {
        return false;
    }
    take_completions(uring);
    /* A callback that gets an SQE may take more completions: done_count is read each time. */
    unsigned i;
    for (i = 0; i < uring->done_count; i++) {
        Completion c = uring->done[i];
        if (c.op) {
            c.op->done(c.op, c.res);
        }
    }
    uring->done_count = 0;
    return i > 0;
}

void uring_free(EventLoop *loop)
{
    if (loop->uring) {
        io_uring_queue_exit(&loop->uring->ring);
        g_free(loop->uring->done);
        g_free(loop->uring);
        loop->uring = NULL;
    }
}

#else

bool event_loop_has_uring(EventLoop *loop, GError **err)
{
    return error_set(err, "io_uring cannot be used: this program was built without liburing");
}

struct io_uring_sqe *event_loop_get_sqe(EventLoop *loop, UringOp *op)
{
    g_assert_not_reached();
}

bool uring_ready(EventLoop *loop)
{
    return false;
}

bool uring_submit(EventLoop *loop)
{
    return false;
}

bool uring_reap(EventLoop *loop)
{
    return false;
}

void uring_free(EventLoop *loop)
{
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=native: Linux AIO on O_DIRECT files. A turn's operations go to the kernel in one
 * io_submit(); completions are read from the ring that the kernel maps into this process, so
 * reaping costs no system call beyond the eventfd's.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/error.h"
#include "base/util.h"
#include "engine.h"

#ifdef HAVE_LIBAIO
#include <libaio.h>
#include "base/library.h"

#define AIO_FUNCTIONS(F) F(io_setup) F(io_destroy) F(io_submit) F(io_getevents)

static struct {
    AIO_FUNCTIONS(LIBRARY_POINTER)
} libaio;
static const char *const libaio_names[] = {AIO_FUNCTIONS(LIBRARY_NAME) NULL};
static Library libaio_library = {"libaio.so.1", "libaio1", libaio_names, &libaio};

enum { AIO_DEPTH = 1024, AIO_BATCH = 64 };

/* The head of the completion ring behind an io_context_t (Linux fs/aio.c, struct aio_ring). */
typedef struct {
    uint32_t id, nr;
    uint32_t head, tail; /* we move head, the kernel tail */
    uint32_t magic;
    uint32_t compat_features, incompat_features;
    uint32_t header_length;
    struct io_event events[];
} AioRing;
#define AIO_RING_MAGIC 0xa10a10a1u

/* Of a loop. */
typedef struct {
    io_context_t ctx;
    int efd;
    EngineOp *head, **tail; /* not submitted yet */
    unsigned queued;        /* so many */
    unsigned in_kernel;
} AioContext;

G_STATIC_ASSERT(sizeof(struct iocb) <= sizeof(((EngineOp *)0)->cb));

static EngineOp *op_of(struct iocb *cb)
{
    return (EngineOp *)((char *)cb - offsetof(EngineOp, cb));
}

static void aio_context_free(void *data)
{
    AioContext *c = data;

    libaio.io_destroy(c->ctx);
    close(c->efd);
    g_free(c);
}

static bool aio_reap(AioContext *c)
{
    AioRing *ring = (AioRing *)c->ctx;
    bool any = false;

    if (ring->magic != AIO_RING_MAGIC || ring->incompat_features) {
        struct io_event events[AIO_BATCH];
        struct timespec none = {0};
        int n;

        while ((n = libaio.io_getevents(c->ctx, 0, AIO_BATCH, events, &none)) > 0) {
            for (int i = 0; i < n; i++) {
                c->in_kernel--;
                engine_complete(op_of(events[i].obj), (long)events[i].res);
            }
            any = true;
        }
        return any;
    }
    for (;;) {
        uint32_t head = ring->head;
        struct io_event ev;

        if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE)) {
            return any;
        }
        ev = ring->events[head];
        __atomic_store_n(&ring->head, (head + 1) % ring->nr, __ATOMIC_RELEASE);
        c->in_kernel--;
        any = true;
        engine_complete(op_of(ev.obj), (long)ev.res);
    }
}

static EngineOp *aio_take_first(AioContext *c)
{
    EngineOp *op = c->head;

    c->head = op->next;
    c->queued--;
    if (!c->head) {
        c->tail = &c->head;
    }
    return op;
}

/* One system call: io_submit()'s result. What the kernel has taken is off the list. */
static int aio_submit_batch(AioContext *c)
{
    struct iocb *batch[AIO_BATCH];
    unsigned n = 0, most = AIO_BATCH;
    int done;

    for (EngineOp *op = c->head; op && n < most; op = op->next) {
        most = op->max_batch ? MIN(most, op->max_batch) : most;
        if (n >= most) {
            break;
        }
        batch[n++] = (struct iocb *)op->cb;
    }
    done = libaio.io_submit(c->ctx, n, batch);
    for (int i = 0; i < done; i++) {
        aio_take_first(c);
        c->in_kernel++;
    }
    return done;
}

static void aio_submit_pending(void *data)
{
    AioContext *c = data;

    while (c->head) {
        int done = aio_submit_batch(c);

        if (done == -EAGAIN && c->in_kernel) {
            return; /* the kernel's ring is full: aio_readable() tries again */
        }
        if (done <= 0) {
            /* An error is about the first operation of the batch. */
            EngineOp *op = aio_take_first(c);

            op->ret = 0;
            engine_complete(op, done == -EAGAIN ? -EAGAIN : (done ? done : -EIO));
        }
    }
}

static void aio_readable(void *data)
{
    AioContext *c = data;
    uint64_t count;

    if (read(c->efd, &count, sizeof count) < 0 && errno != EAGAIN) {
        return;
    }
    aio_reap(c);
    aio_submit_pending(c);
}

static bool aio_poll(void *data)
{
    AioContext *c = data;

    return c->in_kernel && aio_reap(c);
}

static AioContext *aio_context_get(EventLoop *loop, GError **err)
{
    AioContext *c = event_loop_attached(loop, aio_context_free);
    int ret;

    if (c) {
        return c;
    }
    if (!library_load(&libaio_library, err)) {
        return NULL;
    }
    c = g_new0(AioContext, 1);
    c->tail = &c->head;
    ret = libaio.io_setup(AIO_DEPTH, &c->ctx);
    if (ret < 0) {
        g_free(c);
        error_set_errno(err, -ret, "failed to create linux AIO context");
        return NULL;
    }
    c->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->efd < 0) {
        error_set_errno(err, errno, "failed to create linux AIO event notifier");
        libaio.io_destroy(c->ctx);
        g_free(c);
        return NULL;
    }
    event_loop_add_fd(loop, c->efd, aio_readable, NULL, c);
    event_loop_add_poll(loop, aio_poll, NULL, c);
    event_loop_add_flush(loop, aio_submit_pending, c);
    event_loop_attach(loop, aio_context_free, c);
    return c;
}

static bool aio_usable(EventLoop *loop, GError **err)
{
    return aio_context_get(loop, err) != NULL;
}

static int fdsync_worker(void *data)
{
    return engine_run_sync(data);
}

static void fdsync_done(void *data, int ret)
{
    EngineOp *op = data;

    op->retire(op, ret);
}

static void aio_submit(EventLoop *loop, EngineOp *op)
{
    AioContext *c = aio_context_get(loop, NULL);
    struct iocb *cb = (struct iocb *)op->cb;

    if (!c || op->kind == ENGINE_FLUSH) {
        /* Flushes run on the pool: few file systems have an asynchronous fdatasync. */
        pool_run(fdsync_worker, op, fdsync_done);
        return;
    }
    if (op->kind == ENGINE_READ) {
        io_prep_preadv(cb, op->fd, op->iov, op->niov, op->offset);
    } else {
        io_prep_pwritev(cb, op->fd, op->iov, op->niov, op->offset);
    }
    io_set_eventfd(cb, c->efd);
    op->next = NULL;
    *c->tail = op;
    c->tail = &op->next;
    if (++c->queued >= op->max_batch && op->max_batch) {
        /* An error is for aio_submit_pending(): nothing is completed on the submitter's stack. */
        aio_submit_batch(c);
    }
}

#else

static bool aio_usable(EventLoop *loop, GError **err)
{
    return error_set(err, "aio=native was specified, but is not supported in this build.");
}

static void aio_submit(EventLoop *loop, EngineOp *op)
{
    g_assert_not_reached();
}
#endif

const Engine engine_aio = {
    .name = "native",
    .usable = aio_usable,
    .submit = aio_submit,
};

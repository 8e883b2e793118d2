/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host I/O engines: how a protocol's reads, writes and flushes reach the kernel. An operation is
 * a struct inside its owner's request, so nothing is allocated; done() is called on the loop that
 * submitted, from a fresh callback. Engines keep what they need per loop. Private to block/.
 */
#ifndef BLOCK_ENGINE_H
#define BLOCK_ENGINE_H

#include <sys/uio.h>
#include "base/event_loop.h"
#include "block/node.h"

typedef enum { ENGINE_READ, ENGINE_WRITE, ENGINE_FLUSH } EngineOpKind;

typedef struct EngineOp EngineOp;
struct EngineOp {
    UringOp uring; /* first: what io_uring hands back */
    EngineOpKind kind;
    int fd;
    uint64_t offset, bytes;
    const struct iovec *iov; /* at most ENGINE_MAX_IOV entries, borrowed */
    unsigned niov;
    unsigned align;                        /* > 1: O_DIRECT, in these units */
    void (*done)(EngineOp *op, int ret);   /* 0 or -errno: everything or nothing */
    void (*retire)(EngineOp *op, int ret); /* the protocol's own; calls done() */
    BlockNode *node;                       /* the protocol node */
    EngineOp *next;
    int ret;
    uint64_t cb[8]; /* struct iocb */
};

enum { ENGINE_MAX_IOV = 1024 };
/* Linux moves no more than this in one call (MAX_RW_COUNT, rounded down). */
#define ENGINE_MAX_BYTES (1024 * MiB)

typedef struct Engine {
    const char *name;
    /* Whether it can work on the calling loop at all. */
    bool (*usable)(EventLoop *loop, GError **err);
    void (*submit)(EventLoop *loop, EngineOp *op);
} Engine;

extern const Engine engine_threads, engine_aio, engine_uring;

/* Here and now, with plain system calls. 0 or -errno. */
int engine_run_sync(EngineOp *op);
/*
 * The kernel has moved 'res' bytes (or failed): finishes the operation, moving the rest on a
 * worker where the transfer was short. Called by engines on the submitting loop.
 */
void engine_complete(EngineOp *op, ssize_t res);

/*
 * While on, I/O of this thread is done at once by plain system calls: opening and closing nodes
 * may happen inside an event handler, where no loop can be turned.
 */
void engine_sync_begin(void);
void engine_sync_end(void);
bool engine_sync_active(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host I/O engines: how a protocol's reads, writes and flushes reach the kernel. An EngineOp is
 * embedded in its owner's request, so nothing is allocated. done() is called on the loop that
 * submitted, from a fresh callback. An engine's state is per loop. Private to block/.
 */
#ifndef BLOCK_ENGINE_H
#define BLOCK_ENGINE_H

#include <sys/uio.h>
#include "base/event_loop.h"
#include "block/node.h"

typedef enum { ENGINE_READ, ENGINE_WRITE, ENGINE_FLUSH } EngineOpKind;

typedef struct EngineOp EngineOp;
struct EngineOp {
    UringOp uring; /* io_uring's user data */
    EngineOpKind kind;
    int fd;
    uint64_t offset, bytes;
    const struct iovec *iov; /* at most ENGINE_MAX_IOV entries, borrowed */
    unsigned niov;
    unsigned align;                        /* > 1: O_DIRECT in units of this many bytes */
    unsigned max_batch;                    /* engine_aio: most in one system call; 0: its own */
    void (*done)(EngineOp *op, int ret);   /* 0: all bytes were moved; or -errno */
    void (*retire)(EngineOp *op, int ret); /* set by the protocol; calls done() */
    BlockNode *node;                       /* the protocol node */
    EngineOp *next;
    int ret;        /* bytes moved before a worker took over */
    uint64_t cb[8]; /* struct iocb of libaio */
};

enum { ENGINE_MAX_IOV = 1024 };
/* One call to Linux moves less than 2 GiB (MAX_RW_COUNT). */
#define ENGINE_MAX_BYTES (1024 * MiB)

typedef struct Engine {
    const char *name;
    /* Whether the engine works on 'loop', the calling thread's. May set up its state there. */
    bool (*usable)(EventLoop *loop, GError **err);
    void (*submit)(EventLoop *loop, EngineOp *op);
} Engine;

extern const Engine engine_threads, engine_aio, engine_uring;

/* Runs the operation with blocking system calls. 0 or -errno. */
int engine_run_sync(EngineOp *op);
/*
 * For engines, on the submitting loop: the kernel has moved 'res' bytes, or failed with -errno.
 * Moves the rest of a short transfer on a worker, then calls retire().
 */
void engine_complete(EngineOp *op, ssize_t res);

/*
 * Between begin and end, protocols do this thread's I/O at once, with blocking system calls.
 * Opening and closing nodes needs that: both happen in event handlers, which cannot turn the loop.
 */
void engine_sync_begin(void);
void engine_sync_end(void);
bool engine_sync_active(void);

#endif

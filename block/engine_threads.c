/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio=threads: blocking calls on the shared pool. Works for every file. */
#include "engine.h"

static bool threads_usable(EventLoop *loop, GError **err)
{
    return true;
}

static int engine_threads_worker(void *data)
{
    return engine_run_sync(data);
}

static void worker_done(void *data, int ret)
{
    EngineOp *op = data;

    op->retire(op, ret);
}

static void threads_submit(EventLoop *loop, EngineOp *op)
{
    pool_run(engine_threads_worker, op, worker_done);
}

const Engine engine_threads = {
    .name = "threads",
    .usable = threads_usable,
    .submit = threads_submit,
};

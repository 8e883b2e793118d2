/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio=threads: blocking calls on the shared thread pool. Works for every file. */
#include "engine.h"

static bool engine_threads_usable(EventLoop *loop, GError **err)
{
    return true;
}

static int engine_threads_worker(void *data)
{
    return engine_run_sync(data);
}

static void engine_threads_done(void *data, int ret)
{
    EngineOp *op = data;

    op->retire(op, ret);
}

static void engine_threads_submit(EventLoop *loop, EngineOp *op)
{
    pool_run(engine_threads_worker, op, engine_threads_done);
}

const Engine engine_threads = {
    .name = "threads",
    .usable = engine_threads_usable,
    .submit = engine_threads_submit,
};

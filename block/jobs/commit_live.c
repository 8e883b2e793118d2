/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMP's 'commit': an image that a guest writes to is written into its backing file, and emptied.
 * All of that happens in a drained section, in an internal job, which the program's end cancels.
 * The disk shows the same at every moment: the base changes only where the image hides it, and the
 * image is emptied when the base is stable.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/util.h"
#include "chain_job.h"

typedef struct {
    Job job;
    BlockNode *top, *base, *filter; /* references */
    void *buf;
} CommitLive;

static int coroutine_fn live_copy(CommitLive *c, uint64_t length)
{
    ChainCopy copy = {.to = c->base, .buf = c->buf};
    BlockOffload offload;

    block_offload_init(&offload, BLOCK_OFFLOAD_TRY, c->base);
    for (uint64_t off = 0, len; off < length; off += len) {
        bool is_read;
        int status, ret = 0;

        len = length - off;
        status = chain_job_status(c->top, c->top, off, &len, &copy.from);
        if (status == BLOCK_STATUS_ZERO) {
            ret = block_pwrite_zeroes(c->base, off, len, 0);
        } else if (status > 0) {
            len = MIN(len, CHAIN_JOB_CHUNK - off % CHAIN_JOB_CHUNK);
            ret = chain_job_copy(&offload, &copy, off, len, &is_read);
        }
        if (status < 0 || ret < 0) {
            return status < 0 ? status : ret;
        }
        if (job_is_cancelled(&c->job)) {
            return -ECANCELED;
        }
    }
    return 0;
}

static bool coroutine_fn live_commit(CommitLive *c, GError **err)
{
    int64_t length = block_length(c->top), base = block_length(c->base);
    int ret;

    if (length < 0 || base < 0) {
        return job_fail(err, length < 0 ? -length : -base);
    }
    if (base < length && block_truncate(c->base, length, err) < 0) {
        return false;
    }
    ret = live_copy(c, length);
    ret = ret < 0 ? ret : block_flush(c->base);
    ret = ret < 0 ? ret : block_drop_data(c->top);
    return ret < 0 ? job_fail(err, -ret) : true;
}

/* The users of the image have no say in what lies below, until the job has let go. */
static bool coroutine_fn live_take(CommitLive *c, GError **err)
{
    const unsigned reads = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    const BlockPerms top = {0, reads | BLOCK_PERM_WRITE};
    const BlockPerms base = {BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE,
                             reads};

    if (c->top->backing != c->base || !job_node_is_free(c->top, NULL) ||
        !job_node_is_free(c->base, NULL)) {
        return job_fail(err, EBUSY); /* that was so before the wait */
    }
    if (!chain_job_replace(c->top, c->filter, err)) {
        return false;
    }
    return job_add_node(&c->job, "top", c->top, top, err) &&
           job_add_node(&c->job, "base", c->base, base, err) &&
           job_freeze_chain(&c->job, c->filter, c->base, err);
}

static void coroutine_fn live_let_go(CommitLive *c)
{
    job_thaw_chain(&c->job);
    job_remove_nodes(&c->job);
    if (c->filter->core->parents->len && !chain_job_replace(c->filter, c->top, NULL)) {
        g_assert_not_reached(); /* it was so, and nobody else changes the graph */
    }
}

static bool coroutine_fn live_section(CommitLive *c, GError **err)
{
    BlockDrain *section;
    bool ok;

    if (!job_section_begin(&c->job, c->top, &section, err)) {
        return false;
    }
    ok = live_take(c, err) && live_commit(c, err);
    live_let_go(c);
    job_section_end(&c->job, section);
    return ok;
}

static bool coroutine_fn live_run(Job *job, GError **err)
{
    CommitLive *c = (CommitLive *)job;
    bool read_only = c->base->read_only, ok;

    c->buf = block_buffer_new(c->base, CHAIN_JOB_CHUNK);
    if (!c->buf) {
        return job_fail(err, ENOMEM);
    }
    if (read_only && !block_set_read_only(c->base, false, err)) {
        return false;
    }
    c->filter = job_filter_open(&job_filter_commit, c->top, NULL, err);
    ok = c->filter && live_section(c, err);
    block_node_unref(g_steal_pointer(&c->filter));
    if (read_only) {
        block_set_read_only(c->base, true, NULL);
    }
    return ok;
}

static void coroutine_fn live_clean(Job *job)
{
    CommitLive *c = (CommitLive *)job;

    block_node_unref(g_steal_pointer(&c->top));
    block_node_unref(g_steal_pointer(&c->base));
}

static void live_free(Job *job)
{
    free(((CommitLive *)job)->buf);
}

static const JobClass live_class = {
    .type = JOB_TYPE_COMMIT,
    .size = sizeof(CommitLive),
    .run = live_run,
    .clean = live_clean,
    .free = live_free,
};

static bool coroutine_fn commit_image(BlockNode *top, GError **err)
{
    const JobOptions opts = {.internal = true, .auto_finalize = true, .auto_dismiss = true};
    CommitLive *c;

    if (!top->backing || !top->driver->drop_data) {
        return job_fail(err, ENOTSUP);
    }
    if (!job_node_is_free(top, NULL) || !job_node_is_free(top->backing, NULL)) {
        return job_fail(err, EBUSY);
    }
    if (top->read_only) {
        return job_fail(err, EACCES);
    }
    c = (CommitLive *)job_new(&live_class, &opts, err);
    if (!c) {
        return false;
    }
    c->top = block_node_ref(top);
    c->base = block_node_ref(top->backing);
    job_start(&c->job);
    return job_run_wait(&c->job, err);
}

static bool coroutine_fn commit_all(GError **err)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);

    for (unsigned i = 0; i < list->len; i++) {
        BlockNode *n = block_node_image(block_backend_node(list->pdata[i]));

        /* One that went while another was written is not there any more. */
        if (block_backend_listed(list->pdata[i]) && n && n->backing && !commit_image(n, err)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn block_commit_drive(const char *drive, GError **err)
{
    BlockBackend *blk = block_backend_find(drive);
    bool ok;

    if (g_str_equal(drive, "all")) {
        ok = commit_all(err);
    } else if (!blk) {
        return error_set(err, "Device '%s' not found", drive);
    } else if (!block_backend_node(blk)) {
        return error_set(err, "Device '%s' has no medium", drive);
    } else {
        ok = commit_image(block_node_image(block_backend_node(blk)), err);
    }
    if (!ok) {
        g_prefix_error(err, "'commit' error for '%s': ", drive);
    }
    return ok;
}

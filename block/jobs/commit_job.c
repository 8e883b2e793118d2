/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'block-commit' of images below the one that the guest writes to: what they hold is written into a
 * base, and then they are cut out of the chain.
 *
 * A filter above the top keeps their users from having a say in what is below, so that the job may
 * write to the base. What the users read stays the same all the time: only what the images above
 * hide of the base is written to. The base's other users are asked, as everybody is.
 */
#include <errno.h>
#include "base/error.h"
#include "base/util.h"
#include "block/chain.h"
#include "chain_job.h"

typedef struct {
    Job job;
    BlockNode *top, *base, *filter; /* references */
    BlockNode *last;                /* the last image above the base */
    BlockEdge *base_edge;
    GPtrArray *overlays; /* nodes (references) that were made writable for their headers */
    char *backing_name;
    BlockOnError on_error;
    bool base_was_read_only, inserted;
    uint64_t end; /* of what the base has of the images above: up to here they hide all of it */
    BlockOffload offload;
    void *buf;
} CommitJob;

static int coroutine_fn commit_piece(CommitJob *c, uint64_t off, uint64_t *len, uint64_t *copied,
                                     bool *is_read)
{
    ChainCopy copy = {.to = c->base, .buf = c->buf};
    int status = chain_job_status(c->top, c->last, off, len, &copy.from);

    *copied = 0;
    *is_read = true;
    if (status <= 0) {
        return status;
    }
    *copied = *len;
    if (status == BLOCK_STATUS_ZERO) {
        *is_read = false;
        return block_pwrite_zeroes(c->base, off, *len, 0);
    }
    *copied = *len = MIN(*len, CHAIN_JOB_CHUNK - off % CHAIN_JOB_CHUNK);
    return chain_job_copy(&c->offload, &copy, off, *len, is_read);
}

/* 0, or the error that ends the job, or ECANCELED. */
static int coroutine_fn commit_copy_all(CommitJob *c, uint64_t length)
{
    for (uint64_t off = 0, len, copied; off < length; off += len) {
        bool is_read;
        int ret;

        len = length - off;
        ret = commit_piece(c, off, &len, &copied, &is_read);
        if (ret < 0) {
            /* What the policy ignores is tried again, as QEMU does. */
            if (job_error(&c->job, c->on_error, is_read, -ret) == BLOCK_ERROR_ACTION_REPORT) {
                return -ret;
            }
            len = 0;
            if (!job_sleep(&c->job, 10 * NS_PER_MS)) {
                return ECANCELED;
            }
        }
        job_progress(&c->job, off + len, length);
        if (!job_throttle(&c->job, copied)) {
            return ECANCELED;
        }
    }
    return 0;
}

/* In a drained section: others read the base, on other loops, and a resize is for nobody to see. */
static bool coroutine_fn commit_grow_base(CommitJob *c, uint64_t length, GError **err)
{
    int64_t base = block_length(c->base);
    BlockDrain *section;
    bool ok;

    if (base < 0) {
        return job_fail(err, -base);
    }
    if ((uint64_t)base >= length) {
        return true;
    }
    if (!job_section_begin(&c->job, c->base, &section, err)) {
        return false;
    }
    ok = block_truncate(c->base, length, err) == 0;
    job_section_end(&c->job, section);
    return ok;
}

/* The nodes of which the filter is the backing file. */
static GPtrArray *commit_overlays(CommitJob *c)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)block_node_unref);

    for (unsigned i = 0; i < c->filter->core->parents->len; i++) {
        BlockEdge *e = c->filter->core->parents->pdata[i];
        if (e->parent_node && e->role & BLOCK_ROLE_BACKING) {
            g_ptr_array_add(list, block_node_ref(e->parent_node));
        }
    }
    return list;
}

/*
 * Where the top ends, those above it show zeroes, which they must not have of a longer base. 'end'
 * becomes how much of the base somebody will see. 0 or -errno.
 */
static int commit_find_end(CommitJob *c)
{
    g_autoptr(GPtrArray) overlays = commit_overlays(c);
    int64_t top = block_length(c->top), base = block_length(c->base), end = 0;

    for (unsigned i = 0; i < overlays->len && end >= 0; i++) {
        int64_t length = block_length(overlays->pdata[i]);

        end = length < 0 ? length : MAX(end, length);
    }
    if (top < 0 || base < 0 || end < 0) {
        return MIN(MIN(top, base), end);
    }
    c->end = MAX(MIN(base, end), top);
    return 0;
}

/* In a drained section. An overlay may have become longer since the copy. */
static bool coroutine_fn commit_clear_rest(CommitJob *c, GError **err)
{
    uint64_t cleared = c->end;
    int ret = commit_find_end(c);

    if (ret == 0 && c->end > cleared) {
        ret = block_pwrite_zeroes(c->base, cleared, c->end - cleared, BLOCK_REQ_MAY_UNMAP);
        ret = ret < 0 ? ret : block_flush(c->base);
    }
    return ret < 0 ? job_fail(err, ret) : true;
}

static bool coroutine_fn commit_run(Job *job, GError **err)
{
    CommitJob *c = (CommitJob *)job;
    int64_t length = block_length(c->top);
    int error;

    if (length < 0) {
        return job_fail(err, -length);
    }
    if (!commit_grow_base(c, length, err)) {
        return false;
    }
    c->buf = block_buffer_new(c->base, CHAIN_JOB_CHUNK);
    if (!c->buf) {
        return job_fail(err, ENOMEM);
    }
    block_offload_init(&c->offload, BLOCK_OFFLOAD_TRY, c->base);
    error = -commit_find_end(c);
    if (!error) {
        job_progress(job, 0, c->end);
        error = commit_copy_all(c, c->end);
    }
    if (!error) {
        error = -block_flush(c->base);
    }
    return error ? job_fail(err, error) : true;
}

/* The overlay's header is to name the base, so an overlay in the middle of a chain is reopened. */
static bool coroutine_fn commit_open_overlays(CommitJob *c, GError **err)
{
    g_autoptr(GPtrArray) list = commit_overlays(c);

    for (unsigned i = 0; i < list->len; i++) {
        BlockNode *n = list->pdata[i];

        if (!n->read_only) {
            continue;
        }
        if (!block_set_read_only(n, false, err)) {
            return false;
        }
        g_ptr_array_add(c->overlays, block_node_ref(n));
    }
    return true;
}

/* The names are what is written last. One that cannot be written leaves those before it as they
 * were.
 */
static bool coroutine_fn commit_rename(CommitJob *c, GPtrArray *overlays, GError **err)
{
    int ret = 0;
    unsigned i;

    for (i = 0; i < overlays->len && ret == 0; i++) {
        BlockNode *n = overlays->pdata[i];
        const char *format;
        g_autofree char *name = chain_job_base_name(n, c->base, c->backing_name, &format, err);

        if (!name) {
            ret = -EINVAL;
            continue;
        }
        ret = n->read_only ? -EPERM : block_set_backing_name(n, name, format);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not change the backing file's name in '%s'",
                            n->filename);
        }
    }
    if (ret == 0) {
        return true;
    }
    for (i--; i-- > 0;) {
        const char *format;
        g_autofree char *name =
            chain_job_base_name(overlays->pdata[i], c->top, NULL, &format, NULL);

        if (name) {
            block_set_backing_name(overlays->pdata[i], name, format);
        }
    }
    return false;
}

/* The parents of the filter move to the base, which nobody writes to any more. */
static bool coroutine_fn commit_move(CommitJob *c, GError **err)
{
    const unsigned reads = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    GPtrArray *barred = block_bar_parents(c->filter);
    BlockChange *change = block_change_new();
    bool ok;

    block_change_perms(change, c->base_edge, (BlockPerms){0, reads});
    block_change_replace(change, c->filter, c->base);
    ok = block_change_commit(change, err);
    block_unbar_parents(barred);
    return ok;
}

/* Those that were moved go back. */
static void coroutine_fn commit_move_back(CommitJob *c, const GPtrArray *parents)
{
    GPtrArray *barred = block_bar_parents(c->base);
    BlockChange *change = block_change_new();

    for (unsigned i = 0; i < parents->len; i++) {
        if (((BlockEdge *)parents->pdata[i])->child == c->base) {
            block_change_point(change, parents->pdata[i], c->filter);
        }
    }
    if (!block_change_commit(change, NULL)) {
        g_assert_not_reached(); /* it was so, and nobody else changes the graph */
    }
    block_unbar_parents(barred);
}

/* In a drained section. */
static bool coroutine_fn commit_cut(CommitJob *c, GError **err)
{
    g_autoptr(GPtrArray) overlays = commit_overlays(c), parents = NULL;

    if (!commit_clear_rest(c, err)) {
        return false;
    }
    job_thaw_chain(&c->job);
    parents = g_ptr_array_copy(c->filter->core->parents, NULL, NULL);
    if (!commit_move(c, err)) {
        return false;
    }
    c->inserted = !commit_rename(c, overlays, err);
    if (c->inserted) {
        commit_move_back(c, parents);
    }
    return !c->inserted;
}

static bool coroutine_fn commit_prepare(Job *job, GError **err)
{
    CommitJob *c = (CommitJob *)job;
    BlockDrain *drain;
    bool ok;

    if (!commit_open_overlays(c, err) || !block_changes_lock(err)) {
        return false;
    }
    drain = block_drain_begin(c->filter);
    ok = commit_cut(c, err);
    block_drain_end(drain);
    block_changes_unlock();
    return ok;
}

static void coroutine_fn commit_take_filter_out(CommitJob *c)
{
    BlockDrain *drain;

    if (c->filter && block_changes_lock(NULL)) {
        drain = block_drain_begin(c->filter);
        /* The images' users have a say again in what is below: the job has none there any more. */
        job_thaw_chain(&c->job);
        job_remove_nodes(&c->job);
        if (c->inserted) {
            c->inserted = !chain_job_replace(c->filter, c->top, NULL);
            g_assert(!c->inserted);
        }
        block_drain_end(drain);
        block_changes_unlock();
    }
    block_node_unref(g_steal_pointer(&c->filter));
}

static void coroutine_fn commit_clean(Job *job)
{
    CommitJob *c = (CommitJob *)job;

    commit_take_filter_out(c);
    for (unsigned i = 0; i < c->overlays->len; i++) {
        block_set_read_only(c->overlays->pdata[i], true, NULL);
    }
    if (c->base_was_read_only) {
        block_set_read_only(c->base, true, NULL);
    }
    g_ptr_array_set_size(c->overlays, 0);
    block_node_unref(g_steal_pointer(&c->top));
    block_node_unref(g_steal_pointer(&c->base));
}

static void commit_free(Job *job)
{
    CommitJob *c = (CommitJob *)job;

    g_ptr_array_unref(c->overlays);
    g_free(c->backing_name);
    free(c->buf);
}

static const JobClass commit_class = {
    .type = JOB_TYPE_COMMIT,
    .size = sizeof(CommitJob),
    .block_job = true,
    .run = commit_run,
    .prepare = commit_prepare,
    .clean = commit_clean,
    .free = commit_free,
};

/*
 * Nodes between top and base share writing, for what one of them denies is denied for its backing
 * file as well. No other job has them, and nobody else may read them.
 */
static bool commit_take_nodes(CommitJob *c, GError **err)
{
    const unsigned reads = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    const unsigned writes = BLOCK_PERM_WRITE | BLOCK_PERM_WRITE_UNCHANGED;
    const BlockPerms base = {BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE,
                             reads};

    for (BlockNode *n = c->top; n != c->base; n = block_node_below(n)) {
        BlockPerms perms = {0, writes | (n == c->top ? BLOCK_PERM_CONSISTENT_READ : 0)};

        c->last = n->driver->is_filter ? c->last : n;
        if (!job_node_is_free(n, err) ||
            !job_add_node(&c->job, "intermediate node", n, perms, err)) {
            return false;
        }
    }
    if (!job_node_is_free(c->base, err)) {
        return false;
    }
    c->base_edge = job_add_node(&c->job, "base", c->base, base, err);
    return c->base_edge && job_freeze_chain(&c->job, c->filter, c->base, err);
}

/* Under the lock of changes, in a drained section: all that was true before may be over. */
static bool coroutine_fn commit_enter(CommitJob *c, const BlockCommitJob *what, GError **err)
{
    const BlockPerms all = {0, BLOCK_PERM_ALL};

    if (!block_chain_contains(what->disk, c->top) || c->top == what->disk || c->top == c->base ||
        !block_chain_contains(c->top, c->base)) {
        return error_set(err, "'%s' is not in this backing file chain", c->base->opts.node_name);
    }
    c->inserted = chain_job_replace(c->top, c->filter, err);
    return c->inserted && commit_take_nodes(c, err) &&
           job_add_node(&c->job, "main node", c->filter, all, err);
}

static bool coroutine_fn commit_set_up(CommitJob *c, const BlockCommitJob *what, GError **err)
{
    BlockDrain *drain;
    bool ok;

    if (c->base->read_only) {
        if (!block_set_read_only(c->base, false, err)) {
            return false;
        }
        c->base_was_read_only = true;
    }
    c->filter = job_filter_open(&job_filter_commit, c->top, what->filter_name, err);
    if (!c->filter || !block_changes_lock(err)) {
        return false;
    }
    drain = block_drain_begin(what->disk);
    ok = commit_enter(c, what, err);
    block_drain_end(drain);
    block_changes_unlock();
    return ok;
}

bool coroutine_fn block_commit_job_start(const JobOptions *opts, const BlockCommitJob *what,
                                         GError **err)
{
    CommitJob *c = (CommitJob *)job_new(&commit_class, opts, err);
    bool ok;

    if (!c) {
        return false;
    }
    c->top = block_node_ref(what->top);
    c->base = block_node_ref(what->base);
    c->backing_name = g_strdup(what->backing_name);
    c->on_error = what->on_error;
    c->overlays = g_ptr_array_new_with_free_func((GDestroyNotify)block_node_unref);
    block_node_ref(what->disk);
    ok = commit_set_up(c, what, err);
    block_node_unref(what->disk);
    if (ok) {
        job_start(&c->job);
    } else {
        commit_clean(&c->job);
        job_discard(&c->job);
    }
    return ok;
}

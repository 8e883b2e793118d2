/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'block-stream': copies into an image what it shows of its backing files above a base, then cuts
 * those out of the chain.
 *
 * The guest writes meanwhile. A piece is copied under an exclusive lock of its range in the image:
 * a write of the guest's comes before, and the image has the data then, or after. So nothing that
 * the guest has written is overwritten by what lies below.
 */
#include <errno.h>
#include "base/error.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/range_lock.h"
#include "chain_job.h"

typedef struct {
    Job job;
    BlockNode *top;    /* as the user named it; a reference */
    BlockNode *image;  /* that, without filters */
    BlockNode *bottom; /* the last node above the base; it may be a filter */
    BlockNode *last;   /* the last image that is copied from; 'image': none */
    BlockNode *filter; /* a reference; or NULL */
    char *backing_name;
    BlockOnError on_error;
    bool was_read_only, tracked, inserted;
    BlockOffload offload;
    void *buf;
} Stream;

static int coroutine_fn stream_copy(Stream *s, BlockNode *from, int status, uint64_t off,
                                    uint64_t len)
{
    ChainCopy copy = {from, s->image, s->buf, BLOCK_REQ_HOLDS_RANGE};
    bool is_read;

    if (status == BLOCK_STATUS_ZERO) {
        return block_pwrite_zeroes(s->image, off, len, BLOCK_REQ_HOLDS_RANGE);
    }
    return chain_job_copy(&s->offload, &copy, off, len, &is_read);
}

/*
 * Whether the images below have data for the range that the image has not: DATA or ZERO; 0: none.
 * Without a base, zeroes need no copy: the image shows them once it has no backing file.
 */
static int coroutine_fn stream_wanted(Stream *s, uint64_t off, uint64_t *len, BlockNode **from)
{
    int status = block_status_here(s->image, off, *len, len, NULL, NULL);

    if (status < 0 || status & BLOCK_STATUS_ALLOCATED) {
        return MIN(status, 0);
    }
    status = chain_job_status(block_node_below(s->image), s->last, off, len, from);
    return status == BLOCK_STATUS_ZERO && !block_node_below(s->bottom) ? 0 : status;
}

/* *len: in, how much is left; out, how much was looked at. *copied: bytes that were written. */
static int coroutine_fn stream_piece(Stream *s, uint64_t off, uint64_t *len, uint64_t *copied)
{
    BlockRangeLock range;
    BlockNode *from = NULL;
    int ret = stream_wanted(s, off, len, &from);

    *copied = 0;
    if (ret <= 0) {
        *len = ret < 0 ? MIN(*len, CHAIN_JOB_CHUNK) : *len;
        return ret;
    }
    *len = MIN(*len, CHAIN_JOB_CHUNK - off % CHAIN_JOB_CHUNK);
    block_range_lock(s->image, &range, off, *len);
    ret = stream_wanted(s, off, len, &from);
    if (ret > 0) {
        *copied = *len;
        ret = stream_copy(s, from, ret, off, *len);
    }
    block_range_unlock(s->image, &range);
    return ret;
}

/* False: the job ends here, with *error (0: it was cancelled). */
static bool coroutine_fn stream_copy_all(Stream *s, uint64_t length, int *error)
{
    for (uint64_t off = 0, len, copied; off < length; off += len) {
        int ret;

        len = length - off;
        ret = stream_piece(s, off, &len, &copied);
        if (ret < 0) {
            BlockErrorAction action = job_error(&s->job, s->on_error, true, -ret);

            if (action == BLOCK_ERROR_ACTION_STOP) {
                len = 0;
            } else {
                /* What was ignored is told at the end: the backing files are needed. */
                *error = *error ? *error : -ret;
            }
            if (action == BLOCK_ERROR_ACTION_REPORT) {
                return false;
            }
        }
        job_progress(&s->job, off + len, length);
        if (!job_throttle(&s->job, copied)) {
            return false;
        }
    }
    return !*error;
}

static bool coroutine_fn stream_run(Job *job, GError **err)
{
    Stream *s = (Stream *)job;
    int64_t length = block_length(s->image);
    int error = 0;
    bool ok;

    if (length < 0) {
        return job_fail(err, -length);
    }
    if (s->last == s->image) {
        return true; /* there is nothing to copy from */
    }
    s->buf = block_buffer_new(s->image, CHAIN_JOB_CHUNK);
    if (!s->buf) {
        return job_fail(err, ENOMEM);
    }
    block_offload_init(&s->offload, BLOCK_OFFLOAD_TRY, s->image);
    job_progress(job, 0, length);
    ok = stream_copy_all(s, length, &error);
    return ok || job_is_cancelled(job) ? ok : job_fail(err, error);
}

/* In a drained section. The backing file becomes 'to', or none. */
static bool coroutine_fn stream_point(BlockNode *image, BlockNode *to, GError **err)
{
    BlockEdge *edge = block_node_edge(image, "backing");
    BlockChange *c;
    bool ok;

    /* A flush of all, which sections let pass, may be in the image. */
    block_node_bar(image);
    c = block_change_new();
    if (edge && to) {
        block_change_point(c, edge, to); /* which may be where it leads already */
    } else if (edge) {
        block_change_detach(c, edge);
    } else if (to) {
        block_change_attach_node(c, image, to, "backing", BLOCK_ROLE_BACKING, &image->backing);
    }
    ok = block_change_commit(c, err);
    block_node_unbar(image);
    return ok;
}

/* In a drained section. All that was copied is stable before the image names another file. */
static bool coroutine_fn stream_cut(Stream *s, GError **err)
{
    BlockNode *base = block_node_below(s->bottom), *old = s->image->backing;
    const char *format = NULL;
    g_autofree char *name = NULL;
    int ret;

    if (!old) {
        return true;
    }
    if (base) {
        name = chain_job_base_name(s->image, base, s->backing_name, &format, err);
        if (!name) {
            return false;
        }
    }
    ret = block_flush(s->image);
    if (ret < 0) {
        return job_fail(err, ret);
    }
    block_node_ref(old);
    job_thaw_chain(&s->job);
    if (!stream_point(s->image, base, err)) {
        block_node_unref(old);
        return false;
    }
    ret = block_set_backing_name(s->image, name, format);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not change the backing file's name in '%s'",
                        s->image->filename);
        if (!stream_point(s->image, old, NULL)) {
            g_assert_not_reached(); /* it was so, and nobody else changes the graph */
        }
    }
    block_node_unref(old);
    return ret == 0;
}

static bool coroutine_fn stream_prepare(Job *job, GError **err)
{
    Stream *s = (Stream *)job;
    BlockDrain *drain;
    bool ok;

    if (!block_changes_lock(err)) {
        return false;
    }
    drain = block_drain_begin(s->top);
    ok = stream_cut(s, err);
    block_drain_end(drain);
    block_changes_unlock();
    return ok;
}

/* Under the lock of changes, in a drained section. */
static void coroutine_fn stream_leave(Stream *s)
{
    if (s->tracked) {
        block_range_track_end(s->image);
        s->tracked = false;
    }
    if (s->inserted) {
        s->inserted = !chain_job_replace(s->filter, s->top, NULL);
        g_assert(!s->inserted); /* the filter asks for nothing of its own */
    }
}

static void coroutine_fn stream_clean(Job *job)
{
    Stream *s = (Stream *)job;
    BlockDrain *drain;

    /* Jobs end before the lock is closed: it cannot fail. */
    if (block_changes_lock(NULL)) {
        drain = block_drain_begin(s->filter ? s->filter : s->top);
        stream_leave(s);
        block_drain_end(drain);
        block_changes_unlock();
    }
    job_thaw_chain(job);
    job_remove_nodes(job);
    block_node_unref(g_steal_pointer(&s->filter));
    if (s->was_read_only) {
        g_autoptr(GError) err = NULL;

        /* A node that stays writable harms nobody. */
        block_set_read_only(s->image, true, &err);
    }
    block_node_unref(g_steal_pointer(&s->top));
}

static void stream_free(Job *job)
{
    Stream *s = (Stream *)job;

    g_free(s->backing_name);
    free(s->buf);
}

static const JobClass stream_class = {
    .type = JOB_TYPE_STREAM,
    .size = sizeof(Stream),
    .block_job = true,
    .run = stream_run,
    .prepare = stream_prepare,
    .clean = stream_clean,
    .free = stream_free,
};

/* Edges to all nodes that the job uses, none of which another job uses. */
static bool stream_take_nodes(Stream *s, GError **err)
{
    const unsigned reads = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    const BlockPerms upper = {reads, reads | BLOCK_PERM_WRITE}, lower = {0, reads};
    bool below = false;

    for (BlockNode *n = s->top;; n = block_node_below(n)) {
        if (!job_node_is_free(n, err)) {
            return false;
        }
        if (n == s->bottom) {
            break;
        }
    }
    for (BlockNode *n = s->top;; n = block_node_below(n)) {
        if (!job_add_node(&s->job, below ? "intermediate node" : "active node", n,
                          below ? lower : upper, err)) {
            return false;
        }
        below |= n == s->image;
        if (n == s->bottom) {
            break;
        }
    }
    return job_freeze_chain(&s->job, s->top, s->bottom, err);
}

/* Under the lock of changes, in a drained section: all that was true before may be over. */
static bool coroutine_fn stream_enter(Stream *s, const BlockStream *what, GError **err)
{
    const BlockPerms all = {0, BLOCK_PERM_ALL};

    s->bottom = what->bottom ? what->bottom : block_chain_above(s->top, what->base);
    if (!s->bottom || !block_chain_contains(s->image, s->bottom)) {
        return error_set(err, "Node '%s' is not a backing image of '%s'",
                         (what->bottom ? what->bottom : what->base)->opts.node_name,
                         s->top->opts.node_name);
    }
    for (BlockNode *n = s->image;; n = block_node_below(n)) {
        s->last = n->driver->is_filter ? s->last : n;
        if (n == s->bottom) {
            break;
        }
    }
    if (!stream_take_nodes(s, err)) {
        return false;
    }
    if (s->filter) {
        s->inserted = chain_job_replace(s->top, s->filter, err);
        if (s->inserted && !job_add_node(&s->job, "main node", s->filter, all, err)) {
            return false;
        }
    }
    s->tracked = !s->filter || s->inserted;
    if (s->tracked) {
        block_range_track_begin(s->image);
    }
    return s->tracked;
}

/* What may wait comes first; then the graph in one go. */
static bool coroutine_fn stream_set_up(Stream *s, const BlockStream *what, GError **err)
{
    BlockDrain *drain;
    bool ok;

    if (s->image->read_only) {
        if (!block_set_read_only(s->image, false, err)) {
            return false;
        }
        s->was_read_only = true;
    }
    if (what->filter_name) {
        s->filter = job_filter_open(&job_filter_stream, s->top, what->filter_name, err);
        if (!s->filter) {
            return false;
        }
    }
    if (!block_changes_lock(err)) {
        return false;
    }
    drain = block_drain_begin(s->top);
    ok = stream_enter(s, what, err);
    block_drain_end(drain);
    block_changes_unlock();
    return ok;
}

bool coroutine_fn block_stream_start(const JobOptions *opts, const BlockStream *what, GError **err)
{
    BlockNode *lower = what->bottom ? what->bottom : what->base;
    Stream *s = (Stream *)job_new(&stream_class, opts, err);
    bool ok;

    if (!s) {
        return false;
    }
    s->top = block_node_ref(what->top);
    s->image = block_node_image(s->top);
    s->backing_name = g_strdup(what->backing_name);
    s->on_error = what->on_error;
    if (lower) {
        block_node_ref(lower);
    }
    ok = stream_set_up(s, what, err);
    block_node_unref(lower);
    if (ok) {
        job_start(&s->job);
    } else {
        stream_clean(&s->job);
        job_discard(&s->job);
    }
    return ok;
}

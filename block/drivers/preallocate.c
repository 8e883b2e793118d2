/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'preallocate', between a format and its file: where a write makes the file longer, the
 * file becomes longer still, as zeroes, so that the writes that follow find space. The length that
 * the format sees is that of its data; the file is cut to that when it is closed or no longer
 * written to.
 */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "drivers.h"
#include "filter.h"

typedef struct {
    json_t *file_config;
    uint64_t align, size;
    CoMutex lock;     /* of changes of the two ends */
    int64_t data_end; /* atomic; -1: nothing was written yet, the file's length is the data's */
    int64_t file_end;
} Preallocate;

static const Property preallocate_props[] = {
    FILTER_PROP_FILE(Preallocate, file_config),
    {.name = "prealloc-align",
     .type = PROP_SIZE,
     .offset = offsetof(Preallocate, align),
     .defval = "1M",
     .min = 1,
     .max = INT64_MAX / 4,
     .help = "the file's length becomes a multiple of this"},
    {.name = "prealloc-size",
     .type = PROP_SIZE,
     .offset = offsetof(Preallocate, size),
     .defval = "128M",
     .max = INT64_MAX / 4,
     .help = "how much is preallocated"},
    PROP_END,
};

static bool preallocate_open(BlockNode *node, GError **err)
{
    Preallocate *s = block_node_state(node);

    if (!filter_open(node, s->file_config, err)) {
        return false;
    }
    if (s->align % BLOCK_SECTOR_SIZE) {
        return error_set(err, "prealloc-align parameter of preallocate filter is not aligned to %d",
                         BLOCK_SECTOR_SIZE);
    }
    if (s->align % node->file->request_alignment) {
        return error_set(err,
                         "prealloc-align parameter of preallocate filter is not aligned to "
                         "underlying node request alignment (%" PRIu32 ")",
                         node->file->request_alignment);
    }
    co_mutex_init(&s->lock);
    s->data_end = -1;
    return true;
}

/* Nobody else may write, or change the length, behind this node's back. */
static BlockPerms preallocate_child_perms(BlockNode *node, const BlockEdge *edge, BlockPerms users)
{
    const unsigned changes = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    BlockPerms p = {users.needs, users.shares | BLOCK_PERM_WRITE_UNCHANGED};

    if (users.needs & changes) {
        p.needs |= changes;
        p.shares &= ~changes;
    }
    return p;
}

/* Cuts the file to its data. No request is in the node. */
static int coroutine_fn preallocate_cut(BlockNode *node, GError **err)
{
    Preallocate *s = block_node_state(node);
    int ret = 0;

    if (s->data_end >= 0 && s->data_end < s->file_end) {
        ret = block_truncate(node->file, s->data_end, err);
    }
    if (ret == 0) {
        __atomic_store_n(&s->data_end, -1, __ATOMIC_SEQ_CST);
    }
    return ret;
}

static void preallocate_close(BlockNode *node)
{
    Preallocate *s = block_node_state(node);
    g_autoptr(GError) err = NULL;

    if (preallocate_cut(node, &err) < 0) {
        log_error("'%s' could not be cut to the end of its data: %s", node->filename,
                  err ? err->message : "");
    }
    co_mutex_destroy(&s->lock);
}

static int coroutine_fn preallocate_inactivate(BlockNode *node)
{
    return preallocate_cut(node, NULL);
}

static bool coroutine_fn preallocate_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                                    const void *props, bool *read_only,
                                                    GError **err)
{
    return preallocate_cut(node, err) == 0;
}

static void preallocate_reopen_commit(BlockNode *node, const void *props)
{
}

static void preallocate_reopen_abort(BlockNode *node)
{
}

/* Where the file does not become longer, the write that follows does without. */
static int coroutine_fn preallocate_for(BlockNode *node, uint64_t end)
{
    Preallocate *s = block_node_state(node);
    int64_t data_end;

    co_mutex_lock(&s->lock);
    data_end = s->data_end;
    if (data_end < 0) {
        data_end = s->file_end = block_exact_length(node->file);
        if (data_end < 0) {
            co_mutex_unlock(&s->lock);
            return data_end;
        }
    }
    if (end > (uint64_t)s->file_end && end <= INT64_MAX / 2) {
        uint64_t from = ROUND_UP((uint64_t)s->file_end, node->file->request_alignment);
        uint64_t to = (end + s->size + s->align - 1) / s->align * s->align;

        if (to > from &&
            block_pwrite_zeroes(node->file, from, to - from, BLOCK_REQ_NO_FALLBACK) == 0) {
            s->file_end = to;
        } else {
            s->file_end = end;
        }
    }
    __atomic_store_n(&s->data_end, MAX(data_end, (int64_t)end), __ATOMIC_SEQ_CST);
    co_mutex_unlock(&s->lock);
    return 0;
}

static int coroutine_fn preallocate_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                            const struct iovec *iov, unsigned niov, unsigned flags)
{
    int ret = preallocate_for(node, offset + bytes);

    return ret < 0 ? ret : filter_pwritev(node, offset, bytes, iov, niov, flags);
}

static int coroutine_fn preallocate_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                                  unsigned flags)
{
    int ret = preallocate_for(node, offset + bytes);

    return ret < 0 ? ret : filter_pwrite_zeroes(node, offset, bytes, flags);
}

/* The file is as long as asked then: what was preallocated is given up. */
static int coroutine_fn preallocate_truncate(BlockNode *node, uint64_t size, GError **err)
{
    Preallocate *s = block_node_state(node);
    int ret;

    co_mutex_lock(&s->lock);
    ret = preallocate_cut(node, err);
    ret = ret < 0 ? ret : block_truncate(node->file, size, err);
    co_mutex_unlock(&s->lock);
    return ret;
}

static int64_t preallocate_length(BlockNode *node)
{
    Preallocate *s = block_node_state(node);
    int64_t end = __atomic_load_n(&s->data_end, __ATOMIC_SEQ_CST);

    return end >= 0 ? end : block_exact_length(node->file);
}

const BlockDriver block_driver_preallocate = {
    .name = "preallocate",
    .help = "makes a growing file longer in large steps",
    .size = sizeof(Preallocate),
    .props = preallocate_props,
    .is_filter = true,
    .open = preallocate_open,
    .close = preallocate_close,
    .child_perms = preallocate_child_perms,
    .reopen_prepare = preallocate_reopen_prepare,
    .reopen_commit = preallocate_reopen_commit,
    .reopen_abort = preallocate_reopen_abort,
    .inactivate = preallocate_inactivate,
    .preadv = filter_preadv,
    .pwritev = preallocate_pwritev,
    .pwrite_zeroes = preallocate_pwrite_zeroes,
    .pdiscard = filter_pdiscard,
    .block_status = filter_block_status,
    .truncate = preallocate_truncate,
    .length = preallocate_length,
    .info = filter_info,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter above a disk that is mirrored. A lazy mirror needs nothing of it: the source's bitmap
 * records what is written. An active one (copy-mode=write-blocking) writes here, on the guest's
 * loop, to the source and then to the target, under an exclusive lock of the range in the source:
 * so overlapping writes come to both in the same order, and the job copies nothing meanwhile.
 */
#include <errno.h>
#include "base/iov.h"
#include "base/json.h"
#include "base/util.h"
#include "mirror.h"

typedef struct {
    json_t *file;
    Mirror *m; /* changes in drained sections */
} MirrorFilter;

static const Property filter_props[] = {
    PROP("file", PROP_TREE, MirrorFilter, file, NULL, "the disk"), PROP_END};

static Mirror *mirror_of(BlockNode *n)
{
    return ((MirrorFilter *)block_node_state(n))->m;
}

static bool is_active(BlockNode *n)
{
    Mirror *m = mirror_of(n);

    return m && m->active;
}

static void filter_child_changed(BlockNode *n)
{
    n->request_alignment = n->file->request_alignment;
    n->memory_alignment = n->file->memory_alignment;
}

static bool filter_open(BlockNode *n, GError **err)
{
    MirrorFilter *f = block_node_state(n);

    if (!block_open_child(n, "file", BLOCK_ROLE_FILTERED, f->file, &n->file, err)) {
        return false;
    }
    filter_child_changed(n);
    n->filename = g_strdup(n->file->filename);
    return true;
}

/* The permission to write to the target is the job's. */
static BlockPerms filter_child_perms(BlockNode *n, const BlockEdge *edge, BlockPerms users)
{
    Mirror *m = mirror_of(n);

    if (!(edge->role & BLOCK_ROLE_FILTERED)) {
        return (BlockPerms){0, BLOCK_PERM_ALL};
    }
    /* A commit writes to an image below, which the disk uses. */
    return (BlockPerms){users.needs,
                        m && m->base ? BLOCK_PERM_ALL : users.shares | BLOCK_PERM_WRITE_UNCHANGED};
}

static int coroutine_fn filter_preadv(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    return block_preadv(n->file, off, bytes, iov, niov);
}

/* A write, of data in one buffer (NULL: zeroes), which the guest cannot change meanwhile. */
typedef struct {
    Mirror *m;
    BlockNode *source;
    uint64_t off, bytes;
    const uint8_t *buf;
    unsigned flags;
    uint64_t first, end; /* what of the target is written */
} ActiveWrite;

static void active_range(ActiveWrite *w)
{
    Mirror *m = w->m;

    w->first = w->off;
    w->end = w->off + w->bytes;
    if (m->whole_clusters) {
        uint64_t unit = block_dirty_bitmap_granularity(m->bitmap);

        w->first = ROUND_DOWN(w->first, unit);
        w->end = MAX(MIN(ROUND_UP(w->end, unit), m->length), w->end);
    }
}

/* A cluster of which the guest writes a part: the source has all of it now. */
static int coroutine_fn active_copy_cluster(const ActiveWrite *w, uint64_t from, uint64_t end)
{
    block_auto_buffer void *buf = NULL;
    int ret;

    if (from == end) {
        return 0;
    }
    buf = block_buffer_new(w->source, end - from);
    ret = buf ? block_pread(w->source, from, buf, end - from) : -ENOMEM;
    return ret < 0 ? ret : block_pwrite(w->m->target, from, buf, end - from, 0);
}

static int coroutine_fn active_write_whole(const ActiveWrite *w, uint64_t from, uint64_t end)
{
    Mirror *m = w->m;

    if (from == end) {
        return 0;
    }
    return w->buf ? block_pwrite(m->target, from, w->buf + (from - w->off), end - from, 0)
                  : block_pwrite_zeroes(m->target, from, end - from,
                                        m->what.unmap ? w->flags & BLOCK_REQ_MAY_UNMAP : 0);
}

/* The first and the last cluster may be copies, and what lies between is the guest's. */
static int coroutine_fn active_write_target(const ActiveWrite *w)
{
    uint64_t unit = block_dirty_bitmap_granularity(w->m->bitmap);
    uint64_t from = w->off, end = w->off + w->bytes;
    int ret = 0;

    if (w->first < from) {
        from = MIN(w->first + unit, w->end);
        ret = active_copy_cluster(w, w->first, from);
    }
    if (w->end > end) {
        end = ROUND_DOWN(end, unit);
    }
    end = MAX(end, from);
    ret = ret < 0 ? ret : active_write_whole(w, from, end);
    return ret < 0 ? ret : active_copy_cluster(w, end, w->end);
}

/* The range is locked. What does not come to the target is the job's to copy. */
static int coroutine_fn active_write_both(const ActiveWrite *w)
{
    unsigned held = w->flags | BLOCK_REQ_HOLDS_RANGE;
    Mirror *m = w->m;
    int copied, ret = w->buf ? block_pwrite(w->source, w->off, w->buf, w->bytes, held)
                             : block_pwrite_zeroes(w->source, w->off, w->bytes, held);

    if (ret < 0) {
        block_dirty_bitmap_set(m->bitmap, w->off, w->bytes); /* it may have some of it */
        return ret;
    }
    copied = active_write_target(w);
    if (copied < 0) {
        /* No failure of the guest's. */
        __atomic_store_n(&m->active_error, -copied, __ATOMIC_SEQ_CST);
        block_dirty_bitmap_set(m->bitmap, w->off, w->bytes);
        job_kick(&m->job);
    } else {
        block_dirty_bitmap_reset(m->bitmap, w->first, w->end - w->first);
    }
    return 0;
}

static int coroutine_fn active_write(BlockNode *n, uint64_t off, uint64_t bytes, const uint8_t *buf,
                                     unsigned flags)
{
    ActiveWrite w = {.m = mirror_of(n),
                     .source = n->file,
                     .off = off,
                     .bytes = bytes,
                     .buf = buf,
                     .flags = flags};
    BlockRangeLock range;
    int ret;

    active_range(&w);
    block_range_lock(n->file, &range, w.first, w.end - w.first);
    ret = active_write_both(&w);
    block_range_unlock(n->file, &range);
    return ret;
}

static int coroutine_fn filter_pwritev(BlockNode *n, uint64_t off, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov, unsigned flags)
{
    block_auto_buffer void *buf = NULL;

    if (!is_active(n)) {
        return block_pwritev(n->file, off, bytes, iov, niov, flags);
    }
    buf = block_buffer_new(n, bytes);
    if (!buf) {
        return -ENOMEM;
    }
    iov_to_buf(iov, niov, 0, buf, bytes);
    return active_write(n, off, bytes, buf, flags);
}

static int coroutine_fn filter_pwrite_zeroes(BlockNode *n, uint64_t off, uint64_t bytes,
                                             unsigned flags)
{
    return is_active(n) ? active_write(n, off, bytes, NULL, flags)
                        : block_pwrite_zeroes(n->file, off, bytes, flags);
}

/* What is discarded is copied by the job: the target need not discard, and shows the same then. */
static int coroutine_fn filter_pdiscard(BlockNode *n, uint64_t off, uint64_t bytes)
{
    int ret = block_pdiscard(n->file, off, bytes);

    if (is_active(n)) {
        block_dirty_bitmap_set(mirror_of(n)->bitmap, off, bytes);
    }
    return ret;
}

static int coroutine_fn filter_block_status(BlockNode *n, uint64_t off, uint64_t bytes,
                                            uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    return block_status_here(n->file, off, bytes, pnum, map, file);
}

static bool filter_map_cached(BlockNode *n, uint64_t off, uint64_t bytes, bool write,
                              BlockMapping *map)
{
    if (write && is_active(n)) {
        return false;
    }
    *map = (BlockMapping){.file = n->file, .offset = off, .bytes = bytes};
    return true;
}

static const BlockDriver mirror_top = {
    .name = "mirror_top",
    .help = "the filter of a mirror job",
    .size = sizeof(MirrorFilter),
    .props = filter_props,
    .is_filter = true,
    .open = filter_open,
    .child_changed = filter_child_changed,
    .child_perms = filter_child_perms,
    .preadv = filter_preadv,
    .pwritev = filter_pwritev,
    .pwrite_zeroes = filter_pwrite_zeroes,
    .pdiscard = filter_pdiscard,
    .block_status = filter_block_status,
    .map_cached = filter_map_cached,
};

BlockNode *mirror_filter_open(BlockNode *source, const char *name, GError **err)
{
    json_auto_t *tree = json_pack("{s:s}", "file", source->opts.node_name);

    if (name) {
        json_object_set_new(tree, "node-name", json_string(name));
    }
    if (source->read_only) {
        json_object_set_new(tree, "read-only", json_true());
    }
    return block_filter_open(&mirror_top, tree, err);
}

void mirror_filter_attach(BlockNode *filter, Mirror *m)
{
    ((MirrorFilter *)block_node_state(filter))->m = m;
}

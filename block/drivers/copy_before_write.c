/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter copy-before-write. A guest's write first has the clusters copied that it touches, on its
 * own loop, and then waits for those who read the snapshot from the disk in its place.
 */
#include "copy_before_write.h"
#include <errno.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/json.h"
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/transaction.h"
#include "../cluster_bits.h"
#include "filter.h"

enum { BREAK_GUEST_WRITE, BREAK_SNAPSHOT };
static const char *const on_error_names[] = {"break-guest-write", "break-snapshot", NULL};

/* Who reads the snapshot from the disk itself; on the reader's stack. */
typedef struct Reader {
    struct Reader *prev, *next;
    uint64_t off, bytes;
} Reader;

typedef struct {
    json_t *file_config, *target_config, *bitmap_config;
    int on_error;
    uint32_t timeout; /* seconds; 0: none */
    BlockNode *target;
    BlockCopy *copy;
    uint64_t cluster_size, length;
    WaitList readers_done; /* its lock guards all that follows */
    Reader *readers;
    ClusterBits access; /* what may be read */
    ClusterBits copied; /* what the target has, and the disk may not have any more */
    int error;          /* the snapshot is broken */
} CbwState;

static const Property cbw_props[] = {
    FILTER_PROP_FILE(CbwState, file_config),
    {.name = "target",
     .type = PROP_TREE,
     .offset = offsetof(CbwState, target_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "where the disk's old data goes"},
    {.name = "bitmap",
     .type = PROP_TREE,
     .offset = offsetof(CbwState, bitmap_config),
     .shape = &block_dirty_bitmap_shape,
     .help = "only what is dirty in this bitmap is copied"},
    PROP_E("on-cbw-error", CbwState, on_error, "break-guest-write", on_error_names,
           "what fails where the old data cannot be copied"),
    PROP("cbw-timeout", PROP_UINT32, CbwState, timeout, "0",
         "seconds after which copying counts as failed (0: never)"),
    PROP_END,
};

static void cbw_child_changed(BlockNode *node)
{
    node->request_alignment = node->file->request_alignment;
    node->memory_alignment = node->file->memory_alignment;
}

/* What is dirty now in the bitmap that the options name is to be copied, and nothing else. */
static bool cbw_use_bitmap(BlockNode *node, GError **err)
{
    CbwState *s = block_node_state(node);
    const char *owner = json_str(s->bitmap_config, "node");
    const char *name = json_str(s->bitmap_config, "name");
    BlockNode *n = owner ? block_lookup_node(owner, owner, NULL) : NULL;
    BlockDirtyBitmap *b = n && name ? block_dirty_bitmap_find(n, name) : NULL;
    uint64_t off = 0, bytes;

    if (!n) {
        return error_set(err, "Node '%s' not found", owner ? owner : "");
    }
    if (!b) {
        return error_set(err, "Dirty bitmap '%s' not found", name ? name : "");
    }
    if (!block_dirty_bitmap_check(b, BITMAP_CHECK_INCONSISTENT, err)) {
        return false;
    }
    if (block_dirty_bitmap_size(b) != s->length) {
        return error_set(err, "Bitmap '%s' is of a node of another size", name);
    }
    block_copy_unwant(s->copy, 0, s->length);
    while (block_dirty_bitmap_next_dirty(b, &off, &bytes, UINT64_MAX, false)) {
        block_copy_want(s->copy, off, MIN(bytes, s->length - off));
        off += bytes;
    }
    cbw_show_wanted(node);
    return true;
}

static void cbw_close(BlockNode *node)
{
    CbwState *s = block_node_state(node);

    block_copy_free(s->copy);
    cluster_bits_clear(&s->access);
    cluster_bits_clear(&s->copied);
    wait_list_destroy(&s->readers_done);
}

static bool cbw_open(BlockNode *node, GError **err)
{
    CbwState *s = block_node_state(node);
    int64_t length, target_length;

    wait_list_init(&s->readers_done);
    if (!block_open_child(node, "file", BLOCK_ROLE_FILTERED, s->file_config, &node->file, err) ||
        !block_open_child(node, "target", BLOCK_ROLE_DATA, s->target_config, &s->target, err)) {
        return false;
    }
    cbw_child_changed(node);
    length = block_length(node->file);
    target_length = block_length(s->target);
    if (length < 0 || target_length < 0) {
        return error_set_errno(err, length < 0 ? -length : -target_length,
                               "Could not get image size");
    }
    if (length != target_length) {
        return error_set(err, "Source and target image have different sizes");
    }
    s->length = length;
    s->cluster_size = block_copy_cluster_size(s->target);
    s->copy = block_copy_new(&(BlockCopyOptions){
        .source = &node->file,
        .target = &s->target,
        .length = length,
        .cluster_size = s->cluster_size,
        .target_shows_source = block_chain_contains(s->target, node->file),
    });
    block_copy_want(s->copy, 0, length);
    cluster_bits_init(&s->access, DIV_ROUND_UP(length, s->cluster_size));
    cluster_bits_init(&s->copied, s->access.n);
    cluster_bits_put(&s->access, 0, s->access.n, true);
    if (s->bitmap_config && !cbw_use_bitmap(node, err)) {
        cbw_close(node); /* it is not called for a node that was never open */
        return false;
    }
    return true;
}

BlockCopy *cbw_copy(BlockNode *filter)
{
    return ((CbwState *)block_node_state(filter))->copy;
}

/*
 * The target may lie below the disk, or the disk below the target (its backing file), so the target
 * shares what the disk's users do. Nobody else may write to the disk: that would not be copied.
 */
static BlockPerms cbw_child_perms(BlockNode *node, const BlockEdge *edge, BlockPerms users)
{
    BlockPerms p = {users.needs, users.shares | BLOCK_PERM_WRITE_UNCHANGED};

    if (!(edge->role & BLOCK_ROLE_FILTERED)) {
        return (BlockPerms){BLOCK_PERM_WRITE, BLOCK_PERM_ALL & ~BLOCK_PERM_RESIZE};
    }
    if (node->core->parents->len) {
        p.needs |= p.needs & BLOCK_PERM_WRITE ? BLOCK_PERM_CONSISTENT_READ : 0;
        p.shares &= ~(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE);
    }
    return p;
}

/* A copy with a limit of time: it goes on when nobody waits for it any more. All on one loop. */
typedef struct {
    BlockNode *node;
    uint64_t off, bytes;
    unsigned refs;
    bool done, expired;
    int ret;
    WaitList ended;
} TimedCopy;

static void timed_unref(TimedCopy *t)
{
    if (--t->refs == 0) {
        wait_list_destroy(&t->ended);
        g_free(t);
    }
}

static void coroutine_fn timed_entry(void *data)
{
    TimedCopy *t = data;
    CbwState *s = block_node_state(t->node);

    t->ret = block_copy_clusters(s->copy, t->off, t->bytes, NULL);
    block_node_leave(t->node);
    t->done = true;
    wait_list_wake_all(&t->ended);
    timed_unref(t);
}

static void timed_expire(void *data)
{
    TimedCopy *t = data;

    t->expired = true;
    wait_list_wake_all(&t->ended);
}

static int coroutine_fn cbw_copy_timed(BlockNode *node, uint64_t off, uint64_t bytes)
{
    CbwState *s = block_node_state(node);
    TimedCopy *t = g_new0(TimedCopy, 1);
    int ret;

    *t = (TimedCopy){.node = node, .off = off, .bytes = bytes, .refs = 2};
    wait_list_init(&t->ended);
    /* The caller's request is in the node, so this is no way round a drain's beginning. */
    __atomic_add_fetch(&node->in_flight, 1, __ATOMIC_SEQ_CST);
    coroutine_start(timed_entry, t);
    if (!t->done) {
        Timer *timer = timer_new(event_loop_current(), CLOCK_REALTIME_NS, timed_expire, t);

        timer_arm(timer, clock_ns(CLOCK_REALTIME_NS) + s->timeout * NS_PER_SEC);
        wait_list_until(&t->ended, t->done || t->expired);
        timer_free(timer);
    }
    ret = t->done ? t->ret : -ETIMEDOUT;
    timed_unref(t);
    return ret;
}

static bool readers_overlap(const CbwState *s, uint64_t off, uint64_t bytes)
{
    for (const Reader *r = s->readers; r; r = r->next) {
        if (r->off < off + bytes && off < r->off + r->bytes) {
            return true;
        }
    }
    return false;
}

/* After this the range may be written to. */
static int coroutine_fn cbw_before_write(BlockNode *node, uint64_t off, uint64_t bytes)
{
    CbwState *s = block_node_state(node);
    uint64_t start = ROUND_DOWN(off, s->cluster_size);
    uint64_t end = MIN(ROUND_UP(off + bytes, s->cluster_size), s->length);
    int ret;

    if (!bytes || __atomic_load_n(&s->error, __ATOMIC_RELAXED)) {
        return 0;
    }
    ret = s->timeout ? cbw_copy_timed(node, start, end - start)
                     : block_copy_clusters(s->copy, start, end - start, NULL);
    if (ret < 0 && s->on_error == BREAK_GUEST_WRITE) {
        return ret;
    }
    g_mutex_lock(&s->readers_done.lock);
    if (ret < 0 && !s->error) {
        __atomic_store_n(&s->error, ret, __ATOMIC_RELAXED);
    } else if (ret == 0) {
        cluster_bits_put(&s->copied, start / s->cluster_size, DIV_ROUND_UP(end, s->cluster_size),
                         true);
    }
    /* Who comes now reads the target. */
    while (readers_overlap(s, start, end - start)) {
        wait_list_sleep_locked(&s->readers_done);
    }
    g_mutex_unlock(&s->readers_done.lock);
    return 0;
}

static int coroutine_fn cbw_pwritev(BlockNode *node, uint64_t off, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov, unsigned flags)
{
    int ret = cbw_before_write(node, off, bytes);

    return ret < 0 ? ret : block_pwritev(node->file, off, bytes, iov, niov, flags);
}

static int coroutine_fn cbw_pwrite_zeroes(BlockNode *node, uint64_t off, uint64_t bytes,
                                          unsigned flags)
{
    int ret = cbw_before_write(node, off, bytes);

    return ret < 0 ? ret : block_pwrite_zeroes(node->file, off, bytes, flags);
}

static int coroutine_fn cbw_pdiscard(BlockNode *node, uint64_t off, uint64_t bytes)
{
    int ret = cbw_before_write(node, off, bytes);

    return ret < 0 ? ret : block_pdiscard(node->file, off, bytes);
}

/* The snapshot. */

/*
 * Where the snapshot's bytes from 'off' on are, and for how many: in the target, or on the disk,
 * where they stay until snapshot_leave(). NULL: -EACCES.
 */
static BlockNode *snapshot_enter(BlockNode *node, uint64_t off, uint64_t *bytes, Reader *r)
{
    CbwState *s = block_node_state(node);
    uint64_t first = off / s->cluster_size;
    uint64_t end = MIN(DIV_ROUND_UP(off + *bytes, s->cluster_size), s->access.n);
    BlockNode *where = NULL;

    *r = (Reader){.off = off};
    g_mutex_lock(&s->readers_done.lock);
    if (!s->error && first < end && cluster_bits_find(&s->access, first, end, false) == end) {
        bool copied = cluster_bits_get(&s->copied, first);

        end = cluster_bits_find(&s->copied, first, end, !copied);
        *bytes = MIN(*bytes, end * s->cluster_size - off);
        where = copied ? s->target : node->file;
        if (!copied) {
            r->bytes = *bytes;
            r->next = s->readers;
            if (r->next) {
                r->next->prev = r;
            }
            s->readers = r;
        }
    }
    g_mutex_unlock(&s->readers_done.lock);
    return where;
}

static void snapshot_leave(BlockNode *node, Reader *r)
{
    CbwState *s = block_node_state(node);

    if (!r->bytes) {
        return;
    }
    g_mutex_lock(&s->readers_done.lock);
    *(r->prev ? &r->prev->next : &s->readers) = r->next;
    if (r->next) {
        r->next->prev = r->prev;
    }
    wait_list_wake_locked(&s->readers_done);
    g_mutex_unlock(&s->readers_done.lock);
}

int coroutine_fn cbw_snapshot_preadv(BlockNode *node, uint64_t off, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov)
{
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    if (node->driver != &block_driver_copy_before_write) {
        return -ENOTSUP;
    }
    for (uint64_t done = 0, n; done < bytes && ret == 0; done += n) {
        unsigned nparts;
        BlockNode *where;
        Reader r;

        n = bytes - done;
        where = snapshot_enter(node, off + done, &n, &r);
        if (!where) {
            return -EACCES;
        }
        nparts = iov_slice(part, niov, iov, niov, done, n);
        ret = block_preadv(where, off + done, n, part, nparts);
        snapshot_leave(node, &r);
    }
    return ret;
}

int coroutine_fn cbw_snapshot_status(BlockNode *node, uint64_t off, uint64_t bytes, uint64_t *pnum)
{
    BlockNode *where, *file;
    uint64_t map;
    Reader r;
    int ret;

    if (node->driver != &block_driver_copy_before_write) {
        return -ENOTSUP;
    }
    where = snapshot_enter(node, off, &bytes, &r);
    if (!where) {
        return -EACCES;
    }
    ret = block_status_chain(where, NULL, off, bytes, pnum, &map, &file, NULL);
    snapshot_leave(node, &r);
    return ret < 0 ? ret : (ret & (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO)) | BLOCK_STATUS_ALLOCATED;
}

/* The clusters that lie in the range as a whole. False: none. */
static bool whole_clusters(const CbwState *s, uint64_t *off, uint64_t *bytes)
{
    uint64_t start = ROUND_UP(*off, s->cluster_size), end = *off + *bytes;

    end = end == s->length ? end : ROUND_DOWN(end, s->cluster_size);
    *off = start;
    *bytes = end - MIN(start, end);
    return *bytes;
}

void cbw_forget(BlockNode *filter, uint64_t off, uint64_t bytes)
{
    CbwState *s = block_node_state(filter);

    if (!whole_clusters(s, &off, &bytes)) {
        return;
    }
    g_mutex_lock(&s->readers_done.lock);
    cluster_bits_put(&s->access, off / s->cluster_size, DIV_ROUND_UP(off + bytes, s->cluster_size),
                     false);
    g_mutex_unlock(&s->readers_done.lock);
    block_copy_unwant(s->copy, off, bytes);
}

void cbw_show_wanted(BlockNode *filter)
{
    CbwState *s = block_node_state(filter);
    uint64_t off = 0, bytes = UINT64_MAX;

    cluster_bits_put(&s->access, 0, s->access.n, false);
    for (; block_copy_next(s->copy, &off, &bytes); off += bytes, bytes = UINT64_MAX) {
        cluster_bits_put(&s->access, off / s->cluster_size,
                         DIV_ROUND_UP(off + bytes, s->cluster_size), true);
    }
}

int coroutine_fn cbw_snapshot_discard(BlockNode *node, uint64_t off, uint64_t bytes)
{
    CbwState *s = block_node_state(node);

    if (node->driver != &block_driver_copy_before_write) {
        return -ENOTSUP;
    }
    cbw_forget(node, off, bytes);
    return whole_clusters(s, &off, &bytes) ? block_pdiscard(s->target, off, bytes) : 0;
}

const BlockDriver block_driver_copy_before_write = {
    .name = "copy-before-write",
    .help = "a filter that copies old data to a target before the disk is written to",
    .size = sizeof(CbwState),
    .props = cbw_props,
    .is_filter = true,
    .open = cbw_open,
    .close = cbw_close,
    .child_changed = cbw_child_changed,
    .child_perms = cbw_child_perms,
    .preadv = filter_preadv,
    .pwritev = cbw_pwritev,
    .pwrite_zeroes = cbw_pwrite_zeroes,
    .pdiscard = cbw_pdiscard,
    .block_status = filter_block_status,
    .info = filter_info,
};

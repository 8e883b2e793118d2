/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters are taken under the lock: the bit goes, and a task for them comes into the list. When
 * the task is done it leaves the list, and where it has failed, the bits are there again. So at any
 * time a cluster is to be copied, or in a task, or done; who wants it done waits for the other two.
 */
#include "block_copy.h"
#include <errno.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "base/wait_list.h"
#include "block/image.h"
#include "cluster_bits.h"
#include "core.h"

enum { CLUSTER_DEFAULT = 64 * 1024 };

/* On the stack of the coroutine that copies. */
typedef struct CopyTask {
    struct CopyTask *prev, *next;
    uint64_t off, bytes;
} CopyTask;

struct BlockCopy {
    BlockCopyOptions o;
    bool compress;
    BlockOffload offload;
    WaitList tasks_done; /* its lock guards all that follows */
    CopyTask *tasks;
    ClusterBits wanted;
    uint64_t in_tasks, done; /* bytes */
};

uint64_t block_copy_cluster_size(BlockNode *target)
{
    BlockDriverInfo info = {0};
    bool known = target->driver->info && target->driver->info(target, &info);

    json_decref(info.format_specific);
    return MAX(CLUSTER_DEFAULT, known ? info.cluster_size : 0);
}

BlockCopy *block_copy_new(const BlockCopyOptions *o)
{
    BlockCopy *c = g_new0(BlockCopy, 1);

    c->o = *o;
    cluster_bits_init(&c->wanted, DIV_ROUND_UP(o->length, o->cluster_size));
    wait_list_init(&c->tasks_done);
    return c;
}

void block_copy_free(BlockCopy *c)
{
    if (c) {
        g_assert(!c->tasks);
        wait_list_destroy(&c->tasks_done);
        cluster_bits_clear(&c->wanted);
        g_free(c);
    }
}

void block_copy_set_compress(BlockCopy *c, bool on)
{
    c->compress = on;
}

void block_copy_set_offload(BlockCopy *c, BlockOffloadMode mode)
{
    block_offload_init(&c->offload, mode, *c->o.target);
}

uint64_t block_copy_cluster(const BlockCopy *c)
{
    return c->o.cluster_size;
}

/* A run of clusters in bytes: the last one ends with the disk. */
static uint64_t clusters_bytes(const BlockCopy *c, uint64_t i, uint64_t end)
{
    return MIN(end * c->o.cluster_size, c->o.length) - i * c->o.cluster_size;
}

static void copy_lock(BlockCopy *c)
{
    g_mutex_lock(&c->tasks_done.lock);
}

static void copy_unlock(BlockCopy *c)
{
    g_mutex_unlock(&c->tasks_done.lock);
}

void block_copy_want(BlockCopy *c, uint64_t off, uint64_t bytes)
{
    copy_lock(c);
    cluster_bits_put(&c->wanted, off / c->o.cluster_size,
                     MIN(DIV_ROUND_UP(off + bytes, c->o.cluster_size), c->wanted.n), true);
    copy_unlock(c);
}

void block_copy_unwant(BlockCopy *c, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes >= c->o.length ? c->wanted.n : (off + bytes) / c->o.cluster_size;

    copy_lock(c);
    cluster_bits_put(&c->wanted, DIV_ROUND_UP(off, c->o.cluster_size), end, false);
    copy_unlock(c);
}

/* The next run of wanted clusters in [i, end), no longer than a chunk. False: none. */
static bool run_find(const BlockCopy *c, uint64_t i, uint64_t end, uint64_t max, uint64_t *first,
                     uint64_t *last)
{
    *first = cluster_bits_find(&c->wanted, i, end, true);
    end = MIN(end, *first + MAX(max / c->o.cluster_size, 1));
    *last = cluster_bits_find(&c->wanted, *first, end, false);
    return *first < *last;
}

bool block_copy_next(BlockCopy *c, uint64_t *off, uint64_t *bytes)
{
    uint64_t first, last;
    bool found;

    copy_lock(c);
    /* Where a run ends with the disk, within its last cluster, nothing begins any more. */
    found = run_find(c, DIV_ROUND_UP(*off, c->o.cluster_size), c->wanted.n, *bytes, &first, &last);
    copy_unlock(c);
    if (found) {
        *off = first * c->o.cluster_size;
        *bytes = clusters_bytes(c, first, last);
    }
    return found;
}

uint64_t block_copy_left(BlockCopy *c)
{
    uint64_t left;

    copy_lock(c);
    left = c->wanted.set * c->o.cluster_size + c->in_tasks;
    if (c->wanted.n && cluster_bits_get(&c->wanted, c->wanted.n - 1)) {
        left -= c->wanted.n * c->o.cluster_size - c->o.length;
    }
    copy_unlock(c);
    return left;
}

uint64_t block_copy_done(BlockCopy *c)
{
    uint64_t done;

    copy_lock(c);
    done = c->done;
    copy_unlock(c);
    return done;
}

/* Tasks. */

/* Under the lock: takes the next run of the range. False: nothing of it is wanted. */
static bool task_begin(BlockCopy *c, CopyTask *t, uint64_t off, uint64_t bytes)
{
    uint64_t first, last;

    if (!run_find(c, off / c->o.cluster_size,
                  MIN(DIV_ROUND_UP(off + bytes, c->o.cluster_size), c->wanted.n), BLOCK_COPY_CHUNK,
                  &first, &last)) {
        return false;
    }
    cluster_bits_put(&c->wanted, first, last, false);
    *t = (CopyTask){.next = c->tasks,
                    .off = first * c->o.cluster_size,
                    .bytes = clusters_bytes(c, first, last)};
    if (t->next) {
        t->next->prev = t;
    }
    c->tasks = t;
    c->in_tasks += t->bytes;
    return true;
}

static void task_end(BlockCopy *c, CopyTask *t, bool ok)
{
    copy_lock(c);
    *(t->prev ? &t->prev->next : &c->tasks) = t->next;
    if (t->next) {
        t->next->prev = t->prev;
    }
    c->in_tasks -= t->bytes;
    if (ok) {
        c->done += t->bytes;
    } else {
        cluster_bits_put(&c->wanted, t->off / c->o.cluster_size,
                         DIV_ROUND_UP(t->off + t->bytes, c->o.cluster_size), true);
    }
    wait_list_wake_locked(&c->tasks_done);
    copy_unlock(c);
}

/* Under the lock. Whole clusters: a task may have a cluster of which the range touches a part. */
static bool task_overlaps(const BlockCopy *c, uint64_t off, uint64_t bytes)
{
    uint64_t start = ROUND_DOWN(off, c->o.cluster_size);

    for (const CopyTask *t = c->tasks; t; t = t->next) {
        if (t->off < off + bytes && start < t->off + t->bytes) {
            return true;
        }
    }
    return false;
}

/* How much from 'off' on reads as zeroes, or has to be copied: in whole clusters. */
static bool coroutine_fn copy_is_zero(BlockCopy *c, uint64_t off, uint64_t *bytes)
{
    uint64_t n = *bytes;
    int ret = block_status_chain(*c->o.source, NULL, off, *bytes, &n, NULL, NULL, NULL);
    bool zero = ret >= 0 && ret & BLOCK_STATUS_ZERO;

    if (ret < 0) {
        return false; /* the read will tell */
    }
    if (n >= *bytes) {
        return zero;
    }
    n = ROUND_DOWN(n, c->o.cluster_size);
    if (!n) {
        *bytes = MIN(*bytes, c->o.cluster_size);
        return false;
    }
    *bytes = n;
    return zero;
}

/* Compressed clusters go only to where nothing is; an attempt that failed may have left some. */
static int coroutine_fn copy_write(BlockCopy *c, uint64_t off, const void *buf, uint64_t bytes)
{
    BlockNode *target = *c->o.target;

    for (uint64_t done = 0; c->compress && done < bytes;) {
        uint64_t n = bytes - done;
        int ret = block_status_here(target, off + done, n, &n, NULL, NULL);

        if (ret >= 0) {
            ret = ret & BLOCK_STATUS_ALLOCATED
                      ? block_pwrite(target, off + done, (const char *)buf + done, n, 0)
                      : block_pwrite_compressed(target, off + done, (const char *)buf + done, n);
        }
        if (ret < 0) {
            return ret;
        }
        done += n;
    }
    return c->compress ? 0 : block_pwrite(target, off, buf, bytes, 0);
}

typedef struct {
    BlockCopy *c;
    const CopyTask *t;
    uint64_t off;
    void *buf; /* as long as the task; NULL: it was not needed yet */
    bool *is_read;
} CopyPiece;

/* 'off': in the piece. */
static int coroutine_fn copy_by_hand(void *data, uint64_t off, uint64_t bytes)
{
    CopyPiece *p = data;
    int ret;

    p->buf = p->buf ? p->buf : block_buffer_new(*p->c->o.source, p->t->bytes);
    if (!p->buf) {
        return -ENOMEM;
    }
    ret = block_pread(*p->c->o.source, p->off + off, p->buf, bytes);
    if (ret < 0) {
        *p->is_read = true;
        return ret;
    }
    return copy_write(p->c, p->off + off, p->buf, bytes);
}

static int coroutine_fn copy_piece(CopyPiece *p, uint64_t bytes)
{
    BlockCopy *c = p->c;

    return c->compress
               ? copy_by_hand(p, 0, bytes)
               : block_offload_copy(&c->offload, &(BlockOffloadRange){.src = *c->o.source,
                                                                      .dst = *c->o.target,
                                                                      .src_off = p->off,
                                                                      .dst_off = p->off,
                                                                      .bytes = bytes,
                                                                      .by_hand = copy_by_hand,
                                                                      .data = p});
}

static int coroutine_fn copy_task(BlockCopy *c, const CopyTask *t, bool *is_read)
{
    CopyPiece p = {.c = c, .t = t, .is_read = is_read};
    int ret = 0;

    for (uint64_t done = 0, n; done < t->bytes && ret == 0; done += n) {
        n = t->bytes - done;
        p.off = t->off + done;
        ret = copy_is_zero(c, p.off, &n)
                  ? block_pwrite_zeroes(*c->o.target, p.off, n, BLOCK_REQ_MAY_UNMAP)
                  : copy_piece(&p, n);
    }
    free(p.buf);
    if (ret == 0 && c->o.target_shows_source) {
        block_node_bar(*c->o.target);
        block_node_unbar(*c->o.target);
    }
    return ret;
}

int coroutine_fn block_copy_clusters(BlockCopy *c, uint64_t off, uint64_t bytes, bool *is_read)
{
    bool unused;
    int ret = 0;

    is_read = is_read ? is_read : &unused;
    *is_read = false;
    copy_lock(c);
    while (ret == 0) {
        CopyTask t;

        if (task_begin(c, &t, off, bytes)) {
            copy_unlock(c);
            ret = copy_task(c, &t, is_read);
            task_end(c, &t, ret == 0);
            copy_lock(c);
        } else if (task_overlaps(c, off, bytes)) {
            wait_list_sleep_locked(&c->tasks_done); /* it may fail, and leave the cluster */
        } else {
            break;
        }
    }
    copy_unlock(c);
    return ret;
}

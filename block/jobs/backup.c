/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'drive-backup', 'blockdev-backup'. A copy-before-write filter above the disk keeps what the guest
 * is about to overwrite, and the job copies all the rest, by the same BlockCopy: each cluster is
 * copied once, by whoever comes first.
 */
#include "block/backup.h"
#include <errno.h>
#include <inttypes.h>
#include "../drivers/copy_before_write.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "jobs.h"

const char *const backup_sync_names[] = {"top", "full", "none", "incremental", "bitmap", NULL};
const char *const backup_bitmap_mode_names[] = {"on-success", "never", "always", NULL};

enum { RETRY_NS = 20 * NS_PER_MS };

typedef struct {
    Job job;
    BlockNode *source, *target, *filter; /* a reference to each */
    BlockCopy *copy;                     /* the filter's */
    BlockEdge *filter_edge;
    BackupSync sync;
    BlockDirtyBitmap *bitmap; /* busy, with a successor, until the end; or NULL */
    BackupBitmapMode bitmap_mode;
    BlockOnError on_source_error, on_target_error;
    unsigned max_workers, workers;
    uint64_t max_chunk, length;
    WaitList worker_ended;
    int error; /* of a worker, positive; the first */
    bool error_is_read, inserted;
} Backup;

typedef struct {
    Backup *b;
    uint64_t off, bytes;
} Worker;

static void backup_progress(Backup *b)
{
    uint64_t done = block_copy_done(b->copy);

    job_progress(&b->job, done, done + block_copy_left(b->copy));
}

/* Counts as a request in the filter, so that a drain of any node of the job waits for it. */
static void coroutine_fn worker_entry(void *data)
{
    Worker *w = data;
    Backup *b = w->b;
    bool is_read;
    int ret = block_copy_clusters(b->copy, w->off, w->bytes, &is_read);

    if (ret < 0 && !b->error) {
        b->error = -ret;
        b->error_is_read = is_read;
    }
    backup_progress(b);
    block_node_leave(b->filter);
    g_free(w);
    b->workers--;
    wait_list_wake_all(&b->worker_ended);
}

static void worker_start(Backup *b, uint64_t off, uint64_t bytes)
{
    Worker *w = g_new(Worker, 1);

    *w = (Worker){b, off, bytes};
    b->workers++;
    __atomic_add_fetch(&b->filter->in_flight, 1, __ATOMIC_SEQ_CST);
    coroutine_start(worker_entry, w);
}

/* False: the job ends here. */
static bool coroutine_fn backup_handle_error(Backup *b, int error, bool is_read)
{
    BlockErrorAction action =
        job_error(&b->job, is_read ? b->on_source_error : b->on_target_error, is_read, error);

    if (action == BLOCK_ERROR_ACTION_REPORT) {
        return false;
    }
    /* What failed is tried again, when the job goes on. */
    return action == BLOCK_ERROR_ACTION_STOP ? job_pause_point(&b->job)
                                             : job_sleep(&b->job, RETRY_NS);
}

/*
 * One step: a new worker, or a wait for one. *more: unset where all is copied. False: cancelled.
 */
static bool coroutine_fn backup_step(Backup *b, uint64_t *pos, bool *more)
{
    uint64_t bytes = b->max_chunk;

    if (b->workers >= b->max_workers) {
        wait_list_until(&b->worker_ended, b->workers < b->max_workers || b->error);
        return job_pause_point(&b->job);
    }
    if (block_copy_next(b->copy, pos, &bytes)) {
        worker_start(b, *pos, bytes);
        *pos += bytes;
        return job_throttle(&b->job, bytes);
    }
    if (*pos) {
        *pos = 0; /* a cluster may have come back */
        return true;
    }
    if (b->workers) {
        unsigned before = b->workers;

        wait_list_until(&b->worker_ended, b->workers < before);
    } else if (block_copy_left(b->copy)) {
        worker_start(b, 0, b->length); /* the guest's tasks are waited for */
    } else {
        *more = false;
    }
    return job_pause_point(&b->job);
}

static bool coroutine_fn backup_copy_all(Backup *b, GError **err)
{
    bool more = true, ok = true;
    uint64_t pos = 0;

    while (ok && more) {
        if (b->error) {
            int error;

            wait_list_until(&b->worker_ended, !b->workers);
            error = b->error;
            b->error = 0;
            ok = backup_handle_error(b, error, b->error_is_read);
            if (!ok) {
                job_fail(err, error);
            }
        } else {
            ok = backup_step(b, &pos, &more);
        }
    }
    wait_list_until(&b->worker_ended, !b->workers);
    return ok;
}

/* What lies in backing files is not wanted. */
static bool coroutine_fn backup_drop_backing(Backup *b, GError **err)
{
    BlockNode *image = block_node_image(b->source);

    for (uint64_t off = 0, n; off < b->length; off += n) {
        int ret = block_status_here(image, off, b->length - off, &n, NULL, NULL);

        if (ret < 0) {
            n = 0;
            if (!backup_handle_error(b, -ret, true)) {
                return job_fail(err, -ret);
            }
        } else if (!(ret & BLOCK_STATUS_ALLOCATED)) {
            cbw_forget(b->filter, off, n);
        }
        backup_progress(b);
        if (!job_throttle(&b->job, 0)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn backup_run(Job *job, GError **err)
{
    Backup *b = (Backup *)job;
    int ret;

    backup_progress(b);
    if (b->sync == BACKUP_SYNC_NONE) {
        while (job_sleep(job, -1)) {
            /* until it is cancelled; the filter does the work */
        }
        return false;
    }
    if (b->sync == BACKUP_SYNC_TOP && !backup_drop_backing(b, err)) {
        return false;
    }
    while (backup_copy_all(b, err)) {
        ret = block_flush(b->target);
        if (ret == 0) {
            return true;
        }
        if (!backup_handle_error(b, -ret, false)) {
            return job_fail(err, -ret);
        }
    }
    return false;
}

/* In a drained section. The bitmap becomes what its mode says. */
static void backup_end_bitmap(Backup *b, bool ok)
{
    uint64_t off = 0, bytes = UINT64_MAX;

    if (!b->bitmap) {
        return;
    }
    if ((ok || b->bitmap_mode == BACKUP_BITMAP_ALWAYS) && b->bitmap_mode != BACKUP_BITMAP_NEVER) {
        block_dirty_bitmap_abdicate(b->bitmap);
        for (; !ok && block_copy_next(b->copy, &off, &bytes); off += bytes, bytes = UINT64_MAX) {
            block_dirty_bitmap_set(b->bitmap, off, bytes);
        }
    } else {
        block_dirty_bitmap_reclaim(b->bitmap);
    }
    b->bitmap = NULL;
}

/* In a drained section, under the lock of changes. */
static void coroutine_fn backup_remove_filter(Backup *b)
{
    g_autoptr(GError) err = NULL;
    GPtrArray *barred;
    BlockChange *c;

    /* A filter that has no users asks for nothing. */
    job_remove_node(&b->job, g_steal_pointer(&b->filter_edge));
    barred = block_bar_parents(b->filter);
    c = block_change_new();
    block_change_replace(c, b->filter, b->source);
    if (!block_change_commit(c, &err)) {
        /* It has nothing to do any more, and passes all on. */
        cbw_forget(b->filter, 0, b->length);
        log_error("The filter of a backup of '%s' stays: %s", b->source->opts.node_name,
                  err->message);
    }
    block_unbar_parents(barred);
}

static void coroutine_fn backup_end(Backup *b, bool ok)
{
    BlockDrain *drain;

    if (!b->inserted) {
        return;
    }
    b->inserted = false;
    /* Jobs end before the lock is closed: it cannot fail. */
    if (!block_changes_lock(NULL)) {
        g_assert_not_reached();
    }
    drain = block_drain_begin(b->filter);
    backup_end_bitmap(b, ok);
    backup_remove_filter(b);
    block_drain_end(drain);
    block_changes_unlock();
}

static void coroutine_fn backup_commit(Job *job)
{
    backup_end((Backup *)job, true);
}

static void coroutine_fn backup_abort(Job *job)
{
    backup_end((Backup *)job, false);
}

static void coroutine_fn backup_let_go(Backup *b)
{
    job_thaw_chain(&b->job);
    job_remove_nodes(&b->job);
    block_node_unref(g_steal_pointer(&b->filter));
    block_node_unref(g_steal_pointer(&b->target));
    block_node_unref(g_steal_pointer(&b->source));
}

static void coroutine_fn backup_clean(Job *job)
{
    backup_let_go((Backup *)job);
}

static void backup_free(Job *job)
{
    wait_list_destroy(&((Backup *)job)->worker_ended);
}

static const JobClass backup_class = {
    .type = JOB_TYPE_BACKUP,
    .size = sizeof(Backup),
    .block_job = true,
    .run = backup_run,
    .commit = backup_commit,
    .abort = backup_abort,
    .clean = backup_clean,
    .free = backup_free,
};

static BlockNode *backup_open_filter(const BlockBackup *what, GError **err)
{
    const BlockNodeOptions *o = &what->source->opts;
    json_auto_t *config =
        json_pack("{s:s,s:s,s:b,s:{s:b,s:b},s:s}", "file", o->node_name, "target",
                  what->target->opts.node_name, "read-only", what->source->read_only, "cache",
                  "direct", o->cache.direct, "no-flush", o->cache.no_flush, "discard",
                  o->discard == BLOCK_DISCARD_UNMAP ? "unmap" : "ignore");
    BlockNode *filter;

    if (what->filter_name) {
        json_object_set_new(config, "node-name", json_string(what->filter_name));
    }
    filter = block_filter_open(&block_driver_copy_before_write, config, err);
    if (!filter) {
        g_prefix_error(err, "Could not create node: ");
    }
    return filter;
}

/* What is to be copied: all, or what is dirty. */
static void backup_choose(Backup *b)
{
    uint64_t off = 0, bytes;

    if (b->sync != BACKUP_SYNC_BITMAP) {
        return;
    }
    block_copy_unwant(b->copy, 0, b->length);
    while (block_dirty_bitmap_next_dirty(b->bitmap, &off, &bytes, UINT64_MAX, false)) {
        block_copy_want(b->copy, off, MIN(bytes, b->length - off));
        off += bytes;
    }
    cbw_show_wanted(b->filter);
}

/* Edges to nodes that the graph has already. The filter's comes when that is above the disk. */
static bool coroutine_fn backup_set_up(Backup *b, const BlockBackup *what, GError **err)
{
    const BlockPerms perms = {0, BLOCK_PERM_ALL};

    if (!job_add_node(&b->job, "source", b->source, perms, err) ||
        !job_add_node(&b->job, "target", b->target, perms, err) ||
        !job_freeze_chain(&b->job, b->filter, b->source, err)) {
        return false;
    }
    if (what->bitmap && !block_dirty_bitmap_successor_new(what->bitmap, err)) {
        return false;
    }
    b->bitmap = what->bitmap;
    backup_choose(b);
    return true;
}

static bool backup_check(const BlockBackup *what, GError **err)
{
    int64_t length = block_length(what->source), target_length = block_length(what->target);

    if (what->source == what->target) {
        return error_set(err, "Source and target cannot be the same");
    }
    for (unsigned i = 0; i < 2; i++) {
        BlockNode *n = i ? what->target : what->source;
        if (!block_node_has_medium(n)) {
            return error_set(err, "Device is not inserted: %s", n->opts.node_name);
        }
    }
    if (what->compress && !what->target->driver->pwrite_compressed) {
        return error_set(err, "Compression is not supported for this drive %s",
                         job_device_or_node(what->target));
    }
    if (!job_node_is_free(what->source, err) || !job_node_is_free(what->target, err)) {
        return false;
    }
    if (length < 0 || target_length < 0) {
        const BlockNode *n = length < 0 ? what->source : what->target;

        return error_set_errno(err, length < 0 ? -length : -target_length,
                               "Unable to get length for '%s'", n->opts.node_name);
    }
    return length == target_length ? true
                                   : error_set(err, "Source and target image have different sizes");
}

static bool backup_check_chunk(const BlockBackup *what, BlockCopy *copy, GError **err)
{
    uint64_t cluster = block_copy_cluster(copy);

    return !what->max_chunk || what->max_chunk >= cluster
               ? true
               : error_set(err,
                           "Required max-chunk (%" PRIi64
                           ") is less than backup cluster size (%" PRIi64 ")",
                           what->max_chunk, cluster);
}

/* 'filter' is open. */
static Backup *backup_new(const JobOptions *opts, const BlockBackup *what, BlockNode *filter,
                          GError **err)
{
    BlockCopy *copy = cbw_copy(filter);
    Backup *b =
        backup_check_chunk(what, copy, err) ? (Backup *)job_new(&backup_class, opts, err) : NULL;

    if (!b) {
        return NULL;
    }
    b->source = block_node_ref(what->source);
    b->target = block_node_ref(what->target);
    b->filter = block_node_ref(filter);
    b->copy = copy;
    b->length = block_length(what->source);
    b->sync = what->sync == BACKUP_SYNC_INCREMENTAL ? BACKUP_SYNC_BITMAP : what->sync;
    b->bitmap_mode = what->bitmap_mode;
    b->on_source_error = what->on_source_error;
    b->on_target_error = what->on_target_error;
    b->max_workers = what->max_workers;
    b->max_chunk = what->max_chunk ? MIN(what->max_chunk, BLOCK_COPY_CHUNK) : BLOCK_COPY_CHUNK;
    wait_list_init(&b->worker_ended);
    block_copy_set_compress(copy, what->compress);
    block_copy_set_offload(copy, what->offload);
    return b;
}

Job *coroutine_fn block_backup_new(const JobOptions *opts, const BlockBackup *what, GError **err)
{
    BlockNode *filter = backup_check(what, err) ? backup_open_filter(what, err) : NULL;
    Backup *b = filter ? backup_new(opts, what, filter, err) : NULL;

    block_node_unref(filter);
    if (b && !backup_set_up(b, what, err)) {
        block_backup_discard(&b->job);
        return NULL;
    }
    return b ? &b->job : NULL;
}

void block_backup_change(Job *job, BlockChange *c)
{
    Backup *b = (Backup *)job;

    block_change_replace(c, b->source, b->filter);
    b->inserted = true;
}

void coroutine_fn block_backup_start(Job *job)
{
    Backup *b = (Backup *)job;
    const BlockPerms perms = {0, BLOCK_PERM_ALL};

    b->filter_edge = job_add_node(job, "main node", b->filter, perms, NULL);
    g_assert(b->filter_edge); /* it asks for nothing */
    job_start(job);
}

void coroutine_fn block_backup_discard(Job *job)
{
    Backup *b = (Backup *)job;

    if (b->bitmap) {
        block_dirty_bitmap_reclaim(b->bitmap); /* nothing was written meanwhile */
        b->bitmap = NULL;
    }
    backup_let_go(b);
    job_discard(job);
}

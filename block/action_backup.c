/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Actions that start backup jobs. The words of errors are QEMU's. */
#include <limits.h>
#include <unistd.h>
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/backup.h"
#include "action.h"
#include "core.h"

enum { WORKERS_DEFAULT = 16 };

typedef struct {
    BlockAction base;
    Job *job;
    BlockNode *opened; /* drive-backup's target, with a reference */
    char *made;        /* the path of an image file that was not there before */
} BackupAction;

static const char *const on_error_names[] = {"report", "ignore", "stop", "enospc", "auto", NULL};

static const Property perf_members[] = {
    MAYBE("use-copy-range", PROP_BOOL,
          .help = "the kernel copies: on; off; none given: where the file system shares blocks"),
    MAYBE("max-workers", PROP_INT64), MAYBE("max-chunk", PROP_INT64), PROP_END};
static const PropertyShape perf_shape = {.name = "BackupPerf", .members = perf_members};

#define BACKUP_COMMON                                                                              \
    MAYBE("job-id", PROP_STRING, .help = "the job's name"),                                        \
        MEMBER("device", PROP_STRING, .help = "a drive, or a node"),                               \
        MEMBER("sync", PROP_ENUM, .names = backup_sync_names, .help = "what is copied"),           \
        MAYBE("speed", PROP_INT64, .help = "bytes a second"),                                      \
        MAYBE("bitmap", PROP_STRING, .help = "what is dirty, or will be"),                         \
        MAYBE("bitmap-mode", PROP_ENUM, .names = backup_bitmap_mode_names,                         \
              .help = "when the bitmap begins anew"),                                              \
        MAYBE("compress", PROP_BOOL, .help = "the target's clusters are compressed"),              \
        MAYBE("on-source-error", PROP_ENUM, .names = on_error_names),                              \
        MAYBE("on-target-error", PROP_ENUM, .names = on_error_names),                              \
        MAYBE("auto-finalize", PROP_BOOL), MAYBE("auto-dismiss", PROP_BOOL),                       \
        MAYBE("filter-node-name", PROP_STRING, .help = "of the filter above the disk"),            \
        MAYBE("x-perf", PROP_TREE, .shape = &perf_shape)

const Property block_drive_backup_args[] = {
    BACKUP_COMMON, MEMBER("target", PROP_STRING, .help = "the image"),
    MAYBE("format", PROP_STRING, .help = "of the image"),
    MAYBE("mode", PROP_ENUM, .names = block_image_mode_names,
          .help = "whether the image is there already"),
    PROP_END};
const Property block_blockdev_backup_args[] = {
    BACKUP_COMMON, MEMBER("target", PROP_STRING, .help = "a node"), PROP_END};
static const PropertyShape drive_shape = {.name = "DriveBackup",
                                          .members = block_drive_backup_args};
static const PropertyShape blockdev_shape = {.name = "BlockdevBackup",
                                             .members = block_blockdev_backup_args};

/* The index of an argument's value; 'unset' where it is not given. */
static int arg_enum(json_t *args, const char *key, const char *const *names, int unset)
{
    const char *value = json_str(args, key);
    int i = 0;

    while (value && !g_str_equal(names[i], value)) {
        i++;
    }
    return value ? i : unset;
}

static bool arg_bool(json_t *args, const char *key, bool unset)
{
    json_t *value = json_object_get(args, key);

    return value ? json_is_true(value) : unset;
}

static BlockOnError arg_on_error(json_t *args, const char *key)
{
    static const BlockOnError actions[] = {BLOCK_ON_ERROR_REPORT, BLOCK_ON_ERROR_IGNORE,
                                           BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_ENOSPC,
                                           BLOCK_ON_ERROR_AUTO};

    return actions[arg_enum(args, key, on_error_names, 0)];
}

static bool backup_perf(BlockBackup *what, json_t *perf, GError **err)
{
    json_t *workers = json_object_get(perf, "max-workers"),
           *chunk = json_object_get(perf, "max-chunk");
    json_int_t n = workers ? json_integer_value(workers) : WORKERS_DEFAULT;

    if (n < 1 || n > INT_MAX) {
        return error_set(err, "max-workers must be between 1 and %d", INT_MAX);
    }
    if (json_integer_value(chunk) < 0) {
        return error_set(err, "max-chunk must be zero (which means no limit) or positive");
    }
    what->offload = arg_bool(perf, "use-copy-range", false)   ? BLOCK_OFFLOAD_COPY
                    : json_object_get(perf, "use-copy-range") ? BLOCK_OFFLOAD_OFF
                                                              : BLOCK_OFFLOAD_TRY;
    what->max_workers = n;
    what->max_chunk = json_integer_value(chunk);
    return true;
}

static bool backup_bitmap(BlockBackup *what, json_t *args, GError **err)
{
    const char *name = json_str(args, "bitmap"), *mode = json_str(args, "bitmap-mode");
    const char *sync = json_str(args, "sync");
    bool by_bitmap = what->sync == BACKUP_SYNC_BITMAP || what->sync == BACKUP_SYNC_INCREMENTAL;

    if (by_bitmap && !name) {
        return error_set(err, "must provide a valid bitmap name for '%s' sync mode", sync);
    }
    if (what->sync == BACKUP_SYNC_INCREMENTAL) {
        if (mode && what->bitmap_mode != BACKUP_BITMAP_ON_SUCCESS) {
            return error_set(err, "Bitmap sync mode must be '%s' when using sync mode '%s'",
                             backup_bitmap_mode_names[BACKUP_BITMAP_ON_SUCCESS], sync);
        }
        mode = backup_bitmap_mode_names[BACKUP_BITMAP_ON_SUCCESS];
    }
    if (!name) {
        return mode ? error_set(err, "Cannot specify bitmap sync mode without a bitmap") : true;
    }
    what->bitmap = block_dirty_bitmap_find(what->source, name);
    if (!what->bitmap) {
        return error_set(err, "Bitmap '%s' could not be found", name);
    }
    if (!mode) {
        return error_set(err, "Bitmap sync mode must be given when providing a bitmap");
    }
    if (!block_dirty_bitmap_check(what->bitmap, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT,
                                  err)) {
        return false;
    }
    if (what->sync == BACKUP_SYNC_NONE) {
        return error_set(err, "sync mode '%s' does not produce meaningful bitmap outputs", sync);
    }
    if (what->bitmap_mode == BACKUP_BITMAP_NEVER && !by_bitmap) {
        return error_set(
            err, "Bitmap sync mode '%s' has no meaningful effect when combined with sync mode '%s'",
            mode, sync);
    }
    return true;
}

/* The drive whose disk the node is gives the job its name. */
static BlockBackend *backup_drive(BlockNode *n)
{
    g_autoptr(GPtrArray) list = block_backend_list(n);

    return list->len ? list->pdata[0] : NULL;
}

/* 'what' has source and target. */
static bool coroutine_fn backup_new(BackupAction *s, BlockBackup *what, GError **err)
{
    json_t *args = s->base.args;
    json_int_t speed = json_integer_value(json_object_get(args, "speed"));
    JobOptions opts = {
        .id = json_str(args, "job-id"),
        .device = backup_drive(what->source),
        .speed = speed,
        .auto_finalize = arg_bool(args, "auto-finalize", true),
        .auto_dismiss = arg_bool(args, "auto-dismiss", true),
        .txn = block_action_jobs(&s->base),
    };

    what->bitmap_mode = arg_enum(args, "bitmap-mode", backup_bitmap_mode_names, 0);
    what->compress = arg_bool(args, "compress", false);
    what->filter_name = json_str(args, "filter-node-name");
    what->on_source_error = arg_on_error(args, "on-source-error");
    what->on_target_error = arg_on_error(args, "on-target-error");
    if (!backup_bitmap(what, args, err) ||
        !backup_perf(what, json_object_get(args, "x-perf"), err)) {
        return false;
    }
    if (speed < 0) {
        return error_set(err, "Parameter 'speed' expects a non-negative value");
    }
    block_action_moves_parents(&s->base, what->source);
    s->job = block_backup_new(&opts, what, err);
    return s->job;
}

static BackupSync backup_sync(BlockAction *a)
{
    return arg_enum(a->args, "sync", backup_sync_names, 0);
}

static bool coroutine_fn blockdev_prepare(BlockAction *a, GError **err)
{
    BackupAction *s = (BackupAction *)a;
    const char *device = json_str(a->args, "device"), *target = json_str(a->args, "target");
    BlockBackup what = {.sync = backup_sync(a)};

    what.source = block_action_node(a, device, device, err);
    if (!what.source) {
        return false;
    }
    what.target = block_action_node(a, target, target, err);
    return what.target && backup_new(s, &what, err);
}

/* The image below the disk's own; NULL: none. */
static BlockNode *backing_of(BlockNode *n)
{
    n = block_node_image(n);
    return n ? n->backing : NULL;
}

/* Makes the target image where that is asked for, and opens it. */
static bool coroutine_fn drive_open_target(BackupAction *s, BlockBackup *what, GError **err)
{
    json_t *args = s->base.args;
    const char *file = json_str(args, "target"), *format = json_str(args, "format");
    bool existing = g_strcmp0(json_str(args, "mode"), "existing") == 0;
    json_auto_t *extra =
        json_pack("{s:s,s:s,s:b}", "discard", "unmap", "detect-zeroes", "unmap", "read-only", 0);
    BlockNode *backing = NULL;

    if (!format && !existing) {
        format = block_node_image(what->source)->driver->name;
    }
    if (what->sync == BACKUP_SYNC_TOP) {
        backing = backing_of(what->source);
        what->sync = backing ? BACKUP_SYNC_TOP : BACKUP_SYNC_FULL;
    } else if (what->sync == BACKUP_SYNC_NONE) {
        backing = what->source;
    }
    if (!existing &&
        !block_action_create_image(file, format, what->source, backing, &s->made, err)) {
        return false;
    }
    if (what->sync == BACKUP_SYNC_NONE) {
        /* It shows what the guest does not overwrite. */
        json_object_set_new(extra, "backing", json_string(what->source->opts.node_name));
    }
    s->opened = what->target = block_action_open_image(file, format, what->source, extra, err);
    return s->opened;
}

static bool coroutine_fn drive_prepare(BlockAction *a, GError **err)
{
    BackupAction *s = (BackupAction *)a;
    const char *device = json_str(a->args, "device");
    BlockBackup what = {.sync = backup_sync(a),
                        .source = block_action_node(a, device, device, err)};

    if (!what.source || !block_lookup_root(device, err)) {
        return false;
    }
    return job_node_is_free(what.source, err) && drive_open_target(s, &what, err) &&
           backup_new(s, &what, err);
}

static bool backup_change(BlockAction *a, BlockChange *c, GError **err)
{
    block_backup_change(((BackupAction *)a)->job, c);
    return true;
}

static void coroutine_fn backup_commit(BlockAction *a)
{
    block_backup_start(((BackupAction *)a)->job);
}

static void coroutine_fn backup_abort(BlockAction *a)
{
    BackupAction *s = (BackupAction *)a;

    if (s->job) {
        block_backup_discard(s->job);
    }
    if (s->made) {
        unlink(s->made);
    }
}

static void coroutine_fn backup_clean(BlockAction *a)
{
    BackupAction *s = (BackupAction *)a;

    g_free(s->made);
    block_node_unref(s->opened);
}

const BlockActionClass block_action_drive_backup = {
    .name = "drive-backup",
    .args = &drive_shape,
    .size = sizeof(BackupAction),
    .is_job = true,
    .prepare = drive_prepare,
    .change = backup_change,
    .commit = backup_commit,
    .abort = backup_abort,
    .clean = backup_clean,
};

const BlockActionClass block_action_blockdev_backup = {
    .name = "blockdev-backup",
    .args = &blockdev_shape,
    .size = sizeof(BackupAction),
    .is_job = true,
    .prepare = blockdev_prepare,
    .change = backup_change,
    .commit = backup_commit,
    .abort = backup_abort,
    .clean = backup_clean,
};

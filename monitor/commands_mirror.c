/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mirrors: copies of live disks, to which they may move. */
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/mirror_job.h"
#include "commands.h"
#include "devices/disk.h"

/* As BlockMirrorSync; the last two are refused. */
static const char *const sync_names[] = {"top", "full", "none", "incremental", "bitmap", NULL};
static const char *const copy_mode_names[] = {"background", "write-blocking", NULL};
static const char *const new_image_names[] = {"existing", "absolute-paths", NULL};

#define MIRROR_ARGS                                                                                \
    MAYBE("job-id", PROP_STRING, .help = "of the new job"),                                        \
        MEMBER("device", PROP_STRING, .help = "a drive, or a node"),                               \
        MEMBER("target", PROP_STRING, .help = "the copy"),                                         \
        MAYBE("replaces", PROP_STRING, .help = "the node that gives way in the end"),              \
        MEMBER("sync", PROP_ENUM, .names = sync_names, .help = "what is copied"),                  \
        MAYBE("speed", PROP_INT64, .help = "bytes a second; 0: no limit"),                         \
        MAYBE("granularity", PROP_UINT32, .help = "bytes that are copied as one"),                 \
        MAYBE("buf-size", PROP_INT64, .help = "most bytes in flight"),                             \
        MAYBE("on-source-error", PROP_ENUM, .names = disk_on_error_names,                          \
              .help = "when reading fails"),                                                       \
        MAYBE("on-target-error", PROP_ENUM, .names = disk_on_error_names,                          \
              .help = "when writing fails"),                                                       \
        MAYBE("copy-mode", PROP_ENUM, .names = copy_mode_names,                                    \
              .help = "whether the guest's writes wait for the copy"),                             \
        MAYBE("auto-finalize", PROP_BOOL, .help = "off: waits for job-finalize"),                  \
        MAYBE("auto-dismiss", PROP_BOOL, .help = "off: stays listed until job-dismiss")

const Property blockdev_mirror_args[] = {
    MIRROR_ARGS, MAYBE("filter-node-name", PROP_STRING, .help = "of the job's filter"), PROP_END};
const Property drive_mirror_args[] = {
    MIRROR_ARGS,
    MAYBE("format", PROP_STRING, .help = "of the copy's image"),
    MAYBE("node-name", PROP_STRING, .help = "of the copy"),
    MAYBE("mode", PROP_ENUM, .names = new_image_names, .help = "whether the image is made"),
    MAYBE("unmap", PROP_BOOL, .help = "zeroes may deallocate in the copy"),
    PROP_END};
const Property drive_mirror_hmp_args[] = {
    MAYBE("n", PROP_BOOL, .help = "the image is there already"),
    MAYBE("f", PROP_BOOL, .help = "all of the disk is copied"),
    MONITOR_DRIVE("device", "a drive"),
    MEMBER("target", PROP_STRING, .help = "the copy's image"),
    MAYBE("format", PROP_STRING, .help = "of the image"),
    PROP_END};

/* The place of an enumeration's word; 'def' where there is none. */
static unsigned choice(json_t *args, const char *key, const char *const *names, unsigned def)
{
    const char *word = json_str(args, key);

    for (unsigned i = 0; word && names[i]; i++) {
        if (g_str_equal(word, names[i])) {
            return i;
        }
    }
    return def;
}

static bool flag(json_t *args, const char *key, bool def)
{
    json_t *value = json_object_get(args, key);

    return value ? json_is_true(value) : def;
}

/* Whether no other node lies above, but a filter of which the user does not know. */
static BlockNode *find_source(const char *name, BlockBackend **blk, GError **err)
{
    BlockNode *n;

    *blk = block_backend_find(name);
    n = *blk ? block_backend_node(*blk) : block_node_find(name);
    if (*blk && !n) {
        error_set(err, "Device '%s' has no medium", name);
    } else if (!n) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", name, name);
    } else if (block_node_has_node_above(n)) {
        error_set(err, "Need a root block node");
        return NULL;
    }
    return n;
}

static BlockNode *find_target(const char *name, GError **err)
{
    BlockBackend *blk = block_backend_find(name);
    BlockNode *n = blk ? block_backend_node(blk) : block_node_find(name);

    if (blk && !n) {
        error_set(err, "Device '%s' has no medium", name);
    } else if (!n) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", name, name);
    }
    return n;
}

static bool parse_sizes(json_t *args, BlockMirror *m, JobOptions *o, GError **err)
{
    json_int_t granularity = json_integer_value(json_object_get(args, "granularity"));
    json_int_t buffer = json_integer_value(json_object_get(args, "buf-size"));
    json_int_t speed = json_integer_value(json_object_get(args, "speed"));

    if (granularity && (granularity < 512 || granularity > 64 << 20)) {
        return error_set(err, "Parameter 'granularity' expects a value in range [512B, 64MB]");
    }
    if (granularity & (granularity - 1)) {
        return error_set(err, "Parameter 'granularity' expects a power of 2");
    }
    if (m->sync > BLOCK_MIRROR_NONE) {
        return error_set(err, "Sync mode '%s' not supported", sync_names[m->sync]);
    }
    if (buffer < 0) {
        return error_set(err, "Invalid parameter 'buf-size'");
    }
    if (speed < 0) {
        return error_set(err, "Parameter 'speed' expects a non-negative value");
    }
    m->granularity = granularity;
    m->buf_size = buffer;
    o->speed = speed;
    return true;
}

static bool parse_mirror(json_t *args, BlockMirror *m, JobOptions *o, GError **err)
{
    m->source = find_source(json_str(args, "device"), &o->device, err);
    if (!m->source) {
        return false;
    }
    m->replaces = json_str(args, "replaces");
    m->filter_name = json_str(args, "filter-node-name");
    m->sync = choice(args, "sync", sync_names, BLOCK_MIRROR_FULL);
    m->active = choice(args, "copy-mode", copy_mode_names, 0);
    m->unmap = flag(args, "unmap", true);
    m->on_source_error =
        choice(args, "on-source-error", disk_on_error_names, BLOCK_ON_ERROR_REPORT);
    m->on_target_error =
        choice(args, "on-target-error", disk_on_error_names, BLOCK_ON_ERROR_REPORT);
    o->id = json_str(args, "job-id");
    o->auto_finalize = flag(args, "auto-finalize", true);
    o->auto_dismiss = flag(args, "auto-dismiss", true);
    return true;
}

MONITOR_HANDLER(cmd_blockdev_mirror)
{
    BlockMirror m = {0};
    JobOptions o = {0};

    if (!parse_mirror(args, &m, &o, err)) {
        return NULL;
    }
    m.target = find_target(json_str(args, "target"), err);
    if (!m.target || !parse_sizes(args, &m, &o, err)) {
        return NULL;
    }
    return block_mirror_start(&o, &m, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_drive_mirror)
{
    BlockMirrorTarget t = {.filename = json_str(args, "target"),
                           .format = json_str(args, "format"),
                           .node_name = json_str(args, "node-name"),
                           .existing = !g_strcmp0(json_str(args, "mode"), "existing")};
    BlockMirror m = {0};
    JobOptions o = {0};

    if (!parse_mirror(args, &m, &o, err) || !parse_sizes(args, &m, &o, err)) {
        return NULL;
    }
    return block_drive_mirror_start(&o, &m, &t, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_drive_mirror_hmp)
{
    json_auto_t *all = json_deep_copy(args);

    json_object_del(all, "n");
    json_object_del(all, "f");
    json_object_set_new(all, "mode",
                        json_string(flag(args, "n", false) ? "existing" : "absolute-paths"));
    json_object_set_new(all, "sync", json_string(flag(args, "f", false) ? "full" : "top"));
    return cmd_drive_mirror(mon, vm, all, err);
}

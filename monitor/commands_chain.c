/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs that shorten a disk's backing chain: block-stream, block-commit. In QEMU's words. */
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/chain_jobs.h"
#include "block/mirror_job.h"
#include "block/transaction.h"
#include "commands.h"

const char *const job_on_error_names[] = {"report", "ignore", "enospc", "stop", "auto", NULL};

/* Options that all jobs of a disk have. The strings are borrowed of 'args'. */
bool monitor_job_options(json_t *args, BlockBackend *device, JobOptions *o, GError **err)
{
    json_int_t speed = json_integer_value(json_object_get(args, "speed"));

    if (speed < 0) {
        return error_set(err, "Parameter 'speed' expects a non-negative value");
    }
    *o = (JobOptions){
        .id = (char *)json_str(args, "job-id"),
        .device = device,
        .speed = speed,
        .auto_finalize = !json_is_false(json_object_get(args, "auto-finalize")),
        .auto_dismiss = !json_is_false(json_object_get(args, "auto-dismiss")),
    };
    return true;
}

BlockOnError monitor_on_error(json_t *args, const char *key)
{
    const char *name = json_str(args, key);
    unsigned i = 0;

    while (name && job_on_error_names[i] && !g_str_equal(name, job_on_error_names[i])) {
        i++;
    }
    return i; /* BlockOnError is in the order of the names */
}

static bool not_both(json_t *args, const char *a, const char *b, GError **err)
{
    return !json_object_get(args, a) || !json_object_get(args, b) ||
           error_set(err, "'%s' and '%s' cannot be specified at the same time", a, b);
}

/* A node by its name alone. */
static BlockNode *node_by_name(const char *name, GError **err)
{
    BlockNode *n = block_node_find(name);

    if (!n) {
        error_set(err, "Cannot find device='' nor node-name='%s'", name);
    }
    return n;
}

static bool stream_base(json_t *args, const char *device, BlockStream *s, GError **err)
{
    const char *base = json_str(args, "base"), *node = json_str(args, "base-node");
    const char *bottom = json_str(args, "bottom");

    if (base) {
        s->base = block_chain_find_file(s->top, base);
        return s->base || error_set(err, "Can't find '%s' in the backing chain", base);
    }
    if (node) {
        s->base = node_by_name(node, err);
        return s->base &&
               ((s->base != s->top && block_chain_contains(s->top, s->base)) ||
                error_set(err, "Node '%s' is not a backing image of '%s'", node, device));
    }
    if (!bottom) {
        return true;
    }
    s->bottom = node_by_name(bottom, err);
    if (!s->bottom) {
        return false;
    }
    if (s->bottom->driver->is_filter) {
        return error_set(err, "Node '%s' is a filter, use a non-filter node as 'bottom'", bottom);
    }
    return block_chain_contains(s->top, s->bottom) ||
           error_set(err, "Node '%s' is not in a chain starting from '%s'", bottom, device);
}

/* Whether no other job has a node of the chain from 'top' to above 'end'. */
static bool chain_is_free(BlockNode *top, BlockNode *end, GError **err)
{
    for (BlockNode *n = top; n && n != end; n = block_node_below(n)) {
        if (!job_node_is_free(n, err)) {
            return false;
        }
    }
    return true;
}

MONITOR_HANDLER(cmd_block_stream)
{
    const char *device = json_str(args, "device");
    BlockStream s = {.backing_name = json_str(args, "backing-file"),
                     .filter_name = json_str(args, "filter-node-name"),
                     .on_error = monitor_on_error(args, "on-error")};
    JobOptions o;

    if (!not_both(args, "base", "base-node", err) || !not_both(args, "base", "bottom", err) ||
        !not_both(args, "bottom", "base-node", err)) {
        return NULL;
    }
    s.top = block_lookup_node(device, device, err);
    if (!s.top || !stream_base(args, device, &s, err) ||
        !chain_is_free(s.top, s.bottom ? block_node_below(s.bottom) : s.base, err)) {
        return NULL;
    }
    if (s.backing_name && !(s.bottom ? block_node_below(s.bottom) : s.base)) {
        error_set(err, "backing file specified, but streaming the entire chain");
        return NULL;
    }
    if (!monitor_job_options(args, block_backend_find(device), &o, err)) {
        return NULL;
    }
    return block_stream_start(&o, &s, err) ? json_object() : NULL;
}

/* The job is called as its disk is, be that a drive or a node. */
MONITOR_HANDLER(cmd_block_stream_hmp)
{
    json_auto_t *named = json_copy(args);

    json_object_set(named, "job-id", json_object_get(args, "device"));
    return cmd_block_stream(mon, vm, named, err);
}

/* The drive's root, or a node that is nobody's child. */
static BlockNode *commit_disk(const char *device, GError **err)
{
    BlockNode *n = block_lookup_node(device, device, NULL);

    if (!n) {
        BlockBackend *blk = block_backend_find(device);

        if (blk) {
            error_set(err, "Device '%s' has no medium", device);
        } else {
            error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
        }
        return NULL;
    }
    if (!block_node_is_root(n)) {
        error_set(err, "Need a root block node");
        return NULL;
    }
    return n;
}

static bool commit_top(json_t *args, BlockCommitJob *c, GError **err)
{
    const char *top = json_str(args, "top"), *node = json_str(args, "top-node");

    c->top = c->disk;
    if (top && node) {
        return error_set(err, "'top-node' and 'top' are mutually exclusive");
    }
    if (node) {
        c->top = node_by_name(node, err);
        return c->top && (block_chain_contains(c->disk, c->top) ||
                          error_set(err, "'%s' is not in this backing file chain", node));
    }
    if (top && g_strcmp0(c->disk->filename, top)) {
        c->top = block_chain_find_file(c->disk, top);
    }
    return c->top || error_set(err, "Top image file %s not found", top);
}

static bool commit_base(json_t *args, BlockCommitJob *c, GError **err)
{
    const char *base = json_str(args, "base"), *node = json_str(args, "base-node");

    if (base && node) {
        return error_set(err, "'base-node' and 'base' are mutually exclusive");
    }
    if (node) {
        c->base = node_by_name(node, err);
        return c->base && (block_chain_contains(c->top, c->base) ||
                           error_set(err, "'%s' is not in this backing file chain", node));
    }
    if (base) {
        c->base = block_chain_find_file(c->top, base);
        return c->base || error_set(err, "Can't find '%s' in the backing chain", base);
    }
    for (BlockNode *n = c->top; n; n = block_node_next_image(n)) {
        c->base = block_node_image(n);
    }
    return true;
}

MONITOR_HANDLER(cmd_block_commit)
{
    const char *device = json_str(args, "device");
    BlockCommitJob c = {.backing_name = json_str(args, "backing-file"),
                        .filter_name = json_str(args, "filter-node-name"),
                        .on_error = monitor_on_error(args, "on-error")};
    BlockCommitActive active = {.filter_name = c.filter_name, .on_error = c.on_error};
    JobOptions o;

    c.disk = commit_disk(device, err);
    if (!c.disk || !job_node_is_free(c.disk, err) || !commit_top(args, &c, err) ||
        !commit_base(args, &c, err) || !chain_is_free(c.top, block_node_below(c.base), err)) {
        return NULL;
    }
    if (c.top == c.base) {
        error_set(err, "cannot commit an image into itself");
        return NULL;
    }
    if (!monitor_job_options(args, block_backend_find(device), &o, err)) {
        return NULL;
    }
    if (block_node_image(c.top) == block_node_image(c.disk)) {
        if (c.backing_name) {
            error_set(err, "'backing-file' specified, but 'top' is the active layer");
            return NULL;
        }
        active.top = c.top;
        active.base = c.base;
        return block_commit_active_start(&o, &active, err) ? json_object() : NULL;
    }
    return block_commit_job_start(&o, &c, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_commit_hmp)
{
    return block_commit_drive(json_str(args, "device"), err) ? json_object() : NULL;
}

#define JOB_FLAGS                                                                                  \
    MAYBE("auto-finalize", PROP_BOOL, .help = "the job's result is made final at once"),           \
        MAYBE("auto-dismiss", PROP_BOOL, .help = "the job is forgotten at its end")
const Property block_stream_args[] = {
    MAYBE("job-id", PROP_STRING, .help = "the job's name; none: the drive's"),
    MEMBER("device", PROP_STRING, .help = "a drive, or a node"),
    MAYBE("base", PROP_STRING, .help = "the file of the image that stays below"),
    MAYBE("base-node", PROP_STRING, .help = "or that image's node"),
    MAYBE("backing-file", PROP_STRING, .help = "what the image calls the one that stays"),
    MAYBE("bottom", PROP_STRING, .help = "or the last node that is copied from"),
    MAYBE("speed", PROP_INT64, .help = "bytes a second; 0: no limit"),
    MAYBE("on-error", PROP_ENUM, .names = job_on_error_names),
    MAYBE("filter-node-name", PROP_STRING, .help = "of the filter above the disk"),
    JOB_FLAGS,
    PROP_END};
const Property block_stream_hmp_args[] = {
    MONITOR_DRIVE("device", "a drive, or a node"),
    MAYBE("speed", PROP_SIZE_MIB, .help = "a second; 0: no limit"),
    MAYBE("base", PROP_STRING, .help = "the file of the image that stays below"), PROP_END};
const Property block_commit_args[] = {
    MAYBE("job-id", PROP_STRING, .help = "the job's name; none: the drive's"),
    MEMBER("device", PROP_STRING, .help = "a drive, or the first node of a chain"),
    MAYBE("base-node", PROP_STRING, .help = "the node that is written to; none: the last image"),
    MAYBE("base", PROP_STRING, .help = "or its file"),
    MAYBE("top-node", PROP_STRING, .help = "the first node that is committed; none: the disk's"),
    MAYBE("top", PROP_STRING, .help = "or its file"),
    MAYBE("backing-file", PROP_STRING, .help = "what the image above calls the base"),
    MAYBE("speed", PROP_INT64, .help = "bytes a second; 0: no limit"),
    MAYBE("on-error", PROP_ENUM, .names = job_on_error_names),
    MAYBE("filter-node-name", PROP_STRING, .help = "of the filter above the top"),
    JOB_FLAGS,
    PROP_END};
const Property commit_hmp_args[] = {MONITOR_DRIVE("device", "a drive, or 'all'"), PROP_END};

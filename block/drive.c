/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -drive: one flat list of options for the device (interface, bus, serial), for the backend (error
 * policy, cache mode) and for the nodes (all others). This file takes the list apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "block/throttle.h"
#include "core.h"
#include "timed_stats.h"

const char *const block_if_names[] = {"none", "ide", "scsi",   "floppy", "pflash",
                                      "mtd",  "sd",  "virtio", "xen",    NULL};
G_STATIC_ASSERT(ARRAY_SIZE(block_if_names) == BLOCK_IF_COUNT + 1);

typedef struct {
    char *id, *file, *format, *cache, *aio, *serial, *addr, *werror, *rerror, *discard, *driver;
    char *detect_zeroes, *node_name;
    int if_type, media;
    bool read_only, auto_read_only, snapshot, copy_on_read, force_share;
    bool has_bus, has_unit, has_index, has_read_only, has_direct, has_no_flush, has_writeback;
    int32_t bus, unit, index;
    bool direct, no_flush, writeback;
    bool account_invalid, account_failed;
    json_t *intervals;
    uint64_t limits[3 * THROTTLE_KINDS + 1]; /* in the order of throttle_names */
    char *group;
} Drive;

static const char *const media_names[] = {"disk", "cdrom", NULL};

#define HAS(n, t, f, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(Drive, f), .flags = PROP_FLAG_HAS,            \
        .set_offset = offsetof(Drive, has_##f), .help = (h)                                        \
    }

#define LIMIT(n, i, d, h) PROP("throttling." n, PROP_UINT64, Drive, limits[i], d, "limit of " h)
#define LIMITS(n, i, h)                                                                            \
    LIMIT(n, i, "0", h " a second"), LIMIT(n "-max", (i) + 1, "0", h " a second, in bursts"),      \
        LIMIT(n "-max-length", (i) + 2, "1", h ": seconds that a burst lasts")

const Property block_drive_props[] = {
    PROP("id", PROP_STRING, Drive, id, NULL, "name of the drive"),
    PROP("file", PROP_STRING, Drive, file, NULL, "image file"),
    PROP("format", PROP_STRING, Drive, format, NULL, "image format"),
    PROP("driver", PROP_STRING, Drive, driver, NULL, "block driver"),
    PROP("node-name", PROP_STRING, Drive, node_name, NULL, "name of the node"),
    PROP_E("if", Drive, if_type, "ide", block_if_names, "interface (ide, virtio, none, ...)"),
    PROP_E("media", Drive, media, "disk", media_names, "disk or cdrom"),
    HAS("bus", PROP_INT32, bus, "bus number"),
    HAS("unit", PROP_INT32, unit, "unit on the bus"),
    HAS("index", PROP_INT32, index, "index of the drive on its interface"),
    PROP("addr", PROP_STRING, Drive, addr, NULL, "PCI address (virtio)"),
    PROP("serial", PROP_STRING, Drive, serial, NULL, "serial number"),
    HAS("read-only", PROP_BOOL, read_only, "open read-only"),
    PROP("auto-read-only", PROP_BOOL, Drive, auto_read_only, "off",
         "read-only where writing is not permitted"),
    PROP("snapshot", PROP_BOOL, Drive, snapshot, "off", "write to a temporary file"),
    PROP("force-share", PROP_BOOL, Drive, force_share, "off", "share with writing processes"),
    PROP("cache", PROP_STRING, Drive, cache, NULL,
         "none, writeback, writethrough, directsync or unsafe"),
    HAS("cache.direct", PROP_BOOL, direct, "O_DIRECT"),
    HAS("cache.no-flush", PROP_BOOL, no_flush, "ignore flushes"),
    HAS("cache.writeback", PROP_BOOL, writeback, "writes complete before they are stable"),
    PROP("aio", PROP_STRING, Drive, aio, NULL, "threads, native or io_uring"),
    PROP("werror", PROP_STRING, Drive, werror, NULL, "report, ignore, stop or enospc"),
    PROP("rerror", PROP_STRING, Drive, rerror, NULL, "report, ignore or stop"),
    PROP("discard", PROP_STRING, Drive, discard, NULL, "ignore (off) or unmap (on)"),
    PROP("detect-zeroes", PROP_STRING, Drive, detect_zeroes, NULL, "off, on or unmap"),
    PROP("copy-on-read", PROP_BOOL, Drive, copy_on_read, "off",
         "copy into the image what is read from a backing file"),
    PROP("stats-account-invalid", PROP_BOOL, Drive, account_invalid, "on",
         "requests that the device refuses end its idle time"),
    PROP("stats-account-failed", PROP_BOOL, Drive, account_failed, "on",
         "the time of failed requests is counted"),
    PROP("stats-intervals", PROP_TREE, Drive, intervals, NULL,
         "lengths in seconds, of which statistics are kept: stats-intervals.0=60,..."),
    LIMITS("iops-total", 0, "requests"),
    LIMITS("iops-read", 3, "reads"),
    LIMITS("iops-write", 6, "writes"),
    LIMITS("bps-total", 9, "bytes"),
    LIMITS("bps-read", 12, "bytes read"),
    LIMITS("bps-write", 15, "bytes written"),
    PROP("throttling.iops-size", PROP_UINT64, Drive, limits[18], "0",
         "bytes that count as one request"),
    PROP("throttling.group", PROP_STRING, Drive, group, NULL, "with whom the limits are shared"),
    PROP_END,
};

/* Old names of -drive's options. */
static const char *const aliases[][2] = {
    {"readonly", "read-only"},
    {"bps", "throttling.bps-total"},
    {"bps_rd", "throttling.bps-read"},
    {"bps_wr", "throttling.bps-write"},
    {"bps_max", "throttling.bps-total-max"},
    {"bps_rd_max", "throttling.bps-read-max"},
    {"bps_wr_max", "throttling.bps-write-max"},
    {"iops", "throttling.iops-total"},
    {"iops_rd", "throttling.iops-read"},
    {"iops_wr", "throttling.iops-write"},
    {"iops_max", "throttling.iops-total-max"},
    {"iops_rd_max", "throttling.iops-read-max"},
    {"iops_wr_max", "throttling.iops-write-max"},
    {"iops_size", "throttling.iops-size"},
    {"group", "throttling.group"},
};

/* Sorts the keys: into 'own' those of block_drive_props, into 'node' the others. */
static bool split_keys(json_t *drive, json_t *own, json_t *node, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(drive, key, value)
    {
        const char *name = key;

        for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++) {
            if (g_str_equal(key, aliases[i][0])) {
                name = aliases[i][1];
            }
        }
        if (name != key && json_object_get(drive, name)) {
            return error_set(err, "'%s' and its alias '%s' can't be used at the same time", name,
                             key);
        }
        if (g_str_equal(key, "cache") && json_is_object(value)) {
            const char *sub;
            json_t *v;
            json_object_foreach(value, sub, v)
            {
                g_autofree char *full = g_strconcat("cache.", sub, NULL);
                json_object_set(own, full, v);
            }
        } else if (g_str_has_prefix(key, "stats-intervals.")) {
            if (!keyval_put(own, key, value, err)) {
                return false;
            }
        } else if (property_find(block_drive_props, name) &&
                   !(g_str_equal(key, "file") && json_is_object(value))) {
            json_object_set(own, name, value);
        } else if (!keyval_put(node, key, value, err)) {
            return false;
        }
    }
    return keyval_make_lists(node, err);
}

static bool parse_error_action(const char *text, bool is_read, BlockOnError *out, GError **err)
{
    if (!text) {
        return true;
    }
    if (g_str_equal(text, "ignore")) {
        *out = BLOCK_ON_ERROR_IGNORE;
    } else if (!is_read && g_str_equal(text, "enospc")) {
        *out = BLOCK_ON_ERROR_ENOSPC;
    } else if (g_str_equal(text, "stop")) {
        *out = BLOCK_ON_ERROR_STOP;
    } else if (g_str_equal(text, "report")) {
        *out = BLOCK_ON_ERROR_REPORT;
    } else {
        return error_set(err, "'%s' invalid %s error action", text, is_read ? "read" : "write");
    }
    return true;
}

/* Units on one bus of an interface; 0: not limited. */
static int max_units(BlockIfType if_type)
{
    return if_type == BLOCK_IF_IDE ? 2 : if_type == BLOCK_IF_SCSI ? 7 : 0;
}

static bool drive_place_free(const Drive *d, GError **err)
{
    return block_backend_find_place(d->if_type, d->bus, d->unit)
               ? error_set(err, "drive with bus=%d, unit=%d (index=%d) exists", d->bus, d->unit,
                           d->index)
               : true;
}

static bool choose_place(Drive *d, GError **err)
{
    int max = max_units(d->if_type);

    if (d->has_index) {
        if (d->bus || d->has_unit) {
            return error_set(err, "index cannot be used with bus and unit");
        }
        if (d->index < 0) {
            return error_set(err, "index must not be negative");
        }
        d->bus = max ? d->index / max : 0;
        d->unit = max ? d->index % max : d->index;
    } else if (!d->has_unit) {
        d->unit = 0;
        while (block_backend_find_place(d->if_type, d->bus, d->unit)) {
            d->unit++;
            if (max && d->unit >= max) {
                d->unit -= max;
                d->bus++;
            }
        }
    }
    if (d->bus < 0 || d->unit < 0) {
        return error_set(err, "bus and unit must not be negative");
    }
    if (max && d->unit >= max) {
        return error_set(err, "unit %d too big (max is %d)", d->unit, max - 1);
    }
    d->index = max ? d->bus * max + d->unit : d->unit;
    return drive_place_free(d, err);
}

static char *default_id(const Drive *d)
{
    const char *media = "";

    if (d->if_type == BLOCK_IF_IDE || d->if_type == BLOCK_IF_SCSI) {
        media = d->media ? "-cd" : "-hd";
    }
    if (max_units(d->if_type)) {
        return g_strdup_printf("%s%d%s%d", block_if_names[d->if_type], d->bus, media, d->unit);
    }
    return g_strdup_printf("%s%s%d", block_if_names[d->if_type], media, d->unit);
}

/* The tree of the drive's node. New reference. */
static json_t *node_tree(Drive *d, json_t *node, const BlockCache *cache, GError **err)
{
    json_t *tree;

    if (d->file) {
        if (json_object_get(json_object_get(node, "file"), "filename")) {
            error_set(err, "Can't specify 'file' and 'file.filename' options at the same time");
            return NULL;
        }
        tree = block_image_config(d->file, d->format ? d->format : d->driver, err);
        if (!tree) {
            return NULL;
        }
        json_object_update_recursive(tree, node);
    } else {
        tree = json_deep_copy(node);
        if (d->format || d->driver) {
            json_object_set_new(tree, "driver", json_string(d->format ? d->format : d->driver));
        }
    }
    if (d->node_name) {
        json_object_set_new(tree, "node-name", json_string(d->node_name));
    }
    if (d->aio) {
        json_t *file = json_object_get(tree, "file");
        json_object_set_new(json_is_object(file) ? file : tree, "aio", json_string(d->aio));
    }
    json_object_set_new(tree, "read-only", json_boolean(d->read_only || d->snapshot));
    json_object_set_new(tree, "auto-read-only", json_boolean(d->auto_read_only));
    if (d->force_share) {
        json_object_set_new(tree, "force-share", json_true());
    }
    json_object_set_new(
        tree, "cache",
        json_pack("{s:b,s:b}", "direct", cache->direct, "no-flush", cache->no_flush));
    if (d->discard) {
        bool unmap = g_str_equal(d->discard, "unmap") || g_str_equal(d->discard, "on");
        if (!unmap && !g_str_equal(d->discard, "ignore") && !g_str_equal(d->discard, "off")) {
            error_set(err, "Invalid discard option");
            json_decref(tree);
            return NULL;
        }
        json_object_set_new(tree, "discard", json_string(unmap ? "unmap" : "ignore"));
    }
    if (d->detect_zeroes) {
        json_object_set_new(tree, "detect-zeroes", json_string(d->detect_zeroes));
    }
    return tree;
}

static bool drive_id_free(const char *id, GError **err)
{
    if (block_backend_find(id)) {
        return error_set(err, "Device with id '%s' already exists", id);
    }
    if (block_node_name_taken(id)) {
        return error_set(err, "Device name '%s' conflicts with an existing node name", id);
    }
    return true;
}

static bool parse_limits(Drive *d, ThrottleConfig *c, GError **err)
{
    for (unsigned i = 0; throttle_names[i]; i++) {
        *throttle_config_field(c, throttle_names[i]) = d->limits[i];
    }
    return throttle_config_check(c, err);
}

/* The intervals of 'stats-intervals', a dictionary with the keys "0", "1"...; *stats NULL: none. */
static bool parse_intervals(const Drive *d, GPtrArray **stats, GError **err)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(block_timed_stats_free);
    size_t count = json_object_size(d->intervals);

    if (d->intervals && !json_is_object(d->intervals)) {
        return error_set(err, "The specification of stats-intervals is invalid");
    }
    for (size_t i = 0; i < count; i++) {
        g_autofree char *key = g_strdup_printf("%zu", i);
        json_t *value = json_object_get(d->intervals, key);
        g_autofree char *text = NULL;
        uint64_t seconds;

        if (!value) {
            return error_set(err, "'stats-intervals.%s' is missing", key);
        }
        text = json_is_string(value) ? g_strdup(json_string_value(value))
                                     : json_dump_text(value, JSON_ENCODE_ANY);
        if (!parse_uint(text, UINT32_MAX, &seconds) || !seconds) {
            return error_set(err, "Invalid interval length: %s", text);
        }
        g_ptr_array_add(list, block_timed_stats_new(seconds));
    }
    *stats = list->len ? g_steal_pointer(&list) : NULL;
    return true;
}

static bool parse_drive(Drive *d, json_t *own, BlockCache *cache, BlockOnError *rerror,
                        BlockOnError *werror, GError **err)
{
    if (!properties_apply(block_drive_props, d, own, NULL, "drive", err)) {
        return false;
    }
    *cache = (BlockCache){.writeback = true};
    if (d->cache && !block_cache_parse(d->cache, cache, err)) {
        return false;
    }
    cache->direct = d->has_direct ? d->direct : cache->direct;
    cache->no_flush = d->has_no_flush ? d->no_flush : cache->no_flush;
    cache->writeback = d->has_writeback ? d->writeback : cache->writeback;
    if (d->aio && !g_str_equal(d->aio, "threads") && !g_str_equal(d->aio, "native") &&
        !g_str_equal(d->aio, "io_uring")) {
        return error_set(err, "invalid aio option '%s' (threads, native or io_uring)", d->aio);
    }
    if (d->media) {
        if (d->has_read_only && !d->read_only) {
            return error_set(err, "a drive with media=cdrom is read-only");
        }
        d->read_only = true;
    }
    if (d->copy_on_read && d->read_only) {
        log_warn("disabling copy-on-read on read-only drive");
        d->copy_on_read = false;
    }
    if (d->format && d->driver && !g_str_equal(d->format, d->driver)) {
        return error_set(err, "Cannot specify both 'driver' and 'format'");
    }
    if ((d->werror || d->rerror) && d->if_type != BLOCK_IF_IDE && d->if_type != BLOCK_IF_SCSI &&
        d->if_type != BLOCK_IF_VIRTIO && d->if_type != BLOCK_IF_NONE) {
        return error_set(err, "%s is not supported by this bus type",
                         d->werror ? "werror" : "rerror");
    }
    if (d->addr && d->if_type != BLOCK_IF_VIRTIO) {
        return error_set(err, "addr is not supported by this bus type");
    }
    if (!parse_error_action(d->werror, false, werror, err) ||
        !parse_error_action(d->rerror, true, rerror, err) || !choose_place(d, err)) {
        return false;
    }
    if (!d->id) {
        d->id = default_id(d);
    }
    return id_check(d->id, err) && drive_id_free(d->id, err);
}

static BlockNode *open_drive_node(Drive *d, json_t *node, const BlockCache *cache, GError **err)
{
    json_auto_t *tree = node_tree(d, node, cache, err);
    unsigned how;

    if (!tree) {
        return NULL;
    }
    how = (d->snapshot ? BLOCK_IMAGE_TEMPORARY : 0) |
          (d->copy_on_read ? BLOCK_IMAGE_COPY_ON_READ : 0);
    return block_node_open_unheld(tree, how, err);
}

BlockBackend *block_backend_new_drive(json_t *drive, GError **err)
{
    json_auto_t *own = json_object(), *node = json_object();
    BlockOnError rerror = BLOCK_ON_ERROR_AUTO, werror = BLOCK_ON_ERROR_AUTO;
    BlockBackend *blk = NULL;
    BlockNode *root = NULL;
    BlockCache cache;
    ThrottleConfig limits;
    g_autoptr(GPtrArray) timed_stats = NULL;
    Drive d = {0};

    properties_init(block_drive_props, &d);
    if (!split_keys(drive, own, node, err) ||
        !parse_drive(&d, own, &cache, &rerror, &werror, err) || !parse_limits(&d, &limits, err) ||
        !parse_intervals(&d, &timed_stats, err)) {
        goto out;
    }
    if ((d.file && *d.file) || d.driver || d.format || json_object_size(node)) {
        root = open_drive_node(&d, node, &cache, err);
        if (!root) {
            goto out;
        }
    }
    /* While the image was opened another drive may have come. */
    if (!drive_id_free(d.id, err) || !drive_place_free(&d, err)) {
        block_node_unref(root);
        goto out;
    }
    blk = block_backend_alloc(d.id);
    blk->from_drive = true;
    blk->flags = BLOCK_DEVICE_SHARE_RW; /* until a device has it: others may write, exports too */
    blk->write_cache = cache.writeback;
    blk->account_invalid = d.account_invalid;
    blk->account_failed = d.account_failed;
    blk->timed_stats = g_steal_pointer(&timed_stats);
    blk->rerror = rerror;
    blk->werror = werror;
    blk->info = (BlockDriveInfo){
        .serial = g_steal_pointer(&d.serial),
        .addr = g_steal_pointer(&d.addr),
        .if_type = d.if_type,
        .bus = d.bus,
        .unit = d.unit,
        .index = d.index,
        .is_cdrom = d.media,
    };
    /* New limits, so nothing waits. */
    if (!block_backend_set_limits(blk, d.group, &limits, err) ||
        !block_backend_set_root(blk, root, err)) {
        block_backend_forget(g_steal_pointer(&blk));
    }
    block_node_unref(root);
out:
    properties_clear(block_drive_props, &d);
    return blk;
}

typedef struct {
    int if_type, bus, unit;
    BlockBackend *found;
} Place;

static void match_place(BlockBackend *blk, void *data)
{
    Place *p = data;

    if (blk->from_drive && blk->info.if_type == p->if_type && blk->info.bus == p->bus &&
        blk->info.unit == p->unit) {
        p->found = blk;
    }
}

BlockBackend *block_backend_find_place(BlockIfType if_type, int bus, int unit)
{
    Place p = {.if_type = if_type, .bus = bus, .unit = unit};

    block_backend_foreach(match_place, &p);
    return p.found;
}

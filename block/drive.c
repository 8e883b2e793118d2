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
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "core.h"

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
} Drive;

static const char *const media_names[] = {"disk", "cdrom", NULL};

#define HAS(n, t, f, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(Drive, f), .flags = PROP_FLAG_HAS,            \
        .set_offset = offsetof(Drive, has_##f), .help = (h)                                        \
    }

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
    PROP("copy-on-read", PROP_BOOL, Drive, copy_on_read, "off", "not supported yet"),
    PROP_END,
};

/* Old names of -drive's options. */
static const char *const aliases[][2] = {
    {"readonly", "read-only"},
};

static bool is_throttle_key(const char *key)
{
    static const char *const keys[] = {"bps",        "bps_rd",   "bps_wr",      "iops",
                                       "iops_rd",    "iops_wr",  "bps_max",     "bps_rd_max",
                                       "bps_wr_max", "iops_max", "iops_rd_max", "iops_wr_max",
                                       "iops_size",  "group",    NULL};

    return g_str_has_prefix(key, "throttling.") || g_strv_contains(keys, key);
}

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
        if (is_throttle_key(key)) {
            uint64_t n;
            if (json_is_string(value) && parse_size(json_string_value(value), 1, &n) && n == 0) {
                continue;
            }
            return error_set(err, "'%s': I/O throttling is not supported yet", key);
        }
        if (g_str_equal(key, "cache") && json_is_object(value)) {
            const char *sub;
            json_t *v;
            json_object_foreach(value, sub, v)
            {
                g_autofree char *full = g_strconcat("cache.", sub, NULL);
                json_object_set(own, full, v);
            }
        } else if (property_find(block_drive_props, name) &&
                   !(g_str_equal(key, "file") && json_is_object(value))) {
            json_object_set(own, name, value);
        } else if (!keyval_put(node, key, value, err)) {
            return false;
        }
    }
    return true;
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

static bool parse_drive(Drive *d, json_t *own, BlockCache *cache, BlockOnError *rerror,
                        BlockOnError *werror, GError **err)
{
    if (!properties_apply(block_drive_props, d, own, NULL, "drive", err)) {
        return false;
    }
    if (d->copy_on_read) {
        return error_set(err, "copy-on-read=on is not supported yet");
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
    BlockNode *n, *overlay;

    if (!tree) {
        return NULL;
    }
    n = block_node_open_unheld(tree, err);
    if (!n || !d->snapshot) {
        return n;
    }
    overlay = block_open_temporary_overlay(n, err);
    block_node_unref(n);
    return overlay;
}

BlockBackend *block_backend_new_drive(json_t *drive, GError **err)
{
    json_auto_t *own = json_object(), *node = json_object();
    BlockOnError rerror = BLOCK_ON_ERROR_AUTO, werror = BLOCK_ON_ERROR_AUTO;
    BlockBackend *blk = NULL;
    BlockNode *root = NULL;
    BlockCache cache;
    Drive d = {0};

    properties_init(block_drive_props, &d);
    if (!split_keys(drive, own, node, err) ||
        !parse_drive(&d, own, &cache, &rerror, &werror, err)) {
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
    blk->write_cache = cache.writeback;
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
    if (!block_backend_set_root(blk, root, err)) {
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format 'parallels': expandable images of Parallels Desktop, as QEMU's docs/interop/parallels.txt
 * has it. They are only read.
 */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "../core.h"
#include "drivers.h"

enum {
    PAR_VERSION = 16, /* offsets in the header; all fields are little-endian */
    PAR_TRACKS = 28,  /* sectors of a cluster */
    PAR_ENTRIES = 32,
    PAR_SECTORS = 36,
    PAR_IN_USE = 44,
    PAR_DATA = 48,
    PAR_HEADER_SIZE = 64,
    PAR_IN_USE_MAGIC = 0x746f6e59,
    PAR_MAX_ENTRIES = 16 * 1024 * 1024,
};

typedef struct {
    json_t *file_config;
    bool in_use; /* whoever wrote to the image has not closed it */
    uint64_t size, cluster_size, data;
    int64_t file_length;
    uint32_t entries;
    uint32_t *table; /* host order; 0: no cluster */
    uint64_t unit;   /* bytes that an entry counts in */
} ParallelsState;

static const Property parallels_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(ParallelsState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    PROP_END,
};

static const BlockRefusedOption parallels_refused[] = {
    {"prealloc-mode", "images of this format are only read; leave the option out"},
    {"prealloc-size", "images of this format are only read; leave the option out"},
    {NULL},
};

/* True: one of the two magics. *sectors_unit: entries count sectors, not clusters. */
static bool parallels_magic(const uint8_t *h, bool *sectors_unit)
{
    *sectors_unit = !memcmp(h, "WithoutFreeSpace", 16);
    return ldle32(h + PAR_VERSION) == 2 && (*sectors_unit || !memcmp(h, "WithouFreSpacExt", 16));
}

static int parallels_probe(const uint8_t *buf, size_t len)
{
    bool unit;

    return len >= PAR_HEADER_SIZE && parallels_magic(buf, &unit) ? 100 : 0;
}

static bool take_header(ParallelsState *s, const uint8_t *h, GError **err)
{
    uint32_t tracks = ldle32(h + PAR_TRACKS), entries = ldle32(h + PAR_ENTRIES);
    uint64_t sectors = ldle64(h + PAR_SECTORS);
    bool sectors_unit;

    if (!parallels_magic(h, &sectors_unit)) {
        return error_set(err, "Image not in Parallels format");
    }
    if (sectors_unit) {
        sectors = (uint32_t)sectors; /* the older magic has no more than these */
    }
    if (!tracks) {
        return error_set(err, "Invalid image: Zero sectors per track");
    }
    if (tracks > INT32_MAX / 513) {
        return error_set(err, "Invalid image: Too big cluster");
    }
    if (entries > PAR_MAX_ENTRIES) {
        return error_set(err, "Catalog too large");
    }
    if (sectors > BLOCK_MAX_LENGTH / BLOCK_SECTOR_SIZE) {
        return error_set(err, "Invalid image: Too big disk");
    }
    s->cluster_size = (uint64_t)tracks * BLOCK_SECTOR_SIZE;
    s->unit = sectors_unit ? BLOCK_SECTOR_SIZE : s->cluster_size;
    s->size = sectors * BLOCK_SECTOR_SIZE;
    s->in_use = ldle32(h + PAR_IN_USE) == PAR_IN_USE_MAGIC;
    s->entries = entries;
    s->data = ldle32(h + PAR_DATA) * (uint64_t)BLOCK_SECTOR_SIZE;
    if (!s->data) {
        s->data = ROUND_UP(PAR_HEADER_SIZE + entries * 4ull, BLOCK_SECTOR_SIZE);
    }
    return true;
}

static bool coroutine_fn load_image(BlockNode *n, GError **err)
{
    ParallelsState *s = block_node_state(n);
    uint8_t h[PAR_HEADER_SIZE];
    int ret;

    s->file_length = block_exact_length(n->file);
    if (s->file_length < 0) {
        return error_set_errno(err, -s->file_length, "Could not get image size");
    }
    ret = block_pread(n->file, 0, h, sizeof h);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the Parallels header");
    }
    if (!take_header(s, h, err)) {
        return false;
    }
    if (PAR_HEADER_SIZE + s->entries * 4ull > (uint64_t)s->file_length) {
        return error_set(err,
                         "The Parallels catalog reaches past the end of the file (truncated?)");
    }
    s->table = g_try_new(uint32_t, MAX(s->entries, 1));
    ret = s->table ? block_pread(n->file, PAR_HEADER_SIZE, s->table, s->entries * 4ull) : -ENOMEM;
    if (ret < 0) {
        g_clear_pointer(&s->table, g_free);
        return error_set_errno(err, -ret, "Could not read the Parallels catalog");
    }
    for (uint32_t i = 0; i < s->entries; i++) {
        s->table[i] = ldle32(&s->table[i]);
    }
    return true;
}

static bool coroutine_fn parallels_open(BlockNode *n, GError **err)
{
    ParallelsState *s = block_node_state(n);

    return block_node_only_read(n, err) &&
           block_open_child(n, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                            &n->file, err) &&
           load_image(n, err);
}

static void parallels_close(BlockNode *n)
{
    ParallelsState *s = block_node_state(n);

    g_clear_pointer(&s->table, g_free);
}

static int coroutine_fn parallels_inactivate(BlockNode *n)
{
    parallels_close(n);
    return 0;
}

/* Where the cluster is in the file; 0: it reads as zeroes, as does what the catalog lacks. */
static uint64_t cluster_at(const ParallelsState *s, uint64_t cluster)
{
    return cluster < s->entries ? s->table[cluster] * s->unit : 0;
}

static int coroutine_fn parallels_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov)
{
    ParallelsState *s = block_node_state(n);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        uint64_t inside = (offset + done) % s->cluster_size;
        uint64_t host = cluster_at(s, (offset + done) / s->cluster_size);
        unsigned parts;

        len = MIN(bytes - done, s->cluster_size - inside);
        parts = iov_slice(part, niov, iov, niov, done, len);
        if (!host) {
            iov_memset(part, parts, 0, 0, len);
        } else if (host + inside + len > (uint64_t)s->file_length) {
            ret = -EIO; /* not zeroes: the data was there once */
        } else {
            ret = block_preadv(n->file, host + inside, len, part, parts);
        }
    }
    return ret;
}

static int coroutine_fn parallels_block_status(BlockNode *n, uint64_t offset, uint64_t bytes,
                                               uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    ParallelsState *s = block_node_state(n);
    uint64_t cluster = offset / s->cluster_size, inside = offset % s->cluster_size;
    uint64_t first = cluster_at(s, cluster), len = s->cluster_size - inside;

    for (uint64_t i = 1; len < bytes; i++, len += s->cluster_size) {
        if (!first && cluster + i >= s->entries) {
            len = bytes; /* no more clusters */
            break;
        }
        if (cluster_at(s, cluster + i) != (first ? first + i * s->cluster_size : 0)) {
            break;
        }
    }
    *pnum = MIN(len, bytes);
    if (!first) {
        return BLOCK_STATUS_ZERO;
    }
    *map = first + inside;
    *file = n->file;
    return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
}

static bool parallels_map_cached(BlockNode *n, uint64_t offset, uint64_t bytes, bool write,
                                 BlockMapping *map)
{
    ParallelsState *s = block_node_state(n);
    uint64_t inside = offset % s->cluster_size, host = cluster_at(s, offset / s->cluster_size);

    if (write || !host || inside + bytes > s->cluster_size ||
        host + inside + bytes > (uint64_t)s->file_length) {
        return false;
    }
    map->file = n->file;
    map->offset = host + inside;
    map->bytes = bytes;
    return true;
}

/* As QEMU checks: what is past the end, and what nothing names there. */
static int coroutine_fn parallels_check(BlockNode *n, BlockCheckResult *res, unsigned fix)
{
    ParallelsState *s = block_node_state(n);
    uint64_t before = 0, end = 0, length = s->file_length;
    bool quiet = fix & BLOCK_CHECK_QUIET;

    res->total_clusters = s->entries;
    if (s->in_use) {
        res->corruptions++;
        if (!quiet) {
            fprintf(stderr, "ERROR image was not closed correctly\n");
        }
    }
    for (uint32_t i = 0; i < s->entries; i++) {
        uint64_t host = cluster_at(s, i);

        if (host && host + s->cluster_size > length) {
            res->corruptions++;
            if (!quiet) {
                fprintf(stderr, "ERROR cluster %u is outside image\n", i);
            }
        }
        if (host) {
            res->allocated_clusters++;
            res->fragmented_clusters += before && host != before + s->cluster_size;
            end = MAX(end, host + s->cluster_size);
        }
        before = host;
    }
    end = end ? end : s->data;
    res->image_end_offset = end;
    if (length > end) {
        res->leaks += DIV_ROUND_UP(length - end, s->cluster_size);
        if (!quiet) {
            fprintf(stderr, "ERROR space leaked at the end of the image %" PRIu64 "\n",
                    length - end);
        }
    }
    return 0;
}

static int64_t parallels_length(BlockNode *n)
{
    ParallelsState *s = block_node_state(n);

    return s->size;
}

static bool parallels_info(BlockNode *n, BlockDriverInfo *info)
{
    *info = (BlockDriverInfo){0};
    return true;
}

const BlockDriver block_driver_parallels = {
    .name = "parallels",
    .help = "images of Parallels Desktop, to be read",
    .size = sizeof(ParallelsState),
    .props = parallels_props,
    .refused = parallels_refused,
    .probe = parallels_probe,
    .open = parallels_open,
    .close = parallels_close,
    .reopen_prepare = block_node_reopen_only_read,
    .inactivate = parallels_inactivate,
    .activate = load_image,
    .preadv = parallels_preadv,
    .block_status = parallels_block_status,
    .length = parallels_length,
    .map_cached = parallels_map_cached,
    .info = parallels_info,
    .check = parallels_check,
};

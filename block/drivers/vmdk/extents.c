/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sparse extents: VMware's hosted ones ("KDMV", compressed too), those of ESXi ("COWD", VMFS
 * sparse), and space-efficient ones (seSparse). Only the first are written.
 */
#include <errno.h>
#include <inttypes.h>
#include "../inflate.h"
#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "vmdk.h"

enum {
    MARKER_BYTES = 12, /* before a compressed grain: its first sector, its length */
    FOOTER_MARKER = 3,
    COWD_TABLE_ENTRIES = 4096,
    SESPARSE_TABLE_BYTES = 32 * 1024,
};

void vmdk_extent_free(void *extent)
{
    VmdkExtent *e = extent;

    block_map_destroy(&e->map);
    g_free(e->tables);
    g_free(e->copies);
    g_free(e->type);
    g_free(e);
}

/* --- the map of a hosted sparse extent --- */

static uint64_t grain_limit(const VmdkExtent *e)
{
    return MIN(e->length, e->map.length);
}

static BlockMapKind vmdk_decode(const BlockMap *m, uint64_t entry, uint64_t *host)
{
    const VmdkExtent *e = m->opaque;

    if (!entry) {
        return BLOCK_MAP_ABSENT;
    }
    if (entry == 1 && e->zero_grain) {
        return BLOCK_MAP_ZERO;
    }
    *host = entry * BLOCK_SECTOR_SIZE;
    return *host < e->overhead ? BLOCK_MAP_BAD
           : e->compressed     ? BLOCK_MAP_COMPRESSED
                               : BLOCK_MAP_DATA;
}

static uint64_t vmdk_page_at(const BlockMap *m, uint64_t page)
{
    const VmdkExtent *e = m->opaque;

    return page < e->directory_entries ? e->tables[page] : 0;
}

static uint64_t vmdk_copy_at(const BlockMap *m, uint64_t page)
{
    const VmdkExtent *e = m->opaque;

    return e->copies && page < e->directory_entries ? e->copies[page] : 0;
}

/* Under map.lock. Room for 'bytes' behind all that is in the file, at a multiple of 'align'. */
static int coroutine_fn place_behind(VmdkExtent *e, uint64_t bytes, uint64_t align, uint64_t *host)
{
    int64_t length = e->next ? 0 : block_exact_length(e->file);

    if (length < 0) {
        return length;
    }
    *host = ROUND_UP(e->next ? e->next : MAX((uint64_t)length, e->overhead), align);
    if (*host / BLOCK_SECTOR_SIZE > UINT32_MAX) {
        return -ENOSPC; /* entries have 32 bits */
    }
    e->next = *host + bytes;
    return 0;
}

static int coroutine_fn vmdk_allocate(BlockMap *m, uint64_t block, uint64_t *host, uint64_t *entry)
{
    VmdkExtent *e = m->opaque;
    int ret = place_behind(e, m->block_size, m->block_size, host);

    *entry = ret == 0 ? *host / BLOCK_SECTOR_SIZE : 0;
    return ret;
}

static void vmdk_release(BlockMap *m, uint64_t host)
{
    VmdkExtent *e = m->opaque;

    if (host + m->block_size == e->next) {
        e->next = host; /* else the room is lost */
    }
}

/* Grains are whole in the file before an entry names them. */
static int coroutine_fn vmdk_before_entries(BlockMap *m)
{
    VmdkExtent *e = m->opaque;
    int64_t length = block_exact_length(e->file);

    if (length < 0) {
        return length;
    }
    return e->next > (uint64_t)length ? block_truncate(e->file, e->next, NULL) : 0;
}

/* Writes an entry of a directory: the sector that has it. */
static int coroutine_fn write_directory(VmdkExtent *e, uint64_t at, const uint64_t *tables,
                                        uint64_t index)
{
    uint8_t sector[BLOCK_SECTOR_SIZE] = {0};
    uint64_t first = ROUND_DOWN(index, BLOCK_SECTOR_SIZE / 4);

    for (unsigned i = 0; i < BLOCK_SECTOR_SIZE / 4 && first + i < e->directory_entries; i++) {
        stle32(sector + i * 4, tables[first + i] / BLOCK_SECTOR_SIZE);
    }
    return block_pwrite(e->file, at + first * 4, sector, sizeof sector, 0);
}

/* Under map.lock. One directory at a time: the table is stable before it is named. */
static int coroutine_fn new_table(VmdkExtent *e, uint64_t at, uint64_t *tables, uint64_t index)
{
    size_t bytes = ROUND_UP(e->map.page_entries * 4, BLOCK_SECTOR_SIZE);
    g_autofree uint8_t *zero = g_malloc0(bytes);
    uint64_t host = 0;
    int ret = place_behind(e, bytes, BLOCK_SECTOR_SIZE, &host);

    ret = ret < 0 ? ret : block_pwrite(e->file, host, zero, bytes, 0);
    ret = ret < 0 ? ret : block_flush(e->file);
    if (ret == 0) {
        g_mutex_lock(&e->map.map_lock);
        tables[index] = host;
        g_mutex_unlock(&e->map.map_lock);
        ret = write_directory(e, at, tables, index);
    }
    if (ret < 0) {
        g_mutex_lock(&e->map.map_lock);
        tables[index] = 0;
        g_mutex_unlock(&e->map.map_lock);
    }
    return ret;
}

static int coroutine_fn vmdk_make_page(BlockMap *m, uint64_t page)
{
    VmdkExtent *e = m->opaque;
    int ret = 0;

    if (page >= e->directory_entries) {
        return -EIO;
    }
    if (e->copies && !e->copies[page]) {
        ret = new_table(e, e->copy_offset, e->copies, page);
    }
    return ret < 0 ? ret : new_table(e, e->directory_offset, e->tables, page);
}

/* The packed data of a grain, which the caller frees; *at: where it starts in the buffer. */
static int coroutine_fn read_packed(VmdkExtent *e, uint64_t host, uint8_t **buf, size_t *at,
                                    size_t *len)
{
    size_t most = e->map.block_size * 2;
    int64_t length = block_exact_length(e->file);
    uint8_t marker[MARKER_BYTES];
    int ret = length < 0 ? length : 0;

    *buf = NULL;
    *at = 0;
    *len = ret == 0 && host < (uint64_t)length ? MIN(most, length - host) : 0;
    if (ret == 0 && e->markers) {
        ret = *len > MARKER_BYTES ? block_pread(e->file, host, marker, MARKER_BYTES) : -EIO;
        *at = MARKER_BYTES;
        most = ret == 0 ? ldle32(marker + 8) : 0;
        if (ret == 0 && (!most || most > *len - MARKER_BYTES)) {
            ret = -EIO;
        }
        *len = most;
    }
    if (ret < 0 || !*len) {
        return ret < 0 ? ret : -EIO;
    }
    *buf = g_try_malloc(*at + *len);
    return *buf ? block_pread(e->file, host, *buf, *at + *len) : -ENOMEM;
}

static int coroutine_fn vmdk_read_compressed(BlockMap *m, uint64_t host, uint64_t entry,
                                             uint8_t *grain)
{
    VmdkExtent *e = m->opaque;
    g_autofree uint8_t *buf = NULL;
    size_t at, len;
    int64_t got;
    int ret = read_packed(e, host, &buf, &at, &len);

    if (ret < 0) {
        return ret;
    }
    got = block_inflate(INFLATE_ZLIB, buf + at, len, grain, m->block_size);
    if (got < 0) {
        return got;
    }
    /* A disk's last grain may be short. */
    if (got < (int64_t)m->block_size && got < (int64_t)(grain_limit(e) % m->block_size)) {
        return -EIO;
    }
    if (got < (int64_t)m->block_size && !(grain_limit(e) % m->block_size)) {
        return -EIO;
    }
    memset(grain + got, 0, m->block_size - got);
    return 0;
}

static const BlockMapOps vmdk_map_ops = {
    .decode = vmdk_decode,
    .page_at = vmdk_page_at,
    .copy_at = vmdk_copy_at,
    .allocate = vmdk_allocate,
    .release = vmdk_release,
    .make_page = vmdk_make_page,
    .before_entries = vmdk_before_entries,
    .read_compressed = vmdk_read_compressed,
};

/* --- compressed writes --- */

typedef struct {
    VmdkExtent *e;
    const uint8_t *data;
    size_t bytes;
} Packed;

static int coroutine_fn put_packed(BlockMap *m, uint64_t *entry, void *data)
{
    Packed *p = data;
    uint64_t host = 0, before = p->e->next;
    int ret = place_behind(p->e, p->bytes, BLOCK_SECTOR_SIZE, &host);

    ret = ret < 0 ? ret : block_pwrite(p->e->file, host, p->data, p->bytes, 0);
    if (ret < 0) {
        p->e->next = before;
    }
    *entry = host / BLOCK_SECTOR_SIZE;
    return ret;
}

int coroutine_fn vmdk_write_compressed(VmdkExtent *e, uint64_t offset, const void *data, size_t len)
{
    size_t grain = e->map.block_size, most = grain * 2;
    g_autofree uint8_t *in = g_try_malloc(grain);
    g_autofree uint8_t *out = g_try_malloc0(MARKER_BYTES + most + BLOCK_SECTOR_SIZE);
    Packed p = {.e = e, .data = out};
    int64_t packed;
    int ret;

    if (!in || !out) {
        return -ENOMEM;
    }
    if (!e->markers || offset % grain || len > grain ||
        (len < grain && offset + len != e->map.length)) {
        return -EINVAL;
    }
    memcpy(in, data, len);
    memset(in + len, 0, grain - len);
    packed = block_deflate(INFLATE_ZLIB, in, grain, out + MARKER_BYTES, most);
    if (packed < 0) {
        return packed;
    }
    stle64(out, (offset + e->start) / BLOCK_SECTOR_SIZE);
    stle32(out + 8, packed);
    memset(out + MARKER_BYTES + packed, 0, BLOCK_SECTOR_SIZE);
    p.bytes = ROUND_UP(MARKER_BYTES + packed, BLOCK_SECTOR_SIZE);
    ret = block_map_put(&e->map, offset / grain, put_packed, &p);
    return ret == -EEXIST ? -EIO : ret;
}

/* --- opening --- */

/* Reads a directory: entries of 32 bits, sectors. */
static bool coroutine_fn read_directory(VmdkExtent *e, uint64_t at, uint64_t **tables, GError **err)
{
    uint64_t bytes = e->directory_entries * 4;
    int64_t length = block_exact_length(e->file);
    g_autofree uint8_t *buf = NULL;
    int ret;

    if (length < 0 || at > (uint64_t)length || bytes > length - at) {
        return error_set(err, "VMDK extent '%s' is truncated: it ends within a grain directory",
                         e->file->filename);
    }
    buf = g_try_malloc(MAX(bytes, 1));
    *tables = g_try_new0(uint64_t, e->directory_entries + 1);
    ret = buf && *tables ? block_pread(e->file, at, buf, bytes) : -ENOMEM;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the grain directory of '%s'",
                               e->file->filename);
    }
    for (uint64_t i = 0; i < e->directory_entries; i++) {
        (*tables)[i] = (uint64_t)ldle32(buf + i * 4) * BLOCK_SECTOR_SIZE;
    }
    return true;
}

bool coroutine_fn vmdk_read_directories(VmdkExtent *e, bool writable, GError **err)
{
    g_autofree uint64_t *tables = NULL, *copies = NULL;

    if (!read_directory(e, e->directory_offset, &tables, err) ||
        (writable && e->copy_offset && !read_directory(e, e->copy_offset, &copies, err))) {
        return false;
    }
    g_free(e->tables);
    g_free(e->copies);
    e->tables = g_steal_pointer(&tables);
    e->copies = g_steal_pointer(&copies);
    return true;
}

/* Checks the geometry of a sparse extent, and makes its map. 'capacity' and 'grain' in sectors. */
static bool make_map(BlockNode *node, VmdkExtent *e, uint64_t capacity, uint64_t grain,
                     uint64_t entries, GError **err)
{
    if (!is_power_of_2(grain) || grain > VMDK_MAX_GRAIN / BLOCK_SECTOR_SIZE) {
        return error_set(err, "Invalid granularity, image may be corrupt");
    }
    if (!entries || capacity > INT64_MAX / BLOCK_SECTOR_SIZE) {
        return error_set(err, "Invalid size of grain tables or of the disk, image may be corrupt");
    }
    e->directory_entries = DIV_ROUND_UP(DIV_ROUND_UP(capacity, grain), entries);
    if (e->directory_entries > VMDK_MAX_DIRECTORY) {
        return error_set(err, "L1 size too big");
    }
    e->map = (BlockMap){
        .ops = &vmdk_map_ops,
        .opaque = e,
        .node = node,
        .file = &e->file,
        .start = e->start,
        .length = capacity * BLOCK_SECTOR_SIZE,
        .block_size = grain * BLOCK_SECTOR_SIZE,
        .entry_size = 4,
        .page_entries = entries,
        .most_pages = MAX(4 * MiB / (entries * 4), 16),
        .has_backing = true,
        .zero_entry = e->zero_grain ? 1 : 0,
    };
    return true;
}

/* The footer of a stream: a marker, a header, a marker of the end. False: it is none. */
static bool coroutine_fn read_footer(VmdkExtent *e, uint8_t *header, GError **err)
{
    int64_t length = block_exact_length(e->file);
    uint8_t footer[3 * BLOCK_SECTOR_SIZE];
    const uint8_t *end = footer + 2 * BLOCK_SECTOR_SIZE;
    int ret = length < 0 ? length : 0;

    length = length < 0 ? 0 : ROUND_DOWN(length, BLOCK_SECTOR_SIZE);
    if (ret == 0 && length < (int64_t)sizeof footer) {
        return error_set(err, "VMDK stream '%s' is truncated: it has no footer", e->file->filename);
    }
    ret = ret < 0 ? ret : block_pread(e->file, length - sizeof footer, footer, sizeof footer);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the footer of '%s'", e->file->filename);
    }
    if (ldle32(footer + 8) || ldle32(footer + 12) != FOOTER_MARKER ||
        memcmp(footer + BLOCK_SECTOR_SIZE, "KDMV", 4) || ldle64(end) || ldle32(end + 8) ||
        ldle32(end + 12)) {
        return error_set(err, "VMDK stream '%s' has no footer: it was cut off, or is damaged",
                         e->file->filename);
    }
    memcpy(header, footer + BLOCK_SECTOR_SIZE, SPARSE_HEADER_BYTES);
    return true;
}

static bool coroutine_fn open_hosted(BlockNode *node, VmdkExtent *e, uint8_t *h, GError **err)
{
    uint32_t version, flags;

    if (ldle64(h + SPARSE_GD_OFFSET) == VMDK_GD_AT_END) {
        if (!read_footer(e, h, err)) {
            return false;
        }
        e->written_as_stream = true;
    }
    version = ldle32(h + SPARSE_VERSION);
    flags = ldle32(h + SPARSE_FLAGS);
    e->compressed = ldle16(h + SPARSE_COMPRESSION) == 1;
    e->markers = flags & SPARSE_FLAG_MARKERS;
    e->zero_grain = flags & SPARSE_FLAG_ZERO_GRAIN;
    e->overhead = ldle64(h + SPARSE_OVERHEAD);
    if (version > 3) {
        return error_set(err, "Unsupported VMDK version %" PRIu32, version);
    }
    if (version == 3 && !e->compressed) {
        e->read_only = "VMDK version 3 must be read only";
    } else if (e->written_as_stream) {
        e->read_only = "a VMDK stream (its grain directory is at its end) must be read only";
    }
    if (ldle32(h + SPARSE_GTES) > VMDK_TABLE_ENTRIES) {
        return error_set(err, "L2 table size too big");
    }
    if (e->overhead > (uint64_t)MAX(block_length(e->file), 0) / BLOCK_SECTOR_SIZE) {
        return error_set(err, "File truncated, expecting at least %" PRId64 " bytes",
                         (int64_t)(e->overhead * BLOCK_SECTOR_SIZE));
    }
    e->overhead = MAX(e->overhead, 1) * BLOCK_SECTOR_SIZE;
    if (!make_map(node, e, ldle64(h + SPARSE_CAPACITY), ldle64(h + SPARSE_GRAIN),
                  ldle32(h + SPARSE_GTES), err)) {
        return false;
    }
    e->directory_offset = ldle64(h + SPARSE_GD_OFFSET);
    e->copy_offset = flags & SPARSE_FLAG_RGD ? ldle64(h + SPARSE_RGD_OFFSET) : 0;
    if (MAX(e->directory_offset, e->copy_offset) > INT64_MAX / BLOCK_SECTOR_SIZE) {
        return error_set(err, "VMDK extent '%s' is truncated: it ends before its grain directory",
                         e->file->filename);
    }
    e->directory_offset *= BLOCK_SECTOR_SIZE;
    e->copy_offset *= BLOCK_SECTOR_SIZE;
    return vmdk_read_directories(e, !node->read_only, err);
}

/* The header of VMFS's sparse extents, little-endian; offsets in bytes, values in sectors. */
enum { COWD_CAPACITY = 12, COWD_GRAIN = 16, COWD_GD_OFFSET = 20, COWD_GD_ENTRIES = 24 };

static bool coroutine_fn open_cowd(BlockNode *node, VmdkExtent *e, const uint8_t *h, GError **err)
{
    uint64_t entries = ldle32(h + COWD_GD_ENTRIES);

    e->read_only = "VMFS sparse extents can only be read";
    e->overhead = (ldle32(h + COWD_GD_OFFSET) + 1ull) * BLOCK_SECTOR_SIZE;
    if (!make_map(node, e, ldle32(h + COWD_CAPACITY), ldle32(h + COWD_GRAIN), COWD_TABLE_ENTRIES,
                  err)) {
        return false;
    }
    if (entries < e->directory_entries) {
        return error_set(err, "The grain directory of '%s' is too short for the disk",
                         e->file->filename);
    }
    e->directory_offset = (uint64_t)ldle32(h + COWD_GD_OFFSET) * BLOCK_SECTOR_SIZE;
    return vmdk_read_directories(e, false, err);
}

bool coroutine_fn vmdk_open_sparse(BlockNode *node, VmdkExtent *e, GError **err)
{
    uint8_t header[SPARSE_HEADER_BYTES] = {0};
    int64_t length = block_exact_length(e->file);
    int ret =
        length < 0 ? length : block_pread(e->file, 0, header, MIN(length, (int64_t)sizeof header));

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read header from file '%s'",
                               e->file->filename);
    }
    if (!memcmp(header, "KDMV", 4)) {
        return open_hosted(node, e, header, err);
    }
    if (!memcmp(header, "COWD", 4)) {
        return open_cowd(node, e, header, err);
    }
    return error_set(err, "Image not in VMDK format");
}

/* --- seSparse --- */

/* Its header, little-endian numbers of 64 bits; offsets in bytes, values in sectors. */
enum {
    SE_MAGIC = 0,
    SE_VERSION = 8,
    SE_CAPACITY = 16,
    SE_GRAIN = 24,
    SE_TABLE_SIZE = 32,
    SE_FLAGS = 40,
    SE_VOLATILE = 80,
    SE_DIRECTORY = 128,
    SE_DIRECTORY_SIZE = 136,
    SE_TABLES = 144,
    SE_GRAINS = 192,
    SE_VOLATILE_REPLAY = 24, /* in the volatile header */
};
#define SE_MAGIC_VALUE    0x00000000cafebabeull
#define SE_VERSION_VALUE  0x0000000200000001ull
#define SE_VOLATILE_VALUE 0x00000000cafecafeull

static BlockMapKind sesparse_decode(const BlockMap *m, uint64_t entry, uint64_t *host)
{
    const VmdkExtent *e = m->opaque;
    uint64_t grain;

    switch (entry >> 60) {
    case 0:
        return entry ? BLOCK_MAP_BAD : BLOCK_MAP_ABSENT;
    case 1: /* unmapped */
    case 2:
        return BLOCK_MAP_ZERO;
    case 3:
        grain = (entry >> 48 & 0xfff) | (entry & 0x0000ffffffffffffull) << 12;
        if (grain > (INT64_MAX - e->grains_offset) / m->block_size - 1) {
            return BLOCK_MAP_BAD;
        }
        *host = e->grains_offset + grain * m->block_size;
        return BLOCK_MAP_DATA;
    }
    return BLOCK_MAP_BAD;
}

static const BlockMapOps sesparse_map_ops = {.decode = sesparse_decode, .page_at = vmdk_page_at};

static bool sesparse_tables(VmdkExtent *e, const uint8_t *buf, uint64_t tables_at, GError **err)
{
    for (uint64_t i = 0; i < e->directory_entries; i++) {
        uint64_t entry = ldle64(buf + i * 8);

        if (entry && entry >> 32 != 0x10000000) {
            return error_set(err, "Invalid entry in the grain directory of '%s'",
                             e->file->filename);
        }
        if (entry) {
            e->tables[i] = tables_at + (entry & UINT32_MAX) * SESPARSE_TABLE_BYTES;
        }
    }
    return true;
}

static bool coroutine_fn sesparse_headers(VmdkExtent *e, uint8_t *h, GError **err)
{
    uint8_t state[BLOCK_SECTOR_SIZE];
    int ret = block_pread(e->file, 0, h, BLOCK_SECTOR_SIZE);

    if (ret == 0 && ldle64(h + SE_MAGIC) != SE_MAGIC_VALUE) {
        return error_set(err, "Bad const header magic: %#" PRIx64, ldle64(h + SE_MAGIC));
    }
    if (ret == 0 && ldle64(h + SE_VERSION) != SE_VERSION_VALUE) {
        return error_set(err, "Unsupported version: %#" PRIx64, ldle64(h + SE_VERSION));
    }
    if (ret == 0 && ldle64(h + SE_TABLE_SIZE) != SESPARSE_TABLE_BYTES / BLOCK_SECTOR_SIZE) {
        return error_set(err, "Unsupported grain table size: %" PRIu64, ldle64(h + SE_TABLE_SIZE));
    }
    for (unsigned at = SE_VOLATILE; at <= SE_GRAINS; at += 8) {
        if (ret == 0 && ldle64(h + at) > INT64_MAX / BLOCK_SECTOR_SIZE / 2) {
            return error_set(err, "Invalid header of '%s'", e->file->filename);
        }
    }
    ret = ret < 0 ? ret
                  : block_pread(e->file, ldle64(h + SE_VOLATILE) * BLOCK_SECTOR_SIZE, state,
                                sizeof state);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read header from file '%s'",
                               e->file->filename);
    }
    if (ldle64(state) != SE_VOLATILE_VALUE) {
        return error_set(err, "Bad volatile header magic: %#" PRIx64, ldle64(state));
    }
    return ldle64(state + SE_VOLATILE_REPLAY)
               ? error_set(err, "Image is dirty, Replaying journal not supported")
               : true;
}

bool coroutine_fn vmdk_open_sesparse(BlockNode *node, VmdkExtent *e, GError **err)
{
    uint8_t h[BLOCK_SECTOR_SIZE];
    int64_t length = block_exact_length(e->file);
    g_autofree uint8_t *buf = NULL;
    uint64_t at, bytes;
    int ret;

    e->sesparse = true;
    e->read_only = "seSparse extents can only be read";
    if (!sesparse_headers(e, h, err) ||
        !make_map(node, e, ldle64(h + SE_CAPACITY), ldle64(h + SE_GRAIN), SESPARSE_TABLE_BYTES / 8,
                  err)) {
        return false;
    }
    e->map.ops = &sesparse_map_ops;
    e->map.entry_size = 8;
    e->grains_offset = ldle64(h + SE_GRAINS) * BLOCK_SECTOR_SIZE;
    at = ldle64(h + SE_DIRECTORY) * BLOCK_SECTOR_SIZE;
    bytes = e->directory_entries * 8;
    if (length < 0 || at > (uint64_t)length || bytes > length - at) {
        return error_set(err, "VMDK extent '%s' is truncated: it ends within a grain directory",
                         e->file->filename);
    }
    buf = g_try_malloc(MAX(bytes, 1));
    e->tables = g_try_new0(uint64_t, e->directory_entries + 1);
    ret = buf && e->tables ? block_pread(e->file, at, buf, bytes) : -ENOMEM;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the grain directory of '%s'",
                               e->file->filename);
    }
    return sesparse_tables(e, buf, ldle64(h + SE_TABLES) * BLOCK_SECTOR_SIZE, err);
}

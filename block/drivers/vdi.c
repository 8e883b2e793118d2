/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VDI, VirtualBox's image format, version 1.1: a header, an index of blocks of 1 MiB, the blocks.
 * 'Dynamic' images have blocks as they are written, 'static' ones all of them.
 *
 * The header counts the blocks in the file, and whoever adds one puts it there: the count has to
 * be above every block that the index names, at every moment. So it is raised, and stable, before
 * the index is written. Room that the index does not name (a write was cut off) is filled first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "block_map.h"

enum {
    VDI_HEADER_BYTES = 512,
    VDI_SIGNATURE = 64, /* offsets in the header; all fields are little-endian */
    VDI_VERSION = 68,
    VDI_HEADER_SIZE = 72,
    VDI_TYPE = 76,
    VDI_BMAP_OFFSET = 340,
    VDI_DATA_OFFSET = 344,
    VDI_SECTOR_SIZE = 360,
    VDI_DISK_SIZE = 368,
    VDI_BLOCK_SIZE = 376,
    VDI_BLOCKS = 384,
    VDI_ALLOCATED = 388,
    VDI_UUID_IMAGE = 392,
    VDI_UUID_SNAPSHOT = 408,
    VDI_UUID_LINK = 424,
    VDI_UUID_PARENT = 440,
    VDI_UUID_BYTES = 16,
    VDI_TYPE_DYNAMIC = 1,
    VDI_TYPE_STATIC = 2,
    VDI_BLOCK = 1 << 20,
    VDI_MAX_BLOCKS = 0x1fffff80, /* QEMU's limit: tables of 2 GiB */
};
#define VDI_MAGIC     0xbeda107fu
#define VDI_VERSION_1 0x00010001u
/* Entries from here on have no block: free, discarded. Both read as zeroes. */
#define VDI_ABSENT 0xfffffffeu
#define VDI_FREE   0xffffffffu

typedef struct {
    json_t *file_config;
    BlockMap map;
    uint8_t header[VDI_HEADER_BYTES]; /* under map.lock from here on, once the node is open */
    uint32_t blocks;
    uint64_t bmap_offset, data_offset, size;
    uint8_t *used; /* a bit for each block in the file; NULL: not known yet */
    uint32_t top;  /* all used ones are below */
    uint32_t hint; /* no free one is below */
} VdiState;

static const Property vdi_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(VdiState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    PROP_END,
};

static uint64_t vdi_host(const VdiState *s, uint32_t index)
{
    return s->data_offset + (uint64_t)index * VDI_BLOCK;
}

static BlockMapKind vdi_decode(const BlockMap *m, uint64_t entry, uint64_t *host)
{
    const VdiState *s = m->opaque;

    if (entry >= VDI_ABSENT) {
        return BLOCK_MAP_ABSENT;
    }
    *host = vdi_host(s, entry);
    return entry < s->blocks ? BLOCK_MAP_DATA : BLOCK_MAP_BAD;
}

static uint64_t vdi_page_at(const BlockMap *m, uint64_t page)
{
    const VdiState *s = m->opaque;

    return s->bmap_offset + page * BLOCK_SECTOR_SIZE;
}

static bool vdi_used(const VdiState *s, uint32_t index)
{
    return s->used[index / 8] & BIT(index % 8);
}

/* Under map.lock. Finds out which blocks of the file are used. */
static int coroutine_fn vdi_find_used(VdiState *s)
{
    uint8_t *used = s->used ? NULL : sparse_try_new(s->blocks / 8 + 1);
    int ret = 0;

    if (s->used || !used) {
        return s->used ? 0 : -ENOMEM;
    }
    s->top = s->hint = 0;
    for (uint32_t b = 0; b < s->blocks && ret == 0; b++) {
        uint64_t entry;

        ret = block_map_entry(&s->map, b, &entry);
        if (ret == 0 && entry < s->blocks) {
            used[entry / 8] |= BIT(entry % 8);
            s->top = MAX(s->top, entry + 1);
        }
    }
    if (ret < 0) {
        sparse_free(used, s->blocks / 8 + 1);
        return ret;
    }
    s->used = used;
    return 0;
}

static int coroutine_fn vdi_allocate(BlockMap *m, uint64_t block, uint64_t *host, uint64_t *entry)
{
    VdiState *s = m->opaque;
    int ret = vdi_find_used(s);

    while (ret == 0 && s->hint < s->top && vdi_used(s, s->hint)) {
        s->hint++;
    }
    if (ret < 0 || s->hint >= s->blocks) {
        return ret < 0 ? ret : -ENOSPC; /* the index names a block twice */
    }
    *entry = s->hint++;
    *host = vdi_host(s, *entry);
    s->used[*entry / 8] |= BIT(*entry % 8);
    s->top = MAX(s->top, *entry + 1);
    return 0;
}

static void vdi_release(BlockMap *m, uint64_t host)
{
    VdiState *s = m->opaque;
    uint32_t index = (host - s->data_offset) / VDI_BLOCK;

    s->used[index / 8] &= ~BIT(index % 8);
    s->hint = MIN(s->hint, index);
    while (s->top && !vdi_used(s, s->top - 1)) {
        s->top--;
    }
}

/* Under map.lock. */
static int coroutine_fn vdi_write_count(VdiState *s, uint32_t count)
{
    uint32_t old = ldle32(s->header + VDI_ALLOCATED);
    int ret;

    stle32(s->header + VDI_ALLOCATED, count);
    ret = block_pwrite(*s->map.file, 0, s->header, VDI_HEADER_BYTES, 0);
    if (ret < 0) {
        stle32(s->header + VDI_ALLOCATED, old);
    }
    return ret;
}

/* Blocks are whole in the file; and the count is right before the index is written. */
static int coroutine_fn vdi_before_entries(BlockMap *m)
{
    VdiState *s = m->opaque;
    uint64_t end = vdi_host(s, s->top);
    int64_t length = block_exact_length(*m->file);
    int ret = length < 0 ? length : 0;

    if (ret == 0 && (uint64_t)length < end) {
        ret = block_truncate(*m->file, end, NULL);
    }
    if (ret == 0 && s->top > ldle32(s->header + VDI_ALLOCATED)) {
        m->barrier = true;
        ret = vdi_write_count(s, s->top);
    }
    return ret;
}

static const BlockMapOps vdi_map_ops = {
    .decode = vdi_decode,
    .page_at = vdi_page_at,
    .allocate = vdi_allocate,
    .release = vdi_release,
    .before_entries = vdi_before_entries,
};

static int vdi_probe(const uint8_t *buf, size_t len)
{
    return len >= VDI_SIGNATURE + 4 && ldle32(buf + VDI_SIGNATURE) == VDI_MAGIC ? 100 : 0;
}

static bool vdi_is_null(const uint8_t *uuid)
{
    static const uint8_t null[VDI_UUID_BYTES];

    return !memcmp(uuid, null, VDI_UUID_BYTES);
}

/* Whether this program can use an image with this header. */
static bool vdi_header_ok(const VdiState *s, GError **err)
{
    const uint8_t *h = s->header;
    uint32_t version = ldle32(h + VDI_VERSION), block_size = ldle32(h + VDI_BLOCK_SIZE);

    if (ldle32(h + VDI_SIGNATURE) != VDI_MAGIC) {
        return error_set(err, "Image not in VDI format (bad signature %08" PRIx32 ")",
                         ldle32(h + VDI_SIGNATURE));
    }
    if (version != VDI_VERSION_1) {
        return error_set(err, "unsupported VDI image (version %" PRIu32 ".%" PRIu32 ")",
                         version >> 16, version & 0xffff);
    }
    if (s->bmap_offset < VDI_HEADER_BYTES || !IS_ALIGNED(s->bmap_offset, BLOCK_SECTOR_SIZE)) {
        return error_set(err, "unsupported VDI image (unaligned block map offset 0x%" PRIx64 ")",
                         s->bmap_offset);
    }
    if (!IS_ALIGNED(s->data_offset, BLOCK_SECTOR_SIZE)) {
        return error_set(err, "unsupported VDI image (unaligned data offset 0x%" PRIx64 ")",
                         s->data_offset);
    }
    if (ldle32(h + VDI_SECTOR_SIZE) != BLOCK_SECTOR_SIZE) {
        return error_set(err, "unsupported VDI image (sector size %" PRIu32 " is not %u)",
                         ldle32(h + VDI_SECTOR_SIZE), BLOCK_SECTOR_SIZE);
    }
    if (block_size != VDI_BLOCK) {
        return error_set(err, "unsupported VDI image (block size %" PRIu32 " is not %u)",
                         block_size, VDI_BLOCK);
    }
    if (s->blocks > VDI_MAX_BLOCKS) {
        return error_set(err, "unsupported VDI image (too many blocks %u, max is %u)", s->blocks,
                         VDI_MAX_BLOCKS);
    }
    if (s->size > (uint64_t)s->blocks * VDI_BLOCK) {
        return error_set(err,
                         "unsupported VDI image (disk size %" PRIu64
                         ", image bitmap has room for %" PRIu64 ")",
                         s->size, (uint64_t)s->blocks * VDI_BLOCK);
    }
    if (!vdi_is_null(h + VDI_UUID_LINK)) {
        return error_set(err, "unsupported VDI image (non-NULL link UUID)");
    }
    if (!vdi_is_null(h + VDI_UUID_PARENT)) {
        return error_set(err, "unsupported VDI image (non-NULL parent UUID)");
    }
    if (s->data_offset < s->bmap_offset + ROUND_UP(s->blocks * 4ull, BLOCK_SECTOR_SIZE)) {
        return error_set(err, "VDI image is corrupt: its data begins within its block map");
    }
    return true;
}

static void vdi_forget(VdiState *s)
{
    block_map_destroy(&s->map);
    sparse_free(s->used, s->blocks / 8 + 1);
    s->used = NULL;
}

static bool coroutine_fn vdi_load(BlockNode *node, GError **err)
{
    VdiState *s = block_node_state(node);
    int64_t length = block_exact_length(node->file);
    int ret = length < 0 ? length : block_pread(node->file, 0, s->header, VDI_HEADER_BYTES);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VDI header");
    }
    s->bmap_offset = ldle32(s->header + VDI_BMAP_OFFSET);
    s->data_offset = ldle32(s->header + VDI_DATA_OFFSET);
    s->blocks = ldle32(s->header + VDI_BLOCKS);
    s->size = ldle64(s->header + VDI_DISK_SIZE);
    s->size = s->size > INT64_MAX ? s->size : ROUND_UP(s->size, BLOCK_SECTOR_SIZE);
    if (!vdi_header_ok(s, err)) {
        return false;
    }
    if ((uint64_t)length < s->bmap_offset + s->blocks * 4ull) {
        return error_set(err, "VDI image is truncated: it ends within its block map");
    }
    s->map = (BlockMap){
        .ops = &vdi_map_ops,
        .opaque = s,
        .node = node,
        .file = &node->file,
        .length = s->size,
        .block_size = VDI_BLOCK,
        .entry_size = 4,
        .page_entries = BLOCK_SECTOR_SIZE / 4,
        .most_pages = 8192, /* the index of a disk of 1 TiB */
    };
    block_map_init(&s->map);
    return true;
}

static bool coroutine_fn vdi_open(BlockNode *node, GError **err)
{
    VdiState *s = block_node_state(node);

    return block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                            &node->file, err) &&
           vdi_load(node, err);
}

static int coroutine_fn vdi_flush(BlockNode *node)
{
    VdiState *s = block_node_state(node);
    int ret = block_map_flush(&s->map);

    /* A write that failed has given its block back. */
    co_mutex_lock(&s->map.lock);
    if (ret == 0 && s->used && !s->map.pending.list &&
        s->top != ldle32(s->header + VDI_ALLOCATED)) {
        ret = vdi_write_count(s, s->top);
        ret = ret < 0 ? ret : block_flush(node->file);
    }
    co_mutex_unlock(&s->map.lock);
    return ret;
}

/* The core has flushed the node. */
static void coroutine_fn vdi_close(BlockNode *node)
{
    vdi_forget(block_node_state(node));
}

static int coroutine_fn vdi_inactivate(BlockNode *node)
{
    VdiState *s = block_node_state(node);
    int ret = s->map.pages && !node->read_only ? vdi_flush(node) : 0;

    if (ret == 0) {
        vdi_forget(s);
    }
    return ret;
}

static bool coroutine_fn vdi_activate(BlockNode *node, GError **err)
{
    vdi_forget(block_node_state(node));
    return vdi_load(node, err);
}

static int coroutine_fn vdi_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    VdiState *s = block_node_state(node);

    return block_map_preadv(&s->map, offset, bytes, iov, niov);
}

static int coroutine_fn vdi_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov, unsigned flags)
{
    VdiState *s = block_node_state(node);

    return block_map_pwritev(&s->map, offset, bytes, iov, niov);
}

static int coroutine_fn vdi_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          unsigned flags)
{
    VdiState *s = block_node_state(node);

    return block_map_pwrite_zeroes(&s->map, offset, bytes, flags);
}

static int coroutine_fn vdi_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    VdiState *s = block_node_state(node);

    return block_map_pdiscard(&s->map, offset, bytes);
}

static bool vdi_is_static(const VdiState *s)
{
    return ldle32(s->header + VDI_TYPE) == VDI_TYPE_STATIC;
}

static int coroutine_fn vdi_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    VdiState *s = block_node_state(node);
    int ret = block_map_status(&s->map, offset, bytes, pnum, map, file);

    /* The file knows which blocks were never written. */
    return ret > 0 && (ret & BLOCK_STATUS_DATA) && vdi_is_static(s) ? ret | BLOCK_STATUS_RECURSE
                                                                    : ret;
}

static int64_t vdi_length(BlockNode *node)
{
    return ((VdiState *)block_node_state(node))->size;
}

static bool vdi_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                           BlockMapping *map)
{
    VdiState *s = block_node_state(node);

    return block_map_cached(&s->map, offset, bytes, map);
}

static bool vdi_info(BlockNode *node, BlockDriverInfo *info)
{
    *info = (BlockDriverInfo){.cluster_size = VDI_BLOCK};
    return true;
}

/* --- check --- */

typedef struct {
    VdiState *s;
    BlockCheckResult *res;
    uint8_t *seen; /* a bit for each block in the file */
    uint32_t count, top;
    bool quiet;
} VdiCheck;

static int coroutine_fn vdi_check_block(BlockMap *m, uint64_t block, uint64_t entry, void *data)
{
    VdiCheck *c = data;

    if (entry >= VDI_ABSENT) {
        return 0;
    }
    if (entry >= c->s->blocks) {
        c->res->corruptions++;
        if (!c->quiet) {
            fprintf(stderr, "ERROR: block index %" PRIu64 " too large, is %" PRIu64 "\n", block,
                    entry);
        }
        return 0;
    }
    c->count++;
    c->top = MAX(c->top, entry + 1);
    if (c->seen[entry / 8] & BIT(entry % 8)) {
        c->res->corruptions++;
        if (!c->quiet) {
            fprintf(stderr, "ERROR: block index %" PRIu64 " also used by %" PRIu64 "\n", entry,
                    entry);
        }
    }
    c->seen[entry / 8] |= BIT(entry % 8);
    return 0;
}

/* The header's count: too low and others overwrite blocks, too high and room is lost. */
static int coroutine_fn vdi_check_count(VdiCheck *c, unsigned fix)
{
    VdiState *s = c->s;
    uint32_t says = ldle32(s->header + VDI_ALLOCATED);
    bool leak = says > c->count && c->top <= says && !c->res->corruptions;
    int ret = 0;

    if (says == c->count && c->top <= says) {
        return 0;
    }
    if (!c->quiet) {
        fprintf(stderr, "ERROR: allocated blocks mismatch, is %" PRIu32 ", should be %" PRIu32 "\n",
                c->count, says);
    }
    if (says != c->top && (fix & (leak ? BLOCK_CHECK_FIX_LEAKS : BLOCK_CHECK_FIX_ERRORS))) {
        co_mutex_lock(&s->map.lock);
        ret = vdi_write_count(s, c->top);
        co_mutex_unlock(&s->map.lock);
        ret = ret < 0 ? ret : block_flush(*s->map.file);
        if (ret == 0 && leak) {
            c->res->leaks_fixed += says - c->top;
            says = c->top;
        } else if (ret == 0) {
            c->res->corruptions_fixed++;
            return 0;
        }
    }
    if (leak) {
        c->res->leaks += says - c->count;
    } else {
        c->res->corruptions++;
    }
    return ret;
}

static int coroutine_fn vdi_check(BlockNode *node, BlockCheckResult *res, unsigned fix)
{
    VdiState *s = block_node_state(node);
    VdiCheck c = {.s = s, .res = res, .quiet = fix & BLOCK_CHECK_QUIET};
    int ret;

    c.seen = sparse_try_new(s->blocks / 8 + 1);
    if (!c.seen) {
        return -ENOMEM;
    }
    ret = block_map_each(&s->map, vdi_check_block, &c);
    ret = ret < 0 ? ret : vdi_check_count(&c, fix);
    sparse_free(c.seen, s->blocks / 8 + 1);
    return ret;
}

/* --- create --- */

typedef struct {
    uint64_t size;
    bool is_static;
    int preallocation;
} VdiCreate;

static const char *const vdi_prealloc_names[] = {"off", "metadata", "falloc", "full", NULL};
enum { VDI_PREALLOC_OFF, VDI_PREALLOC_METADATA };

static const Property vdi_create_props[] = {
    PROP("size", PROP_SIZE, VdiCreate, size, "0", "Virtual disk size"),
    PROP("static", PROP_BOOL, VdiCreate, is_static, "off", "VDI static (pre-allocated) image"),
    PROP_E("preallocation", VdiCreate, preallocation, "off", vdi_prealloc_names,
           "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    PROP_END,
};

static uint64_t vdi_create_data_offset(const VdiCreate *c)
{
    return VDI_HEADER_BYTES + ROUND_UP(DIV_ROUND_UP(c->size, VDI_BLOCK) * 4, BLOCK_SECTOR_SIZE);
}

static bool vdi_create_check(void *options, uint64_t *length, GError **err)
{
    VdiCreate *c = options;

    if (c->size > (uint64_t)VDI_MAX_BLOCKS * VDI_BLOCK) {
        return error_set(err,
                         "Unsupported VDI image size (size is 0x%" PRIx64
                         ", max supported is 0x%" PRIx64 ")",
                         c->size, (uint64_t)VDI_MAX_BLOCKS * VDI_BLOCK);
    }
    c->size = ROUND_UP(c->size, BLOCK_SECTOR_SIZE);
    c->is_static = c->is_static || c->preallocation != VDI_PREALLOC_OFF;
    *length = vdi_create_data_offset(c) + (c->is_static ? ROUND_UP(c->size, VDI_BLOCK) : 0);
    return true;
}

static void vdi_random_uuid(uint8_t *uuid)
{
    for (unsigned i = 0; i < VDI_UUID_BYTES; i += 4) {
        stle32(uuid + i, g_random_int());
    }
    uuid[7] = (uuid[7] & 0x0f) | 0x40; /* RFC 4122, version 4, in the layout of a GUID */
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void vdi_make_header(const VdiCreate *c, uint8_t *h)
{
    uint32_t blocks = DIV_ROUND_UP(c->size, VDI_BLOCK);

    strcpy((char *)h, "<<< vmm Virtual Disk Image >>>\n");
    stle32(h + VDI_SIGNATURE, VDI_MAGIC);
    stle32(h + VDI_VERSION, VDI_VERSION_1);
    stle32(h + VDI_HEADER_SIZE, 0x180);
    stle32(h + VDI_TYPE, c->is_static ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC);
    stle32(h + VDI_BMAP_OFFSET, VDI_HEADER_BYTES);
    stle32(h + VDI_DATA_OFFSET, vdi_create_data_offset(c));
    stle32(h + VDI_SECTOR_SIZE, BLOCK_SECTOR_SIZE);
    stle64(h + VDI_DISK_SIZE, c->size);
    stle32(h + VDI_BLOCK_SIZE, VDI_BLOCK);
    stle32(h + VDI_BLOCKS, blocks);
    stle32(h + VDI_ALLOCATED, c->is_static ? blocks : 0);
    vdi_random_uuid(h + VDI_UUID_IMAGE);
    vdi_random_uuid(h + VDI_UUID_SNAPSHOT);
}

/* Writes the index a piece at a time: of a large disk it is long. */
static int coroutine_fn vdi_create_index(BlockNode *file, const VdiCreate *c)
{
    enum { PIECE = 16384 }; /* entries */
    g_autofree uint8_t *buf = g_malloc0(PIECE * 4);
    uint32_t blocks = DIV_ROUND_UP(c->size, VDI_BLOCK);
    int ret = 0;

    for (uint32_t first = 0; first < blocks && ret == 0; first += PIECE) {
        uint32_t n = MIN(blocks - first, PIECE);

        memset(buf, 0, PIECE * 4);
        for (uint32_t i = 0; i < n; i++) {
            stle32(buf + i * 4, c->is_static ? first + i : VDI_FREE);
        }
        ret = block_pwrite(file, VDI_HEADER_BYTES + first * 4ull, buf,
                           ROUND_UP(n * 4, BLOCK_SECTOR_SIZE), 0);
    }
    return ret;
}

static bool coroutine_fn vdi_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    VdiCreate *c = options;
    uint64_t data = vdi_create_data_offset(c), bytes = ROUND_UP(c->size, VDI_BLOCK);
    uint8_t header[VDI_HEADER_BYTES] = {0};
    int ret = 0;

    vdi_make_header(c, header);
    if (c->is_static) {
        if (block_truncate(file, data + bytes, err) < 0) {
            return false;
        }
        if (bytes && (!*zero || c->preallocation > VDI_PREALLOC_METADATA)) {
            ret = block_pwrite_zeroes(file, data, bytes, 0);
        }
    }
    ret = ret < 0 ? ret : vdi_create_index(file, c);
    ret = ret < 0 ? ret : block_pwrite(file, 0, header, VDI_HEADER_BYTES, 0);
    *zero = true;
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the new image") : true;
}

const BlockDriver block_driver_vdi = {
    .name = "vdi",
    .help = "VirtualBox's image format",
    .size = sizeof(VdiState),
    .props = vdi_props,
    .probe = vdi_probe,
    .open = vdi_open,
    .close = vdi_close,
    .inactivate = vdi_inactivate,
    .activate = vdi_activate,
    .preadv = vdi_preadv,
    .pwritev = vdi_pwritev,
    .pwrite_zeroes = vdi_pwrite_zeroes,
    .pdiscard = vdi_pdiscard,
    .flush = vdi_flush,
    .block_status = vdi_block_status,
    .length = vdi_length,
    .map_cached = vdi_map_cached,
    .info = vdi_info,
    .check = vdi_check,
    .create_props = vdi_create_props,
    .create_size = sizeof(VdiCreate),
    .create_check = vdi_create_check,
    .create = vdi_create,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format 'vpc': VHD, fixed and dynamic. Differencing disks are refused.
 *
 * A dynamic disk is a table (BAT) of blocks; each has a bitmap of its sectors in front. The table
 * is in memory. A block, once it is there, stays where it is, so whoever has read an entry needs no
 * lock to use it. New blocks are made under the lock: their old content is overwritten with zeroes,
 * their bitmap written; the entry is written by the next flush, once all that is stable. So after a
 * cut of power an entry is there with its block, or the block is not in use.
 *
 * New blocks overwrite the footer at the end of the file. A flush writes it behind the last block,
 * before it writes entries; until then the copy at the file's start is the only one.
 */
#include "vpc.h"

#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "../core.h"
#include "drivers.h"

enum { MAX_ENTRIES = 16 * 1024 * 1024 };

enum { SIZE_CALC_AUTO, SIZE_CALC_CHS, SIZE_CALC_CURRENT_SIZE };

typedef struct {
    json_t *file_config;
    int size_calc;
    /* Of the image. */
    uint8_t footer[VHD_FOOTER_SIZE];
    uint64_t size;
    bool fixed;
    bool overlap; /* two blocks, or a block and the table, are in one place */
    uint32_t block_size, bitmap_size;
    uint64_t table_offset;
    uint32_t entries;
    uint32_t *table; /* atomic: sector numbers in host order; an entry is set once */
    uint8_t *full;   /* atomic, by entry: all bits of the block's bitmap are set */
    /* Under 'lock'. */
    CoMutex lock;
    uint64_t end;                    /* of the last block; the footer's place */
    uint32_t dirty_first, dirty_end; /* entries that are not in the file yet */
} VpcState;

static const char *const size_calc_names[] = {"auto", "chs", "current_size", NULL};

static const Property vpc_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(VpcState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    {.name = "force_size_calc",
     .type = PROP_ENUM,
     .offset = offsetof(VpcState, size_calc),
     .defval = "auto",
     .names = size_calc_names,
     .help = "the disk's length: its geometry, current_size, or (auto) as the creator has it",
     .flags = PROP_FLAG_NOT_JSON},
    PROP_END,
};

uint32_t vpc_checksum(const uint8_t *buf, size_t len, size_t field)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i >= field && i < field + 4 ? 0 : buf[i];
    }
    return ~sum;
}

static int vpc_probe(const uint8_t *buf, size_t len)
{
    return len >= 8 && !memcmp(buf, "conectix", 8) ? 100 : 0;
}

/* --- opening --- */

static bool footer_sums_up(const uint8_t *f)
{
    return ldbe32(f + VHD_CHECKSUM) == vpc_checksum(f, VHD_FOOTER_SIZE, VHD_CHECKSUM);
}

static bool coroutine_fn read_footer(BlockNode *node, int64_t file_length, GError **err)
{
    VpcState *s = block_node_state(node);
    uint8_t *f = s->footer;
    int ret;

    if (file_length < VHD_FOOTER_SIZE) {
        return error_set(err, "File too small for a VHD header");
    }
    ret = block_pread(node->file, 0, f, VHD_FOOTER_SIZE);
    s->fixed = ret == 0 && memcmp(f + VHD_COOKIE, "conectix", 8);
    if (s->fixed) {
        ret = block_pread(node->file, file_length - VHD_FOOTER_SIZE, f, VHD_FOOTER_SIZE);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Unable to read VHD header");
    }
    if (s->fixed && (memcmp(f + VHD_COOKIE, "conectix", 8) || ldbe32(f + VHD_TYPE) != VHD_FIXED)) {
        return error_set(err, "invalid VPC image");
    }
    if (!footer_sums_up(f)) {
        return error_set(err, "Incorrect header checksum");
    }
    if (ldbe32(f + VHD_TYPE) == VHD_DIFFERENCING) {
        return error_set(err,
                         "'%s' is a differencing VHD image, which is not supported; its parent "
                         "has what is not in it: merge the two with the tool that made them",
                         node->file->filename);
    }
    return true;
}

/*
 * Virtual PC and its kin take the geometry for the length of a disk, Hyper-V and others
 * current_size. Which of them made an image is its field 'creator application'. (Azure's "wa" is
 * not in QEMU 7.2's list, and in those of later versions.)
 */
static bool creator_uses_geometry(const uint8_t *footer)
{
    static const char by_size[][5] = {"win ", "qem2", "d2v ", "tap\0", "CTXS", "wa\0\0"};

    for (unsigned i = 0; i < ARRAY_SIZE(by_size); i++) {
        if (!memcmp(footer + VHD_CREATOR, by_size[i], 4)) {
            return false;
        }
    }
    return true;
}

static bool set_size(BlockNode *node, int64_t file_length, GError **err)
{
    VpcState *s = block_node_state(node);
    const uint8_t *f = s->footer;
    uint64_t sectors = (uint64_t)ldbe16(f + VHD_CYLINDERS) * f[VHD_HEADS] * f[VHD_SECTORS];
    bool geometry =
        s->size_calc == SIZE_CALC_AUTO ? creator_uses_geometry(f) : s->size_calc == SIZE_CALC_CHS;

    if (!geometry || sectors == VHD_MAX_GEOMETRY) {
        sectors = ldbe64(f + VHD_CURRENT_SIZE) / VHD_SECTOR;
    }
    if (sectors > VHD_MAX_SECTORS) {
        return error_set_errno(err, EFBIG, "The disk is longer than 2040 GiB");
    }
    s->size = sectors * VHD_SECTOR;
    if (s->fixed && s->size > (uint64_t)file_length - VHD_FOOTER_SIZE) {
        return error_set(err,
                         "The disk has %" PRIu64 " bytes, and its file only %" PRId64
                         " before the footer. The image has been truncated, or its geometry is "
                         "not its length (force_size_calc=current_size)",
                         s->size, file_length - VHD_FOOTER_SIZE);
    }
    return true;
}

static bool coroutine_fn read_dynamic_header(BlockNode *node, int64_t file_length, GError **err)
{
    VpcState *s = block_node_state(node);
    uint64_t at = ldbe64(s->footer + VHD_DATA_OFFSET);
    uint8_t h[VHD_HEADER_SIZE];

    if (at > (uint64_t)file_length || file_length - at < sizeof h ||
        block_pread(node->file, at, h, sizeof h) < 0) {
        return error_set(err, "Error reading dynamic VHD header");
    }
    if (memcmp(h + VHD_DYN_COOKIE, "cxsparse", 8)) {
        return error_set(err, "Invalid header magic");
    }
    s->block_size = ldbe32(h + VHD_DYN_BLOCK_SIZE);
    s->entries = ldbe32(h + VHD_DYN_MAX_ENTRIES);
    s->table_offset = ldbe64(h + VHD_DYN_TABLE_OFFSET);
    if (!is_power_of_2(s->block_size) || s->block_size < VHD_SECTOR) {
        return error_set(err, "Invalid block size %" PRIu32, s->block_size);
    }
    s->bitmap_size = ROUND_UP(DIV_ROUND_UP(s->block_size / VHD_SECTOR, 8), VHD_SECTOR);
    if ((uint64_t)s->entries * s->block_size < s->size) {
        return error_set(err, "Page table too small");
    }
    if (s->entries > MAX_ENTRIES) {
        return error_set(err, "Max Table Entries too large (%" PRIu32 ")", s->entries);
    }
    if (s->table_offset > (uint64_t)file_length ||
        file_length - s->table_offset < s->entries * 4ull) {
        return error_set(err, "Error reading pagetable: it reaches past the end of the file");
    }
    return true;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Where the blocks end; whether one is where another thing is. */
static void look_at_blocks(VpcState *s)
{
    uint64_t header = ldbe64(s->footer + VHD_DATA_OFFSET), before;
    uint64_t block = ((uint64_t)s->bitmap_size + s->block_size) / VHD_SECTOR;
    g_autofree uint32_t *sorted = g_new(uint32_t, MAX(s->entries, 1));
    uint32_t n = 0;

    /* Usually a block's first sector may be behind footer, header and table at the earliest. */
    before = MAX(s->table_offset + s->entries * 4ull, header + VHD_HEADER_SIZE);
    s->end = ROUND_UP(before, VHD_SECTOR);
    s->overlap = header < VHD_FOOTER_SIZE || s->table_offset < VHD_FOOTER_SIZE ||
                 (s->table_offset < header + VHD_HEADER_SIZE &&
                  header < s->table_offset + s->entries * 4ull);
    for (uint32_t i = 0; i < s->entries; i++) {
        if (s->table[i] != VHD_UNUSED) {
            sorted[n++] = s->table[i];
        }
    }
    qsort(sorted, n, sizeof *sorted, compare_u32);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t start = sorted[i] * (uint64_t)VHD_SECTOR, end = start + block * VHD_SECTOR;

        s->overlap = s->overlap || start < VHD_FOOTER_SIZE ||
                     (start < header + VHD_HEADER_SIZE && header < end) ||
                     (start < s->table_offset + s->entries * 4ull && s->table_offset < end) ||
                     (i && sorted[i] - sorted[i - 1] < block);
        s->end = MAX(s->end, end);
    }
}

static bool coroutine_fn read_table(BlockNode *node, int64_t file_length, GError **err)
{
    VpcState *s = block_node_state(node);
    int ret;

    s->table = g_try_new0(uint32_t, MAX(s->entries, 1));
    s->full = g_try_malloc0(MAX(s->entries, 1));
    if (!s->table || !s->full) {
        return error_set_errno(err, ENOMEM, "Error reading pagetable");
    }
    ret = block_pread(node->file, s->table_offset, s->table, s->entries * 4ull);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Error reading pagetable");
    }
    for (uint32_t i = 0; i < s->entries; i++) {
        s->table[i] = ldbe32(&s->table[i]);
    }
    look_at_blocks(s);
    if (s->end > (uint64_t)file_length) {
        return error_set(err, "block-vpc: free_data_block_offset points after the end of file. The "
                              "image has been truncated.");
    }
    return true;
}

static void forget_image(VpcState *s)
{
    g_clear_pointer(&s->table, g_free);
    g_clear_pointer(&s->full, g_free);
    s->dirty_first = s->dirty_end = 0;
    s->overlap = false;
}

static bool coroutine_fn load_image(BlockNode *node, GError **err)
{
    VpcState *s = block_node_state(node);
    int64_t file_length = block_exact_length(node->file);

    forget_image(s);
    if (file_length < 0) {
        return error_set_errno(err, -file_length, "Invalid file length");
    }
    return read_footer(node, file_length, err) && set_size(node, file_length, err) &&
           (s->fixed ||
            (read_dynamic_header(node, file_length, err) && read_table(node, file_length, err)));
}

static bool coroutine_fn vpc_open(BlockNode *node, GError **err)
{
    VpcState *s = block_node_state(node);

    if (!block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    if (!load_image(node, err)) {
        forget_image(s);
        return false;
    }
    co_mutex_init(&s->lock);
    return true;
}

/* Also when the node has become writable. */
static bool coroutine_fn vpc_opened(BlockNode *node, GError **err)
{
    VpcState *s = block_node_state(node);

    if (!node->read_only && s->overlap) {
        return error_set(err, "vpc: Image is corrupt: two of its blocks, or a block and a table, "
                              "are in one place; cannot be opened read/write");
    }
    return true;
}

static void vpc_close(BlockNode *node)
{
    VpcState *s = block_node_state(node);

    forget_image(s);
    co_mutex_destroy(&s->lock);
}

/* --- mapping --- */

/* Where the byte 'guest' is in the file; 0: its block does not exist. */
static uint64_t map_guest(VpcState *s, uint64_t guest)
{
    uint32_t sector;

    if (s->fixed) {
        return guest;
    }
    sector = __atomic_load_n(&s->table[guest / s->block_size], __ATOMIC_ACQUIRE);
    return sector == VHD_UNUSED
               ? 0
               : sector * (uint64_t)VHD_SECTOR + s->bitmap_size + guest % s->block_size;
}

/* How much of a range is in its first block. */
static uint64_t in_one_block(const VpcState *s, uint64_t guest, uint64_t bytes)
{
    return s->fixed ? bytes : MIN(bytes, s->block_size - guest % s->block_size);
}

static bool vpc_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                           BlockMapping *map)
{
    VpcState *s = block_node_state(node);
    uint64_t host = map_guest(s, offset);

    if ((!host && !s->fixed) || in_one_block(s, offset, bytes) < bytes ||
        (write && !s->fixed &&
         !__atomic_load_n(&s->full[offset / s->block_size], __ATOMIC_ACQUIRE))) {
        return false;
    }
    map->file = node->file;
    map->offset = host;
    map->bytes = bytes;
    return true;
}

static int coroutine_fn vpc_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    VpcState *s = block_node_state(node);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        uint64_t host = map_guest(s, offset + done);
        unsigned n;

        len = in_one_block(s, offset + done, bytes - done);
        n = iov_slice(part, niov, iov, niov, done, len);
        if (host || s->fixed) {
            ret = block_preadv(node->file, host, len, part, n);
        } else {
            iov_memset(part, n, 0, 0, len);
        }
    }
    return ret;
}

static int coroutine_fn vpc_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    VpcState *s = block_node_state(node);
    uint64_t host = map_guest(s, offset), len = in_one_block(s, offset, bytes);

    /* Blocks that do not exist are one run; one that does is, as its bitmap is in front of it. */
    while (!s->fixed && !host && len < bytes && !map_guest(s, offset + len)) {
        len += in_one_block(s, offset + len, bytes - len);
    }
    *pnum = len;
    if (!s->fixed && !host) {
        return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    }
    *map = host;
    *file = node->file;
    /* Of a fixed disk the file knows what was never written. */
    return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID |
           (s->fixed ? BLOCK_STATUS_RECURSE : 0);
}

/* --- writing --- */

/* Under lock. */
static int coroutine_fn new_block(BlockNode *node, uint32_t index)
{
    VpcState *s = block_node_state(node);
    uint64_t at = s->end, end = at + s->bitmap_size + s->block_size;
    g_autofree uint8_t *bitmap = NULL;
    int ret;

    if (at / VHD_SECTOR >= VHD_UNUSED) {
        return -EFBIG;
    }
    bitmap = g_malloc(s->bitmap_size);
    memset(bitmap, 0xff, s->bitmap_size);
    ret = block_clear_space(node->file, at + s->bitmap_size, s->block_size);
    ret = ret < 0 ? ret : block_pwrite(node->file, at, bitmap, s->bitmap_size, 0);
    if (ret < 0) {
        return ret;
    }
    s->end = end;
    if (s->dirty_first == s->dirty_end) {
        s->dirty_first = index;
        s->dirty_end = index + 1;
    } else {
        s->dirty_first = MIN(s->dirty_first, index);
        s->dirty_end = MAX(s->dirty_end, index + 1);
    }
    __atomic_store_n(&s->full[index], 1, __ATOMIC_RELEASE);
    __atomic_store_n(&s->table[index], at / VHD_SECTOR, __ATOMIC_RELEASE);
    return 0;
}

/*
 * Under lock. Sets the bits of the sectors of [from, +bytes) in the block's bitmap: others that
 * read the image may take a sector without its bit for zeroes. (In what this program and QEMU
 * write, sectors that were not written are zeroes, and bits are not looked at.)
 */
static int coroutine_fn mark_sectors(BlockNode *node, uint32_t index, uint64_t from, uint64_t bytes)
{
    VpcState *s = block_node_state(node);
    uint64_t at = s->table[index] * (uint64_t)VHD_SECTOR;
    unsigned sectors = s->block_size / VHD_SECTOR;
    g_autofree uint8_t *bitmap = g_malloc(s->bitmap_size);
    bool full = true, changed = false;
    int ret = block_pread(node->file, at, bitmap, s->bitmap_size);

    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < sectors; i++) {
        uint8_t bit = 0x80 >> i % 8; /* the first sector is the highest bit */

        if (!(bitmap[i / 8] & bit)) {
            bool mine = i >= from / VHD_SECTOR && i * (uint64_t)VHD_SECTOR < from + bytes;

            bitmap[i / 8] |= mine ? bit : 0;
            changed = changed || mine;
            full = full && mine;
        }
    }
    ret = changed ? block_pwrite(node->file, at, bitmap, s->bitmap_size, 0) : 0;
    if (ret == 0 && full) {
        __atomic_store_n(&s->full[index], 1, __ATOMIC_RELEASE);
    }
    return ret;
}

/* The range lies in one block. Afterwards the block exists, and the bits of the range are set. */
static int coroutine_fn prepare_write(BlockNode *node, uint64_t guest, uint64_t bytes)
{
    VpcState *s = block_node_state(node);
    uint32_t index;
    int ret = 0;

    if (s->fixed) {
        return 0;
    }
    index = guest / s->block_size;
    if (__atomic_load_n(&s->full[index], __ATOMIC_ACQUIRE)) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    if (s->table[index] == VHD_UNUSED) {
        ret = new_block(node, index);
    } else if (!s->full[index]) {
        ret = mark_sectors(node, index, guest % s->block_size, bytes);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int coroutine_fn vpc_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov, unsigned flags)
{
    VpcState *s = block_node_state(node);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        len = in_one_block(s, offset + done, bytes - done);
        ret = prepare_write(node, offset + done, len);
        if (ret == 0) {
            unsigned n = iov_slice(part, niov, iov, niov, done, len);

            ret = block_pwritev(node->file, map_guest(s, offset + done), len, part, n, flags);
        }
    }
    return ret;
}

static int coroutine_fn vpc_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          unsigned flags)
{
    VpcState *s = block_node_state(node);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        uint64_t host = map_guest(s, offset + done);

        len = in_one_block(s, offset + done, bytes - done);
        if (host || s->fixed) {
            ret = block_pwrite_zeroes(node->file, host, len, flags);
        }
    }
    return ret;
}

static int coroutine_fn vpc_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    VpcState *s = block_node_state(node);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        uint64_t host = map_guest(s, offset + done);

        len = in_one_block(s, offset + done, bytes - done);
        if (host || s->fixed) {
            ret = block_pdiscard(node->file, host, len);
        }
    }
    return ret;
}

/* Under lock. The footer goes behind the last block, and is the end of the file. */
static int coroutine_fn write_footer(BlockNode *node)
{
    VpcState *s = block_node_state(node);
    uint64_t end = s->end + VHD_FOOTER_SIZE;
    int ret = block_pwrite(node->file, s->end, s->footer, VHD_FOOTER_SIZE, 0);

    if (ret == 0 && block_exact_length(node->file) > (int64_t)end) {
        /* What a cut of power has left behind. A file that cannot be cut off keeps it. */
        ret = block_truncate(node->file, end, NULL);
        ret = ret == -ENOTSUP || ret == -EINVAL ? 0 : ret;
    }
    return ret;
}

/* Under lock. */
static int coroutine_fn write_entries(BlockNode *node)
{
    VpcState *s = block_node_state(node);
    /* Whole sectors, which a disk does not tear. */
    uint32_t first = ROUND_DOWN(s->dirty_first, VHD_SECTOR / 4);
    uint32_t end = MIN(ROUND_UP(s->dirty_end, VHD_SECTOR / 4), s->entries);
    g_autofree uint8_t *buf = g_try_malloc((end - first) * 4ull);

    if (!buf) {
        return -ENOMEM;
    }
    for (uint32_t i = first; i < end; i++) {
        stbe32(buf + (i - first) * 4ull, s->table[i]);
    }
    return block_pwrite(node->file, s->table_offset + first * 4ull, buf, (end - first) * 4ull, 0);
}

static int coroutine_fn vpc_flush(BlockNode *node)
{
    VpcState *s = block_node_state(node);
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (s->dirty_first != s->dirty_end) {
        ret = write_footer(node);
        ret = ret < 0 ? ret : block_flush(node->file);
        ret = ret < 0 ? ret : write_entries(node);
        if (ret == 0) {
            s->dirty_first = s->dirty_end = 0;
        }
    }
    co_mutex_unlock(&s->lock);
    return ret < 0 ? ret : block_flush(node->file);
}

/* --- the driver --- */

static int coroutine_fn vpc_inactivate(BlockNode *node)
{
    int ret = vpc_flush(node);

    if (ret == 0) {
        forget_image(block_node_state(node));
    }
    return ret;
}

static bool coroutine_fn vpc_activate(BlockNode *node, GError **err)
{
    return load_image(node, err) && vpc_opened(node, err);
}

static int64_t vpc_length(BlockNode *node)
{
    VpcState *s = block_node_state(node);

    return s->size;
}

static bool vpc_info(BlockNode *node, BlockDriverInfo *info)
{
    VpcState *s = block_node_state(node);

    *info = (BlockDriverInfo){.cluster_size = s->fixed ? 0 : s->block_size};
    return true;
}

const BlockDriver block_driver_vpc = {
    .name = "vpc",
    .help = "VHD images of Virtual PC and Hyper-V, fixed and dynamic",
    .size = sizeof(VpcState),
    .props = vpc_props,
    .probe = vpc_probe,
    .open = vpc_open,
    .opened = vpc_opened,
    .close = vpc_close,
    .reopened = vpc_opened,
    .inactivate = vpc_inactivate,
    .activate = vpc_activate,
    .preadv = vpc_preadv,
    .pwritev = vpc_pwritev,
    .pwrite_zeroes = vpc_pwrite_zeroes,
    .pdiscard = vpc_pdiscard,
    .flush = vpc_flush,
    .block_status = vpc_block_status,
    .length = vpc_length,
    .map_cached = vpc_map_cached,
    .info = vpc_info,
    .create_props = vpc_create_props,
    .create_size = sizeof(VpcCreate),
    .create_check = vpc_create_check,
    .create = vpc_create,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images: headers, an empty log, the table of blocks, metadata. */
#include <errno.h>
#include <inttypes.h>
#include "vhdx.h"

enum { SUBFORMAT_DYNAMIC, SUBFORMAT_FIXED };
static const char *const subformat_names[] = {"dynamic", "fixed", NULL};

const Property vhdx_create_props[] = {
    PROP("size", PROP_SIZE, VhdxCreate, size, "0", "Virtual disk size; max of 64TB."),
    PROP("log_size", PROP_SIZE, VhdxCreate, log_size, "1M", "Log size; min 1MB."),
    PROP("block_size", PROP_SIZE, VhdxCreate, block_size, "0",
         "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."),
    PROP_E("subformat", VhdxCreate, subformat, "dynamic", subformat_names,
           "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."),
    PROP("block_state_zero", PROP_BOOL, VhdxCreate, block_state_zero, "on",
         "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to "
         "'off' when using 'qemu-img convert' with subformat=dynamic."),
    PROP_END,
};

enum { SECTOR_SIZE = 512 };

/* Where the parts are. Blocks come last. */
typedef struct {
    uint64_t table, table_length, metadata, blocks;
    uint64_t count; /* of blocks */
    uint32_t chunk;
} Layout;

static uint64_t automatic_block_size(uint64_t size)
{
    return size > (32ull << 40) ? 64 * MiB
           : size > 100 * GiB   ? 32 * MiB
           : size > GiB         ? 16 * MiB
                                : 8 * MiB;
}

static bool check_options(VhdxCreate *o, GError **err)
{
    if (o->size > VHDX_MAX_SIZE) {
        return error_set(err, "Image size too large; max of 64TB");
    }
    o->size = ROUND_UP(o->size, SECTOR_SIZE);
    if (o->log_size == 0) {
        return error_set(err, "Log size must be a multiple of 1 MB");
    }
    if (o->log_size > UINT32_MAX) {
        return error_set(err, "Log size must be smaller than 4 GB");
    }
    o->log_size = ROUND_UP(o->log_size, MiB);
    if (o->log_size > UINT32_MAX) {
        return error_set(err, "Log size must be smaller than 4 GB");
    }
    o->block_size = o->block_size ? MIN(o->block_size, 256 * MiB) : automatic_block_size(o->size);
    o->block_size = ROUND_UP(o->block_size, MiB);
    if (!is_power_of_2(o->block_size)) {
        return error_set(err, "Block size must be a power of two");
    }
    return true;
}

static Layout lay_out(const VhdxCreate *o)
{
    Layout l = {.table = VHDX_HEADER_SECTION + o->log_size,
                .count = DIV_ROUND_UP(o->size, o->block_size),
                .chunk = (uint64_t)(1u << 23) * SECTOR_SIZE / o->block_size};
    uint64_t entries = l.count ? l.count + (l.count - 1) / l.chunk : 0;

    l.table_length = MAX(ROUND_UP(entries * 8, VHDX_ALIGN), VHDX_ALIGN);
    l.metadata = l.table + l.table_length;
    l.blocks = l.metadata + VHDX_ALIGN;
    return l;
}

static uint64_t file_length(const VhdxCreate *o, const Layout *l)
{
    return l->blocks + (o->subformat == SUBFORMAT_FIXED ? l->count * o->block_size : 0);
}

bool vhdx_create_check(void *options, uint64_t *length, GError **err)
{
    VhdxCreate *o = options;
    Layout l;

    if (!check_options(o, err)) {
        return false;
    }
    l = lay_out(o);
    *length = file_length(o, &l);
    return true;
}

/* "vhdxfile", and who has made the image, in UTF-16. */
static void build_identifier(uint8_t *out)
{
    static const char creator[] = "vmm";

    memset(out, 0, VHDX_CREATOR_SIZE);
    memcpy(out, "vhdxfile", 8);
    for (unsigned i = 0; creator[i]; i++) {
        stle16(out + 8 + 2 * i, creator[i]);
    }
}

static void build_header(const VhdxCreate *o, uint8_t *h, uint32_t sequence)
{
    memset(h, 0, VHDX_HEADER_SIZE);
    memcpy(h, "head", 4);
    stle64(h + HDR_SEQUENCE, sequence);
    vhdx_new_guid(h + HDR_FILE_WRITE_GUID);
    vhdx_new_guid(h + HDR_DATA_WRITE_GUID);
    stle16(h + HDR_VERSION, 1);
    stle32(h + HDR_LOG_LENGTH, o->log_size);
    stle64(h + HDR_LOG_OFFSET, VHDX_HEADER_SECTION);
    vhdx_put_crc(h, VHDX_HEADER_SIZE);
}

static void put_region(uint8_t *e, const uint8_t *guid, uint64_t offset, uint32_t length)
{
    memcpy(e, guid, VHDX_GUID);
    stle64(e + REG_ENTRY_OFFSET, offset);
    stle32(e + REG_ENTRY_LENGTH, length);
    stle32(e + REG_ENTRY_REQUIRED, 1);
}

static void build_regions(const Layout *l, uint8_t *t)
{
    memset(t, 0, VHDX_REGIONS_SIZE);
    memcpy(t, "regi", 4);
    stle32(t + REG_COUNT, 2);
    put_region(t + REG_ENTRIES, vhdx_guid_bat, l->table, l->table_length);
    put_region(t + REG_ENTRIES + REG_ENTRY_SIZE, vhdx_guid_metadata, l->metadata, VHDX_ALIGN);
    vhdx_put_crc(t, VHDX_REGIONS_SIZE);
}

/* The table and, behind it, the items' values. */
static void build_metadata(const VhdxCreate *o, uint8_t *t)
{
    uint8_t parameters[8], size[8], id[VHDX_GUID], sector[4];
    const struct {
        const uint8_t *guid, *value;
        uint32_t length, flags;
    } items[] = {
        {vhdx_guid_parameters, parameters, sizeof parameters, META_REQUIRED},
        {vhdx_guid_size, size, sizeof size, META_REQUIRED | META_IS_DISK},
        {vhdx_guid_disk_id, id, sizeof id, META_REQUIRED | META_IS_DISK},
        {vhdx_guid_logical, sector, sizeof sector, META_REQUIRED | META_IS_DISK},
        {vhdx_guid_physical, sector, sizeof sector, META_REQUIRED | META_IS_DISK},
    };
    uint32_t at = META_TABLE_SIZE;

    stle32(parameters, o->block_size);
    stle32(parameters + 4, o->subformat == SUBFORMAT_FIXED ? PARAM_LEAVE_ALLOCATED : 0);
    stle64(size, o->size);
    stle32(sector, SECTOR_SIZE);
    vhdx_new_guid(id);
    memset(t, 0, META_TABLE_SIZE + VHDX_SECTOR);
    memcpy(t, "metadata", 8);
    stle16(t + META_COUNT, ARRAY_SIZE(items));
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        uint8_t *e = t + META_ENTRIES + i * (size_t)META_ENTRY_SIZE;

        memcpy(e, items[i].guid, VHDX_GUID);
        stle32(e + META_ENTRY_OFFSET, at);
        stle32(e + META_ENTRY_LENGTH, items[i].length);
        stle32(e + META_ENTRY_FLAGS, items[i].flags);
        memcpy(t + at, items[i].value, items[i].length);
        at += items[i].length;
    }
}

/* Writes the table in pieces. 'buf' has VHDX_ALIGN bytes. */
static int coroutine_fn write_table(BlockNode *file, const VhdxCreate *o, const Layout *l,
                                    uint8_t *buf)
{
    uint64_t per_piece = VHDX_ALIGN / 8, block = 0;
    int ret = 0;

    for (uint64_t first = 0; first * 8 < l->table_length && ret == 0; first += per_piece) {
        memset(buf, 0, VHDX_ALIGN);
        for (uint64_t i = 0; i < per_piece && block < l->count; i++) {
            uint64_t entry = o->block_state_zero ? BLOCK_ZERO : BLOCK_NOT_PRESENT;

            if ((first + i) % (l->chunk + 1ull) == l->chunk) {
                continue; /* of a sector bitmap, which no disk of ours has */
            }
            if (o->subformat == SUBFORMAT_FIXED) {
                entry = (l->blocks + block * o->block_size) | BLOCK_PRESENT;
            }
            stle64(buf + 8 * i, entry);
            block++;
        }
        ret = block_pwrite(file, l->table + first * 8, buf, VHDX_ALIGN, 0);
    }
    return ret;
}

/* 'zero': the file's other bytes read as zeroes. */
static int coroutine_fn write_image(BlockNode *file, const VhdxCreate *o, const Layout *l,
                                    bool zero)
{
    block_auto_buffer uint8_t *buf = block_buffer_new(file, VHDX_ALIGN);
    uint32_t sequence = g_random_int();
    uint64_t length = file_length(o, l);
    int ret = buf ? block_truncate(file, length, NULL) : -ENOMEM;

    ret = ret == -ENOTSUP ? 0 : ret; /* a device, which is long enough */
    if (ret == 0 && !zero) {
        ret = block_pwrite_zeroes(file, 0, l->table, 0);
        ret = ret < 0 ? ret : block_pwrite_zeroes(file, l->blocks, length - l->blocks, 0);
    }
    if (ret == 0) {
        build_regions(l, buf);
        ret = block_pwrite(file, VHDX_REGIONS_1, buf, VHDX_REGIONS_SIZE, 0);
        ret = ret < 0 ? ret : block_pwrite(file, VHDX_REGIONS_2, buf, VHDX_REGIONS_SIZE, 0);
    }
    if (ret == 0) {
        memset(buf, 0, VHDX_ALIGN);
        build_metadata(o, buf);
        ret = block_pwrite(file, l->metadata, buf, META_TABLE_SIZE + VHDX_SECTOR, 0);
    }
    ret = ret < 0 ? ret : write_table(file, o, l, buf);
    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        build_header(o, buf, sequence + i);
        ret = block_pwrite(file, i ? VHDX_HEADER_2 : VHDX_HEADER_1, buf, VHDX_HEADER_SIZE, 0);
    }
    if (ret == 0) {
        build_identifier(buf);
        ret = block_pwrite(file, 0, buf, VHDX_CREATOR_SIZE, 0);
    }
    return ret;
}

bool coroutine_fn vhdx_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    VhdxCreate *o = options;
    Layout l;
    int ret;

    if (!check_options(o, err)) {
        return false;
    }
    l = lay_out(o);
    ret = write_image(file, o, &l, *zero);
    *zero = true;
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the new image") : true;
}

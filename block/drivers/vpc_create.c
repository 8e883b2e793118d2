/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New VHD images. */
#include "vpc.h"

#include <errno.h>
#include <time.h>
#include "base/error.h"
#include "base/util.h"
#include "../core.h"

enum { SUBFORMAT_DYNAMIC, SUBFORMAT_FIXED };
static const char *const subformat_names[] = {"dynamic", "fixed", NULL};

const Property vpc_create_props[] = {
    PROP("size", PROP_SIZE, VpcCreate, size, "0", "Virtual disk size"),
    PROP_E("subformat", VpcCreate, subformat, "dynamic", subformat_names,
           "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "),
    PROP("force_size", PROP_BOOL, VpcCreate, force_size, "off",
         "Force disk size calculation to use the actual size specified, rather than using the "
         "nearest CHS-based calculation"),
    {.name = "exact_size",
     .type = PROP_BOOL,
     .offset = offsetof(VpcCreate, exact_size),
     .flags = PROP_FLAG_HIDDEN,
     .help = "Refuse a size that the geometry cannot say"},
    PROP_END,
};

typedef struct {
    uint16_t cylinders;
    uint8_t heads, per_track;
} Geometry;

static uint64_t geometry_sectors(Geometry g)
{
    return (uint64_t)g.cylinders * g.heads * g.per_track;
}

/* The specification's appendix, 'CHS Calculation'. The result may be smaller than the disk. */
static Geometry geometry_of(uint64_t sectors)
{
    uint64_t tracks; /* cylinders times heads */
    unsigned heads = 16, per_track;

    sectors = MIN(sectors, VHD_MAX_GEOMETRY);
    if (sectors >= 65535ull * 16 * 63) {
        per_track = 255;
        tracks = sectors / per_track;
    } else {
        per_track = 17;
        tracks = sectors / per_track;
        heads = MAX((tracks + 1023) / 1024, 4);
        if (tracks >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * 1024) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    return (Geometry){tracks / heads, heads, per_track};
}

/*
 * The disk's geometry and its length in sectors. Virtual PC takes the geometry for the length: so a
 * disk that has one is made a little longer, until the geometry covers what was asked for.
 */
static Geometry choose_geometry(const VpcCreate *o, uint64_t *sectors)
{
    uint64_t want = MIN(o->size / VHD_SECTOR, VHD_MAX_GEOMETRY);
    Geometry g = {0};

    if (o->force_size) {
        g = (Geometry){65535, 16, 255};
    }
    for (unsigned more = 0; !o->force_size && geometry_sectors(g) < want; more++) {
        g = geometry_of(want + more);
    }
    *sectors = geometry_sectors(g) == VHD_MAX_GEOMETRY ? o->size / VHD_SECTOR : geometry_sectors(g);
    return g;
}

static uint64_t table_entries(uint64_t sectors)
{
    return DIV_ROUND_UP(sectors, VHD_BLOCK_SIZE / VHD_SECTOR);
}

bool vpc_create_check(void *options, uint64_t *length, GError **err)
{
    VpcCreate *o = options;
    uint64_t sectors = VHD_MAX_SECTORS + 1;

    if (o->size <= INT64_MAX - VHD_SECTOR) {
        o->size = ROUND_UP(o->size, VHD_SECTOR);
        choose_geometry(o, &sectors);
    }
    if (sectors > VHD_MAX_SECTORS) {
        return error_set(err, "The image size is too large for file format 'vpc'");
    }
    if (o->exact_size && sectors * VHD_SECTOR != o->size) {
        return error_set(err, "The requested image size cannot be represented in CHS geometry");
    }
    *length = VHD_FOOTER_SIZE + (o->subformat == SUBFORMAT_FIXED
                                     ? sectors * VHD_SECTOR
                                     : VHD_FOOTER_SIZE + VHD_HEADER_SIZE +
                                           ROUND_UP(table_entries(sectors) * 4, VHD_SECTOR));
    return true;
}

static void build_footer(const VpcCreate *o, Geometry g, uint64_t sectors, uint8_t *f)
{
    bool fixed = o->subformat == SUBFORMAT_FIXED;
    int64_t since_2000 = (int64_t)time(NULL) - 946684800;

    memset(f, 0, VHD_FOOTER_SIZE);
    memcpy(f + VHD_COOKIE, "conectix", 8);
    stbe32(f + VHD_FEATURES, 2); /* the bit that is always set */
    stbe32(f + VHD_VERSION, 0x10000);
    stbe64(f + VHD_DATA_OFFSET, fixed ? UINT64_MAX : VHD_FOOTER_SIZE);
    stbe32(f + VHD_TIME_STAMP, since_2000);
    /* By these names readers know whether the geometry or current_size is the disk's length. */
    memcpy(f + VHD_CREATOR, o->force_size ? "qem2" : "qemu", 4);
    stbe32(f + VHD_CREATOR_VERSION, 0x00050003);
    memcpy(f + VHD_CREATOR_OS, "Wi2k", 4);
    stbe64(f + VHD_ORIGINAL_SIZE, sectors * VHD_SECTOR);
    stbe64(f + VHD_CURRENT_SIZE, sectors * VHD_SECTOR);
    stbe16(f + VHD_CYLINDERS, g.cylinders);
    f[VHD_HEADS] = g.heads;
    f[VHD_SECTORS] = g.per_track;
    stbe32(f + VHD_TYPE, fixed ? VHD_FIXED : VHD_DYNAMIC);
    for (unsigned i = 0; i < 16; i += 4) {
        stbe32(f + VHD_UUID + i, g_random_int());
    }
    f[VHD_UUID + 6] = 0x40 | (f[VHD_UUID + 6] & 0x0f); /* RFC 4122: random */
    f[VHD_UUID + 8] = 0x80 | (f[VHD_UUID + 8] & 0x3f);
    stbe32(f + VHD_CHECKSUM, vpc_checksum(f, VHD_FOOTER_SIZE, VHD_CHECKSUM));
}

/* Copy of the footer, header, table without blocks, footer. */
static int coroutine_fn create_dynamic(BlockNode *file, const uint8_t *footer, uint64_t sectors)
{
    uint64_t entries = table_entries(sectors), table = ROUND_UP(entries * 4, VHD_SECTOR);
    uint64_t at = VHD_FOOTER_SIZE + VHD_HEADER_SIZE;
    size_t len = at + table + VHD_FOOTER_SIZE;
    g_autofree uint8_t *image = g_malloc0(len);
    uint8_t *header = image + VHD_FOOTER_SIZE;

    memcpy(image, footer, VHD_FOOTER_SIZE);
    memcpy(header + VHD_DYN_COOKIE, "cxsparse", 8);
    stbe64(header + VHD_DYN_DATA_OFFSET, UINT64_MAX);
    stbe64(header + VHD_DYN_TABLE_OFFSET, at);
    stbe32(header + VHD_DYN_VERSION, 0x10000);
    stbe32(header + VHD_DYN_MAX_ENTRIES, entries);
    stbe32(header + VHD_DYN_BLOCK_SIZE, VHD_BLOCK_SIZE);
    stbe32(header + VHD_DYN_CHECKSUM, vpc_checksum(header, VHD_HEADER_SIZE, VHD_DYN_CHECKSUM));
    memset(image + at, 0xff, table);
    memcpy(image + at + table, footer, VHD_FOOTER_SIZE);
    return block_pwrite(file, 0, image, len, 0);
}

bool coroutine_fn vpc_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    const VpcCreate *o = options;
    uint8_t footer[VHD_FOOTER_SIZE];
    uint64_t sectors;
    Geometry g = choose_geometry(o, &sectors);
    int ret;

    build_footer(o, g, sectors, footer);
    if (o->subformat == SUBFORMAT_FIXED) {
        /* The footer at the end makes the file as long as the disk. */
        ret = block_pwrite(file, sectors * VHD_SECTOR, footer, sizeof footer, 0);
    } else {
        ret = create_dynamic(file, footer, sectors);
        *zero = true;
    }
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the new image") : true;
}

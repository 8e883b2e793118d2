/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk's geometry, its boot sectors, and the entries of the table. */
#include "vvfat.h"

#include <string.h>
#include "base/error.h"
#include "base/util.h"

enum {
    BPB_START = 11,
    BPB_END = 36,
    BPB32_END = 52,
    FAT32_RESERVED = 32,
    FAT32_INFO = 1,
    FAT32_BACKUP = 6
};

#define VOLUME_ID 0xfabe1afdu /* as QEMU's disks have it */

/* QEMU's disks, but that a FAT32 is one by its count of clusters as well, and floppies have no
 * clusters of 8 KiB. */
static const struct {
    bool floppy;
    unsigned type;
    uint32_t cylinders, heads, sectors, per_cluster;
} shapes[] = {
    {false, 16, 1024, 16, 63, 16}, {false, 12, 64, 16, 63, 16}, {false, 32, 1024, 16, 63, 8},
    {true, 12, 80, 2, 36, 2},      {true, 16, 80, 2, 36, 1},
};

static void set_shape(FatGeometry *g, uint32_t cylinders, uint32_t sectors, uint32_t heads,
                      uint32_t per_cluster)
{
    g->cylinders = cylinders;
    g->heads = heads;
    g->sectors = sectors;
    g->per_cluster = per_cluster;
    g->total = cylinders * heads * sectors;
    g->start = g->floppy ? 0 : sectors;
    g->reserved = g->type == 32 ? FAT32_RESERVED : 1;
    g->root_entries = g->type == 32 ? 0 : 512;
}

/* The table takes space from the clusters that it counts: FAT specification, section 3.8. */
static void set_tables(FatGeometry *g)
{
    uint32_t root = g->root_entries * FAT_ENTRY_SIZE / FAT_SECTOR;
    uint32_t space = g->total - g->start - g->reserved - root;

    g->fat_sectors = 0;
    do {
        g->fat_sectors++;
        g->clusters = (space - 2 * g->fat_sectors) / g->per_cluster;
    } while ((uint64_t)g->fat_sectors * FAT_SECTOR * 8 <
             (uint64_t)(g->clusters + FAT_FIRST_CLUSTER) * g->type);
    g->fat = g->start + g->reserved;
    g->root = g->fat + 2 * g->fat_sectors;
    g->data = g->root + root;
}

bool fat_geometry_init(FatGeometry *g, unsigned type, bool floppy, GError **err)
{
    *g = (FatGeometry){.floppy = floppy};
    if (type && type != 12 && type != 16 && type != 32) {
        return error_set(err, "Valid FAT types are only 12, 16 and 32");
    }
    if (floppy && type == 32) {
        return error_set(err, "a floppy is too small for FAT32: use fat-type 12 or 16");
    }
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        if (shapes[i].floppy == floppy && (!type || shapes[i].type == type)) {
            /* A FAT12 floppy that was asked for has 1.44 MB, the default one 2.88. */
            bool small = floppy && type == 12;

            g->type = shapes[i].type;
            set_shape(g, shapes[i].cylinders, small ? 18 : shapes[i].sectors, shapes[i].heads,
                      small ? 1 : shapes[i].per_cluster);
            break;
        }
    }
    set_tables(g);
    return true;
}

/* A sector's place as the table of partitions has it. */
static void put_chs(const FatGeometry *g, uint8_t *at, uint32_t sector)
{
    uint32_t cylinder = sector / (g->heads * g->sectors);

    at[0] = sector / g->sectors % g->heads;
    at[1] = (sector % g->sectors + 1) | (cylinder >> 8 << 6);
    at[2] = cylinder;
}

static int write_mbr(FatDisk *d)
{
    const FatGeometry *g = &d->geo;
    uint8_t b[FAT_SECTOR] = {0}, *entry = b + 446;

    stle32(b + 440, VOLUME_ID);
    entry[0] = 0x80;
    put_chs(g, entry + 1, g->start);
    entry[4] = g->type == 12 ? 0x01 : g->type == 16 ? 0x06 : 0x0c;
    put_chs(g, entry + 5, g->total - 1);
    stle32(entry + 8, g->start);
    stle32(entry + 12, g->total - g->start);
    stle16(b + 510, 0xaa55);
    return fat_disk_write(d, 0, 1, b);
}

/* The BIOS parameter block: FAT specification, section 3.1 to 3.3. */
static void boot_sector(const FatDisk *d, uint8_t *b)
{
    const FatGeometry *g = &d->geo;
    uint32_t total = g->total - g->start;
    uint8_t *extended = b + (g->type == 32 ? 64 : 36);

    memset(b, 0, FAT_SECTOR);
    memcpy(b, "\xeb\x3e\x90MSWIN4.1", 11);
    if (g->type == 32) {
        b[1] = 0x58;
    }
    stle16(b + 11, FAT_SECTOR);
    b[13] = g->per_cluster;
    stle16(b + 14, g->reserved);
    b[16] = 2;
    stle16(b + 17, g->root_entries);
    stle16(b + 19, g->type != 32 && total <= UINT16_MAX ? total : 0);
    b[21] = g->floppy ? 0xf0 : 0xf8;
    stle16(b + 22, g->type == 32 ? 0 : g->fat_sectors);
    stle16(b + 24, g->sectors);
    stle16(b + 26, g->heads);
    stle32(b + 28, g->start);
    stle32(b + 32, g->type == 32 || total > UINT16_MAX ? total : 0);
    if (g->type == 32) {
        stle32(b + 36, g->fat_sectors);
        stle32(b + 44, FAT_FIRST_CLUSTER);
        stle16(b + 48, FAT32_INFO);
        stle16(b + 50, FAT32_BACKUP);
    }
    extended[0] = g->floppy ? 0 : 0x80;
    extended[2] = 0x29;
    stle32(extended + 3, VOLUME_ID);
    memcpy(extended + 7, d->label, FAT_LABEL_SIZE);
    memcpy(extended + 18, g->type == 12 ? "FAT12   " : g->type == 16 ? "FAT16   " : "FAT32   ", 8);
    stle16(b + 510, 0xaa55);
}

int fat_geometry_write(FatDisk *d)
{
    const FatGeometry *g = &d->geo;
    uint8_t boot[FAT_SECTOR], info[FAT_SECTOR] = {0};
    int ret = g->floppy ? 0 : write_mbr(d);

    boot_sector(d, boot);
    if (ret == 0) {
        ret = fat_disk_write(d, g->start, 1, boot);
    }
    if (ret < 0 || g->type != 32) {
        return ret;
    }
    stle32(info, 0x41615252); /* FSInfo, section 5; the counts are not known */
    stle32(info + 484, 0x61417272);
    stle32(info + 488, UINT32_MAX);
    stle32(info + 492, UINT32_MAX);
    stle32(info + 508, 0xaa550000);
    for (uint32_t at = 0; at <= FAT32_BACKUP && ret == 0; at += FAT32_BACKUP) {
        ret = fat_disk_write(d, g->start + at, 1, boot);
        ret = ret < 0 ? ret : fat_disk_write(d, g->start + at + FAT32_INFO, 1, info);
    }
    return ret;
}

int fat_geometry_same(FatDisk *d)
{
    uint8_t has[FAT_SECTOR], want[FAT_SECTOR];
    int ret = fat_disk_read(d, d->geo.start, 1, has);

    if (ret < 0) {
        return ret;
    }
    boot_sector(d, want);
    /* What a system may change: its name, its code, the volume's label. */
    return !memcmp(has + BPB_START, want + BPB_START,
                   (d->geo.type == 32 ? BPB32_END : BPB_END) - BPB_START);
}

/* FAT specification, section 4 (the second entry of the table); the boot sector's bit is later. */
int fat_geometry_marks(FatDisk *d)
{
    const FatGeometry *g = &d->geo;
    uint8_t boot[FAT_SECTOR], table[FAT_SECTOR];
    int ret = fat_disk_read(d, g->start, 1, boot);
    bool clean = true;

    ret = ret < 0 ? ret : fat_disk_read(d, g->fat, 1, table);
    if (ret < 0) {
        return ret;
    }
    if (g->type != 12) {
        clean = g->type == 32 ? ldle32(table + 4) & BIT(27) : ldle16(table + 2) & BIT(15);
    }
    return (boot[g->type == 32 ? 65 : 37] & 1 ? FAT_MARK_BOOT : 0) | (clean ? 0 : FAT_MARK_TABLE);
}

uint32_t fat_get(const FatGeometry *g, const uint8_t *table, uint32_t cluster)
{
    uint32_t value;

    switch (g->type) {
    case 12:
        value = ldle16(table + cluster + cluster / 2);
        value = cluster & 1 ? value >> 4 : value & 0xfff;
        return value >= 0xff8 ? FAT_END : value >= 0xff0 ? FAT_BAD : value;
    case 16:
        value = ldle16(table + cluster * 2);
        return value >= 0xfff8 ? FAT_END : value >= 0xfff0 ? FAT_BAD : value;
    default:
        value = ldle32(table + cluster * 4) & 0x0fffffff;
        return value >= 0x0ffffff8 ? FAT_END : value >= 0x0ffffff0 ? FAT_BAD : value;
    }
}

void fat_set(const FatGeometry *g, uint8_t *table, uint32_t cluster, uint32_t value)
{
    uint8_t *at = table + cluster + cluster / 2;

    switch (g->type) {
    case 12:
        stle16(at, cluster & 1 ? (ldle16(at) & 0xf) | value << 4
                               : (ldle16(at) & 0xf000) | (value & 0xfff));
        break;
    case 16:
        stle16(table + cluster * 2, value);
        break;
    default:
        stle32(table + cluster * 4, value & 0x0fffffff);
    }
}

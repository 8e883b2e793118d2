/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHD as the 'Virtual Hard Disk Image Format Specification' (Microsoft, version 1.0) has it; QEMU
 * calls the format vpc. All numbers are big-endian. Shared by vpc.c and vpc_create.c.
 */
#ifndef BLOCK_DRIVERS_VPC_H
#define BLOCK_DRIVERS_VPC_H

#include "block/node.h"

enum {
    VHD_FOOTER_SIZE = 512,
    VHD_HEADER_SIZE = 1024,
    VHD_SECTOR = 512,
    VHD_BLOCK_SIZE = 2 * 1024 * 1024, /* of new images */
};

/* 'Hard Disk Footer Format': at the end of every file; dynamic disks begin with a copy. */
enum {
    VHD_COOKIE = 0, /* "conectix" */
    VHD_FEATURES = 8,
    VHD_VERSION = 12,
    VHD_DATA_OFFSET = 16,
    VHD_TIME_STAMP = 24, /* seconds since the year 2000 */
    VHD_CREATOR = 28,
    VHD_CREATOR_VERSION = 32,
    VHD_CREATOR_OS = 36,
    VHD_ORIGINAL_SIZE = 40,
    VHD_CURRENT_SIZE = 48,
    VHD_CYLINDERS = 56,
    VHD_HEADS = 58,
    VHD_SECTORS = 59,
    VHD_TYPE = 60,
    VHD_CHECKSUM = 64,
    VHD_UUID = 68,
};
enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* 'Dynamic Disk Header Format'. */
enum {
    VHD_DYN_COOKIE = 0, /* "cxsparse" */
    VHD_DYN_DATA_OFFSET = 8,
    VHD_DYN_TABLE_OFFSET = 16,
    VHD_DYN_VERSION = 24,
    VHD_DYN_MAX_ENTRIES = 28,
    VHD_DYN_BLOCK_SIZE = 32,
    VHD_DYN_CHECKSUM = 36,
};

#define VHD_UNUSED 0xffffffffu /* a BAT entry without a block */

/* The geometry that says 'the disk is too large for one': then current_size is the size. */
#define VHD_MAX_GEOMETRY (65535ull * 16 * 255)
#define VHD_MAX_SECTORS  0xff000000ull /* 2040 GiB */

/* The complement of the sum of all bytes but those of the checksum, which is at 'field'. */
uint32_t vpc_checksum(const uint8_t *buf, size_t len, size_t field);

/* vpc_create.c */
typedef struct {
    uint64_t size;
    int subformat;
    bool force_size;
    bool exact_size; /* a size that the geometry cannot say is refused */
} VpcCreate;
extern const Property vpc_create_props[];
bool vpc_create_check(void *options, uint64_t *length, GError **err);
bool coroutine_fn vpc_create(BlockNode *file, void *options, bool *zero, GError **err);

#endif

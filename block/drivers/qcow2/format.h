/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 format: constants of docs/interop/qcow2.txt (QEMU), named after its sections. All
 * numbers in an image are big-endian.
 */
#ifndef QCOW2_FORMAT_H
#define QCOW2_FORMAT_H

#include <inttypes.h>
#include "base/util.h"

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

/* 'Header': byte offsets of the fields. */
enum {
    HDR_MAGIC = 0,
    HDR_VERSION = 4,
    HDR_BACKING_FILE_OFFSET = 8,
    HDR_BACKING_FILE_SIZE = 16,
    HDR_CLUSTER_BITS = 20,
    HDR_SIZE = 24,
    HDR_CRYPT_METHOD = 32,
    HDR_L1_SIZE = 36,
    HDR_L1_TABLE_OFFSET = 40,
    HDR_REFCOUNT_TABLE_OFFSET = 48,
    HDR_REFCOUNT_TABLE_CLUSTERS = 56,
    HDR_NB_SNAPSHOTS = 60,
    HDR_SNAPSHOTS_OFFSET = 64,
    HDR_V2_LENGTH = 72,
    HDR_INCOMPATIBLE_FEATURES = 72,
    HDR_COMPATIBLE_FEATURES = 80,
    HDR_AUTOCLEAR_FEATURES = 88,
    HDR_REFCOUNT_ORDER = 96,
    HDR_HEADER_LENGTH = 100,
    HDR_V3_MIN_LENGTH = 104,
    HDR_COMPRESSION_TYPE = 104,
    HDR_V3_LENGTH = 112,
};

/* 'Feature bits'. */
#define INCOMPAT_DIRTY       BIT64(0)
#define INCOMPAT_CORRUPT     BIT64(1)
#define INCOMPAT_DATA_FILE   BIT64(2)
#define INCOMPAT_COMPRESSION BIT64(3)
#define INCOMPAT_EXTL2       BIT64(4)
#define INCOMPAT_KNOWN                                                                             \
    (INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE | INCOMPAT_COMPRESSION | INCOMPAT_EXTL2)
#define COMPAT_LAZY_REFCOUNTS   BIT64(0)
#define AUTOCLEAR_BITMAPS       BIT64(0)
#define AUTOCLEAR_DATA_FILE_RAW BIT64(1)

/* 'Header extensions'. */
#define EXT_END            0x00000000u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u
#define EXT_BITMAPS        0x23852875u
#define EXT_CRYPTO         0x0537be77u
#define EXT_DATA_FILE      0x44415441u

enum { CRYPT_NONE, CRYPT_AES, CRYPT_LUKS };
enum { COMPRESSION_ZLIB, COMPRESSION_ZSTD };

/* 'Cluster mapping': L1 and L2 entries. */
#define ENTRY_COPIED         BIT64(63)
#define L2_COMPRESSED        BIT64(62)
#define L2_ZERO              BIT64(0)
#define ENTRY_OFFSET_MASK    0x00fffffffffffe00ull
#define L1_RESERVED_MASK     0x7f000000000001ffull
#define L2_STD_RESERVED_MASK 0x3f000000000001feull
#define REFTABLE_OFFSET_MASK 0xfffffffffffffe00ull

enum {
    MIN_CLUSTER_BITS = 9,
    MAX_CLUSTER_BITS = 21,
    EXTL2_SUBCLUSTERS = 32,
    EXTL2_MIN_CLUSTER_BITS = 14,
    MAX_SNAPSHOTS = 65536,
    MAX_BACKING_NAME = 1023,
    COMPRESSED_SECTOR = 512,
    FEATURE_NAME_ENTRY = 48,
};
/* 'Bitmap directory': byte offsets in an entry, which names and padding follow. */
enum {
    BITMAP_TABLE_OFFSET = 0,
    BITMAP_TABLE_SIZE = 8,
    BITMAP_FLAGS = 12,
    BITMAP_TYPE = 16,
    BITMAP_GRANULARITY_BITS = 17,
    BITMAP_NAME_SIZE = 18,
    BITMAP_EXTRA_SIZE = 20,
    BITMAP_ENTRY_LENGTH = 24,
    MAX_BITMAP_GRANULARITY_BITS = 31,
};
/* BITMAP_FLAGS. */
enum { BITMAP_IN_USE = 1 << 0, BITMAP_AUTO = 1 << 1 };
/* Limits that keep an image from taking all of the host's memory. The same as QEMU's. */
#define MAX_L1_BYTES           (32 * MiB)
#define MAX_REFTABLE_BYTES     (8 * MiB)
#define MAX_BITMAP_TABLE_BYTES (16 * MiB)
#define MAX_BITMAP_DIR_BYTES   (64 * MiB)
#define MAX_SNAPSHOT_BYTES     (1024 * MAX_SNAPSHOTS)
#define MAX_CRYPTO_BYTES       (16 * MiB) /* eight key slots take 2 MiB */
/* Limits of this program's. */
#define MAX_SNAPSHOT_L1_BYTES  (4 * GiB) /* of all snapshots */
#define MAX_SNAPSHOT_L2_TABLES 16777216u

#endif

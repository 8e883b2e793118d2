/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is the same for every device that is a disk or a drive, whatever its bus: the properties
 * that say which drive it has and how the guest sees it, and what follows from them at realize.
 */
#ifndef DEVICES_DISK_H
#define DEVICES_DISK_H

#include "block/backend.h"
#include "vm/device.h"

/* The smallest logical block, and a discard_granularity that was not given. */
#define DISK_SECTOR           512u
#define DISK_GRANULARITY_AUTO UINT32_MAX

typedef struct {
    BlockBackend *blk;         /* between disk_attach() and disk_detach() */
    bool original_write_cache; /* before the guest has switched it */
    /* Properties: DISK_PROPS. */
    char *drive, *serial;
    uint64_t logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity;
    uint32_t cyls, heads, secs, lcyls, lheads, lsecs;
    int32_t bootindex;
    bool share_rw;
    int write_cache, rerror, werror, account_invalid, account_failed, backend_defaults;
} DiskConf;

extern const char *const disk_on_error_names[]; /* of rerror and werror */

#define DISK_FIXED(n, t, s, f, d, h)                                                               \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(s, f), .defval = (d), .help = (h),            \
        .flags = PROP_FLAG_FIXED                                                                   \
    }
/* Entries of the device's table of properties: 'c' is the DiskConf in the device's struct 's'. */
#define DISK_BASIC_PROPS(s, c)                                                                     \
    PROP_L("drive", s, c.drive, "drive", "Node name or ID of a block device to use as a backend"), \
        PROP("logical_block_size", PROP_SIZE, s, c.logical_block_size, "0",                        \
             "A power of two between 512 B and 2 MiB"),                                            \
        PROP("physical_block_size", PROP_SIZE, s, c.physical_block_size, "0",                      \
             "A power of two between 512 B and 2 MiB"),                                            \
        PROP("min_io_size", PROP_SIZE, s, c.min_io_size, "0", "smallest efficient request"),       \
        PROP("opt_io_size", PROP_SIZE, s, c.opt_io_size, "0", "best size of a request"),           \
        PROP("discard_granularity", PROP_SIZE, s, c.discard_granularity, "4294967295",             \
             "4294967295: a logical block"),                                                       \
        PROP("write-cache", PROP_ON_OFF_AUTO, s, c.write_cache, "auto",                            \
             "whether there is a write cache"),                                                    \
        PROP("share-rw", PROP_BOOL, s, c.share_rw, "off",                                          \
             "other disks and processes may write too"),                                           \
        DISK_FIXED("backend_defaults", PROP_ON_OFF_AUTO, s, c.backend_defaults, "auto",            \
                   "block sizes of the host's disk"),                                              \
        PROP("account-invalid", PROP_ON_OFF_AUTO, s, c.account_invalid, "auto",                    \
             "requests that it refuses end its idle time"),                                        \
        PROP("account-failed", PROP_ON_OFF_AUTO, s, c.account_failed, "auto",                      \
             "the time of failed requests is counted")

/* ... of all but floppy drives */
#define DISK_PROPS(s, c)                                                                           \
    DISK_BASIC_PROPS(s, c),                                                                        \
        PROP("serial", PROP_STRING, s, c.serial, NULL, "serial number, 20 characters"),            \
        PROP_E("rerror", s, c.rerror, "auto", disk_on_error_names,                                 \
               "what to do when a read fails"),                                                    \
        PROP_E("werror", s, c.werror, "auto", disk_on_error_names,                                 \
               "what to do when a write fails"),                                                   \
        PROP("bootindex", PROP_INT32, s, c.bootindex, "-1", "place in the boot order")

/* ... of those that have a geometry */
#define DISK_GEOMETRY_PROPS(s, c)                                                                  \
    PROP("cyls", PROP_UINT32, s, c.cyls, "0", "cylinders of the geometry"),                        \
        PROP("heads", PROP_UINT32, s, c.heads, "0", "heads of the geometry"),                      \
        PROP("secs", PROP_UINT32, s, c.secs, "0", "sectors of the geometry"),                      \
        PROP("lcyls", PROP_UINT32, s, c.lcyls, "0",                                                \
             "cylinders of the geometry that the BIOS is told"),                                   \
        PROP("lheads", PROP_UINT32, s, c.lheads, "0",                                              \
             "heads of the geometry that the BIOS is told"),                                       \
        PROP("lsecs", PROP_UINT32, s, c.lsecs, "0",                                                \
             "sectors of the geometry that the BIOS is told")

/*
 * For a realize: fills in the block sizes that were not given, and checks sizes and geometry, whose
 * limits are the bus's.
 */
bool disk_check(DiskConf *d, uint32_t max_cyls, uint32_t max_heads, uint32_t max_secs,
                GError **err);
/*
 * For a realize, after disk_check(): takes the drive ('flags': BLOCK_DEVICE_*), gives it error
 * policy and write cache, and inherits the drive's serial number. A device with
 * ops->medium_changed() may have an empty drive, or none. disk_detach() undoes it; 'unplugged' as
 * in block_backend_detach().
 */
bool disk_attach(DiskConf *d, Device *dev, unsigned flags, const BlockDeviceOps *ops, void *data,
                 GError **err);
void disk_detach(DiskConf *d, bool unplugged);

/*
 * The geometry by which the disk was partitioned, as the ends of its primary partitions show it:
 * the heads and sectors that the BIOS told whoever did that. False: there are no partitions, or
 * none that says. Main loop, after disk_attach().
 */
typedef struct {
    uint32_t cyls, heads, secs;
} DiskGeometry;
bool disk_partition_geometry(BlockBackend *blk, DiskGeometry *g);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The symbols of all drivers. Private to block/. */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/node.h"

extern const BlockDriver block_driver_nbd; /* where there is libnbd */
extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_host_cdrom,
    block_driver_raw, block_driver_luks, block_driver_qcow2, block_driver_null_co,
    block_driver_null_aio, block_driver_copy_before_write, block_driver_snapshot_access,
    block_driver_vdi;

extern const BlockDriver block_driver_vpc;
extern const BlockDriver block_driver_vhdx;
extern const BlockDriver block_driver_parallels, block_driver_dmg;
extern const BlockDriver block_driver_http, block_driver_https, block_driver_vvfat;
extern const BlockDriver block_driver_blklogwrites, block_driver_blkverify, block_driver_compress,
    block_driver_preallocate;
extern const BlockDriver block_driver_blkdebug, block_driver_copy_on_read, block_driver_throttle;

/* Formats of other programs. */
extern const BlockDriver block_driver_vmdk, block_driver_qed, block_driver_qcow;

/* Whether it is a CD-ROM drive of the host's, for which host_cdrom is there. */
bool host_cdrom_is_one(const char *path);

/* Whether these last bytes of a file are the trailer of a DMG image. */
bool dmg_probe_tail(const uint8_t *tail, size_t len);

/* For tests: a driver more, unless it is there. */
void block_drivers_add(const BlockDriver *driver);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk in memory, whose requests fail when a test wants it: the block driver 'memdisk'. */
#ifndef TESTS_UNIT_DEVICES_MEMDISK_H
#define TESTS_UNIT_DEVICES_MEMDISK_H

#include "block/backend.h"
#include "block/parking.h"

enum { MEMDISK_SIZE = 4 << 20 };

typedef struct {
    uint8_t data[MEMDISK_SIZE];
    int error[5];         /* by BlockOp: requests of this kind fail with it; 0: well */
    unsigned requests[5]; /* that came */
    int (*bad)(uint64_t offset, uint64_t bytes); /* reads of this fail; may be NULL */
    bool unmapped;                               /* of the last write of zeroes */
} MemDisk;

extern MemDisk memdisk;

/* Adds the driver to those that there are. 'memdisk' is cleared. */
void memdisk_install(void);
/* -drive with the options of 'more', "" or ",a=b". */
BlockBackend *memdisk_drive(const char *id, const char *more);

#endif

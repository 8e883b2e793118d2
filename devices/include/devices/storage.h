/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions of disks for boards. */
#ifndef DEVICES_STORAGE_H
#define DEVICES_STORAGE_H

#include "vm/device.h"

/* How a BIOS translates a geometry for int 13h: the values that it finds in CMOS. */
enum {
    ATA_TRANSLATION_NONE,
    ATA_TRANSLATION_LBA,
    ATA_TRANSLATION_LARGE,
    ATA_TRANSLATION_RECHS,
    ATA_TRANSLATION_AUTO, /* not in CMOS */
};

typedef struct {
    unsigned disk; /* channel * 2 + unit */
    uint32_t cyls, heads, secs;
    unsigned translation;
} IdeBiosGeometry;
/* False: the device is no ide-hd. The device is realized. */
bool ide_hd_bios_geometry(const Device *dev, IdeBiosGeometry *g);

/*
 * Floppy drives. The unit and the type that CMOS has for it (0: none) of a 'floppy'. False: the
 * device is none. The device is realized.
 */
bool floppy_cmos_type(const Device *dev, unsigned *unit, uint8_t *type);
/* The place of an isa-fdc's drive in the boot order. False: the device is no isa-fdc. */
bool floppy_bootindex(const Device *dev, unsigned unit, int32_t *index);

#endif

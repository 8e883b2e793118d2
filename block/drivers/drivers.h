/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The symbols of all drivers. Private to block/. */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/node.h"

extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_host_cdrom,
    block_driver_raw, block_driver_qcow2, block_driver_null_co, block_driver_null_aio;

/* Whether it is a CD-ROM drive of the host's, for which host_cdrom is there. */
bool host_cdrom_is_one(const char *path);

/* For tests: another list of drivers. NULL: the program's own again. */
void block_drivers_replace(const BlockDriver *const *list);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of block drivers. */
#include "drivers.h"

static const BlockDriver *const drivers[] = {
    &block_driver_file,  &block_driver_host_device, &block_driver_host_cdrom, &block_driver_raw,
    &block_driver_qcow2, &block_driver_null_co,     &block_driver_null_aio,   NULL,
};

static const BlockDriver *const *installed = drivers;

const BlockDriver *const *block_drivers(void)
{
    return installed;
}

void block_drivers_replace(const BlockDriver *const *list)
{
    installed = list ? list : drivers;
}

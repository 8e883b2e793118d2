/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of block drivers. */
#include "base/util.h"
#include "drivers.h"

static const BlockDriver *const drivers[] = {
    &block_driver_file,
    &block_driver_host_device,
    &block_driver_host_cdrom,
    &block_driver_raw,
    &block_driver_luks,
    &block_driver_qcow2,
#ifdef HAVE_LIBNBD
    &block_driver_nbd,
#endif
    &block_driver_null_co,
    &block_driver_null_aio,
    &block_driver_copy_before_write,
    &block_driver_snapshot_access,
    &block_driver_vdi,
    &block_driver_copy_on_read,
    &block_driver_blkdebug,
    &block_driver_blklogwrites,
    &block_driver_blkverify,
    &block_driver_compress,
    &block_driver_preallocate,
    &block_driver_vmdk,
    &block_driver_qed,
    &block_driver_qcow,
    &block_driver_vpc,
    &block_driver_vhdx,
    &block_driver_parallels,
    &block_driver_dmg,
    &block_driver_http,
    &block_driver_https,
    &block_driver_throttle,
    &block_driver_vvfat,
    NULL,
};

static const BlockDriver *const *installed = drivers;

const BlockDriver *const *block_drivers(void)
{
    return installed;
}

void block_drivers_add(const BlockDriver *driver)
{
    static const BlockDriver *more[ARRAY_SIZE(drivers) + 4] = {NULL};
    unsigned n = 0;

    for (; installed[n]; n++) {
        more[n] = installed[n];
        if (more[n] == driver) {
            return;
        }
    }
    g_assert(n + 1 < ARRAY_SIZE(more));
    more[n] = driver;
    installed = more;
}

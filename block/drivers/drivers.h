/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every driver, by symbol. Private to block/. */
#ifndef BLOCK_DRIVERS_H
#define BLOCK_DRIVERS_H

#include "block/node.h"

extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_raw,
    block_driver_qcow2, block_driver_null_co, block_driver_null_aio;

/* Tests put drivers of their own in (NULL: back to the product's). */
void block_drivers_replace(const BlockDriver *const *list);

#endif

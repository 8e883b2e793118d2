/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A data sector as it is on a CD. */
#ifndef DEVICES_STORAGE_CD_SECTOR_H
#define DEVICES_STORAGE_CD_SECTOR_H

#include <stdint.h>

#define CD_SECTOR_SIZE 2352 /* with all codes; READ CD */
#define CD_DATA_SIZE   2048u

/* 'address' counts from the beginning of the lead-in's pause, 150 sectors before sector 0. */
void cd_sector_mode_1(uint8_t sector[CD_SECTOR_SIZE], uint64_t address,
                      const uint8_t data[CD_DATA_SIZE]);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables and what remains to be done with them once it is known where they lie: pointers
 * to add, checksums to take. Firmware does so by the script in fw_cfg's 'etc/table-loader' (format:
 * SeaBIOS, src/fw/romfile_loader.h); for a direct boot we run the same script here.
 */
#ifndef ACPI_LOADER_H
#define ACPI_LOADER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "vm/device.h"

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE   "etc/acpi/rsdp"

typedef struct TableLoader TableLoader;
typedef enum { TABLE_ZONE_HIGH = 1, TABLE_ZONE_FSEG = 2 } TableZone;

TableLoader *table_loader_new(void);
void table_loader_free(TableLoader *l);
/* A file, to be placed in a zone. The loader owns the result; fill it before more is said of it. */
GByteArray *table_loader_alloc(TableLoader *l, const char *file, uint32_t align, TableZone zone);
/* The 'size' bytes at 'offset' of file 'dest' hold an offset into 'src': its address is added. */
void table_loader_pointer(TableLoader *l, const char *dest, uint32_t offset, uint8_t size,
                          const char *src);
/* The byte at 'offset' makes the sum of [start, start+len) zero. */
void table_loader_checksum(TableLoader *l, const char *file, uint32_t offset, uint32_t start,
                           uint32_t len);
bool table_loader_to_fw_cfg(const TableLoader *l, Device *fw_cfg, GError **err);
/*
 * Places everything as firmware would: 'place' gives an address for a file (0: no room). 'store'
 * is given each finished file. The address of the RSDP, or 0.
 */
typedef struct {
    uint64_t (*place)(void *data, uint32_t len, uint32_t align, TableZone zone);
    void (*store)(void *data, uint64_t addr, const uint8_t *bytes, uint32_t len);
    void *data;
} TablePlacer;
uint64_t table_loader_run(const TableLoader *l, const TablePlacer *placer);
/* Bytes that all files together need, alignment included: for reserving a region. */
uint32_t table_loader_size(const TableLoader *l, TableZone zone);

#endif

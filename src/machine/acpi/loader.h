/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables, as files, and a script of what must be done once their addresses are known:
 * pointers and checksums. Firmware runs the script from fw_cfg's 'etc/table-loader' (format:
 * SeaBIOS, src/fw/romfile_loader.h). For a direct boot table_loader_run() does the same.
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
/*
 * Adds a file that is to be placed in a zone. The loader owns the array; fill it before adding
 * pointers and checksums. 'file' must stay valid.
 */
GByteArray *table_loader_alloc(TableLoader *l, const char *file, uint32_t align, TableZone zone);
/* Adds the address of 'src' to the integer of 'size' bytes at 'offset' in file 'dest'. */
void table_loader_pointer(TableLoader *l, const char *dest, uint32_t offset, uint8_t size,
                          const char *src);
/* Sets the byte at 'offset' so that the bytes of [start, start+len) sum up to 0. */
void table_loader_checksum(TableLoader *l, const char *file, uint32_t offset, uint32_t start,
                           uint32_t len);
/* The files that firmware gets, and the script, as 'info roms' lists them. */
void table_loader_list(const TableLoader *l, GString *out);
bool table_loader_to_fw_cfg(const TableLoader *l, Device *fw_cfg, GError **err);
/*
 * Runs the script. 'place' chooses the address of a file (0: no room), 'store' gets each finished
 * file. Gives the address of the RSDP; 0: a file had no room, and nothing was stored.
 */
typedef struct {
    uint64_t (*place)(void *data, uint32_t len, uint32_t align, TableZone zone);
    void (*store)(void *data, uint64_t addr, const uint8_t *bytes, uint32_t len);
    void *data;
} TablePlacer;
uint64_t table_loader_run(const TableLoader *l, const TablePlacer *placer);
/* The bytes that all files of a zone need together, alignment included. */
uint32_t table_loader_size(const TableLoader *l, TableZone zone);

#endif

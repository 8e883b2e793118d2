/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board's ACPI tables (ACPI 6.4). Main thread, after all devices are made. */
#ifndef ACPI_ACPI_H
#define ACPI_ACPI_H

#include "loader.h"
#include "../pc.h"

/* Fills the loader with the tables and the RSDP. */
bool acpi_build(Vm *vm, const PcMachine *pc, TableLoader *l, GError **err);

/* The following are public for the tests. */
#define ACPI_HEADER_SIZE 36
/* Begins a table and gives its offset. acpi_table_end() sets length and checksum. */
uint32_t acpi_table_begin(GByteArray *out, const char signature[4], uint8_t revision,
                          const char table_id[8]);
void acpi_table_end(GByteArray *out, uint32_t start, TableLoader *l);
void acpi_add(GByteArray *out, uint64_t value, unsigned size); /* little-endian */
void acpi_build_ssdt(Vm *vm, const PcMachine *pc, GByteArray *out, TableLoader *l);
void acpi_build_madt(const SmpConfig *smp, GByteArray *out, TableLoader *l);
/* Offset of FACS in the tables file, and in FACS the offsets of the waking vectors. */
#define ACPI_FACS_OFFSET       0
#define ACPI_FACS_WAKING       12
#define ACPI_FACS_WAKING_64BIT 24

#endif

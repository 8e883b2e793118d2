/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board's ACPI tables (ACPI 6.4). Main thread, after all devices are made. */
#ifndef ACPI_ACPI_H
#define ACPI_ACPI_H

#include "loader.h"
#include "../pc.h"

/* Fills the loader with the tables and the RSDP. */
bool acpi_build(Vm *vm, const PcMachine *pc, TableLoader *l, GError **err);

/* Pieces, for the tests. */
#define ACPI_HEADER_SIZE 36
/* Starts a table (length and checksum come by acpi_table_end()); gives its offset. */
uint32_t acpi_table_begin(GByteArray *out, const char signature[4], uint8_t revision,
                          const char table_id[8]);
void acpi_table_end(GByteArray *out, uint32_t start, TableLoader *l);
void acpi_add(GByteArray *out, uint64_t value, unsigned size); /* little-endian */
/* Appends the SSDT. */
void acpi_build_ssdt(Vm *vm, const PcMachine *pc, GByteArray *out, TableLoader *l);
void acpi_build_madt(const SmpConfig *smp, GByteArray *out, TableLoader *l);
/* Where FACS holds the address at which a guest wants to wake up, in the tables file. */
#define ACPI_FACS_OFFSET       0
#define ACPI_FACS_WAKING       12
#define ACPI_FACS_WAKING_64BIT 24

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes AML (ACPI 6.4, chapter 20): names, devices and short methods, as the SSDT needs. Terms are
 * appended to a GByteArray. A block is written into an array of its own first, since its length
 * precedes it; aml_scope(), aml_device() and aml_method() then append it to its parent's.
 */
#ifndef ACPI_AML_H
#define ACPI_AML_H

#include <glib.h>
#include <stdint.h>

/* Paths as in ASL: "\_SB.PCI0", "S08_", segments of up to 4 letters (padded with '_'). */
void aml_path(GByteArray *out, const char *path);
void aml_integer(GByteArray *out, uint64_t value);
void aml_string(GByteArray *out, const char *text);
void aml_name_integer(GByteArray *out, const char *path, uint64_t value);
void aml_name_string(GByteArray *out, const char *path, const char *text);
/* Name (path, Package () {a, b, c, d}) */
void aml_name_package(GByteArray *out, const char *path, const uint64_t *values, unsigned n);
/* These append a block and free 'body'. */
void aml_scope(GByteArray *out, const char *path, GByteArray *body);
void aml_device(GByteArray *out, const char *path, GByteArray *body);
void aml_method(GByteArray *out, const char *path, unsigned args, GByteArray *body);
/* Return (path (value)) */
void aml_return_call(GByteArray *out, const char *path, uint64_t value);

#endif

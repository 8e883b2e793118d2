/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer of the little AML (ACPI 6.4, chapter 20) that depends on the configuration: names,
 * devices, short methods. Terms are appended to a GByteArray; blocks are written into an array of
 * their own and then closed into their parent's, which puts their length before them.
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
/* Blocks; 'body' is freed. */
void aml_scope(GByteArray *out, const char *path, GByteArray *body);
void aml_device(GByteArray *out, const char *path, GByteArray *body);
void aml_method(GByteArray *out, const char *path, unsigned args, GByteArray *body);
/* Return (path (value)) */
void aml_return_call(GByteArray *out, const char *path, uint64_t value);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by smbios_options.c, which reads -smbios, and smbios.c, which builds the tables. */
#ifndef MACHINE_SMBIOS_INTERNAL_H
#define MACHINE_SMBIOS_INTERNAL_H

#include "smbios.h"

#define SMBIOS_TABLES_MAX (64 * KiB - 1) /* the anchor has 16 bits for it */

struct Smbios {
    GByteArray *tables;
    unsigned count;
    unsigned largest;
    GHashTable *options;        /* "type.key" -> value */
    GPtrArray *oem_strings;     /* of type 11 */
    GPtrArray *ports, *onboard; /* entries of types 8 and 41, borrowed */
    bool user_bios;             /* -smbios gives a type 0, by options or in a file */
};

/* Reads the arguments of -smbios, objects with "type" or "file". 'entries' may be NULL. */
bool smbios_take_entries(Smbios *s, GPtrArray *entries, GError **err);
/* The value last given for a key of a type, or 'fallback'. Not for types 8, 11 and 41. */
const char *smbios_option(const Smbios *s, unsigned type, const char *key, const char *fallback);
bool smbios_number_option(const Smbios *s, unsigned type, const char *key, uint64_t max,
                          uint64_t *out, GError **err);
/* Parses the value of a key into *out; 'text' NULL leaves *out as it is. */
bool smbios_number(const char *text, unsigned type, const char *key, uint64_t max, uint64_t *out,
                   GError **err);

#endif

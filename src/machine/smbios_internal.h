/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -smbios asked for, between smbios_options.c, which reads it, and smbios.c. */
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
    bool user_bios;             /* -smbios type=0 or a file that has it */
};

/* All of -smbios: each a json object with "type" or "file". 'entries' may be NULL. */
bool smbios_take_entries(Smbios *s, GPtrArray *entries, GError **err);
/* A field of a type that there is one of: what was given last, or 'fallback'. */
const char *smbios_option(const Smbios *s, unsigned type, const char *key, const char *fallback);
bool smbios_number_option(const Smbios *s, unsigned type, const char *key, uint64_t max,
                          uint64_t *out, GError **err);
/* 'text' is the value of the key; *out stays where it is NULL. */
bool smbios_number(const char *text, unsigned type, const char *key, uint64_t max, uint64_t *out,
                   GError **err);

#endif

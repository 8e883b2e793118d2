/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The LUKS header: offsets in bytes; numbers are big-endian. */
#ifndef BLOCK_LUKS_FORMAT_H
#define BLOCK_LUKS_FORMAT_H

#include <stdint.h>
#include <string.h>

static const uint8_t luks_magic[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};

enum {
    LUKS_VERSION = 6,      /* u16 */
    LUKS_CIPHER_NAME = 8,  /* LUKS_NAME, with a NUL, as the next two */
    LUKS_CIPHER_MODE = 40, /* "xts-plain64" */
    LUKS_HASH_SPEC = 72,
    LUKS_NAME = 32,
    LUKS_PAYLOAD_OFFSET = 104, /* u32, sectors */
    LUKS_KEY_BYTES = 108,      /* u32 */
    LUKS_MASTER_DIGEST = 112,
    LUKS_DIGEST_SALT = 132,
    LUKS_DIGEST_ITERATIONS = 164, /* u32 */
    LUKS_UUID_OFFSET = 168,
    LUKS_SLOT_TABLE = 208,
    LUKS_SLOT_BYTES = 48,
};

enum {
    LUKS_SLOT_STATE = 0,      /* u32 */
    LUKS_SLOT_ITERATIONS = 4, /* u32 */
    LUKS_SLOT_SALT = 8,
    LUKS_SLOT_OFFSET = 40,  /* u32, sectors */
    LUKS_SLOT_STRIPES = 44, /* u32 */
};

enum { LUKS_SLOT_ENABLED = 0x00ac71f3, LUKS_SLOT_DISABLED = 0x0000dead };

/* The index of a name in a NULL-terminated list, or -1. */
static inline int name_index(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

#endif

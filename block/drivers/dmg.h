/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunks of DMG images. Private to drivers/dmg*.c. */
#ifndef BLOCK_DRIVERS_DMG_H
#define BLOCK_DRIVERS_DMG_H

#include "base/error.h"
#include "base/util.h"

enum {
    DMG_ZERO = 0,
    DMG_RAW = 1,
    DMG_IGNORE = 2,
};
#define DMG_COMMENT 0x7ffffffeu
#define DMG_ADC     0x80000004u
#define DMG_ZLIB    0x80000005u
#define DMG_BZIP2   0x80000006u
#define DMG_LZFSE   0x80000007u
#define DMG_LZMA    0x80000008u
#define DMG_END     0xffffffffu

/* Whether chunks of this type can be read. False: an error that names the type. Loads libraries. */
bool dmg_unpacker(uint32_t type, GError **err);

typedef struct {
    uint32_t type;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len; /* what comes out has to be so long */
} DmgWork;

/* 0 or -EIO. Any thread, once dmg_unpacker() has said yes to the type. */
int dmg_unpack(const DmgWork *w);

#endif

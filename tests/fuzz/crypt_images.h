/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fuzz targets of encrypted images share. Keys are random, so the images are made when the
 * target starts, and an input is changes of one: its first byte chooses the image; then come an
 * offset in units of 'unit' (two bytes), one within the unit (two bytes), a length, and so many
 * bytes. A length of 0xff cuts the image off at the unit. So keys stay good where they are not
 * meant.
 */
#ifndef TESTS_FUZZ_CRYPT_IMAGES_H
#define TESTS_FUZZ_CRYPT_IMAGES_H

#include "../../block/crypto/luks.h"
#include "base/object.h"
#include "fuzz_image.h"

/* Deriving keys costs time: three slots, or two and changed counts. */
enum { CRYPT_ITERATIONS_MAX = 6000, CRYPT_UNIT = 512, CRYPT_MAX_FILE = 16 * 1024 * 1024 };

static inline void crypt_make_secrets(void)
{
    static const char *const secrets[] = {"secret,id=s,data=abc", "secret,id=n,data=new"};

    object_set_classes(object_base_classes);
    for (unsigned i = 0; i < ARRAY_SIZE(secrets); i++) {
        char *help = NULL;

        g_assert(object_option(secrets[i], &help, NULL));
    }
}

/* What is in a memory disk. */
static inline GByteArray *crypt_take_image(MemDisk *m)
{
    GByteArray *a = g_byte_array_append(g_byte_array_new(), m->data, m->length);

    memdisk_free(m);
    return a;
}

static inline void crypt_set_image(MemDisk *disk, GByteArray *const *images, unsigned count,
                                   const uint8_t *data, size_t size)
{
    const GByteArray *from = images[size ? data[0] % count : 0];

    memdisk_set(disk, from->data, from->len);
    for (size_t at = 1; at + 5 <= size;) {
        uint64_t unit = data[at] | data[at + 1] << 8, within = data[at + 2] | data[at + 3] << 8;
        uint64_t offset = unit * CRYPT_UNIT + within % CRYPT_UNIT;
        size_t len = data[at + 4];

        at += 5;
        if (len == 0xff) {
            disk->length = MIN(disk->length, unit * CRYPT_UNIT);
            continue;
        }
        len = MIN(len, size - at);
        if (offset + len <= disk->length) {
            memcpy(disk->data + offset, data + at, len);
        }
        at += len;
    }
}

static inline bool crypt_amend(BlockNode *n, const char *options)
{
    json_auto_t *tree = json_loads(options, 0, NULL);
    GError *err = NULL;
    bool ok = block_image_amend(n, tree, false, &err);

    g_assert(ok == !err);
    g_clear_error(&err);
    return ok;
}

#endif

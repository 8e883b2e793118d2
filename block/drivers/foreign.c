/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image formats that this program recognises and cannot open: such a file must not be probed as
 * raw, with the container's bytes as the disk. The probes are those of QEMU 7.2.
 */
#include "base/util.h"
#include "../core.h"

typedef struct {
    const char *title;
    struct {
        uint16_t offset, len;
        const char *bytes;
    } magic; /* len 0: none */
    /* Called where the magic fits or there is none. The file's first and last bytes. */
    bool (*probe)(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len);
} ForeignFormat;

static bool bochs_probe(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    static const char magic[32] = "Bochs Virtual HD Image";
    uint32_t version;

    if (len < 512 || memcmp(head, magic, strlen(magic) + 1) || memcmp(head + 32, "Redolog", 8) ||
        memcmp(head + 48, "Growing", 8)) {
        return false;
    }
    version = ldle32(head + 64);
    return version == 0x10000 || version == 0x20000;
}

static const ForeignFormat formats[] = {
    {"Bochs", .probe = bochs_probe},
    {"cloop", {0, 25, "#!/bin/sh\n#V2.0 Format\nmo"}},
};

const char *block_probe_foreign(const uint8_t *head, size_t len, const uint8_t *tail,
                                size_t tail_len)
{
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        const ForeignFormat *f = &formats[i];
        size_t end = f->magic.offset + f->magic.len;

        if (f->magic.len &&
            (len < end || memcmp(head + f->magic.offset, f->magic.bytes, f->magic.len))) {
            continue;
        }
        if (!f->probe || f->probe(head, len, tail, tail_len)) {
            return f->title;
        }
    }
    return NULL;
}

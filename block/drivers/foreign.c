/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image formats that this program recognises and cannot open: such a file must not be probed as
 * raw, with the container's bytes as the disk. The probes are those of QEMU 7.2, and one for the
 * trailer of a DMG.
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

/* DMG (UDIF): the last 512 bytes are a trailer, "koly" and its own size. */
static bool dmg_probe(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    return tail_len >= 512 && !memcmp(tail + tail_len - 512, "koly", 4) &&
           ldbe32(tail + tail_len - 512 + 8) == 512;
}

static bool luks_probe(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    return len >= 8 && ldbe16(head + 6) == 1; /* version 2 is for the guest to open */
}

static bool parallels_probe(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    return len >= 64 && ldle32(head + 16) == 2 &&
           (!memcmp(head, "WithoutFreeSpace", 16) || !memcmp(head, "WithouFreSpacExt", 16));
}

/* 'Disk DescriptorFile': comments and empty lines, then the version. */
static bool vmdk_text_probe(const char *text, const char *end)
{
    static const char *const versions[] = {"version=1", "version=2", "version=3"};

    while (text < end) {
        const char *line_end = memchr(text, '\n', end - text);
        g_autofree char *line = g_strndup(text, (line_end ? line_end : end) - text);

        if (*line != '#') {
            bool blank = *line == ' ';

            g_strchomp(line);
            for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
                if (line_end && g_str_equal(line, versions[i])) {
                    return true;
                }
            }
            if (*line || !blank) {
                return false;
            }
        }
        text = line_end ? line_end + 1 : end;
    }
    return false;
}

static bool vmdk_probe(const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    return (len >= 4 && (!memcmp(head, "KDMV", 4) || !memcmp(head, "COWD", 4))) ||
           vmdk_text_probe((const char *)head, (const char *)head + len);
}

static const ForeignFormat formats[] = {
    {"Bochs", .probe = bochs_probe},
    {"cloop", {0, 25, "#!/bin/sh\n#V2.0 Format\nmo"}},
    {"DMG", .probe = dmg_probe},
    {"LUKS", {0, 6, "LUKS\xba\xbe"}, luks_probe},
    {"Parallels", .probe = parallels_probe},
    {"qcow (version 1)", {0, 8, "QFI\xfb\0\0\0\1"}},
    {"QED", {0, 4, "QED\0"}},
    {"VDI", {64, 4, "\x7f\x10\xda\xbe"}},
    {"VHDX", {0, 8, "vhdxfile"}},
    {"VMDK", .probe = vmdk_probe},
    {"VPC (VHD)", {0, 8, "conectix"}},
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

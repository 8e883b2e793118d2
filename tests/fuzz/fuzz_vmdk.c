/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMDK image from an attacker: a sparse extent; or a descriptor, a NUL, and an extent that the
 * descriptor names. No other file is opened.
 */
#include "fuzz_image.h"

static size_t extent_from(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size && *data == '#' ? memchr(data, 0, size) : NULL;

    return nul ? (size_t)(nul + 1 - data) : size;
}

static const FuzzImage image = {
    .format = "vmdk",
    .open = "{\"backing\":null,\"extents\":{\"0\":{\"driver\":\"memdisk\",\"name\":\"second\"},"
            "\"1\":{\"driver\":\"memdisk\",\"name\":\"disk\"}}}",
    .second = "second",
    .second_from = extent_from,
};
FUZZ_IMAGE(image)

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../../block/drivers/vpc.h"
#include "fuzz_image.h"

static void put_sum(uint8_t *image, size_t size, uint64_t at, size_t len, size_t field)
{
    if (at <= size && size - at >= len) {
        stbe32(image + at + field, vpc_checksum(image + at, len, field));
    }
}

static void vpc_fix(uint8_t *image, size_t size)
{
    put_sum(image, size, 0, VHD_FOOTER_SIZE, VHD_CHECKSUM);
    if (size >= VHD_FOOTER_SIZE) {
        put_sum(image, size, size - VHD_FOOTER_SIZE, VHD_FOOTER_SIZE, VHD_CHECKSUM);
    }
}

static const FuzzImage image = {.format = "vpc", .fix = vpc_fix};
FUZZ_IMAGE(image)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VHDX image is MiBs of zeroes. The input is the few bytes that matter, one after the other:
 * those of both headers, the region table, the metadata table and its items, the table of blocks,
 * the log. They are put in their places, with checksums that are right.
 */
#include "../../block/drivers/vhdx/vhdx.h"
#include "fuzz_image.h"

static const struct {
    uint32_t at, len;
} pieces[] = {
    {0, 8},
    {VHDX_HEADER_1, 80},
    {VHDX_HEADER_2, 80},
    {VHDX_REGIONS_1, 112},
    {3 * MiB, 256},                  /* metadata */
    {3 * MiB + META_TABLE_SIZE, 64}, /* its items */
    {2 * MiB, 128},                  /* the table of blocks */
    {1 * MiB, 64 * 1024},            /* the log */
};
enum { FILE_SIZE = 4 * 1024 * 1024 };

static void put_sum(uint8_t *image, size_t size, uint64_t at, uint64_t len)
{
    if (len >= 64 && at <= size && size - at >= len) {
        vhdx_put_crc(image + at, len);
    }
}

static void vhdx_fix(uint8_t *image, size_t size)
{
    put_sum(image, size, VHDX_HEADER_1, VHDX_HEADER_SIZE);
    put_sum(image, size, VHDX_HEADER_2, VHDX_HEADER_SIZE);
    put_sum(image, size, VHDX_REGIONS_1, VHDX_REGIONS_SIZE);
    for (size_t at = MiB; at < MiB + 64 * KiB; at += VHDX_SECTOR) {
        if (!memcmp(image + at, "loge", 4)) {
            put_sum(image, size, at, ldle32(image + at + 8));
        }
    }
}

static const FuzzImage image = {.format = "vhdx", .fix = vhdx_fix};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *whole = g_malloc0(FILE_SIZE);

    for (unsigned i = 0; i < ARRAY_SIZE(pieces) && size; i++) {
        size_t len = MIN(size, pieces[i].len);

        memcpy(whole + pieces[i].at, data, len);
        data += len;
        size -= len;
    }
    vhdx_fix(whole, FILE_SIZE);
    return fuzz_image(&image, whole, FILE_SIZE);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Bitmaps extension': the directory of persistent bitmaps, which are kept out of use here. */
#include <errno.h>
#include "qcow2.h"

/* The bytes that a bitmap of this granularity takes, with its table: whole clusters of 'unit'. */
static uint64_t bitmap_bytes(const Qcow2State *s, unsigned granularity_bits, uint64_t unit)
{
    uint64_t bits = DIV_ROUND_UP(qcow2_size(s), BIT64(granularity_bits));
    uint64_t clusters = DIV_ROUND_UP(DIV_ROUND_UP(bits, 8), unit);

    return clusters * unit + ROUND_UP(clusters * 8, unit);
}

int coroutine_fn qcow2_bitmaps_size(BlockNode *node, uint64_t unit, uint64_t *bytes)
{
    const Qcow2State *s = block_node_state(node);
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0, new_dir = 0;
    int ret;

    *bytes = 0;
    if (s->version < 3) {
        return -ENOTSUP;
    }
    if (!(s->autoclear & AUTOCLEAR_BITMAPS) || !s->nb_bitmaps) {
        return 0; /* a program that does not know bitmaps has written to the image */
    }
    dir = g_try_malloc(s->bitmap_dir_size);
    ret = dir ? block_pread(node->file, s->bitmap_dir_offset, dir, s->bitmap_dir_size) : -ENOMEM;
    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < s->nb_bitmaps; i++) {
        uint64_t name, rest = s->bitmap_dir_size - at;
        const uint8_t *entry = dir + at;

        if (rest < BITMAP_ENTRY_LENGTH ||
            entry[BITMAP_GRANULARITY_BITS] > MAX_BITMAP_GRANULARITY_BITS) {
            return -EINVAL;
        }
        name = ldbe16(entry + BITMAP_NAME_SIZE);
        at += ROUND_UP(BITMAP_ENTRY_LENGTH + (uint64_t)ldbe32(entry + BITMAP_EXTRA_SIZE) + name, 8);
        if (at > s->bitmap_dir_size) {
            return -EINVAL;
        }
        new_dir += ROUND_UP(BITMAP_ENTRY_LENGTH + name, 8);
        *bytes += bitmap_bytes(s, entry[BITMAP_GRANULARITY_BITS], unit);
    }
    *bytes += ROUND_UP(new_dir, unit);
    return 0;
}

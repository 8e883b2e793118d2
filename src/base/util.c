/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"

#include <glib.h>
#include <unistd.h>

unsigned hash_u64(const void *key)
{
    static uint64_t seed; /* odd */
    static gsize made;
    uint64_t k;

    if (g_once_init_enter(&made)) {
        seed = (uint64_t)g_random_int() << 32 | g_random_int() | 1;
        g_once_init_leave(&made, 1);
    }
    memcpy(&k, key, sizeof k);
    return ((k ^ k >> 32) * seed) >> 32;
}

void fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

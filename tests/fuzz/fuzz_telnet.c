/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a telnet client sends: telnet_filter() gives the same text however the input is cut. */
#include <stdint.h>
#include <string.h>
#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *whole = g_memdup2(data, size), *pieces = g_malloc(size + 1);
    Telnet a = {0}, b = {0};
    bool break_a = false, break_b = false;
    size_t got = 0, n = telnet_filter(&a, whole, size, &break_a);

    g_assert(n <= size);
    for (size_t i = 0; i < size; i++) {
        pieces[got] = data[i];
        got += telnet_filter(&b, pieces + got, 1, &break_b);
    }
    g_assert(n == got && break_a == break_b);
    g_assert(n == 0 || memcmp(whole, pieces, n) == 0);
    return 0;
}

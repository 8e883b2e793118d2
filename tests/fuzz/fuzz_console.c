/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest writes to its console, shown on a terminal: it is UTF-8, has no control character
 * but the newline, and cleaning it again changes nothing.
 */
#include <string.h>
#include <glib.h>
#include "chardev/console.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *clean = char_console_clean(data, size);
    g_autofree char *again = char_console_clean((const uint8_t *)clean, strlen(clean));

    g_assert(g_utf8_validate(clean, -1, NULL));
    for (const char *p = clean; *p; p = g_utf8_next_char(p)) {
        g_assert(*p == '\n' || !g_unichar_iscntrl(g_utf8_get_char(p)));
    }
    g_assert(!strcmp(clean, again));
    return 0;
}

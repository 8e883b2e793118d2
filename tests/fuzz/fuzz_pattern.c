/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An expression, and behind its NUL a text: whether it is found does not depend on how the text is
 * cut into pieces, and what has been found stays so.
 */
#include <string.h>
#include "base/pattern.h"

static bool scan(const Pattern *p, const uint8_t *data, size_t size, size_t piece)
{
    PatternScan *s = pattern_scan_new(p);
    bool found = false;

    for (size_t i = 0; i < size; i += piece) {
        bool now = pattern_scan(s, data + i, MIN(piece, size - i));

        g_assert(now || !found);
        found = now;
    }
    found = pattern_scan_end(s);
    pattern_scan_free(s);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    size_t len = strlen(text);
    g_autoptr(GError) err = NULL;
    Pattern *p = pattern_new(text, &err);

    g_assert(!p == !!err);
    if (p && len < size) {
        data += len + 1;
        size -= len + 1;
        g_assert(scan(p, data, size, MAX(size, 1)) == scan(p, data, size, 1));
    }
    pattern_free(p);
    return 0;
}

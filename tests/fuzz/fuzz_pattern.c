/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An expression, and behind its NUL a text; and the text alone with expressions that are known to
 * be good. Whether one is found does not depend on how the text is cut into pieces, and what has
 * been found stays so. What is too much for the search depends on the pieces, and is none of its
 * findings.
 */
#include <string.h>
#include "base/pattern.h"

/* The longest text; a match of all of it is not too long. */
#define SIZE_MAX_HERE 4096

static const char *const expressions[] = {
    "login: ",
    "(?i)(kernel panic|BUG:).*$",
    "^all (\\d+) tests passed$",
    "^\\s*$",
    "\\b\\w+\\b.$",
    "a.*b.*c",
    "(?<!x)ab(?!c)",
    "\\d{2,9}(\\.|,)\\s",
};

static bool scan(Pattern *p, const uint8_t *data, size_t size, size_t piece)
{
    PatternScan *s = pattern_scan_new(p);
    bool found = false;

    for (size_t i = 0; i < size; i += piece) {
        bool now = pattern_scan(s, data + i, MIN(piece, size - i));

        g_assert(now || !found);
        found = now;
    }
    found = pattern_scan_end(s);
    g_assert(found == pattern_scan_end(s));
    pattern_scan_free(s);
    return found;
}

static void scan_good(const uint8_t *data, size_t size)
{
    static Pattern *patterns[G_N_ELEMENTS(expressions)];

    for (unsigned i = 0; i < G_N_ELEMENTS(expressions); i++) {
        bool found;

        if (!patterns[i]) {
            patterns[i] = pattern_new(expressions[i], NULL);
        }
        found = scan(patterns[i], data, size, 1);
        g_assert(found == scan(patterns[i], data, size, SIZE_MAX_HERE));
        g_assert(found == scan(patterns[i], data, size, 7));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *expression = g_strndup((const char *)data, MIN(size, 200));
    size_t len = strlen(expression);
    g_autoptr(GError) err = NULL;
    Pattern *p = pattern_new(expression, &err);

    g_assert(!p == !!err);
    len = MIN(size, len + 1);
    size -= len;
    data += len;
    size = MIN(size, SIZE_MAX_HERE);
    if (p) {
        scan(p, data, MIN(size, 256), 1);
        scan(p, data, MIN(size, 256), 256);
    }
    pattern_free(p);
    scan_good(data, size);
    return 0;
}

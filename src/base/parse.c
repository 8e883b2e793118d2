/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scalars as text: numbers, sizes, switches, addresses. */
#include "base/property.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

bool parse_uint(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false; /* strtoull() would take white space and a minus sign */
    }
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || *end || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool parse_int(const char *text, int64_t *out)
{
    bool negative = *text == '-';
    uint64_t value;

    if (!parse_uint(text + negative, (uint64_t)INT64_MAX + negative, &value)) {
        return false;
    }
    *out = negative ? -value : value;
    return true;
}

static uint64_t size_suffix(char c)
{
    static const char suffixes[] = "BKMGTPE";
    const char *at = c ? strchr(suffixes, g_ascii_toupper(c)) : NULL;

    return at ? 1ull << (10 * (at - suffixes)) : 0;
}

bool parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    double fraction = 0;
    uint64_t value;
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, hex ? 16 : 10);
    if (errno || (hex && end < text + 3)) {
        return false;
    }
    if (*end == '.') {
        size_t digits = strspn(end + 1, "0123456789");
        if (hex) {
            return false;
        }
        if (digits > 0) {
            g_autofree char *part = g_strndup(end, digits + 1);
            fraction = g_ascii_strtod(part, NULL);
        }
        end += digits + 1;
    }
    uint64_t scale = size_suffix(*end);
    if (scale) {
        end++;
    } else {
        scale = unit;
    }
    if (*end || (scale == 1 && fraction != 0)) {
        return false; /* a fraction of a byte */
    }
    uint64_t rest = fraction * scale;
    if (__builtin_mul_overflow(value, scale, &value) ||
        __builtin_add_overflow(value, rest, &value)) {
        return false;
    }
    *out = value;
    return true;
}

static const char *const true_words[] = {"on", "yes", "true", "y", NULL};
static const char *const false_words[] = {"off", "no", "false", "n", NULL};

bool parse_bool(const char *text, bool *out)
{
    if (g_strv_contains(true_words, text)) {
        *out = true;
        return true;
    }
    if (g_strv_contains(false_words, text)) {
        *out = false;
        return true;
    }
    return false;
}

bool parse_mac(const char *text, uint8_t mac[6])
{
    if (strlen(text) != 17) {
        return false;
    }
    for (int i = 0; i < 6; i++, text += 3) {
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1]) ||
            (i < 5 && text[2] != ':' && text[2] != '-')) {
            return false;
        }
        mac[i] = g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]);
    }
    return true;
}

bool parse_pci_addr(const char *text, int32_t *devfn)
{
    char *end;

    if (strcmp(text, "-1") == 0) {
        *devfn = -1;
        return true;
    }
    if (!g_ascii_isxdigit(*text)) {
        return false;
    }
    unsigned long slot = strtoul(text, &end, 16), fn = 0;
    if (*end == '.') {
        text = end + 1;
        if (!g_ascii_isxdigit(*text)) {
            return false;
        }
        fn = strtoul(text, &end, 16);
    }
    if (*end || slot > 31 || fn > 7) {
        return false;
    }
    *devfn = slot << 3 | fn;
    return true;
}

enum { UUID_TEXT_LEN = 36 };

bool parse_uuid(const char *text, uint8_t uuid[16])
{
    if (strcmp(text, "auto") == 0) {
        if (getrandom(uuid, 16, 0) != 16) {
            return false;
        }
        uuid[6] = (uuid[6] & 0x0f) | 0x40; /* RFC 4122, 4.4: version 4, variant 1 */
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        return true;
    }
    if (strlen(text) != UUID_TEXT_LEN) {
        return false;
    }
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (*text++ != '-') {
                return false;
            }
        }
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1])) {
            return false;
        }
        uuid[i] = g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]);
        text += 2;
    }
    return true;
}

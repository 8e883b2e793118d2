/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "aml.h"
#include <string.h>

enum {
    ZERO_OP = 0x00,
    ONE_OP = 0x01,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    QWORD_PREFIX = 0x0e,
    SCOPE_OP = 0x10,
    PACKAGE_OP = 0x12,
    METHOD_OP = 0x14,
    DUAL_NAME_PREFIX = 0x2e,
    MULTI_NAME_PREFIX = 0x2f,
    EXT_OP_PREFIX = 0x5b,
    DEVICE_OP = 0x82, /* after EXT_OP_PREFIX */
    RETURN_OP = 0xa4,
};

static void aml_byte(GByteArray *out, uint8_t b)
{
    g_byte_array_append(out, &b, 1);
}

void aml_path(GByteArray *out, const char *path)
{
    g_auto(GStrv) segments = NULL;
    unsigned n;

    if (*path == '\\') {
        aml_byte(out, *path++);
    }
    segments = g_strsplit(path, ".", -1);
    n = g_strv_length(segments);
    if (n == 2) {
        aml_byte(out, DUAL_NAME_PREFIX);
    } else if (n > 2) {
        aml_byte(out, MULTI_NAME_PREFIX);
        aml_byte(out, n);
    }
    for (unsigned i = 0; i < n; i++) {
        char segment[5] = "____";

        g_assert(strlen(segments[i]) >= 1 && strlen(segments[i]) <= 4);
        memcpy(segment, segments[i], strlen(segments[i]));
        g_byte_array_append(out, (const uint8_t *)segment, 4);
    }
}

void aml_integer(GByteArray *out, uint64_t value)
{
    unsigned size;

    if (value <= 1) {
        aml_byte(out, value ? ONE_OP : ZERO_OP);
        return;
    }
    size = value > UINT32_MAX ? 8 : value > UINT16_MAX ? 4 : value > UINT8_MAX ? 2 : 1;
    aml_byte(out, size == 8   ? QWORD_PREFIX
                  : size == 4 ? DWORD_PREFIX
                  : size == 2 ? WORD_PREFIX
                              : BYTE_PREFIX);
    for (unsigned i = 0; i < size; i++) {
        aml_byte(out, value >> (8 * i));
    }
}

void aml_string(GByteArray *out, const char *text)
{
    aml_byte(out, STRING_PREFIX);
    g_byte_array_append(out, (const uint8_t *)text, strlen(text) + 1);
}

void aml_name_integer(GByteArray *out, const char *path, uint64_t value)
{
    aml_byte(out, NAME_OP);
    aml_path(out, path);
    aml_integer(out, value);
}

void aml_name_string(GByteArray *out, const char *path, const char *text)
{
    aml_byte(out, NAME_OP);
    aml_path(out, path);
    aml_string(out, text);
}

/* PkgLength counts itself (20.2.4): one byte up to 63, else a nibble and one to three bytes. */
static void package_length(GByteArray *out, size_t len)
{
    unsigned extra = len + 1 <= 0x3f ? 0 : len + 2 <= 0xfff ? 1 : len + 3 <= 0xfffff ? 2 : 3;

    len += 1 + extra;
    if (!extra) {
        aml_byte(out, len);
        return;
    }
    aml_byte(out, extra << 6 | (len & 0xf));
    for (unsigned i = 0; i < extra; i++) {
        aml_byte(out, len >> (4 + 8 * i));
    }
}

static void close_block(GByteArray *out, GByteArray *head, GByteArray *body)
{
    package_length(out, head->len + body->len);
    g_byte_array_append(out, head->data, head->len);
    g_byte_array_append(out, body->data, body->len);
    g_byte_array_unref(head);
    g_byte_array_unref(body);
}

void aml_name_package(GByteArray *out, const char *path, const uint64_t *values, unsigned n)
{
    GByteArray *head = g_byte_array_new(), *body = g_byte_array_new();

    aml_byte(out, NAME_OP);
    aml_path(out, path);
    aml_byte(out, PACKAGE_OP);
    aml_byte(head, n);
    for (unsigned i = 0; i < n; i++) {
        aml_integer(body, values[i]);
    }
    close_block(out, head, body);
}

void aml_scope(GByteArray *out, const char *path, GByteArray *body)
{
    GByteArray *head = g_byte_array_new();

    aml_byte(out, SCOPE_OP);
    aml_path(head, path);
    close_block(out, head, body);
}

void aml_device(GByteArray *out, const char *path, GByteArray *body)
{
    GByteArray *head = g_byte_array_new();

    aml_byte(out, EXT_OP_PREFIX);
    aml_byte(out, DEVICE_OP);
    aml_path(head, path);
    close_block(out, head, body);
}

void aml_method(GByteArray *out, const char *path, unsigned args, GByteArray *body)
{
    GByteArray *head = g_byte_array_new();

    aml_byte(out, METHOD_OP);
    aml_path(head, path);
    aml_byte(head, args);
    close_block(out, head, body);
}

void aml_return_call(GByteArray *out, const char *path, uint64_t value)
{
    aml_byte(out, RETURN_OP);
    aml_path(out, path);
    aml_integer(out, value);
}

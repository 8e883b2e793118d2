/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON text: a value that is read, written and read again is equal. JSON stream: its values and
 * errors do not depend on how it is cut into pieces, and after 0xff the next value is always read.
 */
#include <stdint.h>
#include <string.h>
#include "base/json.h"

static void note(void *data, json_t *value, const char *error)
{
    GString *all = data;
    g_autofree char *text = value ? json_text(value) : g_strdup(error);

    g_assert(!value == !!error);
    g_string_append_printf(all, "%s\n", text);
    json_decref(value);
}

static char *read_stream(const uint8_t *data, size_t size, size_t piece)
{
    JsonStream *s = json_stream_new(64, JSON_ALLOW_NUL);
    GString *all = g_string_new(NULL);

    for (size_t i = 0; i < size; i += piece) {
        json_stream_feed(s, data + i, MIN(piece, size - i), note, all);
    }
    json_stream_feed(s, "\xff{}", 3, note, all);
    g_assert(g_str_has_suffix(all->str, "\n{}\n"));
    json_stream_free(s);
    return g_string_free(all, FALSE);
}

static void check_text(const char *text)
{
    g_autoptr(GError) err = NULL;
    json_t *value = json_parse(text, &err);

    g_assert(!value == !!err);
    if (value) {
        g_autofree char *back = json_text(value);
        json_t *again = json_parse(back, &err);
        g_assert(again && json_equal(value, again));
        json_decref(again);
        json_decref(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autofree char *whole = read_stream(data, size, MAX(size, 1));
    g_autofree char *pieces = read_stream(data, size, 1);

    check_text(text);
    g_assert(!strcmp(whole, pieces));
    return 0;
}

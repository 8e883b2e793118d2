/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"

#include <string.h>

#include "base/error.h"
#include "base/property.h"
#include "json_private.h"

enum { DEPTH_MAX = 256 }; /* jansson recurses, and a coroutine's stack is small */

typedef struct {
    json_t *value;
    GError *err;
    unsigned count;
} JsonParsed;

static void json_parsed(void *data, json_t *value, const char *error)
{
    JsonParsed *parsed = data;

    if (parsed->count++ || parsed->err) {
        json_decref(value);
        return;
    }
    parsed->value = value;
    if (!value) {
        error_set(&parsed->err, "%s", error);
    }
}

json_t *json_parse(const char *text, GError **err)
{
    JsonParsed parsed = {0};
    JsonStream *s = json_stream_new(DEPTH_MAX, 0);

    json_stream_feed(s, text, strlen(text), json_parsed, &parsed);
    json_stream_end(s, json_parsed, &parsed);
    json_stream_free(s);
    if (parsed.count == 1 && parsed.value) {
        return parsed.value;
    }
    json_decref(parsed.value);
    if (!parsed.err) {
        error_set(&parsed.err, parsed.count ? "JSON parse error, more follows behind the value"
                                            : "JSON parse error, there is no value");
    }
    g_propagate_error(err, parsed.err);
    return NULL;
}

/* Integers above 2^63 - 1. */

json_t *json_uint(uint64_t n)
{
    g_autofree char *text = NULL;

    if (n <= INT64_MAX) {
        return json_integer(n);
    }
    text = g_strdup_printf(JSON_BIG_MARK "%" G_GUINT64_FORMAT, n);
    return json_string(text);
}

bool json_is_big(const json_t *value)
{
    return json_is_string(value) && g_str_has_prefix(json_string_value(value), JSON_BIG_MARK);
}

bool json_uint_value(const json_t *value, uint64_t *n)
{
    if (json_is_integer(value)) {
        *n = json_integer_value(value);
        return json_integer_value(value) >= 0;
    }
    return json_is_big(value) &&
           parse_uint(json_string_value(value) + strlen(JSON_BIG_MARK), UINT64_MAX, n);
}

/* Replaces each string "MARK123" in the text of JSON by the number 123. */
static void unmark_numbers(char *text)
{
    static const char quoted_mark[] = "\"" JSON_BIG_MARK;
    char *at = text;

    while ((at = strstr(at, quoted_mark))) {
        char *number = at + strlen(quoted_mark);
        size_t digits = strspn(number, "0123456789");

        if (!digits || number[digits] != '"') {
            at = number;
            continue;
        }
        memmove(at, number, digits);
        memmove(at + digits, number + digits + 1, strlen(number + digits + 1) + 1);
        at += digits;
    }
}

/* A copy in which bytes of strings that are not UTF-8 are replaced by U+FFFD. */
static json_t *valid_copy(const json_t *value)
{
    const char *key;
    json_t *item, *copy;
    size_t i;

    if (json_is_string(value)) {
        g_autofree char *text =
            g_utf8_make_valid(json_string_value(value), json_string_length(value));

        return json_string(text);
    }
    if (json_is_array(value)) {
        copy = json_array();
        json_array_foreach(value, i, item)
        {
            json_array_append_new(copy, valid_copy(item));
        }
        return copy;
    }
    if (json_is_object(value)) {
        copy = json_object();
        json_object_foreach((json_t *)value, key, item)
        {
            json_object_set_new_nocheck(copy, key, valid_copy(item));
        }
        return copy;
    }
    return json_copy((json_t *)value);
}

char *json_dump_text(const json_t *value, size_t flags)
{
    char *text = json_dumps(value, flags | JSON_ENCODE_ANY);

    if (!text) {
        json_t *copy = valid_copy(value);

        text = json_dumps(copy, flags | JSON_ENCODE_ANY);
        json_decref(copy);
    }
    if (text) {
        unmark_numbers(text);
    }
    return text ? text : g_strdup("null");
}

char *json_text(const json_t *value)
{
    return json_dump_text(value, JSON_COMPACT);
}

const char *json_str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

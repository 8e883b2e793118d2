/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/json.h"
#include "base/property.h"
#include "base/util.h"
#include "json_private.h"

enum {
    VALUE_MAX_MIB = 64,
    TOKENS_MAX = 2000000, /* each may become a node of about a hundred bytes */
};

struct JsonStream {
    GString *text; /* the value so far, rewritten as standard JSON */
    GString *open; /* its open brackets */
    size_t token;  /* offset of the last token in 'text' */
    unsigned tokens, depth_max;
    size_t flags;
    enum { STREAM_BETWEEN, STREAM_WORD, STREAM_STRING, STREAM_ESCAPE } state;
    char quote;     /* the character that ends the string */
    bool junk;      /* after an error: bytes up to a bracket or the end of the line are skipped */
    bool skip_line; /* after an error: all bytes up to the end of the line are skipped */
};

JsonStream *json_stream_new(unsigned depth_max, size_t flags)
{
    JsonStream *s = g_new0(JsonStream, 1);

    s->text = g_string_new(NULL);
    s->open = g_string_new(NULL);
    s->depth_max = depth_max;
    s->flags = flags | JSON_DECODE_ANY | JSON_REJECT_DUPLICATES;
    return s;
}

void json_stream_free(JsonStream *s)
{
    if (s) {
        g_string_free(s->text, TRUE);
        g_string_free(s->open, TRUE);
        g_free(s);
    }
}

static void json_stream_restart(JsonStream *s)
{
    if (s->text->allocated_len > MiB) {
        g_string_free(s->text, TRUE);
        s->text = g_string_new(NULL);
    }
    g_string_truncate(s->text, 0);
    g_string_truncate(s->open, 0);
    s->tokens = 0;
    s->state = STREAM_BETWEEN;
}

static void json_stream_fail(JsonStream *s, JsonStreamFn fn, void *data, const char *why)
{
    g_autofree char *error = g_strdup_printf("JSON parse error, %s", why);

    json_stream_restart(s);
    s->junk = true;
    fn(data, NULL, error);
}

static void json_stream_stray(JsonStream *s, uint8_t c, JsonStreamFn fn, void *data)
{
    bool printable = c >= ' ' && c < 0x7f, in_string = s->state >= STREAM_STRING;
    g_autofree char *why =
        printable ? g_strdup_printf("stray '%c'", c)
                  : g_strdup_printf("stray byte 0x%02x%s", c, in_string ? " in a string" : "");

    json_stream_fail(s, fn, data, why);
}

static void json_stream_complete(JsonStream *s, JsonStreamFn fn, void *data)
{
    json_error_t at;
    json_t *value = json_loadb(s->text->str, s->text->len, s->flags, &at);
    g_autofree char *error = NULL;

    if (!value) {
        error = g_strdup_printf("JSON parse error at line %d, column %d: %s", at.line, at.column,
                                at.text);
        s->junk = true;
    }
    json_stream_restart(s);
    fn(data, value, error);
}

static bool is_integer_word(const char *word)
{
    const char *digits = word + (*word == '-');

    return *digits && strspn(digits, "0123456789") == strlen(digits) &&
           (*digits != '0' || !digits[1]);
}

/* Integers above 2^63 - 1 become marked strings, those above 2^64 - 1 real numbers. */
static void json_stream_end_word(JsonStream *s)
{
    const char *word = s->text->str + s->token;
    uint64_t big;
    int64_t n;

    s->state = STREAM_BETWEEN;
    if (!is_integer_word(word)) {
        return;
    }
    if (parse_int(word, &n)) {
        return;
    }
    if (parse_uint(word, UINT64_MAX, &big)) {
        g_string_insert(s->text, s->token, "\"" JSON_BIG_MARK);
        g_string_append_c(s->text, '"');
    } else {
        g_string_append(s->text, ".0");
    }
}

static bool has_big_mark(const char *string)
{
    return g_str_has_prefix(string, "\"" JSON_BIG_MARK) ||
           !g_ascii_strncasecmp(string, "\"\\uffff", strlen("\"\\uffff"));
}

static void json_stream_in_string(JsonStream *s, uint8_t c, JsonStreamFn fn, void *data)
{
    if (c < ' ' || c >= 0xfe) {
        json_stream_stray(s, c, fn, data);
    } else if (s->state == STREAM_ESCAPE) {
        /* \' is an escape in QEMU only, not in JSON. */
        g_string_append_printf(s->text, "%s%c", c == '\'' ? "" : "\\", c);
        s->state = STREAM_STRING;
    } else if (c == '\\') {
        s->state = STREAM_ESCAPE;
    } else if (c != s->quote) {
        if (c == '"') {
            g_string_append_c(s->text, '\\');
        }
        g_string_append_c(s->text, c);
    } else {
        g_string_append_c(s->text, '"');
        s->state = STREAM_BETWEEN;
        if (has_big_mark(s->text->str + s->token)) {
            json_stream_fail(s, fn, data, "a string begins with U+FFFF, which is no character");
        } else if (!s->open->len) {
            json_stream_complete(s, fn, data);
        }
    }
}

static void json_stream_close(JsonStream *s, char c, JsonStreamFn fn, void *data)
{
    char opened = s->open->len ? s->open->str[s->open->len - 1] : '\0';

    if (opened != (c == '}' ? '{' : '[')) {
        json_stream_stray(s, c, fn, data);
        return;
    }
    g_string_append_c(s->text, c);
    g_string_truncate(s->open, s->open->len - 1);
    if (!s->open->len) {
        json_stream_complete(s, fn, data);
    }
}

static bool is_word_character(uint8_t c)
{
    return g_ascii_islower(c) || g_ascii_isdigit(c) || c == '-' || c == '+' || c == '.' || c == 'E';
}

static void json_stream_begin_token(JsonStream *s, uint8_t c)
{
    s->token = s->text->len;
    s->tokens++;
    s->junk = false;
    if (c == '"' || c == '\'') {
        s->state = STREAM_STRING;
        s->quote = c;
        c = '"';
    } else if (is_word_character(c)) {
        s->state = STREAM_WORD;
    } else if (c == '{' || c == '[') {
        g_string_append_c(s->open, c);
    }
    g_string_append_c(s->text, c);
}

static void json_stream_between(JsonStream *s, uint8_t c, JsonStreamFn fn, void *data)
{
    if (strchr(" \t\r\n", c) && c) {
        if (c == '\n') {
            s->junk = s->skip_line = false;
        }
        if (s->text->len) {
            g_string_append_c(s->text, c); /* jansson counts the lines for its errors */
        }
    } else if (s->skip_line || (s->junk && c != '{' && c != '[')) {
        return;
    } else if (c == '{' || c == '[' || c == '"' || c == '\'' || is_word_character(c)) {
        json_stream_begin_token(s, c);
    } else if (c == '}' || c == ']') {
        json_stream_close(s, c, fn, data);
    } else if ((c == ',' || c == ':') && s->open->len) {
        json_stream_begin_token(s, c);
    } else {
        json_stream_stray(s, c, fn, data);
    }
}

static void json_stream_take(JsonStream *s, uint8_t c, JsonStreamFn fn, void *data)
{
    if (s->state >= STREAM_STRING) {
        json_stream_in_string(s, c, fn, data);
        return;
    }
    if (s->state == STREAM_WORD) {
        if (is_word_character(c)) {
            g_string_append_c(s->text, c);
            return;
        }
        json_stream_end_word(s);
        if (!s->open->len) {
            json_stream_complete(s, fn, data);
        }
    }
    json_stream_between(s, c, fn, data);
}

void json_stream_feed(JsonStream *s, const void *bytes, size_t len, JsonStreamFn fn, void *data)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = ((const uint8_t *)bytes)[i];

        if (c == 0xff) {
            json_stream_fail(s, fn, data, "stray byte 0xff");
            s->junk = s->skip_line = false;
            continue;
        }
        json_stream_take(s, c, fn, data);
        if (s->text->len > VALUE_MAX_MIB * MiB || s->tokens > TOKENS_MAX ||
            s->open->len > s->depth_max) {
            g_autofree char *why = g_strdup_printf("more than %u levels deep, %u MiB or %u tokens",
                                                   s->depth_max, VALUE_MAX_MIB, TOKENS_MAX);

            s->skip_line = true;
            json_stream_fail(s, fn, data, why);
        }
    }
}

void json_stream_end(JsonStream *s, JsonStreamFn fn, void *data)
{
    if (s->state == STREAM_WORD) {
        json_stream_end_word(s);
        if (!s->open->len) {
            json_stream_complete(s, fn, data);
        }
    }
    if (s->text->len) {
        json_stream_fail(s, fn, data,
                         s->state >= STREAM_STRING ? "a string does not end"
                                                   : "a bracket is not closed");
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A message ends where its brackets balance. Bytes outside of brackets that are no white space are
 * an error; so is a message too large or too deep. After an error the framer starts afresh with
 * the next byte. Byte 0xff is how clients resynchronise: it drops what was gathered.
 */
#include "qmp_framer.h"

#include <stdbool.h>
#include <string.h>

#define MESSAGE_MAX (64 << 20)
#define DEPTH_MAX   1024

struct QmpFramer {
    GString *text;
    unsigned depth;
    char quote; /* inside a string that this character ends, else 0 */
    bool escaped, junk;
};

QmpFramer *qmp_framer_new(void)
{
    QmpFramer *f = g_new0(QmpFramer, 1);

    f->text = g_string_new(NULL);
    return f;
}

void qmp_framer_free(QmpFramer *f)
{
    if (f) {
        g_string_free(f->text, TRUE);
        g_free(f);
    }
}

static void start_afresh(QmpFramer *f)
{
    g_string_truncate(f->text, 0);
    f->depth = 0;
    f->quote = 0;
    f->escaped = false;
}

/* QEMU's JSON lets strings stand in single quotes: they are made double here. */
static void qmp_framer_append(QmpFramer *f, char c)
{
    if (f->quote == '\'' && c == '"') {
        g_string_append(f->text, "\\\"");
    } else {
        g_string_append_c(f->text, c);
    }
}

static void qmp_framer_complete(QmpFramer *f, QmpFramerFn fn, void *data)
{
    json_error_t e;
    json_t *message = json_loadb(f->text->str, f->text->len,
                                 JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
    g_autofree char *text = message ? NULL : g_strdup_printf("JSON parse error, %s", e.text);

    start_afresh(f);
    fn(data, message, text);
}

static void in_string(QmpFramer *f, char c)
{
    if (f->escaped) {
        /* \' is an escape of QEMU's alone. */
        f->escaped = false;
        if (c != '\'') {
            g_string_append_c(f->text, '\\');
        }
        g_string_append_c(f->text, c);
    } else if (c == '\\') {
        f->escaped = true;
    } else if (c == f->quote) {
        f->quote = 0;
        g_string_append_c(f->text, '"');
    } else {
        qmp_framer_append(f, c);
    }
}

static void qmp_framer_take(QmpFramer *f, char c, QmpFramerFn fn, void *data)
{
    if (f->quote) {
        in_string(f, c);
        return;
    }
    switch (c) {
    case '"':
    case '\'':
        f->quote = c;
        g_string_append_c(f->text, '"');
        return;
    case '{':
    case '[':
        f->depth++;
        g_string_append_c(f->text, c);
        return;
    case '}':
    case ']':
        g_string_append_c(f->text, c);
        if (f->depth <= 1) {
            qmp_framer_complete(f, fn, data);
        } else {
            f->depth--;
        }
        return;
    default:
        g_string_append_c(f->text, c);
    }
}

void qmp_framer_feed(QmpFramer *f, const uint8_t *buf, size_t len, QmpFramerFn fn, void *data)
{
    for (size_t i = 0; i < len; i++) {
        char c = buf[i];

        if (buf[i] == 0xff) {
            bool broken = f->text->len > 0;

            start_afresh(f);
            f->junk = false;
            if (broken) {
                fn(data, NULL, "JSON parse error, stray '\\xff'");
            }
            continue;
        }
        if (!f->depth && !f->quote && !strchr("{[", c)) {
            /* One complaint for a run of nonsense. */
            if (!g_ascii_isspace(c) && !f->junk) {
                f->junk = true;
                fn(data, NULL, "JSON parse error, invalid keyword or stray character");
            } else if (c == '\n') {
                f->junk = false;
            }
            continue;
        }
        f->junk = false;
        qmp_framer_take(f, c, fn, data);
        if (f->text->len > MESSAGE_MAX || f->depth > DEPTH_MAX) {
            start_afresh(f);
            f->junk = true;
            fn(data, NULL, "JSON nesting or size limit exceeded");
        }
    }
}

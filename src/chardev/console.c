/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's consoles: a ring of what each has said last, and a listener. */
#include "chardev/console.h"
#include "internal.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/util.h"

#define RING_SIZE (16 * KiB)

struct CharConsole {
    char *name;
    const CharFrontend *fe;
    void *heard; /* the listener's */
    GMutex lock; /* a leaf: guards the ring */
    uint8_t *ring;
    uint64_t said; /* bytes in total; the index is modulo RING_SIZE */
};

static GPtrArray *consoles;
static const CharConsoleListener *listener;
static void *listener_data;

CharConsole *char_console_new(const CharFrontend *fe, const char *name)
{
    CharConsole *c = g_new0(CharConsole, 1);

    c->name = g_strdup(name);
    c->fe = fe;
    g_mutex_init(&c->lock);
    c->heard = listener ? listener->begin(listener_data) : NULL;
    if (!consoles) {
        consoles = g_ptr_array_new();
    }
    g_ptr_array_add(consoles, c);
    return c;
}

void char_console_free(CharConsole *c)
{
    if (!c) {
        return;
    }
    g_ptr_array_remove(consoles, c);
    if (!consoles->len) {
        g_clear_pointer(&consoles, g_ptr_array_unref);
    }
    if (listener) {
        listener->end(c->heard);
    }
    g_mutex_clear(&c->lock);
    g_free(c->ring);
    g_free(c->name);
    g_free(c);
}

void char_consoles_listen(const CharConsoleListener *l, void *data)
{
    g_assert(!consoles);
    listener = l;
    listener_data = data;
}

void char_console_put(CharConsole *c, const uint8_t *buf, size_t len)
{
    size_t skip = len > RING_SIZE ? len - RING_SIZE : 0;

    if (!len) {
        return;
    }
    if (listener) {
        listener->output(c->heard, buf, len);
    }
    g_mutex_lock(&c->lock);
    if (!c->ring) {
        c->ring = g_malloc(RING_SIZE);
    }
    c->said += skip;
    for (size_t i = skip; i < len; i++) {
        c->ring[c->said++ % RING_SIZE] = buf[i];
    }
    g_mutex_unlock(&c->lock);
}

/* Cleaning. */

/* The length of an escape sequence (ECMA-48, 5.4 and 5.6) at p; 0: there is none. */
static size_t escape_length(const char *p, size_t len)
{
    size_t n = 2;

    if (*p != '\033') {
        return 0;
    }
    if (len < 2 || !strchr("[]P^_X", p[1]) || !p[1]) {
        return MIN(len, 2);
    }
    if (p[1] == '[') {
        while (n < len && p[n] >= 0x20 && p[n] < 0x40) {
            n++;
        }
        return MIN(n + 1, len);
    }
    /* A string, up to BEL or ST; one that does not end on its line is not one. */
    while (n < len && p[n] != '\007' && p[n] != '\033' && p[n] != '\n') {
        n++;
    }
    return n < len && p[n] == '\033' ? MIN(n + 2, len) : MIN(n + 1, len);
}

char *char_console_clean(const uint8_t *buf, size_t len)
{
    g_autoptr(GString) bytes = g_string_sized_new(len);
    g_autofree char *valid = NULL;
    GString *out = g_string_new(NULL);
    const char *end;

    for (size_t i = 0; i < len; i++) {
        if (buf[i]) { /* NULs fill the time of slow terminals */
            g_string_append_c(bytes, buf[i]);
        }
    }
    valid = g_utf8_make_valid(bytes->str, bytes->len);
    end = valid + strlen(valid);
    for (const char *p = valid; p < end;) {
        size_t escape = escape_length(p, end - p);
        gunichar ch;

        if (escape) {
            p += escape;
            /* Not into the middle of a character. */
            while (p < end && (*p & 0xc0) == 0x80) {
                p++;
            }
            continue;
        }
        ch = g_utf8_get_char(p);
        if (ch == '\n' || ch == '\t' || g_unichar_type(ch) > G_UNICODE_FORMAT ||
            g_unichar_type(ch) == G_UNICODE_UNASSIGNED) {
            g_string_append_unichar(out, ch == '\t' ? ' ' : ch);
        }
        p = g_utf8_next_char(p);
    }
    return g_string_free(out, FALSE);
}

/* The tail. */

/* Leaves the last lines that have anything, and of the text only these. */
static const char *last_lines(char *text, unsigned lines)
{
    char *p;

    g_strchomp(text);
    p = text + strlen(text);
    while (p > text && (p[-1] != '\n' || --lines)) {
        p--;
    }
    return p;
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool is_seen_already(const CharConsole *c)
{
    const Chardev *chr = c->fe->chr;

    if (chr && chr->class == &chardev_mux) {
        chr = mux_base(chr);
    }
    return chr && chr->class == &chardev_stdio && same_file(STDOUT_FILENO, STDERR_FILENO);
}

/* What is in the ring, oldest first; caller frees. */
static uint8_t *console_kept(CharConsole *c, size_t *len)
{
    uint8_t *copy;

    g_mutex_lock(&c->lock);
    *len = MIN(c->said, RING_SIZE);
    copy = g_malloc(*len + 1);
    for (size_t i = 0; i < *len; i++) {
        copy[i] = c->ring[(c->said - *len + i) % RING_SIZE];
    }
    g_mutex_unlock(&c->lock);
    copy[*len] = 0;
    return copy;
}

void char_consoles_tail(unsigned lines, CharConsoleFn fn, void *data)
{
    for (unsigned i = 0; consoles && i < consoles->len; i++) {
        CharConsole *c = g_ptr_array_index(consoles, i);
        size_t len;
        g_autofree uint8_t *kept = console_kept(c, &len);
        g_autofree char *text = char_console_clean(kept, len);
        const char *tail = last_lines(text, lines);

        if (*tail && !is_seen_already(c)) {
            fn(c->name, tail, data);
        }
    }
}

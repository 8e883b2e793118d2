/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mux: one device, several frontends (a serial console and a monitor, say). All of them write;
 * the one with the focus reads. Ctrl-A and a letter are commands to the mux.
 *
 * A mux writes with its lock held, and takes the lock of the device below inside.
 */
#include "internal.h"
#include <stdio.h>
#include "base/error.h"
#include "base/util.h"

/* Limit of input that is kept while the focused frontend has no room: escapes still work then. */
#define MUX_BUFFER 4096

typedef struct {
    Chardev chr;
    CharFrontend below;
    Chardev *base;
    bool escaped; /* Ctrl-A was the last key */
    bool timestamps, at_line_start;
    int64_t first_stamp; /* ms; 0: none yet */
    GString *pending;    /* time stamps that the base has not taken yet */
} CharMux;

static CharMuxHooks hooks;
static int escape_char = 0x01;

void chardev_set_mux_hooks(const CharMuxHooks *h)
{
    hooks = *h;
}

void chardev_set_escape_char(int c)
{
    escape_char = c;
}

static void mux_say(CharMux *s, const char *text)
{
    char_write_all(&s->below, (const uint8_t *)text, strlen(text));
}

static void mux_help(CharMux *s)
{
    static const struct {
        char key;
        const char *help;
    } keys[] = {
        {'h', "print this help"},
        {'x', "exit emulator"},
        {'s', "save disk data back to file (if -snapshot)"},
        {'t', "toggle console timestamps"},
        {'b', "send break (magic sysrq)"},
        {'c', "switch between console and monitor"},
    };
    char name[12];
    g_autoptr(GString) text = g_string_new("\n\r");

    if (escape_char > 0 && escape_char < 26) {
        snprintf(name, sizeof name, "C-%c", escape_char - 1 + 'a');
    } else {
        snprintf(name, sizeof name, "Esc-0x%x", escape_char & 0xff);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].key == 's' && !hooks.commit) {
            continue; /* the program has no commit */
        }
        g_string_append_printf(text, "%s %c    %s\n\r", name, keys[i].key, keys[i].help);
    }
    g_string_append_printf(text, "%s %s  sends %s\n\r", name, name, name);
    mux_say(s, text->str);
}

static size_t typed_ahead(const CharMux *s)
{
    return s->chr.frontend && s->chr.frontend->typed ? s->chr.frontend->typed->len : 0;
}

static void mux_type(CharMux *s, uint8_t byte)
{
    CharFrontend *fe = s->chr.frontend;

    if (fe) {
        if (!fe->typed) {
            fe->typed = g_byte_array_new();
        }
        g_byte_array_append(fe->typed, &byte, 1);
    }
}

/* Delivers kept input to the focused frontend, as far as that has room. */
static void mux_feed(CharMux *s)
{
    while (typed_ahead(s)) {
        size_t n = MIN(chardev_can_read(&s->chr), typed_ahead(s));
        g_autofree uint8_t *bytes = NULL;

        if (!n) {
            return;
        }
        /* A copy: read() may run a monitor command that frees 'typed'. */
        bytes = g_memdup2(s->chr.frontend->typed->data, n);
        g_byte_array_remove_range(s->chr.frontend->typed, 0, n);
        chardev_deliver(&s->chr, bytes, n);
    }
}

void char_take_focus(CharFrontend *fe)
{
    CharMux *s;

    if (!fe->chr || fe->chr->class != &chardev_mux || fe->chr->frontend == fe) {
        return;
    }
    s = container_of(fe->chr, CharMux, chr);
    if (s->chr.frontend) {
        chardev_event(&s->chr, CHAR_EVENT_MUX_OUT);
    }
    s->chr.frontend = fe;
    if (!fe->greet) {
        chardev_event(&s->chr, CHAR_EVENT_MUX_IN);
    }
    bh_schedule(&s->chr.service);
}

static void mux_next_focus(CharMux *s)
{
    unsigned n = s->chr.frontends->len;

    if (n > 1) {
        char_take_focus(g_ptr_array_index(s->chr.frontends, (s->chr.frontend->mux_tag + 1) % n));
    }
}

static void mux_escape(CharMux *s, uint8_t key)
{
    switch (key) {
    case 'h':
    case '?':
        mux_help(s);
        break;
    case 'x':
        mux_say(s, "QEMU: Terminated\n\r");
        if (hooks.quit) {
            hooks.quit(hooks.data);
        }
        break;
    case 's':
        if (hooks.commit) {
            hooks.commit(hooks.data);
        }
        break;
    case 'b':
        chardev_event(&s->chr, CHAR_EVENT_BREAK);
        break;
    case 'c':
        mux_feed(s);
        mux_next_focus(s);
        break;
    case 't':
        g_mutex_lock(&s->chr.lock); /* mux_write() reads these on other threads */
        s->timestamps = !s->timestamps;
        s->first_stamp = 0;
        s->at_line_start = false;
        g_mutex_unlock(&s->chr.lock);
        break;
    default:
        break;
    }
}

static size_t mux_can_read(void *data)
{
    CharMux *s = data;
    size_t used = typed_ahead(s), room = used < MUX_BUFFER ? MUX_BUFFER - used : 0;

    if (!room) {
        /* Makes char_accept_input() of the focused frontend call mux_accept_input(). */
        g_atomic_int_set(&s->chr.starved, 1);
    }
    return room;
}

static void mux_read(void *data, const uint8_t *buf, size_t len)
{
    CharMux *s = data;

    for (size_t i = 0; i < len; i++) {
        if (s->escaped) {
            s->escaped = false;
            if (buf[i] == escape_char) {
                mux_type(s, buf[i]);
            } else {
                mux_escape(s, buf[i]);
            }
        } else if (buf[i] == escape_char) {
            s->escaped = true;
        } else {
            mux_type(s, buf[i]);
        }
    }
    mux_feed(s);
}

static void mux_event(void *data, CharEvent event)
{
    chardev_event(&((CharMux *)data)->chr, event);
}

static void mux_writable(void *data)
{
    chardev_writable(&((CharMux *)data)->chr);
}

static const CharFrontendOps mux_ops = {
    .can_read = mux_can_read,
    .read = mux_read,
    .event = mux_event,
    .writable = mux_writable,
};

static bool mux_flush_pending(CharMux *s)
{
    while (s->pending->len) {
        size_t n = char_write(&s->below, (const uint8_t *)s->pending->str, s->pending->len);

        if (!n) {
            return false;
        }
        g_string_erase(s->pending, 0, n);
    }
    return true;
}

static void mux_stamp(CharMux *s)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS) / NS_PER_MS, ms, secs;

    if (!s->first_stamp) {
        s->first_stamp = now;
    }
    ms = now - s->first_stamp;
    secs = ms / 1000;
    g_string_append_printf(s->pending, "[%02d:%02d:%02d.%03d] ", (int)(secs / 3600),
                           (int)(secs / 60 % 60), (int)(secs % 60), (int)(ms % 1000));
}

static ssize_t mux_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharMux *s = container_of(chr, CharMux, chr);
    size_t done = 0;

    if (!s->timestamps) {
        return mux_flush_pending(s) ? (ssize_t)char_write(&s->below, buf, len) : 0;
    }
    while (done < len) {
        const uint8_t *nl = memchr(buf + done, '\n', len - done);
        size_t line = nl ? (size_t)(nl - buf) + 1 - done : len - done, n;

        if (s->at_line_start) {
            s->at_line_start = false;
            mux_stamp(s);
        }
        if (!mux_flush_pending(s)) {
            break;
        }
        n = char_write(&s->below, buf + done, line);
        done += n;
        if (n < line) {
            break;
        }
        s->at_line_start = nl != NULL;
    }
    return done;
}

static void mux_accept_input(Chardev *chr)
{
    CharMux *s = container_of(chr, CharMux, chr);

    mux_feed(s);
    char_accept_input(&s->below);
}

static void mux_set_echo(Chardev *chr, bool echo)
{
    char_set_echo(&container_of(chr, CharMux, chr)->below, echo);
}

static void mux_send_break(Chardev *chr)
{
    char_send_break(&container_of(chr, CharMux, chr)->below);
}

static int mux_get_msgfds(Chardev *chr, int *fds, int max)
{
    return char_get_msgfds(&container_of(chr, CharMux, chr)->below, fds, max);
}

static bool mux_open(Chardev *chr, void *options, GError **err)
{
    CharMux *s = container_of(chr, CharMux, chr);
    Chardev *base = options;

    s->below.always_on = true;
    if (!char_frontend_connect(&s->below, base, &mux_ops, s, err)) {
        return false;
    }
    s->base = base;
    base->users++;
    s->pending = g_string_new(NULL);
    chr->be_open = base->be_open;
    s->below.greet = false; /* the mux's own frontends get OPENED from the mux */
    return true;
}

static void mux_close(Chardev *chr)
{
    CharMux *s = container_of(chr, CharMux, chr);

    char_frontend_disconnect(&s->below);
    s->base->users--;
    g_string_free(s->pending, TRUE);
}

/* Not in the list of classes: 'mux=on' of any class makes a mux. */
const ChardevClass chardev_mux = {
    .name = "mux",
    .help = "several users of one character device",
    .size = sizeof(CharMux),
    .open = mux_open,
    .close = mux_close,
    .write = mux_write,
    .write_anywhere = true,
    .accept_input = mux_accept_input,
    .set_echo = mux_set_echo,
    .send_break = mux_send_break,
    .get_msgfds = mux_get_msgfds,
};

const Chardev *mux_base(const Chardev *mux)
{
    return container_of(mux, CharMux, chr)->base;
}

Chardev *mux_new(const char *id, Chardev *base, GError **err)
{
    return chardev_new(&chardev_mux, id, base, NULL, false, err);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text console on a screen of this program, which a viewer reaches by Ctrl-Alt-2 and on. The
 * console itself is src/ui's, and is installed by chardev_set_vc_ops(); without it output is
 * dropped.
 */
#include "internal.h"
#include "base/error.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    void *console;
    GByteArray *typed; /* keys for which the frontend had no room */
} CharVc;

typedef struct {
    uint32_t width, height, cols, rows;
} VcOptions;

enum {
    VC_GLYPH_WIDTH = 8,
    VC_GLYPH_HEIGHT = 16,
    VC_SIZE_MAX = 512, /* characters in a row, and rows */
    VC_TYPED_MAX = 256,
};

static const Property vc_props[] = {
    PROP("width", PROP_UINT32, VcOptions, width, "0", "of the text console, in pixels"),
    PROP("height", PROP_UINT32, VcOptions, height, "0", "of the text console, in pixels"),
    PROP("cols", PROP_UINT32, VcOptions, cols, "0", "of the text console (80)"),
    PROP("rows", PROP_UINT32, VcOptions, rows, "0", "of the text console (24)"),
    PROP_END,
};

static const CharVcOps *vc_ops;
static void *vc_data;

void chardev_set_vc_ops(const CharVcOps *ops, void *data)
{
    vc_ops = ops;
    vc_data = data;
}

static void vc_deliver(CharVc *s)
{
    size_t room;

    while (s->typed->len && (room = chardev_can_read(&s->chr))) {
        uint8_t buf[VC_TYPED_MAX];
        size_t n = MIN(s->typed->len, room);

        memcpy(buf, s->typed->data, n);
        g_byte_array_remove_range(s->typed, 0, n);
        chardev_deliver(&s->chr, buf, n);
    }
}

void chardev_vc_type(Chardev *chr, const void *text, size_t len)
{
    CharVc *s = container_of(chr, CharVc, chr);

    if (s->typed->len + len <= VC_TYPED_MAX) {
        g_byte_array_append(s->typed, text, len);
    }
    vc_deliver(s);
}

static bool vc_open(Chardev *chr, void *options, GError **err)
{
    CharVc *s = container_of(chr, CharVc, chr);
    VcOptions *o = options;
    unsigned cols = o->cols    ? o->cols
                    : o->width ? o->width / VC_GLYPH_WIDTH
                               : 80,
             rows = o->rows     ? o->rows
                    : o->height ? o->height / VC_GLYPH_HEIGHT
                                : 24;

    if (!cols || !rows || cols > VC_SIZE_MAX || rows > VC_SIZE_MAX) {
        return error_set(err, "a text console of %u columns and %u rows: it has 1 to %u of each",
                         cols, rows, VC_SIZE_MAX);
    }
    s->typed = g_byte_array_new();
    if (vc_ops) {
        s->console = vc_ops->open(vc_data, chr, cols, rows);
        chr->be_open = true;
    }
    return true;
}

static void vc_close(Chardev *chr)
{
    CharVc *s = container_of(chr, CharVc, chr);

    if (s->console) {
        vc_ops->close(s->console);
    }
    if (s->typed) {
        g_byte_array_free(s->typed, TRUE);
    }
}

static ssize_t vc_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharVc *s = container_of(chr, CharVc, chr);

    if (s->console) {
        vc_ops->write(s->console, buf, len);
    }
    return len;
}

static void vc_accept_input(Chardev *chr)
{
    vc_deliver(container_of(chr, CharVc, chr));
}

const ChardevClass chardev_vc = {
    .name = "vc",
    .help = "a text console on a screen of VNC's (Ctrl-Alt-2)",
    .size = sizeof(CharVc),
    .options_size = sizeof(VcOptions),
    .props = vc_props,
    .open = vc_open,
    .close = vc_close,
    .write = vc_write,
    .accept_input = vc_accept_input,
};

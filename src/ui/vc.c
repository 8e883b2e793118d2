/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text console: what a serial port or a monitor writes is shown on a screen, and the keys of
 * those who look at it are what it reads. The sequences are those of ECMA-48 that line editors and
 * boot loaders use; others are swallowed.
 */
#include "ui/vc.h"

#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "ui_internal.h"

#define VC_ROM     "vgabios-stdvga.bin" /* has the font */
#define VC_ROM_MAX (64 * KiB)

enum {
    VC_GLYPH_WIDTH = 8,
    VC_GLYPH_HEIGHT = 16,
    VC_TAB = 8,
    VC_PARAMS = 8,
    VC_DEFAULT_COLOURS = 0x07, /* white on black */
};

typedef struct {
    uint8_t glyph;   /* of code page 437 */
    uint8_t colours; /* background << 4 | foreground */
    bool dirty;
} VcCell;

typedef struct {
    Screen screen;
    Chardev *chr;
    unsigned cols, rows;
    VcCell *cells;
    unsigned x, y;
    unsigned shown_x, shown_y; /* where draw() last drew the cursor */
    uint8_t colours;
    bool bold, inverse;
    enum { VC_TEXT, VC_ESCAPE, VC_SEQUENCE } state;
    unsigned params[VC_PARAMS], n_params;
    uint32_t utf8; /* of a character of which bytes are missing */
    unsigned utf8_left;
    uint8_t *rom; /* read when somebody first looks */
    const uint8_t *fonts[33];
    bool rom_tried;
} VcConsole;

static const uint32_t vc_palette[16] = {
    0x000000, 0xaa0000, 0x00aa00, 0xaa5500, 0x0000aa, 0xaa00aa, 0x00aaaa, 0xaaaaaa,
    0x555555, 0xff5555, 0x55ff55, 0xffff55, 0x5555ff, 0xff55ff, 0x55ffff, 0xffffff,
};

/* The text. */

static VcCell *vc_cell(VcConsole *c, unsigned x, unsigned y)
{
    return &c->cells[y * c->cols + x];
}

static void vc_clear(VcConsole *c, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        c->cells[i] = (VcCell){' ', VC_DEFAULT_COLOURS, true};
    }
}

static void vc_line_feed(VcConsole *c)
{
    if (c->y + 1 < c->rows) {
        c->y++;
        return;
    }
    memmove(c->cells, c->cells + c->cols, (c->rows - 1) * c->cols * sizeof *c->cells);
    vc_clear(c, (c->rows - 1) * c->cols, c->rows * c->cols);
    for (unsigned i = 0; i < c->rows * c->cols; i++) {
        c->cells[i].dirty = true;
    }
}

static uint8_t vc_colours(const VcConsole *c)
{
    uint8_t colours = c->colours | (c->bold ? 0x08 : 0);

    return c->inverse ? colours << 4 | colours >> 4 : colours;
}

static void vc_put(VcConsole *c, gunichar ch)
{
    int glyph = screen_text_glyph(ch);

    if (c->x >= c->cols) {
        c->x = 0;
        vc_line_feed(c);
    }
    *vc_cell(c, c->x, c->y) = (VcCell){glyph < 0 ? '?' : glyph, vc_colours(c), true};
    c->x++;
}

static void vc_set_attribute(VcConsole *c, unsigned n)
{
    switch (n) {
    case 0:
        c->colours = VC_DEFAULT_COLOURS;
        c->bold = c->inverse = false;
        break;
    case 1:
        c->bold = true;
        break;
    case 7:
        c->inverse = true;
        break;
    case 22:
        c->bold = false;
        break;
    case 27:
        c->inverse = false;
        break;
    case 30 ... 37:
        c->colours = (c->colours & 0xf0) | (n - 30);
        break;
    case 39:
        c->colours = (c->colours & 0xf0) | (VC_DEFAULT_COLOURS & 0x0f);
        break;
    case 40 ... 47:
        c->colours = (c->colours & 0x0f) | (n - 40) << 4;
        break;
    case 49:
        c->colours &= 0x0f;
        break;
    }
}

/* ED and EL (ECMA-48, 8.3.39, 8.3.41): to the end, from the beginning, or all. */
static void vc_erase(VcConsole *c, unsigned begin, unsigned end, unsigned what)
{
    unsigned at = MIN(c->y * c->cols + MIN(c->x, c->cols - 1), end - 1);

    vc_clear(c, what == 0 ? at : begin, what == 1 ? at + 1 : end);
}

/* Characters of the line move from the cursor on: ICH, DCH (8.3.64, 8.3.26). */
static void vc_shift_line(VcConsole *c, unsigned n, bool insert)
{
    unsigned x = MIN(c->x, c->cols - 1);
    VcCell *line = vc_cell(c, 0, c->y);
    unsigned room = c->cols - x;

    n = MIN(n, room);
    if (insert) {
        memmove(line + x + n, line + x, (room - n) * sizeof *line);
        vc_clear(c, c->y * c->cols + x, c->y * c->cols + x + n);
    } else {
        memmove(line + x, line + x + n, (room - n) * sizeof *line);
        vc_clear(c, (c->y + 1) * c->cols - n, (c->y + 1) * c->cols);
    }
    for (unsigned i = x; i < c->cols; i++) {
        line[i].dirty = true;
    }
}

static void vc_sequence(VcConsole *c, uint8_t final)
{
    unsigned first = c->params[0], n = MAX(first, 1);

    switch (final) {
    case 'A':
        c->y -= MIN(n, c->y);
        break;
    case 'B':
        c->y = MIN(c->y + n, c->rows - 1);
        break;
    case 'C':
        c->x = MIN(c->x + n, c->cols - 1);
        break;
    case 'D':
        c->x = MIN(c->x, c->cols - 1);
        c->x -= MIN(n, c->x);
        break;
    case 'G':
        c->x = MIN(n, c->cols) - 1;
        break;
    case 'H':
    case 'f':
        c->y = MIN(n, c->rows) - 1;
        c->x = MIN(MAX(c->params[1], 1), c->cols) - 1;
        break;
    case 'J':
        vc_erase(c, 0, c->rows * c->cols, first);
        break;
    case 'K':
        vc_erase(c, c->y * c->cols, (c->y + 1) * c->cols, first);
        break;
    case '@':
        vc_shift_line(c, n, true);
        break;
    case 'P':
        vc_shift_line(c, n, false);
        break;
    case 'm':
        for (unsigned i = 0; i < MAX(c->n_params, 1); i++) {
            vc_set_attribute(c, c->params[i]);
        }
        break;
    }
}

static void vc_control(VcConsole *c, uint8_t b)
{
    switch (b) {
    case '\b':
        c->x = MIN(c->x, c->cols - 1);
        c->x -= c->x > 0;
        break;
    case '\t':
        c->x = MIN((c->x / VC_TAB + 1) * VC_TAB, c->cols - 1);
        break;
    case '\n':
        vc_line_feed(c);
        break;
    case '\r':
        c->x = 0;
        break;
    case 0x1b:
        c->state = VC_ESCAPE;
        break;
    }
}

/* A character that UTF-8 does not allow is shown as '?'. */
static void vc_text_byte(VcConsole *c, uint8_t b)
{
    if (c->utf8_left && (b & 0xc0) == 0x80) {
        c->utf8 = c->utf8 << 6 | (b & 0x3f);
        if (!--c->utf8_left) {
            vc_put(c, c->utf8);
        }
        return;
    }
    if (c->utf8_left) {
        c->utf8_left = 0;
        vc_put(c, '?');
    }
    if (b < 0x20) {
        vc_control(c, b);
    } else if (b < 0x80) {
        vc_put(c, b);
    } else if (b >= 0xc2 && b < 0xf5) {
        c->utf8_left = b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
        c->utf8 = b & (0x3f >> c->utf8_left);
    } else {
        vc_put(c, '?');
    }
}

static void vc_byte(VcConsole *c, uint8_t b)
{
    switch (c->state) {
    case VC_TEXT:
        vc_text_byte(c, b);
        break;
    case VC_ESCAPE:
        c->state = b == '[' ? VC_SEQUENCE : VC_TEXT;
        memset(c->params, 0, sizeof c->params);
        c->n_params = 0;
        break;
    case VC_SEQUENCE:
        if (b >= '0' && b <= '9') {
            unsigned *p = &c->params[MIN(c->n_params, VC_PARAMS - 1)];
            *p = MIN(*p * 10 + (b - '0'), 9999);
        } else if (b == ';') {
            c->n_params = MIN(c->n_params + 1, VC_PARAMS - 1);
        } else if (b >= 0x40) {
            c->n_params++;
            vc_sequence(c, b);
            c->state = VC_TEXT;
        }
        break;
    }
}

static void vc_write(void *console, const uint8_t *buf, size_t len)
{
    VcConsole *c = console;

    for (size_t i = 0; i < len; i++) {
        vc_byte(c, buf[i]);
    }
    screen_touched(&c->screen);
}

/* The screen. */

static void vc_load_font(VcConsole *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *path = host_find_data_file(VC_ROM, "seabios", &err);
    size_t len;

    c->rom_tried = true;
    c->rom = path ? host_read_file(path, VC_ROM_MAX, &len, &err) : NULL;
    if (c->rom) {
        screen_text_find_fonts(c->rom, len, c->fonts);
    }
    if (!c->fonts[VC_GLYPH_HEIGHT]) {
        log_warn("text consoles have no font: %s", err ? err->message : "there is none in " VC_ROM);
    }
}

static void vc_draw_cell(VcConsole *c, unsigned x, unsigned y)
{
    const VcCell *cell = vc_cell(c, x, y);
    const uint8_t *font = c->fonts[VC_GLYPH_HEIGHT];
    const Surface *f = &c->screen.surface;
    uint32_t fg = vc_palette[cell->colours & 0x0f], bg = vc_palette[cell->colours >> 4];
    bool cursor = x == MIN(c->x, c->cols - 1) && y == c->y;

    for (unsigned row = 0; row < VC_GLYPH_HEIGHT; row++) {
        uint8_t bits = font ? font[cell->glyph * VC_GLYPH_HEIGHT + row] : 0;
        uint32_t *p = f->pixels + (y * VC_GLYPH_HEIGHT + row) * f->stride + x * VC_GLYPH_WIDTH;

        for (unsigned i = 0; i < VC_GLYPH_WIDTH; i++) {
            p[i] = !(bits & 0x80 >> i) == !cursor ? bg : fg;
        }
    }
    screen_mark(&c->screen, x * VC_GLYPH_WIDTH, y * VC_GLYPH_HEIGHT, VC_GLYPH_WIDTH,
                VC_GLYPH_HEIGHT);
}

static void vc_draw(Screen *s, bool all)
{
    VcConsole *c = container_of(s, VcConsole, screen);

    s->pushes = true;
    if (!c->rom_tried) {
        vc_load_font(c);
    }
    if (!s->surface.width) {
        screen_resize(s, c->cols * VC_GLYPH_WIDTH, c->rows * VC_GLYPH_HEIGHT);
        all = true;
    }
    vc_cell(c, c->shown_x, c->shown_y)->dirty = true;
    c->shown_x = MIN(c->x, c->cols - 1);
    c->shown_y = c->y;
    vc_cell(c, c->shown_x, c->shown_y)->dirty = true;
    for (unsigned y = 0; y < c->rows; y++) {
        for (unsigned x = 0; x < c->cols; x++) {
            if (all || vc_cell(c, x, y)->dirty) {
                vc_draw_cell(c, x, y);
                vc_cell(c, x, y)->dirty = false;
            }
        }
    }
}

static bool vc_text(Screen *s, ScreenText *out, GError **err)
{
    VcConsole *c = container_of(s, VcConsole, screen);

    out->cols = c->cols;
    out->rows = c->rows;
    out->cells = g_new0(ScreenCell, c->cols * c->rows);
    for (unsigned i = 0; i < c->cols * c->rows; i++) {
        out->cells[i] = (ScreenCell){.glyph = c->cells[i].glyph,
                                     .fg = c->cells[i].colours & 0x0f,
                                     .bg = c->cells[i].colours >> 4};
    }
    out->cursor_x = MIN(c->x, c->cols - 1);
    out->cursor_y = c->y;
    out->glyph_height = VC_GLYPH_HEIGHT;
    memcpy(out->palette, vc_palette, sizeof vc_palette);
    return true;
}

/* X's keysyms of keys that are no characters, and what a terminal sends for them. */
static const struct {
    uint32_t keysym;
    const char *text;
} vc_keys[] = {
    {0xff08, "\x7f"},    {0xff09, "\t"},      {0xff0d, "\r"},      {0xff1b, "\x1b"},
    {0xff50, "\x1b[1~"}, {0xff51, "\x1b[D"},  {0xff52, "\x1b[A"},  {0xff53, "\x1b[C"},
    {0xff54, "\x1b[B"},  {0xff55, "\x1b[5~"}, {0xff56, "\x1b[6~"}, {0xff57, "\x1b[4~"},
    {0xff8d, "\r"},      {0xffff, "\x1b[3~"},
};

static void vc_key(Screen *s, uint32_t keysym, bool ctrl)
{
    VcConsole *c = container_of(s, VcConsole, screen);
    char text[8];
    gunichar ch = keysym >= 0x01000000 ? keysym & 0xffffff : keysym;

    for (unsigned i = 0; i < ARRAY_SIZE(vc_keys); i++) {
        if (vc_keys[i].keysym == keysym) {
            chardev_vc_type(c->chr, vc_keys[i].text, strlen(vc_keys[i].text));
            return;
        }
    }
    if (ctrl && ch >= 0x40 && ch < 0x80) {
        text[0] = ch & 0x1f;
        chardev_vc_type(c->chr, text, 1);
    } else if (!ctrl && ch >= 0x20 && (ch < 0x100 || keysym >= 0x01000000) &&
               g_unichar_validate(ch)) {
        chardev_vc_type(c->chr, text, g_unichar_to_utf8(ch, text));
    }
}

static const ScreenOps vc_screen_ops = {.draw = vc_draw, .text = vc_text, .key = vc_key};

static void *vc_open(void *vm, Chardev *chr, unsigned cols, unsigned rows)
{
    VcConsole *c = g_new0(VcConsole, 1);

    c->chr = chr;
    c->cols = cols;
    c->rows = rows;
    c->colours = VC_DEFAULT_COLOURS;
    c->cells = g_new0(VcCell, cols * rows);
    vc_clear(c, 0, cols * rows);
    c->screen.ops = &vc_screen_ops;
    c->screen.name = chr->label;
    c->screen.is_monitor = g_str_has_prefix(chr->label, "compat_monitor");
    screen_add(vm, &c->screen);
    return c;
}

static void vc_close(void *console)
{
    VcConsole *c = console;

    screen_remove(&c->screen);
    g_free(c->cells);
    g_free(c->rom);
    g_free(c);
}

static const CharVcOps vc_ops = {.open = vc_open, .write = vc_write, .close = vc_close};

void vc_install(Vm *vm)
{
    chardev_set_vc_ops(&vc_ops, vm);
}

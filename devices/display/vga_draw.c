/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From registers and memory to the surface. Lines are drawn where memory has changed, by the dirty
 * log, or where the registers have; of what was drawn only tiles that look different are marked.
 */
#include "base/error.h"
#include "vga.h"

enum {
    BLINK_NS = 266666667, /* half of a period of the cursor: 16 frames at 60 Hz */
    BLANK_WIDTH = 640,    /* before the guest has set a mode */
    BLANK_HEIGHT = 480,
};

/* The registers. */

static uint32_t vga_dac_colour(const Vga *d, unsigned index)
{
    const uint8_t *rgb = &d->s.palette[(index & d->s.dac_mask) * 3];
    uint32_t colour = 0;

    for (unsigned i = 0; i < 3; i++) {
        unsigned c = rgb[i];

        if (!(d->s.vbe[VBE_ENABLE] & VBE_8BIT_DAC)) {
            c &= 0x3f;
            c = c << 2 | c >> 4;
        }
        colour = colour << 8 | c;
    }
    return colour;
}

/* One of 16 colours through the attribute controller's palette. */
static uint32_t vga_attr_colour(const Vga *d, unsigned index)
{
    const uint8_t *attr = d->s.attr;
    unsigned entry = attr[index & attr[ATTR_PLANES] & 0xf];

    if (attr[ATTR_MODE] & 0x80) {
        entry = (entry & 0x0f) | (attr[ATTR_COLOUR_SELECT] & 0x0f) << 4;
    } else {
        entry |= (attr[ATTR_COLOUR_SELECT] & 0x0c) << 4;
    }
    return vga_dac_colour(d, entry);
}

static void vga_view_colours(const Vga *d, VgaView *v)
{
    if (v->kind == VGA_RGB) {
        return;
    }
    for (unsigned i = 0; i < (v->kind == VGA_PACKED ? 256 : 16); i++) {
        v->colours[i] = v->kind == VGA_PACKED ? vga_dac_colour(d, i) : vga_attr_colour(d, i);
    }
}

/* Sequencer, register 3: fonts lie 8 KiB apart, the higher four of eight between the others. */
static uint32_t vga_font_offset(unsigned select)
{
    return ((select & 3) * 0x4000 + (select >> 2) * 0x2000) * 4;
}

static void vga_view_text(const Vga *d, VgaView *v)
{
    const uint8_t *crtc = d->s.crtc;
    unsigned fonts = d->s.seq[SEQ_FONTS];
    int64_t phase = clock_ns(CLOCK_VIRTUAL_NS) / BLINK_NS;

    v->font[0] = vga_font_offset((fonts & 3) | (fonts >> 2 & 4));
    v->font[1] = vga_font_offset((fonts >> 2 & 3) | (fonts >> 3 & 4));
    v->cursor = (crtc[CRTC_CURSOR_HIGH] << 8 | crtc[CRTC_CURSOR_LOW]) * 4;
    /* An empty range of rows where the cursor is off. */
    v->cursor_first = crtc[CRTC_CURSOR_START] & 0x20 ? 32 : crtc[CRTC_CURSOR_START] & 0x1f;
    v->cursor_last = crtc[CRTC_CURSOR_END] & 0x1f;
    v->cursor_on = !(phase & 1);
    v->blink = d->s.attr[ATTR_MODE] & 0x08;
    v->blink_off = v->blink && phase & 2;
    v->line_graphics = d->s.attr[ATTR_MODE] & 0x04;
    v->underline = crtc[CRTC_UNDERLINE] & 0x1f;
}

static void vga_view_panning(const Vga *d, VgaView *v)
{
    unsigned pan = d->s.attr[ATTR_PANNING] & 0xf;

    if (v->kind == VGA_PACKED) {
        v->pan = (pan & 7) / 2;
    } else if (v->dots == 9) {
        v->pan = pan >= 8 ? 0 : pan + 1;
    } else {
        v->pan = pan & 7;
    }
    v->pan_stops = d->s.attr[ATTR_MODE] & 0x20;
}

static void vga_view_legacy(const Vga *d, VgaView *v)
{
    const uint8_t *crtc = d->s.crtc, *seq = d->s.seq;
    unsigned over = crtc[CRTC_OVERFLOW], max_row = crtc[CRTC_MAX_ROW];
    bool text = !(d->s.gfx[GFX_MISC] & 1), word = !(crtc[CRTC_MODE] & 0x40);

    v->kind = text                        ? VGA_TEXT
              : d->s.gfx[GFX_MODE] & 0x40 ? VGA_PACKED
              : d->s.gfx[GFX_MODE] & 0x20 ? VGA_CGA
                                          : VGA_PLANAR;
    v->dots = text && !(seq[SEQ_CLOCKING] & 0x01) ? 9 : 8;
    v->repeat = (seq[SEQ_CLOCKING] & 0x08 ? 2 : 1) * (v->kind == VGA_PACKED ? 2 : 1);
    v->cols = crtc[CRTC_HDISPLAY_END] + 1;
    v->width = v->cols * v->dots * (seq[SEQ_CLOCKING] & 0x08 ? 2 : 1);
    v->height = (crtc[CRTC_VDISPLAY_END] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1;
    v->line_compare = crtc[CRTC_LINE_COMPARE] | (over & 0x10) << 4 | (max_row & 0x40) << 3;
    v->max_row = max_row & 0x1f;
    v->scans = max_row & 0x80 ? 2 : 1;
    v->preset_row = crtc[CRTC_PRESET_ROW] & 0x1f;
    v->crtc_mode = text ? 3 : crtc[CRTC_MODE] & 3;
    v->row_shift = crtc[CRTC_UNDERLINE] & 0x40 ? 13 : word ? 14 : 15;
    v->wrap = VGA_LEGACY_SIZE;
    v->start =
        ((crtc[CRTC_START_HIGH] << 8 | crtc[CRTC_START_LOW]) + (crtc[CRTC_PRESET_ROW] >> 5 & 3)) *
        4;
    v->stride = crtc[CRTC_OFFSET] * 2 * 4;
    v->blank |= seq[SEQ_CLOCKING] & 0x20;
    if (text) {
        vga_view_text(d, v);
    }
    vga_view_panning(d, v);
}

static void vga_view_vbe(const Vga *d, VgaView *v)
{
    VgaVbeMode m;

    vga_vbe_mode(d, &m);
    v->kind = m.bpp == 4 ? VGA_PLANAR : m.bpp == 8 ? VGA_PACKED : VGA_RGB;
    v->vbe = true;
    v->bpp = m.bpp;
    v->big_endian = d->s.big_endian;
    v->dots = 8;
    v->repeat = v->scans = 1;
    v->cols = m.width / 8;
    v->width = m.width;
    v->height = m.height;
    v->start = m.start;
    v->stride = m.stride;
    v->wrap = d->size;
    v->pan = m.bpp == 4 ? d->s.vbe[VBE_X_OFFSET] & 7 : 0;
    v->crtc_mode = 3;
    v->line_compare = UINT_MAX;
}

void vga_view(const Vga *d, VgaView *v)
{
    memset(v, 0, sizeof *v); /* views are compared with their padding */
    v->blank = !(d->s.attr_index & ATTR_PALETTE_SOURCE);
    if (vga_vbe_enabled(d)) {
        vga_view_vbe(d, v);
    } else {
        vga_view_legacy(d, v);
    }
    vga_view_colours(d, v);
}

/* Drawing. */

typedef struct {
    Vga *d;
    const VgaView *v;
    bool all, blinks;
    uint32_t bytes; /* of a line */
    uint8_t *copy;  /* of a line that wraps */
    uint32_t *dots, *line;
} VgaPainter;

static bool vga_is_dirty(const Vga *d, uint32_t from, uint32_t to)
{
    for (uint32_t page = from / DIRTY_PAGE; page <= (to - 1) / DIRTY_PAGE; page++) {
        if (d->dirty[page / 64] & BIT64(page % 64)) {
            return true;
        }
    }
    return false;
}

static bool vga_line_is_dirty(const VgaPainter *p, uint32_t addr)
{
    uint32_t wrap = p->v->wrap;

    if (addr + p->bytes <= wrap) {
        return vga_is_dirty(p->d, addr, addr + p->bytes);
    }
    return vga_is_dirty(p->d, addr, wrap) || vga_is_dirty(p->d, 0, addr + p->bytes - wrap);
}

/* The bytes of a line one after the other. A line is not longer than what it wraps in. */
static const uint8_t *vga_line_source(VgaPainter *p, uint32_t addr)
{
    const uint8_t *memory = p->d->vram->host;
    uint32_t head = p->v->wrap - addr;

    if (p->bytes <= head) {
        return memory + addr;
    }
    memcpy(p->copy, memory + addr, head);
    memcpy(p->copy + head, memory, p->bytes - head);
    return p->copy;
}

/* Puts a line into the surface, and marks the tiles in which it differs. */
static void vga_put_line(VgaPainter *p, unsigned y, const uint32_t *line)
{
    Screen *s = &p->d->screen;
    uint32_t *row = s->surface.pixels + (size_t)y * s->surface.stride;
    unsigned width = s->surface.width;

    for (unsigned x = 0; x < width; x += SCREEN_TILE) {
        unsigned n = MIN(SCREEN_TILE, width - x);

        if (memcmp(row + x, line + x, n * 4)) {
            memcpy(row + x, line + x, n * 4);
            screen_mark(s, x, y, n, 1);
        }
    }
}

static void vga_paint_line(VgaPainter *p, unsigned y, uint32_t addr, unsigned row, unsigned pan)
{
    const VgaView *v = p->v;

    vga_draw_line(p->d, v, vga_line_source(p, addr), addr, row, p->dots, &p->blinks);
    if (v->repeat == 1) {
        vga_put_line(p, y, p->dots + pan);
        return;
    }
    for (unsigned x = 0; x < v->width; x++) {
        p->line[x] = p->dots[pan + x / v->repeat];
    }
    vga_put_line(p, y, p->line);
}

/* Rows are parts of the address where CGA's layout is wanted: odd lines lie 8 KiB behind. */
static uint32_t vga_row_address(const VgaView *v, uint32_t addr, unsigned row)
{
    for (unsigned bit = 0; bit < 2; bit++) {
        if (!(v->crtc_mode & BIT(bit))) {
            addr = (addr & ~BIT(v->row_shift + bit)) | (row >> bit & 1) << (v->row_shift + bit);
        }
    }
    return addr & (v->wrap - 1);
}

static void vga_paint(VgaPainter *p)
{
    const VgaView *v = p->v;
    uint32_t addr = v->start, last = UINT32_MAX;
    unsigned row = v->preset_row, scan = 0, pan = v->pan, last_pan = 0;

    for (unsigned y = 0; y < v->height; y++) {
        uint32_t at = vga_row_address(v, addr, row);

        if (v->kind != VGA_TEXT && at == last && pan == last_pan) {
            Surface *f = &p->d->screen.surface;

            vga_put_line(p, y, f->pixels + (size_t)(y - 1) * f->stride);
        } else if (p->all || v->kind == VGA_TEXT || vga_line_is_dirty(p, at)) {
            vga_paint_line(p, y, at, row, pan);
        }
        last = at;
        last_pan = pan;
        if (y == v->line_compare) {
            addr = row = scan = 0;
            pan = v->pan_stops ? 0 : pan;
        } else if (++scan >= v->scans) {
            scan = 0;
            addr += row == v->max_row ? v->stride : 0;
            row = row == v->max_row ? 0 : (row + 1) & 0x1f;
        }
    }
}

static void vga_paint_blank(VgaPainter *p)
{
    for (unsigned y = 0; p->all && y < p->v->height; y++) {
        vga_put_line(p, y, p->line);
    }
}

/* Pictures that change by themselves are drawn again at the next change. */
static void vga_arm_blink(Vga *d, bool blinks)
{
    if (!blinks || !d->reader) {
        device_timer_cancel(d->blink);
    } else if (!device_timer_armed(d->blink)) {
        device_timer_arm(d->blink, (clock_ns(CLOCK_VIRTUAL_NS) / BLINK_NS + 1) * BLINK_NS);
    }
}

/*
 * A blank screen keeps its size: a BIOS switches the screen off while it sets the registers of a
 * mode, and viewers would follow each of them. VBE's modes come whole.
 */
static void vga_keep_size(const Surface *f, VgaView *v)
{
    if (v->blank && !v->vbe) {
        v->width = f->width ? f->width : BLANK_WIDTH;
        v->height = f->width ? f->height : BLANK_HEIGHT;
    }
}

static void vga_draw(Screen *screen, bool all)
{
    Vga *d = container_of(screen, Vga, screen);
    VgaView v;
    VgaPainter p = {.d = d, .v = &v};

    if (d->reader) {
        memory_dirty_reader_fetch(d->reader, d->dirty);
    }
    vga_view(d, &v);
    vga_keep_size(&screen->surface, &v);
    /* Text and planes are written through the traps; chain-4 and frame buffers are not. */
    screen->pushes = !v.vbe && !(d->s.seq[SEQ_MEMORY] & 0x08);
    p.all = all || d->redraw || !d->reader || memcmp(&v, &d->view, sizeof v);
    if (!screen_resize(screen, v.width, v.height)) {
        /* A picture so large that the host has no surface for it. 'dirty' was of this one. */
        d->redraw = true;
        return;
    }
    p.bytes = vga_line_bytes(&v);
    p.copy = g_malloc(p.bytes);
    p.dots = g_new(uint32_t, v.width + VGA_LINE_MAX);
    p.line = g_new0(uint32_t, v.width);
    if (v.blank) {
        vga_paint_blank(&p);
    } else {
        vga_paint(&p);
    }
    g_free(p.copy);
    g_free(p.dots);
    g_free(p.line);
    d->view = v;
    d->redraw = false;
    vga_arm_blink(d, p.blinks);
}

static void vga_watched(Screen *screen, bool on)
{
    Vga *d = container_of(screen, Vga, screen);

    if (on) {
        d->reader = memory_dirty_reader_new(d->dev->vm, d->vram, 0, d->size);
        d->dirty = g_new0(uint64_t, DIV_ROUND_UP(d->size / DIRTY_PAGE, 64));
    } else {
        g_clear_pointer(&d->reader, memory_dirty_reader_free);
        g_clear_pointer(&d->dirty, g_free);
        device_timer_cancel(d->blink);
    }
}

/* Text. */

static bool vga_text_error(const VgaView *v, GError **err)
{
    if (v->kind == VGA_RGB || v->vbe) {
        return error_set(err,
                         "the screen is in a graphics mode, %ux%u with %u bits a pixel, and "
                         "shows no text",
                         v->width, v->height, v->bpp);
    }
    return error_set(err,
                     "the screen is in a graphics mode, %ux%u with %u colours, and shows no "
                     "text",
                     v->width / v->repeat, v->height / v->scans / (v->max_row + 1),
                     v->kind == VGA_PACKED ? 256
                     : v->kind == VGA_CGA  ? 4
                                           : 16);
}

static void vga_text_fonts(const Vga *d, const VgaView *v, ScreenText *t)
{
    size_t len = 0;
    const uint8_t *rom = d->rom ? d->rom(d->dev, &len) : NULL;

    for (unsigned i = 0; i < 512; i++) {
        for (unsigned row = 0; row < 32; row++) {
            uint32_t at = v->font[i >> 8] + ((i & 0xff) * 32 + row) * 4 + 2;

            t->glyphs[i][row] = d->vram->host[at & (v->wrap - 1)];
        }
    }
    if (rom) {
        screen_text_find_fonts(rom, len, t->rom_font);
    }
}

static void vga_text_cells(const Vga *d, const VgaView *v, ScreenText *t)
{
    bool two_fonts = v->font[0] != v->font[1];

    for (unsigned y = 0; y < t->rows; y++) {
        for (unsigned x = 0; x < t->cols; x++) {
            uint32_t at = (v->start + y * v->stride + x * 4) & (v->wrap - 1);
            const uint8_t *cell = d->vram->host + at;

            t->cells[y * t->cols + x] = (ScreenCell){
                .glyph = cell[0] | (two_fonts && cell[1] & 0x08 ? 0x100 : 0),
                .fg = cell[1] & d->s.attr[ATTR_PLANES] & 0xf,
                .bg = cell[1] >> 4 & (v->blink ? 7 : 15),
                .blink = v->blink && cell[1] & 0x80,
                .underline = v->underline <= v->max_row && (cell[1] & 0x77) == 0x01,
            };
            if (at == v->cursor && v->cursor_first <= MIN(v->cursor_last, v->max_row)) {
                t->cursor_x = x;
                t->cursor_y = y;
            }
        }
    }
}

static bool vga_text(Screen *screen, ScreenText *out, GError **err)
{
    Vga *d = container_of(screen, Vga, screen);
    VgaView v;

    vga_view(d, &v);
    if (v.kind != VGA_TEXT) {
        return vga_text_error(&v, err);
    }
    if (v.blank) {
        return error_set(err, "the screen is blank: the guest has switched it off, or has not set "
                              "a mode yet");
    }
    out->cols = v.cols;
    out->rows = MAX(v.height / v.scans / (v.max_row + 1), 1);
    out->cells = g_new0(ScreenCell, out->cols * out->rows);
    out->glyph_height = MIN(v.max_row + 1, 32);
    memcpy(out->palette, v.colours, sizeof out->palette);
    vga_text_fonts(d, &v, out);
    vga_text_cells(d, &v, out);
    return true;
}

const ScreenOps vga_screen_ops = {.draw = vga_draw, .text = vga_text, .watched = vga_watched};

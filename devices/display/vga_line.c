/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line of the picture, from video memory to pixels. */
#include "vga.h"

/* The bits of a byte as bytes, the highest in the highest byte. */
static uint64_t vga_spread(uint8_t bits)
{
    uint64_t v = (bits * 0x0101010101010101ull) & 0x8040201008040201ull;

    return (v + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;
}

static void vga_line_planar(const VgaView *v, const uint8_t *src, unsigned chars, uint32_t *out)
{
    for (unsigned i = 0; i < chars; i++, src += 4) {
        uint64_t pixels = vga_spread(src[0]) | vga_spread(src[1]) << 1 | vga_spread(src[2]) << 2 |
                          vga_spread(src[3]) << 3;

        for (int shift = 56; shift >= 0; shift -= 8) {
            *out++ = v->colours[pixels >> shift & 0xf];
        }
    }
}

/* Planes 0 and 1 in turn give the low two bits, planes 2 and 3 the high ones. */
static void vga_line_cga(const VgaView *v, const uint8_t *src, unsigned chars, uint32_t *out)
{
    for (unsigned i = 0; i < chars; i++, src += 4) {
        for (unsigned plane = 0; plane < 2; plane++) {
            for (int shift = 6; shift >= 0; shift -= 2) {
                *out++ = v->colours[(src[plane] >> shift & 3) | (src[plane + 2] >> shift & 3) << 2];
            }
        }
    }
}

static void vga_line_packed(const VgaView *v, const uint8_t *src, unsigned count, uint32_t *out)
{
    for (unsigned i = 0; i < count; i++) {
        out[i] = v->colours[src[i]];
    }
}

static uint32_t vga_rgb15(uint16_t c)
{
    uint32_t r = c >> 10 & 31, g = c >> 5 & 31, b = c & 31;

    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static uint32_t vga_rgb16(uint16_t c)
{
    uint32_t r = c >> 11, g = c >> 5 & 63, b = c & 31;

    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

/* One loop for each depth: a full screen has a million pixels. */
static void vga_line_rgb(const VgaView *v, const uint8_t *src, unsigned count, uint32_t *out)
{
    bool big = v->big_endian;

    switch (v->bpp) {
    case 15:
        for (unsigned i = 0; i < count; i++) {
            out[i] = vga_rgb15(big ? ldbe16(src + 2 * i) : ldle16(src + 2 * i));
        }
        break;
    case 16:
        for (unsigned i = 0; i < count; i++) {
            out[i] = vga_rgb16(big ? ldbe16(src + 2 * i) : ldle16(src + 2 * i));
        }
        break;
    case 24:
        for (unsigned i = 0; i < count; i++, src += 3) {
            out[i] = src[big ? 0 : 2] << 16 | src[1] << 8 | src[big ? 2 : 0];
        }
        break;
    default:
        for (unsigned i = 0; i < count; i++) {
            out[i] = (big ? ldbe32(src + 4 * i) : ldle32(src + 4 * i)) & 0xffffff;
        }
    }
}

/* The nine dots of a character's row, the leftmost in bit 8. */
static unsigned vga_text_dots(const Vga *d, const VgaView *v, const uint8_t *cell, unsigned row)
{
    uint32_t glyph = v->font[cell[1] >> 3 & 1] + (cell[0] * 32 + (row & 31)) * 4 + 2;
    unsigned dots = d->vram->host[glyph & (v->wrap - 1)] << 1;

    if (v->line_graphics && (cell[0] & 0xe0) == 0xc0) {
        dots |= dots >> 1 & 1;
    }
    if (row == v->underline && (cell[1] & 0x77) == 0x01) {
        dots = 0x1ff;
    }
    return v->blink && v->blink_off && cell[1] & 0x80 ? 0 : dots;
}

static void vga_line_text(const Vga *d, const VgaView *v, const uint8_t *src, uint32_t addr,
                          unsigned row, uint32_t *out, bool *blinks)
{
    bool cursor_row = row >= v->cursor_first && row <= v->cursor_last;

    for (unsigned i = 0; i < v->cols + 1; i++, src += 4, addr += 4) {
        unsigned dots = vga_text_dots(d, v, src, row);
        uint32_t fg = v->colours[src[1] & 0xf];
        uint32_t bg = v->colours[src[1] >> 4 & (v->blink ? 7 : 15)];

        if (cursor_row && (addr & (v->wrap - 1)) == v->cursor && i < v->cols) {
            *blinks = true;
            dots = v->cursor_on ? 0x1ff : dots;
        }
        *blinks |= v->blink && src[1] & 0x80;
        for (unsigned dot = 0; dot < v->dots; dot++) {
            *out++ = dots & (0x100 >> dot) ? fg : bg;
        }
    }
}

uint32_t vga_line_bytes(const VgaView *v)
{
    switch (v->kind) {
    case VGA_PACKED:
        return v->vbe ? v->width : (v->cols + 1) * 4;
    case VGA_RGB:
        return v->width * ((v->bpp + 7) / 8);
    default:
        return (v->cols + 1) * 4;
    }
}

void vga_draw_line(const Vga *d, const VgaView *v, const uint8_t *src, uint32_t addr, unsigned row,
                   uint32_t *out, bool *blinks)
{
    switch (v->kind) {
    case VGA_TEXT:
        vga_line_text(d, v, src, addr, row, out, blinks);
        break;
    case VGA_PLANAR:
        vga_line_planar(v, src, v->cols + 1, out);
        break;
    case VGA_CGA:
        vga_line_cga(v, src, v->cols + 1, out);
        break;
    case VGA_PACKED:
        vga_line_packed(v, src, vga_line_bytes(v), out);
        break;
    case VGA_RGB:
        vga_line_rgb(v, src, v->width, out);
        break;
    }
}

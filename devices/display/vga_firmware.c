/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA as its BIOS leaves it: text mode 3 (IBM VGA Technical Reference, "Mode 3+"). */
#include "vga.h"

static const uint8_t text_seq[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t text_crtc[CRTC_COUNT] = {
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
    0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
};
static const uint8_t text_gfx[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const uint8_t text_attr[ATTR_COUNT] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
    0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00,
};

/* The 64 colours of the EGA: two bits of each, of which the high one is the brighter. */
static void vga_firmware_palette(Vga *d)
{
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned part = 0; part < 3; part++) {
            d->s.palette[i * 3 + part] = (i >> (2 - part) & 1) * 42 + (i >> (5 - part) & 1) * 21;
        }
    }
}

/* Font 0, in plane 2, 32 bytes a character; and blanks, grey on black, in planes 0 and 1. */
static void vga_firmware_memory(Vga *d)
{
    const uint8_t *fonts[33] = {0}, *rom;
    uint8_t *memory = d->vram->host;
    size_t len;

    rom = d->rom(d->dev, &len);
    if (rom) {
        screen_text_find_fonts(rom, len, fonts);
    }
    for (unsigned i = 0; i < VGA_LEGACY_SIZE; i += 4) {
        unsigned glyph = i / 4 / 32, row = i / 4 % 32;

        memory[i] = ' ';
        memory[i + 1] = 0x07;
        memory[i + 2] = fonts[16] && glyph < 256 && row < 16 ? fonts[16][glyph * 16 + row] : 0;
        memory[i + 3] = 0;
    }
    memory_mark_dirty(d->dev->vm, d->vram, 0, VGA_LEGACY_SIZE);
}

void vga_set_text_mode(Vga *d)
{
    vga_reset(d);
    d->s.misc = 0x67;
    d->s.attr_index = ATTR_PALETTE_SOURCE;
    memcpy(d->s.seq, text_seq, sizeof text_seq);
    memcpy(d->s.crtc, text_crtc, sizeof text_crtc);
    memcpy(d->s.gfx, text_gfx, sizeof text_gfx);
    memcpy(d->s.attr, text_attr, sizeof text_attr);
    vga_firmware_palette(d);
    vga_firmware_memory(d);
    vga_memory_update(d);
    screen_touched(&d->screen);
}

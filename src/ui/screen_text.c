/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a text-mode screen as Unicode. */
#include "base/util.h"
#include "ui/screen.h"

/* Code page 437 with the pictures of its control codes (IBM, CDRA, character set 919). */
static const char cp437[] = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
                            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"
                            "`abcdefghijklmnopqrstuvwxyz{|}~⌂"
                            "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»"
                            "░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
                            "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

static gunichar cp437_char(uint8_t code)
{
    return g_utf8_get_char(g_utf8_offset_to_pointer(cp437, code));
}

int screen_text_glyph(gunichar ch)
{
    int code = 0;

    if (ch >= 0x20 && ch < 0x7f) {
        return ch;
    }
    for (const char *p = cp437; *p; p = g_utf8_next_char(p), code++) {
        if (g_utf8_get_char(p) == ch) {
            return code;
        }
    }
    return -1;
}

/*
 * The characters whose glyphs are the same in every font of this code page, which is how a font is
 * told from other bytes: blanks, block elements, a vertical line.
 */
static const struct {
    uint8_t code, row;
} same_everywhere[] = {{0x00, 0x00}, {0x20, 0x00}, {0xb3, 0x18}, {0xdb, 0xff},
                       {0xdd, 0xf0}, {0xde, 0x0f}, {0xff, 0x00}};

static bool screen_text_is_font(const uint8_t *p, unsigned height)
{
    for (unsigned i = 0; i < ARRAY_SIZE(same_everywhere); i++) {
        for (unsigned row = 0; row < height; row++) {
            if (p[same_everywhere[i].code * height + row] != same_everywhere[i].row) {
                return false;
            }
        }
    }
    return true;
}

void screen_text_find_fonts(const uint8_t *rom, size_t len, const uint8_t *fonts[33])
{
    static const uint8_t heights[] = {8, 14, 16};

    for (unsigned i = 0; i < ARRAY_SIZE(heights); i++) {
        unsigned height = heights[i];

        fonts[height] = NULL;
        for (size_t at = 0; at + 256 * height <= len && !fonts[height]; at++) {
            if (screen_text_is_font(rom + at, height)) {
                fonts[height] = rom + at;
            }
        }
    }
}

void screen_text_clear(ScreenText *t)
{
    g_clear_pointer(&t->cells, g_free);
    t->cols = t->rows = 0;
}

gunichar screen_text_char(const ScreenText *t, unsigned glyph)
{
    unsigned height = MIN(t->glyph_height, 32);
    const uint8_t *rom = t->rom_font[height], *wanted = t->glyphs[glyph];

    if (rom && height) {
        /* From the space on: of characters with the same glyph the ASCII one is meant. */
        for (unsigned i = 0; i < 256; i++) {
            uint8_t code = ' ' + i;

            if (!memcmp(rom + code * height, wanted, height)) {
                return cp437_char(code);
            }
        }
    }
    return glyph < 256 ? cp437_char(glyph) : 0xfffd;
}

char *screen_text_utf8(const ScreenText *t)
{
    GString *out = g_string_new(NULL);
    gunichar chars[512] = {0};

    for (unsigned y = 0; y < t->rows; y++) {
        gsize end = out->len;

        for (unsigned x = 0; x < t->cols; x++) {
            unsigned glyph = t->cells[y * t->cols + x].glyph % ARRAY_SIZE(chars);

            if (!chars[glyph]) {
                chars[glyph] = screen_text_char(t, glyph);
            }
            g_string_append_unichar(out, chars[glyph]);
            if (chars[glyph] != ' ') {
                end = out->len;
            }
        }
        g_string_truncate(out, end);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

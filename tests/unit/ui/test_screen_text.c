/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a screen: by glyphs, by code page 437, and what is neither. */
#include "../base/unit.h"
#include "ui/screen.h"

/* A ROM with fonts of 16 and 8 rows: what font finders look for, and a pattern for the rest. */
static uint8_t rom[32 * 1024];

static void make_font(uint8_t *font, unsigned height)
{
    static const struct {
        uint8_t code, row;
    } fixed[] = {{0, 0},       {0x20, 0},    {0xff, 0},  {0xb3, 0x18},
                 {0xdb, 0xff}, {0xdd, 0xf0}, {0xde, 0xf}};

    for (unsigned c = 0; c < 256; c++) {
        for (unsigned row = 0; row < height; row++) {
            font[c * height + row] = c ^ (row * 37);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        memset(font + fixed[i].code * height, fixed[i].row, height);
    }
}

static ScreenText text;

static void setup(void)
{
    GRand *rand = g_rand_new_with_seed(1);

    for (unsigned i = 0; i < sizeof rom; i++) {
        rom[i] = g_rand_int(rand);
    }
    g_rand_free(rand);
    make_font(rom + 0x123, 16);
    make_font(rom + 0x5001, 8);
    text = (ScreenText){.cols = 4, .rows = 2, .cells = g_new0(ScreenCell, 8), .glyph_height = 16};
    screen_text_find_fonts(rom, sizeof rom, text.rom_font);
    for (unsigned c = 0; c < 256; c++) {
        memcpy(text.glyphs[c], rom + 0x123 + c * 16, 16);
    }
}

static void teardown(void)
{
    screen_text_clear(&text);
}

START_TEST(fonts)
{
    ck_assert_ptr_eq(text.rom_font[16], rom + 0x123);
    ck_assert_ptr_eq(text.rom_font[8], rom + 0x5001);
    ck_assert_ptr_null(text.rom_font[14]);
    /* At the very end, and cut off. */
    screen_text_find_fonts(rom + 0x123, 4096, text.rom_font);
    ck_assert_ptr_eq(text.rom_font[16], rom + 0x123);
    screen_text_find_fonts(rom + 0x123, 4095, text.rom_font);
    ck_assert_ptr_null(text.rom_font[16]);
}
END_TEST

START_TEST(the_roms_font)
{
    ck_assert_uint_eq(screen_text_char(&text, 'A'), 'A');
    ck_assert_uint_eq(screen_text_char(&text, 0x01), 0x263a);
    ck_assert_uint_eq(screen_text_char(&text, 0xb0), 0x2591);
    ck_assert_uint_eq(screen_text_char(&text, 0xe1), 0xdf);
    /* Blanks all look the same. */
    ck_assert_uint_eq(screen_text_char(&text, 0), ' ');
    ck_assert_uint_eq(screen_text_char(&text, 0xff), ' ');
}
END_TEST

START_TEST(other_fonts)
{
    /* The font is in another order: 'B' lies at 300, and at 'A'. */
    memcpy(text.glyphs[300], text.glyphs['B'], 16);
    memcpy(text.glyphs['A'], text.glyphs['B'], 16);
    memset(text.glyphs['C'], 0x55, 16);
    memset(text.glyphs[301], 0x55, 16);
    ck_assert_uint_eq(screen_text_char(&text, 300), 'B');
    ck_assert_uint_eq(screen_text_char(&text, 'A'), 'B');
    ck_assert_uint_eq(screen_text_char(&text, 'C'), 'C');
    ck_assert_uint_eq(screen_text_char(&text, 301), 0xfffd);
    /* Without a font of this height: code page 437. */
    text.glyph_height = 14;
    ck_assert_uint_eq(screen_text_char(&text, 0x80), 0xc7);
    ck_assert_uint_eq(screen_text_char(&text, 0xfe), 0x25a0);
    ck_assert_uint_eq(screen_text_char(&text, 0x7f), 0x2302);
    ck_assert_uint_eq(screen_text_char(&text, 511), 0xfffd);
}
END_TEST

START_TEST(lines)
{
    static const uint16_t glyphs[] = {'a', ' ', 0x9b, 0, 0, 0, 0, 0};

    for (unsigned i = 0; i < 8; i++) {
        text.cells[i].glyph = glyphs[i];
    }
    g_autofree char *utf8 = screen_text_utf8(&text);
    ck_assert_str_eq(utf8, "a ¢\n\n");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("screen_text");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fonts);
    tcase_add_test(tc, the_roms_font);
    tcase_add_test(tc, other_fonts);
    tcase_add_test(tc, lines);
    return unit_run_case("ui_screen_text", tc);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's pictures in each mode, held against pixels that are computed here one by one; and
 * screendump, as picture and as text.
 */
#include "vga_client.h"

enum { PLANES_SIZE = 0x40000 };

/* What the reference looks at. */
typedef struct {
    VgaTest *t;
    GRand *rand;
    uint8_t *memory; /* a copy of video memory */
    uint32_t size;
    uint8_t palette[768];
    VgaMode mode;
} Ref;

static void ref_start(Ref *r, const char *props, uint32_t size, unsigned seed)
{
    r->t = vga_start(props);
    r->rand = g_rand_new_with_seed(seed);
    r->size = size;
    r->memory = g_malloc(size);
    for (unsigned i = 0; i < size; i++) {
        r->memory[i] = g_rand_int(r->rand) >> 7;
    }
    for (unsigned i = 0; i < 768; i++) {
        r->palette[i] = g_rand_int(r->rand) & 0x3f;
    }
    qtest_write(r->t->q, r->t->memory.addr, r->memory, size);
    vga_set_palette(r->t, r->palette);
}

static void ref_end(Ref *r)
{
    vga_end(r->t);
    g_rand_free(r->rand);
    g_free(r->memory);
}

static void ref_mode(Ref *r, const VgaMode *mode)
{
    r->mode = *mode;
    vga_set_mode(r->t, mode);
}

static void ref_crtc(Ref *r, unsigned index, uint8_t value)
{
    r->mode.crtc[index] = value;
    vga_crtc(r->t, index, value);
}

static void ref_attr(Ref *r, unsigned index, uint8_t value)
{
    r->mode.attr[index] = value;
    vga_attr(r->t, index, value);
}

static uint8_t ref_plane(const Ref *r, unsigned plane, unsigned addr)
{
    return r->memory[(addr & 0xffff) * 4 + plane];
}

static uint32_t ref_dac(const Ref *r, unsigned index)
{
    uint32_t colour = 0;

    for (unsigned i = 0; i < 3; i++) {
        uint8_t c = r->palette[(index & 0xff) * 3 + i];

        colour = colour << 8 | (c << 2 | c >> 4);
    }
    return colour;
}

/* A pixel of 16 colours through the attribute controller. */
static uint32_t ref_attr_colour(const Ref *r, unsigned pixel)
{
    const uint8_t *attr = r->mode.attr;
    unsigned six = attr[pixel & attr[0x12]];

    if (attr[0x10] & 0x80) {
        return ref_dac(r, (six & 15) + 16 * attr[0x14]);
    }
    return ref_dac(r, six + 64 * (attr[0x14] >> 2));
}

/* The scan line y: the row's first address, the line in the row, and whether it is below a split.
 */
static unsigned ref_row(const Ref *r, unsigned y, unsigned *line, bool *split)
{
    const uint8_t *c = r->mode.crtc;
    unsigned compare = c[0x18] + (c[7] & 0x10 ? 256 : 0) + (c[9] & 0x40 ? 512 : 0);
    unsigned start = c[0xc] * 256 + c[0xd] + (c[8] >> 5 & 3), first = c[8] & 31;
    unsigned rows = (c[9] & 31) + 1;

    *split = y > compare;
    if (*split) {
        y -= compare + 1;
        start = first = 0;
    }
    y = y / (c[9] & 0x80 ? 2 : 1) + first;
    *line = y % rows;
    return start + y / rows * c[0x13] * 2;
}

static unsigned ref_bits(const Ref *r, unsigned addr, unsigned bit)
{
    unsigned pixel = 0;

    for (unsigned plane = 0; plane < 4; plane++) {
        pixel |= (ref_plane(r, plane, addr) >> bit & 1) << plane;
    }
    return pixel;
}

/* A pixel of a graphics mode, by the dot. */
static uint32_t ref_graphics(const Ref *r, unsigned x, unsigned y)
{
    const uint8_t *c = r->mode.crtc;
    bool split, half = r->mode.seq[1] & 8;
    unsigned line, addr = ref_row(r, y, &line, &split), pan = r->mode.attr[0x13] & 7, bits;

    if (split && r->mode.attr[0x10] & 0x20) {
        pan = 0;
    }
    if (!(c[0x17] & 1)) { /* CGA's: odd lines in the other half of 16 KiB, words or bytes */
        unsigned bit = c[0x14] & 0x40 ? 0x800 : c[0x17] & 0x40 ? 0x2000 : 0x1000;

        addr = (addr & ~bit) + (line & 1) * bit;
    }
    x /= half ? 2 : 1;
    if (r->mode.gfx[5] & 0x40) {
        x = x / 2 + pan / 2;
        return ref_dac(r, ref_plane(r, x % 4, addr + x / 4));
    }
    x += pan;
    if (r->mode.gfx[5] & 0x20) {
        unsigned plane = x / 4 % 2;

        bits = ref_plane(r, plane, addr + x / 8) >> (6 - x % 4 * 2) & 3;
        bits |= (ref_plane(r, plane + 2, addr + x / 8) >> (6 - x % 4 * 2) & 3) << 2;
        return ref_attr_colour(r, bits);
    }
    return ref_attr_colour(r, ref_bits(r, addr + x / 8, 7 - x % 8));
}

static unsigned ref_font(unsigned select)
{
    static const unsigned offsets[] = {0, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000};

    return offsets[select];
}

static bool ref_text_phase, ref_cursor_phase; /* blinking characters are gone; the cursor is */

static uint32_t ref_text(const Ref *r, unsigned x, unsigned y)
{
    const uint8_t *c = r->mode.crtc;
    unsigned dots = r->mode.seq[1] & 1 ? 8 : 9, pan = r->mode.attr[0x13], fonts = r->mode.seq[3];
    bool split, fg;
    unsigned line, addr = ref_row(r, y, &line, &split), ch, attr, font, dot;

    x /= r->mode.seq[1] & 8 ? 2 : 1;
    pan = split && r->mode.attr[0x10] & 0x20 ? (dots == 9 ? 8 : 0) : pan;
    x += dots == 9 ? (pan == 8 ? 0 : pan + 1) : pan & 7;
    addr += x / dots;
    dot = x % dots;
    ch = ref_plane(r, 0, addr);
    attr = ref_plane(r, 1, addr);
    font = attr & 8 ? (fonts >> 2 & 3) | (fonts & 0x20) >> 3 : (fonts & 3) | (fonts & 0x10) >> 2;
    if (dot < 8) {
        fg = ref_plane(r, 2, ref_font(font) + ch * 32 + line) >> (7 - dot) & 1;
    } else {
        fg = ch >= 0xc0 && ch <= 0xdf && r->mode.attr[0x10] & 4 &&
             ref_plane(r, 2, ref_font(font) + ch * 32 + line) & 1;
    }
    if (line == (c[0x14] & 31) && (attr & 0x77) == 1) {
        fg = true;
    }
    if (r->mode.attr[0x10] & 8 && attr & 0x80 && ref_text_phase) {
        fg = false;
    }
    if ((addr & 0xffff) == c[0xe] * 256 + c[0xf] && !(c[0xa] & 0x20) && line >= (c[0xa] & 31) &&
        line <= (c[0xb] & 31) && !ref_cursor_phase) {
        fg = true;
    }
    return ref_attr_colour(r, fg ? attr & 15 : attr >> 4 & (r->mode.attr[0x10] & 8 ? 7 : 15));
}

static void ref_compare(const Ref *r, const char *what,
                        uint32_t (*pixel)(const Ref *, unsigned, unsigned), unsigned width,
                        unsigned height)
{
    unsigned w, h;
    g_autofree uint8_t *rgb = vga_picture(r->t, &w, &h);

    qtest_check_eq(w, width);
    qtest_check_eq(h, height);
    for (unsigned y = 0; y < h; y++) {
        for (unsigned x = 0; x < w; x++) {
            const uint8_t *p = rgb + (y * w + x) * 3;
            uint32_t got = p[0] << 16 | p[1] << 8 | p[2], want = pixel(r, x, y);

            if (got != want) {
                qtest_fail(__FILE__, __LINE__, "%s: pixel %u,%u is %06x, not %06x", what, x, y, got,
                           want);
            }
        }
    }
}

/* Start addresses, panning, the split, and how the attribute controller takes colours. */
static void ref_variations(Ref *r, uint32_t (*pixel)(const Ref *, unsigned, unsigned),
                           unsigned width, unsigned height)
{
    ref_compare(r, r->mode.name, pixel, width, height);
    ref_crtc(r, 0xc, 0xfe);
    ref_crtc(r, 0xd, 0x35);
    ref_crtc(r, 8, 0x40);
    ref_compare(r, "start", pixel, width, height);
    ref_attr(r, 0x13, 5);
    ref_compare(r, "panning", pixel, width, height);
    ref_crtc(r, 0x18, 0x77);
    ref_crtc(r, 7, r->mode.crtc[7] & ~0x10);
    ref_crtc(r, 9, r->mode.crtc[9] & ~0x40);
    ref_compare(r, "split", pixel, width, height);
    ref_attr(r, 0x10, r->mode.attr[0x10] | 0x20);
    ref_compare(r, "split without panning", pixel, width, height);
    ref_crtc(r, 0x13, 0x33);
    ref_compare(r, "another line length", pixel, width, height);
    ref_attr(r, 0x14, 0x0d);
    ref_attr(r, 5, 0x2a);
    ref_compare(r, "colour select", pixel, width, height);
    ref_attr(r, 0x10, r->mode.attr[0x10] | 0x80);
    ref_compare(r, "colour select by four bits", pixel, width, height);
    ref_attr(r, 0x12, 6);
    ref_compare(r, "two planes", pixel, width, height);
}

static void test_graphics(void)
{
    static const struct {
        const VgaMode *mode;
        unsigned width, height;
    } modes[] = {{&vga_16_colours, 640, 480},  {&vga_16_colours_low, 640, 400},
                 {&vga_256_colours, 640, 400}, {&vga_mode_x, 640, 480},
                 {&vga_cga4, 640, 400},        {&vga_cga2, 640, 400}};
    Ref r;

    ref_start(&r, "", PLANES_SIZE, 11);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        ref_mode(&r, modes[i].mode);
        ref_variations(&r, ref_graphics, modes[i].width, modes[i].height);
    }
    ref_end(&r);
}

static void test_text_modes(void)
{
    Ref r;

    ref_start(&r, "", PLANES_SIZE, 12);
    ref_text_phase = ref_cursor_phase = false;
    ref_mode(&r, &vga_text);
    ref_variations(&r, ref_text, 720, 400);
    ref_mode(&r, &vga_text);
    ref_crtc(&r, 8, 5); /* preset row */
    ref_compare(&r, "preset row", ref_text, 720, 400);
    r.mode.seq[3] = 0x2d; /* two fonts */
    vga_seq(r.t, 3, r.mode.seq[3]);
    ref_compare(&r, "two fonts", ref_text, 720, 400);
    r.mode.seq[1] = 1; /* 8 dots */
    vga_seq(r.t, 1, r.mode.seq[1]);
    ref_compare(&r, "8 dots", ref_text, 640, 400);
    r.mode.seq[1] = 8; /* 9 dots of double width */
    vga_seq(r.t, 1, r.mode.seq[1]);
    ref_compare(&r, "wide dots", ref_text, 1440, 400);
    r.mode.seq[1] = 0;
    vga_seq(r.t, 1, r.mode.seq[1]);
    ref_crtc(&r, 8, 0);
    ref_attr(&r, 0x13, 8);
    ref_crtc(&r, 0x14, 0xd); /* underlines */
    ref_crtc(&r, 0xe, 3);
    ref_crtc(&r, 0xf, 0x21);
    ref_compare(&r, "cursor", ref_text, 720, 400);
    ref_crtc(&r, 0xa, 2);
    ref_crtc(&r, 0xb, 6);
    ref_compare(&r, "higher cursor", ref_text, 720, 400);
    ref_crtc(&r, 0xb, 1);
    ref_compare(&r, "no cursor", ref_text, 720, 400);
    ref_crtc(&r, 0xb, 6);
    /* Blinking, by the virtual clock: the cursor at 16 frames, characters at 32. */
    for (unsigned i = 1; i < 5; i++) {
        qtest_clock_step(r.t->q, 266666700);
        ref_cursor_phase = i & 1;
        ref_text_phase = i & 2;
        ref_compare(&r, "blinking", ref_text, 720, 400);
    }
    ref_attr(&r, 0x10, 4);
    ref_compare(&r, "16 backgrounds", ref_text, 720, 400);
    /* The screen is off, in two ways. */
    unsigned w, h;
    vga_seq(r.t, 1, 0x20);
    g_autofree uint8_t *black = vga_picture(r.t, &w, &h);
    qtest_check_eq(w, 720);
    for (unsigned i = 0; i < w * h * 3; i++) {
        qtest_check_eq(black[i], 0);
    }
    vga_seq(r.t, 1, 0);
    ref_compare(&r, "on again", ref_text, 720, 400);
    qtest_inb(r.t->q, 0x3da);
    qtest_outb(r.t->q, 0x3c0, 0);
    g_free(black);
    black = vga_picture(r.t, &w, &h);
    qtest_check_eq(black[0] | black[w * h * 3 - 1], 0);
    ref_end(&r);
}

/* VBE. */

static struct {
    unsigned bpp, width, height, virt, x, y;
    bool big, dac8;
} vbe;

static uint32_t ref_wrapped(const Ref *r, uint64_t bit_offset, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = r->memory[(bit_offset / 8 + (vbe.big ? bytes - 1 - i : i)) & (r->size - 1)];

        value |= (uint32_t)byte << (8 * i);
    }
    return value;
}

static uint32_t ref_vbe(const Ref *r, unsigned x, unsigned y)
{
    unsigned bits = vbe.bpp == 15 ? 16 : vbe.bpp;
    uint64_t offset = (((uint64_t)vbe.y + y) * vbe.virt + vbe.x + x) * bits;
    uint32_t v, c;

    switch (vbe.bpp) {
    case 4: {
        uint64_t pixel = ((uint64_t)vbe.y + y) * vbe.virt + vbe.x + x;
        unsigned index = 0;

        for (unsigned plane = 0; plane < 4; plane++) {
            uint8_t byte = r->memory[(pixel / 8 * 4 + plane) & (r->size - 1)];

            index |= (byte >> (7 - pixel % 8) & 1) << plane;
        }
        return ref_attr_colour(r, index);
    }
    case 8:
        c = r->memory[offset / 8 & (r->size - 1)];
        return vbe.dac8
                   ? r->palette[c * 3] << 16 | r->palette[c * 3 + 1] << 8 | r->palette[c * 3 + 2]
                   : ref_dac(r, c);
    case 15:
        v = ref_wrapped(r, offset, 2);
        c = (v >> 10 & 31) << 19 | (v >> 5 & 31) << 11 | (v & 31) << 3;
        return c | (c >> 5 & 0x070707);
    case 16:
        v = ref_wrapped(r, offset, 2);
        c = (v >> 11) << 19 | (v & 31) << 3;
        c |= c >> 5 & 0x070007;
        return c | (v >> 5 & 63) << 10 | (v >> 9 & 3) << 8;
    case 24:
        return ref_wrapped(r, offset, 3);
    default:
        return ref_wrapped(r, offset, 4) & 0xffffff;
    }
}

static void ref_vbe_mode(Ref *r, unsigned bpp, unsigned width, unsigned height)
{
    vbe.bpp = bpp;
    vbe.width = vbe.virt = width;
    vbe.height = height;
    vbe.x = vbe.y = 0;
    vga_vbe(r->t, 4, 0);
    vga_vbe(r->t, 1, width);
    vga_vbe(r->t, 2, height);
    vga_vbe(r->t, 3, bpp);
    vga_vbe(r->t, 4, 0xc1 | (vbe.dac8 ? 0x20 : 0)); /* keeps what memory holds */
    ref_compare(r, "VBE", ref_vbe, width, height);
}

static void test_vbe(void)
{
    static const unsigned depths[] = {4, 8, 15, 16, 24, 32};
    Ref r;

    ref_start(&r, ",vgamem_mb=1", 1 << 20, 13);
    r.mode = vga_16_colours;
    vga_set_mode(r.t, &vga_16_colours);
    for (unsigned i = 0; i < G_N_ELEMENTS(depths); i++) {
        ref_vbe_mode(&r, depths[i], 320, 200);
        vbe.virt = 1000;
        vga_vbe(r.t, 6, vbe.virt);
        vbe.x = 333;
        vga_vbe(r.t, 8, vbe.x);
        vbe.y = 100;
        vga_vbe(r.t, 9, vbe.y);
        ref_compare(&r, "VBE, panned", ref_vbe, 320, 200);
        vbe.y = 2000; /* beyond the end of memory: wraps */
        vga_vbe(r.t, 9, vbe.y);
        ref_compare(&r, "VBE, beyond the end", ref_vbe, 320, 200);
        vbe.big = true;
        qpci_writel(r.t->mmio, 0x604, 0xbebebebe);
        ref_compare(&r, "VBE, big endian", ref_vbe, 320, 200);
        vbe.big = false;
        qpci_writel(r.t->mmio, 0x604, 0x1e1e1e1e);
    }
    vbe.dac8 = true;
    ref_vbe_mode(&r, 8, 640, 480);
    ref_end(&r);
}

/* Random registers and sizes: nothing is read or written out of bounds, and it goes on. */
static void test_random(void)
{
    VgaTest *t = vga_start(",vgamem_mb=1");
    GRand *rand = g_rand_new_with_seed(14);

    for (unsigned i = 0; i < 6000; i++) {
        uint8_t v = g_rand_int(rand);

        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            vga_crtc(t, g_rand_int_range(rand, 0, 0x1a), v);
            break;
        case 1:
            vga_seq(t, g_rand_int(rand), v);
            break;
        case 2:
            vga_gfx(t, g_rand_int(rand), v);
            break;
        case 3:
            vga_attr(t, g_rand_int(rand) & 0x1f, v);
            break;
        case 4:
            vga_vbe(t, g_rand_int_range(rand, 0, 12),
                    g_rand_int(rand) >> g_rand_int_range(rand, 0, 16));
            break;
        case 5:
            qtest_writew(t->q, 0xa0000 + g_rand_int_range(rand, 0, 0x1ffff), g_rand_int(rand));
            break;
        case 6:
            qtest_readl(t->q, 0xa0000 + g_rand_int_range(rand, 0, 0x1fffd));
            break;
        case 7:
            if (i % 8 == 0) {
                unsigned w, h;
                g_free(qtest_hmp(t->q, "screendump"));
                g_free(vga_picture(t, &w, &h));
            }
        }
    }
    g_rand_free(rand);
    vga_end(t);
}

/* screendump. */

static void put_text(VgaTest *t, unsigned row, unsigned col, const char *text, uint8_t attr)
{
    for (; *text; text++, col++) {
        qtest_writew(t->q, 0xb8000 + (row * 80 + col) * 2, (uint8_t)*text | attr << 8);
    }
}

static void clear_text(VgaTest *t)
{
    for (unsigned i = 0; i < 80 * 25; i += 2) {
        qtest_writel(t->q, 0xb8000 + i * 2, 0x07200720);
    }
}

static void check_dump(VgaTest *t, const char *command, const char *want)
{
    g_autofree char *got = qtest_hmp(t->q, "%s", command), *normal = g_strdup(got);
    char *to = normal;

    for (const char *p = got; *p; p++) {
        if (*p != '\r') {
            *to++ = *p;
        }
    }
    *to = 0;
    g_strchomp(normal);
    qtest_check_str(normal, want);
}

/* The fonts of the VGA BIOS, as text on the screen has them. */
static void test_text_dump(void)
{
    VgaTest *t = vga_start(",romfile=");
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "screen.txt", NULL), *content = NULL;

    vga_set_mode(t, &vga_text);
    clear_text(t);
    put_text(t, 0, 0, "Hello,", 7);
    put_text(t, 2, 3, "w\x94rld \xdb\xb3", 0x1f);
    check_dump(t, "screendump", "Hello,\n\n   wörld █│");
    json_decref(qtest_qmp(t->q, "screendump", "{s:s}", "filename", path));
    qtest_check(g_file_get_contents(path, &content, NULL, NULL));
    qtest_check(g_str_has_prefix(content, "Hello,\n\n   wörld █│\n\n"));
    g_free(content);
    /* By the format, whatever the name is. */
    g_autofree char *odd = g_build_filename(qtest_tmp_dir(), "screen.odd", NULL);
    g_autofree char *line = g_strdup_printf("screendump -f txt %s vga0", odd);
    check_dump(t, line, "");
    qtest_check(g_file_get_contents(odd, &content, NULL, NULL));
    qtest_check(g_str_has_prefix(content, "Hello,"));
    /* 512 characters: the upper half is in no code page. */
    vga_seq(t, 3, 4);
    put_text(t, 0, 0, "x", 0x0f);
    check_dump(t, "screendump",
               "\xef\xbf\xbd"
               "ello,\n\n   \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
               "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    vga_end(t);
}

static void test_no_text(void)
{
    VgaTest *t = vga_start("");
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "none.txt", NULL), *error = NULL;

    check_dump(
        t, "screendump",
        "Error: the screen is blank: the guest has switched it off, or has not set a mode yet");
    vga_set_mode(t, &vga_256_colours);
    check_dump(
        t, "screendump",
        "Error: the screen is in a graphics mode, 320x200 with 256 colours, and shows no text");
    vga_set_mode(t, &vga_16_colours);
    check_dump(
        t, "screendump",
        "Error: the screen is in a graphics mode, 640x480 with 16 colours, and shows no text");
    vga_vbe(t, 1, 1024);
    vga_vbe(t, 2, 768);
    vga_vbe(t, 3, 32);
    vga_vbe(t, 4, 1);
    error = qtest_qmp_fails(t->q, NULL, "screendump", "{s:s}", "filename", path);
    qtest_check_str(error, "the screen is in a graphics mode, 1024x768 with 32 bits a pixel, and "
                           "shows no text");
    /* An error leaves no file. */
    qtest_check(!g_file_test(path, G_FILE_TEST_EXISTS));
    vga_end(t);
}

static void check_refused(QTest *q, const char *device, int head, const char *file,
                          const char *want)
{
    g_autofree char *error =
        device
            ? qtest_qmp_fails(q, NULL, "screendump", "{s:s,s:s,s:i}", "filename", file, "device",
                              device, "head", head)
            : qtest_qmp_fails(q, NULL, "screendump", "{s:s,s:i}", "filename", file, "head", head);

    if (!strstr(error, want)) {
        qtest_fail(__FILE__, __LINE__, "'%s' is not in '%s'", want, error);
    }
}

static void test_screendump_errors(void)
{
    VgaTest *t = vga_start(" -device virtio-rng-pci,id=rng");
    QTest *q;

    vga_set_mode(t, &vga_text);
    check_refused(t->q, "vga0", 1, t->picture, "no screen 1");
    check_refused(t->q, "rng", 0, t->picture, "no screen 0");
    check_refused(t->q, "nobody", 0, t->picture, "'nobody' not found");
    check_refused(t->q, NULL, 1, t->picture, "together with 'device'");
    check_refused(t->q, NULL, 0, "/nonexistent/a.png", "/nonexistent/a.png");
    check_refused(t->q, NULL, 0, "/dev/full", "/dev/full");
    check_dump(t, "screendump -f png", "Error: a picture needs the name of a file");
    check_dump(t, "screendump -f gif x",
               "Error: screendump: Parameter 'f' does not accept value 'gif'\n"
               "Try \"help screendump\" for more information");
    vga_end(t);
    q = qtest_start("-nodefaults");
    check_refused(q, NULL, 0, "x.png", "-vga std");
    qtest_end(q);
}

static void test_png(void)
{
    VgaTest *t = vga_start("");
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "screen.PNG", NULL), *content = NULL;
    gsize len;

    vga_set_mode(t, &vga_text);
    json_decref(qtest_qmp(t->q, "screendump", "{s:s}", "filename", path));
    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    qtest_check_mem(content, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\xd0\0\0\x01\x90\x08\x02", 26);
    g_free(content);
    json_decref(qtest_qmp(t->q, "screendump", "{s:s,s:s}", "filename", path, "format", "ppm"));
    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    qtest_check_mem(content, "P6\n720 400\n255\n", 15);
    vga_end(t);
}

static const QTestCase cases[] = {
    {"graphics", test_graphics},
    {"text", test_text_modes},
    {"vbe", test_vbe},
    {"random", test_random},
    {"text dump", test_text_dump},
    {"no text", test_no_text},
    {"screendump errors", test_screendump_errors},
    {"png", test_png},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

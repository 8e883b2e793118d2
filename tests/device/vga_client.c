/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vga_client.h"

#include <stdio.h>

VgaTest *vga_start(const char *props)
{
    VgaTest *t = g_new0(VgaTest, 1);

    t->q = qtest_startf("-nodefaults -m 16 -device VGA,id=vga0%s", props);
    qtest_check(qpci_find(t->q, &t->pci, 0x1234, 0x1111, 0));
    t->memory = qpci_map_bar(&t->pci, 0);
    t->mmio = qpci_map_bar(&t->pci, 2);
    qpci_enable(&t->pci);
    t->picture = g_build_filename(qtest_tmp_dir(), "screen.ppm", NULL);
    return t;
}

void vga_end(VgaTest *t)
{
    qtest_end(t->q);
    g_free(t->picture);
    g_free(t);
}

void vga_seq(VgaTest *t, uint8_t index, uint8_t value)
{
    qtest_outw(t->q, 0x3c4, index | value << 8);
}

void vga_gfx(VgaTest *t, uint8_t index, uint8_t value)
{
    qtest_outw(t->q, 0x3ce, index | value << 8);
}

void vga_crtc(VgaTest *t, uint8_t index, uint8_t value)
{
    qtest_outw(t->q, 0x3d4, index | value << 8);
}

void vga_attr(VgaTest *t, uint8_t index, uint8_t value)
{
    qtest_inb(t->q, 0x3da);
    qtest_outb(t->q, 0x3c0, index);
    qtest_outb(t->q, 0x3c0, value);
    qtest_outb(t->q, 0x3c0, 0x20);
}

void vga_vbe(VgaTest *t, uint16_t index, uint16_t value)
{
    qtest_outw(t->q, 0x1ce, index);
    qtest_outw(t->q, 0x1cf, value);
}

uint16_t vga_vbe_get(VgaTest *t, uint16_t index)
{
    qtest_outw(t->q, 0x1ce, index);
    return qtest_inw(t->q, 0x1cf);
}

#define TEXT_ATTR 0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f

const VgaMode vga_text = {
    "text",
    0x67,
    {3, 0, 3, 0, 2},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,    0x4f, 0x0d, 0x0e, 0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff},
    {TEXT_ATTR, 0x0c, 0, 0x0f, 8, 0},
};
const VgaMode vga_16_colours = {
    "16 colours",
    0xe3,
    {3, 1, 0xf, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,    0x40, 0,    0,   0,
     0,    0,    0,    0xea, 0x8c, 0xdf, 0x28, 0,    0xe7, 0x04, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0, 5, 0xf, 0xff},
    {TEXT_ATTR, 1, 0, 0x0f, 0, 0},
};
const VgaMode vga_16_colours_low = {
    "16 colours, low resolution",
    0x63,
    {3, 9, 0xf, 0, 6},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,    0xc0, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0,    0x96, 0xb9, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0, 5, 0xf, 0xff},
    {TEXT_ATTR, 1, 0, 0x0f, 0, 0},
};
const VgaMode vga_256_colours = {
    "256 colours",
    0x63,
    {3, 1, 0xf, 0, 0xe},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,    0x41, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x40, 5, 0xf, 0xff},
    {TEXT_ATTR, 0x41, 0, 0x0f, 0, 0},
};
const VgaMode vga_mode_x = {
    "256 colours, planes",
    0xe3,
    {3, 1, 0xf, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0,    0x41, 0,    0,   0,
     0,    0,    0,    0xea, 0xac, 0xdf, 0x28, 0,    0xe7, 0x06, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0x40, 5, 0xf, 0xff},
    {TEXT_ATTR, 0x41, 0, 0x0f, 0, 0},
};
const VgaMode vga_cga4 = {
    "4 colours",
    0x63,
    {3, 9, 3, 0, 2},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,    0xc1, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0,    0x96, 0xb9, 0xa2, 0xff},
    {0, 0, 0, 0, 0, 0x30, 0xf, 0, 0xff},
    {TEXT_ATTR, 1, 0, 3, 0, 0},
};
const VgaMode vga_cga2 = {
    "2 colours",
    0x63,
    {3, 1, 1, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,    0xc1, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0,    0x96, 0xb9, 0xc2, 0xff},
    {0, 0, 0, 0, 0, 0, 0xd, 0, 0xff},
    {TEXT_ATTR, 1, 0, 1, 0, 0},
};

void vga_set_mode(VgaTest *t, const VgaMode *mode)
{
    vga_vbe(t, 4, 0);
    qtest_outb(t->q, 0x3c2, mode->misc);
    for (unsigned i = 0; i < 5; i++) {
        vga_seq(t, i, mode->seq[i]);
    }
    vga_crtc(t, 0x11, 0);
    for (unsigned i = 0; i < 25; i++) {
        vga_crtc(t, i, mode->crtc[i]);
    }
    for (unsigned i = 0; i < 9; i++) {
        vga_gfx(t, i, mode->gfx[i]);
    }
    for (unsigned i = 0; i < 21; i++) {
        vga_attr(t, i, mode->attr[i]);
    }
}

void vga_set_palette(VgaTest *t, const uint8_t palette[768])
{
    qtest_outb(t->q, 0x3c8, 0);
    for (unsigned i = 0; i < 768; i++) {
        qtest_outb(t->q, 0x3c9, palette[i]);
    }
}

uint8_t *vga_picture(VgaTest *t, unsigned *width, unsigned *height)
{
    g_autofree char *data = NULL;
    gsize len;
    int head = 0;

    json_decref(qtest_qmp(t->q, "screendump", "{s:s}", "filename", t->picture));
    qtest_check(g_file_get_contents(t->picture, &data, &len, NULL));
    qtest_check_eq(sscanf(data, "P6 %u %u 255%n", width, height, &head), 2);
    qtest_check_eq(len, head + 1 + (gsize)*width * *height * 3);
    return g_memdup2(data + head + 1, *width * *height * 3);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the VGA share: its registers by the ports, BARs, pictures of the screen. */
#ifndef TESTS_VGA_CLIENT_H
#define TESTS_VGA_CLIENT_H

#include "qtest_client.h"

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar memory, mmio;
    char *picture; /* path */
} VgaTest;

/* Starts a machine with a VGA; 'props' begin with a comma. */
VgaTest *vga_start(const char *props);
void vga_end(VgaTest *t);

void vga_seq(VgaTest *t, uint8_t index, uint8_t value);
void vga_gfx(VgaTest *t, uint8_t index, uint8_t value);
void vga_crtc(VgaTest *t, uint8_t index, uint8_t value);
void vga_attr(VgaTest *t, uint8_t index, uint8_t value); /* leaves the screen on */
void vga_vbe(VgaTest *t, uint16_t index, uint16_t value);
uint16_t vga_vbe_get(VgaTest *t, uint16_t index);

/* The registers of a mode, as the BIOS sets them. */
typedef struct {
    const char *name;
    uint8_t misc, seq[5], crtc[25], gfx[9], attr[21];
} VgaMode;
extern const VgaMode vga_text, vga_16_colours, vga_16_colours_low, vga_256_colours, vga_mode_x,
    vga_cga4, vga_cga2;
void vga_set_mode(VgaTest *t, const VgaMode *mode);
/* 256 entries of 6 bits; uploads them. */
void vga_set_palette(VgaTest *t, const uint8_t palette[768]);

/* screendump as PPM: width * height * 3 bytes; caller frees. */
uint8_t *vga_picture(VgaTest *t, unsigned *width, unsigned *height);

#endif

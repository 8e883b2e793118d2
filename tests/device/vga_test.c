/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA's registers and its window, against a simple model of the planes; VBE, MMIO, EDID. */
#include "vga_client.h"

/* Registers. */

static void test_indexed(void)
{
    static const struct {
        uint16_t port;
        uint8_t masks[9], count;
    } sets[] = {{0x3c4, {0x03, 0x3d, 0x0f, 0x3f, 0x0e}, 5},
                {0x3ce, {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff}, 9}};
    VgaTest *t = vga_start("");

    for (unsigned s = 0; s < 2; s++) {
        for (unsigned i = 0; i < sets[s].count; i++) {
            qtest_outb(t->q, sets[s].port, i);
            qtest_outb(t->q, sets[s].port + 1, 0xff);
            qtest_check_eq(qtest_inb(t->q, sets[s].port), i);
            qtest_check_eq(qtest_inb(t->q, sets[s].port + 1), sets[s].masks[i]);
            qtest_outb(t->q, sets[s].port + 1, 0);
            qtest_check_eq(qtest_inb(t->q, sets[s].port + 1), 0);
        }
    }
    /* Index and data as a word. */
    vga_gfx(t, 8, 0x5a);
    qtest_check_eq(qtest_inw(t->q, 0x3ce), 0x5a08);
    vga_end(t);
}

static void test_crtc(void)
{
    VgaTest *t = vga_start("");

    vga_crtc(t, 0x11, 0);
    for (unsigned i = 0; i < 0x19; i++) {
        if (i != 0x11) {
            vga_crtc(t, i, 0xa0 + i);
            qtest_check_eq(qtest_inb(t->q, 0x3d5), 0xa0 + i);
        }
    }
    vga_crtc(t, 0x40, 1);
    qtest_check_eq(qtest_inb(t->q, 0x3d5), 0);
    /* Protected: 0 to 7, but for the line compare's bit. */
    vga_crtc(t, 0x11, 0x80);
    vga_crtc(t, 0, 1);
    qtest_check_eq(qtest_inb(t->q, 0x3d5), 0xa0);
    vga_crtc(t, 7, 0x1f);
    qtest_check_eq(qtest_inb(t->q, 0x3d5), 0xb7);
    vga_crtc(t, 7, 0);
    qtest_check_eq(qtest_inb(t->q, 0x3d5), 0xa7);
    vga_crtc(t, 8, 1);
    qtest_check_eq(qtest_inb(t->q, 0x3d5), 1);
    /* Colour or mono: one set of ports is there. */
    qtest_check_eq(qtest_inb(t->q, 0x3b4), 0xff);
    qtest_check_eq(qtest_inb(t->q, 0x3ba), 0xff);
    qtest_outb(t->q, 0x3c2, 0x02);
    qtest_check_eq(qtest_inb(t->q, 0x3cc), 0x02);
    qtest_check_eq(qtest_inb(t->q, 0x3d4), 0xff);
    qtest_check_eq(qtest_inb(t->q, 0x3b4), 8);
    qtest_outw(t->q, 0x3b4, 0x7709);
    qtest_check_eq(qtest_inb(t->q, 0x3b5), 0x77);
    vga_end(t);
}

static void test_attributes(void)
{
    VgaTest *t = vga_start("");

    for (unsigned i = 0; i < 0x15; i++) {
        uint8_t mask = i < 16 || i == 0x12 ? 0x3f : i == 0x10 ? 0xef : i == 0x11 ? 0xff : 0x0f;

        qtest_inb(t->q, 0x3da);
        qtest_outb(t->q, 0x3c0, i);
        qtest_check_eq(qtest_inb(t->q, 0x3c0), i);
        qtest_outb(t->q, 0x3c0, 0xff);
        qtest_check_eq(qtest_inb(t->q, 0x3c1), mask);
    }
    /* The read of the status makes the next write an index. */
    qtest_outb(t->q, 0x3c0, 3);
    qtest_inb(t->q, 0x3da);
    qtest_outb(t->q, 0x3c0, 5);
    qtest_check_eq(qtest_inb(t->q, 0x3c0), 5);
    /* Registers that do not exist. */
    qtest_outb(t->q, 0x3c0, 0x1f);
    qtest_outb(t->q, 0x3c0, 0x1f);
    qtest_outb(t->q, 0x3c0, 0x12);
    qtest_check_eq(qtest_inb(t->q, 0x3c0), 0x1f);
    qtest_check_eq(qtest_inb(t->q, 0x3c1), 0);
    /* Feature control is written at 0x3da and read at 0x3ca. */
    qtest_outb(t->q, 0x3da, 0xff);
    qtest_check_eq(qtest_inb(t->q, 0x3ca), 8);
    vga_end(t);
}

static void test_dac(void)
{
    VgaTest *t = vga_start("");

    qtest_outb(t->q, 0x3c8, 254);
    qtest_check_eq(qtest_inb(t->q, 0x3c7), 0);
    for (unsigned i = 0; i < 9; i++) {
        qtest_outb(t->q, 0x3c9, 10 + i); /* 254, 255, 0 */
    }
    qtest_check_eq(qtest_inb(t->q, 0x3c8), 1);
    qtest_outb(t->q, 0x3c7, 255);
    qtest_check_eq(qtest_inb(t->q, 0x3c7), 3);
    for (unsigned i = 0; i < 6; i++) {
        qtest_check_eq(qtest_inb(t->q, 0x3c9), 13 + i);
    }
    /* An entry takes all three. */
    qtest_outb(t->q, 0x3c8, 0);
    qtest_outb(t->q, 0x3c9, 1);
    qtest_outb(t->q, 0x3c9, 2);
    qtest_outb(t->q, 0x3c7, 0);
    qtest_check_eq(qtest_inb(t->q, 0x3c9), 16);
    qtest_check_eq(qtest_inb(t->q, 0x3c6), 0xff);
    qtest_outb(t->q, 0x3c6, 0x0f);
    qtest_check_eq(qtest_inb(t->q, 0x3c6), 0x0f);
    vga_end(t);
}

/* In a frame the beam is in the vertical retrace for a while, and mostly in the picture. */
static void test_beam(void)
{
    VgaTest *t = vga_start("");
    unsigned shown = 0, retrace = 0, both = 0;

    vga_set_mode(t, &vga_text);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t status = qtest_inb(t->q, 0x3da);

        shown += !(status & 1);
        retrace += !!(status & 8);
        both += !(status & 1) && status & 8;
        qtest_clock_step(t->q, 14268000 / 997); /* 1/70 s has 997 of these */
    }
    qtest_check(shown > 550 && shown < 800);
    qtest_check(retrace >= 1 && retrace < 20);
    qtest_check_eq(both, 0);
    /* What a driver that waits for the edges of the retrace would wait for in vain. */
    for (unsigned i = 0; i < 25; i++) {
        vga_crtc(t, i, i % 2 ? 0xff : 0);
        qtest_inb(t->q, 0x3da);
    }
    vga_end(t);
}

/* The window: a model with a byte for each plane and address, bit by bit. */

typedef struct {
    uint8_t planes[4][0x10000], latch[4];
    uint8_t seq[5], gfx[9];
} Model;

/* Where an address of the window goes: false: nowhere. */
static bool model_address(const Model *m, unsigned offset, unsigned *addr)
{
    static const unsigned starts[] = {0, 0, 0x10000, 0x18000};
    static const unsigned ends[] = {0x20000, 0x10000, 0x18000, 0x20000};
    unsigned w = m->gfx[6] >> 2 & 3;

    *addr = offset - starts[w];
    return offset >= starts[w] && offset < ends[w];
}

static uint8_t model_read(Model *m, unsigned offset)
{
    bool chain4 = m->seq[4] & 8, odd_even = m->gfx[5] & 0x10;
    unsigned a, p, plane;
    uint8_t result = 0;

    if (!model_address(m, offset, &a)) {
        return 0xff;
    }
    p = (chain4 ? a / 4 : odd_even ? a / 2 : a) & 0xffff;
    plane = chain4 ? a % 4 : odd_even ? (m->gfx[4] & 2) + a % 2 : m->gfx[4];
    for (unsigned i = 0; i < 4; i++) {
        m->latch[i] = m->planes[i][p];
    }
    if (!(m->gfx[5] & 8) || chain4) {
        return m->planes[plane][p];
    }
    for (unsigned bit = 0; bit < 8; bit++) {
        bool same = true;

        for (unsigned i = 0; i < 4; i++) {
            if (m->gfx[7] & 1 << i) {
                same &= (m->planes[i][p] >> bit & 1) == (m->gfx[2] >> i & 1);
            }
        }
        result |= same << bit;
    }
    return result;
}

static uint8_t model_plane_byte(const Model *m, unsigned plane, uint8_t data)
{
    unsigned mode = m->gfx[5] & 3, rotate = m->gfx[3] & 7, function = m->gfx[3] >> 3;
    uint8_t rotated = data >> rotate | data << (8 - rotate), result = 0;

    for (unsigned bit = 0; bit < 8; bit++) {
        bool latch = m->latch[plane] >> bit & 1, set = m->gfx[0] >> plane & 1, v;
        bool allowed = m->gfx[8] >> bit & 1;

        switch (mode) {
        case 0:
            v = m->gfx[1] >> plane & 1 ? set : rotated >> bit & 1;
            break;
        case 1:
            result |= latch << bit;
            continue;
        case 2:
            v = data >> plane & 1;
            break;
        default:
            v = set;
            allowed &= rotated >> bit & 1;
        }
        v = function == 1   ? v && latch
            : function == 2 ? v || latch
            : function == 3 ? v != latch
                            : v;
        result |= (allowed ? v : latch) << bit;
    }
    return result;
}

static void model_write(Model *m, unsigned offset, uint8_t data)
{
    bool chain4 = m->seq[4] & 8, odd_even = !(m->seq[4] & 4);
    unsigned a, p;

    if (!model_address(m, offset, &a)) {
        return;
    }
    p = (chain4 ? a / 4 : odd_even ? a / 2 : a) & 0xffff;
    for (unsigned i = 0; i < 4; i++) {
        bool reached = chain4 ? i == a % 4 : odd_even ? i % 2 == a % 2 : true;

        if (reached && m->seq[2] & 1 << i) {
            m->planes[i][p] = model_plane_byte(m, i, data);
        }
    }
}

static void model_random_register(Model *m, VgaTest *t, GRand *rand)
{
    static const uint8_t masks[] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x1b, 0x0d, 0x0f, 0xff};
    unsigned i = g_rand_int_range(rand, 0, 9 + 2);

    if (i < 9) {
        m->gfx[i] = g_rand_int(rand) & masks[i];
        vga_gfx(t, i, m->gfx[i]);
    } else if (i == 9) {
        m->seq[2] = g_rand_int(rand) & 0x0f;
        vga_seq(t, 2, m->seq[2]);
    } else {
        m->seq[4] = g_rand_int(rand) & 0x0e;
        vga_seq(t, 4, m->seq[4]);
    }
}

static void test_window(void)
{
    VgaTest *t = vga_start("");
    Model *m = g_new0(Model, 1);
    GRand *rand = g_rand_new_with_seed(4);
    uint8_t *memory = g_malloc(0x40000);

    qtest_memset(t->q, t->memory.addr, 0, 0x40000);
    m->gfx[8] = 0xff;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned offset = g_rand_int_range(rand, 0, 0x20000);
        uint8_t data = g_rand_int(rand);

        if (i % 4) {
            offset = (offset & 0x18000) | (offset & 0x3f);
        }
        switch (g_rand_int_range(rand, 0, 3)) {
        case 0:
            model_random_register(m, t, rand);
            break;
        case 1:
            qtest_check_eq(qtest_readb(t->q, 0xa0000 + offset), model_read(m, offset));
            break;
        case 2:
            qtest_writeb(t->q, 0xa0000 + offset, data);
            model_write(m, offset, data);
            break;
        }
    }
    qtest_read(t->q, t->memory.addr, memory, 0x40000);
    for (unsigned i = 0; i < 0x40000; i++) {
        qtest_check_eq(memory[i], m->planes[i % 4][i / 4]);
    }
    /* Without the miscellaneous register's leave there is no window. */
    qtest_outb(t->q, 0x3c2, 0x01);
    qtest_writeb(t->q, 0xa0000, 1);
    qtest_writeb(t->q, 0xb8000, 1);
    qtest_check_eq(qtest_readb(t->q, 0xa0000), 0xff);
    g_rand_free(rand);
    g_free(memory);
    g_free(m);
    vga_end(t);
}

/* Chain-4 at rest is memory itself, from the first access until a register says otherwise. */
static void test_linear_window(void)
{
    VgaTest *t = vga_start("");

    vga_set_mode(t, &vga_256_colours);
    qtest_writel(t->q, 0xa0010, 0x44332211);
    qtest_writeb(t->q, 0xaffff, 0x77);
    qtest_check_eq(qpci_readl(t->memory, 0x10), 0x44332211);
    qtest_check_eq(qpci_readb(t->memory, 0xffff), 0x77);
    g_autofree char *tree = qtest_hmp(t->q, "info mtree");
    qtest_check(strstr(tree, "vga-window-ram") != NULL);
    /* A map mask: no longer. */
    vga_seq(t, 2, 0x05);
    qtest_writel(t->q, 0xa0010, 0xffffffff);
    qtest_check_eq(qpci_readl(t->memory, 0x10), 0x44ff22ff);
    vga_seq(t, 2, 0x0f);
    qtest_writeb(t->q, 0xa0011, 0x99);
    qtest_check_eq(qpci_readl(t->memory, 0x10), 0x44ff99ff);
    vga_gfx(t, 6, 0x0d); /* the window goes to 0xb8000 */
    qtest_check_eq(qtest_readb(t->q, 0xa0011), 0xff);
    qtest_check_eq(qtest_readb(t->q, 0xb8011), 0x99);
    vga_end(t);
}

/* VBE. */

static void test_vbe_registers(void)
{
    VgaTest *t = vga_start(",vgamem_mb=8");

    qtest_check_eq(vga_vbe_get(t, 0), 0xb0c5);
    vga_vbe(t, 0, 0xb0c2);
    qtest_check_eq(vga_vbe_get(t, 0), 0xb0c2);
    vga_vbe(t, 0, 0x1234);
    qtest_check_eq(vga_vbe_get(t, 0), 0xb0c2);
    qtest_check_eq(vga_vbe_get(t, 10), 8 * 16);
    qtest_check_eq(vga_vbe_get(t, 11), 0);
    qtest_check_eq(vga_vbe_get(t, 0xffff), 0);
    vga_vbe(t, 4, 2);
    qtest_check_eq(vga_vbe_get(t, 1), 16000);
    qtest_check_eq(vga_vbe_get(t, 2), 12000);
    qtest_check_eq(vga_vbe_get(t, 3), 32);
    vga_vbe(t, 4, 0);
    vga_vbe(t, 1, 1024);
    vga_vbe(t, 2, 768);
    vga_vbe(t, 3, 32);
    qpci_writel(t->memory, 0, 0x11111111);
    qpci_writel(t->memory, 1024 * 768 * 4 - 4, 0x11111111);
    qpci_writel(t->memory, 1024 * 768 * 4, 0x11111111);
    vga_vbe(t, 4, 0x41);
    qtest_check_eq(vga_vbe_get(t, 4), 0x41);
    qtest_check_eq(vga_vbe_get(t, 6), 1024);
    qtest_check_eq(vga_vbe_get(t, 7), 8 * 1024 * 1024 / 4096);
    /* The mode's memory is cleared, and no more. */
    qtest_check_eq(qpci_readl(t->memory, 0), 0);
    qtest_check_eq(qpci_readl(t->memory, 1024 * 768 * 4 - 4), 0);
    qtest_check_eq(qpci_readl(t->memory, 1024 * 768 * 4), 0x11111111);
    /* Unless that is not wanted. */
    qpci_writel(t->memory, 0, 0x22222222);
    vga_vbe(t, 4, 0);
    vga_vbe(t, 4, 0xc1);
    qtest_check_eq(qpci_readl(t->memory, 0), 0x22222222);
    vga_vbe(t, 6, 2048);
    qtest_check_eq(vga_vbe_get(t, 6), 2048);
    qtest_check_eq(vga_vbe_get(t, 7), 1024);
    vga_vbe(t, 8, 100);
    vga_vbe(t, 9, 200);
    qtest_check_eq(vga_vbe_get(t, 8), 100);
    qtest_check_eq(vga_vbe_get(t, 9), 200);
    vga_end(t);
}

/* Sizes that memory has no room for are cut; those that make no sense become some that do. */
static void test_vbe_bounds(void)
{
    static const uint16_t sizes[] = {0,     1,     7,     8,      9,      640,
                                     15999, 16000, 16001, 0x7fff, 0x8000, 0xffff};
    static const uint16_t depths[] = {0, 1, 4, 8, 15, 16, 24, 32, 33, 0xffff};
    VgaTest *t = vga_start(",vgamem_mb=1");
    unsigned w, h;

    for (unsigned d = 0; d < G_N_ELEMENTS(depths); d++) {
        for (unsigned x = 0; x < G_N_ELEMENTS(sizes); x++) {
            for (unsigned y = 0; y < G_N_ELEMENTS(sizes); y += 1 + x % 3) {
                vga_vbe(t, 4, 0);
                vga_vbe(t, 1, sizes[x]);
                vga_vbe(t, 2, sizes[y]);
                vga_vbe(t, 3, depths[d]);
                vga_vbe(t, 4, 1);
                vga_vbe(t, 6, sizes[y]);
                vga_vbe(t, 8, sizes[(x + y) % G_N_ELEMENTS(sizes)]);
                vga_vbe(t, 9, sizes[x]);
                w = vga_vbe_get(t, 1);
                h = vga_vbe_get(t, 2);
                unsigned bpp = vga_vbe_get(t, 3), bits = bpp == 15 ? 16 : bpp;

                qtest_check(w >= 8 && w <= 16000 && w % 8 == 0);
                qtest_check(h >= 1 && h <= 12000);
                qtest_check_ge(vga_vbe_get(t, 6), w);
                qtest_check_le((uint64_t)vga_vbe_get(t, 6) * bits / 8 * h, 1 << 20);
                if ((x + y + d) % 5 == 0) {
                    g_free(vga_picture(t, &w, &h));
                    qtest_check_eq(w, vga_vbe_get(t, 1));
                    qtest_check_eq(h, vga_vbe_get(t, 2));
                }
            }
        }
    }
    vga_end(t);
}

static void test_banks(void)
{
    VgaTest *t = vga_start(",vgamem_mb=1");

    vga_vbe(t, 1, 640);
    vga_vbe(t, 2, 480);
    vga_vbe(t, 3, 8);
    vga_vbe(t, 4, 1);
    for (unsigned bank = 0; bank < 16; bank++) {
        vga_vbe(t, 5, bank);
        qtest_writeb(t->q, 0xa0123, bank + 1);
    }
    for (unsigned bank = 0; bank < 16; bank++) {
        qtest_check_eq(qpci_readb(t->memory, bank * 0x10000 + 0x123), bank + 1);
    }
    vga_vbe(t, 5, 16);
    qtest_check_eq(qtest_readb(t->q, 0xa0123), 1);
    /* Through planes as well. */
    vga_vbe(t, 4, 0);
    vga_vbe(t, 3, 4);
    vga_vbe(t, 1, 1600);
    vga_vbe(t, 2, 1200);
    vga_vbe(t, 4, 1);
    vga_vbe(t, 5, 3);
    vga_seq(t, 2, 4);
    qtest_writeb(t->q, 0xa0001, 0x5c);
    qtest_check_eq(qpci_readb(t->memory, (0x30001) * 4 + 2), 0x5c);
    vga_vbe(t, 5, 15); /* beyond the end of the planes: wraps */
    qtest_writeb(t->q, 0xa0002, 0x5d);
    qtest_check_eq(qpci_readb(t->memory, 0x30002 * 4 + 2), 0x5d);
    vga_end(t);
}

/* The registers in the BAR. */
static void test_mmio(void)
{
    VgaTest *t = vga_start("");

    qpci_writew(t->mmio, 0x404, 0x0702); /* the sequencer's index and data at once */
    qtest_check_eq(qtest_inb(t->q, 0x3c5), 7);
    qtest_check_eq(qpci_readb(t->mmio, 0x405), 7);
    qpci_writew(t->mmio, 0x502, 800);
    qtest_check_eq(vga_vbe_get(t, 1), 800);
    qtest_check_eq(qpci_readw(t->mmio, 0x502), 800);
    qtest_check_eq(qpci_readw(t->mmio, 0x500), 0xb0c5);
    qtest_check_eq(qpci_readl(t->mmio, 0x500), 0xb0c5 | 800 << 16);
    qtest_check_eq(qpci_readb(t->mmio, 0x501), 0xb0);
    qtest_check_eq(qpci_readw(t->mmio, 0x514), 256);
    qtest_check_eq(qpci_readl(t->mmio, 0x600), 8);
    qtest_check_eq(qpci_readl(t->mmio, 0x604), 0x1e1e1e1e);
    qpci_writel(t->mmio, 0x604, 0xbebebebe);
    qtest_check_eq(qpci_readl(t->mmio, 0x604), 0xbebebebe);
    qpci_writel(t->mmio, 0x604, 0x12345678);
    qtest_check_eq(qpci_readl(t->mmio, 0x604), 0xbebebebe);
    qpci_writel(t->mmio, 0x604, 0x1e1e1e1e);
    qtest_check_eq(qpci_readl(t->mmio, 0x604), 0x1e1e1e1e);
    for (unsigned i = 0x700; i < 0x1000; i += 64) {
        qpci_writel(t->mmio, i, 0xffffffff);
        qtest_check_eq(qpci_readl(t->mmio, i), 0);
    }
    vga_end(t);
}

static void test_edid(void)
{
    VgaTest *t = vga_start(",xres=1600,yres=900,xmax=1920,ymax=1080");
    uint8_t edid[256], sum = 0;

    qtest_read(t->q, t->mmio.addr, edid, sizeof edid);
    qtest_check_mem(edid, "\0\xff\xff\xff\xff\xff\xff\0", 8);
    for (unsigned i = 0; i < 128; i++) {
        sum += edid[i];
    }
    qtest_check_eq(sum, 0);
    qtest_check_eq(edid[126], 0);
    qtest_check_eq(edid[128], 0);
    qtest_check_eq(edid[56] | (edid[58] & 0xf0) << 4, 1600);
    qtest_check_eq(edid[59] | (edid[61] & 0xf0) << 4, 900);
    /* 60 Hz, by clock and totals. */
    unsigned htotal = 1600 + (edid[57] | (edid[58] & 0xf) << 8);
    unsigned vtotal = 900 + (edid[60] | (edid[61] & 0xf) << 8);
    unsigned mhz = (edid[54] | edid[55] << 8) * 10000ull * 1000 / htotal / vtotal;
    qtest_check(mhz > 59500 && mhz < 60500);
    qtest_check(!memcmp(edid + 38, "\xd1\xc0", 2)); /* 1920x1080 is offered */
    vga_end(t);
    t = vga_start(",xmax=1024,ymax=768");
    qtest_read(t->q, t->mmio.addr, edid, sizeof edid);
    qtest_check_eq(edid[56] | (edid[58] & 0xf0) << 4, 1024);
    qtest_check_mem(edid + 38, "\1\1\1\1\1\1\1\1", 8);
    vga_end(t);
    t = vga_start(",edid=off");
    qtest_check_eq(qpci_readl(t->mmio, 0), 0);
    vga_end(t);
}

/* PCI, reset, command lines. */

static void test_pci(void)
{
    VgaTest *t = vga_start(",vgamem_mb=32");

    qtest_check_eq(qpci_config_readl(&t->pci, 8), 0x03000002);
    qtest_check_eq(qpci_config_readl(&t->pci, 0x2c), 0x11001af4);
    qtest_check_eq(qpci_config_readb(&t->pci, 0x3d), 0);
    qtest_check_eq(t->memory.size, 32 << 20);
    qtest_check_eq(qpci_config_readl(&t->pci, 0x10) & 0xf, 8); /* prefetchable */
    qtest_check_eq(t->mmio.size, 4096);
    vga_end(t);
    QTest *q = qtest_start("-nodefaults -vga std");
    QPci dev;
    qpci_open(q, &dev, 2, 0);
    qtest_check_eq(dev.device, 0x1111);
    qtest_end(q);
}

static void test_reset(void)
{
    VgaTest *t = vga_start("");

    vga_set_mode(t, &vga_256_colours);
    vga_vbe(t, 1, 640);
    vga_vbe(t, 4, 1);
    qtest_system_reset(t->q);
    qtest_check_eq(vga_vbe_get(t, 4), 0);
    qtest_check_eq(vga_vbe_get(t, 0), 0xb0c5);
    vga_seq(t, 0, 0);
    qtest_outb(t->q, 0x3c4, 4);
    qtest_check_eq(qtest_inb(t->q, 0x3c5), 0);
    qtest_check_eq(qtest_inb(t->q, 0x3c6), 0xff);
    vga_end(t);
}

static void refused(const char *args, const char *part)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, part)) {
        qtest_fail(__FILE__, __LINE__, "'%s' is not in '%s'", part, text);
    }
}

static void test_refused(void)
{
    refused("-nodefaults -vga std -device VGA", "has a VGA already");
    refused("-vga qxl", "use -vga std");
    refused("-vga nonsense", "there are: none, std");
    refused("-M none -vga std", "no place");
    refused("-device VGA,vgamem_mb=3", "power of two");
    refused("-device VGA,vgamem_mb=1024", "power of two");
    refused("-device VGA,xres=5000", "64 to 4095");
    refused("-device VGA,xres=1024,xmax=800", "above xmax=800");
    refused("-device cirrus-vga", "not in this program yet");
}

static const QTestCase cases[] = {
    {"indexed", test_indexed},
    {"crtc", test_crtc},
    {"attributes", test_attributes},
    {"dac", test_dac},
    {"beam", test_beam},
    {"window", test_window},
    {"linear window", test_linear_window},
    {"vbe registers", test_vbe_registers},
    {"vbe bounds", test_vbe_bounds},
    {"banks", test_banks},
    {"mmio", test_mmio},
    {"edid", test_edid},
    {"pci", test_pci},
    {"reset", test_reset},
    {"refused", test_refused},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

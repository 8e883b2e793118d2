/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers of Bochs' VBE: modes with 4 to 32 bits a pixel, banks, a linear frame buffer. */
#include "vga.h"

enum { VBE_ID0 = 0xb0c0, VBE_ID5 = 0xb0c5, VBE_MAX_XRES = 16000, VBE_MAX_YRES = 12000 };

/* In memory: 15 bits lie in 16. */
static unsigned vbe_bits(unsigned bpp)
{
    return bpp == 15 ? 16 : bpp;
}

static bool vbe_bpp_known(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

void vga_vbe_mode(const Vga *d, VgaVbeMode *m)
{
    const uint16_t *vbe = d->s.vbe;
    uint64_t longest;
    unsigned bits;

    m->bpp = vbe_bpp_known(vbe[VBE_BPP]) ? vbe[VBE_BPP] : 8;
    bits = vbe_bits(m->bpp);
    /* Memory has room for one line at least. */
    longest = ROUND_DOWN(MIN((uint64_t)d->size * 8 / bits, UINT16_MAX), 8);
    m->width = CLAMP(ROUND_DOWN(vbe[VBE_XRES], 8), 8, MIN(longest, VBE_MAX_XRES));
    m->virt_width = CLAMP(ROUND_DOWN(vbe[VBE_VIRT_WIDTH], 8), m->width, longest);
    m->stride = m->virt_width * bits / 8;
    m->height = CLAMP(vbe[VBE_YRES], 1, MIN(d->size / m->stride, VBE_MAX_YRES));
    m->start = vbe[VBE_Y_OFFSET] * m->stride +
               (m->bpp == 4 ? vbe[VBE_X_OFFSET] / 8 * 4 : vbe[VBE_X_OFFSET] * bits / 8);
    m->start &= d->size - 1;
}

/* Puts into the registers what the mode makes of them. */
static void vbe_settle(Vga *d)
{
    uint16_t *vbe = d->s.vbe;
    VgaVbeMode m;

    vga_vbe_mode(d, &m);
    vbe[VBE_XRES] = m.width;
    vbe[VBE_YRES] = m.height;
    vbe[VBE_BPP] = m.bpp;
    vbe[VBE_VIRT_WIDTH] = m.virt_width;
    vbe[VBE_VIRT_HEIGHT] = MIN(d->size / m.stride, UINT16_MAX);
}

static void vbe_enable(Vga *d, bool clear)
{
    uint8_t *gfx = d->s.gfx, *seq = d->s.seq;
    VgaVbeMode m;

    d->s.vbe[VBE_VIRT_WIDTH] = d->s.vbe[VBE_XRES];
    d->s.vbe[VBE_X_OFFSET] = d->s.vbe[VBE_Y_OFFSET] = d->s.vbe[VBE_BANK] = 0;
    vbe_settle(d);
    vga_vbe_mode(d, &m);
    if (clear) {
        /* MIN: 'height' lines fit by their lengths, but for rounding. */
        uint32_t len = MIN((uint64_t)m.height * m.stride, d->size);

        memset(d->vram->host, 0, len);
        memory_mark_dirty(d->dev->vm, d->vram, 0, len);
    }
    /* Banks are in the window of 64 KiB, plane by plane or byte by byte. */
    gfx[GFX_MISC] = 0x05;
    gfx[GFX_MODE] = (gfx[GFX_MODE] & ~0x60) | (m.bpp == 4 ? 0 : 0x40);
    seq[SEQ_MAP_MASK] = 0x0f;
    seq[SEQ_MEMORY] = m.bpp == 4 ? 0x06 : 0x0e;
}

static void vbe_write_enable(Vga *d, uint16_t value)
{
    bool was = vga_vbe_enabled(d);

    d->s.vbe[VBE_ENABLE] =
        value & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB | VBE_NOCLEAR);
    if (vga_vbe_enabled(d) && !was) {
        vbe_enable(d, !(value & VBE_NOCLEAR));
    }
}

void vga_vbe_write(Vga *d, unsigned index, uint16_t value)
{
    uint16_t *vbe = d->s.vbe;

    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID0 && value <= VBE_ID5) {
            vbe[VBE_ID] = value;
        }
        return;
    case VBE_ENABLE:
        vbe_write_enable(d, value);
        break;
    case VBE_BANK:
        vbe[VBE_BANK] = value & ((d->size >> 16) - 1);
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        vbe[index] = value;
        if (vga_vbe_enabled(d)) {
            vbe_settle(d);
        }
        break;
    default:
        return;
    }
    vga_memory_update(d);
    screen_touched(&d->screen);
}

uint16_t vga_vbe_read(Vga *d, unsigned index)
{
    if (index >= VBE_COUNT) {
        return 0;
    }
    if (d->s.vbe[VBE_ENABLE] & VBE_GETCAPS) {
        switch (index) {
        case VBE_XRES:
            return VBE_MAX_XRES;
        case VBE_YRES:
            return VBE_MAX_YRES;
        case VBE_BPP:
            return 32;
        }
    }
    return index == VBE_MEMORY_64K ? d->size >> 16 : d->s.vbe[index];
}

void vga_vbe_reset(Vga *d)
{
    d->s.vbe[VBE_ID] = VBE_ID5;
    d->s.vbe[VBE_BPP] = 8;
}

/* 0x1ce: index; 0x1cf: data, and at 0x1d0 for those who like even ports. */

static uint64_t vbe_port_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Vga *d = container_of(region, Vga, vbe_ports);

    return offset == 0 ? d->s.vbe_index : vga_vbe_read(d, d->s.vbe_index);
}

static IoResult vbe_port_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Vga *d = container_of(region, Vga, vbe_ports);

    if (offset == 0) {
        d->s.vbe_index = value;
    } else {
        vga_vbe_write(d, d->s.vbe_index, value);
    }
    return IO_OK;
}

static const IoRegionOps vbe_port_ops = {
    .read = vbe_port_read,
    .write = vbe_port_write,
    .valid_min = 2,
    .valid_max = 2,
    .unaligned = true,
};

void vga_vbe_init(Vga *d)
{
    io_region_init(&d->vbe_ports, d->dev, &vbe_port_ops, "vbe", 4);
    io_region_map(d->dev->vm, &d->vbe_ports, IO_SPACE_PIO, VGA_VBE_PORT, 0);
}

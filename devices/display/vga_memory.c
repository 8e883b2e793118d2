/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window at 0xa0000: planes, latches, write and read modes (IBM VGA Technical Reference,
 * Graphics Controller Registers). Where a byte of the window is a byte of memory and nothing else
 * happens, video memory itself is shown there, from the first access on.
 */
#include "vga.h"

/* Each of four bits as a byte of ones: bit 0 is plane 0. */
static uint32_t vga_expand(unsigned bits)
{
    return ((bits & 1) | (bits & 2) << 7 | (bits & 4) << 14 | (bits & 8) << 21) * 0xff;
}

/* A loaded state may have any number in the register. */
static uint32_t vga_bank(const Vga *d)
{
    return vga_vbe_enabled(d) ? (uint32_t)d->s.vbe[VBE_BANK] << 16 & (d->size - 1) : 0;
}

/* The address in the window's memory; false: the window is elsewhere. */
static bool vga_window_address(const Vga *d, uint64_t offset, uint32_t *addr)
{
    static const struct {
        uint32_t start, size;
    } windows[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned which = d->s.gfx[GFX_MISC] >> 2 & 3;

    if (!(d->s.misc & MISC_RAM) || offset < windows[which].start ||
        offset - windows[which].start >= windows[which].size) {
        return false;
    }
    *addr = offset - windows[which].start + (which < 2 ? vga_bank(d) : 0);
    return true;
}

/* An address as the planes that it reaches, by its lowest bits, and the address in them. */
static uint32_t vga_plane_address(const Vga *d, uint32_t addr, bool odd_even, unsigned *planes)
{
    uint32_t mask = (vga_vbe_enabled(d) ? d->size : VGA_LEGACY_SIZE) / 4 - 1;

    if (d->s.seq[SEQ_MEMORY] & 0x08) {
        *planes = BIT(addr & 3);
        return (addr >> 2) & mask;
    }
    if (odd_even) {
        *planes = addr & 1 ? 0xa : 0x5;
        return (addr >> 1) & mask;
    }
    *planes = 0xf;
    return addr & mask;
}

/* Whether the window shows memory as it is: chain-4, and all else at rest. */
static bool vga_is_linear(const Vga *d)
{
    const uint8_t *gfx = d->s.gfx;
    uint32_t size = gfx[GFX_MISC] & 0x04 ? 0x10000 : 0x20000;

    return d->s.misc & MISC_RAM && !(gfx[GFX_MISC] & 0x08) && d->s.seq[SEQ_MEMORY] & 0x08 &&
           (d->s.seq[SEQ_MAP_MASK] & 0xf) == 0xf && !(gfx[GFX_MODE] & 0x0b) &&
           !(gfx[GFX_ENABLE_SET_RESET] & 0xf) && !(gfx[GFX_ROTATE] & 0x1f) &&
           gfx[GFX_BIT_MASK] == 0xff && vga_bank(d) + size <= d->size;
}

/* At an access: programs set registers one by one, and each change of the map is slow. */
static void vga_map_linear(Vga *d)
{
    uint32_t size = d->s.gfx[GFX_MISC] & 0x04 ? 0x10000 : 0x20000;

    if (d->linear.mapped || !vga_is_linear(d)) {
        return;
    }
    io_region_init_ram(&d->linear, d->dev, d->vram, vga_bank(d), size, false, "vga-window-ram");
    io_region_map(d->dev->vm, &d->linear, IO_SPACE_MEM, VGA_WINDOW_BASE, 1);
}

void vga_memory_update(Vga *d)
{
    uint32_t size = d->s.gfx[GFX_MISC] & 0x04 ? 0x10000 : 0x20000;

    if (d->linear.mapped &&
        (!vga_is_linear(d) || d->linear.ram_offset != vga_bank(d) || d->linear.size != size)) {
        io_region_unmap(d->dev->vm, &d->linear);
    }
}

static uint64_t vga_window_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Vga *d = container_of(region, Vga, window);
    const uint8_t *gfx = d->s.gfx;
    uint32_t addr, differs;
    unsigned planes;

    if (!vga_window_address(d, offset, &addr)) {
        return 0xff;
    }
    vga_map_linear(d);
    d->s.latch =
        ldle32(d->vram->host + 4 * vga_plane_address(d, addr, gfx[GFX_MODE] & 0x10, &planes));
    if (gfx[GFX_MODE] & 0x08 && !(d->s.seq[SEQ_MEMORY] & 0x08)) {
        differs =
            (d->s.latch ^ vga_expand(gfx[GFX_COLOUR_COMPARE])) & vga_expand(gfx[GFX_COLOUR_CARE]);
        differs |= differs >> 16;
        return (uint8_t) ~(differs | differs >> 8);
    }
    if (d->s.seq[SEQ_MEMORY] & 0x08) {
        planes = addr & 3;
    } else if (gfx[GFX_MODE] & 0x10) {
        planes = (gfx[GFX_READ_MAP] & 2) | (addr & 1);
    } else {
        planes = gfx[GFX_READ_MAP] & 3;
    }
    return (uint8_t)(d->s.latch >> (8 * planes));
}

/* What a byte becomes on its way to the planes. */
static uint32_t vga_write_value(const Vga *d, uint8_t byte)
{
    const uint8_t *gfx = d->s.gfx;
    unsigned rotate = gfx[GFX_ROTATE] & 7;
    uint8_t rotated = byte >> rotate | byte << (8 - rotate), mask = gfx[GFX_BIT_MASK];
    uint32_t value = rotated * 0x01010101u, set = vga_expand(gfx[GFX_SET_RESET]), bits;

    switch (gfx[GFX_MODE] & 3) {
    case 0: {
        uint32_t enable = vga_expand(gfx[GFX_ENABLE_SET_RESET]);

        value = (value & ~enable) | (set & enable);
        break;
    }
    case 1:
        return d->s.latch;
    case 2:
        value = vga_expand(byte);
        break;
    case 3:
        mask &= rotated;
        value = set;
        break;
    }
    switch (gfx[GFX_ROTATE] >> 3 & 3) {
    case 1:
        value &= d->s.latch;
        break;
    case 2:
        value |= d->s.latch;
        break;
    case 3:
        value ^= d->s.latch;
        break;
    }
    bits = mask * 0x01010101u;
    return (value & bits) | (d->s.latch & ~bits);
}

static IoResult vga_window_write(IoRegion *region, uint64_t offset, uint64_t byte, unsigned size)
{
    Vga *d = container_of(region, Vga, window);
    uint32_t addr, p, planes;
    uint8_t *at;
    unsigned reached;

    if (!vga_window_address(d, offset, &addr)) {
        return IO_OK;
    }
    vga_map_linear(d);
    p = vga_plane_address(d, addr, !(d->s.seq[SEQ_MEMORY] & 0x04), &reached);
    planes = vga_expand(reached & d->s.seq[SEQ_MAP_MASK]);
    at = d->vram->host + 4 * p;
    stle32(at, (vga_write_value(d, byte) & planes) | (ldle32(at) & ~planes));
    memory_mark_dirty(d->dev->vm, d->vram, 4 * p, 4);
    screen_touched(&d->screen);
    return IO_OK;
}

static const IoRegionOps vga_window_ops = {
    .read = vga_window_read,
    .write = vga_window_write,
    .impl_max = 1,
    .unaligned = true,
};

void vga_memory_init(Vga *d)
{
    io_region_init(&d->window, d->dev, &vga_window_ops, "vga-window", VGA_WINDOW_SIZE);
    io_region_map(d->dev->vm, &d->window, IO_SPACE_MEM, VGA_WINDOW_BASE, 0);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA's ports: sequencer, graphics controller, CRTC, attribute controller, DAC. */
#include "vga.h"

STATE_DESC_PUBLIC(vga, VgaState, VGA_STATE, 1);

/* Bits that exist. */
static const uint8_t seq_bits[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gfx_bits[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attr_bits[ATTR_COUNT] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};

static uint8_t vga_crtc_read(const Vga *d)
{
    return d->s.crtc_index < CRTC_COUNT ? d->s.crtc[d->s.crtc_index] : 0;
}

static void vga_crtc_write(Vga *d, uint8_t value)
{
    unsigned index = d->s.crtc_index;
    uint8_t *crtc = d->s.crtc;

    if (index >= CRTC_COUNT) {
        return;
    }
    if (index <= CRTC_OVERFLOW && crtc[CRTC_VRETRACE_END] & 0x80) {
        if (index == CRTC_OVERFLOW) {
            /* The line compare's bit is not protected. */
            crtc[index] = (crtc[index] & ~0x10) | (value & 0x10);
        }
        return;
    }
    crtc[index] = value;
}

/* Where the beam is, by the virtual clock. */
static uint8_t vga_status1(const Vga *d)
{
    const uint8_t *crtc = d->s.crtc;
    uint64_t hz = d->s.misc & 0x04 ? 28322000 : 25175000;
    uint64_t dots = d->s.seq[SEQ_CLOCKING] & 1 ? 8 : 9;
    uint64_t chars = crtc[CRTC_HTOTAL] + 5, line_ns, now = clock_ns(CLOCK_VIRTUAL_NS);
    unsigned over = crtc[CRTC_OVERFLOW];
    unsigned total = (crtc[CRTC_VTOTAL] | (over & 0x01) << 8 | (over & 0x20) << 4) + 2;
    unsigned shown = (crtc[CRTC_VDISPLAY_END] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1;
    unsigned retrace = crtc[CRTC_VRETRACE_START] | (over & 0x04) << 6 | (over & 0x80) << 2;
    unsigned line, length = ((crtc[CRTC_VRETRACE_END] - retrace) & 0xf) ?: 16;
    uint8_t status = 0;

    if (d->s.seq[SEQ_CLOCKING] & 0x08) {
        hz /= 2;
    }
    line_ns = chars * dots * NS_PER_SEC / hz;
    line = now / line_ns % total;
    if (line >= shown || now % line_ns * chars / line_ns > crtc[CRTC_HDISPLAY_END]) {
        status |= 0x01; /* nothing is displayed */
    }
    if (line >= retrace && line - retrace < length) {
        status |= 0x08;
    }
    return status;
}

/* Attribute controller. */

static void vga_attr_write(Vga *d, uint8_t value)
{
    if (!d->s.attr_data) {
        d->s.attr_index = value & 0x3f;
    } else if ((d->s.attr_index & 0x1f) < ATTR_COUNT) {
        unsigned index = d->s.attr_index & 0x1f;

        d->s.attr[index] = value & attr_bits[index];
    }
    d->s.attr_data = !d->s.attr_data;
}

static uint8_t vga_attr_read(const Vga *d)
{
    unsigned index = d->s.attr_index & 0x1f;

    return index < ATTR_COUNT ? d->s.attr[index] : 0;
}

/* DAC. */

static uint8_t vga_dac_read(Vga *d)
{
    uint8_t value = d->s.palette[d->s.dac_read_index * 3 + d->s.dac_part % 3];

    d->s.dac_part = (d->s.dac_part + 1) % 3;
    d->s.dac_read_index += !d->s.dac_part;
    return value;
}

static void vga_dac_write(Vga *d, uint8_t value)
{
    d->s.dac_cache[d->s.dac_part % 3] = value;
    d->s.dac_part = (d->s.dac_part + 1) % 3;
    if (!d->s.dac_part) {
        memcpy(&d->s.palette[d->s.dac_write_index * 3], d->s.dac_cache, 3);
        d->s.dac_write_index++;
    }
}

/* The ports of the other kind of monitor are not there. */
static bool vga_port_present(const Vga *d, unsigned port)
{
    return (port & 0x3f0) == 0x3c0 || !(d->s.misc & MISC_COLOUR) == ((port & 0x3f0) == 0x3b0);
}

uint8_t vga_port_read(Vga *d, unsigned port)
{
    VgaState *s = &d->s;

    if (!vga_port_present(d, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0:
        return s->attr_index;
    case 0x3c1:
        return vga_attr_read(d);
    case 0x3c2:
        return 0x10; /* the DAC's comparators: a monitor is there */
    case 0x3c4:
        return s->seq_index;
    case 0x3c5:
        return s->seq[s->seq_index & 7];
    case 0x3c6:
        return s->dac_mask;
    case 0x3c7:
        return s->dac_state;
    case 0x3c8:
        return s->dac_write_index;
    case 0x3c9:
        return vga_dac_read(d);
    case 0x3ca:
        return s->feature;
    case 0x3cc:
        return s->misc;
    case 0x3ce:
        return s->gfx_index;
    case 0x3cf:
        return s->gfx[s->gfx_index & 15];
    case 0x3b4:
    case 0x3d4:
        return s->crtc_index;
    case 0x3b5:
    case 0x3d5:
        return vga_crtc_read(d);
    case 0x3ba:
    case 0x3da:
        s->attr_data = false;
        return vga_status1(d);
    default:
        return 0;
    }
}

static void vga_store(Vga *d, unsigned port, uint8_t value)
{
    VgaState *s = &d->s;

    switch (port) {
    case 0x3c0:
        vga_attr_write(d, value);
        break;
    case 0x3c2:
        s->misc = value & ~0x10;
        break;
    case 0x3c4:
        s->seq_index = value & 7;
        break;
    case 0x3c5:
        s->seq[s->seq_index & 7] = value & seq_bits[s->seq_index & 7];
        break;
    case 0x3c6:
        s->dac_mask = value;
        break;
    case 0x3c7:
        s->dac_read_index = value;
        s->dac_part = 0;
        s->dac_state = 3;
        break;
    case 0x3c8:
        s->dac_write_index = value;
        s->dac_part = 0;
        s->dac_state = 0;
        break;
    case 0x3c9:
        vga_dac_write(d, value);
        break;
    case 0x3ce:
        s->gfx_index = value & 0x0f;
        break;
    case 0x3cf:
        s->gfx[s->gfx_index & 15] = value & gfx_bits[s->gfx_index & 15];
        break;
    case 0x3b4:
    case 0x3d4:
        s->crtc_index = value;
        break;
    case 0x3b5:
    case 0x3d5:
        vga_crtc_write(d, value);
        break;
    case 0x3ba:
    case 0x3da:
        s->feature = value & 0x08;
        break;
    }
}

void vga_port_write(Vga *d, unsigned port, uint8_t value)
{
    if (!vga_port_present(d, port)) {
        return;
    }
    vga_store(d, port, value);
    if (port == 0x3c2 || port == 0x3c5 || port == 0x3cf) {
        vga_memory_update(d);
    }
    screen_touched(&d->screen);
}

/* Dispatch. */

static uint64_t vga_io_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Vga *d = container_of(region, Vga, ports[region->index]);

    return vga_port_read(d, region->addr + offset);
}

static IoResult vga_io_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Vga *d = container_of(region, Vga, ports[region->index]);

    vga_port_write(d, region->addr + offset, value);
    return IO_OK;
}

/* An index and its data are often written as one word. */
static const IoRegionOps vga_io_ops = {
    .read = vga_io_read,
    .write = vga_io_write,
    .valid_max = 4,
    .impl_max = 1,
    .unaligned = true,
};

static const struct {
    uint16_t port, count;
    const char *name;
} vga_ports[] = {{0x3b4, 2, "vga-crtc-mono"},
                 {0x3ba, 1, "vga-status-mono"},
                 {0x3c0, 16, "vga"},
                 {0x3d4, 2, "vga-crtc"},
                 {0x3da, 1, "vga-status"}};
G_STATIC_ASSERT(ARRAY_SIZE(vga_ports) == ARRAY_SIZE(((Vga *)0)->ports));

bool vga_init(Vga *d, Device *dev, uint32_t vgamem_mb, GError **err)
{
    g_autofree char *name = g_strdup_printf("%s/vga.vram", dev->path);

    d->dev = dev;
    d->size = vgamem_mb * MiB;
    d->vram = ram_block_new(dev->vm, name, d->size, err);
    if (!d->vram) {
        return false;
    }
    memory_transaction_begin(dev->vm);
    for (unsigned i = 0; i < ARRAY_SIZE(vga_ports); i++) {
        io_region_init(&d->ports[i], dev, &vga_io_ops, vga_ports[i].name, vga_ports[i].count);
        d->ports[i].index = i;
        io_region_map(dev->vm, &d->ports[i], IO_SPACE_PIO, vga_ports[i].port, 0);
    }
    vga_vbe_init(d);
    vga_memory_init(d);
    memory_transaction_commit(dev->vm);
    d->screen.dev = dev;
    d->screen.ops = &vga_screen_ops;
    d->screen.name = "VGA";
    screen_add(dev->vm, &d->screen);
    return true;
}

void vga_exit(Vga *d)
{
    Vm *vm = d->dev ? d->dev->vm : NULL;

    if (!d->vram) {
        return;
    }
    screen_remove(&d->screen);
    memory_transaction_begin(vm);
    for (unsigned i = 0; i < ARRAY_SIZE(vga_ports); i++) {
        io_region_unmap(vm, &d->ports[i]);
    }
    io_region_unmap(vm, &d->vbe_ports);
    io_region_unmap(vm, &d->window);
    io_region_unmap(vm, &d->linear);
    memory_transaction_commit(vm);
    ram_block_retire(vm, d->vram);
    d->vram = NULL;
}

void vga_reset(Vga *d)
{
    memset(&d->s, 0, sizeof d->s);
    d->s.misc = MISC_COLOUR | MISC_RAM;
    d->s.dac_mask = 0xff;
    d->s.gfx[GFX_BIT_MASK] = 0xff;
    vga_vbe_reset(d);
    vga_memory_update(d);
    screen_touched(&d->screen);
}

void vga_post_load(Vga *d)
{
    d->redraw = true;
    vga_memory_update(d);
    screen_touched(&d->screen);
}

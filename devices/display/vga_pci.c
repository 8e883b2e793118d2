/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA: the adapter as a PCI function, with its registers in a BAR too. */
#include "base/error.h"
#include "devices/pci.h"
#include "devices/vga.h"
#include "vga.h"

enum {
    BAR_MEMORY = 0,
    BAR_MMIO = 2,

    MMIO_SIZE = 0x1000,
    MMIO_EDID = 0x000,
    MMIO_PORTS = 0x400, /* 0x3c0 to 0x3df */
    MMIO_PORTS_END = 0x420,
    MMIO_VBE = 0x500,
    MMIO_VBE_END = MMIO_VBE + 2 * VBE_COUNT,
    MMIO_EXTENDED = 0x600,
    MMIO_ENDIAN = 0x604,
    MMIO_EXTENDED_SIZE = 8,

    ENDIAN_LITTLE = 0x1e1e1e1e,
};
#define ENDIAN_BIG 0xbebebebeu

#define VGAMEM_MAX 512 /* MiB */

typedef struct {
    PciDevice pci;
    Vga vga;
    IoRegion memory, mmio;
    uint32_t vgamem_mb;
    bool edid;
    EdidInfo monitor;
} VgaPci;

extern const DeviceClass vga_pci_class;

static VgaPci *vga_pci_of(Device *dev)
{
    return container_of(dev, VgaPci, pci.dev);
}

static uint64_t vga_mmio_read(IoRegion *region, uint64_t offset, unsigned size)
{
    VgaPci *d = vga_pci_of(region->owner);
    Vga *v = &d->vga;
    uint64_t value = 0;

    if (offset >= MMIO_VBE && offset < MMIO_VBE_END) {
        /* Registers are 16 bits wide; a byte is a half of one. */
        value = vga_vbe_read(v, (offset - MMIO_VBE) / 2);
        return size == 1 && offset & 1 ? value >> 8 : value & (size == 1 ? 0xff : 0xffff);
    }
    for (unsigned i = 0; i < size; i++, offset++) {
        uint8_t byte = 0;

        if (offset < VGA_EDID_SIZE && d->edid) {
            byte = v->edid[offset];
        } else if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END) {
            byte = vga_port_read(v, 0x3c0 + (offset - MMIO_PORTS));
        } else if (offset == MMIO_EXTENDED) {
            byte = MMIO_EXTENDED_SIZE;
        } else if (offset >= MMIO_ENDIAN && offset < MMIO_ENDIAN + 4) {
            byte = (uint8_t)(v->s.big_endian ? ENDIAN_BIG : ENDIAN_LITTLE);
        }
        value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

/* The register takes two values, of four equal bytes, so halves of them are as good. */
static void vga_mmio_write_endian(Vga *v, uint64_t value)
{
    if ((uint16_t)value == (uint16_t)ENDIAN_BIG) {
        v->s.big_endian = true;
    } else if ((uint16_t)value == (uint16_t)ENDIAN_LITTLE) {
        v->s.big_endian = false;
    }
    screen_touched(&v->screen);
}

static IoResult vga_mmio_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Vga *v = &vga_pci_of(region->owner)->vga;

    if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size && offset + i < MMIO_PORTS_END; i++) {
            vga_port_write(v, 0x3c0 + (offset + i - MMIO_PORTS), value >> (8 * i));
        }
    } else if (offset >= MMIO_VBE && offset < MMIO_VBE_END && size == 2) {
        vga_vbe_write(v, (offset - MMIO_VBE) / 2, value);
    } else if (offset == MMIO_ENDIAN && size == 2) {
        vga_mmio_write_endian(v, value);
    }
    return IO_OK;
}

static const IoRegionOps vga_mmio_ops = {
    .read = vga_mmio_read,
    .write = vga_mmio_write,
    .valid_max = 8,
    .impl_max = 2,
};

static const uint8_t *vga_pci_rom(Device *dev, size_t *len)
{
    PciDevice *pci = PCI_DEVICE(vga_pci_of(dev));

    *len = pci->rom ? pci->rom->size : 0;
    return pci->rom ? pci->rom->host : NULL;
}

static void vga_pci_blink(Device *dev)
{
    screen_touched(&vga_pci_of(dev)->vga.screen);
}

static void vga_pci_look(Device *dev, void *data)
{
    Device **found = data;

    if (dev->class == &vga_pci_class && dev->realized) {
        *found = dev;
    }
}

Device *vga_find(Vm *vm)
{
    Device *found = NULL;

    device_foreach(vm, vga_pci_look, &found);
    return found;
}

void vga_init_as_firmware(Device *dev)
{
    device_lock(dev);
    vga_set_text_mode(&vga_pci_of(dev)->vga);
    device_unlock(dev);
}

/* The ports and the window of a VGA can belong to one only. */
static bool vga_pci_check(VgaPci *d, GError **err)
{
    Device *other = vga_find(d->pci.dev.vm);

    if (other) {
        return error_set(err, "the machine has a VGA already ('%s'), and can have one",
                         other->id ?: other->path);
    }
    if (!is_power_of_2(d->vgamem_mb) || d->vgamem_mb > VGAMEM_MAX) {
        return error_set(err, "vgamem_mb is a power of two from 1 to %u, not %u", VGAMEM_MAX,
                         d->vgamem_mb);
    }
    return true;
}

static bool vga_pci_realize(Device *dev, GError **err)
{
    VgaPci *d = vga_pci_of(dev);
    Vga *v = &d->vga;

    if (!vga_pci_check(d, err) || (d->edid && !edid_make(&d->monitor, v->edid, err)) ||
        !vga_init(v, dev, d->vgamem_mb, err)) {
        return false;
    }
    v->rom = vga_pci_rom;
    v->blink = device_timer_new(dev, CLOCK_VIRTUAL_NS, vga_pci_blink);
    io_region_init_ram(&d->memory, dev, v->vram, 0, v->size, false, "vga.vram");
    io_region_init(&d->mmio, dev, &vga_mmio_ops, "vga-mmio", MMIO_SIZE);
    pci_register_bar(&d->pci, BAR_MEMORY, PCI_BAR_MEM32_PREFETCH, &d->memory);
    pci_register_bar(&d->pci, BAR_MMIO, PCI_BAR_MEM32, &d->mmio);
    return true;
}

static void vga_pci_unrealize(Device *dev)
{
    vga_exit(&vga_pci_of(dev)->vga);
}

static void vga_pci_reset(Device *dev, ResetKind kind)
{
    VgaPci *d = vga_pci_of(dev);

    pci_device_reset(&d->pci);
    vga_reset(&d->vga);
}

static void vga_pci_post_load(Device *dev)
{
    pci_device_post_load(dev);
    vga_post_load(&vga_pci_of(dev)->vga);
}

static const Property vga_pci_props[] = {
    PROP("vgamem_mb", PROP_UINT32, VgaPci, vgamem_mb, "16",
         "video memory in MiB: a power of two up to 512"),
    PROP("edid", PROP_BOOL, VgaPci, edid, "on", "the guest can read the monitor's description"),
    PROP("xres", PROP_UINT32, VgaPci, monitor.xres, "0",
         "the monitor's best width in pixels; 0: 1280"),
    PROP("yres", PROP_UINT32, VgaPci, monitor.yres, "0", "its best height; 0: 800"),
    PROP("xmax", PROP_UINT32, VgaPci, monitor.xmax, "0", "its largest width; 0: any"),
    PROP("ymax", PROP_UINT32, VgaPci, monitor.ymax, "0", "its largest height; 0: any"),
    PROP_END,
};

static const StateSection vga_pci_sections[] = {
    PCI_STATE(VgaPci, pci),
    {vga_state_desc, offsetof(VgaPci, vga.s)},
    {0},
};

static const PciDeviceInfo vga_pci_info = {
    .vendor_id = 0x1234,
    .device_id = 0x1111,
    .revision = 2,
    .class_id = PCI_CLASS_DISPLAY_VGA,
    .romfile = "vgabios-stdvga.bin",
};

const DeviceClass vga_pci_class = {
    .name = "VGA",
    .bus = "PCI",
    .desc = "a VGA with the Bochs VBE extensions",
    .category = DEVICE_CATEGORY_DISPLAY,
    .size = sizeof(VgaPci),
    .props = vga_pci_props,
    .bus_props = pci_device_props,
    .bus_data = &vga_pci_info,
    .state = vga_pci_sections,
    .realize = vga_pci_realize,
    .unrealize = vga_pci_unrealize,
    .reset = vga_pci_reset,
    .check_state = pci_device_check_state,
    .post_load = vga_pci_post_load,
    .object_parent = "pci-vga",
};

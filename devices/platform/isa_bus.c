/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ISA bus: a device's ports and IRQ come from its own properties. */
#include "devices/isa.h"

static void isa_print(Bus *bus, Device *dev, GString *out, int indent)
{
}

static char *isa_fw_path(Bus *bus, Device *dev)
{
    const IsaDeviceInfo *info = dev->class->bus_data;

    if (!info) {
        return g_strdup(dev->class->name);
    }
    return g_strdup_printf("%s@%04x", info->fw_name,
                           *(const uint32_t *)((const char *)dev + info->iobase_offset));
}

const BusClass isa_bus_class = {
    .type = "ISA",
    .print = isa_print,
    .fw_path = isa_fw_path,
};

void isa_bus_init(IsaBus *isa, Vm *vm, Device *bridge)
{
    bus_init(&isa->bus, &isa_bus_class, vm, bridge, NULL);
}

void isa_map_ports(Device *dev, IoRegion *r, uint16_t port)
{
    io_region_map(dev->vm, r, IO_SPACE_PIO, port, 0);
}

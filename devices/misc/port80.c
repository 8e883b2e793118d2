/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The POST code port, 0x80. Kernels write it for a delay of about a microsecond, which the exit to
 * user space takes anyway. Firmware writes its progress codes there; the last one is kept.
 */
#include "devices/isa.h"

#define PORT80_STATE(X) X(F, uint8_t, code)
STATE_STRUCT(Port80State, PORT80_STATE);
STATE_DESC(port80, Port80State, PORT80_STATE, 1);

typedef struct {
    Device dev;
    Port80State s;
    IoRegion io;
} Port80;

static uint64_t port80_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return UINT64_MAX; /* the port is write-only */
}

static IoResult port80_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    container_of(region, Port80, io)->s.code = value;
    return IO_OK;
}

static const IoRegionOps port80_ops = {
    .read = port80_read,
    .write = port80_write,
    .valid_min = 1,
    .valid_max = 1,
};

static bool port80_realize(Device *dev, GError **err)
{
    Port80 *d = container_of(dev, Port80, dev);
    io_region_init(&d->io, dev, &port80_ops, "ioport80", 1);
    isa_map_ports(dev, &d->io, 0x80);
    return true;
}

static void port80_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &container_of(dev, Port80, dev)->io);
}

static void port80_reset(Device *dev, ResetKind kind)
{
    container_of(dev, Port80, dev)->s.code = 0;
}

static const StateSection port80_state[] = {
    {port80_state_desc, offsetof(Port80, s)},
    {0},
};

const DeviceClass port80_class = {
    .name = "port80",
    .bus = "ISA",
    .desc = "POST code latch",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Port80),
    .state = port80_state,
    .realize = port80_realize,
    .unrealize = port80_unrealize,
    .reset = port80_reset,
    .internal = true,
    .object_parent = "isa-device",
};

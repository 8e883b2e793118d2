/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System control port A, 0x92: the fast A20 gate and the fast reset. (IBM PS/2 Hardware Interface
 * Technical Reference, System Control Port A.)
 */
#include "devices/isa.h"

enum {
    PORT92_INIT = BIT(0), /* a change from 0 to 1 resets the machine */
    PORT92_A20 = BIT(1),
};

#define PORT92_STATE(X) X(F, uint8_t, outport)
STATE_STRUCT(Port92State, PORT92_STATE);
STATE_DESC(port92, Port92State, PORT92_STATE, 1);

typedef struct {
    Device dev;
    Port92State s;
    IoRegion io;
} Port92;

static uint64_t port92_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, Port92, io)->s.outport;
}

static IoResult port92_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Port92 *d = container_of(region, Port92, io);
    uint8_t old = d->s.outport;
    d->s.outport = value;
    if (value & ~old & PORT92_INIT) {
        vm_request_reset(d->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
    return IO_OK;
}

static const IoRegionOps port92_ops = {
    .read = port92_read,
    .write = port92_write,
    .impl_min = 1,
    .impl_max = 1,
};

static bool port92_realize(Device *dev, GError **err)
{
    Port92 *d = container_of(dev, Port92, dev);
    io_region_init(&d->io, dev, &port92_ops, "port92", 1);
    isa_map_ports(dev, &d->io, 0x92);
    return true;
}

static void port92_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &container_of(dev, Port92, dev)->io);
}

static void port92_reset(Device *dev, ResetKind kind)
{
    container_of(dev, Port92, dev)->s.outport = PORT92_A20; /* as addresses never wrap */
}

static const StateSection port92_state[] = {
    {port92_state_desc, offsetof(Port92, s)},
    {0},
};

const DeviceClass port92_class = {
    .name = "port92",
    .bus = "ISA",
    .desc = "system control port A: fast A20 gate and reset",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Port92),
    .state = port92_state,
    .realize = port92_realize,
    .unrealize = port92_unrealize,
    .reset = port92_reset,
    .internal = true,
    .object_parent = "isa-device",
};

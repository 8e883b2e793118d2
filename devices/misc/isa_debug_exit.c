/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A port by which a test program in the guest ends the whole process, with a status. */
#include "devices/isa.h"
#include "base/error.h"

typedef struct {
    Device dev;
    uint32_t iobase, iosize;
    IoRegion io;
} DebugExit;

static const Property debug_exit_props[] = {
    PROP("iobase", PROP_UINT32, DebugExit, iobase, "0x501", "first port"),
    PROP("iosize", PROP_UINT32, DebugExit, iosize, "2", "number of ports"),
    PROP_END,
};

static uint64_t debug_exit_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return 0;
}

static IoResult debug_exit_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    /* The exit status is odd: never 0, which is vmm's own success. */
    vm_request_shutdown_status(region->owner->vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN,
                               (int)((uint32_t)value << 1 | 1));
    return IO_OK;
}

static const IoRegionOps debug_exit_ops = {
    .read = debug_exit_read,
    .write = debug_exit_write,
    .valid_min = 1,
    .valid_max = 4,
};

static bool debug_exit_realize(Device *dev, GError **err)
{
    DebugExit *d = container_of(dev, DebugExit, dev);
    if (!d->iosize || d->iosize > 0x10000 || d->iobase > 0x10000 - d->iosize) {
        return error_set(err, "isa-debug-exit: iobase=0x%x,iosize=0x%x is no range of ports",
                         d->iobase, d->iosize);
    }
    io_region_init(&d->io, dev, &debug_exit_ops, "isa-debug-exit", d->iosize);
    isa_map_ports(dev, &d->io, d->iobase);
    return true;
}

static void debug_exit_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &container_of(dev, DebugExit, dev)->io);
}

const DeviceClass isa_debug_exit_class = {
    .name = "isa-debug-exit",
    .bus = "ISA",
    .desc = "ends the process with (value << 1) | 1",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(DebugExit),
    .props = debug_exit_props,
    .state = device_no_state,
    .realize = debug_exit_realize,
    .unrealize = debug_exit_unrealize,
    .reset = device_no_reset,
    .object_parent = "isa-device",
};

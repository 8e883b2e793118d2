/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A port by which a guest's kernel reports a panic. Reads give the supported events, writes report
 * one. (QEMU, docs/specs/pvpanic.txt.)
 */
#include "devices/isa.h"
#include "base/error.h"
#include "base/log.h"

enum {
    PVPANIC_PANICKED = BIT(0),
    PVPANIC_CRASHLOADED = BIT(1), /* the guest starts a crash kernel: the VM goes on */
};

typedef struct {
    Device dev;
    uint16_t ioport;
    uint8_t events;
    IoRegion io;
} Pvpanic;

static const Property pvpanic_props[] = {
    PROP("ioport", PROP_UINT16, Pvpanic, ioport, "0x505", "port"),
    PROP("events", PROP_UINT8, Pvpanic, events, "3", "events offered: 1 panicked, 2 crash loaded"),
    PROP_END,
};

static uint64_t pvpanic_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, Pvpanic, io)->events;
}

static IoResult pvpanic_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Device *dev = region->owner;
    if (value & ~(uint64_t)(PVPANIC_PANICKED | PVPANIC_CRASHLOADED)) {
        log_guest_error("pvpanic: unknown event 0x%02x", (unsigned)value);
    }
    if (value & PVPANIC_PANICKED) {
        vm_guest_panicked(dev->vm, NULL);
    } else if (value & PVPANIC_CRASHLOADED) {
        vm_event(dev->vm, VM_EVENT_GUEST_CRASHLOADED, json_pack("{s:s}", "action", "run"));
    }
    return IO_OK;
}

static const IoRegionOps pvpanic_ops = {
    .read = pvpanic_read,
    .write = pvpanic_write,
    .valid_min = 1,
    .valid_max = 1,
};

static bool pvpanic_realize(Device *dev, GError **err)
{
    Pvpanic *d = container_of(dev, Pvpanic, dev);
    Device *fw = fw_cfg_find(dev->vm);
    if (fw) {
        uint16_t port = htole16(d->ioport);
        if (!fw_cfg_add_file(fw, "etc/pvpanic-port", &port, sizeof port, err)) {
            return false;
        }
    }
    io_region_init(&d->io, dev, &pvpanic_ops, "pvpanic", 1);
    isa_map_ports(dev, &d->io, d->ioport);
    return true;
}

static void pvpanic_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &container_of(dev, Pvpanic, dev)->io);
    Device *fw = fw_cfg_find(dev->vm);
    if (fw) {
        fw_cfg_remove_file(fw, "etc/pvpanic-port");
    }
}

const DeviceClass pvpanic_class = {
    .name = "pvpanic",
    .bus = "ISA",
    .desc = "reports the guest's panics",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Pvpanic),
    .props = pvpanic_props,
    .state = device_no_state,
    .realize = pvpanic_realize,
    .unrealize = pvpanic_unrealize,
    .reset = device_no_reset,
    .object_parent = "isa-device",
};

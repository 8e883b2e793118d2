/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug console of firmware: one port, after Bochs' port 0xe9 hack. Writes go to a chardev.
 * Reads give the 'readback' value, by which firmware detects the device.
 */
#include "chardev/chardev.h"
#include "chardev/console.h"
#include "devices/isa.h"
#include "base/error.h"

typedef struct {
    Device dev;
    uint32_t iobase, readback;
    char *chardev;
    CharFrontend fe;
    IoRegion io;
} DebugCon;

static const Property debugcon_props[] = {
    PROP("iobase", PROP_UINT32, DebugCon, iobase, "0xe9", "port"),
    PROP("readback", PROP_UINT32, DebugCon, readback, "0xe9", "what the port reads as"),
    PROP("chardev", PROP_STRING, DebugCon, chardev, NULL, "ID of a chardev to use as a backend"),
    PROP_END,
};

static uint64_t debugcon_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, DebugCon, io)->readback;
}

static IoResult debugcon_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    DebugCon *d = container_of(region, DebugCon, io);
    uint8_t byte = value;
    /* The port has no busy bit: the chardev queues, and drops bytes that no one reads. */
    char_write_all(&d->fe, &byte, 1);
    return IO_OK;
}

static const IoRegionOps debugcon_ops = {
    .read = debugcon_read,
    .write = debugcon_write,
    .valid_min = 1,
    .valid_max = 1,
};

static void debugcon_exchange(void *data, void (*swap)(void *arg), void *arg)
{
    DebugCon *d = data;
    device_lock(&d->dev);
    swap(arg);
    device_unlock(&d->dev);
}

static const CharFrontendOps debugcon_fe_ops = {.exchange = debugcon_exchange};

static bool debugcon_realize(Device *dev, GError **err)
{
    DebugCon *d = container_of(dev, DebugCon, dev);
    if (d->iobase > UINT16_MAX) {
        return error_set(err, "isa-debugcon: iobase 0x%x is no port number", d->iobase);
    }
    if (!d->chardev) {
        return error_set(err, "Can't create debugcon device, empty char device");
    }
    Chardev *chr = chardev_find(d->chardev);
    if (!chr) {
        return error_set(err, "Property 'isa-debugcon.chardev' can't find value '%s'", d->chardev);
    }
    if (!char_frontend_connect(&d->fe, chr, &debugcon_fe_ops, d, err)) {
        return false;
    }
    d->fe.console = char_console_new(&d->fe, "debugcon");
    io_region_init(&d->io, dev, &debugcon_ops, "isa-debugcon", 1);
    isa_map_ports(dev, &d->io, d->iobase);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    DebugCon *d = container_of(dev, DebugCon, dev);
    io_region_unmap(dev->vm, &d->io);
    char_frontend_disconnect(&d->fe);
    g_clear_pointer(&d->fe.console, char_console_free);
}

const DeviceClass isa_debugcon_class = {
    .name = "isa-debugcon",
    .bus = "ISA",
    .desc = "debug console of firmware",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(DebugCon),
    .props = debugcon_props,
    .state = device_no_state,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
    .reset = device_no_reset,
    .object_parent = "isa-device",
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE bus. */
#include "ide.h"

#include "base/error.h"

static IdeBus *ide_bus(Bus *bus)
{
    return container_of(bus, IdeBus, bus);
}

static IdeDevice *ide_device(Device *dev)
{
    return container_of(dev, IdeDevice, dev);
}

static bool ide_attach(Bus *bus, Device *dev, GError **err)
{
    IdeBus *ide = ide_bus(bus);
    IdeDevice *d = ide_device(dev);

    if (d->unit == IDE_UNIT_AUTO) {
        d->unit = ide->taken[0] ? 1 : 0;
    }
    if (d->unit >= IDE_UNITS) {
        return error_set(err, "Can't create IDE unit %u, bus supports only %u units", d->unit,
                         IDE_UNITS);
    }
    if (ide->taken[d->unit]) {
        return error_set(err, "IDE unit %u is in use", d->unit);
    }
    ide->taken[d->unit] = dev;
    return true;
}

static void ide_release(Bus *bus, Device *dev)
{
    ide_bus(bus)->taken[ide_device(dev)->unit] = NULL;
}

static void ide_show(Bus *bus, Device *dev, AtaDevice *drive)
{
    device_lock(dev);
    ide_bus(bus)->drives[ide_device(dev)->unit] = drive;
    device_unlock(dev);
}

static void ide_publish(Bus *bus, Device *dev)
{
    ide_show(bus, dev, ide_device(dev)->ata);
}

static void ide_detach(Bus *bus, Device *dev)
{
    ide_show(bus, dev, NULL);
}

static void ide_print(Bus *bus, Device *dev, GString *out, int indent)
{
}

static char *ide_fw_path(Bus *bus, Device *dev)
{
    return g_strdup_printf("drive@%x/disk@%x", ide_bus(bus)->number, ide_device(dev)->unit);
}

const BusClass ide_bus_class = {
    .type = "IDE",
    .max_children = IDE_UNITS,
    .attach = ide_attach,
    .publish = ide_publish,
    .detach = ide_detach,
    .release = ide_release,
    .print = ide_print,
    .fw_path = ide_fw_path,
};

void ide_bus_init(IdeBus *ide, Vm *vm, Device *controller, unsigned number,
                  const AtaTransport *transport)
{
    g_autofree char *name = g_strdup_printf("ide.%u", number);

    ide->number = number;
    ide->transport = transport;
    bus_init(&ide->bus, &ide_bus_class, vm, controller, name);
}

unsigned ide_place(const IdeDevice *d)
{
    return ide_bus(d->dev.bus)->number * IDE_UNITS + d->unit;
}

const AtaTransport *ide_transport_of(const IdeDevice *d)
{
    return ide_bus(d->dev.bus)->transport;
}

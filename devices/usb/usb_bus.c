/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The USB bus: ports, and the devices that come and go at them. */
#include <string.h>

#include "base/error.h"
#include "base/trace.h"
#include "usb.h"

static UsbBus *usb_bus(Bus *bus)
{
    return container_of(bus, UsbBus, bus);
}

static UsbDevice *usb_device(Device *dev)
{
    return container_of(dev, UsbDevice, dev);
}

/* The highest speed that the class has and the port. False: none. */
static bool usb_choose_speed(UsbDevice *dev, const UsbPort *port)
{
    for (int speed = USB_SPEEDS - 1; speed >= 0; speed--) {
        if (usb_class(dev)->config[speed] && port->speeds >> speed & 1) {
            dev->speed = speed;
            return true;
        }
    }
    return false;
}

static UsbPort *usb_find_port(UsbBus *bus, UsbDevice *dev, GError **err)
{
    bool is_free = false;

    for (guint i = 0; i < bus->ports->len; i++) {
        UsbPort *port = bus->ports->pdata[i];

        if (dev->port_path && strcmp(port->path, dev->port_path)) {
            continue;
        }
        if (dev->port_path && port->taken) {
            error_set(err, "usb port %s (bus %s) is in use by '%s'", port->path, bus->bus.name,
                      port->taken->dev.path);
            return NULL;
        }
        if (!port->taken && usb_choose_speed(dev, port)) {
            return port;
        }
        is_free |= !port->taken;
        if (dev->port_path) {
            error_set(err, "'%s' has no speed that port %s of bus %s has too", usb_product(dev),
                      port->path, bus->bus.name);
            return NULL;
        }
    }
    if (dev->port_path) {
        error_set(err, "usb port %s (bus %s) not found", dev->port_path, bus->bus.name);
    } else if (is_free) {
        error_set(err,
                  "'%s' has no speed that the free ports of bus %s have too: an EHCI controller "
                  "needs companions (ich9-usb-uhci1,masterbus=%s) for it",
                  usb_product(dev), bus->bus.name, bus->bus.name);
    } else {
        error_set(err,
                  "tried to attach usb device %s to a bus with no free ports: add a "
                  "'usb-hub'",
                  usb_product(dev));
    }
    return NULL;
}

/* Free ports that a hub could sit at. */
static unsigned usb_free_ports(const UsbBus *bus)
{
    unsigned count = 0;

    for (guint i = 0; i < bus->ports->len; i++) {
        const UsbPort *port = bus->ports->pdata[i];

        count += !port->taken && port->speeds >> USB_SPEED_FULL & 1;
    }
    return count;
}

/* As QEMU: the last free port gets a hub, so that a bus is never full. */
static void usb_extend(UsbBus *bus, const UsbDevice *dev)
{
    const DeviceClass *class = device_class_find("usb-hub");
    Device *hub;

    if (!class || dev->port_path || dev->dev.class == class || usb_free_ports(bus) != 1) {
        return;
    }
    hub = device_create(dev->dev.vm, class, &bus->bus, NULL, NULL, NULL);
    if (hub) {
        hub->hotplugged = dev->dev.hotplugged;
        if (!device_realize(hub, NULL)) {
            device_destroy(hub);
        }
    }
}

static bool usb_attach(Bus *bus, Device *dev, GError **err)
{
    UsbDevice *usb = usb_device(dev);
    UsbPort *port;

    usb_extend(usb_bus(bus), usb);
    port = usb_find_port(usb_bus(bus), usb, err);
    if (!port) {
        return false;
    }
    port->taken = usb;
    usb->place = port;
    return true;
}

static void usb_release(Bus *bus, Device *dev)
{
    UsbDevice *usb = usb_device(dev);

    if (usb->place) {
        usb->place->taken = NULL;
        usb->place = NULL;
    }
}

static void usb_publish(Bus *bus, Device *dev)
{
    UsbDevice *usb = usb_device(dev);

    device_lock(dev);
    usb->port = usb->place;
    usb->port->dev = usb;
    trace(usb_port_attach, bus->name, usb->port->index, device_label(dev));
    usb->port->ops->attached(usb->port);
    device_unlock(dev);
}

static void usb_detach(Bus *bus, Device *dev)
{
    UsbDevice *usb = usb_device(dev);
    UsbPort *port = usb->port;

    device_lock(dev);
    if (port) {
        trace(usb_port_detach, bus->name, port->index, device_label(dev));
        port->ops->cancel(port, usb);
        port->ops->detached(port);
        port->dev = NULL;
        usb->port = NULL;
        if (port->master) {
            port->master->ops->detached(port->master);
        }
    }
    device_unlock(dev);
}

/* What sits behind a hub goes with it, and before it. */
static void usb_unplug_behind(UsbBus *bus, const Device *hub)
{
    for (guint i = 0; i < bus->ports->len; i++) {
        UsbPort *port = bus->ports->pdata[i];

        if (port->owner == hub && port->taken) {
            Device *dev = &port->taken->dev;

            usb_unplug_behind(bus, dev);
            dev->unplug_pending = true;
            device_unplugged(dev);
        }
    }
}

/* A plug is pulled without asking. */
static bool usb_unplug_request(Bus *bus, Device *dev, bool *gone, GError **err)
{
    usb_unplug_behind(usb_bus(bus), dev);
    *gone = true;
    return true;
}

static void usb_print(Bus *bus, Device *dev, GString *out, int indent)
{
    UsbDevice *usb = usb_device(dev);

    g_string_append_printf(out, "%*saddr 0.%u, port %s, speed %s, name %s%s\n", indent, "",
                           usb->s.address, usb->place ? usb->place->path : "-",
                           usb_speed_text(usb->speed), usb_product(usb),
                           usb->port ? ", attached" : "");
}

/* OpenFirmware's, as SeaBIOS reads it: each hub on the way, then the device. */
static char *usb_fw_path(Bus *bus, Device *dev)
{
    UsbDevice *usb = usb_device(dev);
    const char *path = usb->place ? usb->place->path : "0", *dot;
    GString *out = g_string_new(NULL);

    while ((dot = strchr(path, '.'))) {
        g_string_append_printf(out, "hub@%x/", (unsigned)g_ascii_strtoull(path, NULL, 10));
        path = dot + 1;
    }
    g_string_append_printf(out, "%s@%x%s", usb_class(usb)->is_storage ? "storage" : "usb",
                           (unsigned)g_ascii_strtoull(path, NULL, 10),
                           usb_class(usb)->is_storage ? "/channel@0/disk@0,0" : "");
    return g_string_free(out, FALSE);
}

const BusClass usb_bus_class = {
    .type = "usb-bus",
    .attach = usb_attach,
    .publish = usb_publish,
    .detach = usb_detach,
    .release = usb_release,
    .print = usb_print,
    .can_hotplug = true,
    .unplug_request = usb_unplug_request,
    .fw_path = usb_fw_path,
};

/* Names are usb-bus.0, usb-bus.1, ...; 'ID.0' of a controller with an id. */
void usb_bus_init(UsbBus *bus, Vm *vm, Device *controller)
{
    bus->ports = g_ptr_array_new();
    bus_init(&bus->bus, &usb_bus_class, vm, controller, NULL);
}

void usb_bus_destroy(UsbBus *bus)
{
    bus_destroy(&bus->bus);
    g_ptr_array_free(bus->ports, TRUE);
    bus->ports = NULL;
}

void usb_port_add(UsbBus *bus, UsbPort *port, Device *owner, const UsbPort *hub, unsigned number,
                  unsigned speeds, const UsbPortOps *ops)
{
    *port =
        (UsbPort){.bus = bus, .ops = ops, .owner = owner, .index = number - 1, .speeds = speeds};
    g_snprintf(port->path, sizeof port->path, "%s%s%u", hub ? hub->path : "", hub ? "." : "",
               number);
    g_ptr_array_add(bus->ports, port);
}

void usb_port_remove(UsbPort *port)
{
    g_ptr_array_remove(port->bus->ports, port);
}

bool usb_companion_add(Device *companion, UsbPort *ports, unsigned count, const char *masterbus,
                       unsigned first, const UsbPortOps *ops, GError **err)
{
    Bus *bus = bus_find(companion->vm, masterbus, "usb-bus", err);

    if (!bus) {
        return false;
    }
    if (!usb_bus(bus)->master) {
        return error_set(err, "masterbus=%s: '%s' is no EHCI controller, and has no companions",
                         masterbus, bus->parent->class->name);
    }
    device_share_lock(companion, bus->parent);
    for (unsigned i = 0; i < count; i++) {
        ports[i] = (UsbPort){.bus = usb_bus(bus),
                             .ops = ops,
                             .owner = companion,
                             .index = i,
                             .speeds = USB_SPEEDS_1};
    }
    return usb_bus(bus)->master->add_companion(usb_bus(bus), ports, count, first, err);
}

void usb_companion_remove(UsbPort *ports, unsigned count)
{
    if (ports->master) {
        ports->bus->master->remove_companion(ports->bus, ports, count);
    }
}

void usb_port_route(UsbPort *from, UsbPort *to, bool tell)
{
    UsbDevice *dev = from->dev;

    if (!dev) {
        return;
    }
    from->ops->cancel(from, dev);
    if (tell) {
        from->ops->detached(from);
    }
    from->dev = NULL;
    dev->port = to;
    to->dev = dev;
    usb_choose_speed(dev, to);
    if (tell) {
        to->ops->attached(to);
    }
}

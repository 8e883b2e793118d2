/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI bus: assignment of slots, and dispatch of configuration accesses.
 */
#include "pci_internal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"

static PciBus *to_pci(Bus *bus)
{
    return container_of(bus, PciBus, bus);
}

static PciDevice *pci_bus_at(const PciBus *bus, unsigned devfn)
{
    return __atomic_load_n(&bus->devices[devfn & 0xff], __ATOMIC_ACQUIRE);
}

PciDevice *pci_find_device(PciBus *bus, unsigned devfn)
{
    return pci_bus_at(bus, devfn);
}

static const char *name_of(const PciDevice *pci)
{
    return pci->dev.class->name;
}

static bool is_multifunction(const PciDevice *pci)
{
    return pci->multifunction || pci_info(pci)->multifunction;
}

/* Takes function 0 of the first slot with no function at all. */
static bool choose_slot(PciBus *bus, PciDevice *pci, GError **err)
{
    for (unsigned devfn = 0; devfn < 256; devfn += 8) {
        bool used = false;

        for (unsigned fn = 0; fn < 8; fn++) {
            used |= pci_bus_at(bus, devfn + fn) != NULL;
        }
        if (!used) {
            pci->devfn = devfn;
            return true;
        }
    }
    return error_set(err, "PCI: no slot/function available for %s, all in use or reserved",
                     name_of(pci));
}

static bool take_slot(PciBus *bus, PciDevice *pci, GError **err)
{
    unsigned devfn = pci->addr;
    PciDevice *there = pci_bus_at(bus, devfn), *first = pci_bus_at(bus, devfn & ~7);

    if (there) {
        return error_set(err, "PCI: slot %u function %u not available for %s, in use by %s,id=%s",
                         PCI_SLOT(devfn), PCI_FUNC(devfn), name_of(pci), name_of(there),
                         there->dev.id ? there->dev.id : "");
    }
    if (PCI_FUNC(devfn) && first && !is_multifunction(first)) {
        return error_set(err, "PCI: single function device can't be populated in function %x.%x",
                         PCI_SLOT(devfn), PCI_FUNC(devfn));
    }
    /* A guest that is told of a new device scans its slot only if function 0 was empty before. */
    if (PCI_FUNC(devfn) && first && first->dev.realized && pci->dev.hotplugged) {
        return error_set(err,
                         "PCI: slot %u function 0 already occupied by %s, new func %s cannot be "
                         "exposed to guest.",
                         PCI_SLOT(devfn), name_of(first), name_of(pci));
    }
    for (unsigned fn = 1; !PCI_FUNC(devfn) && !is_multifunction(pci) && fn < 8; fn++) {
        if (pci_bus_at(bus, devfn + fn)) {
            return error_set(err,
                             "PCI: %x.0 indicates single function, but %x.%x is already populated.",
                             PCI_SLOT(devfn), PCI_SLOT(devfn), fn);
        }
    }
    pci->devfn = devfn;
    return true;
}

/* Each slot rotates the pins by one (PCI-to-PCI Bridge Architecture 1.2, 9.1, table 9-1). */
static unsigned default_map_irq(PciDevice *pci, unsigned pin)
{
    return PCI_SLOT(pci->devfn) + pin;
}

static void connect_intx(PciBus *bus, PciDevice *pci)
{
    unsigned pin = pci_info(pci)->interrupt_pin, input;

    if (pin && bus->irq_pins) {
        input = (bus->map_irq ? bus->map_irq : default_map_irq)(pci, pin - 1);
        irq_connect(&pci->dev, &pci->intx, &bus->irq_pins[input % bus->irq_pin_count]);
    }
}

void pci_bus_set_irq_pins(PciBus *bus, IrqPin *pins, unsigned count)
{
    bus->irq_pins = pins;
    bus->irq_pin_count = count;
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = pci_bus_at(bus, devfn);

        if (pci && pins) {
            connect_intx(bus, pci);
        } else if (pci) {
            irq_connect(&pci->dev, &pci->intx, NULL);
        }
    }
}

static bool pci_attach(Bus *b, Device *dev, GError **err)
{
    PciBus *bus = to_pci(b);
    PciDevice *pci = container_of(dev, PciDevice, dev);

    g_assert(dev->class->bus_data);
    if (!(pci->addr < 0 ? choose_slot(bus, pci, err) : take_slot(bus, pci, err)) ||
        !pci_device_setup(pci, err)) {
        return false;
    }
    pci->addr = pci->devfn;
    connect_intx(bus, pci);
    return true;
}

static void pci_publish(Bus *b, Device *dev)
{
    PciBus *bus = to_pci(b);
    PciDevice *pci = container_of(dev, PciDevice, dev);

    __atomic_store_n(&bus->devices[pci->devfn], pci, __ATOMIC_RELEASE);
}

static void pci_detach(Bus *b, Device *dev)
{
    PciBus *bus = to_pci(b);
    PciDevice *pci = container_of(dev, PciDevice, dev);

    __atomic_store_n(&bus->devices[pci->devfn], NULL, __ATOMIC_RELEASE);
    pci_device_vanish(pci);
    if (bus->detached && bus->hotplug_controller) {
        bus->detached(bus->hotplug_controller, pci);
    }
}

static void pci_release(Bus *b, Device *dev)
{
    pci_device_teardown(container_of(dev, PciDevice, dev));
}

static void pci_hotplug(Bus *b, Device *dev)
{
    PciBus *bus = to_pci(b);

    if (bus->hotplug_controller && bus->hotplug) {
        bus->hotplug(bus->hotplug_controller, container_of(dev, PciDevice, dev));
    }
}

static bool pci_unplug_request(Bus *b, Device *dev, bool *gone, GError **err)
{
    PciBus *bus = to_pci(b);

    if (!bus->hotplug_controller || !bus->unplug_request) {
        return error_set(err, "Bus '%s' does not support hotplugging", b->name);
    }
    return bus->unplug_request(bus->hotplug_controller, container_of(dev, PciDevice, dev), gone,
                               err);
}

const BusClass pci_bus_class = {
    .type = "PCI",
    .attach = pci_attach,
    .publish = pci_publish,
    .detach = pci_detach,
    .release = pci_release,
    .print = pci_print_device,
    .can_hotplug = true,
    .own_locks = true,
    .hotplug = pci_hotplug,
    .unplug_request = pci_unplug_request,
    .fw_path = pci_fw_path,
};

void pci_bus_init(PciBus *bus, Vm *vm, Device *host, const char *name)
{
    bus_init(&bus->bus, &pci_bus_class, vm, host, name);
}

void pci_bus_destroy(PciBus *bus)
{
    bus_destroy(&bus->bus);
}

PciBus *pci_root(Vm *vm)
{
    Bus *bus = bus_find(vm, "pci.0", "PCI", NULL);

    return bus ? to_pci(bus) : NULL;
}

/* Accesses. */

static PciDevice *target_of(PciBus *root, uint32_t addr)
{
    return (addr >> 16 & 0xff) == root->number ? pci_bus_at(root, addr >> 8 & 0xff) : NULL;
}

/*
 * The target of an access, locked, with no deferred work pending; or NULL. device_defer_wait() lets
 * unplugged devices be freed, so the device is looked up again after it.
 */
static PciDevice *lock_target(PciBus *root, uint32_t addr)
{
    PciDevice *pci;

    while ((pci = target_of(root, addr))) {
        device_lock(&pci->dev);
        if (!device_deferred(&pci->dev)) {
            if (__atomic_load_n(&pci->dev.live, __ATOMIC_ACQUIRE)) {
                return pci;
            }
            device_unlock(&pci->dev);
            return NULL;
        }
        device_unlock(&pci->dev);
        device_defer_wait(&pci->dev);
    }
    return NULL;
}

/* The bytes of an access that lie inside the function's configuration space. */
static unsigned clip_config_access(unsigned offset, unsigned len)
{
    g_assert(len <= 4);
    return MIN(len, PCI_CONFIG_SIZE - offset);
}

uint32_t pci_config_read(PciBus *root, uint32_t addr, unsigned len)
{
    PciDevice *pci = lock_target(root, addr);
    unsigned offset = addr & 0xff;
    uint32_t value = 0;

    if (!pci) {
        return UINT32_MAX >> (32 - len * 8);
    }
    len = clip_config_access(offset, len);
    if (pci_info(pci)->config_reading) {
        pci_info(pci)->config_reading(pci, offset, len);
    }
    for (unsigned i = 0; i < len; i++) {
        value |= (uint32_t)pci->s.config[offset + i] << (i * 8);
    }
    trace(pci_cfg_read, device_label(&pci->dev), offset, value, len);
    device_unlock(&pci->dev);
    return value;
}

void pci_config_write(PciBus *root, uint32_t addr, uint32_t value, unsigned len)
{
    PciDevice *pci = lock_target(root, addr);
    unsigned offset = addr & 0xff;
    bool deferred;

    if (!pci) {
        return;
    }
    trace(pci_cfg_write, device_label(&pci->dev), offset, value, len);
    pci_config_write_locked(pci, offset, value, clip_config_access(offset, len));
    deferred = device_deferred(&pci->dev);
    device_unlock(&pci->dev);
    if (deferred) {
        device_defer_wait(&pci->dev);
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hot-plug registers of the 'pc' board: PCI slots at 0xae00, CPUs at 0xaf00. The board's ACPI
 * tables (src/machine/acpi) access them. (QEMU, docs/specs/acpi_pci_hotplug.txt and
 * acpi_cpu_hotplug.txt.)
 */
#include "acpi_hotplug.h"

#include "base/error.h"
#include "base/sched.h"
#include "devices/isa.h"
#include "x86/x86.h"

STATE_DESC_PUBLIC(acpi_pcihp, AcpiPcihpState, ACPI_PCIHP_STATE, 1);

/* PCI: registers of 32 bits. */
enum {
    PCI_UP = 0x00,         /* read: slots with a new device */
    PCI_DOWN = 0x04,       /* read: slots whose removal is requested */
    PCI_EJECT = 0x08,      /* write a slot's bit: remove its devices */
    PCI_REMOVABLE = 0x0c,  /* read: slots whose devices can be removed */
    PCI_SELECT = 0x10,     /* number of the bus in the ACPI tables; 0: the root */
    PCI_ACPI_INDEX = 0x14, /* write a slot's bit, then read its device's acpi-index */
    PCI_HOTPLUG_SIZE = 0x18,
};

static PciDevice *hotplug_function(const AcpiPcihp *hp, unsigned slot, unsigned fn)
{
    return pci_find_device(hp->bus, PCI_DEVFN(slot, fn));
}

static uint32_t hotplug_removable(const AcpiPcihp *hp)
{
    uint32_t mask = UINT32_MAX;

    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned fn = 0; fn < 8; fn++) {
            PciDevice *pci = hotplug_function(hp, slot, fn);

            if (pci && !pci->dev.class->hotpluggable) {
                mask &= ~BIT(slot);
            }
        }
    }
    return hp->off ? 0 : mask;
}

static void hotplug_eject(AcpiPcihp *hp, unsigned slot)
{
    hp->s.up &= ~BIT(slot);
    hp->s.down &= ~BIT(slot);
    if (hp->off || !(hotplug_removable(hp) & BIT(slot))) {
        return;
    }
    for (unsigned fn = 0; fn < 8; fn++) {
        PciDevice *pci = hotplug_function(hp, slot, fn);

        if (pci) {
            sched_point("hotplug_eject: has found a function");
            device_unplugged(&pci->dev);
        }
    }
}

static uint64_t pcihp_read(IoRegion *region, uint64_t offset, unsigned size)
{
    AcpiPcihp *hp = container_of(region, AcpiPcihp, io);
    uint32_t value = 0;

    if (offset == PCI_SELECT) {
        return hp->s.select;
    }
    if (hp->s.select) {
        return 0; /* the root bus is the only one */
    }
    switch (offset) {
    case PCI_UP:
        value = hp->s.up;
        if (!hp->legacy) {
            hp->s.up = 0;
        }
        break;
    case PCI_DOWN:
        value = hp->s.down;
        break;
    case PCI_REMOVABLE:
        value = hotplug_removable(hp);
        break;
    case PCI_ACPI_INDEX:
        value = hp->s.acpi_index;
        hp->s.acpi_index = 0;
        break;
    default:
        break;
    }
    return value;
}

static IoResult pcihp_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPcihp *hp = container_of(region, AcpiPcihp, io);
    PciDevice *pci;

    if (offset == PCI_SELECT) {
        hp->s.select = hp->legacy ? 0 : value;
    } else if (offset == PCI_EJECT && value && !hp->s.select) {
        hotplug_eject(hp, __builtin_ctz(value));
    } else if (offset == PCI_ACPI_INDEX && value && !hp->s.select) {
        pci = hotplug_function(hp, __builtin_ctz(value), 0);
        hp->s.acpi_index = pci ? pci->acpi_index : 0;
    }
    return IO_OK;
}

static const IoRegionOps pcihp_ops = {
    .read = pcihp_read,
    .write = pcihp_write,
    .valid_min = 4,
    .valid_max = 4,
};

void acpi_pcihp_init(AcpiPcihp *hp, Device *owner, PciBus *bus, void (*notify)(Device *owner))
{
    hp->owner = owner;
    hp->bus = bus;
    hp->notify = notify;
    io_region_init(&hp->io, owner, &pcihp_ops, "acpi-pci-hotplug", PCI_HOTPLUG_SIZE);
    io_region_map(owner->vm, &hp->io, IO_SPACE_PIO, PIIX4_PCI_HOTPLUG_BASE, 0);
}

void acpi_pcihp_exit(AcpiPcihp *hp)
{
    io_region_unmap(hp->owner->vm, &hp->io);
}

void acpi_pcihp_reset(AcpiPcihp *hp)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        if (hp->s.down & BIT(slot)) {
            hotplug_eject(hp, slot);
        }
    }
    hp->s = (AcpiPcihpState){0};
}

void acpi_pcihp_plugged(AcpiPcihp *hp, PciDevice *pci)
{
    /* The guest scans all functions of a slot once function 0 is announced, which is added last. */
    if (hp->off || PCI_FUNC(pci->devfn)) {
        return;
    }
    device_lock(hp->owner);
    hp->s.up |= BIT(PCI_SLOT(pci->devfn));
    hp->notify(hp->owner);
    device_unlock(hp->owner);
}

bool acpi_pcihp_unplug_request(AcpiPcihp *hp, PciDevice *pci, GError **err)
{
    if (hp->off) {
        return error_set(err, "Bus '%s' does not support hotplugging", hp->bus->bus.name);
    }
    device_lock(hp->owner);
    hp->s.down |= BIT(PCI_SLOT(pci->devfn));
    hp->notify(hp->owner);
    device_unlock(hp->owner);
    return true;
}

void acpi_pcihp_detached(AcpiPcihp *hp, PciDevice *pci)
{
    unsigned slot = PCI_SLOT(pci->devfn);
    bool empty = true;

    for (unsigned fn = 0; fn < 8; fn++) {
        empty &= !hotplug_function(hp, slot, fn);
    }
    if (!empty) {
        return;
    }
    device_lock(hp->owner);
    hp->s.up &= ~BIT(slot);
    hp->s.down &= ~BIT(slot);
    device_unlock(hp->owner);
}

/* CPUs. */

static uint64_t cpuhp_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, AcpiCpuhp, io)->present[offset];
}

/* ACPI tables write 0 to switch to the later CPU hot-plug interface, which does not exist here. */
static IoResult cpuhp_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    return IO_OK;
}

static const IoRegionOps cpuhp_ops = {
    .read = cpuhp_read,
    .write = cpuhp_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

void acpi_cpuhp_init(AcpiCpuhp *hp, Device *owner)
{
    memset(hp->present, 0, sizeof hp->present);
    for (unsigned i = 0; i < owner->vm->smp.cpus; i++) {
        uint32_t id = x86_apic_id(owner->vm, i);

        if (id < 8 * sizeof hp->present) {
            hp->present[id / 8] |= BIT(id % 8);
        }
    }
    io_region_init(&hp->io, owner, &cpuhp_ops, "acpi-cpu-hotplug", sizeof hp->present);
    io_region_map(owner->vm, &hp->io, IO_SPACE_PIO, PIIX4_CPU_HOTPLUG_BASE, 0);
}

void acpi_cpuhp_exit(AcpiCpuhp *hp, Device *owner)
{
    io_region_unmap(owner->vm, &hp->io);
}

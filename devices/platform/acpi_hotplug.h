/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers by which the guest's ACPI code learns of added devices and of removal requests, and
 * by which it ejects devices. They are part of the power management device: its lock guards them,
 * and its general purpose events announce changes.
 */
#ifndef DEVICES_PLATFORM_ACPI_HOTPLUG_H
#define DEVICES_PLATFORM_ACPI_HOTPLUG_H

#include "devices/pci.h"

/* PCI slots of the root bus. */
#define ACPI_PCIHP_STATE(X)                                                                        \
    X(F, uint32_t, up)     /* slots with a new device, a bit each */                               \
    X(F, uint32_t, down)   /* slots whose device is to go */                                       \
    X(F, uint32_t, select) /* bus that the other registers are of */                               \
    X(F, uint32_t, acpi_index)
STATE_STRUCT(AcpiPcihpState, ACPI_PCIHP_STATE);
const StateDesc *acpi_pcihp_state_desc(void);

typedef struct {
    AcpiPcihpState s;
    Device *owner;
    void (*notify)(Device *owner); /* raises the event; lock held */
    PciBus *bus;
    IoRegion io;
    bool legacy; /* 'select' is fixed to 0, and reads do not clear 'up' */
    bool off;    /* additions are not announced; removal is refused */
} AcpiPcihp;

void acpi_pcihp_init(AcpiPcihp *hp, Device *owner, PciBus *bus, void (*notify)(Device *owner));
void acpi_pcihp_exit(AcpiPcihp *hp);
/* Removes the devices whose removal was requested: the guest that starts now does not know them. */
void acpi_pcihp_reset(AcpiPcihp *hp);
/* For PciBus's hot-plug callbacks. Main loop, without the lock. */
void acpi_pcihp_plugged(AcpiPcihp *hp, PciDevice *pci);
bool acpi_pcihp_unplug_request(AcpiPcihp *hp, PciDevice *pci, GError **err);
void acpi_pcihp_detached(AcpiPcihp *hp, PciDevice *pci);

/* CPUs: a bit for each present CPU, by APIC id. CPUs are not added or removed while the VM runs. */
typedef struct {
    IoRegion io;
    uint8_t present[32];
} AcpiCpuhp;
void acpi_cpuhp_init(AcpiCpuhp *hp, Device *owner);
void acpi_cpuhp_exit(AcpiCpuhp *hp, Device *owner);

#endif

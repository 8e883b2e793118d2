/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers by which ACPI code in the guest learns of devices that come and go, and lets them
 * go. They are part of the power management device: its lock guards them, its general purpose
 * events announce changes.
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
    uint32_t leaving; /* slots that were ejected and are being freed */
    bool legacy;      /* one bus, and 'up' stays until the guest ejects */
    bool off;         /* nothing is announced or ejected */
} AcpiPcihp;

void acpi_pcihp_init(AcpiPcihp *hp, Device *owner, PciBus *bus, void (*notify)(Device *owner));
void acpi_pcihp_exit(AcpiPcihp *hp);
/* What was asked to go, goes. */
void acpi_pcihp_reset(AcpiPcihp *hp);
/* For the bus's hooks, main loop, without the lock. */
void acpi_pcihp_plugged(AcpiPcihp *hp, PciDevice *pci);
bool acpi_pcihp_unplug_request(AcpiPcihp *hp, PciDevice *pci, GError **err);
void acpi_pcihp_detached(AcpiPcihp *hp, PciDevice *pci);

/* CPUs: a bit for each that is there, by APIC id. They do not come and go while the VM runs. */
typedef struct {
    IoRegion io;
    uint8_t present[32];
} AcpiCpuhp;
void acpi_cpuhp_init(AcpiCpuhp *hp, Device *owner);
void acpi_cpuhp_exit(AcpiCpuhp *hp, Device *owner);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chipset of the 'pc' board: what the board says to it, and what it does for the board. Main
 * thread, before the VM runs (or while it is paused).
 *
 * The board makes, in this order:
 *     host  = device_new(vm, "i440FX-pcihost", NULL, "i440fx", ...)     offers pci.0
 *     north = device_new(vm, "i440FX", BUS(pci.0), NULL, "addr", "0")
 *     piix3 = device_new(vm, "PIIX3", pci.0, NULL, "addr", "1.0")       offers isa.0
 *     pm    = device_new(vm, "PIIX4_PM", pci.0, NULL, "addr", "1.3")
 * and where the interrupt controllers are not in the kernel (qtest, kernel-irqchip=split):
 *     pic    = device_new(vm, "isa-i8259", isa.0, NULL)
 *     ioapic = device_new(vm, "ioapic", NULL, "ioapic")
 *     ioapic_connect(ioapic, pic)
 * and where the PIT is not: device_new(vm, "isa-pit", isa.0, NULL).
 */
#ifndef DEVICES_I440FX_H
#define DEVICES_I440FX_H

#include "devices/pci.h"

/*
 * The memory between 640 KiB and 1 MiB is the host bridge's: what lies there is RAM, ROM or nothing
 * by its PAM registers. The board maps RAM below 0xa0000 and from 1 MiB up, leaves the hole alone,
 * and says here which block's first MiB it is, and which part of a block is the firmware (bios may
 * be NULL): its last 128 KiB are seen below 1 MiB where RAM is not switched over it. The board maps
 * the firmware below 4 GiB itself.
 */
void i440fx_set_memory(Device *i440fx, RamBlock *ram, RamBlock *bios, uint64_t bios_offset,
                       uint64_t bios_size);
/* Memory regions of the chipset win over those mapped at lower priorities. */
#define I440FX_PAM_PRIORITY 2

/*
 * Leaves the chipset as firmware does before it boots something: RAM instead of ROM everywhere
 * below 1 MiB, PCI interrupts on IRQ 10 and 11 (level), the power management ports on. Call again
 * after each reset of a direct kernel boot; then pci_assign_resources(root, ..., i440fx_pci_irq).
 */
void i440fx_init_as_firmware(Vm *vm);
/* The IRQ line that these routes give to a device's pin (0 = A). */
uint8_t i440fx_pci_irq(PciDevice *pci, unsigned pin);

/* GSIs go to these two from now on, not to the accelerator. */
void ioapic_connect(Device *ioapic, Device *pic);

#endif

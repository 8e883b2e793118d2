/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chipset of the 'pc' board. Main thread, before the VM runs or while it is paused.
 *
 * The board creates, in this order:
 *     host  = device_new(vm, "i440FX-pcihost", NULL, "i440fx", ...)     offers pci.0
 *     north = device_new(vm, "i440FX", BUS(pci.0), NULL, "addr", "0")
 *     piix3 = device_new(vm, "PIIX3", pci.0, NULL, "addr", "1.0")       offers isa.0
 *     pm    = device_new(vm, "PIIX4_PM", pci.0, NULL, "addr", "1.3")
 * If the interrupt controllers are not in the kernel (qtest, kernel-irqchip=split), also:
 *     pic    = device_new(vm, "isa-i8259", isa.0, NULL)
 *     ioapic = device_new(vm, "ioapic", NULL, "ioapic")
 *     ioapic_connect(ioapic, pic)
 * If the PIT is not in the kernel, also: device_new(vm, "isa-pit", isa.0, NULL).
 */
#ifndef DEVICES_I440FX_H
#define DEVICES_I440FX_H

#include "devices/pci.h"

/*
 * The host bridge owns the memory from 768 KiB to 1 MiB: its PAM registers select RAM, ROM or
 * nothing for each segment. The board maps RAM below 640 KiB and from 1 MiB up, and leaves the hole
 * between them unmapped. 'ram' is the block whose first MiB covers the hole. 'bios' (may be NULL)
 * holds the firmware at bios_offset; its last 128 KiB are mapped below 1 MiB, under the segments
 * that are switched to RAM. The board itself maps the firmware below 4 GiB.
 */
void i440fx_set_memory(Device *i440fx, RamBlock *ram, RamBlock *bios, uint64_t bios_offset,
                       uint64_t bios_size);
/* Priority of the PAM segments: above 'bios' below 1 MiB, which is mapped at 0. */
#define I440FX_PAM_PRIORITY 2

/*
 * Programs the chipset as firmware does before it boots a kernel: RAM instead of ROM everywhere
 * below 1 MiB, PCI interrupts on IRQ 10 and 11 (level-triggered), power management ports on. A
 * direct kernel boot calls this after each reset, then pci_assign_resources(root, ...,
 * i440fx_pci_irq).
 */
void i440fx_init_as_firmware(Vm *vm);
/* The IRQ that a device's pin (0 = A) reaches by the routes of i440fx_init_as_firmware(). */
uint8_t i440fx_pci_irq(PciDevice *pci, unsigned pin);

/* Sends all GSIs to these two devices instead of the accelerator. pic may be NULL. */
void ioapic_connect(Device *ioapic, Device *pic);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the PCI layer share. */
#ifndef DEVICES_PCI_INTERNAL_H
#define DEVICES_PCI_INTERNAL_H

#include <linux/pci_regs.h>

#include "devices/pci.h"

#define PCI_UNMAPPED UINT64_MAX

static inline const PciDeviceInfo *pci_info(const PciDevice *pci)
{
    return pci->dev.class->bus_data;
}

/* Offset of BAR n (or of the ROM's) in configuration space. */
unsigned pci_bar_offset(const PciDevice *pci, unsigned n);
bool pci_bar_is_64bit(PciBarType type);
/* Maps and unmaps BARs as the command register and their addresses say. */
void pci_update_mappings(PciDevice *pci);
/* Sets the INTx line from s.intx_level, unless the command register, MSI or MSI-X disable INTx. */
void pci_update_intx(PciDevice *pci);
/* A configuration write by the guest. Device lock held. */
void pci_config_write_locked(PciDevice *pci, unsigned offset, uint32_t value, unsigned len);
/* Whether [offset, offset+len) touches [at, at+size). */
static inline bool pci_range_overlaps(unsigned offset, unsigned len, unsigned at, unsigned size)
{
    return offset < at + size && at < offset + len;
}

/* What the bus does before the class's realize, before its unrealize and after it. */
bool pci_device_setup(PciDevice *pci, GError **err);
void pci_device_vanish(PciDevice *pci); /* unmaps the BARs, lowers INTx */
void pci_device_teardown(PciDevice *pci);

/* The update functions follow a write to the capability, a reset or a load: they refresh the atomic
 * copies in PciDevice, then send pending messages that are no longer masked. */
void pci_msi_update(PciDevice *pci);
void pci_msi_reset(PciDevice *pci);
void pci_msix_update(PciDevice *pci);
void pci_msix_reset(PciDevice *pci);

/* The expansion ROM: the romfile property, or PciDeviceInfo.romfile. */
bool pci_rom_setup(PciDevice *pci, GError **err);
void pci_rom_teardown(PciDevice *pci);

/* "SCSI controller", or NULL for an unknown class. The fw name is for firmware paths: "scsi". */
const char *pci_class_name(uint16_t class_id);
const char *pci_class_fw_name(uint16_t class_id);
void pci_print_device(Bus *bus, Device *dev, GString *out, int indent);
char *pci_fw_path(Bus *bus, Device *dev);

#endif

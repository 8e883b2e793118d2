/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two register interfaces of virtio_pci.c. */
#ifndef VIRTIO_PCI_REGS_H
#define VIRTIO_PCI_REGS_H

#include "virtio_pci.h"

/* The modern BAR: a page for each structure. Notifications come last and may take several pages. */
#define MODERN_COMMON 0x0000
#define MODERN_ISR    0x1000
#define MODERN_DEVICE 0x2000
#define MODERN_NOTIFY 0x3000
#define MODERN_PAGE   0x1000

extern const IoRegionOps virtio_pci_modern_ops, virtio_pci_legacy_ops;

/* An access to the modern BAR, for VIRTIO_PCI_CAP_PCI_CFG. */
uint32_t virtio_pci_modern_read(VirtioPci *p, unsigned offset, unsigned len);
IoResult virtio_pci_modern_write(VirtioPci *p, unsigned offset, uint32_t value, unsigned len);
unsigned virtio_pci_legacy_size(VirtioPci *p);

/* Shared by both. Device lock held. */
uint8_t virtio_pci_read_isr(VirtioPci *p);
IoResult virtio_pci_write_status(VirtioPci *p, uint8_t status);
IoResult virtio_pci_reset_queue(VirtioPci *p, unsigned queue);
IoResult virtio_pci_enable_queue(VirtioPci *p);
void virtio_pci_kick(VirtioPci *p, unsigned queue);
uint16_t virtio_pci_check_vector(VirtioPci *p, uint16_t vector);
/* The queue that the driver has selected, or NULL. */
Virtqueue *virtio_pci_selected(VirtioPci *p, VirtqueueState **s);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The legacy register interface (4.1.4.10), in an I/O BAR. */
#include "virtio_pci_regs.h"

#include "../pci/pci_internal.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

/* The device's configuration begins behind the vector registers, which exist only with MSI-X. */
static unsigned config_start(VirtioPci *p)
{
    return VIRTIO_PCI_CONFIG_OFF(pci_msix_enabled(&p->pci));
}

unsigned virtio_pci_legacy_size(VirtioPci *p)
{
    unsigned size = VIRTIO_PCI_CONFIG_OFF(true) + p->vdev->config_size, bar = 32;

    while (bar < size) {
        bar *= 2;
    }
    return bar;
}

static uint32_t register_read(VirtioPci *p, unsigned offset)
{
    VirtioDevice *vdev = p->vdev;
    VirtqueueState *q = NULL;
    Virtqueue *vq = virtio_pci_selected(p, &q);

    switch (offset) {
    case VIRTIO_PCI_HOST_FEATURES:
        return vdev->host_features;
    case VIRTIO_PCI_GUEST_FEATURES:
        return vdev->s.guest_features;
    case VIRTIO_PCI_QUEUE_PFN:
        return vq ? q->desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT : 0;
    case VIRTIO_PCI_QUEUE_NUM:
        return vq ? virtqueue_max_size(vq) : 0;
    case VIRTIO_PCI_QUEUE_SEL:
        return p->s.queue_select;
    case VIRTIO_PCI_STATUS:
        return vdev->s.status;
    case VIRTIO_PCI_ISR:
        return virtio_pci_read_isr(p);
    case VIRTIO_MSI_CONFIG_VECTOR:
        return vdev->s.config_vector;
    case VIRTIO_MSI_QUEUE_VECTOR:
        return vq ? q->vector : VIRTIO_NO_VECTOR;
    default:
        return UINT32_MAX;
    }
}

static IoResult write_pfn(VirtioPci *p, uint32_t pfn)
{
    VirtqueueState *q = NULL;
    Virtqueue *vq = virtio_pci_selected(p, &q);

    if (pfn == 0) {
        return virtio_pci_write_status(p, 0); /* legacy drivers release a device by this */
    }
    if (!vq || q->enabled) {
        return IO_OK;
    }
    p->vdev->s.legacy = true;
    virtqueue_set_legacy_ring(vq, (uint64_t)pfn << VIRTIO_PCI_QUEUE_ADDR_SHIFT);
    return virtio_driver_ok(p->vdev) ? virtio_pci_enable_queue(p) : IO_OK;
}

static IoResult virtio_pci_legacy_write_status(VirtioPci *p, uint8_t status)
{
    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        /* Linux before 2.6.34 does not enable bus mastering. */
        pci_config_write_locked(&p->pci, PCI_COMMAND,
                                pci_config16(&p->pci, PCI_COMMAND) | PCI_COMMAND_MASTER, 2);
    }
    return virtio_pci_write_status(p, status);
}

static IoResult register_write(VirtioPci *p, unsigned offset, uint32_t value)
{
    VirtioDevice *vdev = p->vdev;
    VirtqueueState *q = NULL;
    Virtqueue *vq = virtio_pci_selected(p, &q);

    switch (offset) {
    case VIRTIO_PCI_GUEST_FEATURES:
        virtio_set_legacy_features(vdev, value);
        break;
    case VIRTIO_PCI_QUEUE_PFN:
        return write_pfn(p, value);
    case VIRTIO_PCI_QUEUE_SEL:
        p->s.queue_select = value;
        break;
    case VIRTIO_PCI_QUEUE_NOTIFY:
        virtio_pci_kick(p, value & 0xffff);
        break;
    case VIRTIO_PCI_STATUS:
        return virtio_pci_legacy_write_status(p, value);
    case VIRTIO_MSI_CONFIG_VECTOR:
        __atomic_store_n(&vdev->s.config_vector, virtio_pci_check_vector(p, value),
                         __ATOMIC_RELAXED);
        break;
    case VIRTIO_MSI_QUEUE_VECTOR:
        if (vq) {
            __atomic_store_n(&q->vector, virtio_pci_check_vector(p, value), __ATOMIC_RELAXED);
        }
        break;
    default:
        break;
    }
    return IO_OK;
}

static uint64_t legacy_read(IoRegion *r, uint64_t offset, unsigned size)
{
    VirtioPci *p = container_of(r, VirtioPci, legacy);

    if (offset >= config_start(p)) {
        return virtio_config_read(p->vdev, offset - config_start(p), size);
    }
    return register_read(p, offset);
}

static IoResult legacy_write(IoRegion *r, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = container_of(r, VirtioPci, legacy);

    if (offset >= config_start(p)) {
        virtio_config_write(p->vdev, offset - config_start(p), value, size);
        return IO_OK;
    }
    return register_write(p, offset, value);
}

const IoRegionOps virtio_pci_legacy_ops = {
    .read = legacy_read,
    .write = legacy_write,
    .impl_min = 1,
    .impl_max = 4,
};

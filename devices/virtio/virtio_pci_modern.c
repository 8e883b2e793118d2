/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The register interface of virtio 1.x (4.1.4), all of it in one BAR. */
#include "virtio_pci_regs.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

/* Newer than some systems' headers (4.1.4.3). */
#define COMMON_Q_NDATA 56
#define COMMON_Q_RESET 58
#define F_RING_RESET   40

static uint32_t common_read(VirtioPci *p, unsigned offset)
{
    VirtioDevice *vdev = p->vdev;
    VirtqueueState *q = NULL;
    Virtqueue *vq = virtio_pci_selected(p, &q);

    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        return p->s.device_feature_select;
    case VIRTIO_PCI_COMMON_DF:
        return p->s.device_feature_select > 1
                   ? 0
                   : virtio_modern_features(vdev) >> (32 * p->s.device_feature_select);
    case VIRTIO_PCI_COMMON_GFSELECT:
        return p->s.driver_feature_select;
    case VIRTIO_PCI_COMMON_GF:
        return p->s.driver_feature_select > 1
                   ? 0
                   : vdev->s.guest_features >> (32 * p->s.driver_feature_select);
    case VIRTIO_PCI_COMMON_MSIX:
        return vdev->s.config_vector;
    case VIRTIO_PCI_COMMON_NUMQ:
        return vdev->queue_count;
    case VIRTIO_PCI_COMMON_STATUS:
        return vdev->s.status;
    case VIRTIO_PCI_COMMON_CFGGENERATION:
        return virtio_config_generation(vdev);
    case VIRTIO_PCI_COMMON_Q_SELECT:
        return p->s.queue_select;
    default:
        break;
    }
    if (!vq) {
        return 0; /* 4.1.4.3.1: queue_size 0 means that the queue does not exist */
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        return q->size;
    case VIRTIO_PCI_COMMON_Q_MSIX:
        return q->vector;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        return q->enabled;
    case VIRTIO_PCI_COMMON_Q_NOFF:
        return p->s.queue_select;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
        return q->desc;
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        return q->desc >> 32;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
        return q->driver;
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        return q->driver >> 32;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
        return q->device;
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        return q->device >> 32;
    default:
        return 0; /* queue_notify_data; queue_reset: a reset is done before its write returns */
    }
}

static void set_half(uint64_t *reg, uint32_t value, bool high)
{
    *reg =
        high ? (*reg & UINT32_MAX) | (uint64_t)value << 32 : (*reg & ~(uint64_t)UINT32_MAX) | value;
}

static void write_features(VirtioPci *p, uint32_t value)
{
    VirtioDevice *vdev = p->vdev;

    /* 3.1.1: FEATURES_OK ends the negotiation. */
    if (p->s.driver_feature_select <= 1 && !(vdev->s.status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        set_half(&vdev->s.guest_features, value, p->s.driver_feature_select);
    }
}

static void write_queue_size(VirtioPci *p, Virtqueue *vq, VirtqueueState *q, uint32_t value)
{
    bool packed = virtio_has_feature(p->vdev, VIRTIO_F_RING_PACKED);

    if (value && value <= virtqueue_max_size(vq) && (packed || is_power_of_2(value))) {
        q->size = value;
    }
}

static IoResult queue_write(VirtioPci *p, unsigned offset, uint32_t value)
{
    VirtioDevice *vdev = p->vdev;
    VirtqueueState *q = NULL;
    Virtqueue *vq = virtio_pci_selected(p, &q);

    if (!vq) {
        return IO_OK;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_MSIX:
        __atomic_store_n(&q->vector, virtio_pci_check_vector(p, value), __ATOMIC_RELAXED);
        return IO_OK;
    case COMMON_Q_RESET:
        if (value == 1 && virtio_has_feature(vdev, F_RING_RESET)) {
            return virtio_pci_reset_queue(p, p->s.queue_select);
        }
        return IO_OK;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        /* 4.1.4.3.2: drivers write only 1; a reset disables the queue. */
        if (value == 1 && !q->enabled) {
            q->enabled = true;
            if (virtio_driver_ok(vdev)) {
                return virtio_pci_enable_queue(p);
            }
        }
        return IO_OK;
    default:
        break;
    }
    if (q->enabled) {
        return IO_OK; /* an enabled queue's ring cannot be changed */
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        write_queue_size(p, vq, q, value);
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_half(&q->desc, value, offset == VIRTIO_PCI_COMMON_Q_DESCHI);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_half(&q->driver, value, offset == VIRTIO_PCI_COMMON_Q_AVAILHI);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_half(&q->device, value, offset == VIRTIO_PCI_COMMON_Q_USEDHI);
        break;
    default:
        break;
    }
    return IO_OK;
}

static IoResult common_write(VirtioPci *p, unsigned offset, uint32_t value)
{
    VirtioDevice *vdev = p->vdev;

    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        p->s.device_feature_select = value;
        return IO_OK;
    case VIRTIO_PCI_COMMON_GFSELECT:
        p->s.driver_feature_select = value;
        return IO_OK;
    case VIRTIO_PCI_COMMON_GF:
        write_features(p, value);
        return IO_OK;
    case VIRTIO_PCI_COMMON_MSIX:
        __atomic_store_n(&vdev->s.config_vector, virtio_pci_check_vector(p, value),
                         __ATOMIC_RELAXED);
        return IO_OK;
    case VIRTIO_PCI_COMMON_STATUS:
        return virtio_pci_write_status(p, value);
    case VIRTIO_PCI_COMMON_Q_SELECT:
        p->s.queue_select = value;
        return IO_OK;
    default:
        return queue_write(p, offset, value);
    }
}

static uint32_t virtio_pci_modern_cut(uint32_t value, unsigned len)
{
    return len < 4 ? value & (BIT(8 * len) - 1) : value;
}

uint32_t virtio_pci_modern_read(VirtioPci *p, unsigned offset, unsigned len)
{
    switch (offset & ~(MODERN_PAGE - 1)) {
    case MODERN_COMMON:
        return virtio_pci_modern_cut(common_read(p, offset), len);
    case MODERN_ISR:
        return offset == MODERN_ISR ? virtio_pci_read_isr(p) : 0;
    case MODERN_DEVICE:
        return virtio_config_read(p->vdev, offset - MODERN_DEVICE, len);
    default:
        return 0;
    }
}

IoResult virtio_pci_modern_write(VirtioPci *p, unsigned offset, uint32_t value, unsigned len)
{
    switch (offset & ~(MODERN_PAGE - 1)) {
    case MODERN_COMMON:
        return common_write(p, offset, value);
    case MODERN_ISR:
        return IO_OK;
    case MODERN_DEVICE:
        virtio_config_write(p->vdev, offset - MODERN_DEVICE, value, len);
        return IO_OK;
    default:
        virtio_pci_kick(p, (offset - MODERN_NOTIFY) / p->notify_stride);
        return IO_OK;
    }
}

static uint64_t modern_read(IoRegion *r, uint64_t offset, unsigned size)
{
    return virtio_pci_modern_read(container_of(r, VirtioPci, modern), offset, size);
}

static IoResult modern_write(IoRegion *r, uint64_t offset, uint64_t value, unsigned size)
{
    return virtio_pci_modern_write(container_of(r, VirtioPci, modern), offset, value, size);
}

const IoRegionOps virtio_pci_modern_ops = {
    .read = modern_read,
    .write = modern_write,
    .impl_min = 1,
    .impl_max = 4,
};

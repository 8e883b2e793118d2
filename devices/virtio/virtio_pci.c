/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio over PCI (4.1): capabilities, BARs, interrupts, and deferred register writes. The register
 * interfaces are in virtio_pci_modern.c and virtio_pci_legacy.c.
 */
#include "virtio_pci_regs.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include "base/error.h"
#include "base/log.h"

STATE_DESC_PUBLIC(virtio_pci, VirtioPciState, VIRTIO_PCI_STATE, 1);

const StateSection virtio_pci_state[] = {
    PCI_STATE(VirtioPci, pci),
    {virtio_pci_state_desc, offsetof(VirtioPci, s)},
    {0},
};

#define LEGACY_BAR 0
#define MSIX_BAR   1
#define MODERN_BAR 4

static VirtioPci *virtio_pci(Device *dev)
{
    return container_of(dev, VirtioPci, pci.dev);
}

/* Interrupts. */

static void intx_bh_fired(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    pci_set_irq(&p->pci, !pci_msix_enabled(&p->pci) &&
                             __atomic_load_n(&p->vdev->s.isr, __ATOMIC_ACQUIRE) != 0);
}

/* Any thread, with or without the device lock: INTx is therefore left to a bottom half. */
static void virtio_pci_notify(VirtioDevice *vdev, uint16_t vector, uint8_t isr_bits)
{
    VirtioPci *p = virtio_pci(vdev->proxy);

    /* All queues' loops share this cache line, so it is written only to change it. */
    if ((__atomic_load_n(&vdev->s.isr, __ATOMIC_RELAXED) & isr_bits) != isr_bits) {
        __atomic_fetch_or(&vdev->s.isr, isr_bits, __ATOMIC_ACQ_REL);
    }
    if (!pci_msix_enabled(&p->pci)) {
        device_bh_schedule(p->intx_bh);
    } else if (vector < p->pci.msix_count) {
        pci_msix_notify(&p->pci, vector);
    }
}

uint8_t virtio_pci_read_isr(VirtioPci *p)
{
    uint8_t isr = virtio_take_isr(p->vdev);

    pci_set_irq(&p->pci, false);
    return isr;
}

/* A vector that does not exist reads back as NO_VECTOR (4.1.5.1.2.1). */
uint16_t virtio_pci_check_vector(VirtioPci *p, uint16_t vector)
{
    return vector < p->pci.msix_count ? vector : VIRTIO_NO_VECTOR;
}

/* Kicks. */

void virtio_pci_kick(VirtioPci *p, unsigned queue)
{
    if (queue < p->vdev->queue_count) {
        virtqueue_kick(p->vdev->queues[queue]);
    }
}

static void eventfds_stop(VirtioPci *p)
{
    for (unsigned i = 0; i < VIRTIO_QUEUE_MAX; i++) {
        if (p->eventfds[i]) {
            io_eventfd_remove(p->pci.dev.vm, g_steal_pointer(&p->eventfds[i]));
        }
    }
}

/* For DRIVER_OK: gives enabled queues ioeventfds, in the interface that the driver uses. */
static void eventfds_start(VirtioPci *p)
{
    VirtioDevice *vdev = p->vdev;
    Vm *vm = p->pci.dev.vm;

    for (unsigned i = 0; p->ioeventfd && i < vdev->queue_count; i++) {
        int fd;

        if (p->eventfds[i] || !virtqueue_ready(vdev->queues[i])) {
            continue;
        }
        fd = virtqueue_kick_fd(vdev->queues[i]);
        if (fd < 0) {
            continue; /* kicks then exit to virtio_pci_kick() */
        }
        if (vdev->s.legacy) {
            p->eventfds[i] =
                io_eventfd_add(vm, &p->legacy, VIRTIO_PCI_QUEUE_NOTIFY, 2, true, i, fd);
        } else {
            p->eventfds[i] = io_eventfd_add(vm, &p->modern, MODERN_NOTIFY + i * p->notify_stride, 0,
                                            false, 0, fd);
        }
    }
}

/* Register writes that wait for the queues' loops, as coroutines on the main loop. */

static IoResult virtio_pci_defer(VirtioPci *p, DeviceFn fn)
{
    if (device_deferred(&p->pci.dev)) {
        return IO_OK; /* only by one access through VIRTIO_PCI_CAP_PCI_CFG: the second is lost */
    }
    device_defer(&p->pci.dev, fn);
    return IO_DEFER;
}

static void reset_registers(VirtioPci *p)
{
    p->s = (VirtioPciState){0};
    pci_set_irq(&p->pci, false);
}

static void coroutine_fn deferred_status(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);
    uint8_t status = p->deferred_status;

    device_lock(dev);
    if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        eventfds_stop(p);
    }
    virtio_set_dma(p->vdev, pci_can_dma(&p->pci));
    device_unlock(dev);
    virtio_set_status_deferred(p->vdev, status);
    device_lock(dev);
    if (status == 0) {
        reset_registers(p);
    } else if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        eventfds_start(p);
    }
    device_unlock(dev);
}

IoResult virtio_pci_write_status(VirtioPci *p, uint8_t status)
{
    if (!virtio_status_needs_defer(p->vdev, status)) {
        virtio_set_status(p->vdev, status);
        return IO_OK;
    }
    p->deferred_status = status;
    return virtio_pci_defer(p, deferred_status);
}

static void coroutine_fn deferred_queue_reset(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);
    unsigned queue = p->deferred_queue;

    device_lock(dev);
    if (p->eventfds[queue]) {
        io_eventfd_remove(dev->vm, g_steal_pointer(&p->eventfds[queue]));
    }
    device_unlock(dev);
    virtio_queue_reset(p->vdev, queue);
}

IoResult virtio_pci_reset_queue(VirtioPci *p, unsigned queue)
{
    p->deferred_queue = queue;
    return virtio_pci_defer(p, deferred_queue_reset);
}

static void deferred_queue_enable(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    virtio_queue_enable_deferred(p->vdev);
    device_lock(dev);
    eventfds_start(p);
    device_unlock(dev);
}

IoResult virtio_pci_enable_queue(VirtioPci *p)
{
    return virtio_pci_defer(p, deferred_queue_enable);
}

static uint16_t virtio_pci_queue_selected(VirtioDevice *vdev)
{
    return virtio_pci(vdev->proxy)->s.queue_select;
}

Virtqueue *virtio_pci_selected(VirtioPci *p, VirtqueueState **s)
{
    if (p->s.queue_select >= p->vdev->queue_count) {
        return NULL;
    }
    *s = &p->vdev->s.vq[p->s.queue_select];
    return p->vdev->queues[p->s.queue_select];
}

/* Configuration space. */

/* VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9): gives firmware access to the modern BAR without mapping it. */
static bool virtio_pci_window(VirtioPci *p, unsigned offset, unsigned len, uint32_t *target,
                              unsigned *size)
{
    const uint8_t *cap = p->pci.s.config + p->cfg_cap;
    unsigned data = p->cfg_cap + sizeof(struct virtio_pci_cap);
    uint32_t length;

    if (!p->cfg_cap || offset >= data + 4 || offset + len <= data) {
        return false;
    }
    *target = ldle32(cap + VIRTIO_PCI_CAP_OFFSET);
    length = ldle32(cap + VIRTIO_PCI_CAP_LENGTH);
    *size = length;
    return cap[VIRTIO_PCI_CAP_BAR] == MODERN_BAR && (length == 1 || length == 2 || length == 4) &&
           IS_ALIGNED(*target, length) && *target < p->modern.size;
}

void virtio_pci_config_reading(PciDevice *pci, unsigned offset, unsigned len)
{
    VirtioPci *p = virtio_pci(&pci->dev);
    uint32_t target;
    unsigned size;

    if (virtio_pci_window(p, offset, len, &target, &size)) {
        stle32(pci->s.config + p->cfg_cap + sizeof(struct virtio_pci_cap),
               virtio_pci_modern_read(p, target, size));
    }
}

void virtio_pci_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    VirtioPci *p = virtio_pci(&pci->dev);
    uint32_t target;
    unsigned size;

    if (offset < PCI_COMMAND + 2 && offset + len > PCI_COMMAND) {
        virtio_set_dma(p->vdev, pci_can_dma(pci));
    }
    if (virtio_pci_window(p, offset, len, &target, &size)) {
        uint32_t value = pci_config32(pci, p->cfg_cap + sizeof(struct virtio_pci_cap));

        if (size < 4) {
            value &= BIT(8 * size) - 1;
        }
        virtio_pci_modern_write(p, target, value, size);
    }
}

static uint8_t add_cap(VirtioPci *p, uint8_t type, uint32_t offset, uint32_t length, uint8_t size)
{
    uint8_t cap = pci_add_capability(&p->pci, PCI_CAP_ID_VNDR, 0, size);
    uint8_t *c = p->pci.s.config + cap;

    c[VIRTIO_PCI_CAP_LEN] = size;
    c[VIRTIO_PCI_CAP_CFG_TYPE] = type;
    c[VIRTIO_PCI_CAP_BAR] = MODERN_BAR;
    stle32(c + VIRTIO_PCI_CAP_OFFSET, offset);
    stle32(c + VIRTIO_PCI_CAP_LENGTH, length);
    return cap;
}

static void add_modern(VirtioPci *p)
{
    uint32_t notify_size = MAX(p->notify_stride * VIRTIO_QUEUE_MAX, MODERN_PAGE);
    uint64_t size = MODERN_NOTIFY + notify_size;
    uint8_t cap;

    while (!is_power_of_2(size)) {
        size += size & -size;
    }
    io_region_init(&p->modern, &p->pci.dev, &virtio_pci_modern_ops, "virtio-pci", size);
    pci_register_bar(&p->pci, MODERN_BAR, PCI_BAR_MEM64_PREFETCH, &p->modern);
    add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, MODERN_COMMON, MODERN_PAGE,
            sizeof(struct virtio_pci_cap));
    add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, MODERN_ISR, MODERN_PAGE, sizeof(struct virtio_pci_cap));
    add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, MODERN_DEVICE, MODERN_PAGE,
            sizeof(struct virtio_pci_cap));
    cap = add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, MODERN_NOTIFY, notify_size,
                  sizeof(struct virtio_pci_notify_cap));
    stle32(p->pci.s.config + cap + VIRTIO_PCI_NOTIFY_CAP_MULT, p->notify_stride);

    cap = add_cap(p, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, sizeof(struct virtio_pci_cfg_cap));
    p->pci.s.config[cap + VIRTIO_PCI_CAP_BAR] = 0;
    p->pci.wmask[cap + VIRTIO_PCI_CAP_BAR] = 0xff;
    memset(p->pci.wmask + cap + VIRTIO_PCI_CAP_OFFSET, 0xff, 4 + 4 + 4);
    p->cfg_cap = cap;
}

/* The PCI ids depend on the interfaces (4.1.2). */
static void set_identity(VirtioPci *p)
{
    const VirtioPciInfo *info = p->pci.dev.class->bus_data;
    uint8_t *config = p->pci.s.config;

    if (p->has_legacy) {
        stle16(config + PCI_DEVICE_ID, info->transitional_id);
        stle16(config + PCI_SUBSYSTEM_ID, info->virtio_id);
        config[PCI_REVISION_ID] = 0;
    } else {
        stle16(config + PCI_DEVICE_ID, 0x1040 + info->virtio_id);
        stle16(config + PCI_SUBSYSTEM_ID, PCI_SUBDEVICE_ID_QEMU);
        config[PCI_REVISION_ID] = 1;
    }
    pci_rom_adopt(&p->pci);
}

/* Life. */

static bool choose_interfaces(VirtioPci *p, GError **err)
{
    const VirtioPciInfo *info = p->pci.dev.class->bus_data;

    p->has_legacy = info->kind == VIRTIO_PCI_TRANSITIONAL ||
                    (info->kind == VIRTIO_PCI_GENERIC && p->disable_legacy != ON_OFF_AUTO_ON);
    p->has_modern = info->kind != VIRTIO_PCI_GENERIC || !p->disable_modern;
    if (!p->has_legacy && !p->has_modern) {
        return error_set(err, "device cannot work as neither modern nor legacy mode is enabled; "
                              "set either disable-modern or disable-legacy to off");
    }
    if (p->vdev->props.iommu_platform && p->has_legacy) {
        return error_set(err, "iommu_platform=on needs a device without the legacy interface "
                              "(disable-legacy=on)");
    }
    if (p->vectors != VIRTIO_PCI_VECTORS_AUTO && p->vectors > PCI_MSIX_MAX) {
        return error_set(err, "vectors=%u: at most %u are possible", p->vectors, PCI_MSIX_MAX);
    }
    return true;
}

static void init_msix(VirtioPci *p)
{
    unsigned n = p->vectors == VIRTIO_PCI_VECTORS_AUTO ? p->vdev->queue_count + 1 : p->vectors;
    g_autoptr(GError) err = NULL;

    if (n && !pci_msix_init(&p->pci, n, MSIX_BAR, NULL, 0, 0x800, &err)) {
        log_warn("%s: no MSI-X: %s", p->pci.dev.path, err->message);
    }
}

bool virtio_pci_realize(Device *dev, GError **err)
{
    VirtioPci *p = virtio_pci(dev);
    Device *child = dev->child;

    p->vdev = container_of(child, VirtioDevice, dev);
    if (!choose_interfaces(p, err)) {
        return false;
    }
    p->notify_stride = p->page_per_vq ? MODERN_PAGE : 4;
    bus_init(&p->bus, &virtio_bus_class, dev->vm, dev, "virtio-bus");
    bus_add_child(&p->bus, child);
    p->vdev->proxy = dev;
    if (!device_realize(child, err)) {
        child->bus = NULL;
        bus_destroy(&p->bus);
        return false;
    }
    /* Nothing may fail from here on: the core would not unrealize the child. */
    p->intx_bh = device_bh_new(dev, intx_bh_fired);
    p->vdev->notify = virtio_pci_notify;
    p->vdev->queue_selected = virtio_pci_queue_selected;
    virtio_bus_plug(p->vdev, dev);
    if (!p->has_modern) {
        p->vdev->host_features &= UINT32_MAX;
    }
    set_identity(p);
    init_msix(p);
    if (p->has_modern) {
        add_modern(p);
    }
    if (p->has_legacy) {
        io_region_init(&p->legacy, dev, &virtio_pci_legacy_ops, "virtio-pci-legacy",
                       virtio_pci_legacy_size(p));
        pci_register_bar(&p->pci, LEGACY_BAR, PCI_BAR_IO, &p->legacy);
    }
    return true;
}

void virtio_pci_unrealize(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    eventfds_stop(p);
    pci_msix_exit(&p->pci);
    dev->child->bus = NULL;
    bus_destroy(&p->bus);
}

void virtio_pci_reset(Device *dev, ResetKind kind)
{
    VirtioPci *p = virtio_pci(dev);

    eventfds_stop(p);
    reset_registers(p);
    pci_device_reset(&p->pci);
    virtio_set_dma(p->vdev, false);
    if (p->cfg_cap) {
        /* VIRTIO_PCI_CAP_PCI_CFG's own registers. */
        uint8_t *cap = p->pci.s.config + p->cfg_cap;

        cap[VIRTIO_PCI_CAP_BAR] = 0;
        memset(cap + VIRTIO_PCI_CAP_OFFSET, 0, 4 + 4 + 4);
    }
}

void virtio_pci_post_load(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    pci_device_post_load(dev);
    eventfds_stop(p);
    virtio_set_dma(p->vdev, pci_can_dma(&p->pci));
    if (p->vdev->s.started) {
        eventfds_start(p);
    }
}

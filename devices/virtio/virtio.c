/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core of every virtio device: status, features, configuration, start and stop (2, 3). */
#include "virtqueue_internal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"

STATE_DESC(virtqueue, VirtqueueState, VIRTQUEUE_STATE, 1);
STATE_DESC_PUBLIC(virtio_device, VirtioDeviceState, VIRTIO_DEVICE_STATE, 1);

#define PROP_COMMON(n, f, d, h) PROP(n, PROP_BOOL, VirtioDevice, props.f, d, h)
#define PROP_COMMON_FIXED(n, f, d, h)                                                              \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(VirtioDevice, props.f), .defval = (d),  \
        .help = (h), .flags = PROP_FLAG_FIXED                                                      \
    }

const Property virtio_common_props[] = {
    PROP_COMMON("indirect_desc", indirect_desc, "on", "offer indirect descriptor tables"),
    PROP_COMMON("event_idx", event_idx, "on", "offer event indices"),
    PROP_COMMON("notify_on_empty", notify_on_empty, "on", "offer interrupts on an empty ring"),
    PROP_COMMON("any_layout", any_layout, "on", "offer any layout of buffers"),
    PROP_COMMON("iommu_platform", iommu_platform, "off", "offer addresses behind an IOMMU"),
    PROP_COMMON("packed", packed, "off", "offer packed rings"),
    PROP_COMMON("queue_reset", queue_reset, "on", "offer the reset of single queues"),
    PROP_COMMON_FIXED("use-started", use_started, "on", "start at the first kick of old drivers"),
    PROP_COMMON_FIXED("use-disabled-flag", use_disabled_flag, "on", "stop without bus mastering"),
    PROP_COMMON_FIXED("x-disable-legacy-check", legacy_check, "off", "allow legacy anywhere"),
    PROP_COMMON_FIXED("x-ignore-backend-features", ignore_backend, "off",
                      "offer what the backend cannot do"),
    PROP_END,
};

const BusClass virtio_bus_class = {.type = "virtio-bus", .max_children = 1};

/* Life. */

static void config_bh_fired(Device *dev)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    if (virtio_driver_ok(vdev) && vdev->notify) {
        /* 4.1.4.5: bit 1 of the ISR. */
        vdev->notify(vdev, __atomic_load_n(&vdev->s.config_vector, __ATOMIC_RELAXED), 2);
    }
}

static void error_bh_fired(Device *dev)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    /* 2.1.2. Legacy drivers do not know NEEDS_RESET. */
    if (virtio_broken(vdev) && virtio_has_feature(vdev, VIRTIO_F_VERSION_1) &&
        !(vdev->s.status & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        __atomic_store_n(&vdev->s.status, vdev->s.status | VIRTIO_CONFIG_S_NEEDS_RESET,
                         __ATOMIC_RELAXED);
        config_bh_fired(dev);
    }
}

static void start_device(VirtioDevice *vdev);

static void late_start_bh_fired(Device *dev)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    if (!vdev->started && vdev->s.legacy && vdev->s.status) {
        start_device(vdev);
    }
}

bool virtio_init(VirtioDevice *vdev, const VirtioClass *vclass, GError **err)
{
    Device *dev = &vdev->dev;

    vdev->vclass = vclass;
    vdev->config_size = vclass->config_size;
    vdev->config = g_malloc0(MAX(vclass->config_size, 1));
    vdev->vm_running = vm_running(dev->vm);
    vdev->dma_on = true;
    vdev->s.config_vector = VIRTIO_NO_VECTOR;
    vdev->config_bh = device_bh_new(dev, config_bh_fired);
    vdev->error_bh = device_bh_new(dev, error_bh_fired);
    vdev->late_start_bh = device_bh_new(dev, late_start_bh_fired);
    return true;
}

void virtio_exit(VirtioDevice *vdev)
{
    while (vdev->queue_count) {
        virtqueue_free(g_steal_pointer(&vdev->queues[--vdev->queue_count]));
    }
    g_clear_pointer(&vdev->config, g_free);
}

static uint64_t offered_features(VirtioDevice *vdev)
{
    uint64_t f = BIT64(VIRTIO_F_VERSION_1);

    f |= vdev->props.indirect_desc ? BIT64(VIRTIO_RING_F_INDIRECT_DESC) : 0;
    f |= vdev->props.event_idx ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0;
    f |= vdev->props.notify_on_empty ? BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) : 0;
    f |= vdev->props.any_layout ? BIT64(VIRTIO_F_ANY_LAYOUT) : 0;
    f |= vdev->props.iommu_platform ? BIT64(VIRTIO_F_ACCESS_PLATFORM) : 0;
    f |= vdev->props.packed ? BIT64(VIRTIO_F_RING_PACKED) : 0;
    f |= vdev->props.queue_reset ? BIT64(VIRTIO_F_RING_RESET) : 0;
    return vdev->vclass->get_features ? vdev->vclass->get_features(vdev, f) : f;
}

/* Follows the device's realize: fixes the offered features and lets the queues listen. */
void virtio_bus_plug(VirtioDevice *vdev, Device *proxy)
{
    vdev->proxy = proxy;
    vdev->host_features = offered_features(vdev);
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        virtqueue_attach(vdev->queues[i]);
    }
}

/* Errors. */

bool virtio_broken(const VirtioDevice *vdev)
{
    return __atomic_load_n(&vdev->s.broken, __ATOMIC_RELAXED);
}

/* Only the first error goes to stderr: a guest can cause any number of them. */
static void virtio_complain(VirtioDevice *vdev, unsigned queue, const char *why)
{
    const Device *dev = vdev->proxy ? vdev->proxy : &vdev->dev;

    if (!__atomic_exchange_n(&vdev->complained, true, __ATOMIC_RELAXED)) {
        log_warn("%s at %s stops until its driver resets it: queue %u: %s", dev->class->name,
                 dev->path, queue, why);
    } else {
        log_guest_error("%s: queue %u: %s", dev->path, queue, why);
    }
}

void virtqueue_error(Virtqueue *vq, const char *fmt, ...)
{
    VirtioDevice *vdev = vq->vdev;
    va_list ap;

    if (!__atomic_exchange_n(&vdev->s.broken, true, __ATOMIC_RELAXED)) {
        va_start(ap, fmt);
        g_autofree char *why = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        virtio_complain(vdev, vq->index, why);
    }
    if (vdev->error_bh) {
        device_bh_schedule(vdev->error_bh);
    }
}

/* Start and stop. On the main loop. */

static void update_running(VirtioDevice *vdev)
{
    bool on = vdev->started && vdev->vm_running;

    for (unsigned i = 0; i < vdev->queue_count; i++) {
        Virtqueue *vq = vdev->queues[i];

        virtqueue_set_running(vq, on && virtqueue_ready(vq));
        if (on && virtqueue_ready(vq)) {
            virtqueue_kick(vq); /* for chains that were added while the queue did not run */
        }
    }
}

/* Device lock held. Called again for queues that are enabled later (legacy drivers, RING_RESET). */
static void start_device(VirtioDevice *vdev)
{
    if (virtio_broken(vdev)) {
        return;
    }
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        Virtqueue *vq = vdev->queues[i];

        if (virtqueue_ready(vq) && !vq->started && !virtqueue_start(vq)) {
            return;
        }
    }
    if (!vdev->started) {
        vdev->started = vdev->s.started = true;
        if (vdev->vclass->start) {
            vdev->vclass->start(vdev);
        }
    }
    update_running(vdev);
}

static void virtio_quiet(VirtioDevice *vdev)
{
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        virtqueue_set_running(vdev->queues[i], false);
    }
}

/* Device lock held. The queues do not run and no request is in flight. */
static void stop_device(VirtioDevice *vdev)
{
    if (vdev->started) {
        vdev->started = vdev->s.started = false;
        if (vdev->vclass->stop) {
            vdev->vclass->stop(vdev);
        }
    }
}

static void virtio_reset_device(VirtioDevice *vdev)
{
    trace(virtio_reset, virtio_label(vdev));
    stop_device(vdev);
    if (vdev->vclass->reset) {
        vdev->vclass->reset(vdev);
    }
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        virtqueue_reset(vdev->queues[i]);
    }
    __atomic_store_n(&vdev->s.status, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&vdev->s.isr, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&vdev->s.broken, false, __ATOMIC_RELAXED);
    vdev->s.legacy = false;
    vdev->s.guest_features = 0;
    vdev->s.config_vector = VIRTIO_NO_VECTOR;
}

/* Waits for requests: they must not write to memory that the driver reuses after a reset. */
static void coroutine_fn virtio_drain(VirtioDevice *vdev, Virtqueue *vq)
{
    if (vdev->vclass->drain) {
        vdev->vclass->drain(vdev, vq);
    }
}

static void virtio_take_back(VirtioDevice *vdev, Virtqueue *vq)
{
    if (vdev->vclass->take_back) {
        vdev->vclass->take_back(vdev, vq);
    }
}

void coroutine_fn virtio_reset(VirtioDevice *vdev)
{
    virtio_quiet(vdev);
    virtio_take_back(vdev, NULL);
    virtio_drain(vdev, NULL);
    device_lock(&vdev->dev);
    virtio_reset_device(vdev);
    device_unlock(&vdev->dev);
}

void coroutine_fn virtio_queue_reset(VirtioDevice *vdev, unsigned queue)
{
    Virtqueue *vq = vdev->queues[queue];

    trace(virtio_queue_reset, virtio_label(vdev), queue);
    virtqueue_set_running(vq, false);
    virtio_take_back(vdev, vq);
    virtio_drain(vdev, vq);
    device_lock(&vdev->dev);
    if (vdev->vclass->queue_reset) {
        vdev->vclass->queue_reset(vdev, vq);
    }
    virtqueue_reset(vq);
    device_unlock(&vdev->dev);
}

void virtio_queue_enable_deferred(VirtioDevice *vdev)
{
    device_lock(&vdev->dev);
    if (vdev->started) {
        start_device(vdev);
    }
    device_unlock(&vdev->dev);
}

/* The machine's reset. The VM is paused, so no request is in flight or held. */
void virtio_device_reset(Device *dev, ResetKind kind)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    virtio_quiet(vdev);
    virtio_take_back(vdev, NULL);
    virtio_reset_device(vdev);
    vdev->s.config_generation = 0;
}

void virtio_device_run_state(Device *dev, bool running)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    vdev->vm_running = running;
    if (running) {
        update_running(vdev);
        return;
    }
    virtio_quiet(vdev);
    if (vdev->started && vdev->vclass->pause) {
        vdev->vclass->pause(vdev);
    }
}

void coroutine_fn virtio_device_drain(Device *dev)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    virtio_quiet(vdev);
    if (dev->leaving) {
        virtio_take_back(vdev, NULL);
    }
    virtio_drain(vdev, NULL);
    /* A home loop that comes to it later would look into the ring of a device that is gone. */
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        virtqueue_notify_owed(vdev->queues[i]);
    }
}

/* Status and features. */

bool virtio_driver_ok(const VirtioDevice *vdev)
{
    return __atomic_load_n(&vdev->s.status, __ATOMIC_RELAXED) & VIRTIO_CONFIG_S_DRIVER_OK;
}

bool virtio_status_needs_defer(VirtioDevice *vdev, uint8_t status)
{
    return status == 0 || ((status ^ vdev->s.status) & VIRTIO_CONFIG_S_DRIVER_OK);
}

uint64_t virtio_modern_features(const VirtioDevice *vdev)
{
    return vdev->host_features & ~(BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT64(VIRTIO_F_ANY_LAYOUT) |
                                   vdev->vclass->legacy_features);
}

static bool accept_features(VirtioDevice *vdev)
{
    uint64_t f = vdev->s.guest_features;

    if (f & ~virtio_modern_features(vdev)) {
        log_guest_error("%s: the driver wants features that are not offered: 0x%" G_GINT64_MODIFIER
                        "x",
                        vdev->dev.path, f & ~virtio_modern_features(vdev));
        return false;
    }
    /* 6.1: without ACCESS_PLATFORM the driver would pass addresses that are not the IOMMU's. */
    if (vdev->props.iommu_platform && !(f & BIT64(VIRTIO_F_ACCESS_PLATFORM))) {
        return false;
    }
    return !vdev->vclass->set_features || vdev->vclass->set_features(vdev, f);
}

void virtio_set_status(VirtioDevice *vdev, uint8_t status)
{
    /* 3.1.1: the driver reads FEATURES_OK back to see whether its features were accepted. */
    if ((status & ~vdev->s.status & VIRTIO_CONFIG_S_FEATURES_OK) && !accept_features(vdev)) {
        status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
    }
    /* The device sets NEEDS_RESET, and only a reset clears it. */
    status |= vdev->s.status & VIRTIO_CONFIG_S_NEEDS_RESET;
    trace(virtio_set_status, virtio_label(vdev), status);
    __atomic_store_n(&vdev->s.status, status, __ATOMIC_RELAXED);
}

void coroutine_fn virtio_set_status_deferred(VirtioDevice *vdev, uint8_t status)
{
    if (status == 0) {
        virtio_reset(vdev);
        return;
    }
    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        device_lock(&vdev->dev);
        virtio_set_status(vdev, status);
        start_device(vdev);
        device_unlock(&vdev->dev);
        return;
    }
    virtio_quiet(vdev);
    virtio_drain(vdev, NULL);
    device_lock(&vdev->dev);
    stop_device(vdev);
    virtio_set_status(vdev, status);
    device_unlock(&vdev->dev);
}

void virtio_set_legacy_features(VirtioDevice *vdev, uint32_t features)
{
    features &= (uint32_t)vdev->host_features;
    if (!vdev->started) {
        vdev->s.guest_features = features;
        if (vdev->vclass->set_features) {
            vdev->vclass->set_features(vdev, features);
        }
    }
}

void virtio_set_dma(VirtioDevice *vdev, bool on)
{
    if (__atomic_exchange_n(&vdev->dma_on, on, __ATOMIC_RELAXED) || !on) {
        return;
    }
    for (unsigned i = 0; vdev->started && i < vdev->queue_count; i++) {
        virtqueue_kick(vdev->queues[i]);
    }
}

uint8_t virtio_take_isr(VirtioDevice *vdev)
{
    return __atomic_exchange_n(&vdev->s.isr, 0, __ATOMIC_ACQ_REL);
}

/* A legacy ring is contiguous; its used ring starts at a page boundary (2.7.2). */
void virtqueue_set_legacy_ring(Virtqueue *vq, uint64_t addr)
{
    unsigned n = vq->s->size;

    vq->s->desc = addr;
    vq->s->driver = addr + n * 16;
    vq->s->device = ROUND_UP(vq->s->driver + 4 + 2 * n + 2, 4096);
    vq->s->enabled = addr != 0;
}

/*
 * Configuration space. Each access compares it with its content at the last access, and increments
 * the generation if they differ (2.5). A device may change its configuration at any time without
 * a call.
 */
static void refresh_config(VirtioDevice *vdev)
{
    g_autofree uint8_t *now = NULL;
    uint8_t small[128];
    uint8_t *content = small;

    if (vdev->vclass->config_size > sizeof small) {
        content = now = g_malloc(vdev->vclass->config_size);
    }
    memcpy(content, vdev->config, vdev->vclass->config_size);
    if (vdev->vclass->get_config) {
        vdev->vclass->get_config(vdev, content);
    }
    if (memcmp(content, vdev->config, vdev->config_size)) {
        memcpy(vdev->config, content, vdev->config_size);
        vdev->s.config_generation++;
    }
}

uint8_t virtio_config_generation(VirtioDevice *vdev)
{
    refresh_config(vdev);
    return vdev->s.config_generation;
}

void virtio_set_config_size(VirtioDevice *vdev, size_t size)
{
    g_assert(size <= vdev->vclass->config_size);
    vdev->config_size = size;
}

uint32_t virtio_config_read(VirtioDevice *vdev, unsigned offset, unsigned len)
{
    uint8_t raw[4] = {0};

    g_assert(len <= 4);
    if (offset > vdev->config_size || len > vdev->config_size - offset) {
        return UINT32_MAX >> (32 - 8 * len);
    }
    refresh_config(vdev);
    memcpy(raw, vdev->config + offset, len);
    return ldle32(raw);
}

void virtio_config_write(VirtioDevice *vdev, unsigned offset, uint32_t value, unsigned len)
{
    uint8_t raw[4];

    g_assert(len <= 4);
    if (offset > vdev->config_size || len > vdev->config_size - offset) {
        return;
    }
    refresh_config(vdev);
    stle32(raw, value);
    memcpy(vdev->config + offset, raw, len);
    if (vdev->vclass->set_config) {
        vdev->vclass->set_config(vdev, vdev->config);
    }
    /* Read-only fields get their values back. */
    if (vdev->vclass->get_config) {
        vdev->vclass->get_config(vdev, vdev->config);
    }
}

void virtio_notify_config(VirtioDevice *vdev)
{
    if (vdev->config_bh) {
        device_bh_schedule(vdev->config_bh);
    }
}

/* State. */

bool virtio_device_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);
    const VirtioDeviceState *s = state;
    bool packed;

    /* The class's own sections follow section 0. */
    if (section != 0) {
        return true;
    }
    packed = s->guest_features >> VIRTIO_F_RING_PACKED & 1;
    /* The driver may have accepted less than this device offers, never more. */
    if (s->guest_features & ~vdev->host_features) {
        return error_set(
            err,
            "the driver uses features that this device does not offer: 0x%" G_GINT64_MODIFIER "x",
            s->guest_features & ~vdev->host_features);
    }
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        const char *why;

        if (!virtqueue_check_state(vdev->queues[i], &s->vq[i], packed, &why)) {
            return error_set(err, "queue %u has %s", i, why);
        }
    }
    return true;
}

void virtio_device_post_load(Device *dev)
{
    VirtioDevice *vdev = container_of(dev, VirtioDevice, dev);

    if (vdev->vclass->get_config) {
        vdev->vclass->get_config(vdev, vdev->config);
    }
    for (unsigned i = 0; i < vdev->queue_count; i++) {
        virtqueue_forget(vdev->queues[i]);
    }
    vdev->started = false;
    if (vdev->s.started) {
        start_device(vdev);
    }
}

/* In-flight requests. */

#define INFLIGHT_WAITED 0x80000000u /* in VirtioInflight.count */

void virtio_inflight_init(VirtioInflight *f)
{
    *f = (VirtioInflight){0};
    wait_list_init(&f->waiting);
}

void virtio_inflight_destroy(VirtioInflight *f)
{
    wait_list_destroy(&f->waiting);
}

void virtio_inflight_begin(VirtioInflight *f)
{
    __atomic_add_fetch(&f->count, 1, __ATOMIC_RELAXED);
}

/* The one that ends last while somebody waits says so: until then the waiters stay. */
void virtio_inflight_end(VirtioInflight *f)
{
    if (__atomic_sub_fetch(&f->count, 1, __ATOMIC_SEQ_CST) != INFLIGHT_WAITED) {
        return;
    }
    g_mutex_lock(&f->waiting.lock);
    f->over = true;
    wait_list_wake_locked(&f->waiting);
    g_mutex_unlock(&f->waiting.lock);
}

/* A stop, a reset and an unplug may wait at the same time. */
void coroutine_fn virtio_inflight_wait(VirtioInflight *f)
{
    g_mutex_lock(&f->waiting.lock);
    if (f->waiters++ == 0) {
        f->over = __atomic_fetch_or(&f->count, INFLIGHT_WAITED, __ATOMIC_SEQ_CST) == 0;
    }
    while (!f->over) {
        wait_list_sleep_locked(&f->waiting);
    }
    if (--f->waiters == 0) {
        __atomic_fetch_and(&f->count, ~INFLIGHT_WAITED, __ATOMIC_SEQ_CST);
    }
    g_mutex_unlock(&f->waiting.lock);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio: devices, queues, and the transport's side. (Virtual I/O Device 1.2; section numbers in
 * the sources.)
 *
 * A virtio device is a child device on a transport's virtio bus: virtio-blk-pci is a VirtioPci with
 * a virtio-blk-device on it, in object paths .../virtio-backend. They share one lock.
 *
 * Threads: device configuration (status, features, config space) belongs to the device's lock.
 * Each queue has a home loop and is processed only there, without the device's lock; a reset or a
 * queue change first stops the queues on their loops (IO_DEFER).
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <sys/uio.h>
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/vm.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct Virtqueue Virtqueue;
typedef struct VirtioClass VirtioClass;

#define VIRTIO_QUEUE_MAX   64 /* queues a device */
#define VIRTQUEUE_SIZE_MAX 1024
#define VIRTQUEUE_IOV_MAX  1024 /* pieces of one element, in and out together */

#define VIRTQUEUE_STATE(X)                                                                         \
    X(F, uint16_t, size)                                                                           \
    X(F, bool, enabled)                                                                            \
    X(F, uint16_t, vector)                                                                         \
    X(F, uint64_t, desc)                                                                           \
    X(F, uint64_t, driver) /* avail ring / driver area */                                          \
    X(F, uint64_t, device) /* used ring / device area */                                           \
    X(F, uint16_t, last_avail)                                                                     \
    X(F, bool, avail_wrap)                                                                         \
    X(F, uint16_t, used_idx)                                                                       \
    X(F, bool, used_wrap)                                                                          \
    X(F, uint16_t, signalled_used)                                                                 \
    X(F, bool, signalled_valid)
STATE_STRUCT(VirtqueueState, VIRTQUEUE_STATE);

#define VIRTIO_DEVICE_STATE(X)                                                                     \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, isr)                                                                             \
    X(F, uint64_t, guest_features)                                                                 \
    X(F, uint8_t, config_generation)                                                               \
    X(F, uint16_t, config_vector)                                                                  \
    X(F, bool, broken)                                                                             \
    X(SA, VirtqueueState, vq, virtqueue, VIRTIO_QUEUE_MAX)
STATE_STRUCT(VirtioDeviceState, VIRTIO_DEVICE_STATE);
const StateDesc *virtio_device_state_desc(void);

/*
 * One buffer chain taken from a queue. Devices that keep requests embed it first in their request
 * struct: virtqueue_pop() allocates 'size' bytes plus the iovecs behind them, from a pool of the
 * queue.
 */
typedef struct VirtqueueElement {
    Virtqueue *vq;
    uint16_t index;           /* head descriptor / buffer id */
    uint16_t ndescs;          /* packed: descriptors used */
    uint16_t in_num, out_num; /* device-writable, device-readable pieces */
    uint32_t in_len, out_len; /* their bytes */
    struct iovec *in, *out;   /* mapped guest memory */
    struct VirtqueueElement *next;
} VirtqueueElement;

/* What a device class says beside its DeviceClass (bus_data). */
struct VirtioClass {
    uint16_t device_id;   /* 5: 2 = block ... */
    uint16_t config_size; /* at most; virtio_set_config_size() may lower it */
    /* Features offered, given what the transport and properties already allow. */
    uint64_t (*get_features)(VirtioDevice *vdev, uint64_t features);
    /* FEATURES_OK / first legacy use: false refuses. */
    bool (*set_features)(VirtioDevice *vdev, uint64_t features);
    void (*get_config)(VirtioDevice *vdev, uint8_t *config);
    void (*set_config)(VirtioDevice *vdev, const uint8_t *config);
    /* DRIVER_OK set (start) or status left it / reset / VM stop: queues are quiet while it runs. */
    void (*start)(VirtioDevice *vdev);
    void (*stop)(VirtioDevice *vdev);
    void (*reset)(VirtioDevice *vdev);
    /* In-flight requests that must end before queues may change: yields until there are none. */
    void coroutine_fn (*drain)(VirtioDevice *vdev);
};

struct VirtioDevice {
    Device dev;
    const VirtioClass *vclass;
    VirtioDeviceState s;
    uint64_t host_features; /* offered */
    uint8_t *config;        /* last content given to the guest, config_size bytes */
    size_t config_size;
    Virtqueue *queues[VIRTIO_QUEUE_MAX];
    unsigned queue_count;
    bool started; /* start() was called */
    bool use_ioeventfd, use_irqfd;
    Device *proxy; /* the transport's device (PCI function) */
    /* The transport's way to the guest: any thread. vector is the queue's or config's. */
    void (*notify_vector)(VirtioDevice *vdev, uint16_t vector);
    void (*notify_intx)(VirtioDevice *vdev, uint8_t isr_bits);
    bool (*dma_allowed)(VirtioDevice *vdev);
    /* Common properties: indirect_desc, event_idx, packed, any_layout, iommu_platform, ... */
    uint64_t feature_props; /* bits the user allows; see virtio_common_props */
    uint64_t feature_forced_off;
    struct VirtioPropBits {
        bool indirect_desc, event_idx, packed, notify_on_empty, any_layout, iommu_platform,
            use_started;
    } props;
};

#define VIRTIO_STATE(type, member)                                                                 \
    {                                                                                              \
        virtio_device_state_desc, offsetof(type, member.s)                                         \
    }
#define VIRTIO_DEVICE(obj) (&(obj)->vdev)
extern const Property
    virtio_common_props[]; /* bus_props of the virtio bus; offsets in VirtioDevice */
extern const BusClass virtio_bus_class;

typedef void (*VirtqueueFn)(VirtioDevice *vdev, Virtqueue *vq);

/* Realize-time. handler runs on the queue's loop when the guest has kicked. */
Virtqueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtqueueFn handler);
void virtio_del_queues(VirtioDevice *vdev); /* unrealize */
/* Before start: where this queue is processed; NULL: the device's loop. */
void virtqueue_set_loop(Virtqueue *vq, EventLoop *loop);
void virtio_set_config_size(VirtioDevice *vdev, size_t size);

/* The configuration changed on our side: generation and interrupt. Under the lock or on the main
 * loop. */
void virtio_notify_config(VirtioDevice *vdev);
static inline bool virtio_has_feature(const VirtioDevice *vdev, unsigned bit)
{
    return vdev->s.guest_features >> bit & 1;
}
bool virtio_driver_ok(const VirtioDevice *vdev);
/* A ring or request that no honest driver makes: DEVICE_NEEDS_RESET, and the queues stand still. */
void virtio_error(VirtioDevice *vdev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Queues, on their home loop (the device's stop() and reset() too: then they are quiet). */
unsigned virtqueue_index(const Virtqueue *vq);
unsigned virtqueue_size(const Virtqueue *vq);
EventLoop *virtqueue_loop(const Virtqueue *vq);
bool virtqueue_ready(const Virtqueue *vq);
bool virtqueue_empty(Virtqueue *vq);
/* The next chain, or NULL (empty, or broken: virtio_error was called). 'size' >=
 * sizeof(VirtqueueElement). */
void *virtqueue_pop(Virtqueue *vq, size_t size);
/* Gives it back with 'written' bytes put in the in-part; no interrupt yet. Frees the element. */
void virtqueue_push(Virtqueue *vq, VirtqueueElement *elem, uint32_t written);
/* Several at once, one update of the index: fill then flush (mergeable receive buffers). */
void virtqueue_fill(Virtqueue *vq, VirtqueueElement *elem, uint32_t written, unsigned nth);
void virtqueue_flush(Virtqueue *vq, unsigned count);
/* Un-pops the last element popped (must be the last). Frees it. */
void virtqueue_unpop(Virtqueue *vq, VirtqueueElement *elem);
/* Frees without giving it back to the guest (reset). */
void virtqueue_drop(Virtqueue *vq, VirtqueueElement *elem);
/* Interrupts the guest if it wants one (event index, flags). */
void virtqueue_notify(Virtqueue *vq);
/* Whether kicks are wanted; after enabling, check again for what came meanwhile (returns true:
 * look). */
bool virtqueue_set_notification(Virtqueue *vq, bool on);
/* Bytes of in and out room, up to the limits asked: for 'is there space for a frame'. */
bool virtqueue_has_room(Virtqueue *vq, size_t in_bytes, size_t out_bytes);
/* Ask for the handler to run (soon, on its loop): kick by ourselves. Any thread. */
void virtqueue_kick(Virtqueue *vq);
/*
 * In-flight requests across save/load: a device that parked elements (werror=stop) saves their
 * head index and pops them again by it.
 */
void *virtqueue_pop_index(Virtqueue *vq, size_t size, uint16_t head);

/* For transports (devices/virtio/virtio_pci.c, later virtio_mmio.c). Device lock held. */
void virtio_bus_plug(VirtioDevice *vdev, Device *proxy);
uint64_t virtio_host_features(VirtioDevice *vdev);
/* Status writes that stop or reset queues must be deferred: true = call device_defer(). */
bool virtio_set_status_needs_defer(VirtioDevice *vdev, uint8_t status);
void coroutine_fn virtio_set_status(VirtioDevice *vdev, uint8_t status);
void coroutine_fn virtio_reset(VirtioDevice *vdev);
void virtio_config_read(VirtioDevice *vdev, unsigned offset, void *buf, unsigned len);
void virtio_config_write(VirtioDevice *vdev, unsigned offset, const void *buf, unsigned len);
int virtqueue_kick_fd(Virtqueue *vq);

#endif

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
 * queue change first stops the queues (IO_DEFER: on the main loop, without the device's lock).
 * A queue's handler runs under the queue's own lock, which is what stopping a queue takes, under
 * the device's: so handlers never wait, and never take the device's lock (a DeviceBh does).
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <sys/uio.h>
#include "base/coroutine.h"
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/vm.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct Virtqueue Virtqueue;
typedef struct VirtioClass VirtioClass;

#define VIRTIO_QUEUE_MAX   64 /* queues a device */
#define VIRTQUEUE_SIZE_MAX 1024
#define VIRTQUEUE_IOV_MAX  1024 /* pieces of one element, in and out together */
#define VIRTIO_NO_VECTOR   0xffff

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
    X(F, bool, started)                                                                            \
    X(F, bool, legacy) /* the driver uses a legacy interface */                                    \
    X(SA, VirtqueueState, vq, virtqueue, VIRTIO_QUEUE_MAX)
STATE_STRUCT(VirtioDeviceState, VIRTIO_DEVICE_STATE);
const StateDesc *virtio_device_state_desc(void);

/*
 * One buffer chain taken from a queue. Devices that keep requests embed it first in their request
 * struct: virtqueue_pop() allocates 'size' bytes plus the iovecs behind them, from a pool of the
 * queue. What lies behind the VirtqueueElement is not initialised.
 */
typedef struct VirtqueueElement {
    Virtqueue *vq;
    uint16_t index;           /* head descriptor / buffer id */
    uint16_t ndescs;          /* packed: descriptors used */
    uint16_t in_num, out_num; /* device-writable, device-readable pieces */
    uint64_t in_len, out_len; /* their bytes, which may be more than a used entry can say */
    struct iovec *in, *out;   /* mapped guest memory: not to be changed while the element lives */
    struct VirtqueueElement *next; /* for the owner's lists */
    /* Private to the queue. */
    uint16_t ring_pos;
    uint16_t capacity;   /* of the iovec behind it */
    uint32_t alloc_size; /* what pop() was asked for */
    uint32_t epoch;      /* of the queue: older elements belong to a ring that was reset */
} VirtqueueElement;

/* What a device class says beside its DeviceClass (bus_data). */
struct VirtioClass {
    uint16_t device_id;       /* 5: 2 = block ... */
    uint16_t config_size;     /* at most; virtio_set_config_size() may lower it */
    uint64_t legacy_features; /* offered by legacy interfaces only, beside those of 6.3 */
    /* Features offered, given what the transport and properties already allow. */
    uint64_t (*get_features)(VirtioDevice *vdev, uint64_t features);
    /* FEATURES_OK / first legacy use: false refuses. May be NULL, as all below. */
    bool (*set_features)(VirtioDevice *vdev, uint64_t features);
    void (*get_config)(VirtioDevice *vdev, uint8_t *config);
    /* 'config' is the whole content as the guest's write left it. */
    void (*set_config)(VirtioDevice *vdev, const uint8_t *config);
    /*
     * DRIVER_OK set (start) or status left it / reset (stop). On the main loop with the device's
     * lock; the queues are quiet while it runs, and nothing is in flight when stop() runs.
     */
    void (*start)(VirtioDevice *vdev);
    void (*stop)(VirtioDevice *vdev);
    /* After stop(): forget what the driver set; drop elements still held. */
    void (*reset)(VirtioDevice *vdev);
    /*
     * The VM pauses: give back (virtqueue_unpop) what is held without being in flight. The same
     * rules. Queues are quiet; what is in flight ends later.
     */
    void (*pause)(VirtioDevice *vdev);
    /* In-flight requests that must end before queues may change: yields until there are none. */
    void coroutine_fn (*drain)(VirtioDevice *vdev);
    /* VIRTIO_F_RING_RESET of one queue: drop what is held of it. As stop(). */
    void (*queue_reset)(VirtioDevice *vdev, Virtqueue *vq);
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
    bool started;    /* start() was called */
    bool vm_running; /* queues are processed */
    int dma_on;      /* atomic: the transport lets us master the bus */
    int complained;  /* atomic: virtqueue_error() has written to stderr */
    Device *proxy;   /* the transport's device (PCI function), or NULL */
    /*
     * The transport's way to the guest: any thread. vector is the queue's or config's; isr_bits
     * are for transports (and guests) that use the ISR register.
     */
    void (*notify)(VirtioDevice *vdev, uint16_t vector, uint8_t isr_bits);
    DeviceBh *config_bh, *error_bh, *late_start_bh;
    /* Common properties; see virtio_common_props. */
    struct VirtioPropBits {
        bool indirect_desc, event_idx, packed, notify_on_empty, any_layout, iommu_platform,
            queue_reset, use_started, use_disabled_flag, legacy_check, ignore_backend;
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

/* The same part of every virtio DeviceClass. */
#define VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK                                                       \
    .bus = "virtio-bus", .bus_props = virtio_common_props, .reset = virtio_device_reset,           \
    .run_state = virtio_device_run_state, .object_parent = "virtio-device"
#define VIRTIO_DEVICE_CLASS_COMMON                                                                 \
    VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK, .check_state = virtio_device_check_state

/* Called by a class's realize first and unrealize last. */
bool virtio_init(VirtioDevice *vdev, const VirtioClass *vclass, GError **err);
void virtio_exit(VirtioDevice *vdev); /* queues too */
void virtio_device_reset(Device *dev, ResetKind kind);
bool virtio_device_check_state(Device *dev, unsigned section, const void *state, GError **err);
void virtio_device_run_state(Device *dev, bool running);
/* A class's post_load calls it first. */
bool virtio_device_post_load(Device *dev, GError **err);

typedef void (*VirtqueueFn)(VirtioDevice *vdev, Virtqueue *vq);

/* Realize-time. handler runs on the queue's loop when the guest has kicked. */
Virtqueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtqueueFn handler);
/* Before start: where this queue is processed; NULL: the device's loop. */
void virtqueue_set_loop(Virtqueue *vq, EventLoop *loop);
/* Unrealize: its handler does not run any more when this returns. */
void virtio_quiesce_queue(Virtqueue *vq);
void virtio_set_config_size(VirtioDevice *vdev, size_t size);

/* The configuration changed on our side: an interrupt. Any thread. */
void virtio_notify_config(VirtioDevice *vdev);
static inline bool virtio_has_feature(const VirtioDevice *vdev, unsigned bit)
{
    return vdev->s.guest_features >> bit & 1;
}
bool virtio_driver_ok(const VirtioDevice *vdev);
/*
 * A ring or request that no honest driver makes: DEVICE_NEEDS_RESET, and the queues stand still.
 * The first one of a device is said on stderr, later ones go to the log of guest errors. Any
 * thread.
 */
void virtqueue_error(Virtqueue *vq, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool virtio_broken(const VirtioDevice *vdev);

/* Queues, on their home loop (the device's stop() and reset() too: then they are quiet). */
unsigned virtqueue_index(const Virtqueue *vq);
unsigned virtqueue_size(const Virtqueue *vq);
EventLoop *virtqueue_loop(const Virtqueue *vq);
VirtioDevice *virtqueue_device(const Virtqueue *vq);
bool virtqueue_ready(const Virtqueue *vq);   /* has a ring */
bool virtqueue_running(const Virtqueue *vq); /* and is processed now */
bool virtqueue_empty(Virtqueue *vq);
/* The next chain, or NULL (empty, or broken: virtqueue_error was called). 'size' >=
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
/* The same once, at the end of the loop's turn, for all that is pushed meanwhile. */
void virtqueue_notify_later(Virtqueue *vq);
/*
 * Whether the guest is to kick. A device asks when it waits for the guest, and for nothing else.
 * Kicks begin with the first chain that the driver has not added yet, be the ring empty or not.
 * True: chains are in the ring now, which the device has to look at, because no kick may follow.
 */
bool virtqueue_set_notification(Virtqueue *vq, bool on);
/*
 * Whether the chains that wait have this room (0, 0: whether any waits). If so, kicks are off. If
 * not, the guest was asked for a kick, and there was not enough after that either.
 */
bool virtqueue_await(Virtqueue *vq, size_t in_bytes, size_t out_bytes);
/*
 * The end of a handler that takes so many chains a turn: interrupts the guest if it wants one, and
 * comes back for chains that are left, or else asks for kicks.
 */
void virtqueue_end_turn(Virtqueue *vq);
/*
 * The room in the chains that wait, counted until both limits are reached. False: none waits (or
 * virtqueue_error was called).
 */
bool virtqueue_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out);
/* Whether the chains that wait have this room, in and out: for 'is there space for a frame'. */
bool virtqueue_has_room(Virtqueue *vq, size_t in_bytes, size_t out_bytes);
/* Ask for the handler to run (soon, on its loop): kick by ourselves. Any thread. */
void virtqueue_kick(Virtqueue *vq);
/*
 * In-flight requests across save/load: a device that parked elements (werror=stop) saves each as
 * some words, and takes it out of the ring again from them. save: the number of words, 0 where
 * they do not fit. load: NULL where they make no sense; *used says how many it ate.
 */
unsigned virtqueue_save_element(const VirtqueueElement *elem, uint64_t *words, unsigned room);
void *virtqueue_load_element(VirtioDevice *vdev, size_t size, const uint64_t *words, unsigned count,
                             unsigned *used);

/* Counts requests in flight, for a class's drain(). begin and end on any thread. */
typedef struct {
    unsigned count; /* atomic */
    GMutex lock;    /* of 'waiter' */
    Coroutine *waiter;
} VirtioInflight;
void virtio_inflight_begin(VirtioInflight *f);
void virtio_inflight_end(VirtioInflight *f);
void coroutine_fn virtio_inflight_wait(VirtioInflight *f); /* main loop */

/* For transports (devices/virtio/virtio_pci.c, later virtio_mmio.c). Device lock held, but for the
 * coroutines: these run on the main loop without it. */
void virtio_bus_plug(VirtioDevice *vdev, Device *proxy);
/* Status writes that start, stop or reset must be deferred: true = call device_defer(). */
bool virtio_status_needs_defer(VirtioDevice *vdev, uint8_t status);
void virtio_set_status(VirtioDevice *vdev, uint8_t status); /* where it needs no deferring */
void coroutine_fn virtio_set_status_deferred(VirtioDevice *vdev, uint8_t status);
void coroutine_fn virtio_reset(VirtioDevice *vdev);
void coroutine_fn virtio_queue_reset(VirtioDevice *vdev, unsigned queue);
void virtio_queue_enable_deferred(VirtioDevice *vdev); /* a queue was enabled after DRIVER_OK */
/* What a modern interface offers. */
uint64_t virtio_modern_features(const VirtioDevice *vdev);
/* Legacy transports: no FEATURES_OK step; unknown bits are masked off. */
void virtio_set_legacy_features(VirtioDevice *vdev, uint32_t features);
/* The bus-master switch. */
void virtio_set_dma(VirtioDevice *vdev, bool on);
uint8_t virtio_config_generation(VirtioDevice *vdev);
uint32_t virtio_config_read(VirtioDevice *vdev, unsigned offset, unsigned len); /* 1, 2, 4 */
void virtio_config_write(VirtioDevice *vdev, unsigned offset, uint32_t value, unsigned len);
/* The largest ring the device takes; state.size is what the driver chose. */
unsigned virtqueue_max_size(const Virtqueue *vq);
/* Legacy rings: the three parts from the page that the driver gives (2.7.2). */
void virtqueue_set_legacy_ring(Virtqueue *vq, uint64_t addr);
/* For ioeventfds: kicks when signalled. -1 where the host has no more. Main loop. */
int virtqueue_kick_fd(Virtqueue *vq);
/* ISR bits, read and cleared. */
uint8_t virtio_take_isr(VirtioDevice *vdev);

/* What the monitor asks of a balloon (devices/virtio/virtio_balloon.c). Main loop. */
bool balloon_set_target(Vm *vm, uint64_t bytes, GError **err);
bool balloon_query(Vm *vm, uint64_t *actual_bytes, GError **err);

#endif

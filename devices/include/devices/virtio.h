/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio: devices, queues, and what transports call. (Virtual I/O Device 1.2. Section numbers in
 * the virtio sources are this document's.)
 *
 * A virtio device is a child device on a transport's virtio bus: virtio-blk-pci is a VirtioPci with
 * a virtio-blk-device on its bus, whose object path is .../virtio-backend. Both share one lock.
 *
 * Threads: the device's lock guards status, features and configuration space. Each queue has a home
 * loop and is processed only there, without the device's lock. A reset or a change of a queue first
 * stops the queues, by IO_DEFER: on the main loop, without the device's lock.
 *
 * A queue's handler runs under the queue's own lock. A thread that stops the queue takes this lock
 * while it may hold the device's. A handler therefore never waits and never takes the device's
 * lock; it schedules a DeviceBh instead.
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <sys/uio.h>
#include "base/coroutine.h"
#include "base/wait_list.h"
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/vm.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct Virtqueue Virtqueue;
typedef struct VirtioClass VirtioClass;

#define VIRTIO_QUEUE_MAX   64 /* queues a device */
#define VIRTQUEUE_SIZE_MAX 1024
#define VIRTQUEUE_IOV_MAX  1024 /* iovecs of one element, in and out together */
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
 * One buffer chain taken from a queue. A device that keeps requests embeds this first in its
 * request struct: virtqueue_pop() allocates 'size' bytes, and the iovecs behind them, from a pool
 * of the queue. Members of the request struct behind the VirtqueueElement are not initialised.
 */
typedef struct VirtqueueElement {
    Virtqueue *vq;
    uint16_t index;           /* head descriptor / buffer id */
    uint16_t ndescs;          /* packed: descriptors in the ring; split: 1 */
    uint16_t in_num, out_num; /* number of device-writable and device-readable iovecs */
    uint64_t in_len, out_len; /* their bytes: may exceed the 32 bits of a used length */
    struct iovec *in, *out;   /* mapped guest memory; unchanged when the element is given back */
    struct VirtqueueElement *next; /* for the owner's lists */
    /* Private to the queue. */
    uint64_t table;     /* packed: guest address of the indirect table */
    uint32_t table_len; /* its bytes; 0: none */
    uint16_t ring_pos;
    uint16_t capacity;   /* iovecs allocated behind the struct */
    uint32_t alloc_size; /* 'size' of virtqueue_pop() */
    uint32_t epoch; /* the queue's when popped: an older one belongs to a ring that was reset */
} VirtqueueElement;

/* The virtio part of a device class. Members from set_features on may be NULL. */
struct VirtioClass {
    uint16_t device_id;       /* VIRTIO_ID_* (5) */
    uint16_t config_size;     /* maximum; virtio_set_config_size() may lower it */
    uint64_t legacy_features; /* offered by legacy interfaces only, beside those of 6.3 */
    /* Adds the device's features to those of the common properties. May be NULL. */
    uint64_t (*get_features)(VirtioDevice *vdev, uint64_t features);
    /* Called for FEATURES_OK, and for each write of legacy features. False: FEATURES_OK stays 0. */
    bool (*set_features)(VirtioDevice *vdev, uint64_t features);
    void (*get_config)(VirtioDevice *vdev, uint8_t *config);
    /* 'config' is the whole configuration space after the guest's write. */
    void (*set_config)(VirtioDevice *vdev, const uint8_t *config);
    /*
     * start: DRIVER_OK was set, or a legacy driver kicked before that. stop: DRIVER_OK was cleared,
     * or the device is reset. Main loop, device lock held. The queues do not run meanwhile; for
     * stop, no request is in flight.
     */
    void (*start)(VirtioDevice *vdev);
    void (*stop)(VirtioDevice *vdev);
    /* After stop(): resets what the driver has set, and drops elements that are still held. */
    void (*reset)(VirtioDevice *vdev);
    /*
     * The VM pauses: elements that are held without being in flight go back by virtqueue_unpop().
     * Context as for stop(), but requests may be in flight.
     */
    void (*pause)(VirtioDevice *vdev);
    /*
     * A reset of the device (vq NULL) or of a queue begins: requests that have not begun are given
     * up. drain() follows. Main loop; the queues do not run.
     */
    void (*take_back)(VirtioDevice *vdev, Virtqueue *vq);
    /*
     * Yields until no request of the queue (vq NULL: of any) is in flight: they use rings that are
     * about to change.
     */
    void coroutine_fn (*drain)(VirtioDevice *vdev, Virtqueue *vq);
    /* VIRTIO_F_RING_RESET: drops held elements of one queue. Context as for stop(). */
    void (*queue_reset)(VirtioDevice *vdev, Virtqueue *vq);
};

struct VirtioDevice {
    Device dev;
    const VirtioClass *vclass;
    VirtioDeviceState s;
    uint64_t host_features; /* offered */
    uint8_t *config;        /* configuration space as the guest last saw it; config_size bytes */
    size_t config_size;
    Virtqueue *queues[VIRTIO_QUEUE_MAX];
    unsigned queue_count;
    bool started;    /* start() was called, and stop() not since */
    bool vm_running; /* the VM runs, so queues are processed */
    int dma_on;      /* atomic: the transport allows DMA (PCI: bus master enable) */
    int complained;  /* atomic: virtqueue_error() has written to stderr */
    Device *proxy;   /* the transport's device (PCI function), or NULL */
    /*
     * Set by the transport: interrupts the guest. Any thread. 'vector' is the queue's or the
     * configuration's; isr_bits are set in the ISR register.
     */
    void (*notify)(VirtioDevice *vdev, uint16_t vector, uint8_t isr_bits);
    /* Set by the transport: the queue whose registers its driver sees. Device lock held. */
    uint16_t (*queue_selected)(VirtioDevice *vdev);
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

/* Members that are the same in every virtio DeviceClass. */
#define VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK                                                       \
    .bus = "virtio-bus", .bus_props = virtio_common_props, .reset = virtio_device_reset,           \
    .run_state = virtio_device_run_state, .drain = virtio_device_drain,                            \
    .object_parent = "virtio-device"
#define VIRTIO_DEVICE_CLASS_COMMON                                                                 \
    VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK, .check_state = virtio_device_check_state

/* Called by a class's realize first and unrealize last. */
bool virtio_init(VirtioDevice *vdev, const VirtioClass *vclass, GError **err);
void virtio_exit(VirtioDevice *vdev); /* frees the queues too */
void virtio_device_reset(Device *dev, ResetKind kind);
bool virtio_device_check_state(Device *dev, unsigned section, const void *state, GError **err);
void virtio_device_run_state(Device *dev, bool running);
void coroutine_fn virtio_device_drain(Device *dev);
/* A class's post_load calls it first. */
void virtio_device_post_load(Device *dev);

typedef void (*VirtqueueFn)(VirtioDevice *vdev, Virtqueue *vq);

/* Called by realize. 'handler' runs on the queue's loop after a kick of the guest. */
Virtqueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtqueueFn handler);
/* Called by realize: sets the queue's home loop. NULL: the device's loop. */
void virtqueue_set_loop(Virtqueue *vq, EventLoop *loop);
/* Called by unrealize: the queue's handler does not run any more when this returns. */
void virtio_quiesce_queue(Virtqueue *vq);
void virtio_set_config_size(VirtioDevice *vdev, size_t size);

/* Interrupts the guest for a change of the configuration that the device has made. Any thread. */
void virtio_notify_config(VirtioDevice *vdev);
static inline bool virtio_has_feature(const VirtioDevice *vdev, unsigned bit)
{
    return vdev->s.guest_features >> bit & 1;
}
bool virtio_driver_ok(const VirtioDevice *vdev);
/*
 * Reports an invalid ring or request. The device sets DEVICE_NEEDS_RESET and processes no queue
 * until it is reset. A device's first error is logged to stderr, later ones as guest errors. Any
 * thread.
 */
void virtqueue_error(Virtqueue *vq, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool virtio_broken(const VirtioDevice *vdev);

/* The functions below are called on the queue's home loop, or from stop() and reset(). */
unsigned virtqueue_index(const Virtqueue *vq);
unsigned virtqueue_size(const Virtqueue *vq);
bool virtqueue_ready(const Virtqueue *vq);   /* has a ring */
bool virtqueue_running(const Virtqueue *vq); /* its ring is processed now */
bool virtqueue_empty(Virtqueue *vq);
/* Takes the next chain. NULL: the ring is empty, or virtqueue_error() was called. 'size' is at
 * least sizeof(VirtqueueElement). */
void *virtqueue_pop(Virtqueue *vq, size_t size);
/* Gives an element back to the driver with 'written' bytes in its in-part, and frees it. Does not
 * interrupt. */
void virtqueue_push(Virtqueue *vq, VirtqueueElement *elem, uint32_t written);
/*
 * Gives back several elements at once (mergeable receive buffers): fill frees the nth one, flush
 * shows all 'count' of them to the driver.
 */
void virtqueue_fill(Virtqueue *vq, VirtqueueElement *elem, uint32_t written, unsigned nth);
void virtqueue_flush(Virtqueue *vq, unsigned count);
/* Puts the element that was popped last back into the ring, and frees it. */
void virtqueue_unpop(Virtqueue *vq, VirtqueueElement *elem);
/* Frees an element without giving it back to the driver (for resets). */
void virtqueue_drop(Virtqueue *vq, VirtqueueElement *elem);
/* Interrupts the guest if the driver asks for it (event index, flags). */
void virtqueue_notify(Virtqueue *vq);
/* Calls virtqueue_notify() once at the end of the loop's turn, however often this is called. */
void virtqueue_notify_later(Virtqueue *vq);
/*
 * Asks the driver for kicks or not. A device asks for them only while it waits for the driver. The
 * driver kicks for chains that it adds from now on, whether or not the ring is empty. True: chains
 * are in the ring already. The device must look at them, because no kick may follow.
 */
bool virtqueue_set_notification(Virtqueue *vq, bool on);
/*
 * True: the chains in the ring have room for in_bytes and out_bytes (0, 0: there is a chain), and
 * kicks are off. False: they have not, and a kick follows when the driver adds a chain.
 */
bool virtqueue_await(Virtqueue *vq, size_t in_bytes, size_t out_bytes);
/*
 * Ends a handler that processes a limited number of chains: calls virtqueue_notify(), then
 * schedules the handler again if chains are left, or else asks for kicks.
 */
void virtqueue_end_turn(Virtqueue *vq);
/*
 * Adds up the bytes of the chains in the ring, until both limits are reached. False: the ring is
 * empty, or virtqueue_error() was called.
 */
bool virtqueue_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out);
/* Whether the chains in the ring have room for in_bytes and out_bytes. */
bool virtqueue_has_room(Virtqueue *vq, size_t in_bytes, size_t out_bytes);
/* Schedules the handler on the queue's loop, as a kick of the guest would. Any thread. */
void virtqueue_kick(Virtqueue *vq);
/*
 * For devices that put an element aside for long, and may save it meanwhile (werror=stop). save
 * describes an element by words, and returns their number; 0: more than 'room'. The device drops
 * the element then. load makes an element from words, which a guest or a saved state may have made;
 * NULL: they are no chain of this queue. A split ring's descriptors, and indirect tables, are read
 * again: the driver may not change them before it gets the chain back (2.7.5.3.1, 2.8.7).
 */
unsigned virtqueue_save_element(const VirtqueueElement *elem, uint32_t *words, unsigned room);
void *virtqueue_load_element(Virtqueue *vq, size_t size, const uint32_t *words, unsigned n);

/*
 * Counts requests in flight, those that a drain holds among them, for a class's drain(). begin and
 * end on any thread; while somebody waits nothing begins. After the wait no end() touches the
 * struct any more.
 */
typedef struct {
    unsigned count;   /* atomic; its top bit is set while somebody waits */
    WaitList waiting; /* its lock guards what follows */
    unsigned waiters;
    bool over; /* the last request has ended */
} VirtioInflight;
void virtio_inflight_init(VirtioInflight *f);
void virtio_inflight_destroy(VirtioInflight *f);
void virtio_inflight_begin(VirtioInflight *f);
void virtio_inflight_end(VirtioInflight *f);
void coroutine_fn virtio_inflight_wait(VirtioInflight *f); /* main loop */

/* For transports (devices/virtio/virtio_pci.c). The device lock is held, except by the coroutine
 * functions and virtio_queue_enable_deferred(): they run on the main loop without it. */
void virtio_bus_plug(VirtioDevice *vdev, Device *proxy);
/* True: the write starts, stops or resets the device, so it must be done by device_defer(). */
bool virtio_status_needs_defer(VirtioDevice *vdev, uint8_t status);
void virtio_set_status(VirtioDevice *vdev, uint8_t status); /* for all other writes */
void coroutine_fn virtio_set_status_deferred(VirtioDevice *vdev, uint8_t status);
void coroutine_fn virtio_reset(VirtioDevice *vdev);
void coroutine_fn virtio_queue_reset(VirtioDevice *vdev, unsigned queue);
void virtio_queue_enable_deferred(VirtioDevice *vdev); /* a queue was enabled after DRIVER_OK */
/* The features that a modern interface offers. */
uint64_t virtio_modern_features(const VirtioDevice *vdev);
/* For legacy interfaces, which have no FEATURES_OK: bits that are not offered are ignored. */
void virtio_set_legacy_features(VirtioDevice *vdev, uint32_t features);
/* Allows or forbids DMA; without DMA no queue is processed. */
void virtio_set_dma(VirtioDevice *vdev, bool on);
uint8_t virtio_config_generation(VirtioDevice *vdev);
uint32_t virtio_config_read(VirtioDevice *vdev, unsigned offset, unsigned len); /* 1, 2, 4 */
void virtio_config_write(VirtioDevice *vdev, unsigned offset, uint32_t value, unsigned len);
/* The largest ring that the device takes. VirtqueueState.size is the driver's choice. */
unsigned virtqueue_max_size(const Virtqueue *vq);
/* Derives the addresses of a legacy ring's three parts from its first page (2.7.2). */
void virtqueue_set_legacy_ring(Virtqueue *vq, uint64_t addr);
/* The eventfd that kicks the queue, for ioeventfds. -1: the host has no more descriptors. Main
 * loop. */
int virtqueue_kick_fd(Virtqueue *vq);
/* Reads and clears the ISR bits. */
uint8_t virtio_take_isr(VirtioDevice *vdev);

/* The monitor's commands for the balloon (devices/virtio/virtio_balloon.c). Main loop. */
bool balloon_set_target(Vm *vm, uint64_t bytes, GError **err);
bool balloon_query(Vm *vm, uint64_t *actual_bytes, GError **err);

/* query-rx-filter's list (devices/virtio/virtio_net_info.c): of the card of that name, or of all;
 * new reference. NULL and *err: no such card. Main loop. */
json_t *virtio_net_rx_filters(Vm *vm, const char *name, GError **err);

#endif

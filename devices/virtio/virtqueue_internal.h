/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A queue and its two ring formats. Private to virtqueue*.c and virtio.c.
 *
 * The ring state (VirtqueueState's indices, the caches, the pool, the notification state) belongs
 * to the home loop. Other threads touch it under 'lock', while 'running' is false and no request is
 * in flight. The home loop holds 'lock' for all that it does of itself: the handler, polling, a
 * deferred notification. It needs no lock for a request's end, because whoever stops the queue
 * waits for requests. Whoever changes 'running' holds 'lock'.
 */
#ifndef VIRTQUEUE_INTERNAL_H
#define VIRTQUEUE_INTERNAL_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "devices/virtio.h"
#include "devices/virtio_info.h"

/* Not in older Linux headers. */
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

#define VQ_POOL_CLASSES 3

typedef struct {
    VirtqueueElement *free;
    unsigned count;
} VirtqueuePool;

/* A used entry of a packed ring between virtqueue_fill() and virtqueue_flush(). */
typedef struct {
    uint16_t id, ndescs;
    uint32_t len;
} VirtqueueUsed;

struct Virtqueue {
    VirtioDevice *vdev;
    VirtqueueState *s;
    VirtqueueFn handler;
    EventLoop *loop;
    unsigned index, max_size;
    GMutex lock;
    bool running; /* written under 'lock' */
    bool started; /* virtqueue_start() has checked and mapped the ring */
    bool packed, event_idx, indirect;
    bool notification; /* the driver is to kick, unless 'quiet' */
    bool quiet;        /* the loop polls the ring, so that kicks are not needed */
    /* The position of the next chain that the driver adds, when kicks were last asked for. */
    uint16_t asked;
    bool asked_wrap;     /* packed */
    bool notify_pending; /* atomic: virtqueue_notify_later() */
    bool flush_hooked;
    bool polled; /* the loop is an I/O thread's, which polls adaptively */
    uint32_t epoch;
    uint16_t shadow_avail; /* split: the available index as last read */
    unsigned inuse;        /* descriptors (packed) or chains (split) popped and not given back */
    DmaCache desc, driver, device;
    VirtqueuePool pool[VQ_POOL_CLASSES];
    VirtqueueUsed *filled; /* packed: max_size entries */
    /* Kicks. */
    int kick_fd; /* -1: not made yet */
    FdHandler *kick_handler;
    PollHandler *poll_handler;
    BottomHalf kick_bh;
    int refs; /* atomic: one of the device, one of the home loop, one of each look at it */
};

/* What a trace point calls the device. */
static inline const char *virtio_label(const VirtioDevice *vdev)
{
    return device_label(vdev->proxy ? vdev->proxy : &vdev->dev);
}

/* An element under construction, from the descriptors of a chain. */
typedef struct {
    Virtqueue *vq;
    VirtqueueElement *elem;
    unsigned n; /* iovecs so far */
    uint64_t in_len, out_len;
} VirtqueueGather;

/* Life. On the main loop; each takes the queue's lock. */
Virtqueue *virtqueue_new(VirtioDevice *vdev, unsigned index, unsigned size, VirtqueueFn handler);
void virtqueue_free(Virtqueue *vq);
/* Keeps the struct, though not the device's part of it. Any thread. */
void virtqueue_ref(Virtqueue *vq);
void virtqueue_unref(Virtqueue *vq);
/* Makes the home loop listen for kicks; asynchronous if the loop is another thread's. */
void virtqueue_attach(Virtqueue *vq);
/* Checks and maps the ring that the driver has set up. False: virtqueue_error() was called. */
bool virtqueue_start(Virtqueue *vq);
/* After false, the handler does not run when this returns, and is not called again. */
void virtqueue_set_running(Virtqueue *vq, bool running);
/* Does what virtqueue_notify_later() has put off, unless it is done. Any thread: when this returns
 * the home loop is not in the middle of it. */
void virtqueue_notify_owed(Virtqueue *vq);
/* Power-on values; elements that were not given back become stale. The queue is not running. */
void virtqueue_reset(Virtqueue *vq);
/* Resets the members that are not saved: part of a reset, and of loading state. */
void virtqueue_forget(Virtqueue *vq);
bool virtqueue_check_state(const Virtqueue *vq, const VirtqueueState *s, bool packed,
                           const char **why);

/* Pieces and elements (virtqueue.c). */
VirtqueueElement *virtqueue_alloc_element(Virtqueue *vq, size_t size, unsigned capacity);
void virtqueue_free_element(Virtqueue *vq, VirtqueueElement *elem);
void virtqueue_clear_pool(Virtqueue *vq);
/* Unmaps the element's buffers and frees the element. */
void virtqueue_release_element(Virtqueue *vq, VirtqueueElement *elem);
bool virtqueue_gather_begin(VirtqueueGather *g, Virtqueue *vq, size_t size);
bool virtqueue_gather_add(VirtqueueGather *g, uint64_t addr, uint32_t len, bool write);
VirtqueueElement *virtqueue_gather_end(VirtqueueGather *g);
void virtqueue_gather_cancel(VirtqueueGather *g);
static inline uint64_t *virtqueue_element_gpas(VirtqueueElement *elem)
{
    return (uint64_t *)((struct iovec *)((char *)elem + ROUND_UP(elem->alloc_size, 16)) +
                        elem->capacity);
}

/* A descriptor table in guest memory. host NULL: not contiguous in the host; read by dma_read(). */
typedef struct {
    const uint8_t *host;
    uint64_t gpa;
    Vm *vm;
} DescTable;
bool desc_table_open(DescTable *t, Vm *vm, uint64_t gpa, uint64_t len);
/* Reads entry i once, so that the guest cannot change it between check and use. */
bool desc_table_read(const DescTable *t, unsigned i, uint64_t raw[2]);

/*
 * Ring formats. The caches are valid when these are called.
 *
 * _find_end() sets 'asked' behind the last chain that the driver has made available, popped or not.
 * _grown() tells whether the driver has added a chain since.
 */
bool split_map(Virtqueue *vq);
bool split_empty(Virtqueue *vq);
VirtqueueElement *split_pop(Virtqueue *vq, size_t size);
VirtqueueElement *split_pop_head(Virtqueue *vq, size_t size, uint16_t head);
void split_fill(Virtqueue *vq, uint16_t id, uint32_t len, unsigned nth);
void split_flush(Virtqueue *vq, unsigned count);
void split_unpop(Virtqueue *vq, VirtqueueElement *elem);
bool split_should_notify(Virtqueue *vq);
void split_find_end(Virtqueue *vq);
bool split_grown(Virtqueue *vq);
void split_set_notification(Virtqueue *vq, bool on);
bool split_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out);
/* The chain at an index of the available ring, for people. False: *why it is none. */
bool split_look(Virtqueue *vq, uint16_t idx, VirtqueueChain *c, const char **why);

bool packed_map(Virtqueue *vq);
bool packed_empty(Virtqueue *vq);
VirtqueueElement *packed_pop(Virtqueue *vq, size_t size);
/* Reads the chain of an indirect table, for an element that was popped before. */
VirtqueueElement *packed_load_table(Virtqueue *vq, size_t size, uint64_t gpa, uint32_t len);
void packed_fill(Virtqueue *vq, uint16_t id, uint16_t ndescs, uint32_t len, unsigned nth);
void packed_flush(Virtqueue *vq, unsigned count);
void packed_unpop(Virtqueue *vq, VirtqueueElement *elem);
bool packed_should_notify(Virtqueue *vq);
void packed_find_end(Virtqueue *vq);
bool packed_grown(Virtqueue *vq);
void packed_set_notification(Virtqueue *vq, bool on);
bool packed_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out);

/* Ring fields may change at any time: each is read or written by one access. */
static inline uint16_t ring_load16(const void *p)
{
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}
static inline uint16_t ring_load16_acquire(const void *p)
{
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}
static inline void ring_store16(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}
static inline void ring_store16_release(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}
/*
 * Orders a store before a load; the driver has the same barrier (2.7.7.2, 2.8.10.1).
 * __atomic_thread_fence() would do the same, but gcc refuses it with ThreadSanitizer.
 */
static inline void ring_full_barrier(void)
{
    __sync_synchronize();
}
/* Whether moving from 'before' to 'after' passed 'event' (2.7.10). */
static inline bool ring_need_event(uint16_t event, uint16_t after, uint16_t before)
{
    return (uint16_t)(after - event - 1) < (uint16_t)(after - before);
}

#endif

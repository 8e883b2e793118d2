/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A queue and its two ring formats. Private to virtqueue*.c and virtio.c.
 *
 * Whoever may touch what: the ring state (VirtqueueState's indices, the caches, the pool) belongs
 * to the home loop, and to others while 'running' is false and nothing is in flight. 'lock' is
 * held by the home loop while the handler runs, and by whoever changes 'running'.
 */
#ifndef VIRTQUEUE_INTERNAL_H
#define VIRTQUEUE_INTERNAL_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "devices/virtio.h"

/* Linux' headers have them only lately. */
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

#define VQ_POOL_CLASSES 3

typedef struct {
    VirtqueueElement *free;
    unsigned count;
} VirtqueuePool;

/* What a used entry of a packed ring will say: filled, not yet shown. */
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
    bool started; /* the rings were found good */
    bool packed, event_idx, indirect;
    bool notification; /* the guest is asked to kick */
    bool quiet;        /* but not while the loop looks for itself */
    /* The first position that the driver had not filled when it was asked: kicks begin there. */
    uint16_t asked;
    bool asked_wrap;     /* packed */
    bool notify_pending; /* atomic: virtqueue_notify_later() */
    bool flush_hooked;
    bool polled; /* by an I/O thread's adaptive polling */
    uint32_t epoch;
    uint16_t shadow_avail; /* split: the guest's index as last read */
    unsigned inuse;        /* packed: descriptors; split: chains; that the guest has not back */
    DmaCache desc, driver, device;
    VirtqueuePool pool[VQ_POOL_CLASSES];
    VirtqueueUsed *filled; /* packed: max_size entries */
    /* How kicks arrive. */
    int kick_fd; /* -1: nobody asked for it */
    FdHandler *kick_handler;
    PollHandler *poll_handler;
    BottomHalf kick_bh;
    int refs; /* atomic: the device's and the loop's */
};

/* Chains are gathered here before they become elements. */
typedef struct {
    Virtqueue *vq;
    VirtqueueElement *elem;
    unsigned n; /* pieces so far */
    uint64_t in_len, out_len;
} VirtqueueGather;

/* Life; on the main loop. */
Virtqueue *virtqueue_new(VirtioDevice *vdev, unsigned index, unsigned size, VirtqueueFn handler);
void virtqueue_free(Virtqueue *vq);
/* From now on kicks are heard; asynchronous where the loop is another thread's. */
void virtqueue_attach(Virtqueue *vq);
/* From features and addresses; false: what the driver set makes no ring (why: log). */
bool virtqueue_start(Virtqueue *vq);
/* Sets 'running'; when this returns, the handler does not run and will not (for false). */
void virtqueue_set_running(Virtqueue *vq, bool running);
/* Power-on values; elements still out become stale. The queue does not run. */
void virtqueue_reset(Virtqueue *vq);
/* What is not in the state: after loading it, or with it. */
void virtqueue_forget(Virtqueue *vq);
bool virtqueue_check_state(const Virtqueue *vq, const VirtqueueState *s, bool packed,
                           const char **why);

/* Pieces and elements (virtqueue.c). */
VirtqueueElement *virtqueue_alloc_element(Virtqueue *vq, size_t size, unsigned capacity);
void virtqueue_free_element(Virtqueue *vq, VirtqueueElement *elem);
/* Forgets the dirty-log side of the mappings and frees. */
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

/* A table of descriptors in guest memory: mapped where it is contiguous, else read piecewise. */
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
 * _find_end() sets 'asked' to the end of what the driver has made available, however little of
 * that was popped; _grown() says whether the driver has added something since.
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

bool packed_map(Virtqueue *vq);
bool packed_empty(Virtqueue *vq);
VirtqueueElement *packed_pop(Virtqueue *vq, size_t size);
void packed_fill(Virtqueue *vq, uint16_t id, uint16_t ndescs, uint32_t len, unsigned nth);
void packed_flush(Virtqueue *vq, unsigned count);
void packed_unpop(Virtqueue *vq, VirtqueueElement *elem);
bool packed_should_notify(Virtqueue *vq);
void packed_find_end(Virtqueue *vq);
bool packed_grown(Virtqueue *vq);
void packed_set_notification(Virtqueue *vq, bool on);
bool packed_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out);

/* Guest memory that changes under us: one access, of the machine's own width. */
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
 * Store before load, against the other side doing the same (2.7.7.2, 2.8.10.1). Not an atomic
 * fence, which ThreadSanitizer refuses to see: nor does it see the other side, the guest.
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of a virtqueue in one process: a virtio device without a function, and a driver that
 * writes valid or invalid rings to guest memory.
 */
#ifndef RING_DRIVER_H
#define RING_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "base/util.h"
#include "devices/virtio.h"

typedef struct {
    VirtioDevice vdev;
    Virtqueue *vq;
    unsigned notified, kicked;
} RingDevice;

static void ring_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    container_of(vdev, RingDevice, vdev)->kicked++;
}

static const VirtioClass ring_vclass = {.device_id = 63};

static bool ring_realize(Device *dev, GError **err)
{
    RingDevice *r = container_of(dev, RingDevice, vdev.dev);

    if (!virtio_init(&r->vdev, &ring_vclass, err)) {
        return false;
    }
    r->vq = virtio_add_queue(&r->vdev, VIRTQUEUE_SIZE_MAX, ring_kicked);
    return true;
}

static void ring_unrealize(Device *dev)
{
    virtio_exit(&container_of(dev, RingDevice, vdev.dev)->vdev);
}

static const StateSection ring_sections[] = {VIRTIO_STATE(RingDevice, vdev), {0}};

static const DeviceClass ring_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON,
    .name = "ring-test",
    .size = sizeof(RingDevice),
    .state = ring_sections,
    .realize = ring_realize,
    .unrealize = ring_unrealize,
    .post_load = virtio_device_post_load,
};

static void ring_notified(VirtioDevice *vdev, uint16_t vector, uint8_t isr_bits)
{
    if (isr_bits & 1) {
        container_of(vdev, RingDevice, vdev)->notified++;
    }
}

static inline RingDevice *ring_device_new(Vm *vm)
{
    Device *dev = device_create(vm, &ring_device_class, NULL, NULL, NULL, NULL);
    RingDevice *r = container_of(dev, RingDevice, vdev.dev);

    r->vdev.props.packed = true;
    g_assert(device_realize(dev, NULL));
    r->vdev.notify = ring_notified;
    r->vdev.vm_running = true;
    virtio_bus_plug(&r->vdev, NULL);
    return r;
}

/* The driver. It allocates descriptors from a free list, as Linux does. */
typedef struct {
    RingDevice *dev;
    uint8_t *ram; /* the host address of guest address 0 */
    bool packed, event_idx;
    unsigned size;
    uint64_t desc, driver, device;
    uint16_t avail, used; /* split: indices; packed: positions */
    bool avail_wrap, used_wrap;
    unsigned added; /* chains (split) or descriptors (packed) since the last kick or look for one */
    unsigned free;  /* descriptors */
    /* Free descriptors (split) or buffer ids (packed); the descriptors of each chain. */
    uint16_t unused[VIRTQUEUE_SIZE_MAX], chain[VIRTQUEUE_SIZE_MAX], ndescs[VIRTQUEUE_SIZE_MAX];
    unsigned unused_count;
} RingDriver;

typedef struct {
    uint64_t addr;
    uint32_t len;
    bool write;
} RingPiece;

static inline uint8_t *ring_at(RingDriver *d, uint64_t addr)
{
    return d->ram + addr;
}

/* Atomic stores to ring fields, which the device may read meanwhile. */
static inline void ring_store(RingDriver *d, uint64_t addr, uint16_t value)
{
    __atomic_store_n((uint16_t *)ring_at(d, addr), htole16(value), __ATOMIC_SEQ_CST);
}
static inline uint16_t ring_load(RingDriver *d, uint64_t addr)
{
    return le16toh(__atomic_load_n((uint16_t *)ring_at(d, addr), __ATOMIC_SEQ_CST));
}

/* Rings at guest addresses 0x1000, 0x8000 and 0xa000; starts the device. Inside a coroutine. */
static inline void coroutine_fn ring_start(RingDriver *d, RingDevice *dev, uint8_t *ram,
                                           unsigned size, uint64_t features)
{
    VirtqueueState *s = &dev->vdev.s.vq[0];

    virtio_reset(&dev->vdev);
    memset(ram, 0, 0x10000);
    *d = (RingDriver){
        .dev = dev,
        .ram = ram,
        .packed = features & BIT64(VIRTIO_F_RING_PACKED),
        .event_idx = features & BIT64(VIRTIO_RING_F_EVENT_IDX),
        .size = size,
        .desc = 0x1000,
        .driver = 0x8000,
        .device = 0xa000,
        .avail_wrap = true,
        .used_wrap = true,
        .free = size,
    };
    for (unsigned i = 0; i < size; i++) {
        d->unused[d->unused_count++] = size - 1 - i;
    }
    dev->vdev.s.guest_features = features | BIT64(VIRTIO_F_VERSION_1);
    s->size = size;
    s->desc = d->desc;
    s->driver = d->driver;
    s->device = d->device;
    s->enabled = true;
    dev->notified = dev->kicked = 0;
    virtio_set_status_deferred(&dev->vdev, VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void ring_put_desc(RingDriver *d, uint64_t table, unsigned i, uint64_t addr,
                                 uint32_t len, uint16_t flags, uint16_t next_or_id)
{
    uint8_t *p = ring_at(d, table + i * 16);

    stle64(p, addr);
    stle32(p + 8, len);
    /* Split: flags, next. Packed: id, flags. */
    ring_store(d, table + i * 16 + 12, d->packed ? next_or_id : flags);
    ring_store(d, table + i * 16 + 14, d->packed ? flags : next_or_id);
}

/* Adds a head to the available ring (split). */
static inline void ring_expose(RingDriver *d, uint16_t head)
{
    ring_store(d, d->driver + 4 + 2 * (d->avail % d->size), head);
    d->avail++;
    d->added++;
    ring_store(d, d->driver + 2, d->avail);
}

static inline int ring_add_split(RingDriver *d, const RingPiece *p, unsigned n, uint64_t indirect)
{
    unsigned need = indirect ? 1 : n, head, at;
    uint64_t table = indirect ? indirect : d->desc;

    if (d->free < need) {
        return -1;
    }
    head = at = d->unused[d->unused_count - 1];
    for (unsigned i = 0; i < need; i++) {
        at = d->unused[--d->unused_count];
        d->chain[at] = i + 1 < need ? d->unused[d->unused_count - 1] : head;
    }
    at = head;
    for (unsigned i = 0; i < n; i++) {
        unsigned next = indirect ? i + 1 : d->chain[at];

        ring_put_desc(d, table, indirect ? i : at, p[i].addr, p[i].len,
                      (p[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
                      next);
        at = d->chain[at];
    }
    if (indirect) {
        ring_put_desc(d, d->desc, head, indirect, n * 16, VRING_DESC_F_INDIRECT, 0);
    }
    d->ndescs[head] = need;
    d->free -= need;
    ring_expose(d, head);
    return head;
}

static inline int ring_add_packed(RingDriver *d, const RingPiece *p, unsigned n, uint64_t indirect)
{
    unsigned need = indirect ? 1 : n, first = d->avail, id;
    uint16_t first_flags = 0;

    if (d->free < need) {
        return -1;
    }
    id = d->unused[--d->unused_count];
    d->ndescs[id] = need;
    d->free -= need;
    for (unsigned i = 0; i < n && indirect; i++) {
        ring_put_desc(d, indirect, i, p[i].addr, p[i].len, p[i].write ? VRING_DESC_F_WRITE : 0, 0);
    }
    for (unsigned i = 0; i < need; i++) {
        uint16_t flags =
            d->avail_wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED;

        if (indirect) {
            flags |= VRING_DESC_F_INDIRECT;
        } else {
            flags |= (p[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < need ? VRING_DESC_F_NEXT : 0);
        }
        ring_put_desc(d, d->desc, d->avail, indirect ? indirect : p[i].addr,
                      indirect ? n * 16 : p[i].len,
                      i ? flags : ldle16(ring_at(d, d->desc + d->avail * 16 + 14)), id);
        if (!i) {
            first_flags = flags;
        }
        if (++d->avail == d->size) {
            d->avail = 0;
            d->avail_wrap = !d->avail_wrap;
        }
    }
    d->added += need;
    ring_store(d, d->desc + first * 16 + 14, first_flags);
    return id;
}

/* The head or id of the next chain. */
static inline unsigned ring_next(RingDriver *d)
{
    return d->unused_count ? d->unused[d->unused_count - 1] : 0;
}

/* Gives the head or id, -1 where the ring is full. 'indirect': where the table goes, or 0. */
static inline int ring_add(RingDriver *d, const RingPiece *p, unsigned n, uint64_t indirect)
{
    return d->packed ? ring_add_packed(d, p, n, indirect) : ring_add_split(d, p, n, indirect);
}

/* The next used entry. */
static inline bool ring_get(RingDriver *d, uint32_t *id, uint32_t *len)
{
    if (!d->packed) {
        uint8_t *entry = ring_at(d, d->device + 4 + 8 * (d->used % d->size));

        if (d->used == ring_load(d, d->device + 2)) {
            return false;
        }
        *id = ldle32(entry);
        *len = ldle32(entry + 4);
        d->used++;
        for (unsigned i = 0, at = *id; i < d->ndescs[*id]; i++, at = d->chain[at]) {
            d->unused[d->unused_count++] = at;
        }
    } else {
        uint8_t *entry = ring_at(d, d->desc + 16 * d->used);
        uint16_t flags = ring_load(d, d->desc + 16 * d->used + 14);

        if (!!(flags & 1u << VRING_PACKED_DESC_F_AVAIL) != d->used_wrap ||
            !!(flags & 1u << VRING_PACKED_DESC_F_USED) != d->used_wrap) {
            return false;
        }
        *id = ldle16(entry + 12);
        *len = ldle32(entry + 8);
        d->unused[d->unused_count++] = *id;
        d->used += d->ndescs[*id];
        if (d->used >= d->size) {
            d->used -= d->size;
            d->used_wrap = !d->used_wrap;
        }
    }
    d->free += d->ndescs[*id];
    return true;
}

/*
 * Whether the device wants a kick for what was added since this was last asked (2.7.10, 2.8.10),
 * as Linux' driver finds it out.
 */
static inline bool ring_kick_wanted(RingDriver *d)
{
    uint16_t now = d->avail, before = now - d->added, event, flags;

    d->added = 0;
    __sync_synchronize();
    if (!d->packed && !d->event_idx) {
        return !(ring_load(d, d->device) & VRING_USED_F_NO_NOTIFY);
    }
    if (!d->packed) {
        event = ring_load(d, d->device + 4 + 8 * d->size);
        return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
    }
    event = ring_load(d, d->device);
    flags = ring_load(d, d->device + 2);
    if (flags != VRING_PACKED_EVENT_FLAG_DESC) {
        return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    bool wrap = event & 0x8000;

    event &= 0x7fff;
    if (wrap != d->avail_wrap) {
        event -= d->size;
    }
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* Asks for an interrupt at the next used entry; or, without event indices, for all or none. */
static inline void ring_want_interrupt(RingDriver *d, bool on)
{
    if (!d->packed && d->event_idx) {
        if (on) {
            stle16(ring_at(d, d->driver + 4 + 2 * d->size), d->used);
        }
    } else if (!d->packed) {
        stle16(ring_at(d, d->driver), on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
    } else if (d->event_idx && on) {
        stle16(ring_at(d, d->driver), d->used | (d->used_wrap ? 0x8000 : 0));
        stle16(ring_at(d, d->driver + 2), VRING_PACKED_EVENT_FLAG_DESC);
    } else {
        stle16(ring_at(d, d->driver + 2),
               on ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif

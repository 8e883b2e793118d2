/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues (2.7). */
#include "virtqueue_internal.h"

/* 2.7: offsets within the driver area (available ring) and the device area (used ring). */
#define RING_FLAGS       0
#define RING_IDX         2
#define RING_ENTRIES     4
#define AVAIL_ENTRY_SIZE 2
#define USED_ENTRY_SIZE  8
#define DESC_SIZE        16

typedef struct {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} SplitDesc;

static SplitDesc split_decode(const uint64_t raw[2])
{
    uint64_t low = le64toh(raw[1]);

    return (SplitDesc){
        .addr = le64toh(raw[0]), .len = (uint32_t)low, .flags = low >> 32, .next = low >> 48};
}

bool split_map(Virtqueue *vq)
{
    Vm *vm = vq->vdev->dev.vm;
    unsigned n = vq->s->size;

    /* The rings end in an event word even without EVENT_IDX (2.7.6, 2.7.8): the 2 bytes here. */
    return dma_cache_init(&vq->desc, vm, vq->s->desc, DESC_SIZE * n) &&
           dma_cache_init(&vq->driver, vm, vq->s->driver,
                          RING_ENTRIES + AVAIL_ENTRY_SIZE * n + 2) &&
           dma_cache_init(&vq->device, vm, vq->s->device, RING_ENTRIES + USED_ENTRY_SIZE * n + 2);
}

static uint16_t *used_event(Virtqueue *vq)
{
    return (uint16_t *)(vq->driver.host + RING_ENTRIES + AVAIL_ENTRY_SIZE * vq->s->size);
}

static void set_avail_event(Virtqueue *vq, uint16_t idx)
{
    unsigned offset = RING_ENTRIES + USED_ENTRY_SIZE * vq->s->size;

    ring_store16(vq->device.host + offset, idx);
    dma_cache_dirty(&vq->device, offset, 2);
}

bool split_empty(Virtqueue *vq)
{
    if (vq->shadow_avail != vq->s->last_avail) {
        return false;
    }
    vq->shadow_avail = ring_load16_acquire(vq->driver.host + RING_IDX);
    return vq->shadow_avail == vq->s->last_avail;
}

/* Reads the chain head at available index 'idx'. False: virtqueue_error() was called. */
static bool read_head(Virtqueue *vq, uint16_t idx, uint16_t *head)
{
    unsigned slot = idx % vq->s->size;

    *head = ring_load16(vq->driver.host + RING_ENTRIES + AVAIL_ENTRY_SIZE * slot);
    if (*head >= vq->s->size) {
        virtqueue_error(vq, "head %u outside of a ring of %u", *head, vq->s->size);
        return false;
    }
    return true;
}

/* The number of available chains; -1: virtqueue_error() was called. */
static int split_waiting(Virtqueue *vq)
{
    uint16_t n = vq->shadow_avail - vq->s->last_avail;

    if (n > vq->s->size) {
        virtqueue_error(vq, "available index moved from %u to %u in a ring of %u",
                        vq->s->last_avail, vq->shadow_avail, vq->s->size);
        return -1;
    }
    return n;
}

/* Follows a chain, including an indirect table at its end (2.7.5.3). */
typedef struct {
    Virtqueue *vq;
    DescTable table;
    unsigned n, i, steps; /* table: number of entries, the next one, entries read */
    bool indirect, done;
    const char **why; /* gets what is wrong, instead of the device; NULL: the device is told */
} SplitWalk;

static void split_walk_begin(SplitWalk *w, Virtqueue *vq, uint16_t head)
{
    *w = (SplitWalk){.vq = vq, .n = vq->s->size, .i = head};
    w->table.host = vq->desc.host;
}

static bool split_walk_error(SplitWalk *w, const char *what)
{
    if (w->why) {
        *w->why = what;
    } else {
        virtqueue_error(w->vq, "%s", what);
    }
    return false;
}

static bool split_enter_indirect(SplitWalk *w, const SplitDesc *d)
{
    if (!w->vq->indirect) {
        return split_walk_error(w, "an indirect table that was not negotiated");
    }
    if (w->indirect) {
        return split_walk_error(w, "an indirect table in an indirect table");
    }
    if (d->flags & VRING_DESC_F_NEXT) {
        return split_walk_error(w, "an indirect table with something chained behind it");
    }
    if (!d->len || d->len % DESC_SIZE || d->len / DESC_SIZE > 65536) {
        return split_walk_error(w, "an indirect table of an odd length");
    }
    if (!desc_table_open(&w->table, w->vq->vdev->dev.vm, d->addr, d->len)) {
        return split_walk_error(w, "an indirect table that is not in RAM");
    }
    w->indirect = true;
    w->n = d->len / DESC_SIZE;
    w->i = 0;
    w->steps = 0;
    return true;
}

/* Gets the chain's next buffer, until 'done'. False: split_walk_error() was called. */
static bool split_walk_next(SplitWalk *w, SplitDesc *d)
{
    uint64_t raw[2];

    for (;;) {
        if (w->i >= w->n) {
            return split_walk_error(w, "a descriptor outside of its table");
        }
        /* A chain with more entries than its table contains a loop. */
        if (w->steps++ >= w->n) {
            return split_walk_error(w, "a chain that loops");
        }
        if (!desc_table_read(&w->table, w->i, raw)) {
            return split_walk_error(w, "an indirect table that is not in RAM");
        }
        *d = split_decode(raw);
        if (!(d->flags & VRING_DESC_F_INDIRECT)) {
            break;
        }
        if (!split_enter_indirect(w, d)) {
            return false;
        }
    }
    w->i = d->next;
    w->done = !(d->flags & VRING_DESC_F_NEXT);
    return true;
}

VirtqueueElement *split_pop_head(Virtqueue *vq, size_t size, uint16_t head)
{
    VirtqueueGather g;
    VirtqueueElement *elem;
    SplitWalk w;
    SplitDesc d;

    virtqueue_gather_begin(&g, vq, size);
    split_walk_begin(&w, vq, head);
    do {
        if (!split_walk_next(&w, &d) ||
            !virtqueue_gather_add(&g, d.addr, d.len, d.flags & VRING_DESC_F_WRITE)) {
            virtqueue_gather_cancel(&g);
            return NULL;
        }
    } while (!w.done);
    elem = virtqueue_gather_end(&g);
    elem->index = head;
    elem->ndescs = 1;
    vq->inuse++;
    return elem;
}

bool split_look(Virtqueue *vq, uint16_t idx, VirtqueueChain *c, const char **why)
{
    unsigned slot = idx % vq->s->size;
    SplitWalk w;
    SplitDesc d;

    c->avail_flags = ring_load16(vq->driver.host + RING_FLAGS);
    c->avail_idx = ring_load16(vq->driver.host + RING_IDX);
    c->used_flags = ring_load16(vq->device.host + RING_FLAGS);
    c->used_idx = ring_load16(vq->device.host + RING_IDX);
    c->head = ring_load16(vq->driver.host + RING_ENTRIES + AVAIL_ENTRY_SIZE * slot);
    split_walk_begin(&w, vq, c->head);
    w.why = why;
    do {
        VirtqueueDesc found;

        if (!split_walk_next(&w, &d)) {
            return false;
        }
        found = (VirtqueueDesc){d.addr, d.len, d.flags};
        g_array_append_val(c->descs, found);
    } while (!w.done);
    return true;
}

VirtqueueElement *split_pop(Virtqueue *vq, size_t size)
{
    VirtqueueElement *elem;
    uint16_t head;

    if (split_empty(vq) || split_waiting(vq) < 0) {
        return NULL;
    }
    if (vq->inuse >= vq->s->size) {
        virtqueue_error(vq, "more chains than a ring of %u can hold", vq->s->size);
        return NULL;
    }
    if (!read_head(vq, vq->s->last_avail, &head)) {
        return NULL;
    }
    elem = split_pop_head(vq, size, head);
    if (elem) {
        vq->s->last_avail++;
    }
    return elem;
}

void split_unpop(Virtqueue *vq, VirtqueueElement *elem)
{
    vq->s->last_avail--;
    vq->inuse -= MIN(vq->inuse, 1);
}

void split_fill(Virtqueue *vq, uint16_t id, uint32_t len, unsigned nth)
{
    unsigned slot = (uint16_t)(vq->s->used_idx + nth) % vq->s->size;
    unsigned offset = RING_ENTRIES + USED_ENTRY_SIZE * slot;
    uint32_t *entry = (uint32_t *)(vq->device.host + offset);

    __atomic_store_n(&entry[0], htole32(id), __ATOMIC_RELAXED);
    __atomic_store_n(&entry[1], htole32(len), __ATOMIC_RELAXED);
    dma_cache_dirty(&vq->device, offset, USED_ENTRY_SIZE);
}

void split_flush(Virtqueue *vq, unsigned count)
{
    uint16_t before = vq->s->used_idx, after = before + count;

    ring_store16_release(vq->device.host + RING_IDX, after);
    dma_cache_dirty(&vq->device, RING_IDX, 2);
    vq->s->used_idx = after;
    vq->inuse -= MIN(vq->inuse, count);
    /* The used index has wrapped around since the last notification: used_event is ambiguous. */
    if ((uint16_t)(after - vq->s->signalled_used) < (uint16_t)(after - before)) {
        vq->s->signalled_valid = false;
    }
}

bool split_should_notify(Virtqueue *vq)
{
    uint16_t before = vq->s->signalled_used, after = vq->s->used_idx;
    bool valid = vq->s->signalled_valid;

    /* The used index is visible before flags and used_event are read (2.7.7.2). */
    ring_full_barrier();
    if (virtio_has_feature(vq->vdev, VIRTIO_F_NOTIFY_ON_EMPTY) && !vq->inuse && split_empty(vq)) {
        return true;
    }
    if (!vq->event_idx) {
        return !(ring_load16(vq->driver.host + RING_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
    }
    vq->s->signalled_used = after;
    vq->s->signalled_valid = true;
    return !valid || ring_need_event(ring_load16(used_event(vq)), after, before);
}

void split_find_end(Virtqueue *vq)
{
    vq->asked = vq->shadow_avail = ring_load16_acquire(vq->driver.host + RING_IDX);
}

bool split_grown(Virtqueue *vq)
{
    return ring_load16_acquire(vq->driver.host + RING_IDX) != vq->asked;
}

void split_set_notification(Virtqueue *vq, bool on)
{
    if (!vq->event_idx) {
        ring_store16(vq->device.host + RING_FLAGS, on ? 0 : VRING_USED_F_NO_NOTIFY);
        dma_cache_dirty(&vq->device, RING_FLAGS, 2);
    } else if (on) {
        set_avail_event(vq, vq->asked);
    }
    /* Off with EVENT_IDX: avail_event keeps its old value, and the driver kicks once at most. */
}

bool split_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out)
{
    int chains;

    /* Read again even if chains are known: the driver may have added more. */
    vq->shadow_avail = ring_load16_acquire(vq->driver.host + RING_IDX);
    chains = split_waiting(vq);
    for (int c = 0; c < chains && (*in < max_in || *out < max_out); c++) {
        SplitWalk w;
        SplitDesc d;
        uint16_t head;

        if (!read_head(vq, vq->s->last_avail + c, &head)) {
            return false;
        }
        split_walk_begin(&w, vq, head);
        do {
            if (!split_walk_next(&w, &d)) {
                return false;
            }
            *(d.flags & VRING_DESC_F_WRITE ? in : out) += d.len;
        } while (!w.done && (*in < max_in || *out < max_out));
    }
    return chains > 0;
}

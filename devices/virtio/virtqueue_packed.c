/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packed virtqueues (2.8). */
#include "virtqueue_internal.h"

#define DESC_SIZE         16
#define DESC_FLAGS_OFFSET 14
#define FLAG_AVAIL        BIT(VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED         BIT(VRING_PACKED_DESC_F_USED)
/* Event suppression structures (2.8.14). */
#define EVENT_SIZE 4
#define EVENT_DESC 0
#define EVENT_FLAG 2
#define EVENT_WRAP BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

typedef struct {
    uint64_t addr;
    uint32_t len;
    uint16_t id, flags;
} PackedDesc;

static PackedDesc packed_decode(const uint64_t raw[2])
{
    uint64_t low = le64toh(raw[1]);

    return (PackedDesc){
        .addr = le64toh(raw[0]), .len = (uint32_t)low, .id = low >> 32, .flags = low >> 48};
}

bool packed_map(Virtqueue *vq)
{
    Vm *vm = vq->vdev->dev.vm;

    return dma_cache_init(&vq->desc, vm, vq->s->desc, DESC_SIZE * vq->s->size) &&
           dma_cache_init(&vq->driver, vm, vq->s->driver, EVENT_SIZE) &&
           dma_cache_init(&vq->device, vm, vq->s->device, EVENT_SIZE);
}

static bool is_avail(uint16_t flags, bool wrap)
{
    return !!(flags & FLAG_AVAIL) == wrap && !!(flags & FLAG_USED) != wrap;
}

/* Advances a ring position by n <= size, with its wrap counter. */
static void packed_advance(Virtqueue *vq, uint16_t *pos, bool *wrap, unsigned n)
{
    unsigned next = *pos + n;

    if (next >= vq->s->size) {
        next -= vq->s->size;
        *wrap = !*wrap;
    }
    *pos = next;
}

/* The load acquires: the other fields of the descriptor are read after its flags. */
static bool packed_avail_at(Virtqueue *vq, uint16_t pos, bool wrap)
{
    const uint8_t *p = vq->desc.host + DESC_SIZE * pos + DESC_FLAGS_OFFSET;

    return is_avail(ring_load16_acquire(p), wrap);
}

bool packed_empty(Virtqueue *vq)
{
    return !packed_avail_at(vq, vq->s->last_avail, vq->s->avail_wrap);
}

/* Follows a chain: consecutive ring entries, or one indirect table (2.8.5, 2.8.7). */
typedef struct {
    Virtqueue *vq;
    DescTable ring, table;
    unsigned pos, n; /* the next ring entry; the number of ring entries read */
    unsigned left;   /* ring entries that may still belong to the chain */
    unsigned table_i, table_n;
    uint16_t id;
    bool done;
} PackedWalk;

static void packed_walk_begin(PackedWalk *w, Virtqueue *vq, unsigned pos, unsigned left)
{
    *w = (PackedWalk){.vq = vq, .pos = pos, .left = left};
    w->ring.host = vq->desc.host;
}

static bool packed_walk_error(PackedWalk *w, const char *what)
{
    virtqueue_error(w->vq, "%s", what);
    return false;
}

static bool packed_enter_indirect(PackedWalk *w, const PackedDesc *d)
{
    if (!w->vq->indirect) {
        return packed_walk_error(w, "an indirect table that was not negotiated");
    }
    if (d->flags & VRING_DESC_F_NEXT) {
        return packed_walk_error(w, "an indirect table with something chained behind it");
    }
    if (w->n > 1) {
        return packed_walk_error(w, "an indirect table inside a chain");
    }
    if (!d->len || d->len % DESC_SIZE || d->len / DESC_SIZE > 65536) {
        return packed_walk_error(w, "an indirect table of an odd length");
    }
    if (!desc_table_open(&w->table, w->vq->vdev->dev.vm, d->addr, d->len)) {
        return packed_walk_error(w, "an indirect table that is not in RAM");
    }
    w->table_n = d->len / DESC_SIZE;
    return true;
}

static bool packed_walk_next(PackedWalk *w, PackedDesc *d)
{
    uint64_t raw[2];

    if (!w->table_n) {
        if (!w->left) {
            return packed_walk_error(w, "a chain that is longer than its ring");
        }
        w->left--;
        desc_table_read(&w->ring, w->pos, raw);
        *d = packed_decode(raw);
        w->pos = w->pos + 1 == w->vq->s->size ? 0 : w->pos + 1;
        w->n++;
        w->id = d->id; /* the buffer id is that of the last descriptor (2.8.8) */
        w->done = !(d->flags & VRING_DESC_F_NEXT);
        if (!(d->flags & VRING_DESC_F_INDIRECT)) {
            return true;
        }
        if (!packed_enter_indirect(w, d)) {
            return false;
        }
    }
    if (!desc_table_read(&w->table, w->table_i++, raw)) {
        return packed_walk_error(w, "an indirect table that is not in RAM");
    }
    *d = packed_decode(raw);
    w->done = w->table_i == w->table_n;
    return true;
}

/* NULL: virtqueue_error() was called. */
static VirtqueueElement *packed_gather(PackedWalk *w, size_t size)
{
    VirtqueueGather g;
    VirtqueueElement *elem;
    PackedDesc d;

    virtqueue_gather_begin(&g, w->vq, size);
    do {
        if (!packed_walk_next(w, &d) ||
            !virtqueue_gather_add(&g, d.addr, d.len, d.flags & VRING_DESC_F_WRITE)) {
            virtqueue_gather_cancel(&g);
            return NULL;
        }
    } while (!w->done);
    elem = virtqueue_gather_end(&g);
    elem->table = w->table.gpa;
    elem->table_len = w->table_n * DESC_SIZE;
    return elem;
}

VirtqueueElement *packed_pop(Virtqueue *vq, size_t size)
{
    VirtqueueElement *elem;
    PackedWalk w;

    if (packed_empty(vq)) {
        return NULL;
    }
    packed_walk_begin(&w, vq, vq->s->last_avail, vq->s->size - MIN(vq->inuse, vq->s->size));
    elem = packed_gather(&w, size);
    if (!elem) {
        return NULL;
    }
    elem->index = w.id;
    elem->ndescs = w.n;
    elem->ring_pos = vq->s->last_avail;
    vq->inuse += w.n;
    packed_advance(vq, &vq->s->last_avail, &vq->s->avail_wrap, w.n);
    return elem;
}

VirtqueueElement *packed_load_table(Virtqueue *vq, size_t size, uint64_t gpa, uint32_t len)
{
    PackedDesc d = {.addr = gpa, .len = len};
    PackedWalk w;

    packed_walk_begin(&w, vq, 0, 0);
    return packed_enter_indirect(&w, &d) ? packed_gather(&w, size) : NULL;
}

void packed_unpop(Virtqueue *vq, VirtqueueElement *elem)
{
    if (elem->ring_pos > vq->s->last_avail ||
        (elem->ring_pos == vq->s->last_avail && elem->ndescs)) {
        vq->s->avail_wrap = !vq->s->avail_wrap;
    }
    vq->s->last_avail = elem->ring_pos;
    vq->inuse -= MIN(vq->inuse, elem->ndescs);
}

void packed_fill(Virtqueue *vq, uint16_t id, uint16_t ndescs, uint32_t len, unsigned nth)
{
    vq->filled[nth] = (VirtqueueUsed){.id = id, .ndescs = ndescs, .len = len};
}

static void write_used(Virtqueue *vq, const VirtqueueUsed *u, unsigned pos, bool wrap)
{
    unsigned offset = DESC_SIZE * pos;
    uint8_t *p = vq->desc.host + offset;
    uint16_t flags = (wrap ? FLAG_AVAIL | FLAG_USED : 0) | (u->len ? VRING_DESC_F_WRITE : 0);

    __atomic_store_n((uint32_t *)(p + 8), htole32(u->len), __ATOMIC_RELAXED);
    ring_store16(p + 12, u->id);
    ring_store16_release(p + DESC_FLAGS_OFFSET, flags);
    dma_cache_dirty(&vq->desc, offset, DESC_SIZE);
}

void packed_flush(Virtqueue *vq, unsigned count)
{
    uint16_t pos = vq->s->used_idx;
    bool wrap = vq->s->used_wrap;
    unsigned total = 0;

    /* The first entry is written last, so that the driver sees all of them or none. */
    for (unsigned i = 0; i < count; i++) {
        if (i) {
            write_used(vq, &vq->filled[i], pos, wrap);
        }
        packed_advance(vq, &pos, &wrap, vq->filled[i].ndescs);
        total += vq->filled[i].ndescs;
    }
    write_used(vq, &vq->filled[0], vq->s->used_idx, vq->s->used_wrap);
    if (wrap != vq->s->used_wrap) {
        vq->s->signalled_valid = false; /* offsets before and after a wrap cannot be compared */
    }
    vq->s->used_idx = pos;
    vq->s->used_wrap = wrap;
    vq->inuse -= MIN(vq->inuse, total);
}

bool packed_should_notify(Virtqueue *vq)
{
    uint16_t before = vq->s->signalled_used, after = vq->s->used_idx, flags, event;
    bool valid = vq->s->signalled_valid;
    int offset;

    ring_full_barrier();
    vq->s->signalled_used = after;
    vq->s->signalled_valid = true;
    flags = ring_load16_acquire(vq->driver.host + EVENT_FLAG) & 3;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !vq->event_idx) {
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    event = ring_load16(vq->driver.host + EVENT_DESC);
    offset = event & ~EVENT_WRAP;
    if (!!(event & EVENT_WRAP) != vq->s->used_wrap) {
        offset -= vq->s->size;
    }
    return !valid || ring_need_event(offset, after, before);
}

/*
 * The driver makes a chain's first descriptor available last (2.8.6). So its next chain begins at
 * the first descriptor that is not available.
 */
void packed_find_end(Virtqueue *vq)
{
    unsigned left = vq->s->size - MIN(vq->inuse, vq->s->size);

    vq->asked = vq->s->last_avail;
    vq->asked_wrap = vq->s->avail_wrap;
    while (left-- && packed_avail_at(vq, vq->asked, vq->asked_wrap)) {
        packed_advance(vq, &vq->asked, &vq->asked_wrap, 1);
    }
}

bool packed_grown(Virtqueue *vq)
{
    return packed_avail_at(vq, vq->asked, vq->asked_wrap);
}

void packed_set_notification(Virtqueue *vq, bool on)
{
    uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

    if (on && vq->event_idx) {
        ring_store16(vq->device.host + EVENT_DESC, vq->asked | (vq->asked_wrap ? EVENT_WRAP : 0));
        flags = VRING_PACKED_EVENT_FLAG_DESC;
    } else if (on) {
        flags = VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    ring_store16_release(vq->device.host + EVENT_FLAG, flags);
    dma_cache_dirty(&vq->device, 0, EVENT_SIZE);
}

bool packed_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out)
{
    unsigned left = vq->s->size - MIN(vq->inuse, vq->s->size);
    uint16_t pos = vq->s->last_avail;
    bool wrap = vq->s->avail_wrap, any = false;

    while (left && (!any || *in < max_in || *out < max_out)) {
        PackedWalk w;
        PackedDesc d;

        if (!packed_avail_at(vq, pos, wrap)) {
            break;
        }
        any = true;
        packed_walk_begin(&w, vq, pos, left);
        do {
            if (!packed_walk_next(&w, &d)) {
                return false;
            }
            *(d.flags & VRING_DESC_F_WRITE ? in : out) += d.len;
        } while (!w.done);
        left -= w.n;
        packed_advance(vq, &pos, &wrap, w.n);
    }
    return any;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue: its home loop, and what both ring formats have in common. Elements are made in
 * virtqueue_element.c. The guest may be malicious: every value is read from its memory once, then
 * checked.
 */
#include "virtqueue_internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/sched.h"
#include "base/trace.h"

/* The rings in guest memory. */

static bool map_rings(Virtqueue *vq)
{
    bool ok = vq->packed ? packed_map(vq) : split_map(vq);

    if (!ok) {
        virtqueue_error(vq, "the ring is not in RAM");
    }
    return ok;
}

/* The ring is mapped, or can be mapped again after a change of the memory map. (Hot path.) */
static inline bool rings_ready(Virtqueue *vq)
{
    if (G_LIKELY(dma_cache_valid(&vq->desc) && dma_cache_valid(&vq->driver) &&
                 dma_cache_valid(&vq->device))) {
        return true;
    }
    return virtqueue_ready(vq) && !virtio_broken(vq->vdev) && map_rings(vq);
}

/* Writes to the ring whether the driver is to kick. */
static void show_notification(Virtqueue *vq)
{
    bool on = vq->notification && !vq->quiet;

    if (vq->packed) {
        packed_set_notification(vq, on);
    } else {
        split_set_notification(vq, on);
    }
    if (on) {
        /* The driver adds a chain, then reads this. The device writes this, then reads the ring. */
        ring_full_barrier();
    }
}

/* Kicks. */

static void run_handler(Virtqueue *vq)
{
    VirtioDevice *vdev;

    sched_point("run_handler: was kicked");
    g_mutex_lock(&vq->lock);
    vdev = vq->vdev; /* NULL after virtqueue_free(), which any thread may have called */
    if (G_LIKELY(vq->running)) {
        if (!virtio_broken(vdev) && __atomic_load_n(&vdev->dma_on, __ATOMIC_RELAXED)) {
            trace(virtio_queue_notify, virtio_label(vdev), vq->index);
            vq->handler(vdev, vq);
        }
    } else if (vdev && vdev->late_start_bh) {
        /* 3.1.1: legacy drivers may use their queues before they set DRIVER_OK. */
        device_bh_schedule(vdev->late_start_bh);
    }
    g_mutex_unlock(&vq->lock);
}

static void kick_bh_fired(void *data)
{
    run_handler(data);
}

static void kick_fd_readable(void *data)
{
    Virtqueue *vq = data;
    uint64_t count;

    if (read(vq->kick_fd, &count, sizeof count) == sizeof count) {
        run_handler(vq);
    }
}

/* Whether the driver has added a chain since kicks were last asked for. */
static bool virtqueue_grown(Virtqueue *vq)
{
    return rings_ready(vq) && (vq->packed ? packed_grown(vq) : split_grown(vq));
}

/* Adaptive polling of an I/O thread: runs the handler for a new chain, without a kick. */
static bool poll_queue(void *data)
{
    Virtqueue *vq = data;
    bool found = false;

    g_mutex_lock(&vq->lock);
    if (vq->running && vq->notification && !virtio_broken(vq->vdev) &&
        __atomic_load_n(&vq->vdev->dma_on, __ATOMIC_RELAXED) && virtqueue_grown(vq)) {
        vq->handler(vq->vdev, vq);
        found = true;
    }
    g_mutex_unlock(&vq->lock);
    return found;
}

static void quiet_queue(void *data, bool on)
{
    Virtqueue *vq = data;

    g_mutex_lock(&vq->lock);
    vq->quiet = on;
    /*
     * While the VM is stopped, its memory is not written: the handler is called when it runs again.
     * 'asked' is kept, so that poll_queue() sees chains that the driver has added since.
     */
    if (vq->running && !virtio_broken(vq->vdev) &&
        __atomic_load_n(&vq->vdev->dma_on, __ATOMIC_RELAXED) && rings_ready(vq)) {
        show_notification(vq);
    }
    g_mutex_unlock(&vq->lock);
}

void virtqueue_notify_owed(Virtqueue *vq)
{
    g_mutex_lock(&vq->lock);
    /* NULL after virtqueue_free(), which any thread may have called. */
    if (__atomic_exchange_n(&vq->notify_pending, false, __ATOMIC_RELAXED) && vq->vdev) {
        virtqueue_notify(vq);
    }
    g_mutex_unlock(&vq->lock);
}

static void flush_notify(void *data)
{
    Virtqueue *vq = data;

    if (__atomic_load_n(&vq->notify_pending, __ATOMIC_RELAXED)) {
        sched_point("flush_notify: completions are in the ring, and the interrupt is to come");
        virtqueue_notify_owed(vq);
    }
}

void virtqueue_ref(Virtqueue *vq)
{
    __atomic_add_fetch(&vq->refs, 1, __ATOMIC_RELAXED);
}

void virtqueue_unref(Virtqueue *vq)
{
    if (__atomic_sub_fetch(&vq->refs, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    virtqueue_clear_pool(vq);
    g_mutex_clear(&vq->lock);
    fd_close(&vq->kick_fd);
    g_free(vq->filled);
    g_free(vq);
}

static void attach_on_loop(void *data)
{
    Virtqueue *vq = data;

    if (vq->kick_fd >= 0 && !vq->kick_handler) {
        vq->kick_handler = event_loop_add_fd(vq->loop, vq->kick_fd, kick_fd_readable, NULL, vq);
    }
    if (vq->polled && !vq->poll_handler) {
        vq->poll_handler = event_loop_add_poll(vq->loop, poll_queue, quiet_queue, vq);
    }
}

static void detach_on_loop(void *data)
{
    Virtqueue *vq = data;

    fd_handler_remove(g_steal_pointer(&vq->kick_handler));
    poll_handler_remove(g_steal_pointer(&vq->poll_handler));
    if (vq->flush_hooked) {
        event_loop_remove_flush(vq->loop, flush_notify, vq);
    }
    bh_cancel(&vq->kick_bh);
    virtqueue_unref(vq);
}

static void on_loop(Virtqueue *vq, EventFn fn)
{
    if (event_loop_in_thread(vq->loop)) {
        fn(vq);
    } else {
        event_loop_call(vq->loop, fn, vq);
    }
}

void virtqueue_attach(Virtqueue *vq)
{
    virtqueue_ref(vq);
    bh_init(&vq->kick_bh, vq->loop, kick_bh_fired, vq);
    vq->polled = vq->loop != vq->vdev->dev.loop;
    on_loop(vq, attach_on_loop);
}

/* The descriptor is made at the first call: a virtio-serial device has many unused queues. */
int virtqueue_kick_fd(Virtqueue *vq)
{
    if (vq->kick_fd < 0) {
        vq->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vq->kick_fd >= 0) {
            on_loop(vq, attach_on_loop);
        }
    }
    return vq->kick_fd;
}

Virtqueue *virtqueue_new(VirtioDevice *vdev, unsigned index, unsigned size, VirtqueueFn handler)
{
    Virtqueue *vq = g_new0(Virtqueue, 1);

    g_assert(size && size <= VIRTQUEUE_SIZE_MAX && is_power_of_2(size));
    vq->vdev = vdev;
    vq->s = &vdev->s.vq[index];
    vq->index = index;
    vq->max_size = size;
    vq->handler = handler;
    vq->loop = vdev->dev.loop;
    vq->refs = 1;
    vq->kick_fd = -1;
    g_mutex_init(&vq->lock);
    virtqueue_reset(vq);
    return vq;
}

/* The home loop may be another thread's and use the queue now: it drops its own reference. */
void virtqueue_free(Virtqueue *vq)
{
    g_mutex_lock(&vq->lock);
    vq->running = false;
    vq->vdev = NULL;
    vq->s = NULL;
    g_mutex_unlock(&vq->lock);
    if (vq->kick_bh.fn) {
        on_loop(vq, detach_on_loop);
    }
    virtqueue_unref(vq);
}

void virtqueue_set_running(Virtqueue *vq, bool running)
{
    g_mutex_lock(&vq->lock);
    vq->running = running;
    g_mutex_unlock(&vq->lock);
}

void virtio_quiesce_queue(Virtqueue *vq)
{
    virtqueue_set_running(vq, false);
}

static void forget_locked(Virtqueue *vq)
{
    vq->epoch++;
    vq->inuse = 0;
    vq->started = false;
    vq->shadow_avail = 0;
    vq->notification = true;
    __atomic_store_n(&vq->notify_pending, false, __ATOMIC_RELAXED);
    vq->desc = vq->driver = vq->device = (DmaCache){0};
}

void virtqueue_reset(Virtqueue *vq)
{
    g_mutex_lock(&vq->lock);
    *vq->s = (VirtqueueState){
        .size = vq->max_size,
        .vector = VIRTIO_NO_VECTOR,
        .avail_wrap = true,
        .used_wrap = true,
    };
    forget_locked(vq);
    virtqueue_clear_pool(vq);
    g_mutex_unlock(&vq->lock);
}

void virtqueue_forget(Virtqueue *vq)
{
    g_mutex_lock(&vq->lock);
    forget_locked(vq);
    g_mutex_unlock(&vq->lock);
}

bool virtqueue_check_state(const Virtqueue *vq, const VirtqueueState *s, bool packed,
                           const char **why)
{
    if (!s->size || s->size > vq->max_size) {
        *why = "a ring size that the device does not have";
    } else if (!packed && !is_power_of_2(s->size)) {
        *why = "a ring size that is no power of two";
    } else if (packed && (s->last_avail >= s->size || s->used_idx >= s->size)) {
        *why = "a position outside of the ring";
    } else if (!packed && (uint16_t)(s->last_avail - s->used_idx) > s->size) {
        *why = "more chains in flight than the ring has";
    } else {
        return true;
    }
    return false;
}

static bool start_locked(Virtqueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    vq->packed = virtio_has_feature(vdev, VIRTIO_F_RING_PACKED);
    vq->event_idx = virtio_has_feature(vdev, VIRTIO_RING_F_EVENT_IDX);
    vq->indirect = virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC);
    vq->s->signalled_valid = false;
    vq->shadow_avail = vq->s->last_avail;
    if (vq->packed && !vq->filled) {
        vq->filled = g_new(VirtqueueUsed, vq->max_size);
    }
    /* Required of the driver by 2.7 and 2.8.10; the atomic loads and stores rely on it. */
    if (!IS_ALIGNED(vq->s->desc, 16) || !IS_ALIGNED(vq->s->driver, vq->packed ? 4 : 2) ||
        !IS_ALIGNED(vq->s->device, 4)) {
        virtqueue_error(vq, "a ring that is not aligned");
        return false;
    }
    if (!map_rings(vq)) {
        return false;
    }
    trace(virtio_queue_start, virtio_label(vdev), vq->index, vq->s->size, vq->packed, vq->s->desc);
    vq->started = true;
    virtqueue_set_notification(vq, true);
    return true;
}

bool virtqueue_start(Virtqueue *vq)
{
    bool ok;

    g_mutex_lock(&vq->lock);
    ok = start_locked(vq);
    g_mutex_unlock(&vq->lock);
    return ok;
}

/* The device's side. */

Virtqueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtqueueFn handler)
{
    unsigned n = vdev->queue_count;

    g_assert(n < VIRTIO_QUEUE_MAX);
    vdev->queues[n] = virtqueue_new(vdev, n, size, handler);
    vdev->queue_count++;
    return vdev->queues[n];
}

void virtqueue_set_loop(Virtqueue *vq, EventLoop *loop)
{
    vq->loop = loop ? loop : vq->vdev->dev.loop;
}

unsigned virtqueue_index(const Virtqueue *vq)
{
    return vq->index;
}

unsigned virtqueue_size(const Virtqueue *vq)
{
    return vq->s->size;
}

unsigned virtqueue_max_size(const Virtqueue *vq)
{
    return vq->max_size;
}

bool virtqueue_ready(const Virtqueue *vq)
{
    return vq->s && vq->s->enabled;
}

bool virtqueue_running(const Virtqueue *vq)
{
    return vq->running && !virtio_broken(vq->vdev);
}

void virtqueue_kick(Virtqueue *vq)
{
    bh_schedule(&vq->kick_bh);
}

bool virtqueue_empty(Virtqueue *vq)
{
    if (!rings_ready(vq)) {
        return true;
    }
    return vq->packed ? packed_empty(vq) : split_empty(vq);
}

/* Not in virtqueue_pop(), which is a tail call where the point is off. */
static void *virtqueue_pop_traced(Virtqueue *vq, size_t size) __attribute__((cold, noinline));

static void *virtqueue_pop_traced(Virtqueue *vq, size_t size)
{
    VirtqueueElement *elem = vq->packed ? packed_pop(vq, size) : split_pop(vq, size);

    if (elem) {
        trace(virtqueue_pop, virtio_label(vq->vdev), vq->index, elem->index, elem->in_num,
              elem->out_num);
    }
    return elem;
}

void *virtqueue_pop(Virtqueue *vq, size_t size)
{
    if (G_UNLIKELY(!vq->running || virtio_broken(vq->vdev) || !rings_ready(vq))) {
        return NULL;
    }
    if (G_UNLIKELY(trace_enabled(TRACE_virtqueue_pop))) {
        return virtqueue_pop_traced(vq, size);
    }
    return vq->packed ? packed_pop(vq, size) : split_pop(vq, size);
}

/* A stale element was popped from a ring that was reset since. */
static bool virtqueue_stale(Virtqueue *vq, const VirtqueueElement *elem)
{
    return G_UNLIKELY(elem->epoch != vq->epoch);
}

void virtqueue_fill(Virtqueue *vq, VirtqueueElement *elem, uint32_t written, unsigned nth)
{
    g_assert(nth < vq->max_size);
    if (!virtqueue_stale(vq, elem) && rings_ready(vq)) {
        trace(virtqueue_fill, virtio_label(vq->vdev), vq->index, elem->index, written);
        if (vq->packed) {
            packed_fill(vq, elem->index, elem->ndescs, written, nth);
        } else {
            split_fill(vq, elem->index, written, nth);
        }
    }
    virtqueue_release_element(vq, elem);
}

void virtqueue_flush(Virtqueue *vq, unsigned count)
{
    if (!count || !rings_ready(vq)) {
        return;
    }
    trace(virtqueue_flush, virtio_label(vq->vdev), vq->index, count);
    if (vq->packed) {
        packed_flush(vq, count);
    } else {
        split_flush(vq, count);
    }
}

void virtqueue_push(Virtqueue *vq, VirtqueueElement *elem, uint32_t written)
{
    if (virtqueue_stale(vq, elem)) {
        virtqueue_release_element(vq, elem);
        return;
    }
    virtqueue_fill(vq, elem, written, 0);
    virtqueue_flush(vq, 1);
}

void virtqueue_unpop(Virtqueue *vq, VirtqueueElement *elem)
{
    if (!virtqueue_stale(vq, elem)) {
        if (vq->packed) {
            packed_unpop(vq, elem);
        } else {
            split_unpop(vq, elem);
        }
    }
    virtqueue_release_element(vq, elem);
}

void virtqueue_drop(Virtqueue *vq, VirtqueueElement *elem)
{
    if (!virtqueue_stale(vq, elem)) {
        vq->inuse -= MIN(vq->inuse, vq->packed ? elem->ndescs : 1u);
    }
    virtqueue_release_element(vq, elem);
}

void virtqueue_notify(Virtqueue *vq)
{
    VirtioDevice *vdev = vq->vdev;
    uint16_t vector;

    if (!rings_ready(vq) || !(vq->packed ? packed_should_notify(vq) : split_should_notify(vq))) {
        return;
    }
    /* The vector is atomic: the driver may change it at any time. */
    vector = __atomic_load_n(&vq->s->vector, __ATOMIC_RELAXED);
    trace(virtio_notify, virtio_label(vdev), vq->index, vector);
    vdev->notify(vdev, vector, 1); /* ISR bit 0: a queue (4.1.4.5) */
}

void virtqueue_notify_later(Virtqueue *vq)
{
    if (!vq->flush_hooked) {
        vq->flush_hooked = true;
        event_loop_add_flush(vq->loop, flush_notify, vq);
    }
    __atomic_store_n(&vq->notify_pending, true, __ATOMIC_RELAXED);
}

bool virtqueue_set_notification(Virtqueue *vq, bool on)
{
    if ((!on && !vq->notification) || !rings_ready(vq)) {
        return false;
    }
    vq->notification = on;
    if (on && vq->packed) {
        packed_find_end(vq);
    } else if (on) {
        split_find_end(vq);
    }
    show_notification(vq);
    return on && !virtqueue_empty(vq);
}

bool virtqueue_await(Virtqueue *vq, size_t in_bytes, size_t out_bytes)
{
    /* Bounds the loop: only a malicious driver adds more chains than the ring has entries. */
    unsigned looks = virtqueue_ready(vq) ? vq->s->size : 0;
    bool asked = false;

    while (!virtqueue_has_room(vq, in_bytes, out_bytes)) {
        /* No kick follows for chains that were added before kicks were asked for. */
        if (!virtqueue_running(vq) || (asked && !(virtqueue_grown(vq) && looks--))) {
            return false;
        }
        virtqueue_set_notification(vq, true);
        asked = true;
    }
    virtqueue_set_notification(vq, false);
    return true;
}

void virtqueue_end_turn(Virtqueue *vq)
{
    virtqueue_notify(vq);
    if (virtqueue_await(vq, 0, 0)) {
        virtqueue_kick(vq); /* in a later turn, after the loop's other work */
    }
}

bool virtqueue_room(Virtqueue *vq, size_t max_in, size_t max_out, size_t *in, size_t *out)
{
    *in = *out = 0;
    if (!vq->running || virtio_broken(vq->vdev) || !rings_ready(vq)) {
        return false;
    }
    return vq->packed ? packed_room(vq, max_in, max_out, in, out)
                      : split_room(vq, max_in, max_out, in, out);
}

bool virtqueue_has_room(Virtqueue *vq, size_t in_bytes, size_t out_bytes)
{
    size_t in, out;

    return virtqueue_room(vq, in_bytes, out_bytes, &in, &out) && in >= in_bytes && out >= out_bytes;
}

/*
 * Saved elements: what cannot be read in the ring again. The driver leaves a chain's descriptors in
 * a split ring, and an indirect table, as they are until the chain is given back. In a packed ring,
 * used entries may have overwritten descriptors. The words are at most three for each entry of the
 * ring, and two for each chain, but for buffers that span pieces of RAM.
 *
 *     word 0    head or id, ndescs << 16
 *     packed    word 1: readable buffers, writable ones << 16; 0: an indirect table
 *               three words for each buffer or the table: guest address (low, high), length
 */
enum { SAVED_BUFFER = 3 };

static void save_buffer(uint32_t *words, uint64_t gpa, uint32_t len)
{
    words[0] = gpa;
    words[1] = gpa >> 32;
    words[2] = len;
}

static uint64_t saved_address(const uint32_t *words)
{
    return words[0] | (uint64_t)words[1] << 32;
}

unsigned virtqueue_save_element(const VirtqueueElement *elem, uint32_t *words, unsigned room)
{
    const Virtqueue *vq = elem->vq;
    const uint64_t *gpas = virtqueue_element_gpas((VirtqueueElement *)elem);
    unsigned pieces = elem->in_num + elem->out_num, buffers = elem->table_len ? 1 : pieces;
    unsigned n = vq->packed ? 2 + SAVED_BUFFER * buffers : 1;

    if (room < n || elem->epoch != vq->epoch) {
        return 0;
    }
    words[0] = elem->index | (uint32_t)elem->ndescs << 16;
    if (!vq->packed) {
        return n;
    }
    if (elem->table_len) {
        words[1] = 0;
        save_buffer(words + 2, elem->table, elem->table_len);
        return n;
    }
    words[1] = elem->out_num | (uint32_t)elem->in_num << 16;
    for (unsigned i = 0; i < pieces; i++) {
        save_buffer(words + 2 + SAVED_BUFFER * i, gpas[i], elem->out[i].iov_len);
    }
    return n;
}

static VirtqueueElement *load_buffers(Virtqueue *vq, size_t size, const uint32_t *words, unsigned n)
{
    unsigned out_num = words[1] & 0xffff, num = out_num + (words[1] >> 16);
    VirtqueueGather g;

    if (num > VIRTQUEUE_IOV_MAX || n != 2 + SAVED_BUFFER * num) {
        return NULL;
    }
    virtqueue_gather_begin(&g, vq, size);
    for (unsigned i = 0; i < num; i++) {
        const uint32_t *b = words + 2 + SAVED_BUFFER * i;

        if (!virtqueue_gather_add(&g, saved_address(b), b[2], i >= out_num)) {
            virtqueue_gather_cancel(&g);
            return NULL;
        }
    }
    return virtqueue_gather_end(&g);
}

static VirtqueueElement *load_packed(Virtqueue *vq, size_t size, const uint32_t *words, unsigned n)
{
    unsigned ndescs = words[0] >> 16;
    VirtqueueElement *elem = NULL;

    /* No driver has more in flight than the ring has entries. */
    if (n < 2 + SAVED_BUFFER || !ndescs || vq->inuse + ndescs > vq->s->size) {
        return NULL;
    }
    if (words[1]) {
        elem = load_buffers(vq, size, words, n);
    } else if (n == 2 + SAVED_BUFFER) {
        elem = packed_load_table(vq, size, saved_address(words + 2), words[4]);
    }
    if (elem) {
        elem->index = words[0] & 0xffff;
        elem->ndescs = ndescs;
        vq->inuse += ndescs;
    }
    return elem;
}

void *virtqueue_load_element(Virtqueue *vq, size_t size, const uint32_t *words, unsigned n)
{
    if (!n || !virtqueue_ready(vq) || virtio_broken(vq->vdev) || !rings_ready(vq)) {
        return NULL;
    }
    if (vq->packed) {
        return load_packed(vq, size, words, n);
    }
    /* Head, and ndescs 1. */
    if (n != 1 || (words[0] & 0xffff) >= vq->s->size || words[0] >> 16 != 1 ||
        vq->inuse >= vq->s->size) {
        return NULL;
    }
    return split_pop_head(vq, size, words[0] & 0xffff);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elements of a virtqueue: their memory, and how a ring format gathers a chain's buffers into one.
 * The guest may be malicious: every value is read from its memory once, then checked.
 */
#include "virtqueue_internal.h"

/* iovecs of an element of each pool class: for small requests, for 512 KiB in pages, for any. */
static const uint16_t pool_capacity[VQ_POOL_CLASSES] = {20, 130, VIRTQUEUE_IOV_MAX};
static const unsigned pool_keep[VQ_POOL_CLASSES] = {VIRTQUEUE_SIZE_MAX, 32, 2};

G_STATIC_ASSERT(sizeof(VirtqueueElement) % 8 == 0);

static unsigned pool_class(unsigned capacity)
{
    unsigned c = 0;

    while (pool_capacity[c] < capacity) {
        c++;
    }
    return c;
}

VirtqueueElement *virtqueue_alloc_element(Virtqueue *vq, size_t size, unsigned capacity)
{
    unsigned c = pool_class(capacity);
    VirtqueuePool *pool = &vq->pool[c];
    VirtqueueElement *elem = pool->free;

    g_assert(size >= sizeof(VirtqueueElement));
    if (G_LIKELY(elem && elem->alloc_size == size)) {
        pool->free = elem->next;
        pool->count--;
    } else {
        elem = g_malloc(ROUND_UP(size, 16) +
                        pool_capacity[c] * (sizeof(struct iovec) + sizeof(uint64_t)));
    }
    *elem = (VirtqueueElement){
        .vq = vq, .alloc_size = size, .capacity = pool_capacity[c], .epoch = vq->epoch};
    elem->out = (struct iovec *)((char *)elem + ROUND_UP(size, 16));
    return elem;
}

void virtqueue_free_element(Virtqueue *vq, VirtqueueElement *elem)
{
    unsigned c = pool_class(elem->capacity);
    VirtqueuePool *pool = &vq->pool[c];

    if (pool->count >= pool_keep[c] || (pool->free && pool->free->alloc_size != elem->alloc_size)) {
        g_free(elem);
        return;
    }
    elem->next = pool->free;
    pool->free = elem;
    pool->count++;
}

void virtqueue_clear_pool(Virtqueue *vq)
{
    for (unsigned c = 0; c < VQ_POOL_CLASSES; c++) {
        while (vq->pool[c].free) {
            VirtqueueElement *elem = vq->pool[c].free;
            vq->pool[c].free = elem->next;
            g_free(elem);
        }
        vq->pool[c].count = 0;
    }
}

void virtqueue_release_element(Virtqueue *vq, VirtqueueElement *elem)
{
    dma_unmap_iov(vq->vdev->dev.vm, elem->out, elem->out_num, false);
    dma_unmap_iov(vq->vdev->dev.vm, elem->in, elem->in_num, true);
    virtqueue_free_element(vq, elem);
}

bool virtqueue_gather_begin(VirtqueueGather *g, Virtqueue *vq, size_t size)
{
    *g = (VirtqueueGather){.vq = vq, .elem = virtqueue_alloc_element(vq, size, 1)};
    return true;
}

static bool gather_grow(VirtqueueGather *g)
{
    VirtqueueElement *old = g->elem, *bigger;

    if (old->capacity == VIRTQUEUE_IOV_MAX) {
        return false;
    }
    bigger = virtqueue_alloc_element(g->vq, old->alloc_size, old->capacity + 1);
    bigger->in_num = old->in_num;
    bigger->out_num = old->out_num;
    memcpy(bigger->out, old->out, g->n * sizeof *old->out);
    memcpy(virtqueue_element_gpas(bigger), virtqueue_element_gpas(old), g->n * sizeof(uint64_t));
    virtqueue_free_element(g->vq, old);
    g->elem = bigger;
    return true;
}

/* Adds one descriptor's buffer. False: virtqueue_error() was called. */
bool virtqueue_gather_add(VirtqueueGather *g, uint64_t addr, uint32_t len, bool write)
{
    VirtioDevice *vdev = g->vq->vdev;

    if (!len) {
        virtqueue_error(g->vq, "a buffer of no length");
        return false;
    }
    if (!write && g->elem->in_num) {
        /* 2.7.4.2, 2.8.5: readable buffers come first. */
        virtqueue_error(g->vq, "a readable buffer after a writable one");
        return false;
    }
    *(write ? &g->in_len : &g->out_len) += len;
    while (len) {
        uint64_t piece = len;
        void *host;

        if (g->n == g->elem->capacity && !gather_grow(g)) {
            virtqueue_error(g->vq, "a chain of more than %u pieces", VIRTQUEUE_IOV_MAX);
            return false;
        }
        host = addr + len - 1 < addr ? NULL : dma_map(vdev->dev.vm, addr, &piece, write);
        if (!host) {
            virtqueue_error(g->vq, "a buffer at 0x%" G_GINT64_MODIFIER "x that is not in RAM",
                            addr);
            return false;
        }
        virtqueue_element_gpas(g->elem)[g->n] = addr;
        g->elem->out[g->n++] = (struct iovec){.iov_base = host, .iov_len = piece};
        (*(write ? &g->elem->in_num : &g->elem->out_num))++;
        addr += piece;
        len -= piece;
    }
    return true;
}

VirtqueueElement *virtqueue_gather_end(VirtqueueGather *g)
{
    VirtqueueElement *elem = g->elem;

    elem->in = elem->out + elem->out_num;
    elem->in_len = g->in_len;
    elem->out_len = g->out_len;
    return elem;
}

void virtqueue_gather_cancel(VirtqueueGather *g)
{
    virtqueue_gather_end(g);
    g->elem->in_len = 0;
    dma_unmap_iov(g->vq->vdev->dev.vm, g->elem->out, g->n, false);
    virtqueue_free_element(g->vq, g->elem);
}

bool desc_table_open(DescTable *t, Vm *vm, uint64_t gpa, uint64_t len)
{
    uint64_t mapped = len;

    *t = (DescTable){.gpa = gpa, .vm = vm};
    if (gpa + len - 1 < gpa) {
        return false;
    }
    t->host = dma_map(vm, gpa, &mapped, false);
    if (t->host && mapped < len) {
        t->host = NULL; /* the table spans two RAM regions */
        return true;
    }
    return t->host != NULL;
}

bool desc_table_read(const DescTable *t, unsigned i, uint64_t raw[2])
{
    if (!t->host) {
        return dma_read(t->vm, t->gpa + i * 16ull, raw, 16);
    }
    const uint8_t *p = t->host + i * 16ull;

    if (G_LIKELY(IS_ALIGNED((uintptr_t)p, 8))) {
        raw[0] = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
        raw[1] = __atomic_load_n((const uint64_t *)(p + 8), __ATOMIC_RELAXED);
    } else {
        memcpy(raw, p, 16);
        /* Keeps the compiler from reading the guest's memory again instead of raw[]. */
        __asm__ volatile("" : "+m"(*(uint64_t(*)[2])raw));
    }
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DMA: devices' accesses to guest RAM. */
#include "guest_copy.h"
#include "memory_internal.h"

/* The RAM at gpa, with *avail bytes from there on; NULL: no RAM, or ROM and the access writes. */
static uint8_t *ram_at(Vm *vm, uint64_t gpa, bool write, uint64_t *avail, RamBlock **block)
{
    const FlatRange *r = flat_view_find(memory_view(vm, IO_SPACE_MEM), gpa, NULL);

    if (!r || !r->host || (write && r->readonly)) {
        return NULL;
    }
    *avail = r->last - gpa + 1;
    *block = r->region->ram;
    return r->host + (gpa - r->addr);
}

static bool dma_walk(Vm *vm, uint64_t gpa, uint64_t len, bool write,
                     void (*fn)(uint8_t *host, uint64_t n, void *ctx), void *ctx)
{
    while (len) {
        uint64_t avail;
        RamBlock *block;
        uint8_t *host = ram_at(vm, gpa, write, &avail, &block);

        if (!host) {
            return false;
        }
        avail = MIN(avail, len);
        fn(host, avail, ctx);
        if (write) {
            memory_mark_dirty(vm, block, host - block->host, avail);
        }
        gpa += avail;
        len -= avail;
    }
    return true;
}

static void dma_copy_out(uint8_t *host, uint64_t n, void *ctx)
{
    uint8_t **dst = ctx;

    guest_copy(*dst, host, n);
    *dst += n;
}

static void dma_copy_in(uint8_t *host, uint64_t n, void *ctx)
{
    const uint8_t **src = ctx;

    guest_copy(host, *src, n);
    *src += n;
}

static void dma_fill(uint8_t *host, uint64_t n, void *ctx)
{
    guest_set(host, *(uint8_t *)ctx, n);
}

bool dma_read(Vm *vm, uint64_t gpa, void *buf, uint64_t len)
{
    uint8_t *p = buf;

    return dma_walk(vm, gpa, len, false, dma_copy_out, &p);
}

bool dma_write(Vm *vm, uint64_t gpa, const void *buf, uint64_t len)
{
    const uint8_t *p = buf;

    return dma_walk(vm, gpa, len, true, dma_copy_in, &p);
}

bool dma_set(Vm *vm, uint64_t gpa, uint8_t byte, uint64_t len)
{
    return dma_walk(vm, gpa, len, true, dma_fill, &byte);
}

void *dma_map(Vm *vm, uint64_t gpa, uint64_t *len, bool write)
{
    uint64_t avail;
    RamBlock *block;
    uint8_t *host = ram_at(vm, gpa, write, &avail, &block);

    if (host) {
        *len = MIN(*len, avail);
    }
    return host;
}

/*
 * Finds the block by host address, since the map may have changed after dma_map(). The range may
 * lie in blocks that are neighbours in the host.
 */
void dma_unmap(Vm *vm, void *host, uint64_t len, bool write)
{
    struct MemoryMap *map = vm->memory;
    uint8_t *start = host, *end = start + len;

    if (!write || !__atomic_load_n(&map->dirty_readers, __ATOMIC_RELAXED)) {
        return;
    }
    g_rec_mutex_lock(&map->lock);
    for (RamBlock *b = map->blocks; b; b = b->next) {
        uint8_t *from = MAX(start, b->host), *to = MIN(end, b->host + b->size);

        if (from < to) {
            memory_mark_dirty(vm, b, from - b->host, to - from);
        }
    }
    g_rec_mutex_unlock(&map->lock);
}

bool dma_map_iov(Vm *vm, uint64_t gpa, uint64_t len, bool write, struct iovec *iov, unsigned *n,
                 unsigned max)
{
    while (len) {
        uint64_t piece = len;
        void *host;

        if (*n == max || !(host = dma_map(vm, gpa, &piece, write))) {
            return false;
        }
        iov[(*n)++] = (struct iovec){.iov_base = host, .iov_len = piece};
        gpa += piece;
        len -= piece;
    }
    return true;
}

void dma_unmap_iov(Vm *vm, const struct iovec *iov, unsigned n, bool write)
{
    if (!write || !__atomic_load_n(&vm->memory->dirty_readers, __ATOMIC_RELAXED)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        dma_unmap(vm, iov[i].iov_base, iov[i].iov_len, true);
    }
}

void dma_mapping_written(Vm *vm, const struct iovec *iov, unsigned n)
{
    dma_unmap_iov(vm, iov, n, true);
}

bool dma_cache_init(DmaCache *c, Vm *vm, uint64_t gpa, uint64_t len)
{
    uint64_t avail;

    *c = (DmaCache){.vm = vm, .gpa = gpa, .len = len};
    c->generation = __atomic_load_n(&vm->memory->generation, __ATOMIC_ACQUIRE);
    c->host = ram_at(vm, gpa, true, &avail, &c->block);
    if (c->host && avail < len) {
        c->host = NULL;
    }
    return c->host != NULL;
}

bool dma_cache_valid(const DmaCache *c)
{
    return c->host &&
           c->generation == __atomic_load_n(&c->vm->memory->generation, __ATOMIC_ACQUIRE);
}

void dma_cache_dirty(DmaCache *c, uint64_t offset, uint64_t len)
{
    memory_mark_dirty(c->vm, c->block, c->host - c->block->host + offset, len);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty logging: the readers of RAM blocks, and the accelerator's log, which goes to all of them.
 */
#include "base/reclaim.h"
#include "memory_internal.h"

static void dirty_reader_mark(DirtyReader *r, uint64_t first, uint64_t last)
{
    uint64_t end = r->first + r->pages;

    for (uint64_t page = MAX(first, r->first); page <= last && page < end; page++) {
        uint64_t bit = page - r->first;

        /* Release, after the write: a thread that fetches the bit then reads the new data. */
        __atomic_fetch_or(&r->bits[bit / 64], BIT64(bit % 64), __ATOMIC_RELEASE);
    }
}

void memory_mark_dirty(Vm *vm, RamBlock *block, uint64_t offset, uint64_t len)
{
    DirtyReader *r = __atomic_load_n(&block->readers, __ATOMIC_ACQUIRE);

    for (; G_UNLIKELY(r) && len; r = __atomic_load_n(&r->next, __ATOMIC_ACQUIRE)) {
        dirty_reader_mark(r, offset / DIRTY_PAGE, (offset + len - 1) / DIRTY_PAGE);
    }
}

/* Tells the accelerator whether the block's pages are logged. Map lock held. */
static void dirty_log_block(Vm *vm, RamBlock *block, bool on)
{
    const FlatView *view = vm->memory->view[IO_SPACE_MEM];

    if (!vm->accel || !vm->accel->memory_slot || vm->memory->cpus_gone) {
        return;
    }
    for (unsigned i = 0; i < view->slot_count; i++) {
        if (view->slots[i].block == block && !view->slots[i].readonly) {
            memory_slot_set(vm, &view->slots[i], true, on);
        }
    }
}

DirtyReader *memory_dirty_reader_new(Vm *vm, RamBlock *block, uint64_t offset, uint64_t len)
{
    struct MemoryMap *map = vm->memory;
    uint64_t pages = len / DIRTY_PAGE;
    DirtyReader *r = g_malloc0(sizeof *r + DIV_ROUND_UP(pages, 64) * sizeof r->bits[0]);

    g_assert(IS_ALIGNED(offset, DIRTY_PAGE) && IS_ALIGNED(len, DIRTY_PAGE));
    g_assert(offset + len <= block->size);
    r->vm = vm;
    r->block = block;
    r->first = offset / DIRTY_PAGE;
    r->pages = pages;
    g_rec_mutex_lock(&map->lock);
    r->next = block->readers;
    __atomic_store_n(&block->readers, r, __ATOMIC_RELEASE);
    __atomic_fetch_add(&map->dirty_readers, 1, __ATOMIC_SEQ_CST);
    if (!r->next) {
        dirty_log_block(vm, block, true);
    }
    g_rec_mutex_unlock(&map->lock);
    return r;
}

void memory_dirty_reader_free(DirtyReader *r)
{
    struct MemoryMap *map;
    DirtyReader **p;

    if (!r) {
        return;
    }
    map = r->vm->memory;
    g_rec_mutex_lock(&map->lock);
    p = r->block ? &r->block->readers : NULL;
    while (p && *p != r) {
        p = &(*p)->next;
    }
    /* The pointer in 'r' stays: a thread may be on its way through the list. */
    if (p) {
        __atomic_store_n(p, r->next, __ATOMIC_RELEASE);
    }
    __atomic_fetch_sub(&map->dirty_readers, 1, __ATOMIC_SEQ_CST);
    if (p && !r->block->readers) {
        dirty_log_block(r->vm, r->block, false);
    }
    g_rec_mutex_unlock(&map->lock);
    reclaim_retire(g_free, r);
}

bool memory_dirty_reader_gone(const DirtyReader *r)
{
    return !r->block;
}

void dirty_readers_let_go(RamBlock *block)
{
    DirtyReader *r = block->readers;

    /* As above, the readers' own pointers stay. */
    __atomic_store_n(&block->readers, NULL, __ATOMIC_RELEASE);
    for (; r; r = r->next) {
        r->block = NULL;
    }
}

void memory_dirty_reader_fetch(DirtyReader *r, uint64_t *bits)
{
    Vm *vm = r->vm;

    /* The lock keeps the accelerator's slots as they are. */
    g_rec_mutex_lock(&vm->memory->lock);
    if (r->block && vm->accel && vm->accel->dirty_fetch && !vm->memory->cpus_gone) {
        vm->accel->dirty_fetch(vm, r->block);
    }
    g_rec_mutex_unlock(&vm->memory->lock);
    for (uint64_t i = 0; i < DIV_ROUND_UP(r->pages, 64); i++) {
        bits[i] = __atomic_exchange_n(&r->bits[i], 0, __ATOMIC_ACQUIRE);
    }
}

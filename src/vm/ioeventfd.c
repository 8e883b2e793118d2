/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ioeventfds: guest writes that signal a file descriptor, by KVM or from dispatch. */
#include <unistd.h>

#include "memory_internal.h"

static void ioeventfd_deactivate(Vm *vm, IoEventFd *e)
{
    if (e->active_addr != UINT64_MAX) {
        vm->accel->ioeventfd(vm, e->active_space, e->active_addr, e->size, e->match, e->value,
                             e->fd, false);
        e->active_addr = UINT64_MAX;
    }
}

/* The address of the ioeventfd's register in the map; UINT64_MAX: it is hidden or unmapped. */
static uint64_t visible_at(Vm *vm, const IoEventFd *e)
{
    const IoRegion *r = e->region;
    uint64_t addr = r->addr + e->offset;
    const FlatRange *found;

    if (!r->mapped) {
        return UINT64_MAX;
    }
    found = flat_view_find(vm->memory->view[r->space], addr, NULL);
    return found && found->region == r ? addr : UINT64_MAX;
}

void ioeventfds_update(Vm *vm)
{
    if (!vm->accel || !vm->accel->ioeventfd) {
        return;
    }
    for (IoEventFd *e = vm->memory->eventfds; e; e = e->next) {
        uint64_t addr = visible_at(vm, e);

        if (addr == e->active_addr && (addr == UINT64_MAX || e->active_space == e->region->space)) {
            continue;
        }
        ioeventfd_deactivate(vm, e);
        /* If KVM has no room, the write exits to user space, and ioeventfd_signal() signals. */
        if (addr != UINT64_MAX && vm->accel->ioeventfd(vm, e->region->space, addr, e->size,
                                                       e->match, e->value, e->fd, true)) {
            e->active_addr = addr;
            e->active_space = e->region->space;
        }
    }
}

IoEventFd *io_eventfd_add(Vm *vm, IoRegion *r, uint64_t offset, unsigned size, bool match,
                          uint64_t value, int fd)
{
    struct MemoryMap *map = vm->memory;
    IoEventFd *e = g_new(IoEventFd, 1);

    *e = (IoEventFd){.region = r,
                     .offset = offset,
                     .size = size,
                     .match = match,
                     .value = value,
                     .fd = fd,
                     .active_addr = UINT64_MAX};
    memory_transaction_begin(vm);
    e->next = map->eventfds;
    map->eventfds = e;
    __atomic_fetch_add(&r->eventfds, 1, __ATOMIC_RELAXED);
    if (map->depth == 1 && !map->changed) {
        ioeventfds_update(vm);
    }
    memory_transaction_commit(vm);
    return e;
}

void io_eventfd_remove(Vm *vm, IoEventFd *e)
{
    struct MemoryMap *map = vm->memory;
    IoEventFd **p = &map->eventfds;

    if (!e) {
        return;
    }
    g_rec_mutex_lock(&map->lock);
    ioeventfd_deactivate(vm, e);
    while (*p != e) {
        p = &(*p)->next;
    }
    *p = e->next;
    __atomic_fetch_sub(&e->region->eventfds, 1, __ATOMIC_RELAXED);
    g_rec_mutex_unlock(&map->lock);
    g_free(e);
}

bool ioeventfd_signal(Vm *vm, IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    struct MemoryMap *map = vm->memory;
    bool hit = false;

    /* A board holds the map lock while it sets up devices; other writes must not wait for that. */
    if (!__atomic_load_n(&region->eventfds, __ATOMIC_RELAXED)) {
        return false;
    }
    g_rec_mutex_lock(&map->lock);
    for (IoEventFd *e = map->eventfds; e && !hit; e = e->next) {
        if (e->region == region && e->offset == offset && (!e->size || e->size == size) &&
            (!e->match || e->value == value)) {
            uint64_t one = 1;

            hit = true;
            if (write(e->fd, &one, sizeof one) < 0) {
                break; /* EAGAIN: the counter is at its limit, hence signalled already */
            }
        }
    }
    g_rec_mutex_unlock(&map->lock);
    return hit;
}

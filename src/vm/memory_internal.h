/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of guest memory share: the map and its rendered views. */
#ifndef VM_MEMORY_INTERNAL_H
#define VM_MEMORY_INTERNAL_H

#include "vm/memory.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

typedef struct {
    uint64_t addr, last; /* inclusive, so that a range may end at 2^64 */
    IoRegion *region;
    uint64_t offset; /* of addr inside the region */
    uint8_t *host;   /* RAM: of addr */
    bool readonly;
} FlatRange;

/* RAM that is one piece for the guest and for the host, however many regions show it. */
typedef struct {
    uint64_t addr, size;
    RamBlock *block;
    uint64_t offset; /* of addr inside the block */
    bool readonly;
} MemorySlot;

struct FlatView {
    unsigned count, slot_count;
    MemorySlot *slots; /* by address; behind the ranges, in the same allocation */
    FlatRange ranges[];
};

struct IoEventFd {
    IoEventFd *next;
    IoRegion *region;
    uint64_t offset, value;
    unsigned size;
    bool match;
    int fd;
    uint64_t active_addr; /* as the accelerator has it; UINT64_MAX: it has not */
    IoSpace active_space;
};

struct MemoryMap {
    GRecMutex lock; /* leaf (it holds vCPUs out of KVM_RUN, and nothing else, inside) */
    unsigned depth; /* of transactions */
    bool changed;
    bool refused;   /* RAM, by the accelerator */
    bool cpus_gone; /* none is going to run any more: the accelerator need not know */
    GPtrArray *regions[IO_SPACE_COUNT]; /* mapped ones */
    FlatView *view[IO_SPACE_COUNT];     /* atomic pointer */
    uint64_t generation;                /* atomic: of view[MEM]; DmaCache compares it */
    uint64_t seq;
    RamBlock *blocks;  /* main thread changes it under the lock */
    RamBlock *retired; /* the same; without names */
    IoEventFd *eventfds;
    int dirty_logging; /* atomic */
};

static inline const FlatView *memory_view(Vm *vm, IoSpace space)
{
    return __atomic_load_n(&vm->memory->view[space], __ATOMIC_ACQUIRE);
}

/* The range that holds addr, or NULL; *gap (where not NULL) gets the bytes until the next range. */
const FlatRange *flat_view_find(const FlatView *view, uint64_t addr, uint64_t *gap);

void memory_map_init(Vm *vm);
void memory_map_free(Vm *vm);
void ram_blocks_free(Vm *vm);
/* The CPUs are gone: what is unmapped from here on is no news for the accelerator. */
void memory_map_cpus_gone(Vm *vm);
/* Tells the accelerator of a slot, or of its end; 'log': writes to it are noted. */
void memory_slot_set(Vm *vm, const MemorySlot *s, bool add, bool log);
/* After a render: puts ioeventfds where their regions are now. Map lock held. */
void ioeventfds_update(Vm *vm);
/* A write that reached user space: signals a matching ioeventfd. */
bool ioeventfd_signal(Vm *vm, IoRegion *region, uint64_t offset, uint64_t value, unsigned size);

#endif

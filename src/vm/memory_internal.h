/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the files of guest memory: the map and its rendered views. */
#ifndef VM_MEMORY_INTERNAL_H
#define VM_MEMORY_INTERNAL_H

#include "vm/memory.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

typedef struct {
    uint64_t addr, last; /* inclusive, so that a range may end at 2^64 */
    IoRegion *region;
    uint64_t offset; /* of addr inside the region */
    uint8_t *host;   /* host address of addr; NULL: no RAM */
    bool readonly;
} FlatRange;

/* RAM that is contiguous for guest and host; several FlatRanges may lie in it. */
typedef struct {
    uint64_t addr, size;
    RamBlock *block;
    uint64_t offset; /* of addr inside the block */
    bool readonly;
} MemorySlot;

struct FlatView {
    unsigned count, slot_count;
    MemorySlot *slots; /* sorted by address; stored behind ranges[] in the same allocation */
    FlatRange ranges[];
};

struct IoEventFd {
    IoEventFd *next;
    IoRegion *region;
    uint64_t offset, value;
    unsigned size;
    bool match;
    int fd;
    uint64_t active_addr; /* that the accelerator watches; UINT64_MAX: none */
    IoSpace active_space;
};

struct MemoryMap {
    GRecMutex lock; /* leaf, but for vcpus_hold(), which is called with it held */
    unsigned depth; /* of nested transactions */
    bool changed;
    bool refused;   /* the accelerator has refused a RAM slot */
    bool cpus_gone; /* no vCPU will run again: slots are not taken back from the accelerator */
    GPtrArray *regions[IO_SPACE_COUNT]; /* those that are mapped */
    FlatView *view[IO_SPACE_COUNT];     /* atomic pointer */
    uint64_t generation;                /* atomic: counts changes of view[IO_SPACE_MEM] */
    uint64_t seq;
    RamBlock *blocks;  /* changed by the main thread, under the lock */
    RamBlock *retired; /* the same; these blocks have no names */
    IoEventFd *eventfds;
    int dirty_readers;      /* atomic */
    struct RamImage *image; /* main thread: the image that memory is mapped from; or NULL */
    bool locked;            /* all memory of the process is to stay in memory: none is mapped */
};

/* In the list of its block, which is followed without a lock. */
struct DirtyReader {
    DirtyReader *next; /* atomic */
    Vm *vm;
    RamBlock *block;       /* NULL: it is retired */
    uint64_t first, pages; /* of the block */
    uint64_t bits[];       /* atomic words */
};

static inline const FlatView *memory_view(Vm *vm, IoSpace space)
{
    return __atomic_load_n(&vm->memory->view[space], __ATOMIC_ACQUIRE);
}

/* The range that holds addr, or NULL; *gap (where not NULL) gets the bytes until the next range. */
const FlatRange *flat_view_find(const FlatView *view, uint64_t addr, uint64_t *gap);

/*
 * Calls 'fn' for each range of the block that may hold something else than zeroes, as far as that
 * can be told without looking at it; offsets ascend and are whole pages. Any thread.
 */
void ram_block_foreach_touched(const RamBlock *b,
                               void (*fn)(uint64_t start, uint64_t end, void *data), void *data);

/* A block that is retired: its readers hear nothing more of it. Main loop, under the map lock. */
void dirty_readers_let_go(RamBlock *block);

void memory_map_init(Vm *vm);
void memory_map_free(Vm *vm);
void ram_blocks_free(Vm *vm);
/* No vCPU will run again: the accelerator is not told of later changes. */
void memory_map_cpus_gone(Vm *vm);
/* Adds a slot to the accelerator or removes it; 'log': it logs the pages that are written. */
void memory_slot_set(Vm *vm, const MemorySlot *s, bool add, bool log);
/* Moves ioeventfds to where their regions are, after a render. Map lock held. */
void ioeventfds_update(Vm *vm);
/* Signals the ioeventfd that a write in user space matches; false: there is none. */
bool ioeventfd_signal(Vm *vm, IoRegion *region, uint64_t offset, uint64_t value, unsigned size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory and the dispatch of accesses to it.
 *
 * Two spaces, memory and ports. What is mapped is a flat set of regions with absolute addresses
 * and priorities (no tree): RAM or ROM pieces of a RamBlock, and I/O regions with callbacks. Where
 * regions overlap, the higher priority wins, then the later one. The set is rendered into an
 * immutable sorted array (FlatView) which writers replace whole under the map lock and readers
 * follow without one, inside a read section (base/reclaim.h).
 *
 * Threads: mapping changes from any thread (a leaf lock); they take effect before the function
 * returns, except that other threads may still be inside a handler of a region just unmapped:
 * dispatch re-checks under the device's lock.
 */
#ifndef VM_MEMORY_H
#define VM_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/property.h"
#include "vm/device.h"

typedef enum { IO_SPACE_MEM, IO_SPACE_PIO, IO_SPACE_COUNT } IoSpace;
typedef struct IoRegion IoRegion;
typedef struct RamBlock RamBlock;
typedef struct FlatView FlatView;

typedef enum { IO_OK, IO_DEFER } IoResult; /* IO_DEFER: see device_defer() */

typedef struct IoRegionOps {
    /* Values are little-endian integers of 'size' bytes, zero-extended. With the owner's lock held.
     */
    uint64_t (*read)(IoRegion *region, uint64_t offset, unsigned size);
    IoResult (*write)(IoRegion *region, uint64_t offset, uint64_t value, unsigned size);
    /* Accesses the bus lets through (others read all ones and are dropped); 0: 1..8 (4 for ports).
     */
    uint8_t valid_min, valid_max;
    bool unaligned; /* let through as they are */
    /* What the handlers take; dispatch splits and merges accesses to fit. 0: as valid. */
    uint8_t impl_min, impl_max;
    /* Called without the device's lock: the region's handlers lock for themselves (0xcf8/0xcfc). */
    bool lockless;
} IoRegionOps;

struct IoRegion {
    const char *name;
    IoSpace space;
    uint64_t addr, size;
    int priority;
    const IoRegionOps *ops; /* I/O regions; NULL for RAM */
    Device *owner;          /* whose lock guards the handlers; NULL with lockless only */
    unsigned index;         /* owner's own: which BAR, which port block */
    RamBlock *ram;          /* RAM regions */
    uint64_t ram_offset;
    bool readonly; /* ROM: guest writes are ignored (I/O: go to ops where set) */
    bool mapped;
    bool coalesced; /* writes may be batched by KVM */
    int eventfds;   /* atomic: how many there are in it */
    uint64_t seq;
};

/* Fill in the region (embedded in its device), which is then unmapped. */
void io_region_init(IoRegion *r, Device *owner, const IoRegionOps *ops, const char *name,
                    uint64_t size);
void io_region_init_ram(IoRegion *r, Device *owner, RamBlock *ram, uint64_t offset, uint64_t size,
                        bool readonly, const char *name);
/* Maps at an address (moves, where it is mapped already). */
void io_region_map(Vm *vm, IoRegion *r, IoSpace space, uint64_t addr, int priority);
void io_region_unmap(Vm *vm, IoRegion *r);
void io_region_set_readonly(Vm *vm, IoRegion *r, bool readonly);
/* Several changes as one (PAM, BARs): rendered and given to KVM at the outermost commit. */
void memory_transaction_begin(Vm *vm);
void memory_transaction_commit(Vm *vm);
/* False and *err where the accelerator has refused RAM since the map was made (the log says why).
 */
bool memory_accepted(Vm *vm, GError **err);

/* RAM blocks. Host memory that never moves while the VM lives. */
struct RamBlock {
    char *name; /* "pc.ram", "pc.bios", "0000:00:02.0/vga.vram" */
    uint8_t *host;
    uint64_t size; /* page-aligned */
    int fd;        /* memfd or file; -1: anonymous */
    bool shared;
    bool migratable; /* part of the saved state */
    uint64_t *dirty; /* a bit a page while logging; else NULL. Atomic words */
    struct RamBlock *next;
};
RamBlock *ram_block_new(Vm *vm, const char *name, uint64_t size, GError **err);
/* As a memory backend wants it: from fd (taken), shared, prealloc, huge pages by the fd itself. */
typedef struct {
    int fd;
    bool share, prealloc, merge, dump, hugepages;
    uint64_t offset;
} RamBlockOptions;
RamBlock *ram_block_new_opts(Vm *vm, const char *name, uint64_t size, const RamBlockOptions *opts,
                             GError **err);
/*
 * Of a device that goes. The block stays where it is until the VM ends, for requests that point
 * into it may be under way: its memory goes back to the host, and the next ram_block_new() of its
 * size takes it over. Unmapped already; private and anonymous; main thread.
 */
void ram_block_retire(Vm *vm, RamBlock *block);
RamBlock *ram_block_find(Vm *vm, const char *name);

/*
 * DMA: to guest RAM only (another device's registers are no target), bounds-checked. Any thread in
 * a read section (all loop and vCPU threads are). false: some of it is not RAM (nothing or a part
 * was copied); writes to ROM are refused.
 */
bool dma_read(Vm *vm, uint64_t gpa, void *buf, uint64_t len);
bool dma_write(Vm *vm, uint64_t gpa, const void *buf, uint64_t len);
bool dma_set(Vm *vm, uint64_t gpa, uint8_t byte, uint64_t len);
static inline bool dma_read16(Vm *vm, uint64_t gpa, uint16_t *v)
{
    uint8_t b[2];
    if (!dma_read(vm, gpa, b, 2)) {
        return false;
    }
    *v = ldle16(b);
    return true;
}
static inline bool dma_read32(Vm *vm, uint64_t gpa, uint32_t *v)
{
    uint8_t b[4];
    if (!dma_read(vm, gpa, b, 4)) {
        return false;
    }
    *v = ldle32(b);
    return true;
}
/*
 * A host pointer to guest RAM for host I/O: *len is cut to what is contiguous. NULL: not RAM. The
 * pointer is good until dma_unmap (which marks pages dirty where 'write'), also across yields:
 * memory is not unmapped under it (the mapping holds a count on the block).
 */
void *dma_map(Vm *vm, uint64_t gpa, uint64_t *len, bool write);
void dma_unmap(Vm *vm, void *host, uint64_t len, bool write);
/* Appends the pieces of [gpa, gpa+len) to iov (room for max in all); false: not RAM, or no room. */
bool dma_map_iov(Vm *vm, uint64_t gpa, uint64_t len, bool write, struct iovec *iov, unsigned *n,
                 unsigned max);
void dma_unmap_iov(Vm *vm, const struct iovec *iov, unsigned n, bool write);
/*
 * A cached window on guest RAM for hot structures (rings): valid() is false when the map has
 * changed since; then refresh. The pointer needs no lookup while valid.
 */
typedef struct {
    Vm *vm;
    uint64_t gpa, len;
    uint8_t *host;
    RamBlock *block;
    uint64_t generation;
} DmaCache;
bool dma_cache_init(DmaCache *c, Vm *vm, uint64_t gpa,
                    uint64_t len); /* false: not contiguous RAM */
bool dma_cache_valid(const DmaCache *c);
/* After CPU-side writes through c->host. */
void dma_cache_dirty(DmaCache *c, uint64_t offset, uint64_t len);

/*
 * A CPU's access (exits of KVM, qtest): RAM and I/O, split where it crosses regions. Unmapped
 * reads give all ones. May wait for deferred work (see device_defer_wait). Takes device locks: the
 * caller holds none.
 */
void cpu_access(Vm *vm, IoSpace space, uint64_t addr, void *data, unsigned len, bool write);
/* A debugger's access (monitor x/xp, gdb): RAM and ROM, writes to ROM included; never I/O. */
bool debug_access(Vm *vm, uint64_t gpa, void *data, uint64_t len, bool write);

/*
 * ioeventfd: the guest's write to this address signals fd without leaving the kernel. 'match':
 * only this value of 'size' bytes; size 0: any size. Under qtest dispatch does the same. Main
 * thread or under the device lock; follows the region when it moves.
 */
typedef struct IoEventFd IoEventFd;
IoEventFd *io_eventfd_add(Vm *vm, IoRegion *r, uint64_t offset, unsigned size, bool match,
                          uint64_t value, int fd);
void io_eventfd_remove(Vm *vm, IoEventFd *e);

/* Dirty logging (migration, savevm of a running VM, displays). Main loop. */
void memory_dirty_log(Vm *vm, bool on);
void memory_mark_dirty(Vm *vm, RamBlock *block, uint64_t offset, uint64_t len);
/* Folds KVM's log in, then hands out and clears the bitmap of a block (caller frees). */
uint64_t *memory_dirty_fetch(Vm *vm, RamBlock *block);

/* 'info mtree [-f]'; caller frees. */
char *memory_tree_text(Vm *vm, bool flat);
/* Guest RAM bytes as seen in the map below and above 4 GiB, for boards. */
uint64_t memory_ram_size(Vm *vm);

#endif

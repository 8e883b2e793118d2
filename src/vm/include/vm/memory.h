/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory and the dispatch of accesses to it.
 *
 * There are two spaces, memory and ports. The map is a flat set of regions (no tree) with absolute
 * addresses and priorities: RAM or ROM pieces of a RamBlock, and I/O regions with callbacks. Where
 * regions overlap, the higher priority wins, then the one mapped later. The set is rendered into an
 * immutable sorted array, FlatView. Writers replace the whole array under the map lock; readers
 * follow it without a lock, inside a read section (base/reclaim.h).
 *
 * Threads: any thread may change the map (its lock is a leaf). A change takes effect before the
 * function returns. A thread that found a region before the change may call its handler later:
 * dispatch checks under the owner's lock that the region is still mapped.
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
    /*
     * Values are integers of 'size' bytes, zero-extended; the byte at the lowest address is the
     * lowest one. Called with the owner's lock held.
     */
    uint64_t (*read)(IoRegion *region, uint64_t offset, unsigned size);
    IoResult (*write)(IoRegion *region, uint64_t offset, uint64_t value, unsigned size);
    /*
     * Sizes that the bus lets through, 0 meaning 1 to 8 bytes (4 for ports). Longer accesses are
     * split; shorter ones read all ones, and their writes are dropped.
     */
    uint8_t valid_min, valid_max;
    bool unaligned; /* unaligned accesses are not split */
    /* Sizes that the handlers take; dispatch splits and widens accesses to fit. 0: as valid. */
    uint8_t impl_min, impl_max;
    /* The handlers are called without the device's lock and lock for themselves (0xcf8/0xcfc). */
    bool lockless;
} IoRegionOps;

struct IoRegion {
    const char *name;
    IoSpace space;
    uint64_t addr, size;
    int priority;
    const IoRegionOps *ops; /* I/O regions; NULL for RAM */
    Device *owner;          /* its lock guards the handlers; NULL only for RAM and lockless */
    unsigned index;         /* for the owner's use: which BAR, which port block */
    RamBlock *ram;          /* NULL for pure I/O regions */
    uint64_t ram_offset;
    bool readonly; /* ROM: guest writes go to ops->write, or are ignored where ops is NULL */
    bool mapped;
    int eventfds; /* atomic: the number of ioeventfds in the region */
    uint64_t seq; /* counts io_region_map() calls: of equal priorities the latest wins */
};

/* Both fill in a region, which its device embeds, and leave it unmapped. */
void io_region_init(IoRegion *r, Device *owner, const IoRegionOps *ops, const char *name,
                    uint64_t size);
void io_region_init_ram(IoRegion *r, Device *owner, RamBlock *ram, uint64_t offset, uint64_t size,
                        bool readonly, const char *name);
/* Maps the region at an address; a mapped region is moved. */
void io_region_map(Vm *vm, IoRegion *r, IoSpace space, uint64_t addr, int priority);
void io_region_unmap(Vm *vm, IoRegion *r);
void io_region_set_readonly(Vm *vm, IoRegion *r, bool readonly);
/*
 * Several changes as one (PAM, BARs): the map is rendered, and KVM's slots are changed, at the
 * outermost commit. The map lock is held in between.
 */
void memory_transaction_begin(Vm *vm);
void memory_transaction_commit(Vm *vm);
/* False and *err if the accelerator has ever refused a RAM slot (the log says why). */
bool memory_accepted(Vm *vm, GError **err);

/* A RAM block is host memory that stays at its address until the Vm is freed. */
struct RamBlock {
    char *name; /* "pc.ram", "pc.bios", "0000:00:02.0/vga.vram" */
    uint8_t *host;
    uint64_t size; /* page-aligned */
    int fd;        /* memfd or file; -1: anonymous */
    uint64_t fd_offset;
    bool shared;
    bool discard;                /* the content of 'fd' is dropped when the block is freed */
    bool migratable;             /* part of the saved state */
    bool plain;                  /* private anonymous memory, for which nothing special was asked */
    bool kept;                   /* its maker's: a reset needs what it holds (firmware) */
    bool merge, dump;            /* as RamBlockOptions say */
    struct RamFilePages *pages;  /* atomic; NULL: none was ever mapped from a file (ram_mapped.c) */
    struct DirtyReader *readers; /* atomic; NULL: nothing is logged */
    struct RamBlock *next;
};
/* Private anonymous memory, or a retired block of the same size. NULL and *err on failure. */
RamBlock *ram_block_new(Vm *vm, const char *name, uint64_t size, GError **err);
/* What a memory backend chooses. */
typedef struct {
    int fd; /* -1: anonymous. Owned by the block once ram_block_new_opts() succeeds */
    bool share, prealloc, merge, dump;
    bool hugepages;  /* asks for transparent huge pages */
    bool discard;    /* drops the content of fd at the end, where it is shared */
    uint64_t offset; /* in fd */
    uint64_t align;  /* of the host address: a power of two; 0: pages, or huge pages */
} RamBlockOptions;
RamBlock *ram_block_new_opts(Vm *vm, const char *name, uint64_t size, const RamBlockOptions *opts,
                             GError **err);
/*
 * Gives up the block of a device that is unplugged. The block keeps its address until the Vm is
 * freed, since requests that point into it may be in flight. Its pages go back to the host, and the
 * next ram_block_new() of its size reuses it. No region may show the block any more, and it must be
 * private and anonymous. Readers of its dirty log see nothing more of it. Main thread.
 */
void ram_block_retire(Vm *vm, RamBlock *block);
/*
 * The guest has no use for what these pages hold: they go back to the host where that can be done,
 * and are zeroes then. Whole host pages, of one block or of several that are neighbours in the
 * host. Any thread.
 */
void ram_discard(Vm *vm, uint8_t *host, uint64_t len);
/* All memory of the process is to stay in memory: none of the guest's is read later. */
void ram_is_locked(Vm *vm);
RamBlock *ram_block_find(Vm *vm, const char *name);
char *ram_blocks_text(Vm *vm); /* 'info ramblock'; caller frees */

/*
 * DMA reaches guest RAM only; another device's registers are no target. false: a part of the range
 * is not RAM, or is ROM and the access writes; what lies before that part has been copied. Any
 * thread in a read section (all loop and vCPU threads are).
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
 * A host pointer to guest RAM for host I/O; *len is cut to what is contiguous. NULL: not RAM. The
 * pointer stays valid across yields and changes of the map, because RAM blocks live as long as the
 * Vm. dma_unmap() with 'write' marks the pages dirty. Who keeps a mapping while the machine is
 * saved calls dma_mapping_written() for what may have been written through it so far (pre_save).
 */
void *dma_map(Vm *vm, uint64_t gpa, uint64_t *len, bool write);
void dma_unmap(Vm *vm, void *host, uint64_t len, bool write);
/* Appends the pieces of [gpa, gpa+len) to iov (room for max in all); false: not RAM, or no room. */
bool dma_map_iov(Vm *vm, uint64_t gpa, uint64_t len, bool write, struct iovec *iov, unsigned *n,
                 unsigned max);
void dma_unmap_iov(Vm *vm, const struct iovec *iov, unsigned n, bool write);
void dma_mapping_written(Vm *vm, const struct iovec *iov, unsigned n);
/*
 * A cached pointer to guest RAM for structures that are used often (rings). Once the map has
 * changed, dma_cache_valid() is false: call dma_cache_init() again before the next access.
 */
typedef struct {
    Vm *vm;
    uint64_t gpa, len;
    uint8_t *host;
    RamBlock *block;
    uint64_t generation;
} DmaCache;
/* false: the range is not contiguous, writable RAM. */
bool dma_cache_init(DmaCache *c, Vm *vm, uint64_t gpa, uint64_t len);
bool dma_cache_valid(const DmaCache *c);
/* Marks pages dirty after writes through c->host. */
void dma_cache_dirty(DmaCache *c, uint64_t offset, uint64_t len);

/*
 * A CPU's access to RAM or I/O (KVM's exits, qtest), split where it crosses regions. Reads of
 * unmapped addresses give all ones. The function takes device locks and may wait for deferred work
 * (device_defer_wait()), so the caller must hold no device lock.
 */
void cpu_access(Vm *vm, IoSpace space, uint64_t addr, void *data, unsigned len, bool write);
/* The monitor's access to RAM and ROM, writes to ROM included. false: a part is neither. */
bool debug_access(Vm *vm, uint64_t gpa, void *data, uint64_t len, bool write);
/*
 * Where RAM or ROM is in this process, and the name of its block (borrowed). NULL and *err, in
 * QEMU's words: there is none at that address.
 */
void *debug_host_address(Vm *vm, uint64_t gpa, const char **block, GError **err);

/*
 * ioeventfd: a guest's write to 'offset' in the region signals fd, in the kernel where KVM takes
 * it, else from dispatch. With 'match' only writes of 'value' count. Only writes of 'size' bytes
 * count; size 0: any. The ioeventfd follows its region when that moves. Any thread.
 */
typedef struct IoEventFd IoEventFd;
IoEventFd *io_eventfd_add(Vm *vm, IoRegion *r, uint64_t offset, unsigned size, bool match,
                          uint64_t value, int fd);
void io_eventfd_remove(Vm *vm, IoEventFd *e);

/*
 * Dirty logging: which pages of a block the guest and DMA write. A block has any number of readers
 * (a screen, a migration), each with a bitmap of its own for its part of the block, whose ends are
 * those of pages; what one reads is not taken from another. A block without readers logs nothing.
 */
#define DIRTY_PAGE 4096u
typedef struct DirtyReader DirtyReader;
/* Writes that begin after the function has returned are seen. Main loop. */
DirtyReader *memory_dirty_reader_new(Vm *vm, RamBlock *block, uint64_t offset, uint64_t len);
void memory_dirty_reader_free(DirtyReader *r); /* NULL is ignored. Main loop */
/*
 * The pages that were written since the last call, KVM's log included: bit n is page n of the
 * reader's part. 'bits' has 64 of them a word. Main loop.
 */
void memory_dirty_reader_fetch(DirtyReader *r, uint64_t *bits);
/* Whether the block was retired with its device. It may be another's by now. Main loop. */
bool memory_dirty_reader_gone(const DirtyReader *r);
/* After the write. Any thread in a read section. */
void memory_mark_dirty(Vm *vm, RamBlock *block, uint64_t offset, uint64_t len);

/* 'info mtree [-f]'; caller frees. */
char *memory_tree_text(Vm *vm, bool flat);

#endif

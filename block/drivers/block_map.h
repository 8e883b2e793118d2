/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What formats share that cut a disk into blocks of one size and keep an index: for each block an
 * entry that says where its data is in the file. VDI, VMDK's sparse extents, QED and the old qcow
 * are such; VPC's dynamic disks and Parallels could be.
 *
 * The index is read in pages as it is needed. A block, once it has a place in the file, keeps it:
 * entries go from absent to data (or zero), zero to data, and never back, so whoever has looked an
 * entry up may use it as long as he likes. Zeroes and discards go to the block's place.
 *
 * Order on disk: a changed entry stays in memory until a flush. Before it is written, all is stable
 * that it shows: 'barrier' is set where the block's data was stable elsewhere (a backing file) or
 * where its place may hold old bytes, and by before_entries(). So what was stable before a write
 * stays, whatever a cut of power takes of the write.
 *
 * Threads: requests come on any loop. 'lock' is held by those that load or change the index, but
 * not while data is read or written: allocating writes run side by side. 'map_lock' guards the
 * pages in memory, so that lookups need not wait.
 */
#ifndef BLOCK_DRIVERS_BLOCK_MAP_H
#define BLOCK_DRIVERS_BLOCK_MAP_H

#include "../core.h"
#include "pending.h"

typedef struct BlockMap BlockMap;

typedef enum {
    BLOCK_MAP_ABSENT, /* as the backing file has it, or zeroes */
    BLOCK_MAP_ZERO,
    BLOCK_MAP_DATA,
    BLOCK_MAP_COMPRESSED,
    BLOCK_MAP_BAD, /* the entry cannot be right: -EIO */
} BlockMapKind;

typedef struct {
    /* What an entry says, and where the block's data is. Any thread, does not wait. */
    BlockMapKind (*decode)(const BlockMap *m, uint64_t entry, uint64_t *host);
    /*
     * Where the page of this number begins in the file; 0: there is none, its blocks are absent.
     * Under map_lock; does not wait.
     */
    uint64_t (*page_at)(const BlockMap *m, uint64_t page);
    /* --- NULL, the rest, where nothing is ever written --- */
    /* Under lock. Takes room in the file for a block: its place, and the entry that says so. */
    int coroutine_fn (*allocate)(BlockMap *m, uint64_t block, uint64_t *host, uint64_t *entry);
    /* Under lock. The block's data could not be written: the room is free again. */
    void (*release)(BlockMap *m, uint64_t host);
    /* Under lock. Makes the page, with nothing but absent blocks. NULL: all pages are there. */
    int coroutine_fn (*make_page)(BlockMap *m, uint64_t page);
    /* Under lock, before changed entries are written. NULL: nothing has to be done. */
    int coroutine_fn (*before_entries)(BlockMap *m);
    /* Under lock. Where a page's second copy begins; 0: there is none. NULL: never. */
    uint64_t (*copy_at)(const BlockMap *m, uint64_t page);
    /*
     * Reads data that is encrypted: 'offset' is in the map. NULL: blocks are as they are in the
     * file.
     */
    int coroutine_fn (*read_data)(BlockMap *m, uint64_t host, uint64_t offset, uint64_t bytes,
                                  const struct iovec *iov, unsigned niov);
    /* Reads a whole compressed block into 'buf'. NULL: none are compressed. */
    int coroutine_fn (*read_compressed)(BlockMap *m, uint64_t host, uint64_t entry, uint8_t *buf);
} BlockMapOps;

struct BlockMap {
    /* Set by the driver before block_map_init(). */
    const BlockMapOps *ops;
    void *opaque; /* the driver's */
    BlockNode *node;
    BlockNode **file;       /* the node's child with index and blocks */
    uint64_t start, length; /* bytes of the disk that the map describes: all, or an extent */
    uint64_t block_size;    /* power of two */
    unsigned entry_size;    /* bytes: 4 or 8 */
    bool big_endian;
    unsigned page_entries; /* power of two */
    size_t most_pages;     /* in memory */
    bool has_backing;      /* the format can have a backing file */
    uint64_t zero_entry;   /* says 'zeroes', and has no place; 0: there is no such entry */
    /* Under lock. The next writeback has to flush first. */
    bool barrier;
    /* Private. */
    CoMutex lock;
    BlockPendings pending; /* under lock: allocating writes that are on */
    GMutex map_lock;
    GHashTable *pages; /* of BlockMapPage, by number */
    GQueue order;      /* the same, the least used first */
    unsigned dirty;    /* under lock: pages */
    bool failed;       /* under lock: a write failed, so there may be bytes past the file's end */
};

typedef struct {
    BlockMapKind kind;
    uint64_t host;  /* of the first byte asked for, where kind is DATA; else of the entry */
    uint64_t bytes; /* that are alike, and for DATA in one piece */
    uint64_t entry; /* the first */
} BlockMapRun;

void block_map_init(BlockMap *m);
/* Drops what is in memory. What was not flushed is lost. */
void block_map_destroy(BlockMap *m);

/* Offsets are in the map, from 0 to 'length'. The driver's functions of the same names. */
int coroutine_fn block_map_preadv(BlockMap *m, uint64_t offset, uint64_t bytes,
                                  const struct iovec *iov, unsigned niov);
int coroutine_fn block_map_pwritev(BlockMap *m, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov);
int coroutine_fn block_map_pwrite_zeroes(BlockMap *m, uint64_t offset, uint64_t bytes,
                                         unsigned flags);
int coroutine_fn block_map_pdiscard(BlockMap *m, uint64_t offset, uint64_t bytes);
int coroutine_fn block_map_status(BlockMap *m, uint64_t offset, uint64_t bytes, uint64_t *pnum,
                                  uint64_t *map, BlockNode **file);
bool block_map_cached(BlockMap *m, uint64_t offset, uint64_t bytes, BlockMapping *map);
/* Writes the index, and flushes the file. */
int coroutine_fn block_map_flush(BlockMap *m);

/* --- for drivers --- */

/* Calls fn for each block of each page that is there, until it does not return 0. */
int coroutine_fn block_map_each(BlockMap *m,
                                int coroutine_fn (*fn)(BlockMap *m, uint64_t block, uint64_t entry,
                                                       void *data),
                                void *data);
/* Under lock. */
int coroutine_fn block_map_entry(BlockMap *m, uint64_t block, uint64_t *entry);
/*
 * Sets the entry of an absent block whose data write() puts into the file: it runs under lock, and
 * returns the entry. -EEXIST: the block is not absent.
 */
int coroutine_fn block_map_put(BlockMap *m, uint64_t block,
                               int coroutine_fn (*write)(BlockMap *m, uint64_t *entry, void *data),
                               void *data);
/*
 * For formats that can only be read here. For open(): false, and an error, where the node is to be
 * writable; with auto-read-only it becomes read-only.
 */
bool block_map_refuse_writing(BlockNode *node, GError **err);
/* Their reopen_prepare(). */
bool coroutine_fn block_map_reopen_read_only(BlockNode *node, const BlockNodeOptions *opts,
                                             const void *props, bool *read_only, GError **err);

#endif

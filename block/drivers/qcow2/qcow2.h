/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 (docs/interop/qcow2.txt): the state of an open image, and what its files share.
 *
 * Locks. 'lock' (a coroutine mutex) is held for everything that loads, changes or writes metadata.
 * 'map_lock' (a leaf) is held in addition while L1 entries, L2 tables or the cache's index change,
 * so that a lookup in what is cached needs only that (the short way of requests, any thread).
 *
 * Order on disk, so that a cut of power leaks clusters at worst: refcounts go up and copied data
 * and new tables are stable, before an entry points to them; entries that pointed to a cluster are
 * gone, before its refcount goes down. Hence qcow2_writeback(): refcounts, barrier, L2 and L1; and
 * frees wait on lists until that has become stable.
 *
 * A cluster that is freed may still be written by a request that found it a moment ago: requests
 * raise the 'guard' of the epoch in which they looked, and a batch of frees is only carried out
 * when the guard of its epoch has come down to zero.
 */
#ifndef QCOW2_H
#define QCOW2_H

#include "../../core.h"
#include "base/error.h"
#include "block/image.h"
#include "format.h"

/* A piece ('slice') of an L2 table or refcount block in memory. */
typedef struct Qcow2Slice {
    uint64_t offset; /* in the image; the hash key */
    uint8_t *data;
    bool dirty, valid;
    bool used;     /* since the clock hand was here; atomic */
    unsigned pins; /* under Qcow2State.lock */
} Qcow2Slice;

typedef struct {
    size_t slice_size;
    unsigned max, count, hand, dirty;
    Qcow2Slice **slices;
    GHashTable *index; /* &slice->offset -> slice */
    GMutex *index_lock;
} Qcow2Cache;

typedef struct {
    uint64_t from, to;
} Qcow2Range;

typedef struct {
    uint64_t cluster, count;
    bool discard; /* give the space back to the host as well */
} Qcow2Free;

/* Guest clusters whose new place is being written: others that want to change them wait. */
typedef struct Qcow2Pending {
    uint64_t first, count;
    struct Qcow2Pending *next;
} Qcow2Pending;

typedef struct {
    /* Options. */
    json_t *file_config, *backing_config, *data_config;
    uint64_t l2_cache_size, refcount_cache_size;
    bool lazy_option, has_lazy_option;
    int overlap_check; /* one value: what is done */

    /* From the header. */
    unsigned version, cluster_bits;
    uint64_t cluster_size, size;
    uint64_t incompat, compat, autoclear;
    unsigned refcount_order;
    unsigned compression;
    uint32_t header_length;
    uint32_t crypt_method;
    bool lazy, extl2, data_raw;
    char *data_name;

    /* L1, host byte order. */
    uint64_t *l1;
    uint32_t l1_size, l1_alloc;
    uint64_t l1_offset;
    uint32_t l1_dirty_first, l1_dirty_end;

    /* Geometry derived from that. */
    unsigned l2_bits;       /* log2 of entries in a table */
    unsigned l2_entry_size; /* 8, 16 with subclusters */
    unsigned slice_entries;
    unsigned subclusters; /* in a cluster: 1 or 32 */
    uint64_t subcluster_size;
    unsigned refblock_bits; /* log2 of refcounts in a block */

    /* Refcount table, host byte order. */
    uint64_t *reftable;
    uint64_t reftable_size; /* entries */
    uint64_t reftable_offset;
    bool reftable_lost;   /* there is none, or outside of the file; only where node->checking */
    char *snapshots_lost; /* why the snapshot table could not be read; likewise */

    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    uint64_t snapshots_bytes;
    json_t *snapshot_list;
    GArray *snapshot_l1; /* of Qcow2Range: L1 tables of snapshots; sorted, none touches another */
    uint32_t nb_bitmaps;
    uint64_t bitmap_dir_offset, bitmap_dir_size;

    BlockNode *data; /* holds guest data: node->file, or the external data file */

    CoMutex lock;
    GMutex map_lock;
    Qcow2Cache l2_cache, ref_cache;
    Qcow2Pending *pending;
    CoQueue pending_done;     /* who waits for one of these: a queue has to outlive its waiters */
    uint64_t free_hint;       /* no free cluster below */
    uint64_t compressed_next; /* behind what was written compressed last */
    bool barrier_needed;
    bool ready;        /* opened in full: closing leaves the image in order */
    bool dirty_marked; /* the dirty bit is set on disk */
    bool corrupt;      /* atomic: nothing is written any more */
    bool zero_past_eof;
    bool tables_overlap; /* an L2 table or refcount block is where another is */

    GHashTable *metadata; /* clusters of L2 tables and refcount blocks; under map_lock */

    unsigned epoch;        /* under map_lock */
    int guard[2];          /* atomic */
    GArray *frees_pending; /* of Qcow2Free: entries gone in memory */
    GArray *frees_stable;  /* entries gone on disk */
    GArray *frees_waiting; /* for the guard of frees_epoch */
    unsigned frees_epoch;
} Qcow2State;

/* What a guest range maps to. */
typedef enum {
    QCOW2_UNALLOCATED,
    QCOW2_ZERO,
    QCOW2_DATA,
    QCOW2_COMPRESSED,
    QCOW2_INVALID,
} Qcow2Type;

typedef struct {
    Qcow2Type type;
    uint64_t host;  /* of the first byte: DATA */
    uint64_t entry; /* raw L2 entry of the first cluster */
    uint64_t bitmap;
    uint64_t bytes; /* how far the same holds; within one slice */
} Qcow2Map;

static inline bool qcow2_has_data_file(const Qcow2State *s)
{
    return s->incompat & INCOMPAT_DATA_FILE;
}

/* Any thread; changes with a resize. */
static inline uint64_t qcow2_size(const Qcow2State *s)
{
    return __atomic_load_n(&s->size, __ATOMIC_SEQ_CST);
}

/* cache.c */
bool qcow2_cache_init(Qcow2Cache *c, size_t slice_size, uint64_t bytes, GMutex *index_lock);
void qcow2_cache_destroy(Qcow2Cache *c);
/* Any thread, under index_lock: NULL where it is not there. */
Qcow2Slice *qcow2_cache_peek(Qcow2Cache *c, uint64_t offset);
/* Under lock. Pinned until put. */
int coroutine_fn qcow2_cache_get(BlockNode *n, Qcow2Cache *c, uint64_t offset, Qcow2Slice **out);
void qcow2_cache_put(Qcow2Slice *slice);
void qcow2_cache_mark_dirty(Qcow2Cache *c, Qcow2Slice *slice);
int coroutine_fn qcow2_cache_write_dirty(BlockNode *n, Qcow2Cache *c);
/* The clusters got another use: forget what was cached of them. */
void qcow2_cache_forget(Qcow2Cache *c, uint64_t offset, uint64_t bytes);

/* What opening knows that the open image does not need. */
typedef struct {
    BlockNode *node;
    Qcow2State *s;
    int64_t file_length;
    uint64_t backing_offset;
    uint32_t backing_len;
    uint32_t reftable_clusters;
    GString *feature_names; /* of unknown incompatible features */
    uint64_t unknown;       /* those of them that the image has no name for */
} Qcow2Opening;

/* header.c */
/* The header with its extensions into the state, and the name of the backing file. */
bool coroutine_fn qcow2_read_header(Qcow2Opening *o, GError **err);
int coroutine_fn qcow2_write_incompat(BlockNode *n, uint64_t bits);
/* 'Autoclear features': what is not kept consistent must not be trusted later. */
int coroutine_fn qcow2_clear_autoclear(BlockNode *n, uint64_t keep);
/* Says once what is wrong, sets the corrupt bit; gives -EIO. */
int coroutine_fn qcow2_corruption(BlockNode *n, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same, of an L2 entry that maps to nothing (QCOW2_INVALID). */
int coroutine_fn qcow2_entry_corruption(BlockNode *n, uint64_t guest, uint64_t entry);

/* open.c */
bool coroutine_fn qcow2_open(BlockNode *node, GError **err);
bool coroutine_fn qcow2_opened(BlockNode *node, GError **err);
void coroutine_fn qcow2_close(BlockNode *node);
/* Notes anew which clusters hold tables, and whether two of them are in one place. */
void qcow2_note_tables(Qcow2State *s);
/* A table of 'bytes' has its place in the file's address space. */
static inline bool qcow2_table_ok(const Qcow2State *s, uint64_t offset, uint64_t bytes)
{
    return IS_ALIGNED(offset, s->cluster_size) && offset <= INT64_MAX - bytes &&
           (!bytes || offset >= s->cluster_size);
}

/* The table's first cluster lies in the file: nothing ever points to one that was not written. */
static inline bool qcow2_table_in_file(BlockNode *n, uint64_t offset)
{
    int64_t length = block_length(n->file);

    return length < 0 || offset < (uint64_t)length;
}

/* snapshot.c */
bool qcow2_overlaps_snapshot_l1(const Qcow2State *s, uint64_t host, uint64_t bytes);
/* The table into s->snapshot_list, its extent into s->snapshots_bytes; a check can do without. */
bool coroutine_fn qcow2_read_snapshots(Qcow2Opening *o, GError **err);

/* map.c */
uint64_t qcow2_l2_entry(const Qcow2State *s, const Qcow2Slice *slice, unsigned i);
uint64_t qcow2_l2_bitmap(const Qcow2State *s, const Qcow2Slice *slice, unsigned i);
void qcow2_l2_set(Qcow2State *s, Qcow2Slice *slice, unsigned i, uint64_t entry, uint64_t bitmap);
void qcow2_l1_set(Qcow2State *s, uint64_t index, uint64_t entry);
unsigned qcow2_slice_index(const Qcow2State *s, uint64_t guest);
Qcow2Type qcow2_subcluster_type(const Qcow2State *s, uint64_t entry, uint64_t bitmap, unsigned sc);
/* Without a look at the data. */
bool qcow2_reads_as_zero(BlockNode *n, Qcow2Type type);
/* The run that starts at guest. */
void qcow2_map_run(const Qcow2State *s, const Qcow2Slice *slice, uint64_t guest, uint64_t bytes,
                   Qcow2Map *map);
/*
 * Any thread, without waiting: true where the slice is cached (or there is no L2 table). *guard is
 * raised then.
 */
bool qcow2_map_peek(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map, int **guard);
/* The same, loading what is needed. */
int coroutine_fn qcow2_map_load(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map,
                                int **guard);
/* Under lock. Slice NULL and 0 where there is no table. */
int coroutine_fn qcow2_slice_for_read(BlockNode *n, uint64_t guest, Qcow2Slice **out);
/* Under lock: makes the table if there is none, or copies it if a snapshot shares it. */
int coroutine_fn qcow2_slice_for_write(BlockNode *n, uint64_t guest, Qcow2Slice **out);
bool qcow2_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                      BlockMapping *map);
static inline void qcow2_guard_drop(int *guard)
{
    __atomic_sub_fetch(guard, 1, __ATOMIC_SEQ_CST);
}

/* refcount.c; all under lock. */
int coroutine_fn qcow2_get_refcount(BlockNode *n, uint64_t cluster, uint64_t *refcount);
/* One cluster's; -EAGAIN where there is no refcount block for it yet. */
int coroutine_fn qcow2_adjust_refcount(BlockNode *n, uint64_t cluster, uint64_t amount, bool less);
int coroutine_fn qcow2_add_refcount(BlockNode *n, uint64_t cluster, uint64_t count, int delta);
/* Up to *count clusters in one piece; at least one. 'exact': all of them. Offset in *host. */
int coroutine_fn qcow2_alloc_clusters(BlockNode *n, uint64_t *count, bool exact, uint64_t *host);
/* For what nothing on disk has pointed to yet. */
void coroutine_fn qcow2_free_now(BlockNode *n, uint64_t host, uint64_t count);
/* For what entries on disk may still point to. */
int coroutine_fn qcow2_free_later(BlockNode *n, uint64_t host, uint64_t count, bool discard);
int coroutine_fn qcow2_free_entry_later(BlockNode *n, uint64_t entry, bool discard);
/*
 * Before an entry is replaced: its clusters are where an entry's may be, are no metadata, and are
 * counted. Else the image is marked corrupt, and -EIO.
 */
int coroutine_fn qcow2_check_entry(BlockNode *n, uint64_t guest, uint64_t entry, uint64_t bitmap);
/* Entries gone on disk: 'stable' takes over what was pending then. */
void qcow2_frees_became_stable(Qcow2State *s, GArray *frees);
void coroutine_fn qcow2_frees_apply(BlockNode *n);
/* Gives the clusters around 'cluster' a refcount block (and a larger table), there. */
int coroutine_fn qcow2_make_countable(BlockNode *n, uint64_t cluster);
uint64_t qcow2_refcount_max(const Qcow2State *s);
uint64_t qcow2_refcount_read(const uint8_t *block, unsigned order, uint64_t i);
void qcow2_refcount_write(uint8_t *block, unsigned order, uint64_t i, uint64_t value);
/*
 * What an image that lies could make a write of [host, +bytes) destroy: NULL, or its name. 'fixed'
 * knows the header, L1, refcount table and snapshot table; 'metadata' also every active L2 table
 * and refcount block (takes map_lock).
 */
const char *qcow2_overlaps_fixed(const Qcow2State *s, uint64_t host, uint64_t bytes);
const char *qcow2_overlaps_metadata(Qcow2State *s, uint64_t host, uint64_t bytes);
/* False where the cluster is one already. */
bool qcow2_metadata_add(Qcow2State *s, uint64_t host);
void qcow2_metadata_remove(Qcow2State *s, uint64_t host);

/* flush.c */
int coroutine_fn qcow2_writeback(BlockNode *n, bool with_lazy_refcounts);
int coroutine_fn qcow2_flush(BlockNode *n);
int coroutine_fn qcow2_mark_dirty(BlockNode *n);

/* io.c */
int coroutine_fn qcow2_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                              const struct iovec *iov, unsigned niov);
int coroutine_fn qcow2_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov, unsigned flags);
int coroutine_fn qcow2_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map, BlockNode **file);
/* A place for every guest cluster of a new image; 'host_too': and the host's space for it. */
int coroutine_fn qcow2_preallocate(BlockNode *n, bool host_too);
/* Waits until nobody is writing new places for these guest clusters; then true: look again. */
bool coroutine_fn qcow2_wait_pending(Qcow2State *s, uint64_t first, uint64_t count);

/* zero.c */
int coroutine_fn qcow2_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     unsigned flags);
int coroutine_fn qcow2_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes);
int coroutine_fn qcow2_truncate(BlockNode *node, uint64_t size, GError **err);

/* compress.c */
int coroutine_fn qcow2_read_compressed(BlockNode *n, uint64_t entry, uint8_t *cluster);
void qcow2_compressed_range(const Qcow2State *s, uint64_t entry, uint64_t *host, uint64_t *bytes);
int coroutine_fn qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *data,
                                        size_t len);

/*
 * rebuild.c; under lock, by a check. New refcount structures from 'counts': references to each of
 * the file's clusters, without those of the old ones. *end: of the image, in bytes, with them.
 */
int coroutine_fn qcow2_rebuild_refcounts(BlockNode *n, const uint32_t *counts, uint64_t clusters,
                                         uint64_t *end);

/* create.c, check.c */
typedef struct {
    uint64_t size;
    char *backing_file, *backing_fmt;
    char *compat;
    uint64_t cluster_size;
    uint32_t refcount_bits;
    bool lazy_refcounts, extended_l2;
    int preallocation, compression_type;
    char *data_file;
    bool data_file_raw;
    bool nocow;
    char *encryption;
} Qcow2Create;
extern const Property qcow2_create_props[];
bool qcow2_create_check(void *options, uint64_t *length, GError **err);
bool coroutine_fn qcow2_create(BlockNode *file, void *options, bool *zero, GError **err);
int coroutine_fn qcow2_check(BlockNode *node, BlockCheckResult *res, unsigned fix);

#endif

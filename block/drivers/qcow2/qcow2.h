/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 (docs/interop/qcow2.txt): the state of an open image, and what its files share.
 *
 * Locks. 'lock' (a coroutine mutex) is held to load, change or write metadata. 'map_lock' (a leaf)
 * is held in addition while L1 entries, cached L2 entries or the caches' index change: a lookup of
 * cached entries needs map_lock only (qcow2_map_peek(), any thread).
 *
 * Order on disk, so that a cut of power can leak clusters but do nothing worse. Before an entry
 * points to a cluster, the cluster's refcount, and its content if that was copied or is a table,
 * are stable. Before a cluster's refcount goes down, the removal of all entries that pointed to it
 * is stable. So qcow2_writeback() writes refcounts, flushes, writes L2 and L1; and frees wait on
 * lists until qcow2_flush() has made the entries' removal stable.
 *
 * Requests go on while qcow2_flush() waits for the barrier, and the lock is free. What it writes
 * then is the L2 and L1 entries as they were before ('the batch'): the refcounts of later ones are
 * not stable. Whoever changes a slice of the batch leaves its content of before with the batch, and
 * whoever writes newer entries first (qcow2_writeback(), with a barrier of its own) takes them out
 * of it: nothing that is on disk gives way to what is older.
 *
 * A request may still write to a cluster of which the entry is gone: it looked the entry up before.
 * So requests raise the guard of the epoch in which they look, and lower it when they are done. A
 * batch of frees is carried out when the guard of its epoch is zero.
 */
#ifndef QCOW2_H
#define QCOW2_H

#include "../../core.h"
#include "../../crypto/crypt_io.h"
#include "../../crypto/luks.h"
#include "../pending.h"
#include "base/error.h"
#include "block/debug.h"
#include "block/dirty_bitmap.h"
#include "block/image.h"
#include "block/snapshot.h"
#include "format.h"

/* Since when a slice has been used. */
enum {
    QCOW2_USED_HAND = 1 << 0, /* since the clock hand passed */
    QCOW2_USED_TICK = 1 << 1, /* since qcow2_cache_drop_idle() */
    QCOW2_USED_ALL = QCOW2_USED_HAND | QCOW2_USED_TICK,
};

/* A piece ('slice') of an L2 table or refcount block in memory. */
typedef struct Qcow2Slice {
    uint64_t offset; /* in the image; the hash key */
    uint8_t *data;
    bool dirty, valid;
    bool batched;    /* in the batch, and dirty */
    uint8_t *before; /* then: what the batch writes, where 'data' has changed since; or NULL */
    bool spare;      /* not valid, and in Qcow2Cache.spare */
    unsigned used;   /* atomic: QCOW2_USED_... */
    unsigned pins;   /* under Qcow2State.lock: the slice is not replaced */
} Qcow2Slice;

typedef struct {
    size_t slice_size;
    unsigned max, count, hand, dirty;
    Qcow2Slice **slices;
    GPtrArray *slabs;   /* the slices' memory */
    uint8_t *slab;      /* the last of them */
    unsigned slab_left; /* its last so many slices are unused */
    GPtrArray *spare;   /* slices that were dropped: their memory is the host's again */
    GHashTable *index;  /* &slice->offset -> slice */
    GMutex *index_lock;
} Qcow2Cache;

/* L1 entries [first, end) as they are written. */
typedef struct {
    uint32_t first, end;
    uint8_t *bytes; /* NULL: there are none */
} Qcow2L1Part;

typedef struct {
    uint64_t from, to;
} Qcow2Range;

/* Why clusters are freed: which option says whether their space goes back to the host. */
typedef enum {
    QCOW2_DISCARD_NEVER, /* they are used again soon, or another entry has their data */
    QCOW2_DISCARD_ALWAYS,
    QCOW2_DISCARD_REQUEST,  /* the guest's discard, or write of zeroes */
    QCOW2_DISCARD_SNAPSHOT, /* a snapshot's end, or an image that is emptied */
    QCOW2_DISCARD_OTHER,    /* tables, mostly */
} Qcow2Discard;

typedef struct {
    uint64_t cluster, count;
    Qcow2Discard why;
    bool table; /* an L2 table that a snapshot may still use */
} Qcow2Free;

/* An entry of the snapshot table. */
typedef struct {
    uint64_t at, bytes; /* of the entry, in the table */
    uint64_t l1_offset;
    uint32_t l1_size;   /* entries */
    uint64_t disk_size; /* UINT64_MAX: the entry does not say, so that of the disk */
    char *id, *name;
} Qcow2Snapshot;

/* What is known of an image's snapshots. Changes in a drained section, and under lock. */
typedef struct {
    uint32_t count;
    uint64_t offset, bytes; /* of the table, in the image */
    GArray *list;           /* of Qcow2Snapshot */
    json_t *info;           /* for queries */
    GArray *l1;             /* of Qcow2Range: L1 tables; sorted and merged */
    GArray *l2;             /* of uint64_t: clusters of L2 tables; sorted. Once writable */
    unsigned l2_sorted;     /* length of l2 after it was sorted last */
} Qcow2Snapshots;

/* A bitmap that is stored in the image. */
typedef struct {
    char *name;
    uint64_t table_offset;
    uint32_t table_size; /* entries */
    uint32_t flags;      /* BITMAP_IN_USE, BITMAP_AUTO */
    unsigned granularity_bits;
} Qcow2Bitmap;

/* The place of the bitmap directory, as the header says it. */
typedef struct {
    uint32_t count;
    uint64_t offset, bytes;
} Qcow2BitmapDir;

/* Metadata that writes and frees are checked against: 'overlap-check'. */
enum {
    QCOW2_GUARD_HEADER = 1 << 0,
    QCOW2_GUARD_ACTIVE_L1 = 1 << 1,
    QCOW2_GUARD_ACTIVE_L2 = 1 << 2,
    QCOW2_GUARD_REFCOUNT_TABLE = 1 << 3,
    QCOW2_GUARD_REFCOUNT_BLOCK = 1 << 4,
    QCOW2_GUARD_SNAPSHOT_TABLE = 1 << 5,
    QCOW2_GUARD_INACTIVE_L1 = 1 << 6,
    QCOW2_GUARD_INACTIVE_L2 = 1 << 7,
    QCOW2_GUARD_BITMAP_DIR = 1 << 8,
    QCOW2_GUARD_ALL = (1 << 9) - 1,
};

/* Whether guest data lies in holes of node->file, as in an image whose metadata was preallocated.
 */
typedef enum { QCOW2_HOLES_UNKNOWN, QCOW2_HOLES_NO, QCOW2_HOLES_YES } Qcow2Holes;

/* Options that reopening may change. */
typedef struct {
    uint64_t cache_size, l2_cache_size, refcount_cache_size, l2_entry_size;
    bool has_cache_size, has_l2_cache_size, has_refcount_cache_size, has_l2_entry_size;
    uint32_t clean_interval; /* seconds; 0: never */
    bool lazy, has_lazy;
    bool pass_request, has_pass_request, pass_snapshot, pass_other;
    json_t *overlap; /* 'overlap-check' */
} Qcow2Options;

typedef struct {
    json_t *file_config, *backing_config, *data_config, *encrypt_config;
    Qcow2Options options;
    unsigned guards; /* QCOW2_GUARD_..., as options.overlap says */

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

    /* L1 table, in host byte order. */
    uint64_t *l1;
    uint32_t l1_size, l1_alloc;
    uint64_t l1_offset;
    uint32_t l1_dirty_first, l1_dirty_end;
    Qcow2L1Part l1_batch; /* of the batch */

    /* Geometry, from the header. */
    unsigned l2_bits;       /* log2 of entries in an L2 table */
    unsigned l2_entry_size; /* bytes: 8, 16 with subclusters */
    unsigned slice_entries;
    unsigned subclusters; /* in a cluster: 1 or 32 */
    uint64_t subcluster_size;
    unsigned refblock_bits; /* log2 of refcounts in a refcount block */

    /* Refcount table, in host byte order. */
    uint64_t *reftable;     /* qcow2_set_reftable(); NULL: no entries */
    uint64_t reftable_size; /* entries */
    uint64_t reftable_offset;
    bool reftable_lost;   /* node->checking: there is no table inside the file */
    char *snapshots_lost; /* node->checking: why the snapshot table could not be read */

    Qcow2Snapshots snapshots;
    Qcow2BitmapDir bitmap_dir;
    bool bitmap_dir_read; /* bitmap_dir is known to be right */
    GArray *bitmaps;      /* of Qcow2Bitmap; NULL: none. Under lock */
    bool bitmaps_stored;  /* atomic: what is stored is right, until the first write */

    struct {
        uint64_t offset, bytes; /* of the LUKS header, in the image; bytes 0: there is none */
        LuksHeader *luks;
        DiskCipher *cipher; /* NULL: not encrypted, or node->no_io */
        uint32_t method;    /* that the cipher is for */
        char *secret;       /* that has opened the image */
    } crypto;

    BlockNode *data; /* holds guest data: node->file, or the external data file */

    CoMutex flush_lock; /* before 'lock': one batch at a time */
    CoMutex lock;
    GMutex map_lock;
    Qcow2Cache l2_cache, ref_cache;
    BlockPendings pending;     /* guest clusters whose new host clusters are being written */
    uint64_t free_hint;        /* no cluster below is free */
    uint64_t compressed_next;  /* end of the last compressed cluster; the next may follow there */
    uint64_t compress_tickets; /* atomic: calls of qcow2_write_compressed() */
    uint64_t compress_turn;    /* the call that places its cluster now */
    CoQueue compress_turns;    /* waiters for compress_turn */
    bool barrier_needed;       /* flush before L2 and L1 entries are written */
    bool barrier_running;      /* a flush for a batch is under way: what it was for is not stable */
    bool loaded;               /* a snapshot is shown: the node must not become writable */
    bool ready;                /* opened() has succeeded: close() may write */
    bool dirty_marked;         /* this process has set the dirty bit on disk */
    bool adopts_data;          /* qcow2_preallocate() leaves what is in the data file as it is */
    bool keep_dirty;           /* the dirty bit stays: whoever opens the image next repairs it */
    bool corrupt;              /* atomic: nothing is written any more */
    bool room_made;            /* atomic: block_make_room() of node->file */
    int has_holes;             /* atomic: Qcow2Holes */
    bool zero_past_eof;        /* bytes past the end of node->file read as zeroes */
    bool tables_overlap;       /* two of L2 tables, refcount blocks, other tables share a cluster */

    /* Under map_lock: the clusters of L2 tables and refcount blocks, and their QCOW2_GUARD_... */
    GHashTable *metadata;
    Timer *clean_timer; /* of the main loop; armed while the caches have slices */

    unsigned epoch;        /* under map_lock */
    int guard[2];          /* atomic: requests that looked entries up in this epoch */
    GArray *frees_pending; /* of Qcow2Free: the entry is removed in memory */
    GArray *frees_stable;  /* the entry's removal is stable on disk */
    GArray *frees_waiting; /* the batch that waits for guard[frees_epoch] */
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
    uint64_t host;   /* QCOW2_DATA: offset of the first byte */
    uint64_t entry;  /* raw L2 entry of the first cluster */
    uint64_t bitmap; /* of that entry, with subclusters */
    uint64_t bytes;  /* how far the same type holds; within one slice */
} Qcow2Map;

static inline bool qcow2_has_data_file(const Qcow2State *s)
{
    return s->incompat & INCOMPAT_DATA_FILE;
}

/* Bytes of the disk. Any thread; a resize changes it. */
static inline uint64_t qcow2_size(const Qcow2State *s)
{
    return __atomic_load_n(&s->size, __ATOMIC_SEQ_CST);
}

/* options.c */
extern const Property qcow2_props[];
/* Whether an image, whose header was read, can be used with these options. */
bool qcow2_check_options(const Qcow2State *s, const Qcow2Options *o, GError **err);
/* What 'overlap-check' means: *guards, QCOW2_GUARD_... */
bool qcow2_parse_guards(const Qcow2Options *o, unsigned *guards, GError **err);
bool qcow2_passes_discard(BlockNode *n, Qcow2Discard why);

/* caches.c: the sizes of the two caches, and the timer that drops what is idle. */
void qcow2_caches_open(BlockNode *n);
/* Whether the caches of an open image stay as they are with other options. */
bool qcow2_same_caches(const Qcow2Options *a, const Qcow2Options *b);
void qcow2_caches_close(Qcow2State *s);
/* The disk is longer now. Under lock. */
void qcow2_caches_grow(Qcow2State *s);
/* A slice was loaded. Under lock. */
void qcow2_caches_loaded(Qcow2State *s);

/* cache.c */
bool qcow2_cache_init(Qcow2Cache *c, size_t slice_size, uint64_t bytes, GMutex *index_lock);
void qcow2_cache_destroy(Qcow2Cache *c);
/* Any thread, under index_lock. NULL: not cached. */
Qcow2Slice *qcow2_cache_peek(Qcow2Cache *c, uint64_t offset);
/* Under lock. Loads the slice if need be; it is pinned until qcow2_cache_put(). */
int coroutine_fn qcow2_cache_get(BlockNode *n, Qcow2Cache *c, uint64_t offset, Qcow2Slice **out);
void qcow2_cache_put(Qcow2Slice *slice);
void qcow2_cache_mark_dirty(Qcow2Cache *c, Qcow2Slice *slice);
int coroutine_fn qcow2_cache_write_dirty(BlockNode *n, Qcow2Cache *c);
/* Under lock. Makes the dirty slices the batch; there is none. */
void qcow2_cache_batch(Qcow2Cache *c);
/* Before a slice's content changes, by whoever does not write it at once. */
void qcow2_cache_will_change(Qcow2Cache *c, Qcow2Slice *slice);
/* Writes what of the batch nobody has written. It stays after a failure. */
int coroutine_fn qcow2_cache_write_batch(BlockNode *n, Qcow2Cache *c);
/* Ends the batch: what it has not written is dirty, as other slices are. */
void qcow2_cache_unbatch(Qcow2Cache *c);
/* Drops slices of clusters that get another use, without writing them. */
void qcow2_cache_forget(Qcow2Cache *c, uint64_t offset, uint64_t bytes);
/*
 * Under lock: drops slices that are clean and were not used since the last call, and gives their
 * memory back to the host. True where slices are left.
 */
bool qcow2_cache_drop_idle(Qcow2Cache *c);

/* State of qcow2_open() that the open image does not need. */
typedef struct {
    BlockNode *node;
    Qcow2State *s;
    int64_t file_length;
    uint64_t backing_offset;
    uint32_t backing_len;
    uint32_t reftable_clusters;
    GString *feature_names; /* of unknown incompatible features */
    uint64_t unknown;       /* bits of those that the image has no name for */
    bool again;             /* the node is active again: its children are open */
} Qcow2Opening;

/* header.c */
/* Reads the header and its extensions into the state, the backing file's name into the node. */
bool coroutine_fn qcow2_read_header(Qcow2Opening *o, GError **err);
/* Writes the incompatible features into the header. */
int coroutine_fn qcow2_write_incompat(BlockNode *n, uint64_t bits);
/*
 * Changes a part of the header that lies in one sector, and makes that stable. *kept: after a
 * failure the part is what it was; else that is not known, and nothing is written any more.
 */
int coroutine_fn qcow2_switch_header(BlockNode *n, unsigned at, const void *bytes, size_t len,
                                     bool *kept);
/* Clears the autoclear features but 'keep': this program's writes do not keep them consistent. */
int coroutine_fn qcow2_clear_autoclear(BlockNode *n, uint64_t keep);
/* Reports the first corruption of an image and sets the corrupt bit. Returns -EIO. */
int coroutine_fn qcow2_corruption(BlockNode *n, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same, for an L2 entry that is QCOW2_INVALID. */
int coroutine_fn qcow2_entry_corruption(BlockNode *n, uint64_t guest, uint64_t entry);

/* open.c */
bool coroutine_fn qcow2_open(BlockNode *node, GError **err);
void qcow2_child_changed(BlockNode *node);
bool coroutine_fn qcow2_opened(BlockNode *node, GError **err);
void coroutine_fn qcow2_close(BlockNode *node);
bool coroutine_fn qcow2_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                       const void *props, bool *read_only, GError **err);
void qcow2_reopen_commit(BlockNode *node, const void *props);
int coroutine_fn qcow2_inactivate(BlockNode *node);
bool coroutine_fn qcow2_activate(BlockNode *node, GError **err);
/*
 * Writes all back, so that the image could be closed, and carries out all frees. Nothing is in
 * flight.
 */
int coroutine_fn qcow2_settle(BlockNode *node);
/* Fills s->metadata from the L1 and refcount tables, and sets s->tables_overlap. */
void qcow2_note_tables(Qcow2State *s);
/* Takes over a table of sparse_try_new(), in the place of the one that is there. */
void qcow2_set_reftable(Qcow2State *s, uint64_t *table, uint64_t entries);
/* Whether a table may have this offset and length. The first cluster is the header's. */
static inline bool qcow2_table_ok(const Qcow2State *s, uint64_t offset, uint64_t bytes)
{
    return IS_ALIGNED(offset, s->cluster_size) && offset <= INT64_MAX - bytes &&
           (!bytes || offset >= s->cluster_size);
}

/* Whether a table starts inside the file. One outside was never written: the entry is wrong. */
static inline bool qcow2_table_in_file(BlockNode *n, uint64_t offset)
{
    int64_t length = block_length(n->file);

    return length < 0 || offset < (uint64_t)length;
}

/* crypto.c */
extern const PropertyShape qcow2_encrypt_shape;
/* 'Full disk encryption header pointer'. */
bool qcow2_parse_crypto_extension(Qcow2State *s, const uint8_t *p, uint32_t bytes, GError **err);
bool qcow2_check_crypt_method(Qcow2State *s, GError **err);
/* Opens the cipher by the option 'encrypt', if it is not open. */
bool coroutine_fn qcow2_open_crypto(BlockNode *n, GError **err);
void qcow2_close_crypto(Qcow2State *s);
bool qcow2_overlaps_crypto(const Qcow2State *s, uint64_t host, uint64_t bytes);
json_t *qcow2_crypto_info(const Qcow2State *s);
/* Data at 'host', which is the guest's at 'guest'; of an encrypted image whole sectors. */
int coroutine_fn qcow2_read_data(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes,
                                 const struct iovec *iov, unsigned niov);
int coroutine_fn qcow2_write_data(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes,
                                  const struct iovec *iov, unsigned niov);
bool coroutine_fn qcow2_amend_keys(BlockNode *n, const LuksAmend *o, bool force, GError **err);

/* snapshot.c */
void qcow2_snapshots_init(Qcow2Snapshots *t);
void qcow2_snapshots_clear(Qcow2Snapshots *t);
bool qcow2_overlaps_snapshot_l1(const Qcow2State *s, uint64_t host, uint64_t bytes);
bool qcow2_overlaps_snapshot_l2(const Qcow2State *s, uint64_t host, uint64_t bytes);
/* Reads the L1 tables of t->l1 into t->l2, before the first write to the image. */
bool coroutine_fn qcow2_read_snapshot_l2(BlockNode *n, Qcow2Snapshots *t, GError **err);
/* Adds the L2 tables that an L1 table (host byte order) names to t->l2. */
void qcow2_snapshots_add_l1(const Qcow2State *s, Qcow2Snapshots *t, const uint64_t *l1,
                            uint32_t entries);
/* Fills list, info and l1 of a snapshot table from its 'count' entries, which have been checked. */
void qcow2_parse_snapshots(const Qcow2State *s, Qcow2Snapshots *t, const uint8_t *table);
/*
 * Reads the snapshot table into s->snapshots, but for l2. With node->checking a failure sets
 * s->snapshots_lost, and is none.
 */
bool coroutine_fn qcow2_read_snapshots(Qcow2Opening *o, GError **err);
/* Index of a snapshot; -1: there is none. NULL matches every id or name. */
int qcow2_find_snapshot(const Qcow2State *s, const char *id, const char *name);

/*
 * snapshot_tree.c; all under lock, with nothing in flight and nothing unwritten in the L2 cache.
 *
 * A Qcow2Recount collects what a snapshot's beginning or end means for refcounts. All of it is
 * known, and checked, before the first of them changes.
 */
typedef struct {
    BlockNode *n;
    int32_t *change;   /* by cluster of the file */
    uint64_t clusters; /* entries of 'change' */
    uint64_t raised;   /* qcow2_recount_raise() has been here */
    bool copied;       /* an L2 table of a tree that was added has COPIED flags */
} Qcow2Recount;

bool qcow2_recount_begin(Qcow2Recount *r, BlockNode *n, GError **err);
void qcow2_recount_end(Qcow2Recount *r);
/*
 * Adds 'by' for each reference from an L1 table (host byte order) and the L2 tables below. 'whose'
 * is for errors: "the disk".
 */
bool coroutine_fn qcow2_recount_tree(Qcow2Recount *r, const uint64_t *l1, uint64_t entries, int by,
                                     const char *whose, GError **err);
/* Adds the end of a table. */
bool qcow2_recount_free(Qcow2Recount *r, uint64_t host, uint64_t bytes, const char *what,
                        GError **err);
/* Whether each refcount can take its change. */
bool coroutine_fn qcow2_recount_check(Qcow2Recount *r, GError **err);
/* Makes the changes upwards. After a failure all that were made are to be undone. */
int coroutine_fn qcow2_recount_raise(Qcow2Recount *r);
/* Undoes qcow2_recount_raise(). What cannot be undone leaks, and -errno is returned. */
int coroutine_fn qcow2_recount_undo(Qcow2Recount *r);
/* Makes the changes downwards. What cannot be changed leaks, and -errno is returned. */
int coroutine_fn qcow2_recount_lower(Qcow2Recount *r);
/* Sets and clears the COPIED flags of the disk's L1 table, and of L2 tables no snapshot shares. */
int coroutine_fn qcow2_set_copied_flags(BlockNode *n);
/* Clears the COPIED flags in the L2 tables that an L1 table names. */
int coroutine_fn qcow2_clear_copied_flags(BlockNode *n, const uint64_t *l1, uint64_t entries);

/* snapshot_change.c; in a drained section (block/snapshot.h). */
bool coroutine_fn qcow2_snapshot_create(BlockNode *n, const BlockSnapshot *sn, GError **err);
bool coroutine_fn qcow2_snapshot_delete(BlockNode *n, const char *id, const char *name,
                                        GError **err);
bool coroutine_fn qcow2_snapshot_apply(BlockNode *n, const char *id_or_name, GError **err);
bool coroutine_fn qcow2_snapshot_load(BlockNode *n, const char *id, const char *name, GError **err);
/* No cluster of a snapshot has the zero flag any more. Not for extended L2 entries. */
bool coroutine_fn qcow2_snapshots_expand_zeroes(BlockNode *n, GError **err);

/* vmstate.c. 'pos' is an offset in the VM state, 'start' that of the state behind the disk. */
uint64_t qcow2_vmstate_start(const Qcow2State *s);
int coroutine_fn qcow2_vmstate_pwritev(BlockNode *n, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov);
int coroutine_fn qcow2_vmstate_preadv(BlockNode *n, uint64_t pos, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov);
/* Of a snapshot, which stays as it is, and the disk too. */
int coroutine_fn qcow2_vmstate_extents(BlockNode *n, const char *id, uint64_t pos, uint64_t bytes,
                                       GArray *extents);
int coroutine_fn qcow2_vmstate_preadv_snapshot(BlockNode *n, const char *id, uint64_t pos,
                                               uint64_t bytes, const struct iovec *iov,
                                               unsigned niov);
/* Gives back the clusters of a VM state that no snapshot has taken. */
int coroutine_fn qcow2_vmstate_drop(BlockNode *n);

/* map.c */
uint64_t qcow2_l2_entry(const Qcow2State *s, const Qcow2Slice *slice, unsigned i);
uint64_t qcow2_l2_bitmap(const Qcow2State *s, const Qcow2Slice *slice, unsigned i);
void qcow2_l2_set(Qcow2State *s, Qcow2Slice *slice, unsigned i, uint64_t entry, uint64_t bitmap);
void qcow2_l1_set(Qcow2State *s, uint64_t index, uint64_t entry);
/* flush.c: these entries are not what the table on disk has. */
void qcow2_l1_dirty(Qcow2State *s, uint32_t first, uint32_t end);
unsigned qcow2_slice_index(const Qcow2State *s, uint64_t guest);
Qcow2Type qcow2_subcluster_type(const Qcow2State *s, uint64_t entry, uint64_t bitmap, unsigned sc);
/* Whether the type alone says so, whatever the data. */
bool qcow2_reads_as_zero(BlockNode *n, Qcow2Type type);
/* Maps the run of one type from 'guest' on, at most 'bytes', as far as the slice goes. */
void qcow2_map_run(const Qcow2State *s, const Qcow2Slice *slice, uint64_t guest, uint64_t bytes,
                   Qcow2Map *map);
/*
 * Any thread, does not wait. True where the slice is cached, or there is no L2 table: *guard is
 * raised, and the caller lowers it (qcow2_guard_drop()).
 */
bool qcow2_map_peek(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map, int **guard);
/* The same, but loads the slice where it is not cached. */
int coroutine_fn qcow2_map_load(BlockNode *n, uint64_t guest, uint64_t bytes, Qcow2Map *map,
                                int **guard);
/* Under lock. 0 with a NULL slice: there is no L2 table. */
int coroutine_fn qcow2_slice_for_read(BlockNode *n, uint64_t guest, Qcow2Slice **out);
/* Under lock. Makes the L2 table if there is none, copies it if a snapshot shares it. */
int coroutine_fn qcow2_slice_for_write(BlockNode *n, uint64_t guest, Qcow2Slice **out);
bool qcow2_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                      BlockMapping *map);
static inline void qcow2_guard_drop(int *guard)
{
    __atomic_sub_fetch(guard, 1, __ATOMIC_SEQ_CST);
}

/* refcount.c; all under lock. */
int coroutine_fn qcow2_get_refcount(BlockNode *n, uint64_t cluster, uint64_t *refcount);
/* Of one cluster. -EAGAIN: there is no refcount block for it. */
int coroutine_fn qcow2_adjust_refcount(BlockNode *n, uint64_t cluster, uint64_t amount, bool less);
int coroutine_fn qcow2_add_refcount(BlockNode *n, uint64_t cluster, uint64_t count, int delta);
/* *count contiguous clusters; without 'exact' perhaps fewer, and at least one. *host: offset. */
int coroutine_fn qcow2_alloc_clusters(BlockNode *n, uint64_t *count, bool exact, uint64_t *host);
/* For clusters to which nothing on disk points. */
void coroutine_fn qcow2_free_now(BlockNode *n, uint64_t host, uint64_t count);
/* For clusters to which entries on disk may still point: freed when that is over. */
int coroutine_fn qcow2_free_later(BlockNode *n, uint64_t host, uint64_t count, Qcow2Discard why);
/* For an L2 table that the active L1 table no longer names. A snapshot may use it on. */
int coroutine_fn qcow2_free_table_later(BlockNode *n, uint64_t host);
int coroutine_fn qcow2_free_entry_later(BlockNode *n, uint64_t entry, Qcow2Discard why);
/*
 * Called before an entry is replaced. -EIO, and the image is marked corrupt, where the entry is
 * invalid, or its clusters hold metadata or have refcount 0.
 */
int coroutine_fn qcow2_check_entry(BlockNode *n, uint64_t guest, uint64_t entry, uint64_t bitmap);
/* Moves 'frees' to frees_stable: their entries' removal is stable. Takes the array. */
void qcow2_frees_became_stable(Qcow2State *s, GArray *frees);
/* Carries out the frees that are safe by now. */
void coroutine_fn qcow2_frees_apply(BlockNode *n);
/* Puts a refcount block for the clusters around 'cluster' there; grows the table if need be. */
int coroutine_fn qcow2_make_countable(BlockNode *n, uint64_t cluster);
uint64_t qcow2_refcount_max(const Qcow2State *s);
uint64_t qcow2_refcount_read(const uint8_t *block, unsigned order, uint64_t i);
void qcow2_refcount_write(uint8_t *block, unsigned order, uint64_t i, uint64_t value);
/*
 * The name of the metadata in [host, +bytes), or NULL: guards against entries that point to
 * metadata. 'tables' covers the header, the L1 tables, the refcount and the snapshot table; 'fixed'
 * also snapshots' L2 tables; 'metadata' also the active L2 tables and the refcount blocks (takes
 * map_lock). The active disk and snapshots may share an L2 table. The option 'overlap-check' may
 * leave kinds of metadata out.
 */
const char *qcow2_overlaps_tables(const Qcow2State *s, uint64_t host, uint64_t bytes);
const char *qcow2_overlaps_fixed(const Qcow2State *s, uint64_t host, uint64_t bytes);
const char *qcow2_overlaps_metadata(Qcow2State *s, uint64_t host, uint64_t bytes);
/* Whether a table lies where another one of the first five is, or a snapshot's L2 table. */
bool qcow2_table_overlaps_fixed(const Qcow2State *s, uint64_t host, uint64_t bytes);
/* 'kind': QCOW2_GUARD_... False: the cluster was metadata already. */
bool qcow2_metadata_add(Qcow2State *s, uint64_t host, unsigned kind);
void qcow2_metadata_remove(Qcow2State *s, uint64_t host, unsigned kind);

/* flush.c */
/*
 * Under lock: writes dirty refcounts, then dirty L2 and L1 entries. Lazy refcounts only on request.
 */
int coroutine_fn qcow2_writeback(BlockNode *n, bool with_lazy_refcounts);
int coroutine_fn qcow2_flush(BlockNode *n);
/* Under lock: sets the dirty bit before the first change of an image with lazy refcounts. */
int coroutine_fn qcow2_mark_dirty(BlockNode *n);
/*
 * Under lock: sets the dirty bit, whatever the image says of lazy refcounts, before a change of
 * refcounts and flags that takes many writes. Version 2 has no such bit.
 */
int coroutine_fn qcow2_mark_repair(BlockNode *n);

/* io.c */
/* Reads what a map says of the guest range that begins at 'guest'. */
int coroutine_fn qcow2_read_mapped(BlockNode *n, const Qcow2Map *map, uint64_t guest,
                                   const struct iovec *iov, unsigned niov);
int coroutine_fn qcow2_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                              const struct iovec *iov, unsigned niov);
/* Whole clusters that the disk does not have yet; else -ENOTSUP. */
int coroutine_fn qcow2_pcopy(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                             unsigned flags);
int coroutine_fn qcow2_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov, unsigned flags);
int coroutine_fn qcow2_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map, BlockNode **file);
int coroutine_fn qcow2_preallocate(BlockNode *n, uint64_t offset, uint64_t bytes,
                                   BlockPreallocation mode);
/* Under lock: block_pending_wait() for guest clusters. */
static inline bool coroutine_fn qcow2_wait_pending(Qcow2State *s, uint64_t first, uint64_t count)
{
    return block_pending_wait(&s->pending, &s->lock, first, count);
}

/* zero.c */
/* Under lock. Makes the L1 table longer: at least 'entries'. */
int coroutine_fn qcow2_grow_l1(BlockNode *n, uint64_t entries);
/* L1 entries of a disk of this size. What lies behind is VM state. */
uint64_t qcow2_l1_entries(const Qcow2State *s, uint64_t size);
int coroutine_fn qcow2_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     unsigned flags);
int coroutine_fn qcow2_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes);
/* Drops clusters: the backing file shows there. Whole clusters. */
int coroutine_fn qcow2_make_gone(BlockNode *n, uint64_t guest, uint64_t bytes);
int coroutine_fn qcow2_drop_data(BlockNode *node);
int coroutine_fn qcow2_truncate(BlockNode *node, uint64_t size, GError **err);

/* compress.c */
int coroutine_fn qcow2_read_compressed(BlockNode *n, uint64_t entry, uint8_t *cluster);
void qcow2_compressed_range(const Qcow2State *s, uint64_t entry, uint64_t *host, uint64_t *bytes);
int coroutine_fn qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *data,
                                        size_t len);

/* amend.c */
typedef struct {
    char *backing_file, *backing_fmt, *compat, *data_file;
    bool has_backing_file, has_backing_fmt;
    uint64_t size;
    bool has_size;
    bool lazy_refcounts, has_lazy_refcounts;
    bool data_file_raw, has_data_file_raw;
    uint32_t refcount_bits;
    bool has_refcount_bits;
    LuksAmend keys;
} Qcow2Amend;
extern const Property qcow2_amend_props[];
bool coroutine_fn qcow2_amend(BlockNode *n, void *options, bool force, GError **err);

/* header_change.c */
/* Writes the header that version 2 or 3 has. The image uses nothing that this version has not. */
int coroutine_fn qcow2_set_version(BlockNode *node, unsigned version);
int coroutine_fn qcow2_set_data_name(BlockNode *node, const char *name);
int coroutine_fn qcow2_set_data_raw(BlockNode *node, bool raw);
int coroutine_fn qcow2_set_backing_name(BlockNode *node, const char *name, const char *format);
/*
 * Under lock: makes the header name another bitmap directory (count 0: none), whose content is
 * stable. A cut of power loses the bitmaps at most. *kept: after a failure the header names the old
 * one; else it is not known which it names.
 */
int coroutine_fn qcow2_set_bitmap_dir(BlockNode *node, const Qcow2BitmapDir *dir, bool *kept);

/* bitmap_table.c; under lock. */
/* The bytes that the bits of a bitmap take. */
uint64_t qcow2_bitmap_bytes(const Qcow2State *s, unsigned granularity_bits);
/* The table in host byte order, checked; the caller frees it. */
int coroutine_fn qcow2_bitmap_read_table(BlockNode *n, const Qcow2Bitmap *b, uint64_t **table);
/* Whether the table has as many entries as the disk's length asks for. */
bool qcow2_bitmap_table_fits(const Qcow2State *s, const Qcow2Bitmap *b);
int coroutine_fn qcow2_bitmap_read(BlockNode *n, const Qcow2Bitmap *b, BlockDirtyBitmap *into);
/* Writes bits and table into free clusters, and sets b's table. Of a failure nothing stays. */
int coroutine_fn qcow2_bitmap_write(BlockNode *n, BlockDirtyBitmap *from, Qcow2Bitmap *b);
void coroutine_fn qcow2_bitmap_free_clusters(BlockNode *n, const Qcow2Bitmap *b);

/* bitmaps.c */
/* Adds the clusters of the bitmap directory to s->metadata. */
void qcow2_bitmaps_note_dir(Qcow2State *s);
/* Makes the bitmaps of an image that was opened, or has become writable; marks them as in use. */
bool coroutine_fn qcow2_bitmaps_load(BlockNode *n, GError **err);
/* For a check: whether the image can be opened with its bitmaps; else an error. */
bool coroutine_fn qcow2_bitmaps_valid(BlockNode *n, GError **err);
/* Stores them, where the image is writable. Nothing is in flight. */
int coroutine_fn qcow2_bitmaps_store(BlockNode *n);
/* Takes them out of the image, and those in memory with them. Nothing is in flight. */
int coroutine_fn qcow2_bitmaps_remove_all(BlockNode *n);
/* Before a write, while bitmaps_stored: marks them as in use again. */
int coroutine_fn qcow2_bitmaps_use(BlockNode *n);
/* Takes them out of memory, where another process may change the image. */
void qcow2_bitmaps_drop(BlockNode *n);
void qcow2_bitmaps_clear(Qcow2State *s);
/* The node has become read-only, or writable. */
void qcow2_bitmaps_set_read_only(BlockNode *n);
bool qcow2_bitmaps_may_resize(BlockNode *n, GError **err);
json_t *qcow2_bitmaps_info(const Qcow2State *s);
bool coroutine_fn qcow2_can_store_bitmap(BlockNode *n, const char *name, uint64_t granularity,
                                         GError **err);
bool coroutine_fn qcow2_remove_bitmap(BlockNode *n, const char *name, GError **err);
int coroutine_fn qcow2_bitmaps_size(BlockNode *node, uint64_t unit, uint64_t *bytes);

/* What writes calls this first. 0 or -errno. */
static inline int coroutine_fn qcow2_before_write(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);

    return G_UNLIKELY(__atomic_load_n(&s->bitmaps_stored, __ATOMIC_RELAXED)) ? qcow2_bitmaps_use(n)
                                                                             : 0;
}

/*
 * rebuild.c; under lock, for a check. Writes a new refcount table and blocks from 'counts', the
 * references to each of the file's clusters but those of the old table and blocks. *end: the
 * image's end in bytes, with the new ones.
 */
int coroutine_fn qcow2_rebuild_refcounts(BlockNode *n, const uint32_t *counts, uint64_t clusters,
                                         uint64_t *end);

/* check.c: gives all refcounts another width. *err: the image is inconsistent, or has no room. */
bool coroutine_fn qcow2_change_refcount_order(BlockNode *node, unsigned order, GError **err);

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
    bool encryption;
    char *encrypt_format;
    LuksCreate luks;
    BlockNode *data_node; /* no option: qcow2_create_use() */
} Qcow2Create;
/* crypto.c: what encryption of a new image takes; *bytes: of its header, which needs clusters. */
bool qcow2_create_check_crypto(const Qcow2Create *o, int *method, uint64_t *bytes, GError **err);
bool coroutine_fn qcow2_create_crypto(BlockNode *file, const Qcow2Create *o, uint64_t offset,
                                      uint64_t bytes, GError **err);
extern const Property qcow2_create_props[];
/* The data file is a node that there is, of which the image keeps the name. */
void qcow2_create_use(void *options, BlockNode *const *nodes, unsigned count);
bool qcow2_create_check(void *options, uint64_t *length, GError **err);
bool qcow2_measure(void *options, BlockMeasure *m, GError **err);
bool coroutine_fn qcow2_create(BlockNode *file, void *options, bool *zero, GError **err);
int coroutine_fn qcow2_check(BlockNode *node, BlockCheckResult *res, unsigned fix);

#endif

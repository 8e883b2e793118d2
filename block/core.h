/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the block core. Private to block/. */
#ifndef BLOCK_CORE_H
#define BLOCK_CORE_H

#include "base/wait_list.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/node.h"
#include "block/range_lock.h"

/* Drivers that a request may pass on one coroutine's stack. A backing chain counts as one. */
enum { BLOCK_MAX_NESTING = 64 };

/* Ranges of a node that somebody writes to, or has locked (range_lock.c), in order of arrival. */
typedef struct {
    unsigned tracked; /* atomic; > 0: the node's writes are in the list */
    GMutex guard;
    BlockRangeLock *first, *last;
} BlockRangeTable;

typedef struct BlockNodeCore {
    WaitList held;            /* requests that wait until quiesce is 0 */
    WaitList drained;         /* coroutines that wait until in_flight is 0 */
    CoMutex exclusive;        /* one write_exclusive() at a time */
    CoMutex flushing;         /* one flush_protocol() at a time */
    unsigned exclusive_count; /* atomic: write_exclusive() calls, waiting or running */
    BlockRangeTable ranges;
    uint64_t write_threshold; /* atomic; 0: none (write_threshold.c) */
    /* Main thread alone, from here on. */
    GPtrArray *parents, *children; /* BlockEdge */
    BlockPerms perms;              /* all parents' together */
    BlockPerms opener;             /* of whoever opened the node and holds no edge (a tool) */
    BlockPerms guard;              /* likewise, but for the host's locks alone */
    unsigned drains;               /* drained sections of this node, and children that are in any */
    struct BlockDirtyBitmap *bitmaps; /* atomic: the newest (dirty_bitmap.c) */
    json_t *options;                  /* the tree that the node was opened from */
    BlockNode *inherits_from; /* the parent in whose tree this node was opened; NULL: none */
    json_t *own_options;      /* then: the tree, before it inherited */
    json_t *backing_tree;     /* the backing file's tree, until open_one_backing() opens it */
    bool backing_by_image;    /* backing_tree was made from the image, not given by the user */
    bool implicit;            /* a job's filter, of which the user does not know */
    bool temporary;           /* the overlay of snapshot=on */
    bool opened;              /* driver->opened() has succeeded */
    bool named;               /* opts.node_name is checked, and taken */
    bool settling;            /* reopened() is not done: nobody may begin to write */
    bool listed;    /* opened, with its backing chain; close() has not begun: others may find it */
    unsigned depth; /* levels of drivers below, for BLOCK_MAX_NESTING */
    unsigned leaving; /* parents that can do without the node: BlockParentClass.let_go */
} BlockNodeCore;

/* Drained sections that wait for requests (drain.c). Any thread. */
extern unsigned block_drain_waiters; /* atomic */
void block_drain_wake_all(void);
/* Whoever has just counted its last request out calls this: a section may have waited for it. */
static inline void block_drain_wake(void)
{
    if (G_UNLIKELY(__atomic_load_n(&block_drain_waiters, __ATOMIC_SEQ_CST))) {
        block_drain_wake_all();
    }
}

/*
 * Counts a request in. False: the node is quiesced; the caller has to count the request out again
 * (block_node_leave()), and wait or take another way.
 */
static inline bool block_node_try_enter(BlockNode *n)
{
    __atomic_add_fetch(&n->in_flight, 1, __ATOMIC_SEQ_CST);
    return G_LIKELY(!__atomic_load_n(&n->quiesce, __ATOMIC_SEQ_CST));
}

static inline void block_node_leave(BlockNode *n)
{
    if (__atomic_sub_fetch(&n->in_flight, 1, __ATOMIC_SEQ_CST) == 0) {
        if (G_UNLIKELY(__atomic_load_n(&n->quiesce, __ATOMIC_SEQ_CST))) {
            wait_list_wake_all(&n->core->drained);
        }
        block_drain_wake();
    }
}

/* Counts a request in; waits while the node is quiesced. */
void coroutine_fn block_node_enter(BlockNode *n);
/*
 * From 'bar' to 'unbar' no request gets into the node, whoever sends it: those that a drained
 * section lets pass, too. 'bar' waits for those that are in it. The driver's own functions may be
 * called meanwhile, and use the children.
 */
void coroutine_fn block_node_bar(BlockNode *n);
void block_node_unbar(BlockNode *n);

/* dirty_bitmap.c. Any thread: bytes of the node were written, or may have been. */
void block_dirty_bitmaps_wrote(BlockNode *n, uint64_t off, uint64_t bytes);
/* The node's length has changed. */
void block_dirty_bitmaps_resized(BlockNode *n);
/* The node is closed. */
void block_dirty_bitmaps_end(BlockNode *n);
/* For queries: the node's bitmaps; NULL: there are none. New reference. */
json_t *block_dirty_bitmaps_info(BlockNode *n);

/* After a write, whatever came of it, and before it is acknowledged. */
static inline void block_node_dirtied(BlockNode *n, uint64_t off, uint64_t bytes)
{
    if (G_UNLIKELY(__atomic_load_n(&n->core->bitmaps, __ATOMIC_ACQUIRE))) {
        block_dirty_bitmaps_wrote(n, off, bytes);
    }
}

/* For protocols: the host file has changed, so the next flush must not be skipped. Any thread. */
static inline void block_node_wrote(BlockNode *n)
{
    __atomic_add_fetch(&n->write_gen, 1, __ATOMIC_SEQ_CST);
}

/* Raises wr_highest_offset, a statistic. Any thread. */
static inline void block_node_wrote_up_to(BlockNode *n, uint64_t end)
{
    uint64_t old = __atomic_load_n(&n->wr_highest_offset, __ATOMIC_RELAXED);

    while (end > old && !__atomic_compare_exchange_n(&n->wr_highest_offset, &old, end, false,
                                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* range_lock.c. */
void block_range_table_init(BlockRangeTable *t);
void block_range_table_destroy(BlockRangeTable *t);
/* Puts a write into the table; waits for exclusive locks. block_range_unlock() ends it. */
void coroutine_fn block_range_track_write(BlockNode *n, BlockRangeLock *l, uint64_t off,
                                          uint64_t bytes);

/*
 * Every write is between these two: it is counted in, and in the table of ranges where the node is
 * tracked. The range comes first, then the node: a write that waits for somebody's range is not in
 * flight in the node, which that one writes to.
 */
static inline void coroutine_fn block_write_begin(BlockNode *n, BlockRangeLock *l, uint64_t off,
                                                  uint64_t bytes, unsigned flags)
{
    l->listed = false;
    if (G_UNLIKELY(__atomic_load_n(&n->core->ranges.tracked, __ATOMIC_SEQ_CST)) && bytes &&
        !(flags & BLOCK_REQ_HOLDS_RANGE)) {
        block_range_track_write(n, l, off, bytes);
    }
    block_node_enter(n);
}

static inline void block_write_end(BlockNode *n, BlockRangeLock *l)
{
    if (G_UNLIKELY(l->listed)) {
        block_range_unlock(n, l);
    }
    block_node_leave(n);
}

/* Called after block_node_enter(): whether a write may go there. 0 or -errno. (request.c) */
int block_write_allowed(BlockNode *n, uint64_t off, uint64_t bytes);
/* BlockDriver.pcopy, checked as a write is. (copy_range.c) */
int coroutine_fn block_pcopy(BlockNode *n, uint64_t off, const BlockHostRange *from,
                             unsigned flags);

/* BlockDriver.preallocate, or -ENOTSUP. (preallocate.c) */
int coroutine_fn block_preallocate(BlockNode *n, uint64_t off, uint64_t bytes,
                                   BlockPreallocation mode);
/*
 * The file is going to be written up to 'end', and further on. Where such writes would wait for
 * each other, because they make it longer, the host's file becomes longer than block_exact_length()
 * says, by zeroes. Returns whether it may have: who has written all then cuts it to its length, by
 * block_truncate(). A file that was not cut ends with zeroes. (drivers/file_space.c)
 */
bool coroutine_fn block_make_room(BlockNode *n, uint64_t end);
/* Whether a file that becomes longer has zeroes there. */
bool block_zero_past_end(const BlockNode *file);
/* Makes space of a format's in its file zeroes, whatever was there, which may lie past the end. */
int coroutine_fn block_clear_space(BlockNode *file, uint64_t at, uint64_t bytes);
/* Writes zeroes as data. */
int coroutine_fn block_fill_zeroes(BlockNode *n, uint64_t off, uint64_t bytes);
/*
 * Opens and locks the file for a new image, and leaves its content alone. *made_path (the caller
 * frees it) is the path of a file that did not exist before, else NULL. (image.c)
 */
BlockNode *block_image_open_target(const char *filename, const BlockCache *cache, char **made_path,
                                   GError **err);
/* Whether that could do, as far as names and permissions of the host tell. Touches nothing. */
bool block_image_target_possible(const char *filename, GError **err);
/* Drops the file's content: BlockDriver.make_empty, where there is one. */
bool coroutine_fn block_image_make_empty(BlockNode *file, uint64_t length, bool *zero,
                                         GError **err);

/* The driver whose probe() is surest of these first bytes; "raw" where none knows them. */
const BlockDriver *block_probe(const uint8_t *buf, size_t len);
/* The driver that knows a file by its last bytes, where its first ones say nothing; or NULL. */
const BlockDriver *block_probe_tail(const uint8_t *tail, size_t len);
/*
 * The title of a format that this program recognises and cannot open; NULL: none of these. 'head'
 * and 'tail' are the file's first and last bytes.
 */
const char *block_probe_foreign(const uint8_t *head, size_t len, const uint8_t *tail,
                                size_t tail_len);
/* Whether direct I/O on this node takes these buffers as they are. */
bool block_iov_aligned(BlockNode *n, const struct iovec *iov, unsigned niov);

/* graph.c */
/* Waits until no node is being closed. */
void coroutine_fn block_nodes_closed_wait(void);
/* Whether a node has the name, or one that is being opened will have it. */
bool block_node_name_taken(const char *name);
/* Every node, in the order of opening, those that are being opened or closed among them. */
GPtrArray *block_nodes(void);
BlockEdge *block_node_edge(BlockNode *n, const char *name); /* to the child of this role; or NULL */
char *block_edge_describe(BlockEdge *edge);                 /* the parent; the caller frees it */
/* The node's length has changed, or its place was taken by another: tells all users above. */
void block_node_resized(BlockNode *n);
/* All parents of the node are such that let go, and nobody else has a reference. */
void block_node_left_alone(BlockNode *n);
/* Takes an edge to a child apart, and returns the child with the reference that the edge held. */
BlockNode *block_edge_unlink(BlockEdge *edge);
/* Whether no request is in the node. */
bool block_node_quiet(BlockNode *n);
/*
 * In a drained section, under the lock of changes: until the end no request is in a node that has
 * 'n' as its child, not even one that sections let pass (a flush of all). Then the edges from these
 * nodes may be moved.
 */
GPtrArray *coroutine_fn block_bar_parents(BlockNode *n);
/* The same for several nodes, which the caller keeps. */
GPtrArray *coroutine_fn block_bar_parents_of(const GPtrArray *nodes);
void block_unbar_parents(GPtrArray *barred);
/* Another node for a change to check: its options have changed. */
void block_change_touch(BlockChange *c, BlockNode *n);
/* Tells the nodes above that a child's alignment may be another one. */
void block_node_child_changed(BlockNode *child);
/*
 * Checks and changes what 'n' needs and shares for whoever opened it and holds no edge. Nothing
 * (needs 0, shares all) is what nodes begin with.
 */
bool block_node_hold(BlockNode *n, BlockPerms perms, GError **err);

/* perms.c */
/* The nodes at and below 'starts', parents before children. The caller frees the array. */
GPtrArray *block_nodes_in_order(GPtrArray *starts);
/* See block_change_commit(). 'starts': nodes whose parents or options have changed. */
typedef struct BlockPermsChange BlockPermsChange;
/* NULL: refused, and nothing was changed. */
BlockPermsChange *block_perms_prepare(GPtrArray *starts, GError **err);
void block_perms_commit(BlockPermsChange *p);
void block_perms_abort(BlockPermsChange *p);

/* drain.c, for graph.c: an edge came to a child, or leaves it. */
void block_drain_edge_added(BlockEdge *edge);
void block_drain_edge_removed(BlockEdge *edge);

/* open.c */
/*
 * For the open() of drivers that only read, before they open a child: with auto-read-only the node
 * becomes read-only. False, and an error: it is to be written to. And such a driver's
 * reopen_prepare().
 */
bool block_node_only_read(BlockNode *n, GError **err);
bool coroutine_fn block_node_reopen_only_read(BlockNode *n, const BlockNodeOptions *opts,
                                              const void *props, bool *read_only, GError **err);
/* block_image_open() without block_node_hold(). */
BlockNode *block_node_open_unheld(json_t *config, unsigned how, GError **err);
/* Moves the options that every node has out of 'config', into 'o'. */
bool block_node_parse_options(BlockNodeOptions *o, json_t *config, GError **err);
/* Fills a driver's zeroed state, by its table, with all that 'config' has. */
bool block_driver_parse_options(const BlockDriver *drv, void *state, json_t *config, GError **err);
void block_node_options_clear(BlockNodeOptions *o);
/* Puts into a child's tree what it inherits of a parent with these options. */
void block_node_inherit(const BlockNodeOptions *parent, const char *name, json_t *child);

/* vmstate_map.c: whether nobody reads the snapshot that matches. Else an error that says who. */
bool block_snapshot_unused(BlockNode *n, const char *id, const char *name, GError **err);

/* write_threshold.c: a write ends behind the threshold. */
void block_threshold_exceeded(BlockNode *n, uint64_t end);
/* Whoever begins a write that ends there, calls this. Any loop. */
static inline void block_threshold_check(BlockNode *n, uint64_t end)
{
    if (G_UNLIKELY(__atomic_load_n(&n->core->write_threshold, __ATOMIC_RELAXED))) {
        block_threshold_exceeded(n, end);
    }
}

/* histogram.c. Of reads, writes and flushes. */
enum { BLOCK_HISTOGRAMS = BLOCK_OP_FLUSH + 1 };
struct BlockHistogram;
struct ThrottleMember;

struct BlockBackend {
    unsigned refs; /* main thread */
    char *name;    /* atomic: written by the main thread, freed by reclaim_retire() */
    char *device;
    BlockNode *root; /* NULL: no medium; changes only while nothing is in flight */
    BlockEdge *edge; /* to 'root' */
    unsigned flags;  /* BLOCK_DEVICE_*, of the device that has the backend */
    bool writes;     /* atomic: the user of the backend writes; changes as 'root' does */
    int64_t length;  /* atomic: the root's, or -errno; for threads that must not follow 'root' */
    const BlockDeviceOps *ops;
    void *ops_data;
    BlockDriveInfo info;
    bool from_drive;
    int write_cache;              /* atomic: the guest's volatile write cache is on */
    int tray_open, medium_locked; /* atomic: removable media (media.c) */
    /* host_tray.c. */
    bool has_host_tray, host_tray_wanted; /* atomic */
    int host_tray_move;                   /* atomic: BlockTrayMove, of the guest's, to be done */
    int64_t host_tray_polled_ns;          /* atomic */
    bool host_tray_follows;               /* main thread */
    BottomHalf host_tray_bh;
    BlockOnError rerror, werror;
    int io_status;                   /* atomic: 0, or the errno that stopped the VM */
    unsigned in_flight, quiesce;     /* atomic */
    struct ThrottleMember *throttle; /* atomic; NULL: no limits (backend_throttle.c) */
    GPtrArray *lifted;               /* main thread: limits that a drain has lifted; or NULL */
    struct BlockHistogram *histograms[BLOCK_HISTOGRAMS]; /* atomic */
    WaitList drained;                                    /* until in_flight is 0 */
    WaitList released;                                   /* until quiesce is 0 */
    GMutex lock;           /* guards what follows to taken; quiesce is lowered under it */
    BlockRequest *held;    /* requests that wait for a drain's end, newest first */
    GQueue parked;         /* Parked (parking.c), oldest first */
    size_t parked_words;   /* as they are saved */
    unsigned parked_count; /* atomic: for looks without the lock */
    unsigned serial;       /* atomic: block_backend_take_back() calls */
    unsigned taken_all;    /* 'serial' after the last call for all queues */
    GArray *taken;         /* the same for one queue, by its number; or NULL */
    unsigned waiting;      /* atomic: requests that are held, or are let go of now */
    WaitList settled;      /* until waiting is 0 */
    bool account_invalid, account_failed; /* set before requests come */
    GPtrArray *timed_stats;               /* BlockTimedStats, likewise; NULL: none */
    BlockStats stats;                     /* atomic */
    BlockStats stats_copy;                /* what block_backend_stats() returns */
    int64_t last_access_ns;               /* atomic */
};

BlockBackend *block_backend_alloc(const char *name);
/*
 * A coroutine that waits holds a reference. Afterwards it looks at 'root' again, which is NULL if
 * the backend was freed meanwhile.
 */
void block_backend_ref(BlockBackend *blk);
void block_backend_unref(BlockBackend *blk);
/* False: the backend was freed while the caller, who holds a reference, waited. */
bool block_backend_listed(BlockBackend *blk);
/*
 * Counts the coroutine in as a request, when no drain holds them any more: until
 * block_backend_leave() a drain waits for it, so root and its node stay.
 */
void coroutine_fn block_backend_enter(BlockBackend *blk);
void block_backend_leave(BlockBackend *blk);
/* export/export.c. The backend has lost its medium. Does not wait. */
void block_exports_medium_gone(const BlockBackend *blk);
/* host_tray.c. The backend has another root, or none. */
void block_host_tray_root_changed(BlockBackend *blk);
void block_host_tray_end(BlockBackend *blk);
/* The guest has moved its tray, or locked its medium. Any thread. */
void block_host_tray_follow(BlockBackend *blk, BlockTrayMove move);
/* Frees a backend without a root, in which nothing is in flight or held. */
void block_backend_forget(BlockBackend *blk);
/*
 * Makes the node the root, with a reference of the backend's. It fails where the node's users do
 * not go together. It does not yield: giving up the caller's reference may, so a backend that is
 * made in vain is forgotten first, or another monitor finds it. NULL is allowed.
 */
bool block_backend_set_root(BlockBackend *blk, BlockNode *root, GError **err);
/* block_backend_drain_begin() without the wait. */
void block_backend_hold(BlockBackend *blk);
/* Takes the root (or NULL) and its reference out of the backend. Nothing may be in flight. */
BlockNode *block_backend_take_root(BlockBackend *blk);
/* Backends with this root (NULL: all backends). The array holds a reference to each. */
GPtrArray *block_backend_list(BlockNode *root);
/* What a trace point calls a backend: its name, else its device; NULL: it has neither. */
const char *block_backend_label(BlockBackend *blk) __attribute__((cold));
/* How QEMU calls a node in messages: by the drive whose medium it is, else by its own name. */
const char *block_node_device_or_name(BlockNode *n);
/* How many block_drain_all_begin() are on. A new backend or node starts drained by each of them. */
unsigned block_drained_all(void);

/* Counts a request that took so long, where the backend has a histogram of its kind. Any loop. */
void block_histogram_count(BlockBackend *blk, BlockOp op, uint64_t ns);

/* backend_throttle.c. Whether the request has to wait for its turn, and the wait. Any loop. */
bool block_backend_is_throttled(BlockBackend *blk, const BlockRequest *req);
void coroutine_fn block_backend_throttle(BlockBackend *blk, const BlockRequest *req);
/* A drain of the backend begins: what limits hold back goes, and nothing is held back until its
 * end. */
void block_backend_limits_lift(BlockBackend *blk);
void block_backend_limits_unlift(BlockBackend *blk);
/* No request is in flight; before the backend is freed. */
void block_backend_limits_free(BlockBackend *blk);

/* backend_fastpath.c. True: the engine has the request. False: nothing was started. */
bool block_fastpath_submit(BlockBackend *blk, BlockRequest *req);
/* Accounts for the request, calls done(), counts it out. On its loop, from a fresh callback. */
void block_request_complete(BlockRequest *req, int ret);
/* Starts a request that was held. */
void block_request_start(BlockRequest *req);

/* media.c: the backend has lost its root. Drained. */
void block_media_tell(BlockBackend *blk);

/* parking.c. */
void block_parking_init(BlockBackend *blk);
void block_parking_destroy(BlockBackend *blk);
/* Holds the request until the end of a drain. False: no drain is on. */
bool block_hold_request(BlockBackend *blk, BlockRequest *req);
/* Lets go of held requests, which are linked from the newest to the oldest. */
void block_release_held(BlockRequest *newest);
/* Counts a request that waits for a drain's end. */
void block_waiting_begin(BlockBackend *blk);
void block_waiting_end(BlockBackend *blk);
/*
 * Applies rerror or werror to a request that has failed with *ret. True: the request is parked, and
 * does not exist any more. False: done() is to be called with *ret.
 */
bool block_request_failed(BlockRequest *req, int *ret);

/*
 * Reads from the first node of the backing chain that starts at 'n' which has the data. A loop:
 * recursion along thousands of images would overflow a coroutine's stack.
 */
int coroutine_fn block_preadv_backing(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov);

/*
 * How a new image 'overlay_file' names 'n' as its backing file, and that one's format; the caller
 * frees the name. NULL: no name stands for the node. (action_image.c)
 */
char *block_backing_name_for(BlockNode *n, const char *overlay_file, const char **format,
                             GError **err);
int64_t block_allocated_size(BlockNode *n);
/* Anonymous qcow2 overlay in $TMPDIR, already unlinked: for snapshot=on. */
BlockNode *block_open_temporary_overlay(BlockNode *backing, GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block graph: a BlockNode is a driver with its children (a format has a file, and perhaps a
 * backing file). Drivers are coroutines in straight-line code.
 *
 * Threads: nodes are opened, closed and resized only on the main loop; a resize drains its node.
 * Any loop may submit requests to any node. A request's coroutine stays on the loop that started
 * it, so a driver guards its shared state with a CoMutex.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/coroutine.h"
#include "base/shape.h"

typedef struct BlockNode BlockNode;
typedef struct BlockDriver BlockDriver;
struct BlockCheckResult;
struct BlockSnapshot;
struct BlockEdge;
struct BlockPerms;
struct EngineOp;

/* QEMU's cache modes are exactly these three switches (qemu(1), -drive cache=). */
typedef struct {
    bool writeback; /* off: a write is complete when it is on stable storage */
    bool direct;    /* O_DIRECT: past the host's page cache */
    bool no_flush;  /* flush requests are ignored */
} BlockCache;
/* "none", "writeback", "writethrough", "directsync", "unsafe". */
bool block_cache_parse(const char *name, BlockCache *cache, GError **err);

typedef enum {
    BLOCK_AIO_THREADS,
    BLOCK_AIO_NATIVE,
    BLOCK_AIO_IO_URING,
    BLOCK_AIO_DEFAULT
} BlockAio;
typedef enum { BLOCK_DISCARD_IGNORE, BLOCK_DISCARD_UNMAP } BlockDiscard;
typedef enum {
    BLOCK_DETECT_ZEROES_OFF,
    BLOCK_DETECT_ZEROES_ON,
    BLOCK_DETECT_ZEROES_UNMAP
} BlockDetectZeroes;

/* Options that every node has, whatever its driver. */
typedef struct {
    char *driver;
    char *node_name; /* unique; made up ("#block123") where not given */
    bool read_only, auto_read_only;
    bool force_share;
    int discard; /* BlockDiscard */
    int detect_zeroes;
    BlockCache cache;
    json_t *cache_config; /* the tree of 'cache' */
} BlockNodeOptions;

/* The greatest length of a node: the last whole GiB that an off_t can name. */
#define BLOCK_MAX_LENGTH (UINT64_MAX / 2 >> 30 << 30)

/* JSON: the options of a node; a child, which is such options or the name of a node (or null). */
extern const PropertyShape block_options_shape, block_ref_shape, block_ref_or_null_shape;

enum {
    BLOCK_REQ_FUA = 1 << 0,         /* on stable storage before completion */
    BLOCK_REQ_MAY_UNMAP = 1 << 1,   /* write-zeroes may deallocate */
    BLOCK_REQ_NO_FALLBACK = 1 << 2, /* write-zeroes: -ENOTSUP rather than writing a buffer */
    BLOCK_REQ_HOLDS_RANGE = 1 << 3, /* the caller has the range: block_range_lock() */
};

/* For copies by the kernel (block/copy_offload.h). */
enum {
    BLOCK_COPY_SHARE = 1 << 0, /* only where both files then share the space: takes no time */
    /* Not where the target has space of its own: a file that was given it beforehand keeps it. */
    BLOCK_COPY_KEEP_SPACE = 1 << 1,
    BLOCK_COPY_HOLDS_RANGE = 1 << 2, /* the caller has the target's range: block_range_lock() */
};

enum { BLOCK_SECTOR_SIZE = 512 };

/* What block_status() says of a range. */
enum {
    BLOCK_STATUS_DATA = 1 << 0,
    BLOCK_STATUS_ZERO = 1 << 1,
    BLOCK_STATUS_ALLOCATED = 1 << 2, /* in this layer, not in the backing file */
    BLOCK_STATUS_OFFSET_VALID = 1 << 3,
    BLOCK_STATUS_COMPRESSED = 1 << 4,
    /* Of a driver, with DATA and OFFSET_VALID: the file may have a hole there, and be asked. */
    BLOCK_STATUS_RECURSE = 1 << 5,
};

/* Where a range of a node is in its file: see map_cached. */
typedef struct {
    BlockNode *file; /* protocol node that holds the bytes */
    uint64_t offset; /* in 'file' */
    uint64_t bytes;  /* how far the mapping is contiguous */
    /*
     * NULL, or a counter that map_cached() has raised. Until the caller lowers the counter
     * (atomically, when the request is done), the bytes in 'file' are not given another use.
     */
    int *guard;
} BlockMapping;

/* A range of a host file that a copy reads. */
typedef struct {
    BlockNode *file; /* a protocol node with pcopy_source */
    uint64_t offset, bytes;
} BlockHostRange;

typedef struct {
    uint32_t cluster_size;    /* 0: none */
    uint64_t vm_state_offset; /* of block_vmstate_pwritev()'s data; 0: there is no room for it */
    bool dirty, corrupt;
    bool encrypted, compressed;
    bool needs_compressed; /* new data is written by block_pwrite_compressed() alone */
    uint64_t snapshots;
    const json_t *snapshot_list; /* as in 'qemu-img info --output=json'; borrowed; may be NULL */
    json_t *format_specific;     /* likewise; the caller's reference; may be NULL */
} BlockDriverInfo;

/* What of a range that reads as zeroes has a place already, before anything is written there. */
typedef enum {
    BLOCK_PREALLOC_OFF,
    BLOCK_PREALLOC_METADATA, /* entries in the format's tables; the file may have holes there */
    BLOCK_PREALLOC_FALLOC,   /* and space in the file */
    BLOCK_PREALLOC_FULL,     /* and zeroes were written */
} BlockPreallocation;
/* Their names, which end with NULL. */
extern const char *const block_preallocation_names[];

/* What a drive of the host's does with its tray, as the guest's does. */
typedef enum { BLOCK_TRAY_STAYS, BLOCK_TRAY_OPENS, BLOCK_TRAY_CLOSES } BlockTrayMove;

/* What a new image takes in its file, beside and for the disk's data: BlockDriver.measure. */
typedef struct {
    uint64_t unit;     /* data takes space in whole units of this many bytes */
    uint64_t metadata; /* bytes for a disk of this length, whatever is on it */
    uint64_t data;     /* bytes for a disk that is full of data */
    bool preallocated; /* a disk without data takes all of them as well */
    bool bitmaps;      /* the format keeps bitmaps */
} BlockMeasure;

/* An option of QEMU's that a driver has not. */
typedef struct {
    const char *name;
    const char *why; /* and what to do instead */
} BlockRefusedOption;

struct BlockDriver {
    const char *name, *help;
    size_t size;           /* of the driver's state, zeroed: block_node_state() */
    const Property *props; /* filled into that state before open(); a child is a PROP_TREE, which
                              the driver opens by block_open_child() */
    const BlockRefusedOption *refused; /* ends with a name NULL; NULL: none */
    bool is_protocol;                  /* sits on a host object; 'filename' names it */
    bool is_filter;                    /* shows what its child 'file' shows: block_node_image() */
    bool ends_with_file; /* a filter whose node ends where 'file' ends, whatever is written */
    /*
     * File names "PROTOCOL:..." that are this driver's: the words before the colon, with blanks
     * between them, and what such a name means: the node's options (new reference), or NULL and
     * *err.
     */
    const char *protocols;
    json_t *(*parse_filename)(const char *filename, GError **err);
    /* How surely a file that begins with 'buf' is of this format: 0..100. */
    int (*probe)(const uint8_t *buf, size_t len);
    /* Opens all children but a backing file, which it asks for: block_node_want_backing(). */
    bool (*open)(BlockNode *node, GError **err);
    /* After open(), once the backing chain is open. Nothing is written to the image before this. */
    bool (*opened)(BlockNode *node, GError **err);
    void (*close)(BlockNode *node);
    /*
     * The node comes into a drained section, or leaves the last one: what only waits for its time
     * goes at once meanwhile. The main thread; does not yield; perhaps before open() is done.
     */
    void (*drained)(BlockNode *node, bool on);
    /*
     * A child was replaced: takes over what was copied from it (alignment). Cannot fail; does not
     * yield.
     */
    void (*child_changed)(BlockNode *node);
    /*
     * What the node needs of a child, and shares, where its own users need and share 'users'. NULL:
     * as the child's role says (block/perms.c). For filters that make way: the one that commits
     * leaves an image to the job, which writes to what lies below.
     */
    struct BlockPerms (*child_perms)(BlockNode *node, const struct BlockEdge *edge,
                                     struct BlockPerms users);
    /*
     * Protocols: takes the locks on the host for what the node's users need, and what they deny to
     * others. 'prepare' may fail, and gives up nothing yet; then one of the other two follows.
     * They do not yield.
     */
    bool (*perms_prepare)(BlockNode *node, unsigned needs, unsigned unshared, GError **err);
    void (*perms_commit)(BlockNode *node);
    void (*perms_abort)(BlockNode *node);
    /*
     * Other options for an open node (block_reopen()); without reopen_prepare() those that every
     * node has are all that can change. 'prepare' checks, and gets all that may fail: 'opts' are
     * the new common options, 'props' a state that was filled from driver->props, of which only
     * those with PROP_FLAG_RUNTIME differ from the present one; *read_only (in: as the options say)
     * may be set, for auto-read-only. The node is drained and flushed, and takes no requests until
     * the end (block_node_bar()).
     * Then one of the other two follows, which do not yield; at 'commit' node->opts and
     * node->read_only are the new ones. reopened() comes last, when all nodes have changed, where a
     * node has become writable.
     */
    bool coroutine_fn (*reopen_prepare)(BlockNode *node, const BlockNodeOptions *opts,
                                        const void *props, bool *read_only, GError **err);
    void (*reopen_commit)(BlockNode *node, const void *props);
    void (*reopen_abort)(BlockNode *node);
    bool coroutine_fn (*reopened)(BlockNode *node, GError **err);
    /*
     * inactivate() writes back and forgets all that is cached of the image; activate() reads it
     * anew, whatever is still cached. The node is drained, and takes no requests
     * (block_node_bar()). See block_inactivate_all().
     */
    int coroutine_fn (*inactivate)(BlockNode *node);
    bool coroutine_fn (*activate)(BlockNode *node, GError **err);
    /* False and *err: nobody else can go on with the image; block_may_migrate(). NULL: they can. */
    bool (*may_migrate)(BlockNode *node, GError **err);
    /* 0 or -errno. Ranges lie inside the node and on its request alignment. */
    int coroutine_fn (*preadv)(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov);
    int coroutine_fn (*pwritev)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                const struct iovec *iov, unsigned niov, unsigned flags);
    /* -ENOTSUP: the core writes a buffer of zeroes, unless BLOCK_REQ_NO_FALLBACK is set. */
    int coroutine_fn (*pwrite_zeroes)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                      unsigned flags);
    int coroutine_fn (*pdiscard)(BlockNode *node, uint64_t offset, uint64_t bytes);
    /* One whole cluster (the disk's last may be shorter), to which nothing was written yet. */
    int coroutine_fn (*pwrite_compressed)(BlockNode *node, uint64_t offset, const void *buf,
                                          size_t bytes);
    /*
     * Writes what 'from' holds to 'offset', within the host (block_offload_copy()), as
     * BLOCK_COPY_* say. -ENOTSUP: not this range; -EXDEV: the kernel has refused.
     * Then nothing is changed, or only what is to be written anyway, and the caller reads and
     * writes.
     */
    int coroutine_fn (*pcopy)(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                              unsigned flags);
    bool pcopy_source;                          /* 'from.file' may be a node of this driver */
    int coroutine_fn (*flush)(BlockNode *node); /* all writes completed before are stable then */
    int coroutine_fn (*block_status)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     uint64_t *pnum, uint64_t *map, BlockNode **file);
    int coroutine_fn (*truncate)(BlockNode *node, uint64_t size, GError **err);
    /*
     * Gives a range that reads as zeroes, and holds no data, its place. -ENOTSUP: not in this mode;
     * an empty range asks just that.
     */
    int coroutine_fn (*preallocate)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    BlockPreallocation mode);
    /*
     * Drops all data of an image with a backing file, which shows everywhere then. The image's
     * length stays. Stable on return.
     */
    int coroutine_fn (*drop_data)(BlockNode *node);
    /*
     * Makes the image name another backing file, or none (NULL), and that one's format. Stable on
     * return; whenever the power is cut before, the image names the old one or the new one.
     * -EINVAL: a name that no image can have. -ENOSPC: the image has no room for it.
     */
    int coroutine_fn (*set_backing_name)(BlockNode *node, const char *name, const char *format);
    /* Length in bytes, which need not be whole sectors, or -errno. Not a coroutine. */
    int64_t (*length)(BlockNode *node);
    /* Protocols that are a drive of the host's: whether a disc lies in it. Any thread. */
    bool (*has_medium)(BlockNode *node);
    /*
     * Likewise: moves the tray, locks the door, and looks for a disc. True: one has come or gone,
     * so that has_medium() and length() may be others.
     */
    bool coroutine_fn (*follow_tray)(BlockNode *node, BlockTrayMove move, bool lock);
    int64_t (*allocated)(BlockNode *node); /* protocols: bytes taken on the host; may be NULL */
    /*
     * True where cached metadata says where the range is. For a write: only where overwriting in
     * place is all that has to be done. Not a coroutine, any loop, does not wait.
     */
    bool (*map_cached)(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                       BlockMapping *map);
    /*
     * Protocols that have a host I/O engine: starts an operation (block/engine.h) of which the
     * caller has set kind, offset, bytes, iov, niov and done(). Not a coroutine; op->done() is
     * called later, on the calling loop.
     */
    void (*engine_submit)(BlockNode *node, struct EngineOp *op);
    /*
     * Protocols whose peer may never answer: from now on all requests fail with -EIO, those in
     * flight too. Not a coroutine; main loop; also called while open() or close() waits.
     */
    void (*cancel)(BlockNode *node);
    bool (*info)(BlockNode *node, BlockDriverInfo *info);
    /*
     * Makes a new image: block_image_create(). create_check() refuses what create() could not do,
     * before any file is touched; *length is how long the file has to become at least.
     */
    const Property *create_props;
    size_t create_size;
    bool (*create_check)(void *create_options, uint64_t *length, GError **err);
    /*
     * Of an image of several files: the option of 'blockdev-create' that names nodes for the
     * others, and what puts these (none, perhaps) into the options, before create_check(). They are
     * borrowed until create() has returned, and are flushed by the caller.
     */
    const char *create_nodes;
    void (*create_use)(void *create_options, BlockNode *const *nodes, unsigned count);
    /* How much space a new image with these options takes. */
    bool (*measure)(void *create_options, BlockMeasure *m, GError **err);
    /*
     * The bytes that the image's bitmaps take in an image with clusters of 'unit' bytes. NULL, or
     * -ENOTSUP: the image cannot have any.
     */
    int coroutine_fn (*bitmaps_size)(BlockNode *node, uint64_t unit, uint64_t *bytes);
    /*
     * Persistent dirty bitmaps (block/dirty_bitmap.h). can_store_bitmap(): whether the image takes
     * one more of this name. A driver that has it stores its node's persistent bitmaps in close(),
     * inactivate() and where it becomes read-only, makes those that it finds in open() (and in
     * reopened(), activate()) with block_dirty_bitmap_add_stored(), and marks them as in use before
     * the first write. remove_bitmap(): forgets one; one that is not stored yet is no error.
     */
    bool coroutine_fn (*can_store_bitmap)(BlockNode *node, const char *name, uint64_t granularity,
                                          GError **err);
    bool coroutine_fn (*remove_bitmap)(BlockNode *node, const char *name, GError **err);
    /*
     * Writes a new image into 'file'. *zero in: bytes of 'file' that create() does not write read
     * as zeroes. *zero out: the whole disk of the new image reads as zeroes.
     */
    bool coroutine_fn (*create)(BlockNode *file, void *create_options, bool *zero, GError **err);
    /*
     * Protocols: drops the file's content, for a new image of at least 'length' bytes. A file that
     * cannot become that long keeps its content. *zero: bytes that are not written afterwards read
     * as zeroes.
     */
    int coroutine_fn (*make_empty)(BlockNode *node, uint64_t length, bool *zero, GError **err);
    void coroutine_fn (*debug_event)(BlockNode *node, unsigned event); /* block/debug.h */
    /*
     * Changes properties of an open image that options of create() have set, or its keys; 'options'
     * were filled from amend_props. 'force': also what may lose data. Stable on return. Requests to
     * the node may go on meanwhile.
     */
    const Property *amend_props;
    size_t amend_size;
    bool coroutine_fn (*amend)(BlockNode *node, void *options, bool force, GError **err);
    /* Consistency check and repair: 0, or -errno. See block/image.h. */
    int coroutine_fn (*check)(BlockNode *node, struct BlockCheckResult *res, unsigned fix);
    /* Internal snapshots, and the VM state: block/snapshot.h. No request is in the node. */
    bool coroutine_fn (*snapshot_create)(BlockNode *node, const struct BlockSnapshot *sn,
                                         GError **err);
    bool coroutine_fn (*snapshot_apply)(BlockNode *node, const char *id_or_name, GError **err);
    bool coroutine_fn (*snapshot_delete)(BlockNode *node, const char *id, const char *name,
                                         GError **err);
    bool coroutine_fn (*snapshot_load)(BlockNode *node, const char *id, const char *name,
                                       GError **err);
    int coroutine_fn (*vmstate_pwritev)(BlockNode *node, uint64_t pos, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov);
    int coroutine_fn (*vmstate_preadv)(BlockNode *node, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov);
    int coroutine_fn (*vmstate_preadv_snapshot)(BlockNode *node, const char *id, uint64_t pos,
                                                uint64_t bytes, const struct iovec *iov,
                                                unsigned niov);
    int coroutine_fn (*vmstate_drop)(BlockNode *node);
    /*
     * Appends to 'extents' (BlockVmstateExtent) what of a snapshot's VM state lies as it is in
     * node->file. -ENOTSUP: nothing does.
     */
    int coroutine_fn (*vmstate_extents)(BlockNode *node, const char *id, uint64_t pos,
                                        uint64_t bytes, GArray *extents);
    /*
     * Protocols that are a file of the host's: opens it once more, for mapping pages of it, which
     * stay what they are for as long as the node's users do not change them. -1, and an error that
     * says why it cannot be mapped.
     */
    int (*open_to_map)(BlockNode *node, GError **err);
};

struct BlockNode {
    const BlockDriver *driver;
    BlockNodeOptions opts;
    char *filename;  /* as messages and queries show it */
    BlockNode *file; /* data/protocol child */
    BlockNode *backing;
    unsigned refs;
    bool read_only;             /* by option, or made so by auto_read_only */
    uint32_t request_alignment; /* bytes, power of two; 512 for O_DIRECT, else 1 */
    uint32_t memory_alignment;
    unsigned in_flight;        /* atomic: requests in the driver */
    unsigned quiesce;          /* atomic; > 0: new requests wait */
    unsigned intercepts;       /* atomic; > 0: no request takes the short way of map_cached() */
    unsigned write_intercepts; /* atomic; > 0: no write takes it */
    bool inactive;             /* another process may write to the image: block_inactivate_all() */
    void *state;               /* the driver's: block_node_state() */
    bool probed;               /* the format was guessed, not given */
    bool monitor_owned;        /* made by -blockdev or blockdev-add */
    bool checking;             /* opened with BLOCK_IMAGE_CHECK */
    bool no_io;                /* opened with BLOCK_IMAGE_NO_IO */
    char *backing_format;      /* as it stands in the image; may be NULL */
    char *backing_name;        /* likewise */
    /* Private to the core. */
    uint64_t wr_highest_offset;      /* atomic: end of the furthest write, a statistic */
    uint64_t write_gen, flushed_gen; /* atomic: changes so far; how many of them are stable */
    struct BlockNodeCore *core;
};

static inline void *block_node_state(BlockNode *node)
{
    return node->state;
}

/* What shows where the node has no data: its backing file; a filter's child. NULL: nothing. */
static inline BlockNode *block_node_below(const BlockNode *n)
{
    return n->backing ? n->backing : n->driver->is_filter ? n->file : NULL;
}

/*
 * Whether a backing file may show where the image has nothing: it may be one that is not open yet
 * (the target of a mirror). What is made zero has to say so then.
 */
static inline bool block_node_may_show_backing(const BlockNode *n)
{
    return n->backing || n->backing_name;
}

/* The image: 'n' without the filters on it. NULL stays NULL. */
static inline BlockNode *block_node_image(BlockNode *n)
{
    while (n && n->driver->is_filter) {
        n = block_node_below(n);
    }
    return n;
}

/* The image behind another one in a backing chain, past filters. NULL: none. */
static inline BlockNode *block_node_next_image(BlockNode *n)
{
    n = block_node_image(n);
    return n ? block_node_image(n->backing) : NULL;
}

/* All drivers (block/drivers/drivers.c), NULL-terminated. */
const BlockDriver *const *block_drivers(void);
const BlockDriver *block_driver_find(const char *name);

/*
 * Opens a node from its tree, as -blockdev has it: {"driver", "node-name", "file": {...} or a node
 * name, "backing": ..., "read-only", "cache": {"direct", "no-flush"}, "discard", ...}. Where
 * "driver" is absent the format is probed. The caller owns one reference. Main loop: a coroutine
 * waits for I/O, others block (block_run()).
 */
BlockNode *block_node_open(json_t *config, GError **err);
/*
 * For drivers: opens the child named by a PROP_TREE value (a dict, or a string naming a node), and
 * attaches it as 'name' in a role (BLOCK_ROLE_*, block/graph.h). 'slot' gets the child, now and
 * whenever it is replaced.
 */
struct BlockEdge *block_open_child(BlockNode *parent, const char *name, unsigned role,
                                   json_t *value, BlockNode **slot, GError **err);
/*
 * From now on no file is opened because an image names it: a backing file, a data file, an extent.
 * Those that the user names are. For the whole process, and for good; before images are opened.
 */
void block_forbid_named_files(void);
/*
 * For drivers: before a file is opened because the image says so. False and *err: the user has
 * forbidden that. 'what' is the file to the image ("data file"); 'instead': what the user can do.
 */
bool block_named_file_allowed(const BlockNode *node, const char *what, const char *name,
                              const char *instead, GError **err);
/* For drivers' open(): the tree of the backing file that the image names. New reference. */
json_t *block_backing_tree(BlockNode *node, GError **err);
/*
 * For drivers' open(): asks for a backing file, which is opened after open() has returned. 'tree'
 * is its options, or a string that names a node. 'by_image': the tree was made from the image, so
 * the chain may lead back to this image.
 */
void block_node_want_backing(BlockNode *node, json_t *tree, bool by_image);
/*
 * The same as the option 'backing' says ('given'; NULL: it is not there): another node, none (null
 * or ""), or the file that the image names (node->backing_name, backing_format).
 */
bool block_node_want_named_backing(BlockNode *node, json_t *given, GError **err);
/* "FILENAME" or "proto:..." or "json:{...}" into a tree for block_node_open. New reference. */
json_t *block_filename_to_config(const char *filename, GError **err);
/*
 * The same for an image that is opened by this driver: a format, or a protocol ("host_device"),
 * which then is the node itself. NULL: the format is looked for.
 */
json_t *block_image_config(const char *filename, const char *driver, GError **err);
BlockNode *block_node_ref(BlockNode *node);
/*
 * Giving up the last reference flushes and closes the node, and returns when that is done: a
 * coroutine waits, others block (block_run()).
 */
void block_node_unref(BlockNode *node);
BlockNode *block_node_find(const char *node_name);
void block_node_foreach(void (*fn)(BlockNode *node, void *data), void *data);
/* -blockdev, blockdev-add: the monitor holds the reference, until blockdev-del. */
bool block_node_add_monitor_owned(json_t *config, GError **err);
bool block_node_del_monitor_owned(const char *node_name, GError **err);
void block_node_close_all(void);
/*
 * BlockDriver.cancel of all nodes: for the end of a program that has waited long enough for others.
 * Main loop.
 */
void block_node_cancel_all(void);
/* While a program comes to its end: what is not over after some seconds is cancelled. */
enum { BLOCK_END_SECONDS = 5 };
Timer *block_end_timer_new(void); /* timer_free() it when all is over */

/*
 * Requests on a node, checked against its length, alignment and quiescence. 0 or -errno. Whoever
 * sends them keeps the node by a reference, and is a user that holds the permissions which they
 * need: these are not checked here. An edge's owner that is told of a drain sends none in it.
 */
int coroutine_fn block_preadv(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                              unsigned niov);
int coroutine_fn block_pwritev(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                               unsigned niov, unsigned flags);
int coroutine_fn block_pread(BlockNode *n, uint64_t off, void *buf, size_t bytes);
int coroutine_fn block_pwrite(BlockNode *n, uint64_t off, const void *buf, size_t bytes,
                              unsigned flags);
int coroutine_fn block_pwrite_zeroes(BlockNode *n, uint64_t off, uint64_t bytes, unsigned flags);
/*
 * Whole clusters (the disk's last may be shorter; else -EINVAL) that are not allocated yet (else
 * -EIO). -ENOTSUP: the format has no compressed clusters.
 */
int coroutine_fn block_pwrite_compressed(BlockNode *n, uint64_t off, const void *buf,
                                         uint64_t bytes);
int coroutine_fn block_pdiscard(BlockNode *n, uint64_t off, uint64_t bytes);
int coroutine_fn block_flush(BlockNode *n);
/*
 * BLOCK_STATUS_... of the range, without RECURSE: data that lies in a hole of the file is ZERO,
 * too. *pnum: how many of its bytes that holds for. 'map' and 'file' (may be NULL): where the data
 * is.
 */
int coroutine_fn block_status(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                              uint64_t *map, BlockNode **file);
/*
 * The same, without a look for holes and with RECURSE: for who asks whether the image has the
 * range, and for drivers that pass on what their child says.
 */
int coroutine_fn block_status_here(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                   uint64_t *map, BlockNode **file);
/* BlockDriver.drop_data, or -ENOTSUP. */
int coroutine_fn block_drop_data(BlockNode *n);
int coroutine_fn block_truncate(BlockNode *n, uint64_t size, GError **err);
/*
 * block_truncate() of a node that is in use: main loop. Waits for requests in flight and holds new
 * ones meanwhile; those past the new end then get -EIO. Refused where the node is the child of
 * another node.
 */
int coroutine_fn block_resize(BlockNode *n, uint64_t size, GError **err);
/*
 * The length in whole sectors, or -errno. Where the last sector reaches past the end of a file,
 * that part reads as zeroes, and a write to it makes the file longer.
 */
int64_t block_length(BlockNode *n);
/* False: the node is a drive of the host's, or lies on one, in which there is no disc. */
bool block_node_has_medium(BlockNode *n);
/* The length to the byte, or -errno. */
int64_t block_exact_length(BlockNode *n);
/*
 * Memory that direct I/O takes as it is, on this node and on the files below. free() it. NULL: out
 * of memory. A 'block_auto_buffer char *p' is freed at the end of its scope.
 */
void *block_buffer_new(BlockNode *n, size_t len);
void block_buffer_cleanup(void *p);
#define block_auto_buffer __attribute__((cleanup(block_buffer_cleanup)))
/*
 * Calls fn in a coroutine, and returns its result. Within a coroutine that is all. Elsewhere the
 * loop is turned until fn is done, and I/O of fn is done by plain system calls on this thread: for
 * tools, start-up and the end of the program.
 */
int block_run(int coroutine_fn (*fn)(void *data), void *data);
/*
 * While the main loop of a machine runs, nothing may turn a loop inside itself: block_run() outside
 * a coroutine asserts that this is off.
 */
void block_forbid_blocking(bool on);

/* Puts "CONTEXT: " in front of the error's text, unless it starts with that already. */
void block_error_prefix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif

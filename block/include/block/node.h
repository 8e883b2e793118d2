/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block graph: a BlockNode is a driver over its children (a format over a protocol, with a
 * backing file). Drivers are coroutines in straight-line code.
 *
 * Threads: the graph (open, close, reopen, resize) changes only on the main loop, with the nodes
 * quiesced. Any loop may submit to any node: a request's coroutine stays on the loop it started
 * on, so a driver guards what it shares with CoMutex.
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
    json_t *cache_config; /* what 'cache' was made from */
} BlockNodeOptions;

/* What a node may be long: the last whole GiB that an off_t can name. */
#define BLOCK_MAX_LENGTH (UINT64_MAX / 2 >> 30 << 30)

/* What describes a node in JSON, and a child: a description, or the name of a node. */
extern const PropertyShape block_options_shape, block_ref_shape, block_ref_or_null_shape;

enum {
    BLOCK_REQ_FUA = 1 << 0,       /* on stable storage before completion */
    BLOCK_REQ_MAY_UNMAP = 1 << 1, /* write-zeroes may deallocate */
    BLOCK_REQ_NO_FALLBACK = 1 << 2,
};

enum { BLOCK_SECTOR_SIZE = 512 };

/* What a byte range of a node is: bits of block_status. */
enum {
    BLOCK_STATUS_DATA = 1 << 0,
    BLOCK_STATUS_ZERO = 1 << 1,
    BLOCK_STATUS_ALLOCATED = 1 << 2, /* in this layer, not in the backing file */
    BLOCK_STATUS_OFFSET_VALID = 1 << 3,
    BLOCK_STATUS_COMPRESSED = 1 << 4,
};

/* A mapping that needs no coroutine: see map_cached. */
typedef struct {
    BlockNode *file; /* protocol node that holds the bytes */
    uint64_t offset; /* there */
    uint64_t bytes;  /* how far the mapping is contiguous */
    /*
     * Not NULL: a counter that map_cached() has raised. What the mapping points to is not reused
     * before it is lowered (atomically), when the request is done.
     */
    int *guard;
} BlockMapping;

typedef struct {
    uint32_t cluster_size; /* 0: none */
    bool dirty, corrupt;
    bool encrypted, compressed;
    uint64_t snapshots;
    const json_t *snapshot_list; /* as 'qemu-img info --output=json' has them; borrowed; or NULL */
    json_t *format_specific;     /* as 'qemu-img info --output=json'; may be NULL; caller owns */
} BlockDriverInfo;

struct BlockDriver {
    const char *name, *help;
    size_t size;           /* of the driver's state, zeroed: block_node_state() */
    const Property *props; /* filled into that state before open; nodes as PROP_TREE are
                              children and are opened by block_open_child() */
    bool is_protocol;      /* sits on a host object; 'filename' names it */
    bool is_filter;
    /* 0..100: how surely this file is of this format. buf holds the first bytes. */
    int (*probe)(const uint8_t *buf, size_t len);
    /* A backing file is only asked for here: block_node_want_backing(). */
    bool (*open)(BlockNode *node, GError **err);
    /* The second half, when everything below is open; what writes to the image waits for this. */
    bool (*opened)(BlockNode *node, GError **err);
    void (*close)(BlockNode *node);
    /* 0 or -errno. Ranges lie inside the node and on its request alignment. */
    int coroutine_fn (*preadv)(BlockNode *node, uint64_t offset, uint64_t bytes,
                               const struct iovec *iov, unsigned niov);
    int coroutine_fn (*pwritev)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                const struct iovec *iov, unsigned niov, unsigned flags);
    /* -ENOTSUP: the core writes zeroes itself (unless BLOCK_REQ_NO_FALLBACK). */
    int coroutine_fn (*pwrite_zeroes)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                      unsigned flags);
    int coroutine_fn (*pdiscard)(BlockNode *node, uint64_t offset, uint64_t bytes);
    /* One cluster (the disk's last may be shorter) that nothing was written to yet. */
    int coroutine_fn (*pwrite_compressed)(BlockNode *node, uint64_t offset, const void *buf,
                                          size_t bytes);
    int coroutine_fn (*flush)(BlockNode *node); /* everything completed is stable afterwards */
    int coroutine_fn (*block_status)(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     uint64_t *pnum, uint64_t *map, BlockNode **file);
    int coroutine_fn (*truncate)(BlockNode *node, uint64_t size, GError **err);
    /* Current length in bytes (of any number), or -errno. Not a coroutine. */
    int64_t (*length)(BlockNode *node);
    int64_t (*allocated)(BlockNode *node); /* protocols: what it takes on the host; may be NULL */
    /*
     * Not a coroutine, any loop, no waiting: true where [offset, ...) is mapped by what is cached.
     * A write mapping is only given where a plain overwrite in place is right.
     */
    bool (*map_cached)(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                       BlockMapping *map);
    /*
     * Protocols that have a host I/O engine: starts an operation whose fd, range and done() are
     * set; see block/engine.h. Not a coroutine; op->done() comes later, on the calling loop.
     */
    void (*engine_submit)(BlockNode *node, struct EngineOp *op);
    bool (*info)(BlockNode *node, BlockDriverInfo *info);
    /*
     * Makes a new image: block_image_create(). create_check() refuses what create() could not do,
     * before any file is touched; *length is how long the file has to become at least.
     */
    const Property *create_props;
    size_t create_size;
    bool (*create_check)(void *create_options, uint64_t *length, GError **err);
    /*
     * *zero says at first whether what create() does not write in 'file' reads as zeroes, and
     * afterwards whether the guest of the new image reads zeroes everywhere.
     */
    bool coroutine_fn (*create)(BlockNode *file, void *create_options, bool *zero, GError **err);
    /*
     * Protocols: gives up what the file holds, for a new image of at least 'length' bytes. A file
     * that cannot become so long keeps its content. *zero: whether all that is not written from
     * now on reads as zeroes.
     */
    int coroutine_fn (*make_empty)(BlockNode *node, uint64_t length, bool *zero, GError **err);
    /* Consistency check and repair: 0, or -errno. See block/image.h. */
    int coroutine_fn (*check)(BlockNode *node, struct BlockCheckResult *res, unsigned fix);
};

struct BlockNode {
    const BlockDriver *driver;
    BlockNodeOptions opts;
    char *filename;  /* what a person would call it */
    BlockNode *file; /* data/protocol child */
    BlockNode *backing;
    GPtrArray *parents; /* nodes and backends that hold it, by name, for errors */
    unsigned refs;
    bool read_only;             /* as opened (auto_read_only may have made it so) */
    uint32_t request_alignment; /* bytes, power of two; 512 for O_DIRECT, else 1 */
    uint32_t memory_alignment;
    uint64_t max_transfer; /* 0: none */
    unsigned in_flight;    /* atomic: requests below */
    unsigned quiesce;      /* atomic; > 0: new requests wait */
    void *state;           /* driver's */
    bool probed;           /* the format was guessed, not given */
    bool implicit;         /* made for a parent's sake (from a backing file name, a bare path) */
    bool monitor_owned;    /* by -blockdev or blockdev-add */
    bool checking;         /* BLOCK_IMAGE_CHECK */
    char *backing_format;  /* as the image says; may be NULL */
    char *backing_name;    /* likewise: the text in the image */
    /* The core's own (node.c, request.c). */
    uint64_t wr_highest_offset;      /* atomic: how far writes have reached, statistics */
    uint64_t write_gen, flushed_gen; /* atomic: writes completed; of these, how many are stable */
    struct BlockNodeCore *core;
};

static inline void *block_node_state(BlockNode *node)
{
    return node->state;
}

/* The drivers that this program has: one array (block/drivers/drivers.c), NULL-terminated. */
const BlockDriver *const *block_drivers(void);
const BlockDriver *block_driver_find(const char *name);

/*
 * Opens a node from its tree, as -blockdev has it: {"driver", "node-name", "file": {...} or a node
 * name, "backing": ..., "read-only", "cache": {"direct", "no-flush"}, "discard", ...}. Where
 * "driver" is absent the format is probed. The caller owns one reference. Main loop; blocks.
 */
BlockNode *block_node_open(json_t *config, GError **err);
/* For drivers: opens the child named by a PROP_TREE value (a dict, or a string naming a node). */
BlockNode *block_open_child(BlockNode *parent, const char *role, json_t *value, GError **err);
/*
 * For drivers' open(): the tree for the backing file that the image names (new reference), and
 * node->backing is to be opened from 'tree' (a dict, or a string naming a
 * node), afterwards. 'by_image': that is where the tree comes from, so it may lead back to itself.
 */
json_t *block_backing_tree(BlockNode *node, GError **err);
void block_node_want_backing(BlockNode *node, json_t *tree, bool by_image);
/* "FILENAME" or "proto:..." or "json:{...}" into a tree for block_node_open. New reference. */
json_t *block_filename_to_config(const char *filename, GError **err);
BlockNode *block_node_ref(BlockNode *node);
/* The last reference flushes and closes; blocks (polls the main loop's coroutines) until done. */
void block_node_unref(BlockNode *node);
BlockNode *block_node_find(const char *node_name);
void block_node_foreach(void (*fn)(BlockNode *node, void *data), void *data);
/* -blockdev / blockdev-add: the monitor holds the reference; and its end. */
bool block_node_add_monitor_owned(json_t *config, GError **err);
bool block_node_del_monitor_owned(const char *node_name, GError **err);
void block_node_close_all(void);

/* Requests on a node, checked against its length, alignment and quiescence. 0 or -errno. */
int coroutine_fn block_preadv(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                              unsigned niov);
int coroutine_fn block_pwritev(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                               unsigned niov, unsigned flags);
int coroutine_fn block_pread(BlockNode *n, uint64_t off, void *buf, size_t bytes);
int coroutine_fn block_pwrite(BlockNode *n, uint64_t off, const void *buf, size_t bytes,
                              unsigned flags);
int coroutine_fn block_pwrite_zeroes(BlockNode *n, uint64_t off, uint64_t bytes, unsigned flags);
int coroutine_fn block_pdiscard(BlockNode *n, uint64_t off, uint64_t bytes);
int coroutine_fn block_flush(BlockNode *n);
int coroutine_fn block_status(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                              uint64_t *map, BlockNode **file);
int coroutine_fn block_truncate(BlockNode *n, uint64_t size, GError **err);
/*
 * The same of a node that is in use: main loop. Requests in flight are waited for, others are held
 * meanwhile; what is then behind the new end gets -EIO. Refused where a node sits on it.
 */
int coroutine_fn block_resize(BlockNode *n, uint64_t size, GError **err);
/*
 * Bytes that can be asked for: whole sectors, as disks have. What the last one has behind the end
 * of a file reads as zeroes; a write there makes the file longer.
 */
int64_t block_length(BlockNode *n);
/* To the byte: where a file ends. */
int64_t block_exact_length(BlockNode *n);
/*
 * Memory that direct I/O on this node and the file below takes as it is; other memory is copied on
 * the way. free() it. NULL: there is none. 'block_auto_buffer char *p' frees itself.
 */
void *block_buffer_new(BlockNode *n, size_t len);
void block_buffer_cleanup(void *p);
#define block_auto_buffer __attribute__((cleanup(block_buffer_cleanup)))
/* For tools and start-up code outside a coroutine: runs fn in one and turns the loop until done. */
int block_run(int coroutine_fn (*fn)(void *data), void *data);

/* One line on what a driver could not do, in front of what it said: "CONTEXT: TEXT". */
void block_error_prefix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Quiescing: begin makes new requests wait and returns when none is in flight. Coroutines. */
void coroutine_fn block_quiesce_begin(BlockNode *n);
void block_quiesce_end(BlockNode *n);

#endif

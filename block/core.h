/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the block core. Private to block/. */
#ifndef BLOCK_CORE_H
#define BLOCK_CORE_H

#include "block/backend.h"
#include "block/image.h"
#include "block/node.h"
#include "waitlist.h"

typedef struct BlockNodeCore {
    WaitList held;            /* requests that wait until quiesce is 0 */
    WaitList drained;         /* coroutines that wait until in_flight is 0 */
    CoMutex exclusive;        /* one write_exclusive() at a time */
    unsigned exclusive_count; /* atomic: write_exclusive() calls, waiting or running */
    CoMutex resizing;         /* one block_resize() at a time */
    unsigned drains;          /* main thread: drains of the backends that have this root */
    bool parent_resizes;      /* the parent may change the file's length */
    bool parent_shares;       /* the parent lets other processes write to the file */
    json_t *options;          /* the tree that the node was opened from */
    json_t *backing_tree;     /* the backing file's tree, until open_one_backing() opens it */
    bool backing_by_image;    /* backing_tree was made from the image, not given by the user */
    bool opened;              /* driver->opened() has succeeded */
    unsigned depth;           /* levels of drivers below, for MAX_NESTING */
} BlockNodeCore;

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
    if (__atomic_sub_fetch(&n->in_flight, 1, __ATOMIC_SEQ_CST) == 0 &&
        G_UNLIKELY(__atomic_load_n(&n->quiesce, __ATOMIC_SEQ_CST))) {
        wait_list_wake_all(&n->core->drained);
    }
}

/* Counts a request in; waits while the node is quiesced. */
void coroutine_fn block_node_enter(BlockNode *n);

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

/* The driver whose probe() is surest of these first bytes; "raw" where none knows them. */
const BlockDriver *block_probe(const uint8_t *buf, size_t len);
/*
 * The title of a format that this program recognises and cannot open; NULL: none of these. 'head'
 * and 'tail' are the file's first and last bytes.
 */
const char *block_probe_foreign(const uint8_t *head, size_t len, const uint8_t *tail,
                                size_t tail_len);
/* Whether direct I/O on this node takes these buffers as they are. */
bool block_iov_aligned(BlockNode *n, const struct iovec *iov, unsigned niov);
/* Main loop: backends with this root take over its length, and tell their devices. */
void block_backend_node_resized(BlockNode *n);
typedef enum {
    BLOCK_IF_NONE,
    BLOCK_IF_IDE,
    BLOCK_IF_SCSI,
    BLOCK_IF_FLOPPY,
    BLOCK_IF_PFLASH,
    BLOCK_IF_MTD,
    BLOCK_IF_SD,
    BLOCK_IF_VIRTIO,
    BLOCK_IF_XEN,
    BLOCK_IF_COUNT
} BlockIfType;
extern const char *const block_if_names[];

struct BlockBackend {
    unsigned refs; /* main thread */
    char *name;
    char *device;
    BlockNode *root; /* NULL: no medium; changes only while nothing is in flight */
    int64_t length;  /* atomic: the root's, or -errno; for threads that must not follow 'root' */
    const BlockDeviceOps *ops;
    void *ops_data;
    BlockDriveInfo info;
    BlockCache cache; /* as the user asked */
    bool from_drive;
    int write_cache; /* atomic: the guest's volatile write cache is on */
    BlockOnError rerror, werror;
    int io_status;               /* atomic: 0, or the errno that stopped the VM */
    unsigned in_flight, quiesce; /* atomic */
    WaitList drained;            /* until in_flight is 0 */
    WaitList released;           /* until quiesce is 0 */
    GMutex held_lock;            /* guards 'held'; quiesce is lowered under it */
    BlockRequest *held;          /* requests that wait for a drain's end, newest first */
    BlockStats stats;            /* atomic */
    BlockStats stats_copy;       /* what block_backend_stats() returns */
    int64_t last_access_ns;      /* atomic */
};

BlockBackend *block_backend_alloc(const char *name);
/*
 * A coroutine that waits holds a reference. Afterwards it looks at 'root' again, which is NULL if
 * the backend was freed meanwhile.
 */
void block_backend_ref(BlockBackend *blk);
void block_backend_unref(BlockBackend *blk);
void block_backend_set_root(BlockBackend *blk, BlockNode *root);
/* Takes the root (or NULL) and its reference out of the backend. Nothing may be in flight. */
BlockNode *block_backend_take_root(BlockBackend *blk);
/* Backends with this root (NULL: all backends). The array holds a reference to each. */
GPtrArray *block_backend_list(BlockNode *root);
/* How many block_drain_all_begin() are on. A new backend starts quiesced by each of them. */
unsigned block_drained_all(void);
/* block_truncate() for a caller that has quiesced the node or counted itself in. */
int coroutine_fn block_truncate_quiesced(BlockNode *n, uint64_t size, GError **err);

/* backend_fastpath.c. True: the engine has the request. False: nothing was started. */
bool block_fastpath_submit(BlockBackend *blk, BlockRequest *req);
/* Accounts for the request, calls done(), counts it out. On its loop, from a fresh callback. */
void block_request_complete(BlockRequest *req, int ret);

/*
 * Reads from the first node of the backing chain that starts at 'n' which has the data. A loop:
 * recursion along thousands of images would overflow a coroutine's stack.
 */
int coroutine_fn block_preadv_backing(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov);

int64_t block_allocated_size(BlockNode *n);
/* Anonymous qcow2 overlay in $TMPDIR, already unlinked: for snapshot=on. */
BlockNode *block_open_temporary_overlay(BlockNode *backing, GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the block core share, and drivers do not need. Private to block/. */
#ifndef BLOCK_CORE_H
#define BLOCK_CORE_H

#include "block/backend.h"
#include "block/image.h"
#include "block/node.h"
#include "waitlist.h"

typedef struct BlockNodeCore {
    WaitList held;            /* requests that wait until quiesce is 0 */
    WaitList drained;         /* who waits until in_flight is 0 */
    CoMutex exclusive;        /* one read-modify-write at a time */
    unsigned exclusive_count; /* atomic: those, and who waits to be one */
    CoMutex resizing;         /* block_resize(): one at a time */
    unsigned drains;          /* of the backends whose root this is; main thread */
    bool parent_resizes;      /* what is above may grow the file */
    bool parent_shares;       /* what is above lets others write to it */
    json_t *options;          /* as opened */
    json_t *backing_tree;     /* what is to be opened as its backing file */
    bool backing_by_image;    /* the image names it, not the user */
    bool opened;              /* driver->opened() was called */
    unsigned depth;           /* of drivers below that a request passes on one stack */
} BlockNodeCore;

/* In-flight accounting of one request on one node. */
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

void coroutine_fn block_node_enter(BlockNode *n);

static inline void block_node_wrote(BlockNode *n)
{
    __atomic_add_fetch(&n->write_gen, 1, __ATOMIC_SEQ_CST);
}

/* Any thread; for the statistics. */
static inline void block_node_wrote_up_to(BlockNode *n, uint64_t end)
{
    uint64_t old = __atomic_load_n(&n->wr_highest_offset, __ATOMIC_RELAXED);

    while (end > old && !__atomic_compare_exchange_n(&n->wr_highest_offset, &old, end, false,
                                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* The format that the first bytes look like; "raw" where nothing is sure. */
const BlockDriver *block_probe(const uint8_t *buf, size_t len);
/* A format that QEMU has and this program has not, as people call it; NULL: none of these. */
const char *block_probe_foreign(const uint8_t *head, size_t len, const uint8_t *tail,
                                size_t tail_len);
/* Whether 'c' is a fitting buffer list for direct I/O on this node. */
bool block_iov_aligned(BlockNode *n, const struct iovec *iov, unsigned niov);
/* Main loop: backends hear of a node's new length. */
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
    BlockNode *root; /* changes while nothing is in flight */
    int64_t length;  /* atomic: the root's, or -errno; for threads that may not follow 'root' */
    const BlockDeviceOps *ops;
    void *ops_data;
    BlockDriveInfo info;
    BlockCache cache; /* as asked for */
    bool from_drive;
    int write_cache; /* atomic: what the guest has it set to */
    BlockOnError rerror, werror;
    int io_status;               /* atomic: 0, or the errno that stopped the VM */
    unsigned in_flight, quiesce; /* atomic */
    WaitList drained, released;
    GMutex held_lock;
    BlockRequest *held; /* newest first */
    BlockStats stats;   /* atomic */
    BlockStats stats_copy;
    int64_t last_access_ns; /* atomic */
};

BlockBackend *block_backend_alloc(const char *name);
/* What waits holds a reference, and finds a backend without root where it was let go of. */
void block_backend_ref(BlockBackend *blk);
void block_backend_unref(BlockBackend *blk);
void block_backend_set_root(BlockBackend *blk, BlockNode *root);
/* The root, or NULL, is the caller's then. Nothing is in flight. */
BlockNode *block_backend_take_root(BlockBackend *blk);
/* Those with this root (NULL: all), referenced until the array is freed. */
GPtrArray *block_backend_list(BlockNode *root);
/* Drains of everything that are on: a new backend is in them. */
unsigned block_drained_all(void);
/* The node is quiesced, or nobody else knows it. */
int coroutine_fn block_truncate_quiesced(BlockNode *n, uint64_t size, GError **err);

/* block/backend_fastpath.c: true where the request is on its way to the engine. */
bool block_fastpath_submit(BlockBackend *blk, BlockRequest *req);
/* Accounts, tells the owner, lets a drain go on. On the request's loop, from a fresh callback. */
void block_request_complete(BlockRequest *req, int ret);

/*
 * Reads what a backing file has, or the next one below, and so on: a loop, as a chain may be longer
 * than a coroutine's stack is deep.
 */
int coroutine_fn block_preadv_backing(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov);

int64_t block_allocated_size(BlockNode *n);
/* Anonymous qcow2 overlay in $TMPDIR, already unlinked: for snapshot=on. */
BlockNode *block_open_temporary_overlay(BlockNode *backing, GError **err);

#endif

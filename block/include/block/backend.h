/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: what a disk device (or an export) holds: a root node that may be absent (an empty
 * drive), the device's error policy, its statistics, and the way in for requests.
 *
 * Submission: any loop. block_backend_submit() completes on the same loop, from a fresh callback
 * or before it returns *never* (completion is always later). One request struct is embedded in the
 * device's own request, so the fast path allocates nothing.
 */
#ifndef BLOCK_BACKEND_H
#define BLOCK_BACKEND_H

#include "block/node.h"

typedef struct BlockBackend BlockBackend;
typedef struct BlockRequest BlockRequest;

typedef enum {
    BLOCK_OP_READ,
    BLOCK_OP_WRITE,
    BLOCK_OP_FLUSH,
    BLOCK_OP_DISCARD,
    BLOCK_OP_WRITE_ZEROES
} BlockOp;
typedef enum {
    BLOCK_ON_ERROR_REPORT,
    BLOCK_ON_ERROR_IGNORE,
    BLOCK_ON_ERROR_STOP,
    BLOCK_ON_ERROR_ENOSPC,
    BLOCK_ON_ERROR_AUTO
} BlockOnError;
typedef enum {
    BLOCK_ERROR_ACTION_REPORT,
    BLOCK_ERROR_ACTION_IGNORE,
    BLOCK_ERROR_ACTION_STOP
} BlockErrorAction;

struct BlockRequest {
    BlockOp op;
    unsigned flags; /* BLOCK_REQ_* */
    uint64_t offset, bytes;
    const struct iovec *iov; /* borrowed until done */
    unsigned niov;
    void (*done)(BlockRequest *req, int ret); /* ret: 0 or -errno */
    /* Private to the backend and its engine (an engine's op is built in here). */
    BlockBackend *blk;
    EventLoop *loop;
    int64_t start_ns;
    int ret;
    uint64_t engine[32];
    BottomHalf bh;
    BlockRequest *next;
};

typedef struct {
    uint64_t ops[5], bytes[5], total_ns[5], failed[5], invalid[5];
} BlockStats;

/* Called on the main loop. */
typedef struct {
    void (*resized)(void *data); /* the node's length changed */
    void (*media_changed)(void *data, bool load);
} BlockDeviceOps;

/*
 * From -drive: makes the nodes and the backend 'id' from one flat tree (file, format, if, cache,
 * aio, snapshot=, readonly, werror, rerror, discard, detect-zeroes, media, serial, copy-on-read,
 * throttling keys (refused until they exist), node options with dots such as file.driver=...).
 */
BlockBackend *block_backend_new_drive(json_t *drive, GError **err);
/* For -device drive=NODE: an anonymous backend on a node that exists. */
BlockBackend *block_backend_new_node(const char *node_name, GError **err);
/* By -drive id, or a node name; used by 'drive' properties. Fails where a device has it already. */
BlockBackend *block_backend_attach(const char *id_or_node, const char *device_path,
                                   const BlockDeviceOps *ops, void *data, GError **err);
/*
 * Drains first: call on the main loop, may block on host I/O only. A drive of -drive goes with a
 * device that is unplugged, and waits for another one where the device did not come to be.
 */
void block_backend_detach(BlockBackend *blk, bool unplugged);
BlockBackend *block_backend_find(const char *id);
/*
 * 'drive_del': main loop. The name is free at once. A device that has it loses its medium once its
 * requests are done: those that come then get -ENOMEDIUM, and errors are reported, whatever werror
 * and rerror say.
 */
int coroutine_fn block_backend_delete(BlockBackend *blk);
void block_backend_foreach(void (*fn)(BlockBackend *blk, void *data), void *data);
void block_backend_free_all(void);

const char *block_backend_name(BlockBackend *blk);   /* -drive id, or "" */
const char *block_backend_device(BlockBackend *blk); /* object path, or NULL */
BlockNode *block_backend_node(BlockBackend *blk);    /* NULL: no medium */
/* -drive's legacy keys that devices inherit where their own property is absent. */
typedef struct {
    char *serial;
    int if_type, bus, unit, index;
    bool is_cdrom;
    char *addr;
} BlockDriveInfo;
const BlockDriveInfo *block_backend_drive_info(BlockBackend *blk);

int64_t block_backend_length(BlockBackend *blk); /* bytes; -ENOMEDIUM */
bool block_backend_read_only(BlockBackend *blk);
uint32_t block_backend_request_alignment(BlockBackend *blk);
/* The guest's own switch of the volatile write cache (virtio CONFIG_WCE). */
bool block_backend_write_cache(BlockBackend *blk);
void block_backend_set_write_cache(BlockBackend *blk, bool on);
const BlockCache *block_backend_cache(BlockBackend *blk);
bool block_backend_can_discard(BlockBackend *blk);

/*
 * Fills of the request: op, offset, bytes, iov, niov, done. A range that is out of bounds, a write
 * to a read-only node, a missing medium complete with -EIO, -EPERM (-EROFS), -ENOMEDIUM.
 */
void block_backend_submit(BlockBackend *blk, BlockRequest *req);
/* Engines batch between these on the calling loop (nested calls count). */
void block_backend_plug(BlockBackend *blk);
void block_backend_unplug(BlockBackend *blk);
int coroutine_fn block_backend_co_io(BlockBackend *blk, BlockRequest *req);

/*
 * What the drive's werror/rerror policy says about a failed request. STOP: the device parks the
 * request, and calls block_backend_stopped() so that the VM pauses (BLOCK_IO_ERROR is sent); it
 * resubmits when the VM runs again.
 */
BlockErrorAction block_backend_error_action(BlockBackend *blk, bool is_read, int error);
void block_backend_stopped(BlockBackend *blk, bool is_read, int error);
void block_backend_set_error_policy(BlockBackend *blk, BlockOnError rerror, BlockOnError werror);
typedef void (*BlockStopHook)(BlockBackend *blk, bool is_read, int error, BlockErrorAction action,
                              void *data);
void block_backend_set_stop_hook(BlockStopHook hook,
                                 void *data); /* vm/ installs its own; any thread calls it */

/* 'cont': no drive is in error any more (query-block's io-status). */
void block_io_status_reset_all(void);

/* In flight on all loops; drain: coroutine on the main loop. New submissions are held between. */
unsigned block_backend_in_flight(BlockBackend *blk);
void coroutine_fn block_backend_drain_begin(BlockBackend *blk);
void block_backend_drain_end(BlockBackend *blk);
void coroutine_fn block_drain_all_begin(void);
void block_drain_all_end(void);
int coroutine_fn block_flush_all(void);

const BlockStats *block_backend_stats(BlockBackend *blk);
/* 'info block' and query-block/query-blockstats content, as QEMU shapes it (new references). */
json_t *block_query(void);
json_t *block_query_stats(void);
json_t *block_query_node_stats(void); /* query-nodes: of every node by itself */
json_t *block_query_named_nodes(void);
/* HMP 'info block', of one device where it is not NULL; caller frees. */
char *block_info_text(const char *device, bool verbose);

#endif

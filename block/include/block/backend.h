/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: what a disk device holds. It has a root node (none in an empty drive), the device's
 * error policy and statistics, and it takes the device's requests.
 *
 * Any loop may submit. A request completes on the loop that submitted it, from a fresh callback,
 * never before block_backend_submit() has returned. The BlockRequest is embedded in the device's
 * own request, so that the short way allocates nothing.
 *
 * Everything else is for the main loop, where nothing else is said. Devices borrow a backend, from
 * attach to detach; others look it up by name whenever they have waited.
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
    unsigned queue; /* the device's number for who asks (block/parking.h) */
    /* ret: 0 or -errno. Not called for a request that park() has taken. */
    void (*done)(BlockRequest *req, int ret);
    /* Private to the backend; the engine's operation is built in 'engine'. */
    BlockBackend *blk;
    EventLoop *loop;
    int64_t start_ns;
    unsigned serial; /* of the last block_backend_take_back() before the request */
    int ret;
    uint64_t engine[32];
    BottomHalf bh;
    BlockRequest *next;
};

/* By BlockOp; write-zeroes count as writes. 'invalid': refused before they reached a node. */
typedef struct {
    uint64_t ops[5], bytes[5], total_ns[5], failed[5], invalid[5];
} BlockStats;

/* A device's side of its backend. All of it may be NULL. */
typedef struct {
    /* Main loop: block_backend_length() has changed. */
    void (*resized)(void *data);
    /*
     * The request has failed, and waits for 'cont' (block/parking.h). Writes at most 'max' words
     * from which rebuild() can make the request again, gives up the guest memory that the request
     * holds, frees it, and returns the number of words. 0: the request cannot be described, so it
     * fails as under 'report'. On the request's loop, under a leaf lock: calls nothing of the
     * backend, and takes no device's lock.
     */
    size_t (*park)(void *data, BlockRequest *req, uint32_t *words, size_t max);
    /*
     * Makes a request from its words, and submits it. False: the words make no sense, which a guest
     * or a saved state has done; the device is broken now, in the way of its kind, and the queue's
     * later words are dropped. Called by block_backend_unpark().
     */
    bool (*rebuild)(void *data, unsigned queue, const uint32_t *words, size_t n);
    /*
     * Room for parked requests in the device's state, in words: those of park(), and one for each
     * request. Without room a request fails as under 'report'.
     */
    size_t parked_max;
    /*
     * Removable media (block/media.h). The host has moved the tray, or changed the medium;
     * 'loaded': there is one, and the tray is closed. False and *err: the device does not take a
     * medium like this, which is taken back; a medium that goes is not refused. Main loop, drained:
     * nothing is in flight, and the function does not wait.
     */
    bool (*medium_changed)(void *data, bool loaded, GError **err);
    /* The host wants the medium that the guest has locked. Main loop. */
    void (*eject_request)(void *data);
    bool has_tray;
} BlockDeviceOps;

/*
 * From -drive: makes the nodes and the backend 'id' from one flat tree. Its keys are
 * block_drive_props, and options of nodes with dots (file.driver=...). I/O throttling is refused.
 */
extern const Property block_drive_props[];
BlockBackend *block_backend_new_drive(json_t *drive, GError **err);
/* -drive if=, and its names, which end with NULL. */
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
/* The drive of -drive that has this place, which a board makes a device for. NULL: none. */
BlockBackend *block_backend_find_place(BlockIfType if_type, int bus, int unit);
/* How a device uses what it attaches. */
enum {
    /* It never writes (a CD drive): no permission for that is taken, be the node writable or not.
     */
    BLOCK_DEVICE_READ_ONLY = 1 << 0,
    /* 'share-rw=on': other users of the node, and other processes, may write to it as well. */
    BLOCK_DEVICE_SHARE_RW = 1 << 1,
};
/*
 * For 'drive' properties: by -drive id, or by node name (then an anonymous backend is made); NULL
 * makes an empty drive. 'flags' are BLOCK_DEVICE_*. Fails where another device has it, or another
 * user of the node does not let a disk have it. 'device' is its id, or object path, which users
 * know it by. Main loop. 'ops' outlives the backend's use.
 */
BlockBackend *block_backend_attach(const char *id_or_node, const char *device, unsigned flags,
                                   const BlockDeviceOps *ops, void *data, GError **err);
/*
 * Takes back what waits, and waits for what is in flight: a coroutine yields, others block. An
 * anonymous backend is freed. One of -drive is freed with a device that was unplugged, and stays
 * for another device where this one was never realized.
 */
void block_backend_detach(BlockBackend *blk, bool unplugged);
BlockBackend *block_backend_find(const char *id);
/* The drive of a device, by the id that it may have, or its path; NULL: it has none. */
BlockBackend *block_backend_of_device(const char *id, const char *path);
/*
 * HMP 'drive_del': main loop. The name is free at once. A device that has the backend loses its
 * medium when its requests are done: later ones get -ENOMEDIUM, which is reported to the guest,
 * whatever werror and rerror say.
 */
int coroutine_fn block_backend_delete(BlockBackend *blk);
void block_backend_foreach(void (*fn)(BlockBackend *blk, void *data), void *data);
void block_backend_free_all(void);

const char *block_backend_name(BlockBackend *blk);   /* -drive id, or "" */
const char *block_backend_device(BlockBackend *blk); /* of the device: id or path; or NULL */
BlockNode *block_backend_node(BlockBackend *blk);    /* NULL: no medium */
/* -drive's legacy keys that devices inherit where their own property is absent. */
typedef struct {
    char *serial;
    int if_type; /* BlockIfType */
    int bus, unit, index;
    bool is_cdrom;
    char *addr;
} BlockDriveInfo;
const BlockDriveInfo *block_backend_drive_info(BlockBackend *blk);

int64_t block_backend_length(BlockBackend *blk); /* bytes; -ENOMEDIUM. Any thread */
/* Whether writes end with -EPERM: the medium's state, or the device's or drive's own. Any thread */
bool block_backend_read_only(BlockBackend *blk);
/* The volatile write cache, which the guest may switch (virtio CONFIG_WCE). Any thread. */
bool block_backend_write_cache(BlockBackend *blk);
void block_backend_set_write_cache(BlockBackend *blk, bool on);

/*
 * The caller sets op, flags, offset, bytes, iov, niov, queue and done; the request belongs to the
 * backend until done(). A range past the end completes with -EIO, a write to a read-only node with
 * -EPERM, a request without a medium with -ENOMEDIUM. On a loop's thread: a vCPU's has none, so a
 * register's handler schedules a DeviceBh. The device's lock may be held: done() comes later, and
 * without it.
 */
void block_backend_submit(BlockBackend *blk, BlockRequest *req);
/*
 * The same for a coroutine, which waits for the result. 0 or -errno: rerror and werror are not
 * applied, done() is not called, and the request cannot be taken back.
 */
int coroutine_fn block_backend_co_io(BlockBackend *blk, BlockRequest *req);

/*
 * OnOffAuto of each; auto: as it is. Off: a request that the device refuses ends no idle time; the
 * time that a failed one took is not counted. Before requests come.
 */
void block_backend_set_accounting(BlockBackend *blk, int invalid, int failed);
/*
 * rerror and werror of a device; AUTO keeps the drive's. -ENOMEDIUM is reported whatever they say:
 * a pause would bring no medium back.
 */
void block_backend_set_error_policy(BlockBackend *blk, BlockOnError rerror, BlockOnError werror);
typedef void (*BlockStopHook)(BlockBackend *blk, bool is_read, int error, BlockErrorAction action,
                              void *data);
/* vm/ installs the hook; any thread may call it. */
void block_backend_set_stop_hook(BlockStopHook hook, void *data);

/* For 'cont': sets the io-status that query-block shows back to "ok", of all backends. */
void block_io_status_reset_all(void);

/* Requests in flight, on all loops. */
unsigned block_backend_in_flight(BlockBackend *blk);
/*
 * Drains: main loop, in a coroutine. 'begin' holds new requests and returns when none is in flight;
 * 'end' submits what was held. Drains nest.
 */
void coroutine_fn block_backend_drain_begin(BlockBackend *blk);
void block_backend_drain_end(BlockBackend *blk);
void coroutine_fn block_drain_all_begin(void);
void block_drain_all_end(void);
int coroutine_fn block_flush_all(void);

/* A copy, valid until the next call. */
const BlockStats *block_backend_stats(BlockBackend *blk);
/* Results of query-block, query-blockstats, query-named-block-nodes (new references). */
json_t *block_query(void);
json_t *block_query_stats(void);
json_t *block_query_node_stats(void); /* query-blockstats with query-nodes: one entry a node */
json_t *block_query_named_nodes(bool flat); /* flat: images without their backing images */
/* HMP 'info block': of one device, or of all (NULL). The caller frees the text. */
char *block_info_text(const char *device, bool verbose);
char *block_snapshots_text(void); /* 'info snapshots'; the caller frees it */

#endif

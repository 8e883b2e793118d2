/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: shared by virtio_blk.c and virtio_blk_request.c. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "block/backend.h"
#include "devices/virtio.h"

/* struct virtio_blk_config up to write_zeroes_may_unmap and its padding. */
#define VIRTIO_BLK_CONFIG_SIZE 60
/* Words in which parked requests are saved (virtqueue_save_element()). */
#define VIRTIO_BLK_PARKED_WORDS 16384

#define VIRTIO_BLK_STATE(X)                                                                        \
    X(F, bool, write_cache)                                                                        \
    X(F, uint32_t, parked_words)                                                                   \
    X(V, uint64_t, parked, parked_words, VIRTIO_BLK_PARKED_WORDS)
STATE_STRUCT(VirtioBlkState, VIRTIO_BLK_STATE);

typedef struct VirtioBlkRequest VirtioBlkRequest;

typedef struct {
    VirtioDevice vdev;
    VirtioBlkState s;
    BlockBackend *blk;
    struct Object *iothread;
    bool original_write_cache;
    VirtioInflight inflight;
    /* Requests that failed under rerror=stop or werror=stop. All queues share one loop, which uses
     * this list; other threads use it only while the queues do not run. */
    VirtioBlkRequest *parked;
    /* Properties. */
    char *drive, *iothread_id, *serial;
    uint16_t num_queues, queue_size;
    uint64_t logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity;
    uint32_t max_discard_sectors, max_write_zeroes_sectors, cyls, heads, secs, lcyls, lheads, lsecs;
    bool seg_max_adjust, report_granularity, discard, write_zeroes, config_wce, share_rw, scsi,
        merging;
    int write_cache, rerror, werror, account_invalid, account_failed, backend_defaults;
    int32_t bootindex;
} VirtioBlk;

void virtio_blk_handle(VirtioDevice *vdev, Virtqueue *vq);
/* Drops the parked requests of vq. vq NULL: of all queues. */
void virtio_blk_drop_parked(VirtioBlk *b, Virtqueue *vq);
void virtio_blk_save_parked(VirtioBlk *b);
void virtio_blk_load_parked(VirtioBlk *b);

#endif

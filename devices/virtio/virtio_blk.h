/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk, shared by its two files. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "block/backend.h"
#include "devices/virtio.h"

/* Up to and with write_zeroes_may_unmap and its padding. */
#define VIRTIO_BLK_CONFIG_SIZE 60
/* Words for requests that werror=stop parked (virtqueue_save_element). */
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
    /* Failed under werror=stop. Of the queues' one loop, and of others while they are quiet. */
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
/* Of one queue, or (NULL) of all. */
void virtio_blk_drop_parked(VirtioBlk *b, Virtqueue *vq);
void virtio_blk_save_parked(VirtioBlk *b);
bool virtio_blk_load_parked(VirtioBlk *b, GError **err);

#endif

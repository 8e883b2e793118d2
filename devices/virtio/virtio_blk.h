/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: shared by virtio_blk.c and virtio_blk_request.c. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "block/parking.h"
#include "devices/disk.h"
#include "devices/virtio.h"

/* struct virtio_blk_config up to write_zeroes_may_unmap and its padding. */
#define VIRTIO_BLK_CONFIG_SIZE 60
/*
 * Words for parked requests: two for each in a split ring, at most five for each chain that has one
 * descriptor in a packed ring. So split rings of the usual size never need more.
 */
#define VIRTIO_BLK_PARKED_WORDS 32768

#define VIRTIO_BLK_STATE(X)                                                                        \
    X(F, bool, write_cache)                                                                        \
    X(F, uint32_t, parked_words)                                                                   \
    X(V, uint32_t, parked, parked_words, VIRTIO_BLK_PARKED_WORDS)
STATE_STRUCT(VirtioBlkState, VIRTIO_BLK_STATE);

typedef struct {
    VirtioDevice vdev;
    VirtioBlkState s;
    DiskConf disk;
    struct Object *iothread;
    VirtioInflight *inflight; /* of each queue */
    /* Properties. */
    char *iothread_id;
    uint16_t num_queues, queue_size;
    uint32_t max_discard_sectors, max_write_zeroes_sectors;
    bool seg_max_adjust, report_granularity, discard, write_zeroes, config_wce, scsi, merging;
} VirtioBlk;

void virtio_blk_handle(VirtioDevice *vdev, Virtqueue *vq);
/* BlockDeviceOps; 'data' is the VirtioBlk. */
size_t virtio_blk_park(void *data, BlockRequest *req, uint32_t *words, size_t max);
bool virtio_blk_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n);

#endif

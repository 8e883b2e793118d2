/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of virtio-blk (5.2.6), from the ring to the block backend and back. A request starts and
 * completes on its queue's loop. It embeds the VirtqueueElement, so it needs no further allocation.
 */
#include "virtio_blk.h"

#include <linux/virtio_blk.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"

#define SECTOR_BITS 9
/* Bit 31 of the type meant 'barrier' once. Old drivers set it on writes. */
#define TYPE_BARRIER 0x80000000u

typedef struct {
    VirtqueueElement elem;
    BlockRequest io;
    VirtioBlk *blk;
    uint32_t type;
    uint8_t *status;
    /* The iovecs that were shortened by the header and the status byte, and their old values. */
    struct iovec *head_piece, head_was, *tail_piece, tail_was;
    struct iovec *data;
    unsigned data_num;
    uint64_t data_len;
} VirtioBlkRequest;

static bool is_read(const VirtioBlkRequest *r)
{
    return r->io.op == BLOCK_OP_READ;
}

static void restore_pieces(VirtioBlkRequest *r)
{
    if (r->head_piece) {
        *r->head_piece = r->head_was;
    }
    if (r->tail_piece) {
        *r->tail_piece = r->tail_was;
    }
}

static void virtio_blk_request_finish(VirtioBlkRequest *r, uint8_t status, uint32_t data_written)
{
    Virtqueue *vq = r->elem.vq;

    *r->status = status;
    restore_pieces(r);
    virtqueue_push(vq, &r->elem, data_written + 1);
    virtqueue_notify_later(vq);
}

static VirtioInflight *virtio_blk_inflight(const VirtioBlkRequest *r)
{
    return &r->blk->inflight[virtqueue_index(r->elem.vq)];
}

static void virtio_blk_request_done(BlockRequest *io, int ret);

static void virtio_blk_request_submit(VirtioBlkRequest *r)
{
    virtio_inflight_begin(virtio_blk_inflight(r));
    r->io.queue = virtqueue_index(r->elem.vq);
    r->io.done = virtio_blk_request_done;
    block_backend_submit(r->blk->disk.blk, &r->io);
}

/* The request ends without an answer to the driver. */
static void virtio_blk_request_drop(VirtioBlkRequest *r)
{
    restore_pieces(r);
    virtqueue_drop(r->elem.vq, &r->elem);
}

static void virtio_blk_request_done(BlockRequest *io, int ret)
{
    VirtioBlkRequest *r = container_of(io, VirtioBlkRequest, io);
    VirtioInflight *inflight = virtio_blk_inflight(r);

    if (G_UNLIKELY(ret == -ECANCELED)) {
        virtio_blk_request_drop(r);
    } else {
        virtio_blk_request_finish(r, ret < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK,
                                  is_read(r) ? r->data_len : 0);
    }
    virtio_inflight_end(inflight);
}

/* Header and status byte. The driver may split the buffers anywhere (2.7.4). */

static bool take_header(VirtioBlkRequest *r, struct virtio_blk_outhdr *header)
{
    struct iovec *iov = r->elem.out;
    unsigned n = r->elem.out_num;
    size_t left = sizeof *header;

    if (iov_to_buf(iov, n, 0, header, sizeof *header) != sizeof *header) {
        return false;
    }
    while (left && left >= iov->iov_len) {
        left -= iov->iov_len;
        iov++;
        n--;
    }
    if (left) {
        r->head_piece = iov;
        r->head_was = *iov;
        iov->iov_base = (uint8_t *)iov->iov_base + left;
        iov->iov_len -= left;
    }
    r->data = iov;
    r->data_num = n;
    r->data_len = r->elem.out_len - sizeof *header;
    return true;
}

static bool take_status(VirtioBlkRequest *r)
{
    struct iovec *last;

    if (!r->elem.in_num) {
        return false;
    }
    last = &r->elem.in[r->elem.in_num - 1];
    r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    return true;
}

/* Sets the data to the in-part without its last byte, the status. */
static void use_in_part(VirtioBlkRequest *r)
{
    struct iovec *last = &r->elem.in[r->elem.in_num - 1];

    r->data = r->elem.in;
    r->data_num = r->elem.in_num;
    r->data_len = r->elem.in_len - 1;
    if (last->iov_len == 1) {
        r->data_num--;
        return;
    }
    r->tail_piece = last;
    r->tail_was = *last;
    last->iov_len--;
}

static bool sector_range_ok(VirtioBlk *b, uint64_t sector, uint64_t bytes)
{
    int64_t length = block_backend_length(b->disk.blk);
    uint32_t mask = b->disk.logical_block_size - 1;

    if (length < 0 || sector > (uint64_t)length >> SECTOR_BITS) {
        return false;
    }
    return !((sector << SECTOR_BITS) & mask) && !(bytes & mask) &&
           bytes <= (uint64_t)length - (sector << SECTOR_BITS);
}

static void start_io(VirtioBlkRequest *r, uint64_t sector)
{
    /* The used length has 32 bits and counts the status byte, too. */
    if (r->data_len >= UINT32_MAX || !sector_range_ok(r->blk, sector, r->data_len)) {
        virtio_blk_request_finish(r, VIRTIO_BLK_S_IOERR, 0);
        return;
    }
    r->io.offset = sector << SECTOR_BITS;
    r->io.bytes = r->data_len;
    r->io.iov = r->data;
    r->io.niov = r->data_num;
    virtio_blk_request_submit(r);
}

static void get_id(VirtioBlkRequest *r)
{
    char id[VIRTIO_BLK_ID_BYTES] = {0};
    size_t len;

    use_in_part(r);
    len = MIN(r->data_len, sizeof id);
    if (r->blk->disk.serial) {
        /* 5.2.6: padded with NULs, not terminated. */
        memcpy(id, r->blk->disk.serial, MIN(strlen(r->blk->disk.serial), sizeof id));
    }
    iov_from_buf(r->data, r->data_num, 0, id, len);
    virtio_blk_request_finish(r, VIRTIO_BLK_S_OK, len);
}

/* 5.2.6.2: discard and write zeroes carry a list of ranges. The configuration allows one. */
static uint8_t start_range(VirtioBlkRequest *r, bool zeroes)
{
    VirtioBlk *b = r->blk;
    struct virtio_blk_discard_write_zeroes range;
    uint32_t flags, sectors;
    uint64_t bytes;

    if (!(zeroes ? b->write_zeroes : b->discard)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (r->data_len != sizeof range ||
        iov_to_buf(r->data, r->data_num, 0, &range, sizeof range) != sizeof range) {
        return r->data_len > sizeof range ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
    }
    flags = le32toh(range.flags);
    sectors = le32toh(range.num_sectors);
    bytes = (uint64_t)sectors << SECTOR_BITS;
    if (flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (sectors > (zeroes ? b->max_write_zeroes_sectors : b->max_discard_sectors) ||
        !sector_range_ok(b, le64toh(range.sector), bytes)) {
        return VIRTIO_BLK_S_IOERR;
    }
    r->io.op = zeroes ? BLOCK_OP_WRITE_ZEROES : BLOCK_OP_DISCARD;
    r->io.flags = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ? BLOCK_REQ_MAY_UNMAP : 0;
    r->io.offset = le64toh(range.sector) << SECTOR_BITS;
    r->io.bytes = bytes;
    virtio_blk_request_submit(r);
    return VIRTIO_BLK_S_OK;
}

/* False: the request has no header or status byte, and virtqueue_error() was called. */
static bool virtio_blk_request_begin(VirtioBlkRequest *r)
{
    struct virtio_blk_outhdr header;
    uint8_t status = VIRTIO_BLK_S_OK;
    uint64_t sector;

    if (!take_header(r, &header) || !take_status(r)) {
        virtqueue_error(r->elem.vq, "a request without header or status byte");
        return false;
    }
    r->type = le32toh(header.type) & ~TYPE_BARRIER;
    sector = le64toh(header.sector);
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
        r->io.op = BLOCK_OP_READ;
        use_in_part(r);
        start_io(r, sector);
        break;
    case VIRTIO_BLK_T_OUT:
        r->io.op = BLOCK_OP_WRITE;
        start_io(r, sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        r->io.op = BLOCK_OP_FLUSH;
        virtio_blk_request_submit(r);
        break;
    case VIRTIO_BLK_T_GET_ID:
        get_id(r);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = start_range(r, r->type == VIRTIO_BLK_T_WRITE_ZEROES);
        break;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    if (status != VIRTIO_BLK_S_OK) {
        virtio_blk_request_finish(r, status, 0);
    }
    return true;
}

static void init_request(VirtioBlkRequest *r, VirtioBlk *b)
{
    r->blk = b;
    r->head_piece = r->tail_piece = NULL;
    r->status = NULL;
    r->io.op = BLOCK_OP_WRITE;
    r->io.flags = 0;
    r->io.offset = r->io.bytes = 0;
    r->io.iov = NULL;
    r->io.niov = 0;
}

static void start_request(VirtioBlkRequest *r, VirtioBlk *b)
{
    init_request(r, b);
    if (!virtio_blk_request_begin(r)) {
        virtio_blk_request_drop(r);
    }
}

void virtio_blk_handle(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioBlk *b = container_of(vdev, VirtioBlk, vdev);
    unsigned budget = virtqueue_size(vq);
    VirtioBlkRequest *r;

    block_backend_unpark(b->disk.blk, virtqueue_index(vq));
    do {
        virtqueue_set_notification(vq, false);
        while (budget && (r = virtqueue_pop(vq, sizeof *r))) {
            budget--;
            start_request(r, b);
        }
    } while (budget && virtqueue_set_notification(vq, true) && !virtio_broken(vdev));
    if (!budget) {
        virtqueue_kick(vq); /* in a later turn, after the loop's other work */
    }
}

/* Parked requests (block/parking.h) are saved elements: the header is read again as well. */

size_t virtio_blk_park(void *data, BlockRequest *req, uint32_t *words, size_t max)
{
    VirtioBlkRequest *r = container_of(req, VirtioBlkRequest, io);
    VirtioInflight *inflight = virtio_blk_inflight(r);
    unsigned n;

    restore_pieces(r);
    n = virtqueue_save_element(&r->elem, words, max);
    if (n) {
        virtqueue_drop(r->elem.vq, &r->elem);
        virtio_inflight_end(inflight);
    }
    return n;
}

bool virtio_blk_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n)
{
    VirtioBlk *b = data;
    Virtqueue *vq = b->vdev.queues[queue];
    VirtioBlkRequest *r = virtqueue_load_element(vq, sizeof *r, words, n);

    if (!r) {
        virtqueue_error(vq, "a parked request is not in its ring");
        return false;
    }
    start_request(r, b);
    return true;
}

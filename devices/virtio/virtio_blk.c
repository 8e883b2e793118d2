/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: configuration and life (5.2). Requests are in virtio_blk_request.c. */
#include "virtio_blk.h"
#include "virtio_pci.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include "base/error.h"
#include "vm/iothread.h"

STATE_DESC(virtio_blk, VirtioBlkState, VIRTIO_BLK_STATE, 2);

#define NUM_QUEUES_AUTO 65535

static VirtioBlk *virtio_blk(VirtioDevice *vdev)
{
    return container_of(vdev, VirtioBlk, vdev);
}

/* Configuration. */

static unsigned log2_of(uint64_t v)
{
    return v ? __builtin_ctzll(v) : 0;
}

/* Without a given geometry: 16 heads and 63 sectors, the largest that ATA disks report. */
static struct virtio_blk_geometry virtio_blk_geometry(const VirtioBlk *b, uint64_t sectors)
{
    uint64_t cyls = sectors / (16 * 63);

    if (b->disk.cyls) {
        return (struct virtio_blk_geometry){htole16(b->disk.cyls), b->disk.heads, b->disk.secs};
    }
    return (struct virtio_blk_geometry){htole16(CLAMP(cyls, 2, 16383)), 16, 63};
}

static void virtio_blk_get_config(VirtioDevice *vdev, uint8_t *config)
{
    VirtioBlk *b = virtio_blk(vdev);
    int64_t length = block_backend_length(b->disk.blk);
    uint32_t lbs = b->disk.logical_block_size;
    struct virtio_blk_config c = {
        .capacity = htole64(MAX(length, 0) / DISK_SECTOR),
        .seg_max = htole32(b->seg_max_adjust ? b->queue_size - 2 : 128 - 2),
        .geometry = virtio_blk_geometry(b, MAX(length, 0) / DISK_SECTOR),
        .blk_size = htole32(lbs),
        .physical_block_exp = log2_of(b->disk.physical_block_size / lbs),
        .min_io_size = htole16(b->disk.min_io_size / lbs),
        .opt_io_size = htole32(b->disk.opt_io_size / lbs),
        .wce = block_backend_write_cache(b->disk.blk),
        .num_queues = htole16(b->num_queues),
        .max_discard_sectors = htole32(b->max_discard_sectors),
        .max_discard_seg = htole32(1),
        .discard_sector_alignment =
            htole32((b->disk.discard_granularity == DISK_GRANULARITY_AUTO || !b->report_granularity
                         ? lbs
                         : b->disk.discard_granularity) /
                    DISK_SECTOR),
        .max_write_zeroes_sectors = htole32(b->max_write_zeroes_sectors),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = 1,
    };

    memcpy(config, &c, VIRTIO_BLK_CONFIG_SIZE);
}

static void virtio_blk_set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioBlk *b = virtio_blk(vdev);

    /* 5.2.5: 'writeback' is the only field that the driver writes. */
    if (virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE)) {
        bool on = config[offsetof(struct virtio_blk_config, wce)];

        block_backend_set_write_cache(b->disk.blk, on);
        b->s.write_cache = on;
    }
}

static uint64_t virtio_blk_get_features(VirtioDevice *vdev, uint64_t f)
{
    VirtioBlk *b = virtio_blk(vdev);

    f |= BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_GEOMETRY) | BIT64(VIRTIO_BLK_F_TOPOLOGY) |
         BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH);
    f |= b->config_wce ? BIT64(VIRTIO_BLK_F_CONFIG_WCE) : 0;
    f |= block_backend_read_only(b->disk.blk) ? BIT64(VIRTIO_BLK_F_RO) : 0;
    f |= b->num_queues > 1 ? BIT64(VIRTIO_BLK_F_MQ) : 0;
    f |= b->discard ? BIT64(VIRTIO_BLK_F_DISCARD) : 0;
    f |= b->write_zeroes ? BIT64(VIRTIO_BLK_F_WRITE_ZEROES) : 0;
    return f;
}

static void virtio_blk_start(VirtioDevice *vdev)
{
    VirtioBlk *b = virtio_blk(vdev);
    bool on;

    /* 5.2.5.2: a driver that can neither flush nor switch the cache off gets no write cache. */
    if (virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE)) {
        on = b->s.write_cache;
    } else {
        on = b->disk.original_write_cache && virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH);
    }
    block_backend_set_write_cache(b->disk.blk, on);
    b->s.write_cache = on;
}

static void virtio_blk_reset(VirtioDevice *vdev)
{
    VirtioBlk *b = virtio_blk(vdev);

    block_backend_set_write_cache(b->disk.blk, b->disk.original_write_cache);
    b->s.write_cache = b->disk.original_write_cache;
}

static void virtio_blk_take_back(VirtioDevice *vdev, Virtqueue *vq)
{
    block_backend_take_back(virtio_blk(vdev)->disk.blk,
                            vq ? virtqueue_index(vq) : BLOCK_ALL_QUEUES);
}

static void coroutine_fn virtio_blk_drain(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioBlk *b = virtio_blk(vdev);

    for (unsigned i = 0; i < vdev->queue_count; i++) {
        if (!vq || vq == vdev->queues[i]) {
            virtio_inflight_wait(&b->inflight[i]);
        }
    }
}

static const VirtioClass blk_vclass = {
    .device_id = VIRTIO_ID_BLOCK,
    .config_size = VIRTIO_BLK_CONFIG_SIZE,
    .get_features = virtio_blk_get_features,
    .get_config = virtio_blk_get_config,
    .set_config = virtio_blk_set_config,
    .start = virtio_blk_start,
    .reset = virtio_blk_reset,
    .take_back = virtio_blk_take_back,
    .drain = virtio_blk_drain,
};

/* The block backend's callbacks. */

static void virtio_blk_resized(void *data)
{
    VirtioBlk *b = data;

    virtio_notify_config(&b->vdev);
}

static const BlockDeviceOps block_ops = {
    .resized = virtio_blk_resized,
    .park = virtio_blk_park,
    .rebuild = virtio_blk_rebuild,
    .parked_max = VIRTIO_BLK_PARKED_WORDS,
};

/* Life. */

static bool check_limits(VirtioBlk *b, GError **err)
{
    uint32_t max = INT32_MAX / DISK_SECTOR;

    if (b->num_queues == NUM_QUEUES_AUTO) {
        b->num_queues = CLAMP(b->vdev.dev.vm->smp.cpus, 1, VIRTIO_QUEUE_MAX);
    }
    if (!b->num_queues || b->num_queues > VIRTIO_QUEUE_MAX) {
        return error_set(err, "num-queues=%u: must be between 1 and %u", b->num_queues,
                         VIRTIO_QUEUE_MAX);
    }
    if (b->queue_size <= 2 || b->queue_size > VIRTQUEUE_SIZE_MAX || !is_power_of_2(b->queue_size)) {
        return error_set(err, "queue-size=%u: must be a power of two between 4 and %u",
                         b->queue_size, VIRTQUEUE_SIZE_MAX);
    }
    if (b->discard && (!b->max_discard_sectors || b->max_discard_sectors > max)) {
        return error_set(err, "invalid max-discard-sectors property (%u), must be between 1 and %u",
                         b->max_discard_sectors, max);
    }
    if (b->write_zeroes && (!b->max_write_zeroes_sectors || b->max_write_zeroes_sectors > max)) {
        return error_set(err,
                         "invalid max-write-zeroes-sectors property (%u), must be between 1 and %u",
                         b->max_write_zeroes_sectors, max);
    }
    return true;
}

static bool virtio_blk_realize(Device *dev, GError **err)
{
    VirtioBlk *b = container_of(dev, VirtioBlk, vdev.dev);

    if (!disk_check(&b->disk, 65535, 255, 255, err) || !check_limits(b, err)) {
        return false;
    }
    if (b->iothread_id) {
        b->iothread = object_find(b->iothread_id, &iothread_class, err);
        if (!b->iothread) {
            return false;
        }
    }
    if (!disk_attach(&b->disk, dev, 0, &block_ops, b, err)) {
        return false;
    }
    b->s.write_cache = b->disk.original_write_cache;
    if (!virtio_init(&b->vdev, &blk_vclass, err)) {
        disk_detach(&b->disk, false);
        return false;
    }
    b->inflight = g_new0(VirtioInflight, b->num_queues);
    for (unsigned i = 0; i < b->num_queues; i++) {
        virtio_inflight_init(&b->inflight[i]);
        Virtqueue *vq = virtio_add_queue(&b->vdev, b->queue_size, virtio_blk_handle);

        if (b->iothread) {
            virtqueue_set_loop(vq, iothread_loop(b->iothread));
        }
    }
    if (b->iothread) {
        b->iothread->users++;
    }
    return true;
}

static void virtio_blk_unrealize(Device *dev)
{
    VirtioBlk *b = container_of(dev, VirtioBlk, vdev.dev);

    for (unsigned i = 0; i < b->vdev.queue_count; i++) {
        virtio_quiesce_queue(b->vdev.queues[i]);
    }
    /* Takes back what waits, and waits for requests in flight. */
    disk_detach(&b->disk, true);
    virtio_exit(&b->vdev);
    if (b->iothread) {
        b->iothread->users--;
    }
    for (unsigned i = 0; i < b->num_queues; i++) {
        virtio_inflight_destroy(&b->inflight[i]);
    }
    g_clear_pointer(&b->inflight, g_free);
}

static void virtio_blk_pre_save(Device *dev)
{
    VirtioBlk *b = container_of(dev, VirtioBlk, vdev.dev);

    b->s.parked_words =
        block_backend_save_parked(b->disk.blk, b->s.parked, ARRAY_SIZE(b->s.parked));
}

static void virtio_blk_post_load(Device *dev)
{
    VirtioBlk *b = container_of(dev, VirtioBlk, vdev.dev);

    block_backend_set_write_cache(b->disk.blk, b->s.write_cache);
    virtio_device_post_load(dev);
    if (!block_backend_load_parked(b->disk.blk, b->s.parked, b->s.parked_words,
                                   b->vdev.queue_count)) {
        virtqueue_error(b->vdev.queues[0], "the saved list of parked requests is malformed");
    }
}

#define B(n, t, f, d, h)     PROP(n, t, VirtioBlk, f, d, h)
#define FIXED(n, t, f, d, h) DISK_FIXED(n, t, VirtioBlk, f, d, h)
static const Property blk_props[] = {
    DISK_PROPS(VirtioBlk, disk),
    DISK_GEOMETRY_PROPS(VirtioBlk, disk),
    PROP_L("iothread", VirtioBlk, iothread_id, "iothread", "the thread that runs its queues"),
    B("num-queues", PROP_UINT16, num_queues, "65535", "request queues; 65535: one a CPU"),
    B("queue-size", PROP_UINT16, queue_size, "256", "entries of a queue"),
    B("seg-max-adjust", PROP_BOOL, seg_max_adjust, "on", "as many segments as a queue can take"),
    B("report-discard-granularity", PROP_BOOL, report_granularity, "on", "tell the guest of it"),
    B("discard", PROP_BOOL, discard, "on", "offer discard"),
    B("write-zeroes", PROP_BOOL, write_zeroes, "on", "offer write zeroes"),
    B("max-discard-sectors", PROP_UINT32, max_discard_sectors, "4194303", "of one request"),
    B("max-write-zeroes-sectors", PROP_UINT32, max_write_zeroes_sectors, "4194303",
      "of one request"),
    B("config-wce", PROP_BOOL, config_wce, "on", "let the guest switch the write cache"),
    FIXED("scsi", PROP_BOOL, scsi, "off", "pass SCSI commands through"),
    FIXED("request-merging", PROP_BOOL, merging, "off", "join neighbouring requests"),
    PROP_END,
};
static const StateSection blk_state[] = {
    VIRTIO_STATE(VirtioBlk, vdev),
    {virtio_blk_state_desc, offsetof(VirtioBlk, s)},
    {0},
};

static const DeviceClass virtio_blk_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON,
    .name = "virtio-blk-device",
    .desc = "virtio disk",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(VirtioBlk),
    .props = blk_props,
    .state = blk_state,
    .realize = virtio_blk_realize,
    .unrealize = virtio_blk_unrealize,
    .pre_save = virtio_blk_pre_save,
    .post_load = virtio_blk_post_load,
};

VIRTIO_PCI_CLASSES(virtio_blk, "virtio-blk", "virtio disk", DEVICE_CATEGORY_STORAGE,
                   virtio_blk_device_class, VIRTIO_ID_BLOCK, 0x1001, PCI_CLASS_STORAGE_SCSI,
                   VIRTIO_PCI_VECTORS_PROP("4294967295"), );

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a person sees of virtio devices and their queues ('info virtio-*'). Main thread. Nothing
 * here changes what the guest sees: a ring that makes no sense is an error, and the device goes on.
 */
#ifndef DEVICES_VIRTIO_INFO_H
#define DEVICES_VIRTIO_INFO_H

#include "devices/virtio.h"

/* A bit in words. Tables end in a NULL, and have the order in which QEMU shows the words. */
typedef struct {
    uint8_t bit;
    const char *word;
} VirtioWord;
extern const VirtioWord virtio_status_words[], virtio_transport_words[];
/* The features of a device of this type. */
const VirtioWord *virtio_device_words(uint16_t device_id);
/* Of the device as QEMU calls it ("virtio-blk"), whatever its transport. */
const char *virtio_device_name(uint16_t device_id);

/* The devices, the newest first; the caller unrefs. They are there until the caller yields. */
GPtrArray *virtio_devices(Vm *vm);
/* By the object path of the device itself (.../virtio-backend). NULL: there is none. */
VirtioDevice *virtio_device_find(Vm *vm, const char *path);

typedef struct {
    uint16_t device_id;
    uint8_t status, isr;
    uint16_t queue_select;
    unsigned queue_count;
    uint64_t guest_features, host_features;
    bool running, broken, started;
    bool disabled;      /* its driver has forbidden DMA */
    bool start_on_kick; /* its driver is an old one, and has not set DRIVER_OK */
    bool use_started, disable_legacy_check;
} VirtioInfo;
void virtio_info(VirtioDevice *vdev, VirtioInfo *info);

typedef struct {
    /* What the driver has set. */
    uint16_t size, max_size;
    uint64_t desc, driver, device;
    /* How far the device is. */
    uint16_t last_avail, shadow_avail, used_idx, signalled_used;
    bool signalled_valid;
    unsigned inuse;
} VirtqueueInfo;
/* Yields where an I/O thread serves the queue. False and *err: there is none, or not any more. */
bool coroutine_fn virtqueue_info(VirtioDevice *vdev, unsigned queue, VirtqueueInfo *info,
                                 GError **err);

typedef struct {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
} VirtqueueDesc;
typedef struct {
    uint16_t head;
    GArray *descs; /* of VirtqueueDesc; the caller unrefs */
    uint16_t avail_flags, avail_idx, used_flags, used_idx;
} VirtqueueChain;
/*
 * The chain at an index of the available ring, which wraps; index -1: the one that the device takes
 * next. The ring may have nothing there: then it is what the driver put there before. Only split
 * rings. Yields where an I/O thread serves the queue.
 */
bool coroutine_fn virtqueue_chain(VirtioDevice *vdev, unsigned queue, int index,
                                  VirtqueueChain *chain, GError **err);

#endif

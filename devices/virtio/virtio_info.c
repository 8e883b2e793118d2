/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a person sees of virtio devices and queues. What the driver has set is read under the
 * device's lock. How far a queue is, and its ring, are its home loop's: a QueueLook goes there, by
 * a deferred call, and holds a reference, because the device may leave meanwhile.
 */
#include "devices/virtio_info.h"

#include "base/error.h"
#include "virtqueue_internal.h"

static void add_device(Device *dev, void *data)
{
    GPtrArray *found = data;

    if (dev->realized && !dev->leaving && dev->bus && dev->bus->class == &virtio_bus_class) {
        g_ptr_array_insert(found, 0, container_of(dev, VirtioDevice, dev));
    }
}

GPtrArray *virtio_devices(Vm *vm)
{
    GPtrArray *found = g_ptr_array_new();

    device_foreach(vm, add_device, found);
    return found;
}

VirtioDevice *virtio_device_find(Vm *vm, const char *path)
{
    g_autoptr(GPtrArray) devices = virtio_devices(vm);

    for (unsigned i = 0; i < devices->len; i++) {
        VirtioDevice *vdev = devices->pdata[i];

        if (g_str_equal(vdev->dev.path, path)) {
            return vdev;
        }
    }
    return NULL;
}

void virtio_info(VirtioDevice *vdev, VirtioInfo *info)
{
    device_lock(&vdev->dev);
    *info = (VirtioInfo){
        .device_id = vdev->vclass->device_id,
        .status = __atomic_load_n(&vdev->s.status, __ATOMIC_RELAXED),
        .isr = __atomic_load_n(&vdev->s.isr, __ATOMIC_RELAXED),
        .queue_select = vdev->queue_selected ? vdev->queue_selected(vdev) : 0,
        .queue_count = vdev->queue_count,
        .guest_features = vdev->s.guest_features,
        .host_features = vdev->host_features,
        .running = vdev->vm_running,
        .broken = virtio_broken(vdev),
        .started = vdev->started,
        .start_on_kick = !vdev->started && (vdev->s.legacy || vdev->s.guest_features) &&
                         !virtio_has_feature(vdev, VIRTIO_F_VERSION_1),
        .use_started = vdev->props.use_started,
        .disable_legacy_check = vdev->props.legacy_check,
    };
    /* Until a driver comes, a device that must not do DMA yet is not called disabled. */
    info->disabled = info->status && !__atomic_load_n(&vdev->dma_on, __ATOMIC_RELAXED);
    device_unlock(&vdev->dev);
}

/* Queues. */

/* On the stack of the coroutine that waits for it. */
typedef struct {
    Virtqueue *vq;
    VirtqueueInfo *info;   /* one of the two */
    VirtqueueChain *chain; /* the other */
    int index;
    WaitList waiting;
    bool done;       /* under waiting.lock */
    const char *why; /* nothing was found */
} QueueLook;

static void look_at_state(Virtqueue *vq, VirtqueueInfo *info)
{
    const VirtqueueState *s = vq->s;

    info->last_avail = s->last_avail;
    info->shadow_avail = vq->packed ? s->last_avail : vq->shadow_avail;
    info->used_idx = s->used_idx;
    info->signalled_used = s->signalled_used;
    info->signalled_valid = s->signalled_valid;
    info->inuse = vq->inuse;
}

/* A change of the memory map leaves the caches stale until somebody needs them. */
static bool rings_mapped(Virtqueue *vq)
{
    return (dma_cache_valid(&vq->desc) && dma_cache_valid(&vq->driver) &&
            dma_cache_valid(&vq->device)) ||
           split_map(vq);
}

static void look_at_chain(QueueLook *look)
{
    Virtqueue *vq = look->vq;

    /* The driver cannot change size and addresses of a ring that has started. */
    if (!vq->started) {
        look->why = "Region caches not initialized";
    } else if (vq->packed) {
        look->why = "Packed ring not supported";
    } else if (!rings_mapped(vq)) {
        look->why = "the ring is not in RAM";
    } else {
        split_look(vq, look->index < 0 ? vq->s->last_avail : look->index, look->chain, &look->why);
    }
}

/* On the queue's home loop. */
static void look_fired(void *data)
{
    QueueLook *look = data;
    Virtqueue *vq = look->vq;

    g_mutex_lock(&vq->lock);
    if (!vq->vdev) {
        look->why = "the device is gone";
    } else if (look->info) {
        look_at_state(vq, look->info);
    } else {
        look_at_chain(look);
    }
    g_mutex_unlock(&vq->lock);
    virtqueue_unref(vq);
    g_mutex_lock(&look->waiting.lock);
    look->done = true;
    wait_list_wake_locked(&look->waiting);
    g_mutex_unlock(&look->waiting.lock);
}

static bool coroutine_fn look_at_queue(QueueLook *look, GError **err)
{
    virtqueue_ref(look->vq);
    wait_list_init(&look->waiting);
    if (event_loop_in_thread(look->vq->loop)) {
        look_fired(look);
    } else {
        event_loop_call(look->vq->loop, look_fired, look);
    }
    wait_list_until(&look->waiting, look->done);
    wait_list_destroy(&look->waiting);
    return !look->why || error_set(err, "%s", look->why);
}

static Virtqueue *queue_of(VirtioDevice *vdev, unsigned queue, GError **err)
{
    if (queue >= vdev->queue_count) {
        error_set(err, "Invalid virtqueue number %u", queue);
        return NULL;
    }
    return vdev->queues[queue];
}

bool coroutine_fn virtqueue_info(VirtioDevice *vdev, unsigned queue, VirtqueueInfo *info,
                                 GError **err)
{
    QueueLook look = {.vq = queue_of(vdev, queue, err), .info = info};

    if (!look.vq) {
        return false;
    }
    device_lock(&vdev->dev);
    *info = (VirtqueueInfo){.size = look.vq->s->size,
                            .max_size = look.vq->max_size,
                            .desc = look.vq->s->desc,
                            .driver = look.vq->s->driver,
                            .device = look.vq->s->device};
    device_unlock(&vdev->dev);
    return look_at_queue(&look, err);
}

bool coroutine_fn virtqueue_chain(VirtioDevice *vdev, unsigned queue, int index,
                                  VirtqueueChain *chain, GError **err)
{
    QueueLook look = {.vq = queue_of(vdev, queue, err), .chain = chain, .index = index};

    *chain = (VirtqueueChain){.descs = g_array_new(FALSE, FALSE, sizeof(VirtqueueDesc))};
    if (look.vq && look_at_queue(&look, err)) {
        return true;
    }
    g_clear_pointer(&chain->descs, g_array_unref);
    return false;
}

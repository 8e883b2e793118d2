/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng: entropy for the guest (5.4). */
#include "virtio_pci.h"

#include <linux/virtio_ids.h>
#include "base/error.h"
#include "base/iov.h"
#include "devices/rng.h"

#define QUEUE_SIZE 8
#define CHUNK      1024 /* the largest request to the backend */

#define VIRTIO_RNG_STATE(X) X(F, int64_t, quota)
STATE_STRUCT(VirtioRngState, VIRTIO_RNG_STATE);
STATE_DESC(virtio_rng, VirtioRngState, VIRTIO_RNG_STATE, 1);

typedef struct {
    VirtioDevice vdev;
    VirtioRngState s; /* quota: bytes left in this period */
    Virtqueue *vq;
    RngBackend *rng;
    RngRequest request;
    bool waiting; /* the request is with the backend */
    uint8_t buf[CHUNK];
    DeviceTimer *timer;
    /* Properties. */
    char *rng_id;
    uint64_t max_bytes;
    uint32_t period_ms;
} VirtioRng;

static VirtioRng *virtio_rng(VirtioDevice *vdev)
{
    return container_of(vdev, VirtioRng, vdev);
}

static bool virtio_rng_limited(const VirtioRng *r)
{
    return r->max_bytes < INT64_MAX;
}

/*
 * Buffers are popped only when entropy has come, so that no element is held when the VM pauses.
 */
static void virtio_rng_ask(VirtioRng *r)
{
    size_t want = CHUNK;

    if (r->waiting || !virtqueue_await(r->vq, 0, 0)) {
        return;
    }
    if (virtio_rng_limited(r)) {
        if (r->s.quota <= 0) {
            if (!device_timer_armed(r->timer)) {
                device_timer_arm(r->timer, clock_ns(CLOCK_VIRTUAL_NS) + r->period_ms * NS_PER_MS);
            }
            return;
        }
        want = MIN(want, (size_t)r->s.quota);
    }
    r->waiting = true;
    r->request.len = want;
    rng_backend_read(r->rng, &r->request);
}

static void got_entropy(RngRequest *req, size_t got)
{
    VirtioRng *r = req->data;
    size_t done = 0;

    r->waiting = false;
    while (done < got) {
        VirtqueueElement *elem = virtqueue_pop(r->vq, sizeof *elem);
        size_t n;

        if (!elem) {
            break;
        }
        n = iov_from_buf(elem->in, elem->in_num, 0, req->buf + done, got - done);
        virtqueue_push(r->vq, elem, n);
        done += n;
    }
    if (virtio_rng_limited(r)) {
        r->s.quota -= done;
    }
    if (done) {
        virtqueue_notify(r->vq);
    }
    /* No byte is given to the guest twice, nor left in the VMM's memory. */
    memset(r->buf, 0, sizeof r->buf);
    if (virtqueue_running(r->vq)) {
        virtqueue_kick(r->vq);
    }
}

static void period_over(Device *dev)
{
    VirtioRng *r = container_of(dev, VirtioRng, vdev.dev);

    r->s.quota = r->max_bytes;
    virtqueue_kick(r->vq);
}

static void virtio_rng_queue_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    virtio_rng_ask(virtio_rng(vdev));
}

static void pause_rng(VirtioDevice *vdev)
{
    VirtioRng *r = virtio_rng(vdev);

    rng_backend_cancel(&r->request);
    r->waiting = false;
}

static void reset_rng(VirtioDevice *vdev)
{
    VirtioRng *r = virtio_rng(vdev);

    device_timer_cancel(r->timer);
    r->s.quota = r->max_bytes;
}

static const VirtioClass rng_vclass = {
    .device_id = VIRTIO_ID_RNG,
    .stop = pause_rng,
    .pause = pause_rng,
    .reset = reset_rng,
};

static bool virtio_rng_realize(Device *dev, GError **err)
{
    VirtioRng *r = container_of(dev, VirtioRng, vdev.dev);

    if (!r->period_ms) {
        return error_set(err, "'period' parameter expects a positive integer");
    }
    if (r->max_bytes > INT64_MAX) {
        return error_set(err, "'max-bytes' parameter must be non-negative, and less than 2^63");
    }
    r->rng = rng_backend_get(r->rng_id, err);
    if (!r->rng) {
        return false;
    }
    if (!virtio_init(&r->vdev, &rng_vclass, err)) {
        rng_backend_put(g_steal_pointer(&r->rng));
        return false;
    }
    r->request = (RngRequest){.buf = r->buf, .done = got_entropy, .data = r};
    r->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, period_over);
    r->s.quota = r->max_bytes;
    r->vq = virtio_add_queue(&r->vdev, QUEUE_SIZE, virtio_rng_queue_kicked);
    return true;
}

static void virtio_rng_unrealize(Device *dev)
{
    VirtioRng *r = container_of(dev, VirtioRng, vdev.dev);

    rng_backend_cancel(&r->request);
    rng_backend_put(g_steal_pointer(&r->rng));
    virtio_exit(&r->vdev);
}

static void virtio_rng_post_load(Device *dev)
{
    VirtioRng *r = container_of(dev, VirtioRng, vdev.dev);

    pause_rng(&r->vdev);
    device_timer_cancel(r->timer);
    virtio_device_post_load(dev);
}

static const Property rng_props[] = {
    PROP_L("rng", VirtioRng, rng_id, "rng", "where the entropy comes from"),
    PROP("max-bytes", PROP_UINT64, VirtioRng, max_bytes, "9223372036854775807",
         "bytes at most in a period"),
    PROP("period", PROP_UINT32, VirtioRng, period_ms, "65536", "length of the period in ms"),
    PROP_END,
};
static const StateSection rng_state[] = {
    VIRTIO_STATE(VirtioRng, vdev),
    {virtio_rng_state_desc, offsetof(VirtioRng, s)},
    {0},
};

static const DeviceClass virtio_rng_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON,
    .name = "virtio-rng-device",
    .desc = "virtio entropy source",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(VirtioRng),
    .props = rng_props,
    .state = rng_state,
    .realize = virtio_rng_realize,
    .unrealize = virtio_rng_unrealize,
    .post_load = virtio_rng_post_load,
};

VIRTIO_PCI_CLASSES(virtio_rng, "virtio-rng", "virtio entropy source", DEVICE_CATEGORY_MISC,
                   virtio_rng_device_class, VIRTIO_ID_RNG, 0x1005, PCI_CLASS_OTHERS,
                   VIRTIO_PCI_VECTORS_PROP("4294967295"), );

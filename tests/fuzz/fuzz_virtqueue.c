/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues of both formats under a driver that writes what it likes, where it likes, at any time.
 * touch() accesses the buffers of each element that the ring gives: they have to lie in RAM.
 */
#include <stdint.h>
#include "../unit/virtio/ring_driver.h"
#include "board.h"

enum { OPS_MAX = 300, HELD_MAX = 32, AREA = 0x10000 };

static RingDevice *device;
static RingDriver driver;
static VirtqueueElement *held[HELD_MAX];
static unsigned held_count;

static void init(void)
{
    static const DeviceClass *const classes[] = {&ring_device_class, NULL};

    board_init(classes);
    device = ring_device_new(board.vm);
}

static void coroutine_fn start(void *data)
{
    Input *in = data;
    uint8_t mode = input_take(in, 1);
    unsigned size = 1u << (mode >> 4 & 7);
    uint64_t features = (mode & 1 ? BIT64(VIRTIO_F_RING_PACKED) : 0) |
                        (mode & 2 ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0) |
                        (mode & 4 ? BIT64(VIRTIO_RING_F_INDIRECT_DESC) : 0);

    ring_start(&driver, device, board.ram->host, size, features);
}

/* Writes to one of the ring's three areas, or to the place of indirect descriptors. */
static void scribble(Input *in)
{
    uint8_t where = input_take(in, 1);
    uint64_t base = (uint64_t[]){driver.desc, driver.driver, driver.device, 0xc000}[where & 3];
    uint64_t addr = base + (where >> 2) * 8;
    uint64_t value = input_take(in, 8);

    stle64(board.ram->host + addr % AREA, value);
}

/* Adds a chain as a driver would: random bytes seldom make one. */
static void add(Input *in)
{
    RingPiece p[4];
    uint8_t shape = input_take(in, 1);
    unsigned n = 1 + (shape & 3);

    for (unsigned i = 0; i < n; i++) {
        uint16_t v = input_take(in, 2);

        p[i] = (RingPiece){(uint64_t)(v & 0xff) << 10, v >> 6, i >= (shape >> 2 & 3)};
    }
    ring_add(&driver, p, n, shape & 0x10 ? 0xc000 + (shape >> 5) * 0x100 : 0);
}

static void touch(VirtqueueElement *e)
{
    uint64_t in = 0, out = 0;

    for (unsigned i = 0; i < e->out_num; i++) {
        for (size_t k = 0; k < e->out[i].iov_len; k += 512) {
            *(volatile uint8_t *)((uint8_t *)e->out[i].iov_base + k);
        }
        out += e->out[i].iov_len;
    }
    for (unsigned i = 0; i < e->in_num; i++) {
        *((uint8_t *)e->in[i].iov_base + e->in[i].iov_len - 1) ^= 1;
        in += e->in[i].iov_len;
    }
    g_assert(in == e->in_len && out == e->out_len);
}

static void give_back(unsigned k, uint8_t how)
{
    VirtqueueElement *e = held[k];
    uint32_t words[64];
    unsigned n;

    held[k] = held[--held_count];
    switch (how & 7) {
    case 0:
        virtqueue_drop(device->vq, e);
        break;
    case 1:
        n = virtqueue_save_element(e, words, ARRAY_SIZE(words));
        virtqueue_drop(device->vq, e);
        e = n ? virtqueue_load_element(device->vq, sizeof *e, words, n) : NULL;
        if (e) {
            touch(e);
            virtqueue_push(device->vq, e, 1);
        }
        break;
    default:
        virtqueue_push(device->vq, e, how);
        break;
    }
}

static void step(Input *in)
{
    uint8_t op = input_take(in, 1);
    VirtqueueElement *e;

    switch (op & 7) {
    case 0:
    case 1:
        scribble(in);
        break;
    case 2:
        add(in);
        break;
    case 3:
    case 4:
        e = held_count < HELD_MAX ? virtqueue_pop(device->vq, sizeof *e) : NULL;
        if (e) {
            touch(e);
            if (op & 0x10) {
                virtqueue_unpop(device->vq, e);
            } else {
                held[held_count++] = e;
            }
        }
        break;
    case 5:
        if (held_count) {
            give_back((op >> 3) % held_count, in->left ? *in->data : 2);
        }
        break;
    case 6:
        virtqueue_has_room(device->vq, op >> 3, op >> 5);
        virtqueue_set_notification(device->vq, op & 0x80);
        if (op & 0x40) {
            virtqueue_await(device->vq, op >> 3, op >> 5);
        }
        break;
    default:
        virtqueue_notify(device->vq);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!device) {
        init();
    }
    coroutine_start(start, &in);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        step(&in);
    }
    while (held_count) {
        virtqueue_push(device->vq, held[--held_count], 0);
    }
    virtqueue_notify(device->vq);
    board_turn();
    return 0;
}

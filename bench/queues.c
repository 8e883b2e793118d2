/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes of 4 KiB into so many queues of one image, each queue on an I/O thread of its own, as
 * those of a virtio disk may be:
 *
 *   queues IMAGE QUEUES DEPTH COUNT CACHE
 *
 * Of 'COUNT' writes each goes to another 64 KiB of the qcow2 image, far from the last. Prints the
 * seconds that they took.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/node.h"

enum { SIZE = 4096, PLACE = 64 * KiB, STRIDE = 37 /* odd: places are a power of two */ };

typedef struct {
    BlockRequest req;
    struct Queue *queue;
    struct iovec iov;
} Slot;

typedef struct Queue {
    EventLoop *loop;
    GThread *thread;
    Slot *slots;
    unsigned index, live;
    uint64_t sent, count;
} Queue;

static BlockBackend *blk;
static uint64_t queues, depth, count, places;
static unsigned ended; /* atomic */

static void slot_next(Slot *slot);

static void slot_done(BlockRequest *req, int ret)
{
    if (ret < 0) {
        fprintf(stderr, "queues: a write failed: %s\n", g_strerror(-ret));
        exit(1);
    }
    slot_next((Slot *)req);
}

static void slot_next(Slot *slot)
{
    Queue *q = slot->queue;
    uint64_t number = q->sent * queues + q->index;

    if (q->sent == q->count) {
        if (--q->live == 0) {
            __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    q->sent++;
    slot->req = (BlockRequest){.op = BLOCK_OP_WRITE,
                               .offset = number * STRIDE % places * PLACE,
                               .bytes = SIZE,
                               .iov = &slot->iov,
                               .niov = 1,
                               .done = slot_done};
    block_backend_submit(blk, &slot->req);
}

static void queue_begin(void *data)
{
    Queue *q = data;

    q->live = depth;
    for (unsigned i = 0; i < depth; i++) {
        slot_next(&q->slots[i]);
    }
}

static void *queue_run(void *data)
{
    event_loop_run(((Queue *)data)->loop);
    return NULL;
}

static void queue_init(Queue *q, unsigned index, void *buf)
{
    q->index = index;
    q->count = count / queues;
    q->slots = g_new0(Slot, depth);
    for (unsigned i = 0; i < depth; i++) {
        q->slots[i].queue = q;
        q->slots[i].iov = (struct iovec){buf, SIZE};
    }
    q->loop = event_loop_new("queue", NULL);
    q->thread = g_thread_new("queue", queue_run, q);
    event_loop_call(q->loop, queue_begin, q);
}

static void run(void)
{
    g_autofree Queue *all = g_new0(Queue, queues);
    void *buf = aligned_alloc(4096, SIZE);
    int64_t began = clock_ns(CLOCK_REALTIME_NS);

    memset(buf, 0x55, SIZE);
    for (unsigned i = 0; i < queues; i++) {
        queue_init(&all[i], i, buf);
    }
    while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) < queues) {
        event_loop_iterate(event_loop_current(), NS_PER_MS);
    }
    printf("%.6f\n", (clock_ns(CLOCK_REALTIME_NS) - began) / 1e9);
    for (unsigned i = 0; i < queues; i++) {
        event_loop_quit(all[i].loop);
        g_thread_join(all[i].thread);
        event_loop_free(all[i].loop);
        g_free(all[i].slots);
    }
    free(buf);
}

int main(int argc, char **argv)
{
    g_autofree char *options = NULL;
    json_auto_t *tree = NULL;
    GError *err = NULL;

    if (argc != 6 || !(queues = strtoull(argv[2], NULL, 0)) ||
        !(depth = strtoull(argv[3], NULL, 0)) || !(count = strtoull(argv[4], NULL, 0))) {
        fprintf(stderr, "usage: queues IMAGE QUEUES DEPTH COUNT CACHE\n");
        return 2;
    }
    event_loop_bind(event_loop_new("main", NULL));
    options = g_strdup_printf("file=%s,format=qcow2,if=none,id=d,cache=%s", argv[1], argv[5]);
    tree = keyval_parse(options, "file", NULL, false, &err);
    blk = tree ? block_backend_new_drive(tree, &err) : NULL;
    if (!blk) {
        fprintf(stderr, "queues: %s\n", err->message);
        return 1;
    }
    places = block_backend_length(blk) / PLACE;
    run();
    block_backend_free_all();
    block_node_close_all();
    return 0;
}

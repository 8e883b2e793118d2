/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues of both formats: valid and malicious drivers, kicks and interrupts. */
#include "../vm/fixture.h"
#include "base/iov.h"
#include "ring_driver.h"

static RamBlock *ram, *other;
static IoRegion low, high;
static RingDevice *dev;
static RingDriver drv;

#define RAM_SIZE (1 * MiB)
#define DATA     0x20000
#define TABLE    0x18000

static void setup(void)
{
    fixture_setup();
    ram = ram_block_new(vm, "ram", RAM_SIZE, NULL);
    other = ram_block_new(vm, "other", RAM_SIZE, NULL);
    io_region_init_ram(&low, NULL, ram, 0, RAM_SIZE, false, "low");
    io_region_map(vm, &low, IO_SPACE_MEM, 0, 0);
    /* Contiguous for the guest, but not for the host. */
    io_region_init_ram(&high, NULL, other, 0, RAM_SIZE, false, "high");
    io_region_map(vm, &high, IO_SPACE_MEM, RAM_SIZE, 0);
    dev = ring_device_new(vm);
}

/* Bit 0: packed; bit 1: event index; bit 2: indirect tables. */
#define MODES 8
static uint64_t mode_features(int mode)
{
    return (mode & 1 ? BIT64(VIRTIO_F_RING_PACKED) : 0) |
           (mode & 2 ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0) | BIT64(VIRTIO_RING_F_INDIRECT_DESC);
}
static uint64_t mode_table(int mode)
{
    return mode & 4 ? TABLE : 0;
}

static unsigned start_size;
static uint64_t start_features;

static void coroutine_fn start_co(void *data)
{
    ring_start(&drv, dev, ram->host, start_size, start_features);
}

static void start(unsigned size, uint64_t features)
{
    start_size = size;
    start_features = features;
    run_in_coroutine(start_co, NULL);
    ck_assert(virtqueue_running(dev->vq));
}

static VirtqueueElement *pop(void)
{
    return virtqueue_pop(dev->vq, sizeof(VirtqueueElement));
}

START_TEST(one_chain)
{
    RingPiece p[] = {{DATA, 100, false},
                     {DATA + 0x1000, 50, false},
                     {DATA + 0x2000, 512, true},
                     {DATA + 0x3000, 1, true}};
    VirtqueueElement *e;
    uint32_t id, len;
    int head;

    start(16, mode_features(_i));
    ck_assert(virtqueue_empty(dev->vq));
    ck_assert_ptr_null(pop());
    memset(ram->host + DATA, 0x5a, 100);
    head = ring_add(&drv, p, 4, mode_table(_i));
    ck_assert(!virtqueue_empty(dev->vq));
    e = pop();
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->out_num, 2);
    ck_assert_uint_eq(e->in_num, 2);
    ck_assert_uint_eq(e->out_len, 150);
    ck_assert_uint_eq(e->in_len, 513);
    ck_assert_ptr_eq(e->out[0].iov_base, ram->host + DATA);
    ck_assert_ptr_eq(e->in[1].iov_base, ram->host + DATA + 0x3000);
    ck_assert(virtqueue_empty(dev->vq));
    ck_assert(!ring_get(&drv, &id, &len));
    ring_want_interrupt(&drv, true);
    virtqueue_push(dev->vq, e, 77);
    virtqueue_notify(dev->vq);
    ck_assert_uint_eq(dev->notified, 1);
    ck_assert(ring_get(&drv, &id, &len));
    ck_assert_int_eq(id, head);
    ck_assert_uint_eq(len, 77);
    ck_assert(!ring_get(&drv, &id, &len));
    ck_assert(!virtio_broken(&dev->vdev));
}
END_TEST

START_TEST(across_ram)
{
    /* The buffer spans two RAM blocks; so does the indirect table. */
    RingPiece p[] = {{RAM_SIZE - 256, 512, false}, {RAM_SIZE - 8, 16, true}};
    VirtqueueElement *e;
    uint8_t table[32];

    start(16, mode_features(_i));
    drv.ram = ram->host;
    /* The table is aligned, so the border lies between two entries. */
    stle64(table, p[0].addr);
    stle32(table + 8, p[0].len);
    stle64(table + 16, p[1].addr);
    stle32(table + 24, p[1].len);
    if (_i & 1) {
        stle32(table + 12, 0);
        stle32(table + 28, (uint32_t)VRING_DESC_F_WRITE << 16);
    } else {
        stle32(table + 12, VRING_DESC_F_NEXT | 1u << 16);
        stle32(table + 28, VRING_DESC_F_WRITE);
    }
    if (_i & 4) {
        RingPiece dummy[2] = {0};

        memcpy(ram->host + RAM_SIZE - 16 - 4096, table, 16);
        debug_access(vm, RAM_SIZE - 16, table, 32, true);
        p[0].addr = DATA;
        stle64(table, DATA); /* the data must not overlap the table */
        debug_access(vm, RAM_SIZE - 16, table, 32, true);
        ring_add(&drv, dummy, 2, TABLE);
        stle64(ram->host + drv.desc, RAM_SIZE - 16);
    } else {
        ring_add(&drv, p, 2, 0);
    }
    e = pop();
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->out_len, 512);
    ck_assert_uint_eq(e->in_len, 16);
    ck_assert_uint_eq(e->in_num, 2);
    ck_assert_ptr_eq(e->in[0].iov_base, ram->host + RAM_SIZE - 8);
    ck_assert_ptr_eq(e->in[1].iov_base, other->host);
    virtqueue_push(dev->vq, e, 16);
    ck_assert(!virtio_broken(&dev->vdev));
}
END_TEST

START_TEST(many_pieces)
{
    /* More iovecs than the smaller pool classes have: the element grows while it is gathered. */
    unsigned n = 1000;
    g_autofree RingPiece *p = g_new0(RingPiece, n);
    VirtqueueElement *e;

    start(1024, mode_features(_i));
    for (unsigned i = 0; i < n; i++) {
        p[i] = (RingPiece){DATA + i * 32, i + 1, i >= 400};
    }
    ring_add(&drv, p, n, mode_table(_i));
    e = pop();
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->out_num, 400);
    ck_assert_uint_eq(e->in_num, 600);
    for (unsigned i = 0; i < n; i++) {
        struct iovec *v = i < 400 ? &e->out[i] : &e->in[i - 400];

        ck_assert_ptr_eq(v->iov_base, ram->host + DATA + i * 32);
        ck_assert_uint_eq(v->iov_len, i + 1);
    }
    virtqueue_push(dev->vq, e, 0);
}
END_TEST

/*
 * A long random run. Chains are held and given back out of order. The driver sleeps at times: then
 * the next used entry after its last look at the ring must be announced by an interrupt.
 */
typedef struct {
    GRand *rand;
    VirtqueueElement *held[64];
    unsigned held_n, out; /* 'out': chains that the driver has added and not got back */
    bool asleep;
} Run;

static void run_add_chain(Run *r, int mode)
{
    RingPiece p[4];
    unsigned n = g_rand_int_range(r->rand, 1, 5);

    for (unsigned i = 0; i < n; i++) {
        p[i] = (RingPiece){DATA + i * 64, 1 + i, i >= n / 2};
    }
    /* One indirect table for each head, because it must live as long as its chain. */
    if (ring_add(&drv, p, n, mode & 4 ? TABLE + ring_next(&drv) * 64 : 0) >= 0) {
        r->out++;
    }
}

static void run_pop(Run *r)
{
    VirtqueueElement *e = r->held_n < G_N_ELEMENTS(r->held) ? pop() : NULL;

    if (e) {
        r->held[r->held_n++] = e;
    }
}

static void run_push(Run *r, unsigned written)
{
    unsigned k;

    if (!r->held_n) {
        return;
    }
    k = g_rand_int_range(r->rand, 0, r->held_n);
    virtqueue_push(dev->vq, r->held[k], written);
    r->held[k] = r->held[--r->held_n];
    virtqueue_notify(dev->vq);
    ck_assert(!r->asleep || dev->notified);
}

static void run_get_all(Run *r)
{
    uint32_t id, len;

    while (ring_get(&drv, &id, &len)) {
        r->out--;
    }
}

static void run_driver_looks(Run *r)
{
    run_get_all(r);
    dev->notified = 0;
    r->asleep = g_rand_boolean(r->rand);
    ring_want_interrupt(&drv, r->asleep);
}

START_TEST(laps)
{
    Run r = {.rand = g_rand_new_with_seed(_i + 1)};

    start(64, mode_features(_i));
    for (unsigned step = 0; step < 60000; step++) {
        switch (g_rand_int_range(r.rand, 0, 5)) {
        case 0:
            run_add_chain(&r, _i);
            break;
        case 1:
        case 2:
            run_pop(&r);
            break;
        case 3:
            run_push(&r, step);
            break;
        default:
            run_driver_looks(&r);
            break;
        }
        ck_assert(!virtio_broken(&dev->vdev));
    }
    while (r.held_n) {
        virtqueue_push(dev->vq, r.held[--r.held_n], 0);
    }
    for (VirtqueueElement *e; (e = pop());) {
        virtqueue_push(dev->vq, e, 0);
    }
    run_get_all(&r);
    ck_assert_uint_eq(r.out, 0);
    g_rand_free(r.rand);
}
END_TEST

START_TEST(suppression)
{
    RingPiece p = {DATA, 8, true};

    start(16, mode_features(_i));
    ring_want_interrupt(&drv, false);
    for (unsigned i = 0; i < 3; i++) {
        VirtqueueElement *e;

        ring_add(&drv, &p, 1, 0);
        e = pop();
        if (!(_i & 2) || (_i & 1)) {
            virtqueue_push(dev->vq, e, 1);
            virtqueue_notify(dev->vq);
            ck_assert_uint_eq(dev->notified, 0);
        } else {
            virtqueue_drop(dev->vq, e);
        }
    }
    /* Kicks are asked for, then not; chains that were added meanwhile are found. */
    ck_assert(!virtqueue_set_notification(dev->vq, true));
    virtqueue_set_notification(dev->vq, false);
    ring_add(&drv, &p, 1, 0);
    ck_assert(virtqueue_set_notification(dev->vq, true));
}
END_TEST

/* A device that waits for more room than the ring has, at every ring position. */
START_TEST(kicks_for_more)
{
    enum { SIZE = 8 };
    RingPiece p[2] = {{DATA, 64, true}, {DATA + 64, 64, true}};
    VirtqueueElement *e;
    uint32_t id, len;

    start(SIZE, mode_features(_i));
    for (unsigned lap = 0; lap < 3 * SIZE; lap++) {
        unsigned left = lap % 3, pieces = 1 + lap % 2;

        for (unsigned i = 0; i < left; i++) {
            ck_assert_int_ge(ring_add(&drv, p, pieces, 0), 0);
        }
        ring_kick_wanted(&drv);
        virtqueue_set_notification(dev->vq, false);
        ck_assert(virtqueue_set_notification(dev->vq, true) == (left > 0));
        ck_assert_int_ge(ring_add(&drv, p, pieces, 0), 0);
        ck_assert(ring_kick_wanted(&drv));
        virtqueue_set_notification(dev->vq, false);
        while ((e = pop())) {
            virtqueue_push(dev->vq, e, 0);
            ck_assert(ring_get(&drv, &id, &len));
        }
        ck_assert_uint_eq(drv.free, SIZE);
    }
}
END_TEST

START_TEST(awaited_room)
{
    RingPiece p = {DATA, 64, true}, out = {DATA, 64, false};
    VirtqueueElement *e;

    start(8, mode_features(_i));
    ck_assert(!virtqueue_await(dev->vq, 0, 0));
    ring_add(&drv, &p, 1, mode_table(_i));
    ck_assert(ring_kick_wanted(&drv));
    ck_assert(virtqueue_await(dev->vq, 0, 0));
    ck_assert(virtqueue_await(dev->vq, 64, 0));
    /* There is enough room: kicks are off, where the ring format can say so. */
    ring_add(&drv, &p, 1, _i & 4 ? TABLE + 64 : 0);
    ck_assert(!ring_kick_wanted(&drv));
    ck_assert(!virtqueue_await(dev->vq, 129, 0));
    ck_assert(!virtqueue_await(dev->vq, 64, 1));
    ring_add(&drv, &out, 1, _i & 4 ? TABLE + 128 : 0);
    ck_assert(ring_kick_wanted(&drv));
    ck_assert(virtqueue_await(dev->vq, 128, 64));
    while ((e = pop())) {
        virtqueue_push(dev->vq, e, 0);
    }
    ck_assert(!virtqueue_await(dev->vq, 0, 0));
    ring_add(&drv, &p, 1, mode_table(_i));
    ck_assert(ring_kick_wanted(&drv));
}
END_TEST

/* The driver adds chains on another CPU: each is found, or a kick follows. */
enum { ADDER_WANT = 3, ADDER_ROUNDS = 500 };
static GMutex adder_lock;
static GCond adder_cond;
static bool adder_kicked;

static void *adder_thread(void *data)
{
    RingPiece p = {DATA, 64, true};
    uint32_t id, len;

    for (unsigned i = 0; i < ADDER_WANT * ADDER_ROUNDS;) {
        while (ring_get(&drv, &id, &len)) {
        }
        if (ring_add(&drv, &p, 1, 0) < 0) {
            g_thread_yield();
            continue;
        }
        i++;
        if (ring_kick_wanted(&drv)) {
            g_mutex_lock(&adder_lock);
            adder_kicked = true;
            g_cond_signal(&adder_cond);
            g_mutex_unlock(&adder_lock);
        }
    }
    return NULL;
}

static bool adder_wait(void)
{
    gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    bool kicked;

    g_mutex_lock(&adder_lock);
    while (!adder_kicked && g_cond_wait_until(&adder_cond, &adder_lock, end)) {
    }
    kicked = adder_kicked;
    adder_kicked = false;
    g_mutex_unlock(&adder_lock);
    return kicked;
}

START_TEST(no_kick_is_lost)
{
    VirtqueueElement *e;
    GThread *thread;

    start(8, mode_features(_i));
    adder_kicked = false;
    thread = g_thread_new("adder", adder_thread, NULL);
    for (unsigned i = 0; i < ADDER_ROUNDS; i++) {
        while (!virtqueue_await(dev->vq, ADDER_WANT * 64, 0)) {
            ck_assert_msg(adder_wait(), "round %u waits for ever", i);
        }
        for (unsigned k = 0; k < ADDER_WANT; k++) {
            e = pop();
            ck_assert_ptr_nonnull(e);
            virtqueue_push(dev->vq, e, 0);
        }
    }
    g_thread_join(thread);
}
END_TEST

START_TEST(unpop_and_batch)
{
    RingPiece p = {DATA, 64, true};
    VirtqueueElement *e, *second, *third;
    uint32_t id, len;

    start(4, mode_features(_i));
    for (unsigned lap = 0; lap < 9; lap++) {
        int heads[3];

        for (unsigned i = 0; i < 3; i++) {
            heads[i] = ring_add(&drv, &p, 1, 0);
            ck_assert_int_ge(heads[i], 0);
        }
        e = pop();
        virtqueue_unpop(dev->vq, e);
        ck_assert(virtqueue_has_room(dev->vq, 192, 0));
        ck_assert(!virtqueue_has_room(dev->vq, 193, 0));
        e = pop();
        second = pop();
        third = pop();
        ck_assert_int_eq(e->index, heads[0]);
        virtqueue_fill(dev->vq, second, 2, 1);
        virtqueue_fill(dev->vq, third, 3, 2);
        ck_assert(!ring_get(&drv, &id, &len));
        virtqueue_fill(dev->vq, e, 1, 0);
        virtqueue_flush(dev->vq, 3);
        for (unsigned i = 0; i < 3; i++) {
            ck_assert(ring_get(&drv, &id, &len));
            ck_assert_int_eq(id, heads[i]);
            ck_assert_uint_eq(len, i + 1);
        }
    }
}
END_TEST

START_TEST(saved_elements)
{
    RingPiece p[] = {{DATA, 16, false}, {DATA + 64, 512, true}};
    VirtqueueElement *first, *second, *e;
    VirtqueueState saved;
    uint32_t words[16], id, len;
    unsigned n;

    start(8, mode_features(_i));
    int head = ring_add(&drv, p, 2, mode_table(_i));
    first = pop();
    ring_add(&drv, p, 2, _i & 4 ? TABLE + 64 : 0);
    second = pop();
    virtqueue_push(dev->vq, second,
                   9); /* overwrites the first element's descriptors in a packed ring */
    n = virtqueue_save_element(first, words, ARRAY_SIZE(words));
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_eq(virtqueue_save_element(first, words, n - 1), 0);
    saved = dev->vdev.s.vq[0];
    /* As when state is loaded. */
    virtqueue_drop(dev->vq, first);
    dev->vdev.s.vq[0] = saved;
    device_lock(&dev->vdev.dev);
    dev->vdev.s.started = true;
    virtio_device_post_load(&dev->vdev.dev);
    device_unlock(&dev->vdev.dev);
    e = virtqueue_load_element(dev->vq, sizeof *e, words, n);
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->out_len, 16);
    ck_assert_uint_eq(e->in_len, 512);
    virtqueue_push(dev->vq, e, 5);
    ck_assert(ring_get(&drv, &id, &len) && len == 9);
    ck_assert(ring_get(&drv, &id, &len) && len == 5 && (int)id == head);
    /* Nonsense: too few words, too many, a chain that is longer than the ring, no chain. */
    for (unsigned wrong = 0; wrong < n; wrong++) {
        ck_assert_ptr_null(virtqueue_load_element(dev->vq, sizeof *e, words, wrong));
    }
    ck_assert_ptr_null(virtqueue_load_element(dev->vq, sizeof *e, words, n + 1));
    words[0] |= 9u << 16;
    ck_assert_ptr_null(virtqueue_load_element(dev->vq, sizeof *e, words, n));
    words[0] = UINT32_MAX;
    ck_assert_ptr_null(virtqueue_load_element(dev->vq, sizeof *e, words, n));
    words[0] = head;
    ck_assert_ptr_null(virtqueue_load_element(dev->vq, sizeof *e, words, n));
    ck_assert(!virtio_broken(&dev->vdev));
}
END_TEST

/* Large chains of an indirect table are few words, and the ring never needs many. */
START_TEST(saved_table)
{
    g_autofree RingPiece *p = g_new0(RingPiece, 200);
    VirtqueueElement *e;
    uint32_t words[5];

    start(8, mode_features(_i));
    for (unsigned i = 0; i < 200; i++) {
        p[i] = (RingPiece){DATA + i * 32, i + 1, i >= 20};
    }
    ring_add(&drv, p, 200, TABLE);
    e = pop();
    ck_assert_uint_eq(virtqueue_save_element(e, words, ARRAY_SIZE(words)), _i & 1 ? 5 : 1);
    virtqueue_drop(dev->vq, e);
    e = virtqueue_load_element(dev->vq, sizeof *e, words, _i & 1 ? 5 : 1);
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->out_num, 20);
    ck_assert_uint_eq(e->in_num, 180);
    ck_assert_ptr_eq(e->in[179].iov_base, ram->host + DATA + 199 * 32);
    virtqueue_push(dev->vq, e, 0);
}
END_TEST

static void coroutine_fn reset_co(void *data)
{
    virtio_reset(&dev->vdev);
}

START_TEST(stale_elements)
{
    RingPiece p = {DATA, 64, true};
    VirtqueueElement *e;
    uint32_t id, len;

    start(8, mode_features(_i));
    ring_add(&drv, &p, 1, 0);
    e = pop();
    run_in_coroutine(reset_co, NULL);
    ck_assert_ptr_null(pop());
    start(8, mode_features(_i));
    virtqueue_push(dev->vq, e, 1); /* of a ring that was reset */
    ck_assert(!ring_get(&drv, &id, &len));
    ck_assert_uint_eq(dev->vdev.s.vq[0].used_idx, 0);
}
END_TEST

/* Malicious drivers: each only breaks the device. */

static void expect_broken(void)
{
    ck_assert_ptr_null(pop());
    ck_assert(virtio_broken(&dev->vdev));
    ck_assert_ptr_null(pop());
    virtqueue_notify(dev->vq);
    event_loop_iterate(loop, 0);
    ck_assert(dev->vdev.s.status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

START_TEST(hostile_pieces)
{
    static const struct {
        RingPiece p[2];
        unsigned n;
    } cases[] = {
        {{{DATA, 0, false}}, 1},                  /* no length */
        {{{DATA, 1, true}, {DATA, 1, false}}, 2}, /* readable behind writable */
        {{{64 * MiB, 1, false}}, 1},              /* not RAM */
        {{{2 * RAM_SIZE - 1, 2, true}}, 1},       /* beyond its end */
        {{{UINT64_MAX - 1, 16, true}}, 1},        /* wraps around the address space */
        {{{0, 0xffffffff, true}}, 1},             /* too long */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        start(16, mode_features(_i));
        ring_add(&drv, cases[i].p, cases[i].n, mode_table(_i));
        expect_broken();
    }
}
END_TEST

START_TEST(hostile_split)
{
    RingPiece p[] = {{DATA, 8, false}, {DATA, 8, true}};
    uint64_t f = mode_features(0);
    VirtqueueElement *held[16];

    start(16, f); /* head outside of the ring */
    ring_expose(&drv, 16);
    expect_broken();
    start(16, f); /* index that jumps */
    stle16(ring_at(&drv, drv.driver + 2), 17);
    expect_broken();
    start(16, f); /* next outside of the table */
    ring_add(&drv, p, 2, 0);
    ring_put_desc(&drv, drv.desc, 0, DATA, 8, VRING_DESC_F_NEXT, 16);
    expect_broken();
    start(16, f); /* a loop */
    ring_add(&drv, p, 2, 0);
    ring_put_desc(&drv, drv.desc, 1, DATA, 8, VRING_DESC_F_NEXT, 0);
    expect_broken();
    start(16, f); /* a loop in an indirect table */
    ring_add(&drv, p, 2, TABLE);
    ring_put_desc(&drv, TABLE, 1, DATA, 8, VRING_DESC_F_NEXT, 0);
    expect_broken();
    start(16, f); /* a table in a table */
    ring_add(&drv, p, 2, TABLE);
    ring_put_desc(&drv, TABLE, 0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
    expect_broken();
    start(16, f); /* an indirect table with NEXT */
    ring_add(&drv, p, 2, TABLE);
    ring_put_desc(&drv, drv.desc, 0, TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
    expect_broken();
    start(16, f); /* the same head over and over */
    ring_add(&drv, p, 2, 0);
    for (unsigned i = 0; i < 15; i++) {
        ring_expose(&drv, 0);
    }
    for (unsigned i = 0; i < 16; i++) {
        held[i] = pop(); /* only as many as the ring has entries */
        ck_assert_ptr_nonnull(held[i]);
    }
    ring_expose(&drv, 0);
    expect_broken();
    for (unsigned i = 0; i < 16; i++) {
        virtqueue_drop(dev->vq, held[i]);
    }
}
END_TEST

START_TEST(hostile_tables)
{
    RingPiece p[] = {{DATA, 8, false}, {DATA, 8, true}};
    uint32_t bad[] = {0, 8, 17, 0xfffffff0};

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        start(16, mode_features(_i));
        ring_add(&drv, p, 2, TABLE);
        stle32(ring_at(&drv, drv.desc + 8), bad[i]);
        expect_broken();
    }
    start(16, mode_features(_i) & ~BIT64(VIRTIO_RING_F_INDIRECT_DESC)); /* not negotiated */
    ring_add(&drv, p, 2, TABLE);
    expect_broken();
    start(16, mode_features(_i)); /* the table is not in RAM */
    ring_add(&drv, p, 2, TABLE);
    stle64(ring_at(&drv, drv.desc), 64 * MiB);
    expect_broken();
}
END_TEST

START_TEST(hostile_packed)
{
    start(4, mode_features(1));
    /* Every descriptor has NEXT: a chain longer than the ring. */
    for (unsigned i = 0; i < 4; i++) {
        ring_put_desc(&drv, drv.desc, i, DATA, 8,
                      VRING_DESC_F_NEXT | 1u << VRING_PACKED_DESC_F_AVAIL, i);
    }
    expect_broken();
}
END_TEST

static void coroutine_fn start_bad_co(void *data)
{
    uint64_t *where = data;
    VirtqueueState *s = &dev->vdev.s.vq[0];

    virtio_reset(&dev->vdev);
    dev->vdev.s.guest_features = mode_features(0) | BIT64(VIRTIO_F_VERSION_1);
    s->size = 16;
    s->desc = where[0];
    s->driver = where[1];
    s->device = where[2];
    s->enabled = true;
    virtio_set_status_deferred(&dev->vdev, VIRTIO_CONFIG_S_DRIVER_OK);
}

START_TEST(hostile_rings)
{
    uint64_t cases[][3] = {
        {0x1001, 0x8000, 0xa000}, /* not aligned */
        {0x1000, 0x8001, 0xa000},
        {0x1000, 0x8000, 0xa002},
        {64 * MiB, 0x8000, 0xa000},          /* not RAM */
        {0x1000, 2 * RAM_SIZE - 16, 0xa000}, /* beyond its end */
        {RAM_SIZE - 16, 0x8000, 0xa000},     /* in two blocks */
        {0x1000, 0x8000, UINT64_MAX - 3},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        run_in_coroutine(start_bad_co, cases[i]);
        ck_assert(virtio_broken(&dev->vdev));
        ck_assert_ptr_null(pop());
    }
}
END_TEST

/* The memory map changes while a queue runs. */
START_TEST(remapped)
{
    RingPiece p = {DATA, 64, true};

    start(8, mode_features(_i));
    ring_add(&drv, &p, 1, 0);
    io_region_unmap(vm, &low);
    expect_broken();
    io_region_map(vm, &low, IO_SPACE_MEM, 0, 0);
    start(8, mode_features(_i));
    ring_add(&drv, &p, 1, 0);
    io_region_unmap(vm, &high);
    io_region_map(vm, &high, IO_SPACE_MEM, 2 * RAM_SIZE, 0);
    VirtqueueElement *e = pop();
    ck_assert_ptr_nonnull(e);
    virtqueue_push(dev->vq, e, 0);
    ck_assert(!virtio_broken(&dev->vdev));
}
END_TEST

START_TEST(kicks)
{
    RingPiece p = {DATA, 64, true};
    uint64_t one = 1;

    start(8, mode_features(_i));
    event_loop_iterate(loop, 0);
    dev->kicked = 0;
    ring_add(&drv, &p, 1, 0);
    virtqueue_kick(dev->vq);
    virtqueue_kick(dev->vq);
    event_loop_iterate(loop, 0);
    ck_assert_uint_eq(dev->kicked, 1);
    ck_assert_int_eq(write(virtqueue_kick_fd(dev->vq), &one, sizeof one), 8);
    for (int i = 0; i < 3; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert_uint_eq(dev->kicked, 2);
    /* A paused VM's queues do not run; their handlers are called when the VM continues. */
    device_lock(&dev->vdev.dev);
    virtio_device_run_state(&dev->vdev.dev, false);
    virtqueue_kick(dev->vq);
    device_unlock(&dev->vdev.dev);
    event_loop_iterate(loop, 0);
    ck_assert_uint_eq(dev->kicked, 2);
    ck_assert_ptr_null(pop());
    device_lock(&dev->vdev.dev);
    virtio_device_run_state(&dev->vdev.dev, true);
    device_unlock(&dev->vdev.dev);
    event_loop_iterate(loop, 0);
    ck_assert_uint_eq(dev->kicked, 3);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("rings");

    tcase_add_checked_fixture(tc, setup, fixture_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, one_chain, 0, MODES);
    tcase_add_loop_test(tc, across_ram, 0, MODES);
    tcase_add_loop_test(tc, many_pieces, 0, MODES);
    tcase_add_loop_test(tc, laps, 0, MODES);
    tcase_add_loop_test(tc, suppression, 0, MODES);
    tcase_add_loop_test(tc, kicks_for_more, 0, 4);
    tcase_add_loop_test(tc, awaited_room, 0, MODES);
    tcase_add_loop_test(tc, no_kick_is_lost, 0, 4);
    tcase_add_loop_test(tc, unpop_and_batch, 0, MODES);
    tcase_add_loop_test(tc, saved_elements, 0, MODES);
    tcase_add_loop_test(tc, saved_table, 0, MODES);
    tcase_add_loop_test(tc, stale_elements, 0, MODES);
    tcase_add_loop_test(tc, hostile_pieces, 0, MODES);
    tcase_add_test(tc, hostile_split);
    tcase_add_loop_test(tc, hostile_tables, 0, MODES);
    tcase_add_test(tc, hostile_packed);
    tcase_add_test(tc, hostile_rings);
    tcase_add_loop_test(tc, remapped, 0, MODES);
    tcase_add_loop_test(tc, kicks, 0, MODES);
    return unit_run_case("virtio", tc);
}

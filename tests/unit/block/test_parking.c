/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parking, by a toy device that works as IDE does: its requests move sectors between the disk and
 * its own buffer, and are described by an LBA and a position in that buffer. Its channels are the
 * backend's queues. The disk is a driver that fails, or makes wait, when a test says so.
 */
#include <errno.h>
#include "../../../block/drivers/drivers.h"
#include "block/parking.h"
#include "fixture.h"

enum { SECTOR = 512, SECTORS = 64, CHANNELS = 2, MANY = 200 };

/* The disk. */

static struct {
    int error;    /* atomic: what each request fails with; 0: none does */
    bool wait;    /* atomic: requests do not end */
    unsigned got; /* atomic: requests that have come so far */
    uint8_t data[SECTORS * SECTOR];
} disk;

static int coroutine_fn disk_io(uint64_t offset, uint64_t bytes, const struct iovec *iov,
                                bool write)
{
    int error;

    __atomic_add_fetch(&disk.got, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&disk.wait, __ATOMIC_SEQ_CST)) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    error = __atomic_load_n(&disk.error, __ATOMIC_SEQ_CST);
    if (!error) {
        memcpy(write ? disk.data + offset : iov->iov_base,
               write ? iov->iov_base : disk.data + offset, bytes);
    }
    return -error;
}

static int coroutine_fn disk_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    return disk_io(offset, bytes, iov, false);
}

static int coroutine_fn disk_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    return disk_io(offset, bytes, iov, true);
}

static int coroutine_fn disk_flush(BlockNode *n)
{
    return 0;
}

static int64_t disk_length(BlockNode *n)
{
    return sizeof disk.data;
}

static bool disk_open(BlockNode *n, GError **err)
{
    n->filename = g_strdup("faulty");
    return true;
}

static const Property disk_props[] = {PROP_END};
static const BlockDriver disk_driver = {
    .name = "faulty",
    .help = "a disk that fails when it is told to",
    .size = sizeof(int),
    .props = disk_props,
    .is_protocol = true,
    .open = disk_open,
    .preadv = disk_preadv,
    .pwritev = disk_pwritev,
    .flush = disk_flush,
    .length = disk_length,
};

static void disk_fail(int error)
{
    __atomic_store_n(&disk.error, error, __ATOMIC_SEQ_CST);
}

/* The toy. */

typedef struct {
    BlockBackend *blk;
    uint8_t buffer[SECTORS * SECTOR]; /* sector i of the disk has its place i here, but for tests */
    unsigned mapped, live;            /* atomic: requests that hold the buffer; requests */
    unsigned ok, failed, cancelled;   /* atomic: how requests ended */
    int error;                        /* of the last one that failed */
    unsigned rebuilt;                 /* atomic: how many; and which */
    uint32_t rebuilt_lba[MANY];
    bool mute;   /* it cannot describe its requests */
    bool broken; /* words made no sense */
} Toy;

typedef struct {
    BlockRequest io;
    Toy *toy;
    uint32_t lba, position;
    struct iovec iov;
} ToyRequest;

static void add(unsigned *counter, int n)
{
    __atomic_add_fetch(counter, n, __ATOMIC_SEQ_CST);
}

static unsigned get(unsigned *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void toy_request_free(ToyRequest *r)
{
    add(&r->toy->mapped, -1);
    add(&r->toy->live, -1);
    memset(r, 0xee, sizeof *r);
    g_free(r);
}

static void toy_done(BlockRequest *io, int ret)
{
    ToyRequest *r = (ToyRequest *)io;
    Toy *t = r->toy;

    if (ret && ret != -ECANCELED) {
        t->error = -ret;
    }
    toy_request_free(r);
    add(!ret ? &t->ok : ret == -ECANCELED ? &t->cancelled : &t->failed, 1);
}

static void toy_submit(Toy *t, unsigned channel, BlockOp op, uint32_t lba, uint32_t position)
{
    ToyRequest *r = g_new0(ToyRequest, 1);

    r->toy = t;
    r->lba = lba;
    r->position = position;
    r->iov = (struct iovec){t->buffer + position, SECTOR};
    r->io = (BlockRequest){.op = op,
                           .offset = (uint64_t)lba * SECTOR,
                           .bytes = SECTOR,
                           .iov = &r->iov,
                           .niov = 1,
                           .queue = channel,
                           .done = toy_done};
    add(&t->mapped, 1);
    add(&t->live, 1);
    block_backend_submit(t->blk, &r->io);
}

static void toy_write(Toy *t, unsigned channel, uint32_t lba)
{
    toy_submit(t, channel, BLOCK_OP_WRITE, lba, lba * SECTOR);
}

static size_t toy_park(void *data, BlockRequest *io, uint32_t *words, size_t max)
{
    Toy *t = data;
    ToyRequest *r = (ToyRequest *)io;

    if (t->mute || max < 3) {
        return 0;
    }
    words[0] = r->io.op;
    words[1] = r->lba;
    words[2] = r->position;
    toy_request_free(r);
    return 3;
}

static bool toy_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n)
{
    Toy *t = data;

    if (n != 3 || words[0] > BLOCK_OP_WRITE || words[1] >= SECTORS ||
        words[2] > sizeof t->buffer - SECTOR) {
        t->broken = true;
        return false;
    }
    t->rebuilt_lba[__atomic_fetch_add(&t->rebuilt, 1, __ATOMIC_SEQ_CST) % MANY] = words[1];
    toy_submit(t, queue, words[0], words[1], words[2]);
    return true;
}

static const BlockDeviceOps toy_ops = {
    .park = toy_park, .rebuild = toy_rebuild, .parked_max = 4 * MANY};
/* IDE has one request at a time. */
static const BlockDeviceOps small_ops = {.park = toy_park, .rebuild = toy_rebuild, .parked_max = 4};

/* What the stop hook has heard. */
static struct {
    unsigned calls, stops;
    BlockErrorAction action;
    int error;
    size_t parked; /* words, when it was called */
} heard;

/* Any thread. */
static void hook(BlockBackend *blk, bool is_read, int error, BlockErrorAction action, void *data)
{
    uint32_t words[4 * MANY];
    size_t parked = block_backend_save_parked(blk, words, G_N_ELEMENTS(words));

    __atomic_store_n(&heard.action, action, __ATOMIC_SEQ_CST);
    __atomic_store_n(&heard.error, error, __ATOMIC_SEQ_CST);
    __atomic_store_n(&heard.parked, parked, __ATOMIC_SEQ_CST);
    add(&heard.stops, action == BLOCK_ERROR_ACTION_STOP);
    add(&heard.calls, 1);
}

static void toy_setup(void)
{
    fixture_setup();
    block_drivers_add(&disk_driver);
    block_backend_set_stop_hook(hook, NULL);
    memset(&disk, 0, sizeof disk);
    memset(&heard, 0, sizeof heard);
}

static void toy_teardown(void)
{
    block_backend_set_stop_hook(NULL, NULL);
    fixture_teardown();
}

static void toy_plug(Toy *t, const char *id, const BlockDeviceOps *ops, const char *options)
{
    GError *err = NULL;

    memset(t, 0, sizeof *t);
    new_drive(NULL, "driver=faulty,if=none,id=%s%s", id, options);
    t->blk = block_backend_attach(id, "/machine/toy", 0, ops, t, &err);
    ck_no_error(err);
    for (unsigned i = 0; i < SECTORS; i++) {
        memset(t->buffer + i * SECTOR, i + 1, SECTOR);
    }
}

static void turn_until_equal(unsigned *counter, unsigned value)
{
    while (get(counter) != value) {
        event_loop_iterate(main_loop, 100 * NS_PER_MS);
    }
}

/* Turns the loop for long enough that whatever is ready ends. */
static void turn(void)
{
    for (int i = 0; i < 50; i++) {
        event_loop_iterate(main_loop, 0);
    }
}

#define STOP ",rerror=stop,werror=stop"
static Toy toy, other;

static size_t parked_words(Toy *t, uint32_t words[4 * MANY])
{
    return block_backend_save_parked(t->blk, words, 4 * MANY);
}

static size_t parked_number(Toy *t)
{
    uint32_t words[4 * MANY];

    return parked_words(t, words) / 4;
}

static void cont(Toy *t)
{
    block_io_status_reset_all();
    for (unsigned i = 0; i < CHANNELS; i++) {
        block_backend_unpark(t->blk, i);
    }
}

START_TEST(policies)
{
    static const struct {
        const char *options;
        BlockOp op;
        int error, ends;
        BlockErrorAction action;
    } cases[] = {
        {"", BLOCK_OP_READ, ENOSPC, ENOSPC, BLOCK_ERROR_ACTION_REPORT},
        {"", BLOCK_OP_WRITE, EIO, EIO, BLOCK_ERROR_ACTION_REPORT},
        {"", BLOCK_OP_WRITE, ENOSPC, -1, BLOCK_ERROR_ACTION_STOP},
        {",werror=report", BLOCK_OP_WRITE, ENOSPC, ENOSPC, BLOCK_ERROR_ACTION_REPORT},
        {",werror=ignore", BLOCK_OP_WRITE, EIO, 0, BLOCK_ERROR_ACTION_IGNORE},
        {",werror=stop", BLOCK_OP_WRITE, EIO, -1, BLOCK_ERROR_ACTION_STOP},
        {",werror=stop", BLOCK_OP_READ, EIO, EIO, BLOCK_ERROR_ACTION_REPORT},
        {",rerror=stop", BLOCK_OP_READ, EIO, -1, BLOCK_ERROR_ACTION_STOP},
        {",rerror=ignore", BLOCK_OP_READ, EIO, 0, BLOCK_ERROR_ACTION_IGNORE},
        /* Only a request that was taken back ends with ECANCELED. */
        {"", BLOCK_OP_READ, ECANCELED, EIO, BLOCK_ERROR_ACTION_REPORT},
        {"", BLOCK_OP_READ, EFAULT, EFAULT, BLOCK_ERROR_ACTION_REPORT},
        {",werror=ignore", BLOCK_OP_WRITE, EFAULT, 0, BLOCK_ERROR_ACTION_IGNORE},
        /* A pause would bring no medium back. */
        {STOP, BLOCK_OP_READ, ENOMEDIUM, ENOMEDIUM, BLOCK_ERROR_ACTION_REPORT},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        bool stops = cases[i].action == BLOCK_ERROR_ACTION_STOP;

        toy_plug(&toy, "d", &small_ops, cases[i].options);
        disk_fail(cases[i].error);
        toy_submit(&toy, 0, cases[i].op, 3, 0);
        turn_until_equal(&heard.calls, i + 1);
        turn();
        ck_assert_int_eq(heard.action, cases[i].action);
        ck_assert_int_eq(heard.error, cases[i].error == ECANCELED ? EIO : cases[i].error);
        ck_assert_uint_eq(parked_number(&toy), stops);
        ck_assert_uint_eq(heard.parked, stops ? 4 : 0);
        ck_assert_uint_eq(toy.ok, cases[i].ends == 0);
        ck_assert_uint_eq(toy.failed, cases[i].ends > 0);
        ck_assert_int_eq(toy.error, MAX(cases[i].ends, 0));
        ck_assert_uint_eq(toy.mapped, 0);
        ck_assert_uint_eq(block_backend_stats(toy.blk)->failed[cases[i].op], 1);
        block_backend_detach(toy.blk, true);
    }
}
END_TEST

static bool sector_is_unreadable(const struct iovec *iov, unsigned niov)
{
    return niov == 1 && iov->iov_base == toy.buffer + 2 * SECTOR;
}

/* Where guest memory may be the reason an error stops, whatever the policy. */
START_TEST(memory_fails)
{
    static const struct {
        BlockOp op;
        unsigned sector;
        bool refused, stops;
        int error;
    } cases[] = {
        {BLOCK_OP_WRITE, 1, false, false, EFAULT}, {BLOCK_OP_WRITE, 2, false, true, EFAULT},
        {BLOCK_OP_READ, 2, false, true, EFAULT},   {BLOCK_OP_WRITE, 2, false, false, EIO},
        {BLOCK_OP_READ, 1, true, true, EFAULT},    {BLOCK_OP_WRITE, 1, true, true, 0},
    };

    block_set_memory_hook(sector_is_unreadable);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        toy_plug(&toy, "d", &small_ops, ",werror=report,rerror=report");
        disk_fail(cases[i].error);
        block_refuse_writes(cases[i].refused);
        toy_submit(&toy, 0, cases[i].op, 3, cases[i].sector * SECTOR);
        turn_until_equal(&heard.calls, i + 1);
        turn();
        ck_assert_int_eq(heard.error, cases[i].error ? cases[i].error : EFAULT);
        ck_assert_int_eq(heard.action,
                         cases[i].stops ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT);
        ck_assert_uint_eq(parked_number(&toy), cases[i].stops);
        block_backend_detach(toy.blk, true);
    }
    block_set_memory_hook(NULL);
    block_refuse_writes(false);
}
END_TEST

/* Failed requests wait as words, hold nothing, and come again in the order of failure. */
START_TEST(order)
{
    static const uint32_t lbas[] = {7, 3, 5, 4};

    toy_plug(&toy, "d", &toy_ops, STOP);
    disk_fail(EIO);
    for (unsigned i = 0; i < 4; i++) {
        toy_write(&toy, 0, lbas[i]);
        turn_until_equal(&heard.stops, i + 1);
    }
    turn();
    ck_assert_uint_eq(parked_number(&toy), 4);
    ck_assert_uint_eq(toy.mapped + toy.live, 0);
    ck_assert_uint_eq(block_backend_in_flight(toy.blk), 0);
    /* Nobody has said 'cont'. */
    block_backend_unpark(toy.blk, 0);
    ck_assert_uint_eq(toy.rebuilt, 0);
    /* They fail again, and wait again. */
    cont(&toy);
    turn_until_equal(&heard.stops, 8);
    ck_assert_uint_eq(toy.rebuilt, 4);
    ck_assert_uint_eq(parked_number(&toy), 4);
    disk_fail(0);
    cont(&toy);
    turn_until_equal(&toy.ok, 4);
    ck_assert_uint_eq(toy.failed + toy.cancelled + toy.live, 0);
    ck_assert_uint_eq(parked_number(&toy), 0);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(toy.rebuilt_lba[i], lbas[i]);
        ck_assert_uint_eq(disk.data[lbas[i] * SECTOR], lbas[i] + 1);
    }
    /* A queue's requests are its own. */
    toy.rebuilt = 0;
    disk_fail(EIO);
    toy_write(&toy, 1, 1);
    turn_until_equal(&heard.stops, 9);
    block_io_status_reset_all();
    block_backend_unpark(toy.blk, 0);
    ck_assert_uint_eq(toy.rebuilt, 0);
    block_backend_unpark(toy.blk, 1);
    ck_assert_uint_eq(toy.rebuilt, 1);
    turn_until_equal(&heard.stops, 10);
}
END_TEST

/* What cannot be described, or has no room in the device's state, fails towards the guest. */
START_TEST(no_room)
{
    toy_plug(&toy, "d", &small_ops, STOP);
    disk_fail(EIO);
    toy_write(&toy, 0, 1);
    turn_until_equal(&heard.stops, 1);
    toy_write(&toy, 0, 2);
    turn_until_equal(&toy.failed, 1);
    ck_assert_int_eq(heard.action, BLOCK_ERROR_ACTION_REPORT);
    ck_assert_uint_eq(parked_number(&toy), 1);
    block_backend_take_back(toy.blk, 0);
    toy.mute = true;
    toy_write(&toy, 0, 1);
    turn_until_equal(&toy.failed, 2);
    ck_assert_uint_eq(parked_number(&toy), 0);
}
END_TEST

/* Two devices; a soft reset of one. What was parked never comes back, and later requests do. */
START_TEST(soft_reset)
{
    toy_plug(&toy, "d", &small_ops, STOP);
    toy_plug(&other, "e", &small_ops, STOP);
    disk_fail(ENOSPC);
    toy_write(&toy, 0, 1);
    toy_write(&other, 0, 2);
    turn_until_equal(&heard.stops, 2);
    block_backend_take_back(toy.blk, BLOCK_ALL_QUEUES);
    ck_assert_uint_eq(parked_number(&toy), 0);
    ck_assert_uint_eq(parked_number(&other), 1);
    disk_fail(0);
    cont(&toy);
    cont(&other);
    turn_until_equal(&other.ok, 1);
    turn();
    ck_assert_uint_eq(toy.ok + toy.failed + toy.cancelled + toy.rebuilt, 0);
    ck_assert_uint_eq(disk.data[1 * SECTOR], 0);
    ck_assert_uint_eq(disk.data[2 * SECTOR], 3);
    disk_fail(ENOSPC);
    toy_write(&toy, 0, 4);
    turn_until_equal(&heard.stops, 3);
    ck_assert_uint_eq(parked_number(&toy), 1);
}
END_TEST

static int coroutine_fn drain(void *data)
{
    block_backend_drain_begin(data);
    return 0;
}

/* A reset in the middle of a drain takes the channel's requests, and does not wait for its end. */
START_TEST(reset_while_held)
{
    toy_plug(&toy, "d", &toy_ops, STOP);
    block_run(drain, toy.blk);
    toy_write(&toy, 0, 1);
    toy_write(&toy, 1, 2);
    toy_write(&toy, 0, 3);
    turn();
    ck_assert_uint_eq(toy.live, 3);
    block_backend_take_back(toy.blk, 0);
    turn_until_equal(&toy.cancelled, 2);
    toy_write(&toy, 0, 4);
    turn();
    ck_assert_uint_eq(disk.got, 0);
    block_backend_drain_end(toy.blk);
    turn_until_equal(&toy.ok, 2);
    ck_assert_uint_eq(disk.got, 2);
    ck_assert_uint_eq(disk.data[1 * SECTOR] + disk.data[3 * SECTOR], 0);
    ck_assert_uint_eq(disk.data[2 * SECTOR], 3);
    ck_assert_uint_eq(disk.data[4 * SECTOR], 5);
    ck_assert_uint_eq(toy.cancelled, 2);
    /* The drain has ended, the loop has not had its turn: the request is still held. */
    block_run(drain, toy.blk);
    toy_write(&toy, 1, 5);
    block_backend_drain_end(toy.blk);
    block_backend_take_back(toy.blk, BLOCK_ALL_QUEUES);
    turn_until_equal(&toy.cancelled, 3);
    ck_assert_uint_eq(disk.got, 2);
}
END_TEST

/* A request that the disk has got ends as it does, and is not parked any more. */
START_TEST(reset_in_flight)
{
    toy_plug(&toy, "d", &toy_ops, STOP);
    __atomic_store_n(&disk.wait, true, __ATOMIC_SEQ_CST);
    toy_write(&toy, 0, 1);
    toy_write(&toy, 1, 2);
    turn_until_equal(&disk.got, 2);
    block_backend_take_back(toy.blk, 0);
    disk_fail(EIO);
    __atomic_store_n(&disk.wait, false, __ATOMIC_SEQ_CST);
    turn_until_equal(&toy.cancelled, 1);
    turn_until_equal(&heard.stops, 1);
    ck_assert_uint_eq(toy.live, 0);
    ck_assert_uint_eq(parked_number(&toy), 1);
    ck_assert_uint_eq(block_backend_stats(toy.blk)->failed[BLOCK_OP_WRITE], 2);
}
END_TEST

static void coroutine_fn soft_reset_entry(void *data)
{
    block_backend_take_back_wait(toy.blk);
    *(bool *)data = true;
}

/* A soft reset that waits: for what the disk has got, and not for the end of another's drain. */
START_TEST(reset_waits)
{
    bool over = false;

    toy_plug(&toy, "d", &toy_ops, STOP);
    disk_fail(EIO);
    toy_write(&toy, 0, 1);
    turn_until_equal(&heard.stops, 1);
    __atomic_store_n(&disk.wait, true, __ATOMIC_SEQ_CST);
    toy_write(&toy, 1, 2);
    turn_until_equal(&disk.got, 2);
    coroutine_start(soft_reset_entry, &over);
    turn();
    ck_assert(!over);
    ck_assert_uint_eq(parked_number(&toy), 0);
    __atomic_store_n(&disk.wait, false, __ATOMIC_SEQ_CST);
    turn_until(&over);
    ck_assert_uint_eq(toy.cancelled, 1);
    ck_assert_uint_eq(toy.live, 0);
    ck_assert_uint_eq(heard.stops, 1);
    /* It takes requests again. */
    disk_fail(0);
    toy_write(&toy, 0, 3);
    turn_until_equal(&toy.ok, 1);
    over = false;
    block_run(drain, toy.blk);
    toy_write(&toy, 0, 4);
    coroutine_start(soft_reset_entry, &over);
    turn_until(&over);
    ck_assert_uint_eq(toy.cancelled, 2);
    ck_assert_uint_eq(toy.live, 0);
    block_backend_drain_end(toy.blk);
    ck_assert_uint_eq(disk.got, 3);
}
END_TEST

/* A device leaves while another's drain holds its requests. */
START_TEST(unplug_while_held)
{
    toy_plug(&toy, "d", &toy_ops, STOP);
    disk_fail(EIO);
    toy_write(&toy, 0, 1);
    turn_until_equal(&heard.stops, 1);
    block_run(drain, toy.blk);
    toy_write(&toy, 0, 2);
    toy_write(&toy, 1, 3);
    block_backend_detach(toy.blk, true);
    ck_assert_uint_eq(toy.cancelled, 2);
    ck_assert_uint_eq(toy.live, 0);
    ck_assert_uint_eq(disk.got, 1);
}
END_TEST

START_TEST(save_and_load)
{
    uint32_t words[4 * MANY], again[4 * MANY];
    size_t n;

    toy_plug(&toy, "d", &toy_ops, STOP);
    toy_plug(&other, "e", &toy_ops, STOP);
    disk_fail(EIO);
    toy_write(&toy, 1, 9);
    turn_until_equal(&heard.stops, 1);
    toy_submit(&toy, 0, BLOCK_OP_WRITE, 8, 20 * SECTOR);
    turn_until_equal(&heard.stops, 2);
    n = parked_words(&toy, words);
    ck_assert_uint_eq(n, 8);
    /* Saving changes nothing; what is loaded replaces what is there. */
    ck_assert_uint_eq(parked_words(&toy, again), n);
    ck_assert_mem_eq(words, again, n * sizeof *words);
    toy_write(&other, 0, 5);
    turn_until_equal(&heard.stops, 3);
    ck_assert(block_backend_load_parked(other.blk, words, n, CHANNELS));
    ck_assert_uint_eq(parked_words(&other, again), n);
    ck_assert_mem_eq(words, again, n * sizeof *words);
    disk_fail(0);
    cont(&other);
    turn_until_equal(&other.ok, 2);
    ck_assert_uint_eq(disk.data[9 * SECTOR], 10);
    ck_assert_uint_eq(disk.data[8 * SECTOR], 21);
    ck_assert_uint_eq(disk.data[5 * SECTOR], 0);
    /* Malformed: the end is missing, or a channel that does not exist. Nothing is parked then. */
    for (size_t cut = 1; cut < n; cut++) {
        ck_assert(block_backend_load_parked(toy.blk, words, cut, CHANNELS) == (cut == 4));
        ck_assert_uint_eq(parked_number(&toy), cut == 4);
    }
    ck_assert(!block_backend_load_parked(toy.blk, words, n, 1));
    words[4] = 0;
    ck_assert(!block_backend_load_parked(toy.blk, words, n, CHANNELS));
    ck_assert(block_backend_load_parked(toy.blk, words, 0, CHANNELS));
    ck_assert_uint_eq(parked_number(&toy), 0);
}
END_TEST

/* Words that make no sense break the device, and the rest is not looked at. */
START_TEST(hostile_words)
{
    static const uint32_t words[] = {3u << 16, BLOCK_OP_READ,
                                     1,        0, //
                                     2u << 16, 1,
                                     2, //
                                     3u << 16, BLOCK_OP_READ,
                                     2,        0};

    toy_plug(&toy, "d", &toy_ops, STOP);
    ck_assert(block_backend_load_parked(toy.blk, words, G_N_ELEMENTS(words), CHANNELS));
    cont(&toy);
    ck_assert(toy.broken);
    ck_assert_uint_eq(toy.rebuilt, 1);
    turn_until_equal(&toy.ok, 1);
    ck_assert_uint_eq(parked_number(&toy), 0);
}
END_TEST

typedef struct {
    unsigned channel;
    EventLoop *loop;
    GThread *thread;
} Channel;

static void *channel_main(void *data)
{
    event_loop_run(((Channel *)data)->loop);
    return NULL;
}

static void channel_submit(void *data)
{
    Channel *c = data;

    for (unsigned i = 0; i < MANY / CHANNELS; i++) {
        toy_write(&toy, c->channel, i % (SECTORS / CHANNELS) * CHANNELS + c->channel);
    }
}

static void channel_run(void *data)
{
    Channel *c = data;

    block_backend_unpark(toy.blk, c->channel);
}

/* Channels on different threads fail and go on at the same time. */
START_TEST(threads)
{
    Channel channels[CHANNELS];

    toy_plug(&toy, "d", &toy_ops, STOP);
    disk_fail(EIO);
    for (unsigned i = 0; i < CHANNELS; i++) {
        channels[i] = (Channel){.channel = i, .loop = event_loop_new("channel", NULL)};
        channels[i].thread = g_thread_new("channel", channel_main, &channels[i]);
    }
    for (unsigned i = 0; i < CHANNELS; i++) {
        event_loop_call(channels[i].loop, channel_submit, &channels[i]);
    }
    turn_until_equal(&heard.stops, MANY);
    ck_assert_uint_eq(parked_number(&toy), MANY);
    ck_assert_uint_eq(get(&toy.live), 0);
    disk_fail(0);
    block_io_status_reset_all();
    for (unsigned i = 0; i < CHANNELS; i++) {
        event_loop_call(channels[i].loop, channel_run, &channels[i]);
    }
    turn_until_equal(&toy.ok, MANY);
    for (unsigned i = 0; i < CHANNELS; i++) {
        event_loop_quit(channels[i].loop);
        g_thread_join(channels[i].thread);
        event_loop_free(channels[i].loop);
    }
    ck_assert_uint_eq(toy.live + toy.failed + toy.cancelled, 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        ck_assert_uint_eq(disk.data[i * SECTOR], i + 1);
    }
}
END_TEST

static void coroutine_fn settle(void *data)
{
    block_settle_all();
    *(bool *)data = true;
}

/* A VM that pauses waits for what another coroutine's drain holds: no saved state has it. */
START_TEST(settle_waits_for_held)
{
    bool settled = false;

    toy_plug(&toy, "d", &toy_ops, STOP);
    block_run(drain, toy.blk);
    toy_write(&toy, 0, 1);
    coroutine_start(settle, &settled);
    turn();
    ck_assert(!settled);
    __atomic_store_n(&disk.wait, true, __ATOMIC_SEQ_CST);
    block_backend_drain_end(toy.blk);
    turn_until_equal(&disk.got, 1);
    turn();
    ck_assert(!settled);
    __atomic_store_n(&disk.wait, false, __ATOMIC_SEQ_CST);
    turn_until(&settled);
    ck_assert_uint_eq(toy.ok, 1);
    ck_assert_uint_eq(block_backend_in_flight(toy.blk), 0);
}
END_TEST

typedef struct {
    BlockRequest io;
    struct iovec iov;
    int ret;
    bool done;
} CoRequest;

static void coroutine_fn co_request(void *data)
{
    CoRequest *r = data;

    r->ret = block_backend_co_io(toy.blk, &r->io);
    r->done = true;
}

static void co_request_start(CoRequest *r)
{
    *r = (CoRequest){.iov = {toy.buffer, SECTOR}};
    r->io = (BlockRequest){.op = BLOCK_OP_WRITE, .bytes = SECTOR, .iov = &r->iov, .niov = 1};
    coroutine_start(co_request, r);
}

/* A coroutine's request: it gets its error whatever the policy, and a pause waits for it, too. */
START_TEST(coroutines)
{
    bool settled = false;
    CoRequest r;

    toy_plug(&toy, "d", &toy_ops, STOP);
    disk_fail(EIO);
    co_request_start(&r);
    turn_until(&r.done);
    ck_assert_int_eq(r.ret, -EIO);
    ck_assert_uint_eq(heard.calls + parked_number(&toy), 0);
    disk_fail(0);
    block_run(drain, toy.blk);
    co_request_start(&r);
    coroutine_start(settle, &settled);
    turn();
    ck_assert(!r.done && !settled);
    block_backend_drain_end(toy.blk);
    turn_until(&settled);
    ck_assert(r.done);
    ck_assert_int_eq(r.ret, 0);
    ck_assert_uint_eq(disk.data[0], 1);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        policies,
        memory_fails,
        order,
        no_room,
        soft_reset,
        reset_while_held,
        reset_in_flight,
        reset_waits,
        unplug_while_held,
        save_and_load,
        hostile_words,
        threads,
        settle_waits_for_held,
        coroutines,
        NULL,
    };

    return fixture_run_with("parking", tests, toy_setup, toy_teardown);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI disk by a toy transport: the commands of SBC, their errors, steps that are parked, and
 * the state in the middle. (ATAPI's tests have the commands of a CD drive.)
 */
#include "../vm/fixture.h"

#include <errno.h>
#include "base/iov.h"
#include "block/media.h"
#include "cd_sector.h"
#include "scsi.h"
#include "memdisk.h"

enum { BLOCK = 512, BLOCKS = MEMDISK_SIZE / BLOCK, ROOM = 256 * 1024 };

typedef struct {
    Device dev;
    ScsiUnit unit;
    ScsiRequest request;
} Toy;

static Toy *toy;
static uint8_t data[ROOM];
static struct iovec iov[2];
static bool stepping;
static uint32_t moved_now;

static void toy_progress(ScsiRequest *r, uint32_t moved)
{
    stepping = false;
    moved_now = moved;
}

static bool toy_step(ScsiRequest *r)
{
    uint32_t bytes = scsi_step_bytes(r), first = MIN(bytes, 1000);

    stepping = true;
    if (r->s.phase == SCSI_PHASE_WORK) {
        return scsi_work(r);
    }
    iov[0] = (struct iovec){data + r->s.position, first};
    iov[1] = (struct iovec){data + r->s.position + first, bytes - first};
    return scsi_move(r, iov, 2, bytes, &moved_now);
}

static bool toy_rebuild(ScsiUnit *u, const uint32_t *words, size_t n)
{
    uint32_t own[SCSI_DESCRIBED_WORDS];

    scsi_describe(&toy->request, own);
    ck_assert_uint_eq(n, SCSI_DESCRIBED_WORDS);
    ck_assert_mem_eq(words, own, sizeof own);
    ck_assert(!toy_step(&toy->request));
    return true;
}

static const ScsiTransport transport = {.progress = toy_progress, .rebuild = toy_rebuild};

static const DeviceClass toy_class = {
    .name = "toy-scsi",
    .bus = "System",
    .size = sizeof(Toy),
    .state = device_no_state,
    .realize = device_no_realize,
    .reset = device_no_reset,
};

static void setup_drive(const char *options)
{
    static const DeviceClass *const classes[] = {&toy_class, NULL};
    BlockBackend *blk;

    fixture_setup();
    memdisk_install();
    for (unsigned i = 0; i < MEMDISK_SIZE; i++) {
        memdisk.data[i] = i / BLOCK * 3 + i;
    }
    device_set_classes(classes);
    toy = container_of(device_new(vm, "toy-scsi", NULL, "toy", NULL, NULL), Toy, dev);
    memdisk_drive("d0", options);
    blk = block_backend_attach("d0", "toy", 0, &scsi_disk_block_ops, &toy->unit, NULL);
    ck_assert_ptr_nonnull(blk);
    toy->unit.original_write_cache = true;
    toy->unit.identity = (ScsiIdentity){
        .vendor = "vendor",
        .product = "a product of a long name",
        .version = "1.0",
        .serial = "serial",
        .wwn = 0x5000c500a1b2c3d4,
        .cyls = 8,
        .heads = 16,
        .secs = 63,
        .block_size = BLOCK,
        .physical_block_size = 4096,
        .discard_granularity = 4096,
        .opt_io_size = 65536,
        .rotation_rate = 1,
    };
    scsi_init(&toy->unit, &toy->dev, &scsi_disk_type, blk, &transport);
    toy->request.unit = &toy->unit;
    scsi_power_on(&toy->unit);
}

static void setup(void)
{
    setup_drive(",werror=report");
}

static void teardown(void)
{
    block_backend_detach(toy->unit.blk, false);
    scsi_destroy(&toy->unit);
    block_backend_free_all();
    fixture_teardown();
}

static void turn(void)
{
    while (stepping) {
        event_loop_iterate(loop, -1);
    }
}

/* Runs a command; its data goes from or to 'data'. Returns its sense data, 0: well. */
static uint32_t command_of_length(const uint8_t *cdb, size_t len)
{
    ScsiRequest *r = &toy->request;

    device_lock(&toy->dev);
    scsi_begin(r, 0, cdb, len);
    while (r->s.phase != SCSI_PHASE_DONE) {
        if (!toy_step(r)) {
            device_unlock(&toy->dev);
            turn();
            device_lock(&toy->dev);
        }
        stepping = false;
    }
    device_unlock(&toy->dev);
    ck_assert_uint_eq(r->s.status, r->s.sense.key ? SCSI_CHECK_CONDITION : SCSI_GOOD);
    return r->s.sense.key << 16 | r->s.sense.asc << 8 | r->s.sense.ascq;
}

typedef uint8_t Cdb[16];

static uint32_t command(const uint8_t *cdb)
{
    static const uint8_t lengths[8] = {6, 10, 10, 0, 16, 12, 0, 0};

    return command_of_length(cdb, lengths[cdb[0] >> 5] ? lengths[cdb[0] >> 5] : 16);
}

#define run(...)           command((Cdb){__VA_ARGS__})
#define ok(...)            ck_assert_uint_eq(run(__VA_ARGS__), 0)
#define refused(want, ...) ck_assert_uint_eq(run(__VA_ARGS__), want)
#define moved()            (toy->request.s.position)

static void power_on(void)
{
    ck_assert_uint_eq(run(0), 0x062900);
}

/* There is something to flush. */
static void dirty(void)
{
    ok(0x2a, [4] = 0x10, [8] = 1);
}

START_TEST(about_the_unit)
{
    ok(0x12, 0, 0, 0, 96); /* which does not take the unit attention */
    ck_assert_mem_eq(data, "\0\0\5\2\x1f\0\0\0vendor  a product of a l1.0 ", 36);
    power_on();
    ok(0);
    ok(0x12, 1, 0, 0, 96);
    ck_assert_mem_eq(data, "\0\0\0\6\0\x80\x83\xb0\xb1\xb2", 10);
    ok(0x12, 1, 0x83, 0, 96);
    ck_assert_mem_eq(data, "\0\x83\0\x16\2\0\0\6serial\1\3\0\x8\x50\0\xc5\0\xa1\xb2\xc3\xd4", 26);
    ok(0x12, 1, 0xb0, 0, 96);
    ck_assert_uint_eq(moved(), 64);
    ck_assert_uint_eq(ldbe32(data + 12), 128);
    ck_assert_uint_eq(ldbe32(data + 24), 255);
    ck_assert_uint_eq(ldbe32(data + 28), 8);
    ok(0x12, 1, 0xb1, 0, 96);
    ck_assert_uint_eq(ldbe16(data + 4), 1);
    ok(0x12, 1, 0xb2, 0, 96);
    ck_assert_mem_eq(data, "\0\xb2\0\4\0\xe0\2\0", 8);
    ok(0x25);
    ck_assert_uint_eq(ldbe32(data), BLOCKS - 1);
    ck_assert_uint_eq(ldbe32(data + 4), BLOCK);
    ok(0x9e, 0x10, [13] = 32);
    ck_assert_uint_eq(ldbe64(data), BLOCKS - 1);
    ck_assert_uint_eq(data[13], 3);
    ck_assert_uint_eq(data[14], 0x80);
    refused(0x052400, 0x9e, 0x11, [13] = 32);
    refused(0x052000, 0x43);
    refused(0x052000, 0xff);
    refused(0x052000, 0x7f);
    ck_assert_uint_eq(command_of_length((Cdb){0x28, [8] = 1}, 6), 0x052400);
}
END_TEST

START_TEST(other_units)
{
    ScsiRequest *r = &toy->request;

    scsi_begin(r, 1, (Cdb){0x12, 0, 0, 0, 36}, 6);
    ck_assert_uint_eq(r->s.phase, SCSI_PHASE_DATA);
    ck_assert_uint_eq(r->s.buffer[0], 0x7f);
    scsi_begin(r, 7, (Cdb){0}, 6);
    ck_assert_uint_eq(r->s.status, SCSI_CHECK_CONDITION);
    ck_assert_uint_eq(r->s.sense.asc, 0x25);
    scsi_begin(r, 1, (Cdb){0x03, 0, 0, 0, 18}, 6);
    ck_assert_uint_eq(r->s.buffer[12], 0x25);
    power_on(); /* the attention of unit 0 is still there */
}
END_TEST

static void check_block(uint32_t lba, const uint8_t *block)
{
    ck_assert_mem_eq(block, memdisk.data + lba * BLOCK, BLOCK);
}

static void fill(unsigned seed, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = i * seed + (i >> 9);
    }
}

START_TEST(reading_and_writing)
{
    power_on();
    ok(0x08, 0, 1, 2, 3);
    ck_assert_uint_eq(moved(), 3 * BLOCK);
    check_block(0x102, data);
    check_block(0x104, data + 2 * BLOCK);
    ok(0x08, 0, 0, 5, 0);
    ck_assert_uint_eq(moved(), 256 * BLOCK);
    ok(0x28, [5] = 7, [8] = 9);
    check_block(15, data + 8 * BLOCK);
    ok(0xa8, [5] = 8, [9] = 200);
    check_block(207, data + 199 * BLOCK);
    ok(0x88, [9] = 9, [13] = 1);
    check_block(9, data);
    ok(0x28, [8] = 0);
    ck_assert_uint_eq(moved(), 0);
    fill(7, 200 * BLOCK);
    ok(0x0a, 0, 0, 30, 2);
    check_block(31, data + BLOCK);
    fill(5, 200 * BLOCK);
    ok(0x2a, [5] = 40, [8] = 200);
    check_block(239, data + 199 * BLOCK);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 0);
    fill(9, BLOCK);
    ok(0xaa, 8, [5] = 41, [9] = 1); /* FUA */
    check_block(41, data);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 1);
    fill(11, BLOCK);
    ok(0x8a, [9] = 42, [13] = 1);
    check_block(42, data);
    /* Past the end. */
    refused(0x052100, 0x28, [4] = 0x1f, 0xff, [8] = 2);
    refused(0x052100, 0x2a, [4] = 0x20, 0, [8] = 1);
    refused(0x052100, 0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1);
    refused(0x052100, 0xa8, [6] = 0xff, 0xff, 0xff, 0xff);
    refused(0x052400, 0x28, 0x20, [8] = 1);
    ok(0x0b);
    refused(0x052100, 0x2b, [4] = 0x20);
    /* SYNCHRONIZE CACHE, and what fails. */
    ok(0x35);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 2);
    dirty();
    ok(0x91);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 3);
    refused(0x052100, 0x35, [4] = 0x20, 0, [8] = 1);
    memdisk.error[BLOCK_OP_READ] = EIO;
    refused(0x031100, 0x28, [5] = 7, [8] = 9);
    ck_assert_uint_eq(toy->request.s.sense.information, 7);
    memdisk.error[BLOCK_OP_WRITE] = ENOSPC;
    refused(0x072707, 0x2a, [5] = 7, [8] = 9);
    memdisk.error[BLOCK_OP_WRITE] = EIO;
    refused(0x030c00, 0x2a, [5] = 7, [8] = 9);
    memdisk.error[BLOCK_OP_WRITE] = 0;
    dirty();
    memdisk.error[BLOCK_OP_FLUSH] = EIO;
    refused(0x030c00, 0x35);
    ok(0x03, 0, 0, 0, 18);
    ck_assert_mem_eq(data, "\x70\0\3\0\0\0\0\12\0\0\0\0\x0c\0", 14);
    ok(0x03, 0, 0, 0, 18);
    ck_assert_uint_eq(data[2], 0);
}
END_TEST

START_TEST(verifying)
{
    power_on();
    ok(0x2f, [5] = 1, [7] = 2, 0);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_READ], 4);
    memcpy(data, memdisk.data + 20 * BLOCK, 300 * BLOCK);
    ok(0x2f, 2, [5] = 20, [7] = 1, 44);
    ck_assert_uint_eq(moved(), 300 * BLOCK);
    data[299 * BLOCK + 17] ^= 1;
    refused(0x0e1d00, 0x2f, 2, [5] = 20, [7] = 1, 44);
    refused(0x0e1d00, 0x8f, 2, [9] = 20, [12] = 1, 44);
    refused(0x052400, 0xaf, 6, [5] = 20, [9] = 1);
    memdisk.error[BLOCK_OP_READ] = EIO;
    refused(0x031100, 0xaf, [5] = 20, [9] = 1);
}
END_TEST

static void unmap_entry(unsigned n, uint64_t lba, uint32_t blocks)
{
    stbe64(data + 8 + 16 * n, lba);
    stbe32(data + 16 + 16 * n, blocks);
    stbe16(data, 6 + 16 * (n + 1));
    stbe16(data + 2, 16 * (n + 1));
}

START_TEST(unmapping)
{
    power_on();
    memset(data, 0, 4096);
    unmap_entry(0, 8, 8);
    unmap_entry(1, 100, 0);
    unmap_entry(2, BLOCKS - 8, 8);
    ok(0x42, [8] = 8 + 48);
    ck_assert_uint_eq(memdisk.data[8 * BLOCK], 0xdd);
    ck_assert_uint_eq(memdisk.data[16 * BLOCK - 1], 0xdd);
    ck_assert_uint_eq(memdisk.data[MEMDISK_SIZE - 1], 0xdd);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_DISCARD], 2);
    /* One that is wrong, and none is obeyed. */
    unmap_entry(2, BLOCKS - 8, 9);
    refused(0x052100, 0x42, [8] = 8 + 48);
    unmap_entry(2, UINT64_MAX, UINT32_MAX);
    refused(0x052100, 0x42, [8] = 8 + 48);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_DISCARD], 2);
    refused(0x051a00, 0x42, [8] = 8 + 32);
    refused(0x051a00, 0x42, [8] = 4);
    refused(0x052400, 0x42, [7] = 0xff, 0xff);
    refused(0x052400, 0x42, 1, [8] = 24);
    ok(0x42);
    memset(data, 0, 8);
    ok(0x42, [8] = 8);
    toy->unit.identity.discard_granularity = 0;
    refused(0x052000, 0x42, [8] = 24);
    refused(0x052400, 0x93, 8, [13] = 1);
}
END_TEST

START_TEST(writing_same)
{
    power_on();
    fill(3, BLOCK);
    ok(0x41, [5] = 50, [7] = 1, 0x2c);
    for (unsigned i = 0; i < 300; i++) {
        check_block(50 + i, data);
    }
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_WRITE], 3);
    memset(data, 0, BLOCK);
    ok(0x93, [9] = 60, [13] = 100);
    check_block(159, data);
    ck_assert(!memdisk.unmapped);
    ok(0x93, 8, [9] = 160, [13] = 100);
    ck_assert(memdisk.unmapped);
    check_block(259, data);
    ok(0x93, 1, [9] = 255, [13] = 100);
    ck_assert_uint_eq(moved(), 0);
    check_block(354, data);
    ck_assert_uint_ne(memdisk.data[355 * BLOCK + 1], 0);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_WRITE], 3);
    refused(0x052400, 0x41);
    refused(0x052400, 0x41, 1, [8] = 1);
    refused(0x052400, 0x93, 0x10, [13] = 1);
    refused(0x052100, 0x93, [8] = 0x1f, 0xff, [13] = 2);
}
END_TEST

START_TEST(mode_pages)
{
    static const uint8_t off[24] = {[3] = 8, [10] = 2, [12] = 8, 18};

    power_on();
    ok(0x1a, 0, 0x08, 0, 255);
    ck_assert_mem_eq(data, "\x1f\0\x10\x8\0\0\x20\0\0\0\2\0\x8\x12\4", 15);
    ok(0x1a, 8, 0x48, 0, 255);
    ck_assert_uint_eq(moved(), 24);
    ck_assert_uint_eq(data[6], 4);
    ok(0x5a, 8, 0x3f, [7] = 1);
    ck_assert_uint_eq(moved(), 8 + 12 + 24 + 24 + 20 + 12);
    ok(0x5a, 8, 0x04, [7] = 1);
    ck_assert_uint_eq(data[8 + 4], 8);
    ck_assert_uint_eq(data[8 + 5], 16);
    /* Write cache off: what is in it is written. */
    dirty();
    memcpy(data, off, 24);
    memset(data + 14, 0, 18);
    ok(0x15, 0x10, 0, 0, 32);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 1);
    ck_assert(!block_backend_write_cache(toy->unit.blk));
    ok(0x1a, 8, 0x08, 0, 255);
    ck_assert_uint_eq(data[6], 0);
    /* What cannot be changed, and lists that are wrong. */
    memcpy(data, off, 24);
    memset(data + 14, 0, 18);
    data[15] = 1;
    refused(0x052600, 0x15, 0x10, 0, 0, 32);
    data[15] = 0;
    data[10] = 4;
    refused(0x052600, 0x15, 0x10, 0, 0, 32);
    data[10] = 2;
    data[3] = 200;
    refused(0x051a00, 0x15, 0x10, 0, 0, 32);
    data[3] = 8;
    refused(0x051a00, 0x15, 0x10, 0, 0, 31);
    refused(0x051a00, 0x15, 0x10, 0, 0, 3);
    data[13] = 17;
    refused(0x052600, 0x15, 0x10, 0, 0, 32);
    refused(0x053900, 0x1a, 0, 0xc8, 0, 255);
    refused(0x052400, 0x1a, 0, 0x2a, 0, 255);
}
END_TEST

START_TEST(stopping)
{
    power_on();
    dirty();
    ok(0x1b, 0, 0, 0, 0);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_FLUSH], 1);
    refused(0x020402, 0);
    refused(0x020402, 0x28, [8] = 1);
    ok(0x1b, 0, 0, 0, 1);
    ok(0x28, [8] = 1);
    scsi_bus_reset(&toy->unit);
    refused(0x062902, 0);
}
END_TEST

START_TEST(read_only)
{
    teardown();
    setup_drive(",readonly=on,werror=report");
    power_on();
    refused(0x072700, 0x2a, [8] = 1);
    refused(0x072700, 0x42, [8] = 24);
    refused(0x072700, 0x41, [8] = 1);
    ok(0x1a, 8, 0x08, 0, 255);
    ck_assert_uint_eq(data[2], 0x90);
    ok(0x28, [8] = 1);
}
END_TEST

/* A host that insists may have told the device before the guest locks the medium once more. */
START_TEST(medium_lock)
{
    toy->unit.type = &scsi_cd_type;
    power_on();
    ok(0x1e, [4] = 1);
    ck_assert(block_backend_medium_locked(toy->unit.blk));
    refused(0x055302, 0x1b, [4] = 2);
    block_backend_lock_medium(toy->unit.blk, false);
    ok(0x5a, 0, 0x2a, [8] = 255);
    ck_assert_uint_eq(data[14], 0x29);
    ok(0x1b, [4] = 2);
    ck_assert(block_backend_tray_open(toy->unit.blk));
}
END_TEST

/* Data that stops short. */
START_TEST(stops)
{
    ScsiRequest *r = &toy->request;

    power_on();
    scsi_begin(r, 0, (Cdb){0x28, [8] = 4}, 10);
    scsi_stop(r);
    ck_assert_uint_eq(r->s.phase, SCSI_PHASE_DONE);
    ck_assert_uint_eq(r->s.status, SCSI_GOOD);
    scsi_begin(r, 0, (Cdb){0x15, 0x10, 0, 0, 32}, 6);
    scsi_stop(r);
    ck_assert_uint_eq(r->s.sense.asc, 0x1a);
}
END_TEST

static const struct {
    BlockOp op;
    Cdb cdb;
} parked[] = {
    {BLOCK_OP_READ, {0x28, [5] = 3, [8] = 200}},
    {BLOCK_OP_WRITE, {0x2a, [5] = 3, [8] = 200}},
    {BLOCK_OP_FLUSH, {0x35}},
    {BLOCK_OP_READ, {0x2f, [5] = 3, [7] = 2}},
    {BLOCK_OP_READ, {0x2f, 2, [5] = 3, [8] = 200}},
    {BLOCK_OP_DISCARD, {0x42, [8] = 8 + 32}},
    {BLOCK_OP_WRITE, {0x41, [5] = 50, [7] = 2}},
    {BLOCK_OP_WRITE_ZEROES, {0x93, 1, [9] = 50, [13] = 200}},
};

static size_t cdb_length(uint8_t code)
{
    return code >= 0x80 ? 16 : 10;
}

/* A step of each kind fails, stops, and is made again; and is given up by a reset. */
START_TEST(parking)
{
    ScsiRequest *r;
    BlockOp op = parked[_i / 2].op;

    teardown();
    setup_drive(",rerror=stop,werror=stop");
    r = &toy->request;
    power_on();
    dirty();
    memset(data, 0, 4096);
    unmap_entry(0, 8, 8);
    unmap_entry(1, 100, 8);
    if (parked[_i / 2].cdb[0] == 0x2f) {
        memcpy(data, memdisk.data + 3 * BLOCK, 200 * BLOCK);
    } else if (parked[_i / 2].cdb[0] == 0x41) {
        fill(3, BLOCK);
    }
    memdisk.error[op] = EIO;
    scsi_begin(r, 0, parked[_i / 2].cdb, cdb_length(parked[_i / 2].cdb[0]));
    while (!scsi_busy(&toy->unit)) {
        device_lock(&toy->dev);
        toy_step(r);
        device_unlock(&toy->dev);
    }
    while (toy->unit.in_flight) {
        event_loop_iterate(loop, -1);
    }
    ck_assert(scsi_busy(&toy->unit));
    ck_assert(stepping);
    memdisk.error[op] = 0;
    if (_i % 2) {
        scsi_abort(r);
        scsi_power_on(&toy->unit);
        ck_assert(!scsi_busy(&toy->unit));
        power_on();
        ok(0x28, [5] = 9, [8] = 1);
        check_block(9, data);
        return;
    }
    scsi_pre_save(&toy->unit);
    ck_assert_uint_ne(toy->unit.s.parked_words, 0);
    block_io_status_reset_all();
    device_lock(&toy->dev);
    scsi_unpark(&toy->unit);
    device_unlock(&toy->dev);
    turn();
    while (r->s.phase != SCSI_PHASE_DONE) {
        device_lock(&toy->dev);
        if (toy_step(r)) {
            stepping = false;
        }
        device_unlock(&toy->dev);
        turn();
    }
    ck_assert_uint_eq(r->s.status, SCSI_GOOD);
    if (op == BLOCK_OP_READ && parked[_i / 2].cdb[0] == 0x28) {
        check_block(202, data + 199 * BLOCK);
    } else if (parked[_i / 2].cdb[0] == 0x2a) {
        check_block(202, data + 199 * BLOCK);
    } else if (op == BLOCK_OP_DISCARD) {
        ck_assert_uint_eq(memdisk.data[107 * BLOCK], 0xdd);
    }
}
END_TEST

/* The codes of a sector, by what they promise (ECMA-130, annexes A and B). */
START_TEST(raw_sectors)
{
    uint8_t sector[CD_SECTOR_SIZE], user[2048], alpha[256], log[256];
    uint32_t crc = 0, poly = 0;
    unsigned power = 1;

    for (unsigned i = 0; i < 255; i++) {
        alpha[i] = power;
        log[power] = i;
        power = power << 1 ^ (power & 0x80 ? 0x11d : 0);
    }
    for (unsigned i = 0; i < sizeof user; i++) {
        user[i] = i * 37 + (i >> 7);
    }
    cd_sector_mode_1(sector, 150 + 4500 * 7 + 75 * 12 + 34, user);
    ck_assert_mem_eq(sector + 12, "\x07\x14\x34\x01", 4);
    /* The polynomial's powers: (x^16+x^15+x^2+1)(x^16+x^2+x+1), lowest bit first. */
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < 4; j++) {
            unsigned n = (unsigned[]){16, 15, 2, 0}[i] + (unsigned[]){16, 2, 1, 0}[j];

            poly ^= n < 32 ? 1u << (31 - n) : 0;
        }
    }
    for (unsigned i = 0; i < 2068 * 8; i++) {
        crc ^= sector[i / 8] >> i % 8 & 1;
        crc = crc >> 1 ^ (crc & 1 ? poly : 0);
    }
    ck_assert_uint_eq(crc, 0);
    for (unsigned code = 0; code < 138; code++) {
        bool p = code < 86;
        unsigned n = p ? 26 : 45, word = p ? code : code - 86, sum = 0, weighted = 0;

        for (unsigned i = 0; i < n; i++) {
            unsigned at = p        ? 12 + word + 86 * i
                          : i < 43 ? 12 + 2 * ((word / 2 * 43 + i * 44) % 1118) + word % 2
                                   : 12 + 2236 + word + 52 * (i - 43);

            sum ^= sector[at];
            weighted ^= sector[at] ? alpha[(log[sector[at]] + n - 1 - i) % 255] : 0;
        }
        ck_assert_uint_eq(sum, 0);
        ck_assert_uint_eq(weighted, 0);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("scsi");
    const TTest *const tests[] = {about_the_unit,
                                  other_units,
                                  reading_and_writing,
                                  verifying,
                                  unmapping,
                                  writing_same,
                                  mode_pages,
                                  stopping,
                                  read_only,
                                  stops,
                                  medium_lock,
                                  raw_sectors,
                                  NULL};

    tcase_add_checked_fixture(tcase, setup, teardown);
    for (unsigned i = 0; tests[i]; i++) {
        tcase_add_test(tcase, tests[i]);
    }
    tcase_add_loop_test(tcase, parking, 0, 2 * G_N_ELEMENTS(parked));
    return unit_run_case("scsi", tcase);
}

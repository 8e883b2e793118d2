/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of IDE's drives that fail under rerror=stop and werror=stop: every kind that there is
 * waits, is saved with the state, is made again, or is forgotten by a reset.
 */
#include "../vm/fixture.h"

#include <errno.h>
#include "devices/devices.h"
#include "base/reclaim.h"
#include "devices/pci.h"
#include "memdisk.h"
#include "vm/vcpu.h"

enum {
    BASE = 0x1f0,
    CONTROL = 0x3f6,
    BM = 0xc000,
    TABLE = 0x1000,
    MEMORY = 0x8000,
    RAM = 1 << 20,
    ERR = 0x01,
    DRQ = 0x08,
    BSY = 0x80,
};

static RamBlock *ram;
static IoRegion region;
static PciBus *pci;
static Device *controller, *drive;
static BlockBackend *blk;

static uint64_t port(uint16_t number, uint64_t value, unsigned size, bool write)
{
    cpu_access(vm, IO_SPACE_PIO, number, &value, size, write);
    return value;
}

static void out(uint16_t number, uint8_t value)
{
    port(number, value, 1, true);
}

static uint8_t in(uint16_t number)
{
    return port(number, 0, 1, false);
}

/* The drive: 'ide-hd' or 'ide-cd'. */
static void board(const char *class, const char *options)
{
    GError *err = NULL;
    Device *host;

    fixture_setup();
    device_set_classes(all_device_classes);
    memdisk_install();
    for (unsigned i = 0; i < MEMDISK_SIZE; i++) {
        memdisk.data[i] = i / 512 * 3 + i;
    }
    ram = ram_block_new(vm, "ram", RAM, &err);
    io_region_init_ram(&region, NULL, ram, 0, RAM, false, "ram");
    io_region_map(vm, &region, IO_SPACE_MEM, 0, 0);
    host = device_new(vm, "i440FX-pcihost", NULL, NULL, &err, NULL);
    pci = host->buses->pdata[0];
    ck_assert(device_new(vm, "PIIX3", &pci->bus, NULL, &err, "addr", "1.0", NULL) != NULL);
    controller = device_new(vm, "piix3-ide", &pci->bus, NULL, &err, "addr", "1.1", NULL);
    ck_no_error(err);
    blk = memdisk_drive("d0", options);
    drive =
        device_new(vm, class, bus_find(vm, "ide.0", "IDE", NULL), NULL, &err, "drive", "d0", NULL);
    ck_no_error(err);
    device_lock(drive);
    device_reset(controller, RESET_COLD);
    device_reset(drive, RESET_COLD);
    drive->class->run_state(drive, true);
    device_unlock(drive);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x20, BM | 1, 4);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x04, 5, 2);
}

static void teardown(void)
{
    vm_free(vm);
    block_backend_free_all();
    reclaim_set_loop(NULL);
    reclaim_poll();
    event_loop_free(loop);
    g_array_unref(slots);
}

/* What the guest does. */

static void dma(bool to_memory, unsigned bytes)
{
    uint32_t entry[2] = {MEMORY, 0x80000000 | bytes};

    memcpy(ram->host + TABLE, entry, sizeof entry);
    port(BM + 4, TABLE, 4, true);
    out(BM, to_memory ? 9 : 1);
}

static void task(uint8_t command, unsigned lba, unsigned count)
{
    out(BASE + 6, 0xe0);
    out(BASE + 2, count);
    out(BASE + 3, lba);
    out(BASE + 4, lba >> 8);
    out(BASE + 5, lba >> 16);
    out(BASE + 7, command);
}

static void packet(const uint8_t *bytes, bool by_dma)
{
    out(BASE + 1, by_dma);
    out(BASE + 4, 0);
    out(BASE + 5, 8);
    out(BASE + 7, 0xa0);
    for (unsigned i = 0; i < 12; i += 2) {
        port(BASE, bytes[i] | bytes[i + 1] << 8, 2, true);
    }
}

static void data_out(unsigned seed, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        port(BASE, (uint16_t)(i * seed), 2, true);
    }
}

static void data_in(const uint8_t *want, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        uint16_t word = port(BASE, 0, 2, false);

        ck_assert_mem_eq(&word, want + i, 2);
    }
}

typedef struct {
    const char *name, *class;
    BlockOp op;
    void (*begin)(void);
    void (*check)(void); /* when it has gone well in the end */
} Case;

static void hd_read(void)
{
    task(0x20, 7, 2);
}

static void hd_read_check(void)
{
    data_in(memdisk.data + 7 * 512, 512);
}

static void hd_read_dma(void)
{
    task(0xc8, 7, 8);
    dma(true, 8 * 512);
}

static void hd_read_dma_check(void)
{
    ck_assert_mem_eq(ram->host + MEMORY, memdisk.data + 7 * 512, 8 * 512);
}

static void hd_verify(void)
{
    task(0x40, 7, 40);
}

static void nothing(void)
{
}

static void hd_write(void)
{
    task(0x30, 9, 1);
    data_out(3, 512);
}

static void hd_write_check(void)
{
    for (unsigned i = 0; i < 512; i += 2) {
        ck_assert_uint_eq(memdisk.data[9 * 512 + i], i * 3 & 255);
    }
}

static void hd_flush(void)
{
    task(0x30, 9, 1);
    data_out(3, 512);
    while (in(CONTROL)&BSY) {
        event_loop_iterate(loop, -1);
    }
    task(0xe7, 0, 0);
}

static void hd_trim(void)
{
    const uint64_t entries[] = {100 | 8ull << 48, 0, 300 | 16ull << 48};

    memset(ram->host + MEMORY, 0, 512);
    memcpy(ram->host + MEMORY, entries, sizeof entries);
    out(BASE + 1, 1);
    out(BASE + 2, 0);
    task(0x06, 0, 1);
    dma(false, 512);
}

static void hd_trim_check(void)
{
    ck_assert_uint_eq(memdisk.data[100 * 512], 0xdd);
    ck_assert_uint_eq(memdisk.data[315 * 512], 0xdd);
    ck_assert_uint_ne(memdisk.data[316 * 512 + 5], 0xdd);
}

static void cd_read(void)
{
    packet((uint8_t[12]){0x28, [5] = 7, [8] = 3}, false);
}

static void cd_read_check(void)
{
    data_in(memdisk.data + 7 * 2048, 2048);
}

static void cd_read_dma(void)
{
    packet((uint8_t[12]){0x28, [5] = 7, [8] = 3}, true);
    dma(true, 3 * 2048);
}

static void cd_read_dma_check(void)
{
    ck_assert_mem_eq(ram->host + MEMORY, memdisk.data + 7 * 2048, 3 * 2048);
}

static void cd_read_raw(void)
{
    packet((uint8_t[12]){0xbe, [5] = 7, [8] = 3, 0xf8}, true);
    dma(true, 3 * 2352);
}

static void cd_read_raw_check(void)
{
    ck_assert_mem_eq(ram->host + MEMORY + 2352 + 16, memdisk.data + 8 * 2048, 2048);
}

static void cd_verify(void)
{
    packet((uint8_t[12]){0x2f, [5] = 7, [8] = 100}, false);
}

static const Case cases[] = {
    {"read", "ide-hd", BLOCK_OP_READ, hd_read, hd_read_check},
    {"read-dma", "ide-hd", BLOCK_OP_READ, hd_read_dma, hd_read_dma_check},
    {"verify", "ide-hd", BLOCK_OP_READ, hd_verify, nothing},
    {"write", "ide-hd", BLOCK_OP_WRITE, hd_write, hd_write_check},
    {"flush", "ide-hd", BLOCK_OP_FLUSH, hd_flush, hd_write_check},
    {"trim", "ide-hd", BLOCK_OP_DISCARD, hd_trim, hd_trim_check},
    {"cd-read", "ide-cd", BLOCK_OP_READ, cd_read, cd_read_check},
    {"cd-read-dma", "ide-cd", BLOCK_OP_READ, cd_read_dma, cd_read_dma_check},
    {"cd-read-raw", "ide-cd", BLOCK_OP_READ, cd_read_raw, cd_read_raw_check},
    {"cd-verify", "ide-cd", BLOCK_OP_READ, cd_verify, nothing},
};

/* The machine's part: it stands still after the failure, and goes on. */

static void wait_parked(void)
{
    while (block_backend_in_flight(blk) || !(in(CONTROL) & (BSY | DRQ)) ||
           !(memdisk.requests[BLOCK_OP_READ] + memdisk.requests[BLOCK_OP_WRITE] +
             memdisk.requests[BLOCK_OP_FLUSH] + memdisk.requests[BLOCK_OP_DISCARD])) {
        event_loop_iterate(loop, -1);
    }
    while (event_loop_iterate(loop, 0)) {
    }
    device_lock(drive);
    drive->class->run_state(drive, false);
    device_unlock(drive);
}

static void go_on(void)
{
    block_io_status_reset_all();
    device_lock(drive);
    drive->class->run_state(drive, true);
    device_unlock(drive);
}

static void wait_over(const Case *c)
{
    while (in(CONTROL)&BSY || (in(CONTROL)&DRQ && strstr(c->name, "dma")) ||
           block_backend_in_flight(blk)) {
        event_loop_iterate(loop, -1);
    }
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_uint_eq(in(CONTROL)&ERR, 0);
    c->check();
}

static void begin(const Case *c)
{
    board(c->class,
          !strcmp(c->class, "ide-cd") ? ",media=cdrom,rerror=stop" : ",rerror=stop,werror=stop");
    if (!strcmp(c->class, "ide-cd")) { /* the unit attention */
        packet((uint8_t[12]){0}, false);
        ck_assert_uint_eq(in(BASE + 7) & ERR, ERR);
    }
    memdisk.error[c->op] = EIO;
    c->begin();
    wait_parked();
}

START_TEST(made_again)
{
    const Case *c = &cases[_i];

    begin(c);
    ck_assert_uint_eq(in(CONTROL)&ERR, 0);
    go_on(); /* it fails again */
    wait_parked();
    ck_assert_uint_eq(in(CONTROL)&ERR, 0);
    memdisk.error[c->op] = 0;
    go_on();
    wait_over(c);
}
END_TEST

START_TEST(loaded)
{
    const Case *c = &cases[_i];
    GByteArray *saved = g_byte_array_new();
    GError *err = NULL;

    begin(c);
    memdisk.error[c->op] = 0;
    ck_assert(vm_save_devices(vm, saved, &err));
    device_lock(drive);
    device_reset(drive, RESET_COLD);
    device_unlock(drive);
    ck_assert(vm_load_devices(vm, saved->data, saved->len, &err));
    ck_no_error(err);
    go_on();
    wait_over(c);
    g_byte_array_free(saved, true);
}
END_TEST

/* A PIO command is read by few requests; but the sectors before a bad one are delivered. */
static int bad_sector(uint64_t offset, uint64_t bytes)
{
    return offset <= 12 * 512 && offset + bytes > 12 * 512 ? EIO : 0;
}

static uint8_t wait_status(void)
{
    while (in(CONTROL)&BSY) {
        event_loop_iterate(loop, -1);
    }
    return in(CONTROL);
}

START_TEST(read_ahead)
{
    board("ide-hd", ",rerror=report");
    task(0x20, 20, 40);
    for (unsigned i = 0; i < 40; i++) {
        ck_assert_uint_eq(wait_status() & (DRQ | ERR), DRQ);
        in(BASE + 7);
        data_in(memdisk.data + (20 + i) * 512, 512);
    }
    ck_assert_uint_eq(wait_status() & (DRQ | ERR), 0);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_READ], 1 + 3); /* one looks for partitions */
    memdisk.bad = bad_sector;
    task(0x20, 9, 10);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(wait_status() & (DRQ | ERR), DRQ);
        data_in(memdisk.data + (9 + i) * 512, 512);
    }
    ck_assert_uint_eq(wait_status() & (DRQ | ERR), ERR);
    ck_assert_uint_eq(in(BASE + 3), 12);
    ck_assert_uint_eq(memdisk.requests[BLOCK_OP_READ], 4 + 1 + 4);
}
END_TEST

/* A reset by software, which is deferred work; a CD drive's own. */
static void coroutine_fn reset_in_coroutine(void *data)
{
    if (*(bool *)data) {
        out(BASE + 7, 0x08);
    } else {
        out(CONTROL, 4);
        out(CONTROL, 0);
    }
}

START_TEST(forgotten)
{
    const Case *c = &cases[_i / 2];
    uint8_t signature = !strcmp(c->class, "ide-cd") ? 0x14 : 0;
    bool own = signature && _i % 2;

    begin(c);
    memdisk.error[c->op] = 0;
    run_in_coroutine(reset_in_coroutine, &own);
    go_on();
    while (in(CONTROL)&BSY) {
        event_loop_iterate(loop, -1);
    }
    ck_assert_uint_eq(in(BASE + 4), signature);
    ck_assert_uint_eq(in(CONTROL) & (BSY | DRQ | ERR), 0);
    out(BM, 0);
    if (signature) {
        cd_read();
        while (in(CONTROL)&BSY) {
            event_loop_iterate(loop, -1);
        }
        cd_read_check();
    } else {
        hd_read();
        while (in(CONTROL)&BSY) {
            event_loop_iterate(loop, -1);
        }
        hd_read_check();
    }
}
END_TEST

static void coroutine_fn drain_in_coroutine(void *data)
{
    if (*(bool *)data) {
        block_drain_all_begin();
    } else {
        block_drain_all_end();
    }
}

/* A command that comes after a reset, before the request that the reset took back has ended. */
START_TEST(reset_in_drain)
{
    bool begin = true, end = false;

    board("ide-hd", "");
    run_in_coroutine(drain_in_coroutine, &begin);
    hd_read();
    while (event_loop_iterate(loop, 0)) {
    }
    device_lock(drive);
    drive->class->run_state(drive, true); /* looks for a request before the old one has ended */
    device_unlock(drive);
    device_reset(controller, RESET_COLD);
    hd_read();
    while (event_loop_iterate(loop, 0)) {
    }
    run_in_coroutine(drain_in_coroutine, &end);
    ck_assert_uint_eq(wait_status() & (DRQ | ERR), DRQ);
    hd_read_check();
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("ide_parking");

    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, read_ahead);
    tcase_add_test(tcase, reset_in_drain);
    tcase_add_loop_test(tcase, made_again, 0, G_N_ELEMENTS(cases));
    tcase_add_loop_test(tcase, loaded, 0, G_N_ELEMENTS(cases));
    tcase_add_loop_test(tcase, forgotten, 0, 2 * G_N_ELEMENTS(cases));
    return unit_run_case("ide_parking", tcase);
}

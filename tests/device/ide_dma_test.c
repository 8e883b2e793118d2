/* SPDX-License-Identifier: GPL-2.0-or-later */
/* piix3-ide: DMA and its tables, TRIM, resets, failed requests, state. */
#include <signal.h>
#include <sys/resource.h>
#include "ide_client.h"

#define NOT_ENOUGH 64u /* KiB that a file may have under small_files() */

static void test_dma(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[300 * SECTOR];

    /* One piece; its length is that of the transfer. */
    qide_prd(&d, 0, d.data, 2 * SECTOR | EOT);
    qide_command(&d, 0xc8, LBA, 40, 2);
    qtest_irq_count(d.q, IRQ);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 1);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 2 * SECTOR);
    qide_check_sector(buf, 40);
    qide_check_sector(buf + SECTOR, 41);
    /* Odd pieces, out of order; started before the command. */
    qide_prd(&d, 0, d.data + 4096, 2);
    qide_prd(&d, 1, d.data + 100, 700);
    qide_prd(&d, 2, d.data + 2048, (SECTOR * 2 - 702) | EOT);
    qide_dma_start(&d, TO_MEMORY);
    qide_command_ext(&d, 0x25, 60, 2);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data + 4096, buf, 2);
    qtest_read(d.q, d.data + 100, buf + 2, 700);
    qtest_read(d.q, d.data + 2048, buf + 702, 2 * SECTOR - 702);
    qide_check_sector(buf, 60);
    qide_check_sector(buf + SECTOR, 61);
    /* 0 is 64 KiB. 300 sectors out, and in again. */
    for (unsigned i = 0; i < 300; i++) {
        qide_fill_sector(buf + i * SECTOR, 5000 + i);
    }
    qtest_write(d.q, d.data, buf, sizeof buf);
    for (unsigned i = 0; i < 3; i++) {
        qide_prd(&d, i, d.data + i * 65536, i < 2 ? 0 : (300 * SECTOR - 2 * 65536) | EOT);
    }
    qide_command_ext(&d, 0x35, 1000, 300);
    qide_dma_start(&d, 0);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qide_check_disk(&d, 999, 999);
    qide_check_disk(&d, 1000, 5000);
    qide_check_disk(&d, 1299, 5299);
    qide_check_disk(&d, 1300, 1300);
    qide_close(&d);
}

/* The smallest pieces there are: a command needs many turns, and ends. */
static void test_dma_tiny(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[8 * SECTOR];

    for (unsigned i = 0; i < 8 * SECTOR / 2; i++) {
        qide_prd(&d, i, d.data + 2 * i, 2 | (i == 8 * SECTOR / 2 - 1 ? EOT : 0));
    }
    qide_command(&d, 0xc8, LBA, 7, 8);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, sizeof buf);
    for (unsigned i = 0; i < 8; i++) {
        qide_check_sector(buf + i * SECTOR, 7 + i);
    }
    qide_close(&d);
}

/* Tables without an end, odd addresses and lengths, and one that contains itself. */
static void test_dma_endless(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[SECTOR];

    /* No entry is the last: the drive has what it wants, and the table goes on. */
    for (unsigned i = 0; i < 512; i++) {
        qide_prd(&d, i, d.data + 2 * (i % 256), 2);
    }
    qide_command(&d, 0xc8, LBA, 5, 1);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, SECTOR);
    qide_check_sector(buf, 5);
    /* Bit 0 of addresses and lengths is none; a length of 1 is 64 KiB. */
    qide_prd(&d, 0, d.data | 1, 257);
    qide_prd(&d, 1, (d.data + 256) | 1, 257 | EOT);
    qide_command(&d, 0xc8, LBA, 6, 1);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, SECTOR);
    qide_check_sector(buf, 6);
    /* Data that overwrite the table: 64 KiB of 2 bytes each, again and again. */
    qide_prd(&d, 0, d.table, 2);
    qide_prd(&d, 1, d.table + 8, 2);
    for (unsigned i = 2; i < 512; i++) {
        qide_prd(&d, i, d.table, 2);
    }
    qide_command(&d, 0xc8, LBA, 0, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_clock_step(d.q, 1000000);
    qide_dma_stop(&d);
    qide_out(&d, CONTROL - BASE, 4);
    qide_out(&d, CONTROL - BASE, 0);
    qide_check_usable(&d);
    /* The last entry of all addresses. */
    qpci_writel(d.bm, BM_TABLE, 0xfffffffc);
    qide_command(&d, 0xc8, LBA, 20, 1);
    qpci_writeb(d.bm, BM_COMMAND, START | TO_MEMORY);
    qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
    qpci_writeb(d.bm, BM_COMMAND, 0);
    qide_check_usable(&d);
    qide_close(&d);
}

/* Tables that are wrong. */
static void test_dma_wrong(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[SECTOR];

    /* Too long: the bus master stays active. */
    qide_prd(&d, 0, d.data, 0 | EOT);
    qide_command(&d, 0xc8, LBA, 1, 1);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qtest_check_eq(qide_bm_status(&d), INTERRUPT);
    /* Too short: the drive waits, and goes on with another table. */
    qide_prd(&d, 0, d.data, (SECTOR + 100) | EOT);
    qtest_memset(d.q, d.data, 0, 4 * SECTOR);
    qide_command(&d, 0xc8, LBA, 20, 3);
    qide_dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
    qtest_check_eq(qide_bm_status(&d), 0);
    qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
    qtest_read(d.q, d.data, buf, SECTOR);
    qide_check_sector(buf, 20);
    qpci_writeb(d.bm, BM_COMMAND, 0);
    qide_prd(&d, 0, d.data, 2 * SECTOR | EOT);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data + SECTOR, buf, SECTOR);
    qide_check_sector(buf, 22);
    /* A piece, and then a table, that are no RAM. */
    for (unsigned i = 0; i < 2; i++) {
        qide_prd(&d, 0, i ? d.data : 0xe0000000, SECTOR | EOT);
        qide_command(&d, i ? 0xca : 0xc8, LBA, 20, 1);
        qpci_writeb(d.bm, BM_STATUS, INTERRUPT);
        qpci_writel(d.bm, BM_TABLE, i ? 0xe0000000 : d.table);
        qpci_writeb(d.bm, BM_COMMAND, START);
        qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
        qtest_check_eq(qide_bm_status(&d), BM_ERROR);
        qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
        qpci_writeb(d.bm, BM_COMMAND, 0);
        qpci_writeb(d.bm, BM_STATUS, BM_ERROR);
        qtest_check_eq(qide_bm_status(&d), 0);
        qide_check_usable(&d);
    }
    /* Firmware is no target. */
    qide_prd(&d, 0, 0xfffff000, SECTOR | EOT);
    qide_command(&d, 0xc8, LBA, 20, 1);
    qide_dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
    qtest_check_eq(qide_bm_status(&d), BM_ERROR);
    qpci_writeb(d.bm, BM_COMMAND, 0);
    qide_check_usable(&d);
    qide_check_disk(&d, 20, 20);
    qide_close(&d);
}

/* DMA waits for its start, and for the function to be a bus master. */
static void test_dma_waits(void)
{
    Ide d = qide_open("", "");
    uint16_t on = qpci_config_readw(&d.pci, 4);
    uint8_t buf[SECTOR];

    qpci_config_writew(&d.pci, 4, on & ~4);
    qide_prd(&d, 0, d.data, SECTOR | EOT);
    qide_command(&d, 0xc8, LBA, 30, 1);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
    qtest_check_eq(qide_bm_status(&d), ACTIVE);
    qpci_config_writew(&d.pci, 4, on);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, SECTOR);
    qide_check_sector(buf, 30);
    /* The registers. */
    qpci_writeb(d.bm, BM_STATUS, 0x65);
    qtest_check_eq(qide_bm_status(&d), 0x60);
    qpci_writel(d.bm, BM_TABLE, 0x12345677);
    qtest_check_eq(qpci_readl(d.bm, BM_TABLE), 0x12345674);
    qpci_writew(d.bm, 8 + BM_TABLE, 0xbeec);
    qtest_check_eq(qpci_readl(d.bm, 8 + BM_TABLE), 0xbeec);
    qide_close(&d);
}

static void trim(Ide *d, unsigned blocks)
{
    qide_prd(d, 0, d->data, blocks * SECTOR | EOT);
    qide_out(d, ERROR, 0);
    qide_out(d, ERROR, 1);
    qide_command_ext(d, 0x06, 0, blocks);
    qide_dma_start(d, 0);
}

static void test_trim(void)
{
    Ide d = qide_open(",discard=unmap", "");
    uint8_t buf[SECTOR], zero[SECTOR] = {0};

    qtest_memset(d.q, d.data, 0, 40 * SECTOR);
    qtest_writeq(d.q, d.data + 8, 800 | 8ull << 48);
    qtest_writeq(d.q, d.data + 39 * SECTOR + 504, 1600 | 16ull << 48);
    trim(&d, 40);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    for (unsigned i = 0; i < 2; i++) {
        qide_command(&d, 0x20, LBA, i ? 1615 : 800, 1);
        qide_read_block(&d, buf, 1, true);
        qtest_check_mem(buf, zero, SECTOR);
    }
    qide_check_disk(&d, 799, 799);
    qide_check_disk(&d, 808, 808);
    qide_check_disk(&d, 1616, 1616);
    /* Past the end; not a TRIM; no list. */
    qtest_writeq(d.q, d.data + 8, (SECTORS - 1) | 2ull << 48);
    trim(&d, 1);
    qtest_wait_until(qide_bm_status(&d) & INTERRUPT);
    qtest_check_eq(qide_in(&d, STATUS), READY | ERR);
    qtest_check_eq(qide_in(&d, ERROR), ABRT);
    qide_dma_stop(&d);
    qide_check_disk(&d, SECTORS - 1, SECTORS - 1);
    qide_out(&d, ERROR, 0);
    qide_command_ext(&d, 0x06, 0, 1);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qide_out(&d, ERROR, 1);
    qide_command_ext(&d, 0x06, 0, 0);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qide_close(&d);
}

/* Registers belong to a command in progress; a reset ends it. */
static void test_reset(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[SECTOR];

    qide_command(&d, 0x30, LBA, 70, 1);
    qide_out(&d, LBA_LOW, 71);
    qide_out(&d, STATUS, 0xec);
    qide_fill_sector(buf, 4000);
    qide_write_block(&d, buf, 1, true);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_check_disk(&d, 70, 4000);
    for (unsigned i = 0; i < 20; i++) {
        qide_command(&d, i & 1 ? 0x20 : 0x40, LBA, 70, 0);
        qtest_outb(d.q, CONTROL, 4);
        qtest_outb(d.q, CONTROL, 0);
        qtest_check_eq(qide_in(&d, STATUS), READY);
        qtest_check(!qtest_irq(d.q, IRQ));
    }
    /* DMA that is stopped, or reset, while it runs. */
    for (unsigned i = 0; i < 10; i++) {
        qide_prd(&d, 0, d.data, 0 | EOT);
        qide_command(&d, 0xc8, LBA, 0, 128);
        qide_dma_start(&d, TO_MEMORY);
        if (i & 1) {
            qtest_outb(d.q, CONTROL, 4);
        } else {
            qpci_writeb(d.bm, BM_COMMAND, 0);
        }
        if (!(i & 1)) {
            qtest_check_eq(qide_bm_status(&d) & ACTIVE, 0);
        }
        qpci_writeb(d.bm, BM_COMMAND, 0);
        qtest_outb(d.q, CONTROL, 4);
        qtest_outb(d.q, CONTROL, 0);
        qide_check_disk(&d, 9, 9);
    }
    qide_command(&d, 0x20, LBA, 70, 0);
    qtest_system_reset(d.q);
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qtest_check_eq(qide_in(&d, COUNT), 1);
    qide_check_disk(&d, 9, 9);
    qide_close(&d);
}

/* Failed requests. */

static void small_files(Ide *d, bool on)
{
    struct rlimit small = {on ? NOT_ENOUGH * 1024 : RLIM_INFINITY, RLIM_INFINITY};

    prlimit(qtest_pid(d->q), RLIMIT_FSIZE, &small, NULL);
}

static void test_write_error(void)
{
    Ide d = {0};
    uint8_t buf[SECTOR];

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = qide_open(",werror=report", "");
    small_files(&d, true);
    qide_fill_sector(buf, 1);
    qide_command_ext(&d, 0x34, 10000, 2);
    qide_write_block(&d, buf, 1, true);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qtest_check_eq(qide_in(&d, ERROR), ABRT);
    qtest_check_eq(qide_in(&d, LBA_LOW) | qide_in(&d, LBA_MID) << 8, 10000);
    qide_prd(&d, 0, d.data, SECTOR | EOT);
    qide_command(&d, 0xca, LBA, 10001, 1);
    qide_dma_start(&d, 0);
    qtest_wait_until(qide_bm_status(&d) & INTERRUPT);
    qtest_check_eq(qide_in(&d, STATUS), READY | ERR);
    qtest_check_eq(qide_bm_status(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qide_check_disk(&d, 10001, 10001);
    qide_close(&d);
}

static void cont(Ide *d)
{
    json_decref(qtest_qmp(d->q, "cont", NULL));
}

static void wait_stop(Ide *d)
{
    json_decref(qtest_wait_event(d->q, "STOP"));
}

/* A write of sectors 10000 and 10001 that fails: 500 and 501, by PIO or by DMA. */
static void failing_write(Ide *d, bool dma)
{
    uint8_t buf[2 * SECTOR];

    qide_fill_sector(buf, 500);
    qide_fill_sector(buf + SECTOR, 501);
    small_files(d, true);
    qtest_irq_count(d->q, IRQ);
    if (dma) {
        qtest_write(d->q, d->data, buf, sizeof buf);
        qide_prd(d, 0, d->data, 600);
        qide_prd(d, 1, d->data + 600, (2 * SECTOR - 600) | EOT);
        qide_command_ext(d, 0x35, 10000, 2);
        qide_dma_start(d, 0);
    } else {
        qide_check_command(d, 0xc6, 0, 2, 0);
        qide_command_ext(d, 0x39, 10000, 2);
        qide_write_block(d, buf, 2, true);
    }
    wait_stop(d);
    qtest_check_eq(qtest_irq_count(d->q, IRQ), 0);
}

static void werror_stop(bool dma)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = qide_open(",werror=stop", "");
    failing_write(&d, dma);
    /* It fails again. */
    cont(&d);
    wait_stop(&d);
    small_files(&d, false);
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    cont(&d);
    qtest_wait_until(qtest_irq(d.q, IRQ));
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qide_dma_stop(&d);
    qide_check_disk(&d, 10000, 500);
    qide_check_disk(&d, 10001, 501);
    /* A reset forgets it. */
    failing_write(&d, dma);
    qtest_system_reset(d.q);
    small_files(&d, false);
    cont(&d);
    qtest_check_eq(qide_wait_ready(&d), READY);
    /* What was saved is carried out by whoever loads it. */
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    qtest_check_eq(qtest_inb(d.q, CONTROL), dma ? READY | DRQ : BSY);
    cont(&d);
    qtest_wait_until(qtest_irq(d.q, IRQ));
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qide_dma_stop(&d);
    qide_check_disk(&d, 10001, 501);
    qide_close(&d);
}

static void test_werror_pio(void)
{
    werror_stop(false);
}

static void test_werror_dma(void)
{
    werror_stop(true);
}

/* A software reset forgets a parked request too. */
static void test_werror_reset(void)
{
    Ide d = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = qide_open(",werror=stop", "");
    failing_write(&d, true);
    qtest_outb(d.q, CONTROL, 4);
    qtest_outb(d.q, CONTROL, 0);
    small_files(&d, false);
    cont(&d);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qtest_check_eq(qide_bm_status(&d) & INTERRUPT, 0);
    qide_check_disk(&d, 10000, 10000);
    qide_close(&d);
}

/* State in the middle of a block, with registers of all kinds. */
static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = qide_open("", "");
    uint8_t buf[SECTOR];

    qide_check_command(&d, 0xef, 0x82, 0, 0);
    qide_check_command(&d, 0xc6, 0, 4, 0);
    qide_command(&d, 0xc4, LBA, 300, 6);
    qide_read_block(&d, buf, 1, true);
    qide_check_sector(buf, 300);
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(d.q);
    qtest_check_eq(qide_in(&d, STATUS), READY);
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    cont(&d);
    for (unsigned i = 1; i < 6; i++) {
        qide_read_block(&d, buf, 1, true);
        qide_check_sector(buf, 300 + i);
    }
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_close(&d);
}

static const QTestCase cases[] = {
    {"dma", test_dma},
    {"dma-tiny", test_dma_tiny},
    {"dma-endless", test_dma_endless},
    {"dma-wrong", test_dma_wrong},
    {"dma-waits", test_dma_waits},
    {"trim", test_trim},
    {"reset", test_reset},
    {"write-error", test_write_error},
    {"werror-pio", test_werror_pio},
    {"werror-dma", test_werror_dma},
    {"werror-reset", test_werror_reset},
    {"state", test_state},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

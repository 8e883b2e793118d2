/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-fdc: commands with data, by DMA and by the FIFO, their errors, and hostile guests. */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "fdc_client.h"

static void check_memory(Floppy *f, unsigned n, uint32_t first)
{
    uint8_t buf[SECTOR], want[SECTOR];

    for (unsigned i = 0; i < n; i++) {
        qtest_read(f->q, DATA + i * SECTOR, buf, SECTOR);
        qfdc_fill_sector(want, first + i);
        qtest_check_mem(buf, want, SECTOR);
    }
}

static void seek(Floppy *f, uint8_t track)
{
    qfdc_command(f, 3, 0x0f, 0, track);
    qfdc_sense(f, SEEK_OVER, track);
}

/* The result phase's sectors are those of table 5-6. */
static void test_read_dma(void)
{
    Floppy f = qfdc_open("", "");

    seek(&f, 3);
    qtest_irq_count(f.q, IRQ);
    qfdc_dma(&f, TO_MEMORY, DATA, 4 * SECTOR);
    qfdc_begin(&f, READ, 0, (Chs){3, 0, 2}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){3, 0, 6});
    qtest_check_eq(qtest_irq_count(f.q, IRQ), 1);
    check_memory(&f, 4, 3 * 36 + 1);
    /* To the end of the track, of both tracks, and over it. */
    qfdc_dma(&f, TO_MEMORY, DATA, 2 * SECTOR);
    qfdc_begin(&f, READ, 4, (Chs){3, 1, 17}, 18, 0xff);
    qfdc_end(&f, 4, 0, 0, (Chs){4, 1, 1});
    check_memory(&f, 2, 3 * 36 + 34);
    qfdc_dma(&f, TO_MEMORY, DATA, 18 * SECTOR);
    qfdc_begin(&f, READ_MT, 0, (Chs){3, 0, 1}, 18, 0xff);
    qfdc_end(&f, 4, 0, 0, (Chs){3, 1, 1});
    qfdc_dma(&f, TO_MEMORY, DATA, 36 * SECTOR);
    qfdc_begin(&f, READ_MT, 0, (Chs){3, 0, 1}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){4, 0, 1});
    check_memory(&f, 36, 3 * 36);
    qfdc_dma(&f, TO_MEMORY, DATA, 2 * SECTOR);
    qfdc_begin(&f, READ, 0, (Chs){3, 0, 18}, 18, 0xff);
    qfdc_end(&f, ABNORMAL, END, 0, (Chs){4, 0, 1});
    check_memory(&f, 1, 3 * 36 + 17);
    /* A part of a sector; an implied seek. */
    qtest_memset(f.q, DATA, 0, SECTOR);
    qfdc_dma(&f, TO_MEMORY, DATA, 100);
    qfdc_begin(&f, READ, 0, (Chs){79, 0, 1}, 18, 0xff);
    qfdc_end(&f, SEEK_OVER, 0, 0, (Chs){79, 0, 2});
    qtest_check_eq(qtest_readw(f.q, DATA), 79 * 36);
    qtest_check_eq(qtest_readb(f.q, DATA + 99), (uint8_t)(79 * 36 + 99 * 7));
    qtest_check_eq(qtest_readb(f.q, DATA + 100), 0);
    /* A channel that is not ready yet; one that is programmed backwards. */
    qfdc_dma(&f, TO_MEMORY, DATA, SECTOR);
    qtest_outb(f.q, 0x0a, 4 | 2);
    qfdc_begin(&f, READ, 0, (Chs){79, 0, 3}, 18, 0xff);
    qtest_wait_until(qtest_inb(f.q, 0x08) & 0x40);
    qtest_check_eq(qtest_inb(f.q, MSR), BUSY);
    qtest_outb(f.q, 0x0a, 2);
    qfdc_end(&f, 0, 0, 0, (Chs){79, 0, 4});
    check_memory(&f, 1, 79 * 36 + 2);
    qtest_check_eq(qtest_inb(f.q, 0x08) & 0x40, 0);
    qfdc_dma(&f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(&f, READ, 0, (Chs){79, 0, 3}, 18, 0xff);
    qfdc_end(&f, ABNORMAL, OVERRUN, 0, (Chs){79, 0, 3});
    /* Data that goes nowhere. */
    qfdc_dma(&f, VERIFIES, DATA, 2 * SECTOR);
    qfdc_begin(&f, READ, 0, (Chs){79, 0, 5}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){79, 0, 7});
    check_memory(&f, 1, 79 * 36 + 2);
    qfdc_close(&f);
}

static void test_read_pio(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t buf[SECTOR], want[SECTOR];

    qfdc_prepare(&f, RATE_500K, true);
    qtest_irq_count(f.q, IRQ);
    qfdc_begin(&f, READ_MT, 0, (Chs){0, 0, 17}, 18, 0xff);
    for (unsigned n = 0; n < 20; n++) {
        qtest_wait_until(qtest_inb(f.q, MSR) == (RQM | DIO | NON_DMA | BUSY));
        qtest_check(qtest_irq(f.q, IRQ));
        qtest_outb(f.q, FIFO, 0xee); /* not its turn */
        for (unsigned i = 0; i < SECTOR; i++) {
            buf[i] = qtest_inb(f.q, FIFO);
            qtest_check(i == SECTOR - 1 || !qtest_irq(f.q, IRQ));
        }
        qfdc_fill_sector(want, 16 + n);
        qtest_check_mem(buf, want, SECTOR);
    }
    qfdc_end(&f, 0, 0, 0, (Chs){1, 0, 1});
    qtest_check_eq(qtest_irq_count(f.q, IRQ), 21);
    /* So it is where the gate is shut, without interrupts. */
    qfdc_prepare(&f, RATE_500K, false);
    qtest_outb(f.q, DOR, NRESET | MOTOR_A);
    f.pio = true;
    qfdc_begin(&f, READ, 0, (Chs){0, 0, 2}, 2, 0xff);
    qtest_wait_until(qtest_inb(f.q, MSR) == (RQM | DIO | NON_DMA | BUSY));
    for (unsigned i = 0; i < SECTOR; i++) {
        buf[i] = qtest_inb(f.q, FIFO);
    }
    qfdc_fill_sector(want, 1);
    qtest_check_mem(buf, want, SECTOR);
    qtest_check(!qtest_irq(f.q, IRQ));
    qfdc_close(&f);
}

static void test_write(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t buf[2 * SECTOR], zero[SECTOR] = {0};

    qfdc_fill_sector(buf, 5000);
    qfdc_fill_sector(buf + SECTOR, 5001);
    qtest_write(f.q, DATA, buf, sizeof buf);
    qfdc_dma(&f, FROM_MEMORY, DATA, 2 * SECTOR);
    qfdc_begin(&f, WRITE_MT, 0, (Chs){7, 0, 18}, 18, 0xff);
    qfdc_end(&f, SEEK_OVER | 4, 0, 0, (Chs){7, 1, 2});
    qfdc_check_sector(&f, (Chs){7, 0, 17}, 7 * 36 + 16);
    qfdc_check_sector(&f, (Chs){7, 0, 18}, 5000);
    qfdc_check_sector(&f, (Chs){7, 1, 1}, 5001);
    qfdc_check_sector(&f, (Chs){7, 1, 2}, 7 * 36 + 19);
    /* The rest of a sector is zeroes. */
    qtest_write(f.q, DATA, buf, sizeof buf);
    qfdc_dma(&f, FROM_MEMORY, DATA, 200);
    qfdc_begin(&f, 0x49, 0, (Chs){7, 0, 5}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){7, 0, 6});
    qfdc_read_sector(&f, 0, (Chs){7, 0, 5}, buf + SECTOR);
    qtest_check_mem(buf + SECTOR, buf, 200);
    qtest_check_mem(buf + SECTOR + 200, zero, SECTOR - 200);
    /* By the FIFO. */
    qfdc_prepare(&f, RATE_500K, true);
    qfdc_fill_sector(buf + SECTOR, 5003);
    qfdc_begin(&f, WRITE, 4, (Chs){1, 1, 9}, 10, 0xff);
    for (unsigned n = 0; n < 2; n++) {
        qtest_wait_until(qtest_inb(f.q, MSR) == (RQM | NON_DMA | BUSY));
        qtest_check(qtest_irq(f.q, IRQ));
        qtest_check_eq(qtest_inb(f.q, FIFO), 0); /* not its turn */
        for (unsigned i = 0; i < SECTOR; i++) {
            qtest_outb(f.q, FIFO, buf[n * SECTOR + i]);
        }
    }
    qfdc_end(&f, SEEK_OVER | 4, 0, 0, (Chs){2, 1, 1});
    qfdc_check_sector(&f, (Chs){1, 1, 9}, 5000);
    qfdc_check_sector(&f, (Chs){1, 1, 10}, 5003);
    qfdc_close(&f);
}

static void read_id(Floppy *f, uint8_t select, uint8_t *r)
{
    qfdc_command(f, 2, 0x4a, select);
    qfdc_results(f, 7, r);
}

static void test_read_id(void)
{
    Floppy f = qfdc_open("", "-device floppy,unit=1");
    uint8_t r[7];

    seek(&f, 5);
    for (unsigned i = 0; i < 20; i++) {
        read_id(&f, 4, r);
        qtest_check_eq(r[0], 4);
        qtest_check_eq(r[1] | r[2], 0);
        qtest_check_eq(r[3], 5);
        qtest_check_eq(r[4], 1);
        qtest_check_eq(r[5], i % 18 + 1);
        qtest_check_eq(r[6], 2);
    }
    /* Another rate, an empty drive, none. */
    for (unsigned i = 0; i < 3; i++) {
        qtest_outb(f.q, CCR, i ? RATE_500K : RATE_250K);
        read_id(&f, i, r);
        qtest_check_eq(r[0], ABNORMAL | i);
        qtest_check_eq(r[1], NO_ADDRESS);
    }
    seek(&f, 80);
    read_id(&f, 0, r);
    qtest_check_eq(r[1], NO_ADDRESS);
    qfdc_close(&f);
}

static void test_errors(void)
{
    static const struct {
        uint8_t select, st1, st2;
        Chs at;
    } wrong[] = {
        {0, NO_DATA, 0, {2, 0, 0}},           {0, NO_DATA, 0, {2, 0, 19}},
        {0, NO_DATA, 0, {2, 2, 1}},           {1, NO_ADDRESS, 0, {2, 0, 1}},
        {2, NO_ADDRESS, 0, {2, 0, 1}},        {0, NO_DATA, WRONG_CYL, {3, 0, 1}},
        {0, NO_DATA, WRONG_CYL, {200, 0, 1}},
    };
    static const uint8_t codes[] = {READ, WRITE, VERIFY, 0x51, 0x4c, 0x49};
    Floppy f = qfdc_open("", "-device floppy,unit=1");

    qfdc_command(&f, 4, 0x13, 0, 0x20, 0); /* no implied seeks */
    seek(&f, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(codes); k++) {
            qfdc_begin(&f, codes[k], wrong[i].select, wrong[i].at, 18, 0xff);
            qfdc_end(&f, ABNORMAL | wrong[i].select, wrong[i].st1, wrong[i].st2, wrong[i].at);
        }
    }
    /* Sectors of another size. */
    qfdc_command(&f, 9, READ, 0, 2, 0, 1, 3, 18, 0x1b, 0xff);
    uint8_t r[7];
    qfdc_results(&f, 7, r);
    qtest_check_eq(r[1], NO_DATA);
    /* A sector that is not there, behind one that is: DMA wants more. */
    qfdc_dma(&f, TO_MEMORY, DATA, 3 * SECTOR);
    qfdc_begin(&f, READ, 0, (Chs){2, 0, 18}, 20, 0xff);
    qfdc_end(&f, ABNORMAL, NO_DATA, 0, (Chs){2, 0, 19});
    check_memory(&f, 1, 2 * 36 + 17);
    qfdc_close(&f);
}

static void test_write_protect(void)
{
    Floppy f = qfdc_open(",readonly=on", "");

    qtest_check_eq(qfdc_ask(&f, 0x04, 0), 0x78);
    qfdc_check_sector(&f, (Chs){0, 0, 1}, 0);
    qfdc_dma(&f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(&f, WRITE, 0, (Chs){0, 0, 1}, 18, 0xff);
    qfdc_end(&f, ABNORMAL, NOT_WRITABLE, 0, (Chs){0, 0, 1});
    qfdc_command(&f, 6, FORMAT, 0, 2, 18, 0x50, 0xf6);
    qfdc_end(&f, ABNORMAL, NOT_WRITABLE, 0, (Chs){0, 0, 1});
    qfdc_check_sector(&f, (Chs){0, 0, 1}, 0);
    qfdc_close(&f);
}

static void test_format(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t ids[18 * 4], buf[SECTOR], want[SECTOR];

    seek(&f, 9);
    for (unsigned i = 0; i < 18; i++) {
        memcpy(ids + 4 * i, (uint8_t[]){9, 1, i + 1, 2}, 4);
    }
    qtest_write(f.q, DATA, ids, sizeof ids);
    qfdc_dma(&f, FROM_MEMORY, DATA, sizeof ids);
    qfdc_command(&f, 6, FORMAT, 4, 2, 18, 0x50, 0xf6);
    qfdc_end(&f, 4, 0, 0, (Chs){9, 1, 18});
    memset(want, 0xf6, SECTOR);
    for (unsigned i = 1; i <= 18; i += 17) {
        qfdc_read_sector(&f, 4, (Chs){9, 1, i}, buf);
        qtest_check_mem(buf, want, SECTOR);
    }
    qfdc_check_sector(&f, (Chs){9, 0, 18}, 9 * 36 + 17);
    qfdc_check_sector(&f, (Chs){10, 0, 1}, 10 * 36);
    /* By the FIFO; an ID that the medium cannot have; fewer IDs than sectors; none. */
    qfdc_prepare(&f, RATE_500K, true);
    seek(&f, 9);
    qfdc_command(&f, 6, FORMAT, 0, 2, 2, 0x50, 0x11);
    for (unsigned i = 0; i < 2; i++) {
        qtest_wait_until(qtest_inb(f.q, MSR) == (RQM | NON_DMA | BUSY));
        for (unsigned k = 0; k < 4; k++) {
            qtest_outb(f.q, FIFO, (uint8_t[]){9, 0, 3 + 20 * i, 2}[k]);
        }
    }
    qfdc_end(&f, ABNORMAL, NO_DATA, 0, (Chs){9, 0, 23});
    qfdc_prepare(&f, RATE_500K, false);
    memset(want, 0x11, SECTOR);
    qfdc_read_sector(&f, 0, (Chs){9, 0, 3}, buf);
    qtest_check_mem(buf, want, SECTOR);
    qtest_write(f.q, DATA, ids, sizeof ids);
    qfdc_dma(&f, FROM_MEMORY, DATA, 6);
    qfdc_command(&f, 6, FORMAT, 4, 2, 18, 0x50, 0xf6);
    qfdc_end(&f, 4, 0, 0, (Chs){9, 1, 1});
    qfdc_command(&f, 6, FORMAT, 0, 2, 0, 0x50, 0xf6);
    qfdc_end(&f, 0, 0, 0, (Chs){9, 0, 1});
    qfdc_close(&f);
}

static void test_verify(void)
{
    Floppy f = qfdc_open("", "");

    qfdc_begin(&f, VERIFY, 0, (Chs){0, 0, 1}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){1, 0, 1});
    qfdc_begin(&f, VERIFY | 0x80, 0, (Chs){0, 0, 3}, 18, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){1, 0, 1});
    /* So many sectors. */
    qfdc_begin(&f, VERIFY | 0x80, 0x80, (Chs){0, 0, 17}, 18, 4);
    qfdc_end(&f, 4, 0, 0, (Chs){0, 1, 3});
    qfdc_begin(&f, VERIFY, 0x80, (Chs){0, 0, 17}, 18, 4);
    qfdc_end(&f, ABNORMAL, END, 0, (Chs){1, 0, 1});
    qfdc_begin(&f, VERIFY, 0, (Chs){0, 0, 17}, 21, 0xff);
    qfdc_end(&f, ABNORMAL, NO_DATA, 0, (Chs){0, 0, 19});
    qfdc_close(&f);
}

/* Compares memory, in which byte 'at' of each sector differs by 'by', to four sectors. */
static void scan(Floppy *f, uint8_t code, uint8_t step, unsigned same, int by, uint8_t st2, Chs end)
{
    uint8_t buf[4 * SECTOR];

    for (unsigned i = 0; i < 4; i++) {
        qfdc_fill_sector(buf + i * SECTOR, 2 + i);
        if (i != same) {
            buf[i * SECTOR + 200] += by;
        }
    }
    buf[same % 4 * SECTOR + 300] = 0xff; /* equal to everything */
    if (step == 2) {
        memcpy(buf + SECTOR, buf + 2 * SECTOR, SECTOR);
    }
    qtest_write(f->q, DATA, buf, sizeof buf);
    qfdc_dma(f, FROM_MEMORY, DATA, sizeof buf);
    qfdc_begin(f, code, 0, (Chs){0, 0, 3}, 6, step);
    qfdc_end(f, 0, 0, st2, end);
}

static void test_scan(void)
{
    Floppy f = qfdc_open("", "");

    scan(&f, 0x51, 1, 0, 1, HIT, (Chs){0, 0, 4});
    scan(&f, 0x51, 1, 2, 1, HIT, (Chs){0, 0, 6});
    scan(&f, 0x51, 1, 9, 1, UNSATISFIED, (Chs){1, 0, 1});
    scan(&f, 0x51, 2, 2, 1, HIT, (Chs){1, 0, 1});
    scan(&f, 0x51, 2, 9, 1, UNSATISFIED, (Chs){1, 0, 1});
    /* The host's byte is greater. */
    scan(&f, 0x59, 1, 9, 1, 0, (Chs){0, 0, 4});
    scan(&f, 0x5d, 1, 9, 1, UNSATISFIED, (Chs){1, 0, 1});
    scan(&f, 0x5d, 1, 1, 1, HIT, (Chs){0, 0, 5});
    /* Less. */
    scan(&f, 0x5d, 1, 9, -1, 0, (Chs){0, 0, 4});
    scan(&f, 0x59, 1, 9, -1, UNSATISFIED, (Chs){1, 0, 1});
    scan(&f, 0x59, 1, 3, -1, HIT, (Chs){1, 0, 1});
    /* By the FIFO. */
    qfdc_prepare(&f, RATE_500K, true);
    uint8_t buf[SECTOR];
    qfdc_fill_sector(buf, 2);
    qfdc_begin(&f, 0x51, 0, (Chs){0, 0, 3}, 6, 1);
    qtest_wait_until(qtest_inb(f.q, MSR) == (RQM | NON_DMA | BUSY));
    for (unsigned i = 0; i < SECTOR; i++) {
        qtest_outb(f.q, FIFO, buf[i]);
    }
    qfdc_end(&f, 0, 0, HIT, (Chs){0, 0, 4});
    qfdc_close(&f);
}

static void test_track_and_deleted(void)
{
    Floppy f = qfdc_open("", "");

    /* From the index on, whatever sector is named. */
    qfdc_dma(&f, TO_MEMORY, DATA, 18 * SECTOR);
    qfdc_begin(&f, 0x42, 4, (Chs){0, 1, 7}, 18, 0xff);
    qfdc_end(&f, 4, 0, 0, (Chs){1, 1, 1});
    check_memory(&f, 18, 18);
    qfdc_dma(&f, TO_MEMORY, DATA, 18 * SECTOR);
    qfdc_begin(&f, 0x42, 0, (Chs){0, 0, 1}, 3, 0xff);
    qfdc_end(&f, 0, 0, 0, (Chs){1, 0, 1});
    check_memory(&f, 3, 0);
    /* A sector without the mark is read, and is the last one. */
    qfdc_dma(&f, TO_MEMORY, DATA, 4 * SECTOR);
    qfdc_begin(&f, 0x4c, 0, (Chs){0, 0, 5}, 18, 0xff);
    qfdc_end(&f, 0, 0, MARK, (Chs){0, 0, 6});
    check_memory(&f, 1, 4);
    qfdc_close(&f);
}

/* An image that is shorter than its format, and ends in a sector. */
static void test_short_image(void)
{
    Floppy f = {.path = qfdc_make_image("s.img", 3)};
    uint8_t buf[SECTOR], want[SECTOR];
    GStatBuf st;

    qtest_check_eq(truncate(f.path, 2 * SECTOR + 100), 0);
    f.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=floppy", f.path);
    qfdc_prepare(&f, RATE_1M, false);
    qfdc_check_sector(&f, (Chs){0, 0, 2}, 1);
    qfdc_read_sector(&f, 0, (Chs){0, 0, 3}, buf);
    qfdc_fill_sector(want, 2);
    memset(want + 100, 0, SECTOR - 100);
    qtest_check_mem(buf, want, SECTOR);
    memset(want, 0, SECTOR);
    qfdc_read_sector(&f, 0, (Chs){0, 0, 4}, buf);
    qtest_check_mem(buf, want, SECTOR);
    qfdc_read_sector(&f, 4, (Chs){79, 1, 36}, buf);
    qtest_check_mem(buf, want, SECTOR);
    /* A write makes the last sector whole; behind it one would be lost. */
    qfdc_dma(&f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(&f, WRITE, 0, (Chs){0, 0, 3}, 18, 0xff);
    qfdc_end(&f, SEEK_OVER, 0, 0, (Chs){0, 0, 4});
    qfdc_dma(&f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(&f, WRITE, 0, (Chs){0, 0, 4}, 18, 0xff);
    qfdc_end(&f, ABNORMAL, NO_DATA, 0, (Chs){0, 0, 4});
    qtest_check_eq(g_stat(f.path, &st), 0);
    qtest_check_eq(st.st_size, 3 * SECTOR);
    qfdc_close(&f);
}

/* More bytes than any command has, where none are wanted, and lists without an end. */
static void test_hostile(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t r[10];

    /* READ ID with data behind it, DRIVE SPECIFICATION with more than it has room for. */
    qfdc_command(&f, 2, 0x4a, 0);
    for (unsigned i = 0; i < 2000; i++) {
        qtest_outb(f.q, FIFO, 0x42);
    }
    qfdc_results(&f, 7, r);
    qfdc_out(&f, 0x8e);
    for (unsigned i = 0; i < 2000; i++) {
        qtest_outb(f.q, FIFO, 0x42);
    }
    qfdc_results(&f, 4, r);
    for (unsigned i = 0; i < 600; i++) {
        qtest_outb(f.q, FIFO, 0x8e);
        qtest_inb(f.q, FIFO);
    }
    for (unsigned code = 0; code < 256; code++) {
        qtest_outb(f.q, DOR, GATE);
        qtest_outb(f.q, DOR, GATE | NRESET);
        qtest_outb(f.q, FIFO, code);
        for (unsigned i = 0; i < 40; i++) {
            qtest_outb(f.q, FIFO, 0x7f);
        }
        for (unsigned i = 0; i < 40; i++) {
            qtest_inb(f.q, FIFO);
        }
    }
    qtest_system_reset(f.q);
    qfdc_prepare(&f, RATE_500K, true);
    /* Past the data of a sector. */
    qfdc_begin(&f, READ, 0, (Chs){0, 0, 1}, 1, 0xff);
    qtest_wait_until(qtest_inb(f.q, MSR) & RQM);
    for (unsigned i = 0; i < SECTOR + 7; i++) {
        qtest_inb(f.q, FIFO);
    }
    for (unsigned i = 0; i < 2 * SECTOR; i++) {
        qtest_check_eq(qtest_inb(f.q, FIFO), 0);
    }
    qfdc_check_sector(&f, (Chs){0, 0, 1}, 0);
    qfdc_close(&f);
}

static void monitor(Floppy *f, const char *line)
{
    g_autofree char *text = qtest_hmp(f->q, "%s", line);

    qtest_check_str(text, "");
}

static uint8_t disk_changed(Floppy *f)
{
    return qtest_inb(f->q, DIR_REG);
}

/* Another medium, of another format and write-protected; none; one again. */
static void test_media(void)
{
    g_autofree char *second = qfdc_make_image("second.img", 1440);
    g_autofree char *change = g_strdup_printf("change f %s raw read-only", second);
    Floppy f = qfdc_open("", "");

    qfdc_check_sector(&f, (Chs){79, 1, 18}, SECTORS - 1);
    qtest_check_eq(disk_changed(&f), 0);
    monitor(&f, change);
    qtest_check_eq(disk_changed(&f), 0x80);
    qtest_check_eq(qfdc_ask(&f, 0x04, 0), 0x68);
    /* At the rate of the other medium there is nothing. */
    qfdc_begin(&f, READ, 0, (Chs){79, 0, 1}, 18, 0xff);
    qfdc_end(&f, ABNORMAL, NO_ADDRESS, 0, (Chs){79, 0, 1});
    qtest_outb(f.q, CCR, RATE_250K);
    qfdc_check_sector(&f, (Chs){79, 1, 9}, 1439);
    qtest_check_eq(disk_changed(&f), 0x80); /* no step yet */
    qfdc_check_sector(&f, (Chs){3, 1, 9}, 3 * 18 + 17);
    qtest_check_eq(disk_changed(&f), 0);
    qfdc_dma(&f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(&f, WRITE, 0, (Chs){3, 0, 1}, 9, 0xff);
    qfdc_end(&f, ABNORMAL, NOT_WRITABLE, 0, (Chs){3, 0, 1});
    monitor(&f, "eject f");
    qtest_check_eq(disk_changed(&f), 0x80);
    seek(&f, 0);
    seek(&f, 5);
    qtest_check_eq(disk_changed(&f), 0x80); /* until there is one */
    qtest_check_eq(qfdc_ask(&f, 0x04, 0), 0x28);
    qfdc_begin(&f, READ, 0, (Chs){5, 0, 1}, 9, 0xff);
    qfdc_end(&f, ABNORMAL, NO_ADDRESS, 0, (Chs){5, 0, 1});
    monitor(&f, change);
    qfdc_check_sector(&f, (Chs){4, 0, 1}, 72);
    qtest_check_eq(disk_changed(&f), 0);
    qfdc_close(&f);
}

/* The medium goes in the middle of a command, while the host is to read, and to write. */
static void test_media_in_use(void)
{
    Floppy f = qfdc_open("", "");

    seek(&f, 1);
    qfdc_prepare(&f, RATE_500K, true);
    qfdc_begin(&f, READ, 0, (Chs){0, 0, 1}, 18, 0xff);
    qtest_wait_until(qtest_inb(f.q, MSR) & RQM);
    monitor(&f, "eject f");
    for (unsigned i = 0; i < SECTOR; i++) {
        qtest_inb(f.q, FIFO);
    }
    qfdc_end(&f, ABNORMAL, NO_ADDRESS, 0, (Chs){0, 0, 2});
    g_autofree char *change = g_strdup_printf("change f %s raw", f.path);
    monitor(&f, change);
    qfdc_begin(&f, WRITE, 0, (Chs){0, 0, 1}, 18, 0xff);
    qtest_wait_until(qtest_inb(f.q, MSR) & RQM);
    monitor(&f, "eject f");
    for (unsigned i = 0; i < SECTOR; i++) {
        qtest_outb(f.q, FIFO, 1);
    }
    qfdc_end(&f, ABNORMAL, NO_ADDRESS, 0, (Chs){0, 0, 1});
    monitor(&f, change);
    qfdc_check_sector(&f, (Chs){0, 0, 1}, 0);
    qfdc_close(&f);
}

/* A reset in every phase; what was on its way is not heard of. */
static void test_reset(void)
{
    Floppy f = qfdc_open("", "");

    for (unsigned i = 0; i < 4; i++) {
        qfdc_dma(&f, TO_MEMORY, DATA, SECTOR);
        if (i & 1) {
            qtest_outb(f.q, 0x0a, 4 | 2); /* it waits for DMA */
        }
        qfdc_begin(&f, READ, 0, (Chs){0, 0, 1}, 18, 0xff);
        if (i & 2) {
            qtest_outb(f.q, DSR, 0x80);
        } else {
            qtest_outb(f.q, DOR, GATE);
            qtest_outb(f.q, DOR, GATE | NRESET);
        }
        qtest_check_eq(qtest_inb(f.q, MSR), IDLE);
        qtest_check_eq(qtest_inb(f.q, 0x08) & 0x40, 0);
        qfdc_sense(&f, 0xc0, 0);
        qtest_outb(f.q, 0x0a, 2);
        qtest_check_eq(qtest_inb(f.q, MSR), IDLE);
        qfdc_prepare(&f, RATE_500K, false);
        qfdc_check_sector(&f, (Chs){4, 1, 5}, 4 * 36 + 22);
    }
    qfdc_close(&f);
}

/* The host's file takes no more than 'half' of the image, or all. */
static void small_files(Floppy *f, bool on)
{
    struct rlimit limit = {on ? SECTORS / 2 * SECTOR : RLIM_INFINITY, RLIM_INFINITY};

    qtest_check_eq(prlimit(qtest_pid(f->q), RLIMIT_FSIZE, &limit, NULL), 0);
}

static void begin_failing_write(Floppy *f, uint32_t content)
{
    uint8_t buf[SECTOR];

    qfdc_fill_sector(buf, content);
    qtest_write(f->q, DATA, buf, SECTOR);
    small_files(f, true);
    qfdc_dma(f, FROM_MEMORY, DATA, SECTOR);
    qfdc_begin(f, WRITE, 0, (Chs){60, 0, 4}, 18, 0xff);
}

static void wait_stop(Floppy *f)
{
    json_decref(qtest_wait_event(f->q, "STOP"));
}

static void test_write_error(void)
{
    Floppy f = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    f = qfdc_open(",werror=report", "");
    begin_failing_write(&f, 7000);
    qfdc_end(&f, ABNORMAL | SEEK_OVER, CRC, CRC, (Chs){60, 0, 4});
    qfdc_check_sector(&f, (Chs){60, 0, 4}, 60 * 36 + 3);
    qfdc_close(&f);
}

static void test_parked(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Floppy f = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    f = qfdc_open(",werror=stop", "");
    begin_failing_write(&f, 7000);
    wait_stop(&f);
    json_decref(qtest_qmp(f.q, "cont", NULL));
    wait_stop(&f); /* it fails again */
    qtest_check_eq(qtest_inb(f.q, MSR), BUSY);
    small_files(&f, false);
    json_decref(qtest_qmp(f.q, "x-save-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(f.q, "cont", NULL));
    qfdc_end(&f, SEEK_OVER, 0, 0, (Chs){60, 0, 5});
    qfdc_check_sector(&f, (Chs){60, 0, 4}, 7000);
    /* Resets forget it: the machine's, and the controller's. */
    for (unsigned i = 0; i < 2; i++) {
        begin_failing_write(&f, 7001 + i);
        wait_stop(&f);
        if (i) {
            qtest_outb(f.q, DSR, 0x80);
        } else {
            qtest_system_reset(f.q);
        }
        small_files(&f, false);
        json_decref(qtest_qmp(f.q, "cont", NULL));
        qtest_check_eq(qtest_inb(f.q, MSR), IDLE);
        qfdc_prepare(&f, RATE_500K, false);
        qfdc_check_sector(&f, (Chs){60, 0, 4}, 7000);
    }
    /* What was saved is carried out by whoever loads it. */
    qfdc_check_sector(&f, (Chs){0, 0, 1}, 0);
    json_decref(qtest_qmp(f.q, "stop", NULL));
    json_decref(qtest_qmp(f.q, "x-load-state", "{s:s}", "filename", state));
    qtest_check_eq(qtest_inb(f.q, MSR), BUSY);
    json_decref(qtest_qmp(f.q, "cont", NULL));
    qfdc_end(&f, SEEK_OVER, 0, 0, (Chs){60, 0, 5});
    qfdc_close(&f);
}

/* State in the middle of a sector, by the FIFO; and while DMA is waited for. */
static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Floppy f = qfdc_open("", "");
    uint8_t buf[SECTOR], want[SECTOR];

    for (unsigned pio = 0; pio < 2; pio++) {
        qfdc_prepare(&f, RATE_500K, pio);
        qfdc_dma(&f, TO_MEMORY, DATA, SECTOR);
        qtest_outb(f.q, 0x0a, 4 | 2);
        qfdc_begin(&f, READ, 0, (Chs){0, 0, 9}, 9, 0xff);
        qtest_wait_until(pio ? qtest_inb(f.q, MSR) & RQM : qtest_inb(f.q, 0x08) & 0x40);
        for (unsigned i = 0; pio && i < 300; i++) {
            buf[i] = qtest_inb(f.q, FIFO);
        }
        json_decref(qtest_qmp(f.q, "stop", NULL));
        json_decref(qtest_qmp(f.q, "x-save-state", "{s:s}", "filename", state));
        qtest_system_reset(f.q);
        qtest_memset(f.q, DATA, 0, SECTOR);
        json_decref(qtest_qmp(f.q, "x-load-state", "{s:s}", "filename", state));
        json_decref(qtest_qmp(f.q, "cont", NULL));
        for (unsigned i = 300; pio && i < SECTOR; i++) {
            buf[i] = qtest_inb(f.q, FIFO);
        }
        qtest_outb(f.q, 0x0a, 2);
        qfdc_end(&f, 0, 0, 0, (Chs){1, 0, 1});
        if (!pio) {
            qtest_read(f.q, DATA, buf, SECTOR);
        }
        qfdc_fill_sector(want, 8);
        qtest_check_mem(buf, want, SECTOR);
    }
    qfdc_close(&f);
}

static const QTestCase cases[] = {
    {"read-dma", test_read_dma},
    {"read-pio", test_read_pio},
    {"write", test_write},
    {"read-id", test_read_id},
    {"errors", test_errors},
    {"write-protect", test_write_protect},
    {"format", test_format},
    {"verify", test_verify},
    {"scan", test_scan},
    {"track-and-deleted", test_track_and_deleted},
    {"short-image", test_short_image},
    {"hostile", test_hostile},
    {"media", test_media},
    {"media-in-use", test_media_in_use},
    {"reset", test_reset},
    {"write-error", test_write_error},
    {"parked", test_parked},
    {"state", test_state},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

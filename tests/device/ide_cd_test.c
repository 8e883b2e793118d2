/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-cd: ATAPI's registers and phases, the commands of a CD drive, and the command line. */
#include <fcntl.h>
#include <unistd.h>
#include "cd_client.h"

#define SEED 5

static Ide open_disc(void)
{
    g_autofree char *path = qcd_make_disc("disc.iso", SEED, CD_SECTORS);

    return qcd_open(path, "", "");
}

static void check_signature(Ide *d)
{
    qtest_check_eq(qide_in(d, ERROR), 1);
    qtest_check_eq(qide_in(d, COUNT), 1);
    qtest_check_eq(qide_in(d, LBA_LOW), 1);
    qtest_check_eq(qide_in(d, LBA_MID), 0x14);
    qtest_check_eq(qide_in(d, LBA_HIGH), 0xeb);
    qtest_check_eq(qide_in(d, STATUS), 0);
}

/* What a host of disks finds, and IDENTIFY PACKET DEVICE. */
static void test_identify(void)
{
    g_autofree char *path = qcd_make_disc("disc.iso", SEED, CD_SECTORS);
    Ide d = qcd_open(path, "", ",serial=A-serial,model=A-model,ver=7.6");
    uint16_t w[256];

    static const uint8_t refused[] = {0x20, 0xec, 0x00, 0xc8, 0x30, 0x91, 0xff};
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        qide_out(&d, LBA_MID, 0);
        qide_out(&d, STATUS, refused[i]);
        qtest_check_eq(qide_wait_ready(&d), READY | ERR);
        qtest_check_eq(qide_in(&d, ERROR), ABRT);
        qtest_check_eq(qide_in(&d, LBA_MID), i < 2 ? 0x14 : 0);
    }
    qide_in(&d, STATUS);
    qtest_outb(d.q, CONTROL, 4);
    qtest_check_eq(qide_in(&d, STATUS), BSY);
    qtest_outb(d.q, CONTROL, 0);
    check_signature(&d);
    qide_out(&d, STATUS, 0x90);
    check_signature(&d);
    qide_out(&d, STATUS, 0xa1);
    qtest_irq_count(d.q, IRQ);
    qide_read_block(&d, (uint8_t *)w, 1, true);
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 0);
    qtest_check_eq(w[0], 0x85c0);
    qide_check_string(w + 10, 10, "A-serial");
    qide_check_string(w + 23, 4, "7.6");
    qide_check_string(w + 27, 20, "A-model");
    qtest_check_eq(w[49] & 0x300, 0x300);
    qtest_check_eq(w[88], 0x203f);
    qide_check_command(&d, 0xef, 0x03, 0x22, 0);
    qide_check_command(&d, 0xef, 0x03, 0x47, ABRT);
    qide_check_command(&d, 0xef, 0x02, 0, ABRT);
    qide_out(&d, STATUS, 0xa1);
    qide_read_block(&d, (uint8_t *)w, 1, false);
    qtest_check_eq(w[63], 0x0407);
    qide_check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(qide_in(&d, COUNT), 0xff);
    qide_check_command(&d, 0xe0, 0, 0, 0);
    qide_close(&d);
}

/* Commands that any unit has. */
static void test_common(void)
{
    Ide d = open_disc();
    uint8_t buf[512];

    qtest_check_eq(qcd_command(&d, (Packet){0}, NULL, 0), 0);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 0, 0, 0, 255}, buf, sizeof buf), 36);
    qtest_check_eq(buf[0] << 8 | buf[1], 0x0580);
    qtest_check_mem(buf + 8, "QEMU    QEMU DVD-ROM    2.5+", 28);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 0, 0, 0, 5}, buf, sizeof buf), 5);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 0, 0, 0, 0}, buf, sizeof buf), 0);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 1, 0, 0, 255}, buf, sizeof buf), 7);
    qtest_check_mem(buf, "\5\0\0\3\0\x80\x83", 7);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 1, 0x80, 0, 255}, buf, sizeof buf), 11);
    qtest_check_mem(buf + 3, "\7QM00001", 8);
    qtest_check_eq(qcd_command(&d, (Packet){0x12, 1, 0x83, 0, 255}, buf, sizeof buf), 15);
    qcd_refused(&d, (Packet){0x12, 1, 0xb0, 0, 255}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x12, 0, 0x80, 0, 255}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x12, 2, 0, 0, 255}, BAD_FIELD);
    qtest_check_eq(qcd_command(&d, (Packet){0xa0, [9] = 64}, buf, sizeof buf), 16);
    qtest_check_mem(buf, "\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    qcd_refused(&d, (Packet){0xa0, [9] = 8}, BAD_FIELD);
    qtest_check_eq(qcd_command(&d, (Packet){0x25}, buf, sizeof buf), 8);
    qtest_check_eq(GUINT32_FROM_BE(*(uint32_t *)buf), CD_SECTORS - 1);
    qtest_check_eq(GUINT32_FROM_BE(*(uint32_t *)(buf + 4)), CD_SECTOR);
    /* A disk's commands, audio, and what nobody has. */
    static const uint8_t absent[] = {0x04, 0x08, 0x0a, 0x2a, 0x35, 0x45, 0x47, 0x48,
                                     0x4b, 0x4e, 0x88, 0x9e, 0xa5, 0xaa, 0xe0, 0xff};
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        qcd_refused(&d, (Packet){absent[i]}, BAD_OPCODE);
    }
    qide_close(&d);
}

static void test_mode(void)
{
    Ide d = open_disc();
    uint8_t buf[512];

    qtest_check_eq(qcd_command(&d, (Packet){0x5a, 0, 0x2a, [8] = 255}, buf, 512), 28);
    qtest_check_eq(buf[1], 26);
    qtest_check_eq(buf[8], 0x2a);
    qtest_check_eq(buf[9], 18);
    qtest_check_eq(buf[14] & 0x29, 0x29);
    qtest_check_eq(qcd_command(&d, (Packet){0x5a, 0, 0x3f, [7] = 1}, buf, 512), 8 + 8 + 16 + 20);
    qtest_check_eq(qcd_command(&d, (Packet){0x1a, 0, 0x01, 0, 64}, buf, 512), 4 + 8);
    qtest_check_eq(buf[4] << 8 | buf[5], 0x0106);
    qtest_check_eq(qcd_command(&d, (Packet){0x1a, 0, 0x41, 0, 64}, buf, 512), 4 + 8);
    qtest_check_eq(buf[7], 0); /* nothing can be changed */
    qcd_refused(&d, (Packet){0x5a, 0, 0xea, [8] = 255}, 0x053900);
    qcd_refused(&d, (Packet){0x5a, 0, 0x09, [8] = 255}, BAD_FIELD);
    /* MODE SELECT of what is the case, by blocks of 6 bytes; and of what is not. */
    for (unsigned i = 0; i < 3; i++) {
        static const uint8_t page[16] = {[8] = 1, 6, 0, 1}, other[16] = {[8] = 1, 6, 0, 9};
        const uint8_t *list = i == 1 ? other : page;

        qtest_irq_count(d.q, IRQ);
        qcd_packet(&d, (Packet){0x55, 0x10, [8] = i == 2 ? 12 : 16}, 7);
        for (unsigned at = 0; at < (i == 2 ? 12 : 16);) {
            unsigned len;

            qtest_check_eq(qide_wait_ready(&d), READY | DRQ);
            qtest_check_eq(qide_in(&d, COUNT), REASON_OUT);
            len = qide_in(&d, LBA_MID);
            qtest_check_eq(len, MIN(6, (i == 2 ? 12 : 16) - at));
            for (unsigned k = 0; k < len; k += 2) {
                qtest_outw(d.q, BASE, list[at + k] | list[at + k + 1] << 8);
            }
            at += len;
        }
        qtest_check_eq(qide_wait_ready(&d), i ? CHECK : READY);
        qtest_check_ge(qtest_irq_count(d.q, IRQ), 1);
        qtest_check_eq(qcd_sense(&d), i == 2 ? BAD_LENGTH : i ? 0x052600 : 0);
    }
    qcd_refused(&d, (Packet){0x55, 0, [8] = 16}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x55, 0x10, [7] = 0x20}, BAD_LENGTH);
    qide_close(&d);
}

static void test_toc(void)
{
    Ide d = open_disc();
    uint8_t buf[512];

    qtest_check_eq(qcd_command(&d, (Packet){0x43, [7] = 1}, buf, 512), 20);
    static const uint8_t toc[20] = {0,
                                    18,
                                    1,
                                    1,
                                    0,
                                    0x14,
                                    1,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0x14,
                                    0xaa,
                                    0,
                                    0,
                                    0,
                                    CD_SECTORS >> 8,
                                    CD_SECTORS & 255};
    qtest_check_mem(buf, toc, 20);
    qtest_check_eq(qcd_command(&d, (Packet){0x43, 2, [6] = 0xaa, [7] = 1}, buf, 512), 12);
    qtest_check_mem(buf, "\0\12\1\1\0\x14\xaa\0\0\0\12\0", 12); /* 750 sectors are 10 s */
    qtest_check_eq(qcd_command(&d, (Packet){0x43, [7] = 1, [9] = 0x40}, buf, 512), 12);
    qtest_check_mem(buf, "\0\12\1\1\0\x14\1\0\0\0\0\0", 12);
    qtest_check_eq(qcd_command(&d, (Packet){0x43, 2, 2, [7] = 1}, buf, 512), 4 + 4 * 11);
    qtest_check_mem(buf, "\0\x2e\1\1\1\x14\0\xa0\0\0\0\0\1\0\0", 15);
    qtest_check_mem(buf + 26, "\1\x14\0\xa2\0\0\0\0\0\12\0", 11);
    qtest_check_eq(qcd_command(&d, (Packet){0x43, [8] = 4}, buf, 512), 4);
    qcd_refused(&d, (Packet){0x43, [6] = 2, [7] = 1}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x43, 0, 5, [7] = 1}, BAD_FIELD);
    qide_close(&d);
}

/* What a drive tells of itself and its disc. */
static void test_disc(void)
{
    Ide d = open_disc();
    uint8_t buf[4096];
    size_t n = qcd_command(&d, (Packet){0x46, [7] = 8}, buf, 4096);

    qtest_check_eq(GUINT32_FROM_BE(*(uint32_t *)buf), n - 4);
    qtest_check_eq(buf[7], 8); /* a CD */
    qtest_check_mem(buf + 8, "\0\0\3\10\0\x10\0\0\0\10\1\0", 12);
    qtest_check_eq(qcd_command(&d, (Packet){0x46, 2, 0, 0x1e, [7] = 8}, buf, 4096), 16);
    qtest_check_mem(buf + 8, "\0\x1e\x9\4", 4);
    qtest_check_eq(qcd_command(&d, (Packet){0x46, 2, 0, 0x1f, [7] = 8}, buf, 4096), 16);
    qtest_check_eq(buf[10] & 1, 0);
    qtest_check_eq(qcd_command(&d, (Packet){0x46, 2, 1, 0x23, [7] = 8}, buf, 4096), 8);
    qcd_refused(&d, (Packet){0x46, 3, [7] = 8}, BAD_FIELD);
    qtest_check_eq(qcd_command(&d, (Packet){0x51, [7] = 1}, buf, 4096), 34);
    qtest_check_mem(buf, "\0\x20\xe\1\1\1\1\x20", 8);
    qcd_refused(&d, (Packet){0x51, 1, [7] = 1}, BAD_FIELD);
    for (unsigned i = 0; i < 3; i++) {
        qtest_check_eq(qcd_command(&d, (Packet){0x52, i, [5] = 1, [7] = 1}, buf, 4096), 36);
        qtest_check_eq(GUINT32_FROM_BE(*(uint32_t *)(buf + 24)), CD_SECTORS);
    }
    qcd_refused(&d, (Packet){0x52, 1, [5] = 2, [7] = 1}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x52, 0, [4] = 2, 0x58, [7] = 1}, BAD_FIELD);
    qtest_check_eq(qcd_command(&d, (Packet){0xbd, [9] = 64}, buf, 4096), 8);
    qtest_check_eq(buf[1], 0);
    qtest_check_eq(qcd_command(&d, (Packet){0x42, [7] = 1}, buf, 4096), 4);
    qtest_check_eq(buf[1], 0x15);
    qtest_check_eq(qcd_command(&d, (Packet){0x42, 0, 0x40, 1, [7] = 1}, buf, 4096), 16);
    qtest_check_eq(qcd_command(&d, (Packet){0x42, 0, 0x40, 2, [7] = 1}, buf, 4096), 24);
    qtest_check_eq(qcd_command(&d, (Packet){0x42, 0, 0x40, 3, [6] = 1, 1}, buf, 4096), 24);
    qcd_refused(&d, (Packet){0x42, 0, 0x40, 0, [7] = 1}, BAD_FIELD);
    qcd_refused(&d, (Packet){0x42, 0, 0x40, 3, [7] = 1}, BAD_FIELD);
    qtest_check_eq(qcd_command(&d, (Packet){0xbb, 0, 0xff, 0xff}, NULL, 0), 0);
    qtest_check_eq(qcd_command(&d, (Packet){0x2b, [4] = 1}, NULL, 0), 0);
    qcd_refused(&d, (Packet){0x2b, [4] = 3}, BAD_ADDRESS);
    qcd_refused(&d, (Packet){0xad, [8] = 16}, 0x053002);
    qtest_check_eq(qcd_command(&d, (Packet){0xad, [7] = 0xff, 16}, buf, 4096), 20);
    qide_close(&d);
}

/* What is longer than a CD. */
static void test_dvd(void)
{
    g_autofree char *path = qcd_make_disc("dvd.iso", SEED, 1);
    const uint32_t sectors = 2298496;
    uint8_t buf[4096];

    qtest_check_eq(truncate(path, (off_t)sectors * CD_SECTOR), 0);
    Ide d = qcd_open(path, "", "");
    qtest_check_eq(qcd_command(&d, (Packet){0x46, [7] = 8}, buf, 4096) > 8, 1);
    qtest_check_eq(buf[7], 0x10);
    qtest_check_eq(qcd_command(&d, (Packet){0xad, [8] = 16}, buf, 4096), 2052);
    qtest_check_mem(buf, "\x8\x2\0\0\1\xf\1\0\0\3\0\0", 12);
    qtest_check_eq(GUINT32_FROM_BE(*(uint32_t *)(buf + 12)), 0x30000 + sectors - 1);
    qtest_check_eq(qcd_command(&d, (Packet){0xad, [7] = 1, 16}, buf, 4096), 8);
    qtest_check_eq(qcd_command(&d, (Packet){0xad, [7] = 4, 16}, buf, 4096), 2052);
    qcd_refused(&d, (Packet){0xad, [6] = 1, 0, 16}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xad, [7] = 2, 16}, BAD_FIELD);
    qcd_check_disc(&d, SEED, 0);
    /* Addresses in minutes do not wrap. */
    qtest_check_eq(qcd_command(&d, (Packet){0x43, 2, [6] = 0xaa, [7] = 1}, buf, 512), 12);
    qtest_check_eq(buf[9], 255);
    qide_close(&d);
}

/* Sectors by PIO, in blocks of all sizes. */
static void test_read(void)
{
    static const uint16_t limits[] = {2048, 0xfffe, 0xffff, 512, 100, 2, 3, 4097, 32768};
    Ide d = open_disc();
    g_autofree uint8_t *buf = g_malloc(40 * CD_SECTOR);
    Packet read;

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        unsigned n = limits[i] > 2000 ? 20 : 1;

        qcd_read_10(read, 17 + i, n);
        qcd_packet(&d, read, limits[i]);
        qtest_check_eq(qcd_read_data(&d, buf, n * CD_SECTOR, limits[i] & ~1), n * CD_SECTOR);
        qtest_check_eq(qide_in(&d, STATUS), READY);
        qtest_check_eq(qide_in(&d, COUNT), REASON_END);
        for (unsigned k = 0; k < n; k++) {
            qcd_check_sector(buf + k * CD_SECTOR, SEED, 17 + i + k);
        }
    }
    qcd_read_10(read, 0, 0);
    qtest_check_eq(qcd_command(&d, read, NULL, 0), 0);
    const Packet read_12 = {0xa8, [4] = 1, [9] = 3};
    qtest_check_eq(qcd_command(&d, read_12, buf, 3 * CD_SECTOR), 3 * CD_SECTOR);
    qcd_check_sector(buf + 2 * CD_SECTOR, SEED, 258);
    qcd_check_disc(&d, SEED, CD_SECTORS - 1);
    /* Addresses past the end. */
    qcd_read_10(read, CD_SECTORS - 1, 2);
    qcd_refused(&d, read, BAD_ADDRESS);
    qcd_read_10(read, UINT32_MAX, 1);
    qcd_refused(&d, read, BAD_ADDRESS);
    qcd_refused(&d, (Packet){0xa8, [4] = 1, [6] = 0xff, 0xff, 0xff, 0xff}, BAD_ADDRESS);
    /* VERIFY. */
    qtest_check_eq(qcd_command(&d, (Packet){0x2f, [7] = 2, 0x58}, NULL, 0), 0);
    qcd_refused(&d, (Packet){0x2f, [7] = 2, 0x59}, BAD_ADDRESS);
    qcd_refused(&d, (Packet){0x2f, 2, [8] = 1}, BAD_FIELD);
    /* No byte may come, overlap, and words that nobody has. */
    qcd_read_10(read, 0, 1);
    qide_out(&d, ERROR, 0);
    qide_out(&d, LBA_MID, 0);
    qide_out(&d, LBA_HIGH, 0);
    qide_out(&d, STATUS, 0xa0);
    for (unsigned i = 0; i < 12; i += 4) {
        qtest_outl(d.q, BASE, *(uint32_t *)(read + i));
    }
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qtest_check_eq(qide_in(&d, ERROR), ABRT);
    qide_out(&d, ERROR, 2);
    qide_out(&d, STATUS, 0xa0);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qtest_check_eq(qide_in(&d, ERROR), ABRT);
    qtest_outw(d.q, BASE, 1);
    qtest_check_eq(qtest_inw(d.q, BASE), 0);
    qcd_check_disc(&d, SEED, 3);
    qide_close(&d);
}

/* READ CD: what of a sector is asked for. */
static void test_read_cd(void)
{
    Ide d = open_disc();
    uint8_t buf[3 * 2352], *raw = buf + 2352;

    qtest_check_eq(qcd_command(&d, (Packet){0xbe, [5] = 9, [8] = 2, 0x10}, buf, sizeof buf), 4096);
    qcd_check_sector(buf + CD_SECTOR, SEED, 10);
    qtest_check_eq(qcd_command(&d, (Packet){0xbe, 8, [5] = 9, [8] = 3, 0xf8}, buf, sizeof buf),
                   3 * 2352);
    qtest_check_mem(raw, "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\2\x10\1", 16);
    qcd_check_sector(raw + 16, SEED, 10);
    qtest_check_mem(raw + 2068, "\0\0\0\0\0\0\0\0", 8);
    qtest_check_ne(*(uint32_t *)(raw + 2064), 0);
    qtest_check_eq(qcd_command(&d, (Packet){0xb9, 0, 0, 0, 2, 9, 0, 2, 10, 0x30}, buf, sizeof buf),
                   2052);
    qtest_check_mem(buf, "\0\2\x9\1", 4);
    qcd_check_sector(buf + 4, SEED, 9);
    qtest_check_eq(qcd_command(&d, (Packet){0xbe, [5] = 9, [8] = 1, 0x00}, buf, sizeof buf), 0);
    qcd_refused(&d, (Packet){0xbe, 4, [5] = 9, [8] = 1, 0x10}, 0x056400); /* audio */
    qcd_refused(&d, (Packet){0xbe, 0, [5] = 9, [8] = 1, 0x12}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xbe, 0, [5] = 9, [8] = 1, 0x10, 1}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xbe, 0, [5] = 9, [8] = 1, 0x90}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xbe, [4] = 2, 0x58, [8] = 1, 0x10}, BAD_ADDRESS);
    qcd_refused(&d, (Packet){0xb9, 0, 0, 0, 1, 0, 0, 2, 10, 0x10}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xb9, 0, 0, 0, 2, 9, 0, 2, 8, 0x10}, BAD_FIELD);
    qcd_refused(&d, (Packet){0xb9, 0, 0, 0, 2, 75, 0, 3, 8, 0x10}, BAD_FIELD);
    qide_close(&d);
}

/* DMA: pieces of all sizes, data that is the drive's own, tables that are too short. */
static void test_dma(void)
{
    Ide d = open_disc();
    g_autofree uint8_t *buf = g_malloc(200 * CD_SECTOR);
    Packet read;

    qide_prd(&d, 0, d.data, 2);
    qide_prd(&d, 1, d.data + 100, 3000);
    qide_prd(&d, 2, d.data + 8192, (2 * CD_SECTOR - 3002) | EOT);
    qcd_read_10(read, 100, 2);
    qtest_irq_count(d.q, IRQ);
    qcd_packet(&d, read, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qtest_check_eq(qide_in(&d, COUNT), REASON_END);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 1);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 2);
    qtest_read(d.q, d.data + 100, buf + 2, 3000);
    qtest_read(d.q, d.data + 8192, buf + 3002, 2 * CD_SECTOR - 3002);
    qcd_check_sector(buf, SEED, 100);
    qcd_check_sector(buf + CD_SECTOR, SEED, 101);
    /* Words. */
    for (unsigned i = 0; i < 1024; i++) {
        qide_prd(&d, i, d.data + 4 * i, 2 | (i == 1023 ? EOT : 0));
    }
    qcd_read_10(read, 7, 1);
    qcd_packet(&d, read, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_read(d.q, d.data + 4 * i, buf + 2 * i, 2);
    }
    qcd_check_sector(buf, SEED, 7);
    /* Many sectors; raw ones. */
    for (unsigned i = 0; i < 8; i++) {
        qide_prd(&d, i, d.data + i * 65536, i == 7 ? EOT : 0);
    }
    qcd_read_10(read, 50, 200);
    qcd_packet(&d, read, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 200 * CD_SECTOR);
    qcd_check_sector(buf + 199 * CD_SECTOR, SEED, 249);
    qcd_packet(&d, (Packet){0xbe, [8] = 100, 0xf8}, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 100 * 2352);
    qcd_check_sector(buf + 99 * 2352 + 16, SEED, 99);
    /* INQUIRY; MODE SELECT; no data. */
    qcd_packet(&d, (Packet){0x12, 0, 0, 0, 13}, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 14);
    qtest_check_mem(buf + 8, "QEMU ", 5);
    qtest_memset(d.q, d.data, 0, 16);
    qtest_writel(d.q, d.data + 8, 0x01000601);
    qcd_packet(&d, (Packet){0x55, 0x10, [8] = 16}, 0);
    qide_dma_start(&d, 0);
    qtest_check_eq(qide_dma_wait(&d), ACTIVE | INTERRUPT);
    qide_dma_stop(&d);
    qcd_packet(&d, (Packet){0}, 0);
    qtest_check_eq(qide_wait_ready(&d), READY);
    /* Too short: the drive waits, and goes on with another table. */
    qide_prd(&d, 0, d.data, (CD_SECTOR + 100) | EOT);
    qcd_read_10(read, 20, 3);
    qcd_packet(&d, read, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
    qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
    qpci_writeb(d.bm, BM_COMMAND, 0);
    qide_prd(&d, 0, d.data + CD_SECTOR, (2 * CD_SECTOR) | EOT);
    qide_dma_start(&d, TO_MEMORY);
    qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
    qide_dma_stop(&d);
    qtest_read(d.q, d.data, buf, 3 * CD_SECTOR);
    for (unsigned i = 0; i < 3; i++) {
        qcd_check_sector(buf + i * CD_SECTOR, SEED, 20 + i);
    }
    /* No RAM. */
    qide_prd(&d, 0, 0xe0000000, CD_SECTOR | EOT);
    qcd_read_10(read, 20, 1);
    qcd_packet(&d, read, 0);
    qide_dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(qide_bm_status(&d) & ACTIVE));
    qtest_check_eq(qide_bm_status(&d), BM_ERROR);
    qide_dma_stop(&d);
    qide_out(&d, STATUS, 0x08);
    check_signature(&d);
    qcd_check_disc(&d, SEED, 3);
    qide_close(&d);
}

/* DEVICE RESET and the channel's reset, in every phase. */
static void test_reset(void)
{
    Ide d = open_disc();
    Packet read;

    for (unsigned i = 0; i < 24; i++) {
        bool dma = i & 1;

        qide_prd(&d, 0, d.data, 0 | EOT);
        if (i % 6 < 2) { /* in the middle of the packet */
            qide_out(&d, STATUS, 0xa0);
            qtest_outw(d.q, BASE, 0x28);
        } else {
            qcd_read_10(read, 40, 30);
            qcd_packet(&d, read, dma ? 0 : 2048);
            if (dma) {
                qide_dma_start(&d, TO_MEMORY);
            } else if (i % 6 < 4) {
                qide_wait_ready(&d);
            }
        }
        if (i < 12) {
            qide_out(&d, STATUS, 0x08);
            qtest_wait_until(!(qtest_inb(d.q, CONTROL) & BSY));
        } else {
            qtest_outb(d.q, CONTROL, 4);
            qtest_outb(d.q, CONTROL, 0);
        }
        check_signature(&d);
        qtest_check(!qtest_irq(d.q, IRQ));
        qpci_writeb(d.bm, BM_COMMAND, 0);
        qcd_check_disc(&d, SEED, 9);
    }
    qcd_read_10(read, 40, 30);
    qcd_packet(&d, read, 2048);
    qtest_system_reset(d.q);
    check_signature(&d);
    qcd_refused(&d, (Packet){0}, POWER_ON);
    qcd_check_disc(&d, SEED, 9);
    qide_close(&d);
}

/* While SRST is set the drive takes no command, and no DEVICE RESET. */
static void test_reset_is_held(void)
{
    Ide d = open_disc();
    Packet read;

    qcd_read_10(read, 40, 30);
    for (unsigned i = 0; i < 8; i++) {
        qide_out(&d, LBA_HIGH, 2048 >> 8);
        qtest_outb(d.q, CONTROL, 4);
        qide_out(&d, STATUS, 0x08);
        qtest_check_eq(qtest_inb(d.q, CONTROL), BSY);
        qide_out(&d, STATUS, 0xa0);
        for (unsigned j = 0; j < 12; j += 2) {
            qtest_outw(d.q, BASE, read[j] | read[j + 1] << 8);
        }
        qtest_check_eq(qtest_inb(d.q, CONTROL), BSY);
        qtest_outb(d.q, CONTROL, 0);
        check_signature(&d);
        qcd_check_disc(&d, SEED, 9);
    }
    qide_close(&d);
}

/* State in the middle of a packet, of a block, of a DMA that waits. */
static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = open_disc();
    uint8_t buf[40 * CD_SECTOR];
    Packet read;

    for (unsigned i = 0; i < 3; i++) {
        size_t n = 0;

        qcd_read_10(read, 100, 40);
        if (i == 0) {
            qide_out(&d, ERROR, 0);
            qide_out(&d, LBA_MID, 0xfe);
            qide_out(&d, LBA_HIGH, 0xff);
            qide_out(&d, STATUS, 0xa0);
            qtest_outl(d.q, BASE, *(uint32_t *)read);
        } else if (i == 1) {
            qcd_packet(&d, read, 2048);
            for (; n < 100; n += 2) {
                qide_wait_ready(&d);
                *(uint16_t *)(buf + n) = qtest_inw(d.q, BASE);
            }
        } else {
            qide_prd(&d, 0, d.data, 0);
            qide_prd(&d, 1, d.data + 65536, (40 * CD_SECTOR - 65536) | EOT);
            qcd_packet(&d, read, 0);
        }
        json_decref(qtest_qmp(d.q, "stop", NULL));
        json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
        qtest_system_reset(d.q);
        json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
        json_decref(qtest_qmp(d.q, "cont", NULL));
        if (i == 0) {
            qtest_outl(d.q, BASE, *(uint32_t *)(read + 4));
            qtest_outl(d.q, BASE, *(uint32_t *)(read + 8));
        } else if (i == 1) {
            for (; n < CD_SECTOR; n += 2) {
                *(uint16_t *)(buf + n) = qtest_inw(d.q, BASE);
            }
        }
        if (i < 2) {
            qtest_check_eq(qcd_read_data(&d, buf + n, sizeof buf - n, 0xfffe), sizeof buf - n);
        } else {
            qide_dma_start(&d, TO_MEMORY);
            qtest_check_eq(qide_dma_wait(&d), INTERRUPT);
            qide_dma_stop(&d);
            qtest_read(d.q, d.data, buf, sizeof buf);
        }
        for (unsigned k = 0; k < 40; k++) {
            qcd_check_sector(buf + k * CD_SECTOR, SEED, 100 + k);
        }
    }
    qide_close(&d);
}

/* -cdrom, -drive media=cdrom, drives without a disc, the boot order, and names. */
static void test_command_line(void)
{
    g_autofree char *path = qcd_make_disc("disc.iso", SEED, CD_SECTORS);
    g_autofree char *text = NULL;
    char order[256] = {0};
    uint32_t len;
    uint16_t key;
    QTest *q = qtest_startf(MACHINE "-cdrom %s -drive if=ide,media=cdrom,index=1 "
                                    "-device ide-cd,bus=ide.1,unit=1,id=third,bootindex=1 "
                                    "-device ide-cd,bus=ide.0",
                            path);
    static const char *const parts[] = {
        "ide1-cd0 (#block",
        "disc.iso (raw, read-only)",
        "Removable device: not locked, tray closed",
        "ide0-cd1: [not inserted]",
        "Attached to:      third",
    };

    text = qtest_hmp(q, "info block");
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        qtest_check(strstr(text, parts[i]));
    }
    key = qtest_fw_cfg_find(q, "bootorder", &len);
    qtest_check(key && len < sizeof order);
    qtest_fw_cfg_read(q, key, order, len);
    qtest_check_str(order, "/pci@i0cf8/ide@1,1/drive@1/disk@1");
    qtest_outb(q, 0x177, 0xa1);
    qtest_check_eq(qtest_inb(q, 0x376), READY | DRQ);
    qtest_end(q);
    static const struct {
        const char *args, *message;
    } cases[] = {
        {"-device ide-cd,logical_block_size=4096", "the sectors of a CD have 2048 bytes"},
        {"-device ide-cd,min_io_size=2048", "the sectors of a CD have 2048 bytes"},
        {"-device ide-cd,unit=2", "Can't create IDE unit 2, bus supports only 2 units"},
        {"-device ide-cd,cyls=2", "Property 'ide-cd.cyls' not found"},
        {"-drive media=cdrom,index=0 -drive media=cdrom,index=0", "(index=0) exists"},
        {"-cdrom /nonexistent/disc.iso", "/nonexistent/disc.iso"},
        {"-drive media=cdrom,readonly=off", "read-only"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *args = g_strconcat(MACHINE, cases[i].args, NULL);
        int status;
        g_autofree char *said = qtest_start_fails(args, &status);

        qtest_check(strstr(said, cases[i].message));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
}

static const QTestCase cases[] = {
    {"identify", test_identify},
    {"common", test_common},
    {"mode", test_mode},
    {"toc", test_toc},
    {"disc", test_disc},
    {"dvd", test_dvd},
    {"read", test_read},
    {"read-cd", test_read_cd},
    {"dma", test_dma},
    {"reset", test_reset},
    {"a reset that is held", test_reset_is_held},
    {"state", test_state},
    {"command-line", test_command_line},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

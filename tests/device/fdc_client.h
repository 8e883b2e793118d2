/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of isa-fdc: its registers, commands and results, DMA channel 2, and images. */
#ifndef TESTS_FDC_CLIENT_H
#define TESTS_FDC_CLIENT_H

#include "qtest_client.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define SECTOR  512u
#define SECTORS 2880u /* of the usual image: 18 * 2 * 80 */
#define IRQ     6
#define DATA    0x200000u /* guest memory for DMA */

enum { SRB = 0x3f1, DOR, TDR, MSR, FIFO, DIR_REG = 0x3f7, DSR = MSR, CCR = DIR_REG };
enum { RQM = 0x80, DIO = 0x40, NON_DMA = 0x20, BUSY = 0x10, IDLE = RQM, RESULTS = 0xd0 };
enum { NRESET = 0x04, GATE = 0x08, MOTOR_A = 0x10, MOTOR_B = 0x20 };
enum { RATE_500K, RATE_300K, RATE_250K, RATE_1M };
enum { ABNORMAL = 0x40, SEEK_OVER = 0x20, EQUIPMENT = 0x10, INVALID = 0x80 };
enum { END = 0x80, CRC = 0x20, OVERRUN = 0x10, NO_DATA = 4, NOT_WRITABLE = 2, NO_ADDRESS = 1 };
enum { MARK = 0x40, WRONG_CYL = 0x10, HIT = 8, UNSATISFIED = 4 };
enum { READ = 0x46, READ_MT = 0xc6, WRITE = 0x45, WRITE_MT = 0xc5, VERIFY = 0x56, FORMAT = 0x4d };

typedef struct {
    QTest *q;
    char *path;
    bool pio;
} Floppy;

/* What a command is about, and what it answers. */
typedef struct {
    uint8_t cyl, head, sector;
} Chs;

/* Sector n has n in its first two bytes, and n + i * 7 behind them. */
void qfdc_fill_sector(uint8_t *buf, uint32_t n);
char *qfdc_make_image(const char *name, unsigned sectors);
/* With a 1.44 MB image in drive A:; 'drive' is for -drive (if=none,id=f), 'args' is behind it. */
Floppy qfdc_open(const char *drive, const char *args);
/* Reset is over, rate and SPECIFY are set. */
void qfdc_prepare(Floppy *f, uint8_t rate, bool pio);
void qfdc_close(Floppy *f);

void qfdc_out(Floppy *f, uint8_t value); /* a byte of a command, which is awaited */
uint8_t qfdc_in(Floppy *f);              /* of a result, which is there */
void qfdc_command(Floppy *f, unsigned n, ...);
/* Waits for n bytes of result, and for the end of the result phase behind them. */
void qfdc_results(Floppy *f, unsigned n, uint8_t *results);
/* A command that has no data, and its result of one byte. */
#define qfdc_ask(f, ...) qfdc_ask_(f, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))
uint8_t qfdc_ask_(Floppy *f, const uint8_t *bytes, unsigned n);
void qfdc_sense(Floppy *f, uint8_t st0, uint8_t track);

enum { TO_MEMORY = 0x44, FROM_MEMORY = 0x48, VERIFIES = 0x40 };
void qfdc_dma(Floppy *f, uint8_t mode, uint32_t addr, uint32_t len);
/* Begins a command with nine bytes; 'eot' and 'last' are those before and behind the gap. */
void qfdc_begin(Floppy *f, uint8_t code, uint8_t select, Chs at, uint8_t eot, uint8_t last);
/* Its end: the interrupt, status bytes, and where it stands. */
void qfdc_end(Floppy *f, uint8_t st0, uint8_t st1, uint8_t st2, Chs at);

/* One sector through the drive, by DMA or the FIFO as 'pio' says. */
void qfdc_read_sector(Floppy *f, uint8_t select, Chs at, uint8_t *buf);
void qfdc_check_sector(Floppy *f, Chs at, uint32_t content);

#endif

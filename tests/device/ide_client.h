/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of piix3-ide: the registers of its first channel, PIO, DMA, and a disk to use. */
#ifndef TESTS_IDE_CLIENT_H
#define TESTS_IDE_CLIENT_H

#include "qtest_client.h"

#define MACHINE  "-machine pc -m 64 -nodefaults "
#define SECTOR   512u
#define DISK_MIB 8u
#define SECTORS  (DISK_MIB * 2048u)
#define BASE     0x1f0
#define CONTROL  0x3f6
#define IRQ      14

enum { ERROR = 1, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS };
enum { ERR = 0x01, DRQ = 0x08, DSC = 0x10, DRDY = 0x40, BSY = 0x80, READY = DRDY | DSC };
enum { ABRT = 0x04, IDNF = 0x10, UNC = 0x40 };
enum { LBA = 0xe0, CHS = 0xa0, SLAVE = 0x10 };
enum { BM_COMMAND, BM_STATUS = 2, BM_TABLE = 4 };
enum { ACTIVE = 1, BM_ERROR = 2, INTERRUPT = 4, START = 1, TO_MEMORY = 8 };
#define EOT 0x80000000u

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bm;
    uint64_t table, data;
    char *path;
} Ide;

/* Byte i of sector n is n + i * 7. */
void qide_fill_sector(uint8_t *buf, uint32_t n);
char *qide_make_disk(void);
void qide_attach(Ide *d);
Ide qide_open(const char *drive, const char *device);
void qide_close(Ide *d);
void qide_out(Ide *d, unsigned reg, uint8_t value);
uint8_t qide_in(Ide *d, unsigned reg);
uint8_t qide_wait_ready(Ide *d);
/* A command with a 28-bit address, or CHS: 'lba' is sector | cylinder << 8. */
void qide_command(Ide *d, uint8_t code, uint8_t device, uint32_t lba, uint8_t count);
void qide_command_ext(Ide *d, uint8_t code, uint64_t lba, uint16_t count);
/* A command without data ends with this error, and one interrupt. 0: well. */
void qide_check_command(Ide *d, uint8_t code, uint8_t features, uint8_t count, uint8_t error);
void qide_check_sector(const uint8_t *buf, uint32_t n);
/* The device has 'n' sectors for us: words, or doublewords. */
void qide_read_block(Ide *d, uint8_t *buf, unsigned n, bool wide);
void qide_write_block(Ide *d, const uint8_t *buf, unsigned n, bool wide);
void qide_check_disk(Ide *d, uint32_t lba, uint32_t content);
void qide_identify(Ide *d, uint16_t *words);
void qide_check_string(const uint16_t *words, unsigned n, const char *want);
void qide_prd(Ide *d, unsigned n, uint32_t addr, uint32_t bytes);
uint8_t qide_bm_status(Ide *d);
void qide_dma_start(Ide *d, uint8_t direction);
void qide_dma_stop(Ide *d);
/* Runs to its interrupt; the bus master's status. */
uint8_t qide_dma_wait(Ide *d);
void qide_check_usable(Ide *d);

#endif

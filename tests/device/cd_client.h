/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of ide-cd: packets, their data by PIO and DMA, sense data, and discs. */
#ifndef TESTS_CD_CLIENT_H
#define TESTS_CD_CLIENT_H

#include "ide_client.h"

#define CD_SECTOR  2048u
#define CD_SECTORS 600u
#define CHECK      (READY | ERR)

enum { REASON_PACKET = 1, REASON_OUT = 0, REASON_IN = 2, REASON_END = 3 };
enum {
    NO_MEDIUM = 0x023a01,
    TRAY_OPEN = 0x023a02,
    UNREADABLE = 0x031100,
    BAD_LENGTH = 0x051a00,
    BAD_OPCODE = 0x052000,
    BAD_ADDRESS = 0x052100,
    BAD_FIELD = 0x052400,
    LOCKED = 0x055302,
    NEW_MEDIUM = 0x062800,
    POWER_ON = 0x062900,
};

typedef uint8_t Packet[12];

/* Byte i of sector n is n * seed + i * 3 + (i >> 8). */
void qcd_fill_sector(uint8_t *buf, unsigned seed, uint32_t n);
/* A disc in the test's folder, with 'sectors' of that; its path. */
char *qcd_make_disc(const char *name, unsigned seed, uint32_t sectors);
void qcd_check_sector(const uint8_t *buf, unsigned seed, uint32_t n);
/*
 * A drive 'cd0' at drive 0 of the first channel, with disc 'path' (NULL: empty) and arguments that
 * follow -drive's and -device's. The first unit attention was taken.
 */
Ide qcd_open(const char *path, const char *drive, const char *device);
/* Gives the packet; blocks of data have at most 'limit' bytes, 0: data comes by DMA. */
void qcd_packet(Ide *d, const uint8_t *packet, uint16_t limit);
/* The data that the drive has, in blocks, until it ends the command; the number of bytes. */
size_t qcd_read_data(Ide *d, uint8_t *buf, size_t max, uint16_t limit);
/* A command with data in, or without data, that ends well. */
size_t qcd_command(Ide *d, const uint8_t *packet, uint8_t *buf, size_t max);
/* The command has ended with CHECK CONDITION: key << 16 | code << 8 | qualifier. */
uint32_t qcd_sense(Ide *d);
/* A command that is refused; 'sense' as above. */
void qcd_refused(Ide *d, const uint8_t *packet, uint32_t sense);
void qcd_read_10(uint8_t *packet, uint32_t lba, uint16_t sectors);
/* Reads a sector of a disc by PIO and checks it. */
void qcd_check_disc(Ide *d, unsigned seed, uint32_t lba);

#endif

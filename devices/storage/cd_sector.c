/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors of mode 1 as they are on a CD (ECMA-130): sync, header, 2048 bytes, and the codes that
 * detect and correct errors, for drivers that read whole sectors.
 */
#include "base/util.h"
#include "cd_sector.h"

enum {
    HEADER = 12,
    DATA = 16,
    EDC = DATA + CD_DATA_SIZE, /* 4 bytes, then 8 of zero */
    P_PARITY = 2076,           /* of pairs of columns and rows, which begin at the header */
    Q_PARITY = 2248,
};

static uint8_t cd_bcd(unsigned n)
{
    return n / 10 << 4 | n % 10;
}

/* Annex B, 14.3: the CRC of (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1), lowest bit first. */
static uint32_t cd_edc(const uint8_t *data, size_t len)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xd8018001u : 0);
        }
    }
    return crc;
}

/* Times alpha in GF(2^8) by x^8 + x^4 + x^3 + x^2 + 1. */
static uint8_t cd_alpha(uint8_t n)
{
    return n << 1 ^ (n & 0x80 ? 0x1d : 0);
}

static uint8_t cd_power(uint8_t n, unsigned exponent)
{
    while (exponent--) {
        n = cd_alpha(n);
    }
    return n;
}

/* n / (1 + alpha): 1 + alpha is alpha^25, and alpha^255 is 1. */
static uint8_t cd_divide(uint8_t n)
{
    return cd_power(n, 230);
}

/*
 * Annex A: Reed-Solomon codes. Word 'n' of a code consists of 'len' bytes; two bytes of parity make
 * the sums of all, and of all times falling powers of alpha, zero. place() is where a byte lies,
 * relative to the header; the parity bytes follow each other at 'words' distance.
 */
static void cd_parity(uint8_t *area, unsigned words, unsigned len, uint8_t *parity,
                      unsigned (*place)(unsigned word, unsigned i))
{
    for (unsigned word = 0; word < words; word++) {
        uint8_t sum = 0, weighted = 0, first;

        for (unsigned i = 0; i < len; i++) {
            uint8_t byte = area[place(word, i)];

            sum ^= byte;
            weighted = cd_alpha(weighted ^ byte);
        }
        /* first + second = sum; alpha * first + second = alpha * weighted */
        weighted = cd_alpha(weighted);
        first = cd_divide(weighted ^ sum);
        parity[word] = first;
        parity[word + words] = first ^ sum;
    }
}

/* 43 columns of 24 rows, of words of two bytes: the bytes of each half are a code of their own. */
static unsigned cd_place_p(unsigned word, unsigned i)
{
    return word + 86 * i;
}

/* 26 diagonals of 43. */
static unsigned cd_place_q(unsigned word, unsigned i)
{
    unsigned n = (word / 2 * 43 + i * 44) % 1118;

    return 2 * n + word % 2;
}

void cd_sector_mode_1(uint8_t sector[CD_SECTOR_SIZE], uint64_t address,
                      const uint8_t data[CD_DATA_SIZE])
{
    memset(sector, 0, CD_SECTOR_SIZE);
    memset(sector + 1, 0xff, 10);
    sector[HEADER] = cd_bcd(address / 75 / 60 % 100);
    sector[HEADER + 1] = cd_bcd(address / 75 % 60);
    sector[HEADER + 2] = cd_bcd(address % 75);
    sector[HEADER + 3] = 1;
    memcpy(sector + DATA, data, CD_DATA_SIZE);
    stle32(sector + EDC, cd_edc(sector, EDC));
    cd_parity(sector + HEADER, 86, 24, sector + P_PARITY, cd_place_p);
    cd_parity(sector + HEADER, 52, 43, sector + Q_PARITY, cd_place_q);
}

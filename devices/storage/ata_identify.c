/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an ATA disk tells of itself: IDENTIFY DEVICE (6.17) and SMART (6.54). */
#include "ata.h"

#include "base/util.h"

uint64_t ata_sectors(const AtaDrive *d)
{
    return MIN(MAX(block_backend_length(d->blk), 0) / ATA_SECTOR, BIT64(48) - 1);
}

void ata_identify_word(uint8_t *data, unsigned word, uint16_t value)
{
    stle16(data + 2 * word, value);
}

static void ata_dword(uint8_t *data, unsigned word, uint32_t value)
{
    stle32(data + 2 * word, value);
}

/* The first character of a word is in its high byte; spaces fill up (3.2.9). */
void ata_identify_string(uint8_t *data, unsigned word, unsigned words, const char *text)
{
    size_t len = strlen(text);

    for (unsigned i = 0; i < 2 * words; i++) {
        data[(2 * word + i) ^ 1] = i < len ? text[i] : ' ';
    }
}

static void ata_identify_geometry(const AtaDrive *d, uint8_t *data)
{
    const AtaState *s = &d->s;
    uint64_t total = ata_sectors(d), current = (uint64_t)s->cyls * s->heads * s->secs;

    ata_identify_word(data, 1, d->identity.cyls);
    ata_identify_word(data, 3, d->identity.heads);
    ata_identify_word(data, 6, d->identity.secs);
    ata_identify_word(data, 54, s->cyls);
    ata_identify_word(data, 55, s->heads);
    ata_identify_word(data, 56, s->secs);
    ata_dword(data, 57, MIN(current, UINT32_MAX));
    ata_dword(data, 60, MIN(total, BIT(28) - 1));
    stle64(data + 2 * 100, total);
}

void ata_identify_modes(uint8_t *data, uint8_t mode)
{
    uint8_t n = mode & 7;

    ata_identify_word(data, 62, 0x0007); /* single word DMA, of older standards */
    ata_identify_word(data, 63, 0x0007 | (mode >> 3 == 4 ? BIT(8 + n) : 0));
    ata_identify_word(data, 64, 0x0003); /* PIO 3 and 4 */
    for (unsigned i = 65; i <= 68; i++) {
        ata_identify_word(data, i, 120); /* ns of a cycle */
    }
    ata_identify_word(data, 88, 0x003f | (mode >> 3 == 8 ? BIT(8 + n) : 0));
}

bool ata_choose_mode(uint8_t *current, uint8_t mode)
{
    uint8_t n = mode & 7;

    switch (mode >> 3) {
    case 0: /* the default PIO mode, with IORDY or without */
        return n <= 1;
    case 1: /* PIO with flow control */
        return n <= 4;
    case 4: /* multiword DMA */
        *current = n <= 2 ? mode : *current;
        return n <= 2;
    case 8: /* Ultra DMA */
        *current = n <= 5 ? mode : *current;
        return n <= 5;
    default:
        return false;
    }
}

static void ata_identify_features(const AtaDrive *d, uint8_t *data)
{
    const AtaIdentity *id = &d->identity;
    uint16_t wwn = id->wwn ? BIT(8) : 0;

    ata_identify_word(data, 80, 0x00f0);               /* ATA/ATAPI-4 to -7 */
    ata_identify_word(data, 81, 0x0016);               /* ATA/ATAPI-6 T13 1410D revision 0 */
    ata_identify_word(data, 82, BIT(14) | BIT(5) | 1); /* NOP, write cache, SMART */
    ata_identify_word(data, 83,
                      BIT(14) | BIT(13) | BIT(12) | BIT(10)); /* FLUSH CACHE (EXT), LBA48 */
    ata_identify_word(data, 84, BIT(14) | wwn);
    ata_identify_word(data, 85, BIT(14) | (d->s.write_cache ? BIT(5) : 0) | d->s.smart);
    ata_identify_word(data, 86, BIT(13) | BIT(12) | BIT(10));
    ata_identify_word(data, 87, BIT(14) | wwn);
    if (wwn) {
        for (unsigned i = 0; i < 4; i++) {
            ata_identify_word(data, 108 + i, id->wwn >> (48 - 16 * i));
        }
    }
    if (id->trim) {
        ata_identify_word(data, 69, BIT(14)); /* reads after a TRIM are deterministic */
        ata_identify_word(data, 169, 1);
    }
    ata_identify_word(data, 217, id->rotation_rate);
}

void ata_identify(const AtaDrive *d, uint8_t *data)
{
    const AtaIdentity *id = &d->identity;

    memset(data, 0, ATA_SECTOR);
    ata_identify_word(data, 0, 0x0040); /* a fixed disk */
    ata_identify_string(data, 10, 10, id->serial);
    ata_identify_string(data, 23, 4, id->version);
    ata_identify_string(data, 27, 20, id->model);
    ata_identify_word(data, 47, 0x8000 | ATA_MULTIPLE_MAX);
    ata_identify_word(data, 48, 1);                         /* 32-bit data accesses */
    ata_identify_word(data, 49, BIT(11) | BIT(9) | BIT(8)); /* IORDY, LBA, DMA */
    ata_identify_word(data, 51, 0x0200);                    /* PIO 2 */
    ata_identify_word(data, 52, 0x0200);
    ata_identify_word(data, 53, 7); /* words 54 to 58, 64 to 70, and 88 are valid */
    ata_identify_word(data, 59, d->s.multiple ? BIT(8) | d->s.multiple : 0);
    ata_identify_geometry(d, data);
    ata_identify_modes(data, d->s.transfer_mode);
    ata_identify_features(d, data);
    ata_identify_word(data, 93, d->ata.unit ? 0x6e01 : 0x6001); /* the cable has 80 wires */
    ata_identify_word(data, 106,
                      BIT(14) | BIT(13) |
                          __builtin_ctz(id->physical_block_size / id->logical_block_size));
}

/* SMART. Attributes of a disk that never failed; vendor-specific, but of common layout. */

enum { SMART_REVISION = 0x0010, SMART_CHECKSUM = 511, SMART_SUPPORT = 368 };

static const struct {
    uint8_t id;
    uint16_t flags;
    uint8_t value, threshold;
} attributes[] = {
    {1, 0x0003, 100, 6},  /* raw read error rate */
    {5, 0x0003, 100, 36}, /* reallocated sectors */
    {9, 0x0003, 100, 0},  /* power-on hours */
    {12, 0x0003, 100, 0}, /* power cycles */
};

/* The last byte makes the sum of all zero. */
static void ata_smart_sum(uint8_t *data)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < SMART_CHECKSUM; i++) {
        sum += data[i];
    }
    data[SMART_CHECKSUM] = -sum;
}

void ata_smart_data(const AtaDrive *d, uint8_t *data)
{
    memset(data, 0, ATA_SECTOR);
    stle16(data, SMART_REVISION);
    for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
        uint8_t *a = data + 2 + 12 * i;

        a[0] = attributes[i].id;
        stle16(a + 1, attributes[i].flags);
        a[3] = a[4] = attributes[i].value; /* and the worst so far */
    }
    stle16(data + SMART_SUPPORT, 0x0003); /* attributes are saved; no tests, no logs */
    ata_smart_sum(data);
}

void ata_smart_thresholds(uint8_t *data)
{
    memset(data, 0, ATA_SECTOR);
    stle16(data, SMART_REVISION);
    for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
        data[2 + 12 * i] = attributes[i].id;
        data[3 + 12 * i] = attributes[i].threshold;
    }
    ata_smart_sum(data);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by ata.c, which moves data, and ata_command.c, which has the commands. */
#ifndef DEVICES_STORAGE_ATA_INTERNAL_H
#define DEVICES_STORAGE_ATA_INTERNAL_H

#include "ata.h"
#include "base/util.h"

static inline AtaDrive *ata_drive(const AtaDevice *ata)
{
    return container_of(ata, AtaDrive, ata);
}

/* What a command asks of the disk. */
typedef enum {
    ATA_KIND_NONE,
    ATA_KIND_READ,
    ATA_KIND_WRITE,
    ATA_KIND_VERIFY,
    ATA_KIND_FLUSH,
    ATA_KIND_TRIM,
} AtaKind;

typedef struct AtaCommand AtaCommand;
struct AtaCommand {
    uint8_t first, last; /* codes */
    AtaKind kind;
    bool ext;       /* 48-bit addresses */
    bool dma;       /* data by DMA, else by PIO */
    uint8_t block;  /* sectors of a block; 0: as SET MULTIPLE MODE says */
    uint8_t detail; /* for 'run' */
    void (*run)(AtaDrive *d, const AtaCommand *c);
};

/* NULL: there is no such command. */
const AtaCommand *ata_find_command(uint8_t code);
/* Sectors of a block of the command in progress. */
uint32_t ata_block_sectors(const AtaDrive *d);

void ata_command(AtaDevice *ata, uint8_t command);
/* The phases begin. The host is told of a block to read, not of the first that it writes. */
void ata_begin_disk(AtaDrive *d);
void ata_begin_dma(AtaDrive *d);
void ata_begin_pio_in(AtaDrive *d, uint32_t len);
void ata_begin_pio_out(AtaDrive *d);
/* The command ends: well, or with these bits of the error register (ata_abort(): ABRT). */
void ata_end(AtaDrive *d);
void ata_refuse(AtaDrive *d, uint8_t error);
void ata_abort(AtaDrive *d);
/* Puts an address into the registers, in the form that the command has. */
void ata_set_address(AtaDrive *d, uint64_t lba);
/* The drive's signature, after a reset and EXECUTE DEVICE DIAGNOSTIC. */
void ata_set_signature(AtaDevice *ata);
void ata_set_intrq(AtaDrive *d, bool level);
/* What a command does when its request to the disk has ended well. */
void ata_flushed(AtaDrive *d);

#endif

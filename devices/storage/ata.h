/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ATA disk: an AtaDevice, with its registers and commands. (AT Attachment with Packet
 * Interface - 7, volume 1. Sections below are this standard's.) Requests to the disk are made on
 * the main loop alone: whatever begins one calls ata_kick(), and ata_run() follows there. A drive
 * has one request at a time; the state describes it in full.
 */
#ifndef DEVICES_STORAGE_ATA_H
#define DEVICES_STORAGE_ATA_H

#include "ata_device.h"
#include "base/wait_list.h"
#include "block/parking.h"

#define ATA_MULTIPLE_MAX 16u /* sectors of one block of READ and WRITE MULTIPLE */
#define ATA_BUFFER_SIZE  (ATA_MULTIPLE_MAX * ATA_SECTOR)
#define ATA_PARKED_WORDS 8

/* What a command does at the moment. */
typedef enum {
    ATA_PHASE_IDLE,
    ATA_PHASE_PIO_IN,  /* the host reads 'buffer' */
    ATA_PHASE_PIO_OUT, /* the host fills 'buffer' */
    ATA_PHASE_DISK,    /* a request from or to 'buffer', or without data */
    ATA_PHASE_DMA,     /* data between disk and guest memory, when the transport lets it */
    ATA_PHASE_COUNT,
} AtaPhase;

typedef enum { ATA_POWER_ACTIVE, ATA_POWER_STANDBY, ATA_POWER_SLEEP, ATA_POWER_COUNT } AtaPower;

/*
 * Of the registers that have two bytes, [0] is what was written last, [1] what was written before
 * (6.2: 48-bit commands use both).
 */
#define ATA_STATE(X)                                                                               \
    X(A, uint8_t, features, 2)                                                                     \
    X(A, uint8_t, count, 2)                                                                        \
    X(A, uint8_t, lba_low, 2)                                                                      \
    X(A, uint8_t, lba_mid, 2)                                                                      \
    X(A, uint8_t, lba_high, 2)                                                                     \
    X(F, uint8_t, device)                                                                          \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, error)                                                                           \
    X(F, bool, intrq)      /* the drive asks for an interrupt */                                   \
    X(F, uint8_t, command) /* the one in progress, or the last */                                  \
    X(F, uint8_t, phase)                                                                           \
    X(F, uint8_t, power)                                                                           \
    X(F, uint8_t, multiple)      /* sectors of a block; 0: READ and WRITE MULTIPLE are off */      \
    X(F, uint8_t, transfer_mode) /* of SET FEATURES */                                             \
    X(F, uint16_t, cyls)         /* the current CHS translation */                                 \
    X(F, uint8_t, heads)                                                                           \
    X(F, uint8_t, secs)                                                                            \
    X(F, bool, write_cache)                                                                        \
    X(F, bool, smart)                                                                              \
    X(F, uint64_t, lba)        /* of the next sector that the command moves */                     \
    X(F, uint32_t, left)       /* sectors that it has still to move; TRIM: of the list */          \
    X(F, uint32_t, position)   /* in 'buffer' */                                                   \
    X(F, uint32_t, buffer_len) /* of the block that is in 'buffer' */                              \
    X(A, uint8_t, buffer, ATA_BUFFER_SIZE)                                                         \
    X(F, uint32_t, parked_words)                                                                   \
    X(V, uint32_t, parked, parked_words, ATA_PARKED_WORDS)
STATE_STRUCT(AtaState, ATA_STATE);
const StateDesc *ata_state_desc(void);

typedef struct AtaDrive AtaDrive;

/* What IDENTIFY DEVICE says; strings are at most 20, 40 and 8 characters. */
typedef struct {
    const char *serial, *model, *version;
    uint64_t wwn; /* 0: none */
    uint32_t cyls, heads, secs;
    uint32_t logical_block_size, physical_block_size;
    uint16_t rotation_rate;
    bool trim;
} AtaIdentity;

struct AtaDrive {
    AtaDevice ata;
    DeviceBh *bh;
    BlockBackend *blk;
    AtaIdentity identity;
    bool original_write_cache;
    AtaState s;
    bool running; /* requests may begin */
    bool careful; /* a sector of the command is bad: no more is read at once than a block */
    /* Written on the main loop only, atomic: without the lock where a request is parked. */
    bool in_flight;
    WaitList idle; /* until !in_flight */
    BlockRequest io;
    bool io_mapped; /* ata.iov is guest memory */
    /* For parking, made when the request begins: park() may not look at the state. */
    uint32_t words[ATA_PARKED_WORDS];
};

/* 'run' calls ata_run(). */
void ata_init(AtaDrive *d, Device *dev, DeviceFn run, unsigned unit, const AtaTransport *transport);
void ata_destroy(AtaDrive *d);
extern const BlockDeviceOps ata_block_ops; /* 'data' is the AtaDrive */

/* Main loop, the machine stands still. */
void ata_power_on(AtaDrive *d);
/* Main loop, without the lock: lets the request in flight end. */
void coroutine_fn ata_wait(AtaDrive *d);

/* Begins the request that the state describes, if there is one and it may begin. */
void ata_kick(AtaDrive *d); /* ... soon */
void ata_run(AtaDrive *d);  /* main loop */
void ata_run_state(AtaDrive *d, bool running);
void ata_pre_save(AtaDrive *d);
bool ata_check_state(const AtaState *s, GError **err);
void ata_post_load(AtaDrive *d);

/* ata_identify.c: 512 bytes of IDENTIFY DEVICE, of SMART READ DATA and READ THRESHOLDS. */
uint64_t ata_sectors(const AtaDrive *d);
void ata_identify(const AtaDrive *d, uint8_t *data);
void ata_smart_data(const AtaDrive *d, uint8_t *data);
void ata_smart_thresholds(uint8_t *data);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A drive with the PACKET feature set: an AtaDevice that carries SCSI commands to a ScsiUnit. (AT
 * Attachment with Packet Interface - 7, volume 1, 4.3 and 8.)
 *
 * The state describes everything: the request is the one of the state's command. Requests to the
 * medium are made on the main loop alone; commands about the drive end on the thread that gives
 * them.
 */
#ifndef DEVICES_STORAGE_ATAPI_H
#define DEVICES_STORAGE_ATAPI_H

#include "ata_device.h"
#include "scsi.h"

#define ATAPI_PACKET_SIZE 12
#define ATAPI_BUFFER_SIZE (32u * 1024)

typedef enum {
    ATAPI_PHASE_IDLE,
    ATAPI_PHASE_PACKET,    /* the host writes the packet */
    ATAPI_PHASE_PIO_IN,    /* the host reads 'buffer' */
    ATAPI_PHASE_PIO_OUT,   /* the host fills 'buffer' */
    ATAPI_PHASE_DISK,      /* the request needs the medium, from or to 'buffer' */
    ATAPI_PHASE_DMA,       /* data between medium and guest memory, when the transport lets it */
    ATAPI_PHASE_RESETTING, /* DEVICE RESET waits for what is in flight */
    ATAPI_PHASE_COUNT,
} AtapiPhase;

#define ATAPI_STATE(X)                                                                             \
    X(F, uint8_t, features)                                                                        \
    X(F, uint8_t, reason) /* the sector count register */                                          \
    X(F, uint8_t, lba_low)                                                                         \
    X(F, uint8_t, count_low) /* bytes of a block: most, and those that come now */                 \
    X(F, uint8_t, count_high)                                                                      \
    X(F, uint8_t, device)                                                                          \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, error)                                                                           \
    X(F, bool, intrq)                                                                              \
    X(F, uint8_t, command) /* the one in progress, or the last */                                  \
    X(F, uint8_t, phase)                                                                           \
    X(F, bool, dma)              /* of the PACKET command in progress */                           \
    X(F, uint16_t, limit)        /* of a block of data by PIO; even */                             \
    X(F, uint8_t, transfer_mode) /* of SET FEATURES */                                             \
    X(F, uint32_t, position)     /* in 'buffer' */                                                 \
    X(F, uint32_t, block_end)    /* of the block that the host moves */                            \
    X(F, uint32_t, buffer_len)                                                                     \
    X(V, uint8_t, buffer, buffer_len, ATAPI_BUFFER_SIZE)
STATE_STRUCT(AtapiState, ATAPI_STATE);
const StateDesc *atapi_state_desc(void);

typedef struct {
    AtaDevice ata;
    ScsiUnit unit;
    ScsiRequest request;
    DeviceBh *bh;
    AtapiState s;
    bool running;          /* requests may begin */
    bool mapped, to_guest; /* ata.iov is guest memory */
    /* What IDENTIFY PACKET DEVICE says; at most 20, 40 and 8 characters. */
    const char *serial, *model, *version;
} AtapiDrive;

/* The unit's identity was set; 'blk' was attached with scsi_cd_block_ops. 'run' calls atapi_run().
 */
void atapi_init(AtapiDrive *d, Device *dev, DeviceFn run, unsigned unit, BlockBackend *blk,
                const AtaTransport *transport);
void atapi_destroy(AtapiDrive *d);
/* Main loop, the machine stands still. */
void atapi_power_on(AtapiDrive *d);
void atapi_run(AtapiDrive *d); /* main loop */
void atapi_run_state(AtapiDrive *d, bool running);
bool atapi_check_state(const AtapiState *s, GError **err);
void atapi_post_load(AtapiDrive *d);

#endif

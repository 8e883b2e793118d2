/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device on an ATA bus as its host sees it: registers, data, resets. (AT Attachment with Packet
 * Interface - 7, volume 1; ATA's word is 'device', ours is drive.) A disk (ata.h) and a CD drive
 * (atapi.h) are such; the ports of an IDE channel or an AHCI port carry registers and data.
 *
 * The Device that embeds it lends its lock, which all functions want held but where said otherwise.
 */
#ifndef DEVICES_STORAGE_ATA_DEVICE_H
#define DEVICES_STORAGE_ATA_DEVICE_H

#include "base/iov.h"
#include "vm/device.h"

#define ATA_SECTOR 512u
/* Pieces of guest memory of one request. A sector of a CD has 1176, if each is one word. */
#define ATA_IOV_MAX 1184

/* Of the status register (6.2.11) and the error register (6.2.6). */
enum {
    ATA_STATUS_ERR = 0x01,
    ATA_STATUS_DRQ = 0x08,
    ATA_STATUS_DSC = 0x10, /* seek complete: of older standards */
    ATA_STATUS_DF = 0x20,
    ATA_STATUS_DRDY = 0x40,
    ATA_STATUS_BSY = 0x80,
    ATA_ERROR_ABRT = 0x04,
    ATA_ERROR_IDNF = 0x10,
    ATA_ERROR_UNC = 0x40,
    ATA_DEVICE_DEV = 0x10,
    ATA_DEVICE_LBA = 0x40,
};

/* Registers by their offset in the command block. */
enum {
    ATA_REG_DATA,
    ATA_REG_ERROR, /* written: features */
    ATA_REG_COUNT,
    ATA_REG_LBA_LOW,
    ATA_REG_LBA_MID,
    ATA_REG_LBA_HIGH,
    ATA_REG_DEVICE,
    ATA_REG_STATUS, /* written: command */
};

/* Commands that the channel knows of, as they concern more than a drive that is ready. */
enum { ATA_COMMAND_DEVICE_RESET = 0x08, ATA_COMMAND_DIAGNOSTIC = 0x90 };

typedef struct AtaDevice AtaDevice;

typedef struct {
    /* Registers. 'hob': the byte that was written before the last one. A status read lowers INTRQ.
     */
    uint8_t (*read)(AtaDevice *d, unsigned reg, bool hob);
    void (*write)(AtaDevice *d, unsigned reg, uint8_t value); /* not data, not command */
    uint8_t (*alternate_status)(const AtaDevice *d);
    bool (*intrq)(const AtaDevice *d); /* the drive asks for an interrupt */
    void (*command)(AtaDevice *d, uint8_t command);
    /* Words of the data register: 'size' is 2 or 4. */
    uint32_t (*read_data)(AtaDevice *d, unsigned size);
    void (*write_data)(AtaDevice *d, uint32_t value, unsigned size);
    /*
     * A reset by software begins (SRST is set), and ends. In between the caller has quiesce()
     * called if busy().
     */
    void (*reset_begin)(AtaDevice *d);
    void (*reset_end)(AtaDevice *d);
    /* Of a reset's end, and of EXECUTE DEVICE DIAGNOSTIC, which both drives of a channel obey. */
    void (*set_signature)(AtaDevice *d);
    /* Whether a reset has to wait in quiesce(). */
    bool (*busy)(const AtaDevice *d);
    /*
     * Main loop, without the lock. quiesce() gives up the requests of the drive; wait() lets that
     * in flight end. Both yield until there is none.
     */
    void coroutine_fn (*quiesce)(AtaDevice *d);
    void coroutine_fn (*wait)(AtaDevice *d);
    /* The request that the state describes begins soon, if there is one and it may begin. */
    void (*kick)(AtaDevice *d);
} AtaDeviceOps;

typedef struct {
    /* The level of the drive's interrupt, intrq(), may have changed. */
    void (*interrupt)(AtaDevice *d);
    /* Whether the transport can move data. When that becomes so it calls kick(). */
    bool (*dma_ready)(AtaDevice *d);
    /*
     * Fills d->iov with at most 'bytes' of guest memory, from the transport's position on. Returns
     * their number: 'bytes', or a multiple of 'granule'. 0: its memory has ended, and it is not
     * ready any more. Main loop, ready.
     */
    uint32_t (*dma_map)(AtaDevice *d, uint32_t bytes, uint32_t granule, bool to_guest);
    /*
     * Ends a dma_map(): 'moved' bytes have been moved, and the transport's position with them: all,
     * or none. Main loop; with the lock only if 'moved' is not 0.
     */
    void (*dma_unmap)(AtaDevice *d, bool to_guest, uint32_t moved);
} AtaTransport;

struct AtaDevice {
    const AtaDeviceOps *ops;
    Device *dev;
    unsigned unit; /* 0 or 1 */
    const AtaTransport *transport;
    struct iovec iov[ATA_IOV_MAX];
    unsigned niov;
};

static inline bool ata_device_occupied(const AtaDevice *d)
{
    return d->ops->alternate_status(d) & (ATA_STATUS_BSY | ATA_STATUS_DRQ);
}

/* Parts of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ata_identify.c). */
void ata_identify_word(uint8_t *data, unsigned word, uint16_t value);
void ata_identify_string(uint8_t *data, unsigned word, unsigned words, const char *text);
/* The modes of transfer that can be chosen, and the one that is. */
void ata_identify_modes(uint8_t *data, uint8_t mode);
enum { ATA_MODE_DEFAULT = 0x45 }; /* Ultra DMA 5 */
/* SET FEATURES (6.51): false if 'mode' is none of those that are offered. */
bool ata_choose_mode(uint8_t *current, uint8_t mode);

#endif

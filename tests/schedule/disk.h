/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host I/O of the explorer: disks in memory. What is asked for waits until the seed takes it, in
 * any order, on a thread of its own; some of it fails. The driver 'seeddisk' is a protocol with an
 * engine, so both ways into the block layer's end are used; and it copies from disk to disk, or
 * not.
 *
 * Beside its bytes a disk has a model of what each sector may hold: one value, or, where a write
 * was taken back or failed, the old ones and the new.
 */
#ifndef TESTS_SCHEDULE_DISK_H
#define TESTS_SCHEDULE_DISK_H

#include "baton.h"
#include "block/node.h"

enum {
    DISK_MAX = 4,        /* virtio disks; behind them: */
    DISK_IDE = DISK_MAX, /* two on an IDE channel */
    DISK_IDE_MAX = 2,
    DISK_STICK = DISK_IDE + DISK_IDE_MAX,
    DISK_FLOPPY,
    DISK_ALL,              /* that guests know; behind them: */
    DISK_CHAIN = DISK_ALL, /* the images of a virtio disk with a backing chain */
    DISK_CHAIN_MAX = 4,
    DISK_TWIN = DISK_CHAIN + DISK_CHAIN_MAX, /* what that disk is copied to */
    DISK_SEEDED,
    DISK_CHAIN_ROOM = 4 << 20, /* bytes that such an image may take */
    DISK_SECTOR = 512,
    DISK_SECTORS = 64, /* that the guest uses */
    DISK_MORE = 16,    /* that come and go with the disk's length */
    DISK_VALUES = 8,   /* that a sector may hold, at most; more: anything */
};

typedef struct {
    uint32_t values[DISK_VALUES];
    unsigned count; /* > DISK_VALUES: anything */
    bool writing;   /* a write is under way: no other, and no read, is compared with it */
    unsigned reading;
} DiskSector;

typedef struct {
    uint8_t *data;
    int fd;                         /* of an image: of what data is */
    uint64_t length;                /* atomic */
    bool broken;                    /* atomic: writes fail */
    bool unflushed[DISK_SECTORS];   /* atomic: written since the last flush */
    DiskSector model[DISK_SECTORS]; /* the guest's: under its lock */
} Disk;

extern Disk disks[DISK_SEEDED];
extern const BlockDriver seeddisk_driver;

/*
 * The thread that serves all disks. One in so many requests fails; 0: none. Those to the stick take
 * so many times as long as others.
 */
void disks_start(Rand *rand, unsigned error_in, unsigned nospace_in, unsigned stick_pace);
/* From now on nothing fails. */
void disks_heal(void);
void disks_stop(void);
/* A sector, from 'first' on, that no flush has come to since it was written; or -1. */
int disk_unflushed(unsigned disk, unsigned first, unsigned count);
/* What was loaded is no matter of this host's caches. */
void disk_flushed(Disk *disk);
/* Requests that no disk has finished. */
unsigned disks_pending(void);

void disk_may_hold(DiskSector *s, uint32_t value);
void disk_holds(DiskSector *s, uint32_t value);
bool disk_fits(const DiskSector *s, uint32_t value);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backup jobs: a copy of a disk as it was when the job began, while the guest goes on writing. */
#ifndef BLOCK_BACKUP_H
#define BLOCK_BACKUP_H

#include "block/copy_offload.h"
#include "block/dirty_bitmap.h"
#include "block/job.h"

/* What is copied. QAPI's MirrorSyncMode, in its order. */
typedef enum {
    BACKUP_SYNC_TOP,         /* what the disk's own image holds */
    BACKUP_SYNC_FULL,        /* the whole disk */
    BACKUP_SYNC_NONE,        /* only what the guest overwrites */
    BACKUP_SYNC_INCREMENTAL, /* BITMAP with ON_SUCCESS */
    BACKUP_SYNC_BITMAP       /* what is dirty in the bitmap */
} BackupSync;
/* When the bitmap becomes what was written since the backup began. BitmapSyncMode. */
typedef enum {
    BACKUP_BITMAP_ON_SUCCESS,
    BACKUP_BITMAP_NEVER,
    BACKUP_BITMAP_ALWAYS
} BackupBitmapMode;
extern const char *const backup_sync_names[], *const backup_bitmap_mode_names[];

typedef struct {
    BlockNode *source, *target;
    BackupSync sync;
    BlockDirtyBitmap *bitmap; /* of the source; NULL: none */
    BackupBitmapMode bitmap_mode;
    bool compress;
    BlockOffloadMode offload; /* whether the kernel copies */
    unsigned max_workers;     /* pieces that are copied at a time */
    uint64_t max_chunk;       /* bytes of a piece; 0: no limit but the job's own */
    const char *filter_name;  /* NULL: queries show the disk below the filter */
    BlockOnError on_source_error, on_target_error;
} BlockBackup;

/*
 * The job, with its filter open, for an action of a transaction: the source is drained, the lock of
 * changes is held. The filter is above the source once the caller has carried out
 * block_backup_change(); then block_backup_start(). Instead: block_backup_discard().
 */
Job *coroutine_fn block_backup_new(const JobOptions *opts, const BlockBackup *what, GError **err);
void block_backup_change(Job *job, BlockChange *c);
void coroutine_fn block_backup_start(Job *job);
void coroutine_fn block_backup_discard(Job *job);

#endif

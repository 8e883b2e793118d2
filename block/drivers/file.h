/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the drivers 'file', 'host_device' and 'host_cdrom' share. Private to block/. */
#ifndef BLOCK_DRIVERS_FILE_H
#define BLOCK_DRIVERS_FILE_H

#include "../core.h"
#include "../engine.h"

/* The file system's last answer: [start, end) is data, or a hole. */
typedef struct {
    uint64_t start, end; /* end 0: nothing is known */
    bool data;
    uint64_t gen; /* file_extent_gen() when it was asked */
} FileExtent;

/* BLOCK_PERM_*: what this process uses, and what it denies to others. */
typedef struct {
    unsigned perm, unshared;
} FileLocks;

typedef struct {
    /* Options. */
    char *filename;
    int aio; /* BlockAio, of file_aio_names */
    bool has_aio;
    int locking; /* OnOffAuto */
    uint32_t aio_max_batch;
    bool drop_cache;

    int fd;
    int next_fd;                        /* reopen_prepare() has opened it; -1: none */
    uint32_t next_request, next_memory; /* alignment of next_fd */
    const Engine *engine;
    bool is_device;
    bool is_cdrom;                /* host_cdrom.c; is_device, too */
    bool has_disc;                /* atomic */
    bool door_locked;             /* by this process */
    bool no_locks;                /* the kernel or file system has none */
    bool alone;                   /* atomic; locked: no other process writes */
    FileLocks locks, next;        /* held, and wanted by perms_prepare() */
    int64_t length;               /* atomic */
    int64_t room;                 /* atomic: the host's file may be as long, and has zeroes there */
    bool making_room;             /* atomic */
    bool no_room;                 /* atomic: the file system said so */
    bool no_zero_range, no_punch; /* atomic: the file system said so */
    GMutex extent_lock;           /* leaf: guards 'extent' */
    FileExtent extent;
    uint64_t punch_gen; /* atomic: changes so far that may have made holes */
    int flush_error;    /* atomic: errno of the first failed fdatasync; later ones fail as well */
} FileState;

/*
 * Moves the locks of a file from 'old' to 'new': takes what 'old' has not, and gives up nothing
 * yet. False, with QEMU's error text, where another process's locks conflict: then 'old' is held.
 */
bool file_lock(int fd, const char *filename, FileLocks old, FileLocks new, GError **err);
/* Takes locks that another descriptor of this process holds, and does not test them. */
void file_lock_again(int fd, const char *filename, FileLocks locks);
/* Gives up what 'old' has and 'new' has not. */
void file_unlock(int fd, FileLocks old, FileLocks new);
bool file_locks_supported(int fd);

/* file.c */
/* The length as the host tells it, or -errno. */
int64_t file_host_length(FileState *s);
/* Something was written up to 'end'. */
void file_grow_length(FileState *s, int64_t end);

/* host_cdrom.c */
/* What lies in the drive now: its length, and whether. True: that has changed. */
bool host_cdrom_look(FileState *s);
bool host_cdrom_has_medium(BlockNode *node);
bool coroutine_fn host_cdrom_follow_tray(BlockNode *node, BlockTrayMove move, bool lock);

/* file_map.c */
int file_open_to_map(BlockNode *node, GError **err);

/* file_space.c: functions of both drivers, but for make_empty. */
int coroutine_fn file_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    unsigned flags);
int coroutine_fn file_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes);
int coroutine_fn file_pcopy(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                            unsigned flags);
int coroutine_fn file_block_status(BlockNode *node, uint64_t offset, uint64_t bytes, uint64_t *pnum,
                                   uint64_t *map, BlockNode **file);
int coroutine_fn file_truncate(BlockNode *node, uint64_t size, GError **err);
int coroutine_fn file_preallocate(BlockNode *node, uint64_t offset, uint64_t bytes,
                                  BlockPreallocation mode);
int coroutine_fn file_make_empty(BlockNode *node, uint64_t length, bool *zero, GError **err);
int coroutine_fn host_device_make_empty(BlockNode *node, uint64_t length, bool *zero, GError **err);

#endif

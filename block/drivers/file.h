/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the 'file' and 'host_device' drivers share. Private to block/. */
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

typedef struct {
    /* Options. */
    char *filename;
    int aio; /* BlockAio, of file_aio_names */
    bool has_aio;
    int locking; /* OnOffAuto */

    int fd;
    const Engine *engine;
    bool is_device;
    bool alone;                   /* locked: no other process writes */
    int64_t length;               /* atomic */
    bool no_zero_range, no_punch; /* atomic: the file system said so */
    GMutex extent_lock;           /* leaf: guards 'extent' */
    FileExtent extent;
    uint64_t punch_gen; /* atomic: changes so far that may have made holes */
    int flush_error;    /* atomic: errno of the first failed fdatasync; later ones fail as well */
} FileState;

/* Permission bits, at these offsets from each base (QEMU's lock bytes). */
enum {
    FILE_PERM_CONSISTENT_READ = 1 << 0,
    FILE_PERM_WRITE = 1 << 1,
    FILE_PERM_WRITE_UNCHANGED = 1 << 2,
    FILE_PERM_RESIZE = 1 << 3,
};

/*
 * Locks the file: this process uses the permissions 'perm', and denies 'unshared' to others. False,
 * with QEMU's error text, where another process's locks conflict.
 */
bool file_lock(int fd, const char *filename, unsigned perm, unsigned unshared, GError **err);
bool file_locks_supported(int fd);

#endif

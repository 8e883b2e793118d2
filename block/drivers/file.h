/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the 'file' and 'host_device' drivers share. Private to block/. */
#ifndef BLOCK_DRIVERS_FILE_H
#define BLOCK_DRIVERS_FILE_H

#include "../core.h"
#include "../engine.h"

typedef struct {
    /* Options. */
    char *filename;
    int aio; /* BlockAio: index into file_aio_names */
    bool has_aio;
    int locking; /* OnOffAuto */

    int fd;
    const Engine *engine;
    bool is_device;
    bool locked;
    int64_t length;               /* atomic */
    bool no_zero_range, no_punch; /* atomic: the file system said so */
    int flush_error;              /* atomic: once fdatasync failed nobody can tell what is stable */
} FileState;

/* Permission bits, at these offsets from each base (QEMU's lock bytes). */
enum {
    FILE_PERM_CONSISTENT_READ = 1 << 0,
    FILE_PERM_WRITE = 1 << 1,
    FILE_PERM_WRITE_UNCHANGED = 1 << 2,
    FILE_PERM_RESIZE = 1 << 3,
};

/*
 * Takes the lock bytes for 'perm' held and 'unshared' refused to others, and looks whether others
 * hold what conflicts. False and *err in QEMU's words.
 */
bool file_lock(int fd, const char *filename, unsigned perm, unsigned unshared, GError **err);
bool file_locks_supported(int fd);

#endif

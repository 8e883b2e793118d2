/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Media: what lies in a removable drive, its tray and its lock. These are the backend's. A device
 * is removable if it has BlockDeviceOps.medium_changed, or while nobody has the backend.
 *
 * The guest's side: the device tells the backend when the guest moves the tray or locks the medium,
 * and asks it for both. The host's side: a monitor's commands, which the device hears of by
 * medium_changed() and eject_request(). A change drains the backend, so requests see the old medium
 * or the new one (-ENOMEDIUM where there is none).
 */
#ifndef BLOCK_MEDIA_H
#define BLOCK_MEDIA_H

#include "block/backend.h"

bool block_backend_removable(BlockBackend *blk);     /* main loop */
bool block_backend_tray_open(BlockBackend *blk);     /* any thread */
bool block_backend_medium_locked(BlockBackend *blk); /* any thread */

/*
 * The guest has moved the tray, or the device's state was loaded: sends DEVICE_TRAY_MOVED if that
 * is news. Any thread. The device asks for block_backend_medium_locked() before it opens the tray
 * for the guest.
 */
void block_backend_tray_moved(BlockBackend *blk, bool open);
/* The guest allows or prevents the removal of the medium. Any thread. */
void block_backend_lock_medium(BlockBackend *blk, bool locked);

/*
 * The guest has asked for something: where the medium is in a drive of the host's, a look at that
 * follows, at most twice a second. Any thread.
 */
void block_backend_poll_medium(BlockBackend *blk);

/*
 * The host's changes: coroutines on the main loop. 'who' is the device as the user named it, for
 * messages. 0, or -errno with *err set.
 *
 * open_tray: a tray that is open, or a drive without one, is no error. A locked medium
 * (-EINPROGRESS) stays, and the guest is asked to give it up; with 'force' it is unlocked.
 */
int coroutine_fn block_backend_open_tray(BlockBackend *blk, const char *who, bool force,
                                         GError **err);
int coroutine_fn block_backend_close_tray(BlockBackend *blk, const char *who, GError **err);
/* A drive with a tray wants it open. The backend takes its own reference to the node. */
int coroutine_fn block_backend_insert_medium(BlockBackend *blk, BlockNode *node, GError **err);
/* Likewise. A drive without a medium is no error. */
int coroutine_fn block_backend_remove_medium(BlockBackend *blk, const char *who, GError **err);

/*
 * All of it: opens the image (a NULL format is looked for), opens the tray, changes the medium, and
 * closes the tray. An image that cannot be opened, and a tray that stays closed, leave all as it
 * was.
 */
typedef enum {
    BLOCK_MEDIUM_RETAIN,
    BLOCK_MEDIUM_READ_ONLY,
    BLOCK_MEDIUM_READ_WRITE
} BlockMediumMode;
extern const char *const block_medium_mode_names[];
int coroutine_fn block_backend_change_medium(BlockBackend *blk, const char *who,
                                             const char *filename, const char *format,
                                             BlockMediumMode mode, bool force, GError **err);

typedef void (*BlockTrayHook)(BlockBackend *blk, bool open, void *data);
/* vm/ installs the hook; any thread may call it. */
void block_backend_set_tray_hook(BlockTrayHook hook, void *data);

#endif

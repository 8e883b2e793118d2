/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the device core share. */
#ifndef VM_DEVICE_INTERNAL_H
#define VM_DEVICE_INTERNAL_H

#include "base/coroutine.h"
#include "vm/device.h"
#include "vm/vm.h"

struct DeviceTree {
    GPtrArray *devices; /* in order of creation; owned */
    GPtrArray *buses;   /* borrowed */
    unsigned next_instance, next_unattached, next_anon;
    GMutex leaving_lock;
    GPtrArray *leaving; /* unplugged, to be destroyed; borrowed, under leaving_lock */
    CoMutex changes;    /* device_changes_begin() */
    bool closed;        /* device_changes_close() was called. Under 'changes' */
};

/* Takes dev off the list of unplugged devices, and keeps it off. Main loop. */
void device_leaves(Device *dev);
DeviceLock *device_lock_new(void);
DeviceLock *device_lock_ref(DeviceLock *lock);
void device_lock_unref(DeviceLock *lock);
/* Drops deferred work of dev, which is dead, that has not begun. Main loop, dev's lock held. */
void device_defer_forget(Device *dev);
/*
 * Between the two, accesses to devices with dev's lock wait, as they do for deferred work. Main
 * loop.
 */
void coroutine_fn device_defer_claim(Device *dev);
void device_defer_unclaim(Device *dev);
/* device_retire(), after the deferred work that runs on dev's lock now. Main loop. */
void device_defer_release(Device *dev);
/* Frees a Device once no thread can still read it (base/reclaim.h). */
void device_retire(void *dev);
/* Blocks (yields in a coroutine) until no deferred work is pending on the lock. */
void device_lock_defer_wait(DeviceLock *lock);

void device_tree_init(Vm *vm);
void device_tree_free(Vm *vm);
void device_free_loop_things(Device *dev);
char *device_anon_path(Vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the device core share. */
#ifndef VM_DEVICE_INTERNAL_H
#define VM_DEVICE_INTERNAL_H

#include "vm/device.h"
#include "vm/vm.h"

struct DeviceTree {
    GPtrArray *devices; /* in order of creation; owned */
    GPtrArray *buses;   /* borrowed */
    unsigned next_instance, next_unattached, next_anon;
    GMutex leaving_lock;
    GPtrArray *leaving; /* let go of, to be destroyed; borrowed, under leaving_lock */
    bool unplugging;    /* somebody is at it. Main loop */
};

/* Nobody has to destroy it any more. Main loop. */
void device_forget_leaving(Device *dev);
DeviceLock *device_lock_new(void);
DeviceLock *device_lock_ref(DeviceLock *lock);
void device_lock_unref(DeviceLock *lock);
/* Main loop, dev's lock held, dev is dead: work it deferred that has not begun is not done. */
void device_defer_forget(Device *dev);
/* Main loop: device_retire() when no deferred work on its lock is under way any more. */
void device_defer_release(Device *dev);
/* To be freed when no reader can hold it; takes a Device *. device.c */
void device_retire(void *dev);
/* Blocks (yields in a coroutine) until no deferred work is pending on the lock. */
void device_lock_defer_wait(DeviceLock *lock);

void device_tree_init(Vm *vm);
void device_tree_free(Vm *vm);
void device_free_loop_things(Device *dev);
char *device_anon_path(Vm *vm);

#endif

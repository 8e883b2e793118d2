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
};

DeviceLock *device_lock_new(void);
DeviceLock *device_lock_ref(DeviceLock *lock);
void device_lock_unref(DeviceLock *lock);
/* Blocks (yields in a coroutine) until no deferred work is pending on the lock. */
void device_lock_defer_wait(DeviceLock *lock);

void device_tree_init(Vm *vm);
void device_tree_free(Vm *vm);
void device_free_loop_things(Device *dev);
char *device_anon_path(Vm *vm);

#endif

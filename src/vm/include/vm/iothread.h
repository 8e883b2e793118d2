/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object iothread: a thread with an event loop, on which disks' queues run. The object owns thread
 * and loop. A device that names the object raises Object.users while it uses the loop. Main thread.
 */
#ifndef VM_IOTHREAD_H
#define VM_IOTHREAD_H

#include "base/event_loop.h"
#include "base/object.h"

extern const ObjectClass iothread_class;

EventLoop *iothread_loop(Object *iothread);
int iothread_tid(Object *iothread);
int64_t iothread_poll_max_ns(Object *iothread);

#endif

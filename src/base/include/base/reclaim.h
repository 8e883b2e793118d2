/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deferred reclamation by quiescent states (RCU of the kind called QSBR). Readers on registered
 * threads follow pointers without a lock. A writer replaces the pointer and retires the old object,
 * which is freed when every registered thread has been offline since.
 *
 * A registered thread is online (may be reading) except between reclaim_offline() and
 * reclaim_online(): an event loop is offline inside poll, a vCPU inside KVM_RUN. Writers do not
 * wait: retired objects are freed later, on the loop of reclaim_set_loop().
 */
#ifndef BASE_RECLAIM_H
#define BASE_RECLAIM_H

#include <stdbool.h>
#include "base/event_loop.h"

void reclaim_thread_register(void); /* idempotent; the thread starts online */
void reclaim_thread_unregister(void);
void reclaim_online(void);
void reclaim_offline(void);

/* fn(data), which frees the object, runs when no reader can hold it any more. Any thread. */
void reclaim_retire(EventFn fn, void *data);
/* The loop on which retired objects are freed. NULL: only reclaim_poll() frees them. */
void reclaim_set_loop(EventLoop *loop);
/*
 * Frees the retired objects that no other thread can hold: all of them where every other thread is
 * gone or offline. The caller must not hold one: its own being online does not count.
 */
void reclaim_poll(void);

#endif

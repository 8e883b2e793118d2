/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deferred reclamation by quiescent states (what others call QSBR RCU). Readers on registered
 * threads follow pointers without a lock; writers swap the pointer and retire what it pointed to,
 * which is freed once every registered thread has been outside a read section since.
 *
 * A registered thread is 'online' (reading) except between reclaim_offline() and
 * reclaim_online(): the event loop is offline inside poll, a vCPU inside KVM_RUN. Nobody waits:
 * retired objects are freed later, on the main loop.
 */
#ifndef BASE_RECLAIM_H
#define BASE_RECLAIM_H

#include <stdbool.h>
#include "base/event_loop.h"

void reclaim_thread_register(void); /* idempotent; the thread starts online */
void reclaim_thread_unregister(void);
void reclaim_online(void);
void reclaim_offline(void);

/* fn(data) runs on the main loop (see reclaim_set_loop) when no reader can hold it. Any thread. */
void reclaim_retire(EventFn fn, void *data);
/* The loop on which retired things are freed. NULL (before and after it): reclaim_barrier() only.
 */
void reclaim_set_loop(EventLoop *loop);
/*
 * Frees what can be freed now; with every other thread gone or offline that is everything. The
 * caller itself must not be in the middle of reading: its own read section does not count.
 */
void reclaim_poll(void);

#endif

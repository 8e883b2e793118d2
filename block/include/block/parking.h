/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parking: what becomes of a device's failed requests, and of those that it no longer wants.
 *
 * The backend applies rerror and werror when a request completes. Under 'stop' (and 'enospc', for
 * an error ENOSPC) the request is parked: the device describes it by words (BlockDeviceOps.park)
 * and lets go of it, the backend keeps the words in the order of failure, sends BLOCK_IO_ERROR and
 * pauses the VM. After 'cont' the device calls block_backend_unpark(), and makes the request again
 * from its words (BlockDeviceOps.rebuild).
 *
 * A queue is the device's number for who asks: requests of one queue are submitted, fail and are
 * rebuilt on one loop. Queues with different loops need no lock of the device's.
 */
#ifndef BLOCK_PARKING_H
#define BLOCK_PARKING_H

#include "block/backend.h"

#define BLOCK_ALL_QUEUES UINT_MAX

/*
 * Rebuilds the queue's parked requests, in the order of failure. On the queue's loop, when the VM
 * runs; the device calls this before it looks for new requests. Nothing is rebuilt between a
 * failure and the 'cont' that follows it (block_io_status_reset_all()).
 */
void block_backend_unpark(BlockBackend *blk, unsigned queue);

/*
 * Guest memory has lost its content: until that is over no write of a guest's reaches a disk. They
 * fail with EFAULT, which stops the machine whatever werror says. Any thread, and signal handlers.
 */
void block_refuse_writes(bool on);
/* Whether that is so. Any thread. */
bool block_writes_refused(void);
/*
 * Says whether a part of the request's memory may be unreadable, for then EFAULT is no fault of the
 * disk's: it stops the machine whatever rerror and werror say. Any other EFAULT is an error like
 * all. vm/ installs the hook (NULL: no memory is); any thread may call it.
 */
typedef bool (*BlockMemoryHook)(const struct iovec *iov, unsigned niov);
void block_set_memory_hook(BlockMemoryHook hook);
/*
 * Whether requests are parked. Any thread. One that fails counts from before park() is called, so
 * that there is no moment at which it is neither in flight nor parked.
 */
bool block_backend_parked(BlockBackend *blk);

/*
 * For the reset of a device or a queue, while the queue submits nothing: parked requests are
 * forgotten; requests that a drain holds complete with -ECANCELED on their loop, and reach no node.
 * A request that a node has got completes as it would, but with -ECANCELED instead of being parked.
 * So each request's done() is still called, without waiting for a drain's end. The device waits for
 * that, and tells the guest nothing of -ECANCELED, which no other error is. Main loop.
 */
void block_backend_take_back(BlockBackend *blk, unsigned queue);
/*
 * The same for all queues, and the wait: when it returns every done() was called. For a device that
 * waits for its whole disk (a controller's soft reset, which device_defer() carries out); one whose
 * queues are reset by themselves counts its requests. The device submits nothing meanwhile. Other
 * drains may go on.
 */
void coroutine_fn block_backend_take_back_wait(BlockBackend *blk);

/*
 * For the device's state section: all parked requests, as at most BlockDeviceOps.parked_max words.
 * Returns their number. Main loop, while the VM is paused.
 */
size_t block_backend_save_parked(BlockBackend *blk, uint32_t *words, size_t max);
/*
 * Replaces the parked requests by those that were saved. False: the words are malformed, or speak
 * of a queue that is not below 'queues'; nothing is parked then. rebuild() checks what the words of
 * a request mean. Main loop, while the VM is paused.
 */
bool block_backend_load_parked(BlockBackend *blk, const uint32_t *words, size_t n, unsigned queues);

/*
 * Waits until no backend has a request in flight or held, so that none is on its way when the VM's
 * state is saved. Other drains must end without the caller's help. The caller has stopped whoever
 * submits: what is submitted meanwhile comes from requests that continue (a second step).
 */
void coroutine_fn block_settle_all(void);

#endif

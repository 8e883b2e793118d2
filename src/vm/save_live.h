/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine that is saved while its guest runs: memory is written in passes, each of what has been
 * written to since the one before, by the dirty log. The rest follows while the machine stands. The
 * stream's form: save_internal.h, version 4.
 *
 * Devices may come and go between passes, and their memory with them.
 *
 * Main loop, in a coroutine where not otherwise said.
 */
#ifndef VM_SAVE_LIVE_H
#define VM_SAVE_LIVE_H

#include "vm/vm.h"

typedef struct SaveLive SaveLive;

/*
 * Between the pieces of a pass: so many bytes have been given to the stream since the last time.
 * May wait. False, and *err: the pass is given up.
 */
typedef bool coroutine_fn SaveLiveStep(void *data, uint64_t bytes, GError **err);

/* Begins to log writes; until save_live_free() each of them costs the guest something. */
SaveLive *save_live_new(Vm *vm);
void save_live_free(SaveLive *l); /* NULL is ignored */

/* Takes what was written to since the last time, the first time all. Bytes that are to be saved. */
uint64_t coroutine_fn save_live_collect(SaveLive *l);
/* Where the contents end that have been collected so far, in bytes of the stream. */
uint64_t save_live_contents_end(const SaveLive *l);
/*
 * Writes what was collected, but for zeroes, and settles the stream ('seek' is needed). After a
 * failure nothing but save_live_free() may follow. 'step' may be NULL.
 */
bool coroutine_fn save_live_pass(SaveLive *l, VmStream *out, SaveLiveStep *step, void *data,
                                 GError **err);
/*
 * The machine is held: what is left of memory, the devices and the index. *size gets the stream's
 * length. 'step' as above; it is not called any more once everything but the end is written.
 */
bool coroutine_fn save_live_finish(SaveLive *l, VmStream *out, SaveLiveStep *step, void *data,
                                   uint64_t *size, GError **err);

#endif

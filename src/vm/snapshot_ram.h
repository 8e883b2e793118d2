/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory out of a snapshot: what lies in the image's file in whole pages is mapped from
 * there, the rest is read.
 *
 * Main loop, in a coroutine; the machine is held, and the image in a drained section.
 */
#ifndef VM_SNAPSHOT_RAM_H
#define VM_SNAPSHOT_RAM_H

#include "snapshot_stream.h"

/* Bytes. A range that is shorter is read; the schedule explorer has single pages mapped. */
extern uint64_t snapshot_map_least;

/* VmStream.load_ram of a SnapshotStream. */
bool coroutine_fn snapshot_load_ram(VmStream *stream, Vm *vm, const VmRamPiece *pieces,
                                    unsigned count, GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What writing (save.c) and reading (load.c) a machine share. The stream, little-endian:
 *
 *   "VMMSTATE", version u32
 *   length u64, device state: machine record, then entries: kind u8 (ENTRY_*), name (u16 length,
 *     bytes), class or instance, count of records u8, the records (see state.c)
 *   length u64, index of memory: for each block: name (u16 length, bytes), size u64, then runs:
 *     offset u64, bytes u64; bytes 0 ends the block; an empty name ends the index. Runs ascend.
 *   zeroes up to a multiple of SAVE_ALIGN from the stream's beginning (from version 3 on)
 *   the bytes of all runs, in the order of the index
 *
 * What is in no run holds zeroes.
 *
 * What is saved while the guest runs (save_live.h) has its contents in front, and is of version 4:
 *
 *   "VMMSTATE", version u32, position of the device state u64 (from the stream's beginning)
 *   contents: each block's at a place of its own, in which byte n of the block is the n-th. What is
 *     in no run may be anything there, or a hole
 *   at the position: device state and index as above, but that the index has for each block behind
 *     its size the position u64 of its contents, a multiple of 4 KiB
 */
#ifndef VM_SAVE_INTERNAL_H
#define VM_SAVE_INTERNAL_H

#include "device_internal.h"
#include "memory_internal.h"
#include "run_state.h"
#include "vm/vcpu.h"

#define SAVE_MAGIC   "VMMSTATE"
#define SAVE_VERSION 3
#define SAVE_LIVE    4
#define SAVE_OLDEST  2
#define SAVE_ALIGN   65536

enum { ENTRY_END, ENTRY_DEVICE, ENTRY_PART, ENTRY_CPU };

/* What must be the same at both ends; the clock; whether the guest is in S3. */
#define MACHINE_STATE(X)                                                                           \
    X(F, uint64_t, ram_size)                                                                       \
    X(F, uint32_t, cpus)                                                                           \
    X(F, int64_t, virtual_clock)                                                                   \
    X(FS, bool, asleep, 2, 0)
STATE_STRUCT(MachineState, MACHINE_STATE);
const StateDesc *machine_state_desc(void);

void save_put_int(GByteArray *out, uint64_t v, unsigned size);
void save_put_text(GByteArray *out, const char *text);
/* A length, and so many bytes. */
bool save_write_part(VmStream *out, const GByteArray *part, GError **err);
unsigned save_section_count(const Device *dev);
/* On the CPU's thread; yields in a coroutine. */
bool save_get_cpu(Vcpu *cpu, void *state, GError **err);

#endif

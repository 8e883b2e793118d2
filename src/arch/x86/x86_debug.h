/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What debug.c lists of its neighbours (vm/debug.h, struct ArchDebug). */
#ifndef X86_DEBUG_H
#define X86_DEBUG_H

#include "vm/debug.h"
#include "x86_internal.h"

/* debug_probe.c */
unsigned x86_debug_probe(Vm *vm);

/* debug_layout.c: i386:x86-64, i386 and i8086. */
extern const DebugLayout x86_layouts[];
unsigned x86_layout_count(Vm *vm, const DebugLayout *l);
const DebugLayout *x86_layout_now(Vcpu *cpu);
bool x86_layout_get(Vcpu *cpu, const DebugLayout *l, uint8_t *values);
bool x86_layout_set(Vcpu *cpu, const DebugLayout *l, const uint8_t *values, GError **err);
/* The same on a state, without a CPU: any thread. 'count' registers from 'r' on; one register. */
void x86_layout_read(X86CpuState *s, uint64_t kernel_gs, const DebugRegister *r, unsigned count,
                     uint8_t *out);
bool x86_layout_change(X86CpuState *s, uint64_t *kernel_gs, const DebugRegister *r,
                       const uint8_t *value, GError **err);

#endif

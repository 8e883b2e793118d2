/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VM_RUN_STATE_H
#define VM_RUN_STATE_H

#include "vm/vm.h"

void run_control_init(Vm *vm);
void run_control_free(Vm *vm);
/* The parts of a saved state that are no device's. */
GArray *run_control_state_parts(Vm *vm); /* of VmStatePart */
/* For a load: whether the guest is in S3 from now on. */
void run_control_set_asleep(Vm *vm, bool asleep);
/* Whether the machine has run, or lives already: what it would lose is not nothing. */
bool run_control_was_live(Vm *vm);
/* A load left it half done: until a reset it does not run. The caller holds it paused. */
void run_control_spoiled(Vm *vm);

#endif

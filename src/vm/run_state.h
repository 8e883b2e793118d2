/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VM_RUN_STATE_H
#define VM_RUN_STATE_H

#include "vm/vm.h"

void run_control_init(Vm *vm);
void run_control_free(Vm *vm);
/* The parts of a saved state that are no device's. */
GArray *run_control_state_parts(Vm *vm); /* of VmStatePart */

#endif

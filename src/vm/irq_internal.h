/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VM_IRQ_INTERNAL_H
#define VM_IRQ_INTERNAL_H

#include "vm/irq.h"
#include "vm/vm.h"

void irq_routing_init(Vm *vm);
void irq_routing_free(Vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What '$name' in a monitor's expression stands for. On the vCPU's thread. */
#ifndef MONITOR_REGISTERS_H
#define MONITOR_REGISTERS_H

#include "vm/vcpu.h"

/* "pc", "eax", "cs", "cs.base", "cs.limit": false where there is none such. */
bool register_read(Vcpu *cpu, const char *name, uint64_t *value);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object memory-backend-ram, -file, -memfd: guest memory by id. Main thread. */
#ifndef MACHINE_MEMORY_BACKEND_H
#define MACHINE_MEMORY_BACKEND_H

#include "base/object.h"
#include "vm/memory.h"

/*
 * Makes the RAM block of a backend, which can be used only once. 'size' must be the backend's, or
 * 0. NULL and *err on failure.
 */
RamBlock *memory_backend_use(Vm *vm, const char *id, uint64_t size, GError **err);

#endif

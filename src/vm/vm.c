/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Vm: made and unmade. */
#include "base/reclaim.h"
#include "device_internal.h"
#include "dump_internal.h"
#include "irq_internal.h"
#include "memory_internal.h"
#include "run_state.h"
#include "vm/debug.h"

Vm *vm_new(EventLoop *loop)
{
    Vm *vm = g_new0(Vm, 1);

    vm->loop = loop;
    vm->smp =
        (SmpConfig){.cpus = 1, .maxcpus = 1, .sockets = 1, .dies = 1, .cores = 1, .threads = 1};
    memory_map_init(vm);
    irq_routing_init(vm);
    device_tree_init(vm);
    run_control_init(vm);
    return vm;
}

void vm_free(Vm *vm)
{
    vcpus_destroy(vm);
    device_tree_free(vm);
    if (vm->accel && vm->accel->destroy) {
        vm->accel->destroy(vm);
        vm->accel = NULL;
    }
    reclaim_poll();
    if (vm->ui) {
        vm->ui_free(vm->ui);
    }
    irq_routing_free(vm);
    memory_map_free(vm);
    run_control_free(vm);
    vm_debug_free(vm);
    dump_free(vm);
    g_free(vm->name);
    g_free(vm);
}

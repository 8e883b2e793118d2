/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a debugger's points and steps do while the CPUs run: they stop the machine, and are hidden.
 */
#include "debug_internal.h"
#include "memory_internal.h"

/* Memory, as it would be without a debugger. */

void vm_debug_hide(Vm *vm, uint64_t gpa, uint8_t *data, uint64_t len)
{
    struct VmDebug *d = __atomic_load_n(&vm->debug, __ATOMIC_ACQUIRE);

    if (G_LIKELY(!d)) {
        return;
    }
    g_mutex_lock(&d->lock);
    for (unsigned i = d->planted->len; i-- > 0;) {
        const DebugPlanted *p = &g_array_index(d->planted, DebugPlanted, i);

        if (p->gpa >= gpa && p->gpa - gpa < len &&
            data[p->gpa - gpa] == *vm->arch->debug->instruction) {
            data[p->gpa - gpa] = p->original;
        }
    }
    g_mutex_unlock(&d->lock);
}

void vm_debug_written(Vm *vm, uint64_t gpa, const uint8_t *data, uint64_t len)
{
    struct VmDebug *d = __atomic_load_n(&vm->debug, __ATOMIC_ACQUIRE);

    if (G_LIKELY(!d)) {
        return;
    }
    g_mutex_lock(&d->lock);
    for (unsigned i = 0; i < d->planted->len; i++) {
        DebugPlanted *p = &g_array_index(d->planted, DebugPlanted, i);
        const FlatRange *r;

        if (p->gpa >= gpa && p->gpa - gpa < len) {
            p->original = data[p->gpa - gpa];
            r = flat_view_find(memory_view(vm, IO_SPACE_MEM), p->gpa, NULL);
            if (r && r->host) {
                r->host[p->gpa - r->addr] = *vm->arch->debug->instruction;
            }
        }
    }
    g_mutex_unlock(&d->lock);
}

/* Stops. */

static bool is_planted(Vcpu *cpu, uint64_t addr)
{
    struct VmDebug *d = cpu->vm->debug;
    uint64_t gpa;
    bool mapped = cpu->vm->arch->translate(cpu, addr, &gpa), found = false;

    g_mutex_lock(&d->lock);
    for (unsigned i = 0; i < d->planted->len && !found; i++) {
        found = mapped && g_array_index(d->planted, DebugPlanted, i).gpa == gpa;
    }
    g_mutex_unlock(&d->lock);
    return found;
}

static DebugStopKind stop_of_register(DebugKind kind)
{
    static const DebugStopKind kinds[DEBUG_KIND_COUNT] = {
        [DEBUG_BREAK] = DEBUG_STOP_BREAK,
        [DEBUG_BREAK_HW] = DEBUG_STOP_BREAK_HW,
        [DEBUG_WATCH_WRITE] = DEBUG_STOP_WATCH_WRITE,
        [DEBUG_WATCH_ACCESS] = DEBUG_STOP_WATCH_ACCESS,
    };
    return kinds[kind];
}

/* Why the CPU is to stop, if it is. */
static DebugStop stop_of_exit(Vcpu *cpu, const DebugSetup *setup, const DebugExit *e)
{
    const DebugRegisterUse *use = &setup->registers[e->index];

    switch (e->kind) {
    case DEBUG_EXIT_REGISTER:
        return (DebugStop){.kind = stop_of_register(use->kind), .addr = use->addr};
    case DEBUG_EXIT_SOFTWARE:
        return (DebugStop){.kind = is_planted(cpu, e->pc) ? DEBUG_STOP_BREAK : DEBUG_STOP_NONE,
                           .addr = e->pc};
    case DEBUG_EXIT_STEP:
        return (DebugStop){.kind = cpu->debug->setup.step ? DEBUG_STOP_STEP : DEBUG_STOP_NONE,
                           .addr = e->pc};
    default:
        return (DebugStop){.kind = DEBUG_STOP_NONE};
    }
}

VcpuExit vm_debug_exit(Vcpu *cpu)
{
    const struct ArchDebug *arch = cpu->vm->arch->debug;
    struct VcpuDebug *c = cpu->debug;
    const DebugSetup none = {0}, *setup = !c ? &none : c->passing ? &c->pass : &c->setup;
    DebugExit e = {.kind = DEBUG_EXIT_OTHER};
    DebugStop stop = {.kind = DEBUG_STOP_NONE};

    if (c) {
        arch->read_exit(cpu, setup, &e);
        stop = stop_of_exit(cpu, setup, &e);
    }
    if (stop.kind != DEBUG_STOP_NONE) {
        c->passing = c->told = false;
        c->stop = stop;
        c->stop_order = __atomic_fetch_add(&cpu->vm->debug->stops, 1, __ATOMIC_RELAXED);
        return VCPU_EXIT_DEBUG;
    }
    if (c && c->passing && e.kind == DEBUG_EXIT_STEP) {
        c->passing = false;
        arch->apply(cpu, &c->setup, NULL);
    } else {
        arch->reinject(cpu, setup);
    }
    return VCPU_EXIT_CONTINUE;
}

Vcpu *vm_debug_next_stop(Vm *vm, DebugStop *stop)
{
    Vcpu *first = NULL;

    for (unsigned i = 0; vm->debug && i < vm->vcpu_count; i++) {
        Vcpu *cpu = vm->vcpus[i];

        if (cpu->debug->stop.kind != DEBUG_STOP_NONE && !cpu->debug->told &&
            (!first || cpu->debug->stop_order - first->debug->stop_order < 0)) {
            first = cpu;
        }
    }
    if (first) {
        first->debug->told = true;
        *stop = first->debug->stop;
    }
    return first;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUs without a KVM and without threads, for tests and fuzz targets of the debugger's side: a few
 * registers, linear addresses that are those of memory up to 1 GiB, and exits that the test makes.
 */
#ifndef TESTS_FAKE_CPU_H
#define TESTS_FAKE_CPU_H

#include "vm/debug.h"

#define FAKE_CPUS     3
#define FAKE_UNMAPPED 0x40000000ull
#define FAKE_ALIAS    0x20000000ull /* a bit that makes no difference */

typedef struct {
    uint64_t pc;
    bool based;            /* its code segment does not begin at 0 */
    uint8_t registers[28]; /* as fake_registers lays them out */
    DebugSetup setup;      /* the last that was applied */
    unsigned applied, reinjected;
    DebugExit exit;
} FakeCpu;

static FakeCpu fake_cpus[FAKE_CPUS];
static unsigned fake_can; /* what the probe says */

static const char fake_feature[] = "test.fake";
static const DebugRegister fake_registers[] = {
    {.name = "pc", .type = "code_ptr", .feature = fake_feature, .bytes = 8},
    {.name = "a", .group = "general", .feature = fake_feature, .bytes = 4},
    {.name = "v", .type = "uint128", .feature = fake_feature, .bytes = 16},
};
static const DebugLayout fake_layouts[] = {
    {"fake", fake_registers, 3}, {"fake2", fake_registers, 2}, {NULL, NULL, 0}};

static inline bool fake_translate(Vcpu *cpu, uint64_t va, uint64_t *pa)
{
    *pa = va & ~FAKE_ALIAS;
    return va < FAKE_UNMAPPED;
}

static inline unsigned fake_probe(Vm *vm)
{
    return fake_can;
}

static inline bool fake_apply(Vcpu *cpu, const DebugSetup *setup, GError **err)
{
    fake_cpus[cpu->index].setup = *setup;
    fake_cpus[cpu->index].applied++;
    return true;
}

static inline void fake_read_exit(Vcpu *cpu, const DebugSetup *setup, DebugExit *e)
{
    *e = fake_cpus[cpu->index].exit;
    if (e->kind == DEBUG_EXIT_REGISTER && e->index >= setup->count) {
        e->kind = DEBUG_EXIT_OTHER;
    }
}

static inline void fake_reinject(Vcpu *cpu, const DebugSetup *setup)
{
    fake_cpus[cpu->index].reinjected++;
}

static inline uint64_t fake_pc(Vcpu *cpu, bool *flat)
{
    *flat = !fake_cpus[cpu->index].based;
    return fake_cpus[cpu->index].pc;
}

static inline unsigned fake_layout_count(Vm *vm, const DebugLayout *l)
{
    return l->count;
}

static inline const DebugLayout *fake_layout_now(Vcpu *cpu)
{
    return &fake_layouts[fake_cpus[cpu->index].based];
}

static inline size_t fake_layout_bytes(const DebugLayout *l)
{
    return l->count == 3 ? 28 : 12;
}

static inline bool fake_get(Vcpu *cpu, const DebugLayout *l, uint8_t *values)
{
    stle64(fake_cpus[cpu->index].registers, fake_cpus[cpu->index].pc);
    memcpy(values, fake_cpus[cpu->index].registers, fake_layout_bytes(l));
    return true;
}

static inline bool fake_set(Vcpu *cpu, const DebugLayout *l, const uint8_t *values, GError **err)
{
    memcpy(fake_cpus[cpu->index].registers, values, fake_layout_bytes(l));
    fake_cpus[cpu->index].pc = ldle64(values);
    return true;
}

static inline const char *fake_activity(Vcpu *cpu)
{
    return "running";
}

static const uint8_t fake_instruction = 0xcc;
static const struct ArchDebug fake_debug = {
    .instruction = &fake_instruction,
    .registers = 4,
    .probe = fake_probe,
    .apply = fake_apply,
    .read_exit = fake_read_exit,
    .reinject = fake_reinject,
    .pc = fake_pc,
    .layouts = fake_layouts,
    .layout_count = fake_layout_count,
    .layout_now = fake_layout_now,
    .get = fake_get,
    .set = fake_set,
    .activity = fake_activity,
};
static const ArchOps fake_arch = {
    .name = "fake",
    .translate = fake_translate,
    .debug = &fake_debug,
};

/* vcpu_call() runs its function at once, since the CPUs are not 'created'. */
static inline void fake_cpus_add(Vm *vm)
{
    memset(fake_cpus, 0, sizeof fake_cpus);
    fake_can = DEBUG_CAN_STEP | DEBUG_CAN_BREAK | DEBUG_CAN_BREAK_HW | DEBUG_CAN_WATCH;
    vm->arch = &fake_arch;
    vm->vcpus = g_new0(Vcpu *, FAKE_CPUS);
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        Vcpu *cpu = vm->vcpus[i] = g_new0(Vcpu, 1);

        cpu->vm = vm;
        cpu->index = i;
        cpu->fd = -1;
        g_mutex_init(&cpu->lock);
        g_cond_init(&cpu->cond);
        g_queue_init(&cpu->calls);
    }
    vm->vcpu_count = FAKE_CPUS;
}

static inline void fake_cpus_remove(Vm *vm)
{
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        g_mutex_clear(&vm->vcpus[i]->lock);
        g_cond_clear(&vm->vcpus[i]->cond);
        g_free(vm->vcpus[i]->debug);
        g_free(vm->vcpus[i]);
    }
    vm->vcpu_count = 0;
    g_clear_pointer(&vm->vcpus, g_free);
    vm->arch = NULL;
}

/* KVM_RUN of this CPU ends for the debugger's sake, as vcpu.c would deal with it. */
static inline bool fake_exit(Vm *vm, unsigned index, DebugExit e)
{
    fake_cpus[index].exit = e;
    if (vm_debug_exit(vm->vcpus[index]) != VCPU_EXIT_DEBUG) {
        return false;
    }
    vm_request_pause(vm, RUN_STATE_DEBUG);
    return true;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * APIC ids: package, die, core and thread are bit fields, each wide enough for the count of its
 * level (Intel SDM volume 3A, 9.9.1 'Hierarchical Mapping of Shared Resources').
 */
#include "x86_internal.h"

static unsigned field_width(unsigned count)
{
    return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

static unsigned at_least_one(unsigned n)
{
    return n ? n : 1;
}

X86TopologyBits x86_topology_bits(const SmpConfig *smp)
{
    return (X86TopologyBits){
        .smt = field_width(at_least_one(smp->threads)),
        .core = field_width(at_least_one(smp->cores)),
        .die = field_width(at_least_one(smp->dies)),
    };
}

uint32_t x86_apic_id_of(const SmpConfig *smp, unsigned index)
{
    unsigned threads = at_least_one(smp->threads);
    unsigned cores = at_least_one(smp->cores);
    unsigned dies = at_least_one(smp->dies);
    X86TopologyBits bits = x86_topology_bits(smp);
    uint32_t id;

    id = index / (threads * cores * dies);
    id = id << bits.die | index / (threads * cores) % dies;
    id = id << bits.core | index / threads % cores;
    return id << bits.smt | index % threads;
}

X86CpuPlace x86_cpu_place(const Vm *vm, unsigned index)
{
    unsigned threads = at_least_one(vm->smp.threads);
    unsigned cores = at_least_one(vm->smp.cores);
    unsigned dies = at_least_one(vm->smp.dies);

    return (X86CpuPlace){.socket = index / (threads * cores * dies),
                         .die = index / (threads * cores) % dies,
                         .core = index / threads % cores,
                         .thread = index % threads};
}

uint32_t x86_apic_id(const Vm *vm, unsigned index)
{
    return x86_apic_id_of(&vm->smp, index);
}

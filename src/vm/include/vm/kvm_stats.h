/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's own statistics of a VM and of each vCPU, by KVM_GET_STATS_FD (Linux,
 * Documentation/virt/kvm/api.rst). The kernel says what there is. Main loop.
 */
#ifndef VM_KVM_STATS_H
#define VM_KVM_STATS_H

#include "vm/vm.h"

/* QAPI's StatsType and StatsUnit, in the kernel's order; both end with NULL. */
extern const char *const kvm_stat_type_names[], *const kvm_stat_unit_names[];
enum {
    KVM_STAT_CUMULATIVE,
    KVM_STAT_INSTANT,
    KVM_STAT_PEAK,
    KVM_STAT_LINEAR_HISTOGRAM,
    KVM_STAT_LOG2_HISTOGRAM
};
enum { KVM_STAT_BYTES, KVM_STAT_SECONDS, KVM_STAT_CYCLES, KVM_STAT_BOOLEAN };

typedef struct {
    const char *name;
    unsigned type;
    int unit;     /* -1: none */
    int exponent; /* of the unit, to the base */
    unsigned base, bucket_size;
    unsigned count; /* of values; one, but for histograms */
    const uint64_t *values;
} KvmStat;

/* Whether there are any: with KVM, on a kernel that gives them. */
bool kvm_stats_available(const Vm *vm);
/*
 * Calls fn for each statistic of a vCPU, or of the VM where 'cpu' is NULL, in the kernel's order.
 * False and *err: they cannot be read. Waits for the vCPU when first asked for its.
 */
bool coroutine_fn kvm_stats_foreach(Vm *vm, Vcpu *cpu, void (*fn)(const KvmStat *s, void *data),
                                    void *data, GError **err);

#endif

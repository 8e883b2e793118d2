/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clock that paravirtual guests read; it stands while the VM does. (Linux
 * Documentation/virt/kvm/api.rst, 4.29, 4.30, 4.70.)
 */
#include "x86_internal.h"

#define KVM_CLOCK_STATE(X)                                                                         \
    X(F, bool, valid)                                                                              \
    X(F, uint64_t, clock)
STATE_STRUCT(KvmClockState, KVM_CLOCK_STATE);
STATE_DESC(kvm_clock, KvmClockState, KVM_CLOCK_STATE, 1);

typedef struct {
    Device dev;
    KvmClockState s;
} KvmClock;

static void tell_guest_paused(Vcpu *cpu, void *data)
{
    (void)data;
    /* Keeps the guest's soft-lockup watchdog quiet. Refused where the guest has no kvmclock. */
    kvm_vcpu_ioctl(cpu, KVM_KVMCLOCK_CTRL, NULL);
}

static void clock_run_state(Device *dev, bool running)
{
    KvmClock *c = (KvmClock *)dev;
    struct kvm_clock_data data = {0};

    if (!running) {
        if (!c->s.valid && kvm_vm_ioctl(dev->vm, KVM_GET_CLOCK, &data) >= 0) {
            c->s.clock = data.clock;
            c->s.valid = true;
        }
        return;
    }
    if (c->s.valid) {
        data.clock = c->s.clock;
        x86_kvm_chip_ioctl(dev, KVM_SET_CLOCK, &data, "KVM_SET_CLOCK");
        c->s.valid = false;
        if (kvm_check_extension(dev->vm, KVM_CAP_KVMCLOCK_CTRL) > 0) {
            for (unsigned i = 0; i < dev->vm->vcpu_count; i++) {
                vcpu_call_async(dev->vm->vcpus[i], tell_guest_paused, NULL);
            }
        }
    }
}

static void clock_pre_save(Device *dev)
{
    clock_run_state(dev, false); /* also where the VM has never run */
}

const DeviceClass kvm_clock_class = {
    .name = "kvmclock",
    .bus = "System",
    .desc = "KVM's paravirtual clock",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(KvmClock),
    .state = (const StateSection[]){{kvm_clock_state_desc, offsetof(KvmClock, s)}, {0}},
    .realize = device_no_realize,
    .reset = device_no_reset,
    .pre_save = clock_pre_save,
    .run_state = clock_run_state,
    .internal = true,
    .object_parent = "sys-bus-device",
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Machine checks that a person injects (SDM 3B 16.3: banks; 16.3.1.2: IA32_MCG_STATUS). */
#include "base/error.h"
#include "x86_internal.h"

#define MSR_MCG_CAP      0x179
#define MSR_MCG_STATUS   0x17a
#define MSR_MCG_CTL      0x17b
#define MSR_MC0_CTL      0x400
#define MCG_CAP_CTL      BIT64(8)
#define MCG_STATUS_RIPV  BIT64(0)
#define MCG_STATUS_MCIP  BIT64(2)
#define MCI_STATUS_VALID BIT64(63)
#define MCI_STATUS_UC    BIT64(61)
#define CR4_MCE          BIT64(6)

typedef struct {
    const X86Mce *mce;
    bool ok;
    const char *wrong; /* what it is refused with */
    const char *said;  /* what came of it instead of a machine check; NULL: nothing */
} MceCall;

static bool mce_msr(Vcpu *cpu, uint32_t index, uint64_t *data)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry = {.index = index}};

    *data = 0;
    if (kvm_vcpu_ioctl(cpu, KVM_GET_MSRS, &m) != 1) {
        return false;
    }
    *data = m.entry.data;
    return true;
}

/*
 * What the CPU makes of an error that was not corrected. KVM does the same, and says nothing; the
 * registers cannot change before KVM looks at them.
 */
static const char *mce_outcome(Vcpu *cpu, const X86Mce *mce, uint64_t cap)
{
    uint64_t status, ctl, bank_ctl;
    struct kvm_sregs sregs;

    if (!(mce->status & MCI_STATUS_UC) || !mce_msr(cpu, MSR_MCG_STATUS, &status) ||
        kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &sregs) < 0) {
        return NULL;
    }
    if ((cap & MCG_CAP_CTL) && mce_msr(cpu, MSR_MCG_CTL, &ctl) && ctl != UINT64_MAX) {
        return "Uncorrected error reporting disabled";
    }
    if (mce_msr(cpu, MSR_MC0_CTL + 4 * mce->bank, &bank_ctl) && bank_ctl != UINT64_MAX) {
        return "Uncorrected error reporting disabled for bank";
    }
    if (status & MCG_STATUS_MCIP) {
        return "Previous MCE still in progress, raising triple fault";
    }
    return sregs.cr4 & CR4_MCE ? NULL : "MCE capability is not enabled, raising triple fault";
}

static void mce_inject(Vcpu *cpu, void *data)
{
    MceCall *c = data;
    const X86Mce *m = c->mce;
    struct kvm_x86_mce arg = {.status = m->status,
                              .mcg_status = m->mcg_status,
                              .addr = m->addr,
                              .misc = m->misc,
                              .bank = m->bank};
    uint64_t cap;

    if (!mce_msr(cpu, MSR_MCG_CAP, &cap) || !(cap & 0xff)) {
        c->wrong = "MCE injection not supported";
    } else if (m->bank >= (cap & 0xff)) {
        c->wrong = "Invalid MCE bank number";
    } else if (!(m->status & MCI_STATUS_VALID)) {
        c->wrong = "Invalid MCE status code";
    } else {
        c->said = mce_outcome(cpu, m, cap);
        c->ok = kvm_vcpu_ioctl(cpu, KVM_X86_SET_MCE, &arg) == 0;
        c->wrong = "KVM takes no such machine check";
    }
}

static bool coroutine_fn mce_on(Vm *vm, unsigned cpu, const X86Mce *mce, GString *said,
                                GError **err)
{
    MceCall c = {.mce = mce};

    vcpu_call(vm->vcpus[cpu], mce_inject, &c);
    if (!c.ok) {
        return error_set(err, "%s", c.wrong);
    }
    if (c.said) {
        g_string_append_printf(said, "CPU %u: %s\n", cpu, c.said);
    }
    return true;
}

bool coroutine_fn x86_inject_mce(Vm *vm, unsigned cpu, const X86Mce *mce, bool broadcast,
                                 GString *said, GError **err)
{
    /* What the other CPUs see of it. */
    static const X86Mce other = {
        .bank = 1,
        .status = MCI_STATUS_VALID | MCI_STATUS_UC,
        .mcg_status = MCG_STATUS_MCIP | MCG_STATUS_RIPV,
    };
    uint32_t signature, features;

    if (cpu >= vm->vcpu_count) {
        return error_set(err, "there is no CPU %u", cpu);
    }
    /* From family 6, model 14 on (SDM 3B 16.9.3.2). */
    x86_cpu_identity(vm, &signature, &features);
    if (broadcast &&
        ((signature >> 8 & 15) < 6 ||
         ((signature >> 8 & 15) == 6 && (signature >> 12 & 0xf0) + (signature >> 4 & 15) < 14))) {
        return error_set(err, "Guest CPU does not support MCA broadcast");
    }
    if (!mce_on(vm, cpu, mce, said, err)) {
        return false;
    }
    for (unsigned i = 0; broadcast && i < vm->vcpu_count; i++) {
        if (i != cpu && !mce_on(vm, i, &other, said, err)) {
            return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debugging a guest from outside of it: KVM_SET_GUEST_DEBUG and what ends KVM_RUN for it (Linux
 * Documentation/virt/kvm/api.rst; Intel SDM 3B chapter 18, debug registers).
 */
#include "x86_debug.h"

#define EXCEPTION_DB 1
#define EXCEPTION_BP 3

#define DR6_BS   BIT64(14)
#define DR6_BT   BIT64(15)
#define DR7_GE   BIT64(9)
#define DR7_ONE  BIT64(10) /* is always set */
#define DR7_G(n) BIT64(2 * (n) + 1)

#define RFLAGS_VM BIT64(17)

static uint64_t dr7_of(const DebugRegisterUse *use, unsigned n)
{
    static const uint8_t types[DEBUG_KIND_COUNT] = {
        [DEBUG_WATCH_WRITE] = 1,
        [DEBUG_WATCH_ACCESS] = 3,
    };
    static const uint8_t lengths[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    return DR7_G(n) | (uint64_t)types[use->kind] << (16 + 4 * n) |
           (uint64_t)lengths[use->len] << (18 + 4 * n);
}

static bool can_block_interrupts(Vcpu *cpu)
{
    return kvm_check_extension(cpu->vm, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
}

static bool x86_debug_apply(Vcpu *cpu, const DebugSetup *setup, GError **err)
{
    struct kvm_guest_debug d = {0};
    int rc;

    if (setup->step) {
        d.control |= KVM_GUESTDBG_SINGLESTEP;
        if (setup->quiet && can_block_interrupts(cpu)) {
            d.control |= KVM_GUESTDBG_BLOCKIRQ;
        }
    }
    if (setup->software) {
        d.control |= KVM_GUESTDBG_USE_SW_BP;
    }
    if (setup->count) {
        d.control |= KVM_GUESTDBG_USE_HW_BP;
        d.arch.debugreg[7] = DR7_GE | DR7_ONE;
    }
    for (unsigned i = 0; i < setup->count; i++) {
        d.arch.debugreg[i] = setup->registers[i].addr;
        d.arch.debugreg[7] |= dr7_of(&setup->registers[i], i);
    }
    d.control |= d.control ? KVM_GUESTDBG_ENABLE : 0;
    rc = kvm_vcpu_ioctl(cpu, KVM_SET_GUEST_DEBUG, &d);
    return rc >= 0 || error_set_errno(err, -rc, "KVM_SET_GUEST_DEBUG");
}

static void x86_debug_read_exit(Vcpu *cpu, const DebugSetup *setup, DebugExit *e)
{
    const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;

    *e = (DebugExit){.kind = DEBUG_EXIT_OTHER, .pc = arch->pc};
    if (arch->exception == EXCEPTION_BP) {
        e->kind = DEBUG_EXIT_SOFTWARE;
        return;
    }
    if (arch->exception != EXCEPTION_DB) {
        return;
    }
    /* The bits of registers that are not in use may be set as well. */
    for (unsigned i = 0; i < setup->count; i++) {
        if (arch->dr6 & BIT64(i)) {
            e->kind = DEBUG_EXIT_REGISTER;
            e->index = i;
            return;
        }
    }
    if (arch->dr6 & DR6_BS) {
        e->kind = DEBUG_EXIT_STEP;
    }
}

/* The guest's own INT3, ICEBP, or trap flag. DR6 says which, as on a CPU. */
static void x86_debug_reinject(Vcpu *cpu, const DebugSetup *setup)
{
    const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;
    bool trap = arch->exception == EXCEPTION_DB;
    struct kvm_guest_debug d = {
        .control = KVM_GUESTDBG_ENABLE | (trap ? KVM_GUESTDBG_INJECT_DB : KVM_GUESTDBG_INJECT_BP)};
    struct kvm_debugregs regs = {0};
    int rc;

    if (trap && kvm_vcpu_ioctl(cpu, KVM_GET_DEBUGREGS, &regs) >= 0) {
        regs.dr6 |= arch->dr6 & (DR6_BS | DR6_BT | 0xf);
        kvm_vcpu_ioctl(cpu, KVM_SET_DEBUGREGS, &regs);
    }
    rc = kvm_vcpu_ioctl(cpu, KVM_SET_GUEST_DEBUG, &d);
    if (rc < 0) {
        log_item(LOG_KVM, "CPU %u: KVM does not take back exception %u: %s", cpu->index,
                 arch->exception, g_strerror(-rc));
    }
    x86_debug_apply(cpu, setup, NULL);
}

static uint64_t x86_debug_pc(Vcpu *cpu, bool *flat)
{
    struct kvm_sregs s = {0};
    struct kvm_regs regs = {0};
    uint64_t base;

    if (kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &s) < 0 ||
        kvm_vcpu_ioctl(cpu, KVM_GET_REGS, &regs) < 0) {
        *flat = false;
        return 0;
    }
    base = s.efer & EFER_LMA && s.cs.l ? 0 : s.cs.base;
    *flat = s.cr0 & CR0_PE && !(regs.rflags & RFLAGS_VM) && !base;
    return s.efer & EFER_LMA && s.cs.l ? regs.rip : (base + regs.rip) & 0xffffffff;
}

static const char *x86_debug_activity(Vcpu *cpu)
{
    struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};

    kvm_vcpu_ioctl(cpu, KVM_GET_MP_STATE, &mp);
    switch (mp.mp_state) {
    case KVM_MP_STATE_HALTED:
        return "halted";
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
        return "waiting to be started";
    default:
        return "running";
    }
}

static const uint8_t int3 = 0xcc;

const struct ArchDebug x86_debug = {
    .instruction = &int3,
    .registers = 4,
    .probe = x86_debug_probe,
    .apply = x86_debug_apply,
    .read_exit = x86_debug_read_exit,
    .reinject = x86_debug_reinject,
    .pc = x86_debug_pc,
    .layouts = x86_layouts,
    .layout_count = x86_layout_count,
    .layout_now = x86_layout_now,
    .get = x86_layout_get,
    .set = x86_layout_set,
    .activity = x86_debug_activity,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x86 vCPUs under KVM: creation, reset, interrupts that user space injects, and the monitor's
 * queries. A reset restores the state that the vCPU had when it was created.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <elf.h>
#include "x86_internal.h"
#include "base/trace.h"

/*
 * Pages that KVM needs on Intel hosts without unrestricted guests, below the firmware at the top of
 * 4 GiB, where no board has anything (Linux Documentation/virt/kvm/api.rst,
 * KVM_SET_IDENTITY_MAP_ADDR and KVM_SET_TSS_ADDR).
 */
#define KVM_IDENTITY_MAP 0xfeffc000ull
#define KVM_TSS          0xfeffd000ull

static uint32_t *msr_index_list(Vm *vm, unsigned long request, unsigned *count)
{
    struct kvm_msr_list probe = {0};
    struct kvm_msr_list *list;
    uint32_t *result;

    *count = 0;
    ioctl(kvm_system_fd(vm), request, &probe); /* E2BIG; probe.nmsrs is then the number */
    list = g_malloc0(sizeof *list + probe.nmsrs * sizeof list->indices[0]);
    list->nmsrs = probe.nmsrs;
    if (ioctl(kvm_system_fd(vm), request, list) < 0) {
        list->nmsrs = 0;
    }
    *count = list->nmsrs;
    result = g_memdup2(list->indices, list->nmsrs * sizeof list->indices[0]);
    g_free(list);
    return result;
}

bool x86_msr_is_feature(Vm *vm, uint32_t msr)
{
    X86Vm *x = x86_vm(vm);

    for (unsigned i = 0; i < x->msr_feature_count; i++) {
        if (x->msr_features[i] == msr) {
            return true;
        }
    }
    return false;
}

static bool x86_vm_init(Vm *vm, GError **err)
{
    X86Vm *x = x86_vm(vm);
    uint64_t identity = KVM_IDENTITY_MAP;
    int size = kvm_check_extension(vm, KVM_CAP_XSAVE2);

    x->msr_list = msr_index_list(vm, KVM_GET_MSR_INDEX_LIST, &x->msr_count);
    if (kvm_check_extension(vm, KVM_CAP_GET_MSR_FEATURES) > 0) {
        x->msr_features = msr_index_list(vm, KVM_GET_MSR_FEATURE_INDEX_LIST, &x->msr_feature_count);
    }
    x->xsave_size = size > (int)sizeof(struct kvm_xsave) ? size : (int)sizeof(struct kvm_xsave);
    if (x->xsave_size > X86_XSAVE_MAX) {
        return error_set(err,
                         "this host's XSAVE area has %u bytes, more than the %u that vmm knows",
                         x->xsave_size, X86_XSAVE_MAX);
    }
    x->has_xcrs = kvm_check_extension(vm, KVM_CAP_XCRS) > 0;
    x->has_sregs2 = kvm_check_extension(vm, KVM_CAP_SREGS2) > 0;
    x->has_debugregs = kvm_check_extension(vm, KVM_CAP_DEBUGREGS) > 0;
    x->has_events = kvm_check_extension(vm, KVM_CAP_VCPU_EVENTS) > 0;
    x->has_mp_state = kvm_check_extension(vm, KVM_CAP_MP_STATE) > 0;
    x->has_smm = kvm_check_extension(vm, KVM_CAP_X86_SMM) > 0;
    x->has_payload = kvm_check_extension(vm, KVM_CAP_EXCEPTION_PAYLOAD) > 0 &&
                     kvm_enable_cap(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1);
    x->has_triple_fault = kvm_check_extension(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT) > 0 &&
                          kvm_enable_cap(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
    /* Only some Intel hosts need these; others refuse or ignore them. */
    if (kvm_check_extension(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0) {
        kvm_vm_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    }
    if (kvm_check_extension(vm, KVM_CAP_SET_TSS_ADDR) > 0) {
        kvm_vm_ioctl(vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)KVM_TSS);
    }
    return x86_kvm_open_irqchip(vm, err);
}

static bool set_msr(Vcpu *cpu, uint32_t index, uint64_t data)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry = {.index = index, .data = data}};

    return kvm_vcpu_ioctl(cpu, KVM_SET_MSRS, &m) == 1;
}

/* Machine-check banks, where the CPU model has them (SDM 3B 16.3.1.1). */
static void set_up_mce(Vcpu *cpu)
{
    const uint32_t *w = x86_vm(cpu->vm)->cpu.words;
    uint64_t supported = 0, mcg_cap;
    int banks = kvm_check_extension(cpu->vm, KVM_CAP_MCE);

    if (banks <= 0 || (w[WORD_1_EDX] & (BIT(7) | BIT(14))) != (BIT(7) | BIT(14)) ||
        ioctl(kvm_system_fd(cpu->vm), KVM_X86_GET_MCE_CAP_SUPPORTED, &supported) < 0) {
        return;
    }
    mcg_cap = (supported & (BIT64(8) | BIT64(24))) | MIN(banks, 10); /* MCG_CTL_P, MCG_SER_P */
    kvm_vcpu_ioctl(cpu, KVM_X86_SETUP_MCE, &mcg_cap);
}

/* Corrects what KVM gives a new vCPU to the reset values of the CPU model. */
static void adjust_power_on(Vcpu *cpu, X86CpuState *s)
{
    s->gpr[GPR_RDX] = x86_signature(&x86_vm(cpu->vm)->cpu);
    s->rip = 0xfff0;
    s->rflags = 2;
    for (unsigned i = 0; i < s->msr_count; i++) {
        switch (s->msr_index[i]) {
        case MSR_TSC:
        case MSR_TSC_ADJUST:
        case MSR_TSC_DEADLINE:
            s->msr_data[i] = 0;
            break;
        case MSR_MISC_ENABLE:
            s->msr_data[i] |= 1; /* fast strings, as firmware leaves it */
            set_msr(cpu, MSR_MISC_ENABLE, s->msr_data[i]);
            break;
        default:
            break;
        }
    }
    /* The other CPUs wait for INIT and SIPI, which KVM's local APIC handles. */
    s->mp_state = cpu->index ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
}

static bool set_tsc(Vcpu *cpu, GError **err)
{
    uint64_t hz = x86_vm(cpu->vm)->cpu.tsc_hz;
    int r;

    if (!hz) {
        return true;
    }
    r = kvm_vcpu_ioctl(cpu, KVM_SET_TSC_KHZ, (void *)(uintptr_t)(hz / 1000));
    if (r < 0 && kvm_vcpu_ioctl(cpu, KVM_GET_TSC_KHZ, NULL) != (int)(hz / 1000)) {
        return error_set_errno(err, -r, "-cpu: this host cannot scale the TSC to %" PRIu64 " kHz",
                               hz / 1000);
    }
    return true;
}

/* The properties kvm-pv-enforce-cpuid and ucode-rev. */
static bool set_up_properties(Vcpu *cpu, GError **err)
{
    const X86CpuConfig *config = &x86_vm(cpu->vm)->cpu;
    struct kvm_enable_cap cap = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = {1}};
    int r = config->kvm_pv_enforce_cpuid ? kvm_vcpu_ioctl(cpu, KVM_ENABLE_CAP, &cap) : 0;

    if (r < 0) {
        return error_set_errno(err, -r, "-cpu: this host's KVM has no kvm-pv-enforce-cpuid");
    }
    if (config->has_ucode_rev && !set_msr(cpu, MSR_UCODE_REV, config->ucode_rev)) {
        return error_set(err, "-cpu: this host's KVM does not take ucode-rev=%#" PRIx64,
                         config->ucode_rev);
    }
    return true;
}

static bool x86_vcpu_init(Vcpu *cpu, GError **err)
{
    X86Vm *x = x86_vm(cpu->vm);
    g_autofree struct kvm_cpuid2 *cpuid =
        g_malloc0(sizeof *cpuid + X86_MAX_CPUID * sizeof cpuid->entries[0]);
    X86Cpu *c;
    int r;

    if (!x->configured && !x86_cpu_configure(cpu->vm, "qemu64", NULL, err)) {
        return false;
    }
    cpuid->nent = x86_cpuid_build(cpu->vm, cpu->index, cpu->arch_id, cpuid->entries);
    r = kvm_vcpu_ioctl(cpu, KVM_SET_CPUID2, cpuid);
    if (r < 0) {
        return error_set_errno(err, -r, "CPU %u: KVM does not take the CPUID of model '%s'",
                               cpu->index, x->cpu.model->name);
    }
    if (!set_tsc(cpu, err) || !set_up_properties(cpu, err)) {
        return false;
    }
    set_up_mce(cpu);
    if (x->cpu.words[WORD_7_EDX] & BIT(29) &&
        !set_msr(cpu, MSR_ARCH_CAPABILITIES, x->cpu.words[WORD_ARCH_CAPABILITIES])) {
        log_item(LOG_KVM, "CPU %u: KVM refuses to set IA32_ARCH_CAPABILITIES", cpu->index);
    }
    c = g_new0(X86Cpu, 1);
    c->power_on = sparse_new(sizeof *c->power_on);
    cpu->arch = c;
    if (!x86_state_get(cpu, c->power_on, err)) {
        return false;
    }
    adjust_power_on(cpu, c->power_on);
    sparse_trim(c->power_on, sizeof *c->power_on);
    c->fresh = true;
    return true;
}

static void x86_vcpu_destroy(Vcpu *cpu)
{
    X86Cpu *c = cpu->arch;

    if (c) {
        sparse_free(c->power_on, sizeof *c->power_on);
        g_free(c);
        cpu->arch = NULL;
    }
}

/* MTRRs as firmware programs them (SDM 3A 12.11): write-back, but the PCI hole is uncached. */
static void set_mtrrs(Vcpu *cpu, uint64_t hole)
{
    static const uint32_t fixed_writeback[] = {0x250, 0x258, 0x268, 0x269, 0x26a,
                                               0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
    uint64_t size = 4 * GiB - hole;
    uint64_t mask = (BIT64(x86_phys_bits(cpu->vm)) - 1) & ~(size - 1);

    if (!(x86_vm(cpu->vm)->cpu.words[WORD_1_EDX] & BIT(12)) || !is_power_of_2(size)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(fixed_writeback); i++) {
        set_msr(cpu, fixed_writeback[i], 0x0606060606060606);
    }
    set_msr(cpu, 0x259, 0); /* 0xa0000..0xbffff: uncached */
    set_msr(cpu, 0x200, hole);
    set_msr(cpu, 0x201, mask | BIT64(11));
    set_msr(cpu, MSR_MTRR_DEF_TYPE, 0xc06);
}

static X86Segment flat_segment(uint16_t selector, bool code, bool long_mode)
{
    return (X86Segment){.limit = 0xffffffff,
                        .selector = selector,
                        .flags = SEG_P | SEG_S | SEG_G | (code ? 0xb : 0x3) |
                                 (code && long_mode ? SEG_L : SEG_DB)};
}

/* Registers for a kernel that is entered directly, and the local APIC as firmware sets it up. */
static void apply_boot_state(const X86BootState *b, X86CpuState *s)
{
    if (s->has_lapic) {
        /* APIC enabled, LINT0 takes the PIC's interrupts (ExtINT), LINT1 is NMI */
        stle32(s->lapic + 0xf0, 0x1ff);
        stle32(s->lapic + 0x350, 0x8700);
        stle32(s->lapic + 0x360, 0x8400);
    }
    s->rip = b->rip;
    s->gpr[GPR_RSP] = b->rsp;
    s->gpr[GPR_RSI] = b->rsi;
    s->gpr[GPR_RDI] = b->rdi;
    s->gpr[GPR_RBP] = b->rbp;
    s->gpr[GPR_RAX] = b->rax;
    s->gpr[GPR_RBX] = b->rbx;
    s->gpr[GPR_RCX] = b->rcx;
    s->gpr[GPR_RDX] = b->rdx;
    if (b->real_mode) {
        s->seg[SEG_CS].selector = b->cs;
        s->seg[SEG_CS].base = (uint64_t)b->cs << 4;
        return; /* the other registers keep their reset values */
    }
    for (unsigned i = 0; i < SEG_LDT; i++) {
        s->seg[i] = flat_segment(i == SEG_CS ? b->cs : b->ds, i == SEG_CS, b->long_mode);
    }
    /* VM entry in protected mode requires that TR holds a busy TSS, though nothing uses it. */
    s->seg[SEG_TR] = (X86Segment){.limit = 0xffff, .flags = SEG_P | 0xb};
    s->gdt_base = b->gdt_base;
    s->gdt_limit = b->gdt_limit;
    s->cr0 = b->cr0;
    s->cr3 = b->cr3;
    s->cr4 = b->cr4;
    s->efer = b->efer;
}

static void x86_vcpu_reset(Vcpu *cpu)
{
    X86Cpu *c = cpu->arch;
    const X86BootState *boot = &x86_vm(cpu->vm)->boot;
    g_autofree X86CpuState *changed = NULL;
    const X86CpuState *s = c->power_on;
    g_autoptr(GError) err = NULL;

    if (boot->enabled && cpu->index == 0) {
        changed = g_memdup2(c->power_on, sizeof *changed);
        apply_boot_state(boot, changed);
        s = changed;
    }
    /*
     * A vCPU that has not run still has its power-on MSRs and FPU. Writing them again would cost
     * time, and writing the TSC would undo KVM's synchronization of the TSCs.
     */
    if (!(c->fresh ? x86_state_set_registers(cpu, s, &err) : x86_state_set(cpu, s, &err))) {
        log_error("reset: %s", err->message);
    }
    if (boot->enabled && boot->pci_hole) {
        set_mtrrs(cpu, boot->pci_hole);
    }
}

void x86_set_boot_state(Vm *vm, const X86BootState *boot)
{
    x86_vm(vm)->boot = *boot;
}

/*
 * Split irqchip: the PIC is in user space and interrupts the boot CPU by KVM_INTERRUPT. KVM accepts
 * that only while the guest can take an interrupt; else an interrupt window is requested (Linux
 * Documentation/virt/kvm/api.rst, 'struct kvm_run').
 */
static void x86_pre_run(Vcpu *cpu)
{
    struct kvm_run *run = cpu->run;

    ((X86Cpu *)cpu->arch)->fresh = false;
    if (cpu->index != 0 || kvm_irqchip_mode(cpu->vm) != KVM_IRQCHIP_SPLIT) {
        return;
    }
    run->request_interrupt_window = 0;
    if (!kvm_extint_pending(cpu->vm)) {
        return;
    }
    if (run->ready_for_interrupt_injection) {
        int vector = kvm_extint_acknowledge(cpu->vm);

        if (vector >= 0) {
            struct kvm_interrupt interrupt = {.irq = vector};

            trace(kvm_interrupt, cpu->index, vector);
            kvm_vcpu_ioctl(cpu, KVM_INTERRUPT, &interrupt);
        }
    }
    if (kvm_extint_pending(cpu->vm)) {
        run->request_interrupt_window = 1;
    }
}

static VcpuExit x86_handle_exit(Vcpu *cpu)
{
    struct kvm_run *run = cpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IRQ_WINDOW_OPEN: /* pre_run injects */
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_X86_BUS_LOCK:
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        run->msr.error = 1; /* #GP */
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_HYPERV:
        /* No hypercall is offered: HV_STATUS_INVALID_HYPERCALL_CODE (TLFS, hypercall status). */
        if (run->hyperv.type == KVM_EXIT_HYPERV_HCALL) {
            run->hyperv.u.hcall.result = 2;
        }
        return VCPU_EXIT_CONTINUE;
    default:
        return VCPU_EXIT_UNKNOWN;
    }
}

static char *x86_vcpu_registers_text(Vcpu *cpu)
{
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);

    if (!x86_state_get_registers(cpu, s)) {
        return g_strdup("KVM does not give the registers\n");
    }
    return x86_registers_text(s, s->mp_state == KVM_MP_STATE_HALTED);
}

static bool read_physical(void *data, uint64_t pa, void *buf, unsigned len)
{
    return debug_access(data, pa, buf, len, false);
}

static bool paging_of(Vcpu *cpu, X86Paging *p)
{
    struct kvm_sregs s;

    if (kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &s) < 0) {
        return false;
    }
    *p = (X86Paging){.cr0 = s.cr0,
                     .cr3 = s.cr3,
                     .cr4 = s.cr4,
                     .efer = s.efer,
                     .phys_bits = x86_phys_bits(cpu->vm),
                     .read = read_physical,
                     .data = cpu->vm};
    return true;
}

static bool x86_translate(Vcpu *cpu, uint64_t va, uint64_t *pa)
{
    X86Paging p;

    return paging_of(cpu, &p) && x86_paging_translate(&p, va, pa);
}

typedef struct {
    char *(*fn)(const X86Paging *p);
    char *text;
} TextCall;

static void paging_text_here(Vcpu *cpu, void *data)
{
    TextCall *call = data;
    X86Paging p;

    call->text = paging_of(cpu, &p) ? call->fn(&p) : g_strdup("");
}

char *x86_info_mem(Vcpu *cpu)
{
    TextCall call = {.fn = x86_paging_info_mem};

    vcpu_call(cpu, paging_text_here, &call);
    return call.text;
}

char *x86_info_tlb(Vcpu *cpu)
{
    TextCall call = {.fn = x86_paging_info_tlb};

    vcpu_call(cpu, paging_text_here, &call);
    return call.text;
}

static void lapic_text_here(Vcpu *cpu, void *data)
{
    char **text = data;
    struct kvm_lapic_state lapic = {0};
    struct kvm_sregs s = {0};

    if (kvm_vcpu_ioctl(cpu, KVM_GET_LAPIC, &lapic) < 0 ||
        kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &s) < 0) {
        *text = g_strdup_printf("dumping local APIC state for CPU %u: not there\n", cpu->index);
        return;
    }
    *text = x86_lapic_text((const uint8_t *)lapic.regs, cpu->index, s.apic_base & BIT64(10),
                           s.apic_base);
}

char *x86_info_lapic(Vcpu *cpu)
{
    char *text = NULL;

    vcpu_call(cpu, lapic_text_here, &text);
    return text;
}

static bool x86_read_register(Vcpu *cpu, const char *name, uint64_t *value)
{
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);

    return x86_state_get_registers(cpu, s) && x86_register_value(s, name, value);
}

static bool x86_foreach_mapping(Vcpu *cpu,
                                void (*fn)(uint64_t va, uint64_t pa, uint64_t len, void *data),
                                void *data)
{
    X86Paging p;

    return !paging_of(cpu, &p) || x86_paging_foreach(&p, fn, data);
}

static unsigned x86_code_bits(Vcpu *cpu)
{
    struct kvm_sregs s = {0};

    kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &s);
    return s.efer & EFER_LMA && s.cs.l ? 64 : s.cs.db ? 32 : 16;
}

static void x86_inject_nmi(Vcpu *cpu)
{
    kvm_vcpu_ioctl(cpu, KVM_NMI, NULL);
}

/* By CPUID, which shows the flag even if the firmware has disabled the feature. */
const char *x86_host_virtualization(void)
{
    uint32_t r[4];

    x86_host_cpuid(1, 0, r);
    if (r[2] & BIT(5)) {
        return "vmx";
    }
    x86_host_cpuid(0x80000000, 0, r);
    if (r[0] >= 0x80000001) {
        x86_host_cpuid(0x80000001, 0, r);
        if (r[2] & BIT(2)) {
            return "svm";
        }
    }
    return NULL;
}

const ArchOps x86_arch = {
    .name = "x86_64",
    .host_virtualization = x86_host_virtualization,
    .arch_id = x86_apic_id,
    .vm_init = x86_vm_init,
    .vcpu_init = x86_vcpu_init,
    .vcpu_destroy = x86_vcpu_destroy,
    .vcpu_reset = x86_vcpu_reset,
    .pre_run = x86_pre_run,
    .handle_exit = x86_handle_exit,
    .registers_text = x86_vcpu_registers_text,
    .translate = x86_translate,
    .read_register = x86_read_register,
    .code_bits = x86_code_bits,
    .inject_nmi = x86_inject_nmi,
    .core_notes = x86_core_notes,
    .foreach_mapping = x86_foreach_mapping,
    .elf_machine = EM_X86_64,
    .state_desc = x86_cpu_state_desc,
    .state_get = x86_state_get,
    .state_set = x86_state_set,
    .debug = &x86_debug,
};

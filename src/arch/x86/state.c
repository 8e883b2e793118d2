/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Converts a vCPU's state between KVM's structs and X86CpuState. MSRs are saved as pairs of number
 * and value, for all that KVM lists, so those of a newer KVM are saved too. On the vCPU's thread.
 */
#include <string.h>
#include "x86_internal.h"

STATE_DESC_PUBLIC(x86_segment, X86Segment, X86_SEGMENT_STATE, 1);
STATE_DESC_PUBLIC(x86_cpu, X86CpuState, X86_CPU_STATE, 1);

static bool x86_state_failed(Vcpu *cpu, int result, const char *what, GError **err)
{
    return result >= 0 || error_set_errno(err, -result, "CPU %u: %s", cpu->index, what);
}

/* General registers. The fields of kvm_regs are not in the order of register numbers. */
static void regs_from_kvm(X86CpuState *s, const struct kvm_regs *r)
{
    const uint64_t gpr[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
                              r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

    memcpy(s->gpr, gpr, sizeof gpr);
    s->rip = r->rip;
    s->rflags = r->rflags;
}

static void regs_to_kvm(const X86CpuState *s, struct kvm_regs *r)
{
    const uint64_t *g = s->gpr;

    *r = (struct kvm_regs){.rax = g[0],
                           .rcx = g[1],
                           .rdx = g[2],
                           .rbx = g[3],
                           .rsp = g[4],
                           .rbp = g[5],
                           .rsi = g[6],
                           .rdi = g[7],
                           .r8 = g[8],
                           .r9 = g[9],
                           .r10 = g[10],
                           .r11 = g[11],
                           .r12 = g[12],
                           .r13 = g[13],
                           .r14 = g[14],
                           .r15 = g[15],
                           .rip = s->rip,
                           .rflags = s->rflags};
}

static void segment_from_kvm(X86Segment *s, const struct kvm_segment *k)
{
    s->base = k->base;
    s->limit = k->limit;
    s->selector = k->selector;
    s->flags = (k->type & SEG_TYPE) | (k->s ? SEG_S : 0) | (k->dpl & 3) << 5 |
               (k->present ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
               (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0);
    s->unusable = k->unusable;
}

static void segment_to_kvm(const X86Segment *s, struct kvm_segment *k)
{
    *k = (struct kvm_segment){.base = s->base,
                              .limit = s->limit,
                              .selector = s->selector,
                              .type = s->flags & SEG_TYPE,
                              .s = (s->flags & SEG_S) != 0,
                              .dpl = (s->flags & SEG_DPL) >> 5,
                              .present = (s->flags & SEG_P) != 0,
                              .avl = (s->flags & SEG_AVL) != 0,
                              .l = (s->flags & SEG_L) != 0,
                              .db = (s->flags & SEG_DB) != 0,
                              .g = (s->flags & SEG_G) != 0,
                              .unusable = s->unusable};
}

/* kvm_sregs and kvm_sregs2 begin alike. */
#define SREGS_FIELDS(X)                                                                            \
    X(es, SEG_ES)                                                                                  \
    X(cs, SEG_CS)                                                                                  \
    X(ss, SEG_SS)                                                                                  \
    X(ds, SEG_DS)                                                                                  \
    X(fs, SEG_FS)                                                                                  \
    X(gs, SEG_GS)                                                                                  \
    X(ldt, SEG_LDT)                                                                                \
    X(tr, SEG_TR)

#define SREGS_FROM_KVM(s, k)                                                                       \
    do {                                                                                           \
        SREGS_FIELDS(SREGS_FROM_)                                                                  \
        (s)->gdt_base = (k)->gdt.base;                                                             \
        (s)->gdt_limit = (k)->gdt.limit;                                                           \
        (s)->idt_base = (k)->idt.base;                                                             \
        (s)->idt_limit = (k)->idt.limit;                                                           \
        (s)->cr0 = (k)->cr0;                                                                       \
        (s)->cr2 = (k)->cr2;                                                                       \
        (s)->cr3 = (k)->cr3;                                                                       \
        (s)->cr4 = (k)->cr4;                                                                       \
        (s)->cr8 = (k)->cr8;                                                                       \
        (s)->efer = (k)->efer;                                                                     \
        (s)->apic_base = (k)->apic_base;                                                           \
    } while (0)
#define SREGS_TO_KVM(s, k)                                                                         \
    do {                                                                                           \
        SREGS_FIELDS(SREGS_TO_)                                                                    \
        (k)->gdt.base = (s)->gdt_base;                                                             \
        (k)->gdt.limit = (s)->gdt_limit;                                                           \
        (k)->idt.base = (s)->idt_base;                                                             \
        (k)->idt.limit = (s)->idt_limit;                                                           \
        (k)->cr0 = (s)->cr0;                                                                       \
        (k)->cr2 = (s)->cr2;                                                                       \
        (k)->cr3 = (s)->cr3;                                                                       \
        (k)->cr4 = (s)->cr4;                                                                       \
        (k)->cr8 = (s)->cr8;                                                                       \
        (k)->efer = (s)->efer;                                                                     \
        (k)->apic_base = (s)->apic_base;                                                           \
    } while (0)
#define SREGS_FROM_(name, n) segment_from_kvm(&s->seg[n], &k->name);
#define SREGS_TO_(name, n)   segment_to_kvm(&s->seg[n], &k->name);

static bool sregs_get(Vcpu *cpu, X86CpuState *s, GError **err)
{
    if (x86_vm(cpu->vm)->has_sregs2) {
        struct kvm_sregs2 sregs = {0}, *k = &sregs;

        if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_SREGS2, k), "KVM_GET_SREGS2", err)) {
            return false;
        }
        SREGS_FROM_KVM(s, k);
        s->pdptrs_valid = k->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(s->pdptrs, k->pdptrs, sizeof s->pdptrs);
        return true;
    } else {
        struct kvm_sregs sregs = {0}, *k = &sregs;

        if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, k), "KVM_GET_SREGS", err)) {
            return false;
        }
        SREGS_FROM_KVM(s, k);
        return true;
    }
}

static bool sregs_set(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    if (x86_vm(cpu->vm)->has_sregs2) {
        struct kvm_sregs2 sregs = {0}, *k = &sregs;

        SREGS_TO_KVM(s, k);
        k->flags = s->pdptrs_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
        memcpy(k->pdptrs, s->pdptrs, sizeof s->pdptrs);
        return x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_SREGS2, k), "KVM_SET_SREGS2", err);
    } else {
        struct kvm_sregs sregs = {0}, *k = &sregs;

        SREGS_TO_KVM(s, k);
        return x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_SREGS, k), "KVM_SET_SREGS", err);
    }
}

static bool fpu_get(Vcpu *cpu, X86CpuState *s, GError **err)
{
    X86Vm *x = x86_vm(cpu->vm);
    bool large = x->xsave_size > sizeof(struct kvm_xsave);
    struct kvm_xcrs xcrs = {0};

    s->xsave_len = x->xsave_size;
    if (!x86_state_failed(cpu,
                          kvm_vcpu_ioctl(cpu, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, s->xsave),
                          "KVM_GET_XSAVE", err)) {
        return false;
    }
    if (x->has_xcrs) {
        if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_XCRS, &xcrs), "KVM_GET_XCRS", err)) {
            return false;
        }
        for (unsigned i = 0; i < xcrs.nr_xcrs && i < ARRAY_SIZE(xcrs.xcrs); i++) {
            if (xcrs.xcrs[i].xcr == 0) {
                s->xcr0 = xcrs.xcrs[i].value;
            }
        }
    }
    return true;
}

static bool fpu_set(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    X86Vm *x = x86_vm(cpu->vm);
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = s->xcr0}};
    g_autofree uint8_t *area = g_malloc0(MAX(x->xsave_size, sizeof(struct kvm_xsave)));

    if (s->xsave_len > x->xsave_size) {
        return error_set(err, "CPU %u: the saved XSAVE area has %u bytes, this host's KVM takes %u",
                         cpu->index, s->xsave_len, x->xsave_size);
    }
    memcpy(area, s->xsave, s->xsave_len);
    if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_XSAVE, area), "KVM_SET_XSAVE", err)) {
        return false;
    }
    return !x->has_xcrs || !s->xcr0 ||
           x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS", err);
}

static bool debug_get(Vcpu *cpu, X86CpuState *s, GError **err)
{
    struct kvm_debugregs d = {0};

    if (!x86_vm(cpu->vm)->has_debugregs) {
        s->dr6 = 0xffff0ff0;
        s->dr7 = 0x400;
        return true;
    }
    if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_DEBUGREGS, &d), "KVM_GET_DEBUGREGS",
                          err)) {
        return false;
    }
    memcpy(s->dr, d.db, sizeof s->dr);
    s->dr6 = d.dr6;
    s->dr7 = d.dr7;
    return true;
}

static bool debug_set(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    struct kvm_debugregs d = {.dr6 = s->dr6, .dr7 = s->dr7};

    memcpy(d.db, s->dr, sizeof s->dr);
    return !x86_vm(cpu->vm)->has_debugregs ||
           x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_DEBUGREGS, &d), "KVM_SET_DEBUGREGS",
                            err);
}

static bool events_get(Vcpu *cpu, X86CpuState *s, GError **err)
{
    struct kvm_vcpu_events e = {0};

    if (!x86_vm(cpu->vm)->has_events) {
        return true;
    }
    if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_VCPU_EVENTS, &e), "KVM_GET_VCPU_EVENTS",
                          err)) {
        return false;
    }
    s->exception_injected = e.exception.injected;
    s->exception_pending = e.exception.pending;
    s->exception_nr = e.exception.nr;
    s->exception_has_error_code = e.exception.has_error_code;
    s->exception_error_code = e.exception.error_code;
    s->exception_has_payload = e.exception_has_payload;
    s->exception_payload = e.exception_payload;
    s->interrupt_injected = e.interrupt.injected;
    s->interrupt_nr = e.interrupt.nr;
    s->interrupt_soft = e.interrupt.soft;
    s->interrupt_shadow = e.interrupt.shadow;
    s->nmi_injected = e.nmi.injected;
    s->nmi_pending = e.nmi.pending;
    s->nmi_masked = e.nmi.masked;
    s->sipi_vector = e.sipi_vector;
    s->smi_flags = (e.smi.smm ? 1 : 0) | (e.smi.pending ? 2 : 0) | (e.smi.smm_inside_nmi ? 4 : 0) |
                   (e.smi.latched_init ? 8 : 0);
    s->triple_fault = e.triple_fault.pending;
    return true;
}

static bool events_set(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    X86Vm *x = x86_vm(cpu->vm);
    struct kvm_vcpu_events e = {
        .exception = {.injected = s->exception_injected,
                      .nr = s->exception_nr,
                      .has_error_code = s->exception_has_error_code,
                      .pending = x->has_payload && s->exception_pending,
                      .error_code = s->exception_error_code},
        .interrupt = {.injected = s->interrupt_injected,
                      .nr = s->interrupt_nr,
                      .soft = s->interrupt_soft,
                      .shadow = s->interrupt_shadow},
        .nmi = {.injected = s->nmi_injected, .pending = s->nmi_pending, .masked = s->nmi_masked},
        .sipi_vector = s->sipi_vector,
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
                 KVM_VCPUEVENT_VALID_SHADOW,
        .exception_has_payload = x->has_payload && s->exception_has_payload,
        .exception_payload = s->exception_payload,
    };

    if (!x->has_events) {
        return true;
    }
    if (x->has_payload) {
        e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
    }
    if (x->has_smm) {
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
        e.smi.smm = (s->smi_flags & 1) != 0;
        e.smi.pending = (s->smi_flags & 2) != 0;
        e.smi.smm_inside_nmi = (s->smi_flags & 4) != 0;
        e.smi.latched_init = (s->smi_flags & 8) != 0;
    }
    if (x->has_triple_fault) {
        e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        e.triple_fault.pending = s->triple_fault;
    }
    return x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_VCPU_EVENTS, &e),
                            "KVM_SET_VCPU_EVENTS", err);
}

/* The argument of KVM_GET_MSRS and KVM_SET_MSRS. */
typedef struct {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[X86_MSRS_MAX];
} Msrs;

/* IA32_MTRR_PHYSMASKn (SDM 4, table 2-2): the odd ones of 0x200 to 0x20f. */
static bool is_mtrr_mask(uint32_t index)
{
    return index >= 0x200 && index <= 0x20f && index % 2;
}

/* Address bits that this CPU lacks and a CPU with wider addresses may have. */
static uint64_t x86_state_beyond(unsigned phys_bits)
{
    return (BIT64(52) - 1) & ~(BIT64(phys_bits) - 1);
}

/*
 * fill-mtrr-mask=on: on a CPU with wider addresses, zeroes in the upper bits of the mask would make
 * the range match again at higher addresses.
 */
uint64_t x86_msr_saved(const X86CpuConfig *cpu, uint32_t index, uint64_t value)
{
    return cpu->fill_mtrr_mask && is_mtrr_mask(index) ? value | x86_state_beyond(cpu->phys_bits)
                                                      : value;
}

/* KVM refuses a mask with bits above the CPU's address width. */
uint64_t x86_msr_loaded(const X86CpuConfig *cpu, uint32_t index, uint64_t value)
{
    return is_mtrr_mask(index) ? value & ~x86_state_beyond(cpu->phys_bits) : value;
}

/* Reads those of x->msr_list that can be read. */
static void msrs_get(Vcpu *cpu, X86CpuState *s)
{
    X86Vm *x = x86_vm(cpu->vm);
    g_autofree Msrs *m = g_malloc0(sizeof *m);

    s->msr_count = 0;
    for (unsigned next = 0; next < x->msr_count && s->msr_count < X86_MSRS_MAX;) {
        unsigned n = MIN(x->msr_count - next, (unsigned)X86_MSRS_MAX - s->msr_count);
        int done;

        m->head.nmsrs = n;
        for (unsigned i = 0; i < n; i++) {
            m->entries[i] = (struct kvm_msr_entry){.index = x->msr_list[next + i]};
        }
        done = kvm_vcpu_ioctl(cpu, KVM_GET_MSRS, m);
        for (int i = 0; i < done; i++) {
            s->msr_index[s->msr_count] = m->entries[i].index;
            s->msr_data[s->msr_count++] =
                x86_msr_saved(&x->cpu, m->entries[i].index, m->entries[i].data);
        }
        next += MAX(done, 0);
        if (done < (int)n) {
            next++; /* KVM lists this MSR but cannot read it for this vCPU */
        }
    }
}

static bool msr_is(Vcpu *cpu, uint32_t index, uint64_t value)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry.index = index};

    return kvm_vcpu_ioctl(cpu, KVM_GET_MSRS, &m) == 1 && m.entry.data == value;
}

/*
 * Writes all MSRs but the TSC deadline, or with 'last' only that, since KVM_SET_LAPIC loses an
 * earlier one. An MSR that KVM refuses is logged, unless it has the value already (read-only MSRs).
 */
static void msrs_set(Vcpu *cpu, const X86CpuState *s, bool last)
{
    const X86CpuConfig *config = &x86_vm(cpu->vm)->cpu;
    g_autofree Msrs *m = g_malloc0(sizeof *m);
    unsigned count = 0, next = 0;

    for (unsigned i = 0; i < s->msr_count; i++) {
        if ((s->msr_index[i] == MSR_TSC_DEADLINE) == last) {
            m->entries[count++] = (struct kvm_msr_entry){
                .index = s->msr_index[i],
                .data = x86_msr_loaded(config, s->msr_index[i], s->msr_data[i])};
        }
    }
    while (next < count) {
        int done;

        memmove(m->entries, m->entries + next, (count - next) * sizeof m->entries[0]);
        count -= next;
        m->head.nmsrs = count;
        done = kvm_vcpu_ioctl(cpu, KVM_SET_MSRS, m);
        next = MAX(done, 0);
        if (next < count) {
            const struct kvm_msr_entry *e = &m->entries[next];

            if (!msr_is(cpu, e->index, e->data)) {
                log_item(LOG_KVM, "CPU %u: KVM refuses %#" PRIx64 " for MSR %#x", cpu->index,
                         (uint64_t)e->data, e->index);
            }
            next++;
        }
    }
}

static bool mp_state_get(Vcpu *cpu, X86CpuState *s, GError **err)
{
    struct kvm_mp_state mp = {0};

    if (!x86_vm(cpu->vm)->has_mp_state) {
        return true;
    }
    if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_MP_STATE, &mp), "KVM_GET_MP_STATE",
                          err)) {
        return false;
    }
    s->mp_state = mp.mp_state;
    return true;
}

static bool mp_state_set(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    struct kvm_mp_state mp = {.mp_state = s->mp_state};

    return !x86_vm(cpu->vm)->has_mp_state ||
           x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_MP_STATE, &mp), "KVM_SET_MP_STATE",
                            err);
}

bool x86_state_get_registers(Vcpu *cpu, X86CpuState *s)
{
    struct kvm_regs regs = {0};

    if (kvm_vcpu_ioctl(cpu, KVM_GET_REGS, &regs) < 0) {
        return false;
    }
    regs_from_kvm(s, &regs);
    return sregs_get(cpu, s, NULL) && fpu_get(cpu, s, NULL) && debug_get(cpu, s, NULL) &&
           events_get(cpu, s, NULL) && mp_state_get(cpu, s, NULL);
}

bool x86_state_get(Vcpu *cpu, void *state, GError **err)
{
    X86CpuState *s = state;
    struct kvm_regs regs = {0};
    int khz;

    /* mp_state first: reading it makes KVM settle pending INITs and SIPIs */
    if (!mp_state_get(cpu, s, err) ||
        !x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_GET_REGS, &regs), "KVM_GET_REGS", err)) {
        return false;
    }
    regs_from_kvm(s, &regs);
    if (!sregs_get(cpu, s, err) || !fpu_get(cpu, s, err) || !debug_get(cpu, s, err) ||
        !events_get(cpu, s, err)) {
        return false;
    }
    msrs_get(cpu, s);
    s->has_lapic = kvm_vcpu_ioctl(cpu, KVM_GET_LAPIC, s->lapic) >= 0;
    khz = kvm_vcpu_ioctl(cpu, KVM_GET_TSC_KHZ, NULL);
    s->tsc_khz = MAX(khz, 0);
    return true;
}

bool x86_state_set_registers(Vcpu *cpu, const X86CpuState *s, GError **err)
{
    struct kvm_regs regs;

    regs_to_kvm(s, &regs);
    return sregs_set(cpu, s, err) &&
           x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS", err) &&
           (!s->has_lapic ||
            x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_LAPIC, (void *)s->lapic),
                             "KVM_SET_LAPIC", err)) &&
           mp_state_set(cpu, s, err);
}

static bool sregs_differ(const X86CpuState *a, const X86CpuState *b)
{
    /* From the segments to the APIC's base, what KVM_SET_SREGS writes. */
    return memcmp(a->seg, b->seg, offsetof(X86CpuState, pdptrs_valid) - offsetof(X86CpuState, seg));
}

bool x86_state_set_changed(Vcpu *cpu, const X86CpuState *was, const X86CpuState *s, GError **err)
{
    struct kvm_regs regs;

    ((X86Cpu *)cpu->arch)->fresh = false;
    if (memcmp(was->gpr, s->gpr, sizeof s->gpr) || was->rip != s->rip || was->rflags != s->rflags) {
        regs_to_kvm(s, &regs);
        if (!x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS", err)) {
            return false;
        }
    }
    return (!sregs_differ(was, s) || sregs_set(cpu, s, err)) &&
           (!memcmp(was->xsave, s->xsave, s->xsave_len) || fpu_set(cpu, s, err));
}

bool x86_state_set(Vcpu *cpu, const void *state, GError **err)
{
    const X86CpuState *s = state;
    struct kvm_regs regs;

    ((X86Cpu *)cpu->arch)->fresh = false;
    regs_to_kvm(s, &regs);
    if (!sregs_set(cpu, s, err) ||
        !x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS", err) ||
        !fpu_set(cpu, s, err)) {
        return false;
    }
    msrs_set(cpu, s, false);
    if (s->has_lapic && !x86_state_failed(cpu, kvm_vcpu_ioctl(cpu, KVM_SET_LAPIC, (void *)s->lapic),
                                          "KVM_SET_LAPIC", err)) {
        return false;
    }
    msrs_set(cpu, s, true);
    return debug_set(cpu, s, err) && events_set(cpu, s, err) && mp_state_set(cpu, s, err);
}

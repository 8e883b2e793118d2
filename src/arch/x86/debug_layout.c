/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers as gdb wants them: its features 'org.gnu.gdb.i386.*' (gdb's manual, i386 Features),
 * and one of our own with what else a system has. The values come from and go to X86CpuState.
 */
#include "x86_debug.h"

/* DebugRegister.what; 'index' is the number of the register of its kind. */
enum {
    WHAT_GPR,
    WHAT_RIP,
    WHAT_FLAGS,
    WHAT_SELECTOR,
    WHAT_BASE,
    WHAT_ST,
    WHAT_FPU, /* index: the order of fctrl, fstat, ... */
    WHAT_XMM,
    WHAT_MXCSR,
    WHAT_YMM_HIGH,
    WHAT_CONTROL, /* index: CR number, or EFER */
    WHAT_KERNEL_GS
};
enum { FPU_CONTROL, FPU_STATUS, FPU_TAG, FPU_ISEG, FPU_IOFF, FPU_OSEG, FPU_OOFF, FPU_OP };
#define CONTROL_EFER      16
#define MSR_KERNEL_GSBASE 0xc0000102

static const char core[] = "org.gnu.gdb.i386.core", sse[] = "org.gnu.gdb.i386.sse",
                  segments[] = "org.gnu.gdb.i386.segments", avx[] = "org.gnu.gdb.i386.avx",
                  own[] = "vmm.x86.system";

#define R(n, t, g, f, b, w, i)                                                                     \
    {                                                                                              \
        .name = n, .type = t, .group = g, .feature = f, .bytes = b, .what = w, .index = i          \
    }
#define GPR64(n, t, i)   R(n, t, "general", core, 8, WHAT_GPR, i)
#define GPR32(n, t, i)   R(n, t, "general", core, 4, WHAT_GPR, i)
#define SELECTOR(n, i)   R(n, "int32", "general", core, 4, WHAT_SELECTOR, i)
#define ST(n, i)         R(n, "i387_ext", NULL, core, 10, WHAT_ST, i)
#define FPU(n, i)        R(n, "int", "float", core, 4, WHAT_FPU, i)
#define XMM(n, i)        R(n, "vec128", NULL, sse, 16, WHAT_XMM, i)
#define YMMH(n, i)       R(n, "uint128", NULL, avx, 16, WHAT_YMM_HIGH, i)
#define BASE(n, b, i)    R(n, NULL, "system", own, b, WHAT_BASE, i)
#define CONTROL(n, b, i) R(n, NULL, "system", own, b, WHAT_CONTROL, i)

#define SELECTORS                                                                                  \
    SELECTOR("cs", SEG_CS), SELECTOR("ss", SEG_SS), SELECTOR("ds", SEG_DS),                        \
        SELECTOR("es", SEG_ES), SELECTOR("fs", SEG_FS), SELECTOR("gs", SEG_GS)
#define FLOATS                                                                                     \
    ST("st0", 0), ST("st1", 1), ST("st2", 2), ST("st3", 3), ST("st4", 4), ST("st5", 5),            \
        ST("st6", 6), ST("st7", 7), FPU("fctrl", FPU_CONTROL), FPU("fstat", FPU_STATUS),           \
        FPU("ftag", FPU_TAG), FPU("fiseg", FPU_ISEG), FPU("fioff", FPU_IOFF),                      \
        FPU("foseg", FPU_OSEG), FPU("fooff", FPU_OOFF), FPU("fop", FPU_OP)
#define XMMS_LOW                                                                                   \
    XMM("xmm0", 0), XMM("xmm1", 1), XMM("xmm2", 2), XMM("xmm3", 3), XMM("xmm4", 4),                \
        XMM("xmm5", 5), XMM("xmm6", 6), XMM("xmm7", 7)
#define YMMS_LOW                                                                                   \
    YMMH("ymm0h", 0), YMMH("ymm1h", 1), YMMH("ymm2h", 2), YMMH("ymm3h", 3), YMMH("ymm4h", 4),      \
        YMMH("ymm5h", 5), YMMH("ymm6h", 6), YMMH("ymm7h", 7)
#define MXCSR  R("mxcsr", "i386_mxcsr", "vector", sse, 4, WHAT_MXCSR, 0)
#define EFLAGS R("eflags", "i386_eflags", "general", core, 4, WHAT_FLAGS, 0)
#define SYSTEM(bytes)                                                                              \
    CONTROL("cr0", bytes, 0), CONTROL("cr2", bytes, 2), CONTROL("cr3", bytes, 3),                  \
        CONTROL("cr4", bytes, 4), CONTROL("cr8", bytes, 8), CONTROL("efer", 8, CONTROL_EFER),      \
        BASE("cs_base", bytes, SEG_CS), BASE("ss_base", bytes, SEG_SS),                            \
        BASE("ds_base", bytes, SEG_DS), BASE("es_base", bytes, SEG_ES)

/* clang-format off */
static const DebugRegister registers64[] = {
    GPR64("rax", "int64", GPR_RAX), GPR64("rbx", "int64", GPR_RBX),
    GPR64("rcx", "int64", GPR_RCX), GPR64("rdx", "int64", GPR_RDX),
    GPR64("rsi", "int64", GPR_RSI), GPR64("rdi", "int64", GPR_RDI),
    GPR64("rbp", "data_ptr", GPR_RBP), GPR64("rsp", "data_ptr", GPR_RSP),
    GPR64("r8", "int64", 8), GPR64("r9", "int64", 9), GPR64("r10", "int64", 10),
    GPR64("r11", "int64", 11), GPR64("r12", "int64", 12), GPR64("r13", "int64", 13),
    GPR64("r14", "int64", 14), GPR64("r15", "int64", 15),
    R("rip", "code_ptr", "general", core, 8, WHAT_RIP, 0), EFLAGS, SELECTORS, FLOATS,
    XMMS_LOW, XMM("xmm8", 8), XMM("xmm9", 9), XMM("xmm10", 10), XMM("xmm11", 11),
    XMM("xmm12", 12), XMM("xmm13", 13), XMM("xmm14", 14), XMM("xmm15", 15), MXCSR,
    R("fs_base", "int", NULL, segments, 8, WHAT_BASE, SEG_FS),
    R("gs_base", "int", NULL, segments, 8, WHAT_BASE, SEG_GS),
    SYSTEM(8), R("k_gs_base", NULL, "system", own, 8, WHAT_KERNEL_GS, 0),
    /* The last ones: a CPU without AVX has none. */
    YMMS_LOW, YMMH("ymm8h", 8), YMMH("ymm9h", 9), YMMH("ymm10h", 10), YMMH("ymm11h", 11),
    YMMH("ymm12h", 12), YMMH("ymm13h", 13), YMMH("ymm14h", 14), YMMH("ymm15h", 15),
};
static const DebugRegister registers32[] = {
    GPR32("eax", "int32", GPR_RAX), GPR32("ecx", "int32", GPR_RCX),
    GPR32("edx", "int32", GPR_RDX), GPR32("ebx", "int32", GPR_RBX),
    GPR32("esp", "data_ptr", GPR_RSP), GPR32("ebp", "data_ptr", GPR_RBP),
    GPR32("esi", "int32", GPR_RSI), GPR32("edi", "int32", GPR_RDI),
    R("eip", "code_ptr", "general", core, 4, WHAT_RIP, 0), EFLAGS, SELECTORS, FLOATS,
    XMMS_LOW, MXCSR, SYSTEM(4), BASE("fs_base", 4, SEG_FS), BASE("gs_base", 4, SEG_GS), YMMS_LOW,
};
/* clang-format on */

enum { LAYOUT_64, LAYOUT_32, LAYOUT_16 };
const DebugLayout x86_layouts[] = {
    [LAYOUT_64] = {"i386:x86-64", registers64, ARRAY_SIZE(registers64)},
    [LAYOUT_32] = {"i386", registers32, ARRAY_SIZE(registers32)},
    [LAYOUT_16] = {"i8086", registers32, ARRAY_SIZE(registers32)},
    {NULL, NULL, 0},
};

unsigned x86_layout_count(Vm *vm, const DebugLayout *l)
{
    unsigned n = l->count;

    while (!x86_cpu_has(vm, "avx") && l->registers[n - 1].what == WHAT_YMM_HIGH) {
        n--;
    }
    return n;
}

/* A 64-bit kernel is that while it runs 32-bit programs, too. */
const DebugLayout *x86_layout_now(Vcpu *cpu)
{
    struct kvm_sregs s = {0};

    if (kvm_vcpu_ioctl(cpu, KVM_GET_SREGS, &s) < 0 || s.efer & EFER_LMA) {
        return &x86_layouts[LAYOUT_64];
    }
    return &x86_layouts[s.cr0 & CR0_PE && s.cs.db ? LAYOUT_32 : LAYOUT_16];
}

/* The FPU: FXSAVE's area, with which an XSAVE area begins (SDM 1, 10.5.1 and 13.4). */

#define XSAVE_ST       32
#define XSAVE_XMM      160
#define XSAVE_BV       512
#define XSAVE_YMM_HIGH 576
enum { XFEATURE_X87 = 1, XFEATURE_SSE = 2, XFEATURE_AVX = 4 };

static uint8_t *st_at(uint8_t *x, unsigned i)
{
    return x + XSAVE_ST + 16 * i;
}

/* FXSAVE keeps one bit a register, empty or not; the tag word has two (SDM 1, 8.1.7). */
static uint16_t full_tag_word(uint8_t *x)
{
    unsigned top = ldle16(x + 2) >> 11 & 7, tags = 0;

    for (unsigned physical = 0; physical < 8; physical++) {
        const uint8_t *st = st_at(x, (physical - top) & 7);
        unsigned exponent = ldle16(st + 8) & 0x7fff, tag = 0;
        uint64_t mantissa = ldle64(st);

        if (!(x[4] & BIT(physical))) {
            tag = 3;
        } else if (!exponent && !mantissa) {
            tag = 1;
        } else if (!exponent || exponent == 0x7fff || !(mantissa >> 63)) {
            tag = 2;
        }
        tags |= tag << 2 * physical;
    }
    return tags;
}

static uint8_t short_tag_word(uint16_t tags)
{
    uint8_t present = 0;

    for (unsigned i = 0; i < 8; i++) {
        present |= (tags >> 2 * i & 3) == 3 ? 0 : BIT(i);
    }
    return present;
}

static uint32_t fpu_word(uint8_t *x, unsigned which)
{
    switch (which) {
    case FPU_CONTROL:
        return ldle16(x);
    case FPU_STATUS:
        return ldle16(x + 2);
    case FPU_TAG:
        return full_tag_word(x);
    case FPU_ISEG:
        return ldle16(x + 12);
    case FPU_IOFF:
        return ldle32(x + 8);
    case FPU_OSEG:
        return ldle16(x + 20);
    case FPU_OOFF:
        return ldle32(x + 16);
    default:
        return ldle16(x + 6);
    }
}

static void set_fpu_word(uint8_t *x, unsigned which, uint32_t v)
{
    static const uint8_t offsets[] = {
        [FPU_CONTROL] = 0, [FPU_STATUS] = 2, [FPU_ISEG] = 12, [FPU_IOFF] = 8,
        [FPU_OSEG] = 20,   [FPU_OOFF] = 16,  [FPU_OP] = 6};

    if (which == FPU_TAG) {
        x[4] = short_tag_word(v);
    } else if (which == FPU_IOFF || which == FPU_OOFF) {
        stle32(x + offsets[which], v);
    } else {
        stle16(x + offsets[which], v);
    }
}

/* Where a register of the XSAVE area lies, and the component that it belongs to. */
static uint8_t *xsave_place(X86CpuState *s, const DebugRegister *r, unsigned *component)
{
    switch (r->what) {
    case WHAT_ST:
        *component = XFEATURE_X87;
        return st_at(s->xsave, r->index);
    case WHAT_XMM:
        *component = XFEATURE_SSE;
        return s->xsave + XSAVE_XMM + 16 * r->index;
    case WHAT_MXCSR:
        *component = XFEATURE_SSE;
        return s->xsave + 24;
    case WHAT_YMM_HIGH:
        *component = XFEATURE_AVX;
        return s->xsave_len >= XSAVE_YMM_HIGH + 256 ? s->xsave + XSAVE_YMM_HIGH + 16 * r->index
                                                    : NULL;
    default:
        return NULL;
    }
}

/* Whole registers as numbers. */

static uint64_t *control_place(X86CpuState *s, unsigned index)
{
    switch (index) {
    case 0:
        return &s->cr0;
    case 2:
        return &s->cr2;
    case 3:
        return &s->cr3;
    case 4:
        return &s->cr4;
    case 8:
        return &s->cr8;
    default:
        return &s->efer;
    }
}

static uint64_t number_get(X86CpuState *s, uint64_t kernel_gs, const DebugRegister *r)
{
    switch (r->what) {
    case WHAT_GPR:
        return s->gpr[r->index];
    case WHAT_RIP:
        return s->rip;
    case WHAT_FLAGS:
        return s->rflags;
    case WHAT_SELECTOR:
        return s->seg[r->index].selector;
    case WHAT_BASE:
        return s->seg[r->index].base;
    case WHAT_FPU:
        return fpu_word(s->xsave, r->index);
    case WHAT_CONTROL:
        return *control_place(s, r->index);
    default:
        return kernel_gs;
    }
}

static bool kernel_gs_get(Vcpu *cpu, uint64_t *value)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry.index = MSR_KERNEL_GSBASE};

    *value = 0;
    if (kvm_vcpu_ioctl(cpu, KVM_GET_MSRS, &m) != 1) {
        return false;
    }
    *value = m.entry.data;
    return true;
}

static bool kernel_gs_set(Vcpu *cpu, uint64_t value, GError **err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } m = {.head.nmsrs = 1, .entry.index = MSR_KERNEL_GSBASE, .entry.data = value};

    return kvm_vcpu_ioctl(cpu, KVM_SET_MSRS, &m) == 1 ||
           error_set(err, "KVM does not take this value for k_gs_base");
}

void x86_layout_read(X86CpuState *s, uint64_t kernel_gs, const DebugRegister *r, unsigned count,
                     uint8_t *out)
{
    for (const DebugRegister *end = r + count; r < end; out += r->bytes, r++) {
        unsigned component;
        uint8_t *place = xsave_place(s, r, &component), number[8];

        if (place) {
            memcpy(out, place, r->bytes);
        } else if (r->bytes <= 8) {
            stle64(number, number_get(s, kernel_gs, r));
            memcpy(out, number, r->bytes);
        } else {
            memset(out, 0, r->bytes);
        }
    }
}

bool x86_layout_get(Vcpu *cpu, const DebugLayout *l, uint8_t *values)
{
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);
    uint64_t kernel_gs = 0;

    if (!x86_state_get_registers(cpu, s)) {
        return false;
    }
    kernel_gs_get(cpu, &kernel_gs);
    x86_layout_read(s, kernel_gs, l->registers, x86_layout_count(cpu->vm, l), values);
    return true;
}

/*
 * A selector alone says what the segment is in real mode (and in virtual-8086 mode). Elsewhere its
 * descriptor would have to be loaded, with all that the CPU checks.
 */
static bool set_selector(X86CpuState *s, const DebugRegister *r, uint16_t value, GError **err)
{
    X86Segment *seg = &s->seg[r->index];

    if (s->cr0 & CR0_PE && !(s->rflags & BIT64(17))) {
        return error_set(err, "%s cannot be set in protected mode: it comes with a descriptor",
                         r->name);
    }
    seg->selector = value;
    seg->base = (uint64_t)value << 4;
    return true;
}

/* 'bytes' of the number are given; what is above stays (RAX, seen as EAX). */
static uint64_t merge(uint64_t old, uint64_t value, unsigned bytes)
{
    uint64_t mask = bytes >= 8 ? ~0ull : BIT64(8 * bytes) - 1;

    return (old & ~mask) | (value & mask);
}

static bool number_set(X86CpuState *s, uint64_t *kernel_gs, const DebugRegister *r, uint64_t value,
                       GError **err)
{
    uint64_t *control;

    switch (r->what) {
    case WHAT_GPR:
        s->gpr[r->index] = merge(s->gpr[r->index], value, r->bytes);
        return true;
    case WHAT_RIP:
        s->rip = value;
        return true;
    case WHAT_FLAGS:
        s->rflags = (value & 0xffffffff) | BIT64(1);
        return true;
    case WHAT_SELECTOR:
        return set_selector(s, r, value, err);
    case WHAT_BASE:
        s->seg[r->index].base = merge(s->seg[r->index].base, value, r->bytes);
        return true;
    case WHAT_FPU:
        set_fpu_word(s->xsave, r->index, value);
        stle64(s->xsave + XSAVE_BV, ldle64(s->xsave + XSAVE_BV) | XFEATURE_X87);
        return true;
    case WHAT_CONTROL:
        control = control_place(s, r->index);
        *control = merge(*control, value, r->bytes);
        return true;
    default:
        *kernel_gs = value;
        return true;
    }
}

bool x86_layout_change(X86CpuState *s, uint64_t *kernel_gs, const DebugRegister *r,
                       const uint8_t *value, GError **err)
{
    unsigned component;
    uint8_t *place = xsave_place(s, r, &component), number[8] = {0};

    if (place) {
        memcpy(place, value, r->bytes);
        stle64(s->xsave + XSAVE_BV, ldle64(s->xsave + XSAVE_BV) | component);
        return true;
    }
    if (r->bytes > 8) {
        return error_set(err, "this CPU has no %s", r->name);
    }
    memcpy(number, value, r->bytes);
    return number_set(s, kernel_gs, r, ldle64(number), err);
}

bool x86_layout_set(Vcpu *cpu, const DebugLayout *l, const uint8_t *values, GError **err)
{
    g_autofree X86CpuState *was = g_new0(X86CpuState, 1);
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);
    unsigned count = x86_layout_count(cpu->vm, l);
    const uint8_t *value = values;
    uint64_t kernel_gs_was = 0, kernel_gs;

    if (!x86_state_get_registers(cpu, was)) {
        return error_set(err, "KVM does not give the registers");
    }
    kernel_gs_get(cpu, &kernel_gs_was);
    kernel_gs = kernel_gs_was;
    *s = *was;
    for (unsigned i = 0; i < count; value += l->registers[i].bytes, i++) {
        uint8_t now[16];

        x86_layout_read(was, kernel_gs_was, &l->registers[i], 1, now);
        if (memcmp(now, value, l->registers[i].bytes) &&
            !x86_layout_change(s, &kernel_gs, &l->registers[i], value, err)) {
            return false;
        }
    }
    return x86_state_set_changed(cpu, was, s, err) &&
           (kernel_gs == kernel_gs_was || kernel_gs_set(cpu, kernel_gs, err));
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info registers' and 'info lapic', in QEMU's format. */
#include <inttypes.h>
#include "x86_internal.h"

static const char *const system_types[2][16] = {
    {"Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
     "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved",
     "IntGate32", "TrapGate32"},
    {"<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
     "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64",
     "TrapGate64"},
};

static void segment_text(GString *out, const X86CpuState *s, const char *name, unsigned n)
{
    const X86Segment *seg = &s->seg[n];
    bool lma = s->efer & EFER_LMA, code64 = lma && s->seg[SEG_CS].flags & SEG_L;
    unsigned type = seg->flags & SEG_TYPE;
    /* printed in place: bits 8..23 of the descriptor's upper half */
    uint32_t flags = (uint32_t)seg->flags << 8;

    if (seg->unusable) {
        flags = 0;
    }
    g_string_append_printf(out, "%-3s=%04x %0*" PRIx64 " %08x %08x", name, seg->selector,
                           code64 ? 16 : 8, code64 ? seg->base : seg->base & 0xffffffff, seg->limit,
                           flags);
    if (s->cr0 & CR0_PE && flags & (uint32_t)SEG_P << 8) {
        g_string_append_printf(out, " DPL=%u ", (seg->flags & SEG_DPL) >> 5);
        if (!(seg->flags & SEG_S)) {
            g_string_append(out, system_types[lma][type]);
        } else if (type & 8) {
            g_string_append_printf(out, "%s [%c%c%c]",
                                   seg->flags & SEG_L    ? "CS64"
                                   : seg->flags & SEG_DB ? "CS32"
                                                         : "CS16",
                                   type & 4 ? 'C' : '-', type & 2 ? 'R' : '-',
                                   type & 1 ? 'A' : '-');
        } else {
            g_string_append_printf(out, "%s [%c%c%c]", seg->flags & SEG_DB || lma ? "DS  " : "DS16",
                                   type & 4 ? 'E' : '-', type & 2 ? 'W' : '-',
                                   type & 1 ? 'A' : '-');
        }
    }
    g_string_append_c(out, '\n');
}

static void general_text(GString *out, const X86CpuState *s, bool code64)
{
    static const struct {
        const char *name;
        unsigned gpr;
    } order[] = {{"AX", GPR_RAX}, {"BX", GPR_RBX}, {"CX", GPR_RCX}, {"DX", GPR_RDX},
                 {"SI", GPR_RSI}, {"DI", GPR_RDI}, {"BP", GPR_RBP}, {"SP", GPR_RSP}};

    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(out, "%c%s=%0*" PRIx64 "%c", code64 ? 'R' : 'E', order[i].name,
                               code64 ? 16 : 8,
                               code64 ? s->gpr[order[i].gpr] : s->gpr[order[i].gpr] & 0xffffffff,
                               i % 4 == 3 ? '\n' : ' ');
    }
    for (unsigned i = 8; code64 && i < 16; i++) {
        g_string_append_printf(out, "R%-2u=%016" PRIx64 "%c", i, s->gpr[i],
                               i % 4 == 3 ? '\n' : ' ');
    }
}

/* An XSAVE area begins with FXSAVE's layout (SDM 1, 13.4.1); the upper YMM halves are at 576. */
static void fpu_text(GString *out, const X86CpuState *s, bool code64)
{
    const uint8_t *x = s->xsave;
    unsigned fsw = ldle16(x + 2), registers = code64 ? 16 : 8;
    bool ymm = (s->xcr0 & 4) && s->xsave_len >= 576 + 256;

    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", ldle16(x), fsw,
                           fsw >> 11 & 7, x[4], ldle32(x + 24));
    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, ldle64(x + 32 + 16 * i),
                               ldle16(x + 40 + 16 * i), i % 2 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < registers; i++) {
        const uint8_t *low = x + 160 + 16 * i, *high = x + 576 + 16 * i;

        if (ymm) {
            g_string_append_printf(
                out, "YMM%02u=%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", i,
                ldle64(high + 8), ldle64(high), ldle64(low + 8), ldle64(low));
        } else {
            g_string_append_printf(out, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%c", i,
                                   ldle64(low + 8), ldle64(low), i % 2 ? '\n' : ' ');
        }
    }
}

char *x86_registers_text(const X86CpuState *s, bool halted)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"};
    static const struct {
        unsigned bit;
        char letter;
    } eflags[] = {{10, 'D'}, {11, 'O'}, {7, 'S'}, {6, 'Z'}, {4, 'A'}, {2, 'P'}, {0, 'C'}};
    bool lma = s->efer & EFER_LMA, code64 = lma && s->seg[SEG_CS].flags & SEG_L;
    GString *out = g_string_sized_new(4096);
    int digits = code64 ? 16 : 8, wide = lma ? 16 : 8;

    general_text(out, s, code64);
    g_string_append_printf(out, "%s=%0*" PRIx64 " %s=%08x [", code64 ? "RIP" : "EIP", digits,
                           code64 ? s->rip : s->rip & 0xffffffff, code64 ? "RFL" : "EFL",
                           (uint32_t)s->rflags);
    for (unsigned i = 0; i < ARRAY_SIZE(eflags); i++) {
        g_string_append_c(out, s->rflags >> eflags[i].bit & 1 ? eflags[i].letter : '-');
    }
    g_string_append_printf(out, "] CPL=%u II=%u A20=1 SMM=%u HLT=%u\n",
                           s->cr0 & CR0_PE ? (s->seg[SEG_SS].flags & SEG_DPL) >> 5 : 0,
                           (unsigned)(s->interrupt_shadow != 0), s->smi_flags & 1u, halted);
    for (unsigned i = 0; i < 8; i++) {
        segment_text(out, s, names[i], i);
    }
    g_string_append_printf(out, "GDT=     %0*" PRIx64 " %08x\n", wide, s->gdt_base, s->gdt_limit);
    g_string_append_printf(out, "IDT=     %0*" PRIx64 " %08x\n", wide, s->idt_base, s->idt_limit);
    g_string_append_printf(out, "CR0=%08x CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08x\n",
                           (uint32_t)s->cr0, wide, s->cr2, wide, s->cr3, (uint32_t)s->cr4);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(out, "DR%u=%016" PRIx64 " ", i, s->dr[i]);
    }
    g_string_append_printf(out, "\nDR6=%016" PRIx64 " DR7=%016" PRIx64 "\n", s->dr6, s->dr7);
    g_string_append_printf(out, "EFER=%016" PRIx64 "\n", s->efer);
    fpu_text(out, s, code64);
    return g_string_free(out, FALSE);
}

/* A local APIC register by its offset (SDM 3A, table 11-1). */
static uint32_t x86_text_lapic(const uint8_t *page, unsigned offset)
{
    return ldle32(page + offset);
}

static void lvt_text(GString *out, const char *name, uint32_t lvt, bool timer)
{
    static const char *const delivery[] = {"Fixed", "LowPrio", "SMI",  "...",
                                           "NMI",   "INIT",    "SIPI", "ExtINT"};
    static const char *const timer_modes[] = {"one-shot", "periodic", "tsc-deadline", "reserved"};
    unsigned mode = lvt >> 8 & 7;

    g_string_append_printf(out, "%s\t 0x%08x %s %-5s %-6s %-7s %-12s %-6s", name, lvt,
                           lvt & BIT(13) ? "active-lo" : "active-hi",
                           lvt & BIT(15) ? "level" : "edge", lvt & BIT(16) ? "masked" : "",
                           lvt & BIT(12) ? "pending" : "", timer ? timer_modes[lvt >> 17 & 3] : "",
                           timer ? "Fixed" : delivery[mode]);
    if (timer || mode == 0) {
        g_string_append_printf(out, " (vec %u)", lvt & 0xff);
    }
    g_string_append_c(out, '\n');
}

static void vectors_text(GString *out, const char *name, const uint8_t *page, unsigned offset,
                         bool levels)
{
    bool any = false;

    g_string_append_printf(out, "%s\t ", name);
    for (unsigned v = 0; v < 256; v++) {
        if (x86_text_lapic(page, offset + v / 32 * 16) & BIT(v % 32)) {
            bool level = levels && x86_text_lapic(page, 0x180 + v / 32 * 16) & BIT(v % 32);

            g_string_append_printf(out, "%u%s ", v, level ? "(level)" : "");
            any = true;
        }
    }
    g_string_append(out, any ? "\n" : "(none)\n");
}

char *x86_lapic_text(const uint8_t page[1024], unsigned cpu, bool x2apic, uint32_t apic_base)
{
    static const char *const shorthands[] = {"no-shorthand", "self", "all-self", "all"};
    static const unsigned dividers[] = {2, 4, 8, 16, 32, 64, 128, 1};
    GString *out = g_string_sized_new(2048);
    uint32_t spiv = x86_text_lapic(page, 0xf0), icr = x86_text_lapic(page, 0x300),
             dcr = x86_text_lapic(page, 0x3e0);

    (void)apic_base;
    g_string_append_printf(out, "dumping local APIC state for CPU %-2u\n\n", cpu);
    lvt_text(out, "LVT0", x86_text_lapic(page, 0x350), false);
    lvt_text(out, "LVT1", x86_text_lapic(page, 0x360), false);
    lvt_text(out, "LVTPC", x86_text_lapic(page, 0x340), false);
    lvt_text(out, "LVTERR", x86_text_lapic(page, 0x370), false);
    lvt_text(out, "LVTTHMR", x86_text_lapic(page, 0x330), false);
    lvt_text(out, "LVTT", x86_text_lapic(page, 0x320), true);
    g_string_append_printf(
        out, "Timer\t DCR=0x%x (divide by %u) initial_count = %u current_count = %u\n", dcr & 0xf,
        dividers[(dcr & 3) | (dcr >> 1 & 4)], x86_text_lapic(page, 0x380),
        x86_text_lapic(page, 0x390));
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", spiv,
                           spiv & BIT(8) ? "enabled" : "disabled", spiv & BIT(9) ? "on" : "off",
                           spiv & 0xff);
    g_string_append_printf(out, "ICR\t 0x%08x %s %s %s %s\n", icr,
                           icr & BIT(11) ? "logical" : "physical", icr & BIT(15) ? "level" : "edge",
                           icr & BIT(14) ? "assert" : "de-assert", shorthands[icr >> 18 & 3]);
    g_string_append_printf(out, "ICR2\t 0x%08x", x86_text_lapic(page, 0x310));
    if (!(icr >> 18 & 3)) {
        g_string_append_printf(out, x2apic ? " cpu %u (X2APIC ID)" : " cpu %u (APIC ID)",
                               x2apic ? x86_text_lapic(page, 0x310)
                                      : x86_text_lapic(page, 0x310) >> 24);
    }
    g_string_append_printf(out, "\nESR\t 0x%08x\n", x86_text_lapic(page, 0x280));
    vectors_text(out, "ISR", page, 0x100, true);
    vectors_text(out, "IRR", page, 0x200, true);
    g_string_append_printf(out, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n",
                           x86_text_lapic(page, 0x90) & 0xff, x86_text_lapic(page, 0x80) & 0xff,
                           x86_text_lapic(page, 0xe0) >> 28, x86_text_lapic(page, 0xd0) >> 24,
                           x86_text_lapic(page, 0xa0) & 0xff);
    return g_string_free(out, FALSE);
}

/* "cs", "cs.base", "cs.limit"; of LDT and TR only the selector has a name. */
static bool segment_value(const X86CpuState *s, const char *name, uint64_t *value)
{
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr"};
    const char *part = strchr(name, '.');
    size_t len = part ? (size_t)(part - name) : strlen(name);

    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
        const X86Segment *seg = &s->seg[i];

        if (strlen(segments[i]) != len || strncmp(name, segments[i], len)) {
            continue;
        }
        if (!part) {
            *value = seg->selector;
        } else if (i < SEG_LDT && !strcmp(part, ".base")) {
            *value = seg->base;
        } else if (i < SEG_LDT && !strcmp(part, ".limit")) {
            *value = seg->limit;
        } else {
            return false;
        }
        return true;
    }
    return false;
}

bool x86_register_value(const X86CpuState *s, const char *name, uint64_t *value)
{
    static const char *const names[16] = {"ax", "cx", "dx",  "bx",  "sp",  "bp",  "si",  "di",
                                          "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct {
        const char *name;
        uint64_t value;
    } others[] = {{"pc", s->seg[SEG_CS].base + s->rip}, /* where the next instruction is fetched */
                  {"eip", s->rip},
                  {"rip", s->rip},
                  {"fp", s->gpr[GPR_RBP]},
                  {"eflags", s->rflags},
                  {"rflags", s->rflags},
                  {"cr0", s->cr0},
                  {"cr2", s->cr2},
                  {"cr3", s->cr3},
                  {"cr4", s->cr4},
                  {"cr8", s->cr8},
                  {"efer", s->efer},
                  {"fs_base", s->seg[SEG_FS].base},
                  {"gs_base", s->seg[SEG_GS].base}};

    for (unsigned i = 0; i < 16; i++) {
        bool prefixed = i < 8 && (*name == 'e' || *name == 'r') && g_str_equal(name + 1, names[i]);

        if (g_str_equal(name, names[i]) || prefixed) {
            *value = s->gpr[i];
            return true;
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        if (g_str_equal(name, others[i].name)) {
            *value = others[i].value;
            return true;
        }
    }
    return segment_value(s, name, value);
}

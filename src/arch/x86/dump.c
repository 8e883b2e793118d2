/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CPU's notes in an ELF core file: NT_PRSTATUS, as Linux writes it for a process on x86-64
 * (struct elf_prstatus, <sys/procfs.h>), which gdb reads, and the note "QEMU", which crash reads.
 */
#include <elf.h>
#include "vm/dump.h"
#include "x86_internal.h"

#define PRSTATUS_SIZE 336
#define PRSTATUS_PID  32
#define PRSTATUS_REGS 112

#define MSR_KERNEL_GS_BASE 0xc0000102

static GByteArray *dump_status(const X86CpuState *s, unsigned index)
{
    const uint64_t *r = s->gpr;
    /* struct user_regs_struct */
    const uint64_t regs[] = {
        r[15],
        r[14],
        r[13],
        r[12],
        r[GPR_RBP],
        r[GPR_RBX],
        r[11],
        r[10],
        r[9],
        r[8],
        r[GPR_RAX],
        r[GPR_RCX],
        r[GPR_RDX],
        r[GPR_RSI],
        r[GPR_RDI],
        r[GPR_RAX], /* orig_rax */
        s->rip,
        s->seg[SEG_CS].selector,
        s->rflags,
        r[GPR_RSP],
        s->seg[SEG_SS].selector,
        s->seg[SEG_FS].base,
        s->seg[SEG_GS].base,
        s->seg[SEG_DS].selector,
        s->seg[SEG_ES].selector,
        s->seg[SEG_FS].selector,
        s->seg[SEG_GS].selector,
    };
    GByteArray *out = g_byte_array_new();

    g_byte_array_set_size(out, PRSTATUS_SIZE);
    memset(out->data, 0, PRSTATUS_SIZE);
    stle32(out->data + PRSTATUS_PID, index + 1);
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        stle64(out->data + PRSTATUS_REGS + 8 * i, regs[i]);
    }
    return out;
}

static void dump_put(GByteArray *out, uint64_t value, unsigned size)
{
    uint8_t b[8];

    stle64(b, value);
    g_byte_array_append(out, b, size);
}

static void dump_put_segment(GByteArray *out, unsigned selector, uint32_t limit, uint32_t flags,
                             uint64_t base)
{
    dump_put(out, selector, 4);
    dump_put(out, limit, 4);
    dump_put(out, flags, 4);
    dump_put(out, 0, 4);
    dump_put(out, base, 8);
}

static uint64_t dump_msr(const X86CpuState *s, uint32_t index)
{
    for (unsigned i = 0; i < s->msr_count; i++) {
        if (s->msr_index[i] == index) {
            return s->msr_data[i];
        }
    }
    return 0;
}

/* Version 1: the size, registers, segments, control registers, MSR_KERNEL_GS_BASE. */
static GByteArray *dump_own(const X86CpuState *s)
{
    static const uint8_t gprs[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI,
                                   GPR_RSP, GPR_RBP, 8,       9,       10,      11,
                                   12,      13,      14,      15};
    static const uint8_t segments[] = {SEG_CS, SEG_DS, SEG_ES,  SEG_FS,
                                       SEG_GS, SEG_SS, SEG_LDT, SEG_TR};
    const uint64_t control[] = {s->cr0, 0, s->cr2, s->cr3, s->cr4};
    GByteArray *out = g_byte_array_new();

    dump_put(out, 1, 4);
    dump_put(out, 0, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(gprs); i++) {
        dump_put(out, s->gpr[gprs[i]], 8);
    }
    dump_put(out, s->rip, 8);
    dump_put(out, s->rflags, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
        const X86Segment *seg = &s->seg[segments[i]];

        /* The flags are where they are in a descriptor's upper half. */
        dump_put_segment(out, seg->selector, seg->limit,
                         seg->unusable ? 0 : (uint32_t)seg->flags << 8, seg->base);
    }
    dump_put_segment(out, 0, s->gdt_limit, 0, s->gdt_base);
    dump_put_segment(out, 0, s->idt_limit, 0, s->idt_base);
    for (unsigned i = 0; i < ARRAY_SIZE(control); i++) {
        dump_put(out, control[i], 8);
    }
    dump_put(out, dump_msr(s, MSR_KERNEL_GS_BASE), 8);
    stle32(out->data + 4, out->len);
    return out;
}

bool x86_core_notes(Vcpu *cpu, GByteArray *status, GByteArray *own, GError **err)
{
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);
    g_autoptr(GByteArray) prstatus = NULL, registers = NULL;

    if (!x86_state_get(cpu, s, err)) {
        return false;
    }
    prstatus = dump_status(s, cpu->index);
    registers = dump_own(s);
    dump_append_note(status, "CORE", NT_PRSTATUS, prstatus);
    dump_append_note(own, "QEMU", 0, registers);
    return true;
}

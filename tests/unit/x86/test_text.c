/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info registers', whose exact format scripts rely on, and a CPU's saved state. */
#include "../base/unit.h"
#include <string.h>
#include "x86_internal.h"

START_TEST(reset_state)
{
    X86CpuState *s = g_new0(X86CpuState, 1);
    g_autofree char *text = NULL;

    s->rip = 0xfff0;
    s->rflags = 2;
    s->gpr[GPR_RDX] = 0x663;
    for (unsigned i = 0; i < SEG_LDT; i++) {
        s->seg[i] = (X86Segment){.limit = 0xffff, .flags = SEG_P | SEG_S | 3};
    }
    s->seg[SEG_CS] = (X86Segment){
        .base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .flags = SEG_P | SEG_S | 0xb};
    s->seg[SEG_LDT] = (X86Segment){.limit = 0xffff, .flags = SEG_P | 2};
    s->seg[SEG_TR] = (X86Segment){.limit = 0xffff, .flags = SEG_P | 0xb};
    s->gdt_limit = s->idt_limit = 0xffff;
    s->cr0 = 0x60000010;
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->xsave_len = 4096;
    stle16(s->xsave, 0x37f);
    stle32(s->xsave + 24, 0x1f80);
    text = x86_registers_text(s, false);
    ck_assert_str_eq(
        text,
        "EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663\n"
        "ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000\n"
        "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\n"
        "ES =0000 00000000 0000ffff 00009300\n"
        "CS =f000 ffff0000 0000ffff 00009b00\n"
        "SS =0000 00000000 0000ffff 00009300\n"
        "DS =0000 00000000 0000ffff 00009300\n"
        "FS =0000 00000000 0000ffff 00009300\n"
        "GS =0000 00000000 0000ffff 00009300\n"
        "LDT=0000 00000000 0000ffff 00008200\n"
        "TR =0000 00000000 0000ffff 00008b00\n"
        "GDT=     00000000 0000ffff\n"
        "IDT=     00000000 0000ffff\n"
        "CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000\n"
        "DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \n"
        "DR6=00000000ffff0ff0 DR7=0000000000000400\n"
        "EFER=0000000000000000\n"
        "FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\n"
        "FPR0=0000000000000000 0000 FPR1=0000000000000000 0000\n"
        "FPR2=0000000000000000 0000 FPR3=0000000000000000 0000\n"
        "FPR4=0000000000000000 0000 FPR5=0000000000000000 0000\n"
        "FPR6=0000000000000000 0000 FPR7=0000000000000000 0000\n"
        "XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000\n"
        "XMM02=0000000000000000 0000000000000000 XMM03=0000000000000000 0000000000000000\n"
        "XMM04=0000000000000000 0000000000000000 XMM05=0000000000000000 0000000000000000\n"
        "XMM06=0000000000000000 0000000000000000 XMM07=0000000000000000 0000000000000000\n");
    g_free(s);
}
END_TEST

START_TEST(long_mode)
{
    X86CpuState *s = g_new0(X86CpuState, 1);
    g_autofree char *text = NULL;

    s->gpr[GPR_RAX] = 0x123456789abcdef0;
    s->gpr[15] = 15;
    s->rip = 0xffffffff81000000;
    s->rflags = 0x246;
    s->cr0 = 0x80050033;
    s->efer = EFER_LME | EFER_LMA;
    s->xsave_len = 4096;
    s->seg[SEG_CS] = (X86Segment){
        .limit = 0xffffffff, .selector = 0x10, .flags = SEG_P | SEG_S | SEG_L | SEG_G | 0xb};
    s->seg[SEG_SS] = (X86Segment){
        .limit = 0xffffffff, .selector = 0x18, .flags = SEG_P | SEG_S | SEG_DB | SEG_G | 3};
    s->seg[SEG_TR] = (X86Segment){.limit = 0x4087, .selector = 0x40, .flags = SEG_P | 0xb};
    text = x86_registers_text(s, true);
    ck_assert(strstr(text, "RAX=123456789abcdef0 RBX=0000000000000000 RCX="));
    ck_assert(strstr(text, "\nR8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 "));
    ck_assert(strstr(text, "R15=000000000000000f\n"));
    ck_assert(strstr(text, "RIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 "
                           "HLT=1\n"));
    ck_assert(strstr(text, "CS =0010 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]\n"));
    ck_assert(strstr(text, "SS =0018 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]\n"));
    ck_assert(strstr(text, "TR =0040 0000000000000000 00004087 00008b00 DPL=0 TSS64-busy\n"));
    ck_assert(strstr(text, "GDT=     0000000000000000 00000000\n"));
    ck_assert(strstr(text, "XMM15="));
    g_free(s);
}
END_TEST

START_TEST(registers_by_name)
{
    static const struct {
        const char *name;
        uint64_t value;
    } known[] = {
        {"pc", 0xfffffff0},
        {"eip", 0xfff0},
        {"cs", 0xf000},
        {"cs.base", 0xffff0000},
        {"cs.limit", 0xfffff},
        {"fs.base", 0x123400005678},
        {"edx", 0x663},
        {"rdx", 0x663},
        {"dx", 0x663},
        {"r15", 15},
        {"tr", 8},
    };
    static const char *const unknown[] = {"foo",      "cs.",      "cs.foo",   ".base", "s.base",
                                          "ldt.base", "tr.limit", "cs.base.", ".",     "er8"};
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);
    uint64_t v;

    s->rip = 0xfff0;
    s->gpr[GPR_RDX] = 0x663;
    s->gpr[15] = 15;
    s->seg[SEG_CS] = (X86Segment){.base = 0xffff0000, .limit = 0xfffff, .selector = 0xf000};
    s->seg[SEG_FS].base = 0x123400005678;
    s->seg[SEG_TR].selector = 8;
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        ck_assert_msg(x86_register_value(s, known[i].name, &v), "%s", known[i].name);
        ck_assert_msg(v == known[i].value, "%s", known[i].name);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        ck_assert_msg(!x86_register_value(s, unknown[i], &v), "%s", unknown[i]);
    }
}
END_TEST

START_TEST(lapic)
{
    uint8_t page[1024] = {0};
    g_autofree char *text = NULL;

    stle32(page + 0x350, 0x700);
    stle32(page + 0x320, 0x000400ec);
    stle32(page + 0xf0, 0x1ff);
    stle32(page + 0x200 + 0x10, 1u << 3);
    text = x86_lapic_text(page, 1, false, 0xfee00000);
    ck_assert(g_str_has_prefix(text, "dumping local APIC state for CPU 1 \n\n"));
    ck_assert(strstr(text, "LVT0\t 0x00000700 active-hi edge"));
    ck_assert(strstr(text, "ExtINT"));
    ck_assert(strstr(text, "tsc-deadline"));
    ck_assert(strstr(text, "(vec 236)"));
    ck_assert(strstr(text, "APIC enabled"));
    ck_assert(strstr(text, "ISR\t (none)\nIRR\t 35 \n"));
}
END_TEST

START_TEST(state_round_trip)
{
    X86CpuState *s = g_new0(X86CpuState, 1), *t = g_new0(X86CpuState, 1);
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    uint32_t seed = 42;
    size_t pos = 0;
    GError *err = NULL;

    state_scramble(x86_cpu_state_desc(), s, &seed);
    state_write(first, x86_cpu_state_desc(), s);
    ck_assert_msg(state_read(first->data, first->len, &pos, x86_cpu_state_desc(), t, "cpu", &err),
                  "%s", err ? err->message : "");
    ck_assert_uint_eq(pos, first->len);
    state_write(second, x86_cpu_state_desc(), t);
    ck_assert_uint_eq(first->len, second->len);
    ck_assert(memcmp(first->data, second->data, first->len) == 0);
    g_free(s);
    g_free(t);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("text");

    tcase_add_test(t, reset_state);
    tcase_add_test(t, long_mode);
    tcase_add_test(t, registers_by_name);
    tcase_add_test(t, lapic);
    tcase_add_test(t, state_round_trip);
    return unit_run_case("x86_text", t);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers by name, of a CPU that is not there: its family's functions are the test's. */
#include <string.h>
#include "../base/unit.h"
#include "registers.h"

static char *registers_text(Vcpu *cpu)
{
    return g_strdup("EIP=0000fff0\n"
                    "ES =0010 00000400 0000ffff 00009300\n"
                    "CS =f000 ffff0000 000fffff 00009b00\n"
                    "FS =0000 0000123400005678 ffffffff 00000000\n"
                    "LDT=0000 00000007 0000ffff 00008200\n");
}

static bool read_register(Vcpu *cpu, const char *name, uint64_t *value)
{
    *value = 0xf000;
    return !strcmp(name, "cs");
}

static uint64_t program_counter(Vcpu *cpu)
{
    return 0xfffffff0;
}

static const ArchOps arch = {.registers_text = registers_text,
                             .read_register = read_register,
                             .program_counter = program_counter};

static const struct {
    const char *name;
    uint64_t value;
} known[] = {
    {"pc", 0xfffffff0},       {"cs", 0xf000},     {"cs.base", 0xffff0000},
    {"cs.limit", 0xfffff},    {"es.base", 0x400}, {"fs.base", 0x123400005678},
    {"fs.limit", UINT32_MAX},
};

START_TEST(test_known)
{
    Vm vm = {.arch = &arch};
    Vcpu cpu = {.vm = &vm};
    uint64_t v = 0;

    ck_assert_msg(register_read(&cpu, known[_i].name, &v), "%s", known[_i].name);
    ck_assert_uint_eq(v, known[_i].value);
}
END_TEST

START_TEST(test_unknown)
{
    static const char *const names[] = {"foo",    "cs.",      "cs.foo",   ".base", "gs.base",
                                        "s.base", "ldt.base", "cs.base.", "."};
    Vm vm = {.arch = &arch};
    Vcpu cpu = {.vm = &vm};
    uint64_t v;

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        ck_assert_msg(!register_read(&cpu, names[i], &v), "%s", names[i]);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("registers");

    tcase_add_loop_test(tcase, test_known, 0, G_N_ELEMENTS(known));
    tcase_add_test(tcase, test_unknown);
    return unit_run_case("registers", tcase);
}

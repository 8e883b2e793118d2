/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../base/unit.h"
#include "x86_internal.h"

/* Counts that are no powers of two leave gaps in the APIC ids (SDM 3A 9.9.1). */
static const struct {
    SmpConfig smp;
    unsigned index;
    uint32_t id;
} cases[] = {
    {{.sockets = 1, .dies = 1, .cores = 1, .threads = 1}, 0, 0},
    {{.sockets = 4, .dies = 1, .cores = 1, .threads = 1}, 3, 3},
    {{.sockets = 2, .dies = 1, .cores = 2, .threads = 2}, 5, 5},
    {{.sockets = 2, .dies = 1, .cores = 3, .threads = 1}, 2, 2},
    {{.sockets = 2, .dies = 1, .cores = 3, .threads = 1}, 3, 4},
    {{.sockets = 2, .dies = 1, .cores = 3, .threads = 1}, 5, 6},
    {{.sockets = 1, .dies = 1, .cores = 3, .threads = 2}, 5, 5},
    {{.sockets = 2, .dies = 1, .cores = 3, .threads = 2}, 6, 8},
    {{.sockets = 1, .dies = 2, .cores = 3, .threads = 1}, 3, 4},
    {{.sockets = 2, .dies = 2, .cores = 3, .threads = 1}, 6, 8},
    {{.sockets = 2, .dies = 2, .cores = 5, .threads = 2}, 39, 1 << 5 | 1 << 4 | 4 << 1 | 1},
    {{0}, 7, 7}, /* no counts: one core and thread per socket */
};

START_TEST(apic_ids)
{
    ck_assert_uint_eq(x86_apic_id_of(&cases[_i].smp, cases[_i].index), cases[_i].id);
}
END_TEST

START_TEST(ids_differ)
{
    for (unsigned cores = 1; cores <= 9; cores++) {
        for (unsigned threads = 1; threads <= 3; threads++) {
            SmpConfig smp = {.sockets = 3, .dies = 2, .cores = cores, .threads = threads};
            uint32_t last = 0;

            for (unsigned i = 1; i < 6 * cores * threads; i++) {
                uint32_t id = x86_apic_id_of(&smp, i);

                ck_assert_uint_gt(id, last);
                last = id;
            }
        }
    }
}
END_TEST

/* The topology in CPUID agrees with the APIC ids, for every model. */
START_TEST(cpuid_topology)
{
    Vm vm = {.smp = {.cpus = 12, .maxcpus = 12, .sockets = 2, .dies = 1, .cores = 3, .threads = 2}};
    struct kvm_cpuid_entry2 *e = g_new0(struct kvm_cpuid_entry2, X86_MAX_CPUID);
    GError *err = NULL;
    unsigned n, seen = 0;

    ck_assert(x86_cpu_configure(&vm, "EPYC", NULL, &err));
    n = x86_cpuid_build(&vm, 7, x86_apic_id(&vm, 7), e);
    for (unsigned i = 0; i < n; i++) {
        if (e[i].function == 1) {
            ck_assert_uint_eq(e[i].ebx >> 24, 9);
            ck_assert_uint_eq(e[i].ebx >> 16 & 0xff, 6);
            ck_assert(e[i].edx & BIT(28));
            seen++;
        } else if (e[i].function == 0xb && e[i].index == 0) {
            ck_assert_uint_eq(e[i].eax, 1);
            ck_assert_uint_eq(e[i].ebx, 2);
            ck_assert_uint_eq(e[i].edx, 9);
            seen++;
        } else if (e[i].function == 0xb && e[i].index == 1) {
            ck_assert_uint_eq(e[i].eax, 3);
            ck_assert_uint_eq(e[i].ebx, 6);
            seen++;
        } else if (e[i].function == 0x80000008) {
            ck_assert_uint_eq(e[i].ecx & 0xff, 5);
            ck_assert_uint_eq(e[i].ecx >> 12 & 15, 3);
            seen++;
        } else if (e[i].function == 0x8000001e) {
            ck_assert_uint_eq(e[i].eax, 9);
            ck_assert_uint_eq(e[i].ebx, 1 << 8 | 0);
            seen++;
        }
    }
    ck_assert_uint_eq(seen, 5);
    g_free(e);
    x86_vm_free(&vm);
}
END_TEST

/* The linker puts this in the place of x86_host_cpuid(): a host with one cache, of level 3. */
void __wrap_x86_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
void __wrap_x86_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    bool cache = leaf == 4 && subleaf == 0;

    memset(out, 0, 4 * sizeof *out);
    out[0] = cache ? 31u << 26 | 63 << 14 | 3 << 5 | 3 : 0;
}

/* The ids of cores in a package (SDM 2A, leaf 4) are those of all its dies. */
START_TEST(cpuid_host_caches)
{
    Vm vm = {.smp = {.cpus = 8, .maxcpus = 8, .sockets = 1, .dies = 2, .cores = 2, .threads = 2}};
    struct kvm_cpuid_entry2 *e = g_new0(struct kvm_cpuid_entry2, X86_MAX_CPUID);
    json_auto_t *features = json_pack("{s:s}", "host-cache-info", "on");
    GError *err = NULL;
    unsigned n, seen = 0;

    ck_assert(x86_cpu_configure(&vm, "Skylake-Client", features, &err));
    n = x86_cpuid_build(&vm, 0, 0, e);
    for (unsigned i = 0; i < n; i++) {
        if (e[i].function == 4 && e[i].index == 0) {
            ck_assert_uint_eq(e[i].eax >> 26, 3);
            ck_assert_uint_eq(e[i].eax >> 14 & 0xfff, 3);
            seen++;
        }
    }
    ck_assert_uint_eq(seen, 1);
    g_free(e);
    x86_vm_free(&vm);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("topology");

    tcase_add_loop_test(t, apic_ids, 0, ARRAY_SIZE(cases));
    tcase_add_test(t, ids_differ);
    tcase_add_test(t, cpuid_topology);
    tcase_add_test(t, cpuid_host_caches);
    return unit_run_case("x86_topology", t);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -cpu: models, features, text and errors. Without KVM, so no feature is filtered out. */
#include "../base/unit.h"
#include <string.h>
#include "x86_internal.h"

static Vm vm;

static bool configure(const char *text, GError **err)
{
    json_t *features = NULL;
    g_autofree char *model = x86_cpu_parse(text, &features, err);
    bool ok = model && x86_cpu_configure(&vm, model, features, err);

    json_decref(features);
    return ok;
}

static void cleanup(void)
{
    x86_vm_free(&vm);
    vm = (Vm){0};
}

START_TEST(every_model)
{
    for (const X86Model *m = x86_models; m->name; m++) {
        GError *err = NULL;
        struct kvm_cpuid_entry2 *e = g_new0(struct kvm_cpuid_entry2, X86_MAX_CPUID);

        if (g_str_equal(m->name, "host")) {
            g_free(e);
            continue;
        }
        ck_assert_msg(configure(m->name, &err), "%s: %s", m->name, err ? err->message : "");
        ck_assert_uint_gt(x86_cpuid_build(&vm, 0, 0, e), 3);
        ck_assert(g_str_equal(m->name, "base") || strlen(x86_vm(&vm)->cpu.vendor) == 12);
        ck_assert_uint_lt(strlen(x86_vm(&vm)->cpu.model_id), 49);
        g_free(e);
        cleanup();
    }
}
END_TEST

START_TEST(features_on_and_off)
{
    GError *err = NULL;

    ck_assert(
        configure("qemu64,+avx2,-apic,xsave=on,sse4_1,sse4.2=off,model-id=A,,B,kvm=off", &err));
    ck_assert(x86_cpu_has(&vm, "avx2"));
    ck_assert(!x86_cpu_has(&vm, "apic"));
    ck_assert(x86_cpu_has(&vm, "xsave"));
    ck_assert(x86_cpu_has(&vm, "sse4-1"));
    ck_assert(!x86_cpu_has(&vm, "sse4_2"));
    ck_assert(!x86_cpu_has(&vm, "kvmclock"));
    ck_assert_str_eq(x86_vm(&vm)->cpu.model_id, "A,B");
    cleanup();
}
END_TEST

START_TEST(models_inherit)
{
    GError *err = NULL;

    ck_assert(configure("EPYC-Milan-v1", &err));
    ck_assert(x86_cpu_has(&vm, "lm") && x86_cpu_has(&vm, "sse4a") && x86_cpu_has(&vm, "pcid"));
    ck_assert_uint_eq(x86_signature(&x86_vm(&vm)->cpu), 0x00a00f11);
    cleanup();
    ck_assert(configure("Haswell-noTSX", &err));
    ck_assert(!x86_cpu_has(&vm, "rtm") && x86_cpu_has(&vm, "avx2"));
    ck_assert_uint_eq(x86_signature(&x86_vm(&vm)->cpu), 0x000306c1);
    cleanup();
    ck_assert(configure("qemu64,family=6,model=85,stepping=7", &err));
    ck_assert_uint_eq(x86_signature(&x86_vm(&vm)->cpu), 0x00050657);
    cleanup();
}
END_TEST

static const struct {
    const char *text, *error;
} bad[] = {
    {"", "name of a CPU model"},
    {"Hasswell", "did you mean 'Haswell'"},
    {"qemu64,+av2", "did you mean 'avx'"},
    {"qemu64,foo=on", "foo"},
    {"qemu64,avx2=maybe", "expects 'on' or 'off'"},
    {"qemu64,vendor=Short", "12 characters"},
    {"qemu64,phys-bits=60", "between 32 and 52"},
    {"qemu64,family=300", "270"},
    {"qemu64,tsc-frequency=fast", "frequency"},
    {"qemu64,hv_relaxed", "hv-relaxed"},
    {"host", "requires KVM"},
    {"qemu64,xlevel2=7", "'xlevel2=0x7' is below 0xc0000000"},
    {"qemu64,lmce=on", "LMCE not supported"},
    {"qemu64,legacy-cache=off", "CPU model 'qemu64' doesn't support legacy-cache=off"},
    {"SapphireRapids,legacy-cache=off", "legacy-cache=off"},
};

START_TEST(bad_text)
{
    GError *err = NULL;

    ck_assert(!configure(bad[_i].text, &err));
    ck_assert_msg(strstr(err->message, bad[_i].error) != NULL, "%s: %s", bad[_i].text,
                  err->message);
    g_error_free(err);
    cleanup();
}
END_TEST

START_TEST(names_are_unique)
{
    for (int w = 0; w < WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            g_autofree char *name = x86_feature_name(w, bit);
            X86Word word;
            uint32_t bits;

            if (name) {
                ck_assert(x86_feature_find(name, &word, &bits));
                ck_assert_msg(word == (X86Word)w && bits & BIT(bit), "%s", name);
            }
        }
    }
}
END_TEST

/* The ways of the L1 data cache, from CPUID leaf 0x8000001d. */
static unsigned l1_ways(const char *text)
{
    struct kvm_cpuid_entry2 e[X86_MAX_CPUID];
    GError *err = NULL;
    unsigned n, ways = 0;

    ck_assert(configure(text, &err));
    n = x86_cpuid_build(&vm, 0, 0, e);
    for (unsigned i = 0; i < n; i++) {
        if (e[i].function == 0x8000001d && e[i].index == 0) {
            ways = (e[i].ebx >> 22) + 1;
        }
    }
    cleanup();
    return ways;
}

static const struct {
    const char *name;
    const char *has, *has_not;
    uint32_t signature;
} versions[] = {
    {"486", "fpu", "cx8", 0x480},
    {"n270-v1", "movbe", "lm", 0x106c2},
    {"Broadwell-noTSX-IBRS", "spec-ctrl", "rtm", 0x306d2},
    {"Broadwell-v3", "rtm", "avx512f", 0x306d2},
    {"Cascadelake-Server-v5", "xsaves", "rtm", 0x50656},
    {"Cascadelake-Server-noTSX", "mds-no", "xsaves", 0x50656},
    {"Icelake-Server-v6", "sha-ni", "rtm", 0x606a0},
    {"Skylake-Server-v2", "spec-ctrl", "clflushopt", 0x50654},
    {"Dhyana", "sse4a", "aes", 0x900f01},
    {"Conroe", "ssse3", "cx16", 0x6f3},
    {"EPYC-v3", "xsaves", "clwb", 0x800f12},
};

START_TEST(model_versions)
{
    GError *err = NULL;

    ck_assert_msg(configure(versions[_i].name, &err), "%s", versions[_i].name);
    ck_assert_msg(x86_cpu_has(&vm, versions[_i].has), "%s", versions[_i].name);
    ck_assert_msg(!x86_cpu_has(&vm, versions[_i].has_not), "%s", versions[_i].name);
    ck_assert_uint_eq(x86_signature(&x86_vm(&vm)->cpu), versions[_i].signature);
    cleanup();
}
END_TEST

/* Every listed name is accepted, and listed only once. */
START_TEST(model_names)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (const char *const *n = x86_cpu_model_names(); *n; n++) {
        ck_assert_msg(x86_model_find(*n) != NULL, "%s", *n);
        ck_assert_msg(g_hash_table_add(seen, (gpointer)*n), "%s", *n);
    }
    ck_assert_ptr_null(x86_model_find("Broadwell-IBRS-v1"));
    ck_assert_ptr_null(x86_model_find("Broadwell-v2-v1"));
    ck_assert_ptr_null(x86_model_find("max-v1"));
}
END_TEST

START_TEST(legacy_caches)
{
    ck_assert_uint_eq(l1_ways("EPYC"), 8);
    ck_assert_uint_eq(l1_ways("EPYC,legacy-cache=off"), 8);
    ck_assert_uint_eq(l1_ways("EPYC,legacy-cache=on"), 2);
}
END_TEST

/* A register of a leaf; 0: no such leaf. */
static uint32_t leaf_of(const char *text, uint32_t leaf, X86Reg reg)
{
    struct kvm_cpuid_entry2 e[X86_MAX_CPUID];
    GError *err = NULL;
    uint32_t value = 0;
    unsigned n;

    ck_assert_msg(configure(text, &err), "%s", text);
    n = x86_cpuid_build(&vm, 0, 0, e);
    for (unsigned i = 0; i < n; i++) {
        if (e[i].function == leaf && e[i].index == 0) {
            value = (&e[i].eax)[reg];
        }
    }
    cleanup();
    return value;
}

START_TEST(leaf_properties)
{
    ck_assert_uint_eq(leaf_of("Haswell", 0xb, REG_EBX), 1);
    ck_assert_uint_eq(leaf_of("Haswell,cpuid-0xb=off", 0xb, REG_EBX), 0);
    ck_assert_uint_eq(leaf_of("qemu64", 0x40000001, REG_EDX), 0);
    ck_assert_uint_eq(leaf_of("qemu64,+kvm-hint-dedicated", 0x40000001, REG_EDX), 1);
    ck_assert_uint_eq(leaf_of("qemu64,tsc-frequency=2G", 0x40000010, REG_EAX), 2000000);
    ck_assert_uint_eq(leaf_of("qemu64,tsc-frequency=2G", 0x40000000, REG_EAX), 0x40000010);
    ck_assert_uint_eq(leaf_of("qemu64,tsc-frequency=2G,vmware-cpuid-freq=off", 0x40000000, REG_EAX),
                      0x40000001);
    ck_assert_uint_eq(leaf_of("qemu64", 0xc0000000, REG_EAX), 0);
    ck_assert_uint_eq(leaf_of("qemu64,xlevel2=0xc0000004", 0xc0000000, REG_EAX), 0xc0000004);
}
END_TEST

START_TEST(mtrr_masks)
{
    const X86CpuConfig fill = {.fill_mtrr_mask = true, .phys_bits = 40}, plain = {.phys_bits = 40};
    const uint64_t mask = 0xff80000800, filled = 0xfffff80000800;

    ck_assert_uint_eq(x86_msr_saved(&fill, 0x201, mask), filled);
    ck_assert_uint_eq(x86_msr_saved(&plain, 0x201, mask), mask);
    ck_assert_uint_eq(x86_msr_saved(&fill, 0x200, mask), mask);
    ck_assert_uint_eq(x86_msr_saved(&fill, 0x2ff, mask), mask);
    ck_assert_uint_eq(x86_msr_loaded(&fill, 0x201, filled), mask);
    ck_assert_uint_eq(x86_msr_loaded(&plain, 0x20f, filled), mask);
    ck_assert_uint_eq(x86_msr_loaded(&plain, 0x20e, filled), filled);
}
END_TEST

START_TEST(help)
{
    g_autofree char *text = x86_cpu_help();

    ck_assert(g_str_has_prefix(text, "Available CPUs:\n"));
    ck_assert(strstr(text, "x86 EPYC-Rome ") && strstr(text, "x86 qemu64-v1"));
    ck_assert(strstr(text, "x86 Broadwell-IBRS        (alias of Broadwell-v3)\n"));
    ck_assert(strstr(text, "x86 Icelake-Server-v5     Intel Xeon Processor (Icelake) [XSAVES]\n"));
    ck_assert_ptr_null(strstr(text, "Broadwell-IBRS-v1"));
    ck_assert(strstr(text, "Recognized CPUID flags:") && strstr(text, " x2apic"));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("cpu");

    tcase_add_test(t, every_model);
    tcase_add_test(t, features_on_and_off);
    tcase_add_test(t, models_inherit);
    tcase_add_loop_test(t, bad_text, 0, ARRAY_SIZE(bad));
    tcase_add_test(t, names_are_unique);
    tcase_add_loop_test(t, model_versions, 0, ARRAY_SIZE(versions));
    tcase_add_test(t, model_names);
    tcase_add_test(t, legacy_caches);
    tcase_add_test(t, leaf_properties);
    tcase_add_test(t, mtrr_masks);
    tcase_add_test(t, help);
    return unit_run_case("x86_cpu", t);
}

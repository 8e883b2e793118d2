/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names of CPU features: one table, a row for each word of bits.
 *
 * Bits are those of Intel's SDM volume 2A (CPUID), AMD's APM volume 3 appendix E, and Linux'
 * Documentation/virt/kvm/x86/cpuid.rst; the spellings are the ones that '-cpu' has had for years.
 */
#include "x86_internal.h"

const X86WordInfo x86_words[WORD_COUNT] = {
    [WORD_1_EDX] = {1, 0, REG_EDX,
                    .names = {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
                              "cx8",  "apic",  NULL,   "sep",     "mtrr", "pge", "mca",  "cmov",
                              "pat",  "pse36", "pn",   "clflush", NULL,   "ds",  "acpi", "mmx",
                              "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"}},
    [WORD_1_ECX] = {1, 0, REG_ECX,
                    .names = {"pni|sse3",
                              "pclmulqdq|pclmuldq",
                              "dtes64",
                              "monitor",
                              "ds-cpl",
                              "vmx",
                              "smx",
                              "est",
                              "tm2",
                              "ssse3",
                              "cid",
                              NULL,
                              "fma",
                              "cx16",
                              "xtpr",
                              "pdcm",
                              NULL,
                              "pcid",
                              "dca",
                              "sse4.1|sse4-1",
                              "sse4.2|sse4-2",
                              "x2apic",
                              "movbe",
                              "popcnt",
                              "tsc-deadline",
                              "aes",
                              "xsave",
                              NULL,
                              "avx",
                              "f16c",
                              "rdrand",
                              "hypervisor"}},
    [WORD_7_EBX] = {7, 0, REG_EBX,
                    .names = {"fsgsbase", "tsc-adjust", "sgx",      "bmi1",       "hle",
                              "avx2",     NULL,         "smep",     "bmi2",       "erms",
                              "invpcid",  "rtm",        NULL,       NULL,         "mpx",
                              NULL,       "avx512f",    "avx512dq", "rdseed",     "adx",
                              "smap",     "avx512ifma", "pcommit",  "clflushopt", "clwb",
                              "intel-pt", "avx512pf",   "avx512er", "avx512cd",   "sha-ni",
                              "avx512bw", "avx512vl"}},
    [WORD_7_ECX] = {7, 0, REG_ECX,
                    .names = {NULL,
                              "avx512vbmi|avx512-vbmi",
                              "umip",
                              "pku",
                              NULL,
                              "waitpkg",
                              "avx512vbmi2|avx512-vbmi2",
                              NULL,
                              "gfni",
                              "vaes",
                              "vpclmulqdq",
                              "avx512vnni",
                              "avx512bitalg",
                              NULL,
                              "avx512-vpopcntdq",
                              NULL,
                              "la57",
                              NULL,
                              NULL,
                              NULL,
                              NULL,
                              NULL,
                              "rdpid",
                              NULL,
                              "bus-lock-detect",
                              "cldemote",
                              NULL,
                              "movdiri",
                              "movdir64b",
                              NULL,
                              "sgxlc",
                              "pks"}},
    [WORD_7_EDX] = {7, 0, REG_EDX,
                    .names = {NULL,
                              NULL,
                              "avx512-4vnniw",
                              "avx512-4fmaps",
                              "fsrm",
                              NULL,
                              NULL,
                              NULL,
                              "avx512-vp2intersect",
                              NULL,
                              "md-clear",
                              NULL,
                              NULL,
                              NULL,
                              "serialize",
                              NULL,
                              "tsx-ldtrk",
                              NULL,
                              NULL,
                              "arch-lbr",
                              NULL,
                              NULL,
                              "amx-bf16",
                              "avx512-fp16",
                              "amx-tile",
                              "amx-int8",
                              "spec-ctrl",
                              "stibp",
                              NULL,
                              "arch-capabilities",
                              "core-capability",
                              "ssbd"}},
    [WORD_7_1_EAX] = {7, 1, REG_EAX,
                      .names = {NULL, NULL, NULL, NULL, "avx-vnni", "avx512-bf16", NULL, NULL, NULL,
                                NULL, "fzrm", "fsrs", "fsrc"}},
    [WORD_80000001_EDX] = {0x80000001, 0, REG_EDX,
                           .names = {[11] = "syscall",
                                     [19] = "mp",
                                     [20] = "nx|xd",
                                     [22] = "mmxext",
                                     [25] = "fxsr-opt|ffxsr",
                                     [26] = "pdpe1gb",
                                     [27] = "rdtscp",
                                     [29] = "lm|i64",
                                     [30] = "3dnowext",
                                     [31] = "3dnow"}},
    [WORD_80000001_ECX] = {0x80000001, 0, REG_ECX,
                           .names = {"lahf-lm",   "cmp-legacy",  "svm",
                                     "extapic",   "cr8legacy",   "abm",
                                     "sse4a",     "misalignsse", "3dnowprefetch",
                                     "osvw",      "ibs",         "xop",
                                     "skinit",    "wdt",         NULL,
                                     "lwp",       "fma4",        "tce",
                                     NULL,        "nodeid-msr",  NULL,
                                     "tbm",       "topoext",     "perfctr-core",
                                     "perfctr-nb"}},
    [WORD_80000007_EDX] = {0x80000007, 0, REG_EDX, .unmigratable = BIT(8),
                           .names = {[8] = "invtsc"}},
    [WORD_80000008_EBX] = {0x80000008, 0, REG_EBX,
                           .names = {[0] = "clzero",
                                     [2] = "xsaveerptr",
                                     [9] = "wbnoinvd",
                                     [12] = "ibpb",
                                     [14] = "ibrs",
                                     [15] = "amd-stibp",
                                     [24] = "amd-ssbd",
                                     [25] = "virt-ssbd",
                                     [26] = "amd-no-ssb"}},
    [WORD_8000000A_EDX] = {0x8000000a, 0, REG_EDX,
                           .names = {"npt", "lbrv", "svm-lock", "nrip-save", "tsc-scale",
                                     "vmcb-clean", "flushbyasid", "decodeassists", NULL, NULL,
                                     "pause-filter", NULL, "pfthreshold", "avic", NULL,
                                     "v-vmsave-vmload", "vgif", [28] = "svme-addr-chk"}},
    [WORD_D_1_EAX] = {0xd, 1, REG_EAX, .names = {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"}},
    [WORD_6_EAX] = {6, 0, REG_EAX, .names = {[2] = "arat"}},
    [WORD_KVM] = {KVM_CPUID_FEATURES, 0, REG_EAX,
                  .names = {"kvmclock", "kvm-nopiodelay", "kvm-mmu", "kvmclock", "kvm-asyncpf",
                            "kvm-steal-time", "kvm-pv-eoi", "kvm-pv-unhalt", NULL,
                            "kvm-pv-tlb-flush", "kvm-asyncpf-vmexit", "kvm-pv-ipi",
                            "kvm-poll-control", "kvm-pv-sched-yield", "kvm-asyncpf-int",
                            "kvm-msi-ext-dest-id", [24] = "kvmclock-stable-bit"}},
    [WORD_ARCH_CAPABILITIES] = {.msr = MSR_ARCH_CAPABILITIES,
                                .names = {"rdctl-no", "ibrs-all", "rsba", "skip-l1dfl-vmentry",
                                          "ssb-no", "mds-no", "pschange-mc-no", "tsx-ctrl",
                                          "taa-no", [13] = "sbdr-ssdp-no", [14] = "fbsdp-no",
                                          [15] = "psdp-no", [24] = "pbrsb-no"}},
};

/* '_' matches '-'. An entry may hold two spellings, "a|b". */
static bool same_name(const char *given, const char *entry)
{
    for (const char *alternative = entry; alternative;) {
        const char *g = given, *e = alternative;

        while (*e && *e != '|' && (*g == '_' ? '-' : *g) == *e) {
            g++;
            e++;
        }
        if (!*g && (!*e || *e == '|')) {
            return true;
        }
        alternative = strchr(alternative, '|');
        alternative = alternative ? alternative + 1 : NULL;
    }
    return false;
}

bool x86_feature_find(const char *name, X86Word *word, uint32_t *bits)
{
    *bits = 0;
    for (int w = 0; w < WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *entry = x86_words[w].names[bit];

            /* kvmclock has two bits of one name, for its old and its new MSRs. */
            if (entry && same_name(name, entry)) {
                *word = w;
                *bits |= BIT(bit);
            }
        }
        if (*bits) {
            return true;
        }
    }
    return false;
}

char *x86_feature_name(X86Word word, unsigned bit)
{
    const char *entry = x86_words[word].names[bit];

    return entry ? g_strndup(entry, strcspn(entry, "|")) : NULL;
}

void x86_features_add(uint32_t words[WORD_COUNT], const char *list)
{
    g_auto(GStrv) names = g_strsplit(list, " ", -1);

    for (char **name = names; *name; name++) {
        bool remove = **name == '-';
        X86Word word;
        uint32_t bits;

        if (!**name) {
            continue;
        }
        if (!x86_feature_find(*name + remove, &word, &bits)) {
            g_error("CPU model table: no feature '%s'", *name); /* caught by the unit test */
        }
        if (remove) {
            words[word] &= ~bits;
        } else {
            words[word] |= bits;
        }
    }
}

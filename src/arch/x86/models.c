/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: what a guest sees whatever the host is, so that it can move between hosts. A model
 * is written as the change from the one before it, the way the processors came. Signatures and
 * features are those of the real processors, as software that knows '-cpu NAME' expects them.
 */
#include "x86_internal.h"

/* What every x86 since the Pentium Pro has. */
#define PENTIUM_PRO "fpu de pse tsc msr mce cx8 pge cmov pat fxsr mmx sse sse2 pae sep apic "
#define COMMON_64   PENTIUM_PRO "vme mtrr clflush mca pse36 pni cx16 lm syscall nx lahf-lm "

#define SERVER_LEVEL 0xd

const X86Model x86_models[] = {
    {"qemu64", NULL, "AuthenticAMD", 15, 107, 1, 0xd, 0x8000000a, "QEMU Virtual CPU version 2.5+",
     PENTIUM_PRO "mtrr clflush mca pse36 pni cx16 lm syscall nx lahf-lm svm"},
    {"qemu32", NULL, "GenuineIntel", 6, 6, 3, 4, 0x80000004, "QEMU Virtual CPU version 2.5+",
     PENTIUM_PRO "pni"},
    {"kvm64", NULL, "GenuineIntel", 15, 6, 1, 0xd, 0x80000008, "Common KVM processor",
     PENTIUM_PRO "vme mtrr clflush mca pse36 pni cx16 lm syscall nx", "Common KVM processor"},
    {"kvm32", NULL, "GenuineIntel", 15, 6, 1, 5, 0x80000008, "Common 32-bit KVM processor",
     PENTIUM_PRO "vme mtrr clflush mca pse36 pni", "Common 32-bit KVM processor"},

    {"Conroe", NULL, "GenuineIntel", 6, 15, 3, 10, 0x80000008,
     "Intel Celeron_4x0 (Conroe/Merom Class Core 2)", COMMON_64 "ssse3"},
    {"Penryn", "Conroe", "GenuineIntel", 6, 23, 3, 10, 0x80000008,
     "Intel Core 2 Duo P9xxx (Penryn Class Core 2)", "sse4.1"},
    {"Nehalem", "Penryn", "GenuineIntel", 6, 26, 3, 11, 0x80000008,
     "Intel Core i7 9xx (Nehalem Class Core i7)", "sse4.2 popcnt"},
    {"Nehalem-IBRS", "Nehalem", .model_id = "Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
     .features = "spec-ctrl"},
    {"Westmere", "Nehalem", "GenuineIntel", 6, 44, 1, 11, 0x80000008,
     "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "aes pclmulqdq arat"},
    {"Westmere-IBRS", "Westmere", .model_id = "Westmere E56xx/L56xx/X56xx (IBRS update)",
     .features = "spec-ctrl"},
    {"SandyBridge", "Westmere", "GenuineIntel", 6, 42, 1, SERVER_LEVEL, 0x80000008,
     "Intel Xeon E312xx (Sandy Bridge)", "avx xsave xsaveopt tsc-deadline x2apic rdtscp"},
    {"SandyBridge-IBRS", "SandyBridge", .model_id = "Intel Xeon E312xx (Sandy Bridge, IBRS update)",
     .features = "spec-ctrl"},
    {"IvyBridge", "SandyBridge", "GenuineIntel", 6, 58, 9, SERVER_LEVEL, 0x80000008,
     "Intel Xeon E3-12xx v2 (Ivy Bridge)", "f16c rdrand fsgsbase smep erms"},
    {"IvyBridge-IBRS", "IvyBridge", .model_id = "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)",
     .features = "spec-ctrl"},
    {"Haswell", "IvyBridge", "GenuineIntel", 6, 60, 4, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Haswell)", "fma movbe pcid bmi1 bmi2 avx2 invpcid abm hle rtm"},
    {"Haswell-noTSX", "Haswell", .stepping = 1,
     .model_id = "Intel Core Processor (Haswell, no TSX)", .features = "-hle -rtm"},
    {"Haswell-IBRS", "Haswell", .model_id = "Intel Core Processor (Haswell, IBRS)",
     .features = "spec-ctrl"},
    {"Haswell-noTSX-IBRS", "Haswell-noTSX",
     .model_id = "Intel Core Processor (Haswell, no TSX, IBRS)", .features = "spec-ctrl"},
    {"Broadwell", "Haswell", "GenuineIntel", 6, 61, 2, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Broadwell)", "rdseed adx smap 3dnowprefetch"},
    {"Broadwell-noTSX", "Broadwell", .model_id = "Intel Core Processor (Broadwell, no TSX)",
     .features = "-hle -rtm"},
    {"Broadwell-IBRS", "Broadwell", .model_id = "Intel Core Processor (Broadwell, IBRS)",
     .features = "spec-ctrl"},
    {"Broadwell-noTSX-IBRS", "Broadwell-noTSX",
     .model_id = "Intel Core Processor (Broadwell, no TSX, IBRS)", .features = "spec-ctrl"},
    {"Skylake-Client", "Broadwell", "GenuineIntel", 6, 94, 3, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Skylake)", "xsavec xgetbv1"},
    {"Skylake-Client-IBRS", "Skylake-Client", .model_id = "Intel Core Processor (Skylake, IBRS)",
     .features = "spec-ctrl"},
    {"Skylake-Client-noTSX-IBRS", "Skylake-Client-IBRS",
     .model_id = "Intel Core Processor (Skylake, IBRS, no TSX)", .features = "-hle -rtm"},
    {"Skylake-Server", "Skylake-Client", "GenuineIntel", 6, 85, 4, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Skylake)",
     "pdpe1gb clwb avx512f avx512dq avx512bw avx512cd avx512vl clflushopt pku"},
    {"Skylake-Server-IBRS", "Skylake-Server", .model_id = "Intel Xeon Processor (Skylake, IBRS)",
     .features = "spec-ctrl"},
    {"Skylake-Server-noTSX-IBRS", "Skylake-Server-IBRS",
     .model_id = "Intel Xeon Processor (Skylake, IBRS, no TSX)", .features = "-hle -rtm"},
    {"Cascadelake-Server", "Skylake-Server", "GenuineIntel", 6, 85, 6, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Cascadelake)", "avx512vnni spec-ctrl ssbd"},
    {"Cascadelake-Server-noTSX", "Cascadelake-Server",
     .features = "-hle -rtm arch-capabilities rdctl-no ibrs-all skip-l1dfl-vmentry mds-no"},
    {"Cooperlake", "Cascadelake-Server", "GenuineIntel", 6, 85, 10, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Cooperlake)",
     "stibp arch-capabilities avx512-bf16 rdctl-no ibrs-all skip-l1dfl-vmentry mds-no "
     "pschange-mc-no taa-no"},
    {"Icelake-Server", "Skylake-Server", "GenuineIntel", 6, 134, 0, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Icelake)",
     "wbnoinvd avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg "
     "avx512-vpopcntdq la57 spec-ctrl ssbd"},
    {"Icelake-Server-noTSX", "Icelake-Server", .features = "-hle -rtm"},
    {"SapphireRapids", "Icelake-Server", "GenuineIntel", 6, 143, 4, 0x20, 0x80000008,
     "Intel Xeon Processor (SapphireRapids)",
     "sha-ni avx512ifma rdpid bus-lock-detect fsrm serialize tsx-ldtrk amx-bf16 avx512-fp16 "
     "amx-tile amx-int8 arch-capabilities avx-vnni avx512-bf16 fzrm fsrs fsrc xfd rdctl-no "
     "ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no"},

    {"Opteron_G1", NULL, "AuthenticAMD", 15, 6, 1, 5, 0x80000008,
     "AMD Opteron 240 (Gen 1 Class Opteron)", COMMON_64 "-cx16 -lahf-lm"},
    {"Opteron_G2", "Opteron_G1", "AuthenticAMD", 15, 6, 1, 5, 0x80000008,
     "AMD Opteron 22xx (Gen 2 Class Opteron)", "cx16 svm lahf-lm"},
    {"Opteron_G3", "Opteron_G2", "AuthenticAMD", 16, 2, 3, 5, 0x80000008,
     "AMD Opteron 23xx (Gen 3 Class Opteron)", "popcnt monitor rdtscp misalignsse sse4a abm"},
    {"Opteron_G4", "Opteron_G3", "AuthenticAMD", 21, 1, 2, SERVER_LEVEL, 0x8000001a,
     "AMD Opteron 62xx class CPU",
     "-monitor avx xsave aes sse4.2 sse4.1 ssse3 pclmulqdq pdpe1gb fma4 xop 3dnowprefetch npt "
     "nrip-save"},
    {"Opteron_G5", "Opteron_G4", "AuthenticAMD", 21, 2, 0, SERVER_LEVEL, 0x8000001a,
     "AMD Opteron 63xx class CPU", "f16c fma tbm"},
    {"EPYC", NULL, "AuthenticAMD", 23, 1, 2, SERVER_LEVEL, 0x8000001e, "AMD EPYC Processor",
     COMMON_64 "rdrand f16c avx xsave aes popcnt movbe sse4.2 sse4.1 fma ssse3 pclmulqdq rdtscp "
               "pdpe1gb fxsr-opt mmxext osvw 3dnowprefetch misalignsse sse4a abm cr8legacy svm "
               "topoext fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt "
               "xsavec xgetbv1 arat npt nrip-save",
     .amd_caches = true},
    {"EPYC-IBPB", "EPYC", .model_id = "AMD EPYC Processor (with IBPB)", .features = "ibpb"},
    {"EPYC-Rome", "EPYC", "AuthenticAMD", 23, 49, 0, SERVER_LEVEL, 0x8000001e,
     "AMD EPYC-Rome Processor",
     "clwb umip rdpid wbnoinvd perfctr-core clzero xsaveerptr ibpb amd-stibp"},
    {"EPYC-Milan", "EPYC-Rome", "AuthenticAMD", 25, 1, 1, SERVER_LEVEL, 0x8000001e,
     "AMD EPYC-Milan Processor", "pcid invpcid pku erms fsrm ibrs amd-ssbd svme-addr-chk xsaves"},

    {"base", NULL, "", 0, 0, 0, 0, 0, "", "", "base CPU model type with no features enabled"},
    {"host", NULL, .desc = "processor with all supported host features ", .host = true},
    {"max", NULL, .desc = "Enables all features supported by the accelerator in the current host",
     .host = true},
    {.name = NULL},
};

const X86Model *x86_model_find(const char *name)
{
    /* The one version that there is; a later one would be a row of its own. */
    g_autofree char *plain = g_strdup(name);

    if (g_str_has_suffix(plain, "-v1")) {
        plain[strlen(plain) - 3] = '\0';
    }
    for (const X86Model *m = x86_models; m->name; m++) {
        if (g_str_equal(m->name, plain) && (!m->host || g_str_equal(name, plain))) {
            return m;
        }
    }
    return NULL;
}

const char *const *x86_cpu_model_names(void)
{
    static const char *names[ARRAY_SIZE(x86_models)];
    static gsize once;

    if (g_once_init_enter(&once)) {
        for (unsigned i = 0; x86_models[i].name; i++) {
            names[i] = x86_models[i].name;
        }
        g_once_init_leave(&once, 1);
    }
    return names;
}

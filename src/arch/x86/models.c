/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: fixed sets of features, so that a guest can move between hosts. Most models are
 * written as changes to an older one. Signatures and features are those of the real processors.
 * NAME is the same as NAME-v1; later versions have rows of their own.
 */
#include <string.h>
#include "x86_internal.h"

/* A Pentium Pro's features, and those up to SSE2, which the models built on this all have. */
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

    {"486", NULL, "GenuineIntel", 4, 8, 0, 1, 0, "", "fpu vme pse"},
    {"pentium", "486", "GenuineIntel", 5, 4, 3, 1, 0, "", "de tsc msr mce cx8 mmx apic"},
    {"pentium2", "pentium", "GenuineIntel", 6, 5, 2, 2, 0, "",
     "pae sep mtrr pge mca cmov pat pse36 fxsr"},
    {"pentium3", "pentium2", "GenuineIntel", 6, 7, 3, 3, 0, "", "sse"},
    {"athlon", "pentium3", "AuthenticAMD", 6, 2, 3, 2, 0x80000008, "QEMU Virtual CPU version 2.5+",
     "sse2 mmxext 3dnow 3dnowext"},
    {"coreduo", NULL, "GenuineIntel", 6, 14, 8, 10, 0x80000008,
     "Genuine Intel(R) CPU           T2600  @ 2.16GHz",
     PENTIUM_PRO "vme mtrr clflush mca acpi ss pni monitor nx"},
    {"n270", "coreduo", "GenuineIntel", 6, 28, 2, 10, 0x80000008,
     "Intel(R) Atom(TM) CPU N270   @ 1.60GHz", "ssse3 movbe lahf-lm"},
    {"core2duo", NULL, "GenuineIntel", 6, 15, 11, 10, 0x80000008,
     "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz", COMMON_64 "acpi ss monitor ssse3"},
    {"phenom", NULL, "AuthenticAMD", 16, 2, 3, 5, 0x8000001a,
     "AMD Phenom(tm) 9550 Quad-Core Processor",
     COMMON_64 "monitor popcnt 3dnow 3dnowext mmxext fxsr-opt pdpe1gb rdtscp svm npt sse4a abm"},

    {"Conroe", NULL, "GenuineIntel", 6, 15, 3, 10, 0x80000008,
     "Intel Celeron_4x0 (Conroe/Merom Class Core 2)", COMMON_64 "ssse3 -cx16"},
    {"Penryn", "Conroe", "GenuineIntel", 6, 23, 3, 10, 0x80000008,
     "Intel Core 2 Duo P9xxx (Penryn Class Core 2)", "cx16 sse4.1"},
    {"Nehalem", "Penryn", "GenuineIntel", 6, 26, 3, 11, 0x80000008,
     "Intel Core i7 9xx (Nehalem Class Core i7)", "sse4.2 popcnt"},
    {"Nehalem-v2", "Nehalem", .model_id = "Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
     .features = "spec-ctrl", .alias = "Nehalem-IBRS"},
    {"Westmere", "Nehalem", "GenuineIntel", 6, 44, 1, 11, 0x80000008,
     "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "aes pclmulqdq arat"},
    {"Westmere-v2", "Westmere", .model_id = "Westmere E56xx/L56xx/X56xx (IBRS update)",
     .features = "spec-ctrl", .alias = "Westmere-IBRS"},
    {"SandyBridge", "Westmere", "GenuineIntel", 6, 42, 1, SERVER_LEVEL, 0x80000008,
     "Intel Xeon E312xx (Sandy Bridge)", "avx xsave xsaveopt tsc-deadline x2apic rdtscp"},
    {"SandyBridge-v2", "SandyBridge", .model_id = "Intel Xeon E312xx (Sandy Bridge, IBRS update)",
     .features = "spec-ctrl", .alias = "SandyBridge-IBRS"},
    {"IvyBridge", "SandyBridge", "GenuineIntel", 6, 58, 9, SERVER_LEVEL, 0x80000008,
     "Intel Xeon E3-12xx v2 (Ivy Bridge)", "f16c rdrand fsgsbase smep erms"},
    {"IvyBridge-v2", "IvyBridge", .model_id = "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)",
     .features = "spec-ctrl", .alias = "IvyBridge-IBRS"},
    {"Haswell", "IvyBridge", "GenuineIntel", 6, 60, 4, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Haswell)", "fma movbe pcid bmi1 bmi2 avx2 invpcid abm hle rtm"},
    {"Haswell-v2", "Haswell", .stepping = 1, .model_id = "Intel Core Processor (Haswell, no TSX)",
     .features = "-hle -rtm", .alias = "Haswell-noTSX"},
    {"Haswell-v3", "Haswell", .model_id = "Intel Core Processor (Haswell, IBRS)",
     .features = "spec-ctrl", .alias = "Haswell-IBRS"},
    {"Haswell-v4", "Haswell-v2", .model_id = "Intel Core Processor (Haswell, no TSX, IBRS)",
     .features = "spec-ctrl", .alias = "Haswell-noTSX-IBRS"},
    {"Broadwell", "Haswell", "GenuineIntel", 6, 61, 2, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Broadwell)", "rdseed adx smap 3dnowprefetch"},
    {"Broadwell-v2", "Broadwell", .model_id = "Intel Core Processor (Broadwell, no TSX)",
     .features = "-hle -rtm", .alias = "Broadwell-noTSX"},
    {"Broadwell-v3", "Broadwell", .model_id = "Intel Core Processor (Broadwell, IBRS)",
     .features = "spec-ctrl", .alias = "Broadwell-IBRS"},
    {"Broadwell-v4", "Broadwell-v2", .model_id = "Intel Core Processor (Broadwell, no TSX, IBRS)",
     .features = "spec-ctrl", .alias = "Broadwell-noTSX-IBRS"},
    {"Skylake-Client", "Broadwell", "GenuineIntel", 6, 94, 3, SERVER_LEVEL, 0x80000008,
     "Intel Core Processor (Skylake)", "xsavec xgetbv1"},
    {"Skylake-Client-v2", "Skylake-Client", .model_id = "Intel Core Processor (Skylake, IBRS)",
     .features = "spec-ctrl", .alias = "Skylake-Client-IBRS"},
    {"Skylake-Client-v3", "Skylake-Client-v2",
     .model_id = "Intel Core Processor (Skylake, IBRS, no TSX)", .features = "-hle -rtm",
     .alias = "Skylake-Client-noTSX-IBRS"},
    {"Skylake-Client-v4", "Skylake-Client-v3", .features = "xsaves",
     .note = "IBRS, XSAVES, no TSX"},
    {"Skylake-Server", "Skylake-Client", "GenuineIntel", 6, 85, 4, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Skylake)",
     "pdpe1gb clwb avx512f avx512dq avx512bw avx512cd avx512vl clflushopt pku"},
    {"Skylake-Server-v2", "Skylake-Server", .model_id = "Intel Xeon Processor (Skylake, IBRS)",
     .features = "spec-ctrl -clflushopt", .alias = "Skylake-Server-IBRS"},
    {"Skylake-Server-v3", "Skylake-Server-v2",
     .model_id = "Intel Xeon Processor (Skylake, IBRS, no TSX)", .features = "-hle -rtm",
     .alias = "Skylake-Server-noTSX-IBRS"},
    {"Skylake-Server-v4", "Skylake-Server-v3", .note = "IBRS, EPT switching, no TSX"},
    {"Skylake-Server-v5", "Skylake-Server-v4", .features = "xsaves",
     .note = "IBRS, XSAVES, EPT switching, no TSX"},
    {"Cascadelake-Server", "Skylake-Server", "GenuineIntel", 6, 85, 6, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Cascadelake)", "avx512vnni spec-ctrl ssbd"},
    {"Cascadelake-Server-v2", "Cascadelake-Server",
     .features = "arch-capabilities rdctl-no ibrs-all skip-l1dfl-vmentry mds-no",
     .note = "ARCH_CAPABILITIES"},
    {"Cascadelake-Server-v3", "Cascadelake-Server-v2", .features = "-hle -rtm",
     .alias = "Cascadelake-Server-noTSX", .note = "ARCH_CAPABILITIES, no TSX"},
    {"Cascadelake-Server-v4", "Cascadelake-Server-v3",
     .note = "ARCH_CAPABILITIES, EPT switching, no TSX"},
    {"Cascadelake-Server-v5", "Cascadelake-Server-v4", .features = "xsaves",
     .note = "ARCH_CAPABILITIES, EPT switching, XSAVES, no TSX"},
    {"Cooperlake", "Cascadelake-Server", "GenuineIntel", 6, 85, 10, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Cooperlake)",
     "stibp arch-capabilities avx512-bf16 rdctl-no ibrs-all skip-l1dfl-vmentry mds-no "
     "pschange-mc-no taa-no"},
    {"Cooperlake-v2", "Cooperlake", .features = "xsaves", .note = "XSAVES"},
    {"Icelake-Server", "Skylake-Server", "GenuineIntel", 6, 134, 0, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Processor (Icelake)",
     "wbnoinvd avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg "
     "avx512-vpopcntdq la57 spec-ctrl ssbd"},
    {"Icelake-Server-v2", "Icelake-Server", .features = "-hle -rtm",
     .alias = "Icelake-Server-noTSX", .note = "no TSX"},
    {"Icelake-Server-v3", "Icelake-Server-v2",
     .features = "arch-capabilities rdctl-no ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no "
                 "taa-no"},
    {"Icelake-Server-v4", "Icelake-Server-v3", .family = 6, .model = 106,
     .features = "sha-ni avx512ifma rdpid fsrm"},
    {"Icelake-Server-v5", "Icelake-Server-v4", .features = "xsaves", .note = "XSAVES"},
    {"Icelake-Server-v6", "Icelake-Server-v5", .note = "5-level EPT"},
    {"SapphireRapids", "Icelake-Server", "GenuineIntel", 6, 143, 4, 0x20, 0x80000008,
     "Intel Xeon Processor (SapphireRapids)",
     "sha-ni avx512ifma rdpid bus-lock-detect fsrm serialize tsx-ldtrk amx-bf16 avx512-fp16 "
     "amx-tile amx-int8 arch-capabilities avx-vnni avx512-bf16 fzrm fsrs fsrc xfd rdctl-no "
     "ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no"},

    {"KnightsMill", "Broadwell", "GenuineIntel", 6, 133, 0, SERVER_LEVEL, 0x80000008,
     "Intel Xeon Phi Processor (Knights Mill)",
     "-hle -rtm -smap -invpcid -pcid ss pdpe1gb avx512f avx512cd avx512er avx512pf "
     "avx512-vpopcntdq avx512-4vnniw avx512-4fmaps"},
    {"Denverton", "Westmere-v2", "GenuineIntel", 6, 95, 1, 0x15, 0x80000008,
     "Intel Atom Processor (Denverton)",
     "monitor movbe tsc-deadline xsave rdrand 3dnowprefetch fsgsbase smep erms mpx rdseed smap "
     "clflushopt sha-ni ssbd arch-capabilities rdctl-no skip-l1dfl-vmentry xsaveopt xsavec xgetbv1 "
     "pdpe1gb rdtscp"},
    {"Denverton-v2", "Denverton", .features = "-monitor -mpx", .note = "no MPX, no MONITOR"},
    {"Denverton-v3", "Denverton-v2", .features = "xsaves", .note = "XSAVES, no MPX, no MONITOR"},
    /* Without split-lock-detect: no guest here has that MSR. */
    {"Snowridge", "Denverton", "GenuineIntel", 6, 134, 1, 0x1b, 0x80000008,
     "Intel Atom Processor (SnowRidge)",
     "-rdctl-no -skip-l1dfl-vmentry clwb umip gfni cldemote movdiri movdir64b core-capability"},
    {"Snowridge-v2", "Snowridge", .model_id = "Intel Atom Processor (Snowridge, no MPX)",
     .features = "-mpx"},
    {"Snowridge-v3", "Snowridge-v2", .features = "xsaves", .note = "XSAVES, no MPX"},
    {"Snowridge-v4", "Snowridge-v3", .features = "-core-capability",
     .note = "no split lock detect, no core-capability"},

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
    {"EPYC-v2", "EPYC", .model_id = "AMD EPYC Processor (with IBPB)", .features = "ibpb",
     .alias = "EPYC-IBPB"},
    {"EPYC-v3", "EPYC-v2", .model_id = "AMD EPYC Processor",
     .features = "perfctr-core clzero xsaveerptr xsaves"},
    {"EPYC-Rome", "EPYC", "AuthenticAMD", 23, 49, 0, SERVER_LEVEL, 0x8000001e,
     "AMD EPYC-Rome Processor",
     "clwb umip rdpid wbnoinvd perfctr-core clzero xsaveerptr xsaves ibpb amd-stibp"},
    {"EPYC-Rome-v2", "EPYC-Rome", .features = "ibrs amd-ssbd"},
    {"EPYC-Milan", "EPYC-Rome", "AuthenticAMD", 25, 1, 1, SERVER_LEVEL, 0x8000001e,
     "AMD EPYC-Milan Processor", "pcid invpcid pku erms fsrm ibrs amd-ssbd svme-addr-chk"},
    {"Dhyana", "EPYC-v2", "HygonGenuine", 24, 0, 1, SERVER_LEVEL, 0x8000001e,
     "Hygon Dhyana Processor", "-aes -pclmulqdq -sha-ni"},
    {"Dhyana-v2", "Dhyana", .features = "xsaves", .note = "XSAVES"},

    {"base", NULL, "", 0, 0, 0, 0, 0, "", "", "base CPU model type with no features enabled"},
    {"host", NULL, .desc = "processor with all supported host features ", .host = true},
    {"max", NULL, .desc = "Enables all features supported by the accelerator in the current host",
     .host = true},
    {.name = NULL},
};

bool x86_model_is_version(const X86Model *m)
{
    const char *dash = strrchr(m->name, '-');

    return dash && dash[1] == 'v' && dash[2] && !dash[2 + strspn(dash + 2, "0123456789")];
}

/* "NAME-v1" of a model that is not a later version; NULL: there is none. Caller frees. */
char *x86_model_first_version(const X86Model *m)
{
    return m->host || x86_model_is_version(m) || g_str_equal(m->name, "base")
               ? NULL
               : g_strconcat(m->name, "-v1", NULL);
}

const X86Model *x86_model_find(const char *name)
{
    for (const X86Model *m = x86_models; m->name; m++) {
        g_autofree char *first = x86_model_first_version(m);

        if (g_str_equal(m->name, name) || g_strcmp0(m->alias, name) == 0 ||
            g_strcmp0(first, name) == 0) {
            return m;
        }
    }
    return NULL;
}

static GPtrArray *model_names(void)
{
    GPtrArray *names = g_ptr_array_new();

    for (const X86Model *m = x86_models; m->name; m++) {
        char *first = x86_model_first_version(m);

        g_ptr_array_add(names, (gpointer)m->name);
        if (m->alias) {
            g_ptr_array_add(names, (gpointer)m->alias);
        }
        if (first) {
            g_ptr_array_add(names, first);
        }
    }
    g_ptr_array_add(names, NULL);
    return names;
}

const char *const *x86_cpu_model_names(void)
{
    static GPtrArray *names; /* never freed */

    if (g_once_init_enter(&names)) {
        g_once_init_leave(&names, model_names());
    }
    return (const char *const *)names->pdata;
}

void x86_model_resolve(const X86Model *m, X86Model *out, uint32_t words[WORD_COUNT])
{
    if (m->base) {
        x86_model_resolve(x86_model_find(m->base), out, words);
    }
    out->name = m->name;
    out->host = m->host;
    out->amd_caches |= m->amd_caches;
    out->vendor = m->vendor ? m->vendor : out->vendor;
    out->model_id = m->model_id ? m->model_id : out->model_id;
    out->family = m->family ? m->family : out->family;
    out->model = m->family ? m->model : out->model;
    out->stepping = m->family || m->stepping ? m->stepping : out->stepping;
    out->level = m->level ? m->level : out->level;
    out->xlevel = m->xlevel ? m->xlevel : out->xlevel;
    x86_features_add(words, m->features ? m->features : "");
}

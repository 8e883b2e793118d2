/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -cpu: from its arguments to the features that the guest sees, checked against KVM's. */
#include <stdio.h>
#include <cpuid.h>
#include <sys/ioctl.h>
#include "base/keyval.h"
#include "x86_internal.h"

#define C(n, t, f, d, h)   PROP(n, t, X86CpuConfig, f, d, h)
#define HAS(n, t, f, d, h) HAS_(n, t, f, has_##f, d, h)
#define HAS_(n, t, f, has, d, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(X86CpuConfig, f), .defval = (d), .help = (h), \
        .flags = PROP_FLAG_HAS, .set_offset = offsetof(X86CpuConfig, has)                          \
    }

const Property x86_cpu_props[] = {
    C("check", PROP_BOOL, check, "on", "warn of features that the host lacks"),
    C("enforce", PROP_BOOL, enforce, "off", "refuse to start where the host lacks a feature"),
    C("migratable", PROP_BOOL, migratable, "on", "only features that can move to another host"),
    C("host-cache-info", PROP_BOOL, host_cache_info, "off", "describe the host's caches"),
    C("l3-cache", PROP_BOOL, l3_cache, "on", "a third-level cache, shared by a socket"),
    C("kvm", PROP_BOOL, kvm, "on", "tell the guest that it runs on KVM"),
    C("pmu", PROP_BOOL, pmu, "off", "performance counters"),
    C("vendor", PROP_STRING, vendor, NULL, "12 letters"),
    C("model-id", PROP_STRING, model_id, NULL, "the name that the guest shows"),
    HAS("family", PROP_UINT32, family, NULL, "0 to 270"),
    HAS_("model", PROP_UINT32, model_number, has_model, NULL, "0 to 255"),
    HAS("stepping", PROP_UINT32, stepping, NULL, "0 to 15"),
    HAS("level", PROP_UINT32, level, NULL, "highest basic CPUID leaf"),
    HAS("xlevel", PROP_UINT32, xlevel, NULL, "highest extended CPUID leaf"),
    C("xlevel2", PROP_UINT32, xlevel2, "0", "highest CPUID leaf of Centaur's (0: none)"),
    C("min-level", PROP_UINT32, min_level, "0", "raises level to at least this"),
    C("min-xlevel", PROP_UINT32, min_xlevel, "0", "raises xlevel to at least this"),
    HAS("phys-bits", PROP_UINT8, phys_bits, NULL, "width of physical addresses (default: 40)"),
    HAS("host-phys-bits", PROP_BOOL, host_phys_bits, NULL, "the host's width (-cpu host: on)"),
    C("host-phys-bits-limit", PROP_UINT8, host_phys_bits_limit, "0", "at most this many"),
    C("fill-mtrr-mask", PROP_BOOL, fill_mtrr_mask, "on",
      "MTRR masks are saved with all address bits set"),
    C("tsc-frequency", PROP_STRING, tsc_frequency, NULL, "in Hz, or with a suffix: 2.5G"),
    C("full-cpuid-auto-level", PROP_BOOL, full_cpuid_auto_level, "on",
      "raise level and xlevel to what the features need"),
    HAS("legacy-cache", PROP_BOOL, legacy_cache, NULL,
        "caches as all models once had them (off where the model has its own)"),
    C("hv-passthrough", PROP_BOOL, hv_passthrough, "off", "all that the host has of Hyper-V's"),
    C("cpuid-0xb", PROP_BOOL, cpuid_0xb, "on", "topology in CPUID leaf 0xb"),
    C("vmware-cpuid-freq", PROP_BOOL, vmware_cpuid_freq, "on",
      "CPUID leaf 0x40000010 tells of tsc-frequency"),
    C("kvm-pv-enforce-cpuid", PROP_BOOL, kvm_pv_enforce_cpuid, "off",
      "no paravirtual interface works that CPUID does not show"),
    C("kvm-hint-dedicated", PROP_BOOL, kvm_hint_dedicated, "off",
      "tell the guest that its CPUs never wait for host CPUs"),
    HAS("ucode-rev", PROP_UINT64, ucode_rev, NULL, "MSR 0x8b, the revision of the microcode"),
    C("lmce", PROP_BOOL, lmce, "off", "local machine checks; off only"),
    C("force-features", PROP_BOOL, force_features, "off", "keep features that the host lacks"),
    PROP_END,
};
#undef HAS
#undef HAS_
#undef C

/* Hyper-V's enlightenments, none of which is supported: errors say so, and "off" is accepted. */
static const char *const hyperv_names[] = {"hv-relaxed",
                                           "hv-vapic",
                                           "hv-time",
                                           "hv-spinlocks",
                                           "hv-crash",
                                           "hv-reset",
                                           "hv-vpindex",
                                           "hv-runtime",
                                           "hv-synic",
                                           "hv-stimer",
                                           "hv-stimer-direct",
                                           "hv-frequencies",
                                           "hv-reenlightenment",
                                           "hv-tlbflush",
                                           "hv-ipi",
                                           "hv-evmcs",
                                           "hv-avic",
                                           "hv-no-nonarch-coresharing",
                                           "hv-vendor-id",
                                           NULL};

/*
 * Features that KVM guests get on top of their model, since KVM emulates them on every host. QEMU
 * has tsc-deadline only in -cpu host and some models. With it Linux need not measure the APIC
 * timer, which takes a tenth of a second of every boot.
 */
#define KVM_DEFAULTS_ON                                                                            \
    "x2apic tsc-deadline kvmclock kvm-nopiodelay kvm-asyncpf kvm-steal-time kvm-pv-eoi "           \
    "kvmclock-stable-bit hypervisor"
#define KVM_DEFAULTS_OFF "-acpi -monitor -svm"

X86Vm *x86_vm(Vm *vm)
{
    if (!vm->arch_state) {
        vm->arch_state = g_new0(X86Vm, 1);
        properties_init(x86_cpu_props, &((X86Vm *)vm->arch_state)->cpu);
    }
    return vm->arch_state;
}

void x86_vm_free(Vm *vm)
{
    X86Vm *x = vm->arch_state;

    if (x) {
        properties_clear(x86_cpu_props, &x->cpu);
        g_free(x->supported);
        g_free(x->msr_list);
        g_free(x->msr_features);
        g_free(x);
        vm->arch_state = NULL;
    }
}

void x86_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}

/* The result of KVM_GET_SUPPORTED_CPUID, cached. */
static struct kvm_cpuid2 *supported_cpuid(Vm *vm)
{
    X86Vm *x = x86_vm(vm);

    for (unsigned n = X86_MAX_CPUID; kvm_enabled(vm) && !x->supported && n <= 4096; n *= 2) {
        struct kvm_cpuid2 *c = g_malloc0(sizeof *c + n * sizeof(struct kvm_cpuid_entry2));

        c->nent = n;
        if (ioctl(kvm_system_fd(vm), KVM_GET_SUPPORTED_CPUID, c) == 0) {
            x->supported = c;
        } else {
            bool too_small = errno == E2BIG;

            g_free(c);
            if (!too_small) {
                break;
            }
        }
    }
    if (!x->supported) {
        x->supported = g_malloc0(sizeof *x->supported);
    }
    return x->supported;
}

uint32_t x86_supported_cpuid(Vm *vm, uint32_t leaf, uint32_t subleaf, X86Reg reg)
{
    const struct kvm_cpuid2 *c = supported_cpuid(vm);

    for (unsigned i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];

        if (e->function == leaf &&
            (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf)) {
            return (&e->eax)[reg == REG_EAX ? 0 : reg == REG_EBX ? 1 : reg == REG_ECX ? 2 : 3];
        }
    }
    return 0;
}

/* The value of a feature MSR that KVM can give guests; 0: KVM does not have the MSR. */
static uint64_t feature_msr(Vm *vm, uint32_t index)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msrs = {.head.nmsrs = 1, .entry.index = index};

    return x86_msr_is_feature(vm, index) && ioctl(kvm_system_fd(vm), KVM_GET_MSRS, &msrs) == 1
               ? msrs.entry.data
               : 0;
}

/* The bits of a word that KVM on this host can give guests. */
static uint32_t supported_word(Vm *vm, X86Word word)
{
    const X86WordInfo *info = &x86_words[word];
    uint32_t bits;

    if (info->msr) {
        return feature_msr(vm, info->msr);
    }
    bits = x86_supported_cpuid(vm, info->leaf, info->subleaf, info->reg);
    switch (word) {
    case WORD_1_EDX:
        /* HTT follows from the guest's topology, not from the host's */
        bits |= BIT(28);
        break;
    case WORD_1_ECX:
        bits |= BIT(31);             /* 'hypervisor' needs no support */
        bits &= ~(BIT(27) | BIT(3)); /* OSXSAVE is dynamic; MONITOR would spin a host CPU */
        bits |= BIT(21);             /* x2APIC: KVM's local APIC always can */
        if (kvm_check_extension(vm, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
            bits |= BIT(24);
        }
        break;
    case WORD_6_EAX:
        bits |= BIT(2); /* ARAT: KVM's APIC timer never stops */
        break;
    case WORD_7_EDX:
        if (!x86_msr_is_feature(vm, MSR_ARCH_CAPABILITIES)) {
            bits &= ~BIT(29);
        }
        break;
    case WORD_80000007_EDX:
        bits |= x86_supported_cpuid(vm, 0x80000007, 0, REG_EDX) & BIT(8);
        break;
    default:
        break;
    }
    return bits;
}

/* Warns of each bit, as QEMU does: "CPUID.07H:EBX.avx2 [bit 5]". */
static void report_missing(X86Word word, uint32_t bits)
{
    static const char *const regs[] = {"EAX", "EBX", "ECX", "EDX"};
    const X86WordInfo *info = &x86_words[word];

    for (unsigned bit = 0; bit < 32; bit++) {
        if (bits & BIT(bit)) {
            g_autofree char *name = x86_feature_name(word, bit);
            g_autofree char *where =
                info->msr ? g_strdup_printf("MSR(%XH)", info->msr)
                          : g_strdup_printf("CPUID.%02XH:%s", info->leaf, regs[info->reg]);

            log_warn("host doesn't support requested feature: %s%s%s [bit %u]", where,
                     name ? "." : "", name ? name : "", bit);
        }
    }
}

static void x86_cpu_set_string(char **field, const char *value)
{
    if (!*field) {
        *field = g_strdup(value);
    }
}

/*
 * The vendor is the host's, whatever the model, unless the user gives one. Guests choose between
 * SYSCALL and SYSENTER in compatibility mode by the vendor, and a host's CPU has only its own.
 */
static void take_host_vendor(X86CpuConfig *cpu)
{
    uint32_t r[4];
    char vendor[13] = "";

    x86_host_cpuid(0, 0, r);
    memcpy(vendor, &r[1], 4);
    memcpy(vendor + 4, &r[3], 4);
    memcpy(vendor + 8, &r[2], 4);
    x86_cpu_set_string(&cpu->vendor, vendor);
}

/* The host's own vendor, signature and name. */
static void identify_host(X86CpuConfig *cpu)
{
    uint32_t r[4];
    char id[49] = "";

    take_host_vendor(cpu);
    x86_host_cpuid(1, 0, r);
    if (!cpu->has_family) {
        cpu->family = (r[0] >> 8 & 0xf) + (r[0] >> 20 & 0xff);
    }
    if (!cpu->has_model) {
        cpu->model_number = (r[0] >> 4 & 0xf) | (r[0] >> 12 & 0xf0);
    }
    if (!cpu->has_stepping) {
        cpu->stepping = r[0] & 0xf;
    }
    for (unsigned i = 0; i < 3; i++) {
        x86_host_cpuid(0x80000002 + i, 0, r);
        memcpy(id + 16 * i, r, 16);
    }
    x86_cpu_set_string(&cpu->model_id, id);
}

static bool apply_feature(X86CpuConfig *cpu, const char *key, json_t *value, X86Word word,
                          uint32_t bits, GError **err)
{
    bool on = json_is_true(value);

    if (!json_is_boolean(value) &&
        (!json_is_string(value) || !parse_bool(json_string_value(value), &on))) {
        g_autofree char *text = json_text(value);

        return error_set(err, "CPU feature '%s' expects 'on' or 'off', not %s", key, text);
    }
    if (on) {
        cpu->user_on[word] |= bits;
        cpu->user_off[word] &= ~bits;
    } else {
        cpu->user_off[word] |= bits;
        cpu->user_on[word] &= ~bits;
    }
    return true;
}

/* "off" is accepted, since it is what the guest gets. */
static bool apply_hyperv(const char *name, json_t *value, GError **err)
{
    bool on = json_is_true(value);

    if (json_is_string(value) && parse_bool(json_string_value(value), &on) && !on) {
        return true;
    }
    return (!json_is_string(value) && !on) ||
           error_set(err, "Hyper-V enlightenment '%s' is not supported", name);
}

static bool unknown_option(const char *key, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    for (int w = 0; w < WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            char *feature = x86_feature_name(w, bit);

            if (feature) {
                g_ptr_array_add(names, feature);
            }
        }
    }
    for (const Property *p = x86_cpu_props; p->name; p++) {
        g_ptr_array_add(names, g_strdup(p->name));
    }
    g_ptr_array_add(names, NULL);
    return error_unknown_name(err, "CPU feature", key, (const char *const *)names->pdata);
}

/* One feature or property of -cpu. */
static bool apply_option(X86CpuConfig *cpu, const char *key, json_t *value, GError **err)
{
    g_autofree char *name = g_strdelimit(g_strdup(key), "_", '-');
    const Property *p;
    X86Word word;
    uint32_t bits;

    if (g_str_equal(name, "tsc-freq")) {
        g_free(name);
        name = g_strdup("tsc-frequency");
    }
    if (x86_feature_find(name, &word, &bits)) {
        return apply_feature(cpu, key, value, word, bits, err);
    }
    p = property_find(x86_cpu_props, name);
    if (p) {
        return property_set(p, cpu, value, "-cpu", err);
    }
    return g_strv_contains(hyperv_names, name) ? apply_hyperv(name, value, err)
                                               : unknown_option(key, err);
}

static bool apply_options(X86CpuConfig *cpu, json_t *features, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(features, key, value)
    {
        if (!apply_option(cpu, key, value, err)) {
            return false;
        }
    }
    return true;
}

static bool parse_frequency(const char *text, uint64_t *hz, GError **err)
{
    char *end;
    double value = g_ascii_strtod(text, &end);
    double factor = g_ascii_tolower(*end) == 'k'   ? 1e3
                    : g_ascii_tolower(*end) == 'm' ? 1e6
                    : g_ascii_tolower(*end) == 'g' ? 1e9
                                                   : 1;

    if (end == text || end[factor > 1] || value <= 0 || value * factor > 1e12) {
        return error_set(err, "-cpu: 'tsc-frequency=%s' is no frequency in Hz (2500000000, 2.5G)",
                         text);
    }
    *hz = value * factor;
    return true;
}

/* Drops features whose required feature is missing. */
static void drop_dependents(uint32_t words[WORD_COUNT])
{
    static const struct {
        const char *needed, *by;
    } needs[] = {
        {"xsave", "avx xsaveopt xsavec xgetbv1 xsaves xfd pku mpx avx512f amx-tile"},
        {"avx", "avx2 fma f16c fma4 xop vaes vpclmulqdq avx512f avx-vnni"},
        {"avx512f",
         "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi avx512vbmi2 "
         "avx512vnni avx512bitalg avx512-vpopcntdq avx512-4vnniw avx512-4fmaps "
         "avx512-vp2intersect avx512-bf16 avx512-fp16"},
        {"amx-tile", "amx-bf16 amx-int8"},
        {"arch-capabilities",
         "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no "
         "sbdr-ssdp-no fbsdp-no psdp-no pbrsb-no"},
        {"svm", "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists "
                "pause-filter pfthreshold avic v-vmsave-vmload vgif svme-addr-chk"},
        {"lm", "la57"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
        X86Word word;
        uint32_t bits;

        x86_feature_find(needs[i].needed, &word, &bits);
        if (!(words[word] & bits)) {
            uint32_t gone[WORD_COUNT] = {0};

            x86_features_add(gone, needs[i].by);
            for (int w = 0; w < WORD_COUNT; w++) {
                words[w] &= ~gone[w];
            }
        }
    }
}

static bool filter_features(Vm *vm, X86CpuConfig *cpu, GError **err)
{
    bool missing = false;
    /* Without vmx and svm most of a model is missing; kvm_on_run() warns of that once. */
    bool all = cpu->enforce || (cpu->check && x86_host_virtualization());
    uint32_t wanted[WORD_COUNT];

    memcpy(wanted, cpu->words, sizeof wanted);
    for (int w = 0; w < WORD_COUNT; w++) {
        cpu->words[w] &= supported_word(vm, w);
    }
    drop_dependents(cpu->words);
    for (int w = 0; w < WORD_COUNT; w++) {
        uint32_t lacking = wanted[w] & ~supported_word(vm, w);

        if (w == WORD_KVM) {
            /* Those of KVM_DEFAULTS_ON that an older KVM lacks are no loss; only the user's count.
             */
            lacking &= cpu->user_on[w];
        }
        if (cpu->enforce || cpu->check) {
            report_missing(w, all ? lacking : lacking & cpu->user_on[w]);
        }
        missing |= lacking != 0;
        if (cpu->force_features) {
            cpu->words[w] = wanted[w];
        }
    }
    return !missing || !cpu->enforce || error_set(err, "host doesn't support requested features");
}

static void x86_cpu_set_levels(X86CpuConfig *cpu, const X86Model *model)
{
    uint32_t level = model->level, xlevel = model->xlevel;

    if (cpu->full_cpuid_auto_level && !g_str_equal(model->name, "base")) {
        if (cpu->words[WORD_7_EBX] | cpu->words[WORD_7_ECX] | cpu->words[WORD_7_EDX]) {
            level = MAX(level, 7);
        }
        if (cpu->words[WORD_6_EAX]) {
            level = MAX(level, 6);
        }
        if (cpu->words[WORD_D_1_EAX]) {
            level = MAX(level, 0xd);
        }
        if (cpu->words[WORD_80000001_EDX] | cpu->words[WORD_80000001_ECX]) {
            xlevel = MAX(xlevel, 0x80000001);
        }
        if (cpu->words[WORD_80000007_EDX]) {
            xlevel = MAX(xlevel, 0x80000007);
        }
        if (cpu->words[WORD_80000008_EBX]) {
            xlevel = MAX(xlevel, 0x80000008);
        }
        if (cpu->words[WORD_80000001_ECX] & BIT(2)) {
            xlevel = MAX(xlevel, 0x8000000a);
        }
        if (cpu->words[WORD_80000001_ECX] & BIT(22)) {
            xlevel = MAX(xlevel, 0x8000001e);
        }
    }
    if (!cpu->has_level) {
        cpu->level = MAX(level, cpu->min_level);
    }
    if (!cpu->has_xlevel) {
        cpu->xlevel = MAX(xlevel, cpu->min_xlevel);
    }
}

/* legacy-cache is off by default for models that have caches of their own, and on for others. */
static bool set_caches(X86CpuConfig *cpu, const X86Model *model, GError **err)
{
    if (!cpu->has_legacy_cache) {
        cpu->legacy_cache = !model->amd_caches;
    }
    return cpu->legacy_cache || model->amd_caches ||
           error_set(err,
                     "CPU model '%s' doesn't support legacy-cache=off: it has no caches of its own",
                     model->name);
}

static bool refuse_unsupported(const X86CpuConfig *cpu, GError **err)
{
    if (cpu->hv_passthrough) {
        return error_set(err, "-cpu: 'hv-passthrough=on' is not supported");
    }
    if (cpu->xlevel2 && cpu->xlevel2 < 0xc0000000) {
        return error_set(err, "-cpu: 'xlevel2=%#x' is below 0xc0000000, the first of those leaves",
                         cpu->xlevel2);
    }
    return !cpu->lmce ||
           error_set(err, "-cpu: 'lmce=on': LMCE not supported: no machine checks of the host "
                          "reach the guest");
}

static unsigned host_phys_bits(void)
{
    uint32_t r[4];

    x86_host_cpuid(0x80000000, 0, r);
    if (r[0] < 0x80000008) {
        return 36;
    }
    x86_host_cpuid(0x80000008, 0, r);
    return r[0] & 0xff;
}

static bool set_phys_bits(Vm *vm, X86CpuConfig *cpu, GError **err)
{
    unsigned host = host_phys_bits();
    bool lm = cpu->words[WORD_80000001_EDX] & BIT(29);

    if (!lm) {
        if (cpu->has_phys_bits && cpu->phys_bits != 0 && cpu->phys_bits != 32 &&
            cpu->phys_bits != 36) {
            return error_set(err, "-cpu: phys-bits=%u with a CPU without long mode",
                             cpu->phys_bits);
        }
        cpu->phys_bits = cpu->words[WORD_1_EDX] & BIT(17) ? 36 : 32;
        return true;
    }
    if (!cpu->has_host_phys_bits) {
        cpu->host_phys_bits = cpu->model->host && kvm_enabled(vm);
    }
    if (!cpu->has_phys_bits || !cpu->phys_bits) {
        cpu->phys_bits = cpu->host_phys_bits ? host : 40;
        if (cpu->host_phys_bits && cpu->host_phys_bits_limit) {
            cpu->phys_bits = MIN(cpu->phys_bits, cpu->host_phys_bits_limit);
        }
    } else if (cpu->phys_bits != host && kvm_enabled(vm)) {
        log_warn("Host physical bits (%u) does not match phys-bits property (%u)", host,
                 cpu->phys_bits);
    }
    return (cpu->phys_bits >= 32 && cpu->phys_bits <= 52) ||
           error_set(err, "phys-bits should be between 32 and 52 (but is %u)", cpu->phys_bits);
}

/* Models "host" and "max". */
static void take_host(Vm *vm, X86CpuConfig *cpu, X86Model *model)
{
    identify_host(cpu);
    for (int w = 0; w < WORD_COUNT; w++) {
        cpu->words[w] = supported_word(vm, w);
        if (cpu->migratable) {
            cpu->words[w] &= ~x86_words[w].unmigratable;
        }
    }
    cpu->words[WORD_1_EDX] &= ~BIT(28);
    model->level = x86_supported_cpuid(vm, 0, 0, REG_EAX);
    model->xlevel = x86_supported_cpuid(vm, 0x80000000, 0, REG_EAX);
}

/* Changes that the accelerator makes to a model. */
static void take_accelerator(Vm *vm, X86CpuConfig *cpu, X86Model *model)
{
    if (model->host && kvm_enabled(vm)) {
        take_host(vm, cpu, model);
    } else if (model->host) {
        /* Under qtest no CPU runs, so the features of "max" do not matter. */
        x86_model_resolve(x86_model_find("qemu64"), model, cpu->words);
        model->host = true;
    } else if (kvm_enabled(vm)) {
        take_host_vendor(cpu);
        x86_features_add(cpu->words, KVM_DEFAULTS_ON " " KVM_DEFAULTS_OFF);
    } else {
        x86_features_add(cpu->words, "hypervisor");
    }
}

/* Takes vendor, name and signature from the model, where -cpu or the host has not set them. */
static bool x86_cpu_set_identity(X86CpuConfig *cpu, const X86Model *model, GError **err)
{
    x86_cpu_set_string(&cpu->vendor, model->vendor ? model->vendor : "");
    x86_cpu_set_string(&cpu->model_id, model->model_id ? model->model_id : "");
    if (strlen(cpu->vendor) != 12 && *cpu->vendor) {
        return error_set(err, "-cpu: vendor '%s' does not have 12 characters", cpu->vendor);
    }
    if (!cpu->has_family && model->family) {
        cpu->family = model->family;
    }
    if (!cpu->has_model && model->family) {
        cpu->model_number = model->model;
    }
    if (!cpu->has_stepping && (model->family || model->stepping)) {
        cpu->stepping = model->stepping;
    }
    return (cpu->family <= 0xff + 0xf && cpu->model_number <= 0xff && cpu->stepping <= 0xf) ||
           error_set(err, "-cpu: family %u, model %u, stepping %u are past 270, 255, 15",
                     cpu->family, cpu->model_number, cpu->stepping);
}

/* Applies the user's features to the model's, then drops what the host lacks. */
static bool x86_cpu_set_features(Vm *vm, X86CpuConfig *cpu, GError **err)
{
    for (int w = 0; w < WORD_COUNT; w++) {
        cpu->words[w] |= cpu->user_on[w];
        cpu->words[w] &= ~cpu->user_off[w];
    }
    if (!cpu->kvm) {
        cpu->words[WORD_KVM] = 0;
    }
    return !kvm_enabled(vm) || filter_features(vm, cpu, err);
}

bool x86_cpu_configure(Vm *vm, const char *name, json_t *features, GError **err)
{
    X86Vm *x = x86_vm(vm);
    X86CpuConfig *cpu = &x->cpu;
    const X86Model *found = x86_model_find(name);
    X86Model model = {0};

    if (!found) {
        return error_unknown_name(err, "CPU model", name, x86_cpu_model_names());
    }
    if (found->host && g_str_equal(name, "host") && !kvm_enabled(vm)) {
        return error_set(err, "CPU model 'host' requires KVM");
    }
    properties_clear(x86_cpu_props, cpu);
    memset(cpu, 0, sizeof *cpu);
    properties_init(x86_cpu_props, cpu);
    cpu->model = found;
    if (!apply_options(cpu, features, err) || !refuse_unsupported(cpu, err) ||
        (cpu->tsc_frequency && !parse_frequency(cpu->tsc_frequency, &cpu->tsc_hz, err))) {
        return false;
    }
    x86_model_resolve(found, &model, cpu->words);
    if (!set_caches(cpu, &model, err)) {
        return false;
    }
    take_accelerator(vm, cpu, &model);
    if (!x86_cpu_set_identity(cpu, &model, err) || !x86_cpu_set_features(vm, cpu, err) ||
        !set_phys_bits(vm, cpu, err)) {
        return false;
    }
    x86_cpu_set_levels(cpu, &model);
    x->configured = true;
    return true;
}

unsigned x86_phys_bits(const Vm *vm)
{
    const X86Vm *x = vm->arch_state;

    return x && x->configured ? x->cpu.phys_bits : 40;
}

void x86_cpu_identity(Vm *vm, uint32_t *signature, uint32_t *features)
{
    const X86CpuConfig *cpu = &x86_vm(vm)->cpu;

    *signature = x86_signature(cpu);
    *features = cpu->words[WORD_1_EDX];
}

bool x86_cpu_has(Vm *vm, const char *feature)
{
    X86Word word;
    uint32_t bits;

    return x86_feature_find(feature, &word, &bits) && x86_vm(vm)->cpu.words[word] & bits;
}

uint32_t x86_signature(const X86CpuConfig *cpu)
{
    uint32_t family = MIN(cpu->family, 0xf), extended = cpu->family - family;

    return extended << 20 | (cpu->model_number >> 4) << 16 | family << 8 |
           (cpu->model_number & 0xf) << 4 | cpu->stepping;
}

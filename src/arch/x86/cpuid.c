/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUID leaves of one vCPU: features as configured, and topology, caches and address widths
 * (Intel SDM 2A 'CPUID'; AMD APM 3 appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst).
 */
#include "x86_internal.h"

typedef struct {
    Vm *vm;
    const X86CpuConfig *cpu;
    uint32_t apic_id;
    bool amd;
    unsigned threads, cores, dies; /* threads per core, cores per die, dies per package */
    X86TopologyBits bits;
    struct kvm_cpuid_entry2 *out;
    unsigned count;
} Build;

static struct kvm_cpuid_entry2 *cpuid_add(Build *b, uint32_t leaf, uint32_t eax, uint32_t ebx,
                                          uint32_t ecx, uint32_t edx)
{
    struct kvm_cpuid_entry2 *e = &b->out[b->count++];

    g_assert(b->count <= X86_MAX_CPUID);
    *e =
        (struct kvm_cpuid_entry2){.function = leaf, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx};
    return e;
}

static void add_sub(Build *b, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx,
                    uint32_t ecx, uint32_t edx)
{
    struct kvm_cpuid_entry2 *e = cpuid_add(b, leaf, eax, ebx, ecx, edx);

    e->index = subleaf;
    e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
}

/* A cache, as leaves 4 and 8000001D describe it. */
typedef struct {
    uint8_t type; /* 1 data, 2 instruction, 3 unified */
    uint8_t level;
    uint16_t line, ways;
    uint32_t sets;
    bool inclusive, complex_index, no_invd_sharing, needs_init;
} Cache;

static const Cache intel_caches[] = {
    {1, 1, 64, 8, 64, .no_invd_sharing = true},
    {2, 1, 64, 8, 64, .no_invd_sharing = true},
    {3, 2, 64, 16, 4096, .no_invd_sharing = true},
    {3, 3, 64, 16, 16384, .inclusive = true, .complex_index = true},
};
static const Cache amd_caches[] = {
    {1, 1, 64, 2, 512, .no_invd_sharing = true},
    {2, 1, 64, 2, 512, .no_invd_sharing = true},
    {3, 2, 64, 16, 512},
    {3, 3, 64, 16, 16384, .inclusive = true, .complex_index = true},
};
static const Cache epyc_caches[] = {
    {1, 1, 64, 8, 64, .no_invd_sharing = true},
    {2, 1, 64, 4, 256, .no_invd_sharing = true},
    {3, 2, 64, 8, 1024, .needs_init = true},
    {3, 3, 64, 16, 8192, .inclusive = true, .complex_index = true},
};

static const Cache *caches_of(const Build *b, uint32_t leaf)
{
    if (!b->cpu->legacy_cache) {
        return epyc_caches;
    }
    return leaf == 4 ? intel_caches : amd_caches;
}

/* The number of APIC ids that share a cache of this level. */
static unsigned cpuid_sharing(const Build *b, unsigned level)
{
    return level >= 3 ? 1u << (b->bits.smt + b->bits.core) : 1u << b->bits.smt;
}

static void add_caches(Build *b, uint32_t leaf)
{
    const Cache *c = caches_of(b, leaf);
    /* EAX bits 26 and up of leaf 4: the number of ids of cores in the package, dies included. */
    uint32_t cores = leaf == 4 ? ((1u << (b->bits.core + b->bits.die)) - 1) << 26 : 0;
    unsigned n = 0;

    if (b->cpu->host_cache_info) {
        for (uint32_t r[4]; n < 8; n++) {
            x86_host_cpuid(leaf, n, r);
            if (!(r[0] & 0x1f)) {
                break;
            }
            /* EAX bits 14 and up are the numbers of ids that share the cache: the guest's */
            r[0] &= 0x3fff;
            r[0] |= (cpuid_sharing(b, r[0] >> 5 & 7) - 1) << 14 | cores;
            add_sub(b, leaf, n, r[0], r[1], r[2], r[3]);
        }
        add_sub(b, leaf, n, 0, 0, 0, 0);
        return;
    }
    for (; n < (b->cpu->l3_cache ? 4u : 3u); n++, c++) {
        uint32_t eax = c->type | c->level << 5 | (c->needs_init ? 0 : BIT(8)) |
                       (cpuid_sharing(b, c->level) - 1) << 14 | cores;

        add_sub(b, leaf, n, eax, (c->line - 1u) | (c->ways - 1u) << 22, c->sets - 1,
                (uint32_t)c->no_invd_sharing | (uint32_t)c->inclusive << 1 |
                    (uint32_t)c->complex_index << 2);
    }
    add_sub(b, leaf, n, 0, 0, 0, 0);
}

/* Leaves 0xb and 0x1f: the levels above a thread, innermost first. */
static void add_topology(Build *b, uint32_t leaf)
{
    enum { TYPE_SMT = 1, TYPE_CORE = 2, TYPE_DIE = 5 };
    unsigned core_bits = b->bits.smt + b->bits.core, package_bits = core_bits + b->bits.die;
    unsigned n = 0;

    add_sub(b, leaf, n, b->bits.smt, b->threads, n | TYPE_SMT << 8, b->apic_id);
    n++;
    if (leaf == 0x1f) {
        add_sub(b, leaf, n, core_bits, b->threads * b->cores, n | TYPE_CORE << 8, b->apic_id);
        n++;
        add_sub(b, leaf, n, package_bits, b->threads * b->cores * b->dies, n | TYPE_DIE << 8,
                b->apic_id);
        n++;
    } else {
        add_sub(b, leaf, n, package_bits, b->threads * b->cores * b->dies, n | TYPE_CORE << 8,
                b->apic_id);
        n++;
    }
    add_sub(b, leaf, n, 0, 0, n, b->apic_id);
}

/* The XCR0 bits of the CPU's features (SDM 1, 13.1). */
static uint64_t xcr0_mask(const Build *b)
{
    const uint32_t *w = b->cpu->words;
    uint64_t mask = 3; /* x87, SSE */

    mask |= w[WORD_1_ECX] & BIT(28) ? BIT64(2) : 0;
    mask |= w[WORD_7_EBX] & BIT(14) ? BIT64(3) | BIT64(4) : 0;
    mask |= w[WORD_7_EBX] & BIT(16) ? BIT64(5) | BIT64(6) | BIT64(7) : 0;
    mask |= w[WORD_7_ECX] & BIT(3) ? BIT64(9) : 0;
    mask |= w[WORD_7_EDX] & BIT(24) ? BIT64(17) | BIT64(18) : 0;
    return mask & (x86_supported_cpuid(b->vm, 0xd, 0, REG_EAX) |
                   (uint64_t)x86_supported_cpuid(b->vm, 0xd, 0, REG_EDX) << 32);
}

/* Leaf 0xd. Sizes and offsets of the components are the host's, as in KVM's XSAVE area. */
static void add_xsave(Build *b)
{
    uint64_t mask = xcr0_mask(b);
    uint32_t size = 576; /* legacy area and header */

    if (!(b->cpu->words[WORD_1_ECX] & BIT(26))) {
        add_sub(b, 0xd, 0, 0, 0, 0, 0);
        return;
    }
    for (unsigned i = 2; i < 63; i++) {
        if (mask & BIT64(i)) {
            size = MAX(size, x86_supported_cpuid(b->vm, 0xd, i, REG_EAX) +
                                 x86_supported_cpuid(b->vm, 0xd, i, REG_EBX));
        }
    }
    add_sub(b, 0xd, 0, (uint32_t)mask, 576, size, mask >> 32);
    add_sub(b, 0xd, 1, b->cpu->words[WORD_D_1_EAX], 576, 0, 0);
    for (unsigned i = 2; i < 63; i++) {
        if (mask & BIT64(i)) {
            add_sub(b, 0xd, i, x86_supported_cpuid(b->vm, 0xd, i, REG_EAX),
                    x86_supported_cpuid(b->vm, 0xd, i, REG_EBX),
                    x86_supported_cpuid(b->vm, 0xd, i, REG_ECX) & ~1u, 0);
        }
    }
}

static void add_pass_through(Build *b, uint32_t leaf, unsigned subleaves)
{
    for (unsigned i = 0; i < subleaves; i++) {
        add_sub(b, leaf, i, x86_supported_cpuid(b->vm, leaf, i, REG_EAX),
                x86_supported_cpuid(b->vm, leaf, i, REG_EBX),
                x86_supported_cpuid(b->vm, leaf, i, REG_ECX),
                x86_supported_cpuid(b->vm, leaf, i, REG_EDX));
    }
}

static void add_basic(Build *b)
{
    const X86CpuConfig *cpu = b->cpu;
    const uint32_t *w = cpu->words;
    unsigned logical = b->threads * b->cores * b->dies;
    const char *v = cpu->vendor;
    uint32_t level = cpu->level;

    if (b->dies > 1) {
        level = MAX(level, 0x1f);
    }
    if (*v) {
        cpuid_add(b, 0, level, ldle32(v), ldle32(v + 8), ldle32(v + 4));
    } else {
        cpuid_add(b, 0, level, 0, 0, 0);
    }
    cpuid_add(b, 1, x86_signature(cpu),
              b->apic_id << 24 | MIN(logical, 255u) << 16 | (w[WORD_1_EDX] & BIT(19) ? 8 << 8 : 0),
              w[WORD_1_ECX], w[WORD_1_EDX] | (logical > 1 ? BIT(28) : 0));
    if (level >= 2 && b->amd) {
        cpuid_add(b, 2, 0, 0, 0, 0);
    } else if (level >= 2) {
        /* descriptors of 32 KiB L1s, a 2 MiB L2 and a 16 MiB L3 (SDM table 3-12) */
        cpuid_add(b, 2, 1, 0, cpu->l3_cache ? 0x4d : 0, 0x2c307d);
    }
    if (level >= 4 && !b->amd) {
        add_caches(b, 4);
    } else if (level >= 4) {
        add_sub(b, 4, 0, 0, 0, 0, 0);
    }
    if (level >= 5) {
        cpuid_add(b, 5, 0, 0, 3, 0); /* MWAIT: extensions are enumerated, interrupts break it */
    }
    if (level >= 6) {
        cpuid_add(b, 6, w[WORD_6_EAX], 0, 0, 0);
    }
    if (level >= 7) {
        add_sub(b, 7, 0, w[WORD_7_1_EAX] ? 1 : 0, w[WORD_7_EBX], w[WORD_7_ECX], w[WORD_7_EDX]);
        if (w[WORD_7_1_EAX]) {
            add_sub(b, 7, 1, w[WORD_7_1_EAX], 0, 0, 0);
        }
    }
    if (level >= 0xa && cpu->pmu) {
        add_pass_through(b, 0xa, 1);
    } else if (level >= 0xa) {
        cpuid_add(b, 0xa, 0, 0, 0, 0);
    }
    if (level >= 0xb && cpu->cpuid_0xb) {
        add_topology(b, 0xb);
    }
    if (level >= 0xd) {
        add_xsave(b);
    }
    if (level >= 0x1d && w[WORD_7_EDX] & BIT(24)) {
        add_pass_through(b, 0x1d, 2);
        add_pass_through(b, 0x1e, 1);
    }
    if (level >= 0x1f && b->dies > 1) {
        add_topology(b, 0x1f);
    }
}

/* The encoding of an associativity (APM 3, E.4.5). */
static uint32_t amd_associativity(unsigned ways)
{
    return ways == 16 ? 8 : ways == 8 ? 6 : ways == 4 ? 4 : ways;
}

/* Leaves 80000005 (L1) and 80000006 (L2 and L3). */
static void add_amd_legacy_caches(Build *b)
{
    const Cache *c = caches_of(b, 0x80000005);
    uint32_t r[4];

    if (b->cpu->host_cache_info) {
        x86_host_cpuid(0x80000005, 0, r);
        cpuid_add(b, 0x80000005, r[0], r[1], r[2], r[3]);
        x86_host_cpuid(0x80000006, 0, r);
        cpuid_add(b, 0x80000006, r[0], r[1], r[2], r[3]);
        return;
    }
    /* EAX, EBX: TLBs of 255 entries. ECX, EDX: size in KiB, ways, lines per tag, line size. */
    cpuid_add(b, 0x80000005, 0x01ff01ff, 0x01ff01ff,
              (uint32_t)(c[0].line * c[0].ways * c[0].sets / KiB) << 24 |
                  (uint32_t)c[0].ways << 16 | 1 << 8 | c[0].line,
              (uint32_t)(c[1].line * c[1].ways * c[1].sets / KiB) << 24 |
                  (uint32_t)c[1].ways << 16 | 1 << 8 | c[1].line);
    cpuid_add(b, 0x80000006, 0, 0x42004200,
              (uint32_t)(c[2].line * c[2].ways * c[2].sets / KiB) << 16 |
                  amd_associativity(c[2].ways) << 12 | 1 << 8 | c[2].line,
              b->cpu->l3_cache ? (uint32_t)(c[3].line * c[3].ways * c[3].sets / (512 * KiB)) << 18 |
                                     amd_associativity(c[3].ways) << 12 | 1 << 8 | c[3].line
                               : 0);
}

static void add_extended(Build *b)
{
    const X86CpuConfig *cpu = b->cpu;
    const uint32_t *w = cpu->words;
    unsigned logical = b->threads * b->cores * b->dies;
    unsigned id_bits = b->bits.smt + b->bits.core + b->bits.die;
    const char *v = cpu->vendor;
    char name[48] = {0};
    uint32_t ecx = w[WORD_80000001_ECX], edx = w[WORD_80000001_EDX];

    if (cpu->xlevel < 0x80000000) {
        return;
    }
    if (*v) {
        cpuid_add(b, 0x80000000, cpu->xlevel, ldle32(v), ldle32(v + 8), ldle32(v + 4));
    } else {
        cpuid_add(b, 0x80000000, cpu->xlevel, 0, 0, 0);
    }
    if (b->amd) {
        /* AMD's leaf repeats the common features of leaf 1 */
        edx |= w[WORD_1_EDX] & 0x0183f3ff;
        if (logical > 1) {
            ecx |= BIT(1); /* CMP_LEGACY: these are cores, not hyperthreads */
        }
    }
    cpuid_add(b, 0x80000001, x86_signature(cpu), 0, ecx, edx);
    memcpy(name, cpu->model_id, MIN(strlen(cpu->model_id), sizeof name));
    for (unsigned i = 0; i < 3; i++) {
        const char *p = name + 16 * i;
        cpuid_add(b, 0x80000002 + i, ldle32(p), ldle32(p + 4), ldle32(p + 8), ldle32(p + 12));
    }
    if (cpu->xlevel >= 0x80000006) {
        add_amd_legacy_caches(b);
    }
    if (cpu->xlevel >= 0x80000007) {
        cpuid_add(b, 0x80000007, 0, 0, 0, w[WORD_80000007_EDX]);
    }
    if (cpu->xlevel >= 0x80000008) {
        unsigned virtual_bits = edx & BIT(29) ? (w[WORD_7_ECX] & BIT(16) ? 57 : 48) : 32;

        cpuid_add(b, 0x80000008, cpu->phys_bits | virtual_bits << 8, w[WORD_80000008_EBX],
                  logical > 1 ? id_bits << 12 | (logical - 1) : 0, 0);
    }
    if (cpu->xlevel >= 0x8000000a && ecx & BIT(2)) {
        cpuid_add(b, 0x8000000a, 1, 0x10, 0, w[WORD_8000000A_EDX]);
    }
    if (cpu->xlevel >= 0x8000001e && ecx & BIT(22)) {
        unsigned core = b->apic_id >> b->bits.smt & ((1u << (b->bits.core + b->bits.die)) - 1);
        unsigned package = b->apic_id >> id_bits;

        add_caches(b, 0x8000001d);
        cpuid_add(b, 0x8000001e, b->apic_id, (b->threads - 1) << 8 | core,
                  (b->dies - 1) << 8 | (package & 0xff), 0);
    }
}

/* KVM's signature and its paravirtual interfaces. */
static void add_kvm(Build *b)
{
    /* VMware's leaf of frequencies in kHz, which Linux reads; KVM's APIC timer runs at 1 GHz. */
    enum { FREQUENCY_LEAF = KVM_CPUID_SIGNATURE + 0x10, APIC_BUS_KHZ = 1000000 };
    static const char signature[12] = "KVMKVMKVM\0\0\0";

    const X86CpuConfig *cpu = b->cpu;
    /* A TSC frequency that the user did not fix could change when the machine moves. */
    bool frequencies = cpu->vmware_cpuid_freq && cpu->tsc_hz;

    cpuid_add(b, KVM_CPUID_SIGNATURE, frequencies ? FREQUENCY_LEAF : KVM_CPUID_FEATURES,
              ldle32(signature), ldle32(signature + 4), ldle32(signature + 8));
    cpuid_add(b, KVM_CPUID_FEATURES, cpu->words[WORD_KVM], 0, 0,
              cpu->kvm_hint_dedicated ? BIT(KVM_HINTS_REALTIME) : 0);
    if (frequencies) {
        cpuid_add(b, FREQUENCY_LEAF, cpu->tsc_hz / 1000, APIC_BUS_KHZ, 0, 0);
    }
}

/* xlevel2: the first leaf of Centaur's range, which only gives the highest one. */
static void add_centaur(Build *b)
{
    if (b->cpu->xlevel2) {
        cpuid_add(b, 0xc0000000, b->cpu->xlevel2, 0, 0, 0);
    }
}

unsigned x86_cpuid_build(Vm *vm, unsigned index, uint32_t apic_id,
                         struct kvm_cpuid_entry2 out[X86_MAX_CPUID])
{
    const X86CpuConfig *cpu = &x86_vm(vm)->cpu;
    Build b = {.vm = vm,
               .cpu = cpu,
               .apic_id = apic_id,
               .amd = g_str_equal(cpu->vendor, "AuthenticAMD") ||
                      g_str_equal(cpu->vendor, "HygonGenuine"),
               .threads = MAX(vm->smp.threads, 1u),
               .cores = MAX(vm->smp.cores, 1u),
               .dies = MAX(vm->smp.dies, 1u),
               .bits = x86_topology_bits(&vm->smp),
               .out = out};

    add_basic(&b);
    if (cpu->kvm) {
        add_kvm(&b);
    }
    add_extended(&b);
    add_centaur(&b);
    return b.count;
}

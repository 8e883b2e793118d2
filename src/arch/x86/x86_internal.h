/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the files of this folder. */
#ifndef X86_INTERNAL_H
#define X86_INTERNAL_H

#include <inttypes.h>
#include <asm/kvm_para.h>
#include <linux/kvm.h>
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "x86/x86.h"

/* A 32-bit word of feature bits: a CPUID register, or a part of an MSR. */
typedef enum {
    WORD_1_EDX,
    WORD_1_ECX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_7_EDX,
    WORD_7_1_EAX,
    WORD_80000001_EDX,
    WORD_80000001_ECX,
    WORD_80000007_EDX,
    WORD_80000008_EBX,
    WORD_8000000A_EDX,
    WORD_D_1_EAX,
    WORD_6_EAX,
    WORD_KVM,
    WORD_ARCH_CAPABILITIES,
    WORD_COUNT
} X86Word;

typedef enum { REG_EAX, REG_EBX, REG_ECX, REG_EDX } X86Reg;

typedef struct {
    uint32_t leaf;
    uint32_t subleaf;
    X86Reg reg;
    uint32_t msr; /* not 0: the word is the low half of this MSR, not of a leaf */
    /* Bits that -cpu host does not show while migratable=on. */
    uint32_t unmigratable;
    const char *names[32]; /* "a|b": b is another spelling */
} X86WordInfo;
extern const X86WordInfo x86_words[WORD_COUNT];

/* Finds a feature by name; '_' and '-' are the same. */
bool x86_feature_find(const char *name, X86Word *word, uint32_t *bit);
/* The first spelling of the bit's name, or NULL if it has none. Caller frees. */
char *x86_feature_name(X86Word word, unsigned bit);
/* Adds (or, with a leading '-', removes) the features named in a space-separated list. */
void x86_features_add(uint32_t words[WORD_COUNT], const char *list);

/* A CPU model. Fields that are 0 or NULL are those of 'base'. */
typedef struct X86Model {
    const char *name;
    const char *base; /* name of the model that this one changes; NULL: nothing */
    const char *vendor;
    uint16_t family, model, stepping;
    uint32_t level, xlevel;
    const char *model_id;
    const char *features; /* added to those of 'base' by x86_features_add() */
    const char *desc;
    const char *alias; /* an older name of a version: "EPYC-IBPB" of EPYC-v2 */
    const char *note;  /* shown in -cpu help after the model_id */
    bool host;         /* "host" and "max": the features are the host's */
    bool amd_caches;
} X86Model;
extern const X86Model x86_models[]; /* ends with .name = NULL */
const X86Model *x86_model_find(const char *name);
/* Adds a model, after its bases, to *out and 'words', which callers usually zero first. */
void x86_model_resolve(const X86Model *m, X86Model *out, uint32_t words[WORD_COUNT]);
bool x86_model_is_version(const X86Model *m); /* "NAME-v2" and so on */
char *x86_model_first_version(const X86Model *m);

/* The configured CPU: the arguments of -cpu, and after x86_cpu_configure() the result. */
typedef struct {
    const X86Model *model;
    char *vendor, *model_id;
    uint32_t family, model_number, stepping;
    uint32_t level, xlevel;
    bool has_family, has_model, has_stepping, has_level, has_xlevel;
    uint32_t words[WORD_COUNT];
    uint32_t user_on[WORD_COUNT], user_off[WORD_COUNT];
    bool check, enforce, migratable, host_cache_info, l3_cache, kvm, pmu, host_phys_bits;
    bool has_host_phys_bits, full_cpuid_auto_level, legacy_cache, has_legacy_cache, fill_mtrr_mask;
    bool hv_passthrough, lmce, force_features;
    uint8_t phys_bits, host_phys_bits_limit;
    bool has_phys_bits;
    char *tsc_frequency;
    uint64_t tsc_hz;
    uint32_t min_level, min_xlevel, xlevel2;
    bool cpuid_0xb, vmware_cpuid_freq, kvm_pv_enforce_cpuid, kvm_hint_dedicated, has_ucode_rev;
    uint64_t ucode_rev;
} X86CpuConfig;

#define X86_MAX_CPUID 128

/* One per Vm (vm->arch_state). */
typedef struct {
    X86CpuConfig cpu;
    bool configured;
    X86BootState boot;
    struct kvm_cpuid2 *supported; /* KVM_GET_SUPPORTED_CPUID */
    uint32_t *msr_list;           /* KVM_GET_MSR_INDEX_LIST */
    unsigned msr_count;
    uint32_t *msr_features; /* KVM_GET_MSR_FEATURE_INDEX_LIST */
    unsigned msr_feature_count;
    unsigned xsave_size;
    bool has_xcrs, has_sregs2, has_debugregs, has_events, has_mp_state;
    unsigned objects, first_object; /* CPUs in the object tree; their device[N] begin here */
    Device *pic[2], *ioapic, *pit;  /* that stand for chips in the kernel, else NULL */
    bool has_payload, has_smm, has_triple_fault;
} X86Vm;
X86Vm *x86_vm(Vm *vm);                 /* vm->arch_state, made at the first call */
extern const Property x86_cpu_props[]; /* -cpu's arguments that are no features */

void x86_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* A register of KVM_GET_SUPPORTED_CPUID; 0 if KVM does not list the leaf. */
uint32_t x86_supported_cpuid(Vm *vm, uint32_t leaf, uint32_t subleaf, X86Reg reg);
bool x86_msr_is_feature(Vm *vm, uint32_t msr);
/* Fills in all CPUID leaves of a vCPU; gives the number of entries. */
unsigned x86_cpuid_build(Vm *vm, unsigned index, uint32_t apic_id,
                         struct kvm_cpuid_entry2 out[X86_MAX_CPUID]);
uint32_t x86_signature(const X86CpuConfig *cpu);

/* Widths of the fields of an APIC id. */
typedef struct {
    unsigned smt, core, die;
} X86TopologyBits;
X86TopologyBits x86_topology_bits(const SmpConfig *smp);
uint32_t x86_apic_id_of(const SmpConfig *smp, unsigned index);

/* The saved state of a vCPU. */
#define X86_SEGMENT_STATE(X)                                                                       \
    X(F, uint64_t, base)                                                                           \
    X(F, uint32_t, limit)                                                                          \
    X(F, uint16_t, selector)                                                                       \
    X(F, uint16_t, flags) /* as in a descriptor: type, S, DPL, P; AVL, L, D/B, G from bit 12 */    \
    X(F, bool, unusable)
STATE_STRUCT(X86Segment, X86_SEGMENT_STATE);

#define X86_XSAVE_MAX 16384 /* AMX needs 11008 */
#define X86_MSRS_MAX  512

#define X86_CPU_STATE(X)                                                                           \
    X(A, uint64_t, gpr, 16) /* rax rcx rdx rbx rsp rbp rsi rdi r8 ... r15 */                       \
    X(F, uint64_t, rip)                                                                            \
    X(F, uint64_t, rflags)                                                                         \
    X(SA, X86Segment, seg, x86_segment, 8) /* es cs ss ds fs gs ldt tr */                          \
    X(F, uint64_t, gdt_base)                                                                       \
    X(F, uint16_t, gdt_limit)                                                                      \
    X(F, uint64_t, idt_base)                                                                       \
    X(F, uint16_t, idt_limit)                                                                      \
    X(F, uint64_t, cr0)                                                                            \
    X(F, uint64_t, cr2)                                                                            \
    X(F, uint64_t, cr3)                                                                            \
    X(F, uint64_t, cr4)                                                                            \
    X(F, uint64_t, cr8)                                                                            \
    X(F, uint64_t, efer)                                                                           \
    X(F, uint64_t, apic_base)                                                                      \
    X(F, bool, pdptrs_valid)                                                                       \
    X(A, uint64_t, pdptrs, 4)                                                                      \
    X(F, uint64_t, xcr0)                                                                           \
    X(F, uint32_t, xsave_len)                                                                      \
    X(V, uint8_t, xsave, xsave_len, X86_XSAVE_MAX)                                                 \
    X(A, uint64_t, dr, 4)                                                                          \
    X(F, uint64_t, dr6)                                                                            \
    X(F, uint64_t, dr7)                                                                            \
    X(F, bool, exception_injected)                                                                 \
    X(F, bool, exception_pending)                                                                  \
    X(F, uint8_t, exception_nr)                                                                    \
    X(F, bool, exception_has_error_code)                                                           \
    X(F, uint32_t, exception_error_code)                                                           \
    X(F, bool, exception_has_payload)                                                              \
    X(F, uint64_t, exception_payload)                                                              \
    X(F, bool, interrupt_injected)                                                                 \
    X(F, uint8_t, interrupt_nr)                                                                    \
    X(F, bool, interrupt_soft)                                                                     \
    X(F, uint8_t, interrupt_shadow)                                                                \
    X(F, bool, nmi_injected)                                                                       \
    X(F, bool, nmi_pending)                                                                        \
    X(F, bool, nmi_masked)                                                                         \
    X(F, uint32_t, sipi_vector)                                                                    \
    X(F, uint8_t, smi_flags)                                                                       \
    X(F, uint8_t, triple_fault)                                                                    \
    X(F, uint32_t, mp_state)                                                                       \
    X(F, bool, has_lapic)                                                                          \
    X(A, uint8_t, lapic, 1024)                                                                     \
    X(F, uint32_t, tsc_khz)                                                                        \
    X(F, uint32_t, msr_count)                                                                      \
    X(V, uint32_t, msr_index, msr_count, X86_MSRS_MAX)                                             \
    X(V, uint64_t, msr_data, msr_count, X86_MSRS_MAX)
STATE_STRUCT(X86CpuState, X86_CPU_STATE);
const StateDesc *x86_segment_state_desc(void);
const StateDesc *x86_cpu_state_desc(void);

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDT, SEG_TR };
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };

/* X86Segment.flags (SDM 3A 3.4.5, bits 40..55 of a descriptor). */
#define SEG_TYPE 0x000f
#define SEG_S    0x0010
#define SEG_DPL  0x0060
#define SEG_P    0x0080
#define SEG_AVL  0x1000
#define SEG_L    0x2000
#define SEG_DB   0x4000
#define SEG_G    0x8000

#define CR0_PE   BIT64(0)
#define CR0_WP   BIT64(16)
#define CR0_PG   BIT64(31)
#define CR4_PSE  BIT64(4)
#define CR4_PAE  BIT64(5)
#define CR4_LA57 BIT64(12)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NXE BIT64(11)

#define MSR_TSC               0x10
#define MSR_APIC_BASE         0x1b
#define MSR_TSC_ADJUST        0x3b
#define MSR_UCODE_REV         0x8b
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_MISC_ENABLE       0x1a0
#define MSR_MTRR_DEF_TYPE     0x2ff
#define MSR_TSC_DEADLINE      0x6e0

/* One per vCPU (cpu->arch). */
typedef struct {
    X86CpuState *power_on; /* the state of the new vCPU, to which a reset returns */
    bool fresh;            /* the vCPU has not run and its state has not been set since creation */
} X86Cpu;

bool x86_state_get(Vcpu *cpu, void *state, GError **err);
bool x86_state_set(Vcpu *cpu, const void *state, GError **err);
/* Sets registers, local APIC and run state only, for a vCPU that is fresh. */
bool x86_state_set_registers(Vcpu *cpu, const X86CpuState *s, GError **err);
/* The state without MSRs and local APIC, for register dumps. */
bool x86_state_get_registers(Vcpu *cpu, X86CpuState *s);

/* An MSR's value as saved, from KVM's; and KVM's, from a saved one. They differ for MTRRs. */
uint64_t x86_msr_saved(const X86CpuConfig *cpu, uint32_t index, uint64_t value);
uint64_t x86_msr_loaded(const X86CpuConfig *cpu, uint32_t index, uint64_t value);

/* Writes what differs between two such states, by as few ioctls as will do. */
bool x86_state_set_changed(Vcpu *cpu, const X86CpuState *was, const X86CpuState *s, GError **err);
extern const struct ArchDebug x86_debug; /* debug.c */

char *x86_registers_text(const X86CpuState *s, bool halted);
/* A register by the monitor's name: "eax", "cs", "cs.base", "pc". false: no such register. */
bool x86_register_value(const X86CpuState *s, const char *name, uint64_t *value);
char *x86_lapic_text(const uint8_t lapic[1024], unsigned cpu, bool x2apic, uint32_t apic_base);

/* ELF notes of a core file. */
bool x86_core_notes(Vcpu *cpu, GByteArray *status, GByteArray *own, GError **err);

/* Page tables. 'read' reads physical memory; false: no RAM or ROM there. */
typedef struct {
    uint64_t cr0, cr3, cr4, efer;
    unsigned phys_bits;
    bool (*read)(void *data, uint64_t pa, void *buf, unsigned len);
    void *data;
} X86Paging;
bool x86_paging_translate(const X86Paging *p, uint64_t va, uint64_t *pa);
/* Calls fn for each page by ascending address. False: there are too many. */
bool x86_paging_foreach(const X86Paging *p,
                        void (*fn)(uint64_t va, uint64_t pa, uint64_t len, void *data), void *data);
char *x86_paging_info_mem(const X86Paging *p);
char *x86_paging_info_tlb(const X86Paging *p);

/* Creates KVM's interrupt controllers, by kvm_irqchip_mode(); their devices are made later. */
bool x86_kvm_open_irqchip(Vm *vm, GError **err);

/* An ioctl on one of the kernel's chips. An error tells of a bug, or of a kernel unlike any. */
void x86_kvm_chip_ioctl(Device *dev, unsigned long request, void *arg, const char *what);
/* The same for what sets its state: a machine whose chip has not taken it is paused for good. */
void x86_kvm_chip_set(Device *dev, unsigned long request, void *arg, const char *what);
void x86_kvm_pit_firmware_state(Device *dev);

#endif

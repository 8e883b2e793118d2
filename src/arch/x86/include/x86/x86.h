/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x86 CPU family: models and features (CPUID), MSRs, the vCPU's state, register dumps, and
 * what the boards need of it.
 */
#ifndef X86_X86_H
#define X86_X86_H

#include "vm/vcpu.h"

extern const ArchOps x86_arch;
/* What this folder keeps in vm->arch_state; after the vCPUs. */
void x86_vm_free(Vm *vm);

/*
 * -cpu MODEL[,+feature][,-feature][,feature=on|off][,...]: checked against the host (KVM). Given to
 * the vm before vCPUs are made. 'features' as MachineConfig.cpu_features. Warns of what the host
 * lacks, as QEMU does ("enforce" makes it fail).
 */
bool x86_cpu_configure(Vm *vm, const char *model, json_t *features, GError **err);
/* Its CPUs appear in the object tree. Once, after x86_cpu_configure(), ahead of the board. */
void x86_cpu_objects_create(Vm *vm);
unsigned x86_cpu_count(const Vm *vm);
char *x86_cpu_type(const Vm *vm); /* "qemu64-x86_64-cpu"; caller frees, as the path */
char *x86_cpu_object_path(const Vm *vm, unsigned index);
int x86_cpu_object_find(const Vm *vm, const char *path); /* its index, or -1 */
json_t *x86_cpu_object_get(const Vm *vm, unsigned index, const char *name, GError **err);
json_t *x86_cpu_object_list(void); /* of {"name", "type"} */
typedef struct {
    unsigned socket, die, core, thread;
} X86CpuPlace;
X86CpuPlace x86_cpu_place(const Vm *vm, unsigned index);
char *x86_cpu_help(void); /* -cpu help */
const char *const *x86_cpu_model_names(void);
/* -cpu's text into a model name (caller frees) and a features object. */
char *x86_cpu_parse(const char *text, json_t **features, GError **err);

/* APIC id of a CPU index under vm->smp (each level a power-of-two field: Intel SDM 3A 8.9.1). */
uint32_t x86_apic_id(const Vm *vm, unsigned index);
unsigned x86_phys_bits(const Vm *vm);
/* What CPUID leaf 1 gives in EAX and EDX: for SMBIOS. */
void x86_cpu_identity(Vm *vm, uint32_t *signature, uint32_t *features);
/* Whether the configured CPU has a feature ("lm"). */
bool x86_cpu_has(Vm *vm, const char *feature);

/* How the boot CPU starts: by default at the reset vector. For direct kernel boots the board sets
 * the registers that apply at every reset; the others wait for INIT. */
typedef struct {
    bool enabled;
    bool long_mode; /* 64-bit entry with identity page tables at cr3 */
    uint32_t cr0;
    uint64_t cr3, cr4, efer;
    uint64_t rip, rsp, rsi, rbx, rax, rcx, rdx, rbp, rdi;
    uint64_t gdt_base; /* of a GDT in guest RAM */
    uint16_t gdt_limit;
    uint16_t cs, ds; /* selectors; flat 4 GiB segments */
    bool real_mode;  /* cs:ip = entry, 16-bit; ds does not count */
    /* Caching as firmware leaves it: write-back but for [pci_hole, 4 GiB), where not 0. All CPUs.
     */
    uint64_t pci_hole;
} X86BootState;
void x86_set_boot_state(Vm *vm, const X86BootState *boot);

/* User-visible text. */
char *x86_info_lapic(Vcpu *cpu);
char *x86_info_mem(Vcpu *cpu); /* info mem */
char *x86_info_tlb(Vcpu *cpu); /* info tlb */

/* The host CPU's flag of hardware virtualization: "vmx", "svm", or NULL. */
const char *x86_host_virtualization(void);

/* KVM parts with state that are no CPU: irqchip, PIT, clock. Board code creates them. */
bool x86_kvm_create_irqchip(Vm *vm, GError **err); /* in-kernel PIC, IOAPIC, LAPIC, by vm mode */
bool x86_kvm_create_pit(Vm *vm, GError **err);
char *x86_kvm_pic_text(Vm *vm); /* info pic, from the kernel's */
/* PIC and PIT as firmware leaves them: vectors 8 and 0x70, timer ticking. After a reset. */
void x86_kvm_firmware_state(Vm *vm);
extern const DeviceClass kvm_i8259_class, kvm_ioapic_class, kvm_pit_class, kvm_clock_class;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x86 CPU family: models and features (CPUID), MSRs, the vCPU's state, register dumps, and the
 * interrupt controllers, PIT and clock that KVM keeps in the kernel.
 */
#ifndef X86_X86_H
#define X86_X86_H

#include "vm/vcpu.h"

extern const ArchOps x86_arch;
/* Frees vm->arch_state, after vcpus_destroy(). */
void x86_vm_free(Vm *vm);

/*
 * Applies -cpu: the model's name, and 'features' as in MachineConfig.cpu_features. Under KVM,
 * features that the host lacks are dropped with a warning, or refused with "enforce". Call after
 * the accelerator is chosen and before vcpus_create().
 */
bool x86_cpu_configure(Vm *vm, const char *model, json_t *features, GError **err);
/*
 * Gives the CPUs their places in the object tree. Once, after x86_cpu_configure() and before the
 * board, since CPUs come first in /machine/unattached.
 */
void x86_cpu_objects_create(Vm *vm);
unsigned x86_cpu_count(const Vm *vm);
char *x86_cpu_type(const Vm *vm); /* "qemu64-x86_64-cpu"; caller frees, as the path */
char *x86_cpu_object_path(const Vm *vm, unsigned index);
json_t *x86_cpu_object_get(const Vm *vm, unsigned index, const char *name, GError **err);
json_t *x86_cpu_object_list(void); /* the properties, as {"name", "type"} */
typedef struct {
    unsigned socket, die, core, thread;
} X86CpuPlace;
X86CpuPlace x86_cpu_place(const Vm *vm, unsigned index);
char *x86_cpu_help(void); /* -cpu help */
const char *const *x86_cpu_model_names(void);
/* Parses the text of -cpu into the model's name (caller frees) and *features. */
char *x86_cpu_parse(const char *text, json_t **features, GError **err);

/* The APIC id of a CPU; its fields are those of vm->smp (see topology.c). */
uint32_t x86_apic_id(const Vm *vm, unsigned index);
unsigned x86_phys_bits(const Vm *vm);
/* EAX and EDX of CPUID leaf 1, for SMBIOS. */
void x86_cpu_identity(Vm *vm, uint32_t *signature, uint32_t *features);
/* Whether the configured CPU has a feature ("lm"). */
bool x86_cpu_has(Vm *vm, const char *feature);

/*
 * How the boot CPU starts after every reset, where it is not at the reset vector: direct kernel
 * boots and the end of S3. The other CPUs wait for INIT.
 */
typedef struct {
    bool enabled;
    bool long_mode; /* 64-bit entry with identity page tables at cr3 */
    uint32_t cr0;
    uint64_t cr3, cr4, efer;
    uint64_t rip, rsp, rsi, rbx, rax, rcx, rdx, rbp, rdi;
    uint64_t gdt_base; /* of a GDT in guest RAM */
    uint16_t gdt_limit;
    uint16_t cs, ds; /* selectors; flat 4 GiB segments */
    bool real_mode;  /* 16-bit entry at cs:rip; ds is not used */
    /* All CPUs' MTRRs, as firmware leaves them: [pci_hole, 4 GiB) is uncached. 0: MTRRs as reset.
     */
    uint64_t pci_hole;
} X86BootState;
void x86_set_boot_state(Vm *vm, const X86BootState *boot);

/* The monitor's 'info lapic', 'info mem' and 'info tlb'; caller frees. */
char *x86_info_lapic(Vcpu *cpu);
char *x86_info_mem(Vcpu *cpu);
char *x86_info_tlb(Vcpu *cpu);

/* A machine check; the fields are registers of a bank, and IA32_MCG_STATUS. */
typedef struct {
    unsigned bank;
    uint64_t status, mcg_status, addr, misc;
} X86Mce;
/*
 * Injects it into a CPU, by KVM; 'broadcast': the others hear of it. What came of it instead of a
 * machine check (a triple fault: the guest does not handle them) is appended to 'said', in lines.
 * False and *err: refused. Main loop; waits for the vCPUs.
 */
bool coroutine_fn x86_inject_mce(Vm *vm, unsigned cpu, const X86Mce *mce, bool broadcast,
                                 GString *said, GError **err);

/* The host CPU's flag of hardware virtualization: "vmx", "svm", or NULL. */
const char *x86_host_virtualization(void);

/* For boards: devices that stand for chips in the kernel, so that their state is saved. */
bool x86_kvm_create_irqchip(Vm *vm, GError **err);
bool x86_kvm_create_pit(Vm *vm, GError **err);
char *x86_kvm_pic_text(Vm *vm); /* 'info pic' */
/* Sets PIC and PIT, after a reset, to what firmware leaves: vectors 8 and 0x70, timer ticking. */
void x86_kvm_firmware_state(Vm *vm);
extern const DeviceClass kvm_i8259_class, kvm_ioapic_class, kvm_pit_class, kvm_clock_class;

#endif

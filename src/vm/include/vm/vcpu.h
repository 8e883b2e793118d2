/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs and accelerators. A vCPU is a thread that runs the guest; ioctls on its fd happen on that
 * thread only: others ask by vcpu_call().
 */
#ifndef VM_VCPU_H
#define VM_VCPU_H

#include <pthread.h>
#include "vm/vm.h"

struct kvm_run;

struct Vcpu {
    Vm *vm;
    unsigned index;
    uint32_t arch_id; /* x86: APIC id */
    pthread_t thread;
    int tid; /* atomic: 0 until the thread runs */
    int fd;
    struct kvm_run *run;
    size_t run_size;
    void *arch; /* arch's own */
    int halted; /* atomic; for info cpus (in-kernel halts: what KVM says) */
    bool created;
    /* Private to vcpu.c. */
    GMutex lock;
    GCond cond;
    GQueue calls;
    bool stop_wanted, stopped, quit;
    bool exit_pending; /* the last exit's result is not in the registers yet */
    int in_run;        /* atomic: inside KVM_RUN */
    uint64_t exits;
};

/* Makes and starts the threads; they wait, stopped, until vcpus_resume(). Main thread. */
bool vcpus_create(Vm *vm, GError **err);
void vcpus_destroy(Vm *vm);
/* Asks all to stop and complete their pending exits; yields until they have. */
void coroutine_fn vcpus_pause(Vm *vm);
void vcpus_resume(Vm *vm);
bool vcpus_stopped(Vm *vm);
/* Runs fn on the vCPU's thread between KVM_RUNs and waits (yields inside a coroutine). */
void vcpu_call(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data);
/* The same without waiting. data must live until then. */
void vcpu_call_async(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data);
Vcpu *vcpu_current(void);
/* Makes a vCPU leave KVM_RUN soon. Any thread. */
void vcpu_kick(Vcpu *cpu);
/* Holds every vCPU out of KVM_RUN for a change of memory slots; nests; any thread (leaf). */
void vcpus_hold(Vm *vm);
void vcpus_release(Vm *vm);

typedef enum {
    VCPU_EXIT_CONTINUE,
    VCPU_EXIT_INTERRUPTED,
    VCPU_EXIT_UNKNOWN,
    VCPU_EXIT_SHUTDOWN,
    VCPU_EXIT_ERROR
} VcpuExit;

/* The CPU family's part. All run on the vCPU's thread, except where said. */
struct ArchOps {
    const char *name; /* "x86_64" */
    /* The host CPU's flag of hardware virtualization ("vmx", "svm"), or NULL where it has none. */
    const char *(*host_virtualization)(void);
    bool (*vm_init)(Vm *vm, GError **err);             /* after KVM_CREATE_VM, main thread */
    uint32_t (*arch_id)(const Vm *vm, unsigned index); /* x86: the APIC id */
    bool (*vcpu_init)(Vcpu *cpu, GError **err);        /* CPUID, initial MSRs */
    void (*vcpu_destroy)(Vcpu *cpu);
    void (*vcpu_reset)(Vcpu *cpu);
    void (*pre_run)(Vcpu *cpu); /* user-space irqchip: inject */
    void (*post_run)(Vcpu *cpu);
    VcpuExit (*handle_exit)(Vcpu *cpu); /* exits that vm/ does not know */
    char *(*registers_text)(Vcpu *cpu); /* info registers; caller frees */
    /* x/print: translate a guest-virtual address; false: not mapped. */
    bool (*translate)(Vcpu *cpu, uint64_t va, uint64_t *pa);
    /* print $reg: false where there is none such. */
    bool (*read_register)(Vcpu *cpu, const char *name, uint64_t *value);
    void (*inject_nmi)(Vcpu *cpu);
    const StateDesc *(*state_desc)(void); /* of one vCPU */
    bool (*state_get)(Vcpu *cpu, void *state, GError **err);
    bool (*state_set)(Vcpu *cpu, const void *state, GError **err);
};

/* Accelerators: kvm, qtest. */
struct Accel {
    const char *name;
    const char *help;
    const Property *props; /* filled into a zeroed block of options_size, given to init */
    size_t options_size;
    bool (*usable)(GError **err); /* says why not and what to do */
    bool (*init)(Vm *vm, void *options, GError **err);
    void (*destroy)(Vm *vm);
    bool (*vcpu_create)(Vcpu *cpu, GError **err); /* on its thread */
    void (*vcpu_destroy)(Vcpu *cpu);
    /* One entry and the handling of its exit; 'complete': only finish the last exit and come back.
     */
    VcpuExit (*vcpu_run)(Vcpu *cpu, bool complete);
    void (*vcpu_kick)(Vcpu *cpu);
    void (*set_gsi)(Vm *vm, unsigned gsi, bool level);
    void (*send_msi)(Vm *vm, uint64_t addr, uint32_t data);
    int (*msi_route_add)(Vm *vm, uint64_t addr, uint32_t data, int fd); /* gsi or -errno */
    void (*msi_route_update)(Vm *vm, int gsi, uint64_t addr, uint32_t data);
    void (*msi_route_del)(Vm *vm, int gsi, int fd);
    /* A RAM piece appears or goes (called with vCPUs held for removals of what is in use). */
    bool (*memory_slot)(Vm *vm, uint64_t gpa, RamBlock *block, uint64_t offset, uint64_t size,
                        bool readonly, bool add, bool log);
    bool (*ioeventfd)(Vm *vm, IoSpace space, uint64_t addr, unsigned size, bool match,
                      uint64_t value, int fd, bool add);
    void (*dirty_fetch)(Vm *vm, RamBlock *block);
    bool has_vcpus;
};
const Accel *const *accels(void); /* NULL-terminated: src/vm/accels.c */
/* "kvm", "qtest", or "kvm:qtest": the first usable wins. */
bool accel_configure(Vm *vm, json_t *config_list, GError **err);

/* KVM, for arch/ and machine/. */
typedef enum { KVM_IRQCHIP_KERNEL, KVM_IRQCHIP_SPLIT } KvmIrqchip;
bool kvm_enabled(const Vm *vm);
KvmIrqchip kvm_irqchip_mode(const Vm *vm);
int kvm_vm_fd(const Vm *vm);
int kvm_system_fd(const Vm *vm);
int kvm_check_extension(const Vm *vm, int cap);
int kvm_vm_ioctl(const Vm *vm, unsigned long request, void *arg);      /* >= 0 or -errno */
int kvm_vcpu_ioctl(const Vcpu *cpu, unsigned long request, void *arg); /* on its thread */
bool kvm_enable_cap(Vm *vm, int cap, uint64_t arg0);
/*
 * In-kernel irqchip: 'gsi' reaches this pin of this chip (KVM_IRQCHIP_*). The CPU family's irqchip
 * code lists them all at creation, then commits; MSI routes are kept beside them.
 */
void kvm_route_irqchip(Vm *vm, unsigned gsi, unsigned irqchip, unsigned pin);
/* Split irqchip: the IOAPIC's routes, so that the kernel reports EOIs; gsi 0..23. */
void kvm_set_ioapic_route(Vm *vm, unsigned gsi, uint64_t addr, uint32_t data, bool masked);
void kvm_commit_routes(Vm *vm);
/* Told of KVM_EXIT_IOAPIC_EOI. */
void kvm_set_eoi_handler(Vm *vm, Device *owner, void (*fn)(Device *owner, uint8_t vector));
/* The board's PIC in user space: whether it has an interrupt for the boot CPU, and which. */
void kvm_set_extint(Vm *vm, Device *pic, bool (*pending)(Device *pic),
                    int (*acknowledge)(Device *pic));
/* For pre_run: the PIC's output, and its acknowledge cycle (gives the vector). */
bool kvm_extint_pending(Vm *vm);
int kvm_extint_acknowledge(Vm *vm);
/* Tells the boot CPU that the PIC's output rose. */
void kvm_extint_raised(Vm *vm);

#endif

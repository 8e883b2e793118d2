/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs and accelerators. A vCPU is a thread that runs the guest. Only that thread may use ioctls
 * on the vCPU's fd; other threads use vcpu_call().
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
    int stats_fd; /* private to kvm_stats.c; negative: not open */
    struct kvm_run *run;
    size_t run_size;
    void *arch; /* private to the CPU family */
    bool created;
    /* Private to vcpu.c and the accelerator. */
    GMutex lock;
    GCond cond;
    GQueue calls;
    bool stop_wanted, stopped, quit;
    bool exit_pending; /* KVM completes the last exit's I/O only at the next KVM_RUN */
    int in_run;        /* atomic: inside KVM_RUN */
    uint64_t exits;
    struct VcpuDebug *debug; /* private to debug.c; NULL: there never was a debugger */
};

/* Starts the threads, which wait until vcpus_resume(). Main thread. */
bool vcpus_create(Vm *vm, GError **err);
void vcpus_destroy(Vm *vm);
/* Stops all vCPUs, with their pending exits completed; yields until they stand. */
void coroutine_fn vcpus_pause(Vm *vm);
void vcpus_resume(Vm *vm);
bool vcpus_stopped(Vm *vm);
/* Runs fn on the vCPU's thread between KVM_RUNs and waits (yields inside a coroutine). */
void vcpu_call(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data);
/* The same without waiting; 'data' must live until fn has run. */
void vcpu_call_async(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data);
Vcpu *vcpu_current(void);
/* Makes a vCPU leave KVM_RUN soon. Any thread. */
void vcpu_kick(Vcpu *cpu);
/* Keeps every vCPU out of KVM_RUN while memory slots change; nests. Any thread. */
void vcpus_hold(Vm *vm);
void vcpus_release(Vm *vm);

typedef enum {
    VCPU_EXIT_CONTINUE,
    VCPU_EXIT_INTERRUPTED,
    VCPU_EXIT_UNKNOWN,
    VCPU_EXIT_SHUTDOWN,
    VCPU_EXIT_DEBUG,      /* a breakpoint or a step of the debugger's: the machine is to stop */
    VCPU_EXIT_ERROR,      /* KVM cannot go on */
    VCPU_EXIT_HOST_ERROR, /* the host cannot: it has no memory */
    VCPU_EXIT_IO_ERROR    /* memory cannot be read, and the machine is going to pause */
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
    void (*pre_run)(Vcpu *cpu); /* before each KVM_RUN: injects a user-space PIC's interrupts */
    VcpuExit (*handle_exit)(Vcpu *cpu); /* for exits that kvm.c does not handle */
    char *(*registers_text)(Vcpu *cpu); /* info registers; caller frees */
    /* Translates a guest-virtual address for the monitor; false: not mapped. */
    bool (*translate)(Vcpu *cpu, uint64_t va, uint64_t *pa);
    /* Reads the monitor's $NAME; false: no such register. */
    bool (*read_register)(Vcpu *cpu, const char *name, uint64_t *value);
    /* The width of the code that the CPU runs: 16, 32 or 64. */
    unsigned (*code_bits)(Vcpu *cpu);
    void (*inject_nmi)(Vcpu *cpu);
    /* For ELF core files (vm/dump.h): appends the CPU's NT_PRSTATUS, and a note of QEMU's. */
    bool (*core_notes)(Vcpu *cpu, GByteArray *status, GByteArray *own, GError **err);
    /*
     * Calls fn for each page that the page tables map, by ascending virtual address; never where
     * paging is off. False: there are too many.
     */
    bool (*foreach_mapping)(Vcpu *cpu,
                            void (*fn)(uint64_t va, uint64_t pa, uint64_t len, void *data),
                            void *data);
    uint16_t elf_machine;                 /* EM_* */
    const StateDesc *(*state_desc)(void); /* of one vCPU */
    bool (*state_get)(Vcpu *cpu, void *state, GError **err);
    bool (*state_set)(Vcpu *cpu, const void *state, GError **err);
    const struct ArchDebug *debug; /* vm/debug.h; NULL: no debugger can be attached */
};

/* Accelerators: kvm, qtest. */
struct Accel {
    const char *name;
    const char *help;
    const Property *props; /* of -accel; into a block of options_size bytes that init gets */
    size_t options_size;
    bool (*usable)(GError **err); /* says why not and what to do */
    bool (*init)(Vm *vm, void *options, GError **err);
    void (*destroy)(Vm *vm);
    bool (*vcpu_create)(Vcpu *cpu, GError **err); /* on its thread */
    void (*vcpu_destroy)(Vcpu *cpu);
    /*
     * Enters the guest once and handles the exit. 'complete': lets KVM finish the last exit without
     * running the guest.
     */
    VcpuExit (*vcpu_run)(Vcpu *cpu, bool complete);
    void (*vcpu_kick)(Vcpu *cpu);
    void (*set_gsi)(Vm *vm, unsigned gsi, bool level);
    void (*send_msi)(Vm *vm, uint64_t addr, uint32_t data);
    int (*msi_route_add)(Vm *vm, uint64_t addr, uint32_t data, int fd); /* gsi or -errno */
    void (*msi_route_update)(Vm *vm, int gsi, uint64_t addr, uint32_t data);
    void (*msi_route_del)(Vm *vm, int gsi, int fd);
    /*
     * Adds or removes a RAM slot; an added one that exists only gets a new 'log'. Removals come
     * with the vCPUs held. false: refused.
     */
    bool (*memory_slot)(Vm *vm, uint64_t gpa, RamBlock *block, uint64_t offset, uint64_t size,
                        bool readonly, bool add, bool log);
    bool (*ioeventfd)(Vm *vm, IoSpace space, uint64_t addr, unsigned size, bool match,
                      uint64_t value, int fd, bool add);
    void (*dirty_fetch)(Vm *vm, RamBlock *block);
    bool has_vcpus;
};
const Accel *const *accels(void); /* ends with NULL */
/* Takes the objects of -accel in turn, and names in "kvm:qtest": the first usable one wins. */
bool accel_configure(Vm *vm, json_t *config_list, GError **err);

/* KVM, for arch/ and machine/. */
typedef enum { KVM_IRQCHIP_KERNEL, KVM_IRQCHIP_SPLIT } KvmIrqchip;
bool kvm_enabled(const Vm *vm);
KvmIrqchip kvm_irqchip_mode(const Vm *vm);
int kvm_system_fd(const Vm *vm);
int kvm_check_extension(const Vm *vm, int cap);
int kvm_vm_ioctl(const Vm *vm, unsigned long request, void *arg);      /* >= 0 or -errno */
int kvm_vcpu_ioctl(const Vcpu *cpu, unsigned long request, void *arg); /* on its thread */
bool kvm_enable_cap(Vm *vm, int cap, uint64_t arg0);
/*
 * In-kernel irqchip: 'gsi' reaches this pin of this chip (KVM_IRQCHIP_*). The CPU family adds all
 * routes when it creates the chips, then calls kvm_commit_routes().
 */
void kvm_route_irqchip(Vm *vm, unsigned gsi, unsigned irqchip, unsigned pin);
/* Split irqchip: KVM reports EOIs only for messages that a route of the IOAPIC names. */
void kvm_set_ioapic_route(Vm *vm, unsigned gsi, uint64_t addr, uint32_t data, bool masked);
void kvm_commit_routes(Vm *vm);
/* 'fn' is called at KVM_EXIT_IOAPIC_EOI, with the owner's lock held. */
void kvm_set_eoi_handler(Vm *vm, Device *owner, void (*fn)(Device *owner, uint8_t vector));
/* Split irqchip: how pre_run asks the board's PIC for the boot CPU's interrupts. */
void kvm_set_extint(Vm *vm, Device *pic, bool (*pending)(Device *pic),
                    int (*acknowledge)(Device *pic));
/* The PIC's output, and its acknowledge cycle, which gives the vector. */
bool kvm_extint_pending(Vm *vm);
int kvm_extint_acknowledge(Vm *vm);
/* The PIC's output has risen: makes the boot CPU leave KVM_RUN to inject. */
void kvm_extint_raised(Vm *vm);

#endif

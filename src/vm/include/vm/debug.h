/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's breakpoints, watchpoints and single steps, from outside of the guest (the gdb stub).
 *
 * Points are asked for while the machine stands still, and are in force while its CPUs run: the
 * instructions of software breakpoints are put into guest memory just before the CPUs are let go,
 * and taken out as soon as they stand. So nothing that saves, loads or dumps a machine meets them;
 * debug_access() hides them from those who look at a running one.
 *
 * A software breakpoint takes a debug register of the CPU where an instruction would not do: KVM
 * does not report it, nothing is mapped at the address yet, or CS does not begin at 0 (a debugger
 * that sees no address of its own in the program counter does not step over the instruction).
 *
 * Main loop, except where said. All of a Vm's state is made by the first vm_debug_insert() or
 * vm_debug_move(), and costs nothing before.
 */
#ifndef VM_DEBUG_H
#define VM_DEBUG_H

#include "base/coroutine.h"
#include "vm/vcpu.h"

/* In the order of the types of gdb's Z packet. */
typedef enum {
    DEBUG_BREAK,    /* an instruction in memory, or a debug register */
    DEBUG_BREAK_HW, /* a debug register */
    DEBUG_WATCH_WRITE,
    DEBUG_WATCH_READ, /* no x86 CPU has it: refused */
    DEBUG_WATCH_ACCESS,
    DEBUG_KIND_COUNT
} DebugKind;

/* What this host's KVM delivers, as was tried in a virtual machine of its own. */
enum {
    DEBUG_CAN_STEP = 1 << 0,
    DEBUG_CAN_BREAK = 1 << 1,    /* the instruction */
    DEBUG_CAN_BREAK_HW = 1 << 2, /* debug registers: execution */
    DEBUG_CAN_WATCH = 1 << 3,    /* debug registers: data */
};
/* The first call tries it out, on a thread of the pool. 0 where there are no CPUs. */
unsigned coroutine_fn vm_debug_can(Vm *vm);

/*
 * 'addr' is linear, as 'cpu' maps it now. One that is there already is no error. False and *err:
 * this host does not deliver it, all debug registers are in use, nothing is mapped.
 */
bool coroutine_fn vm_debug_insert(Vm *vm, Vcpu *cpu, DebugKind kind, uint64_t addr, uint64_t len,
                                  GError **err);
/* In force until the machine stands still the next time. One that is not there is ignored. */
void vm_debug_remove(Vm *vm, DebugKind kind, uint64_t addr, uint64_t len);
/* Takes all points away, and lets all CPUs run: a running machine is stopped for it. */
void coroutine_fn vm_debug_clear(Vm *vm);

/* How a CPU goes on when the machine does, from now on until this is called again. */
typedef enum {
    DEBUG_RUN,
    DEBUG_STEP,       /* one instruction, which interrupts may come before */
    DEBUG_STEP_QUIET, /* one instruction; interrupts wait, where KVM can hold them back */
    DEBUG_HOLD        /* stands, while others run */
} DebugMove;
void vm_debug_move(Vcpu *cpu, DebugMove move);

/* Why a CPU has stopped the machine. */
typedef enum {
    DEBUG_STOP_NONE,
    DEBUG_STOP_STEP,
    DEBUG_STOP_BREAK, /* a DEBUG_BREAK, by whatever means */
    DEBUG_STOP_BREAK_HW,
    DEBUG_STOP_WATCH_WRITE,
    DEBUG_STOP_WATCH_ACCESS
} DebugStopKind;
typedef struct {
    DebugStopKind kind;
    uint64_t addr; /* of the point */
} DebugStop;
/*
 * The CPU that was the first to stop the machine by a point or a step since it last went on; of
 * several each is given once. NULL: there is none. The breakpoint at which such a CPU stands does
 * not stop it again when it goes on. The machine stands still.
 */
Vcpu *vm_debug_next_stop(Vm *vm, DebugStop *stop);

/* What is in force for one CPU, for the CPU family's part. */
#define DEBUG_REGISTERS_MAX 4
typedef struct {
    DebugKind kind;
    uint64_t addr;
    uint8_t len; /* 1, 2, 4 or 8 */
} DebugRegisterUse;
typedef struct {
    bool step, quiet;
    bool software; /* breakpoint instructions end KVM_RUN */
    unsigned count;
    DebugRegisterUse registers[DEBUG_REGISTERS_MAX];
} DebugSetup;
/* Why KVM_RUN has ended. */
typedef struct {
    enum { DEBUG_EXIT_OTHER, DEBUG_EXIT_STEP, DEBUG_EXIT_SOFTWARE, DEBUG_EXIT_REGISTER } kind;
    unsigned index; /* in DebugSetup.registers */
    uint64_t pc;    /* linear */
} DebugExit;

/* A register, as debuggers see it. A layout's registers lie behind each other, little-endian. */
typedef struct {
    const char *name;    /* gdb's */
    const char *type;    /* "int64", or one that the feature defines; NULL: by its size */
    const char *group;   /* "general", "float", "vector", "system"; NULL: as gdb sees fit */
    const char *feature; /* whose registers these are: the same pointer for all of it */
    uint8_t bytes;
    uint8_t what, index; /* the CPU family's own */
} DebugRegister;
/* A debugger's view of a CPU in one of its modes. */
typedef struct {
    const char *name; /* gdb's architecture: "i386:x86-64" */
    const DebugRegister *registers;
    unsigned count;
} DebugLayout;

/* The CPU family's part (ArchOps.debug). All run on the vCPU's thread, except where said. */
struct ArchDebug {
    const uint8_t *instruction; /* the breakpoint's, of one byte */
    unsigned registers;
    unsigned (*probe)(Vm *vm); /* DEBUG_CAN_*; any thread */
    bool (*apply)(Vcpu *cpu, const DebugSetup *setup, GError **err);
    void (*read_exit)(Vcpu *cpu, const DebugSetup *setup, DebugExit *e);
    /* The exit was the guest's own affair: it gets its exception. */
    void (*reinject)(Vcpu *cpu, const DebugSetup *setup);
    /* Linear; flat: in this mode any address in the program counter is linear. */
    uint64_t (*pc)(Vcpu *cpu, bool *flat);
    const DebugLayout *layouts;                             /* ends with a NULL name; any thread */
    unsigned (*layout_count)(Vm *vm, const DebugLayout *l); /* how many of it this CPU has */
    const DebugLayout *(*layout_now)(Vcpu *cpu);            /* that fits its mode */
    bool (*get)(Vcpu *cpu, const DebugLayout *l, uint8_t *values);
    /* 'values' has the bytes of all registers, of which some differ from what get() gave. */
    bool (*set)(Vcpu *cpu, const DebugLayout *l, const uint8_t *values, GError **err);
    const char *(*activity)(Vcpu *cpu); /* "running", "halted" */
};

/* For run_state.c: before the CPUs are let go, and once they stand. */
void coroutine_fn vm_debug_arm(Vm *vm);
void vm_debug_disarm(Vm *vm);
/* For the accelerator: KVM_RUN has ended for the debugger's sake. On the vCPU's thread. */
VcpuExit vm_debug_exit(Vcpu *cpu);
/* For vcpus_resume(): whether the CPU stands while others run. */
bool vm_debug_holds(const Vcpu *cpu);
/*
 * For debug_access(): memory at 'gpa' was read into 'data', or was written from it. Breakpoint
 * instructions become what they stand for; those that a write has covered are put back, and stand
 * for what was written. Any thread.
 */
void vm_debug_hide(Vm *vm, uint64_t gpa, uint8_t *data, uint64_t len);
void vm_debug_written(Vm *vm, uint64_t gpa, const uint8_t *data, uint64_t len);
void vm_debug_free(Vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this host's KVM delivers to a debugger. KVM_CHECK_EXTENSION claims everything also where a
 * KVM without hardware virtualization drops breakpoints silently; so each kind is tried, in a
 * virtual machine of one page of code and one CPU, which ends with HLT where nothing stops it.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "x86_debug.h"

#define MEMORY   (64 * KiB)
#define CODE     0x1000
#define DATA     0x2000
#define HALT     0x1ff0 /* where all interrupt vectors lead */
#define IDENTITY 0xfeffc000ull
#define TSS      0xfeffd000ull

typedef struct {
    int vm_fd, cpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
} ProbeVm;

static void probe_close(ProbeVm *p)
{
    if (p->run) {
        munmap(p->run, p->run_size);
    }
    if (p->memory) {
        munmap(p->memory, MEMORY);
    }
    fd_close(&p->cpu_fd);
    fd_close(&p->vm_fd);
}

static bool probe_open(Vm *vm, ProbeVm *p)
{
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY};
    uint64_t identity = IDENTITY;
    int size = ioctl(kvm_system_fd(vm), KVM_GET_VCPU_MMAP_SIZE, 0);
    void *memory, *run;

    *p = (ProbeVm){.vm_fd = ioctl(kvm_system_fd(vm), KVM_CREATE_VM, 0), .cpu_fd = -1};
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p->memory = memory == MAP_FAILED ? NULL : memory;
    if (p->vm_fd < 0 || !p->memory || size <= 0) {
        return false;
    }
    ioctl(p->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    ioctl(p->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS);
    region.userspace_addr = (uintptr_t)p->memory;
    p->cpu_fd = ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0
                    ? -1
                    : ioctl(p->vm_fd, KVM_CREATE_VCPU, 0);
    if (p->cpu_fd < 0) {
        return false;
    }
    run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, p->cpu_fd, 0);
    p->run = run == MAP_FAILED ? NULL : run;
    p->run_size = size;
    return p->run != NULL;
}

/* Real mode, at CODE, with interrupt vectors that all lead to a HLT. */
static bool probe_set_up(ProbeVm *p, const uint8_t *code, size_t len)
{
    struct kvm_regs regs = {.rip = CODE, .rsp = MEMORY - 16, .rflags = 2};
    struct kvm_sregs s;

    for (unsigned i = 0; i < 256; i++) {
        stle32(p->memory + 4 * i, HALT);
    }
    memset(p->memory + CODE, 0xf4, 0x1000);
    memcpy(p->memory + CODE, code, len);
    if (ioctl(p->cpu_fd, KVM_GET_SREGS, &s) < 0) {
        return false;
    }
    s.cs.base = s.cs.selector = 0;
    return ioctl(p->cpu_fd, KVM_SET_SREGS, &s) >= 0 && ioctl(p->cpu_fd, KVM_SET_REGS, &regs) >= 0;
}

typedef struct {
    unsigned can; /* DEBUG_CAN_* */
    uint32_t control;
    uint64_t address, dr7; /* DR0, and DR7 but for what is always set */
    uint8_t code[4];
    uint64_t stops_at;
} ProbeCase;

static bool probe_try(Vm *vm, const ProbeCase *c)
{
    struct kvm_guest_debug d = {.control = KVM_GUESTDBG_ENABLE | c->control,
                                .arch.debugreg = {[0] = c->address, [7] = c->dr7 | 0x600}};
    struct kvm_regs regs = {0};
    bool delivered = false;
    ProbeVm p;

    if (probe_open(vm, &p) && probe_set_up(&p, c->code, sizeof c->code) &&
        ioctl(p.cpu_fd, KVM_SET_GUEST_DEBUG, &d) >= 0 && ioctl(p.cpu_fd, KVM_RUN, 0) >= 0) {
        delivered = p.run->exit_reason == KVM_EXIT_DEBUG &&
                    ioctl(p.cpu_fd, KVM_GET_REGS, &regs) >= 0 && regs.rip == c->stops_at;
    }
    probe_close(&p);
    return delivered;
}

unsigned x86_debug_probe(Vm *vm)
{
    static const ProbeCase cases[] = {
        /* nop; nop */
        {DEBUG_CAN_STEP, KVM_GUESTDBG_SINGLESTEP, 0, 0, {0x90, 0x90}, CODE + 1},
        /* nop; int3 */
        {DEBUG_CAN_BREAK, KVM_GUESTDBG_USE_SW_BP, 0, 0, {0x90, 0xcc}, CODE + 1},
        /* nop; nop */
        {DEBUG_CAN_BREAK_HW, KVM_GUESTDBG_USE_HW_BP, CODE + 1, 2, {0x90, 0x90}, CODE + 1},
        /* mov %al, DATA */
        {DEBUG_CAN_WATCH,
         KVM_GUESTDBG_USE_HW_BP,
         DATA,
         2 | 1 << 16,
         {0xa2, 0, DATA >> 8, 0x90},
         CODE + 3},
    };
    unsigned can = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        can |= probe_try(vm, &cases[i]) ? cases[i].can : 0;
    }
    return can;
}

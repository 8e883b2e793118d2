/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Four CPUs at once on everything that a port or memory access can reach: the dispatcher, device
 * locks, PCI configuration, the memory map (one CPU changes PAM0, and with it memory slots, while
 * the others use RAM). The CPUs count their accesses in shared memory: none may be lost.
 */
#include "lib.h"

#define MAX_CPUS   16
#define TRAMPOLINE 0x8000
#define LAPIC      0xfee00000u
#define ROUNDS     2000

__attribute__((used)) static volatile uint32_t cpus_up;
static volatile uint32_t go, cpus_done, shared_count, storm_errors;
__attribute__((aligned(16), used)) static uint8_t stacks[MAX_CPUS][4096];

/* Real mode at 0x8000: loads the GDT that the boot CPU uses, and jumps to ap_entry. */
__asm__(".text\n"
        ".code16\n"
        ".globl trampoline, trampoline_end, trampoline_gdt\n"
        "trampoline:\n"
        "  cli\n"
        "  xor %ax, %ax\n"
        "  mov %ax, %ds\n"
        "  lgdtl 0x8000 + trampoline_gdt - trampoline\n"
        "  mov %cr0, %eax\n"
        "  or $1, %al\n"
        "  mov %eax, %cr0\n"
        "  ljmpl $0x10, $ap_entry\n"
        ".balign 4\n"
        "trampoline_gdt:\n"
        "  .skip 8\n"
        "trampoline_end:\n"
        ".code32\n"
        "ap_entry:\n"
        "  mov $0x18, %ax\n"
        "  mov %ax, %ds\n"
        "  mov %ax, %es\n"
        "  mov %ax, %ss\n"
        "  mov $1, %eax\n"
        "  lock xadd %eax, cpus_up\n"
        "  inc %eax\n" /* 1, 2, 3: which stack */
        "  mov %eax, %ebx\n"
        "  shl $12, %eax\n"
        "  lea stacks + 4096 - 16(%eax), %esp\n"
        "  push %ebx\n"
        "  call ap_main\n"
        "1: cli; hlt; jmp 1b\n");
extern const uint8_t trampoline[], trampoline_end[], trampoline_gdt[];
__attribute__((used)) void ap_main(uint32_t cpu);

static void count(volatile uint32_t *counter)
{
    __asm__ volatile("lock incl %0" : "+m"(*counter) : : "memory");
}

static uint32_t random_step(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 16;
}

static void storm(uint32_t cpu)
{
    volatile uint32_t *own = (volatile uint32_t *)(0x400000 + cpu * 0x10000);
    uint32_t seed = cpu * 7919 + 1;

    for (uint32_t round = 0; round < ROUNDS; round++) {
        switch (random_step(&seed) % 10) {
        case 0:
            outb(0x80, round);
            break;
        case 1:
            if (inb(COM1 + 5) == 0xff) {
                count(&storm_errors);
            }
            break;
        case 2: /* the CPUs share the address register, so the value may be of another's address */
            (void)pci_read(random_step(&seed) % 4, 0, random_step(&seed) & 0x3c);
            break;
        case 3:
            (void)cmos_read(random_step(&seed) % 14);
            break;
        case 4:
            (void)inl(0x608); /* PM timer */
            break;
        case 5:
            outb(0x2f8 + 7, cpu); /* no second serial port */
            break;
        case 6:
            if (cpu == 0) { /* PAM0: RAM at 0xf0000 becomes read-only, or writable */
                outl(0xcf8, 0x80000000 | 0x58);
                outb(0xcfc + 1, round & 1 ? 0x30 : 0x10);
            }
            break;
        case 7:
            wr32(0xff000000 + (random_step(&seed) & 0xffc), round); /* pc-testdev's memory */
            break;
        case 8:
            (void)rd32(0xfed00000); /* nothing is mapped */
            break;
        default:
            own[random_step(&seed) & 0xfff] = round;
            (void)inb(0x61);
            break;
        }
        count(&shared_count);
    }
}

void ap_main(uint32_t cpu)
{
    while (!go) {
        pause_cpu();
    }
    storm(cpu);
    count(&cpus_done);
}

static void delay(uint32_t microseconds)
{
    uint32_t start = inl(0x608) & 0xffffff, wanted = microseconds * 358 / 100;

    while (((inl(0x608) - start) & 0xffffff) < wanted) {
        pause_cpu();
    }
}

static uint32_t start_cpus(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) gdt;
    uintptr_t madt = find_table("APIC");
    uint32_t enabled = 0;

    CHECK("MADT", madt != 0);
    for (uint32_t at = 44; at < rd32(madt + 4);) {
        const uint8_t *e = (const uint8_t *)(madt + at);

        enabled += e[0] == 0 && (e[4] & 1);
        at += e[1];
    }
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
    memcpy((void *)(TRAMPOLINE + (trampoline_gdt - trampoline)), &gdt, sizeof gdt);
    wr32(LAPIC + 0xf0, rd32(LAPIC + 0xf0) | 0x100);
    wr32(LAPIC + 0x300, 0x000c4500); /* INIT to all but us */
    delay(10000);
    for (unsigned i = 0; i < 2; i++) {
        wr32(LAPIC + 0x300, 0x000c4600 | TRAMPOLINE >> 12);
        delay(200);
    }
    for (unsigned i = 0; i < 2000 && cpus_up < enabled - 1; i++) {
        delay(1000);
    }
    return enabled;
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    uint32_t enabled;

    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    enabled = start_cpus();
    print("CPUs: ");
    print_dec(cpus_up + 1);
    print(" of ");
    print_dec(enabled);
    print("\n");
    CHECK("not all CPUs started", cpus_up + 1 == enabled);
    go = 1;
    storm(0);
    for (unsigned i = 0; i < 30000 && cpus_done < enabled - 1; i++) {
        delay(1000);
    }
    CHECK("a CPU did not finish", cpus_done == enabled - 1);
    CHECK("counts were lost", shared_count == enabled * ROUNDS);
    CHECK("a device was not there", storm_errors == 0);
    CHECK("host bridge", pci_read(0, 0, 0) == 0x12378086);
    print("PASS\n");
    return 0;
}

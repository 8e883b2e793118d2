/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every way to reset a PC, one a boot; CMOS remembers how far it came. After each the kernel must
 * be there anew (a variable of .data has its first value again) and the devices in their first
 * state.
 */
#include "lib.h"

#define STEP_AT 0x50 /* in CMOS: a step, and a mark that it is ours */
#define MARK_AT 0x51

static volatile uint32_t data_mark = 0x600d600d;
static volatile uint32_t bss_mark;

static void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    /* a division by zero: KVM backends that emulate instructions know it */
    __asm__ volatile("lidt %0; xor %%eax, %%eax; xor %%edx, %%edx; div %%eax"
                     :
                     : "m"(none)
                     : "eax", "edx");
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    unsigned step = cmos_read(MARK_AT) == 0xa5 ? cmos_read(STEP_AT) : 0;

    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    print("boot ");
    print_dec(step);
    print("\n");
    CHECK("data was not loaded anew", data_mark == 0x600d600d);
    CHECK("bss was not cleared", bss_mark == 0);
    CHECK("UART scratch register survived a reset", inb(COM1 + 7) == 0);
    CHECK("PCI registers survived a reset", pci_read(0, 0, 0) == 0x12378086);
    data_mark = bss_mark = 0xbad;
    outb(COM1 + 7, 0x5a);
    cmos_write(MARK_AT, 0xa5);
    cmos_write(STEP_AT, step + 1);
    switch (step) {
    case 0:
        outb(0x64, 0xfe); /* the keyboard controller pulses the reset line */
        break;
    case 1:
        outb(0xcf9, 0x02);
        outb(0xcf9, 0x06);
        break;
    case 2:
        outb(0x92, 0x01);
        break;
    case 3:
        triple_fault();
        break;
    default:
        cmos_write(MARK_AT, 0);
        print("PASS\n");
        return 0;
    }
    for (uint32_t i = 0; i < 100000000; i++) {
        pause_cpu();
    }
    fail("the reset did not come");
}

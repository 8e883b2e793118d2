/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Suspend to RAM: sleeps by PM1a with the RTC's alarm to wake it, and goes on in real mode at the
 * waking vector of FACS (ACPI 6.4, 16.3.2), with memory as it was.
 */
#include "lib.h"

#define VECTOR 0x9004 /* CS = 0x900, IP = 4 */
#define MARK   0x600

/*
 * Prints W, then PASS, and ends with code 0. Code 2: MARK is not in memory. 3: PM1_STS has no
 * WAK_STS. 4: the segments are not as firmware leaves them, all but CS 0.
 */
__asm__(".text\n"
        ".code16\n"
        ".globl wake_code, wake_code_end\n"
        "wake_code:\n"
        "  cli\n"
        "  mov $0x3f8, %dx\n"
        "  mov $'W', %al\n"
        "  outb %al, %dx\n"
        "  mov $4, %cl\n"
        "  mov %ds, %ax\n"
        "  mov %es, %bx\n  or %bx, %ax\n"
        "  mov %ss, %bx\n  or %bx, %ax\n"
        "  mov %fs, %bx\n  or %bx, %ax\n"
        "  mov %gs, %bx\n  or %bx, %ax\n"
        "  jnz 1f\n"
        "  mov %cs, %ax\n"
        "  cmp $0x900, %ax\n"
        "  jne 1f\n"
        "  mov $2, %cl\n"
        "  mov 0x600, %ax\n"
        "  cmp $0x1234, %ax\n"
        "  jne 1f\n"
        "  mov $3, %cl\n"
        "  mov $0x600, %dx\n"
        "  inw %dx, %ax\n" /* PM1_STS: WAK_STS */
        "  test $0x8000, %ax\n"
        "  jz 1f\n"
        "  xor %cl, %cl\n"
        "  mov $0x3f8, %dx\n"
        "  mov $'P', %al\n  outb %al, %dx\n"
        "  mov $'A', %al\n  outb %al, %dx\n"
        "  mov $'S', %al\n  outb %al, %dx\n"
        "  mov $'S', %al\n  outb %al, %dx\n"
        "  mov $10, %al\n   outb %al, %dx\n"
        "1:\n"
        "  xor %eax, %eax\n"
        "  mov %cl, %al\n"
        "  mov $0xf4, %dx\n"
        "  outl %eax, %dx\n"
        "2: hlt\n"
        "  jmp 2b\n"
        "wake_code_end:\n"
        ".code32\n");
extern const uint8_t wake_code[], wake_code_end[];

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    uintptr_t fadt = find_table("FACP"), facs = rd32(fadt + 36);
    uintptr_t mark = MARK;
    uint16_t event = rd32(fadt + 56), control = rd32(fadt + 64);

    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    CHECK("FACS", same_bytes((const void *)facs, "FACS", 4));
    memcpy((void *)VECTOR, wake_code, wake_code_end - wake_code);
    wr32(mark, 0x1234);
    wr32(facs + 12, VECTOR);
    /* RTC: alarm at every second, flags acknowledged, AIE set. PM1: status cleared, RTC_EN set. */
    cmos_write(1, 0xff);
    cmos_write(3, 0xff);
    cmos_write(5, 0xff);
    (void)cmos_read(12);
    cmos_write(11, cmos_read(11) | 0x20);
    outw(event, 0xffff);
    outw(event + 2, 0x400);
    print("sleeping\n");
    outw(control, 1 << 10 | 1 << 13);
    for (uint32_t i = 0; i < 100000000; i++) {
        pause_cpu();
    }
    fail("it does not sleep");
}

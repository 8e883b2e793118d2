/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work that must survive being saved in one process and loaded in another (save_load.c): the boot
 * CPU sums over changing memory, with the PM timer as the clock, and looks at CMOS and PIC. A wrong
 * value ends the program with code 1. Code 0 comes after all steps, in the process that loads it.
 */
#include "lib.h"

#define WORDS 512
#define STEPS 300

static uint32_t words[WORDS];

static uint32_t pm_timer(void)
{
    return inl(0x608) & 0xffffff;
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    uint32_t expected = 0;

    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    cmos_write(0x60, 0x77);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t sum = 0, at = step * 7919 % WORDS, start = pm_timer();

        expected += step;
        words[at] += step;
        for (uint32_t i = 0; i < WORDS; i++) {
            sum += words[i];
        }
        CHECK("memory", sum == expected);
        CHECK("CMOS", cmos_read(0x60) == 0x77);
        CHECK("PIC mask", inb(0x21) == 0xfa);
        outb(0x80, step);
        while (((pm_timer() - start) & 0xffffff) < 3580 * 5) {
            pause_cpu();
        }
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every way in which a guest comes to its end, as the words of the command line say, one after the
 * other: say=TEXT (a line on the serial port), screen=TEXT (on the text screen), poweroff, reset,
 * triple (fault), panic (pvpanic), dog (a watchdog of two seconds), exit, nowhere (runs where
 * nothing is), wait (for the power button, then powers off), keys (shows what is typed), hang.
 */
#include "lib.h"

#define PM_BASE      0x600 /* as the loader has set it */
#define PM1_STATUS   (PM_BASE + 0)
#define PM1_CONTROL  (PM_BASE + 4)
#define POWER_BUTTON 0x100
#define SLEEP_OFF    0x2000 /* SLP_EN, and type 0: S5 */
#define PVPANIC      0x505
#define DOG_START    0x443

static void power_off(void)
{
    outw(PM1_CONTROL, SLEEP_OFF);
}

static void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0; xor %%eax, %%eax; xor %%edx, %%edx; div %%eax"
                     :
                     : "m"(none)
                     : "eax", "edx");
}

static void wait_for_button(void)
{
    print("waiting\n");
    while (!(inw(PM1_STATUS) & POWER_BUTTON)) {
        pause_cpu();
    }
    print("button\n");
    power_off();
}

/* The keyboard's scan codes, up to Enter's release. */
static void show_keys(void)
{
    uint8_t code = 0;

    outb(0x64, 0x60);
    outb(0x60, 0x41); /* translated to set 1; neither end is disabled */
    print("keys");
    while (code != 0x9c) {
        while (!(inb(0x64) & 1)) {
            pause_cpu();
        }
        code = inb(0x60);
        put_char(' ');
        print_dec(code);
    }
    put_char('\n');
}

/* What follows "say=" or "screen=" up to the next blank, which '_' stands for. */
static const char *show(const char *word, bool screen)
{
    uintptr_t at = 0xb8000;

    for (; *word && *word != ' '; word++) {
        char c = *word == '_' ? ' ' : *word;

        if (screen) {
            *(volatile uint16_t *)at = 0x0700 | (uint8_t)c;
            at += 2;
        } else {
            put_char(c);
        }
    }
    if (!screen) {
        put_char('\n');
    }
    return word;
}

static bool begins(const char **word, const char *with)
{
    size_t len = text_length(with);

    if (!same_bytes(*word, with, len)) {
        return false;
    }
    *word += len;
    return true;
}

static const char *carry_out(const char *word)
{
    if (begins(&word, "say=")) {
        return show(word, false);
    }
    if (begins(&word, "screen=")) {
        return show(word, true);
    }
    if (begins(&word, "poweroff")) {
        power_off();
    } else if (begins(&word, "reset")) {
        outb(0x64, 0xfe);
    } else if (begins(&word, "triple")) {
        triple_fault();
    } else if (begins(&word, "panic")) {
        outb(PVPANIC, 1);
    } else if (begins(&word, "dog")) {
        outb(DOG_START, 0x0e);
    } else if (begins(&word, "exit")) {
        finish(0x10);
    } else if (begins(&word, "nowhere")) {
        __asm__ volatile("jmp *%0" : : "r"(0xd0000000u));
    } else if (begins(&word, "wait")) {
        wait_for_button();
    } else if (begins(&word, "keys")) {
        show_keys();
    } else if (begins(&word, "hang")) {
        while (true) {
            pause_cpu();
        }
    }
    while (*word && *word != ' ') {
        word++; /* the kernel's file name is the first */
    }
    return word;
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    const char *word = (const char *)(uintptr_t)info->cmdline;

    CHECK("Multiboot magic", magic == 0x2badb002);
    CHECK("no command line", info->flags & 4);
    while (*word) {
        if (*word == ' ') {
            word++;
        } else {
            word = carry_out(word);
        }
    }
    while (true) {
        pause_cpu();
    }
}

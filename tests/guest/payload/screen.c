/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Draws at random, in rounds, for screen_watch.c: into the linear frame buffer, through the window
 * at 0xa0000, and as text. Between rounds it waits until it is told to go on.
 */
#include "lib.h"

#define DONE 0x500 /* the rounds that are over; written here */
#define GO   0x504 /* the rounds that may begin; written by the other side */

#define ROUNDS 6
#define WRITES 3000

static uint32_t seed = 1;

static uint32_t roll(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void vbe(uint16_t index, uint16_t value)
{
    outw(0x1ce, index);
    outw(0x1cf, value);
}

static void set_mode(uint16_t width, uint16_t height, uint16_t bpp)
{
    vbe(4, 0);
    vbe(1, width);
    vbe(2, height);
    vbe(3, bpp);
    vbe(4, 0x41);
}

static void draw_frame_buffer(uintptr_t memory, uint32_t size)
{
    for (unsigned i = 0; i < WRITES; i++) {
        /* In clusters, as programs draw. */
        wr32(memory + ((roll() & ~0xfffu) + (i & 0xff) * 16) % size, roll());
    }
}

static void draw_window(void)
{
    for (unsigned i = 0; i < WRITES; i++) {
        if (i % 256 == 0) {
            vbe(5, roll() & 3); /* bank */
        }
        wr32(0xa0000 + (roll() & 0xfffc), roll());
    }
}

static void draw_text(void)
{
    for (unsigned i = 0; i < WRITES / 10; i++) {
        wr32(0xb8000 + (roll() % 4000 & ~3u), roll());
    }
}

static void wait_for(unsigned round)
{
    while (rd32(GO) < round) {
        pause_cpu();
    }
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    uintptr_t memory = pci_read(2, 0, 0x10) & ~0xfu;

    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    CHECK("VGA", pci_read(2, 0, 0) == 0x11111234);
    for (unsigned round = 0; round < ROUNDS; round++) {
        wait_for(round + 1);
        switch (round) {
        case 0:
            draw_text();
            break;
        case 1:
            set_mode(320, 240, 32);
            break;
        case 2:
        case 3:
            draw_frame_buffer(memory, 320 * 240 * 4);
            break;
        case 4:
            set_mode(512, 384, 8);
            break;
        case 5:
            draw_window();
            break;
        }
        wr32(DONE, round + 1);
    }
    wait_for(ROUNDS + 1);
    return 0;
}

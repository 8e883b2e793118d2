/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes to its memory all the time, and notices where a page is not what it was: each
 * round writes its number to each of its pages, which must hold that of the round before. About
 * 25,600 pages a second, by the PM timer. After each round a dot is printed; a page that has gone
 * back ends the program with code 1.
 */
#include "lib.h"

enum {
    FIRST = 16 << 20,
    PAGE = 4096,
    PAGES = 2048,
    PM_HZ = 3579545,
    BURST = 64, /* pages, between two looks at the timer */
};

static uint32_t pm_timer(void)
{
    return inl(0x608) & 0xffffff;
}

static void wait_since(uint32_t start, uint32_t ticks)
{
    while (((pm_timer() - start) & 0xffffff) < ticks) {
        pause_cpu();
    }
}

/* Both ends of a page, and a third word that lies elsewhere in each round. */
static void visit(uint32_t page, uint32_t round)
{
    uintptr_t at = FIRST + (uintptr_t)page * PAGE;

    CHECK("a page's first word", rd32(at) == round - 1);
    CHECK("a page's last word", rd32(at + PAGE - 4) == (round - 1) * page);
    wr32(at, round);
    wr32(at + 4 * (1 + round % 1000), round);
    wr32(at + PAGE - 4, round * page);
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    (void)info;
    CHECK("Multiboot magic", magic == 0x2badb002);
    for (uint32_t round = 1;; round++) {
        for (uint32_t page = 0; page < PAGES; page += BURST) {
            uint32_t start = pm_timer();

            for (uint32_t i = 0; i < BURST; i++) {
                visit(page + i, round);
            }
            wait_since(start, PM_HZ / (25600 / BURST));
        }
        put_char('.');
    }
}

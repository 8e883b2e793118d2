/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Multiboot kernel is given, and the board that it finds: as if firmware had been there. */
#include "lib.h"

static void check_info(uint32_t magic, const MultibootInfo *info)
{
    const uint32_t wanted = 1 | 4 | 8 | 0x40;
    uint32_t top = 0;

    CHECK("Multiboot magic", magic == 0x2badb002);
    CHECK("Multiboot flags", (info->flags & wanted) == wanted);
    CHECK("mem_lower", info->mem_lower == 640);
    print("cmdline: ");
    print((const char *)info->cmdline);
    print("\nmem_upper: ");
    print_dec(info->mem_upper);
    print(" KiB\n");
    CHECK("command line", text_contains((const char *)info->cmdline, "one two"));
    for (uint32_t at = 0; at < info->mmap_length; at += rd32(info->mmap_addr + at) + 4) {
        uintptr_t e = info->mmap_addr + at;

        if (rd32(e + 20) == 1 && rd32(e + 8) == 0 && rd32(e + 16) == 0) {
            top = rd32(e + 4) + rd32(e + 12);
        }
    }
    CHECK("memory map", top > 0x100000 && top <= (info->mem_upper + 1024) * 1024);
    if (info->mods_count) {
        const MultibootModule *m = (const MultibootModule *)info->mods_addr;

        print("module: ");
        print((const char *)m->string);
        print("\n");
        CHECK("module content", same_bytes((const void *)m->start, "MODULE-TEXT", 11));
    }
}

static void check_board(void)
{
    uintptr_t fadt, madt;

    CHECK("host bridge", pci_read(0, 0, 0) == 0x12378086);
    CHECK("PIIX3", pci_read(1, 0, 0) == 0x70008086);
    for (unsigned slot = 2; slot < 32; slot++) {
        uint32_t id = pci_read(slot, 0, 0);

        for (unsigned bar = 0; id != 0xffffffff && bar < 6; bar++) {
            uint32_t v = pci_read(slot, 0, 0x10 + 4 * bar);

            if (v & 1) {
                CHECK("I/O BAR", (v & ~3u) >= 0xc000);
            } else if (v) {
                CHECK("memory BAR", (v & 4) || (v & ~15u) >= 0x80000000);
                bar += (v >> 1 & 2) >> 1;
            }
        }
    }
    fadt = find_table("FACP");
    madt = find_table("APIC");
    CHECK("FADT", fadt != 0);
    CHECK("MADT", madt != 0);
    CHECK("SSDT", find_table("SSDT") != 0);
    CHECK("PM timer", rd32(fadt + 76) == 0x608);
    /* fw_cfg: CPU count and RAM size */
    outw(0x510, 5);
    CHECK("fw_cfg CPUs", inb(0x511) >= 1);
    outw(0x510, 0x11);
    CHECK("fw_cfg kernel", inb(0x511) == 0);
}

/*
 * The PIC's poll command acknowledges an interrupt without taking it: KVM backends that emulate
 * instructions have no IRET in protected mode.
 */
static bool pic_poll(void)
{
    uint8_t answer;

    outb(0x20, 0x0c);
    answer = inb(0x20);
    if (!(answer & 0x80)) {
        return false;
    }
    CHECK("an interrupt that nobody asked for", (answer & 7) == 0);
    outb(0x20, 0x20);
    return true;
}

static void check_timers(void)
{
    uint32_t start, now, pm = rd32(find_table("FACP") + 76);
    unsigned ticks = 0;

    CHECK("PIC masks", (inb(0x21) & 1) == 0);
    while (ticks < 3) {
        ticks += pic_poll();
        pause_cpu();
    }
    print("timer ticks\n");
    start = inl(pm) & 0xffffff;
    do {
        now = inl(pm) & 0xffffff;
    } while (((now - start) & 0xffffff) < 3580); /* a millisecond */
    print("PM timer counts\n");
}

int payload_main(uint32_t magic, const MultibootInfo *info)
{
    check_info(magic, info);
    check_board();
    check_timers();
    print("PASS\n");
    return 0;
}

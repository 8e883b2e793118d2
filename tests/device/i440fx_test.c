/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host bridge: configuration ports, and the memory map below 1 MiB. */
#include "qtest_client.h"

#define HOST 0x80000000u
#define PAM0 0x59

static uint32_t config(QTest *q, unsigned devfn, unsigned reg)
{
    qtest_outl(q, 0xcf8, HOST | devfn << 8 | (reg & 0xfc));
    return qtest_inl(q, 0xcfc);
}

static void set_config(QTest *q, unsigned devfn, unsigned reg, uint8_t value)
{
    qtest_outl(q, 0xcf8, HOST | devfn << 8 | (reg & 0xfc));
    qtest_outb(q, 0xcfc + (reg & 3), value);
}

static void test_ports(void)
{
    QTest *q = qtest_start("");

    qtest_outl(q, 0xcf8, HOST);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0x12378086);
    qtest_check_eq(qtest_inw(q, 0xcfe), 0x1237);
    qtest_check_eq(qtest_inb(q, 0xcfd), 0x80);
    qtest_check_eq(qtest_inb(q, 0xcff), 0x12);
    /* The address register takes only accesses of 32 bits. */
    qtest_outb(q, 0xcf8, 0x55);
    qtest_outw(q, 0xcf8, 0x5555);
    qtest_outb(q, 0xcfb, 0x01);
    qtest_outw(q, 0xcfa, 0x0001);
    qtest_check_eq(qtest_inl(q, 0xcf8), HOST);
    /* Not enabled: the data port reads as all ones. */
    qtest_outl(q, 0xcf8, 0);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0xffffffff);
    qtest_outl(q, 0xcfc, 0);
    /* A function and a bus that do not exist. */
    qtest_check_eq(config(q, 0x1e << 3, 0), 0xffffffff);
    qtest_outl(q, 0xcf8, HOST | 5 << 16);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0xffffffff);
    qtest_outl(q, 0xcf8, HOST | 0x08);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0x06000002);
    qtest_end(q);
}

/* The low bits of the address are or'ed to the port's offset, as in QEMU 7.2. */
static void test_low_bits(void)
{
    QTest *q = qtest_start("");
    uint32_t command = config(q, 0, 4), last = config(q, 0, 0xfc);

    qtest_outl(q, 0xcf8, HOST | 2);
    qtest_check_eq(qtest_inl(q, 0xcf8), HOST | 2);
    qtest_check_eq(qtest_inw(q, 0xcfc), 0x1237);
    qtest_check_eq(qtest_inw(q, 0xcfe), 0x1237);
    qtest_check_eq(qtest_inb(q, 0xcfc), 0x37);
    qtest_check_eq(qtest_inb(q, 0xcfd), 0x12); /* 2 | 1 */
    qtest_check_eq(qtest_inl(q, 0xcfc), command << 16 | 0x1237);
    qtest_outl(q, 0xcf8, HOST | 1);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0x00123780);
    qtest_check_eq(qtest_inw(q, 0xcfd), 0x1280); /* 1 | 1 */
    /* Writes, to two of the PAM registers. */
    qtest_outl(q, 0xcf8, HOST | PAM0);
    qtest_outb(q, 0xcfc, 0x30);
    qtest_outb(q, 0xcfe, 0x33); /* 0x5b */
    qtest_check_eq(config(q, 0, 0x58), 0x33003000);
    /* An access that begins in the function's space and ends behind it. */
    qtest_outl(q, 0xcf8, HOST | 0xfd);
    qtest_check_eq(qtest_inl(q, 0xcfc), last >> 8);
    qtest_outl(q, 0xcf8, HOST | 0xff);
    qtest_outl(q, 0xcfc, 0xffffffff);
    qtest_check_eq(config(q, 0, 0), 0x12378086);
    qtest_outl(q, 0xcf8, HOST | 0x1e << 11 | 3);
    qtest_check_eq(qtest_inl(q, 0xcfc), 0xffffffff);
    qtest_end(q);
}

static void test_registers(void)
{
    QTest *q = qtest_start("");

    qtest_check_eq(config(q, 0, 0x2c), 0x11001af4);
    qtest_check_eq(config(q, 0, 0x0c), 0);
    qtest_check_eq(config(q, 0, 0x54) >> 24, 0x10);
    qtest_check_eq(config(q, 0, 0x70), 0x00020000);
    set_config(q, 0, 0x72, 0x4a); /* SMRAM: stored */
    qtest_check_eq(config(q, 0, 0x70), 0x004a0000);
    set_config(q, 0, PAM0, 0xff); /* only bits 5:4 can be written */
    set_config(q, 0, PAM0 + 1, 0xff);
    qtest_check_eq(config(q, 0, 0x58) & 0x00ffff00, 0x00333000);
    set_config(q, 0, 0x00, 0x00);
    qtest_check_eq(config(q, 0, 0), 0x12378086);
    qtest_system_reset(q);
    qtest_check_eq(config(q, 0, 0x70), 0x00020000);
    qtest_check_eq(config(q, 0, 0x58), 0);
    qtest_end(q);
}

/* With a firmware of 256 KiB whose 32-bit words hold their own index. */
static QTest *start_with_rom(void)
{
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "rom.bin", NULL);
    uint32_t *rom = g_new(uint32_t, 0x10000);

    for (unsigned i = 0; i < 0x10000; i++) {
        rom[i] = 0xb105u << 16 | i;
    }
    qtest_check(g_file_set_contents(path, (char *)rom, 0x40000, NULL));
    g_free(rom);
    return qtest_startf("-bios %s", path);
}

/* Each segment in turn: ROM, read-only RAM, RAM. */
static void test_pam(void)
{
    QTest *q = start_with_rom();

    qtest_check_eq(qtest_readl(q, 0xfffffffc), 0xb105ffff);
    qtest_check_eq(qtest_readl(q, 0xffffc), 0xb105ffff);
    qtest_check_eq(qtest_readl(q, 0xe0000), 0xb1058000); /* the last 128 KiB */
    qtest_check_eq(qtest_readl(q, 0xdfffc), 0xffffffff);

    for (unsigned n = 0; n < 13; n++) {
        uint64_t addr = n ? 0xc0000 + (n - 1) * 0x4000 : 0xf0000, size = n ? 0x4000 : 0x10000;
        unsigned reg = PAM0 + (n + 1) / 2, shift = n % 2 ? 0 : 4;
        uint32_t rom = qtest_readl(q, addr + 0x123 * 4), last = qtest_readl(q, addr + size - 4);
        uint8_t other = config(q, 0, reg) >> (reg % 4 * 8) & (shift ? 0x0f : 0xf0);

        qtest_writel(q, addr + 0x123 * 4, ~rom);
        qtest_check_eq(qtest_readl(q, addr + 0x123 * 4), rom);
        set_config(q, 0, reg, other | 3 << shift);
        qtest_writel(q, addr + 0x123 * 4, 0x11223344 + n);
        qtest_writel(q, addr + size - 4, n);
        qtest_check_eq(qtest_readl(q, addr + 0x123 * 4), 0x11223344 + n);
        set_config(q, 0, reg, other | 1 << shift);
        qtest_writel(q, addr + 0x123 * 4, 0);
        qtest_check_eq(qtest_readl(q, addr + 0x123 * 4), 0x11223344 + n);
        set_config(q, 0, reg, other);
        qtest_check_eq(qtest_readl(q, addr + 0x123 * 4), rom);
        qtest_check_eq(qtest_readl(q, addr + size - 4), last);
        set_config(q, 0, reg, other | 3 << shift);
        qtest_check_eq(qtest_readl(q, addr + size - 4), n);
    }
    /* All segments are RAM now. A reset maps ROM again: the CPU's first instruction is there. */
    qtest_check_eq(qtest_readl(q, 0xc0000 + 0x123 * 4), 0x11223344 + 1);
    qtest_system_reset(q);
    qtest_check_eq(qtest_readl(q, 0xffff0), 0xb105fffc);
    qtest_check_eq(qtest_readl(q, 0xffff0), qtest_readl(q, 0xfffffff0));
    qtest_end(q);
}

/* Firmware that copies itself in place: reads of ROM, writes to RAM. */
static void test_write_only(void)
{
    QTest *q = start_with_rom();
    uint32_t rom = qtest_readl(q, 0xf1000);

    set_config(q, 0, 0x5a, 0x02); /* 0xc0000, where there is no ROM */
    qtest_writel(q, 0xc0010, 0x12345678);
    qtest_check_eq(qtest_readl(q, 0xc0010), 0xffffffff);
    set_config(q, 0, 0x5a, 0x01);
    qtest_check_eq(qtest_readl(q, 0xc0010), 0x12345678);
    set_config(q, 0, PAM0, 0x20);
    qtest_writel(q, 0xf1000, ~rom);
    qtest_check_eq(qtest_readl(q, 0xf1000), rom);
    set_config(q, 0, PAM0, 0x10);
    qtest_check_eq(qtest_readl(q, 0xf1000), (uint32_t)~rom);
    qtest_end(q);
}

/* The legacy video window is unmapped without a video adapter. */
static void test_video_hole(void)
{
    QTest *q = qtest_start("-vga none");

    qtest_writel(q, 0xa0000, 0x12345678);
    qtest_check_eq(qtest_readl(q, 0xa0000), 0xffffffff);
    qtest_writel(q, 0x9fffc, 0x12345678);
    qtest_check_eq(qtest_readl(q, 0x9fffc), 0x12345678);
    qtest_writel(q, 0x100000, 0x87654321);
    qtest_check_eq(qtest_readl(q, 0x100000), 0x87654321);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"ports", test_ports},
    {"registers", test_registers},
    {"low_bits", test_low_bits},
    {"pam", test_pam},
    {"write_only", test_write_only},
    {"video_hole", test_video_hole},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

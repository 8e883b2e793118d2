/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reproducible random accesses to every port and register of the board. The program must survive
 * them, and a reset must restore a working PC.
 *
 * STORM_ROUNDS and STORM_SEED choose the number of accesses and the seed (a longer run:
 * STORM_ROUNDS=1000000).
 */
#include "qtest_client.h"

static uint32_t seed;

static uint32_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* Values that find faults more often than random ones do. */
static uint32_t value(void)
{
    static const uint32_t edges[] = {0,          1,          0x7f,       0x80,
                                     0xff,       0x7fff,     0xffff,     0x7fffffff,
                                     0x80000000, 0xffffffff, 0xfffff000, 0xe0000000};
    uint32_t r = next();

    return r & 1 ? edges[(r >> 8) % G_N_ELEMENTS(edges)] : next();
}

static unsigned rounds(unsigned normal)
{
    const char *text = g_getenv("STORM_ROUNDS"), *start = g_getenv("STORM_SEED");

    seed = start ? strtoul(start, NULL, 0) | 1 : 20240229;
    return text ? strtoul(text, NULL, 0) : normal;
}

static void port_access(QTest *q, uint16_t port)
{
    uint32_t r = next();

    switch (r % 6) {
    case 0:
        qtest_outb(q, port, value());
        break;
    case 1:
        qtest_outw(q, port, value());
        break;
    case 2:
        qtest_outl(q, port, value());
        break;
    case 3:
        qtest_inb(q, port);
        break;
    case 4:
        qtest_inw(q, port);
        break;
    default:
        qtest_inl(q, port);
        break;
    }
}

static void mem_access(QTest *q, uint64_t addr)
{
    uint32_t r = next();

    switch (r % 8) {
    case 0:
        qtest_writeb(q, addr, value());
        break;
    case 1:
        qtest_writew(q, addr, value());
        break;
    case 2:
        qtest_writel(q, addr, value());
        break;
    case 3:
        qtest_writeq(q, addr, (uint64_t)value() << 32 | value());
        break;
    case 4:
        qtest_readb(q, addr);
        break;
    case 5:
        qtest_readw(q, addr);
        break;
    case 6:
        qtest_readl(q, addr);
        break;
    default:
        qtest_readq(q, addr);
        break;
    }
}

#define BOARD                                                                                      \
    "-nodefaults -no-shutdown -device pc-testdev -device pci-testdev,membar=64K -device pvpanic "  \
    "-serial null "
#define VIRTIO "-device virtio-rng-pci -device virtio-balloon-pci -device virtio-serial-pci "

static void check_alive(QTest *q)
{
    QPci dev;

    /* The accesses may have switched the machine off, or suspended it. */
    qtest_system_reset(q);
    qpci_open(q, &dev, 0, 0);
    qtest_check_eq(dev.vendor, 0x8086);
    qpci_open(q, &dev, 1, 0);
    qtest_check_eq(dev.device, 0x7000);
    qtest_check(qpci_find(q, &dev, 0x1b36, 0x0005, 0));
    qtest_writel(q, 0x5000, 0x12345678);
    qtest_check_eq(qtest_readl(q, 0x5000), 0x12345678);
    qtest_end(q);
}

static void test_ports(void)
{
    static const struct {
        uint16_t first, count;
    } places[] = {
        {0x20, 2},   {0xa0, 2},   {0x40, 4},    {0x60, 8},   {0x70, 2},       {0x80, 16},
        {0x92, 1},   {0xb2, 2},   {0xe0, 16},   {0x2f8, 8},  {0x3f8, 8},      {0x4d0, 2},
        {0x505, 1},  {0x510, 12}, {0x600, 64},  {0x700, 16}, {0xae00, 0x20},  {0xaf00, 0x20},
        {0xafe0, 8}, {0xcf8, 8},  {0x2000, 24}, {0x5658, 1}, {0xc000, 0x200},
    };
    unsigned n = rounds(6000);
    QTest *q = qtest_start(BOARD VIRTIO);
    QPci pm;

    qpci_open(q, &pm, 1, 3);
    qpci_config_writel(&pm, 0x40, 0x601);
    qpci_config_writeb(&pm, 0x80, 1);
    qpci_config_writel(&pm, 0x90, 0x701);
    qpci_config_writeb(&pm, 0xd2, 9);
    for (unsigned i = 0; i < n; i++) {
        unsigned p = next() % G_N_ELEMENTS(places);

        if (next() % 8 == 0) {
            port_access(q, next());
        } else {
            port_access(q, places[p].first + next() % places[p].count);
        }
        if (i % 256 == 255) {
            qtest_clock_step(q, next() % 100000000);
        }
    }
    check_alive(q);
}

/* Configuration space of every function, with decoding on and BARs at random addresses. */
static void test_config(void)
{
    unsigned n = rounds(6000);
    QTest *q = qtest_start(BOARD VIRTIO);

    for (unsigned i = 0; i < n; i++) {
        unsigned slot = next() % 7, fn = slot == 1 ? next() % 4 : 0;
        uint32_t reg = next() % 4 ? next() % 0x44 : next() % 0x100;

        qtest_outl(q, 0xcf8, 0x80000000 | slot << 11 | fn << 8 | (reg & 0xfc));
        port_access(q, 0xcfc + (reg & 3));
        if (next() % 4 == 0) {
            mem_access(q, value());
        }
    }
    check_alive(q);
}

/* Memory-mapped registers: BARs where firmware would put them, the I/O APIC, the test memory. */
static void test_memory(void)
{
    unsigned n = rounds(6000);
    QTest *q = qtest_start(BOARD VIRTIO);
    uint64_t places[40] = {0xfec00000, 0xfee00000, 0xff000000, 0xa0000, 0xf0000, 0xfffc0000};
    unsigned count = 6;

    for (unsigned slot = 2; slot < 6; slot++) {
        QPci dev;

        qpci_open(q, &dev, slot, 0);
        qpci_enable(&dev);
        for (unsigned b = 0; b < 6; b++) {
            uint32_t bar = qpci_config_readl(&dev, 0x10 + 4 * b);

            qpci_config_writel(&dev, 0x10 + 4 * b, 0xffffffff);
            if (qpci_config_readl(&dev, 0x10 + 4 * b) && !(bar & 1)) {
                places[count++] = qpci_map_bar(&dev, b).addr;
            }
            if ((bar & 7) == 4) {
                b++;
            }
        }
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t offset = next() % 8 ? next() % 0x40 : next() % 0x5000;

        mem_access(q, places[next() % count] + (next() % 4 ? offset & ~3ull : offset));
        if (i % 256 == 255) {
            qtest_clock_step(q, next() % 100000000);
        }
    }
    check_alive(q);
}

static const QTestCase cases[] = {
    {"ports", test_ports},
    {"config", test_config},
    {"memory", test_memory},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices for bare-metal test programs: pc-testdev and pci-testdev. */
#include "qtest_client.h"

#define MEM 0xff000000ull

static void test_latch(void)
{
    QTest *q = qtest_start("-device pc-testdev");

    qtest_outl(q, 0xe0, 0x12345678);
    qtest_check_eq(qtest_inl(q, 0xe0), 0x12345678);
    qtest_check_eq(qtest_inw(q, 0xe0), 0x5678);
    qtest_check_eq(qtest_inb(q, 0xe0), 0x78);
    qtest_outb(q, 0xe1, 0xaa);
    qtest_outw(q, 0xe2, 0xbbcc);
    qtest_check_eq(qtest_inl(q, 0xe0), 0xbbccaa78);
    qtest_check_eq(qtest_inl(q, 0xe8), 0xbbccaa78); /* the same latch, accessed by bytes */
    qtest_end(q);
}

static void test_forget(void)
{
    QTest *q = qtest_start("-device pc-testdev -m 64");

    for (uint64_t page = 0x200000; page < 0x210000; page += 0x1000) {
        qtest_writel(q, page + 0x10, page ^ 0x5a5a5a5a);
        qtest_outl(q, 0xe4, page + 0x123);
        qtest_check_eq(qtest_readl(q, page + 0x10), (uint32_t)(page ^ 0x5a5a5a5a));
        qtest_writel(q, page + 0x10, 1);
        qtest_check_eq(qtest_readl(q, page + 0x10), 1);
    }
    qtest_outl(q, 0xe4, 0xfffff000); /* not RAM */
    qtest_outl(q, 0xe4, 64 << 20);
    qtest_end(q);
}

static void test_memory(void)
{
    QTest *q = qtest_start("-device pc-testdev");
    uint8_t out[256], in[256];

    qtest_check_eq(qtest_readq(q, MEM), 0);
    for (unsigned i = 0; i < sizeof out; i++) {
        out[i] = i ^ 0x5a;
    }
    qtest_write(q, MEM + 0xf80, out, sizeof out); /* crosses a page */
    qtest_read(q, MEM + 0xf80, in, sizeof in);
    qtest_check_mem(in, out, sizeof in);
    qtest_writeq(q, MEM + 0xffc, 0x1122334455667788);
    qtest_check_eq(qtest_readq(q, MEM + 0xffc), 0x1122334455667788);
    qtest_check_eq(qtest_readb(q, MEM + 0x1000), 0x44);
    qtest_check_eq(qtest_readw(q, MEM + 0xfff), 0x4455);
    qtest_writel(q, MEM + 0xfffc, 0xabcdef01);
    qtest_check_eq(qtest_readl(q, MEM + 0xfffc), 0xabcdef01);
    qtest_check_eq(qtest_readl(q, MEM + 0x10000), 0xffffffff);
    qtest_end(q);
}

/* The list of tests that a BAR describes. */
static void check_list(QTest *q, QPciBar bar, const char *space)
{
    static const char *const kinds[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};

    qtest_check_eq(qpci_readb(bar, 1), 0); /* no test selected */
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("%s-%s", space, kinds[i]);
        uint32_t offset, data;
        char text[48];

        qpci_writeb(bar, 0, i);
        qtest_check_eq(qpci_readb(bar, 1), 1);
        for (unsigned b = 0; b < sizeof text; b++) {
            text[b] = qpci_readb(bar, 16 + b);
        }
        qtest_check_str(text, name);
        offset = qpci_readl(bar, 4);
        data = qpci_readl(bar, 8);
        qtest_check_eq(qpci_readl(bar, 12), 0);
        qpci_writeb(bar, offset, data);
        qpci_writeb(bar, offset, data);
        qtest_check_eq(qpci_readl(bar, 12), 2);
        qpci_writeb(bar, offset, data + 1); /* counts only for a wildcard */
        qtest_check_eq(qpci_readl(bar, 12), i == 1 ? 3 : 2);
        qpci_writeb(bar, offset + 1, data);
        qtest_check_eq(qpci_readl(bar, 12), i == 1 ? 3 : 2);
    }
    qpci_writeb(bar, 0, 3);
    qtest_check_eq(qpci_readb(bar, 1), 0);
    qtest_check_eq(qpci_readl(bar, 16), 0);
}

static void test_pci(void)
{
    QTest *q = qtest_start("-device pci-testdev");
    QPci dev;
    QPciBar mem, io;

    qtest_check(qpci_find(q, &dev, 0x1b36, 0x0005, 0));
    qpci_enable(&dev);
    mem = qpci_map_bar(&dev, 0);
    io = qpci_map_bar(&dev, 1);
    qtest_check(!mem.io && io.io);
    check_list(q, mem, "mmio");
    check_list(q, io, "portio");
    /* The BAR moves while a test is selected: the ioeventfd moves with it. */
    qpci_writeb(mem, 0, 2);
    qpci_config_writel(&dev, 0x10, 0xf1000000);
    mem.addr = 0xf1000000;
    qpci_writeb(mem, qpci_readl(mem, 4), qpci_readl(mem, 8));
    qtest_check_eq(qpci_readl(mem, 12), 1);
    qtest_system_reset(q);
    qpci_enable(&dev);
    mem = qpci_map_bar(&dev, 0);
    qtest_check_eq(qpci_readb(mem, 1), 0);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"latch", test_latch}, {"forget", test_forget}, {"memory", test_memory}, {"pci", test_pci}, {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI as a guest finds it: addresses of the functions, BARs; and command lines that are refused. */
#include "qtest_client.h"

static void test_board(void)
{
    QTest *q = qtest_start("-nodefaults");
    QPci dev;

    qpci_open(q, &dev, 0, 0);
    qtest_check_eq(dev.device, 0x1237);
    qpci_open(q, &dev, 1, 3);
    qtest_check_eq(dev.device, 0x7113);
    qtest_check_eq(qpci_config_readb(&dev, 0x3d), 1);
    qtest_check(!qpci_find(q, &dev, 0x1b36, -1, 0));
    qtest_end(q);
}

static void test_places(void)
{
    QTest *q = qtest_start("-nodefaults -device pci-testdev -device pci-testdev,addr=1f.7 "
                           "-device pci-testdev,addr=0x9,multifunction=on "
                           "-device pci-testdev,addr=9.5");
    QPci dev;

    qpci_open(q, &dev, 2, 0);
    qtest_check_eq(dev.vendor, 0x1b36);
    qtest_check_eq(dev.device, 0x0005);
    qpci_open(q, &dev, 9, 0);
    qtest_check_eq(qpci_config_readb(&dev, 0x0e), 0x80);
    qpci_open(q, &dev, 9, 5);
    qtest_check_eq(qpci_config_readb(&dev, 0x0e), 0);
    qpci_open(q, &dev, 0x1f, 7);
    qtest_check(!qpci_find(q, &dev, 0x1b36, 0x0005, 4));
    qtest_end(q);
}

static void refused(const char *args, const char *part)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, part)) {
        qtest_fail(__FILE__, __LINE__, "'%s' is not in '%s'", part, text);
    }
}

static void test_refused(void)
{
    refused("-device pci-testdev,addr=1", "in use by PIIX3");
    refused("-device pci-testdev,addr=5,id=a -device pci-testdev,addr=5",
            "in use by pci-testdev,id=a");
    refused("-device pci-testdev,addr=5 -device pci-testdev,addr=5.1", "single function device");
    refused("-device pci-testdev,addr=33", "addr");
    refused("-device pci-testdev,romfile=/nonexistent", "/nonexistent");
    refused("-device pci-testdev,membar=3000", "power of two");
    refused("-device PIIX3", "part of the board");
}

static void test_bars(void)
{
    QTest *q = qtest_start("-nodefaults -device pci-testdev,membar=8G");
    QPci dev;
    QPciBar bar;

    qpci_open(q, &dev, 2, 0);
    qpci_config_writel(&dev, 0x10, 0xffffffff);
    qtest_check_eq(qpci_config_readl(&dev, 0x10), 0xfffff000);
    qpci_config_writel(&dev, 0x14, 0xffffffff);
    qtest_check_eq(qpci_config_readl(&dev, 0x14), 0xffffff01);
    qpci_config_writel(&dev, 0x18, 0xffffffff);
    qpci_config_writel(&dev, 0x1c, 0xffffffff);
    qtest_check_eq(qpci_config_readl(&dev, 0x18), 0x0000000c);
    qtest_check_eq(qpci_config_readl(&dev, 0x1c), 0xfffffffe);
    qpci_config_writel(&dev, 0x20, 0xffffffff);
    qtest_check_eq(qpci_config_readl(&dev, 0x20), 0);
    qtest_check_eq(qpci_config_readl(&dev, 0x34), 0); /* no capabilities */
    /* BARs that are sized with decoding on do not hide RAM, the BIOS or the configuration ports. */
    qpci_enable(&dev);
    qpci_config_writel(&dev, 0x10, 0xffffffff);
    qtest_check_eq(qtest_readl(q, 0xfffffff0), qtest_readl(q, 0xffff0));
    qpci_config_writel(&dev, 0x10, 0x00100000);
    qtest_writel(q, 0x100000, 0x12345678);
    qtest_check_eq(qtest_readl(q, 0x100000), 0x12345678);
    qpci_config_writel(&dev, 0x14, 0xc00);
    qtest_check_eq(qpci_config_readl(&dev, 0), 0x00051b36);
    bar = qpci_map_bar(&dev, 0);
    qpci_writeb(bar, 0, 0);
    qtest_check_eq(qpci_readb(bar, 1), 1);
    qpci_config_writew(&dev, 4, 0);
    qtest_check_eq(qpci_readb(bar, 1), 0xff);
    qpci_config_writew(&dev, 4, 2);
    qtest_check_eq(qpci_readb(bar, 1), 1);
    qtest_system_reset(q);
    qtest_check_eq(qpci_readb(bar, 1), 0xff);
    qtest_check_eq(qpci_config_readl(&dev, 0x10), 0);
    qtest_check_eq(qpci_config_readl(&dev, 4), 0);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"board", test_board},
    {"places", test_places},
    {"refused", test_refused},
    {"bars", test_bars},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ISA bridge: its registers, and the reset control port. */
#include "qtest_client.h"

static void test_registers(void)
{
    QTest *q = qtest_start("");
    QPci dev;

    qpci_open(q, &dev, 1, 0);
    qtest_check_eq(dev.vendor, 0x8086);
    qtest_check_eq(dev.device, 0x7000);
    qtest_check_eq(qpci_config_readl(&dev, 0x08), 0x06010000);
    qtest_check_eq(qpci_config_readb(&dev, 0x0e), 0x80);
    qtest_check_eq(qpci_config_readl(&dev, 0x4c), 0x0003004d);
    qtest_check_eq(qpci_config_readl(&dev, 0x60), 0x80808080);
    qpci_config_writel(&dev, 0x60, 0x0b0b0a7a);
    qtest_check_eq(qpci_config_readl(&dev, 0x60), 0x0b0b0a0a); /* three bits are reserved */
    qtest_system_reset(q);
    qtest_check_eq(qpci_config_readl(&dev, 0x60), 0x80808080);
    qtest_end(q);
}

static void test_reset_control(void)
{
    QTest *q = qtest_start("");
    QPci dev;

    qpci_open(q, &dev, 1, 0);
    qtest_check_eq(qtest_inb(q, 0xcf9), 0);
    qtest_outb(q, 0xcf9, 0x02);
    qtest_check_eq(qtest_inb(q, 0xcf9), 0x02);
    qtest_check(!qtest_has_event(q, "RESET"));
    /* The port lies inside the configuration address register, which keeps its value. */
    qtest_outl(q, 0xcf8, 0x80000800);
    qtest_check_eq(qtest_inb(q, 0xcf9), 0x02);
    qtest_outb(q, 0xcf9, 0x00);
    qtest_check_eq(qtest_inl(q, 0xcf8), 0x80000800);
    qpci_config_writel(&dev, 0x60, 0x0b0b0a0a);
    qtest_outb(q, 0xcf9, 0x06);
    json_decref(qtest_wait_event(q, "RESET"));
    qtest_check_eq(qpci_config_readl(&dev, 0x60), 0x80808080);
    qtest_check_eq(qtest_inb(q, 0xcf9), 0);
    qtest_end(q);
}

/* With -no-reboot a guest's reset ends the VM. */
static void test_no_reboot(void)
{
    QTest *q = qtest_start("-no-reboot");

    qtest_outb(q, 0xcf9, 0x06);
    qtest_check_eq(qtest_wait_exit(q), 0);
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"reset_control", test_reset_control},
    {"no_reboot", test_no_reboot},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

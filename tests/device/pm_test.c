/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power management: fixed ACPI hardware, the timer, sleep, hot-plug registers. */
#include "qtest_client.h"

#define PM   0x600
#define STS  (PM + 0)
#define EN   (PM + 2)
#define CNT  (PM + 4)
#define TMR  (PM + 8)
#define GPE  0xafe0
#define SMI  0xb2
#define HP   0xae00
#define HZ   3579545ll
#define HALF 0x800000ll
#define NS   1000000000ll

static QTest *start(const char *args, QPci *pm)
{
    QTest *q = qtest_start(args);

    qpci_open(q, pm, 1, 3);
    qtest_check_eq(pm->device, 0x7113);
    qpci_config_writel(pm, 0x40, PM | 1);
    qpci_config_writeb(pm, 0x80, 1);
    return q;
}

static void test_config(void)
{
    QTest *q = qtest_start("");
    QPci pm;

    qpci_open(q, &pm, 1, 3);
    qtest_check_eq(qpci_config_readl(&pm, 0x08), 0x06800003);
    qtest_check_eq(qpci_config_readl(&pm, 0x40), 1);
    /* APMC_EN keeps firmware from setting up system management mode. */
    qtest_check_eq(qpci_config_readb(&pm, 0x5b) & 2, 2);
    qtest_check_eq(qtest_inw(q, CNT), 0xffff);
    qpci_config_writel(&pm, 0x40, 0xffffffff);
    qtest_check_eq(qpci_config_readl(&pm, 0x40), 0xffc1);
    qpci_config_writel(&pm, 0x40, PM);
    qtest_check_eq(qtest_inw(q, CNT), 0xffff);
    qpci_config_writeb(&pm, 0x80, 1);
    qtest_check_eq(qtest_inw(q, CNT), 0);
    qpci_config_writel(&pm, 0x40, 0x4000);
    qtest_check_eq(qtest_inw(q, CNT), 0xffff);
    qtest_check_eq(qtest_inw(q, 0x4004), 0);
    qtest_system_reset(q);
    qtest_check_eq(qtest_inw(q, 0x4004), 0xffff);
    qtest_end(q);
}

static void test_timer(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_clock_set(q, 0);
    qtest_check_eq(qtest_inl(q, TMR), 0);
    qtest_clock_set(q, NS);
    qtest_check_eq(qtest_inl(q, TMR), HZ);
    qtest_check_eq(qtest_inb(q, TMR + 1), HZ >> 8 & 0xff);
    qtest_clock_set(q, 5 * NS);
    qtest_check_eq(qtest_inl(q, TMR), 5 * HZ & 0xffffff);
    qtest_outl(q, TMR, 0); /* read-only */
    qtest_check_eq(qtest_inl(q, TMR), 5 * HZ & 0xffffff);
    qtest_end(q);
}

static void test_timer_overflow(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_irq_intercept_in(q, "ioapic");
    qtest_outb(q, SMI, 0xf1); /* ACPI mode */
    qtest_check_eq(qtest_inw(q, CNT), 1);
    qtest_clock_set(q, NS);
    qtest_outw(q, STS, 1);
    qtest_check_eq(qtest_inw(q, STS) & 1, 0);
    qtest_clock_set(q, HALF * NS / HZ + 1000);
    qtest_check_eq(qtest_inw(q, STS) & 1, 1); /* TMR_STS is set without an interrupt */
    qtest_check(!qtest_irq(q, 9));
    qtest_outw(q, EN, 1);
    qtest_check(qtest_irq(q, 9));
    qtest_outw(q, STS, 1);
    qtest_check(!qtest_irq(q, 9));
    qtest_check_eq(qtest_inw(q, STS) & 1, 0);
    /* With an interrupt: at the next change of bit 23. */
    qtest_clock_set(q, 2 * HALF * NS / HZ - 1000);
    qtest_check(!qtest_irq(q, 9));
    qtest_clock_set(q, 2 * HALF * NS / HZ + 1000);
    qtest_check(qtest_irq(q, 9));
    qtest_outb(q, SMI, 0xf0); /* legacy mode: not an SCI any more */
    qtest_check(!qtest_irq(q, 9));
    qtest_outb(q, SMI, 0xf1);
    qtest_check(qtest_irq(q, 9));
    qtest_outw(q, EN, 0);
    qtest_check(!qtest_irq(q, 9));
    qtest_end(q);
}

static void test_power_button(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_irq_intercept_in(q, "ioapic");
    qtest_outb(q, SMI, 0xf1);
    qtest_outw(q, EN, 0x100);
    json_decref(qtest_qmp(q, "system_powerdown", NULL));
    json_decref(qtest_wait_event(q, "POWERDOWN"));
    qtest_wait_until(qtest_inw(q, STS) & 0x100);
    qtest_check(qtest_irq(q, 9));
    qtest_outb(q, STS + 1, 0x01);
    qtest_check_eq(qtest_inw(q, STS) & 0x100, 0);
    qtest_check(!qtest_irq(q, 9));
    qtest_end(q);
}

static void test_control(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_outw(q, CNT, 0x1c07);
    qtest_check_eq(qtest_inw(q, CNT), 0x1c03); /* GBL_RLS is written only */
    qtest_outb(q, CNT + 1, 0x04);
    qtest_check_eq(qtest_inw(q, CNT), 0x0403);
    qtest_outw(q, EN, 0xffff);
    qtest_check_eq(qtest_inw(q, EN), 0x4721);
    qtest_outb(q, EN, 0);
    qtest_check_eq(qtest_inw(q, EN), 0x4700);
    qtest_outb(q, 0xb3, 0x5a);
    qtest_check_eq(qtest_inw(q, 0xb2), 0x5a00);
    qtest_system_reset(q);
    qpci_config_writel(&pm, 0x40, PM);
    qpci_config_writeb(&pm, 0x80, 1);
    qtest_check_eq(qtest_inw(q, CNT), 0);
    qtest_check_eq(qtest_inw(q, EN), 0);
    qtest_end(q);
}

static void test_soft_off(void)
{
    QPci pm;
    QTest *q = start("", &pm);
    json_t *event;

    qtest_outw(q, CNT, 0x0001);
    qtest_outw(q, CNT, 0x2001);
    event = qtest_wait_event(q, "SHUTDOWN");
    json_decref(event);
    qtest_check_eq(qtest_wait_exit(q), 0);
}

static void test_suspend_to_disk(void)
{
    QPci pm;
    QTest *q = start("-global PIIX4_PM.s4_val=5", &pm);

    qtest_outw(q, CNT, 2 << 10 | 1 << 13); /* this SLP_TYP has no meaning */
    qtest_check(!qtest_has_event(q, "SHUTDOWN"));
    qtest_outw(q, CNT, 5 << 10 | 1 << 13);
    json_decref(qtest_wait_event(q, "SUSPEND_DISK"));
    qtest_check_eq(qtest_wait_exit(q), 0);
}

static void test_suspend(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_outb(q, SMI, 0xf1);
    qtest_outw(q, CNT, 1 << 10 | 1 << 13 | 1);
    json_decref(qtest_wait_event(q, "SUSPEND"));
    json_decref(qtest_qmp(q, "system_powerdown", NULL));
    json_decref(qtest_wait_event(q, "WAKEUP"));
    /* The chipset was reset, and WAK_STS is set. */
    qpci_config_writel(&pm, 0x40, PM);
    qpci_config_writeb(&pm, 0x80, 1);
    qtest_check_eq(qtest_inw(q, STS) & 0x8000, 0x8000);
    qtest_check_eq(qtest_inw(q, CNT), 0);
    qtest_end(q);
}

static void test_no_sleep(void)
{
    QPci pm;
    QTest *q = start("-global PIIX4_PM.disable_s3=1 -global PIIX4_PM.disable_s4=1", &pm);

    qtest_outw(q, CNT, 1 << 10 | 1 << 13);
    qtest_outw(q, CNT, 2 << 10 | 1 << 13);
    qtest_check(!qtest_has_event(q, "SUSPEND"));
    qtest_check(!qtest_has_event(q, "SHUTDOWN"));
    qtest_end(q);
}

static void test_gpe(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_check_eq(qtest_inl(q, GPE), 0);
    qtest_outw(q, GPE + 2, 0x1234);
    qtest_check_eq(qtest_inl(q, GPE), 0x12340000);
    qtest_outw(q, GPE, 0xffff); /* writes only clear status bits */
    qtest_check_eq(qtest_inl(q, GPE), 0x12340000);
    qtest_end(q);
}

static void test_hotplug(void)
{
    QPci pm, dev;
    QTest *q = start("-nodefaults -device pci-testdev,id=cold,addr=4", &pm);
    g_autofree char *said = qtest_hmp(q, "device_add pci-testdev,id=t0,addr=6,acpi-index=77");

    qtest_check_str(said, "");
    qtest_irq_intercept_in(q, "ioapic");
    qtest_outb(q, SMI, 0xf1);
    qtest_outb(q, GPE + 2, 0x02);
    qtest_check(qtest_irq(q, 9));
    qtest_check_eq(qtest_inb(q, GPE), 0x02);
    qtest_outb(q, GPE, 0x02);
    qtest_check(!qtest_irq(q, 9));
    qtest_check_eq(qtest_inl(q, HP + 0x00), 1 << 6);
    qtest_check_eq(qtest_inl(q, HP + 0x00), 0); /* the read cleared it */
    qpci_open(q, &dev, 6, 0);
    qtest_check_eq(dev.vendor, 0x1b36);
    qtest_outl(q, HP + 0x14, 1 << 6);
    qtest_check_eq(qtest_inl(q, HP + 0x14), 77);
    qtest_check_eq(qtest_inl(q, HP + 0x14), 0);
    qtest_check_eq(qtest_inl(q, HP + 0x0c), 0xfffffffc); /* the board's slots are not removable */
    qtest_outl(q, HP + 0x10, 3);                         /* a bus that does not exist */
    qtest_outl(q, HP + 0x08, 1 << 6);
    qtest_check_eq(qtest_inl(q, HP + 0x0c), 0);
    qtest_check_eq(qtest_inl(q, HP + 0x10), 3);
    qtest_outl(q, HP + 0x10, 0);
    /* device_del: the guest is told, and ejects the device. */
    g_free(qtest_hmp(q, "device_del t0"));
    qtest_check(qtest_irq(q, 9));
    qtest_outb(q, GPE, 0x02);
    qtest_check_eq(qtest_inl(q, HP + 0x04), 1 << 6);
    qpci_open(q, &dev, 6, 0);
    qtest_outl(q, HP + 0x08, 1 << 6);
    qtest_outl(q, HP + 0x08, 1 << 6); /* a second eject has no effect */
    json_decref(qtest_wait_event(q, "DEVICE_DELETED"));
    qtest_check(!qpci_find(q, &dev, 0x1b36, 5, 1));
    qtest_check_eq(qtest_inl(q, HP + 0x04), 0);
    /* The board's devices cannot be ejected; ejecting an empty slot has no effect. */
    qtest_outl(q, HP + 0x08, 1 << 1);
    qtest_outl(q, HP + 0x08, 1u << 31);
    qtest_outl(q, HP + 0x08, 0);
    qpci_open(q, &dev, 1, 0);
    /* A reset removes the devices whose removal was requested. */
    g_free(qtest_hmp(q, "device_del cold"));
    qtest_system_reset(q);
    json_decref(qtest_wait_event(q, "DEVICE_DELETED"));
    qtest_check(!qpci_find(q, &dev, 0x1b36, 5, 0));
    qtest_end(q);
}

static void test_cpus(void)
{
    QTest *q = qtest_start("-smp 3");

    qtest_check_eq(qtest_inl(q, 0xaf00), 7);
    qtest_outb(q, 0xaf00, 0);
    qtest_check_eq(qtest_inb(q, 0xaf00), 7);
    qtest_check_eq(qtest_inb(q, 0xaf1f), 0);
    qtest_end(q);
}

static void test_smbus(void)
{
    QPci pm;
    QTest *q = start("", &pm);

    qtest_check_eq(qtest_inb(q, 0x700), 0xff);
    qpci_config_writel(&pm, 0x90, 0x701);
    qpci_config_writeb(&pm, 0xd2, 0x09);
    qtest_check_eq(qtest_inb(q, 0x700), 0);
    qtest_outb(q, 0x704, 0xa1);
    qtest_outb(q, 0x702, 0x48);                /* start: read a byte of data */
    qtest_check_eq(qtest_inb(q, 0x700), 0x04); /* no device answers */
    qtest_outb(q, 0x700, 0x04);
    qtest_check_eq(qtest_inb(q, 0x700), 0);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"config", test_config},
    {"timer", test_timer},
    {"timer_overflow", test_timer_overflow},
    {"power_button", test_power_button},
    {"control", test_control},
    {"soft_off", test_soft_off},
    {"suspend_to_disk", test_suspend_to_disk},
    {"suspend", test_suspend},
    {"no_sleep", test_no_sleep},
    {"gpe", test_gpe},
    {"hotplug", test_hotplug},
    {"cpus", test_cpus},
    {"smbus", test_smbus},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC in user space. pc-testdev drives the lines. The remote IRR of a level-triggered
 * entry shows that a message was sent.
 */
#include "qtest_client.h"

#define BASE   0xfec00000ull
#define SELECT (BASE + 0x00)
#define WINDOW (BASE + 0x10)
#define EOI    (BASE + 0x40)

enum {
    LINES = 0x2000,
    LEVEL = 1 << 15,
    REMOTE_IRR = 1 << 14,
    MASKED = 1 << 16,
};

static uint32_t reg(QTest *q, unsigned n)
{
    qtest_writel(q, SELECT, n);
    return qtest_readl(q, WINDOW);
}

static void set_reg(QTest *q, unsigned n, uint32_t value)
{
    qtest_writel(q, SELECT, n);
    qtest_writel(q, WINDOW, value);
}

static void line(QTest *q, unsigned n, bool level)
{
    qtest_outb(q, LINES + n, level);
}

static void test_registers(void)
{
    QTest *q = qtest_start("");

    qtest_check_eq(reg(q, 1), 0x00170020);
    set_reg(q, 1, 0);
    qtest_check_eq(reg(q, 1), 0x00170020);
    set_reg(q, 0, 0xff000000);
    qtest_check_eq(reg(q, 0), 0x0f000000);
    qtest_check_eq(reg(q, 2), 0x0f000000);
    for (unsigned n = 0; n < 24; n++) {
        qtest_check_eq(reg(q, 0x10 + 2 * n), MASKED);
        qtest_check_eq(reg(q, 0x11 + 2 * n), 0);
        set_reg(q, 0x11 + 2 * n, 0xffffffff);
        set_reg(q, 0x10 + 2 * n, 0xffffffff);
        qtest_check_eq(reg(q, 0x10 + 2 * n), 0x0001afff);
        qtest_check_eq(reg(q, 0x11 + 2 * n), 0xff000000);
    }
    set_reg(q, 0x40, 0xffffffff); /* not a register */
    qtest_check_eq(reg(q, 0x40), 0);
    set_reg(q, 0x03, 0xffffffff);
    qtest_check_eq(reg(q, 0x03), 0);
    set_reg(q, 0xff, 0);
    qtest_writel(q, SELECT, 0x105); /* eight bits */
    qtest_check_eq(qtest_readl(q, SELECT), 0x05);
    qtest_check_eq(qtest_readl(q, BASE + 0x20), 0);
    qtest_system_reset(q);
    qtest_check_eq(reg(q, 0x10), MASKED);
    qtest_check_eq(reg(q, 0), 0);
    qtest_end(q);
}

static void test_old_version(void)
{
    QTest *q = qtest_start("-global ioapic.version=0x11 -device pc-testdev");

    qtest_check_eq(reg(q, 1), 0x00170011);
    set_reg(q, 0x10 + 2 * 20, LEVEL | 0x41);
    line(q, 20, true);
    line(q, 20, false);
    qtest_writel(q, EOI, 0x41); /* version 0x11 has no EOI register */
    qtest_check_eq(reg(q, 0x10 + 2 * 20), LEVEL | REMOTE_IRR | 0x41);
    qtest_end(q);
}

static void test_levels(void)
{
    QTest *q = qtest_start("-device pc-testdev");
    unsigned entry = 0x10 + 2 * 10;

    line(q, 10, true);
    set_reg(q, entry, LEVEL | MASKED | 0x31);
    qtest_check_eq(reg(q, entry), LEVEL | MASKED | 0x31);
    set_reg(q, entry, LEVEL | 0x31); /* the line was high before */
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    set_reg(q, entry, LEVEL | 0x31); /* remote IRR is read-only */
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    qtest_writel(q, EOI, 0x32); /* another vector */
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    qtest_writel(q, EOI, 0x31); /* the line is still high: sent again */
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    line(q, 10, false);
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    qtest_writel(q, EOI, 0x31);
    qtest_check_eq(reg(q, entry), LEVEL | 0x31);
    line(q, 10, true);
    qtest_check_eq(reg(q, entry), LEVEL | REMOTE_IRR | 0x31);
    set_reg(q, entry, 0x31); /* edge-triggered entries do not wait for an EOI */
    qtest_check_eq(reg(q, entry), 0x31);
    qtest_end(q);
}

/* IRQ 0 is wired to input 2. */
static void test_timer_input(void)
{
    QTest *q = qtest_start("-device pc-testdev");

    /* Lowers the timer's output, which is high after reset: lines are or'ed. */
    qtest_outb(q, 0x43, 0x30);
    set_reg(q, 0x10 + 2 * 0, LEVEL | 0x30);
    set_reg(q, 0x10 + 2 * 2, LEVEL | 0x32);
    line(q, 0, true);
    qtest_check_eq(reg(q, 0x10 + 2 * 0), LEVEL | 0x30);
    qtest_check_eq(reg(q, 0x10 + 2 * 2), LEVEL | REMOTE_IRR | 0x32);
    qtest_end(q);
}

static void test_intercept(void)
{
    QTest *q = qtest_start("-device pc-testdev");

    qtest_irq_intercept_in(q, "ioapic");
    for (unsigned n = 1; n < 24; n++) {
        line(q, n, true);
        qtest_check(qtest_irq(q, n));
        qtest_check_eq(qtest_irq_count(q, n), 1);
        line(q, n, false);
        qtest_check(!qtest_irq(q, n));
    }
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"registers", test_registers},     {"old_version", test_old_version}, {"levels", test_levels},
    {"timer_input", test_timer_input}, {"intercept", test_intercept},     {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

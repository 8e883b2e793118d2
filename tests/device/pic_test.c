/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8259As. pc-testdev drives the lines (port 0x2000 + n), and polls acknowledge them:
 * there is no CPU.
 */
#include "qtest_client.h"

enum {
    MASTER = 0x20,
    SLAVE = 0xa0,
    ELCR = 0x4d0,
    LINES = 0x2000,
    OCW3_POLL = 0x0c,
    OCW3_IRR = 0x0a,
    OCW3_ISR = 0x0b,
    EOI = 0x20,
};

static void init_chip(QTest *q, uint16_t port, uint8_t base, uint8_t icw3, uint8_t icw4)
{
    qtest_outb(q, port, 0x11);
    qtest_outb(q, port + 1, base);
    qtest_outb(q, port + 1, icw3);
    qtest_outb(q, port + 1, icw4);
    qtest_outb(q, port + 1, 0);
}

static QTest *start(void)
{
    QTest *q = qtest_start("-device pc-testdev");

    init_chip(q, MASTER, 0x08, 0x04, 0x01);
    init_chip(q, SLAVE, 0x70, 0x02, 0x01);
    /* Masks the timer, which ticks by itself. */
    qtest_outb(q, MASTER + 1, 0x01);
    return q;
}

static uint8_t irr(QTest *q, uint16_t port)
{
    qtest_outb(q, port, OCW3_IRR);
    return qtest_inb(q, port);
}

static uint8_t isr(QTest *q, uint16_t port)
{
    qtest_outb(q, port, OCW3_ISR);
    return qtest_inb(q, port);
}

static uint8_t poll(QTest *q, uint16_t port)
{
    qtest_outb(q, port, OCW3_POLL);
    return qtest_inb(q, port);
}

static void line(QTest *q, unsigned n, bool level)
{
    qtest_outb(q, LINES + n, level);
}

static void edge(QTest *q, unsigned n)
{
    line(q, n, true);
    line(q, n, false);
}

static void test_init(void)
{
    QTest *q = start();

    qtest_check_eq(qtest_inb(q, MASTER + 1), 0x01);
    qtest_outb(q, MASTER + 1, 0xa5);
    qtest_check_eq(qtest_inb(q, MASTER + 1), 0xa5);
    qtest_outb(q, SLAVE + 1, 0x5a);
    qtest_check_eq(qtest_inw(q, SLAVE) >> 8, 0x5a);
    /* Initialization clears the mask and in-service registers. */
    qtest_outb(q, MASTER + 1, 0x00);
    edge(q, 3);
    qtest_check_eq(poll(q, MASTER), 0x83);
    init_chip(q, MASTER, 0x08, 0x04, 0x01);
    qtest_check_eq(isr(q, MASTER), 0);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0);
    qtest_end(q);
}

static void test_edges(void)
{
    QTest *q = start();

    line(q, 5, true);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x20);
    qtest_check_eq(poll(q, MASTER), 0x85);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x00); /* the line is high still: no second edge */
    qtest_check_eq(isr(q, MASTER), 0x20);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(isr(q, MASTER), 0x00);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0);
    line(q, 5, false);
    line(q, 5, true);
    qtest_check_eq(poll(q, MASTER), 0x85);
    /* An edge while in service is served after the end of interrupt. */
    line(q, 5, false);
    line(q, 5, true);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(poll(q, MASTER), 0x85);
    qtest_end(q);
}

static void test_levels(void)
{
    QTest *q = start();

    qtest_outb(q, ELCR, 0xff);
    qtest_outb(q, ELCR + 1, 0xff);
    qtest_check_eq(qtest_inb(q, ELCR), 0xf8);
    qtest_check_eq(qtest_inb(q, ELCR + 1), 0xde);
    line(q, 11, true);
    qtest_check_eq(irr(q, SLAVE), 0x08);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x04);
    qtest_check_eq(poll(q, SLAVE), 0x83);
    qtest_check_eq(irr(q, SLAVE), 0x08); /* as long as the line is high */
    qtest_outb(q, SLAVE, EOI);
    qtest_check_eq(poll(q, SLAVE), 0x83);
    line(q, 11, false);
    qtest_check_eq(irr(q, SLAVE), 0);
    qtest_outb(q, SLAVE, EOI);
    qtest_check_eq(poll(q, SLAVE) & 0x80, 0);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0);
    qtest_system_reset(q);
    qtest_check_eq(qtest_inb(q, ELCR), 0);
    qtest_end(q);
}

static void test_priorities(void)
{
    QTest *q = start();

    edge(q, 6);
    edge(q, 4);
    qtest_check_eq(poll(q, MASTER), 0x84);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0); /* 6 ranks below 4, in service */
    edge(q, 3);
    qtest_check_eq(poll(q, MASTER), 0x83);
    qtest_check_eq(isr(q, MASTER), 0x18);
    qtest_outb(q, MASTER, EOI); /* the highest: 3 */
    qtest_check_eq(isr(q, MASTER), 0x10);
    qtest_outb(q, MASTER, 0x60 | 4); /* specific */
    qtest_check_eq(poll(q, MASTER), 0x86);
    qtest_outb(q, MASTER, 0xe0 | 6); /* specific, and 6 is the lowest now: 7 leads */
    edge(q, 3);
    edge(q, 7);
    qtest_check_eq(poll(q, MASTER), 0x87);
    qtest_outb(q, MASTER, 0xa0); /* rotate: 0 leads */
    qtest_check_eq(poll(q, MASTER), 0x83);
    qtest_outb(q, MASTER, EOI);
    qtest_outb(q, MASTER, 0xc0 | 4); /* set priority: 5 leads */
    edge(q, 4);
    edge(q, 5);
    qtest_check_eq(poll(q, MASTER), 0x85);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(poll(q, MASTER), 0x84);
    qtest_end(q);
}

static void test_masks(void)
{
    QTest *q = start();

    qtest_outb(q, MASTER + 1, 0x11);
    edge(q, 4);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x10);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0);
    qtest_outb(q, MASTER + 1, 0x01);
    qtest_check_eq(poll(q, MASTER), 0x84);
    /* Special mask mode: a masked input in service does not block others. */
    edge(q, 6);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0);
    qtest_outb(q, MASTER, 0x68);
    qtest_outb(q, MASTER + 1, 0x11);
    qtest_check_eq(poll(q, MASTER), 0x86);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(isr(q, MASTER), 0x10); /* input 4, not the masked one */
    qtest_outb(q, MASTER, 0x48);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(isr(q, MASTER), 0);
    qtest_end(q);
}

static void test_auto_eoi(void)
{
    QTest *q = start();

    init_chip(q, MASTER, 0x08, 0x04, 0x03);
    qtest_outb(q, MASTER + 1, 0x01);
    edge(q, 3);
    qtest_check_eq(poll(q, MASTER), 0x83);
    qtest_check_eq(isr(q, MASTER), 0);
    qtest_outb(q, MASTER, 0x80); /* and rotate */
    edge(q, 3);
    qtest_check_eq(poll(q, MASTER), 0x83);
    edge(q, 3);
    edge(q, 4);
    qtest_check_eq(poll(q, MASTER), 0x84);
    qtest_end(q);
}

static void test_cascade(void)
{
    QTest *q = start();

    edge(q, 9);
    edge(q, 12);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x04);
    qtest_check_eq(poll(q, MASTER), 0x82);
    qtest_check_eq(poll(q, SLAVE), 0x81);
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x00);
    edge(q, 8); /* higher than the slave's input in service; the master waits for an EOI */
    qtest_check_eq(irr(q, MASTER) & 0xfe, 0x04);
    qtest_check_eq(poll(q, MASTER) & 0x80, 0);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(poll(q, MASTER), 0x82);
    qtest_check_eq(poll(q, SLAVE), 0x80);
    qtest_outb(q, SLAVE, EOI);
    qtest_outb(q, SLAVE, EOI);
    qtest_outb(q, MASTER, EOI);
    qtest_check_eq(poll(q, MASTER), 0x82);
    qtest_check_eq(poll(q, SLAVE), 0x84);
    qtest_outb(q, SLAVE, EOI);
    qtest_outb(q, MASTER, EOI);
    /* Special fully nested mode: the master passes the slave's request of higher priority. */
    init_chip(q, MASTER, 0x08, 0x04, 0x11);
    qtest_outb(q, MASTER + 1, 0x01);
    edge(q, 12);
    qtest_check_eq(poll(q, MASTER), 0x82);
    qtest_check_eq(poll(q, SLAVE), 0x84);
    edge(q, 8);
    qtest_check_eq(poll(q, MASTER), 0x82);
    qtest_check_eq(poll(q, SLAVE), 0x80);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"init", test_init},       {"edges", test_edges},
    {"levels", test_levels},   {"priorities", test_priorities},
    {"masks", test_masks},     {"auto_eoi", test_auto_eoi},
    {"cascade", test_cascade}, {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

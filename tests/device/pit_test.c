/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interval timer: its modes, reads and latches, interrupts, and port 0x61. */
#include "qtest_client.h"

#define HZ  1193182ll
#define SEC 1000000000ll

enum {
    PIT = 0x40,
    CONTROL = 0x43,
    PORT_B = 0x61,
    OUT2 = 0x20,
};

/* The first nanosecond of a tick. */
static int64_t at(int64_t tick)
{
    return (tick * SEC + HZ - 1) / HZ;
}

static void program(QTest *q, unsigned ch, unsigned mode, uint16_t count)
{
    qtest_outb(q, CONTROL, ch << 6 | 0x30 | mode << 1);
    qtest_outb(q, PIT + ch, count);
    qtest_outb(q, PIT + ch, count >> 8);
}

static uint16_t count(QTest *q, unsigned ch)
{
    uint8_t low;

    qtest_outb(q, CONTROL, ch << 6);
    low = qtest_inb(q, PIT + ch);
    return low | qtest_inb(q, PIT + ch) << 8;
}

static uint8_t status(QTest *q, unsigned ch)
{
    qtest_outb(q, CONTROL, 0xe0 | 2 << ch);
    return qtest_inb(q, PIT + ch);
}

static bool out2(QTest *q)
{
    return qtest_inb(q, PORT_B) & OUT2;
}

static void test_counting(void)
{
    QTest *q = qtest_start("");

    program(q, 1, 2, 1000);
    qtest_check_eq(count(q, 1), 1000);
    qtest_clock_set(q, at(1));
    qtest_check_eq(count(q, 1), 999);
    qtest_clock_set(q, at(999));
    qtest_check_eq(count(q, 1), 1);
    qtest_clock_set(q, at(1000));
    qtest_check_eq(count(q, 1), 1000);
    qtest_clock_set(q, at(1000000 + 7));
    qtest_check_eq(count(q, 1), 993);
    program(q, 1, 2, 0); /* 65536 */
    qtest_clock_set(q, at(1000000 + 8));
    qtest_check_eq(count(q, 1), 0xffff);
    program(q, 1, 0, 5);
    qtest_clock_set(q, at(1000000 + 8 + 7));
    qtest_check_eq(count(q, 1), 0xfffe); /* the count wraps around */
    program(q, 1, 3, 1000);
    qtest_clock_set(q, at(1000000 + 15 + 499));
    qtest_check_eq(count(q, 1), 2); /* mode 3 counts by twos */
    qtest_clock_set(q, at(1000000 + 15 + 500));
    qtest_check_eq(count(q, 1), 1000);
    qtest_end(q);
}

static void test_latches(void)
{
    QTest *q = qtest_start("");

    program(q, 1, 2, 0x1234);
    qtest_outb(q, CONTROL, 1 << 6);
    qtest_clock_set(q, at(0x100));
    qtest_outb(q, CONTROL, 1 << 6); /* a second latch has no effect */
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x34);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x12);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x34); /* not latched any more */
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x11);
    /* Read-back: count and status of two channels; status is read first. */
    qtest_outb(q, CONTROL, 0xc0 | 2 << 1 | 2 << 2);
    qtest_clock_set(q, at(0x200));
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x80 | 0x30 | 2 << 1);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x34);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x11);
    /* One byte only, low or high. */
    qtest_outb(q, CONTROL, 1 << 6 | 0x10 | 2 << 1);
    qtest_outb(q, PIT + 1, 0x55);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x55);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x55);
    qtest_outb(q, CONTROL, 1 << 6 | 0x20 | 2 << 1);
    qtest_outb(q, PIT + 1, 0x66);
    qtest_check_eq(qtest_inb(q, PIT + 1), 0x66);
    /* Null count is set until a count is written. */
    qtest_outb(q, CONTROL, 1 << 6 | 0x30);
    qtest_check_eq(status(q, 1), 0x40 | 0x30);
    qtest_outb(q, PIT + 1, 1);
    qtest_outb(q, PIT + 1, 0);
    qtest_check_eq(status(q, 1), 0x30);
    qtest_check_eq(qtest_inb(q, CONTROL), 0);
    qtest_end(q);
}

static void test_bcd(void)
{
    QTest *q = qtest_start("");

    qtest_outb(q, CONTROL, 1 << 6 | 0x30 | 2 << 1 | 1);
    qtest_outb(q, PIT + 1, 0x00);
    qtest_outb(q, PIT + 1, 0x10); /* 1000 */
    qtest_clock_set(q, at(1));
    qtest_check_eq(count(q, 1), 0x0999);
    qtest_clock_set(q, at(1000));
    qtest_check_eq(count(q, 1), 0x1000);
    qtest_outb(q, CONTROL, 1 << 6 | 0x30 | 2 << 1 | 1);
    qtest_outb(q, PIT + 1, 0);
    qtest_outb(q, PIT + 1, 0); /* 10000 */
    qtest_check_eq(count(q, 1), 0);
    qtest_clock_set(q, at(1001));
    qtest_check_eq(count(q, 1), 0x9999);
    qtest_end(q);
}

static void test_outputs(void)
{
    QTest *q = qtest_start("");

    qtest_outb(q, PORT_B, 1); /* gate 2 */
    program(q, 2, 0, 100);
    qtest_check(!out2(q));
    qtest_clock_set(q, at(99));
    qtest_check(!out2(q));
    qtest_clock_set(q, at(100));
    qtest_check(out2(q));
    program(q, 2, 3, 100);
    qtest_check(out2(q));
    qtest_clock_set(q, at(150));
    qtest_check(!out2(q));
    qtest_clock_set(q, at(200));
    qtest_check(out2(q));
    program(q, 2, 2, 100);
    qtest_clock_set(q, at(299));
    qtest_check(!out2(q));
    qtest_clock_set(q, at(300));
    qtest_check(out2(q));
    program(q, 2, 4, 100);
    qtest_check(out2(q));
    qtest_clock_set(q, at(400));
    qtest_check(!out2(q));
    qtest_clock_set(q, at(401));
    qtest_check(out2(q));
    qtest_end(q);
}

static void test_gate(void)
{
    QTest *q = qtest_start("");

    /* Mode 0 does not count while the gate is low. */
    program(q, 2, 0, 100);
    qtest_clock_set(q, at(500));
    qtest_check_eq(count(q, 2), 100);
    qtest_outb(q, PORT_B, 1);
    qtest_clock_set(q, at(530));
    qtest_check_eq(count(q, 2), 70);
    qtest_outb(q, PORT_B, 0);
    qtest_clock_set(q, at(600));
    qtest_check_eq(count(q, 2), 70);
    qtest_check(!out2(q));
    qtest_outb(q, PORT_B, 1);
    qtest_clock_set(q, at(670));
    qtest_check(out2(q));
    /* Each rise of the gate triggers mode 1. */
    program(q, 2, 1, 100);
    qtest_check(out2(q));
    qtest_outb(q, PORT_B, 0);
    qtest_outb(q, PORT_B, 1);
    qtest_check(!out2(q));
    qtest_clock_set(q, at(720));
    qtest_outb(q, PORT_B, 0);
    qtest_outb(q, PORT_B, 1);
    qtest_clock_set(q, at(790));
    qtest_check(!out2(q));
    qtest_clock_set(q, at(820));
    qtest_check(out2(q));
    /* A rise of the gate restarts mode 3's period. */
    program(q, 2, 3, 100);
    qtest_clock_set(q, at(880));
    qtest_check(!out2(q));
    qtest_outb(q, PORT_B, 0);
    qtest_check(out2(q));
    qtest_outb(q, PORT_B, 1);
    qtest_clock_set(q, at(929));
    qtest_check(out2(q));
    qtest_clock_set(q, at(930));
    qtest_check(!out2(q));
    qtest_end(q);
}

static void test_interrupts(void)
{
    QTest *q = qtest_start("");
    int64_t start;

    qtest_irq_intercept_in(q, "ioapic");
    program(q, 0, 2, 11932);
    start = qtest_clock_step(q, 1) - 1;
    qtest_irq_count(q, 0);
    for (unsigned i = 1; i <= 20; i++) {
        qtest_clock_set(q, start + at(i * 11932) - 1);
        qtest_check_eq(qtest_irq_count(q, 0), 0);
        qtest_clock_set(q, start + at(i * 11932));
        qtest_check_eq(qtest_irq_count(q, 0), 1);
    }
    /* A second of ticks in one step of the clock. */
    qtest_clock_set(q, start + at(120 * 11932));
    qtest_check_eq(qtest_irq_count(q, 0), 100);
    /* Mode 0: one interrupt. */
    program(q, 0, 0, 1000);
    qtest_check(!qtest_irq(q, 0));
    start = qtest_clock_step(q, 1) - 1;
    qtest_clock_set(q, start + SEC);
    qtest_check_eq(qtest_irq_count(q, 0), 1);
    qtest_check(qtest_irq(q, 0));
    /* A new control word lowers the output. */
    qtest_outb(q, CONTROL, 0x30);
    qtest_check(!qtest_irq(q, 0));
    qtest_clock_step(q, SEC);
    qtest_check_eq(qtest_irq_count(q, 0), 0);
    qtest_end(q);
}

/* After reset channel 0 ticks at 18.2 Hz. */
static void test_reset(void)
{
    QTest *q = qtest_start("");

    qtest_irq_intercept_in(q, "ioapic");
    qtest_check_eq(status(q, 0), 0x80 | 0x30 | 3 << 1);
    qtest_clock_step(q, at(10 * 65536) + 1);
    qtest_check_eq(qtest_irq_count(q, 0), 10);
    program(q, 0, 2, 100);
    qtest_outb(q, PORT_B, 3);
    qtest_system_reset(q);
    qtest_check_eq(status(q, 0), 0x80 | 0x30 | 3 << 1);
    qtest_check_eq(qtest_inb(q, PORT_B) & 0x0f, 0);
    qtest_end(q);
}

/* More interrupts than the host can deliver: the program still answers. */
static void test_too_fast(void)
{
    QTest *q = qtest_start("");

    for (unsigned mode = 0; mode < 8; mode++) {
        program(q, 0, mode, 1);
        qtest_clock_step(q, SEC / 100);
        program(q, 0, mode, 2);
        qtest_clock_step(q, SEC / 100);
    }
    qtest_check_eq(qtest_inb(q, CONTROL), 0);
    qtest_end(q);
}

static void test_refresh(void)
{
    QTest *q = qtest_start("");
    uint8_t before = qtest_inb(q, PORT_B) & 0x10;

    qtest_clock_step(q, 15085);
    qtest_check_ne(qtest_inb(q, PORT_B) & 0x10, before);
    qtest_outb(q, PORT_B, 0xff);
    qtest_check_eq(qtest_inb(q, PORT_B) & 0xcf, 0x0f);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"counting", test_counting}, {"latches", test_latches},
    {"bcd", test_bcd},           {"outputs", test_outputs},
    {"gate", test_gate},         {"interrupts", test_interrupts},
    {"reset", test_reset},       {"too_fast", test_too_fast},
    {"refresh", test_refresh},   {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

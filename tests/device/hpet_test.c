/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The high precision event timer, which is there with -machine hpet=on. */
#include "qtest_client.h"

#define MACHINE "-machine pc,hpet=on -m 64 -nodefaults"
#define BASE    0xfed00000ull
#define GSI     20

enum { CAPS = 0x000, CONFIG = 0x010, STATUS = 0x020, COUNTER = 0x0f0 };
enum { LEVEL = 2, ENABLE = 4, PERIODIC = 8, SET = 0x40, BITS32 = 0x100, ROUTE = 1 << 9 };
#define FIXED         0x00ff000000000030ull
#define TIMER(n, reg) (0x100 + 0x20 * (n) + (reg))

static void put(QTest *q, unsigned reg, uint64_t value)
{
    qtest_writeq(q, BASE + reg, value);
}

static uint64_t get(QTest *q, unsigned reg)
{
    return qtest_readq(q, BASE + reg);
}

static QTest *start(void)
{
    QTest *q = qtest_start(MACHINE);

    qtest_irq_intercept_in(q, "ioapic");
    put(q, CONFIG, 1);
    return q;
}

static void step(QTest *q, uint64_t ticks)
{
    qtest_clock_step(q, ticks * 10);
}

static void test_registers(void)
{
    QTest *q = qtest_start(MACHINE);

    qtest_check_eq(get(q, CAPS), 0x0098968080862201ull);
    qtest_check_eq(qtest_readl(q, BASE + CAPS + 4), 10000000);
    put(q, CAPS, 0);
    qtest_check_eq(get(q, CAPS), 0x0098968080862201ull);
    /* It stands, and takes a value by halves; then it runs, and takes none. */
    qtest_writel(q, BASE + COUNTER + 4, 0x12);
    qtest_writel(q, BASE + COUNTER, 0xfffffff0);
    step(q, 100);
    qtest_check_eq(get(q, COUNTER), 0x12fffffff0ull);
    put(q, CONFIG, ~0ull);
    qtest_check_eq(get(q, CONFIG), 1); /* no legacy replacement */
    step(q, 32);
    qtest_check_eq(get(q, COUNTER), 0x1300000010ull);
    qtest_check_eq(qtest_readl(q, BASE + COUNTER + 4), 0x13);
    put(q, COUNTER, 5);
    qtest_check_eq(get(q, COUNTER), 0x1300000010ull);
    put(q, CONFIG, 0);
    step(q, 1000);
    qtest_check_eq(get(q, COUNTER), 0x1300000010ull);
    /* Timers: what can be written, routes that are there, the end of the timers. */
    for (unsigned n = 0; n < 3; n++) {
        qtest_check_eq(get(q, TIMER(n, 0)), FIXED);
        qtest_check_eq(get(q, TIMER(n, 8)), ~0ull);
        put(q, TIMER(n, 0), ~0ull & ~(uint64_t)(31 * ROUTE));
        qtest_check_eq(get(q, TIMER(n, 0)), FIXED | 0x14e);
        qtest_check_eq(get(q, TIMER(n, 8)), 0xffffffff);
        put(q, TIMER(n, 0), 17 * ROUTE);
        put(q, TIMER(n, 0), 3 * ROUTE);
        qtest_check_eq(get(q, TIMER(n, 0)), FIXED | 17 * ROUTE);
        put(q, TIMER(n, 0x10), 0x1122334455667788ull);
        qtest_check_eq(get(q, TIMER(n, 0x10)), 0x1122334455667788ull);
    }
    qtest_check_eq(get(q, TIMER(3, 0)), 0);
    put(q, TIMER(3, 0), ~0ull);
    put(q, TIMER(31, 8), 1);
    qtest_check_eq(get(q, 0x3f8), 0);
    qtest_system_reset(q);
    qtest_check_eq(get(q, TIMER(1, 0)), FIXED);
    qtest_check_eq(get(q, COUNTER), 0);
    qtest_end(q);
    q = qtest_start("-machine pc -m 64 -nodefaults");
    qtest_check_eq(get(q, CAPS), ~0ull);
    qtest_end(q);
}

static void test_one_shot(void)
{
    QTest *q = start();

    put(q, TIMER(0, 0), ENABLE | GSI * ROUTE);
    put(q, TIMER(0, 8), 1000);
    step(q, 999);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    step(q, 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    qtest_check(!qtest_irq(q, GSI));
    step(q, 1000000);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    /* A value that has passed is not waited for; one that is far off is. */
    put(q, TIMER(0, 8), get(q, COUNTER) - 5);
    step(q, 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    put(q, TIMER(0, 8), get(q, COUNTER) + (1ull << 62));
    step(q, 1ull << 40);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    /* The interrupt off, and on; the counter off, and on. */
    put(q, TIMER(0, 8), get(q, COUNTER) + 100);
    put(q, TIMER(0, 0), GSI * ROUTE);
    step(q, 50);
    put(q, TIMER(0, 0), ENABLE | GSI * ROUTE);
    put(q, CONFIG, 0);
    step(q, 500);
    put(q, CONFIG, 1);
    step(q, 49);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    step(q, 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    /* 32 bits: each time that the counter comes by. */
    put(q, TIMER(0, 0), ENABLE | BITS32 | GSI * ROUTE);
    put(q, TIMER(0, 8), 0xabc00000000ull | (uint32_t)(get(q, COUNTER) + 10));
    qtest_check_eq(get(q, TIMER(0, 8)) >> 32, 0);
    step(q, 10);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    step(q, (1ull << 32) - 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    step(q, 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    qtest_end(q);
}

static void test_periodic(void)
{
    QTest *q = start();

    put(q, TIMER(1, 0), ENABLE | PERIODIC | SET | GSI * ROUTE);
    put(q, TIMER(1, 8), 10000);
    put(q, TIMER(1, 8), 7000);
    qtest_check_eq(get(q, TIMER(1, 0)) & SET, 0);
    qtest_check_eq(get(q, TIMER(1, 8)), 10000);
    step(q, 9999);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    for (unsigned i = 1; i < 5; i++) {
        step(q, i == 1 ? 1 : 7000);
        qtest_check_eq(qtest_irq_count(q, GSI), 1);
        qtest_check_eq(get(q, TIMER(1, 8)), 10000 + i * 7000);
    }
    /* By halves: the bit holds until the upper one. */
    put(q, CONFIG, 0);
    put(q, COUNTER, 0x1ffffff00ull);
    put(q, TIMER(1, 0), ENABLE | PERIODIC | SET | GSI * ROUTE);
    qtest_writel(q, BASE + TIMER(1, 8), 0xffffff80);
    qtest_writel(q, BASE + TIMER(1, 12), 1);
    qtest_check_eq(get(q, TIMER(1, 8)), 0x1ffffff80ull);
    put(q, TIMER(1, 8), 6000);
    put(q, CONFIG, 1);
    step(q, 0x80);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    step(q, 6000);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    /* A period of a tick, and of none: bounded. */
    put(q, TIMER(1, 0), ENABLE | PERIODIC | SET | GSI * ROUTE);
    put(q, TIMER(1, 8), get(q, COUNTER) + 1);
    put(q, TIMER(1, 8), 1);
    step(q, 100000);
    unsigned n = qtest_irq_count(q, GSI);
    qtest_check(n && n <= 100000 / 5000 + 1);
    put(q, TIMER(1, 8), 0);
    step(q, 100000);
    qtest_check(qtest_irq_count(q, GSI) <= 1);
    /* Without its interrupt it goes on, and wakes nobody up. */
    put(q, TIMER(1, 0), PERIODIC | SET | GSI * ROUTE);
    put(q, TIMER(1, 8), get(q, COUNTER) + 100);
    put(q, TIMER(1, 8), 100);
    uint64_t first = get(q, TIMER(1, 8));
    step(q, 1050);
    qtest_check_eq(get(q, TIMER(1, 8)), first + 1000);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    qtest_end(q);
}

static void test_level(void)
{
    QTest *q = start();

    put(q, TIMER(2, 0), ENABLE | LEVEL | GSI * ROUTE);
    put(q, TIMER(2, 8), 100);
    step(q, 100);
    qtest_check(qtest_irq(q, GSI));
    qtest_check_eq(get(q, STATUS), 4);
    put(q, STATUS, 3);
    qtest_writel(q, BASE + STATUS + 4, ~0u);
    qtest_check(qtest_irq(q, GSI));
    /* It follows its route, and is silent while the whole stands. */
    put(q, TIMER(2, 0), ENABLE | LEVEL | 21 * ROUTE);
    qtest_check(!qtest_irq(q, GSI) && qtest_irq(q, 21));
    put(q, CONFIG, 0);
    qtest_check(!qtest_irq(q, 21));
    put(q, CONFIG, 1);
    qtest_check(qtest_irq(q, 21));
    put(q, STATUS, 4);
    qtest_check(!qtest_irq(q, 21));
    qtest_check_eq(get(q, STATUS), 0);
    qtest_end(q);
}

static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    QTest *q = start();
    uint64_t counter;

    put(q, TIMER(0, 0), ENABLE | PERIODIC | SET | GSI * ROUTE);
    put(q, TIMER(0, 8), 20000);
    put(q, TIMER(0, 8), 20000);
    step(q, 5000);
    counter = get(q, COUNTER);
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(q);
    json_decref(qtest_qmp(q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(q, "cont", NULL));
    qtest_irq_count(q, GSI);
    qtest_check_eq(get(q, COUNTER), counter);
    step(q, 14999);
    qtest_check_eq(qtest_irq_count(q, GSI), 0);
    step(q, 1);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    step(q, 20000);
    qtest_check_eq(qtest_irq_count(q, GSI), 1);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"registers", test_registers}, {"one-shot", test_one_shot}, {"periodic", test_periodic},
    {"level", test_level},         {"state", test_state},       {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

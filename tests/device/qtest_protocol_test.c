/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest protocol itself, and the client library on it. */
#include "qtest_client.h"

static void check_answer(QTest *q, const char *command, const char *expected)
{
    g_auto(GStrv) words = qtest_raw(q, "%s", command);
    g_autofree char *answer = g_strjoinv(" ", words);
    if (!g_str_equal(answer, expected)) {
        qtest_fail(__FILE__, __LINE__, "'%s' was answered by '%s', not '%s'", command, answer,
                   expected);
    }
}

static void check_refused(QTest *q, const char *command)
{
    g_auto(GStrv) words = qtest_raw(q, "%s", command);
    qtest_check_str(words[0], "FAIL");
}

static void test_answers(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    check_answer(q, "endianness", "OK little");
    check_answer(q, "outw 0x510 0x0000", "OK");
    check_answer(q, "inb 0x511", "OK 0x0051");
    check_answer(q, "writel 0x200000 0x12345678", "OK");
    check_answer(q, "readb 0x200000", "OK 0x0000000000000078");
    check_answer(q, "readw 0x200001", "OK 0x0000000000003456");
    check_answer(q, "readl 0x200000", "OK 0x0000000012345678");
    check_answer(q, "writeq 2097152 0xfedcba9876543210", "OK");
    check_answer(q, "readq 0x200000", "OK 0xfedcba9876543210");
    check_answer(q, "read 0x200000 4", "OK 0x10325476");
    check_answer(q, "write 0x200002 2 0xaAbB", "OK");
    check_answer(q, "read 0x200000 5", "OK 0x1032aabb98");
    check_answer(q, "memset 0x200000 3 0x5a", "OK");
    check_answer(q, "read 0x200000 4", "OK 0x5a5a5abb");
    check_answer(q, "b64write 0x200000 3 AQID", "OK");
    check_answer(q, "b64read 0x200000 3", "OK AQID");
    check_answer(q, "outb 0x70 0x0d", "OK");
    check_answer(q, "inb 0x71", "OK 0x0080");
    qtest_end(q);
}

static void test_refused(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    check_refused(q, "frobnicate 1 2");
    check_refused(q, "irq_intercept_in nowhere");
    check_answer(q, "endianness", "OK little");
    qtest_end(q);
}

/* Invalid requests. QEMU aborts on some of these. */
static void test_nonsense(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    if (strstr(g_getenv("VMM_BINARY"), "qemu")) {
        qtest_skip("QEMU aborts on these");
    }
    check_refused(q, "outb");
    check_refused(q, "outb 0x70");
    check_refused(q, "outb zero one");
    check_refused(q, "write 0x200000 2 aabb");
    check_refused(q, "write 0x200000 2 0xgg");
    check_refused(q, "read 0x200000 0xffffffffffff");
    check_refused(q, "b64write 0x200000 30 AQID");
    check_refused(q, "set_irq_in nowhere unnamed-gpio-in 0 1");
    check_refused(q, "clock_step -5");
    check_refused(q, "clock_step 0xffffffffffffffff");
    check_refused(q, "clock_set -1");
    check_answer(q, "  outb   0x70  0x0d ", "OK");
    check_answer(q, "endianness", "OK little");
    qtest_end(q);
}

static void test_bulk(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    size_t len = 3 * 1024 * 1024 + 17;
    g_autofree uint8_t *a = g_malloc(len), *b = g_malloc(len);
    uint64_t addr = qtest_alloc(q, len, 4096);
    for (size_t i = 0; i < len; i++) {
        a[i] = i * 7 + (i >> 9);
    }
    qtest_write(q, addr, a, len);
    qtest_read(q, addr, b, len);
    qtest_check_mem(a, b, len);
    qtest_memset(q, addr, 0xc3, len);
    qtest_check_eq(qtest_readb(q, addr + len - 1), 0xc3);
    qtest_end(q);
}

static void test_clock(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    qtest_check_eq(qtest_clock_set(q, 1000), 1000);
    qtest_check_eq(qtest_clock_step(q, 500), 1500);
    qtest_check_eq(qtest_clock_step(q, 1000000000), 1000001500);
    /* An hour, with all timers that expire meanwhile. */
    qtest_check_eq(qtest_clock_step(q, 3600000000000), 3601000001500);
    qtest_end(q);
}

static void test_unmapped(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    qtest_check_eq(qtest_inb(q, 0x9999), 0xff);
    qtest_check_eq(qtest_inl(q, 0x9998), 0xffffffffu);
    qtest_outl(q, 0x9998, 1);
    qtest_writel(q, 0xf0000000, 1);
    qtest_end(q);
}

static void test_ram_size(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    qtest_check_eq(qtest_ram_size(q), 64 * 1024 * 1024);
    qtest_end(q);
    q = qtest_start("-machine pc");
    qtest_check_eq(qtest_ram_size(q), 128 * 1024 * 1024);
    qtest_end(q);
}

static void test_irq_intercept(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    qtest_irq_intercept_in(q, "ioapic");
    check_answer(q, "irq_intercept_in ioapic", "OK");
    /* The first serial port's interrupt by its 'transmitter empty'. */
    qtest_outb(q, 0x3fc, 0x08);
    qtest_outb(q, 0x3f9, 0x02);
    qtest_check(qtest_irq(q, 4));
    qtest_check_eq(qtest_irq_count(q, 4), 1);
    qtest_outb(q, 0x3f9, 0x00);
    qtest_check(!qtest_irq(q, 4));
    qtest_end(q);
}

/* A device's outputs are reported, and still reach their inputs. */
static void test_irq_intercept_out(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -device pc-testdev,id=lines");

    check_refused(q, "irq_intercept_out nowhere");
    check_refused(q, "irq_intercept_out fw_cfg_io"); /* it has no outputs */
    qtest_irq_intercept_out(q, "lines");
    check_answer(q, "irq_intercept_out lines", "OK");
    check_refused(q, "irq_intercept_in lines");
    check_refused(q, "irq_intercept_in ioapic");
    for (unsigned n = 0; n < 24; n++) {
        qtest_outb(q, 0x2000 + n, 1);
        qtest_check(qtest_irq(q, n));
        qtest_outb(q, 0x2000 + n, 1);
        qtest_check_eq(qtest_irq_count(q, n), 1);
        qtest_outb(q, 0x2000 + n, 0);
        qtest_check(!qtest_irq(q, n));
    }
    /* Of two lines on one pin, only the device's line is reported. */
    qtest_outb(q, 0x3fc, 0x08);
    qtest_outb(q, 0x3f9, 0x02);
    qtest_check_eq(qtest_irq_count(q, 4), 0);
    qtest_outb(q, 0x2004, 1);
    qtest_check_eq(qtest_irq_count(q, 4), 1);
    qtest_end(q);

    q = qtest_start("-machine pc -m 64 -device isa-serial,id=com,index=1");
    qtest_irq_intercept_out(q, "/machine/peripheral/com");
    qtest_outb(q, 0x2fc, 0x08);
    qtest_outb(q, 0x2f9, 0x02);
    qtest_check(qtest_irq(q, 0));
    qtest_check(!qtest_irq(q, 3));
    qtest_end(q);
}

/* Unplugging an intercepted device has no effect on the interception of others. */
static void test_irq_intercept_unplugged(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -device virtio-rng-pci,id=rng,addr=5");

    qtest_irq_intercept_out(q, "rng");
    g_free(qtest_hmp(q, "device_del rng"));
    qtest_outl(q, 0xae08, 1u << 5);
    json_decref(qtest_wait_event(q, "DEVICE_DELETED"));
    check_answer(q, "endianness", "OK little");
    qtest_end(q);
}

static void test_set_irq_in(void)
{
    QTest *q = qtest_start("-machine pc -m 64");
    qtest_irq_intercept_in(q, "ioapic");
    qtest_set_irq_in(q, "ioapic", "unnamed-gpio-in", 5, true);
    qtest_check(qtest_irq(q, 5));
    qtest_set_irq_in(q, "ioapic", "unnamed-gpio-in", 5, true);
    qtest_check_eq(qtest_irq_count(q, 5), 1);
    qtest_set_irq_in(q, "ioapic", "unnamed-gpio-in", 5, false);
    qtest_check(!qtest_irq(q, 5));
    qtest_end(q);
}

static void test_two_at_once(void)
{
    QTest *a = qtest_start("-machine pc -m 64"), *b = qtest_start("-machine pc -m 64");
    qtest_writel(a, 0x200000, 1);
    qtest_writel(b, 0x200000, 2);
    qtest_check_eq(qtest_readl(a, 0x200000), 1);
    qtest_check_eq(qtest_readl(b, 0x200000), 2);
    qtest_end(a);
    qtest_end(b);
}

static const QTestCase cases[] = {
    {"answers", test_answers},
    {"refused", test_refused},
    {"nonsense", test_nonsense},
    {"bulk", test_bulk},
    {"clock", test_clock},
    {"unmapped", test_unmapped},
    {"ram-size", test_ram_size},
    {"irq-intercept", test_irq_intercept},
    {"irq-intercept-out", test_irq_intercept_out},
    {"irq-intercept-unplugged", test_irq_intercept_unplugged},
    {"set-irq-in", test_set_irq_in},
    {"two-at-once", test_two_at_once},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

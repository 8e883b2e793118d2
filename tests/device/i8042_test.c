/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller, system control port A, and resets by both. */
#include "ps2_client.h"

#define DATA   0x60
#define STATUS 0x64
#define OBF    0x01
#define SYS    0x04
#define AUX    0x20

static QTest *start(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults");
    qtest_irq_intercept_in(q, "ioapic");
    return q;
}

static void command(QTest *q, uint8_t v)
{
    qtest_outb(q, STATUS, v);
}

static uint8_t answer(QTest *q)
{
    qtest_check(qtest_inb(q, STATUS) & OBF);
    uint8_t v = qtest_inb(q, DATA);
    qtest_check(!(qtest_inb(q, STATUS) & OBF));
    return v;
}

static void set_mode(QTest *q, uint8_t mode)
{
    command(q, 0x60);
    qtest_outb(q, DATA, mode);
}

/* The sequence by which firmware initialises the controller. */
static void test_self_test(void)
{
    QTest *q = start();
    qtest_check_eq(qtest_inb(q, STATUS) & (OBF | 0x02), 0);
    command(q, 0xad);
    command(q, 0xa7);
    command(q, 0xaa);
    qtest_check_eq(answer(q), 0x55);
    qtest_check(qtest_inb(q, STATUS) & SYS);
    command(q, 0xab);
    qtest_check_eq(answer(q), 0x00);
    command(q, 0xa9);
    qtest_check_eq(answer(q), 0x00);
    command(q, 0x20);
    qtest_check_eq(answer(q) & 0x30, 0x30); /* both ports are disabled */
    command(q, 0xae);
    command(q, 0xa8);
    command(q, 0x20);
    qtest_check_eq(answer(q) & 0x30, 0x00);
    set_mode(q, 0x65);
    command(q, 0x20);
    qtest_check_eq(answer(q), 0x65);
    qtest_end(q);
}

/* Commands that only answer. */
static void test_answers(void)
{
    QTest *q = start();

    command(q, 0xa4); /* is there a password? */
    qtest_check_eq(answer(q), 0xf1);
    command(q, 0xe0); /* the lines to the keyboard: both are high */
    qtest_check_eq(answer(q), 0x03);
    command(q, 0xad); /* the clock of a disabled one is held low */
    command(q, 0xe0);
    qtest_check_eq(answer(q), 0x02);
    for (unsigned i = 1; i < 0x20; i++) {
        command(q, 0x60 + i);
        qtest_outb(q, DATA, 0x80 + i);
    }
    for (unsigned i = 1; i < 0x20; i++) {
        command(q, 0x20 + i);
        qtest_check_eq(answer(q), 0x80 + i);
    }
    qtest_end(q);
}

/* A byte to a device enables its interface; what a disabled one has to send is kept. */
static void test_disabled(void)
{
    QTest *q = start();

    set_mode(q, 0x03);
    command(q, 0xad);
    ps2_key(q, "a", true);
    qtest_check(!(qtest_inb(q, STATUS) & OBF));
    command(q, 0xae);
    qtest_check(qtest_irq(q, 1));
    /* A byte that is there already interrupts no longer, until the interface is enabled again. */
    command(q, 0xad);
    qtest_check(!qtest_irq(q, 1));
    qtest_check(qtest_inb(q, STATUS) & OBF);
    command(q, 0xae);
    qtest_check(qtest_irq(q, 1));
    ps2_expect(q, "1c");
    ps2_mouse(q, 0xf4);
    ps2_expect(q, "mfa");
    command(q, 0xa7);
    ps2_move(q, 1, 1);
    qtest_check(!(qtest_inb(q, STATUS) & OBF));
    command(q, 0xa8);
    qtest_check(qtest_irq(q, 12));
    ps2_expect(q, "m28 m01 mff");
    set_mode(q, 0x33);
    ps2_kbd(q, 0xee);
    ps2_expect(q, "ee");
    ps2_mouse(q, 0xf2);
    ps2_expect(q, "mfa m00");
    command(q, 0x20);
    qtest_check_eq(answer(q), 0x03);
    qtest_end(q);
}

/* An answer of the controller comes before a device's byte, which is not lost. */
static void test_order(void)
{
    QTest *q = start();

    set_mode(q, 0x03);
    ps2_key(q, "a", true);
    ps2_key(q, "b", true);
    command(q, 0x20);
    qtest_check_eq(qtest_inb(q, DATA), 0x03);
    qtest_check(qtest_irq(q, 1)); /* by another edge */
    ps2_expect(q, "1c 32");
    ps2_mouse(q, 0xf2);
    command(q, 0xd2);
    qtest_outb(q, DATA, 0x77);
    command(q, 0x20);
    ps2_expect(q, "03 mfa m00");
    ps2_key(q, "a", false);
    command(q, 0xaa); /* the self-test drops what is in the buffer */
    ps2_expect(q, "55 1c");
    qtest_end(q);
}

/*
 * After a scan code the port gives the same byte for a while, as for a BIOS's handler that is
 * called by a program's own; answers do not wait for that.
 */
static void test_distance(void)
{
    QTest *q = start();

    set_mode(q, 0x03);
    ps2_key(q, "up", true);
    qtest_check_eq(qtest_inb(q, DATA), 0xe0);
    qtest_check(!(qtest_inb(q, STATUS) & OBF) && !qtest_irq(q, 1));
    qtest_check_eq(qtest_inb(q, DATA), 0xe0);
    qtest_clock_step(q, 400 * 1000);
    qtest_check(!(qtest_inb(q, STATUS) & OBF));
    ps2_kbd(q, 0xf2);
    qtest_check_eq(qtest_inb(q, DATA), 0xfa);
    qtest_check_eq(qtest_inb(q, DATA), 0xab);
    qtest_check_eq(qtest_inb(q, DATA), 0x83);
    qtest_check(!(qtest_inb(q, STATUS) & OBF));
    qtest_clock_step(q, 200 * 1000);
    qtest_check(qtest_irq(q, 1));
    qtest_check_eq(qtest_inb(q, DATA), 0x75);
    ps2_expect(q, "");
    qtest_end(q);
}

/* The loopback commands by which drivers probe the controller. */
static void test_output_buffer(void)
{
    QTest *q = start();
    set_mode(q, 0x03);
    command(q, 0xd2);
    qtest_outb(q, DATA, 0x5a);
    qtest_check(qtest_irq(q, 1));
    qtest_check_eq(qtest_inb(q, STATUS) & (OBF | AUX), OBF);
    qtest_check_eq(answer(q), 0x5a);
    qtest_check(!qtest_irq(q, 1));
    command(q, 0xd3);
    qtest_outb(q, DATA, 0xa5);
    qtest_check(qtest_irq(q, 12));
    qtest_check_eq(qtest_inb(q, STATUS) & (OBF | AUX), OBF | AUX);
    qtest_check_eq(answer(q), 0xa5);
    qtest_check(!qtest_irq(q, 12));
    /* Masked by the command byte. */
    set_mode(q, 0x00);
    qtest_irq_count(q, 1);
    qtest_irq_count(q, 12);
    command(q, 0xd2);
    qtest_outb(q, DATA, 1);
    answer(q);
    command(q, 0xd3);
    qtest_outb(q, DATA, 2);
    answer(q);
    qtest_check_eq(qtest_irq_count(q, 1) + qtest_irq_count(q, 12), 0);
    qtest_end(q);
}

static void test_output_port(void)
{
    QTest *q = start();
    command(q, 0xd0);
    qtest_check_eq(answer(q) & 0x03, 0x03); /* not in reset, A20 on */
    command(q, 0xdd);
    command(q, 0xd0);
    qtest_check_eq(answer(q) & 0x02, 0x00);
    command(q, 0xdf);
    command(q, 0xd0);
    qtest_check_eq(answer(q) & 0x02, 0x02);
    command(q, 0xd1);
    qtest_outb(q, DATA, 0xdd);
    command(q, 0xd0);
    qtest_check_eq(answer(q) & 0x03, 0x01);
    command(q, 0xc0);
    qtest_check_eq(answer(q) & 0x80, 0x80);
    qtest_end(q);
}

static void check_guest_reset(QTest *q)
{
    json_t *event = qtest_wait_event(q, "RESET");
    qtest_check(json_is_true(json_object_get(json_object_get(event, "data"), "guest")));
    json_decref(event);
}

static void test_reset_line(void)
{
    QTest *q = start();
    qtest_check(!qtest_has_event(q, "RESET"));
    set_mode(q, 0x47);
    command(q, 0xfe);
    check_guest_reset(q);
    command(q, 0x20);
    qtest_check_eq(answer(q), 0x03); /* the reset resets the controller, too */
    command(q, 0xff);                /* pulses nothing */
    qtest_check(!qtest_has_event(q, "RESET"));
    command(q, 0xd1);
    qtest_outb(q, DATA, 0xde);
    check_guest_reset(q);
    qtest_end(q);
}

static void test_port92(void)
{
    QTest *q = start();
    qtest_check_eq(qtest_inb(q, 0x92) & 0x01, 0);
    qtest_outb(q, 0x92, 0x02);
    qtest_check_eq(qtest_inb(q, 0x92), 0x02);
    qtest_outb(q, 0x92, 0x00);
    qtest_check_eq(qtest_inb(q, 0x92), 0x00);
    qtest_check(!qtest_has_event(q, "RESET"));
    qtest_outb(q, 0x92, 0x01);
    check_guest_reset(q);
    qtest_end(q);
}

static void test_no_reboot(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -no-reboot");
    qtest_check(!qtest_has_event(q, "RESET"));
    command(q, 0xfe);
    qtest_check_eq(qtest_wait_exit(q), 0);
}

static void test_nonsense(void)
{
    QTest *q = start();
    for (unsigned v = 0; v < 0xf0; v++) {
        command(q, v);
        qtest_outb(q, DATA, v == 0xd1 ? 0xff : ~v);
        qtest_inb(q, DATA);
        qtest_inb(q, STATUS);
    }
    qtest_check(!qtest_has_event(q, "RESET"));
    g_free(ps2_read(q));
    command(q, 0xaa);
    qtest_check_eq(answer(q), 0x55);
    qtest_end(q);
}

/* A guest that never reads: answers and scan codes have a bound, and the devices go on. */
static void test_flood(void)
{
    static const uint8_t codes[] = {0xd2, 0xd3, 0xd4, 0x20, 0xd0, 0xc0, 0x60};
    QTest *q = start();

    for (unsigned c = 0; c < sizeof codes; c++) {
        for (unsigned i = 0; i < 1000; i++) {
            command(q, codes[c]);
            qtest_outb(q, DATA, codes[c] == 0x60 ? 0x03 : 0xf2);
        }
    }
    for (unsigned byte = 0xe0; byte <= 0xff; byte++) {
        for (unsigned i = 0; i < 300; i++) {
            qtest_outb(q, DATA, byte);
        }
    }
    for (unsigned i = 0; i < 40; i++) {
        g_free(qtest_hmp(q, "sendkey a-b-c-d-e-f 1"));
        g_free(qtest_hmp(q, "mouse_move 127 -127 1"));
    }
    qtest_clock_step(q, 1000000000);
    for (unsigned i = 0; i < 2000 && qtest_inb(q, STATUS) & OBF; i++) {
        qtest_inb(q, DATA);
        qtest_clock_step(q, 1000000);
        qtest_check_le(i, 1000);
    }
    command(q, 0xaa);
    qtest_check_eq(answer(q), 0x55);
    qtest_outb(q, DATA, 0xee);
    qtest_check_eq(answer(q), 0xee);
    qtest_end(q);
}

/* i8042=off: no ports, and the tables say so. */
static void test_off(void)
{
    for (unsigned on = 0; on < 2; on++) {
        QTest *q =
            qtest_start(on ? "-machine pc -nodefaults" : "-machine pc,i8042=off -nodefaults");
        uint32_t len;
        uint16_t key = qtest_fw_cfg_find(q, "etc/acpi/tables", &len);
        g_autofree uint8_t *tables = g_malloc(len);
        const uint8_t *fadt, *name;

        qtest_check_eq(qtest_inb(q, STATUS) == 0xff, !on);
        qtest_outb(q, 0x70, 0x14);
        qtest_check_eq(qtest_inb(q, 0x71) & 0x04, on ? 0x04 : 0);
        qtest_fw_cfg_read(q, key, tables, len);
        fadt = memmem(tables, len, "FACP", 4);
        qtest_check(fadt && fadt + 110 < tables + len);
        qtest_check_eq(fadt[109], on ? 3 : 1);
        name = memmem(tables, len, "KBDS", 4);
        qtest_check(name && name[4] == 0x0c && name[5] == on);
        qtest_end(q);
    }
}

static const QTestCase cases[] = {
    {"self-test", test_self_test},
    {"answers", test_answers},
    {"disabled", test_disabled},
    {"order", test_order},
    {"distance", test_distance},
    {"output-buffer", test_output_buffer},
    {"output-port", test_output_port},
    {"reset-line", test_reset_line},
    {"port92", test_port92},
    {"no-reboot", test_no_reboot},
    {"nonsense", test_nonsense},
    {"off", test_off},
    {"flood", test_flood},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two 8237s: registers, and transfers by requests of the guest's own, which write ones to
 * memory. What devices transfer is tested with the floppy controller.
 */
#include "qtest_client.h"

#define MACHINE "-machine pc -m 64 -nodefaults "

enum { TO_MEMORY = 0x04, FROM_MEMORY = 0x08, AUTO = 0x10, DOWN = 0x20, BLOCK = 0x80 };
enum { STATUS, REQUEST, SINGLE_MASK, MODE, CLEAR_BYTE, MASTER_CLEAR, CLEAR_MASK, ALL_MASK };

/* A controller: 0 moves bytes, 1 words. */
static uint16_t control(unsigned c, unsigned reg)
{
    return c ? 0xd0 + 2 * reg : 0x08 + reg;
}

static uint16_t address_port(unsigned c, unsigned n)
{
    return c ? 0xc0 + 4 * n : 2 * n;
}

static uint16_t count_port(unsigned c, unsigned n)
{
    return c ? 0xc2 + 4 * n : 2 * n + 1;
}

static uint16_t page_port(unsigned c, unsigned n)
{
    static const uint8_t ports[2][4] = {{0x87, 0x83, 0x81, 0x82}, {0x8f, 0x8b, 0x89, 0x8a}};

    return ports[c][n];
}

static void put16(QTest *q, uint16_t port, uint16_t value)
{
    qtest_outb(q, port, value);
    qtest_outb(q, port, value >> 8);
}

static uint16_t get16(QTest *q, uint16_t port)
{
    uint8_t low = qtest_inb(q, port);

    return low | qtest_inb(q, port) << 8;
}

static void program(QTest *q, unsigned c, unsigned n, uint8_t mode, uint8_t page, uint16_t addr,
                    uint16_t count)
{
    qtest_outb(q, control(c, SINGLE_MASK), 4 | n);
    qtest_outb(q, control(c, MODE), mode | n);
    qtest_outb(q, control(c, CLEAR_BYTE), 0);
    qtest_outb(q, page_port(c, n), page);
    put16(q, address_port(c, n), addr);
    put16(q, count_port(c, n), count);
}

static void request(QTest *q, unsigned c, unsigned n)
{
    qtest_outb(q, control(c, REQUEST), 4 | n);
}

static void test_registers(void)
{
    QTest *q = qtest_start(MACHINE);

    for (unsigned c = 0; c < 2; c++) {
        qtest_check_eq(qtest_inb(q, control(c, ALL_MASK)), 0x0f);
        qtest_check_eq(qtest_inb(q, control(c, STATUS)), 0);
        for (unsigned n = 0; n < 4; n++) {
            program(q, c, n, TO_MEMORY, 0x10 * (n + 1), 0x1230 + n, 0xabc0 + n);
        }
        for (unsigned n = 0; n < 4; n++) {
            qtest_check_eq(get16(q, address_port(c, n)), 0x1230 + n);
            qtest_check_eq(get16(q, count_port(c, n)), 0xabc0 + n);
            qtest_check_eq(qtest_inb(q, page_port(c, n)), 0x10 * (n + 1));
        }
        /* The byte pointer is common to all, and writes move it too. */
        qtest_inb(q, address_port(c, 0));
        qtest_check_eq(qtest_inb(q, address_port(c, 1)), 0x12);
        qtest_outb(q, address_port(c, 2), 0x77);
        qtest_check_eq(qtest_inb(q, address_port(c, 2)), 0x12);
        qtest_check_eq(get16(q, address_port(c, 2)), 0x1277);
        qtest_inb(q, address_port(c, 2));
        qtest_outb(q, control(c, CLEAR_BYTE), 0xff);
        qtest_check_eq(qtest_inb(q, address_port(c, 2)), 0x77);
        /* Masks. */
        qtest_outb(q, control(c, CLEAR_MASK), 0);
        qtest_check_eq(qtest_inb(q, control(c, ALL_MASK)), 0);
        qtest_outb(q, control(c, SINGLE_MASK), 4 | 2);
        qtest_check_eq(qtest_inb(q, control(c, ALL_MASK)), 4);
        qtest_outb(q, control(c, SINGLE_MASK), 2);
        qtest_outb(q, control(c, ALL_MASK), 0xf9);
        qtest_check_eq(qtest_inb(q, control(c, ALL_MASK)), 9);
        qtest_outb(q, control(c, MASTER_CLEAR), 0);
        qtest_check_eq(qtest_inb(q, control(c, ALL_MASK)), 0x0f);
        /* Its byte pointer is at the low byte again. */
        qtest_check_eq(qtest_inb(q, address_port(c, 3)), 0x33);
    }
    /* Pages that no channel has, and the even port beside a register of the second controller. */
    qtest_outb(q, 0x84, 0x5a);
    qtest_outb(q, 0x8d, 0xa5);
    qtest_check_eq(qtest_inb(q, 0x84), 0x5a);
    qtest_check_eq(qtest_inb(q, 0x8d), 0xa5);
    qtest_outb(q, 0xd0 + 2 * ALL_MASK + 1, 3);
    qtest_check_eq(qtest_inb(q, control(1, ALL_MASK)), 3);
    qtest_system_reset(q);
    qtest_check_eq(qtest_inb(q, 0x84), 0);
    qtest_check_eq(qtest_inb(q, control(1, ALL_MASK)), 0x0f);
    qtest_end(q);
}

/* Ones are at [first, first + len) and nowhere near. */
static void check_ones(QTest *q, uint64_t first, unsigned len)
{
    uint8_t buf[512];

    qtest_check(len + 32 <= sizeof buf);
    qtest_read(q, first - 16, buf, len + 32);
    for (unsigned i = 0; i < len + 32; i++) {
        qtest_check_eq(buf[i], i >= 16 && i < 16 + len ? 0xff : 0);
    }
    qtest_memset(q, first, 0, len);
}

static void test_transfers(void)
{
    QTest *q = qtest_start(MACHINE);

    qtest_memset(q, 0x100000, 0, 0x40000);
    program(q, 0, 1, BLOCK | TO_MEMORY, 0x10, 0x8000, 99);
    request(q, 0, 1);
    check_ones(q, 0x108000, 100);
    qtest_check_eq(get16(q, address_port(0, 1)), 0x8064);
    qtest_check_eq(get16(q, count_port(0, 1)), 0xffff);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0x02);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0); /* read once */
    /* Down; words, whose page has no bit 0. */
    program(q, 0, 1, BLOCK | TO_MEMORY | DOWN, 0x10, 0x8000, 99);
    request(q, 0, 1);
    check_ones(q, 0x108001 - 100, 100);
    program(q, 1, 2, BLOCK | TO_MEMORY, 0x13, 0x8000, 99);
    request(q, 1, 2);
    check_ones(q, 0x130000, 200);
    program(q, 1, 2, BLOCK | TO_MEMORY | DOWN, 0x12, 0x8000, 99);
    request(q, 1, 2);
    check_ones(q, 0x130002 - 200, 200);
    /* The address wraps in its page. */
    program(q, 0, 0, BLOCK | TO_MEMORY, 0x11, 0xfff0, 31);
    request(q, 0, 0);
    check_ones(q, 0x11fff0, 16);
    check_ones(q, 0x110000, 16);
    /* Initialized again at the end, and not masked. */
    qtest_outb(q, control(0, CLEAR_MASK), 0);
    program(q, 0, 3, BLOCK | TO_MEMORY | AUTO, 0x10, 0x4000, 9);
    qtest_outb(q, control(0, SINGLE_MASK), 3);
    request(q, 0, 3);
    check_ones(q, 0x104000, 10);
    qtest_check_eq(get16(q, address_port(0, 3)), 0x4000);
    qtest_check_eq(get16(q, count_port(0, 3)), 9);
    qtest_check_eq(qtest_inb(q, control(0, ALL_MASK)), 0);
    program(q, 0, 3, BLOCK | TO_MEMORY, 0x10, 0x4000, 9);
    qtest_outb(q, control(0, SINGLE_MASK), 3);
    request(q, 0, 3);
    check_ones(q, 0x104000, 10);
    qtest_check_eq(qtest_inb(q, control(0, ALL_MASK)), 8);
    qtest_end(q);
}

/* Requests that move nothing. */
static void test_idle(void)
{
    QTest *q = qtest_start(MACHINE);

    qtest_memset(q, 0x100000, 0, 0x10000);
    /* To verify, and from memory. */
    program(q, 0, 1, BLOCK, 0x10, 0x8000, 99);
    request(q, 0, 1);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0x02);
    program(q, 0, 1, BLOCK | FROM_MEMORY, 0x10, 0x8000, 0xffff);
    request(q, 0, 1);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0x02);
    /* Not in block mode; taken back. */
    program(q, 0, 1, TO_MEMORY, 0x10, 0x8000, 99);
    request(q, 0, 1);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0x20);
    qtest_outb(q, control(0, REQUEST), 1);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0);
    /* The controller is off. */
    qtest_outb(q, control(0, STATUS), 4);
    program(q, 0, 1, BLOCK | TO_MEMORY, 0x10, 0x8000, 99);
    request(q, 0, 1);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)), 0x20);
    qtest_check_eq(get16(q, count_port(0, 1)), 99);
    for (unsigned i = 0; i < 200; i++) {
        qtest_check_eq(qtest_readb(q, 0x108000 - 50 + i), 0);
    }
    /* Where there is no RAM. */
    qtest_outb(q, control(0, STATUS), 0);
    program(q, 0, 2, BLOCK | TO_MEMORY, 0x0a, 0x0000, 0xffff);
    request(q, 0, 2);
    qtest_check_eq(qtest_inb(q, control(0, STATUS)) & 4, 4);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"transfers", test_transfers},
    {"idle", test_idle},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

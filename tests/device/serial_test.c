/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A: every register, interrupts, both FIFOs, and the chardev behind it. */
#include <errno.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qtest_client.h"

#define COM1     0x3f8
#define COM1_IRQ 4

/* The test's end of the line: the program connects to a socket on which the test listens. */
static int line_fd;

static QTest *start_with_line(const char *more)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/line", qtest_tmp_dir());
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    qtest_check(!bind(listener, (struct sockaddr *)&addr, sizeof addr) && !listen(listener, 1));
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults -chardev socket,path=%s,id=line "
                            "-serial chardev:line %s",
                            addr.sun_path, more);
    line_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    qtest_check(line_fd >= 0);
    close(listener);
    qtest_irq_intercept_in(q, "ioapic");
    return q;
}

static void end_with_line(QTest *q)
{
    qtest_end(q);
    close(line_fd);
}

static void send_to_guest(QTest *q, const char *text, size_t len)
{
    qtest_check_eq(write(line_fd, text, len), len);
}

static uint8_t reg(QTest *q, unsigned r)
{
    return qtest_inb(q, COM1 + r);
}

static void set(QTest *q, unsigned r, uint8_t v)
{
    qtest_outb(q, COM1 + r, v);
}

static bool has_lsr(QTest *q, uint8_t bit)
{
    return reg(q, UART_LSR) & bit;
}

static void receive_exactly(const char *expected)
{
    char buf[256];
    size_t len = strlen(expected), got = 0;
    while (got < len) {
        struct pollfd p = {.fd = line_fd, .events = POLLIN};
        qtest_check(poll(&p, 1, 5000) > 0);
        ssize_t n = read(line_fd, buf + got, sizeof buf - got);
        qtest_check(n > 0);
        got += n;
    }
    qtest_check_eq(got, len);
    qtest_check_mem(buf, expected, len);
}

static void test_registers(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -serial null");
    qtest_check_eq(reg(q, UART_IER), 0);
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_NO_INT);
    qtest_check_eq(reg(q, UART_LCR), 0);
    qtest_check_eq(reg(q, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
    set(q, UART_SCR, 0xa5);
    qtest_check_eq(reg(q, UART_SCR), 0xa5);
    set(q, UART_IER, 0xff);
    qtest_check_eq(reg(q, UART_IER), 0x0f);
    set(q, UART_IER, 0);
    /* DLAB shows the divisor in place of the data and interrupt enable registers. */
    set(q, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
    set(q, UART_DLL, 0x34);
    set(q, UART_DLM, 0x12);
    qtest_check_eq(reg(q, UART_DLL), 0x34);
    qtest_check_eq(reg(q, UART_DLM), 0x12);
    set(q, UART_LCR, UART_LCR_WLEN8);
    qtest_check_eq(reg(q, UART_IER), 0);
    qtest_check_eq(reg(q, UART_LCR), UART_LCR_WLEN8);
    /* 16-bit accesses are two of 8 bits. */
    qtest_outw(q, COM1 + UART_MCR, 0x0003);
    qtest_check_eq(reg(q, UART_MCR), 0x03);
    qtest_end(q);
}

static void test_fifo_detection(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -serial null");
    qtest_check_eq(reg(q, UART_IIR) & 0xc0, 0);
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    qtest_check_eq(reg(q, UART_IIR) & 0xc0, 0xc0); /* as a 16550A, not a 16550 */
    set(q, UART_FCR, UART_FCR_TRIGGER_14);         /* without bit 0: off */
    qtest_check_eq(reg(q, UART_IIR) & 0xc0, 0);
    qtest_end(q);
}

static void test_transmit(void)
{
    QTest *q = start_with_line("");
    for (const char *p = "Hello"; *p; p++) {
        qtest_check(has_lsr(q, UART_LSR_THRE));
        set(q, UART_TX, *p);
    }
    receive_exactly("Hello");
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    for (const char *p = "0123456789abcdef"; *p; p++) {
        set(q, UART_TX, *p);
    }
    receive_exactly("0123456789abcdef");
    qtest_check_eq(reg(q, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    end_with_line(q);
}

static void test_transmit_interrupt(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_OUT2);
    /* Enabling THRI while THRE is set interrupts. */
    set(q, UART_IER, UART_IER_THRI);
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_THRI);
    qtest_check(!qtest_irq(q, COM1_IRQ)); /* reading IIR answers it */
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_NO_INT);
    qtest_irq_count(q, COM1_IRQ);
    for (int i = 0; i < 3; i++) {
        set(q, UART_TX, 'a' + i);
        qtest_wait_until(qtest_irq(q, COM1_IRQ));
        qtest_check_eq(qtest_irq_count(q, COM1_IRQ), 1);
        qtest_check_eq(reg(q, UART_IIR), UART_IIR_THRI);
    }
    receive_exactly("abc");
    /* Without reading IIR, each character is an edge of its own. */
    set(q, UART_TX, 'd');
    set(q, UART_TX, 'e');
    qtest_wait_until(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(qtest_irq_count(q, COM1_IRQ), 2);
    set(q, UART_IER, 0);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    end_with_line(q);
}

static void test_receive(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_OUT2);
    set(q, UART_IER, UART_IER_RDI);
    send_to_guest(q, "xy", 2);
    qtest_wait_until(has_lsr(q, UART_LSR_DR));
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_RDI);
    qtest_check_eq(reg(q, UART_RX), 'x');
    qtest_wait_until(has_lsr(q, UART_LSR_DR));
    qtest_check_eq(reg(q, UART_RX), 'y');
    qtest_check(!has_lsr(q, UART_LSR_DR));
    qtest_check(!qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_NO_INT);
    end_with_line(q);
}

/* Input beyond the FIFO's size waits in the chardev: a slow guest loses nothing. */
static void test_receive_many(void)
{
    QTest *q = start_with_line("");
    char text[1000];
    for (unsigned i = 0; i < sizeof text; i++) {
        text[i] = 'A' + i % 26;
    }
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
    send_to_guest(q, text, sizeof text);
    for (unsigned i = 0; i < sizeof text; i++) {
        qtest_wait_until(has_lsr(q, UART_LSR_DR));
        qtest_check_eq(reg(q, UART_RX), text[i]);
        qtest_check(!has_lsr(q, UART_LSR_OE));
    }
    end_with_line(q);
}

static void test_trigger_levels(void)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    for (unsigned t = 0; t < 4; t++) {
        QTest *q = start_with_line("");
        set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
        set(q, UART_FCR, UART_FCR_ENABLE_FIFO | t << 6);
        set(q, UART_IER, UART_IER_RDI);
        for (unsigned i = 1; i < levels[t]; i++) {
            set(q, UART_TX, i);
            qtest_check(!qtest_irq(q, COM1_IRQ));
        }
        set(q, UART_TX, 99);
        qtest_check(qtest_irq(q, COM1_IRQ));
        qtest_check_eq(reg(q, UART_IIR), 0xc0 | UART_IIR_RDI);
        /* Below the trigger level the interrupt ends. */
        reg(q, UART_RX);
        qtest_check(!qtest_irq(q, COM1_IRQ));
        end_with_line(q);
        /* The next round listens at the same path. */
        g_autofree char *path = g_strdup_printf("%s/line", qtest_tmp_dir());
        unlink(path);
    }
}

static void test_receive_timeout(void)
{
    QTest *q = start_with_line("");
    set(q, UART_LCR, UART_LCR_DLAB);
    set(q, UART_DLL, 12); /* 9600 */
    set(q, UART_DLM, 0);
    set(q, UART_LCR, UART_LCR_WLEN8);
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);
    set(q, UART_IER, UART_IER_RDI);
    set(q, UART_TX, 'a');
    set(q, UART_TX, 'b');
    qtest_check(!qtest_irq(q, COM1_IRQ));
    /* Four characters of ten bits at 9600: 4.2 ms. */
    qtest_clock_step(q, 4000000);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    qtest_clock_step(q, 400000);
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), 0xc0 | UART_IIR_RX_TIMEOUT);
    /* A read ends the interrupt, and restarts the timeout for the characters left. */
    qtest_check_eq(reg(q, UART_RX), 'a');
    qtest_check(!qtest_irq(q, COM1_IRQ));
    qtest_clock_step(q, 5000000);
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_RX), 'b');
    qtest_clock_step(q, 50000000);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    end_with_line(q);
}

static void test_loopback(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_LOOP);
    reg(q, UART_MSR);
    qtest_check_eq(reg(q, UART_MSR), 0);
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_DSR | UART_MSR_DDSR);
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_DSR); /* reading clears the deltas */
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS);
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_CTS | UART_MSR_DCTS | UART_MSR_DDSR);
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_RI | UART_MSR_DCTS);
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
    /* The ring indicator sets a delta when it falls. */
    qtest_check_eq(reg(q, UART_MSR), UART_MSR_DCD | UART_MSR_DDCD | UART_MSR_TERI);
    /* In loopback a sent character is received, and does not reach the chardev. */
    set(q, UART_TX, 'L');
    qtest_check(has_lsr(q, UART_LSR_DR));
    qtest_check_eq(reg(q, UART_RX), 'L');
    set(q, UART_MCR, 0);
    set(q, UART_TX, 'M');
    receive_exactly("M");
    end_with_line(q);
}

static void test_modem_interrupt(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_LOOP);
    reg(q, UART_MSR);
    set(q, UART_IER, UART_IER_MSI);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS);
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_MSI);
    reg(q, UART_MSR);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    end_with_line(q);
}

static void test_overrun(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_LOOP);
    set(q, UART_IER, UART_IER_RLSI);
    set(q, UART_TX, '1');
    set(q, UART_TX, '2');
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_RLSI);
    qtest_check(has_lsr(q, UART_LSR_OE));
    qtest_check(!has_lsr(q, UART_LSR_OE)); /* reading clears */
    qtest_check(!qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_RX), '2'); /* without FIFO, the last wins */
    /* With a FIFO, the first sixteen stay. */
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    for (int i = 0; i < 17; i++) {
        set(q, UART_TX, 'a' + i);
    }
    qtest_check(has_lsr(q, UART_LSR_OE));
    for (int i = 0; i < 16; i++) {
        qtest_check_eq(reg(q, UART_RX), 'a' + i);
    }
    qtest_check(!has_lsr(q, UART_LSR_DR));
    end_with_line(q);
}

static void test_fifo_clear(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_LOOP);
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    set(q, UART_TX, '1');
    qtest_check(has_lsr(q, UART_LSR_DR));
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    qtest_check(!has_lsr(q, UART_LSR_DR));
    set(q, UART_TX, '2');
    set(q, UART_FCR, 0); /* off and on clear, too */
    qtest_check(!has_lsr(q, UART_LSR_DR));
    end_with_line(q);
}

static void test_break(void)
{
    QTest *q = start_with_line("");
    set(q, UART_MCR, UART_MCR_LOOP);
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    set(q, UART_TX, 'x');
    set(q, UART_LCR, UART_LCR_WLEN8 | UART_LCR_SBC);
    /* The break is the second in the FIFO: only LSR bit 7 shows it. */
    uint8_t lsr = reg(q, UART_LSR);
    qtest_check_eq(lsr & (UART_LSR_BI | 0x80), 0x80);
    qtest_check_eq(reg(q, UART_RX), 'x');
    lsr = reg(q, UART_LSR);
    qtest_check_eq(lsr & (UART_LSR_BI | UART_LSR_DR), UART_LSR_BI | UART_LSR_DR);
    qtest_check_eq(reg(q, UART_LSR) & (UART_LSR_BI | 0x80), 0);
    qtest_check_eq(reg(q, UART_RX), 0);
    end_with_line(q);
}

/* While the socket is not read, the guest waits, but not for ever. */
static void test_backpressure(void)
{
    QTest *q = start_with_line("");
    int64_t start = g_get_monotonic_time();
    bool waited = false;
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    for (unsigned bytes = 0; bytes < 2000000 && !waited; bytes += 16) {
        /* A FIFO of characters as one string: qtest has no string I/O, so mostly by hand. */
        for (int i = 0; i < 16; i++) {
            set(q, UART_TX, '.');
        }
        waited = !has_lsr(q, UART_LSR_THRE);
    }
    qtest_check(waited);
    qtest_wait_until(has_lsr(q, UART_LSR_THRE));
    qtest_check_le((g_get_monotonic_time() - start) / G_USEC_PER_SEC, 40);
    /* Output continues when the socket is read again. */
    char buf[65536];
    while (read(line_fd, buf, sizeof buf) > 0 || errno == EINTR) {
    }
    for (int i = 0; i < 200; i++) {
        set(q, UART_TX, 'z');
        g_usleep(100);
    }
    bool seen = false;
    for (int tries = 0; tries < 2000 && !seen; tries++) {
        ssize_t n = read(line_fd, buf, sizeof buf);
        seen = n > 0 && memchr(buf, 'z', n);
        g_usleep(1000);
    }
    qtest_check(seen);
    end_with_line(q);
}

static void test_reset(void)
{
    QTest *q = start_with_line("");
    set(q, UART_LCR, UART_LCR_WLEN8);
    set(q, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
    set(q, UART_FCR, UART_FCR_ENABLE_FIFO);
    set(q, UART_IER, 0x0f);
    set(q, UART_TX, 'x');
    qtest_check(qtest_irq(q, COM1_IRQ));
    qtest_system_reset(q);
    qtest_check(!qtest_irq(q, COM1_IRQ));
    qtest_check_eq(reg(q, UART_IER), 0);
    qtest_check_eq(reg(q, UART_IIR), UART_IIR_NO_INT);
    qtest_check_eq(reg(q, UART_LCR), 0);
    qtest_check_eq(reg(q, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    qtest_check_eq(reg(q, UART_MCR) & UART_MCR_LOOP, 0);
    end_with_line(q);
}

static void test_four_ports(void)
{
    static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[] = {4, 3, 4, 3};
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -serial null -serial null -serial null "
                           "-serial null");
    qtest_irq_intercept_in(q, "ioapic");
    for (unsigned i = 0; i < 4; i++) {
        qtest_outb(q, ports[i] + UART_SCR, 0x10 + i);
    }
    for (unsigned i = 0; i < 4; i++) {
        qtest_check_eq(qtest_inb(q, ports[i] + UART_SCR), 0x10 + i);
        qtest_outb(q, ports[i] + UART_IER, UART_IER_THRI);
        qtest_check(qtest_irq(q, irqs[i]));
        qtest_outb(q, ports[i] + UART_IER, 0);
        qtest_check(!qtest_irq(q, irqs[i]));
    }
    /* Two ports share IRQ 4: it is high while either interrupts. */
    qtest_outb(q, 0x3f8 + UART_IER, UART_IER_THRI);
    qtest_outb(q, 0x3e8 + UART_IER, UART_IER_THRI);
    qtest_outb(q, 0x3f8 + UART_IER, 0);
    qtest_check(qtest_irq(q, 4));
    qtest_outb(q, 0x3e8 + UART_IER, 0);
    qtest_check(!qtest_irq(q, 4));
    qtest_end(q);
}

static void test_properties(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -chardev null,id=c0 -chardev null,id=c1 "
                           "-device isa-serial,chardev=c0,index=2 "
                           "-device isa-serial,chardev=c1,iobase=0x380,irq=9,id=odd");
    qtest_irq_intercept_in(q, "ioapic");
    qtest_outb(q, 0x3e8 + UART_SCR, 0x77);
    qtest_check_eq(qtest_inb(q, 0x3e8 + UART_SCR), 0x77);
    qtest_outb(q, 0x380 + UART_IER, UART_IER_THRI);
    qtest_check(qtest_irq(q, 9));
    qtest_check_eq(qtest_inb(q, 0x3f8 + UART_SCR), 0xff);
    qtest_end(q);
}

static void check_error(const char *args, const char *part)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);
    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, part)) {
        qtest_fail(__FILE__, __LINE__, "'%s' said '%s', which does not hold '%s'", args, text,
                   part);
    }
}

static void test_errors(void)
{
    check_error("-machine pc -nodefaults -chardev null,id=c0 -device isa-serial,chardev=c0,index=4",
                "Max. supported number of ISA serial ports is 4.");
    check_error("-machine pc -nodefaults -device isa-serial,chardev=nope", "nope");
    check_error("-machine pc -nodefaults -chardev null,id=c0 -device isa-serial,chardev=c0 "
                "-device isa-serial,chardev=c0",
                "in use");
}

/* Under the host's file size limit (ulimit -f) output is lost, and the machine goes on. */
static void test_file_size_limit(void)
{
    struct rlimit limit = {16, 16};
    qtest_check(!setrlimit(RLIMIT_FSIZE, &limit));
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults -serial file:%s/out", qtest_tmp_dir());
    for (int i = 0; i < 40; i++) {
        qtest_outb(q, COM1 + UART_TX, 'x');
    }
    qtest_check(has_lsr(q, UART_LSR_THRE));
    qtest_end(q);
    g_autofree char *path = g_strdup_printf("%s/out", qtest_tmp_dir()), *text = NULL;
    qtest_check(g_file_get_contents(path, &text, NULL, NULL));
    qtest_check_str(text, "xxxxxxxxxxxxxxxx");
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"fifo-detection", test_fifo_detection},
    {"transmit", test_transmit},
    {"transmit-interrupt", test_transmit_interrupt},
    {"receive", test_receive},
    {"receive-many", test_receive_many},
    {"trigger-levels", test_trigger_levels},
    {"receive-timeout", test_receive_timeout},
    {"loopback", test_loopback},
    {"modem-interrupt", test_modem_interrupt},
    {"overrun", test_overrun},
    {"fifo-clear", test_fifo_clear},
    {"break", test_break},
    {"backpressure", test_backpressure},
    {"file-size-limit", test_file_size_limit},
    {"reset", test_reset},
    {"four-ports", test_four_ports},
    {"properties", test_properties},
    {"errors", test_errors},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}

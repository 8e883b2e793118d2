/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The UHCI controller (Intel, UHCI Design Guide 1.1), and keyboard, mouse and tablet behind it, by
 * a driver that has one queue.
 */
#include "qtest_client.h"

enum {
    USBCMD = 0,
    USBSTS = 2,
    USBINTR = 4,
    FRNUM = 6,
    FRBASEADD = 8,
    SOFMOD = 12,
    PORTSC1 = 16,

    CCS = 0x0001,
    CSC = 0x0002,
    PE = 0x0004,
    PEC = 0x0008,
    PR = 0x0200,

    ACTIVE = 1 << 23,
    STALLED = 1 << 22,
    BABBLE = 1 << 20,
    NAK = 1 << 19,
    CRC = 1 << 18,
    IOC = 1 << 24,
    SPD = 1 << 29,
    ERRORS_3 = 3 << 27,

    PID_IN = 0x69,
    PID_OUT = 0xe1,
    PID_SETUP = 0x2d,

    FRAME_NS = 1000000,
    TERMINATE = 1,
    IS_QH = 2,
    DEPTH = 4,
};

typedef struct {
    QTest *q;
    QPci pci;
    uint16_t io;
    uint64_t frames, queue, tds, data, setup;
    uint8_t address;
} Uhci;

static Uhci uhci_open(const char *devices)
{
    Uhci u = {0};

    u.q = qtest_startf("-machine pc -nodefaults -device piix3-usb-uhci,id=u,addr=4 %s", devices);
    qpci_open(u.q, &u.pci, 4, 0);
    qpci_enable(&u.pci);
    u.io = qpci_map_bar(&u.pci, 4).addr;
    u.frames = qtest_alloc(u.q, 4096, 4096);
    u.queue = qtest_alloc(u.q, 16, 16);
    u.tds = qtest_alloc(u.q, 64 * 16, 16);
    u.data = qtest_alloc(u.q, 4096, 4096);
    u.setup = qtest_alloc(u.q, 8, 16);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_writel(u.q, u.frames + 4 * i, u.queue | IS_QH);
    }
    qtest_writel(u.q, u.queue, TERMINATE);
    qtest_writel(u.q, u.queue + 4, TERMINATE);
    qtest_outl(u.q, u.io + FRBASEADD, u.frames);
    qtest_outw(u.q, u.io + USBINTR, 0x0f);
    qtest_outw(u.q, u.io + USBCMD, 0x01);
    return u;
}

static void port_reset(Uhci *u, unsigned n)
{
    uint16_t port = u->io + PORTSC1 + 2 * n;

    qtest_outw(u->q, port, PR | CSC);
    qtest_outw(u->q, port, 0);
    qtest_outw(u->q, port, PE);
    qtest_check_eq(qtest_inw(u->q, port) & (CCS | CSC | PE), CCS | PE);
    u->address = 0;
}

static void put_td(Uhci *u, unsigned n, uint32_t link, uint32_t ctrl, uint8_t pid, uint8_t endpoint,
                   unsigned length, uint64_t buffer)
{
    uint64_t td = u->tds + 16 * n;

    qtest_writel(u->q, td, link);
    qtest_writel(u->q, td + 4, ctrl);
    qtest_writel(u->q, td + 8,
                 pid | u->address << 8 | endpoint << 15 | ((length - 1) & 0x7ff) << 21);
    qtest_writel(u->q, td + 12, buffer);
}

static uint32_t td_ctrl(Uhci *u, unsigned n)
{
    return qtest_readl(u->q, u->tds + 16 * n + 4);
}

static unsigned td_actual(Uhci *u, unsigned n)
{
    return ((td_ctrl(u, n) & 0x7ff) + 1) & 0x7ff;
}

/* Runs TDs 0 to 'last' in the queue, for so many milliseconds. */
static void run(Uhci *u, unsigned ms)
{
    qtest_writel(u->q, u->queue + 4, u->tds);
    qtest_clock_step(u->q, ms * FRAME_NS);
}

/* The number of bytes of a control transfer's data, -1 for a stall. */
static int control(Uhci *u, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                   uint16_t length)
{
    uint8_t setup[8] = {type, request, value, value >> 8, index, index >> 8, length, length >> 8};
    unsigned n = 1, status;
    int actual = 0;
    bool in = type & 0x80;

    qtest_write(u->q, u->setup, setup, sizeof setup);
    put_td(u, 0, (u->tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u->setup);
    for (unsigned at = 0; at < length; at += 64, n++) {
        put_td(u, n, (u->tds + 16 * (n + 1)) | DEPTH, ACTIVE | ERRORS_3, in ? PID_IN : PID_OUT, 0,
               MIN(64, length - at), u->data + at);
    }
    status = n;
    put_td(u, status, TERMINATE, ACTIVE | ERRORS_3 | IOC, in && length ? PID_OUT : PID_IN, 0, 0, 0);
    run(u, 30);
    for (n = 0; n < status; n++) {
        if (td_ctrl(u, n) & STALLED) {
            qtest_check_eq(td_ctrl(u, n) & ACTIVE, 0);
            return -1;
        }
        actual += n ? td_actual(u, n) : 0;
    }
    if (td_ctrl(u, status) & STALLED) {
        return -1;
    }
    qtest_check_eq(td_ctrl(u, status) & ACTIVE, 0);
    return actual;
}

static void enumerate(Uhci *u, unsigned port)
{
    port_reset(u, port);
    qtest_check_eq(control(u, 0x00, 5, 5 + port, 0, 0), 0);
    u->address = 5 + port;
    qtest_check_eq(control(u, 0x00, 9, 1, 0, 0), 0);
    qtest_check_eq(control(u, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u->q, u->data), 1);
}

/* An interrupt transfer from endpoint 1; -1: it has nothing. */
static int interrupt_in(Uhci *u, uint8_t *report, unsigned max)
{
    put_td(u, 0, TERMINATE, ACTIVE | ERRORS_3 | IOC, PID_IN, 1, max, u->data);
    run(u, 25);
    if (td_ctrl(u, 0) & ACTIVE) {
        qtest_check_eq(td_ctrl(u, 0) & NAK, NAK);
        qtest_writel(u->q, u->queue + 4, TERMINATE);
        return -1;
    }
    qtest_check_eq(td_ctrl(u, 0) & STALLED, 0);
    qtest_read(u->q, u->data, report, max);
    return td_actual(u, 0);
}

static void test_registers(void)
{
    Uhci u = uhci_open("");
    uint16_t before;

    qtest_check_eq(qpci_config_readw(&u.pci, 0), 0x8086);
    qtest_check_eq(qpci_config_readw(&u.pci, 2), 0x7020);
    qtest_check_eq(qpci_config_readb(&u.pci, 0x60), 0x10);
    qtest_check_eq(qtest_inb(u.q, u.io + SOFMOD), 64);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x20, 0);
    before = qtest_inw(u.q, u.io + FRNUM);
    qtest_clock_step(u.q, 7 * FRAME_NS);
    qtest_check_eq(qtest_inw(u.q, u.io + FRNUM), before + 7);
    qtest_outw(u.q, u.io + FRNUM, 100); /* runs: not taken */
    qtest_check_eq(qtest_inw(u.q, u.io + FRNUM), before + 7);
    qtest_outw(u.q, u.io + USBCMD, 0);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x20, 0x20);
    qtest_clock_step(u.q, 7 * FRAME_NS);
    qtest_check_eq(qtest_inw(u.q, u.io + FRNUM), before + 7);
    qtest_outw(u.q, u.io + FRNUM, 0xffff);
    qtest_check_eq(qtest_inw(u.q, u.io + FRNUM), 0x7ff);
    qtest_check_eq(qtest_inl(u.q, u.io + FRBASEADD), u.frames);
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80);
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1 + 4), 0xff7f); /* Linux counts ports by it */
    qtest_outw(u.q, u.io + PORTSC1, PE);                        /* nothing is plugged in */
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80);
    qtest_outw(u.q, u.io + USBCMD, 2);
    qtest_check_eq(qtest_inw(u.q, u.io + USBCMD), 0);
    qtest_check_eq(qtest_inw(u.q, u.io + USBINTR), 0);
    qtest_end(u.q);
}

/* How often something is due in a second. The PIT and the RTC have their shares. */
static unsigned deadlines(Uhci *u)
{
    int64_t now = qtest_clock_step(u->q, 0), end = now + 1000 * (int64_t)FRAME_NS;
    unsigned n = 0;

    for (; now < end; n++) {
        now = qtest_clock_step_next(u->q);
    }
    return n;
}

/* An empty or stopped schedule has no timer, and one with a tablet that is still a slow one. */
static void test_no_wakeups(void)
{
    Uhci u = uhci_open("-device usb-tablet");
    unsigned others = deadlines(&u); /* the port is not enabled */

    qtest_check_lt(others, 40);
    enumerate(&u, 0);
    put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 1, 8, u.data);
    run(&u, 100);
    qtest_check_le(deadlines(&u), others + 102); /* each 10 ms */
    qtest_outw(u.q, u.io + USBCMD, 0);
    qtest_check_le(deadlines(&u), others + 1);
    qtest_end(u.q);
}

static void test_descriptors(void)
{
    Uhci u = uhci_open("-device usb-kbd,serial=abc");
    uint8_t d[256];

    enumerate(&u, 0);
    qtest_check_eq(control(&u, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_read(u.q, u.data, d, 18);
    qtest_check_eq(d[0], 18);
    qtest_check_eq(d[7], 8);
    qtest_check_eq(d[8] | d[9] << 8, 0x0627);
    qtest_check_eq(control(&u, 0x80, 6, 0x0100, 0, 8), 8); /* cut */
    qtest_check_eq(control(&u, 0x80, 6, 0x0200, 0, 255), 34);
    qtest_read(u.q, u.data, d, 34);
    qtest_check_eq(d[2], 34);
    qtest_check_eq(d[18 + 1], 0x21);
    qtest_check_eq(control(&u, 0x81, 6, 0x2200, 0, 255), d[18 + 7]);
    qtest_check_eq(control(&u, 0x80, 6, 0x0300, 0, 255), 4);
    qtest_check_eq(control(&u, 0x80, 6, 0x0303, 0x409, 255), 8);
    qtest_read(u.q, u.data, d, 8);
    qtest_check_mem(d,
                    "\x08\x03"
                    "a\0b\0c\0",
                    8);
    qtest_check_eq(control(&u, 0x80, 6, 0x0600, 0, 255), 10); /* it can high speed too */
    /* What is not there stalls. */
    qtest_check_eq(control(&u, 0x80, 6, 0x0309, 0x409, 255), -1);
    qtest_check_eq(control(&u, 0x80, 6, 0x0201, 0, 255), -1);
    qtest_check_eq(control(&u, 0x80, 6, 0x0f00, 0, 255), -1);
    qtest_check_eq(control(&u, 0x00, 9, 2, 0, 0), -1);
    qtest_check_eq(control(&u, 0x01, 11, 1, 0, 0), -1);
    qtest_check_eq(control(&u, 0x81, 10, 0, 0, 1), 1);
    qtest_check_eq(control(&u, 0xc0, 1, 0, 0, 8), -1);
    qtest_end(u.q);
}

static void test_control_errors(void)
{
    Uhci u = uhci_open("-device usb-kbd");

    enumerate(&u, 0);
    /* More from the host than a device stores: refused at once (CVE-2020-14364). */
    qtest_check_eq(control(&u, 0x21, 9, 0x0200, 0, 4096 / 64 - 3), -1); /* the report has 1 byte */
    put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    qtest_write(u.q, u.setup, "\x21\x09\x00\x02\x00\x00\xff\xff", 8);
    run(&u, 25);
    qtest_check_eq(td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_OUT, 0, 64, u.data);
    run(&u, 25);
    qtest_check_eq(td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    /* A setup of 4 bytes, an IN in the middle of OUT data. */
    put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_SETUP, 0, 4, u.setup);
    run(&u, 25);
    qtest_check_eq(td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    qtest_write(u.q, u.setup, "\x21\x09\x00\x02\x00\x00\x10\x00", 8);
    put_td(&u, 0, (u.tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    put_td(&u, 1, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 0, 8, u.data);
    run(&u, 25);
    qtest_check_eq(td_ctrl(&u, 1) & (ACTIVE | STALLED), STALLED);
    qtest_check_eq(control(&u, 0x80, 0, 0, 0, 2), 2); /* and it works on */
    /* An address that nobody has counts errors down and ends; one without a count never does. */
    u.address = 99;
    put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 0, 8, u.data);
    run(&u, 60);
    qtest_check_eq(td_ctrl(&u, 0) & (ACTIVE | STALLED | CRC), STALLED | CRC);
    put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 0, 8, u.data);
    run(&u, 60);
    qtest_check_eq(td_ctrl(&u, 0) & (ACTIVE | STALLED | CRC), ACTIVE | CRC);
    qtest_end(u.q);
}

static void test_hostile_schedule(void)
{
    Uhci u = uhci_open("-device usb-tablet");

    enumerate(&u, 0);
    /* TDs that point to themselves, queue heads in circles, lists in no memory. */
    put_td(&u, 0, u.tds | DEPTH, ACTIVE, PID_IN, 1, 8, u.data);
    run(&u, 50);
    qtest_writel(u.q, u.queue + 4, TERMINATE);
    qtest_writel(u.q, u.queue, u.queue | IS_QH);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    qtest_writel(u.q, u.queue + 4, u.queue | IS_QH);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    put_td(&u, 0, u.tds, 0, PID_IN, 1, 8, u.data);
    qtest_writel(u.q, u.frames, u.tds);
    qtest_clock_step(u.q, 2000 * (int64_t)FRAME_NS);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x38, 0);
    put_td(&u, 0, TERMINATE, ACTIVE, 0x55, 1, 8, u.data); /* no such PID */
    qtest_writel(u.q, u.queue, TERMINATE);
    run(&u, 25);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x30, 0x30);
    qtest_outw(u.q, u.io + USBSTS, 0x3f);
    put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 1, 8, 0xfee00000); /* no memory */
    qtest_outw(u.q, u.io + USBCMD, 1);
    run(&u, 25);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x28, 0x28);
    qtest_outw(u.q, u.io + USBSTS, 0x3f);
    qtest_outl(u.q, u.io + FRBASEADD, 0xfffff000);
    qtest_outw(u.q, u.io + USBCMD, 1);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x28, 0x28);
    qtest_end(u.q);
}

static void hmp(Uhci *u, const char *line)
{
    g_autofree char *answer = qtest_hmp(u->q, "%s", line);

    qtest_check_str(answer, "");
}

static void test_keyboard(void)
{
    Uhci u = uhci_open("-device usb-kbd");
    uint8_t r[8];

    enumerate(&u, 0);
    qtest_check_eq(control(&u, 0x21, 10, 0, 0, 0), 0); /* SET_IDLE 0 */
    qtest_check_eq(interrupt_in(&u, r, 8), -1);
    hmp(&u, "sendkey shift-a 1");
    qtest_check_eq(interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\0\0\0\0\0\0", 8);
    qtest_check_eq(interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\x04\0\0\0\0\0", 8);
    qtest_check_eq(interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\0\0\0\0\0\0", 8);
    qtest_check_eq(interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    qtest_check_eq(interrupt_in(&u, r, 8), -1);
    /* With an idle rate a report comes without news: every 40 ms here. */
    qtest_check_eq(control(&u, 0x21, 10, 10 << 8, 0, 0), 0);
    qtest_clock_step(u.q, 40 * FRAME_NS);
    qtest_check_eq(interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    /* LEDs, protocol. */
    qtest_writeb(u.q, u.data, 2);
    qtest_check_eq(control(&u, 0x21, 9, 0x0200, 0, 1), 1);
    qtest_check_eq(control(&u, 0xa1, 3, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 1);
    qtest_check_eq(control(&u, 0x21, 11, 0, 0, 0), 0);
    qtest_check_eq(control(&u, 0xa1, 3, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 0);
    qtest_end(u.q);
}

static void test_mouse(void)
{
    Uhci u = uhci_open("-device usb-mouse");
    uint8_t r[4];

    enumerate(&u, 0);
    qtest_check_eq(interrupt_in(&u, r, 4), -1); /* the guest looks at it: it is the mouse now */
    hmp(&u, "mouse_move 5 -3");
    qtest_check_eq(interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x05\xfd\0", 4);
    hmp(&u, "mouse_move 200 0"); /* more than a report takes */
    qtest_check_eq(interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x7f\0\0", 4);
    qtest_check_eq(interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x49\0\0", 4);
    hmp(&u, "mouse_button 1");
    hmp(&u, "mouse_button 0"); /* neither is lost */
    qtest_check_eq(interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\x01\0\0\0", 4);
    qtest_check_eq(interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\0\0\0", 4);
    qtest_check_eq(interrupt_in(&u, r, 4), -1);
    qtest_end(u.q);
}

static void test_plug(void)
{
    Uhci u = uhci_open("");
    uint16_t port = u.io + PORTSC1;
    json_t *answer;
    uint8_t r[8];

    qtest_check_eq(qtest_inw(u.q, port), 0x80);
    answer = qtest_qmp(u.q, "device_add", "{s:s, s:s}", "driver", "usb-tablet", "id", "t");
    json_decref(answer);
    qtest_check_eq(qtest_inw(u.q, port), 0x80 | CCS | CSC);
    enumerate(&u, 0);
    qtest_check_eq(interrupt_in(&u, r, 8), -1);
    answer = qtest_qmp(u.q, "device_del", "{s:s}", "id", "t");
    json_decref(answer);
    qtest_check_eq(qtest_inw(u.q, port), 0x80 | CSC | PEC);
    put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 1, 8, u.data);
    run(&u, 50); /* no port is enabled, so nobody looks */
    qtest_check_eq(td_ctrl(&u, 0) & ACTIVE, ACTIVE);
    qtest_end(u.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"registers", test_registers},
        {"no wake-ups without work", test_no_wakeups},
        {"descriptors and standard requests", test_descriptors},
        {"control transfers that go wrong", test_control_errors},
        {"hostile schedules", test_hostile_schedule},
        {"keyboard", test_keyboard},
        {"mouse", test_mouse},
        {"plug and unplug", test_plug},
        {0},
    };
    return qtest_run(argc, argv, cases);
}

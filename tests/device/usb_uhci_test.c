/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The UHCI controller (Intel, UHCI Design Guide 1.1), and keyboard, mouse and tablet behind it.
 */
#include "monitor_client.h"
#include "usb_client.h"

static void test_registers(void)
{
    Uhci u = quhci_open("");
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
    qtest_check_eq(qtest_inb(u.q, u.io + FRBASEADD + 1), u.frames >> 8 & 0xff);
    qtest_check_eq(qtest_inb(u.q, u.io + PORTSC1 + 1), 0);
    qtest_outb(u.q, u.io + PORTSC1 + 1, PR >> 8); /* the bytes of a register, one by one */
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80 | PR);
    qtest_outb(u.q, u.io + PORTSC1 + 1, 0);
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80);
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
    Uhci u = quhci_open("-device usb-tablet");
    unsigned others = deadlines(&u); /* the port is not enabled */

    qtest_check_lt(others, 40);
    quhci_enumerate(&u, 0);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 1, 8, u.data);
    quhci_run(&u, 100);
    qtest_check_le(deadlines(&u), others + 52); /* each 20 ms */
    qtest_outw(u.q, u.io + USBCMD, 0);
    qtest_check_le(deadlines(&u), others + 1);
    qtest_end(u.q);
}

static void test_descriptors(void)
{
    Uhci u = quhci_open("-device usb-kbd,serial=abc");
    uint8_t d[256];

    quhci_enumerate(&u, 0);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_read(u.q, u.data, d, 18);
    qtest_check_eq(d[0], 18);
    qtest_check_eq(d[7], 8);
    qtest_check_eq(d[8] | d[9] << 8, 0x0627);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0100, 0, 8), 8); /* cut */
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0200, 0, 255), 34);
    qtest_read(u.q, u.data, d, 34);
    qtest_check_eq(d[2], 34);
    qtest_check_eq(d[18 + 1], 0x21);
    qtest_check_eq(quhci_control(&u, 0x81, 6, 0x2200, 0, 255), d[18 + 7]);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0300, 0, 255), 4);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0303, 0x409, 255), 8);
    qtest_read(u.q, u.data, d, 8);
    qtest_check_mem(d,
                    "\x08\x03"
                    "a\0b\0c\0",
                    8);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0600, 0, 255), 10); /* it can high speed too */
    /* What is not there stalls. */
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0309, 0x409, 255), -1);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0201, 0, 255), -1);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0f00, 0, 255), -1);
    qtest_check_eq(quhci_control(&u, 0x00, 9, 2, 0, 0), -1);
    qtest_check_eq(quhci_control(&u, 0x01, 11, 1, 0, 0), -1);
    qtest_check_eq(quhci_control(&u, 0x81, 10, 0, 0, 1), 1);
    qtest_check_eq(quhci_control(&u, 0xc0, 1, 0, 0, 8), -1);
    qtest_end(u.q);
}

static void test_control_errors(void)
{
    Uhci u = quhci_open("-device usb-kbd");

    quhci_enumerate(&u, 0);
    /* More from the host than a device stores: refused at once (CVE-2020-14364). */
    qtest_check_eq(quhci_control(&u, 0x21, 9, 0x0200, 0, 4096 / 64 - 3),
                   -1); /* the report has 1 byte */
    quhci_put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    qtest_write(u.q, u.setup, "\x21\x09\x00\x02\x00\x00\xff\xff", 8);
    quhci_run(&u, 25);
    qtest_check_eq(quhci_td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_OUT, 0, 64, u.data);
    quhci_run(&u, 25);
    qtest_check_eq(quhci_td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    /* A setup of 4 bytes, an IN in the middle of OUT data. */
    quhci_put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_SETUP, 0, 4, u.setup);
    quhci_run(&u, 25);
    qtest_check_eq(quhci_td_ctrl(&u, 0) & (ACTIVE | STALLED), STALLED);
    qtest_write(u.q, u.setup, "\x21\x09\x00\x02\x00\x00\x10\x00", 8);
    quhci_put_td(&u, 0, (u.tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    quhci_put_td(&u, 1, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 0, 8, u.data);
    quhci_run(&u, 25);
    qtest_check_eq(quhci_td_ctrl(&u, 1) & (ACTIVE | STALLED), STALLED);
    qtest_check_eq(quhci_control(&u, 0x80, 0, 0, 0, 2), 2); /* and it works on */
    /* An address that nobody has counts errors down and ends; one without a count never does. */
    u.address = 99;
    quhci_put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 0, 8, u.data);
    quhci_run(&u, 60);
    qtest_check_eq(quhci_td_ctrl(&u, 0) & (ACTIVE | STALLED | CRC), STALLED | CRC);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 0, 8, u.data);
    quhci_run(&u, 60);
    qtest_check_eq(quhci_td_ctrl(&u, 0) & (ACTIVE | STALLED | CRC), ACTIVE | CRC);
    qtest_end(u.q);
}

/* A data stage that is longer than SETUP said: nothing is moved, or stored, beyond that. */
static void test_control_longer(void)
{
    Uhci u = quhci_open("-device usb-kbd");
    uint8_t d[256];

    quhci_enumerate(&u, 0);
    qtest_write(u.q, u.setup, "\x80\x06\x00\x01\x00\x00\x08\x00", 8);
    qtest_memset(u.q, u.data, 0xee, sizeof d);
    quhci_put_td(&u, 0, (u.tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    for (unsigned i = 1; i < 4; i++) {
        quhci_put_td(&u, i, (u.tds + 16 * (i + 1)) | DEPTH, ACTIVE | ERRORS_3, PID_IN, 0, 64,
                     u.data + 64 * (i - 1));
    }
    quhci_put_td(&u, 4, TERMINATE, ACTIVE | ERRORS_3 | IOC, PID_OUT, 0, 0, 0);
    quhci_run(&u, 30);
    qtest_read(u.q, u.data, d, sizeof d);
    qtest_check_eq(quhci_td_actual(&u, 1), 8);
    qtest_check_eq(d[7], 8); /* the packet size is the last byte */
    for (unsigned i = 8; i < sizeof d; i++) {
        qtest_check_eq(d[i], 0xee);
    }
    qtest_check_eq(quhci_td_ctrl(&u, 4) & (ACTIVE | STALLED), 0);
    /* A report of 1 byte, and data for thousands. */
    qtest_write(u.q, u.setup, "\x21\x09\x00\x02\x00\x00\x01\x00", 8);
    quhci_put_td(&u, 0, (u.tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u.setup);
    for (unsigned i = 1; i < 80; i++) {
        quhci_put_td(&u, i, i == 79 ? TERMINATE : (u.tds + 16 * (i + 1)) | DEPTH, ACTIVE | ERRORS_3,
                     PID_OUT, 0, 64, u.data);
    }
    quhci_run(&u, 30);
    qtest_check_eq(quhci_td_actual(&u, 1), 1);
    qtest_check_eq(quhci_td_ctrl(&u, 2) & (ACTIVE | STALLED), STALLED);
    qtest_check_eq(quhci_control(&u, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_end(u.q);
}

static void test_hostile_schedule(void)
{
    Uhci u = quhci_open("-device usb-tablet");

    quhci_enumerate(&u, 0);
    /* TDs that point to themselves, queue heads in circles, lists in no memory. */
    quhci_put_td(&u, 0, u.tds | DEPTH, ACTIVE, PID_IN, 1, 8, u.data);
    quhci_run(&u, 50);
    qtest_writel(u.q, u.queue + 4, TERMINATE);
    qtest_writel(u.q, u.queue, u.queue | IS_QH);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    qtest_writel(u.q, u.queue + 4, u.queue | IS_QH);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    quhci_put_td(&u, 0, u.tds, 0, PID_IN, 1, 8, u.data);
    qtest_writel(u.q, u.frames, u.tds);
    qtest_clock_step(u.q, 2000 * (int64_t)FRAME_NS);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x38, 0);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE, 0x55, 1, 8, u.data); /* no such PID */
    qtest_writel(u.q, u.queue, TERMINATE);
    quhci_run(&u, 25);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x30, 0x30);
    qtest_outw(u.q, u.io + USBSTS, 0x3f);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE, PID_IN, 1, 8, 0xfee00000); /* no memory */
    qtest_outw(u.q, u.io + USBCMD, 1);
    quhci_run(&u, 25);
    qtest_check_eq(qtest_inw(u.q, u.io + USBSTS) & 0x28, 0x28);
    qtest_outw(u.q, u.io + USBSTS, 0x3f);
    qtest_outl(u.q, u.io + PORTSC1, PR << 16 | PR); /* both resets in one access */
    qtest_outl(u.q, u.io + PORTSC1, 0);
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1) & (CCS | PR), CCS);
    qtest_outw(u.q, u.io + PORTSC1, PE);
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
    Uhci u = quhci_open("-device usb-kbd");
    uint8_t r[8];

    quhci_enumerate(&u, 0);
    qtest_check_eq(quhci_control(&u, 0x21, 10, 0, 0, 0), 0);       /* SET_IDLE 0 */
    qtest_check_eq(quhci_control(&u, 0xa1, 10, 0x0100, 0, 1), -1); /* the wrong way */
    qtest_check_eq(quhci_control(&u, 0xa1, 2, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 0);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    hmp(&u, "sendkey shift-a 1");
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\0\0\0\0\0\0", 8);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\x04\0\0\0\0\0", 8);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\x02\0\0\0\0\0\0\0", 8);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    /* With an idle rate a report comes without news: every 40 ms here. */
    qtest_check_eq(quhci_control(&u, 0x21, 10, 10 << 8, 0, 0), 0);
    qtest_clock_step(u.q, 40 * FRAME_NS);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    /* LEDs, protocol. */
    qtest_writeb(u.q, u.data, 2);
    qtest_check_eq(quhci_control(&u, 0x21, 9, 0x0200, 0, 1), 1);
    qtest_check_eq(quhci_control(&u, 0xa1, 3, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 1);
    qtest_check_eq(quhci_control(&u, 0x21, 11, 0, 0, 0), 0);
    qtest_check_eq(quhci_control(&u, 0xa1, 3, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 0);
    qtest_end(u.q);
}

static void test_mouse(void)
{
    Uhci u = quhci_open("-device usb-mouse");
    g_autofree char *mice = NULL;
    uint8_t r[4];

    quhci_enumerate(&u, 0);
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), -1); /* the guest looks: it is the mouse now */
    hmp(&u, "mouse_move 5 -3");
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x05\xfd\0", 4);
    hmp(&u, "mouse_move 200 0"); /* more than a report takes */
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x7f\0\0", 4);
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x49\0\0", 4);
    hmp(&u, "mouse_button 1");
    hmp(&u, "mouse_button 0"); /* neither is lost */
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\x01\0\0\0", 4);
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\0\0\0", 4);
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), -1);
    hmp(&u, "mouse_set 2"); /* the user's choice stands, however often the guest looks */
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), -1);
    mice = qtest_hmp(u.q, "info mice");
    qtest_check(strstr(mice, "* Mouse #2: QEMU PS/2 Mouse"));
    qtest_end(u.q);
}

/* The device that a driver came to last has the input, or the one that the monitor chose: not the
 * one that is polled next. */
static void test_two_pointers(void)
{
    Uhci u = quhci_open("-device usb-mouse,port=1 -device usb-tablet,port=2");
    static const char mice[] = "  Mouse #2: QEMU PS/2 Mouse\r\n"
                               "  Mouse #3: QEMU HID Mouse\r\n"
                               "* Mouse #4: QEMU HID Tablet (absolute)\r\n";
    uint8_t r[8];

    for (unsigned port = 0; port < 2; port++) {
        quhci_enumerate(&u, port);
        qtest_check_eq(quhci_interrupt_in(&u, r, 4), -1);
    }
    u.address = 5;
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), -1);
    monitor_check_hmp(u.q, "info mice", mice);
    hmp(&u, "mouse_set 3");
    u.address = 6;
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    hmp(&u, "mouse_move 1 2");
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    u.address = 5;
    qtest_check_eq(quhci_interrupt_in(&u, r, 4), 4);
    qtest_check_mem(r, "\0\x01\x02\0", 4);
    quhci_enumerate(&u, 1); /* its driver comes anew */
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    monitor_check_hmp(u.q, "info mice", mice);
    qtest_end(u.q);
}

static void test_plug(void)
{
    Uhci u = quhci_open("");
    uint16_t port = u.io + PORTSC1;
    json_t *answer;
    uint8_t r[8];

    qtest_check_eq(qtest_inw(u.q, port), 0x80);
    answer = qtest_qmp(u.q, "device_add", "{s:s, s:s}", "driver", "usb-tablet", "id", "t");
    json_decref(answer);
    qtest_check_eq(qtest_inw(u.q, port), 0x80 | CCS | CSC);
    quhci_enumerate(&u, 0);
    qtest_check_eq(quhci_interrupt_in(&u, r, 8), -1);
    answer = qtest_qmp(u.q, "device_del", "{s:s}", "id", "t");
    json_decref(answer);
    qtest_check_eq(qtest_inw(u.q, port), 0x80 | CSC | PEC);
    quhci_put_td(&u, 0, TERMINATE, ACTIVE | ERRORS_3, PID_IN, 1, 8, u.data);
    quhci_run(&u, 50); /* no port is enabled, so nobody looks */
    qtest_check_eq(quhci_td_ctrl(&u, 0) & ACTIVE, ACTIVE);
    qtest_end(u.q);
}

static void deleted(Uhci *u, const char *id)
{
    json_t *event = qtest_wait_event(u->q, "DEVICE_DELETED"), *data;

    data = json_object_get(event, "data");
    qtest_check_str(json_string_value(json_object_get(data, "device")), id);
    json_decref(event);
}

/* A hub is pulled with what is behind it: two devices, one behind another hub. */
static void test_hub_unplug(void)
{
    static const char devices[] =
        "-device usb-hub,id=h,port=1 -device usb-hub,id=i,port=1.2 "
        "-device usb-kbd,id=k,port=1.1 -device usb-tablet,id=t,port=1.2.3";
    Uhci u = quhci_open(devices);

    json_decref(qtest_qmp(u.q, "device_del", "{s:s}", "id", "h"));
    deleted(&u, "k");
    deleted(&u, "t");
    deleted(&u, "i");
    deleted(&u, "h");
    g_autofree char *text = qtest_hmp(u.q, "info usb");
    qtest_check_str(text, "");
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1) & (CCS | CSC), CSC);
    json_decref(qtest_qmp(u.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-hub", "id", "h",
                          "port", "1"));
    json_decref(qtest_qmp(u.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-mouse", "id", "m",
                          "port", "1.2"));
    qtest_end(u.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"registers", test_registers},
        {"no wake-ups without work", test_no_wakeups},
        {"descriptors and standard requests", test_descriptors},
        {"control transfers that go wrong", test_control_errors},
        {"control transfers longer than set up", test_control_longer},
        {"hostile schedules", test_hostile_schedule},
        {"keyboard", test_keyboard},
        {"mouse", test_mouse},
        {"two pointers", test_two_pointers},
        {"plug and unplug", test_plug},
        {"a hub with devices behind it", test_hub_unplug},
        {0},
    };
    return qtest_run(argc, argv, cases);
}

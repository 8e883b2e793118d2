/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UHCI: one queue in all frames. */
#include "guest_usb.h"

enum {
    PORT = 0xc100,
    USBCMD = 0x00,
    USBSTS = 0x02,
    FRBASEADD = 0x08,
    PORTSC1 = 0x10,
    PORTSC2 = 0x12,
    RS = 0x01,
    HCRESET = 0x02,
    HALTED = 0x20,
    SYSTEM_ERRORS = 0x18,
    CCS = 0x01,
    CSC = 0x02,
    PE = 0x04,
    PEC = 0x08,
    PR = 0x200,

    FRAMES = USB_SCHEDULE,
    QUEUE = USB_SCHEDULE + 0x1000,
    TDS = USB_SCHEDULE + 0x2000,
    TERMINATE = 1,
    IS_QH = 2,
    DEPTH = 4,
    ACTIVE = 1 << 23,
    STALLED = 1 << 22,
    ERRORS_3 = 3 << 27,
    SHORT_DETECT = 1 << 29,
    PID_IN = 0x69,
    PID_OUT = 0xe1,
    PID_SETUP = 0x2d,
    PACKET = 64,
};

static void uhci_out(unsigned reg, uint32_t v, unsigned len)
{
    guest_out(PORT + reg, v, len);
}

static uint16_t uhci_port(void)
{
    return guest_in(PORT + PORTSC1, 2);
}

static void uhci_stop(bool reset)
{
    pci_config_write(world.pci, PCI_DEVFN(1, 2) << 8 | (PCI_BASE_ADDRESS_0 + 16), PORT | 1, 4);
    uhci_out(USBCMD, reset ? HCRESET : 0, 2);
}

static bool uhci_stopped(void)
{
    return guest_in(PORT + USBSTS, 2) & HALTED;
}

static void uhci_start(void)
{
    for (unsigned i = 0; i < 1024; i++) {
        usb_guest_word(FRAMES + 4 * i, QUEUE | IS_QH);
    }
    usb_guest_word(QUEUE, TERMINATE);
    usb_guest_word(QUEUE + 4, TERMINATE);
    uhci_out(FRBASEADD, FRAMES, 4);
    uhci_out(USBCMD, RS, 2);
}

static UsbResult uhci_reset_port(unsigned n)
{
    switch (n) {
    case 0:
        uhci_out(PORTSC1, PR, 2);
        return USB_PENDING;
    case 1:
        uhci_out(PORTSC1, CSC | PEC, 2);
        uhci_out(PORTSC1, PE, 2);
        return USB_PENDING;
    default:
        return (uhci_port() & (CCS | PE)) == (CCS | PE) ? USB_DONE : USB_FAILED;
    }
}

static bool uhci_changed(void)
{
    if (guest_in(PORT + USBSTS, 2) & SYSTEM_ERRORS) {
        guest_fail("UHCI: an error of the schedule: 0x%02x", guest_in(PORT + USBSTS, 2));
    }
    return (uhci_port() & (CCS | CSC | PE)) != (CCS | PE);
}

/* Transfers: TDs 0 to 'tds' - 1, a packet each. */

static void uhci_td(uint8_t pid, unsigned address, unsigned endpoint, unsigned len, uint32_t at)
{
    uint32_t td = TDS + 16 * guest.s.usb.tds++;

    usb_guest_word(td, (td + 16) | DEPTH);
    usb_guest_word(td + 8, pid | address << 8 | endpoint << 15 | ((len - 1) & 0x7ff) << 21);
    usb_guest_word(td + 12, at);
    usb_guest_word(td + 4, ACTIVE | ERRORS_3 | (pid == PID_IN ? SHORT_DETECT : 0));
}

static void uhci_submit(void)
{
    usb_guest_word(TDS + 16 * (guest.s.usb.tds - 1), TERMINATE);
    usb_guest_word(QUEUE + 4, TDS);
}

static void uhci_request(const UsbRequest *r)
{
    guest_copy(world.ram + USB_SETUP, r->setup, sizeof r->setup);
    guest.s.usb.tds = 0;
    uhci_td(PID_SETUP, r->address, 0, sizeof r->setup, USB_SETUP);
    uhci_td(PID_IN, r->address, 0, 0, 0);
    uhci_submit();
}

static bool uhci_setup(unsigned n)
{
    const UsbRequest *r = usb_guest_request(n);

    if (r) {
        uhci_request(r);
    }
    return r;
}

static void uhci_bulk(Cpu *c, bool in, uint32_t addr, uint32_t len)
{
    guest.s.usb.tds = 0;
    for (uint32_t at = 0; at < len; at += PACKET) {
        uhci_td(in ? PID_IN : PID_OUT, USB_STICK, in ? 1 : 2, MIN(PACKET, len - at), addr + at);
    }
    uhci_submit();
}

static UsbResult uhci_poll(void)
{
    for (unsigned i = 0; i < guest.s.usb.tds; i++) {
        uint32_t ctrl = usb_guest_read_word(TDS + 16 * i + 4);
        uint32_t len = ((usb_guest_read_word(TDS + 16 * i + 8) >> 21) + 1) & 0x7ff;

        if (ctrl & ACTIVE) {
            return USB_PENDING;
        }
        if (ctrl & STALLED) {
            return USB_FAILED;
        }
        if (((ctrl + 1) & 0x7ff) < len) {
            return USB_DONE;
        }
    }
    return USB_DONE;
}

const UsbController guest_uhci = {
    .slot = 1,
    .function = 2,
    .start = uhci_start,
    .stop = uhci_stop,
    .stopped = uhci_stopped,
    .reset_port = uhci_reset_port,
    .changed = uhci_changed,
    .setup = uhci_setup,
    .bulk = uhci_bulk,
    .poll = uhci_poll,
};

/*
 * A keyboard or pointer at port 2: it is made usable, and asked for a report. A transfer that has
 * none is taken out of the queue again. The operation comes between commands to the stick.
 */

bool guest_uhci_hid_begin(Cpu *c)
{
    return guest_usb_is_idle() && world.config.usb < USB_IS_EHCI;
}

/* The step's transfer; true: there is nothing to do. */
static bool uhci_hid_begin_step(unsigned n)
{
    static const UsbRequest set_address = {0, {0x00, 5, USB_HID}},
                            set_configuration = {USB_HID, {0x00, 9, 1}};
    uint16_t port = guest_in(PORT + PORTSC2, 2);

    switch (n) {
    case 0:
        uhci_out(PORTSC2, PR, 2);
        return !(port & CCS);
    case 1:
        uhci_out(PORTSC2, CSC | PEC, 2);
        uhci_out(PORTSC2, PE, 2);
        return false;
    case 2:
        uhci_request(&set_address);
        return !(port & PE);
    case 4:
        uhci_request(&set_configuration);
        return false;
    default:
        guest.s.usb.tds = 0;
        uhci_td(PID_IN, USB_HID, 1, 8, USB_SENSE);
        uhci_submit();
        return false;
    }
}

bool guest_uhci_hid_step(Cpu *c, unsigned n)
{
    enum { REPORT = 6, LOOKS = 16, TAKEN_BACK = REPORT + 1 + LOOKS };
    UsbResult result;

    if (n < 3 || n == 4 || n == REPORT) {
        guest_wait(c, 1500);
        return uhci_hid_begin_step(n);
    }
    result = uhci_poll();
    if (n == TAKEN_BACK) {
        return true; /* frames have passed without it */
    }
    guest_wait(c, 1500);
    if (result == USB_FAILED || n == TAKEN_BACK - 1) {
        usb_guest_word(QUEUE + 4, TERMINATE);
        c->halted_until += 2000;
        c->step = TAKEN_BACK;
    } else if (n > REPORT && result == USB_DONE) {
        baton_note("a report of a USB device: %02x %02x", world.ram[USB_SENSE],
                   world.ram[USB_SENSE + 2]);
        return true;
    } else if (n < REPORT && result == USB_PENDING) {
        c->step = n; /* again */
        if ((guest_in(PORT + PORTSC2, 2) & (CCS | PE)) != (CCS | PE)) {
            c->step = TAKEN_BACK - 1;
        }
    }
    return false;
}

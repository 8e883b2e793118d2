/* SPDX-License-Identifier: GPL-2.0-or-later */
/* EHCI: a queue head for each endpoint, in the asynchronous list. */
#include "guest_usb.h"

enum {
    USBCMD = 0x20,
    USBSTS = 0x24,
    USBINTR = 0x28,
    PERIODIC = 0x34,
    ASYNC = 0x38,
    CONFIGFLAG = 0x60,
    PORTSC = 0x64,
    RS = 0x01,
    HCRESET = 0x02,
    ASYNC_ON = 0x20,
    SYSTEM_ERROR = 0x10,
    HALTED = 0x1000,
    CCS = 0x01,
    CSC = 0x02,
    PE = 0x04,
    PR = 0x100,

    QHS = USB_SCHEDULE,
    TDS = USB_SCHEDULE + 0x1000,
    TERMINATE = 1,
    IS_QH = 2,
    T_HALTED = 0x40,
    T_ACTIVE = 0x80,
    T_ERRORS_3 = 0xc00,
    T_OUT = 0x000,
    T_IN = 0x100,
    T_SETUP = 0x200,
};

enum { HEAD, NEW_CONTROL, CONTROL, IN, OUT, QH_COUNT };

static void ehci_stop(bool reset)
{
    usb_guest_write(USBCMD, reset ? HCRESET : 0);
}

static bool ehci_stopped(void)
{
    return usb_guest_read(USBSTS) & HALTED && !(usb_guest_read(USBCMD) & HCRESET);
}

static void ehci_start(void)
{
    static const uint32_t endpoints[QH_COUNT] = {
        [HEAD] = 0x8000,
        [NEW_CONTROL] = 64 << 16 | 0x6000,
        [CONTROL] = 64 << 16 | 0x6000 | USB_STICK,
        [IN] = 512 << 16 | 0x2000 | 1 << 8 | USB_STICK,
        [OUT] = 512 << 16 | 0x2000 | 2 << 8 | USB_STICK,
    };

    guest_fill(world.ram + QHS, 0, 64 * QH_COUNT);
    for (unsigned i = 0; i < QH_COUNT; i++) {
        uint32_t qh = QHS + 64 * i;

        usb_guest_word(qh, (QHS + 64 * ((i + 1) % QH_COUNT)) | IS_QH);
        usb_guest_word(qh + 4, endpoints[i]);
        usb_guest_word(qh + 8, 1 << 30);
        usb_guest_word(qh + 16, TERMINATE);
        usb_guest_word(qh + 20, TERMINATE);
        usb_guest_word(qh + 24, i == HEAD ? T_HALTED : 0);
    }
    usb_guest_write(ASYNC, QHS);
    usb_guest_write(USBCMD, 1 << 16 | ASYNC_ON | RS);
    usb_guest_write(CONFIGFLAG, 1);
}

static UsbResult ehci_reset_port(unsigned n)
{
    uint32_t sc = usb_guest_read(PORTSC);

    switch (n) {
    case 0:
        usb_guest_write(PORTSC, (sc & ~PE) | PR | CSC);
        return USB_PENDING;
    case 1:
        usb_guest_write(PORTSC, sc & ~PR);
        return USB_PENDING;
    default:
        if (sc & PR) {
            return USB_PENDING;
        }
        return (sc & (CCS | PE)) == (CCS | PE) ? USB_DONE : USB_FAILED;
    }
}

static bool ehci_changed(void)
{
    if (usb_guest_read(USBSTS) & SYSTEM_ERROR) {
        guest_fail("EHCI: an error of the schedule: 0x%x", usb_guest_read(USBSTS));
    }
    return (usb_guest_read(PORTSC) & (CCS | CSC | PE)) != (CCS | PE);
}

/* Transfers: qTDs 0 to 'tds' - 1. */

static void ehci_td(uint32_t token, uint32_t len, uint32_t at)
{
    uint32_t td = TDS + 64 * guest.s.usb.tds++;

    usb_guest_word(td, td + 64);
    usb_guest_word(td + 4, TERMINATE);
    usb_guest_word(td + 12, at);
    for (unsigned i = 1; i < 5; i++) {
        usb_guest_word(td + 12 + 4 * i, (at & ~0xfffu) + 0x1000 * i);
    }
    usb_guest_word(td + 8, T_ACTIVE | T_ERRORS_3 | token | len << 16);
}

static void ehci_submit(unsigned qh)
{
    usb_guest_word(TDS + 64 * (guest.s.usb.tds - 1), TERMINATE);
    usb_guest_word(QHS + 64 * qh + 16, TDS);
}

static bool ehci_setup(unsigned n)
{
    const UsbRequest *r = usb_guest_request(n);

    if (!r) {
        return false;
    }
    guest_copy(world.ram + USB_SETUP, r->setup, sizeof r->setup);
    guest.s.usb.tds = 0;
    ehci_td(T_SETUP, sizeof r->setup, USB_SETUP);
    ehci_td(T_IN | 1u << 31, 0, 0);
    ehci_submit(r->address ? CONTROL : NEW_CONTROL);
    return true;
}

static void ehci_bulk(Cpu *c, bool in, uint32_t addr, uint32_t len)
{
    uint32_t first = in || len <= 512 ? len : 512 * (1 + rand_below(&c->rand, len / 512));

    guest.s.usb.tds = 0;
    ehci_td(in ? T_IN : T_OUT, first, addr);
    if (len > first) {
        ehci_td(T_OUT, len - first, addr + first);
    }
    ehci_submit(in ? IN : OUT);
}

static UsbResult ehci_poll(void)
{
    for (unsigned i = 0; i < guest.s.usb.tds; i++) {
        uint32_t token = usb_guest_read_word(TDS + 64 * i + 8);

        if (token & T_HALTED) {
            return USB_FAILED;
        }
        if (token & T_ACTIVE) {
            return USB_PENDING;
        }
    }
    return USB_DONE;
}

const UsbController guest_ehci = {
    .slot = 3,
    .start = ehci_start,
    .stop = ehci_stop,
    .stopped = ehci_stopped,
    .reset_port = ehci_reset_port,
    .changed = ehci_changed,
    .setup = ehci_setup,
    .bulk = ehci_bulk,
    .poll = ehci_poll,
};

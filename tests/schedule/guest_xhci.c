/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: rings, and an event ring that is looked at. */
#include "../device/xhci_regs.h"
#include "guest_usb.h"

enum {
    SYSTEM_ERRORS = HSE | HCE, /* of USBSTS */
    PORT = 5,                  /* the first USB 3 port */
    PORTSC_5 = PORTSC + 0x10 * (PORT - 1),
    SUPER_SPEED = 4 << 20,

    EVENTS = 64,
    RING = 64, /* TRBs, with the link */
    DCBAA = USB_SCHEDULE,
    ERST = USB_SCHEDULE + 0x400,
    EVENT_RING = USB_SCHEDULE + 0x800,
    RINGS = USB_SCHEDULE + 0x1000, /* 0: commands; else of USB_RINGS */
    INPUT = USB_SCHEDULE + 0x3000,
    OUTPUT = USB_SCHEDULE + 0x4000,
};

enum { COMMANDS, CONTROL, IN, OUT }; /* rings */
static const uint8_t endpoints[] = {[COMMANDS] = 0, [CONTROL] = 1, [IN] = 3, [OUT] = 4};

/* Rings. */

static uint32_t xhci_ring(unsigned ring)
{
    return RINGS + ring * RING * 16;
}

static void xhci_ring_new(unsigned ring)
{
    guest_fill(world.ram + xhci_ring(ring), 0, RING * 16);
    guest.s.usb.ring[ring] = (UsbRing){.cycle = true};
}

static void xhci_trb(uint32_t at, uint64_t parameter, uint32_t status, uint32_t control)
{
    stle64(world.ram + at, parameter);
    usb_guest_word(at + 8, status);
    usb_guest_word(at + 12, control);
}

static void xhci_put(unsigned ring, uint64_t parameter, uint32_t status, uint32_t control)
{
    UsbRing *r = &guest.s.usb.ring[ring];

    xhci_trb(xhci_ring(ring) + 16 * r->at, parameter, status, control | (r->cycle ? CYCLE : 0));
    guest.s.usb.tds++;
    if (++r->at == RING - 1) {
        xhci_trb(xhci_ring(ring) + 16 * r->at, xhci_ring(ring), 0,
                 LINK << 10 | TOGGLE | (control & CHAIN) | (r->cycle ? CYCLE : 0));
        r->at = 0;
        r->cycle = !r->cycle;
    }
}

/* What is put from here on is waited for. */
static void xhci_begin(unsigned ring)
{
    UsbGuest *g = &guest.s.usb;

    g->of = ring;
    g->first = g->ring[ring].at;
    g->tds = 0;
}

static void xhci_ring_doorbell(void)
{
    const UsbGuest *g = &guest.s.usb;

    usb_guest_write(DOORBELL + (g->of == COMMANDS ? 0 : 4 * g->slot), endpoints[g->of]);
}

static void xhci_command(unsigned type, uint64_t parameter)
{
    xhci_begin(COMMANDS);
    xhci_put(COMMANDS, parameter, 0, type << 10 | (uint32_t)guest.s.usb.slot << 24);
    xhci_ring_doorbell();
}

/* Life. */

static void xhci_stop(bool reset)
{
    usb_guest_write(USBCMD, reset ? HCRST : 0);
    if (reset) {
        guest.s.usb.slot = 0;
    }
}

static bool xhci_stopped(void)
{
    return (usb_guest_read(USBSTS) & (HCH | CNR)) == HCH && !(usb_guest_read(USBCMD) & HCRST);
}

static void xhci_write64(unsigned reg, uint64_t v)
{
    usb_guest_write(reg, v);
    usb_guest_write(reg + 4, v >> 32);
}

static void xhci_start(void)
{
    UsbGuest *g = &guest.s.usb;

    if (!g->slot) {
        guest_fill(world.ram + DCBAA, 0, 65 * 8);
    }
    guest_fill(world.ram + EVENT_RING, 0, EVENTS * 16);
    xhci_ring_new(COMMANDS);
    g->event = 0;
    g->event_cycle = true;
    xhci_trb(ERST, EVENT_RING, EVENTS, 0);
    usb_guest_write(CONFIG, 64);
    xhci_write64(DCBAAP, DCBAA);
    xhci_write64(CRCR, xhci_ring(COMMANDS) | CYCLE);
    usb_guest_write(ERSTSZ, 1);
    xhci_write64(ERDP, EVENT_RING);
    xhci_write64(ERSTBA, ERST);
    usb_guest_write(USBCMD, RS);
}

static UsbResult xhci_reset_port(unsigned n)
{
    uint32_t sc = usb_guest_read(PORTSC_5);

    if (n == 0) {
        usb_guest_write(PORTSC_5, PP | PR | CSC | PRC);
        return USB_PENDING;
    }
    if (sc & PR) {
        return USB_PENDING;
    }
    return (sc & (CCS | PED)) == (CCS | PED) ? USB_DONE : USB_FAILED;
}

static bool xhci_changed(void)
{
    if (usb_guest_read(USBSTS) & SYSTEM_ERRORS) {
        guest_fail("xHCI: an error of the controller: 0x%x", usb_guest_read(USBSTS));
    }
    return (usb_guest_read(PORTSC_5) & (CCS | CSC | PED)) != (CCS | PED);
}

/* Making a device usable (4.3). */

static void xhci_put_endpoint(unsigned ring, unsigned type, unsigned packet)
{
    uint32_t c = INPUT + 32 * (endpoints[ring] + 1);

    xhci_ring_new(ring);
    usb_guest_word(c + 4, 3 << 1 | type << 3 | packet << 16);
    usb_guest_word(c + 8, xhci_ring(ring) | 1);
}

static void xhci_put_slot(uint32_t add, unsigned entries)
{
    guest_fill(world.ram + INPUT, 0, 33 * 32);
    usb_guest_word(INPUT + 4, add);
    usb_guest_word(INPUT + 32, entries << 27 | SUPER_SPEED);
    usb_guest_word(INPUT + 36, PORT << 16);
}

static void xhci_address(void)
{
    guest_fill(world.ram + OUTPUT, 0, 32 * 32);
    xhci_put_slot(3, 1);
    xhci_put_endpoint(CONTROL, 4, 512);
    stle64(world.ram + DCBAA + 8 * guest.s.usb.slot, OUTPUT);
    xhci_command(ADDRESS_DEVICE, INPUT);
}

static void xhci_configure(void)
{
    xhci_put_slot(1 | 1 << endpoints[IN] | 1 << endpoints[OUT], endpoints[OUT]);
    xhci_put_endpoint(IN, 6, 1024);
    xhci_put_endpoint(OUT, 2, 1024);
    xhci_command(CONFIGURE, INPUT);
}

static void xhci_set_configuration(void)
{
    xhci_begin(CONTROL);
    xhci_put(CONTROL, 0x00 | 9 << 8 | 1 << 16, 8, SETUP << 10 | IDT);
    xhci_put(CONTROL, 0, 0, STATUS << 10 | IOC | DIR_IN);
    xhci_ring_doorbell();
}

static bool xhci_setup(unsigned n)
{
    UsbGuest *g = &guest.s.usb;

    if (n == 0) {
        g->had_slot = g->slot != 0;
    }
    switch (n + !g->had_slot) {
    case 0:
        xhci_command(DISABLE_SLOT, 0);
        return true;
    case 1: /* endpoints went on when the controller did, until now */
        g->slot = 0;
        sectors_set_canary(&g->io);
        xhci_command(ENABLE_SLOT, 0);
        return true;
    case 2:
        xhci_address();
        return true;
    case 3:
        xhci_configure();
        return true;
    case 4:
        xhci_set_configuration();
        return true;
    default:
        return false;
    }
}

/* Transfers. */

/* Data in TRBs of any lengths; a wrapper is one, as drivers have it. */
static void xhci_bulk(Cpu *c, bool in, uint32_t addr, uint32_t len)
{
    unsigned ring = in ? IN : OUT;
    bool one = len < DISK_SECTOR || rand_one_in(&c->rand, 2);

    xhci_begin(ring);
    while (len) {
        uint32_t n = one ? len : 1 + rand_below(&c->rand, len);

        xhci_put(ring, addr, n, NORMAL << 10 | (in ? ISP : 0) | (n == len ? IOC : CHAIN));
        addr += n;
        len -= n;
        one = guest.s.usb.tds == RING / 4;
    }
    xhci_ring_doorbell();
}

/* The event is of what is waited for. */
static bool xhci_is_ours(unsigned type, uint64_t trb)
{
    const UsbGuest *g = &guest.s.usb;
    uint64_t n = (trb - xhci_ring(g->of)) / 16;

    return type == (g->of == COMMANDS ? COMMAND_EVENT : TRANSFER_EVENT) &&
           trb >= xhci_ring(g->of) && n < RING && (n + RING - 1 - g->first) % (RING - 1) < g->tds;
}

static UsbResult xhci_poll(void)
{
    UsbGuest *g = &guest.s.usb;

    for (;;) {
        uint32_t at = EVENT_RING + 16 * g->event, control = usb_guest_read_word(at + 12);
        unsigned code = usb_guest_read_word(at + 8) >> 24, type = control >> 10 & 0x3f;
        uint64_t trb = ldle64(world.ram + at);

        if ((control & CYCLE) != g->event_cycle) {
            return USB_PENDING;
        }
        if (++g->event == EVENTS) {
            g->event = 0;
            g->event_cycle = !g->event_cycle;
        }
        xhci_write64(ERDP, (EVENT_RING + 16 * g->event) | 8);
        if (type == CONTROLLER_EVENT) {
            guest_fail("xHCI: the event ring is full");
        }
        if (!xhci_is_ours(type, trb)) {
            continue;
        }
        if (type == COMMAND_EVENT) {
            g->slot = control >> 24;
        }
        if (code != SUCCESS && code != SHORT) {
            baton_note("xHCI: ring %u: code %u", g->of, code);
            return USB_FAILED;
        }
        return USB_DONE;
    }
}

const UsbController guest_xhci = {
    .slot = 3,
    .start = xhci_start,
    .stop = xhci_stop,
    .stopped = xhci_stopped,
    .reset_port = xhci_reset_port,
    .changed = xhci_changed,
    .setup = xhci_setup,
    .bulk = xhci_bulk,
    .poll = xhci_poll,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The xHCI controller (Intel, xHCI 1.1), and keyboard, hub and storage behind it, by a driver that
 * looks at its event ring.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "qtest_client.h"

enum {
    /* Registers in the BAR. */
    USBCMD = 0x40,
    USBSTS = 0x44,
    PAGESIZE = 0x48,
    CRCR = 0x58,
    DCBAAP = 0x70,
    CONFIG = 0x78,
    PORTSC = 0x440,
    MFINDEX = 0x1000,
    IMAN = 0x1020,
    ERSTSZ = 0x1028,
    ERSTBA = 0x1030,
    ERDP = 0x1038,
    DOORBELL = 0x2000,

    RS = 1 << 0,
    HCRST = 1 << 1,
    INTE = 1 << 2,
    EWE = 1 << 10,
    HCH = 1 << 0,
    HSE = 1 << 2,
    EINT = 1 << 3,
    PCD = 1 << 4,

    CCS = 1 << 0,
    PED = 1 << 1,
    PR = 1 << 4,
    PP = 1 << 9,
    LWS = 1 << 16,
    CSC = 1 << 17,
    PRC = 1 << 21,
    PLC = 1 << 22,

    /* TRBs. */
    CYCLE = 1 << 0,
    TOGGLE = 1 << 1,
    ISP = 1 << 2,
    CHAIN = 1 << 4,
    IOC = 1 << 5,
    IDT = 1 << 6,
    BSR = 1 << 9,
    DIR_IN = 1 << 16,
    NORMAL = 1,
    SETUP = 2,
    DATA = 3,
    STATUS = 4,
    ISOCH = 5,
    LINK = 6,
    EVENT_DATA = 7,
    NO_OP = 8,
    ENABLE_SLOT = 9,
    DISABLE_SLOT = 10,
    ADDRESS_DEVICE = 11,
    CONFIGURE = 12,
    EVALUATE = 13,
    RESET_ENDPOINT = 14,
    STOP_ENDPOINT = 15,
    SET_DEQUEUE = 16,
    RESET_DEVICE = 17,
    FORCE_EVENT = 18,
    NO_OP_COMMAND = 23,
    TRANSFER_EVENT = 32,
    COMMAND_EVENT = 33,
    PORT_EVENT = 34,
    CONTROLLER_EVENT = 37,
    WRAP_EVENT = 39,

    SUCCESS = 1,
    TRANSACTION = 4,
    TRB_ERROR = 5,
    STALL = 6,
    BANDWIDTH = 8,
    NO_SLOTS = 9,
    SLOT_NOT_ENABLED = 11,
    EP_NOT_ENABLED = 12,
    SHORT = 13,
    PARAMETER = 17,
    CONTEXT_STATE = 19,
    RING_FULL = 21,
    RING_STOPPED = 24,
    STOPPED = 26,

    EVENTS = 64, /* TRBs of the event ring */
    RING = 64,   /* TRBs of the other rings, with the link */
    BULK_IN = 2,
    BULK_OUT = 6,
    INTERRUPT_IN = 7,
    FRAME_NS = 1000000,
};

typedef struct {
    uint64_t base;
    unsigned at;
    bool cycle;
} Ring;

typedef struct {
    uint64_t parameter;
    unsigned type, code, slot, endpoint;
    uint32_t length, control;
} Event;

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bar;
    uint64_t dcbaa, erst, events, input, output, data;
    unsigned event, slot;
    bool event_cycle;
    Ring commands, rings[32];
} Xhci;

static uint32_t rd(Xhci *x, unsigned reg)
{
    return qpci_readl(x->bar, reg);
}

static void wr(Xhci *x, unsigned reg, uint32_t value)
{
    qpci_writel(x->bar, reg, value);
}

/* Rings. */

static Ring ring_new(Xhci *x)
{
    Ring r = {.base = qtest_alloc(x->q, RING * 16, 1024), .cycle = true};

    qtest_memset(x->q, r.base, 0, RING * 16);
    return r;
}

static uint64_t ring_put(Xhci *x, Ring *r, uint64_t parameter, uint32_t status, uint32_t control)
{
    uint64_t addr = r->base + 16 * r->at;

    qtest_writeq(x->q, addr, parameter);
    qtest_writel(x->q, addr + 8, status);
    qtest_writel(x->q, addr + 12, control | (r->cycle ? CYCLE : 0));
    if (++r->at == RING - 1) {
        qtest_writeq(x->q, r->base + 16 * r->at, r->base);
        qtest_writel(x->q, r->base + 16 * r->at + 12, LINK << 10 | TOGGLE | (r->cycle ? CYCLE : 0));
        r->at = 0;
        r->cycle = !r->cycle;
    }
    return addr;
}

static bool event_is_there(Xhci *x)
{
    return (qtest_readl(x->q, x->events + 16 * x->event + 12) & CYCLE) == x->event_cycle;
}

static Event event_look(Xhci *x)
{
    uint64_t at = x->events + 16 * x->event;
    uint32_t status = qtest_readl(x->q, at + 8), control = qtest_readl(x->q, at + 12);

    return (Event){
        .parameter = qtest_readq(x->q, at),
        .type = control >> 10 & 0x3f,
        .code = status >> 24,
        .slot = control >> 24,
        .endpoint = control >> 16 & 0x1f,
        .length = status & 0xffffff,
        .control = control,
    };
}

/* Host I/O ends by itself, so the event is waited for. */
static Event event_take(Xhci *x)
{
    Event e;

    qtest_wait_until(event_is_there(x));
    e = event_look(x);
    if (++x->event == EVENTS) {
        x->event = 0;
        x->event_cycle = !x->event_cycle;
    }
    wr(x, ERDP, (x->events + 16 * x->event) | 8);
    return e;
}

/* A round trip to the main loop: what was asked for has been done. */
static void settle(Xhci *x)
{
    json_decref(qtest_qmp(x->q, "query-status", NULL));
    json_decref(qtest_qmp(x->q, "query-status", NULL));
}

static void no_event(Xhci *x)
{
    settle(x);
    qtest_check(!event_is_there(x));
}

/* Commands. */

static Event command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags)
{
    uint64_t addr = ring_put(x, &x->commands, parameter, 0, type << 10 | flags);
    Event e;

    wr(x, DOORBELL, 0);
    e = event_take(x);
    qtest_check_eq(e.type, COMMAND_EVENT);
    qtest_check_eq(e.parameter, addr);
    return e;
}

static unsigned slot_command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags)
{
    return command(x, type, parameter, flags | x->slot << 24).code;
}

static unsigned endpoint_command(Xhci *x, unsigned type, uint64_t parameter, unsigned dci)
{
    return slot_command(x, type, parameter, dci << 16);
}

/* Life. */

static void start(Xhci *x)
{
    x->event = 0;
    x->event_cycle = true;
    x->commands = ring_new(x);
    qtest_memset(x->q, x->dcbaa, 0, 65 * 8);
    qtest_memset(x->q, x->events, 0, EVENTS * 16);
    qtest_writeq(x->q, x->erst, x->events);
    qtest_writeq(x->q, x->erst + 8, EVENTS);
    wr(x, CONFIG, 64);
    qpci_writeq(x->bar, DCBAAP, x->dcbaa);
    qpci_writeq(x->bar, CRCR, x->commands.base | 1);
    wr(x, ERSTSZ, 1);
    qpci_writeq(x->bar, ERDP, x->events);
    qpci_writeq(x->bar, ERSTBA, x->erst);
    wr(x, IMAN, 2);
    wr(x, USBCMD, RS | INTE);
    qtest_check_eq(rd(x, USBSTS) & HCH, 0);
}

static Xhci xhci_open_as(const char *controller, const char *devices)
{
    Xhci x = {0};

    x.q = qtest_startf("-machine pc -nodefaults -device %s,id=x,addr=4 %s", controller, devices);
    qpci_open(x.q, &x.pci, 4, 0);
    qpci_enable(&x.pci);
    x.bar = qpci_map_bar(&x.pci, 0);
    x.dcbaa = qtest_alloc(x.q, 65 * 8, 4096);
    x.erst = qtest_alloc(x.q, 64, 64);
    x.events = qtest_alloc(x.q, EVENTS * 16, 1024);
    x.input = qtest_alloc(x.q, 33 * 32, 4096);
    x.output = qtest_alloc(x.q, 32 * 32, 4096);
    x.data = qtest_alloc(x.q, 256 * 1024, 65536);
    start(&x);
    return x;
}

static Xhci xhci_open(const char *devices)
{
    return xhci_open_as("qemu-xhci", devices);
}

/* The event of a device at the port. 'port' counts registers, from 1. */
static void port_event(Xhci *x, unsigned port)
{
    Event e = event_take(x);

    qtest_check_eq(e.type, PORT_EVENT);
    qtest_check_eq(e.parameter >> 24, port);
}

static unsigned portsc(unsigned port)
{
    return PORTSC + 16 * (port - 1);
}

static void port_reset(Xhci *x, unsigned port)
{
    wr(x, portsc(port), PP | CSC);
    wr(x, portsc(port), PP | PR);
    port_event(x, port);
    qtest_check_eq(rd(x, portsc(port)) & (CCS | PED | PR | PRC | 0x1e0), CCS | PED | PRC);
    wr(x, portsc(port), PP | PRC);
}

static void put_endpoint(Xhci *x, unsigned dci, unsigned type, unsigned packet)
{
    uint64_t c = x->input + 32 * (dci + 1);

    x->rings[dci] = ring_new(x);
    qtest_writel(x->q, c + 4, 3 << 1 | type << 3 | packet << 16);
    qtest_writeq(x->q, c + 8, x->rings[dci].base | 1);
}

static unsigned address_device(Xhci *x, unsigned port, uint32_t flags)
{
    qtest_memset(x->q, x->input, 0, 33 * 32);
    qtest_memset(x->q, x->output, 0, 32 * 32);
    qtest_writel(x->q, x->input + 4, 3);
    qtest_writel(x->q, x->input + 32, 1 << 27);
    qtest_writel(x->q, x->input + 36, port << 16);
    put_endpoint(x, 1, 4, 64);
    qtest_writeq(x->q, x->dcbaa + 8 * x->slot, x->output);
    return slot_command(x, ADDRESS_DEVICE, x->input, flags);
}

static void enable_slot(Xhci *x)
{
    Event e = command(x, ENABLE_SLOT, 0, 0);

    qtest_check_eq(e.code, SUCCESS);
    x->slot = e.slot;
}

static unsigned slot_state(Xhci *x)
{
    return qtest_readl(x->q, x->output + 12) >> 27;
}

static unsigned endpoint_state(Xhci *x, unsigned dci)
{
    return qtest_readl(x->q, x->output + 32 * dci) & 7;
}

/* Transfers. */

static Event transfer_event(Xhci *x, unsigned dci)
{
    Event e = event_take(x);

    qtest_check_eq(e.type, TRANSFER_EVENT);
    qtest_check_eq(e.slot, x->slot);
    qtest_check_eq(e.endpoint, dci);
    return e;
}

static void ring_doorbell(Xhci *x, unsigned dci)
{
    wr(x, DOORBELL + 4 * x->slot, dci);
}

static Event transfer(Xhci *x, unsigned dci, uint64_t addr, uint32_t length)
{
    ring_put(x, &x->rings[dci], addr, length, NORMAL << 10 | IOC | ISP);
    ring_doorbell(x, dci);
    return transfer_event(x, dci);
}

/* The number of bytes of a control transfer's data, -1 for a stall. */
static int control(Xhci *x, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                   uint16_t length)
{
    Ring *r = &x->rings[1];
    bool in = type & 0x80;
    uint32_t left = 0;
    Event e;

    ring_put(x, r,
             type | request << 8 | (uint32_t)value << 16 | (uint64_t)index << 32 |
                 (uint64_t)length << 48,
             8, SETUP << 10 | IDT | (length ? in ? 3 : 2 : 0) << 16);
    if (length) {
        ring_put(x, r, x->data, length, DATA << 10 | ISP | (in ? DIR_IN : 0));
    }
    ring_put(x, r, 0, 0, STATUS << 10 | IOC | (in && length ? 0 : DIR_IN));
    ring_doorbell(x, 1);
    e = transfer_event(x, 1);
    if (e.code == SHORT) {
        left = e.length;
        e = transfer_event(x, 1);
    }
    if (e.code == STALL) {
        qtest_check_eq(endpoint_state(x, 1), 2);
        qtest_check_eq(endpoint_command(x, RESET_ENDPOINT, 0, 1), SUCCESS);
        qtest_check_eq(endpoint_command(x, SET_DEQUEUE, (r->base + 16 * r->at) | r->cycle, 1),
                       SUCCESS);
        return -1;
    }
    qtest_check_eq(e.code, SUCCESS);
    return length - left;
}

/* A device at the port, with its configuration and the endpoint or two endpoints that it has. */
static void enumerate(Xhci *x, unsigned port, bool bulk)
{
    if (!(rd(x, portsc(port)) & PED)) {
        port_reset(x, port);
    }
    enable_slot(x);
    qtest_check_eq(address_device(x, port, 0), SUCCESS);
    qtest_check_eq(slot_state(x), 2);
    qtest_check_eq(qtest_readl(x->q, x->output + 12) & 0xff, x->slot);
    qtest_memset(x->q, x->input, 0, 33 * 32);
    qtest_writel(x->q, x->input + 4, bulk ? 1 | 1 << 3 | 1 << 4 : 1 | 1 << 3);
    qtest_writel(x->q, x->input + 32, 4 << 27);
    qtest_writel(x->q, x->input + 36, port << 16);
    put_endpoint(x, 3, bulk ? 6 : INTERRUPT_IN, bulk ? 512 : 8);
    if (bulk) {
        put_endpoint(x, 4, 2, 512);
    }
    qtest_check_eq(slot_command(x, CONFIGURE, x->input, 0), SUCCESS);
    qtest_check_eq(slot_state(x), 3);
    qtest_check_eq(endpoint_state(x, 3), 1);
    qtest_check_eq(control(x, 0x00, 9, 1, 0, 0), 0);
}

/* Cases. */

static void test_registers(void)
{
    Xhci x = xhci_open("");

    qtest_check_eq(x.pci.vendor, 0x1b36);
    qtest_check_eq(x.pci.device, 0x000d);
    qtest_check_eq(qpci_config_readl(&x.pci, 8) >> 8, 0x0c0330);
    qtest_check_eq(qpci_config_readb(&x.pci, 0x60), 0x30);
    qtest_check_eq(rd(&x, 0x00), 0x01000040);
    qtest_check_eq(qpci_readb(x.bar, 0), 0x40);
    qtest_check_eq(rd(&x, 0x04), 0x08001040);
    qtest_check_eq(rd(&x, 0x14), DOORBELL);
    qtest_check_eq(rd(&x, 0x18), MFINDEX);
    qtest_check_eq(rd(&x, 0x10) >> 16, 0x20 / 4);
    /* The supported protocols: ports 1 to 4 are USB 2, 5 to 8 USB 3. */
    qtest_check_eq(rd(&x, 0x20), 0x02000402);
    qtest_check_eq(rd(&x, 0x24), 0x20425355);
    qtest_check_eq(rd(&x, 0x28), 0x0401);
    qtest_check_eq(rd(&x, 0x30), 0x03000002);
    qtest_check_eq(rd(&x, 0x38), 0x0405);
    qtest_check_eq(rd(&x, PAGESIZE), 1);
    qtest_check_eq(rd(&x, portsc(1)), PP | 5 << 5);
    qtest_check_eq(rd(&x, portsc(8)), PP | 5 << 5);
    qtest_check_eq(rd(&x, portsc(9)), 0);
    qtest_check_eq(qpci_readq(x.bar, DCBAAP), x.dcbaa);
    qtest_clock_step(x.q, 125000 * 8);
    qtest_check_eq(rd(&x, MFINDEX), 8);
    wr(&x, USBCMD, 0);
    qtest_check_eq(rd(&x, USBSTS) & HCH, HCH);
    qtest_clock_step(x.q, 125000 * 8);
    qtest_check_eq(rd(&x, MFINDEX), 8);
    wr(&x, USBCMD, HCRST);
    qtest_check_eq(rd(&x, USBCMD), 0);
    qtest_check_eq(qpci_readq(x.bar, DCBAAP), 0);
    qtest_check_eq(rd(&x, IMAN), 0);
    qtest_end(x.q);
}

static void check_fails(const char *args, const char *why)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    qtest_check_eq(status, 1);
    qtest_check(strstr(text, why) != NULL);
}

static void test_models(void)
{
    Xhci x = xhci_open_as("nec-usb-xhci,p2=2,p3=1,slots=8,intrs=4",
                          "-device usb-kbd,port=1 -device usb-mouse,port=2");

    qtest_check_eq(x.pci.vendor, 0x1033);
    qtest_check_eq(x.pci.device, 0x0194);
    qtest_check_eq(rd(&x, 0x04), 0x03000408);
    qtest_check_eq(rd(&x, 0x28), 0x0202); /* its USB 3 ports are first */
    qtest_check_eq(rd(&x, 0x38), 0x0101);
    qtest_check_eq(rd(&x, portsc(1)) & CCS, 0);
    port_event(&x, 2);
    port_event(&x, 3);
    qtest_check(qpci_find_cap(&x.pci, 0x05, 0) != 0);
    qtest_check(qpci_find_cap(&x.pci, 0x11, 0) != 0);
    qtest_end(x.q);
    x = xhci_open_as("nec-usb-xhci,msi=off,msix=off,p3=0", "");
    qtest_check_eq(qpci_find_cap(&x.pci, 0x05, 0) | qpci_find_cap(&x.pci, 0x11, 0), 0);
    qtest_check_eq(rd(&x, 0x20), 0x02000002);
    qtest_end(x.q);
    check_fails("-machine pc -nodefaults -device qemu-xhci,p2=16", "p2=16");
    check_fails("-machine pc -nodefaults -device nec-usb-xhci,slots=65", "slots=65");
    check_fails("-machine pc -nodefaults -device nec-usb-xhci,intrs=3", "intrs=3");
}

static void test_commands(void)
{
    Xhci x = xhci_open("");

    for (unsigned i = 0; i < 3 * RING; i++) { /* rounds of both rings */
        qtest_check_eq(command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    }
    qtest_check_eq(rd(&x, CRCR), 8); /* runs */
    qtest_check_eq(command(&x, FORCE_EVENT, 0, 0).code, TRB_ERROR);
    qtest_check_eq(command(&x, 63, 0, 0).code, TRB_ERROR);
    for (unsigned type = DISABLE_SLOT; type <= RESET_DEVICE; type++) {
        qtest_check_eq(command(&x, type, x.input, 1u << 24 | 1 << 16).code, SLOT_NOT_ENABLED);
        qtest_check_eq(command(&x, type, x.input, 0u << 24 | 1 << 16).code, SLOT_NOT_ENABLED);
        qtest_check_eq(command(&x, type, x.input, 255u << 24 | 1 << 16).code, SLOT_NOT_ENABLED);
    }
    for (unsigned i = 1; i <= 64; i++) {
        qtest_check_eq(command(&x, ENABLE_SLOT, 0, 0).slot, i);
    }
    qtest_check_eq(command(&x, ENABLE_SLOT, 0, 0).code, NO_SLOTS);
    x.slot = 5;
    qtest_check_eq(endpoint_command(&x, STOP_ENDPOINT, 0, 1), EP_NOT_ENABLED);
    qtest_check_eq(endpoint_command(&x, STOP_ENDPOINT, 0, 0), TRB_ERROR);
    qtest_check_eq(slot_command(&x, CONFIGURE, x.input, 0), CONTEXT_STATE);
    qtest_check_eq(slot_command(&x, EVALUATE, x.input, 0), CONTEXT_STATE);
    qtest_check_eq(slot_command(&x, RESET_DEVICE, 0, 0), CONTEXT_STATE);
    qtest_check_eq(slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qtest_check_eq(command(&x, ENABLE_SLOT, 0, 0).slot, 5);
    /* The ring is stopped, and begins elsewhere. */
    wr(&x, CRCR, 2);
    qtest_check_eq(event_take(&x).code, RING_STOPPED);
    qtest_check_eq(rd(&x, CRCR), 0);
    x.commands = ring_new(&x);
    qpci_writeq(x.bar, CRCR, x.commands.base | 1);
    qtest_check_eq(command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    qtest_end(x.q);
}

static void test_interrupts(void)
{
    Xhci x = xhci_open("");
    uint64_t message = qtest_alloc(x.q, 4, 4);

    /* INTx, until the driver takes IP away. */
    qtest_check_eq(command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    settle(&x);
    qtest_check_eq(rd(&x, IMAN), 3);
    qtest_check_eq(rd(&x, USBSTS) & EINT, EINT);
    qtest_check_eq(qpci_config_readw(&x.pci, 6) & 8, 8);
    wr(&x, IMAN, 3);
    wr(&x, USBSTS, EINT);
    qtest_check_eq(rd(&x, IMAN), 2);
    qtest_check_eq(qpci_config_readw(&x.pci, 6) & 8, 0);
    /* MSI-X, whose message takes IP away; none while the handler is busy (EHB). */
    qtest_writel(x.q, message, 0);
    qpci_msix_enable(&x.pci);
    qpci_msix_set(&x.pci, 0, message, 0x55);
    ring_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    wr(&x, DOORBELL, 0);
    qtest_wait_until(event_is_there(&x));
    settle(&x);
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    qtest_check_eq(rd(&x, IMAN), 2);
    qtest_check_eq(rd(&x, ERDP) & 8, 8);
    ring_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    wr(&x, DOORBELL, 0);
    settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    event_take(&x); /* there is another: an interrupt at once */
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    event_take(&x);
    settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    /* None without INTE. */
    wr(&x, USBCMD, RS);
    qtest_check_eq(command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    wr(&x, USBCMD, RS | INTE);
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    /* MFINDEX wraps each 2048 ms, and there is a timer for that only if the driver wants it. */
    qtest_clock_step(x.q, 2100 * (int64_t)FRAME_NS);
    no_event(&x);
    wr(&x, USBCMD, RS | EWE);
    qtest_clock_step(x.q, 2048 * (int64_t)FRAME_NS);
    qtest_check_eq(event_take(&x).type, WRAP_EVENT);
    qtest_end(x.q);
}

/* A ring that nobody drains: what has no room waits, and nothing is lost. */
static void test_event_ring_full(void)
{
    Xhci x = xhci_open("");
    unsigned done = 0;

    for (unsigned i = 0; i < RING - 2; i++) {
        ring_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    }
    qtest_writeq(x.q, x.erst + 8, 16);
    wr(&x, DOORBELL, 0);
    for (unsigned at = 0; at < 16; at++) {
        settle(&x);
        if (qtest_readl(x.q, x.events + 16 * at + 12) & CYCLE) {
            done++;
        }
    }
    qtest_check_eq(done, 13);
    x.event = 12;
    qtest_check_eq(event_look(&x).type, CONTROLLER_EVENT);
    qtest_check_eq(event_look(&x).code, RING_FULL);
    qtest_check_eq(rd(&x, CRCR), 8);
    done = 12;
    x.event = 13;
    while (done < RING - 2) {
        wr(&x, ERDP, (x.events + 16 * x.event) | 8);
        settle(&x);
        while (event_is_there(&x)) {
            done += event_look(&x).type == COMMAND_EVENT;
            x.event = (x.event + 1) % 16;
            x.event_cycle ^= x.event == 0;
        }
    }
    qtest_check_eq(done, RING - 2);
    qtest_end(x.q);
}

static void test_control(void)
{
    Xhci x = xhci_open("-device usb-kbd,serial=abc");
    uint8_t d[64];

    qtest_check_eq(rd(&x, portsc(1)), CCS | PP | CSC | 7 << 5 | 3 << 10);
    qtest_check_eq(rd(&x, USBSTS) & PCD, PCD);
    port_event(&x, 1);
    /* No device answers before its port was reset. */
    enable_slot(&x);
    qtest_check_eq(address_device(&x, 1, 0), TRANSACTION);
    qtest_check_eq(address_device(&x, 0, 0), PARAMETER);
    qtest_check_eq(address_device(&x, 9, 0), PARAMETER);
    port_reset(&x, 1);
    qtest_check_eq(address_device(&x, 1, BSR), SUCCESS);
    qtest_check_eq(slot_state(&x), 1);
    qtest_check_eq(control(&x, 0x80, 6, 0x0100, 0, 8), 8);
    qtest_check_eq(address_device(&x, 1, BSR), CONTEXT_STATE);
    qtest_check_eq(address_device(&x, 1, 0), SUCCESS);
    qtest_check_eq(slot_state(&x), 2);
    qtest_check_eq(control(&x, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_read(x.q, x.data, d, 18);
    qtest_check_eq(d[0], 18);
    qtest_check_eq(d[7], 64);
    qtest_check_eq(control(&x, 0x80, 6, 0x0303, 0x409, 8), 8);
    qtest_read(x.q, x.data, d, 8);
    qtest_check_mem(d,
                    "\x08\x03"
                    "a\0b\0c\0",
                    8);
    qtest_check_eq(control(&x, 0x80, 6, 0x0309, 0x409, 64), -1); /* stalls */
    qtest_check_eq(control(&x, 0x00, 9, 1, 0, 0), 0);
    qtest_check_eq(control(&x, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(x.q, x.data), 1);
    qtest_writeb(x.q, x.data, 2);
    qtest_check_eq(control(&x, 0x21, 9, 0x0200, 0, 1), 1);
    /* Packet size of endpoint 0. */
    qtest_memset(x.q, x.input, 0, 33 * 32);
    qtest_writel(x.q, x.input + 4, 2);
    qtest_writel(x.q, x.input + 64 + 4, 512 << 16);
    qtest_check_eq(slot_command(&x, EVALUATE, x.input, 0), SUCCESS);
    qtest_check_eq(qtest_readl(x.q, x.output + 32 + 4) >> 16, 512);
    qtest_check_eq(slot_command(&x, RESET_DEVICE, 0, 0), SUCCESS);
    qtest_check_eq(slot_state(&x), 1);
    qtest_check_eq(slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qtest_check_eq(slot_state(&x), 0);
    qtest_end(x.q);
}

static void hmp(Xhci *x, const char *line)
{
    g_autofree char *answer = qtest_hmp(x->q, "%s", line);

    qtest_check_str(answer, "");
    qtest_clock_step(x->q, 5 * FRAME_NS); /* a key is let go */
}

/* A TRB that waits for the device. */
static uint64_t poll_device(Xhci *x, unsigned length)
{
    uint64_t trb = ring_put(x, &x->rings[3], x->data, length, NORMAL << 10 | IOC);

    ring_doorbell(x, 3);
    no_event(x);
    return trb;
}

static void test_keyboard(void)
{
    Xhci x = xhci_open("-device usb-kbd");
    uint8_t r[8];
    uint64_t trb;
    Event e;

    port_event(&x, 1);
    enumerate(&x, 1, false);
    qtest_check_eq(control(&x, 0x21, 10, 0, 0, 0), 0); /* SET_IDLE 0 */
    ring_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    ring_put(&x, &x.rings[3], x.data + 8, 8, NORMAL << 10 | IOC);
    ring_doorbell(&x, 3);
    no_event(&x); /* there is nothing to tell: it waits */
    hmp(&x, "sendkey a 1");
    qtest_check_eq(transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(transfer_event(&x, 3).code, SUCCESS);
    qtest_read(x.q, x.data, r, 8);
    qtest_check_mem(r, "\0\0\x04\0\0\0\0\0", 8);
    qtest_read(x.q, x.data + 8, r, 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    /* A short packet, then one that is stopped and goes on. */
    trb = poll_device(&x, 16);
    hmp(&x, "sendkey b 1");
    e = transfer_event(&x, 3);
    qtest_check_eq(e.code, SHORT);
    qtest_check_eq(e.parameter, trb);
    qtest_check_eq(e.length, 8);
    trb = ring_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    ring_doorbell(&x, 3);
    qtest_check_eq(transfer_event(&x, 3).parameter, trb);
    trb = poll_device(&x, 8);
    ring_put(&x, &x.commands, 0, 0, STOP_ENDPOINT << 10 | x.slot << 24 | 3 << 16);
    wr(&x, DOORBELL, 0);
    e = transfer_event(&x, 3);
    qtest_check_eq(e.code, STOPPED);
    qtest_check_eq(e.parameter, trb);
    qtest_check_eq(e.length, 8);
    qtest_check_eq(event_take(&x).code, SUCCESS);
    qtest_check_eq(endpoint_state(&x, 3), 3);
    qtest_check_eq(qtest_readq(x.q, x.output + 3 * 32 + 8), trb | 1);
    qtest_check_eq(endpoint_command(&x, STOP_ENDPOINT, 0, 3), CONTEXT_STATE);
    qtest_check_eq(endpoint_command(&x, RESET_ENDPOINT, 0, 3), CONTEXT_STATE);
    hmp(&x, "sendkey c 1");
    no_event(&x);
    ring_doorbell(&x, 3);
    qtest_check_eq(transfer_event(&x, 3).parameter, trb);
    qtest_check_eq(endpoint_command(&x, SET_DEQUEUE, x.rings[3].base | 1, 3), CONTEXT_STATE);
    qtest_end(x.q);
}

/* Mass storage. */

static const char *disk_image(void)
{
    static char path[256];
    FILE *f;

    g_snprintf(path, sizeof path, "%s/disk", qtest_tmp_dir());
    f = fopen(path, "w");
    for (unsigned i = 0; i < 1024; i++) {
        for (unsigned k = 0; k < 512; k++) {
            fputc((i * 7 + k) & 0xff, f);
        }
    }
    fclose(f);
    return path;
}

static Xhci storage_open(void)
{
    g_autofree char *args = g_strdup_printf("-drive if=none,id=d,file=%s,format=raw -device "
                                            "usb-storage,id=s,drive=d",
                                            disk_image());
    Xhci x = xhci_open(args);

    port_event(&x, 5); /* a USB 3 port, which needs no reset */
    qtest_check_eq(rd(&x, portsc(5)), CCS | PED | PP | CSC | 4 << 10);
    qtest_check_eq(rd(&x, portsc(1)) & CCS, 0);
    enumerate(&x, 5, true);
    return x;
}

/* READ(10) or WRITE(10), with data in TRBs of those lengths, which are one TD. */
static void storage_command(Xhci *x, bool write, uint32_t block, unsigned blocks, uint32_t expected,
                            const uint32_t *lengths)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C', 1, 2, 3, 4};
    uint64_t at = x->data;

    for (unsigned i = 0; i < 4; i++) {
        cbw[8 + i] = expected >> 8 * i;
        cbw[17 + i] = block >> 8 * (3 - i);
    }
    cbw[12] = write ? 0 : 0x80;
    cbw[14] = 10;
    cbw[15] = write ? 0x2a : 0x28;
    cbw[22] = blocks >> 8;
    cbw[23] = blocks;
    qtest_write(x->q, x->data + 0x38000, cbw, sizeof cbw);
    qtest_check_eq(transfer(x, 4, x->data + 0x38000, 31).code, SUCCESS);
    for (; *lengths; at += *lengths++) {
        ring_put(x, &x->rings[write ? 4 : 3], at, *lengths,
                 NORMAL << 10 | (lengths[1] ? CHAIN : IOC) | ISP);
    }
    ring_doorbell(x, write ? 4 : 3);
}

static unsigned storage_status(Xhci *x)
{
    qtest_check_eq(transfer(x, 3, x->data + 0x39000, 13).code, SUCCESS);
    qtest_check_eq(qtest_readl(x->q, x->data + 0x39000), 0x53425355);
    return qtest_readb(x->q, x->data + 0x3900c);
}

static void test_storage(void)
{
    Xhci x = storage_open();
    uint8_t *block = g_malloc(131072);
    Event e;

    /* The power-on unit attention, if there is one, goes first. */
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    transfer_event(&x, 3);
    storage_status(&x);
    storage_command(&x, false, 8, 128, 65536, (const uint32_t[]){4096, 61440, 0});
    e = transfer_event(&x, 3);
    qtest_check_eq(e.code, SUCCESS);
    qtest_check_eq(e.length, 0);
    qtest_check_eq(storage_status(&x), 0);
    qtest_read(x.q, x.data, block, 65536);
    for (unsigned i = 0; i < 65536; i++) {
        qtest_check_eq(block[i], ((8 + i / 512) * 7 + i % 512) & 0xff);
    }
    for (unsigned i = 0; i < 131072; i++) {
        block[i] = i * 13 + i / 512;
    }
    qtest_write(x.q, x.data, block, 131072);
    storage_command(&x, true, 100, 256, 131072, (const uint32_t[]){65536, 512, 65024, 0});
    qtest_check_eq(transfer_event(&x, 4).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    qtest_memset(x.q, x.data, 0, 131072);
    storage_command(&x, false, 100, 256, 131072, (const uint32_t[]){65536, 65536, 0});
    qtest_check_eq(transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    for (unsigned at = 0; at < 131072; at += 4096) {
        uint8_t now[4096];

        qtest_read(x.q, x.data + at, now, sizeof now);
        qtest_check_mem(now, block + at, sizeof now);
    }
    /* A TD that ends early: one event, and the TD behind it is the status. */
    storage_command(&x, false, 0, 1, 1536, (const uint32_t[]){1024, 512, 0});
    e = transfer_event(&x, 3);
    qtest_check_eq(e.code, SHORT);
    qtest_check_eq(e.length, 512);
    qtest_check_eq(storage_status(&x), 0);
    qtest_check_eq(qtest_readl(x.q, x.data + 0x39008), 1024); /* residue */
    /* A command that is none halts the endpoint, until the driver has cleared that. */
    qtest_check_eq(transfer(&x, 4, x.data, 30).code, STALL);
    qtest_check_eq(endpoint_state(&x, 4), 2);
    ring_doorbell(&x, 4);
    no_event(&x);
    qtest_check_eq(endpoint_command(&x, RESET_ENDPOINT, 0, 4), SUCCESS);
    qtest_check_eq(control(&x, 0x21, 0xff, 0, 0, 0), 0);
    qtest_check_eq(control(&x, 0x02, 1, 0, 0x81, 0), 0);
    qtest_check_eq(control(&x, 0x02, 1, 0, 0x02, 0), 0);
    qtest_check_eq(endpoint_command(&x, SET_DEQUEUE,
                                    (x.rings[4].base + 16 * x.rings[4].at) | x.rings[4].cycle, 4),
                   SUCCESS);
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qtest_check_eq(transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    g_free(block);
    qtest_end(x.q);
}

/* Event data TRBs, no-ops, immediate data. */
static void test_other_trbs(void)
{
    Xhci x = storage_open();
    Event e;
    uint64_t trb;

    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    transfer_event(&x, 3);
    storage_status(&x);
    storage_command(&x, false, 0, 2, 1024, (const uint32_t[]){0});
    ring_put(&x, &x.rings[3], x.data, 512, NORMAL << 10 | CHAIN);
    ring_put(&x, &x.rings[3], x.data + 512, 512, NORMAL << 10 | CHAIN);
    ring_put(&x, &x.rings[3], 0x123456789abcdef0, 0, EVENT_DATA << 10 | IOC);
    ring_doorbell(&x, 3);
    e = transfer_event(&x, 3);
    qtest_check_eq(e.parameter, 0x123456789abcdef0);
    qtest_check_eq(e.control & 4, 4);
    qtest_check_eq(e.length, 1024);
    qtest_check_eq(e.code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    trb = ring_put(&x, &x.rings[3], 0, 0, NO_OP << 10 | IOC);
    ring_doorbell(&x, 3);
    qtest_check_eq(transfer_event(&x, 3).parameter, trb);
    ring_put(&x, &x.rings[4], 0x0123456789abcdef, 8, NORMAL << 10 | IDT | IOC);
    ring_doorbell(&x, 4);
    qtest_check_eq(transfer_event(&x, 4).code, STALL); /* no command, but it came there */
    qtest_check_eq(endpoint_command(&x, RESET_ENDPOINT, 0, 4), SUCCESS);
    /* What does not belong into this ring: the endpoint is in error. */
    ring_put(&x, &x.rings[3], x.data, 512, ISOCH << 10 | IOC);
    ring_doorbell(&x, 3);
    qtest_check_eq(transfer_event(&x, 3).code, TRB_ERROR);
    qtest_check_eq(endpoint_state(&x, 3), 4);
    qtest_end(x.q);
}

static void test_plug(void)
{
    Xhci x = xhci_open("");

    no_event(&x);
    json_decref(qtest_qmp(x.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-tablet", "id", "t",
                          "port", "3"));
    port_event(&x, 3);
    enumerate(&x, 3, false);
    ring_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    ring_doorbell(&x, 3);
    no_event(&x);
    json_decref(qtest_qmp(x.q, "device_del", "{s:s}", "id", "t"));
    /* The port says so, and who polls the device gets no answer. */
    for (unsigned i = 0; i < 2; i++) {
        Event e = event_take(&x);

        qtest_check(e.type == PORT_EVENT ? e.parameter >> 24 == 3
                                         : e.type == TRANSFER_EVENT && e.code == TRANSACTION);
    }
    qtest_check_eq(rd(&x, portsc(3)), PP | CSC | 5 << 5);
    qtest_check_eq(endpoint_state(&x, 3), 2);
    json_decref(qtest_qmp(x.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-tablet", "id", "t",
                          "port", "3"));
    no_event(&x); /* CSC was not cleared: no second event */
    wr(&x, portsc(3), PP | CSC);
    qtest_check_eq(rd(&x, portsc(3)), PP | CCS | 7 << 5 | 3 << 10);
    qtest_check_eq(slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    enumerate(&x, 3, false);
    qtest_end(x.q);
}

static void test_port(void)
{
    Xhci x = xhci_open("-device usb-kbd");

    port_event(&x, 1);
    enumerate(&x, 1, false);
    /* Suspend and resume. */
    wr(&x, portsc(1), PP | LWS | 3 << 5);
    qtest_check_eq(rd(&x, portsc(1)) & 0x1e0, 3 << 5);
    wr(&x, portsc(1), PP | LWS | 15 << 5);
    qtest_check_eq(rd(&x, portsc(1)) & 0x1e0, 15 << 5);
    wr(&x, portsc(1), PP | LWS | 0 << 5);
    qtest_check_eq(rd(&x, portsc(1)) & (0x1e0 | PLC), PLC);
    port_event(&x, 1);
    wr(&x, portsc(1), PP | PLC);
    /* A suspended keyboard wakes the guest, which has allowed that. */
    qtest_check_eq(control(&x, 0x00, 3, 1, 0, 0), 0);
    poll_device(&x, 8);
    wr(&x, portsc(1), PP | LWS | 3 << 5);
    hmp(&x, "sendkey a 1");
    for (unsigned i = 0; i < 2; i++) {
        Event e = event_take(&x);

        qtest_check(e.type == PORT_EVENT || e.type == TRANSFER_EVENT);
    }
    qtest_check_eq(rd(&x, portsc(1)) & (0x1e0 | PLC), 15 << 5 | PLC);
    wr(&x, portsc(1), PP | PED); /* disabled */
    qtest_check_eq(rd(&x, portsc(1)) & (CCS | PED | 0x1e0), CCS | 7 << 5);
    wr(&x, portsc(2), PP | PR); /* nobody is there */
    no_event(&x);
    qtest_end(x.q);
}

static void test_hub(void)
{
    Xhci x = xhci_open("-device usb-hub,port=1 -device usb-mouse,port=1.2");
    Xhci hub;
    uint8_t r[4];

    port_event(&x, 1);
    enumerate(&x, 1, false);
    qtest_check_eq(control(&x, 0x23, 3, 8, 2, 0), 0); /* power and reset of port 2 */
    qtest_check_eq(control(&x, 0x23, 3, 4, 2, 0), 0);
    qtest_check_eq(control(&x, 0xa3, 0, 0, 2, 4), 4);
    qtest_check_eq(qtest_readl(x.q, x.data) & 3, 3);
    hub = x;
    x.output = qtest_alloc(x.q, 32 * 32, 4096);
    enumerate(&x, 1, false); /* the device that has address 0 now */
    qtest_check_ne(x.slot, hub.slot);
    qtest_check_eq(control(&x, 0x21, 10, 0, 0, 0), 0);
    poll_device(&x, 4);
    hmp(&x, "mouse_move 5 -3");
    qtest_check_eq(transfer_event(&x, 3).code, SUCCESS);
    qtest_read(x.q, x.data, r, 4);
    qtest_check_mem(r, "\0\x05\xfd\0", 4);
    qtest_end(x.q);
}

/* Hostile drivers. */

static void restart(Xhci *x)
{
    wr(x, USBCMD, HCRST);
    start(x);
}

static void check_host_error(Xhci *x)
{
    qtest_wait_until(rd(x, USBSTS) & HSE);
    qtest_check_eq(rd(x, USBSTS) & HCH, HCH);
    restart(x);
}

static void test_hostile_memory(void)
{
    Xhci x = xhci_open("-device usb-kbd,port=1");
    static const uint64_t nowhere[] = {0xe0000000, 0xfee00000, 0xfffffffffffff000, 0x7000000000};

    port_event(&x, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(nowhere); i++) {
        uint64_t addr = nowhere[i];

        /* The command ring, the event ring and its table, DCBAA and contexts. */
        restart(&x);
        wr(&x, USBCMD, 0);
        qpci_writeq(x.bar, CRCR, addr);
        wr(&x, USBCMD, RS);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        qpci_writeq(x.bar, ERSTBA, addr);
        ring_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        qtest_writeq(x.q, x.erst, addr);
        wr(&x, USBCMD, 0);
        wr(&x, USBCMD, RS);
        ring_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        port_event(&x, 1);
        port_reset(&x, 1);
        enable_slot(&x);
        qpci_writeq(x.bar, DCBAAP, addr);
        ring_put(&x, &x.commands, x.input, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        port_event(&x, 1);
        enable_slot(&x);
        qtest_writeq(x.q, x.dcbaa + 8 * x.slot, addr);
        ring_put(&x, &x.commands, x.input, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        port_event(&x, 1);
        enable_slot(&x);
        ring_put(&x, &x.commands, addr, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        wr(&x, DOORBELL, 0);
        check_host_error(&x);
        port_event(&x, 1);
        /* A transfer's buffer, and its ring. */
        enumerate(&x, 1, false);
        qtest_check_eq(transfer(&x, 3, addr, 8).code, TRANSACTION);
        qtest_check_eq(endpoint_command(&x, RESET_ENDPOINT, 0, 3), SUCCESS);
        qtest_check_eq(endpoint_command(&x, SET_DEQUEUE, addr | 1, 3), SUCCESS);
        ring_doorbell(&x, 3);
        check_host_error(&x);
        port_event(&x, 1);
    }
    qtest_end(x.q);
}

static void test_hostile_rings(void)
{
    Xhci x = xhci_open("-device usb-kbd,port=1");
    Ring *r = &x.rings[3];

    port_event(&x, 1);
    enumerate(&x, 1, false);
    /* Doorbells of what there is not. */
    for (unsigned slot = 0; slot < 256; slot += 5) {
        wr(&x, DOORBELL + 4 * slot, 9);
        wr(&x, DOORBELL + 4 * slot, 255);
        wr(&x, DOORBELL + 4 * slot, 0x10000 | 1);
    }
    no_event(&x);
    /* Links in a circle. */
    qtest_writeq(x.q, r->base, r->base);
    qtest_writel(x.q, r->base + 12, LINK << 10 | CYCLE);
    ring_doorbell(&x, 3);
    qtest_check_eq(transfer_event(&x, 3).code, TRB_ERROR);
    qtest_check_eq(endpoint_state(&x, 3), 4);
    /* Transfers in a circle, without an end and without events: others go on. */
    qtest_check_eq(endpoint_command(&x, SET_DEQUEUE, r->base | 1, 3), SUCCESS);
    for (unsigned i = 0; i < 8; i++) {
        qtest_writel(x.q, r->base + 16 * i + 12, (i == 7 ? LINK : NO_OP) << 10 | CYCLE);
    }
    qtest_writeq(x.q, r->base + 16 * 7, r->base);
    ring_doorbell(&x, 3);
    qtest_check_eq(control(&x, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(endpoint_command(&x, STOP_ENDPOINT, 0, 3), SUCCESS);
    /* Packets that are too long, a setup stage that is none. */
    qtest_check_eq(endpoint_command(&x, SET_DEQUEUE, r->base | 1, 3), SUCCESS);
    *r = (Ring){.base = r->base, .cycle = true};
    qtest_check_eq(transfer(&x, 3, x.data, 0x1ffff).code, TRB_ERROR);
    ring_put(&x, &x.rings[1], 0, 4, SETUP << 10 | IDT | IOC);
    ring_doorbell(&x, 1);
    qtest_check_eq(transfer_event(&x, 1).code, TRB_ERROR);
    /* More from the host than a device stores (CVE-2020-14364). */
    qtest_check_eq(endpoint_command(&x, SET_DEQUEUE, x.rings[1].base + 16 * x.rings[1].at + 1, 1),
                   SUCCESS);
    qtest_check_eq(control(&x, 0x21, 9, 0x0200, 0, 0xffff), -1);
    /* Command rings in a circle. */
    ring_put(&x, &x.commands, x.commands.base + 16 * x.commands.at, 0, LINK << 10);
    wr(&x, DOORBELL, 0);
    no_event(&x);
    qtest_check_eq(rd(&x, CRCR), 0);
    /* Endpoints that are of another kind than their place. */
    restart(&x);
    port_event(&x, 1);
    enumerate(&x, 1, false);
    for (unsigned type = 0; type < 8; type++) {
        qtest_memset(x.q, x.input, 0, 33 * 32);
        qtest_writel(x.q, x.input + 4, 1 | 1 << 5);
        put_endpoint(&x, 5, type, 8);
        qtest_check_eq(slot_command(&x, CONFIGURE, x.input, 0), type == 1 || type == 5 ? BANDWIDTH
                                                                : type == 6 || type == 7
                                                                    ? SUCCESS
                                                                    : PARAMETER);
    }
    qtest_writel(x.q, x.input, 3); /* drops what cannot be dropped */
    qtest_check_eq(slot_command(&x, CONFIGURE, x.input, 0), PARAMETER);
    qtest_end(x.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"registers", test_registers},
        {"models and properties", test_models},
        {"commands", test_commands},
        {"interrupts", test_interrupts},
        {"full event ring", test_event_ring_full},
        {"control transfers", test_control},
        {"keyboard", test_keyboard},
        {"storage", test_storage},
        {"other TRBs", test_other_trbs},
        {"plug and unplug", test_plug},
        {"port", test_port},
        {"hub", test_hub},
        {"structures in no memory", test_hostile_memory},
        {"hostile rings", test_hostile_rings},
        {0},
    };
    return qtest_run(argc, argv, cases);
}

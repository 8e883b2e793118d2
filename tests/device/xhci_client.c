/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "xhci_client.h"

uint32_t qxhci_read(Xhci *x, unsigned reg)
{
    return qpci_readl(x->bar, reg);
}

void qxhci_write(Xhci *x, unsigned reg, uint32_t value)
{
    qpci_writel(x->bar, reg, value);
}

/* Rings. */

Ring qxhci_ring_new(Xhci *x)
{
    Ring r = {.base = qtest_alloc(x->q, RING * 16, 1024), .cycle = true};

    qtest_memset(x->q, r.base, 0, RING * 16);
    return r;
}

uint64_t qxhci_put(Xhci *x, Ring *r, uint64_t parameter, uint32_t status, uint32_t control)
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

bool qxhci_has_event(Xhci *x)
{
    return (qtest_readl(x->q, x->events + 16 * x->event + 12) & CYCLE) == x->event_cycle;
}

Event qxhci_look(Xhci *x)
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

Event qxhci_take(Xhci *x)
{
    Event e;

    qtest_wait_until(qxhci_has_event(x));
    e = qxhci_look(x);
    if (++x->event == EVENTS) {
        x->event = 0;
        x->event_cycle = !x->event_cycle;
    }
    qxhci_write(x, ERDP, (x->events + 16 * x->event) | 8);
    return e;
}

void qxhci_settle(Xhci *x)
{
    json_decref(qtest_qmp(x->q, "query-status", NULL));
    json_decref(qtest_qmp(x->q, "query-status", NULL));
}

void qxhci_no_event(Xhci *x)
{
    qxhci_settle(x);
    qtest_check(!qxhci_has_event(x));
}

/* Commands. */

Event qxhci_command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags)
{
    uint64_t addr = qxhci_put(x, &x->commands, parameter, 0, type << 10 | flags);
    Event e;

    qxhci_write(x, DOORBELL, 0);
    e = qxhci_take(x);
    qtest_check_eq(e.type, COMMAND_EVENT);
    qtest_check_eq(e.parameter, addr);
    return e;
}

unsigned qxhci_slot_command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags)
{
    return qxhci_command(x, type, parameter, flags | x->slot << 24).code;
}

unsigned qxhci_endpoint_command(Xhci *x, unsigned type, uint64_t parameter, unsigned dci)
{
    return qxhci_slot_command(x, type, parameter, dci << 16);
}

/* Life. */

void qxhci_start(Xhci *x)
{
    x->event = 0;
    x->event_cycle = true;
    x->commands = qxhci_ring_new(x);
    qtest_memset(x->q, x->dcbaa, 0, 65 * 8);
    qtest_memset(x->q, x->events, 0, EVENTS * 16);
    qtest_writeq(x->q, x->erst, x->events);
    qtest_writeq(x->q, x->erst + 8, EVENTS);
    qxhci_write(x, CONFIG, 64);
    qpci_writeq(x->bar, DCBAAP, x->dcbaa);
    qpci_writeq(x->bar, CRCR, x->commands.base | 1);
    qxhci_write(x, ERSTSZ, 1);
    qpci_writeq(x->bar, ERDP, x->events);
    qpci_writeq(x->bar, ERSTBA, x->erst);
    qxhci_write(x, IMAN, 2);
    qxhci_write(x, USBCMD, RS | INTE);
    qtest_check_eq(qxhci_read(x, USBSTS) & HCH, 0);
}

Xhci qxhci_open_as(const char *controller, const char *devices)
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
    qxhci_start(&x);
    return x;
}

Xhci qxhci_open(const char *devices)
{
    return qxhci_open_as("qemu-xhci", devices);
}

void qxhci_port_event(Xhci *x, unsigned port)
{
    Event e = qxhci_take(x);

    qtest_check_eq(e.type, PORT_EVENT);
    qtest_check_eq(e.parameter >> 24, port);
}

unsigned qxhci_portsc(unsigned port)
{
    return PORTSC + 16 * (port - 1);
}

void qxhci_port_reset(Xhci *x, unsigned port)
{
    qxhci_write(x, qxhci_portsc(port), PP | CSC);
    qxhci_write(x, qxhci_portsc(port), PP | PR);
    qxhci_port_event(x, port);
    qtest_check_eq(qxhci_read(x, qxhci_portsc(port)) & (CCS | PED | PR | PRC | 0x1e0),
                   CCS | PED | PRC);
    qxhci_write(x, qxhci_portsc(port), PP | PRC);
}

void qxhci_put_endpoint(Xhci *x, unsigned dci, unsigned type, unsigned packet)
{
    uint64_t c = x->input + 32 * (dci + 1);

    x->rings[dci] = qxhci_ring_new(x);
    qtest_writel(x->q, c + 4, 3 << 1 | type << 3 | packet << 16);
    qtest_writeq(x->q, c + 8, x->rings[dci].base | 1);
}

unsigned qxhci_address_device(Xhci *x, unsigned port, uint32_t flags)
{
    qtest_memset(x->q, x->input, 0, 33 * 32);
    qtest_memset(x->q, x->output, 0, 32 * 32);
    qtest_writel(x->q, x->input + 4, 3);
    qtest_writel(x->q, x->input + 32, 1 << 27);
    qtest_writel(x->q, x->input + 36, port << 16);
    qxhci_put_endpoint(x, 1, 4, 64);
    qtest_writeq(x->q, x->dcbaa + 8 * x->slot, x->output);
    return qxhci_slot_command(x, ADDRESS_DEVICE, x->input, flags);
}

void qxhci_enable_slot(Xhci *x)
{
    Event e = qxhci_command(x, ENABLE_SLOT, 0, 0);

    qtest_check_eq(e.code, SUCCESS);
    x->slot = e.slot;
}

unsigned qxhci_slot_state(Xhci *x)
{
    return qtest_readl(x->q, x->output + 12) >> 27;
}

unsigned qxhci_endpoint_state(Xhci *x, unsigned dci)
{
    return qtest_readl(x->q, x->output + 32 * dci) & 7;
}

/* Transfers. */

Event qxhci_transfer_event(Xhci *x, unsigned dci)
{
    Event e = qxhci_take(x);

    qtest_check_eq(e.type, TRANSFER_EVENT);
    qtest_check_eq(e.slot, x->slot);
    qtest_check_eq(e.endpoint, dci);
    return e;
}

void qxhci_doorbell(Xhci *x, unsigned dci)
{
    qxhci_write(x, DOORBELL + 4 * x->slot, dci);
}

Event qxhci_transfer(Xhci *x, unsigned dci, uint64_t addr, uint32_t length)
{
    qxhci_put(x, &x->rings[dci], addr, length, NORMAL << 10 | IOC | ISP);
    qxhci_doorbell(x, dci);
    return qxhci_transfer_event(x, dci);
}

int qxhci_control(Xhci *x, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                  uint16_t length)
{
    Ring *r = &x->rings[1];
    bool in = type & 0x80;
    uint32_t left = 0;
    Event e;

    qxhci_put(x, r,
              type | request << 8 | (uint32_t)value << 16 | (uint64_t)index << 32 |
                  (uint64_t)length << 48,
              8, SETUP << 10 | IDT | (length ? in ? 3 : 2 : 0) << 16);
    if (length) {
        qxhci_put(x, r, x->data, length, DATA << 10 | ISP | (in ? DIR_IN : 0));
    }
    qxhci_put(x, r, 0, 0, STATUS << 10 | IOC | (in && length ? 0 : DIR_IN));
    qxhci_doorbell(x, 1);
    e = qxhci_transfer_event(x, 1);
    if (e.code == SHORT) {
        left = e.length;
        e = qxhci_transfer_event(x, 1);
    }
    if (e.code == STALL) {
        qtest_check_eq(qxhci_endpoint_state(x, 1), 2);
        qtest_check_eq(qxhci_endpoint_command(x, RESET_ENDPOINT, 0, 1), SUCCESS);
        qtest_check_eq(qxhci_endpoint_command(x, SET_DEQUEUE, (r->base + 16 * r->at) | r->cycle, 1),
                       SUCCESS);
        return -1;
    }
    qtest_check_eq(e.code, SUCCESS);
    return length - left;
}

void qxhci_enumerate(Xhci *x, unsigned port, bool bulk)
{
    if (!(qxhci_read(x, qxhci_portsc(port)) & PED)) {
        qxhci_port_reset(x, port);
    }
    qxhci_enable_slot(x);
    qtest_check_eq(qxhci_address_device(x, port, 0), SUCCESS);
    qtest_check_eq(qxhci_slot_state(x), 2);
    qtest_check_eq(qtest_readl(x->q, x->output + 12) & 0xff, x->slot);
    qtest_memset(x->q, x->input, 0, 33 * 32);
    qtest_writel(x->q, x->input + 4, bulk ? 1 | 1 << 3 | 1 << 4 : 1 | 1 << 3);
    qtest_writel(x->q, x->input + 32, 4 << 27);
    qtest_writel(x->q, x->input + 36, port << 16);
    qxhci_put_endpoint(x, 3, bulk ? 6 : INTERRUPT_IN, bulk ? 512 : 8);
    if (bulk) {
        qxhci_put_endpoint(x, 4, 2, 512);
    }
    qtest_check_eq(qxhci_slot_command(x, CONFIGURE, x->input, 0), SUCCESS);
    qtest_check_eq(qxhci_slot_state(x), 3);
    qtest_check_eq(qxhci_endpoint_state(x, 3), 1);
    qtest_check_eq(qxhci_control(x, 0x00, 9, 1, 0, 0), 0);
}

void qxhci_hmp(Xhci *x, const char *line)
{
    g_autofree char *answer = qtest_hmp(x->q, "%s", line);

    qtest_check_str(answer, "");
    qtest_clock_step(x->q, 5 * FRAME_NS); /* a key is let go */
}

uint64_t qxhci_poll(Xhci *x, unsigned length)
{
    uint64_t trb = qxhci_put(x, &x->rings[3], x->data, length, NORMAL << 10 | IOC);

    qxhci_doorbell(x, 3);
    qxhci_no_event(x);
    return trb;
}

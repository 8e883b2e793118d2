/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: the command ring, slots and contexts (4.3, 4.6, 6.2). */
#include <string.h>

#include "xhci.h"

enum {
    /* 6.2.2: the slot context. */
    SLOT_ENTRIES_SHIFT = 27,
    SLOT_STATE_SHIFT = 27,
    /* 6.2.3: the endpoint context. */
    EP_STREAMS = 0x1f << 10,
    EP_TYPE_SHIFT = 3,

    INPUT_WORDS = XHCI_CONTEXT / 4,
};

typedef struct {
    XhciTrb trb;
    uint8_t slot, dci;
} Command;

typedef struct {
    uint32_t word[INPUT_WORDS];
} Context;

/* Contexts in guest memory. */

static bool xhci_read_context(Xhci *x, uint64_t base, unsigned index, Context *c)
{
    uint8_t raw[XHCI_CONTEXT];

    if (!dma_read(xhci_vm(x), base + index * XHCI_CONTEXT, raw, sizeof raw)) {
        return false;
    }
    for (unsigned i = 0; i < INPUT_WORDS; i++) {
        c->word[i] = ldle32(raw + 4 * i);
    }
    return true;
}

static bool xhci_write_context(Xhci *x, uint64_t base, unsigned index, const Context *c)
{
    uint8_t raw[XHCI_CONTEXT];

    for (unsigned i = 0; i < INPUT_WORDS; i++) {
        stle32(raw + 4 * i, c->word[i]);
    }
    return dma_write(xhci_vm(x), base + index * XHCI_CONTEXT, raw, sizeof raw);
}

void xhci_show_endpoint(Xhci *x, unsigned slot, unsigned dci)
{
    const XhciSlotState *s = &x->s.slot[slot];
    const XhciEndpointState *ep = &s->ep[dci];
    uint64_t dequeue = ep->dequeue | ep->cycle;
    Context c;

    if (!s->context || !xhci_read_context(x, s->context, dci, &c)) {
        return;
    }
    c.word[0] = (c.word[0] & ~7u) | ep->state;
    c.word[2] = dequeue;
    c.word[3] = dequeue >> 32;
    xhci_write_context(x, s->context, dci, &c);
}

/* 6.2.2: 0 is disabled and enabled, 1 default, 2 addressed, 3 configured. */
static void xhci_show_slot(Xhci *x, unsigned slot)
{
    const XhciSlotState *s = &x->s.slot[slot];
    unsigned shown = MAX(s->state, SLOT_ENABLED) - SLOT_ENABLED;
    Context c;

    if (!s->context || !xhci_read_context(x, s->context, 0, &c)) {
        return;
    }
    c.word[3] = s->address | shown << SLOT_STATE_SHIFT;
    xhci_write_context(x, s->context, 0, &c);
}

UsbDevice *xhci_slot_device(Xhci *x, unsigned slot)
{
    const XhciSlotState *s = &x->s.slot[slot];
    bool super = false;
    UsbPort *port = xhci_port_of(x, s->port - 1u, &super);

    return port && xhci_port_enabled(x, s->port - 1) ? usb_find(port, s->address) : NULL;
}

/* Endpoints. */

static void xhci_endpoint_disable(Xhci *x, unsigned slot, unsigned dci)
{
    xhci_endpoint_cancel(x, slot, dci);
    x->kick[slot] &= ~(1u << dci);
    x->s.slot[slot].ep[dci] = (XhciEndpointState){0};
}

static XhciCode xhci_check_endpoint(const Context *c, unsigned dci)
{
    unsigned type = c->word[1] >> EP_TYPE_SHIFT & 7;
    bool in = type >= EP_CONTROL;

    switch (type) {
    case EP_CONTROL:
        return dci == 1 && !(c->word[0] & EP_STREAMS) ? CC_SUCCESS : CC_PARAMETER;
    case EP_OUT_BULK:
    case EP_OUT_INTERRUPT:
    case EP_IN_BULK:
    case EP_IN_INTERRUPT:
        return dci > 1 && in == (dci & 1) && !(c->word[0] & EP_STREAMS) ? CC_SUCCESS : CC_PARAMETER;
    case 0:
        return CC_PARAMETER;
    default: /* isochronous: there is no bandwidth for that */
        return CC_BANDWIDTH;
    }
}

/* The endpoint begins to run, and its output context becomes the input context. */
static bool xhci_endpoint_enable(Xhci *x, unsigned slot, unsigned dci, Context *c)
{
    uint64_t dequeue = c->word[2] | (uint64_t)c->word[3] << 32;

    xhci_endpoint_disable(x, slot, dci);
    x->s.slot[slot].ep[dci] = (XhciEndpointState){
        .state = EP_RUNNING,
        .type = c->word[1] >> EP_TYPE_SHIFT & 7,
        .dequeue = dequeue & ~0xfull,
        .cycle = dequeue & 1,
    };
    c->word[0] = (c->word[0] & ~7u) | EP_RUNNING;
    return xhci_write_context(x, x->s.slot[slot].context, dci, c);
}

/* Slots. */

void xhci_slot_disable(Xhci *x, unsigned slot)
{
    for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
        xhci_endpoint_disable(x, slot, dci);
    }
    x->s.slot[slot] = (XhciSlotState){0};
}

static XhciCode xhci_enable_slot(Xhci *x, Command *c)
{
    unsigned most = MIN(x->s.config & 0xff, x->slots);

    for (unsigned slot = 1; slot <= most; slot++) {
        if (x->s.slot[slot].state == SLOT_DISABLED) {
            x->s.slot[slot] = (XhciSlotState){.state = SLOT_ENABLED};
            c->slot = slot;
            return CC_SUCCESS;
        }
    }
    return CC_NO_SLOTS;
}

static XhciCode xhci_disable_slot(Xhci *x, Command *c)
{
    x->s.slot[c->slot].state = SLOT_ENABLED;
    xhci_show_slot(x, c->slot);
    xhci_slot_disable(x, c->slot);
    return CC_SUCCESS;
}

/* The device's own SET_ADDRESS (USB 2.0, 9.4.6). Endpoint 0 answers at once. */
static bool xhci_set_address(UsbDevice *dev, uint8_t address)
{
    uint8_t setup[8] = {0, USB_REQ_SET_ADDRESS, address};
    struct iovec iov = {setup, sizeof setup};
    UsbPacket p = {.pid = USB_PID_SETUP, .iov = &iov, .niov = 1, .length = sizeof setup};
    UsbPacket status = {.pid = USB_PID_IN};

    return usb_submit(dev, &p) == USB_OK && usb_submit(dev, &status) == USB_OK;
}

static bool xhci_output_context(Xhci *x, unsigned slot, uint64_t *context)
{
    uint8_t raw[8];
    Context c;

    if (!dma_read(xhci_vm(x), x->s.dcbaap + 8 * slot, raw, sizeof raw)) {
        return false;
    }
    *context = ldle64(raw) & ~0x3full;
    return xhci_read_context(x, *context, 0, &c) && xhci_write_context(x, *context, 0, &c);
}

/* 4.6.5 */
static XhciCode xhci_address_device(Xhci *x, Command *c)
{
    XhciSlotState *s = &x->s.slot[c->slot], fresh = *s;
    uint64_t input = c->trb.parameter & ~0xfull;
    bool bsr = c->trb.control & TRB_BSR;
    Context control, slot, ep0;
    UsbDevice *dev;

    if (s->state > SLOT_DEFAULT || (bsr && s->state != SLOT_ENABLED)) {
        return CC_CONTEXT_STATE;
    }
    if (!xhci_read_context(x, input, 0, &control) || !xhci_read_context(x, input, 1, &slot) ||
        !xhci_read_context(x, input, 2, &ep0) || !xhci_output_context(x, c->slot, &fresh.context)) {
        xhci_host_error(x);
        return CC_PARAMETER;
    }
    if (control.word[0] || (control.word[1] & 3) != 3 ||
        xhci_check_endpoint(&ep0, 1) != CC_SUCCESS ||
        (slot.word[1] >> 16 & 0xff) - 1 >= xhci_ports(x)) {
        return CC_PARAMETER;
    }
    fresh.port = slot.word[1] >> 16;
    fresh.address = 0;
    fresh.state = SLOT_DEFAULT;
    *s = fresh;
    if (!bsr) {
        dev = xhci_slot_device(x, c->slot);
        if (!dev || !xhci_set_address(dev, c->slot)) {
            *s = (XhciSlotState){.state = SLOT_ENABLED};
            return CC_TRANSACTION;
        }
        s->address = c->slot;
        s->state = SLOT_ADDRESSED;
    }
    xhci_write_context(x, s->context, 0, &slot);
    xhci_show_slot(x, c->slot);
    xhci_endpoint_enable(x, c->slot, 1, &ep0);
    return CC_SUCCESS;
}

static XhciCode xhci_deconfigure(Xhci *x, Command *c)
{
    XhciSlotState *s = &x->s.slot[c->slot];

    for (unsigned dci = 2; dci < XHCI_ENDPOINTS; dci++) {
        if (s->ep[dci].state) {
            xhci_endpoint_disable(x, c->slot, dci);
            xhci_show_endpoint(x, c->slot, dci);
        }
    }
    s->state = SLOT_ADDRESSED;
    xhci_show_slot(x, c->slot);
    return CC_SUCCESS;
}

/* All that is added is checked before anything changes (4.6.6). */
static XhciCode xhci_check_configuration(Xhci *x, uint64_t input, uint32_t add)
{
    Context ep;

    for (unsigned dci = 2; dci < XHCI_ENDPOINTS; dci++) {
        XhciCode code;

        if (!(add >> dci & 1)) {
            continue;
        }
        if (!xhci_read_context(x, input, dci + 1, &ep)) {
            return CC_PARAMETER;
        }
        code = xhci_check_endpoint(&ep, dci);
        if (code != CC_SUCCESS) {
            return code;
        }
    }
    return CC_SUCCESS;
}

static void xhci_show_configuration(Xhci *x, unsigned slot, const Context *from)
{
    XhciSlotState *s = &x->s.slot[slot];
    unsigned entries = 1;
    Context c;

    s->state = SLOT_ADDRESSED;
    for (unsigned dci = 2; dci < XHCI_ENDPOINTS; dci++) {
        if (s->ep[dci].state) {
            entries = dci;
            s->state = SLOT_CONFIGURED;
        }
    }
    if (xhci_read_context(x, s->context, 0, &c)) {
        c.word[0] = (from->word[0] & ~(0x1fu << SLOT_ENTRIES_SHIFT)) | (uint32_t)entries
                                                                           << SLOT_ENTRIES_SHIFT;
        c.word[1] = from->word[1];
        c.word[2] = from->word[2];
        xhci_write_context(x, s->context, 0, &c);
    }
    xhci_show_slot(x, slot);
}

static XhciCode xhci_configure_endpoint(Xhci *x, Command *c)
{
    XhciSlotState *s = &x->s.slot[c->slot];
    uint64_t input = c->trb.parameter & ~0xfull;
    Context control, slot, ep;
    uint32_t drop, add;
    XhciCode code;

    if (s->state < SLOT_ADDRESSED) {
        return CC_CONTEXT_STATE;
    }
    if (c->trb.control & TRB_DC) {
        return xhci_deconfigure(x, c);
    }
    if (!xhci_read_context(x, input, 0, &control) || !xhci_read_context(x, input, 1, &slot)) {
        xhci_host_error(x);
        return CC_PARAMETER;
    }
    drop = control.word[0];
    add = control.word[1];
    if ((drop & 3) || (add & 3) != 1) {
        return CC_PARAMETER;
    }
    code = xhci_check_configuration(x, input, add);
    if (code != CC_SUCCESS) {
        return code;
    }
    for (unsigned dci = 2; dci < XHCI_ENDPOINTS; dci++) {
        if (drop >> dci & 1) {
            xhci_endpoint_disable(x, c->slot, dci);
            xhci_show_endpoint(x, c->slot, dci);
        }
        if ((add >> dci & 1) && xhci_read_context(x, input, dci + 1, &ep)) {
            xhci_endpoint_enable(x, c->slot, dci, &ep);
        }
    }
    xhci_show_configuration(x, c->slot, &slot);
    return CC_SUCCESS;
}

/* 4.6.7: exit latency and interrupter of the slot, packet size of endpoint 0. */
static XhciCode xhci_evaluate_context(Xhci *x, Command *c)
{
    XhciSlotState *s = &x->s.slot[c->slot];
    uint64_t input = c->trb.parameter & ~0xfull;
    Context control, from, to;

    if (s->state < SLOT_DEFAULT) {
        return CC_CONTEXT_STATE;
    }
    if (!xhci_read_context(x, input, 0, &control)) {
        xhci_host_error(x);
        return CC_PARAMETER;
    }
    if (control.word[0] || !(control.word[1] & 3)) {
        return CC_PARAMETER;
    }
    if ((control.word[1] & 1) && xhci_read_context(x, input, 1, &from) &&
        xhci_read_context(x, s->context, 0, &to)) {
        to.word[1] = (to.word[1] & ~0xffffu) | (from.word[1] & 0xffff);
        to.word[2] = (to.word[2] & ~0xffc00000u) | (from.word[2] & 0xffc00000u);
        xhci_write_context(x, s->context, 0, &to);
    }
    if ((control.word[1] & 2) && xhci_read_context(x, input, 2, &from) &&
        xhci_read_context(x, s->context, 1, &to)) {
        to.word[1] = (to.word[1] & 0xffff) | (from.word[1] & 0xffff0000u);
        xhci_write_context(x, s->context, 1, &to);
    }
    return CC_SUCCESS;
}

/* 4.6.11 */
static XhciCode xhci_reset_device(Xhci *x, Command *c)
{
    XhciSlotState *s = &x->s.slot[c->slot];

    if (s->state < SLOT_ADDRESSED) {
        return CC_CONTEXT_STATE;
    }
    xhci_deconfigure(x, c);
    xhci_endpoint_cancel(x, c->slot, 1);
    s->address = 0;
    s->state = SLOT_DEFAULT;
    xhci_show_slot(x, c->slot);
    return CC_SUCCESS;
}

/* Commands of one endpoint. */

/* 4.6.8: the TRB is not carried out again until the doorbell rings. */
static XhciCode xhci_reset_endpoint(Xhci *x, Command *c)
{
    XhciEndpointState *ep = &x->s.slot[c->slot].ep[c->dci];

    if (ep->state != EP_HALTED) {
        return CC_CONTEXT_STATE;
    }
    ep->state = EP_STOPPED;
    xhci_show_endpoint(x, c->slot, c->dci);
    return CC_SUCCESS;
}

/* 4.6.9 */
static XhciCode xhci_stop_endpoint(Xhci *x, Command *c)
{
    XhciEndpointState *ep = &x->s.slot[c->slot].ep[c->dci];
    XhciTransfer *t = x->transfers[c->slot][c->dci];

    if (ep->state != EP_RUNNING) {
        return CC_CONTEXT_STATE;
    }
    if (xhci_endpoint_busy(x, c->slot, c->dci)) {
        xhci_transfer_event(x, c->slot, c->dci, &t->trb, CC_STOPPED, t->p.length);
    }
    xhci_endpoint_cancel(x, c->slot, c->dci);
    ep->state = EP_STOPPED;
    xhci_show_endpoint(x, c->slot, c->dci);
    return CC_SUCCESS;
}

/* 4.6.10 */
static XhciCode xhci_set_tr_dequeue(Xhci *x, Command *c)
{
    XhciEndpointState *ep = &x->s.slot[c->slot].ep[c->dci];

    if (ep->state != EP_STOPPED && ep->state != EP_ERROR) {
        return CC_CONTEXT_STATE;
    }
    if (c->trb.status >> 16 || (c->trb.parameter & 0xe)) { /* streams */
        return CC_TRB;
    }
    ep->dequeue = c->trb.parameter & ~0xfull;
    ep->cycle = c->trb.parameter & 1;
    ep->skip = ep->reported = false;
    ep->moved = 0;
    ep->state = EP_STOPPED;
    xhci_show_endpoint(x, c->slot, c->dci);
    return CC_SUCCESS;
}

typedef XhciCode (*CommandFn)(Xhci *x, Command *c);

static XhciCode xhci_no_op(Xhci *x, Command *c)
{
    return CC_SUCCESS;
}

/* Force event is for virtual functions, and bandwidths are for real buses: a TRB error. */
static const struct {
    CommandFn fn;
    bool slot, endpoint; /* the TRB names one */
} commands[] = {
    [TRB_ENABLE_SLOT] = {xhci_enable_slot, false, false},
    [TRB_DISABLE_SLOT] = {xhci_disable_slot, true, false},
    [TRB_ADDRESS_DEVICE] = {xhci_address_device, true, false},
    [TRB_CONFIGURE_ENDPOINT] = {xhci_configure_endpoint, true, false},
    [TRB_EVALUATE_CONTEXT] = {xhci_evaluate_context, true, false},
    [TRB_RESET_ENDPOINT] = {xhci_reset_endpoint, true, true},
    [TRB_STOP_ENDPOINT] = {xhci_stop_endpoint, true, true},
    [TRB_SET_TR_DEQUEUE] = {xhci_set_tr_dequeue, true, true},
    [TRB_RESET_DEVICE] = {xhci_reset_device, true, false},
    [TRB_NO_OP_COMMAND] = {xhci_no_op, false, false},
};

/* False: its event ring has no room. */
static bool xhci_command(Xhci *x, const XhciTrb *trb)
{
    Command c = {.trb = *trb, .slot = trb->control >> 24, .dci = trb->control >> 16 & 0x1f};
    unsigned type = trb_type(trb);
    XhciCode code;

    if (type >= ARRAY_SIZE(commands) || !commands[type].fn) {
        code = CC_TRB;
    } else if (commands[type].slot &&
               (c.slot < 1 || c.slot > x->slots || x->s.slot[c.slot].state == SLOT_DISABLED)) {
        code = CC_SLOT_NOT_ENABLED;
    } else if (commands[type].endpoint && !c.dci) {
        code = CC_TRB;
    } else if (commands[type].endpoint && x->s.slot[c.slot].ep[c.dci].state == EP_DISABLED) {
        code = CC_ENDPOINT_NOT_ENABLED;
    } else if (commands[type].endpoint && !xhci_endpoint_settle(x, c.slot, c.dci)) {
        return false;
    } else {
        code = commands[type].fn(x, &c);
    }
    xhci_event(x, 0, trb->addr, (uint32_t)code << 24,
               (uint32_t)c.slot << 24 | EVENT_COMMAND << TRB_TYPE_SHIFT, true);
    return true;
}

/* 4.9.3 */
void xhci_commands(Xhci *x, int *budget)
{
    XhciState *s = &x->s;
    XhciTrb trb;

    while (*budget > 0 && s->command_running && !xhci_halted(x)) {
        XhciRingResult result = xhci_ring_next(x, &s->command, &s->command_cycle, &trb, budget);

        if (result == RING_EMPTY || !xhci_event_room(x, 0)) {
            return;
        }
        if (result == RING_BAD) {
            s->command_running = false;
            return;
        }
        if (!xhci_command(x, &trb)) {
            return;
        }
        s->command += 16;
    }
    if (s->command_running) {
        xhci_kick(x, 0, 0);
    }
}

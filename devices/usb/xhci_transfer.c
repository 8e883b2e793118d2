/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: endpoints carry out the TRBs of their transfer rings, one at a time (4.10, 4.11). */
#include <string.h>

#include "xhci.h"

enum { IMMEDIATE_MAX = 8, SETUP_LENGTH = 8 };

static XhciEndpointState *xhci_ep(Xhci *x, unsigned slot, unsigned dci)
{
    return &x->s.slot[slot].ep[dci];
}

/* 6.4.1: the interrupter that a TRB names. */
static unsigned xhci_trb_intr(const Xhci *x, const XhciTrb *trb)
{
    unsigned n = trb->status >> 22;

    return n < x->intrs ? n : 0;
}

void xhci_transfer_event(Xhci *x, unsigned slot, unsigned dci, const XhciTrb *trb, XhciCode code,
                         uint32_t left)
{
    xhci_event(x, xhci_trb_intr(x, trb), trb->addr, (uint32_t)code << 24 | left,
               (uint32_t)slot << 24 | dci << 16 | EVENT_TRANSFER << TRB_TYPE_SHIFT,
               !(trb->control & TRB_BEI));
}

/* Life of a transfer. */

static XhciTransfer *xhci_transfer(Xhci *x, unsigned slot, unsigned dci)
{
    XhciTransfer **t = &x->transfers[slot][dci];

    if (!*t) {
        *t = g_new0(XhciTransfer, 1);
        **t = (XhciTransfer){.x = x, .slot = slot, .dci = dci};
    }
    return *t;
}

static void xhci_transfer_unmap(XhciTransfer *t)
{
    if (t->mapped) {
        dma_unmap_iov(xhci_vm(t->x), t->iov, t->p.niov, t->p.pid == USB_PID_IN);
        t->mapped = false;
    }
}

static void xhci_transfer_forget(XhciTransfer *t)
{
    if (t->in_flight) {
        usb_cancel(&t->p);
        t->in_flight = false;
        xhci_transfer_unmap(t);
    }
    t->waits = false;
}

void xhci_endpoint_cancel(Xhci *x, unsigned slot, unsigned dci)
{
    if (x->transfers[slot][dci]) {
        xhci_transfer_forget(x->transfers[slot][dci]);
    }
    xhci_ep(x, slot, dci)->ended = false;
}

bool xhci_endpoint_busy(Xhci *x, unsigned slot, unsigned dci)
{
    XhciTransfer *t = x->transfers[slot][dci];

    return t && (t->in_flight || t->waits);
}

/*
 * What the device has not answered is submitted again when the endpoint runs again; it finds no
 * device then if that has gone. A packet knows its device; the slot may not find it any more, as a
 * port on the way there was disabled.
 */
void xhci_cancel_all(Xhci *x, const UsbDevice *dev)
{
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        bool found =
            !dev || (x->s.slot[slot].state > SLOT_ENABLED && xhci_slot_device(x, slot) == dev);

        for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
            XhciTransfer *t = x->transfers[slot][dci];

            if (t &&
                ((t->waits && found) || (t->in_flight && t->p.dev && (!dev || t->p.dev == dev)))) {
                xhci_endpoint_cancel(x, slot, dci);
                xhci_kick(x, slot, dci);
            }
        }
    }
}

void xhci_transfers_free(Xhci *x)
{
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
            if (x->transfers[slot][dci]) {
                xhci_transfer_forget(x->transfers[slot][dci]);
                g_clear_pointer(&x->transfers[slot][dci], g_free);
            }
        }
    }
}

/* What the device has answered, and nobody has looked at: the VM has stopped, or a ring is full. */
void xhci_transfers_pre_save(Xhci *x)
{
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
            XhciTransfer *t = x->transfers[slot][dci];
            XhciEndpointState *ep = xhci_ep(x, slot, dci);

            if (t && t->mapped && t->p.pid == USB_PID_IN) {
                dma_mapping_written(xhci_vm(x), t->iov, t->p.niov);
            }
            if (t && t->in_flight && !t->p.dev) {
                ep->ended = true;
                ep->result = t->p.status;
                ep->actual = t->p.actual;
            }
        }
    }
}

/* How a TRB ends. */

static void xhci_endpoint_fails(Xhci *x, const XhciTransfer *t, XhciCode code, uint32_t left)
{
    XhciEndpointState *ep = xhci_ep(x, t->slot, t->dci);

    ep->state = code == CC_TRB ? EP_ERROR : EP_HALTED;
    ep->skip = ep->reported = false;
    ep->moved = 0;
    xhci_show_endpoint(x, t->slot, t->dci);
    xhci_transfer_event(x, t->slot, t->dci, &t->trb, code, left);
}

/* The ring goes on behind this TRB. */
static void xhci_endpoint_advance(XhciEndpointState *ep, const XhciTrb *trb)
{
    ep->dequeue += sizeof(uint8_t[16]);
    if (!(trb->control & TRB_CHAIN)) {
        ep->skip = ep->reported = false;
        ep->moved = 0;
    }
}

/* 4.10.1.1: a short packet ends the TD, and one event tells of it. */
static void xhci_transfer_ends(Xhci *x, XhciTransfer *t)
{
    XhciEndpointState *ep = xhci_ep(x, t->slot, t->dci);
    uint32_t left = t->p.length - t->p.actual;
    bool is_short = left && t->p.pid == USB_PID_IN;

    ep->moved = (ep->moved + t->p.actual) & 0xffffff;
    if (is_short) {
        ep->skip = true;
    }
    if ((t->trb.control & TRB_IOC) || (is_short && (t->trb.control & TRB_ISP))) {
        ep->reported = true;
        xhci_transfer_event(x, t->slot, t->dci, &t->trb, is_short ? CC_SHORT_PACKET : CC_SUCCESS,
                            left);
    }
    xhci_endpoint_advance(ep, &t->trb);
}

static void xhci_transfer_answered(Xhci *x, XhciTransfer *t)
{
    xhci_transfer_unmap(t);
    t->in_flight = false;
    xhci_ep(x, t->slot, t->dci)->ended = false;
    switch (t->p.status) {
    case USB_OK:
        xhci_transfer_ends(x, t);
        break;
    case USB_NAK:
        t->waits = true;
        break;
    case USB_STALL:
        xhci_endpoint_fails(x, t, CC_STALL, t->p.length - t->p.actual);
        break;
    case USB_BABBLE:
        xhci_endpoint_fails(x, t, CC_BABBLE, t->p.length);
        break;
    default:
        xhci_endpoint_fails(x, t, CC_TRANSACTION, t->p.length);
        break;
    }
}

/* Endpoints of the slot that were told to wait: the device may have room for them now. */
static void xhci_kick_waiting(Xhci *x, unsigned slot)
{
    for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
        if (x->transfers[slot][dci] && x->transfers[slot][dci]->waits) {
            xhci_kick(x, slot, dci);
        }
    }
}

/* Other work may have filled the event ring meanwhile: then this end waits for the ring. */
static void xhci_transfer_done(UsbPacket *p)
{
    XhciTransfer *t = container_of(p, XhciTransfer, p);

    xhci_kick_waiting(t->x, t->slot);
    xhci_kick(t->x, t->slot, t->dci);
}

void xhci_device_ready(Xhci *x, UsbDevice *dev)
{
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        if (x->s.slot[slot].state > SLOT_ENABLED && xhci_slot_device(x, slot) == dev) {
            xhci_kick_waiting(x, slot);
        }
    }
}

/* How a TRB begins. */

/* The packet's buffer. CC_SUCCESS, or why there is none. */
static XhciCode xhci_transfer_map(Xhci *x, XhciTransfer *t)
{
    UsbPacket *p = &t->p;

    p->iov = t->iov;
    p->niov = 0;
    if (t->trb.control & TRB_IDT) {
        if (p->length > IMMEDIATE_MAX || p->pid == USB_PID_IN) {
            return CC_TRB;
        }
        stle64(t->immediate, t->trb.parameter);
        t->iov[0] = (struct iovec){t->immediate, p->length};
        p->niov = 1;
        return CC_SUCCESS;
    }
    if (p->length > XHCI_TRB_LENGTH_MAX) {
        return CC_TRB;
    }
    if (p->length && !dma_map_iov(xhci_vm(x), t->trb.parameter, p->length, p->pid == USB_PID_IN,
                                  t->iov, &p->niov, XHCI_IOV)) {
        return CC_TRANSACTION;
    }
    t->mapped = p->length > 0;
    return CC_SUCCESS;
}

/* 4.11.2.2: the packet of a TRB. False: there is none in this place. */
static bool xhci_transfer_packet(XhciTransfer *t, XhciEndpointState *ep)
{
    bool control = ep->type == EP_CONTROL, in = t->trb.control & TRB_DIR_IN;
    UsbPacket *p = &t->p;

    *p = (UsbPacket){.endpoint = t->dci / 2,
                     .length = t->trb.status & 0x1ffff,
                     .done = xhci_transfer_done,
                     .status = USB_ERROR};
    switch (trb_type(&t->trb)) {
    case TRB_NORMAL:
        p->pid = (control ? ep->in : ep->type >= EP_CONTROL) ? USB_PID_IN : USB_PID_OUT;
        return true;
    case TRB_SETUP:
        p->pid = USB_PID_SETUP;
        return control && (t->trb.control & TRB_IDT) && p->length == SETUP_LENGTH;
    case TRB_DATA:
        ep->in = in;
        p->pid = in ? USB_PID_IN : USB_PID_OUT;
        return control;
    case TRB_STATUS:
        p->pid = in ? USB_PID_IN : USB_PID_OUT;
        p->length = 0;
        return control;
    default:
        return false;
    }
}

/* After a load: the TRB ends as its device has answered it before. */
static bool xhci_transfer_resume(Xhci *x, XhciTransfer *t, XhciEndpointState *ep)
{
    if (!ep->ended || !xhci_transfer_packet(t, ep)) {
        return false;
    }
    t->p.status = ep->result;
    t->p.actual = MIN(ep->actual, t->p.length);
    xhci_transfer_answered(x, t);
    return true;
}

static void xhci_transfer_begin(Xhci *x, XhciTransfer *t)
{
    UsbDevice *dev = xhci_slot_device(x, t->slot);
    XhciCode code = CC_TRB;

    if (xhci_transfer_packet(t, xhci_ep(x, t->slot, t->dci))) {
        code = xhci_transfer_map(x, t);
    }
    if (code != CC_SUCCESS) {
        xhci_transfer_unmap(t);
        xhci_endpoint_fails(x, t, code, t->p.length);
        return;
    }
    t->in_flight = true;
    if (!dev || usb_submit(dev, &t->p) != USB_PENDING) {
        xhci_transfer_answered(x, t);
        if (!t->waits) {
            xhci_kick_waiting(x, t->slot);
        }
    }
}

/* The ring (4.9). */

/* TRBs that move no data: event data (4.11.5.2), no-op, and what a short packet has cut off. */
static bool xhci_without_data(Xhci *x, XhciTransfer *t, XhciEndpointState *ep)
{
    XhciCode code = ep->skip ? CC_SHORT_PACKET : CC_SUCCESS;
    unsigned type = trb_type(&t->trb);

    if (type == TRB_EVENT_DATA) {
        XhciTrb data = t->trb;

        data.addr = t->trb.parameter;
        if (t->trb.control & TRB_IOC) {
            xhci_event(x, xhci_trb_intr(x, &data), data.addr, (uint32_t)code << 24 | ep->moved,
                       (uint32_t)t->slot << 24 | t->dci << 16 | EVENT_TRANSFER << TRB_TYPE_SHIFT |
                           EVENT_DATA,
                       !(data.control & TRB_BEI));
        }
        ep->moved = 0;
        xhci_endpoint_advance(ep, &t->trb);
        return true;
    }
    if (type != TRB_NO_OP && !ep->skip) {
        return false;
    }
    if ((t->trb.control & TRB_IOC) && !ep->reported) {
        xhci_transfer_event(x, t->slot, t->dci, &t->trb, code,
                            type == TRB_NO_OP ? 0 : t->trb.status & 0x1ffff);
        ep->reported = ep->skip;
    }
    xhci_endpoint_advance(ep, &t->trb);
    return true;
}

/* False: there is nothing to do, for now. */
static bool xhci_endpoint_step(Xhci *x, XhciTransfer *t, int *budget)
{
    XhciEndpointState *ep = xhci_ep(x, t->slot, t->dci);
    XhciRingResult result;

    if (t->in_flight) {
        if (t->p.dev || !xhci_event_room(x, xhci_trb_intr(x, &t->trb))) {
            return false;
        }
        xhci_transfer_answered(x, t);
        return !t->waits;
    }
    if (ep->state != EP_RUNNING) {
        return false;
    }
    result = xhci_ring_next(x, &ep->dequeue, &ep->cycle, &t->trb, budget);
    if (result == RING_EMPTY || !xhci_event_room(x, xhci_trb_intr(x, &t->trb))) {
        return false;
    }
    if (result == RING_BAD) {
        xhci_endpoint_fails(x, t, CC_TRB, 0);
        return false;
    }
    t->waits = false;
    if (!xhci_transfer_resume(x, t, ep) && !xhci_without_data(x, t, ep)) {
        xhci_transfer_begin(x, t);
    }
    return !t->waits;
}

/* An endpoint whose event ring is full is looked at again when ERDP is written. */
void xhci_endpoint_run(Xhci *x, unsigned slot, unsigned dci, int *budget)
{
    XhciTransfer *t = xhci_transfer(x, slot, dci);

    while (*budget > 0 && !xhci_halted(x)) {
        if (!xhci_endpoint_step(x, t, budget)) {
            return;
        }
    }
    xhci_kick(x, slot, dci);
}

bool xhci_endpoint_settle(Xhci *x, unsigned slot, unsigned dci)
{
    XhciTransfer *t = x->transfers[slot][dci];

    if (!xhci_endpoint_busy(x, slot, dci)) {
        return true;
    }
    if (!xhci_event_room(x, xhci_trb_intr(x, &t->trb))) {
        return false;
    }
    if (t->in_flight && !t->p.dev) {
        xhci_transfer_answered(x, t);
    }
    return !xhci_endpoint_busy(x, slot, dci) || xhci_event_room(x, xhci_trb_intr(x, &t->trb));
}

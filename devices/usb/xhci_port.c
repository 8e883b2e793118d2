/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xHCI: ports of the root hub (4.19, 5.4.8). A port of the bus has a register for USB 2 and one for
 * USB 3, as the connector of a PC does; the device's speed says which of them shows it.
 */
#include <string.h>

#include "xhci.h"

enum {
    REG_PORTSC = 0x0,
    REG_PORTPMSC = 0x4,

    PORT_CCS = 1 << 0,
    PORT_PED = 1 << 1,
    PORT_PR = 1 << 4,
    PORT_PLS_SHIFT = 5,
    PORT_PLS = 0xf << PORT_PLS_SHIFT,
    PORT_PP = 1 << 9,
    PORT_SPEED_SHIFT = 10,
    PORT_SPEED = 0xf << PORT_SPEED_SHIFT,
    PORT_PIC = 3 << 14,
    PORT_LWS = 1 << 16,
    PORT_CSC = 1 << 17,
    PORT_PEC = 1 << 18,
    PORT_WRC = 1 << 19,
    PORT_PRC = 1 << 21,
    PORT_PLC = 1 << 22,
    PORT_CHANGES = 0x7f << 17,
    PORT_WAKES = 7 << 25,

    /* 5.4.8: link states. */
    PLS_U0 = 0,
    PLS_U3 = 3,
    PLS_DISABLED = 4,
    PLS_RX_DETECT = 5,
    PLS_POLLING = 7,
    PLS_RESUME = 15,
};
#define PORT_WPR (1u << 31)

UsbPort *xhci_port_of(Xhci *x, unsigned n, bool *super)
{
    unsigned first = x->super_first ? x->p3 : x->p2;
    bool second = n >= first;

    if (n >= xhci_ports(x)) {
        return NULL;
    }
    *super = x->super_first != second;
    return &x->ports[second ? n - first : n];
}

static unsigned xhci_register_of(const Xhci *x, const UsbPort *port)
{
    bool super = port->dev->speed == USB_SPEED_SUPER;
    unsigned before = super == x->super_first ? 0 : super ? x->p2 : x->p3;

    return before + port->index;
}

/* 7.2: the ranges of ports that are USB 2 and USB 3. */
void xhci_protocols(const Xhci *x, uint8_t out[32])
{
    unsigned at = 0;

    memset(out, 0, 32);
    for (unsigned super = 0; super < 2; super++) {
        unsigned count = super ? x->p3 : x->p2;
        bool last = super || !x->p3;

        if (count) {
            unsigned first = super == x->super_first ? 0 : super ? x->p2 : x->p3;

            stle32(out + at, 2 | (last ? 0 : 4) << 8 | (super ? 3u : 2u) << 24);
            memcpy(out + at + 4, "USB ", 4);
            stle32(out + at + 8, (first + 1) | count << 8);
            at += 16;
        }
    }
}

bool xhci_port_enabled(const Xhci *x, unsigned n)
{
    return x->s.port[n].portsc & PORT_PED;
}

/* Events (4.19.2). One is due where a change bit becomes set; it waits while it cannot be put. */

void xhci_port_events(Xhci *x)
{
    if (xhci_halted(x) || !x->running || !pci_can_dma(&x->pci)) {
        return;
    }
    for (unsigned n = 0; n < xhci_ports(x); n++) {
        XhciPortState *port = &x->s.port[n];

        if (port->event && !xhci_event_room(x, 0)) {
            return;
        }
        if (port->event) {
            port->event = false;
            x->s.status |= STS_PCD;
            xhci_event(x, 0, (uint64_t)(n + 1) << 24, (uint32_t)CC_SUCCESS << 24,
                       EVENT_PORT << TRB_TYPE_SHIFT, true);
        }
    }
}

static void xhci_port_changed(Xhci *x, unsigned n, uint32_t changes)
{
    XhciPortState *port = &x->s.port[n];

    if (changes & ~port->portsc) {
        port->portsc |= changes;
        port->event = true;
        device_bh_schedule(x->work);
    }
}

static void xhci_set_link(XhciPortState *port, unsigned link)
{
    port->portsc = (port->portsc & ~PORT_PLS) | link << PORT_PLS_SHIFT;
}

static unsigned xhci_link(const XhciPortState *port)
{
    return (port->portsc & PORT_PLS) >> PORT_PLS_SHIFT;
}

/* What the register shows of the device at its port: a USB 3 link is trained at once (4.19.1). */
static void xhci_port_show(Xhci *x, unsigned n, const UsbDevice *dev)
{
    static const uint8_t speeds[USB_SPEEDS] = {2, 1, 3, 4}; /* 7.2.2.1.1 */
    XhciPortState *port = &x->s.port[n];
    bool super = false;

    xhci_port_of(x, n, &super);
    port->portsc &= ~(PORT_CCS | PORT_PED | PORT_SPEED | PORT_PR);
    xhci_set_link(port, PLS_RX_DETECT);
    if (dev && (dev->speed == USB_SPEED_SUPER) == super) {
        port->portsc |= PORT_CCS | (uint32_t)speeds[dev->speed] << PORT_SPEED_SHIFT;
        port->portsc |= super ? PORT_PED : 0;
        xhci_set_link(port, super ? PLS_U0 : PLS_POLLING);
    }
}

void xhci_ports_reset(Xhci *x)
{
    for (unsigned n = 0; n < xhci_ports(x); n++) {
        XhciPortState *port = &x->s.port[n];
        bool super;

        *port = (XhciPortState){.portsc = PORT_PP};
        xhci_port_show(x, n, xhci_port_of(x, n, &super)->dev);
        if (port->portsc & PORT_CCS) {
            port->portsc |= PORT_CSC;
            port->event = true;
        }
    }
}

static Xhci *xhci_of_port(UsbPort *port)
{
    return container_of(port->owner, Xhci, pci.dev);
}

static void xhci_attached(UsbPort *port)
{
    Xhci *x = xhci_of_port(port);
    unsigned n = xhci_register_of(x, port);

    xhci_port_show(x, n, port->dev);
    xhci_port_changed(x, n, PORT_CSC);
}

static void xhci_detached(UsbPort *port)
{
    Xhci *x = xhci_of_port(port);
    unsigned n = xhci_register_of(x, port);

    xhci_port_show(x, n, NULL);
    xhci_port_changed(x, n, PORT_CSC);
}

static void xhci_port_cancel(UsbPort *port, UsbDevice *dev)
{
    xhci_cancel_all(xhci_of_port(port), dev);
}

static void xhci_port_ready(UsbPort *port, UsbDevice *from)
{
    xhci_device_ready(xhci_of_port(port), from);
}

/* A USB 3 link is in U0 afterwards; that of USB 2 is in Resume until the driver ends that
 * (4.15.2). */
static void xhci_port_wakeup(UsbPort *port)
{
    Xhci *x = xhci_of_port(port);
    unsigned n = xhci_register_of(x, port);

    if (xhci_link(&x->s.port[n]) == PLS_U3) {
        xhci_set_link(&x->s.port[n], port->dev->speed == USB_SPEED_SUPER ? PLS_U0 : PLS_RESUME);
        xhci_port_changed(x, n, PORT_PLC);
    }
}

const UsbPortOps xhci_port_ops = {
    .attached = xhci_attached,
    .detached = xhci_detached,
    .cancel = xhci_port_cancel,
    .ready = xhci_port_ready,
    .wakeup = xhci_port_wakeup,
};

/* The register (5.4.8). */

/* The reset takes until the work's next turn: a device takes its requests back on the main loop. */
static void xhci_port_begin_reset(Xhci *x, unsigned n, bool warm)
{
    XhciPortState *port = &x->s.port[n];
    bool super = false;

    xhci_port_of(x, n, &super);
    if ((port->portsc & PORT_CCS) && (!warm || super)) {
        port->portsc |= PORT_PR;
        port->warm = warm;
        device_bh_schedule(x->work);
    }
}

static void xhci_port_end_reset(Xhci *x, unsigned n)
{
    XhciPortState *port = &x->s.port[n];
    bool super = false;
    UsbPort *usb = xhci_port_of(x, n, &super);

    port->portsc &= ~PORT_PR;
    if (usb->dev) {
        xhci_cancel_all(x, usb->dev);
        usb_reset(usb->dev);
        port->portsc |= PORT_PED;
        xhci_set_link(port, PLS_U0);
        xhci_port_changed(x, n, PORT_PRC | (port->warm ? PORT_WRC : 0));
    }
}

void xhci_port_resets(Xhci *x)
{
    for (unsigned n = 0; n < xhci_ports(x); n++) {
        if (x->s.port[n].portsc & PORT_PR) {
            xhci_port_end_reset(x, n);
        }
    }
}

static void xhci_write_link(Xhci *x, unsigned n, unsigned link)
{
    XhciPortState *port = &x->s.port[n];
    unsigned old = xhci_link(port);
    bool super = false;

    if (old == PLS_DISABLED && link == PLS_RX_DETECT) {
        xhci_port_show(x, n, xhci_port_of(x, n, &super)->dev);
    }
    if (!(port->portsc & PORT_PED)) {
        return;
    }
    switch (link) {
    case PLS_U0:
        xhci_set_link(port, PLS_U0);
        if (old != PLS_U0) {
            xhci_port_changed(x, n, PORT_PLC);
        }
        break;
    case PLS_U3:
        xhci_set_link(port, PLS_U3);
        break;
    case PLS_RESUME: /* ended by a write of U0 */
        if (old == PLS_U3) {
            xhci_set_link(port, PLS_RESUME);
        }
        break;
    }
}

static void xhci_write_portsc(Xhci *x, unsigned n, uint32_t value)
{
    XhciPortState *port = &x->s.port[n];
    bool super = false;

    xhci_port_of(x, n, &super);
    port->portsc &= ~(value & PORT_CHANGES);
    port->event = port->event && (port->portsc & PORT_CHANGES);
    port->portsc = (port->portsc & ~(PORT_PIC | PORT_WAKES)) | (value & (PORT_PIC | PORT_WAKES));
    if (value & PORT_PED & port->portsc) {
        port->portsc &= ~PORT_PED;
        xhci_set_link(port, super ? PLS_DISABLED : PLS_POLLING);
    }
    if (value & (PORT_PR | PORT_WPR)) {
        xhci_port_begin_reset(x, n, value & PORT_WPR);
    } else if (value & PORT_LWS) {
        xhci_write_link(x, n, (value & PORT_PLS) >> PORT_PLS_SHIFT);
    }
}

uint32_t xhci_port_read(Xhci *x, unsigned n, unsigned offset)
{
    const XhciPortState *port = &x->s.port[n];

    return offset == REG_PORTSC ? port->portsc : offset == REG_PORTPMSC ? port->portpmsc : 0;
}

void xhci_port_write(Xhci *x, unsigned n, unsigned offset, uint32_t value)
{
    if (offset == REG_PORTSC) {
        xhci_write_portsc(x, n, value);
    } else if (offset == REG_PORTPMSC) {
        x->s.port[n].portpmsc = value & 0xffff;
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of xHCI: a driver that looks at its event ring. */
#ifndef TESTS_XHCI_CLIENT_H
#define TESTS_XHCI_CLIENT_H

#include "qtest_client.h"
#include "xhci_regs.h"

enum {
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

uint32_t qxhci_read(Xhci *x, unsigned reg);
void qxhci_write(Xhci *x, unsigned reg, uint32_t value);
Ring qxhci_ring_new(Xhci *x);
uint64_t qxhci_put(Xhci *x, Ring *r, uint64_t parameter, uint32_t status, uint32_t control);
bool qxhci_has_event(Xhci *x);
Event qxhci_look(Xhci *x);
/* Host I/O ends by itself, so the event is waited for. */
Event qxhci_take(Xhci *x);
/* A round trip to the main loop: what was asked for has been done. */
void qxhci_settle(Xhci *x);
void qxhci_no_event(Xhci *x);
Event qxhci_command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags);
unsigned qxhci_slot_command(Xhci *x, unsigned type, uint64_t parameter, uint32_t flags);
unsigned qxhci_endpoint_command(Xhci *x, unsigned type, uint64_t parameter, unsigned dci);
void qxhci_start(Xhci *x);
Xhci qxhci_open_as(const char *controller, const char *devices);
Xhci qxhci_open(const char *devices);
/* The event of a device at the port. 'port' counts registers, from 1. */
void qxhci_port_event(Xhci *x, unsigned port);
unsigned qxhci_portsc(unsigned port);
void qxhci_port_reset(Xhci *x, unsigned port);
void qxhci_put_endpoint(Xhci *x, unsigned dci, unsigned type, unsigned packet);
unsigned qxhci_address_device(Xhci *x, unsigned port, uint32_t flags);
void qxhci_enable_slot(Xhci *x);
unsigned qxhci_slot_state(Xhci *x);
unsigned qxhci_endpoint_state(Xhci *x, unsigned dci);
Event qxhci_transfer_event(Xhci *x, unsigned dci);
void qxhci_doorbell(Xhci *x, unsigned dci);
Event qxhci_transfer(Xhci *x, unsigned dci, uint64_t addr, uint32_t length);
/* The number of bytes of a control transfer's data, -1 for a stall. */
int qxhci_control(Xhci *x, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                  uint16_t length);
/* A device at the port, with its configuration and the endpoint or two endpoints that it has. */
void qxhci_enumerate(Xhci *x, unsigned port, bool bulk);
void qxhci_hmp(Xhci *x, const char *line);
/* A TRB that waits for the device. */
uint64_t qxhci_poll(Xhci *x, unsigned length);

#endif

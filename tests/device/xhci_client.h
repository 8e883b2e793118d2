/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of xHCI: a driver that looks at its event ring. */
#ifndef TESTS_XHCI_CLIENT_H
#define TESTS_XHCI_CLIENT_H

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

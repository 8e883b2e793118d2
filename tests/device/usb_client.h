/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of USB: a UHCI controller whose driver has one queue. */
#ifndef TESTS_USB_CLIENT_H
#define TESTS_USB_CLIENT_H

#include "qtest_client.h"

enum {
    USBCMD = 0,
    USBSTS = 2,
    USBINTR = 4,
    FRNUM = 6,
    FRBASEADD = 8,
    SOFMOD = 12,
    PORTSC1 = 16,

    CCS = 0x0001,
    CSC = 0x0002,
    PE = 0x0004,
    PEC = 0x0008,
    PR = 0x0200,

    ACTIVE = 1 << 23,
    STALLED = 1 << 22,
    BABBLE = 1 << 20,
    NAK = 1 << 19,
    CRC = 1 << 18,
    IOC = 1 << 24,
    SPD = 1 << 29,
    ERRORS_3 = 3 << 27,

    PID_IN = 0x69,
    PID_OUT = 0xe1,
    PID_SETUP = 0x2d,

    FRAME_NS = 1000000,
    TERMINATE = 1,
    IS_QH = 2,
    DEPTH = 4,
};

typedef struct {
    QTest *q;
    QPci pci;
    uint16_t io;
    uint64_t frames, queue, tds, data, setup;
    uint8_t address;
} Uhci;

/* piix3-usb-uhci with the id "u", which runs. 'devices': more of the command line. */
Uhci quhci_open(const char *devices);
/* An empty queue, and the schedule runs: after a reset of the controller or the machine. */
void quhci_start(Uhci *u);
void quhci_port_reset(Uhci *u, unsigned n);
void quhci_put_td(Uhci *u, unsigned n, uint32_t link, uint32_t ctrl, uint8_t pid, uint8_t endpoint,
                  unsigned length, uint64_t buffer);
uint32_t quhci_td_ctrl(Uhci *u, unsigned n);
unsigned quhci_td_actual(Uhci *u, unsigned n);
/* Runs TDs 0 to 'last' in the queue, for so many milliseconds. */
void quhci_run(Uhci *u, unsigned ms);
/* The number of bytes of a control transfer's data, -1 for a stall. */
int quhci_control(Uhci *u, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                  uint16_t length);
void quhci_enumerate(Uhci *u, unsigned port);
/* An interrupt transfer from endpoint 1; -1: it has nothing. */
int quhci_interrupt_in(Uhci *u, uint8_t *report, unsigned max);

#endif

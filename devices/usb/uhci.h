/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The UHCI host controller, of the PIIX3, PIIX4 and ICH9; that of the last may be the companion of
 * an EHCI controller, whose ports it has then. (Intel: Universal Host Controller Interface
 * Design Guide, Revision 1.1; sections in uhci*.c are this one's.)
 *
 * uhci.c has the registers and ports, uhci_schedule.c the schedule.
 *
 * A look at the schedule (usb_schedule.h) walks the lists of all frames that have passed. There is
 * no timer while the schedule is stopped or no port has an enabled device. FRNUM is computed when
 * it is read.
 */
#ifndef DEVICES_USB_UHCI_H
#define DEVICES_USB_UHCI_H

#include "devices/pci.h"
#include "usb_schedule.h"

enum {
    UHCI_PORTS = 2,

    /* 2.1.2 */
    STS_USBINT = 0x01,
    STS_USBERR = 0x02,
    STS_RD = 0x04,   /* resume detect */
    STS_HSE = 0x08,  /* host system error */
    STS_HCPE = 0x10, /* host controller process error */
    STS_HCH = 0x20,  /* halted */

    /* Why USBINT is set. */
    CAUSE_IOC = 0x01,
    CAUSE_SHORT = 0x02,

    UHCI_PORT_PE = 0x0004, /* 2.1.7: enabled */
};

#define UHCI_STATE(X)                                                                              \
    X(F, uint16_t, cmd)                                                                            \
    X(F, uint16_t, status)                                                                         \
    X(F, uint8_t, cause)                                                                           \
    X(F, uint16_t, intr)                                                                           \
    X(F, uint16_t, frnum) /* at 'frame_at' */                                                      \
    X(F, uint32_t, frbase)                                                                         \
    X(F, uint8_t, sofmod)                                                                          \
    X(A, uint16_t, port, UHCI_PORTS)                                                               \
    X(F, int64_t, frame_at) /* the virtual clock when frame 'frnum' began */
STATE_STRUCT(UhciState, UHCI_STATE);

typedef struct {
    PciDevice pci;
    UhciState s;
    IoRegion bar;
    UsbBus bus;
    UsbPort ports[UHCI_PORTS];
    uint8_t resetting; /* a bit for each port whose device is to be reset */
    UsbSchedule schedule;
    /* Properties. */
    char *masterbus;
    uint32_t firstport;
} Uhci;

void uhci_update_irq(Uhci *u);
void uhci_halt(Uhci *u, uint16_t why);
/* Looks at the schedule within a millisecond, by the timer. */
void uhci_look_soon(Uhci *u);

/* Walks the lists of a frame. Main loop. */
void uhci_frame(Uhci *u, unsigned frame);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The EHCI host controller. (Intel: Enhanced Host Controller Interface Specification for Universal
 * Serial Bus, Revision 1.0; sections in ehci*.c are this one's.)
 *
 * ehci.c has the registers and ports, ehci_schedule.c the schedules.
 *
 * There is no timer for looks at the schedules (usb_schedule.h) while both are off or no port has
 * an enabled device. FRINDEX is computed when it is read.
 */
#ifndef DEVICES_USB_EHCI_H
#define DEVICES_USB_EHCI_H

#include "devices/pci.h"
#include "usb_schedule.h"

enum {
    EHCI_PORTS = 6,
    EHCI_PAGES = 5, /* buffer pointers of a qTD */
    MICROFRAME_NS = 125000,
    FRAME_MICROFRAMES = 8,

    CMD_RS = 1 << 0,
    CMD_HCRESET = 1 << 1,
    CMD_PSE = 1 << 4,  /* periodic schedule enable */
    CMD_ASE = 1 << 5,  /* asynchronous */
    CMD_IAAD = 1 << 6, /* interrupt on async advance doorbell */

    STS_INT = 1 << 0,
    STS_ERR = 1 << 1,
    STS_PCD = 1 << 2, /* port change detect */
    STS_FLR = 1 << 3, /* frame list rollover */
    STS_HSE = 1 << 4, /* host system error */
    STS_IAA = 1 << 5, /* interrupt on async advance */
    STS_INTERRUPTS = 0x3f,
    STS_HALTED = 1 << 12,
    STS_PSS = 1 << 14, /* periodic schedule status */
    STS_ASS = 1 << 15,

    EHCI_PORT_PE = 1 << 2,
    EHCI_PORT_OWNER = 1 << 13, /* the companion has it */
};

#define EHCI_STATE(X)                                                                              \
    X(F, uint32_t, cmd)                                                                            \
    X(F, uint32_t, status)  /* the interrupts' bits, and HALTED */                                 \
    X(F, uint32_t, pending) /* bits of 'status' that wait for the interrupt threshold */           \
    X(F, int64_t, due)      /* until when, on the virtual clock */                                 \
    X(F, uint32_t, intr)                                                                           \
    X(F, uint32_t, frindex) /* at 'frame_at' */                                                    \
    X(F, int64_t, frame_at)                                                                        \
    X(F, uint32_t, periodic)                                                                       \
    X(F, uint32_t, async)                                                                          \
    X(F, bool, configured) /* CONFIGFLAG */                                                        \
    X(A, uint32_t, port, EHCI_PORTS)
STATE_STRUCT(EhciState, EHCI_STATE);

typedef struct Ehci {
    PciDevice pci;
    EhciState s;
    IoRegion bar;
    UsbBus bus;
    UsbPort ports[EHCI_PORTS];
    UsbPort *companion[EHCI_PORTS]; /* the port of the companion that is the same socket, or NULL */
    uint8_t resetting;              /* a bit for each port whose reset ends */
    UsbSchedule schedule;
    uint32_t frames; /* that have begun since the last look */
} Ehci;

static inline bool ehci_runs(const Ehci *e)
{
    return !(e->s.status & STS_HALTED);
}
/* Interrupts that the threshold may delay (4.15). */
void ehci_raise(Ehci *e, uint32_t bits);
void ehci_halt(Ehci *e, uint32_t why);
/* Looks at the schedules at once, by the timer. */
void ehci_look_soon(Ehci *e);

/* The schedules. Main loop. */
/* Visits at most so many elements of the frame's list; returns how many it has visited. */
unsigned ehci_walk_periodic(Ehci *e, uint32_t frame, unsigned max);
void ehci_walk_async(Ehci *e);
/* 4.8.2: transfers of queue heads that ehci_walk_async() does not meet any more are given up. */
void ehci_advance_async(Ehci *e);

#endif

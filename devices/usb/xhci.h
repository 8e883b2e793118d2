/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The xHCI host controller. (Intel: eXtensible Host Controller Interface for Universal Serial Bus,
 * Revision 1.1; sections in the files xhci*.c are this one's.)
 *
 * A doorbell or a device that has become ready sets a bit in 'kick'; xhci_work(), a DeviceBh, does
 * what these bits ask for, at most WORK_MAX TRBs in a turn. There is no timer, but for the MFINDEX
 * wrap event where a driver has asked for it.
 *
 * The dequeue pointer of a ring moves on when a TRB has ended. So a transfer that is pending is not
 * saved: its TRB is carried out again after a load. One that the device has answered, and whose
 * event has not been put yet, is saved with its answer. No TRB or command is begun while its event
 * ring has no room; a write of that ring's ERDP goes on with them.
 *
 * Threads: registers on vCPU threads, all work on the main loop; the device's lock is held.
 */
#ifndef DEVICES_USB_XHCI_H
#define DEVICES_USB_XHCI_H

#include "devices/pci.h"
#include "usb.h"

enum {
    XHCI_SLOTS_MAX = 64,
    XHCI_INTRS_MAX = 16,
    XHCI_PORTS_MAX = 15, /* of USB 2, and of USB 3 */
    XHCI_ENDPOINTS = 32, /* by device context index: 0 is none, 1 endpoint 0 (4.5.1) */
    XHCI_IOV = 4,
    XHCI_TRB_LENGTH_MAX = 65536, /* 6.4.1.1 */
    XHCI_CONTEXT = 32,           /* bytes of a context: HCCPARAMS1.CSZ is 0 */

    /* 5.4.1, 5.4.2 */
    CMD_RS = 1 << 0,
    CMD_HCRST = 1 << 1,
    CMD_INTE = 1 << 2,
    CMD_HSEE = 1 << 3,
    CMD_LHCRST = 1 << 7,
    CMD_CSS = 1 << 8,
    CMD_CRS = 1 << 9,
    CMD_EWE = 1 << 10,
    CMD_EU3S = 1 << 11,
    STS_HCH = 1 << 0,
    STS_HSE = 1 << 2,
    STS_EINT = 1 << 3,
    STS_PCD = 1 << 4,
    STS_SRE = 1 << 10,
    STS_W1C = STS_HSE | STS_EINT | STS_PCD | STS_SRE,

    /* 5.5.2 */
    IMAN_IP = 1 << 0,
    IMAN_IE = 1 << 1,
    ERDP_EHB = 1 << 3,

    /* 6.4: the control word of TRBs. */
    TRB_CYCLE = 1 << 0,
    TRB_TOGGLE = 1 << 1, /* link */
    TRB_ISP = 1 << 2,
    TRB_CHAIN = 1 << 4,
    TRB_IOC = 1 << 5,
    TRB_IDT = 1 << 6,
    TRB_BSR = 1 << 9, /* address device */
    TRB_BEI = 1 << 9,
    TRB_DC = 1 << 9, /* configure endpoint */
    TRB_TYPE_SHIFT = 10,
    TRB_DIR_IN = 1 << 16,
    EVENT_DATA = 1 << 2,

    /* 6.4.6: types. */
    TRB_NORMAL = 1,
    TRB_SETUP = 2,
    TRB_DATA = 3,
    TRB_STATUS = 4,
    TRB_ISOCH = 5,
    TRB_LINK = 6,
    TRB_EVENT_DATA = 7,
    TRB_NO_OP = 8,
    TRB_ENABLE_SLOT = 9,
    TRB_DISABLE_SLOT = 10,
    TRB_ADDRESS_DEVICE = 11,
    TRB_CONFIGURE_ENDPOINT = 12,
    TRB_EVALUATE_CONTEXT = 13,
    TRB_RESET_ENDPOINT = 14,
    TRB_STOP_ENDPOINT = 15,
    TRB_SET_TR_DEQUEUE = 16,
    TRB_RESET_DEVICE = 17,
    TRB_NO_OP_COMMAND = 23,
    EVENT_TRANSFER = 32,
    EVENT_COMMAND = 33,
    EVENT_PORT = 34,
    EVENT_CONTROLLER = 37,
    EVENT_MFINDEX_WRAP = 39,
};

/* 6.4.5: completion codes. */
typedef enum {
    CC_SUCCESS = 1,
    CC_BABBLE = 3,
    CC_TRANSACTION = 4,
    CC_TRB = 5,
    CC_STALL = 6,
    CC_RESOURCE = 7,
    CC_BANDWIDTH = 8,
    CC_NO_SLOTS = 9,
    CC_SLOT_NOT_ENABLED = 11,
    CC_ENDPOINT_NOT_ENABLED = 12,
    CC_SHORT_PACKET = 13,
    CC_PARAMETER = 17,
    CC_CONTEXT_STATE = 19,
    CC_EVENT_RING_FULL = 21,
    CC_COMMAND_RING_STOPPED = 24,
    CC_STOPPED = 26,
} XhciCode;

/* 6.2.2: states of slots; 0 is shown for 'enabled' too. 6.2.3: states and types of endpoints. */
enum { SLOT_DISABLED, SLOT_ENABLED, SLOT_DEFAULT, SLOT_ADDRESSED, SLOT_CONFIGURED, SLOT_STATES };
enum { EP_DISABLED, EP_RUNNING, EP_HALTED, EP_STOPPED, EP_ERROR, EP_STATES };
enum { EP_OUT_BULK = 2, EP_OUT_INTERRUPT, EP_CONTROL, EP_IN_BULK = 6, EP_IN_INTERRUPT };

#define XHCI_ENDPOINT_STATE(X)                                                                     \
    X(F, uint8_t, state)                                                                           \
    X(F, uint8_t, type)                                                                            \
    X(F, uint64_t, dequeue)                                                                        \
    X(F, bool, cycle)                                                                              \
    X(F, bool, ended)     /* the device has answered the TRB, and its event is due: */             \
    X(F, uint8_t, result) /* a UsbStatus */                                                        \
    X(F, uint32_t, actual)                                                                         \
    X(F, bool, in)        /* control: direction of the data stage */                               \
    X(F, bool, skip)      /* the TD has ended by a short packet; its other TRBs are passed over */ \
    X(F, bool, reported)  /* there was an event for that */                                        \
    X(F, uint32_t, moved) /* bytes since the TD, or the last event data TRB: EDTLA (4.11.5.2) */
STATE_STRUCT(XhciEndpointState, XHCI_ENDPOINT_STATE);

#define XHCI_SLOT_STATE(X)                                                                         \
    X(F, uint8_t, state)                                                                           \
    X(F, uint8_t, port) /* of the root hub, from 1 */                                              \
    X(F, uint8_t, address)                                                                         \
    X(F, uint64_t, context) /* output device context */                                            \
    X(SA, XhciEndpointState, ep, xhci_endpoint, XHCI_ENDPOINTS)
STATE_STRUCT(XhciSlotState, XHCI_SLOT_STATE);

#define XHCI_INTERRUPTER_STATE(X)                                                                  \
    X(F, uint32_t, iman)                                                                           \
    X(F, uint32_t, imod)                                                                           \
    X(F, uint32_t, erstsz)                                                                         \
    X(F, uint64_t, erstba)                                                                         \
    X(F, uint64_t, erdp)                                                                           \
    X(F, uint32_t, index) /* of the next event in the segment */                                   \
    X(F, bool, cycle)                                                                              \
    X(F, bool, full)    /* the event of that has been put */                                       \
    X(F, bool, enabled) /* interrupt pending enable (4.17.2): an event that interrupts has come */
STATE_STRUCT(XhciInterrupterState, XHCI_INTERRUPTER_STATE);

#define XHCI_PORT_STATE(X)                                                                         \
    X(F, uint32_t, portsc)                                                                         \
    X(F, uint32_t, portpmsc)                                                                       \
    X(F, bool, warm)  /* of PR: a warm reset */                                                    \
    X(F, bool, event) /* a port status change event is due */
STATE_STRUCT(XhciPortState, XHCI_PORT_STATE);

#define XHCI_STATE(X)                                                                              \
    X(F, uint32_t, cmd)                                                                            \
    X(F, uint32_t, status)                                                                         \
    X(F, uint32_t, dnctrl)                                                                         \
    X(F, uint64_t, command) /* of CRCR: the dequeue pointer */                                     \
    X(F, bool, command_cycle)                                                                      \
    X(F, bool, command_running)                                                                    \
    X(F, uint64_t, dcbaap)                                                                         \
    X(F, uint32_t, config)                                                                         \
    X(F, int64_t, mfindex_at) /* the virtual clock when MFINDEX was 0 */                           \
    X(F, uint32_t, mfindex)   /* while it is halted */                                             \
    X(SA, XhciPortState, port, xhci_port, (2 * XHCI_PORTS_MAX))                                    \
    X(SA, XhciInterrupterState, intr, xhci_interrupter, XHCI_INTRS_MAX)                            \
    X(SA, XhciSlotState, slot, xhci_slot, (XHCI_SLOTS_MAX + 1)) /* from 1 */
STATE_STRUCT(XhciState, XHCI_STATE);

typedef struct {
    uint64_t addr; /* where it was read */
    uint64_t parameter;
    uint32_t status, control;
} XhciTrb;

typedef struct Xhci Xhci;

/* An endpoint's TRB that has been given to a device. */
typedef struct {
    UsbPacket p;
    Xhci *x;
    uint8_t slot, dci;
    XhciTrb trb;
    struct iovec iov[XHCI_IOV];
    bool mapped; /* iov is guest memory */
    uint8_t immediate[8];
    bool in_flight; /* submitted, and p.status is USB_PENDING or not looked at yet */
    bool waits;     /* was answered by USB_NAK */
} XhciTransfer;

struct Xhci {
    PciDevice pci;
    XhciState s;
    IoRegion bar;
    UsbBus bus;
    UsbPort ports[XHCI_PORTS_MAX];
    XhciTransfer *transfers[XHCI_SLOTS_MAX + 1][XHCI_ENDPOINTS]; /* NULL: not used yet */
    DeviceBh *work;
    /* What the work is to look at. Not saved: after a load it looks at all that runs. */
    bool command_kick;
    uint32_t kick[XHCI_SLOTS_MAX + 1]; /* a bit for each endpoint */
    DeviceTimer *wrap;
    unsigned next_slot; /* that a turn begins with, from 0 */
    bool running;       /* the VM is */
    /* Properties. */
    uint32_t p2, p3, intrs, slots;
    bool super_first;
    int msi, msix;
};

static inline Vm *xhci_vm(const Xhci *x)
{
    return x->pci.dev.vm;
}
static inline bool xhci_halted(const Xhci *x)
{
    return x->s.status & STS_HCH;
}
static inline unsigned trb_type(const XhciTrb *t)
{
    return t->control >> TRB_TYPE_SHIFT & 0x3f;
}
static inline unsigned xhci_ports(const Xhci *x)
{
    return x->p2 + x->p3;
}

/* xhci.c */
void xhci_kick(Xhci *x, unsigned slot, unsigned dci); /* slot 0: the command ring */
void xhci_kick_all(Xhci *x);                          /* all that runs */
void xhci_halt(Xhci *x, uint32_t why);
void xhci_host_error(Xhci *x); /* a structure is in no memory: halts */

/* xhci_event.c */
typedef enum { RING_TRB, RING_EMPTY, RING_BAD } XhciRingResult;
/* The next TRB, behind links. *budget counts down. Moves *dequeue and *cycle past links. */
XhciRingResult xhci_ring_next(Xhci *x, uint64_t *dequeue, bool *cycle, XhciTrb *trb, int *budget);
bool xhci_event_room(Xhci *x, unsigned intr);
void xhci_event(Xhci *x, unsigned intr, uint64_t parameter, uint32_t status, uint32_t control,
                bool interrupts);
void xhci_interrupt_update(Xhci *x);
void xhci_interrupter_reset(Xhci *x, unsigned n);
uint64_t xhci_interrupter_read(Xhci *x, unsigned n, unsigned offset);
void xhci_interrupter_write(Xhci *x, unsigned n, unsigned offset, uint32_t value);

/* xhci_port.c */
extern const UsbPortOps xhci_port_ops;
void xhci_ports_reset(Xhci *x);
/* Of the register, from 0: the port of the bus, or NULL; *super: the USB 3 half. */
UsbPort *xhci_port_of(Xhci *x, unsigned n, bool *super);
bool xhci_port_enabled(const Xhci *x, unsigned n);
uint32_t xhci_port_read(Xhci *x, unsigned n, unsigned offset);
void xhci_port_write(Xhci *x, unsigned n, unsigned offset, uint32_t value);
void xhci_port_events(Xhci *x);
void xhci_port_resets(Xhci *x);                      /* those that have begun end */
void xhci_protocols(const Xhci *x, uint8_t out[32]); /* extended capabilities */

/* xhci_command.c */
void xhci_commands(Xhci *x, int *budget);
void xhci_slot_disable(Xhci *x, unsigned slot);
/* Writes state and dequeue pointer of an endpoint to its output context. */
void xhci_show_endpoint(Xhci *x, unsigned slot, unsigned dci);
UsbDevice *xhci_slot_device(Xhci *x, unsigned slot);

/* xhci_transfer.c */
void xhci_endpoint_run(Xhci *x, unsigned slot, unsigned dci, int *budget);
/* Gives up what is in flight; the TRB stays in the ring. */
void xhci_endpoint_cancel(Xhci *x, unsigned slot, unsigned dci);
/* Whether a TRB was begun and has not ended. */
bool xhci_endpoint_busy(Xhci *x, unsigned slot, unsigned dci);
/*
 * Before a command changes the endpoint: what the device has answered ends. False: the event ring
 * has no room for that, or for the event of a TRB that is stopped.
 */
bool xhci_endpoint_settle(Xhci *x, unsigned slot, unsigned dci);
void xhci_transfer_event(Xhci *x, unsigned slot, unsigned dci, const XhciTrb *trb, XhciCode code,
                         uint32_t left);
void xhci_cancel_all(Xhci *x, const UsbDevice *dev); /* dev NULL: of all devices */
void xhci_device_ready(Xhci *x, UsbDevice *dev);
void xhci_transfers_free(Xhci *x);
void xhci_transfers_pre_save(Xhci *x);

#endif

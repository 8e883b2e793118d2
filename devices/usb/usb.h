/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * USB: the bus, its ports, and what all devices on it have in common. (Universal Serial Bus
 * Specification, Revision 2.0; sections below are this one's.)
 *
 * A controller embeds a UsbBus and offers ports; a hub offers more ports of the same bus. A USB
 * device embeds UsbDevice first. Its class: bus = "usb-bus", bus_props = usb_device_props, bus_data
 * = a UsbClass, state = its own sections plus USB_STATE(Type, member).
 *
 * A transaction, or a row of them with one endpoint, is a UsbPacket, which usb_submit() gives to a
 * device. The device answers at once, or later by usb_complete(). Control transfers arrive as their
 * three stages (8.5.3).
 *
 * Locks: all devices of a bus share the controller's lock, which all functions here want held.
 * Threads: usb_submit() and usb_complete() are for the main loop.
 */
#ifndef DEVICES_USB_USB_H
#define DEVICES_USB_USB_H

#include <sys/uio.h>
#include "vm/device.h"
#include "vm/vm.h"

enum {
    /* 8.3.1: the packet identifiers that begin a transaction. */
    USB_PID_OUT = 0xe1,
    USB_PID_IN = 0x69,
    USB_PID_SETUP = 0x2d,

    /* 9.3.1: bmRequestType. */
    USB_DIR_IN = 0x80,
    USB_TYPE_MASK = 0x60,
    USB_TYPE_STANDARD = 0x00,
    USB_TYPE_CLASS = 0x20,
    USB_TYPE_VENDOR = 0x40,
    USB_RECIPIENT_MASK = 0x1f,
    USB_RECIPIENT_DEVICE = 0x00,
    USB_RECIPIENT_INTERFACE = 0x01,
    USB_RECIPIENT_ENDPOINT = 0x02,
    USB_RECIPIENT_OTHER = 0x03,

    /* 9.4: standard requests. */
    USB_REQ_GET_STATUS = 0,
    USB_REQ_CLEAR_FEATURE = 1,
    USB_REQ_SET_FEATURE = 3,
    USB_REQ_SET_ADDRESS = 5,
    USB_REQ_GET_DESCRIPTOR = 6,
    USB_REQ_GET_CONFIGURATION = 8,
    USB_REQ_SET_CONFIGURATION = 9,
    USB_REQ_GET_INTERFACE = 10,
    USB_REQ_SET_INTERFACE = 11,
    USB_FEATURE_ENDPOINT_HALT = 0,
    USB_FEATURE_REMOTE_WAKEUP = 1,

    /* 9.4: types of descriptors. */
    USB_DT_DEVICE = 1,
    USB_DT_CONFIG = 2,
    USB_DT_STRING = 3,
    USB_DT_INTERFACE = 4,
    USB_DT_ENDPOINT = 5,
    USB_DT_DEVICE_QUALIFIER = 6,
    USB_DT_OTHER_SPEED_CONFIG = 7,
    USB_DT_BOS = 15,
    USB_DT_ENDPOINT_COMPANION = 48, /* USB 3.0, 9.6.7 */

    USB_INTERFACES = 4,
    USB_CONTROL_MAX = 4096, /* bytes of a control transfer's data */
    USB_PACKET_MAX = 65536, /* bytes of a packet */
    USB_HUB_TIERS = 5,      /* 4.1.1: hubs in a row */
};

typedef enum { USB_SPEED_LOW, USB_SPEED_FULL, USB_SPEED_HIGH, USB_SPEED_SUPER } UsbSpeed;
enum { USB_SPEEDS = 4, USB_SPEEDS_1 = 0x3, USB_SPEEDS_2 = 0x7, USB_SPEEDS_3 = 0xf }; /* masks */

typedef enum {
    USB_OK,
    USB_NAK,     /* nothing to send, or no room: try again later */
    USB_STALL,   /* the endpoint is halted, or the request is not supported */
    USB_BABBLE,  /* more data than the packet has room for */
    USB_ERROR,   /* no answer */
    USB_PENDING, /* usb_complete() follows */
} UsbStatus;

typedef struct UsbDevice UsbDevice;
typedef struct UsbPort UsbPort;
typedef struct UsbBus UsbBus;
typedef struct UsbPacket UsbPacket;

/*
 * The controller fills in pid, endpoint, iov and done. 'iov' and its memory are borrowed until the
 * packet ends; a device that writes there writes guest memory where the controller has mapped that.
 */
struct UsbPacket {
    uint8_t pid;
    uint8_t endpoint; /* number, without direction */
    const struct iovec *iov;
    unsigned niov;
    uint32_t length; /* of iov */
    uint32_t actual; /* bytes moved */
    UsbStatus status;
    /* After PENDING: the packet has ended, with status and actual. Main loop, lock held. */
    void (*done)(UsbPacket *p);
    UsbDevice *dev; /* while pending */
};

typedef struct {
    uint8_t type, request; /* bmRequestType, bRequest */
    uint16_t value, index, length;
} UsbSetup;

/* Of a device class. Descriptors are as they are sent (9.6). */
typedef struct {
    const uint8_t *device; /* 18 bytes. bcdUSB and bMaxPacketSize0 are set by the speed */
    /* A configuration with all that follows it; wTotalLength is right. NULL: not at that speed. */
    const uint8_t *config[USB_SPEEDS];
    const uint8_t *bos;            /* USB 3.0, 9.6.2; NULL: none */
    const char *const *strings;    /* [1] is the first; NULL-terminated */
    uint8_t serial_string;         /* the index of the one that 'serial=' replaces; 0: none */
    bool is_storage;               /* for the firmware's path */
    void (*reset)(UsbDevice *dev); /* a reset of the bus (7.1.7.5). May be NULL */
    /*
     * A request that is not a standard one, or that the standard part does not know (descriptors of
     * a class). To the host: 'data' has room for USB_CONTROL_MAX bytes, and *length becomes their
     * number; more than setup->length are cut. From the host: data and *length are what came.
     * USB_OK or USB_STALL. May be NULL.
     */
    UsbStatus (*control)(UsbDevice *dev, const UsbSetup *setup, uint8_t *data, uint32_t *length);
    /* A packet for another endpoint than 0, which is not halted. Gives status and p->actual. */
    UsbStatus (*data)(UsbDevice *dev, UsbPacket *p);
    /* The controller takes back a packet that is pending. done() does not follow. May be NULL. */
    void (*cancel)(UsbDevice *dev, UsbPacket *p);
    UsbDevice *(*find)(UsbDevice *hub, uint8_t address); /* hubs: behind their ports */
} UsbClass;

#define USB_DEVICE_STATE(X)                                                                        \
    X(F, uint8_t, address)                                                                         \
    X(F, uint8_t, configuration)                                                                   \
    X(A, uint8_t, alternate, USB_INTERFACES)                                                       \
    X(F, bool, remote_wakeup)                                                                      \
    X(F, uint16_t, halted_in) /* a bit for each endpoint */                                        \
    X(F, uint16_t, halted_out)                                                                     \
    X(F, uint8_t, stage)                                                                           \
    X(A, uint8_t, setup, 8)                                                                        \
    X(F, uint32_t, position)                                                                       \
    X(F, uint32_t, length)                                                                         \
    X(A, uint8_t, data, USB_CONTROL_MAX)
STATE_STRUCT(UsbDeviceState, USB_DEVICE_STATE);
const StateDesc *usb_device_state_desc(void);

struct UsbDevice {
    Device dev;
    UsbDeviceState s;
    UsbPort *place; /* since attach() */
    UsbPort *port;  /* while the guest finds it there */
    UsbSpeed speed; /* what port and class have in common, the highest */
    /* Properties. */
    char *port_path, *serial;
};
#define USB_STATE(type, member)                                                                    \
    {                                                                                              \
        usb_device_state_desc, offsetof(type, member.s)                                            \
    }
extern const Property usb_device_props[];

static inline const UsbClass *usb_class(const UsbDevice *dev)
{
    return dev->dev.class->bus_data;
}
/* For classes' reset and check_state. */
void usb_device_reset(UsbDevice *dev);
bool usb_device_check_state(Device *dev, unsigned section, const void *state, GError **err);
const char *usb_product(const UsbDevice *dev);
const char *usb_speed_text(UsbSpeed speed); /* "12", in Mb/s */

/* What a controller or hub does when something happens at its port. */
typedef struct {
    void (*attached)(UsbPort *port); /* port->dev is there */
    void (*detached)(UsbPort *port); /* port->dev goes, and has no packets any more */
    /* Takes back the packets of a device at the port or behind it, by usb_cancel(). */
    void (*cancel)(UsbPort *port, UsbDevice *dev);
    /* The device has something for a packet that it answered by USB_NAK. */
    void (*ready)(UsbPort *port, UsbDevice *from);
    /* A device in suspend asks to be woken (7.1.7.7). */
    void (*wakeup)(UsbPort *port);
} UsbPortOps;

struct UsbPort {
    UsbBus *bus;
    const UsbPortOps *ops;
    Device *owner;  /* the controller or the hub */
    unsigned index; /* from 0 */
    unsigned speeds;
    UsbDevice *taken; /* whose place it is. Main loop */
    UsbDevice *dev;   /* the guest finds it */
    char path[16];    /* "1", behind a hub "1.2" */
    /* Of a companion's port: the port of the master that is the same socket. NULL: none. */
    UsbPort *master;
};

/* A controller that shares its sockets with companions, which take full and low speed devices. */
typedef struct {
    bool (*add_companion)(UsbBus *bus, UsbPort *ports, unsigned count, unsigned first,
                          GError **err);
    void (*remove_companion)(UsbBus *bus, UsbPort *ports, unsigned count);
} UsbMasterOps;

struct UsbBus {
    Bus bus;
    GPtrArray *ports;           /* of UsbPort, in order */
    const UsbMasterOps *master; /* NULL: no companions */
};
extern const BusClass usb_bus_class;
void usb_bus_init(UsbBus *bus, Vm *vm, Device *controller);
void usb_bus_destroy(UsbBus *bus);
/*
 * Adds a port that the caller embeds. 'hub': the port that the hub itself sits at, or NULL.
 * 'number' is the path's last part, from 1.
 */
void usb_port_add(UsbBus *bus, UsbPort *port, Device *owner, const UsbPort *hub, unsigned number,
                  unsigned speeds, const UsbPortOps *ops);
void usb_port_remove(UsbPort *port);
/*
 * For a companion's realize: its ports, which the caller embeds, are those from 'first' on of the
 * controller with that bus. The companion gets that one's lock. usb_companion_remove() may come
 * after the master's end.
 */
bool usb_companion_add(Device *companion, UsbPort *ports, unsigned count, const char *masterbus,
                       unsigned first, const UsbPortOps *ops, GError **err);
void usb_companion_remove(UsbPort *ports, unsigned count);
/*
 * The device at 'from', if there is one, is found at 'to' from here on, at the speed of that. Its
 * packets are taken back. With 'tell' it is detached and attached in the eyes of the guest.
 */
void usb_port_route(UsbPort *from, UsbPort *to, bool tell);

/* Resets the device (a port was reset): address 0, not configured. */
void usb_reset(UsbDevice *dev);
/* The device with that address at the port, or behind it. NULL: none. */
UsbDevice *usb_find(UsbPort *port, uint8_t address);
/* Gives the packet's status, which is USB_PENDING where done() follows. */
UsbStatus usb_submit(UsbDevice *dev, UsbPacket *p);
/* For a controller: a packet that is pending is forgotten; done() does not come. */
void usb_cancel(UsbPacket *p);

/* For devices. A packet that was pending ends, by status and p->actual. */
void usb_complete(UsbPacket *p, UsbStatus status);
/* There is something for a packet that the device has answered by USB_NAK. */
void usb_ready(UsbDevice *dev);
/* Wakes the guest, if it has allowed that. */
void usb_wakeup(UsbDevice *dev);
void usb_halt(UsbDevice *dev, uint8_t endpoint, bool in);

#endif

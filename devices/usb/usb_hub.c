/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A full-speed hub of eight ports. (USB 2.0, chapter 11; sections below are this one's.) The
 * controller finds the devices behind it by their address, so no packet passes here.
 */
#include <string.h>

#include "base/error.h"
#include "base/iov.h"
#include "usb.h"

enum {
    HUB_PORTS = 8,
    HUB_ENDPOINT = 1,
    HUB_DT_HUB = 0x29,
    HUB_DESCRIPTOR_LENGTH = 7 + 2,

    /* 11.24.2: class requests. */
    HUB_GET_STATUS = 0,
    HUB_CLEAR_FEATURE = 1,
    HUB_SET_FEATURE = 3,
    HUB_GET_DESCRIPTOR = 6,

    /* Features of a port; those of 16 and on are bits of wPortChange. */
    PORT_CONNECTION = 0,
    PORT_ENABLE = 1,
    PORT_SUSPEND = 2,
    PORT_OVER_CURRENT = 3,
    PORT_RESET = 4,
    PORT_POWER = 8,
    PORT_LOW_SPEED = 9,
    C_PORT_CONNECTION = 16,
    C_PORT_RESET = 20,
    CHANGE_FEATURES = 16,
};

#define HUB_STATE(X)                                                                               \
    X(A, uint16_t, status, HUB_PORTS) /* 11.24.2.7.1 */                                            \
    X(A, uint16_t, change, HUB_PORTS) /* 11.24.2.7.2 */
STATE_STRUCT(HubState, HUB_STATE);
STATE_DESC(usb_hub, HubState, HUB_STATE, 1);

typedef struct {
    UsbDevice usb;
    HubState s;
    UsbPort ports[HUB_PORTS];
} UsbHub;

static UsbHub *hub_of(UsbDevice *usb)
{
    return container_of(usb, UsbHub, usb);
}

static const uint8_t hub_device_descriptor[] = {
    18, USB_DT_DEVICE, 0x10, 0x01, 0x09, 0, 0, 8, 0x09, 0x04, 0xaa, 0x55, 0x01, 0x01, 1, 2, 3, 1,
};
/* 11.23.1: one interface of class 9, whose endpoint tells which ports have changed. */
static const uint8_t hub_config[] = {
    9,
    USB_DT_CONFIG,
    25,
    0,
    1,
    1,
    0,
    0xe0,
    0,
    9,
    USB_DT_INTERFACE,
    0,
    0,
    1,
    0x09,
    0,
    0,
    0,
    7,
    USB_DT_ENDPOINT,
    USB_DIR_IN | HUB_ENDPOINT,
    0x03,
    2,
    0,
    0xff,
};
static const char *const hub_strings[] = {NULL, "QEMU", "QEMU USB Hub", "314159", NULL};

/* Ports. */

static void hub_changed(UsbHub *h, unsigned n, unsigned change_feature)
{
    h->s.change[n] |= 1u << (change_feature - CHANGE_FEATURES);
    usb_wakeup(&h->usb);
    usb_ready(&h->usb);
}

static UsbHub *hub_of_port(UsbPort *port)
{
    return container_of(port->owner, UsbHub, usb.dev);
}

static void hub_show(UsbHub *h, unsigned n)
{
    const UsbDevice *dev = h->ports[n].dev;

    h->s.status[n] &= 1u << PORT_POWER;
    if (dev) {
        h->s.status[n] |= 1u << PORT_CONNECTION;
        h->s.status[n] |= dev->speed == USB_SPEED_LOW ? 1u << PORT_LOW_SPEED : 0;
    }
}

static void hub_attached(UsbPort *port)
{
    UsbHub *h = hub_of_port(port);

    hub_show(h, port->index);
    hub_changed(h, port->index, C_PORT_CONNECTION);
}

static void hub_detached(UsbPort *port)
{
    UsbHub *h = hub_of_port(port);
    bool enabled = h->s.status[port->index] >> PORT_ENABLE & 1;

    h->s.status[port->index] &= 1u << PORT_POWER;
    if (enabled) {
        h->s.change[port->index] |= 1u << PORT_ENABLE;
    }
    hub_changed(h, port->index, C_PORT_CONNECTION);
}

static void hub_cancel(UsbPort *port, UsbDevice *dev)
{
    UsbDevice *usb = &hub_of_port(port)->usb;

    if (usb->port) {
        usb->port->ops->cancel(usb->port, dev);
    }
}

static void hub_ready(UsbPort *port, UsbDevice *from)
{
    UsbDevice *usb = &hub_of_port(port)->usb;

    if (usb->port) {
        usb->port->ops->ready(usb->port, from);
    }
}

static void hub_port_wakeup(UsbPort *port)
{
    UsbHub *h = hub_of_port(port);

    if (h->s.status[port->index] >> PORT_SUSPEND & 1) {
        h->s.status[port->index] &= ~(1u << PORT_SUSPEND);
        hub_changed(h, port->index, CHANGE_FEATURES + PORT_SUSPEND);
    }
}

static const UsbPortOps hub_port_ops = {
    .attached = hub_attached,
    .detached = hub_detached,
    .cancel = hub_cancel,
    .ready = hub_ready,
    .wakeup = hub_port_wakeup,
};

static UsbDevice *hub_find(UsbDevice *usb, uint8_t address)
{
    UsbHub *h = hub_of(usb);

    for (unsigned i = 0; i < HUB_PORTS; i++) {
        UsbDevice *dev = h->s.status[i] >> PORT_ENABLE & 1 ? usb_find(&h->ports[i], address) : NULL;

        if (dev) {
            return dev;
        }
    }
    return NULL;
}

/* Requests. */

static void hub_reset_port(UsbHub *h, unsigned n)
{
    UsbDevice *dev = h->ports[n].dev;

    if (dev) {
        hub_cancel(&h->ports[n], dev);
        usb_reset(dev);
        h->s.status[n] |= 1u << PORT_ENABLE;
        hub_changed(h, n, C_PORT_RESET);
    }
}

static UsbStatus hub_set_feature(UsbHub *h, unsigned n, uint16_t feature)
{
    switch (feature) {
    case PORT_SUSPEND:
        h->s.status[n] |= h->ports[n].dev ? 1u << PORT_SUSPEND : 0;
        return USB_OK;
    case PORT_RESET:
        hub_reset_port(h, n);
        return USB_OK;
    case PORT_POWER:
        h->s.status[n] |= 1u << PORT_POWER;
        return USB_OK;
    default:
        return USB_STALL;
    }
}

static UsbStatus hub_clear_feature(UsbHub *h, unsigned n, uint16_t feature)
{
    switch (feature) {
    case PORT_ENABLE:
    case PORT_POWER:
        h->s.status[n] &= ~(1u << feature | 1u << PORT_ENABLE);
        return USB_OK;
    case PORT_SUSPEND:
        if (h->s.status[n] >> PORT_SUSPEND & 1) {
            h->s.status[n] &= ~(1u << PORT_SUSPEND);
            hub_changed(h, n, CHANGE_FEATURES + PORT_SUSPEND);
        }
        return USB_OK;
    case C_PORT_CONNECTION ... C_PORT_RESET:
        h->s.change[n] &= ~(1u << (feature - CHANGE_FEATURES));
        return USB_OK;
    default:
        return USB_STALL;
    }
}

/* 11.24.2.7 */
static UsbStatus hub_port_request(UsbHub *h, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    unsigned n = (setup->index & 0xff) - 1;
    bool in = setup->type & USB_DIR_IN;

    if (n >= HUB_PORTS || in != (setup->request == HUB_GET_STATUS)) {
        return USB_STALL;
    }
    switch (setup->request) {
    case HUB_GET_STATUS:
        stle16(data, h->s.status[n]);
        stle16(data + 2, h->s.change[n]);
        *length = 4;
        return USB_OK;
    case HUB_SET_FEATURE:
        return hub_set_feature(h, n, setup->value);
    case HUB_CLEAR_FEATURE:
        return hub_clear_feature(h, n, setup->value);
    default:
        return USB_STALL;
    }
}

/* 11.23.2.1: ports that are switched on one by one, 10 ms until they are, nothing non-removable. */
static UsbStatus hub_request(UsbHub *h, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    static const uint8_t descriptor[HUB_DESCRIPTOR_LENGTH + 2] = {
        HUB_DESCRIPTOR_LENGTH + 2, HUB_DT_HUB, HUB_PORTS, 0x0a, 0, 1, 0, 0, 0, 0xff, 0xff};

    switch (setup->request | setup->type << 8) {
    case HUB_GET_DESCRIPTOR | (USB_DIR_IN | USB_TYPE_CLASS) << 8:
        *length = sizeof descriptor;
        memcpy(data, descriptor, sizeof descriptor);
        return setup->value >> 8 == HUB_DT_HUB || !setup->value ? USB_OK : USB_STALL;
    case HUB_GET_STATUS | (USB_DIR_IN | USB_TYPE_CLASS) << 8:
        memset(data, 0, 4);
        *length = 4;
        return USB_OK;
    case HUB_SET_FEATURE | USB_TYPE_CLASS << 8:
    case HUB_CLEAR_FEATURE | USB_TYPE_CLASS << 8:
        return setup->value <= 1 ? USB_OK : USB_STALL; /* C_HUB_LOCAL_POWER, _OVER_CURRENT */
    default:
        return USB_STALL;
    }
}

static UsbStatus hub_control(UsbDevice *usb, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    UsbHub *h = hub_of(usb);

    return (setup->type & ~USB_DIR_IN) == (USB_TYPE_CLASS | USB_RECIPIENT_OTHER)
               ? hub_port_request(h, setup, data, length)
               : hub_request(h, setup, data, length);
}

/* 11.12.4: a bit for each port that has a change, from bit 1 on. */
static UsbStatus hub_data(UsbDevice *usb, UsbPacket *p)
{
    UsbHub *h = hub_of(usb);
    uint8_t map[2] = {0};
    uint16_t bits = 0;

    if (p->pid != USB_PID_IN || p->endpoint != HUB_ENDPOINT) {
        return USB_STALL;
    }
    for (unsigned i = 0; i < HUB_PORTS; i++) {
        bits |= h->s.change[i] ? 2u << i : 0;
    }
    if (!bits) {
        return USB_NAK;
    }
    stle16(map, bits);
    if (p->length < 1) {
        return USB_BABBLE;
    }
    p->actual = iov_from_buf(p->iov, p->niov, 0, map, sizeof map);
    return USB_OK;
}

/* Life. */

static void hub_bus_reset(UsbDevice *usb)
{
    UsbHub *h = hub_of(usb);

    for (unsigned i = 0; i < HUB_PORTS; i++) {
        h->s.status[i] = 0;
        h->s.change[i] = 0;
        hub_show(h, i);
        if (h->ports[i].dev) {
            h->s.change[i] = 1u << PORT_CONNECTION;
        }
    }
}

static void hub_reset(Device *dev, ResetKind kind)
{
    UsbDevice *usb = container_of(dev, UsbDevice, dev);

    usb_device_reset(usb);
    hub_bus_reset(usb);
}

static bool hub_realize(Device *dev, GError **err)
{
    UsbHub *h = container_of(dev, UsbHub, usb.dev);
    const UsbPort *place = h->usb.place;
    unsigned tier = 1;

    for (const char *dot = place->path; (dot = strchr(dot, '.')); dot++) {
        tier++;
    }
    if (tier > USB_HUB_TIERS) {
        return error_set(err, "usb hub chain too deep: %u hubs in a row are the limit",
                         USB_HUB_TIERS);
    }
    for (unsigned i = 0; i < HUB_PORTS; i++) {
        usb_port_add(place->bus, &h->ports[i], dev, place, i + 1, USB_SPEEDS_1, &hub_port_ops);
    }
    return true;
}

static void hub_unrealize(Device *dev)
{
    UsbHub *h = container_of(dev, UsbHub, usb.dev);

    for (unsigned i = 0; i < HUB_PORTS; i++) {
        usb_port_remove(&h->ports[i]);
    }
}

static bool hub_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    return section || usb_device_check_state(dev, section, state, err);
}

static const StateSection hub_state[] = {
    USB_STATE(UsbHub, usb),
    {usb_hub_state_desc, offsetof(UsbHub, s)},
    {0},
};

static const UsbClass hub_usb = {
    .device = hub_device_descriptor,
    .config = {[USB_SPEED_FULL] = hub_config},
    .strings = hub_strings,
    .serial_string = 3,
    .reset = hub_bus_reset,
    .control = hub_control,
    .data = hub_data,
    .find = hub_find,
};

const DeviceClass usb_hub_class = {
    .name = "usb-hub",
    .bus = "usb-bus",
    .desc = "QEMU USB Hub",
    .category = DEVICE_CATEGORY_BRIDGE,
    .size = sizeof(UsbHub),
    .bus_props = usb_device_props,
    .bus_data = &hub_usb,
    .state = hub_state,
    .realize = hub_realize,
    .unrealize = hub_unrealize,
    .reset = hub_reset,
    .check_state = hub_check_state,
    .hotpluggable = true,
    .object_parent = "usb-device",
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB devices: control transfers, standard requests, packets. (USB 2.0, chapters 8 and 9.) */
#include "usb.h"

#include <string.h>

#include "base/error.h"
#include "base/iov.h"

/* Of a control transfer: what the device waits for. */
enum { STAGE_IDLE, STAGE_DATA_IN, STAGE_DATA_OUT, STAGE_STATUS, STAGE_COUNT };

enum {
    CONFIG_TOTAL_LENGTH = 2, /* offsets in descriptors: 9.6.3, 9.6.5, 9.6.6, 9.6.1 */
    CONFIG_VALUE = 5,
    CONFIG_ATTRIBUTES = 7,
    CONFIG_SELF_POWERED = 0x40,
    CONFIG_REMOTE_WAKEUP = 0x20,
    INTERFACE_NUMBER = 2,
    INTERFACE_ALTERNATE = 3,
    ENDPOINT_ADDRESS = 2,
    DEVICE_LENGTH = 18,
    DEVICE_BCD_USB = 2,
    DEVICE_MAX_PACKET_0 = 7,
    DEVICE_CONFIGURATIONS = 17,
    QUALIFIER_LENGTH = 10,
    LANGUAGE_US_ENGLISH = 0x0409,
    STRING_MAX = 126, /* characters of 2 bytes */
};

STATE_DESC_PUBLIC(usb_device, UsbDeviceState, USB_DEVICE_STATE, 1);

const Property usb_device_props[] = {
    {.name = "port",
     .type = PROP_STRING,
     .offset = offsetof(UsbDevice, port_path),
     .help = "the port: 1, or 1.2 behind a hub; by default the first that is free"},
    {.name = "serial",
     .type = PROP_STRING,
     .offset = offsetof(UsbDevice, serial),
     .help = "serial number"},
    PROP_END,
};

const char *usb_speed_text(UsbSpeed speed)
{
    static const char *const names[] = {"1.5", "12", "480", "5000"};

    return names[speed];
}

const char *usb_product(const UsbDevice *dev)
{
    return dev->dev.class->desc;
}

static const uint8_t *usb_config(const UsbDevice *dev)
{
    return usb_class(dev)->config[dev->speed];
}

void usb_device_reset(UsbDevice *dev)
{
    dev->s = (UsbDeviceState){0};
}

bool usb_device_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const UsbDeviceState *s = state;

    if (s->address > 127 || s->stage >= STAGE_COUNT || s->length > USB_CONTROL_MAX ||
        s->position > s->length) {
        return error_set(err, "%s: a USB control transfer of %u of %u bytes, stage %u, address %u",
                         dev->path, s->position, s->length, s->stage, s->address);
    }
    return true;
}

void usb_reset(UsbDevice *dev)
{
    usb_device_reset(dev);
    if (usb_class(dev)->reset) {
        usb_class(dev)->reset(dev);
    }
}

/* Descriptors. */

static uint32_t usb_put(uint8_t *out, const void *from, uint32_t len)
{
    len = MIN(len, USB_CONTROL_MAX);
    memcpy(out, from, len);
    return len;
}

/* bcdUSB and the size of endpoint 0's packets: 5.5.3; USB 3.0, 9.6.1. */
static uint32_t usb_device_descriptor(const UsbDevice *dev, uint8_t *out)
{
    static const struct {
        uint16_t bcd;
        uint8_t packet;
    } by_speed[USB_SPEEDS] = {{0x0110, 8}, {0x0200, 8}, {0x0200, 64}, {0x0300, 9}};

    usb_put(out, usb_class(dev)->device, DEVICE_LENGTH);
    stle16(out + DEVICE_BCD_USB, by_speed[dev->speed].bcd);
    out[DEVICE_MAX_PACKET_0] = by_speed[dev->speed].packet;
    return DEVICE_LENGTH;
}

/* Of the other of full and high speed; a device that has only one stalls (9.6.2). */
static uint32_t usb_other_speed(const UsbDevice *dev, uint8_t type, uint8_t *out)
{
    UsbSpeed other = dev->speed == USB_SPEED_HIGH ? USB_SPEED_FULL : USB_SPEED_HIGH;
    const uint8_t *config = usb_class(dev)->config[other];
    uint8_t device[DEVICE_LENGTH];
    uint32_t len;

    if (!config || dev->speed == USB_SPEED_LOW || dev->speed == USB_SPEED_SUPER) {
        return 0;
    }
    if (type == USB_DT_OTHER_SPEED_CONFIG) {
        len = usb_put(out, config, ldle16(config + CONFIG_TOTAL_LENGTH));
        out[1] = USB_DT_OTHER_SPEED_CONFIG;
        return len;
    }
    usb_device_descriptor(dev, device);
    memcpy(out, device, 8);
    out[0] = QUALIFIER_LENGTH;
    out[1] = USB_DT_DEVICE_QUALIFIER;
    out[DEVICE_MAX_PACKET_0] = other == USB_SPEED_HIGH ? 64 : 8;
    out[8] = device[DEVICE_CONFIGURATIONS];
    out[9] = 0;
    return QUALIFIER_LENGTH;
}

/* 9.6.7: UTF-16. Index 0 is the list of languages. */
static uint32_t usb_string_descriptor(const UsbDevice *dev, uint8_t index, uint8_t *out)
{
    const UsbClass *class = usb_class(dev);
    const char *text = NULL;
    g_autofree gunichar2 *wide = NULL;
    glong n = 0;

    out[1] = USB_DT_STRING;
    if (!index) {
        stle16(out + 2, LANGUAGE_US_ENGLISH);
        return out[0] = 4;
    }
    for (unsigned i = 1; i <= index && class->strings[i]; i++) {
        text = i == index ? class->strings[i] : NULL;
    }
    if (text && index == class->serial_string && dev->serial) {
        text = dev->serial;
    }
    wide = text ? g_utf8_to_utf16(text, -1, NULL, &n, NULL) : NULL;
    if (!wide) {
        return 0;
    }
    n = MIN(n, STRING_MAX);
    for (glong i = 0; i < n; i++) {
        stle16(out + 2 + 2 * i, wide[i]);
    }
    return out[0] = 2 + 2 * n;
}

static uint32_t usb_descriptor(const UsbDevice *dev, const UsbSetup *setup, uint8_t *out)
{
    const uint8_t *config = usb_config(dev), *bos = usb_class(dev)->bos;
    uint8_t type = setup->value >> 8, index = setup->value;

    switch (type) {
    case USB_DT_DEVICE:
        return usb_device_descriptor(dev, out);
    case USB_DT_CONFIG:
        return index ? 0 : usb_put(out, config, ldle16(config + CONFIG_TOTAL_LENGTH));
    case USB_DT_STRING:
        return usb_string_descriptor(dev, index, out);
    case USB_DT_DEVICE_QUALIFIER:
    case USB_DT_OTHER_SPEED_CONFIG:
        return index ? 0 : usb_other_speed(dev, type, out);
    case USB_DT_BOS:
        return bos ? usb_put(out, bos, ldle16(bos + CONFIG_TOTAL_LENGTH)) : 0;
    default:
        return 0;
    }
}

/* Whether the configuration has such a descriptor: an interface, an endpoint. */
static bool usb_has(const UsbDevice *dev, uint8_t type, unsigned offset, uint8_t value,
                    int alternate)
{
    const uint8_t *config = usb_config(dev);
    uint32_t total = ldle16(config + CONFIG_TOTAL_LENGTH);

    for (uint32_t at = 0; at + 2 <= total && config[at] >= 2; at += config[at]) {
        if (config[at + 1] == type && config[at + offset] == value &&
            (alternate < 0 || config[at + INTERFACE_ALTERNATE] == alternate)) {
            return true;
        }
    }
    return false;
}

/* Standard requests (9.4). */

static uint16_t *usb_halted(UsbDevice *dev, uint8_t endpoint_address)
{
    return endpoint_address & USB_DIR_IN ? &dev->s.halted_in : &dev->s.halted_out;
}

void usb_halt(UsbDevice *dev, uint8_t endpoint, bool in)
{
    *usb_halted(dev, in ? USB_DIR_IN : 0) |= 1u << endpoint;
}

static UsbStatus usb_get_status(UsbDevice *dev, const UsbSetup *setup, uint8_t *data,
                                uint32_t *length)
{
    uint8_t endpoint = setup->index & 0x0f;

    data[0] = data[1] = 0;
    *length = 2;
    switch (setup->type & USB_RECIPIENT_MASK) {
    case USB_RECIPIENT_DEVICE:
        data[0] = (usb_config(dev)[CONFIG_ATTRIBUTES] & CONFIG_SELF_POWERED ? 1 : 0) |
                  (dev->s.remote_wakeup ? 2 : 0);
        return USB_OK;
    case USB_RECIPIENT_INTERFACE:
        return usb_has(dev, USB_DT_INTERFACE, INTERFACE_NUMBER, setup->index, -1) ? USB_OK
                                                                                  : USB_STALL;
    case USB_RECIPIENT_ENDPOINT:
        data[0] = *usb_halted(dev, setup->index) >> endpoint & 1;
        return !endpoint || usb_has(dev, USB_DT_ENDPOINT, ENDPOINT_ADDRESS, setup->index, -1)
                   ? USB_OK
                   : USB_STALL;
    default:
        return USB_STALL;
    }
}

static UsbStatus usb_feature(UsbDevice *dev, const UsbSetup *setup, bool set)
{
    uint8_t recipient = setup->type & USB_RECIPIENT_MASK, endpoint = setup->index & 0x0f;
    uint16_t *halted = usb_halted(dev, setup->index);

    if (recipient == USB_RECIPIENT_DEVICE && setup->value == USB_FEATURE_REMOTE_WAKEUP &&
        usb_config(dev)[CONFIG_ATTRIBUTES] & CONFIG_REMOTE_WAKEUP) {
        dev->s.remote_wakeup = set;
        return USB_OK;
    }
    if (recipient == USB_RECIPIENT_ENDPOINT && setup->value == USB_FEATURE_ENDPOINT_HALT &&
        (!endpoint || usb_has(dev, USB_DT_ENDPOINT, ENDPOINT_ADDRESS, setup->index, -1))) {
        *halted = set && endpoint ? *halted | 1u << endpoint : *halted & ~(1u << endpoint);
        return USB_OK;
    }
    return USB_STALL;
}

static UsbStatus usb_set_configuration(UsbDevice *dev, uint16_t value)
{
    if (value && value != usb_config(dev)[CONFIG_VALUE]) {
        return USB_STALL;
    }
    dev->s.configuration = value;
    memset(dev->s.alternate, 0, sizeof dev->s.alternate);
    dev->s.halted_in = dev->s.halted_out = 0;
    return USB_OK;
}

static UsbStatus usb_set_interface(UsbDevice *dev, const UsbSetup *setup)
{
    if (setup->index >= USB_INTERFACES || setup->value > 0xff ||
        !usb_has(dev, USB_DT_INTERFACE, INTERFACE_NUMBER, setup->index, setup->value)) {
        return USB_STALL;
    }
    dev->s.alternate[setup->index] = setup->value;
    dev->s.halted_in = dev->s.halted_out = 0;
    return USB_OK;
}

/* USB_NAK: this is no standard request of the device. */
static UsbStatus usb_standard(UsbDevice *dev, const UsbSetup *setup, uint8_t *data,
                              uint32_t *length)
{
    bool in = setup->type & USB_DIR_IN;

    switch (setup->request) {
    case USB_REQ_GET_STATUS:
        return in ? usb_get_status(dev, setup, data, length) : USB_NAK;
    case USB_REQ_CLEAR_FEATURE:
    case USB_REQ_SET_FEATURE:
        return in ? USB_NAK : usb_feature(dev, setup, setup->request == USB_REQ_SET_FEATURE);
    case USB_REQ_SET_ADDRESS:
        dev->s.address = in ? dev->s.address : setup->value & 0x7f;
        return in ? USB_NAK : USB_OK;
    case USB_REQ_GET_DESCRIPTOR:
        if ((setup->type & USB_RECIPIENT_MASK) != USB_RECIPIENT_DEVICE || !in) {
            return USB_NAK;
        }
        *length = usb_descriptor(dev, setup, data);
        return *length ? USB_OK : USB_NAK;
    case USB_REQ_GET_CONFIGURATION:
        data[0] = dev->s.configuration;
        *length = 1;
        return in ? USB_OK : USB_NAK;
    case USB_REQ_SET_CONFIGURATION:
        return in ? USB_NAK : usb_set_configuration(dev, setup->value);
    case USB_REQ_GET_INTERFACE:
        data[0] = dev->s.alternate[MIN(setup->index, USB_INTERFACES - 1)];
        *length = 1;
        return in && setup->index < USB_INTERFACES ? USB_OK : USB_NAK;
    case USB_REQ_SET_INTERFACE:
        return in ? USB_NAK : usb_set_interface(dev, setup);
    default:
        return USB_NAK;
    }
}

static UsbStatus usb_request(UsbDevice *dev, const UsbSetup *setup, uint32_t *length)
{
    UsbStatus status = USB_NAK;

    if ((setup->type & USB_TYPE_MASK) == USB_TYPE_STANDARD) {
        status = usb_standard(dev, setup, dev->s.data, length);
    }
    if (status == USB_NAK) {
        status = usb_class(dev)->control ? usb_class(dev)->control(dev, setup, dev->s.data, length)
                                         : USB_STALL;
    }
    return status;
}

/* Control transfers (8.5.3). */

static UsbSetup usb_setup_of(const UsbDevice *dev)
{
    const uint8_t *s = dev->s.setup;

    return (UsbSetup){s[0], s[1], ldle16(s + 2), ldle16(s + 4), ldle16(s + 6)};
}

static UsbStatus usb_control_fails(UsbDevice *dev)
{
    dev->s.stage = STAGE_IDLE;
    return USB_STALL;
}

/*
 * A request to the host is carried out now, one from the host when all of its data are there. What
 * is longer than the buffer is refused before any of it is stored.
 */
static UsbStatus usb_setup_stage(UsbDevice *dev, UsbPacket *p)
{
    UsbDeviceState *s = &dev->s;
    UsbSetup setup;
    uint32_t length = 0;

    if (iov_to_buf(p->iov, p->niov, 0, s->setup, sizeof s->setup) != sizeof s->setup) {
        return usb_control_fails(dev);
    }
    p->actual = sizeof s->setup;
    setup = usb_setup_of(dev);
    s->position = s->length = 0;
    if (!(setup.type & USB_DIR_IN)) {
        if (setup.length > USB_CONTROL_MAX) {
            return usb_control_fails(dev);
        }
        s->length = setup.length;
        s->stage = setup.length ? STAGE_DATA_OUT : STAGE_STATUS;
        return USB_OK;
    }
    if (usb_request(dev, &setup, &length) != USB_OK) {
        return usb_control_fails(dev);
    }
    s->length = MIN(MIN(length, setup.length), USB_CONTROL_MAX);
    s->stage = STAGE_DATA_IN;
    return USB_OK;
}

static UsbStatus usb_status_stage(UsbDevice *dev)
{
    UsbSetup setup = usb_setup_of(dev);
    uint32_t length = dev->s.length;

    dev->s.stage = STAGE_IDLE;
    return usb_request(dev, &setup, &length) == USB_OK ? USB_OK : USB_STALL;
}

static UsbStatus usb_control_in(UsbDevice *dev, UsbPacket *p)
{
    UsbDeviceState *s = &dev->s;

    switch (s->stage) {
    case STAGE_DATA_IN:
        p->actual =
            iov_from_buf(p->iov, p->niov, 0, s->data + s->position, s->length - s->position);
        s->position += p->actual;
        return USB_OK;
    case STAGE_STATUS:
        return usb_status_stage(dev);
    case STAGE_DATA_OUT: /* fewer data than were announced */
        return usb_control_fails(dev);
    default:
        return USB_STALL;
    }
}

static UsbStatus usb_control_out(UsbDevice *dev, UsbPacket *p)
{
    UsbDeviceState *s = &dev->s;

    switch (s->stage) {
    case STAGE_DATA_OUT:
        p->actual = iov_to_buf(p->iov, p->niov, 0, s->data + s->position, s->length - s->position);
        s->position += p->actual;
        if (s->position == s->length) {
            s->stage = STAGE_STATUS;
        }
        return USB_OK;
    case STAGE_DATA_IN: /* the status stage of a transfer to the host */
        s->stage = STAGE_IDLE;
        return USB_OK;
    default:
        return USB_STALL;
    }
}

static UsbStatus usb_control_packet(UsbDevice *dev, UsbPacket *p)
{
    switch (p->pid) {
    case USB_PID_SETUP:
        return usb_setup_stage(dev, p);
    case USB_PID_IN:
        return usb_control_in(dev, p);
    default:
        return usb_control_out(dev, p);
    }
}

/* Packets. */

UsbStatus usb_submit(UsbDevice *dev, UsbPacket *p)
{
    uint16_t halted = p->pid == USB_PID_IN ? dev->s.halted_in : dev->s.halted_out;

    p->actual = 0;
    p->dev = NULL;
    if (p->endpoint == 0) {
        p->status = usb_control_packet(dev, p);
    } else if (p->pid == USB_PID_SETUP || halted >> p->endpoint & 1) {
        p->status = USB_STALL;
    } else if (!dev->s.configuration || !usb_class(dev)->data) {
        p->status = USB_STALL;
    } else {
        p->status = usb_class(dev)->data(dev, p);
    }
    if (p->status == USB_PENDING) {
        p->dev = dev;
    }
    return p->status;
}

void usb_cancel(UsbPacket *p)
{
    UsbDevice *dev = p->dev;

    p->dev = NULL;
    if (dev && usb_class(dev)->cancel) {
        usb_class(dev)->cancel(dev, p);
    }
}

void usb_complete(UsbPacket *p, UsbStatus status)
{
    g_assert(p->dev);
    p->dev = NULL;
    p->status = status;
    p->done(p);
}

UsbDevice *usb_find(UsbPort *port, uint8_t address)
{
    UsbDevice *dev = port->dev;

    if (!dev || dev->s.address == address) {
        return dev;
    }
    return usb_class(dev)->find ? usb_class(dev)->find(dev, address) : NULL;
}

void usb_ready(UsbDevice *dev)
{
    if (dev->port) {
        dev->port->ops->ready(dev->port, dev);
    }
}

void usb_wakeup(UsbDevice *dev)
{
    if (dev->port && dev->s.remote_wakeup) {
        dev->port->ops->wakeup(dev->port);
    }
}

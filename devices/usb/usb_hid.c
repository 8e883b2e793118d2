/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard, mouse and tablet on USB. (Device Class Definition for Human Interface Devices 1.11;
 * sections below are this one's. HID Usage Tables 1.12.)
 */
#include <linux/input-event-codes.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/iov.h"
#include "ui/input.h"
#include "ui/keys.h"
#include "usb.h"

enum {
    /* 7.2: class requests. */
    HID_GET_REPORT = 0x01,
    HID_GET_IDLE = 0x02,
    HID_GET_PROTOCOL = 0x03,
    HID_SET_REPORT = 0x09,
    HID_SET_IDLE = 0x0a,
    HID_SET_PROTOCOL = 0x0b,
    HID_DT_HID = 0x21, /* 7.1 */
    HID_DT_REPORT = 0x22,
    HID_IDLE_NS = 4000000, /* 7.2.4: the unit of the idle rate */

    HID_ENDPOINT = 1,
    HID_REPORT_MAX = 8,
    HID_CONFIG_LENGTH = 34, /* configuration, interface, HID, endpoint */
    HID_QUEUE = 16,
    HID_KEYS = 6, /* in a report (B.1) */
    HID_MOTION_MAX = 1000000,

    /* Usages of the keyboard page (10). */
    HID_ERROR_ROLL_OVER = 0x01,
    HID_LEFT_CONTROL = 0xe0,
    HID_RIGHT_GUI = 0xe7,
};

typedef enum { HID_KEYBOARD, HID_MOUSE, HID_TABLET } HidKind;

/* x and y: movement, or position. */
#define HID_MOTION_STATE(X)                                                                        \
    X(F, int32_t, x)                                                                               \
    X(F, int32_t, y)                                                                               \
    X(F, int32_t, wheel)                                                                           \
    X(F, uint8_t, buttons)
STATE_STRUCT(HidMotion, HID_MOTION_STATE);
STATE_DESC(hid_motion, HidMotion, HID_MOTION_STATE, 1);

#define HID_STATE(X)                                                                               \
    X(F, uint8_t, protocol) /* 0: boot, 1: report (7.2.6) */                                       \
    X(F, uint8_t, idle)                                                                            \
    X(F, uint8_t, leds)                                                                            \
    X(F, int64_t, sent_at) /* when the last report went out, on the virtual clock */               \
    X(F, uint32_t, queued)                                                                         \
    X(SA, HidMotion, motions, hid_motion, HID_QUEUE) /* that were not reported yet */              \
    X(S, HidMotion, pending, hid_motion)             /* without an INPUT_SYNC yet */               \
    X(F, bool, unsynced)                                                                           \
    X(A, uint16_t, keys, HID_QUEUE) /* usages; bit 15: it was let go */                            \
    X(F, uint8_t, modifiers)                                                                       \
    X(F, uint32_t, down_count)                                                                     \
    X(V, uint8_t, down, down_count, 256)
STATE_STRUCT(HidState, HID_STATE);
STATE_DESC(hid, HidState, HID_STATE, 1);

#define HID_KEY_UP 0x8000

typedef struct {
    UsbDevice usb;
    HidState s;
    InputSink sink;
    DeviceTimer *idle;
    HidKind kind;
    bool polled; /* since the last reset: the first poll makes it the pointer or keyboard in use */
} Hid;

static Hid *hid_of(UsbDevice *usb)
{
    return container_of(usb, Hid, usb);
}

/* Descriptors. */

static const uint8_t hid_device_descriptor[] = {
    18, USB_DT_DEVICE, 0x00, 0x02, 0, 0, 0, 8, 0x27, 0x06, 0x01, 0x00, 0x00, 0x00, 1, 2, 3, 1,
};

/* E.6: relative X, Y and wheel, 5 buttons. */
static const uint8_t hid_mouse_report[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09, 0x19,
    0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02,
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, 0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09,
    0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, 0xc0, 0xc0,
};
/* Absolute X and Y of 0 to 0x7fff, a wheel, 5 buttons. */
static const uint8_t hid_tablet_report[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09, 0x19, 0x01, 0x29,
    0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x03,
    0x81, 0x01, 0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00,
    0x46, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02, 0x05, 0x01, 0x09, 0x38, 0x15, 0x81,
    0x25, 0x7f, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06, 0xc0, 0xc0,
};
/* B.1, with usages up to 0xff. */
static const uint8_t hid_keyboard_report[] = {
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x75, 0x01, 0x95, 0x08, 0x05, 0x07, 0x19,
    0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08,
    0x81, 0x01, 0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91,
    0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01, 0x95, 0x06, 0x75, 0x08, 0x15, 0x00,
    0x26, 0xff, 0x00, 0x05, 0x07, 0x19, 0x00, 0x2a, 0xff, 0x00, 0x81, 0x00, 0xc0,
};

/* Subclass 1 is the boot interface, with protocol 1 a keyboard, 2 a mouse (4.2, 4.3). */
#define HID_CONFIG(subclass, protocol, report, packet, interval)                                   \
    {                                                                                              \
        9, USB_DT_CONFIG, HID_CONFIG_LENGTH, 0, 1, 1, 4, 0xa0, 50, 9, USB_DT_INTERFACE, 0, 0, 1,   \
            0x03, (subclass), (protocol), 0, 9, HID_DT_HID, 0x11, 0x01, 0, 1, HID_DT_REPORT,       \
            sizeof(report), 0, 7, USB_DT_ENDPOINT, 0x80 | HID_ENDPOINT, 0x03, (packet), 0,         \
            (interval),                                                                            \
    }
/* The interval is in frames, at high speed 2^(n-1) microframes: 10 ms, and 8. (USB 2.0, 9.6.6) */
static const uint8_t hid_keyboard_full[] = HID_CONFIG(1, 1, hid_keyboard_report, 8, 10),
                     hid_keyboard_high[] = HID_CONFIG(1, 1, hid_keyboard_report, 8, 7),
                     hid_mouse_full[] = HID_CONFIG(1, 2, hid_mouse_report, 4, 10),
                     hid_mouse_high[] = HID_CONFIG(1, 2, hid_mouse_report, 4, 7),
                     hid_tablet_full[] = HID_CONFIG(0, 0, hid_tablet_report, 8, 4),
                     hid_tablet_high[] = HID_CONFIG(0, 0, hid_tablet_report, 8, 4);

static const struct {
    const uint8_t *report;
    uint8_t length;
} hid_reports[] = {
    [HID_KEYBOARD] = {hid_keyboard_report, sizeof hid_keyboard_report},
    [HID_MOUSE] = {hid_mouse_report, sizeof hid_mouse_report},
    [HID_TABLET] = {hid_tablet_report, sizeof hid_tablet_report},
};

/* Input. */

static bool hid_has_news(const Hid *h)
{
    return h->s.queued > 0;
}

/* Movement that nobody fetches adds up to no more than this. */
static int32_t hid_add(int32_t a, int32_t b)
{
    int64_t sum = (int64_t)a + b;

    return CLAMP(sum, -HID_MOTION_MAX, HID_MOTION_MAX);
}

/* A report of the same buttons is joined with the one before it, so that none is lost. */
static void hid_queue_motion(Hid *h)
{
    HidState *s = &h->s;
    HidMotion *last = s->queued ? &s->motions[s->queued - 1] : NULL;

    if (last && (last->buttons == s->pending.buttons || s->queued == HID_QUEUE)) {
        if (h->kind == HID_TABLET) {
            last->x = s->pending.x;
            last->y = s->pending.y;
        } else {
            last->x = hid_add(last->x, s->pending.x);
            last->y = hid_add(last->y, s->pending.y);
        }
        last->wheel = hid_add(last->wheel, s->pending.wheel);
        last->buttons = s->pending.buttons;
    } else {
        s->motions[s->queued++] = s->pending;
    }
    if (h->kind == HID_MOUSE) {
        s->pending.x = s->pending.y = 0;
    }
    s->pending.wheel = 0;
    s->unsynced = false;
}

static uint8_t hid_button(uint16_t code)
{
    switch (code) {
    case BTN_LEFT:
        return 0x01;
    case BTN_RIGHT:
        return 0x02;
    case BTN_MIDDLE:
        return 0x04;
    case BTN_SIDE:
        return 0x08;
    case BTN_EXTRA:
        return 0x10;
    default:
        return 0;
    }
}

static void hid_pointer_event(Hid *h, const InputEvent *e)
{
    HidMotion *m = &h->s.pending;
    int32_t *axis = e->code == ABS_X || e->code == REL_X ? &m->x : &m->y;

    switch (e->type) {
    case INPUT_BUTTON:
        m->buttons =
            e->value ? m->buttons | hid_button(e->code) : m->buttons & ~hid_button(e->code);
        break;
    case INPUT_REL:
        if (e->code == REL_WHEEL) {
            m->wheel = hid_add(m->wheel, e->value);
        } else if (h->kind == HID_MOUSE && (e->code == REL_X || e->code == REL_Y)) {
            *axis = hid_add(*axis, e->value);
        }
        break;
    case INPUT_ABS:
        *axis = CLAMP(e->value, 0, INPUT_ABS_MAX);
        break;
    case INPUT_SYNC:
        if (h->s.unsynced) {
            hid_queue_motion(h);
        }
        return;
    }
    h->s.unsynced = true;
}

/* Keys are queued, so that one which is let go at once is seen. What has no room is lost. */
static void hid_key_event(Hid *h, const InputEvent *e)
{
    const UiKey *key = e->type == INPUT_KEY ? ui_key_of_code(e->code) : NULL;

    if (key && key->hid && h->s.queued < HID_QUEUE) {
        h->s.keys[h->s.queued++] = key->hid | (e->value ? 0 : HID_KEY_UP);
    }
}

static void hid_event(InputSink *sink, const InputEvent *e)
{
    Hid *h = container_of(sink, Hid, sink);

    if (h->kind == HID_KEYBOARD) {
        hid_key_event(h, e);
    } else {
        hid_pointer_event(h, e);
    }
    if (hid_has_news(h)) {
        usb_wakeup(&h->usb);
        usb_ready(&h->usb);
    }
}

/* Reports. */

static void hid_take_key(HidState *s)
{
    uint8_t usage = s->keys[0];
    bool down = !(s->keys[0] & HID_KEY_UP);

    memmove(s->keys, s->keys + 1, --s->queued * sizeof *s->keys);
    if (usage >= HID_LEFT_CONTROL && usage <= HID_RIGHT_GUI) {
        uint8_t bit = 1 << (usage - HID_LEFT_CONTROL);
        s->modifiers = down ? s->modifiers | bit : s->modifiers & ~bit;
        return;
    }
    for (uint32_t i = 0; i < s->down_count; i++) {
        if (s->down[i] == usage) {
            memmove(s->down + i, s->down + i + 1, --s->down_count - i);
            break;
        }
    }
    if (down && s->down_count < sizeof s->down) {
        s->down[s->down_count++] = usage;
    }
}

static uint32_t hid_keyboard_fill(Hid *h, uint8_t *report)
{
    HidState *s = &h->s;

    if (s->queued) {
        hid_take_key(s);
    }
    memset(report, 0, HID_REPORT_MAX);
    report[0] = s->modifiers;
    if (s->down_count > HID_KEYS) {
        memset(report + 2, HID_ERROR_ROLL_OVER, HID_KEYS);
    } else {
        memcpy(report + 2, s->down, s->down_count);
    }
    return HID_REPORT_MAX;
}

/* Movement that does not fit into a byte stays for the next report. */
static int8_t hid_take_delta(int32_t *value)
{
    int8_t part = CLAMP(*value, -127, 127);

    *value -= part;
    return part;
}

static uint32_t hid_pointer_fill(Hid *h, uint8_t *report)
{
    HidState *s = &h->s;
    HidMotion *m = s->queued ? &s->motions[0] : &s->pending, none = s->pending;
    uint32_t length;

    if (!s->queued) { /* asked for without news: where it is, and no movement */
        none.wheel = 0;
        none.x = h->kind == HID_TABLET ? none.x : 0;
        none.y = h->kind == HID_TABLET ? none.y : 0;
        m = &none;
    }
    report[0] = m->buttons;
    if (h->kind == HID_TABLET) {
        stle16(report + 1, m->x);
        stle16(report + 3, m->y);
        report[5] = hid_take_delta(&m->wheel);
        length = 6;
    } else {
        report[1] = hid_take_delta(&m->x);
        report[2] = hid_take_delta(&m->y);
        report[3] = hid_take_delta(&m->wheel);
        length = s->protocol ? 4 : 3; /* B.2: the boot protocol has no wheel */
    }
    if (s->queued && !m->wheel && (h->kind == HID_TABLET || (!m->x && !m->y))) {
        memmove(s->motions, s->motions + 1, --s->queued * sizeof *s->motions);
    }
    return length;
}

static uint32_t hid_fill(Hid *h, uint8_t *report)
{
    return h->kind == HID_KEYBOARD ? hid_keyboard_fill(h, report) : hid_pointer_fill(h, report);
}

static void hid_idle(Device *dev)
{
    usb_ready(container_of(dev, UsbDevice, dev));
}

static UsbStatus hid_data(UsbDevice *usb, UsbPacket *p)
{
    Hid *h = hid_of(usb);
    HidState *s = &h->s;
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS), due = s->sent_at + (int64_t)s->idle * HID_IDLE_NS;
    uint8_t report[HID_REPORT_MAX];
    uint32_t length;

    if (p->pid != USB_PID_IN || p->endpoint != HID_ENDPOINT) {
        return USB_STALL;
    }
    if (!h->polled) {
        h->polled = true;
        input_sink_activate(&h->sink);
    }
    if (!hid_has_news(h) && !(s->idle && now >= due)) {
        if (s->idle) {
            device_timer_arm(h->idle, due);
        }
        return USB_NAK;
    }
    if (p->length < 3) {
        return USB_BABBLE;
    }
    length = hid_fill(h, report);
    s->sent_at = now;
    p->actual = iov_from_buf(p->iov, p->niov, 0, report, length);
    return USB_OK;
}

/* Requests (7.1, 7.2). */

static UsbStatus hid_get_descriptor(Hid *h, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    const UsbClass *class = usb_class(&h->usb);

    switch (setup->value >> 8) {
    case HID_DT_REPORT:
        *length = hid_reports[h->kind].length;
        memcpy(data, hid_reports[h->kind].report, *length);
        return USB_OK;
    case HID_DT_HID:
        *length = 9;
        memcpy(data, class->config[h->usb.speed] + 18, *length);
        return USB_OK;
    default:
        return USB_STALL;
    }
}

static UsbStatus hid_class_request(Hid *h, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    HidState *s = &h->s;
    bool in = setup->type & USB_DIR_IN;

    switch (setup->request) {
    case HID_GET_REPORT:
        *length = in ? hid_fill(h, data) : 0;
        return in ? USB_OK : USB_STALL;
    case HID_GET_IDLE:
    case HID_GET_PROTOCOL:
        data[0] = setup->request == HID_GET_IDLE ? s->idle : s->protocol;
        *length = 1;
        return in ? USB_OK : USB_STALL;
    case HID_SET_REPORT:
        if (in || h->kind != HID_KEYBOARD || *length != 1) {
            return USB_STALL;
        }
        s->leds = data[0];
        return USB_OK;
    case HID_SET_IDLE:
        if (in) {
            return USB_STALL;
        }
        s->idle = setup->value >> 8;
        s->sent_at = clock_ns(CLOCK_VIRTUAL_NS);
        return USB_OK;
    case HID_SET_PROTOCOL:
        if (in || h->kind == HID_TABLET || setup->value > 1) {
            return USB_STALL;
        }
        s->protocol = setup->value;
        return USB_OK;
    default:
        return USB_STALL;
    }
}

static UsbStatus hid_control(UsbDevice *usb, const UsbSetup *setup, uint8_t *data, uint32_t *length)
{
    Hid *h = hid_of(usb);

    if ((setup->type & USB_RECIPIENT_MASK) != USB_RECIPIENT_INTERFACE || setup->index) {
        return USB_STALL;
    }
    if ((setup->type & USB_TYPE_MASK) == USB_TYPE_CLASS) {
        return hid_class_request(h, setup, data, length);
    }
    if (setup->type == (USB_DIR_IN | USB_RECIPIENT_INTERFACE) &&
        setup->request == USB_REQ_GET_DESCRIPTOR) {
        return hid_get_descriptor(h, setup, data, length);
    }
    return USB_STALL;
}

/* Life. */

static void hid_bus_reset(UsbDevice *usb)
{
    Hid *h = hid_of(usb);

    device_timer_cancel(h->idle);
    h->s = (HidState){.protocol = 1};
    h->polled = false;
}

static void hid_reset(Device *dev, ResetKind kind)
{
    UsbDevice *usb = container_of(dev, UsbDevice, dev);

    usb_device_reset(usb);
    hid_bus_reset(usb);
}

static bool hid_realize(Device *dev, GError **err)
{
    static const struct {
        const char *class, *name;
        unsigned takes;
    } kinds[] = {
        [HID_KEYBOARD] = {"usb-kbd", "QEMU USB Keyboard", INPUT_TAKES_KEYS},
        [HID_MOUSE] = {"usb-mouse", "QEMU HID Mouse", INPUT_TAKES_REL},
        [HID_TABLET] = {"usb-tablet", "QEMU HID Tablet", INPUT_TAKES_ABS},
    };
    Hid *h = container_of(dev, Hid, usb.dev);

    while (strcmp(kinds[h->kind].class, dev->class->name)) {
        h->kind++;
    }
    h->idle = device_timer_new(dev, CLOCK_VIRTUAL_NS, hid_idle);
    h->sink = (InputSink){
        .dev = dev, .name = kinds[h->kind].name, .takes = kinds[h->kind].takes, .event = hid_event};
    input_sink_add(&h->sink);
    return true;
}

static void hid_unrealize(Device *dev)
{
    input_sink_remove(&container_of(dev, Hid, usb.dev)->sink);
}

static bool hid_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const HidState *s = state;

    if (section == 0) {
        return usb_device_check_state(dev, section, state, err);
    }
    return (s->queued <= HID_QUEUE && s->sent_at >= 0 && s->sent_at <= INT64_MAX / 2) ||
           error_set(err,
                     "%s: %u events wait, and there is room for %u; the last report went out at "
                     "%" PRId64 " ns",
                     dev->path, s->queued, HID_QUEUE, s->sent_at);
}

static const StateSection hid_state[] = {
    USB_STATE(Hid, usb),
    {hid_state_desc, offsetof(Hid, s)},
    {0},
};

static const char *const keyboard_strings[] = {NULL, "QEMU",         "QEMU USB Keyboard",
                                               "42", "HID Keyboard", NULL};
static const char *const mouse_strings[] = {NULL, "QEMU",      "QEMU USB Mouse",
                                            "42", "HID Mouse", NULL};
static const char *const tablet_strings[] = {NULL, "QEMU",       "QEMU USB Tablet",
                                             "42", "HID Tablet", NULL};

#define HID_CLASS(id, class_name, text, table, full, high)                                         \
    static const UsbClass id##_usb = {                                                             \
        .device = hid_device_descriptor,                                                           \
        .config = {[USB_SPEED_FULL] = (full), [USB_SPEED_HIGH] = (high)},                          \
        .strings = (table),                                                                        \
        .serial_string = 3,                                                                        \
        .reset = hid_bus_reset,                                                                    \
        .control = hid_control,                                                                    \
        .data = hid_data,                                                                          \
    };                                                                                             \
    const DeviceClass id##_class = {                                                               \
        .name = (class_name),                                                                      \
        .bus = "usb-bus",                                                                          \
        .desc = (text),                                                                            \
        .category = DEVICE_CATEGORY_INPUT,                                                         \
        .size = sizeof(Hid),                                                                       \
        .bus_props = usb_device_props,                                                             \
        .bus_data = &id##_usb,                                                                     \
        .state = hid_state,                                                                        \
        .realize = hid_realize,                                                                    \
        .unrealize = hid_unrealize,                                                                \
        .reset = hid_reset,                                                                        \
        .check_state = hid_check_state,                                                            \
        .hotpluggable = true,                                                                      \
        .object_parent = "usb-hid",                                                                \
    }
HID_CLASS(usb_kbd, "usb-kbd", "QEMU USB Keyboard", keyboard_strings, hid_keyboard_full,
          hid_keyboard_high);
HID_CLASS(usb_mouse, "usb-mouse", "QEMU USB Mouse", mouse_strings, hid_mouse_full, hid_mouse_high);
HID_CLASS(usb_tablet, "usb-tablet", "QEMU USB Tablet", tablet_strings, hid_tablet_full,
          hid_tablet_high);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PS/2 mouse, which becomes an IntelliMouse (a wheel), and one with five buttons, for a driver
 * that sets three sample rates in an agreed order. Rate and resolution are remembered and change
 * nothing: how far and how often a pointer moves is up to who sends it.
 */
#include "ps2.h"

#include <linux/input-event-codes.h>

STATE_DESC_PUBLIC(ps2_mouse, Ps2Mouse, PS2_MOUSE_STATE, 1);

enum {
    CMD_SCALING_1 = 0xe6,
    CMD_SCALING_2 = 0xe7,
    CMD_RESOLUTION = 0xe8,
    CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea,
    CMD_READ_DATA = 0xeb,
    CMD_WRAP_END = 0xec,
    CMD_WRAP = 0xee,
    CMD_REMOTE = 0xf0,
    CMD_READ_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
    CMD_FIRST = CMD_SCALING_1, /* from here on a byte is a command even where an argument is due */

    ERROR = 0xfc, /* the second byte in a row that was not understood */
    RATE_DEFAULT = 100,
    RESOLUTION_DEFAULT = 2, /* 4 counts a millimetre */
    ID_WHEEL = 3,
    ID_BUTTONS = 4,
    PACKETS_MAX = 16, /* bytes that wait, before changes of buttons are merged */

    BUTTON_LEFT = 0x01,
    BUTTON_RIGHT = 0x02,
    BUTTON_MIDDLE = 0x04,
    BUTTON_SIDE = 0x08,
    BUTTON_EXTRA = 0x10,
};

void ps2_mouse_reset(Ps2Mouse *m)
{
    *m = (Ps2Mouse){
        .resolution = RESOLUTION_DEFAULT, .rates = {RATE_DEFAULT}, .buttons = m->buttons};
    m->told = m->buttons;
}

/* Packets. */

static void ps2_mouse_forget_movement(Ps2Mouse *m)
{
    m->dx = m->dy = m->dz = 0;
    m->told = m->buttons;
}

/* Movement at a scaling of 2:1. */
static int ps2_mouse_scale(int v)
{
    static const int8_t small[] = {0, 1, 1, 3, 6, 9};
    int n = ABS(v);

    n = n < (int)ARRAY_SIZE(small) ? small[n] : 2 * n;
    return v < 0 ? -n : n;
}

/* Moves as much of *sum as a packet can have into it. */
static int ps2_mouse_take(int32_t *sum, int min, int max)
{
    int v = CLAMP(*sum, min, max);

    *sum -= v;
    return v;
}

/* A packet of what has happened since the last one. Y grows upwards, the wheel towards the user. */
static void ps2_mouse_packet(Ps2Mouse *m, Ps2Queue *to, bool scaling)
{
    int max = scaling ? 127 : 255;
    int dx = ps2_mouse_take(&m->dx, -max, max), dy = -ps2_mouse_take(&m->dy, -max, max);
    int dz = -ps2_mouse_take(&m->dz, -7, 7);

    if (scaling) {
        dx = ps2_mouse_scale(dx);
        dy = ps2_mouse_scale(dy);
    }
    ps2_queue_put(to, (m->buttons & 7) | 0x08 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
    ps2_queue_put(to, dx);
    ps2_queue_put(to, dy);
    if (m->id == ID_WHEEL) {
        ps2_queue_put(to, dz);
    } else if (m->id == ID_BUTTONS) {
        ps2_queue_put(to, (dz & 0x0f) | (m->buttons & BUTTON_SIDE ? 0x10 : 0) |
                              (m->buttons & BUTTON_EXTRA ? 0x20 : 0));
    }
    m->told = m->buttons;
}

/* The buttons that packets tell of. */
static uint8_t ps2_mouse_visible(const Ps2Mouse *m, uint8_t buttons)
{
    return m->id == ID_BUTTONS ? buttons : buttons & 7;
}

/* Makes a packet if there is something to report, and the host has taken what was before. */
static void ps2_mouse_report(Ps2Mouse *m)
{
    bool clicked = ps2_mouse_visible(m, m->buttons) != ps2_mouse_visible(m, m->told);
    bool moved = m->dx || m->dy || m->dz;

    if (m->reporting && !m->remote && !m->wrap &&
        ((moved && !m->packets.len) || (clicked && m->packets.len + 4 <= PACKETS_MAX))) {
        ps2_mouse_packet(m, &m->packets, m->scaling);
    }
}

static void ps2_mouse_move(int32_t *sum, int by)
{
    *sum = CLAMP((int64_t)*sum + by, -0x8000, 0x8000);
}

static void ps2_mouse_button(Ps2Mouse *m, unsigned code, bool down)
{
    static const uint8_t bits[] = {
        [BTN_LEFT - BTN_MOUSE] = BUTTON_LEFT,     [BTN_RIGHT - BTN_MOUSE] = BUTTON_RIGHT,
        [BTN_MIDDLE - BTN_MOUSE] = BUTTON_MIDDLE, [BTN_SIDE - BTN_MOUSE] = BUTTON_SIDE,
        [BTN_EXTRA - BTN_MOUSE] = BUTTON_EXTRA,
    };

    if (code >= BTN_MOUSE && code - BTN_MOUSE < ARRAY_SIZE(bits)) {
        uint8_t bit = bits[code - BTN_MOUSE];

        m->buttons = down ? m->buttons | bit : m->buttons & ~bit;
    }
}

void ps2_mouse_event(Ps2Mouse *m, const InputEvent *e)
{
    switch (e->type) {
    case INPUT_BUTTON:
        ps2_mouse_button(m, e->code, e->value);
        break;
    case INPUT_REL:
        if (e->code == REL_X || e->code == REL_Y) {
            ps2_mouse_move(e->code == REL_X ? &m->dx : &m->dy, e->value);
        } else if (e->code == REL_WHEEL && m->id) {
            ps2_mouse_move(&m->dz, e->value);
        }
        break;
    case INPUT_SYNC:
        if (!m->reporting && !m->remote) {
            ps2_mouse_forget_movement(m);
        }
        ps2_mouse_report(m);
        break;
    }
}

bool ps2_mouse_read(Ps2Mouse *m, uint8_t *byte, bool answers_only)
{
    if (!ps2_queue_take(&m->answers, byte)) {
        if (!answers_only && !m->packets.len) {
            ps2_mouse_report(m);
        }
        if (answers_only || !ps2_queue_take(&m->packets, byte)) {
            return false;
        }
    }
    m->last = *byte;
    return true;
}

/* Commands. */

static void ps2_mouse_answer(Ps2Mouse *m, uint8_t byte)
{
    ps2_queue_put(&m->answers, byte);
}

static void ps2_mouse_refuse(Ps2Mouse *m, bool again)
{
    ps2_mouse_answer(m, again ? ERROR : PS2_RESEND);
    m->refused = true;
}

/* Drivers knock to learn whether there is a wheel, and five buttons. */
static void ps2_mouse_set_rate(Ps2Mouse *m, uint8_t rate)
{
    m->rates[2] = m->rates[1];
    m->rates[1] = m->rates[0];
    m->rates[0] = rate;
    if (m->rates[2] == 200 && m->rates[0] == 80) {
        m->id = m->rates[1] == 100 ? ID_WHEEL : m->rates[1] == 200 ? ID_BUTTONS : m->id;
    }
}

static bool ps2_mouse_argument(Ps2Mouse *m, uint8_t command, uint8_t v)
{
    static const uint8_t rates[] = {10, 20, 40, 60, 80, 100, 200};

    if (command == CMD_RESOLUTION && v <= 3) {
        m->resolution = v;
        return true;
    }
    if (command != CMD_RATE || !memchr(rates, v, sizeof rates)) {
        return false;
    }
    ps2_mouse_set_rate(m, v);
    return true;
}

static void ps2_mouse_status(Ps2Mouse *m)
{
    ps2_mouse_answer(m, (m->remote ? 0x40 : 0) | (m->reporting ? 0x20 : 0) |
                            (m->scaling ? 0x10 : 0) | (m->buttons & BUTTON_LEFT ? 0x04 : 0) |
                            (m->buttons & BUTTON_MIDDLE ? 0x02 : 0) |
                            (m->buttons & BUTTON_RIGHT ? 0x01 : 0));
    ps2_mouse_answer(m, m->resolution);
    ps2_mouse_answer(m, m->rates[0]);
}

static void ps2_mouse_defaults(Ps2Mouse *m)
{
    m->remote = m->wrap = m->reporting = m->scaling = false;
    m->resolution = RESOLUTION_DEFAULT;
    ps2_mouse_set_rate(m, RATE_DEFAULT);
}

/* Commands that change a mode, after which movement counts anew. */
static bool ps2_mouse_mode_command(Ps2Mouse *m, uint8_t command)
{
    switch (command) {
    case CMD_STREAM:
        m->remote = false;
        break;
    case CMD_REMOTE:
        m->remote = true;
        break;
    case CMD_WRAP:
    case CMD_WRAP_END:
        m->wrap = command == CMD_WRAP;
        break;
    case CMD_ENABLE:
    case CMD_DISABLE:
        m->reporting = command == CMD_ENABLE;
        break;
    case CMD_DEFAULTS:
        ps2_mouse_defaults(m);
        break;
    default:
        return false;
    }
    ps2_mouse_forget_movement(m);
    ps2_mouse_answer(m, PS2_ACK);
    return true;
}

static bool ps2_mouse_command(Ps2Mouse *m, uint8_t command)
{
    switch (command) {
    case CMD_SCALING_1:
    case CMD_SCALING_2:
        m->scaling = command == CMD_SCALING_2;
        ps2_mouse_answer(m, PS2_ACK);
        return true;
    case CMD_RESOLUTION:
    case CMD_RATE:
        m->command = command;
        ps2_mouse_answer(m, PS2_ACK);
        return true;
    case CMD_STATUS:
        ps2_mouse_answer(m, PS2_ACK);
        ps2_mouse_status(m);
        return true;
    case CMD_READ_DATA:
        ps2_mouse_answer(m, PS2_ACK);
        ps2_mouse_packet(m, &m->answers, false);
        return true;
    case CMD_READ_ID:
        ps2_mouse_answer(m, PS2_ACK);
        ps2_mouse_answer(m, m->id);
        return true;
    case CMD_RESET:
        ps2_mouse_reset(m);
        ps2_mouse_answer(m, PS2_ACK);
        ps2_mouse_answer(m, PS2_PASSED);
        ps2_mouse_answer(m, m->id);
        return true;
    default:
        return ps2_mouse_mode_command(m, command);
    }
}

void ps2_mouse_write(Ps2Mouse *m, uint8_t byte)
{
    uint8_t command = m->command;
    bool again = m->refused;

    if (m->wrap && byte != CMD_WRAP_END && byte != CMD_RESET) {
        ps2_mouse_answer(m, byte);
        return;
    }
    if (byte == CMD_RESEND) {
        ps2_mouse_answer(m, m->last);
        return;
    }
    m->command = 0;
    m->refused = false;
    if (command && byte < CMD_FIRST) {
        if (ps2_mouse_argument(m, command, byte)) {
            ps2_mouse_answer(m, PS2_ACK);
        } else {
            ps2_mouse_refuse(m, again);
        }
        return;
    }
    /*
     * A command ends what was being sent, so that the answer is not taken for a part of it. The
     * buttons are told of again.
     */
    if (m->packets.len) {
        ps2_queue_clear(&m->packets);
        m->told = ~m->buttons;
    }
    if (!ps2_mouse_command(m, byte)) {
        ps2_mouse_refuse(m, again);
    }
}

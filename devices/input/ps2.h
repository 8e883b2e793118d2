/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard and mouse as state machines: bytes and events in, bytes out. They know nothing of
 * the controller in whose ports they are, which calls them with its device's lock held. (IBM PS/2
 * Hardware Interface Technical Reference: Keyboards, and Keyboard and Auxiliary Device Controller;
 * for the wheel Microsoft's IntelliMouse.)
 */
#ifndef DEVICES_INPUT_PS2_H
#define DEVICES_INPUT_PS2_H

#include "base/util.h"
#include "ui/input.h"
#include "vm/state.h"

enum {
    PS2_ACK = 0xfa,
    PS2_RESEND = 0xfe, /* to the device: repeat the last byte; from it: not understood */
    PS2_PASSED = 0xaa, /* the self-test */
};

/* A queue of bytes. Indices are taken modulo the size, so that no value of them does harm. */
#define PS2_QUEUE_SIZE 32
#define PS2_QUEUE_STATE(X)                                                                         \
    X(A, uint8_t, data, PS2_QUEUE_SIZE)                                                            \
    X(F, uint8_t, head)                                                                            \
    X(F, uint8_t, len)
STATE_STRUCT(Ps2Queue, PS2_QUEUE_STATE);
const StateDesc *ps2_queue_state_desc(void);

void ps2_queue_put(Ps2Queue *q, uint8_t byte); /* dropped where the queue is full */
bool ps2_queue_take(Ps2Queue *q, uint8_t *byte);
void ps2_queue_clear(Ps2Queue *q);

/*
 * The keyboard. Answers to commands go before scan codes. 'fifo' has room for 16 bytes of these and
 * an overrun code; a key's code is in it whole or not at all.
 */
#define PS2_KBD_STATE(X)                                                                           \
    X(S, Ps2Queue, answers, ps2_queue)                                                             \
    X(S, Ps2Queue, fifo, ps2_queue)                                                                \
    X(F, bool, overrun)    /* the overrun code is the last in the fifo */                          \
    X(F, uint8_t, last)    /* the last byte sent, for RESEND */                                    \
    X(F, uint8_t, command) /* awaits arguments; 0: none does */                                    \
    X(F, uint8_t, set)     /* of scan codes: 1 to 3 */                                             \
    X(F, bool, scanning)                                                                           \
    X(F, uint8_t, leds)                                                                            \
    X(F, uint8_t, rate)         /* of typematic repeats, which are up to who sends keys */         \
    X(F, uint8_t, modifiers)    /* that are down */                                                \
    X(F, uint8_t, print_screen) /* by which of its codes that key is down */                       \
    X(A, uint8_t, no_break, 32) /* bitmaps by codes of set 3: keys without break code, */          \
    X(A, uint8_t, no_repeat, 32)                                                                   \
    X(A, uint8_t, down, 32) /* ... and those that are down */
STATE_STRUCT(Ps2Kbd, PS2_KBD_STATE);
const StateDesc *ps2_kbd_state_desc(void);

void ps2_kbd_reset(Ps2Kbd *k);
void ps2_kbd_write(Ps2Kbd *k, uint8_t byte);
/*
 * The next byte for the host, and whether it is part of a scan code; false: there is none. With
 * 'answers_only' scan codes stay where they are.
 */
bool ps2_kbd_read(Ps2Kbd *k, uint8_t *byte, bool *scan, bool answers_only);
void ps2_kbd_key(Ps2Kbd *k, unsigned code, bool down);
unsigned ps2_kbd_leds(const Ps2Kbd *k); /* 1 << LED_* */

/*
 * The mouse. Movements are gathered until the host has taken what was sent before; each change of
 * the buttons is a packet of its own, for as long as there is room.
 */
#define PS2_MOUSE_STATE(X)                                                                         \
    X(S, Ps2Queue, answers, ps2_queue)                                                             \
    X(S, Ps2Queue, packets, ps2_queue)                                                             \
    X(F, uint8_t, last)                                                                            \
    X(F, uint8_t, command)                                                                         \
    X(F, bool, remote)                                                                             \
    X(F, bool, wrap)                                                                               \
    X(F, bool, reporting)                                                                          \
    X(F, bool, scaling) /* 2:1 */                                                                  \
    X(F, uint8_t, resolution)                                                                      \
    X(A, uint8_t, rates, 3) /* the last first: their order makes an IntelliMouse of the mouse */   \
    X(F, uint8_t, id)       /* 0: three buttons; 3: and a wheel; 4: and five buttons */            \
    X(F, bool, refused)     /* the last byte was not understood */                                 \
    X(F, uint8_t, buttons)                                                                         \
    X(F, uint8_t, told) /* the buttons of the last packet */                                       \
    X(F, int32_t, dx)                                                                              \
    X(F, int32_t, dy)                                                                              \
    X(F, int32_t, dz)
STATE_STRUCT(Ps2Mouse, PS2_MOUSE_STATE);
const StateDesc *ps2_mouse_state_desc(void);

void ps2_mouse_reset(Ps2Mouse *m);
void ps2_mouse_write(Ps2Mouse *m, uint8_t byte);
bool ps2_mouse_read(Ps2Mouse *m, uint8_t *byte, bool answers_only);
void ps2_mouse_event(Ps2Mouse *m, const InputEvent *e);

#endif

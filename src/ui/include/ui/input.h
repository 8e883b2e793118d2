/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Input: from whoever has a keyboard or a pointer (VNC, curses, the monitor) to the devices that
 * take it. A device embeds an InputSink. Of the sinks that take a kind of event the one at the
 * front of the list gets it: the last that was activated, or else the first that was added.
 *
 * Main loop, all of it; other threads come by event_loop_call(). An event is delivered from a fresh
 * callback on the main loop under the sink's device's lock, never on the sender's stack. Events are
 * dropped while the machine stands still; in S3 they are delivered, and devices wake the guest.
 */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include <jansson.h>
#include "vm/vm.h"

typedef enum {
    INPUT_KEY,    /* code: KEY_*; value: 1 down, 0 up */
    INPUT_BUTTON, /* code: BTN_LEFT, ...; value: 1 down, 0 up. Wheels: INPUT_REL */
    INPUT_REL,    /* code: REL_X, REL_Y, REL_WHEEL (up is positive), REL_HWHEEL; value: distance */
    INPUT_ABS,    /* code: ABS_X, ABS_Y; value: 0 to INPUT_ABS_MAX over the screen */
    INPUT_SYNC,   /* the events before it are one report; a mouse sends its packet now */
} InputType;
#define INPUT_ABS_MAX 0x7fff

typedef struct {
    uint8_t type; /* InputType */
    uint16_t code;
    int32_t value;
} InputEvent;

/* What a sink takes. */
enum { INPUT_TAKES_KEYS = 1, INPUT_TAKES_REL = 2, INPUT_TAKES_ABS = 4 };

typedef struct InputSink InputSink;
struct InputSink {
    Device *dev;      /* its lock is held in event() */
    const char *name; /* "QEMU PS/2 Mouse": as 'info mice' has it */
    unsigned takes;
    void (*event)(InputSink *sink, const InputEvent *e);
    /* Private to input.c. */
    unsigned index; /* of 'info mice', mouse_set */
    GArray *events; /* of InputEvent, not delivered yet */
    bool unsynced;  /* an event has been sent since the last INPUT_SYNC */
    int activated;  /* atomic */
};

/* For a device's realize and unrealize. The fields above are filled in. */
void input_sink_add(InputSink *sink);
void input_sink_remove(InputSink *sink);
/* The guest has begun to use this one (a tablet that it polls): to the front. Any thread. */
void input_sink_activate(InputSink *sink);

/*
 * For senders. Keys repeat by further downs. What belongs to one report of a pointer ends by
 * input_sync(), which goes to every sink that got a part of it.
 */
void input_send(Vm *vm, InputType type, unsigned code, int value);
void input_sync(Vm *vm);
/* Whether a device takes such events. */
bool input_is_taken(Vm *vm, InputType type, unsigned code);
/* Whether the pointer is told by position (a tablet) or by movement. */
bool input_pointer_is_absolute(Vm *vm);
/* Called whenever that changes, for the life of the vm. */
void input_pointer_changed(Vm *vm, VmNotifyFn fn, void *data);

/*
 * 'sendkey': presses the keys one after the other, and lets them go in reverse order, each of these
 * after 'hold_ns' of guest time. Returns at once. Keys that come before the last ones are up wait
 * for that; false: too many wait.
 */
#define INPUT_HOLD_NS (10 * 1000 * 1000) /* as QEMU's where no time is given */
bool input_send_keys(Vm *vm, const uint16_t *codes, unsigned n, int64_t hold_ns);

/*
 * The keyboard's lights that the guest has switched on, by bits 1 << LED_*. Any thread. Listeners
 * are called whenever they change, for the life of the vm.
 */
void input_set_leds(Vm *vm, unsigned leds);
unsigned input_leds(Vm *vm);
void input_leds_changed(Vm *vm, VmNotifyFn fn, void *data);

/* 'info mice', query-mice: the current one last, as QEMU has it. mouse_set. */
json_t *input_query_mice(Vm *vm);
bool input_mouse_set(Vm *vm, int64_t index, GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Vm has of src/ui: made when the first screen or input device comes. Main loop. */
#ifndef UI_UI_INTERNAL_H
#define UI_UI_INTERNAL_H

#include "ui/input.h"
#include "ui/screen.h"

struct Ui {
    Vm *vm;
    GPtrArray *screens;                     /* of Screen, by index */
    GPtrArray *sinks;                       /* of InputSink, the front first */
    GArray *pointer_changed, *leds_changed; /* of Listener */
    unsigned leds;                          /* atomic */
    unsigned told_leds;
    unsigned sink_index; /* of the last sink that was added */
    bool pointer_is_absolute;
    BottomHalf input; /* delivers */
    /* input_send_keys(): what is still to be pressed and let go, of KeyStep. */
    GArray *key_steps;
    Timer *key_timer;
    GPtrArray *vnc_servers;
};
struct Ui *ui_of(Vm *vm);

/* input.c */
void input_init(struct Ui *ui);
void input_free(struct Ui *ui);

#endif

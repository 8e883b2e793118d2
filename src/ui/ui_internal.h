/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Vm has of src/ui: made when the first screen or input device comes. Main loop. */
#ifndef UI_UI_INTERNAL_H
#define UI_UI_INTERNAL_H

#include "ui/input.h"
#include "ui/screen.h"

struct Ui {
    Vm *vm;
    GPtrArray *screens; /* of Screen, by index */
    GPtrArray *sinks;   /* of InputSink, the front first */
    GArray *pointer_changed;
};
struct Ui *ui_of(Vm *vm);

#endif

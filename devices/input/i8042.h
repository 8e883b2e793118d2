/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the keyboard controller and what is plugged into its two ports. All with the
 * controller's lock held.
 */
#ifndef DEVICES_INPUT_I8042_H
#define DEVICES_INPUT_I8042_H

#include "vm/device.h"

typedef struct I8042 I8042;
typedef enum { PS2_KBD, PS2_AUX, PS2_PORTS } Ps2Port;

/* A PS/2 device, as the controller sees it. */
typedef struct {
    void (*write)(void *ps2, uint8_t byte); /* the host speaks: a command or its argument */
    /* The next byte that the device wants to send; false: none. Asked when there is room. */
    bool (*read)(void *ps2, uint8_t *byte);
} Ps2Ops;

/* ops NULL: nothing is plugged in, and the controller reports a timeout to whoever speaks to it. */
void i8042_plug(I8042 *kbc, Ps2Port port, const Ps2Ops *ops, void *ps2);
/* The device has something to send. */
void i8042_poll(I8042 *kbc);

#endif

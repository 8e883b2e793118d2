/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the keyboard controller and the PS/2 devices in its two ports. All calls
 * are made with the controller's device lock held.
 */
#ifndef DEVICES_INPUT_I8042_H
#define DEVICES_INPUT_I8042_H

#include "vm/device.h"

typedef struct I8042 I8042;
typedef enum { PS2_KBD, PS2_AUX, PS2_PORTS } Ps2Port;

/* A PS/2 device, as the controller sees it. */
typedef struct {
    void (*write)(void *ps2, uint8_t byte); /* a command or argument from the guest */
    /* Gives the next byte that the device has to send; false: none. Called when there is room. */
    bool (*read)(void *ps2, uint8_t *byte);
} Ps2Ops;

/* ops NULL: the port is empty, and bytes written to it are answered by a timeout. */
void i8042_plug(I8042 *kbc, Ps2Port port, const Ps2Ops *ops, void *ps2);
/* For a device that has a byte to send: the controller calls its read when there is room. */
void i8042_poll(I8042 *kbc);

#endif

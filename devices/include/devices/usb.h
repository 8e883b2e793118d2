/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB, for the monitor. */
#ifndef DEVICES_USB_H
#define DEVICES_USB_H

#include "vm/vm.h"

/* Text of 'info usb'; caller frees. NULL and *err: there is no USB. Main loop. */
char *usb_info_text(Vm *vm, GError **err);
/* device_del of the device that 'info usb' shows as 'place'. Main loop. */
bool usb_del(Vm *vm, const char *place, GError **err);
/*
 * tablet, mouse, keyboard, disk:FILE: of -usbdevice and usb_add. Gives what -device has, and
 * what the -drive that comes before it has, or NULL. The caller frees both.
 */
bool usb_short_name(const char *name, json_t **device, json_t **drive, GError **err);

#endif

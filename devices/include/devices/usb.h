/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB, for the monitor. */
#ifndef DEVICES_USB_H
#define DEVICES_USB_H

#include "vm/vm.h"

/* Text of 'info usb'; caller frees. Main loop. */
char *usb_info_text(Vm *vm);

#endif

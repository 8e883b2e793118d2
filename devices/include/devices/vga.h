/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What boards do to a VGA. Main thread. */
#ifndef DEVICES_VGA_H
#define DEVICES_VGA_H

#include "vm/vm.h"

/* The machine's VGA, or NULL. */
Device *vga_find(Vm *vm);
/*
 * Sets text mode, 80 by 25 characters, with the VGA BIOS's font, as firmware does: for kernels that
 * are booted without firmware.
 */
void vga_init_as_firmware(Device *dev);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot of a kernel, without firmware. A BootPlan says where the image's pieces go and which
 * registers the kernel starts with. It is made once, from the image's headers. At every reset the
 * pieces are read from the files into guest memory. Main thread.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "../pc.h"
#include "image.h"
#include "x86/x86.h"

/* Makes the plan for -kernel, -initrd and -append. */
BootPlan *boot_plan_new(Vm *vm, PcMachine *pc, GError **err);
/* After a reset: sets the board up as firmware does, loads the kernel, sets the boot CPU's state.
 */
void boot_apply(Vm *vm, PcMachine *pc);
/* At the end of S3: sets the chipset up, and lets the boot CPU start at the waking vector. */
void boot_wake(Vm *vm, PcMachine *pc);

#endif

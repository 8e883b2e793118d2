/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot of a kernel, without firmware: what kind of image it is, where its pieces go and with
 * what registers it starts. A plan is made once, from the image's headers alone; the pieces are
 * read straight into guest memory, at every reset anew. Main thread.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "../pc.h"
#include "image.h"
#include "x86/x86.h"

/* Detects the image (-kernel), reads its headers, places it with -initrd and -append. */
BootPlan *boot_plan_new(Vm *vm, PcMachine *pc, GError **err);
/* The power-on of a machine that firmware has just left, with the kernel in memory. */
void boot_apply(Vm *vm, PcMachine *pc);
/* The end of S3: the chipset as firmware restores it, the boot CPU at the waking vector. */
void boot_wake(Vm *vm, PcMachine *pc);

#endif

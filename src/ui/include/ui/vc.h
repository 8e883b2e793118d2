/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text consoles on screens of this program: the character device 'vc'. Main loop. */
#ifndef UI_VC_H
#define UI_VC_H

#include "vm/vm.h"

/* From now on a 'vc' that is made is a screen of this machine's. */
void vc_install(Vm *vm);

#endif

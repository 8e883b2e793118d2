/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The explorer's devices of the old PC, other than the CD drive, and what monitors do with them. */
#ifndef TESTS_SCHEDULE_PC_H
#define TESTS_SCHEDULE_PC_H

#include "world.h"

/* Main loop, at the beginning: the drives of IDE disks, and the disks. */
void ide_create_drives(void);
void ide_create_disks(void);

/* Commands of monitors. */
bool ide_present(void);
void coroutine_fn ide_run_drive_del(Rand *rand);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The explorer's CD drive, discs, and who changes them. */
#ifndef TESTS_SCHEDULE_CD_H
#define TESTS_SCHEDULE_CD_H

#include "world.h"

extern const BlockDriver cd_disc_driver;
/* Main loop, at the beginning: the discs' nodes; the IDE controller and its drive. */
void cd_create_discs(void);
void cd_create_drive(Bus *pci);
/* Commands of monitors. */
void coroutine_fn cd_run_change(Rand *rand);
void coroutine_fn cd_run_eject(Rand *rand);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The explorer's devices of the old PC, other than the CD drive, and what monitors do with them. */
#ifndef TESTS_SCHEDULE_PC_H
#define TESTS_SCHEDULE_PC_H

#include "world.h"

/* Main loop, at the beginning: the drives of IDE disks, and the disks. */
void ide_create_drives(void);
void ide_create_disks(void);

/* A USB controller, a hub, a stick. */
void usb_create_node(void);
void usb_create(Bus *pci);

/* What is on the ISA bus: among it a floppy drive. */
void floppy_create_node(void);
void isa_create(Bus *isa);

/* Commands of monitors. */
bool ide_present(void);
void coroutine_fn ide_run_drive_del(Rand *rand);
bool usb_present(void);
void coroutine_fn usb_run_stick_add(Rand *rand);
void coroutine_fn usb_run_stick_add_fails(Rand *rand);
void coroutine_fn usb_run_stick_del(Rand *rand);
bool usb_has_hub(void);
void coroutine_fn usb_run_hub_add(Rand *rand);
void coroutine_fn usb_run_hub_del(Rand *rand);
void coroutine_fn hid_run_add(Rand *rand);
void coroutine_fn hid_run_del(Rand *rand);
void coroutine_fn input_run_sendkey(Rand *rand);
void coroutine_fn input_run_events(Rand *rand);
void coroutine_fn input_run_mouse_set(Rand *rand);
bool floppy_present(void);
void coroutine_fn floppy_run_eject(Rand *rand);
void coroutine_fn floppy_run_insert(Rand *rand);

#endif

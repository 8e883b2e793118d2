/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of app_launch(): launch.c and its launch_*.c. Main thread. */
#ifndef VMM_LAUNCH_H
#define VMM_LAUNCH_H

#include "app.h"
#include "chardev/chardev.h"

typedef bool (*LaunchItemFn)(Vm *vm, json_t *item, GError **err);
/* An option's argument for errors, nearly as it was typed. Caller frees. */
char *launch_option_text(const char *key, json_t *item);
/* Calls fn for each item of a list in the tree; errors are prefixed with the option. */
bool launch_each(Vm *vm, json_t *config, const char *key, LaunchItemFn fn, GError **err);

/* Tells the user where a new pty is. */
void launch_announce(const Chardev *chr);
/* Opens what -serial names, for the board. */
bool launch_add_serials(json_t *config, MachineConfig *mc, GError **err);
bool launch_add_debugcon(Vm *vm, json_t *config, GError **err);
/* -mon, -monitor, -qmp, and those that "mon:" puts beside a serial port. */
bool launch_add_monitors(Vm *vm, json_t *config, GError **err);

#endif

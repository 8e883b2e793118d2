/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the program itself share: from the configuration tree to a running machine. */
#ifndef VMM_APP_H
#define VMM_APP_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "machine/machine.h"
#include "vm/vm.h"

/* The tables that the lower layers are given. */
void app_set_classes(void);

/* -help, -version, -device help ...: prints and gives true where the tree asks for text only. */
bool app_answer_help(json_t *config, int *status);
void app_print_version(void);

/* What the command line leaves open: serial ports, monitor, network, by -nographic and -nodefaults.
 */
bool app_add_defaults(json_t *config, GError **err);

/* Typed parts of the tree. */
bool app_read_smp(json_t *config, unsigned max_cpus, SmpConfig *smp, GError **err);
bool app_read_machine(Vm *vm, json_t *config, const MachineClass *class, MachineConfig *mc,
                      GError **err);
void app_free_machine(MachineConfig *mc);
bool app_read_actions(Vm *vm, json_t *config, GError **err);

/* Builds the machine that the tree describes, up to 'ready, paused'. */
bool app_launch(Vm *vm, json_t *config, GError **err);
void app_unlaunch(Vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the program's own files, which lead from argv to a running machine. Main thread. */
#ifndef VMM_APP_H
#define VMM_APP_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "cli/params.h"
#include "machine/machine.h"
#include "vm/vm.h"

/* Gives the lower layers the tables of device and object classes. */
void app_set_classes(void);

/* Prints what -help, -version, '-device help' and their like ask for; false: none was given. */
bool app_answer_help(json_t *config, int *status);
void app_print_version(void);

/* Adds default serial port and monitor, by -nographic and -nodefaults. */
bool app_add_defaults(json_t *config, GError **err);

/* -display, -vnc, -k: reads them, and makes -vnc of -display vnc=. */
bool app_read_display(json_t *config, GError **err);
/* Starts the VNC servers, once the machine has its screens. */
bool app_start_display(Vm *vm, json_t *config, GError **err);
/* -display curses, after all others that may want the terminal. */
bool app_start_curses(Vm *vm, json_t *config, GError **err);
char *app_display_help(void); /* caller frees */

/* These read options from the tree. app_free_machine() frees what app_read_machine() made. */
bool app_read_smp(json_t *config, unsigned max_cpus, SmpConfig *smp, GError **err);
bool app_read_machine(Vm *vm, json_t *config, const MachineClass *class, MachineConfig *mc,
                      GError **err);
void app_free_machine(MachineConfig *mc);
/* -action: all of it, and what of it is the machine's. */
bool app_read_action_options(json_t *config, ActionOptions *o, GError **err);
bool app_read_actions(Vm *vm, json_t *config, GError **err);

/*
 * What ends a run from outside (ending.c). Signals are blocked, and read from the descriptor, from
 * ending_open_signals() on, which is called before there are threads. NULL and *err: a bad option.
 */
typedef struct Ending Ending;
int ending_open_signals(void);
Ending *ending_new(Vm *vm, int signal_fd, json_t *config, GError **err);
void ending_loop_runs(void); /* the machine is there, and event_loop_run() is next */
void ending_free(Ending *e); /* NULL is ignored */

/*
 * -expect (expect.c): expects_new() before there are devices, expects_start() when all are there,
 * expects_stop() before they go, expects_free() when the Vm is freed (for both NULL is ignored).
 * NULL, false and *err: a bad option.
 */
typedef struct Expects Expects;
Expects *expects_new(Vm *vm, json_t *config, GError **err);
bool expects_start(Expects *all, GError **err);
void expects_stop(Expects *all);
void expects_free(Expects *all);
/* The text on the guest's first screen, or NULL; caller frees. */
char *app_screen_text(Vm *vm);
/* To stderr: the tail of the guest's consoles, or its screen. The machine is still there. */
void app_print_last_words(Vm *vm);

/* Builds the machine that the tree describes, and starts it unless -S is given. */
bool app_launch(Vm *vm, json_t *config, GError **err);
/* Frees the Vm and all backends. */
void app_unlaunch(Vm *vm);

#endif

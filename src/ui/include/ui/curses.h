/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's text screen in the terminal on stdin and stdout (-display curses), by ncurses, which
 * is loaded when asked for. Main loop.
 */
#ifndef UI_CURSES_H
#define UI_CURSES_H

#include "vm/vm.h"

/* False and *err: no terminal, one that something else uses, no ncurses, or no screen to show. */
bool curses_start(Vm *vm, GError **err);
/* Gives the terminal back as it was found. */
void curses_cleanup(void);

#endif

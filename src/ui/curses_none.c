/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of curses.c, in a build without ncurses. */
#include "base/error.h"
#include "ui/curses.h"

bool curses_start(Vm *vm, GError **err)
{
    return error_set(err, "-display curses: this program was built without ncurses: build it with "
                          "libncurses-dev and libxkbcommon-dev");
}

void curses_cleanup(void)
{
}

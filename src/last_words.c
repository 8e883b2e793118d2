/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest has said last, for whoever has to find out why a run has ended badly. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "base/log.h"
#include "chardev/console.h"

#define LINES 25

static void print_text(const char *where, const char *text, void *data)
{
    bool *any = data;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    *any = true;
    fprintf(stderr, "%s: the last that the guest wrote to %s:\n", log_program_name(), where);
    for (char **line = lines; *line; line++) {
        fprintf(stderr, "    %s\n", g_strchomp(*line));
    }
}

void app_print_last_words(Vm *vm)
{
    bool any = false;
    g_autofree char *screen = NULL;

    char_consoles_tail(LINES, print_text, &any);
    /* Without a serial line, the screen is where a guest complains. */
    screen = any ? NULL : app_screen_text(vm);
    if (screen) {
        g_strchomp(screen);
    }
    if (screen && *screen) {
        print_text("its screen", screen, &any);
    }
}

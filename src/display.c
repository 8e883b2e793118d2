/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -display, -vnc and -k: who shows the guest's screen. */
#include <string.h>

#include "app.h"
#include "base/error.h"
#include "base/json.h"
#include "base/keyval.h"
#include "base/log.h"
#include "ui/curses.h"
#include "ui/keymap.h"
#include "ui/vnc.h"

typedef struct {
    const char *name, *help;
    const char *refused; /* NULL: it is here */
} DisplayKind;

#define DISPLAY_WINDOW                                                                             \
    "this program has no windows: use -vnc :0, and a viewer: 'vncviewer localhost:0' (Debian's "   \
    "tigervnc-viewer)"
static const DisplayKind display_kinds[] = {
    {"none", "no display", NULL},
    {"vnc", "a VNC server: vnc=HOST:DISPLAY, as -vnc", NULL},
    {"curses", "text screens in this terminal", NULL},
    {"gtk", NULL, DISPLAY_WINDOW},
    {"sdl", NULL, DISPLAY_WINDOW},
    {"cocoa", NULL, DISPLAY_WINDOW},
    {"egl-headless", NULL, "there is no OpenGL in this program: use -vnc :0"},
    {"spice-app", NULL, "there is no SPICE in this program: use -vnc :0"},
    {"dbus", NULL, "there is no D-Bus display in this program: use -vnc :0"},
};

static const DisplayKind *display_kind(const char *display)
{
    size_t n = strcspn(display, ",=");

    for (unsigned i = 0; i < G_N_ELEMENTS(display_kinds); i++) {
        if (strlen(display_kinds[i].name) == n && !strncmp(display_kinds[i].name, display, n)) {
            return &display_kinds[i];
        }
    }
    return NULL;
}

char *app_display_help(void)
{
    GString *out = g_string_new("Available display backend types:\n");

    for (unsigned i = 0; i < G_N_ELEMENTS(display_kinds); i++) {
        if (!display_kinds[i].refused) {
            g_string_append_printf(out, "%s\n", display_kinds[i].name);
        }
    }
    return g_string_free(out, FALSE);
}

/* "vnc=:1,password=on" as -vnc has it. */
static json_t *display_vnc_options(const char *display, GError **err)
{
    json_t *options;

    if (display[3] != '=') {
        error_set(err, "-display vnc: say where: -display vnc=:0 is port 5900 of all addresses, "
                       "-display vnc=127.0.0.1:0 of this machine only");
        return NULL;
    }
    options = keyval_parse(display + 4, "vnc", NULL, false, err);
    return options;
}

static bool display_is_known(const char *display, GError **err)
{
    const DisplayKind *kind = display_kind(display);

    if (!kind) {
        return error_set(err,
                         "-display %s: there is no such display: none, curses and "
                         "vnc=HOST:DISPLAY are",
                         display);
    }
    if (kind->refused) {
        return error_set(err, "-display %s: %s", display, kind->refused);
    }
    if (strcmp(kind->name, "vnc") && display[strlen(kind->name)]) {
        return error_set(err, "-display %s takes no options: '%s'", kind->name,
                         display + strlen(kind->name));
    }
    return true;
}

bool app_read_display(json_t *config, GError **err)
{
    const char *display = json_str(config, "display"), *keymap = json_str(config, "k");
    json_t *options, *list = json_object_get(config, "vnc");

    if (keymap && !ui_keymap_set(keymap, err)) {
        return false;
    }
    if (json_object_get(config, "curses")) {
        json_object_set_new(config, "display", json_string("curses"));
        display = "curses";
    }
    if (!display) {
        return true;
    }
    if (!display_is_known(display, err)) {
        return false;
    }
    if (strncmp(display, "vnc", 3)) {
        return true;
    }
    options = display_vnc_options(display, err);
    if (!options) {
        return false;
    }
    if (!list) {
        list = json_array();
        json_object_set_new(config, "vnc", list);
    }
    json_array_append_new(list, options);
    return true;
}

bool app_start_curses(Vm *vm, json_t *config, GError **err)
{
    return g_strcmp0(json_str(config, "display"), "curses") || curses_start(vm, err);
}

bool app_start_display(Vm *vm, json_t *config, GError **err)
{
    json_t *options;
    size_t i;

    json_array_foreach(json_object_get(config, "vnc"), i, options)
    {
        if (!vnc_server_start(vm, options, err)) {
            return false;
        }
    }
    if (json_object_get(config, "vnc_default")) {
        char *said;

        if (!vnc_server_start_default(vm, &said, err)) {
            return false;
        }
        fprintf(stderr, "%s\n", said);
        g_free(said);
    }
    return true;
}

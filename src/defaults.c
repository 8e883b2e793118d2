/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Default serial port, monitor and display. As in QEMU, -nodefaults adds no port and no monitor. A
 * machine that is told nothing about its display has a VNC server of this host alone, with its
 * monitor and serial port on further screens.
 */
#include <string.h>

#include "app.h"
#include "base/error.h"
#include "base/keyval.h"
#include "devices/usb.h"

static void defaults_append_tree(json_t *config, const char *key, json_t *tree)
{
    if (!json_object_get(config, key)) {
        json_object_set_new(config, key, json_array());
    }
    json_array_append_new(json_object_get(config, key), tree);
}

static void defaults_append(json_t *config, const char *key, const char *text)
{
    defaults_append_tree(config, key, json_string(text));
}

/* A serial port by -device replaces the default one. */
static bool has_isa_serial(json_t *config)
{
    json_t *device;
    size_t i;

    json_array_foreach(json_object_get(config, "device"), i, device)
    {
        if (!g_strcmp0(json_str(device, "driver"), "isa-serial")) {
            return true;
        }
    }
    return false;
}

/* A serial port or debug console by "mon:..." has a monitor on its mux. */
static bool has_mux(json_t *config)
{
    const char *debugcon = json_str(config, "debugcon");
    json_t *serial;
    size_t i;

    json_array_foreach(json_object_get(config, "serial"), i, serial)
    {
        if (g_str_has_prefix(json_string_value(serial), "mon:")) {
            return true;
        }
    }
    return debugcon && g_str_has_prefix(debugcon, "mon:");
}

/*
 * -usbdevice NAME: -machine usb=on, and the device, which comes before those of -device; its drive
 * goes to the list "usb_drive".
 */
static bool defaults_usbdevices(json_t *config, GError **err)
{
    json_t *machine = json_object_get(config, "machine"), *name, *device, *drive;
    size_t i;

    json_array_foreach(json_object_get(config, "usbdevice"), i, name)
    {
        if (!usb_short_name(json_string_value(name), &device, &drive, err)) {
            g_prefix_error(err, "-usbdevice: ");
            return false;
        }
        if (!machine) {
            machine = json_object();
            json_object_set_new(config, "machine", machine);
        }
        json_object_set_new(machine, "usb", json_string("on"));
        if (drive) {
            defaults_append_tree(config, "usb_drive",
                                 json_pack("{s:O,s:o}", "usbdevice", name, "drive", drive));
        }
        defaults_append_tree(config, "onboard", device);
    }
    return true;
}

/* Whether somebody will look at the screens of this program. */
static bool defaults_have_screens(json_t *config)
{
    json_t *vnc = json_object_get(config, "vnc"), *options;
    size_t i;

    json_array_foreach(vnc, i, options)
    {
        if (g_strcmp0(json_str(options, "vnc"), "none")) {
            return true;
        }
    }
    if (!g_strcmp0(json_str(config, "display"), "curses")) {
        return true;
    }
    /* Under qtest no guest draws anything. */
    return !vnc && !json_object_get(config, "display") && !json_object_get(config, "nographic") &&
           !json_object_get(config, "qtest");
}

bool app_add_defaults(json_t *config, GError **err)
{
    bool nodefaults = json_object_get(config, "nodefaults"),
         nographic = json_object_get(config, "nographic");
    bool serial = json_object_get(config, "serial") || has_isa_serial(config);
    bool monitor = json_object_get(config, "monitor") || has_mux(config);
    bool qmp = json_object_get(config, "qmp") || json_object_get(config, "mon") ||
               json_object_get(config, "qmp-pretty");
    bool screens;

    if (!defaults_usbdevices(config, err) || !app_read_display(config, err)) {
        return false;
    }
    if (json_object_get(config, "daemonize") && nographic && !nodefaults && (!serial || !monitor)) {
        return error_set(err, "-nographic cannot be used with -daemonize");
    }
    screens = defaults_have_screens(config);
    if (screens && !json_object_get(config, "vnc") && !json_object_get(config, "display")) {
        json_object_set_new(config, "vnc_default", json_true());
    }
    if (nodefaults) {
        return true;
    }
    if (nographic && !serial) {
        defaults_append(config, "serial", monitor || qmp ? "stdio" : "mon:stdio");
    } else if (nographic && !monitor && !qmp) {
        defaults_append(config, "monitor", "stdio");
    } else if (screens && !monitor && !qmp) {
        defaults_append(config, "monitor", "vc");
    }
    if (!nographic && !serial) {
        defaults_append(config, "serial", screens ? "vc" : "null");
    }
    return true;
}

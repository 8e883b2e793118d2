/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial ports, the debug console, and the monitors on them and beside them. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "cli/options.h"
#include "cli/params.h"
#include "launch.h"
#include "monitor/monitor.h"

void launch_announce(const Chardev *chr)
{
    g_autofree char *text = chardev_announcement(chr);

    if (text) {
        fputs(text, stdout);
        fflush(stdout);
    }
}

static Chardev *launch_open_short(const char *label, const char *text, GError **err)
{
    Chardev *chr = chardev_from_short(label, text, err);

    if (chr && g_str_equal(chr->label, label)) { /* not "chardev:ID", which names another one */
        launch_announce(chr);
    }
    return chr;
}

static Chardev *launch_open_numbered(const char *prefix, unsigned n, const char *text, GError **err)
{
    g_autofree char *label = g_strdup_printf("%s%u", prefix, n);

    return launch_open_short(label, text, err);
}

bool launch_add_serials(json_t *config, MachineConfig *mc, GError **err)
{
    json_t *list = json_object_get(config, "serial"), *item;
    size_t i;

    if (json_array_size(list) > G_N_ELEMENTS(mc->serials)) {
        return error_set(err, "-serial: there are %u serial ports at most",
                         (unsigned)G_N_ELEMENTS(mc->serials));
    }
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);

        if (strcmp(text, "none") &&
            !(mc->serials[i] = launch_open_numbered("serial", i, text, err))) {
            g_prefix_error(err, "-serial %s: ", text);
            return false;
        }
        mc->serial_count = i + 1;
    }
    return true;
}

bool launch_add_debugcon(Vm *vm, json_t *config, GError **err)
{
    const char *text = json_str(config, "debugcon");
    json_t *device;
    bool ok;

    if (!text) {
        return true;
    }
    if (!launch_open_short("debugcon", text, err)) {
        g_prefix_error(err, "-debugcon %s: ", text);
        return false;
    }
    device = json_pack("{s:s,s:s}", "driver", "isa-debugcon", "chardev", "debugcon");
    ok = device_add(vm, device, false, err);
    json_decref(device);
    return ok;
}

static bool launch_short_monitors(json_t *config, const char *key, MonitorMode mode, GError **err)
{
    json_t *list = json_object_get(config, key), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        Chardev *chr;

        if (!strcmp(text, "none")) {
            continue;
        }
        chr = launch_open_numbered(mode == MONITOR_HMP   ? "compat_monitor"
                                   : mode == MONITOR_QMP ? "qmp"
                                                         : "qmp-pretty",
                                   i, text, err);
        if (!chr || !monitor_add(chr, mode, err)) {
            g_prefix_error(err, "-%s %s: ", key, text);
            return false;
        }
    }
    return true;
}

static bool launch_add_mon(Vm *vm, json_t *item, GError **err)
{
    MonOptions o = {0};
    Chardev *chr;
    bool ok;

    properties_init(mon_params, &o);
    ok = properties_apply(mon_params, &o, item, NULL, "monitor", err);
    if (ok && !(chr = chardev_find(o.chardev))) {
        ok = error_set(err, "chardev '%s' not found", o.chardev);
    }
    if (ok && o.pretty && !o.mode) {
        ok = error_set(err, "'pretty' is not compatible with HMP monitors");
    }
    ok = ok && monitor_add(chr,
                           !o.mode    ? MONITOR_HMP
                           : o.pretty ? MONITOR_QMP_PRETTY
                                      : MONITOR_QMP,
                           err);
    properties_clear(mon_params, &o);
    return ok;
}

/* "mon:stdio" adds a monitor to the mux of the serial port or debug console. */
static bool launch_mux_monitor(const char *text, const char *label, GError **err)
{
    return !text || !g_str_has_prefix(text, "mon:") ||
           monitor_add(chardev_find(label), MONITOR_HMP, err);
}

static bool launch_mux_monitors(json_t *config, GError **err)
{
    json_t *list = json_object_get(config, "serial"), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        g_autofree char *label = g_strdup_printf("serial%zu", i);

        if (!launch_mux_monitor(json_string_value(item), label, err)) {
            return false;
        }
    }
    return launch_mux_monitor(json_str(config, "debugcon"), "debugcon", err);
}

bool launch_add_monitors(Vm *vm, json_t *config, GError **err)
{
    static const MonitorHost host = {.query_command_line_options = cli_query_options};

    monitor_init(vm, &host);
    return launch_each(vm, config, "mon", launch_add_mon, err) &&
           launch_short_monitors(config, "monitor", MONITOR_HMP, err) &&
           launch_short_monitors(config, "qmp", MONITOR_QMP, err) &&
           launch_short_monitors(config, "qmp-pretty", MONITOR_QMP_PRETTY, err) &&
           launch_mux_monitors(config, err);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that only print: -help, -version, '-device help' and their like. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/object.h"
#include "base/qemu_names.h"
#include "base/trace.h"
#include "base/version.h"
#include "block/node.h"
#include "chardev/chardev.h"
#include "cli/options.h"
#include "monitor/kinds.h"
#include "net/net.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

void app_print_version(void)
{
    if (log_program_is_qemu()) {
        printf("QEMU emulator version " QEMU_VERSION " (vmm " VMM_VERSION ")\n");
    } else {
        printf("vmm version " VMM_VERSION " (speaks QEMU " QEMU_VERSION "'s command line)\n");
    }
}

static void help_put(char *text)
{
    fputs(text, stdout);
    g_free(text);
}

/* Whether "help" was given as a word without '=', which the parser makes a key. */
static bool help_asks_help(json_t *object)
{
    return json_object_get(object, "help") || json_object_get(object, "?");
}

/* Prints the reason if 'name' is a kind that QEMU has and this program has not. */
static bool help_refused(QemuNameKind kind, const char *key, const char *name)
{
    g_autoptr(GError) err = NULL;

    if (qemu_name_refused(kind, name, &err)) {
        log_error("-%s: %s (-%s help lists what is)", key, err->message, key);
    }
    return err != NULL;
}

static int device_help(const char *driver)
{
    const DeviceClass *class;

    if (keyval_is_help(driver)) {
        help_put(device_help_list());
        return 0;
    }
    class = device_class_find(driver);
    if (!class) {
        if (driver && help_refused(QEMU_DEVICE, "device", driver)) {
            return 1;
        }
        log_error("'%s' is not a valid device model name (-device help lists them)",
                  driver ? driver : "");
        return 1;
    }
    help_put(device_help_class(class));
    return 0;
}

static bool accel_at(unsigned i, Kind *kind)
{
    const Accel *c = accels()[i];

    if (c) {
        *kind = (Kind){c->name, c->help, c->props};
    }
    return c != NULL;
}

static bool format_at(unsigned i, Kind *kind)
{
    const BlockDriver *c = block_drivers()[i];

    if (c) {
        *kind = (Kind){c->name, c->help, c->props};
    }
    return c != NULL;
}

/*
 * The i-th network backend, or of 'more' after those. Without 'all', backends that -net does not
 * take are skipped.
 */
static bool net_backend_at(unsigned i, Kind *kind, bool all, const Kind *const *more, unsigned n)
{
    for (const NetBackendClass *const *c = net_backend_classes(); *c; c++) {
        if (!(all ? (*c)->is_net_only : (*c)->is_hubport) && i-- == 0) {
            *kind = (Kind){(*c)->name, (*c)->help, (*c)->props};
            return true;
        }
    }
    if (i < n) {
        *kind = *more[i];
    }
    return i < n;
}

static const Kind no_network = {"none", "no network card, and no default one either", NULL};

static bool nic_at(unsigned i, Kind *kind)
{
    static const Kind *const more[] = {&no_network};

    return net_backend_at(i, kind, true, more, G_N_ELEMENTS(more));
}

static bool net_at(unsigned i, Kind *kind)
{
    static const Kind nic = {"nic", "a network card, on the hub as the backends are", NULL};
    static const Kind *const more[] = {&nic, &no_network};

    return net_backend_at(i, kind, false, more, G_N_ELEMENTS(more));
}

static bool audio_at(unsigned i, Kind *kind)
{
    *kind = (Kind){"none", "sound goes nowhere", NULL};
    return i == 0;
}

static const Kinds audio_kinds = {"Available audio drivers:\n", "", "\n", "driver", audio_at};
static const Kinds accel_kinds = {"Accelerators supported in QEMU binary:\n", "", "\n", "accel",
                                  accel_at};
static const Kinds format_kinds = {"Supported formats:", " ", "", "driver", format_at};
static const Kinds nic_kinds = {"Available netdev backend types:\n", "", "\n", "type", nic_at};
static const Kinds net_kinds = {"Available netdev backend types:\n", "", "\n", "type", net_at};

static int unknown_kind(const char *key, const Kinds *kinds, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;
    Kind kind;

    for (unsigned i = 0; kinds->at(i, &kind); i++) {
        g_ptr_array_add(names, (gpointer)kind.name);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    log_error("-%s: there is no '%s'%s%s%s (-%s help lists what there is)", key, name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", key);
    return 1;
}

/* Options whose first word is one of several kinds. */
static const struct {
    const char *key, *implied;
    const Kinds *kinds; /* NULL: devices */
    QemuNameKind qemu;
} lists[] = {
    {"device", "driver", NULL, QEMU_DEVICE},
    {"netdev", "type", &netdev_kinds, QEMU_NETDEV},
    {"nic", "type", &nic_kinds, QEMU_NETDEV},
    {"net", "type", &net_kinds, QEMU_NETDEV},
    {"chardev", "backend", &chardev_kinds, QEMU_CHARDEV},
    {"object", "qom-type", &object_kinds, QEMU_OBJECT},
    {"blockdev", "driver", &format_kinds, QEMU_BLOCK},
    {"accel", "accel", &accel_kinds, QEMU_ACCEL},
    {"drive", "format", &format_kinds, QEMU_BLOCK},
    {"audiodev", "driver", &audio_kinds, QEMU_AUDIODEV},
};

static int kind_help(unsigned which, const char *name)
{
    const char *key = lists[which].key;
    const Kinds *kinds = lists[which].kinds;
    Kind kind;

    if (keyval_is_help(name)) {
        help_put(kinds_text(kinds));
        return 0;
    }
    if (!kinds_find(kinds, name, &kind)) {
        return help_refused(lists[which].qemu, key, name) ? 1 : unknown_kind(key, kinds, name);
    }
    help_put(kind_text(&kind));
    return 0;
}

static bool list_asks(json_t *config, unsigned which, int *status)
{
    json_t *list = json_object_get(config, lists[which].key), *object;
    size_t i;

    json_array_foreach(list, i, object)
    {
        const char *name = json_str(object, lists[which].implied);

        /* "-device help" and "-device help,..." reach the tree as a bare key. */
        name = !name && help_asks_help(object) ? "help" : name;
        if (!keyval_is_help(name) && !(name && help_asks_help(object))) {
            continue;
        }
        *status = lists[which].kinds ? kind_help(which, name) : device_help(name);
        return true;
    }
    return false;
}

static bool machine_asks(json_t *config)
{
    json_t *machine = json_object_get(config, "machine");
    const char *type = json_str(machine, "type");
    const MachineClass *class;
    g_autoptr(GString) out = g_string_new(NULL);

    if (keyval_is_help(type) || (!type && help_asks_help(machine))) {
        help_put(machine_help_list());
        return true;
    }
    if (!type || !help_asks_help(machine) || !(class = machine_find(type))) {
        return false;
    }
    g_string_printf(out, "%s options:\n", class->name);
    properties_help(class->props, out);
    fputs(out->str, stdout);
    return true;
}

/* Whether an option's object, or one of its list of objects, has the word "help". */
static bool option_has_help(json_t *given)
{
    json_t *item;
    size_t i;

    json_array_foreach(given, i, item)
    {
        if (help_asks_help(item)) {
            return true;
        }
    }
    return help_asks_help(given);
}

/* "-smp help" and its like, for options with OptionDef.params. */
static bool option_asks(json_t *config)
{
    for (const OptionDef *o = cli_options(); o->name; o++) {
        const char *key = o->key ? o->key : o->name;
        g_autoptr(GString) out = g_string_new(NULL);

        if (o->params && option_has_help(json_object_get(config, key))) {
            g_string_printf(out, "-%s options:\n", o->name);
            properties_help(o->params, out);
            fputs(out->str, stdout);
            return true;
        }
    }
    return false;
}

/* "-nic model=help", "-net nic,model=help" */
static bool nic_asks(json_t *config)
{
    static const char *const keys[] = {"nic", "net"};
    json_t *item;
    size_t i;

    for (unsigned k = 0; k < G_N_ELEMENTS(keys); k++) {
        json_array_foreach(json_object_get(config, keys[k]), i, item)
        {
            if (!keyval_is_help(json_str(item, "model"))) {
                continue;
            }
            printf("Supported NIC models:\n");
            for (const DeviceClass *const *c = device_classes(); *c; c++) {
                if ((*c)->category == DEVICE_CATEGORY_NETWORK && !(*c)->internal && (*c)->bus) {
                    printf("%s\n", (*c)->name);
                }
            }
            return true;
        }
    }
    return false;
}

static bool display_asks(json_t *config)
{
    if (keyval_is_help(json_str(config, "display"))) {
        help_put(app_display_help());
        return true;
    }
    if (keyval_is_help(json_str(config, "vga"))) {
        printf("%-20s no graphic card\n", "none");
        printf("%-20s standard VGA\n", "std");
        return true;
    }
    return false;
}

static void log_help(void)
{
    printf("Log items (comma separated):\n");
    for (const char *const *n = log_item_names(); *n; n += 2) {
        printf("%-15s %s\n", n[0], n[1]);
    }
    printf("%-15s %s\n", LOG_TRACE_PREFIX "PATTERN", "enable trace events");
    printf("\nUse \"-d trace:help\" to get a list of trace events.\n\n");
}

static bool trace_asks(json_t *config)
{
    const char *items = json_str(config, "log-items");
    g_auto(GStrv) words = g_strsplit(items ? items : "", ",", -1);
    bool asks = g_strv_contains((const char *const *)words, LOG_TRACE_PREFIX "help") ||
                g_strv_contains((const char *const *)words, LOG_TRACE_PREFIX "?");
    json_t *trace;
    size_t i;

    json_array_foreach(json_object_get(config, "trace"), i, trace)
    {
        asks |= json_object_get(trace, "help") || keyval_is_help(json_str(trace, "enable"));
    }
    if (asks) {
        help_put(trace_help_text());
    }
    return asks;
}

bool app_answer_help(json_t *config, int *status)
{
    *status = 0;
    if (json_object_get(config, "help")) {
        app_print_version();
        help_put(cli_help_text(log_program_name()));
        return true;
    }
    if (json_object_get(config, "version")) {
        app_print_version();
        return true;
    }
    if (trace_asks(config) || machine_asks(config) || nic_asks(config) || display_asks(config)) {
        return true;
    }
    if (keyval_is_help(json_str(config, "cpu"))) {
        help_put(x86_cpu_help());
        return true;
    }
    if (keyval_is_help(json_str(config, "log-items"))) {
        log_help();
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        if (list_asks(config, i, status)) {
            return true;
        }
    }
    return option_asks(config);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is asked for text only: -help, -version, -device help and their like. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/object.h"
#include "base/version.h"
#include "block/node.h"
#include "chardev/chardev.h"
#include "cli/options.h"
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

static void put(char *text)
{
    fputs(text, stdout);
    g_free(text);
}

static bool is_help(const char *word)
{
    return word && (!strcmp(word, "help") || !strcmp(word, "?"));
}

/* "NAME,help": the bare word has become a key. */
static bool asks_help(json_t *object)
{
    return json_object_get(object, "help") || json_object_get(object, "?");
}

static int device_help(const char *driver)
{
    const DeviceClass *class;

    if (is_help(driver)) {
        put(device_help_list());
        return 0;
    }
    class = device_class_find(driver);
    if (!class) {
        log_error("'%s' is not a valid device model name (-device help lists them)",
                  driver ? driver : "");
        return 1;
    }
    put(device_help_class(class));
    return 0;
}

/* Kinds that are tables of (name, help, props). */
typedef struct {
    const char *name, *help;
    const Property *props;
} Kind;

/* How QEMU prints a list: its heading, and what is before and behind each name. */
typedef struct {
    const char *heading, *before, *behind;
} ListStyle;

static int list_kinds(const ListStyle *style, const Kind *kinds, unsigned n)
{
    fputs(style->heading, stdout);
    for (unsigned i = 0; i < n; i++) {
        printf("%s%s%s", style->before, kinds[i].name, style->behind);
    }
    if (!strchr(style->behind, '\n')) {
        putchar('\n');
    }
    return 0;
}

static int one_kind(const Kind *kind)
{
    g_autoptr(GString) out = g_string_new(NULL);

    g_string_printf(out, "%s options:\n", kind->name);
    if (kind->props) {
        properties_help(kind->props, out);
    }
    if (kind->help) {
        g_string_append_printf(out, "\n%s: %s\n", kind->name, kind->help);
    }
    fputs(out->str, stdout);
    return 0;
}

static int unknown_kind(const char *key, const Kind *kinds, unsigned n, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    for (unsigned i = 0; i < n; i++) {
        g_ptr_array_add(names, (gpointer)kinds[i].name);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    log_error("-%s: there is no '%s'%s%s%s (-%s help lists what there is)", key, name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", key);
    return 1;
}

#define KINDS_MAX 128
#define COLLECT(kinds, n, list, CLASS_PROPS)                                                       \
    for (unsigned i_ = 0; (list)[i_] && (n) < KINDS_MAX - 1; i_++) {                               \
        (kinds)[(n)++] = (Kind){(list)[i_]->name, (list)[i_]->help, CLASS_PROPS};                  \
    }

/* What an option's first word may be; how QEMU lists it. Gives the number of kinds. */
static unsigned collect_kinds(const char *key, Kind kinds[KINDS_MAX], ListStyle *style)
{
    unsigned n = 0;

    if (!strcmp(key, "netdev") || !strcmp(key, "nic") || !strcmp(key, "net")) {
        *style = (ListStyle){"Available netdev backend types:\n", "", "\n"};
        COLLECT(kinds, n, net_backend_classes(), net_backend_classes()[i_]->props);
    } else if (!strcmp(key, "chardev")) {
        *style = (ListStyle){"Available chardev backend types: \n", "  ", "\n"};
        COLLECT(kinds, n, chardev_classes(), chardev_classes()[i_]->props);
    } else if (!strcmp(key, "object")) {
        *style = (ListStyle){"List of user creatable objects:\n", "  ", "\n"};
        COLLECT(kinds, n, object_classes(), object_classes()[i_]->props);
    } else if (!strcmp(key, "accel")) {
        *style = (ListStyle){"Accelerators supported in QEMU binary:\n", "", "\n"};
        COLLECT(kinds, n, accels(), accels()[i_]->props);
    } else {
        *style = (ListStyle){"Supported formats:", " ", ""};
        COLLECT(kinds, n, block_drivers(), block_drivers()[i_]->props);
    }
    if (!strcmp(key, "net")) {
        kinds[n++] = (Kind){"nic", "a network card, on the hub as the backends are", NULL};
    }
    return n;
}

static int kind_help(const char *key, const char *name)
{
    Kind kinds[KINDS_MAX];
    ListStyle style;
    unsigned n = collect_kinds(key, kinds, &style);

    if (is_help(name)) {
        return list_kinds(&style, kinds, n);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(kinds[i].name, name)) {
            return one_kind(&kinds[i]);
        }
    }
    return unknown_kind(key, kinds, n, name);
}

static bool list_asks(json_t *config, const char *key, const char *implied, int *status)
{
    json_t *list = json_object_get(config, key), *object;
    size_t i;

    json_array_foreach(list, i, object)
    {
        const char *name = json_str(object, implied);

        /* "-device help" and "-device help,..." reach the tree as a bare key. */
        name = !name && asks_help(object) ? "help" : name;
        if (!is_help(name) && !(name && asks_help(object))) {
            continue;
        }
        *status = !strcmp(key, "device") ? device_help(name) : kind_help(key, name);
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

    if (is_help(type) || (!type && asks_help(machine))) {
        put(machine_help_list());
        return true;
    }
    if (!type || !asks_help(machine) || !(class = machine_find(type))) {
        return false;
    }
    g_string_printf(out, "%s options:\n", class->name);
    properties_help(class->props, out);
    fputs(out->str, stdout);
    return true;
}

/* In an option's object, or in one of its list. */
static bool option_has_help(json_t *given)
{
    json_t *item;
    size_t i;

    json_array_foreach(given, i, item)
    {
        if (asks_help(item)) {
            return true;
        }
    }
    return asks_help(given);
}

/* "-smp help" and their like: options whose arguments the table knows. */
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
            if (!is_help(json_str(item, "model"))) {
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
    if (is_help(json_str(config, "display"))) {
        printf("Available display backend types:\nnone\n");
        return true;
    }
    if (is_help(json_str(config, "vga"))) {
        printf("%-20s no graphic card\n", "none");
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
}

bool app_answer_help(json_t *config, int *status)
{
    static const struct {
        const char *key, *implied;
    } lists[] = {
        {"device", "driver"},   {"netdev", "type"},     {"nic", "type"},
        {"net", "type"},        {"chardev", "backend"}, {"object", "qom-type"},
        {"blockdev", "driver"}, {"accel", "accel"},     {"drive", "format"},
    };

    *status = 0;
    if (json_object_get(config, "help")) {
        app_print_version();
        put(cli_help_text(log_program_name()));
        return true;
    }
    if (json_object_get(config, "version")) {
        app_print_version();
        return true;
    }
    if (machine_asks(config) || option_asks(config) || nic_asks(config) || display_asks(config)) {
        return true;
    }
    if (is_help(json_str(config, "cpu"))) {
        put(x86_cpu_help());
        return true;
    }
    if (is_help(json_str(config, "log-items"))) {
        log_help();
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        if (list_asks(config, lists[i].key, lists[i].implied, status)) {
            return true;
        }
    }
    return false;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Texts about devices: -device help, -device NAME,help, info qtree. */
#include "device_internal.h"

static const char *const category_titles[] = {
    [DEVICE_CATEGORY_BRIDGE] = "Controller/Bridge/Hub",
    [DEVICE_CATEGORY_USB] = "USB",
    [DEVICE_CATEGORY_STORAGE] = "Storage",
    [DEVICE_CATEGORY_NETWORK] = "Network",
    [DEVICE_CATEGORY_INPUT] = "Input",
    [DEVICE_CATEGORY_DISPLAY] = "Display",
    [DEVICE_CATEGORY_SOUND] = "Sound",
    [DEVICE_CATEGORY_MISC] = "Misc",
    [DEVICE_CATEGORY_CPU] = "CPU",
    [DEVICE_CATEGORY_WATCHDOG] = "Watchdog",
};

static gint device_help_by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const DeviceClass *const *)a)->name, (*(const DeviceClass *const *)b)->name);
}

char *device_help_list(void)
{
    GString *out = g_string_new(NULL);
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();

    for (const DeviceClass *const *c = device_classes(); *c; c++) {
        if (!(*c)->internal) {
            g_ptr_array_add(sorted, (gpointer)*c);
        }
    }
    g_ptr_array_sort(sorted, device_help_by_name);
    for (unsigned cat = 0; cat < G_N_ELEMENTS(category_titles); cat++) {
        bool first = true;

        for (unsigned i = 0; i < sorted->len; i++) {
            const DeviceClass *c = sorted->pdata[i];

            if (c->category != cat) {
                continue;
            }
            if (first) {
                g_string_append_printf(out, "%s%s devices:\n", out->len ? "\n" : "",
                                       category_titles[cat]);
                first = false;
            }
            g_string_append_printf(out, "name \"%s\"", c->name);
            if (strcmp(c->bus, "System")) {
                g_string_append_printf(out, ", bus %s", c->bus);
            }
            if (c->alias) {
                g_string_append_printf(out, ", alias \"%s\"", c->alias);
            }
            if (c->desc) {
                g_string_append_printf(out, ", desc \"%s\"", c->desc);
            }
            g_string_append_c(out, '\n');
        }
    }
    return g_string_free(out, FALSE);
}

char *device_help_class(const DeviceClass *class)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "%s options:\n", class->name);
    for (const DeviceClass *c = class; c; c = c->child) {
        if (c->props) {
            properties_help(c->props, out);
        }
        if (c->bus_props) {
            properties_help(c->bus_props, out);
        }
    }
    return g_string_free(out, FALSE);
}

static void print_properties(Device *dev, const Property *table, GString *out, int indent)
{
    for (const Property *p = table; p && p->name; p++) {
        g_autofree char *value = NULL;

        if (p->flags & PROP_FLAG_HIDDEN) {
            continue;
        }
        value = property_print(p, dev);
        g_string_append_printf(out, "%*s%s = %s\n", indent, "", p->name, value);
    }
}

static void print_bus(Bus *bus, GString *out, int indent);

static void print_device(Device *dev, GString *out, int indent)
{
    g_string_append_printf(out, "%*sdev: %s, id \"%s\"\n", indent, "", dev->class->name,
                           dev->id ? dev->id : "");
    indent += 2;
    print_properties(dev, dev->class->props, out, indent);
    print_properties(dev, dev->class->bus_props, out, indent);
    if (dev->bus && dev->bus->class->print) {
        device_lock(dev);
        dev->bus->class->print(dev->bus, dev, out, indent);
        device_unlock(dev);
    }
    for (unsigned i = 0; i < dev->buses->len; i++) {
        print_bus(dev->buses->pdata[i], out, indent);
    }
}

static void print_bus(Bus *bus, GString *out, int indent)
{
    g_string_append_printf(out, "%*sbus: %s\n%*stype %s\n", indent, "", bus->name, indent + 2, "",
                           bus->class->type);
    for (unsigned i = bus->children->len; i--;) {
        print_device(bus->children->pdata[i], out, indent + 2);
    }
}

char *device_tree_text(Vm *vm)
{
    GString *out = g_string_new("bus: main-system-bus\n  type System\n");
    GPtrArray *devices = vm->devices->devices;

    for (unsigned i = devices->len; i--;) {
        Device *dev = devices->pdata[i];

        if (!dev->bus && !dev->parent) {
            print_device(dev, out, 2);
        }
    }
    return g_string_free(out, FALSE);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fw_cfg files 'bootorder' and 'bios-geometry', which name devices by their Open Firmware paths
 * (SeaBIOS, docs/Runtime_config.md).
 */
#include <string.h>
#include "base/error.h"
#include "devices/pci.h"
#include "devices/storage.h"
#include "pc.h"

typedef struct {
    int64_t index;
    char *path;
    const char *name;
} BootEntry;

typedef struct {
    Vm *vm;
    GArray *entries;
    GError *err;
} Collect;

static void entry_clear(void *data)
{
    g_free(((BootEntry *)data)->path);
}

/* The last part of a disk's or NIC's path, below its controller. */
static const char *leaf_of(const Device *dev)
{
    const DeviceClass *class = dev->child ? dev->child->class : dev->class;

    switch (class->category) {
    case DEVICE_CATEGORY_STORAGE: /* on a bus of its own its place there is the disk's */
        return dev->bus && !strcmp(dev->bus->class->type, "PCI") ? "/disk@0,0" : "";
    case DEVICE_CATEGORY_NETWORK:
        return "/ethernet-phy@0";
    default:
        return "";
    }
}

static char *path_of(Device *dev)
{
    GString *path = g_string_new(leaf_of(dev));

    for (Device *d = dev; d && d->bus; d = d->bus->parent) {
        g_autofree char *part = d->bus->class->fw_path ? d->bus->class->fw_path(d->bus, d) : NULL;

        if (part) {
            g_string_prepend(path, part);
            g_string_prepend_c(path, '/');
        }
    }
    return g_string_free(path, FALSE);
}

static void bootorder_add(Collect *c, const Device *dev, int64_t index, char *path)
{
    BootEntry e = {index, path, dev->id ? dev->id : dev->class->name};

    for (unsigned i = 0; i < c->entries->len; i++) {
        if (g_array_index(c->entries, BootEntry, i).index == e.index) {
            error_set(&c->err,
                      "The bootindex %" G_GINT64_FORMAT
                      " has already been used (by '%s', now by '%s')",
                      e.index, g_array_index(c->entries, BootEntry, i).name, e.name);
        }
    }
    g_array_append_val(c->entries, e);
}

static void bootorder_collect(Device *dev, void *data)
{
    Collect *c = data;
    json_t *value;
    int32_t floppy;

    if (!dev->realized || dev->parent || c->err) {
        return; /* a proxy's child has its parent's place */
    }
    value = device_get_property(dev, "bootindex", NULL);
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        bootorder_add(c, dev, json_integer_value(value), path_of(dev));
    }
    json_decref(value);
    for (unsigned i = 0; floppy_bootindex(dev, i, &floppy) && !c->err; i++) {
        if (floppy >= 0) {
            g_autofree char *controller = path_of(dev);

            bootorder_add(c, dev, floppy, g_strdup_printf("%s/floppy@%x", controller, i));
        }
    }
}

static int by_index(const void *a, const void *b)
{
    int64_t x = ((const BootEntry *)a)->index, y = ((const BootEntry *)b)->index;

    return x < y ? -1 : x > y;
}

static void bootorder_find_network(Device *dev, void *data)
{
    bool *found = data;
    const DeviceClass *class = dev->child ? dev->child->class : dev->class;

    *found |= class->category == DEVICE_CATEGORY_NETWORK && pci_has_rom(dev);
}

bool boot_network_possible(Vm *vm)
{
    bool found = false;

    device_foreach(vm, bootorder_find_network, &found);
    return found;
}

char *boot_order_text(Vm *vm, bool strict, GError **err)
{
    Collect c = {.vm = vm, .entries = g_array_new(FALSE, FALSE, sizeof(BootEntry))};
    GString *text = g_string_new(NULL);

    g_array_set_clear_func(c.entries, entry_clear);
    device_foreach(vm, bootorder_collect, &c);
    g_array_sort(c.entries, by_index);
    for (unsigned i = 0; i < c.entries->len; i++) {
        g_string_append_printf(text, "%s%s", i ? "\n" : "",
                               g_array_index(c.entries, BootEntry, i).path);
    }
    if (strict) {
        g_string_append_printf(text, "%sHALT", text->len ? "\n" : "");
    }
    g_array_unref(c.entries);
    if (c.err) {
        g_propagate_error(err, c.err);
        g_string_free(text, TRUE);
        return NULL;
    }
    return g_string_free(text, FALSE);
}

static uint32_t number_of(Device *dev, const char *property)
{
    json_t *value = device_get_property(dev, property, NULL);
    uint32_t n = json_integer_value(value);

    json_decref(value);
    return n;
}

static void collect_geometry(Device *dev, void *data)
{
    GString *text = data;
    uint32_t cyls, heads, secs;
    g_autofree char *path = NULL;

    if (!dev->realized || dev->parent) {
        return; /* a proxy's child has its parent's place */
    }
    cyls = number_of(dev, "lcyls");
    heads = number_of(dev, "lheads");
    secs = number_of(dev, "lsecs");
    if (cyls || heads || secs) {
        path = path_of(dev);
        g_string_append_printf(text, "%s%s %u %u %u", text->len ? "\n" : "", path, cyls, heads,
                               secs);
    }
}

char *boot_geometry_text(Vm *vm)
{
    GString *text = g_string_new(NULL);

    device_foreach(vm, collect_geometry, text);
    return g_string_free(text, FALSE);
}

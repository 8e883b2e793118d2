/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buses: creation, names, and finding the one for a device. */
#include "base/error.h"
#include "device_internal.h"

void bus_init(Bus *bus, const BusClass *class, Vm *vm, Device *parent, const char *name)
{
    struct DeviceTree *tree = vm->devices;

    bus->class = class;
    bus->vm = vm;
    bus->parent = parent;
    bus->children = g_ptr_array_new();
    if (name) {
        bus->name = g_strdup(name);
    } else if (parent && parent->id) {
        /* QEMU names the buses of a device with an id after it: "scsi0.0". */
        bus->name = g_strdup_printf("%s.%u", parent->id, parent->buses->len);
    } else {
        unsigned n = 0;
        g_autofree char *type = g_ascii_strdown(class->type, -1);

        for (unsigned i = 0; i < tree->buses->len; i++) {
            n += ((Bus *)tree->buses->pdata[i])->class == class;
        }
        bus->name = g_strdup_printf("%s.%u", type, n);
    }
    g_ptr_array_add(tree->buses, bus);
    if (parent) {
        g_ptr_array_add(parent->buses, bus);
    }
}

void bus_destroy(Bus *bus)
{
    g_assert(!bus->children->len);
    g_ptr_array_remove(bus->vm->devices->buses, bus);
    if (bus->parent) {
        g_ptr_array_remove(bus->parent->buses, bus);
    }
    g_ptr_array_unref(bus->children);
    g_clear_pointer(&bus->name, g_free);
}

void bus_add_child(Bus *bus, Device *dev)
{
    g_assert(!dev->bus && !dev->realized);
    dev->bus = bus;
}

static bool has_room(const Bus *bus)
{
    return !bus->class->max_children || bus->children->len < bus->class->max_children;
}

/* How the user gets a bus of this type, where no board has one of itself. */
static const char *bus_advice(const char *type)
{
    return !strcmp(type, "usb-bus")             ? ": -usb adds one, or -device qemu-xhci"
           : !strcmp(type, "virtio-serial-bus") ? ": -device virtio-serial-pci adds one"
                                                : "";
}

static Bus *find_by_type(struct DeviceTree *tree, const char *type, GError **err)
{
    bool full = false;

    for (unsigned i = 0; i < tree->buses->len; i++) {
        Bus *bus = tree->buses->pdata[i];

        if (strcmp(bus->class->type, type)) {
            continue;
        }
        if (has_room(bus)) {
            return bus;
        }
        full = true;
    }
    if (full) {
        error_set(err, "no '%s' bus with a free place: every one is full", type);
    } else {
        error_set(err, "No '%s' bus found for this device%s", type, bus_advice(type));
    }
    return NULL;
}

Bus *bus_find(Vm *vm, const char *name, const char *type, GError **err)
{
    struct DeviceTree *tree = vm->devices;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *last = name ? strrchr(name, '/') : NULL;

    if (!name) {
        return find_by_type(tree, type, err);
    }
    name = last ? last + 1 : name;
    for (unsigned i = 0; i < tree->buses->len; i++) {
        Bus *bus = tree->buses->pdata[i];

        g_ptr_array_add(names, bus->name);
        if (strcmp(bus->name, name)) {
            continue;
        }
        if (type && strcmp(bus->class->type, type)) {
            error_set(err, "bus '%s' is of type %s; this device needs a %s bus", name,
                      bus->class->type, type);
            return NULL;
        }
        if (!has_room(bus)) {
            error_set(err, "Bus '%s' is full", name);
            return NULL;
        }
        return bus;
    }
    g_ptr_array_add(names, NULL);
    error_set(err, "Bus '%s' not found", name);
    if (err && *err && nearest_name(name, (const char *const *)names->pdata)) {
        g_autofree char *text =
            g_strdup_printf("%s; did you mean '%s'?", (*err)->message,
                            nearest_name(name, (const char *const *)names->pdata));

        g_free((*err)->message);
        (*err)->message = g_steal_pointer(&text);
    }
    return NULL;
}

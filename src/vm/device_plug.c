/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device, device_add and device_del. */
#include "base/coroutine.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "device_internal.h"

static bool unknown_class(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    if (qemu_name_refused(QEMU_DEVICE, name, err)) {
        return false;
    }
    for (const DeviceClass *const *c = device_classes(); *c; c++) {
        if (!(*c)->internal) {
            g_ptr_array_add(names, (gpointer)(*c)->name);
            if ((*c)->alias) {
                g_ptr_array_add(names, (gpointer)(*c)->alias);
            }
        }
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    return error_set(err, "'%s' is not a valid device model name%s%s%s", name,
                     near ? "; did you mean '" : "", near ? near : "",
                     near ? "'? (-device help lists them)" : " (-device help lists them)");
}

static const DeviceClass *pluggable_class(const char *driver, bool hotplug, GError **err)
{
    const DeviceClass *class = driver ? device_class_find(driver) : NULL;

    if (!driver) {
        error_set(err, "Parameter 'driver' is missing");
    } else if (!class) {
        unknown_class(driver, err);
    } else if (class->internal) {
        error_set(err, "'%s' cannot be added by hand: it is a part of the board", driver);
    } else if (hotplug && !class->hotpluggable) {
        error_set(err, "Device '%s' does not support hotplugging", driver);
    } else {
        return class;
    }
    return NULL;
}

/* The bus for a device of this class; *bus is NULL for a System device, which needs none. */
static bool find_place(Vm *vm, const DeviceClass *class, const char *name, bool hotplug, Bus **bus,
                       GError **err)
{
    *bus = NULL;
    if (!strcmp(class->bus, "System")) {
        return true;
    }
    *bus = bus_find(vm, name, class->bus, err);
    if (!*bus) {
        return false;
    }
    if (hotplug && !(*bus)->class->can_hotplug) {
        return error_set(err, "Bus '%s' does not support hotplugging", (*bus)->name);
    }
    return true;
}

/* device_create() names devices without an id as the board's; the user's have another path. */
static void rename_anonymous(Device *dev)
{
    g_free(dev->path);
    dev->path = device_anon_path(dev->vm);
    dev->vm->devices->next_unattached--;
    if (dev->child) {
        g_free(dev->child->path);
        dev->child->path = g_strdup_printf("%s/virtio-backend", dev->path);
    }
}

Device *device_add(Vm *vm, json_t *config, bool hotplug, GError **err)
{
    const char *id = json_str(config, "id");
    const DeviceClass *class;
    Bus *bus;
    Device *dev;
    json_t *props;

    if (id && !id_check(id, err)) {
        return NULL;
    }
    class = pluggable_class(json_str(config, "driver"), hotplug, err);
    if (!class || !find_place(vm, class, json_str(config, "bus"), hotplug, &bus, err)) {
        return NULL;
    }
    props = json_copy(config);
    json_object_del(props, "driver");
    json_object_del(props, "id");
    json_object_del(props, "bus");
    dev = device_create(vm, class, bus, id, props, err);
    json_decref(props);
    if (!dev) {
        return NULL;
    }
    if (!id) {
        rename_anonymous(dev);
    }
    dev->hotplugged = hotplug;
    if (!device_realize(dev, err)) {
        device_destroy(dev);
        return NULL;
    }
    if (hotplug) {
        device_reset(dev, RESET_COLD);
        if (bus && bus->class->hotplug) {
            bus->class->hotplug(bus, dev);
        }
    }
    return dev;
}

static void coroutine_fn device_plug_unplug(Device *dev)
{
    Vm *vm = dev->vm;
    json_t *event = json_pack("{s:s}", "path", dev->path);

    /* A register write before the unplug may have deferred work (a reset). */
    device_defer_wait(dev);
    if (dev->id) {
        json_object_set_new(event, "device", json_string(dev->id));
    }
    device_destroy(dev);
    vm_event(vm, VM_EVENT_DEVICE_DELETED, event);
}

static Device *next_leaving(struct DeviceTree *tree)
{
    Device *dev;

    g_mutex_lock(&tree->leaving_lock);
    dev = tree->leaving->len ? g_ptr_array_steal_index(tree->leaving, 0) : NULL;
    g_mutex_unlock(&tree->leaving_lock);
    return dev;
}

/*
 * Destroys leaving devices one at a time: device_destroy() of one also destroys its children, which
 * may be in the list, and takes them off.
 */
static void coroutine_fn unplug_all(void *data)
{
    struct DeviceTree *tree = ((Vm *)data)->devices;
    Device *dev;

    tree->unplugging = true;
    while ((dev = next_leaving(tree))) {
        device_plug_unplug(dev);
    }
    tree->unplugging = false;
}

static void finish_unplug(void *data)
{
    Vm *vm = data;

    if (!vm->devices->unplugging) {
        coroutine_start(unplug_all, vm);
    }
}

void device_unplugged(Device *dev)
{
    struct DeviceTree *tree = dev->vm->devices;

    g_mutex_lock(&tree->leaving_lock);
    if (!g_ptr_array_find(tree->leaving, dev, NULL)) {
        g_ptr_array_add(tree->leaving, dev);
    }
    g_mutex_unlock(&tree->leaving_lock);
    /* The caller may hold a device lock and be inside a handler of the device. */
    event_loop_call(dev->vm->loop, finish_unplug, dev->vm);
}

void device_forget_leaving(Device *dev)
{
    struct DeviceTree *tree = dev->vm->devices;

    g_mutex_lock(&tree->leaving_lock);
    g_ptr_array_remove(tree->leaving, dev);
    g_mutex_unlock(&tree->leaving_lock);
}

bool device_del(Vm *vm, const char *id, GError **err)
{
    Device *dev = device_find(vm, id, err);
    bool gone = false;

    if (!dev) {
        return false;
    }
    if (!dev->class->hotpluggable ||
        (!dev->id && !g_str_has_prefix(dev->path, "/machine/peripheral"))) {
        return error_set(err, "Device '%s' does not support hotplugging", id);
    }
    if (dev->unplug_pending) {
        return error_set(err, "Device %s is already in the process of unplug", id);
    }
    if (!dev->bus || !dev->bus->class->unplug_request) {
        return error_set(err, "Bus '%s' does not support hotplugging",
                         dev->bus ? dev->bus->name : "System");
    }
    if (!dev->bus->class->unplug_request(dev->bus, dev, &gone, err)) {
        return false;
    }
    dev->unplug_pending = true;
    if (gone) {
        device_unplugged(dev);
    }
    return true;
}

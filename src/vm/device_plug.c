/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device, device_add and device_del. */
#include "base/coroutine.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "base/trace.h"
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

static Device *add_device(Vm *vm, json_t *config, bool onboard, bool hotplug, GError **err)
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
    if (!id && !onboard) {
        rename_anonymous(dev);
    }
    dev->hotplugged = hotplug;
    if (!device_realize(dev, err)) {
        device_destroy(dev);
        return NULL;
    }
    if (hotplug && bus && bus->class->hotplug) {
        bus->class->hotplug(bus, dev);
    }
    return dev;
}

static void coroutine_fn device_plug_unplug(Device *dev)
{
    Vm *vm = dev->vm;
    json_t *event = json_pack("{s:s}", "path", dev->path);

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

void coroutine_fn device_changes_begin(Vm *vm)
{
    Device *dev;

    co_mutex_lock(&vm->devices->changes);
    while (!vm->devices->closed && (dev = next_leaving(vm->devices))) {
        device_plug_unplug(dev);
    }
}

void coroutine_fn device_changes_end(Vm *vm)
{
    co_mutex_unlock(&vm->devices->changes);
}

void coroutine_fn device_changes_close(Vm *vm)
{
    device_changes_begin(vm);
    vm->devices->closed = true;
    device_changes_end(vm);
}

static bool may_change(Vm *vm, GError **err)
{
    return !vm->devices->closed || error_set(err, "the virtual machine is being shut down");
}

Device *device_add(Vm *vm, json_t *config, bool hotplug, GError **err)
{
    Device *dev;

    if (!in_coroutine()) { /* before the main loop runs */
        return add_device(vm, config, false, hotplug, err);
    }
    device_changes_begin(vm);
    dev = may_change(vm, err) ? add_device(vm, config, false, hotplug, err) : NULL;
    device_changes_end(vm);
    return dev;
}

Device *device_add_onboard(Vm *vm, json_t *config, GError **err)
{
    return add_device(vm, config, true, false, err);
}

static void coroutine_fn carry_out_unplugs(void *data)
{
    device_changes_begin(data);
    device_changes_end(data);
}

static void finish_unplug(void *data)
{
    coroutine_start(carry_out_unplugs, data);
}

void device_unplugged(Device *dev)
{
    struct DeviceTree *tree = dev->vm->devices;
    bool added = false;

    g_mutex_lock(&tree->leaving_lock);
    if (!dev->leaving && !g_ptr_array_find(tree->leaving, dev, NULL)) {
        g_ptr_array_add(tree->leaving, dev);
        added = true;
    }
    g_mutex_unlock(&tree->leaving_lock);
    if (added) {
        trace(device_unplugged, device_label(dev));
        /* The caller may hold a device lock and be inside a handler of the device. */
        event_loop_call(dev->vm->loop, finish_unplug, dev->vm);
    }
}

void device_leaves(Device *dev)
{
    struct DeviceTree *tree = dev->vm->devices;

    g_mutex_lock(&tree->leaving_lock);
    dev->leaving = true;
    g_ptr_array_remove(tree->leaving, dev);
    g_mutex_unlock(&tree->leaving_lock);
}

static bool request_unplug(Vm *vm, const char *id, GError **err)
{
    Device *dev = device_find(vm, id, err);
    bool gone = false;

    if (!dev) {
        return false;
    }
    if (!dev->class->hotpluggable) {
        return error_set(err, "Device '%s' does not support hotplugging", id);
    }
    if (dev->unplug_pending) {
        return error_set(err, "Device %s is already in the process of unplug", id);
    }
    if (!dev->bus || !dev->bus->class->unplug_request) {
        return error_set(err, "Bus '%s' does not support hotplugging",
                         dev->bus ? dev->bus->name : "System");
    }
    trace(device_unplug_request, device_label(dev));
    if (!dev->bus->class->unplug_request(dev->bus, dev, &gone, err)) {
        return false;
    }
    dev->unplug_pending = true;
    if (gone) {
        device_unplugged(dev);
    }
    return true;
}

bool device_del(Vm *vm, const char *id, GError **err)
{
    bool ok;

    if (!in_coroutine()) {
        return request_unplug(vm, id, err);
    }
    device_changes_begin(vm);
    ok = may_change(vm, err) && request_unplug(vm, id, err);
    device_changes_end(vm);
    return ok;
}

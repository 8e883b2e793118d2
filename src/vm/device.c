/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device core: classes, creation, life cycle, properties. */
#include "device_internal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "base/reclaim.h"
#include "base/sched.h"
#include "base/trace.h"

/* From this size on a device's structure has arrays that are seldom full (STATE_STRUCT's V fields).
 */
enum { SPARSE_SIZE = 32 * 1024 };

const StateSection device_no_state[] = {{0}};

bool device_no_realize(Device *dev, GError **err)
{
    (void)dev;
    (void)err;
    return true;
}

void device_no_reset(Device *dev, ResetKind kind)
{
}

/* Classes and -global: set once, while the command line is read. */
static const DeviceClass *const *classes;
typedef struct {
    char *driver, *prop, *value;
    bool used;
} Global;
static GPtrArray *globals;

void device_set_classes(const DeviceClass *const *list)
{
    classes = list;
}

const DeviceClass *const *device_classes(void)
{
    return classes;
}

const DeviceClass *device_class_find(const char *name)
{
    for (const DeviceClass *const *c = classes; c && *c; c++) {
        if (!strcmp((*c)->name, name) || ((*c)->alias && !strcmp((*c)->alias, name))) {
            return *c;
        }
    }
    return NULL;
}

void device_add_global(const char *driver, const char *prop, const char *value)
{
    Global *g = g_new0(Global, 1);

    g->driver = g_strdup(driver);
    g->prop = g_strdup(prop);
    g->value = g_strdup(value);
    if (!globals) {
        globals = g_ptr_array_new();
    }
    g_ptr_array_add(globals, g);
}

bool device_check_globals(GError **err)
{
    for (unsigned i = 0; globals && i < globals->len; i++) {
        Global *g = globals->pdata[i];

        if (!g->used && qemu_name_known(QEMU_DEVICE, g->driver)) {
            log_warn("global %s.%s=%s has no effect: '%s' is not in this program yet", g->driver,
                     g->prop, g->value, g->driver);
        } else if (!g->used && !device_class_find(g->driver)) {
            log_warn("global %s.%s=%s has no effect: there is no device '%s'", g->driver, g->prop,
                     g->value, g->driver);
        } else if (!g->used) {
            log_warn("global %s.%s=%s not used", g->driver, g->prop, g->value);
        }
    }
    return true;
}

/* A property of the device or of its backend, *owner; from the tables of class and bus. */
static const Property *find_property(Device *dev, const char *name, Device **owner)
{
    for (*owner = dev; *owner; *owner = (*owner)->child) {
        const DeviceClass *class = (*owner)->class;
        const Property *p = class->props ? property_find(class->props, name) : NULL;

        if (!p && class->bus_props) {
            p = property_find(class->bus_props, name);
        }
        if (p) {
            return p;
        }
    }
    return NULL;
}

static void collect_names(Device *dev, GPtrArray *names)
{
    for (; dev; dev = dev->child) {
        const Property *tables[] = {dev->class->props, dev->class->bus_props};

        for (unsigned t = 0; t < 2; t++) {
            for (const Property *p = tables[t]; p && p->name; p++) {
                if (!(p->flags & PROP_FLAG_HIDDEN)) {
                    g_ptr_array_add(names, (gpointer)p->name);
                }
            }
        }
    }
    g_ptr_array_add(names, NULL);
}

static bool set_property(Device *dev, const char *name, json_t *value, GError **err)
{
    Device *owner;
    const Property *p = find_property(dev, name, &owner);
    g_autofree char *what = g_strdup_printf("device '%s'", dev->class->name);

    if (!p) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        const char *near;

        collect_names(dev, names);
        near = nearest_name(name, (const char *const *)names->pdata);
        return error_set(err, "Property '%s.%s' not found%s%s%s", dev->class->name, name,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return property_set(p, owner, value, what, err);
}

static bool apply_globals(Device *dev, GError **err)
{
    for (unsigned i = 0; globals && i < globals->len; i++) {
        Global *g = globals->pdata[i];
        const DeviceClass *class = dev->class;

        if (strcmp(g->driver, class->name) &&
            (!class->object_parent || strcmp(g->driver, class->object_parent))) {
            continue;
        }
        json_t *value = json_string(g->value);
        bool ok = set_property(dev, g->prop, value, err);

        json_decref(value);
        g->used = true;
        if (!ok) {
            g_prefix_error(err, "can't apply global %s.%s=%s: ", g->driver, g->prop, g->value);
            return false;
        }
    }
    return true;
}

static void free_now(void *data)
{
    Device *dev = data;

    if (dev->class->props) {
        properties_clear(dev->class->props, dev);
    }
    if (dev->class->bus_props) {
        properties_clear(dev->class->bus_props, dev);
    }
    device_lock_unref(dev->lock);
    g_ptr_array_unref(dev->buses);
    g_clear_pointer(&dev->irq_outputs, g_ptr_array_unref);
    g_free(dev->id);
    g_free(dev->path);
    if (dev->class->size >= SPARSE_SIZE) {
        sparse_free(dev, dev->class->size);
    } else {
        g_free(dev);
    }
}

void device_retire(void *dev)
{
    reclaim_retire(free_now, dev);
}

/* Takes the device out of the tree. Its memory is freed when no reader can hold it. */
static void device_release(Device *dev)
{
    if (dev->child) {
        device_release(g_steal_pointer(&dev->child));
    }
    g_ptr_array_remove(dev->vm->devices->devices, dev);
    device_defer_release(dev);
}

static DeviceLock *choose_lock(Device *parent, Bus *bus)
{
    if (parent) {
        return device_lock_ref(parent->lock);
    }
    if (bus && bus->parent && !bus->class->own_locks) {
        return device_lock_ref(bus->parent->lock);
    }
    return device_lock_new();
}

static Device *device_allocate(Vm *vm, const DeviceClass *class, Bus *bus, Device *parent,
                               const char *id)
{
    struct DeviceTree *tree = vm->devices;
    Device *dev = class->size >= SPARSE_SIZE ? sparse_new(class->size) : g_malloc0(class->size);

    dev->class = class;
    dev->vm = vm;
    dev->bus = bus;
    dev->parent = parent;
    dev->id = g_strdup(id);
    dev->buses = g_ptr_array_new();
    dev->loop = vm->loop;
    dev->lock = choose_lock(parent, bus);
    dev->instance = tree->next_instance++;
    if (parent) {
        dev->path = g_strdup_printf("%s/virtio-backend", parent->path);
    } else if (id) {
        dev->path = g_strdup_printf("/machine/peripheral/%s", id);
    }
    if (class->props) {
        properties_init(class->props, dev);
    }
    if (class->bus_props) {
        properties_init(class->bus_props, dev);
    }
    g_ptr_array_add(tree->devices, dev);
    if (class->child) {
        dev->child = device_allocate(vm, class->child, NULL, dev, NULL);
    }
    return dev;
}

static void rename_path(Device *dev, char *path)
{
    g_free(dev->path);
    dev->path = path;
    if (dev->child) {
        rename_path(dev->child, g_strdup_printf("%s/virtio-backend", path));
    }
}

unsigned device_reserve_paths(Vm *vm, unsigned count)
{
    unsigned first = vm->devices->next_unattached;

    vm->devices->next_unattached += count;
    return first;
}

char *device_anon_path(Vm *vm)
{
    return g_strdup_printf("/machine/peripheral-anon/device[%u]", vm->devices->next_anon++);
}

Device *device_create(Vm *vm, const DeviceClass *class, Bus *bus, const char *id, json_t *props,
                      GError **err)
{
    Device *dev;
    const char *key;
    json_t *value;

    if (id && device_find(vm, id, NULL)) {
        error_set(err, "Duplicate device ID '%s'", id);
        return NULL;
    }
    dev = device_allocate(vm, class, bus, NULL, id);
    if (!id) {
        rename_path(
            dev, g_strdup_printf("/machine/unattached/device[%u]", vm->devices->next_unattached++));
    }
    if (!apply_globals(dev, err) || (dev->child && !apply_globals(dev->child, err))) {
        device_release(dev);
        return NULL;
    }
    json_object_foreach(props, key, value)
    {
        if (!set_property(dev, key, value, err)) {
            device_release(dev);
            return NULL;
        }
    }
    return dev;
}

Device *device_new(Vm *vm, const char *name, Bus *bus, const char *object_name, GError **err, ...)
{
    const DeviceClass *class = device_class_find(name);
    json_t *props = json_object();
    Device *dev;
    const char *key;
    va_list ap;

    if (!class) {
        g_error("the board wants a device '%s' that is not in the table", name);
    }
    va_start(ap, err);
    while ((key = va_arg(ap, const char *))) {
        json_object_set_new(props, key, json_string(va_arg(ap, const char *)));
    }
    va_end(ap);
    dev = device_create(vm, class, bus, NULL, props, err);
    json_decref(props);
    if (!dev) {
        return NULL;
    }
    if (object_name) {
        rename_path(dev, g_strdup_printf("/machine/%s", object_name));
    }
    if (!device_realize(dev, err)) {
        device_destroy(dev);
        return NULL;
    }
    return dev;
}

/* Undoes attach(). The device is on no bus any more, or never got there. */
static void device_release_place(Device *dev)
{
    if (dev->bus && dev->bus->class->release) {
        dev->bus->class->release(dev->bus, dev);
    }
}

bool device_realize(Device *dev, GError **err)
{
    g_assert(!dev->realized);
    if (dev->bus && dev->bus->class->attach && !dev->bus->class->attach(dev->bus, dev, err)) {
        return false;
    }
    sched_point("device_realize: has a place, and is not realized");
    if (!dev->class->realize(dev, err)) {
        device_free_loop_things(dev);
        device_release_place(dev);
        return false;
    }
    dev->realized = true;
    if (dev->hotplugged) {
        device_reset(dev, RESET_COLD); /* the board's devices are reset with the machine */
    }
    trace(device_realize, device_label(dev), dev->class->name, dev->hotplugged);
    /* From here on guests, resets and the monitor find the device: it is whole. */
    __atomic_store_n(&dev->live, 1, __ATOMIC_RELEASE);
    if (dev->bus) {
        g_ptr_array_add(dev->bus->children, dev);
        if (dev->bus->class->publish) {
            dev->bus->class->publish(dev->bus, dev);
        }
    }
    return true;
}

/* The end of devices: a device leaves together with what sits on its buses. */

/* The realized devices from 'dev' down, those farthest from it first. */
static void device_collect(Device *dev, GPtrArray *leavers)
{
    for (unsigned b = dev->buses->len; b--;) {
        GPtrArray *children = ((Bus *)dev->buses->pdata[b])->children;

        for (unsigned i = children->len; i--;) {
            device_collect(children->pdata[i], leavers);
        }
    }
    g_ptr_array_add(leavers, dev);
}

/* Nothing calls the device any more: no handler, timer, reset, save or change of the run state. */
static void device_retreat(Device *dev)
{
    device_lock(dev);
    /* With the lock held no handler runs, and those that wait for the lock will see 'live'. */
    __atomic_store_n(&dev->live, 0, __ATOMIC_RELEASE);
    device_defer_forget(dev);
    device_unlock(dev);
    device_leaves(dev);
    dev->realized = false;
    if (dev->bus) {
        g_ptr_array_remove(dev->bus->children, dev);
    }
}

/* The guest finds nothing at the device's place from here on. */
static void device_vanish(Device *dev)
{
    if (dev->bus && dev->bus->class->detach) {
        dev->bus->class->detach(dev->bus, dev);
    }
}

static void device_unrealize(Device *dev)
{
    trace(device_unrealize, device_label(dev));
    if (dev->class->unrealize) {
        dev->class->unrealize(dev);
    }
    device_free_loop_things(dev);
    device_release_place(dev);
}

/*
 * While its requests are waited for, the device is neither there nor gone: accesses of the guest
 * wait. When they find the place empty, nothing of the device's writes to memory any more.
 */
static void coroutine_fn device_drain(GPtrArray *leavers)
{
    for (unsigned i = 0; i < leavers->len; i++) {
        Device *dev = leavers->pdata[i];

        if (dev->class->drain) {
            sched_point("device_drain: retreated, and in its place");
            dev->class->drain(dev);
        }
    }
}

static void device_leave(Device *dev)
{
    g_autoptr(GPtrArray) leavers = g_ptr_array_new();
    bool waits = in_coroutine();

    if (waits) {
        device_defer_claim(dev);
    }
    device_collect(dev, leavers);
    for (unsigned i = 0; i < leavers->len; i++) {
        device_retreat(leavers->pdata[i]);
    }
    if (waits) {
        device_drain(leavers);
    }
    for (unsigned i = 0; i < leavers->len; i++) {
        device_vanish(leavers->pdata[i]);
    }
    if (waits) {
        device_defer_unclaim(dev);
    }
    for (unsigned i = 0; i < leavers->len; i++) {
        device_unrealize(leavers->pdata[i]);
    }
    for (unsigned i = 0; i < leavers->len; i++) {
        Device *leaver = leavers->pdata[i];

        /* A proxy releases its backend. */
        if (leaver != dev && !leaver->parent) {
            device_release(leaver);
        }
    }
}

void device_destroy(Device *dev)
{
    if (dev->realized) {
        device_leave(dev);
    }
    device_release(dev);
}

void device_reset(Device *dev, ResetKind kind)
{
    for (unsigned b = 0; b < dev->buses->len; b++) {
        Bus *bus = dev->buses->pdata[b];

        for (unsigned i = 0; i < bus->children->len; i++) {
            device_reset(bus->children->pdata[i], kind);
        }
    }
    trace(device_reset, device_label(dev), kind == RESET_COLD);
    device_lock(dev);
    dev->class->reset(dev, kind);
    device_unlock(dev);
}

Device *device_find(Vm *vm, const char *id_or_path, GError **err)
{
    GPtrArray *devices = vm->devices->devices;

    for (unsigned i = 0; i < devices->len; i++) {
        Device *dev = devices->pdata[i];

        if ((dev->id && !strcmp(dev->id, id_or_path)) || !g_strcmp0(dev->path, id_or_path)) {
            return dev;
        }
    }
    error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id_or_path);
    return NULL;
}

void device_foreach(Vm *vm, void (*fn)(Device *dev, void *data), void *data)
{
    g_autoptr(GPtrArray) copy = g_ptr_array_copy(vm->devices->devices, NULL, NULL);

    for (unsigned i = 0; i < copy->len; i++) {
        fn(copy->pdata[i], data);
    }
}

const Property *device_find_property(Device *dev, const char *name)
{
    Device *owner;

    return find_property(dev, name, &owner);
}

json_t *device_get_property(Device *dev, const char *name, GError **err)
{
    Device *owner;
    const Property *p = find_property(dev, name, &owner);

    if (!p) {
        error_set(err, "Property '%s.%s' not found", dev->class->name, name);
        return NULL;
    }
    return property_get(p, owner);
}

bool device_set_property(Device *dev, const char *name, json_t *value, GError **err)
{
    Device *owner;
    const Property *p = find_property(dev, name, &owner);

    if (p && (owner->realized || owner->leaving) && !(p->flags & PROP_FLAG_RUNTIME)) {
        return error_set(
            err, "Attempt to set property '%s' on device '%s' (type '%s') after it was realized",
            name, dev->id ? dev->id : dev->path, dev->class->name);
    }
    if (!set_property(dev, name, value, err)) {
        return false;
    }
    if (owner->realized && owner->class->property_changed) {
        device_lock(owner);
        owner->class->property_changed(owner, name);
        device_unlock(owner);
    }
    return true;
}

void device_tree_init(Vm *vm)
{
    vm->devices = g_new0(struct DeviceTree, 1);
    vm->devices->devices = g_ptr_array_new();
    vm->devices->buses = g_ptr_array_new();
    vm->devices->leaving = g_ptr_array_new();
    g_mutex_init(&vm->devices->leaving_lock);
    co_mutex_init(&vm->devices->changes);
}

void device_tree_free(Vm *vm)
{
    GPtrArray *devices = vm->devices->devices;

    /* In reverse order of creation: a device may use those that were made before it. */
    while (devices->len) {
        Device *dev = devices->pdata[devices->len - 1];

        device_destroy(dev->parent ? dev->parent : dev);
    }
    reclaim_poll();
    g_ptr_array_unref(devices);
    g_ptr_array_unref(vm->devices->buses);
    g_ptr_array_unref(vm->devices->leaving);
    g_mutex_clear(&vm->devices->leaving_lock);
    co_mutex_destroy(&vm->devices->changes);
    g_clear_pointer(&vm->devices, g_free);
    for (unsigned i = 0; globals && i < globals->len; i++) {
        Global *g = globals->pdata[i];

        g_free(g->driver);
        g_free(g->prop);
        g_free(g->value);
        g_free(g);
    }
    g_clear_pointer(&globals, g_ptr_array_unref);
}

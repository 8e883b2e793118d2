/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device core: classes, life cycle, buses, properties, locks.
 *
 * One device is one file that ends in one 'const DeviceClass', listed in one array. A device is a
 * struct that embeds Device first. Life: create (properties set) -> realize (may fail) -> reset ->
 * ... -> unrealize. The machine owns the devices (through the Vm); buses borrow them.
 *
 * Locks: every device has a lock, its own or its parent's (the chipset and the ISA devices behind
 * it share one). Handlers of I/O regions, DeviceTimers and DeviceBhs run with the lock held.
 * Callbacks of character devices, network peers and disks take it themselves. A thread holds at
 * most one device lock.
 */
#ifndef VM_DEVICE_H
#define VM_DEVICE_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "base/property.h"
#include "base/util.h"
#include "vm/state.h"

typedef struct Vm Vm;
typedef struct Device Device;
typedef struct DeviceClass DeviceClass;
typedef struct Bus Bus;
typedef struct BusClass BusClass;
typedef struct DeviceLock DeviceLock;

typedef enum { RESET_COLD, RESET_WARM } ResetKind; /* power-on; guest or monitor reset */

typedef enum {
    DEVICE_CATEGORY_BRIDGE,
    DEVICE_CATEGORY_USB,
    DEVICE_CATEGORY_STORAGE,
    DEVICE_CATEGORY_NETWORK,
    DEVICE_CATEGORY_INPUT,
    DEVICE_CATEGORY_DISPLAY,
    DEVICE_CATEGORY_SOUND,
    DEVICE_CATEGORY_MISC,
    DEVICE_CATEGORY_CPU,
    DEVICE_CATEGORY_WATCHDOG,
} DeviceCategory;

struct DeviceClass {
    const char *name;  /* "isa-serial" */
    const char *alias; /* "virtio-blk" for virtio-blk-pci; may be NULL */
    const char *bus;   /* type of the bus it plugs into: "PCI", "ISA", "System", ... */
    const char *desc;  /* one line, for -device help */
    DeviceCategory category;
    size_t size;
    const Property *props;     /* offsets into the device struct; NULL: none */
    const Property *bus_props; /* those of the bus type ("addr"); offsets into the same struct */
    const StateSection *state; /* or device_no_state */
    bool (*realize)(Device *dev, GError **err); /* or device_no_realize */
    void (*unrealize)(Device *dev);             /* undoes realize; may be NULL */
    void (*reset)(Device *dev, ResetKind kind); /* or device_no_reset */
    /* Gathers host state into the state struct (may be NULL). The VM is paused. */
    void (*pre_save)(Device *dev);
    /* Checks a loaded copy of state[section] before any device changes (may be NULL). */
    bool (*check_state)(Device *dev, unsigned section, const void *state, GError **err);
    /*
     * Derives mappings, timers and host state again, once all devices' state has been committed
     * (may be NULL).
     */
    void (*post_load)(Device *dev);
    /* A PROP_FLAG_RUNTIME property was changed after realize (may be NULL). Main loop, locked. */
    void (*property_changed)(Device *dev, const char *name);
    /* The VM starts or stops (may be NULL): resubmit, mute. Called under the device's lock. */
    void (*run_state)(Device *dev, bool running);
    /*
     * Begins nothing new, and yields until nothing of the device's is in flight (may be NULL): the
     * VM stops, which run_state() was told before, or the device leaves. Main loop, without the
     * device's lock.
     */
    void coroutine_fn (*drain)(Device *dev);
    /* Class of a proxy's backend (virtio-blk-pci): properties unknown to the proxy are set on it.
     */
    const DeviceClass *child;
    const void *bus_data; /* for the bus type: PciDeviceInfo, VirtioClass ... */
    bool internal;        /* made by the board only; refused for -device */
    bool hotpluggable;
    const char *object_parent; /* QOM's name of the abstract parent class: "pci-device", ... */
};

/* For classes without state, realize or reset: a field that is left out is found by a test. */
extern const StateSection device_no_state[];
bool device_no_realize(Device *dev, GError **err);
void device_no_reset(Device *dev, ResetKind kind);

struct Device {
    const DeviceClass *class;
    Vm *vm;
    char *id;         /* the user's, or NULL */
    char *path;       /* object path: /machine/peripheral/ID, /machine/unattached/... */
    Bus *bus;         /* the bus that the device sits on; NULL: none (System) */
    GPtrArray *buses; /* the buses that the device offers */
    Device *parent;   /* of a virtio backend: its proxy; else NULL */
    Device *child;    /* of a proxy: its backend; else NULL */
    DeviceLock *lock;
    EventLoop *loop; /* home loop; the main loop unless realize says otherwise */
    bool realized;   /* whole, and found by guests and resets */
    bool leaving;    /* being destroyed. Set under leaving_lock */
    bool hotplugged;
    bool unplug_pending;
    int live;               /* atomic: handlers may be called; checked under the lock */
    unsigned instance;      /* order of creation */
    GPtrArray *irq_outputs; /* of IrqLine, borrowed; NULL: none. Under the routing lock */
    GPtrArray *loop_things; /* DeviceTimers and DeviceBhs, ended at unrealize */
};

/* What a device is called in the log: by its id, else by its path. NULL where there is no device.
 */
static inline const char *device_label(const Device *dev)
{
    return !dev ? NULL : dev->id ? dev->id : dev->path;
}

#define DEVICE(obj) (&(obj)->dev) /* for structs whose first member is 'Device dev' */

/* The table of classes (devices/devices.c), which main() hands over once. */
void device_set_classes(const DeviceClass *const *classes);
const DeviceClass *const *device_classes(void);
const DeviceClass *device_class_find(const char *name); /* aliases too */

/*
 * Makes a device: defaults, -global values, then 'props' (of class and bus; may be NULL). 'id' may
 * be NULL, 'bus' too for System devices. The vm owns the device, before device_realize() as well.
 * NULL and *err: nothing is left behind.
 */
Device *device_create(Vm *vm, const DeviceClass *class, Bus *bus, const char *id, json_t *props,
                      GError **err);
/*
 * For boards: creates and realizes a device by its class's name, with properties "key", "value",
 * ..., NULL. Its path is /machine/OBJECT_NAME; object_name NULL: /machine/unattached/device[N]. An
 * unknown class ends the program.
 */
Device *device_new(Vm *vm, const char *class, Bus *bus, const char *object_name, GError **err,
                   ...) G_GNUC_NULL_TERMINATED;
/*
 * The device becomes visible (on its bus, to the guest) when its realize has succeeded. A
 * hot-plugged one is reset before that.
 */
bool device_realize(Device *dev, GError **err);
/*
 * Ends the device and those on its buses. In this order: nothing reaches them any more; what they
 * have in flight is waited for, and accesses of the guest wait too; the guest finds their places
 * empty; they are unrealized, and freed once no thread can still read them. Main loop. Outside of a
 * coroutine (the machine's end, a start that fails) nothing is waited for by the second step.
 */
void device_destroy(Device *dev);
/*
 * Devices come and go one at a time, between these two, and unplugs that the guest has carried out
 * are over when begin returns. A save, a load and a change of the run state hold this too. Main
 * loop.
 */
void coroutine_fn device_changes_begin(Vm *vm);
void coroutine_fn device_changes_end(Vm *vm);
/* From here on no device comes or goes: the machine ends. */
void coroutine_fn device_changes_close(Vm *vm);
/*
 * -device and device_add, whose arguments 'config' holds ("driver", "id", "bus" and properties).
 * With 'hotplug' the device is reset and the guest is told.
 */
Device *device_add(Vm *vm, json_t *config, bool hotplug, GError **err);
/*
 * A device that another option implies (-hda, -net nic, -usbdevice), before the machine runs. As
 * the board's, it is /machine/unattached/device[N] where it has no id.
 */
Device *device_add_onboard(Vm *vm, json_t *config, GError **err);
/*
 * device_del, by id or object path: asks the guest to let the device go. The event DEVICE_DELETED
 * follows when it has been destroyed.
 */
bool device_del(Vm *vm, const char *id, GError **err);
/* A bus or hot-plug controller reports that the guest has let the device go (any thread). */
void device_unplugged(Device *dev);
void device_reset(Device *dev, ResetKind kind); /* children on its buses first */
Device *device_find(Vm *vm, const char *id_or_path, GError **err);
void device_foreach(Vm *vm, void (*fn)(Device *dev, void *data),
                    void *data); /* in order of creation */
/*
 * Reserves 'count' numbers N of /machine/unattached/device[N] for objects that are not Devices
 * (CPUs); gives the first.
 */
unsigned device_reserve_paths(Vm *vm, unsigned count);
/* Its own, its bus's, or its child's; NULL where there is none of that name. */
const Property *device_find_property(Device *dev, const char *name);
json_t *device_get_property(Device *dev, const char *name, GError **err);
bool device_set_property(Device *dev, const char *name, json_t *value, GError **err);
/* -global DRIVER.PROP=VALUE */
void device_add_global(const char *driver, const char *prop, const char *value);
bool device_check_globals(GError **err); /* warns of -global values that no device took */

/* Help texts, as QEMU prints them; caller frees. */
char *device_help_list(void);
char *device_help_class(const DeviceClass *class);
char *device_tree_text(Vm *vm); /* info qtree */

/* Buses. */
struct BusClass {
    const char *type;      /* "PCI" */
    unsigned max_children; /* 0: no limit */
    /*
     * Before realize: gives the child the address that it asks for, or the first free one; fails if
     * taken. Nobody finds the child there before publish(), after its realize; nor after detach(),
     * before its unrealize. release() undoes attach(), after an unrealize or a realize that failed.
     * All four may be NULL.
     */
    bool (*attach)(Bus *bus, Device *dev, GError **err);
    void (*publish)(Bus *bus, Device *dev);
    void (*detach)(Bus *bus, Device *dev);
    void (*release)(Bus *bus, Device *dev);
    /* info qtree's lines. The child's lock is held. */
    void (*print)(Bus *bus, Device *dev, GString *out, int indent);
    bool can_hotplug;
    bool own_locks; /* children have their own locks (PCI); else they share the parent's */
    /* Tells the guest of a child that was hot-added and is realized (may be NULL). */
    void (*hotplug)(Bus *bus, Device *dev);
    /*
     * device_del: asks the guest to let the child go. *gone: the guest need not be asked. false: it
     * cannot be unplugged. NULL: no child can be.
     */
    bool (*unplug_request)(Bus *bus, Device *dev, bool *gone, GError **err);
    /* Guest-visible name of a child's place, as firmware paths spell it ("pci@i0cf8/scsi@4"). */
    char *(*fw_path)(Bus *bus, Device *dev);
};
struct Bus {
    const BusClass *class;
    char *name;     /* "pci.0" */
    Device *parent; /* the device that offers the bus; NULL: the machine does */
    GPtrArray *children;
    Vm *vm;
};
/*
 * Sets up a bus, which the device that offers it embeds. 'name' NULL: QEMU's names, "ID.N" after
 * the device's id, or "TYPE.N".
 */
void bus_init(Bus *bus, const BusClass *class, Vm *vm, Device *parent, const char *name);
void bus_destroy(Bus *bus);
/* Assigns the bus of a device that was created without one (a virtio backend). */
void bus_add_child(Bus *bus, Device *dev);
/* By name, or by a path that ends in it; name NULL: the first bus of the type with room. */
Bus *bus_find(Vm *vm, const char *name, const char *type, GError **err);

void device_lock(Device *dev); /* nests on the same thread */
void device_unlock(Device *dev);
bool device_lock_held(const Device *dev); /* by the calling thread, for asserts */
/* Gives dev, which is not realized yet, the lock of 'with' (functions of one chipset). */
void device_share_lock(Device *dev, Device *with);

/*
 * Timers and bottom halves on the device's home loop. Callbacks run with the device's lock held,
 * and not before realize or after unrealize, which frees them. A timer may be freed before that.
 */
typedef void (*DeviceFn)(Device *dev);
typedef struct DeviceTimer DeviceTimer;
DeviceTimer *device_timer_new(Device *dev, ClockType clock, DeviceFn fn);
void device_timer_arm(DeviceTimer *t, int64_t deadline_ns);
void device_timer_cancel(DeviceTimer *t);
bool device_timer_armed(const DeviceTimer *t);
void device_timer_free(DeviceTimer *t);
typedef struct DeviceBh DeviceBh;
DeviceBh *device_bh_new(Device *dev, DeviceFn fn);
void device_bh_schedule(DeviceBh *bh); /* any thread */

/*
 * A register handler that must wait for loops (to stop queues, to drain) calls device_defer(dev,
 * fn) and returns IO_DEFER. fn(dev) runs as a coroutine on the main loop without the device's lock.
 * The vCPU waits for fn, and so does every later access to devices with this lock. fn may take the
 * lock, but must not hold it across a yield.
 */
void device_defer(Device *dev, DeviceFn fn);
bool device_deferred(Device *dev);
/*
 * Blocks (yields in a coroutine) until no deferred work is pending on the device's lock, which the
 * caller must not hold.
 */
void device_defer_wait(Device *dev);

#endif

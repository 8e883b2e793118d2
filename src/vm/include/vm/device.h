/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device core: classes, life cycle, buses, properties, locks.
 *
 * One device is one file that ends in one 'const DeviceClass', listed in one array. A device is a
 * struct that embeds Device first. Life: create (properties set) -> realize (may fail) -> reset ->
 * ... -> unrealize. The machine owns the devices (through the Vm); buses borrow them.
 *
 * Locks: every device has a lock, its own or its parent's (children on a device's bus share it;
 * the chipset and the ISA devices behind it share one). Handlers of I/O regions, timers, file
 * descriptors, bottom halves and peers run with it held: device authors write no locking. A thread
 * holds at most one device lock.
 */
#ifndef VM_DEVICE_H
#define VM_DEVICE_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
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
    const Property *bus_props; /* of the bus type ("addr", "multifunction"), same struct */
    const StateSection *state; /* device_no_state where there is none */
    bool (*realize)(Device *dev, GError **err); /* device_no_realize where nothing is to be done */
    void (*unrealize)(Device *dev);             /* undoes realize wholly */
    void (*reset)(Device *dev, ResetKind kind); /* device_no_reset where there is none */
    /* Gathers host state into the state struct (may be NULL). The VM is paused. */
    void (*pre_save)(Device *dev);
    /* Checks a parsed copy of section 'n' before anything is committed (may be NULL). */
    bool (*check_state)(Device *dev, unsigned section, const void *state, GError **err);
    /* After all devices' state is committed: re-derive mappings, timers, host state (may be NULL).
     */
    bool (*post_load)(Device *dev, GError **err);
    /* A PROP_FLAG_RUNTIME property was changed after realize (may be NULL). Main loop, locked. */
    void (*property_changed)(Device *dev, const char *name);
    /* The VM starts or stops (may be NULL): resubmit, mute. Called under the device's lock. */
    void (*run_state)(Device *dev, bool running);
    /* Hot-unplug is asked for: true = gone at once; false = the guest is asked first. NULL: refuse.
     */
    bool (*unplug_request)(Device *dev, GError **err);
    /* -device of a proxy (virtio-blk-pci) sets the properties it does not know on its child. */
    const DeviceClass *child;
    const void *bus_data; /* for the bus type: PciDeviceInfo, VirtioClass ... */
    bool internal;        /* made by the board only; refused for -device */
    bool hotpluggable;
    const char *object_parent; /* abstract parents as QOM names them: "pci-device", ... */
};

/* Sentinels: nothing of the life cycle is optional. */
extern const StateSection device_no_state[];
bool device_no_realize(Device *dev, GError **err);
void device_no_reset(Device *dev, ResetKind kind);

struct Device {
    const DeviceClass *class;
    Vm *vm;
    char *id;         /* the user's, or NULL */
    char *path;       /* object path: /machine/peripheral/ID, /machine/unattached/... */
    Bus *bus;         /* that it sits on, or NULL (System) */
    GPtrArray *buses; /* that it offers */
    Device *parent;   /* object parent of a child device (virtio backend), or NULL */
    Device *child;    /* of a proxy */
    DeviceLock *lock;
    EventLoop *loop; /* home loop; the main loop unless realize says otherwise */
    bool realized;
    bool hotplugged;
    bool unplug_pending;
    bool fail_unwind;
    int live;               /* atomic: dispatch re-checks it under the lock */
    unsigned instance;      /* order of creation */
    GPtrArray *irq_outputs; /* of IrqLine, borrowed; NULL: none. Under the routing lock */
    GPtrArray *loop_things; /* timers, fd handlers, bottom halves to end at unrealize */
};

#define DEVICE(obj) (&(obj)->dev) /* for structs whose first member is 'Device dev' */

/* The table of classes: one explicit array (devices/devices.c), handed over by main. */
void device_set_classes(const DeviceClass *const *classes);
const DeviceClass *const *device_classes(void);
const DeviceClass *device_class_find(const char *name); /* aliases too */

/*
 * Makes a device with defaults and -global values applied. 'id' may be NULL; 'bus' may be NULL for
 * System devices. 'props' may be NULL; it holds the class's and the bus's properties. The vm owns
 * the result, also before realize. NULL and *err: nothing is left behind.
 */
Device *device_create(Vm *vm, const DeviceClass *class, Bus *bus, const char *id, json_t *props,
                      GError **err);
/* For boards: creates by name with "key", "value", ..., NULL properties and realizes; asserts on
 * failure other than host resources, which go to *err. 'object_name' names it:
 * /machine/OBJECT_NAME, or NULL for /machine/unattached/device[N]. */
Device *device_new(Vm *vm, const char *class, Bus *bus, const char *object_name, GError **err,
                   ...) G_GNUC_NULL_TERMINATED;
bool device_realize(Device *dev, GError **err);
/* Unrealizes (children first), detaches, frees after readers have left. Main loop. */
void device_destroy(Device *dev);
/* -device / device_add: {"driver", "id", "bus", ...}: finds the bus, creates, realizes, resets if
 * hot. */
Device *device_add(Vm *vm, json_t *config, bool hotplug, GError **err);
/* device_del: asks; DEVICE_DELETED follows when it is gone. By id or object path. */
bool device_del(Vm *vm, const char *id, GError **err);
/* A bus or hot-plug controller reports that the guest has let the device go (any thread). */
void device_unplugged(Device *dev);
void device_reset(Device *dev, ResetKind kind); /* it and, first, what is on its buses */
Device *device_find(Vm *vm, const char *id_or_path, GError **err);
void device_foreach(Vm *vm, void (*fn)(Device *dev, void *data),
                    void *data); /* in order of creation */
/* Keeps 'count' numbers of /machine/unattached/device[N] for objects that are no devices. */
unsigned device_reserve_paths(Vm *vm, unsigned count);
json_t *device_get_property(Device *dev, const char *name, GError **err);
bool device_set_property(Device *dev, const char *name, json_t *value, GError **err);
/* -global DRIVER.PROP=VALUE */
void device_add_global(const char *driver, const char *prop, const char *value);
bool device_check_globals(GError **err); /* warns of globals that nothing used */

/* Help texts, as QEMU prints them; caller frees. */
char *device_help_list(void);
char *device_help_class(const DeviceClass *class);
char *device_tree_text(Vm *vm); /* info qtree */

/* Buses. */
struct BusClass {
    const char *type;      /* "PCI" */
    unsigned max_children; /* 0: no limit */
    /* Gives the child its address (property or first free one); fails where taken. */
    bool (*attach)(Bus *bus, Device *dev, GError **err);
    void (*detach)(Bus *bus, Device *dev);
    void (*print)(Bus *bus, Device *dev, GString *out, int indent); /* info qtree's lines */
    bool can_hotplug;
    bool own_locks; /* children have locks of their own (PCI); else the parent's */
    /* After a hot-added child is realized: tell the guest (may be NULL). */
    void (*hotplug)(Bus *bus, Device *dev);
    /*
     * device_del: asks the guest to let go; *gone where that was not needed. NULL: children cannot
     * be unplugged unless their class says how.
     */
    bool (*unplug_request)(Bus *bus, Device *dev, bool *gone, GError **err);
    /* Guest-visible name of a child's place, as firmware paths spell it ("pci@i0cf8/scsi@4"). */
    char *(*fw_path)(Bus *bus, Device *dev);
};
struct Bus {
    const BusClass *class;
    char *name;     /* "pci.0" */
    Device *parent; /* whose bus it is; NULL: the machine's */
    GPtrArray *children;
    Vm *vm;
};
/* Embedded in the device that offers it; name NULL: TYPE.N with N counted a type, as QEMU does. */
void bus_init(Bus *bus, const BusClass *class, Vm *vm, Device *parent, const char *name);
void bus_destroy(Bus *bus);
/* Puts a child that was created without a bus on one (a transport and its backend). */
void bus_add_child(Bus *bus, Device *dev);
/* By name or path; NULL name: the first of the type with room. */
Bus *bus_find(Vm *vm, const char *name, const char *type, GError **err);

/* The lock. */
void device_lock(Device *dev); /* nests on the same thread */
void device_unlock(Device *dev);
bool device_lock_held(const Device *dev); /* by the calling thread, for asserts */
/* Before dev is realized: it is guarded by the lock of 'with' from now on (chipset functions). */
void device_share_lock(Device *dev, Device *with);

/*
 * Home-loop work, wrapped: the callback runs with the device's lock held, and not at all once the
 * device is dead. Freed by unrealize where the device does not do so earlier.
 */
typedef void (*DeviceFn)(Device *dev);
typedef struct DeviceTimer DeviceTimer;
DeviceTimer *device_timer_new(Device *dev, ClockType clock, DeviceFn fn);
void device_timer_arm(DeviceTimer *t, int64_t deadline_ns);
void device_timer_cancel(DeviceTimer *t);
bool device_timer_armed(const DeviceTimer *t);
int64_t device_timer_deadline(const DeviceTimer *t); /* -1: not armed */
void device_timer_free(DeviceTimer *t);
typedef struct DeviceBh DeviceBh;
DeviceBh *device_bh_new(Device *dev, DeviceFn fn);
void device_bh_schedule(DeviceBh *bh); /* any thread */
void device_bh_free(DeviceBh *bh);

/*
 * IO_DEFER: a register handler that must wait for loops (stop queues, drain) calls
 * device_defer(dev, fn) and returns IO_DEFER. Dispatch drops the lock, runs fn(dev) as a coroutine
 * on the main loop without the device's lock, and the vCPU waits for it; later accesses to the
 * device queue behind it. fn may take the lock for short stretches (device_lock/unlock), never
 * across a yield.
 */
void device_defer(Device *dev, DeviceFn fn);
bool device_deferred(Device *dev);
/* Blocks (or yields, inside a coroutine) until no deferred work is pending. Without the lock. */
void device_defer_wait(Device *dev);

#endif

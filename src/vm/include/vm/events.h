/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one table of QMP's events. The schema is derived from the table, and builds with sanitizers
 * check each event's data against it.
 */
#ifndef VM_EVENTS_H
#define VM_EVENTS_H

#include "base/shape.h"

typedef struct Vm Vm;

typedef enum {
    VM_EVENT_BALLOON_CHANGE,
    VM_EVENT_BLOCK_EXPORT_DELETED,
    VM_EVENT_BLOCK_IMAGE_CORRUPTED,
    VM_EVENT_BLOCK_IO_ERROR,
    VM_EVENT_BLOCK_JOB_CANCELLED,
    VM_EVENT_BLOCK_JOB_COMPLETED,
    VM_EVENT_BLOCK_JOB_ERROR,
    VM_EVENT_BLOCK_JOB_PENDING,
    VM_EVENT_BLOCK_JOB_READY,
    VM_EVENT_BLOCK_WRITE_THRESHOLD,
    VM_EVENT_DEVICE_DELETED,
    VM_EVENT_DEVICE_TRAY_MOVED,
    VM_EVENT_DUMP_COMPLETED,
    VM_EVENT_GUEST_CRASHLOADED,
    VM_EVENT_GUEST_PANICKED,
    VM_EVENT_JOB_STATUS_CHANGE,
    VM_EVENT_NETDEV_STREAM_CONNECTED,
    VM_EVENT_NETDEV_STREAM_DISCONNECTED,
    VM_EVENT_NIC_RX_FILTER_CHANGED,
    VM_EVENT_POWERDOWN,
    VM_EVENT_RESET,
    VM_EVENT_RESUME,
    VM_EVENT_RTC_CHANGE,
    VM_EVENT_SHUTDOWN,
    VM_EVENT_STOP,
    VM_EVENT_SUSPEND,
    VM_EVENT_SUSPEND_DISK,
    VM_EVENT_VNC_CONNECTED,
    VM_EVENT_VNC_DISCONNECTED,
    VM_EVENT_VNC_INITIALIZED,
    VM_EVENT_VSERPORT_CHANGE,
    VM_EVENT_WAKEUP,
    VM_EVENT_WATCHDOG,
    VM_EVENT_COUNT
} VmEventId;

typedef struct {
    const char *name;     /* QMP's */
    const Property *data; /* the members of its data; NULL: none */
} VmEvent;

/* QAPI's VncServerInfo and VncClientInfo, and the list of their families. */
extern const PropertyShape vnc_server_info_shape, vnc_client_info_shape;
extern const char *const network_family_names[];

const VmEvent *vm_event_info(VmEventId id);
/* VM_EVENT_COUNT: there is no event of this name. */
VmEventId vm_event_find(const char *name);
/* Checks 'data' (NULL: none) against the table; *err names the member that is wrong. */
bool vm_event_check(VmEventId id, json_t *data, GError **err);

/*
 * Sends an event. Takes the reference to 'data', which may be NULL. Any thread; the listener is
 * called on the main loop, in the order of sending.
 */
void vm_event(Vm *vm, VmEventId id, json_t *data);
typedef void (*VmEventFn)(const VmEvent *event, json_t *data, void *user);
void vm_set_event_listener(Vm *vm, VmEventFn fn, void *user);

#endif

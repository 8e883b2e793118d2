/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/events.h"

#include "base/socket_address.h"
#include "block/job.h"
#include "vm/dump.h"
#include "vm/vm.h"

static const char *const panic_names[] = {"pause", "poweroff", "run", NULL};
static const char *const operation_names[] = {"read", "write", NULL};
static const char *const error_action_names[] = {"ignore", "report", "stop", NULL};

static const Property balloon_data[] = {MEMBER("actual", PROP_UINT64), PROP_END};
static const Property cause_data[] = {MEMBER("guest", PROP_BOOL),
                                      MEMBER("reason", PROP_ENUM, .names = shutdown_cause_names),
                                      PROP_END};
static const Property device_data[] = {MAYBE("device", PROP_STRING), MEMBER("path", PROP_STRING),
                                       PROP_END};
static const Property dump_data[] = {MEMBER("result", PROP_TREE, .shape = &dump_result_shape),
                                     MAYBE("error", PROP_STRING), PROP_END};
static const Property export_data[] = {MEMBER("id", PROP_STRING), PROP_END};
static const Property image_corrupted_data[] = {
    MEMBER("device", PROP_STRING), MAYBE("node-name", PROP_STRING), MEMBER("msg", PROP_STRING),
    MEMBER("fatal", PROP_BOOL), PROP_END};
static const Property io_error_data[] = {
    MEMBER("device", PROP_STRING),
    MAYBE("node-name", PROP_STRING),
    MEMBER("operation", PROP_ENUM, .names = operation_names),
    MEMBER("action", PROP_ENUM, .names = error_action_names),
    MAYBE("nospace", PROP_BOOL),
    MEMBER("reason", PROP_STRING),
    PROP_END,
};
#define BLOCK_JOB_DATA                                                                             \
    MEMBER("type", PROP_ENUM, .names = job_type_names), MEMBER("device", PROP_STRING),             \
        MEMBER("len", PROP_INT64), MEMBER("offset", PROP_INT64), MEMBER("speed", PROP_INT64)
static const Property block_job_data[] = {BLOCK_JOB_DATA, PROP_END};
static const Property block_job_completed_data[] = {BLOCK_JOB_DATA, MAYBE("error", PROP_STRING),
                                                    PROP_END};
static const Property block_job_error_data[] = {
    MEMBER("device", PROP_STRING), MEMBER("operation", PROP_ENUM, .names = operation_names),
    MEMBER("action", PROP_ENUM, .names = error_action_names), PROP_END};
static const Property block_job_pending_data[] = {
    MEMBER("type", PROP_ENUM, .names = job_type_names), MEMBER("id", PROP_STRING), PROP_END};
static const Property job_status_data[] = {
    MEMBER("id", PROP_STRING), MEMBER("status", PROP_ENUM, .names = job_status_names), PROP_END};
static const Property rx_filter_data[] = {MAYBE("name", PROP_STRING), MEMBER("path", PROP_STRING),
                                          PROP_END};
static const Property panic_data[] = {MEMBER("action", PROP_ENUM, .names = panic_names), PROP_END};
static const Property port_data[] = {MEMBER("id", PROP_STRING), MEMBER("open", PROP_BOOL),
                                     PROP_END};
static const Property tray_data[] = {MEMBER("device", PROP_STRING), MEMBER("id", PROP_STRING),
                                     MEMBER("tray-open", PROP_BOOL), PROP_END};
static const Property stream_connected_data[] = {
    MEMBER("netdev-id", PROP_STRING), MEMBER("addr", PROP_TREE, .shape = &socket_address_shape),
    PROP_END};
static const Property stream_data[] = {MEMBER("netdev-id", PROP_STRING), PROP_END};
static const Property rtc_data[] = {MEMBER("offset", PROP_INT64), MEMBER("qom-path", PROP_STRING),
                                    PROP_END};

const char *const network_family_names[] = {"ipv4", "ipv6", "unix", "vsock", "unknown", NULL};
#define VNC_ADDRESS                                                                                \
    MEMBER("host", PROP_STRING), MEMBER("service", PROP_STRING),                                   \
        MEMBER("family", PROP_ENUM, .names = network_family_names), MEMBER("websocket", PROP_BOOL)
static const Property vnc_server_members[] = {VNC_ADDRESS, MAYBE("auth", PROP_STRING), PROP_END};
static const Property vnc_client_members[] = {VNC_ADDRESS, MAYBE("x509_dname", PROP_STRING),
                                              MAYBE("sasl_username", PROP_STRING), PROP_END};
static const Property vnc_basic_members[] = {VNC_ADDRESS, PROP_END};
const PropertyShape vnc_server_info_shape = {.name = "VncServerInfo",
                                             .members = vnc_server_members};
const PropertyShape vnc_client_info_shape = {.name = "VncClientInfo",
                                             .members = vnc_client_members};
static const PropertyShape vnc_basic_info_shape = {.name = "VncBasicInfo",
                                                   .members = vnc_basic_members};
static const Property vnc_connected_data[] = {
    MEMBER("server", PROP_TREE, .shape = &vnc_server_info_shape),
    MEMBER("client", PROP_TREE, .shape = &vnc_basic_info_shape), PROP_END};
static const Property vnc_client_data[] = {
    MEMBER("server", PROP_TREE, .shape = &vnc_server_info_shape),
    MEMBER("client", PROP_TREE, .shape = &vnc_client_info_shape), PROP_END};

static const Property watchdog_data[] = {
    MEMBER("action", PROP_ENUM, .names = watchdog_action_names), PROP_END};
static const Property write_threshold_data[] = {MEMBER("node-name", PROP_STRING),
                                                MEMBER("amount-exceeded", PROP_UINT64),
                                                MEMBER("write-threshold", PROP_UINT64), PROP_END};

static const VmEvent table[VM_EVENT_COUNT] = {
    [VM_EVENT_BALLOON_CHANGE] = {"BALLOON_CHANGE", balloon_data},
    [VM_EVENT_BLOCK_EXPORT_DELETED] = {"BLOCK_EXPORT_DELETED", export_data},
    [VM_EVENT_BLOCK_IMAGE_CORRUPTED] = {"BLOCK_IMAGE_CORRUPTED", image_corrupted_data},
    [VM_EVENT_BLOCK_IO_ERROR] = {"BLOCK_IO_ERROR", io_error_data},
    [VM_EVENT_BLOCK_JOB_CANCELLED] = {"BLOCK_JOB_CANCELLED", block_job_data},
    [VM_EVENT_BLOCK_JOB_COMPLETED] = {"BLOCK_JOB_COMPLETED", block_job_completed_data},
    [VM_EVENT_BLOCK_JOB_ERROR] = {"BLOCK_JOB_ERROR", block_job_error_data},
    [VM_EVENT_BLOCK_JOB_PENDING] = {"BLOCK_JOB_PENDING", block_job_pending_data},
    [VM_EVENT_BLOCK_JOB_READY] = {"BLOCK_JOB_READY", block_job_data},
    [VM_EVENT_BLOCK_WRITE_THRESHOLD] = {"BLOCK_WRITE_THRESHOLD", write_threshold_data},
    [VM_EVENT_DEVICE_DELETED] = {"DEVICE_DELETED", device_data},
    [VM_EVENT_DEVICE_TRAY_MOVED] = {"DEVICE_TRAY_MOVED", tray_data},
    [VM_EVENT_DUMP_COMPLETED] = {"DUMP_COMPLETED", dump_data},
    [VM_EVENT_GUEST_CRASHLOADED] = {"GUEST_CRASHLOADED", panic_data},
    [VM_EVENT_GUEST_PANICKED] = {"GUEST_PANICKED", panic_data},
    [VM_EVENT_JOB_STATUS_CHANGE] = {"JOB_STATUS_CHANGE", job_status_data},
    [VM_EVENT_NETDEV_STREAM_CONNECTED] = {"NETDEV_STREAM_CONNECTED", stream_connected_data},
    [VM_EVENT_NETDEV_STREAM_DISCONNECTED] = {"NETDEV_STREAM_DISCONNECTED", stream_data},
    [VM_EVENT_NIC_RX_FILTER_CHANGED] = {"NIC_RX_FILTER_CHANGED", rx_filter_data},
    [VM_EVENT_POWERDOWN] = {"POWERDOWN"},
    [VM_EVENT_RESET] = {"RESET", cause_data},
    [VM_EVENT_RESUME] = {"RESUME"},
    [VM_EVENT_RTC_CHANGE] = {"RTC_CHANGE", rtc_data},
    [VM_EVENT_SHUTDOWN] = {"SHUTDOWN", cause_data},
    [VM_EVENT_STOP] = {"STOP"},
    [VM_EVENT_SUSPEND] = {"SUSPEND"},
    [VM_EVENT_SUSPEND_DISK] = {"SUSPEND_DISK"},
    [VM_EVENT_VNC_CONNECTED] = {"VNC_CONNECTED", vnc_connected_data},
    [VM_EVENT_VNC_DISCONNECTED] = {"VNC_DISCONNECTED", vnc_client_data},
    [VM_EVENT_VNC_INITIALIZED] = {"VNC_INITIALIZED", vnc_client_data},
    [VM_EVENT_VSERPORT_CHANGE] = {"VSERPORT_CHANGE", port_data},
    [VM_EVENT_WAKEUP] = {"WAKEUP"},
    [VM_EVENT_WATCHDOG] = {"WATCHDOG", watchdog_data},
};

const VmEvent *vm_event_info(VmEventId id)
{
    return &table[id];
}

VmEventId vm_event_find(const char *name)
{
    VmEventId id = 0;

    while (id < VM_EVENT_COUNT && !g_str_equal(table[id].name, name)) {
        id++;
    }
    return id;
}

bool vm_event_check(VmEventId id, json_t *data, GError **err)
{
    PropertyShape shape = {.members = table[id].data};
    json_t *object = data ? json_incref(data) : json_object();
    bool ok = shape_check(&shape, object, NULL, err);

    json_decref(object);
    return ok;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands. */
#include "block/dirty_bitmap.h"
#include "block/export.h"
#include "block/media.h"
#include "commands.h"

#include "base/error.h"
#include "block/node.h"
#include "block/transaction.h"
#include "vm/dump.h"

static const char *const capability_names[] = {"oob", NULL};
static const Property enable_args[] = {{.name = "enable",
                                        .type = PROP_ENUM,
                                        .names = capability_names,
                                        .help = "capabilities",
                                        .flags = PROP_FLAG_LIST},
                                       PROP_END};
static const Property hmc_args[] = {
    {.name = "command-line",
     .type = PROP_STRING,
     .help = "an HMP line",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "cpu-index", .type = PROP_UINT32, .help = "the CPU it looks at"},
    PROP_END,
};
static const Property registers_args[] = {{.name = "a", .type = PROP_BOOL, .help = "all CPUs"},
                                          {.name = "vcpu", .type = PROP_INT64, .help = "which one"},
                                          PROP_END};
static const Property lapic_args[] = {
    {.name = "apic-id", .type = PROP_INT64, .help = "whose; none: the current CPU's"}, PROP_END};
static const Property block_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "nodes that have names"},
    {.name = "v", .type = PROP_BOOL, .help = "more of each"},
    {.name = "device",
     .type = PROP_LINK,
     .names = (const char *const[]){"drive", NULL},
     .help = "one of them, or a node"},
    PROP_END};
static const Property info_snapshots_args[] = {
    {.name = "v", .type = PROP_BOOL, .help = "whether their memory would be mapped or read"},
    PROP_END};
static const Property named_nodes_args[] = {
    {.name = "flat", .type = PROP_BOOL, .help = "without the images' backing images"}, PROP_END};
static const Property blockstats_args[] = {
    {.name = "query-nodes", .type = PROP_BOOL, .help = "of every node, by its name"}, PROP_END};
static const Property mtree_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "as dispatch sees it"},
    {.name = "d", .type = PROP_BOOL, .help = "refused"},
    {.name = "o", .type = PROP_BOOL, .help = "refused"},
    {.name = "D", .type = PROP_BOOL, .help = "refused"},
    PROP_END};
static const Property cpu_args[] = {
    {.name = "index", .type = PROP_UINT32, .help = "the CPU", .flags = PROP_FLAG_REQUIRED},
    PROP_END};

#define REQUIRED_STRING(n, h)                                                                      \
    {                                                                                              \
        .name = (n), .type = PROP_STRING, .help = (h), .flags = PROP_FLAG_REQUIRED                 \
    }

static const Property id_args[] = {REQUIRED_STRING("id", "which one"), PROP_END};
static const Property usb_add_args[] = {REQUIRED_STRING("name", "which device"), PROP_END};
static const Property usb_del_args[] = {REQUIRED_STRING("place", "as BUS.ADDR"), PROP_END};
static const Property node_args[] = {REQUIRED_STRING("node-name", "which node"), PROP_END};
static const Property path_args[] = {REQUIRED_STRING("path", "an object path"), PROP_END};
static const Property type_args[] = {REQUIRED_STRING("typename", "a class"), PROP_END};
static const Property option_args[] = {
    {.name = "option", .type = PROP_STRING, .help = "one option"}, PROP_END};
static const Property qom_get_args[] = {REQUIRED_STRING("path", "an object path"),
                                        REQUIRED_STRING("property", "which property"), PROP_END};
static const Property qom_set_args[] = {
    REQUIRED_STRING("path", "an object path"),
    REQUIRED_STRING("property", "which property"),
    {.name = "value", .type = PROP_TREE, .help = "its new value", .flags = PROP_FLAG_REQUIRED},
    PROP_END};
static const Property qom_set_hmp_args[] = {
    {.name = "j", .type = PROP_BOOL, .help = "the value is JSON"},
    REQUIRED_STRING("path", "an object path"),
    REQUIRED_STRING("property", "which property"),
    REQUIRED_STRING("value", "its new value"),
    PROP_END};
static const Property maybe_path_args[] = {
    {.name = "path", .type = PROP_STRING, .help = "an object path"}, PROP_END};
static const Property types_args[] = {
    {.name = "implements", .type = PROP_STRING, .help = "a class that they derive from"},
    {.name = "abstract", .type = PROP_BOOL, .help = "abstract classes too"},
    PROP_END};
static const Property link_args[] = {
    REQUIRED_STRING("name", "a network card or connection"),
    {.name = "up", .type = PROP_BOOL, .help = "on or off", .flags = PROP_FLAG_REQUIRED},
    PROP_END};

static const Property announce_args[] = {
    {.name = "initial", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "max", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "rounds", .type = PROP_INT64, .help = "how many", .flags = PROP_FLAG_REQUIRED},
    {.name = "step", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "interfaces", .type = PROP_STRING_LIST, .help = "network cards; none: all"},
    {.name = "id", .type = PROP_STRING, .help = "which announcement to begin anew"},
    PROP_END};
static const Property announce_hmp_args[] = {
    {.name = "interfaces", .type = PROP_STRING, .help = "network cards; none: all"},
    {.name = "id", .type = PROP_STRING, .help = "which announcement to begin anew"},
    PROP_END};

static const Property fdname_args[] = {REQUIRED_STRING("fdname", "how it is called from now on"),
                                       PROP_END};
static const Property add_fd_args[] = {
    {.name = "fdset-id", .type = PROP_INT64, .help = "the set; none: a new one"},
    {.name = "opaque", .type = PROP_STRING, .help = "a note"},
    PROP_END};
static const Property remove_fd_args[] = {
    {.name = "fdset-id", .type = PROP_INT64, .help = "the set", .flags = PROP_FLAG_REQUIRED},
    {.name = "fd", .type = PROP_INT64, .help = "one of it"},
    PROP_END};
static const Property chardev_add_args[] = {REQUIRED_STRING("id", "its name"),
                                            {.name = "backend",
                                             .type = PROP_TREE,
                                             .help = "what it is",
                                             .flags = PROP_FLAG_REQUIRED,
                                             .shape = &chardev_backend_shape},
                                            PROP_END};
static const Property ringbuf_args[] = {
    REQUIRED_STRING("device", "a ring buffer"),
    {.name = "size", .type = PROP_INT64, .help = "how much of it", .flags = PROP_FLAG_REQUIRED},
    {.name = "format", .type = PROP_ENUM, .names = data_format_names, .help = "of the answer"},
    PROP_END};
static const Property ringbuf_write_args[] = {
    REQUIRED_STRING("device", "a ring buffer"),
    REQUIRED_STRING("data", "what is added to it"),
    {.name = "format", .type = PROP_ENUM, .names = data_format_names, .help = "of the data"},
    PROP_END};
static const Property action_args[] = {
    {.name = "reboot", .type = PROP_ENUM, .names = reboot_action_names},
    {.name = "shutdown", .type = PROP_ENUM, .names = shutdown_action_names},
    {.name = "panic", .type = PROP_ENUM, .names = panic_action_names},
    {.name = "watchdog", .type = PROP_ENUM, .names = watchdog_action_names},
    PROP_END};
static const Property watchdog_action_args[] = {{.name = "action",
                                                 .type = PROP_ENUM,
                                                 .names = watchdog_action_names,
                                                 .help = "what follows when a watchdog fires",
                                                 .flags = PROP_FLAG_REQUIRED},
                                                PROP_END};
static const Property balloon_args[] = {
    {.name = "value", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED}, PROP_END};
static const Property balloon_hmp_args[] = {REQUIRED_STRING("target", "MiB"), PROP_END};
static const Property blockdev_reopen_args[] = {MEMBER_LIST("options", PROP_TREE,
                                                            .shape = &block_options_shape,
                                                            .help = "all options of each node"),
                                                PROP_END};
static const Property blockdev_change_args[] = {
    MEMBER("parent", PROP_STRING, .help = "the node, or its device"),
    MAYBE("child", PROP_STRING, .help = "the child to remove"),
    MAYBE("node", PROP_STRING, .help = "the node to add"), PROP_END};
#define THROTTLE_RATES                                                                             \
    MEMBER("bps", PROP_INT64, .help = "bytes a second"),                                           \
        MEMBER("bps_rd", PROP_INT64, .help = "bytes read a second"),                               \
        MEMBER("bps_wr", PROP_INT64, .help = "bytes written a second"),                            \
        MEMBER("iops", PROP_INT64, .help = "requests a second"),                                   \
        MEMBER("iops_rd", PROP_INT64, .help = "reads a second"),                                   \
        MEMBER("iops_wr", PROP_INT64, .help = "writes a second")
#define THROTTLE_BURST(n)                                                                          \
    MAYBE(n "_max", PROP_INT64, .help = n " in bursts"),                                           \
        MAYBE(n "_max_length", PROP_INT64, .help = "seconds that a burst of " n " lasts")
static const Property block_set_io_throttle_args[] = {
    MAYBE("device", PROP_STRING, .help = "a drive"),
    MAYBE("id", PROP_STRING, .help = "a device"),
    THROTTLE_RATES,
    THROTTLE_BURST("bps"),
    THROTTLE_BURST("bps_rd"),
    THROTTLE_BURST("bps_wr"),
    THROTTLE_BURST("iops"),
    THROTTLE_BURST("iops_rd"),
    THROTTLE_BURST("iops_wr"),
    MAYBE("iops_size", PROP_INT64, .help = "bytes that count as one request"),
    MAYBE("group", PROP_STRING, .help = "with whom the limits are shared"),
    PROP_END,
};
static const Property block_set_io_throttle_hmp_args[] = {MONITOR_DRIVE("device", "a drive"),
                                                          THROTTLE_RATES, PROP_END};
static const Property qemu_io_hmp_args[] = {
    {.name = "d", .type = PROP_BOOL, .help = "the disk of a device"},
    MONITOR_DRIVE("device", "a drive, a node or a device"),
    REQUIRED_STRING("command", "as of vmm-io"),
    PROP_END};
static const Property block_write_threshold_args[] = {
    REQUIRED_STRING("node-name", "a node"),
    MEMBER("write-threshold", PROP_UINT64, .help = "offset in bytes; 0: none"), PROP_END};
static const Property block_histogram_args[] = {
    REQUIRED_STRING("id", "a device"),
    MAYBE_LIST("boundaries", PROP_UINT64, .help = "nanoseconds, ascending; of all kinds"),
    MAYBE_LIST("boundaries-read", PROP_UINT64, .help = "of reads"),
    MAYBE_LIST("boundaries-write", PROP_UINT64, .help = "of writes"),
    MAYBE_LIST("boundaries-flush", PROP_UINT64, .help = "of flushes"),
    PROP_END};
static const Property block_resize_args[] = {
    {.name = "device", .type = PROP_STRING, .help = "a drive"},
    {.name = "node-name", .type = PROP_STRING, .help = "or a node"},
    {.name = "size", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED},
    PROP_END};
static const Property block_resize_hmp_args[] = {
    MONITOR_DRIVE("device", "a drive"), MEMBER("size", PROP_SIZE_MIB, .help = "its new length"),
    PROP_END};
static const char *const export_remove_names[] = {"safe", "hard", NULL};
#define EXPORT_REMOVE_MODE                                                                         \
    {                                                                                              \
        .name = "mode", .type = PROP_ENUM, .names = export_remove_names,                           \
        .help = "safe: not while there are clients; hard: they are sent away"                      \
    }
static const Property export_del_args[] = {REQUIRED_STRING("id", "an export"), EXPORT_REMOVE_MODE,
                                           PROP_END};
static const Property nbd_start_args[] = {
    {.name = "addr",
     .type = PROP_TREE,
     .shape = &socket_address_legacy_shape,
     .help = "where it listens",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "tls-creds", .type = PROP_STRING, .help = "credentials: clients have to use TLS"},
    {.name = "tls-authz", .type = PROP_STRING, .help = "an authz object: who may connect"},
    {.name = "max-connections", .type = PROP_UINT32, .help = "clients at a time; 0: no limit"},
    PROP_END};
static const Property nbd_add_args[] = {
    {.name = "name", .type = PROP_STRING, .help = "what clients ask for"},
    {.name = "description", .type = PROP_STRING, .help = "text that clients can read"},
    REQUIRED_STRING("device", "a drive, or a node"),
    {.name = "writable", .type = PROP_BOOL, .help = "clients may write"},
    {.name = "bitmap", .type = PROP_STRING, .help = "that clients can ask about"},
    PROP_END};
static const Property nbd_remove_args[] = {REQUIRED_STRING("name", "an export"), EXPORT_REMOVE_MODE,
                                           PROP_END};
static const Property nbd_start_hmp_args[] = {
    {.name = "a", .type = PROP_BOOL, .help = "exports all disks"},
    {.name = "w", .type = PROP_BOOL, .help = "clients may write to them"},
    REQUIRED_STRING("uri", "where it listens"),
    PROP_END};
static const Property nbd_add_hmp_args[] = {
    {.name = "w", .type = PROP_BOOL, .help = "clients may write"},
    MONITOR_DRIVE("device", "a drive, or a node"),
    {.name = "name", .type = PROP_STRING, .help = "what clients ask for"},
    PROP_END};
static const Property nbd_remove_hmp_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "clients are sent away"},
    REQUIRED_STRING("name", "an export"),
    PROP_END};
static const Property snapshot_hmp_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "the image is there already"},
    MONITOR_DRIVE("device", "a drive"),
    {.name = "snapshot-file", .type = PROP_STRING, .help = "the overlay's image"},
    {.name = "format", .type = PROP_STRING, .help = "of the overlay"},
    PROP_END};
static const Property backup_hmp_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "the image is there already"},
    {.name = "f", .type = PROP_BOOL, .help = "the whole disk"},
    {.name = "c", .type = PROP_BOOL, .help = "compressed"},
    MONITOR_DRIVE("device", "a drive"),
    REQUIRED_STRING("target", "the image"),
    {.name = "format", .type = PROP_STRING, .help = "of the image"},
    PROP_END};
static const Property transaction_args[] = {
    MEMBER_LIST("actions", PROP_TREE, .shape = &block_action_shape, .help = "what is done"),
    MAYBE("properties", PROP_TREE, .shape = &block_transaction_properties_shape,
          .help = "how jobs of it end"),
    PROP_END};
static const Property change_backing_file_args[] = {
    REQUIRED_STRING("device", "a drive, or a node"),
    REQUIRED_STRING("image-node-name", "the image of its chain that is written to"),
    REQUIRED_STRING("backing-file", "the name"), PROP_END};
static const Property snapshot_delete_internal_args[] = {
    REQUIRED_STRING("device", "a drive, or a node"),
    {.name = "id", .type = PROP_STRING, .help = "of the snapshot"},
    {.name = "name", .type = PROP_STRING, .help = "or its name, or both"},
    PROP_END};
static const Property snapshot_internal_hmp_args[] = {MONITOR_DRIVE("device", "a drive, or a node"),
                                                      REQUIRED_STRING("name", "of the snapshot"),
                                                      PROP_END};
static const Property snapshot_delete_hmp_args[] = {
    MONITOR_DRIVE("device", "a drive, or a node"),
    REQUIRED_STRING("name", "of the snapshot"),
    {.name = "id", .type = PROP_STRING, .help = "of the snapshot as well"},
    PROP_END};
static const Property drive_add_args[] = {
    {.name = "n", .type = PROP_BOOL, .help = "a node without a drive"},
    REQUIRED_STRING("slot", "not looked at"),
    REQUIRED_STRING("opts", "as of -drive"),
    PROP_END};
#define MEDIA_DEVICE                                                                               \
    {.name = "device", .type = PROP_STRING, .help = "the drive, by the name of its -drive"},       \
    {                                                                                              \
        .name = "id", .type = PROP_STRING, .help = "or by its device"                              \
    }
#define MEDIA_FORCE                                                                                \
    {                                                                                              \
        .name = "force", .type = PROP_BOOL, .help = "even if the guest has locked it"              \
    }
#define MEDIA_FORMAT                                                                               \
    {                                                                                              \
        .name = "format", .type = PROP_STRING, .help = "of the image"                              \
    }
#define MEDIA_MODE                                                                                 \
    {                                                                                              \
        .name = "read-only-mode", .type = PROP_ENUM, .names = block_medium_mode_names,             \
        .help = "how the image is opened"                                                          \
    }
static const Property tray_args[] = {MEDIA_DEVICE, PROP_END};
static const Property open_tray_args[] = {MEDIA_DEVICE, MEDIA_FORCE, PROP_END};
static const Property remove_medium_args[] = {REQUIRED_STRING("id", "the device"), PROP_END};
static const Property insert_medium_args[] = {REQUIRED_STRING("id", "the device"),
                                              REQUIRED_STRING("node-name", "the medium"), PROP_END};
static const Property change_medium_args[] = {
    MEDIA_DEVICE, REQUIRED_STRING("filename", "the image"), MEDIA_FORMAT, MEDIA_FORCE, MEDIA_MODE,
    PROP_END};
static const Property drive_del_args[] = {MONITOR_DRIVE("id", "a drive, or a node"), PROP_END};
static const Property eject_hmp_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "even if the guest has locked it"},
    MONITOR_DRIVE("device", "the drive"),
    PROP_END};
static const Property change_hmp_args[] = {
    MONITOR_DRIVE("device", "the drive, or 'vnc'"),
    {.name = "f", .type = PROP_BOOL, .help = "even if the guest has locked it"},
    MONITOR_FILE("filename", "the image"),
    MEDIA_FORMAT,
    MEDIA_MODE,
    PROP_END};
#define SCREENDUMP_SCREEN                                                                          \
    {.name = "device", .type = PROP_STRING, .help = "whose screen; none: the first"},              \
    {                                                                                              \
        .name = "head", .type = PROP_UINT32, .help = "which of the device's screens"               \
    }
static const Property screendump_args[] = {
    REQUIRED_STRING("filename", "where it goes"),
    SCREENDUMP_SCREEN,
    {.name = "format",
     .type = PROP_ENUM,
     .names = image_format_names,
     .help = "what is written; none: as the name says (.ppm, .png, .txt), else ppm"},
    PROP_END};
static const Property screendump_hmp_args[] = {
    {.name = "f", .type = PROP_ENUM, .names = screendump_format_names, .help = "format"},
    {.name = "filename", .type = PROP_STRING, .help = "where it goes; none: text is shown"},
    SCREENDUMP_SCREEN,
    PROP_END};
static const Property log_args[] = {REQUIRED_STRING("items", "what is logged"), PROP_END};
static const Property logfile_args[] = {MONITOR_FILE("filename", "where it goes"), PROP_END};

#define SAVED_MEMORY                                                                               \
    {.name = "val", .type = PROP_INT64, .help = "its address", .flags = PROP_FLAG_REQUIRED},       \
        {.name = "size", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED},        \
        REQUIRED_STRING("filename", "where it goes")
static const Property memsave_args[] = {
    SAVED_MEMORY,
    {.name = "cpu-index", .type = PROP_INT64, .help = "the CPU whose addresses are meant"},
    PROP_END};
static const Property capabilities_args[] = {MEMBER_LIST("capabilities", PROP_TREE,
                                                         .shape = &migration_capability_result,
                                                         .help = "each with its state"),
                                             PROP_END};
static const Property capability_args[] = {
    MEMBER("capability", PROP_ENUM, .names = migration_capability_names, .help = "which one"),
    MEMBER("state", PROP_BOOL, .help = "on or off"), PROP_END};
static const Property pmemsave_args[] = {SAVED_MEMORY, PROP_END};
static const Property filename_args[] = {REQUIRED_STRING("filename", "a file"), PROP_END};

#define PASSWORD_PROTOCOL                                                                          \
    {                                                                                              \
        .name = "protocol", .type = PROP_ENUM, .names = password_protocol_names, .help = "vnc",    \
        .flags = PROP_FLAG_REQUIRED                                                                \
    }
#define PASSWORD_DISPLAY                                                                           \
    {                                                                                              \
        .name = "display", .type = PROP_STRING, .help = "id of the server"                         \
    }
#define PASSWORD_CONNECTED                                                                         \
    {                                                                                              \
        .name = "connected", .type = PROP_ENUM, .names = password_action_names,                    \
        .help = "what becomes of viewers: keep"                                                    \
    }
static const Property set_password_args[] = {PASSWORD_PROTOCOL,
                                             REQUIRED_STRING("password", "at most 8 characters"),
                                             PASSWORD_CONNECTED, PASSWORD_DISPLAY, PROP_END};
static const Property expire_password_args[] = {
    PASSWORD_PROTOCOL, REQUIRED_STRING("time", "now, never, +SECONDS, or seconds since 1970"),
    PASSWORD_DISPLAY, PROP_END};
static const Property set_password_hmp_args[] = {
    PASSWORD_PROTOCOL,
    REQUIRED_STRING("password", "at most 8 characters"),
    {.name = "d", .type = PROP_STRING, .help = "id of the server"},
    PASSWORD_CONNECTED,
    PROP_END};
static const Property expire_password_hmp_args[] = {
    PASSWORD_PROTOCOL,
    REQUIRED_STRING("time", "now, never, +SECONDS, or seconds since 1970"),
    {.name = "d", .type = PROP_STRING, .help = "id of the server"},
    PROP_END};
static const Property vnc_password_args[] = {REQUIRED_STRING("password", "at most 8 characters"),
                                             PROP_END};

static const Property send_key_args[] = {
    MEMBER_LIST("keys", PROP_TREE, .shape = &key_shape, .help = "pressed in this order"),
    {.name = "hold-time", .type = PROP_INT64, .help = "milliseconds between one and the next"},
    PROP_END};
static const Property sendkey_args[] = {
    REQUIRED_STRING("keys", "names or numbers, joined by '-'"),
    {.name = "hold-time", .type = PROP_INT64, .help = "milliseconds between one and the next"},
    PROP_END};
static const Property input_event_args[] = {
    {.name = "device", .type = PROP_STRING, .help = "the display that a pointer is on"},
    {.name = "head", .type = PROP_INT64, .help = "which of its screens"},
    MEMBER_LIST("events", PROP_TREE, .shape = &input_event_shape, .help = "one report"),
    PROP_END};
/* Texts, because an expression would read "5 -3" as a difference. */
static const Property mouse_move_args[] = {
    REQUIRED_STRING("dx", "to the right"),
    REQUIRED_STRING("dy", "down"),
    {.name = "dz", .type = PROP_STRING, .help = "wheel: up where positive"},
    PROP_END};
static const Property mouse_button_args[] = {
    {.name = "state", .type = PROP_INT64, .help = "a sum", .flags = PROP_FLAG_REQUIRED}, PROP_END};
static const Property mouse_set_args[] = {{.name = "index",
                                           .type = PROP_INT64,
                                           .help = "as 'info mice' has it",
                                           .flags = PROP_FLAG_REQUIRED},
                                          PROP_END};

static const char *const device_add_features[] = {"json-cli", "json-cli-hotplug", NULL};

static const MonitorCommand table[] = {
    /* Both. */
    {"stop", "stop", "s", .help = "stop emulation", .run = cmd_stop},
    {"cont", "cont", "c", .help = "resume emulation", .run = cmd_cont},
    {"system_reset", "system_reset", .help = "reset the system", .run = cmd_system_reset},
    {"system_powerdown", "system_powerdown", .help = "send system power down event",
     .run = cmd_system_powerdown},
    {"system_wakeup", "system_wakeup", .help = "wakeup guest from suspend",
     .run = cmd_system_wakeup},
    {"quit", "quit", "q", .help = "quit the emulator", .run = cmd_quit},
    {"inject-nmi", "nmi", .help = "inject an NMI", .run = cmd_nmi},
    {"query-status", "info status", .help = "show the current VM status (running|paused)",
     .run = cmd_query_status, .print = print_status, .result = RESULT_OF(status_result)},
    {"query-version", "info version", .help = "show the version", .run = cmd_query_version,
     .print = print_version, .result = RESULT_OF(version_result)},
    {"query-name", "info name", .help = "show the current VM name", .run = cmd_query_name,
     .print = print_name, .result = RESULT_OF(name_result)},
    {"query-uuid", "info uuid", .help = "show the current VM UUID", .run = cmd_query_uuid,
     .print = print_uuid, .result = RESULT_OF(uuid_result)},
    {"query-kvm", "info kvm", .help = "show KVM information", .run = cmd_query_kvm,
     .print = print_kvm, .result = RESULT_OF(kvm_result)},
    {"query-migrate-capabilities", "info migrate_capabilities",
     .help = "show current migration capabilities", .run = cmd_query_migrate_capabilities,
     .print = print_migrate_capabilities, .result = RESULT_LIST(migration_capability_result)},
    {"query-cpus-fast", "info cpus", .help = "show infos for each CPU", .run = cmd_query_cpus_fast,
     .print = print_cpus, .result = RESULT_LIST(cpu_info_result)},
    {"device_add", "device_add", .hmp_args = "driver[,prop=value][,...]",
     .help = "add device, like -device on the command line", .run = cmd_device_add,
     .flags = MONITOR_COMMAND_RAW_HMP, .args_shape = &device_add_shape,
     .features = device_add_features},
    {"device_del", "device_del", .args = id_args, .hmp_args = "device", .help = "remove device",
     .run = cmd_device_del},
    {"netdev_add", "netdev_add", .hmp_args = "[user|tap|...],id=str[,prop=value][,...]",
     .help = "add host network device", .run = cmd_netdev_add, .flags = MONITOR_COMMAND_RAW_HMP,
     .args_shape = &netdev_add_shape},
    {"netdev_del", "netdev_del", .args = id_args, .hmp_args = "id",
     .help = "remove host network device", .run = cmd_netdev_del},
    {"object-add", "object_add", .hmp_args = "[qom-type=]type,id=str[,prop=value][,...]",
     .help = "create QOM object", .run = cmd_object_add, .flags = MONITOR_COMMAND_RAW_HMP,
     .args_shape = &object_add_shape},
    {"object-del", "object_del", .args = id_args, .hmp_args = "id", .help = "destroy QOM object",
     .run = cmd_object_del},
    {"chardev-remove", "chardev-remove", .args = id_args, .hmp_args = "id",
     .help = "remove chardev", .run = cmd_chardev_remove},
    {"set_link", "set_link", .args = link_args, .hmp_args = "name on|off",
     .help = "change the link status of a network adapter", .run = cmd_set_link},
    {"announce-self", .args = announce_args, .run = cmd_announce_self,
     .help = "let network cards send packets by which switches find them"},
    {"query-mice", "info mice", .help = "show which guest mouse is receiving events",
     .run = cmd_query_mice, .print = print_mice, .result = RESULT_LIST(mouse_result)},
    {"query-iothreads", "info iothreads", .help = "show iothreads", .run = cmd_query_iothreads,
     .print = print_iothreads, .result = RESULT_LIST(iothread_result)},
    {"query-balloon", "info balloon", .help = "show balloon information", .run = cmd_query_balloon,
     .print = print_balloon, .result = RESULT_OF(balloon_result)},
    {"getfd", "getfd", .args = fdname_args, .hmp_args = "name", .run = cmd_getfd,
     .help = "receive a file descriptor via SCM rights and assign it a name"},
    {"closefd", "closefd", .args = fdname_args, .hmp_args = "name", .run = cmd_closefd,
     .help = "close a file descriptor previously passed via SCM rights"},
    {"ringbuf-read", "ringbuf_read", .args = ringbuf_args, .hmp_args = "device size",
     .help = "Read from a ring buffer character device", .run = cmd_ringbuf_read,
     .print = print_ringbuf, .result = RESULT_TEXT},
    {"ringbuf-write", "ringbuf_write", .args = ringbuf_write_args, .hmp_args = "device data",
     .help = "Write to a ring buffer character device", .run = cmd_ringbuf_write},
    {"chardev-send-break", "chardev-send-break", .args = id_args, .hmp_args = "id",
     .help = "send a break on chardev", .run = cmd_chardev_send_break},
    {.hmp = "savevm",
     .args = savevm_args,
     .hmp_args = "[-live] [name]",
     .help = "save the machine and its disks as a snapshot; one that has the name is replaced "
             "(-live: the guest goes on while its memory is saved)",
     .run = cmd_savevm},
    {.hmp = "loadvm",
     .args = vm_snapshot_args,
     .hmp_args = "name",
     .help = "go back to a snapshot of the machine and its disks",
     .run = cmd_loadvm},
    {.hmp = "delvm",
     .args = vm_snapshot_args,
     .hmp_args = "name",
     .help = "delete a snapshot of the machine and its disks",
     .run = cmd_delvm},
    {"x-save-state", "x-save-state", .args = filename_args, .hmp_args = "filename",
     .help = "write the state of the paused machine to a file", .run = cmd_x_save_state},
    {"x-load-state", "x-load-state", .args = filename_args, .hmp_args = "filename",
     .help = "read the state of the machine from a file of x-save-state", .run = cmd_x_load_state},
    {"memsave", "memsave", .args = memsave_args, .hmp_args = "addr size file",
     .help = "save to disk virtual memory dump starting at 'addr' of size 'size'",
     .run = cmd_memsave},
    {"pmemsave", "pmemsave", .args = pmemsave_args, .hmp_args = "addr size file",
     .help = "save to disk physical memory dump starting at 'addr' of size 'size'",
     .run = cmd_pmemsave},
    {"query-dump", "info dump", .help = "Display the latest dump status", .run = cmd_query_dump,
     .print = print_dump, .result = RESULT_OF(dump_result_shape)},
    {"query-memory-size-summary", "info memory_size_summary",
     .help = "show the amount of initially allocated and present hotpluggable (if enabled) memory "
             "in bytes.",
     .run = cmd_query_memory_size, .print = print_memory_size,
     .result = RESULT_OF(memory_size_result)},
    {"query-memdev", "info memdev", .help = "show memory backends", .run = cmd_query_memdev,
     .print = print_memdev, .result = RESULT_LIST(memdev_result)},
    {"query-hotpluggable-cpus", "info hotpluggable-cpus",
     .help = "Show information about hotpluggable CPUs", .run = cmd_query_hotpluggable_cpus,
     .print = print_hotpluggable_cpus, .result = RESULT_LIST(hotpluggable_cpu_result)},
    {"query-vm-generation-id", "info vm-generation-id",
     .help = "Show Virtual Machine Generation ID", .run = cmd_query_generation_id,
     .result = RESULT_OF(generation_id_result)},
    {"query-replay", "info replay", .help = "show record/replay information",
     .run = cmd_query_replay, .print = print_replay, .result = RESULT_OF(replay_result)},
    {"x-query-ramblock", "info ramblock", .help = "Display system ramblock information",
     .run = cmd_query_ramblock, .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-numa", "info numa", .help = "show NUMA information", .run = cmd_query_numa,
     .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-roms", "info roms", .help = "show roms", .run = cmd_query_roms,
     .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-usb", "info usb", .help = "show USB devices", .run = cmd_info_usb,
     .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-irq", "info irq", .help = "show the interrupts statistics (if available)",
     .run = cmd_info_irq, .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"query-memory-devices", "info memory-devices", .help = "show memory devices",
     .run = cmd_empty_list, .print = print_nothing, .result = RESULT_LIST(memory_device_result)},
    {"query-acpi-ospm-status",
     .help = "what the guest has said of slots for memory: there are none", .run = cmd_empty_list,
     .result = RESULT_LIST(acpi_ospm_result)},
    {"query-pr-managers", .help = "helpers for SCSI reservations: none", .run = cmd_empty_list,
     .result = RESULT_LIST(pr_manager_result)},
    {"query-tpm", "info tpm", .help = "show the TPM device", .run = cmd_empty_list,
     .print = print_nothing, .result = RESULT_LIST(tpm_result)},
    {"rtc-reset-reinjection", .help = "the clock's lost ticks do not come any more",
     .run = cmd_rtc_reset_reinjection},
    {"x-query-rdma", "info rdma", .help = "show RDMA state", .run = cmd_empty_text,
     .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-jit", "info jit", .help = "show dynamic compiler info", .run = cmd_query_jit,
     .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-opcount", "info opcount", .help = "show dynamic compiler opcode counters",
     .run = cmd_query_opcount, .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    {"x-query-profile", "info profile", .help = "show profiling information",
     .run = cmd_query_profile, .print = print_human_text, .result = RESULT_OF(human_text_result),
     .features = unstable_feature},
    /* QMP alone. */
    {"dump-guest-memory", .args = dump_args,
     .help = "writes guest memory and the CPUs' registers to a file", .run = cmd_dump},
    {"query-stats", .args_shape = &stats_filter_shape, .help = "KVM's statistics",
     .run = cmd_query_stats, .result = RESULT_LIST(stats_result)},
    {"trace-event-get-state", .args = trace_event_get_args,
     .help = "which trace events are on (docs/tracing.md)", .run = cmd_trace_event_get_state,
     .result = RESULT_LIST(trace_event_result)},
    {"trace-event-set-state", .args = trace_event_set_args, .help = "switches trace events",
     .run = cmd_trace_event_set_state},
    {"query-stats-schemas", .args = stats_schemas_args, .help = "which statistics there are",
     .run = cmd_query_stats_schemas, .result = RESULT_LIST(stats_schema_result)},
    {"query-dump-guest-memory-capability", .help = "formats of dump-guest-memory",
     .run = cmd_query_dump_capability, .result = RESULT_OF(dump_capability_result)},
    {"send-key", .args = send_key_args, .help = "presses keys and lets them go",
     .run = cmd_send_key},
    {"input-send-event", .args = input_event_args, .help = "keys, buttons and movements",
     .run = cmd_input_send_event},
    {"x-query-virtio", "info virtio", .help = "List all available virtio devices",
     .run = cmd_query_virtio, .print = print_virtio, .result = RESULT_LIST(virtio_result),
     .features = unstable_feature},
    {"x-query-virtio-status", .args = virtio_path_args, .help = "a virtio device",
     .run = cmd_query_virtio_status, .result = RESULT_OF(virtio_status_result),
     .features = unstable_feature},
    {"x-query-virtio-queue-status", .args = virtio_queue_args, .help = "a queue of such a device",
     .run = cmd_query_virtio_queue, .result = RESULT_OF(virtio_queue_result),
     .features = unstable_feature},
    {"x-query-virtio-vhost-queue-status", "info virtio-vhost-queue-status",
     .args = virtio_queue_args, .hmp_args = "path queue",
     .help = "Display status of a given vhost queue (refused: no device uses vhost)",
     .run = cmd_query_virtio_vhost_queue, .result = RESULT_OF(virtio_vhost_queue_result),
     .features = unstable_feature},
    {"x-query-virtio-queue-element", .args = virtio_element_args, .help = "a chain in a queue",
     .run = cmd_query_virtio_element, .result = RESULT_OF(virtio_element_result),
     .features = unstable_feature},
    {"query-rx-filter", .args = rx_filter_args, .help = "which packets network cards let through",
     .run = cmd_query_rx_filter, .result = RESULT_LIST(rx_filter_result)},
    {"query-pci", .help = "PCI devices", .run = cmd_query_pci, .result = RESULT_LIST(pci_result)},
    {"balloon", .args = balloon_args, .help = "asks the guest for memory", .run = cmd_balloon},
    {"chardev-add", .args = chardev_add_args, .help = "a character device", .run = cmd_chardev_add,
     .result = RESULT_OF(chardev_return_result)},
    {"chardev-change", .args = chardev_add_args, .help = "another backend for a character device",
     .run = cmd_chardev_change, .result = RESULT_OF(chardev_return_result)},
    {"add-fd", .args = add_fd_args, .help = "a descriptor for a set", .run = cmd_add_fd,
     .result = RESULT_OF(add_fd_result)},
    {"remove-fd", .args = remove_fd_args, .help = "closes what is in a set", .run = cmd_remove_fd},
    {"query-fdsets", .help = "sets of descriptors", .run = cmd_query_fdsets,
     .result = RESULT_LIST(fdset_result)},
    {"set-action", .args = action_args, .help = "what follows on what the guest does",
     .run = cmd_set_action, .flags = MONITOR_COMMAND_OOB},
    {"watchdog-set-action", "watchdog_action", .hmp_args = "ACTION", .args = watchdog_action_args,
     .help = "change watchdog action", .run = cmd_watchdog_set_action},
    {"migrate-set-capabilities", .args = capabilities_args, .help = "what a migration may do",
     .run = cmd_migrate_set_capabilities},
    {"query-qmp-schema", .help = "commands, events and their types", .run = cmd_query_schema,
     .result = RESULT_LIST(schema_result)},
    {"query-events", .help = "the names of all events", .run = cmd_query_events,
     .result = RESULT_LIST(only_name_result)},
    {"blockdev-add", .help = "a node of the block graph", .run = cmd_blockdev_add,
     .args_shape = &block_options_shape},
    {"blockdev-create", .args = blockdev_create_args, .help = "makes an image, in the background",
     .run = cmd_blockdev_create},
    {"x-blockdev-amend", .args = blockdev_amend_args,
     .help = "changes options of an image, in the background", .run = cmd_blockdev_amend},
    {"blockdev-reopen", .args = blockdev_reopen_args, .help = "other options of nodes in use",
     .run = cmd_blockdev_reopen},
    {"x-blockdev-change", .args = blockdev_change_args,
     .help = "adds or removes a child of a node whose driver has a list of them",
     .run = cmd_blockdev_change},
    {"block-stream", .args = block_stream_args, .help = "copies from backing files into a disk",
     .run = cmd_block_stream},
    {"block-commit", .args = block_commit_args, .help = "writes images into their backing file",
     .run = cmd_block_commit},
    {"block_set_io_throttle", .args = block_set_io_throttle_args,
     .help = "limits of a drive, and of the others in its group", .run = cmd_block_set_io_throttle},
    {"block-set-write-threshold", .args = block_write_threshold_args,
     .help = "BLOCK_WRITE_THRESHOLD when a write goes beyond this",
     .run = cmd_block_set_write_threshold},
    {"block-latency-histogram-set", .args = block_histogram_args,
     .help = "counts how long a device's requests take", .run = cmd_block_latency_histogram_set},
    {"block_resize", .args = block_resize_args, .help = "a new length of a disk",
     .run = cmd_block_resize},
    {"blockdev-snapshot-internal-sync", .args = block_snapshot_internal_args,
     .help = "a snapshot inside a disk's image", .run = cmd_snapshot_internal},
    {"blockdev-snapshot-sync", .args = block_snapshot_sync_args,
     .help = "an overlay in a new image, which takes all writes from now on",
     .run = cmd_snapshot_sync},
    {"blockdev-snapshot", .args = block_snapshot_args, .help = "a node as overlay above another",
     .run = cmd_snapshot},
    {"drive-backup", .args = block_drive_backup_args,
     .help = "copies a disk as it is now into an image, in the background",
     .run = cmd_drive_backup},
    {"blockdev-backup", .args = block_blockdev_backup_args,
     .help = "copies a disk as it is now into a node, in the background",
     .run = cmd_blockdev_backup},
    {"transaction", .args = transaction_args, .help = "all of these actions, or none",
     .run = cmd_transaction},
    {"change-backing-file", .args = change_backing_file_args,
     .help = "the backing file's name that stands in an image", .run = cmd_change_backing_file},
    {"snapshot-save", .args = snapshot_save_job_args, .run = cmd_snapshot_save,
     .help = "a job that saves the machine and its disks as a snapshot"},
    {"snapshot-load", .args = snapshot_job_args, .run = cmd_snapshot_load,
     .help = "a job that goes back to a snapshot of the machine and its disks"},
    {"snapshot-delete", .args = snapshot_delete_job_args, .run = cmd_snapshot_delete,
     .help = "a job that deletes a snapshot of the machine and its disks"},
    {"blockdev-snapshot-delete-internal-sync", .args = snapshot_delete_internal_args,
     .help = "deletes a snapshot inside a disk's image", .run = cmd_snapshot_delete_internal,
     .result = RESULT_OF(snapshot_info_result)},
    {"block-dirty-bitmap-add", .args = block_bitmap_add_args,
     .help = "begins to record what is written to a node", .run = cmd_bitmap_add},
    {"block-dirty-bitmap-remove", .args = block_bitmap_args, .help = "ends a dirty bitmap",
     .run = cmd_bitmap_remove},
    {"block-dirty-bitmap-clear", .args = block_bitmap_args, .help = "nothing is dirty any more",
     .run = cmd_bitmap_clear},
    {"block-dirty-bitmap-enable", .args = block_bitmap_args, .help = "a dirty bitmap records",
     .run = cmd_bitmap_enable},
    {"block-dirty-bitmap-disable", .args = block_bitmap_args,
     .help = "a dirty bitmap records no more", .run = cmd_bitmap_disable},
    {"block-dirty-bitmap-merge", .args = block_bitmap_merge_args,
     .help = "adds what is dirty in other bitmaps", .run = cmd_bitmap_merge},
    {"x-debug-block-dirty-bitmap-sha256", .args = block_bitmap_args,
     .help = "a hash of a dirty bitmap's bits", .run = cmd_bitmap_sha256,
     .result = RESULT_OF(bitmap_sha256_result)},
    {"blockdev-mirror", .args = blockdev_mirror_args,
     .help = "copies a live disk to a node, and what is written to it meanwhile",
     .run = cmd_blockdev_mirror},
    {"drive-mirror", .args = drive_mirror_args,
     .help = "copies a live disk to an image, and what is written to it meanwhile",
     .run = cmd_drive_mirror},
    {"blockdev-open-tray", .args = open_tray_args, .help = "opens a drive's tray",
     .run = cmd_blockdev_open_tray},
    {"blockdev-close-tray", .args = tray_args, .help = "closes a drive's tray",
     .run = cmd_blockdev_close_tray},
    {"blockdev-remove-medium", .args = remove_medium_args, .help = "empties an open tray",
     .run = cmd_blockdev_remove_medium},
    {"blockdev-insert-medium", .args = insert_medium_args, .help = "a node into an open tray",
     .run = cmd_blockdev_insert_medium},
    {"blockdev-change-medium", .args = change_medium_args, .help = "another image in a drive",
     .run = cmd_blockdev_change_medium},
    {"eject", .args = open_tray_args, .help = "opens a drive's tray and empties it",
     .run = cmd_eject},
    {"blockdev-del", .args = node_args, .help = "takes a node away", .run = cmd_blockdev_del},
    {"qom-list", .args = path_args, .help = "what lies below an object path", .run = cmd_qom_list,
     .result = RESULT_LIST(object_property_result)},
    {"qom-get", .args = qom_get_args, .help = "a property's value", .run = cmd_qom_get,
     .result = RESULT_ANY},
    {"qom-set", .args = qom_set_args, .help = "sets a property", .run = cmd_qom_set},
    {"qom-list-types", .args = types_args, .help = "classes", .run = cmd_qom_list_types,
     .result = RESULT_LIST(object_type_result)},
    {"device-list-properties", .args = type_args, .help = "properties of a device class",
     .run = cmd_device_list_properties, .result = RESULT_LIST(object_property_result)},
    {"qom-list-properties", .args = type_args, .help = "properties of a class",
     .run = cmd_qom_list_properties, .result = RESULT_LIST(object_property_result)},
    {"query-machines", .help = "boards", .run = cmd_query_machines,
     .result = RESULT_LIST(machine_result)},
    {"query-current-machine", .help = "what the machine can do", .run = cmd_query_current_machine,
     .result = RESULT_OF(current_machine_result)},
    {"query-cpu-definitions", .help = "CPU models", .run = cmd_query_cpu_definitions,
     .result = RESULT_LIST(cpu_definition_result)},
    {"query-target", .help = "the CPU family", .run = cmd_query_target,
     .result = RESULT_OF(target_result)},
    {"query-command-line-options", .args = option_args, .help = "options and their parameters",
     .run = cmd_query_command_line_options, .result = RESULT_LIST(command_line_option_result)},
    {"query-tpm-models", .help = "models of TPM devices: none", .run = cmd_empty_list,
     .result =
         &(const Property){.type = PROP_ENUM, .names = tpm_model_names, .flags = PROP_FLAG_LIST}},
    {"query-tpm-types", .help = "kinds of TPM backends: none", .run = cmd_empty_list,
     .result =
         &(const Property){.type = PROP_ENUM, .names = tpm_type_names, .flags = PROP_FLAG_LIST}},
    {"query-block", .help = "disks", .run = cmd_query_block,
     .result = RESULT_LIST(block_info_result)},
    {"query-blockstats", .args = blockstats_args, .help = "what disks, or nodes, have done",
     .run = cmd_query_blockstats, .result = RESULT_LIST(block_stats_result)},
    {"query-named-block-nodes", .args = named_nodes_args, .help = "nodes of the block graph",
     .run = cmd_query_named_block_nodes, .result = RESULT_LIST(block_device_result)},
    {"x-debug-query-block-graph", .help = "who uses which node of the block graph",
     .run = cmd_query_block_graph, .result = RESULT_OF(block_graph_result)},
    {"screendump", .args = screendump_args, .help = "a picture of a screen, or its text",
     .run = cmd_screendump},
    {"block-export-add", .args_shape = &block_export_options_shape,
     .help = "offers a node to others", .run = cmd_block_export_add},
    {"block-export-del", .args = export_del_args, .help = "takes an export away",
     .run = cmd_block_export_del},
    {"query-block-exports", .help = "exports of nodes", .run = cmd_query_block_exports,
     .result = RESULT_LIST(block_export_result)},
    {"nbd-server-start", .args = nbd_start_args, .help = "starts the NBD server",
     .run = cmd_nbd_server_start},
    {"nbd-server-add", .args = nbd_add_args, .help = "offers a disk to NBD clients",
     .run = cmd_nbd_server_add},
    {"nbd-server-remove", .args = nbd_remove_args, .help = "takes an NBD export away",
     .run = cmd_nbd_server_remove},
    {"nbd-server-stop", .help = "ends the NBD server and its exports", .run = cmd_nbd_server_stop},
    {"query-jobs", .help = "jobs", .run = cmd_query_jobs, .result = RESULT_LIST(job_result)},
    {"query-block-jobs", .help = "jobs of disks", .run = cmd_query_block_jobs,
     .result = RESULT_LIST(block_job_result)},
    {"job-pause", .args = job_args, .help = "pauses a job", .run = cmd_job_pause},
    {"job-resume", .args = job_args, .help = "lets a job go on", .run = cmd_job_resume},
    {"job-cancel", "job_cancel", .args = job_args, .hmp_args = "id", .help = "ends a job at once",
     .run = cmd_job_cancel},
    {"job-complete", .args = job_args, .help = "ends a job that is ready", .run = cmd_job_complete},
    {"job-finalize", .args = job_args, .help = "makes a job's result final",
     .run = cmd_job_finalize},
    {"job-dismiss", .args = job_args, .help = "forgets a job that has ended",
     .run = cmd_job_dismiss},
    {"block-job-pause", .args = block_job_args, .help = "pauses a job", .run = cmd_block_job_pause},
    {"block-job-resume", .args = block_job_args, .help = "lets a job go on",
     .run = cmd_block_job_resume},
    {"block-job-cancel", .args = block_job_cancel_args, .help = "ends a job",
     .run = cmd_block_job_cancel},
    {"block-job-complete", .args = block_job_args, .help = "ends a job that is ready",
     .run = cmd_block_job_complete},
    {"block-job-finalize", .args = block_job_id_args, .help = "makes a job's result final",
     .run = cmd_block_job_finalize},
    {"block-job-dismiss", .args = block_job_id_args, .help = "forgets a job that has ended",
     .run = cmd_block_job_dismiss},
    {"block-job-set-speed", .args = block_job_speed_args, .help = "how much a job does a second",
     .run = cmd_block_job_set_speed},
    {"query-vnc", .help = "the first VNC server", .run = cmd_query_vnc,
     .result = RESULT_OF(vnc_result)},
    {"query-vnc-servers", .help = "VNC servers", .run = cmd_query_vnc_servers,
     .result = RESULT_LIST(vnc_servers_result)},
    {"set_password", .args = set_password_args, .args_shape = &set_password_shape,
     .help = "set the password of a VNC server", .run = cmd_set_password},
    {"expire_password", .args = expire_password_args, .args_shape = &expire_password_shape,
     .help = "when the password of a VNC server expires", .run = cmd_expire_password},
    {"add_client", .args = add_client_args, .help = "a viewer that is connected already",
     .run = cmd_add_client},
    {"change-vnc-password", .args = vnc_password_args,
     .help = "the password of the first VNC server", .run = cmd_change_vnc_password},
    {"query-chardev", .help = "character devices", .run = cmd_query_chardev,
     .result = RESULT_LIST(chardev_info_result)},
    {"query-chardev-backends", .help = "kinds of character devices",
     .run = cmd_query_chardev_backends, .result = RESULT_LIST(only_name_result)},
    {"qmp_capabilities", .args = enable_args, .help = "end of the negotiation",
     .run = cmd_qmp_capabilities},
    {"query-commands", .help = "the names of all commands", .run = cmd_query_commands,
     .result = RESULT_LIST(only_name_result)},
    {"human-monitor-command", .args = hmc_args, .help = "an HMP line and what it prints",
     .run = cmd_human_monitor, .result = RESULT_TEXT},
    /* HMP alone. */
    {.hmp = "info registers",
     .args = registers_args,
     .hmp_args = "[-a|vcpu]",
     .help = "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to "
             "query; show the current CPU's registers if no argument is specified)",
     .run = cmd_info_registers,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info block",
     .args = block_args,
     .hmp_args = "[-n] [-v] [device]",
     .help = "show info of one block device or all block devices (-n: show named nodes; -v: show "
             "details)",
     .run = cmd_info_block,
     .print = print_text},
    {.hmp = "info block-jobs",
     .help = "show progress of ongoing block device operations",
     .run = cmd_query_block_jobs,
     .print = print_block_jobs},
    {.hmp = "info snapshots",
     .args = info_snapshots_args,
     .hmp_args = "[-v]",
     .help = "show the snapshots in the images of writable disks, -v: and whether their memory "
             "would be mapped",
     .run = cmd_info_snapshots,
     .print = print_text},
    {.hmp = "info blockstats",
     .help = "show block device statistics",
     .run = cmd_query_blockstats,
     .print = print_blockstats},
    {.hmp = "screendump",
     .args = screendump_hmp_args,
     .hmp_args = "[-f format] [filename [device [head]]]",
     .help = "save screen from head 'head' of display device 'device' in format 'format' (ppm, "
             "png, txt; default: as the suffix of 'filename' says, else ppm) as image 'filename'; "
             "without one, show the text on the screen",
     .run = cmd_screendump_hmp,
     .print = print_text},
    {.hmp = "info network",
     .help = "show the network state",
     .run = cmd_info_network,
     .print = print_text},
    {.hmp = "info usernet",
     .help = "show user network stack connection states",
     .run = cmd_info_usernet,
     .print = print_text},
    {.hmp = "info chardev",
     .help = "show the character devices",
     .run = cmd_info_chardev,
     .print = print_text},
    {.hmp = "info vnc",
     .help = "show the VNC servers and who looks",
     .run = cmd_info_vnc,
     .print = print_text},
    {.hmp = "info pci", .help = "show PCI info", .run = cmd_info_pci, .print = print_text},
    {.hmp = "info qtree", .help = "show device tree", .run = cmd_info_qtree, .print = print_text},
    {.hmp = "info qom-tree",
     .args = maybe_path_args,
     .hmp_args = "[path]",
     .help = "show QOM composition tree",
     .run = cmd_info_qom_tree},
    {.hmp = "qom-list",
     .args = maybe_path_args,
     .hmp_args = "path",
     .help = "list QOM properties",
     .run = cmd_qom_list_hmp,
     .print = print_qom_list},
    {.hmp = "qom-get",
     .args = qom_get_args,
     .hmp_args = "path property",
     .help = "print QOM property",
     .run = cmd_qom_get,
     .print = print_json},
    {.hmp = "qom-set",
     .args = qom_set_hmp_args,
     .hmp_args = "[-j] path property value",
     .help = "set QOM property (-j: the value is specified in json format)",
     .run = cmd_qom_set_hmp},
    {.hmp = "info mtree",
     .args = mtree_args,
     .hmp_args = "[-f]",
     .help = "show memory tree (-f: dump flat view for address spaces; QEMU's -d, -o and -D are "
             "refused)",
     .run = cmd_info_mtree,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info stats",
     .args = info_stats_args,
     .hmp_args = "[-r] target [names] [provider]",
     .help = "show statistics for the given target (vm or vcpu); optionally filter by name "
             "(comma-separated list, or * for all) and provider (-r: and how much comes in a "
             "second)",
     .run = cmd_info_stats,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info virtio-status",
     .args = virtio_path_args,
     .hmp_args = "path",
     .help = "Display status of a given virtio device",
     .run = cmd_info_virtio_status,
     .print = print_virtio_status},
    {.hmp = "info virtio-queue-status",
     .args = virtio_queue_args,
     .hmp_args = "path queue",
     .help = "Display status of a given virtio queue",
     .run = cmd_info_virtio_queue,
     .print = print_virtio_queue},
    {.hmp = "info virtio-queue-element",
     .args = virtio_element_args,
     .hmp_args = "path queue [index]",
     .help = "Display element of a given virtio queue",
     .run = cmd_info_virtio_element,
     .print = print_virtio_element},
    {.hmp = "info qdm",
     .help = "show qdev device model list",
     .run = cmd_info_qdm,
     .print = print_text},
    {.hmp = "info capture", .help = "show capture information", .run = cmd_nothing_to_tell},
    {.hmp = "info pic", .help = "show PIC state", .run = cmd_info_pic, .print = print_text},
    {.hmp = "info lapic",
     .args = lapic_args,
     .hmp_args = "[apic-id]",
     .help = "show local apic state (apic-id: local apic to read, default is which of current CPU)",
     .run = cmd_info_lapic,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info mem",
     .help = "show the active virtual memory mappings",
     .run = cmd_info_mem,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info tlb",
     .help = "show virtual to physical memory mappings",
     .run = cmd_info_tlb,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "x",
     .hmp_args = "/fmt addr",
     .help = "virtual memory dump starting at 'addr'",
     .run = cmd_x,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "xp",
     .hmp_args = "/fmt addr",
     .help = "physical memory dump starting at 'addr'",
     .run = cmd_xp,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "print",
     .hmp_alias = "p",
     .hmp_args = "/fmt expr",
     .help = "print expression value (use $reg for CPU register access)",
     .run = cmd_print,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "i",
     .hmp_args = "/fmt addr",
     .help = "I/O port read",
     .run = cmd_port_in,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "o",
     .hmp_args = "/fmt addr value",
     .help = "I/O port write",
     .run = cmd_port_out,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "gva2gpa",
     .args = address_args,
     .hmp_args = "addr",
     .help = "print the guest physical address corresponding to a guest virtual address",
     .run = cmd_gva2gpa,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "gpa2hva",
     .args = address_args,
     .hmp_args = "addr",
     .help = "print the host virtual address corresponding to a guest physical address",
     .run = cmd_gpa2hva,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "gpa2hpa",
     .args = address_args,
     .hmp_args = "addr",
     .help = "print the host physical address corresponding to a guest physical address",
     .run = cmd_gpa2hpa,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "sum",
     .args = sum_args,
     .hmp_args = "addr size",
     .help = "compute the checksum of a memory region",
     .run = cmd_sum,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "dump-guest-memory",
     .args = dump_hmp_args,
     .hmp_args = "[-p] [-d] [-z] filename [begin length]",
     .help = "dump guest memory into file 'filename', for gdb and crash (-p: do paging to get "
             "guest's memory mapping; -d: return immediately; -z: dump in kdump-compressed format, "
             "with zlib compression; begin: the starting physical address; length: the memory "
             "size, in bytes; QEMU's -l, -s and -w are refused)",
     .run = cmd_dump_hmp},
    {.hmp = "boot_set",
     .args = boot_set_args,
     .hmp_args = "bootdevice",
     .help = "define new values for the boot device list",
     .run = cmd_boot_set,
     .print = print_boot_set,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "mce",
     .args = mce_args,
     .hmp_args = "[-b] cpu bank status mcgstatus addr misc",
     .help = "inject a MCE on the given CPU [and broadcast to other CPUs with -b option]",
     .run = cmd_mce,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "sendkey",
     .args = sendkey_args,
     .hmp_args = "keys [hold_ms]",
     .help = "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=10 ms)",
     .run = cmd_sendkey,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "mouse_move",
     .args = mouse_move_args,
     .hmp_args = "dx dy [dz]",
     .help = "send mouse move events",
     .run = cmd_mouse_move,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "mouse_button",
     .args = mouse_button_args,
     .hmp_args = "state",
     .help = "change mouse button state (1=L, 2=M, 4=R)",
     .run = cmd_mouse_button,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "mouse_set",
     .args = mouse_set_args,
     .hmp_args = "index",
     .help = "set which mouse device receives events",
     .run = cmd_mouse_set,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "hostfwd_add",
     .hmp_args = "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
     .help = "redirect TCP or UDP connections from host to guest (requires -net user)",
     .run = cmd_hostfwd_add,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "hostfwd_remove",
     .hmp_args = "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
     .help = "remove host-to-guest TCP or UDP redirection",
     .run = cmd_hostfwd_remove,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "chardev-add",
     .hmp_args = "args",
     .help = "add chardev",
     .run = cmd_chardev_add_hmp,
     .print = print_text,
     .flags = MONITOR_COMMAND_RAW_HMP},
    {.hmp = "chardev-change",
     .hmp_args = "id args",
     .help = "change chardev",
     .run = cmd_chardev_change_hmp,
     .print = print_text,
     .flags = MONITOR_COMMAND_RAW_HMP},
    {.hmp = "gdbserver",
     .args = gdbserver_args,
     .hmp_args = "[device]",
     .help = "start gdbserver on given device (default 'tcp::1234'), stop with 'none'",
     .run = cmd_gdbserver,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "cpu",
     .args = cpu_args,
     .hmp_args = "index",
     .help = "set the default CPU",
     .run = cmd_cpu,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "balloon",
     .args = balloon_hmp_args,
     .hmp_args = "target",
     .help = "request VM to change its memory allocation (in MB)",
     .run = cmd_balloon_hmp},
    {.hmp = "qemu-io",
     .args = qemu_io_hmp_args,
     .hmp_args = "[-d] [device] \"[command]\"",
     .help = "run a qemu-io command on a block device (-d: [device] is a device ID rather than "
             "a drive ID or node name)",
     .run = cmd_qemu_io_hmp},
    {.hmp = "block_set_io_throttle",
     .args = block_set_io_throttle_hmp_args,
     .hmp_args = "device bps bps_rd bps_wr iops iops_rd iops_wr",
     .help = "change I/O throttle limits for a block drive",
     .run = cmd_block_set_io_throttle},
    {.hmp = "block_resize",
     .args = block_resize_hmp_args,
     .hmp_args = "device size",
     .help = "resize a block image",
     .run = cmd_block_resize},
    {.hmp = "nbd_server_start",
     .args = nbd_start_hmp_args,
     .hmp_args = "[-a] [-w] host:port",
     .help = "serve block devices on the given host and port",
     .run = cmd_nbd_server_start_hmp},
    {.hmp = "nbd_server_add",
     .args = nbd_add_hmp_args,
     .hmp_args = "[-w] device [name]",
     .help = "export a block device via NBD",
     .run = cmd_nbd_server_add_hmp},
    {.hmp = "nbd_server_remove",
     .args = nbd_remove_hmp_args,
     .hmp_args = "[-f] name",
     .help = "remove an export previously exposed via NBD",
     .run = cmd_nbd_server_remove_hmp},
    {.hmp = "nbd_server_stop",
     .help = "stop serving block devices using the NBD protocol",
     .run = cmd_nbd_server_stop},
    {.hmp = "drive_backup",
     .args = backup_hmp_args,
     .hmp_args = "[-n] [-f] [-c] device target [format]",
     .help = "copy a disk as it is now into an image, in the background (-n: the image is there "
             "already; -f: the whole disk, so that the result needs no backing file; -c: "
             "compressed)",
     .run = cmd_drive_backup_hmp},
    {.hmp = "snapshot_blkdev",
     .args = snapshot_hmp_args,
     .hmp_args = "[-n] device [new-image-file] [format]",
     .help =
         "an overlay in a new image takes the disk's writes from now on (-n: the image is there "
         "already)",
     .run = cmd_snapshot_hmp},
    {.hmp = "drive_mirror",
     .args = drive_mirror_hmp_args,
     .hmp_args = "[-n] [-f] device target [format]",
     .help = "copies a live disk to an image, and what is written to it meanwhile (-n: the image "
             "is there already; -f: all of the disk)",
     .run = cmd_drive_mirror_hmp},
    {.hmp = "commit",
     .args = commit_hmp_args,
     .hmp_args = "device|all",
     .help = "commit changes to the disk images (if -snapshot is used) or backing files",
     .run = cmd_commit_hmp,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "block_stream",
     .args = block_stream_hmp_args,
     .hmp_args = "device [speed [base]]",
     .help = "copy data from a backing file into a block device",
     .run = cmd_block_stream_hmp},
    {.hmp = "block_job_set_speed",
     .args = block_job_speed_hmp_args,
     .hmp_args = "device speed",
     .help = "set maximum speed for a background block operation",
     .run = cmd_block_job_set_speed},
    {.hmp = "block_job_cancel",
     .args = block_job_cancel_hmp_args,
     .hmp_args = "[-f] device",
     .help = "stop an active background block operation (-f: at once, and even if it is paused)",
     .run = cmd_block_job_cancel},
    {.hmp = "block_job_complete",
     .args = block_job_hmp_args,
     .hmp_args = "device",
     .help = "stop an active background block operation that is ready",
     .run = cmd_block_job_complete},
    {.hmp = "block_job_pause",
     .args = block_job_hmp_args,
     .hmp_args = "device",
     .help = "pause an active background block operation",
     .run = cmd_block_job_pause},
    {.hmp = "block_job_resume",
     .args = block_job_hmp_args,
     .hmp_args = "device",
     .help = "resume a paused background block operation",
     .run = cmd_block_job_resume},
    {.hmp = "snapshot_blkdev_internal",
     .args = snapshot_internal_hmp_args,
     .hmp_args = "device name",
     .help = "take an internal snapshot of device",
     .run = cmd_snapshot_internal},
    {.hmp = "snapshot_delete_blkdev_internal",
     .args = snapshot_delete_hmp_args,
     .hmp_args = "device name [id]",
     .help = "delete an internal snapshot of device",
     .run = cmd_snapshot_delete_internal},
    {.hmp = "eject",
     .args = eject_hmp_args,
     .hmp_args = "[-f] device",
     .help = "eject a removable medium (use -f to force it)",
     .run = cmd_eject},
    {.hmp = "change",
     .args = change_hmp_args,
     .hmp_args = "device [-f] filename [format [read-only-mode]]",
     .help = "change a removable medium, optional format (-f: even if the guest has locked it); or "
             "'vnc password [PASSWORD]'",
     .run = cmd_change_hmp},
    {.hmp = "set_password",
     .args = set_password_hmp_args,
     .hmp_args = "protocol password [-d display] [action-if-connected]",
     .help = "set the password of a VNC server",
     .run = cmd_set_password},
    {.hmp = "expire_password",
     .args = expire_password_hmp_args,
     .hmp_args = "protocol time [-d display]",
     .help = "when the password of a VNC server expires",
     .run = cmd_expire_password},
    {.hmp = "usb_add",
     .args = usb_add_args,
     .hmp_args = "tablet|mouse|keyboard|disk:[format=format:]file",
     .help = "plug in a USB device (short for drive_add and device_add)",
     .run = cmd_usb_add},
    {.hmp = "usb_del",
     .args = usb_del_args,
     .hmp_args = "bus.addr",
     .help = "unplug a USB device that 'info usb' shows",
     .run = cmd_usb_del},
    {.hmp = "drive_add",
     .args = drive_add_args,
     .hmp_args = "[-n] slot [file=file],if=none,id=str[,prop=value][,...]",
     .help = "add drive, like -drive on the command line; device_add may use it (-n: a node, like "
             "-blockdev)",
     .run = cmd_drive_add,
     .print = print_text,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "drive_del",
     .args = drive_del_args,
     .hmp_args = "device",
     .help = "remove host block device",
     .run = cmd_drive_del,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "announce_self",
     .args = announce_hmp_args,
     .hmp_args = "[interfaces] [id]",
     .help = "let network cards send packets by which switches find them",
     .run = cmd_announce_self_hmp},
    {.hmp = "migrate_set_capability",
     .args = capability_args,
     .hmp_args = "capability state",
     .help = "Enable/Disable the usage of a capability for migration",
     .run = cmd_migrate_set_capability_hmp},
    {.hmp = "log",
     .args = log_args,
     .hmp_args = "item1[,...]",
     .help = "activate logging of the specified items",
     .run = cmd_log},
    {.hmp = "trace-event",
     .args = trace_event_hmp_args,
     .hmp_args = "name on|off [vcpu]",
     .help = "changes status of a specific trace event (vcpu: vCPU to set, default is all)",
     .run = cmd_trace_event_hmp,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "info trace-events",
     .args = info_trace_events_args,
     .hmp_args = "[name] [vcpu]",
     .help = "show available trace-events & their state (name: event name pattern; vcpu: vCPU to "
             "query, default is any)",
     .run = cmd_info_trace_events,
     .print = print_trace_events,
     .flags = MONITOR_COMMAND_BARE_ERROR},
    {.hmp = "logfile",
     .args = logfile_args,
     .hmp_args = "filename",
     .help = "output logs to 'filename'",
     .run = cmd_logfile},
    {.hmp = "info history", .help = "show the command line history", .run = cmd_info_history},
    {.hmp = "info",
     .hmp_args = "[subcommand]",
     .help = "show various information about the system state",
     .run = cmd_info,
     .flags = MONITOR_COMMAND_RAW_HMP},
    {.hmp = "help",
     .hmp_alias = "?",
     .hmp_args = "[cmd]",
     .help = "show the help",
     .run = cmd_help,
     .flags = MONITOR_COMMAND_RAW_HMP | MONITOR_COMMAND_BARE_ERROR},
    {0},
};

const MonitorCommand *monitor_commands(void)
{
    return table;
}

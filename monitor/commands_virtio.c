/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info virtio-*, and x-query-virtio* and query-rx-filter of QMP. */
#include "base/error.h"
#include "base/json.h"
#include "base/keyval.h"
#include "commands.h"
#include "devices/virtio_info.h"

#define QUEUE_ARGS                                                                                 \
    MEMBER("path", PROP_STRING, .help = "a device, as 'info virtio' lists it"),                    \
        MEMBER("queue", PROP_UINT16, .help = "which of its queues")

const Property virtio_path_args[] = {
    MEMBER("path", PROP_STRING, .help = "a device, as 'info virtio' lists it"), PROP_END};
const Property virtio_queue_args[] = {QUEUE_ARGS, PROP_END};
const Property virtio_element_args[] = {
    QUEUE_ARGS,
    MAYBE("index", PROP_UINT16, .help = "in the available ring; none: what the device takes next"),
    PROP_END};

SHAPE(virtio_result, "VirtioInfo", MEMBER("path", PROP_STRING), MEMBER("name", PROP_STRING));
STATIC_SHAPE(features_shape, "VirtioDeviceFeatures", MEMBER_LIST("transports", PROP_STRING),
             MAYBE_LIST("dev-features", PROP_STRING), MAYBE("unknown-dev-features", PROP_UINT64));
STATIC_SHAPE(status_shape, "VirtioDeviceStatus", MEMBER_LIST("statuses", PROP_STRING),
             MAYBE("unknown-statuses", PROP_UINT8));
#define FEATURES(n) MEMBER(n, PROP_TREE, .shape = &features_shape)
SHAPE(virtio_status_result, "VirtioStatus", MEMBER("name", PROP_STRING),
      MEMBER("device-id", PROP_UINT16), MEMBER("vhost-started", PROP_BOOL),
      MEMBER("device-endian", PROP_STRING), FEATURES("guest-features"), FEATURES("host-features"),
      FEATURES("backend-features"), MEMBER("num-vqs", PROP_INT64),
      MEMBER("status", PROP_TREE, .shape = &status_shape), MEMBER("isr", PROP_UINT8),
      MEMBER("queue-sel", PROP_UINT16), MEMBER("vm-running", PROP_BOOL),
      MEMBER("broken", PROP_BOOL), MEMBER("disabled", PROP_BOOL), MEMBER("use-started", PROP_BOOL),
      MEMBER("started", PROP_BOOL), MEMBER("start-on-kick", PROP_BOOL),
      MEMBER("disable-legacy-check", PROP_BOOL), MEMBER("bus-name", PROP_STRING),
      MEMBER("use-guest-notifier-mask", PROP_BOOL));
SHAPE(virtio_queue_result, "VirtQueueStatus", MEMBER("name", PROP_STRING),
      MEMBER("queue-index", PROP_UINT16), MEMBER("inuse", PROP_UINT32),
      MEMBER("vring-num", PROP_UINT32), MEMBER("vring-num-default", PROP_UINT32),
      MEMBER("vring-align", PROP_UINT32), MEMBER("vring-desc", PROP_UINT64),
      MEMBER("vring-avail", PROP_UINT64), MEMBER("vring-used", PROP_UINT64),
      MAYBE("last-avail-idx", PROP_UINT16), MAYBE("shadow-avail-idx", PROP_UINT16),
      MEMBER("used-idx", PROP_UINT16), MEMBER("signalled-used", PROP_UINT16),
      MEMBER("signalled-used-valid", PROP_BOOL));
SHAPE(virtio_vhost_queue_result, "VirtVhostQueueStatus", MEMBER("name", PROP_STRING),
      MEMBER("kick", PROP_INT64), MEMBER("call", PROP_INT64), MEMBER("desc", PROP_UINT64),
      MEMBER("avail", PROP_UINT64), MEMBER("used", PROP_UINT64), MEMBER("num", PROP_INT64),
      MEMBER("desc-phys", PROP_UINT64), MEMBER("desc-size", PROP_UINT32),
      MEMBER("avail-phys", PROP_UINT64), MEMBER("avail-size", PROP_UINT32),
      MEMBER("used-phys", PROP_UINT64), MEMBER("used-size", PROP_UINT32));
STATIC_SHAPE(desc_shape, "VirtioRingDesc", MEMBER("addr", PROP_UINT64), MEMBER("len", PROP_UINT32),
             MEMBER_LIST("flags", PROP_STRING));
STATIC_SHAPE(avail_shape, "VirtioRingAvail", MEMBER("flags", PROP_UINT16),
             MEMBER("idx", PROP_UINT16), MEMBER("ring", PROP_UINT16));
STATIC_SHAPE(used_shape, "VirtioRingUsed", MEMBER("flags", PROP_UINT16),
             MEMBER("idx", PROP_UINT16));
SHAPE(virtio_element_result, "VirtioQueueElement", MEMBER("name", PROP_STRING),
      MEMBER("index", PROP_UINT32), MEMBER_LIST("descs", PROP_TREE, .shape = &desc_shape),
      MEMBER("avail", PROP_TREE, .shape = &avail_shape),
      MEMBER("used", PROP_TREE, .shape = &used_shape));

static const char *const rx_state_names[] = {"normal", "none", "all", NULL};
#define RX_STATE(n) MEMBER(n, PROP_ENUM, .names = rx_state_names)
SHAPE(rx_filter_result, "RxFilterInfo", MEMBER("name", PROP_STRING),
      MEMBER("promiscuous", PROP_BOOL), RX_STATE("multicast"), RX_STATE("unicast"),
      RX_STATE("vlan"), MEMBER("broadcast-allowed", PROP_BOOL),
      MEMBER("multicast-overflow", PROP_BOOL), MEMBER("unicast-overflow", PROP_BOOL),
      MEMBER("main-mac", PROP_STRING), MEMBER_LIST("vlan-table", PROP_INT64),
      MEMBER_LIST("unicast-table", PROP_STRING), MEMBER_LIST("multicast-table", PROP_STRING));
const Property rx_filter_args[] = {MAYBE("name", PROP_STRING, .help = "a card; none: all"),
                                   PROP_END};

MONITOR_HANDLER(cmd_query_rx_filter)
{
    return virtio_net_rx_filters(vm, json_str(args, "name"), err);
}

/* Devices. */

MONITOR_HANDLER(cmd_query_virtio)
{
    g_autoptr(GPtrArray) devices = virtio_devices(vm);
    json_t *out = json_array();

    for (unsigned i = 0; i < devices->len; i++) {
        VirtioDevice *vdev = devices->pdata[i];

        json_array_append_new(out, json_pack("{s:s,s:s}", "path", vdev->dev.path, "name",
                                             virtio_device_name(vdev->vclass->device_id)));
    }
    return out;
}

MONITOR_PRINTER(print_virtio)
{
    json_t *device;
    size_t i;

    json_array_foreach(result, i, device)
    {
        monitor_printf(mon, "%s [%s]\n", json_str(device, "path"), json_str(device, "name"));
    }
    if (!json_array_size(result)) {
        monitor_puts(mon, "No VirtIO devices\n");
    }
}

/* 'what' is how QEMU calls it. */
static VirtioDevice *virtio_cmd_device(Vm *vm, json_t *args, const char *what, GError **err)
{
    const char *path = json_str(args, "path");
    VirtioDevice *vdev = virtio_device_find(vm, path);

    if (!vdev) {
        error_set(err, "Path %s is not a %s", path, what);
    }
    return vdev;
}

/* The argument; 0: there is none. */
static uint16_t virtio_cmd_number(json_t *args, const char *name)
{
    return json_integer_value(json_object_get(args, name));
}

/* Takes the bits that have words. */
static json_t *virtio_take_words(uint64_t *bits, const VirtioWord *words)
{
    json_t *out = json_array();

    for (; words->word; words++) {
        if (*bits >> words->bit & 1) {
            json_array_append_new(out, json_string(words->word));
            *bits &= ~BIT64(words->bit);
        }
    }
    return out;
}

static json_t *virtio_features(uint64_t features, uint16_t device_id)
{
    json_t *out = json_object();

    json_object_set_new(out, "transports", virtio_take_words(&features, virtio_transport_words));
    json_object_set_new(out, "dev-features",
                        virtio_take_words(&features, virtio_device_words(device_id)));
    if (features) {
        json_object_set_new(out, "unknown-dev-features", json_uint(features));
    }
    return out;
}

static json_t *virtio_status(uint8_t status)
{
    uint64_t bits = status;
    json_t *out = json_pack("{s:o}", "statuses", virtio_take_words(&bits, virtio_status_words));

    if (bits) {
        json_object_set_new(out, "unknown-statuses", json_integer(bits));
    }
    return out;
}

/* The bus that the device offers (virtio-serial's). */
static const char *virtio_bus_name(const VirtioDevice *vdev)
{
    const GPtrArray *buses = vdev->dev.buses;

    return buses && buses->len ? ((Bus *)buses->pdata[0])->name : "";
}

MONITOR_HANDLER(cmd_query_virtio_status)
{
    VirtioDevice *vdev = virtio_cmd_device(vm, args, "VirtIODevice", err);
    VirtioInfo info;

    if (!vdev) {
        return NULL;
    }
    virtio_info(vdev, &info);
    return json_pack("{s:s,s:i,s:b,s:s,s:o,s:o,s:o,s:i,s:o,s:i,s:i,s:b,s:b,s:b,s:b,s:b,s:b,s:b,s:s,"
                     "s:b}",
                     "name", virtio_device_name(info.device_id), "device-id", info.device_id,
                     "vhost-started", 0, "device-endian", "little", "guest-features",
                     virtio_features(info.guest_features, info.device_id), "host-features",
                     virtio_features(info.host_features, info.device_id), "backend-features",
                     virtio_features(0, info.device_id), "num-vqs", (int)info.queue_count, "status",
                     virtio_status(info.status), "isr", info.isr, "queue-sel", info.queue_select,
                     "vm-running", info.running, "broken", info.broken, "disabled", info.disabled,
                     "use-started", info.use_started, "started", info.started, "start-on-kick",
                     info.start_on_kick, "disable-legacy-check", info.disable_legacy_check,
                     "bus-name", virtio_bus_name(vdev), "use-guest-notifier-mask", 1);
}

/* A list of words, of which each but the last ends in a comma. */
static void print_words(Monitor *mon, json_t *words)
{
    size_t n = json_array_size(words);

    for (size_t i = 0; i < n; i++) {
        monitor_printf(mon, "\t%s%s", json_string_value(json_array_get(words, i)),
                       i + 1 < n ? ",\n" : "");
    }
    monitor_puts(mon, "\n");
}

static void print_features(Monitor *mon, const char *title, json_t *features)
{
    json_t *words = json_object_get(features, "dev-features");
    uint64_t unknown;

    monitor_printf(mon, "  %s features:\n", title);
    print_words(mon, json_object_get(features, "transports"));
    if (json_array_size(words)) {
        print_words(mon, words);
    }
    if (json_uint_value(json_object_get(features, "unknown-dev-features"), &unknown)) {
        monitor_printf(mon, "  unknown-features(0x%016" G_GINT64_MODIFIER "x)\n", unknown);
    }
}

/* "  label:    value", with the value at the given column. */
static void print_member(Monitor *mon, json_t *result, const char *label, const char *key,
                         int column)
{
    json_t *value = json_object_get(result, key);

    monitor_printf(mon, "  %s:%*s", label, column - (int)strlen(label) - 1, "");
    if (json_is_boolean(value)) {
        monitor_printf(mon, "%s\n", json_is_true(value) ? "true" : "false");
    } else if (json_is_string(value)) {
        monitor_printf(mon, "%s\n", json_string_value(value));
    } else {
        monitor_printf(mon, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    }
}

/* HMP needs the path, which is no part of QMP's results; nobody but print_path() sees it. */
static json_t *virtio_with_path(json_t *result, json_t *args)
{
    if (result) {
        json_object_set(result, "path", json_object_get(args, "path"));
    }
    return result;
}

MONITOR_HANDLER(cmd_info_virtio_status)
{
    return virtio_with_path(cmd_query_virtio_status(mon, vm, args, err), args);
}

MONITOR_HANDLER(cmd_info_virtio_queue)
{
    return virtio_with_path(cmd_query_virtio_queue(mon, vm, args, err), args);
}

MONITOR_HANDLER(cmd_info_virtio_element)
{
    return virtio_with_path(cmd_query_virtio_element(mon, vm, args, err), args);
}

MONITOR_PRINTER(print_virtio_status)
{
    static const struct {
        const char *label, *key;
    } lines[] = {{"device_id", "device-id"},
                 {"vhost_started", "vhost-started"},
                 {"bus_name", "bus-name"},
                 {"broken", "broken"},
                 {"disabled", "disabled"},
                 {"disable_legacy_check", "disable-legacy-check"},
                 {"started", "started"},
                 {"use_started", "use-started"},
                 {"start_on_kick", "start-on-kick"},
                 {"use_guest_notifier_mask", "use-guest-notifier-mask"},
                 {"vm_running", "vm-running"},
                 {"num_vqs", "num-vqs"},
                 {"queue_sel", "queue-sel"},
                 {"isr", "isr"},
                 {"endianness", "device-endian"}};
    json_t *status = json_object_get(result, "status");
    json_t *unknown = json_object_get(status, "unknown-statuses");

    monitor_printf(mon, "%s:\n  device_name:             %s \n", json_str(result, "path"),
                   json_str(result, "name"));
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        print_member(mon, result, lines[i].label, lines[i].key, 25);
    }
    monitor_puts(mon, "  status:\n");
    print_words(mon, json_object_get(status, "statuses"));
    if (unknown) {
        monitor_printf(mon, "  unknown-statuses(0x%016" G_GINT64_MODIFIER "x)\n",
                       (uint64_t)json_integer_value(unknown));
    }
    print_features(mon, "Guest", json_object_get(result, "guest-features"));
    print_features(mon, "Host", json_object_get(result, "host-features"));
    print_features(mon, "Backend", json_object_get(result, "backend-features"));
}

/* Queues. */

MONITOR_HANDLER(cmd_query_virtio_queue)
{
    uint16_t queue = virtio_cmd_number(args, "queue");
    VirtioDevice *vdev = virtio_cmd_device(vm, args, "VirtIODevice", err);
    const char *name = vdev ? virtio_device_name(vdev->vclass->device_id) : NULL;
    VirtqueueInfo i;

    if (!vdev || !virtqueue_info(vdev, queue, &i, err)) {
        return NULL;
    }
    return json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:i,s:i,s:i,s:i,s:b}", "name", name,
                     "queue-index", (int)queue, "inuse", (int)i.inuse, "vring-num", i.size,
                     "vring-num-default", i.max_size, "vring-align", 4096, "vring-desc",
                     json_uint(i.desc), "vring-avail", json_uint(i.driver), "vring-used",
                     json_uint(i.device), "last-avail-idx", i.last_avail, "shadow-avail-idx",
                     i.shadow_avail, "used-idx", i.used_idx, "signalled-used", i.signalled_used,
                     "signalled-used-valid", i.signalled_valid);
}

MONITOR_PRINTER(print_virtio_queue)
{
    static const struct {
        const char *label, *key;
    } lines[] = {{"device_name", "name"},
                 {"queue_index", "queue-index"},
                 {"inuse", "inuse"},
                 {"used_idx", "used-idx"},
                 {"signalled_used", "signalled-used"},
                 {"signalled_used_valid", "signalled-used-valid"},
                 {"last_avail_idx", "last-avail-idx"},
                 {"shadow_avail_idx", "shadow-avail-idx"}},
      ring[] = {{"  num", "vring-num"},
                {"  num_default", "vring-num-default"},
                {"  align", "vring-align"}};
    static const char *const parts[] = {"desc", "avail", "used"};

    monitor_printf(mon, "%s:\n", json_str(result, "path"));
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        print_member(mon, result, lines[i].label, lines[i].key, 22);
    }
    monitor_puts(mon, "  VRing:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(ring); i++) {
        print_member(mon, result, ring[i].label, ring[i].key, 16);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *key = g_strconcat("vring-", parts[i], NULL);
        uint64_t addr = 0;

        json_uint_value(json_object_get(result, key), &addr);
        monitor_printf(mon, "    %s:%*s0x%016" G_GINT64_MODIFIER "x\n", parts[i],
                       13 - (int)strlen(parts[i]), "", addr);
    }
}

MONITOR_HANDLER(cmd_query_virtio_vhost_queue)
{
    if (virtio_cmd_device(vm, args, "VirtIODevice", err)) {
        error_set(err, "Error: vhost device has not started yet");
    }
    return NULL;
}

/* 2.7.5, 2.8.1. */
static json_t *virtio_desc_flags(uint16_t flags)
{
    static const VirtioWord words[] = {{15, "used"}, {7, "avail"}, {2, "indirect"},
                                       {1, "write"}, {0, "next"},  {0, NULL}};
    uint64_t bits = flags;

    return virtio_take_words(&bits, words);
}

/* The chain's last descriptor comes first, as in QEMU. */
static json_t *virtio_descs(const GArray *descs)
{
    json_t *out = json_array();

    for (unsigned i = descs->len; i--;) {
        const VirtqueueDesc *d = &g_array_index(descs, VirtqueueDesc, i);

        json_array_append_new(out,
                              json_pack("{s:o,s:I,s:o}", "addr", json_uint(d->addr), "len",
                                        (json_int_t)d->len, "flags", virtio_desc_flags(d->flags)));
    }
    return out;
}

MONITOR_HANDLER(cmd_query_virtio_element)
{
    uint16_t queue = virtio_cmd_number(args, "queue");
    int index = virtio_cmd_number(args, "index");
    VirtioDevice *vdev = virtio_cmd_device(vm, args, "VirtIO device", err);
    const char *name = vdev ? virtio_device_name(vdev->vclass->device_id) : NULL;
    VirtqueueChain c;
    json_t *out;

    if (vdev && !json_object_get(args, "index")) {
        index = -1;
    }
    if (!vdev || !virtqueue_chain(vdev, queue, index, &c, err)) {
        return NULL;
    }
    out = json_pack("{s:s,s:i,s:o,s:{s:i,s:i,s:i},s:{s:i,s:i}}", "name", name, "index", c.head,
                    "descs", virtio_descs(c.descs), "avail", "flags", c.avail_flags, "idx",
                    c.avail_idx, "ring", c.head, "used", "flags", c.used_flags, "idx", c.used_idx);
    g_array_unref(c.descs);
    return out;
}

static void print_desc(Monitor *mon, json_t *desc)
{
    json_t *flags = json_object_get(desc, "flags");
    size_t n = json_array_size(flags);
    uint64_t addr = 0;

    json_uint_value(json_object_get(desc, "addr"), &addr);
    monitor_printf(mon, "        addr 0x%" G_GINT64_MODIFIER "x len %" JSON_INTEGER_FORMAT, addr,
                   json_integer_value(json_object_get(desc, "len")));
    for (size_t i = 0; i < n; i++) {
        monitor_printf(mon, "%s%s%s", i ? ", " : " (", json_string_value(json_array_get(flags, i)),
                       i + 1 < n ? "" : ")");
    }
}

MONITOR_PRINTER(print_virtio_element)
{
    json_t *descs = json_object_get(result, "descs"), *desc;
    json_t *avail = json_object_get(result, "avail"), *used = json_object_get(result, "used");
    size_t i;

    monitor_printf(mon, "%s:\n  device_name: %s\n", json_str(result, "path"),
                   json_str(result, "name"));
    print_member(mon, result, "index", "index", 9);
    monitor_puts(mon, "  desc:\n    descs:\n");
    json_array_foreach(descs, i, desc)
    {
        print_desc(mon, desc);
        monitor_puts(mon, i + 1 < json_array_size(descs) ? ",\n" : "\n");
    }
    monitor_puts(mon, "  avail:\n");
    print_member(mon, avail, "  flags", "flags", 9);
    print_member(mon, avail, "  idx", "idx", 9);
    print_member(mon, avail, "  ring", "ring", 9);
    monitor_puts(mon, "  used:\n");
    print_member(mon, used, "  flags", "flags", 9);
    print_member(mon, used, "  idx", "idx", 9);
}

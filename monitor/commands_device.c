/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices, objects, networks, and the lists of what can be made. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "base/object.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/node.h"
#include "chardev/chardev.h"
#include "commands.h"
#include "kinds.h"
#include "devices/usb.h"
#include "machine/machine.h"
#include "net/net.h"
#include "vm/iothread.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

/* Arguments. */

const Property usb_add_args[] = {MEMBER("name", PROP_STRING, .help = "which device"), PROP_END};
const Property usb_del_args[] = {MEMBER("place", PROP_STRING, .help = "as BUS.ADDR"), PROP_END};
const Property node_args[] = {MEMBER("node-name", PROP_STRING, .help = "which node"), PROP_END};
const Property option_args[] = {{.name = "option", .type = PROP_STRING, .help = "one option"},
                                PROP_END};
const Property link_args[] = {
    MEMBER("name", PROP_STRING, .help = "a network card or connection"),
    {.name = "up", .type = PROP_BOOL, .help = "on or off", .flags = PROP_FLAG_REQUIRED},
    PROP_END};
const Property announce_args[] = {
    {.name = "initial", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "max", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "rounds", .type = PROP_INT64, .help = "how many", .flags = PROP_FLAG_REQUIRED},
    {.name = "step", .type = PROP_INT64, .help = "ms", .flags = PROP_FLAG_REQUIRED},
    {.name = "interfaces", .type = PROP_STRING_LIST, .help = "network cards; none: all"},
    {.name = "id", .type = PROP_STRING, .help = "which announcement to begin anew"},
    PROP_END};
const Property announce_hmp_args[] = {
    {.name = "interfaces", .type = PROP_STRING, .help = "network cards; none: all"},
    {.name = "id", .type = PROP_STRING, .help = "which announcement to begin anew"},
    PROP_END};
const Property ringbuf_write_args[] = {
    MEMBER("device", PROP_STRING, .help = "a ring buffer"),
    MEMBER("data", PROP_STRING, .help = "what is added to it"),
    {.name = "format", .type = PROP_ENUM, .names = data_format_names, .help = "of the data"},
    PROP_END};
const Property blockdev_reopen_args[] = {MEMBER_LIST("options", PROP_TREE,
                                                     .shape = &block_options_shape,
                                                     .help = "all options of each node"),
                                         PROP_END};

/* The argument of an HMP command; NULL in QMP, where "text" is a key like any other. */
static const char *hmp_text(Monitor *mon, json_t *args)
{
    return mon->mode == MONITOR_HMP ? json_str(args, "text") : NULL;
}

/* Arguments as a tree, from HMP's text or QMP's object: a new reference, or NULL and *err. */
static json_t *tree_of(Monitor *mon, json_t *args, const char *implied, bool nest,
                       const char *const *lists, GError **err)
{
    const char *text = hmp_text(mon, args);

    if (text) {
        return keyval_parse(text, implied, lists, nest, err);
    }
    if (!json_object_size(args)) {
        error_set(err, "Parameter '%s' is missing", implied);
        return NULL;
    }
    return json_incref(args);
}

static json_t *device_cmd_done(bool ok)
{
    return ok ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_device_add)
{
    json_t *tree;
    bool ok;

    if (devices_answer_help(mon, hmp_text(mon, args))) {
        return json_object();
    }
    tree = tree_of(mon, args, "driver", true, NULL, err);
    ok = tree && device_add(vm, tree, true, err);
    json_decref(tree);
    return device_cmd_done(ok);
}

MONITOR_HANDLER(cmd_device_del)
{
    return device_cmd_done(device_del(vm, json_str(args, "id"), err));
}

MONITOR_HANDLER(cmd_netdev_add)
{
    json_t *tree;
    bool ok;

    if (kinds_answer_help(mon, &netdev_kinds, hmp_text(mon, args))) {
        return json_object();
    }
    tree = tree_of(mon, args, "type", true, net_list_keys, err);
    if (tree) {
        monitor_resolve_fds(mon, tree);
    }
    ok = tree && netdev_add(tree, err);
    json_decref(tree);
    return device_cmd_done(ok);
}

MONITOR_HANDLER(cmd_netdev_del)
{
    return device_cmd_done(netdev_del(json_str(args, "id"), err));
}

MONITOR_HANDLER(cmd_object_add)
{
    json_t *tree;
    bool ok;

    if (kinds_answer_help(mon, &object_kinds, hmp_text(mon, args))) {
        return json_object();
    }
    tree = tree_of(mon, args, "qom-type", true, NULL, err);
    ok = tree && object_create(tree, err);
    json_decref(tree);
    return device_cmd_done(ok);
}

MONITOR_HANDLER(cmd_object_del)
{
    return device_cmd_done(object_delete(json_str(args, "id"), err));
}

MONITOR_HANDLER(cmd_blockdev_add)
{
    return device_cmd_done(block_node_add_monitor_owned(args, err));
}

MONITOR_HANDLER(cmd_blockdev_del)
{
    const char *name = json_str(args, "node-name");
    BlockNode *n = block_node_find(name);

    return device_cmd_done((!n || job_node_is_free(n, err)) &&
                           block_node_del_monitor_owned(name, err));
}

MONITOR_HANDLER(cmd_blockdev_reopen)
{
    return device_cmd_done(block_reopen(json_object_get(args, "options"), err));
}

MONITOR_HANDLER(cmd_chardev_remove)
{
    return device_cmd_done(chardev_remove(json_str(args, "id"), err));
}

static json_t *chardev_done(const Chardev *chr)
{
    g_autofree char *text = chr ? chardev_announcement(chr) : NULL;

    return chr ? json_string(text ? text : "") : NULL;
}

MONITOR_HANDLER(cmd_chardev_add_hmp)
{
    json_auto_t *tree = NULL;
    const char *id;

    if (kinds_answer_help(mon, &chardev_kinds, hmp_text(mon, args))) {
        return json_string("");
    }
    tree = tree_of(mon, args, "backend", false, NULL, err);
    id = tree ? json_str(tree, "id") : NULL;
    return tree && (!id || id_check(id, err)) ? chardev_done(chardev_add(tree, err)) : NULL;
}

/* The line is "ID ARGS". */
MONITOR_HANDLER(cmd_chardev_change_hmp)
{
    const char *text = hmp_text(mon, args), *end = text ? strchr(text, ' ') : NULL;
    g_autofree char *id = end ? g_strndup(text, end - text) : NULL;
    json_auto_t *tree = NULL;

    if (!end || !*id) {
        error_set(err, "expected the id of a character device and what it becomes, as in "
                       "'chardev-change serial0 socket,path=s,server=on,wait=off'");
        return NULL;
    }
    tree = keyval_parse(end + strspn(end, " \t"), "backend", NULL, false, err);
    if (!tree) {
        return NULL;
    }
    json_object_set_new(tree, "id", json_string(id));
    return chardev_done(chardev_change(tree, err));
}

/* QAPI's DataFormat: how bytes are written as a JSON string. */
const char *const data_format_names[] = {"utf8", "base64", NULL};

MONITOR_HANDLER(cmd_ringbuf_write)
{
    const char *id = json_str(args, "device"), *data = json_str(args, "data");
    Chardev *chr = chardev_find(id);
    g_autofree uint8_t *decoded = NULL;
    gsize len = strlen(data);

    if (!chr) {
        error_set(err, "Device '%s' not found", id);
        return NULL;
    }
    if (!g_strcmp0(json_str(args, "format"), "base64")) {
        decoded = g_base64_decode(data, &len);
    }
    if (!chardev_ringbuf_write(chr, decoded ? (const void *)decoded : data, len)) {
        error_set(err, "%s is not a ringbuf device", id);
        return NULL;
    }
    return json_object();
}

MONITOR_HANDLER(cmd_query_chardev_backends)
{
    json_t *out = json_array();

    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        json_array_append_new(out, json_pack("{s:s}", "name", (*c)->name));
    }
    return out;
}

/* Networks. */

MONITOR_HANDLER(cmd_set_link)
{
    const char *name = json_str(args, "name");
    NetPeer *peer = net_find(name);

    if (!peer) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", name);
        return NULL;
    }
    net_set_link(peer, json_is_true(json_object_get(args, "up")));
    return json_object();
}

static int64_t announce_number(json_t *args, const char *name)
{
    return json_integer_value(json_object_get(args, name));
}

MONITOR_HANDLER(cmd_announce_self)
{
    const NetAnnounce params = {announce_number(args, "initial"), announce_number(args, "max"),
                                announce_number(args, "rounds"), announce_number(args, "step")};

    return device_cmd_done(
        net_announce_self(&params, json_object_get(args, "interfaces"), json_str(args, "id"), err));
}

/* "[interfaces] [id]": names with commas between them. */
MONITOR_HANDLER(cmd_announce_self_hmp)
{
    static const NetAnnounce usual = {.initial = 50, .max = 550, .rounds = 5, .step = 100};
    const char *list = json_str(args, "interfaces");
    g_auto(GStrv) words = g_strsplit(list ? list : "", ",", 0);
    json_t *names = json_array();
    json_t *result;

    for (char **word = words; *word; word++) {
        json_array_append_new(names, json_string(*word));
    }
    result = device_cmd_done(net_announce_self(&usual, names, json_str(args, "id"), err));
    json_decref(names);
    return result;
}

/* "[netdev_id] rule": two words, or the rule alone. */
static bool split_rule(json_t *args, char **id, char **rule, GError **err)
{
    const char *text = json_str(args, "text");
    g_auto(GStrv) words = g_strsplit(text ? text : "", " ", 2);

    if (!text) {
        return error_set(
            err,
            "a rule is missing: [netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport");
    }
    *id = words[1] ? g_strdup(words[0]) : NULL;
    *rule = g_strdup(g_strstrip(words[1] ? words[1] : words[0]));
    return true;
}

MONITOR_HANDLER(cmd_hostfwd_add)
{
    g_autofree char *id = NULL, *rule = NULL;

    return device_cmd_done(split_rule(args, &id, &rule, err) && net_hostfwd_add(id, rule, err));
}

MONITOR_HANDLER(cmd_hostfwd_remove)
{
    g_autofree char *id = NULL, *rule = NULL;

    if (!split_rule(args, &id, &rule, err) || !net_hostfwd_remove(id, rule, err)) {
        return NULL;
    }
    monitor_printf(mon, "host forwarding rule for %s removed\n", rule);
    return json_object();
}

/* I/O threads. */

static void add_iothread(Object *obj, void *data)
{
    if (obj->class == &iothread_class) {
        json_array_append_new(data, json_pack("{s:s,s:i,s:I,s:i,s:i,s:i}", "id", obj->id,
                                              "thread-id", iothread_tid(obj), "poll-max-ns",
                                              (json_int_t)iothread_poll_max_ns(obj), "poll-grow", 0,
                                              "poll-shrink", 0, "aio-max-batch", 0));
    }
}

MONITOR_HANDLER(cmd_query_iothreads)
{
    json_t *out = json_array();

    object_foreach(add_iothread, out);
    return out;
}

MONITOR_PRINTER(print_iothreads)
{
    size_t i;
    json_t *t;

    json_array_foreach(result, i, t)
    {
        monitor_printf(mon, "%s:\n  thread_id=%d\n  poll-max-ns=%" JSON_INTEGER_FORMAT "\n",
                       json_str(t, "id"), (int)json_integer_value(json_object_get(t, "thread-id")),
                       json_integer_value(json_object_get(t, "poll-max-ns")));
    }
}

/* What can be made. */

MONITOR_HANDLER(cmd_query_machines)
{
    json_t *out = json_array();

    for (const MachineClass *const *m = machine_classes(); *m; m++) {
        json_t *entry = json_pack("{s:s,s:i,s:b,s:b,s:b}", "name", (*m)->name, "cpu-max",
                                  (*m)->max_cpus ? (int)(*m)->max_cpus : 1, "hotpluggable-cpus", 0,
                                  "numa-mem-supported", 0, "deprecated", 0);

        if ((*m)->alias) {
            json_object_set_new(entry, "alias", json_string((*m)->alias));
        }
        if ((*m)->is_default) {
            json_object_set_new(entry, "is-default", json_true());
        }
        if ((*m)->default_cpu) {
            g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", (*m)->default_cpu);

            json_object_set_new(entry, "default-cpu-type", json_string(type));
        }
        if ((*m)->default_ram_id) {
            json_object_set_new(entry, "default-ram-id", json_string((*m)->default_ram_id));
        }
        json_array_append_new(out, entry);
    }
    return out;
}

static void find_pm(Device *dev, void *data)
{
    *(bool *)data |= !strcmp(dev->class->name, "PIIX4_PM");
}

/* A machine can sleep, and be woken, if it has the chip of power management. */
MONITOR_HANDLER(cmd_query_current_machine)
{
    bool sleeps = false;

    device_foreach(vm, find_pm, &sleeps);
    return json_pack("{s:b}", "wakeup-suspend-support", sleeps);
}

MONITOR_HANDLER(cmd_query_cpu_definitions)
{
    json_t *out = json_array();

    for (const char *const *n = x86_cpu_model_names(); *n; n++) {
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", *n);

        json_array_append_new(out, json_pack("{s:s,s:s,s:b,s:b,s:[]}", "name", *n, "typename", type,
                                             "static", 0, "deprecated", 0, "unavailable-features"));
    }
    return out;
}

MONITOR_HANDLER(cmd_query_target)
{
    return json_pack("{s:s}", "arch", vm->arch ? vm->arch->name : "x86_64");
}

MONITOR_HANDLER(cmd_query_command_line_options)
{
    const char *option = json_str(args, "option");
    json_t *out = monitor_host()->query_command_line_options(option);

    if (option && !json_array_size(out)) {
        json_decref(out);
        error_set(err, "invalid option name: %s", option);
        return NULL;
    }
    return out;
}

MONITOR_HANDLER(cmd_query_memory_size)
{
    /* plugged-memory would count DIMMs that are plugged in later. */
    return json_pack("{s:I,s:i}", "base-memory", (json_int_t)vm->ram_size, "plugged-memory", 0);
}

MONITOR_HANDLER(cmd_usb_add)
{
    json_auto_t *device = NULL, *drive = NULL;
    BlockBackend *blk;

    if (!usb_short_name(json_str(args, "name"), &device, &drive, err) ||
        (drive && !block_backend_new_drive(drive, err))) {
        return NULL;
    }
    if (!device_add(vm, device, true, err)) {
        /* While device_add() waited for other devices, the drive may have gone or got a device. */
        blk = drive ? block_backend_find(json_str(drive, "id")) : NULL;
        if (blk && !block_backend_device(blk)) {
            block_backend_delete(blk);
        }
        return NULL;
    }
    return json_object();
}

MONITOR_HANDLER(cmd_usb_del)
{
    return device_cmd_done(usb_del(vm, json_str(args, "place"), err));
}

MONITOR_HANDLER(cmd_info_usb)
{
    g_autofree char *text = usb_info_text(vm, err);

    return text ? monitor_human_text(text) : NULL;
}

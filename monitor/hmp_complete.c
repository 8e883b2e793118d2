/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Tab offers: command names, and what exists where an argument names a thing. */
#include <string.h>

#include "base/object.h"
#include "base/log.h"
#include "base/json.h"
#include "base/trace.h"
#include "block/backend.h"
#include "block/image.h"
#include "block/snapshot.h"
#include "hmp_edit.h"
#include "kinds.h"
#include "net/net.h"
#include "ui/keys.h"
#include "vm/device.h"

static void hmp_complete_offer(GPtrArray *out, const char *word, const char *prefix)
{
    if (word && g_str_has_prefix(word, prefix) &&
        !g_ptr_array_find_with_equal_func(out, word, g_str_equal, NULL)) {
        g_ptr_array_add(out, g_strdup(word));
    }
}

typedef struct {
    GPtrArray *out;
    const char *prefix;
} Offer;

static void offer_device(Device *dev, void *data)
{
    Offer *o = data;

    hmp_complete_offer(o->out, dev->id, o->prefix);
}

static void offer_object(Object *obj, void *data)
{
    Offer *o = data;

    hmp_complete_offer(o->out, obj->id, o->prefix);
}

static void offer_chardev(Chardev *chr, void *data)
{
    Offer *o = data;

    hmp_complete_offer(o->out, chr->label, o->prefix);
}

static void offer_drive(BlockBackend *blk, void *data)
{
    Offer *o = data;
    const char *name = block_backend_name(blk);

    hmp_complete_offer(o->out, *name ? name : NULL, o->prefix);
}

static void offer_snapshots(BlockNode *image, const char *disk, void *data)
{
    Offer *o = data;
    json_auto_t *list = block_snapshot_list(image);
    json_t *snapshot;
    size_t i;

    json_array_foreach(list, i, snapshot)
    {
        hmp_complete_offer(o->out, json_str(snapshot, "name"), o->prefix);
    }
}

/* The names in the text of 'info network': from behind the tree's lines to the first ": ". */
static void offer_networks(Offer *o)
{
    g_autofree char *text = net_info_text();
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);

    for (unsigned i = 0; lines[i]; i++) {
        char *name = lines[i] + strspn(lines[i], " \\");

        if (strstr(name, ": ")) {
            *strstr(name, ": ") = '\0';
            hmp_complete_offer(o->out, name, o->prefix);
        }
    }
}

/* "virtio-net-pci,prop=": the words repeat the prefix up to its last comma. */
static void offer_properties(Offer *o, const Property *table)
{
    int kept = strrchr(o->prefix, ',') + 1 - o->prefix;

    for (const Property *p = table; p && p->name; p++) {
        g_autofree char *word = g_strdup_printf("%.*s%s=", kept, o->prefix, p->name);

        if (!(p->flags & PROP_FLAG_HIDDEN)) {
            hmp_complete_offer(o->out, word, o->prefix);
        }
    }
}

/* The class's properties are offered behind the first comma. */
static void offer_driver(Offer *o)
{
    g_autofree char *name = g_strndup(o->prefix, strcspn(o->prefix, ","));

    if (!strchr(o->prefix, ',')) {
        for (const DeviceClass *const *c = device_classes(); *c; c++) {
            if ((*c)->hotpluggable) {
                hmp_complete_offer(o->out, (*c)->name, o->prefix);
            }
        }
        return;
    }
    for (const DeviceClass *c = device_class_find(name); c; c = c->child) {
        offer_properties(o, c->props);
        offer_properties(o, c->bus_props);
    }
}

static void offer_kinds(Offer *o, const Kinds *kinds)
{
    static const Property id[] = {{.name = "id", .type = PROP_STRING}, PROP_END};
    size_t len = strcspn(o->prefix, ",");
    Kind kind;

    for (unsigned i = 0; kinds->at(i, &kind); i++) {
        if (!o->prefix[len]) {
            hmp_complete_offer(o->out, kind.name, o->prefix);
        } else if (strlen(kind.name) == len && !strncmp(kind.name, o->prefix, len)) {
            offer_properties(o, id);
            offer_properties(o, kind.props);
        }
    }
}

static void offer_trace_events(Offer *o, const char *before)
{
    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        g_autofree char *word = g_strconcat(before, trace_name(i), NULL);

        hmp_complete_offer(o->out, word, o->prefix);
    }
}

static void offer_log_items(Offer *o)
{
    const char *const *n = log_item_names();

    hmp_complete_offer(o->out, "all", o->prefix);
    hmp_complete_offer(o->out, "none", o->prefix);
    for (; *n; n += 2) {
        hmp_complete_offer(o->out, n[0], o->prefix);
    }
    offer_trace_events(o, LOG_TRACE_PREFIX);
}

/* Whether it can be a word of a line as it is. */
static bool is_plain_word(const char *name)
{
    while (g_ascii_isgraph(*name) && *name != '"') {
        name++;
    }
    return !*name;
}

/* A folder's name ends with '/'. What begins with a dot is offered where that was typed. */
static void offer_files(Offer *o)
{
    const char *last = strrchr(o->prefix, '/');
    g_autofree char *folder = g_strndup(o->prefix, last ? last + 1 - o->prefix : 0);
    GDir *dir = g_dir_open(*folder ? folder : ".", 0, NULL);
    bool hidden = (last ? last + 1 : o->prefix)[0] == '.';

    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_strconcat(folder, name, NULL);
        bool is_folder = g_file_test(path, G_FILE_TEST_IS_DIR);
        g_autofree char *word = g_strconcat(path, is_folder ? "/" : "", NULL);

        if ((*name != '.' || hidden) && is_plain_word(name)) {
            hmp_complete_offer(o->out, word, o->prefix);
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
}

/* Every word that a command's name has at this place: "in" gives info, "info v" gives version. */
static void offer_commands(Offer *o, const char *before)
{
    size_t len = strlen(before);

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->hmp && !strncmp(c->hmp, before, len)) {
            g_autofree char *word = g_strndup(c->hmp + len, strcspn(c->hmp + len, " "));

            hmp_complete_offer(o->out, word, o->prefix);
        }
    }
}

/* "ctrl-al": the words repeat the prefix up to its last '-'. */
static void offer_keys(Offer *o)
{
    const char *last = strrchr(o->prefix, '-');
    int kept = last ? last + 1 - o->prefix : 0;

    for (const UiKey *key = ui_keys; key->name; key++) {
        g_autofree char *word = g_strdup_printf("%.*s%s", kept, o->prefix, key->name);

        hmp_complete_offer(o->out, word, o->prefix);
    }
}

static void offer_argument(const char *command, unsigned index, Offer *o)
{
    static const char *const switches[] = {"on", "off"}, *const targets[] = {"vm", "vcpu"};
    static const char *const of_snapshots[] = {"savevm", "loadvm", "delvm", NULL};
    static const char *const of_trace_events[] = {"trace-event", "info trace-events", NULL};

    if (!strcmp(command, "device_add") && !index) {
        offer_driver(o);
    } else if (!strcmp(command, "netdev_add") && !index) {
        offer_kinds(o, &netdev_kinds);
    } else if (!strcmp(command, "object_add") && !index) {
        offer_kinds(o, &object_kinds);
    } else if (!strcmp(command, "chardev-add") && !index) {
        offer_kinds(o, &chardev_kinds);
    } else if (!strcmp(command, "device_del") && !index) {
        device_foreach(monitor_vm, offer_device, o);
    } else if (!strcmp(command, "object_del") && !index) {
        object_foreach(offer_object, o);
    } else if (!strcmp(command, "chardev-change") && index == 1) {
        offer_kinds(o, &chardev_kinds);
    } else if ((!strcmp(command, "chardev-remove") || !strcmp(command, "chardev-change")) &&
               !index) {
        chardev_foreach(offer_chardev, o);
    } else if (!strcmp(command, "sendkey") && !index) {
        offer_keys(o);
    } else if (g_strv_contains(of_snapshots, command) && !index) {
        block_snapshot_foreach_disk(offer_snapshots, o);
    } else if (!strcmp(command, "log") && !index) {
        offer_log_items(o);
    } else if ((!strcmp(command, "netdev_del") || g_str_has_prefix(command, "hostfwd_")) &&
               !index) {
        offer_networks(o);
    } else if (!strcmp(command, "info stats") && !index) {
        for (unsigned i = 0; i < G_N_ELEMENTS(targets); i++) {
            hmp_complete_offer(o->out, targets[i], o->prefix);
        }
    } else if (!strcmp(command, "set_link") && !index) {
        offer_networks(o);
        device_foreach(monitor_vm, offer_device, o);
    } else if (g_strv_contains(of_trace_events, command) && !index) {
        offer_trace_events(o, "");
    } else if (!strcmp(command, "set_link") || (!strcmp(command, "trace-event") && index == 1)) {
        for (unsigned i = 0; i < G_N_ELEMENTS(switches); i++) {
            hmp_complete_offer(o->out, switches[i], o->prefix);
        }
    }
}

static int hmp_complete_compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GPtrArray *hmp_complete(Monitor *mon, const char *line, size_t *start)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    const char *word = strrchr(line, ' '), *rest, *text = line + strspn(line, " \t");
    g_autofree char *before = NULL;
    const MonitorCommand *cmd;
    const Property *arg;
    Offer o = {.out = out};

    word = word ? word + 1 : line;
    *start = word - line;
    o.prefix = word;
    before = g_strndup(text, word > text ? word - text : 0);
    if (g_str_has_prefix(before, "help ") || g_str_has_prefix(before, "? ")) {
        offer_commands(&o, strchr(before, ' ') + 1);
    } else {
        offer_commands(&o, before);
        cmd = monitor_find_hmp(before, &rest);
        if (*before && cmd) {
            unsigned index = 0;

            for (const char *p = rest; *p; p++) {
                index += *p == ' ' && p[1] != ' ';
            }
            offer_argument(cmd->hmp, index, &o);
            arg = hmp_argument_after(cmd, rest);
            if (arg && hmp_names_drive(arg)) {
                block_backend_foreach(offer_drive, &o);
            } else if (arg && hmp_names_file(arg)) {
                offer_files(&o);
            }
        }
    }
    g_ptr_array_sort(out, hmp_complete_compare);
    return out;
}

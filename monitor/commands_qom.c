/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qom-*: the tree of objects and the types. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "commands.h"
#include "qom.h"

/* Arguments. */

const Property path_args[] = {MEMBER("path", PROP_STRING, .help = "an object path"), PROP_END};
const Property type_args[] = {MEMBER("typename", PROP_STRING, .help = "a class"), PROP_END};
const Property qom_get_args[] = {MEMBER("path", PROP_STRING, .help = "an object path"),
                                 MEMBER("property", PROP_STRING, .help = "which property"),
                                 PROP_END};
const Property qom_set_args[] = {
    MEMBER("path", PROP_STRING, .help = "an object path"),
    MEMBER("property", PROP_STRING, .help = "which property"),
    {.name = "value", .type = PROP_TREE, .help = "its new value", .flags = PROP_FLAG_REQUIRED},
    PROP_END};
const Property qom_set_hmp_args[] = {{.name = "j", .type = PROP_BOOL, .help = "the value is JSON"},
                                     MEMBER("path", PROP_STRING, .help = "an object path"),
                                     MEMBER("property", PROP_STRING, .help = "which property"),
                                     MEMBER("value", PROP_STRING, .help = "its new value"),
                                     PROP_END};
const Property maybe_path_args[] = {{.name = "path", .type = PROP_STRING, .help = "an object path"},
                                    PROP_END};
const Property types_args[] = {
    {.name = "implements", .type = PROP_STRING, .help = "a class that they derive from"},
    {.name = "abstract", .type = PROP_BOOL, .help = "abstract classes too"},
    PROP_END};

MONITOR_HANDLER(cmd_qom_list)
{
    g_autoptr(GPtrArray) nodes = qom_nodes(vm);
    const QomNode *node = qom_find(nodes, json_str(args, "path"), err);

    return node ? qom_node_list(vm, nodes, node) : NULL;
}

/* QEMU's prints the root's own path where none is given. */
MONITOR_HANDLER(cmd_qom_list_hmp)
{
    if (!json_str(args, "path")) {
        monitor_puts(mon, "/\n");
        return json_array();
    }
    return cmd_qom_list(mon, vm, args, err);
}

MONITOR_PRINTER(print_qom_list)
{
    json_t *entry;
    size_t i;

    json_array_foreach(result, i, entry)
    {
        monitor_printf(mon, "%s (%s)\n", json_str(entry, "name"), json_str(entry, "type"));
    }
}

MONITOR_HANDLER(cmd_qom_get)
{
    g_autoptr(GPtrArray) nodes = qom_nodes(vm);
    const QomNode *node = qom_find(nodes, json_str(args, "path"), err);

    return node ? qom_node_get(vm, nodes, node, json_str(args, "property"), err) : NULL;
}

MONITOR_PRINTER(print_json)
{
    g_autofree char *text = json_dump_text(result, JSON_INDENT(4) | JSON_ENCODE_ANY);

    monitor_printf(mon, "%s\n", text);
}

static json_t *qom_set(Vm *vm, json_t *args, json_t *value, bool strict, GError **err)
{
    g_autoptr(GPtrArray) nodes = qom_nodes(vm);
    const QomNode *node = qom_find(nodes, json_str(args, "path"), err);

    return node && qom_node_set(node, json_str(args, "property"), value, strict, err)
               ? json_object()
               : NULL;
}

MONITOR_HANDLER(cmd_qom_set)
{
    return qom_set(vm, args, json_object_get(args, "value"), true, err);
}

MONITOR_HANDLER(cmd_qom_set_hmp)
{
    json_t *text = json_object_get(args, "value"), *value, *out;

    if (!json_is_true(json_object_get(args, "j"))) {
        return qom_set(vm, args, text, false, err);
    }
    value = json_parse(json_string_value(text), err);
    out = value ? qom_set(vm, args, value, true, err) : NULL;
    json_decref(value);
    return out;
}

static int by_path(gconstpointer a, gconstpointer b)
{
    const QomNode *const *x = a, *const *y = b;

    return strcmp((*x)->path, (*y)->path);
}

static void print_tree(Monitor *mon, GPtrArray *nodes, const QomNode *node, int indent)
{
    g_autoptr(GPtrArray) children = qom_children(nodes, node);

    monitor_printf(mon, "%*s/%s (%s)\n", indent, "", qom_name(node), node->type);
    g_ptr_array_sort(children, by_path);
    for (unsigned i = 0; i < children->len; i++) {
        print_tree(mon, nodes, children->pdata[i], indent + 2);
    }
}

MONITOR_HANDLER(cmd_info_qom_tree)
{
    const char *path = json_str(args, "path");
    g_autoptr(GPtrArray) nodes = qom_nodes(vm);
    const QomNode *node = qom_find(nodes, path ? path : "/machine", NULL);

    if (node) {
        print_tree(mon, nodes, node, 0);
    } else {
        monitor_printf(mon, "Path '%s' could not be resolved.\n", path);
    }
    return json_object();
}

/* Types. */

static void list_described(json_t *out, const Property *p)
{
    for (; p && p->name; p++) {
        json_t *entry = json_pack("{s:s,s:s}", "name", p->name, "type", property_type_name(p));

        if (p->help) {
            json_object_set_new(entry, "description", json_string(p->help));
        }
        json_array_append_new(out, entry);
    }
}

static json_t *list_type(const QomType *type)
{
    json_t *out = json_array();

    for (const DeviceClass *c = type->device; c; c = c->child) {
        list_described(out, c->props);
        list_described(out, c->bus_props);
    }
    list_described(out, type->object ? type->object->props : NULL);
    list_described(out, type->machine ? type->machine->props : NULL);
    return out;
}

MONITOR_HANDLER(cmd_device_list_properties)
{
    const char *name = json_str(args, "typename");
    const DeviceClass *alias = device_class_find(name);
    g_autoptr(GPtrArray) types = qom_types();
    const QomType *type = qom_type_find(types, alias ? alias->name : name);

    if (type && type->device) {
        return list_type(type);
    }
    if (type) {
        error_set(err, "Parameter 'typename' expects a non-abstract device type");
    } else {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", name);
    }
    return NULL;
}

/* An unknown class has no properties: libvirt 9.0 falls over an error here. */
MONITOR_HANDLER(cmd_qom_list_properties)
{
    g_autoptr(GPtrArray) types = qom_types();
    const QomType *type = qom_type_find(types, json_str(args, "typename"));

    return type ? list_type(type) : json_array();
}

MONITOR_HANDLER(cmd_qom_list_types)
{
    const char *implements = json_str(args, "implements");
    bool abstract = json_is_true(json_object_get(args, "abstract"));
    g_autoptr(GPtrArray) types = qom_types();
    json_t *out = json_array();

    for (unsigned i = 0; i < types->len; i++) {
        const QomType *type = types->pdata[i];
        json_t *entry;

        if ((type->is_abstract && !abstract) ||
            (implements && !qom_type_implements(types, type, implements))) {
            continue;
        }
        entry = json_pack("{s:s,s:s*}", "name", type->name, "parent", type->parent);
        if (type->is_abstract) {
            json_object_set_new(entry, "abstract", json_true());
        }
        json_array_append_new(out, entry);
    }
    return out;
}

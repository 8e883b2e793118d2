/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree of objects. */
#include "qom.h"

#include <string.h>

#include "base/error.h"
#include "base/shape.h"
#include "chardev/chardev.h"
#include "x86/x86.h"

static const char *const containers[] = {"/",
                                         "/objects",
                                         "/chardevs",
                                         "/machine/peripheral",
                                         "/machine/peripheral-anon",
                                         "/machine/unattached",
                                         NULL};

static void qom_node_free(gpointer data)
{
    QomNode *node = data;

    g_free(node->path);
    g_free(node->type);
    g_free(node);
}

/* Both are taken. */
static QomNode *qom_add(GPtrArray *nodes, char *path, char *type)
{
    QomNode *node = g_new0(QomNode, 1);

    node->path = path;
    node->type = type;
    g_ptr_array_add(nodes, node);
    return node;
}

static void qom_add_device(Device *dev, void *data)
{
    qom_add(data, g_strdup(dev->path), g_strdup(dev->class->name))->dev = dev;
}

static void qom_add_object(Object *obj, void *data)
{
    char *path = g_strdup_printf("/objects/%s", obj->id);

    qom_add(data, path, g_strdup(obj->class->name))->obj = obj;
}

static void qom_add_chardev(Chardev *chr, void *data)
{
    qom_add(data, g_strdup_printf("/chardevs/%s", chr->label),
            g_strdup_printf("chardev-%s", chr->class->name));
}

static void qom_add_cpus(Vm *vm, GPtrArray *nodes)
{
    for (unsigned i = 0; i < x86_cpu_count(vm); i++) {
        QomNode *node = qom_add(nodes, x86_cpu_object_path(vm, i), x86_cpu_type(vm));

        node->is_cpu = true;
        node->cpu = i;
    }
}

GPtrArray *qom_nodes(Vm *vm)
{
    GPtrArray *nodes = g_ptr_array_new_with_free_func(qom_node_free);

    for (const char *const *path = containers; *path; path++) {
        qom_add(nodes, g_strdup(*path), g_strdup("container"));
    }
    qom_add(nodes, g_strdup("/machine"), g_strdup_printf("%s-machine", vm->machine_class->name))
        ->machine = vm->machine_class;
    qom_add_cpus(vm, nodes);
    device_foreach(vm, qom_add_device, nodes);
    object_foreach(qom_add_object, nodes);
    chardev_foreach(qom_add_chardev, nodes);
    return nodes;
}

/* A path is absolute, or the end of one: "nic" for "/machine/peripheral/nic". */
static bool qom_matches(const QomNode *node, const char *path)
{
    size_t own = strlen(node->path), len = strlen(path);

    return *path == '/' ? !strcmp(node->path, path)
                        : len && own > len && node->path[own - len - 1] == '/' &&
                              !strcmp(node->path + own - len, path);
}

/* The path without empty parts: "/machine" for "//machine/". Caller frees. */
static char *qom_clean_path(const char *path)
{
    g_autoptr(GString) clean = g_string_new(NULL);
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    for (char **part = parts; *part; part++) {
        if (**part) {
            g_string_append_printf(clean, "%s%s", clean->len || *path == '/' ? "/" : "", *part);
        }
    }
    return g_strdup(clean->len || *path != '/' ? clean->str : "/");
}

const QomNode *qom_find(GPtrArray *nodes, const char *given, GError **err)
{
    g_autofree char *path = qom_clean_path(given);
    const QomNode *found = NULL;

    for (unsigned i = 0; i < nodes->len; i++) {
        const QomNode *node = nodes->pdata[i];

        if (!qom_matches(node, path)) {
            continue;
        }
        if (found) {
            error_set(err, "Path '%s' is ambiguous: it may be %s or %s", path, found->path,
                      node->path);
            return NULL;
        }
        found = node;
    }
    if (!found) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", given);
    }
    return found;
}

const char *qom_name(const QomNode *node)
{
    return strrchr(node->path, '/') + 1;
}

static bool qom_is_child(const QomNode *node, const QomNode *parent)
{
    size_t len = strcmp(parent->path, "/") ? strlen(parent->path) : 0;

    return node != parent && !strncmp(node->path, parent->path, len) &&
           qom_name(node) == node->path + len + 1;
}

GPtrArray *qom_children(GPtrArray *nodes, const QomNode *parent)
{
    GPtrArray *children = g_ptr_array_new();

    for (unsigned i = 0; i < nodes->len; i++) {
        if (qom_is_child(nodes->pdata[i], parent)) {
            g_ptr_array_add(children, nodes->pdata[i]);
        }
    }
    return children;
}

/* Properties. */

static void list_entry(json_t *out, const char *name, const char *type)
{
    json_array_append_new(out, json_pack("{s:s,s:s}", "name", name, "type", type));
}

static void list_properties(json_t *out, const Property *p)
{
    for (; p && p->name; p++) {
        if (!(p->flags & PROP_FLAG_HIDDEN)) {
            list_entry(out, p->name, property_type_name(p));
        }
    }
}

json_t *qom_node_list(Vm *vm, GPtrArray *nodes, const QomNode *node)
{
    g_autoptr(GPtrArray) children = qom_children(nodes, node);
    json_t *out;

    if (node->is_cpu) {
        return x86_cpu_object_list();
    }
    out = json_array();
    list_entry(out, "type", "string");
    if (node->dev) {
        list_entry(out, "realized", "bool");
        list_entry(out, "hotplugged", "bool");
    }
    for (const Device *dev = node->dev; dev; dev = dev->child) {
        list_properties(out, dev->class->props);
        list_properties(out, dev->class->bus_props);
    }
    list_properties(out, node->obj ? node->obj->class->props : NULL);
    list_properties(out, node->machine ? node->machine->props : NULL);
    for (unsigned i = 0; i < children->len; i++) {
        const QomNode *child = children->pdata[i];
        g_autofree char *type = g_strdup_printf("child<%s>", child->type);

        list_entry(out, qom_name(child), type);
    }
    return out;
}

static const Property *find_in(const Property *table, const char *name)
{
    return table ? property_find(table, name) : NULL;
}

/* A property of what the node is, beside those that every node of its kind has. */
static const Property *qom_property(const QomNode *node, const char *name)
{
    return node->dev       ? device_find_property(node->dev, name)
           : node->obj     ? find_in(node->obj->class->props, name)
           : node->machine ? find_in(node->machine->props, name)
                           : NULL;
}

static bool qom_no_property(const QomNode *node, const char *name, GError **err)
{
    return error_set(err, "Property '%s.%s' not found", node->type, name);
}

static const QomNode *qom_child_named(GPtrArray *nodes, const QomNode *parent, const char *name)
{
    g_autoptr(GPtrArray) children = qom_children(nodes, parent);

    for (unsigned i = 0; i < children->len; i++) {
        if (!strcmp(qom_name(children->pdata[i]), name)) {
            return children->pdata[i];
        }
    }
    return NULL;
}

json_t *qom_node_get(Vm *vm, GPtrArray *nodes, const QomNode *node, const char *name, GError **err)
{
    const Property *p = qom_property(node, name);
    const QomNode *child;

    if (node->is_cpu) {
        return x86_cpu_object_get(vm, node->cpu, name, err);
    }
    if (!strcmp(name, "type")) {
        return json_string(node->type);
    }
    if (node->dev && !strcmp(name, "realized")) {
        return json_boolean(node->dev->realized);
    }
    if (node->dev && !strcmp(name, "hotplugged")) {
        return json_boolean(node->dev->hotplugged);
    }
    if (p) {
        return node->dev   ? device_get_property(node->dev, name, err)
               : node->obj ? property_get(p, node->obj)
                           : property_get(p, vm->machine);
    }
    child = qom_child_named(nodes, node, name);
    if (!child) {
        qom_no_property(node, name, err);
        return NULL;
    }
    return json_string(child->path);
}

bool qom_node_set(const QomNode *node, const char *name, json_t *value, bool strict, GError **err)
{
    const Property *p = qom_property(node, name);

    if (node->is_cpu) {
        return error_set(err, "A CPU's properties are set by -cpu, at the start");
    }
    if (!strcmp(name, "type") ||
        (node->dev && (!strcmp(name, "realized") || !strcmp(name, "hotplugged")))) {
        return error_set(err, "Property '%s.%s' is not writable", node->type, name);
    }
    if (!p) {
        return qom_no_property(node, name, err);
    }
    if (strict && !shape_check_value(p, value, name, err)) {
        return false;
    }
    if (node->dev) {
        return device_set_property(node->dev, name, value, err);
    }
    return node->obj ? object_set_property(node->obj, name, value, err)
                     : error_set(err, "Property '%s.%s' is set by -machine, at the start",
                                 node->type, name);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: the tables in the form of QEMU's docs/devel/qapi-code-gen. Types are named
 * after what uses them; clients are told to look nothing up by the names of types.
 */
#include <string.h>

#include "base/object.h"
#include "block/node.h"
#include "commands.h"
#include "events.h"
#include "net/net.h"

typedef struct {
    json_t *out;
    GHashTable *arrays; /* element types whose array is listed */
} Schema;

static void add_builtin(Schema *s, const char *name, const char *json_type)
{
    json_array_append_new(s->out, json_pack("{s:s,s:s,s:s}", "name", name, "meta-type", "builtin",
                                            "json-type", json_type));
}

static const char *add_enum(Schema *s, const char *name, json_t *values)
{
    json_array_append_new(
        s->out, json_pack("{s:s,s:s,s:o}", "name", name, "meta-type", "enum", "values", values));
    return name;
}

static const char *add_array(Schema *s, const char *element)
{
    g_autofree char *text = g_strdup_printf("[%s]", element);
    const char *name = g_intern_string(text);

    if (g_hash_table_add(s->arrays, (gpointer)name)) {
        json_array_append_new(s->out, json_pack("{s:s,s:s,s:s}", "name", name, "meta-type", "array",
                                                "element-type", element));
    }
    return name;
}

static const char *type_of(Schema *s, const char *owner, const Property *p)
{
    g_autofree char *name = NULL;
    json_t *values;

    switch (p->type) {
    case PROP_BOOL:
        return "bool";
    case PROP_STRING:
    case PROP_LINK:
        return "str";
    case PROP_ENUM:
        name = g_strdup_printf("%s-%s", owner, p->name);
        values = json_array();
        for (const char *const *n = p->names; *n; n++) {
            json_array_append_new(values, json_string(*n));
        }
        return add_enum(s, g_intern_string(name), values);
    case PROP_STRING_LIST:
        return add_array(s, "str");
    case PROP_TREE:
        return "any";
    default:
        return "int";
    }
}

static json_t *members_of(Schema *s, const char *owner, const Property *p)
{
    json_t *members = json_array();

    for (; p && p->name; p++) {
        json_t *member = json_pack("{s:s,s:s}", "name", p->name, "type", type_of(s, owner, p));

        if (!(p->flags & PROP_FLAG_REQUIRED)) {
            json_object_set_new(member, "default", json_null());
        }
        json_array_append_new(members, member);
    }
    return members;
}

static const char *schema_add_object(Schema *s, const char *name, json_t *members)
{
    json_array_append_new(s->out, json_pack("{s:s,s:s,s:o}", "name", name, "meta-type", "object",
                                            "members", members));
    return name;
}

/* Unions: a tag, what every variant has, and the variants from a table of classes. */
static void add_union(Schema *s, const char *name, const char *tag, json_t *members, json_t *values,
                      json_t *variants)
{
    g_autofree char *kind = g_strdup_printf("%s-%s", name, tag);

    add_enum(s, kind, values);
    json_array_append_new(members, json_pack("{s:s,s:s}", "name", tag, "type", kind));
    json_array_append_new(s->out,
                          json_pack("{s:s,s:s,s:o,s:s,s:o}", "name", name, "meta-type", "object",
                                    "members", members, "tag", tag, "variants", variants));
}

static void add_variant(Schema *s, json_t *values, json_t *variants, const char *owner,
                        const char *name, const Property *props, bool wrapped)
{
    g_autofree char *type = g_strdup_printf("%s:%s", owner, name);

    json_array_append_new(values, json_string(name));
    if (wrapped) {
        /* chardev-add keeps its members one level down, in 'data'. */
        g_autofree char *inner = g_strdup_printf("%s:data", type);

        schema_add_object(s, inner, members_of(s, type, props));
        schema_add_object(s, type, json_pack("[{s:s,s:s}]", "name", "data", "type", inner));
    } else {
        schema_add_object(s, type, members_of(s, type, props));
    }
    json_array_append_new(variants, json_pack("{s:s,s:s}", "case", name, "type", type));
}

static void schema_add_netdev(Schema *s, const char *name)
{
    json_t *values = json_array(), *variants = json_array();

    for (const NetBackendClass *const *c = net_backend_classes(); *c; c++) {
        add_variant(s, values, variants, name, (*c)->name, (*c)->props, false);
    }
    add_union(s, name, "type", json_pack("[{s:s,s:s}]", "name", "id", "type", "str"), values,
              variants);
}

static void add_objects(Schema *s, const char *name)
{
    json_t *values = json_array(), *variants = json_array();

    for (const ObjectClass *const *c = object_classes(); *c; c++) {
        add_variant(s, values, variants, name, (*c)->name, (*c)->props, false);
    }
    add_union(s, name, "qom-type", json_pack("[{s:s,s:s}]", "name", "id", "type", "str"), values,
              variants);
}

static void schema_add_chardev(Schema *s, const char *name)
{
    json_t *values = json_array(), *variants = json_array();

    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        add_variant(s, values, variants, "chardev-backend", (*c)->name, (*c)->props, true);
    }
    add_union(s, "chardev-backend", "type", json_array(), values, variants);
    schema_add_object(s, name,
                      json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "id", "type", "str", "name",
                                "backend", "type", "chardev-backend"));
}

static void schema_add_blockdev(Schema *s, const char *name)
{
    json_t *values = json_array(), *variants = json_array();

    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        add_variant(s, values, variants, name, (*d)->name, (*d)->props, false);
    }
    add_union(s, name, "driver",
              json_pack("[{s:s,s:s,s:n}]", "name", "node-name", "type", "str", "default"), values,
              variants);
}

/* Commands whose arguments are those of a table of classes. */
static const struct {
    const char *command;
    void (*add)(Schema *s, const char *name);
} open_commands[] = {
    {"netdev_add", schema_add_netdev},
    {"object-add", add_objects},
    {"chardev-add", schema_add_chardev},
    {"blockdev-add", schema_add_blockdev},
};

static bool add_open(Schema *s, const char *command, const char *type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(open_commands); i++) {
        if (!strcmp(open_commands[i].command, command)) {
            open_commands[i].add(s, type);
            return true;
        }
    }
    return false;
}

static void add_command(Schema *s, const MonitorCommand *c)
{
    g_autofree char *type = g_strdup_printf("%s-arg", c->name);
    json_t *entry;

    if (!add_open(s, c->name, type)) {
        json_t *members = members_of(s, type, c->args);

        if (!strcmp(c->name, "device_add")) {
            json_array_append_new(members, json_pack("{s:s,s:s}", "name", "driver", "type", "str"));
        }
        schema_add_object(s, type, members);
    }
    entry = json_pack("{s:s,s:s,s:s,s:s}", "name", c->name, "meta-type", "command", "arg-type",
                      type, "ret-type", "any");
    if (c->flags & MONITOR_COMMAND_OOB) {
        json_object_set_new(entry, "allow-oob", json_true());
    }
    if (!strcmp(c->name, "device_add")) {
        json_object_set_new(entry, "features", json_pack("[s,s]", "json-cli", "json-cli-hotplug"));
    }
    json_array_append_new(s->out, entry);
}

MONITOR_HANDLER(cmd_query_schema)
{
    static const char *const builtins[][2] = {
        {"str", "string"}, {"int", "int"}, {"bool", "boolean"}, {"any", "value"}};
    Schema s = {.out = json_array(), .arrays = g_hash_table_new(g_str_hash, g_str_equal)};

    for (unsigned i = 0; i < G_N_ELEMENTS(builtins); i++) {
        add_builtin(&s, builtins[i][0], builtins[i][1]);
    }
    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->name) {
            add_command(&s, c);
        }
    }
    for (const MonitorEvent *e = monitor_events(); e->name; e++) {
        g_autofree char *type = g_strdup_printf("%s-arg", e->name);

        schema_add_object(&s, type, members_of(&s, type, e->data));
        json_array_append_new(s.out, json_pack("{s:s,s:s,s:s}", "name", e->name, "meta-type",
                                               "event", "arg-type", type));
    }
    g_hash_table_unref(s.arrays);
    return s.out;
}

MONITOR_HANDLER(cmd_query_events)
{
    json_t *out = json_array();

    for (const MonitorEvent *e = monitor_events(); e->name; e++) {
        json_array_append_new(out, json_pack("{s:s}", "name", e->name));
    }
    return out;
}

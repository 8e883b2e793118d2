/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: the tables in the form of QEMU's docs/devel/qapi-code-gen. One walk over
 * Property and PropertyShape gives the types of arguments, of results and of events.
 */
#include <string.h>

#include "commands.h"
#include "vm/vm.h"

typedef struct {
    json_t *out;
    GHashTable *listed; /* names of the types that 'out' has or is about to have */
    GHashTable *enums;  /* Property.names -> the name of their enumeration */
} Schema;

static bool schema_first(Schema *s, const char *name)
{
    return g_hash_table_add(s->listed, (gpointer)g_intern_string(name));
}

static json_t *schema_add(Schema *s, const char *name, const char *meta_type)
{
    json_t *entry = json_pack("{s:s,s:s}", "name", name, "meta-type", meta_type);

    json_array_append_new(s->out, entry);
    return entry;
}

static const char *schema_builtin(Schema *s, const char *name, const char *json_type)
{
    if (schema_first(s, name)) {
        json_object_set_new(schema_add(s, name, "builtin"), "json-type", json_string(json_type));
    }
    return name;
}

/* Takes 'values'. 7.2 has both 'members' and, for older clients, 'values'. */
static void schema_add_enum(Schema *s, const char *name, json_t *values)
{
    json_t *entry = schema_add(s, name, "enum"), *members = json_array(), *value;
    size_t i;

    json_array_foreach(values, i, value)
    {
        json_array_append_new(members, json_pack("{s:O}", "name", value));
    }
    json_object_set_new(entry, "members", members);
    json_object_set_new(entry, "values", values);
}

static const char *schema_enum(Schema *s, const char *owner, const char *member,
                               const char *const *names)
{
    const char *name = g_hash_table_lookup(s->enums, names);
    g_autofree char *text = NULL;
    json_t *values;

    if (name) {
        return name;
    }
    text = g_strdup_printf("%s.%s", owner, member);
    name = g_intern_string(text);
    g_hash_table_insert(s->enums, (gpointer)names, (gpointer)name);
    values = json_array();
    for (const char *const *n = names; *n; n++) {
        json_array_append_new(values, json_string(*n));
    }
    schema_add_enum(s, name, values);
    return name;
}

static const char *schema_array(Schema *s, const char *element)
{
    g_autofree char *text = g_strdup_printf("[%s]", element);

    if (schema_first(s, text)) {
        json_object_set_new(schema_add(s, text, "array"), "element-type", json_string(element));
    }
    return g_intern_string(text);
}

static const char *schema_shape(Schema *s, const PropertyShape *shape);

static const char *schema_element(Schema *s, const char *owner, const Property *p)
{
    switch (p->type) {
    case PROP_BOOL:
        return schema_builtin(s, "bool", "boolean");
    case PROP_STRING:
    case PROP_LINK:
    case PROP_MACADDR:
    case PROP_UUID:
        return schema_builtin(s, "str", "string");
    case PROP_ENUM:
        return schema_enum(s, owner, p->name, p->names);
    case PROP_ON_OFF_AUTO:
        return schema_enum(s, "OnOffAuto", "names", on_off_auto_names);
    case PROP_NUMBER:
        return schema_builtin(s, "number", "number");
    case PROP_NULL:
        return schema_builtin(s, "null", "null");
    case PROP_STRING_LIST:
        return p->shape   ? schema_shape(s, p->shape)
               : p->names ? schema_enum(s, owner, p->name, p->names)
                          : schema_builtin(s, "str", "string");
    case PROP_TREE:
        return p->shape ? schema_shape(s, p->shape) : schema_builtin(s, "any", "value");
    default:
        return schema_builtin(s, "int", "int");
    }
}

static const char *schema_type(Schema *s, const char *owner, const Property *p)
{
    const char *element = schema_element(s, owner, p);
    bool is_list = p->type == PROP_STRING_LIST || p->flags & PROP_FLAG_LIST;

    return is_list ? schema_array(s, element) : element;
}

/* The list of members; the caller adds a union's tag. */
static json_t *schema_members(Schema *s, const char *owner, const Property *p, const char *tag)
{
    json_t *members = json_array(), *member;

    for (; p && p->name; p++) {
        if (p->flags & PROP_FLAG_NOT_JSON || !g_strcmp0(p->name, tag)) {
            continue;
        }
        member = json_pack("{s:s,s:s}", "name", p->name, "type", schema_type(s, owner, p));
        if (!(p->flags & PROP_FLAG_REQUIRED)) {
            json_object_set_new(member, "default", json_null());
        }
        json_array_append_new(members, member);
    }
    return members;
}

static const char *schema_object(Schema *s, const char *name, const Property *members)
{
    if (schema_first(s, name)) {
        json_t *list = schema_members(s, name, members, NULL);

        json_object_set_new(schema_add(s, name, "object"), "members", list);
    }
    return g_intern_string(name);
}

static void schema_union(Schema *s, const PropertyShape *shape, json_t *entry, json_t *members)
{
    g_autofree char *kind = g_strdup_printf("%s.%s", shape->name, shape->tag);
    json_t *values = json_array(), *variants = json_array();
    ShapeVariant v;

    for (unsigned i = 0; (v = shape_variant(shape, i)).name; i++) {
        g_autofree char *name = g_strdup_printf("%s.%s", shape->name, v.name);
        const char *type = schema_object(s, v.members ? name : "empty", v.members);

        json_array_append_new(values, json_string(v.name));
        json_array_append_new(variants, json_pack("{s:s,s:s}", "case", v.name, "type", type));
    }
    schema_add_enum(s, kind, values);
    json_array_append_new(members, json_pack("{s:s,s:s}", "name", shape->tag, "type", kind));
    json_object_set_new(entry, "tag", json_string(shape->tag));
    json_object_set_new(entry, "variants", variants);
}

static void schema_alternate(Schema *s, const PropertyShape *shape)
{
    json_t *entry = schema_add(s, shape->name, "alternate"), *members = json_array();

    for (const Property *p = shape->members; p->name; p++) {
        json_array_append_new(members, json_pack("{s:s}", "type", schema_type(s, shape->name, p)));
    }
    json_object_set_new(entry, "members", members);
}

static const char *schema_shape(Schema *s, const PropertyShape *shape)
{
    json_t *entry, *members;

    if (!schema_first(s, shape->name)) {
        return shape->name;
    }
    if (shape->is_alternate) {
        schema_alternate(s, shape);
        return shape->name;
    }
    entry = schema_add(s, shape->name, "object");
    members = schema_members(s, shape->name, shape->members, shape->tag);
    if (shape->tag) {
        schema_union(s, shape, entry, members);
    }
    json_object_set_new(entry, "members", members);
    return shape->name;
}

/* The arguments of a command, or the data of an event. */
static const char *schema_data(Schema *s, const char *owner, const Property *members)
{
    g_autofree char *name = g_strdup_printf("%s-arg", owner);

    return schema_object(s, members && members->name ? name : "empty", members);
}

static void schema_command(Schema *s, const MonitorCommand *c)
{
    const char *arg =
        c->args_shape ? schema_shape(s, c->args_shape) : schema_data(s, c->name, c->args);
    const char *ret = c->result ? schema_type(s, c->name, c->result) : schema_data(s, "", NULL);
    json_t *entry = schema_add(s, c->name, "command"), *features = json_array();

    json_object_set_new(entry, "arg-type", json_string(arg));
    json_object_set_new(entry, "ret-type", json_string(ret));
    if (c->flags & MONITOR_COMMAND_OOB) {
        json_object_set_new(entry, "allow-oob", json_true());
    }
    for (const char *const *f = c->features; f && *f; f++) {
        json_array_append_new(features, json_string(*f));
    }
    if (json_array_size(features)) {
        json_object_set(entry, "features", features);
    }
    json_decref(features);
}

MONITOR_HANDLER(cmd_query_schema)
{
    Schema s = {.out = json_array(),
                .listed = g_hash_table_new(g_str_hash, g_str_equal),
                .enums = g_hash_table_new(NULL, NULL)};

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->name) {
            schema_command(&s, c);
        }
    }
    for (unsigned id = 0; id < VM_EVENT_COUNT; id++) {
        const VmEvent *event = vm_event_info(id);
        const char *arg = schema_data(&s, event->name, event->data);

        json_object_set_new(schema_add(&s, event->name, "event"), "arg-type", json_string(arg));
    }
    g_hash_table_unref(s.listed);
    g_hash_table_unref(s.enums);
    return s.out;
}

MONITOR_HANDLER(cmd_query_events)
{
    json_t *out = json_array();

    for (unsigned id = 0; id < VM_EVENT_COUNT; id++) {
        json_array_append_new(out, json_pack("{s:s}", "name", vm_event_info(id)->name));
    }
    return out;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks JSON against a description. The order of the checks and the words of errors are those of
 * QEMU 7.2's input visitor: members in the table's order, then members that the table does not
 * have.
 */
#include "base/shape.h"

#include <string.h>

#include "base/error.h"
#include "base/json.h"

const char *const on_off_auto_names[] = {"auto", "on", "off", NULL};

static const Property string_members[] = {MEMBER("str", PROP_STRING), PROP_END};
const PropertyShape string_shape = {.name = "String", .members = string_members};

/* The place of a value, from the inside out. Its text is made for errors only. */
typedef struct Path {
    const struct Path *parent;
    const char *name; /* NULL: an element of a list */
    size_t index;
} Path;

static void path_append(const Path *path, GString *out)
{
    if (path->parent) {
        path_append(path->parent, out);
    }
    if (path->name) {
        g_string_append_printf(out, "%s%s", out->len ? "." : "", path->name);
    } else if (path->parent) {
        g_string_append_printf(out, "[%zu]", path->index);
    }
}

static char *path_text(const Path *path)
{
    GString *out = g_string_new(NULL);

    path_append(path, out);
    if (!out->len) {
        g_string_append(out, "null"); /* as QEMU names a value without a name */
    }
    return g_string_free(out, FALSE);
}

static bool path_error(const Path *path, const char *what, GError **err)
{
    g_autofree char *text = path_text(path);

    return error_set(err, "Parameter '%s' is %s", text, what);
}

static bool check_json_type(json_t *value, json_type type, const char *expected, const Path *path,
                            GError **err)
{
    g_autofree char *text = NULL;

    if (json_typeof(value) == type && !json_is_big(value)) {
        return true;
    }
    text = path_text(path);
    return error_set(err, "Invalid parameter type for '%s', expected: %s", text, expected);
}

static bool check_name(json_t *value, const char *const *names, const Path *path, GError **err)
{
    if (!check_json_type(value, JSON_STRING, "string", path, err)) {
        return false;
    }
    if (!g_strv_contains(names, json_string_value(value))) {
        g_autofree char *text = path_text(path);

        return error_set(err, "Parameter '%s' does not accept value '%s'", text,
                         json_string_value(value));
    }
    return true;
}

static bool check_boolean(json_t *value, const Path *path, GError **err)
{
    return json_is_boolean(value) || check_json_type(value, JSON_TRUE, "boolean", path, err);
}

/* QEMU names the member alone here, not the way to it. */
static bool check_small(PropType type, json_t *value, const Path *path, GError **err)
{
    const char *expected;

    if (!json_is_big(value) && !check_json_type(value, JSON_INTEGER, "integer", path, err)) {
        return false;
    }
    expected = property_misfit(type, value);
    return !expected ||
           error_set(err, "Parameter '%s' expects %s", path->name ? path->name : "null", expected);
}

static bool check_shape(const PropertyShape *shape, json_t *value, const Path *path, GError **err);

static bool check_element(const Property *p, json_t *value, const Path *path, GError **err)
{
    switch (p->type) {
    case PROP_BOOL:
        return check_boolean(value, path, err);
    case PROP_STRING:
    case PROP_LINK:
    case PROP_MACADDR:
    case PROP_UUID:
        return check_json_type(value, JSON_STRING, "string", path, err);
    case PROP_ENUM:
        return check_name(value, p->names, path, err);
    case PROP_ON_OFF_AUTO:
        return check_name(value, on_off_auto_names, path, err);
    case PROP_NULL:
        return check_json_type(value, JSON_NULL, "null", path, err);
    case PROP_NUMBER:
        return json_is_integer(value) || check_json_type(value, JSON_REAL, "number", path, err);
    case PROP_STRING_LIST:
        return p->shape   ? check_shape(p->shape, value, path, err)
               : p->names ? check_name(value, p->names, path, err)
                          : check_json_type(value, JSON_STRING, "string", path, err);
    case PROP_TREE:
        return !p->shape || check_shape(p->shape, value, path, err);
    case PROP_UINT8:
    case PROP_UINT16:
    case PROP_UINT32:
    case PROP_INT32:
        return check_small(p->type, value, path, err);
    case PROP_UINT64:
    case PROP_SIZE:
        return json_is_big(value) || check_json_type(value, JSON_INTEGER, "integer", path, err);
    default:
        return check_json_type(value, JSON_INTEGER, "integer", path, err);
    }
}

static bool shape_check_one(const Property *p, json_t *value, const Path *path, GError **err)
{
    Path element = {.parent = path};
    json_t *v;

    if (p->type != PROP_STRING_LIST && !(p->flags & PROP_FLAG_LIST)) {
        return check_element(p, value, path, err);
    }
    if (!check_json_type(value, JSON_ARRAY, "array", path, err)) {
        return false;
    }
    json_array_foreach(value, element.index, v)
    {
        if (!check_element(p, v, &element, err)) {
            return false;
        }
    }
    return true;
}

static bool check_members(const Property *members, json_t *object, const Path *path, GError **err)
{
    for (const Property *p = members; p && p->name; p++) {
        json_t *value = json_object_get(object, p->name);
        Path below = {.parent = path, .name = p->name};

        if (!value && (p->flags & PROP_FLAG_REQUIRED)) {
            return path_error(&below, "missing", err);
        }
        if (value && !shape_check_one(p, value, &below, err)) {
            return false;
        }
    }
    return true;
}

static bool is_member(const Property *members, const char *key)
{
    const Property *p = members ? property_find(members, key) : NULL;

    return p && !(p->flags & PROP_FLAG_NOT_JSON);
}

static bool check_known(const PropertyShape *shape, const Property *more, json_t *object,
                        const Path *path, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        Path below = {.parent = path, .name = key};

        if (!is_member(shape->members, key) && !is_member(more, key) &&
            g_strcmp0(key, shape->tag) && !shape->is_open) {
            return path_error(&below, "unexpected", err);
        }
    }
    return true;
}

ShapeVariant shape_variant(const PropertyShape *shape, unsigned i)
{
    return shape->variants ? shape->variants[i] : shape->variant(i);
}

static bool find_variant(const PropertyShape *shape, const char *name, ShapeVariant *found)
{
    for (unsigned i = 0; (*found = shape_variant(shape, i)).name; i++) {
        if (!strcmp(found->name, name)) {
            return true;
        }
    }
    return false;
}

static bool check_union(const PropertyShape *shape, json_t *object, const Path *path, GError **err)
{
    json_t *tag = json_object_get(object, shape->tag);
    Path below = {.parent = path, .name = shape->tag};
    ShapeVariant variant;

    if (!tag) {
        return path_error(&below, "missing", err);
    }
    if (!check_json_type(tag, JSON_STRING, "string", &below, err)) {
        return false;
    }
    if (!find_variant(shape, json_string_value(tag), &variant)) {
        g_autofree char *text = path_text(&below);

        return shape->is_open || error_set(err, "Parameter '%s' does not accept value '%s'", text,
                                           json_string_value(tag));
    }
    return check_members(shape->members, object, path, err) &&
           check_members(variant.members, object, path, err) &&
           check_known(shape, variant.members, object, path, err);
}

/* Checks the member whose JSON type is the value's, so that an error is about that member. */
static bool check_alternate(const PropertyShape *shape, json_t *value, const Path *path,
                            GError **err)
{
    g_autofree char *text = NULL;

    for (const Property *p = shape->members; p->name; p++) {
        bool nested = p->type == PROP_TREE && !(p->flags & PROP_FLAG_LIST);

        if (nested ? json_is_object(value) : shape_check_one(p, value, path, NULL)) {
            return shape_check_one(p, value, path, err);
        }
    }
    text = path_text(path);
    return error_set(err, "Invalid parameter type for '%s', expected: %s", text, shape->name);
}

static bool check_shape(const PropertyShape *shape, json_t *value, const Path *path, GError **err)
{
    if (shape->is_alternate) {
        return check_alternate(shape, value, path, err);
    }
    if (!check_json_type(value, JSON_OBJECT, "object", path, err)) {
        return false;
    }
    if (shape->tag) {
        return check_union(shape, value, path, err);
    }
    return check_members(shape->members, value, path, err) &&
           check_known(shape, NULL, value, path, err);
}

bool shape_check(const PropertyShape *shape, json_t *value, const char *name, GError **err)
{
    Path path = {.name = name};

    return check_shape(shape, value, &path, err);
}

bool shape_check_value(const Property *p, json_t *value, const char *name, GError **err)
{
    Path path = {.name = name};

    return shape_check_one(p, value, &path, err);
}

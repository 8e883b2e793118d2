/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptions of JSON values: a command's arguments, its result, an event's data. Members are
 * described by Property. QMP's schema is made from these descriptions, and values are checked
 * against them. Any thread; shapes that walk tables of classes (variant()) on the main thread only.
 */
#ifndef BASE_SHAPE_H
#define BASE_SHAPE_H

#include "base/property.h"

typedef struct {
    const char *name;        /* NULL ends a list */
    const Property *members; /* NULL: none */
} ShapeVariant;

/*
 * An object; a union, which is an object whose tag (a member) says which variant's members are
 * added; or an alternate, which is a value of the type of one of the members, told apart by JSON
 * type.
 */
typedef struct PropertyShape {
    const char *name; /* QAPI's, unique: "StatusInfo" */
    const Property *members;
    const char *tag; /* NULL: no union; may be among the members */
    /* One of the two is set: a list, or a function that makes the i-th from a table of classes. */
    const ShapeVariant *variants;
    ShapeVariant (*variant)(unsigned i);
    bool is_alternate;
    /*
     * Members and variants that are not described pass the check. The command's handler refuses
     * them, because only the handler knows what the user may have meant.
     */
    bool is_open;
} PropertyShape;

/*
 * Entries of PropertyShape.members: required, optional, lists of such. Designated initialisers may
 * follow the type: MAYBE("x", PROP_TREE, .shape = &y).
 */
#define MEMBER(n, t, ...)                                                                          \
    {                                                                                              \
        .name = (n), .type = (t), .flags = PROP_FLAG_REQUIRED, ##__VA_ARGS__                       \
    }
#define MAYBE(n, t, ...)                                                                           \
    {                                                                                              \
        .name = (n), .type = (t), ##__VA_ARGS__                                                    \
    }
#define MEMBER_LIST(n, t, ...)                                                                     \
    {                                                                                              \
        .name = (n), .type = (t), .flags = PROP_FLAG_REQUIRED | PROP_FLAG_LIST, ##__VA_ARGS__      \
    }
#define MAYBE_LIST(n, t, ...)                                                                      \
    {                                                                                              \
        .name = (n), .type = (t), .flags = PROP_FLAG_LIST, ##__VA_ARGS__                           \
    }

/* The shape 'variable' of these members, for other files or for this one. */
#define SHAPE(variable, qapi_name, ...)                                                            \
    static const Property variable##_members[] = {__VA_ARGS__, PROP_END};                          \
    const PropertyShape variable = {.name = (qapi_name), .members = variable##_members}
#define STATIC_SHAPE(variable, qapi_name, ...)                                                     \
    static const Property variable##_members[] = {__VA_ARGS__, PROP_END};                          \
    static const PropertyShape variable = {.name = (qapi_name), .members = variable##_members}
/* The members of QAPI's wrapper of a simple union's branch: {"data": {...}}. */
#define WRAPPED(variable, inner)                                                                   \
    static const Property variable[] = {MEMBER("data", PROP_TREE, .shape = &inner), PROP_END}

extern const char *const on_off_auto_names[]; /* of PROP_ON_OFF_AUTO, in QAPI's order */
extern const PropertyShape string_shape;      /* QAPI's "String": {"str": "..."} */

/* The i-th variant; one without a name behind the last. */
ShapeVariant shape_variant(const PropertyShape *shape, unsigned i);

/*
 * Whether a value matches its description exactly: no text for a number, no member missing, none
 * that is not described. *err has QMP's words and names the member by its path: "Parameter
 * 'backend.data.addr' is missing". The path starts with 'name', which may be NULL.
 */
bool shape_check(const PropertyShape *shape, json_t *value, const char *name, GError **err);
bool shape_check_value(const Property *p, json_t *value, const char *name, GError **err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What JSON consists of. One descriptor, Property, serves a command's arguments, its result and an
 * event's data; the schema is made from the descriptions, and values are held against them. Main
 * thread only for shapes that walk tables of classes; else any thread.
 */
#ifndef BASE_SHAPE_H
#define BASE_SHAPE_H

#include "base/property.h"

typedef struct {
    const char *name;        /* NULL: behind the last */
    const Property *members; /* NULL: none */
} ShapeVariant;

/*
 * An object with members, a union (one member, the tag, says which variant's members are added), or
 * an alternate (one of the members, told apart by the type of JSON).
 */
typedef struct PropertyShape {
    const char *name; /* QAPI's: "StatusInfo"; unique */
    const Property *members;
    const char *tag;              /* NULL: no union; may be among the members */
    const ShapeVariant *variants; /* ends with a NULL name; or, of a table of classes: */
    ShapeVariant (*variant)(unsigned i);
    bool is_alternate;
    /*
     * Names that are not described, of members and of variants, pass the check: the taker of the
     * arguments refuses them, because only the taker knows what the user may have meant.
     */
    bool is_open;
} PropertyShape;

/* Members of a description; what follows the type is designated: MAYBE("x", PROP_TREE, .shape =
 * &y).
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

extern const char *const on_off_auto_names[]; /* of PROP_ON_OFF_AUTO, in QAPI's order */
extern const PropertyShape string_shape;      /* QAPI's "String": {"str": "..."} */

/* The i-th variant; its name is NULL behind the last. */
ShapeVariant shape_variant(const PropertyShape *shape, unsigned i);

/*
 * Whether a value is what its description says, exactly: no text for a number, no member missing,
 * none that is not described. *err is in QMP's words and names the member by its path, "Parameter
 * 'backend.data.addr' is missing". 'name' is what the path starts with, NULL: nothing.
 */
bool shape_check(const PropertyShape *shape, json_t *value, const char *name, GError **err);
bool shape_check_value(const Property *p, json_t *value, const char *name, GError **err);

#endif

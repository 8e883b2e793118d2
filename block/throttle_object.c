/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object throttle-group: a group with a name. Its limits come as properties x-..., or together as
 * the property 'limits', which may be set later as well.
 */
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "block/throttle.h"

enum { THROTTLE_FIELDS = 3 * THROTTLE_KINDS + 1 };

typedef struct {
    Object obj;
    ThrottleGroup *group;
    json_t *limits;
    uint64_t x[THROTTLE_FIELDS]; /* in the order of throttle_names */
} ThrottleObject;

#define LIMIT(n, h) MAYBE(n, PROP_UINT64, .max = INT64_MAX, .help = (h))
#define LIMITS_OF(n, what)                                                                         \
    LIMIT(n, "limit of " what " a second"), LIMIT(n "-max", what " a second in bursts"),           \
        LIMIT(n "-max-length", "seconds that a burst of " what " lasts")

static const Property limits_members[] = {
    LIMITS_OF("iops-total", "requests"),
    LIMITS_OF("iops-read", "reads"),
    LIMITS_OF("iops-write", "writes"),
    LIMITS_OF("bps-total", "bytes"),
    LIMITS_OF("bps-read", "bytes read"),
    LIMITS_OF("bps-write", "bytes written"),
    LIMIT("iops-size", "bytes that count as one request"),
    PROP_END,
};
static const PropertyShape limits_shape = {.name = "ThrottleLimits", .members = limits_members};

#define X(n, i, d)                                                                                 \
    {                                                                                              \
        .name = "x-" n, .type = PROP_UINT64, .max = INT64_MAX, .defval = (d),                      \
        .offset = offsetof(ThrottleObject, x) + (i) * sizeof(uint64_t), .help = "as " n            \
    }
#define X_OF(n, i) X(n, i, "0"), X(n "-max", (i) + 1, "0"), X(n "-max-length", (i) + 2, "1")

static const Property throttle_object_props[] = {
    {.name = "limits",
     .type = PROP_TREE,
     .offset = offsetof(ThrottleObject, limits),
     .shape = &limits_shape,
     .flags = PROP_FLAG_RUNTIME,
     .help = "all limits"},
    X_OF("iops-total", 0),
    X_OF("iops-read", 3),
    X_OF("iops-write", 6),
    X_OF("bps-total", 9),
    X_OF("bps-read", 12),
    X_OF("bps-write", 15),
    X("iops-size", 18, "0"),
    PROP_END,
};

/* Overwrites what 'limits' names. Values may be texts, where they come from a command line. */
static bool config_from_limits(ThrottleConfig *c, json_t *limits, GError **err)
{
    const char *key;
    json_t *value;

    if (limits && !json_is_object(limits)) {
        return error_set(err, "Invalid parameter type for 'limits', expected: object");
    }
    json_object_foreach(limits, key, value)
    {
        const Property *p = property_find(limits_members, key);
        Property at;

        if (!p) {
            return error_set(err, "Parameter '%s' is unexpected", key);
        }
        at = *p;
        at.offset = 0;
        if (!property_set(&at, throttle_config_field(c, key), value, "limits", err)) {
            return false;
        }
    }
    return true;
}

/* The object's properties are the group's limits. */
static void object_show(ThrottleObject *o, ThrottleConfig *c)
{
    json_t *limits = json_object();

    for (unsigned i = 0; throttle_names[i]; i++) {
        o->x[i] = *throttle_config_field(c, throttle_names[i]);
        json_object_set_new(limits, throttle_names[i], json_integer(o->x[i]));
    }
    json_decref(o->limits);
    o->limits = limits;
}

static bool throttle_object_complete(Object *obj, GError **err)
{
    ThrottleObject *o = container_of(obj, ThrottleObject, obj);
    ThrottleConfig c;

    for (unsigned i = 0; throttle_names[i]; i++) {
        *throttle_config_field(&c, throttle_names[i]) = o->x[i];
    }
    if (throttle_group_find(obj->id)) {
        return error_set(err, "A group with this name already exists");
    }
    if (!config_from_limits(&c, o->limits, err) || !throttle_config_check(&c, err)) {
        return false;
    }
    o->group = throttle_group_get(obj->id);
    throttle_group_count_users(o->group, &obj->users);
    throttle_group_set_config(o->group, &c);
    object_show(o, &c);
    return true;
}

static void throttle_object_finalize(Object *obj)
{
    ThrottleObject *o = container_of(obj, ThrottleObject, obj);

    throttle_group_count_users(o->group, NULL);
    throttle_group_unref(o->group);
}

/* What is not among the new limits keeps its value. */
static bool throttle_object_changed(Object *obj, const char *name, GError **err)
{
    ThrottleObject *o = container_of(obj, ThrottleObject, obj);
    ThrottleConfig c;

    throttle_group_config(o->group, &c);
    if (!config_from_limits(&c, o->limits, err) || !throttle_config_check(&c, err)) {
        return false;
    }
    throttle_group_set_config(o->group, &c);
    object_show(o, &c);
    return true;
}

const ObjectClass throttle_group_class = {
    .name = "throttle-group",
    .help = "limits that several disks share",
    .size = sizeof(ThrottleObject),
    .props = throttle_object_props,
    .complete = throttle_object_complete,
    .finalize = throttle_object_finalize,
    .property_apply = throttle_object_changed,
};

void throttle_group_show(ThrottleGroup *g)
{
    Object *obj = object_find(throttle_group_name(g), &throttle_group_class, NULL);
    ThrottleConfig c;

    if (obj) {
        throttle_group_config(g, &c);
        object_show(container_of(obj, ThrottleObject, obj), &c);
    }
}

const ObjectClass *const block_object_classes[] = {&throttle_group_class, NULL};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object: objects that a command line creates by id and other options refer to (memory-backend-*,
 * iothread, rng-*, secret ...). The registry is in base because the image tools have objects too.
 * Each program names its arrays of classes by object_set_classes() and object_add_classes(). Main
 * thread only.
 */
#ifndef BASE_OBJECT_H
#define BASE_OBJECT_H

#include <glib.h>
#include <jansson.h>
#include "base/property.h"

typedef struct Object Object;

typedef struct ObjectClass {
    const char *name; /* "iothread" */
    const char *help;
    size_t size;        /* of the struct that embeds Object first */
    const char *parent; /* abstract parent as QEMU's object model names it; NULL: "object" */
    const Property *props;
    bool after_networks; /* of the command line's, it is made after -netdev */
    bool (*complete)(Object *obj, GError **err); /* after the properties; may fail */
    void (*finalize)(Object *obj);
    /* Overwrites what is secret; also of an object that was refused. May be NULL. */
    void (*wipe)(Object *obj);
    /*
     * A PROP_FLAG_RUNTIME property was changed: one of the two, where there is one. The second may
     * refuse; the property then has its old value again.
     */
    void (*property_changed)(Object *obj, const char *name);
    bool (*property_apply)(Object *obj, const char *name, GError **err);
    /*
     * Of what says who may come in (authz.h): whether it lets the identity in; false and *err: it
     * does not. Called in a coroutine, may wait, and then the object may be gone. NULL: the class
     * says nothing of that.
     */
    bool (*allows)(Object *obj, const char *identity, GError **err);
} ObjectClass;

struct Object {
    const ObjectClass *class;
    char *id;
    unsigned users; /* references; object_delete() refuses while it is not 0 */
};

/* Those of base/: every program has them. */
extern const ObjectClass *const object_base_classes[];
void object_set_classes(const ObjectClass *const *classes); /* NULL-terminated, as all of these */
void object_add_classes(const ObjectClass *const *classes); /* beside those that are set */
/* All, ordered by name; good until the next call of one of the two above. */
const ObjectClass *const *object_classes(void);
/* 'config' holds qom-type and id and the properties. The registry owns the object. */
Object *object_create(json_t *config, GError **err);
/*
 * A tool's option --object: makes the object of "TYPE,id=ID,..." or of JSON. Where the text asks
 * for help ("help", "TYPE,help") nothing is made, and *help is what to print (caller frees), else
 * NULL.
 */
bool object_option(const char *text, char **help, GError **err);
/* The class that 'config' asks for; NULL and *err where there is none. */
const ObjectClass *object_class_of(json_t *config, GError **err);
/* A property that may change while the object lives. */
bool object_set_property(Object *obj, const char *name, json_t *value, GError **err);
bool object_delete(const char *id, GError **err);
/* NULL and *err where no object has that id, or it has another class (NULL: any class will do). */
Object *object_find(const char *id, const ObjectClass *class, GError **err);
void object_foreach(void (*fn)(Object *obj, void *data), void *data);
void object_delete_all(void);

#endif

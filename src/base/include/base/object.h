/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object classes: things that a command line creates by id and others refer to (memory-backend-*,
 * iothread, rng-*, secret ...). They live in base so that the image tools have them too. One
 * explicit array lists the classes that a program has (main.c gives it to object_set_classes()).
 * Main thread only.
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
    size_t size; /* of the struct that embeds Object first */
    const Property *props;
    bool (*complete)(Object *obj, GError **err); /* after the properties; may fail */
    void (*finalize)(Object *obj);
} ObjectClass;

struct Object {
    const ObjectClass *class;
    char *id;
    unsigned users; /* who holds it: it cannot be deleted while > 0 */
};

void object_set_classes(const ObjectClass *const *classes); /* NULL-terminated */
const ObjectClass *const *object_classes(void);
/* 'config' holds qom-type and id and the properties. The registry owns the object. */
Object *object_create(json_t *config, GError **err);
bool object_delete(const char *id, GError **err);
/* NULL and *err where there is none of that id, or it is not of the class (NULL: any). */
Object *object_find(const char *id, const ObjectClass *class, GError **err);
void object_foreach(void (*fn)(Object *obj, void *data), void *data);
void object_delete_all(void);

#endif

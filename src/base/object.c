/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/object.h"

#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/qemu_names.h"

/* One for the process, as ids of the command line are. */
static struct {
    GPtrArray *classes; /* by name, NULL-terminated; NULL: none */
    GPtrArray *objects; /* in order of creation */
} registry;

void object_set_classes(const ObjectClass *const *classes)
{
    g_clear_pointer(&registry.classes, g_ptr_array_unref);
    object_add_classes(classes);
}

static gint object_class_compare(gconstpointer a, gconstpointer b)
{
    const ObjectClass *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

void object_add_classes(const ObjectClass *const *classes)
{
    if (!registry.classes) {
        registry.classes = g_ptr_array_new();
    } else {
        g_ptr_array_set_size(registry.classes, registry.classes->len - 1);
    }
    for (; *classes; classes++) {
        g_ptr_array_add(registry.classes, (gpointer)*classes);
    }
    g_ptr_array_sort(registry.classes, object_class_compare);
    g_ptr_array_add(registry.classes, NULL);
}

const ObjectClass *const *object_classes(void)
{
    static const ObjectClass *const none[] = {NULL};

    return registry.classes ? (const ObjectClass *const *)registry.classes->pdata : none;
}

static const ObjectClass *object_find_class(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const ObjectClass *const *c = object_classes(); *c; c++) {
        if (strcmp((*c)->name, name) == 0) {
            return *c;
        }
        g_ptr_array_add(names, (char *)(*c)->name);
    }
    g_ptr_array_add(names, NULL);
    if (qemu_name_refused(QEMU_OBJECT, name, err)) {
        return NULL;
    }
    error_unknown_name(err, "object type", name, (const char *const *)names->pdata);
    return NULL;
}

static const char *required_string(json_t *config, const char *key, GError **err)
{
    json_t *value = json_object_get(config, key);

    if (!value) {
        error_set(err, "Parameter '%s' is missing", key);
    } else if (!json_is_string(value)) {
        error_set(err, "Invalid parameter type for '%s', expected: string", key);
    }
    return json_string_value(value);
}

const ObjectClass *object_class_of(json_t *config, GError **err)
{
    const char *name = required_string(config, "qom-type", err);

    return name ? object_find_class(name, err) : NULL;
}

static Object *find_object(const char *id, guint *index)
{
    for (guint i = 0; registry.objects && i < registry.objects->len; i++) {
        Object *obj = g_ptr_array_index(registry.objects, i);
        if (strcmp(obj->id, id) == 0) {
            if (index) {
                *index = i;
            }
            return obj;
        }
    }
    return NULL;
}

static void object_free(Object *obj)
{
    if (obj->class->wipe) {
        obj->class->wipe(obj);
    }
    if (obj->class->props) {
        properties_clear(obj->class->props, obj);
    }
    g_free(obj->id);
    g_free(obj);
}

Object *object_create(json_t *config, GError **err)
{
    static const char *const own_keys[] = {"qom-type", "id", NULL};
    static const Property no_props[] = {PROP_END};
    const ObjectClass *class = object_class_of(config, err);
    const char *id = class ? required_string(config, "id", err) : NULL;

    if (!id || !id_check(id, err)) {
        return NULL;
    }
    if (find_object(id, NULL)) {
        error_set(err, "Duplicate ID '%s' for object", id);
        return NULL;
    }
    g_assert(class->size >= sizeof(Object));
    const Property *props = class->props ? class->props : no_props;
    g_autofree char *what = g_strdup_printf("object '%s'", class->name);
    Object *obj = g_malloc0(class->size);
    obj->class = class;
    obj->id = g_strdup(id);
    properties_init(props, obj);
    if (!properties_apply(props, obj, config, own_keys, what, err) ||
        (class->complete && !class->complete(obj, err))) {
        object_free(obj);
        return NULL;
    }
    if (!registry.objects) {
        registry.objects = g_ptr_array_new();
    }
    g_ptr_array_add(registry.objects, obj);
    return obj;
}

bool object_set_property(Object *obj, const char *name, json_t *value, GError **err)
{
    const Property *p = obj->class->props ? property_find(obj->class->props, name) : NULL;
    g_autofree char *what = NULL;
    json_auto_t *old = NULL;

    if (!p) {
        return error_set(err, "Property '%s.%s' not found", obj->class->name, name);
    }
    if (!(p->flags & PROP_FLAG_RUNTIME)) {
        return error_set(err,
                         "cannot change property '%s' of object '%s' (type '%s'): it is set "
                         "when the object is made",
                         name, obj->id, obj->class->name);
    }
    what = g_strdup_printf("object '%s'", obj->id);
    old = property_get(p, obj);
    if (!property_set(p, obj, value, what, err)) {
        return false;
    }
    if (obj->class->property_apply && !obj->class->property_apply(obj, name, err)) {
        property_set(p, obj, old, what, NULL);
        return false;
    }
    if (obj->class->property_changed) {
        obj->class->property_changed(obj, name);
    }
    return true;
}

static void destroy_at(guint index)
{
    Object *obj = g_ptr_array_remove_index(registry.objects, index);

    if (obj->class->finalize) {
        obj->class->finalize(obj);
    }
    object_free(obj);
}

bool object_delete(const char *id, GError **err)
{
    guint index;
    Object *obj = find_object(id, &index);

    if (!obj) {
        return error_set(err, "object '%s' not found", id);
    }
    if (obj->users) {
        return error_set(err, "object '%s' is in use, can not be deleted", id);
    }
    destroy_at(index);
    return true;
}

Object *object_find(const char *id, const ObjectClass *class, GError **err)
{
    Object *obj = find_object(id, NULL);

    if (!obj) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "object '%s' not found", id);
        return NULL;
    }
    if (class && obj->class != class) {
        error_set(err, "object '%s' is of type '%s', not '%s'", id, obj->class->name, class->name);
        return NULL;
    }
    return obj;
}

void object_foreach(void (*fn)(Object *obj, void *data), void *data)
{
    for (guint i = 0; registry.objects && i < registry.objects->len; i++) {
        fn(g_ptr_array_index(registry.objects, i), data);
    }
}

/* In reverse order of creation: an object may refer to older ones only. */
void object_delete_all(void)
{
    while (registry.objects && registry.objects->len) {
        destroy_at(registry.objects->len - 1);
    }
    g_clear_pointer(&registry.objects, g_ptr_array_unref);
}

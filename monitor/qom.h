/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The objects of this program as QEMU's object model shows them: a tree of paths, and the types.
 * Nothing lives in the tree; it is put together from devices, objects and the like when asked for.
 */
#ifndef MONITOR_QOM_H
#define MONITOR_QOM_H

#include "base/object.h"
#include "machine/machine.h"
#include "vm/device.h"

/* One object. What it is stands in one of the pointers; none: a container, or opaque. */
typedef struct {
    char *path; /* "/machine/peripheral/nic" */
    char *type; /* "virtio-net-pci" */
    Device *dev;
    Object *obj;
    const MachineClass *machine;
    bool is_cpu;
    unsigned cpu; /* its index */
} QomNode;

GPtrArray *qom_nodes(Vm *vm); /* of QomNode; the caller unrefs */
/* By path, or by the end of one where that is unique; NULL and *err. Empty parts do not count. */
const QomNode *qom_find(GPtrArray *nodes, const char *given, GError **err);
/* What lies directly below; order is that of creation (the caller unrefs). */
GPtrArray *qom_children(GPtrArray *nodes, const QomNode *parent);
const char *qom_name(const QomNode *node); /* the path's last part */

/* Properties and children, as qom-list has them. New references. */
json_t *qom_node_list(Vm *vm, GPtrArray *nodes, const QomNode *node);
json_t *qom_node_get(Vm *vm, GPtrArray *nodes, const QomNode *node, const char *name, GError **err);
/* 'strict': a value of the wrong JSON type is refused; else text stands for any. */
bool qom_node_set(const QomNode *node, const char *name, json_t *value, bool strict, GError **err);

/* A type; the pointers are NULL where it is none of them. */
typedef struct {
    char *name;
    const char *parent;    /* NULL: "object" itself */
    const char *interface; /* a type that it implements beside its parent; may be NULL */
    bool is_abstract;
    const DeviceClass *device;
    const ObjectClass *object;
    const MachineClass *machine;
} QomType;

GPtrArray *qom_types(void); /* of QomType; the caller unrefs */
const QomType *qom_type_find(GPtrArray *types, const char *name);
/* Whether it is, derives from, or implements the type of that name. */
bool qom_type_implements(GPtrArray *types, const QomType *type, const char *name);

#endif

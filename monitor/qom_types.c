/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The types: what the tables of classes have, and the abstract ones that these name as parents. */
#include "qom.h"

#include <string.h>

#include "chardev/chardev.h"
#include "vm/vcpu.h"

#define USER_CREATABLE "user-creatable" /* what object-add makes */

static const struct {
    const char *name, *parent, *interface;
} abstract_types[] = {
    {"object"},
    {"interface"},
    {USER_CREATABLE, "interface"},
    {"device", "object"},
    {"authz", "object"},
    {"tls-creds", "object"},
    {"sys-bus-device", "device"},
    {"pci-device", "device"},
    {"isa-device", "device"},
    {"ide-device", "device"},
    {"usb-device", "device"},
    {"usb-hid", "usb-device"},
    {"usb-storage-dev", "usb-device"},
    {"pci-ehci-usb", "pci-device"},
    {"pci-uhci-usb", "pci-device"},
    {"pci-xhci", "pci-device"},
    {"pci-vga", "pci-device"},
    {"e1000-base", "pci-device"},
    {"virtio-device", "device"},
    {"virtio-serial-port", "device"},
    {"virtio-pci", "pci-device"},
    {"pci-host-bridge", "sys-bus-device"},
    {"ioapic-common", "sys-bus-device"},
    {"fw_cfg", "sys-bus-device"},
    {"pic-common", "isa-device"},
    {"pit-common", "isa-device"},
    {"machine", "object"},
    {"chardev", "object"},
    {"event-loop-base", "object", USER_CREATABLE},
    {"memory-backend", "object", USER_CREATABLE},
    {"netfilter", "object", USER_CREATABLE},
    {"rng-backend", "object", USER_CREATABLE},
};

static void qom_type_free(gpointer data)
{
    QomType *type = data;

    g_free(type->name);
    g_free(type);
}

const QomType *qom_type_find(GPtrArray *types, const char *name)
{
    for (unsigned i = 0; i < types->len; i++) {
        const QomType *type = types->pdata[i];

        if (!strcmp(type->name, name)) {
            return type;
        }
    }
    return NULL;
}

/* 'name' is taken. */
static QomType *qom_type_add(GPtrArray *types, char *name, const char *parent)
{
    QomType *type = g_new0(QomType, 1);

    type->name = name;
    type->parent = parent;
    g_ptr_array_add(types, type);
    return type;
}

/* A proxy's child is a class that stands in no table, and that several proxies have. */
static void qom_type_add_device(GPtrArray *types, const DeviceClass *class)
{
    for (; class && !qom_type_find(types, class->name); class = class->child) {
        qom_type_add(types, g_strdup(class->name), class->object_parent)->device = class;
    }
}

GPtrArray *qom_types(void)
{
    GPtrArray *types = g_ptr_array_new_with_free_func(qom_type_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(abstract_types); i++) {
        QomType *type =
            qom_type_add(types, g_strdup(abstract_types[i].name), abstract_types[i].parent);

        type->is_abstract = true;
        type->interface = abstract_types[i].interface;
    }
    qom_type_add(types, g_strdup("container"), "object");
    qom_type_add(types, g_strdup("accel"), "object");
    for (const DeviceClass *const *c = device_classes(); *c; c++) {
        qom_type_add_device(types, *c);
    }
    for (const ObjectClass *const *c = object_classes(); *c; c++) {
        const char *parent = (*c)->parent ? (*c)->parent : "object";

        QomType *type = qom_type_add(types, g_strdup((*c)->name), parent);

        type->object = *c;
        type->interface = USER_CREATABLE;
    }
    for (const MachineClass *const *m = machine_classes(); *m; m++) {
        char *name = g_strdup_printf("%s-machine", (*m)->name);

        qom_type_add(types, name, "machine")->machine = *m;
    }
    for (const Accel *const *a = accels(); *a; a++) {
        qom_type_add(types, g_strdup_printf("%s-accel", (*a)->name), "accel");
    }
    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        qom_type_add(types, g_strdup_printf("chardev-%s", (*c)->name), "chardev");
    }
    qom_type_add(types, g_strdup("chardev-mux"), "chardev"); /* made by mux=on */
    return types;
}

bool qom_type_implements(GPtrArray *types, const QomType *type, const char *name)
{
    for (; type; type = type->parent ? qom_type_find(types, type->parent) : NULL) {
        if (!strcmp(type->name, name) ||
            (type->interface &&
             qom_type_implements(types, qom_type_find(types, type->interface), name))) {
            return true;
        }
    }
    return false;
}

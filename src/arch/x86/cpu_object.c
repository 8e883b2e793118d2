/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUs as objects of the monitor's tree, under every accelerator. QEMU's properties
 * 'unavailable-features' and 'feature-words' are left out on purpose: if libvirt finds one, it
 * queries hundreds of others, and writes those that are off into the guest's configuration.
 */
#include "vm/device.h"
#include "x86_internal.h"

/* Properties that differ between the CPUs; those of -cpu are the same for all. */
static const char *const own_properties[] = {"apic-id", "socket-id", "die-id", "core-id",
                                             "thread-id"};

void x86_cpu_objects_create(Vm *vm)
{
    X86Vm *x = x86_vm(vm);

    x->objects = vm->smp.cpus;
    x->first_object = device_reserve_paths(vm, x->objects);
}

unsigned x86_cpu_count(const Vm *vm)
{
    const X86Vm *x = vm->arch_state;

    return x ? x->objects : 0;
}

char *x86_cpu_object_path(const Vm *vm, unsigned index)
{
    const X86Vm *x = vm->arch_state;

    return g_strdup_printf("/machine/unattached/device[%u]", x->first_object + index);
}

char *x86_cpu_type(const Vm *vm)
{
    const X86Vm *x = vm->arch_state;

    return g_strdup_printf("%s-x86_64-cpu", x->cpu.model->name);
}

static unsigned own_property(const Vm *vm, unsigned index, const char *name)
{
    X86CpuPlace place = x86_cpu_place(vm, index);

    switch (*name) {
    case 'a':
        return x86_apic_id(vm, index);
    case 's':
        return place.socket;
    case 'd':
        return place.die;
    case 'c':
        return place.core;
    default:
        return place.thread;
    }
}

json_t *x86_cpu_object_get(const Vm *vm, unsigned index, const char *name, GError **err)
{
    const X86Vm *x = vm->arch_state;
    const Property *p;
    X86Word word;
    uint32_t bits;

    if (!strcmp(name, "type")) {
        g_autofree char *type = x86_cpu_type(vm);
        return json_string(type);
    }
    if (!strcmp(name, "realized") || !strcmp(name, "hotplugged")) {
        return json_boolean(*name == 'r');
    }
    if (!strcmp(name, "tsc-frequency")) {
        return json_integer(x->cpu.tsc_hz); /* the property of -cpu is a string */
    }
    for (unsigned i = 0; i < ARRAY_SIZE(own_properties); i++) {
        if (!strcmp(name, own_properties[i])) {
            return json_integer(own_property(vm, index, name));
        }
    }
    p = property_find(x86_cpu_props, name);
    if (p) {
        return property_get(p, &x->cpu);
    }
    if (x86_feature_find(name, &word, &bits)) {
        return json_boolean((x->cpu.words[word] & bits) == bits);
    }
    g_autofree char *type = x86_cpu_type(vm);
    error_set(err, "Property '%s.%s' not found", type, name);
    return NULL;
}

static void list_property(json_t *out, const char *name, const char *type)
{
    json_array_append_new(out, json_pack("{s:s,s:s}", "name", name, "type", type));
}

json_t *x86_cpu_object_list(void)
{
    json_t *out = json_array();

    list_property(out, "type", "string");
    list_property(out, "realized", "bool");
    list_property(out, "hotplugged", "bool");
    for (unsigned i = 0; i < ARRAY_SIZE(own_properties); i++) {
        list_property(out, own_properties[i], "int");
    }
    for (const Property *p = x86_cpu_props; p->name; p++) {
        list_property(out, p->name,
                      strcmp(p->name, "tsc-frequency") ? property_type_name(p) : "int");
    }
    for (int w = 0; w < WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            g_autofree char *name = x86_feature_name(w, bit);

            if (name) {
                list_property(out, name, "bool");
            }
        }
    }
    return out;
}

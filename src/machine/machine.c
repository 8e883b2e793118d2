/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one array of boards. */
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "pc.h"
#include "x86/x86.h"

/* 'none': no devices, for tools that only query what this program and KVM can do. */
typedef struct {
    bool usb;
} NoneMachine;

static const Property none_props[] = {
    {.name = "usb",
     .type = PROP_BOOL,
     .offset = offsetof(NoneMachine, usb),
     .defval = "off",
     .help = "no USB on this board",
     .flags = PROP_FLAG_FIXED},
    PROP_END,
};

static bool none_create(Vm *vm, void *machine, MachineConfig *config, GError **err)
{
    return !config->kernel ||
           error_set(err, "-kernel is not supported: machine 'none' has nothing to boot it with");
}

static bool none_finish(Vm *vm, void *machine, MachineConfig *config, GError **err)
{
    return true;
}

static const MachineClass none_class = {
    .name = "none",
    .desc = "empty machine",
    .max_cpus = 1,
    .default_cpu = NULL,
    .default_ram_id = "ram",
    .default_ram_size = 0,
    .props = none_props,
    .size = sizeof(NoneMachine),
    .create = none_create,
    .finish = none_finish,
};

const MachineClass *const *machine_classes(void)
{
    static const MachineClass *const classes[] = {&pc_i440fx_class, &none_class, NULL};

    return classes;
}

const MachineClass *machine_find(const char *name)
{
    for (const MachineClass *const *c = machine_classes(); *c; c++) {
        if (g_str_equal((*c)->name, name) || ((*c)->alias && g_str_equal((*c)->alias, name))) {
            return *c;
        }
    }
    return NULL;
}

char *machine_help_list(void)
{
    GString *out = g_string_new("Supported machines are:\n");

    for (const MachineClass *const *p = machine_classes(); *p; p++) {
        const MachineClass *c = *p;

        if (c->alias) {
            g_string_append_printf(out, "%-20s %s (alias of %s)\n", c->alias, c->desc, c->name);
        }
        g_string_append_printf(out, "%-20s %s%s\n", c->name, c->desc,
                               c->is_default ? " (default)" : "");
    }
    return g_string_free(out, FALSE);
}

void machine_init(Vm *vm, const MachineClass *class)
{
    vm->machine_class = class;
    vm->machine = g_malloc0(class->size);
    if (class->props) {
        properties_init(class->props, vm->machine);
    }
}

void machine_free(Vm *vm)
{
    if (vm->machine) {
        const MachineClass *class = vm->machine_class;

        if (class->destroy) {
            class->destroy(vm, vm->machine);
        }
        if (class->props) {
            properties_clear(class->props, vm->machine);
        }
        g_clear_pointer(&vm->machine, g_free);
    }
    x86_vm_free(vm);
}

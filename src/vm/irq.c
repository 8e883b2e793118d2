/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Level lines: wired-OR pins under one leaf lock. */
#include "irq_internal.h"

#include "vm/vcpu.h"
#include "base/trace.h"

typedef struct {
    Device *dev;
    IrqPin *pins;
    unsigned n;
} ExportedInputs;

struct IrqRouting {
    GMutex lock; /* leaf */
    IrqPin gsi[IRQ_GSI_COUNT];
    Device *gsi_owner;
    IrqPinFn gsi_set; /* of a user-space controller; NULL: GSIs go to the accelerator */
    uint64_t counts[IRQ_GSI_COUNT];
    GArray *exported;
};

void irq_routing_init(Vm *vm)
{
    vm->irq = g_new0(struct IrqRouting, 1);
    g_mutex_init(&vm->irq->lock);
    vm->irq->exported = g_array_new(FALSE, FALSE, sizeof(ExportedInputs));
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        irq_pin_init(&vm->irq->gsi[i], NULL, NULL, i);
    }
}

void irq_routing_free(Vm *vm)
{
    g_array_unref(vm->irq->exported);
    g_mutex_clear(&vm->irq->lock);
    g_clear_pointer(&vm->irq, g_free);
}

void irq_pin_init(IrqPin *pin, Device *owner, IrqPinFn set, unsigned n)
{
    *pin = (IrqPin){.owner = owner, .set = set, .n = n};
}

void irq_lock(Vm *vm)
{
    g_mutex_lock(&vm->irq->lock);
}

void irq_unlock(Vm *vm)
{
    g_mutex_unlock(&vm->irq->lock);
}

IrqPin *irq_gsi(Vm *vm, unsigned gsi)
{
    g_assert(gsi < IRQ_GSI_COUNT);
    return &vm->irq->gsi[gsi];
}

void irq_set_gsi_handler(Vm *vm, Device *owner, IrqPinFn set)
{
    irq_lock(vm);
    vm->irq->gsi_owner = owner;
    vm->irq->gsi_set = set;
    irq_unlock(vm);
}

static bool is_gsi(Vm *vm, const IrqPin *pin)
{
    return pin >= vm->irq->gsi && pin < vm->irq->gsi + IRQ_GSI_COUNT;
}

/* Tells qtest of an edge, which goes on to its pin or controller all the same. */
static void irq_tell(const IrqIntercept *i, unsigned n, bool level)
{
    if (i->fn) {
        i->fn(i->data, n, level);
    }
}

static void irq_pin_edge(Vm *vm, IrqPin *pin, bool level)
{
    irq_tell(&pin->intercept, pin->n, level);
    if (!is_gsi(vm, pin)) {
        trace(irq_pin, device_label(pin->owner), pin->n, level);
        pin->set(pin->owner, pin->n, level);
        return;
    }
    trace(irq_gsi, pin->n, level);
    vm->irq->counts[pin->n] += level;
    if (vm->irq->gsi_set) {
        vm->irq->gsi_set(vm->irq->gsi_owner, pin->n, level);
    } else if (vm->accel->set_gsi) {
        vm->accel->set_gsi(vm, pin->n, level);
    }
}

static void pin_add(Vm *vm, IrqPin *pin, bool level)
{
    bool before = pin->count > 0;

    g_assert(level || pin->count);
    pin->count += level ? 1 : -1;
    if (before != (pin->count > 0)) {
        irq_pin_edge(vm, pin, level);
    }
}

void irq_set_nested(Vm *vm, IrqLine *line, bool level)
{
    if (line->level == level) {
        return;
    }
    line->level = level;
    irq_tell(&line->intercept, line->n, level);
    if (line->pin) {
        pin_add(vm, line->pin, level);
    }
}

void irq_set(Vm *vm, IrqLine *line, bool level)
{
    irq_lock(vm);
    irq_set_nested(vm, line, level);
    irq_unlock(vm);
}

void irq_connect(Device *dev, IrqLine *line, IrqPin *pin)
{
    Vm *vm = dev->vm;

    irq_lock(vm);
    if (!line->listed) {
        if (!dev->irq_outputs) {
            dev->irq_outputs = g_ptr_array_new();
        }
        line->listed = true;
        line->n = dev->irq_outputs->len;
        g_ptr_array_add(dev->irq_outputs, line);
    }
    if (line->pin != pin) {
        if (line->level && line->pin) {
            pin_add(vm, line->pin, false);
        }
        line->pin = pin;
        if (line->level && pin) {
            pin_add(vm, pin, true);
        }
    }
    irq_unlock(vm);
}

void irq_force_input(Vm *vm, IrqPin *pin, bool level)
{
    irq_lock(vm);
    if (pin->forced != level) {
        pin->forced = level;
        pin_add(vm, pin, level);
    }
    irq_unlock(vm);
}

void irq_export_inputs(Device *dev, IrqPin *pins, unsigned n)
{
    ExportedInputs e = {.dev = dev, .pins = pins, .n = n};

    g_array_append_val(dev->vm->irq->exported, e);
}

static bool is_called(const Device *dev, const char *name)
{
    const char *last = strrchr(dev->path, '/');

    return (dev->id && !strcmp(dev->id, name)) || !strcmp(dev->path, name) ||
           (last && !strcmp(last + 1, name)) || !strcmp(dev->class->name, name);
}

static ExportedInputs *find_exported(Vm *vm, const char *name)
{
    for (unsigned i = 0; i < vm->irq->exported->len; i++) {
        ExportedInputs *e = &g_array_index(vm->irq->exported, ExportedInputs, i);

        if (is_called(e->dev, name)) {
            return e;
        }
    }
    return NULL;
}

bool irq_intercept_inputs(Vm *vm, const char *name, IrqIntercept intercept)
{
    ExportedInputs *e = find_exported(vm, name);

    if (!e) {
        return false;
    }
    irq_lock(vm);
    for (unsigned i = 0; i < e->n; i++) {
        e->pins[i].intercept = intercept;
    }
    irq_unlock(vm);
    return true;
}

typedef struct {
    const char *name;
    Device *found;
} FindOutputs;

static void match_outputs(Device *dev, void *data)
{
    FindOutputs *f = data;
    bool any;

    irq_lock(dev->vm);
    any = dev->irq_outputs;
    irq_unlock(dev->vm);
    if (any && !f->found && is_called(dev, f->name)) {
        f->found = dev;
    }
}

bool irq_intercept_outputs(Vm *vm, const char *name, IrqIntercept intercept)
{
    FindOutputs f = {.name = name};

    device_foreach(vm, match_outputs, &f);
    if (!f.found) {
        return false;
    }
    irq_lock(vm);
    for (unsigned i = 0; i < f.found->irq_outputs->len; i++) {
        ((IrqLine *)f.found->irq_outputs->pdata[i])->intercept = intercept;
    }
    irq_unlock(vm);
    return true;
}

IrqPin *irq_find_input(Vm *vm, const char *name, unsigned n)
{
    ExportedInputs *e = find_exported(vm, name);

    return e && n < e->n ? &e->pins[n] : NULL;
}

char *irq_stats_text(Vm *vm)
{
    GString *out = g_string_new("IRQ statistics, rising edges of each global system interrupt:\n");

    irq_lock(vm);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        if (vm->irq->counts[i]) {
            g_string_append_printf(out, "%2u: %" G_GUINT64_FORMAT "\n", i, vm->irq->counts[i]);
        }
    }
    irq_unlock(vm);
    return g_string_free(out, FALSE);
}

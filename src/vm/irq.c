/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Level lines: wired-OR pins under one leaf lock. */
#include "irq_internal.h"

#include "vm/vcpu.h"

typedef struct {
    Device *dev;
    IrqPin *pins;
    unsigned n;
} ExportedInputs;

struct IrqRouting {
    GMutex lock; /* leaf */
    IrqPin gsi[IRQ_GSI_COUNT];
    Device *gsi_owner;
    IrqPinFn gsi_set; /* NULL: the accelerator */
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

static void edge(Vm *vm, IrqPin *pin, bool level)
{
    if (pin->intercept) {
        /* A listener, not a wall: what is behind goes on as it would. */
        pin->intercept(pin->intercept_data, pin->n, level);
    }
    if (!is_gsi(vm, pin)) {
        pin->set(pin->owner, pin->n, level);
        return;
    }
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
        edge(vm, pin, level);
    }
}

void irq_set_nested(Vm *vm, IrqLine *line, bool level)
{
    if (line->level == level) {
        return;
    }
    line->level = level;
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

void irq_pulse(Vm *vm, IrqLine *line)
{
    irq_lock(vm);
    irq_set_nested(vm, line, true);
    irq_set_nested(vm, line, false);
    irq_unlock(vm);
}

void irq_connect(Vm *vm, IrqLine *line, IrqPin *pin)
{
    irq_lock(vm);
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

/* The exported inputs of the device whose path is, or ends in, 'path'. */
static ExportedInputs *find_exported(Vm *vm, const char *path)
{
    for (unsigned i = 0; i < vm->irq->exported->len; i++) {
        ExportedInputs *e = &g_array_index(vm->irq->exported, ExportedInputs, i);
        const char *last = strrchr(e->dev->path, '/');

        if (!strcmp(e->dev->path, path) || (last && !strcmp(last + 1, path)) ||
            !strcmp(e->dev->class->name, path)) {
            return e;
        }
    }
    return NULL;
}

bool irq_intercept_inputs(Vm *vm, const char *path, void (*fn)(void *data, unsigned n, bool level),
                          void *data)
{
    ExportedInputs *e = find_exported(vm, path);

    if (!e) {
        return false;
    }
    irq_lock(vm);
    for (unsigned i = 0; i < e->n; i++) {
        e->pins[i].intercept = fn;
        e->pins[i].intercept_data = data;
    }
    irq_unlock(vm);
    return true;
}

IrqPin *irq_find_input(Vm *vm, const char *path, unsigned n)
{
    ExportedInputs *e = find_exported(vm, path);

    return e && n < e->n ? &e->pins[n] : NULL;
}

void irq_count(Vm *vm, unsigned gsi)
{
    irq_lock(vm);
    vm->irq->counts[gsi]++;
    irq_unlock(vm);
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

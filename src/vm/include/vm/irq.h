/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts.
 *
 * A level line is an IrqLine (a device's output) joined to an IrqPin (an input of a controller or
 * router). Several lines on one pin are a wired OR: the pin counts. Count and controller change
 * together under the routing lock, a leaf. Any thread.
 *
 * MSI is msi_send(): any thread, no lock.
 */
#ifndef VM_IRQ_H
#define VM_IRQ_H

#include "vm/device.h"

typedef struct IrqPin IrqPin;
typedef struct IrqLine IrqLine;

/* Called with the routing lock held, on edges only; may set other pins (irq_pin_set_nested). */
typedef void (*IrqPinFn)(Device *owner, unsigned n, bool level);
/* qtest's irq_intercept_in, irq_intercept_out: told of edges, with the routing lock held. */
typedef void (*IrqInterceptFn)(void *data, unsigned n, bool level);
typedef struct {
    IrqInterceptFn fn; /* NULL: nobody listens */
    void *data;
} IrqIntercept;
struct IrqPin {
    Device *owner; /* controller; NULL: the accelerator's GSI */
    IrqPinFn set;
    unsigned n;
    unsigned count; /* lines that are high */
    bool forced;    /* one of them is qtest's set_irq_in */
    IrqIntercept intercept;
};
struct IrqLine {
    IrqPin *pin; /* NULL: not wired */
    bool level;
    bool listed; /* among its device's outputs, as number n */
    unsigned n;
    IrqIntercept intercept;
};

void irq_pin_init(IrqPin *pin, Device *owner, IrqPinFn set, unsigned n);
/*
 * Wires, or moves, a line of the device (within its struct) to a pin; NULL: to none. The level
 * follows. A device's outputs are numbered in the order in which they were first wired.
 */
void irq_connect(Device *dev, IrqLine *line, IrqPin *pin);
void irq_set(Vm *vm, IrqLine *line, bool level);
static inline void irq_raise(Vm *vm, IrqLine *line)
{
    irq_set(vm, line, true);
}
static inline void irq_lower(Vm *vm, IrqLine *line)
{
    irq_set(vm, line, false);
}
/* An edge: up and down, as one. */
void irq_pulse(Vm *vm, IrqLine *line);
/* From an IrqPinFn: pass on to another pin with the routing lock held already. */
void irq_set_nested(Vm *vm, IrqLine *line, bool level);
/* For controllers: run fn with the routing lock (their own state is guarded by it). */
void irq_lock(Vm *vm);
void irq_unlock(Vm *vm);

/* Global system interrupts 0..23 of the board (ISA lines are 0..15). Valid once the board made
 * them. */
#define IRQ_GSI_COUNT 24
IrqPin *irq_gsi(Vm *vm, unsigned gsi);
/* Replaced by user-space controllers: where GSIs go instead of to the accelerator. */
void irq_set_gsi_handler(Vm *vm, Device *owner, IrqPinFn set);

/* A message: to the APICs, or where the address is plain RAM (qtest), a 32-bit store there. */
void msi_send(Vm *vm, uint64_t addr, uint32_t data);
/* An irqfd that sends this message when signalled: for kernel-side sources. -1 where impossible. */
typedef struct MsiRoute MsiRoute;
MsiRoute *msi_route_new(Vm *vm, uint64_t addr, uint32_t data, GError **err);
int msi_route_fd(MsiRoute *route);
void msi_route_update(MsiRoute *route, uint64_t addr, uint32_t data);
void msi_route_free(MsiRoute *route);

/* A controller's inputs, for qtest. */
void irq_export_inputs(Device *dev, IrqPin *pins, unsigned n);
/*
 * For qtest: listens at the inputs, or the outputs, of the device whose id, object path, end of
 * the path or class is 'name' (.fn NULL: no longer). false: there is none that has any.
 */
bool irq_intercept_inputs(Vm *vm, const char *name, IrqIntercept intercept);
bool irq_intercept_outputs(Vm *vm, const char *name, IrqIntercept intercept);
/* qtest's set_irq_in: input n of the device (NULL: none such), held high or let go. */
IrqPin *irq_find_input(Vm *vm, const char *name, unsigned n);
void irq_force_input(Vm *vm, IrqPin *pin, bool level);
char *irq_stats_text(Vm *vm);         /* info irq */
void irq_count(Vm *vm, unsigned gsi); /* for info irq */

#endif

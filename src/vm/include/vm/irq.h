/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts.
 *
 * A level line is an IrqLine (a device's output) wired to an IrqPin (an input of a controller or
 * router). Several lines on one pin are a wired OR: the pin counts the lines that are high. The
 * count and the controller's input change together under the routing lock, a leaf. Any thread.
 *
 * MSI is msi_send(): any thread, no lock.
 */
#ifndef VM_IRQ_H
#define VM_IRQ_H

#include "vm/device.h"

typedef struct IrqPin IrqPin;
typedef struct IrqLine IrqLine;

/* Called on edges only, with the routing lock held; sets other lines by irq_set_nested(). */
typedef void (*IrqPinFn)(Device *owner, unsigned n, bool level);
/* Hears of edges for qtest's irq_intercept_in and _out. Called with the routing lock held. */
typedef void (*IrqInterceptFn)(void *data, unsigned n, bool level);
typedef struct {
    IrqInterceptFn fn; /* NULL: no listener */
    void *data;
} IrqIntercept;
struct IrqPin {
    Device *owner; /* the controller; NULL: one of the board's GSIs */
    IrqPinFn set;
    unsigned n;
    unsigned count; /* lines that are high */
    bool forced;    /* qtest's set_irq_in holds the pin high, and is counted as a line */
    IrqIntercept intercept;
};
struct IrqLine {
    IrqPin *pin; /* NULL: not wired */
    bool level;
    bool listed; /* entry n of the device's irq_outputs */
    unsigned n;
    IrqIntercept intercept;
};

void irq_pin_init(IrqPin *pin, Device *owner, IrqPinFn set, unsigned n);
/*
 * Wires a line, which the device's struct embeds, to a pin, or to none (NULL). A line that is high
 * takes its level along. A device's outputs are numbered in the order of their first wiring.
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
/* irq_set() for callers that hold the routing lock, such as an IrqPinFn. */
void irq_set_nested(Vm *vm, IrqLine *line, bool level);
/* The routing lock. It also guards the state of interrupt controllers in user space. */
void irq_lock(Vm *vm);
void irq_unlock(Vm *vm);

/* The board's global system interrupts, 0 to 23; 0 to 15 are the ISA lines. */
#define IRQ_GSI_COUNT 24
IrqPin *irq_gsi(Vm *vm, unsigned gsi);
/* GSIs go to 'set' of a user-space controller from now on, not to the accelerator. */
void irq_set_gsi_handler(Vm *vm, Device *owner, IrqPinFn set);

/* Sends a message: KVM delivers it to the local APICs, qtest stores it in RAM. */
void msi_send(Vm *vm, uint64_t addr, uint32_t data);
/*
 * An eventfd that sends this message when it is signalled, for sources in the kernel (vhost). NULL
 * and *err where the accelerator has none.
 */
typedef struct MsiRoute MsiRoute;
MsiRoute *msi_route_new(Vm *vm, uint64_t addr, uint32_t data, GError **err);
int msi_route_fd(MsiRoute *route);
void msi_route_update(MsiRoute *route, uint64_t addr, uint32_t data);
void msi_route_free(MsiRoute *route);

/* Makes a controller's inputs known to qtest. They stay so until the Vm ends. */
void irq_export_inputs(Device *dev, IrqPin *pins, unsigned n);
/*
 * For qtest: sets the listener at the inputs, or the outputs, of the device whose id, object path,
 * last part of the path or class is 'name'. false: no such device has any.
 */
bool irq_intercept_inputs(Vm *vm, const char *name, IrqIntercept intercept);
bool irq_intercept_outputs(Vm *vm, const char *name, IrqIntercept intercept);
/* For qtest's set_irq_in: finds input n of a device (NULL: none), holds it high or lets go. */
IrqPin *irq_find_input(Vm *vm, const char *name, unsigned n);
void irq_force_input(Vm *vm, IrqPin *pin, bool level);
char *irq_stats_text(Vm *vm); /* info irq */

#endif

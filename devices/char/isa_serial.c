/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC's serial ports: a 16550A at the ports and IRQs of COM1 to COM4. */
#include "devices/isa.h"
#include "base/error.h"
#include "chardev/console.h"
#include "serial.h"

#define ISA_SERIAL_MAX 4
#define UNSET          UINT32_MAX

typedef struct {
    Device dev;
    SerialCore core;
    uint32_t index, iobase, isairq;
    IrqLine irq;
} IsaSerial;

static const struct {
    uint16_t port;
    uint8_t irq;
} com_ports[ISA_SERIAL_MAX] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

static const Property isa_serial_props[] = {
    PROP("index", PROP_UINT32, IsaSerial, index, "4294967295", "COM port number, from 0"),
    PROP("iobase", PROP_UINT32, IsaSerial, iobase, "4294967295", "first port"),
    PROP("irq", PROP_UINT32, IsaSerial, isairq, "4294967295", "interrupt"),
    PROP("chardev", PROP_STRING, IsaSerial, core.chardev, NULL,
         "ID of a chardev to use as a backend"),
    {.name = "baudbase",
     .type = PROP_UINT32,
     .offset = offsetof(IsaSerial, core.baudbase),
     .defval = "115200",
     .min = 1,
     .max = UINT32_MAX,
     .help = "speed at divisor 1"},
    PROP_END,
};

static void isa_serial_set_irq(SerialCore *u, bool level)
{
    IsaSerial *d = container_of(u, IsaSerial, core);
    irq_set(d->dev.vm, &d->irq, level);
}

static void isa_serial_rx_timeout(Device *dev)
{
    serial_core_rx_timeout(&container_of(dev, IsaSerial, dev)->core);
}

/* The lowest COM port number that no other isa-serial on this bus has. */
static uint32_t free_index(const IsaSerial *self)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < self->dev.bus->children->len; i++) {
        Device *other = g_ptr_array_index(self->dev.bus->children, i);
        if (other->class == self->dev.class && other != &self->dev && other->realized) {
            taken |= BIT(container_of(other, IsaSerial, dev)->index & 31);
        }
    }
    uint32_t index = 0;
    while (taken & BIT(index)) {
        index++;
    }
    return index;
}

static bool isa_serial_realize(Device *dev, GError **err)
{
    IsaSerial *d = container_of(dev, IsaSerial, dev);
    g_autofree char *name = NULL;
    uint32_t index = d->index == UNSET ? free_index(d) : d->index;
    if (index >= ISA_SERIAL_MAX) {
        return error_set(err, "Max. supported number of ISA serial ports is %d.", ISA_SERIAL_MAX);
    }
    uint32_t iobase = d->iobase == UNSET ? com_ports[index].port : d->iobase;
    uint32_t isairq = d->isairq == UNSET ? com_ports[index].irq : d->isairq;
    if (iobase > UINT16_MAX - (SERIAL_PORTS - 1)) {
        return error_set(err, "isa-serial: iobase 0x%x is no port number", iobase);
    }
    if (isairq > 15) {
        return error_set(err, "isa-serial: irq %u is no ISA interrupt (0 to 15)", isairq);
    }
    if (!serial_core_realize(&d->core, dev, "serial", isa_serial_rx_timeout, isa_serial_set_irq,
                             err)) {
        return false;
    }
    d->index = index;
    d->iobase = iobase;
    d->isairq = isairq;
    isa_connect_irq(dev, &d->irq, isairq);
    name = g_strdup_printf("serial%u", index);
    d->core.fe.console = char_console_new(&d->core.fe, name);
    isa_map_ports(dev, &d->core.io, iobase);
    return true;
}

static void isa_serial_unrealize(Device *dev)
{
    IsaSerial *d = container_of(dev, IsaSerial, dev);
    io_region_unmap(dev->vm, &d->core.io);
    irq_connect(dev, &d->irq, NULL);
    serial_core_unrealize(&d->core);
}

static void isa_serial_reset(Device *dev, ResetKind kind)
{
    serial_core_reset(&container_of(dev, IsaSerial, dev)->core);
}

static void isa_serial_post_load(Device *dev)
{
    serial_core_post_load(&container_of(dev, IsaSerial, dev)->core);
}

static void isa_serial_run_state(Device *dev, bool running)
{
    serial_core_run_state(&container_of(dev, IsaSerial, dev)->core, running);
}

static const StateSection isa_serial_state[] = {
    {serial_state_desc, offsetof(IsaSerial, core.s)},
    {0},
};

const DeviceClass isa_serial_class = {
    .name = "isa-serial",
    .bus = "ISA",
    .desc = "16550A serial port",
    .category = DEVICE_CATEGORY_INPUT,
    .size = sizeof(IsaSerial),
    .props = isa_serial_props,
    .state = isa_serial_state,
    .realize = isa_serial_realize,
    .unrealize = isa_serial_unrealize,
    .reset = isa_serial_reset,
    .post_load = isa_serial_post_load,
    .run_state = isa_serial_run_state,
    .object_parent = "isa-device",
};

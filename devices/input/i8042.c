/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller: ports 0x60 and 0x64, the reset line and the A20 gate. (Intel UPI-42
 * 8042 as programmed for the IBM PS/2: "PS/2 Hardware Interface Technical Reference", Keyboard and
 * Auxiliary Device Controller, 1988.)
 *
 * A port may be empty. The controller then answers as on a PC without a keyboard: 0xfe with the
 * time-out bit, on which firmware and drivers give up at once.
 *
 * The A20 gate is only a bit that can be read back. Addresses never wrap: KVM cannot mask A20.
 */
#include "i8042.h"
#include "devices/isa.h"
#include "base/error.h"
#include "base/log.h"

enum {
    /* Status register, read of 0x64. */
    STAT_OBF = 0x01, /* output buffer full */
    STAT_IBF = 0x02, /* input buffer full: never set, as a write is handled at once */
    STAT_SYS = 0x04, /* self-test passed (system flag) */
    STAT_CMD = 0x08, /* last write was to 0x64 */
    STAT_UNLOCKED = 0x10,
    STAT_AUX_OBF = 0x20, /* the byte comes from the auxiliary port */
    STAT_TIMEOUT = 0x40,

    /* Command byte, controller RAM 0. */
    MODE_KBD_INT = 0x01,
    MODE_AUX_INT = 0x02,
    MODE_SYS = 0x04,
    MODE_DISABLE_KBD = 0x10,
    MODE_DISABLE_AUX = 0x20,

    /* Output port. */
    OUT_RESET = 0x01, /* active low: 0 resets the CPU */
    OUT_A20 = 0x02,
    OUT_KBD_OBF = 0x10, /* drives IRQ 1 */
    OUT_AUX_OBF = 0x20, /* drives IRQ 12 */
    OUT_ONES = 0xcc,

    /* Commands, write of 0x64. */
    CMD_READ_RAM = 0x20,  /* to 0x3f: the byte's index in bits 4:0 */
    CMD_WRITE_RAM = 0x60, /* to 0x7f */
    CMD_AUX_DISABLE = 0xa7,
    CMD_AUX_ENABLE = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_DISABLE = 0xad,
    CMD_KBD_ENABLE = 0xae,
    CMD_READ_INPORT = 0xc0,
    CMD_READ_OUTPORT = 0xd0,
    CMD_WRITE_OUTPORT = 0xd1,
    CMD_WRITE_KBD_OBUF = 0xd2,
    CMD_WRITE_AUX_OBUF = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0, /* to 0xff: pulses low those output port bits 3:0 that are 0 */
};

/* command: the command that takes the next byte written to 0x60; 0: the keyboard gets the byte. */
#define I8042_STATE(X)                                                                             \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, command)                                                                         \
    X(F, uint8_t, outport)                                                                         \
    X(F, uint8_t, obuf)                                                                            \
    X(A, uint8_t, ram, 32)
STATE_STRUCT(I8042State, I8042_STATE);
STATE_DESC(i8042, I8042State, I8042_STATE, 1);

struct I8042 {
    Device dev;
    I8042State s;
    IoRegion data, cmd;
    IrqLine irq[PS2_PORTS];
    const Ps2Ops *ops[PS2_PORTS];
    void *ps2[PS2_PORTS];
    uint8_t kbd_irq, aux_irq;
};

static const Property i8042_props[] = {
    {.name = "kbd-irq",
     .type = PROP_UINT8,
     .offset = offsetof(I8042, kbd_irq),
     .defval = "1",
     .max = 15,
     .help = "interrupt of the keyboard"},
    {.name = "mouse-irq",
     .type = PROP_UINT8,
     .offset = offsetof(I8042, aux_irq),
     .defval = "12",
     .max = 15,
     .help = "interrupt of the mouse"},
    PROP_END,
};

/* The output port as read: its bits 4 and 5 are the interrupt requests, derived from the status. */
static uint8_t i8042_outport(const I8042State *s)
{
    uint8_t v = s->outport & ~(OUT_KBD_OBF | OUT_AUX_OBF);
    if (s->status & STAT_OBF) {
        v |= (s->status & STAT_AUX_OBF) ? OUT_AUX_OBF : OUT_KBD_OBF;
    }
    return v;
}

static void update_irqs(I8042 *kbc)
{
    I8042State *s = &kbc->s;
    bool full = s->status & STAT_OBF, aux = s->status & STAT_AUX_OBF;
    irq_set(kbc->dev.vm, &kbc->irq[PS2_KBD], full && !aux && (s->ram[0] & MODE_KBD_INT));
    irq_set(kbc->dev.vm, &kbc->irq[PS2_AUX], full && aux && (s->ram[0] & MODE_AUX_INT));
}

/* Puts a byte into the output buffer, over any unread byte. */
static void i8042_output(I8042 *kbc, Ps2Port from, uint8_t byte, uint8_t status)
{
    I8042State *s = &kbc->s;
    s->obuf = byte;
    s->status &= ~(STAT_AUX_OBF | STAT_TIMEOUT);
    s->status |= STAT_OBF | status | (from == PS2_AUX ? STAT_AUX_OBF : 0);
    update_irqs(kbc);
}

void i8042_poll(I8042 *kbc)
{
    static const uint8_t disable[PS2_PORTS] = {MODE_DISABLE_KBD, MODE_DISABLE_AUX};
    for (Ps2Port port = 0; port < PS2_PORTS && !(kbc->s.status & STAT_OBF); port++) {
        uint8_t byte;
        if (kbc->ops[port] && !(kbc->s.ram[0] & disable[port]) &&
            kbc->ops[port]->read(kbc->ps2[port], &byte)) {
            i8042_output(kbc, port, byte, 0);
        }
    }
}

void i8042_plug(I8042 *kbc, Ps2Port port, const Ps2Ops *ops, void *ps2)
{
    kbc->ops[port] = ops;
    kbc->ps2[port] = ps2;
}

static void i8042_send(I8042 *kbc, Ps2Port port, uint8_t byte)
{
    if (kbc->ops[port]) {
        kbc->ops[port]->write(kbc->ps2[port], byte);
        i8042_poll(kbc);
    } else {
        /* Technical Reference, status register bit 6: the transmission timed out; data is 0xfe. */
        i8042_output(kbc, port, 0xfe, STAT_TIMEOUT);
    }
}

static void write_outport(I8042 *kbc, uint8_t v)
{
    kbc->s.outport = v;
    if (!(v & OUT_RESET)) {
        vm_request_reset(kbc->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static void write_mode(I8042 *kbc, uint8_t v)
{
    kbc->s.ram[0] = v;
    kbc->s.status = (kbc->s.status & ~STAT_SYS) | ((v & MODE_SYS) ? STAT_SYS : 0);
    update_irqs(kbc);
    i8042_poll(kbc);
}

/* Commands whose only effect is an answer. False: command is not one of these. */
static bool i8042_answer(I8042 *kbc, uint8_t command)
{
    I8042State *s = &kbc->s;
    switch (command) {
    case CMD_READ_RAM ... CMD_READ_RAM + 0x1f:
        i8042_output(kbc, PS2_KBD, s->ram[command & 0x1f], 0);
        return true;
    case CMD_SELF_TEST:
        s->status |= STAT_SYS;
        i8042_output(kbc, PS2_KBD, 0x55, 0);
        return true;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        i8042_output(kbc, PS2_KBD, 0x00, 0); /* clock and data lines are fine */
        return true;
    case CMD_READ_INPORT:
        i8042_output(kbc, PS2_KBD, 0x80, 0); /* keyboard not inhibited */
        return true;
    case CMD_READ_OUTPORT:
        i8042_output(kbc, PS2_KBD, i8042_outport(s), 0);
        return true;
    default:
        return false;
    }
}

static void i8042_execute(I8042 *kbc, uint8_t command)
{
    I8042State *s = &kbc->s;
    switch (command) {
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + 0x1f:
    case CMD_WRITE_OUTPORT:
    case CMD_WRITE_KBD_OBUF:
    case CMD_WRITE_AUX_OBUF:
    case CMD_WRITE_AUX:
        s->command = command; /* its argument is the next write of the data port */
        break;
    case CMD_AUX_DISABLE:
        s->ram[0] |= MODE_DISABLE_AUX;
        break;
    case CMD_AUX_ENABLE:
        s->ram[0] &= ~MODE_DISABLE_AUX;
        i8042_poll(kbc);
        break;
    case CMD_KBD_DISABLE:
        s->ram[0] |= MODE_DISABLE_KBD;
        break;
    case CMD_KBD_ENABLE:
        s->ram[0] &= ~MODE_DISABLE_KBD;
        i8042_poll(kbc);
        break;
    case CMD_A20_OFF:
        s->outport &= ~OUT_A20;
        break;
    case CMD_A20_ON:
        s->outport |= OUT_A20;
        break;
    case CMD_PULSE ... 0xff:
        if (!(command & OUT_RESET)) {
            vm_request_reset(kbc->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
        }
        break;
    default:
        log_guest_error("i8042: unknown command 0x%02x", command);
        break;
    }
}

static IoResult i8042_cmd_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *kbc = container_of(region, I8042, cmd);

    kbc->s.status |= STAT_CMD;
    kbc->s.command = 0;
    if (!i8042_answer(kbc, value)) {
        i8042_execute(kbc, value);
    }
    return IO_OK;
}

static uint64_t i8042_cmd_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, I8042, cmd)->s.status;
}

static IoResult i8042_data_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *kbc = container_of(region, I8042, data);
    I8042State *s = &kbc->s;
    uint8_t v = value, command = s->command;
    s->status &= ~STAT_CMD;
    s->command = 0;
    switch (command) {
    case CMD_WRITE_RAM:
        write_mode(kbc, v);
        break;
    case CMD_WRITE_RAM + 1 ... CMD_WRITE_RAM + 0x1f:
        s->ram[command & 0x1f] = v;
        break;
    case CMD_WRITE_OUTPORT:
        write_outport(kbc, v);
        break;
    case CMD_WRITE_KBD_OBUF:
        i8042_output(kbc, PS2_KBD, v, 0);
        break;
    case CMD_WRITE_AUX_OBUF:
        i8042_output(kbc, PS2_AUX, v, 0);
        break;
    case CMD_WRITE_AUX:
        i8042_send(kbc, PS2_AUX, v);
        break;
    default:
        s->ram[0] &= ~MODE_DISABLE_KBD; /* a byte to the keyboard enables its interface */
        i8042_send(kbc, PS2_KBD, v);
        break;
    }
    return IO_OK;
}

static uint64_t i8042_data_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I8042 *kbc = container_of(region, I8042, data);
    uint8_t v = kbc->s.obuf; /* an empty buffer gives the last byte again */
    if (kbc->s.status & STAT_OBF) {
        kbc->s.status &= ~(STAT_OBF | STAT_AUX_OBF | STAT_TIMEOUT);
        update_irqs(kbc);
        i8042_poll(kbc);
    }
    return v;
}

static const IoRegionOps data_ops = {
    .read = i8042_data_read,
    .write = i8042_data_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};
static const IoRegionOps cmd_ops = {
    .read = i8042_cmd_read,
    .write = i8042_cmd_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

static bool i8042_realize(Device *dev, GError **err)
{
    I8042 *kbc = container_of(dev, I8042, dev);
    isa_connect_irq(dev, &kbc->irq[PS2_KBD], kbc->kbd_irq);
    isa_connect_irq(dev, &kbc->irq[PS2_AUX], kbc->aux_irq);
    io_region_init(&kbc->data, dev, &data_ops, "i8042-data", 1);
    io_region_init(&kbc->cmd, dev, &cmd_ops, "i8042-cmd", 1);
    isa_map_ports(dev, &kbc->data, 0x60);
    isa_map_ports(dev, &kbc->cmd, 0x64);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *kbc = container_of(dev, I8042, dev);
    io_region_unmap(dev->vm, &kbc->data);
    io_region_unmap(dev->vm, &kbc->cmd);
    irq_connect(dev, &kbc->irq[PS2_KBD], NULL);
    irq_connect(dev, &kbc->irq[PS2_AUX], NULL);
}

static void i8042_reset(Device *dev, ResetKind kind)
{
    I8042 *kbc = container_of(dev, I8042, dev);
    memset(&kbc->s, 0, sizeof kbc->s);
    kbc->s.ram[0] = MODE_KBD_INT | MODE_AUX_INT;
    kbc->s.status = STAT_CMD | STAT_UNLOCKED;
    kbc->s.outport = OUT_RESET | OUT_A20 | OUT_ONES;
    update_irqs(kbc);
}

static void i8042_post_load(Device *dev)
{
    update_irqs(container_of(dev, I8042, dev));
}

static const StateSection i8042_state[] = {
    {i8042_state_desc, offsetof(I8042, s)},
    {0},
};

const DeviceClass i8042_class = {
    .name = "i8042",
    .bus = "ISA",
    .desc = "keyboard controller",
    .category = DEVICE_CATEGORY_INPUT,
    .size = sizeof(I8042),
    .props = i8042_props,
    .state = i8042_state,
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
    .post_load = i8042_post_load,
    .internal = true,
    .object_parent = "isa-device",
};

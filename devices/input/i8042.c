/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller with its keyboard and mouse: ports 0x60 and 0x64, the reset line and the
 * A20 gate. (Intel UPI-42 8042 as programmed for the IBM PS/2: "PS/2 Hardware Interface Technical
 * Reference", Keyboard and Auxiliary Device Controller, 1988.)
 *
 * The A20 gate is only a bit that can be read back. Addresses never wrap: KVM cannot mask A20.
 *
 * Commands are executed and answered at once, by the devices too. What devices send of themselves
 * keeps a distance from a scan code that the host has read: programs of DOS read a scan code in
 * their own interrupt handler and go on to the BIOS's, which reads the port again and has to find
 * the same byte.
 */
#include <linux/input-event-codes.h>
#include "base/error.h"
#include "base/log.h"
#include "devices/isa.h"
#include "ps2.h"

enum {
    /* Status register, read of 0x64. */
    STAT_OBF = 0x01, /* output buffer full */
    STAT_IBF = 0x02, /* input buffer full: never set, as a write is handled at once */
    STAT_SYS = 0x04, /* self-test passed (system flag) */
    STAT_CMD = 0x08, /* last write was to 0x64 */
    STAT_UNLOCKED = 0x10,
    STAT_AUX_OBF = 0x20, /* the byte comes from the auxiliary port */

    /* Command byte, controller RAM 0. */
    MODE_KBD_INT = 0x01,
    MODE_AUX_INT = 0x02,
    MODE_SYS = 0x04,
    MODE_DISABLE_KBD = 0x10,
    MODE_DISABLE_AUX = 0x20,
    MODE_XLATE = 0x40, /* scan codes of set 2 become those of set 1 */

    /* Output port. */
    OUT_RESET = 0x01, /* active low: 0 resets the CPU */
    OUT_A20 = 0x02,
    OUT_KBD_OBF = 0x10, /* drives IRQ 1 */
    OUT_AUX_OBF = 0x20, /* drives IRQ 12 */
    OUT_ONES = 0xcc,

    /* Commands, write of 0x64. */
    CMD_READ_RAM = 0x20,  /* to 0x3f: the byte's index in bits 4:0 */
    CMD_WRITE_RAM = 0x60, /* to 0x7f */
    CMD_TEST_PASSWORD = 0xa4,
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
    CMD_READ_TEST_INPUTS = 0xe0,
    CMD_PULSE = 0xf0, /* to 0xff: pulses low those output port bits 3:0 that are 0 */
};

typedef enum { PS2_KBD, PS2_AUX } Ps2Port;

/* Who has put the byte into the output buffer. */
enum { FROM_CONTROLLER, FROM_ANSWER, FROM_SCAN };

/*
 * command: the command that takes the next byte written to 0x60; 0: the keyboard gets the byte.
 * saved_*: a device's byte that an answer of the controller has displaced, and is next; status 0:
 * none.
 */
#define I8042_STATE(X)                                                                             \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, command)                                                                         \
    X(F, uint8_t, outport)                                                                         \
    X(F, uint8_t, obuf)                                                                            \
    X(A, uint8_t, ram, 32)                                                                         \
    X(FS, uint8_t, from, 2, FROM_CONTROLLER)                                                       \
    X(FS, uint8_t, saved_status, 2, 0)                                                             \
    X(FS, uint8_t, saved_byte, 2, 0)                                                               \
    X(FS, uint8_t, saved_from, 2, 0)                                                               \
    X(FS, bool, released, 2, false)   /* translation has seen the prefix of a break code */        \
    X(FS, int64_t, quiet_until, 2, 0) /* of the virtual clock: devices send nothing but answers */
STATE_STRUCT(I8042State, I8042_STATE);
STATE_DESC(i8042, I8042State, I8042_STATE, 2);

/* A byte takes about that long on a keyboard's line of 16 kHz. */
#define BYTE_NS (500 * NS_PER_US)

typedef struct {
    Device dev;
    I8042State s;
    Ps2Kbd kbd;
    Ps2Mouse mouse;
    IoRegion data, cmd;
    IrqLine kbd_line, aux_line;
    InputSink kbd_sink, mouse_sink;
    DeviceTimer *timer; /* for the end of quiet_until */
    uint8_t kbd_irq, aux_irq;
} I8042;

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

/* While the keyboard's interface is disabled, no byte of its side interrupts. */
static void update_irqs(I8042 *kbc)
{
    I8042State *s = &kbc->s;
    bool full = s->status & STAT_OBF, aux = s->status & STAT_AUX_OBF;

    irq_set(kbc->dev.vm, &kbc->kbd_line,
            full && !aux && (s->ram[0] & MODE_KBD_INT) && !(s->ram[0] & MODE_DISABLE_KBD));
    irq_set(kbc->dev.vm, &kbc->aux_line, full && aux && (s->ram[0] & MODE_AUX_INT));
}

static void i8042_fill(I8042 *kbc, Ps2Port port, uint8_t byte, uint8_t from)
{
    I8042State *s = &kbc->s;

    s->obuf = byte;
    s->from = from;
    s->status = (s->status & ~STAT_AUX_OBF) | STAT_OBF | (port == PS2_AUX ? STAT_AUX_OBF : 0);
    update_irqs(kbc);
}

/* The controller's own byte does not wait. One of a device that was not read yet comes after it. */
static void i8042_output(I8042 *kbc, Ps2Port port, uint8_t byte)
{
    I8042State *s = &kbc->s;

    if ((s->status & STAT_OBF) && s->from != FROM_CONTROLLER && !s->saved_status) {
        s->saved_status = s->status & (STAT_OBF | STAT_AUX_OBF);
        s->saved_byte = s->obuf;
        s->saved_from = s->from;
    }
    i8042_fill(kbc, port, byte, FROM_CONTROLLER);
}

/* Scan codes of set 2 as those of set 1, by the table in the controller's ROM. */
static const uint8_t translation[] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
    0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
    0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
    0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
    0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
    0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
    0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
    0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
    0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

/* The next byte of the keyboard as the host gets it. */
static bool i8042_read_kbd(I8042 *kbc, uint8_t *byte, uint8_t *from, bool quiet)
{
    I8042State *s = &kbc->s;
    bool scan;

    while (ps2_kbd_read(&kbc->kbd, byte, &scan, quiet)) {
        *from = scan ? FROM_SCAN : FROM_ANSWER;
        if (!(s->ram[0] & MODE_XLATE)) {
            return true;
        }
        if (*byte == 0xf0) {
            s->released = true;
            continue;
        }
        if (*byte < sizeof translation) {
            *byte = translation[*byte];
        }
        *byte |= s->released ? 0x80 : 0;
        s->released = false;
        return true;
    }
    return false;
}

/* Takes a byte of a device into the output buffer, if there is room and one is to be sent. */
static void i8042_poll(I8042 *kbc)
{
    I8042State *s = &kbc->s;
    bool quiet = clock_ns(CLOCK_VIRTUAL_NS) < s->quiet_until;
    uint8_t byte, from = FROM_ANSWER;

    if (s->status & STAT_OBF) {
        return;
    }
    if (!(s->ram[0] & MODE_DISABLE_KBD) && i8042_read_kbd(kbc, &byte, &from, quiet)) {
        i8042_fill(kbc, PS2_KBD, byte, from);
    } else if (!(s->ram[0] & MODE_DISABLE_AUX) && ps2_mouse_read(&kbc->mouse, &byte, quiet)) {
        i8042_fill(kbc, PS2_AUX, byte, FROM_ANSWER);
    } else if (quiet && (kbc->kbd.fifo.len || kbc->mouse.packets.len) &&
               !device_timer_armed(kbc->timer)) {
        device_timer_arm(kbc->timer, s->quiet_until);
    }
}

static void i8042_quiet_is_over(Device *dev)
{
    i8042_poll(container_of(dev, I8042, dev));
}

/* A byte to a device enables its interface. */
static void i8042_send(I8042 *kbc, Ps2Port port, uint8_t byte)
{
    if (port == PS2_KBD) {
        kbc->s.ram[0] &= ~MODE_DISABLE_KBD;
        ps2_kbd_write(&kbc->kbd, byte);
        input_set_leds(kbc->dev.vm, ps2_kbd_leds(&kbc->kbd));
    } else {
        kbc->s.ram[0] &= ~MODE_DISABLE_AUX;
        ps2_mouse_write(&kbc->mouse, byte);
    }
    update_irqs(kbc);
    i8042_poll(kbc);
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
        i8042_output(kbc, PS2_KBD, s->ram[command & 0x1f]);
        return true;
    case CMD_TEST_PASSWORD:
        i8042_output(kbc, PS2_KBD, 0xf1); /* none is installed */
        return true;
    case CMD_SELF_TEST:
        s->status = (s->status | STAT_SYS) & ~STAT_OBF;
        s->saved_status = 0;
        i8042_output(kbc, PS2_KBD, 0x55);
        return true;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        i8042_output(kbc, PS2_KBD, 0x00); /* clock and data lines are fine */
        return true;
    case CMD_READ_INPORT:
        i8042_output(kbc, PS2_KBD, 0x80); /* keyboard not inhibited */
        return true;
    case CMD_READ_OUTPORT:
        i8042_output(kbc, PS2_KBD, i8042_outport(s));
        return true;
    case CMD_READ_TEST_INPUTS:
        /* The clock and data lines of the keyboard: high, but for the clock of a disabled one. */
        i8042_output(kbc, PS2_KBD, s->ram[0] & MODE_DISABLE_KBD ? 0x02 : 0x03);
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
        update_irqs(kbc);
        break;
    case CMD_KBD_ENABLE:
        s->ram[0] &= ~MODE_DISABLE_KBD;
        update_irqs(kbc);
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
        i8042_output(kbc, PS2_KBD, v);
        break;
    case CMD_WRITE_AUX_OBUF:
        i8042_output(kbc, PS2_AUX, v);
        break;
    case CMD_WRITE_AUX:
        i8042_send(kbc, PS2_AUX, v);
        break;
    default:
        i8042_send(kbc, PS2_KBD, v);
        break;
    }
    return IO_OK;
}

static uint64_t i8042_data_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I8042 *kbc = container_of(region, I8042, data);
    I8042State *s = &kbc->s;
    uint8_t v = s->obuf; /* an empty buffer gives the last byte again */

    if (!(s->status & STAT_OBF)) {
        return v;
    }
    if (s->from == FROM_SCAN) {
        s->quiet_until = clock_ns(CLOCK_VIRTUAL_NS) + BYTE_NS;
    }
    s->status &= ~(STAT_OBF | STAT_AUX_OBF);
    update_irqs(kbc); /* low, for a moment: the next byte is another edge */
    if (s->saved_status) {
        Ps2Port port = s->saved_status & STAT_AUX_OBF ? PS2_AUX : PS2_KBD;

        s->saved_status = 0;
        i8042_fill(kbc, port, s->saved_byte, s->saved_from);
    } else {
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

static void i8042_kbd_event(InputSink *sink, const InputEvent *e)
{
    I8042 *kbc = container_of(sink, I8042, kbd_sink);

    if (e->type != INPUT_KEY) {
        return;
    }
    if (vm_run_state(kbc->dev.vm) == RUN_STATE_SUSPENDED) {
        vm_request_wakeup(kbc->dev.vm, "keyboard");
    }
    ps2_kbd_key(&kbc->kbd, e->code, e->value);
    i8042_poll(kbc);
}

static void i8042_mouse_event(InputSink *sink, const InputEvent *e)
{
    I8042 *kbc = container_of(sink, I8042, mouse_sink);

    if (e->type == INPUT_BUTTON && e->value && vm_run_state(kbc->dev.vm) == RUN_STATE_SUSPENDED) {
        vm_request_wakeup(kbc->dev.vm, "mouse");
    }
    ps2_mouse_event(&kbc->mouse, e);
    if (e->type == INPUT_SYNC) {
        i8042_poll(kbc);
    }
}

static bool i8042_realize(Device *dev, GError **err)
{
    I8042 *kbc = container_of(dev, I8042, dev);

    isa_connect_irq(dev, &kbc->kbd_line, kbc->kbd_irq);
    isa_connect_irq(dev, &kbc->aux_line, kbc->aux_irq);
    io_region_init(&kbc->data, dev, &data_ops, "i8042-data", 1);
    io_region_init(&kbc->cmd, dev, &cmd_ops, "i8042-cmd", 1);
    isa_map_ports(dev, &kbc->data, 0x60);
    isa_map_ports(dev, &kbc->cmd, 0x64);
    kbc->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, i8042_quiet_is_over);
    kbc->kbd_sink = (InputSink){.dev = dev,
                                .name = "QEMU PS/2 Keyboard",
                                .takes = INPUT_TAKES_KEYS,
                                .event = i8042_kbd_event};
    kbc->mouse_sink = (InputSink){.dev = dev,
                                  .name = "QEMU PS/2 Mouse",
                                  .takes = INPUT_TAKES_REL,
                                  .event = i8042_mouse_event};
    input_sink_add(&kbc->kbd_sink);
    input_sink_add(&kbc->mouse_sink);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *kbc = container_of(dev, I8042, dev);

    input_sink_remove(&kbc->mouse_sink);
    input_sink_remove(&kbc->kbd_sink);
    io_region_unmap(dev->vm, &kbc->data);
    io_region_unmap(dev->vm, &kbc->cmd);
    irq_connect(dev, &kbc->kbd_line, NULL);
    irq_connect(dev, &kbc->aux_line, NULL);
}

static void i8042_reset(Device *dev, ResetKind kind)
{
    I8042 *kbc = container_of(dev, I8042, dev);

    memset(&kbc->s, 0, sizeof kbc->s);
    kbc->s.ram[0] = MODE_KBD_INT | MODE_AUX_INT;
    kbc->s.status = STAT_CMD | STAT_UNLOCKED;
    kbc->s.outport = OUT_RESET | OUT_A20 | OUT_ONES;
    ps2_kbd_reset(&kbc->kbd);
    ps2_mouse_reset(&kbc->mouse);
    input_set_leds(dev->vm, 0);
    device_timer_cancel(kbc->timer);
    update_irqs(kbc);
}

static bool i8042_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const Ps2Kbd *k = state;
    const Ps2Mouse *m = state;

    switch (section) {
    case 1:
        return (k->answers.len <= PS2_QUEUE_SIZE && k->fifo.len <= PS2_QUEUE_SIZE && k->set >= 1 &&
                k->set <= 3) ||
               error_set(err, "the keyboard's queues or set of scan codes cannot be");
    case 2:
        return (m->answers.len <= PS2_QUEUE_SIZE && m->packets.len <= PS2_QUEUE_SIZE &&
                (m->id == 0 || m->id == 3 || m->id == 4)) ||
               error_set(err, "the mouse's queues or identity cannot be");
    default:
        return true;
    }
}

static void i8042_post_load(Device *dev)
{
    I8042 *kbc = container_of(dev, I8042, dev);
    int64_t longest = clock_ns(CLOCK_VIRTUAL_NS) + BYTE_NS;

    kbc->s.quiet_until = MIN(kbc->s.quiet_until, longest);
    input_set_leds(dev->vm, ps2_kbd_leds(&kbc->kbd));
    update_irqs(kbc);
    i8042_poll(kbc);
}

static const StateSection i8042_state[] = {
    {i8042_state_desc, offsetof(I8042, s)},
    {ps2_kbd_state_desc, offsetof(I8042, kbd)},
    {ps2_mouse_state_desc, offsetof(I8042, mouse)},
    {0},
};

const DeviceClass i8042_class = {
    .name = "i8042",
    .bus = "ISA",
    .desc = "keyboard controller, keyboard and mouse",
    .category = DEVICE_CATEGORY_INPUT,
    .size = sizeof(I8042),
    .props = i8042_props,
    .state = i8042_state,
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
    .check_state = i8042_check_state,
    .post_load = i8042_post_load,
    .internal = true,
    .object_parent = "isa-device",
};

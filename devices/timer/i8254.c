/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254 interval timer in user space, with system control port B (0x61), through which channel
 * 2's gate and output are reached. (Intel 8254 data sheet, 231164; 82371SB data sheet, 290550,
 * 2.5.6.)
 *
 * A channel does not count by itself: it stores the time when it was loaded, and a read computes
 * counter and output from that. Only channel 0 has a timer, for the next rising edge of its output,
 * which is IRQ 0.
 */
#include "devices/isa.h"

#include "base/error.h"

#define PIT_CHANNEL_STATE(X)                                                                       \
    X(F, uint32_t, count)     /* reload value, 1 to 65536 (BCD: 10000) */                          \
    X(F, int64_t, start)      /* tick of the input clock that it began at, while counting */       \
    X(F, int64_t, held_ticks) /* ticks counted when the gate stopped it */                         \
    X(F, bool, loaded)        /* has a count since the last control word */                        \
    X(F, bool, counting)      /* triggered (modes 1 and 5), and not stopped by the gate */         \
    X(F, bool, gate)                                                                               \
    X(F, bool, bcd)                                                                                \
    X(F, uint8_t, mode)                                                                            \
    X(F, uint8_t, access)  /* 1: low byte, 2: high, 3: low then high */                            \
    X(F, bool, write_high) /* the next write is the high byte */                                   \
    X(F, uint8_t, write_low)                                                                       \
    X(F, bool, read_high)                                                                          \
    X(F, uint16_t, latched_count)                                                                  \
    X(F, bool, count_latched)                                                                      \
    X(F, uint8_t, latched_status)                                                                  \
    X(F, bool, status_latched)
STATE_STRUCT(PitChannel, PIT_CHANNEL_STATE);
STATE_DESC(pit_channel, PitChannel, PIT_CHANNEL_STATE, 1);

#define PIT_STATE(X)                                                                               \
    X(SA, PitChannel, ch, pit_channel, 3)                                                          \
    X(F, int64_t, next_rise) /* channel 0: virtual time of the next interrupt; -1: none */         \
    X(F, uint8_t, port_b)
STATE_STRUCT(PitState, PIT_STATE);
STATE_DESC(pit, PitState, PIT_STATE, 1);

typedef struct {
    Device dev;
    PitState s;
    uint32_t iobase;
    IoRegion io, port_b_io;
    IrqLine irq;
    DeviceTimer *timer;
} Pit;

#define PIT_HZ 1193182
/*
 * The shortest time between two interrupts of channel 0. A guest can program a period of about a
 * microsecond, which neither host nor guest could keep up with: ticks in between are dropped.
 */
#define MIN_PERIOD_NS (50 * NS_PER_US)

enum {
    PORT_B = 0x61,
    PORT_B_GATE2 = BIT(0),
    PORT_B_WRITABLE = 0x0f, /* gate, speaker, parity and channel check enables */
    PORT_B_REFRESH = BIT(4),
    PORT_B_OUT2 = BIT(5),
    REFRESH_NS = 15085, /* time between memory refreshes; each toggles PORT_B_REFRESH */

    CONTROL_PORT = 3,
    READ_BACK = 3, /* as a channel number */
    READ_BACK_NO_COUNT = BIT(5),
    READ_BACK_NO_STATUS = BIT(4),
    STATUS_OUT = BIT(7),
    STATUS_NULL = BIT(6),
};

/* Time. */

static int64_t ticks_of(int64_t ns)
{
    return (int64_t)((__int128)ns * PIT_HZ / NS_PER_SEC);
}

static int64_t ns_of(int64_t ticks)
{
    return (int64_t)(((__int128)ticks * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ);
}

/* Ticks counted since the channel was loaded or triggered: none while the gate was low. */
static int64_t pit_elapsed(const PitChannel *c, int64_t now)
{
    int64_t d = ticks_of(now) - c->start;

    return c->counting ? c->held_ticks + MAX(d, 0) : c->held_ticks;
}

static bool pit_periodic(const PitChannel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool triggered_by_gate(const PitChannel *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* The output pin (data sheet, 'Mode definitions'). */
static bool pit_output(const PitChannel *c, int64_t now)
{
    int64_t d = pit_elapsed(c, now);

    if (!c->loaded) {
        return c->mode != 0;
    }
    switch (c->mode) {
    case 0:
        return d >= c->count;
    case 1:
        return (!c->counting && !d) || d >= c->count;
    case 2:
        return !c->gate || d % c->count != c->count - 1;
    case 3:
        return !c->gate || d % c->count < (c->count + 1) / 2;
    default: /* 4, 5: low for one tick at the end */
        return d != c->count;
    }
}

/* The value of the counting element, in BCD where the channel counts so. */
static uint16_t pit_counter(const PitChannel *c, int64_t now)
{
    int64_t d = pit_elapsed(c, now), wrap = c->bcd ? 10000 : 65536, value;

    switch (c->mode) {
    case 2:
        value = c->count - d % c->count;
        break;
    case 3: /* counts down twice a period, by twos */
        value = (c->count & ~1u) - 2 * d % MAX(c->count & ~1u, 2);
        break;
    default:
        value = (c->count - d) % wrap;
        value = value < 0 ? value + wrap : value;
        break;
    }
    if (c->bcd) {
        value %= 10000;
        return value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
    }
    return value;
}

/* The virtual time after 'now' at which the output rises next; -1: not without a write. */
static int64_t next_rise(const PitChannel *c, int64_t now)
{
    int64_t d = pit_elapsed(c, now), at;

    if (!c->loaded || !c->counting) {
        return -1;
    }
    if (pit_periodic(c)) {
        at = (d / c->count + 1) * c->count;
    } else {
        at = c->count + (c->mode >= 4);
        if (d >= at) {
            return -1;
        }
    }
    return ns_of(c->start + at - c->held_ticks);
}

static void pit_schedule(Pit *d, int64_t now)
{
    d->s.next_rise = next_rise(&d->s.ch[0], now);
    if (d->s.next_rise < 0) {
        device_timer_cancel(d->timer);
    } else {
        device_timer_arm(d->timer, d->s.next_rise);
    }
}

/* After a write to channel 0: sets the line to its output and arms the timer. */
static void pit_update_irq(Pit *d)
{
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    irq_set(d->dev.vm, &d->irq, pit_output(&d->s.ch[0], now));
    pit_schedule(d, now);
}

static void pit_timer_fired(Device *dev)
{
    Pit *d = container_of(dev, Pit, dev);
    PitChannel *c = &d->s.ch[0];
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS), rise = d->s.next_rise;

    if (rise < 0 || now < rise) {
        pit_schedule(d, now);
        return;
    }
    /* The falling edge before this has no effect on an edge-triggered input, so it comes late. */
    irq_lower(dev->vm, &d->irq);
    irq_raise(dev->vm, &d->irq);
    pit_schedule(d, now);
    if (d->s.next_rise >= 0 && d->s.next_rise < rise + MIN_PERIOD_NS && pit_periodic(c)) {
        pit_schedule(d, rise + MIN_PERIOD_NS);
    }
}

/* Counting. */

static void start_counting(PitChannel *c)
{
    c->start = ticks_of(clock_ns(CLOCK_VIRTUAL_NS));
    c->held_ticks = 0;
    c->counting = true;
}

static void load_count(PitChannel *c, uint16_t value)
{
    if (c->bcd) {
        value =
            (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
        c->count = value ? MIN(value, 9999) : 10000;
    } else {
        c->count = value ? value : 65536;
    }
    c->loaded = true;
    if (triggered_by_gate(c)) {
        return; /* takes effect at the next trigger */
    }
    start_counting(c);
    c->counting = c->gate;
}

static void set_gate(PitChannel *c, bool gate)
{
    bool rises = gate && !c->gate;

    if (!gate && c->gate && !triggered_by_gate(c)) {
        c->held_ticks = pit_periodic(c) ? 0 : pit_elapsed(c, clock_ns(CLOCK_VIRTUAL_NS));
        c->counting = false;
    }
    c->gate = gate;
    if (!rises || !c->loaded) {
        return;
    }
    if (c->mode == 0 || c->mode == 4) {
        c->start = ticks_of(clock_ns(CLOCK_VIRTUAL_NS)); /* continues at held_ticks */
        c->counting = true;
    } else {
        start_counting(c);
    }
}

/* Registers. */

static void latch_count(PitChannel *c)
{
    if (!c->count_latched) {
        c->latched_count = pit_counter(c, clock_ns(CLOCK_VIRTUAL_NS));
        c->count_latched = true;
        c->read_high = false;
    }
}

static void latch_status(PitChannel *c)
{
    if (!c->status_latched) {
        c->latched_status = (pit_output(c, clock_ns(CLOCK_VIRTUAL_NS)) ? STATUS_OUT : 0) |
                            (c->loaded ? 0 : STATUS_NULL) | c->access << 4 | c->mode << 1 | c->bcd;
        c->status_latched = true;
    }
}

static void pit_write_control(Pit *d, uint8_t value)
{
    unsigned n = value >> 6;
    PitChannel *c = &d->s.ch[n];

    if (n == READ_BACK) {
        for (unsigned i = 0; i < 3; i++) {
            if ((value & BIT(i + 1)) && !(value & READ_BACK_NO_COUNT)) {
                latch_count(&d->s.ch[i]);
            }
            if ((value & BIT(i + 1)) && !(value & READ_BACK_NO_STATUS)) {
                latch_status(&d->s.ch[i]);
            }
        }
        return;
    }
    if (!(value >> 4 & 3)) {
        latch_count(c);
        return;
    }
    c->access = value >> 4 & 3;
    c->mode = value >> 1 & 7;
    c->mode = c->mode > 5 ? c->mode & 3 : c->mode; /* 6 and 7 are 2 and 3 */
    c->bcd = value & 1;
    c->loaded = c->counting = false;
    c->held_ticks = 0;
    c->write_high = c->read_high = c->count_latched = c->status_latched = false;
}

static void write_count(PitChannel *c, uint8_t value)
{
    if (c->access == 1) {
        load_count(c, value);
    } else if (c->access == 2) {
        load_count(c, value << 8);
    } else if (!c->write_high) {
        c->write_low = value;
        c->write_high = true;
        if (c->mode == 0) {
            c->loaded = c->counting = false; /* the first byte stops the count (mode 0, note 1) */
            c->held_ticks = 0;
        }
    } else {
        c->write_high = false;
        load_count(c, c->write_low | value << 8);
    }
}

static IoResult pit_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Pit *d = container_of(region, Pit, io);

    if (offset == CONTROL_PORT) {
        pit_write_control(d, value);
    } else {
        write_count(&d->s.ch[offset], value);
    }
    if (offset == 0 || (offset == CONTROL_PORT && !(value >> 6) && (value >> 4 & 3))) {
        pit_update_irq(d);
    }
    return IO_OK;
}

static uint64_t pit_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Pit *d = container_of(region, Pit, io);
    PitChannel *c = &d->s.ch[offset];
    uint16_t value;
    bool high;

    if (offset == CONTROL_PORT) {
        return 0; /* write-only */
    }
    if (c->status_latched) {
        c->status_latched = false;
        return c->latched_status;
    }
    value = c->count_latched ? c->latched_count : pit_counter(c, clock_ns(CLOCK_VIRTUAL_NS));
    high = c->access == 2 || (c->access == 3 && c->read_high);
    c->read_high = c->access == 3 && !c->read_high;
    if (c->access != 3 || high) {
        c->count_latched = false;
    }
    return high ? value >> 8 : value & 0xff;
}

static const IoRegionOps pit_ops = {
    .read = pit_read,
    .write = pit_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

static uint64_t port_b_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Pit *d = container_of(region, Pit, port_b_io);
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    return d->s.port_b | (now / REFRESH_NS & 1 ? PORT_B_REFRESH : 0) |
           (pit_output(&d->s.ch[2], now) ? PORT_B_OUT2 : 0);
}

static IoResult port_b_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Pit *d = container_of(region, Pit, port_b_io);

    d->s.port_b = value & PORT_B_WRITABLE;
    set_gate(&d->s.ch[2], value & PORT_B_GATE2);
    return IO_OK;
}

static const IoRegionOps port_b_ops = {
    .read = port_b_read,
    .write = port_b_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* Life. */

static bool pit_realize(Device *dev, GError **err)
{
    Pit *d = container_of(dev, Pit, dev);

    if (d->iobase > 0x10000 - 4) {
        return error_set(err, "isa-pit: iobase=0x%x is no port", d->iobase);
    }
    d->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, pit_timer_fired);
    isa_connect_irq(dev, &d->irq, 0);
    io_region_init(&d->io, dev, &pit_ops, "pit", 4);
    isa_map_ports(dev, &d->io, d->iobase);
    io_region_init(&d->port_b_io, dev, &port_b_ops, "pcspk", 1);
    isa_map_ports(dev, &d->port_b_io, PORT_B);
    for (unsigned i = 0; i < 3; i++) {
        d->s.ch[i].count = 65536;
    }
    return true;
}

static void pit_unrealize(Device *dev)
{
    Pit *d = container_of(dev, Pit, dev);

    io_region_unmap(dev->vm, &d->io);
    io_region_unmap(dev->vm, &d->port_b_io);
    irq_lower(dev->vm, &d->irq);
    irq_connect(dev, &d->irq, NULL);
}

static void pit_reset(Device *dev, ResetKind kind)
{
    Pit *d = container_of(dev, Pit, dev);

    for (unsigned i = 0; i < 3; i++) {
        PitChannel *c = &d->s.ch[i];

        *c = (PitChannel){.count = 65536, .mode = 3, .access = 3, .gate = i != 2};
        /* Undefined by the data sheet, but software expects channel 0 to tick at 18.2 Hz. */
        if (c->gate) {
            load_count(c, 0);
        }
    }
    d->s.port_b = 0;
    pit_update_irq(d);
}

static bool pit_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const PitState *s = state;

    for (unsigned i = 0; i < 3; i++) {
        const PitChannel *c = &s->ch[i];

        /* Sums of times within these bounds do not overflow. */
        if (c->start < 0 || c->start > INT64_MAX >> 12 || c->held_ticks < 0 ||
            c->held_ticks > INT64_MAX >> 12) {
            return error_set(err, "device 'isa-pit': channel %u counts since an impossible time",
                             i);
        }
        if (!c->count || c->count > 65536 || c->mode > 5 || c->access < 1 || c->access > 3) {
            return error_set(err, "device 'isa-pit': channel %u has count %u, mode %u, access %u",
                             i, c->count, c->mode, c->access);
        }
    }
    return true;
}

static void pit_post_load(Device *dev)
{
    Pit *d = container_of(dev, Pit, dev);
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    irq_set(dev->vm, &d->irq, pit_output(&d->s.ch[0], now));
    if (d->s.next_rise >= 0) {
        device_timer_arm(d->timer, d->s.next_rise);
    } else {
        device_timer_cancel(d->timer);
    }
}

static const Property pit_props[] = {
    PROP("iobase", PROP_UINT32, Pit, iobase, "0x40", "first of four ports"),
    PROP_END,
};

static const StateSection pit_sections[] = {
    {pit_state_desc, offsetof(Pit, s)},
    {0},
};

const DeviceClass isa_pit_class = {
    .name = "isa-pit",
    .bus = "ISA",
    .desc = "interval timer (8254) and port 0x61, in user space",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Pit),
    .props = pit_props,
    .state = pit_sections,
    .realize = pit_realize,
    .unrealize = pit_unrealize,
    .reset = pit_reset,
    .check_state = pit_check_state,
    .post_load = pit_post_load,
    .internal = true,
    .object_parent = "pit-common",
};

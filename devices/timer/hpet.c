/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A high precision event timer: a counter of 100 MHz and three comparators. ("IA-PC HPET
 * Specification", 1.0a; sections below are this specification's.) The timers' interrupts go to the
 * I/O APIC; there is no legacy replacement, which 2.3.4 leaves to the capabilities.
 *
 * Nothing counts by itself: the counter is computed when it is read, and the host is asked for a
 * wake-up only for a comparator whose interrupt is enabled.
 */
#include "devices/hpet.h"

#include "base/error.h"
#include "base/log.h"
#include "vm/irq.h"
#include "vm/memory.h"

#define HPET_SIZE          0x400u
#define HPET_MIN_PERIOD_NS (HPET_MIN_PERIOD_TICKS * HPET_TICK_NS)

#define HPET_TIMER_STATE(X)                                                                        \
    X(F, uint64_t, config)                                                                         \
    X(F, uint64_t, comparator)                                                                     \
    X(F, uint64_t, period)                                                                         \
    X(F, uint64_t, fsb)                                                                            \
    X(F, int64_t, deadline) /* virtual time of the next interrupt; -1: none */
STATE_STRUCT(HpetTimer, HPET_TIMER_STATE);
STATE_DESC(hpet_timer, HpetTimer, HPET_TIMER_STATE, 1);

#define HPET_STATE(X)                                                                              \
    X(SA, HpetTimer, timer, hpet_timer, HPET_TIMERS)                                               \
    X(F, uint64_t, config)                                                                         \
    X(F, uint64_t, status)  /* level interrupts that are active: a bit each */                     \
    X(F, uint64_t, counter) /* as it was at 'start', or is while it stands */                      \
    X(F, int64_t, start)    /* virtual time */
STATE_STRUCT(HpetState, HPET_STATE);
STATE_DESC(hpet, HpetState, HPET_STATE, 1);

typedef struct {
    Device dev;
    HpetState s;
    IoRegion io;
    IrqLine line[HPET_TIMERS];
    DeviceTimer *wake_up;
} Hpet;

enum {
    REG_CAPABILITIES = 0x000,
    REG_CONFIG = 0x010,
    REG_STATUS = 0x020,
    REG_COUNTER = 0x0f0,
    REG_TIMERS = 0x100,
    TIMER_SIZE = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
    TIMER_FSB = 0x10,

    CONFIG_ENABLE = BIT(0),

    TIMER_LEVEL = BIT(1), /* 2.3.8 */
    TIMER_INTERRUPT = BIT(2),
    TIMER_PERIODIC = BIT(3),
    TIMER_CAN_PERIODIC = BIT(4),
    TIMER_64BIT = BIT(5),
    TIMER_SET_VALUE = BIT(6),
    TIMER_32BIT = BIT(8),
    TIMER_ROUTE_SHIFT = 9,
    TIMER_ROUTE = 0x1f << TIMER_ROUTE_SHIFT,
    TIMER_WRITABLE = TIMER_LEVEL | TIMER_INTERRUPT | TIMER_PERIODIC | TIMER_SET_VALUE |
                     TIMER_32BIT | TIMER_ROUTE,
};
#define HPET_ROUTES      0x00ff0000ull /* I/O APIC inputs 16 to 23 */
#define HPET_TIMER_FIXED (HPET_ROUTES << 32 | TIMER_64BIT | TIMER_CAN_PERIODIC)

static Hpet *hpet(Device *dev)
{
    return container_of(dev, Hpet, dev);
}

static uint64_t hpet_counter(const Hpet *h, int64_t now)
{
    return h->s.config & CONFIG_ENABLE ? h->s.counter + (now - h->s.start) / HPET_TICK_NS
                                       : h->s.counter;
}

static uint64_t hpet_timer_mask(const HpetTimer *t)
{
    return t->config & TIMER_32BIT ? UINT32_MAX : UINT64_MAX;
}

/* Interrupts. */

static void hpet_update_line(Hpet *h, unsigned n)
{
    const HpetTimer *t = &h->s.timer[n];

    irq_set(h->dev.vm, &h->line[n],
            h->s.config & CONFIG_ENABLE && h->s.status & BIT(n) && t->config & TIMER_INTERRUPT &&
                t->config & TIMER_LEVEL);
}

static void hpet_interrupt(Hpet *h, unsigned n)
{
    if (h->s.timer[n].config & TIMER_LEVEL) {
        h->s.status |= BIT(n);
        hpet_update_line(h, n);
    } else {
        irq_raise(h->dev.vm, &h->line[n]);
        irq_lower(h->dev.vm, &h->line[n]);
    }
}

static void hpet_connect(Hpet *h, unsigned n)
{
    unsigned route = (h->s.timer[n].config & TIMER_ROUTE) >> TIMER_ROUTE_SHIFT;

    irq_connect(&h->dev, &h->line[n],
                HPET_ROUTES & BIT64(route) ? irq_gsi(h->dev.vm, route) : NULL);
}

/* The wake-up is for the next of the timers' deadlines. */
static void hpet_schedule(Hpet *h)
{
    int64_t next = -1;

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        int64_t deadline = h->s.timer[i].deadline;

        next = deadline >= 0 && (next < 0 || deadline < next) ? deadline : next;
    }
    if (next < 0) {
        device_timer_cancel(h->wake_up);
    } else {
        device_timer_arm(h->wake_up, next);
    }
}

/* When the counter, which is at 'counter' now, has reached the comparator. Passed: in a tick. */
static int64_t hpet_deadline(const HpetTimer *t, uint64_t counter, int64_t now)
{
    uint64_t mask = hpet_timer_mask(t), ticks = (t->comparator - counter) & mask;

    if (!ticks || ticks > mask / 2) {
        ticks = 1;
    }
    return ticks > INT64_MAX / (4 * HPET_TICK_NS) ? -1 : now + (int64_t)ticks * HPET_TICK_NS;
}

/* After a change of what the timer waits for. */
static void hpet_arm(Hpet *h, unsigned n)
{
    HpetTimer *t = &h->s.timer[n];
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    t->deadline = h->s.config & CONFIG_ENABLE && t->config & TIMER_INTERRUPT
                      ? hpet_deadline(t, hpet_counter(h, now), now)
                      : -1;
    hpet_schedule(h);
}

/* A periodic timer's comparator is the next multiple of the period that has not passed (2.3.9.2.2).
 */
static void hpet_next_period(HpetTimer *t, uint64_t counter)
{
    uint64_t mask = hpet_timer_mask(t), passed = (counter - t->comparator) & mask;

    if (t->period && passed <= mask / 2) {
        t->comparator = (t->comparator + (passed / t->period + 1) * t->period) & mask;
    }
}

static void hpet_fire(Hpet *h, unsigned n, int64_t now)
{
    HpetTimer *t = &h->s.timer[n];

    if (t->config & TIMER_PERIODIC && t->period) {
        hpet_next_period(t, hpet_counter(h, now));
        t->deadline = hpet_deadline(t, hpet_counter(h, now), now);
        t->deadline = t->deadline < 0 ? -1 : MAX(t->deadline, now + HPET_MIN_PERIOD_NS);
    } else if (t->config & TIMER_32BIT) {
        t->deadline += BIT64(32) * HPET_TICK_NS; /* 2.3.9.2.1: when the counter comes by again */
    } else {
        t->deadline = -1;
    }
    hpet_interrupt(h, n);
}

static void hpet_woken(Device *dev)
{
    Hpet *h = hpet(dev);
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        if (h->s.timer[i].deadline >= 0 && h->s.timer[i].deadline <= now) {
            hpet_fire(h, i, now);
        }
    }
    hpet_schedule(h);
}

/* Registers: 64 bits, of which halves may be accessed. */

static uint64_t hpet_read_timer(Hpet *h, unsigned n, unsigned reg)
{
    HpetTimer *t = &h->s.timer[n];

    switch (reg) {
    case TIMER_CONFIG:
        return t->config | HPET_TIMER_FIXED;
    case TIMER_COMPARATOR:
        if (t->config & TIMER_PERIODIC && t->deadline < 0) {
            hpet_next_period(t, hpet_counter(h, clock_ns(CLOCK_VIRTUAL_NS)));
        }
        return t->comparator;
    case TIMER_FSB:
        return t->fsb;
    default:
        return 0;
    }
}

static uint64_t hpet_read_register(Hpet *h, unsigned reg)
{
    switch (reg) {
    case REG_CAPABILITIES:
        return HPET_CAPABILITIES;
    case REG_CONFIG:
        return h->s.config;
    case REG_STATUS:
        return h->s.status;
    case REG_COUNTER:
        return hpet_counter(h, clock_ns(CLOCK_VIRTUAL_NS));
    case REG_TIMERS ... REG_TIMERS + HPET_TIMERS *TIMER_SIZE - 1:
        return hpet_read_timer(h, (reg - REG_TIMERS) / TIMER_SIZE, reg % TIMER_SIZE);
    default:
        return 0;
    }
}

static void hpet_write_config(Hpet *h, uint64_t value)
{
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

    h->s.counter = hpet_counter(h, now);
    h->s.start = now;
    h->s.config = value & CONFIG_ENABLE;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        hpet_arm(h, i);
        hpet_update_line(h, i);
    }
}

/* A timer that no more has level interrupts has none that is active. */
static void hpet_write_timer_config(Hpet *h, unsigned n, uint64_t value)
{
    HpetTimer *t = &h->s.timer[n];
    unsigned route = (value & TIMER_ROUTE) >> TIMER_ROUTE_SHIFT;

    value &= TIMER_WRITABLE;
    if (!(HPET_ROUTES & BIT64(route))) {
        value = (value & ~(uint64_t)TIMER_ROUTE) | (t->config & TIMER_ROUTE);
    }
    t->config = value;
    t->comparator &= hpet_timer_mask(t);
    t->period &= hpet_timer_mask(t);
    if (!(value & TIMER_LEVEL)) {
        h->s.status &= ~BIT64(n);
    }
    hpet_connect(h, n);
    hpet_update_line(h, n);
    hpet_arm(h, n);
}

/* 'whole': the upper half is written, or there is none. */
static void hpet_write_comparator(Hpet *h, unsigned n, uint64_t value, bool whole)
{
    HpetTimer *t = &h->s.timer[n];

    value &= hpet_timer_mask(t);
    if (t->config & TIMER_PERIODIC) {
        t->period = value;
    }
    if (!(t->config & TIMER_PERIODIC) || t->config & TIMER_SET_VALUE) {
        t->comparator = value;
    }
    if (whole || t->config & TIMER_32BIT) {
        t->config &= ~(uint64_t)TIMER_SET_VALUE;
    }
    hpet_arm(h, n);
}

static void hpet_write_timer(Hpet *h, unsigned n, unsigned reg, uint64_t value, bool whole)
{
    switch (reg) {
    case TIMER_CONFIG:
        hpet_write_timer_config(h, n, value);
        break;
    case TIMER_COMPARATOR:
        hpet_write_comparator(h, n, value, whole);
        break;
    case TIMER_FSB:
        h->s.timer[n].fsb = value; /* stored: the capability is not there */
        break;
    }
}

static void hpet_write_register(Hpet *h, unsigned reg, uint64_t value, bool whole)
{
    switch (reg) {
    case REG_CONFIG:
        hpet_write_config(h, value);
        break;
    case REG_STATUS:
        h->s.status &= ~value;
        for (unsigned i = 0; i < HPET_TIMERS; i++) {
            hpet_update_line(h, i);
        }
        break;
    case REG_COUNTER:
        if (h->s.config & CONFIG_ENABLE) {
            log_guest_error("hpet: the counter is written while it runs");
        } else {
            h->s.counter = value;
        }
        break;
    case REG_TIMERS ... REG_TIMERS + HPET_TIMERS *TIMER_SIZE - 1:
        hpet_write_timer(h, (reg - REG_TIMERS) / TIMER_SIZE, reg % TIMER_SIZE, value, whole);
        break;
    }
}

static uint64_t hpet_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return hpet_read_register(hpet(region->owner), offset & ~7u) >> (8 * (offset & 4));
}

/* What a half does not write is as it was; of the status register it is nothing that is cleared. */
static IoResult hpet_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Hpet *h = hpet(region->owner);
    unsigned reg = offset & ~7u, shift = 8 * (offset & 4);
    uint64_t half = (uint64_t)UINT32_MAX << shift, old = 0;

    if (size < 8) {
        if (reg >= REG_TIMERS && reg % TIMER_SIZE == TIMER_COMPARATOR &&
            (reg - REG_TIMERS) / TIMER_SIZE < HPET_TIMERS &&
            h->s.timer[(reg - REG_TIMERS) / TIMER_SIZE].config & TIMER_PERIODIC) {
            old = h->s.timer[(reg - REG_TIMERS) / TIMER_SIZE].period;
        } else if (reg != REG_STATUS) {
            old = hpet_read_register(h, reg);
        }
        value = (old & ~half) | (value << shift & half);
    }
    hpet_write_register(h, reg, value, size == 8 || shift);
    return IO_OK;
}

static const IoRegionOps hpet_ops = {
    .read = hpet_read,
    .write = hpet_write,
    .valid_min = 4,
    .valid_max = 8,
};

/* Life. */

static bool hpet_realize(Device *dev, GError **err)
{
    Hpet *h = hpet(dev);

    h->wake_up = device_timer_new(dev, CLOCK_VIRTUAL_NS, hpet_woken);
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        h->s.timer[i].deadline = -1;
    }
    io_region_init(&h->io, dev, &hpet_ops, "hpet", HPET_SIZE);
    io_region_map(dev->vm, &h->io, IO_SPACE_MEM, HPET_BASE, 0);
    return true;
}

static void hpet_unrealize(Device *dev)
{
    Hpet *h = hpet(dev);

    io_region_unmap(dev->vm, &h->io);
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        irq_connect(dev, &h->line[i], NULL);
    }
}

static void hpet_reset(Device *dev, ResetKind kind)
{
    Hpet *h = hpet(dev);

    h->s = (HpetState){0};
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        h->s.timer[i] = (HpetTimer){.comparator = UINT64_MAX, .deadline = -1};
        hpet_update_line(h, i);
        hpet_connect(h, i);
    }
    hpet_schedule(h);
}

static bool hpet_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const HpetState *s = state;

    if (s->config & ~(uint64_t)CONFIG_ENABLE || s->status >= BIT(HPET_TIMERS) || s->start < 0 ||
        s->start > INT64_MAX >> 12) {
        return error_set(err, "device 'hpet': registers out of range");
    }
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        const HpetTimer *t = &s->timer[i];

        if (t->config & ~(uint64_t)TIMER_WRITABLE ||
            (t->comparator | t->period) & ~hpet_timer_mask(t) || t->deadline < -1 ||
            t->deadline > INT64_MAX / 2) {
            return error_set(err, "device 'hpet': timer %u out of range", i);
        }
    }
    return true;
}

static void hpet_post_load(Device *dev)
{
    Hpet *h = hpet(dev);

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        hpet_connect(h, i);
        hpet_update_line(h, i);
    }
    hpet_schedule(h);
}

static const StateSection hpet_sections[] = {
    {hpet_state_desc, offsetof(Hpet, s)},
    {0},
};

const DeviceClass hpet_class = {
    .name = "hpet",
    .bus = "System",
    .desc = "high precision event timer",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Hpet),
    .state = hpet_sections,
    .realize = hpet_realize,
    .unrealize = hpet_unrealize,
    .reset = hpet_reset,
    .check_state = hpet_check_state,
    .post_load = hpet_post_load,
    .internal = true,
    .object_parent = "sys-bus-device",
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watchdog of iBASE's IB700 board: a write to one port starts or feeds it, with a time out of
 * 0 to 30 seconds, a write to the other stops it. (As Linux' drivers/watchdog/ib700wdt.c has it.)
 * What happens when it fires is -action watchdog=.
 */
#include "devices/isa.h"

enum {
    IB700_STOP = 0x441,
    IB700_START = 0x443,
    IB700_TIME = 0x0f, /* of the value: how many steps less than the longest time */
    IB700_LONGEST = 30,
    IB700_STEP = 2,
};

/* When it fires, in ns of the virtual clock; -1: it does not run. */
#define IB700_STATE(X) X(F, int64_t, deadline)
STATE_STRUCT(Ib700State, IB700_STATE);
STATE_DESC(ib700, Ib700State, IB700_STATE, 1);

typedef struct {
    Device dev;
    Ib700State s;
    IoRegion stop, start;
    DeviceTimer *timer;
} Ib700;

static Ib700 *ib700(Device *dev)
{
    return container_of(dev, Ib700, dev);
}

static void ib700_arm(Ib700 *d)
{
    if (d->s.deadline < 0) {
        device_timer_cancel(d->timer);
    } else {
        device_timer_arm(d->timer, d->s.deadline);
    }
}

static void ib700_fire(Device *dev)
{
    ib700(dev)->s.deadline = -1;
    vm_watchdog_fired(dev->vm);
}

static IoResult ib700_stop(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Ib700 *d = ib700(region->owner);

    d->s.deadline = -1;
    ib700_arm(d);
    return IO_OK;
}

static IoResult ib700_start(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Ib700 *d = ib700(region->owner);
    int64_t seconds = IB700_LONGEST - IB700_STEP * (int64_t)(value & IB700_TIME);

    d->s.deadline = clock_ns(CLOCK_VIRTUAL_NS) + seconds * NS_PER_SEC;
    ib700_arm(d);
    return IO_OK;
}

static uint64_t ib700_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return 0xff; /* the ports are only written */
}

static const IoRegionOps ib700_stop_ops = {
    .read = ib700_read, .write = ib700_stop, .impl_min = 1, .impl_max = 1};
static const IoRegionOps ib700_start_ops = {
    .read = ib700_read, .write = ib700_start, .impl_min = 1, .impl_max = 1};

static bool ib700_realize(Device *dev, GError **err)
{
    Ib700 *d = ib700(dev);

    d->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, ib700_fire);
    io_region_init(&d->stop, dev, &ib700_stop_ops, "ib700-stop", 1);
    io_region_init(&d->start, dev, &ib700_start_ops, "ib700-start", 1);
    isa_map_ports(dev, &d->stop, IB700_STOP);
    isa_map_ports(dev, &d->start, IB700_START);
    return true;
}

static void ib700_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &ib700(dev)->stop);
    io_region_unmap(dev->vm, &ib700(dev)->start);
}

static void ib700_reset(Device *dev, ResetKind kind)
{
    ib700(dev)->s.deadline = -1;
    ib700_arm(ib700(dev));
}

static void ib700_post_load(Device *dev)
{
    ib700_arm(ib700(dev));
}

static const StateSection ib700_state[] = {
    {ib700_state_desc, offsetof(Ib700, s)},
    {0},
};

const DeviceClass ib700_class = {
    .name = "ib700",
    .bus = "ISA",
    .desc = "iBASE 700 watchdog",
    .category = DEVICE_CATEGORY_WATCHDOG,
    .size = sizeof(Ib700),
    .state = ib700_state,
    .realize = ib700_realize,
    .unrealize = ib700_unrealize,
    .reset = ib700_reset,
    .post_load = ib700_post_load,
    .object_parent = "isa-device",
};

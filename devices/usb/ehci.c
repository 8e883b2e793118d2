/* SPDX-License-Identifier: GPL-2.0-or-later */
/* EHCI: registers, ports, companions, and when the schedules are looked at. */
#include "ehci.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

enum {
    /* Interrupt transfers wait for their devices, and no others are in the periodic schedule. */
    PERIODIC_MAX_MS = 160,
    FRAMES_AT_ONCE = 256,   /* what a look walks at most; frames before them are skipped */
    PERIODIC_VISITS = 8192, /* elements of the periodic schedule in a look */

    FRINDEX_MASK = 0x3fff,
    FRINDEX_ROLLOVER = 1 << 13, /* changes with each round of the 1024 frames */
    EHCI_BAR_SIZE = 4096,

    /* 2.2: capability registers. */
    REG_CAPLENGTH = 0x00,
    REG_HCSPARAMS = 0x04,
    REG_HCCPARAMS = 0x08,
    OPERATIONAL = 0x20,
    HCI_VERSION = 0x0100,
    HCS_PORTS_PER_COMPANION_SHIFT = 8,
    HCS_COMPANIONS_SHIFT = 12,
    HCC_CACHES_FRAME = 0x80,
    HCC_EECP_SHIFT = 8,

    /* 2.3: operational registers. */
    REG_USBCMD = OPERATIONAL + 0x00,
    REG_USBSTS = OPERATIONAL + 0x04,
    REG_USBINTR = OPERATIONAL + 0x08,
    REG_FRINDEX = OPERATIONAL + 0x0c,
    REG_PERIODICLISTBASE = OPERATIONAL + 0x14,
    REG_ASYNCLISTADDR = OPERATIONAL + 0x18,
    REG_CONFIGFLAG = OPERATIONAL + 0x40,
    REG_PORTSC = OPERATIONAL + 0x44,

    CMD_THRESHOLD_SHIFT = 16,
    CMD_THRESHOLD_DEFAULT = 0x08 << CMD_THRESHOLD_SHIFT,
    CMD_MASK = 0xff0000 | CMD_IAAD | CMD_ASE | CMD_PSE | CMD_RS,

    PORT_CCS = 1 << 0,
    PORT_CSC = 1 << 1,
    PORT_PE = EHCI_PORT_PE,
    PORT_PEC = 1 << 3,
    PORT_FPR = 1 << 6, /* force port resume */
    PORT_SUSPEND = 1 << 7,
    PORT_PR = 1 << 8,
    PORT_LINE_K = 1 << 10, /* low speed */
    PORT_LINE_J = 2 << 10,
    PORT_LINE = 3 << 10,
    PORT_PP = 1 << 12, /* power: always on */
    PORT_OWNER = EHCI_PORT_OWNER,
    PORT_W1C = PORT_CSC | PORT_PEC,
    PORT_RW = PORT_PR | 0x7f << 16, /* and test mode, wake-up enables */

    /* 2.1: PCI configuration space. */
    PCI_SBRN = 0x60,
    PCI_FLADJ = 0x61,
    PCI_LEGSUP = 0x68,
    LEGSUP_CAPABILITY = 0x01,
};

STATE_DESC(ehci, EhciState, EHCI_STATE, 1);

static Ehci *ehci_of(Device *dev)
{
    return container_of(dev, Ehci, pci.dev);
}

/* Interrupts. */

static void ehci_update_irq(Ehci *e)
{
    pci_set_irq(&e->pci, (e->s.status & e->s.intr & STS_INTERRUPTS) != 0);
}

static int64_t ehci_threshold_ns(const Ehci *e)
{
    return (int64_t)MAX(e->s.cmd >> CMD_THRESHOLD_SHIFT & 0xff, 1) * MICROFRAME_NS;
}

static void ehci_deliver(Ehci *e)
{
    e->s.status |= e->s.pending;
    e->s.pending = 0;
    e->s.due = clock_ns(CLOCK_VIRTUAL_NS) + ehci_threshold_ns(e);
    ehci_update_irq(e);
}

/* Interrupts are at least the threshold apart. */
void ehci_raise(Ehci *e, uint32_t bits)
{
    e->s.pending |= bits;
    if (e->s.pending && clock_ns(CLOCK_VIRTUAL_NS) >= e->s.due) {
        ehci_deliver(e);
    }
}

static void ehci_port_changed(Ehci *e)
{
    e->s.status |= STS_PCD;
    ehci_update_irq(e);
}

/* When it looks at the schedules. */

/* Brings FRINDEX up to date. */
static void ehci_pass_time(Ehci *e)
{
    int64_t passed = (clock_ns(CLOCK_VIRTUAL_NS) - e->s.frame_at) / MICROFRAME_NS;
    uint64_t before = e->s.frindex, now;

    if (!ehci_runs(e) || passed <= 0) {
        return;
    }
    now = before + passed;
    e->s.frame_at += passed * MICROFRAME_NS;
    e->s.frindex = now & FRINDEX_MASK;
    if (now / FRINDEX_ROLLOVER != before / FRINDEX_ROLLOVER) {
        e->s.status |= STS_FLR;
        ehci_update_irq(e);
    }
    e->frames =
        MIN(e->frames + now / FRAME_MICROFRAMES - before / FRAME_MICROFRAMES, FRAMES_AT_ONCE);
}

static bool ehci_has_work(const Ehci *e)
{
    if (!ehci_runs(e)) {
        return false;
    }
    if (e->s.cmd & CMD_IAAD) {
        return true;
    }
    for (unsigned i = 0; i < EHCI_PORTS; i++) {
        if (e->s.port[i] & PORT_PE) {
            return e->s.cmd & (CMD_PSE | CMD_ASE);
        }
    }
    return false;
}

/* The next look, the delivery of interrupts that wait, and the rollover if anybody wants that. */
static void ehci_arm_in(Ehci *e, int64_t ns)
{
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS), at = INT64_MAX;

    if (ehci_has_work(e)) {
        at = now + ns;
    }
    if (e->s.pending) {
        at = MIN(at, e->s.due);
    }
    if (ehci_runs(e) && (e->s.intr & STS_FLR)) {
        at = MIN(at, e->s.frame_at + (int64_t)(FRINDEX_ROLLOVER - e->s.frindex % FRINDEX_ROLLOVER) *
                                         MICROFRAME_NS);
    }
    if (at < INT64_MAX) {
        device_timer_arm(e->schedule.timer, at);
    } else {
        device_timer_cancel(e->schedule.timer);
    }
}

static void ehci_arm(Ehci *e)
{
    ehci_arm_in(e, (int64_t)e->schedule.poll_ms * USB_FRAME_NS);
}

void ehci_look_soon(Ehci *e)
{
    e->schedule.poll_ms = 1;
    ehci_arm_in(e, 0);
}

void ehci_halt(Ehci *e, uint32_t why)
{
    ehci_pass_time(e);
    e->s.status |= STS_HALTED | why;
    e->s.cmd &= ~CMD_RS;
    ehci_update_irq(e);
}

static void ehci_walk(Ehci *e)
{
    uint32_t last = e->s.frindex / FRAME_MICROFRAMES;
    unsigned visits = PERIODIC_VISITS;

    for (uint32_t n = e->frames; n-- > 0 && ehci_runs(e) && visits;) {
        if (e->s.cmd & CMD_PSE) {
            visits -= ehci_walk_periodic(e, last - n, visits);
        }
    }
    if (e->s.cmd & CMD_IAAD && ehci_runs(e)) {
        ehci_advance_async(e);
        e->s.cmd &= ~CMD_IAAD;
        ehci_raise(e, STS_IAA);
    } else if (e->s.cmd & CMD_ASE && ehci_runs(e)) {
        ehci_walk_async(e);
    }
    if (ehci_runs(e)) {
        usb_schedule_give_up_unseen(&e->schedule);
    } else { /* by an error: nothing moves any more */
        usb_schedule_cancel(&e->schedule, NULL);
    }
}

static void ehci_look(Device *dev)
{
    Ehci *e = ehci_of(dev);

    ehci_pass_time(e);
    e->schedule.progress = false;
    if (pci_can_dma(&e->pci) && ehci_has_work(e)) {
        ehci_walk(e);
    }
    e->frames = 0;
    ehci_raise(e, 0);
    usb_schedule_back_off(&e->schedule, e->s.cmd & CMD_ASE ? USB_POLL_MAX_MS : PERIODIC_MAX_MS);
    ehci_arm(e);
}

/* Ports (2.3.9) and their companions (4.2). */

static Ehci *ehci_of_port(const UsbPort *port)
{
    return ehci_of(port->owner);
}

/* The line shows the driver a device that is for the companion. */
static void ehci_show(Ehci *e, unsigned n)
{
    const UsbDevice *dev = e->ports[n].dev;
    uint32_t *sc = &e->s.port[n];

    *sc &= ~(PORT_CCS | PORT_LINE);
    if (dev) {
        *sc |= PORT_CCS;
        *sc |= dev->speed == USB_SPEED_LOW ? PORT_LINE_K : PORT_LINE_J;
    }
}

static void ehci_attached(UsbPort *port)
{
    Ehci *e = ehci_of_port(port);
    unsigned n = port->index;

    if (e->s.port[n] & PORT_OWNER) {
        usb_port_route(port, e->companion[n], false);
        e->companion[n]->ops->attached(e->companion[n]);
        return;
    }
    ehci_show(e, n);
    e->s.port[n] |= PORT_CSC;
    ehci_port_changed(e);
}

/* Of a device that the companion had: the port is the master's again (4.2.2). */
static void ehci_detached(UsbPort *port)
{
    Ehci *e = ehci_of_port(port);
    uint32_t *sc = &e->s.port[port->index];

    if (*sc & PORT_OWNER) {
        *sc &= e->s.configured ? ~PORT_OWNER : ~0u;
        return;
    }
    *sc &= ~(PORT_CCS | PORT_LINE | PORT_SUSPEND | PORT_FPR);
    *sc |= PORT_CSC;
    if (*sc & PORT_PE) {
        *sc = (*sc & ~PORT_PE) | PORT_PEC;
    }
    ehci_port_changed(e);
    ehci_arm(e);
}

static void ehci_cancel(UsbPort *port, UsbDevice *dev)
{
    usb_schedule_cancel(&ehci_of_port(port)->schedule, dev);
}

static void ehci_ready(UsbPort *port, UsbDevice *from)
{
    Ehci *e = ehci_of_port(port);

    if (e->schedule.poll_ms > 1 || !device_timer_armed(e->schedule.timer)) {
        e->schedule.poll_ms = 1;
        ehci_arm(e);
    }
}

static void ehci_port_wakeup(UsbPort *port)
{
    Ehci *e = ehci_of_port(port);

    if (e->s.port[port->index] & PORT_SUSPEND) {
        e->s.port[port->index] |= PORT_FPR;
        ehci_port_changed(e);
    }
}

static const UsbPortOps ehci_port_ops = {
    .attached = ehci_attached,
    .detached = ehci_detached,
    .cancel = ehci_cancel,
    .ready = ehci_ready,
    .wakeup = ehci_port_wakeup,
};

/* Gives the port to its companion, or takes it back. */
static void ehci_set_owner(Ehci *e, unsigned n, bool companion)
{
    uint32_t *sc = &e->s.port[n];

    if (!e->companion[n] || companion == !!(*sc & PORT_OWNER)) {
        return;
    }
    if (companion) {
        usb_schedule_cancel(&e->schedule, e->ports[n].dev);
        *sc = PORT_PP | PORT_OWNER;
        usb_port_route(&e->ports[n], e->companion[n], false);
        if (e->companion[n]->dev) {
            e->companion[n]->ops->attached(e->companion[n]);
        }
    } else {
        *sc &= ~PORT_OWNER;
        usb_port_route(e->companion[n], &e->ports[n], true);
    }
}

/* A reset ends: a device of high speed is enabled; one of full speed is the companion's. */
static void coroutine_fn ehci_deferred(Device *dev)
{
    Ehci *e = ehci_of(dev);

    device_lock(dev);
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        UsbDevice *usb = e->ports[n].dev;

        if ((e->resetting >> n & 1) && usb) {
            usb_schedule_cancel(&e->schedule, usb);
            usb_reset(usb);
            e->s.port[n] |= usb->speed == USB_SPEED_HIGH ? PORT_PE : 0;
        }
    }
    e->resetting = 0;
    ehci_look_soon(e);
    device_unlock(dev);
}

static IoResult ehci_write_port(Ehci *e, unsigned n, uint32_t value)
{
    uint32_t *sc = &e->s.port[n];
    bool reset_ends = (*sc & PORT_PR) && !(value & PORT_PR);

    if (!(*sc & PORT_PR) && (value & PORT_PR)) {
        *sc &= ~(PORT_PE | PORT_SUSPEND | PORT_FPR);
    }
    *sc &= ~(value & PORT_W1C);
    *sc &= ~PORT_PE | (value & PORT_PE); /* it can only be cleared */
    *sc = (*sc & ~PORT_RW) | (value & PORT_RW);
    if (*sc & PORT_PE) {
        if ((*sc & PORT_FPR) && !(value & PORT_FPR)) {
            *sc &= ~(PORT_FPR | PORT_SUSPEND); /* the resume is over */
        } else {
            *sc |= value & PORT_SUSPEND;
            *sc |= *sc & PORT_SUSPEND ? value & PORT_FPR : 0;
        }
    }
    if (e->s.configured) {
        ehci_set_owner(e, n, value & PORT_OWNER);
    }
    ehci_look_soon(e);
    if (!reset_ends) {
        return IO_OK;
    }
    e->resetting |= 1u << n;
    if (!device_deferred(&e->pci.dev)) { /* one access may write two registers */
        device_defer(&e->pci.dev, ehci_deferred);
    }
    return IO_DEFER;
}

static void ehci_configure(Ehci *e, bool on)
{
    e->s.configured = on;
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        ehci_set_owner(e, n, !on);
    }
    ehci_look_soon(e);
}

static bool ehci_add_companion(UsbBus *bus, UsbPort *ports, unsigned count, unsigned first,
                               GError **err)
{
    Ehci *e = container_of(bus, Ehci, bus);

    if (first > EHCI_PORTS || count > EHCI_PORTS - first) {
        return error_set(err, "firstport=%u: bus '%s' has ports 0 to %u, and a companion takes %u",
                         first, bus->bus.name, EHCI_PORTS - 1, count);
    }
    for (unsigned i = 0; i < count; i++) {
        if (e->companion[first + i] || e->ports[first + i].taken) {
            return error_set(err, "firstport=%u: port %u of bus '%s' is in use", first, first + i,
                             bus->bus.name);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        UsbPort *port = &e->ports[first + i];

        ports[i].master = port;
        g_strlcpy(ports[i].path, port->path, sizeof port->path);
        e->companion[first + i] = &ports[i];
        port->speeds = USB_SPEEDS_2;
        e->s.port[first + i] = PORT_PP | (e->s.configured ? 0 : PORT_OWNER);
    }
    return true;
}

static void ehci_remove_companion(UsbBus *bus, UsbPort *ports, unsigned count)
{
    Ehci *e = container_of(bus, Ehci, bus);

    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        UsbPort *port = e->companion[n];

        if (port && port >= ports && port < ports + count) {
            usb_port_route(port, &e->ports[n], false);
            e->companion[n] = NULL;
            e->s.port[n] &= ~PORT_OWNER;
        }
    }
}

static const UsbMasterOps ehci_master = {
    .add_companion = ehci_add_companion,
    .remove_companion = ehci_remove_companion,
};

/* Registers. */

/* 2.3.1: all ports are the companions', and nothing is configured. */
static void ehci_reset_registers(Ehci *e)
{
    usb_schedule_cancel(&e->schedule, NULL);
    device_timer_cancel(e->schedule.timer);
    ehci_configure(e, false);
    e->s = (EhciState){.cmd = CMD_THRESHOLD_DEFAULT, .status = STS_HALTED};
    e->resetting = 0;
    e->schedule.poll_ms = 1;
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        e->s.port[n] = PORT_PP | (e->companion[n] ? PORT_OWNER : 0);
        ehci_show(e, n);
        if (e->ports[n].dev) {
            e->s.port[n] |= PORT_CSC;
            e->s.status |= STS_PCD;
        }
    }
    device_timer_cancel(e->schedule.timer);
    ehci_update_irq(e);
}

static void ehci_write_cmd(Ehci *e, uint32_t value)
{
    EhciState *s = &e->s;

    if (value & CMD_HCRESET) {
        ehci_reset_registers(e);
        return;
    }
    if ((value & CMD_RS) && !ehci_runs(e)) {
        s->frame_at = clock_ns(CLOCK_VIRTUAL_NS);
        s->status &= ~STS_HALTED;
    } else if (!(value & CMD_RS) && ehci_runs(e)) {
        ehci_halt(e, 0);
    }
    /* What was under way is begun again when the schedule runs on. */
    if (!(value & CMD_RS) || !(value & (CMD_ASE | CMD_PSE))) {
        usb_schedule_cancel(&e->schedule, NULL);
    }
    s->cmd = (value & CMD_MASK) | (s->cmd & CMD_IAAD);
    ehci_look_soon(e);
}

static IoResult ehci_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Ehci *e = container_of(region, Ehci, bar);
    EhciState *s = &e->s;

    switch (offset) {
    case REG_USBCMD:
        ehci_write_cmd(e, value);
        break;
    case REG_USBSTS:
        s->status &= ~(value & STS_INTERRUPTS);
        ehci_update_irq(e);
        break;
    case REG_USBINTR:
        ehci_pass_time(e);
        s->intr = value & STS_INTERRUPTS;
        ehci_update_irq(e);
        ehci_arm(e);
        break;
    case REG_FRINDEX: /* only while it is halted (2.3.4) */
        s->frindex = ehci_runs(e) ? s->frindex : value & FRINDEX_MASK;
        break;
    case REG_PERIODICLISTBASE:
        s->periodic = value & 0xfffff000;
        break;
    case REG_ASYNCLISTADDR:
        s->async = value & 0xffffffe0;
        break;
    case REG_CONFIGFLAG:
        ehci_configure(e, value & 1);
        break;
    case REG_PORTSC ... REG_PORTSC + 4 * EHCI_PORTS - 1:
        return ehci_write_port(e, (offset - REG_PORTSC) / 4, value);
    }
    return IO_OK;
}

static uint32_t ehci_hcsparams(const Ehci *e)
{
    unsigned companions = 0;

    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        companions += e->companion[n] && e->companion[n]->index == 0;
    }
    return EHCI_PORTS | (companions ? EHCI_PORTS / 3 : 0) << HCS_PORTS_PER_COMPANION_SHIFT |
           companions << HCS_COMPANIONS_SHIFT;
}

static uint32_t ehci_status(Ehci *e)
{
    uint32_t running = ehci_runs(e) ? e->s.cmd : 0;

    ehci_pass_time(e);
    return e->s.status | (running & CMD_PSE ? STS_PSS : 0) | (running & CMD_ASE ? STS_ASS : 0);
}

static uint32_t ehci_read_register(Ehci *e, uint64_t offset)
{
    const EhciState *s = &e->s;

    switch (offset) {
    case REG_CAPLENGTH:
        return OPERATIONAL | HCI_VERSION << 16;
    case REG_HCSPARAMS:
        return ehci_hcsparams(e);
    case REG_HCCPARAMS:
        return HCC_CACHES_FRAME | PCI_LEGSUP << HCC_EECP_SHIFT;
    case REG_USBCMD:
        return s->cmd;
    case REG_USBSTS:
        return ehci_status(e);
    case REG_USBINTR:
        return s->intr;
    case REG_FRINDEX: {
        int64_t passed = (clock_ns(CLOCK_VIRTUAL_NS) - s->frame_at) / MICROFRAME_NS;

        return (s->frindex + (ehci_runs(e) ? passed : 0)) & FRINDEX_MASK;
    }
    case REG_PERIODICLISTBASE:
        return s->periodic;
    case REG_ASYNCLISTADDR:
        return s->async;
    case REG_CONFIGFLAG:
        return s->configured;
    case REG_PORTSC ... REG_PORTSC + 4 * EHCI_PORTS - 1:
        return s->port[(offset - REG_PORTSC) / 4];
    default:
        return 0;
    }
}

/* Firmware reads bytes and words of the capability registers. */
static uint64_t ehci_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return ehci_read_register(container_of(region, Ehci, bar), offset & ~3ull) >> (offset & 3) * 8;
}

static const IoRegionOps ehci_ops = {
    .read = ehci_read,
    .write = ehci_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 4,
    .impl_max = 4,
};

/* The device. */

static bool ehci_realize(Device *dev, GError **err)
{
    Ehci *e = ehci_of(dev);

    e->pci.s.config[PCI_SBRN] = 0x20;
    e->pci.s.config[PCI_FLADJ] = 0x20;
    e->pci.wmask[PCI_FLADJ] = 0x3f;
    e->pci.s.config[PCI_LEGSUP] = LEGSUP_CAPABILITY;
    e->pci.wmask[PCI_LEGSUP + 2] = 0x01; /* the semaphores of firmware and system (2.1.7) */
    e->pci.wmask[PCI_LEGSUP + 3] = 0x01;
    io_region_init(&e->bar, dev, &ehci_ops, "ehci", EHCI_BAR_SIZE);
    pci_register_bar(&e->pci, 0, PCI_BAR_MEM32, &e->bar);
    usb_schedule_init(&e->schedule, dev, ehci_look);
    usb_bus_init(&e->bus, dev->vm, dev);
    e->bus.master = &ehci_master;
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        usb_port_add(&e->bus, &e->ports[n], dev, NULL, n + 1, 1u << USB_SPEED_HIGH, &ehci_port_ops);
    }
    return true;
}

static void ehci_unrealize(Device *dev)
{
    Ehci *e = ehci_of(dev);

    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        if (e->companion[n]) {
            e->companion[n]->master = NULL;
        }
    }
    usb_bus_destroy(&e->bus);
    usb_schedule_destroy(&e->schedule);
}

static void ehci_reset(Device *dev, ResetKind kind)
{
    Ehci *e = ehci_of(dev);

    pci_device_reset(&e->pci);
    e->pci.s.config[PCI_FLADJ] = 0x20;
    memset(e->pci.s.config + PCI_LEGSUP + 2, 0, 2);
    ehci_reset_registers(e);
}

static bool ehci_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const Ehci *e = ehci_of(dev);
    const EhciState *s = state;

    if (!section) {
        return pci_device_check_state(dev, section, state, err);
    }
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        if ((s->port[n] & PORT_OWNER) && !e->companion[n]) {
            return error_set(err, "%s: port %u is a companion's, and there is none", dev->path, n);
        }
    }
    return (s->frame_at >= 0 && s->due >= 0 && s->frindex <= FRINDEX_MASK) ||
           error_set(err, "%s: its frame index was %u at %" PRId64 " ns", dev->path, s->frindex,
                     s->frame_at);
}

static void ehci_pre_save(Device *dev)
{
    usb_schedule_pre_save(&ehci_of(dev)->schedule);
}

/* The loaded registers say whose the ports are. */
static void ehci_post_load(Device *dev)
{
    Ehci *e = ehci_of(dev);

    pci_device_post_load(dev);
    usb_schedule_cancel(&e->schedule, NULL);
    for (unsigned n = 0; n < EHCI_PORTS; n++) {
        if (e->companion[n] && e->s.port[n] & PORT_OWNER) {
            usb_port_route(&e->ports[n], e->companion[n], false);
        } else if (e->companion[n]) {
            usb_port_route(e->companion[n], &e->ports[n], false);
        }
    }
    e->resetting = 0;
    ehci_update_irq(e);
    ehci_look_soon(e);
}

static const StateSection ehci_state[] = {
    PCI_STATE(Ehci, pci),
    {ehci_state_desc, offsetof(Ehci, s)},
    {0},
};

#define EHCI_CLASS(id, class_name, text, device, rev)                                              \
    static const PciDeviceInfo id##_info = {                                                       \
        .vendor_id = PCI_VENDOR_ID_INTEL,                                                          \
        .device_id = (device),                                                                     \
        .revision = (rev),                                                                         \
        .prog_if = 0x20,                                                                           \
        .class_id = PCI_CLASS_SERIAL_USB,                                                          \
        .interrupt_pin = 4,                                                                        \
    };                                                                                             \
    const DeviceClass id##_class = {                                                               \
        .name = (class_name),                                                                      \
        .bus = "PCI",                                                                              \
        .desc = (text),                                                                            \
        .category = DEVICE_CATEGORY_USB,                                                           \
        .size = sizeof(Ehci),                                                                      \
        .bus_props = pci_device_props,                                                             \
        .bus_data = &id##_info,                                                                    \
        .state = ehci_state,                                                                       \
        .realize = ehci_realize,                                                                   \
        .unrealize = ehci_unrealize,                                                               \
        .reset = ehci_reset,                                                                       \
        .check_state = ehci_check_state,                                                           \
        .pre_save = ehci_pre_save,                                                                 \
        .post_load = ehci_post_load,                                                               \
        .object_parent = "pci-ehci-usb",                                                           \
    }
EHCI_CLASS(usb_ehci, "usb-ehci", "USB 2.0 controller", 0x24cd, 0x10);
EHCI_CLASS(ich9_usb_ehci1, "ich9-usb-ehci1", "USB 2.0 controller of the ICH9", 0x293a, 0x03);

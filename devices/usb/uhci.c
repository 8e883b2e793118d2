/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UHCI: registers, ports, and when the schedule is looked at. */
#include "uhci.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

enum {
    FRAMES_AT_ONCE = 32, /* what a look walks at most; frames before them are skipped */

    /* 2.1: registers in the I/O space. */
    REG_USBCMD = 0x00,
    REG_USBSTS = 0x02,
    REG_USBINTR = 0x04,
    REG_FRNUM = 0x06,
    REG_FRBASEADD = 0x08,
    REG_SOFMOD = 0x0c,
    REG_PORTSC = 0x10,

    CMD_RS = 0x01,
    CMD_HCRESET = 0x02,
    CMD_GRESET = 0x04,
    CMD_EGSM = 0x08,
    CMD_FGR = 0x10,
    CMD_MASK = 0xff,

    INTR_TIMEOUT_CRC = 0x01,
    INTR_RESUME = 0x02,
    INTR_IOC = 0x04,
    INTR_SHORT = 0x08,

    PORT_CCS = 0x0001,
    PORT_CSC = 0x0002,
    PORT_PE = UHCI_PORT_PE,
    PORT_PEC = 0x0008,
    PORT_RD = 0x0040,
    PORT_ALWAYS_1 = 0x0080,
    PORT_LSDA = 0x0100,
    PORT_PR = 0x0200,
    PORT_SUSPEND = 0x1000,
    PORT_W1C = PORT_CSC | PORT_PEC,
    PORT_RW = PORT_PE | PORT_RD | PORT_PR | PORT_SUSPEND,
};

STATE_DESC(uhci, UhciState, UHCI_STATE, 1);

void uhci_update_irq(Uhci *u)
{
    const UhciState *s = &u->s;
    bool level = ((s->cause & CAUSE_IOC) && (s->intr & INTR_IOC)) ||
                 ((s->cause & CAUSE_SHORT) && (s->intr & INTR_SHORT)) ||
                 ((s->status & STS_USBERR) && (s->intr & INTR_TIMEOUT_CRC)) ||
                 ((s->status & STS_RD) && (s->intr & INTR_RESUME)) ||
                 (s->status & (STS_HSE | STS_HCPE));

    pci_set_irq(&u->pci, level);
}

/* When it looks at the schedule. */

static uint16_t uhci_frame_now(const Uhci *u)
{
    int64_t passed = (clock_ns(CLOCK_VIRTUAL_NS) - u->s.frame_at) / USB_FRAME_NS;

    return u->s.status & STS_HCH ? u->s.frnum : (u->s.frnum + passed) & 0x7ff;
}

static bool uhci_has_work(const Uhci *u)
{
    if (!(u->s.cmd & CMD_RS) || (u->s.status & STS_HCH)) {
        return false;
    }
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        if (u->s.port[i] & PORT_PE) {
            return true;
        }
    }
    return false;
}

static void uhci_arm(Uhci *u)
{
    if (uhci_has_work(u)) {
        device_timer_arm(u->schedule.timer,
                         clock_ns(CLOCK_VIRTUAL_NS) + (int64_t)u->schedule.poll_ms * USB_FRAME_NS);
    } else {
        device_timer_cancel(u->schedule.timer);
    }
}

void uhci_look_soon(Uhci *u)
{
    if (u->schedule.poll_ms > 1 || !device_timer_armed(u->schedule.timer)) {
        u->schedule.poll_ms = 1;
        uhci_arm(u);
    }
}

/* Nothing moves while it is halted: what was under way is begun again when it runs on. */
void uhci_halt(Uhci *u, uint16_t why)
{
    u->s.frnum = uhci_frame_now(u);
    u->s.status |= STS_HCH | why;
    u->s.cmd &= ~CMD_RS;
    usb_schedule_cancel(&u->schedule, NULL);
    uhci_update_irq(u);
}

static void uhci_look(Device *dev)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);
    int64_t passed = (clock_ns(CLOCK_VIRTUAL_NS) - u->s.frame_at) / USB_FRAME_NS;
    int64_t skipped = MAX(passed - FRAMES_AT_ONCE, 0);

    u->schedule.progress = false;
    if (pci_can_dma(&u->pci)) {
        for (int64_t i = skipped; i < passed && !(u->s.status & STS_HCH); i++) {
            uhci_frame(u, u->s.frnum + i);
        }
        usb_schedule_give_up_unseen(&u->schedule);
    }
    if (!(u->s.status & STS_HCH)) {
        u->s.frnum = (u->s.frnum + passed) & 0x7ff;
        u->s.frame_at += passed * USB_FRAME_NS;
    }
    uhci_update_irq(u);
    usb_schedule_back_off(&u->schedule, USB_POLL_MAX_MS);
    uhci_arm(u);
}

/* Ports (2.1.7). */

static void uhci_resume_detected(Uhci *u, unsigned n)
{
    if (u->s.port[n] & PORT_SUSPEND || u->s.cmd & CMD_EGSM) {
        u->s.port[n] |= PORT_RD;
        u->s.status |= STS_RD;
        uhci_update_irq(u);
    }
}

static Uhci *uhci_of_port(UsbPort *port)
{
    return container_of(port->owner, Uhci, pci.dev);
}

static void uhci_attached(UsbPort *port)
{
    Uhci *u = uhci_of_port(port);
    uint16_t *sc = &u->s.port[port->index];

    *sc |= PORT_CCS | PORT_CSC;
    *sc = port->dev->speed == USB_SPEED_LOW ? *sc | PORT_LSDA : *sc & ~PORT_LSDA;
    uhci_resume_detected(u, port->index);
}

static void uhci_cancel(UsbPort *port, UsbDevice *dev)
{
    usb_schedule_cancel(&uhci_of_port(port)->schedule, dev);
}

static void uhci_detached(UsbPort *port)
{
    Uhci *u = uhci_of_port(port);
    uint16_t *sc = &u->s.port[port->index];

    *sc = (*sc & ~(PORT_CCS | PORT_LSDA)) | PORT_CSC;
    if (*sc & PORT_PE) {
        *sc = (*sc & ~PORT_PE) | PORT_PEC;
    }
    uhci_resume_detected(u, port->index);
    uhci_arm(u);
}

static void uhci_ready(UsbPort *port, UsbDevice *from)
{
    uhci_look_soon(uhci_of_port(port));
}

static void uhci_port_wakeup(UsbPort *port)
{
    uhci_resume_detected(uhci_of_port(port), port->index);
}

static const UsbPortOps uhci_port_ops = {
    .attached = uhci_attached,
    .detached = uhci_detached,
    .cancel = uhci_cancel,
    .ready = uhci_ready,
    .wakeup = uhci_port_wakeup,
};

/* A device takes its requests back in a reset, which only the main loop may do. */
static void coroutine_fn uhci_deferred(Device *dev)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);

    device_lock(dev);
    for (unsigned n = 0; n < UHCI_PORTS; n++) {
        if ((u->resetting >> n & 1) && u->ports[n].dev) {
            usb_schedule_cancel(&u->schedule, u->ports[n].dev);
            usb_reset(u->ports[n].dev);
        }
    }
    u->resetting = 0;
    device_unlock(dev);
}

static IoResult uhci_reset_ports(Uhci *u, uint8_t ports)
{
    u->resetting |= ports;
    if (!device_deferred(&u->pci.dev)) { /* one access may write two registers */
        device_defer(&u->pci.dev, uhci_deferred);
    }
    return IO_DEFER;
}

static IoResult uhci_write_port(Uhci *u, unsigned n, uint16_t value)
{
    uint16_t *sc = &u->s.port[n];
    bool reset = (value & PORT_PR) && !(*sc & PORT_PR);

    if (reset) {
        value &= ~PORT_PE;
    }
    *sc &= ~(value & PORT_W1C);
    *sc = (*sc & ~PORT_RW) | (value & PORT_RW);
    if (!u->ports[n].dev) {
        *sc &= ~PORT_PE;
    }
    u->schedule.poll_ms = 1;
    uhci_arm(u);
    return reset ? uhci_reset_ports(u, 1u << n) : IO_OK;
}

/* Registers. */

static void uhci_reset_registers(Uhci *u)
{
    usb_schedule_cancel(&u->schedule, NULL);
    device_timer_cancel(u->schedule.timer);
    u->s = (UhciState){.status = STS_HCH, .sofmod = 64};
    u->schedule.poll_ms = 1;
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        u->s.port[i] = PORT_ALWAYS_1;
        if (u->ports[i].dev) {
            u->s.port[i] |= PORT_CCS | PORT_CSC;
            u->s.port[i] |= u->ports[i].dev->speed == USB_SPEED_LOW ? PORT_LSDA : 0;
        }
    }
    uhci_update_irq(u);
}

static IoResult uhci_write_cmd(Uhci *u, uint16_t value)
{
    if (value & CMD_HCRESET) {
        uhci_reset_registers(u);
        return IO_OK;
    }
    if ((value & CMD_GRESET) && !(u->s.cmd & CMD_GRESET)) {
        uhci_reset_registers(u);
        u->s.cmd = value & CMD_MASK & ~CMD_RS;
        return uhci_reset_ports(u, BIT(UHCI_PORTS) - 1);
    }
    if ((value & CMD_RS) && (u->s.status & STS_HCH)) {
        u->s.frame_at = clock_ns(CLOCK_VIRTUAL_NS);
        u->s.status &= ~STS_HCH;
    } else if (!(value & CMD_RS) && !(u->s.status & STS_HCH)) {
        uhci_halt(u, 0);
    }
    u->s.cmd = value & CMD_MASK;
    u->schedule.poll_ms = 1;
    uhci_arm(u);
    return IO_OK;
}

static uint16_t uhci_read_register(const Uhci *u, uint64_t offset)
{
    const UhciState *s = &u->s;

    switch (offset) {
    case REG_USBCMD:
        return s->cmd;
    case REG_USBSTS:
        return s->status;
    case REG_USBINTR:
        return s->intr;
    case REG_FRNUM:
        return uhci_frame_now(u);
    case REG_FRBASEADD:
        return s->frbase & 0xffff;
    case REG_FRBASEADD + 2:
        return s->frbase >> 16;
    case REG_SOFMOD:
        return s->sofmod;
    case REG_PORTSC ... REG_PORTSC + 2 * UHCI_PORTS - 1:
        return s->port[(offset - REG_PORTSC) / 2];
    default:
        return 0xff7f; /* of a port that is not there */
    }
}

/* The upper byte of a register: the lower one stays, and clears nothing. */
static uint16_t uhci_with_low_byte(const Uhci *u, uint64_t offset, uint8_t high)
{
    uint16_t low = uhci_read_register(u, offset) & 0xff;

    if (offset == REG_USBSTS) {
        low = 0;
    } else if (offset >= REG_PORTSC) {
        low &= ~PORT_W1C;
    }
    return high << 8 | low;
}

static IoResult uhci_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Uhci *u = container_of(region, Uhci, bar);

    if (offset & 1) {
        offset &= ~1ull;
        value = uhci_with_low_byte(u, offset, value);
    }
    switch (offset) {
    case REG_USBCMD:
        return uhci_write_cmd(u, value);
    case REG_USBSTS:
        u->s.status &= ~(value & (STS_HCH - 1));
        u->s.cause = value & STS_USBINT ? 0 : u->s.cause;
        uhci_update_irq(u);
        break;
    case REG_USBINTR:
        u->s.intr = value & 0x0f;
        uhci_update_irq(u);
        break;
    case REG_FRNUM: /* only while it is halted (2.1.4) */
        u->s.frnum = u->s.status & STS_HCH ? value & 0x7ff : u->s.frnum;
        break;
    case REG_FRBASEADD:
        u->s.frbase = (u->s.frbase & 0xffff0000) | (value & 0xf000);
        break;
    case REG_FRBASEADD + 2:
        u->s.frbase = (u->s.frbase & 0xffff) | value << 16;
        break;
    case REG_SOFMOD:
        u->s.sofmod = value & 0x7f;
        break;
    case REG_PORTSC ... REG_PORTSC + 2 * UHCI_PORTS - 1:
        return uhci_write_port(u, (offset - REG_PORTSC) / 2, value);
    }
    return IO_OK;
}

static uint64_t uhci_read(IoRegion *region, uint64_t offset, unsigned size)
{
    uint16_t value = uhci_read_register(container_of(region, Uhci, bar), offset & ~1ull);

    return offset & 1 ? value >> 8 : value;
}

static const IoRegionOps uhci_ops = {
    .read = uhci_read,
    .write = uhci_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 2,
    .impl_max = 2,
};

/* The device. */

enum { UHCI_SBRN = 0x60, UHCI_LEGSUP = 0xc0 };

static bool uhci_realize(Device *dev, GError **err)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);

    if (u->masterbus && !usb_companion_add(dev, u->ports, UHCI_PORTS, u->masterbus, u->firstport,
                                           &uhci_port_ops, err)) {
        return false;
    }
    u->pci.s.config[UHCI_SBRN] = 0x10;
    stle16(u->pci.s.config + UHCI_LEGSUP, 0x2000);
    memset(u->pci.wmask + UHCI_LEGSUP, 0xff, 2);
    io_region_init(&u->bar, dev, &uhci_ops, "uhci", 32);
    pci_register_bar(&u->pci, 4, PCI_BAR_IO, &u->bar);
    usb_schedule_init(&u->schedule, dev, uhci_look);
    if (u->masterbus) {
        return true;
    }
    usb_bus_init(&u->bus, dev->vm, dev);
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        usb_port_add(&u->bus, &u->ports[i], dev, NULL, i + 1, USB_SPEEDS_1, &uhci_port_ops);
    }
    return true;
}

static void uhci_unrealize(Device *dev)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);

    if (u->masterbus) {
        usb_companion_remove(u->ports, UHCI_PORTS);
    } else {
        usb_bus_destroy(&u->bus);
    }
    usb_schedule_destroy(&u->schedule);
}

static void uhci_reset(Device *dev, ResetKind kind)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);

    pci_device_reset(&u->pci);
    stle16(u->pci.s.config + UHCI_LEGSUP, 0x2000);
    uhci_reset_registers(u);
}

static bool uhci_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const UhciState *s = state;

    if (!section) {
        return pci_device_check_state(dev, section, state, err);
    }
    return s->frame_at >= 0 || error_set(err, "%s: its frame %u began at %" PRId64 " ns", dev->path,
                                         s->frnum, s->frame_at);
}

static void uhci_pre_save(Device *dev)
{
    usb_schedule_pre_save(&container_of(dev, Uhci, pci.dev)->schedule);
}

static void uhci_post_load(Device *dev)
{
    Uhci *u = container_of(dev, Uhci, pci.dev);

    pci_device_post_load(dev);
    usb_schedule_cancel(&u->schedule, NULL); /* of before the load */
    uhci_update_irq(u);
    u->schedule.poll_ms = 1;
    uhci_arm(u);
}

static const StateSection uhci_state[] = {
    PCI_STATE(Uhci, pci),
    {uhci_state_desc, offsetof(Uhci, s)},
    {0},
};

static const Property uhci_companion_props[] = {
    PROP("masterbus", PROP_STRING, Uhci, masterbus, NULL,
         "the bus of the EHCI controller whose companion it is"),
    PROP("firstport", PROP_UINT32, Uhci, firstport, "0", "the first of its ports there, from 0"),
    PROP_END,
};

#define UHCI_CLASS(id, class_name, text, device, rev, pin, class_props)                            \
    static const PciDeviceInfo id##_info = {                                                       \
        .vendor_id = PCI_VENDOR_ID_INTEL,                                                          \
        .device_id = (device),                                                                     \
        .revision = (rev),                                                                         \
        .class_id = PCI_CLASS_SERIAL_USB,                                                          \
        .interrupt_pin = (pin),                                                                    \
    };                                                                                             \
    const DeviceClass id##_class = {                                                               \
        .name = (class_name),                                                                      \
        .bus = "PCI",                                                                              \
        .desc = (text),                                                                            \
        .category = DEVICE_CATEGORY_USB,                                                           \
        .size = sizeof(Uhci),                                                                      \
        .props = (class_props),                                                                    \
        .bus_props = pci_device_props,                                                             \
        .bus_data = &id##_info,                                                                    \
        .state = uhci_state,                                                                       \
        .realize = uhci_realize,                                                                   \
        .unrealize = uhci_unrealize,                                                               \
        .reset = uhci_reset,                                                                       \
        .check_state = uhci_check_state,                                                           \
        .pre_save = uhci_pre_save,                                                                 \
        .post_load = uhci_post_load,                                                               \
        .object_parent = "pci-uhci-usb",                                                           \
    }
#define UHCI_ICH9(n, device, pin)                                                                  \
    UHCI_CLASS(ich9_usb_uhci##n, "ich9-usb-uhci" #n, "USB 1.1 controller of the ICH9", device, 3,  \
               pin, uhci_companion_props)
UHCI_CLASS(piix3_usb_uhci, "piix3-usb-uhci", "USB 1.1 controller of the PIIX3", 0x7020, 1, 4, NULL);
UHCI_CLASS(piix4_usb_uhci, "piix4-usb-uhci", "USB 1.1 controller of the PIIX4", 0x7112, 1, 4, NULL);
UHCI_ICH9(1, 0x2934, 1);
UHCI_ICH9(2, 0x2935, 2);
UHCI_ICH9(3, 0x2936, 3);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: registers (5), the work, and the PCI devices. */
#include "xhci.h"

#include <string.h>

#include "base/error.h"

enum {
    BAR_SIZE = 0x4000,
    CAP_LENGTH = 0x40,
    OPERATIONAL = CAP_LENGTH,
    PORTS = OPERATIONAL + 0x400,
    RUNTIME = 0x1000,
    INTERRUPTERS = RUNTIME + 0x20,
    DOORBELLS = 0x2000,
    MSIX_TABLE = 0x3000,
    MSIX_PBA = 0x3800,
    PROTOCOLS = 0x20, /* extended capabilities */

    /* 5.3 */
    REG_CAPLENGTH = 0x00,
    REG_HCSPARAMS1 = 0x04,
    REG_HCSPARAMS2 = 0x08,
    REG_HCCPARAMS1 = 0x10,
    REG_DBOFF = 0x14,
    REG_RTSOFF = 0x18,
    HCI_VERSION = 0x0100,
    HCS2_IST = 0x0f, /* isochronous scheduling threshold; ERST Max is 2^0, and no scratchpads */
    HCC_AC64 = 0x01,

    /* 5.4 */
    REG_USBCMD = 0x00,
    REG_USBSTS = 0x04,
    REG_PAGESIZE = 0x08,
    REG_DNCTRL = 0x14,
    REG_CRCR = 0x18,
    REG_DCBAAP = 0x30,
    REG_CONFIG = 0x38,
    CRCR_RCS = 1 << 0,
    CRCR_CS = 1 << 1,
    CRCR_CA = 1 << 2,
    CRCR_CRR = 1 << 3,

    MICROFRAME_NS = 125000,
    MFINDEX_MASK = 0x3fff,

    WORK_MAX = 1024,  /* TRBs in a turn, after which it ends with the slot that it is at */
    WORK_SHARE = 128, /* of an endpoint */

    XHCI_SBRN = 0x60, /* 5.2.3 */
    XHCI_FLADJ = 0x61,
};

STATE_DESC(xhci_endpoint, XhciEndpointState, XHCI_ENDPOINT_STATE, 1);
STATE_DESC(xhci_slot, XhciSlotState, XHCI_SLOT_STATE, 1);
STATE_DESC(xhci_interrupter, XhciInterrupterState, XHCI_INTERRUPTER_STATE, 1);
STATE_DESC(xhci_port, XhciPortState, XHCI_PORT_STATE, 1);
STATE_DESC(xhci, XhciState, XHCI_STATE, 1);

static Xhci *xhci_of(Device *dev)
{
    return container_of(dev, Xhci, pci.dev);
}

/* MFINDEX (5.5.1) is computed when it is read. */

static uint32_t xhci_mfindex(const Xhci *x)
{
    return xhci_halted(x)
               ? x->s.mfindex
               : (clock_ns(CLOCK_VIRTUAL_NS) - x->s.mfindex_at) / MICROFRAME_NS & MFINDEX_MASK;
}

/* 4.14.2: the one timer, where a driver wants an event for each wrap. */
static void xhci_arm_wrap(Xhci *x)
{
    if ((x->s.cmd & CMD_EWE) && !xhci_halted(x)) {
        device_timer_arm(x->wrap,
                         clock_ns(CLOCK_VIRTUAL_NS) +
                             (MFINDEX_MASK + 1 - (int64_t)xhci_mfindex(x)) * MICROFRAME_NS);
    } else {
        device_timer_cancel(x->wrap);
    }
}

static void xhci_wrapped(Device *dev)
{
    Xhci *x = xhci_of(dev);

    if (pci_can_dma(&x->pci) && xhci_event_room(x, 0)) {
        xhci_event(x, 0, 0, (uint32_t)CC_SUCCESS << 24, EVENT_MFINDEX_WRAP << TRB_TYPE_SHIFT, true);
    }
    xhci_arm_wrap(x);
    xhci_interrupt_update(x);
}

/* Work. */

void xhci_kick(Xhci *x, unsigned slot, unsigned dci)
{
    if (slot) {
        x->kick[slot] |= 1u << dci;
    } else {
        x->command_kick = true;
    }
    device_bh_schedule(x->work);
}

void xhci_kick_all(Xhci *x)
{
    x->command_kick = true;
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        for (unsigned dci = 1; dci < XHCI_ENDPOINTS; dci++) {
            if (x->s.slot[slot].ep[dci].state == EP_RUNNING) {
                x->kick[slot] |= 1u << dci;
            }
        }
    }
    device_bh_schedule(x->work);
}

/* The number of TRBs. An endpoint that has used up its share goes on in the next turn. */
static int xhci_slot_work(Xhci *x, unsigned slot)
{
    uint32_t kick = x->kick[slot];
    int used = 0;

    x->kick[slot] = 0;
    for (; kick; kick &= kick - 1) {
        int budget = WORK_SHARE;

        xhci_endpoint_run(x, slot, __builtin_ctz(kick), &budget);
        used += WORK_SHARE - budget;
    }
    return used;
}

static void xhci_work(Device *dev)
{
    Xhci *x = xhci_of(dev);
    int left = WORK_MAX, budget = WORK_SHARE;

    if (!x->running) {
        return;
    }
    xhci_port_resets(x);
    if (xhci_halted(x) || !pci_can_dma(&x->pci)) {
        return;
    }
    xhci_port_events(x);
    if (x->command_kick) {
        x->command_kick = false;
        xhci_commands(x, &budget);
    }
    for (unsigned i = 0; i < x->slots && left > 0; i++) {
        left -= xhci_slot_work(x, x->next_slot + 1);
        x->next_slot = (x->next_slot + 1) % x->slots;
    }
    if (left <= 0) {
        device_bh_schedule(x->work);
    }
    xhci_interrupt_update(x);
}

/* Run, halt, reset. */

void xhci_halt(Xhci *x, uint32_t why)
{
    x->s.mfindex = xhci_mfindex(x);
    x->s.status |= STS_HCH | why;
    x->s.cmd &= ~CMD_RS;
    x->s.command_running = false;
    xhci_cancel_all(x, NULL);
    xhci_arm_wrap(x);
}

void xhci_host_error(Xhci *x)
{
    if (!xhci_halted(x)) {
        xhci_halt(x, STS_HSE);
    }
}

static void xhci_start(Xhci *x)
{
    x->s.status &= ~STS_HCH;
    x->s.mfindex_at = clock_ns(CLOCK_VIRTUAL_NS) - (int64_t)x->s.mfindex * MICROFRAME_NS;
    xhci_arm_wrap(x);
    xhci_kick_all(x);
}

static void xhci_reset_registers(Xhci *x)
{
    xhci_cancel_all(x, NULL);
    device_timer_cancel(x->wrap);
    for (unsigned slot = 1; slot <= x->slots; slot++) {
        xhci_slot_disable(x, slot);
    }
    x->s = (XhciState){.status = STS_HCH, .command_cycle = true};
    x->command_kick = false;
    memset(x->kick, 0, sizeof x->kick);
    for (unsigned n = 0; n < XHCI_INTRS_MAX; n++) {
        xhci_interrupter_reset(x, n);
    }
    xhci_ports_reset(x);
    xhci_interrupt_update(x);
}

/* 5.4.1. There is no state that a restore could find again: it fails, and drivers begin anew. */
static void xhci_write_cmd(Xhci *x, uint32_t value)
{
    if (value & CMD_HCRST) {
        xhci_reset_registers(x);
        return;
    }
    if (value & CMD_CRS) {
        x->s.status |= STS_SRE;
    }
    x->s.cmd = (x->s.cmd & CMD_RS) | (value & (CMD_INTE | CMD_HSEE | CMD_EWE | CMD_EU3S));
    if ((value & CMD_RS) && xhci_halted(x)) {
        x->s.cmd |= CMD_RS;
        xhci_start(x);
    } else if (!(value & CMD_RS) && !xhci_halted(x)) {
        xhci_halt(x, 0);
    }
    xhci_arm_wrap(x);
    xhci_interrupt_update(x);
}

/* Operational registers (5.4). */

static uint32_t xhci_operational_read(Xhci *x, unsigned offset)
{
    const XhciState *s = &x->s;

    switch (offset) {
    case REG_USBCMD:
        return s->cmd;
    case REG_USBSTS:
        return s->status;
    case REG_PAGESIZE:
        return 1; /* 4 KiB */
    case REG_DNCTRL:
        return s->dnctrl;
    case REG_CRCR:
        return s->command_running ? CRCR_CRR : 0;
    case REG_DCBAAP:
        return s->dcbaap;
    case REG_DCBAAP + 4:
        return s->dcbaap >> 32;
    case REG_CONFIG:
        return s->config;
    default:
        return 0;
    }
}

/* 5.4.5: commands are not interrupted, so that the ring stops at once. */
static void xhci_write_crcr(Xhci *x, uint32_t value)
{
    XhciState *s = &x->s;

    if (!s->command_running) {
        s->command = (s->command >> 32 << 32) | (value & ~0x3fu);
        s->command_cycle = value & CRCR_RCS;
    } else if (value & (CRCR_CS | CRCR_CA)) {
        s->command_running = false;
        if (pci_can_dma(&x->pci) && xhci_event_room(x, 0)) {
            xhci_event(x, 0, s->command, (uint32_t)CC_COMMAND_RING_STOPPED << 24,
                       EVENT_COMMAND << TRB_TYPE_SHIFT, true);
        }
        xhci_interrupt_update(x);
    }
}

static void xhci_operational_write(Xhci *x, unsigned offset, uint32_t value)
{
    XhciState *s = &x->s;

    switch (offset) {
    case REG_USBCMD:
        xhci_write_cmd(x, value);
        break;
    case REG_USBSTS:
        s->status &= ~(value & STS_W1C);
        break;
    case REG_DNCTRL:
        s->dnctrl = value & 0xffff;
        break;
    case REG_CRCR:
        xhci_write_crcr(x, value);
        break;
    case REG_CRCR + 4:
        if (!s->command_running) {
            s->command = (uint32_t)s->command | (uint64_t)value << 32;
        }
        break;
    case REG_DCBAAP:
        s->dcbaap = (s->dcbaap >> 32 << 32) | (value & ~0x3fu);
        break;
    case REG_DCBAAP + 4:
        s->dcbaap = (uint32_t)s->dcbaap | (uint64_t)value << 32;
        break;
    case REG_CONFIG:
        s->config = value & 0xff;
        break;
    }
}

/* 5.6. A stopped endpoint runs again by its doorbell (4.6.9). Streams there are none. */
static void xhci_doorbell(Xhci *x, unsigned slot, uint32_t value)
{
    unsigned target = value & 0xff;
    XhciEndpointState *ep;

    if (xhci_halted(x) || slot > x->slots || value >> 16) {
        return;
    }
    if (!slot) {
        if (!target) {
            x->s.command_running = true;
            xhci_kick(x, 0, 0);
        }
        return;
    }
    if (!target || target >= XHCI_ENDPOINTS) {
        return;
    }
    ep = &x->s.slot[slot].ep[target];
    if (ep->state == EP_STOPPED) {
        ep->state = EP_RUNNING;
        xhci_show_endpoint(x, slot, target);
    }
    if (ep->state == EP_RUNNING) {
        xhci_kick(x, slot, target);
    }
}

/* Capability registers (5.3). */
static uint32_t xhci_capability_read(Xhci *x, unsigned offset)
{
    uint8_t protocols[CAP_LENGTH - PROTOCOLS];

    switch (offset) {
    case REG_CAPLENGTH:
        return CAP_LENGTH | HCI_VERSION << 16;
    case REG_HCSPARAMS1:
        return x->slots | x->intrs << 8 | xhci_ports(x) << 24;
    case REG_HCSPARAMS2:
        return HCS2_IST;
    case REG_HCCPARAMS1:
        return HCC_AC64 | PROTOCOLS / 4 << 16;
    case REG_DBOFF:
        return DOORBELLS;
    case REG_RTSOFF:
        return RUNTIME;
    case PROTOCOLS ... CAP_LENGTH - 1:
        xhci_protocols(x, protocols);
        return ldle32(protocols + (offset - PROTOCOLS));
    default:
        return 0;
    }
}

static bool xhci_is_port(const Xhci *x, uint64_t offset)
{
    return offset >= PORTS && offset < PORTS + 16u * xhci_ports(x);
}

static bool xhci_is_interrupter(const Xhci *x, uint64_t offset)
{
    return offset >= INTERRUPTERS && offset < INTERRUPTERS + 32u * x->intrs;
}

static uint32_t xhci_read32(Xhci *x, uint64_t offset)
{
    if (offset < CAP_LENGTH) {
        return xhci_capability_read(x, offset);
    }
    if (xhci_is_port(x, offset)) {
        return xhci_port_read(x, (offset - PORTS) / 16, offset % 16);
    }
    if (offset < PORTS) {
        return xhci_operational_read(x, offset - OPERATIONAL);
    }
    if (offset == RUNTIME) {
        return xhci_mfindex(x);
    }
    if (xhci_is_interrupter(x, offset)) {
        return xhci_interrupter_read(x, (offset - INTERRUPTERS) / 32, offset % 32);
    }
    return 0;
}

/* Parts of a register may be read (HCIVERSION); registers are written whole. */
static uint64_t xhci_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return xhci_read32(container_of(region, Xhci, bar), offset & ~3ull) >> offset % 4 * 8;
}

static IoResult xhci_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Xhci *x = container_of(region, Xhci, bar);

    if (offset % 4) {
        return IO_OK;
    }
    if (xhci_is_port(x, offset)) {
        xhci_port_write(x, (offset - PORTS) / 16, offset % 16, value);
    } else if (offset >= OPERATIONAL && offset < PORTS) {
        xhci_operational_write(x, offset - OPERATIONAL, value);
    } else if (xhci_is_interrupter(x, offset)) {
        xhci_interrupter_write(x, (offset - INTERRUPTERS) / 32, offset % 32, value);
    } else if (offset >= DOORBELLS && offset < MSIX_TABLE) {
        xhci_doorbell(x, (offset - DOORBELLS) / 4, value);
    }
    return IO_OK;
}

/* 5.1: registers of 64 bits may be accessed by halves. */
static const IoRegionOps xhci_ops = {
    .read = xhci_read,
    .write = xhci_write,
    .valid_min = 1,
    .valid_max = 8,
    .impl_min = 4,
    .impl_max = 4,
};

/* The devices. */

static bool xhci_check_props(const Xhci *x, GError **err)
{
    if (x->p2 > XHCI_PORTS_MAX || x->p3 > XHCI_PORTS_MAX || !xhci_ports(x)) {
        return error_set(err,
                         "p2=%u, p3=%u: there can be up to %u ports of each kind, and one at "
                         "least",
                         x->p2, x->p3, XHCI_PORTS_MAX);
    }
    if (x->slots < 1 || x->slots > XHCI_SLOTS_MAX) {
        return error_set(err, "slots=%u: 1 to %u are possible", x->slots, XHCI_SLOTS_MAX);
    }
    if (x->intrs < 1 || x->intrs > XHCI_INTRS_MAX || (x->intrs & (x->intrs - 1))) {
        return error_set(err, "intrs=%u: 1, 2, 4, 8 and %u are possible", x->intrs, XHCI_INTRS_MAX);
    }
    return true;
}

static bool xhci_realize(Device *dev, GError **err)
{
    Xhci *x = xhci_of(dev);

    if (!xhci_check_props(x, err)) {
        return false;
    }
    x->pci.s.config[XHCI_SBRN] = 0x30;
    x->pci.s.config[XHCI_FLADJ] = 0x20;
    io_region_init(&x->bar, dev, &xhci_ops, "xhci", BAR_SIZE);
    pci_register_bar(&x->pci, 0, PCI_BAR_MEM64, &x->bar);
    if (x->msi != ON_OFF_AUTO_OFF) {
        pci_msi_init(&x->pci, x->intrs, true, false);
    }
    if (x->msix != ON_OFF_AUTO_OFF &&
        !pci_msix_init(&x->pci, x->intrs, 0, &x->bar, MSIX_TABLE, MSIX_PBA, err)) {
        return false;
    }
    x->work = device_bh_new(dev, xhci_work);
    x->wrap = device_timer_new(dev, CLOCK_VIRTUAL_NS, xhci_wrapped);
    usb_bus_init(&x->bus, dev->vm, dev);
    for (unsigned i = 0; i < MAX(x->p2, x->p3); i++) {
        unsigned speeds =
            (i < x->p2 ? USB_SPEEDS_2 : 0) | (i < x->p3 ? USB_SPEEDS_3 & ~USB_SPEEDS_2 : 0);

        usb_port_add(&x->bus, &x->ports[i], dev, NULL, i + 1, speeds, &xhci_port_ops);
    }
    return true;
}

static void xhci_unrealize(Device *dev)
{
    Xhci *x = xhci_of(dev);

    xhci_transfers_free(x);
    usb_bus_destroy(&x->bus);
    if (x->msix != ON_OFF_AUTO_OFF) {
        pci_msix_exit(&x->pci);
    }
}

static void xhci_reset(Device *dev, ResetKind kind)
{
    Xhci *x = xhci_of(dev);

    pci_device_reset(&x->pci);
    x->pci.s.config[XHCI_FLADJ] = 0x20;
    xhci_reset_registers(x);
}

static void xhci_run_state(Device *dev, bool running)
{
    Xhci *x = xhci_of(dev);

    x->running = running;
    if (running) {
        device_bh_schedule(x->work);
    }
}

/* The driver may have switched bus mastering on. */
static void xhci_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    device_bh_schedule(container_of(pci, Xhci, pci)->work);
}

static void xhci_pre_save(Device *dev)
{
    xhci_transfers_pre_save(xhci_of(dev));
}

enum { SECTION_PCI, SECTION_XHCI };

static bool xhci_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const XhciState *s = state;

    if (section == SECTION_PCI) {
        return pci_device_check_state(dev, section, state, err);
    }
    for (unsigned slot = 0; slot <= XHCI_SLOTS_MAX; slot++) {
        if (s->slot[slot].state >= SLOT_STATES || s->slot[slot].address > 127 ||
            (s->slot[slot].state && (!slot || slot > xhci_of(dev)->slots))) {
            return error_set(err, "%s: slot %u is in state %u, at address %u", dev->path, slot,
                             s->slot[slot].state, s->slot[slot].address);
        }
        for (unsigned dci = 0; dci < XHCI_ENDPOINTS; dci++) {
            if (s->slot[slot].ep[dci].state >= EP_STATES ||
                (s->slot[slot].ep[dci].state && (!dci || !s->slot[slot].state))) {
                return error_set(err, "%s: endpoint %u of slot %u is in state %u", dev->path, dci,
                                 slot, s->slot[slot].ep[dci].state);
            }
        }
    }
    return true;
}

static void xhci_post_load(Device *dev)
{
    Xhci *x = xhci_of(dev);

    pci_device_post_load(dev);
    xhci_transfers_free(x); /* of what was before */
    memset(x->kick, 0, sizeof x->kick);
    xhci_interrupt_update(x);
    xhci_arm_wrap(x);
    xhci_kick_all(x);
}

static const StateSection xhci_state[] = {
    [SECTION_PCI] = PCI_STATE(Xhci, pci),
    [SECTION_XHCI] = {xhci_state_desc, offsetof(Xhci, s)},
    {0},
};

#define XHCI_PORT_PROPS                                                                            \
    PROP("p2", PROP_UINT32, Xhci, p2, "4", "ports for USB 2"),                                     \
        PROP("p3", PROP_UINT32, Xhci, p3, "4", "ports for USB 3")

static const Property qemu_xhci_props[] = {XHCI_PORT_PROPS, PROP_END};

static const Property nec_xhci_props[] = {
    XHCI_PORT_PROPS,
    PROP("intrs", PROP_UINT32, Xhci, intrs, "16", "interrupters"),
    PROP("slots", PROP_UINT32, Xhci, slots, "64", "device slots"),
    PROP("msi", PROP_ON_OFF_AUTO, Xhci, msi, "auto", "MSI"),
    PROP("msix", PROP_ON_OFF_AUTO, Xhci, msix, "auto", "MSI-X"),
    PROP("superspeed-ports-first", PROP_BOOL, Xhci, super_first, "on",
         "ports for USB 3 come before those for USB 2"),
    PROP_END,
};

static bool qemu_xhci_realize(Device *dev, GError **err)
{
    Xhci *x = xhci_of(dev);

    x->intrs = XHCI_INTRS_MAX;
    x->slots = XHCI_SLOTS_MAX;
    x->msi = ON_OFF_AUTO_OFF;
    return xhci_realize(dev, err);
}

#define XHCI_CLASS(id, class_name, text, vendor, device, rev, begin, properties)                   \
    static const PciDeviceInfo id##_info = {                                                       \
        .vendor_id = (vendor),                                                                     \
        .device_id = (device),                                                                     \
        .revision = (rev),                                                                         \
        .prog_if = 0x30,                                                                           \
        .class_id = PCI_CLASS_SERIAL_USB,                                                          \
        .interrupt_pin = 1,                                                                        \
        .config_written = xhci_config_written,                                                     \
    };                                                                                             \
    const DeviceClass id##_class = {                                                               \
        .name = (class_name),                                                                      \
        .bus = "PCI",                                                                              \
        .desc = (text),                                                                            \
        .category = DEVICE_CATEGORY_USB,                                                           \
        .size = sizeof(Xhci),                                                                      \
        .props = (properties),                                                                     \
        .bus_props = pci_device_props,                                                             \
        .bus_data = &id##_info,                                                                    \
        .state = xhci_state,                                                                       \
        .realize = (begin),                                                                        \
        .unrealize = xhci_unrealize,                                                               \
        .reset = xhci_reset,                                                                       \
        .pre_save = xhci_pre_save,                                                                 \
        .check_state = xhci_check_state,                                                           \
        .post_load = xhci_post_load,                                                               \
        .run_state = xhci_run_state,                                                               \
        .hotpluggable = true,                                                                      \
        .object_parent = "pci-xhci",                                                               \
    }
XHCI_CLASS(qemu_xhci, "qemu-xhci", "USB 3 controller (QEMU)", PCI_VENDOR_ID_REDHAT, 0x000d, 1,
           qemu_xhci_realize, qemu_xhci_props);
XHCI_CLASS(nec_usb_xhci, "nec-usb-xhci", "USB 3 controller (NEC uPD720200)", 0x1033, 0x0194, 3,
           xhci_realize, nec_xhci_props);

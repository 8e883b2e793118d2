/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The south bridge's function 0, a PCI-to-ISA bridge. It routes the four PCI interrupts to ISA
 * IRQs, resets the machine through port 0xcf9, and offers the ISA bus, whose devices share its
 * lock. (Intel 82371FB/82371SB (PIIX/PIIX3) data sheet, 290550. Sections below are this data
 * sheet's.)
 */
#include "chipset.h"

#define PIIX3_STATE(X) X(F, uint8_t, rcr)
STATE_STRUCT(Piix3State, PIIX3_STATE);
STATE_DESC(piix3, Piix3State, PIIX3_STATE, 1);

typedef struct {
    PciDevice pci;
    Piix3State s;
    IsaBus isa;
    IrqPin pirq[4]; /* inputs PIRQA..D, from the slots */
    IrqLine out[4]; /* to the ISA IRQs that the PIRQRC registers select */
} Piix3;

enum {
    PIRQRC_DISABLE = 0x80, /* 2.2.5 */
    RCR_HARD = 0x02,       /* 2.5.4.3 */
    RCR_RESET = 0x04,
};

/* The PIRQ that a slot's pin is wired to on the 'pc' board: device 1 INTA is PIRQA. */
static unsigned piix3_map_irq(PciDevice *pci, unsigned pin)
{
    return PCI_SLOT(pci->devfn) + pin - 1;
}

static void pirq_set(Device *owner, unsigned n, bool level)
{
    irq_set_nested(owner->vm, &container_of(owner, Piix3, pci.dev)->out[n], level);
}

static void piix3_update_routes(Piix3 *d)
{
    Vm *vm = d->pci.dev.vm;

    for (unsigned i = 0; i < 4; i++) {
        uint8_t route = d->pci.s.config[PIIX_PIRQRC + i];

        irq_connect(&d->pci.dev, &d->out[i],
                    route & PIRQRC_DISABLE ? NULL : irq_gsi(vm, route & 0x0f));
    }
}

static void piix3_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    if (offset < PIIX_PIRQRC + 4 && offset + len > PIIX_PIRQRC) {
        piix3_update_routes(container_of(pci, Piix3, pci));
    }
}

static uint8_t rcr_read(Device *owner)
{
    Piix3 *d = container_of(owner, Piix3, pci.dev);
    uint8_t value;

    device_lock(owner);
    value = d->s.rcr;
    device_unlock(owner);
    return value;
}

static void rcr_write(Device *owner, uint8_t value)
{
    Piix3 *d = container_of(owner, Piix3, pci.dev);

    device_lock(owner);
    d->s.rcr = value & RCR_HARD;
    device_unlock(owner);
    if (value & RCR_RESET) {
        vm_request_reset(owner->vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static bool piix3_realize(Device *dev, GError **err)
{
    Piix3 *d = container_of(dev, Piix3, pci.dev);
    PciBus *bus = pci_bus_of(&d->pci);

    stle16(d->pci.s.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    memset(d->pci.wmask + 0x40, 0xff, 0x6c); /* ISA timings, power management: stored only */
    memset(d->pci.wmask + PIIX_PIRQRC, PIRQRC_DISABLE | 0x0f, 4);
    for (unsigned i = 0; i < 4; i++) {
        irq_pin_init(&d->pirq[i], dev, pirq_set, i);
    }
    bus->map_irq = piix3_map_irq;
    pci_bus_set_irq_pins(bus, d->pirq, ARRAY_SIZE(d->pirq));
    i440fx_set_reset_control(bus->bus.parent, dev, rcr_read, rcr_write);
    isa_bus_init(&d->isa, dev->vm, dev);
    return true;
}

static void piix3_unrealize(Device *dev)
{
    Piix3 *d = container_of(dev, Piix3, pci.dev);
    PciBus *bus = pci_bus_of(&d->pci);

    bus_destroy(&d->isa.bus);
    i440fx_set_reset_control(bus->bus.parent, NULL, NULL, NULL);
    pci_bus_set_irq_pins(bus, NULL, 0);
    for (unsigned i = 0; i < 4; i++) {
        irq_connect(dev, &d->out[i], NULL);
    }
}

static void piix3_reset(Device *dev, ResetKind kind)
{
    static const struct {
        uint8_t offset, value;
    } defaults[] = {
        {0x4c, 0x4d}, /* I/O recovery (2.2.1) */
        {0x4e, 0x03}, /* X-bus chip selects */
        {0x60, 0x80}, {0x61, 0x80}, {0x62, 0x80}, {0x63, 0x80}, {0x69, 0x02}, /* top of memory */
        {0x70, 0x80},               /* motherboard device IRQ */
        {0x76, 0x0c}, {0x77, 0x0c}, /* motherboard device DMA */
        {0x78, 0x02},               /* programmable chip select */
        {0xa0, 0x08},               /* SMI control */
        {0xa8, 0x0f},               /* fast-off timer */
    };
    Piix3 *d = container_of(dev, Piix3, pci.dev);

    pci_device_reset(&d->pci);
    memset(d->pci.s.config + 0x40, 0, 0x6c);
    for (unsigned i = 0; i < ARRAY_SIZE(defaults); i++) {
        d->pci.s.config[defaults[i].offset] = defaults[i].value;
    }
    d->s.rcr = 0;
    piix3_update_routes(d);
}

static void piix3_post_load(Device *dev)
{
    pci_device_post_load(dev);
    piix3_update_routes(container_of(dev, Piix3, pci.dev));
}

static const StateSection piix3_state[] = {
    PCI_STATE(Piix3, pci),
    {piix3_state_desc, offsetof(Piix3, s)},
    {0},
};

static const PciDeviceInfo piix3_info = {
    .vendor_id = PCI_VENDOR_ID_INTEL,
    .device_id = 0x7000,
    .class_id = PCI_CLASS_BRIDGE_ISA,
    .multifunction = true,
    .config_written = piix3_config_written,
};

const DeviceClass piix3_class = {
    .name = "PIIX3",
    .bus = "PCI",
    .desc = "ISA bridge: interrupt routing, reset",
    .category = DEVICE_CATEGORY_BRIDGE,
    .size = sizeof(Piix3),
    .bus_props = pci_device_props,
    .bus_data = &piix3_info,
    .state = piix3_state,
    .realize = piix3_realize,
    .unrealize = piix3_unrealize,
    .reset = piix3_reset,
    .check_state = pci_device_check_state,
    .post_load = piix3_post_load,
    .internal = true,
    .object_parent = "pci-device",
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power management: the PIIX4's function 3, in the slot of a PIIX3. It has ACPI's fixed hardware
 * (status, enable, control, timer), a general purpose event block, the port that switches ACPI on
 * and off, the hot-plug registers that use the events, and the SMBus. (Intel 82371AB (PIIX4) data
 * sheet, 290562, section 7; ACPI Specification 6.4, 4.8. Sections below are the data sheet's unless
 * marked ACPI.)
 */
#include "acpi_hotplug.h"
#include "chipset.h"
#include "piix4_smbus.h"

#include "base/error.h"

#define PM1_STATE(X)                                                                               \
    X(F, uint16_t, sts)                                                                            \
    X(F, uint16_t, en)                                                                             \
    X(F, uint16_t, cnt)                                                                            \
    X(F, int64_t, timer_overflow) /* tick of the PM timer at which TMR_STS is set */               \
    X(A, uint8_t, gpe, 4)         /* two bytes of status, two of enable */                         \
    X(F, uint8_t, apmc)                                                                            \
    X(F, uint8_t, apms)
STATE_STRUCT(Pm1State, PM1_STATE);
STATE_DESC(piix4_pm, Pm1State, PM1_STATE, 1);

typedef struct {
    PciDevice pci;
    Pm1State s;
    IoRegion pm_io, gpe_io, apm_io;
    IrqLine sci;
    DeviceTimer *timer;
    AcpiPcihp pcihp;
    AcpiCpuhp cpuhp;
    Piix4Smbus smbus;
    /* Properties. */
    uint8_t disable_s3, disable_s4, s4_val;
    bool bridge_hotplug, root_hotplug, memory_hotplug, smm;
} Piix4Pm;

#define PM_TIMER_HZ       3579545
#define PM_TIMER_MASK     0xffffff /* 24 bits: the FADT's TMR_VAL_EXT is clear */
#define PM_TIMER_HALF     0x800000 /* a change of bit 23 sets TMR_STS (ACPI 4.8.3.3) */
#define SCI_IRQ           9
#define PM_IO_SIZE        64
#define GPE_SIZE          4
#define DEVACTB_APMC_BYTE 0x5b /* 7.1.13, bits 31:24 */

/* PM1 (ACPI 4.8.3, tables 4.15 to 4.17). */
enum {
    PM1_STS = 0x00,
    PM1_EN = 0x02,
    PM1_CNT = 0x04,
    PM1_TMR = 0x08,

    TMR_STS = BIT(0),
    GBL_STS = BIT(5),
    PWRBTN_STS = BIT(8),
    SLPBTN_STS = BIT(9),
    RTC_STS = BIT(10),
    WAK_STS = BIT(15),
    PM1_EVENTS = TMR_STS | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS, /* same bits in PM1_EN */
    PM1_STS_BITS = PM1_EVENTS | BIT(4) | BIT(14) | WAK_STS,

    SCI_EN = BIT(0),
    GBL_RLS = BIT(2),
    SLP_TYP_SHIFT = 10,
    SLP_EN = BIT(13),
};
/* SLP_TYP's values are chosen by the board and given to the guest by the DSDT's \_Sx objects. */
enum {
    SLP_TYP_S5 = 0,
    SLP_TYP_S3 = 1,
};
enum {
    GPE_PCI_HOTPLUG = BIT(1),
};

static Piix4Pm *to_pm(Device *dev)
{
    return container_of(dev, Piix4Pm, pci.dev);
}

/* SCI. */

static void update_sci(Piix4Pm *d)
{
    bool fixed = d->s.sts & d->s.en & PM1_EVENTS;
    bool gpe = (d->s.gpe[0] & d->s.gpe[2]) || (d->s.gpe[1] & d->s.gpe[3]);

    /* Without SCI_EN events are SMIs (ACPI 4.8.2.5), which do not exist here. */
    irq_set(d->pci.dev.vm, &d->sci, (d->s.cnt & SCI_EN) && (fixed || gpe));
}

/* PM timer. */

static int64_t ticks_now(void)
{
    return (int64_t)((__int128)clock_ns(CLOCK_VIRTUAL_NS) * PM_TIMER_HZ / NS_PER_SEC);
}

/* Sets TMR_STS if bit 23 has changed since timer_overflow was computed. */
static void check_timer(Piix4Pm *d)
{
    if (ticks_now() >= d->s.timer_overflow) {
        d->s.sts |= TMR_STS;
    }
}

/* Arms the timer only if TMR_STS is enabled and still clear: no other state causes wake-ups. */
static void update_timer(Piix4Pm *d)
{
    check_timer(d);
    if ((d->s.en & TMR_STS) && !(d->s.sts & TMR_STS)) {
        __int128 ns = (__int128)d->s.timer_overflow * NS_PER_SEC;

        device_timer_arm(d->timer, (int64_t)((ns + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
    } else {
        device_timer_cancel(d->timer);
    }
    update_sci(d);
}

static void pm_timer_fired(Device *dev)
{
    update_timer(to_pm(dev));
}

static void restart_timer(Piix4Pm *d)
{
    d->s.timer_overflow = (ticks_now() & ~(int64_t)(PM_TIMER_HALF - 1)) + PM_TIMER_HALF;
}

/* Sleep. */

static void enter_sleep(Piix4Pm *d, unsigned type)
{
    Vm *vm = d->pci.dev.vm;

    if (type == SLP_TYP_S5) {
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    } else if (type == SLP_TYP_S3 && !d->disable_s3) {
        vm_request_suspend(vm);
    } else if (type == d->s4_val && !d->disable_s4) {
        vm_event(vm, VM_EVENT_SUSPEND_DISK, NULL);
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    }
}

/* PM1 block. */

static uint64_t pm_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Piix4Pm *d = to_pm(region->owner);
    uint8_t image[PM_IO_SIZE + 8] = {0};

    check_timer(d);
    stle16(image + PM1_STS, d->s.sts);
    stle16(image + PM1_EN, d->s.en);
    stle16(image + PM1_CNT, d->s.cnt);
    stle32(image + PM1_TMR, ticks_now() & PM_TIMER_MASK);
    return ldle64(image + offset);
}

static void pm_write_status(Piix4Pm *d, uint16_t clear)
{
    check_timer(d);
    if (clear & d->s.sts & TMR_STS) {
        restart_timer(d);
    }
    d->s.sts &= ~(clear & PM1_STS_BITS);
    update_timer(d);
}

static void pm_write_control(Piix4Pm *d, uint16_t value)
{
    d->s.cnt = value & ~(SLP_EN | GBL_RLS);
    update_sci(d);
    if (value & SLP_EN) {
        enter_sleep(d, value >> SLP_TYP_SHIFT & 7);
    }
}

/* A write may cover part of a register. The other bytes keep their values; PM1_STS's are 0 in the
 * image, so that they clear nothing. */
static IoResult pm_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *d = to_pm(region->owner);
    uint8_t image[PM_IO_SIZE + 8] = {0}, bytes[8];
    bool status, enable, control;

    stle16(image + PM1_EN, d->s.en);
    stle16(image + PM1_CNT, d->s.cnt);
    stle64(bytes, value);
    memcpy(image + offset, bytes, size);
    status = offset < PM1_STS + 2;
    enable = offset < PM1_EN + 2 && offset + size > PM1_EN;
    control = offset < PM1_CNT + 2 && offset + size > PM1_CNT;
    if (status) {
        pm_write_status(d, ldle16(image + PM1_STS));
    }
    if (enable) {
        d->s.en = ldle16(image + PM1_EN) & (PM1_EVENTS | BIT(14));
        update_timer(d);
    }
    if (control) {
        pm_write_control(d, ldle16(image + PM1_CNT));
    }
    return IO_OK;
}

static const IoRegionOps pm_ops = {
    .read = pm_read,
    .write = pm_write,
    .valid_min = 1,
    .valid_max = 4,
};

/* General purpose events (ACPI 4.8.4.1): writing ones clears status bits. */

static uint64_t gpe_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return to_pm(region->owner)->s.gpe[offset];
}

static IoResult gpe_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *d = to_pm(region->owner);

    if (offset < GPE_SIZE / 2) {
        d->s.gpe[offset] &= ~value;
    } else {
        d->s.gpe[offset] = value;
    }
    update_sci(d);
    return IO_OK;
}

static const IoRegionOps gpe_ops = {
    .read = gpe_read,
    .write = gpe_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

static void pci_slots_changed(Device *dev)
{
    Piix4Pm *d = to_pm(dev);

    d->s.gpe[0] |= GPE_PCI_HOTPLUG;
    update_sci(d);
}

/* Advanced power management ports (7.2). The guest switches to ACPI mode here. */

static uint64_t apm_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Piix4Pm *d = to_pm(region->owner);

    return offset ? d->s.apms : d->s.apmc;
}

static IoResult apm_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *d = to_pm(region->owner);

    if (offset) {
        d->s.apms = value;
        return IO_OK;
    }
    d->s.apmc = value;
    /* The FADT's SMI_CMD. On a PC the write causes an SMI, whose handler changes SCI_EN. */
    if (value == PIIX4_ACPI_ENABLE) {
        d->s.cnt |= SCI_EN;
    } else if (value == PIIX4_ACPI_DISABLE) {
        d->s.cnt &= ~SCI_EN;
    }
    update_sci(d);
    return IO_OK;
}

static const IoRegionOps apm_ops = {
    .read = apm_read,
    .write = apm_write,
    .valid_min = 1,
    .valid_max = 2,
    .impl_min = 1,
    .impl_max = 1,
};

/* Configuration space holds the ports of PM1 block and SMBus (7.1.10, 7.1.16, 7.1.29). */

uint16_t piix4_pm_base(Device *dev)
{
    const PciDevice *pci = &to_pm(dev)->pci;

    return pci->s.config[PIIX4_PMREGMISC] & 1 ? pci_config16(pci, PIIX4_PMBA) & 0xffc0 : 0;
}

static void update_ports(Piix4Pm *d)
{
    Vm *vm = d->pci.dev.vm;
    uint16_t base = piix4_pm_base(&d->pci.dev);
    bool smbus = d->pci.s.config[PIIX4_SMBHSTCFG] & 1;

    memory_transaction_begin(vm);
    if (!base) {
        io_region_unmap(vm, &d->pm_io);
    } else if (!d->pm_io.mapped || d->pm_io.addr != base) {
        io_region_map(vm, &d->pm_io, IO_SPACE_PIO, base, 0);
    }
    piix4_smbus_map(&d->smbus, vm, smbus ? pci_config16(&d->pci, PIIX4_SMBBA) & 0xfff0 : 0);
    memory_transaction_commit(vm);
}

static void pm_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    update_ports(container_of(pci, Piix4Pm, pci));
}

/* Notifiers of the VM. Main loop, without the lock. */

static void power_button(void *data)
{
    Piix4Pm *d = data;
    Device *dev = &d->pci.dev;

    if (vm_asleep(dev->vm)) {
        vm_request_wakeup(dev->vm, "power button");
        return;
    }
    device_lock(dev);
    d->s.sts |= PWRBTN_STS;
    update_sci(d);
    device_unlock(dev);
}

static void pm_woken(void *data)
{
    Piix4Pm *d = data;

    device_lock(&d->pci.dev);
    d->s.sts |= WAK_STS;
    device_unlock(&d->pci.dev);
}

/* The PCI bus's hot-plug callbacks. Main loop, without the lock. */

static void slot_filled(Device *controller, PciDevice *pci)
{
    acpi_pcihp_plugged(&to_pm(controller)->pcihp, pci);
}

static bool slot_wanted(Device *controller, PciDevice *pci, bool *gone, GError **err)
{
    *gone = false;
    return acpi_pcihp_unplug_request(&to_pm(controller)->pcihp, pci, err);
}

static void slot_emptied(Device *controller, PciDevice *pci)
{
    acpi_pcihp_detached(&to_pm(controller)->pcihp, pci);
}

/* Life. */

static void init_config(PciDevice *pci)
{
    stle16(pci->s.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    stle16(pci->wmask + PIIX4_PMBA, 0xffc0);
    memset(pci->wmask + 0x44, 0xff, 0x3c); /* device monitors: stored only */
    pci->wmask[PIIX4_PMREGMISC] = 0x01;
    stle16(pci->wmask + PIIX4_SMBBA, 0xfff0);
    memset(pci->wmask + PIIX4_SMBHSTCFG, 0xff, 4);
}

static bool pm_realize(Device *dev, GError **err)
{
    Piix4Pm *d = to_pm(dev);
    PciBus *bus = pci_bus_of(&d->pci);
    PciDevice *isa_bridge = pci_find_device(bus, d->pci.devfn & ~7);

    if (!isa_bridge || isa_bridge == &d->pci) {
        return error_set(err, "PIIX4_PM: there is no ISA bridge at function 0 of its slot");
    }
    /* One lock for the south bridge: both are functions of one chip. */
    device_share_lock(dev, &isa_bridge->dev);
    init_config(&d->pci);
    d->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, pm_timer_fired);
    irq_connect(dev, &d->sci, irq_gsi(dev->vm, SCI_IRQ));
    io_region_init(&d->pm_io, dev, &pm_ops, "piix4-pm", PM_IO_SIZE);
    io_region_init(&d->gpe_io, dev, &gpe_ops, "acpi-gpe0", GPE_SIZE);
    io_region_init(&d->apm_io, dev, &apm_ops, "apm-io", 2);
    io_region_map(dev->vm, &d->gpe_io, IO_SPACE_PIO, PIIX4_GPE_BASE, 0);
    io_region_map(dev->vm, &d->apm_io, IO_SPACE_PIO, PIIX4_SMI_CMD, 0);
    piix4_smbus_init(&d->smbus, dev);
    d->pcihp.legacy = !d->bridge_hotplug;
    d->pcihp.off = !d->root_hotplug;
    acpi_pcihp_init(&d->pcihp, dev, bus, pci_slots_changed);
    bus->hotplug_controller = dev;
    bus->hotplug = slot_filled;
    bus->unplug_request = slot_wanted;
    bus->detached = slot_emptied;
    acpi_cpuhp_init(&d->cpuhp, dev);
    vm_notifier_add(dev->vm, VM_NOTIFY_POWERDOWN, power_button, d);
    vm_notifier_add(dev->vm, VM_NOTIFY_WAKEUP, pm_woken, d);
    return true;
}

static void pm_unrealize(Device *dev)
{
    Piix4Pm *d = to_pm(dev);
    PciBus *bus = pci_bus_of(&d->pci);

    vm_notifier_remove(dev->vm, VM_NOTIFY_WAKEUP, pm_woken, d);
    vm_notifier_remove(dev->vm, VM_NOTIFY_POWERDOWN, power_button, d);
    bus->hotplug_controller = NULL;
    acpi_cpuhp_exit(&d->cpuhp, dev);
    acpi_pcihp_exit(&d->pcihp);
    piix4_smbus_map(&d->smbus, dev->vm, 0);
    io_region_unmap(dev->vm, &d->pm_io);
    io_region_unmap(dev->vm, &d->gpe_io);
    io_region_unmap(dev->vm, &d->apm_io);
    irq_lower(dev->vm, &d->sci);
    irq_connect(dev, &d->sci, NULL);
}

static void pm_reset(Device *dev, ResetKind kind)
{
    Piix4Pm *d = to_pm(dev);
    uint8_t *config = d->pci.s.config;

    pci_device_reset(&d->pci);
    memset(config + 0x40, 0, PCI_CONFIG_SIZE - 0x40);
    config[PIIX4_PMBA] = 1; /* bit 0 of both bases is hard-wired to 1: I/O space */
    config[PIIX4_SMBBA] = 1;
    config[0x5f] = 0x10;
    config[0x63] = 0x60;
    /*
     * APMC_EN is set though there are no SMIs: firmware takes it as a sign that system management
     * mode is set up already, and does not try to.
     */
    config[DEVACTB_APMC_BYTE] = 0x02;
    d->s = (Pm1State){0};
    restart_timer(d);
    update_timer(d);
    acpi_pcihp_reset(&d->pcihp);
    piix4_smbus_reset(&d->smbus);
    update_ports(d);
}

static void pm_post_load(Device *dev)
{
    Piix4Pm *d = to_pm(dev);

    pci_device_post_load(dev);
    update_ports(d);
    update_timer(d);
}

static const Property pm_props[] = {
    PROP("disable_s3", PROP_UINT8, Piix4Pm, disable_s3, "0", "no suspend to RAM"),
    PROP("disable_s4", PROP_UINT8, Piix4Pm, disable_s4, "0", "no suspend to disk"),
    PROP("s4_val", PROP_UINT8, Piix4Pm, s4_val, "2", "SLP_TYP of suspend to disk"),
    PROP("acpi-pci-hotplug-with-bridge-support", PROP_BOOL, Piix4Pm, bridge_hotplug, "on",
         "later form of the PCI hot-plug registers"),
    PROP("acpi-root-pci-hotplug", PROP_BOOL, Piix4Pm, root_hotplug, "on",
         "devices of the root bus can be plugged while the guest runs"),
    {
        .name = "memory-hotplug-support",
        .type = PROP_BOOL,
        .offset = offsetof(Piix4Pm, memory_hotplug),
        .defval = "off",
        .help = "memory can be plugged while the guest runs",
        .flags = PROP_FLAG_FIXED,
    },
    {
        .name = "smm-enabled",
        .type = PROP_BOOL,
        .offset = offsetof(Piix4Pm, smm),
        .defval = "off",
        .help = "system management interrupts",
        .flags = PROP_FLAG_FIXED,
    },
    PROP_END,
};

static const StateSection pm_state[] = {
    PCI_STATE(Piix4Pm, pci),
    {piix4_pm_state_desc, offsetof(Piix4Pm, s)},
    {acpi_pcihp_state_desc, offsetof(Piix4Pm, pcihp.s)},
    {piix4_smbus_state_desc, offsetof(Piix4Pm, smbus.s)},
    {0},
};

static const PciDeviceInfo pm_info = {
    .vendor_id = PCI_VENDOR_ID_INTEL,
    .device_id = 0x7113,
    .revision = 3,
    .class_id = PCI_CLASS_BRIDGE_OTHER,
    .interrupt_pin = 1,
    .config_written = pm_config_written,
};

const DeviceClass piix4_pm_class = {
    .name = "PIIX4_PM",
    .bus = "PCI",
    .desc = "power management: ACPI events, timer, sleep, hot-plug",
    .category = DEVICE_CATEGORY_BRIDGE,
    .size = sizeof(Piix4Pm),
    .props = pm_props,
    .bus_props = pci_device_props,
    .bus_data = &pm_info,
    .state = pm_state,
    .realize = pm_realize,
    .unrealize = pm_unrealize,
    .reset = pm_reset,
    .check_state = pci_device_check_state,
    .post_load = pm_post_load,
    .internal = true,
    .object_parent = "pci-device",
};

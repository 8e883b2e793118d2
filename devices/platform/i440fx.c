/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The north bridge. I440fxHost has the ports of PCI configuration mechanism #1, 0xcf8 and 0xcfc.
 * I440fx is the PCI function 00:00.0, whose PAM registers select RAM or ROM between 768 KiB and
 * 1 MiB. (Intel 440FX PCIset: 82441FX PMC and 82442FX DBX data sheet, 290549. Sections below are
 * this data sheet's.)
 */
#include "chipset.h"

/* The host bridge as the CPU sees it. */

#define I440FX_HOST_STATE(X) X(F, uint32_t, config_address) /* atomic: no lock guards it */
STATE_STRUCT(I440fxHostState, I440FX_HOST_STATE);
STATE_DESC(i440fx_host, I440fxHostState, I440FX_HOST_STATE, 1);

typedef struct {
    Device dev;
    I440fxHostState s;
    PciBus pci;
    IoRegion address_port, data_port;
    Device *reset_control; /* owner of port 0xcf9; NULL: none */
    uint8_t (*reset_control_read)(Device *owner);
    void (*reset_control_write)(Device *owner, uint8_t value);
} I440fxHost;

enum {
    CONFIG_ADDRESS_PORT = 0xcf8,
    RESET_CONTROL_OFFSET = 1,
    CONFIG_DATA_PORT = 0xcfc,
    CONFIG_PORT_PRIORITY = 2, /* above PCI_BAR_PRIORITY_IO: a BAR must not hide these ports */
};
#define CONFIG_ENABLE 0x80000000u
/* Bus, device, function and register. As in QEMU, bits 1:0 count: they are or'ed to the data port's
 * offset. */
#define CONFIG_TARGET 0x00ffffffu

static uint64_t address_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I440fxHost *h = container_of(region, I440fxHost, address_port);

    if (size == 1 && offset == RESET_CONTROL_OFFSET && h->reset_control) {
        return h->reset_control_read(h->reset_control);
    }
    return __atomic_load_n(&h->s.config_address, __ATOMIC_RELAXED) >> (offset * 8);
}

/* Only a write of 32 bits sets the address; narrower ones are forwarded to the bus (3.1.1). */
static IoResult address_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I440fxHost *h = container_of(region, I440fxHost, address_port);

    if (size == 4) {
        __atomic_store_n(&h->s.config_address, value, __ATOMIC_RELAXED);
    } else if (size == 1 && offset == RESET_CONTROL_OFFSET && h->reset_control) {
        h->reset_control_write(h->reset_control, value);
    }
    return IO_OK;
}

static const IoRegionOps address_ops = {
    .read = address_read,
    .write = address_write,
    .valid_min = 1,
    .valid_max = 4,
    .lockless = true,
};

static uint64_t i440fx_data_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I440fxHost *h = container_of(region, I440fxHost, data_port);
    uint32_t addr = __atomic_load_n(&h->s.config_address, __ATOMIC_RELAXED);

    if (!(addr & CONFIG_ENABLE)) {
        return UINT64_MAX;
    }
    return pci_config_read(&h->pci, (addr & CONFIG_TARGET) | offset, size);
}

static IoResult i440fx_data_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I440fxHost *h = container_of(region, I440fxHost, data_port);
    uint32_t addr = __atomic_load_n(&h->s.config_address, __ATOMIC_RELAXED);

    if (addr & CONFIG_ENABLE) {
        pci_config_write(&h->pci, (addr & CONFIG_TARGET) | offset, value, size);
    }
    return IO_OK;
}

static const IoRegionOps data_ops = {
    .read = i440fx_data_read,
    .write = i440fx_data_write,
    .valid_min = 1,
    .valid_max = 4,
    .lockless = true,
};

void i440fx_set_reset_control(Device *host, Device *owner, uint8_t (*read)(Device *owner),
                              void (*write)(Device *owner, uint8_t value))
{
    I440fxHost *h = container_of(host, I440fxHost, dev);

    h->reset_control = owner;
    h->reset_control_read = read;
    h->reset_control_write = write;
}

static bool host_realize(Device *dev, GError **err)
{
    I440fxHost *h = container_of(dev, I440fxHost, dev);

    pci_bus_init(&h->pci, dev->vm, dev, NULL);
    io_region_init(&h->address_port, dev, &address_ops, "pci-conf-idx", 4);
    io_region_init(&h->data_port, dev, &data_ops, "pci-conf-data", 4);
    io_region_map(dev->vm, &h->address_port, IO_SPACE_PIO, CONFIG_ADDRESS_PORT,
                  CONFIG_PORT_PRIORITY);
    io_region_map(dev->vm, &h->data_port, IO_SPACE_PIO, CONFIG_DATA_PORT, CONFIG_PORT_PRIORITY);
    return true;
}

static void host_unrealize(Device *dev)
{
    I440fxHost *h = container_of(dev, I440fxHost, dev);

    io_region_unmap(dev->vm, &h->address_port);
    io_region_unmap(dev->vm, &h->data_port);
    pci_bus_destroy(&h->pci);
}

static void host_reset(Device *dev, ResetKind kind)
{
    I440fxHost *h = container_of(dev, I440fxHost, dev);

    __atomic_store_n(&h->s.config_address, 0, __ATOMIC_RELAXED);
}

static const StateSection host_state[] = {
    {i440fx_host_state_desc, offsetof(I440fxHost, s)},
    {0},
};

const DeviceClass i440fx_pcihost_class = {
    .name = "i440FX-pcihost",
    .bus = "System",
    .desc = "host bridge: PCI configuration ports",
    .category = DEVICE_CATEGORY_BRIDGE,
    .size = sizeof(I440fxHost),
    .state = host_state,
    .realize = host_realize,
    .unrealize = host_unrealize,
    .reset = host_reset,
    .internal = true,
    .object_parent = "pci-host-bridge",
};

/* The 82441FX: function 0 of device 0. */

#define SEGMENT_COUNT 13
#define HOLE_START    0xc0000
#define HOLE_END      0x100000
#define ISA_BIOS_MAX  (128 * KiB)

/* PAM: each segment's two bits (3.2.12). */
enum {
    PAM_READ = 1,  /* reads go to RAM, not to ROM */
    PAM_WRITE = 2, /* writes go to RAM, not to the bus */
};

typedef struct {
    PciDevice pci;
    RamBlock *ram, *bios;
    uint64_t bios_offset; /* of isa_bios in the block 'bios' */
    IoRegion isa_bios;
    IoRegion shadow[SEGMENT_COUNT];     /* RAM */
    IoRegion write_only[SEGMENT_COUNT]; /* reads of ROM, writes to RAM */
} I440fx;

static uint64_t segment_address(unsigned n)
{
    return n ? HOLE_START + (n - 1) * 16 * KiB : 0xf0000;
}

static uint64_t segment_size(unsigned n)
{
    return n ? 16 * KiB : 64 * KiB;
}

static unsigned segment_mode(const I440fx *d, unsigned n)
{
    unsigned reg = I440FX_PAM0 + (n + 1) / 2;

    return d->pci.s.config[reg] >> (n % 2 ? 0 : 4) & (PAM_READ | PAM_WRITE);
}

/* The ROM at addr behind the PAM segments; NULL: none. */
static const uint8_t *rom_behind(const I440fx *d, uint64_t addr)
{
    if (!d->bios || addr < HOLE_END - d->isa_bios.size) {
        return NULL;
    }
    return d->bios->host + d->bios_offset + (addr - (HOLE_END - d->isa_bios.size));
}

static uint64_t write_only_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I440fx *d = container_of(region->owner, I440fx, pci.dev);
    const uint8_t *rom = rom_behind(d, segment_address(region->index));
    uint8_t bytes[8] = {0};

    if (!rom) {
        return UINT64_MAX;
    }
    memcpy(bytes, rom + offset, size);
    return ldle64(bytes);
}

/*
 * The mode PAM_WRITE alone serves firmware that copies itself in place: it reads ROM and writes RAM
 * at the same address. Both accesses trap, so KVM cannot execute code in such a segment. Firmware
 * runs from below 4 GiB meanwhile.
 */
static IoResult write_only_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I440fx *d = container_of(region->owner, I440fx, pci.dev);
    uint64_t addr = segment_address(region->index) + offset;
    uint8_t bytes[8];

    stle64(bytes, value);
    memcpy(d->ram->host + addr, bytes, size);
    memory_mark_dirty(d->pci.dev.vm, d->ram, addr, size);
    return IO_OK;
}

static const IoRegionOps write_only_ops = {
    .read = write_only_read,
    .write = write_only_write,
    .valid_min = 1,
    .valid_max = 8,
    .unaligned = true,
};

static void map_segment(I440fx *d, unsigned n)
{
    Vm *vm = d->pci.dev.vm;
    unsigned mode = segment_mode(d, n);
    IoRegion *shown = mode & PAM_READ ? &d->shadow[n] : mode ? &d->write_only[n] : NULL;

    if (shown != &d->shadow[n]) {
        io_region_unmap(vm, &d->shadow[n]);
    }
    if (shown != &d->write_only[n]) {
        io_region_unmap(vm, &d->write_only[n]);
    }
    if (mode & PAM_READ) {
        io_region_set_readonly(vm, &d->shadow[n], !(mode & PAM_WRITE));
    }
    if (shown && !shown->mapped) {
        io_region_map(vm, shown, IO_SPACE_MEM, segment_address(n), I440FX_PAM_PRIORITY);
    }
}

static void update_pam(I440fx *d)
{
    if (!d->ram) {
        return;
    }
    memory_transaction_begin(d->pci.dev.vm);
    for (unsigned n = 0; n < SEGMENT_COUNT; n++) {
        map_segment(d, n);
    }
    memory_transaction_commit(d->pci.dev.vm);
}

void i440fx_set_memory(Device *dev, RamBlock *ram, RamBlock *bios, uint64_t bios_offset,
                       uint64_t bios_size)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);
    uint64_t shown = MIN(bios_size, ISA_BIOS_MAX);

    g_assert(!d->ram && ram->size >= HOLE_END);
    d->ram = ram;
    if (bios && shown) {
        d->bios = bios;
        d->bios_offset = bios_offset + bios_size - shown;
        io_region_init_ram(&d->isa_bios, dev, bios, d->bios_offset, shown, true, "isa-bios");
        io_region_map(dev->vm, &d->isa_bios, IO_SPACE_MEM, HOLE_END - shown, 0);
    }
    for (unsigned n = 0; n < SEGMENT_COUNT; n++) {
        uint64_t addr = segment_address(n), size = segment_size(n);

        io_region_init_ram(&d->shadow[n], dev, ram, addr, size, false, "pam-ram");
        io_region_init(&d->write_only[n], dev, &write_only_ops, "pam-pci", size);
        d->write_only[n].index = n;
    }
    update_pam(d);
}

static void i440fx_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    /* SMRAM (0x72) is stored without an effect: there is no SMM. */
    if (offset < I440FX_PAM0 + 7 && offset + len > I440FX_PAM0) {
        update_pam(container_of(pci, I440fx, pci));
    }
}

static bool i440fx_realize(Device *dev, GError **err)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    /* (3.2.4) */
    stle16(pci->s.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    memset(pci->wmask + 0x50, 0xff, 0x44); /* timings and error reporting: stored only */
    pci->wmask[I440FX_PAM0] = 0x30;        /* bits 3:0 are reserved */
    memset(pci->wmask + I440FX_PAM0 + 1, 0x33, 6);
    return true;
}

static void i440fx_unrealize(Device *dev)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);

    memory_transaction_begin(dev->vm);
    io_region_unmap(dev->vm, &d->isa_bios);
    for (unsigned n = 0; n < SEGMENT_COUNT; n++) {
        io_region_unmap(dev->vm, &d->shadow[n]);
        io_region_unmap(dev->vm, &d->write_only[n]);
    }
    memory_transaction_commit(dev->vm);
}

static void i440fx_reset(Device *dev, ResetKind kind)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);
    uint8_t *config = d->pci.s.config;

    pci_device_reset(&d->pci);
    memset(config + 0x50, 0, 0x44);
    config[I440FX_DRAMC] = 0x10; /* refresh enabled */
    config[I440FX_SMRAM] = 0x02; /* at 0xa0000, closed (3.2.19) */
    update_pam(d);
}

static void i440fx_post_load(Device *dev)
{
    pci_device_post_load(dev);
    update_pam(container_of(dev, I440fx, pci.dev));
}

static const StateSection i440fx_state[] = {
    PCI_STATE(I440fx, pci),
    {0},
};

static const PciDeviceInfo i440fx_info = {
    .vendor_id = PCI_VENDOR_ID_INTEL,
    .device_id = 0x1237,
    .revision = 2,
    .class_id = PCI_CLASS_BRIDGE_HOST,
    .config_written = i440fx_config_written,
};

const DeviceClass i440fx_class = {
    .name = "i440FX",
    .bus = "PCI",
    .desc = "host bridge: shadowing of ROM",
    .category = DEVICE_CATEGORY_BRIDGE,
    .size = sizeof(I440fx),
    .bus_props = pci_device_props,
    .bus_data = &i440fx_info,
    .state = i440fx_state,
    .realize = i440fx_realize,
    .unrealize = i440fx_unrealize,
    .reset = i440fx_reset,
    .check_state = pci_device_check_state,
    .post_load = i440fx_post_load,
    .internal = true,
    .object_parent = "pci-device",
};

/* Direct kernel boot: the chipset's registers as firmware sets them. */

static const uint8_t firmware_routes[4] = {10, 10, 11, 11};

uint8_t i440fx_pci_irq(PciDevice *pci, unsigned pin)
{
    if (pci->devfn == PCI_DEVFN(1, 3)) {
        return 9; /* PIIX4_PM's interrupt is the SCI, on IRQ 9, whatever its slot's routes */
    }
    /* The same wiring as piix3_map_irq(). */
    return firmware_routes[(PCI_SLOT(pci->devfn) + pin - 1) & 3];
}

static void config_byte(PciBus *root, unsigned devfn, unsigned offset, uint8_t value)
{
    pci_config_write(root, devfn << 8 | offset, value, 1);
}

void i440fx_init_as_firmware(Vm *vm)
{
    /* IRQ 10 and 11: level-triggered. With KVM's PIC the write has no effect: the port is KVM's. */
    uint8_t elcr2 = 0x0c;
    PciBus *root = pci_root(vm);
    unsigned piix3 = PCI_DEVFN(1, 0), ide = PCI_DEVFN(1, 1), pm = PCI_DEVFN(1, 3);

    config_byte(root, 0, I440FX_PAM0, 0x30);
    for (unsigned i = 1; i < 7; i++) {
        config_byte(root, 0, I440FX_PAM0 + i, 0x33);
    }
    for (unsigned i = 0; i < 4; i++) {
        config_byte(root, piix3, PIIX_PIRQRC + i, firmware_routes[i]);
    }
    cpu_access(vm, IO_SPACE_PIO, 0x4d1, &elcr2, 1, true);
    /* Both channels decode their ports; drivers look there for what is switched on. */
    config_byte(root, ide, PIIX_IDETIM + 1, PIIX_IDETIM_DECODE >> 8);
    config_byte(root, ide, PIIX_IDETIM + 3, PIIX_IDETIM_DECODE >> 8);
    pci_config_write(root, pm << 8 | PIIX4_PMBA, PIIX4_PM_BASE | 1, 4);
    config_byte(root, pm, PIIX4_PMREGMISC, 1);
    pci_config_write(root, pm << 8 | PIIX4_SMBBA, PIIX4_SMB_BASE | 1, 4);
    config_byte(root, pm, PIIX4_SMBHSTCFG, 0x09);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration space and BARs of a function. (PCI Local Bus Specification 3.0, chapter 6.)
 */
#include "pci_internal.h"

#include "base/error.h"
#include "base/log.h"

STATE_DESC(pci_msix_entry, PciMsixEntry, PCI_MSIX_ENTRY_STATE, 1);
STATE_DESC_PUBLIC(pci_device, PciDeviceState, PCI_DEVICE_STATE, 1);

const Property pci_device_props[] = {
    PROP("addr", PROP_PCI_ADDR, PciDevice, addr, NULL, "slot and function on the bus: SLOT[.FN]"),
    PROP("romfile", PROP_STRING, PciDevice, romfile, NULL, "option ROM image; empty: none"),
    PROP("romsize", PROP_UINT32, PciDevice, romsize, "4294967295", "size of the ROM's BAR"),
    PROP("rombar", PROP_UINT32, PciDevice, rombar, "1", "show the option ROM in a BAR (0 or 1)"),
    PROP("multifunction", PROP_BOOL, PciDevice, multifunction, "off",
         "further functions may sit in this slot"),
    PROP("acpi-index", PROP_UINT32, PciDevice, acpi_index, "0",
         "onboard index by which a guest names the device (_DSM)"),
    PROP_END,
};

/* BARs. */

unsigned pci_bar_offset(const PciDevice *pci, unsigned n)
{
    if (n == PCI_ROM_BAR) {
        return pci_info(pci)->is_bridge ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
    }
    return PCI_BASE_ADDRESS_0 + n * 4;
}

bool pci_bar_is_64bit(PciBarType type)
{
    return type == PCI_BAR_MEM64 || type == PCI_BAR_MEM64_PREFETCH;
}

/* The read-only low bits of a BAR (6.2.5.1). */
static uint32_t bar_type_bits(PciBarType type)
{
    switch (type) {
    case PCI_BAR_IO:
        return PCI_BASE_ADDRESS_SPACE_IO;
    case PCI_BAR_MEM32:
        return 0;
    case PCI_BAR_MEM64:
        return PCI_BASE_ADDRESS_MEM_TYPE_64;
    case PCI_BAR_MEM32_PREFETCH:
        return PCI_BASE_ADDRESS_MEM_PREFETCH;
    case PCI_BAR_MEM64_PREFETCH:
        return PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH;
    }
    g_assert_not_reached();
}

static void reset_bar(PciDevice *pci, unsigned n)
{
    unsigned offset = pci_bar_offset(pci, n);

    if (!pci->bar[n].region) {
        return;
    }
    stle32(pci->s.config + offset, n == PCI_ROM_BAR ? 0 : bar_type_bits(pci->bar[n].type));
    if (pci_bar_is_64bit(pci->bar[n].type)) {
        stle32(pci->s.config + offset + 4, 0);
    }
}

void pci_register_bar(PciDevice *pci, unsigned n, PciBarType type, IoRegion *region)
{
    unsigned offset = pci_bar_offset(pci, n);
    uint64_t mask = ~(region->size - 1);

    g_assert(n <= PCI_ROM_BAR && !pci->bar[n].region && is_power_of_2(region->size));
    g_assert(region->size >= (type == PCI_BAR_IO ? 4 : 16));
    g_assert(n != PCI_ROM_BAR || type == PCI_BAR_MEM32);
    g_assert(!pci_bar_is_64bit(type) || n < PCI_BAR_COUNT - 1);
    g_assert(pci_bar_is_64bit(type) || region->size <= 2 * GiB);
    pci->bar[n].region = region;
    pci->bar[n].type = type;
    pci->bar[n].mapped_at = PCI_UNMAPPED;
    stle32(pci->wmask + offset, mask | (n == PCI_ROM_BAR ? PCI_ROM_ADDRESS_ENABLE : 0));
    if (pci_bar_is_64bit(type)) {
        stle32(pci->wmask + offset + 4, mask >> 32);
    }
    reset_bar(pci, n);
}

/*
 * The address at which BAR n is decoded now, or PCI_UNMAPPED. Address 0 is not decoded. Nor is a
 * BAR that reaches the end of its space: a BAR lies there while the guest sizes it by writing ones.
 */
static uint64_t bar_address(const PciDevice *pci, unsigned n)
{
    uint16_t command = pci_config16(pci, PCI_COMMAND);
    unsigned offset = pci_bar_offset(pci, n);
    bool io = pci->bar[n].type == PCI_BAR_IO, wide = pci_bar_is_64bit(pci->bar[n].type);
    uint64_t size = pci->bar[n].region->size, addr = pci_config32(pci, offset), last;

    if (!(command & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) ||
        (n == PCI_ROM_BAR && !(addr & PCI_ROM_ADDRESS_ENABLE))) {
        return PCI_UNMAPPED;
    }
    if (wide) {
        addr |= (uint64_t)pci_config32(pci, offset + 4) << 32;
    }
    addr &= ~(size - 1);
    last = addr + (size - 1);
    if (!addr || last < addr || last >= (io ? 0xffff : wide ? BIT64(52) : UINT32_MAX)) {
        return PCI_UNMAPPED;
    }
    return addr;
}

static void map_bar(PciDevice *pci, unsigned n, uint64_t addr)
{
    Vm *vm = pci->dev.vm;
    bool io = pci->bar[n].type == PCI_BAR_IO, msix = pci->msix_container && n == pci->msix_bar;
    IoSpace space = io ? IO_SPACE_PIO : IO_SPACE_MEM;
    int priority = io ? PCI_BAR_PRIORITY_IO : PCI_BAR_PRIORITY_MEM;

    pci->bar[n].mapped_at = addr;
    if (addr == PCI_UNMAPPED) {
        io_region_unmap(vm, pci->bar[n].region);
        if (msix) {
            io_region_unmap(vm, &pci->msix_region);
        }
        return;
    }
    io_region_map(vm, pci->bar[n].region, space, addr, priority);
    if (msix) {
        /* Of two regions of equal priority the later mapped one wins: the table hides the BAR. */
        io_region_map(vm, &pci->msix_region, space, addr + pci->msix_table_offset, priority);
    }
}

void pci_update_mappings(PciDevice *pci)
{
    bool begun = false;

    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        uint64_t addr = pci->bar[n].region ? bar_address(pci, n) : PCI_UNMAPPED;

        if (!pci->bar[n].region || addr == pci->bar[n].mapped_at) {
            continue;
        }
        if (!begun) {
            memory_transaction_begin(pci->dev.vm);
            begun = true;
        }
        map_bar(pci, n, addr);
    }
    if (begun) {
        memory_transaction_commit(pci->dev.vm);
    }
}

static void unmap_all(PciDevice *pci)
{
    bool begun = false;

    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (!pci->bar[n].region || pci->bar[n].mapped_at == PCI_UNMAPPED) {
            continue;
        }
        if (!begun) {
            memory_transaction_begin(pci->dev.vm);
            begun = true;
        }
        map_bar(pci, n, PCI_UNMAPPED);
    }
    if (begun) {
        memory_transaction_commit(pci->dev.vm);
    }
}

/* Interrupt pin. */

void pci_update_intx(PciDevice *pci)
{
    uint16_t command = pci_config16(pci, PCI_COMMAND);
    bool level = pci->s.intx_level;

    /* Interrupt Status shows the device's request even while INTx is disabled (6.2.3). */
    if (level) {
        pci->s.config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    } else {
        pci->s.config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
    }
    if ((command & PCI_COMMAND_INTX_DISABLE) || pci_msi_enabled(pci) || pci_msix_enabled(pci)) {
        level = false;
    }
    irq_set(pci->dev.vm, &pci->intx, level);
}

void pci_set_irq(PciDevice *pci, bool level)
{
    g_assert(!pci->dev.realized || device_lock_held(&pci->dev));
    if (pci->s.intx_level != level) {
        pci->s.intx_level = level;
        pci_update_intx(pci);
    }
}

bool pci_can_dma(const PciDevice *pci)
{
    return __atomic_load_n(&pci->dma_enabled, __ATOMIC_RELAXED);
}

/* Configuration space. */

static void update_dma(PciDevice *pci)
{
    __atomic_store_n(&pci->dma_enabled, !!(pci_config16(pci, PCI_COMMAND) & PCI_COMMAND_MASTER),
                     __ATOMIC_RELAXED);
}

static bool touches_bar(const PciDevice *pci, unsigned offset, unsigned len)
{
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (pci->bar[n].region && pci_range_overlaps(offset, len, pci_bar_offset(pci, n),
                                                     pci_bar_is_64bit(pci->bar[n].type) ? 8 : 4)) {
            return true;
        }
    }
    return false;
}

void pci_config_write_locked(PciDevice *pci, unsigned offset, uint32_t value, unsigned len)
{
    const PciDeviceInfo *info = pci_info(pci);
    bool command = pci_range_overlaps(offset, len, PCI_COMMAND, 2);

    g_assert(offset + len <= PCI_CONFIG_SIZE);
    for (unsigned i = 0; i < len; i++, value >>= 8) {
        uint8_t *reg = &pci->s.config[offset + i], writable = pci->wmask[offset + i];

        *reg = (*reg & ~writable) | (value & writable);
        *reg &= ~(value & pci->w1cmask[offset + i]);
    }
    if (command) {
        update_dma(pci);
        pci_update_intx(pci);
    }
    if (command || touches_bar(pci, offset, len)) {
        pci_update_mappings(pci);
    }
    if (pci->msi_cap && pci_range_overlaps(offset, len, pci->msi_cap, 24)) {
        pci_msi_update(pci);
    }
    if (pci->msix_cap && pci_range_overlaps(offset, len, pci->msix_cap, PCI_CAP_MSIX_SIZEOF)) {
        pci_msix_update(pci);
    }
    if (info->config_written) {
        info->config_written(pci, offset, len);
    }
}

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size)
{
    uint8_t *config = pci->s.config;

    if (!offset) {
        offset = pci->cap_end;
    }
    g_assert(offset >= PCI_STD_HEADER_SIZEOF && IS_ALIGNED(offset, 4) &&
             offset + size <= PCI_CONFIG_SIZE);
    config[offset + PCI_CAP_LIST_ID] = id;
    config[offset + PCI_CAP_LIST_NEXT] = config[PCI_CAPABILITY_LIST];
    config[PCI_CAPABILITY_LIST] = offset;
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    memset(pci->wmask + offset, 0, size);
    pci->cap_end = MAX(pci->cap_end, ROUND_UP(offset + size, 4));
    return offset;
}

/* (6.1, figure 6-1.) */
static void fill_header(PciDevice *pci)
{
    const PciDeviceInfo *info = pci_info(pci);
    uint8_t *config = pci->s.config, *wmask = pci->wmask;

    stle16(config + PCI_VENDOR_ID, info->vendor_id);
    stle16(config + PCI_DEVICE_ID, info->device_id);
    config[PCI_REVISION_ID] = info->revision;
    config[PCI_CLASS_PROG] = info->prog_if;
    stle16(config + PCI_CLASS_DEVICE, info->class_id);
    config[PCI_HEADER_TYPE] = info->is_bridge ? PCI_HEADER_TYPE_BRIDGE : PCI_HEADER_TYPE_NORMAL;
    if (pci->multifunction || info->multifunction) {
        config[PCI_HEADER_TYPE] |= 0x80;
    }
    if (!info->is_bridge) {
        bool own = info->subsystem_vendor_id || info->subsystem_id;

        stle16(config + PCI_SUBSYSTEM_VENDOR_ID,
               own ? info->subsystem_vendor_id : PCI_SUBVENDOR_ID_REDHAT_QUMRANET);
        stle16(config + PCI_SUBSYSTEM_ID, own ? info->subsystem_id : PCI_SUBDEVICE_ID_QEMU);
    }
    config[PCI_INTERRUPT_PIN] = info->interrupt_pin;
    wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    wmask[PCI_INTERRUPT_LINE] = 0xff;
    stle16(wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                                    PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    stle16(pci->w1cmask + PCI_STATUS, PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT |
                                          PCI_STATUS_REC_TARGET_ABORT |
                                          PCI_STATUS_REC_MASTER_ABORT |
                                          PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY);
    pci->cap_end = PCI_STD_HEADER_SIZEOF;
}

/* Life. */

bool pci_device_setup(PciDevice *pci, GError **err)
{
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        pci->bar[n].mapped_at = PCI_UNMAPPED;
    }
    fill_header(pci);
    return pci_rom_setup(pci, err);
}

void pci_device_vanish(PciDevice *pci)
{
    unmap_all(pci);
    pci->s.intx_level = false;
    irq_set(pci->dev.vm, &pci->intx, false);
}

void pci_device_teardown(PciDevice *pci)
{
    pci_device_vanish(pci); /* what realize or unrealize may have mapped or raised */
    irq_connect(&pci->dev, &pci->intx, NULL);
    pci_rom_teardown(pci);
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        pci->bar[n].region = NULL;
    }
    pci->msix_cap = pci->msi_cap = pci->pm_cap = 0;
    pci->msix_count = 0;
    pci->msix_container = NULL;
    memset(&pci->s, 0, sizeof pci->s);
    memset(pci->wmask, 0, sizeof pci->wmask);
    memset(pci->w1cmask, 0, sizeof pci->w1cmask);
    pci->identity_known = false;
}

void pci_device_reset(PciDevice *pci)
{
    uint8_t *config = pci->s.config;

    if (!pci->identity_known) {
        memcpy(pci->identity, config, sizeof pci->identity);
        pci->identity_known = true;
    }
    pci->s.intx_level = false;
    /* Read-only bits of command and status keep the values that the class gave them. */
    for (unsigned i = PCI_COMMAND; i < PCI_STATUS + 2; i++) {
        config[i] &= ~(pci->wmask[i] | pci->w1cmask[i]);
    }
    config[PCI_CACHE_LINE_SIZE] = 0;
    config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        reset_bar(pci, n);
    }
    pci_msi_reset(pci);
    pci_msix_reset(pci);
    update_dma(pci);
    pci_update_intx(pci);
    pci_update_mappings(pci);
}

void pci_device_only_reset(Device *dev, ResetKind kind)
{
    pci_device_reset(container_of(dev, PciDevice, dev));
}

/* Saved state is refused where its PCI header identifies another device. */
bool pci_device_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    static const uint8_t fixed[] = {
        PCI_VENDOR_ID,   PCI_VENDOR_ID + 1,   PCI_DEVICE_ID,     PCI_DEVICE_ID + 1,
        PCI_REVISION_ID, PCI_CLASS_PROG,      PCI_CLASS_DEVICE,  PCI_CLASS_DEVICE + 1,
        PCI_HEADER_TYPE, PCI_CAPABILITY_LIST, PCI_INTERRUPT_PIN,
    };
    const PciDevice *pci = container_of(dev, PciDevice, dev);
    const PciDeviceState *s = state;
    const uint8_t *here = pci->identity_known ? pci->identity : pci->s.config;

    if (dev->class->state[section].desc != pci_device_state_desc) {
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++) {
        unsigned at = fixed[i];

        if (s->config[at] != here[at]) {
            return error_set(err,
                             "device '%s': PCI configuration byte 0x%02x is 0x%02x in the saved "
                             "state, but 0x%02x here: it is another device's state",
                             dev->id ? dev->id : dev->class->name, at, s->config[at], here[at]);
        }
    }
    return true;
}

void pci_device_post_load(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    update_dma(pci);
    pci_msi_update(pci);
    pci_msix_update(pci);
    pci_update_intx(pci);
    pci_update_mappings(pci);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X. (PCI Local Bus Specification 3.0, 6.8.2.)
 *
 * Senders on any thread read the table; writes hold the device's lock. A guest changes a vector's
 * message only while the vector is masked, so address and data can be read as two fields once the
 * mask was seen clear. A message to a masked vector waits as a bit in s.msix_pending. The thread
 * that clears the bit sends the message.
 */
#include "pci_internal.h"

#include "base/error.h"

static uint32_t control_of(const PciDevice *pci, unsigned vector)
{
    return __atomic_load_n(&pci->s.msix_table[vector].control, __ATOMIC_SEQ_CST);
}

bool pci_msix_enabled(const PciDevice *pci)
{
    return __atomic_load_n(&pci->msix_control, __ATOMIC_SEQ_CST) & PCI_MSIX_FLAGS_ENABLE;
}

bool pci_msix_masked(const PciDevice *pci, unsigned vector)
{
    return !pci_msix_enabled(pci) ||
           (__atomic_load_n(&pci->msix_control, __ATOMIC_SEQ_CST) & PCI_MSIX_FLAGS_MASKALL) ||
           (control_of(pci, vector) & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

void pci_msix_message(const PciDevice *pci, unsigned vector, uint64_t *addr, uint32_t *data)
{
    *addr = __atomic_load_n(&pci->s.msix_table[vector].addr, __ATOMIC_RELAXED);
    *data = __atomic_load_n(&pci->s.msix_table[vector].data, __ATOMIC_RELAXED);
}

static void msix_send(PciDevice *pci, unsigned vector)
{
    uint64_t addr;
    uint32_t data;

    pci_msix_message(pci, vector, &addr, &data);
    msi_send(pci->dev.vm, addr, data);
}

static bool msix_take_pending(PciDevice *pci, unsigned vector)
{
    uint64_t bit = BIT64(vector & 63);

    return __atomic_fetch_and(&pci->s.msix_pending[vector / 64], ~bit, __ATOMIC_SEQ_CST) & bit;
}

void pci_msix_notify(PciDevice *pci, unsigned vector)
{
    if (vector >= pci->msix_count || !pci_msix_enabled(pci)) {
        return;
    }
    if (pci_msix_masked(pci, vector)) {
        __atomic_fetch_or(&pci->s.msix_pending[vector / 64], BIT64(vector & 63), __ATOMIC_SEQ_CST);
        /* The guest may have unmasked the vector after the test and before the bit was set. */
        if (pci_msix_masked(pci, vector) || !msix_take_pending(pci, vector)) {
            return;
        }
    }
    msix_send(pci, vector);
}

/* Called when the vector's mask or message has changed. Device lock held. */
static void vector_changed(PciDevice *pci, unsigned vector)
{
    if (pci->msix_changed) {
        pci->msix_changed(pci, vector);
    }
    if (!pci_msix_masked(pci, vector) && msix_take_pending(pci, vector)) {
        msix_send(pci, vector);
    }
}

void pci_msix_update(PciDevice *pci)
{
    uint32_t control, old = pci->msix_control;

    if (!pci->msix_cap) {
        return;
    }
    control = pci_config16(pci, pci->msix_cap + PCI_MSIX_FLAGS) &
              (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    __atomic_store_n(&pci->msix_control, control, __ATOMIC_SEQ_CST);
    if (control != old) {
        pci_update_intx(pci);
    }
    for (unsigned v = 0; v < pci->msix_count; v++) {
        vector_changed(pci, v);
    }
}

void pci_msix_reset(PciDevice *pci)
{
    if (!pci->msix_cap) {
        return;
    }
    for (unsigned v = 0; v < pci->msix_count; v++) {
        PciMsixEntry *entry = &pci->s.msix_table[v];

        __atomic_store_n(&entry->control, PCI_MSIX_ENTRY_CTRL_MASKBIT, __ATOMIC_SEQ_CST);
        __atomic_store_n(&entry->addr, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&entry->data, 0, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(pci->s.msix_pending); i++) {
        __atomic_store_n(&pci->s.msix_pending[i], 0, __ATOMIC_RELAXED);
    }
    stle16(pci->s.config + pci->msix_cap + PCI_MSIX_FLAGS, pci->msix_count - 1);
    pci_msix_update(pci);
}

/* The region with table and PBA. Dispatch splits accesses of 8 bytes into 4. */

static PciDevice *of_region(IoRegion *region)
{
    return container_of(region, PciDevice, msix_region);
}

/* msix_region begins at offset 0 of its own BAR, or at the table where it lies over a container. */
static uint64_t table_start(const PciDevice *pci)
{
    return pci->msix_container ? 0 : pci->msix_table_offset;
}

static uint64_t pba_start(const PciDevice *pci)
{
    return pci->msix_pba_offset - (pci->msix_container ? pci->msix_table_offset : 0);
}

static uint64_t msix_read(IoRegion *region, uint64_t offset, unsigned size)
{
    PciDevice *pci = of_region(region);
    uint64_t at = offset - table_start(pci), pba = offset - pba_start(pci);

    if (at < pci->msix_count * PCI_MSIX_ENTRY_SIZE) {
        const PciMsixEntry *entry = &pci->s.msix_table[at / PCI_MSIX_ENTRY_SIZE];

        switch (at % PCI_MSIX_ENTRY_SIZE) {
        case PCI_MSIX_ENTRY_LOWER_ADDR:
            return (uint32_t)entry->addr;
        case PCI_MSIX_ENTRY_UPPER_ADDR:
            return entry->addr >> 32;
        case PCI_MSIX_ENTRY_DATA:
            return entry->data;
        default:
            return entry->control;
        }
    }
    if (pba < DIV_ROUND_UP(pci->msix_count, 64u) * 8) {
        uint64_t word = __atomic_load_n(&pci->s.msix_pending[pba / 8], __ATOMIC_SEQ_CST);

        return (uint32_t)(word >> (pba & 4 ? 32 : 0));
    }
    return 0;
}

static IoResult msix_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    PciDevice *pci = of_region(region);
    uint64_t at = offset - table_start(pci);
    unsigned vector = at / PCI_MSIX_ENTRY_SIZE;
    PciMsixEntry *entry;

    if (at >= pci->msix_count * PCI_MSIX_ENTRY_SIZE) {
        return IO_OK; /* the pending bits are read-only (6.8.2.4) */
    }
    entry = &pci->s.msix_table[vector];
    switch (at % PCI_MSIX_ENTRY_SIZE) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        __atomic_store_n(&entry->addr, (entry->addr & ~(uint64_t)UINT32_MAX) | (value & ~3ull),
                         __ATOMIC_RELAXED);
        break;
    case PCI_MSIX_ENTRY_UPPER_ADDR:
        __atomic_store_n(&entry->addr, (entry->addr & UINT32_MAX) | value << 32, __ATOMIC_RELAXED);
        break;
    case PCI_MSIX_ENTRY_DATA:
        __atomic_store_n(&entry->data, value, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n(&entry->control, value & PCI_MSIX_ENTRY_CTRL_MASKBIT, __ATOMIC_SEQ_CST);
        break;
    }
    vector_changed(pci, vector);
    return IO_OK;
}

static const IoRegionOps msix_ops = {
    .read = msix_read,
    .write = msix_write,
    .valid_min = 4,
    .valid_max = 8,
    .impl_min = 4,
    .impl_max = 4,
};

bool pci_msix_init(PciDevice *pci, unsigned vectors, unsigned bar, IoRegion *container,
                   uint32_t table_offset, uint32_t pba_offset, GError **err)
{
    uint32_t table_size = vectors * PCI_MSIX_ENTRY_SIZE, pba_size = DIV_ROUND_UP(vectors, 64u) * 8;
    uint64_t end = MAX((uint64_t)table_offset + table_size, (uint64_t)pba_offset + pba_size);
    uint8_t cap;

    if (vectors < 1 || vectors > PCI_MSIX_MAX) {
        return error_set(err, "%s: %u MSI-X vectors asked for; 1 to %u can be had",
                         pci->dev.class->name, vectors, PCI_MSIX_MAX);
    }
    if (pba_offset < table_offset + table_size && table_offset < pba_offset + pba_size) {
        return error_set(err, "%s: a table of %u MSI-X vectors does not fit before its other parts",
                         pci->dev.class->name, vectors);
    }
    g_assert(!pci->msix_cap && bar < PCI_BAR_COUNT);
    g_assert(IS_ALIGNED(table_offset, 8) && IS_ALIGNED(pba_offset, 8));
    /* Over a container, one region covers the table, the PBA behind it and the gap. */
    g_assert(!container || (table_offset < pba_offset && end <= container->size));
    if (container) {
        io_region_init(&pci->msix_region, &pci->dev, &msix_ops, "msix-table", end - table_offset);
    } else {
        io_region_init(&pci->msix_region, &pci->dev, &msix_ops, "msix",
                       MAX(4 * KiB, BIT64(64 - __builtin_clzll(end - 1))));
        pci_register_bar(pci, bar, PCI_BAR_MEM32, &pci->msix_region);
    }
    pci->msix_container = container;
    pci->msix_bar = bar;
    pci->msix_table_offset = table_offset;
    pci->msix_pba_offset = pba_offset;
    pci->msix_count = vectors;
    cap = pci_add_capability(pci, PCI_CAP_ID_MSIX, 0, PCI_CAP_MSIX_SIZEOF);
    pci->msix_cap = cap;
    stle32(pci->s.config + cap + PCI_MSIX_TABLE, table_offset | bar);
    stle32(pci->s.config + cap + PCI_MSIX_PBA, pba_offset | bar);
    stle16(pci->wmask + cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci_msix_reset(pci);
    return true;
}

void pci_msix_exit(PciDevice *pci)
{
    if (pci->msix_cap) {
        io_region_unmap(pci->dev.vm, &pci->msix_region);
        pci->msix_changed = NULL;
    }
}

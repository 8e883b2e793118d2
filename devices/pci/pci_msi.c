/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message-signalled interrupts. (PCI Local Bus Specification 3.0, 6.8.1.)
 *
 * Senders on any thread read atomic copies of the capability, which change under the device's lock.
 * A masked message waits as a bit in s.msi_pending. The thread that clears the bit sends the
 * message, so a race between pci_msi_notify() and an unmasking guest sends it once.
 */
#include "pci_internal.h"

static uint16_t flags_of(const PciDevice *pci)
{
    return pci_config16(pci, pci->msi_cap + PCI_MSI_FLAGS);
}

static unsigned data_offset(uint16_t flags)
{
    return flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
}

static unsigned mask_offset(uint16_t flags)
{
    return flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
}

static unsigned capability_size(uint16_t flags)
{
    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        return mask_offset(flags) + 8;
    }
    return data_offset(flags) + 2;
}

void pci_msi_init(PciDevice *pci, unsigned vectors, bool addr64, bool mask)
{
    uint16_t flags = 0;
    unsigned cap;

    g_assert(!pci->msi_cap && is_power_of_2(vectors) && vectors <= 32);
    flags |= __builtin_ctz(vectors) << 1;
    flags |= addr64 ? PCI_MSI_FLAGS_64BIT : 0;
    flags |= mask ? PCI_MSI_FLAGS_MASKBIT : 0;
    cap = pci_add_capability(pci, PCI_CAP_ID_MSI, 0, capability_size(flags));
    pci->msi_cap = cap;
    stle16(pci->s.config + cap + PCI_MSI_FLAGS, flags);
    stle16(pci->wmask + cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    stle32(pci->wmask + cap + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    if (addr64) {
        stle32(pci->wmask + cap + PCI_MSI_ADDRESS_HI, UINT32_MAX);
    }
    stle16(pci->wmask + cap + data_offset(flags), UINT16_MAX);
    if (mask) {
        stle32(pci->wmask + cap + mask_offset(flags), UINT32_MAX >> (32 - vectors));
    }
}

static void show_pending(PciDevice *pci)
{
    uint16_t flags = flags_of(pci);

    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        stle32(pci->s.config + pci->msi_cap + mask_offset(flags) + 4,
               __atomic_load_n(&pci->s.msi_pending, __ATOMIC_RELAXED));
    }
}

static void msi_vector_send(PciDevice *pci, unsigned vector)
{
    msi_send(pci->dev.vm, __atomic_load_n(&pci->msi_addr, __ATOMIC_RELAXED),
             __atomic_load_n(&pci->msi_data, __ATOMIC_RELAXED) | vector);
}

static bool msi_masked(const PciDevice *pci, unsigned vector)
{
    return __atomic_load_n(&pci->msi_mask, __ATOMIC_SEQ_CST) >> vector & 1;
}

/* Clears the pending bit. True if it was set: the caller must then send the message. */
static bool msi_take_pending(PciDevice *pci, unsigned vector)
{
    return __atomic_fetch_and(&pci->s.msi_pending, ~BIT(vector), __ATOMIC_SEQ_CST) & BIT(vector);
}

void pci_msi_update(PciDevice *pci)
{
    const uint8_t *cap = pci->s.config + pci->msi_cap;
    uint16_t flags, data;
    unsigned log_vectors;
    uint64_t addr;

    if (!pci->msi_cap) {
        return;
    }
    flags = flags_of(pci);
    /* Multiple Message Enable is limited to Multiple Message Capable (6.8.1.3). */
    log_vectors = MIN((flags & PCI_MSI_FLAGS_QSIZE) >> 4, (flags & PCI_MSI_FLAGS_QMASK) >> 1);
    addr = ldle32(cap + PCI_MSI_ADDRESS_LO);
    if (flags & PCI_MSI_FLAGS_64BIT) {
        addr |= (uint64_t)ldle32(cap + PCI_MSI_ADDRESS_HI) << 32;
    }
    data = ldle16(cap + data_offset(flags)) & ~((1u << log_vectors) - 1);
    __atomic_store_n(&pci->msi_addr, addr, __ATOMIC_RELAXED);
    __atomic_store_n(&pci->msi_data, data, __ATOMIC_RELAXED);
    __atomic_store_n(&pci->msi_mask,
                     flags & PCI_MSI_FLAGS_MASKBIT ? ldle32(cap + mask_offset(flags)) : 0,
                     __ATOMIC_SEQ_CST);
    __atomic_store_n(&pci->msi_enabled, flags & PCI_MSI_FLAGS_ENABLE ? 1u << log_vectors : 0,
                     __ATOMIC_SEQ_CST);
    for (unsigned v = 0; (flags & PCI_MSI_FLAGS_ENABLE) && v < 32; v++) {
        if (!msi_masked(pci, v) && msi_take_pending(pci, v)) {
            msi_vector_send(pci, v);
        }
    }
    show_pending(pci);
    pci_update_intx(pci);
}

void pci_msi_reset(PciDevice *pci)
{
    unsigned size;

    if (!pci->msi_cap) {
        return;
    }
    size = capability_size(flags_of(pci));
    for (unsigned i = pci->msi_cap; i < pci->msi_cap + size; i++) {
        pci->s.config[i] &= ~pci->wmask[i];
    }
    __atomic_store_n(&pci->s.msi_pending, 0, __ATOMIC_RELAXED);
    pci_msi_update(pci);
}

bool pci_msi_enabled(const PciDevice *pci)
{
    return __atomic_load_n(&pci->msi_enabled, __ATOMIC_RELAXED);
}

void pci_msi_notify(PciDevice *pci, unsigned vector)
{
    unsigned enabled = __atomic_load_n(&pci->msi_enabled, __ATOMIC_SEQ_CST);

    if (!enabled) {
        return;
    }
    /* The guest may enable fewer vectors than the device has: these are then shared (6.8.3.4). */
    vector &= enabled - 1;
    if (msi_masked(pci, vector)) {
        __atomic_fetch_or(&pci->s.msi_pending, BIT(vector), __ATOMIC_SEQ_CST);
        if (msi_masked(pci, vector) || !msi_take_pending(pci, vector)) {
            return;
        }
    }
    msi_vector_send(pci, vector);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI for device tests: resource assignment as by firmware, through configuration mechanism #1. */
#include <linux/pci_regs.h>

#include "qtest_private.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define IO_BASE        0xc000
#define MEM_BASE       0xe0000000u
#define MEM_END        0xfeb00000u
#define MSIX_ENTRY     16

#define fail(...) qtest_fail(__FILE__, __LINE__, __VA_ARGS__)

void qpci_space_init(QPciSpace *space)
{
    *space = (QPciSpace){.io_next = IO_BASE, .mem_next = MEM_BASE};
}

static void select_register(QPci *dev, unsigned offset)
{
    qtest_outl(dev->q, CONFIG_ADDRESS,
               0x80000000u | dev->bus << 16 | dev->devfn << 8 | (offset & 0xfc));
}

uint8_t qpci_config_readb(QPci *dev, unsigned offset)
{
    select_register(dev, offset);
    return qtest_inb(dev->q, CONFIG_DATA + (offset & 3));
}

uint16_t qpci_config_readw(QPci *dev, unsigned offset)
{
    select_register(dev, offset);
    return qtest_inw(dev->q, CONFIG_DATA + (offset & 2));
}

uint32_t qpci_config_readl(QPci *dev, unsigned offset)
{
    select_register(dev, offset);
    return qtest_inl(dev->q, CONFIG_DATA);
}

void qpci_config_writeb(QPci *dev, unsigned offset, uint8_t value)
{
    select_register(dev, offset);
    qtest_outb(dev->q, CONFIG_DATA + (offset & 3), value);
}

void qpci_config_writew(QPci *dev, unsigned offset, uint16_t value)
{
    select_register(dev, offset);
    qtest_outw(dev->q, CONFIG_DATA + (offset & 2), value);
}

void qpci_config_writel(QPci *dev, unsigned offset, uint32_t value)
{
    select_register(dev, offset);
    qtest_outl(dev->q, CONFIG_DATA, value);
}

static bool probe(QTest *q, QPci *dev, unsigned devfn)
{
    *dev = (QPci){.q = q, .devfn = devfn};
    uint32_t id = qpci_config_readl(dev, PCI_VENDOR_ID);
    dev->vendor = id;
    dev->device = id >> 16;
    return dev->vendor != 0xffff;
}

bool qpci_find(QTest *q, QPci *dev, int vendor, int device, unsigned nth)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned fn = 0; fn < 8; fn++) {
            if (!probe(q, dev, slot << 3 | fn)) {
                if (fn == 0) {
                    break;
                }
            } else if ((vendor < 0 || dev->vendor == vendor) &&
                       (device < 0 || dev->device == device) && nth-- == 0) {
                return true;
            }
            if (fn == 0 && !(qpci_config_readb(dev, PCI_HEADER_TYPE) & 0x80)) {
                break;
            }
        }
    }
    return false;
}

void qpci_open(QTest *q, QPci *dev, unsigned slot, unsigned fn)
{
    if (!probe(q, dev, slot << 3 | fn)) {
        fail("no PCI device at %02x.%x", slot, fn);
    }
}

void qpci_enable(QPci *dev)
{
    uint16_t command = qpci_config_readw(dev, PCI_COMMAND);
    qpci_config_writew(dev, PCI_COMMAND,
                       command | PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* The present address of BAR n; false: it has none. */
static bool bar_address(QPci *dev, unsigned n, QPciBar *bar)
{
    unsigned reg = PCI_BASE_ADDRESS_0 + 4 * n;
    uint32_t low = qpci_config_readl(dev, reg);
    *bar = (QPciBar){.q = dev->q, .io = low & PCI_BASE_ADDRESS_SPACE_IO};
    bar->addr = bar->io ? low & ~3u : low & ~15u;
    if (!bar->io && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
        bar->addr |= (uint64_t)qpci_config_readl(dev, reg + 4) << 32;
    }
    return bar->addr;
}

QPciBar qpci_map_bar(QPci *dev, unsigned n)
{
    QPciSpace *space = qtest_pci_space(dev->q);
    unsigned reg = PCI_BASE_ADDRESS_0 + 4 * n;
    QPciBar bar;
    /* Decoding is off meanwhile, because all ones are an address, too. */
    uint16_t command = qpci_config_readw(dev, PCI_COMMAND);
    qpci_config_writew(dev, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
    bar_address(dev, n, &bar);
    qpci_config_writel(dev, reg, 0xffffffff);
    uint32_t mask = qpci_config_readl(dev, reg);
    bool wide = !bar.io && (mask & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    mask &= bar.io ? ~3u : ~15u;
    if (!mask) {
        fail("PCI device %04x:%04x has no BAR %u", dev->vendor, dev->device, n);
    }
    /* I/O BARs need not have the upper half of their address bits. */
    bar.size = bar.io ? (uint16_t)(~mask + 1) : ~mask + 1;
    if (bar.io) {
        bar.addr = (space->io_next + bar.size - 1) & ~(bar.size - 1);
        space->io_next = bar.addr + bar.size;
        if (space->io_next > 0x10000) {
            fail("no I/O ports left for BAR %u", n);
        }
    } else {
        bar.addr = (space->mem_next + bar.size - 1) & ~(bar.size - 1);
        space->mem_next = bar.addr + bar.size;
        if (space->mem_next > MEM_END) {
            fail("no address space left for BAR %u of %#llx bytes", n,
                 (unsigned long long)bar.size);
        }
    }
    qpci_config_writel(dev, reg, bar.addr);
    if (wide) {
        qpci_config_writel(dev, reg + 4, bar.addr >> 32);
    }
    qpci_config_writew(dev, PCI_COMMAND, command | (bar.io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
    return bar;
}

uint8_t qpci_readb(QPciBar bar, uint64_t offset)
{
    return bar.io ? qtest_inb(bar.q, bar.addr + offset) : qtest_readb(bar.q, bar.addr + offset);
}

uint16_t qpci_readw(QPciBar bar, uint64_t offset)
{
    return bar.io ? qtest_inw(bar.q, bar.addr + offset) : qtest_readw(bar.q, bar.addr + offset);
}

uint32_t qpci_readl(QPciBar bar, uint64_t offset)
{
    return bar.io ? qtest_inl(bar.q, bar.addr + offset) : qtest_readl(bar.q, bar.addr + offset);
}

uint64_t qpci_readq(QPciBar bar, uint64_t offset)
{
    if (bar.io) {
        uint64_t low = qpci_readl(bar, offset);
        return low | (uint64_t)qpci_readl(bar, offset + 4) << 32;
    }
    return qtest_readq(bar.q, bar.addr + offset);
}

void qpci_writeb(QPciBar bar, uint64_t offset, uint8_t value)
{
    if (bar.io) {
        qtest_outb(bar.q, bar.addr + offset, value);
    } else {
        qtest_writeb(bar.q, bar.addr + offset, value);
    }
}

void qpci_writew(QPciBar bar, uint64_t offset, uint16_t value)
{
    if (bar.io) {
        qtest_outw(bar.q, bar.addr + offset, value);
    } else {
        qtest_writew(bar.q, bar.addr + offset, value);
    }
}

void qpci_writel(QPciBar bar, uint64_t offset, uint32_t value)
{
    if (bar.io) {
        qtest_outl(bar.q, bar.addr + offset, value);
    } else {
        qtest_writel(bar.q, bar.addr + offset, value);
    }
}

void qpci_writeq(QPciBar bar, uint64_t offset, uint64_t value)
{
    if (bar.io) {
        qpci_writel(bar, offset, value);
        qpci_writel(bar, offset + 4, value >> 32);
    } else {
        qtest_writeq(bar.q, bar.addr + offset, value);
    }
}

uint8_t qpci_find_cap(QPci *dev, uint8_t id, uint8_t after)
{
    if (!(qpci_config_readw(dev, PCI_STATUS) & PCI_STATUS_CAP_LIST)) {
        return 0;
    }
    uint8_t pos = qpci_config_readb(dev, after ? after + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST);
    for (unsigned seen = 0; pos; seen++) {
        if (seen > 48) {
            fail("the capability list of %04x:%04x is a ring", dev->vendor, dev->device);
        }
        if (qpci_config_readb(dev, pos) == id) {
            return pos;
        }
        pos = qpci_config_readb(dev, pos + PCI_CAP_LIST_NEXT);
    }
    return 0;
}

/* The address that a table or PBA register holds: an offset, with the BAR in its low bits. */
static uint64_t msix_address(QPci *dev, unsigned reg)
{
    uint32_t v = qpci_config_readl(dev, dev->msix_cap + reg);
    QPciBar bar;
    if (!bar_address(dev, v & PCI_MSIX_TABLE_BIR, &bar)) {
        bar = qpci_map_bar(dev, v & PCI_MSIX_TABLE_BIR);
    }
    return bar.addr + (v & PCI_MSIX_TABLE_OFFSET);
}

void qpci_msix_enable(QPci *dev)
{
    dev->msix_cap = qpci_find_cap(dev, PCI_CAP_ID_MSIX, 0);
    if (!dev->msix_cap) {
        fail("PCI device %04x:%04x has no MSI-X", dev->vendor, dev->device);
    }
    uint16_t control = qpci_config_readw(dev, dev->msix_cap + PCI_MSIX_FLAGS);
    dev->msix_count = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
    dev->msix_table = msix_address(dev, PCI_MSIX_TABLE);
    dev->msix_pba = msix_address(dev, PCI_MSIX_PBA);
    qpci_enable(dev);
    for (unsigned i = 0; i < dev->msix_count; i++) {
        qpci_msix_mask(dev, i, true);
    }
    qpci_config_writew(dev, dev->msix_cap + PCI_MSIX_FLAGS,
                       (control & ~PCI_MSIX_FLAGS_MASKALL) | PCI_MSIX_FLAGS_ENABLE);
}

void qpci_msix_disable(QPci *dev)
{
    uint16_t control = qpci_config_readw(dev, dev->msix_cap + PCI_MSIX_FLAGS);
    qpci_config_writew(dev, dev->msix_cap + PCI_MSIX_FLAGS, control & ~PCI_MSIX_FLAGS_ENABLE);
}

static uint64_t msix_entry(const QPci *dev, unsigned vector)
{
    if (!dev->msix_cap || vector >= dev->msix_count) {
        fail("MSI-X vector %u of %u", vector, dev->msix_count);
    }
    return dev->msix_table + vector * MSIX_ENTRY;
}

void qpci_msix_set(QPci *dev, unsigned vector, uint64_t addr, uint32_t data)
{
    uint64_t entry = msix_entry(dev, vector);
    qtest_writel(dev->q, entry + PCI_MSIX_ENTRY_LOWER_ADDR, addr);
    qtest_writel(dev->q, entry + PCI_MSIX_ENTRY_UPPER_ADDR, addr >> 32);
    qtest_writel(dev->q, entry + PCI_MSIX_ENTRY_DATA, data);
    qpci_msix_mask(dev, vector, false);
}

void qpci_msix_mask(QPci *dev, unsigned vector, bool masked)
{
    uint64_t control = msix_entry(dev, vector) + PCI_MSIX_ENTRY_VECTOR_CTRL;
    uint32_t v = qtest_readl(dev->q, control) & ~PCI_MSIX_ENTRY_CTRL_MASKBIT;
    qtest_writel(dev->q, control, v | (masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0));
}

bool qpci_msix_pending(QPci *dev, unsigned vector)
{
    msix_entry(dev, vector);
    return qtest_readl(dev->q, dev->msix_pba + vector / 32 * 4) >> (vector % 32) & 1;
}

bool qpci_msix_take(QPci *dev, uint64_t addr, uint32_t data)
{
    if (qtest_readl(dev->q, addr) != data) {
        return false;
    }
    qtest_writel(dev->q, addr, 0);
    return true;
}

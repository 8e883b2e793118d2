/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resource assignment for kernels that are started without firmware: every BAR gets an address,
 * every interrupt pin a line, and decoding is switched on. BARs are placed in order of falling
 * size: each is aligned to its size, so no gaps arise.
 */
#include "pci_internal.h"

typedef struct {
    PciDevice *pci;
    unsigned n;
} Bar;

static gint larger_first(gconstpointer a, gconstpointer b)
{
    const Bar *x = a, *y = b;
    uint64_t xs = x->pci->bar[x->n].region->size, ys = y->pci->bar[y->n].region->size;

    if (xs != ys) {
        return xs > ys ? -1 : 1;
    }
    if (x->pci->devfn != y->pci->devfn) {
        return x->pci->devfn < y->pci->devfn ? -1 : 1;
    }
    return (int)x->n - (int)y->n;
}

static GArray *collect_bars(PciBus *root)
{
    GArray *bars = g_array_new(FALSE, FALSE, sizeof(Bar));

    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = pci_find_device(root, devfn);

        for (unsigned n = 0; pci && n < PCI_BAR_COUNT; n++) {
            Bar bar = {.pci = pci, .n = n};

            if (pci->bar[n].region) {
                g_array_append_val(bars, bar);
            }
        }
    }
    g_array_sort(bars, larger_first);
    return bars;
}

static uint32_t config_address(const PciDevice *pci, unsigned offset)
{
    return (uint32_t)pci_bus_of(pci)->number << 16 | pci->devfn << 8 | offset;
}

static void assign_bar(PciBus *root, const Bar *bar, uint64_t *next)
{
    uint64_t size = bar->pci->bar[bar->n].region->size, addr = ROUND_UP(*next, size);
    uint32_t at = config_address(bar->pci, pci_bar_offset(bar->pci, bar->n));

    pci_config_write(root, at, addr, 4);
    if (pci_bar_is_64bit(bar->pci->bar[bar->n].type)) {
        pci_config_write(root, at + 4, addr >> 32, 4);
    }
    *next = addr + size;
}

void pci_assign_resources(PciBus *root, uint64_t io_base, uint64_t mem32_base, uint64_t mem64_base,
                          uint8_t (*irq_of)(PciDevice *pci, unsigned pin))
{
    g_autoptr(GArray) bars = collect_bars(root);

    for (unsigned i = 0; i < bars->len; i++) {
        const Bar *bar = &g_array_index(bars, Bar, i);
        PciBarType type = bar->pci->bar[bar->n].type;

        assign_bar(root, bar,
                   type == PCI_BAR_IO                          ? &io_base
                   : pci_bar_is_64bit(type) && mem64_base != 0 ? &mem64_base
                                                               : &mem32_base);
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = pci_find_device(root, devfn);
        unsigned pin = pci ? pci_info(pci)->interrupt_pin : 0;

        if (!pci) {
            continue;
        }
        if (pin && irq_of) {
            pci_config_write(root, config_address(pci, PCI_INTERRUPT_LINE), irq_of(pci, pin - 1),
                             1);
        }
        pci_config_write(root, config_address(pci, PCI_COMMAND),
                         pci_config16(pci, PCI_COMMAND) | PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                             PCI_COMMAND_SERR,
                         2);
    }
}

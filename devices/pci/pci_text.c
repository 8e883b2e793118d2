/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI as text: 'info pci', the lines of 'info qtree', and names in firmware paths. */
#include "pci_internal.h"

/* PCI Code and ID Assignment Specification, 1. fw_name: Open Firmware's name for the class. */
static const struct {
    uint16_t class_id;
    const char *name, *fw_name;
} class_names[] = {
    {0x0001, "VGA controller", "display"},
    {0x0100, "SCSI controller", "scsi"},
    {0x0101, "IDE controller", "ide"},
    {0x0102, "Floppy controller", "fdc"},
    {0x0103, "IPI controller", "ipi"},
    {0x0104, "RAID controller", "raid"},
    {0x0106, "SATA controller", NULL},
    {0x0107, "SAS controller", NULL},
    {0x0180, "Storage controller", NULL},
    {0x0200, "Ethernet controller", "ethernet"},
    {0x0201, "Token Ring controller", "token-ring"},
    {0x0202, "FDDI controller", "fddi"},
    {0x0203, "ATM controller", "atm"},
    {0x0280, "Network controller", NULL},
    {0x0300, "VGA controller", "display"},
    {0x0301, "XGA controller", NULL},
    {0x0302, "3D controller", NULL},
    {0x0380, "Display controller", NULL},
    {0x0400, "Video controller", "video"},
    {0x0401, "Audio controller", "sound"},
    {0x0402, "Phone", NULL},
    {0x0403, "Audio controller", "sound"},
    {0x0480, "Multimedia controller", NULL},
    {0x0500, "RAM controller", "memory"},
    {0x0501, "Flash controller", "flash"},
    {0x0580, "Memory controller", NULL},
    {0x0600, "Host bridge", "host"},
    {0x0601, "ISA bridge", "isa"},
    {0x0604, "PCI bridge", "pci-bridge"},
    {0x0680, "Bridge", NULL},
    {0x0700, "Serial port", "serial"},
    {0x0701, "Parallel port", "parallel"},
    {0x0c00, "Firewire controller", "firewire"},
    {0x0c03, "USB controller", "usb"},
    {0x0c05, "SMBus", NULL},
};

const char *pci_class_name(uint16_t class_id)
{
    for (unsigned i = 0; i < ARRAY_SIZE(class_names); i++) {
        if (class_names[i].class_id == class_id) {
            return class_names[i].name;
        }
    }
    return NULL;
}

const char *pci_class_fw_name(uint16_t class_id)
{
    for (unsigned i = 0; i < ARRAY_SIZE(class_names); i++) {
        if (class_names[i].class_id == class_id) {
            return class_names[i].fw_name;
        }
    }
    return NULL;
}

static uint64_t last_address(const PciDevice *pci, unsigned n)
{
    return pci->bar[n].mapped_at + (pci->bar[n].region->size - 1);
}

static void print_bar(const PciDevice *pci, unsigned n, GString *out)
{
    PciBarType type = pci->bar[n].type;
    uint64_t first = pci->bar[n].mapped_at, last = last_address(pci, n);

    if (type == PCI_BAR_IO) {
        g_string_append_printf(
            out, "      BAR%u: I/O at 0x%04" G_GINT64_MODIFIER "x [0x%04" G_GINT64_MODIFIER "x].\n",
            n, first, last);
        return;
    }
    g_string_append_printf(
        out,
        "      BAR%u: %d bit%s memory at 0x%08" G_GINT64_MODIFIER "x [0x%08" G_GINT64_MODIFIER
        "x].\n",
        n, pci_bar_is_64bit(type) ? 64 : 32,
        type == PCI_BAR_MEM32_PREFETCH || type == PCI_BAR_MEM64_PREFETCH ? " prefetchable" : "",
        first, last);
}

static void print_function(PciBus *bus, PciDevice *pci, GString *out)
{
    const uint8_t *config = pci->s.config;
    uint16_t class_id = ldle16(config + PCI_CLASS_DEVICE);
    const char *name = pci_class_name(class_id);

    g_string_append_printf(out, "  Bus %2u, device %3u, function %u:\n", bus->number,
                           PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn));
    if (name) {
        g_string_append_printf(out, "    %s", name);
    } else {
        g_string_append_printf(out, "    Class %04d", class_id);
    }
    g_string_append_printf(out, ": PCI device %04x:%04x\n", ldle16(config + PCI_VENDOR_ID),
                           ldle16(config + PCI_DEVICE_ID));
    if (!pci_info(pci)->is_bridge) {
        g_string_append_printf(out, "      PCI subsystem %04x:%04x\n",
                               ldle16(config + PCI_SUBSYSTEM_VENDOR_ID),
                               ldle16(config + PCI_SUBSYSTEM_ID));
    }
    if (config[PCI_INTERRUPT_PIN]) {
        g_string_append_printf(out, "      IRQ %d, pin %c\n", config[PCI_INTERRUPT_LINE],
                               'A' + config[PCI_INTERRUPT_PIN] - 1);
    }
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (pci->bar[n].region) {
            print_bar(pci, n, out);
        }
    }
    g_string_append_printf(out, "      id \"%s\"\n", pci->dev.id ? pci->dev.id : "");
}

char *pci_info_text(Vm *vm)
{
    PciBus *bus = pci_root(vm);
    GString *out = g_string_new(bus ? NULL : "No PCI buses\n");

    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        PciDevice *pci = pci_find_device(bus, devfn);

        if (pci) {
            device_lock(&pci->dev);
            print_function(bus, pci, out);
            device_unlock(&pci->dev);
        }
    }
    return g_string_free(out, FALSE);
}

void pci_print_device(Bus *bus, Device *dev, GString *out, int indent)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    const uint8_t *config = pci->s.config;
    uint16_t class_id = ldle16(config + PCI_CLASS_DEVICE);
    const char *name = pci_class_name(class_id);
    g_autofree char *number = g_strdup_printf("Class %04x", class_id);

    g_string_append_printf(
        out, "%*sclass %s, addr %02x:%02x.%x, pci id %04x:%04x (sub %04x:%04x)\n", indent, "",
        name ? name : number, container_of(bus, PciBus, bus)->number, PCI_SLOT(pci->devfn),
        PCI_FUNC(pci->devfn), ldle16(config + PCI_VENDOR_ID), ldle16(config + PCI_DEVICE_ID),
        ldle16(config + PCI_SUBSYSTEM_VENDOR_ID), ldle16(config + PCI_SUBSYSTEM_ID));
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (pci->bar[n].region) {
            g_string_append_printf(
                out, "%*sbar %u: %s at 0x%" G_GINT64_MODIFIER "x [0x%" G_GINT64_MODIFIER "x]\n",
                indent, "", n, pci->bar[n].type == PCI_BAR_IO ? "i/o" : "mem",
                pci->bar[n].mapped_at, last_address(pci, n));
        }
    }
}

char *pci_fw_path(Bus *bus, Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    const char *name = pci_class_fw_name(ldle16(pci->s.config + PCI_CLASS_DEVICE));
    g_autofree char *ids = g_strdup_printf("pci%04x,%04x", ldle16(pci->s.config + PCI_VENDOR_ID),
                                           ldle16(pci->s.config + PCI_DEVICE_ID));

    if (PCI_FUNC(pci->devfn)) {
        return g_strdup_printf("pci@i0cf8/%s@%x,%x", name ? name : ids, PCI_SLOT(pci->devfn),
                               PCI_FUNC(pci->devfn));
    }
    return g_strdup_printf("pci@i0cf8/%s@%x", name ? name : ids, PCI_SLOT(pci->devfn));
}

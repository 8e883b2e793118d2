/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-pci. */
#include <linux/pci_regs.h>

#include "base/util.h"
#include "commands.h"
#include "devices/pci.h"

static json_t *region_json(const PciDevice *pci, unsigned n)
{
    PciBarType type = pci->bar[n].type;
    /* The address is -1 where the BAR is not mapped, as in 'info pci'. */
    json_t *out = json_pack(
        "{s:i,s:s,s:I,s:I}", "bar", n, "type", type == PCI_BAR_IO ? "io" : "memory", "size",
        (json_int_t)pci->bar[n].region->size, "address", (json_int_t)pci->bar[n].mapped_at);

    if (type != PCI_BAR_IO) {
        json_object_set_new(
            out, "prefetch",
            json_boolean(type == PCI_BAR_MEM32_PREFETCH || type == PCI_BAR_MEM64_PREFETCH));
        json_object_set_new(out, "mem_type_64",
                            json_boolean(type == PCI_BAR_MEM64 || type == PCI_BAR_MEM64_PREFETCH));
    }
    return out;
}

static json_t *regions_json(const PciDevice *pci)
{
    json_t *out = json_array();

    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (pci->bar[n].region) {
            json_array_append_new(out, region_json(pci, n));
        }
    }
    return out;
}

static json_t *id_json(const uint8_t *config)
{
    json_t *out = json_pack("{s:i,s:i}", "vendor", ldle16(config + PCI_VENDOR_ID), "device",
                            ldle16(config + PCI_DEVICE_ID));

    if ((config[PCI_HEADER_TYPE] & 0x7f) == PCI_HEADER_TYPE_NORMAL) {
        json_object_set_new(out, "subsystem-vendor",
                            json_integer(ldle16(config + PCI_SUBSYSTEM_VENDOR_ID)));
        json_object_set_new(out, "subsystem", json_integer(ldle16(config + PCI_SUBSYSTEM_ID)));
    }
    return out;
}

static json_t *function_json(const PciBus *bus, const PciDevice *pci)
{
    const uint8_t *config = pci->s.config;
    json_t *out = json_pack("{s:i,s:i,s:i,s:s,s:{s:i},s:o,s:i,s:o}", "bus", bus->number, "slot",
                            PCI_SLOT(pci->devfn), "function", PCI_FUNC(pci->devfn), "qdev_id",
                            pci->dev.id ? pci->dev.id : "", "class_info", "class",
                            ldle16(config + PCI_CLASS_DEVICE), "id", id_json(config), "irq_pin",
                            config[PCI_INTERRUPT_PIN], "regions", regions_json(pci));

    if (config[PCI_INTERRUPT_PIN]) {
        json_object_set_new(out, "irq", json_integer(config[PCI_INTERRUPT_LINE]));
    }
    return out;
}

static json_t *functions_json(PciBus *bus)
{
    json_t *out = json_array();

    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = pci_find_device(bus, devfn);

        if (pci) {
            device_lock(&pci->dev);
            json_array_append_new(out, function_json(bus, pci));
            device_unlock(&pci->dev);
        }
    }
    return out;
}

MONITOR_HANDLER(cmd_query_pci)
{
    PciBus *bus = pci_root(vm);

    return bus ? json_pack("[{s:i,s:o}]", "bus", bus->number, "devices", functions_json(bus))
               : json_array();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SSDT: what of the board's ACPI depends on the configuration. See dsdt.asl. */
#include "acpi.h"
#include "aml.h"
#include "devices/isa.h"

typedef struct {
    unsigned serials;
    uint64_t pvpanic_port;
} IsaPresence;

static uint64_t integer_property(Device *dev, const char *name)
{
    json_t *value = device_get_property(dev, name, NULL);
    uint64_t n = json_is_integer(value) ? json_integer_value(value) : 0;

    json_decref(value);
    return n;
}

static void look(Device *dev, void *data)
{
    IsaPresence *p = data;

    if (g_str_equal(dev->class->name, "isa-serial") && dev->realized) {
        p->serials |= BIT(integer_property(dev, "index") & 3);
    } else if (g_str_equal(dev->class->name, "pvpanic") && dev->realized) {
        p->pvpanic_port = integer_property(dev, "ioport");
    }
}

/* A slot that devices can come to and go from: not one with a function that stays. */
static bool slot_can_hotplug(PciBus *bus, unsigned slot)
{
    for (unsigned fn = 0; fn < 8; fn++) {
        const PciDevice *pci = pci_find_device(bus, PCI_DEVFN(slot, fn));

        if (pci && !pci->dev.class->hotpluggable) {
            return false;
        }
    }
    return slot != 0;
}

static void add_slots(Vm *vm, GByteArray *out)
{
    PciBus *bus = pci_root(vm);
    GByteArray *scope = g_byte_array_new(), *notify = g_byte_array_new();

    for (unsigned slot = 0; bus && slot < 32; slot++) {
        GByteArray *device, *eject;
        char name[5];

        if (!slot_can_hotplug(bus, slot)) {
            continue;
        }
        device = g_byte_array_new();
        eject = g_byte_array_new();
        g_snprintf(name, sizeof name, "S%02X_", PCI_DEVFN(slot, 0));
        aml_name_integer(device, "_ADR", slot << 16);
        aml_name_integer(device, "_SUN", slot);
        aml_return_call(eject, "\\_SB.PCI0.PCEJ", slot);
        aml_method(device, "_EJ0", 1, eject);
        aml_device(scope, name, device);
        aml_if_arg_notify(notify, 0, BIT(slot), name, 1);
    }
    aml_method(scope, "DVNT", 2, notify);
    aml_scope(out, "\\_SB.PCI0", scope);
}

static void add_cpus(const SmpConfig *smp, GByteArray *out)
{
    GByteArray *scope = g_byte_array_new();

    for (unsigned i = 0; i < smp->cpus; i++) {
        GByteArray *cpu = g_byte_array_new();
        char name[5];

        g_snprintf(name, sizeof name, "C%03X", i);
        aml_name_string(cpu, "_HID", "ACPI0007");
        aml_name_integer(cpu, "_UID", i);
        aml_device(scope, name, cpu);
    }
    aml_scope(out, "\\_SB", scope);
}

/* SLP_TYP of PM1a and PM1b (PIIX4 datasheet 7.1.5: 0 soft off, 1 suspend to RAM). */
static void add_sleep_states(const PcMachine *pc, GByteArray *out)
{
    if (!pc_sleep_disabled(pc, "disable_s3")) {
        aml_name_package(out, "\\_S3", (const uint64_t[]){1, 1, 0, 0}, 4);
    }
    if (!pc_sleep_disabled(pc, "disable_s4")) {
        aml_name_package(out, "\\_S4", (const uint64_t[]){2, 2, 0, 0}, 4);
    }
    aml_name_package(out, "\\_S5", (const uint64_t[]){0, 0, 0, 0}, 4);
}

void acpi_build_ssdt(Vm *vm, const PcMachine *pc, GByteArray *out, TableLoader *l)
{
    uint32_t start = acpi_table_begin(out, "SSDT", 1, "VMMPCCFG");
    IsaPresence isa = {0};
    uint64_t base64, end64;
    bool has64 = pc_pci_hole64(vm, pc, &base64, &end64);

    device_foreach(vm, look, &isa);
    aml_name_integer(out, "\\P0S", pc_pci_hole(pc));
    aml_name_integer(out, "\\P0L", PC_PCI_MEM_END - 1);
    aml_name_integer(out, "\\P1S", has64 ? base64 : 0);
    aml_name_integer(out, "\\P1L", has64 ? end64 - 1 : 0);
    aml_name_integer(out, "\\COMS", isa.serials);
    aml_name_integer(out, "\\PVPN", isa.pvpanic_port);
    add_sleep_states(pc, out);
    add_slots(vm, out);
    add_cpus(&vm->smp, out);
    acpi_table_end(out, start, l);
}

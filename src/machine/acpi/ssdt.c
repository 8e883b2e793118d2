/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SSDT: objects that depend on the configuration. Constant ones are in dsdt.asl. */
#include "acpi.h"
#include "aml.h"
#include "devices/isa.h"

/* Whether all devices in the slot, if any, can be unplugged. */
static bool slot_can_hotplug(PciBus *bus, unsigned slot)
{
    for (unsigned fn = 0; fn < 8; fn++) {
        const PciDevice *pci = pci_find_device(bus, PCI_DEVFN(slot, fn));

        if (pci && !pci->dev.class->hotpluggable) {
            return false;
        }
    }
    return true;
}

/* _EJ0 methods for the slots' device objects, which dsdt.asl defines. */
static void add_slots(Vm *vm, GByteArray *out)
{
    PciBus *bus = pci_root(vm);

    for (unsigned slot = 1; bus && slot < 32; slot++) {
        GByteArray *scope, *eject;
        char name[16];

        if (!slot_can_hotplug(bus, slot)) {
            continue;
        }
        scope = g_byte_array_new();
        eject = g_byte_array_new();
        g_snprintf(name, sizeof name, "\\_SB.PCI0.S%02X_", PCI_DEVFN(slot, 0));
        aml_return_call(eject, "\\_SB.PCI0.PCEJ", slot);
        aml_method(scope, "_EJ0", 1, eject);
        aml_scope(out, name, scope);
    }
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

/* The packages hold SLP_TYP of PM1a and PM1b (PIIX4 datasheet 7.1.5). */
static void ssdt_add_sleep_states(const PcMachine *pc, GByteArray *out)
{
    if (!pc_sleep_disabled(pc, "disable_s3")) {
        aml_name_package(out, "\\_S3", (const uint64_t[]){1, 1, 0, 0}, 4);
    }
    if (!pc_sleep_disabled(pc, "disable_s4")) {
        aml_name_package(out, "\\_S4", (const uint64_t[]){2, 2, 0, 0}, 4);
    }
}

void acpi_build_ssdt(Vm *vm, const PcMachine *pc, GByteArray *out, TableLoader *l)
{
    uint32_t start = acpi_table_begin(out, "SSDT", 1, "VMMPCCFG");

    ssdt_add_sleep_states(pc, out);
    add_slots(vm, out);
    add_cpus(&vm->smp, out);
    acpi_table_end(out, start, l);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board 'pc', after Intel's 440FX of 1996: host bridge, PIIX3 with PCI interrupt routing and
 * the ISA devices, PIIX4's power management.
 */
#include <string.h>
#include "acpi/acpi.h"
#include "base/error.h"
#include "boot/boot.h"
#include "chardev/chardev.h"
#include "devices/i440fx.h"
#include "devices/isa.h"
#include "pc.h"
#include "smbios.h"
#include "x86/x86.h"

#define P(n, t, f, d, h) PROP(n, t, PcMachine, f, d, h)
#define FIXED(n, f, d, h)                                                                          \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(PcMachine, f), .defval = (d),           \
        .help = (h), .flags = PROP_FLAG_FIXED                                                      \
    }

static const Property pc_props[] = {
    P("acpi", PROP_ON_OFF_AUTO, acpi, "auto", "ACPI tables"),
    P("graphics", PROP_BOOL, graphics, "on", "firmware may use a display (off: serial only)"),
    P("mem-merge", PROP_BOOL, mem_merge, "on", "the host may merge equal pages (KSM)"),
    P("dump-guest-core", PROP_BOOL, dump_guest_core, "on", "guest memory in core dumps of vmm"),
    P("vmport", PROP_ON_OFF_AUTO, vmport, "auto", "VMware's port 0x5658"),
    P("pit", PROP_ON_OFF_AUTO, pit, "auto", "the 8254 timer"),
    P("usb", PROP_BOOL, usb, "off", "the USB controller of the PIIX3"),
    P("fd-bootchk", PROP_BOOL, fd_bootchk, "on", "check a floppy's boot signature"),
    P("max-ram-below-4g", PROP_SIZE, max_ram_below_4g, "0",
      "where RAM is split, at 3.5 GiB at most (0: 3 or 3.5 GiB)"),
    P("i8042", PROP_BOOL, i8042, "on", "the PS/2 keyboard controller"),
    FIXED("smbus", smbus, "on", "SMBus host of the PIIX4"),
    P("hpet", PROP_BOOL, hpet, "off", "a high precision event timer"),
    FIXED("sata", sata, "off", "no SATA on this board"),
    FIXED("nvdimm", nvdimm, "off", "no NVDIMMs on this board"),
    {.name = "smm",
     .type = PROP_ON_OFF_AUTO,
     .offset = offsetof(PcMachine, smm),
     .defval = "auto",
     .help = "system management mode: there is none (auto, off)"},
    {.name = "pic",
     .type = PROP_ON_OFF_AUTO,
     .offset = offsetof(PcMachine, pic_option),
     .defval = "auto",
     .help = "the 8259 interrupt controllers: they are always there (auto, on)"},
    PROP_END,
};
#undef FIXED
#undef P

/* The n-th bus that a device offers. */
static Bus *bus_of(Device *dev, unsigned n)
{
    g_assert(dev->buses && n < dev->buses->len);
    return dev->buses->pdata[n];
}

static bool create_interrupt_controllers(Vm *vm, PcMachine *pc, GError **err)
{
    Bus *isa = bus_of(pc->piix3, 0);

    if (kvm_enabled(vm) && !x86_kvm_create_irqchip(vm, err)) {
        return false;
    }
    if (kvm_enabled(vm) && kvm_irqchip_mode(vm) == KVM_IRQCHIP_KERNEL) {
        return true;
    }
    pc->pic = device_new(vm, "isa-i8259", isa, NULL, err, NULL);
    pc->ioapic = pc->pic ? device_new(vm, "ioapic", NULL, "ioapic", err, NULL) : NULL;
    if (!pc->ioapic) {
        return false;
    }
    ioapic_connect(pc->ioapic, pc->pic);
    return true;
}

static bool create_chipset(Vm *vm, PcMachine *pc, GError **err)
{
    Bus *pci;

    pc->host = device_new(vm, "i440FX-pcihost", NULL, "i440fx", err, NULL);
    if (!pc->host) {
        return false;
    }
    pci = bus_of(pc->host, 0);
    pc->north = device_new(vm, "i440FX", pci, NULL, err, "addr", "0", NULL);
    pc->piix3 = pc->north ? device_new(vm, "PIIX3", pci, NULL, err, "addr", "1.0", NULL) : NULL;
    if (!pc->piix3 || !create_interrupt_controllers(vm, pc, err)) {
        return false;
    }
    pc->ide = device_new(vm, "piix3-ide", pci, NULL, err, "addr", "1.1", NULL);
    if (pc->ide && pc->usb &&
        !device_new(vm, "piix3-usb-uhci", pci, NULL, err, "addr", "1.2", NULL)) {
        return false;
    }
    pc->pm = pc->ide ? device_new(vm, "PIIX4_PM", pci, NULL, err, "addr", "1.3", NULL) : NULL;
    return pc->pm != NULL;
}

static bool create_pit(Vm *vm, PcMachine *pc, GError **err)
{
    if (pc->pit == ON_OFF_AUTO_OFF) {
        return true;
    }
    if (kvm_enabled(vm) && kvm_irqchip_mode(vm) == KVM_IRQCHIP_KERNEL) {
        return x86_kvm_create_pit(vm, err);
    }
    return device_new(vm, "isa-pit", bus_of(pc->piix3, 0), NULL, err, NULL) != NULL;
}

static Device *create_rtc(Vm *vm, PcMachine *pc, GError **err)
{
    static const char *const clocks[] = {"host", "rt", "vm"};
    static const char *const bases[] = {"utc", "localtime", "date"};
    const MachineConfig *c = pc->config;
    g_autofree char *date = g_strdup_printf("%" G_GINT64_FORMAT, c->rtc_date);

    if (c->rtc_slew) {
        return device_new(vm, "mc146818rtc", bus_of(pc->piix3, 0), NULL, err, "x-clock",
                          clocks[c->rtc_clock], "x-base", bases[c->rtc_base], "x-date", date,
                          "base_year", "2000", "lost_tick_policy", "slew", NULL);
    }
    return device_new(vm, "mc146818rtc", bus_of(pc->piix3, 0), NULL, err, "x-clock",
                      clocks[c->rtc_clock], "x-base", bases[c->rtc_base], "x-date", date,
                      "base_year", "2000", NULL);
}

static bool create_serials(Vm *vm, PcMachine *pc, GError **err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pc->config->serials); i++) {
        const Chardev *chr = pc->config->serials[i];
        g_autofree char *index = g_strdup_printf("%u", i);

        if (chr && !device_new(vm, "isa-serial", bus_of(pc->piix3, 0), NULL, err, "index", index,
                               "chardev", chr->label, NULL)) {
            return false;
        }
    }
    return true;
}

static bool create_dma_controllers(Vm *vm, PcMachine *pc, GError **err)
{
    Bus *isa = bus_of(pc->piix3, 0);

    return device_new(vm, "i8257", isa, NULL, err, NULL) &&
           device_new(vm, "i8257", isa, NULL, err, "base", "192", "page-base", "136", "dshift", "1",
                      NULL);
}

static bool create_isa_devices(Vm *vm, PcMachine *pc, GError **err)
{
    Bus *isa = bus_of(pc->piix3, 0);

    if (!create_dma_controllers(vm, pc, err)) {
        return false;
    }
    pc->rtc = create_rtc(vm, pc, err);
    if (!pc->rtc || !create_pit(vm, pc, err) || !device_new(vm, "port92", isa, NULL, err, NULL) ||
        (pc->i8042 && !device_new(vm, "i8042", isa, NULL, err, NULL)) ||
        !device_new(vm, "isa-fdc", isa, NULL, err, NULL) ||
        !device_new(vm, "port80", isa, NULL, err, NULL) || !create_serials(vm, pc, err)) {
        return false;
    }
    if (pc->vmport != ON_OFF_AUTO_OFF && !device_new(vm, "vmport", isa, NULL, err, NULL)) {
        return false;
    }
    pc->fw_cfg = device_new(vm, "fw_cfg_io", NULL, "fw_cfg", err, NULL);
    return pc->fw_cfg && (!pc->hpet || device_new(vm, "hpet", NULL, NULL, err, NULL));
}

static bool pc_create(Vm *vm, void *machine, MachineConfig *config, GError **err)
{
    PcMachine *pc = machine;

    pc->config = config;
    if (pc->smm == ON_OFF_AUTO_ON) {
        return error_set(err, "-machine: 'smm=on' is not supported (there is no system management "
                              "mode)");
    }
    if (pc->pic_option == ON_OFF_AUTO_OFF) {
        return error_set(err, "-machine: 'pic=off' is not supported (this board cannot be without "
                              "its 8259s)");
    }
    if (config->boot_order && !pc_check_boot_order(config->boot_order, err)) {
        g_prefix_error(err, "-boot order=%s: ", config->boot_order);
        return false;
    }
    if (config->boot_once && !pc_check_boot_order(config->boot_once, err)) {
        g_prefix_error(err, "-boot once=%s: ", config->boot_once);
        return false;
    }
    return pc_create_memory(vm, pc, err) && create_chipset(vm, pc, err) &&
           create_isa_devices(vm, pc, err) && pc_load_firmware(vm, pc, err);
}

/*
 * After every reset, the power-on included: the boot order in CMOS, and for a direct kernel boot
 * the state in which firmware would leave the board.
 */
static void on_reset(void *data)
{
    Vm *vm = data;
    PcMachine *pc = vm->machine;

    if (pc->resets++ == 1 && pc->boot_once) {
        pc_set_boot_order(pc, pc->boot_order); /* '-boot once=' was for the power-on */
    }
    if (!pc->boot) {
        return;
    }
    if (vm_asleep(vm)) {
        /* The end of S3: RAM is kept, and the guest continues at its waking vector. */
        boot_wake(vm, pc);
    } else {
        boot_apply(vm, pc);
    }
}

/* By 0xfe in CMOS 0xf firmware knows that the next reset is a wake-up (SeaBIOS, resume.c). */
static void pc_on_suspend(void *data)
{
    Vm *vm = data;
    PcMachine *pc = vm->machine;

    rtc_set_cmos(pc->rtc, 0x0f, 0xfe);
}

static bool add_tables(Vm *vm, PcMachine *pc, GError **err)
{
    pc->tables = table_loader_new();
    if (pc_has_acpi(pc) && !acpi_build(vm, pc, pc->tables, err)) {
        return false;
    }
    pc->smbios = smbios_build(vm, pc->config->smbios_entries, err);
    return pc->smbios != NULL;
}

static bool pc_finish(Vm *vm, void *machine, MachineConfig *config, GError **err)
{
    PcMachine *pc = machine;

    pc_set_cmos(vm, pc);
    if (!add_tables(vm, pc, err)) {
        return false;
    }
    if (config->kernel) {
        pc->boot = boot_plan_new(vm, pc, err);
        if (!pc->boot) {
            return false;
        }
        if (!vm->accel->has_vcpus) {
            /* Without CPUs the kernel image is only checked. */
            g_clear_pointer(&pc->boot, boot_plan_free);
        }
    } else if (config->initrd && !config->kernel) {
        return error_set(err, "-initrd only allowed with -kernel option");
    } else if (config->append && !config->kernel) {
        return error_set(err, "-append only allowed with -kernel option");
    }
    if (!pc_fill_fw_cfg(vm, pc, err)) {
        return false;
    }
    pc->boot_once = config->boot_once != NULL;
    pc->boot_order = g_strdup(config->boot_order);
    pc->config = NULL; /* the caller frees it */
    vm_notifier_add(vm, VM_NOTIFY_RESET, on_reset, vm);
    vm_notifier_add(vm, VM_NOTIFY_SUSPEND, pc_on_suspend, vm);
    return true;
}

static bool pc_change_boot_order(Vm *vm, const char *order, GError **err)
{
    if (!pc_check_boot_order(order, err)) {
        return false;
    }
    pc_set_boot_order(vm->machine, order);
    return true;
}

static char *pc_roms_text(Vm *vm)
{
    const PcMachine *pc = vm->machine;
    GString *out = g_string_new(NULL);

    if (pc->bios_name) {
        g_string_append_printf(out,
                               "addr=%016" G_GINT64_MODIFIER "x size=0x%06" G_GINT64_MODIFIER
                               "x mem=rom name=\"%s\"\n",
                               (uint64_t)(PC_BIOS_TOP - pc->bios->size), pc->bios->size,
                               pc->bios_name);
    }
    table_loader_list(pc->tables, out);
    return g_string_free(out, FALSE);
}

static void pc_destroy(Vm *vm, void *machine)
{
    PcMachine *pc = machine;
    IoRegion *regions[] = {&pc->ram_low, &pc->ram_high, &pc->ram_above_4g, &pc->bios_region};

    for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
        if (regions[i]->mapped) {
            io_region_unmap(vm, regions[i]);
        }
    }
    g_free(pc->boot_order);
    g_free(pc->bios_name);
    g_clear_pointer(&pc->boot, boot_plan_free);
    g_clear_pointer(&pc->tables, table_loader_free);
    g_clear_pointer(&pc->smbios, smbios_free);
}

const MachineClass pc_i440fx_class = {
    .name = "pc-i440fx-7.2",
    .alias = "pc",
    .desc = "Standard PC (i440FX + PIIX, 1996)",
    .is_default = true,
    .max_cpus = 255,
    .default_cpu = "qemu64",
    .default_ram_id = "pc.ram",
    .default_nic = "e1000",
    .default_vga = "std",
    .default_drives = true,
    .default_ram_size = 128 * MiB,
    .props = pc_props,
    .size = sizeof(PcMachine),
    .create = pc_create,
    .finish = pc_finish,
    .set_boot_order = pc_change_boot_order,
    .roms_text = pc_roms_text,
    .destroy = pc_destroy,
};

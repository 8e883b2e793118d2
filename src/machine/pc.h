/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the files of the 'pc' board. */
#ifndef MACHINE_PC_H
#define MACHINE_PC_H

#include "devices/pci.h"
#include "machine/machine.h"
#include "vm/memory.h"

#define PC_BIOS_TOP (4 * GiB)
/* Pages that KVM needs on some Intel hosts: KVM_IDENTITY_MAP and KVM_TSS of arch/x86/vcpu.c. */
#define PC_KVM_PAGES      0xfeffc000ull
#define PC_KVM_PAGES_SIZE 0x4000ull
#define PC_PCI_IO_BASE    0xc000
#define PC_PCI_MEM_END    0xfec00000ull
#define PC_SCI_IRQ        9

typedef struct BootPlan BootPlan;

typedef struct {
    /* Properties of -machine. */
    int acpi, smm, vmport, pit, pic_option; /* OnOffAuto */
    bool usb, hpet, graphics, mem_merge, dump_guest_core, fd_bootchk, nvdimm, sata, smbus, i8042;
    uint64_t max_ram_below_4g;

    MachineConfig *config; /* NULL after pc_finish() */
    char *boot_order;
    char *bios_name; /* of the firmware; NULL: there is none */
    bool boot_once;
    uint64_t below_4g, above_4g; /* guest RAM */
    RamBlock *ram, *bios;
    IoRegion ram_low, ram_high, ram_above_4g, bios_region;
    Device *host, *north, *piix3, *ide, *pm, *rtc, *fw_cfg, *pic, *ioapic;
    BootPlan *boot;             /* of -kernel; NULL: firmware boots */
    struct TableLoader *tables; /* ACPI tables */
    struct Smbios *smbios;
    unsigned resets; /* so far, the power-on included */
} PcMachine;

extern const MachineClass pc_i440fx_class;

static inline bool pc_has_acpi(const PcMachine *pc)
{
    return pc->acpi != ON_OFF_AUTO_OFF;
}

/* pc_memory.c */
bool pc_create_memory(Vm *vm, PcMachine *pc, GError **err);
bool pc_load_firmware(Vm *vm, PcMachine *pc, GError **err);
/* Where the PCI hole below 4 GiB begins, as SeaBIOS chooses it. */
uint64_t pc_pci_hole(const PcMachine *pc);
/* The window above RAM for 64-bit BARs; false: the CPU's addresses are too narrow for one. */
bool pc_pci_hole64(Vm *vm, const PcMachine *pc, uint64_t *base, uint64_t *end);

/* pc_config.c: CMOS and fw_cfg, from which firmware learns about the machine. */
bool pc_check_boot_order(const char *order, GError **err);
void pc_set_boot_order(PcMachine *pc, const char *order); /* NULL: the default order */
void pc_set_cmos(Vm *vm, PcMachine *pc);
/* Whether a property of PIIX4_PM ("disable_s3", "disable_s4") switches a sleep state off. */
bool pc_sleep_disabled(const PcMachine *pc, const char *property);
bool pc_fill_fw_cfg(Vm *vm, PcMachine *pc, GError **err);

/* bootorder.c: whether any network card has a boot ROM. */
bool boot_network_possible(Vm *vm);
/*
 * The file 'bootorder': paths of devices with a bootindex in that order, one per line, and "HALT"
 * if 'strict'. NULL and *err: an index is used twice.
 */
char *boot_order_text(Vm *vm, bool strict, GError **err);
/* The file 'bios-geometry': "PATH CYLS HEADS SECS" of disks with lcyls, lheads, lsecs. */
char *boot_geometry_text(Vm *vm);

/* Memory maps as firmware reports them (ACPI 6.4, 15.3). */
typedef enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 } E820Type;
typedef struct {
    uint64_t addr, len;
    E820Type type;
} E820Entry;
/* e820.c: GArrays of E820Entry. For firmware, which reserves its own ranges below 1 MiB. */
GArray *e820_for_firmware(const PcMachine *pc);
/* For a kernel that is booted directly; the ACPI tables are in [acpi_base, below_4g). */
GArray *e820_for_kernel(const PcMachine *pc, uint64_t acpi_base);

#endif

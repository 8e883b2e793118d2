/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boards. A board creates the chipset, memory map, firmware and built-in devices; -device adds the
 * rest; then it finishes: tables, boot order, direct kernel boot. One array lists them.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/object.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

typedef struct MachineClass MachineClass;

/* What the command line said that a board needs; strings borrowed from the configuration. */
typedef struct {
    uint64_t ram_size, maxram_size;
    unsigned ram_slots;
    char *memory_backend; /* -machine memory-backend=ID */
    bool mem_prealloc;
    char *kernel, *initrd, *append, *dtb, *bios;
    char *boot_order, *boot_once;
    bool boot_menu, boot_strict, boot_menu_set;
    int boot_splash_time, boot_reboot_timeout; /* ms; -1: not given */
    bool nodefaults, nographic;
    char *cpu_model;      /* "qemu64", "host", ... */
    json_t *cpu_features; /* object feature -> bool/string; "+x,-y" folded in */
    /* -rtc */
    int rtc_base;     /* 0 utc, 1 localtime, 2 a date */
    int64_t rtc_date; /* seconds since the epoch, where rtc_base is 2 */
    int rtc_clock;    /* 0 host, 1 rt, 2 vm */
    bool rtc_slew;
    GPtrArray *fw_cfg_entries; /* json: name/file/string */
    GPtrArray *smbios_entries; /* json */
    GPtrArray *acpi_tables;
    GPtrArray *option_roms;
    void *serials[4]; /* Chardev *; NULL: no port */
    unsigned serial_count;
    /* acpi=, usb=, hpet=, graphics= ... are properties of the board (MachineClass.props): -no-acpi
     * and -no-hpet are short for acpi=off and hpet=off there. */
} MachineConfig;

struct MachineClass {
    const char *name;  /* "pc-i440fx-7.2" */
    const char *alias; /* "pc" */
    const char *desc;
    bool is_default;
    unsigned max_cpus;
    const char *default_cpu;
    const char *default_ram_id; /* "pc.ram" */
    const char *default_nic;    /* model of -net nic: "virtio-net-pci" until e1000 is here */
    uint64_t default_ram_size;
    const Property *props; /* of -machine, into the board's struct */
    size_t size;
    /* Chipset and built-in devices. */
    bool (*create)(Vm *vm, void *machine, MachineConfig *config, GError **err);
    /* After all -device: boot protocol, tables. Also run at each reset where it says so itself. */
    bool (*finish)(Vm *vm, void *machine, MachineConfig *config, GError **err);
    void (*destroy)(Vm *vm, void *machine); /* after the devices; may be NULL */
};
/* Makes the board's struct with its properties at their defaults (into vm->machine). */
void machine_init(Vm *vm, const MachineClass *class);
/* After vcpus_destroy(), before vm_free(). */
void machine_free(Vm *vm);

const MachineClass *const *machine_classes(void);
const MachineClass *machine_find(const char *name_or_alias);
char *machine_help_list(void);

/* -object memory-backend-*: what -machine memory-backend=ID and -numa memdev=ID name. */
extern const ObjectClass memory_backend_ram_class, memory_backend_file_class,
    memory_backend_memfd_class;
/* How much memory it is; false and *err where there is no such backend. */
bool memory_backend_size(const char *id, uint64_t *size, GError **err);

#endif

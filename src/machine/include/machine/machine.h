/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boards. MachineClass.create makes memory map, chipset, built-in devices and firmware. -device
 * adds other devices. MachineClass.finish makes what depends on those: ACPI and SMBIOS tables, boot
 * order, direct kernel boot. machine.c lists the boards. Main thread.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/object.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

typedef struct MachineClass MachineClass;

/*
 * The command line's settings for the board. app_free_machine() frees strings and lists; the lists'
 * entries are borrowed from the configuration tree.
 */
typedef struct {
    uint64_t ram_size, maxram_size;
    unsigned ram_slots;
    char *memory_backend; /* -machine memory-backend=ID */
    bool mem_prealloc;
    char *kernel, *initrd, *append, *bios;
    char *boot_order, *boot_once, *boot_splash;
    bool boot_menu, boot_strict, boot_menu_set;
    int boot_splash_time, boot_reboot_timeout; /* ms; -1: not given */
    bool nodefaults, nographic;
    char *cpu_model;      /* "qemu64", "host", ... */
    json_t *cpu_features; /* an object: {"x": "on", "y": "off"} for "+x,-y" */
    /* -rtc */
    int rtc_base;     /* 0 utc, 1 localtime, 2 rtc_date */
    int64_t rtc_date; /* seconds since the epoch */
    int rtc_clock;    /* 0 host, 1 rt, 2 vm */
    bool rtc_slew;
    GPtrArray *fw_cfg_entries; /* of json_t objects: arguments of -fw_cfg */
    GPtrArray *smbios_entries; /* of json_t objects: arguments of -smbios */
    GPtrArray *acpi_tables;    /* of json_t objects: arguments of -acpitable */
    void *serials[4];          /* Chardev *; NULL: no port */
    unsigned serial_count;
} MachineConfig;

struct MachineClass {
    const char *name;  /* "pc-i440fx-7.2" */
    const char *alias; /* "pc" */
    const char *desc;
    bool is_default;
    unsigned max_cpus;
    const char *default_cpu;
    const char *default_ram_id; /* "pc.ram" */
    /* What it has unless -nodefaults is given, or something else in its place. */
    const char *default_nic; /* a device class; NULL: no network card */
    const char *default_vga; /* a word of -vga; NULL: no display adapter */
    bool default_drives;     /* a CD drive and a floppy drive, both empty */
    uint64_t default_ram_size;
    const Property *props; /* arguments of -machine; offsets into the board's struct */
    size_t size;           /* of the board's struct */
    /* 'config' is valid until finish returns. */
    bool (*create)(Vm *vm, void *machine, MachineConfig *config, GError **err);
    bool (*finish)(Vm *vm, void *machine, MachineConfig *config, GError **err);
    /*
     * The letters of '-boot order='. Firmware reads them when it starts: at the next reset and all
     * later ones. The reset that ends '-boot once=' puts back those of the command line. False and
     * *err: not this order. NULL: a board without one.
     */
    bool (*set_boot_order)(Vm *vm, const char *order, GError **err);
    char *(*roms_text)(Vm *vm); /* 'info roms'; caller frees. NULL: a board without ROMs */
    void (*destroy)(Vm *vm, void *machine); /* after the devices; may be NULL */
};
/* Makes the board's struct, vm->machine, with its properties at their defaults. */
void machine_init(Vm *vm, const MachineClass *class);
/* After vcpus_destroy(), before vm_free(). */
void machine_free(Vm *vm);

const MachineClass *const *machine_classes(void);
const MachineClass *machine_find(const char *name_or_alias);
char *machine_help_list(void);

/* -object memory-backend-*, which -machine memory-backend=ID names. */
extern const ObjectClass memory_backend_ram_class, memory_backend_file_class,
    memory_backend_memfd_class;
/* The size of a memory backend in bytes; false and *err: no such backend. */
bool memory_backend_size(const char *id, uint64_t *size, GError **err);
/* The backends as query-memdev lists them; new reference. */
json_t *memory_backends_query(void);

#endif

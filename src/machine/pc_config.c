/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware reads about the machine: CMOS (the PC/AT's layout; SeaBIOS, src/hw/rtc.h) and
 * fw_cfg (QEMU, docs/specs/fw_cfg.rst).
 */
#include <string.h>
#include "acpi/loader.h"
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "devices/isa.h"
#include "devices/storage.h"
#include "pc.h"
#include "smbios.h"
#include "x86/x86.h"

#define DEFAULT_BOOT_ORDER "cad"
#define FW_CFG_FILE_MAX    (64 * MiB)

/* CMOS's code of a letter of '-boot order=': 1 floppy, 2 disk, 3 CD, 4 network; 0: invalid. */
static uint8_t boot_nibble(char letter)
{
    switch (letter) {
    case 'a':
    case 'b':
        return 1;
    case 'c':
        return 2;
    case 'd':
        return 3;
    case 'n' ... 'p':
        return 4;
    default:
        return 0;
    }
}

bool pc_check_boot_order(const char *order, GError **err)
{
    unsigned seen = 0;

    for (const char *p = order; *p; p++) {
        if (*p < 'a' || *p > 'p') {
            return error_set(err, "Invalid boot device '%c'", *p);
        }
        if (seen & BIT(*p - 'a')) {
            return error_set(err, "Boot device '%c' was given twice", *p);
        }
        if (!boot_nibble(*p)) {
            return error_set(err, "Invalid boot device for PC: '%c'", *p);
        }
        seen |= BIT(*p - 'a');
    }
    return strlen(order) <= 3 || error_set(err, "Too many boot devices for PC");
}

void pc_set_boot_order(PcMachine *pc, const char *order)
{
    uint8_t n[3] = {0};

    if (!order) {
        order = DEFAULT_BOOT_ORDER;
    }
    for (unsigned i = 0; i < 3 && order[i]; i++) {
        n[i] = boot_nibble(order[i]);
    }
    rtc_set_cmos(pc->rtc, 0x3d, n[1] << 4 | n[0]);
    rtc_set_cmos(pc->rtc, 0x38, n[2] << 4 | !pc->fd_bootchk);
}

typedef struct {
    Device *rtc;
    uint8_t types, translations;
} PcCmosDisks;

typedef struct {
    Device *rtc;
    Bus *bus; /* of the drives that are seen */
    uint8_t types, drives;
} PcCmosFloppies;

static void set_cmos16(Device *rtc, unsigned index, uint64_t value)
{
    rtc_set_cmos(rtc, index, value);
    rtc_set_cmos(rtc, index + 1, value >> 8);
}

/*
 * For the BIOS, the disks' geometries: those of the first channel as of type 47, "as below", and
 * how each of the four is translated for int 13h (SeaBIOS, src/block.c).
 */
static void pc_cmos_add_disk(Device *dev, void *data)
{
    enum { TYPES = 0x12, TYPE_0 = 0x19, INFO_0 = 0x1b, INFO_SIZE = 9, TRANSLATIONS = 0x39 };
    PcCmosDisks *cmos = data;
    IdeBiosGeometry g;

    if (!dev->realized || !ide_hd_bios_geometry(dev, &g) || g.disk > 3) {
        return;
    }
    cmos->translations |= g.translation << (2 * g.disk);
    rtc_set_cmos(cmos->rtc, TRANSLATIONS, cmos->translations);
    if (g.disk > 1) {
        return;
    }
    const uint8_t info[INFO_SIZE] = {
        g.cyls, g.cyls >> 8, g.heads, 0xff, 0xff, 0xc0 | (g.heads > 8 ? 0x08 : 0),
        g.cyls, g.cyls >> 8, g.secs,
    };
    cmos->types |= g.disk ? 0x0f : 0xf0;
    rtc_set_cmos(cmos->rtc, TYPES, cmos->types);
    rtc_set_cmos(cmos->rtc, TYPE_0 + g.disk, 47);
    for (unsigned i = 0; i < INFO_SIZE; i++) {
        rtc_set_cmos(cmos->rtc, INFO_0 + g.disk * INFO_SIZE + i, info[i]);
    }
}

/*
 * What kinds of floppy drives there are, drive A: in the upper half of the byte, and in the byte of
 * equipment how many. Drives of a second controller are not the BIOS's.
 */
static void pc_cmos_add_floppy(Device *dev, void *data)
{
    enum { TYPES = 0x10 };
    PcCmosFloppies *cmos = data;
    uint8_t type;
    unsigned unit;

    if (!dev->realized || !floppy_cmos_type(dev, &unit, &type) || !type ||
        (cmos->bus && dev->bus != cmos->bus)) {
        return;
    }
    cmos->bus = dev->bus;
    cmos->types |= type << (unit ? 0 : 4);
    cmos->drives++;
    rtc_set_cmos(cmos->rtc, TYPES, cmos->types);
}

void pc_set_cmos(Vm *vm, PcMachine *pc)
{
    PcCmosFloppies floppies = {.rtc = pc->rtc};
    PcCmosDisks disks = {.rtc = pc->rtc};
    Device *rtc = pc->rtc;
    uint64_t above_1m = pc->below_4g > MiB ? pc->below_4g - MiB : 0;
    uint64_t above_16m = pc->below_4g > 16 * MiB ? pc->below_4g - 16 * MiB : 0;

    set_cmos16(rtc, 0x15, MIN(pc->below_4g / KiB, 640ull));
    set_cmos16(rtc, 0x17, MIN(above_1m / KiB, 65535ull));
    set_cmos16(rtc, 0x30, MIN(above_1m / KiB, 65535ull));
    set_cmos16(rtc, 0x34, MIN(above_16m / (64 * KiB), 65535ull));
    for (unsigned i = 0; i < 3; i++) {
        rtc_set_cmos(rtc, 0x5b + i, pc->above_4g / (64 * KiB) >> (8 * i));
    }
    rtc_set_cmos(rtc, 0x5f, vm->smp.cpus - 1);
    device_foreach(vm, pc_cmos_add_floppy, &floppies);
    /* An FPU, a PS/2 mouse port, whether there are floppy drives, and how many but one. */
    rtc_set_cmos(rtc, 0x14,
                 0x02 | (pc->i8042 ? 0x04 : 0) |
                     (floppies.drives ? 0x01 | (floppies.drives - 1) << 6 : 0));
    device_foreach(vm, pc_cmos_add_disk, &disks);
    pc_set_boot_order(pc, pc->config->boot_once ? pc->config->boot_once : pc->config->boot_order);
}

static bool add_e820(PcMachine *pc, GError **err)
{
    g_autoptr(GArray) map = e820_for_firmware(pc);
    g_autoptr(GByteArray) out = g_byte_array_new();

    for (unsigned i = 0; i < map->len; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);
        uint8_t entry[20];

        stle64(entry, e->addr);
        stle64(entry + 8, e->len);
        stle32(entry + 16, e->type);
        g_byte_array_append(out, entry, sizeof entry);
    }
    return fw_cfg_add_file(pc->fw_cfg, "etc/e820", out->data, out->len, err);
}

/* Warns of '-boot n' without a boot ROM: firmware itself would skip the network silently. */
static void pc_config_check_network_boot(Vm *vm, const MachineConfig *c)
{
    const char *const orders[] = {c->boot_order, c->boot_once};

    for (unsigned i = 0; i < ARRAY_SIZE(orders) && !c->kernel; i++) {
        for (const char *p = orders[i]; p && *p; p++) {
            if (boot_nibble(*p) == boot_nibble('n') && !boot_network_possible(vm)) {
                log_warn("-boot %s=%s: there is no network card with a boot ROM (Debian's "
                         "package 'ipxe-qemu' has them)",
                         i ? "once" : "order", orders[i]);
                return;
            }
        }
    }
}

/* -boot splash=: SeaBIOS tells the formats apart by the file's name. */
static bool pc_config_add_splash(PcMachine *pc, const char *name, GError **err)
{
    g_autofree char *path = host_find_data_file(name, NULL, err);
    size_t len = 0;
    g_autofree uint8_t *data = path ? host_read_file(path, FW_CFG_FILE_MAX, &len, err) : NULL;
    bool jpeg, bmp;

    if (!data) {
        return false;
    }
    jpeg = len > 2 && data[0] == 0xff && data[1] == 0xd8;
    bmp = len > 54 && data[0] == 'B' && data[1] == 'M' && ldle16(data + 28) == 24;
    if (!jpeg && !bmp) {
        return error_set(err, "'%s' is neither a JPEG picture nor a BMP with 24 bits a pixel",
                         path);
    }
    return fw_cfg_add_file(pc->fw_cfg, jpeg ? "bootsplash.jpg" : "bootsplash.bmp", data, len, err);
}

/* -boot menu=, splash=, splash-time=, reboot-timeout=, strict=; bootindex, geometry of devices. */
static bool add_boot_options(Vm *vm, PcMachine *pc, GError **err)
{
    const MachineConfig *c = pc->config;
    g_autofree char *order = boot_order_text(vm, c->boot_strict, err);
    g_autofree char *geometry = boot_geometry_text(vm);
    uint8_t v[4];

    if (!order) {
        return false;
    }
    pc_config_check_network_boot(vm, c);
    fw_cfg_add_u16(pc->fw_cfg, FW_CFG_BOOT_MENU, c->boot_menu);
    if (*order && !fw_cfg_add_file(pc->fw_cfg, "bootorder", order, strlen(order) + 1, err)) {
        return false;
    }
    if (*geometry &&
        !fw_cfg_add_file(pc->fw_cfg, "bios-geometry", geometry, strlen(geometry) + 1, err)) {
        return false;
    }
    if (c->boot_splash && !pc_config_add_splash(pc, c->boot_splash, err)) {
        g_prefix_error(err, "-boot splash=%s: ", c->boot_splash);
        return false;
    }
    if (c->boot_splash_time > 0) {
        stle16(v, c->boot_splash_time);
        if (!fw_cfg_add_file(pc->fw_cfg, "etc/boot-menu-wait", v, 2, err)) {
            return false;
        }
    }
    stle32(v, c->boot_reboot_timeout);
    return fw_cfg_add_file(pc->fw_cfg, "etc/boot-fail-wait", v, 4, err);
}

/* -fw_cfg name=,file=|string= */
static bool add_user_files(PcMachine *pc, GError **err)
{
    GPtrArray *entries = pc->config->fw_cfg_entries;

    for (unsigned i = 0; entries && i < entries->len; i++) {
        const char *name = json_str(entries->pdata[i], "name");
        const char *string = json_str(entries->pdata[i], "string");
        const char *file = json_str(entries->pdata[i], "file");

        if (!name || !*name || strlen(name) > 55) {
            return error_set(err, "-fw_cfg: 'name' must have 1 to 55 characters");
        }
        if (!string == !file) {
            return error_set(err, "-fw_cfg name=%s: give either 'file' or 'string'", name);
        }
        if (!g_str_has_prefix(name, "opt/")) {
            log_warn("externally provided fw_cfg item names should be prefixed with \"opt/\"");
        }
        if (string) {
            if (!fw_cfg_add_file(pc->fw_cfg, name, string, strlen(string), err)) {
                g_prefix_error(err, "-fw_cfg name=%s: ", name);
                return false;
            }
        } else {
            size_t len;
            g_autofree void *data = host_read_file(file, FW_CFG_FILE_MAX, &len, err);

            if (!data || !fw_cfg_add_file(pc->fw_cfg, name, data, len, err)) {
                g_prefix_error(err, "-fw_cfg name=%s,file=%s: ", name, file);
                return false;
            }
        }
    }
    return true;
}

/* A byte for each of S0 to S5: bit 7 says that the state exists, the low bits are its SLP_TYP. */
static bool pc_config_add_sleep_states(PcMachine *pc, GError **err)
{
    uint8_t states[6] = {128, 0, 0, 1, 2, 128};

    if (!pc_sleep_disabled(pc, "disable_s3")) {
        states[3] |= 0x80;
    }
    if (!pc_sleep_disabled(pc, "disable_s4")) {
        states[4] |= 0x80;
    }
    return fw_cfg_add_file(pc->fw_cfg, "etc/system-states", states, sizeof states, err);
}

bool pc_sleep_disabled(const PcMachine *pc, const char *property)
{
    json_t *value = pc->pm ? device_get_property(pc->pm, property, NULL) : NULL;
    bool disabled = json_is_true(value) || json_integer_value(value) != 0;

    json_decref(value);
    return disabled;
}

bool pc_fill_fw_cfg(Vm *vm, PcMachine *pc, GError **err)
{
    Device *fw = pc->fw_cfg;
    uint32_t apic_limit = x86_apic_id(vm, vm->smp.maxcpus - 1) + 1;

    fw_cfg_add_u16(fw, FW_CFG_NB_CPUS, vm->smp.cpus);
    fw_cfg_add_u16(fw, FW_CFG_MAX_CPUS, apic_limit);
    fw_cfg_add_u64(fw, FW_CFG_RAM_SIZE, vm->ram_size);
    fw_cfg_add_u16(fw, FW_CFG_NOGRAPHIC, pc->config->nographic || !pc->graphics);
    fw_cfg_add_u32(fw, FW_CFG_IRQ0_OVERRIDE, 1);
    fw_cfg_add_u32(fw, FW_CFG_KERNEL_SIZE, 0);
    fw_cfg_add_u32(fw, FW_CFG_INITRD_SIZE, 0);
    return add_e820(pc, err) && add_boot_options(vm, pc, err) &&
           pc_config_add_sleep_states(pc, err) && add_user_files(pc, err) &&
           smbios_to_fw_cfg(pc->smbios, fw, err) &&
           (!pc_has_acpi(pc) || table_loader_to_fw_cfg(pc->tables, fw, err));
}

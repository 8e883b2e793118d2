/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBIOS structures (DMTF DSP0134, version 2.8), from defaults and -smbios. */
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"
#include "devices/isa.h"
#include "devices/pci.h"
#include "machine/machine.h"
#include "pc.h"
#include "smbios_internal.h"
#include "x86/x86.h"

#define ANCHOR_SIZE 31
#define DIMM_SIZE   (16 * GiB)

/* One structure under construction: fixed part, then its strings. */
typedef struct {
    uint8_t body[80];
    unsigned len;
    GString *strings; /* each with its NUL */
    uint8_t string_count;
} Structure;

static void smbios_begin(Structure *t, uint8_t type, uint8_t len, uint16_t handle)
{
    memset(t, 0, sizeof *t);
    t->len = len;
    t->strings = g_string_new(NULL);
    t->body[0] = type;
    t->body[1] = len;
    stle16(t->body + 2, handle);
}

static void string_field(Structure *t, unsigned offset, const char *text)
{
    if (text && *text) {
        g_string_append_len(t->strings, text, strlen(text) + 1);
        t->body[offset] = ++t->string_count;
    }
}

static void smbios_end(Smbios *s, Structure *t)
{
    unsigned size;

    if (!t->string_count) {
        g_string_append_len(t->strings, "", 1);
    }
    g_string_append_len(t->strings, "", 1);
    g_byte_array_append(s->tables, t->body, t->len);
    g_byte_array_append(s->tables, (const uint8_t *)t->strings->str, t->strings->len);
    size = t->len + t->strings->len;
    s->largest = MAX(s->largest, size);
    s->count++;
    g_string_free(t->strings, TRUE);
}

static bool build_bios(Smbios *s, GError **err)
{
    const char *release = smbios_option(s, 0, "release", "0.0");
    unsigned major, minor;
    bool uefi = false;
    Structure t;

    if (sscanf(release, "%u.%u", &major, &minor) != 2 || major > 255 || minor > 255) {
        return error_set(err, "-smbios type=0: 'release=%s' is not MAJOR.MINOR", release);
    }
    if (!parse_bool(smbios_option(s, 0, "uefi", "off"), &uefi)) {
        return error_set(err, "-smbios type=0: 'uefi' expects 'on' or 'off'");
    }
    smbios_begin(&t, 0, 0x18, 0x0000);
    string_field(&t, 4, smbios_option(s, 0, "vendor", "vmm"));
    string_field(&t, 5, smbios_option(s, 0, "version", VMM_VERSION));
    stle16(t.body + 6, 0xe800);
    string_field(&t, 8, smbios_option(s, 0, "date", "01/01/2026"));
    stle64(t.body + 10, 0x08);             /* 'characteristics are not supported' */
    t.body[19] = 0x14 | (uefi ? 0x08 : 0); /* targeted content distribution, virtual machine */
    t.body[20] = major;
    t.body[21] = minor;
    t.body[22] = 0xff;
    t.body[23] = 0xff;
    smbios_end(s, &t);
    return true;
}

/* SMBIOS stores the first three fields of a UUID in little-endian (7.2.1). */
static void encode_uuid(uint8_t out[16], const uint8_t uuid[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    for (unsigned i = 0; i < 16; i++) {
        out[i] = uuid[order[i]];
    }
}

static void build_system(Smbios *s, Vm *vm)
{
    const MachineClass *class = vm->machine_class;
    Structure t;

    smbios_begin(&t, 1, 0x1b, 0x0100);
    string_field(&t, 4, smbios_option(s, 1, "manufacturer", "QEMU"));
    string_field(&t, 5, smbios_option(s, 1, "product", class ? class->desc : NULL));
    string_field(&t, 6, smbios_option(s, 1, "version", class ? class->name : NULL));
    string_field(&t, 7, smbios_option(s, 1, "serial", NULL));
    encode_uuid(t.body + 8, vm->uuid); /* -smbios type=1,uuid= is the machine's */
    t.body[24] = 6;                    /* woken by the power switch */
    string_field(&t, 25, smbios_option(s, 1, "sku", NULL));
    string_field(&t, 26, smbios_option(s, 1, "family", NULL));
    smbios_end(s, &t);
}

static void build_baseboard(Smbios *s, Vm *vm)
{
    const MachineClass *class = vm->machine_class;
    Structure t;

    if (!g_hash_table_contains(s->options, "2")) {
        return;
    }
    smbios_begin(&t, 2, 0x0f, 0x0200);
    string_field(&t, 4, smbios_option(s, 2, "manufacturer", "QEMU"));
    string_field(&t, 5, smbios_option(s, 2, "product", class ? class->desc : NULL));
    string_field(&t, 6, smbios_option(s, 2, "version", class ? class->name : NULL));
    string_field(&t, 7, smbios_option(s, 2, "serial", NULL));
    string_field(&t, 8, smbios_option(s, 2, "asset", NULL));
    t.body[9] = 1; /* hosting board */
    string_field(&t, 10, smbios_option(s, 2, "location", NULL));
    stle16(t.body + 11, 0x0300);
    t.body[13] = 0x0a; /* motherboard */
    smbios_end(s, &t);
}

static void build_chassis(Smbios *s, Vm *vm)
{
    const MachineClass *class = vm->machine_class;
    Structure t;

    smbios_begin(&t, 3, 0x16, 0x0300);
    string_field(&t, 4, smbios_option(s, 3, "manufacturer", "QEMU"));
    t.body[5] = 1; /* other */
    string_field(&t, 6, smbios_option(s, 3, "version", class ? class->name : NULL));
    string_field(&t, 7, smbios_option(s, 3, "serial", NULL));
    string_field(&t, 8, smbios_option(s, 3, "asset", NULL));
    t.body[9] = t.body[10] = t.body[11] = 3; /* safe */
    t.body[12] = 2;                          /* security unknown */
    string_field(&t, 21, smbios_option(s, 3, "sku", NULL));
    smbios_end(s, &t);
}

static bool build_processors(Smbios *s, Vm *vm, GError **err)
{
    const MachineClass *class = vm->machine_class;
    const SmpConfig *smp = &vm->smp;
    unsigned sockets = MAX(smp->sockets, 1u);
    unsigned cores = MAX(smp->cores, 1u) * MAX(smp->dies, 1u);
    unsigned threads = cores * MAX(smp->threads, 1u);
    uint64_t max_speed = 2000, speed = 2000, id;
    uint32_t signature, features;

    x86_cpu_identity(vm, &signature, &features);
    id = (uint64_t)features << 32 | signature;
    if (!smbios_number_option(s, 4, "max-speed", UINT16_MAX, &max_speed, err) ||
        !smbios_number_option(s, 4, "current-speed", UINT16_MAX, &speed, err) ||
        !smbios_number_option(s, 4, "processor-id", UINT64_MAX, &id, err)) {
        return false;
    }
    for (unsigned i = 0; i < sockets; i++) {
        g_autofree char *socket =
            g_strdup_printf("%s %u", smbios_option(s, 4, "sock_pfx", "CPU"), i);
        Structure t;

        smbios_begin(&t, 4, 0x2a, 0x0400 + i);
        string_field(&t, 4, socket);
        t.body[5] = 3; /* central processor */
        t.body[6] = 1; /* family: other */
        string_field(&t, 7, smbios_option(s, 4, "manufacturer", "QEMU"));
        stle64(t.body + 8, id);
        string_field(&t, 16, smbios_option(s, 4, "version", class ? class->name : NULL));
        stle16(t.body + 20, max_speed);
        stle16(t.body + 22, speed);
        t.body[24] = 0x41; /* populated, enabled */
        t.body[25] = 1;
        stle16(t.body + 26, 0xffff); /* no cache structures */
        stle16(t.body + 28, 0xffff);
        stle16(t.body + 30, 0xffff);
        string_field(&t, 32, smbios_option(s, 4, "serial", NULL));
        string_field(&t, 33, smbios_option(s, 4, "asset", NULL));
        string_field(&t, 34, smbios_option(s, 4, "part", NULL));
        t.body[35] = t.body[36] = MIN(cores, 255u);
        t.body[37] = MIN(threads, 255u);
        stle16(t.body + 38, 0x02); /* unknown */
        stle16(t.body + 40, 0x01);
        smbios_end(s, &t);
    }
    return true;
}

/*
 * Type 8. The types of connectors and ports are numbers (7.9.2, 7.9.3). Handles must be unique;
 * QEMU 7.2 lets these collide with type 0's.
 */
static bool build_ports(Smbios *s, GError **err)
{
    for (unsigned i = 0; i < s->ports->len; i++) {
        json_t *port = s->ports->pdata[i];
        uint64_t connector = 0, type = 0;
        Structure t;

        if (!smbios_number(json_str(port, "connector_type"), 8, "connector_type", UINT8_MAX,
                           &connector, err) ||
            !smbios_number(json_str(port, "port_type"), 8, "port_type", UINT8_MAX, &type, err)) {
            return false;
        }
        smbios_begin(&t, 8, 9, 0x0800 + i);
        string_field(&t, 4, json_str(port, "internal_reference"));
        string_field(&t, 6, json_str(port, "external_reference"));
        t.body[7] = connector;
        t.body[8] = type;
        smbios_end(s, &t);
    }
    return true;
}

/* Empty strings are counted, as in QEMU, though a structure cannot hold them (6.1.3). */
static bool build_oem_strings(Smbios *s, GError **err)
{
    Structure t;

    if (!s->oem_strings->len) {
        return true;
    }
    if (s->oem_strings->len > UINT8_MAX) {
        return error_set(err, "-smbios type=11: there are %u values, a structure holds 255",
                         s->oem_strings->len);
    }
    smbios_begin(&t, 11, 5, 0x0e00);
    for (unsigned i = 0; i < s->oem_strings->len; i++) {
        string_field(&t, 4, s->oem_strings->pdata[i]);
    }
    t.body[4] = s->oem_strings->len;
    smbios_end(s, &t);
    return true;
}

static bool onboard_kind(json_t *device, uint8_t *kind, GError **err)
{
    static const char *const kinds[] = {"other",    "unknown",   "video", "scsi",
                                        "ethernet", "tokenring", "sound", "pata",
                                        "sata",     "sas",       NULL};
    const char *name = json_str(device, "kind");

    for (unsigned i = 0; name && kinds[i]; i++) {
        if (g_str_equal(name, kinds[i])) {
            *kind = i + 1;
            return true;
        }
    }
    return !name || error_unknown_name(err, "-smbios type=41 kind", name, kinds);
}

static bool onboard_address(Vm *vm, json_t *device, uint8_t *bus, uint8_t *devfn, GError **err)
{
    const char *id = json_str(device, "pcidev"), *designation = json_str(device, "designation");
    const Device *dev = id ? device_find(vm, id, NULL) : NULL;
    const PciDevice *pci = (const PciDevice *)dev;

    if (!id) {
        return true;
    }
    if (!dev || g_strcmp0(dev->class->bus, "PCI")) {
        return error_set(err, "-smbios type=41: No PCI device %s for SMBIOS type 41 entry %s", id,
                         designation ? designation : "(null)");
    }
    *bus = pci_bus_of(pci)->number;
    *devfn = pci->devfn;
    return true;
}

/* Type 41: on-board devices, with their PCI addresses if pcidev= names one. */
static bool build_onboard_devices(Smbios *s, Vm *vm, GError **err)
{
    for (unsigned i = 0; i < s->onboard->len; i++) {
        json_t *device = s->onboard->pdata[i];
        uint8_t kind = 1, bus = 0, devfn = 0;
        uint64_t instance = 1;
        Structure t;

        if (!onboard_kind(device, &kind, err) || !onboard_address(vm, device, &bus, &devfn, err) ||
            !smbios_number(json_str(device, "instance"), 41, "instance", UINT8_MAX, &instance,
                           err)) {
            return false;
        }
        smbios_begin(&t, 41, 11, 0x2900 + i);
        string_field(&t, 4, json_str(device, "designation"));
        t.body[5] = 0x80 | kind;
        t.body[6] = instance;
        t.body[9] = bus;
        t.body[10] = devfn;
        smbios_end(s, &t);
    }
    return true;
}

static unsigned dimm_count(const Vm *vm)
{
    return MAX(DIV_ROUND_UP(vm->ram_size, DIMM_SIZE), 1ull);
}

static void build_memory_array(Smbios *s, const Vm *vm)
{
    Structure t;

    smbios_begin(&t, 16, 0x17, 0x1000);
    t.body[4] = 1; /* other place */
    t.body[5] = 3; /* system memory */
    t.body[6] = 6; /* multi-bit ECC */
    if (vm->ram_size / KiB < 0x80000000) {
        stle32(t.body + 7, vm->ram_size / KiB);
    } else {
        stle32(t.body + 7, 0x80000000);
        stle64(t.body + 15, vm->ram_size);
    }
    stle16(t.body + 11, 0xfffe);
    stle16(t.body + 13, dimm_count(vm));
    smbios_end(s, &t);
}

static void build_dimm(Smbios *s, unsigned i, uint64_t mib, uint16_t speed)
{
    g_autofree char *name = g_strdup_printf("%s %u", smbios_option(s, 17, "loc_pfx", "DIMM"), i);
    Structure t;

    smbios_begin(&t, 17, 0x28, 0x1100 + i);
    stle16(t.body + 4, 0x1000);
    stle16(t.body + 6, 0xfffe);
    stle16(t.body + 8, 0xffff);
    stle16(t.body + 10, 0xffff);
    stle16(t.body + 12, MIN(mib, 0x7fffull));
    stle32(t.body + 28, mib >= 0x7fff ? mib : 0);
    t.body[14] = 9; /* DIMM */
    string_field(&t, 16, name);
    string_field(&t, 17, smbios_option(s, 17, "bank", NULL));
    t.body[18] = 7; /* RAM */
    stle16(t.body + 19, 2);
    stle16(t.body + 21, speed);
    string_field(&t, 23, smbios_option(s, 17, "manufacturer", "QEMU"));
    string_field(&t, 24, smbios_option(s, 17, "serial", NULL));
    string_field(&t, 25, smbios_option(s, 17, "asset", NULL));
    string_field(&t, 26, smbios_option(s, 17, "part", NULL));
    stle16(t.body + 32, speed);
    smbios_end(s, &t);
}

static bool build_dimms(Smbios *s, const Vm *vm, GError **err)
{
    uint64_t left = vm->ram_size, speed = 0;

    if (!smbios_number_option(s, 17, "speed", UINT16_MAX, &speed, err)) {
        return false;
    }
    for (unsigned i = 0; i < dimm_count(vm); i++) {
        uint64_t size = MIN(left, DIMM_SIZE);

        build_dimm(s, i, size / MiB, speed);
        left -= size;
    }
    return true;
}

static void build_memory_ranges(Smbios *s, const PcMachine *pc)
{
    const uint64_t ranges[2][2] = {{0, pc->below_4g}, {4 * GiB, pc->above_4g}};
    Structure t;

    for (unsigned i = 0; i < 2; i++) {
        uint64_t start = ranges[i][0] / KiB, size = ranges[i][1] / KiB;

        if (!size) {
            continue;
        }
        smbios_begin(&t, 19, 0x1f, 0x1300 + i);
        if (start + size - 1 < UINT32_MAX) {
            stle32(t.body + 4, start);
            stle32(t.body + 8, start + size - 1);
        } else {
            stle32(t.body + 4, UINT32_MAX);
            stle32(t.body + 8, UINT32_MAX);
            stle64(t.body + 15, start * KiB);
            stle64(t.body + 23, (start + size) * KiB - 1);
        }
        stle16(t.body + 12, 0x1000);
        t.body[14] = 1;
        smbios_end(s, &t);
    }
}

static void build_boot_status(Smbios *s)
{
    Structure t;

    smbios_begin(&t, 32, 0x0b, 0x2000); /* no errors */
    smbios_end(s, &t);
}

static void build_end(Smbios *s)
{
    Structure t;

    smbios_begin(&t, 127, 4, 0x7f00);
    smbios_end(s, &t);
}

/* In the order of QEMU's tables. */
static bool build_all(Smbios *s, Vm *vm, GError **err)
{
    const PcMachine *pc = vm->machine;

    /* Without a type 0 here, firmware adds its own; a kernel that is booted directly has none. */
    if ((g_hash_table_contains(s->options, "0") || (pc->config->kernel && !s->user_bios)) &&
        !build_bios(s, err)) {
        return false;
    }
    build_system(s, vm);
    build_baseboard(s, vm);
    build_chassis(s, vm);
    if (!build_processors(s, vm, err) || !build_ports(s, err) || !build_oem_strings(s, err)) {
        return false;
    }
    build_memory_array(s, vm);
    if (!build_dimms(s, vm, err)) {
        return false;
    }
    build_memory_ranges(s, pc);
    build_boot_status(s);
    if (!build_onboard_devices(s, vm, err)) {
        return false;
    }
    build_end(s);
    return s->tables->len <= SMBIOS_TABLES_MAX ||
           error_set(err, "the SMBIOS tables have %u bytes, more than 64 KiB", s->tables->len);
}

Smbios *smbios_build(Vm *vm, GPtrArray *entries, GError **err)
{
    Smbios *s = g_new0(Smbios, 1);

    s->tables = g_byte_array_new();
    s->options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    s->oem_strings = g_ptr_array_new_with_free_func(g_free);
    s->ports = g_ptr_array_new();
    s->onboard = g_ptr_array_new();
    if (!smbios_take_entries(s, entries, err) || !build_all(s, vm, err)) {
        smbios_free(s);
        return NULL;
    }
    return s;
}

void smbios_free(Smbios *s)
{
    g_byte_array_unref(s->tables);
    g_hash_table_unref(s->options);
    g_ptr_array_unref(s->oem_strings);
    g_ptr_array_unref(s->ports);
    g_ptr_array_unref(s->onboard);
    g_free(s);
}

const GByteArray *smbios_tables(const Smbios *s)
{
    return s->tables;
}

static uint8_t negative_sum(const uint8_t *p, unsigned len)
{
    uint8_t sum = 0;

    while (len--) {
        sum += *p++;
    }
    return -sum;
}

/* The 32-bit entry point (5.2.1). */
void smbios_anchor(const Smbios *s, uint32_t tables_at, uint8_t a[ANCHOR_SIZE])
{
    memset(a, 0, ANCHOR_SIZE);
    memcpy(a, "_SM_", 4);
    a[5] = ANCHOR_SIZE;
    a[6] = 2;
    a[7] = 8;
    stle16(a + 8, s->largest);
    memcpy(a + 16, "_DMI_", 5);
    stle16(a + 22, s->tables->len);
    stle32(a + 24, tables_at);
    stle16(a + 28, s->count);
    a[30] = 0x28;
    a[21] = negative_sum(a + 16, 15);
    a[4] = negative_sum(a, ANCHOR_SIZE);
}

bool smbios_to_fw_cfg(const Smbios *s, Device *fw, GError **err)
{
    uint8_t anchor[ANCHOR_SIZE];

    smbios_anchor(s, 0, anchor);
    return fw_cfg_add_file(fw, "etc/smbios/smbios-tables", s->tables->data, s->tables->len, err) &&
           fw_cfg_add_file(fw, "etc/smbios/smbios-anchor", anchor, sizeof anchor, err);
}

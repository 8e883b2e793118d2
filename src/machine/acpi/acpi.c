/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables with fixed layouts (ACPI 6.4, chapter 5.2), and RSDT and RSDP, which link all. */
#include "acpi.h"
#include <string.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "devices/isa.h"
#include "devices/hpet.h"
#include "devices/storage.h"
#include "dsdt.hex" /* compiled from dsdt.asl at build time */
#include "x86/x86.h"

#define OEM_ID      "VMM   "
#define CREATOR_ID  "VMM "
#define USER_TABLES 16

void acpi_add(GByteArray *out, uint64_t value, unsigned size)
{
    uint8_t v[8];

    stle64(v, value);
    g_byte_array_append(out, v, size);
}

static void add_text(GByteArray *out, const char *text, unsigned size)
{
    char field[16] = {0};

    memcpy(field, text, MIN(strlen(text), size));
    g_byte_array_append(out, (const uint8_t *)field, size);
}

uint32_t acpi_table_begin(GByteArray *out, const char signature[4], uint8_t revision,
                          const char table_id[8])
{
    uint32_t start;

    while (out->len % 16) {
        acpi_add(out, 0, 1);
    }
    start = out->len;
    add_text(out, signature, 4);
    acpi_add(out, 0, 4); /* length: acpi_table_end() */
    acpi_add(out, revision, 1);
    acpi_add(out, 0, 1); /* checksum */
    add_text(out, OEM_ID, 6);
    add_text(out, table_id, 8);
    acpi_add(out, 1, 4);
    add_text(out, CREATOR_ID, 4);
    acpi_add(out, 1, 4);
    return start;
}

void acpi_table_end(GByteArray *out, uint32_t start, TableLoader *l)
{
    stle32(out->data + start + 4, out->len - start);
    table_loader_checksum(l, ACPI_TABLES_FILE, start + 9, start, out->len - start);
}

/* FACS (5.2.10): 64 bytes, aligned to 64, no checksum. */
static void build_facs(GByteArray *out)
{
    g_assert(out->len == ACPI_FACS_OFFSET);
    add_text(out, "FACS", 4);
    acpi_add(out, 64, 4);
    for (unsigned i = 8; i < 64; i += 8) {
        acpi_add(out, 0, 8);
    }
}

typedef struct {
    unsigned serials, floppies; /* that are there: a bit each */
    uint64_t pvpanic_port;
} IsaPresence;

static uint64_t integer_property(Device *dev, const char *name)
{
    json_t *value = device_get_property(dev, name, NULL);
    uint64_t n = json_is_integer(value) ? json_integer_value(value) : 0;

    json_decref(value);
    return n;
}

static void acpi_look(Device *dev, void *data)
{
    IsaPresence *p = data;
    unsigned unit;
    uint8_t type;

    if (g_str_equal(dev->class->name, "isa-serial") && dev->realized) {
        p->serials |= BIT(integer_property(dev, "index") & 3);
    } else if (g_str_equal(dev->class->name, "pvpanic") && dev->realized) {
        p->pvpanic_port = integer_property(dev, "ioport");
    } else if (dev->realized && floppy_cmos_type(dev, &unit, &type) && type) {
        p->floppies |= BIT(unit);
    }
}

/* Sets the value of a Name (name, integer) in the DSDT, which dsdt.asl defines wide enough. */
static void patch_name(uint8_t *dsdt, uint32_t len, const char name[4], uint64_t value)
{
    enum { NAME_OP = 0x08, DWORD_PREFIX = 0x0c, QWORD_PREFIX = 0x0e };

    for (uint32_t i = ACPI_HEADER_SIZE; i + 14 <= len; i++) {
        if (dsdt[i] == NAME_OP && !memcmp(dsdt + i + 1, name, 4)) {
            if (dsdt[i + 5] == DWORD_PREFIX) {
                stle32(dsdt + i + 6, value);
                return;
            }
            if (dsdt[i + 5] == QWORD_PREFIX) {
                stle64(dsdt + i + 6, value);
                return;
            }
        }
    }
    g_assert_not_reached();
}

static uint32_t build_dsdt(Vm *vm, const PcMachine *pc, GByteArray *out, TableLoader *l)
{
    uint32_t start = out->len, len = sizeof dsdt_aml_code;
    IsaPresence isa = {0};
    uint64_t base64, end64;
    bool has64 = pc_pci_hole64(vm, pc, &base64, &end64);
    uint8_t *dsdt;

    g_byte_array_append(out, dsdt_aml_code, len);
    dsdt = out->data + start;
    device_foreach(vm, acpi_look, &isa);
    patch_name(dsdt, len, "P0S_", pc_pci_hole(pc));
    patch_name(dsdt, len, "P0L_", PC_PCI_MEM_END - 1);
    patch_name(dsdt, len, "P1S_", has64 ? base64 : 0);
    patch_name(dsdt, len, "P1L_", has64 ? end64 - 1 : 0);
    patch_name(dsdt, len, "COMS", isa.serials);
    patch_name(dsdt, len, "HPTS", pc->hpet);
    patch_name(dsdt, len, "KBDS", pc->i8042);
    patch_name(dsdt, len, "FDDS", isa.floppies);
    patch_name(dsdt, len, "PVPN", isa.pvpanic_port);
    acpi_table_end(out, start, l);
    return start;
}

/* A generic address structure (5.2.3.2) for I/O ports. */
static void acpi_port(uint8_t *gas, uint16_t address, unsigned bits)
{
    gas[0] = 1; /* system I/O */
    gas[1] = bits;
    gas[3] = bits == 32 ? 3 : bits == 16 ? 2 : 1;
    stle64(gas + 4, address);
}

/* FADT, revision 3 (5.2.9). */
static uint32_t build_fadt(GByteArray *out, const PcMachine *pc, uint32_t dsdt, TableLoader *l)
{
    enum { SIZE = 244 };
    enum { /* flags */
           WBINVD = BIT(0),
           PROC_C1 = BIT(2),
           SLP_BUTTON = BIT(5), /* no fixed sleep button; the power button is one (bit 4 clear) */
           RTC_S4 = BIT(7),
           RESET_REG_SUP = BIT(10),
    };
    uint32_t start = acpi_table_begin(out, "FACP", 3, "VMMFACP");
    uint8_t f[SIZE] = {0};

    memcpy(f, out->data + start, ACPI_HEADER_SIZE);
    stle32(f + 36, ACPI_FACS_OFFSET);
    stle32(f + 40, dsdt);
    f[44] = 1; /* INT_MODEL: dual PIC */
    stle16(f + 46, PC_SCI_IRQ);
    stle32(f + 48, PIIX4_SMI_CMD);
    f[52] = PIIX4_ACPI_ENABLE;
    f[53] = PIIX4_ACPI_DISABLE;
    stle32(f + 56, PIIX4_PM_BASE);     /* PM1a event */
    stle32(f + 64, PIIX4_PM_BASE + 4); /* PM1a control */
    stle32(f + 76, PIIX4_PM_BASE + 8); /* PM timer */
    stle32(f + 80, PIIX4_GPE_BASE);
    f[88] = 4;
    f[89] = 2;
    f[91] = 4;
    f[92] = 4;
    stle16(f + 96, 0xfff); /* no C2, no C3 */
    stle16(f + 98, 0xfff);
    f[108] = 0x32;                            /* century, in CMOS */
    stle16(f + 109, 1 | (pc->i8042 ? 2 : 0)); /* IA-PC boot flags: legacy devices, 8042 */
    stle32(f + 112, WBINVD | PROC_C1 | SLP_BUTTON | RTC_S4 | RESET_REG_SUP);
    acpi_port(f + 116, 0xcf9, 8);
    f[128] = 0x0f; /* full reset */
    acpi_port(f + 148, PIIX4_PM_BASE, 32);
    acpi_port(f + 172, PIIX4_PM_BASE + 4, 16);
    acpi_port(f + 208, PIIX4_PM_BASE + 8, 32);
    acpi_port(f + 220, PIIX4_GPE_BASE, 32);
    g_byte_array_set_size(out, start);
    g_byte_array_append(out, f, sizeof f);
    table_loader_pointer(l, ACPI_TABLES_FILE, start + 36, 4, ACPI_TABLES_FILE);
    table_loader_pointer(l, ACPI_TABLES_FILE, start + 40, 4, ACPI_TABLES_FILE);
    acpi_table_end(out, start, l);
    return start;
}

/* MADT (5.2.12). */
static void add_local_apic(GByteArray *out, unsigned uid, uint32_t apic_id, bool enabled)
{
    if (apic_id < 255) {
        acpi_add(out, 0, 1);
        acpi_add(out, 8, 1);
        acpi_add(out, uid, 1);
        acpi_add(out, apic_id, 1);
        acpi_add(out, enabled, 4);
    } else {
        acpi_add(out, 9, 1); /* x2APIC */
        acpi_add(out, 16, 1);
        acpi_add(out, 0, 2);
        acpi_add(out, apic_id, 4);
        acpi_add(out, enabled, 4);
        acpi_add(out, uid, 4);
    }
}

static void add_override(GByteArray *out, unsigned source, uint32_t gsi, uint16_t flags)
{
    acpi_add(out, 2, 1);
    acpi_add(out, 10, 1);
    acpi_add(out, 0, 1); /* ISA */
    acpi_add(out, source, 1);
    acpi_add(out, gsi, 4);
    acpi_add(out, flags, 2);
}

void acpi_build_madt(const SmpConfig *smp, GByteArray *out, TableLoader *l)
{
    enum { LEVEL_HIGH = 0xd };
    static const uint8_t pci_irqs[] = {5, 9, 10, 11};
    uint32_t start = acpi_table_begin(out, "APIC", 1, "VMMAPIC");
    Vm topology = {.smp = *smp};

    acpi_add(out, 0xfee00000, 4);
    acpi_add(out, 1, 4); /* PCAT_COMPAT: there are PICs */
    for (unsigned i = 0; i < smp->maxcpus; i++) {
        add_local_apic(out, i, x86_apic_id(&topology, i), i < smp->cpus);
    }
    acpi_add(out, 1, 1); /* I/O APIC */
    acpi_add(out, 12, 1);
    acpi_add(out, 0, 1);
    acpi_add(out, 0, 1);
    acpi_add(out, 0xfec00000, 4);
    acpi_add(out, 0, 4);
    add_override(out, 0, 2, 0); /* the timer */
    for (unsigned i = 0; i < ARRAY_SIZE(pci_irqs); i++) {
        add_override(out, pci_irqs[i], pci_irqs[i], LEVEL_HIGH);
    }
    acpi_add(out, 4, 1); /* local APIC NMI: LINT1 of all */
    acpi_add(out, 6, 1);
    acpi_add(out, 0xff, 1);
    acpi_add(out, 0, 2);
    acpi_add(out, 1, 1);
    acpi_table_end(out, start, l);
}

/* WAET: bit 1 tells Windows that a single read of the PM timer gives the right value. */
static uint32_t build_waet(GByteArray *out, TableLoader *l)
{
    uint32_t start = acpi_table_begin(out, "WAET", 1, "VMMWAET");

    acpi_add(out, BIT(1), 4);
    acpi_table_end(out, start, l);
    return start;
}

/* HPET (IA-PC HPET Specification, 3.2.4): the registers' place, and the least of periods. */
static uint32_t build_hpet(GByteArray *out, TableLoader *l)
{
    uint32_t start = acpi_table_begin(out, "HPET", 1, "VMMHPET");

    acpi_add(out, HPET_CAPABILITIES & UINT32_MAX, 4);
    acpi_add(out, 0x00000000, 4); /* an address in memory */
    acpi_add(out, HPET_BASE, 8);
    acpi_add(out, 0, 1);
    acpi_add(out, HPET_MIN_PERIOD_TICKS, 2);
    acpi_add(out, 0, 1);
    acpi_table_end(out, start, l);
    return start;
}

static bool user_field(json_t *entry, const char *key, uint8_t *field, unsigned size, GError **err)
{
    const char *text = json_str(entry, key);

    if (!text) {
        return true;
    }
    if (strlen(text) > size) {
        return error_set(err, "-acpitable: %s '%s' is longer than %u", key, text, size);
    }
    memset(field, 0, size);
    memcpy(field, text, strlen(text));
    return true;
}

static bool user_number(json_t *entry, const char *key, uint8_t *field, unsigned size, GError **err)
{
    const char *text = json_str(entry, key);
    uint64_t value;
    uint8_t v[8];

    if (!text) {
        return true;
    }
    if (!parse_uint(text, size == 1 ? UINT8_MAX : UINT32_MAX, &value)) {
        return error_set(err, "-acpitable: %s '%s' is no number", key, text);
    }
    stle64(v, value);
    memcpy(field, v, size);
    return true;
}

/* -acpitable [sig=..,rev=..,...,]data=FILE[:FILE...] | file=FILE: a table of the user's own. */
static bool add_user_table(json_t *entry, GByteArray *out, TableLoader *l, uint32_t *offset,
                           GError **err)
{
    const char *whole = json_str(entry, "file"), *data = json_str(entry, "data");
    g_auto(GStrv) files = NULL;
    uint8_t *h;

    if (!whole == !data) {
        return error_set(err, "-acpitable: give either 'data' or 'file'");
    }
    *offset = acpi_table_begin(out, "USER", 1, "VMMUSER");
    if (whole) {
        g_byte_array_set_size(out, *offset);
    }
    files = g_strsplit(whole ? whole : data, ":", -1);
    for (char **f = files; *f; f++) {
        size_t len;
        g_autofree uint8_t *bytes = host_read_file(*f, MiB, &len, err);

        if (!bytes) {
            g_prefix_error(err, "-acpitable: ");
            return false;
        }
        g_byte_array_append(out, bytes, len);
    }
    if (out->len - *offset < ACPI_HEADER_SIZE) {
        return error_set(err, "-acpitable: '%s' has %u bytes; a table's header has %u", whole,
                         out->len - *offset, ACPI_HEADER_SIZE);
    }
    h = out->data + *offset;
    if (!user_field(entry, "sig", h, 4, err) || !user_number(entry, "rev", h + 8, 1, err) ||
        !user_field(entry, "oem_id", h + 10, 6, err) ||
        !user_field(entry, "oem_table_id", h + 16, 8, err) ||
        !user_number(entry, "oem_rev", h + 24, 4, err) ||
        !user_field(entry, "asl_compiler_id", h + 28, 4, err) ||
        !user_number(entry, "asl_compiler_rev", h + 32, 4, err)) {
        return false;
    }
    acpi_table_end(out, *offset, l);
    return true;
}

bool acpi_build(Vm *vm, const PcMachine *pc, TableLoader *l, GError **err)
{
    GByteArray *rsdp = table_loader_alloc(l, ACPI_RSDP_FILE, 16, TABLE_ZONE_FSEG);
    GByteArray *out = table_loader_alloc(l, ACPI_TABLES_FILE, 64, TABLE_ZONE_HIGH);
    GPtrArray *user = pc->config->acpi_tables;
    uint32_t tables[5 + USER_TABLES], n = 0, dsdt, rsdt;

    build_facs(out);
    dsdt = build_dsdt(vm, pc, out, l);
    tables[n++] = build_fadt(out, pc, dsdt, l);
    tables[n++] = ROUND_UP(out->len, 16u);
    acpi_build_ssdt(vm, pc, out, l);
    tables[n++] = ROUND_UP(out->len, 16u);
    acpi_build_madt(&vm->smp, out, l);
    tables[n++] = build_waet(out, l);
    if (pc->hpet) {
        tables[n++] = build_hpet(out, l);
    }
    for (unsigned i = 0; user && i < user->len; i++) {
        if (i == USER_TABLES) {
            return error_set(err, "-acpitable: at most %u tables", USER_TABLES);
        }
        if (!add_user_table(user->pdata[i], out, l, &tables[n++], err)) {
            return false;
        }
    }
    rsdt = acpi_table_begin(out, "RSDT", 1, "VMMRSDT");
    for (unsigned i = 0; i < n; i++) {
        acpi_add(out, tables[i], 4);
        table_loader_pointer(l, ACPI_TABLES_FILE, out->len - 4, 4, ACPI_TABLES_FILE);
    }
    acpi_table_end(out, rsdt, l);

    /* RSDP, revision 0 (5.2.5.3): all tables lie below 4 GiB. */
    add_text(rsdp, "RSD PTR ", 8);
    acpi_add(rsdp, 0, 1);
    add_text(rsdp, OEM_ID, 6);
    acpi_add(rsdp, 0, 1);
    acpi_add(rsdp, rsdt, 4);
    table_loader_pointer(l, ACPI_RSDP_FILE, 16, 4, ACPI_TABLES_FILE);
    table_loader_checksum(l, ACPI_RSDP_FILE, 8, 0, 20);
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS structures (DMTF DSP0134, version 2.8): who made the machine, its processors and memory,
 * by defaults and by what -smbios says.
 */
#include "smbios.h"
#include <string.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"
#include "devices/isa.h"
#include "machine/machine.h"
#include "pc.h"
#include "x86/x86.h"

#define ANCHOR_SIZE 31
#define DIMM_SIZE   (16 * GiB)
#define TABLES_MAX  (64 * KiB - 1) /* the anchor has 16 bits for it */

struct Smbios {
    GByteArray *tables;
    unsigned count;
    unsigned largest;
    GHashTable *options; /* "type.key" -> value */
    GPtrArray *oem_strings;
    bool user_bios; /* -smbios type=0 or a file that has it */
};

/* What -smbios type=N takes. */
static const struct {
    unsigned type;
    const char *keys[12];
} options[] = {
    {0, {"vendor", "version", "date", "release", "uefi"}},
    {1, {"manufacturer", "product", "version", "serial", "uuid", "sku", "family"}},
    {2, {"manufacturer", "product", "version", "serial", "asset", "location"}},
    {3, {"manufacturer", "version", "serial", "asset", "sku"}},
    {4,
     {"sock_pfx", "manufacturer", "version", "serial", "asset", "part", "max-speed",
      "current-speed"}},
    {11, {"value"}},
    {17, {"loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed"}},
};

static bool take_options(Smbios *s, json_t *entry, GError **err)
{
    const char *type_text = json_str(entry, "type"), *key;
    const char *const *keys = NULL;
    uint64_t type;
    json_t *value;

    if (!type_text || !parse_uint(type_text, 255, &type)) {
        return error_set(err, "-smbios: 'type' must be a number from 0 to 255");
    }
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (options[i].type == type) {
            keys = options[i].keys;
        }
    }
    if (!keys) {
        return error_set(err, "-smbios: do not know how to build fields for SMBIOS type %u",
                         (unsigned)type);
    }
    json_object_foreach(entry, key, value)
    {
        if (g_str_equal(key, "type")) {
            continue;
        }
        if (!g_strv_contains(keys, key)) {
            g_autofree char *what = g_strdup_printf("-smbios type=%u parameter", (unsigned)type);
            return error_unknown_name(err, what, key, keys);
        }
        if (type == 11) {
            size_t i;
            json_t *one;

            if (json_is_string(value)) {
                g_ptr_array_add(s->oem_strings, g_strdup(json_string_value(value)));
            }
            json_array_foreach(value, i, one)
            {
                if (!json_is_string(one)) {
                    g_autofree char *text = json_text(one);
                    return error_set(err, "-smbios type=11: 'value' expects a text, not %s", text);
                }
                g_ptr_array_add(s->oem_strings, g_strdup(json_string_value(one)));
            }
        } else if (!json_is_string(value)) {
            g_autofree char *text = json_text(value);
            return error_set(err, "-smbios type=%u: '%s' expects a text, not %s", (unsigned)type,
                             key, text);
        } else {
            g_hash_table_replace(s->options, g_strdup_printf("%u.%s", (unsigned)type, key),
                                 g_strdup(json_string_value(value)));
        }
    }
    s->user_bios |= type == 0;
    g_hash_table_replace(s->options, g_strdup_printf("%u", (unsigned)type), NULL);
    return true;
}

static const char *smbios_option(const Smbios *s, unsigned type, const char *key,
                                 const char *fallback)
{
    g_autofree char *name = g_strdup_printf("%u.%s", type, key);
    const char *value = g_hash_table_lookup(s->options, name);

    return value ? value : fallback;
}

static bool number_option(const Smbios *s, unsigned type, const char *key, unsigned max,
                          uint16_t *out, GError **err)
{
    const char *text = smbios_option(s, type, key, NULL);
    uint64_t value;

    if (!text) {
        return true;
    }
    if (!parse_uint(text, max, &value)) {
        return error_set(err, "-smbios type=%u: '%s=%s' is no number up to %u", type, key, text,
                         max);
    }
    *out = value;
    return true;
}

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
    uint16_t max_speed = 2000, speed = 2000;
    uint32_t signature, features;

    if (!number_option(s, 4, "max-speed", UINT16_MAX, &max_speed, err) ||
        !number_option(s, 4, "current-speed", UINT16_MAX, &speed, err)) {
        return false;
    }
    x86_cpu_identity(vm, &signature, &features);
    for (unsigned i = 0; i < sockets; i++) {
        g_autofree char *socket =
            g_strdup_printf("%s %u", smbios_option(s, 4, "sock_pfx", "CPU"), i);
        Structure t;

        smbios_begin(&t, 4, 0x2a, 0x0400 + i);
        string_field(&t, 4, socket);
        t.body[5] = 3; /* central processor */
        t.body[6] = 0xfe;
        string_field(&t, 7, smbios_option(s, 4, "manufacturer", "QEMU"));
        stle32(t.body + 8, signature);
        stle32(t.body + 12, features);
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

static void build_oem_strings(Smbios *s)
{
    Structure t;

    if (!s->oem_strings->len) {
        return;
    }
    smbios_begin(&t, 11, 5, 0x0e00);
    for (unsigned i = 0; i < s->oem_strings->len && i < 255; i++) {
        string_field(&t, 4, s->oem_strings->pdata[i]); /* the count, as it comes out */
    }
    smbios_end(s, &t);
}

static bool build_memory(Smbios *s, Vm *vm, GError **err)
{
    const PcMachine *pc = vm->machine;
    unsigned dimms = MAX(DIV_ROUND_UP(vm->ram_size, DIMM_SIZE), 1ull);
    uint64_t left = vm->ram_size;
    const uint64_t ranges[2][2] = {{0, pc->below_4g}, {4 * GiB, pc->above_4g}};
    uint16_t speed = 0;
    Structure t;

    if (!number_option(s, 17, "speed", UINT16_MAX, &speed, err)) {
        return false;
    }
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
    stle16(t.body + 13, dimms);
    smbios_end(s, &t);

    for (unsigned i = 0; i < dimms; i++) {
        uint64_t size = MIN(left, DIMM_SIZE) / MiB;
        g_autofree char *name =
            g_strdup_printf("%s %u", smbios_option(s, 17, "loc_pfx", "DIMM"), i);

        left -= MIN(left, DIMM_SIZE);
        smbios_begin(&t, 17, 0x28, 0x1100 + i);
        stle16(t.body + 4, 0x1000);
        stle16(t.body + 6, 0xfffe);
        stle16(t.body + 8, 0xffff);
        stle16(t.body + 10, 0xffff);
        stle16(t.body + 12, MIN(size, 0x7fffull));
        stle32(t.body + 28, size >= 0x7fff ? size : 0);
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
    return true;
}

static void build_tail(Smbios *s)
{
    Structure t;

    smbios_begin(&t, 32, 0x0b, 0x2000); /* boot status: no errors */
    smbios_end(s, &t);
    smbios_begin(&t, 127, 4, 0x7f00);
    smbios_end(s, &t);
}

/* Structures of the user's own, ready-made: counted, and refused where they do not end. */
static bool add_file(Smbios *s, const char *path, GError **err)
{
    size_t len, pos = 0;
    g_autofree uint8_t *data = host_read_file(path, TABLES_MAX, &len, err);

    if (!data) {
        return false;
    }
    while (pos < len) {
        size_t start = pos;

        if (len - pos < 6 || data[pos + 1] < 4 || data[pos + 1] + 2u > len - pos) {
            return error_set(err, "-smbios file=%s: no SMBIOS structure at byte %zu", path, pos);
        }
        s->user_bios |= data[pos] == 0;
        pos += data[pos + 1];
        while (pos + 1 < len && (data[pos] || data[pos + 1])) {
            pos++;
        }
        if (pos + 1 >= len) {
            return error_set(err, "-smbios file=%s: the structure at byte %zu does not end", path,
                             start);
        }
        pos += 2;
        s->count++;
        s->largest = MAX(s->largest, pos - start);
    }
    g_byte_array_append(s->tables, data, len);
    return true;
}

Smbios *smbios_build(Vm *vm, GPtrArray *entries, GError **err)
{
    const PcMachine *pc = vm->machine;
    Smbios *s = g_new0(Smbios, 1);
    bool ok = true;

    s->tables = g_byte_array_new();
    s->options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    s->oem_strings = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; ok && entries && i < entries->len; i++) {
        const char *file = json_str(entries->pdata[i], "file");

        ok = file ? add_file(s, file, err) : take_options(s, entries->pdata[i], err);
    }
    /* SeaBIOS adds a type 0 that tells of itself */
    if (ok && (g_hash_table_contains(s->options, "0") || (pc->config->kernel && !s->user_bios))) {
        ok = build_bios(s, err);
    }
    if (ok) {
        build_system(s, vm);
        build_baseboard(s, vm);
        build_chassis(s, vm);
        ok = build_processors(s, vm, err);
    }
    if (ok) {
        build_oem_strings(s);
        ok = build_memory(s, vm, err);
    }
    if (ok) {
        build_tail(s);
        ok = s->tables->len <= TABLES_MAX ||
             error_set(err, "the SMBIOS tables have %u bytes, more than 64 KiB", s->tables->len);
    }
    if (!ok) {
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

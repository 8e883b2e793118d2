/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -smbios: fields by type, and structures from files. */
#include <string.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"
#include "smbios_internal.h"

/* The keys of -smbios type=N. */
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
      "current-speed", "processor-id"}},
    {8, {"internal_reference", "external_reference", "connector_type", "port_type"}},
    {11, {"value", "path"}},
    {17, {"loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed"}},
    {41, {"designation", "kind", "instance", "pcidev"}},
};

static const char *const *options_of(json_t *entry, unsigned *type, GError **err)
{
    const char *text = json_str(entry, "type");
    uint64_t number;

    if (!text || !parse_uint(text, 255, &number)) {
        error_set(err, "-smbios: 'type' must be a number from 0 to 255");
        return NULL;
    }
    *type = number;
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (options[i].type == *type) {
            return options[i].keys;
        }
    }
    error_set(err, "-smbios: do not know how to build fields for SMBIOS type %u", *type);
    return NULL;
}

/* Adds a string of type 11: a value, or the content of a file. */
static bool take_oem_string(Smbios *s, const char *key, json_t *value, GError **err)
{
    const char *text = json_string_value(value);
    g_autofree char *content = NULL;
    size_t len;

    if (!text) {
        g_autofree char *found = json_text(value);

        return error_set(err, "-smbios type=11: '%s' expects a text, not %s", key, found);
    }
    if (g_str_equal(key, "value")) {
        g_ptr_array_add(s->oem_strings, g_strdup(text));
        return true;
    }
    content = host_read_file(text, SMBIOS_TABLES_MAX, &len, err);
    if (!content) {
        g_prefix_error(err, "-smbios type=11: ");
        return false;
    }
    if (strlen(content) != len) {
        return error_set(err, "-smbios type=11,path=%s: the file holds a NUL, a string cannot",
                         text);
    }
    g_ptr_array_add(s->oem_strings, g_steal_pointer(&content));
    return true;
}

static bool take_oem_strings(Smbios *s, const char *key, json_t *value, GError **err)
{
    json_t *one;
    size_t i;

    if (!json_is_array(value)) {
        return take_oem_string(s, key, value, err);
    }
    json_array_foreach(value, i, one)
    {
        if (!take_oem_string(s, key, one, err)) {
            return false;
        }
    }
    return true;
}

static bool smbios_take_option(Smbios *s, unsigned type, const char *key, json_t *value,
                               GError **err)
{
    if (type == 11) {
        return take_oem_strings(s, key, value, err);
    }
    if (!json_is_string(value)) {
        g_autofree char *text = json_text(value);

        return error_set(err, "-smbios type=%u: '%s' expects a text, not %s", type, key, text);
    }
    g_hash_table_replace(s->options, g_strdup_printf("%u.%s", type, key),
                         g_strdup(json_string_value(value)));
    return true;
}

static bool take_entry(Smbios *s, json_t *entry, GError **err)
{
    unsigned type = 0;
    const char *const *keys = options_of(entry, &type, err);
    const char *key;
    json_t *value;

    if (!keys) {
        return false;
    }
    json_object_foreach(entry, key, value)
    {
        if (g_str_equal(key, "type")) {
            continue;
        }
        if (!g_strv_contains(keys, key)) {
            g_autofree char *what = g_strdup_printf("-smbios type=%u parameter", type);

            return error_unknown_name(err, what, key, keys);
        }
        if (!smbios_take_option(s, type, key, value, err)) {
            return false;
        }
    }
    if (type == 8 || type == 41) {
        g_ptr_array_add(type == 8 ? s->ports : s->onboard, entry);
    }
    s->user_bios |= type == 0;
    g_hash_table_replace(s->options, g_strdup_printf("%u", type), NULL);
    return true;
}

/* Appends a file of ready-made structures, whose ends must be found to count them. */
static bool add_file(Smbios *s, const char *path, GError **err)
{
    size_t len, pos = 0;
    g_autofree uint8_t *data = host_read_file(path, SMBIOS_TABLES_MAX, &len, err);

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

bool smbios_take_entries(Smbios *s, GPtrArray *entries, GError **err)
{
    for (unsigned i = 0; entries && i < entries->len; i++) {
        const char *file = json_str(entries->pdata[i], "file");

        if (!(file ? add_file(s, file, err) : take_entry(s, entries->pdata[i], err))) {
            return false;
        }
    }
    return true;
}

const char *smbios_option(const Smbios *s, unsigned type, const char *key, const char *fallback)
{
    g_autofree char *name = g_strdup_printf("%u.%s", type, key);
    const char *value = g_hash_table_lookup(s->options, name);

    return value ? value : fallback;
}

bool smbios_number(const char *text, unsigned type, const char *key, uint64_t max, uint64_t *out,
                   GError **err)
{
    return !text || parse_uint(text, max, out) ||
           error_set(err, "-smbios type=%u: '%s=%s' is no number up to %" G_GUINT64_FORMAT, type,
                     key, text, max);
}

bool smbios_number_option(const Smbios *s, unsigned type, const char *key, uint64_t max,
                          uint64_t *out, GError **err)
{
    return smbios_number(smbios_option(s, type, key, NULL), type, key, max, out, err);
}

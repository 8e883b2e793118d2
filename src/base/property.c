/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/property.h"

#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"

enum { UUID_TEXT_LEN = 36 };

static char *uuid_text(const uint8_t uuid[16])
{
    GString *text = g_string_sized_new(UUID_TEXT_LEN);

    for (int i = 0; i < 16; i++) {
        g_string_append_printf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                               uuid[i]);
    }
    return g_string_free(text, FALSE);
}

static char *mac_text(const uint8_t mac[6])
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                           mac[5]);
}

/* Types. */

static bool is_integer(PropType type)
{
    return type >= PROP_UINT8 && type <= PROP_INT64;
}

static bool is_signed(PropType type)
{
    return type == PROP_INT32 || type == PROP_INT64;
}

static const struct {
    const char *name, *c_name;
    uint64_t min, max; /* as int64_t where signed */
} integers[] = {
    [PROP_UINT8] = {"uint8", "uint8_t", 0, UINT8_MAX},
    [PROP_UINT16] = {"uint16", "uint16_t", 0, UINT16_MAX},
    [PROP_UINT32] = {"uint32", "uint32_t", 0, UINT32_MAX},
    [PROP_UINT64] = {"uint64", "uint64_t", 0, UINT64_MAX},
    [PROP_INT32] = {"int32", "int32_t", (uint64_t)(int64_t)INT32_MIN, INT32_MAX},
    [PROP_INT64] = {"int64", "int64_t", (uint64_t)INT64_MIN, INT64_MAX},
};

const char *property_misfit(PropType type, json_t *value)
{
    uint64_t n;

    if (is_signed(type)) {
        json_int_t i = json_integer_value(value);

        return json_is_integer(value) && i >= (int64_t)integers[type].min &&
                       i <= (int64_t)integers[type].max
                   ? NULL
                   : integers[type].c_name;
    }
    return json_uint_value(value, &n) && n <= integers[type].max ? NULL : integers[type].c_name;
}

static void *property_field(const Property *p, void *target)
{
    return (char *)target + p->offset;
}

static void store_integer(const Property *p, void *at, uint64_t value)
{
    switch (p->type) {
    case PROP_UINT8:
        *(uint8_t *)at = value;
        break;
    case PROP_UINT16:
        *(uint16_t *)at = value;
        break;
    case PROP_UINT32:
    case PROP_INT32:
        *(uint32_t *)at = value;
        break;
    default:
        *(uint64_t *)at = value;
        break;
    }
}

static uint64_t load_integer(const Property *p, const void *at)
{
    switch (p->type) {
    case PROP_UINT8:
        return *(const uint8_t *)at;
    case PROP_UINT16:
        return *(const uint16_t *)at;
    case PROP_UINT32:
        return *(const uint32_t *)at;
    case PROP_INT32:
        return *(const int32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

/*
 * Setters, one for each kind of type. The value is JSON, a string where it comes from 'key=value'.
 * Errors have the words of QEMU 7.2, where QEMU has such an error.
 */

static bool wrong_type(const Property *p, const char *expected, GError **err)
{
    return error_set(err, "Invalid parameter type for '%s', expected: %s", p->name, expected);
}

static char *short_text(json_t *value)
{
    return json_is_string(value) && !json_is_big(value) ? g_strdup(json_string_value(value))
                                                        : json_text(value);
}

static bool property_expects(const Property *p, const char *expected, json_t *value, GError **err)
{
    g_autofree char *text = short_text(value);

    return error_set(err, "Parameter '%s' expects %s, not '%s'", p->name, expected, text);
}

static bool set_bool(const Property *p, void *at, json_t *value, GError **err)
{
    bool on;

    if (json_is_boolean(value)) {
        on = json_is_true(value);
    } else if (!json_is_string(value)) {
        return wrong_type(p, "boolean", err);
    } else if (!parse_bool(json_string_value(value), &on)) {
        return property_expects(p, "'on' or 'off'", value, err);
    }
    *(bool *)at = on != !!(p->flags & PROP_FLAG_INVERT);
    return true;
}

static bool set_on_off_auto(const Property *p, void *at, json_t *value, GError **err)
{
    OnOffAuto *out = at;
    bool on;

    if (json_is_boolean(value)) {
        *out = json_is_true(value) ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
        return true;
    }
    if (!json_is_string(value)) {
        return wrong_type(p, "string", err);
    }
    const char *text = json_string_value(value);
    if (strcmp(text, "auto") == 0) {
        *out = ON_OFF_AUTO_AUTO;
    } else if (parse_bool(text, &on)) {
        *out = on ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
    } else {
        return error_set(err,
                         "Parameter '%s' does not accept value '%s'; it expects 'on', 'off' or "
                         "'auto'",
                         p->name, text);
    }
    return true;
}

static bool set_integer(const Property *p, void *at, json_t *value, GError **err)
{
    bool is_neg = false;
    uint64_t n;

    if (json_uint_value(value, &n)) {
        is_neg = false;
    } else if (json_is_integer(value)) {
        n = json_integer_value(value);
        is_neg = true;
    } else if (!json_is_string(value)) {
        return wrong_type(p, "integer", err);
    } else if (!parse_uint(json_string_value(value), UINT64_MAX, &n)) {
        int64_t negative;
        if (!parse_int(json_string_value(value), &negative)) {
            return property_expects(p, "integer", value, err);
        }
        n = negative;
        is_neg = negative < 0;
    }
    bool fits = is_signed(p->type)
                    ? (is_neg || n <= INT64_MAX) && (int64_t)n >= (int64_t)integers[p->type].min &&
                          (int64_t)n <= (int64_t)integers[p->type].max
                    : !is_neg && n <= integers[p->type].max;
    if (!fits) {
        return property_expects(p, integers[p->type].c_name, value, err);
    }
    if (p->max) {
        if (is_signed(p->type) ? (int64_t)n < (int64_t)p->min || (int64_t)n > (int64_t)p->max
                               : n < p->min || n > p->max) {
            g_autofree char *range =
                is_signed(p->type)
                    ? g_strdup_printf("a number from %" PRId64 " to %" PRId64, (int64_t)p->min,
                                      (int64_t)p->max)
                    : g_strdup_printf("a number from %" PRIu64 " to %" PRIu64, p->min, p->max);
            return property_expects(p, range, value, err);
        }
    }
    store_integer(p, at, n);
    return true;
}

static bool property_set_size(const Property *p, void *at, json_t *value, GError **err)
{
    uint64_t n;

    if (json_uint_value(value, &n)) {
        /* A JSON number is bytes, also of a PROP_SIZE_MIB. */
    } else if (json_is_integer(value) || json_is_string(value)) {
        const char *text = json_is_string(value) ? json_string_value(value) : "-";
        if (!parse_size(text, p->type == PROP_SIZE_MIB ? MiB : 1, &n)) {
            return property_expects(
                p,
                "a size value: a number below 2^64 with an optional suffix k, M, G, T, "
                "P or E",
                value, err);
        }
    } else {
        return wrong_type(p, "integer", err);
    }
    if (p->max && (n < p->min || n > p->max)) {
        g_autofree char *min = g_format_size_full(p->min, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *max = g_format_size_full(p->max, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *range = g_strdup_printf("a size from %s to %s", min, max);
        return property_expects(p, range, value, err);
    }
    *(uint64_t *)at = n;
    return true;
}

static bool property_not_listed(const Property *p, const char *text, GError **err)
{
    g_autofree char *list = g_strjoinv(", ", (char **)p->names);

    return error_set(err, "Parameter '%s' does not accept value '%s'; it accepts: %s", p->name,
                     text, list);
}

static bool property_set_string(const Property *p, void *at, json_t *value, GError **err)
{
    if (!json_is_string(value) || json_is_big(value)) {
        return wrong_type(p, "string", err);
    }
    if (strlen(json_string_value(value)) != json_string_length(value)) {
        return error_set(err, "Parameter '%s' must not contain a NUL character", p->name);
    }
    if (p->type == PROP_STRING && p->names &&
        !g_strv_contains(p->names, json_string_value(value))) {
        return property_not_listed(p, json_string_value(value), err);
    }
    g_free(*(char **)at);
    *(char **)at = g_strdup(json_string_value(value));
    return true;
}

static bool set_enum(const Property *p, void *at, json_t *value, GError **err)
{
    const char *text = json_string_value(value);

    if (!text) {
        return wrong_type(p, "string", err);
    }
    for (int i = 0; p->names[i]; i++) {
        if (strcmp(p->names[i], text) == 0) {
            *(int *)at = i;
            return true;
        }
    }
    return property_not_listed(p, text, err);
}

static bool set_mac(const Property *p, void *at, json_t *value, GError **err)
{
    uint8_t mac[6];

    if (!json_is_string(value)) {
        return wrong_type(p, "string", err);
    }
    if (!parse_mac(json_string_value(value), mac)) {
        return error_set(err,
                         "Parameter '%s' doesn't take value '%s'; it expects a MAC address such as "
                         "52:54:00:12:34:56",
                         p->name, json_string_value(value));
    }
    memcpy(at, mac, sizeof mac);
    return true;
}

static bool set_pci_addr(const Property *p, void *at, json_t *value, GError **err)
{
    int32_t *devfn = at;

    if (json_is_integer(value)) {
        if (json_integer_value(value) < -1 || json_integer_value(value) > 255) {
            return property_expects(p, "a number from -1 to 255", value, err);
        }
        *devfn = json_integer_value(value);
        return true;
    }
    if (!json_is_string(value)) {
        return wrong_type(p, "string", err);
    }
    if (!parse_pci_addr(json_string_value(value), devfn)) {
        return error_set(err,
                         "Parameter '%s' doesn't take value '%s'; it expects SLOT or SLOT.FUNCTION "
                         "in hexadecimal, from 00.0 to 1f.7",
                         p->name, json_string_value(value));
    }
    return true;
}

static bool set_uuid(const Property *p, void *at, json_t *value, GError **err)
{
    uint8_t uuid[16];

    if (!json_is_string(value)) {
        return wrong_type(p, "string", err);
    }
    /* "auto" is valid only where it is also the default. */
    bool may_be_auto = g_strcmp0(p->defval, "auto") == 0;
    const char *text = json_string_value(value);
    if ((!may_be_auto && strcmp(text, "auto") == 0) || !parse_uuid(text, uuid)) {
        g_autofree char *expected =
            g_strdup_printf("%sa UUID such as 550e8400-e29b-41d4-a716-446655440000",
                            may_be_auto ? "'auto' or " : "");
        return property_expects(p, expected, value, err);
    }
    memcpy(at, uuid, sizeof uuid);
    return true;
}

static bool set_tree(const Property *p, void *at, json_t *value, GError **err)
{
    json_incref(value);
    json_decref(*(json_t **)at);
    *(json_t **)at = value;
    return true;
}

/* Accepts QAPI's form of a list, [{"str": "..."}], as well as ["..."] and a single string. */
static bool set_string_list(const Property *p, void *at, json_t *value, GError **err)
{
    json_t *list = json_array(), *element;
    size_t i;

    if (json_is_string(value)) {
        json_array_append(list, value);
    } else if (!json_is_array(value)) {
        json_decref(list);
        return wrong_type(p, "array", err);
    }
    json_array_foreach(value, i, element)
    {
        if (json_is_object(element) && json_object_size(element) == 1) {
            element = json_object_get(element, "str");
        }
        if (!json_is_string(element)) {
            json_decref(list);
            return wrong_type(p, "array of strings", err);
        }
        json_array_append(list, element);
    }
    json_decref(*(json_t **)at);
    *(json_t **)at = list;
    return true;
}

typedef bool (*PropSetter)(const Property *p, void *at, json_t *value, GError **err);

static PropSetter property_setter(PropType type)
{
    switch (type) {
    case PROP_BOOL:
        return set_bool;
    case PROP_ON_OFF_AUTO:
        return set_on_off_auto;
    case PROP_SIZE:
    case PROP_SIZE_MIB:
        return property_set_size;
    case PROP_STRING:
    case PROP_LINK:
        return property_set_string;
    case PROP_ENUM:
        return set_enum;
    case PROP_MACADDR:
        return set_mac;
    case PROP_PCI_ADDR:
        return set_pci_addr;
    case PROP_UUID:
        return set_uuid;
    case PROP_TREE:
        return set_tree;
    case PROP_STRING_LIST:
        return set_string_list;
    default:
        g_assert(is_integer(type));
        return set_integer;
    }
}

/* Room for the field of any property. */
typedef union {
    uint8_t bytes[16];
    uint64_t u64;
    void *pointer;
} FieldValue;

static size_t field_size(PropType type)
{
    switch (type) {
    case PROP_BOOL:
        return sizeof(bool);
    case PROP_ON_OFF_AUTO:
        return sizeof(OnOffAuto);
    case PROP_UINT8:
        return 1;
    case PROP_UINT16:
        return 2;
    case PROP_UINT32:
    case PROP_INT32:
    case PROP_PCI_ADDR:
        return 4;
    case PROP_ENUM:
        return sizeof(int);
    case PROP_MACADDR:
        return 6;
    case PROP_UUID:
        return 16;
    case PROP_STRING:
    case PROP_LINK:
    case PROP_TREE:
    case PROP_STRING_LIST:
        return sizeof(void *);
    default:
        return 8;
    }
}

static void free_field(PropType type, void *at)
{
    if (type == PROP_STRING || type == PROP_LINK) {
        g_free(*(char **)at);
    } else if (type == PROP_TREE || type == PROP_STRING_LIST) {
        json_decref(*(json_t **)at);
    }
}

/* Aborts where the default is not valid: that is a mistake in the table. */
static void property_set_default(const Property *p, void *at)
{
    memset(at, 0, field_size(p->type));
    if (!p->defval) {
        if (p->type == PROP_PCI_ADDR) {
            *(int32_t *)at = -1;
        }
        if (p->type == PROP_BOOL) {
            *(bool *)at = !!(p->flags & PROP_FLAG_INVERT);
        }
        return;
    }
    g_autoptr(GError) err = NULL;
    json_t *value = json_string(p->defval);
    if (!property_setter(p->type)(p, at, value, &err)) {
        g_error("property '%s' has a bad default: %s", p->name, err->message);
    }
    json_decref(value);
}

void properties_init(const Property *table, void *target)
{
    for (const Property *p = table; p->name; p++) {
        property_set_default(p, property_field(p, target));
        if (p->flags & PROP_FLAG_HAS) {
            *(bool *)((char *)target + p->set_offset) = false;
        }
    }
}

void properties_clear(const Property *table, void *target)
{
    for (const Property *p = table; p->name; p++) {
        free_field(p->type, property_field(p, target));
        memset(property_field(p, target), 0, field_size(p->type));
        if (p->flags & PROP_FLAG_HAS) {
            *(bool *)((char *)target + p->set_offset) = false;
        }
    }
}

/* PROP_FLAG_FIXED: parses the value and compares it with the default. */
static bool check_fixed(const Property *p, json_t *value, const char *what, GError **err)
{
    Property at_zero = *p;
    FieldValue given = {0}, only = {0};

    at_zero.offset = 0;
    if (!property_setter(p->type)(&at_zero, &given, value, err)) {
        return false;
    }
    property_set_default(&at_zero, &only);
    json_t *a = property_get(&at_zero, &given), *b = property_get(&at_zero, &only);
    bool same = json_equal(a, b);
    json_decref(a);
    json_decref(b);
    free_field(p->type, &given);
    free_field(p->type, &only);
    if (!same) {
        g_autofree char *text = short_text(value);
        return error_set(err, "%s%s%s=%s is not supported", what, *what ? ": " : "", p->name, text);
    }
    return true;
}

bool property_set(const Property *p, void *target, json_t *value, const char *what, GError **err)
{
    if (p->flags & PROP_FLAG_FIXED) {
        if (!check_fixed(p, value, what, err)) {
            return false;
        }
    } else if (!property_setter(p->type)(p, property_field(p, target), value, err)) {
        if (*what == '-') {
            g_prefix_error(err, "%s: ", what);
        }
        return false;
    }
    if (p->flags & PROP_FLAG_HAS) {
        *(bool *)((char *)target + p->set_offset) = true;
    }
    return true;
}

const Property *property_find(const Property *table, const char *name)
{
    for (const Property *p = table; p->name; p++) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static bool unknown_property(const Property *table, const char *name, const char *const *skip,
                             const char *what, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GError) reason = NULL;

    for (const Property *p = table; p->name; p++) {
        if (!(p->flags & PROP_FLAG_HIDDEN)) {
            g_ptr_array_add(names, (char *)p->name);
        }
    }
    for (; skip && *skip; skip++) {
        g_ptr_array_add(names, (char *)*skip);
    }
    g_ptr_array_add(names, NULL);
    error_unknown_name(&reason, "property", name, (const char *const *)names->pdata);
    return error_set(err, "%s: %s", what, reason->message);
}

bool properties_apply(const Property *table, void *target, json_t *values, const char *const *skip,
                      const char *what, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(values, key, value)
    {
        if (skip && g_strv_contains(skip, key)) {
            continue;
        }
        const Property *p = property_find(table, key);
        if (!p) {
            return unknown_property(table, key, skip, what, err);
        }
        if (!property_set(p, target, value, what, err)) {
            return false;
        }
    }
    for (const Property *p = table; p->name; p++) {
        if ((p->flags & PROP_FLAG_REQUIRED) && !json_object_get(values, p->name)) {
            return error_set(err, "%s: Parameter '%s' is missing", what, p->name);
        }
    }
    return true;
}

static const char *on_off_auto_text(OnOffAuto value)
{
    return value == ON_OFF_AUTO_AUTO ? "auto" : value == ON_OFF_AUTO_ON ? "on" : "off";
}

static json_t *string_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

json_t *property_get(const Property *p, const void *target)
{
    const void *at = property_field(p, (void *)target);

    switch (p->type) {
    case PROP_BOOL:
        return json_boolean(*(const bool *)at != !!(p->flags & PROP_FLAG_INVERT));
    case PROP_ON_OFF_AUTO:
        return json_string(on_off_auto_text(*(const OnOffAuto *)at));
    case PROP_SIZE:
    case PROP_SIZE_MIB:
        return json_uint(*(const uint64_t *)at);
    case PROP_STRING:
    case PROP_LINK:
        return string_or_null(*(char *const *)at);
    case PROP_ENUM:
        return json_string(p->names[*(const int *)at]);
    case PROP_MACADDR: {
        g_autofree char *text = mac_text(at);
        return json_string(text);
    }
    case PROP_PCI_ADDR:
        return json_integer(*(const int32_t *)at);
    case PROP_UUID: {
        g_autofree char *text = uuid_text(at);
        return json_string(text);
    }
    case PROP_TREE:
    case PROP_STRING_LIST: {
        json_t *tree = *(json_t *const *)at;
        return tree ? json_incref(tree) : json_null();
    }
    case PROP_INT32:
    case PROP_INT64:
        return json_integer(load_integer(p, at));
    default:
        return json_uint(load_integer(p, at));
    }
}

/* "536870912 (512 MiB)" */
static char *size_text(uint64_t size)
{
    g_autofree char *rounded = size_to_text(size);

    return g_strdup_printf("%" PRIu64 " (%s)", size, rounded);
}

char *property_print(const Property *p, const void *target)
{
    const void *at = property_field(p, (void *)target);

    switch (p->type) {
    case PROP_BOOL:
        return g_strdup(*(const bool *)at != !!(p->flags & PROP_FLAG_INVERT) ? "true" : "false");
    case PROP_SIZE:
    case PROP_SIZE_MIB:
        return size_text(*(const uint64_t *)at);
    case PROP_PCI_ADDR: {
        int32_t devfn = *(const int32_t *)at;
        return devfn < 0 ? g_strdup("<unset>") : g_strdup_printf("%02x.%x", devfn >> 3, devfn & 7);
    }
    case PROP_STRING:
    case PROP_LINK: {
        const char *text = *(char *const *)at;
        return g_strdup_printf("\"%s\"", text ? text : "");
    }
    case PROP_TREE:
    case PROP_STRING_LIST: {
        json_t *tree = *(json_t *const *)at;
        return tree ? json_text(tree) : g_strdup("<null>");
    }
    case PROP_ON_OFF_AUTO:
        return g_strdup_printf("\"%s\"", on_off_auto_text(*(const OnOffAuto *)at));
    case PROP_ENUM:
        return g_strdup_printf("\"%s\"", p->names[*(const int *)at]);
    case PROP_MACADDR: {
        g_autofree char *text = mac_text(at);
        return g_strdup_printf("\"%s\"", text);
    }
    case PROP_UUID: {
        g_autofree char *text = uuid_text(at);
        return g_strdup_printf("\"%s\"", text);
    }
    case PROP_INT32:
    case PROP_INT64: {
        int64_t n = load_integer(p, at);
        return g_strdup_printf("%" PRId64 " (0x%" PRIx64 ")", n, n);
    }
    default: {
        uint64_t n = load_integer(p, at);
        return g_strdup_printf("%" PRIu64 " (0x%" PRIx64 ")", n, n);
    }
    }
}

const char *property_type_name(const Property *p)
{
    switch (p->type) {
    case PROP_BOOL:
        return "bool";
    case PROP_ON_OFF_AUTO:
        return "OnOffAuto";
    case PROP_SIZE:
    case PROP_SIZE_MIB:
        return "size";
    case PROP_ENUM:
        return "enum";
    case PROP_PCI_ADDR:
        return "int32";
    case PROP_TREE:
        return "any";
    case PROP_STRING_LIST:
        return "list";
    case PROP_LINK:
        /* As in QEMU: backends are named by a string, objects by a link. */
        if (p->names && p->names[0] && strcmp(p->names[0], "netdev") != 0 &&
            strcmp(p->names[0], "drive") != 0 && strcmp(p->names[0], "chardev") != 0) {
            g_autofree char *name = g_strdup_printf("link<%s>", p->names[0]);
            return g_intern_string(name);
        }
        return "str";
    case PROP_STRING:
    case PROP_MACADDR:
    case PROP_UUID:
        return "str";
    default:
        return integers[p->type].name;
    }
}

void properties_help(const Property *table, GString *out)
{
    enum { HELP_COLUMN = 24 };

    for (const Property *p = table; p->name; p++) {
        if (p->flags & PROP_FLAG_HIDDEN) {
            continue;
        }
        g_autofree char *choices = p->type == PROP_ENUM ? g_strjoinv("|", (char **)p->names) : NULL;
        gsize start = out->len;
        g_string_append_printf(out, "  %s=<%s>", p->name,
                               choices ? choices : property_type_name(p));
        if (p->help || p->defval) {
            int pad = HELP_COLUMN - (int)(out->len - start);
            g_string_append_printf(out, "%*s - %s", MAX(pad, 0), "", p->help ? p->help : "");
        }
        if (p->defval) {
            g_string_append_printf(out, " (default: %s)", p->defval);
        }
        g_string_append_c(out, '\n');
    }
}

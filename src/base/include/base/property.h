/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed properties: how option values get into a C struct. A module lists its options in a table;
 * parsing, validation, defaults, help and introspection are derived from that.
 *
 * Values arrive as a JSON tree (jansson). Its leaves are strings where it was made from
 * 'key=value,...', and have types where it was JSON; every property takes both. Main thread only.
 */
#ifndef BASE_PROPERTY_H
#define BASE_PROPERTY_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    PROP_BOOL,        /* bool: on/off, yes/no, true/false, y/n */
    PROP_ON_OFF_AUTO, /* OnOffAuto */
    PROP_UINT8,
    PROP_UINT16,
    PROP_UINT32,
    PROP_UINT64,
    PROP_INT32,
    PROP_INT64,
    PROP_SIZE,        /* uint64_t; suffixes B K M G T P E; a bare number is bytes */
    PROP_SIZE_MIB,    /* the same; a bare number is MiB (-m) */
    PROP_STRING,      /* char *, owned by the struct */
    PROP_ENUM,        /* int, index into Property.names */
    PROP_MACADDR,     /* uint8_t[6] */
    PROP_PCI_ADDR,    /* int32_t devfn, -1 = any: "SLOT[.FN]" in hex, or a number */
    PROP_UUID,        /* uint8_t[16], in the text's byte order; "auto" is random */
    PROP_LINK,        /* char *: the id of another object; names[0] says its kind */
    PROP_TREE,        /* json_t *, owned reference: a nested dict or list, or a string */
    PROP_STRING_LIST, /* json_t * array of strings, owned: repeats of the key append */
    /* In descriptions of JSON only (base/shape.h): no field of a struct has these. */
    PROP_NULL,
    PROP_NUMBER,
} PropType;

typedef enum { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;

struct PropertyShape;

typedef struct Property {
    const char *name;
    PropType type;
    size_t offset;      /* into the struct that is filled */
    const char *defval; /* as text; NULL: zero, or none */
    const char *help;   /* one line */
    /*
     * PROP_ENUM, PROP_STRING_LIST of an enum's values: NULL-terminated. PROP_STRING: the same, for
     * what QEMU's schema has as a string (or NULL: any text will do). PROP_LINK: its kind.
     */
    const char *const *names;
    uint64_t min, max; /* integers and sizes, where max != 0 (signed types: as int64_t) */
    unsigned flags;
    size_t set_offset; /* with PROP_FLAG_HAS: of a bool that says whether a value was given */
    /* PROP_TREE, PROP_STRING_LIST: what the value consists of (NULL: anything); base/shape.h */
    const struct PropertyShape *shape;
} Property;

enum {
    PROP_FLAG_REQUIRED = 1 << 0,
    PROP_FLAG_HAS = 1 << 1,     /* set_offset is valid */
    PROP_FLAG_HIDDEN = 1 << 2,  /* a compatibility spelling: parsed, not listed in help */
    PROP_FLAG_RUNTIME = 1 << 3, /* may be changed on a live object (qom-set, blockdev-reopen) */
    PROP_FLAG_INVERT = 1 << 4,  /* PROP_BOOL stored inverted ('no-x' spellings) */
    /*
     * Only the default is supported: any other value is refused with "NAME=VALUE is not
     * supported", as 'usb=on' is where there is no USB.
     */
    PROP_FLAG_FIXED = 1 << 5,
    PROP_FLAG_LIST = 1 << 6, /* in a description of JSON only: a list of such values */
    /* A spelling of the command line only; in QMP another property says the same. */
    PROP_FLAG_NOT_JSON = 1 << 7,
    /* PROP_BOOL, HMP: written as the word "-name", where others are flags by their one letter. */
    PROP_FLAG_WORD = 1 << 8,
};

/* Entries of tables: name, type, struct, its field, default, help. */
#define PROP(n, t, s, f, d, h)                                                                     \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(s, f), .defval = (d), .help = (h)             \
    }
#define PROP_E(n, s, f, d, list, h)                                                                \
    {                                                                                              \
        .name = (n), .type = PROP_ENUM, .offset = offsetof(s, f), .defval = (d), .names = (list),  \
        .help = (h)                                                                                \
    }
#define PROP_L(n, s, f, kind, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = PROP_LINK, .offset = offsetof(s, f),                                  \
        .names = (const char *const[]){kind, NULL}, .help = (h)                                    \
    }
#define PROP_END                                                                                   \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* Sets every field of the table to its default. The old values are not freed. */
void properties_init(const Property *table, void *target);
/* Frees strings and trees of the table's fields and zeroes them. */
void properties_clear(const Property *table, void *target);

/*
 * Sets the fields named in 'values' (an object; NULL is an empty one) and checks required ones.
 * Keys in 'skip' (NULL-terminated, may be NULL) belong to the caller. An unknown key, a bad value
 * or a missing required key is an error that quotes it and says what is expected. Errors about keys
 * begin with 'what' ("device 'virtio-blk-pci'"); errors about values do where 'what' is an option
 * ("-m"). After a failure the target may still be given to properties_clear().
 */
bool properties_apply(const Property *table, void *target, json_t *values, const char *const *skip,
                      const char *what, GError **err);
/* Sets one property; 'what' as above. */
bool property_set(const Property *p, void *target, json_t *value, const char *what, GError **err);
/* The property's present value as JSON of its own type (new reference). */
json_t *property_get(const Property *p, const void *target);
/* The property's present value in the form of 'info qtree' (caller frees). */
char *property_print(const Property *p, const void *target);
/* The table's property of that name, or NULL. */
const Property *property_find(const Property *table, const char *name);
/* NULL: the JSON number fits an integer of this type. Else what is expected: "uint16_t". */
const char *property_misfit(PropType type, json_t *value);
/* "bool", "uint32", "size", "str", ... as QEMU names the types. */
const char *property_type_name(const Property *p);
/* Appends a line for each property: "  name=<type>   - help (default: x)\n". */
void properties_help(const Property *table, GString *out);

/* Parsers of scalars. False, and *out unchanged, where the whole text is not one valid value. */
bool parse_uint(const char *text, uint64_t max, uint64_t *out); /* C notation */
bool parse_int(const char *text, int64_t *out);
bool parse_size(const char *text, uint64_t unit, uint64_t *out); /* unit of a bare number */
bool parse_bool(const char *text, bool *out);
bool parse_mac(const char *text, uint8_t mac[6]);
bool parse_pci_addr(const char *text, int32_t *devfn); /* "SLOT[.FN]" in hex; "-1" is any */
bool parse_uuid(const char *text, uint8_t uuid[16]);   /* "auto" is random */

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option text into a struct with a property of every type: what is taken can be read back, and
 * that can be set again.
 */
#include <stdint.h>
#include "base/keyval.h"
#include "base/property.h"

static const char *const modes[] = {"none", "ide", "virtio", NULL};

typedef struct {
    bool flag, inverted, has_u8;
    OnOffAuto tri;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64, size, mib;
    int32_t i32, addr;
    int64_t i64;
    char *text, *link;
    int mode;
    uint8_t mac[6], uuid[16];
    json_t *tree, *list;
    bool fixed;
} Thing;

static const Property props[] = {
    PROP("b", PROP_BOOL, Thing, flag, "on", NULL),
    {.name = "nb",
     .type = PROP_BOOL,
     .offset = offsetof(Thing, inverted),
     .flags = PROP_FLAG_INVERT},
    PROP("o", PROP_ON_OFF_AUTO, Thing, tri, "auto", NULL),
    {.name = "u8",
     .type = PROP_UINT8,
     .offset = offsetof(Thing, u8),
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(Thing, has_u8)},
    {.name = "u16", .type = PROP_UINT16, .offset = offsetof(Thing, u16), .min = 10, .max = 20},
    PROP("u32", PROP_UINT32, Thing, u32, NULL, NULL),
    PROP("u64", PROP_UINT64, Thing, u64, NULL, NULL),
    PROP("i32", PROP_INT32, Thing, i32, NULL, NULL),
    {.name = "i64",
     .type = PROP_INT64,
     .offset = offsetof(Thing, i64),
     .min = (uint64_t)-500,
     .max = 500},
    PROP("s", PROP_SIZE, Thing, size, NULL, NULL),
    PROP("m", PROP_SIZE_MIB, Thing, mib, NULL, NULL),
    PROP("t", PROP_STRING, Thing, text, NULL, NULL),
    PROP_L("l", Thing, link, "iothread", NULL),
    PROP_E("e", Thing, mode, "ide", modes, NULL),
    PROP("mac", PROP_MACADDR, Thing, mac, NULL, NULL),
    PROP("a", PROP_PCI_ADDR, Thing, addr, NULL, NULL),
    PROP("uu", PROP_UUID, Thing, uuid, NULL, NULL),
    PROP("tr", PROP_TREE, Thing, tree, NULL, NULL),
    PROP("ls", PROP_STRING_LIST, Thing, list, NULL, NULL),
    {.name = "f",
     .type = PROP_BOOL,
     .offset = offsetof(Thing, fixed),
     .defval = "off",
     .flags = PROP_FLAG_FIXED},
    PROP_END,
};

static void check_read_back(Thing *thing)
{
    for (const Property *p = props; p->name; p++) {
        json_t *value = property_get(p, thing);
        g_autofree char *text = property_print(p, thing);
        g_assert(value && text);
        /* A number may still be the default 0, which its limits need not allow. */
        if (!json_is_null(value) && !p->max) {
            g_assert(property_set(p, thing, value, "thing", NULL));
            json_t *again = property_get(p, thing);
            g_assert(json_equal(value, again));
            json_decref(again);
        }
        json_decref(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const lists[] = {"ls", NULL};
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) err = NULL;
    json_t *tree = keyval_parse(text, NULL, lists, true, NULL);
    Thing thing;

    if (!tree) {
        return 0;
    }
    properties_init(props, &thing);
    bool ok = properties_apply(props, &thing, tree, NULL, "thing", &err);
    g_assert(ok == !err);
    check_read_back(&thing);
    properties_clear(props, &thing);
    json_decref(tree);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From characters to keys, for viewers that do not send key numbers: the keymaps of libxkbcommon,
 * which is loaded when the first such key comes.
 */
#include <linux/input-event-codes.h>
#include <string.h>
#include <xkbcommon/xkbcommon.h>

#include "base/error.h"
#include "base/library.h"
#include "base/log.h"
#include "ui/vnc.h"
#include "vnc_internal.h"

#define XKB_FUNCTIONS(F)                                                                           \
    F(xkb_context_new)                                                                             \
    F(xkb_context_unref)                                                                           \
    F(xkb_keymap_new_from_names)                                                                   \
    F(xkb_keymap_unref)                                                                            \
    F(xkb_keymap_min_keycode)                                                                      \
    F(xkb_keymap_max_keycode)                                                                      \
    F(xkb_keymap_num_levels_for_key)                                                               \
    F(xkb_keymap_key_get_syms_by_level)

typedef struct {
    XKB_FUNCTIONS(LIBRARY_POINTER)
} XkbLib;
static XkbLib xkb;
static const char *const xkb_names[] = {XKB_FUNCTIONS(LIBRARY_NAME) NULL};
static Library xkb_library = {"libxkbcommon.so.0", "libxkbcommon0", xkb_names, &xkb};

enum {
    XKB_TO_LINUX = 8, /* the key codes of X are Linux's and 8 */
    LEVEL_SHIFT = 1,
    ENTRY_SHIFT = 0x10000,
};

/* QEMU's names of -k, and what xkeyboard-config calls these layouts. */
static const struct {
    const char *name, *layout, *variant;
} vnc_layouts[] = {
    {"en-us", "us"}, {"ar", "ara"},   {"bepo", "fr", "bepo"}, {"cz", "cz"},
    {"da", "dk"},    {"de", "de"},    {"de-ch", "ch", "de"},  {"en-gb", "gb"},
    {"es", "es"},    {"et", "ee"},    {"fi", "fi"},           {"fo", "fo"},
    {"fr", "fr"},    {"fr-be", "be"}, {"fr-ca", "ca", "fr"},  {"fr-ch", "ch", "fr"},
    {"hr", "hr"},    {"hu", "hu"},    {"is", "is"},           {"it", "it"},
    {"ja", "jp"},    {"lt", "lt"},    {"lv", "lv"},           {"mk", "mk"},
    {"nl", "nl"},    {"no", "no"},    {"pl", "pl"},           {"pt", "pt"},
    {"pt-br", "br"}, {"ru", "ru"},    {"sl", "si"},           {"sv", "se"},
    {"th", "th"},    {"tr", "tr"},
};

typedef struct {
    unsigned layout; /* in vnc_layouts */
    bool loaded;
    GHashTable *keys; /* keysym to code, ENTRY_SHIFT; NULL: it could not be loaded */
} VncKeymap;
static VncKeymap vnc_keymap;

char *vnc_keymap_names(void)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(vnc_layouts); i++) {
        g_string_append_printf(out, "%s%s", i ? " " : "", vnc_layouts[i].name);
    }
    return g_string_free(out, FALSE);
}

bool vnc_set_keymap(const char *name, GError **err)
{
    g_autofree char *names = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(vnc_layouts); i++) {
        if (!strcmp(vnc_layouts[i].name, name)) {
            vnc_keymap.layout = i;
            return true;
        }
    }
    names = vnc_keymap_names();
    return error_set(err, "-k %s: there is no such keyboard layout: %s", name, names);
}

static void vnc_keymap_add(struct xkb_keymap *map, xkb_keycode_t key, xkb_level_index_t level)
{
    const xkb_keysym_t *syms;
    int n = xkb.xkb_keymap_key_get_syms_by_level(map, key, 0, level, &syms);

    for (int i = 0; i < n; i++) {
        gpointer sym = GUINT_TO_POINTER(syms[i]);
        if (!g_hash_table_contains(vnc_keymap.keys, sym)) {
            guint entry = (key - XKB_TO_LINUX) | (level == LEVEL_SHIFT ? ENTRY_SHIFT : 0);
            g_hash_table_insert(vnc_keymap.keys, sym, GUINT_TO_POINTER(entry));
        }
    }
}

/* Of several keys that make a character the first one counts, and of levels the lowest. */
static bool vnc_keymap_load(GError **err)
{
    struct xkb_rule_names names = {.rules = "evdev",
                                   .model = "pc105",
                                   .layout = vnc_layouts[vnc_keymap.layout].layout,
                                   .variant = vnc_layouts[vnc_keymap.layout].variant,
                                   .options = ""};
    struct xkb_context *context;
    struct xkb_keymap *map = NULL;

    if (!library_load(&xkb_library, err)) {
        return false;
    }
    context = xkb.xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
    if (context) {
        map = xkb.xkb_keymap_new_from_names(context, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
    }
    if (!map) {
        if (context) {
            xkb.xkb_context_unref(context);
        }
        return error_set(err, "libxkbcommon has no layout '%s': install Debian's xkb-data",
                         names.layout);
    }
    vnc_keymap.keys = g_hash_table_new(NULL, NULL);
    for (xkb_level_index_t level = 0; level < 4; level++) {
        for (xkb_keycode_t key = xkb.xkb_keymap_min_keycode(map);
             key <= xkb.xkb_keymap_max_keycode(map); key++) {
            if (key > XKB_TO_LINUX && key - XKB_TO_LINUX <= KEY_MAX &&
                level < xkb.xkb_keymap_num_levels_for_key(map, key, 0)) {
                vnc_keymap_add(map, key, level);
            }
        }
    }
    xkb.xkb_keymap_unref(map);
    xkb.xkb_context_unref(context);
    return true;
}

uint16_t vnc_keymap_find(uint32_t keysym, bool *shift)
{
    guint entry;

    if (!vnc_keymap.loaded) {
        g_autoptr(GError) err = NULL;

        vnc_keymap.loaded = true;
        if (!vnc_keymap_load(&err)) {
            log_warn("VNC: the keys of viewers that send no key numbers are lost: %s",
                     err->message);
        }
    }
    if (!vnc_keymap.keys) {
        return 0;
    }
    entry = GPOINTER_TO_UINT(g_hash_table_lookup(vnc_keymap.keys, GUINT_TO_POINTER(keysym)));
    *shift = entry & ENTRY_SHIFT;
    return entry & 0xffff;
}

void vnc_keymap_free(void)
{
    g_clear_pointer(&vnc_keymap.keys, g_hash_table_destroy);
    vnc_keymap.loaded = false;
}

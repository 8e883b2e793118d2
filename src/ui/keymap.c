/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From characters to keys, for terminals and for VNC viewers that do not send key numbers: the
 * keymaps of libxkbcommon, which is loaded when the first such key comes.
 */
#include <linux/input-event-codes.h>
#include <string.h>
#include <xkbcommon/xkbcommon.h>

#include "base/error.h"
#include "base/library.h"
#include "base/log.h"
#include "ui/keymap.h"

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
} keymap_layouts[] = {
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
    unsigned layout; /* in keymap_layouts */
    bool loaded;
    GHashTable *keys; /* keysym to code, ENTRY_SHIFT; NULL: it could not be loaded */
} Keymap;
static Keymap keymap;

static char *keymap_names(void)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(keymap_layouts); i++) {
        g_string_append_printf(out, "%s%s", i ? " " : "", keymap_layouts[i].name);
    }
    return g_string_free(out, FALSE);
}

bool ui_keymap_set(const char *name, GError **err)
{
    g_autofree char *names = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(keymap_layouts); i++) {
        if (!strcmp(keymap_layouts[i].name, name)) {
            keymap.layout = i;
            return true;
        }
    }
    names = keymap_names();
    return error_set(err, "-k %s: there is no such keyboard layout: %s", name, names);
}

static void keymap_add(struct xkb_keymap *map, xkb_keycode_t key, xkb_level_index_t level)
{
    const xkb_keysym_t *syms;
    int n = xkb.xkb_keymap_key_get_syms_by_level(map, key, 0, level, &syms);

    for (int i = 0; i < n; i++) {
        gpointer sym = GUINT_TO_POINTER(syms[i]);
        if (!g_hash_table_contains(keymap.keys, sym)) {
            guint entry = (key - XKB_TO_LINUX) | (level == LEVEL_SHIFT ? ENTRY_SHIFT : 0);
            g_hash_table_insert(keymap.keys, sym, GUINT_TO_POINTER(entry));
        }
    }
}

/* Of several keys that make a character the first one counts, and of levels the lowest. */
static bool keymap_load(GError **err)
{
    struct xkb_rule_names names = {.rules = "evdev",
                                   .model = "pc105",
                                   .layout = keymap_layouts[keymap.layout].layout,
                                   .variant = keymap_layouts[keymap.layout].variant,
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
    keymap.keys = g_hash_table_new(NULL, NULL);
    for (xkb_level_index_t level = 0; level < 4; level++) {
        for (xkb_keycode_t key = xkb.xkb_keymap_min_keycode(map);
             key <= xkb.xkb_keymap_max_keycode(map); key++) {
            if (key > XKB_TO_LINUX && key - XKB_TO_LINUX <= KEY_MAX &&
                level < xkb.xkb_keymap_num_levels_for_key(map, key, 0)) {
                keymap_add(map, key, level);
            }
        }
    }
    xkb.xkb_keymap_unref(map);
    xkb.xkb_context_unref(context);
    return true;
}

uint16_t ui_keymap_find(uint32_t keysym, bool *shift)
{
    guint entry;

    if (!keymap.loaded) {
        g_autoptr(GError) err = NULL;

        keymap.loaded = true;
        if (!keymap_load(&err)) {
            log_warn("keys of terminals, and of VNC viewers that send no key numbers, are lost: %s",
                     err->message);
        }
    }
    if (!keymap.keys) {
        return 0;
    }
    entry = GPOINTER_TO_UINT(g_hash_table_lookup(keymap.keys, GUINT_TO_POINTER(keysym)));
    *shift = entry & ENTRY_SHIFT;
    return entry & 0xffff;
}

void ui_keymap_free(void)
{
    g_clear_pointer(&keymap.keys, g_hash_table_destroy);
    keymap.loaded = false;
}

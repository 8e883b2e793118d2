/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: short ones of 8 and 3 characters, long ones in UTF-16, the host's in UTF-8. */
#include "vvfat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/util.h"

enum {
    BASE_SIZE = 8,
    EXTENSION_SIZE = 3,
    LFN_LAST = 0x40, /* LDIR_Ord of the entry that stands first */
    LFN_MAX_ENTRIES = 20,
    NTRES = 12,              /* DIR_NTRes */
    NTRES_LOWER_BASE = 0x08, /* Windows NT's: the base, or extension, is in small letters */
    NTRES_LOWER_EXTENSION = 0x10,
    KANJI_E5 = 0x05, /* stands for 0xe5, which would be a deleted entry */
};

#define TEMPORARY_PREFIX ".vmm-fat-"

/* Where the units of a long name are in an entry. */
static const uint8_t unit_at[FAT_LFN_UNITS] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};

/* Short names' characters from 0x80 on, in code page 437, which DOS and Linux have by default. */
static const uint16_t page437[] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

bool fat_name_is_temporary(const char *name)
{
    return g_str_has_prefix(name, TEMPORARY_PREFIX);
}

bool fat_name_is_new(const char *name)
{
    return fat_name_is_temporary(name) && g_str_has_suffix(name, FAT_TEMP_NEW);
}

char *fat_temp_name(FatDisk *d, const char *suffix)
{
    return g_strdup_printf(TEMPORARY_PREFIX "%016" PRIx64 "-%u%s", d->temp_prefix, d->temp_count++,
                           suffix);
}

const char *fat_name_refused(const char *name)
{
    size_t len = strlen(name);
    glong units = 0;
    g_autofree gunichar2 *wide = NULL;

    if (!g_utf8_validate(name, len, NULL)) {
        return "its name is not UTF-8";
    }
    wide = g_utf8_to_utf16(name, len, NULL, &units, NULL);
    if (!wide || units > FAT_NAME_MAX) {
        return "its name is too long for FAT (255 characters)";
    }
    for (const char *p = name; *p; p++) {
        if ((unsigned char)*p < 0x20 || strchr("\"*/:<>?\\|\x7f", *p)) {
            return "its name has a character that FAT cannot have";
        }
    }
    if (!len || name[len - 1] == '.' || name[len - 1] == ' ') {
        return "FAT has no names that end in a dot or a space";
    }
    return NULL;
}

char *fat_name_key(const char *name)
{
    GString *key = g_string_new(NULL);

    for (const char *p = name; *p; p = g_utf8_next_char(p)) {
        g_string_append_unichar(key, g_unichar_toupper(g_utf8_get_char(p)));
    }
    return g_string_free(key, false);
}

struct FatShortNames {
    GHashTable *taken; /* the 11 characters */
    GHashTable *next;  /* of a base and an extension: the number to try next */
};

FatShortNames *fat_short_names_new(void)
{
    FatShortNames *s = g_new(FatShortNames, 1);

    s->taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    s->next = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return s;
}

void fat_short_names_free(FatShortNames *s)
{
    g_hash_table_destroy(s->taken);
    g_hash_table_destroy(s->next);
    g_free(s);
}

static bool short_char(gunichar c)
{
    return c < 0x80 && (g_ascii_isupper(c) || g_ascii_isdigit(c) || strchr("$%'-_@~`!(){}^#&", c));
}

/* Puts a part's characters into 'out'. True: some were lost on the way. */
static bool short_part(const char *from, const char *end, uint8_t *out, unsigned size)
{
    bool lossy = false;
    unsigned n = 0;

    for (; from < end; from = g_utf8_next_char(from)) {
        gunichar c = g_utf8_get_char(from);

        c = c < 0x80 ? (gunichar)g_ascii_toupper(c) : c;
        if (c == ' ' || c == '.' || n == size) {
            lossy = true;
            continue;
        }
        lossy |= !short_char(c);
        out[n++] = short_char(c) ? c : '_';
    }
    return lossy;
}

/* FAT specification, section 7.2.1: the basis name. True: it needs a number. */
static bool short_basis(const char *name, uint8_t out[FAT_SHORT_SIZE])
{
    const char *begin = name + strspn(name, ". "), *dot = strrchr(begin, '.');
    const char *end = begin + strlen(begin);
    bool lossy = begin != name;

    memset(out, ' ', FAT_SHORT_SIZE);
    dot = dot ? dot : end;
    lossy |= short_part(begin, dot, out, BASE_SIZE);
    lossy |= dot < end && short_part(dot + 1, end, out + BASE_SIZE, EXTENSION_SIZE);
    if (*out == ' ') {
        *out = '_';
        lossy = true;
    }
    return lossy;
}

static bool take_short(FatShortNames *s, const uint8_t *name)
{
    char *key = g_strndup((const char *)name, FAT_SHORT_SIZE);

    if (g_hash_table_contains(s->taken, key)) {
        g_free(key);
        return false;
    }
    return g_hash_table_add(s->taken, key);
}

bool fat_short_name_choose(FatShortNames *s, const char *name, uint8_t short_name[FAT_SHORT_SIZE])
{
    bool lossy = short_basis(name, short_name);
    uint8_t base[BASE_SIZE];
    unsigned n, len = 0;
    char *key;

    if (!lossy && take_short(s, short_name)) {
        return true;
    }
    memcpy(base, short_name, BASE_SIZE);
    while (len < BASE_SIZE && base[len] != ' ') {
        len++;
    }
    /* Names that differ behind these characters share their numbers: a search from 1 on for each
     * of thousands would take long. */
    key = g_strdup_printf("%.4s%.3s", short_name, short_name + BASE_SIZE);
    n = GPOINTER_TO_UINT(g_hash_table_lookup(s->next, key));
    do {
        char tail[12];
        unsigned size = snprintf(tail, sizeof tail, "~%u", ++n), at = MIN(len, BASE_SIZE - size);

        if (size > 7) {
            g_free(key);
            return false;
        }
        memset(short_name, ' ', BASE_SIZE);
        memcpy(short_name, base, at);
        memcpy(short_name + at, tail, size);
    } while (!take_short(s, short_name));
    g_hash_table_insert(s->next, key, GUINT_TO_POINTER(n));
    return true;
}

static void append_short_part(GString *out, const uint8_t *part, unsigned size, bool lower)
{
    while (size && part[size - 1] == ' ') {
        size--;
    }
    for (unsigned i = 0; i < size; i++) {
        if (part[i] >= 0x80) {
            g_string_append_unichar(out, page437[part[i] - 0x80]);
        } else {
            g_string_append_c(out, lower ? g_ascii_tolower(part[i]) : (char)part[i]);
        }
    }
}

/* A NUL in it ends it for the check of names, which sees it as too short. */
static char *short_text(const uint8_t *short_name, uint8_t ntres)
{
    GString *out = g_string_new(NULL);
    uint8_t base[BASE_SIZE];
    gsize dot;

    memcpy(base, short_name, BASE_SIZE);
    base[0] = base[0] == KANJI_E5 ? 0xe5 : base[0];
    append_short_part(out, base, BASE_SIZE, ntres & NTRES_LOWER_BASE);
    dot = out->len;
    append_short_part(out, short_name + BASE_SIZE, EXTENSION_SIZE, ntres & NTRES_LOWER_EXTENSION);
    if (out->len > dot) {
        g_string_insert_c(out, dot, '.');
    }
    for (gsize i = 0; i < out->len; i++) {
        out->str[i] = out->str[i] ? out->str[i] : 1; /* which no name may have either */
    }
    return g_string_free(out, false);
}

static bool needs_long(const char *name, const uint8_t *short_name)
{
    g_autofree char *text = short_text(short_name, 0);

    return !g_str_equal(text, name);
}

unsigned fat_name_entries(const char *name, const uint8_t short_name[FAT_SHORT_SIZE])
{
    glong units = 0;
    g_autofree gunichar2 *wide = NULL;

    if (!needs_long(name, short_name)) {
        return 1;
    }
    wide = g_utf8_to_utf16(name, -1, NULL, &units, NULL);
    return 1 + DIV_ROUND_UP((unsigned)units, FAT_LFN_UNITS);
}

static uint8_t short_checksum(const uint8_t *short_name)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < FAT_SHORT_SIZE; i++) {
        sum = (sum << 7 | sum >> 1) + short_name[i];
    }
    return sum;
}

unsigned fat_name_encode(const char *name, const uint8_t short_name[FAT_SHORT_SIZE], uint8_t *out)
{
    glong units = 0;
    g_autofree gunichar2 *wide = NULL;
    unsigned n;

    if (!needs_long(name, short_name)) {
        return 0;
    }
    wide = g_utf8_to_utf16(name, -1, NULL, &units, NULL);
    n = DIV_ROUND_UP((unsigned)units, FAT_LFN_UNITS);
    for (unsigned i = n; i > 0; i--, out += FAT_ENTRY_SIZE) {
        memset(out, 0, FAT_ENTRY_SIZE);
        out[0] = i | (i == n ? LFN_LAST : 0);
        out[11] = FAT_ATTR_LFN;
        out[13] = short_checksum(short_name);
        for (unsigned j = 0; j < FAT_LFN_UNITS; j++) {
            glong at = (i - 1) * FAT_LFN_UNITS + j;

            /* The NUL is there where there is room; 0xffff fills what is left. */
            stle16(out + unit_at[j], at < units ? wide[at] : at == units ? 0 : 0xffff);
        }
    }
    return n;
}

void fat_long_name_add(FatLongName *l, const uint8_t *entry)
{
    unsigned n = entry[0] & ~LFN_LAST;

    if (entry[0] & LFN_LAST) {
        l->count = n <= LFN_MAX_ENTRIES ? n : 0;
        l->next = n;
        l->checksum = entry[13];
    }
    if (!l->count || !n || n != l->next || entry[13] != l->checksum) {
        l->count = 0;
        return;
    }
    for (unsigned j = 0; j < FAT_LFN_UNITS; j++) {
        l->units[(n - 1) * FAT_LFN_UNITS + j] = ldle16(entry + unit_at[j]);
    }
    l->next--;
}

static char *long_text(const FatLongName *l)
{
    unsigned len = 0;

    while (len < l->count * FAT_LFN_UNITS && l->units[len]) {
        len++;
    }
    return g_utf16_to_utf8(l->units, len, NULL, NULL, NULL);
}

char *fat_long_name_take(FatLongName *l, const uint8_t *entry, bool *valid)
{
    bool is_long = l->count && !l->next && l->checksum == short_checksum(entry);
    char *name = is_long ? long_text(l) : NULL;

    l->count = 0;
    *valid = name || !is_long;
    name = name ? name : short_text(entry, entry[NTRES]);
    if (fat_name_refused(name) || fat_name_is_temporary(name)) {
        *valid = false;
        if (!*name) {
            g_free(name);
            name = g_strdup("_");
        }
        for (char *p = name; *p; p++) {
            *p = (unsigned char)*p < 0x20 || *p == '/' || *p == 0x7f ? '_' : *p;
        }
    }
    return name;
}

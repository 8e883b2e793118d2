/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's file system, as it stands on its disk: whatever a guest may have made of it. Each
 * cluster is in one chain at most, so all of this takes time and memory by the size of the disk.
 */
#include "vvfat.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include "base/util.h"

typedef struct {
    FatDisk *d;
    FatTree *t;
    GHashTable *names; /* of the directory that is read: FatEntry by its name */
    FatLongName long_name;
    int ret;
} Parser;

static FatEntry *entry_at(const FatTree *t, uint32_t i)
{
    return t->entries->pdata[i];
}

static void entry_free(void *data)
{
    FatEntry *e = data;

    g_free(e->name);
    g_free(e->temp);
    g_free(e);
}

void fat_tree_free(FatTree *t)
{
    if (t) {
        g_ptr_array_unref(t->entries);
        g_free(t->fat);
        g_free(t->user);
        g_free(t->index);
        g_free(t);
    }
}

char *fat_entry_path(const FatEntry *e)
{
    GString *path = g_string_new(NULL);

    for (; e->parent; e = e->parent) {
        g_string_prepend(path, path->len ? "/" : "");
        g_string_prepend(path, e->name);
    }
    return g_string_free(path, false);
}

static int read_tables(Parser *p)
{
    const FatGeometry *g = &p->d->geo;
    size_t size = (size_t)g->fat_sectors * FAT_SECTOR;
    g_autofree uint8_t *a = g_malloc(size), *b = g_malloc(size);
    uint32_t end = g->clusters + FAT_FIRST_CLUSTER;
    int ret = fat_disk_read(p->d, g->fat, g->fat_sectors, a);

    ret = ret < 0 ? ret : fat_disk_read(p->d, g->fat + g->fat_sectors, g->fat_sectors, b);
    if (ret < 0) {
        return ret;
    }
    p->t->fat = g_new0(uint32_t, end);
    p->t->user = g_new0(uint32_t, end);
    p->t->index = g_new0(uint32_t, end);
    for (uint32_t c = FAT_FIRST_CLUSTER; c < end; c++) {
        uint32_t value = fat_get(g, a, c);

        p->t->fat[c] = value == fat_get(g, b, c) ? value : FAT_BAD;
    }
    return 0;
}

/* Takes the entry's chain for it; *count is its length. What is wrong with it, or NULL. */
static const char *claim(Parser *p, uint32_t i, uint32_t *count)
{
    FatTree *t = p->t;
    uint32_t c = entry_at(t, i)->first;

    for (*count = 0; c != FAT_END; c = t->fat[c]) {
        if (!fat_cluster_valid(&p->d->geo, c)) {
            return "its chain of clusters ends in a cluster that is free, bad, or none";
        }
        if (t->user[c] == i + 1) {
            return "its chain of clusters is a loop";
        }
        if (t->user[c]) {
            FatEntry *other = fat_cluster_user(t, c);

            other->bad = "another file has the same clusters";
            return other->bad;
        }
        t->user[c] = i + 1;
        t->index[c] = (*count)++;
    }
    return NULL;
}

static void check_chain(Parser *p, uint32_t i)
{
    FatEntry *e = entry_at(p->t, i);
    uint32_t count = 0;
    const char *why = e->first ? claim(p, i, &count) : NULL;

    if (!why && e->is_dir && !count) {
        why = "a directory without a cluster";
    }
    if (!why && e->is_dir &&
        (uint64_t)count * fat_cluster_size(&p->d->geo) >
            (uint64_t)FAT_DIR_ENTRIES * FAT_ENTRY_SIZE) {
        why = "the directory is too long";
    }
    if (!why && !e->is_dir && count != fat_clusters_for(&p->d->geo, e->size)) {
        why = "its size and its chain of clusters do not agree";
    }
    e->bad = e->bad ? e->bad : why;
}

/* 'p->names' has the first of a name; both are bad where there are two. */
static void check_name(Parser *p, FatEntry *e, bool valid)
{
    FatEntry *first = g_hash_table_lookup(p->names, e->name);

    e->path_len = e->parent->path_len + strlen(e->name) + 1;
    if (!valid) {
        e->bad = "the host cannot have its name";
    } else if (strlen(e->name) > NAME_MAX || e->path_len >= PATH_MAX ||
               (e->is_dir && e->depth >= FAT_MAX_DEPTH)) {
        e->bad = "its name or path is too long for the host";
    } else if (first) {
        e->bad = first->bad = "two files have this name";
    } else {
        g_hash_table_insert(p->names, e->name, e);
    }
}

static bool is_short(const uint8_t *raw, const char *name)
{
    return !memcmp(raw, name, FAT_SHORT_SIZE);
}

/* Not in it: the time of the last access, which readers change. */
static void stamp(uint8_t out[FAT_STAMP_SIZE], const uint8_t *raw)
{
    memcpy(out, raw + FAT_ENTRY_SIZE - FAT_STAMP_SIZE, FAT_STAMP_SIZE);
}

static uint32_t raw_first(const FatGeometry *g, const uint8_t *raw)
{
    return ldle16(raw + 26) | (g->type == 32 ? (uint32_t)ldle16(raw + 20) << 16 : 0);
}

/* The first two entries of a directory lead to itself and to the one above. */
static bool check_dots(Parser *p, const FatEntry *dir, const uint8_t *raw)
{
    const FatGeometry *g = &p->d->geo;
    const uint8_t *up = raw + FAT_ENTRY_SIZE;
    uint32_t above = dir->parent->parent ? dir->parent->first : 0;

    return is_short(raw, ".          ") && raw_first(g, raw) == dir->first &&
           is_short(up, "..         ") && raw_first(g, up) == above;
}

/* False: this was the end of the directory. */
static bool parse_entry(Parser *p, FatEntry *dir, const uint8_t *raw)
{
    bool valid;
    FatEntry *e;

    if (!raw[0]) {
        return false;
    }
    if (raw[0] == 0xe5) {
        p->long_name.count = 0;
        return true;
    }
    if ((raw[11] & FAT_ATTR_LFN_MASK) == FAT_ATTR_LFN) {
        fat_long_name_add(&p->long_name, raw);
        return true;
    }
    if (raw[11] & FAT_ATTR_VOLUME) {
        p->long_name.count = 0;
        return true;
    }
    if (p->t->entries->len > FAT_MAX_FILES) {
        p->ret = -E2BIG;
        return false;
    }
    e = g_new0(FatEntry, 1);
    e->parent = dir;
    e->depth = dir->depth + 1;
    e->is_dir = raw[11] & FAT_ATTR_DIR;
    e->first = raw_first(&p->d->geo, raw);
    e->size = e->is_dir ? 0 : ldle32(raw + 28);
    stamp(e->stamp, raw);
    e->name = fat_long_name_take(&p->long_name, raw, &valid);
    g_ptr_array_add(p->t->entries, e);
    dir->children++;
    check_name(p, e, valid);
    check_chain(p, p->t->entries->len - 1);
    return true;
}

/*
 * Another file's data is no directory: where a system has made one, or made it longer, and what
 * is in it has not arrived. 'cluster' 0: a root that has none.
 */
static bool check_written(Parser *p, FatEntry *dir, uint32_t cluster, size_t at)
{
    FatDisk *d = p->d;

    if (!d->use || !cluster || d->guest == FAT_FINISHED ||
        fat_sector_written(d, cluster, fat_cluster_sector(&d->geo, cluster) + at / FAT_SECTOR, dir,
                           p->t->index[cluster])) {
        return true;
    }
    dir->bad = fat_unwritten_text;
    d->waits = true;
    return false;
}

/* A part of a directory; 'first': it begins here. False: the end was in it, or it is none. */
static bool parse_part(Parser *p, FatEntry *dir, uint32_t cluster, const uint8_t *raw, size_t len,
                       bool first)
{
    bool dots = first && dir->parent;

    for (size_t at = 0; at < len; at += FAT_ENTRY_SIZE) {
        if (at % FAT_SECTOR == 0 && !check_written(p, dir, cluster, at)) {
            return false;
        }
        if (dots && at == 0 && !check_dots(p, dir, raw)) {
            dir->bad = "its entries '.' and '..' lead elsewhere";
            return false;
        }
        if ((!dots || at >= (size_t)2 * FAT_ENTRY_SIZE) && !parse_entry(p, dir, raw + at)) {
            return false;
        }
    }
    return true;
}

static void parse_dir(Parser *p, FatEntry *dir)
{
    const FatGeometry *g = &p->d->geo;
    bool fixed = !dir->parent && g->root_entries, first = true;
    uint32_t sectors = fixed ? g->data - g->root : g->per_cluster, c = dir->first;
    g_autofree uint8_t *buf = g_malloc((size_t)sectors * FAT_SECTOR);

    dir->first_child = p->t->entries->len;
    p->long_name = (FatLongName){.count = 0};
    do {
        p->ret = fat_disk_read(p->d, fixed ? g->root : fat_cluster_sector(g, c), sectors, buf);
        if (p->ret < 0 ||
            !parse_part(p, dir, fixed ? 0 : c, buf, (size_t)sectors * FAT_SECTOR, first)) {
            break;
        }
        first = false;
        c = fixed ? FAT_END : p->t->fat[c];
    } while (c != FAT_END);
    g_hash_table_remove_all(p->names);
}

static void parse_all(Parser *p)
{
    FatEntry *root = g_new0(FatEntry, 1);

    root->is_dir = true;
    g_ptr_array_add(p->t->entries, root);
    if (!p->d->geo.root_entries) {
        root->first = FAT_FIRST_CLUSTER;
        check_chain(p, 0);
    }
    for (uint32_t i = 0; i < p->t->entries->len && p->ret == 0; i++) {
        FatEntry *e = entry_at(p->t, i);

        if (e->is_dir && !e->bad) {
            parse_dir(p, e);
        }
    }
}

/* What lies in a directory that is bad is bad, too: others may have its clusters. */
static void spread_bad(FatTree *t)
{
    for (uint32_t i = 1; i < t->entries->len; i++) {
        FatEntry *e = entry_at(t, i);

        if (!e->bad && e->parent->bad) {
            e->bad = e->parent->parent ? "the disk does not agree on its folder" : e->parent->bad;
        }
    }
}

FatTree *fat_tree_read(FatDisk *d, int *ret)
{
    Parser p = {.d = d, .t = g_new0(FatTree, 1)};

    p.t->entries = g_ptr_array_new_with_free_func(entry_free);
    p.names = g_hash_table_new(g_str_hash, g_str_equal);
    p.ret = read_tables(&p);
    if (p.ret == 0) {
        parse_all(&p);
        spread_bad(p.t);
    }
    g_hash_table_destroy(p.names);
    *ret = p.ret;
    if (p.ret < 0) {
        fat_tree_free(g_steal_pointer(&p.t));
    }
    return p.t;
}

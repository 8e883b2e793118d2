/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file system of a folder: clusters for all files, the tables, the directories. */
#include "vvfat.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include "base/error.h"
#include "base/util.h"

typedef struct {
    FatDisk *d;
    GPtrArray *all;  /* every FatFile, folders before what is in them */
    GArray *entries; /* unsigned, of each of these: entries of a folder's directory */
    uint8_t *table;
    uint32_t next; /* the first free cluster */
    GError **err;
} Layout;

/* Section 6.5: local time in units of 2 seconds, from 1980 on. */
static void put_time(uint8_t *time_at, uint8_t *date_at, time_t t)
{
    struct tm tm;
    bool ok = localtime_r(&t, &tm) && tm.tm_year >= 80 && tm.tm_year < 80 + 128;

    if (time_at) {
        stle16(time_at, ok ? tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2 : 0);
    }
    stle16(date_at, ok ? (tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday : 1 << 5 | 1);
}

static void put_entry(uint8_t *e, const void *short_name, uint8_t attr, uint32_t first,
                      uint32_t size, time_t t)
{
    memset(e, 0, FAT_ENTRY_SIZE);
    memcpy(e, short_name, FAT_SHORT_SIZE);
    e[11] = attr;
    put_time(e + 14, e + 16, t);
    put_time(NULL, e + 18, t);
    stle16(e + 20, first >> 16);
    put_time(e + 22, e + 24, t);
    stle16(e + 26, first);
    stle32(e + 28, size);
}

/* Short names for all in the folder, and how many entries they take. */
static bool name_children(Layout *l, FatFile *dir)
{
    FatShortNames *names = fat_short_names_new();
    unsigned entries = dir->parent ? 2 : 1; /* '.' and '..', or the label */
    unsigned max =
        dir->parent || !l->d->geo.root_entries ? FAT_DIR_ENTRIES : l->d->geo.root_entries;
    bool ok = true;

    for (unsigned i = 0; i < dir->children->len && ok; i++) {
        FatFile *f = dir->children->pdata[i];

        ok = fat_short_name_choose(names, f->name, f->short_name);
        entries += ok ? fat_name_entries(f->name, f->short_name) : 0;
        g_ptr_array_add(l->all, f);
    }
    fat_short_names_free(names);
    g_array_append_val(l->entries, entries);
    if (!ok || entries > max) {
        return dir->parent ? error_set(l->err, "Too many entries in directory '%s'", dir->name)
                           : error_set(l->err, "Too many entries in root directory");
    }
    return true;
}

static bool take_clusters(Layout *l, FatFile *f, uint32_t count)
{
    const FatGeometry *g = &l->d->geo;

    if (count > g->clusters + FAT_FIRST_CLUSTER - l->next) {
        return error_set(l->err, "Directory does not fit in FAT%u (capacity %.2f MB): '%s'",
                         g->type, (double)g->clusters * fat_cluster_size(g) / MiB,
                         f->name ? f->name : "");
    }
    f->first = count ? l->next : 0;
    for (uint32_t i = 0; i < count; i++, l->next++) {
        fat_set(g, l->table, l->next, i + 1 == count ? FAT_END : l->next + 1);
        l->d->owner[l->next] = f->is_dir ? NULL : f;
        l->d->index[l->next] = i;
    }
    return true;
}

static bool place_all(Layout *l)
{
    const FatGeometry *g = &l->d->geo;

    g_ptr_array_add(l->all, l->d->root);
    for (unsigned i = 0; i < l->all->len; i++) {
        FatFile *f = l->all->pdata[i];
        unsigned none = 0;

        if (f->is_dir ? !name_children(l, f) : !g_array_append_val(l->entries, none)) {
            return false;
        }
    }
    for (unsigned i = 0; i < l->all->len; i++) {
        FatFile *f = l->all->pdata[i];
        uint64_t size =
            f->is_dir ? (uint64_t)g_array_index(l->entries, unsigned, i) * FAT_ENTRY_SIZE : f->size;
        uint32_t count = !f->parent && g->root_entries ? 0 : fat_clusters_for(g, size);

        if (!take_clusters(l, f, count)) {
            return false;
        }
    }
    return true;
}

static int write_dir(Layout *l, const FatFile *dir, unsigned entries)
{
    const FatGeometry *g = &l->d->geo;
    uint32_t sectors = DIV_ROUND_UP(entries * FAT_ENTRY_SIZE, FAT_SECTOR);
    g_autofree uint8_t *buf = NULL;
    uint8_t *e;
    time_t t = dir->id.mtime.tv_sec;

    /* All of its clusters are written: what is behind the last entry has to be zeroes. */
    sectors = dir->first ? ROUND_UP(sectors, g->per_cluster) : g->data - g->root;
    e = buf = g_malloc0((size_t)sectors * FAT_SECTOR);
    if (!dir->parent) {
        put_entry(e, l->d->label, FAT_ATTR_VOLUME | FAT_ATTR_ARCHIVE, 0, 0, time(NULL));
        e += FAT_ENTRY_SIZE;
    } else {
        put_entry(e, ".          ", FAT_ATTR_DIR, dir->first, 0, t);
        put_entry(e + FAT_ENTRY_SIZE, "..         ", FAT_ATTR_DIR,
                  dir->parent->parent ? dir->parent->first : 0, 0, t);
        e += 2 * FAT_ENTRY_SIZE;
    }
    for (unsigned i = 0; i < dir->children->len; i++) {
        const FatFile *f = dir->children->pdata[i];

        e += fat_name_encode(f->name, f->short_name, e) * FAT_ENTRY_SIZE;
        put_entry(e, f->short_name, f->is_dir ? FAT_ATTR_DIR : FAT_ATTR_ARCHIVE, f->first, f->size,
                  f->id.mtime.tv_sec);
        e += FAT_ENTRY_SIZE;
    }
    return fat_disk_write(l->d, dir->first ? fat_cluster_sector(g, dir->first) : g->root, sectors,
                          buf);
}

static int write_all(Layout *l)
{
    const FatGeometry *g = &l->d->geo;
    uint32_t used = DIV_ROUND_UP((uint64_t)l->next * g->type, 8 * FAT_SECTOR);
    int ret = fat_geometry_write(l->d);

    /* What is not written reads as zeroes, which are free clusters. */
    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        ret =
            fat_disk_write(l->d, g->fat + i * g->fat_sectors, MIN(used, g->fat_sectors), l->table);
    }
    for (unsigned i = 0; i < l->all->len && ret == 0; i++) {
        const FatFile *f = l->all->pdata[i];

        ret = f->is_dir ? write_dir(l, f, g_array_index(l->entries, unsigned, i)) : 0;
    }
    return ret;
}

bool fat_layout(FatDisk *d, GError **err)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_autoptr(GArray) entries = g_array_new(false, false, sizeof(unsigned));
    g_autofree uint8_t *table = g_malloc0((size_t)d->geo.fat_sectors * FAT_SECTOR);
    Layout l = {d, all, entries, table, FAT_FIRST_CLUSTER, err};
    int ret;

    /* The first two entries: the medium, and an end. */
    fat_set(&d->geo, table, 0, 0x0fffff00 | (d->geo.floppy ? 0xf0 : 0xf8));
    fat_set(&d->geo, table, 1, FAT_END);
    if (!place_all(&l)) {
        return false;
    }
    ret = write_all(&l);
    d->changed = false;
    return ret == 0 || error_set_errno(err, -ret, "Could not write the file system's tables");
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's writes become changes of the folder, where its tables, its directories and its chains
 * agree. All new content is written to temporaries first, and fsync'ed; then files are put into
 * their places by renaming; what was deleted goes last, and only where all the rest has worked.
 */
#include "vvfat.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"

enum { UNSURE_MAX = 1000 }; /* of which is remembered that they did not agree: a bound on memory */

static const char late_text[] = "its data is newer than its directory entry";

static void say(FatDisk *d, const char *path, const char *why)
{
    static LogSite site;

    if (d->quiet || !g_hash_table_add(d->warned, g_strdup(path)) || !log_site_allows(&site)) {
        return;
    }
    if (*path) {
        log_warn("fat:%s: '%s' stays as it is on the host: %s", d->dir, path, why);
    } else {
        log_warn("fat:%s: nothing is written to the host: %s", d->dir, why);
    }
}

static void note(FatDisk *d, const char *path, const char *why)
{
    if (g_hash_table_size(d->unsure) < UNSURE_MAX) {
        g_hash_table_insert(d->unsure, g_strdup(path), (void *)why);
    }
}

void fat_commit_warn(FatDisk *d, const char *path, const char *why)
{
    note(d, path, why);
    say(d, path, why);
}

static void note_held(FatDisk *d, const FatFile *f)
{
    if (f->held && !f->match) {
        g_autofree char *path = fat_file_path(f);

        if (!g_hash_table_contains(d->unsure, path)) {
            note(d, path, "no directory has it, but its clusters are not free");
        }
        return;
    }
    for (unsigned i = 0; f->children && i < f->children->len; i++) {
        note_held(d, f->children->pdata[i]);
    }
}

static void note_all(FatDisk *d, const FatTree *t)
{
    for (uint32_t i = 0; i < t->entries->len; i++) {
        const FatEntry *e = t->entries->pdata[i];

        if (e->bad && (!e->parent || !e->parent->bad)) {
            g_autofree char *path = fat_entry_path(e);
            note(d, path, e->bad);
        }
    }
    note_held(d, d->root);
}

/*
 * Of a guest that is at work the disk does not agree at times. What stays so is told; of files that
 * are waited for, at the end.
 */
static void tell(FatDisk *d, GHashTable *before)
{
    GHashTable *warned = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter it;
    void *path, *why;

    g_hash_table_iter_init(&it, d->unsure);
    while (g_hash_table_iter_next(&it, &path, &why)) {
        if (!before || (why != late_text && g_hash_table_contains(before, path))) {
            say(d, path, why);
        }
        if (g_hash_table_contains(d->warned, path)) {
            g_hash_table_add(warned, g_strdup(path));
        }
    }
    g_hash_table_destroy(d->warned);
    d->warned = warned;
}

void fat_commit_end(FatDisk *d)
{
    tell(d, NULL);
}

/*
 * Whether some of the file was written in a later flush interval than its directory entry. A system
 * writes data first and the entry with its new time behind that, so this file is being written:
 * what the disk has of it may be half of the old content and half of the new one. Within an
 * interval nothing says in which order writes came about.
 */
static bool is_late(const FatDisk *d, const FatTree *t, const FatEntry *e)
{
    for (uint32_t c = e->first; e->first && c != FAT_END; c = t->fat[c]) {
        uint64_t sector = fat_cluster_sector(&d->geo, c);

        for (uint64_t s = sector; s < sector + d->geo.per_cluster; s++) {
            if (fat_disk_in_overlay(d, s) && d->age[s] > d->age[e->sector]) {
                return true;
            }
        }
    }
    return false;
}

/*
 * Files that are being written stay as they are in the folder until their entries are written, too;
 * but only so long, as fdatasync() never has an entry written. Whether the guest says that it does
 * not use the file system decides at the end, and earlier where it says such things at all: then
 * nothing more is to come, however its writes were ordered.
 */
static void wait_for_entries(FatDisk *d, FatTree *t, bool in_use)
{
    g_autoptr(GHashTable) before = g_steal_pointer(&d->late);
    int64_t now = g_get_monotonic_time();

    d->late = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    d->marks_usage |= in_use;
    if (!in_use && (d->closing || d->marks_usage)) {
        return;
    }
    for (uint32_t i = 1; i < t->entries->len && g_hash_table_size(d->late) < UNSURE_MAX; i++) {
        FatEntry *e = t->entries->pdata[i];
        g_autofree char *path = NULL;
        int64_t since = now, *earlier;

        if (e->bad || e->is_dir || !is_late(d, t, e)) {
            continue;
        }
        path = fat_entry_path(e);
        earlier = g_hash_table_lookup(before, path);
        since = earlier ? *earlier : now;
        if (now - since < d->patience_us) {
            e->bad = late_text;
            g_hash_table_insert(d->late, g_steal_pointer(&path), g_memdup2(&since, sizeof since));
        }
    }
}

static int compose_all(FatDisk *d, FatTree *t)
{
    int ret = 0;

    for (uint32_t i = 1; i < t->entries->len && ret == 0; i++) {
        FatEntry *e = t->entries->pdata[i];

        if (!e->bad && !e->is_dir && !e->same) {
            ret = fat_compose(d, t, e);
        }
    }
    return ret;
}

/*
 * A file of the host's is replaced or deleted, and the guest's disk has another use for a cluster
 * of which only that file has the content.
 */
static int preserve(FatDisk *d, const FatTree *t)
{
    const FatGeometry *g = &d->geo;
    g_autofree uint8_t *buf = g_malloc(fat_cluster_size(g));
    g_autofree uint32_t *age = g_new(uint32_t, g->per_cluster);
    int ret = 0;

    for (uint32_t c = FAT_FIRST_CLUSTER; fat_cluster_valid(g, c) && ret == 0; c++) {
        const FatFile *f = d->owner[c];
        bool replaced = f && f->match && f->match->temp && fat_cluster_user(t, c) != f->match;

        if (f && t->fat[c] != FAT_FREE && (replaced || fat_file_deleted(f))) {
            uint64_t sector = fat_cluster_sector(g, c);

            memcpy(age, d->age + sector, g->per_cluster * sizeof *age);
            ret = fat_disk_read(d, sector, g->per_cluster, buf);
            ret = fat_host_vanished(ret) ? 0 /* then the content is gone */
                  : ret < 0              ? ret
                                         : fat_disk_write(d, sector, g->per_cluster, buf);
            /* The write was none of the guest's: its ages stay. */
            memcpy(d->age + sector, age, g->per_cluster * sizeof *age);
        }
    }
    return ret;
}

/* The chain's clusters are the host's file now, and need no place in the overlay. */
static void take_over(FatDisk *d, const FatTree *t, const FatEntry *e)
{
    uint32_t i = 0;

    for (uint32_t c = e->first; e->first && c != FAT_END; c = t->fat[c]) {
        d->owner[c] = e->known;
        d->index[c] = i++;
        fat_disk_forget(d, c);
    }
}

static void remember(FatDisk *d, const FatTree *t)
{
    for (uint32_t c = FAT_FIRST_CLUSTER; fat_cluster_valid(&d->geo, c); c++) {
        const FatFile *f = d->owner[c];

        if (f && (f->gone || (f->match && f->match->placed && !f->match->same))) {
            d->owner[c] = NULL;
        }
    }
    for (uint32_t i = 1; i < t->entries->len; i++) {
        const FatEntry *e = t->entries->pdata[i];

        if (!e->placed) {
            continue;
        }
        e->known->first = e->first;
        e->known->size = e->size;
        if (!e->is_dir && !e->same) {
            take_over(d, t, e);
        }
    }
    fat_host_close_files(d);
    for (unsigned i = 0; i < d->dead->len; i++) {
        fat_file_free(d, d->dead->pdata[i]);
    }
    g_ptr_array_set_size(d->dead, 0);
}

static int apply(FatDisk *d, FatTree *t)
{
    bool all = false;
    int ret;

    fat_match(d, t);
    ret = compose_all(d, t);
    note_all(d, t);
    ret = ret < 0 ? ret : preserve(d, t);
    if (ret == 0) {
        ret = fat_place(d, t, &all);
        if (ret == 0 && all) {
            ret = fat_delete(d);
        }
        remember(d, t);
    }
    for (uint32_t i = 1; i < t->entries->len; i++) {
        fat_compose_drop(d, t->entries->pdata[i]);
    }
    return ret;
}

static int commit(FatDisk *d)
{
    FatTree *t;
    int ret = fat_geometry_same(d);

    if (ret == 0) {
        fat_commit_warn(d, "", "the guest has made another file system on its disk");
    }
    if (ret <= 0) {
        return ret;
    }
    t = fat_tree_read(d, &ret);
    if (ret == -E2BIG) {
        fat_commit_warn(d, "", "the guest has made too many files on its disk");
        return 0;
    }
    if (!t) {
        return ret;
    }
    ret = fat_geometry_in_use(d);
    if (ret >= 0) {
        wait_for_entries(d, t, ret);
        ret = apply(d, t);
    }
    fat_tree_free(t);
    return ret;
}

int fat_commit(FatDisk *d)
{
    g_autoptr(GHashTable) before = NULL;
    int ret;

    if (!d->changed) {
        return 0;
    }
    before = g_steal_pointer(&d->unsure);
    d->unsure = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    ret = commit(d);
    tell(d, before);
    d->changed = ret < 0 || g_hash_table_size(d->late);
    d->flushes += d->flushes < UINT32_MAX;
    return ret;
}

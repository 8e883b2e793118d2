/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's writes become changes of the folder, where its tables, its directories and its chains
 * agree. All new content is written to temporaries first, and fsync'ed; then files are put into
 * their places by renaming; what was deleted goes last, and only where all the rest has worked.
 */
#include "vvfat.h"

#include <errno.h>
#include <string.h>
#include "base/iov.h"
#include "base/log.h"

enum { UNSURE_MAX = 1000 }; /* of which is remembered that they did not agree: a bound on memory */

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
        if (!before || (!fat_is_unfinished(why) && g_hash_table_contains(before, path))) {
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
 * Linux marks the disk while it is mounted, Windows until some seconds after its last write. DOS
 * and firmware never do; of them more may come until the end. Whoever writes the boot sector, and
 * has never marked it, is a program that writes a whole image.
 */
static FatGuest guest_of(const FatDisk *d, unsigned marks)
{
    if (marks) {
        return FAT_AT_WORK;
    }
    if (d->marks) {
        return d->marks & FAT_MARK_TABLE ? FAT_IDLE : FAT_FINISHED;
    }
    if (!d->closing) {
        return FAT_AT_WORK;
    }
    return d->age[d->geo.start] > FAT_LAYOUT_AGE ? FAT_FINISHED : FAT_LAST;
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

/*
 * The overlay can do without what the host's file has. Behind its end there may be data: what a
 * system appends it writes before the entry with the new size. Zeroes are there without it.
 */
static void forget_content(FatDisk *d, uint32_t cluster, uint32_t size)
{
    uint64_t first = fat_cluster_sector(&d->geo, cluster);
    uint8_t buf[FAT_SECTOR];

    fat_disk_forget(d, first, size / FAT_SECTOR);
    for (uint32_t s = size / FAT_SECTOR; s < d->geo.per_cluster; s++) {
        uint32_t from = s == size / FAT_SECTOR ? size % FAT_SECTOR : 0;

        if (fat_disk_in_overlay(d, first + s) && fat_disk_read(d, first + s, 1, buf) == 0 &&
            buffer_is_zero(buf + from, FAT_SECTOR - from)) {
            fat_disk_forget(d, first + s, 1);
        }
    }
}

/* The chain's clusters are the host's file now. */
static void take_over(FatDisk *d, const FatTree *t, const FatEntry *e)
{
    uint32_t i = 0, size = fat_cluster_size(&d->geo), left = e->size;

    for (uint32_t c = e->first; e->first && c != FAT_END; c = t->fat[c]) {
        d->owner[c] = e->known;
        d->index[c] = i++;
        forget_content(d, c, MIN(left, size));
        left -= MIN(left, size);
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
    ret = fat_geometry_marks(d);
    if (ret < 0) {
        return ret;
    }
    d->marks |= ret;
    d->guest = guest_of(d, ret);
    t = fat_tree_read(d, &ret);
    if (ret == -E2BIG) {
        fat_commit_warn(d, "", "the guest has made too many files on its disk");
        return 0;
    }
    if (!t) {
        return ret;
    }
    fat_track(d, t);
    ret = apply(d, t);
    fat_tree_free(t);
    return ret;
}

int fat_commit(FatDisk *d)
{
    g_autoptr(GHashTable) before = NULL;
    int ret;

    if (!d->changed && !(d->closing && d->waits)) {
        return 0;
    }
    d->waits = false;
    before = g_steal_pointer(&d->unsure);
    d->unsure = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    ret = commit(d);
    tell(d, before);
    d->changed = ret < 0;
    d->flushes += d->flushes < UINT32_MAX;
    return ret;
}

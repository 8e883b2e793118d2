/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which entry of the guest's is which file of the folder: first by its path, then by its first
 * cluster, as a renamed one keeps that. In this order a file that was replaced by another one is
 * replaced in the folder, too, and at no time absent.
 */
#include "vvfat.h"

#include "base/util.h"

/* Whether the file of the host's holds just what the chain does, up to its end. */
static bool same_content(const FatDisk *d, const FatTree *t, const FatEntry *e, const FatFile *f)
{
    uint32_t i = 0, left = DIV_ROUND_UP((uint64_t)e->size, FAT_SECTOR);

    if (e->size != f->size || e->first != f->first) {
        return false;
    }
    for (uint32_t c = e->first; e->first && c != FAT_END; c = t->fat[c], i++) {
        uint64_t sector = fat_cluster_sector(&d->geo, c);

        if (d->owner[c] != f || d->index[c] != i) {
            return false;
        }
        for (uint32_t s = 0; s < d->geo.per_cluster && left; s++, left--) {
            if (fat_disk_in_overlay(d, sector + s)) {
                return false;
            }
        }
    }
    return true;
}

static void match(const FatDisk *d, const FatTree *t, FatEntry *e, FatFile *f)
{
    e->known = f;
    f->match = e;
    e->same = !e->is_dir && same_content(d, t, e, f);
}

/* Matches what is below a matched directory, by path. */
static void match_paths(const FatDisk *d, const FatTree *t, FatEntry *top)
{
    GQueue dirs = G_QUEUE_INIT;

    for (FatEntry *dir = top; dir; dir = g_queue_pop_head(&dirs)) {
        for (uint32_t i = 0; i < dir->children; i++) {
            FatEntry *e = t->entries->pdata[dir->first_child + i];
            FatFile *f = e->bad || e->known ? NULL : fat_file_child(dir->known, e->name);

            if (f && !f->match && f->is_dir == e->is_dir) {
                match(d, t, e, f);
            }
            if (f && e->known == f && e->is_dir) {
                g_queue_push_tail(&dirs, e);
            }
        }
    }
}

static void collect(FatFile *f, FatFile **by_first)
{
    f->match = NULL;
    f->held = false;
    if (f->first) {
        by_first[f->first] = f;
    }
    for (unsigned i = 0; f->children && i < f->children->len; i++) {
        collect(f->children->pdata[i], by_first);
    }
}

static void match_clusters(const FatDisk *d, const FatTree *t, FatFile **by_first)
{
    for (uint32_t i = 1; i < t->entries->len; i++) {
        FatEntry *e = t->entries->pdata[i];
        FatFile *f = e->bad || e->known || !e->first ? NULL : by_first[e->first];

        /* A link leads elsewhere from another place: its file is written anew there. */
        if (f && !f->match && f->is_dir == e->is_dir && !f->link &&
            (e->is_dir || same_content(d, t, e, f))) {
            match(d, t, e, f);
            if (e->is_dir) {
                match_paths(d, t, e);
            }
        }
    }
}

/* Files of which more may come are no entry's from here on, and stay as they are. */
static void leave_unfinished(FatDisk *d, const FatTree *t, FatFile **by_first)
{
    for (uint32_t i = 1; i < t->entries->len; i++) {
        FatEntry *e = t->entries->pdata[i];
        FatFile *origin = e->bad || !e->first ? NULL : by_first[e->first];

        if (e->bad || e->is_dir || e->same) {
            continue;
        }
        e->bad = fat_unfinished(d, t, e, origin && !origin->is_dir ? origin : NULL);
        d->waits |= e->bad != NULL;
        if (e->bad && e->known) {
            e->known->match = NULL;
            e->known = NULL;
        }
    }
}

/*
 * A cluster of a file that no entry is: in a chain without an entry, or in one that is bad, it may
 * be on its way to another directory.
 */
static bool cluster_settled(const FatTree *t, uint32_t c)
{
    const FatEntry *user = fat_cluster_user(t, c);

    return t->fat[c] == FAT_FREE || (user && !user->bad);
}

static void hold_by_clusters(const FatDisk *d, const FatTree *t, FatFile *f)
{
    if (!f->match && f->is_dir && f->first && !cluster_settled(t, f->first)) {
        f->held = true;
    }
    f->held |= f->parent && f->parent->held;
    for (unsigned i = 0; f->children && i < f->children->len; i++) {
        hold_by_clusters(d, t, f->children->pdata[i]);
    }
}

/* Finds the files of the folder on which the guest's disk does not agree: they stay. */
static void hold(const FatDisk *d, const FatTree *t)
{
    for (uint32_t c = FAT_FIRST_CLUSTER; fat_cluster_valid(&d->geo, c); c++) {
        FatFile *f = d->owner[c];

        if (f && !f->match && !cluster_settled(t, c)) {
            f->held = true;
        }
    }
    for (uint32_t i = 1; i < t->entries->len; i++) {
        const FatEntry *e = t->entries->pdata[i];
        FatFile *dir = e->bad ? e->parent->known : NULL;
        FatFile *f = dir ? fat_file_child(dir, e->name) : NULL;

        if (f && !f->match) {
            f->held = true;
        }
    }
    hold_by_clusters(d, t, d->root);
}

void fat_match(FatDisk *d, FatTree *t)
{
    FatEntry *root = t->entries->pdata[0];
    g_autofree FatFile **by_first = g_new0(FatFile *, d->geo.clusters + FAT_FIRST_CLUSTER);

    collect(d->root, by_first);
    root->known = d->root;
    d->root->match = root;
    if (root->bad) {
        d->root->held = true;
    } else {
        match_paths(d, t, root);
        match_clusters(d, t, by_first);
        leave_unfinished(d, t, by_first);
    }
    hold(d, t);
}

bool fat_file_deleted(const FatFile *f)
{
    return !f->match && !f->held;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a file on the guest's disk is whole, or half of one that is being written. FAT does not
 * say so: a directory entry has no place for it, entries of several files lie in one sector and are
 * written together, and a system writes the entry of a file that is still open. So a file goes to
 * the folder while the guest is at work only where it cannot be a mixture:
 *
 * - Each sector of it was written since its cluster came into this chain, or is the host's file's
 *   at this very place. Else its entry and table were faster than its data, and what is there is
 *   of a file that had the cluster before. Two uses of a cluster between two flushes look like one;
 *   only a system that writes entries before data can be caught so.
 * - What the host's file has is still there, unchanged, from its first byte to its last; the guest
 *   has at most appended to it. The same holds for what the guest has written since: a new file
 *   that it changes again. A file that is overwritten in place or cut off waits for the guest to
 *   say that nothing more comes (FatGuest): half of a change looks like all of a smaller one,
 *   whatever becomes of the entry. A change of a new file of which the first version has not even
 *   reached the disk whole is not seen: the folder then has one that never was in full.
 *
 * A chain that keeps its first cluster is the same file, under another name perhaps.
 */
#include "vvfat.h"

#include <string.h>
#include "base/iov.h"
#include "base/util.h"

static const char in_place_text[] =
    "it is changed where it had content, and nothing says that this was all: the guest has not "
    "unmounted the disk";
const char fat_unwritten_text[] = "its directory entry was written, but not all of its data";
static const char late_text[] = "its data is newer than its directory entry";

bool fat_is_unfinished(const char *why)
{
    return why == in_place_text || why == fat_unwritten_text || why == late_text;
}

static bool is_use(const FatUse *u, const FatEntry *e, uint32_t index)
{
    return u->first == e->first && u->index == index && u->is_dir == e->is_dir;
}

bool fat_sector_written(const FatDisk *d, uint32_t cluster, uint64_t sector, const FatEntry *e,
                        uint32_t index)
{
    const FatUse *u = &d->use[cluster];

    return fat_disk_in_overlay(d, sector) &&
           d->age[sector] > (is_use(u, e, index) ? u->since : u->seen);
}

static void track_cluster(FatDisk *d, const FatTree *t, uint32_t c)
{
    const FatEntry *e = fat_cluster_user(t, c);
    FatUse *u = &d->use[c];

    /* One that is free, or in a chain without an entry, may be on its way into its next one. */
    if (!e) {
        return;
    }
    if (!is_use(u, e, t->index[c])) {
        *u = (FatUse){e->first, t->index[c], e->is_dir, .since = u->seen};
    }
    u->seen = d->flushes;
}

/*
 * The file was seen with 'end' bytes, and is longer now. Systems fill the last sector, and those
 * of its page, with zeroes: where these are still there what was appended is not.
 */
static void track_growth(FatDisk *d, const FatTree *t, const FatEntry *e, uint32_t end)
{
    const FatGeometry *g = &d->geo;
    uint32_t last = end / fat_cluster_size(g), at = end % fat_cluster_size(g), c = e->first;
    uint8_t buf[FAT_SECTOR];

    while (fat_cluster_valid(g, c) && fat_cluster_user(t, c) == e && t->index[c] < last) {
        c = t->fat[c];
    }
    if (!fat_cluster_valid(g, c) || fat_cluster_user(t, c) != e || t->index[c] != last) {
        return;
    }
    for (uint32_t s = at / FAT_SECTOR; s < g->per_cluster; s++) {
        uint64_t sector = fat_cluster_sector(g, c) + s;
        uint32_t from = s == at / FAT_SECTOR ? at % FAT_SECTOR : 0;

        if (fat_disk_in_overlay(d, sector) && d->age[sector] < d->flushes &&
            fat_disk_read(d, sector, 1, buf) == 0 &&
            buffer_is_zero(buf + from, FAT_SECTOR - from)) {
            d->age[sector] = 0;
        }
    }
}

void fat_track(FatDisk *d, const FatTree *t)
{
    for (uint32_t c = FAT_FIRST_CLUSTER; fat_cluster_valid(&d->geo, c); c++) {
        track_cluster(d, t, c);
    }
    for (uint32_t i = 1; i < t->entries->len; i++) {
        const FatEntry *e = t->entries->pdata[i];
        FatStamp *s = &d->stamps[fat_cluster_valid(&d->geo, e->first) ? e->first : 0];
        uint32_t end = ldle32(s->bytes + FAT_STAMP_SIZE - 4);

        if (!e->is_dir && memcmp(s->bytes, e->stamp, FAT_STAMP_SIZE)) {
            if (end && end < e->size) {
                track_growth(d, t, e, end);
            }
            memcpy(s->bytes, e->stamp, FAT_STAMP_SIZE);
            s->changed = d->flushes;
        }
    }
}

/* Something that holds for a sector of a file's content, or does not. */
typedef bool (*SectorFn)(const FatDisk *d, const FatTree *t, const FatFile *origin,
                         const FatEntry *e, uint32_t cluster, uint64_t sector);

static bool any_sector(const FatDisk *d, const FatTree *t, const FatEntry *e, const FatFile *origin,
                       SectorFn fn)
{
    uint64_t left = DIV_ROUND_UP((uint64_t)e->size, FAT_SECTOR);

    for (uint32_t c = e->first; left; c = t->fat[c]) {
        uint64_t sector = fat_cluster_sector(&d->geo, c);

        for (uint32_t s = 0; s < d->geo.per_cluster && left; s++, left--) {
            if (fn(d, t, origin, e, c, sector + s)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_inherited(const FatDisk *d, const FatTree *t, const FatFile *origin, uint32_t c)
{
    return origin && d->owner[c] == origin && d->index[c] == t->index[c];
}

static bool is_unwritten(const FatDisk *d, const FatTree *t, const FatFile *origin,
                         const FatEntry *e, uint32_t c, uint64_t sector)
{
    uint64_t end =
        ((uint64_t)t->index[c] * d->geo.per_cluster + 1 + sector - fat_cluster_sector(&d->geo, c)) *
        FAT_SECTOR;

    if (fat_disk_in_overlay(d, sector)) {
        return !fat_sector_written(d, c, sector, e, t->index[c]);
    }
    /* Behind the end of the host's file there is nothing that this one could have of it. */
    return !is_inherited(d, t, origin, c) || MIN(end, e->size) > origin->size;
}

/* Of what was written for this chain. */
static bool is_changed(const FatDisk *d, const FatTree *t, const FatFile *origin, const FatEntry *e,
                       uint32_t c, uint64_t sector)
{
    return fat_disk_in_overlay(d, sector) && d->over[sector] > d->use[c].since;
}

static bool is_newer(const FatDisk *d, const FatTree *t, const FatFile *origin, const FatEntry *e,
                     uint32_t c, uint64_t sector)
{
    return fat_disk_in_overlay(d, sector) && d->age[sector] > d->stamps[e->first].changed;
}

/* Of one cluster: 'old' has room for it and for what is there now. */
static bool cluster_keeps(FatDisk *d, const FatTree *t, FatFile *origin, uint32_t c, uint8_t *old)
{
    const FatGeometry *g = &d->geo;
    uint32_t size = fat_cluster_size(g);
    uint64_t at = (uint64_t)t->index[c] * size, sector = fat_cluster_sector(g, c);
    bool written = false;

    for (uint32_t s = 0; s < g->per_cluster; s++) {
        written |= fat_disk_in_overlay(d, sector + s);
    }
    if (!written && is_inherited(d, t, origin, c)) {
        return true;
    }
    /* Of a file that cannot be read the folder has no old version that could become a mixture. */
    return fat_host_read(d, origin, at, old, size) < 0 ||
           fat_disk_read(d, sector, g->per_cluster, old + size) < 0 ||
           !memcmp(old, old + size, MIN(size, origin->size - at));
}

/* Whether the file has all that the host's has, at its start. */
static bool keeps(FatDisk *d, const FatTree *t, const FatEntry *e, FatFile *origin)
{
    uint32_t size = fat_cluster_size(&d->geo);
    uint32_t left = fat_clusters_for(&d->geo, origin->size);
    g_autofree uint8_t *buf = g_malloc(2 * (size_t)size);

    if (e->size < origin->size) {
        return false;
    }
    for (uint32_t c = e->first; left; c = t->fat[c], left--) {
        if (!cluster_keeps(d, t, origin, c, buf)) {
            return false;
        }
    }
    return true;
}

const char *fat_unfinished(FatDisk *d, const FatTree *t, const FatEntry *e, FatFile *origin)
{
    /* An emptied one is perhaps about to be written anew. */
    bool emptied = !e->size && e->known && e->known->size;

    if (d->guest == FAT_FINISHED) {
        return NULL;
    }
    /* DOS leaves parts of new files unwritten, where a program has left them out. */
    if ((d->guest != FAT_LAST || e->known || origin) && any_sector(d, t, e, origin, is_unwritten)) {
        return fat_unwritten_text;
    }
    if (d->guest == FAT_AT_WORK) {
        return emptied || (origin && !keeps(d, t, e, origin)) ||
                       any_sector(d, t, e, origin, is_changed)
                   ? in_place_text
                   : NULL;
    }
    return (d->guest == FAT_IDLE || e->known || origin) && any_sector(d, t, e, origin, is_newer)
               ? late_text
               : NULL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file of the guest's, written whole to a temporary of the host's, which then takes its place. */
#include "vvfat.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/host_beneath.h"
#include "base/iov.h"
#include "base/util.h"

typedef struct {
    FatDisk *d;
    const FatTree *t;
    FatEntry *e;
    uint8_t *buf;        /* a cluster */
    GHashTable *sources; /* FatFile, of which content goes into this file */
} Compose;

/* Whether the host's file is still the one that this program knows. */
static bool unchanged(FatDisk *d, const FatFile *f)
{
    g_autofree char *path = fat_file_path(f);
    auto_fd fd =
        host_open_beneath(d->root_fd, path, O_PATH | (f->link ? 0 : O_NOFOLLOW), 0, f->link);
    struct stat st;
    FatIdentity now;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return false;
    }
    now = fat_identity(&st);
    return fat_identity_equal(&now, &f->id);
}

/* Reads the cluster of the chain, and notes whose content that is. */
static int read_cluster(Compose *c, uint32_t cluster)
{
    const FatGeometry *g = &c->d->geo;
    uint64_t sector = fat_cluster_sector(g, cluster);

    for (uint32_t s = 0; s < g->per_cluster && c->d->owner[cluster]; s++) {
        if (!fat_disk_in_overlay(c->d, sector + s)) {
            g_hash_table_add(c->sources, c->d->owner[cluster]);
            break;
        }
    }
    return fat_disk_read(c->d, sector, g->per_cluster, c->buf);
}

/* Calls fn for each part of the file, until it does not return 0. */
static int for_each_part(Compose *c, int (*fn)(Compose *c, int fd, uint64_t at, size_t len), int fd)
{
    uint64_t at = 0;
    int ret = 0;

    for (uint32_t cl = c->e->first; at < c->e->size && ret == 0; cl = c->t->fat[cl]) {
        size_t len = MIN(c->e->size - at, fat_cluster_size(&c->d->geo));

        ret = read_cluster(c, cl);
        ret = ret < 0 ? ret : fn(c, fd, at, len);
        at += len;
    }
    return ret;
}

/* 1: the host's file holds something else there. */
static int compare_part(Compose *c, int fd, uint64_t at, size_t len)
{
    g_autofree uint8_t *host = g_malloc(len);
    int ret = fat_host_read(c->d, c->e->known, at, host, len);

    return ret < 0 ? ret : memcmp(host, c->buf, len) != 0;
}

static int write_part(Compose *c, int fd, uint64_t at, size_t len)
{
    size_t done = buffer_is_zero(c->buf, len) ? len : 0; /* a hole does */

    while (done < len) {
        ssize_t n = pwrite(fd, c->buf + done, len - done, at + done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        done += n;
    }
    return 0;
}

/* The mode, and where that is allowed the owner, of the file that is replaced. */
static int take_mode(Compose *c, int fd)
{
    g_autofree char *path = c->e->known ? fat_file_path(c->e->known) : NULL;
    auto_fd old = path ? host_open_beneath(c->d->root_fd, path, O_PATH | O_NOFOLLOW, 0, false) : -1;
    struct stat st;

    if (old < 0 || fstat(old, &st) < 0 || !S_ISREG(st.st_mode)) {
        return 0;
    }
    if (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM) {
        return -errno;
    }
    return fchmod(fd, st.st_mode & 0777) < 0 ? -errno : 0;
}

static int write_temp(Compose *c, int dir_fd)
{
    auto_fd fd =
        openat(dir_fd, c->e->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    struct stat st;
    int ret;

    if (fd < 0) {
        return -errno;
    }
    ret = for_each_part(c, write_part, fd);
    if (ret == 0 && ftruncate(fd, c->e->size) < 0) {
        ret = -errno;
    }
    ret = ret < 0 ? ret : take_mode(c, fd);
    if (ret == 0 && (fsync(fd) < 0 || fstat(fd, &st) < 0)) {
        ret = -errno;
    }
    if (ret < 0) {
        unlinkat(dir_fd, c->e->temp, 0);
        return ret;
    }
    c->e->temp_id = fat_identity(&st);
    return 0;
}

/* The nearest folder that exists: what is made in it later lies on the same file system. */
static int make_temp(Compose *c)
{
    FatEntry *dir = c->e->parent;
    auto_fd fd = -1;
    int ret;

    while (!dir->known) {
        dir = dir->parent;
    }
    fd = fat_dir_open(c->d, dir->known);
    if (fd < 0) {
        return fd;
    }
    c->e->temp = fat_temp_name(c->d, FAT_TEMP_NEW);
    c->e->temp_dir = dir->known;
    ret = write_temp(c, fd);
    if (ret < 0) {
        g_clear_pointer(&c->e->temp, g_free);
    }
    return ret;
}

/* Content of a file that another program has changed would make a mixture. */
static bool sources_unchanged(Compose *c)
{
    GHashTableIter it;
    void *f;

    g_hash_table_iter_init(&it, c->sources);
    while (g_hash_table_iter_next(&it, &f, NULL)) {
        if (!unchanged(c->d, f)) {
            return false;
        }
    }
    return true;
}

static void give_up(FatDisk *d, FatEntry *e)
{
    e->bad = "another program has changed it, or its folder, on the host";
    if (e->known) {
        e->known->match = NULL;
        e->known->held = true;
        e->known = NULL;
    }
    fat_compose_drop(d, e);
}

int fat_compose(FatDisk *d, FatTree *t, FatEntry *e)
{
    g_autofree uint8_t *buf = g_malloc(fat_cluster_size(&d->geo));
    g_autoptr(GHashTable) sources = g_hash_table_new(NULL, NULL);
    Compose c = {d, t, e, buf, sources};
    int ret = 1;

    if (e->known && !unchanged(d, e->known)) {
        give_up(d, e);
        return 0;
    }
    if (e->known && e->known->size == e->size) {
        ret = for_each_part(&c, compare_part, -1);
    }
    if (ret == 1) {
        ret = make_temp(&c);
    }
    if (fat_host_vanished(ret) || (ret == 0 && !sources_unchanged(&c))) {
        give_up(d, e);
        return 0;
    }
    return ret;
}

void fat_compose_drop(FatDisk *d, FatEntry *e)
{
    auto_fd fd = e->temp && !e->placed ? fat_dir_open(d, e->temp_dir) : -1;

    if (fd >= 0) {
        unlinkat(fd, e->temp, 0);
    }
    g_clear_pointer(&e->temp, g_free);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest sees: the overlay, the host's files behind it. */
#include "vvfat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

/* For what the guest writes: on a disk of the host's, as it may be as much as the guest's disk. */
static int temporary_file(GError **err)
{
    const char *dir = g_getenv("TMPDIR");
    g_autofree char *path = NULL;
    int fd;

    dir = dir && *dir ? dir : "/var/tmp";
    path = g_strdup_printf("%s/vl.XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, errno,
                        "Could not make a temporary file in '%s' for the guest's writes", dir);
        return -1;
    }
    unlink(path);
    return fd;
}

static bool overlay_init(FatDisk *d, GError **err)
{
    if (d->rw) {
        d->overlay_fd = temporary_file(err);
    } else {
        d->overlay_fd = memfd_create("vvfat", MFD_CLOEXEC); /* boot sector, tables, directories */
        if (d->overlay_fd < 0) {
            error_set_errno(err, errno, "Could not get memory for the file system's tables");
        }
    }
    if (d->overlay_fd < 0) {
        return false;
    }
    if (ftruncate(d->overlay_fd, (off_t)d->geo.total * FAT_SECTOR) < 0) {
        return error_set_errno(err, errno, "Could not set the length of a temporary file");
    }
    d->written = g_new0(uint64_t, DIV_ROUND_UP(d->geo.total, 64));
    d->age = g_new0(uint32_t, d->geo.total);
    if (d->rw) {
        d->over = g_new0(uint32_t, d->geo.total);
        d->use = g_new0(FatUse, d->geo.clusters + FAT_FIRST_CLUSTER);
        d->stamps = g_new0(FatStamp, d->geo.clusters + FAT_FIRST_CLUSTER);
    }
    return true;
}

/* A folder has room for many readers or one writer. */
static bool lock_folder(FatDisk *d, GError **err)
{
    if (flock(d->root_fd, (d->rw ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        return error_set(err,
                         "Failed to get %s\"write\" lock\n"
                         "Is another process using the folder [%s]?",
                         d->rw ? "" : "shared ", d->dir);
    }
    return true; /* or the file system has no locks */
}

/* What the guest changes is known by what was there before. */
static bool track_layout(FatDisk *d, GError **err)
{
    FatTree *t;
    int ret = 0;

    if (d->rw) {
        t = fat_tree_read(d, &ret);
        if (!t) {
            return error_set_errno(err, -ret, "Could not read the file system of '%s'", d->dir);
        }
        fat_track(d, t);
        fat_tree_free(t);
    }
    return true;
}

bool fat_disk_init(FatDisk *d, GError **err)
{
    uint32_t end = d->geo.clusters + FAT_FIRST_CLUSTER;

    d->overlay_fd = -1;
    d->flushes = FAT_LAYOUT_AGE;
    d->root_fd = host_open(d->dir, O_RDONLY | O_DIRECTORY, 0, NULL);
    if (d->root_fd < 0) {
        return error_set_errno(err, errno, "Could not read directory %s", d->dir);
    }
    if (!d->quiet && !lock_folder(d, err)) {
        return false;
    }
    d->owner = g_new0(FatFile *, end);
    d->index = g_new0(uint32_t, end);
    d->unsure = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    d->warned = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    d->dead = g_ptr_array_new();
    d->temp_prefix = (uint64_t)g_random_int() << 32 | g_random_int();
    if (!overlay_init(d, err) || !fat_host_scan(d, err) || !fat_layout(d, err) ||
        !track_layout(d, err)) {
        return false;
    }
    d->flushes = FAT_LAYOUT_AGE + 1;
    return true;
}

void fat_disk_destroy(FatDisk *d)
{
    fat_host_close_files(d);
    fat_file_free(d, d->root);
    d->root = NULL;
    fd_close(&d->root_fd);
    fd_close(&d->overlay_fd);
    g_clear_pointer(&d->owner, g_free);
    g_clear_pointer(&d->index, g_free);
    g_clear_pointer(&d->written, g_free);
    g_clear_pointer(&d->age, g_free);
    g_clear_pointer(&d->over, g_free);
    g_clear_pointer(&d->use, g_free);
    g_clear_pointer(&d->stamps, g_free);
    g_clear_pointer(&d->dead, g_ptr_array_unref);
    g_clear_pointer(&d->unsure, g_hash_table_destroy);
    g_clear_pointer(&d->warned, g_hash_table_destroy);
    g_clear_pointer(&d->dir, g_free);
}

bool fat_disk_in_overlay(const FatDisk *d, uint64_t sector)
{
    return d->written[sector / 64] & BIT64(sector % 64);
}

static void mark(FatDisk *d, uint64_t sector, uint32_t count, bool on)
{
    for (uint64_t s = sector; s < sector + count; s++) {
        uint64_t bit = BIT64(s % 64);

        d->written[s / 64] = on ? d->written[s / 64] | bit : d->written[s / 64] & ~bit;
        d->age[s] = on ? d->flushes : d->age[s];
    }
}

/* How many sectors from there on are in the overlay, or are not. */
static uint32_t run_length(const FatDisk *d, uint64_t sector, uint32_t count, bool in_overlay)
{
    uint32_t n = 1;

    while (n < count && fat_disk_in_overlay(d, sector + n) == in_overlay) {
        n++;
    }
    return n;
}

/* The file below a sector, and where in it; *count becomes how far that holds. */
static FatFile *file_at(const FatDisk *d, uint64_t sector, uint32_t *count, uint64_t *offset)
{
    const FatGeometry *g = &d->geo;
    uint64_t n = sector < g->data ? UINT32_MAX : (sector - g->data) / g->per_cluster;
    uint32_t inside = sector < g->data ? 0 : (sector - g->data) % g->per_cluster;
    FatFile *f = NULL;

    if (n < g->clusters) {
        uint32_t cluster = n + FAT_FIRST_CLUSTER;

        f = d->owner[cluster];
        *count = MIN(*count, g->per_cluster - inside);
        *offset = ((uint64_t)d->index[cluster] * g->per_cluster + inside) * FAT_SECTOR;
    } else if (sector < g->data) {
        *count = MIN(*count, g->data - sector);
    }
    return f;
}

static int overlay_io(int fd, bool write, uint64_t sector, uint32_t count, void *buf)
{
    size_t len = (size_t)count * FAT_SECTOR, done = 0;
    off_t at = (off_t)sector * FAT_SECTOR;

    while (done < len) {
        char *p = (char *)buf + done;
        ssize_t n =
            write ? pwrite(fd, p, len - done, at + done) : pread(fd, p, len - done, at + done);

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

int fat_disk_read(FatDisk *d, uint64_t sector, uint32_t count, void *buf)
{
    int ret = 0;

    while (count && ret == 0) {
        bool in_overlay = fat_disk_in_overlay(d, sector);
        uint32_t n = count;
        uint64_t offset = 0;
        FatFile *f = in_overlay ? NULL : file_at(d, sector, &n, &offset);

        n = run_length(d, sector, n, in_overlay);
        if (in_overlay) {
            ret = overlay_io(d->overlay_fd, false, sector, n, buf);
        } else if (f) {
            ret = fat_host_read(d, f, offset, buf, (size_t)n * FAT_SECTOR);
        } else {
            memset(buf, 0, (size_t)n * FAT_SECTOR);
        }
        sector += n;
        count -= n;
        buf = (char *)buf + (size_t)n * FAT_SECTOR;
    }
    return ret;
}

/* What is appended to a sector leaves it as it is, up to the zeroes that it ends in. */
static bool sector_keeps(const uint8_t *old, const uint8_t *new)
{
    size_t len = FAT_SECTOR;

    while (len && !old[len - 1]) {
        len--;
    }
    return !memcmp(old, new, len);
}

/* Before a write: notes what of the guest's own data is about to change. 'buf' NULL: zeroes. */
static int note_changes(FatDisk *d, uint64_t sector, uint32_t count, const uint8_t *buf)
{
    static const uint8_t zeroes[FAT_SECTOR];
    uint8_t old[FAT_SECTOR];
    int ret = 0;

    for (uint64_t s = MAX(sector, d->geo.data); d->over && s < sector + count && ret == 0; s++) {
        if (!fat_disk_in_overlay(d, s)) {
            d->over[s] = 0;
            continue;
        }
        ret = overlay_io(d->overlay_fd, false, s, 1, old);
        if (ret == 0 && !sector_keeps(old, buf ? buf + (s - sector) * FAT_SECTOR : zeroes)) {
            d->over[s] = MAX(d->over[s], d->age[s]);
        }
    }
    return ret;
}

/* A guest may mount and unmount its disk between two flushes. */
static void note_marks(FatDisk *d, uint64_t sector, uint32_t count)
{
    const FatGeometry *g = &d->geo;

    if (d->flushes > FAT_LAYOUT_AGE && (g->start - sector < count || g->fat - sector < count)) {
        d->marks |= MAX(fat_geometry_marks(d), 0);
    }
}

int fat_disk_write(FatDisk *d, uint64_t sector, uint32_t count, const void *buf)
{
    int ret = note_changes(d, sector, count, buf);

    ret = ret < 0 ? ret : overlay_io(d->overlay_fd, true, sector, count, (void *)buf);

    if (ret == 0) {
        mark(d, sector, count, true);
        d->changed = true;
        note_marks(d, sector, count);
    }
    return ret;
}

int fat_disk_write_zeroes(FatDisk *d, uint64_t sector, uint32_t count)
{
    int ret = note_changes(d, sector, count, NULL);

    if (ret < 0) {
        return ret;
    }
    if (fallocate(d->overlay_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)sector * FAT_SECTOR, (off_t)count * FAT_SECTOR) < 0) {
        return errno == EOPNOTSUPP ? -ENOTSUP : -errno;
    }
    mark(d, sector, count, true);
    d->changed = true;
    return 0;
}

bool fat_disk_has_data(FatDisk *d, uint64_t sector, uint32_t *count)
{
    bool in_overlay = fat_disk_in_overlay(d, sector), data;
    uint32_t max = *count, n = run_length(d, sector, max, in_overlay), more;
    uint64_t offset;

    if (in_overlay) {
        *count = n;
        return true;
    }
    data = file_at(d, sector, &n, &offset);
    for (*count = n; *count < max; *count += more) {
        more = max - *count;
        if (fat_disk_in_overlay(d, sector + *count) ||
            (file_at(d, sector + *count, &more, &offset) != NULL) != data) {
            break;
        }
        more = run_length(d, sector + *count, more, false);
    }
    return data;
}

void fat_disk_forget(FatDisk *d, uint64_t sector, uint32_t count)
{
    mark(d, sector, count, false);
    /* Where holes are impossible the file stays longer than it has to. */
    if (count && fallocate(d->overlay_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           (off_t)sector * FAT_SECTOR, (off_t)count * FAT_SECTOR) < 0) {
        return;
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's folder: finding what is in it, and reading its files. */
#include "vvfat.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host_beneath.h"
#include "base/log.h"
#include "base/util.h"

static void file_enter(FatFile *f, FatFile *parent)
{
    f->parent = parent;
    f->place = parent->children->len;
    g_ptr_array_add(parent->children, f);
    g_hash_table_insert(parent->names, f->name, f);
}

FatFile *fat_file_new(FatDisk *d, FatFile *parent, const char *name, bool is_dir)
{
    FatFile *f = g_new0(FatFile, 1);

    f->name = g_strdup(name);
    f->is_dir = is_dir;
    f->depth = parent ? parent->depth + 1 : 0;
    f->children = is_dir ? g_ptr_array_new() : NULL;
    f->names = is_dir ? g_hash_table_new(g_str_hash, g_str_equal) : NULL;
    if (parent) {
        file_enter(f, parent);
    }
    d->files++;
    return f;
}

void fat_file_detach(FatFile *f)
{
    GPtrArray *all = f->parent ? f->parent->children : NULL;

    if (all) {
        FatFile *last = all->pdata[all->len - 1];

        g_hash_table_remove(f->parent->names, f->name);
        all->pdata[f->place] = last;
        last->place = f->place;
        g_ptr_array_set_size(all, all->len - 1);
        f->parent = NULL;
    }
}

void fat_file_free(FatDisk *d, FatFile *f)
{
    if (!f) {
        return;
    }
    while (f->children && f->children->len) {
        fat_file_free(d, f->children->pdata[f->children->len - 1]);
    }
    fat_file_detach(f);
    if (f->children) {
        g_ptr_array_unref(f->children);
        g_hash_table_destroy(f->names);
    }
    d->files--;
    g_free(f->name);
    g_free(f);
}

void fat_file_move(FatFile *f, FatFile *parent, const char *name)
{
    char *copy = g_strdup(name);

    fat_file_detach(f);
    g_free(f->name);
    f->name = copy;
    file_enter(f, parent);
}

FatFile *fat_file_child(const FatFile *dir, const char *name)
{
    return g_hash_table_lookup(dir->names, name);
}

char *fat_file_path(const FatFile *f)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new();
    GString *path = g_string_new(NULL);

    for (; f->parent; f = f->parent) {
        g_ptr_array_add(parts, f->name);
    }
    for (unsigned i = parts->len; i-- > 0;) {
        g_string_append_printf(path, "%s%s", (char *)parts->pdata[i], i ? "/" : "");
    }
    return g_string_free(path, false);
}

FatIdentity fat_identity(const struct stat *st)
{
    return (FatIdentity){st->st_dev, st->st_ino, st->st_size, st->st_mtim};
}

bool fat_identity_equal(const FatIdentity *a, const FatIdentity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

int fat_dir_open(FatDisk *d, const FatFile *dir)
{
    g_autofree char *path = fat_file_path(dir);
    int fd = host_open_beneath(d->root_fd, path, O_RDONLY | O_DIRECTORY, 0, false);

    return fd < 0 ? -errno : fd;
}

/* O_NONBLOCK: a FIFO that took the file's place must not keep us. */
static int file_open(FatDisk *d, FatFile *f)
{
    g_autofree char *path = fat_file_path(f);
    auto_fd fd = host_open_beneath(d->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, f->link);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    return S_ISREG(st.st_mode) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -EINVAL;
}

/* The file's descriptor, borrowed, or -errno. */
static int file_fd(FatDisk *d, FatFile *f)
{
    FatOpenFile *slot = d->open;
    int fd;

    for (unsigned i = 0; i < FAT_OPEN_FILES; i++) {
        FatOpenFile *o = &d->open[i];

        if (o->file == f) {
            o->used = ++d->uses;
            return o->fd;
        }
        slot = o->file ? (slot->file && o->used < slot->used ? o : slot) : o;
    }
    fd = file_open(d, f);
    if (fd < 0) {
        return fd;
    }
    if (slot->file) {
        close(slot->fd);
    }
    *slot = (FatOpenFile){f, fd, ++d->uses};
    return fd;
}

void fat_host_close_files(FatDisk *d)
{
    for (unsigned i = 0; i < FAT_OPEN_FILES; i++) {
        if (d->open[i].file) {
            close(d->open[i].fd);
            d->open[i] = (FatOpenFile){NULL};
        }
    }
}

int fat_host_read(FatDisk *d, FatFile *f, uint64_t offset, void *buf, size_t len)
{
    int fd = file_fd(d, f);
    size_t done = 0;

    if (fd < 0) {
        return fd;
    }
    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, offset + done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        done += n;
    }
    memset((char *)buf + done, 0, len - done);
    return 0;
}

enum { SAID_MAX = 10 };

typedef struct {
    FatDisk *d;
    GQueue dirs; /* FatFile, still to be read */
    unsigned left_out;
    GError **err;
} Scan;

static void leave_out(Scan *s, const FatFile *dir, const char *name, const char *why)
{
    g_autofree char *path = fat_file_path(dir), *shown = g_utf8_make_valid(name, -1);

    if (s->left_out++ < SAID_MAX && !s->d->quiet) {
        log_warn("fat:%s: '%s%s%s' is left out: %s", s->d->dir, path, *path ? "/" : "", shown, why);
    }
}

/* What the name is, links followed inside the folder. NULL, or why it is not shown. */
static const char *look(FatDisk *d, const FatFile *dir, int dir_fd, const char *name,
                        struct stat *st, bool *link)
{
    g_autofree char *folder = fat_file_path(dir);
    g_autofree char *path = g_strconcat(folder, *folder ? "/" : "", name, NULL);
    auto_fd fd = -1;

    if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0) {
        return g_strerror(errno);
    }
    *link = S_ISLNK(st->st_mode);
    if (*link) {
        fd = host_open_beneath(d->root_fd, path, O_PATH, 0, true);
        if (fd < 0) {
            return errno == EXDEV ? "the link leads out of the folder" : g_strerror(errno);
        }
        if (fstat(fd, st) < 0) {
            return g_strerror(errno);
        }
        if (S_ISDIR(st->st_mode)) {
            return "it is a link to a folder";
        }
    }
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
        return "it is neither a file nor a folder";
    }
    if (S_ISDIR(st->st_mode) && dir->depth + 1 >= FAT_MAX_DEPTH) {
        return "it lies too deep";
    }
    return strlen(path) >= PATH_MAX ? "its path is too long" : fat_name_refused(name);
}

/* What an interrupted commit has left, or one that is on: this one has the folder's lock. */
static bool scan_temporary(Scan *s, const FatFile *dir, int dir_fd, const char *name)
{
    if (!fat_name_is_new(name)) {
        leave_out(s, dir, name, "it was being moved when the program was killed: rename it");
    } else if (s->d->rw && unlinkat(dir_fd, name, 0) < 0) {
        leave_out(s, dir, name, g_strerror(errno));
    }
    return true;
}

static bool scan_name(Scan *s, FatFile *dir, int dir_fd, const char *name, GHashTable *keys)
{
    struct stat st;
    bool link = false;
    const char *why;
    FatFile *f;

    if (fat_name_is_temporary(name)) {
        return scan_temporary(s, dir, dir_fd, name);
    }
    why = look(s->d, dir, dir_fd, name, &st, &link);
    if (!why && !g_hash_table_add(keys, fat_name_key(name))) {
        why = "another name differs from it by capital letters alone, which are the same to FAT";
    }
    if (why) {
        leave_out(s, dir, name, why);
        return true;
    }
    if (S_ISREG(st.st_mode) && st.st_size > UINT32_MAX) {
        return error_set(s->err, "'%s' is too large for FAT, whose files have at most 4 GiB", name);
    }
    if (s->d->files >= FAT_MAX_FILES) {
        return error_set(s->err, "There are more than %d files and folders in it", FAT_MAX_FILES);
    }
    f = fat_file_new(s->d, dir, name, S_ISDIR(st.st_mode));
    f->link = link;
    f->id = fat_identity(&st);
    f->size = f->is_dir ? 0 : st.st_size;
    if (f->is_dir) {
        g_queue_push_tail(&s->dirs, f);
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, so that a folder looks the same each time. NULL: -errno in *ret. */
static GPtrArray *read_names(int fd, int *ret)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    DIR *dir = fdopendir(fd); /* has the descriptor from here on */
    struct dirent *e;

    if (!dir) {
        *ret = -errno;
        close(fd);
        return NULL;
    }
    while (errno = 0, (e = readdir(dir))) {
        if (!g_str_equal(e->d_name, ".") && !g_str_equal(e->d_name, "..")) {
            g_ptr_array_add(names, g_strdup(e->d_name));
        }
    }
    *ret = -errno;
    closedir(dir);
    if (*ret) {
        return NULL;
    }
    g_ptr_array_sort(names, compare_names);
    return g_steal_pointer(&names);
}

static bool scan_dir(Scan *s, FatFile *dir)
{
    auto_fd fd = fat_dir_open(s->d, dir);
    int ret = fd, copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    g_autoptr(GPtrArray) names = NULL;
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    if (fd >= 0 && copy < 0) {
        ret = -errno;
    }
    names = copy < 0 ? NULL : read_names(copy, &ret);
    if (!names && dir->parent) {
        /* A folder that this user may not read is no reason to show nothing. */
        leave_out(s, dir, "*", g_strerror(-ret));
        return true;
    }
    if (!names) {
        return error_set_errno(s->err, -ret, "Could not read directory %s", s->d->dir);
    }
    for (unsigned i = 0; i < names->len; i++) {
        if (!scan_name(s, dir, fd, names->pdata[i], keys)) {
            return false;
        }
    }
    return true;
}

bool fat_host_scan(FatDisk *d, GError **err)
{
    Scan s = {.d = d, .dirs = G_QUEUE_INIT, .err = err};
    FatFile *dir = d->root = fat_file_new(d, NULL, NULL, true);

    do {
        if (!scan_dir(&s, dir)) {
            g_queue_clear(&s.dirs);
            return false;
        }
    } while ((dir = g_queue_pop_head(&s.dirs)));
    if (s.left_out > SAID_MAX && !d->quiet) {
        log_warn("fat:%s: %u more are left out", d->dir, s.left_out - SAID_MAX);
    }
    return true;
}

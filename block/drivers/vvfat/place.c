/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brings the guest's entries to their places in the folder, by renaming: folders before what is in
 * them, and whatever is in the way first to its own place. All new content is in temporaries by
 * now, so that nothing of the old content is needed any more.
 */
#include "vvfat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>
#include "base/util.h"

enum { PLACE_DEPTH = 256, PLACE_PASSES = 8 };

typedef enum { PLACE_DONE, PLACE_CIRCLE, PLACE_NOT } PlaceResult;

typedef struct {
    FatDisk *d;
    int ret; /* the first error of the host's, which the guest's flush fails with */
} Place;

static PlaceResult place(Place *p, FatEntry *e, unsigned depth);

static PlaceResult refused(Place *p, const FatEntry *e, const char *why)
{
    g_autofree char *path = fat_entry_path(e);

    fat_commit_warn(p->d, path, why);
    return PLACE_NOT;
}

static PlaceResult failed(Place *p, const FatEntry *e, int errnum)
{
    if (errnum == EEXIST) {
        return refused(p, e, "the host has another file of this name");
    }
    if (errnum == EINVAL) {
        return refused(p, e, "the host's file system cannot do that");
    }
    if (fat_host_vanished(-errnum)) {
        return refused(p, e, "another program has changed it, or its folder, on the host");
    }
    p->ret = p->ret ? p->ret : -errnum;
    return refused(p, e, g_strerror(errnum));
}

/* Not every file system can rename with RENAME_NOREPLACE. */
static int rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    struct stat st;

    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL) {
        return -errno;
    }
    if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return -EEXIST;
    }
    return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

/* Whether the file there is the one that is known: else it is not this program's to replace. */
static bool is_known(int dir_fd, const FatFile *f)
{
    struct stat st;
    FatIdentity id;

    if (f->link) {
        return fstatat(dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
    }
    if (fstatat(dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return false;
    }
    id = fat_identity(&st);
    return f->is_dir ? S_ISDIR(st.st_mode) : fat_identity_equal(&id, &f->id);
}

static int sync_dir(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

/* Out of the tree; freed when no cluster is the file's any more. */
static void bury(FatDisk *d, FatFile *f)
{
    f->gone = true;
    fat_file_detach(f);
    g_ptr_array_add(d->dead, f);
}

/* --- deleting --- */

static int delete_file(FatDisk *d, FatFile *f)
{
    auto_fd dir_fd = fat_dir_open(d, f->parent);
    g_autofree char *path = fat_file_path(f);

    if (dir_fd < 0 || !is_known(dir_fd, f)) {
        struct stat st;

        if (dir_fd >= 0 && fstatat(dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            fat_commit_warn(d, path, "another program has changed it on the host");
        }
    } else if (unlinkat(dir_fd, f->name, f->is_dir ? AT_REMOVEDIR : 0) < 0) {
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT) {
            return -errno;
        }
        if (errno != ENOENT) {
            fat_commit_warn(d, path,
                            "it holds files that the guest did not see, and is not deleted");
        }
    } else if (sync_dir(dir_fd) < 0) {
        return -errno;
    }
    bury(d, f);
    return 0;
}

/* What the guest has deleted of 'f' and of all below it. */
static int delete_tree(FatDisk *d, FatFile *f)
{
    int ret = 0;

    for (unsigned i = f->children ? f->children->len : 0; i-- > 0 && ret == 0;) {
        ret = delete_tree(d, f->children->pdata[i]);
    }
    if (ret == 0 && fat_file_deleted(f) && !(f->children && f->children->len)) {
        ret = delete_file(d, f);
    }
    return ret;
}

int fat_delete(FatDisk *d)
{
    return delete_tree(d, d->root);
}

/* --- placing --- */

/* 'f' and 'g' change places. */
static PlaceResult exchange(Place *p, FatEntry *e, FatFile *f, FatFile *g)
{
    auto_fd from = fat_dir_open(p->d, f->parent), to = fat_dir_open(p->d, g->parent);
    g_autofree char *f_name = g_strdup(f->name), *g_name = g_strdup(g->name);
    FatFile *f_parent = f->parent, *g_parent = g->parent;
    int ret;

    if (from < 0 || to < 0) {
        return failed(p, e, from < 0 ? -from : -to);
    }
    if (renameat2(from, f_name, to, g_name, RENAME_EXCHANGE) < 0) {
        return failed(p, e, errno);
    }
    fat_file_detach(f); /* no two files of a folder have one name */
    fat_file_move(g, f_parent, f_name);
    fat_file_move(f, g_parent, g_name);
    ret = sync_dir(from);
    ret = ret < 0 ? ret : sync_dir(to);
    return ret < 0 ? failed(p, e, -ret) : PLACE_DONE;
}

/* Moves 'f' to a name that only this program knows, as its place is in 'e', which is to come. */
static PlaceResult park(Place *p, FatEntry *e, FatFile *f)
{
    auto_fd fd = fat_dir_open(p->d, f->parent);
    g_autofree char *name = fat_temp_name(p->d, FAT_TEMP_KEPT);
    int ret = fd < 0 ? fd : rename_new(fd, f->name, fd, name);

    if (ret < 0) {
        return failed(p, e, -ret);
    }
    fat_file_move(f, f->parent, name);
    return PLACE_DONE;
}

/* All that is in a deleted folder leaves it, for its own place or for good. */
static PlaceResult empty_folder(Place *p, FatEntry *e, FatFile *dir, unsigned depth)
{
    for (unsigned i = dir->children->len; i-- > 0;) {
        FatFile *f;

        if (i >= dir->children->len) {
            continue; /* several have left at once */
        }
        f = dir->children->pdata[i];
        if (f->match && place(p, f->match, depth + 1) != PLACE_DONE) {
            return refused(p, e, "a folder that is in its place has a file that cannot leave");
        }
        if (i < dir->children->len && dir->children->pdata[i] == f && f->is_dir &&
            empty_folder(p, e, f, depth + 1) != PLACE_DONE) {
            return PLACE_NOT;
        }
    }
    return PLACE_DONE;
}

static PlaceResult remove_deleted(Place *p, FatEntry *e, FatFile *o, unsigned depth)
{
    int ret;

    if (o->is_dir && (depth > PLACE_DEPTH || empty_folder(p, e, o, depth) != PLACE_DONE)) {
        return PLACE_NOT;
    }
    ret = delete_tree(p->d, o);
    if (ret < 0) {
        return failed(p, e, -ret);
    }
    return o->gone ? PLACE_DONE : refused(p, e, "a folder that is in its place is not empty");
}

/* 'o' has the entry's place, and is not the entry's file. */
static PlaceResult make_room(Place *p, FatEntry *e, FatFile *o, unsigned depth)
{
    PlaceResult r;

    if (o->match) {
        r = place(p, o->match, depth + 1);
        if (r != PLACE_CIRCLE) {
            return r;
        }
        return e->known ? exchange(p, e, e->known, o) : park(p, e, o);
    }
    if (!fat_file_deleted(o)) {
        return refused(p, e, "the disk does not agree on another file of this name");
    }
    return !o->is_dir && !e->is_dir ? PLACE_DONE : remove_deleted(p, e, o, depth);
}

static PlaceResult new_folder(Place *p, FatEntry *e, FatFile *dir, int dir_fd)
{
    struct stat st;

    if (mkdirat(dir_fd, e->name, 0777) < 0 &&
        (errno != EEXIST || fstatat(dir_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
         !S_ISDIR(st.st_mode))) {
        return failed(p, e, errno);
    }
    e->known = fat_file_new(p->d, dir, e->name, true);
    e->known->match = e;
    return PLACE_DONE;
}

/* The file that is moved to the entry's place, and where it is now. */
static PlaceResult move_there(Place *p, FatEntry *e, FatFile *dir, int dir_fd, FatFile *replaced)
{
    FatFile *from_dir = e->temp ? e->temp_dir : e->known->parent;
    auto_fd from = fat_dir_open(p->d, from_dir);
    const char *name = e->temp ? e->temp : e->known->name;
    int ret = from;

    if (replaced && from >= 0 && !is_known(dir_fd, replaced)) {
        return refused(p, e, "another program has changed it, or its folder, on the host");
    }
    if (from >= 0) {
        ret = replaced ? (renameat(from, name, dir_fd, e->name) < 0 ? -errno : 0)
                       : rename_new(from, name, dir_fd, e->name);
    }
    ret = ret < 0 ? ret : sync_dir(dir_fd);
    if (ret == 0 && from_dir != dir) {
        ret = sync_dir(from);
    }
    return ret < 0 ? failed(p, e, -ret) : PLACE_DONE;
}

/* The place is free, or a file has it that this one replaces. */
static PlaceResult put(Place *p, FatEntry *e, FatFile *dir)
{
    FatFile *o = fat_file_child(dir, e->name);
    auto_fd fd = fat_dir_open(p->d, dir);
    PlaceResult r;

    if (fd < 0) {
        return failed(p, e, -fd);
    }
    if (o && o == e->known && !e->temp) {
        return PLACE_DONE;
    }
    if (e->is_dir && !e->known) {
        r = new_folder(p, e, dir, fd);
        return r == PLACE_DONE && sync_dir(fd) < 0 ? failed(p, e, errno) : r;
    }
    r = move_there(p, e, dir, fd, o);
    if (r != PLACE_DONE) {
        return r;
    }
    if (o && o != e->known) {
        bury(p->d, o);
    }
    if (!e->known) {
        e->known = fat_file_new(p->d, dir, e->name, false);
        e->known->match = e;
    } else if (o != e->known) {
        fat_file_move(e->known, dir, e->name);
    }
    if (e->temp) {
        e->known->id = e->temp_id;
        e->known->link = false;
    }
    return PLACE_DONE;
}

static PlaceResult place_now(Place *p, FatEntry *e, unsigned depth)
{
    FatFile *o;
    PlaceResult r;

    if (!e->parent->placed && (r = place(p, e->parent, depth + 1)) != PLACE_DONE) {
        return r;
    }
    o = fat_file_child(e->parent->known, e->name);
    if (o && o != e->known && (r = make_room(p, e, o, depth)) != PLACE_DONE) {
        return r;
    }
    return put(p, e, e->parent->known);
}

static PlaceResult place(Place *p, FatEntry *e, unsigned depth)
{
    PlaceResult r;

    if (e->placed) {
        return PLACE_DONE;
    }
    if (e->placing) {
        return PLACE_CIRCLE;
    }
    if (e->bad || depth > PLACE_DEPTH) {
        return PLACE_NOT;
    }
    e->placing = true;
    r = place_now(p, e, depth);
    e->placing = false;
    e->placed = r == PLACE_DONE;
    return r;
}

int fat_place(FatDisk *d, FatTree *t, bool *all)
{
    Place p = {.d = d};
    uint32_t before, left = t->entries->len;

    ((FatEntry *)t->entries->pdata[0])->placed = true;
    /* Entries that wait for each other in long rows take several passes. */
    for (unsigned pass = 0; pass < PLACE_PASSES; pass++) {
        before = left;
        left = 0;
        for (uint32_t i = 1; i < t->entries->len; i++) {
            FatEntry *e = t->entries->pdata[i];

            left += !e->bad && place(&p, e, 0) != PLACE_DONE;
        }
        if (!left || left == before) {
            break;
        }
    }
    *all = !left;
    return p.ret;
}

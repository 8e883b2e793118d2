/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file that convert and dd make: it is none of those that they read, and it is made whole. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "img.h"

static const int ends[] = {SIGHUP, SIGINT, SIGTERM};

/* The path of the host's file or device that a name stands for; NULL: it stands for none. */
static char *target_path(const char *name)
{
    json_auto_t *tree = block_filename_to_config(name, NULL);
    json_t *file = tree ? json_object_get(tree, "file") : NULL;

    return json_is_object(file) ? g_strdup(json_str(file, "filename")) : NULL;
}

typedef struct {
    struct stat st;
    bool found;
} Look;

static bool is_device(const struct stat *st)
{
    return S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode);
}

static void target_compare(BlockNode *n, void *data)
{
    Look *l = data;
    struct stat st;

    if (!n->driver->is_protocol || !n->filename || stat(n->filename, &st) < 0) {
        return;
    }
    if (is_device(&st) && is_device(&l->st)) {
        l->found = l->found || st.st_rdev == l->st.st_rdev;
    } else {
        l->found = l->found || (st.st_dev == l->st.st_dev && st.st_ino == l->st.st_ino);
    }
}

bool img_target_is_read(const char *name)
{
    g_autofree char *path = target_path(name);
    Look l = {0};

    if (!path || stat(path, &l.st) < 0) {
        return false;
    }
    block_node_foreach(target_compare, &l);
    if (l.found) {
        log_error("%s: the target is the file that is read: choose another name", name);
    }
    return l.found;
}

/* --- signals --- */

static char *half_made; /* NULL: the handler is not installed */

static void target_interrupted(int sig)
{
    int kept = errno;

    unlink(half_made);
    errno = kept;
    signal(sig, SIG_DFL);
    raise(sig);
}

void img_target_begin(const char *name)
{
    g_autofree char *path = target_path(name);
    struct sigaction sa = {.sa_handler = target_interrupted}, was;
    struct stat st;

    if (!path || lstat(path, &st) == 0 || errno != ENOENT) {
        return;
    }
    half_made = g_steal_pointer(&path);
    sigfillset(&sa.sa_mask);
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        /* What nohup has the program ignore stays ignored. */
        if (sigaction(ends[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) {
            sigaction(ends[i], &sa, NULL);
        }
    }
}

void img_target_end(bool failed)
{
    struct sigaction was;

    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        if (sigaction(ends[i], NULL, &was) == 0 && was.sa_handler == target_interrupted) {
            signal(ends[i], SIG_DFL);
        }
    }
    if (failed && half_made) {
        unlink(half_made);
    }
    g_clear_pointer(&half_made, g_free);
}

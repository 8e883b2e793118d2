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

/* A file that was not there before; an image may have several. */
typedef struct HalfMade HalfMade;
struct HalfMade {
    HalfMade *next;
    char path[];
};
static HalfMade *half_made; /* atomic: the handler reads the list at any time */

static void target_remove(void)
{
    for (HalfMade *m = __atomic_load_n(&half_made, __ATOMIC_ACQUIRE); m; m = m->next) {
        unlink(m->path);
    }
}

static void target_made(const char *path)
{
    size_t len = strlen(path) + 1;
    HalfMade *m = g_malloc(sizeof *m + len);

    memcpy(m->path, path, len);
    m->next = half_made;
    __atomic_store_n(&half_made, m, __ATOMIC_RELEASE);
}

static void target_interrupted(int sig)
{
    int kept = errno;

    target_remove();
    errno = kept;
    signal(sig, SIG_DFL);
    raise(sig);
}

void img_target_begin(void)
{
    struct sigaction sa = {.sa_handler = target_interrupted}, was;

    block_image_on_made(target_made);
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
    block_image_on_made(NULL);
    if (failed) {
        target_remove();
    }
    while (half_made) {
        HalfMade *next = half_made->next;

        g_free(half_made);
        half_made = next;
    }
}

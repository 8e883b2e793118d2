/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img rebase. */
#include <errno.h>
#include "base/qemu_names.h"
#include "block/chain.h"
#include "img.h"

typedef struct {
    ImgOpen how, backing_how;
    const char *backing, *backing_format;
    bool unsafe, progress, quiet;
} RebaseArgs;

static const ImgOption rebase_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", RebaseArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_TEXT('b', NULL, "backing_file", RebaseArgs, backing,
                 "the new backing file, as the image is to name it; '': none"),
    IMG_OPT_TEXT('F', NULL, "backing_fmt", RebaseArgs, backing_format,
                 "format of the new backing file"),
    IMG_OPT_FLAG('u', NULL, RebaseArgs, unsafe,
                 "change the name alone: the new backing file is taken to hold the same"),
    IMG_OPT_TEXT('t', NULL, "cache", RebaseArgs, how.cache, "cache mode of the image (writeback)"),
    IMG_OPT_TEXT('T', NULL, "src_cache", RebaseArgs, backing_how.cache,
                 "cache mode of the new backing file (writeback)"),
    IMG_OPT_FLAG('p', NULL, RebaseArgs, progress, IMG_HELP_PROGRESS),
    IMG_OPT_FLAG('q', NULL, RebaseArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG('U', "force-share", RebaseArgs, backing_how.force_share,
                 "read the new backing file although others may write"),
    IMG_OPT_FLAG(0, "image-opts", RebaseArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

typedef struct {
    const RebaseArgs *args;
    BlockRebase copy;
    GError *err;
} RebaseRun;

static void rebase_progress(double percent, void *data)
{
    img_progress(percent);
}

/* The name that the image gets; NULL: it gets none. */
static const char *rebase_name(const RebaseArgs *a)
{
    return a->backing && *a->backing ? a->backing : NULL;
}

static int rebase_not_changed(const RebaseArgs *a, const char *why)
{
    log_error("Could not change the backing file to '%s': %s", a->backing ? a->backing : "", why);
    return 1;
}

static int coroutine_fn rebase_copy_fn(void *data)
{
    RebaseRun *r = data;

    return block_rebase_copy(&r->copy, &r->err) ? 0 : -EIO;
}

static int coroutine_fn rebase_name_fn(void *data)
{
    RebaseRun *r = data;

    return block_set_backing_name(r->copy.top, rebase_name(r->args), r->args->backing_format);
}

static int rebase_do(RebaseRun *r)
{
    const RebaseArgs *a = r->args;
    int ret;

    if (rebase_name(a) && !a->backing_format) {
        return rebase_not_changed(a, "backing format must be specified");
    }
    if (!r->copy.top->driver->set_backing_name) {
        return rebase_not_changed(a, g_strerror(ENOTSUP));
    }
    img_progress_begin(a->progress && !a->quiet, 1);
    ret = a->unsafe ? 0 : block_run(rebase_copy_fn, r);
    if (ret == 0) {
        ret = block_run(rebase_name_fn, r);
        img_progress(100);
        img_progress_end();
        return ret == 0         ? 0
               : ret == -ENOSPC ? rebase_not_changed(a, "No space left in the file header")
                                : rebase_not_changed(a, g_strerror(-ret));
    }
    img_progress_end();
    return img_fail(r->err, NULL);
}

/* A snapshot inside the image is not copied for: where it holds nothing the new file shows. */
static void rebase_warn(BlockNode *n)
{
    BlockDriverInfo info = {0};

    if (n->driver->info && n->driver->info(n, &info)) {
        json_decref(info.format_specific);
    }
    if (info.snapshots && n->backing) {
        log_warn("%s has internal snapshots, which still rely on the old backing file",
                 n->filename);
    }
}

/* False: the new backing file cannot be opened, and the error was printed. */
static bool rebase_open_backing(RebaseRun *r)
{
    const RebaseArgs *a = r->args;
    BlockNode *top = r->copy.top;
    g_autofree char *path = NULL;
    g_autoptr(GError) err = NULL;

    if (!rebase_name(a) || a->unsafe) {
        return true;
    }
    path = block_resolve_backing(top->file ? top->file->filename : NULL, a->backing);
    r->copy.backing = img_open_config(path, &a->backing_how, &err);
    if (!r->copy.backing) {
        log_error("Could not open new backing file '%s': %s", a->backing, err->message);
    }
    return r->copy.backing;
}

static int rebase_opened(const RebaseArgs *a, BlockNode *top)
{
    RebaseRun r = {.args = a, .copy = {.top = top, .progress = rebase_progress}};
    int status = 1;

    if (a->backing_format && !block_driver_find(a->backing_format)) {
        log_error(qemu_name_known(QEMU_BLOCK, a->backing_format) ? "'%s' is not in this program yet"
                                                                 : "Invalid format name: '%s'",
                  a->backing_format);
        return 1;
    }
    if (rebase_open_backing(&r)) {
        if (!a->unsafe) {
            rebase_warn(top);
        }
        status = rebase_do(&r);
    }
    block_node_unref(r.copy.backing);
    return status;
}

static int rebase_run(int argc, char **argv)
{
    RebaseArgs a = {.how = {.writable = true, .bulk = true},
                    .backing_how = {.cache_of = "source ", .bulk = true}};
    BlockCache cache;
    BlockNode *top;
    int status;

    if (!img_parse_one_file(&img_command_rebase, argc, argv, &a, &status)) {
        return status;
    }
    if (!a.unsafe && !a.backing) {
        return img_usage("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    a.how.no_backing = a.unsafe;
    a.backing_how.format = a.backing_format;
    if (a.backing_how.cache && !block_cache_parse(a.backing_how.cache, &cache, NULL)) {
        log_error("Invalid source cache option: %s", a.backing_how.cache);
        return 1;
    }
    top = img_open(argv[optind], &a.how);
    if (!top) {
        return 1;
    }
    status = rebase_opened(&a, top);
    block_node_unref(top);
    return status;
}

const ImgCommand img_command_rebase = {
    "rebase",
    rebase_options,
    "filename",
    "Gives an image another backing file. Without -u the image's content stays the same: what the\n"
    "new one does not hold is copied into the image first.",
    rebase_run,
};

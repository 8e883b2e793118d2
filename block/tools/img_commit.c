/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img commit. */
#include <errno.h>
#include <sys/stat.h>
#include "block/chain.h"
#include "img.h"

typedef struct {
    ImgOpen how;
    const char *base;
    uint64_t rate;
    bool keep, progress, quiet;
} CommitArgs;

static bool commit_option_rate(void *args, const char *text)
{
    return img_parse_number(text, "rate limit", &((CommitArgs *)args)->rate);
}

static const ImgOption commit_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", CommitArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_TEXT('t', NULL, "cache", CommitArgs, how.cache, "cache mode of all images (writeback)"),
    IMG_OPT_TEXT('b', NULL, "base", CommitArgs, base,
                 "the backing file to commit into, as the image above names it; implies -d"),
    IMG_OPT_CALL('r', NULL, "rate_limit", commit_option_rate, "most bytes a second"),
    IMG_OPT_FLAG('d', NULL, CommitArgs, keep, "do not empty the image"),
    IMG_OPT_FLAG('p', NULL, CommitArgs, progress, IMG_HELP_PROGRESS),
    IMG_OPT_FLAG('q', NULL, CommitArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG(0, "image-opts", CommitArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

static bool commit_same_file(const char *a, const char *b)
{
    struct stat x, y;

    return g_str_equal(a, b) ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* The backing file of this name. A relative one starts at the folder of the image above. */
static BlockNode *commit_find_base(BlockNode *top, const char *name)
{
    for (BlockNode *n = top; n->backing; n = n->backing) {
        g_autofree char *path = block_resolve_backing(n->file->filename, name);

        if (g_strcmp0(n->backing_name, name) == 0 || commit_same_file(path, n->backing->filename)) {
            return n->backing;
        }
    }
    return NULL;
}

static void commit_progress(double percent, void *data)
{
    img_progress(percent);
}

typedef struct {
    BlockCommit commit;
    GError *err;
} CommitRun;

static int coroutine_fn commit_fn(void *data)
{
    CommitRun *r = data;

    return block_commit(&r->commit, &r->err) ? 0 : -EIO;
}

static int commit_image(const CommitArgs *a, const char *name, BlockNode *top)
{
    CommitRun r = {.commit = {.top = top,
                              .base = top->backing,
                              .keep = a->keep || a->base,
                              .rate = a->rate,
                              .progress = commit_progress}};
    int ret;

    if (!top->backing) {
        log_error("Image does not have a backing file");
        return 1;
    }
    if (a->base) {
        r.commit.base = commit_find_base(top, a->base);
    }
    if (!r.commit.base) {
        log_error("Did not find '%s' in the backing chain of '%s'", a->base, name);
        return 1;
    }
    img_progress_begin(a->progress && !a->quiet, 1);
    ret = block_run(commit_fn, &r);
    img_progress_end();
    return ret < 0 ? img_fail(r.err, NULL) : 0;
}

static int commit_run(int argc, char **argv)
{
    CommitArgs a = {.how = {.writable = true, .unmap = true, .bulk = true}};
    uint64_t errors;
    BlockNode *top;
    int status;

    if (!img_parse_one_file(&img_command_commit, argc, argv, &a, &status)) {
        return status;
    }
    top = img_open(argv[optind], &a.how);
    if (!top) {
        return 1;
    }
    errors = log_error_count();
    status = commit_image(&a, argv[optind], top);
    block_node_unref(top);
    /* Closing an image writes to it, and reports what fails. */
    if (status == 0 && log_error_count() == errors && !a.quiet) {
        printf("Image committed.\n");
    }
    return status;
}

const ImgCommand img_command_commit = {
    "commit",   commit_options,
    "filename", "Writes the data of an image into its backing file, and empties the image.",
    commit_run,
};

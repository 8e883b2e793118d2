/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img check. */
#include <errno.h>
#include "img.h"

enum { CHECK_FAILED = 1, CHECK_CORRUPT, CHECK_LEAKS, CHECK_UNSUPPORTED = 63 };

typedef struct {
    ImgOpen how;
    const char *filename;
    bool json, quiet;
    unsigned fix; /* BLOCK_CHECK_FIX_* */
} CheckArgs;

typedef struct {
    BlockNode *n;
    BlockCheckResult res;
    unsigned fix;
} CheckState;

static int coroutine_fn check_fn(void *data)
{
    CheckState *c = data;

    return c->n->driver->check(c->n, &c->res, c->fix);
}

static void check_json(const CheckArgs *a, const CheckState *c)
{
    const BlockCheckResult *r = &c->res;
    const struct {
        const char *key;
        uint64_t value;
        bool always;
    } fields[] = {
        {"image-end-offset", r->image_end_offset, false},
        {"total-clusters", r->total_clusters, false},
        {"check-errors", r->check_errors, true},
        {"corruptions", r->corruptions, false},
        {"corruptions-fixed", r->corruptions_fixed, false},
        {"leaks", r->leaks, false},
        {"leaks-fixed", r->leaks_fixed, false},
        {"allocated-clusters", r->allocated_clusters, false},
        {"fragmented-clusters", r->fragmented_clusters, false},
        {"compressed-clusters", r->compressed_clusters, false},
    };
    json_auto_t *o = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        if (fields[i].always || fields[i].value) {
            json_object_set_new(o, fields[i].key, json_integer(fields[i].value));
        }
    }
    json_object_set_new(o, "filename", json_string_nocheck(a->filename));
    json_object_set_new(o, "format", json_string(c->n->driver->name));
    img_print_json(o);
}

static void check_text(const BlockCheckResult *r)
{
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    } else {
        if (r->corruptions) {
            printf("\n%" PRIu64
                   " errors were found on the image.\nData may be corrupted, or further writes to "
                   "the image may corrupt it.\n",
                   r->corruptions);
        }
        if (r->leaks) {
            printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste of "
                   "disk space, but no harm to data.\n",
                   r->leaks);
        }
        if (r->check_errors) {
            printf("\n%" PRIu64 " internal errors have occurred during the check.\n",
                   r->check_errors);
        }
    }
    if (r->total_clusters && r->allocated_clusters) {
        printf("%" PRIu64 "/%" PRIu64
               " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed "
               "clusters\n",
               r->allocated_clusters, r->total_clusters,
               r->allocated_clusters * 100.0 / r->total_clusters,
               r->fragmented_clusters * 100.0 / r->allocated_clusters,
               r->compressed_clusters * 100.0 / r->allocated_clusters);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
    }
}

static bool check_option_output(void *args, const char *text)
{
    return img_parse_output(text, &((CheckArgs *)args)->json);
}

static bool check_option_repair(void *args, const char *text)
{
    CheckArgs *a = args;

    if (!g_str_equal(text, "leaks") && !g_str_equal(text, "all")) {
        img_usage("Unknown option value for -r (expecting 'leaks' or 'all'): %s", text);
        return false;
    }
    a->how.writable = true;
    a->fix |= BLOCK_CHECK_FIX_LEAKS;
    a->fix |= g_str_equal(text, "all") ? BLOCK_CHECK_FIX_ERRORS : 0;
    return true;
}

static const ImgOption check_options[] = {
    IMG_OPT_FLAG('q', NULL, CheckArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_TEXT('f', NULL, "fmt", CheckArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_CALL(0, "output", "ofmt", check_option_output, IMG_HELP_OUTPUT),
    IMG_OPT_CALL('r', "repair", "leaks | all", check_option_repair, "repair what was found"),
    IMG_OPT_TEXT('T', NULL, "src_cache", CheckArgs, how.cache, IMG_HELP_SRC_CACHE),
    IMG_OPT_FLAG('U', "force-share", CheckArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", CheckArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* Checks the image and, if that repaired something, checks it a second time. */
static int check_image(CheckState *c, const CheckArgs *a)
{
    uint64_t leaks, corruptions;
    int ret = block_run(check_fn, c);

    leaks = c->res.leaks_fixed;
    corruptions = c->res.corruptions_fixed;
    if (ret < 0 || (!leaks && !corruptions)) {
        return ret;
    }
    if (!a->quiet && !a->json) {
        printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
               " leaked clusters\n    %" PRIu64
               " corruptions\n\nDouble checking the fixed image now...\n",
               leaks, corruptions);
    }
    c->res = (BlockCheckResult){0};
    c->fix = 0;
    ret = block_run(check_fn, c);
    c->res.leaks_fixed = leaks;
    c->res.corruptions_fixed = corruptions;
    return ret;
}

/* The check leaves backing files alone: a chain that loops makes a consistent image unusable. */
static int check_chain(BlockNode *n)
{
    GError *err = NULL;

    return block_image_chain_ends(n, &err) ? 0 : img_fail(err, NULL);
}

static int check_opened(CheckState *c, const CheckArgs *a)
{
    int ret, status;

    if (!c->n->driver->check) {
        log_error("This image format does not support checks");
        return CHECK_UNSUPPORTED;
    }
    ret = check_image(c, a);
    if (ret == -ENOTSUP) { /* a format that has no repair */
        log_error("This image format does not support checks");
        return CHECK_UNSUPPORTED;
    }
    if (ret < 0) {
        log_error("Check failed: %s", g_strerror(-ret));
        return CHECK_FAILED;
    }
    if (a->json && !a->quiet) {
        check_json(a, c);
    } else if (!a->quiet) {
        check_text(&c->res);
    }
    status = check_chain(c->n);
    return c->res.check_errors  ? CHECK_FAILED
           : c->res.corruptions ? CHECK_CORRUPT
           : c->res.leaks       ? CHECK_LEAKS
                                : status;
}

static int check_run(int argc, char **argv)
{
    CheckArgs a = {.how = {.no_backing = true, .check = true, .cache_of = "source "}};
    CheckState c = {0};
    int status;

    if (!img_parse_one_file(&img_command_check, argc, argv, &a, &status)) {
        return status;
    }
    a.filename = argv[optind];
    c.fix = a.fix;
    c.n = img_open(a.filename, &a.how);
    if (!c.n) {
        return CHECK_FAILED;
    }
    status = check_opened(&c, &a);
    block_node_unref(c.n);
    return status;
}

const ImgCommand img_command_check = {
    "check", check_options, "filename", "Whether an image is consistent; and repair.", check_run,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img resize. */
#include <errno.h>
#include "img.h"

typedef struct {
    BlockNode *n;
    uint64_t size;
    int preallocation; /* BlockPreallocation */
    GError *err;
} Resize;

static int coroutine_fn resize_fn(void *data)
{
    Resize *r = data;
    int ret = 0;

    if (r->preallocation == BLOCK_PREALLOC_OFF) {
        ret = block_truncate(r->n, r->size, &r->err);
    } else if (!block_grow(r->n, r->size, r->preallocation, &r->err)) {
        ret = -EIO;
    }
    return ret < 0 ? ret : block_flush(r->n);
}

typedef struct {
    ImgOpen how;
    bool quiet, shrink;
    int preallocation;
} ResizeArgs;

static bool resize_option_preallocation(void *args, const char *text)
{
    ResizeArgs *a = args;

    for (int i = 0; block_preallocation_names[i]; i++) {
        if (g_str_equal(text, block_preallocation_names[i])) {
            a->preallocation = i;
            return true;
        }
    }
    log_error("Invalid preallocation mode '%s'", text);
    return false;
}

static const ImgOption resize_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", ResizeArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_CALL(0, "preallocation", "prealloc", resize_option_preallocation,
                 "off, metadata, falloc, full: what the new part takes of space"),
    IMG_OPT_FLAG('q', NULL, ResizeArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG(0, "shrink", ResizeArgs, shrink, "what is behind the new end may be lost"),
    IMG_OPT_FLAG(0, "image-opts", ResizeArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* "+1G", "-1G", "1G" */
static bool resize_parse_size(const char *text, int *sign, uint64_t *size)
{
    *sign = *text == '+' ? 1 : *text == '-' ? -1 : 0;
    text += *sign != 0;
    if (parse_size(text, 1, size)) {
        return true;
    }
    log_error("Parameter 'size' expects a non-negative number below 2^64");
    fprintf(stderr, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                    "and exabytes, respectively.\n");
    return false;
}

static int resize_node(Resize *r, const ResizeArgs *a, int sign, uint64_t size)
{
    uint64_t now = block_length(r->n);
    int ret;

    r->size = sign > 0 ? now + size : sign < 0 ? now - size : size;
    if (size > INT64_MAX || (sign < 0 && size >= now) || r->size == 0 || r->size > INT64_MAX) {
        log_error("New image size must be positive");
        return 1;
    }
    r->preallocation = a->preallocation;
    if (r->preallocation && r->size <= now) {
        log_error("Preallocation can only be used for growing images");
        return 1;
    }
    if (r->size < now && !a->shrink) {
        log_error("Use the --shrink option to perform a shrink operation.");
        log_warn("Shrinking an image will delete all data beyond the shrunken image's end. Before "
                 "performing such an operation, make sure there is no important data there.");
        return 1;
    }
    ret = block_run(resize_fn, r);
    if (ret < 0 && !r->err) {
        error_set(&r->err, "%s", g_strerror(-ret));
    }
    if (ret < 0) {
        return img_fail(g_steal_pointer(&r->err), NULL);
    }
    if ((uint64_t)block_length(r->n) != ROUND_UP(r->size, 512)) {
        log_error("Cannot resize device files");
        return 1;
    }
    if (!a->quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

static int resize_run(int argc, char **argv)
{
    ResizeArgs a = {.how = {.writable = true, .unmap = true}};
    const char *text = argv[argc - 1];
    Resize r = {0};
    uint64_t size;
    int sign, status;
    bool help = argc == 2 && (g_str_equal(text, "-h") || g_str_equal(text, "--help"));

    if (argc < 3 && !help) {
        return img_usage("Not enough arguments");
    }
    /* getopt does not see the last word, the size: it would take "-1G" for an option. */
    argc -= !help;
    if (!img_parse(&img_command_resize, argc, argv, &a, &status)) {
        return status;
    }
    if (optind != argc - 1) {
        return img_usage("Expecting image file name and size");
    }
    if (!resize_parse_size(text, &sign, &size)) {
        return 1;
    }
    r.n = img_open(argv[optind], &a.how);
    if (!r.n) {
        return 1;
    }
    status = resize_node(&r, &a, sign, size);
    block_node_unref(r.n);
    return status;
}

const ImgCommand img_command_resize = {
    "resize", resize_options, "filename [+ | -]size", "Changes the length of the disk.", resize_run,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img compare. */
#include <errno.h>
#include "img.h"

enum { COMPARE_SAME, COMPARE_DIFFERS = 1, COMPARE_NOT_OPENED = 2, COMPARE_STATUS, COMPARE_FAILED };

typedef struct {
    ImgOpen first, second;
    const char *cache;
    bool image_opts, force_share, strict, progress, quiet;
} CompareArgs;

typedef struct {
    ImgExtents a, b;
    uint64_t common, end; /* the shorter one's length, and the longer one's */
    const CompareArgs *args;
    uint64_t mismatch;
    void *x, *y;
} Compare;

/* Reads a range of both images and compares it: COMPARE_*, or -errno. */
static int coroutine_fn compare_bytes(Compare *c, uint64_t at, uint64_t len)
{
    const uint8_t *x = c->x, *y = c->y;
    uint64_t i = 0;
    int ret = block_pread(c->a.node, at, c->x, len);

    ret = ret < 0 ? ret : block_pread(c->b.node, at, c->y, len);
    if (ret < 0 || memcmp(x, y, len) == 0) {
        return ret;
    }
    while (x[i] == y[i]) {
        i++;
    }
    /* qemu-img names the sector. */
    c->mismatch = ROUND_DOWN(at + i, 512);
    return COMPARE_DIFFERS;
}

/* What -s compares: BLOCK_STATUS_*, of the whole chain. Shortens *len. */
static int coroutine_fn compare_status(BlockNode *n, uint64_t at, uint64_t *len)
{
    ImgPlace place;
    int status = img_status(n, at, *len, len, &place);

    if (status < 0 || status & BLOCK_STATUS_ALLOCATED) {
        return status & ~BLOCK_STATUS_COMPRESSED;
    }
    for (; n && place.depth; place.depth--) {
        n = n->backing;
    }
    /* What lies behind the end of a short backing file is zero because of the layer above. */
    if (n && n->backing && at >= (uint64_t)MAX(block_length(n->backing), 0)) {
        status |= BLOCK_STATUS_ALLOCATED;
    }
    return status;
}

static int coroutine_fn compare_strictly(Compare *c, uint64_t at, uint64_t *len)
{
    int a = compare_status(c->a.node, at, len);
    int b = a < 0 ? a : compare_status(c->b.node, at, len);

    if (b >= 0 && a != b) {
        c->mismatch = at;
        return COMPARE_STATUS;
    }
    return MIN(b, 0);
}

/* Compares from 'at' on: at most *len bytes, then *len is how many. COMPARE_*, or -errno. */
static int coroutine_fn compare_step(Compare *c, uint64_t at, uint64_t *len)
{
    int ret = c->args->strict ? compare_strictly(c, at, len) : 0;

    ret = ret ? ret : img_extents_at(&c->a, at, len);
    ret = ret ? ret : img_extents_at(&c->b, at, len);
    if (ret) {
        return ret;
    }
    if (c->a.status & c->b.status & BLOCK_STATUS_ZERO) {
        return COMPARE_SAME;
    }
    *len = MIN(*len, IMG_CHUNK);
    return compare_bytes(c, at, *len);
}

/* The shorter image reads as zeroes past its end, so the longer one's tail may match it. */
static int coroutine_fn compare_fn(void *data)
{
    Compare *c = data;

    for (uint64_t at = 0, len; at < c->end; at += len) {
        int ret;

        if (at == c->common && !c->args->quiet) {
            printf("Warning: Image size mismatch!\n");
        }
        len = (at < c->common ? c->common : c->end) - at;
        ret = compare_step(c, at, &len);
        if (ret != COMPARE_SAME) {
            return ret;
        }
        img_progress((at + len) * 100.0 / c->end);
    }
    return COMPARE_SAME;
}

static int compare_images(Compare *c)
{
    block_auto_buffer void *x = block_buffer_new(c->a.node, IMG_CHUNK);
    block_auto_buffer void *y = block_buffer_new(c->b.node, IMG_CHUNK);

    if (!x || !y) {
        return -ENOMEM;
    }
    c->x = x;
    c->y = y;
    return block_run(compare_fn, c);
}

static int compare_say(const Compare *c, int ret)
{
    bool quiet = c->args->quiet;

    if (ret < 0) {
        log_error("Error while reading offset: %s", g_strerror(-ret));
        return COMPARE_FAILED;
    }
    if (ret == COMPARE_SAME && !quiet) {
        printf("Images are identical.\n");
    } else if (ret == COMPARE_DIFFERS && !quiet) {
        printf("Content mismatch at offset %" PRIu64 "!\n", c->mismatch);
    } else if (ret == COMPARE_STATUS && !quiet) {
        printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", c->mismatch);
    }
    return ret ? COMPARE_DIFFERS : COMPARE_SAME;
}

static int compare_opened(const CompareArgs *a, BlockNode *first, BlockNode *second)
{
    Compare c = {.a = {.node = first}, .b = {.node = second}, .args = a};
    int64_t la = block_length(first), lb = block_length(second);
    int ret;

    c.common = MIN(la, lb);
    c.end = MAX(la, lb);
    img_progress_begin(a->progress && !a->quiet, 2);
    if (a->strict && la != lb) {
        if (!a->quiet) {
            printf("Strict mode: Image size mismatch!\n");
        }
        ret = COMPARE_DIFFERS;
    } else {
        ret = compare_say(&c, compare_images(&c));
    }
    img_progress_end();
    return ret;
}

static const ImgOption compare_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", CompareArgs, first.format, "format of the first image"),
    IMG_OPT_TEXT('F', NULL, "fmt", CompareArgs, second.format, "format of the second image"),
    IMG_OPT_TEXT('T', NULL, "src_cache", CompareArgs, cache, IMG_HELP_SRC_CACHE),
    IMG_OPT_FLAG('p', NULL, CompareArgs, progress, IMG_HELP_PROGRESS),
    IMG_OPT_FLAG('q', NULL, CompareArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG('s', NULL, CompareArgs, strict,
                 "lengths and the kinds of extents have to be the same, too"),
    IMG_OPT_FLAG('U', "force-share", CompareArgs, force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", CompareArgs, image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

static int compare_run(int argc, char **argv)
{
    CompareArgs a = {.first = {.shared = true}, .second = {.shared = true}};
    BlockNode *first, *second;
    int status;

    if (!img_parse(&img_command_compare, argc, argv, &a, &status)) {
        return status;
    }
    if (optind != argc - 2) {
        return img_usage("Expecting two image file names");
    }
    a.first.image_opts = a.second.image_opts = a.image_opts;
    a.first.force_share = a.second.force_share = a.force_share;
    a.first.cache = a.second.cache = a.cache;
    a.first.cache_of = a.second.cache_of = "source ";
    first = img_open(argv[optind], &a.first);
    second = first ? img_open(argv[optind + 1], &a.second) : NULL;
    status = second ? compare_opened(&a, first, second) : COMPARE_NOT_OPENED;
    block_node_unref(first);
    block_node_unref(second);
    return status;
}

const ImgCommand img_command_compare = {
    "compare",   compare_options, "filename1 filename2", "Whether two images hold the same.",
    compare_run,
};

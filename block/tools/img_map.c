/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img map. */
#include <errno.h>
#include "img.h"

enum { MAP_UNTOLD = 1 }; /* map_fn(): map_print_extent() has failed */

typedef struct {
    ImgOpen how;
    bool json;
    uint64_t start, max;
    bool has_max;
} MapArgs;

typedef struct {
    uint64_t start, length, offset;
    unsigned depth;
    int status;
    BlockNode *file;
    bool valid;
} Extent;

typedef struct {
    BlockNode *n;
    const MapArgs *args;
    Extent last;
    bool any;
} MapState;

/* False: the table for people has no way to show this extent; the error was printed. */
static bool map_print_extent(MapState *m, const Extent *e)
{
    bool data = e->status & BLOCK_STATUS_DATA, zero = e->status & BLOCK_STATUS_ZERO;
    bool has_offset = e->status & BLOCK_STATUS_OFFSET_VALID;

    if (!m->args->json) {
        if (data && !zero) {
            if (!has_offset) {
                log_error("File contains external, encrypted or compressed clusters.");
                return false;
            }
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length,
                   e->offset, e->file && e->file->filename ? e->file->filename : "");
        }
        return true;
    }
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           m->any ? ",\n" : "", e->start, e->length, e->depth,
           e->status & BLOCK_STATUS_ALLOCATED ? "true" : "false", zero ? "true" : "false",
           data ? "true" : "false");
    if (has_offset) {
        printf(", \"offset\": %" PRIu64, e->offset);
    }
    printf("}");
    m->any = true;
    return true;
}

/* Whether 'b', which begins where 'a' ends, is printed as a part of 'a'. */
static bool map_joins(const Extent *a, const Extent *b)
{
    return a->valid && a->status == b->status && a->depth == b->depth && a->file == b->file &&
           (!(a->status & BLOCK_STATUS_OFFSET_VALID) || a->offset + a->length == b->offset);
}

static int coroutine_fn map_look(MapState *m, uint64_t at, uint64_t bytes, Extent *e)
{
    ImgPlace place;
    int status = img_status(m->n, at, bytes, &e->length, &place);

    if (status < 0) {
        return status;
    }
    e->start = at;
    e->offset = place.offset;
    e->file = place.file;
    e->depth = place.depth;
    e->status = status;
    e->valid = true;
    return 0;
}

static int coroutine_fn map_fn(void *data)
{
    MapState *m = data;
    int64_t end = block_length(m->n);
    uint64_t at = m->args->start;

    if (end < 0) {
        return end;
    }
    if (m->args->has_max) {
        end = MIN((uint64_t)end, at + m->args->max);
    }
    while (at < (uint64_t)end) {
        Extent e = {0};
        int ret = map_look(m, at, end - at, &e);

        if (ret < 0) {
            return ret;
        }
        if (map_joins(&m->last, &e)) {
            m->last.length += e.length;
        } else {
            if (m->last.valid && !map_print_extent(m, &m->last)) {
                return MAP_UNTOLD;
            }
            m->last = e;
        }
        at += e.length;
    }
    if (!m->last.valid) {
        m->last.start = m->args->start; /* an empty range is one empty extent, as qemu-img has it */
    }
    return map_print_extent(m, &m->last) ? 0 : MAP_UNTOLD;
}

static bool map_option_output(void *args, const char *text)
{
    return img_parse_output(text, &((MapArgs *)args)->json);
}

static bool map_option_start(void *args, const char *text)
{
    return img_parse_number(text, "start offset", &((MapArgs *)args)->start);
}

static bool map_option_max(void *args, const char *text)
{
    MapArgs *a = args;

    a->has_max = true;
    return img_parse_number(text, "max length", &a->max);
}

static const ImgOption map_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", MapArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_CALL('s', "start-offset", "offset", map_option_start, "where in the disk to begin"),
    IMG_OPT_CALL('l', "max-length", "len", map_option_max, "how much of it to look at"),
    IMG_OPT_CALL(0, "output", "ofmt", map_option_output, IMG_HELP_OUTPUT),
    IMG_OPT_FLAG('U', "force-share", MapArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", MapArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

static int map_run(int argc, char **argv)
{
    MapArgs a = {.how = {.shared = true}};
    MapState m = {.args = &a};
    int ret, status;

    if (!img_parse_one_file(&img_command_map, argc, argv, &a, &status)) {
        return status;
    }
    m.n = img_open(argv[optind], &a.how);
    if (!m.n) {
        return 1;
    }
    if (a.json) {
        printf("[");
    } else {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    ret = block_run(map_fn, &m);
    if (a.json) {
        printf("]\n");
    }
    block_node_unref(m.n);
    if (ret < 0) {
        log_error("Failed to read image metadata: %s", g_strerror(-ret));
    }
    return ret ? 1 : 0;
}

const ImgCommand img_command_map = {
    "map", map_options, "filename", "Where in which file an image has its data.", map_run,
};

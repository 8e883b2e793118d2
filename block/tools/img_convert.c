/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img convert: one or several images, one after the other, into one. */
#include <errno.h>
#include <sys/stat.h>
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "base/iov.h"
#include "base/qemu_names.h"
#include "img.h"

/* One of the images that are read, and the range of the target that it fills. */
typedef struct {
    ImgExtents extents;
    uint64_t start, end;
} Source;

/*
 * A conversion. Each worker is a coroutine that takes the next piece of the sources, reads it,
 * waits until all pieces before it are written, and writes it.
 */
typedef struct {
    Source *sources;
    unsigned count, current; /* current: index of the source that 'next' lies in */
    BlockNode *dst;
    bool compress, target_is_zero, has_backing;
    bool any_order;  /* -W: a piece is written as soon as it is read */
    uint64_t sparse; /* runs of zeroes shorter than this are written; 0: all are */
    uint32_t cluster;
    uint64_t workers;
    CoMutex lock;                /* protects the fields below */
    CoQueue turn;                /* workers that wait for 'written' to reach their piece */
    uint64_t end, next, written; /* written: all below it is; with -W: how many bytes are */
    bool counted;                /* 'data' is known: with -p alone */
    uint64_t data, data_done;    /* bytes to copy, bytes copied */
    unsigned running;
    int ret; /* the first failure */
    GError *err;
} Convert;

typedef struct {
    enum { PIECE_SKIP, PIECE_ZERO, PIECE_DATA } kind;
    uint64_t at, len;
} Piece;

/* The length of the run of units at 'buf' that are all zero (*zero) or that all hold data. */
static size_t convert_run_length(const uint8_t *buf, size_t len, size_t unit, bool *zero)
{
    size_t n = MIN(unit, len);

    *zero = buffer_is_zero(buf, n);
    while (n < len && buffer_is_zero(buf + n, MIN(unit, len - n)) == *zero) {
        n += MIN(unit, len - n);
    }
    return n;
}

static int coroutine_fn convert_write_zeroes(Convert *c, uint64_t at, uint64_t len)
{
    if (c->target_is_zero && !c->has_backing) {
        return 0;
    }
    /* Ranges that read as zeroes are skipped: a version 2 image would allocate clusters for them.
     */
    while (len) {
        uint64_t n;
        int status = block_status_chain(c->dst, NULL, at, len, &n, NULL, NULL, NULL);

        if (status >= 0 && !(status & BLOCK_STATUS_ZERO)) {
            status = block_pwrite_zeroes(c->dst, at, n, BLOCK_REQ_MAY_UNMAP);
        }
        if (status < 0) {
            return status;
        }
        at += n;
        len -= n;
    }
    return 0;
}

static int coroutine_fn convert_write_data(Convert *c, const uint8_t *buf, uint64_t at, size_t len)
{
    size_t unit = !c->sparse ? 0 : c->compress ? c->cluster : c->sparse;

    for (size_t done = 0, n; done < len; done += n) {
        bool zero = false;
        int ret;

        n = unit ? convert_run_length(buf + done, len - done, unit, &zero) : len - done;
        if (zero) {
            ret = convert_write_zeroes(c, at + done, n);
        } else if (c->compress) {
            n = MIN(n, c->cluster);
            ret = c->dst->driver->pwrite_compressed(c->dst, at + done, buf + done, n);
        } else {
            ret = block_pwrite(c->dst, at + done, buf + done, n, 0);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* With -c a piece is a cluster, which may span the end of one source and the start of the next. */
static int coroutine_fn convert_read(Convert *c, const Piece *p, uint8_t *buf)
{
    uint64_t end = p->at + p->len;
    int ret = 0;

    for (unsigned i = 0; i < c->count && ret >= 0; i++) {
        const Source *s = &c->sources[i];
        uint64_t from = MAX(p->at, s->start), to = MIN(end, s->end);

        if (from < to) {
            ret = block_pread(s->extents.node, from - s->start, buf + (from - p->at), to - from);
        }
    }
    return ret;
}

/* With -B: *skip is how many bytes from 'at' on both images get from the same backing file. */
static int coroutine_fn convert_skip_backed(Convert *c, uint64_t at, uint64_t rest, uint64_t *skip)
{
    BlockNode *src = c->sources[0].extents.node;
    uint64_t len;
    int status;

    *skip = 0;
    if (!c->has_backing || !src->backing) {
        return 0;
    }
    status = block_status(src, at, rest, &len, NULL, NULL);
    if (status >= 0 && !(status & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO))) {
        *skip = len;
    }
    return status < 0 ? status : 0;
}

/* Compressed clusters are written whole: a cluster with some data in it is a piece of data. */
static void convert_whole_clusters(const Convert *c, Piece *p)
{
    uint64_t rest = c->end - p->at;

    if (p->kind != PIECE_DATA && p->len < rest) {
        p->len = ROUND_DOWN(p->len, c->cluster);
        p->kind = p->len ? p->kind : PIECE_DATA;
    }
    if (p->kind == PIECE_DATA) {
        p->len = MIN(c->cluster, rest);
    }
}

/* Fills *p with the piece that starts at c->next, without moving c->next. Called with the lock. */
static int coroutine_fn convert_take_piece(Convert *c, Piece *p)
{
    Source *s = &c->sources[c->current];
    uint64_t skip = 0;
    int ret;

    while (c->next >= s->end) {
        s = &c->sources[++c->current];
    }
    *p = (Piece){.kind = PIECE_SKIP, .at = c->next, .len = s->end - c->next};
    ret = convert_skip_backed(c, p->at, p->len, &skip);
    if (ret >= 0 && skip) {
        p->len = skip;
    } else if (ret >= 0) {
        ret = img_extents_at(&s->extents, p->at - s->start, &p->len);
        p->kind = (s->extents.status & BLOCK_STATUS_ZERO) && c->sparse ? PIECE_ZERO : PIECE_DATA;
    }
    if (ret < 0) {
        error_set_errno(&c->err, -ret, "error while reading block status at offset %" PRIu64,
                        p->at);
        return ret;
    }
    if (c->compress) {
        convert_whole_clusters(c, p);
    } else if (p->kind == PIECE_DATA) {
        p->len = MIN(p->len, IMG_CHUNK - p->at % IMG_CHUNK);
    }
    return 0;
}

/* Called with the lock, which is dropped while the piece is read and while it is written. */
static int coroutine_fn convert_copy_piece(Convert *c, const Piece *p, uint8_t *buf)
{
    const char *what = "reading";
    int ret = 0;

    if (p->kind == PIECE_DATA) {
        co_mutex_unlock(&c->lock);
        ret = convert_read(c, p, buf);
        co_mutex_lock(&c->lock);
    }
    while (ret >= 0 && !c->any_order && c->written != p->at && c->ret >= 0) {
        co_queue_wait(&c->turn, &c->lock);
    }
    if (ret >= 0 && c->ret >= 0 && p->kind != PIECE_SKIP) {
        what = "writing";
        co_mutex_unlock(&c->lock);
        ret = p->kind == PIECE_ZERO ? convert_write_zeroes(c, p->at, p->len)
                                    : convert_write_data(c, buf, p->at, p->len);
        co_mutex_lock(&c->lock);
    }
    if (ret < 0 && c->ret >= 0) {
        error_set_errno(&c->err, -ret, "error while %s at byte %" PRIu64, what, p->at);
    }
    return ret;
}

static void coroutine_fn convert_worker(void *data)
{
    Convert *c = data;
    block_auto_buffer uint8_t *buf = block_buffer_new(c->dst, MAX(IMG_CHUNK, c->cluster));

    co_mutex_lock(&c->lock);
    c->ret = buf || c->ret < 0 ? c->ret : -ENOMEM;
    while (c->next < c->end && c->ret >= 0) {
        Piece p;
        int ret = convert_take_piece(c, &p);

        c->next += p.len;
        ret = ret < 0 ? ret : convert_copy_piece(c, &p, buf);
        if (ret < 0 && c->ret >= 0) {
            c->ret = ret;
        }
        c->written += p.len;
        co_queue_wake_all(&c->turn);
        c->data_done += p.kind == PIECE_DATA ? p.len : 0;
        if (!c->counted) {
            img_progress(c->written * 100.0 / c->end);
        } else if (p.kind == PIECE_DATA) {
            img_progress(c->data_done * 100.0 / c->data);
        }
    }
    c->running--;
    co_mutex_unlock(&c->lock);
}

/* For -p: counts the bytes of data in the sources before they are copied. */
static int coroutine_fn convert_count_fn(void *data)
{
    Convert *c = data;

    for (Piece p; c->next < c->end; c->next += p.len) {
        int ret = convert_take_piece(c, &p);

        if (ret < 0) {
            return ret;
        }
        c->data += p.kind == PIECE_DATA ? p.len : 0;
    }
    c->counted = true;
    c->next = 0;
    c->current = 0;
    return 0;
}

static int coroutine_fn convert_flush_fn(void *data)
{
    return block_flush(((Convert *)data)->dst);
}

static int convert_run_workers(Convert *c)
{
    co_mutex_init(&c->lock);
    co_queue_init(&c->turn);
    c->running = c->workers;
    for (unsigned i = 0; i < c->workers; i++) {
        coroutine_start(convert_worker, c);
    }
    while (c->running) {
        event_loop_iterate(event_loop_current(), -1);
    }
    co_queue_destroy(&c->turn);
    co_mutex_destroy(&c->lock);
    return c->ret < 0 ? c->ret : block_run(convert_flush_fn, c);
}

/* --- the command --- */

typedef struct {
    ImgOpen src, dst;
    const char *out_format, *in_format, *backing, *backing_format, *out;
    char **in;
    unsigned count;
    json_t *options;
    bool options_given, options_help;
    bool quiet, progress, compress, no_create, target_is_zero, any_order;
    uint64_t sparse, workers;
} ConvertArgs;

static bool convert_option_o(void *args, const char *text)
{
    ConvertArgs *a = args;

    a->options_given = true;
    a->options_help = a->options_help || img_is_help(text);
    return img_is_help(text) || img_add_options(a->options, text);
}

static bool convert_option_sparse(void *args, const char *text)
{
    ConvertArgs *a = args;

    if (!parse_size(text, 1, &a->sparse) || !IS_ALIGNED(a->sparse, 512) || a->sparse > 16 * MiB) {
        log_error("Invalid buffer size for sparse output specified. Valid sizes are multiples of "
                  "512 up to 16777216. Select 0 to disable sparse detection (fully allocates "
                  "output).");
        return false;
    }
    return true;
}

static bool convert_option_workers(void *args, const char *text)
{
    ConvertArgs *a = args;

    if (!parse_uint(text, 16, &a->workers) || a->workers < 1) {
        log_error("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
        return false;
    }
    return true;
}

static bool convert_option_snapshot(void *args, const char *text)
{
    return img_parse_snapshot(text, &((ConvertArgs *)args)->src.snapshot);
}

static const ImgOption convert_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", ConvertArgs, src.format, "format of the source"),
    IMG_OPT_TEXT('O', NULL, "output_fmt", ConvertArgs, out_format, "format of the target (raw)"),
    IMG_OPT_TEXT('B', NULL, "backing_file", ConvertArgs, backing,
                 "backing file of the target: what is the same there is not copied"),
    IMG_OPT_TEXT('F', NULL, "backing_fmt", ConvertArgs, backing_format,
                 "format of the backing file"),
    IMG_OPT_CALL('o', NULL, "options", convert_option_o,
                 "name=value,... of the target's format; 'help' lists them"),
    IMG_OPT_FLAG('c', NULL, ConvertArgs, compress, "compress the target"),
    IMG_OPT_FLAG('n', NULL, ConvertArgs, no_create, "write into a target that is there already"),
    IMG_OPT_FLAG(0, "target-is-zero", ConvertArgs, target_is_zero,
                 "with -n: the target is known to read as zeroes"),
    IMG_OPT_CALL('S', NULL, "sparse_size", convert_option_sparse,
                 "zeroes of this length (4k) are not written; 0: everything is"),
    IMG_OPT_CALL('m', NULL, "num_coroutines", convert_option_workers,
                 "how many transfers at once, 1 to 16 (8)"),
    IMG_OPT_FLAG('W', NULL, ConvertArgs, any_order, "write in any order"),
    IMG_OPT_TEXT('t', NULL, "cache", ConvertArgs, dst.cache,
                 "cache mode of the target (unsafe, with a flush at the end of others)"),
    IMG_OPT_TEXT('T', NULL, "src_cache", ConvertArgs, src.cache, IMG_HELP_SRC_CACHE),
    IMG_OPT_FLAG('p', NULL, ConvertArgs, progress, IMG_HELP_PROGRESS),
    IMG_OPT_FLAG('q', NULL, ConvertArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG('U', "force-share", ConvertArgs, src.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", ConvertArgs, src.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_FLAG(0, "target-image-opts", ConvertArgs, dst.image_opts,
                 "with -n: the target's name is a list of options"),
    IMG_OPT_ABSENT('C', NULL, NULL),
    IMG_OPT_CALL('l', NULL, "snapshot_param", convert_option_snapshot, IMG_HELP_SNAPSHOT),
    IMG_OPT_ABSENT('r', NULL, "rate_limit"),
    IMG_OPT_ABSENT(0, "bitmaps", NULL),
    IMG_OPT_ABSENT(0, "skip-broken-bitmaps", NULL),
    IMG_OPT_ABSENT(0, "salvage", NULL),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* Why these options do not go together; NULL: they do. */
static const char *convert_conflict(const ConvertArgs *a)
{
    if (a->dst.image_opts && !a->no_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (a->no_create && a->options_given) {
        return "-o has no effect when skipping image creation";
    }
    if (a->target_is_zero && !a->no_create) {
        return "--target-is-zero requires use of -n flag";
    }
    if (!a->count) {
        return "Must specify image file name";
    }
    if (a->src.snapshot && a->count > 1) {
        return "No support for concatenating multiple snapshot";
    }
    if (a->backing && a->count > 1) {
        return "Having a backing file for the target makes no sense when concatenating multiple "
               "input images";
    }
    if (json_object_get(a->options, "backing_file") &&
        !json_object_get(a->options, "backing_fmt")) {
        return "Use of backing file requires explicit backing format";
    }
    return NULL;
}

/*
 * Whether the target is a file that is read. A lock refuses a regular file that is both; with -U
 * the source is not locked, and devices never are.
 */
static bool convert_is_source(const ConvertArgs *a)
{
    struct stat st;

    return stat(a->out, &st) == 0 && (!S_ISREG(st.st_mode) || a->src.force_share) &&
           img_target_is_read(a->out);
}

static bool convert_open_sources(const ConvertArgs *a, Convert *c)
{
    c->sources = g_new0(Source, a->count);
    for (; c->count < a->count; c->count++) {
        Source *s = &c->sources[c->count];
        BlockNode *n = img_open(a->in[c->count], &a->src);
        int64_t length = n ? block_length(n) : 0;

        if (!n || length < 0 || convert_is_source(a)) {
            block_node_unref(n);
            return false;
        }
        /* The next source begins at a sector of the target. */
        *s = (Source){.extents.node = n, .start = c->end};
        c->end = s->end = s->start + ROUND_UP(length, 512);
    }
    return true;
}

static bool convert_target_possible(const ConvertArgs *a)
{
    const BlockDriver *drv;

    if (a->dst.image_opts) {
        return true; /* the target is there, and says its format itself */
    }
    drv = block_driver_find(a->out_format);
    if (!drv) {
        log_error(qemu_name_known(QEMU_BLOCK, a->out_format) ? "'%s' is not in this program yet"
                                                             : "Unknown file format '%s'",
                  a->out_format);
        return false;
    }
    if (a->compress && !drv->pwrite_compressed) {
        log_error("Compression not supported for this file format");
        return false;
    }
    return true;
}

/* Creates the target and opens it over the node of its new file, which was locked all the time. */
static BlockNode *convert_open_new(const ConvertArgs *a, Convert *c)
{
    ImgOpen how = a->dst;
    BlockCache cache = {.writeback = true};
    BlockNode *n;

    if (!block_cache_parse(how.cache, &cache, NULL)) {
        log_error("Invalid cache option: %s", how.cache);
        return NULL;
    }
    json_object_set_new(a->options, "size", json_integer(c->end));
    img_target_begin(a->out);
    if (img_create_image(&(ImgCreate){.filename = a->out,
                                      .format = a->out_format,
                                      .options = a->options,
                                      .quiet = true,
                                      .converting = true,
                                      .check_backing = true,
                                      .cache = &cache,
                                      .file = &how.file,
                                      .zero = &c->target_is_zero})) {
        return NULL;
    }
    n = img_open(a->out, &how);
    block_node_unref(how.file);
    return n;
}

static bool convert_open_target(ConvertArgs *a, Convert *c)
{
    BlockDriverInfo info = {0};
    int64_t length;

    a->dst.format = a->out_format;
    a->dst.writable = a->dst.unmap = true;
    c->target_is_zero = a->target_is_zero;
    c->dst = a->no_create ? img_open(a->out, &a->dst) : convert_open_new(a, c);
    if (!c->dst) {
        return false;
    }
    length = block_length(c->dst);
    if (length < 0 || (uint64_t)length < c->end) {
        log_error("output file is smaller than input file");
        return false;
    }
    if (a->compress && !c->dst->driver->pwrite_compressed) {
        log_error("Compression not supported for this file format");
        return false;
    }
    if (c->dst->driver->info && c->dst->driver->info(c->dst, &info)) {
        json_decref(info.format_specific);
        c->cluster = info.cluster_size;
    }
    c->has_backing = c->dst->backing != NULL;
    return true;
}

static int convert_do(ConvertArgs *a, Convert *c)
{
    int ret = 0;

    if (!convert_open_sources(a, c) || !convert_target_possible(a) || !convert_open_target(a, c)) {
        return 1;
    }
    if (a->progress && !a->quiet) {
        ret = block_run(convert_count_fn, c);
    }
    ret = ret < 0 ? ret : convert_run_workers(c);
    if (ret >= 0) {
        img_progress(100);
        return 0;
    }
    if (!c->err) {
        error_set(&c->err, "error while converting: %s", g_strerror(-ret));
    }
    return img_fail(g_steal_pointer(&c->err), NULL);
}

static bool convert_parse(int argc, char **argv, ConvertArgs *a, int *status)
{
    const char *conflict;

    if (!img_parse(&img_command_convert, argc, argv, a, status)) {
        return false;
    }
    if (a->backing) {
        json_object_set_new(a->options, "backing_file", json_string_nocheck(a->backing));
    }
    if (a->backing_format) {
        json_object_set_new(a->options, "backing_fmt", json_string_nocheck(a->backing_format));
    }
    if (!a->out_format && !a->dst.image_opts) {
        a->out_format = "raw";
    }
    if (a->options_help && a->out_format && !a->no_create) {
        *status = img_options_help(a->out_format);
        return false;
    }
    a->count = MAX(argc - optind - 1, 0);
    a->in = argv + optind;
    a->out = argv[argc - 1];
    conflict = convert_conflict(a);
    if (conflict) {
        log_error("%s", conflict);
    }
    return !conflict;
}

static int convert_run(int argc, char **argv)
{
    json_auto_t *options = json_object();
    ConvertArgs a = {.options = options,
                     .sparse = 4096,
                     .workers = 8,
                     .src = {.cache_of = "source ", .bulk = true},
                     .dst = {.cache = "unsafe", .cache_of = "", .bulk = true}};
    Convert c = {0};
    int status;

    if (!convert_parse(argc, argv, &a, &status)) {
        return status;
    }
    c.compress = a.compress;
    c.any_order = a.any_order;
    c.sparse = a.sparse;
    c.workers = a.workers;
    img_progress_begin(a.progress && !a.quiet, 1);
    status = convert_do(&a, &c);
    img_progress_end();
    block_node_unref(c.dst);
    img_target_end(c.dst && status);
    for (unsigned i = 0; i < c.count; i++) {
        block_node_unref(c.sources[i].extents.node);
    }
    g_free(c.sources);
    return status;
}

const ImgCommand img_command_convert = {
    "convert",
    convert_options,
    "filename [filename2 [...]] output_filename",
    "Copies one or several images, one after the other, into a new one.",
    convert_run,
};

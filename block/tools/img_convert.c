/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img convert, compare: images read from end to end. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "base/iov.h"
#include "img.h"

enum { CHUNK = 2 * 1024 * 1024 };

/* A few workers take pieces of the source in turn, read them, and write them, in turn, too. */
typedef struct {
    BlockNode *src, *dst;
    bool compress, progress, target_is_zero, has_backing;
    bool any_order;  /* -W: without waiting for the turn to write */
    uint64_t sparse; /* runs of zeroes shorter than this are written */
    uint32_t cluster;
    uint64_t workers;
    CoMutex lock; /* what follows */
    CoQueue turn;
    uint64_t end, next, written; /* written: in order; with -W: how much */
    unsigned running;
    int ret; /* the first failure */
    GError *err;
} Convert;

typedef struct {
    enum { PIECE_SKIP, PIECE_ZERO, PIECE_DATA } kind;
    uint64_t at, len;
} Piece;

/* How many of the bytes are all zero (or all not), in units of 'sparse'. */
static size_t run_length(const uint8_t *buf, size_t len, size_t unit, bool *zero)
{
    size_t n = MIN(unit, len);

    *zero = buffer_is_zero(buf, n);
    while (n < len && buffer_is_zero(buf + n, MIN(unit, len - n)) == *zero) {
        n += MIN(unit, len - n);
    }
    return n;
}

static int coroutine_fn write_zeroes(Convert *c, uint64_t at, uint64_t len)
{
    if (c->target_is_zero && !c->has_backing) {
        return 0;
    }
    /* What reads as zeroes stays as it is: a version 2 image has no cheaper zeroes than none. */
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
    size_t done = 0;

    while (done < len) {
        bool zero = false;
        size_t unit = c->compress ? c->cluster : c->sparse;
        size_t n = len - done;
        int ret;

        if (unit) {
            n = run_length(buf + done, len - done, unit, &zero);
        }
        if (zero) {
            ret = write_zeroes(c, at + done, n);
        } else if (c->compress) {
            n = MIN(n, c->cluster);
            ret = c->dst->driver->pwrite_compressed(c->dst, at + done, buf + done, n);
        } else {
            ret = block_pwrite(c->dst, at + done, buf + done, n, 0);
        }
        if (ret < 0) {
            return ret;
        }
        done += n;
    }
    return 0;
}

/* With -B, what the source has from its own backing file is in the target's already. */
static int coroutine_fn skip_backed(Convert *c, uint64_t at, uint64_t rest, uint64_t *skip)
{
    uint64_t len;
    int status;

    *skip = 0;
    if (!c->has_backing || !c->src->backing) {
        return 0;
    }
    status = block_status(c->src, at, MIN(rest, (uint64_t)GiB), &len, NULL, NULL);
    if (status >= 0 && !(status & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO))) {
        *skip = len;
    }
    return status < 0 ? status : 0;
}

/* What is next, and what is to be done with it. Under the lock. */
static int coroutine_fn take_piece(Convert *c, Piece *p)
{
    uint64_t rest = c->end - c->next, skip;
    int status;

    *p = (Piece){.kind = PIECE_SKIP, .at = c->next, .len = rest};
    status = skip_backed(c, p->at, rest, &skip);
    if (status < 0) {
        return status;
    }
    if (skip) {
        p->len = skip;
        c->next += skip;
        return 0;
    }
    /* Compressed clusters are written whole, so their status is not asked for by halves. */
    status = c->compress ? BLOCK_STATUS_DATA
                         : block_status_chain(c->src, NULL, p->at, MIN(rest, (uint64_t)GiB),
                                              &p->len, NULL, NULL, NULL);
    if (status < 0) {
        error_set_errno(&c->err, -status, "error while reading block status at offset %" PRIu64,
                        p->at);
        return status;
    }
    p->kind = (status & BLOCK_STATUS_ZERO) && c->sparse ? PIECE_ZERO : PIECE_DATA;
    if (p->kind == PIECE_DATA) {
        p->len = MIN(p->len, (uint64_t)CHUNK - p->at % CHUNK);
    }
    c->next += p->len;
    return 0;
}

/* Under the lock, which is dropped in between. */
static int coroutine_fn copy_piece(Convert *c, const Piece *p, uint8_t *buf)
{
    const char *what = "reading";
    int ret = 0;

    if (p->kind == PIECE_DATA) {
        co_mutex_unlock(&c->lock);
        ret = block_pread(c->src, p->at, buf, p->len);
        co_mutex_lock(&c->lock);
    }
    while (ret >= 0 && !c->any_order && c->written != p->at && c->ret >= 0) {
        co_queue_wait(&c->turn, &c->lock);
    }
    if (ret >= 0 && c->ret >= 0 && p->kind != PIECE_SKIP) {
        what = "writing";
        co_mutex_unlock(&c->lock);
        ret = p->kind == PIECE_ZERO ? write_zeroes(c, p->at, p->len)
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
    g_autofree uint8_t *buf = g_malloc(CHUNK);

    co_mutex_lock(&c->lock);
    while (c->next < c->end && c->ret >= 0) {
        Piece p;
        int ret = take_piece(c, &p);

        ret = ret < 0 ? ret : copy_piece(c, &p, buf);
        if (ret < 0 && c->ret >= 0) {
            c->ret = ret;
        }
        c->written += p.len;
        co_queue_wake_all(&c->turn);
        img_progress(c->progress, c->written, c->end);
    }
    c->running--;
    co_mutex_unlock(&c->lock);
}

static int coroutine_fn flush_target(void *data)
{
    return block_flush(((Convert *)data)->dst);
}

static int run_workers(Convert *c)
{
    int64_t end = block_length(c->src);

    if (end < 0) {
        return end;
    }
    c->end = end;
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
    return c->ret < 0 ? c->ret : block_run(flush_target, c);
}

typedef struct {
    ImgOpen src, dst;
    const char *out_format, *in, *out;
    json_t *options;
    bool quiet, progress, compress, no_create, target_is_zero, any_order;
    uint64_t sparse, workers;
} ConvertArgs;

static int parse_convert(int argc, char **argv, ConvertArgs *a)
{
    static const struct option longs[] = {{"image-opts", no_argument, NULL, 256},
                                          {"target-is-zero", no_argument, NULL, 257},
                                          {"target-image-opts", no_argument, NULL, 258},
                                          {"force-share", no_argument, NULL, 'U'},
                                          {"bitmaps", no_argument, NULL, 259},
                                          {"salvage", no_argument, NULL, 260},
                                          {NULL}};
    int c;

    while ((c = getopt_long(argc, argv, ":hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            a->src.format = optarg;
            break;
        case 'O':
            a->out_format = optarg;
            break;
        case 'B':
            json_object_set_new(a->options, "backing_file", json_string_nocheck(optarg));
            break;
        case 'F':
            json_object_set_new(a->options, "backing_fmt", json_string_nocheck(optarg));
            break;
        case 'c':
            a->compress = true;
            break;
        case 'o':
            if (img_is_help(optarg)) {
                return img_options_help(a->out_format) + 1;
            }
            if (!img_add_options(a->options, optarg)) {
                return 2;
            }
            break;
        case 'S':
            if (!parse_size(optarg, 1, &a->sparse) || (a->sparse && !IS_ALIGNED(a->sparse, 512))) {
                log_error("Invalid buffer size for sparse output specified. Valid sizes are "
                          "multiples of 512 up to 4294966784. Select 0 to disable sparse detection "
                          "(fully allocates output).");
                return 2;
            }
            break;
        case 'p':
            a->progress = true;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 't':
            a->dst.cache = optarg;
            break;
        case 'T':
            a->src.cache = optarg;
            break;
        case 'n':
            a->no_create = true;
            break;
        case 'm':
            if (!parse_uint(optarg, 16, &a->workers) || a->workers < 1) {
                log_error("Invalid number of coroutines. Allowed number of coroutines is between 1 "
                          "and 16");
                return 2;
            }
            break;
        case 'W':
            a->any_order = true;
            break;
        case 'U':
            a->src.force_share = true;
            break;
        case 256:
            a->src.image_opts = true;
            break;
        case 257:
            a->target_is_zero = true;
            break;
        case 258:
        case 259:
        case 260:
        case 'C':
        case 'l':
        case 'r':
            return img_usage("option '%s' is not supported", argv[optind - 1]) + 1;
        case ':':
            return img_usage("missing argument for option '%s'", argv[optind - 1]) + 1;
        default:
            return img_usage("unrecognized option '%s'", argv[optind - 1]) + 1;
        }
    }
    if (argc - optind < 2) {
        log_error("Must specify image file name");
        return 2;
    }
    if (argc - optind > 2) {
        log_error("Concatenating several images is not supported");
        return 2;
    }
    if (a->target_is_zero && !a->no_create) {
        log_error("--target-is-zero requires use of -n flag");
        return 2;
    }
    a->in = argv[optind];
    a->out = argv[optind + 1];
    return 0;
}

/* With the source not locked (-U) the target may be the source: it would be emptied first. */
static bool target_is_source(const ConvertArgs *a, const BlockNode *src)
{
    struct stat out, in;

    if (stat(a->out, &out) < 0) {
        return false;
    }
    for (; src; src = src->backing) {
        if (src->filename && stat(src->filename, &in) == 0 && in.st_dev == out.st_dev &&
            in.st_ino == out.st_ino) {
            log_error("%s: the target is the file that is read: choose another name", a->out);
            return true;
        }
    }
    return false;
}

/* The new image, open over the file that was just made and is still locked. */
static BlockNode *open_new_target(const ConvertArgs *a, Convert *c)
{
    ImgOpen how = a->dst;
    BlockCache cache = {.writeback = true};
    BlockNode *n;

    if (how.cache && !block_cache_parse(how.cache, &cache, NULL)) {
        log_error("Invalid cache option: %s", how.cache);
        return NULL;
    }
    if (!json_object_get(a->options, "size")) {
        json_object_set_new(a->options, "size", json_integer(block_length(c->src)));
    }
    if (img_create_image(&(ImgCreate){.filename = a->out,
                                      .format = a->out_format,
                                      .options = a->options,
                                      .quiet = true,
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

static int do_convert(ConvertArgs *a, Convert *c)
{
    BlockDriverInfo info = {0};
    int ret;

    c->src = img_open(a->in, &a->src);
    if (!c->src || !img_format_known(a->out_format) || target_is_source(a, c->src)) {
        return 1;
    }
    a->dst.format = a->out_format;
    a->dst.writable = a->dst.unmap = true;
    c->target_is_zero = a->target_is_zero;
    c->dst = a->no_create ? img_open(a->out, &a->dst) : open_new_target(a, c);
    if (!c->dst) {
        return 1;
    }
    if (block_length(c->dst) < block_length(c->src)) {
        log_error("output file is smaller than input file");
        return 1;
    }
    if (a->compress && !c->dst->driver->pwrite_compressed) {
        log_error("Compression not supported for this file format");
        return 1;
    }
    if (c->dst->driver->info && c->dst->driver->info(c->dst, &info)) {
        json_decref(info.format_specific);
        c->cluster = info.cluster_size;
    }
    c->compress = a->compress;
    c->progress = a->progress && !a->quiet;
    c->sparse = a->sparse;
    c->has_backing = c->dst->backing != NULL;
    img_progress(c->progress, 0, 1);
    c->any_order = a->any_order;
    c->workers = a->workers;
    ret = run_workers(c);
    if (c->progress) {
        printf("\n");
    }
    if (ret < 0) {
        return c->err ? img_fail(c->err, NULL)
                      : img_fail(g_error_new(VMM_ERROR, -ret, "error while converting: %s",
                                             g_strerror(-ret)),
                                 NULL);
    }
    return 0;
}

int img_cmd_convert(int argc, char **argv)
{
    ConvertArgs a = {.out_format = "raw", .sparse = 4096, .workers = 8, .dst.cache = "unsafe"};
    json_auto_t *options = json_object();
    Convert c = {0};
    int status;

    a.options = options;
    status = parse_convert(argc, argv, &a);
    if (status) {
        return status - 1;
    }
    status = do_convert(&a, &c);
    block_node_unref(c.dst);
    block_node_unref(c.src);
    return status;
}

/* --- compare --- */

typedef struct {
    BlockNode *a, *b;
    bool strict, progress, quiet;
    uint64_t mismatch;
} Compare;

/* 0: same; 1: differs at *mismatch; negative: failed. Beyond the shorter one's end is zero. */
static int coroutine_fn compare_fn(void *data)
{
    Compare *c = data;
    uint64_t end = MAX(block_length(c->a), block_length(c->b)), at = 0;
    uint64_t common = MIN(block_length(c->a), block_length(c->b));
    g_autofree uint8_t *x = g_malloc(CHUNK), *y = g_malloc(CHUNK);

    while (at < end) {
        uint64_t la, lb, len = MIN((at < common ? common : end) - at, (uint64_t)GiB);
        int sa = block_status_chain(c->a, NULL, at, len, &la, NULL, NULL, NULL);
        int sb = block_status_chain(c->b, NULL, at, len, &lb, NULL, NULL, NULL);
        int ret;

        if (at == common && !c->quiet) {
            printf("Warning: Image size mismatch!\n");
        }
        if (sa < 0 || sb < 0) {
            return sa < 0 ? sa : sb;
        }
        len = MIN(la, lb);
        if (c->strict && !(sa & BLOCK_STATUS_ALLOCATED) != !(sb & BLOCK_STATUS_ALLOCATED)) {
            c->mismatch = at;
            return 2;
        }
        if ((sa & BLOCK_STATUS_ZERO) && (sb & BLOCK_STATUS_ZERO)) {
            at += len;
            continue;
        }
        len = MIN(len, CHUNK);
        ret = block_pread(c->a, at, x, len);
        ret = ret < 0 ? ret : block_pread(c->b, at, y, len);
        if (ret < 0) {
            return ret;
        }
        if (memcmp(x, y, len)) {
            uint64_t i = 0;
            while (x[i] == y[i]) {
                i++;
            }
            /* qemu-img names the sector. */
            c->mismatch = ROUND_DOWN(at + i, 512);
            return 1;
        }
        at += len;
        img_progress(c->progress, at, end);
    }
    return 0;
}

int img_cmd_compare(int argc, char **argv)
{
    static const struct option longs[] = {
        {"image-opts", no_argument, NULL, 256}, {"force-share", no_argument, NULL, 'U'}, {NULL}};
    ImgOpen first = {.shared = true}, second = {.shared = true};
    Compare c = {0};
    int opt, ret;

    while ((opt = getopt_long(argc, argv, ":hf:F:T:pqsU", longs, NULL)) != -1) {
        switch (opt) {
        case 'f':
            first.format = optarg;
            break;
        case 'F':
            second.format = optarg;
            break;
        case 'T':
            first.cache = second.cache = optarg;
            break;
        case 'p':
            c.progress = true;
            break;
        case 'q':
            c.quiet = true;
            break;
        case 's':
            c.strict = true;
            break;
        case 'U':
            first.force_share = second.force_share = true;
            break;
        case 256:
            first.image_opts = second.image_opts = true;
            break;
        case ':':
            img_usage("missing argument for option '%s'", argv[optind - 1]);
            return 1;
        default:
            img_usage("unrecognized option '%s'", argv[optind - 1]);
            return 1;
        }
    }
    if (optind != argc - 2) {
        img_usage("Expecting two image file names");
        return 1;
    }
    c.a = img_open(argv[optind], &first);
    c.b = c.a ? img_open(argv[optind + 1], &second) : NULL;
    if (!c.b) {
        block_node_unref(c.a);
        return 2;
    }
    ret = 0;
    if (block_length(c.a) != block_length(c.b)) {
        if (c.strict) {
            if (!c.quiet) {
                printf("Strict mode: Image size mismatch!\n");
            }
            ret = 3;
        }
    }
    c.progress = c.progress && !c.quiet;
    ret = ret ? ret : block_run(compare_fn, &c);
    if (ret == 0 && !c.quiet) {
        printf("Images are identical.\n");
    } else if (ret == 1 && !c.quiet) {
        printf("Content mismatch at offset %" PRIu64 "!\n", c.mismatch);
    } else if (ret == 2 && !c.quiet) {
        printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", c.mismatch);
    } else if (ret < 0) {
        log_error("Error while reading offset: %s", g_strerror(-ret));
    }
    block_node_unref(c.a);
    block_node_unref(c.b);
    return ret < 0 ? 4 : ret ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img convert: one or several images, one after the other, into one. */
#include <sys/stat.h>
#include "base/event_loop.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "img_convert.h"

typedef struct {
    ImgOpen src, dst;
    const char *out_format, *in_format, *backing, *backing_format, *out;
    char **in;
    unsigned count;
    json_t *options;
    bool options_given, options_help;
    bool quiet, progress, compress, no_create, target_is_zero, any_order, copy_offload, salvage;
    bool bitmaps, skip_broken;
    bool sparse_given;
    uint64_t sparse, workers, rate;
} ConvertArgs;

static bool convert_option_o(void *args, const char *text)
{
    ConvertArgs *a = args;

    a->options_given = true;
    a->options_help = a->options_help || keyval_is_help(text);
    return keyval_is_help(text) || img_add_options(a->options, text);
}

static bool convert_option_sparse(void *args, const char *text)
{
    ConvertArgs *a = args;

    a->sparse_given = true;
    if (!parse_size(text, 1, &a->sparse) || !IS_ALIGNED(a->sparse, 512) || a->sparse > 16 * MiB) {
        log_error("Invalid buffer size for sparse output specified. Valid sizes are multiples of "
                  "512 up to 16777216. Select 0 to disable sparse detection (fully allocates "
                  "output).");
        return false;
    }
    return true;
}

static bool convert_option_rate(void *args, const char *text)
{
    return img_parse_number(text, "rate limit", &((ConvertArgs *)args)->rate);
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
    IMG_OPT_FLAG('C', NULL, ConvertArgs, copy_offload,
                 "let the kernel copy (copy_file_range); no search for zeroes"),
    IMG_OPT_CALL('l', NULL, "snapshot_param", convert_option_snapshot, IMG_HELP_SNAPSHOT),
    IMG_OPT_CALL('r', NULL, "rate_limit", convert_option_rate, "most bytes a second"),
    IMG_OPT_FLAG(0, "bitmaps", ConvertArgs, bitmaps, "copy the dirty bitmaps as well"),
    IMG_OPT_FLAG(0, "skip-broken-bitmaps", ConvertArgs, skip_broken,
                 "with --bitmaps: but not those that were in use in a crash"),
    IMG_OPT_FLAG(0, "salvage", ConvertArgs, salvage,
                 "what cannot be read of the source becomes zeroes"),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* Why these options do not go together; NULL: they do. */
static const char *convert_conflict(const ConvertArgs *a)
{
    if (a->dst.image_opts && !a->no_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (a->copy_offload && a->compress) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (a->copy_offload && a->sparse_given) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (a->copy_offload && a->salvage) {
        return "Cannot use copy offloading in salvaging mode";
    }
    if (a->skip_broken && !a->bitmaps) {
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    }
    if (a->bitmaps && a->count > 1) {
        return "Copying bitmaps only possible with single source";
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
    if (a->compress && (json_object_get(a->options, "encryption") ||
                        json_object_get(a->options, "encrypt.format"))) {
        return "Compression and encryption not supported at the same time";
    }
    if (!a->no_create && json_object_get(a->options, "backing_file") &&
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
    img_target_begin();
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
    how.created = a->options;
    n = img_open(a->out, &how);
    block_node_unref(how.file);
    return n;
}

/* Data that is shared takes no space, so zeroes in it are not looked for: unless -S asks. */
static BlockOffloadMode convert_offload_mode(const ConvertArgs *a)
{
    if (a->copy_offload) {
        return BLOCK_OFFLOAD_COPY;
    }
    return a->compress || a->salvage || a->sparse_given || a->rate ? BLOCK_OFFLOAD_OFF
                                                                   : BLOCK_OFFLOAD_TRY;
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
    if (a->bitmaps && !c->dst->driver->can_store_bitmap) {
        log_error("Format driver '%s' does not support bitmaps", c->dst->driver->name);
        return false;
    }
    if (a->compress && !c->dst->driver->pwrite_compressed) {
        log_error("Compression not supported for this file format");
        return false;
    }
    if (c->dst->driver->info && c->dst->driver->info(c->dst, &info)) {
        json_decref(info.format_specific);
        c->cluster = info.cluster_size;
        if (info.needs_compressed) {
            c->compress = true;
        }
    }
    block_offload_init(&c->offload, c->compress ? BLOCK_OFFLOAD_OFF : convert_offload_mode(a),
                       c->dst);
    /* All workers wait until this is known, and pieces become long: so one refusal is enough. */
    c->offload.patience = 1;
    c->has_backing = c->dst->backing != NULL;
    return true;
}

static int convert_do(ConvertArgs *a, Convert *c)
{
    int ret = 0;

    if (!convert_open_sources(a, c) ||
        (a->bitmaps && !img_bitmaps_possible(c->sources->extents.node, a->skip_broken)) ||
        !convert_target_possible(a) || !convert_open_target(a, c)) {
        return 1;
    }
    if (a->progress && !a->quiet) {
        ret = img_convert_count(c);
    }
    ret = ret < 0 ? ret : img_convert_copy(c);
    if (ret >= 0) {
        img_progress(100);
        return !a->bitmaps || img_copy_bitmaps(c->sources->extents.node, c->dst) ? 0 : 1;
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
    c.salvage = a.salvage;
    c.quiet = a.quiet;
    c.rate = a.rate;
    c.sparse = a.copy_offload ? 0 : a.sparse;
    c.start_ns = clock_ns(CLOCK_REALTIME_NS);
    c.workers = a.workers;
    img_progress_begin(a.progress && !a.quiet, 1);
    status = convert_do(&a, &c);
    img_progress_end();
    block_node_unref(c.dst);
    img_target_end(status);
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

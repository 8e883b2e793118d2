/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img dd: a range of an image into a new one. */
#include <errno.h>
#include <string.h>
#include "base/qemu_names.h"
#include "img.h"

typedef struct {
    ImgOpen how;
    const char *out_format, *in, *out;
    uint64_t block, count, skip;
    bool has_count;
} DdArgs;

typedef struct {
    ImgExtents src;
    BlockNode *dst;
    uint64_t start, length; /* of the source */
    bool zero;              /* the target reads as zeroes */
    void *buf;
} Dd;

/* A range that has one status, at most IMG_CHUNK where it is data. */
static int coroutine_fn dd_piece(Dd *d, uint64_t at, uint64_t *len)
{
    int ret = img_extents_at(&d->src, d->start + at, len);
    bool zero = ret == 0 && (d->src.status & BLOCK_STATUS_ZERO);

    if (!zero) {
        *len = MIN(*len, IMG_CHUNK - at % IMG_CHUNK);
        ret = ret < 0 ? ret : block_pread(d->src.node, d->start + at, d->buf, *len);
    }
    if (ret < 0) {
        log_error("error while reading from input image file: %s", g_strerror(-ret));
        return ret;
    }
    if (!zero) {
        ret = block_pwrite(d->dst, at, d->buf, *len, 0);
    } else if (!d->zero) {
        ret = block_pwrite_zeroes(d->dst, at, *len, 0);
    }
    if (ret < 0) {
        log_error("error while writing to output image file: %s", g_strerror(-ret));
    }
    return ret;
}

static int coroutine_fn dd_fn(void *data)
{
    Dd *d = data;
    int ret = 0;

    for (uint64_t at = 0, len; at < d->length && ret == 0; at += len) {
        len = d->length - at;
        ret = dd_piece(d, at, &len);
    }
    if (ret == 0) {
        ret = block_flush(d->dst);
        if (ret < 0) {
            log_error("error while flushing the output image file: %s", g_strerror(-ret));
        }
    }
    return ret;
}

/* --- the command --- */

static const ImgOption dd_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", DdArgs, how.format, "format of the input"),
    IMG_OPT_TEXT('O', NULL, "output_fmt", DdArgs, out_format, "format of the output (raw)"),
    IMG_OPT_FLAG('U', "force-share", DdArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", DdArgs, how.image_opts,
                 "the input's name is a list of options: driver=qcow2,file.filename=..."),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* "bs=64k". False: the error was printed. */
static bool dd_operand(DdArgs *a, const char *text)
{
    const char *value = strchr(text, '=');
    g_autofree char *name = value ? g_strndup(text, value - text) : g_strdup(text);

    value = value ? value + 1 : "";
    if (g_str_equal(name, "if")) {
        a->in = value;
        return true;
    }
    if (g_str_equal(name, "of")) {
        a->out = value;
        return true;
    }
    if (g_str_equal(name, "bs")) {
        return img_parse_number_in(value, "bs", 1, INT_MAX, &a->block);
    }
    if (g_str_equal(name, "count")) {
        a->has_count = true;
        return img_parse_number(value, "count", &a->count);
    }
    if (g_str_equal(name, "skip")) {
        return img_parse_number(value, "skip", &a->skip);
    }
    log_error("unrecognized operand %s", name);
    return false;
}

/* The range of the source that is copied. As in qemu-img, 'count' is counted from the start. */
static void dd_range(const DdArgs *a, Dd *d, uint64_t length)
{
    uint64_t end = length;

    if (a->has_count && a->count <= length / a->block) {
        end = a->count * a->block;
    }
    if (a->skip > end / a->block) {
        fprintf(stderr, "%s: %s: cannot skip to specified offset\n", log_program_name(), a->in);
        return;
    }
    d->start = a->skip * a->block;
    d->length = end - d->start;
}

/* Creates the output and opens it over the node of its file, which was locked all the time. */
static BlockNode *dd_open_output(const DdArgs *a, Dd *d)
{
    static const BlockCache cache = {.writeback = true};
    json_auto_t *options = json_pack("{s:I}", "size", (json_int_t)d->length);
    ImgOpen how = {.format = a->out_format, .writable = true, .unmap = true, .bulk = true};
    g_autoptr(GError) err = NULL;
    BlockNode *n;

    if (!block_image_create_open(a->out, a->out_format, options, &cache, &how.file, &d->zero,
                                 &err)) {
        log_error("%s: error while creating output image: %s", a->out, err->message);
        return NULL;
    }
    n = img_open(a->out, &how);
    block_node_unref(how.file);
    return n;
}

static int dd_copy(const DdArgs *a, Dd *d)
{
    block_auto_buffer void *buf = NULL;
    int status = 1;

    if (img_target_is_read(a->out)) {
        return 1;
    }
    img_target_begin();
    d->dst = dd_open_output(a, d);
    if (d->dst) {
        buf = d->buf = block_buffer_new(d->dst, IMG_CHUNK);
        if (buf) {
            status = block_run(dd_fn, d) < 0;
        } else {
            log_error("Out of memory");
        }
        block_node_unref(d->dst);
    }
    img_target_end(status);
    return status;
}

static bool dd_output_possible(const char *format)
{
    const BlockDriver *drv = block_driver_find(format);

    if (!drv && qemu_name_known(QEMU_BLOCK, format)) {
        log_error("'%s' is not in this program yet", format);
    } else if (!drv) {
        log_error("Unknown file format");
    } else if (!drv->create) {
        log_error("Format driver '%s' does not support image creation", format);
    }
    return drv && drv->create;
}

static int dd_run(int argc, char **argv)
{
    DdArgs a = {.out_format = "raw", .block = 512, .how = {.shared = true, .bulk = true}};
    Dd d = {0};
    int64_t length;
    int status;

    if (!img_parse(&img_command_dd, argc, argv, &a, &status)) {
        return status;
    }
    for (; optind < argc; optind++) {
        if (!dd_operand(&a, argv[optind])) {
            return 1;
        }
    }
    if (!a.in || !a.out) {
        log_error("Must specify both input and output files");
        return 1;
    }
    d.src.node = img_open(a.in, &a.how);
    if (!d.src.node || !dd_output_possible(a.out_format)) {
        block_node_unref(d.src.node);
        return 1;
    }
    length = block_length(d.src.node);
    dd_range(&a, &d, MAX(length, 0));
    status = dd_copy(&a, &d);
    block_node_unref(d.src.node);
    return status;
}

const ImgCommand img_command_dd = {
    "dd",
    dd_options,
    "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output",
    "Copies a range of an image into a new one: blocks of bs bytes (512), behind the first 'skip'\n"
    "of them, up to the first 'count'. The output's length is a multiple of 512.",
    dd_run,
};

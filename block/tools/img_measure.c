/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img measure. */
#include <errno.h>
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "img.h"

typedef struct {
    ImgOpen how;
    const char *out_format;
    json_t *options;
    bool options_help, json, has_size;
    uint64_t size;
} MeasureArgs;

typedef struct {
    ImgExtents extents;
    uint64_t length;
    BlockMeasure need;
    uint64_t data;    /* bytes of the source's data, in whole units of the target */
    uint64_t bitmaps; /* bytes of the source's bitmaps, in whole units of the target */
    bool has_bitmaps; /* source and target can have some */
} Measure;

/* Counts the units of the target in which the source has data. */
static int coroutine_fn measure_data(Measure *m)
{
    for (uint64_t at = 0, len; at < m->length; at += len) {
        int ret;

        len = m->length - at;
        ret = img_extents_at(&m->extents, at, &len);
        if (ret < 0) {
            return ret;
        }
        if (!(m->extents.status & BLOCK_STATUS_ZERO)) {
            uint64_t end = ROUND_UP(at + len, m->need.unit);

            m->data += end - ROUND_DOWN(at, m->need.unit);
            len = MIN(end, m->length) - at;
        }
    }
    return 0;
}

static int coroutine_fn measure_fn(void *data)
{
    Measure *m = data;
    BlockNode *n = m->extents.node;
    int ret = -ENOTSUP;

    if (n->driver->bitmaps_size && m->need.bitmaps) {
        ret = n->driver->bitmaps_size(n, m->need.unit, &m->bitmaps);
    }
    m->has_bitmaps = ret == 0;
    return ret < 0 && ret != -ENOTSUP ? ret : measure_data(m);
}

static void measure_print(const Measure *m, bool json, bool has_backing)
{
    uint64_t all = m->need.metadata + m->need.data;
    bool full = m->need.preallocated || has_backing;
    uint64_t required = full ? all : m->need.metadata + m->data;

    if (json) {
        json_auto_t *out = json_object();

        if (m->has_bitmaps) {
            json_object_set_new(out, "bitmaps", json_integer(m->bitmaps));
        }
        json_object_set_new(out, "required", json_integer(required));
        json_object_set_new(out, "fully-allocated", json_integer(all));
        img_print_json(out);
        return;
    }
    printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, all);
    if (m->has_bitmaps) {
        printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
    }
}

static bool measure_option_output(void *args, const char *text)
{
    return img_parse_output(text, &((MeasureArgs *)args)->json);
}

static bool measure_option_o(void *args, const char *text)
{
    MeasureArgs *a = args;

    a->options_help = a->options_help || keyval_is_help(text);
    return keyval_is_help(text) || img_add_options(a->options, text);
}

static bool measure_option_size(void *args, const char *text)
{
    MeasureArgs *a = args;

    a->has_size = true;
    return img_parse_number(text, "image size", &a->size);
}

static bool measure_option_snapshot(void *args, const char *text)
{
    return img_parse_snapshot(text, &((MeasureArgs *)args)->how.snapshot);
}

static const ImgOption measure_options[] = {
    IMG_OPT_CALL(0, "output", "ofmt", measure_option_output, IMG_HELP_OUTPUT),
    IMG_OPT_TEXT('O', NULL, "output_fmt", MeasureArgs, out_format, "format of the new image (raw)"),
    IMG_OPT_CALL('o', NULL, "options", measure_option_o,
                 "name=value,... of that format; 'help' lists them"),
    IMG_OPT_CALL(0, "size", "N", measure_option_size, "of an empty disk of this length"),
    IMG_OPT_TEXT('f', NULL, "fmt", MeasureArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_FLAG('U', "force-share", MeasureArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", MeasureArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_CALL('l', NULL, "snapshot_param", measure_option_snapshot, IMG_HELP_SNAPSHOT),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

static bool measure_parse(int argc, char **argv, MeasureArgs *a, int *status)
{
    bool has_file, about_file;

    if (!img_parse(&img_command_measure, argc, argv, a, status)) {
        return false;
    }
    if (a->options_help) {
        *status = img_options_help(a->out_format);
        return false;
    }
    has_file = optind < argc;
    about_file = a->how.image_opts || a->how.format || a->how.snapshot;
    if (argc - optind > 1) {
        log_error("At most one filename argument is allowed.");
    } else if (has_file && a->has_size) {
        log_error("--size N cannot be used together with a filename.");
    } else if (!has_file && about_file) {
        log_error("--image-opts, -f, and -l require a filename argument.");
    } else if (!has_file && !a->has_size) {
        log_error("Either --size N or one filename must be specified.");
    } else {
        return true;
    }
    return false;
}

/* What an image of the target's format takes: m->need. */
static bool measure_target(const MeasureArgs *a, Measure *m)
{
    const BlockDriver *drv = block_driver_find(a->out_format);
    g_autoptr(GError) err = NULL;
    const char *key;
    json_t *value;

    json_object_foreach(a->options, key, value)
    {
        if (drv && drv->create_props && !property_find(drv->create_props, key)) {
            log_error("Invalid parameter '%s'", key);
            log_error("Invalid options for file format '%s'", a->out_format);
            return false;
        }
    }
    json_object_set_new(a->options, "size", json_integer(m->length));
    if (!block_image_measure(a->out_format, a->options, &m->need, &err)) {
        img_fail(g_steal_pointer(&err), NULL);
        return false;
    }
    return true;
}

static int measure_run(int argc, char **argv)
{
    json_auto_t *options = json_object();
    MeasureArgs a = {.out_format = "raw", .options = options, .how = {.shared = true}};
    Measure m = {0};
    int status = 1, ret;
    int64_t length;

    if (!measure_parse(argc, argv, &a, &status)) {
        return status;
    }
    m.length = a.size;
    if (!a.has_size) {
        m.extents.node = img_open(argv[optind], &a.how);
        if (!m.extents.node) {
            return 1;
        }
        length = block_length(m.extents.node);
        m.length = MAX(length, 0);
    }
    if (measure_target(&a, &m)) {
        ret = m.extents.node ? block_run(measure_fn, &m) : 0;
        if (ret < 0) {
            log_error("Unable to get block status: %s", g_strerror(-ret));
        } else {
            bool over_backing = m.extents.node && json_object_get(options, "backing_file");

            measure_print(&m, a.json, over_backing);
            status = 0;
        }
    }
    block_node_unref(m.extents.node);
    return status;
}

const ImgCommand img_command_measure = {
    "measure",
    measure_options,
    "[filename]",
    "How much space a new image takes: with the data of another image, or empty (--size).",
    measure_run,
};

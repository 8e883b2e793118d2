/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img create, resize. */
#include <errno.h>
#include <sys/stat.h>
#include "base/qemu_names.h"
#include "img.h"

/* The order in which qemu-img names what it made. */
static void print_formatting(const char *filename, const char *format, json_t *options)
{
    static const char *const qcow2_order[] = {
        "cluster_size", "extended_l2", "preallocation",  "compression_type", "size", "compat",
        "backing_file", "backing_fmt", "lazy_refcounts", "refcount_bits",    NULL};
    static const char *const other_order[] = {"size", "preallocation", NULL};
    static const char *const defaults[][2] = {
        {"cluster_size", "65536"}, {"extended_l2", "off"},  {"compression_type", "zlib"},
        {"lazy_refcounts", "off"}, {"refcount_bits", "16"},
    };
    bool qcow2 = g_str_equal(format, "qcow2");

    printf("Formatting '%s', fmt=%s", filename, format);
    for (const char *const *key = qcow2 ? qcow2_order : other_order; *key; key++) {
        json_t *value = json_object_get(options, *key);
        const char *text = json_string_value(value);
        uint64_t size;

        for (unsigned i = 0; qcow2 && !value && i < ARRAY_SIZE(defaults); i++) {
            if (g_str_equal(*key, defaults[i][0])) {
                text = defaults[i][1];
            }
        }
        if (json_is_integer(value)) {
            printf(" %s=%" JSON_INTEGER_FORMAT, *key, json_integer_value(value));
        } else if (text && (g_str_has_suffix(*key, "size")) && parse_size(text, 1, &size)) {
            printf(" %s=%" PRIu64, *key, size);
        } else if (text) {
            printf(" %s=%s", *key, text);
        }
    }
    printf("\n");
}

/* Opens it for a look: it must be there, and it gives the size where none was said. */
static bool look_at_backing(const char *filename, json_t *options, bool must_open)
{
    const char *backing = json_str(options, "backing_file");
    const char *format = json_str(options, "backing_fmt");
    g_autofree char *path = block_resolve_backing(filename, backing);
    json_auto_t *tree = NULL;
    g_autoptr(GError) err = NULL;
    BlockNode *n = NULL;

    tree = block_filename_to_config(path, &err);
    if (tree) {
        json_object_set_new(tree, "read-only", json_true());
        json_object_set_new(tree, "force-share", json_true());
        if (format) {
            json_object_set_new(tree, "driver", json_string_nocheck(format));
        }
        n = block_node_open(tree, &err);
    }
    if (!n) {
        if (!must_open) {
            return true;
        }
        log_error("%s: %s", filename, err->message);
        fprintf(stderr, "Could not open backing image.\n");
        return false;
    }
    if (!format) {
        log_error("%s: Backing file specified without backing format", filename);
        fprintf(stderr, "Detected format of %s.\n", n->driver->name);
        block_node_unref(n);
        return false;
    }
    if (!json_object_get(options, "size")) {
        json_object_set_new(options, "size", json_integer(block_length(n)));
    }
    block_node_unref(n);
    return true;
}

/* Whether the format can be made, and every option is one of its own. */
static bool options_known(const ImgCreate *c)
{
    const BlockDriver *drv = block_driver_find(c->format);
    const char *backing_fmt = json_str(c->options, "backing_fmt");
    const char *key;
    json_t *value;

    if (!drv) {
        log_error(qemu_name_known(QEMU_BLOCK, c->format) ? "%s: '%s' is not in this program yet"
                                                         : "%s: Unknown file format '%s'",
                  c->filename, c->format);
        return false;
    }
    if (!drv->create) {
        log_error("%s: Format driver '%s' does not support image creation", c->filename, c->format);
        return false;
    }
    json_object_foreach(c->options, key, value)
    {
        if (property_find(drv->create_props, key)) {
            continue;
        }
        if (g_str_equal(key, "backing_file")) {
            log_error("%s: Backing file not supported for file format '%s'", c->filename,
                      c->format);
        } else if (g_str_equal(key, "backing_fmt")) {
            log_error("%s: Backing format not supported for file format '%s'", c->filename,
                      c->format);
        } else {
            log_error("%s: Invalid parameter '%s'", c->filename, key);
        }
        return false;
    }
    if (backing_fmt && !block_driver_find(backing_fmt)) {
        log_error("%s: Unknown backing file format '%s'", c->filename, backing_fmt);
        return false;
    }
    return true;
}

/* The backing file opens, and is another file. */
static bool backing_fits(const ImgCreate *c)
{
    const char *backing = json_str(c->options, "backing_file");
    g_autofree char *path = NULL;

    if (!backing || !c->check_backing) {
        return true;
    }
    path = block_resolve_backing(c->filename, backing);
    if (g_str_equal(path, c->filename)) {
        log_error("%s: Error: Trying to create an image with the same filename as the backing file",
                  c->filename);
        return false;
    }
    return look_at_backing(c->filename, c->options, true);
}

int img_create_image(const ImgCreate *c)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    if (!options_known(c) || !backing_fits(c)) {
        return 1;
    }
    if (!json_object_get(c->options, "size")) {
        log_error("%s: Image creation needs a size parameter", c->filename);
        return 1;
    }
    if (!c->quiet) {
        print_formatting(c->filename, c->format, c->options);
        fflush(stdout);
    }
    ok = c->file ? block_image_create_open(c->filename, c->format, c->options, c->cache, c->file,
                                           c->zero, &err)
                 : block_image_create(c->filename, c->format, c->options, &err);
    if (!ok) {
        log_error("%s: %s", c->filename, err->message);
    }
    return ok ? 0 : 1;
}

int img_cmd_create(int argc, char **argv)
{
    const char *format = "raw", *filename;
    json_auto_t *options = json_object();
    bool quiet = false, unchecked = false;
    uint64_t size;
    int c;

    while ((c = getopt(argc, argv, ":F:b:f:ho:qu")) != -1) {
        switch (c) {
        case 'F':
            json_object_set_new(options, "backing_fmt", json_string_nocheck(optarg));
            break;
        case 'b':
            json_object_set_new(options, "backing_file", json_string_nocheck(optarg));
            break;
        case 'f':
            format = optarg;
            break;
        case 'o':
            if (img_is_help(optarg)) {
                return img_options_help(format);
            }
            if (!img_add_options(options, optarg)) {
                return 1;
            }
            break;
        case 'q':
            quiet = true;
            break;
        case 'u':
            unchecked = true;
            break;
        case ':':
            return img_usage("missing argument for option '%s'", argv[optind - 1]);
        default:
            return img_usage("unrecognized option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc) {
        return img_usage("Expecting image file name");
    }
    filename = argv[optind++];
    if (optind < argc) {
        const char *text = argv[optind++];
        if (!img_parse_size(text, &size)) {
            return 1;
        }
        json_object_set_new(options, "size", json_integer(size));
    }
    if (optind != argc) {
        return img_usage("Unexpected argument: %s", argv[optind]);
    }
    return img_create_image(&(ImgCreate){.filename = filename,
                                         .format = format,
                                         .options = options,
                                         .quiet = quiet,
                                         .check_backing = !unchecked});
}

typedef struct {
    BlockNode *n;
    uint64_t size;
    GError *err;
} Resize;

static int coroutine_fn resize_fn(void *data)
{
    Resize *r = data;
    int ret = block_truncate(r->n, r->size, &r->err);

    return ret < 0 ? ret : block_flush(r->n);
}

int img_cmd_resize(int argc, char **argv)
{
    static const struct option longs[] = {{"image-opts", no_argument, NULL, 256},
                                          {"shrink", no_argument, NULL, 257},
                                          {"preallocation", required_argument, NULL, 258},
                                          {NULL}};
    ImgOpen how = {.writable = true, .unmap = true};
    bool quiet = false, shrink = false;
    const char *text;
    Resize r = {0};
    uint64_t size;
    int64_t now;
    int c, sign = 0, ret;

    /* "-1G" is a size: the last word is not an option. */
    if (argc < 3) {
        return img_usage("Not enough arguments");
    }
    text = argv[--argc];
    while ((c = getopt_long(argc, argv, ":f:hq", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            how.format = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case 256:
            how.image_opts = true;
            break;
        case 257:
            shrink = true;
            break;
        case 258:
            if (!g_str_equal(optarg, "off")) {
                log_error("--preallocation=%s is not supported for resize", optarg);
                return 1;
            }
            break;
        case ':':
            return img_usage("missing argument for option '%s'", argv[optind - 1]);
        default:
            return img_usage("unrecognized option '%s'", argv[optind - 1]);
        }
    }
    if (optind != argc - 1) {
        return img_usage("Expecting image file name and size");
    }
    if (*text == '+' || *text == '-') {
        sign = *text++ == '+' ? 1 : -1;
    }
    if (!img_parse_size(text, &size)) {
        return 1;
    }
    r.n = img_open(argv[optind], &how);
    if (!r.n) {
        return 1;
    }
    now = block_length(r.n);
    r.size = sign > 0 ? now + size : sign < 0 ? now - size : size;
    if ((sign < 0 && size >= (uint64_t)now) || r.size == 0) {
        log_error("New image size must be positive");
        block_node_unref(r.n);
        return 1;
    }
    if (r.size < (uint64_t)now && !shrink) {
        log_error("Use the --shrink option to perform a shrink operation.");
        log_warn("Shrinking an image will delete all data beyond the shrunken image's end. Before "
                 "performing such an operation, make sure there is no important data there.");
        block_node_unref(r.n);
        return 1;
    }
    ret = block_run(resize_fn, &r);
    block_node_unref(r.n);
    if (ret < 0) {
        return r.err ? img_fail(r.err, NULL)
                     : img_fail(g_error_new(VMM_ERROR, -ret, "%s", g_strerror(-ret)), NULL);
    }
    if (!quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img create; convert makes its targets here, too. */
#include <errno.h>
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "img.h"

/* The options that "Formatting ..." names, in qemu-img's order; 'KEY=DEFAULT' where it does always.
 */
static const struct {
    const char *format, *options;
} create_shown[] = {
    {"qcow2", "encryption encrypt.format encrypt.key-secret encrypt.cipher-alg encrypt.cipher-mode "
              "encrypt.ivgen-alg encrypt.ivgen-hash-alg encrypt.hash-alg encrypt.iter-time "
              "cluster_size=65536 extended_l2=off preallocation compression_type=zlib size compat "
              "backing_file backing_fmt data_file data_file_raw lazy_refcounts=off "
              "refcount_bits=16"},
    {"luks", "size key-secret cipher-alg cipher-mode ivgen-alg ivgen-hash-alg hash-alg iter-time "
             "preallocation"},
    {"vdi", "size static=off preallocation"},
    {"vmdk", "size adapter_type backing_file backing_fmt compat6=off hwversion=undefined subformat "
             "toolsversion zeroed_grain"},
    {"vpc", "size subformat force_size"},
    {"vhdx", "size log_size=1048576 block_size=0 subformat block_state_zero"},
    {NULL, "size preallocation"},
};

static void create_print_option(json_t *options, const char *shown)
{
    g_auto(GStrv) word = g_strsplit(shown, "=", 2);
    json_t *value = json_object_get(options, word[0]);
    const char *text = value ? json_string_value(value) : word[1];
    uint64_t size;

    if (json_is_integer(value)) {
        printf(" %s=%" JSON_INTEGER_FORMAT, word[0], json_integer_value(value));
    } else if (text && g_str_has_suffix(word[0], "size") && parse_size(text, 1, &size)) {
        printf(" %s=%" PRIu64, word[0], size);
    } else if (text) {
        printf(" %s=%s", word[0], text);
    }
}

static void create_print_formatting(const char *filename, const char *format, json_t *options)
{
    g_auto(GStrv) shown = NULL;
    unsigned i = 0;

    while (create_shown[i].format && !g_str_equal(create_shown[i].format, format)) {
        i++;
    }
    shown = g_strsplit(create_shown[i].options, " ", -1);
    printf("Formatting '%s', fmt=%s", filename, format);
    for (char **option = shown; *option; option++) {
        create_print_option(options, *option);
    }
    printf("\n");
}

/* "FILE: " or, where convert makes the image, "FILE: error while converting FORMAT: " */
static void create_error(const ImgCreate *c, const char *text)
{
    if (c->converting) {
        log_error("%s: error while converting %s: %s", c->filename, c->format, text);
    } else {
        log_error("%s: %s", c->filename, text);
    }
}

/* An error in the options. Convert prints it without the file's name, as qemu-img does. */
static void create_option_error(const ImgCreate *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void create_option_error(const ImgCreate *c, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s%s%s", c->converting ? "" : c->filename, c->converting ? "" : ": ", text);
}

/* Whether the format can be created, and has all of these options. */
static bool create_options_known(const ImgCreate *c)
{
    const BlockDriver *drv = block_driver_find(c->format);
    const char *backing_fmt = json_str(c->options, "backing_fmt");
    const char *key;
    json_t *value;

    if (!drv) {
        create_option_error(c,
                            qemu_name_known(QEMU_BLOCK, c->format)
                                ? "'%s' is not in this program yet"
                                : "Unknown file format '%s'",
                            c->format);
        return false;
    }
    if (!drv->create) {
        create_option_error(c, "Format driver '%s' does not support image creation", c->format);
        return false;
    }
    json_object_foreach(c->options, key, value)
    {
        if (property_find(drv->create_props, key)) {
            continue;
        }
        if (g_str_equal(key, "backing_file")) {
            create_option_error(c, "Backing file not supported for file format '%s'", c->format);
        } else if (g_str_equal(key, "backing_fmt")) {
            create_option_error(c, "Backing file format not supported for file format '%s'",
                                c->format);
        } else {
            create_option_error(c, "Invalid parameter '%s'", key);
        }
        return false;
    }
    if (backing_fmt && !block_driver_find(backing_fmt)) {
        log_error("%s: Unknown backing file format '%s'", c->filename, backing_fmt);
        return false;
    }
    return true;
}

/* Opens the backing file read-only, also while others write to it. Its length is all that is
 * wanted. */
static BlockNode *create_open_backing(const ImgCreate *c, GError **err)
{
    const char *format = json_str(c->options, "backing_fmt");
    g_autofree char *path =
        block_resolve_backing(c->filename, json_str(c->options, "backing_file"));
    json_auto_t *tree = block_filename_to_config(path, err);

    if (!tree) {
        return NULL;
    }
    json_object_set_new(tree, "read-only", json_true());
    json_object_set_new(tree, "force-share", json_true());
    if (format) {
        json_object_set_new(tree, "driver", json_string_nocheck(format));
    }
    return block_image_open(tree, BLOCK_IMAGE_NO_IO, err);
}

/* Whether the backing file opens and has a format; without a size option, adds its length. */
static bool create_look_at_backing(const ImgCreate *c)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = create_open_backing(c, &err);
    bool has_format = json_object_get(c->options, "backing_fmt");

    if (!n && c->converting) {
        log_error("Could not open '%s': Could not open backing file: %s", c->filename,
                  err->message);
        return false;
    }
    if (!n) {
        log_error("%s: %s", c->filename, err->message);
        fprintf(stderr, "Could not open backing image.\n");
        return false;
    }
    if (!has_format) {
        log_error("%s: Backing file specified without backing format", c->filename);
        fprintf(stderr, "Detected format of %s.\n", n->driver->name);
    } else if (!json_object_get(c->options, "size")) {
        json_object_set_new(c->options, "size", json_integer(block_length(n)));
    }
    block_node_unref(n);
    return has_format;
}

/* Whether the backing file, if any, is not the image itself, has a format, and (without -u) opens.
 */
static bool create_backing_fits(const ImgCreate *c)
{
    const char *backing = json_str(c->options, "backing_file");
    g_autofree char *path = NULL;

    if (!backing) {
        return true;
    }
    if (!*backing) {
        log_error("%s: Expected backing file name, got empty string", c->filename);
        return false;
    }
    path = block_resolve_backing(c->filename, backing);
    if (g_str_equal(path, c->filename)) {
        log_error("%s: Error: Trying to create an image with the same filename as the backing file",
                  c->filename);
        return false;
    }
    if (c->check_backing) {
        return create_look_at_backing(c);
    }
    if (!json_object_get(c->options, "backing_fmt")) {
        log_error("%s: Backing file specified without backing format", c->filename);
        return false;
    }
    return true;
}

/*
 * Whether numbers and switches are such. As in qemu-img that is seen before "Formatting" is
 * printed, and what else is wrong with the options afterwards.
 */
static bool create_numbers_fit(const ImgCreate *c)
{
    const BlockDriver *drv = block_driver_find(c->format);
    g_autoptr(GError) err = NULL;
    void *o = g_malloc0(drv->create_size);
    const char *key;
    json_t *value;
    bool ok = true;

    properties_init(drv->create_props, o);
    json_object_foreach(c->options, key, value)
    {
        const Property *p = property_find(drv->create_props, key);

        ok = ok && (p->type == PROP_ENUM || property_set(p, o, value, c->format, &err));
    }
    properties_clear(drv->create_props, o);
    g_free(o);
    if (!ok) {
        create_error(c, err->message);
    }
    return ok;
}

int img_create_image(const ImgCreate *c)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    if (!create_options_known(c) || !create_numbers_fit(c) || !create_backing_fits(c)) {
        return 1;
    }
    if (!json_object_get(c->options, "size")) {
        log_error("%s: Image creation needs a size parameter", c->filename);
        return 1;
    }
    if (!c->quiet) {
        create_print_formatting(c->filename, c->format, c->options);
        fflush(stdout);
    }
    ok = block_image_create_check(c->format, c->options, &err);
    if (ok) {
        ok = c->file ? block_image_create_open(c->filename, c->format, c->options, c->cache,
                                               c->file, c->zero, &err)
                     : block_image_create(c->filename, c->format, c->options, &err);
    }
    if (!ok) {
        create_error(c, err->message);
    }
    return ok ? 0 : 1;
}

typedef struct {
    const char *format, *backing, *backing_format;
    json_t *options;
    bool quiet, unchecked, options_help;
} CreateArgs;

static bool create_option_o(void *args, const char *text)
{
    CreateArgs *a = args;

    a->options_help = a->options_help || keyval_is_help(text);
    return keyval_is_help(text) || img_add_options(a->options, text);
}

static const ImgOption create_options[] = {
    IMG_OPT_FLAG('q', NULL, CreateArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_TEXT('f', NULL, "fmt", CreateArgs, format, "format of the new image (raw)"),
    IMG_OPT_TEXT('b', NULL, "backing_file", CreateArgs, backing,
                 "what the image shows where it holds nothing itself"),
    IMG_OPT_TEXT('F', NULL, "backing_fmt", CreateArgs, backing_format,
                 "format of the backing file"),
    IMG_OPT_FLAG('u', NULL, CreateArgs, unchecked, "do not look at the backing file"),
    IMG_OPT_CALL('o', NULL, "options", create_option_o,
                 "name=value,... of the format; 'help' lists them"),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* Options and operands into 'a'. -b and -F replace what -o says; the size may be given only once.
 */
static bool create_parse(int argc, char **argv, CreateArgs *a, int *status)
{
    uint64_t size;

    if (!img_parse(&img_command_create, argc, argv, a, status)) {
        return false;
    }
    if (a->options_help) {
        *status = img_options_help(a->format);
        return false;
    }
    if (optind >= argc) {
        *status = img_usage("Expecting image file name");
        return false;
    }
    if (a->backing) {
        json_object_set_new(a->options, "backing_file", json_string_nocheck(a->backing));
    }
    if (a->backing_format) {
        json_object_set_new(a->options, "backing_fmt", json_string_nocheck(a->backing_format));
    }
    if (argc - optind > 1 && !img_parse_number(argv[optind + 1], "image size", &size)) {
        return false;
    }
    if (argc - optind > 2) {
        *status = img_usage("Unexpected argument: %s", argv[optind + 2]);
        return false;
    }
    if (argc - optind == 2) {
        if (json_object_get(a->options, "size")) {
            log_error("%s: The image size must be specified only once", argv[optind]);
            return false;
        }
        json_object_set_new(a->options, "size", json_integer(size));
    }
    return true;
}

static int create_run(int argc, char **argv)
{
    json_auto_t *options = json_object();
    CreateArgs a = {.format = "raw", .options = options};
    int status;

    if (!create_parse(argc, argv, &a, &status)) {
        return status;
    }
    return img_create_image(&(ImgCreate){.filename = argv[optind],
                                         .format = a.format,
                                         .options = options,
                                         .quiet = a.quiet,
                                         .check_backing = !a.unchecked});
}

const ImgCommand img_command_create = {
    "create", create_options, "filename [size]", "Makes an image.", create_run,
};

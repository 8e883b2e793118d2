/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img amend: other options of an image that is there. */
#include "base/keyval.h"
#include "img.h"

typedef struct {
    ImgOpen how;
    json_t *options;
    bool quiet, progress, force, given, options_help;
} AmendArgs;

static bool amend_option_o(void *args, const char *text)
{
    AmendArgs *a = args;

    a->given = true;
    a->options_help = a->options_help || keyval_is_help(text);
    return keyval_is_help(text) || img_add_options(a->options, text);
}

static const ImgOption amend_options[] = {
    IMG_OPT_OBJECT,
    IMG_OPT_FLAG(0, "image-opts", AmendArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_FLAG('p', NULL, AmendArgs, progress, IMG_HELP_PROGRESS),
    IMG_OPT_FLAG('q', NULL, AmendArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_TEXT('f', NULL, "fmt", AmendArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_TEXT('t', NULL, "cache", AmendArgs, how.cache, "cache mode (writeback)"),
    IMG_OPT_FLAG(0, "force", AmendArgs, force, "also what may lose data"),
    IMG_OPT_CALL('o', NULL, "options", amend_option_o,
                 "name=value,... of the format; 'help' lists them"),
    IMG_OPT_END,
};

/* -o help; returns the exit status. */
static int amend_help(const char *format)
{
    const BlockDriver *drv = block_driver_find(format);
    g_autoptr(GString) out = g_string_new(NULL);

    if (!drv) {
        log_error("Unknown file format '%s'", format);
        return 1;
    }
    if (!drv->amend) {
        log_error("Format driver '%s' does not support option amendment", format);
        return 1;
    }
    properties_help(drv->amend_props, out);
    printf("Amend options for '%s':\n%s", format, out->str);
    return 0;
}

/* Whether the format has all of these options; what it has for new images alone is told apart. */
static bool amend_options_known(const BlockDriver *drv, json_t *options)
{
    const char *key;
    json_t *value;

    json_object_foreach(options, key, value)
    {
        if (property_find(drv->amend_props, key)) {
            continue;
        }
        log_error("Invalid parameter '%s'", key);
        if (drv->create_props && property_find(drv->create_props, key)) {
            fprintf(stderr, "This option is only supported for image creation\n");
        }
        return false;
    }
    return true;
}

static int amend_node(BlockNode *n, const AmendArgs *a)
{
    GError *err = NULL;
    bool ok;

    if (!n->driver->amend) {
        log_error("Format driver '%s' does not support option amendment", n->driver->name);
        return 1;
    }
    if (a->options_help) {
        return amend_help(n->driver->name);
    }
    if (!amend_options_known(n->driver, a->options)) {
        return 1;
    }
    img_progress_begin(a->progress && !a->quiet, 1);
    ok = block_image_amend(n, a->options, a->force, &err);
    if (ok) {
        img_progress(100);
    }
    img_progress_end();
    return ok ? 0 : img_fail(err, NULL);
}

static int amend_run(int argc, char **argv)
{
    json_auto_t *options = json_object();
    AmendArgs a = {.how = {.writable = true}, .options = options};
    BlockNode *n;
    int status;

    if (!img_parse(&img_command_amend, argc, argv, &a, &status)) {
        return status;
    }
    if (!a.given) {
        return img_usage("Must specify options (-o)");
    }
    /* The format alone says which options there are; an image that is named is not opened. */
    if (a.options_help && a.how.format) {
        return amend_help(a.how.format);
    }
    if (optind != argc - 1) {
        log_error("Expecting one image file name");
        return 1;
    }
    n = img_open(argv[optind], &a.how);
    if (!n) {
        return 1;
    }
    status = amend_node(n, &a);
    block_node_unref(n);
    return status;
}

const ImgCommand img_command_amend = {
    "amend", amend_options, "filename", "Changes options of an image.", amend_run,
};

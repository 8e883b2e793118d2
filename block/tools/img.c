/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img: disk images from the command line, in qemu-img's words. */
#include <stdlib.h>
#include "base/version.h"
#include "img.h"

static const ImgCommand *const commands[] = {
    &img_command_amend,  &img_command_bench,   &img_command_bitmap,   &img_command_check,
    &img_command_commit, &img_command_compare, &img_command_convert,  &img_command_create,
    &img_command_dd,     &img_command_info,    &img_command_map,      &img_command_measure,
    &img_command_rebase, &img_command_resize,  &img_command_snapshot,
};

bool img_add_options(json_t *options, const char *text)
{
    g_autoptr(GError) err = NULL;
    json_auto_t *parsed = keyval_parse(text, NULL, NULL, false, &err);

    if (!parsed) {
        log_error("Invalid options: %s", err->message);
        return false;
    }
    json_object_update(options, parsed);
    return true;
}

int img_options_help(const char *format)
{
    const BlockDriver *drv = block_driver_find(format);
    g_autoptr(GString) out = g_string_new(NULL);

    if (!drv) {
        log_error("Unknown file format '%s'", format);
        return 1;
    }
    if (!drv->create_props) {
        log_error("Format driver '%s' does not support image creation", format);
        return 1;
    }
    properties_help(drv->create_props, out);
    printf("Supported %s options:\n%s", format, out->str);
    return 0;
}

/* Scripts that call the program qemu-img compare QEMU's version: under that name it comes first. */
static void img_print_version(void)
{
    if (g_str_equal(log_program_name(), "qemu-img")) {
        printf("qemu-img version " QEMU_VERSION " (vmm " VMM_VERSION ")\n");
    } else {
        printf("%s version " VMM_VERSION " (speaks qemu-img " QEMU_VERSION "'s commands)\n",
               log_program_name());
    }
}

static void img_print_help(void)
{
    img_print_version();
    printf("usage: %s [standard options] command [command options]\n"
           "Disk image utility\n\n"
           "    '-h', '--help'       display this help and exit; behind a command: its help\n"
           "    '-V', '--version'    output version information and exit\n"
           "    '-T', '--trace'      " IMG_ARG_TRACE "\n"
           "                         " IMG_HELP_TRACE "\n"
           "    '--" IMG_NO_NAMED_FILES "' " IMG_HELP_NO_NAMED_FILES "\n\n"
           "Command syntax:\n",
           log_program_name());
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        g_autofree char *synopsis = img_synopsis(commands[i]);

        printf("  %s\n", synopsis);
    }
    printf("\nSupported formats:");
    for (const BlockDriver *const *d = block_drivers(); *d; d++) {
        printf(" %s", (*d)->name);
    }
    printf("\n");
}

/* The argument of -T or --trace at argv[*n], which may be the next word. NULL: it has none. */
static const char *img_trace_argument(int argc, char **argv, int *n)
{
    const char *word = argv[*n];

    if (g_str_has_prefix(word, "--trace=")) {
        return word + strlen("--trace=");
    }
    if (word[1] == 'T' && word[2]) {
        return word + 2;
    }
    return *n + 1 < argc ? argv[++*n] : NULL;
}

/*
 * Options of all commands, before the command: *count words. False: the program ends with *status.
 */
static bool img_standard_options(int argc, char **argv, int *count, int *status)
{
    int n;

    for (n = 1; n < argc; n++) {
        const char *word = argv[n], *trace;

        if (g_str_equal(word, "--" IMG_NO_NAMED_FILES)) {
            block_forbid_named_files();
            continue;
        }
        if (!g_str_has_prefix(word, "-T") && !g_str_equal(word, "--trace") &&
            !g_str_has_prefix(word, "--trace=")) {
            break;
        }
        trace = img_trace_argument(argc, argv, &n);
        if (!trace) {
            *status = img_usage("missing argument for option '%s'", word);
            return false;
        }
        if (!img_option_trace(trace, status)) {
            return false;
        }
    }
    *count = n - 1;
    return true;
}

static int img_dispatch(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    const char *names[ARRAY_SIZE(commands) + 1] = {NULL};
    const char *near;

    if (!word) {
        return img_usage("Not enough arguments");
    }
    if (g_str_equal(word, "-h") || g_str_equal(word, "--help")) {
        img_print_help();
        return 0;
    }
    if (g_str_equal(word, "-V") || g_str_equal(word, "--version")) {
        img_print_version();
        return 0;
    }
    if (*word == '-') {
        return img_usage("unrecognized option '%s'", word);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        names[i] = commands[i]->name;
        if (g_str_equal(word, commands[i]->name)) {
            return commands[i]->run(argc - 1, argv + 1);
        }
    }
    near = nearest_name(word, names);
    return img_usage("Command not found: %s%s%s%s", word, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

static int img_run(int argc, char **argv)
{
    int skip, status;

    if (!img_standard_options(argc, argv, &skip, &status)) {
        return status;
    }
    status = img_dispatch(argc - skip, argv + skip);

    /* block_node_unref() returns no status: an error while it closed an image was only printed. */
    return status == 0 && log_error_count() ? 1 : status;
}

int main(int argc, char **argv)
{
    return img_main(argc, argv, img_run);
}

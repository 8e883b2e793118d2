/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img: disk images from the command line, in qemu-img's words. */
#include <stdlib.h>
#include "base/host.h"
#include "base/qemu_names.h"
#include "base/reclaim.h"
#include "base/version.h"
#include "img.h"

static const ImgCommand *const commands[] = {
    &img_command_bench,    &img_command_check,   &img_command_commit, &img_command_compare,
    &img_command_convert,  &img_command_create,  &img_command_dd,     &img_command_info,
    &img_command_map,      &img_command_measure, &img_command_rebase, &img_command_resize,
    &img_command_snapshot,
};

/* The options that open the image called 'name': a tree for block_image_open(). */
static json_t *img_config(const char *name, const ImgOpen *how, GError **err)
{
    json_t *tree, *file;

    if (how->file) {
        return json_pack("{s:s}", "file", how->file->opts.node_name);
    }
    tree = how->image_opts ? keyval_parse(name, NULL, NULL, true, err)
                           : block_filename_to_config(name, err);
    file = tree ? json_object_get(tree, "file") : NULL;
    if (tree && how->aio) {
        json_object_set_new(json_is_object(file) ? file : tree, "aio", json_string(how->aio));
    }
    if (how->image_opts) {
        return tree;
    }
    /* Buffered io_uring requests are copied on this CPU, those of worker threads on all CPUs. */
    if (how->bulk && !g_str_has_prefix(name, "json:") && json_is_object(file) &&
        json_object_get(file, "filename")) {
        json_object_set_new(file, "aio", json_string("threads"));
    }
    return tree;
}

BlockNode *img_open_config(const char *name, const ImgOpen *how, GError **err)
{
    json_auto_t *tree = NULL;
    BlockCache cache = {.writeback = true};
    ImgOpen with = *how;

    if (how->cache) {
        block_cache_parse(how->cache, &cache, NULL);
    }
    with.bulk = how->bulk && !cache.direct;
    tree = img_config(name, &with, err);
    if (!tree) {
        return NULL;
    }
    if (how->format) {
        json_object_set_new(tree, "driver", json_string(how->format));
    }
    json_object_set_new(tree, "read-only", json_boolean(!how->writable));
    if (how->force_share) {
        json_object_set_new(tree, "force-share", json_true());
    }
    if (how->unmap) {
        json_object_set_new(tree, "discard", json_string("unmap"));
    }
    json_object_set_new(tree, "cache",
                        json_pack("{s:b,s:b}", "direct", cache.direct, "no-flush", cache.no_flush));
    return block_image_open(tree,
                            (how->no_backing ? BLOCK_IMAGE_ALONE : 0) |
                                (how->check ? BLOCK_IMAGE_CHECK : 0) |
                                (how->shared ? BLOCK_IMAGE_SHARED : 0),
                            err);
}

BlockNode *img_open(const char *name, const ImgOpen *how)
{
    g_autoptr(GError) err = NULL;
    BlockCache cache;
    BlockNode *n;

    if (how->image_opts && how->format) {
        log_error("--image-opts and --format are mutually exclusive");
        return NULL;
    }
    if (how->cache && !block_cache_parse(how->cache, &cache, NULL)) {
        log_error("Invalid %scache option: %s", how->cache_of ? how->cache_of : "", how->cache);
        return NULL;
    }
    n = img_open_config(name, how, &err);
    if (!n) {
        log_error("Could not open '%s': %s", name, err->message);
    } else if (how->snapshot && !img_load_snapshot(n, how->snapshot)) {
        block_node_unref(g_steal_pointer(&n));
    }
    return n;
}

int coroutine_fn img_status(BlockNode *n, uint64_t at, uint64_t bytes, uint64_t *len,
                            ImgPlace *place)
{
    int status =
        block_status_chain(n, NULL, at, bytes, len, &place->offset, &place->file, &place->depth);
    BlockNode *file = place->file;

    if (status >= 0 && (status & BLOCK_STATUS_DATA) && (status & BLOCK_STATUS_OFFSET_VALID) &&
        file && file->driver->block_status) {
        uint64_t below_len, below_map;
        BlockNode *below_file;
        int below = block_status(file, place->offset, *len, &below_len, &below_map, &below_file);

        if (below >= 0 && below_len) {
            *len = MIN(*len, below_len);
            status |= below & BLOCK_STATUS_ZERO;
        }
    }
    return status;
}

int coroutine_fn img_extents_at(ImgExtents *e, uint64_t at, uint64_t *len)
{
    if (at < e->start || at >= e->end) {
        uint64_t n;
        int status = block_status_chain(e->node, NULL, at, *len, &n, NULL, NULL, NULL);

        if (status < 0) {
            return status;
        }
        e->status = status;
        e->start = at;
        /* Data reaches to the end of its sector: a file's short last sector is padded with zeroes.
         */
        e->end = status & BLOCK_STATUS_ZERO ? at + n : ROUND_UP(at + n, 512);
    }
    *len = MIN(*len, e->end - at);
    return 0;
}

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

bool img_is_help(const char *text)
{
    return g_str_equal(text, "help") || g_str_equal(text, "?");
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
           "    '-V', '--version'    output version information and exit\n\n"
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
    if (g_str_has_prefix(word, "-T") || g_str_has_prefix(word, "--trace")) {
        return img_usage("option '%s' is not in this program yet: there are no trace events",
                         word[1] == 'T' ? "-T" : "--trace");
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
    if (qemu_name_known(QEMU_IMG_COMMAND, word)) {
        return img_usage("'%s' is not in this program yet", word);
    }
    near = nearest_name(word, names);
    return img_usage("Command not found: %s%s%s%s", word, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    EventLoop *loop;
    int status;

    host_raise_file_limit();
    host_survive_file_size_limit();
    log_set_program_name(g_path_get_basename(argv[0]));
    loop = event_loop_new("main", &err);
    if (!loop) {
        return img_fail(g_steal_pointer(&err), NULL);
    }
    event_loop_bind(loop);
    status = img_dispatch(argc, argv);
    block_node_close_all();
    reclaim_poll();
    /* An earlier flush that failed has dropped its data: only ferror() still shows that. */
    if (fflush(stdout) == EOF || ferror(stdout)) {
        log_error("Could not write to standard output");
    }
    /* block_node_unref() returns no status: an error while it closed an image was only printed. */
    return status == 0 && log_error_count() ? 1 : status;
}

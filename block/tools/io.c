/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-io: requests to a disk image from the command line, in qemu-io's words. */
#include <errno.h>
#include <unistd.h>
#include "base/json.h"
#include "base/version.h"
#include "block/graph.h"
#include "block/io_commands.h"
#include "img.h"

/* How an image is opened: by the program's options, or by those of 'open'. */
typedef struct {
    ImgOpen open;
    const char *discard;
    bool temporary, copy_on_read;
    json_t *options; /* of -o; the caller's; may be NULL */
} IoOpen;

typedef struct {
    IoSession session;
    IoOpen how;
    GPtrArray *lines; /* of -c */
    BlockNode *node;
    BlockNode *image; /* 'node' without what -C has put above */
    json_t *config;   /* with which 'image' can be reopened */
    bool read_only, quit, over;
    int status;
} IoTool;

static IoTool *io_tool_of(IoSession *s)
{
    return container_of(s, IoTool, session);
}

static void io_tool_print(IoSession *s, const char *text)
{
    fputs(text, stdout);
}

static void io_tool_complain(IoSession *s, const char *text)
{
    fputs(text, stderr);
}

static void io_tool_fail(IoSession *s, const char *text)
{
    log_error("%s", text);
}

/* Opening and closing. */

/* The words of -d, and the option "discard" of a node. */
static const char *io_discard_mode(const char *word)
{
    static const struct {
        const char *word, *mode;
    } modes[] = {{"ignore", "ignore"}, {"off", "ignore"}, {"unmap", "unmap"}, {"on", "unmap"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (g_str_equal(modes[i].word, word)) {
            return modes[i].mode;
        }
    }
    return NULL;
}

/* False: a word is none of those that there are. */
static bool io_check(const IoOpen *how, GError **err)
{
    static const char *const engines[] = {"threads", "native", "io_uring", NULL};
    BlockCache cache;

    if (how->open.cache && !block_cache_parse(how->open.cache, &cache, NULL)) {
        return error_set(err, "Invalid cache option: %s", how->open.cache);
    }
    if (how->discard && !io_discard_mode(how->discard)) {
        return error_set(err, "Invalid discard option: %s", how->discard);
    }
    if (how->open.aio && !g_strv_contains(engines, how->open.aio)) {
        return error_set(err, "Invalid aio option: %s", how->open.aio);
    }
    if (how->open.image_opts && how->open.format) {
        return error_set(err, "--image-opts and --format are mutually exclusive");
    }
    return true;
}

static bool coroutine_fn io_open(IoTool *t, const char *name, const IoOpen *how, GError **err)
{
    json_auto_t *tree = NULL;
    /* What is not written needs no temporary file. */
    bool temporary = how->temporary && how->open.writable;
    unsigned flags;
    BlockNode *n;

    if (!io_check(how, err)) {
        return false;
    }
    tree = img_open_tree(name, &how->open, err);
    if (tree) {
        if (temporary) {
            json_object_set_new(tree, "read-only", json_true());
        }
        if (!json_object_get(tree, "discard")) { /* of --image-opts */
            json_object_set_new(
                tree, "discard",
                json_string(how->discard ? io_discard_mode(how->discard) : "unmap"));
        }
        json_object_update_recursive(tree, how->options);
    }
    flags = BLOCK_IMAGE_RESIZES | (temporary ? BLOCK_IMAGE_TEMPORARY : 0) |
            (how->copy_on_read ? BLOCK_IMAGE_COPY_ON_READ : 0);
    n = tree ? block_image_open(tree, flags, err) : NULL;
    if (!n) {
        if (name) {
            g_prefix_error(err, "can't open device %s: ", name);
        }
        return false;
    }
    if (temporary) {
        json_object_set_new(tree, "read-only", json_false()); /* the temporary file is not */
    }
    t->node = n;
    t->image = how->copy_on_read ? n->file : n;
    t->config = g_steal_pointer(&tree);
    t->session.node = t->node;
    return true;
}

/* False: what closing had to write was not written, and the error was printed. */
static bool coroutine_fn io_close(IoTool *t)
{
    unsigned errors;

    io_session_settle(&t->session);
    errors = log_error_count();
    t->session.node = NULL;
    if (t->node) {
        block_node_unref(g_steal_pointer(&t->node));
    }
    json_decref(g_steal_pointer(&t->config));
    return log_error_count() == errors;
}

static int coroutine_fn io_close_command(IoSession *s, const IoCall *c)
{
    return io_close(io_tool_of(s)) ? 0 : -EIO;
}

static int coroutine_fn io_quit_command(IoSession *s, const IoCall *c)
{
    io_tool_of(s)->quit = true;
    return 0;
}

static int coroutine_fn io_open_command(IoSession *s, const IoCall *c)
{
    IoTool *t = io_tool_of(s);
    json_auto_t *options = NULL;
    GError *err = NULL;
    IoOpen how = {
        .open = {.cache = c->has['n'] && !c->has['t'] ? "none" : c->value['t'],
                 .aio = c->has['k'] ? "native" : c->value['i'],
                 .writable = !c->has['r'],
                 .force_share = c->has['U']},
        .discard = c->value['d'],
        .temporary = c->has['s'],
        .copy_on_read = c->has['C'],
    };

    if (t->node) {
        error_set(&err, "file open already, try 'help close'");
        return io_fail(s, err, -EBUSY);
    }
    if (c->n > 1 || (c->n == 0 && !c->has['o'])) {
        return io_usage(s, c->command);
    }
    if (c->has['o']) {
        options = keyval_parse(c->value['o'], NULL, NULL, true, &err);
        if (!options) {
            return io_fail(s, err, -EINVAL);
        }
    }
    how.options = options;
    if (!io_open(t, c->n ? c->operands[0] : NULL, &how, &err)) {
        return io_fail(s, err, -EINVAL);
    }
    return 0;
}

/* Other options for the open image: those that are not named stay as they are. */
static int coroutine_fn io_reopen_command(IoSession *s, const IoCall *c)
{
    IoTool *t = io_tool_of(s);
    BlockNode *image = t->image;
    json_auto_t *config = json_deep_copy(t->config), *options = NULL, *all = NULL;
    GError *err = NULL;

    if (c->has['r'] && c->has['w']) {
        error_set(&err, "Only one -r/-w option may be given");
        return io_fail(s, err, -EINVAL);
    }
    if (c->n) {
        return io_usage(s, c->command);
    }
    if (c->has['o']) {
        options = keyval_parse(c->value['o'], NULL, NULL, true, &err);
        if (!options) {
            return io_fail(s, err, -EINVAL);
        }
    }
    if (c->has['c']) {
        BlockCache cache;

        if (!block_cache_parse(c->value['c'], &cache, NULL)) {
            error_set(&err, "Invalid cache option: %s", c->value['c']);
            return io_fail(s, err, -EINVAL);
        }
        json_object_set_new(
            config, "cache",
            json_pack("{s:b,s:b}", "direct", cache.direct, "no-flush", cache.no_flush));
    }
    if (c->has['r'] || c->has['w']) {
        json_object_set_new(config, "read-only", json_boolean(c->has['r']));
    }
    if (options) {
        json_object_update_recursive(config, options);
    }
    json_object_set_new(config, "driver", json_string(image->driver->name));
    json_object_set_new(config, "node-name", json_string(image->opts.node_name));
    json_object_del(config, "file");
    if (image->backing) {
        json_object_set_new(config, "backing", json_string(image->backing->opts.node_name));
    }
    all = json_pack("[O]", config);
    if (!block_reopen(all, &err)) {
        return io_fail(s, err, -EINVAL);
    }
    json_object_update(t->config, config);
    return 0;
}

static const IoCommand io_command_open = {
    .name = "open",
    .short_name = "o",
    .letters = "Cd:i:kno:rst:U",
    .min = 1,
    .max = -1,
    .operands = -1,
    .without_file = true,
    .synopsis = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
    .help = "open the file specified by path",
    .details = "\n Example:\n 'open -n -o driver=raw /tmp/data' - opens raw data file read-write, "
               "uncached\n\n"
               " -r, -- open file read-only\n"
               " -s, -- writes go to a temporary file\n"
               " -C, -- copy into the image what is read from a backing file\n"
               " -n, -- disable host cache, short for -t none\n"
               " -U, -- others may use the file as well\n"
               " -k, -- short for -i native\n"
               " -i, -- the engine: threads, native or io_uring\n"
               " -t, -- the cache mode\n"
               " -d, -- what discard does: ignore or unmap\n"
               " -o, -- options of the driver: driver=qcow2,lazy-refcounts=on\n",
    .run = io_open_command,
};

static const IoCommand io_command_close = {
    .name = "close",
    .short_name = "c",
    .letters = "",
    .synopsis = "",
    .help = "close the current open file",
    .run = io_close_command,
};

static const IoCommand io_command_reopen = {
    .name = "reopen",
    .letters = "c:o:rw",
    .max = -1,
    .operands = -1,
    .synopsis = "[(-r|-w)] [-c cache] [-o options]",
    .help = "reopens an image with new options",
    .details = "\n Example:\n 'reopen -o lazy-refcounts=on' - from here on without waiting for "
               "refcounts\n\n"
               " -r, -- read-only\n"
               " -w, -- read-write\n"
               " -c, -- the cache mode\n"
               " -o, -- options of the driver (see 'help open')\n",
    .run = io_reopen_command,
};

static const IoCommand io_command_quit = {
    .name = "quit",
    .short_name = "q",
    .letters = "",
    .without_file = true,
    .synopsis = "",
    .help = "exit the program",
    .run = io_quit_command,
};

static const IoCommand *const io_tool_commands[] = {
    &io_command_open, &io_command_close, &io_command_reopen, &io_command_quit, NULL,
};

/* Lines: those of -c, or of standard input. */

typedef struct {
    char *text;
    size_t size;
} IoLine;

static int io_read_line(void *data)
{
    IoLine *line = data;

    return getline(&line->text, &line->size, stdin) < 0 ? -1 : 0;
}

/* A worker waits for the line: requests go on meanwhile. */
static void coroutine_fn io_run_input(IoTool *t)
{
    IoLine line = {0};

    while (!t->quit) {
        printf("%s> ", log_program_name());
        fflush(stdout);
        if (co_pool_run(io_read_line, &line) < 0) {
            break;
        }
        io_session_run(&t->session, line.text);
    }
    free(line.text);
}

static void coroutine_fn io_run_lines(IoTool *t)
{
    for (guint i = 0; i < t->lines->len && !t->quit; i++) {
        if (io_session_run(&t->session, t->lines->pdata[i]) < 0) {
            t->status = 1;
        }
        fflush(stdout);
    }
}

typedef struct {
    IoTool *tool;
    const char *file; /* may be NULL */
} IoStart;

static void coroutine_fn io_main(void *data)
{
    IoStart *start = data;
    IoTool *t = start->tool;
    GError *err = NULL;

    if (start->file && !io_open(t, start->file, &t->how, &err)) {
        t->status = img_fail(err, NULL);
    } else if (t->lines->len) {
        io_run_lines(t);
    } else {
        io_run_input(t);
    }
    if (!io_close(t)) {
        t->status = 1;
    }
    t->over = true;
}

/* The program's options. */

static bool io_option_command(void *args, const char *text)
{
    g_ptr_array_add(((IoTool *)args)->lines, (gpointer)text);
    return true;
}

static bool io_option_nocache(void *args, const char *text)
{
    ((IoTool *)args)->how.open.cache = "none";
    return true;
}

static bool io_option_native(void *args, const char *text)
{
    ((IoTool *)args)->how.open.aio = "native";
    return true;
}

static bool io_option_version(void *args, const char *text)
{
    if (g_str_equal(log_program_name(), "qemu-io")) {
        printf("qemu-io version " QEMU_VERSION " (vmm " VMM_VERSION ")\n");
    } else {
        printf("%s version " VMM_VERSION " (speaks qemu-io " QEMU_VERSION "'s commands)\n",
               log_program_name());
    }
    ((IoTool *)args)->over = true;
    return true;
}

static const ImgOption io_options[] = {
    IMG_OPT_OBJECT,
    IMG_OPT_FLAG(0, "image-opts", IoTool, how.open.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_CALL('c', "cmd", "command", io_option_command, "carry out a command ('-c help': all)"),
    IMG_OPT_TEXT('f', "format", "fmt", IoTool, how.open.format, IMG_HELP_FORMAT),
    IMG_OPT_FLAG('r', "read-only", IoTool, read_only, "nothing is written"),
    IMG_OPT_FLAG('s', "snapshot", IoTool, how.temporary, "writes go to a temporary file"),
    IMG_OPT_CALL('n', "nocache", NULL, io_option_nocache, "short for -t none"),
    IMG_OPT_FLAG('C', "copy-on-read", IoTool, how.copy_on_read,
                 "copy into the image what is read from a backing file"),
    IMG_OPT_FLAG('m', "misalign", IoTool, session.misalign, "buffers are not aligned for O_DIRECT"),
    IMG_OPT_CALL('k', "native-aio", NULL, io_option_native, "short for -i native"),
    IMG_OPT_TEXT('i', "aio", "engine", IoTool, how.open.aio, "threads, native or io_uring"),
    IMG_OPT_TEXT('t', "cache", "mode", IoTool, how.open.cache, "the cache mode (writeback)"),
    IMG_OPT_TEXT('d', "discard", "mode", IoTool, how.discard,
                 "what discard does: ignore or unmap (that is the default)"),
    IMG_OPT_CALL(0, IMG_NO_NAMED_FILES, NULL, img_option_no_named_files, IMG_HELP_NO_NAMED_FILES),
    IMG_OPT_TRACE,
    IMG_OPT_FLAG('U', "force-share", IoTool, how.open.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_CALL('V', "version", NULL, io_option_version, "version information"),
    IMG_OPT_END,
};

static const ImgCommand io_program = {
    NULL,     io_options,
    "[file]", "Reads and writes a disk image by commands: those of -c, or lines of standard input.",
    NULL,
};

static int io_start(int argc, char **argv, IoTool *t)
{
    IoStart start = {.tool = t};

    if (!img_parse(&io_program, argc, argv, t, &t->status) || t->over) {
        return t->over ? 0 : t->status;
    }
    t->status = 0;
    t->how.open.writable = !t->read_only;
    if (optind < argc - 1) {
        return img_usage("Expecting at most one image file name");
    }
    start.file = optind < argc ? argv[optind] : NULL;
    io_session_init(&t->session);
    coroutine_start(io_main, &start);
    while (!t->over) {
        event_loop_iterate(event_loop_current(), -1);
    }
    io_session_destroy(&t->session);
    return t->status;
}

static int io_run(int argc, char **argv)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    IoTool tool = {
        .session = {.print = io_tool_print,
                    .complain = io_tool_complain,
                    .fail = io_tool_fail,
                    .more = io_tool_commands},
        .lines = lines,
    };

    return io_start(argc, argv, &tool);
}

int main(int argc, char **argv)
{
    return img_main(argc, argv, io_run);
}

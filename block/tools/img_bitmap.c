/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img bitmap: the dirty bitmaps inside an image; and convert's copies of them. */
#include "block/dirty_bitmap.h"
#include "img.h"

enum { NOTHING, ADD, REMOVE, CLEAR, ENABLE, DISABLE, MERGE };
static const char *const action_names[] = {"",       "add",     "remove", "clear",
                                           "enable", "disable", "merge"};

typedef struct {
    int kind;
    const char *source; /* of MERGE */
} BitmapAction;

typedef struct {
    ImgOpen how;
    const char *source_file, *source_format, *granularity_text;
    uint64_t granularity;
    bool add, disable;
    GArray *actions; /* of BitmapAction, in their order */
} BitmapArgs;

static bool bitmap_action(void *args, int kind, const char *source)
{
    BitmapArgs *a = args;
    BitmapAction action = {kind, source};

    a->add = a->add || kind == ADD;
    a->disable = a->disable || kind == DISABLE;
    g_array_append_val(a->actions, action);
    return true;
}

#define BITMAP_OPTION(name, kind)                                                                  \
    static bool bitmap_option_##name(void *args, const char *text)                                 \
    {                                                                                              \
        return bitmap_action(args, kind, text);                                                    \
    }
BITMAP_OPTION(add, ADD)
BITMAP_OPTION(remove, REMOVE)
BITMAP_OPTION(clear, CLEAR)
BITMAP_OPTION(enable, ENABLE)
BITMAP_OPTION(disable, DISABLE)
BITMAP_OPTION(merge, MERGE)

static bool bitmap_option_granularity(void *args, const char *text)
{
    BitmapArgs *a = args;

    a->granularity_text = text;
    return img_parse_number_in(text, "granularity", 0, INT64_MAX, &a->granularity);
}

static const ImgOption bitmap_options[] = {
    IMG_OPT_CALL(0, "merge", "source", bitmap_option_merge, "add the bits of another bitmap"),
    IMG_OPT_CALL(0, "add", NULL, bitmap_option_add,
                 "make the bitmap, which records (with --disable: not)"),
    IMG_OPT_CALL(0, "remove", NULL, bitmap_option_remove, "take the bitmap away"),
    IMG_OPT_CALL(0, "clear", NULL, bitmap_option_clear, "clear all of its bits"),
    IMG_OPT_CALL(0, "enable", NULL, bitmap_option_enable, "record from now on"),
    IMG_OPT_CALL(0, "disable", NULL, bitmap_option_disable, "record no more"),
    IMG_OPT_TEXT('b', "source-file", "source_file", BitmapArgs, source_file,
                 "the image that --merge's bitmap is in (this one)"),
    IMG_OPT_TEXT('F', "source-format", "source_fmt", BitmapArgs, source_format,
                 "format of that image"),
    IMG_OPT_CALL('g', "granularity", "granularity", bitmap_option_granularity,
                 "bytes for one bit of a new bitmap"),
    IMG_OPT_TEXT('f', NULL, "fmt", BitmapArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_FLAG(0, "image-opts", BitmapArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

/* --- what is done to a bitmap --- */

typedef struct {
    BlockNode *n, *source;
    const char *name;
    const BitmapArgs *args;
    const BitmapAction *action;
    GError *err;
} BitmapRun;

static BlockDirtyBitmap *bitmap_find(BlockNode *n, const char *name, unsigned check, GError **err)
{
    BlockDirtyBitmap *b = block_dirty_bitmap_find(n, name);

    if (!b) {
        error_set(err, "Dirty bitmap '%s' not found", name);
        return NULL;
    }
    return block_dirty_bitmap_check(b, check, err) ? b : NULL;
}

static bool coroutine_fn bitmap_add(BlockNode *n, const char *name, uint64_t granularity,
                                    bool enabled, GError **err)
{
    BlockDirtyBitmap *b = NULL;

    if (!*name) {
        return error_set(err, "Bitmap name cannot be empty");
    }
    if (granularity && (granularity < 512 || !is_power_of_2(granularity))) {
        return error_set(err, "Granularity must be power of 2 and at least 512");
    }
    if (block_dirty_bitmap_find(n, name)) {
        return error_set(err, "Bitmap already exists: %s", name);
    }
    if (block_dirty_bitmap_can_store(n, name, granularity, err)) {
        b = block_dirty_bitmap_new(n, name, granularity, err);
    }
    if (b) {
        block_dirty_bitmap_enable(b, enabled);
        block_dirty_bitmap_set_persistent(b, true);
    }
    return b != NULL;
}

static bool bitmap_merge(BlockNode *n, const char *name, BlockNode *source, const char *from,
                         GError **err)
{
    BlockDirtyBitmap *into = bitmap_find(n, name, BITMAP_CHECK_ALL, err);
    BlockDirtyBitmap *b = NULL;

    if (into) {
        b = bitmap_find(source, from, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT, err);
    }
    return b && block_dirty_bitmap_merge(into, b, err);
}

static bool coroutine_fn bitmap_do(BitmapRun *r)
{
    int kind = r->action->kind;
    unsigned check = kind == CLEAR    ? BITMAP_CHECK_ALL
                     : kind == REMOVE ? BITMAP_CHECK_BUSY | BITMAP_CHECK_READ_ONLY
                                      : BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT;
    BlockDirtyBitmap *b;

    if (kind == ADD) {
        return bitmap_add(r->n, r->name, r->args->granularity, !r->args->disable, &r->err);
    }
    if (kind == MERGE) {
        return bitmap_merge(r->n, r->name, r->source, r->action->source, &r->err);
    }
    b = bitmap_find(r->n, r->name, check, &r->err);
    if (!b) {
        return false;
    }
    if (kind == REMOVE) {
        return block_dirty_bitmap_remove(b, &r->err);
    }
    if (kind == CLEAR) {
        block_dirty_bitmap_clear(b);
    } else {
        block_dirty_bitmap_enable(b, kind == ENABLE);
    }
    return true;
}

static int coroutine_fn bitmap_fn(void *data)
{
    return bitmap_do(data) ? 0 : -1;
}

static int bitmap_run_actions(const BitmapArgs *a, BlockNode *n, BlockNode *source,
                              const char *name)
{
    for (unsigned i = 0; i < a->actions->len; i++) {
        BitmapRun r = {.n = n,
                       .source = source ? source : n,
                       .name = name,
                       .args = a,
                       .action = &g_array_index(a->actions, BitmapAction, i)};

        if (block_run(bitmap_fn, &r) < 0) {
            g_autofree char *context = g_strdup_printf("Operation %s on bitmap %s failed",
                                                       action_names[r.action->kind], name);

            return img_fail(r.err, context);
        }
    }
    return 0;
}

static const char *bitmap_conflict(const BitmapArgs *a, bool merges, int operands)
{
    if (!a->actions->len) {
        return "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge";
    }
    if (operands != 2) {
        return "Expecting filename and bitmap name";
    }
    if (a->granularity_text && !a->add) {
        return "granularity only supported with --add";
    }
    if (a->source_format && !a->source_file) {
        return "-F only supported with -b";
    }
    if (a->source_file && !merges) {
        return "Merge bitmap source file only supported with --merge";
    }
    return NULL;
}

static int bitmap_images(BitmapArgs *a, const char *filename, const char *name)
{
    ImgOpen source_how = {.format = a->source_format, .no_backing = true};
    BlockNode *source = NULL, *n = img_open(filename, &a->how);
    int status = 1;

    if (n && a->source_file) {
        source = img_open(a->source_file, &source_how);
    }
    if (n && (source || !a->source_file)) {
        status = bitmap_run_actions(a, n, source, name);
    }
    block_node_unref(source);
    block_node_unref(n);
    return status;
}

static int bitmap_run(int argc, char **argv)
{
    g_autoptr(GArray) actions = g_array_new(FALSE, TRUE, sizeof(BitmapAction));
    BitmapArgs a = {.actions = actions, .how = {.writable = true, .no_backing = true}};
    const char *conflict;
    bool merges = false;
    int status;

    if (!img_parse(&img_command_bitmap, argc, argv, &a, &status)) {
        return status;
    }
    for (unsigned i = 0; i < actions->len; i++) {
        merges = merges || g_array_index(actions, BitmapAction, i).kind == MERGE;
    }
    /* --add --disable makes a bitmap that does not record: one action. */
    for (unsigned i = 0; a.add && i < actions->len;) {
        if (g_array_index(actions, BitmapAction, i).kind == DISABLE) {
            g_array_remove_index(actions, i);
        } else {
            i++;
        }
    }
    conflict = bitmap_conflict(&a, merges, argc - optind);
    if (conflict) {
        log_error("%s", conflict);
        return 1;
    }
    return bitmap_images(&a, argv[optind], argv[optind + 1]);
}

const ImgCommand img_command_bitmap = {
    "bitmap", bitmap_options, "filename bitmap", "The dirty bitmaps inside an image.", bitmap_run,
};

/* --- convert --bitmaps --- */

bool img_bitmaps_possible(BlockNode *source, bool skip_broken)
{
    if (!source->driver->can_store_bitmap) {
        log_error("Source lacks bitmap support");
        return false;
    }
    for (BlockDirtyBitmap *b = NULL; (b = block_dirty_bitmap_next(source, b));) {
        if (block_dirty_bitmap_inconsistent(b) && !skip_broken) {
            log_error("Cannot copy inconsistent bitmap '%s'", block_dirty_bitmap_name(b));
            fprintf(stderr, "Try --skip-broken-bitmaps, or use '%s bitmap --remove'\n",
                    log_program_name());
            return false;
        }
    }
    return true;
}

typedef struct {
    BlockNode *from, *to;
    GError *err;
} BitmapCopy;

static bool coroutine_fn bitmap_copy(BitmapCopy *c, BlockDirtyBitmap *b)
{
    const char *name = block_dirty_bitmap_name(b);
    BlockDirtyBitmap *copy;

    if (!bitmap_add(c->to, name, block_dirty_bitmap_granularity(b), false, &c->err)) {
        block_error_prefix(&c->err, "Failed to create bitmap %s", name);
        return false;
    }
    if (!bitmap_merge(c->to, name, c->from, name, &c->err)) {
        block_error_prefix(&c->err, "Failed to populate bitmap %s", name);
        return false;
    }
    copy = block_dirty_bitmap_find(c->to, name);
    block_dirty_bitmap_enable(copy, block_dirty_bitmap_enabled(b));
    return true;
}

/* The newest comes first: the oldest is copied first. */
static int coroutine_fn bitmap_copy_fn(void *data)
{
    BitmapCopy *c = data;
    g_autoptr(GPtrArray) list = g_ptr_array_new();

    for (BlockDirtyBitmap *b = NULL; (b = block_dirty_bitmap_next(c->from, b));) {
        if (block_dirty_bitmap_persistent(b)) {
            g_ptr_array_insert(list, 0, b);
        }
    }
    for (unsigned i = 0; i < list->len; i++) {
        BlockDirtyBitmap *b = g_ptr_array_index(list, i);

        if (block_dirty_bitmap_inconsistent(b)) {
            log_warn("Skipping inconsistent bitmap '%s'", block_dirty_bitmap_name(b));
        } else if (!bitmap_copy(c, b)) {
            return -1;
        }
    }
    return 0;
}

bool img_copy_bitmaps(BlockNode *from, BlockNode *to)
{
    BitmapCopy c = {.from = from, .to = to};

    if (block_run(bitmap_copy_fn, &c) < 0) {
        img_fail(c.err, NULL);
        return false;
    }
    return true;
}

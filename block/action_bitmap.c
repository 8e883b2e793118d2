/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Actions on dirty bitmaps. The words of errors are QEMU's. */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "action.h"
#include "core.h"

typedef struct {
    BlockAction base;
    BlockNode *node; /* drained until the end, which keeps it */
    const char *name;
    BlockDirtyBitmap *bitmap; /* look at it by bitmap_still_there() */
    DirtyBits *before;        /* what was changed, to be put back */
    bool was_enabled, done;
} BitmapAction;

const Property block_bitmap_args[] = {MEMBER("node", PROP_STRING, .help = "a drive, or a node"),
                                      MEMBER("name", PROP_STRING, .help = "of the bitmap"),
                                      PROP_END};
const Property block_bitmap_add_args[] = {
    MEMBER("node", PROP_STRING, .help = "a drive, or a node"),
    MEMBER("name", PROP_STRING, .help = "of the bitmap, which no other of the node has"),
    MAYBE("granularity", PROP_UINT32, .help = "bytes for which a bit stands"),
    MAYBE("persistent", PROP_BOOL, .help = "kept in the image"),
    MAYBE("disabled", PROP_BOOL, .help = "records nothing yet"),
    PROP_END};
const Property block_bitmap_merge_args[] = {
    MEMBER("node", PROP_STRING, .help = "a drive, or a node"),
    MEMBER("target", PROP_STRING, .help = "the bitmap that gets the others' bits"),
    MEMBER_LIST("bitmaps", PROP_TREE, .shape = &bitmap_or_name_shape,
                .help = "bitmaps of the node, or of others"),
    PROP_END};
static const PropertyShape add_shape = {.name = "BlockDirtyBitmapAdd",
                                        .members = block_bitmap_add_args};
static const PropertyShape merge_shape = {.name = "BlockDirtyBitmapMerge",
                                          .members = block_bitmap_merge_args};

static bool coroutine_fn bitmap_node(BitmapAction *s, GError **err)
{
    const char *node = json_str(s->base.args, "node");

    s->node = block_action_node(&s->base, node, node, NULL);
    return s->node ? true : error_set(err, "Node '%s' not found", node);
}

static bool bitmap_find(BitmapAction *s, const char *name, unsigned what, GError **err)
{
    s->name = name;
    s->bitmap = block_dirty_bitmap_find(s->node, name);
    if (!s->bitmap) {
        return error_set(err, "Dirty bitmap '%s' not found", name);
    }
    return block_dirty_bitmap_check(s->bitmap, what, err);
}

static bool coroutine_fn bitmap_begin(BitmapAction *s, unsigned what, GError **err)
{
    return bitmap_node(s, err) && bitmap_find(s, json_str(s->base.args, "name"), what, err);
}

/* Somebody else may have removed the bitmap while the transaction waited. */
static bool bitmap_still_there(BitmapAction *s)
{
    return s->done && block_dirty_bitmap_find(s->node, s->name) == s->bitmap;
}

static bool coroutine_fn bitmap_add(BitmapAction *s, GError **err)
{
    json_t *args = s->base.args;
    uint64_t granularity = json_integer_value(json_object_get(args, "granularity"));
    bool persistent = json_is_true(json_object_get(args, "persistent"));

    if (persistent && !block_dirty_bitmap_can_store(s->node, s->name, granularity, err)) {
        return false;
    }
    s->bitmap = block_dirty_bitmap_new(s->node, s->name, granularity, err);
    if (!s->bitmap) {
        return false;
    }
    block_dirty_bitmap_enable(s->bitmap, !json_is_true(json_object_get(args, "disabled")));
    block_dirty_bitmap_set_persistent(s->bitmap, persistent);
    return true;
}

static bool coroutine_fn add_prepare(BlockAction *a, GError **err)
{
    BitmapAction *s = (BitmapAction *)a;
    const char *node = json_str(a->args, "node");
    json_t *granularity = json_object_get(a->args, "granularity");

    s->node = block_action_node(a, node, node, err);
    if (!s->node) {
        return false;
    }
    s->name = json_str(a->args, "name");
    if (!*s->name) {
        return error_set(err, "Bitmap name cannot be empty");
    }
    if (granularity && (json_integer_value(granularity) < BLOCK_SECTOR_SIZE ||
                        !is_power_of_2(json_integer_value(granularity)))) {
        return error_set(err, "Granularity must be power of 2 and at least 512");
    }
    s->done = bitmap_add(s, err);
    return s->done;
}

static void coroutine_fn add_abort(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;

    if (bitmap_still_there(s)) {
        block_dirty_bitmap_free(s->bitmap);
    }
}

/* Busy: nobody else begins to use the bitmap. It goes when nothing can fail any more. */
static bool coroutine_fn remove_prepare(BlockAction *a, GError **err)
{
    BitmapAction *s = (BitmapAction *)a;

    s->done = bitmap_begin(s, BITMAP_CHECK_BUSY | BITMAP_CHECK_READ_ONLY, err);
    if (s->done) {
        block_dirty_bitmap_set_busy(s->bitmap, true);
    }
    return s->done;
}

static void coroutine_fn remove_abort(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;

    if (s->done) {
        block_dirty_bitmap_set_busy(s->bitmap, false);
    }
}

static void coroutine_fn remove_commit(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;
    g_autoptr(GError) err = NULL;

    block_dirty_bitmap_set_busy(s->bitmap, false);
    if (!block_dirty_bitmap_remove(s->bitmap, &err)) {
        log_error("Dirty bitmap '%s' stays in the image of '%s': %s", s->name,
                  s->node->opts.node_name, err->message);
    }
}

static bool coroutine_fn clear_prepare(BlockAction *a, GError **err)
{
    BitmapAction *s = (BitmapAction *)a;

    s->done = bitmap_begin(s, BITMAP_CHECK_ALL, err);
    if (s->done) {
        s->before = block_dirty_bitmap_copy(s->bitmap);
        block_dirty_bitmap_clear(s->bitmap);
    }
    return s->done;
}

static void coroutine_fn bits_abort(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;

    if (bitmap_still_there(s)) {
        block_dirty_bitmap_restore(s->bitmap, g_steal_pointer(&s->before));
    }
}

static void coroutine_fn bits_clean(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;

    if (s->before) {
        block_dirty_bitmap_copy_free(s->before);
    }
}

static bool coroutine_fn enable_prepare(BitmapAction *s, bool on, GError **err)
{
    s->done = bitmap_begin(s, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT, err);
    if (s->done) {
        s->was_enabled = block_dirty_bitmap_enabled(s->bitmap);
        block_dirty_bitmap_enable(s->bitmap, on);
    }
    return s->done;
}

static bool coroutine_fn on_prepare(BlockAction *a, GError **err)
{
    return enable_prepare((BitmapAction *)a, true, err);
}

static bool coroutine_fn off_prepare(BlockAction *a, GError **err)
{
    return enable_prepare((BitmapAction *)a, false, err);
}

static void coroutine_fn enable_abort(BlockAction *a)
{
    BitmapAction *s = (BitmapAction *)a;

    if (bitmap_still_there(s)) {
        block_dirty_bitmap_enable(s->bitmap, s->was_enabled);
    }
}

/* The i-th source of a merge. */
static BlockDirtyBitmap *merge_source(BitmapAction *s, json_t *source, GError **err)
{
    const char *name =
        json_is_string(source) ? json_string_value(source) : json_str(source, "name");
    const char *node = json_is_string(source) ? NULL : json_str(source, "node");
    BlockNode *n = node ? block_lookup_node(node, node, NULL) : s->node;
    BlockDirtyBitmap *b;

    if (!n) {
        error_set(err, "Node '%s' not found", node);
        return NULL;
    }
    b = block_dirty_bitmap_find(n, name);
    if (!b) {
        error_set(err, "Dirty bitmap '%s' not found", name);
        return NULL;
    }
    return block_dirty_bitmap_check(b, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT, err) ? b
                                                                                           : NULL;
}

/* All are checked before the first is merged. From the first check on nothing waits. */
static bool coroutine_fn merge_prepare(BlockAction *a, GError **err)
{
    BitmapAction *s = (BitmapAction *)a;
    json_t *sources = json_object_get(a->args, "bitmaps"), *source;
    size_t i;

    if (!bitmap_node(s, err) || !bitmap_find(s, json_str(a->args, "target"), 0, err)) {
        return false;
    }
    json_array_foreach(sources, i, source)
    {
        BlockDirtyBitmap *from = merge_source(s, source, err);

        if (!from || !block_dirty_bitmap_can_merge(s->bitmap, from, err)) {
            return false;
        }
    }
    if (!block_dirty_bitmap_check(s->bitmap, BITMAP_CHECK_ALL, err)) {
        return false;
    }
    s->before = block_dirty_bitmap_copy(s->bitmap);
    s->done = true;
    json_array_foreach(sources, i, source)
    {
        block_dirty_bitmap_merge(s->bitmap, merge_source(s, source, NULL), NULL);
    }
    return true;
}

const BlockActionClass block_action_bitmap_add = {
    .name = "block-dirty-bitmap-add",
    .args = &add_shape,
    .size = sizeof(BitmapAction),
    .prepare = add_prepare,
    .abort = add_abort,
};
const BlockActionClass block_action_bitmap_remove = {
    .name = "block-dirty-bitmap-remove",
    .args = &block_dirty_bitmap_shape,
    .size = sizeof(BitmapAction),
    .prepare = remove_prepare,
    .commit = remove_commit,
    .abort = remove_abort,
};
const BlockActionClass block_action_bitmap_clear = {
    .name = "block-dirty-bitmap-clear",
    .args = &block_dirty_bitmap_shape,
    .size = sizeof(BitmapAction),
    .prepare = clear_prepare,
    .abort = bits_abort,
    .clean = bits_clean,
};
const BlockActionClass block_action_bitmap_enable = {
    .name = "block-dirty-bitmap-enable",
    .args = &block_dirty_bitmap_shape,
    .size = sizeof(BitmapAction),
    .prepare = on_prepare,
    .abort = enable_abort,
};
const BlockActionClass block_action_bitmap_disable = {
    .name = "block-dirty-bitmap-disable",
    .args = &block_dirty_bitmap_shape,
    .size = sizeof(BitmapAction),
    .prepare = off_prepare,
    .abort = enable_abort,
};
const BlockActionClass block_action_bitmap_merge = {
    .name = "block-dirty-bitmap-merge",
    .args = &merge_shape,
    .size = sizeof(BitmapAction),
    .prepare = merge_prepare,
    .abort = bits_abort,
    .clean = bits_clean,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps of block nodes. */
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/dirty_bitmap.h"
#include "block/transaction.h"
#include "commands.h"

/* By the id of a drive, else by its own name; NULL: there is none, or no medium. */
static BlockNode *find_node(const char *name)
{
    BlockBackend *blk = block_backend_find(name);

    return blk ? block_backend_node(blk) : block_node_find(name);
}

static BlockDirtyBitmap *find_bitmap(const char *node, const char *name, GError **err)
{
    BlockNode *n = find_node(node);
    BlockDirtyBitmap *b;

    if (!n) {
        error_set(err, "Node '%s' not found", node);
        return NULL;
    }
    b = block_dirty_bitmap_find(n, name);
    if (!b) {
        error_set(err, "Dirty bitmap '%s' not found", name);
    }
    return b;
}

/* The bitmap that the arguments name, which can be used as 'what' asks. */
static BlockDirtyBitmap *named_bitmap(json_t *args, unsigned what, GError **err)
{
    BlockDirtyBitmap *b = find_bitmap(json_str(args, "node"), json_str(args, "name"), err);

    return b && block_dirty_bitmap_check(b, what, err) ? b : NULL;
}

#define ACTION(name, type)                                                                         \
    MONITOR_HANDLER(cmd_bitmap_##name)                                                             \
    {                                                                                              \
        return block_action_run(type, args, err) ? json_object() : NULL;                           \
    }
ACTION(add, "block-dirty-bitmap-add")
ACTION(remove, "block-dirty-bitmap-remove")
ACTION(clear, "block-dirty-bitmap-clear")
ACTION(enable, "block-dirty-bitmap-enable")
ACTION(disable, "block-dirty-bitmap-disable")
ACTION(merge, "block-dirty-bitmap-merge")

MONITOR_HANDLER(cmd_bitmap_sha256)
{
    BlockDirtyBitmap *b = named_bitmap(args, 0, err);
    g_autofree char *sum = b ? block_dirty_bitmap_sha256(b) : NULL;

    return b ? json_pack("{s:s}", "sha256", sum) : NULL;
}

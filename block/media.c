/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removable media. The host's changes wait in a drain; the device may have been unplugged, and the
 * guest or another monitor may have changed tray, lock and medium meanwhile. So each change checks
 * in the drain, and then does all without a wait.
 */
#include "block/media.h"

#include <errno.h>
#include "base/error.h"
#include "block/copy_on_read.h"
#include "block/image.h"
#include "block/job.h"
#include "core.h"

static BlockTrayHook tray_hook;
static void *tray_hook_data;

bool block_backend_removable(BlockBackend *blk)
{
    return !blk->device || (blk->ops && blk->ops->medium_changed);
}

static bool media_has_tray(BlockBackend *blk)
{
    return blk->ops && blk->ops->has_tray;
}

bool block_backend_tray_open(BlockBackend *blk)
{
    return __atomic_load_n(&blk->tray_open, __ATOMIC_SEQ_CST);
}

bool block_backend_medium_locked(BlockBackend *blk)
{
    return __atomic_load_n(&blk->medium_locked, __ATOMIC_SEQ_CST);
}

void block_backend_lock_medium(BlockBackend *blk, bool locked)
{
    if (__atomic_exchange_n(&blk->medium_locked, locked, __ATOMIC_SEQ_CST) != locked) {
        block_host_tray_follow(blk, BLOCK_TRAY_STAYS);
    }
}

static void tell_tray_hook(BlockBackend *blk, bool open)
{
    if (tray_hook) {
        tray_hook(blk, open, tray_hook_data);
    }
}

void block_backend_tray_moved(BlockBackend *blk, bool open)
{
    if (__atomic_exchange_n(&blk->tray_open, open, __ATOMIC_SEQ_CST) != open) {
        tell_tray_hook(blk, open);
        block_host_tray_follow(blk, open ? BLOCK_TRAY_OPENS : BLOCK_TRAY_CLOSES);
    }
}

void block_backend_set_tray_hook(BlockTrayHook hook, void *data)
{
    tray_hook = hook;
    tray_hook_data = data;
}

/* A tray that is open hides its medium. There may be no device. */
static bool media_tell(BlockBackend *blk, GError **err)
{
    bool loaded = blk->root && block_node_has_medium(blk->root) && !block_backend_tray_open(blk);

    return !blk->ops || !blk->ops->medium_changed ||
           blk->ops->medium_changed(blk->ops_data, loaded, err);
}

void block_media_tell(BlockBackend *blk)
{
    media_tell(blk, NULL);
}

/* False: the device does not take the medium, and the tray stays as it was. */
static bool media_move_tray(BlockBackend *blk, bool open, GError **err)
{
    bool was = __atomic_exchange_n(&blk->tray_open, open, __ATOMIC_SEQ_CST);

    if (!media_tell(blk, err)) {
        __atomic_store_n(&blk->tray_open, was, __ATOMIC_SEQ_CST);
        return false;
    }
    if (was != open) {
        tell_tray_hook(blk, open);
    }
    return true;
}

/* One change: check() comes before the drain, to fail early; then check() and change() in it. */
typedef struct {
    const char *who;
    bool force;
    BlockNode *node;  /* the medium that is inserted */
    BlockNode *taken; /* the one that was taken out, to be let go of after the drain */
} MediaChange;
typedef int (*MediaStep)(BlockBackend *blk, MediaChange *c, GError **err);

static int coroutine_fn media_change(BlockBackend *blk, MediaChange *c, MediaStep check,
                                     MediaStep change, GError **err)
{
    int ret = check(blk, c, err);

    if (ret < 0) {
        return ret;
    }
    block_backend_ref(blk);
    block_backend_drain_begin(blk);
    if (block_backend_listed(blk)) {
        ret = check(blk, c, err);
    } else {
        error_set(err, "The device was unplugged");
        ret = -ENODEV;
    }
    if (ret == 0) {
        ret = change(blk, c, err);
    }
    block_backend_drain_end(blk);
    block_backend_unref(blk);
    return ret;
}

static int check_removable(BlockBackend *blk, MediaChange *c, GError **err)
{
    if (block_backend_removable(blk)) {
        return 0;
    }
    error_set(err, "Device '%s' is not removable", c->who);
    return -ENOTSUP;
}

static int change_open(BlockBackend *blk, MediaChange *c, GError **err)
{
    if (!media_has_tray(blk) || block_backend_tray_open(blk)) {
        return 0;
    }
    if (c->force) {
        block_backend_lock_medium(blk, false);
    } else if (block_backend_medium_locked(blk)) {
        if (blk->ops->eject_request) {
            blk->ops->eject_request(blk->ops_data);
        }
        error_set(err,
                  "Device '%s' is locked and force was not specified, wait for tray "
                  "to open and try again",
                  c->who);
        return -EINPROGRESS;
    }
    media_move_tray(blk, true, NULL);
    return 0;
}

int coroutine_fn block_backend_open_tray(BlockBackend *blk, const char *who, bool force,
                                         GError **err)
{
    MediaChange c = {.who = who, .force = force};

    return media_change(blk, &c, check_removable, change_open, err);
}

static int change_close(BlockBackend *blk, MediaChange *c, GError **err)
{
    if (!media_has_tray(blk) || !block_backend_tray_open(blk)) {
        return 0;
    }
    return media_move_tray(blk, false, err) ? 0 : -EINVAL;
}

int coroutine_fn block_backend_close_tray(BlockBackend *blk, const char *who, GError **err)
{
    MediaChange c = {.who = who};

    return media_change(blk, &c, check_removable, change_close, err);
}

static bool node_has_backend(BlockNode *node)
{
    g_autoptr(GPtrArray) list = block_backend_list(node);

    return list->len != 0;
}

static int check_insert(BlockBackend *blk, MediaChange *c, GError **err)
{
    if (node_has_backend(c->node)) {
        error_set(err, "Node '%s' is already in use", c->node->opts.node_name);
        return -EBUSY;
    }
    if (!block_backend_removable(blk)) {
        error_set(err, "Device is not removable");
        return -ENOTSUP;
    }
    if (media_has_tray(blk) && !block_backend_tray_open(blk)) {
        error_set(err, "Tray of the device is not open");
        return -EBUSY;
    }
    if (blk->root) {
        error_set(err, "There already is a medium in the device");
        return -EEXIST;
    }
    return 0;
}

static int change_insert(BlockBackend *blk, MediaChange *c, GError **err)
{
    if (!block_backend_set_root(blk, c->node, err)) {
        return -EPERM;
    }
    if (!media_tell(blk, err)) {
        c->taken = block_backend_take_root(blk);
        return -EINVAL;
    }
    return 0;
}

int coroutine_fn block_backend_insert_medium(BlockBackend *blk, BlockNode *node, GError **err)
{
    MediaChange c = {.node = block_node_ref(node)};
    int ret = media_change(blk, &c, check_insert, change_insert, err);

    block_node_unref(c.taken);
    block_node_unref(node);
    return ret;
}

static int check_remove(BlockBackend *blk, MediaChange *c, GError **err)
{
    int ret = check_removable(blk, c, err);

    if (ret == 0 && media_has_tray(blk) && !block_backend_tray_open(blk)) {
        error_set(err, "Tray of device '%s' is not open", c->who);
        return -EBUSY;
    }
    if (ret == 0 && blk->root && !job_node_is_free(blk->root, err)) {
        return -EBUSY;
    }
    return ret;
}

static int change_remove(BlockBackend *blk, MediaChange *c, GError **err)
{
    c->taken = block_backend_take_root(blk);
    if (c->taken) {
        media_tell(blk, NULL);
    }
    return 0;
}

int coroutine_fn block_backend_remove_medium(BlockBackend *blk, const char *who, GError **err)
{
    MediaChange c = {.who = who};
    int ret = check_remove(blk, &c, err);

    if (ret < 0) {
        return ret;
    }
    block_backend_ref(blk);
    if (blk->root && !block_node_let_go(blk->root, err)) {
        ret = -EIO;
    } else if (!block_backend_listed(blk)) {
        error_set(err, "The device was unplugged");
        ret = -ENODEV;
    } else {
        ret = media_change(blk, &c, check_remove, change_remove, err);
    }
    block_backend_unref(blk);
    block_node_unref(c.taken); /* may close it, which waits */
    return ret;
}

const char *const block_medium_mode_names[] = {"retain", "read-only", "read-write", NULL};

/* The image is opened as the one was that it follows. */
static BlockNode *media_open_image(BlockBackend *blk, const char *filename, const char *format,
                                   BlockMediumMode mode, GError **err)
{
    bool read_only =
        mode == BLOCK_MEDIUM_RETAIN ? block_backend_read_only(blk) : mode == BLOCK_MEDIUM_READ_ONLY;
    BlockNode *old = block_backend_node(blk);
    bool copies = !read_only && old && block_copy_on_read_of_drive(old);
    json_auto_t *tree = block_image_config(filename, format, err);

    if (!tree) {
        return NULL;
    }
    json_object_set_new(tree, "read-only", json_boolean(read_only));
    if (old) {
        json_object_set_new(tree, "cache",
                            json_pack("{s:b,s:b}", "direct", old->opts.cache.direct, "no-flush",
                                      old->opts.cache.no_flush));
    }
    return block_node_open_unheld(tree, copies ? BLOCK_IMAGE_COPY_ON_READ : 0, err);
}

int coroutine_fn block_backend_change_medium(BlockBackend *blk, const char *who,
                                             const char *filename, const char *format,
                                             BlockMediumMode mode, bool force, GError **err)
{
    int ret = check_removable(blk, &(MediaChange){.who = who}, err);
    BlockNode *node;

    if (ret < 0) {
        return ret;
    }
    block_backend_ref(blk);
    node = media_open_image(blk, filename, format, mode, err);
    ret = node ? block_backend_open_tray(blk, who, force, err) : -EINVAL;
    if (ret == 0) {
        ret = block_backend_remove_medium(blk, who, err);
    }
    if (ret == 0) {
        ret = block_backend_insert_medium(blk, node, err);
    }
    if (ret == 0) {
        ret = block_backend_close_tray(blk, who, err);
    }
    block_node_unref(node);
    block_backend_unref(blk);
    return ret;
}

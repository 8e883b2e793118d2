/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trays and media of removable drives (block/media.h). */
#include <errno.h>

#include "base/error.h"
#include "base/json.h"
#include "block/graph.h"
#include "block/media.h"
#include "commands.h"
#include "hmp_edit.h"
#include "ui/vnc.h"

/* Arguments. */

#define MEDIA_DEVICE                                                                               \
    {.name = "device", .type = PROP_STRING, .help = "the drive, by the name of its -drive"},       \
    {                                                                                              \
        .name = "id", .type = PROP_STRING, .help = "or by its device"                              \
    }
#define MEDIA_FORCE                                                                                \
    {                                                                                              \
        .name = "force", .type = PROP_BOOL, .help = "even if the guest has locked it"              \
    }
#define MEDIA_FORMAT                                                                               \
    {                                                                                              \
        .name = "format", .type = PROP_STRING, .help = "of the image"                              \
    }
#define MEDIA_MODE                                                                                 \
    {                                                                                              \
        .name = "read-only-mode", .type = PROP_ENUM, .names = block_medium_mode_names,             \
        .help = "how the image is opened"                                                          \
    }
const Property tray_args[] = {MEDIA_DEVICE, PROP_END};
const Property open_tray_args[] = {MEDIA_DEVICE, MEDIA_FORCE, PROP_END};
const Property remove_medium_args[] = {MEMBER("id", PROP_STRING, .help = "the device"), PROP_END};
const Property insert_medium_args[] = {MEMBER("id", PROP_STRING, .help = "the device"),
                                       MEMBER("node-name", PROP_STRING, .help = "the medium"),
                                       PROP_END};
const Property change_medium_args[] = {
    MEDIA_DEVICE, MEMBER("filename", PROP_STRING, .help = "the image"),
    MEDIA_FORMAT, MEDIA_FORCE,
    MEDIA_MODE,   PROP_END};
const Property eject_hmp_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "even if the guest has locked it"},
    MONITOR_DRIVE("device", "the drive"),
    PROP_END};
const Property change_hmp_args[] = {
    MONITOR_DRIVE("device", "the drive, or 'vnc'"),
    {.name = "f", .type = PROP_BOOL, .help = "even if the guest has locked it"},
    MONITOR_FILE("filename", "the image"),
    MEDIA_FORMAT,
    MEDIA_MODE,
    PROP_END};

/*
 * The drive that 'device' (of -drive) or 'id' (of the device that has it) names. HMP has one word
 * for both. *who is the word.
 */
static BlockBackend *media_find(Monitor *mon, Vm *vm, json_t *args, const char **who, GError **err)
{
    const char *device = json_str(args, "device"), *id = json_str(args, "id");
    BlockBackend *blk = device ? block_backend_find(device) : NULL;
    Device *dev;

    *who = device ? device : id;
    if (!device == !id) {
        error_set(err, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    if (!blk && device && mon->mode != MONITOR_HMP) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
        return NULL;
    }
    dev = blk ? NULL : device_find(vm, *who, err);
    if (dev) {
        blk = block_backend_of_device(dev->id, dev->path);
        if (!blk) {
            error_set(err, "Device does not have a block device backend");
        }
    }
    return blk;
}

BlockBackend *monitor_find_drive(Monitor *mon, Vm *vm, json_t *args, GError **err)
{
    const char *who;

    return media_find(mon, vm, args, &who, err);
}

static json_t *media_done(int ret)
{
    return ret < 0 ? NULL : json_object();
}

static bool media_force(json_t *args)
{
    return json_is_true(json_object_get(args, "force")) || json_is_true(json_object_get(args, "f"));
}

/* That the guest is asked to give up a locked medium is no error here. */
MONITOR_HANDLER(cmd_blockdev_open_tray)
{
    const char *who;
    BlockBackend *blk = media_find(mon, vm, args, &who, err);
    int ret = blk ? block_backend_open_tray(blk, who, media_force(args), err) : -ENODEV;

    if (ret == -EINPROGRESS) {
        g_clear_error(err);
        ret = 0;
    }
    return media_done(ret);
}

MONITOR_HANDLER(cmd_blockdev_close_tray)
{
    const char *who;
    BlockBackend *blk = media_find(mon, vm, args, &who, err);

    return media_done(blk ? block_backend_close_tray(blk, who, err) : -ENODEV);
}

MONITOR_HANDLER(cmd_blockdev_remove_medium)
{
    const char *who;
    BlockBackend *blk = media_find(mon, vm, args, &who, err);

    return media_done(blk ? block_backend_remove_medium(blk, who, err) : -ENODEV);
}

MONITOR_HANDLER(cmd_blockdev_insert_medium)
{
    const char *who, *name = json_str(args, "node-name");
    BlockBackend *blk = media_find(mon, vm, args, &who, err);
    BlockNode *node = blk ? block_node_find(name) : NULL;

    if (blk && !node) {
        error_set(err, "Node '%s' not found", name);
    }
    return media_done(node ? block_backend_insert_medium(blk, node, err) : -ENODEV);
}

MONITOR_HANDLER(cmd_eject)
{
    const char *who;
    BlockBackend *blk = media_find(mon, vm, args, &who, err);
    int ret = blk ? block_backend_open_tray(blk, who, media_force(args), err) : -ENODEV;

    if (ret == 0) { /* the drive may have gone meanwhile */
        blk = media_find(mon, vm, args, &who, err);
        ret = blk ? block_backend_remove_medium(blk, who, err) : -ENODEV;
    }
    return media_done(ret);
}

static int media_mode(json_t *args)
{
    const char *name = json_str(args, "read-only-mode");
    int mode = BLOCK_MEDIUM_RETAIN;

    while (name && strcmp(name, block_medium_mode_names[mode])) {
        mode++;
    }
    return mode;
}

MONITOR_HANDLER(cmd_blockdev_change_medium)
{
    const char *who;
    BlockBackend *blk = media_find(mon, vm, args, &who, err);

    if (!blk) {
        return NULL;
    }
    return media_done(block_backend_change_medium(blk, who, json_str(args, "filename"),
                                                  json_str(args, "format"), media_mode(args),
                                                  media_force(args), err));
}

/* HMP. For 'vnc' it is no medium that changes. */
MONITOR_HANDLER(cmd_change_hmp)
{
    const char *what = json_str(args, "filename"), *password = json_str(args, "format");
    g_autofree char *typed = NULL;

    if (strcmp(json_str(args, "device"), "vnc")) {
        return cmd_blockdev_change_medium(mon, vm, args, err);
    }
    if (strcmp(what, "password") && strcmp(what, "passwd")) {
        error_set(err, "VNC has a password to change, and no '%s'", what);
        return NULL;
    }
    if (!password && !mon->detached) {
        password = typed = hmp_edit_password(mon);
    }
    if (!password) {
        error_set(err, "give the password as well: change vnc password PASSWORD");
        return NULL;
    }
    return vnc_set_password(vm, NULL, password, err) ? json_object() : NULL;
}

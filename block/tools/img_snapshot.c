/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img snapshot, and -l of others. */
#include "block/snapshot.h"
#include "img.h"

typedef enum { NOTHING, LIST, APPLY, CREATE, DELETE } Action;

typedef struct {
    ImgOpen how;
    Action action;
    const char *name;
    bool quiet;
} SnapshotArgs;

static bool snapshot_action(void *args, Action action, const char *name)
{
    SnapshotArgs *a = args;

    if (a->action) {
        img_usage("Cannot mix '-l', '-a', '-c', '-d'");
        return false;
    }
    a->action = action;
    a->name = name;
    return true;
}

static bool snapshot_option_list(void *args, const char *text)
{
    return snapshot_action(args, LIST, NULL);
}

static bool snapshot_option_apply(void *args, const char *text)
{
    return snapshot_action(args, APPLY, text);
}

static bool snapshot_option_create(void *args, const char *text)
{
    return snapshot_action(args, CREATE, text);
}

static bool snapshot_option_delete(void *args, const char *text)
{
    return snapshot_action(args, DELETE, text);
}

static const ImgOption snapshot_options[] = {
    IMG_OPT_CALL('l', NULL, NULL, snapshot_option_list, "list the snapshots inside the image"),
    IMG_OPT_CALL('a', NULL, "snapshot", snapshot_option_apply,
                 "give the disk the content that it had; what it has now is lost"),
    IMG_OPT_CALL('c', NULL, "snapshot", snapshot_option_create, "make a snapshot of the disk"),
    IMG_OPT_CALL('d', NULL, "snapshot", snapshot_option_delete, "delete a snapshot"),
    IMG_OPT_TEXT('f', NULL, "fmt", SnapshotArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_FLAG('q', NULL, SnapshotArgs, quiet, IMG_HELP_QUIET),
    IMG_OPT_FLAG('U', "force-share", SnapshotArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", SnapshotArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

typedef struct {
    BlockNode *n;
    const SnapshotArgs *args;
    GError *err;
} Change;

static int coroutine_fn snapshot_change_fn(void *data)
{
    Change *c = data;
    BlockSnapshot sn = block_snapshot_now(c->args->name);
    bool ok;

    if (c->args->action == CREATE) {
        sn.icount = 0; /* as qemu-img writes it */
        ok = block_snapshot_create(c->n, &sn, &c->err);
    } else if (c->args->action == APPLY) {
        ok = block_snapshot_apply(c->n, c->args->name, &c->err);
    } else {
        ok = block_snapshot_delete(c->n, NULL, c->args->name, &c->err);
    }
    return ok ? 0 : -1;
}

static int snapshot_change(BlockNode *n, const SnapshotArgs *a)
{
    static const char *const words[] = {
        [APPLY] = "apply", [CREATE] = "create", [DELETE] = "delete"};
    g_autofree char *context =
        g_strdup_printf("Could not %s snapshot '%s'", words[a->action], a->name);
    json_auto_t *found = a->action == DELETE ? block_snapshot_find(n, NULL, a->name) : NULL;
    Change c = {.n = n, .args = a};

    if (a->action == DELETE && !found) {
        log_error("%s: snapshot not found", context);
        return 1;
    }
    return block_run(snapshot_change_fn, &c) < 0 ? img_fail(c.err, context) : 0;
}

static void snapshot_list(BlockNode *n)
{
    json_auto_t *list = block_snapshot_list(n);

    if (json_array_size(list)) {
        g_autofree char *text = block_snapshot_list_text(list);

        printf("Snapshot list:\n%s", text);
    }
}

static int snapshot_run(int argc, char **argv)
{
    SnapshotArgs a = {.how = {.unmap = true, .no_backing = true}};
    BlockNode *n;
    int status;

    if (!img_parse_one_file(&img_command_snapshot, argc, argv, &a, &status)) {
        return status;
    }
    a.how.writable = a.action != LIST;
    a.how.shared = a.action == LIST;
    n = img_open(argv[optind], &a.how);
    if (!n) {
        return 1;
    }
    status = 0;
    if (a.action == LIST) {
        snapshot_list(n);
    } else if (a.action) {
        status = snapshot_change(n, &a);
    }
    block_node_unref(n);
    return status;
}

/* --- -l of other commands --- */

/* The option's two keys; NULL: the text has not that form, and is an id or a name. */
static json_t *snapshot_keys(const char *text, GError **err)
{
    return g_str_has_prefix(text, "snapshot.") ? keyval_parse(text, NULL, NULL, false, err) : NULL;
}

bool img_parse_snapshot(const char *text, const char **snapshot)
{
    g_autoptr(GError) err = NULL;
    json_auto_t *keys = snapshot_keys(text, &err);
    const char *key;
    json_t *value;

    json_object_foreach(keys, key, value)
    {
        if (!err && !g_str_equal(key, "snapshot.id") && !g_str_equal(key, "snapshot.name")) {
            error_set(&err, "Invalid parameter '%s'", key);
        }
    }
    if (err) {
        log_error("%s", err->message);
        log_error("Failed in parsing snapshot param '%s'", text);
        return false;
    }
    *snapshot = text;
    return true;
}

typedef struct {
    BlockNode *n;
    const char *id, *name;
    GError *err;
} Load;

static int coroutine_fn snapshot_load_fn(void *data)
{
    Load *l = data;

    return block_snapshot_load(l->n, l->id, l->name, &l->err) ? 0 : -1;
}

bool img_load_snapshot(BlockNode *n, const char *snapshot)
{
    json_auto_t *keys = snapshot_keys(snapshot, NULL);
    json_auto_t *found = keys ? NULL : block_snapshot_find(n, snapshot, NULL);
    Load l = {.n = n};

    if (keys) {
        l.id = json_str(keys, "snapshot.id");
        l.name = json_str(keys, "snapshot.name");
    } else if (found) {
        l.id = snapshot;
    } else {
        l.name = snapshot;
    }
    if (block_run(snapshot_load_fn, &l) < 0) {
        img_fail(l.err, "Failed to load snapshot");
        return false;
    }
    return true;
}

const ImgCommand img_command_snapshot = {
    "snapshot", snapshot_options, "filename", "The snapshots inside an image.", snapshot_run,
};
